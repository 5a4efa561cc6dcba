"""What an object holds, bit for bit, as a flat dict from a path to a short text that can be compared between processes."""

from __future__ import annotations

import array
import contextvars
import functools
import hashlib
import io
import itertools
import random
import threading
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

Prints = dict[str, str]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_NAMED = (type, types.BuiltinFunctionType, types.ModuleType, types.MethodDescriptorType, np.ufunc)
_SHOWN = 60


def fingerprint(root: Any, *, identities: bool = False, ends: Iterable[Any] = ()) -> Prints:
    """Bits of everything that is reachable from `root`.

    Parameters
    ----------
    root
        Walked through containers, attributes, slots and closures. Classes and modules are ends of the walk.
    identities
        Print which object stands at each path below the root, too; comparable within one process only, while all of them are alive.
    ends
        Objects that are not entered.
    """
    walker = _Walker(identities)
    walker.seen.update((id(end), "end") for end in ends)
    walker.walk("", root)
    return walker.prints


def differences(before: Prints, after: Prints) -> list[str]:
    """One line for each path at which two prints differ."""
    paths = dict.fromkeys((*before, *after))
    return [
        f"{path.lstrip('.') or 'value'}: {before.get(path, 'absent')} → {after.get(path, 'absent')}"
        for path in paths
        if before.get(path) != after.get(path)
    ]


def _digest(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()[:12]


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:20]}…{_digest(text.encode(errors='replace'))}"


def _bits(tensor: torch.Tensor) -> str:
    if tensor.is_meta or tensor.layout != torch.strided:
        return _short(repr(tensor.detach()))
    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().flatten()
    return _digest(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")


def _tensor(tensor: torch.Tensor) -> str:
    layout = (tuple(tensor.stride()), tensor.storage_offset()) if tensor.layout == torch.strided else ()
    return (
        f"{type(tensor).__name__} {tensor.dtype} {tuple(tensor.shape)} {layout} "
        f"grad={tensor.requires_grad} leaf={tensor.is_leaf} {_bits(tensor)}"
    )


def _plain_leaf(value: Any) -> str | None:
    """What can be told of a value by itself, or None where its parts must be walked."""
    if isinstance(value, _PLAIN):
        return _short(f"{type(value).__name__} {value!r}")
    if isinstance(value, _NAMED):
        return f"{type(value).__name__} {getattr(value, '__name__', value)}"
    for kind, told in _LEAVES:
        if isinstance(value, kind):
            return f"{type(value).__name__} {told(value)}"
    return None


def _file(file: Any) -> str:
    if file.closed:
        return "closed"
    return f"at {file.tell()}" if file.seekable() else "open"


_LEAVES: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (torch.Generator, lambda g: _bits(g.get_state())),
    (random.Random, lambda r: _digest(repr(r.getstate()).encode())),
    (np.random.Generator, lambda g: _digest(repr(g.bit_generator.state).encode())),
    (np.random.RandomState, lambda r: _digest(repr(r.get_state(legacy=False)).encode())),
    (np.random.SeedSequence, lambda s: f"spawned {s.n_children_spawned} {s.entropy}"),
    ((bytearray, memoryview, array.array), lambda b: _digest(bytes(b))),
    ((itertools.count, itertools.repeat), repr),
    ((itertools.cycle, itertools.chain, itertools.islice), lambda i: _digest(repr(i.__reduce__()).encode())),
    (io.IOBase, _file),
    (contextvars.ContextVar, lambda v: repr(v.get(None))),
    (functools._lru_cache_wrapper, lambda f: repr(f.cache_info())),
)


class _Walker:
    """Paths and prints of one walk; an object that was seen is printed as the path where it was first seen."""

    def __init__(self, identities: bool) -> None:
        self.identities = identities
        self.prints: Prints = {}
        self.seen: dict[int, str] = {}
        self.alive: list[Any] = []  # what is freed during the walk could lend its address to another object

    def walk(self, path: str, value: Any) -> None:
        pending = [(path, value)]
        while pending:  # a loop, since what is nested deeply must not end the walk
            path, value = pending.pop()
            pending.extend(reversed(list(self._visit(path, value))))

    def _visit(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        mutable = not isinstance(value, (*_PLAIN, *_NAMED))
        if mutable and id(value) in self.seen:
            self.prints[path] = f"the same as {self.seen[id(value)] or 'root'}"
            return
        if mutable:
            self.seen[id(value)] = path
            self.alive.append(value)
        stands_apart = isinstance(value, (tuple, types.MethodType, frozenset))
        if mutable and self.identities and path and not stands_apart:
            self.prints[f"{path} is"] = f"object {id(value):x}"
        if isinstance(value, torch.Tensor):
            self.prints[path] = _tensor(value)
            if value.is_leaf:
                yield f"{path}.grad", value.grad
            yield f"{path}._backward_hooks", value._backward_hooks
            yield from ((f"{path}.{name}", part) for name, part in vars(value).items())
            return
        if isinstance(value, np.ndarray):
            told = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
            self.prints[path] = f"{type(value).__name__} {value.dtype} {value.shape} {_digest(told)}"
            return
        leaf = _plain_leaf(value)
        if leaf is not None:
            self.prints[path] = leaf
            return
        self.prints[path] = type(value).__name__
        yield from self._parts(path, value)

    def _parts(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, (list, tuple, deque)):
            yield from self._sequence(path, value)
        elif isinstance(value, (set, frozenset)):
            self.prints[path] = f"{type(value).__name__} {_short(repr(sorted(map(repr, value))))}"
        elif isinstance(value, (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)):
            yield f"{path}.items", list(value.items() if isinstance(value, Mapping) else value)
        elif isinstance(value, (dict, types.MappingProxyType, OrderedDict)):
            self.prints[path] = f"{type(value).__name__} {_short(repr([_key(k) for k in value]))}"
            yield from ((f"{path}[{_key(key)}]", part) for key, part in value.items())
        yield from self._attributes(path, value)

    def _sequence(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        self.prints[path] = f"{type(value).__name__} of {len(value)}"
        if all(isinstance(part, _PLAIN) for part in value):  # a long list of numbers is one print
            self.prints[path] += f" {_short(repr(list(value)))}"
        else:
            yield from ((f"{path}[{i}]", part) for i, part in enumerate(value))

    def _attributes(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, types.MethodType):
            yield f"{path}.__self__", value.__self__
            yield f"{path}.__func__", value.__func__
            return
        if isinstance(value, functools.partial):
            yield from ((f"{path}.{name}", getattr(value, name)) for name in ("func", "args", "keywords"))
        if isinstance(value, types.FunctionType):
            yield from _closure(path, value)
        if isinstance(value, types.GeneratorType):
            frame = value.gi_frame
            self.prints[path] = f"generator at {frame and frame.f_lasti}"
            yield f"{path}.locals", dict(frame.f_locals) if frame else None
        if isinstance(value, weakref.ref):
            yield f"{path}()", value()
        if isinstance(value, threading.local):
            yield f"{path}.__dict__", dict(vars(value))
            return
        for cls in type(value).__mro__:
            for name in _slots(cls):
                if name not in ("__dict__", "__weakref__"):
                    yield f"{path}.{name}", _slot(value, cls, name)
        attributes = _dict(value)
        if attributes is not None:
            self.prints[f"{path} attributes"] = _short(repr(list(attributes)))
            yield from ((f"{path}.{name}", part) for name, part in attributes.items())


def _key(key: Any) -> str:
    return repr(key) if isinstance(key, _PLAIN) else type(key).__name__


def _closure(path: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    names = function.__code__.co_freevars
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            yield f"{path}<{name}>", cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            yield f"{path}<{name}>", "empty"
    yield f"{path}.defaults", function.__defaults__
    yield f"{path}.kwdefaults", function.__kwdefaults__


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _slot(value: Any, cls: type, name: str) -> Any:
    mangled = f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") else name
    try:
        return cls.__dict__[mangled].__get__(value, cls)
    except (AttributeError, KeyError):
        return "absent"


def _dict(value: Any) -> dict[str, Any] | None:
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return attributes if isinstance(attributes, dict) else None
