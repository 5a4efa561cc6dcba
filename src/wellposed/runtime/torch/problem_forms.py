"""The forms in which people give a problem's data and optimizers, recognised once.

Whatever `train` is, it is read as rows (a `Batch` that holds all of them, from which batches are drawn) or as
something that can be iterated again and gives batches: samples are gathered into batches here, and data that a function
makes afresh for every pass are made again. Several optimizers that step together are read as one.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from ...arguments import takes_nothing
from ...errors import DataError, ProblemError, WellposedError, items_of, users_code
from ...problem import Problem
from ..batch_keys import TARGET_KEYS, target_key
from .batch import (
    Batch,
    HasLoss,
    as_batch,
    as_tensors,
    describe,
    is_array,
    is_object,
    is_per_sample,
    is_table,
    row_count,
    take,
    tensors_in,
)
from .restore import preserved
from .session import Runner, kind_of_loss

BATCH_ROWS = 64


def drawn_from(data: Any, name: str) -> Any:
    """Batches of samples: drawn in random order where each can be had by its number."""
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        return Samples(data, name)
    with users_code(f"reading {name}"):
        count = len(data)
        first = data[0] if count else None
    if count == 0:
        raise DataError(f"{name} is empty: it has no samples")
    size = min(BATCH_ROWS, count)
    own = graph_collate(first) is not None or not isinstance(data, Dataset)
    gather = _Collate(name) if own else default_collate
    return DataLoader(data, batch_size=size, shuffle=True, drop_last=True, collate_fn=gather)


class _Collate:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, samples: Sequence[Any]) -> Any:
        return collate(samples, self.name)


def collate(samples: Sequence[Any], name: str) -> Any:
    """Samples as one batch, as torch's own collate function makes it; graphs as their library does."""
    together = graph_collate(samples[0])
    if together is not None:
        return together(list(samples))
    read = [
        tree_map(lambda v: torch.tensor(v) if isinstance(v, float) else v, as_tensors(s, name))
        for s in samples
    ]
    for place in zip(*(list(tensors_in(s)) for s in read), strict=False):
        refuse_ragged(place, f"{name} has samples")
    try:
        return default_collate(read)
    except (TypeError, RuntimeError, KeyError) as error:
        raise DataError(
            f"{name} gives samples like {describe(samples[0])}, of which torch's default_collate makes no batch ({error}): "
            "give a DataLoader with a collate_fn of your own"
        ) from None


def graph_collate(sample: Any) -> Callable[[list[Any]], Any] | None:
    """How PyTorch Geometric joins graphs, for one graph that is not joined already."""
    library = sys.modules.get("torch_geometric.data")
    if library is None or not isinstance(sample, library.data.BaseData) or isinstance(sample, library.Batch):
        return None
    return library.Batch.from_data_list


class Passes:
    """Iterates over what a function makes, afresh each time."""

    def __init__(self, function: Callable[[], Any], name: str) -> None:
        self.function, self.name = function, name

    def made(self) -> Any:
        with users_code(f"{self.name} is a function, and calling it without arguments"):
            return self.function()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.made())


class Samples:
    """Batches of the samples that an iterable gives, in its own order."""

    def __init__(self, data: Iterable[Any], name: str) -> None:
        self.data, self.name = data, name

    def __iter__(self) -> Iterator[Any]:
        samples = iter(self.data)
        while some := list(islice(samples, BATCH_ROWS)):
            yield collate(some, self.name)


def refuse_ragged(tensors: Sequence[torch.Tensor], what: str) -> None:
    shapes = sorted({tuple(t.shape) for t in tensors})
    if len(shapes) > 1:
        raise DataError(
            f"{what} of {len(shapes)} different shapes, {', '.join(map(str, shapes[:4]))}{', ...' if len(shapes) > 4 else ''}: "
            "pad them to one, or give a DataLoader whose collate_fn pads or packs them"
        )


_EXPECTED = "expected a torch.optim.Optimizer made from model.parameters(), or a list of them"


class Optimizers:
    """Optimizers of different parameters of one model, as a training loop steps them: one after the other.

    Not a ``torch.optim.Optimizer``, whose own state it would have: the groups and the state are those of its parts.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The very groups of the parts: a rate that is set here is set there."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def name(self) -> str:
        return " and ".join(dict.fromkeys(type(part).__name__ for part in self.parts))

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        for part in self.parts:
            part.step()


def together(given: Any, judged: Sequence[torch.Tensor]) -> Any:
    """Of several optimizers, those that hold parameters of the model, as one; a single one as it is.

    The others, such as a discriminator's beside its generator, do not step when this model does.

    Raises
    ------
    ProblemError
        When one of them is no optimizer, or they cannot step together.
    """
    given = _without_schedules(given)
    if given is None or isinstance(given, torch.optim.Optimizer | Optimizers):
        return given
    if not isinstance(given, list | tuple | Mapping):
        raise ProblemError(f"optimizer is a {type(given).__name__} ({str(given)[:60]!r}): {_EXPECTED}")
    parts = list(given.values()) if isinstance(given, Mapping) else list(given)
    for part in parts:
        if not isinstance(part, torch.optim.Optimizer):
            raise ProblemError(f"optimizer holds a {type(part).__name__} ({str(part)[:60]!r}): {_EXPECTED}")
    ours = {id(p) for p in judged}
    used = [o for o in parts if any(id(p) in ours for group in o.param_groups for p in group["params"])]
    if not used:
        raise ProblemError(
            f"none of the {len(parts)} optimizers holds a parameter of the model: make them from model.parameters()"
        )
    if len(used) == 1:
        return used[0]
    if any(isinstance(o, torch.optim.LBFGS) for o in used):
        raise ProblemError(
            "optimizer holds LBFGS beside others: it calls the loss itself, and cannot step with them; give one of them"
        )
    return Optimizers(used)


def _without_schedules(given: Any) -> Any:
    """Optimizers instead of the schedulers that set their rates; one that is there twice stays once."""
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, list | tuple):
        return list({id(o): o for o in map(_scheduled, given)}.values())
    return _scheduled(given)


def _scheduled(given: Any) -> Any:
    inner = getattr(given, "scheduler", given)  # as Accelerate wraps it
    return inner.optimizer if isinstance(inner, torch.optim.lr_scheduler.LRScheduler) else given


_ASKED_ROWS = 4
_NUMBERS_STACKED = 20_000_000

Ask = Callable[[Batch, bool], str]
"""Why model and loss refuse a batch, and, where True, the same with one row less; empty when they take it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenData:
    """What the user gave as `train` or `validation`."""

    data: Any
    name: str
    has_loss: HasLoss
    ask: Ask | None

    def batch(self, raw: Any) -> Batch:
        return as_batch(raw, name=self.name, has_loss=self.has_loss)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadData:
    """One way to read the data."""

    data: Any
    """Rows as a `Batch`, or an iterable of batches."""
    example: Batch | None = None
    """What the model is asked to take, where the data may be meant in another way; None where they cannot."""
    any_rows: bool = False
    """Whether it must take one row less too, as it does where the first axis is that of the samples."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form of data: what it is called, and how it is read; None when the data do not have it."""

    words: str
    read: Callable[[GivenData], ReadData | None]


def read_problem(problem: Problem) -> Problem:
    """The same problem with its data as rows or batches, and its optimizers as one.

    What was read before stays as it is. Where data could be meant in two ways, the model and the loss decide.

    Raises
    ------
    DataError, ProblemError
        When the data or the optimizers have no form that is known.
    """

    def data(value: Any, name: str) -> Any:
        if value is None:
            return None
        with preserved(data={name: value}):
            return read(value, name=name, has_loss=kind_of_loss(problem), ask=ask)

    def ask(batch: Batch, any_rows: bool) -> str:
        return _refusal(problem, batch, any_rows)

    runner = Runner(replace(problem, optimizer=None))
    problem = replace(problem, optimizer=together(problem.optimizer, runner.judged_parameters()))
    names = problem.feature_names or _column_names(problem.train, has_loss=problem.loss is not None)
    train, validation = data(problem.train, "train"), data(problem.validation, "validation")
    return replace(problem, train=train, validation=validation, feature_names=names)


def _column_names(data: Any, *, has_loss: bool) -> tuple[str, ...] | None:
    table: Any = data[0] if isinstance(data, tuple) and len(data) == 2 else data
    if not is_table(table):
        return None
    targets = target_key(dict.fromkeys(table.columns)) if has_loss and table is data else None
    return tuple(str(c) for c in table.columns if c != targets)


def _refusal(problem: Problem, batch: Batch, any_rows: bool) -> str:
    """What the user's code says against a batch; nothing is left behind."""
    with preserved(problem.model, problem.loss), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever a trial warns of is said again when the batch is used
        runner = Runner(problem)
        batch = batch.to(runner.device)
        try:
            runner.evaluate(batch)
            if any_rows and batch.rows > 1:
                runner.evaluate(take(batch, torch.arange(batch.rows - 1)))
        except WellposedError as error:
            return str(error)
    return ""


def read(data: Any, *, name: str, has_loss: HasLoss, ask: Ask | None = None) -> Any:
    """Recognise the form of the data and read it, as a `Batch` of all rows or as an iterable of batches.

    Parameters
    ----------
    ask
        Asked in turn of the readings of data that could be meant in several ways; without it the first is taken.
    """
    if isinstance(data, Batch | DataLoader | Samples):
        return data
    if data is None:
        raise DataError(
            f"{name} is None: give a DataLoader, an iterable of batches, or a pair (inputs, targets) of tensors"
        )
    given = GivenData(data=data, name=name, has_loss=has_loss, ask=ask)
    refused = []
    for form in FORMS:
        reading = form.read(given)
        if reading is None:
            continue
        reason = "" if ask is None or reading.example is None else ask(reading.example, reading.any_rows)
        if not reason:
            return reading.data
        refused.append(f"read as {form.words}: {reason}")
    if refused:
        raise DataError(f"{name} is given as {describe(data)}; {'; '.join(refused)}")
    raise DataError(
        f"{name} is given as {describe(data)}: expected a DataLoader, a Dataset, an iterable of batches, "
        "or a pair (inputs, targets) of tensors"
    )


# --- all rows at once


def _rows(given: GivenData) -> ReadData | None:
    data: Any = given.data
    if not isinstance(data, Mapping | torch.Tensor) and not is_array(data):
        return None
    if is_table(data) and given.has_loss:
        table: Any = data
        key = target_key(dict.fromkeys(table.columns))
        if key is not None:
            return _pair(replace(given, data=(_without(table, key), table[key])))
        columns = ", ".join(map(repr, list(given.data.columns)[:8]))
        raise DataError(
            f"{given.name} is given as {describe(data)} with columns {columns} and no targets: "
            f"give a pair (table of inputs, column of targets), or name the column of targets one of {', '.join(TARGET_KEYS)}"
        )
    return ReadData(data=whole_rows(given.batch(data), given.name))


def _without(table: Any, column: str) -> Any:
    return table[[c for c in table.columns if c != column]]


def _pair(given: GivenData) -> ReadData | None:
    """``(inputs, targets)``, as a tuple; as a list where both are tensors and there is a loss that needs both."""
    data, name = given.data, given.name
    if not isinstance(data, tuple | list) or is_object(data) or len(data) < 2:
        return None
    axes = [_has_axis(part) for part in data]
    if isinstance(data, list) and not (len(data) == 2 and all(axes) and given.has_loss):
        return None
    parts = [as_tensors(part, name) for part in data]
    if (
        isinstance(data, list)
        and parts[0].dtype == parts[1].dtype
        and parts[0].shape[1:] == parts[1].shape[1:]
    ):
        return None  # as two batches of inputs would be
    if len(parts) > 2:  # (first, second, …, targets)
        same = all(axes) and len({row_count(part) for part in parts}) == 1
        return ReadData(data=whole_rows(given.batch(tuple(parts)), name)) if same and given.has_loss else None
    if is_per_sample(*parts):
        return ReadData(data=[data])
    inputs, targets = _stacked_lists(parts[0], parts[1], name)
    if not _is_tensors(inputs) or not (targets is None or _is_tensors(targets)):
        if not any(axes):
            return None
        raise DataError(
            f"{name} is a pair of inputs {describe(data[0])} and targets {describe(data[1])}: expected tensors, arrays, "
            "tables, or tuples or dicts of them in both; encode what is not numbers"
        )
    whole = as_batch(inputs, has_loss=False) if targets is None else as_batch((inputs, targets), name=name)
    if isinstance(inputs, torch.Tensor) or targets is None or isinstance(targets, torch.Tensor):
        return ReadData(data=whole_rows(whole, name))
    if len({row_count(t) for t in tensors_in((inputs, targets))}) > 1:
        return None  # two batches
    return ReadData(data=whole, example=take(whole, torch.arange(min(whole.rows, _ASKED_ROWS))))


def _has_axis(value: Any) -> bool:
    return (isinstance(value, torch.Tensor) or is_array(value)) and len(value.shape) > 0


def _is_tensors(value: Any) -> bool:
    """Whether it is a tensor, or a tuple, list or dict of tensors."""
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_tensors, value.values()))
    if isinstance(value, tuple | list) and not is_object(value):
        return bool(value) and all(map(_is_tensors, value))
    return isinstance(value, torch.Tensor)


def _stacked_lists(inputs: Any, targets: Any, name: str) -> tuple[Any, Any]:
    """A pair whose lists of one tensor a sample are stacked; a list of several inputs stays one."""
    for_samples = {len(v) for v in (inputs, targets) if isinstance(v, list)}
    rows = {row_count(t) for t in tensors_in((inputs, targets))}
    if isinstance(inputs, list) and isinstance(targets, list):
        one_each = len(for_samples) == 1 and len(rows) > 1
    else:
        single = targets if isinstance(inputs, list) else inputs
        one_each = {row_count(t) for t in tensors_in(single)} == for_samples and len(rows) > 1
    return (
        _stacked(inputs, f"{name} has inputs", one_each=one_each),
        _stacked(targets, f"{name} has targets", one_each=one_each),
    )


def _stacked(value: Any, what: str, *, one_each: bool) -> Any:
    if not isinstance(value, list) or not all(isinstance(v, torch.Tensor) for v in value):
        return value
    if not one_each:
        return tuple(value)
    refuse_ragged(value, what)
    return torch.stack(value)


def whole_rows(batch: Batch, name: str) -> Batch:
    """All rows as one batch, when every tensor has as many."""
    inputs = list(tensors_in((batch.args, batch.kwargs)))
    lengths = {row_count(t) for t in (*inputs, *tensors_in(batch.targets))}
    what = describe(batch.inputs) + (
        "" if batch.targets is None else f" and targets {describe(batch.targets)}"
    )
    if any(t.ndim == 0 for t in inputs):
        raise DataError(
            f"{name} has no axis of samples (inputs {what}): expected inputs of shape (rows, ...)"
        )
    if len(lengths) > 1:
        raise DataError(
            f"{name} has inputs and targets of different lengths, {sorted(lengths)} rows (inputs {what}): "
            "expected one row a sample in each of them"
        )
    if not lengths or lengths == {0}:
        raise DataError(f"{name} is empty: it has no rows")
    return batch


# --- one batch


def _object(given: GivenData) -> ReadData | None:
    """A graph, a packed sequence or another object that a model takes whole, alone or in a pair with its targets."""
    data = given.data
    if isinstance(data, Dataset | DataLoader):
        return None
    paired = isinstance(data, tuple) and len(data) == 2 and is_object(data[0]) and not is_object(data[1])
    return ReadData(data=[data]) if is_object(data) or paired else None


# --- what gives batches, or samples


def _dataset(given: GivenData) -> ReadData | None:
    data = given.data
    if not isinstance(data, Dataset) or isinstance(data, IterableDataset):
        return None
    if isinstance(data, TensorDataset) and len(data.tensors) > 1:
        return ReadData(data=whole_rows(given.batch(data.tensors), given.name))
    return ReadData(data=drawn_from(data, given.name))


def _function(given: GivenData) -> ReadData | None:
    """A function that makes a fresh iterator, or the data, each time it is called."""
    data, name = given.data, given.name
    if not callable(data) or isinstance(data, Iterable | nn.Module):
        return None
    if isinstance(data, type) and not takes_nothing(data):
        raise DataError(
            f"{name} is the class {data.__name__}, which takes arguments: give what is made with it"
        )
    made, again = Passes(data, name).made(), Passes(data, name).made()
    if made is again and isinstance(made, Iterator):
        raise DataError(
            f"{name} is a function that returns the same {type(made).__name__} each time: make a new one in it"
        )
    fresh = Passes(data, name) if isinstance(made, Iterator) else made
    return ReadData(data=read(fresh, name=name, has_loss=given.has_loss, ask=given.ask))


def _samples_first(given: GivenData) -> ReadData | None:
    """Items that are samples for sure, or rather than batches: their target is a single number."""
    first = _first(given)
    if first is None or not (_is_sample(first) or _has_single_target(given.batch(first))):
        return None
    return _samples(given, sure=_is_sample(first))


def _batches(given: GivenData) -> ReadData | None:
    first = _first(given)
    if first is None:
        return None
    batch = given.batch(first)
    return ReadData(data=given.data, example=None if _is_batch(batch) else batch, any_rows=True)


def _batches_of_a_size(given: GivenData) -> ReadData | None:
    """Batches whose rows belong together, as the nodes of a graph do: the model takes them as they are, or not at all."""
    reading = _batches(given)
    return None if reading is None else replace(reading, any_rows=False)


def _samples_last(given: GivenData) -> ReadData | None:
    first = _first(given)
    if first is None or _has_single_target(given.batch(first)):
        return None
    try:
        return _samples(given, sure=False)
    except DataError:
        if given.ask is None or given.ask(given.batch(first), False):
            raise
        return None  # batches whose rows belong together


def _first(given: GivenData) -> Any:
    """The first item; None where the data give none."""
    data, name = given.data, given.name
    if isinstance(data, str | bytes) or not hasattr(type(data), "__iter__") | hasattr(
        type(data), "__getitem__"
    ):
        return None
    with users_code(f"reading {name}"):
        is_one_shot = iter(data) is data
    if is_one_shot:
        raise DataError(
            f"{name} is a one-shot {type(data).__name__}: reading it here would use it up; pass a list of batches, "
            "a DataLoader, or a function that returns a fresh one"
        )
    for item in items_of(data, name):
        return item
    raise DataError(f"{name} is empty: it gave no batch")


def _is_sample(item: Any) -> bool:
    """Whether an item has no axis of samples for sure: it holds bare numbers, or is one graph of a list."""
    if isinstance(item, bool | int | float) or graph_collate(item) is not None:
        return True
    if isinstance(item, torch.Tensor):
        return item.ndim == 0
    if isinstance(item, Mapping):
        return any(map(_is_sample, _not_tensors(item.values())))
    if isinstance(item, tuple | list) and not is_object(item) and not _is_list_of_numbers(item):
        return any(map(_is_sample, _not_tensors(item)))
    return False


def _not_tensors(values: Iterable[Any]) -> Iterator[Any]:
    return (v for v in values if not isinstance(v, torch.Tensor))


def _is_list_of_numbers(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(v, bool | int | float) for v in item)


def _has_single_target(batch: Batch) -> bool:
    tensors = [*(batch.kwargs or {}).values(), *tensors_in(batch.targets)]
    return any(isinstance(t, torch.Tensor) and t.ndim == 0 for t in tensors)


def _is_batch(batch: Batch) -> bool:
    """Whether an item is a batch for sure: an object, or inputs and targets that agree in a first axis beside others."""
    inputs, targets = list(tensors_in((batch.args, batch.kwargs))), list(tensors_in(batch.targets))
    tensors = [*inputs, *targets]
    if len(inputs) > 1 and targets:  # others may relate the rows to each other, as the edges of a graph do
        tensors = [inputs[0], *targets]
    if not batch.tensors:  # an object, lists of images or of text
        return all(t.ndim > 0 for t in tensors)
    return (
        len(tensors) > 1
        and any(t.ndim > 1 for t in inputs)
        and len({row_count(t) for t in tensors} - {0}) == 1
    )


def _samples(given: GivenData, *, sure: bool) -> ReadData:
    few = list(islice(items_of(given.data, given.name), _ASKED_ROWS))
    example = given.batch(collate(few, given.name))
    in_memory = isinstance(given.data, list | tuple) and example.rows > 0 and not is_object(few[0])
    numbers = sum(t.numel() for t in tensors_in((example.args, example.kwargs))) / len(few)
    if in_memory and numbers * len(given.data) <= _NUMBERS_STACKED:
        data: Any = given.batch(collate(given.data, given.name))
    else:
        data = drawn_from(given.data, given.name)
    return ReadData(data=data, example=None if sure else example)


FORMS = (
    Form(words="a tensor, an array or a dict of all rows", read=_rows),
    Form(words="one object that the model takes whole", read=_object),
    Form(words="a pair (inputs, targets) of all rows", read=_pair),
    Form(words="a Dataset of samples", read=_dataset),
    Form(words="a function that makes an iterator", read=_function),
    Form(words="samples", read=_samples_first),
    Form(words="batches", read=_batches),
    Form(words="samples", read=_samples_last),
    Form(words="batches of a fixed size", read=_batches_of_a_size),
)
"""In order of preference: the first form that the data can have and that the model takes is meant."""
