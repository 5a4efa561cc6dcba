"""The kinds of objects that a user's code may hold: how each is walked, kept, compared and put back.

A kind never calls the user's code: containers are read and written through the methods of the built-in types, attributes through
``__dict__`` and the descriptors of ``__slots__``, and values are compared by identity.

In this order: what a kind is; whose code it is; containers and buffers; objects, classes and functions; what has a position
(iterators, generators, files, random generators); and the choice of the kind for an object.
"""

from __future__ import annotations

import array
import contextvars
import dis
import functools
import gc
import importlib.machinery
import io
import logging
import mmap
import os
import random
import site
import sys
import sysconfig
import types
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import is_
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

References = Iterator[tuple[Any, Any]]
"""Pairs of a label and what is held under it: ``".name"`` for an attribute, any other key for an item."""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "<missing>"})()

ATOMS = frozenset(
    {int, float, complex, bool, str, bytes, type(None), type(Ellipsis), type(NotImplemented), range, slice}
    | {types.CodeType, types.FrameType, types.TracebackType, np.dtype, types.GenericAlias, types.UnionType}
)
"""Types of what holds nothing that can change."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """How one kind of thing is walked, kept, compared and given back."""

    name: str
    references: Callable[[Any], References]
    take: Callable[[Any], Any] | None = None
    """A copy of what it holds; None for what cannot change."""
    same: Callable[[Any, Any], bool] = is_
    """Whether it holds what was taken, the very same objects."""
    put: Callable[[Any, Any], None] | None = None
    """Give it back what was taken; None for what Python cannot set."""
    lend: Callable[[Any, Any, Any], None] | None = None
    """Hold something else under a label for a while; None where nothing can be replaced."""


def nothing(value: Any) -> References:
    return iter(())


def all_same(a: Any, b: Any) -> bool:
    return all(map(is_, a, b))


def referents(value: Any) -> References:
    """What an object made in C tells the garbage collector that it holds."""
    for item in gc.get_referents(value):
        if not isinstance(item, type | types.ModuleType):
            yield "", item


_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class whose attributes can be set."""


def _library_folders() -> tuple[str, ...]:
    named = [sysconfig.get_paths().get(n) for n in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = {*filter(None, named), *site.getsitepackages(), site.getusersitepackages()}
    folders = {p for f in found for p in (str(Path(f)), str(Path(f).resolve()))}
    return tuple(sorted(f.rstrip("/\\") + sep for f in folders for sep in ("/", "\\")))


_FOLDERS = _library_folders()
_OWN = str(Path(__file__).resolve().parents[1])


@cache
def _is_library_file(name: str) -> bool:
    return name.startswith(("<frozen", _OWN, *_FOLDERS))


@cache
def _is_library_module(name: str) -> bool:
    """By name: a module that is loaded keeps its file."""
    module = sys.modules.get(name)
    if name == "__main__" or module is None:
        return False
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return _is_library_file(file)
    loader = getattr(module, "__loader__", None)
    builtin = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)
    return name.partition(".")[0] in sys.builtin_module_names or loader in builtin


def is_users(value: Any) -> bool:
    """Whether a class, function or module was written outside the standard library, installed packages and wellposed."""
    if isinstance(value, FunctionType):
        return not _is_library_file(value.__code__.co_filename)
    if isinstance(value, ModuleType):
        return not _is_library_module(value.__name__)
    if not isinstance(value, type) or not value.__flags__ & _HEAP_TYPE:
        return False
    home = value.__module__
    # A class that was made in a namespace without a name says that it is Python's own.
    return not isinstance(home, str) or home == "builtins" or not _is_library_module(home)


@lru_cache(maxsize=8192)
def names_in(code: CodeType) -> frozenset[str]:
    """Every name that code and the code inside it looks up, and the words among its constants, as in ``globals()["count"]``."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_in(constant)
        elif isinstance(constant, str) and len(constant) < 100 and constant.replace(".", "_").isidentifier():
            names.add(constant)
    return frozenset(names)


@lru_cache(maxsize=8192)
def names_set_in(code: CodeType) -> frozenset[str]:
    """The names that code and the code inside it sets, as globals or as attributes."""
    values = {
        i.argval
        for i in dis.get_instructions(code)
        if i.opname in ("STORE_GLOBAL", "STORE_ATTR", "STORE_NAME")
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            values |= names_set_in(constant)
    return frozenset(values)


def namespaces(function: FunctionType) -> Iterator[tuple[str, dict[str, Any]]]:
    """The globals of a function, and the namespaces of the user's modules that it names, imports or reaches through them."""
    names = names_in(function.__code__)
    home = function.__globals__
    waiting = [(str(home.get("__name__", "globals")), home)]
    package = home.get("__package__") or ""
    for name in names:
        for full in (name, f"{package}.{name}"):
            module = sys.modules.get(full)
            if isinstance(module, ModuleType) and is_users(module):
                waiting.append((full, vars(module)))
    seen: set[int] = set()
    while waiting:
        label, namespace = waiting.pop()
        if id(namespace) in seen:
            continue
        seen.add(id(namespace))
        yield label, namespace
        for name in names:
            value = namespace.get(name)
            if type(value) is ModuleType and is_users(value):
                waiting.append((value.__name__, vars(value)))


def _same_list(value: Any, kept: list[Any]) -> bool:
    return list.__len__(value) == len(kept) and all_same(list.__iter__(value), kept)


def _references_of_list(value: Any) -> References:
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


def _references_of_dict(value: Any) -> References:
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
    name="a list",
    references=_references_of_list,
    take=list.copy,
    same=_same_list,
    put=_put_list,
    lend=list.__setitem__,
)
DICT = Kind(
    name="a dict",
    references=_references_of_dict,
    take=dict.copy,
    same=same_dict,
    put=put_dict,
    lend=dict.__setitem__,
)
ORDERED = Kind(
    name="an OrderedDict",
    references=_references_of_dict,
    take=lambda v: list(OrderedDict.items(v)),
    same=_same_ordered,
    put=_put_ordered,
    lend=OrderedDict.__setitem__,
)
SET = Kind(
    name="a set",
    references=lambda v: iter([("an element", e) for e in set.__iter__(v)]),
    take=lambda v: list(set.__iter__(v)),
    same=_same_set,
    put=_put_set,
)
DEQUE = Kind(
    name="a deque",
    references=lambda v: iter(list(enumerate(deque.__iter__(v)))),
    take=lambda v: list(deque.__iter__(v)),
    same=_same_deque,
    put=_put_deque,
    lend=deque.__setitem__,
)
TUPLE = Kind(name="a tuple", references=lambda v: enumerate(tuple.__iter__(v)))
FROZENSET = Kind(name="a frozenset", references=lambda v: (("an element", e) for e in frozenset.__iter__(v)))


def _put_buffer(value: Any, kept: Any) -> None:
    value[:] = kept


BUFFER = Kind(
    name="a buffer",
    references=nothing,
    take=lambda v: v[:],
    same=lambda v, kept: len(v) == len(kept) and memoryview(v).cast("B") == memoryview(kept).cast("B"),
    put=_put_buffer,
)


def _references_of_array(value: np.ndarray) -> References:
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


ARRAY = Kind(
    name="an array", references=_references_of_array, take=_take_array, same=_same_array, put=_put_array
)


@functools.lru_cache(maxsize=4096)
def slots_of(kind: type) -> tuple[tuple[str, Any], ...]:
    """The descriptors of ``__slots__`` along the classes of an object, by the name that the code uses."""
    found = []
    for base in kind.__mro__:
        # wellposed's own slots hold what a walk must not find.
        if "__slots__" not in vars(base) or base.__module__.partition(".")[0] in ("wellposed", "builtins"):
            continue
        found += [(n, d) for n, d in vars(base).items() if type(d) is types.MemberDescriptorType]
    return tuple(found)


def dict_of(value: Any) -> dict[str, Any] | None:
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        return None
    return attributes if isinstance(attributes, dict) else None


def _slot(descriptor: Any, value: Any) -> Any:
    try:
        return descriptor.__get__(value)
    except AttributeError:
        return MISSING


def _references_of_object(value: Any) -> References:
    for name, item in dict.copy(dict_of(value) or {}).items():
        yield f".{name}" if type(name) is str else name, item
    for name, descriptor in slots_of(type(value)):
        yield f".{name}", _slot(descriptor, value)
    if is_users(type(value)):
        yield "its class", type(value)


def _take_attributes(value: Any) -> tuple[Any, ...]:
    own = dict_of(value)
    slots = [(d, _slot(d, value)) for _, d in slots_of(type(value))]
    return type(value), own, None if own is None else dict.copy(own), slots


def _same_attributes(value: Any, kept: tuple[Any, ...]) -> bool:
    kind, own, contents, slots = kept
    if type(value) is not kind or (own is not None and dict_of(value) is not own):
        return False
    if own is not None and not same_dict(own, contents):
        return False
    return not slots or all(_slot(d, value) is v for d, v in slots)


def _put_attributes(value: Any, kept: tuple[Any, ...]) -> None:
    kind, own, contents, slots = kept
    if type(value) is not kind:
        object.__setattr__(value, "__class__", kind)
    if own is not None:
        if dict_of(value) is not own:
            object.__setattr__(value, "__dict__", own)
        put_dict(own, contents)
    for descriptor, item in slots:
        if item is not MISSING:
            descriptor.__set__(value, item)
        elif _slot(descriptor, value) is not MISSING:
            descriptor.__delete__(value)


def _lend_attribute(value: Any, label: Any, item: Any) -> None:
    name = label[1:] if isinstance(label, str) else label
    own = dict_of(value)
    if own is not None and name in own:
        own[name] = item
    else:
        dict(slots_of(type(value)))[name].__set__(value, item)


OBJECT = Kind(
    name="an object",
    references=_references_of_object,
    take=_take_attributes,
    same=_same_attributes,
    put=_put_attributes,
    lend=_lend_attribute,
)

_OWN_TO_CLASSES = frozenset({"__dict__", "__weakref__", "__abstractmethods__", "_abc_impl"})


def _references_of_class(value: type) -> References:
    for name, item in dict(vars(value)).items():
        if not name.startswith("__") or isinstance(
            item, types.FunctionType | staticmethod | classmethod | property
        ):
            yield f".{name}", item
    for base in value.__mro__[1:]:
        if is_users(base):
            yield "a base", base
    if is_users(type(value)):
        yield "its class", type(value)


def _same_class(value: type, kept: dict[str, Any]) -> bool:
    own = vars(value)
    return own.keys() == kept.keys() and all_same(map(own.get, kept), kept.values())


def _put_class(value: type, kept: dict[str, Any]) -> None:
    for name in vars(value).keys() - kept.keys():
        type.__delattr__(value, name)
    for name, item in kept.items():
        if name not in _OWN_TO_CLASSES and vars(value).get(name, MISSING) is not item:
            type.__setattr__(value, name, item)


CLASS = Kind(
    name="a class",
    references=_references_of_class,
    take=lambda v: dict(vars(v)),
    same=_same_class,
    put=_put_class,
    lend=lambda v, label, item: type.__setattr__(v, label[1:], item),
)


def cell_contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return MISSING


def _put_cell(cell: types.CellType, kept: Any) -> None:
    if kept is not MISSING:
        cell.cell_contents = kept
    elif cell_contents(cell) is not MISSING:
        del cell.cell_contents


def _lend_cell(cell: types.CellType, label: Any, item: Any) -> None:
    cell.cell_contents = item


CELL = Kind(
    name="a closure's variable",
    references=lambda c: iter((("", cell_contents(c)),)),
    take=cell_contents,
    same=lambda c, kept: cell_contents(c) is kept,
    put=_put_cell,
    lend=_lend_cell,
)


def _references_of_function(value: types.FunctionType) -> References:
    yield "its defaults", value.__defaults__
    yield "its defaults", value.__kwdefaults__
    yield from zip((f".{n}" for n in value.__code__.co_freevars), value.__closure__ or (), strict=True)


def _take_function(value: types.FunctionType) -> tuple[Any, ...]:
    return value.__code__, value.__defaults__, value.__kwdefaults__


def _put_function(value: types.FunctionType, kept: tuple[Any, ...]) -> None:
    value.__code__, value.__defaults__, value.__kwdefaults__ = kept


FUNCTION = Kind(
    name="a function",
    references=_references_of_function,
    take=_take_function,
    same=lambda v, kept: all_same(_take_function(v), kept),
    put=_put_function,
)


def _references_of_bound(value: Any) -> References:
    holder = value.__self__
    if not isinstance(holder, types.ModuleType):
        yield "", holder
    yield "", getattr(value, "__func__", None)


BOUND = Kind(name="a method", references=_references_of_bound)


def _references_of_partial(value: functools.partial[Any]) -> References:
    yield "", value.func
    yield "", value.args
    yield "", value.keywords


PARTIAL = Kind(name="a partial", references=_references_of_partial)


def _references_of_descriptor(value: Any) -> References:
    for name in ("__func__", "fget", "fset", "fdel", "func", "__wrapped__"):
        yield "", getattr(value, name, None)


DESCRIPTOR = Kind(name="a descriptor", references=_references_of_descriptor)


def _references_of_opaque(value: Any) -> References:
    yield "", getattr(value, "__wrapped__", None)
    yield from referents(value)


OPAQUE = Kind(name="an object", references=_references_of_opaque)
LEAF = Kind(name="a leaf", references=nothing)


def _references_of_logger(value: logging.Logger) -> References:
    """The handlers that the user wrote; the others write somewhere, which nobody can take back."""
    logger: logging.Logger | None = value
    while logger is not None:
        yield from ((".handlers", h) for h in logger.handlers if is_users(type(h)))
        logger = logger.parent if logger.propagate else None


LOGGER = Kind(name="a logger", references=_references_of_logger)
REFERENCE = Kind(name="a weak reference", references=lambda v: iter((("", weakref.ref.__call__(v)),)))


def _put_cache(value: Any, kept: Any) -> None:
    if kept.currsize == kept.hits == kept.misses == 0:
        value.cache_clear()


CACHE = Kind(
    name="a cache (lru_cache)",
    references=lambda v: iter([("", v.__wrapped__), *referents(v)]),
    take=lambda v: v.cache_info(),
    same=lambda v, kept: v.cache_info() == kept,
    put=_put_cache,
)


def _read_variable(value: contextvars.ContextVar[Any]) -> Any:
    return value.get(MISSING)


def _take_variable(value: contextvars.ContextVar[Any]) -> tuple[Any, Any]:
    """What it has, and what unsets it again where that is its default; without a default it stays unset, and nothing unsets it."""
    if value.get(MISSING) is not MISSING:
        return value.get(), None
    try:
        default = value.get()
    except LookupError:
        return MISSING, None
    return default, value.set(default)


def _put_variable(value: contextvars.ContextVar[Any], kept: tuple[Any, Any]) -> None:
    before, token = kept
    if before is not MISSING:
        value.set(before)
    if token is not None:
        with suppress(RuntimeError):  # used already: then it has its default
            value.reset(token)


VARIABLE = Kind(
    name="a context variable",
    references=lambda v: iter((("", _read_variable(v)),)),
    take=_take_variable,
    same=lambda v, kept: _read_variable(v) is (kept[0] if kept[1] is None else MISSING),
    put=_put_variable,
)


def _references_of_tensor(value: Any) -> References:
    for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
        yield "its hooks", getattr(value, name, None)
    # The plain tensors that hold the numbers of a wrapper, such as a quantised tensor.
    if hasattr(value, "__tensor_flatten__") and hasattr(type(value), "__tensor_unflatten__"):
        for name in value.__tensor_flatten__()[0]:
            yield f".{name}", getattr(value, name)


TENSOR = Kind(name="a tensor", references=_references_of_tensor)


def _references_of_script(module: Any) -> References:
    yield from module.named_parameters()
    yield from module.named_buffers()


SCRIPT = Kind(name="a TorchScript module", references=_references_of_script)
"""Its parameters and buffers live in C++, and only its methods tell them."""


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
    name="an iterator",
    references=referents,
    take=position,
    same=lambda v, kept: position(v) == kept,
    put=None,
)
GENERATOR = Kind(
    name="a generator",
    references=referents,
    take=position,
    same=lambda v, kept: position(v) == kept,
    put=None,
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
    references=nothing,
    take=_take_file,
    same=lambda v, kept: _file_position(v) == kept[0],
    put=_put_file,
)
QUEUE = Kind(
    name="a queue",
    references=nothing,
    take=lambda v: v.qsize(),
    same=lambda v, kept: v.qsize() == kept,
)
SPAWNING = Kind(
    name="a seed sequence",
    references=nothing,
    take=lambda v: v.n_children_spawned,
    same=lambda v, kept: v.n_children_spawned == kept,
)
RANDOM = Kind(name="a random generator", references=lambda v: iter((("", _seed_sequence(v)),)))


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
    if kind in ATOMS or issubclass(kind, weakref.ProxyTypes):  # a proxy answers for what others hold
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
