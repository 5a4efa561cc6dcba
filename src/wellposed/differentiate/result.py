"""What a numerical derivative is: a value, and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class NumericalGradient:
    """A numerical gradient with its error bar.

    `value`, `error`, `step` and `kink` have the shape of ``x``: read-only arrays, or plain numbers when ``x`` is one.
    """

    value: Any
    """The derivative by each element of ``x``, in units of f a unit of x."""
    error: Any
    """Half-width of an interval around `value` that covers the derivative; at a kink it covers both one-sided slopes."""
    step: Any
    """The smallest step behind each element's value, in units of x."""
    kink: Any
    """True where the two one-sided slopes differ: there is no derivative there."""
    noise: float
    """Standard deviation of the rounding noise in one value of f, in units of f."""
    n_evaluations: int
    method: str
    """``"two-sided"``, ``"one-sided"``, or ``"mixed"`` when f ends beside some elements of ``x``."""
