"""The parts that the cases of the rules are built from: small data, and models with one fault each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed import Problem

ROWS, FEATURES, CLASSES = 96, 8, 3
Optimizing = Callable[[nn.Module], torch.optim.Optimizer]


def sgd(rate: float = 0.1, **options: Any) -> Optimizing:
    return lambda model: torch.optim.SGD(model.parameters(), lr=rate, **options)


def adam(rate: float = 1e-2) -> Optimizing:
    return lambda model: torch.optim.Adam(model.parameters(), lr=rate)


def inputs(rows: int = ROWS, features: int = FEATURES, *, seed: int = 0) -> Tensor:
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(seed))


def classes_of(x: Tensor) -> Tensor:
    return x[:, :CLASSES].argmax(1)


def signs_of(x: Tensor) -> Tensor:
    return (x[:, :1] > 0).float()


def sums_of(x: Tensor) -> Tensor:
    return (x[:, :2].sum(1, keepdim=True)) / 2**0.5


def problem(
    model: Callable[[], Any] | None = None,
    loss: Any = F.cross_entropy,
    data: tuple[Any, Any] | None = None,
    *,
    optimizer: Optimizing | None = None,
    **options: Any,
) -> Problem:
    """A problem whose parts are sound unless they are given; the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = (model or mlp())()
    x = inputs()
    return Problem(
        model=built,
        loss=loss,
        train=data or (x, classes_of(x)),
        optimizer=(optimizer or sgd())(built),
        **options,
    )


def regression(
    model: Callable[[], Any] | None = None, *, scale: float = 1.0, rows: int = 400, **options: Any
) -> Problem:
    x = inputs(rows)
    return problem(
        model or mlp(FEATURES, 16, 1), F.mse_loss, (x, scale * sums_of(x)), **{"optimizer": adam(), **options}
    )


def mlp(
    *sizes: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    draw: Callable[[Tensor], Any] | None = None,
    last: Callable[[], nn.Module] | None = None,
) -> Callable[[], nn.Sequential]:
    """A builder of Linear, activation, ..., Linear and, where given, `last`; with `draw` the biases are zero."""

    def build() -> nn.Sequential:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes or (FEATURES, 32, 32, CLASSES)):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        model = nn.Sequential(*layers[:-1], *([last()] if last else []))
        for layer in model:
            if draw and isinstance(layer, nn.Linear):
                draw(layer.weight)
                nn.init.zeros_(layer.bias)
        return model

    return build


def normal(std: float) -> Callable[[Tensor], Tensor]:
    return lambda weight: nn.init.normal_(weight, std=std)


def constant(value: float) -> Callable[[Tensor], Tensor]:
    return lambda weight: nn.init.constant_(weight, value)


def changed(build: Callable[[], nn.Sequential], change: Callable[[Any], Any]) -> Callable[[], nn.Sequential]:
    """A builder of the same model after one change."""

    def rebuild() -> nn.Sequential:
        model = build()
        with torch.no_grad():
            change(model)
        return model

    return rebuild


def with_middle(layer: Callable[[], nn.Module]) -> Callable[[], nn.Sequential]:
    """A builder of Linear, the layer, Linear."""
    return lambda: nn.Sequential(nn.Linear(FEATURES, 32), layer(), nn.Linear(32, CLASSES))


class Applied(nn.Module):
    """A function of one tensor as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def applying(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Sequential]:
    return with_middle(lambda: Applied(function))


class TwoViews(nn.Module):
    """Logits of one view, and the features of both."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.head(self.body(one)), self.body(one), self.body(other)


class Variational(nn.Module):
    """The input again, and mean and log-variance of its code."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_var = nn.Linear(FEATURES, 4), nn.Linear(FEATURES, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, FEATURES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.mean(x), self.log_var(x)
        code = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        return self.decoder(code), mean, log_var


class TwoHeads(nn.Module):
    """Logits and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU())
        self.kind, self.value = nn.Linear(32, CLASSES), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.body(x)
        return self.kind(h), self.value(h)


class TwoInputs(nn.Module):
    def __init__(self, *, uses_second: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(FEATURES, 16), nn.Linear(4, 16)
        self.head = nn.Linear(16, CLASSES)
        self.uses_second = uses_second

    def forward(self, x: Tensor, extra: Tensor) -> Tensor:
        hidden = self.first(x)
        return self.head(torch.tanh(hidden + self.second(extra) if self.uses_second else hidden))


class Cubed(torch.autograd.Function):
    """x³ with its derivative times `factor`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x**3

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return ctx.factor * 3 * ctx.saved_tensors[0] ** 2 * grad_outputs[0], None


class Rounded(torch.autograd.Function):
    """A straight-through estimator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return grad_outputs[0]


class InsideTheModelOnly(torch.autograd.Function):
    """Reads a setting that its layer makes for the duration of a call."""

    setting: list[float] = []  # noqa: RUF012

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * InsideTheModelOnly.setting[-1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return grad_outputs[0] * 2.0


def needing_its_layer(x: Tensor) -> Tensor:
    InsideTheModelOnly.setting.append(2.0)
    try:
        return InsideTheModelOnly.apply(x)
    finally:
        InsideTheModelOnly.setting.pop()
