"""Exact statistics of columns, as values that merge; read in one pass from arrays, batches, files, or engines."""

from .moments import Moments

__all__ = ["Moments"]
