"""Whatever holds data in memory, as NumPy batches with the samples along the first axis: their inputs, or their targets.

What speaks a protocol of arrays (NumPy's, DLPack, buffers), whoever made it, is one array, and no batches.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import getattr_static
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import told
from ..errors import ArgumentError, DataError, items_of
from ..lazy import lazy
from ..runtime.batch_keys import INPUT_KEYS, TARGET_KEYS, input_key, target_key

scope = lazy("wellposed.runtime.scope")
torch_tensors = lazy("wellposed.runtime.torch.tensors")


def batches(data: Any) -> Generator[NDArray[Any]]:
    """Batches of the inputs in `data`, as arrays of a real dtype; random states are left as they were.

    An iterator is used up, as any reading of it does.

    Raises
    ------
    DataError
        When `data` holds nothing, or something that is no array of numbers, or 1-d arrays of one length, which may
        be rows or parts of one column.
    """
    whole = whole_array(data)
    if whole is not None:
        yield whole
        return
    _refuse_what_cannot_be_batched(data)
    read, first = 0, None
    with reading(data):
        for batch in items_of(data, "the data"):
            what = f"batch {read}"
            of_list = isinstance(data, list) and is_image(batch)
            inputs = as_array(batch, what)[np.newaxis] if of_list else _inputs_of_batch(batch, what)
            if first is None:
                first = inputs.shape
            elif read == 1 and not _gives_batches(data):
                _refuse_rows(first, inputs.shape)
            yield inputs
            read += 1
    if read == 0:
        used = "; an iterator that was read before gives nothing more" if _is_one_shot(data) else ""
        raise DataError(f"the data, {told(data)}, gave no batches: expected at least one{used}")


def column_names(data: Any) -> tuple[str, ...] | None:
    """Names of the columns, when `data` is a table that carries them."""
    table: Any = data[0] if isinstance(data, tuple) and data else data
    return tuple(str(c) for c in table.columns) if _is_table(table) and table.columns is not None else None


def as_array(value: Any, what: str = "the data") -> NDArray[Any]:
    """A tensor, table or array-like as an array of a real dtype; missing where it is masked."""
    if is_tensor(value):
        value = torch_tensors.to_numpy(value, what=what)
    elif _is_table(value):
        value = value.to_numpy()
    elif isinstance(value, np.ma.MaskedArray):
        value = np.ma.filled(value.astype(np.float64), np.nan)
    try:
        array = np.asarray(on_host(value, what))
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
    except DataError:
        raise
    except Exception as error:  # whatever its own conversion raises
        raise DataError(f"{what} is no array of numbers ({type(value).__name__}): {error}") from None
    if array.ndim == 0:
        single = "no array" if value is None or array.dtype.kind not in "biuf" else "a single number"
        raise DataError(f"{what} is {told(value)}, {single}: expected samples along the first axis")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{what} has dtype {array.dtype}: expected real numbers")
    return array


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor; torch is not imported to find out."""
    if "torch" not in sys.modules:
        return False
    return torch_tensors.is_tensor(value)


def whole_array(data: Any) -> NDArray[Any] | None:
    """The inputs, when `data` holds them in one piece."""
    if isinstance(data, tuple) and len(data) == 2 and _is_arraylike(data[0]):
        return _inputs_of_pair(data)
    if isinstance(data, Mapping):
        return _inputs_of_batch(data, "the data")
    if is_image(data):
        return as_array(data)[np.newaxis]
    if _is_arraylike(data) or _is_plain_numbers(data):
        return as_array(data)
    return None


def _inputs_of_pair(pair: tuple[Any, Any]) -> NDArray[Any]:
    inputs, targets = as_array(pair[0], "the inputs"), pair[1]
    if targets is None:
        return inputs
    rows = rows_of(targets)
    if rows != len(inputs):
        raise DataError(
            f"a tuple is a pair (inputs, targets), and these have {len(inputs)} and {rows} rows: "
            "put batches in a list"
        )
    return inputs


def rows_of(targets: Any) -> int:
    """How many samples have targets; a single number is one."""
    shape = getattr(targets, "shape", ())  # a sparse matrix has a shape, and no length
    if shape:
        return int(shape[0])
    return 1 if _is_scalar(targets) or not hasattr(targets, "__len__") else len(targets)


def _refuse_what_cannot_be_batched(data: Any) -> None:
    if isinstance(data, str | bytes):
        raise DataError(
            f"the data are the text {told(data)}: expected an array, a tensor or an iterable of batches; "
            "Normalizer.fit reads files"
        )
    if not isinstance(data, Iterable):
        hint = "; wrap a dataset in a DataLoader" if hasattr(data, "__getitem__") else ""
        raise DataError(
            f"the data are {told(data)}: expected an array, a tensor or an iterable of batches{hint}"
        )
    if isinstance(data, tuple):
        raise DataError(
            f"found a tuple of {len(data)}: a tuple is a pair (inputs, targets); put batches in a list"
        )


def _gives_batches(data: Any) -> bool:
    """Whether what `data` gives are batches beyond doubt, as those of a DataLoader that makes them."""
    made = (getattr(data, name, None) for name in ("batch_size", "batch_sampler", "gives_batches"))
    return any(each is not None for each in made)


def _refuse_rows(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    if len(first) == 1 and first == second and first[0] > 1:
        raise DataError(
            f"the data give one 1-d array of {first[0]} entries after another, which may be rows of a table or "
            "parts of one column: give np.stack(data) for the table, np.concatenate(data) for the column, or "
            "batches of shape (rows, columns)"
        )


def _is_one_shot(data: Any) -> bool:
    return hasattr(data, "__next__")


def _inputs_of_batch(batch: Any, what: str) -> NDArray[Any]:
    if is_image(batch):
        raise DataError(
            f"{what} is an image of Pillow: give images in a list, without targets, or arrays of them with axis=-1"
        )
    if isinstance(batch, Mapping):
        return _inputs_of_batch(_inputs_of_mapping(batch, what), what)
    if isinstance(batch, tuple | list) and not _is_plain_numbers(batch):
        return _inputs_of_sequence(batch, what)
    return as_array(batch, what)


def _inputs_of_sequence(batch: tuple[Any, ...] | list[Any], what: str) -> NDArray[Any]:
    if not batch:
        raise DataError(f"{what} is empty")
    first = batch[0]
    if isinstance(first, tuple | list) and len(first) > 1 and not _is_plain_numbers(first):
        raise DataError(f"{what} has {len(first)} inputs: give one of them, to be normalised by itself")
    if len(batch) > 2:
        raise DataError(
            f"{what} has {len(batch)} parts, read as {len(batch) - 1} inputs and the targets: "
            "give batches of one input, such as [b[0] for b in loader]"
        )
    if len(batch) == 2 and _is_scalar(batch[1]):
        raise DataError(
            f"{what} looks like a single sample with its target: wrap the dataset in a DataLoader"
        )
    return _inputs_of_batch(first, what)


def _inputs_of_mapping(batch: Mapping[Any, Any], what: str) -> Any:
    key = input_key(batch)
    if key is None:
        names = ", ".join(map(str, batch))
        raise DataError(
            f"{what} is a dict with {names or 'no keys'}: expected the inputs under {', '.join(INPUT_KEYS[:3])}"
        )
    return batch[key]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, int | float | np.generic) or getattr(value, "ndim", None) == 0


def _is_table(data: Any) -> bool:
    return hasattr(data, "columns") and hasattr(data, "to_numpy")


def _is_arraylike(data: Any) -> bool:
    return speaks_array(data) or is_tensor(data) or _is_table(data) or is_sparse(data)


def _is_plain_numbers(data: Any) -> bool:
    """Numbers in plain lists, nested or not: an array that nobody made one."""
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return isinstance(data, int | float | np.number)


def reading(data: Any) -> AbstractContextManager[Any]:
    """A scope in which `data` may be iterated: shuffling and augmenting draw random numbers, and move samplers and counters on.

    All of it is put back, save an iterator itself, which is given to be used up.
    """
    # No code of the user's runs for a list; the targets of batches have a scope of their own.
    if type(data) in (list, tuple) or hasattr(data, "gives_batches"):
        return nullcontext()
    shared = {} if _is_one_shot(data) else {"data": data}
    if "torch" in sys.modules:
        return torch_tensors.reading(shared)
    return scope.Scope({}, data=shared)


def targets_of(data: Any) -> Any:
    """The targets of a pair ``(inputs, targets)``, or of every batch of something that gives such pairs.

    Examples
    --------
    >>> targets_of(([[1.0]], [5.0]))
    [5.0]
    >>> list(targets_of([([[1.0]], [5.0]), ([[2.0]], [6.0])]))
    [[5.0], [6.0]]
    """
    if isinstance(data, tuple | Mapping):
        return _targets_of_batch(data, "the data")
    if not hasattr(data, "__iter__") or isinstance(data, str | bytes) or hasattr(data, "shape"):
        raise ArgumentError(
            f"of='targets' needs pairs (inputs, targets), found {told(data)}: give the targets "
            "themselves, or name their column with columns="
        )
    return _Targets(data)


class _Targets:
    """Iterated as often as the data, and as free of traces."""

    gives_batches = True
    """1-d targets are those of a batch of samples, and no rows."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        with reading(self._data):
            for i, batch in enumerate(self._data):
                yield _targets_of_batch(batch, f"batch {i}")


def _targets_of_batch(batch: Any, what: str) -> Any:
    if isinstance(batch, Mapping):
        key = target_key(batch)
        if key is None:
            raise DataError(
                f"{what} is a dict with {', '.join(map(str, batch))}: expected the targets under {', '.join(TARGET_KEYS)}"
            )
        return _one_target(batch[key], what)
    if isinstance(batch, tuple | list) and len(batch) == 2 and batch[1] is not None:
        _check_lengths(getattr(batch[0], "shape", ()), getattr(batch[1], "shape", ()), what)
        return _one_target(batch[1], what)
    raise DataError(f"{what} is no pair (inputs, targets) but {told(batch)}: it has no targets")


def _check_lengths(inputs: Any, targets: Any, what: str) -> None:
    if len(inputs) and len(targets) and inputs[0] != targets[0]:
        raise DataError(
            f"{what} has inputs of shape {tuple(inputs)} and targets of shape {tuple(targets)}: expected one row of "
            "targets for each of inputs; of single samples, make batches with a DataLoader"
        )


def _one_target(targets: Any, what: str) -> Any:
    several = isinstance(targets, Mapping) or (
        isinstance(targets, tuple | list) and any(hasattr(t, "shape") for t in targets)
    )
    if several:
        raise DataError(f"{what} has {len(targets)} targets: give one of them, to be normalised by itself")
    return targets


_PROTOCOLS = ("__array__", "__array_interface__", "__dlpack__")
_COPIES_TO_HOST = ("get", "copy_to_host")  # CuPy, Numba


def speaks_array(value: Any) -> bool:
    """Whether `value` is an array by any protocol; nothing is imported, and no code of its own runs.

    Examples
    --------
    >>> speaks_array(memoryview(b"ab")), speaks_array([1.0]), speaks_array(np.ndarray)
    (True, False, False)
    """
    if isinstance(value, type):
        return False
    return isinstance(value, memoryview | array) or any(_has(value, name) for name in _PROTOCOLS)


def is_sparse(value: Any) -> bool:
    """Whether `value` is a matrix or array of ``scipy.sparse``."""
    return type(value).__module__.startswith("scipy.sparse")


def is_image(value: Any) -> bool:
    """Whether `value` is an image of Pillow: one sample, of shape (height, width) or (height, width, channels)."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(value).__mro__)


def axis_for(data: Any, axis: Any) -> Any:
    """`axis`, or the channels of Pillow's images, which are the last axis; None leaves it to the dimensions."""
    first = data[0] if isinstance(data, list) and data else data
    return -1 if axis is None and is_image(first) else axis


def on_host(value: Any, what: str) -> Any:
    """`value` as something that ``numpy.asarray`` takes: on the CPU, an image with its channels last.

    Raises
    ------
    DataError
        When it is a sparse matrix, or an image of places in a palette.
    """
    if is_sparse(value):
        raise DataError(
            f"{what} is a sparse {type(value).__name__}, and would be filled in here: expected a dense array, as "
            ".toarray() gives"
        )
    if is_image(value):
        if getattr(value, "mode", None) == "P":
            raise DataError(
                f"{what} is an image of mode 'P', whose entries are places in a palette: expected colours, as "
                ".convert('RGB') gives"
            )
        pixels = np.asarray(value)
        return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    if _has(value, "__cuda_array_interface__"):
        for name in _COPIES_TO_HOST:
            if callable(getattr(value, name, None)):
                return getattr(value, name)()
    if _has(value, "__dlpack__") and not _has(value, "__array__"):
        return np.from_dlpack(value)
    return value


def _has(value: Any, name: str) -> bool:
    return getattr_static(value, name, None) is not None
