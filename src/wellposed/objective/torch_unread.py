"""Tensors of the targets, and outputs, that the loss does not depend on: it stays the same to the bit whatever they hold."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

import numpy as np
import torch

from ..errors import WellposedError, users_code
from ..runtime.torch.session import seed_everything
from .result import UnreadTarget
from .torch_components import Dependence, rearranged, takes
from .torch_targets import same_but_ones

_SURELY_WEIGHTS = frozenset(
    f"{what}_{weight}"
    for what in ("sample", "loss", "row", "instance", "example", "importance")
    for weight in ("weight", "weights")
)
_PERHAPS_WEIGHTS = frozenset({"weight", "weights"})  # a person has one too, but none of zero


def unread_targets(seen: Dependence, loss: torch.Tensor, *, seed: int) -> tuple[UnreadTarget, ...] | None:
    """Those that vary; none where the loss reads no target at all, as of views that are compared with each other.

    `loss` is the one of the outputs as the model made them, with its graph. None where it draws at random, as which task
    is trained now: another draw may read what this one does not.
    """
    if _draws(seen, seed=seed):
        return None
    unread = [j for j in range(len(seen.targets)) if _varies(seen, j) and not _is_read(seen, j)]
    if not unread or len(unread) == len(seen.targets):
        return ()
    outputs = _unread_outputs(seen) if len(seen.outputs) == len(seen.targets) else ()
    ends = tuple(i for i in outputs if _leads_nowhere(seen.outputs.tensors[i], loss))
    return tuple(_described(seen, j, ends) for j in unread)


def read_targets(seen: Dependence, among: Collection[str]) -> set[str]:
    """Names of those that the loss depends on, or may depend on."""
    return {name for j, name in enumerate(seen.targets.names) if name in among and _is_read(seen, j)}


def _draws(seen: Dependence, *, seed: int) -> bool:
    """Whether the loss draws from the random states that all share."""
    device = seen.outputs.tensors[0].device
    seed_everything(seed)
    untouched = _next_numbers(device)
    seen.value({}, {})  # seeds them itself
    return _next_numbers(device) != untouched


def _next_numbers(device: torch.device) -> tuple[float, ...]:
    return random.random(), np.random.random(), float(torch.rand(())), float(torch.rand((), device=device))  # noqa: NPY002 - the states that users' code draws from


def _leads_nowhere(output: torch.Tensor, loss: torch.Tensor) -> bool:
    """Whether an output is learned and nothing else that the loss reads is made from it, as from hidden features."""
    if not output.requires_grad or not loss.requires_grad:
        return False
    try:
        with users_code("the backward pass"):
            (gradient,) = torch.autograd.grad(loss, [output], retain_graph=True, allow_unused=True)
    except WellposedError:
        return False
    return gradient is None


def _described(seen: Dependence, j: int, unread_outputs: tuple[int, ...]) -> UnreadTarget:
    name, y = seen.targets.names[j], seen.targets.tensors[j]
    fitting = [i for i in unread_outputs if _is_for(seen.outputs.tensors[i], y)]
    if len(fitting) == 1:
        return UnreadTarget(name=name, role="of a head", output=seen.outputs.names[fitting[0]])
    return UnreadTarget(name=name, role="weights" if _are_weights(name, y) else "unknown")


def _is_for(output: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether an output has the form of what such targets are compared with, every one of them."""
    if not takes(output.detach(), y):
        return False
    if y.is_floating_point() or same_but_ones(output, y):
        return True
    codes = y.long()
    return int(codes.min()) >= 0 and int(codes.max()) < max(output.shape[1:])


def _are_weights(name: str, y: torch.Tensor) -> bool:
    last = name.replace("[", ".").rpartition(".")[2].strip("]'").lower()
    if y.numel() != len(y) or bool((y.double() < 0).any()):
        return False
    return last in _SURELY_WEIGHTS or (last in _PERHAPS_WEIGHTS and bool((y == 0).any()))


def _varies(seen: Dependence, j: int) -> bool:
    y = seen.targets.tensors[j]
    return not all(torch.equal(y, other) for other in _other_values(y))


def _is_read(seen: Dependence, j: int) -> bool:
    others = _other_values(seen.targets.tensors[j])
    return any(_moves(seen, dict(enumerate(point)), {}, {j: o}) for point in seen.points for o in others)


def _other_values(y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (*rearranged(y), y[:1].expand_as(y).contiguous())


def _unread_outputs(seen: Dependence) -> tuple[int, ...]:
    here, there = (dict(enumerate(point)) for point in seen.points)
    return tuple(
        i for i in here
        if not _moves(seen, here, {i: there[i]}, {}) and not _moves(seen, there, {i: here[i]}, {})
    )  # fmt: skip


def _moves(
    seen: Dependence,
    point: Mapping[int, torch.Tensor],
    outputs: Mapping[int, torch.Tensor],
    targets: Mapping[int, torch.Tensor],
) -> bool:
    """Whether the loss at a point, or a gradient of it, changes with these values; true where it cannot be compared."""
    before, after = seen.value(point, {}), seen.value({**point, **outputs}, targets)
    if before is None or before != after:
        return True
    one, other = seen.gradients(point, {}), seen.gradients({**point, **outputs}, targets)
    if one is None or other is None:
        return False  # there is none to compare
    return not all(map(torch.equal, one, other))
