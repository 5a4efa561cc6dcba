"""A check takes what its budget and the cost of a step allow, and confirms with all steps what fewer make suspicious."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed import _check as checking
from wellposed import budget, measurements
from wellposed.budget import FULL, LEAN, QUICK, Stages, StepCost, checked, nominal_seconds, plan_for
from wellposed.errors import ArgumentError
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.restore import preserved
from wellposed.runtime.torch.session import Runner
from wellposed.runtime.torch.trace import trace

X = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def problem(rate: float = 0.1) -> wp.Problem:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    return wp.Problem(model=model, loss=F.cross_entropy, train=(X, Y), optimizer=optimizer)


CHEAP, DEAR = StepCost(nominal=0.001, measured=0.1), StepCost(nominal=1.0, measured=0.1)


@pytest.mark.parametrize(
    ("given", "step", "plan"),
    [
        ("quick", CHEAP, QUICK),
        ("normal", CHEAP, FULL),
        ("normal", DEAR, LEAN),
        ("thorough", DEAR, FULL),
        (FULL.cost * 0.1, DEAR, FULL),
        (LEAN.cost * 0.1, DEAR, LEAN),
        (0.001, CHEAP, QUICK),
    ],
)
def test_the_plan_is_the_largest_that_the_budget_allows(given, step, plan) -> None:
    assert plan_for(given, step) is plan


def test_a_budget_is_a_name_or_seconds() -> None:
    assert [checked(b) for b in ("quick", "60s", " 2.5 ", 3)] == ["quick", 60.0, 2.5, 3.0]
    with pytest.raises(
        ArgumentError, match="budget is 'quik': expected one of quick, normal, thorough, or seconds above 0"
    ):
        checked("quik")


@pytest.mark.parametrize(("width", "rows"), [(64, 32), (256, 32), (64, 128)])
def test_the_nominal_cost_counts_products_numbers_and_calls(width: int, rows: int) -> None:
    model = nn.Sequential(nn.Linear(8, width, bias=False), nn.Linear(width, width, bias=False))
    runner = Runner(wp.Problem(model=model, loss=lambda o, y: o.sum()))
    with preserved(model):
        traced = trace(runner, [Batch(args=(torch.randn(rows, 8),), targets=torch.zeros(rows))], seed=0)
    products = rows * width * (8 + width)
    numbers = 2 * rows * width + 1 + width * (8 + width)
    assert nominal_seconds(traced, {n: tuple(p.shape) for n, p in model.named_parameters()}) == pytest.approx(
        3 * (2 * products / 3e10 + numbers / 3e8 + 3 * 5e-5)
    )


def test_a_healthy_problem_is_ready_under_each_budget() -> None:
    for given in ("quick", "normal", "thorough", 100):
        report = wp.check(problem(), budget=given)
        assert report.verdict == "ready", str(report)


def test_a_quick_check_takes_few_steps_and_says_so() -> None:
    report = wp.check(problem(), budget="quick")
    assert report.environment["budget"] == "quick, 3 training steps"
    assert "budget quick, 3 training steps" in str(report).partition("\n\n")[0]
    assert "budget" not in str(wp.check(problem())).partition("\n\n")[0]
    assert report.measurements["training"].steps == 3
    assert len(report.measurements["training"].outcome.losses) == 3


def test_what_few_steps_find_is_confirmed_with_all() -> None:
    stages: list[str] = []
    report = wp.check(problem(rate=1000.0), budget="quick", progress=stages.append)
    assert report.environment["budget"] == "thorough, 30 training steps"
    assert report.codes[0] == "WP607"
    assert report.findings[0].confidence == "confirmed"


def test_what_only_the_first_look_left_behind_is_told_too(monkeypatch) -> None:
    whole = measurements.measure
    calls: list[int] = []

    def measure(*args, **kwargs):
        calls.append(1)
        return replace(whole(*args, **kwargs), traces=("a file",) if len(calls) == 1 else ("another",))

    monkeypatch.setattr(checking, "measure", measure)
    report = wp.check(problem(rate=1000.0), budget="quick")
    assert report.traces == ("a file", "another")


def test_a_normal_check_is_a_full_one_where_steps_are_cheap_and_a_lean_one_elsewhere(monkeypatch) -> None:
    assert wp.check(problem()).measurements["training"].steps == FULL.steps
    monkeypatch.setattr(budget, "CHEAP_STEP", 0.0)
    report = wp.check(problem())
    assert report.measurements["training"].steps == LEAN.steps
    assert report.verdict == "ready"


@pytest.mark.parametrize("change", ["rate", "scale"])
def test_a_lean_check_finds_what_a_full_one_finds(monkeypatch, change: str) -> None:
    monkeypatch.setattr(budget, "CHEAP_STEP", 0.0)
    sick = problem(rate=1e-9) if change == "rate" else problem()
    if change == "scale":
        columns = X * torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 1e5])
        sick = wp.Problem(model=sick.model, loss=sick.loss, train=(columns, Y), optimizer=sick.optimizer)
    lean = wp.check(sick)
    full = wp.check(sick, budget="thorough")
    assert lean.codes == full.codes
    assert not lean.ok


def test_stages_tell_what_is_left_once_it_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("wellposed.budget.time.perf_counter", lambda: now[0])
    told: list[str] = []
    stages = Stages(told.append)
    stages("first")
    stages.expect(60.0)
    now[0] += 20.4
    stages("second")
    now[0] += 39.0
    stages("third")
    assert told == ["first", "second (about 40 s left)", "third"]
