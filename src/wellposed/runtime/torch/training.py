"""Short trainings on scratch storage: how parameters move under the user's optimizer, and what an intervention changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from ...errors import UserCodeError
from ...signals.result import LostUpdates, ParameterUpdate, TrainingOutcome
from ..line_search import stable_multiple
from ..model_trace import ModelTrace
from ..steps_to_move import Path, steps_to_move
from .batch import Batch
from .lost_updates import Float32Twin
from .problem_forms import Optimizers
from .restore import preserved
from .session import Runner, mean_loss, reference_optimizer, seed_everything, take_steps
from .trace import trace

_ENTRIES = 1 << 16
_NOTICEABLE = 0.1  # of the size of a weight: about where steps begin to raise the loss

ChangeOptimizer = Callable[[torch.optim.Optimizer], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRun:
    outcome: TrainingOutcome
    updates: tuple[ParameterUpdate, ...]
    later: ModelTrace | None
    """Traced at the end; None where the training blew up, or no first trace was given."""
    stable: float | None = None
    """By how much the first update can be multiplied before it raises the loss of its own batch; None where that was not found."""
    lost: LostUpdates | None = None


def short_training(
    runner: Runner,
    batches: Sequence[Batch],
    held_out: Sequence[Batch],
    *,
    steps: int,
    seed: int,
    change: ChangeOptimizer | None = None,
    before: ModelTrace | None = None,
    traced: int = 3,
    searched: int = 0,
    and_then: Callable[[ModelTrace | None], None] | None = None,
) -> TrainingRun:
    """Take `steps` steps from the present state, in a scope of its own.

    Parameters
    ----------
    change
        Applied to the optimizer (and, through a closure, to the model) before the first step.
    before
        A trace at the present state; given it, the movement of every parameter and a trace at the end are measured too.
    traced
        Batches of that trace.
    searched
        Evaluations with which the first update is tried longer and shorter.
    and_then
        Called at the end inside the scope, with the later trace: for what must be measured on the trained copy.
    """
    problem = runner.problem
    with preserved(problem.model, problem.loss, problem.optimizer, in_place=True) as scope:
        original = {name: scope.values_before(p) for name, p in runner.trainable.items()}
        optimizer = problem.optimizer or reference_optimizer(runner)
        if change is not None:
            change(optimizer)
        runner.train_mode()
        start = held_out_loss(runner, held_out, seed=seed)
        movement = _Movement(runner, optimizer, original, steps) if before is not None else None
        twin = None if before is None else Float32Twin.of(runner.trainable, optimizer)
        stable: list[float | None] = [None]

        def after_step(step: int, loss: float) -> None:
            if twin is not None:
                twin.after_step(step)
            if movement is not None:
                movement.after_step(step)
                if step == 0 and searched:
                    stable[0] = movement.stable(batches[0], loss, passes=searched, seed=seed)

        losses = take_steps(
            runner,
            batches,
            steps=steps,
            optimizer=optimizer,
            seed=seed,
            after_step=after_step,
        )
        end = held_out_loss(runner, held_out, seed=seed)
        updates = movement.updates(before) if movement and before else ()
        lost = None if twin is None else twin.found()
        later = None
        if before is not None and all(map(_is_finite, (losses[-1], end))):
            runner.train_mode()
            later = trace(runner, batches[:traced], seed=seed)
        if and_then is not None:
            and_then(later)
    return TrainingRun(
        outcome=TrainingOutcome(losses=tuple(losses), start=start, end=end),
        updates=updates,
        later=later,
        stable=stable[0],
        lost=lost,
    )


def redrawn_training(
    runner: Runner,
    batches: Sequence[Batch],
    held_out: Sequence[Batch],
    *,
    variances: Mapping[str, float],
    steps: int,
    seed: int,
    change: ChangeOptimizer | None,
    traced: int,
) -> tuple[ModelTrace, TrainingRun]:
    """Draw some weights again from normal distributions of these variances, by name; trace the model, and take the steps."""
    problem = runner.problem
    with preserved(problem.model, problem.loss, problem.optimizer, in_place=True):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, variance in variances.items():
                parameter = runner.parameters[name]
                drawn = torch.randn(parameter.shape, generator=generator) * variance**0.5
                parameter.copy_(drawn)
        runner.train_mode()
        first = trace(runner, batches[:traced], seed=seed)
        run = short_training(
            runner, batches, held_out, steps=steps, seed=seed, change=change, before=first, traced=traced
        )
    return first, run


def held_out_curve(
    runner: Runner,
    batches: Sequence[Batch],
    held_out: Sequence[Batch],
    *,
    at: Sequence[int],
    seed: int,
    change: ChangeOptimizer | None = None,
) -> list[float]:
    """Held-out loss in eval mode after each of the steps `at`; inf from where training blows up."""
    problem = runner.problem
    with preserved(problem.model, problem.loss, problem.optimizer, in_place=True):
        optimizer = problem.optimizer or reference_optimizer(runner)
        if change is not None:
            change(optimizer)
        runner.train_mode()
        curve: list[float] = []

        def measure(step: int, loss: float) -> None:
            if step + 1 in at:
                runner.train_mode(False)
                value = mean_loss(runner, held_out, seed=seed)
                curve.append(value if _is_finite(value) else float("inf"))
                runner.train_mode()

        take_steps(runner, batches, steps=at[-1], optimizer=optimizer, seed=seed, after_step=measure)
    return curve + [float("inf")] * (len(at) - len(curve))


def held_out_loss(runner: Runner, batches: Sequence[Batch], *, seed: int) -> float:
    """Held-out loss in train mode with fixed random states: running statistics have not settled after a few steps."""
    seed_everything(seed)
    with preserved(*runner.all_modules, in_place=True):
        return mean_loss(runner, batches, seed=seed)


def _is_finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


class _Movement:
    """Follows how far each trainable parameter goes from where it started."""

    def __init__(
        self, runner: Runner, optimizer: torch.optim.Optimizer, start: dict[str, torch.Tensor], steps: int
    ) -> None:
        self.runner = runner
        self.parameters = runner.trainable
        self.start = start
        self.half, self.steps = steps // 2, steps
        self.middle: dict[str, torch.Tensor] = {}
        """Some entries of each after half of the steps: it is not worth another copy of all parameters."""
        self.first: dict[str, float] = {}
        self.rate = {id(p): float(g.get("lr", 0.0)) for g in optimizer.param_groups for p in g["params"]}
        self.decay = {
            id(p): float(g.get("weight_decay", 0.0) or 0.0)
            for g in optimizer.param_groups
            for p in g["params"]
        }
        self.momentum = {
            id(p): float(g.get("momentum", 0.0) or 0.0)
            for g in optimizer.param_groups
            for p in g["params"]
            if not _has_stepped(optimizer, p)  # else its momentum has built up
        }

    def after_step(self, step: int) -> None:
        if step == 0:
            self.first = {name: self._relative(name) for name in self.parameters}
        if step + 1 == self.half:
            self.middle = {name: _some_entries(p).clone() for name, p in self.parameters.items()}

    def stable(self, batch: Batch, initial: float, *, passes: int, seed: int) -> float | None:
        """By how much the update so far can be multiplied before it raises a batch's loss above `initial`."""
        with preserved(*self.runner.all_modules), torch.no_grad():
            present = 1.0

            def loss_at(multiple: float) -> float:
                nonlocal present
                for name, parameter in self.parameters.items():
                    start = self.start[name]
                    parameter.sub_(start).mul_(multiple / present).add_(start)
                present = multiple
                try:
                    return mean_loss(self.runner, [batch], seed=seed)
                except UserCodeError:  # a probability that is NaN, say: too far
                    return math.nan

            return stable_multiple(loss_at, initial, passes=passes, first=self._noticeable())

    def _noticeable(self) -> float:
        """By how much the first update must be multiplied until it changes a weight by a tenth of its size."""
        weights = [
            moved for name, moved in self.first.items() if self.start[name].ndim >= 2 and moved < math.inf
        ]
        largest = max(weights, default=0.0)
        return _NOTICEABLE / largest if largest > 0 else 1.0

    def _relative(self, name: str) -> float:
        start, now = self.start[name].double(), self.parameters[name].detach().double()
        if start.ndim >= 2:  # of an embedding only the rows that were looked up can move
            touched = (now != start).flatten(1).any(1)
            start, now = start[touched], now[touched]
        moved, size = float((now - start).norm()), float(start.norm())
        return moved / size if size > 0 else (float("inf") if moved > 0 else 0.0)

    def _steps_to_move(self, name: str) -> float | None:
        """Steps until it has moved by 1 %; None where it starts at zero, and where the steps broke off."""
        if name not in self.middle:
            return None
        start, now = self.start[name], self.parameters[name].detach()
        moves = now != start
        if start.ndim >= 2:  # as in `_relative`: all entries of the rows that move at all
            if not bool(moves.any()):
                return math.inf if bool(start.any()) else None
            rows = moves.flatten(1).any(1)
            moves = rows.reshape(-1, *[1] * (start.ndim - 1)).expand_as(start)
        kept = _some_entries(moves) if start.ndim >= 2 else slice(None)
        start, middle, now = (
            x[kept].double() for x in (_some_entries(start), self.middle[name], _some_entries(now))
        )
        size = float(start.norm())
        if size == 0:
            return None
        first, second = (middle - start) / size, (now - middle) / size
        if not bool(first.isfinite().all() and second.isfinite().all()):
            return None
        path = Path(
            half=self.half, steps=self.steps, first_step=self.first.get(name, 0.0),
            first_half=float(first.norm()), second_half=float(second.norm()), along=float((first * second).sum()),
            settled=_settled(self.momentum.get(id(self.parameters[name]), 0.0), self.half, self.steps),
        )  # fmt: skip
        return steps_to_move(path)

    def updates(self, before: ModelTrace) -> tuple[ParameterUpdate, ...]:
        return tuple(
            self._update(name, p, before.gradient_squares.get(name, []))
            for name, p in self.parameters.items()
        )

    def _update(self, name: str, parameter: nn.Parameter, squares: list[float]) -> ParameterUpdate:
        start = self.start[name]
        present = [s for s in squares if s >= 0]
        gradient = (sum(present) / len(present)) ** 0.5 if present else 0.0
        rms = float(start.double().square().mean()) ** 0.5 if start.numel() else 0.0
        decay = self.decay.get(id(parameter), 0.0)
        return ParameterUpdate(
            name=name,
            size=start.numel(),
            dimensions=start.ndim,
            rms=rms,
            gradient_rms=gradient,
            first_step=self.first.get(name, 0.0),
            movement=self._relative(name),
            touched=_touched(start, parameter.detach()),
            steps_to_move=self._steps_to_move(name),
            remaining=float(parameter.detach().double().norm() / start.double().norm()) if rms > 0 else 1.0,
            decay_share=decay * rms / gradient if gradient > 0 else 0.0,
            rows_equal=_rows_equal(start) and _rows_equal(parameter.detach()),
            rate=self.rate.get(id(parameter), 0.0),
            fan_in=start[0].numel() if start.ndim >= 2 and len(start) else 0,
        )


def _has_stepped(optimizer: Any, parameter: nn.Parameter) -> bool:
    """Whether an optimizer holds a state of a parameter, as after its first step."""
    parts = optimizer.parts if isinstance(optimizer, Optimizers) else [optimizer]
    return any(parameter in getattr(part, "state", {}) for part in parts)


def _some_entries(tensor: torch.Tensor) -> torch.Tensor:
    """Its entries, of a large tensor some that are spread evenly, in one axis."""
    every = max(1, tensor.numel() // _ENTRIES) | 1  # odd, so that no column is left out
    return tensor.detach().reshape(-1)[::every]


def _settled(momentum: float, half: int, steps: int) -> float:
    """Mean length of the steps of the second half over that of steps whose momentum has built up, under an even gradient."""
    later = range(half + 1, steps + 1)
    return sum(1 - momentum**step for step in later) / len(later) if 0 < momentum < 1 else 1.0


def _touched(start: torch.Tensor, now: torch.Tensor) -> float:
    return float((now != start).flatten(1).any(1).double().mean()) if start.ndim >= 2 and len(start) else 1.0


def _rows_equal(weight: torch.Tensor) -> bool:
    if weight.ndim < 2 or len(weight) < 2 or weight[0].numel() < 2:
        return False
    return bool(((weight - weight[:1]).abs() <= 1e-6 * weight.abs().max()).all())


def scale_rate(factor: float) -> ChangeOptimizer:
    def change(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    return change


def at_base_rate(optimizer: torch.optim.Optimizer) -> None:
    """Half of the rate that a schedule warms up to: what its warm-up runs at on average."""
    for group in optimizer.param_groups:
        group["lr"] = 0.5 * max(group["lr"], group.get("initial_lr", 0.0), group.get("max_lr", 0.0))


def without_decay(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0


class OptimizerFacts(NamedTuple):
    """What an optimizer is set to, over all its groups."""

    name: str
    """Class name."""
    rate: float
    """The largest of a group."""
    weight_decay: float
    """The largest of a group."""
    warming_up: bool
    """Whether a scheduler holds the rate below its base value."""


REFERENCE = OptimizerFacts("reference", 1e-3, 0.0, False)
"""Adam, which stands in where no optimizer was given."""


def optimizer_facts(optimizer: Any) -> OptimizerFacts:
    groups = optimizer.param_groups
    rate = max(float(g.get("lr", 0.0)) for g in groups)
    base = max(float(g.get("initial_lr", g.get("lr", 0.0))) for g in groups)
    decay = max(float(g.get("weight_decay", 0.0) or 0.0) for g in groups)
    top = max((float(g["max_lr"]) for g in groups if "max_lr" in g), default=base)
    name = optimizer.name if isinstance(optimizer, Optimizers) else type(optimizer).__name__
    return OptimizerFacts(name, rate, decay, rate < 0.999 * max(base, top))
