"""Where arrays are and how they are moved, block by block: the only copy made is the one that the function is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..direction_cache import BLOCK, Step
from .pytrees import Array, as_double


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Where an array is: at some values, or some steps from there, each rounded to the type that the function takes.

    What the steps lead to is made again whenever it is needed: a copy would take eight times as much.
    """

    held: NDArray[Any]
    """A real view, its elements in order; it is never written."""
    dtype: np.dtype[Any]
    """Of what the function takes, as a real view."""
    steps: tuple[Step, ...] = ()

    def stepped(self, step: Step) -> Place:
        return replace(self, steps=(*self.steps, step))

    def values(self) -> NDArray[Any]:
        """As the function takes them."""
        if not self.steps:
            return self.held.astype(self.dtype, copy=False)
        found = np.empty(self.held.shape, dtype=self.dtype)
        for block in self._blocks():
            found.reshape(-1)[block] = self._wide(block)
        return found

    def moved(self, step: Step, gradient: NDArray[Any]) -> tuple[NDArray[Any], float]:
        """The values a step from here, and what the gradient says of the move really made."""
        found, taken = np.empty(self.held.shape, dtype=self.dtype), 0.0
        values, slopes = found.reshape(-1), gradient.reshape(-1)
        for block in self._blocks():
            base = self._wide(block)
            values[block] = _stepped(step, base, block)
            taken += float(np.dot(as_double(slopes[block]), as_double(values[block]) - base))
        return found, taken

    def _wide(self, block: slice) -> Array:
        values = as_double(self.held.reshape(-1)[block].astype(self.dtype, copy=False))
        for step in self.steps:
            values = as_double(_stepped(step, values, block).astype(self.dtype, copy=False))
        return values

    def _blocks(self) -> Iterator[slice]:
        return (slice(k, k + BLOCK) for k in range(0, self.held.size, BLOCK))


def _stepped(step: Step, base: Array, block: slice) -> Array:
    """Where a block ends up."""
    moved = step.moves(block)
    moved *= step.length
    moved += base
    return moved
