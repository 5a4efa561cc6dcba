"""Between which values the elements of x may be moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import told
from ..errors import ArgumentError
from .points import Point, iter_once, leaves_of, plain

Array = NDArray[np.float64]

USED = 1 - 1e-9
"""Share of the room that steps may take: x plus all of it may be rounded to beyond the bound."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """Flat, like x; infinite where there is none."""

    low: Array
    high: Array

    def holds(self, rows: Array) -> NDArray[np.bool_]:
        """Which of these points, one a row, lie within."""
        return np.asarray(((rows >= self.low) & (rows <= self.high)).all(axis=1))

    def rooms(self, flat: Array) -> tuple[Array, Array]:
        """How far each element of x may move up and down."""
        return USED * (self.high - flat), USED * (flat - self.low)


def bounds_of(bounds: Any, point: Point) -> Bounds | None:
    """The argument `bounds` as flat arrays, or an ArgumentError that names the element at fault."""
    if bounds is None:
        return None
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ArgumentError(
            f"bounds is {_said(bounds)}: expected a pair (low, high) of numbers, or of arrays like x; None for no bound"
        )
    if any(leaf.is_complex for leaf in point.leaves):
        raise ArgumentError("bounds of a complex x: expected a real x; pass real and imaginary parts apart")
    low, high = (
        _side(side, point, name=name, free=free)
        for side, name, free in zip(bounds, ("low", "high"), (-np.inf, np.inf), strict=True)
    )
    _refuse(
        low > high, point, lambda k: f"low is {low[k]:g} and high is {high[k]:g}: expected low below high"
    )
    _refuse(
        (point.flat < low) | (point.flat > high),
        point,
        lambda k: (
            f"x is {point.flat[k]:g}, outside of {low[k]:g} to {high[k]:g}: start from a point within the bounds"
        ),
    )
    _refuse(
        low == high,
        point,
        lambda k: f"low and high are both {low[k]:g}: expected room to move x; leave that element out of x",
    )
    return Bounds(low=low, high=high)


def _side(side: Any, point: Point, *, name: str, free: float) -> Array:
    """One of the bounds for every element of x: None, a number for all of them, or a structure like x."""
    found = np.full(point.flat.shape, free)
    if side is None:
        return found
    whole = not isinstance(side, dict | list | tuple) and np.ndim(_read(side, name)) == 0
    parts = [side] * len(point.leaves) if whole else _matched(side, point, name)
    for leaf, part in zip(point.leaves, parts, strict=True):
        values = _read(part, name)
        try:
            found[leaf.start : leaf.stop] = np.broadcast_to(values, leaf.shape).ravel()
        except ValueError:
            raise ArgumentError(
                f"bounds: {name} has shape {values.shape} where x{leaf.path} has {leaf.shape}: expected a number, or as many as in x"
            ) from None
    if np.isnan(found).any():
        raise ArgumentError(f"bounds: {name} holds NaN: expected numbers, infinite where there is no bound")
    return found


def _matched(side: Any, point: Point, name: str) -> Iterator[Any]:
    """The parts of a structure like x; a plain list of numbers may stand for an array."""
    if len(point.leaves) == 1 and not point.leaves[0].path:
        return iter([side])
    found = dict(leaves_of(side, ""))
    paths = [leaf.path for leaf in point.leaves]
    if list(found) != paths:
        raise ArgumentError(
            f"bounds: {name} holds {_listed(found)} where x holds {_listed(paths)}: expected a number, or the structure of x"
        )
    return iter(found.values())


def _listed(paths: Any) -> str:
    return ", ".join(path or "one array" for path in paths) or "nothing"


def _read(value: Any, name: str) -> NDArray[Any]:
    try:
        values = None if iter_once(value) else plain(value)
    except Exception:  # a ragged list, an object that says no
        values = None
    if values is None or values.dtype.kind not in "fiu":
        raise ArgumentError(f"bounds: {name} is {_said(value)}: expected real numbers, or None for no bound")
    return values.astype(np.float64)


def _said(value: Any) -> str:
    return f"{told(value)} of {len(value)}" if isinstance(value, list | tuple | dict) else told(value)


def _refuse(wrong: NDArray[np.bool_], point: Point, words: Any) -> None:
    """Name the first element at fault."""
    for k in np.flatnonzero(wrong)[:1]:
        name = point.name(int(k))
        raise ArgumentError(f"bounds{f' at {name}' if name else ''}: {words(k)}")
