"""Models of several heads, and what the rules of the loss say of them before any training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import wellposed as wp
from wellposed.limits import Limits
from wellposed.objective.result import ObjectiveProfile
from wellposed.objective.torch_loss_probes import profile_objective
from wellposed.report import Severity
from wellposed.rules import RULES
from wellposed.rules.table import apply
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.restore import preserved
from wellposed.runtime.torch.session import Runner

ROWS = 64
X = torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(0))
CLASSES = X[:, :3].argmax(1)
VALUES = X[:, 3] + 0.5 * X[:, 4]
SIGNS = (X[:, 5] > 0).float()

Last = Callable[[Tensor], Tensor]


def flat(o: Tensor) -> Tensor:
    return o.squeeze(-1)


class Heads(nn.Module):
    """One hidden layer and a linear head for each output: a width, or a width and what follows the head."""

    def __init__(self, **heads: int | tuple[int, Last]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            widths = {name: h if isinstance(h, int) else h[0] for name, h in heads.items()}
            self.body = nn.Sequential(nn.Linear(6, 16), nn.Tanh())
            self.heads = nn.ModuleDict({name: nn.Linear(16, width) for name, width in widths.items()})
        self.last: dict[str, Last] = {n: h[1] for n, h in heads.items() if not isinstance(h, int)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.body(x)
        return {name: self.last.get(name, lambda o: o)(head(h)) for name, head in self.heads.items()}


def profiled(model: nn.Module, loss: Any, targets: Any, **options: Any) -> ObjectiveProfile:
    runner = Runner(wp.Problem(model=model, loss=loss, **options))
    with preserved(model):
        runner.train_mode()
        return profile_objective(runner, Batch(args=(X,), targets=targets), seed=0)


def said(
    model: nn.Module, loss: Any, targets: Any, *, notes: bool = False, **options: Any
) -> list[tuple[str, str]]:
    """Code and place of the errors and warnings, of the notes too where they are asked for."""
    profile = profiled(model, loss, targets, **options)
    rules = [rule for rule in RULES if rule.judges is ObjectiveProfile]
    found = apply(rules, {ObjectiveProfile: profile}, Limits()).findings
    return [(f.code, f.where) for f in found if notes or f.severity is not Severity.NOTE]
