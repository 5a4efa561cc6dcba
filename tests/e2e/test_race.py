"""Two problems raced against each other."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import wellposed as wp


@pytest.mark.parametrize("steps", [1, 2, 11, 12, 13])
def test_a_race_of_few_steps_measures_each_point_of_its_curve(steps: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(60, 3)
    problem = wp.Problem(model=torch.nn.Linear(3, 1), loss=F.mse_loss, train=(x, x[:, :1]))
    race = wp.race(problem, problem, steps=steps, seeds=1)
    assert race.at[0] >= 1
    assert race.at[-1] == steps
    assert len(race.before.curve) == len(race.at)
    assert all(map(math.isfinite, (*race.before.curve, *race.before.held_out)))
