"""Which output the loss compares with which tensor of the targets, found by changing one of them and looking at gradients.

The outputs are held where they are or moved a little, so that no pass of the model is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from ..errors import WellposedError, users_code
from ..runtime.torch.batch import Batch
from ..runtime.torch.session import Runner, seed_everything
from .torch_outputs import Loss, Parts, parts_of, ramp
from .torch_targets import describe_targets, rms

MOST_PARTS = 16
"""Outputs, and tensors of the targets: beyond it, as of detectors with targets a picture, nothing is taken apart."""
_SAME = 1e-5  # of the largest gradient: what sums in another order leave
_FEWEST_ROWS = 3

Gradients = list[torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Dependence:
    """The loss as a function of the parts of the outputs and of the targets."""

    outputs: Parts
    targets: Parts
    loss: Callable[[Mapping[int, torch.Tensor], Mapping[int, torch.Tensor]], torch.Tensor]
    """Of some outputs and some targets that take the places of those that are there."""
    points: tuple[list[torch.Tensor], ...]
    """Outputs at which gradients are compared: the model's, and others that vary by row."""

    def gradients(
        self, outputs: Mapping[int, torch.Tensor], targets: Mapping[int, torch.Tensor]
    ) -> Gradients | None:
        """By every output; None where the loss refuses the values or has no gradient."""
        leaves = {i: t.detach().clone().requires_grad_() for i, t in outputs.items()}
        try:
            value = self.loss(leaves, targets)
        except WellposedError:
            return None
        if not value.requires_grad or not bool(value.isfinite()):
            return None
        try:
            return gradients_of(value, list(leaves.values()))
        except WellposedError:
            return None

    def value(self, outputs: Mapping[int, torch.Tensor], targets: Mapping[int, torch.Tensor]) -> float | None:
        """None where the loss refuses the values, or is not finite there."""
        try:
            value = float(self.loss(outputs, targets).detach())
        except WellposedError:
            return None
        return value if math.isfinite(value) else None

    def loss_by(self, i: int) -> Loss:
        """The loss of one output, the others held where they are."""
        return lambda values: self.loss({i: values}, {})


def gradients_of(value: torch.Tensor, tensors: Sequence[torch.Tensor]) -> Gradients:
    """By each tensor, zero where there is no path; the graph stays. What a backward pass raises is the user's."""
    with users_code("the backward pass"):
        found = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, found, strict=True)]


def dependence(runner: Runner, outputs: Parts, given: Batch, *, seed: int) -> Dependence | None:
    """None where there is no telling: too many parts, too few rows, or a loss that is another one in each call."""
    rows = given.rows
    targets = _by_column(parts_of(given.targets, "targets", lambda t: _is_by_row(t, rows)), outputs)
    if rows < _FEWEST_ROWS or not 0 < len(targets) <= MOST_PARTS or len(outputs) > MOST_PARTS:
        return None
    if not all(bool(t.isfinite().all()) for t in outputs.detached):
        return None
    direct = Runner(runner.problem)  # `given` has been transformed already

    def loss(free: Mapping[int, torch.Tensor], others: Mapping[int, torch.Tensor]) -> torch.Tensor:
        seed_everything(seed)
        batch = replace(given, targets=targets.replaced(others)) if others else given
        return direct.loss_of(outputs.replaced(free), batch)

    scale = max((rms(t) for t in targets.tensors if t.is_floating_point()), default=0.0)
    varied = [o + max(rms(o), scale, 1e-3) * ramp(o) / 3 for o in outputs.detached]
    found = Dependence(outputs=outputs, targets=targets, loss=loss, points=(outputs.detached, varied))
    return found if found.value({}, {}) == found.value({}, {}) else None


def _is_by_row(t: torch.Tensor, rows: int) -> bool:
    return (
        t.layout is torch.strided and not t.is_complex() and t.numel() > 0 and t.ndim > 0 and len(t) == rows
    )


def _by_column(targets: Parts, outputs: Parts) -> Parts:
    """A single matrix of targets as its columns, where there is one for each output and none takes the whole."""
    if len(targets) != 1 or len(outputs) < 2 or targets.tensors[0].ndim != 2:
        return targets
    (y,) = targets.tensors
    rows_alike = all(len(o) == len(y) for o in outputs.tensors)
    if not rows_alike or y.shape[1] != len(outputs) or any(takes(o, y) for o in outputs.detached):
        return targets
    return Parts(
        tensors=y.unbind(1),
        names=tuple(f"{targets.names[0]}[:, {k}]" for k in range(y.shape[1])),
        built=lambda columns: targets.put_back([torch.stack([next(columns) for _ in range(y.shape[1])], 1)]),
    )


def takes(o: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether targets have the form of an output's."""
    return describe_targets(y, o).kind != "other"


def rearranged(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The same rows in other places."""
    return t.roll(1, 0), t[
        torch.arange(len(t) - 1, -1, -1)
    ]  # `flip` takes no unsigned numbers of several bytes


def partners(dependence: Dependence) -> tuple[frozenset[int], ...]:
    """For each output the tensors of the targets whose rows in other places change the gradient by it."""
    found: list[set[int]] = [set() for _ in dependence.outputs.tensors]
    for point in map(_numbered, dependence.points):
        base = dependence.gradients(point, {})
        for j, target in enumerate(dependence.targets.tensors):
            for moved in rearranged(target):
                for i in _changed(base, dependence.gradients(point, {j: moved})):
                    found[i].add(j)
    return tuple(map(frozenset, found))


def _numbered(tensors: list[torch.Tensor]) -> dict[int, torch.Tensor]:
    return dict(enumerate(tensors))


def _changed(before: Gradients | None, after: Gradients | None) -> list[int]:
    if before is None or after is None:
        return []
    return [i for i, (b, a) in enumerate(zip(before, after, strict=True)) if differ(b, a)]


def differ(before: torch.Tensor, after: torch.Tensor) -> bool:
    """By more than rounding."""
    return bool((before - after).abs().max() > _SAME * torch.maximum(before.abs().max(), after.abs().max()))


def stands_apart(dependence: Dependence, i: int) -> bool:
    """Whether an output has a term of its own: the gradient by it stays the same when all the others change."""
    here, there = map(_numbered, dependence.points)
    before = dependence.gradients(here, {})
    after = dependence.gradients(there | {i: here[i]}, {})
    return before is not None and after is not None and not differ(before[i], after[i])


def read_outputs(dependence: Dependence) -> list[int]:
    """Those that the loss has a gradient by, at one point or the other."""
    gradients = [dependence.gradients(dict(enumerate(point)), {}) for point in dependence.points]
    return [
        i
        for i in range(len(dependence.outputs))
        if any(found is not None and bool(found[i].any()) for found in gradients)
    ]


def fitting_target(dependence: Dependence, i: int, among: frozenset[int]) -> int | None:
    """The only tensor of the targets that has the form of targets of an output; None where there are several or none."""
    o = dependence.outputs.tensors[i].detach()
    fitting = [j for j in among if takes(o, dependence.targets.tensors[j])]
    return fitting[0] if len(fitting) == 1 else None
