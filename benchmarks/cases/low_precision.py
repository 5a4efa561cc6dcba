"""Models that train in float32, and the precisions that they do not survive in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from wellposed import Problem

FP16 = "fp16", "fp16-scaled"


@dataclass(frozen=True, kw_only=True)
class Unfit:
    name: str
    build: Callable[[], Problem]
    dies_in: tuple[str, ...]
    """Of fp16, fp16-scaled, bf16, fp8 and mxfp8; in the others nothing may be said."""


CASES: list[Unfit] = []


def unfit(*dies_in: str) -> Callable[[Callable[[], Problem]], Callable[[], Problem]]:
    def enter(build: Callable[[], Problem]) -> Callable[[], Problem]:
        def seeded() -> Problem:
            torch.manual_seed(0)
            return build()

        name = build.__name__.replace("_", "-")
        CASES.append(Unfit(name=name, build=seeded, dies_in=dies_in))
        return build

    return enter


class Applied(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def _regression(*layers: nn.Module, loss: Any = F.mse_loss, x: torch.Tensor | None = None) -> Problem:
    x = torch.randn(256, 16) if x is None else x
    return Problem(model=nn.Sequential(*layers), loss=loss, train=(x, torch.randn(len(x), 1)))


@unfit("fp16")
def a_loss_divided_by_a_million() -> Problem:
    return _regression(
        nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), loss=lambda out, y: 1e-6 * F.mse_loss(out, y)
    )


@unfit("fp16")
def a_loss_divided_by_the_rows_twice() -> Problem:
    return _regression(
        nn.Linear(16, 32),
        nn.Tanh(),
        nn.Linear(32, 1),
        loss=lambda out, y: 1e-3 * F.mse_loss(out, y) / len(y) ** 2,
    )


@unfit("fp16", "fp16-scaled")
def two_losses_that_no_scale_serves() -> Problem:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = nn.Linear(16, 1), nn.Linear(16, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.large(x), self.small(x)

    def loss(outputs: tuple[torch.Tensor, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        return 1e6 * F.l1_loss(outputs[0], y) + 1e-8 * F.l1_loss(outputs[1], y)

    return Problem(model=Two(), loss=loss, train=(torch.randn(256, 16), torch.randn(256, 1)))


@unfit(*FP16)
def attention_scores_of_large_keys() -> Problem:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(16, 64) for _ in range(3))
            self.head = nn.Linear(64, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k = 150 * self.query(x), 150 * self.key(x)
            weights = ((q @ k.transpose(1, 2)) / 150**2 / 8).softmax(-1)
            return self.head((weights @ self.value(x)).mean(1))

    return Problem(model=Attends(), loss=F.mse_loss, train=(torch.randn(128, 6, 16), torch.randn(128, 1)))


@unfit(*FP16)
def squares_of_large_activations() -> Problem:
    def unit(h: torch.Tensor) -> torch.Tensor:
        h = h * 2000
        return h / (1 + (h * h).mean(1, keepdim=True)).sqrt()

    return _regression(nn.Linear(16, 32), Applied(unit), nn.Linear(32, 1))


@unfit(*FP16)
def inputs_of_a_million_behind_the_first_layer() -> Problem:
    x = torch.randn(256, 16) * 1e6
    return _regression(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 1), x=x)


@unfit(*FP16)
def outputs_in_units_of_money() -> Problem:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), Applied(lambda h: 1e6 + 3e5 * h))
    y = 1e6 + 3e5 * torch.randn(256, 1)
    return Problem(
        model=model, loss=lambda out, y: F.mse_loss(out / 3e5, y / 3e5), train=(torch.randn(256, 16), y)
    )


@unfit(*FP16, "fp8")
def one_weight_that_dwarfs_its_matrix() -> Problem:
    first = nn.Linear(16, 32)
    with torch.no_grad():
        first.weight[0, 0] = 1e6
    x = torch.randn(256, 16)
    x[:, 0] = 1e-6 * x[:, 0]
    return _regression(first, nn.Tanh(), nn.Linear(32, 1), x=x)


@unfit(*FP16, "fp8")
def one_feature_that_dwarfs_the_others() -> Problem:
    x = torch.randn(256, 64)
    x[:, 0] *= 1e7
    first = nn.Linear(64, 32)
    with torch.no_grad():
        first.weight[:, 0] = 0.0
    return _regression(first, nn.Tanh(), nn.Linear(32, 1), x=x)


@unfit(*FP16, "fp8")
def one_row_that_dwarfs_the_batch() -> Problem:
    x = torch.randn(256, 16)
    x[::8] *= 1e7
    return _regression(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1), x=x)
