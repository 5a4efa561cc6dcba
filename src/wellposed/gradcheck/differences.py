"""F at points that are moved along a direction: values, residuals, and pairs of values at x + h and x - h."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from ..errors import WellposedError
from .directions import Direction
from .objective import Objective
from .result import OutputsChangedError

HUGE = 1e150
"""Differences larger than this overflow when they are squared."""


@dataclass(frozen=True)
class DifferencePair:
    """What F at x + h and at x - h says, divided by 2 h."""

    step: float
    residual_slope: float
    """``(F+ - F- - <g, x+ - x->) / 2h``: the error of the claimed derivative, plus truncation and noise."""
    even_residual: float
    """``(F+ + F- - 2 F0 - <g, x+ - x> - <g, x- - x>) / 2h``: kinks, curvature and noise, but no error of the gradient."""
    slope: float
    """The claimed derivative along the direction."""
    flat: bool
    """Both values equal F at the point to the bit."""


class Differences:
    """Evaluates one objective at moved points, and remembers F at the point itself."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.centre = objective.at(None, 0.0).value
        self.output_change = ""
        """How the outputs of f change with the values of its inputs, in words, if any evaluation showed that they do."""

    def value(self, direction: Direction, step: float) -> float:
        """F at the moved point; NaN where it cannot be evaluated."""
        return self.value_and_residual(direction, step)[0]

    def residual(self, direction: Direction, step: float) -> float:
        """The change of F less the change that the claimed gradient predicts; NaN where F cannot be evaluated."""
        return self.value_and_residual(direction, step)[1]

    def value_and_residual(self, direction: Direction, step: float) -> tuple[float, float]:
        try:
            moved = self.objective.at(direction, step)
        except WellposedError as error:
            self._record(error)
            return nan, nan
        return moved.value, moved.value - self.centre - moved.claimed_change

    def pair(self, direction: Direction, step: float) -> DifferencePair | None:
        """The two-sided difference at one step; None where F is not finite at either end."""
        try:
            above, below = self.objective.at(direction, step), self.objective.at(direction, -step)
        except WellposedError as error:
            self._record(error)
            return None
        numbers = (above.value, below.value, above.claimed_change, below.claimed_change)
        if not all(abs(v) < HUGE * step for v in numbers):
            return None
        change = above.claimed_change - below.claimed_change
        return DifferencePair(
            step=step,
            residual_slope=(above.value - below.value - change) / (2 * step),
            even_residual=(
                above.value + below.value - 2 * self.centre - above.claimed_change - below.claimed_change
            )
            / (2 * step),
            slope=change / (2 * step),
            flat=above.value == below.value == self.centre,
        )

    def _record(self, error: WellposedError) -> None:
        if isinstance(error, OutputsChangedError):
            self.output_change = str(error)
