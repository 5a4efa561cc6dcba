"""Containers and buffers of Python and NumPy."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

import numpy as np

from .kind import ATOMS, Held, Kind, all_same, nothing


def _same_list(value: Any, kept: list[Any]) -> bool:
    return list.__len__(value) == len(kept) and all_same(list.__iter__(value), kept)


def _held_by_list(value: Any) -> Held:
    return iter(enumerate(list.copy(value)))


def _put_list(value: Any, kept: list[Any]) -> None:
    list.__setitem__(value, slice(None), kept)


def same_dict(value: Any, kept: dict[Any, Any]) -> bool:
    if dict.__len__(value) != len(kept):
        return False
    return not kept or (all_same(dict.__iter__(value), kept) and all_same(dict.values(value), kept.values()))


def put_dict(value: Any, kept: dict[Any, Any]) -> None:
    if dict.__len__(value) == len(kept) and all_same(dict.__iter__(value), kept):
        for key, item in kept.items():
            if dict.__getitem__(value, key) is not item:
                dict.__setitem__(value, key, item)
        return
    dict.clear(value)
    dict.update(value, kept)


def _held_by_dict(value: Any) -> Held:
    for key, item in dict.copy(value).items():
        yield key, item
        if type(key) not in ATOMS:
            yield "a key", key


def _same_ordered(value: Any, kept: list[tuple[Any, Any]]) -> bool:
    if dict.__len__(value) != len(kept):
        return False
    return not kept or all(
        a is k and b is v for (a, b), (k, v) in zip(OrderedDict.items(value), kept, strict=True)
    )


def _put_ordered(value: Any, kept: list[tuple[Any, Any]]) -> None:
    OrderedDict.clear(value)
    for key, item in kept:
        OrderedDict.__setitem__(value, key, item)


def _same_set(value: Any, kept: list[Any]) -> bool:
    return set.__len__(value) == len(kept) and {id(v) for v in set.__iter__(value)} == {id(v) for v in kept}


def _put_set(value: Any, kept: list[Any]) -> None:
    set.clear(value)
    set.update(value, kept)


def _same_deque(value: Any, kept: list[Any]) -> bool:
    return deque.__len__(value) == len(kept) and all_same(deque.__iter__(value), kept)


def _put_deque(value: Any, kept: list[Any]) -> None:
    deque.clear(value)
    deque.extend(value, kept)


LIST = Kind(
    name="a list", held=_held_by_list, take=list.copy, same=_same_list, put=_put_list, lend=list.__setitem__
)
DICT = Kind(
    name="a dict", held=_held_by_dict, take=dict.copy, same=same_dict, put=put_dict, lend=dict.__setitem__
)
ORDERED = Kind(
    name="an OrderedDict",
    held=_held_by_dict,
    take=lambda v: list(OrderedDict.items(v)),
    same=_same_ordered,
    put=_put_ordered,
    lend=OrderedDict.__setitem__,
)
SET = Kind(
    name="a set",
    held=lambda v: iter([("an element", e) for e in set.__iter__(v)]),
    take=lambda v: list(set.__iter__(v)),
    same=_same_set,
    put=_put_set,
)
DEQUE = Kind(
    name="a deque",
    held=lambda v: iter(list(enumerate(deque.__iter__(v)))),
    take=lambda v: list(deque.__iter__(v)),
    same=_same_deque,
    put=_put_deque,
    lend=deque.__setitem__,
)
TUPLE = Kind(name="a tuple", held=lambda v: enumerate(tuple.__iter__(v)))
FROZENSET = Kind(name="a frozenset", held=lambda v: (("an element", e) for e in frozenset.__iter__(v)))


def _put_buffer(value: Any, kept: Any) -> None:
    value[:] = kept


BUFFER = Kind(
    name="a buffer",
    held=nothing,
    take=lambda v: v[:],
    same=lambda v, kept: len(v) == len(kept) and memoryview(v).cast("B") == memoryview(kept).cast("B"),
    put=_put_buffer,
)


def _held_by_array(value: np.ndarray) -> Held:
    yield ".base", value.base
    if value.dtype.hasobject:
        flat = np.ndarray.ravel(value)
        yield from enumerate(flat.tolist() if flat.dtype.kind == "O" else ())


def _take_array(value: np.ndarray) -> tuple[Any, ...]:
    return value.shape, value.dtype, np.array(value, copy=True, subok=False)


def _same_array(value: np.ndarray, kept: tuple[Any, ...]) -> bool:
    shape, dtype, contents = kept
    if value.shape != shape or value.dtype != dtype:
        return False
    plain = np.asarray(value)
    if dtype.kind == "O":
        return all_same(plain.ravel(), contents.ravel())
    if plain.flags.c_contiguous and not dtype.hasobject:
        return bool(np.array_equal(plain.reshape(-1).view(np.uint8), contents.reshape(-1).view(np.uint8)))
    return plain.tobytes() == contents.tobytes()


def _put_array(value: np.ndarray, kept: tuple[Any, ...]) -> None:
    shape, dtype, contents = kept
    if value.dtype != dtype:
        setattr(value, "dtype", dtype)  # noqa: B010 - the stub names no setter
    if value.size != contents.size:
        value.resize(shape, refcheck=False)
    elif value.shape != shape:
        value.shape = shape
    np.asarray(value)[...] = contents


ARRAY = Kind(name="an array", held=_held_by_array, take=_take_array, same=_same_array, put=_put_array)
