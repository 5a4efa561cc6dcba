"""Likelihoods of several outputs: a sign that is turned round leaves the loss without end, and sound ones have a floor."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed.objective.torch_loss_probes import profile_objective
from wellposed.problem import Problem
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.session import Runner

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :1] + 0.3 * torch.randn(96, 1, generator=torch.Generator().manual_seed(1)) * (1 + X[:, 1:2].abs())

Parts = tuple[Tensor, ...]
Loss = Callable[..., Tensor]


class Heads(nn.Module):
    """Outputs side by side in one tensor, or one by one."""

    def __init__(self, outputs: int, *, apart: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, outputs))
        self.apart = apart

    def forward(self, x: Tensor) -> Tensor | Parts:
        made = self.net(x)
        return made.split(1, 1) if self.apart else made


def endless(loss: Loss, outputs: int, *, apart: bool, y: Tensor = Y) -> tuple[str, ...]:
    def of_outputs(made: Tensor | Parts, targets: Tensor) -> Tensor:
        return loss(*(made.split(1, 1) if isinstance(made, Tensor) else made), targets)

    problem = Problem(model=Heads(outputs, apart=apart), loss=of_outputs)
    return profile_objective(Runner(problem), Batch(args=(X,), targets=y), seed=0).endless


def gaussian(mean: Tensor, log_var: Tensor, y: Tensor) -> Tensor:
    return (0.5 * log_var + 0.5 * (y - mean) ** 2 * (-log_var).exp()).mean()


def of_torch(mean: Tensor, raw: Tensor, y: Tensor) -> Tensor:
    return F.gaussian_nll_loss(mean, y, F.softplus(raw) + 1e-3)


def clamped(mean: Tensor, log_var: Tensor, y: Tensor) -> Tensor:
    return gaussian(mean, log_var.clamp(-7, 7), y)


def weighted(mean: Tensor, log_var: Tensor, y: Tensor) -> Tensor:
    terms = 0.5 * log_var + 0.5 * (y - mean) ** 2 * (-log_var).exp()
    return ((0.5 * log_var).exp().detach() * terms).mean()


def laplace(mean: Tensor, log_scale: Tensor, y: Tensor) -> Tensor:
    return (log_scale + (y - mean).abs() * (-log_scale).exp()).mean()


def of_a_distribution(mean: Tensor, raw: Tensor, y: Tensor) -> Tensor:
    return -torch.distributions.Normal(mean, F.softplus(raw) + 1e-3).log_prob(y).mean()


def quantiles(low: Tensor, middle: Tensor, high: Tensor, y: Tensor) -> Tensor:
    error, share = y - torch.cat([low, middle, high], 1), torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(share * error, (share - 1) * error).mean()


def student(mean: Tensor, scale: Tensor, freedom: Tensor, y: Tensor) -> Tensor:
    distribution = torch.distributions.StudentT(2 + F.softplus(freedom), mean, F.softplus(scale) + 1e-3)
    return -distribution.log_prob(y).mean()


def mixture(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor, y: Tensor) -> Tensor:
    logits, means, log_stds = torch.cat([a, b], 1).log_softmax(1), torch.cat([c, d], 1), torch.cat([e, f], 1)
    return -torch.logsumexp(logits - log_stds - 0.5 * ((y - means) * (-log_stds).exp()) ** 2, 1).mean()


def evidential(mean: Tensor, v: Tensor, a: Tensor, b: Tensor, y: Tensor) -> Tensor:
    v, a, b = F.softplus(v) + 1e-3, F.softplus(a) + 1.001, F.softplus(b) + 1e-3
    spread = 2 * b * (1 + v)
    fit = (
        0.5 * torch.log(math.pi / v) - a * spread.log() + (a + 0.5) * torch.log(v * (y - mean) ** 2 + spread)
    )
    return (fit + a.lgamma() - (a + 0.5).lgamma() + 0.01 * (y - mean).abs() * (2 * v + a)).mean()


def rewarded(log_probability: Tensor, value: Tensor, y: Tensor) -> Tensor:
    advantage = y - value.detach()
    return -(advantage * log_probability).mean() + (value - y).square().mean()


def negated(loss: Loss) -> Loss:
    return lambda *parts: -loss(*parts)


def spread_rewarded(mean: Tensor, log_var: Tensor, y: Tensor) -> Tensor:
    return (-0.5 * log_var + 0.5 * (y - mean) ** 2 * (-log_var).exp()).mean()


def exponent_turned(mean: Tensor, log_var: Tensor, y: Tensor) -> Tensor:
    return (0.5 * log_var + 0.5 * (y - mean) ** 2 * log_var.exp()).mean()


SOUND = {
    gaussian: 2, of_torch: 2, clamped: 2, weighted: 2, laplace: 2, of_a_distribution: 2, quantiles: 3, student: 3, mixture: 6, evidential: 4, rewarded: 2
}  # fmt: skip


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("loss", SOUND, ids=lambda f: f.__name__)
def test_sound_losses_have_an_end(loss: Loss, scale: float, apart: bool) -> None:
    assert endless(loss, SOUND[loss], apart=apart, y=scale * Y) == ()


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("loss", [spread_rewarded, exponent_turned], ids=lambda f: f.__name__)
def test_a_sign_that_is_turned_round_is_found(loss: Loss, scale: float) -> None:
    assert endless(loss, 2, apart=True, y=scale * Y) == ("outputs[1]",)
    assert "outputs[:, 1]" in endless(loss, 2, apart=False, y=scale * Y)


@pytest.mark.parametrize("loss", [gaussian, of_torch, laplace, mixture, evidential], ids=lambda f: f.__name__)
def test_a_likelihood_that_was_not_negated_is_found(loss: Loss) -> None:
    assert endless(negated(loss), SOUND[loss], apart=False)


def test_one_output_for_one_target_is_not_asked() -> None:
    assert endless(lambda mean, y: -(mean - y).square().mean(), 1, apart=False) == ()
