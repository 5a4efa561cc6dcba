"""Half-precision weights that stay where float32 copies move, and optimizers that keep what rounding leaves over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from wellposed.runtime.torch.lost_updates import Float32Twin
from wellposed.signals.result import LostUpdates

STEPS = 30


class Signs(torch.optim.Optimizer):
    """Steps by the sign of the gradient; `kept` says how what rounding leaves over is."""

    def __init__(self, parameters: Any, lr: float, kept: str) -> None:
        self.kept = kept
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.move(p, -group["lr"] * p.grad.float().sign())

    def move(self, p: torch.Tensor, change: torch.Tensor) -> None:
        state = self.state[p]
        if self.kept == "master weights":
            state["master"] = state.get("master", p.float()) + change
            p.copy_(state["master"])
        elif self.kept == "a compensation":
            state["rest"] = state.get("rest", torch.zeros_like(p, dtype=torch.float32)) + change
            new = (p.float() + state["rest"]).to(p.dtype)
            state["rest"] -= new.float() - p.float()
            p.copy_(new)
        elif p.dtype is torch.bfloat16 and self.kept == "chance":
            bits = (p.float() + change).view(torch.int32) + torch.randint(
                0, 1 << 16, p.shape, dtype=torch.int32
            )
            p.copy_((bits & -65536).view(torch.float32))
        else:
            p.copy_(p.float() + change)


def lost(
    make: Callable[[Any], torch.optim.Optimizer], dtype: torch.dtype = torch.bfloat16
) -> LostUpdates | None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(64, 64).to(dtype))
    optimizer = make([weight])
    twin = Float32Twin.of({"weight": weight}, optimizer)
    if twin is None:
        return None
    for step in range(STEPS):
        weight.grad = torch.randn_like(weight)
        optimizer.step()
        twin.after_step(step)
    return twin.found()


def adam(rate: float) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.AdamW(parameters, lr=rate)


def test_small_updates_of_bfloat16_weights_are_lost() -> None:
    found = lost(adam(1e-5))
    assert found is not None
    assert found.all_steps > 0.9
    assert found.first_step > 0.9
    assert found.worst == "weight"
    assert not found.kept_for_later


def test_large_updates_are_not() -> None:
    found = lost(adam(0.05))
    assert found is not None
    assert found.all_steps < 0.05


@pytest.mark.parametrize("kept", ["master weights", "a compensation", "chance"])
def test_what_is_kept_for_later_is_not_lost(kept: str) -> None:
    found = lost(lambda parameters: Signs(parameters, 1e-4, kept))
    assert found is not None
    assert found.kept_for_later


def test_an_optimizer_that_keeps_nothing_is_told_apart() -> None:
    found = lost(lambda parameters: Signs(parameters, 1e-4, "nothing"))
    assert found is not None
    assert found.all_steps > 0.5
    assert not found.kept_for_later


def test_weights_in_float32_are_not_looked_at() -> None:
    assert lost(adam(1e-5), torch.float32) is None


def test_the_optimizer_is_left_as_it_was() -> None:
    weight = nn.Parameter(torch.randn(4, 4).bfloat16())
    optimizer = torch.optim.Adam([weight], lr=1e-5)
    twin = Float32Twin.of({"weight": weight}, optimizer)
    assert twin is not None
    weight.grad = torch.ones_like(weight)
    before = weight.detach().clone()
    twin.after_step(0)
    twin.found()
    assert torch.equal(weight, before)
    assert not optimizer.state


def test_an_optimizer_under_a_scheduler_is_not_stepped_itself() -> None:
    weight = nn.Parameter(torch.randn(4, 4).bfloat16())
    optimizer = torch.optim.SGD([weight], lr=1.0)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    twin = Float32Twin.of({"weight": weight}, optimizer)
    assert twin is not None
    weight.grad = torch.ones_like(weight)
    before = weight.detach().clone()
    twin.after_step(0)
    assert torch.equal(weight, before)
    assert twin.found() is not None


def test_an_optimizer_that_takes_no_float32_gives_no_answer() -> None:
    class Halves(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            if any(p.dtype is torch.float32 for group in self.param_groups for p in group["params"]):
                raise TypeError("half precision alone")

    assert lost(lambda parameters: Halves(parameters, lr=0.1)) is None


def test_of_many_weights_some_parameters_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellposed.runtime.torch.lost_updates._MOST_COPIED", 200)
    weights = {f"w{i}": nn.Parameter(torch.randn(8, 8).bfloat16()) for i in range(10)}
    optimizer = torch.optim.Adam(weights.values(), lr=1e-5)
    twin = Float32Twin.of(weights, optimizer)
    assert twin is not None
    for weight in weights.values():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    twin.after_step(0)
    found = twin.found()
    assert found is not None
    assert 0 < found.weights <= 200
