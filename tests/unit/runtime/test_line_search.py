"""The largest stable rate: on curves whose answer is known, and against steps of real optimizers at many rates."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.runtime.line_search import stable_multiple


@pytest.mark.parametrize("bound", [0.03, 0.7, 1.3, 20.0, 900.0])
def test_the_bound_of_a_parabola_is_found(bound: float) -> None:
    found = stable_multiple(lambda s: s * (s - bound), 0.0, passes=8)
    assert found is not None
    assert bound / 1.5 < found < 1.5 * bound


@pytest.mark.parametrize("bound", [0.03, 900.0])
def test_the_search_may_begin_near_the_bound(bound: float) -> None:
    found = stable_multiple(lambda s: s * (s - bound), 0.0, passes=6, first=bound * 1.7)
    assert found == pytest.approx(bound, rel=0.1)


def test_a_loss_that_only_rounding_raises_is_not_above_its_start() -> None:
    found = stable_multiple(lambda s: 1 + 1e-7 + s * (s - 8) / 1e3, 1.0, passes=8, first=1e-5)
    assert found == pytest.approx(8, rel=0.5)


@pytest.mark.parametrize("curve", [lambda s: s, lambda s: -s, lambda s: math.nan])
def test_what_always_rises_or_falls_has_no_bound(curve: Any) -> None:
    assert stable_multiple(curve, 0.0, passes=8) is None


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 3))


def raises_the_loss(model: nn.Module, make: Any, rate: float, x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether one step at a rate does, on its own batch."""
    model = copy.deepcopy(model)
    optimizer = make(model.parameters(), rate)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        loss = F.cross_entropy(model(x), y)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return not losses[1] <= losses[0]


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("given", [1e-6, 1e-3, 0.3])
def test_the_stable_rate_is_that_at_which_real_steps_begin_to_rise(make: Any, given: float) -> None:
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    y, model = x[:, :3].argmax(1), net()
    report = wp.check(model, F.cross_entropy, [(x, y)], optimizer=make(model.parameters(), given))
    training: Any = report.measurements["training"]
    low, high = 1e-6, 1e6
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if raises_the_loss(model, make, middle, x, y) else (middle, high)
    assert low / 1.5 < training.stable_rate < 1.5 * high
