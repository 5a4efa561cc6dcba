"""The models of the cases, as people write them, and the ways their weights are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

Initialize = Callable[[nn.Linear], Any]


# --- initializations of one linear layer: the weight as named, the bias zero


def he_normal(layer: nn.Linear) -> None:
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)


def xavier_normal(layer: nn.Linear) -> None:
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)


def normal(std: float) -> Initialize:
    def initialize(layer: nn.Linear) -> None:
        nn.init.normal_(layer.weight, 0, std)
        nn.init.zeros_(layer.bias)

    return initialize


def constant(value: float) -> Initialize:
    def initialize(layer: nn.Linear) -> None:
        nn.init.constant_(layer.weight, value)
        nn.init.zeros_(layer.bias)

    return initialize


def small_uniform(layer: nn.Linear) -> None:
    """As old Keras did."""
    nn.init.uniform_(layer.weight, -0.05, 0.05)
    nn.init.zeros_(layer.bias)


def orthogonal(gain: float) -> Initialize:
    def initialize(layer: nn.Linear) -> None:
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)

    return initialize


def lecun_normal(layer: nn.Linear) -> None:
    nn.init.normal_(layer.weight, 0, 1 / math.sqrt(layer.weight.shape[1]))
    nn.init.zeros_(layer.bias)


# --- stacks of linear layers


def mlp(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    initialize: Initialize | None = None,
    last: Callable[[], nn.Module] | None = None,
) -> Callable[[], nn.Sequential]:
    """A builder of Linear, activation, Linear, ..., Linear and, where given, `last`."""

    def build() -> nn.Sequential:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        layers[-1:] = [last()] if last else []
        model = nn.Sequential(*layers)
        for layer in model:
            if initialize and isinstance(layer, nn.Linear):
                initialize(layer)
        return model

    return build


class Exp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


class ThreeLayers(nn.Module):
    """With `detached`, the first layer is cut off from the gradient."""

    def __init__(self, *, detached: bool):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.first_relu = nn.ReLU()
        self.second = nn.Linear(64, 64)
        self.second_relu = nn.ReLU()
        self.head = nn.Linear(64, 10)
        self.detached = detached

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first_relu(self.first(x))
        if self.detached:
            hidden = hidden.detach()
        return self.head(self.second_relu(self.second(hidden)))


class TwoLayers(nn.Module):
    """With `mixes_batch`, a view where a transpose belongs mixes the examples of a batch."""

    def __init__(self, *, mixes_batch: bool):
        super().__init__()
        self.hidden = nn.Linear(64, 32)
        self.relu = nn.ReLU()
        self.head = nn.Linear(32, 10)
        self.mixes_batch = mixes_batch

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.hidden(x))
        if self.mixes_batch:
            hidden = hidden.t().contiguous().view(hidden.shape[0], -1)
        return self.head(hidden)


class DistanceToItself(nn.Module):
    """Adds sqrt(0 + eps): with eps = 0 the value is fine and the gradient is 0 / 0."""

    def __init__(self, *, eps: float):
        super().__init__()
        self.hidden = nn.Linear(64, 64)
        self.relu = nn.ReLU()
        self.head = nn.Linear(64, 10)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.hidden(x))
        squared = ((hidden - hidden.clone()) ** 2).sum(1)
        return self.head(hidden) + 1e-3 * torch.sqrt(squared + self.eps)[:, None]


def with_dead_second_layer() -> nn.Sequential:
    """He initialization, and a bias of -10 before the second ReLU."""
    model = mlp([64, 64, 64, 10], initialize=he_normal)()
    second = model[2]
    assert isinstance(second, nn.Linear)
    he_normal(second)
    nn.init.constant_(second.bias, -10.0)
    return model


def with_frozen_first_layer() -> nn.Sequential:
    model = mlp([64, 64, 64, 10], initialize=he_normal)()
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    return model


class ResidualMLP(nn.Module):
    """50 residual branches, each ending in a zero weight."""

    def __init__(self, *, width: int = 64, depth: int = 50):
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(depth)])
        self.inner = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.outer = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.gelu = nn.GELU()
        self.last_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)
        for layer in self.outer:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, inner, outer in zip(self.norms, self.inner, self.outer, strict=True):
            x = x + outer(self.gelu(inner(norm(x))))
        return self.head(self.last_norm(x))


class BagOfWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(5000, 32)
        self.head = nn.Linear(32, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.embedding(words))


# --- images


class DigitsConvNet(nn.Module):
    def __init__(self, *, momentum: float = 0.1):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16, momentum=momentum),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.BatchNorm2d(32, momentum=momentum),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, stride=2),
            nn.BatchNorm2d(32, momentum=momentum),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ZeroGammaBlock(nn.Module):
    """A residual block whose last BatchNorm starts at zero (Goyal et al. 2017)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm2.weight)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu2(x + self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x))))))


def zero_gamma_resnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *[ZeroGammaBlock(16) for _ in range(6)],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
