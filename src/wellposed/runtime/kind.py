"""What a kind of thing is: how it is walked, kept, compared and given back.

A kind never calls the user's code: containers are read and written through the methods of the built-in types, attributes through
``__dict__`` and the descriptors of ``__slots__``, and values are compared by identity.
"""

from __future__ import annotations

import gc
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import is_
from typing import Any

import numpy as np

Held = Iterator[tuple[Any, Any]]
"""Pairs of a label and what is held under it: ``".name"`` for an attribute, any other key for an item."""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()

ATOMS = frozenset(
    {int, float, complex, bool, str, bytes, type(None), type(Ellipsis), type(NotImplemented), range, slice}
    | {types.CodeType, types.FrameType, types.TracebackType, np.dtype, types.GenericAlias, types.UnionType}
)
"""Types of what holds nothing that can change."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """How one kind of thing is walked, kept, compared and given back."""

    name: str
    held: Callable[[Any], Held]
    take: Callable[[Any], Any] | None = None
    """A copy of what it holds; None for what cannot change."""
    same: Callable[[Any, Any], bool] = is_
    """Whether it holds what was taken, the very same objects."""
    put: Callable[[Any, Any], None] | None = None
    """Give it back what was taken; None for what Python cannot set."""
    lend: Callable[[Any, Any, Any], None] | None = None
    """Hold something else under a label for a while; None where nothing can be replaced."""


def nothing(value: Any) -> Held:
    return iter(())


def all_same(a: Any, b: Any) -> bool:
    return all(map(is_, a, b))


def referents(value: Any) -> Held:
    """What an object made in C tells the garbage collector that it holds."""
    for item in gc.get_referents(value):
        if not isinstance(item, type | types.ModuleType):
            yield "", item
