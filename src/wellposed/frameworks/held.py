"""What the next step along a direction needs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..gradcheck.directions import Direction


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
