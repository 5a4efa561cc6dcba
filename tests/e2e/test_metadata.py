"""Batches carry what no one trains on: row numbers, time stamps. They are no inputs that a model ignores."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wellposed as wp

ROWS = 96


def batches() -> list[dict[str, Tensor]]:
    x = torch.randn(ROWS, 8, generator=torch.Generator().manual_seed(0))
    columns = {
        "features": x,
        "grade": x[:, :3].argmax(1),
        "row": torch.arange(ROWS),
        "stamp": 1.6e9 + torch.arange(ROWS).double(),
    }
    return [{k: v[i : i + 24] for k, v in columns.items()} for i in range(0, ROWS, 24)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, features: Tensor) -> Tensor:
        return self.net(features)


class Picking(Net):
    """Takes the whole batch, and of it what it needs."""

    def forward(self, sample: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.net(sample["features"])


class Forgetting(Net):
    """Asks for the row, and does not use it."""

    def forward(self, features: Tensor, row: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.net(features)


def graded(outputs: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(outputs, batch["grade"])


def counted(model: nn.Module) -> list[tuple[str, str]]:
    report = wp.check(model, graded, batches())
    return [(f.code, f.where) for f in report.findings if f.severity is not wp.Severity.NOTE]


def test_what_the_model_never_gets_is_not_ignored_by_it() -> None:
    assert counted(Net()) == []


def test_what_a_model_leaves_in_its_batch_is_a_note() -> None:
    assert counted(Picking()) == []


def test_an_argument_that_changes_nothing_counts() -> None:
    assert counted(Forgetting()) == [("WP605", "row")]
