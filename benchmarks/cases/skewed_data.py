"""Made-up data with skewed classes and a real signal, and the models that the cases share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from wellposed import Problem

Pair = tuple[Any, Tensor]
Prior = Tensor


def one_class(classes: int, share: float) -> Prior:
    """One class has the share, the others have equal parts of the rest."""
    prior = torch.full((classes,), (1 - share) / (classes - 1))
    prior[min(3, classes - 1)] = share
    return prior


def zipf(classes: int, power: float = 1.0) -> Prior:
    prior = 1 / torch.arange(1, classes + 1) ** power
    return prior / prior.sum()


def long_tail(classes: int, ratio: float = 100.0) -> Prior:
    """Exponential decay; the first class is `ratio` times as frequent as the last (Cui et al. 2019)."""
    prior = ratio ** -torch.linspace(0, 1, classes)
    return prior / prior.sum()


def drawn(prior: Prior, *shape: int) -> Tensor:
    """Labels; every class that has a row at all is drawn by its prior."""
    return torch.multinomial(prior, int(torch.tensor(shape).prod()), replacement=True).view(shape)


def clusters(prior: Prior, features: int = 20, rows: int = 1500, apart: float = 1.0) -> Pair:
    """A cloud around a centre for each class, of about unit variance."""
    labels = drawn(prior, rows)
    centres = torch.randn(len(prior), features)
    return (apart * centres[labels] + torch.randn(rows, features)) / (1 + apart**2) ** 0.5, labels


def pictures(prior: Prior, channels: int = 1, size: int = 12, rows: int = 700, noise: float = 0.7) -> Pair:
    """A smooth pattern for each class, shifted by a pixel or none, with noise."""
    labels = drawn(prior, rows)
    patterns = F.interpolate(torch.randn(len(prior), channels, 4, 4), size=size, mode="bilinear")
    patterns = patterns / patterns.std()
    shifts = torch.randint(2, (rows,))
    moved = torch.stack([patterns[k].roll(int(s), -1) for k, s in zip(labels, shifts, strict=True)])
    return (moved + noise * torch.randn(rows, channels, size, size)) / (1 + noise**2) ** 0.5, labels


def waves(prior: Prior, channels: int = 2, length: int = 32, rows: int = 900) -> Pair:
    """A frequency for each class, at a random phase."""
    labels = drawn(prior, rows)
    time = torch.linspace(0, 6.283, length)
    phase = 6.283 * torch.rand(rows, channels, 1)
    return 1.3 * torch.sin((1 + labels.view(-1, 1, 1)) * time + phase) + 0.3 * torch.randn(
        rows, channels, length
    ), labels


def sentences(
    entities: int,
    *,
    share: float = 0.9,
    vocabulary: int = 80,
    length: int = 16,
    rows: int = 500,
    padded: bool = True,
) -> Pair:
    """Tokens and their tags: a token is an entity's by its identity, "O" (0) else; padding is token 0, tag -100."""
    words_of = 4
    rare = torch.rand(rows, length) > share
    kinds = torch.randint(1, entities + 1, (rows, length))
    named = (kinds - 1) * words_of + torch.randint(words_of, (rows, length)) + 1
    plain = 1 + words_of * entities + drawn(zipf(vocabulary), rows, length)
    tokens, tags = torch.where(rare, named, plain), torch.where(rare, kinds, 0)
    if padded:
        lengths = torch.randint(length // 2, length + 1, (rows, 1))
        over = torch.arange(length) >= lengths
        tokens, tags = tokens.masked_fill(over, 0), tags.masked_fill(over, -100)
    return tokens, tags


def vocabulary_of(entities: int, vocabulary: int = 80) -> int:
    return 1 + 4 * entities + vocabulary


def text(
    symbols: int = 40, length: int = 20, rows: int = 500, power: float = 1.2, surprise: float = 0.3
) -> Tensor:
    """Windows of a chain over symbols by Zipf: the next one is a function of the last, but for surprises."""
    follower = drawn(zipf(symbols, power), symbols)
    tokens = [drawn(zipf(symbols, power), rows)]
    for _ in range(length):
        fresh = drawn(zipf(symbols, power), rows)
        tokens.append(torch.where(torch.rand(rows) < surprise, fresh, follower[tokens[-1]]))
    return torch.stack(tokens, 1)


def scenes(classes: int = 12, size: int = 16, rows: int = 250, channels: int = 3) -> Pair:
    """Squares of a colour for each class on a background (class 0) of about nine pixels in ten."""
    colours = 1.5 * torch.randn(classes, channels)
    colours[0] = 0
    masks = torch.zeros(rows, size, size, dtype=torch.long)
    edge = max(2, round(size * 0.22))
    for row in range(rows):
        for _ in range(2):
            top, left = torch.randint(size - edge, (2,)).tolist()
            masks[row, top : top + edge, left : left + edge] = torch.randint(1, classes, ())
    images = colours[masks].permute(0, 3, 1, 2) + 0.7 * torch.randn(rows, channels, size, size)
    return images, masks


def many_labels(rates: Tensor, features: int = 24, rows: int = 1500) -> Pair:
    """Labels that are present or not, each by a direction of its own, each as rare as its rate."""
    x = torch.randn(rows, features)
    scores = x @ torch.randn(features, len(rates)) / features**0.5 + 0.2 * torch.randn(rows, len(rates))
    limits = torch.stack([torch.quantile(scores[:, k], 1 - float(r)) for k, r in enumerate(rates)])
    return x, (scores > limits).float()


def counts(rate: float = 0.15, features: int = 10, rows: int = 2000) -> Pair:
    """Counts that are mostly zero, by a log-linear rate."""
    x = torch.randn(rows, features)
    log_rate = torch.tensor(rate).log() + 1.2 * x[:, 0] - 0.8 * x[:, 1]
    return x, torch.poisson(log_rate.clamp(max=3).exp())


def smooth(outputs: int = 1, features: int = 8, rows: int = 1200) -> Pair:
    """A smooth function of the features, of about unit variance, with a little noise."""
    x = torch.randn(rows, features)
    y = torch.sin(x @ torch.randn(features, outputs) / features**0.5) + 0.5 * x[:, :outputs]
    y = (y - y.mean(0)) / y.std(0)
    return x, y + 0.1 * torch.randn(rows, outputs)


# Training problems, assembled


def rows_of(x: Any, chosen: Any) -> Any:
    return tuple(t[chosen] for t in x) if isinstance(x, tuple) else x[chosen]


def halves(data: Pair, held_out: float = 0.3) -> tuple[Pair, Pair]:
    x, y = data
    order = torch.randperm(len(y))
    cut = round(len(y) * (1 - held_out))
    return (rows_of(x, order[:cut]), y[order[:cut]]), (rows_of(x, order[cut:]), y[order[cut:]])


Optimizing = Callable[[nn.Module], torch.optim.Optimizer]


def adam(rate: float = 1e-3, **others: Any) -> Optimizing:
    return lambda model: torch.optim.Adam(model.parameters(), lr=rate, **others)


def adamw(rate: float = 1e-3, **others: Any) -> Optimizing:
    return lambda model: torch.optim.AdamW(model.parameters(), lr=rate, **others)


def sgd(rate: float = 0.1, momentum: float = 0.9, **others: Any) -> Optimizing:
    return lambda model: torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, **others)


def torch_adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters())


def as_loader(pair: Pair, rows: int = 32) -> DataLoader:
    x, y = pair
    return DataLoader(TensorDataset(*(x if isinstance(x, tuple) else (x,)), y), batch_size=rows, shuffle=True)


def as_dicts(pair: Pair, rows: int = 32, name: str = "x") -> list[dict[str, Tensor]]:
    x, y = pair
    return [{name: x[i : i + rows], "labels": y[i : i + rows]} for i in range(0, len(y) - rows + 1, rows)]


def as_pair(pair: Pair) -> Pair:
    return pair


def assembled(
    model: nn.Module,
    loss: Any,
    data: Pair,
    optimizer: Optimizing = torch_adam,
    form: Callable[[Pair], Any] = as_pair,
) -> Problem:
    """A training problem from rows; the held-out ones come in the same form."""
    train, held_out = halves(data)
    return Problem(
        model=model, loss=loss, train=form(train), validation=form(held_out), optimizer=optimizer(model)
    )


# Models


def mlp(
    *widths: int, act: Callable[[], nn.Module] = nn.ReLU, between: Callable[[int], nn.Module] | None = None
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(fan_in, fan_out), *([between(fan_out)] if between else []), act()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def cnn(channels: int, classes: int, width: int = 16, norm: bool = True) -> nn.Sequential:
    def block(fan_in: int, fan_out: int) -> list[nn.Module]:
        return [
            nn.Conv2d(fan_in, fan_out, 3, padding=1),
            *([nn.BatchNorm2d(fan_out)] if norm else []),
            nn.ReLU(),
        ]

    return nn.Sequential(
        *block(channels, width),
        nn.MaxPool2d(2),
        *block(width, 2 * width),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, classes),
    )


class RecurrentTagger(nn.Module):
    """Logits for every token, batch first, classes last."""

    def __init__(
        self, vocabulary: int, tags: int, cell: type[nn.RNNBase] = nn.LSTM, width: int = 24, both: bool = True
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 16, padding_idx=0)
        self.rnn = cell(16, width, batch_first=True, bidirectional=both)  # type: ignore[call-arg]
        self.head = nn.Linear(width * (1 + both), tags)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(tokens))[0])


class TransformerTagger(nn.Module):
    """A small encoder; with `causal` it is a language model, with `tied` it shares its embedding with its head."""

    def __init__(
        self,
        vocabulary: int,
        tags: int,
        *,
        width: int = 32,
        layers: int = 2,
        causal: bool = False,
        tied: bool = False,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5 if tied else 1.0)
        self.place = nn.Parameter(0.02 * torch.randn(64, width))
        layer = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, tags)
        self.causal = causal
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        return self.head(self.norm(self.encoder(self.embedding(tokens) + self.place[:length], mask=mask)))


def token_loss(logits: Tensor, tags: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), tags.flatten(), ignore_index=-100)


class UNet(nn.Module):
    def __init__(self, channels: int, classes: int, width: int = 8):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.head = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, classes, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        high = self.down(image)
        return self.head(torch.cat([high, self.up(self.deep(high))], 1))


def focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Lin et al. 2017, with the sigmoid."""
    surprise = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weight = torch.where(targets > 0.5, alpha, 1 - alpha) * (1 - (-surprise).exp()) ** gamma
    return (weight * surprise).sum() / targets.sum().clamp(min=1)


class UnitNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


def unit(free: Tensor) -> Tensor:
    return F.normalize(free, dim=-1)
