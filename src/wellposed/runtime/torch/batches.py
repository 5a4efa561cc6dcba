"""Batches drawn from data: what a problem trains on, what is held out, and all rows at once for statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from ...errors import DataError, items_of
from ...problem import Problem
from ..batch_keys import TARGET_KEYS
from .batch import Batch, HasLoss, as_batch, is_dense, row_count, take
from .named_inputs import named_inputs
from .problem_forms import BATCH_ROWS, read
from .restore import preserved
from .session import kind_of_loss, seed_everything

_ROWS_READ = 50_000
_NUMBERS_READ = 20_000_000
_HELD_OUT_ROWS = 256
_LOADER_BATCHES = 20


def batches(
    data: Any, *, count: int, seed: int, name: str = "train", has_loss: HasLoss = True
) -> list[Batch]:
    """Draw up to `count` batches, the same ones for the same seed.

    Raises
    ------
    DataError
        When the data are a one-shot generator, empty, or not in a form that gives batches.
    """
    data = read(data, name=name, has_loss=has_loss)
    if isinstance(data, Batch):
        return list(islice(_of_rows(data, seed=seed), count))
    drawn = list(islice(_read_batches(data, name=name, has_loss=has_loss, seed=seed), count))
    if not drawn:
        raise DataError(f"{name} is empty: it gave no batch")
    return drawn


def rows_first(data: Any) -> bool:
    """Whether the first axis is surely that of the samples: batches that somebody else put together may have time first."""
    return isinstance(data, Batch) or (isinstance(data, DataLoader) and data.collate_fn is default_collate)


def holds_all_rows(data: Any) -> bool:
    """Whether the data, once read, are one batch of all rows."""
    return isinstance(data, Batch)


def _of_rows(whole: Batch, *, seed: int) -> Iterator[Batch]:
    """Batches of rows drawn without replacement, epoch after epoch."""
    rows = whole.rows
    rng = np.random.default_rng(seed)
    size = min(BATCH_ROWS, rows)
    while True:
        order = rng.permutation(rows)
        for start in range(0, rows - size + 1, size):
            yield take(whole, torch.from_numpy(order[start : start + size]))


def split_rows(whole: Batch, *, seed: int, share: float = 0.2, at_least: int = 40) -> tuple[Batch, Batch]:
    """All rows as two batches: rows to train on, and rows held out; too few rows to split are used for both."""
    rows = whole.rows
    if rows < at_least:
        return whole, whole
    order = torch.from_numpy(np.random.default_rng(seed + 1).permutation(rows))
    held_out = min(int(rows * share), _HELD_OUT_ROWS)
    return take(whole, order[held_out:]), take(whole, order[:held_out])


def training_and_held_out(
    problem: Problem, *, count: int, seed: int, held: int = 4, from_validation: bool = True
) -> tuple[list[Batch], list[Batch]]:
    """Batches to train on and batches held out: the validation data, or training rows that are not trained on."""
    has_loss = kind_of_loss(problem)
    train = read(problem.train, name="train", has_loss=has_loss)
    if isinstance(train, Batch):
        fit, kept = split_rows(train, seed=0)  # the same split for every seed: only the order varies
        drawn = batches(fit, count=count, seed=seed, has_loss=has_loss)
        held_out = batches(kept, count=held, seed=0, has_loss=has_loss)
    else:
        drawn = batches(train, count=min(count, _LOADER_BATCHES) + held, seed=seed, has_loss=has_loss)
        held_out = drawn[-held:]
        drawn = drawn[:-held] if len(drawn) >= 3 * held else drawn
    if from_validation and problem.validation is not None:
        held_out = batches(problem.validation, count=held, seed=0, name="validation", has_loss=has_loss)
    return drawn, held_out


def joined(drawn: Sequence[Batch]) -> Batch | None:
    """Batches as one; None when their shapes differ."""
    if any(b.only_tensor is None or b.rows == 0 for b in drawn):
        return None
    if any(
        not isinstance(b.targets, torch.Tensor) or row_count(b.targets) != row_count(b.tensors[0])
        for b in drawn
    ):
        return None  # the first axis is not that of the samples
    shapes = {(b.tensors[0].shape[1:], b.targets.shape[1:]) for b in drawn}
    if len(shapes) > 1:
        return None
    x = torch.cat([b.tensors[0] for b in drawn])
    return replace(drawn[0].with_inputs(x), targets=torch.cat([b.targets for b in drawn]))


def labels_of(drawn: Sequence[Batch]) -> list[np.ndarray]:
    """The targets of each batch that has one a row."""
    labels = (batch.labels for batch in drawn)
    return [y.detach().cpu().numpy() for y in labels if isinstance(y, torch.Tensor) and y.ndim == 1]


def batches_for(optimizer: Any, drawn: Sequence[Batch], *, of_all_rows: bool, seed: int) -> Sequence[Batch]:
    """What an optimizer is given step by step: LBFGS compares losses of one objective, so of all rows the same ones."""
    together = joined(drawn) if of_all_rows and isinstance(optimizer, torch.optim.LBFGS) else None
    return drawn if together is None else [some_rows(together, _HELD_OUT_ROWS, seed=seed)]


def some_rows(batch: Batch, count: int, *, seed: int) -> Batch:
    """Up to `count` rows of a batch, drawn without replacement."""
    return take(batch, torch.from_numpy(np.random.default_rng(seed).permutation(batch.rows)[:count]))


def _read_batches(data: Any, *, name: str, has_loss: HasLoss, seed: int) -> Iterator[Batch]:
    seed_everything(seed)  # samplers and augmentation draw from the global states
    source = _quiet_loader(data, seed) if isinstance(data, DataLoader) else data
    for raw in items_of(source, name):
        yield as_batch(raw, name=name, has_loss=has_loss)


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The rows of a split that can be read at once, as NumPy arrays for statistics."""

    inputs: np.ndarray | None
    """Of the only floating-point input; None when the inputs are codes, or several tensors."""
    parts: Mapping[str, np.ndarray]
    """Of each floating-point input with a row a sample, by what follows ``inputs`` in its name."""
    records: np.ndarray | None
    """Of several inputs: all numbers of a row side by side, codes too; None where one has no row a sample."""
    targets: np.ndarray | None
    """One a row; None when the targets are no such tensor."""
    complete: bool
    """Whether these are all rows."""


def inputs_matrix(data: Any, *, name: str, has_loss: HasLoss, seed: int) -> np.ndarray | None:
    """Rows of the first floating-point input, for statistics; None when the inputs are codes, or several tensors."""
    return read_rows(data, name=name, has_loss=has_loss, seed=seed).inputs


def read_rows(data: Any, *, name: str, has_loss: HasLoss, seed: int) -> Rows:
    """Inputs and targets of up to 50,000 rows."""
    data = read(data, name=name, has_loss=has_loss)
    drawn: list[Batch] = [data] if isinstance(data, Batch) else []
    rows, complete = 0, True
    for batch in () if drawn else _read_batches(data, name=name, has_loss=has_loss, seed=seed):
        drawn.append(batch)
        rows += batch.rows
        if (
            not batch.tensors
            or batch.rows == 0
            or rows >= _ROWS_READ
            or rows * _numbers_a_row(batch) >= _NUMBERS_READ
        ):
            complete = False
            break
    inputs = _matrix([b.only_tensor for b in drawn])
    named = _named(drawn) if inputs is None else {}
    by_row = _by_row(named, drawn)
    parts = {n: m for n, tensors in by_row.items() if (m := _matrix(tensors)) is not None}
    return Rows(
        inputs=inputs,
        parts=parts if inputs is None else {"": inputs},
        records=_records(named, by_row),
        targets=_joined_targets(drawn),
        complete=complete and sum(b.rows for b in drawn) <= _ROWS_READ,
    )


def _matrix(inputs: Sequence[torch.Tensor | None]) -> np.ndarray | None:
    tensors = [t for t in inputs if t is not None and t.ndim]
    if not tensors or len(tensors) < len(inputs) or not tensors[0].is_floating_point():
        return None
    if len({t.shape[1:] for t in tensors}) > 1:
        return None
    together = torch.cat([t.detach() for t in tensors])[:_ROWS_READ]
    return together.double().cpu().numpy()


def _numbers_a_row(batch: Batch) -> int:
    return sum(t.numel() for t in named_inputs(batch).values()) // max(batch.rows, 1)


def _named(drawn: Sequence[Batch]) -> dict[str, list[torch.Tensor]]:
    """The input tensors of all batches, by name; nothing where they are not the same in each."""
    of_each = [
        {n: t for n, t in named_inputs(b).items() if n.removeprefix(".") not in TARGET_KEYS} for b in drawn
    ]
    if any(named.keys() != of_each[0].keys() for named in of_each):
        return {}
    return {name: [named[name] for named in of_each] for name in of_each[0]}


def _by_row(named: Mapping[str, list[torch.Tensor]], drawn: Sequence[Batch]) -> dict[str, list[torch.Tensor]]:
    """Those that have a row a sample."""
    rows = [b.rows for b in drawn]
    return {n: tensors for n, tensors in named.items() if [row_count(t) for t in tensors] == rows}


def _records(
    named: Mapping[str, list[torch.Tensor]], by_row: Mapping[str, list[torch.Tensor]]
) -> np.ndarray | None:
    """All numbers of each row; None where some have no row a sample, or relate the rows to each other, as edges do."""
    if not named or by_row.keys() != named.keys():
        return None
    if any(len({t.shape[1:] for t in tensors}) > 1 for tensors in named.values()):
        return None
    if any(t.shape[1:2] == t.shape[:1] for tensors in named.values() for t in tensors):
        return None
    columns = [torch.cat([t.detach() for t in tensors])[:_ROWS_READ] for tensors in named.values()]
    return torch.cat([c.double().reshape(len(c), -1) for c in columns], dim=1).cpu().numpy()


def _joined_targets(drawn: Sequence[Batch]) -> np.ndarray | None:
    targets = [b.targets for b in drawn if isinstance(b.targets, torch.Tensor)]
    if not targets or len(targets) < len(drawn) or len({(y.shape[1:], y.dtype) for y in targets}) > 1:
        return None
    if any(not is_dense(y) or y.ndim == 0 or len(y) != b.rows for y, b in zip(targets, drawn, strict=True)):
        return None
    joined = torch.cat([y.detach() for y in targets])[:_ROWS_READ]
    return (joined.double() if joined.is_floating_point() else joined.long()).cpu().numpy()


def inputs_tensor(problem: Problem, *, seed: int) -> torch.Tensor:
    """All rows of the only input tensor, as `inputs_matrix` reads them."""
    with preserved(data={"train": problem.train}):
        matrix = inputs_matrix(problem.train, name="train", has_loss=kind_of_loss(problem), seed=seed)
    if matrix is None:
        raise DataError("the inputs are not one floating-point tensor: normalise them where they are made")
    return torch.from_numpy(matrix)


def targets_tensor(problem: Problem, *, seed: int) -> torch.Tensor:
    """All targets that can be read at once."""
    has_loss = kind_of_loss(problem)
    with preserved(data={"train": problem.train}):
        train = read(problem.train, name="train", has_loss=has_loss)
        if isinstance(train, Batch):
            return train.targets
        drawn = batches(train, count=_ROWS_READ // BATCH_ROWS, seed=seed, has_loss=has_loss)
        return torch.cat([b.targets for b in drawn])


def calibration_batch(problem: Problem, *, seed: int, rows: int = 512) -> Any:
    """Inputs for calibrating weights, in the form in which the model is called."""
    has_loss = kind_of_loss(problem)
    with preserved(data={"train": problem.train}):
        train = read(problem.train, name="train", has_loss=has_loss)
        if isinstance(train, Batch):
            return some_rows(train, rows, seed=seed).inputs
        return batches(train, count=1, seed=seed, has_loss=has_loss)[0].copied().inputs
