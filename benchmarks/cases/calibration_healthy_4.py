"""Cases that the rules may be tuned on: healthy, part 4."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from wellposed import Problem

from . import data
from .book import Book, scheduled

book = Book()


class VisionTransformer(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.empty(1, 17, width).normal_(std=0.02))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], 1) + self.position
        return self.head(self.norm(self.encoder(tokens)[:, 0]))


@book.healthy
def vit_with_class_token_and_zero_head() -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(pixels.float() / 127.5 - 1, labels)
    model = VisionTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 50))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=24),
        validation=data.loader(*held_out, batch_size=24),
        optimizer=scheduled(optimizer, schedule),
    )


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excite = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm(self.conv(x)))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(hidden.mean((2, 3))))))
        return x + hidden * gate[:, :, None, None]


@book.healthy
def squeeze_and_excitation() -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        SqueezeExcite(16),
        nn.MaxPool2d(2),
        SqueezeExcite(16),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    return Problem(
        model=model,
        loss=F.cross_entropy,
        train=data.loader(*train, batch_size=50),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4),
    )


@book.healthy
def lenet_with_tanh_and_average_pooling() -> Problem:
    x, labels = data.digit_images()
    train, held_out = data.split((x - 0.305) / 0.376, labels)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(64, 40),
        nn.Tanh(),
        nn.Linear(40, 10),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.over_tokens = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.over_width = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.over_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.over_width(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 2, 2)
        self.blocks = nn.Sequential(*[MixerBlock(16, 32) for _ in range(3)])
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


@book.healthy
def mlp_mixer() -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = Mixer()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64, drop_last=True),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.99)),
    )


class Inception(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.one = nn.Conv2d(channels, 8, 1)
        self.three = nn.Sequential(nn.Conv2d(channels, 6, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 5, padding=2))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(channels, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(torch.cat([branch(x) for branch in (self.one, self.three, self.five, self.pool)], 1))


@book.healthy
def inception_branches() -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(pixels.float() / 255, labels)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        Inception(16),
        nn.MaxPool2d(2),
        Inception(32),
        nn.Flatten(),
        nn.Linear(512, 3),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=40),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    )


def digits_backbone() -> nn.Sequential:
    """Trained a little on the digits 0 to 4, as a stand-in for pretrained weights."""
    x, labels = data.digit_images()
    low = labels < 5
    backbone = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
    )
    model = nn.Sequential(backbone, nn.Linear(128, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(x[low][:128]), labels[low][:128]).backward()
        optimizer.step()
    model.zero_grad()
    return backbone


@book.healthy
def frozen_backbone_with_a_new_head() -> Problem:
    train, held_out = data.split(*data.digit_images())
    backbone = digits_backbone().requires_grad_(False)
    head = nn.Linear(128, 10)
    return Problem(
        model=nn.Sequential(backbone, head),
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.AdamW(head.parameters(), lr=5e-3),
    )


@book.healthy
def fine_tuning_with_two_learning_rates() -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(data.imagenet_normalized(pixels), labels)
    backbone = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
    )
    masks_first = nn.Linear(96, 1)
    warm_up = torch.optim.Adam([*backbone.parameters(), *masks_first.parameters()], lr=3e-3)
    area = data.shapes()[2].mean((1, 2))[:, None] * 10
    for start in range(0, 480, 48):
        warm_up.zero_grad()
        chosen = slice(start, start + 48)
        F.mse_loss(masks_first(backbone(data.imagenet_normalized(pixels[chosen]))), area[chosen]).backward()
        warm_up.step()
    backbone.zero_grad()
    head = nn.Sequential(nn.Linear(96, 32), nn.ReLU(), nn.Linear(32, 3))
    return Problem(
        model=nn.Sequential(backbone, head),
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train),
        validation=data.loader(*held_out),
        optimizer=torch.optim.AdamW(
            [{"params": backbone.parameters(), "lr": 2e-5}, {"params": head.parameters(), "lr": 2e-3}]
        ),
    )


@book.healthy
def streamed_batches_for_a_maxout_net() -> Problem:
    class Stream(IterableDataset):
        """Digits one at a time, in the same order each epoch."""

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            x, labels = data.digit_rows()
            yield from zip(x[:1400], labels[:1400], strict=True)

    class Maxout(nn.Module):
        def __init__(self, fan_in: int, fan_out: int):
            super().__init__()
            self.linear = nn.Linear(fan_in, 3 * fan_out)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x).unflatten(1, (3, -1)).amax(1)

    x, labels = data.digit_rows()
    model = nn.Sequential(Maxout(64, 40), Maxout(40, 40), nn.Linear(40, 10))
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=DataLoader(Stream(), batch_size=50),
        validation=(x[1400:], labels[1400:]),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )
