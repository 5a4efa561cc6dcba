"""A choice without a straight-through is found; sound choices, detached parts and samples are not accused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed.objective.torch_jumps import choosing_parameters
from wellposed.problem import Problem
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.session import Runner

X = torch.randn(48, 12, generator=torch.Generator().manual_seed(0))
LABELS = X[:, :3].argmax(1)

Through = Callable[[Tensor, Tensor], Tensor]


class Quantised(nn.Module):
    """An autoencoder over codes; `through` makes of the encoding and the nearest code what the decoder reads."""

    def __init__(self, through: Through, *, dropout: float = 0.0, width: int = 12) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 8))
        self.codes = nn.Parameter(torch.randn(16, 8) / 3)
        self.decoder, self.through = nn.Linear(8, width), through

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self.encoder(x)
        code = self.codes[torch.cdist(z.detach(), self.codes.detach()).argmin(-1)]
        return self.decoder(self.through(z, code)), z, code


def quantised_loss(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
    made, z, code = outputs
    fit = F.mse_loss(made, targets) if targets.is_floating_point() else F.cross_entropy(made, targets)
    return fit + F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())


def found(model: nn.Module, loss: Callable[..., Tensor], targets: Tensor = X) -> tuple[str, ...]:
    return choosing_parameters(
        Runner(Problem(model=model, loss=loss)), Batch(args=(X,), targets=targets), seed=0
    )


@pytest.mark.parametrize("through", [lambda z, code: code, lambda z, code: code.detach()])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_code_in_the_place_of_the_encoding_is_found(through: Through, dropout: float) -> None:
    names = found(Quantised(through, dropout=dropout), quantised_loss)
    assert set(names) == {"encoder.0.weight", "encoder.0.bias", "encoder.3.weight", "encoder.3.bias"}


def test_it_is_found_before_a_classifier_too() -> None:
    names = found(Quantised(lambda z, code: code, width=3), quantised_loss, LABELS)
    assert "encoder.0.weight" in names


@pytest.mark.parametrize("width", [12, 3])
def test_a_straight_through_is_sound(width: int) -> None:
    model = Quantised(lambda z, code: z + (code - z).detach(), width=width)
    assert found(model, quantised_loss, X if width == 12 else LABELS) == ()


class Parts(nn.Module):
    """A trunk, two heads, and a way to join them."""

    def __init__(self, join: Callable[[Parts, Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 3), nn.Linear(16, 3)
        self.experts = nn.Parameter(torch.randn(3, 16, 3) / 4)
        self.join = join

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.join(self, self.trunk(x).relu())


def detached_critic(net: Parts, h: Tensor) -> tuple[Tensor, Tensor]:
    return net.first(h), net.second(h.detach())


def coarse_to_fine(net: Parts, h: Tensor) -> tuple[Tensor, Tensor]:
    coarse = net.first(h)
    return torch.einsum("nd,ndk->nk", h, net.experts[coarse.argmax(1)]), coarse


def gated_expert(net: Parts, h: Tensor) -> tuple[Tensor, Tensor]:
    gates = net.first(h).softmax(1)
    best, chosen = gates.max(1)
    return torch.einsum("nd,ndk->nk", h, net.experts[chosen]) * best[:, None], gates


def gumbel(net: Parts, h: Tensor) -> tuple[Tensor, Tensor]:
    gates = F.gumbel_softmax(net.first(h), hard=True)
    return torch.einsum("nd,ng,gdk->nk", h, gates, net.experts), gates


def sampled(net: Parts, h: Tensor) -> tuple[Tensor, Tensor]:
    logits = net.first(h)
    chosen = torch.multinomial(logits.softmax(1), 1).squeeze(1)
    return net.second(net.experts[chosen].sum(-1)), logits.log_softmax(1).gather(1, chosen[:, None])


def regularised(net: Parts, h: Tensor) -> tuple[Tensor, Tensor]:
    return net.second(h), 0.1 * net.first(h.detach())


def supervised(outputs: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    return F.cross_entropy(outputs[0], y) + F.cross_entropy(outputs[1], y)


def balanced(outputs: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    return F.cross_entropy(outputs[0], y) + outputs[1].mean(0).square().sum()


@pytest.mark.parametrize(
    ("join", "loss"),
    [
        (detached_critic, supervised),
        (coarse_to_fine, supervised),
        (gated_expert, balanced),
        (gumbel, balanced),
        (sampled, balanced),
        (regularised, balanced),
    ],
    ids=lambda f: f.__name__,
)
def test_no_sound_choice_is_accused(
    join: Callable[..., tuple[Tensor, Tensor]], loss: Callable[..., Tensor]
) -> None:
    assert found(Parts(join), loss, LABELS) == ()


def test_sparse_gradients_are_asked_too() -> None:
    embedding = nn.Embedding(16, 8, sparse=True)
    model = nn.Sequential(embedding, nn.Flatten(), nn.Linear(24, 3))
    ids = torch.randint(16, (48, 3))
    batch = Batch(args=(ids,), targets=LABELS)
    assert choosing_parameters(Runner(Problem(model=model, loss=F.cross_entropy)), batch, seed=0) == ()


def test_asking_leaves_the_parameters_as_they_were() -> None:
    model = Quantised(lambda z, code: code)
    before = [p.detach().clone() for p in model.parameters()]
    found(model, quantised_loss)
    assert all(map(torch.equal, before, model.parameters()))
