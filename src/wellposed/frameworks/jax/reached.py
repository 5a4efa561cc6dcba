"""The arrays that a function reaches without being given them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

_MOST_HELD = 200
_LIBRARIES = {"jax", "jaxlib", "numpy", "builtins"}
"""Their own tables are no data of the user's."""


def held_arrays(f: Any) -> list[Any]:
    """In the cells and global names of f and of the functions that it names there: the data that a loss closes over."""
    waiting, seen, found = [f], set(), []
    while waiting and len(seen) < _MOST_HELD:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        for value in _named_by(holder):
            if callable(value):
                if _home(value) not in _LIBRARIES:
                    waiting.append(value)
            elif isinstance(value, dict | list | tuple | jax.Array | np.ndarray):
                found += [
                    v for v in jax.tree_util.tree_leaves(value) if isinstance(v, jax.Array | np.ndarray)
                ]
    return found


def _home(value: Any) -> str:
    return str(getattr(value, "__module__", "")).partition(".")[0]


def _named_by(holder: Any) -> list[Any]:
    if isinstance(holder, partial):
        return [holder.func, list(holder.args), dict(holder.keywords)]
    inner = getattr(holder, "__wrapped__", None) or getattr(holder, "__func__", holder)
    if inner is not holder and not hasattr(inner, "__code__"):
        return [inner]
    code = getattr(inner, "__code__", None)
    if code is None:
        return []
    named = [inner.__globals__[name] for name in code.co_names if name in inner.__globals__]
    return named + [cell.cell_contents for cell in inner.__closure__ or () if _is_filled(cell)]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True
