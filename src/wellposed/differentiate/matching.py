"""Values that belong to the numbers of x, in its structure: gradients, directions and bounds, paired with it by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..arguments import told
from ..errors import ArgumentError
from .points import Point, iter_once, leaves_of, plain

Array = NDArray[np.float64]

SHOWN = 6
"""Paths in a message."""


def parts_like(given: Any, point: Point, name: str, *, expected: str) -> list[Any]:
    """What stands in `given` where the leaves of x stand, in their order; a list may stand for an array."""

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
    """An array may stand for a list of numbers."""
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
