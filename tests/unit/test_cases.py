"""The cases themselves: the same in every run, leaving no trace, and true to what they claim."""

from __future__ import annotations

import re

import pytest
import torch

from benchmarks.training_problems import SETS, problems
from tests.cases import Case, healthy, sick
from wellposed import Problem

SICK = tuple(sick())
HEALTHY = tuple(healthy())


def by_name(case: Case) -> str:
    return case.name


def losses(problem: Problem, *, steps: int = 60) -> tuple[float, float]:
    """The loss on the first 64 rows before and after training on them."""
    x, y = (part[:64] for part in problem.train)
    torch.manual_seed(0)
    loss = before = problem.loss(problem.model(x), y)
    for _ in range(steps):
        problem.optimizer.zero_grad()
        loss.backward()
        problem.optimizer.step()
        loss = problem.loss(problem.model(x), y)
    return before.item(), loss.item()


def test_every_name_is_used_once_over_all_sets() -> None:
    names = [name for which in SETS for name, *_ in problems(which)]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("which", SETS)
def test_every_set_names_only_codes_of_the_form_that_rules_have(which: str) -> None:
    codes = {code for _, expected, *_ in problems(which) for code in expected}

    assert codes
    assert all(re.fullmatch(r"WP\d{3}", code) for code in codes)


@pytest.mark.parametrize("case", SICK, ids=by_name)
def test_a_sick_case_names_codes_and_has_a_healthy_twin(case: Case) -> None:
    assert case.fault
    assert case.codes
    assert case.healthy is not None


@pytest.mark.parametrize("case", HEALTHY, ids=by_name)
def test_a_healthy_case_names_no_code_and_needs_no_twin(case: Case) -> None:
    assert not case.is_sick
    assert case.healthy is None


@pytest.mark.parametrize("case", SICK + HEALTHY, ids=by_name)
def test_building_twice_gives_the_same_numbers_and_leaves_the_random_state_alone(case: Case) -> None:
    state = torch.get_rng_state()
    first, second = case.problem(), case.problem()

    assert first.name == case.name
    assert torch.equal(torch.get_rng_state(), state)
    assert first.model is not second.model
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(first.train, second.train, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("case", HEALTHY, ids=by_name)
def test_a_healthy_case_learns(case: Case) -> None:
    before, after = losses(case.problem())

    assert after < 0.95 * before


@pytest.mark.parametrize("case", SICK, ids=by_name)
def test_the_healthy_twin_of_a_sick_case_learns(case: Case) -> None:
    assert case.healthy is not None
    before, after = losses(case.healthy())

    assert after < 0.95 * before
