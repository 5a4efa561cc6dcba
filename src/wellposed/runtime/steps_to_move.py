"""How many steps a parameter needs to move by 1 % of its size, from how far a few steps took it."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHARE = 0.01
"""Movement that is asked for, over the size at the start."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """How far some steps took a parameter, by half; lengths are norms over that of the parameter at the start."""

    half: int
    """Steps of the first half."""
    steps: int
    first_step: float
    first_half: float
    second_half: float
    along: float
    """Inner product of the movements of the two halves, over the squared norm at the start."""
    settled: float = 1.0
    """Length of the steps of the second half over what it becomes, while a momentum builds up."""

    @property
    def moved(self) -> float:
        """By all steps."""
        return math.sqrt(max(self.first_half**2 + self.second_half**2 + 2 * self.along, 0.0))

    @property
    def drift_share(self) -> float:
        """Of the squared movement of a half: what both halves have in common. The rest is noise of the batches, of which they have none."""
        product = self.first_half * self.second_half
        return min(max(self.along / product, 0.0), 1.0) if product > 0 else 0.0


def steps_to_move(path: Path, share: float = SHARE) -> float:
    """Steps until the parameter has moved by `share` of its size; inf for one that stands still.

    Beyond the steps taken it drifts on as fast as in the second half, and the noise adds up as in a random walk:
    the squared distance grows with the square of the steps for the one, with the steps for the other.

    Examples
    --------
    >>> drift = Path(half=5, steps=10, first_step=1e-4, first_half=5e-4, second_half=5e-4, along=25e-8)
    >>> noise = Path(half=5, steps=10, first_step=1e-4, first_half=2.2e-4, second_half=2.2e-4, along=0.0)
    >>> round(steps_to_move(drift)), round(steps_to_move(noise), -2)
    (100, 10300.0)
    """
    if max(path.first_half, path.second_half, path.moved) >= share:
        return _within(path, share)
    rest = path.steps - path.half
    pace = path.second_half / path.settled
    drift = math.sqrt(path.drift_share) * pace / rest
    noise = (1 - path.drift_share) * pace**2 / rest
    ahead = math.sqrt(path.drift_share) * (path.first_half + path.second_half)
    return path.steps + _root(drift**2, 2 * ahead * drift + noise, path.moved**2 - share**2)


def _within(path: Path, share: float) -> float:
    """The step at which the share was reached, between those at which the distance is known."""
    known = [(1, path.first_step), (path.half, path.first_half), (path.steps, path.moved)]
    before, distance = 0, 0.0
    for step, reached in known:
        if reached >= share:
            return before + (step - before) * (share - distance) / (reached - distance)
        before, distance = step, reached
    return float(path.steps)


def _root(square: float, linear: float, constant: float) -> float:
    """The positive root of a quadratic whose constant is negative."""
    below = linear + math.sqrt(linear**2 - 4 * square * constant)
    return -2 * constant / below if below > 0 else math.inf
