"""Normalizing inputs: training statistics, fitted once, reused unchanged, and their origin on record."""

from .describe import describe
from .moments import Moments
from .normalizer import Normalizer
from .profile import InputEffect, InputProfile, profile_inputs
from .provenance import Provenance

__all__ = ["InputEffect", "InputProfile", "Moments", "Normalizer", "Provenance", "describe", "profile_inputs"]
