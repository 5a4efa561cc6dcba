"""Updates that half-precision weights lose: what an optimizer does to them, beside the same optimizer on float32 copies."""

from __future__ import annotations

import copy
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
_MOVES_AFTER_ALL = 0.1
"""Share of them that moves, where what rounding leaves over is kept."""


class Float32Twin:
    """The optimizer of half-precision parameters, copied, on float32 copies that are given the same gradients."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._parameters = {name: p for name, p in parameters.items() if p.dtype in _HALF}
        self._twin, self._copies = _copied(optimizer, self._parameters)
        for twin in self._copies.values():
            twin.data = twin.data.float()
        for state in self._twin.state.values():
            state |= {k: _in_float32(v) for k, v in state.items()}
        self._start = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._lost_first: dict[str, torch.Tensor] = {}

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
        for name, p in self._parameters.items():
            if name in self._copies:
                self._copies[name].grad = None if p.grad is None else p.grad.detach().float()
        self._twin.step()
        if step == 0:
            self._lost_first = {name: self._lost(name) for name in self._copies}

    def _lost(self, name: str) -> torch.Tensor:
        """The weights that the copy moved and the parameter did not."""
        start, now, twin = self._start[name], self._parameters[name].detach(), self._copies[name].detach()
        return (twin != start.float()) & (now == start)

    def found(self) -> LostUpdates | None:
        """What was lost by now, over all parameters; None where nothing moved in float32 either."""
        wanted = {n: self._copies[n].detach() != self._start[n].float() for n in self._copies}
        lost = {n: self._lost(n) for n in self._copies}
        total = sum(int(w.sum()) for w in wanted.values())
        if not total:
            return None
        count = {n: int(m.sum()) for n, m in lost.items()}
        worst = max(count, key=lambda n: count[n])
        first = sum(int(m.sum()) for m in self._lost_first.values())
        return LostUpdates(
            dtype=str(self._parameters[worst].dtype).removeprefix("torch."),
            weights=total,
            first_step=first / total,
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


def _copied(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> tuple[torch.optim.Optimizer, dict[str, nn.Parameter]]:
    """A copy of an optimizer with its state, and its copies of some parameters, by name."""
    names = {id(p): name for name, p in parameters.items()}
    twin = copy.deepcopy(optimizer)
    groups = zip(optimizer.param_groups, twin.param_groups, strict=True)
    pairs = [pair for a, b in groups for pair in zip(a["params"], b["params"], strict=True)]
    return twin, {names[id(p)]: q for p, q in pairs if id(p) in names}


def _in_float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _HALF else value
