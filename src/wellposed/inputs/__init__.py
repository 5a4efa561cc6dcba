"""What the inputs of a problem look like: spread, conditioning, differences between splits, duplicates, leakage."""

from .profile import profile_inputs
from .result import InputEffect, InputProfile

__all__ = ["InputEffect", "InputProfile", "profile_inputs"]
