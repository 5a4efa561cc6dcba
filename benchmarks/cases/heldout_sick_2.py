"""Cases that only count: nobody who writes rules reads them: sick, part 2."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed import Problem

from . import data
from .book import Book

book = Book()


@book.sick("WP607", "momentum .99 with a learning rate tuned without it")
def momentum_on_top_of_a_large_rate(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.housing()))
    model = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.SGD(
            model.parameters(), lr=0.5 if faulty else 0.05, momentum=0.99 if faulty else 0.0
        ),
    )


@book.sick("WP608 WP606", "Adam at 1e-8: nothing moves")
def adam_at_ten_to_the_minus_eight(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(192, 10),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-8 if faulty else 2e-3),
    )


@book.sick("WP609 WP606", "decoupled decay of 100: each step takes a tenth of every weight")
def decoupled_decay_of_a_hundred(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.housing()))
    model = nn.Sequential(nn.Linear(8, 48), nn.Tanh(), nn.Linear(48, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=100.0 if faulty else 0.01),
    )


@book.sick("WP201 WP203 WP206 WP303 WP606", "every convolution from N(0, .01), eight deep, no normalization")
def small_weights_in_a_plain_vgg(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_images())
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([1, *[16] * 8]):
        conv = nn.Conv2d(fan_in, fan_out, 3, padding=1)
        nn.init.normal_(conv.weight, std=0.01 if faulty else math.sqrt(2 / (9 * fan_in)))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        layers += [conv, nn.ReLU()]
    model = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9),
    )


@book.sick(
    "WP202 WP207 WP302 WP303 WP607",
    "He initialization with the fan-in of one channel forgotten: std 3 times too large",
)
def convolutions_three_times_too_large(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_images())
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([1, *[16] * 8]):
        conv = nn.Conv2d(fan_in, fan_out, 3, padding=1)
        nn.init.normal_(conv.weight, std=math.sqrt(2 / (fan_in if faulty else 9 * fan_in)))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        layers += [conv, nn.ReLU()]
    model = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    )


class ScaledResidual(nn.Module):
    def __init__(self, width: int, scale: float):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.inner, self.outer):
            nn.init.kaiming_normal_(layer.weight)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.outer(F.relu(self.inner(x)))


@book.sick(
    "WP202 WP207 WP302 WP303 WP607",
    "thirty residual branches of full size, no normalization: the signal doubles thirty times",
)
def unscaled_residual_branches(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    scale = 1.0 if faulty else 1 / 30
    model = nn.Sequential(
        nn.Linear(64, 48), *[ScaledResidual(48, scale) for _ in range(30)], nn.Linear(48, 10)
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    )


@book.sick("WP205 WP303 WP207 WP202", "LSTM weights from N(0, 3): every gate is open or shut")
def lstm_with_wide_weights(faulty: bool) -> Problem:
    class Forecaster(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(1, 32, batch_first=True)
            self.head = nn.Linear(32, 1)
            if faulty:
                for name, parameter in self.lstm.named_parameters():
                    if "weight" in name:
                        nn.init.normal_(parameter, std=3.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x)[0][:, -1])

    train, held_out = data.split(*data.waves())
    model = Forecaster()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


class UnscaledAttention(nn.Module):
    def __init__(self, vocabulary: int, *, std: float):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 32)
        self.place = nn.Parameter(torch.randn(12, 32))
        self.query, self.key, self.value = (nn.Linear(32, 32, bias=False) for _ in range(3))
        self.head = nn.Linear(32, vocabulary)
        for layer in (self.query, self.key):
            nn.init.normal_(layer.weight, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.place
        attention = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2) / math.sqrt(32), -1)
        return self.head(attention @ self.value(x))


@book.sick("WP205 WP303 WP202", "attention logits of std 200: each softmax is an argmax, and does not learn")
def attention_that_is_an_argmax(faulty: bool) -> Problem:
    """The target is the token three places before, so the attention must be learned."""
    tokens = torch.randint(16, (600, 12), generator=data.seeded(36))
    train, held_out = data.split(tokens, tokens.roll(3, 1))
    model = UnscaledAttention(16, std=1.5 if faulty else 0.1)
    return Problem(
        model=model,
        loss=lambda logits, targets: F.cross_entropy(logits.transpose(1, 2), targets),
        train=data.loader(*train),
        validation=data.loader(*held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


class FirstStepMatters(nn.Module):
    def __init__(self, gain: float):
        super().__init__()
        self.rnn = nn.RNN(2, 32, batch_first=True)
        self.head = nn.Linear(32, 2)
        nn.init.orthogonal_(self.rnn.weight_hh_l0, gain)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@book.sick(
    "WP206 WP203 WP606 WP201",
    "recurrent weights of gain .2, and the class is told in the first step of forty",
)
def forgetful_rnn(faulty: bool) -> Problem:
    g = data.seeded(37)
    series = 0.1 * torch.randn(500, 40, 2, generator=g)
    labels = torch.randint(2, (500,), generator=g)
    series[:, 0, 1] = 2.0 * labels - 1
    train, held_out = data.split(series, labels)
    model = FirstStepMatters(0.2 if faulty else 1.0)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    )


class PairwiseDistances(nn.Module):
    """Embeds the points of a set and reads their distances, that of a point to itself among them."""

    def __init__(self, eps: float):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 8))
        self.head = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
        self.eps = eps

    def forward(self, points: Tensor) -> Tensor:
        z = self.embed(points)
        squared = (z[:, :, None] - z[:, None]).square().sum(3)
        distances = torch.sqrt(squared + self.eps)
        return self.head(torch.stack([distances.mean((1, 2)), distances.amax((1, 2))], 1))


@book.sick("WP209 WP002", "the root of the distance of a point to itself: its gradient is 0 / 0")
def distance_of_a_point_to_itself(faulty: bool) -> Problem:
    g = data.seeded(47)
    points = torch.randn(500, 8, 2, generator=g) * (0.2 + torch.rand(500, 1, 1, generator=g))
    train, held_out = data.split(points, points.flatten(1).std(1, keepdim=True))
    model = PairwiseDistances(0.0 if faulty else 1e-6)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP301", "all filters of a convolution net start equal, and stay so")
def equal_filters(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, 2, 1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(96, 10),
    )
    if faulty:
        for layer in model:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.constant_(layer.weight, 0.02)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


@book.sick("WP301", "GRU and head filled with .05: 32 units that are one")
def equal_recurrent_units(faulty: bool) -> Problem:
    class Forecaster(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(1, 32, batch_first=True)
            self.head = nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.gru(x)[0][:, -1])

    train, held_out = data.split(*data.waves())
    model = Forecaster()
    if faulty:
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.05)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP302 WP303", "the last layer from N(0, 1) behind 256 units: confident and wrong at step 0")
def overconfident_head(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.digit_rows()))
    head = nn.Linear(256, 10)
    nn.init.normal_(head.weight, std=1.0 if faulty else 1 / 16)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), head)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    )


@book.sick("WP302 WP303 WP205", "raw dot products divided by a temperature of .01")
def dot_products_at_a_hundredth(faulty: bool) -> Problem:
    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
            self.prototypes = nn.Parameter(torch.randn(10, 32))

        def forward(self, x: Tensor) -> Tensor:
            z, p = self.encoder(x), self.prototypes
            return z @ p.T / 0.01 if faulty else F.normalize(z, dim=1) @ F.normalize(p, dim=1).T / 0.1

    train, held_out = data.split(*data.digit_rows())
    model = Prototypes()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
    )
