"""What takes part in a function and a walk over what it holds does not meet: the code of classes that it names, and global objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

_MOST_HELD = 200
_LIBRARIES = ("torch", "numpy", "builtins")


def hidden_roots(*subjects: Any) -> Iterator[Any]:
    """The classes, functions and objects that hold state which running the subjects may change."""
    waiting, seen = list(subjects), set()
    while waiting and len(seen) < _MOST_HELD:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        for value in _used_by(holder):
            if isinstance(value, type):
                if issubclass(value, torch.autograd.Function | nn.Module) and not _is_librarys(value):
                    yield value
                    waiting.append(value)
            elif isinstance(value, FunctionType | MethodType):
                yield value
                waiting.append(value)
            elif isinstance(value, nn.Module):
                waiting.append(value)
            elif _is_plain_object(value):
                # Another package's object is not the user's to be put back, but what it holds may take part.
                own = _package(type(value)) == _package(holder)
                yield value if own else [v for v in vars(value).values() if _may_hold_state(v)]


def _used_by(holder: Any) -> Iterator[Any]:
    """The classes of a module, the functions of a class, or what the cells and global names of a function hold."""
    if isinstance(holder, nn.Module):
        yield from {type(m): None for m in holder.modules()}
    elif isinstance(holder, type):
        for kind in holder.__mro__:
            if not _is_librarys(kind):
                for value in vars(kind).values():
                    yield getattr(value, "__func__", value)
    else:
        yield from _named_by(holder)


def _named_by(function: Any) -> Iterator[Any]:
    inner = getattr(function, "__func__", function)
    if not isinstance(inner, FunctionType):
        call = vars(type(function)).get("__call__")
        if isinstance(call, FunctionType) and not _is_librarys(type(function)):
            yield call
        return
    if _is_librarys(inner):
        return
    for name in inner.__code__.co_names:
        if name in inner.__globals__:
            yield inner.__globals__[name]
    for cell in inner.__closure__ or ():
        with suppress(ValueError):  # a cell not filled yet
            yield cell.cell_contents


def _package(value: Any) -> str:
    return (getattr(value, "__module__", None) or "").partition(".")[0]


def _is_librarys(value: Any) -> bool:
    return _package(value) in _LIBRARIES


def _is_plain_object(value: Any) -> bool:
    return (
        type(value).__module__ != "builtins"
        and not callable(value)
        and not _is_librarys(type(value))
        and not isinstance(value, ModuleType | torch.Tensor)
        and hasattr(value, "__dict__")
    )


def _may_hold_state(value: Any) -> bool:
    return isinstance(value, torch.Tensor | nn.Module | tuple | list | dict)
