"""Bounds of x: f is evaluated only between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import told
from ..errors import ArgumentError
from .points import Point, iter_once, parts_like, plain, rounded_to

Array = NDArray[np.float64]

USED = 1 - 1e-9
"""Part of the distance to a bound that steps may use: x plus all of it may round to beyond the bound."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bounds:
    """Flat, like x; infinite where there is none."""

    low: Array
    high: Array

    def holds(self, rows: Array) -> NDArray[np.bool_]:
        """Which of these points, one in each row, lie within the bounds."""
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
    low, high = _at_rounded_ends(low, high, point)
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
    whole = not isinstance(side, dict | list | tuple) and np.ndim(_read(side, name, free)) == 0
    expected = "a number, or the structure of x"
    parts = (
        [side] * len(point.leaves) if whole else parts_like(side, point, f"bounds: {name}", expected=expected)
    )
    for leaf, part in zip(point.leaves, parts, strict=True):
        values = _read(part, name, free)
        try:
            found[leaf.start : leaf.stop] = np.broadcast_to(values, leaf.shape).ravel()
        except ValueError:
            raise ArgumentError(
                f"bounds: {name} has shape {values.shape} where x{leaf.path} has {leaf.shape}: expected a number, or as many as in x"
            ) from None
    if np.isnan(found).any():
        raise ArgumentError(f"bounds: {name} holds NaN: expected numbers, infinite where there is no bound")
    return found


def _at_rounded_ends(low: Array, high: Array, point: Point) -> tuple[Array, Array]:
    """The bounds, with x itself in place of a bound that equals x after rounding to the dtype of x."""
    low, high = low.copy(), high.copy()
    for leaf in point.leaves:
        own = slice(leaf.start, leaf.stop)
        for bound in (low, high):
            bound[own] = np.where(rounded_to(bound[own], leaf.dtype) == leaf.values, leaf.values, bound[own])
    return low, high


def _read(value: Any, name: str, free: float) -> NDArray[Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentError(
            f"bounds: {name} is a masked array: expected a plain one, infinite where there is no bound, as .filled({'-' if free < 0 else ''}np.inf) gives"
        )
    try:
        values = None if iter_once(value) else _freed(plain(value), free)
    except Exception:  # a ragged list, an object that says no
        values = None
    if values is None or values.dtype.kind not in "fiu":
        raise ArgumentError(f"bounds: {name} is {_said(value)}: expected real numbers, or None for no bound")
    return values.astype(np.float64)


def _freed(values: NDArray[Any], free: float) -> NDArray[Any]:
    """An array in which `free` replaces None."""
    if values.dtype.kind != "O" or any(isinstance(v, bool | np.bool_) for v in values.flat):
        return values
    return np.array([free if v is None else v for v in values.flat]).reshape(values.shape)


def _said(value: Any) -> str:
    return f"{told(value)} of {len(value)}" if isinstance(value, list | tuple | dict) else told(value)


def _refuse(wrong: NDArray[np.bool_], point: Point, words: Any) -> None:
    """Name the first element at fault."""
    for k in np.flatnonzero(wrong)[:1]:
        name = point.name(int(k))
        raise ArgumentError(f"bounds{f' at {name}' if name else ''}: {words(k)}")
