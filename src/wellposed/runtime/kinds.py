"""Which kind a thing is."""

from __future__ import annotations

import array
import contextvars
import functools
import io
import logging
import mmap
import random
import sys
import types
import weakref
from collections import OrderedDict, deque
from typing import Any

import numpy as np

from .containers import ARRAY, BUFFER, DEQUE, DICT, FROZENSET, LIST, ORDERED, SET, TUPLE
from .kind import ATOMS, Kind
from .objects import (
    BOUND,
    CACHE,
    CELL,
    CLASS,
    DESCRIPTOR,
    FUNCTION,
    LEAF,
    LOGGER,
    OBJECT,
    OPAQUE,
    PARTIAL,
    REFERENCE,
    SCRIPT,
    TENSOR,
    VARIABLE,
    slots_of,
)
from .positions import FILE, GENERATOR, ITERATOR, QUEUE, RANDOM, SPAWNING

_LIVE = frozenset(
    {
        "threading",
        "_thread",
        "multiprocessing",
        "concurrent",
        "logging",
        "socket",
        "asyncio",
        "subprocess",
        "select",
    }
    | {
        "ssl",
        "importlib",
        "_frozen_importlib",
        "_frozen_importlib_external",
        "zipimport",
        "ctypes",
        "_ctypes",
        "queue",
    }
)
"""Modules of what other threads and processes act on: to put back half of such an object would break it."""
_CACHE = type(functools.lru_cache(lambda: None))
_BUILTIN_METHODS = (types.BuiltinMethodType, types.MethodWrapperType)
_LEAVES = (
    types.ModuleType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    mmap.mmap,
    random.SystemRandom,
    np.generic,
    np.dtype,
)
_PAYLOADS: tuple[tuple[Any, Kind], ...] = (
    (_LEAVES, LEAF),
    (OrderedDict, ORDERED),
    (dict, DICT),
    (list, LIST),
    (tuple, TUPLE),
    (set, SET),
    (frozenset, FROZENSET),
    (deque, DEQUE),
    (np.ndarray, ARRAY),
    ((bytearray, array.array), BUFFER),
    (types.FunctionType, FUNCTION),
    (types.MethodType, BOUND),
    (_BUILTIN_METHODS, BOUND),
    (functools.partial, PARTIAL),
    ((staticmethod, classmethod, property, functools.cached_property, functools.partialmethod), DESCRIPTOR),
    (types.CellType, CELL),
    (_CACHE, CACHE),
    (weakref.ref, REFERENCE),
    (contextvars.ContextVar, VARIABLE),
    ((types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType), GENERATOR),
    (io.IOBase, FILE),
    ((random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator), RANDOM),
    (np.random.SeedSequence, SPAWNING),
)


def kinds_of(kind: type) -> tuple[Kind, ...]:
    """What an object of a class is: a container or the like, an object with attributes, or both; nothing for an atom."""
    if kind in ATOMS:
        return ()
    if issubclass(kind, type):
        return (CLASS,)
    if issubclass(kind, logging.Logger):
        return (LOGGER,)
    home = kind.__module__.partition(".")[0]
    if home in _LIVE and kind.__name__ not in ("local", "_local"):
        return (QUEUE,) if hasattr(kind, "qsize") else ()
    if home in ("jax", "jaxlib") and kind.__name__ in ("ArrayImpl", "Array"):
        return (LEAF,)
    torch = sys.modules.get("torch")
    if torch is not None:
        if issubclass(kind, torch.Tensor):
            return (TENSOR, OBJECT)
        if issubclass(kind, torch.jit.ScriptModule):
            return (SCRIPT, OBJECT)
        if issubclass(kind, torch.Generator):
            return (RANDOM,)
        if issubclass(kind, torch.dtype | torch.device | torch.layout | torch.Size):
            return ()
    payload = next((k for types_, k in _PAYLOADS if issubclass(kind, types_)), None)
    if payload is LEAF:
        return ()
    attributes = kind.__dictoffset__ != 0 or bool(slots_of(kind))
    if payload is None and not attributes:
        positioned = hasattr(kind, "__next__") and hasattr(kind, "__iter__")
        return (ITERATOR,) if positioned else (OPAQUE,)
    if payload is None:
        return (OBJECT,)
    return (payload, OBJECT) if attributes and payload not in (CACHE, FILE) else (payload,)
