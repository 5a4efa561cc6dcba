"""Small training problems of many architectures, for benchmarks that train them in earnest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

ROWS, BATCH = 512, 32
Make = Callable[[], tuple[nn.Module, Callable[..., torch.Tensor], torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class SmallProblem:
    model: nn.Module
    loss: Callable[..., torch.Tensor]
    x: torch.Tensor
    y: torch.Tensor


class Last(nn.Module):
    """A recurrent layer, read at its last step."""

    def __init__(self, recurrent: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


class Residual(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


class Transformer(nn.Module):
    def __init__(self, width: int, outputs: int, *, norm_first: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=norm_first
        )
        self.inputs = nn.Linear(8, width)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.inputs(x)).mean(1))


def mlp(inputs: int, *widths: int, activation: type[nn.Module], norm: type[nn.Module] | None = None) -> Any:
    layers: list[nn.Module] = []
    for a, b in zip((inputs, *widths), widths, strict=False):
        layers += [nn.Linear(a, b), *([] if norm is None else [norm(b)]), activation()]
    return nn.Sequential(*layers[:-1]) if norm is None else nn.Sequential(*layers[:-2])


def _rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(seed))


def _classes(x: torch.Tensor, classes: int, *, noise: float = 0.5) -> torch.Tensor:
    """Of a random nonlinear map, with some noise."""
    flat = x.flatten(1)
    generator = torch.Generator().manual_seed(7)
    a = torch.randn(flat.shape[1], 16, generator=generator) / math.sqrt(flat.shape[1])
    scores = torch.tanh(2 * flat @ a) @ torch.randn(16, classes, generator=generator)
    return (scores + noise * torch.randn(scores.shape, generator=generator)).argmax(1)


def _values(x: torch.Tensor, *, noise: float = 0.1) -> torch.Tensor:
    flat = x.flatten(1)
    generator = torch.Generator().manual_seed(8)
    a = torch.randn(flat.shape[1], 16, generator=generator) / math.sqrt(flat.shape[1])
    y = torch.sin(2 * flat @ a) @ torch.randn(16, 1, generator=generator) / 2
    return y + noise * torch.randn(y.shape, generator=generator)


def _convolutional(outputs: int, *, norm: bool) -> nn.Module:
    def block(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, padding=1), *([nn.BatchNorm2d(b)] if norm else []), nn.ReLU()]

    return nn.Sequential(
        *block(3, 16), nn.MaxPool2d(2), *block(16, 16), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(64, outputs),
    )  # fmt: skip


def _residual(outputs: int) -> nn.Module:
    blocks = [
        Residual(nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)))
        for _ in range(4)
    ]
    return nn.Sequential(nn.Linear(16, 32), *blocks, nn.LayerNorm(32), nn.Linear(32, outputs))


_MODELS: dict[str, tuple[Callable[[int], nn.Module], Callable[[], torch.Tensor]]] = {
    "mlp_tanh": (lambda k: mlp(16, 64, 64, k, activation=nn.Tanh), lambda: _rows(16)),
    "mlp_relu": (lambda k: mlp(16, 64, 64, 64, k, activation=nn.ReLU), lambda: _rows(16)),
    "mlp_sigmoid": (lambda k: mlp(16, 32, 32, 32, 32, k, activation=nn.Sigmoid), lambda: _rows(16)),
    "mlp_batchnorm": (
        lambda k: mlp(16, 64, 64, k, activation=nn.ReLU, norm=nn.BatchNorm1d),
        lambda: _rows(16),
    ),
    "conv": (lambda k: _convolutional(k, norm=False), lambda: _rows(3, 8, 8)),
    "conv_batchnorm": (lambda k: _convolutional(k, norm=True), lambda: _rows(3, 8, 8)),
    "residual": (_residual, lambda: _rows(16)),
    "transformer": (lambda k: Transformer(32, k), lambda: _rows(12, 8)),
    "transformer_postnorm": (lambda k: Transformer(32, k, norm_first=False), lambda: _rows(12, 8)),
    "lstm": (lambda k: Last(nn.LSTM(8, 32, batch_first=True), 32, k), lambda: _rows(12, 8)),
    "gru": (lambda k: Last(nn.GRU(8, 32, batch_first=True), 32, k), lambda: _rows(12, 8)),
}
MODELS = tuple(_MODELS)
LOSSES: dict[str, tuple[int, Callable[..., torch.Tensor]]] = {
    "cross_entropy": (4, F.cross_entropy),
    "mse": (1, F.mse_loss),
    "huber": (1, F.smooth_l1_loss),
}
OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "SGD": lambda p, rate: torch.optim.SGD(p, lr=rate),
    "momentum": lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9),
    "Adam": lambda p, rate: torch.optim.Adam(p, lr=rate),
    "AdamW": lambda p, rate: torch.optim.AdamW(p, lr=rate),
}


def small_problem(model: str, loss: str, *, seed: int = 0) -> SmallProblem:
    """A problem by the names of `MODELS` and `LOSSES`."""
    make, rows = _MODELS[model]
    outputs, function = LOSSES[loss]
    x = rows()
    y = _classes(x, outputs) if loss == "cross_entropy" else _values(x)
    torch.manual_seed(seed)
    return SmallProblem(make(outputs), function, x, y)
