"""Updates that half-precision weights lose: what an optimizer does to them, beside the same optimizer on float32 copies."""

from __future__ import annotations

import copy
import random
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...signals.result import LostUpdates

_HALF = (torch.float16, torch.bfloat16)
_REPEATS = 256
"""Steps along one gradient after which an optimizer that keeps what rounding left over must have moved a weight."""
_SPACINGS = 4.0
"""That these steps are to make together, at least, where a weight is looked at: the rounding of a few is not enough to tell."""
_MOST_REPEATED = 1 << 22
"""Weights that are stepped so."""
_MOST_COPIED = 1 << 25
"""Weights that are copied, about."""
_MOVES_AFTER_ALL = 0.1
"""Share of them that moves, where what rounding leaves over is kept."""


class Float32Twin:
    """The optimizer of half-precision parameters, copied, on float32 copies that are given the same gradients."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._parameters = _some(parameters)
        self._twin, self._copies = _copied(optimizer, self._parameters)
        for twin in self._copies.values():
            twin.data = twin.data.float()
        for state in self._twin.state.values():
            state |= {k: _in_float32(v) for k, v in state.items()}
        self._start = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._first_step = 0.0
        self._failed = False

    @staticmethod
    def of(parameters: Mapping[str, nn.Parameter], optimizer: Any) -> Float32Twin | None:
        """None where no parameter is in half precision, or the optimizer holds none of them or cannot be copied."""
        half = {id(p) for p in parameters.values() if p.dtype in _HALF}
        if (
            not half
            or not isinstance(optimizer, torch.optim.Optimizer)
            or isinstance(optimizer, torch.optim.LBFGS)
        ):
            return None
        if not half & {id(p) for group in optimizer.param_groups for p in group["params"]}:
            return None
        try:
            return Float32Twin(parameters, optimizer)
        except Exception:  # whatever the optimizer's own copying raises
            return None

    def after_step(self, step: int) -> None:
        """Step the copies along the gradients that the parameters were stepped along."""
        if not self._failed:
            try:
                self._step_copies(step)
            except Exception:  # whatever an optimizer raises that takes no float32, or is no copy of itself
                self._failed = True

    def _step_copies(self, step: int) -> None:
        for name, p in self._parameters.items():
            if name in self._copies:
                self._copies[name].grad = None if p.grad is None else p.grad.detach().float()
        self._twin.step()
        if step == 0:
            lost, moved = (
                sum(int(m.sum()) for m in masks) for masks in (self._lost().values(), self._moved().values())
            )
            self._first_step = lost / moved if moved else 0.0

    def _moved(self) -> dict[str, torch.Tensor]:
        """By parameter: the weights that the copies moved."""
        return {name: twin.detach() != self._start[name].float() for name, twin in self._copies.items()}

    def _lost(self) -> dict[str, torch.Tensor]:
        """Those of them that stayed where they were."""
        return {
            n: moved & (self._parameters[n].detach() == self._start[n]) for n, moved in self._moved().items()
        }

    def found(self) -> LostUpdates | None:
        """What was lost by now, over all parameters; None where nothing moved in float32 either, or the copies could not be stepped."""
        if self._failed:
            return None
        wanted, lost = self._moved(), self._lost()
        total = sum(int(w.sum()) for w in wanted.values())
        if not total:
            return None
        count = {n: int(m.sum()) for n, m in lost.items()}
        worst = max(count, key=lambda n: count[n])
        return LostUpdates(
            dtype=str(self._parameters[worst].dtype).removeprefix("torch."),
            weights=total,
            first_step=self._first_step,
            all_steps=sum(count.values()) / total,
            worst=worst,
            worst_share=count[worst] / max(int(wanted[worst].sum()), 1),
            kept_for_later=bool(count[worst]) and self._keeps_the_rest(worst, lost[worst]),
        )

    def _keeps_the_rest(self, name: str, lost: torch.Tensor) -> bool:
        """Whether the optimizer keeps what rounding left over, or rounds at random: many equal steps then move a weight after all."""
        parameter, twin = self._parameters[name], self._copies[name]
        if parameter.numel() > _MOST_REPEATED or parameter.grad is None:
            return False
        optimizer, copies = _copied(self._optimizer, {name: parameter})
        again, start = next(iter(copies.values())), parameter.detach().clone()
        before = twin.detach().clone()
        gradient = parameter.grad.detach().clone()
        for p in self._copies.values():
            p.grad = None
        for _ in range(_REPEATS):
            again.grad, twin.grad = gradient.clone(), gradient.float()
            optimizer.step()
            self._twin.step()
        spacing = start.float().abs() * torch.finfo(start.dtype).eps
        looked_at = lost & ((twin.detach() - before).abs() > _SPACINGS * spacing)
        seen = int(looked_at.sum())
        return bool(seen) and int((looked_at & (again.detach() != start)).sum()) > _MOVES_AFTER_ALL * seen


def _some(parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Those in half precision; of many weights some, drawn without regard to their size, so that copies of them are worth their memory."""
    half = [(name, p) for name, p in parameters.items() if p.dtype in _HALF]
    drawn, total = set[str](), 0
    for name, p in random.Random(0).sample(half, len(half)):
        if not drawn or total + p.numel() <= _MOST_COPIED:
            drawn.add(name)
            total += p.numel()
    return {name: p for name, p in half if name in drawn}


def _copied(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[torch.optim.Optimizer, dict[str, nn.Parameter]]:
    """A copy of an optimizer with its state, and its copies of some parameters, by name."""
    names = {id(p): name for name, p in parameters.items()}
    twin: torch.optim.Optimizer = type(optimizer).__new__(type(optimizer))
    # In one go, so that whatever refers to a parameter refers to its copy. Hooks, and a `step` that a scheduler has wrapped, are the original's.
    own = {k: v for k, v in vars(optimizer).items() if not k.startswith("_optimizer_") and not callable(v)}
    kept = [
        group | {"params": [p for p in group["params"] if id(p) in names]} for group in optimizer.param_groups
    ]
    state = defaultdict(dict, {p: s for p, s in optimizer.state.items() if id(p) in names})
    twin.__setstate__(copy.deepcopy(own | {"param_groups": kept, "state": state}))
    groups = zip(kept, twin.param_groups, strict=True)
    pairs = [pair for a, b in groups for pair in zip(a["params"], b["params"], strict=True)]
    return twin, {names[id(p)]: q for p, q in pairs if id(p) in names}


def _in_float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _HALF else value
