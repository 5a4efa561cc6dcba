"""Mean-field predictions: exact where the theory is, close where widths are finite, absent where it says nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import wellposed as wp
from wellposed.signals import PredictedSignal

WIDTH, DEPTH = 256, 12


def dense(weight: float, bias: float = 0.0) -> nn.Linear:
    layer = nn.Linear(WIDTH, WIDTH)
    nn.init.normal_(layer.weight, std=math.sqrt(weight / WIDTH))
    nn.init.normal_(layer.bias, std=math.sqrt(bias))
    return layer


def chain(*after: Callable[[], nn.Module], weight: float = 2.0, bias: float = 0.0) -> nn.Sequential:
    return nn.Sequential(
        *(layer for _ in range(DEPTH) for layer in (dense(weight, bias), *(make() for make in after)))
    )


class Sum(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


def product(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs * targets).flatten(1).sum(1).mean()


def predicted(model: nn.Module, *shape: int) -> tuple[PredictedSignal, ...]:
    x = torch.randn(32, *(shape or (WIDTH,)))
    with torch.no_grad():
        y = torch.randn_like(model(x))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    return wp.measure_signals(model, product, [(x, y)], optimizer=optimizer).mean_field


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tanh": lambda: chain(nn.Tanh, bias=0.05),
    "relu": lambda: chain(nn.ReLU),
    "relu in place": lambda: chain(lambda: nn.ReLU(inplace=True)),
    "leaky": lambda: chain(lambda: nn.LeakyReLU(0.3), weight=1.8),
    "selu": lambda: chain(nn.SELU, weight=1.0),
    "sigmoid": lambda: chain(nn.Sigmoid, bias=0.1),
    "dropout": lambda: chain(nn.Tanh, lambda: nn.Dropout(0.3)),
    "layer norm": lambda: chain(lambda: nn.LayerNorm(WIDTH), nn.GELU),
    "residual": lambda: nn.Sequential(
        *(Sum(nn.Sequential(nn.LayerNorm(WIDTH), dense(2.0), nn.ReLU(), dense(2.0))) for _ in range(6))
    ),
    "a branch that ends in relu": lambda: nn.Sequential(
        *(Sum(nn.Sequential(dense(0.3), nn.ReLU())) for _ in range(6))
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_was_measured_lies_within_the_band_of_the_prediction(name: str) -> None:
    torch.manual_seed(0)
    found = predicted(MODELS[name]())
    assert len(found) >= 6
    for signal in found:
        assert 1 / signal.band <= signal.measured_rms / signal.rms <= signal.band, signal
        assert signal.band < 3


@pytest.mark.parametrize("name", ["tanh", "relu", "selu", "sigmoid", "layer norm", "residual"])
def test_the_gradient_is_predicted_from_the_end_to_the_start(name: str) -> None:
    torch.manual_seed(0)
    first = predicted(MODELS[name]())[0]
    assert first.gradient_rms is not None
    assert first.measured_gradient_rms is not None
    assert abs(math.log10(first.gradient_rms / first.measured_gradient_rms)) < 0.3


@pytest.mark.parametrize("stride", [1, 2])
def test_the_zeros_around_an_image_are_counted(stride: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(128, 128, 3, padding=1, stride=stride, bias=False) for _ in range(3)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=math.sqrt(1 / (9 * 128)))
    found = predicted(nn.Sequential(*layers), 128, 8, 8)
    ratios = [s.measured_rms / s.rms for s in found]
    assert ratios == pytest.approx([1, 1, 1], rel=0.1)
    assert found[-1].rms < 0.85


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 4, padding="same"),
        nn.Conv2d(16, 16, 3, padding="valid"),
        nn.Conv2d(16, 16, 3, padding="same", dilation=2),
        nn.Conv2d(16, 32, (1, 5), padding=(0, 2), stride=(1, 3)),
        nn.Conv2d(16, 16, 3, groups=4, stride=3, padding=2),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(16, 16, 3, stride=2),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(16, 16, 3, padding=1)),
        nn.Sequential(nn.Unflatten(1, (4, 4)), nn.Conv3d(4, 4, 3, padding=1)),
        nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(4, 4, 3, padding=1)),
    ],
    ids=lambda layer: str(layer).replace("\n", "")[:60],
)
def test_convolutions_of_all_kinds_are_followed_or_left_out(layer: nn.Module) -> None:
    torch.manual_seed(0)
    for signal in predicted(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), layer), 16, 9, 8):
        assert 1 / signal.band <= signal.measured_rms / signal.rms <= signal.band, signal


def test_a_norm_over_one_output_is_exact() -> None:
    torch.manual_seed(0)
    found = predicted(nn.Sequential(nn.LayerNorm(WIDTH), dense(1.0), nn.LayerNorm(WIDTH), dense(1.0)))
    assert [s.depth for s in found] == [1, 2]


def test_what_the_theory_does_not_know_starts_it_again() -> None:
    class Softmax(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.softmax(-1)

    torch.manual_seed(0)
    found = predicted(nn.Sequential(dense(1.0), nn.Tanh(), dense(1.0), Softmax(), dense(1.0)))
    assert [s.depth for s in found] == [1, 2, 1]


def test_weights_that_lean_to_one_side_are_left_out() -> None:
    model = chain(nn.Tanh)
    nn.init.constant_(model[2].weight, 0.1)
    assert [s.depth for s in predicted(model)][:3] == [1, 1, 2]


def test_weights_scaled_in_forward_are_not_those_of_the_parameter() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = dense(1.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, 3 * self.inner.weight)

    found = predicted(nn.Sequential(dense(1.0), Scaled(), dense(1.0)))
    assert all(s.measured_rms == pytest.approx(s.rms, rel=0.2) for s in found)


def test_a_report_keeps_the_predictions() -> None:
    x = torch.randn(64, WIDTH)
    report = wp.check(
        nn.Sequential(dense(2.0), nn.ReLU(), nn.Linear(WIDTH, 1)), nn.functional.mse_loss, (x, x[:, :1])
    )
    again: Any = wp.Report.from_json(report.to_json()).measurements["signal"]
    assert again.mean_field == report.measurements["signal"].mean_field != ()
