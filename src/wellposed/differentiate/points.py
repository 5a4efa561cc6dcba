"""The point x at which f is differentiated, as one flat vector: numbers, arrays and tensors, and nested containers of them.

A complex element is two neighbours in it, its real and its imaginary part. Gradients, directions and bounds are given in the structure of
x, and matched with it by key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..arguments import told
from ..errors import ArgumentError
from ..lazy import lazy

by_jax = lazy("wellposed.differentiate.jax")
by_torch = lazy("wellposed.differentiate.torch")

Array = NDArray[np.float64]

DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8, "complex128": 53, "complex64": 24}
"""Binary digits of the numbers of each dtype."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PointLeaf:
    """One number, array or tensor of x."""

    path: str
    like: Any
    shape: tuple[int, ...]
    dtype: str
    framework: Any
    """The module that makes its arrays, `torch.py` or `jax.py` of this room; None for NumPy arrays and Python numbers."""
    start: int
    values: Array
    """Flat; float64."""

    @property
    def is_complex(self) -> bool:
        return self.dtype.startswith("complex")

    @property
    def digits(self) -> int:
        return DIGITS.get(self.dtype, 53)

    @property
    def stop(self) -> int:
        return self.start + self.values.size

    def made(self, flat: Array, *, wide: bool, rows: tuple[int, ...] = ()) -> Any:
        """The argument that f receives for these values, in float64 where `wide`; `rows` is the leading shape of a batch."""
        numbers = np.ascontiguousarray(flat).view(np.complex128) if self.is_complex else flat
        values = numbers.reshape(rows + self.shape)
        if self.framework is not None:
            return self.framework.made(values, self.like, wide=wide)
        if isinstance(self.like, np.ndarray):
            return values.astype(values.dtype if wide else self.like.dtype)
        if not wide and isinstance(self.like, np.generic):
            return self.like.dtype.type(values.item())
        return values.item()


@dataclass(frozen=True, kw_only=True, eq=False)
class Point:
    """x, as f receives it and as a flat vector of float64."""

    structure: Any
    leaves: tuple[PointLeaf, ...]
    flat: Array
    wide: bool
    """Whether f receives float64; otherwise the dtypes of x, and `flat` holds only numbers that these represent."""
    coarse: bool = field(default=False)
    """Whether any element has fewer digits than float64."""

    def made(self, flat: Array) -> Any:
        """The argument of f: new containers and new arrays."""
        return _filled(
            self.structure,
            iter([leaf.made(flat[leaf.start : leaf.stop], wide=self.wide) for leaf in self.leaves]),
        )

    def moved(self, flat: Array) -> Point:
        """Another point of the same structure, at the nearest values that f can receive."""
        flat = self.rounded_rows(flat[None].copy())[0]
        leaves = tuple(replace(leaf, values=flat[leaf.start : leaf.stop]) for leaf in self.leaves)
        return replace(self, flat=flat, leaves=leaves)

    def made_batch(self, rows: Array) -> Any:
        """The argument of f for many points at once, shape ``(n, size)``: each leaf has one more axis in front."""
        leaves = [
            leaf.made(rows[:, leaf.start : leaf.stop], wide=self.wide, rows=(len(rows),))
            for leaf in self.leaves
        ]
        return _filled(self.structure, iter(leaves))

    @property
    def filled(self) -> tuple[PointLeaf, ...]:
        """The leaves that are not empty."""
        return tuple(leaf for leaf in self.leaves if leaf.values.size)

    @property
    def precision(self) -> str:
        if self.wide:
            return "float64"
        return min((leaf.dtype for leaf in self.leaves), key=lambda d: DIGITS.get(d, 53))

    def leaf_of(self, element: int) -> PointLeaf:
        return next(leaf for leaf in self.leaves if leaf.start <= element < leaf.stop)

    def digits_of(self, element: int) -> int:
        return 53 if self.wide else self.leaf_of(element).digits

    def rounded(self, which: NDArray[np.int64], values: Array) -> Array:
        """The values of these elements, rounded to the dtypes that f receives."""
        if not self.coarse:
            return values
        values = values.copy()
        for leaf in self.leaves:
            own = (which >= leaf.start) & (which < leaf.stop)
            values[own] = rounded_to(values[own], leaf.dtype)
        return values

    def rounded_rows(self, rows: Array) -> Array:
        if self.coarse:
            for leaf in self.leaves:
                rows[:, leaf.start : leaf.stop] = rounded_to(rows[:, leaf.start : leaf.stop], leaf.dtype)
        return rows

    def name(self, element: int) -> str:
        """Such as ``element (0, 1)`` or ``element ['w'] (0, 1)``; empty for a bare number."""
        leaf = self.leaf_of(element)
        place = element - leaf.start
        if leaf.is_complex:
            place //= 2
        index = tuple(map(int, np.unravel_index(place, leaf.shape)))
        said = " ".join(filter(None, (leaf.path, str(index) if leaf.shape else "")))
        return f"element {said}" if said else ""

    def like_x(
        self, values: NDArray[Any], *, outputs: tuple[int, ...], join: Callable[[Any, Any], Any]
    ) -> Any:
        """`values`, shape (size, outputs...), in the structure of x, behind the axes of the outputs.

        `join` makes one number of those of the real and the imaginary part.
        """
        found = []
        for leaf in self.leaves:
            part = values[leaf.start : leaf.stop]
            part = join(part[0::2], part[1::2]) if leaf.is_complex else part
            part = np.moveaxis(
                part.reshape(leaf.shape + outputs), range(len(leaf.shape)), range(-len(leaf.shape), 0)
            )
            part = np.ascontiguousarray(part).reshape(outputs + leaf.shape)
            found.append(read_only(part))
        return _filled(self.structure, iter(found))

    def like_x_twice(self, values: NDArray[Any]) -> Any:
        """`values`, shape (size, size), in the structure of x nested in itself: columns inside rows."""
        found = []
        for leaf in self.leaves:
            part = values[leaf.start : leaf.stop].T.reshape(-1, *leaf.shape)
            found.append(self.like_x(part, outputs=leaf.shape, join=lambda re, _: re))
        return _filled(self.structure, iter(found))


def read_only(values: NDArray[Any]) -> Any:
    """The array, or the plain number that it holds."""
    if values.ndim == 0:
        return values.item()
    values = np.ascontiguousarray(values)
    values.setflags(write=False)
    return values


def rounded_to(values: Array, dtype: str) -> Array:
    """To the nearest number that the dtype holds, as float64."""
    digits = DIGITS.get(dtype, 53)
    if digits == 53:
        return values
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype({24: np.float32, 11: np.float16}[digits]).astype(np.float64)
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(mantissa, digits)), exponent - digits)


def framework_of(value: Any) -> Any:
    """The module of this room for a tensor or a JAX array, else None; a framework that nobody imported is not loaded."""
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None and isinstance(value, torch.Tensor):
        return by_torch
    if jax is not None and isinstance(value, jax.Array):
        return by_jax
    return None


def plain(value: Any) -> NDArray[Any]:
    """A number, array or tensor as a NumPy array."""
    framework = framework_of(value)
    return np.asarray(value) if framework is None else framework.read(value)


def read_point(x: Any, *, wide: bool) -> Point:
    """Read x, or raise an ArgumentError that says what is wrong with it."""
    leaves: list[PointLeaf] = []
    for path, like in leaves_of(x, ""):
        leaf = _leaf(like, path, start=leaves[-1].stop if leaves else 0)
        leaves.append(leaf)
    if not leaves or not leaves[-1].stop:
        what = f"shape {leaves[0].shape}" if leaves else f"a {type(x).__name__} without numbers"
        raise ArgumentError(f"x is empty ({what}): expected at least one element")
    return Point(
        structure=x,
        leaves=tuple(leaves),
        flat=np.concatenate([leaf.values for leaf in leaves]),
        wide=wide,
        coarse=not wide and any(leaf.digits < 53 for leaf in leaves),
    )


def _leaf(like: Any, path: str, *, start: int) -> PointLeaf:
    where = f"x{path}"
    if iter_once(like):
        raise ArgumentError(
            f"{where} is a {type(like).__name__}, which can be read only once: expected an array, a tensor or a number; "
            "make a list of it"
        )
    try:
        values = plain(like)
    except Exception as error:
        raise ArgumentError(f"{where} is {told(like)}: expected an array, a tensor or a number") from error
    if values.dtype.kind not in "fc":
        raise ArgumentError(
            f"{where} is {described(like, values)}: expected floats; pass x as float (1.0 rather than 1, x.astype(float))"
        )
    kind = np.complex128 if values.dtype.kind == "c" else np.float64
    held = np.array(values, dtype=kind, order="C").reshape(-1)
    flat: Array = held.view(np.float64)
    bad = int((~np.isfinite(held)).sum())
    if bad:
        noun = "value that is" if bad == 1 else "values that are"
        raise ArgumentError(f"{where} holds {bad} {noun} not finite: expected finite ones")
    framework = framework_of(like)
    name = values.dtype.name if framework is None else framework.dtype_name(like)
    return PointLeaf(
        path=path, like=like, shape=values.shape, dtype=name, framework=framework, start=start, values=flat
    )


def iter_once(value: Any) -> bool:
    return hasattr(value, "__next__")


def described(value: Any, read: NDArray[Any]) -> str:
    if value is None or read.dtype.kind == "O":
        return f"a {type(value).__name__}"
    return f"an array of shape {read.shape} and dtype {read.dtype}"


def leaves_of(x: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every part of a structure that is not a container, with its path."""
    if isinstance(x, dict):
        for key, value in x.items():
            yield from leaves_of(value, f"{path}[{key!r}]")
    elif isinstance(x, list | tuple):
        for i, value in enumerate(x):
            yield from leaves_of(value, f"{path}[{i}]")
    else:
        yield path, x


def _filled(structure: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(structure, dict):
        filled = {key: _filled(value, leaves) for key, value in structure.items()}
        return filled if type(structure) is dict else type(structure)(filled)
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(_filled(value, leaves) for value in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(_filled(value, leaves) for value in structure)
    return next(leaves)


SHOWN = 6
"""Paths in a message."""


def parts_like(given: Any, point: Point, name: str, *, expected: str) -> list[Any]:
    """The parts of `given` at the places of the leaves of x, in their order; a list may replace an array."""

    def refuse() -> NoReturn:
        theirs, ours = (_listed(leaves_of(tree, "")) for tree in (given, point.structure))
        raise ArgumentError(f"{name} holds {theirs} where x holds {ours}: expected {expected}")

    return list(_parts(given, point.structure, refuse))


def _parts(given: Any, structure: Any, refuse: Callable[[], NoReturn]) -> Iterator[Any]:
    if isinstance(structure, dict):
        if not isinstance(given, dict) or given.keys() != structure.keys():
            refuse()
        pairs = [(given[key], part) for key, part in structure.items()]
    elif isinstance(structure, list | tuple):
        items = _items(given)
        if items is None or len(items) != len(structure):
            refuse()
        pairs = list(zip(items, structure, strict=True))
    else:
        yield given
        return
    for one, part in pairs:
        yield from _parts(one, part, refuse)


def _items(given: Any) -> Any:
    """The items of a list, or of an array in place of a list of numbers."""
    if isinstance(given, list | tuple):
        return given
    return plain(given) if len(getattr(given, "shape", ())) else None


def _listed(leaves: Iterable[tuple[str, Any]]) -> str:
    paths = [path or "one value" for path, _ in islice(leaves, SHOWN + 1)]
    return ", ".join(paths[:SHOWN] + ["..."] * (len(paths) > SHOWN)) or "nothing"


def flat_like(given: Any, point: Point, name: str) -> Array:
    """`given` as a flat vector like x, or an ArgumentError that says where it does not fit."""
    parts = parts_like(given, point, name, expected="the structure of x")
    return np.concatenate([_flat(part, leaf, name) for part, leaf in zip(parts, point.leaves, strict=True)])


def _flat(part: Any, leaf: Any, name: str) -> Array:
    where = f"{name}{leaf.path}"
    try:
        values = None if iter_once(part) else plain(part)
    except Exception:  # a ragged list, an object that says no
        values = None
    if values is None or values.dtype.kind not in "fiuc":
        raise ArgumentError(f"{where} is {told(part)}: expected numbers in the structure of x")
    if (values.dtype.kind == "c") != leaf.is_complex:
        kinds = ("complex", "real") if values.dtype.kind == "c" else ("real", "complex")
        raise ArgumentError(f"{where} is {kinds[0]} where x{leaf.path} is {kinds[1]}: expected the same")
    if values.shape != leaf.shape and not values.size == np.prod(leaf.shape) == 1:
        raise ArgumentError(
            f"{where} has shape {values.shape} where x{leaf.path} has {leaf.shape}: expected the same shape"
        )
    kind = np.complex128 if leaf.is_complex else np.float64
    return np.array(values, dtype=kind, order="C").reshape(-1).view(np.float64)
