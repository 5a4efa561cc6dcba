"""Which layers are plain, and what variance they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.signals import WeightProfile


def profile_of(model: nn.Module, *shape: int, rate: float = 1e-2) -> WeightProfile:
    x = torch.randn(256, *(shape or (64,)), generator=torch.Generator().manual_seed(0))
    y = x.flatten(1)[:, :1]
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    found: Any = wp.check(model, F.mse_loss, (x, y), optimizer=optimizer).measurements["weight"]
    return found


def deep(std: float, activation: Callable[[], nn.Module] = nn.ReLU, depth: int = 10) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(64, 64), activation()]
        nn.init.normal_(layers[-2].weight, std=std)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers, nn.Linear(64, 1))


class Sum(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


def test_a_layer_needs_the_gain_of_the_activation_before_it_over_its_fan_in() -> None:
    first, second, *_ = profile_of(deep(0.1)).layers
    assert (first.needs, second.needs) == pytest.approx((1 / 64, 2 / 64))
    assert first.has == pytest.approx(0.01, rel=0.1)
    assert first.activation == "relu"


def test_the_fan_in_of_a_convolution_counts_its_kernel() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=2), nn.Tanh(), nn.Flatten(),
        nn.Linear(8, 1),
    )  # fmt: skip
    layers = profile_of(model, 3, 8, 8).layers
    assert [v.fan_in for v in layers] == [27, 36]
    assert layers[1].needs == pytest.approx(wp.gain("tanh").forward ** 2 / 36)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 1)),
        nn.Sequential(Sum(nn.Linear(64, 64)), nn.ReLU(), nn.Linear(64, 1)),
        nn.Sequential(nn.Linear(64, 64, bias=False).requires_grad_(True), nn.Linear(64, 1)),
    ],
    ids=["before a norm", "before a sum", "without an activation"],
)
def test_what_no_activation_reads_is_left_out(model: nn.Module) -> None:
    assert profile_of(model).layers == ()


def test_weights_that_are_zero_or_all_the_same_are_left_out() -> None:
    model = deep(0.1)
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[4].weight, 0.1)
    assert "2.weight" not in [v.name for v in profile_of(model).layers]
    assert "4.weight" not in [v.name for v in profile_of(model).layers]


def test_a_vanishing_signal_is_cured_by_the_variance_that_is_needed() -> None:
    found = profile_of(deep(0.01))
    assert "WP201" in found.cured
    assert len(found.redrawn) == 10


def test_sigmoids_are_not_cured_by_any_variance() -> None:
    found = profile_of(deep(1.0 / math.sqrt(64), nn.Sigmoid, depth=12), rate=0.1)
    assert found.symptoms
    assert found.cured == ()


def test_nothing_is_drawn_again_without_a_symptom() -> None:
    found = profile_of(deep(0.02, depth=1))
    assert (found.symptoms, found.redrawn) == ((), ())


def test_a_symptom_that_takes_the_place_of_another_cures_nothing() -> None:
    found = WeightProfile(layers=(), redrawn=("a",), symptoms=("WP201",), left=("WP202",))
    assert found.cured == ()


def test_the_users_weights_are_left_as_they_were() -> None:
    model = deep(0.01)
    before = [p.detach().clone() for p in model.parameters()]
    profile_of(model)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
