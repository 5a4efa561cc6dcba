"""Problems that are in order, by an author who had not read the rules: nothing may be said against them."""

from __future__ import annotations

import pytest

from benchmarks.cases.healthy_case import HealthyCase
from benchmarks.healthy import cases, check_apart
from benchmarks.training_problems import measure, problems

ALL = list(cases("all", "all"))
QUICK = ALL[::12]
REFUSED = {"DTensor"}
"""What a message that refuses a healthy problem speaks of; the mend is in it."""

TWINS = [name for name, expected, *_ in problems("field") if not expected]


def assert_nothing_is_said(case: HealthyCase, seeds: int) -> None:
    result = check_apart(case, seeds)
    assert not result.crash
    assert not result.refused or any(word in result.refused for word in REFUSED)
    assert (result.errors, result.warnings) == ((), ())


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_a_healthy_problem_is_not_accused(case: HealthyCase) -> None:
    assert_nothing_is_said(case, seeds=1)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_no_seed_of_a_healthy_problem_is_accused(case: HealthyCase) -> None:
    assert_nothing_is_said(case, seeds=3)


@pytest.mark.parametrize("name", TWINS[::9])
def test_the_mended_twin_of_a_public_report_is_not_accused(name: str) -> None:
    row = measure(("field", name))
    assert (row.crash, row.counted) == ("", ())


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_no_mended_twin_of_a_public_report_is_accused(name: str) -> None:
    row = measure(("field", name))
    assert (row.crash, row.counted) == ("", ())
