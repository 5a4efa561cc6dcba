"""Ordinary code that is easy to misread: what people write, checked without a false word and without a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wellposed as wp
from wellposed.signals.result import TrainingProfile

X = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
CLASSES = X[:, :4].argmax(1)
CODES = torch.randint(0, 1000, (512, 10), generator=torch.Generator().manual_seed(1))


def mlp(fan_out: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, fan_out))


class TimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][-1])


def time_first() -> wp.Problem:
    batches = [(torch.randn(12, 16, 4), torch.randint(3, (16,))) for _ in range(12)]
    return wp.Problem(model=TimeFirst(), loss=F.cross_entropy, train=batches)


def squeezed(scale: float = 1.0) -> wp.Problem:
    return wp.Problem(
        model=mlp(1),
        loss=lambda o, t: F.mse_loss(o.squeeze(-1), t),
        train=(X, scale * (X[:, 0] + 7 * (scale > 1))),
    )


def contrastive() -> wp.Problem:
    def loss(distance: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
        return (same * distance**2 + (1 - same) * F.relu(1 - distance) ** 2).mean()

    return wp.Problem(model=mlp(1), loss=loss, train=(X, (X[:, :1] > 0).float()))


def rare_words() -> wp.Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.EmbeddingBag(50_000, 8), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    codes = torch.randint(0, 50_000, (512, 10), generator=torch.Generator().manual_seed(1))
    return wp.Problem(
        model=model,
        loss=F.cross_entropy,
        train=(codes, CLASSES),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


def sparse_embedding() -> wp.Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(1000, 8, sparse=True), nn.Flatten(), nn.Linear(80, 4))
    return wp.Problem(model=model, loss=F.cross_entropy, train=(CODES, CLASSES))


def half_precision() -> wp.Problem:
    return wp.Problem(model=mlp(1).bfloat16(), loss=F.mse_loss, train=(X.bfloat16(), X[:, :1].bfloat16()))


def large_codes() -> wp.Problem:
    targets = (X[:, 0] * 1e11 + 5e11).long()
    return wp.Problem(
        model=mlp(1), loss=lambda o, t: F.mse_loss(o[:, 0], t.float() / 1e12), train=(X, targets)
    )


def some_ignored() -> wp.Problem:
    targets = torch.where(torch.arange(512) % 9 == 0, 255, CLASSES)
    return wp.Problem(model=mlp(4), loss=nn.CrossEntropyLoss(ignore_index=255), train=(X, targets))


@pytest.mark.parametrize(
    "build",
    [
        time_first,
        squeezed,
        contrastive,
        rare_words,
        sparse_embedding,
        half_precision,
        large_codes,
        some_ignored,
    ],
)
def test_ordinary_code_gets_no_error(build: Callable[[], wp.Problem]) -> None:
    report = wp.check(build())
    assert not report.errors, str(report)


def test_outputs_that_broadcast_against_targets_are_the_wrong_loss_input() -> None:
    report = wp.check(mlp(1), lambda o, t: ((o - t) ** 2).mean(), (X, X[:, 0]))
    assert report.codes[0] == "WP506"


def test_flat_targets_of_a_large_scale_are_seen() -> None:
    problem = squeezed(3e4)
    optimizer = torch.optim.Adam(problem.model.parameters(), lr=1e-2)
    report = wp.check(problem.model, problem.loss, problem.train, optimizer=optimizer)
    assert report.codes == ("WP505",)


def test_a_softmax_is_seen_beside_ignored_labels() -> None:
    problem = some_ignored()
    report = wp.check(nn.Sequential(problem.model, nn.Softmax(1)), problem.loss, problem.train)
    assert report.codes[0] == "WP501"


def test_a_shuffling_loader_gives_the_same_report_for_the_same_seed() -> None:
    def losses(seed: int) -> Any:
        model = mlp(4)
        torch.manual_seed(seed)
        data = torch.utils.data.TensorDataset(X, CLASSES)
        loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
        return wp.check(model, F.cross_entropy, loader).measurements["training"].outcome

    assert losses(1) == losses(2)


class Predictor:
    """Not a module, but holds one."""

    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
        self.calls = 0

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.net(x)


def test_a_plain_object_that_holds_the_modules_is_left_alone_too() -> None:
    predictor = Predictor()
    before = {name: t.tolist() for name, t in predictor.net.state_dict().items()}
    report = wp.check(predictor.predict, F.cross_entropy, (X, CLASSES))
    assert "training" in report.measurements
    assert isinstance(report.measurements["training"], TrainingProfile)
    assert {name: t.tolist() for name, t in predictor.net.state_dict().items()} == before
    assert predictor.calls == 0
    assert all(p.grad is None for p in predictor.net.parameters())


NET = mlp(4)


def encode(x: torch.Tensor) -> torch.Tensor:
    return NET(x)


def test_a_function_that_calls_a_function_is_left_alone_too() -> None:
    wp.check(lambda x: encode(x), F.cross_entropy, (X, CLASSES))
    assert all(p.grad is None for p in NET.parameters())


def test_an_optimizer_that_steps_in_the_backward_pass_does_not_step_here() -> None:
    model = mlp(4)
    optimizers = {p: torch.optim.Adam([p]) for p in model.parameters()}

    def step(parameter: Any) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    report = wp.check(model, F.cross_entropy, (X, CLASSES))
    assert report.ok, str(report)
    assert not any(optimizer.state for optimizer in optimizers.values())
    assert all(len(p._post_accumulate_grad_hooks or {}) == 1 for p in model.parameters())


def test_a_loss_that_pairs_outputs_and_targets_is_seen_to_do_so() -> None:
    report = wp.check(mlp(3), F.cross_entropy, (X, X[:, :3].argmax(1)))
    assert not report.measurements["objective"].pairing_ignored
    assert "WP109" in report.passed
