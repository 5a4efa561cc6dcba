"""What a fix says of itself, and when a fix and a race are true."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wellposed import Problem, Report
from wellposed._fix import _redraw_weights
from wellposed.report import Skipped
from wellposed.results import Fix, Lane, Race
from wellposed.show.fix_and_race import render_fix


def problem(build: Callable[[], nn.Module]) -> Problem:
    torch.manual_seed(0)
    x = torch.randn(96, 8)
    return Problem(model=build(), loss=F.cross_entropy, train=(x, x[:, :3].argmax(1)))


def sound() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))


def test_weights_that_were_drawn_and_rolled_back_are_said_to_be() -> None:
    proposal = _redraw_weights(problem(sound), 0)
    assert proposal.summary.startswith("2 weights drawn")
    assert proposal.refused.startswith("rolled back, not better: ")


def test_a_model_without_a_weight_to_redraw_is_not_said_to_have_been_redrawn() -> None:
    proposal = _redraw_weights(problem(lambda: nn.BatchNorm1d(8)), 0)
    assert proposal.summary == ""
    assert proposal.refused == "no weight of this model is one that initialize may redraw"


READY = Report(passed=("WP201",))
UNEXAMINED = Report(passed=("WP101",), skipped=(Skipped(code="WP504", reason="no loss"),), core=("WP504",))


@pytest.mark.parametrize(("after", "true"), [(READY, True), (UNEXAMINED, False), (Report(), False)])
def test_a_fix_is_true_when_the_mended_problem_is_ready(after: Report, true: bool) -> None:
    fixed = Fix(problem=problem(sound), applied=(), withheld=(), before=READY, after=after)
    assert bool(fixed) is true
    assert fixed.verdict == after.verdict
    assert repr(fixed) == f"<Fix 0 applied, 0 withheld; after it {after!r}>"


def test_a_fix_of_what_was_not_examined_ends_with_why() -> None:
    fixed = Fix(problem=problem(sound), applied=(), withheld=(), before=UNEXAMINED, after=UNEXAMINED)
    assert render_fix(fixed).splitlines()[-1] == "after     NOT EXAMINED   objective: no loss"


@pytest.mark.parametrize(
    ("losses", "true"), [((1.0, 1.0, 1.0), True), ((2.0, 2.0, 2.0), False), ((4.0,) * 3, False)]
)
def test_a_race_is_true_when_the_second_side_is_better(losses: tuple[float, ...], true: bool) -> None:
    before, after = (
        Lane(name=name, rate=0.1, held_out=held_out, curve=(1.0,))
        for name, held_out in (("before", (2.0, 2.0, 2.0)), ("after", losses))
    )
    assert bool(Race(before=before, after=after, at=(1,), steps=1, relative=False)) is true
