"""Normalizing inputs: training statistics, fitted once, reused unchanged, and their origin on record."""

from .normalizer import Normalizer
from .provenance import Provenance

__all__ = ["Normalizer", "Provenance"]
