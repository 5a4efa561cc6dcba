"""Batches out of whatever people train on: a DataLoader, an iterable of batches, or a pair of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from ...errors import DataError
from ...problem import Problem
from .seeding import seed_everything

TARGET_KEYS = ("labels", "label", "targets", "target", "y")
BATCH_ROWS = 64
_ROWS_READ = 50_000
_NUMBERS_READ = 20_000_000
_HELD_OUT_ROWS = 256
_LOADER_BATCHES = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """One batch: what the model is called with, and what the loss compares with."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    targets: Any = None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The input tensors, in calling order."""
        values = self.args if self.kwargs is None else tuple(self.kwargs.values())
        return tuple(v for v in values if isinstance(v, torch.Tensor))

    @property
    def labels(self) -> Any:
        """The targets, also where they stand among the inputs of a model that computes its own loss."""
        named = (v for k in TARGET_KEYS if (v := (self.kwargs or {}).get(k)) is not None)
        return self.targets if self.targets is not None else next(named, None)

    @property
    def rows(self) -> int:
        return len(self.tensors[0]) if self.tensors and self.tensors[0].ndim else 0

    def with_inputs(self, *tensors: torch.Tensor) -> Batch:
        """The same batch with its input tensors replaced, in calling order."""
        fresh = iter(tensors)

        def swap(value: Any) -> Any:
            return next(fresh) if isinstance(value, torch.Tensor) else value

        if self.kwargs is None:
            return Batch(args=tuple(swap(v) for v in self.args), targets=self.targets)
        return Batch(kwargs={k: swap(v) for k, v in self.kwargs.items()}, targets=self.targets)

    def to(self, device: torch.device) -> Batch:
        if any(t.is_meta for t in self.tensors):
            raise DataError(
                "the inputs are on the meta device and hold no numbers: give data on a real device"
            )
        return _map(self, lambda t: t.to(device))

    def copied(self) -> Batch:
        """A batch that a model may write into."""
        return _map(self, torch.Tensor.clone)


def batches(data: Any, *, count: int, seed: int, name: str = "train", has_loss: bool = True) -> list[Batch]:
    """Draw up to `count` batches, the same ones for the same seed.

    Raises
    ------
    DataError
        When the data are a one-shot generator, empty, or not in a form that gives batches.
    """
    if data is None:
        raise DataError(
            f"{name} is None: give a DataLoader, an iterable of batches, or a pair (inputs, targets) of tensors"
        )
    if isinstance(data, Batch) or is_pair(data):
        return list(islice(_from_pair(data, seed=seed, name=name), count))
    drawn = [
        as_batch(raw, name=name, has_loss=has_loss)
        for raw in islice(_raw_batches(data, name=name, seed=seed), count)
    ]
    if not drawn:
        raise DataError(f"{name} is empty: it gave no batch")
    return drawn


def is_pair(data: Any) -> bool:
    """Whether the data are all rows at once, ``(inputs, targets)``, rather than an iterable of batches."""
    if isinstance(data, torch.Tensor | np.ndarray):
        return True
    if not isinstance(data, tuple) or len(data) != 2:
        return False
    inputs, targets = data
    return isinstance(targets, torch.Tensor | np.ndarray | None.__class__) and _is_rows(inputs)


def rows_first(data: Any) -> bool:
    """Whether the first axis is surely that of the samples: batches that somebody else put together may have time first."""
    return is_pair(data) or (isinstance(data, DataLoader) and data.collate_fn is default_collate)


def _is_rows(inputs: Any) -> bool:
    if isinstance(inputs, torch.Tensor | np.ndarray):
        return True
    if isinstance(inputs, Mapping):
        return bool(inputs) and all(isinstance(v, torch.Tensor | np.ndarray) for v in inputs.values())
    return (
        isinstance(inputs, tuple)
        and bool(inputs)
        and all(isinstance(v, torch.Tensor | np.ndarray) for v in inputs)
    )


def as_batch(raw: Any, *, name: str = "train", has_loss: bool = True) -> Batch:
    """Read one batch: a tensor, ``(inputs, targets)``, ``(first, second, …, targets)``, or a dict."""
    raw = _tensors(raw)
    if isinstance(raw, torch.Tensor):
        return Batch(args=(raw,))
    if isinstance(raw, Mapping):
        return _from_mapping(dict(raw), name=name, has_loss=has_loss)
    if isinstance(raw, Sequence) and raw and not isinstance(raw, str | bytes):
        if len(raw) == 1:
            return as_batch(raw[0], name=name, has_loss=has_loss)
        inputs, targets = (raw[0] if len(raw) == 2 else tuple(raw[:-1])), raw[-1]
        if isinstance(inputs, Mapping):
            return Batch(kwargs=dict(inputs), targets=targets)
        return Batch(args=tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,), targets=targets)
    raise DataError(
        f"{name} gave a batch of type {type(raw).__name__}: expected a tensor, a pair (inputs, targets), or a dict of tensors"
    )


def _from_mapping(raw: dict[str, Any], *, name: str, has_loss: bool) -> Batch:
    if not has_loss:
        return Batch(kwargs=raw)
    for key in TARGET_KEYS:
        if key in raw:
            return Batch(kwargs={k: v for k, v in raw.items() if k != key}, targets=raw[key])
    raise DataError(
        f"{name} gave a dict with keys {', '.join(map(repr, raw))} and no targets: name them one of {', '.join(TARGET_KEYS)}, "
        "or pass loss=None if the model returns its own loss"
    )


def _from_pair(data: Any, *, seed: int, name: str) -> Iterator[Batch]:
    """Batches of rows drawn without replacement, epoch after epoch."""
    whole = data if isinstance(data, Batch) else whole_pair(data, name=name)
    rows = whole.rows
    rng = np.random.default_rng(seed)
    size = min(BATCH_ROWS, rows)
    while True:
        order = rng.permutation(rows)
        for start in range(0, rows - size + 1, size):
            yield take(whole, torch.from_numpy(order[start : start + size]))


def whole_pair(data: Any, *, name: str = "train") -> Batch:
    """A pair of tensors as one batch of all rows; checks that their lengths agree."""
    inputs, targets = data if isinstance(data, tuple) else (data, None)
    batch = (
        as_batch((_tensors(inputs), _tensors(targets)))
        if targets is not None
        else as_batch(inputs, has_loss=False)
    )
    lengths = {
        len(t) if t.ndim else 0
        for t in (*batch.tensors, *([batch.targets] if isinstance(batch.targets, torch.Tensor) else []))
    }
    if len(lengths) > 1:
        raise DataError(f"{name} has inputs and targets of different lengths: {sorted(lengths)} rows")
    if not lengths or lengths == {0}:
        raise DataError(f"{name} is empty: it has no rows")
    return batch


def split_rows(data: Any, *, seed: int, share: float = 0.2, at_least: int = 40) -> tuple[Any, Any]:
    """A pair of tensors as two: rows to train on, and rows held out; too few rows to split are used for both."""
    whole = whole_pair(data)
    rows = whole.rows
    if rows < at_least:
        return whole, whole
    order = torch.from_numpy(np.random.default_rng(seed + 1).permutation(rows))
    kept = min(int(rows * share), _HELD_OUT_ROWS)
    return take(whole, order[kept:]), take(whole, order[:kept])


def training_and_held_out(
    problem: Problem, *, count: int, seed: int, held: int = 4, from_validation: bool = True
) -> tuple[list[Batch], list[Batch]]:
    """Batches to train on and batches held out: the validation data, or training rows that are not trained on."""
    has_loss = problem.loss is not None
    if is_pair(problem.train):
        fit, kept = split_rows(problem.train, seed=0)  # the same split for every seed: only the order varies
        drawn = batches(fit, count=count, seed=seed, has_loss=has_loss)
        held_out = batches(kept, count=held, seed=0, has_loss=has_loss)
    else:
        drawn = batches(problem.train, count=min(count, _LOADER_BATCHES) + held, seed=seed, has_loss=has_loss)
        held_out = drawn[-held:]
        drawn = drawn[:-held] if len(drawn) >= 3 * held else drawn
    if from_validation and problem.validation is not None:
        held_out = batches(problem.validation, count=held, seed=0, name="validation", has_loss=has_loss)
    return drawn, held_out


def joined(drawn: Sequence[Batch]) -> Batch | None:
    """Batches as one; None when their shapes differ."""
    first = drawn[0]
    if len(first.tensors) != 1 or not isinstance(first.targets, torch.Tensor) or first.tensors[0].ndim == 0:
        return None
    if any(
        not isinstance(b.targets, torch.Tensor) or b.targets.ndim == 0 or len(b.targets) != b.rows
        for b in drawn
    ):
        return None  # the first axis is not that of the samples
    shapes = {(b.tensors[0].shape[1:], b.targets.shape[1:]) for b in drawn}
    if len(shapes) > 1 or first.targets.ndim == 0:
        return None
    x = torch.cat([b.tensors[0] for b in drawn])
    return Batch(args=(x,), targets=torch.cat([b.targets for b in drawn]))


def some_rows(batch: Batch, count: int, *, seed: int) -> Batch:
    """Up to `count` rows of a batch, drawn without replacement."""
    return take(batch, torch.from_numpy(np.random.default_rng(seed).permutation(batch.rows)[:count]))


def take(batch: Batch, rows: torch.Tensor) -> Batch:
    """The named rows of a batch."""
    return _map(batch, lambda t: t[rows.to(t.device)] if t.ndim and len(t) == batch.rows else t)


def _raw_batches(data: Any, *, name: str, seed: int) -> Iterator[Any]:
    seed_everything(seed)  # samplers and augmentation draw from the global states
    if isinstance(data, DataLoader):
        return iter(_quiet_loader(data, seed))
    try:
        iterator = iter(data)
    except TypeError:
        raise DataError(
            f"{name} is a {type(data).__name__}: expected a DataLoader, an iterable of batches, or a pair (inputs, targets) of tensors"
        ) from None
    if iterator is data:
        raise DataError(
            f"{name} is a one-shot {type(data).__name__}: reading it here would use it up; pass a list of batches or a DataLoader"
        )
    return iterator


def _quiet_loader(loader: DataLoader[Any], seed: int) -> DataLoader[Any]:
    """The same batches read in this process: no workers to start, none left behind, the user's loader never iterated."""
    common: dict[str, Any] = {
        "collate_fn": loader.collate_fn,
        "generator": torch.Generator().manual_seed(seed),
    }
    if isinstance(loader.dataset, IterableDataset):
        return DataLoader(loader.dataset, batch_size=loader.batch_size, drop_last=loader.drop_last, **common)
    if loader.batch_sampler is not None:
        return DataLoader(loader.dataset, batch_sampler=loader.batch_sampler, **common)
    return DataLoader(loader.dataset, batch_size=None, sampler=loader.sampler, **common)


def inputs_matrix(data: Any, *, name: str, has_loss: bool, seed: int) -> np.ndarray | None:
    """Rows of the first floating-point input, for statistics; None when the inputs are codes, or several tensors."""
    if is_pair(data):
        drawn = [whole_pair(data, name=name)]
    else:
        drawn, rows = [], 0
        for raw in _raw_batches(data, name=name, seed=seed):
            drawn.append(as_batch(raw, name=name, has_loss=has_loss))
            rows += drawn[-1].rows
            first = drawn[-1].tensors
            if not first or rows >= _ROWS_READ or rows * first[0][:1].numel() >= _NUMBERS_READ:
                break
    tensors = [b.tensors for b in drawn]
    if not tensors or len(tensors[0]) != 1 or not tensors[0][0].is_floating_point():
        return None
    shapes = {t[0].shape[1:] for t in tensors}
    if len(shapes) > 1:
        return None
    joined = torch.cat([t[0].detach() for t in tensors])[:_ROWS_READ]
    return joined.double().cpu().numpy()


def inputs_tensor(problem: Problem, *, seed: int) -> torch.Tensor:
    """All rows of the only input tensor, as `inputs_matrix` reads them."""
    matrix = inputs_matrix(problem.train, name="train", has_loss=problem.loss is not None, seed=seed)
    if matrix is None:
        raise DataError("the inputs are not one floating-point tensor: normalise them where they are made")
    return torch.from_numpy(matrix)


def targets_tensor(problem: Problem, *, seed: int) -> torch.Tensor:
    """All targets that can be read at once."""
    if is_pair(problem.train):
        return whole_pair(problem.train).targets
    drawn = batches(
        problem.train, count=_ROWS_READ // BATCH_ROWS, seed=seed, has_loss=problem.loss is not None
    )
    return torch.cat([b.targets for b in drawn])


def calibration_batch(problem: Problem, *, seed: int, rows: int = 512) -> Any:
    """Inputs for calibrating weights, in the form in which the model is called."""
    if is_pair(problem.train):
        whole = whole_pair(problem.train)
        batch = some_rows(whole, rows, seed=seed)
    else:
        batch = batches(problem.train, count=1, seed=seed, has_loss=problem.loss is not None)[0]
    if batch.kwargs is not None:
        return batch.kwargs
    return batch.args[0] if len(batch.args) == 1 else batch.args


def _map(batch: Batch, change: Any) -> Batch:
    def apply(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return change(value)
        if isinstance(value, Mapping):
            return {k: apply(v) for k, v in value.items()}
        if isinstance(value, tuple | list):
            return (
                type(value)(apply(v) for v in value)
                if not hasattr(value, "_fields")
                else type(value)(*map(apply, value))
            )
        return value

    kwargs = None if batch.kwargs is None else apply(batch.kwargs)
    return Batch(args=apply(batch.args), kwargs=kwargs, targets=apply(batch.targets))


def _tensors(value: Any) -> Any:
    """NumPy arrays become tensors of the same numbers; float64 becomes the default dtype, as torch models expect."""
    if isinstance(value, np.ndarray):
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_tensors(v) for v in value)
    if isinstance(value, Mapping):
        return {k: _tensors(v) for k, v in value.items()}
    return value
