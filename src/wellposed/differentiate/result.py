"""What a numerical derivative is: a value, and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, eq=False)
class NumericalGradient:
    """A numerical derivative with its error bar.

    `value`, `error`, `step` and `kink` have the structure of ``x``: its containers, with read-only NumPy arrays of its shapes
    as leaves, or plain numbers where ``x`` has one. Of a Jacobian the axes of the output stand in front.
    """

    value: Any
    """The derivative by each element of ``x``, in units of f a unit of x; by a complex element, dF/dRe + i dF/dIm."""
    error: Any
    """Half-width of an interval around `value` that covers the derivative; at a kink it covers both one-sided slopes. Of a
    complex element, the radius of a disc."""
    step: Any
    """The smallest step behind each element's value, in units of x."""
    kink: Any
    """True where the slopes to both sides differ, at x or so near that no step can tell: there is no derivative there."""
    noise: float
    """Standard deviation of the noise in one value of f, in units of f: of rounding, wherever inside f, and of f itself when it is random."""
    n_evaluations: int
    method: str
    """``"two-sided"``, ``"one-sided"``, or ``"mixed"`` when f ends beside some elements of ``x``."""
    precision: str
    """The dtype that f received: ``"float64"``, or the coarsest one of ``x``."""
    vectorised: bool
    """Whether f was evaluated at many points at once."""
    deterministic: bool
    """Whether f gave the very same value when it was evaluated twice at x."""
