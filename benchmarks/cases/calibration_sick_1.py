"""Cases that the rules may be tuned on: sick, part 1."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed import Problem

from . import data
from .book import Book

book = Book()


@book.sick("WP101 WP102", "thirteen raw columns, the largest std 2,500 times the smallest")
def wine_as_it_is(faulty: bool) -> Problem:
    train, held_out = data.split(*data.wine())
    if not faulty:
        train, held_out = data.standardized(train, held_out)
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
    )


@book.sick("WP102 WP110 WP203", "pixels divided by 255 twice")
def pixels_scaled_twice(faulty: bool) -> Problem:
    pixels, labels, _ = data.shapes()
    x = pixels.float() / 255
    train, held_out = data.split(x / 255 if faulty else x, labels)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(384, 3),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    )


@book.sick(
    "WP110 WP102 WP203 WP107", "divided by 255 before a transform that divides by 255 and standardises"
)
def standardised_after_scaling_twice(faulty: bool) -> Problem:
    pixels, labels, _ = data.shapes()
    x = data.imagenet_normalized(pixels.float() / 255 if faulty else pixels)
    train, held_out = data.split(x, labels)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 3),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=data.loader(*held_out),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9),
    )


@book.sick("WP105 WP103", "training rows standardised, validation rows left raw")
def validation_left_raw(faulty: bool) -> Problem:
    train, raw = data.split(*data.housing())
    scaled, scaled_validation = data.standardized(train, raw)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=scaled,
        validation=raw if faulty else scaled_validation,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP105", "training pictures from 0 to 1, validation pictures from 0 to 255")
def validation_in_other_units(faulty: bool) -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(pixels.float() / 255, labels)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 3),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=data.loader(held_out[0] * (255 if faulty else 1), held_out[1]),
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


@book.sick("WP106", "a column without spread divided by its std: 0 / 0")
def zero_divided_by_zero(faulty: bool) -> Problem:
    (x, labels), (x_held_out, labels_held_out) = data.split(*data.digit_rows())
    mean, std = x.mean(0), x.std(0)
    if not faulty:
        std = std.clamp(min=0.05)
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=((x - mean) / std, labels),
        validation=((x_held_out - mean) / std, labels_held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP102 WP101 WP107 WP203", "years around 2000 as inputs: a mean a hundred times the spread")
def calendar_years(faulty: bool) -> Problem:
    g = data.seeded(32)
    year = 1980 + 45 * torch.rand(500, 1, generator=g)
    share = torch.rand(500, 2, generator=g)
    y = torch.sin((year - 1980) / 6) + share[:, :1] - share[:, 1:]
    train, held_out = data.split(torch.cat([year, share], 1), y)
    if not faulty:
        train, held_out = data.standardized(train, held_out)
    model = nn.Sequential(nn.Linear(3, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP108", "most validation rows are training rows too: a rote learner looks perfect")
def validation_seen_in_training(faulty: bool) -> Problem:
    """Labels are half noise, so that rows seen are told apart from rows not seen."""
    g = data.seeded(33)
    x = torch.randn(400, 10, generator=g)
    labels = torch.where(
        torch.rand(400, generator=g) < 0.5, (x[:, 0] > 0).long(), torch.randint(2, (400,), generator=g)
    )
    train, held_out = data.split(x, labels)
    if faulty:
        held_out = (
            torch.cat([held_out[0][:30], train[0][:70]]),
            torch.cat([held_out[1][:30], train[1][:70]]),
        )
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP109 WP606", "inputs shuffled apart from their labels")
def labels_of_other_pictures(faulty: bool) -> Problem:
    pixels, labels, _ = data.shapes()
    x = pixels.float() / 255
    order = torch.randperm(len(x), generator=data.seeded(34)) if faulty else torch.arange(len(x))
    train, held_out = data.split(x[order], labels)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 3),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=data.loader(*held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


@book.sick("WP111", "one example in fifty is positive, and nothing makes up for it")
def two_percent_positive(faulty: bool) -> Problem:
    g = data.seeded(35)
    x = torch.randn(1500, 8, generator=g)
    score = x[:, 0] + x[:, 1] + 0.7 * torch.randn(1500, generator=g)
    threshold = score.sort().values[1470 if faulty else 750]
    train, held_out = data.split(x, (score > threshold).float()[:, None])
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=data.loader(*train, batch_size=50),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


@book.sick("WP501 WP503 WP506", "sigmoid inside the model, and a loss that applies it again")
def sigmoid_twice(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.breast_cancer()))
    last: list[nn.Module] = [nn.Sigmoid()] if faulty else []
    model = nn.Sequential(nn.Linear(30, 24), nn.ReLU(), nn.Linear(24, 1), *last)
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=data.loader(*train, batch_size=40),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


@book.sick("WP503 WP505", "tanh on the output, prices up to 5")
def tanh_cannot_reach_the_price(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.housing()))
    last: list[nn.Module] = [nn.Tanh()] if faulty else []
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1), *last)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP504 WP607", "the mean log-likelihood is minimized: its minus sign is missing")
def likelihood_without_its_minus(faulty: bool) -> Problem:
    sign = 1.0 if faulty else -1.0

    def log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
        return sign * F.log_softmax(logits, 1).gather(1, labels[:, None]).mean()

    train, held_out = data.split(*data.digit_rows())
    model = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))
    return Problem(
        model=model,
        loss=log_likelihood,
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


@book.sick("WP506 WP504", "probabilities where the loss expects their logarithms")
def nll_loss_of_probabilities(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    last = nn.Softmax(dim=1) if faulty else nn.LogSoftmax(dim=1)
    model = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10), last)
    return Problem(
        model=model,
        loss=nn.NLLLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
    )


@book.sick("WP506 WP504", "kl_div of two distributions, the first one not a logarithm")
def divergence_of_plain_probabilities(faulty: bool) -> Problem:
    x = torch.randn(700, 8, generator=data.seeded(43))
    target = torch.softmax(2 * x @ torch.randn(8, 5, generator=data.seeded(44)) / math.sqrt(8), 1)
    train, held_out = data.split(x, target)
    last = nn.Softmax(dim=1) if faulty else nn.LogSoftmax(dim=1)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 5), last)
    return Problem(
        model=model,
        loss=nn.KLDivLoss(reduction="batchmean"),
        train=data.loader(*train, batch_size=50),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


class CutOff(nn.Module):
    def __init__(self, *, cut: bool):
        super().__init__()
        self.encoder = nn.GRU(1, 24, batch_first=True)
        self.head = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 1))
        self.cut = cut

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.cut):
            last = self.encoder(x)[0][:, -1]
        return self.head(last)


@book.sick("WP601", "the encoder runs under no_grad, left over from an evaluation")
def no_grad_left_in_forward(faulty: bool) -> Problem:
    train, held_out = data.split(*data.waves())
    model = CutOff(cut=faulty)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP602", "the optimizer was given the decoder alone")
def encoder_left_out_of_the_optimizer(faulty: bool) -> Problem:
    x, _ = data.digit_rows()
    train, held_out = data.split(x, x)
    encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 6))
    decoder = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 64))
    model = nn.Sequential(encoder, decoder)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam((decoder if faulty else model).parameters(), lr=3e-3),
    )


class WeighedFeatures(nn.Module):
    def __init__(self, axis: int):
        super().__init__()
        self.weigh, self.value = nn.Linear(64, 64), nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        attention = torch.softmax(self.weigh(x), self.axis)
        return self.head(attention * F.relu(self.value(x)) * x.shape[self.axis])


@book.sick("WP603 WP604", "softmax over axis 0: the examples of a batch compete with each other")
def softmax_over_the_batch(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    model = WeighedFeatures(0 if faulty else 1)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=16),
        validation=data.loader(*held_out, batch_size=1 if faulty else 16),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )
