"""Cases that the rules may be tuned on: healthy, part 1."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed import Problem

from . import data
from .book import Book

book = Book()


@book.healthy
def focal_loss_on_rare_positives() -> Problem:
    g = data.seeded(17)
    x = torch.randn(1200, 10, generator=g)
    rare = (x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * torch.randn(1200, generator=g) > 1.6).float()
    train, held_out = data.split(x, rare[:, None])

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        probability = torch.sigmoid(logits)
        missed = labels * (1 - probability) + (1 - labels) * probability
        return (missed**2 * entropy).mean()

    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    nn.init.constant_(model[-1].bias, -math.log((1 - 0.1) / 0.1))  # type: ignore[arg-type]
    return Problem(
        model=model,
        loss=focal,
        train=data.loader(*train, batch_size=60),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.healthy
def class_weights_and_label_smoothing() -> Problem:
    x, labels = data.digit_rows()
    kept = (labels < 4) | (torch.rand(len(labels), generator=data.seeded()) < 0.25)
    train, held_out = data.split(x[kept], labels[kept])
    frequency = torch.bincount(train[1], minlength=10).float()
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(weight=frequency.mean() / frequency, label_smoothing=0.05),
        train=data.loader(*train, batch_size=48),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class MarginHead(nn.Module):
    """Additive angular margin (Deng et al. 2019): scale 16, margin .2; the loss adds the margin."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.PReLU(), nn.Linear(64, 16), nn.BatchNorm1d(16))
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(10, 16)))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.encoder(x)), F.normalize(self.weight))


@book.healthy
def angular_margin() -> Problem:
    train, held_out = data.split(*data.digit_rows())

    def arcface(cosine: Tensor, labels: Tensor) -> Tensor:
        angle = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
        with_margin = torch.cos(angle + 0.2 * F.one_hot(labels, 10))
        return F.cross_entropy(16 * with_margin, labels)

    model = MarginHead()
    return Problem(
        model=model,
        loss=arcface,
        train=data.loader(*train, batch_size=64, drop_last=True),
        validation=data.loader(*held_out, batch_size=64),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4),
    )


class Projector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.projection = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return F.normalize(self.projection(self.encoder(torch.cat([first, second]))), dim=1)


@book.healthy
def contrastive_pairs_without_labels() -> Problem:
    """Two noisy views of each digit; the targets say which row is the other view of which."""
    x, _ = data.digit_rows()
    g = data.seeded(18)
    views = [
        x * (torch.rand(x.shape, generator=g) < 0.8) + 0.1 * torch.randn(x.shape, generator=g)
        for _ in range(2)
    ]
    partner = torch.arange(64).roll(32)
    batches = [((views[0][i : i + 32], views[1][i : i + 32]), partner) for i in range(0, 1760, 32)]

    def info_nce(z: Tensor, positive: Tensor) -> Tensor:
        similarity = (z @ z.T / 0.2).fill_diagonal_(float("-inf"))
        return F.cross_entropy(similarity, positive)

    model = Projector()
    return Problem(
        model=model,
        loss=info_nce,
        train=batches[:44],
        validation=batches[44:],
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8))

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.embed(anchor), self.embed(positive), self.embed(negative)


@book.healthy
def triplets_without_targets() -> Problem:
    """The loss reads only the outputs; the targets are there because a batch has two halves."""
    x, labels = data.digit_rows()
    g = data.seeded(19)
    by_class = [x[labels == digit] for digit in range(10)]
    batches = []
    for _ in range(30):
        digit = torch.randint(10, (32,), generator=g)
        other = (digit + torch.randint(1, 10, (32,), generator=g)) % 10
        drawn = [
            torch.stack(
                [by_class[c][int(torch.randint(len(by_class[c]), (), generator=g))] for c in classes.tolist()]
            )
            for classes in (digit, digit, other)
        ]
        batches.append((tuple(drawn), digit))

    def triplet(outputs: tuple[Tensor, Tensor, Tensor], _: Tensor) -> Tensor:
        return F.triplet_margin_loss(*outputs, margin=0.5)

    model = Siamese()
    return Problem(
        model=model,
        loss=triplet,
        train=batches[:24],
        validation=batches[24:],
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    )


class CoordinateNet(nn.Module):
    """Sines and cosines of 6 octaves, a skip half way, sigmoid colours (Mildenhall et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(26, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(48 + 26, 48), nn.ReLU(), nn.Linear(48, 3))

    def forward(self, xy: Tensor) -> Tensor:
        octaves = (xy[:, :, None] * math.pi * 2.0 ** torch.arange(6)).flatten(1)
        encoded = torch.cat([xy, octaves.sin(), octaves.cos()], 1)
        return torch.sigmoid(self.second(torch.cat([self.first(encoded), encoded], 1)))


@book.healthy
def radiance_field_of_a_painting() -> Problem:
    train, held_out = data.split(*data.painting())
    model = CoordinateNet()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train, batch_size=96),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class Hamiltonian(nn.Module):
    """The net gives an energy; the motion is its gradient, taken inside forward (Greydanus et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(
            nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 1)
        )

    def forward(self, state: Tensor) -> Tensor:
        with torch.enable_grad():
            state = state.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.energy(state).sum(), state, create_graph=True)
        return torch.stack([gradient[:, 1], -gradient[:, 0]], 1)


@book.healthy
def pendulum_from_a_learned_energy() -> Problem:
    state = 4 * torch.rand(500, 2, generator=data.seeded(23)) - 2
    motion = torch.stack([state[:, 1], -torch.sin(state[:, 0])], 1)
    train, held_out = data.split(state, motion)
    model = Hamiltonian()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train, batch_size=50),
        validation=data.loader(*held_out, batch_size=50),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class QuantizedAutoencoder(nn.Module):
    """The nearest of 32 codes, with a straight-through gradient; some codes are never nearest."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32))
        self.codes = nn.Parameter(torch.randn(32, 4) * 0.3)
        self.decoder = nn.Sequential(nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x).unflatten(1, (8, 4))
        code = self.codes[torch.cdist(z, self.codes.expand(len(x), -1, -1)).argmin(2)]
        commitment = F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())
        return self.decoder((z + (code - z).detach()).flatten(1)), commitment


@book.healthy
def vector_quantization_with_idle_codes() -> Problem:
    x, _ = data.digit_rows()
    train, held_out = data.split(x, x)
    model = QuantizedAutoencoder()
    return Problem(
        model=model,
        loss=lambda outputs, target: F.mse_loss(outputs[0], target) + outputs[1],
        train=data.loader(*train, batch_size=64),
        validation=data.loader(*held_out, batch_size=64),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.healthy
def a_function_that_closes_over_modules() -> Problem:
    train, held_out = data.split(*data.digit_images())
    backbone = nn.Sequential(nn.Conv2d(1, 12, 3, 2, 1), nn.ReLU(), nn.Flatten())
    head = nn.Linear(192, 10)

    def model(x: Tensor) -> Tensor:
        return head(F.relu(backbone(x)))

    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=3e-3),
    )


class DeepSets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.all = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, items: Tensor) -> Tensor:
        return self.all(self.each(items[:, :, None]).mean(1))


@book.healthy
def spread_of_a_set() -> Problem:
    g = data.seeded(26)
    items = torch.randn(800, 15, generator=g) * (0.3 + 2 * torch.rand(800, 1, generator=g))
    train, held_out = data.split(items, items.std(1, keepdim=True))
    model = DeepSets()
    return Problem(
        model=model,
        loss=nn.L1Loss(),
        train=data.loader(*train, batch_size=40),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class Conditioned(nn.Module):
    """The condition scales and shifts the features, and starts by doing nothing (Perez et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(8, 40)
        self.film = nn.Linear(3, 80)
        self.head = nn.Linear(40, 1)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition).chunk(2, 1)
        return self.head(F.relu((1 + scale) * self.stem(x) + shift))


@book.healthy
def feature_wise_modulation_from_zero() -> Problem:
    g = data.seeded(27)
    x = torch.randn(900, 8, generator=g)
    kind = torch.randint(3, (900,), generator=g)
    target = (x @ torch.randn(8, 3, generator=g)).gather(1, kind[:, None]) / 3
    condition = F.one_hot(kind, 3).float()
    batches = [((x[i : i + 60], condition[i : i + 60]), target[i : i + 60]) for i in range(0, 900, 60)]
    model = Conditioned()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=batches[:12],
        validation=batches[12:],
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )
