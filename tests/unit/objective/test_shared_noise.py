"""One draw that is spread over a batch is seen, and draws of each sample's own, on weights or for one number a batch are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed.objective.torch_shared_noise import shared_noise
from wellposed.problem import Problem
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.session import Runner

ROWS, WIDTH = 16, 6
X = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))

Step = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """Returns its own loss, as a denoiser does, or outputs."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.rnn = nn.Linear(WIDTH, WIDTH), nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.dropout, self.step = nn.Dropout(0.5), step
        self.spread = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self, x)


def denoised(noise: Callable[[Tensor], Tensor], *, by_hand: bool = False) -> Step:
    def step(net: Net, x: Tensor) -> Tensor:
        drawn = noise(x)
        made = net.net(0.8 * x + 0.6 * drawn)
        return (made - drawn).square().mean() if by_hand else F.mse_loss(made, drawn.expand_as(x))

    return step


def found(step: Step, *, own_loss: bool = True) -> str | None:
    problem = Problem(model=Net(step), loss=None if own_loss else F.mse_loss)
    return shared_noise(Runner(problem), Batch(args=(X,), targets=None if own_loss else X), seed=0)


SHARED = {
    "expanded": lambda x: torch.randn(1, WIDTH).expand_as(x),
    "repeated": lambda x: torch.rand(1, WIDTH).repeat(len(x), 1),
    "of a row": lambda x: torch.randn_like(x[:1]).expand(len(x), -1),
    "with an axis added": lambda x: torch.randn(WIDTH).unsqueeze(0).expand(len(x), WIDTH),
    "left to broadcasting": lambda x: torch.randn(1, WIDTH),
    "in place": lambda x: torch.empty(1, WIDTH).normal_().expand_as(x),
}
OWN = {
    "like the inputs": torch.randn_like,
    "by shape": lambda x: torch.randn(len(x), WIDTH),
    "flat, then by sample": lambda x: torch.randn(len(x) * WIDTH).view(len(x), WIDTH),
    "of columns, turned": lambda x: torch.randn(WIDTH, len(x)).t(),
}


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("name", SHARED)
def test_noise_that_is_predicted_and_shared_is_found(name: str, by_hand: bool) -> None:
    assert found(denoised(SHARED[name], by_hand=by_hand)) == "predicted"


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("name", OWN)
def test_noise_of_each_sample_is_no_fault(name: str, by_hand: bool) -> None:
    assert found(denoised(OWN[name], by_hand=by_hand)) is None


@pytest.mark.parametrize(
    "step",
    [
        lambda net, x: net.net(x + 0.1 * torch.randn(1, WIDTH)),
        lambda net, x: net.net(x) * torch.bernoulli(torch.full((1, WIDTH), 0.8)),
        lambda net, x: net.net(x * torch.rand(WIDTH)),
    ],
)
def test_noise_that_is_used_and_shared_is_told(step: Step) -> None:
    assert found(step, own_loss=False) == "used"


@pytest.mark.parametrize(
    "step",
    [
        lambda net, x: net.net(x),
        lambda net, x: net.dropout(net.net(x)),
        lambda net, x: net.net(x) * torch.rand(len(x), 1),
        lambda net, x: net.net(x) * torch.rand(()),
        lambda net, x: net.net(x) * torch.rand(1),  # one number for a batch, as of stochastic depth
        lambda net, x: F.linear(x, net.net.weight + 0.1 * torch.randn_like(net.net.weight)),
        lambda net, x: net.net(x) + net.spread * torch.randn_like(net.spread),  # on a bias
        lambda net, x: net.net(x) + torch.randn(len(x), WIDTH),
        lambda net, x: net.rnn(x[:, None] * torch.bernoulli(torch.full((len(x), 1, WIDTH), 0.8)))[0][:, 0],
        lambda net, x: net.net(x).softmax(1) @ torch.randn(WIDTH, WIDTH),
    ],
)
def test_other_random_numbers_are_no_fault(step: Step) -> None:
    assert found(step, own_loss=False) is None


def test_what_is_drawn_once_and_kept_is_not_noise() -> None:
    kept = torch.randn(1, WIDTH)
    assert found(lambda net, x: net.net(x + kept), own_loss=False) is None
