"""What the inputs of a problem look like: spread, conditioning, differences between splits, duplicates, leakage."""

from .profile import InputEffect, InputProfile, profile_inputs

__all__ = ["InputEffect", "InputProfile", "profile_inputs"]
