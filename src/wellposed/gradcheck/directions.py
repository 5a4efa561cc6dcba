"""Directions along which a gradient is checked, each scaled to the size of every tensor.

A direction is generated tensor by tensor when it is needed, from one byte for each element; only those of the last direction are cached.

Along random signs two wrong elements of the same size would cancel in half of the cases; random signs times random magnitudes of a wide
range avoid that: see `SHOWN`. A common factor shows up to sqrt(n) times more strongly along sign(g), and a forgotten weight decay along
sign(theta).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALLEST, LARGEST = 8, 127
"""Magnitudes of a random direction before scaling: integers that fit one byte."""
SPREAD = float(np.sqrt(np.mean(np.arange(SMALLEST, LARGEST + 1, dtype=np.float64) ** 2)))
RANDOM, JITTER = 1, 2
"""Last entry of the keys of random streams, different for each use, and not 0, which NumPy ignores at the end of a key."""
SHOWN = {1: 0.009, 2: 0.094, 3: 0.19, 4: 0.27, 6: 0.38, 8: 0.46, 12: 0.55}
"""By number of random directions u of rms 1: the root mean square of <u, e> over them is at least this times |e|, with a probability of 99 %.

The worst over errors e of many shapes, 4e5 draws each: one element, two of one size (which may cancel), a few, and many.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """How far each tensor moves for a step of 1; tensors that are not named stay."""

    kind: str
    tensors: tuple[int, ...]
    made: Callable[[int], NDArray[Any]]
    """Numbers of the shape of the tensor, a new array each time, of one byte each where possible; `scaled` makes the move of them."""
    unit: float = 1.0
    """Divisor of the numbers."""
    scales: Sequence[float] | None = None
    """Factor of the numbers, one for each tensor."""

    def move(self, tensor: int) -> Array:
        """A fresh float64 array of the shape of the tensor."""
        return self.scaled(tensor, self.made(tensor))

    def scaled(self, tensor: int, numbers: NDArray[Any]) -> Array:
        """The move that belongs to some of its numbers."""
        moves = np.asarray(np.divide(numbers, self.unit, dtype=np.float64))  # of a 0-d array too
        if self.scales is not None:
            moves *= self.scales[tensor]
        return moves

    def only(self, tensors: Sequence[int]) -> Direction:
        """The same moves of some of its tensors."""
        kept = set(tensors)
        return replace(self, tensors=tuple(i for i in self.tensors if i in kept))

    def within(self, tensor: int, mask: NDArray[np.bool_]) -> Direction:
        """The same moves of the masked elements of one tensor; nothing else moves."""
        return replace(self, tensors=(tensor,), made=lambda i: self.made(i) * mask)


NOWHERE = Direction(kind="none", tensors=(), made=np.zeros)
"""The direction that moves nothing."""


def _random_bytes(shape: Sequence[int], key: Sequence[int]) -> NDArray[np.int8]:
    """Random signs times random magnitudes of root mean square `SPREAD`; the same for the same key."""
    rng = np.random.default_rng(tuple(key))
    magnitudes = rng.integers(SMALLEST, LARGEST + 1, size=tuple(shape), dtype=np.int8)
    signs = rng.integers(0, 2, size=tuple(shape), dtype=np.int8)
    signs *= -2
    signs += 1
    magnitudes *= signs
    return magnitudes


def random_direction(
    tensors: Sequence[int], shapes: Sequence[Sequence[int]], scales: Sequence[float], key: Sequence[int]
) -> Direction:
    return Direction(
        kind="random",
        tensors=tuple(tensors),
        made=lambda i: _random_bytes(shapes[i], (*key, i, RANDOM)),
        unit=SPREAD,
        scales=scales,
    )


def signs_of(
    kind: str, of: Callable[[int], Array], tensors: Sequence[int], scales: Sequence[float]
) -> Direction:
    """Along the signs of the gradient or of the parameters."""
    return Direction(kind=kind, tensors=tuple(tensors), made=lambda i: _signs(of(i)), scales=scales)


def _signs(values: Array) -> NDArray[np.int8]:
    return np.sign(values, out=np.empty(values.shape, dtype=np.int8), casting="unsafe")


def jittered(direction: Direction, shapes: Sequence[Sequence[int]], key: Sequence[int]) -> Direction:
    """A fresh direction with the same signs: each element moves between half and one and a half times as far."""

    def made(i: int) -> Array:
        rng = np.random.default_rng((*key, i, JITTER))
        moves = direction.move(i)
        moves *= rng.uniform(0.5, 1.5, size=tuple(shapes[i]))
        return moves

    return Direction(kind=direction.kind, tensors=direction.tensors, made=made)


BLOCK = 1 << 16
"""Elements moved at a time: float64 of them fit in a processor's cache."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionStep:
    """A step of one tensor along a direction."""

    direction: Direction
    tensor: int
    numbers: NDArray[Any]
    """`Direction.made` of the tensor."""
    length: float

    def moves(self, block: slice | None) -> NDArray[np.float64]:
        """How far the elements of a block move for a step of 1: a fresh array; None for all of them."""
        numbers = self.numbers if block is None else self.numbers.reshape(-1)[block]
        return self.direction.scaled(self.tensor, numbers)


class DirectionCache:
    """The int8 numbers of the direction that was used last, for the next step along it."""

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
