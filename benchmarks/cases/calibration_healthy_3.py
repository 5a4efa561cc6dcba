"""Cases that the rules may be tuned on: healthy, part 3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from wellposed import Problem

from . import data
from .book import Book, scheduled

book = Book()


@book.healthy
def breast_cancer_mlp() -> Problem:
    train, held_out = data.standardized(*data.split(*data.breast_cancer()))
    model = nn.Sequential(nn.Linear(30, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    )


@book.healthy
def raw_wine_behind_an_input_batch_norm() -> Problem:
    train, held_out = data.split(*data.wine())
    model = nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=16, drop_last=True),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


class Factorization(nn.Module):
    def __init__(self, users: int = 80, films: int = 60, rank: int = 8):
        super().__init__()
        self.user, self.film = nn.Embedding(users, rank), nn.Embedding(films, rank)
        self.user_bias, self.film_bias = nn.Embedding(users, 1), nn.Embedding(films, 1)
        self.mean = nn.Parameter(torch.tensor(3.4))
        for table in (self.user, self.film):
            nn.init.normal_(table.weight, std=0.1)
        for table in (self.user_bias, self.film_bias):
            nn.init.zeros_(table.weight)

    def forward(self, user: Tensor, film: Tensor) -> Tensor:
        biases = self.user_bias(user) + self.film_bias(film)
        return self.mean + biases[:, 0] + (self.user(user) * self.film(film)).sum(1)


@book.healthy
def matrix_factorization() -> Problem:
    users, films, scores = data.ratings()
    rows = [((u, f), r) for u, f, r in zip(users, films, scores, strict=True)]
    model = Factorization()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=DataLoader(rows[:2400], batch_size=100, shuffle=True, generator=data.seeded()),  # type: ignore[arg-type]
        validation=DataLoader(rows[2400:], batch_size=100),  # type: ignore[arg-type]
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-2, weight_decay=1e-5),
    )


@book.healthy
def house_prices_with_selu() -> Problem:
    train, held_out = data.standardized(*data.split(*data.housing()))
    layers = [
        nn.Linear(8, 40),
        nn.SELU(),
        nn.Linear(40, 40),
        nn.SELU(),
        nn.AlphaDropout(0.05),
        nn.Linear(40, 1),
    ]
    model = nn.Sequential(*layers)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
    return Problem(
        model=model,
        loss=F.mse_loss,
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class MeanAndVariance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.mean, self.variance = nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(x)
        return self.mean(hidden), F.softplus(self.variance(hidden)) + 1e-4


@book.healthy
def gaussian_likelihood_with_two_outputs() -> Problem:
    """A good fit has a negative loss: the density exceeds one where the noise is small."""
    g = data.seeded(14)
    x = 4 * torch.rand(600, 1, generator=g) - 2
    y = torch.sin(2 * x) + (0.02 + 0.15 * x.abs()) * torch.randn(600, 1, generator=g)
    train, held_out = data.split(x, y)
    model = MeanAndVariance()
    return Problem(
        model=model,
        loss=lambda output, target: F.gaussian_nll_loss(output[0], target, output[1]),
        train=data.loader(*train, batch_size=50),
        validation=data.loader(*held_out, batch_size=50),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class FeatureTokenizer(nn.Module):
    """A token a feature, a class token, one transformer layer (Gorishniy et al. 2021)."""

    def __init__(self, features: int, width: int = 24):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features, width).uniform_(-0.2, 0.2))
        self.bias = nn.Parameter(torch.empty(features, width).uniform_(-0.2, 0.2))
        self.class_token = nn.Parameter(torch.empty(1, 1, width).uniform_(-0.2, 0.2))
        self.layer = nn.TransformerEncoderLayer(width, 4, 48, dropout=0.1, batch_first=True, norm_first=True)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, :, None] * self.weight + self.bias
        return self.head(self.layer(torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1))[:, 0])


@book.healthy
def feature_tokenizer_transformer() -> Problem:
    x, price = data.housing()
    train, held_out = data.standardized(*data.split(x, price.log()))
    model = FeatureTokenizer(8)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train, batch_size=50),
        validation=data.loader(*held_out, batch_size=50),
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5),
    )


class BasicBlock(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out)
        self.shortcut = nn.Conv2d(fan_in, fan_out, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(branch + self.shortcut(x))


@book.healthy
def resnet_with_momentum() -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(pixels.float() / 255, labels)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        BasicBlock(8, 16, 2),
        BasicBlock(16, 32, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 3),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=data.loader(*held_out, shuffle=False),
        optimizer=optimizer,
    )


class InvertedResidual(nn.Module):
    """Expand, depthwise, project: the block of MobileNetV2."""

    def __init__(self, channels: int, expansion: int = 4):
        super().__init__()
        hidden = channels * expansion
        self.branch = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


@book.healthy
def mobilenet_with_rmsprop() -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(pixels.float() / 127.5 - 1, labels)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        *[InvertedResidual(8) for _ in range(3)],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, 3),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=48),
        validation=held_out,
        optimizer=torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9, alpha=0.9, eps=1e-3),
    )


class DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)


@book.healthy
def densenet_with_one_cycle() -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        *[DenseLayer(8 + 6 * i, 6) for i in range(3)],
        nn.AvgPool2d(2),
        *[DenseLayer(26 + 6 * i, 6) for i in range(3)],
        nn.BatchNorm2d(44),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(44, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=1000)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=scheduled(optimizer, schedule),
    )


class ConvNeXtBlock(nn.Module):
    """Depthwise 5 x 5, LayerNorm, pointwise MLP, and LayerScale that starts at 1e-6."""

    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.up = nn.Linear(channels, 4 * channels)
        self.down = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        hidden = self.scale * self.down(F.gelu(self.up(hidden)))
        return x + hidden.permute(0, 3, 1, 2)


@book.healthy
def convnext_with_layer_scale() -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(data.imagenet_normalized(pixels), labels)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 2, 2),
        *[ConvNeXtBlock(24) for _ in range(3)],
        nn.Flatten(2),
        MeanOverLast(),
        nn.Linear(24, 3),
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=data.loader(*held_out),
        optimizer=torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.05),
    )


class MeanOverLast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(-1)
