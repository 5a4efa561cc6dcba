"""Cases that the rules may be tuned on: sick, part 2."""

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


@book.sick("WP604", "running statistics that hardly move: momentum 1e-4 behind inputs around 100")
def running_statistics_that_stand_still(faulty: bool) -> Problem:
    x, labels = data.digit_rows()
    train, held_out = data.split(100 + 40 * x, labels)
    momentum = 1e-4 if faulty else 0.1
    model = nn.Sequential(
        nn.BatchNorm1d(64, momentum=momentum),
        nn.Linear(64, 48),
        nn.BatchNorm1d(48, momentum=momentum),
        nn.ReLU(),
        nn.Linear(48, 10),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class TwoInputs(nn.Module):
    def __init__(self, *, forgets: bool):
        super().__init__()
        self.left, self.right = nn.Linear(6, 24), nn.Linear(6, 24)
        self.head = nn.Linear(48, 1)
        self.forgets = forgets

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        other = self.right(first if self.forgets else second)
        return self.head(F.relu(torch.cat([self.left(first), other], 1)))


@book.sick("WP605", "a slip of the name: both branches read the first input")
def second_input_never_read(faulty: bool) -> Problem:
    g = data.seeded(46)
    first, second = torch.randn(800, 6, generator=g), torch.randn(800, 6, generator=g)
    target = first[:, :1] - 2 * second[:, 1:2].abs()
    batches = [((first[i : i + 50], second[i : i + 50]), target[i : i + 50]) for i in range(0, 800, 50)]
    model = TwoInputs(forgets=faulty)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=batches[:12],
        validation=batches[12:],
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP605 WP502 WP606 WP203", "the input is overwritten by zeros of its shape before it is used")
def input_overwritten(faulty: bool) -> Problem:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(torch.zeros_like(x) if faulty else x)

    train, held_out = data.split(*data.digit_rows())
    model = Net()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.sick("WP607", "Adam at .5 on a small transformer that must predict the next letter")
def transformer_at_a_huge_learning_rate(faulty: bool) -> Problem:
    class LanguageModel(nn.Module):
        def __init__(self, vocabulary: int):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, 32)
            self.layers = nn.ModuleList(
                nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
                for _ in range(2)
            )
            self.head = nn.Linear(32, vocabulary)

        def forward(self, tokens: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
            x = self.embedding(tokens)
            for layer in self.layers:
                x = layer(x, src_mask=mask, is_causal=True)
            return self.head(x)

    windows, vocabulary = data.letters()
    train, held_out = data.split(windows[:, :-1], windows[:, 1:])
    model = LanguageModel(vocabulary)
    return Problem(
        model=model,
        loss=lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
        train=data.loader(*train, batch_size=24),
        validation=data.loader(*held_out, batch_size=24),
        optimizer=torch.optim.Adam(model.parameters(), lr=0.5 if faulty else 2e-3),
    )


@book.sick(
    "WP609 WP606", "weight decay of 2 inside Adam, which divides it out again: every weight goes to zero"
)
def decay_that_adam_turns_into_shrinking(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=2.0 if faulty else 1e-5),
    )


@book.sick("WP203 WP206 WP201 WP606", "fifteen sigmoid layers under PyTorch's default initialization")
def deep_sigmoids(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    activation = nn.Sigmoid if faulty else nn.Tanh
    layers = [nn.Sequential(nn.Linear(a, b), activation()) for a, b in pairwise([64, *[40] * 15])]
    for layer in layers:
        if not faulty:
            nn.init.xavier_uniform_(layer[0].weight)  # type: ignore[arg-type]
    model = nn.Sequential(*layers, nn.Linear(40, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


@book.sick("WP204 WP203 WP601 WP606", "biases of -8 kill the second convolution")
def dead_convolution(faulty: bool) -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(pixels.float() / 255, labels)
    second = nn.Conv2d(16, 16, 3, 2, 1)
    if faulty:
        nn.init.constant_(second.bias, -8.0)  # type: ignore[arg-type]
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


@book.sick(
    "WP204 WP203 WP606 WP601 WP303",
    "weights all negative on pixels that are not: every unit of the first layer is off",
)
def negative_weights_on_pixels(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    first = nn.Linear(64, 64)
    if faulty:
        nn.init.uniform_(first.weight, -0.2, -0.05)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class ReluRNN(nn.Module):
    def __init__(self, gain: float):
        super().__init__()
        self.rnn = nn.RNN(1, 32, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(32, 1)
        nn.init.normal_(self.rnn.weight_hh_l0, std=gain / math.sqrt(32))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@book.sick("WP202 WP207 WP302 WP209 WP303 WP607", "recurrent ReLU with gain 2.4 over forty steps")
def exploding_rnn(faulty: bool) -> Problem:
    train, held_out = data.split(*data.waves())
    model = ReluRNN(2.4 if faulty else 0.9)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


@book.sick("WP208 WP505", "targets of 1e-5 in float16 without a scaler: squared errors round to zero")
def small_targets_in_half_precision(faulty: bool) -> Problem:
    x = torch.randn(600, 6, generator=data.seeded(38))
    y = x @ torch.randn(6, 1, generator=data.seeded(39)) * (1e-5 if faulty else 0.4)
    train, held_out = data.split(x, y)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
    if faulty:
        with torch.no_grad():
            for parameter in model[-1].parameters():
                parameter.mul_(1e-4)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05),
        precision="fp16",
    )


@book.sick("WP208 WP202 WP207", "the loss divided by a million, in float16 without a scaler")
def tiny_loss_in_half_precision(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(192, 10),
    )
    share = 1e-6 if faulty else 1.0
    return Problem(
        model=model,
        loss=lambda logits, labels: share * F.cross_entropy(logits, labels),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
        precision="fp16",
    )


@book.sick("WP209 WP002", "p log p with p rounded to zero: 0 times -infinity")
def entropy_of_a_certain_prediction(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    if faulty:
        with torch.no_grad():
            model[-1].weight.mul_(2000.0)  # type: ignore[operator]

    def with_entropy_bonus(logits: Tensor, labels: Tensor) -> Tensor:
        p = torch.softmax(logits, 1)
        entropy = -(p * p.log()).sum(1).mean()
        return F.cross_entropy(logits, labels) - 0.01 * entropy

    return Problem(
        model=model,
        loss=with_entropy_bonus,
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class MaskedMeanAttention(nn.Module):
    def __init__(self, *, inverted: bool):
        super().__init__()
        self.embedding = nn.Embedding(120, 24)
        self.attention = nn.MultiheadAttention(24, 2, batch_first=True)
        self.head = nn.Linear(24, 2)
        self.inverted = inverted

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embedding(tokens)
        ignored = mask if self.inverted else ~mask
        return self.head(self.attention(x, x, x, key_padding_mask=ignored, need_weights=False)[0].mean(1))


@book.sick(
    "WP605 WP502 WP604 WP209 WP002 WP203 WP606", "the padding mask says the opposite: only padding is read"
)
def inverted_padding_mask(faulty: bool) -> Problem:
    tokens, mask, labels = data.reviews()
    batches = [((tokens[i : i + 40], mask[i : i + 40]), labels[i : i + 40]) for i in range(0, 600, 40)]
    model = MaskedMeanAttention(inverted=faulty)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=batches[:12],
        validation=batches[12:],
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.sick("WP210 WP606", "dropout of .97 after each of three layers")
def almost_everything_dropped(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    layers = [
        nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(0.97 if faulty else 0.1))
        for a, b in pairwise([64, 48, 48, 48])
    ]
    model = nn.Sequential(*layers, nn.Linear(48, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


@book.sick("WP301 WP601 WP606 WP203", "every weight and bias of two hidden layers is zero")
def all_zero_net(faulty: bool) -> Problem:
    train, held_out = data.standardized(*data.split(*data.breast_cancer()))
    model = nn.Sequential(nn.Linear(30, 24), nn.Tanh(), nn.Linear(24, 12), nn.Tanh(), nn.Linear(12, 1))
    if faulty:
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    )
