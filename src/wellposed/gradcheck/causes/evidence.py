"""What the differences say of one tensor's gradient along a few random directions: what every hypothesis about a bug is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..directional_error import FLAG, Prober, Reading
from ..directions import Array, Direction
from .localize import measure

DIRECTIONS = 5
SHARP = 1e-5
"""Bar, relative to the error, that the readings aim at."""
NAMEABLE = 0.03
"""Largest bar, relative to the error, at which a bug may be named."""
SHARPLY = 0.02
"""The same where many candidates are tried, of which one might fit by chance."""
EXACT = 1e-7
LEFT_OVER = 0.05
"""A hypothesis that leaves more of the error than this explains nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    tensor: int
    scale: float
    directions: tuple[Direction, ...]
    readings: tuple[Reading, ...]

    @property
    def slopes(self) -> Array:
        return np.array([r.slope for r in self.readings])

    @property
    def numerical(self) -> Array:
        return np.array([r.numerical for r in self.readings])

    @property
    def errors(self) -> Array:
        return np.array([r.error for r in self.readings])

    @property
    def bars(self) -> Array:
        return np.array([r.bar for r in self.readings])

    @property
    def nameable(self) -> bool:
        return bool(rms(self.bars) <= NAMEABLE * rms(self.errors))

    @property
    def sharp(self) -> bool:
        return bool(rms(self.bars) <= SHARPLY * rms(self.errors))

    @property
    def clearest(self) -> tuple[Direction, Reading]:
        """Of the random directions, which move every element."""
        pairs = zip(self.directions, self.readings, strict=True)
        return max((pair for pair in pairs if pair[1].kind == "random"), key=lambda pair: abs(pair[1].error))

    def along(self, candidate: Array) -> Array:
        """The derivatives that a candidate gradient claims along the directions."""
        return np.array([float(np.vdot(candidate, d.move(self.tensor))) for d in self.directions])

    def explains(self, slopes: Array) -> bool:
        """Whether a gradient with these derivatives agrees with the differences."""
        left = np.abs(self.numerical - slopes)
        return bool(
            np.all(left <= FLAG * self.bars + EXACT * np.abs(self.numerical))
            and rms(left) <= max(LEFT_OVER * rms(self.errors), 2 * rms(self.bars))
        )

    @property
    def error_norm(self) -> float:
        return rms(self.errors[self._random]) / self.scale

    @property
    def numerical_norm(self) -> float:
        return rms(self.numerical[self._random]) / self.scale

    @property
    def _random(self) -> NDArray[np.bool_]:
        return np.array([r.kind == "random" for r in self.readings])


def gather(prober: Prober, tensor: int, accused: Reading) -> Evidence:
    """Readings of one tensor along fresh directions, as sharp as the noise permits, and along those that show a factor or a decay best."""
    signs = (prober.signs_of_gradient((tensor,)), prober.signs_of_parameters((tensor,)))
    random = (prober.fresh((tensor,)) for _ in range(DIRECTIONS))
    directions = (*random, *(d for d in signs if d is not None))
    readings = tuple(measure(prober, d, accused, share=SHARP) for d in directions)
    return Evidence(tensor=tensor, scale=prober.scales[tensor], directions=directions, readings=readings)


def split_numerical(prober: Prober, evidence: Evidence) -> Sequence[tuple[Array, ...]]:
    """The numerical derivatives along the evidence's directions, split over the outputs; empty where the outputs cannot be split."""
    found = []
    for direction, reading in zip(evidence.directions, evidence.readings, strict=True):
        split = split_along(prober, direction, reading.step)
        if not split:
            return ()
        found.append(split)
    return found


def split_along(prober: Prober, direction: Direction, step: float) -> tuple[Array, ...]:
    """The numerical derivative along one direction, split over the first axis of the outputs and over the second, as far as they have them."""
    above = prober.objective.at(direction, step, split=True).parts
    below = prober.objective.at(direction, -step, split=True).parts
    return tuple((a - b) / (2 * step) for a, b in zip(above, below, strict=True))


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
