"""Who is connected to whom: gradients that never come, running statistics that stand still."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from ..runtime.model_trace import ModelTrace
from ..runtime.torch.batch import Batch, is_dense, tensors_in
from ..runtime.torch.graph_nodes import graph_nodes
from ..runtime.torch.norms import BATCH_NORMS
from ..runtime.torch.session import (
    Runner,
    clear_gradients,
    losses_of,
    mean_loss,
    seed_everything,
)
from .result import Unreached, UnusedSlice

_ROUNDINGS = 100  # of the loss: what is cancelled later leaves its own rounding behind
_PRODUCTS = ("linear", "addmm", "matmul", "mm", "conv1d", "conv2d", "conv3d")
_LEAST_ROWS = 4
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


def train_eval_gap(runner: Runner, batches: Sequence[Batch], *, passes: int, seed: int) -> dict[str, Any]:
    """Loss in train and eval mode on the same batches, once running statistics had that many passes to settle.

    It resets those statistics: use inside `restore.preserved`.
    """
    clear_gradients(runner)
    tracked = [
        m for m in runner.modules if isinstance(m, BATCH_NORMS) and m.track_running_stats and m.training
    ]
    same = None if tracked else _loss_in_both_modes(runner, batches[0], seed=seed)
    if same is not None:
        return {"train_loss": same, "eval_loss": same, "gap_error": 0.0}
    still = _standing_still(runner, tracked, batches[0], seed=seed)
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


def _standing_still(runner: Runner, tracked: Sequence[Any], batch: Batch, *, seed: int) -> list[nn.Module]:
    """The norms whose running mean a batch does not move, or hardly: it is put elsewhere first, for it may have arrived already."""
    means = {m: m.running_mean.clone() for m in tracked if m.running_mean is not None}
    counted = {m: m.num_batches_tracked.clone() for m in means if m.num_batches_tracked is not None}
    for module, mean in means.items():
        module.running_mean.copy_(mean + 1)
    mean_loss(runner, [batch], seed=seed)
    still = [
        m
        for m, mean in means.items()
        # Not those that did not run at all.
        if not (m in counted and bool((m.num_batches_tracked == counted[m]).all()))
        if torch.equal(m.running_mean, mean + 1) or (m.momentum is not None and m.momentum < _STANDING_STILL)
    ]
    for module in still:
        module.running_mean.copy_(means[module])
    return still


def _loss_in_both_modes(runner: Runner, batch: Batch, *, seed: int) -> float | None:
    """The loss of a batch, where the model does the same in train and in eval mode, to the bit; else None."""
    train, trained = _outputs_and_loss(runner, batch, seed)
    runner.train_mode(False)
    evaluated, loss = _outputs_and_loss(runner, batch, seed)
    runner.train_mode()
    if train is None or evaluated is None or trained != loss or not torch.equal(train, evaluated):
        return None
    return loss


def unused_slices(
    runner: Runner, batches: Sequence[Batch], first: ModelTrace, later: ModelTrace, *, seed: int
) -> tuple[UnusedSlice, ...]:
    """Neighbouring rows of weights that got no gradient, and whose values do not matter to the loss of any of the batches.

    Neither before nor after some steps: gates that start closed hide what is behind them, and units may die.
    """
    products = {n for key, o in first.operations.items() if key.name in _PRODUCTS for n in o.parameters}
    plain: list[float] = []
    found = []
    for name, awake in later.awake_rows.items():
        if name not in products or name not in first.awake_rows:
            continue
        awake = awake | first.awake_rows[name]
        run = _silent_rows(awake)
        if run is None:
            continue
        plain = plain or losses_of(runner, batches, seed=seed)
        weight, others = runner.trainable[name], np.flatnonzero(awake)[: run[1] - run[0]]
        unread = _losses_with_noise(runner, weight, range(*run), batches, seed=seed) == plain
        # Only where as much noise in other rows is seen: a network that is dead further on, or a huge loss, shows nothing.
        if unread and _losses_with_noise(runner, weight, others.tolist(), batches, seed=seed) != plain:
            found.append(UnusedSlice(name=name, start=run[0], stop=run[1], rows=len(awake)))
    return tuple(found)


def _silent_rows(awake: np.ndarray) -> tuple[int, int] | None:
    """The longest run of rows without a gradient, where others have one and the run is an eighth of all or more."""
    ends = [-1, *np.flatnonzero(awake).tolist(), len(awake)]
    start, stop = max(((a + 1, b) for a, b in pairwise(ends)), key=lambda run: run[1] - run[0])
    return (start, stop) if max(_LEAST_ROWS, len(awake) / 8) <= stop - start < len(awake) else None


def _losses_with_noise(
    runner: Runner, parameter: nn.Parameter, rows: Sequence[int], batches: Sequence[Batch], *, seed: int
) -> list[float]:
    """The losses with some rows of a weight drawn at random, a hundred times as large as it is."""
    original = parameter.detach().clone()
    generator = torch.Generator(device=parameter.device).manual_seed(seed)
    noise = torch.randn(original[list(rows)].shape, generator=generator, device=original.device)
    size = float(original.double().square().mean()) ** 0.5 or 1.0
    with torch.no_grad():
        parameter[list(rows)] = (100 * size * noise).to(original.dtype)
    try:
        return losses_of(runner, batches, seed=seed)
    finally:
        with torch.no_grad():
            parameter.copy_(original)


def ignored_inputs(runner: Runner, batch: Batch, *, seed: int) -> tuple[str, ...]:
    """Of several inputs that the model is given, those whose rows can be shuffled without any change in outputs that do differ by row."""
    given, inside = _handed_over(runner, batch)
    names = list(batch.kwargs) if batch.kwargs is not None else [f"input {i}" for i in range(len(batch.args))]
    values = list(batch.kwargs.values()) if batch.kwargs is not None else list(batch.args)
    runner.train_mode(False)
    if batch.rows < 2 or len(batch.tensors) < 2:
        return ()
    ignored = []
    plain, loss = _outputs_and_loss(runner, batch, seed)
    if plain is None or bool((plain == plain[:1]).all()):
        return ()
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        if not is_dense(value) or value.ndim == 0 or len(value) != batch.rows:
            continue
        if id(value) not in given | inside:  # for the loss, or for nobody: names, numbers of rows
            continue
        rolled = value.roll(1, 0)
        if torch.equal(rolled, value):
            continue
        tensors = [rolled if j == i else v for j, v in enumerate(values) if is_dense(v)]
        other, other_loss = _outputs_and_loss(runner, batch.with_inputs(*tensors), seed)
        if other is not None and torch.equal(other, plain) and other_loss == loss:
            ignored.append(name)
    return tuple(ignored)


def entries_of_an_argument(runner: Runner, batch: Batch) -> tuple[str, ...]:
    """Names of the inputs that the model is given inside one argument, of which it may take what it needs."""
    _, inside = _handed_over(runner, batch)
    return tuple(name for name, value in (batch.kwargs or {}).items() if id(value) in inside)


def _handed_over(runner: Runner, batch: Batch) -> tuple[set[int], set[int]]:
    """The tensors that are arguments of the model, and those inside one, by identity."""
    args, kwargs = runner.called_with(batch)
    arguments = args if kwargs is None else tuple(kwargs.values())
    given = {id(a) for a in arguments if isinstance(a, torch.Tensor)}
    return given, {id(t) for t in tensors_in(arguments)} - given


def _outputs_and_loss(runner: Runner, batch: Batch, seed: int) -> tuple[torch.Tensor | None, float | None]:
    """An input may matter to the loss alone, as the labels do that a model takes beside its inputs."""

    def evaluate() -> tuple[torch.Tensor | None, float | None]:
        seed_everything(seed)
        evaluation = runner.evaluate(batch)
        return evaluation.tensor, None if evaluation.loss is None else float(evaluation.loss.detach())

    return runner.without_gradients(evaluate)
