"""What Python itself can rebind or fill while user code runs: attributes, containers, closure cells, globals; kept, to be given back."""

from __future__ import annotations

import copy
import dis
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from operator import is_
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from .state import Reached

CONTAINERS = (list, dict, set, deque)
CONTAINER_DEPTH = 4
CONTAINER_SIZE = 10_000  # a longer one holds data, not state


class Undo(Protocol):
    """Takes calls to be made later; an `ExitStack` is one."""

    def callback(self, function: Any, /, *args: Any) -> Any: ...


def keep_generators(undo: Undo, generators: list[Any]) -> None:
    for generator in generators:
        undo.callback(_generator_restorer(generator))


def _generator_restorer(generator: Any) -> Callable[[], object]:
    if isinstance(generator, torch.Generator):
        return partial(generator.set_state, generator.get_state())
    if isinstance(generator, np.random.Generator):
        return partial(
            setattr, generator.bit_generator, "state", copy.deepcopy(generator.bit_generator.state)
        )
    if isinstance(generator, np.random.RandomState):
        return partial(generator.set_state, generator.get_state())
    return partial(generator.setstate, generator.getstate())


def keep_python_state(undo: Undo, found: Reached) -> None:
    """Keep every attribute, container, closure cell and global name that running what was found could rebind or fill."""
    for owner in found.owners:
        _keep_attributes(undo, owner)
    for container in found.containers:
        _keep_contents(undo, container, depth=0)
    for function in found.functions:
        _keep_attributes(undo, function)
        _keep_names(undo, function)
    for kind in found.classes:
        _keep_class(undo, kind)


def _keep_names(undo: Undo, function: FunctionType) -> None:
    """What ``nonlocal`` and ``global`` can rebind."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a cell not filled yet
            undo.callback(setattr, cell, "cell_contents", cell.cell_contents)
    for name in _globals_set(function.__code__):
        if name in function.__globals__:
            undo.callback(function.__globals__.__setitem__, name, function.__globals__[name])


@lru_cache(maxsize=4096)
def _globals_set(code: CodeType) -> tuple[str, ...]:
    return tuple({i.argval for i in dis.get_instructions(code) if i.opname == "STORE_GLOBAL"})


def _keep_class(undo: Undo, kind: type) -> None:
    undo.callback(_restore_class, kind, dict(vars(kind)))
    for value in vars(kind).values():
        _keep_contents(undo, value, depth=0)


def _restore_class(kind: type, attributes: dict[str, Any]) -> None:
    for name in vars(kind).keys() - attributes.keys():
        delattr(kind, name)
    for name, value in attributes.items():
        if vars(kind).get(name) is not value and not name.startswith("__"):
            setattr(kind, name, value)


def _keep_attributes(undo: Undo, owner: Any) -> None:
    """Keep an object's own attributes, and the contents of its containers (hooks and buffers live in such)."""
    undo.callback(_refill, vars(owner), dict(vars(owner)))
    for value in vars(owner).values():
        _keep_contents(undo, value, depth=0)


def _keep_contents(undo: Undo, value: Any, depth: int) -> None:
    if not isinstance(value, CONTAINERS) or depth > CONTAINER_DEPTH or len(value) > CONTAINER_SIZE:
        return
    undo.callback(_refill, value, copy.copy(value))
    if not isinstance(value, set):
        for item in list(value.values() if isinstance(value, dict) else value):
            _keep_contents(undo, item, depth + 1)


def _refill(container: Any, contents: Any) -> None:
    """Give a container its former contents, without changing which object it is."""
    if _same(container, contents):
        return
    container.clear()
    if isinstance(container, dict | set):
        container.update(contents)
    else:
        container.extend(contents)


def is_done(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether a call that was kept would change nothing."""
    if function is _refill:
        return _same(*args)
    if function is _restore_class:
        kind, attributes = args
        return vars(kind).keys() == attributes.keys() and all(
            map(is_, vars(kind).values(), attributes.values())
        )
    if function is setattr:
        holder, name, value = args
        return getattr(holder, name, None) is value
    holder = getattr(function, "__self__", None)
    return isinstance(holder, dict) and holder.get(args[0]) is args[1]


def _same(a: Any, b: Any) -> bool:
    """Whether two containers hold the very same objects in the same order; values are never compared by ``==``."""
    if len(a) != len(b) or not all(map(is_, a, b)):
        return False
    return not isinstance(a, dict) or all(map(is_, a.values(), b.values()))
