"""Models and losses that call autograd themselves: physics, forces, penalties on gradients, inner steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.session import Runner, mean_loss
from wellposed.runtime.torch.trace import trace
from wellposed.signals.layer_signals import layer_signals

X = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
TIME = torch.linspace(0, 3, 128)[:, None]


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, outputs)
    )


class Physics(nn.Module):
    """u and u'' of a solution u(t)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(1, 1)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        t = t.requires_grad_(True)
        u = self.net(t)
        (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (curve,) = torch.autograd.grad(slope.sum(), t, create_graph=True)
        return torch.cat([u, curve], 1)


def oscillation(outputs: torch.Tensor, force: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(outputs.sum(1, keepdim=True), force)


class ForceField(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(6, 1)

    def forward(self, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        positions = positions.requires_grad_(True)
        energy = self.net(positions)
        (slope,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
        return {"energy": energy, "forces": -slope}


def energy_and_forces(outputs: Any, targets: Any) -> torch.Tensor:
    return sum((F.mse_loss(outputs[k], targets[k]) for k in ("energy", "forces")), torch.zeros(()))


class Penalised(nn.Module):
    """Keeps its gradient penalty for the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(6, 3)
        self.penalty = torch.zeros(())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_(True)
        outputs = self.net(x)
        (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        self.penalty = (slope.norm(dim=1) - 1).square().mean()
        return outputs


class Adapting(nn.Module):
    """Takes an inner step on examples of its own before it answers, as meta-learning does."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = dict(self.net.named_parameters())
        outputs = torch.func.functional_call(self.net, weights, (X[:32],))
        slopes = torch.autograd.grad(
            F.cross_entropy(outputs, Y[:32]), list(weights.values()), create_graph=True
        )
        adapted = {k: w - 0.01 * s for (k, w), s in zip(weights.items(), slopes, strict=True)}
        return torch.func.functional_call(self.net, adapted, (x,))


class Slope(nn.Module):
    """Every sample's own derivative, by torch.func."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(1, 1)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(torch.func.grad(lambda one: self.net(one).squeeze()))(t)


def penalised() -> wp.Problem:
    model = Penalised()
    return wp.Problem(
        model=model, loss=lambda o, y: F.cross_entropy(o, y) + 0.1 * model.penalty, train=(X, Y)
    )


def loss_with_a_penalty() -> wp.Problem:
    model = perceptron(6, 3)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        points = X[:32].clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(model(points).sum(), points, create_graph=True)
        return F.cross_entropy(outputs, targets) + 0.1 * (slope.norm(dim=1) - 1).square().mean()

    return wp.Problem(model=model, loss=loss, train=(X, Y))


def loss_that_differentiates_itself() -> wp.Problem:
    model = perceptron(6, 3)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        value = F.cross_entropy(outputs, targets)
        slopes = torch.autograd.grad(value, list(model.parameters()), create_graph=True)
        return value + 1e-3 * sum(s.square().sum() for s in slopes)

    return wp.Problem(model=model, loss=loss, train=(X, Y))


def force_field() -> wp.Problem:
    targets = {"energy": 0.5 * X.square().sum(1, keepdim=True), "forces": -X}
    return wp.Problem(model=ForceField(), loss=energy_and_forces, train=(X, targets))


PROBLEMS = {
    "physics": lambda: wp.Problem(model=Physics(), loss=oscillation, train=(TIME, torch.cos(3 * TIME))),
    "forces": force_field,
    "a penalty in the model": penalised,
    "a penalty in the loss": loss_with_a_penalty,
    "a loss that differentiates itself": loss_that_differentiates_itself,
    "an inner step": lambda: wp.Problem(model=Adapting(), loss=F.cross_entropy, train=(X, Y)),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_model_that_differentiates_is_checked_and_left_alone(name: str) -> None:
    problem = PROBLEMS[name]()
    before = [p.detach().clone() for p in problem.model.parameters()]
    report = wp.check(problem)
    assert [f.code for f in report.errors] == []
    assert all(map(torch.equal, before, problem.model.parameters()))
    assert all(p.grad is None for p in problem.model.parameters())


def test_transforms_of_torch_func_are_looked_through() -> None:
    """The last bias has no slope, which is noted; nothing else is."""
    report = wp.check(Slope(), F.mse_loss, (TIME, torch.cos(TIME)))
    assert [(f.code, f.where) for f in report.findings] == [("WP601", "net.4.bias")]
    signals = wp.measure_signals(Slope(), F.mse_loss, (TIME, torch.cos(TIME)))
    assert [s.name for s in signals.layers] == [f"net.{i}" for i in range(5)]


def test_inner_differentiation_is_not_taken_for_the_backward_signal() -> None:
    class Watching(nn.Module):
        def __init__(self, inner: int) -> None:
            super().__init__()
            self.net, self.inner = perceptron(6, 3), inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs = self.net(x)
            for _ in range(self.inner):
                torch.autograd.grad(1000 * outputs.sum(), list(self.net.parameters()), retain_graph=True)
            return outputs

    batch = Batch(args=(X,), targets=Y)
    plain, watched = (
        trace(Runner(wp.Problem(model=Watching(n), loss=F.cross_entropy)), [batch], seed=0) for n in (0, 2)
    )
    assert layer_signals(watched) == layer_signals(plain)


def test_an_evaluation_without_gradients_runs_without_a_graph_where_the_model_permits_it() -> None:
    modes: list[bool] = []

    def model(x: torch.Tensor) -> torch.Tensor:
        modes.append(torch.is_grad_enabled())
        return x[:, :3]

    mean_loss(
        Runner(wp.Problem(model=model, loss=F.cross_entropy)), [Batch(args=(X,), targets=Y)] * 2, seed=0
    )
    assert modes == [False, False]


def test_a_model_that_differentiates_is_refused_a_graph_only_once() -> None:
    modes: list[bool] = []

    def model(x: torch.Tensor) -> torch.Tensor:
        modes.append(torch.is_grad_enabled())
        x = x.requires_grad_(True)
        return torch.autograd.grad((x**2).sum(), x, create_graph=True)[0][:, :3]

    mean_loss(
        Runner(wp.Problem(model=model, loss=F.cross_entropy)), [Batch(args=(X,), targets=Y)] * 3, seed=0
    )
    assert modes == [False, True, True, True]


class Given(nn.Module):
    """u and u' of inputs that require a gradient where they are made."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(1, 1)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        u = self.net(t)
        (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        return torch.cat([u, slope], 1)


def test_inputs_that_require_a_gradient_are_drawn_as_they_are_and_get_none() -> None:
    time = TIME.clone().requires_grad_()
    report = wp.check(Given(), oscillation, (time, torch.cos(TIME)))
    assert not report.errors, report
    assert time.grad is None
    assert report.traces == ()
