"""Parameters that the targets teach nothing, though they decide the outputs: by choices alone, through which no gradient passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..runtime.torch.batch import Batch, is_dense
from ..runtime.torch.session import Runner, TakesBatch, seed_everything
from .torch_components import gradients_of
from .torch_outputs import Parts, parts_of

_SAME = 1e-5  # of the largest gradient: what sums in another order leave
_LITTLE, _MUCH = 1e-6, 0.5  # of the size of a parameter
_MOST_ASKED = 16


def choosing_parameters(runner: Runner, batch: Batch, *, seed: int) -> tuple[str, ...]:
    """Those with a gradient that is the same whatever the targets are, on which an output that is compared with targets depends in jumps.

    Such an output stays to the bit when the parameter moves a little, and changes when it moves much: as behind an argmin.
    """
    others = [
        other for change in (_rolled, _first_of_all) if (other := _other_targets(batch, change)) is not None
    ]
    if not others or runner.problem.loss is None or isinstance(runner.problem.loss, TakesBatch):
        return ()
    runner.train_mode()
    for module in runner.modules:
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.train(False)
    found = _untaught(runner, batch, others, seed=seed)
    if not found:
        return ()
    names, compared = found
    return tuple(n for n in names[:_MOST_ASKED] if _decides_in_jumps(runner, n, batch, compared, seed=seed))


def _rolled(y: torch.Tensor) -> torch.Tensor:
    return y.roll(1, 0)


def _first_of_all(y: torch.Tensor) -> torch.Tensor:
    """Other means than those of the targets: a bias may learn these alone."""
    return y[:1].expand_as(y).contiguous()


def _other_targets(batch: Batch, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch | None:
    """The batch with the targets of other rows; None where that makes no difference."""
    rows, changed = batch.rows, []

    def rolled(value: Any) -> Any:
        if is_dense(value):
            by_row = value.ndim > 0 and len(value) == rows and rows > 1
            fresh = change(value) if by_row else value
            changed.append(not torch.equal(fresh, value))
            return fresh
        if isinstance(value, Mapping):
            return {k: rolled(v) for k, v in value.items()}
        if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
            return type(value)(map(rolled, value))
        return value

    other = replace(batch, targets=rolled(batch.targets))
    return other if any(changed) else None


def _untaught(
    runner: Runner, batch: Batch, others: Sequence[Batch], *, seed: int
) -> tuple[list[str], tuple[int, ...]] | None:
    """Parameters whose gradient is the same whatever the targets are, beside others, and the outputs that are compared with targets."""
    parts = _outputs(runner, batch, seed=seed)
    names = list(runner.trainable)
    tensors = [*runner.trainable.values(), *parts.tensors]
    here, again, *there = (_gradients(runner, parts, tensors, b, seed=seed) for b in (batch, batch, *others))
    if here is None or again is None or not all(map(_same, here, again)):
        return None
    if any(other is None for other in there):
        return None
    alike = [all(_same(g, o) for o in beside) for g, *beside in zip(here, *filter(None, there), strict=True)]
    of_parameters, of_outputs = alike[: len(names)], alike[len(names) :]
    untaught = [
        n for n, same, g in zip(names, of_parameters, here, strict=False) if same and bool((g != 0).any())
    ]
    compared = tuple(i for i, same in enumerate(of_outputs) if not same)
    return (untaught, compared) if untaught and compared and not all(of_parameters) else None


def _outputs(runner: Runner, batch: Batch, *, seed: int) -> Parts:
    seed_everything(seed)
    return parts_of(runner.outputs(batch), "outputs")


def _gradients(
    runner: Runner, parts: Parts, tensors: Sequence[torch.Tensor], batch: Batch, *, seed: int
) -> list[torch.Tensor] | None:
    seed_everything(seed)
    loss = runner.loss_of(parts.put_back(parts.tensors), batch)
    if not loss.requires_grad or not bool(loss.isfinite()):
        return None
    wanted = [t for t in tensors if t.requires_grad]
    found = (g.detach().to_dense() for g in gradients_of(loss, wanted))
    return [next(found) if t.requires_grad else torch.zeros_like(t) for t in tensors]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if not bool(one.isfinite().all()):
        return False
    return float((one - other).abs().max()) <= _SAME * float(one.abs().max()) if one.numel() else True


def _decides_in_jumps(
    runner: Runner, name: str, batch: Batch, compared: tuple[int, ...], *, seed: int
) -> bool:
    parameter = runner.trainable[name]
    original = parameter.detach().clone()
    generator = torch.Generator(device=parameter.device).manual_seed(seed)
    noise = torch.randn(original.shape, generator=generator, device=original.device).to(original.dtype)
    size = float(original.double().square().mean()) ** 0.5 or 1.0

    def outputs(shake: float, seed: int) -> list[torch.Tensor]:
        with torch.no_grad():
            parameter.copy_(original + shake * size * noise)
        made = _outputs(runner, batch, seed=seed).detached
        return [made[i] for i in compared]

    try:
        plain, other_draw, little, much = (
            outputs(0.0, seed), outputs(0.0, seed + 1), outputs(_LITTLE, seed), outputs(_MUCH, seed)
        )  # fmt: skip
    finally:
        with torch.no_grad():
            parameter.copy_(original)
    return any(
        torch.equal(p, o) and torch.equal(p, a) and p.shape == b.shape and not torch.equal(p, b)
        for p, o, a, b in zip(plain, other_draw, little, much, strict=True)
    )
