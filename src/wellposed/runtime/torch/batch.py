"""One batch: what the model is called with and what the loss compares with, read from whatever holds them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from ...errors import DataError
from ..batch_keys import TARGET_KEYS, target_key

HasLoss = bool | Literal["of the batch", "of the inputs"]
"""Whether there is a loss; one of the whole batch is given all of it, and asks for no targets in it, or does not even read them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One batch: what the model is called with, and what the loss compares with."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    targets: Any = None
    build: Callable[[Any, Any], Any] = lambda inputs, targets: (inputs, targets)
    """Puts inputs and targets together as the data gave them."""
    unread: Any = None
    """What stands in the place of targets, and the loss does not read."""

    @property
    def whole(self) -> Any:
        """The batch as the data gave it."""
        return self.build(self.inputs, self.unread if self.targets is None else self.targets)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The dense input tensors, in calling order."""
        return tuple(filter(is_dense, self._values))

    @property
    def only_tensor(self) -> torch.Tensor | None:
        """The input, where it is a single dense tensor; None with several, also where they are nested or in objects."""
        found = list(islice(tensors_in(self._values), 2))
        return found[0] if len(found) == 1 and len(self.tensors) == 1 else None

    @property
    def labels(self) -> Any:
        """The targets, also where they stand among the inputs of a model that computes its own loss."""
        return (self.kwargs or {}).get(self._key_of_labels or "") if self.targets is None else self.targets

    @property
    def _key_of_labels(self) -> str | None:
        kwargs = self.kwargs or {}
        return next((k for k in TARGET_KEYS if kwargs.get(k) is not None), None)

    def with_labels(self, labels: Any) -> Batch:
        """The same batch with others in their place."""
        key = self._key_of_labels
        if self.targets is not None or key is None:
            return replace(self, targets=labels)
        return replace(self, kwargs={**(self.kwargs or {}), key: labels})

    @property
    def rows(self) -> int:
        """Length of the first axis of the first input that is a tensor; 0 where none is."""
        return next((row_count(v) for v in self._values if isinstance(v, torch.Tensor)), 0)

    @property
    def _values(self) -> tuple[Any, ...]:
        return self.args if self.kwargs is None else tuple(self.kwargs.values())

    @property
    def inputs(self) -> Any:
        """What the model is called with, in the form in which a pair ``(inputs, targets)`` holds it."""
        if self.kwargs is not None:
            return self.kwargs
        return self.args[0] if len(self.args) == 1 else self.args

    def with_inputs(self, *tensors: torch.Tensor) -> Batch:
        """The same batch with its input tensors replaced, in calling order."""
        fresh = iter(tensors)

        def swap(value: Any) -> Any:
            return next(fresh) if is_dense(value) else value

        if self.kwargs is None:
            return replace(self, args=tuple(swap(v) for v in self.args))
        return replace(self, kwargs={k: swap(v) for k, v in self.kwargs.items()})

    def to(self, device: torch.device) -> Batch:
        return _changed(self, lambda t: t.to(device), lambda held: _moved(held, device))

    def copied(self) -> Batch:
        """A batch that a model may write into."""
        return _changed(self, torch.Tensor.clone, _copied)

    @property
    def own_targets(self) -> Any:
        """Targets that a loss may write into, and take entries out of."""
        return replace(self, args=(), kwargs=None, unread=None).copied().targets


def as_batch(raw: Any, *, name: str = "train", has_loss: HasLoss = True) -> Batch:
    """Read one batch: a tensor, ``(inputs, targets)``, ``(first, second, …, targets)``, a dict, or an object that holds both."""
    batch = _read(as_tensors(raw, name), name=name, has_loss=has_loss)
    return replace(batch, targets=None, unread=batch.targets) if has_loss == "of the inputs" else batch


def _read(raw: Any, *, name: str, has_loss: HasLoss) -> Batch:
    if any(t.is_meta for t in tensors_in(raw)):
        raise DataError(
            f"{name} holds tensors on the meta device, which have no numbers: give data on a real device"
        )
    if isinstance(raw, torch.Tensor):
        return Batch(args=(raw,), build=_inputs_alone)
    if isinstance(raw, Mapping):
        return _from_mapping(dict(raw), name=name, has_loss=has_loss)
    if is_object(raw):
        return _from_object(raw, name=name, has_loss=has_loss)
    if isinstance(raw, Sequence) and raw and not isinstance(raw, str | bytes):
        if len(raw) == 1:
            only = _read(raw[0], name=name, has_loss=has_loss)
            return replace(only, build=lambda i, t: _sequence_like(raw, [only.build(i, t)]))
        return _from_sequence(raw)
    raise DataError(
        f"{name} gave a batch of type {type(raw).__name__}: expected a tensor, a pair (inputs, targets), or a dict of tensors"
    )


def _inputs_alone(inputs: Any, targets: Any) -> Any:
    return inputs


def _sequence_like(raw: Sequence[Any], parts: Sequence[Any]) -> Any:
    fields = hasattr(raw, "_fields")
    kind: Any = type(raw)
    return kind(*parts) if fields else kind(parts)


def _from_sequence(raw: Sequence[Any]) -> Batch:
    inputs, targets = (raw[0] if len(raw) == 2 else tuple(raw[:-1])), raw[-1]
    build = partial(_pair if len(raw) == 2 else _row, raw)
    if isinstance(inputs, Mapping):
        return Batch(kwargs=dict(inputs), targets=targets, build=build)
    if is_per_sample(inputs, targets):
        return Batch(args=(list(inputs),), targets=list(targets), build=build)
    several = isinstance(inputs, tuple | list) and not is_object(inputs)
    return Batch(args=tuple(inputs) if several else (inputs,), targets=targets, build=build)


def _pair(raw: Sequence[Any], inputs: Any, targets: Any) -> Any:
    return _sequence_like(raw, [inputs, targets])


def _row(raw: Sequence[Any], inputs: Any, targets: Any) -> Any:
    return _sequence_like(raw, [*inputs, targets])


def is_per_sample(inputs: Any, targets: Any) -> bool:
    """Whether both are lists with one entry a sample, as detectors take: images of many sizes, a dict of targets for each."""
    return (
        isinstance(inputs, tuple | list)
        and isinstance(targets, tuple | list)
        and len(inputs) == len(targets)
        and all(isinstance(t, Mapping) for t in targets)
    )


def _from_mapping(raw: dict[str, Any], *, name: str, has_loss: HasLoss) -> Batch:
    if not has_loss:
        return Batch(kwargs=raw, build=_inputs_alone)
    key = target_key(raw)
    if key is not None:
        inputs = {k: v for k, v in raw.items() if k != key}
        return Batch(kwargs=inputs, targets=raw[key], build=lambda i, t: {**i, key: t})
    if has_loss is not True:
        return Batch(kwargs=raw, build=_inputs_alone)
    raise DataError(
        f"{name} gave a dict with keys {', '.join(map(repr, raw))} and no targets: name them one of {', '.join(TARGET_KEYS)}, "
        "give pairs (dict of inputs, targets), call the loss's second argument batch if it takes all of it, "
        "or pass loss=None if the model returns its own loss"
    )


def _from_object(raw: Any, *, name: str, has_loss: HasLoss) -> Batch:
    """The model takes the object whole; its targets are found by name, as in a dict."""
    key = next((k for k in TARGET_KEYS if getattr(raw, k, None) is not None), None)
    targets = None if key is None else getattr(raw, key)
    if has_loss is True and targets is None and not isinstance(raw, PackedSequence):
        raise DataError(
            f"{name} gave a {type(raw).__name__} without targets: name them one of {', '.join(TARGET_KEYS)}, "
            "or give pairs (object, targets)"
        )
    return Batch(args=(raw,), targets=targets, build=partial(_with_targets, key))


def _with_targets(key: str | None, held: Any, targets: Any) -> Any:
    if key is None or getattr(held, key) is targets:
        return held
    changed = copy.copy(held)
    set_there = object.__setattr__ if dataclasses.is_dataclass(held) else setattr
    set_there(changed, key, targets)
    return changed


def is_dense(value: Any) -> bool:
    """Whether it is a tensor whose every number can be read and replaced: not sparse, not nested."""
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_nested


def row_count(tensor: torch.Tensor) -> int:
    """Length of the first axis; 0 for a single number."""
    return tensor.shape[0] if tensor.ndim else 0


def take(batch: Batch, rows: torch.Tensor) -> Batch:
    """The named rows of a batch."""

    def taken(t: torch.Tensor) -> torch.Tensor:
        if t.ndim == 0 or len(t) != batch.rows:
            return t
        rows_there = rows.to(t.device)
        found = t[rows_there] if is_dense(t) else t.index_select(0, rows_there)
        # Inputs that are differentiated by, as of physics: a graph back to the data would be gone after one backward pass.
        return found.detach().requires_grad_() if t.requires_grad else found

    return _changed(batch, taken)


def tensors_in(value: Any, *, objects: bool = True) -> Iterator[torch.Tensor]:
    """Every tensor in nested tuples, lists and dicts, and in objects that are batches unless those are left out."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(item, objects=objects)
    elif objects and is_object(value):
        yield from tensors_in(getattr(value, "__dict__", {}))


def is_object(value: Any) -> bool:
    """Whether it is an object that a model takes whole: a graph, a packed sequence, a dataclass of tensors."""
    if isinstance(value, torch.Tensor | nn.Module | type | Mapping):
        return False
    return callable(getattr(value, "to", None)) or dataclasses.is_dataclass(value)


def _changed(
    batch: Batch,
    change: Callable[[torch.Tensor], torch.Tensor],
    change_object: Callable[[Any], Any] = lambda held: held,
) -> Batch:
    def apply(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return change(value)
        if isinstance(value, Mapping):
            return {k: apply(v) for k, v in value.items()}
        if is_object(value):
            return change_object(value)
        if isinstance(value, tuple | list):
            fields = hasattr(value, "_fields")
            return type(value)(*map(apply, value)) if fields else type(value)(apply(v) for v in value)
        return value

    kwargs = None if batch.kwargs is None else apply(batch.kwargs)
    return replace(
        batch,
        args=apply(batch.args),
        kwargs=kwargs,
        targets=apply(batch.targets),
        unread=apply(batch.unread),
    )


def _moved(held: Any, device: torch.device) -> Any:
    if callable(getattr(held, "to", None)):
        return held.to(device)
    return _with_attributes(held, lambda t: t.to(device))


def _copied(held: Any) -> Any:
    if isinstance(held, PackedSequence):
        return held._replace(data=held.data.clone())
    if callable(getattr(held, "clone", None)):
        return held.clone()
    return _with_attributes(held, torch.Tensor.clone)


def _with_attributes(held: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A shallow copy of an object with its tensors changed; a frozen dataclass as well."""
    fresh = copy.copy(held)
    for name, value in vars(held).items():
        if isinstance(value, torch.Tensor):
            object.__setattr__(fresh, name, change(value))
    return fresh


def as_tensors(value: Any, name: str = "train") -> Any:
    """Arrays, tables and lists of numbers become tensors of the same numbers; whatever else there is stays."""
    if isinstance(value, Mapping):
        return {k: as_tensors(v, name) for k, v in value.items()}
    if is_array(value):
        return _as_tensor(value, name)
    if isinstance(value, list) and _is_numbers(value):
        return _from_lists(value, name)
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return type(value)(as_tensors(v, name) for v in value)
    if isinstance(value, tuple) and not is_object(value):
        return type(value)(*(as_tensors(v, name) for v in value))
    return value


def is_array(value: Any) -> bool:
    """Whether it is an array or a table in memory, of NumPy, pandas, polars or JAX."""
    if isinstance(value, torch.Tensor | nn.Module | type) or np.isscalar(value):
        return False
    return is_table(value) or (hasattr(value, "__array__") and hasattr(value, "dtype"))


def is_table(value: Any) -> bool:
    """Whether it is a table with named columns."""
    return hasattr(value, "columns") and hasattr(value, "to_numpy") and hasattr(value, "shape")


def _is_numbers(value: Any) -> bool:
    """Numbers in plain lists, nested or not: an array that nobody made one."""
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, int | float | np.number)


def _from_lists(value: list[Any], name: str) -> torch.Tensor:
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(
            f"{name} holds lists of different lengths: pad them, or give a DataLoader whose collate_fn does"
        ) from None
    return _as_tensor(array, name)


def _as_tensor(value: Any, name: str) -> torch.Tensor:
    """An array as a tensor; float64 becomes the default dtype, as torch models expect."""
    if is_table(value):
        names = [str(c) for c in value.columns]
        columns = [_numeric(_column(value, c), f"column {c!r} of {name}") for c in value.columns]
        array = np.stack(columns, axis=1) if names else np.empty((len(value), 0))
    else:
        array = _numeric(value, name)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    # A copy where torch could not write into the array itself.
    array = np.ascontiguousarray(array).reshape(array.shape)
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def _column(table: Any, name: Any) -> Any:
    column = table[name]
    return column.to_numpy() if hasattr(column, "to_numpy") else column


def _numeric(value: Any, what: str) -> np.ndarray:
    """An array of a dtype that torch has; numbers that are held as objects are read, text and dates are not."""
    if isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan) if value.mask.any() else value.data
    array = np.asarray(value)
    if array.dtype.kind == "O":
        array = _from_objects(array, what)
    if array.dtype.kind not in "biufc":
        first = (
            repr(array.flat[0].item() if hasattr(array.flat[0], "item") else array.flat[0])
            if array.size
            else ""
        )
        raise DataError(f"{what} has dtype {array.dtype} ({first}): expected numbers; encode or drop it")
    return array


def _from_objects(array: np.ndarray, what: str) -> np.ndarray:
    for entry in array.flat:
        if isinstance(entry, str | bytes):
            raise DataError(f"{what} holds text ({entry[:40]!r}): expected numbers; encode or drop it")
        if isinstance(entry, Sequence | np.ndarray | torch.Tensor):
            raise DataError(
                f"{what} is an array of objects ({type(entry).__name__}, the first of them of length {len(entry)}): "
                "expected numbers; pad them to one shape, or give a DataLoader whose collate_fn does"
            )
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        odd = next(e for e in array.flat if not isinstance(e, int | float | np.number | None.__class__))
        raise DataError(
            f"{what} holds objects of type {type(odd).__name__} ({str(odd)[:40]}): expected numbers; encode or drop it"
        ) from None


def describe(value: Any) -> str:
    """What something is, in a few words: types and shapes."""
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if is_array(value):
        return f"{type(value).__name__} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k!r}: {describe(v)}' for k, v in list(value.items())[:8])}}}"
    if isinstance(value, tuple | list) and not is_object(value) and len(value) <= 4:
        brackets = "()" if isinstance(value, tuple) else "[]"
        return f"{brackets[0]}{', '.join(map(describe, value))}{brackets[1]}"
    if isinstance(value, tuple | list) and not is_object(value):
        return f"{type(value).__name__} of {len(value)}, the first {describe(value[0])}"
    return type(value).__name__
