"""Cases that only count: nobody who writes rules reads them: sick, part 1."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed import Problem

from . import data
from .book import Book

book = Book()


@book.sick("WP101 WP102", "census columns unscaled: population in thousands beside ratios")
def census_columns_unscaled(faulty: bool) -> Problem:
    train, held_out = data.split(*data.housing())
    if not faulty:
        train, held_out = data.standardized(train, held_out)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


@book.sick("WP101 WP102", "cell measurements unscaled, from .001 to 4,000")
def tumours_unscaled(faulty: bool) -> Problem:
    train, held_out = data.split(*data.breast_cancer())
    if not faulty:
        train, held_out = data.standardized(train, held_out)
    model = nn.Sequential(nn.Linear(30, 24), nn.Sigmoid(), nn.Linear(24, 1))
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=data.loader(*train, batch_size=40),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    )


@book.sick("WP102 WP205 WP202 WP302", "pixels from 0 to 255 into a tanh convolution net")
def bytes_as_floats(faulty: bool) -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(pixels.float() / (1 if faulty else 255), labels)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1),
        nn.Tanh(),
        nn.Conv2d(12, 24, 3, 2, 1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(384, 32),
        nn.Tanh(),
        nn.Linear(32, 3),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


@book.sick("WP106", "missing values as NaN in two columns")
def missing_values(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.housing()))
    x = train[0].clone()
    missing = torch.rand(len(x), 2, generator=data.seeded()) < 0.1
    x[:, 2:4] = x[:, 2:4].masked_fill(missing, float("nan") if faulty else 0.0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(x, train[1]),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP107 WP101 WP102", "powers of x up to the eighth, on -2 to 2, into least squares")
def raw_powers(faulty: bool) -> Problem:
    x = 4 * torch.rand(400, 1, generator=data.seeded(30)) - 2
    y = torch.sin(3 * x) + 0.1 * torch.randn(400, 1, generator=data.seeded(31))
    powers = x ** torch.arange(1, 9)
    if not faulty:
        left, _, _ = torch.linalg.svd(powers - powers.mean(0), full_matrices=False)
        powers = left * math.sqrt(400)
    train, held_out = data.split(powers, y)
    model = nn.Linear(8, 1)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=5e-5 if faulty else 0.1),
    )


@book.sick("WP109 WP606", "targets sorted after the split, so that each row has another's price")
def sorted_targets(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.housing()))
    y = train[1].sort(0).values if faulty else train[1]
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=(train[0], y),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP501", "softmax inside the model, cross-entropy outside, functional")
def probabilities_into_cross_entropy(faulty: bool) -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 16, 3, 2, 1)
            self.fc = nn.Linear(256, 10)

        def forward(self, x: Tensor) -> Tensor:
            logits = self.fc(F.relu(self.conv(x)).flatten(1))
            return F.softmax(logits, dim=1) if faulty else logits

    train, held_out = data.split(*data.digit_images())
    model = Net()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


@book.sick("WP502 WP601", "softmax over a single unit: the output is one, whatever the input")
def softmax_over_one_unit(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.breast_cancer()))
    last = nn.Softmax(dim=1) if faulty else nn.Sigmoid()
    model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1), last)
    return Problem(
        model=model,
        loss=nn.BCELoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP502 WP601 WP606", "the output is rounded, and rounding has no gradient")
def rounded_output(faulty: bool) -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 1))

        def forward(self, x: Tensor) -> Tensor:
            price = self.layers(x)
            return price.round() if faulty else price

    train, held_out = data.standardized(*data.split(*data.housing()))
    model = Net()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP503", "ReLU on the output of a net whose targets are returns, half of them negative")
def returns_through_relu(faulty: bool) -> Problem:
    x = torch.randn(600, 5, generator=data.seeded(40))
    y = torch.tanh(x @ torch.tensor([[1.0], [-1.0], [0.5], [0.0], [0.3]]))
    train, held_out = data.split(x, y)
    last = nn.ReLU() if faulty else nn.Identity()
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1), last)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP504 WP607", "the reconstruction error has a minus in front: it is made as large as can be")
def error_maximized(faulty: bool) -> Problem:
    sign = -1.0 if faulty else 1.0
    x, _ = data.digit_rows()
    train, held_out = data.split(x, x)
    model = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10), nn.ReLU(), nn.Linear(10, 64))
    return Problem(
        model=model,
        loss=lambda rebuilt, clean: sign * F.l1_loss(rebuilt, clean),
        train=data.loader(*train, batch_size=50),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP505 WP608 WP302", "prices in dollars, around 200,000, learned by Adam at .001")
def prices_in_dollars(faulty: bool) -> Problem:
    x, price = data.housing()
    y = price * 1e5 if faulty else price - 1.9
    train, held_out = data.standardized(*data.split(x, y))
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


@book.sick("WP505 WP607 WP302", "targets around 150 under gradient descent: it explodes")
def disease_progression_unscaled(faulty: bool) -> Problem:
    x, y = data.diabetes()
    train, held_out = data.standardized(*data.split(x, y if faulty else (y - 152) / 77))
    model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
    )


@book.sick("WP506", "outputs (n, 1) against targets (n,): the loss compares every row with every other")
def broadcast_in_the_loss(faulty: bool) -> Problem:
    def squared(predicted: Tensor, target: Tensor) -> Tensor:
        return ((predicted - target) ** 2).mean()

    x, price = data.housing()
    train, held_out = data.standardized(*data.split(x, price[:, 0] if faulty else price))
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    return Problem(
        model=model,
        loss=squared,
        train=data.loader(*train, batch_size=50),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


class HardMask(nn.Module):
    """Weighs the features by learned scores; the faulty one turns the scores into a mask by comparing."""

    def __init__(self, *, hard: bool):
        super().__init__()
        self.scores = nn.Linear(12, 12)
        self.net = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 2))
        self.hard = hard

    def forward(self, x: Tensor) -> Tensor:
        scores = self.scores(x)
        weight = (scores > 0).float() if self.hard else torch.sigmoid(4 * scores)
        return self.net(x * weight)


@book.sick("WP601", "a comparison stands between the gate and the loss: the gate never learns")
def gate_made_by_comparing(faulty: bool) -> Problem:
    x = torch.randn(700, 12, generator=data.seeded(45))
    labels = torch.where(x[:, 0] > 0, x[:, 1], x[:, 2]).gt(0).long()
    train, held_out = data.split(x, labels)
    model = HardMask(hard=faulty)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP602 WP606 WP608", "the head was replaced after the optimizer was made")
def head_replaced_too_late(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    model = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 1000))
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    model[2] = nn.Linear(40, 10)
    if not faulty:
        optimizer = torch.optim.Adam(model[2].parameters(), lr=1e-2)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=optimizer,
    )


@book.sick("WP603", "an LSTM that takes time first is given batch first: it runs along the batch")
def recurrence_along_the_batch(faulty: bool) -> Problem:
    class Forecaster(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(1, 24, batch_first=not faulty)
            self.head = nn.Linear(24, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x)[0][:, -1])

    train, held_out = data.split(*data.waves())
    model = Forecaster()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=data.loader(*held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
    )
