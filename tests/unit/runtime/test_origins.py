"""The origin of a NaN or infinity: its operation, its line, its rows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from benchmarks.cases.nonfinite_origins import CASES, Planted
from benchmarks.nonfinite_origin import has_right_rows, is_right
from wellposed.problem import Problem
from wellposed.runtime.torch.batches import batches
from wellposed.runtime.torch.restore import preserved_problem
from wellposed.runtime.torch.session import Runner
from wellposed.runtime.torch.trace import trace
from wellposed.signals.layer_signals import nonfinite_origin
from wellposed.signals.result import NonFiniteOrigin


def found_in(problem: Problem) -> NonFiniteOrigin | None:
    with preserved_problem(problem):
        drawn = batches(problem.train, count=2, seed=0, has_loss=problem.loss is not None)
        return nonfinite_origin(trace(Runner(problem), drawn, seed=0), step=0)


@pytest.mark.filterwarnings("ignore:std:UserWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_planted_origin_is_named_with_its_line_and_its_rows(case: Planted) -> None:
    found = found_in(case.problem())
    assert is_right(case, found), found
    assert case.rows is None or has_right_rows(case, found), found


class Masked(nn.Module):
    """Attention over what a mask leaves, which is always something."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = x @ x.T
        scores[:, -1] = -math.inf
        return self.head((scores + torch.full((len(x), len(x)), -math.inf).triu(1)).softmax(-1) @ x)


def test_infinities_that_are_put_in_and_come_to_nothing_are_no_fault() -> None:
    x = torch.randn(16, 4)
    assert found_in(Problem(model=Masked(), loss=nn.functional.mse_loss, train=(x, x[:, :1]))) is None


def test_an_output_that_is_masked_on_purpose_is_no_fault_without_a_loss() -> None:
    class Logits(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * (x + 1).masked_fill(x.argsort(1) == 0, -math.inf)

    assert found_in(Problem(model=Logits(), train=torch.randn(16, 4))) is None


def test_an_infinity_that_was_put_in_and_reaches_the_loss_is_told() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs.masked_fill(targets[:, None] == 0, -math.inf), targets)

    data = torch.randn(16, 4), torch.zeros(16, dtype=torch.long)
    found = found_in(Problem(model=nn.Linear(4, 3), loss=loss, train=data))
    assert found is not None
    assert found.where == "loss"


def test_of_a_model_that_refuses_single_rows_the_operation_is_told_without_rows() -> None:
    class Spread(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x[:, 0].min()

    model = nn.Sequential(nn.BatchNorm1d(4), Spread(), nn.Linear(4, 1))
    x = torch.randn(16, 4)
    x[:, 0] = 0.0
    found = found_in(Problem(model=model, loss=nn.functional.mse_loss, train=(x, x[:, 1:2])))
    assert found is not None
    assert (found.where, found.operation, found.rows) == ("1", "div", ())
