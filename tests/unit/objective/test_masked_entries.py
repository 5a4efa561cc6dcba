"""A number that stands for "missing" is no fault where the model masks it, and is one where its units only saturate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wellposed as wp

LENGTHS = torch.randint(5, 20, (128,), generator=torch.Generator().manual_seed(0))
REAL = torch.arange(20) < LENGTHS[:, None]
STEPS = torch.rand(128, 20, 2, generator=torch.Generator().manual_seed(1)).masked_fill(~REAL[..., None], -9.0)
CLASSES = (3 * STEPS[:, 0, 0]).long()


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps, self.head = nn.GRU(2, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.steps(packed)[1][0])


class Compared(nn.Module):
    """Finds the padding by its number."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.head = nn.Linear(2, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        real = (x[..., :1] != -9).float()
        return self.head((self.steps(x).relu() * real).sum(1) / real.sum(1))


class Forgotten(nn.Module):
    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.steps, self.unit, self.head = nn.Linear(2, 8), unit, nn.Linear(8, 3)
        nn.init.normal_(self.steps.weight, std=10.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.unit(self.steps(x)).mean(1))


@pytest.mark.parametrize(
    ("build", "inputs", "masked"),
    [
        (Packed, {"x": STEPS, "lengths": LENGTHS}, True),
        (Compared, STEPS, True),
        (lambda: Forgotten(nn.Identity()), STEPS, False),
        (lambda: Forgotten(nn.Tanh()), STEPS, False),  # no gradient comes through either
        (lambda: Forgotten(nn.Hardsigmoid()), STEPS, False),
    ],
)
def test_what_the_model_masks_is_not_accused(build: Any, inputs: Any, masked: bool) -> None:
    torch.manual_seed(0)
    report = wp.check(build(), F.cross_entropy, (inputs, CLASSES), select="WP115")
    measured: Any = report.measurements["input"]
    assert measured.sentinels
    assert measured.sentinels_masked == masked
    assert report.codes == (() if masked else ("WP115",))
