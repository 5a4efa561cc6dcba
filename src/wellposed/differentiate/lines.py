"""Straight lines through x, along which f is differentiated: one for each element of x, or one direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .bounds import Bounds
from .points import Point

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class Lines(Protocol):
    """`which` names lines by number."""

    @property
    def point(self) -> Point: ...
    @property
    def count(self) -> int: ...
    @property
    def scales(self) -> Array:
        """The length of a long step on each line."""
        ...

    def near(self, which: Indices, steps: Array) -> Array:
        """Steps near these that can be taken exactly to both sides."""
        ...

    def moved(self, which: Indices, steps: Array) -> tuple[Array, Array]:
        """The points at signed steps, one in each row, and the steps after rounding."""
        ...

    def size(self, line: int) -> float:
        """The size of x itself along the line, in units of the step."""
        ...

    def resolution(self, line: int) -> float:
        """The smallest step that changes x."""
        ...

    def inward(self, line: int) -> float:
        """The sign of the steps towards zero, where floating-point numbers lie closer together."""
        ...

    def room(self, which: Indices, side: int) -> Array:
        """The longest steps to this side, +1 or -1, that stay within the bounds; infinite where there are none."""
        ...

    def name(self, line: int) -> str: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ElementLines:
    """One line for each element of x."""

    point: Point
    scales: Array
    bounds: Bounds | None = None

    @property
    def count(self) -> int:
        return self.point.flat.size

    def near(self, which: Indices, steps: Array) -> Array:
        # A number that is representable away from zero is so towards zero too, where numbers lie closer together.
        x = self.point.flat[which]
        return np.abs(self.point.rounded(which, x + np.copysign(steps, x)) - x)

    def moved(self, which: Indices, steps: Array) -> tuple[Array, Array]:
        rows = np.repeat(self.point.flat[None], len(which), axis=0)
        places = (np.arange(len(which)), which)
        before = rows[places]
        rows[places] = self.point.rounded(which, before + steps)
        return rows, rows[places] - before

    def size(self, line: int) -> float:
        return float(np.abs(self.point.flat[line]))

    def resolution(self, line: int) -> float:
        return float(np.ldexp(abs(self.point.flat[line]), 1 - self.point.digits_of(line)))

    def inward(self, line: int) -> float:
        inward = -1 if self.point.flat[line] > 0 else 1
        which = np.array([line])
        there, back = (float(self.room(which, side)[0]) for side in (inward, -inward))
        return float(inward if there >= min(back, self.scales[line]) else -inward)

    def room(self, which: Indices, side: int) -> Array:
        if self.bounds is None:
            return np.full(len(which), np.inf)
        return self.bounds.rooms(self.point.flat)[0 if side > 0 else 1][which]

    def name(self, line: int) -> str:
        return self.point.name(line)


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionLine:
    """One line along `direction`, a flat vector like x; a step of 1 moves x by it."""

    point: Point
    direction: Array
    scales: Array

    @property
    def count(self) -> int:
        return 1

    def near(self, which: Indices, steps: Array) -> Array:
        return steps

    def moved(self, which: Indices, steps: Array) -> tuple[Array, Array]:
        """The step after rounding is the projection of the rounded move on the direction.

        The part of the rounding that is perpendicular to it acts as noise of f, and is measured as such.
        """
        rows = self.point.rounded_rows(self.point.flat + steps[:, None] * self.direction)
        unit = self.direction / (self.direction @ self.direction)
        return rows, (rows - self.point.flat) @ unit

    def size(self, line: int) -> float:
        return float(self.scales[line])

    def resolution(self, line: int) -> float:
        moving = self.direction != 0
        coarsest = np.ldexp(
            np.abs(self.point.flat[moving]),
            1 - min(self.point.digits_of(int(i)) for i in np.flatnonzero(moving)[:1]),
        )
        return float(np.max(coarsest / np.abs(self.direction[moving]), initial=0.0))

    def inward(self, line: int) -> float:
        return 1.0

    def room(self, which: Indices, side: int) -> Array:
        return np.full(len(which), np.inf)

    def name(self, line: int) -> str:
        return ""
