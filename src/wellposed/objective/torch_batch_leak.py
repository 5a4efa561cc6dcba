"""Do samples of a batch see each other? Asked by replacing one of them: a row, a graph of a batch of graphs, or one of a list."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from ..errors import UserCodeError
from ..runtime.torch.batch import Batch, is_dense, is_object, is_per_sample, tensors_in
from ..runtime.torch.named_inputs import named_inputs, with_changed_inputs
from ..runtime.torch.norms import BATCH_NORMS
from ..runtime.torch.session import Runner, seed_everything
from .torch_outputs import parts_of

_LEAST_SAMPLES = 3
_AMPLIFIED = 10.0  # numbers of a sample, beside the sample as it is: what is shared by many nodes changes little by one graph
_LEAST_STD = 1e-3  # of the largest of several outputs: what varies less is compared with that
Outputs = list[torch.Tensor]
_OTHERS_UNKNOWN = (
    "which outputs are of which sample is not known, or two evaluations with the same random state differ"
)


def batch_leak(runner: Runner, batch: Batch, *, rows_first: bool, seed: int) -> tuple[float | None, str]:
    """Largest relative change of other samples' outputs, in eval mode, when one sample is replaced by another.

    Without `rows_first` the samples may stand on the second axis: if those do not mix, they are the samples.
    """
    for replaced in (_graph_replaced, _one_of_a_list_replaced, _packed_replaced):
        leaks = [
            _leak_of(runner, batch, changed, seed=seed)
            for factor in (1.0, _AMPLIFIED)
            if (changed := replaced(batch, factor, torch.Generator().manual_seed(seed))) is not None
        ]
        if leaks:
            told = [leak for leak in leaks if leak is not None]
            return (max(told), "") if told else (None, _OTHERS_UNKNOWN)
    return _leak_of_rows(runner, batch, rows_first=rows_first, seed=seed)


# --- rows


def _leak_of_rows(runner: Runner, batch: Batch, *, rows_first: bool, seed: int) -> tuple[float | None, str]:
    inputs = named_inputs(batch)
    tensors = [t for t in inputs.values() if t.ndim]
    if not tensors or _in_lists(batch.inputs):
        return None, "the inputs are no dense tensors, whose rows could be replaced"
    rows = batch.rows or len(tensors[0])
    names = frozenset(n for n, t in inputs.items() if t.ndim and len(t) == rows)
    beside = [t for n, t in inputs.items() if n not in names]
    if rows < _LEAST_SAMPLES:
        return None, "needs three samples in a batch"
    if any(t.numel() > 1 and not (t.is_floating_point() or t.dtype == torch.bool) for t in beside):
        return None, "not every input has one row a sample"
    if isinstance(batch.targets, torch.Tensor) and batch.targets.ndim and len(batch.targets) != rows:
        return None, "the first axis of the inputs is not the batch"
    if len(inputs) > 1 and any(t.ndim == 2 and t.shape[0] == t.shape[1] == rows for t in tensors):
        batch = _without_last(batch, names, rows)
        rows -= 1  # what relates all rows to each other does not fit any more
    _eval_but_for_batch_norms(runner)
    try:
        plain, again = (_eval_outputs(runner, batch, seed) for _ in range(2))
    except UserCodeError:
        return None, "an input relates the rows to each other"
    if plain is None or again is None or len(plain[0]) != rows:
        return None, "the outputs have not one row a sample"
    if not _equal(plain, again):
        return None, "two evaluations with the same random state differ"
    if not _takes_fewer_rows(runner, batch, names, plain, seed):
        return (
            None,
            "the model takes all rows together: they are related, as the nodes of a graph or pairs are",
        )
    leak = _mixing(runner, batch, names, plain, axis=0, seed=seed)
    asked = [inputs[n] for n in names]
    second = all(t.ndim >= 2 and t.shape[1] >= 2 for t in asked) and all(o.ndim >= 2 for o in plain)
    alike = all(o.shape[1:2] == asked[0].shape[1:2] for o in plain)
    ambiguous = leak > 0 and not rows_first and second and alike
    if ambiguous and _mixing(runner, batch, names, plain, axis=1, seed=seed) == 0:
        return None, "the samples may stand on the second axis, whose entries do not mix"
    return leak, ""


def _eval_but_for_batch_norms(runner: Runner) -> None:
    """Batch norms without statistics of their own stay as they are; the statistics of a batch mix samples on purpose."""
    runner.train_mode(False)
    for module in runner.modules:
        if isinstance(module, BATCH_NORMS):
            module.train(False)


def _eval_outputs(runner: Runner, batch: Batch, seed: int) -> Outputs | None:
    """All tensors of the outputs that have as many rows as the first; None where there are none."""

    def outputs() -> Outputs:
        seed_everything(seed)
        return parts_of(runner.outputs(batch), "outputs").detached

    found = runner.without_gradients(outputs)
    return [p for p in found if len(p) == len(found[0])] or None


def _mixing(
    runner: Runner, batch: Batch, names: frozenset[str], plain: Outputs, *, axis: int, seed: int
) -> float:
    """Change of the other outputs along an axis, over their std, when its first entry is replaced by the second."""

    def swap(name: str, t: torch.Tensor) -> torch.Tensor:
        if name not in names:
            return t
        return torch.cat([t.narrow(axis, 1, 1), t.narrow(axis, 1, t.shape[axis] - 1)], axis)

    other = _eval_outputs(runner, with_changed_inputs(batch, swap), seed)
    if other is None or _shapes(other) != _shapes(plain):
        return 0.0
    return _change(*([o.narrow(axis, 1, o.shape[axis] - 1) for o in outputs] for outputs in (plain, other)))


def _shapes(outputs: Outputs) -> list[torch.Size]:
    return [o.shape for o in outputs]


def _equal(one: Outputs, other: Outputs) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def _change(before: Outputs, after: Outputs) -> float:
    """The largest, over the std of its tensor."""
    stds = [float(b.double().std()) if b.numel() > 1 else 0.0 for b in before]
    least = _LEAST_STD * max(stds) + 1e-12
    changes = [float((a.double() - b.double()).abs().max()) for a, b in zip(after, before, strict=True)]
    return max(c / (s + least) for c, s in zip(changes, stds, strict=True))


def _takes_fewer_rows(runner: Runner, batch: Batch, names: frozenset[str], plain: Outputs, seed: int) -> bool:
    """Whether the model takes any number of rows, and a row's output has the same shape whatever their number."""
    try:
        fewer = _eval_outputs(runner, _without_last(batch, names, len(plain[0])), seed)
    except UserCodeError:
        return False
    return fewer is not None and [o.shape[1:] for o in fewer] == [o.shape[1:] for o in plain]


def _without_last(batch: Batch, names: frozenset[str], rows: int) -> Batch:
    """A row less, of targets too: the model may take them."""
    y = batch.targets
    shorter = with_changed_inputs(batch, lambda name, t: t[:-1] if name in names else t)
    by_row = isinstance(y, torch.Tensor) and y.ndim > 0 and len(y) == rows
    return replace(shorter, targets=y[:-1]) if by_row else shorter


# --- graphs, lists, packed sequences


@dataclass(frozen=True, kw_only=True, eq=False)
class _Replaced:
    """A batch in which one sample is another one."""

    batch: Batch
    others: Mapping[int, torch.Tensor]
    """Which rows of the outputs are of other samples, by the number of rows that they may have."""


def _leak_of(runner: Runner, batch: Batch, changed: _Replaced, *, seed: int) -> float | None:
    _eval_but_for_batch_norms(runner)
    plain, again = (_eval_outputs(runner, batch, seed) for _ in range(2))
    try:
        other = _eval_outputs(runner, changed.batch, seed)
    except UserCodeError:
        return None  # numbers that are codes
    if plain is None or again is None or other is None or not _equal(plain, again):
        return None
    if _shapes(other) != _shapes(plain) or len(plain[0]) not in changed.others:
        return None
    others = changed.others[len(plain[0])].to(plain[0].device)
    own = all(torch.equal(p[~others], o[~others]) for p, o in zip(plain, other, strict=True))
    if own or not all(bool(p.isfinite().all()) for p in plain):
        return None  # what was replaced is not what the model reads
    leak = _change([p[others] for p in plain], [o[others] for o in other])
    return leak if math.isfinite(leak) else math.inf


def _graph_replaced(batch: Batch, factor: float, generator: torch.Generator) -> _Replaced | None:
    """The nodes of the first graph get what nodes of others have; edges stay."""
    entries = _entries(batch)
    compared = {id(t) for t in tensors_in(batch.targets)}
    owners = {n: t for n, t in entries.items() if id(t) not in compared and _is_owner(t)}
    name = next((n for n in owners if n.endswith(".batch")), None) or next(iter(owners), None)
    if name is None:
        return None
    owner = owners[name]
    if any(_crosses(t, owner) for n, t in entries.items() if n != name):
        return None
    first = (owner == 0).nonzero().flatten()
    rest = (owner != 0).nonzero().flatten()
    drawn = rest[torch.randint(len(rest), (len(first),), generator=generator).to(rest.device)]

    def of_others(n: str, t: torch.Tensor) -> torch.Tensor:
        if n == name or id(t) in compared or t.ndim == 0 or len(t) != len(owner):
            return t
        return t.index_copy(0, first, _times(t[drawn], factor))

    graphs = torch.arange(int(owner.max()) + 1)
    return _Replaced(
        batch=_with_changed_entries(batch, of_others),
        others={len(owner): owner.cpu() != 0, len(graphs): graphs != 0},
    )


def _times(t: torch.Tensor, factor: float) -> torch.Tensor:
    return t * factor if t.is_floating_point() else t


def _is_owner(t: torch.Tensor) -> bool:
    """Whether it tells of each node to which graph it belongs: 0, 0, 0, 1, 1, ..."""
    if t.ndim != 1 or t.is_floating_point() or t.is_complex() or t.dtype == torch.bool or len(t) < 2:
        return False
    steps = t.diff()
    graphs = int(t[-1]) + 1
    return int(t[0]) == 0 and bool(((steps == 0) | (steps == 1)).all()) and _LEAST_SAMPLES <= graphs < len(t)


def _crosses(edges: torch.Tensor, owner: torch.Tensor) -> bool:
    """Whether a tensor holds edges, some of which lead from one graph to another."""
    if edges.ndim != 2 or edges.is_floating_point() or edges.is_complex() or 2 not in edges.shape:
        return False
    ends = edges if len(edges) == 2 else edges.t()
    if not ends.numel() or int(ends.min()) < 0 or int(ends.max()) >= len(owner):
        return False
    return bool((owner[ends[0].long()] != owner[ends[1].long()]).any())


def _one_of_a_list_replaced(batch: Batch, factor: float, generator: torch.Generator) -> _Replaced | None:
    """The first entry of a list with one tensor a sample becomes the second."""
    if batch.kwargs is not None or len(batch.args) != 1 or not isinstance(batch.args[0], list):
        return None
    samples = batch.args[0]
    targets = batch.targets
    fits = is_per_sample(samples, targets) or (
        isinstance(targets, torch.Tensor | list) and len(targets) == len(samples)
    )
    if len(samples) < _LEAST_SAMPLES or not fits or not all(map(is_dense, samples)):
        return None
    others = torch.arange(len(samples)) != 0
    return _Replaced(
        batch=replace(batch, args=([_times(samples[1], factor), *samples[1:]],)),
        others={len(samples): others},
    )


def _packed_replaced(batch: Batch, factor: float, generator: torch.Generator) -> _Replaced | None:
    """The longest of packed sequences gets what stands elsewhere in the batch."""
    values = batch.args if batch.kwargs is None else tuple(batch.kwargs.values())
    packed = [v for v in values if isinstance(v, PackedSequence)]
    if len(packed) != 1 or int(packed[0].batch_sizes[0]) < _LEAST_SAMPLES:
        return None
    (sequence,) = packed
    sizes = sequence.batch_sizes
    first = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)[:-1]]).to(sequence.data.device)
    drawn = torch.randint(len(sequence.data), (len(first),), generator=generator).to(first.device)
    fresh = sequence._replace(data=sequence.data.index_copy(0, first, _times(sequence.data[drawn], factor)))
    at = 0 if sequence.sorted_indices is None else int(sequence.sorted_indices[0])
    others = torch.arange(int(sizes[0])) != at

    def swapped(value: Any) -> Any:
        return fresh if value is sequence else value

    if batch.kwargs is None:
        changed = replace(batch, args=tuple(map(swapped, batch.args)))
    else:
        changed = replace(batch, kwargs={k: swapped(v) for k, v in batch.kwargs.items()})
    return _Replaced(batch=changed, others={len(others): others})


def _entries(batch: Batch) -> dict[str, torch.Tensor]:
    """The dense tensors among the inputs, and in objects that the model takes whole, by name."""
    found: dict[str, torch.Tensor] = {}

    def note(name: str, t: torch.Tensor) -> torch.Tensor:
        found[name] = t
        return t

    _with_changed_entries(batch, note)
    return found


def _with_changed_entries(batch: Batch, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Batch:
    values = batch.args if batch.kwargs is None else tuple(batch.kwargs.values())
    if not any(map(_is_graph, values)):
        return with_changed_inputs(batch, change)

    def changed(value: Any) -> Any:
        return _with_changed_attributes(value, change) if _is_graph(value) else value

    if batch.kwargs is None:
        return replace(batch, args=tuple(map(changed, batch.args)))
    return replace(batch, kwargs={k: changed(v) for k, v in batch.kwargs.items()})


def _is_graph(value: Any) -> bool:
    return (
        is_object(value) and not isinstance(value, PackedSequence) and is_dense(getattr(value, "batch", None))
    )


def _with_changed_attributes(held: Any, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Any:
    """A shallow copy with its dense tensors changed; graphs of libraries name them by ``keys``."""
    names = held.keys() if callable(getattr(held, "keys", None)) else vars(held)
    fresh = copy.copy(held)
    put = object.__setattr__ if dataclasses.is_dataclass(held) else setattr
    for name in list(names):
        value = getattr(held, name)
        if is_dense(value):
            put(fresh, name, change(f".{name}", value))
    return fresh


def _in_lists(value: Any) -> bool:
    """Whether some tensors stand in lists, which may have one a sample."""
    if isinstance(value, Mapping):
        return any(map(_in_lists, value.values()))
    if isinstance(value, tuple | list) and not is_object(value):
        here = isinstance(value, list) and any(isinstance(v, torch.Tensor) for v in value)
        return here or any(map(_in_lists, value))
    return False
