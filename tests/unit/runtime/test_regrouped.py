"""Views that regroup numbers where axes were to change places, beside the many that are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed.problem import Problem
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.regrouped import Exchanging
from wellposed.runtime.torch.session import Runner, main_tensor
from wellposed.runtime.torch.trace import trace

N, T, C, H, W, HEADS = 5, 6, 8, 4, 4, 2


class Rearranges(nn.Module):
    def __init__(self, rearranged: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.rearranged = rearranged

    def forward(self, x: Tensor) -> Any:
        return self.rearranged(x)


def views(rearranged: Callable[[Tensor], Any], *shape: int) -> int:
    runner = Runner(Problem(model=Rearranges(rearranged), loss=lambda outputs, _: main_tensor(outputs).sum()))
    batch = Batch(args=(torch.randn(shape),), targets=torch.zeros(N))
    return len(trace(runner, [batch], seed=0).regrouping)


def exchanged(rearranged: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    problem = Problem(model=Rearranges(rearranged), loss=F.mse_loss)
    return Exchanging(problem).outputs(Batch(args=(x,), targets=torch.zeros(N)))


REGROUPING = {
    "pictures": ((N, H, 6, 3), lambda x: x.view(N, 3, H, 6), lambda x: x.permute(0, 3, 1, 2)),
    "square pictures": ((N, H, W, 3), lambda x: x.reshape(N, 3, H, W), lambda x: x.permute(0, 3, 1, 2)),
    "sequences": ((N, T, C), lambda x: torch.reshape(x, (N, C, T)), lambda x: x.transpose(1, 2)),
    "heads": (
        (N, T, C),
        lambda x: x.view(N, HEADS, T, C // HEADS),
        lambda x: x.view(N, T, HEADS, -1).transpose(1, 2),
    ),
    "heads joined": (
        (N, HEADS, T, C),
        lambda x: x.reshape(N, T, HEADS * C),
        lambda x: x.transpose(1, 2).reshape(N, T, -1),
    ),
    "pictures to tokens": (
        (N, C, H, 6),
        lambda x: x.view(N, H * 6, C),
        lambda x: x.flatten(2).transpose(1, 2),
    ),
    "tokens to pictures": (
        (N, H * 6, C),
        lambda x: x.view(N, C, H, 6),
        lambda x: x.transpose(1, 2).reshape(N, C, H, 6),
    ),
}


def relative_shift(x: Tensor) -> Tensor:
    """Of scores of relative positions, (N, heads, queries, keys), as Transformer-XL does it."""
    padded = F.pad(x.requires_grad_(), (1, 0))
    return padded.view(*x.shape[:2], x.shape[3] + 1, x.shape[2])[:, :, 1:].view_as(x)


def windows(x: Tensor) -> Tensor:
    parts = x.view(N, 2, H // 2, 2, W // 2, 3).permute(0, 1, 3, 2, 4, 5)
    back = parts.reshape(N, 2, 2, H // 2, W // 2, 3).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(-1, H * W // 4, 3).sum() + back.reshape(N, H, W, 3)


MEANT = {
    "heads": ((N, T, C), lambda x: x.view(N, T, HEADS, -1).transpose(1, 2).reshape(N * HEADS, T, -1)),
    "heads joined": ((N, HEADS, T, C), lambda x: x.transpose(1, 2).reshape(N, T, -1)),
    "fused projections": ((N, T, 3 * C), lambda x: x.view(N, T, 3, HEADS, -1).permute(2, 0, 3, 1, 4)),
    "as many heads as positions": ((N, HEADS, C), lambda x: x.view(N, HEADS, HEADS, C // HEADS)),
    "windows": ((N, H, W, 3), windows),
    "patches": (
        (N, 3, 8, 8),
        lambda x: x.view(N, 3, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(N, 4, 48),
    ),
    "pixel shuffle": (
        (N, 12, H, W),
        lambda x: x.view(N, 3, 2, 2, H, W).permute(0, 1, 4, 2, 5, 3).reshape(N, 3, 8, 8),
    ),
    "pixel shuffle of torch": ((N, 12, H, W), lambda x: F.pixel_shuffle(x, 2)),
    "shuffled channels": (
        (N, 12, H, W),
        lambda x: x.view(N, 3, 4, H, W).transpose(1, 2).reshape(N, 12, H, W),
    ),
    "groups": ((N, 12, H, W), lambda x: x.view(N, 3, -1).var(2)),
    "flat and back": ((N, H, W, 3), lambda x: x.view(N, -1).view(N, H, W, 3)),
    "tokens": ((N, C, H, 6), lambda x: x.flatten(2).transpose(1, 2)),
    "pictures": ((N, H, 6, 3), lambda x: x.permute(0, 3, 1, 2)),
    "an axis of one": ((N, 28, 28, 1), lambda x: x.view(N, 1, 28, 28)),
    "time into the batch": ((N, T, 3, H, W), lambda x: x.view(N * T, 3, H, W).mean((2, 3)).view(N, T, 3)),
    "points": ((N, T * 3), lambda x: x.view(N, T, 3)),
    "blocks of time": ((N, 12, C), lambda x: x.view(N, 4, 3, C).mean(2)),
    "relative shift": ((N, HEADS, T, T), relative_shift),
    "mixed over columns": ((N, T, C), lambda x: x.reshape(N * T, C).reshape(N, T, C)),
    "one-hot sides": ((N, 64, 9), lambda x: x.view(N, 64, 3, 3)),
}


@pytest.mark.parametrize("name", REGROUPING)
def test_a_view_that_regroups_is_seen_and_exchanged(name: str) -> None:
    shape, view, meant = REGROUPING[name]
    x = torch.randn(shape)
    assert views(view, *shape) == 1
    assert torch.equal(exchanged(view, x), meant(x))


@pytest.mark.parametrize("name", MEANT)
def test_views_that_are_meant_are_left_alone(name: str) -> None:
    shape, view = MEANT[name]
    assert views(view, *shape) == 0
