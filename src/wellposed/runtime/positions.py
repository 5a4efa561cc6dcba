"""What has a position: iterators, generators, files, and generators of random numbers."""

from __future__ import annotations

import gc
import io
import os
import random
import sys
import types
import warnings
from contextlib import suppress
from typing import Any

import numpy as np

from .kind import ATOMS, Kind, nothing, referents
from .objects import dict_of, slots_of


def position(value: Any) -> Any:
    """Where an iterator, a generator or a file stands, to be compared with ``==``; None where it does not tell."""
    if isinstance(value, types.GeneratorType | types.CoroutineType | types.AsyncGeneratorType):
        return _frame_position(value)
    if isinstance(value, io.IOBase):
        return _file_position(value)
    reduce = getattr(value, "__reduce__", None)
    with suppress(Exception):  # whatever cannot be pickled tells nothing this way
        return _marks(_reduced(value)[1:], depth=0) if reduce is not None else None
    return tuple(getattr(value, name, None) for name in ("index", "iterindex", "line_num"))


def _marks(value: Any, depth: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_marks(v, depth) for v in value)
    if isinstance(value, list):
        return (len(value), id(value[0]) if value else 0)
    if type(value) in ATOMS:
        return value
    if depth < 8 and is_positioned(value):
        return position(value)
    return id(value)


def _reduced(value: Any) -> tuple[Any, ...]:
    if sys.version_info < (3, 12):
        return value.__reduce__()
    with warnings.catch_warnings():  # copying an itertools object is deprecated there
        warnings.simplefilter("ignore")
        return value.__reduce__()


class _Referents:
    """What a frame holds, compared by identity and kept alive for that."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Referents) or len(self.items) != len(other.items):
            return False
        pairs = zip(self.items, other.items, strict=True)
        return all(a is b or (type(a) in ATOMS and type(a) is type(b) and a == b) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]


def _frame_position(value: Any) -> Any:
    frame = (
        getattr(value, "gi_frame", None)
        or getattr(value, "cr_frame", None)
        or getattr(value, "ag_frame", None)
    )
    return None if frame is None else (frame.f_lasti, _Referents(gc.get_referents(value)))


def _file_position(value: Any) -> Any:
    if value in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        return None
    if value.closed:
        return "closed"
    if isinstance(value, io.BytesIO | io.StringIO):
        return value.tell(), value.getvalue()
    try:
        return value.tell()
    except (OSError, ValueError):  # a pipe, or a text file that is iterated over
        buffer = getattr(value, "buffer", None)
        return _file_position(buffer) if isinstance(buffer, io.IOBase) else None


def is_positioned(value: Any) -> bool:
    """Whether it is an iterator made in C, whose position is all that it has."""
    kind = type(value)
    return (
        hasattr(kind, "__next__")
        and hasattr(kind, "__iter__")
        and dict_of(value) is None
        and not slots_of(kind)
    )


class _UncopiedError(Exception):
    """An iterator that cannot be copied."""


def copied_iterator(value: Any, made: dict[int, Any]) -> Any:
    """An iterator of its own at the same position over the same objects, and so for those that it reads from."""
    if id(value) in made:
        return made[id(value)]
    try:
        function, arguments, *state = _reduced(value)
        copy = function(*_substituted(arguments, made, state=False))
        if state and state[0] is not None:
            copy.__setstate__(_substituted(state[0], made, state=True))
    except _UncopiedError:
        raise
    except Exception as error:
        raise _UncopiedError from error
    made[id(value)] = copy
    return copy


def _substituted(value: Any, made: dict[int, Any], *, state: bool) -> Any:
    if isinstance(value, tuple):
        return tuple(_substituted(v, made, state=state) for v in value)
    if isinstance(value, list):
        return [_substituted(v, made, state=True) for v in value] if state else value
    if isinstance(value, types.GeneratorType | io.IOBase):
        raise _UncopiedError
    return copied_iterator(value, made) if is_positioned(value) else value


def try_copy(value: Any, made: dict[int, Any]) -> Any:
    """As `copied_iterator`; None where it cannot be copied."""
    try:
        return copied_iterator(value, made)
    except _UncopiedError:
        return None


ITERATOR = Kind(
    name="an iterator", held=referents, take=position, same=lambda v, kept: position(v) == kept, put=None
)
GENERATOR = Kind(
    name="a generator", held=referents, take=position, same=lambda v, kept: position(v) == kept, put=None
)


def _take_file(value: Any) -> tuple[Any, Any]:
    return _file_position(value), _file_on_disk(value)


def _file_on_disk(value: Any) -> Any:
    """Its size and when it was written; None for what is in memory."""
    try:
        status = os.fstat(value.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _put_file(value: Any, kept: tuple[Any, Any]) -> None:
    place, on_disk = kept
    if isinstance(value, io.BytesIO | io.StringIO):
        place, contents = place
        value.seek(0)
        value.truncate()
        value.write(contents)
        value.seek(place)
    elif isinstance(place, int):
        if value.writable():
            value.flush()
        if _file_on_disk(value) == on_disk:  # else it was written, and to go back would overwrite
            value.seek(place)


FILE = Kind(
    name="a file",
    held=nothing,
    take=_take_file,
    same=lambda v, kept: _file_position(v) == kept[0],
    put=_put_file,
)
QUEUE = Kind(
    name="a queue",
    held=nothing,
    take=lambda v: v.qsize(),
    same=lambda v, kept: v.qsize() == kept,
)
SPAWNING = Kind(
    name="a seed sequence",
    held=nothing,
    take=lambda v: v.n_children_spawned,
    same=lambda v, kept: v.n_children_spawned == kept,
)
RANDOM = Kind(name="a random generator", held=lambda v: iter((("", _seed_sequence(v)),)))


def _seed_sequence(value: Any) -> Any:
    bits = getattr(value, "bit_generator", value)
    return getattr(bits, "seed_seq", None)


def random_state(value: Any) -> Any:
    """The state of a generator of random numbers, as `set_random_state` takes it."""
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    return value.state if isinstance(value, np.random.BitGenerator) else value.get_state()


def set_random_state(value: Any, state: Any) -> None:
    if isinstance(value, random.Random):
        value.setstate(state)
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = state
    elif isinstance(value, np.random.BitGenerator):
        value.state = state
    else:
        value.set_state(state)
