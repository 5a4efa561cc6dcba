"""Normalizing inputs: training statistics, fitted once, reused unchanged, and their origin on record."""

from .fitted import Provenance
from .normalizer import Normalizer

__all__ = ["Normalizer", "Provenance"]
