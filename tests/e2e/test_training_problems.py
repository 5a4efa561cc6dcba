"""How often the check is right over the training problems whose answer is known; the table is in benchmarks/."""

from __future__ import annotations

import pytest

from benchmarks.training_problems import Row, measure, run, totals

QUICK_SICK = (
    "so34311586", "so48221692", "so39525358", "so48934338", "AT-circle-sigmoid12", "AT-circle-exp9", "own-sqrt0", "SO53640858-nan",
)  # fmt: skip
QUICK_HEALTHY = (
    "so34311586 (twin)",
    "so39525358 (twin)",
    "AT-circle-sigmoid12 (twin)",
    "h-reg-std",
    "h-finetune-frozen",
)


@pytest.mark.parametrize("name", QUICK_SICK)
def test_the_right_code_stands_first_on_a_sick_problem(name: str) -> None:
    row = measure(("shared", name))
    assert not row.crash
    assert row.right_first, row


@pytest.mark.parametrize("name", QUICK_HEALTHY)
def test_nothing_counts_against_a_healthy_problem(name: str) -> None:
    row = measure(("shared", name))
    assert not row.crash
    assert not row.found, row


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(run("shared"))


@pytest.mark.slow
def test_no_problem_crashes_the_check(rows: list[Row]) -> None:
    assert not [row for row in rows if row.crash]


@pytest.mark.slow
def test_sick_problems_are_found(rows: list[Row]) -> None:
    assert sum(row.found for row in rows if row.expected) >= 33, totals(rows)


@pytest.mark.slow
def test_the_root_cause_stands_first(rows: list[Row]) -> None:
    assert sum(row.right_first for row in rows if row.expected) >= 25, totals(rows)


@pytest.mark.slow
def test_no_healthy_problem_has_an_error(rows: list[Row]) -> None:
    assert not [row for row in rows if not row.expected and row.errors], totals(rows)
