"""What the next step along a direction needs again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .directions import Direction

BLOCK = 1 << 16
"""Elements moved at a time: float64 of them fit in a processor's cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """A step of one tensor along a direction."""

    direction: Direction
    tensor: int
    numbers: NDArray[Any]
    """Those of the direction for the tensor."""
    length: float

    def moves(self, block: slice | None) -> NDArray[np.float64]:
        """How far the elements of a block move for a step of 1: a fresh array; None for all of them."""
        numbers = self.numbers if block is None else self.numbers.reshape(-1)[block]
        return self.direction.scaled(self.tensor, numbers)


class Held:
    """The direction that was moved along last, for the next step along it: what is one byte an element is not made again."""

    def __init__(self) -> None:
        self._direction: Direction | None = None
        self._numbers: dict[int, NDArray[np.int8]] = {}

    def numbers(self, direction: Direction, tensor: int) -> NDArray[Any]:
        """As `direction.made` gives them."""
        if direction is not self._direction:
            self._direction, self._numbers = direction, {}
        if tensor in self._numbers:
            return self._numbers[tensor]
        made = direction.made(tensor)
        if made.dtype == np.int8:
            self._numbers[tensor] = made
        return made
