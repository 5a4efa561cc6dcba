"""Steps until a weight has moved by 1 %: on paths whose answer is known, and against training in earnest."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.runtime.steps_to_move import Path, steps_to_move


def path_of(steps: np.ndarray) -> Path:
    """The path of a parameter of norm 1 that takes these steps, one a row."""
    half = len(steps) // 2
    first, second = steps[:half].sum(0), steps[half:].sum(0)
    return Path(
        half=half, steps=len(steps), first_step=float(np.linalg.norm(steps[0])),
        first_half=float(np.linalg.norm(first)), second_half=float(np.linalg.norm(second)), along=float(first @ second),
    )  # fmt: skip


def test_a_drift_grows_with_the_steps() -> None:
    assert steps_to_move(path_of(np.full((30, 4), 5e-6))) == pytest.approx(1000)


def test_noise_grows_with_the_root_of_the_steps() -> None:
    noise = np.random.default_rng(0).standard_normal((30, 10_000)) * 1e-6
    assert steps_to_move(path_of(noise)) == pytest.approx(10_000, rel=0.2)


def test_a_share_that_was_reached_is_read_off_the_path() -> None:
    assert steps_to_move(path_of(np.full((30, 4), 1e-3))) == pytest.approx(5)


def test_steps_that_undo_each_other_do_not_drift() -> None:
    back_and_forth = Path(half=5, steps=10, first_step=1e-3, first_half=1e-3, second_half=1e-3, along=-1e-6)
    assert back_and_forth.drift_share == 0


def test_what_stands_still_never_moves() -> None:
    assert steps_to_move(path_of(np.zeros((30, 4)))) == math.inf


def updates(model: nn.Module, optimizer: Any) -> dict[str, Any]:
    x = torch.randn(256, 6, generator=torch.Generator().manual_seed(0))
    data = [(x[i : i + 32], x[i : i + 32, :3].argmax(1)) for i in range(0, 256, 32)]
    report = wp.check(model, F.cross_entropy, data, optimizer=optimizer)
    training: Any = report.measurements["training"]
    return {u.name: u for u in training.updates}


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
def test_the_prediction_is_that_of_real_steps(momentum: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
    rate = 1e-3 * (1 - momentum)
    predicted = updates(model, torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum))
    x = torch.randn(256, 6, generator=torch.Generator().manual_seed(0))
    own = copy.deepcopy(model)
    optimizer = torch.optim.SGD(own.parameters(), lr=rate, momentum=momentum)
    start, step = model[2].weight.detach(), 0
    while float((own[2].weight.detach() - start).norm() / start.norm()) < 0.01:
        rows = slice(32 * (step % 8), 32 * (step % 8) + 32)
        optimizer.zero_grad()
        F.cross_entropy(own(x[rows]), x[rows, :3].argmax(1)).backward()
        optimizer.step()
        step += 1
    assert 1 / 1.5 < predicted["2.weight"].steps_to_move / step < 1.5


def test_what_starts_at_zero_has_no_such_number() -> None:
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
    nn.init.zeros_(model[2].bias)
    assert updates(model, torch.optim.SGD(model.parameters(), lr=0.1))["2.bias"].steps_to_move is None


def test_several_optimizers_have_their_momentum_apart() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
    alone = updates(model, torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9))
    parts = [torch.optim.SGD(layer.parameters(), lr=1e-4, momentum=0.9) for layer in (model[0], model[2])]
    together = updates(model, parts)
    assert together["2.weight"].steps_to_move == pytest.approx(alone["2.weight"].steps_to_move, rel=1e-6)
