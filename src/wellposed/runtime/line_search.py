"""How far one may go along an update before the loss is back where it was."""

from __future__ import annotations

import math
from collections.abc import Callable

_APART = 4.0  # factor between the first two multiples; its square between the next two, until one is stable and one is not


_ROUNDING = 1e-6  # of a loss, relative: what is less above `initial` does not count


def stable_multiple(
    loss_at: Callable[[float], float], initial: float, *, passes: int, first: float = 1.0
) -> float | None:
    """By how much an update can be multiplied before the loss is above `initial`, its value without the update.

    For a quadratic loss with curvature λ along a plain gradient step of rate η that is 2/(λη): beyond it such steps
    overshoot further and further. None where `passes` evaluations find no multiple that is stable, or none that is not.
    They begin at the multiple `first`.

    References
    ----------
    Kalra & Barkeshli (2024), Why Warmup the Learning Rate? Underlying Mechanisms and Improvements, appendix on the critical rate.

    Examples
    --------
    >>> round(stable_multiple(lambda s: (1 - s / 5) ** 2, 1.0, passes=16), 2)
    10.0
    """
    stable, unstable, multiple, apart = 0.0, math.inf, first, _APART
    for _ in range(passes):
        if loss_at(multiple) <= initial + _ROUNDING * abs(initial):
            stable = multiple
        else:
            unstable = multiple
        if stable > 0 and unstable < math.inf:
            multiple = math.sqrt(stable * unstable)
        else:
            multiple = stable * apart if stable > 0 else unstable / apart
            apart **= 2
    return math.sqrt(stable * unstable) if stable > 0 and unstable < math.inf else None
