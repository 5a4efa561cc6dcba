"""Who is connected to whom: gradients that never come, samples that mix, running statistics that stand still."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import UserCodeError
from ..runtime.model_trace import ModelTrace
from ..runtime.torch.batch import Batch, is_dense, take
from ..runtime.torch.session import (
    Runner,
    clear_gradients,
    losses_of,
    mean_loss,
    outputs_without_gradients,
    seed_everything,
)
from ..runtime.torch.trace import graph_nodes
from .result import Unreached

_BATCH_NORMS = nn.modules.batchnorm._BatchNorm
_ROUNDINGS = 100  # of the loss: what is cancelled later leaves its own rounding behind
_STANDING_STILL = 1e-3  # such a momentum needs thousands of steps to come near the statistics of the data


def unreached(
    runner: Runner, batch: Batch, first: ModelTrace, later: ModelTrace | None, *, seed: int
) -> tuple[Unreached, ...]:
    """Trainable parameters whose gradient was absent or exactly zero on every batch, before and after the steps."""
    found = []
    optimizer = runner.problem.optimizer
    in_optimizer = (
        None if optimizer is None else {id(p) for group in optimizer.param_groups for p in group["params"]}
    )
    behind: set[int] | None = None
    for name, parameter in runner.trainable.items():
        squares = first.gradient_squares.get(name, []) + (
            later.gradient_squares.get(name, []) if later else []
        )
        if squares and all(s <= 0 for s in squares):
            absent = all(s < 0 for s in squares)
            if not absent and behind is None:
                behind = _behind_a_softmax_of_one(runner, batch, seed=seed)
            found.append(
                Unreached(
                    name=name,
                    absent=absent,
                    loss_depends=_loss_depends(runner, parameter, batch, seed=seed),
                    in_optimizer=in_optimizer is None or id(parameter) in in_optimizer,
                    softmax_of_one=behind is not None and id(parameter) in behind,
                )
            )
    return tuple(found)


def _behind_a_softmax_of_one(runner: Runner, batch: Batch, *, seed: int) -> set[int]:
    """Parameters that feed a softmax over an axis of length 1."""
    seed_everything(seed)
    loss = runner.evaluate(batch).loss
    waiting: list[Any] = [] if loss is None else list(filter(_is_softmax_of_one, graph_nodes(loss)))
    seen: set[Any] = set()
    behind = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            behind.add(id(node.variable))
        waiting.extend(n for n, _ in node.next_functions)
    return behind


def _is_softmax_of_one(node: Any) -> bool:
    if not type(node).__name__.startswith(("SoftmaxBackward", "LogSoftmaxBackward")):
        return False
    shape = node._saved_result.shape
    axis = node._saved_dim
    axis = axis - 2**64 if axis >= 2**63 else axis  # a negative axis is saved without its sign
    return bool(shape) and shape[axis] == 1


def _loss_depends(runner: Runner, parameter: nn.Parameter, batch: Batch, *, seed: int) -> bool:
    """Whether the loss changes when the parameter is shaken by its own size."""
    original = parameter.detach().clone()
    generator = torch.Generator(device=parameter.device).manual_seed(seed)
    size = float(original.double().square().mean()) ** 0.5 if original.numel() else 0.0
    values = []
    for shake in (0.0, 0.5):
        noise = torch.randn(original.shape, generator=generator, device=original.device).to(original.dtype)
        with torch.no_grad():
            parameter.copy_(original + shake * (size or 0.1) * noise)
        values.append(mean_loss(runner, [batch], seed=seed))
    with torch.no_grad():
        parameter.copy_(original)
    before, after = values
    rounding = _ROUNDINGS * torch.finfo(original.dtype).eps
    return abs(after - before) > rounding * abs(before) + 1e-12  # not of a loss that is not a number


def outside_optimizer(
    runner: Runner, optimizer: Any, reached: set[str], *, order: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Trainable parameters that get gradients and that the optimizer does not hold; which of them belong to networks
    that the loss is only passed through; and how many it holds of others.

    `order` has the names of the layers as they run.
    """
    in_optimizer = {id(p) for group in optimizer.param_groups for p in group["params"]}
    ours = {id(p) for p in runner.parameters.values()}
    # Modules that only the loss's closure holds (a discriminator, a perceptual net) have optimizers of their own.
    judged = {id(p) for p in runner.judged_parameters()}
    outside = {
        id(p): n
        for n, p in runner.trainable.items()
        if id(p) not in in_optimizer and n in reached and id(p) in judged
    }
    apart = _passed_through(runner, in_optimizer, order) if outside and in_optimizer & ours else set()
    return (
        tuple(outside.values()),
        tuple(n for i, n in outside.items() if i in apart),
        len(in_optimizer - ours),
    )


def _passed_through(runner: Runner, held: set[int], order: Sequence[str]) -> set[int]:
    """Parameters of whole networks of which the optimizer holds nothing, and which run after all that it holds.

    A generator's step goes through the discriminator so; a head that was forgotten is one layer, and a backbone that
    was forgotten comes first.
    """
    modules = {name: module for module, name in runner.names().items()}
    ran = [modules[name] for name in order if name in modules]
    last = max(
        (i for i, m in enumerate(ran) if any(id(p) in held for p in m.parameters(recurse=False))), default=-1
    )
    before = set(ran[: last + 1])
    found: set[int] = set()
    for module in runner.networks():
        parameters = {id(p) for p in module.parameters()}
        inside = set(module.modules())
        if not parameters & held and not inside & before and inside & set(ran):
            found |= parameters
    return found


def batch_leak(runner: Runner, batch: Batch, *, rows_first: bool, seed: int) -> tuple[float | None, str]:
    """Largest relative change of other samples' outputs, in eval mode, when one sample is replaced by another.

    Without `rows_first` the samples may stand on the second axis: if those do not mix, they are the samples.
    """
    tensors = batch.tensors
    rows = batch.rows
    if not tensors:
        return None, "the inputs are no dense tensors, whose rows could be replaced"
    if rows < 3:
        return None, "needs three samples in a batch"
    if any(t.ndim == 0 or len(t) != rows for t in tensors):
        return None, "not every input has one row a sample"
    if any(t.ndim == 2 and t.shape[0] == t.shape[1] for t in tensors) and len(tensors) > 1:
        return None, "an input relates the rows to each other"
    if isinstance(batch.targets, torch.Tensor) and batch.targets.ndim and len(batch.targets) != rows:
        return None, "the first axis of the inputs is not the batch"
    runner.train_mode(False)
    for module in runner.modules:  # statistics of the batch mix samples on purpose; look beyond them
        if isinstance(module, _BATCH_NORMS):
            module.train(False)
    plain, again = (_eval_outputs(runner, batch, seed) for _ in range(2))
    if plain is None or again is None or plain.ndim == 0 or len(plain) != rows:
        return None, "the outputs have not one row a sample"
    if not torch.equal(plain, again):
        return None, "two evaluations with the same random state differ"
    if not _takes_fewer_rows(runner, batch, plain, seed):
        return (
            None,
            "the model takes all rows together: they are related, as the nodes of a graph or pairs are",
        )
    leak = _mixing(runner, batch, plain, axis=0, seed=seed)
    second = all(t.ndim >= 2 and t.shape[1] >= 2 for t in tensors) and plain.ndim >= 2
    first = next(iter(tensors))
    ambiguous = leak > 0 and not rows_first and second and plain.shape[1:2] == first.shape[1:2]
    if ambiguous and _mixing(runner, batch, plain, axis=1, seed=seed) == 0:
        return None, "the samples may stand on the second axis, whose entries do not mix"
    return leak, ""


def _eval_outputs(runner: Runner, batch: Batch, seed: int) -> torch.Tensor | None:
    return outputs_without_gradients(runner, batch, seed=seed)


def _mixing(runner: Runner, batch: Batch, plain: torch.Tensor, *, axis: int, seed: int) -> float:
    """ChangeOptimizer of the other outputs along an axis, over their std, when its first entry is replaced by the second."""

    def swap(t: torch.Tensor) -> torch.Tensor:
        return torch.cat([t.narrow(axis, 1, 1), t.narrow(axis, 1, t.shape[axis] - 1)], axis)

    other = _eval_outputs(runner, batch.with_inputs(*map(swap, batch.tensors)), seed)
    if other is None or other.shape != plain.shape:
        return 0.0
    rest = plain.shape[axis] - 1
    kept, changed = (o.narrow(axis, 1, rest).double() for o in (plain, other))
    return float((changed - kept).abs().max()) / (float(kept.std()) + 1e-12)


def _takes_fewer_rows(runner: Runner, batch: Batch, plain: torch.Tensor, seed: int) -> bool:
    """Whether the model takes any number of rows, and a row's output has the same shape whatever their number."""
    try:
        fewer = _eval_outputs(runner, take(batch, torch.arange(batch.rows - 1)), seed)
    except UserCodeError:
        return False
    return fewer is not None and fewer.shape[1:] == plain.shape[1:]


def train_eval_gap(runner: Runner, batches: Sequence[Batch], *, passes: int, seed: int) -> dict[str, Any]:
    """Loss in train and eval mode on the same batches, once running statistics had that many passes to settle.

    It resets those statistics: use inside `restore.preserved`.
    """
    clear_gradients(runner)
    if _modes_agree(runner, batches[0], seed=seed):
        same = float(np.mean(losses_of(runner, batches, seed=seed)))
        return {"train_loss": same, "eval_loss": same, "gap_error": 0.0}
    tracked = [
        m for m in runner.modules if isinstance(m, _BATCH_NORMS) and m.track_running_stats and m.training
    ]
    before = {m: m.running_mean.clone() for m in tracked if m.running_mean is not None}
    counted = {m: m.num_batches_tracked.clone() for m in before if m.num_batches_tracked is not None}
    mean_loss(runner, batches[:1], seed=seed)
    still = [
        m
        for m, mean in before.items()
        # Not those that did not run at all.
        if not (m in counted and bool((m.num_batches_tracked == counted[m]).all()))
        if (m.running_mean is not None and torch.equal(m.running_mean, mean))
        or (m.momentum is not None and m.momentum < _STANDING_STILL)
    ]
    for module in tracked:
        if module not in still:
            module.momentum = None  # cumulative: settles in as many passes as there are batches
            module.reset_running_stats()
    # Each pass draws its own dropout: together they say what train mode gives on average.
    draws = np.array([losses_of(runner, batches, seed=seed + i) for i in range(passes)])
    runner.train_mode(False)
    evaluated = np.array(losses_of(runner, batches, seed=seed))
    names = runner.names()
    train = draws.mean(0)
    gaps = evaluated - train
    return {
        "train_loss": float(train.mean()),
        "eval_loss": float(evaluated.mean()),
        "gap_error": float(gaps.std(ddof=1)) / len(gaps) ** 0.5 if len(gaps) > 2 else None,
        "frozen_statistics": tuple(names[m] for m in still),
    }


def _modes_agree(runner: Runner, batch: Batch, *, seed: int) -> bool:
    """Whether the model does the same in eval mode, to the bit."""
    train = outputs_without_gradients(runner, batch, seed=seed)
    runner.train_mode(False)
    evaluated = outputs_without_gradients(runner, batch, seed=seed)
    runner.train_mode()
    return train is not None and evaluated is not None and torch.equal(train, evaluated)


def ignored_inputs(runner: Runner, batch: Batch, *, seed: int) -> tuple[str, ...]:
    """Of several inputs, those whose rows can be shuffled without any change in outputs that do differ by row."""
    names = list(batch.kwargs) if batch.kwargs is not None else [f"input {i}" for i in range(len(batch.args))]
    values = list(batch.kwargs.values()) if batch.kwargs is not None else list(batch.args)
    runner.train_mode(False)
    ignored = []
    plain, loss = _outputs_and_loss(runner, batch, seed)
    if plain is None or batch.rows < 2 or len(batch.tensors) < 2 or bool((plain == plain[:1]).all()):
        return ()
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        if not is_dense(value) or value.ndim == 0 or len(value) != batch.rows:
            continue
        rolled = value.roll(1, 0)
        if torch.equal(rolled, value):
            continue
        tensors = [rolled if j == i else v for j, v in enumerate(values) if is_dense(v)]
        other, other_loss = _outputs_and_loss(runner, batch.with_inputs(*tensors), seed)
        if other is not None and torch.equal(other, plain) and other_loss == loss:
            ignored.append(name)
    return tuple(ignored)


def _outputs_and_loss(runner: Runner, batch: Batch, seed: int) -> tuple[torch.Tensor | None, float | None]:
    """An input may matter to the loss alone, as the labels do that a model takes beside its inputs."""

    def evaluate() -> tuple[torch.Tensor | None, float | None]:
        seed_everything(seed)
        evaluation = runner.evaluate(batch)
        return evaluation.tensor, None if evaluation.loss is None else float(evaluation.loss.detach())

    return runner.without_gradients(evaluate)
