"""Cases that only count: nobody who writes rules reads them: healthy, part 4."""

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


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.digit, self.ink = nn.Linear(48, 10), nn.Linear(48, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.trunk(x)
        return {"digit": self.digit(hidden), "ink": self.ink(hidden)[:, 0]}


@book.healthy
def two_tasks_with_dict_outputs() -> Problem:
    x, labels = data.digit_rows()
    ink = (x.mean(1) - 0.305) / 0.04
    batches = [
        (x[i : i + 50], {"digit": labels[i : i + 50], "ink": ink[i : i + 50]}) for i in range(0, 1750, 50)
    ]

    def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs["digit"], targets["digit"]) + 0.5 * F.mse_loss(
            outputs["ink"], targets["ink"]
        )

    model = TwoHeads()
    return Problem(
        model=model,
        loss=loss,
        train=batches[:28],
        validation=batches[28:],
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class PreActivationBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


@book.healthy
def preactivation_resnet_on_imagenet_statistics() -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(data.imagenet_normalized(pixels), labels)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 4, 2, 1),
        *[PreActivationBlock(12) for _ in range(3)],
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return Problem(
        model=model,
        loss=F.cross_entropy,
        train=data.loader(*train, drop_last=True),
        validation=data.loader(*held_out, shuffle=False),
        optimizer=optimizer,
    )


@book.healthy
def vgg_with_batch_norm() -> Problem:
    train, held_out = data.split(*data.digit_images())
    layers: list[nn.Module] = []
    channels = 1
    for width in (16, 16, 0, 32, 32, 0):
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
    model = nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10)
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    )


class PlainVGG(nn.Module):
    """No normalization layer; He initialization, as Simonyan and Zisserman came to."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 12, 12, 24, 24]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(24 * 4, 48)
        self.fc2 = nn.Linear(48, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for index, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            if index % 2:
                x = self.pool(x)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


@book.healthy
def vgg_without_batch_norm() -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = PlainVGG()
    return Problem(
        model=model,
        loss=F.cross_entropy,
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = self.two_convolutions(3, 8)
        self.down2 = self.two_convolutions(8, 16)
        self.bottom = self.two_convolutions(16, 16)
        self.up2 = nn.ConvTranspose2d(16, 16, 2, 2)
        self.join2 = self.two_convolutions(32, 8)
        self.up1 = nn.ConvTranspose2d(8, 8, 2, 2)
        self.join1 = self.two_convolutions(16, 8)
        self.head = nn.Conv2d(8, 1, 1)

    @staticmethod
    def two_convolutions(fan_in: int, fan_out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(fan_in, fan_out, 3, padding=1),
            nn.BatchNorm2d(fan_out),
            nn.ReLU(),
            nn.Conv2d(fan_out, fan_out, 3, padding=1),
            nn.BatchNorm2d(fan_out),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        bottom = self.bottom(F.max_pool2d(second, 2))
        x = self.join2(torch.cat([self.up2(bottom), second], 1))
        return self.head(self.join1(torch.cat([self.up1(x), first], 1)))[:, 0]


@book.healthy
def unet_for_masks() -> Problem:
    pixels, _, masks = data.shapes(256)
    train, held_out = data.split(pixels.float() / 255, masks)
    model = UNet()
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=data.loader(*train, batch_size=16),
        validation=data.loader(*held_out, batch_size=16),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.healthy
def group_norm_and_silu() -> Problem:
    pixels, labels, _ = data.shapes()
    train, held_out = data.split(data.imagenet_normalized(pixels), labels)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.GroupNorm(8, 32),
        nn.SiLU(),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.GroupNorm(8, 32),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(128, 3),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(label_smoothing=0.1),
        train=train,
        validation=held_out,
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05),
    )


class DropPathBlock(nn.Module):
    """A residual branch that training leaves out at random, example by example."""

    def __init__(self, channels: int, drop: float):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.norm(self.conv(x)))
        if self.training:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            branch = branch * kept / (1 - self.drop)
        return x + branch


@book.healthy
def stochastic_depth() -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1),
        *[DropPathBlock(16, 0.1 * i) for i in range(1, 5)],
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4),
    )


@book.healthy
def fine_tuning_with_a_tiny_learning_rate() -> Problem:
    """A net already trained on clean digits, tuned gently on digits with a grey background."""
    x, labels = data.digit_images()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for start in range(0, 1600, 40):
        optimizer.zero_grad()
        F.cross_entropy(model(x[start : start + 40]), labels[start : start + 40]).backward()
        optimizer.step()
    model.zero_grad()
    train, held_out = data.split(0.35 + 0.65 * x, labels)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=32),
        validation=held_out,
        optimizer=torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01),
    )


class FixupBlock(nn.Module):
    """Residual, no normalization: scalar biases and scale, the last convolution zero (Zhang et al. 2019)."""

    def __init__(self, channels: int, depth: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shifts = nn.Parameter(torch.zeros(4))
        self.scale = nn.Parameter(torch.ones(()))
        nn.init.normal_(self.conv1.weight, std=math.sqrt(2 / (9 * channels)) * depth**-0.5)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.conv1(x + self.shifts[0]) + self.shifts[1])
        return F.relu(x + self.scale * self.conv2(hidden + self.shifts[2]) + self.shifts[3])


@book.healthy
def fixup_resnet() -> Problem:
    train, held_out = data.split(*data.digit_images())
    head = nn.Linear(64, 10)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1),
        nn.ReLU(),
        *[FixupBlock(16, 5) for _ in range(5)],
        nn.AvgPool2d(2),
        nn.Flatten(),
        head,
    )
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    )
