"""Each residual branch beside its trunk."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.signals import ResidualSum

WIDTH = 64


class Block(nn.Module):
    def __init__(self, scale: float, *, in_place: bool = False) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH, bias=False)
        self.in_place = in_place
        nn.init.orthogonal_(self.inner.weight)
        with torch.no_grad():
            self.inner.weight.mul_(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.in_place:
            y = self.inner(x)
            y += x
            return y
        return x + self.inner(x)


def measured(*blocks: nn.Module) -> tuple[ResidualSum, ...]:
    x = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(*blocks, nn.Linear(WIDTH, 1))
    return wp.measure_signals(model, F.mse_loss, (x, x[:, :1])).residuals


@pytest.mark.parametrize("in_place", [False, True])
def test_a_branch_is_as_large_beside_its_trunk_as_it_is_scaled(in_place: bool) -> None:
    first, second = measured(Block(0.5, in_place=in_place), Block(3.0, in_place=in_place))
    assert (first.ratio, second.ratio) == pytest.approx((0.5, 3.0), rel=1e-3)
    assert (first.where, second.where) == ("0", "1")


def test_a_branch_that_starts_at_zero_has_ratio_zero() -> None:
    (found,) = measured(Block(0.0))
    assert found.ratio == 0


def test_a_sum_of_two_tensors_side_by_side_is_no_residual_sum() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + self.b(x)

    assert measured(Beside()) == ()


def test_both_branches_of_a_transformer_layer_are_seen() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, dropout=0.0, batch_first=True)
    x = torch.randn(16, 5, WIDTH)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(5 * WIDTH, 1))
    found = wp.measure_signals(model, F.mse_loss, (x, x[:, 0, :1])).residuals
    assert len(found) == 2
    assert all(0 < s.ratio < 1 for s in found)
