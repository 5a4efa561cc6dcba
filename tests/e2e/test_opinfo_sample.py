"""A sample of torch's own database of operations: no correct one fails, and no planted bug passes silently."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

pytest.importorskip("expecttest", reason="torch's database of operations needs it")
import torch

from benchmarks.opinfo_cases import Case, Unusable, cases, operations
from benchmarks.opinfo_mutants import KINDS, plant
from benchmarks.opinfo_trial import Trial, check

EVERY = 22


@pytest.fixture(autouse=True)
def _quiet_deprecations() -> Iterator[None]:
    """Of the operations themselves, which the database covers too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sampled(dtype: torch.dtype, *, offset: int = 0) -> list[Case]:
    found: list[Case] = []
    for op in operations(dtype)[offset::EVERY]:
        try:
            found += cases(op, dtype, seed=0, samples=1)
        except Unusable:
            continue
    assert len(found) > 12
    return found


def described(trials: list[Trial]) -> list[str]:
    return [f"{t.op} {t.bug}: {t.verdict}, {t.detail}" for t in trials]


@pytest.mark.parametrize("mode", ["replay", "native"])
def test_no_correct_float32_operation_fails(mode: str) -> None:
    trials = [check(case, mode=mode, planted=None) for case in sampled(torch.float32)]
    assert described([t for t in trials if t.verdict in ("fail", "crash", "timeout")]) == []


def test_most_correct_float32_operations_pass_without_a_replay() -> None:
    trials = [check(case, mode="native", planted=None) for case in sampled(torch.float32, offset=7)]
    assert sum(t.verdict == "pass" for t in trials) >= 0.8 * len(trials)


def test_no_correct_bfloat16_operation_fails() -> None:
    trials = [check(case, mode="native", planted=None) for case in sampled(torch.bfloat16, offset=3)]
    assert described([t for t in trials if t.verdict in ("fail", "crash", "timeout")]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_planted_bug_passes_silently(kind: str) -> None:
    planted = [(case, plant(case, kind)) for case in sampled(torch.float32, offset=11)]
    trials = [check(case, mode="native", planted=bug) for case, bug in planted if bug]
    assert described([t for t in trials if t.unseen > 1]) == []
    assert sum(t.verdict == "fail" for t in trials) >= 0.6 * len(trials)
