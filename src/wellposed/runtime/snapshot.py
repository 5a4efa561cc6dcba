"""What everything that was reached held at one moment, and giving it back."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from .kinds import ARRAY, BUFFER, MISSING, Kind, random_state, set_random_state, try_copy
from .reachable import Reached

MOST_BYTES = 1 << 28
"""Of arrays and buffers copied by one snapshot; what is larger is compared by its digest."""


class Snapshot:
    """Keeps what can change, to be given back as often as it is asked for."""

    def __init__(self, found: Reached) -> None:
        self.found = found
        budget = MOST_BYTES
        self._kept: list[tuple[Kind, Any, Any]] = []
        for kind, value in found.states:
            if kind is ARRAY or kind is BUFFER:
                # What cannot be written to stays, and what is a view stays with what it is a view of.
                if kind is ARRAY and (not value.flags.writeable or isinstance(value.base, np.ndarray)):
                    continue
                size = value.nbytes if kind is ARRAY else memoryview(value).nbytes
                if size > budget or isinstance(value, np.memmap):
                    kind = _DIGESTED
                else:
                    budget -= size
            self._kept.append((kind, value, kind.take(value)))  # type: ignore[misc]
        self._bindings = [
            (namespace, name, label, namespace.get(name, MISSING))
            for namespace, name, label in found.bindings.values()
        ]

    def lend_iterators(self) -> None:
        """Let every place that holds an iterator hold a copy of it, so that its own stays where it is."""
        made: dict[int, Any] = {}
        for holder, kind, label, iterator in self.found.iterators:
            copy = try_copy(iterator, made)
            if copy is None:
                continue
            if kind is None:
                holder[label] = copy
            elif kind.lend is not None:
                kind.lend(holder, label, copy)

    def restore(self) -> list[Exception]:
        """Give everything back; what could not be, goes on to be found by `changes`."""
        failed: list[Exception] = []
        for kind, value, kept in reversed(self._kept):
            if kind.put is not None:
                try:
                    if not kind.same(value, kept):
                        kind.put(value, kept)
                except (
                    Exception
                ) as error:  # one that refuses, as a buffer in use, must not keep the others back
                    failed.append(error)
        for namespace, name, _, kept in self._bindings:
            if namespace.get(name, MISSING) is not kept:
                if kept is MISSING:
                    del namespace[name]
                else:
                    namespace[name] = kept
        return failed

    def is_changed(self) -> bool:
        """Whether anything holds something else than it did."""
        return any(not kind.same(value, kept) for kind, value, kept in self._kept) or any(
            namespace.get(name, MISSING) is not kept for namespace, name, _, kept in self._bindings
        )

    def changes(self) -> Iterator[str]:
        """In words what is not as it was."""
        for kind, value, kept in self._kept:
            try:
                same = kind.same(value, kept)
            except Exception as error:
                yield f"{self.found.place(value)}: {kind.name} that cannot be compared ({error})"
                continue
            if not same:
                yield f"{self.found.place(value)}: {kind.name} {_SAID.get(kind.name, 'is not what it was')}"
        for namespace, name, label, kept in self._bindings:
            if namespace.get(name, MISSING) is not kept:
                yield f"{label}.{name}: a global that is not what it was"
        if self.found.unseen:
            yield f"{self.found.unseen}: more objects than a walk looks at; what lies beyond was not watched"


_SAID = {
    "an iterator": "has moved on, and cannot be moved back",
    "a generator": "has moved on, and cannot be moved back",
    "a file": "was read or written, and cannot be moved back",
    "a cache (lru_cache)": "was used: its counts and entries cannot be put back",
    "a queue": "holds another number of items",
    "a seed sequence": "has spawned others",
    "large data": "was written to; it is too large to be kept",
}


_SAMPLED_BYTES = 1 << 26
_PAGE = 1 << 12


def _crc(contents: Any) -> int:
    return zlib.crc32(contents)


def _digest(value: Any) -> tuple[Any, ...]:
    """Of all bytes, or of pages at equal distances where there are many."""
    array = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
    shape = array.shape, str(array.dtype)
    if array.dtype.hasobject or not array.flags.c_contiguous:
        return (*shape, zlib.crc32(np.asarray(array[:: max(1, len(array) // _PAGE)]).tobytes()))
    plain = np.asarray(array).reshape(-1).view(np.uint8)
    if len(plain) <= _SAMPLED_BYTES:
        return (*shape, _crc(plain))
    starts = range(0, len(plain), _PAGE * -(-len(plain) // _SAMPLED_BYTES))
    return (*shape, *(_crc(plain[k : k + _PAGE]) for k in starts))


_DIGESTED = Kind(
    name="large data", references=lambda v: iter(()), take=_digest, same=lambda v, kept: _digest(v) == kept
)


class RandomStates:
    """The states of generators of random numbers."""

    def __init__(self, generators: list[Any]) -> None:
        self._kept = [(generator, random_state(generator)) for generator in generators]

    def restore(self) -> None:
        for generator, state in self._kept:
            set_random_state(generator, state)
