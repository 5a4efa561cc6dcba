"""The NumPy arrays that a function uses beside its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

DEPTH = 3
MOST_HELD = 1000


def arrays_of(function: Callable[..., Any]) -> list[np.ndarray]:
    """What its closure, its defaults, its global names and the object that it is bound to hold, and lists and dicts among these."""
    found: list[np.ndarray] = []
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(function, 0)]
    while waiting and len(seen) < MOST_HELD:
        value, depth = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.ndarray):
            found.append(value)
        elif depth <= DEPTH:
            waiting += [(held, depth + 1) for held in _held_by(value)]
    return found


def _held_by(value: Any) -> Iterator[Any]:
    if isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, tuple | list):
        yield from value[:MOST_HELD]
    elif hasattr(value, "__self__") and hasattr(value, "__func__"):
        yield from (value.__self__, value.__func__)
    elif hasattr(value, "__code__"):
        yield from value.__defaults__ or ()
        yield from (cell.cell_contents for cell in value.__closure__ or () if _filled(cell))
        names = value.__code__.co_names
        yield from (value.__globals__[n] for n in names if n in value.__globals__)
    elif hasattr(value, "__dict__") and not isinstance(value, type) and type(value).__module__ != "builtins":
        yield from vars(value).values()


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading it is the test
    except ValueError:
        return False
    return True
