"""What a function, an object or a module holds: the one walk of this package.

From each root it follows attributes, ``__slots__``, containers, closures, defaults, bound methods, partials, hooks and iterators; and, of
the user's own code, the globals that it names, the modules of the user's that it names, and its classes with all that they hold. The
code of installed packages is not entered; what the user holds of their objects is.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

from .kinds import (
    ATOMS,
    CLASS,
    DEQUE,
    DICT,
    FUNCTION,
    ITERATOR,
    LIST,
    MISSING,
    OBJECT,
    ORDERED,
    RANDOM,
    SET,
    TENSOR,
    TUPLE,
    Kind,
    is_users,
    kinds_of,
    names_in,
    names_set_in,
    namespaces,
)

MOST_OBJECTS = 1_000_000
"""A walk ends after so many; `Reached.unseen` then says where."""
_NARROW_DEPTH = 4
_DEEPENING = frozenset({LIST, DICT, ORDERED, SET, DEQUE, TUPLE, OBJECT})

Parent = tuple[Any, Any]
"""What holds a thing, and under which label."""


class Reached:
    """What a walk from the roots found, each object once, in the order of the walk."""

    def __init__(self) -> None:
        self.states: list[tuple[Kind, Any]] = []
        """What can change; an object with attributes that is a container too stands here twice."""
        self.tensors: list[Any] = []
        self.n_own_tensors = 0
        """How many of them were found before the data were walked."""
        self.generators: list[Any] = []
        """Of random numbers."""
        self.iterators: list[tuple[Any, Kind | None, Any, Any]] = []
        """Each place that holds one: the holder, its kind, the label and the iterator."""
        self.bindings: dict[tuple[int, str], tuple[dict[str, Any], str, str]] = {}
        """Names in namespaces that code looks up or sets: the namespace, the name and how the namespace is called."""
        self.unseen = ""
        """Where the walk ended for want of budget; empty where it saw everything."""
        self._objects: dict[int, Any] = {}
        self._parents: dict[int, Parent] = {}

    def __contains__(self, value: Any) -> bool:
        return self._objects.get(id(value), MISSING) is value

    def __len__(self) -> int:
        return len(self._objects)

    def of(self, kind: Any) -> Iterator[Any]:
        """The objects of a class, in the order of the walk."""
        return (v for v in self._objects.values() if isinstance(v, kind))

    def place(self, value: Any) -> str:
        """Where it was found, as ``model.encoder.rows`` or ``train.dataset.stream``."""
        parts: list[str] = []
        while id(value) in self._parents:
            if isinstance(value, type | FunctionType) and parts:
                parts.append(f"{value.__module__}.{value.__qualname__}")
                break
            holder, label = self._parents[id(value)]
            above = self._parents.get(id(holder), (None, ""))[1]
            parts.append(f".{label}" if above in _OF_MODULES else _written(label))
            if isinstance(label, _Root | _Global):
                break
            value = holder
        return "".join(reversed(parts)).removeprefix(".")


class _Root(str):
    """The name of a root."""


class _Global(str):
    """A dotted name: whoever names it, it is found there."""


_OF_MODULES = ("._modules", "._parameters", "._buffers")
_UNWRITTEN = frozenset({*_OF_MODULES, "its class", "a base", "its hooks"})


def _written(label: Any) -> str:
    if not isinstance(label, str):
        return f"[{label!r}]" if type(label) in ATOMS else "[…]"
    if label in _UNWRITTEN:
        return ""
    if isinstance(label, _Root | _Global) or label.startswith("."):
        return str(label)
    return f".{label}" if label.isidentifier() else "" if not label or " " in label else f"[{label!r}]"


def reach(
    roots: Iterable[Any] | Mapping[str, Any], *, data: Mapping[str, Any] | None = None, wide: bool = True
) -> Reached:
    """Walk from the roots to everything that running them could touch.

    Parameters
    ----------
    roots
        Objects, or objects by the names that places begin with.
    data
        Further roots, that hold rows rather than weights.
    wide
        False leaves out the code of classes, the data, and what is more than a few steps away from a module or a function:
        what takes part, rather than whatever might change.
    """
    if not isinstance(roots, Mapping):
        roots = {f"{type(r).__name__}{i or ''}": r for i, r in enumerate(roots)}
    walk = _Walk(wide)
    for name, root in roots.items():
        walk.run(_Root(name), root)
    walk.found.n_own_tensors = len(walk.found.tensors)
    for name, root in (data or {}).items():
        walk.run(_Root(name), root)
    return walk.found


class _Walk:
    def __init__(self, wide: bool) -> None:
        self.found, self.wide = Reached(), wide
        self._kinds: dict[type, tuple[Kind, ...]] = {}

    def run(self, name: str, root: Any) -> None:
        found, objects, parents, kinds = self.found, self.found._objects, self.found._parents, self._kinds
        waiting: list[tuple[Any, Any, Any, int]] = [(root, None, name, 0)]
        while waiting:
            value, holder, label, depth = waiting.pop()
            kind = type(value)
            parts = kinds.get(kind)
            if parts is None:
                parts = kinds[kind] = kinds_of(kind)
            if not parts or id(value) in objects or value is MISSING:
                continue
            if len(objects) >= MOST_OBJECTS:
                parents.setdefault(id(value), (holder, label))
                found.unseen = found.place(value)
                return
            if parts[0] is CLASS and not (self.wide and is_users(value)):
                continue
            objects[id(value)] = value
            if holder is not None or label:
                parents[id(value)] = (holder, label)
            if not self.wide:
                depth = self._depth(value, parts, depth)
                if depth > _NARROW_DEPTH:
                    continue
            inner: list[tuple[Any, Any, Any, int]] = []
            for part in parts:
                self._note(part, value)
                for key, item in part.references(value):
                    if type(item) not in ATOMS:
                        inner.append((item, value, key, depth))
                        if self._is_iterator(item):
                            found.iterators.append((value, part, key, item))
            if parts[0] is FUNCTION:
                inner += ((item, None, key, depth) for key, item in self._globals(value))
            inner.reverse()
            waiting += inner

    def _depth(self, value: Any, parts: tuple[Kind, ...], depth: int) -> int:
        """How many containers and objects lie between it and the last module."""
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.nn.Module):
            return 0
        if torch is not None and isinstance(value, _data_of(torch)):
            return _NARROW_DEPTH + 1
        return depth + (parts[0] in _DEEPENING)

    def _note(self, part: Kind, value: Any) -> None:
        if part is TENSOR:
            self.found.tensors.append(value)
        elif part is RANDOM:
            self.found.generators.append(value)
        if part.take is not None:
            self.found.states.append((part, value))

    def _is_iterator(self, item: Any) -> bool:
        parts = self._kinds.get(type(item))
        if parts is None:
            parts = self._kinds[type(item)] = kinds_of(type(item))
        return parts == (ITERATOR,)

    def _globals(self, function: FunctionType) -> Iterator[tuple[Any, Any]]:
        if not is_users(function):
            return
        names = names_in(function.__code__)
        set_here = names_set_in(function.__code__)
        bindings = self.found.bindings
        for label, namespace in namespaces(function):
            for name in names:
                value = namespace.get(name, MISSING)
                if value is MISSING and name not in set_here:
                    continue
                if (id(namespace), name) not in bindings:
                    bindings[id(namespace), name] = (namespace, name, label)
                if value is MISSING or not (self.wide or _takes_part(value)):
                    continue
                if self._is_iterator(value):
                    self.found.iterators.append((namespace, None, name, value))
                yield _Global(f"{label}.{name}"), value


def _data_of(torch: Any) -> tuple[Any, ...]:
    data = torch.utils.data
    return data.DataLoader, data.Dataset, data.Sampler


def _takes_part(value: Any) -> bool:
    torch = sys.modules.get("torch")
    named = (functools.partial, FunctionType, list, dict, set)
    return isinstance(value, named if torch is None else (*named, torch.nn.Module, torch.Tensor))
