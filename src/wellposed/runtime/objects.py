"""Objects, classes, functions, and what stands for them."""

from __future__ import annotations

import contextvars
import functools
import logging
import types
import weakref
from contextlib import suppress
from typing import Any

from .code import is_users
from .containers import put_dict, same_dict
from .kind import MISSING, Held, Kind, all_same, nothing, referents


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
        found = object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _slot(descriptor: Any, value: Any) -> Any:
    try:
        return descriptor.__get__(value)
    except AttributeError:
        return MISSING


def _held_by_object(value: Any) -> Held:
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
    held=_held_by_object,
    take=_take_attributes,
    same=_same_attributes,
    put=_put_attributes,
    lend=_lend_attribute,
)

_OWN_TO_CLASSES = frozenset({"__dict__", "__weakref__", "__abstractmethods__", "_abc_impl"})


def _held_by_class(value: type) -> Held:
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
    held=_held_by_class,
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
    held=lambda c: iter((("", cell_contents(c)),)),
    take=cell_contents,
    same=lambda c, kept: cell_contents(c) is kept,
    put=_put_cell,
    lend=_lend_cell,
)


def _held_by_function(value: types.FunctionType) -> Held:
    yield "its defaults", value.__defaults__
    yield "its defaults", value.__kwdefaults__
    yield from zip((f".{n}" for n in value.__code__.co_freevars), value.__closure__ or (), strict=True)


def _take_function(value: types.FunctionType) -> tuple[Any, ...]:
    return value.__code__, value.__defaults__, value.__kwdefaults__


def _put_function(value: types.FunctionType, kept: tuple[Any, ...]) -> None:
    value.__code__, value.__defaults__, value.__kwdefaults__ = kept


FUNCTION = Kind(
    name="a function",
    held=_held_by_function,
    take=_take_function,
    same=lambda v, kept: all_same(_take_function(v), kept),
    put=_put_function,
)


def _held_by_bound(value: Any) -> Held:
    holder = value.__self__
    if not isinstance(holder, types.ModuleType):
        yield "", holder
    yield "", getattr(value, "__func__", None)


BOUND = Kind(name="a method", held=_held_by_bound)


def _held_by_partial(value: functools.partial[Any]) -> Held:
    yield "", value.func
    yield "", value.args
    yield "", value.keywords


PARTIAL = Kind(name="a partial", held=_held_by_partial)


def _held_by_descriptor(value: Any) -> Held:
    for name in ("__func__", "fget", "fset", "fdel", "func", "__wrapped__"):
        yield "", getattr(value, name, None)


DESCRIPTOR = Kind(name="a descriptor", held=_held_by_descriptor)


def _held_by_opaque(value: Any) -> Held:
    yield "", getattr(value, "__wrapped__", None)
    yield from referents(value)


OPAQUE = Kind(name="an object", held=_held_by_opaque)
LEAF = Kind(name="a leaf", held=nothing)


def _held_by_logger(value: logging.Logger) -> Held:
    """The handlers that the user wrote; the others write somewhere, which nobody can take back."""
    logger: logging.Logger | None = value
    while logger is not None:
        yield from ((".handlers", h) for h in logger.handlers if is_users(type(h)))
        logger = logger.parent if logger.propagate else None


LOGGER = Kind(name="a logger", held=_held_by_logger)
REFERENCE = Kind(name="a weak reference", held=lambda v: iter((("", weakref.ref.__call__(v)),)))


def _put_cache(value: Any, kept: Any) -> None:
    if kept.currsize == kept.hits == kept.misses == 0:
        value.cache_clear()


CACHE = Kind(
    name="a cache (lru_cache)",
    held=lambda v: iter([("", v.__wrapped__), *referents(v)]),
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
    held=lambda v: iter((("", _read_variable(v)),)),
    take=_take_variable,
    same=lambda v, kept: _read_variable(v) is (kept[0] if kept[1] is None else MISSING),
    put=_put_variable,
)


def _held_by_tensor(value: Any) -> Held:
    for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
        yield "its hooks", getattr(value, name, None)
    # The plain tensors that hold the numbers of a wrapper, such as a quantised tensor.
    if hasattr(value, "__tensor_flatten__") and hasattr(type(value), "__tensor_unflatten__"):
        for name in value.__tensor_flatten__()[0]:
            yield f".{name}", getattr(value, name)


TENSOR = Kind(name="a tensor", held=_held_by_tensor)


def _held_by_script(module: Any) -> Held:
    yield from module.named_parameters()
    yield from module.named_buffers()


SCRIPT = Kind(name="a TorchScript module", held=_held_by_script)
"""Its parameters and buffers live in C++, and only its methods tell them."""
