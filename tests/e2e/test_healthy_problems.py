"""Problems that are in order, by an author who had not read the rules: nothing may be said against them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.healthy import cases
from benchmarks.training_problems import measure, problems

ALL = [case.name for case in cases("all", "all")]
QUICK = ALL[::12]
ROOT = Path(__file__).parents[2]

TWINS = [name for name, expected, *_ in problems("field") if not expected]


def said(name: str, seeds: int) -> str:
    """The benchmark's row of one problem, from a process of its own: some of them start process groups, or Keras."""
    command = [sys.executable, "-m", "benchmarks.healthy", "--only", name, "--seeds", str(seeds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return next(row for row in done.stdout.splitlines() if row[2:].startswith(name[:52]))


def is_clean(row: str) -> bool:
    return row.startswith(".") or (row.startswith("R") and "check the model before it is sharded" in row)


@pytest.mark.parametrize("name", QUICK)
def test_a_healthy_problem_is_not_accused(name: str) -> None:
    row = said(name, seeds=1)
    assert is_clean(row), row


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_no_seed_of_a_healthy_problem_is_accused(name: str) -> None:
    row = said(name, seeds=3)
    assert is_clean(row), row


@pytest.mark.parametrize("name", TWINS[::9])
def test_the_mended_twin_of_a_public_report_is_not_accused(name: str) -> None:
    row = measure(("field", name))
    assert (row.crash, row.counted) == ("", ())


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_no_mended_twin_of_a_public_report_is_accused(name: str) -> None:
    row = measure(("field", name))
    assert (row.crash, row.counted) == ("", ())
