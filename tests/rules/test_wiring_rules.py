"""WP601 to WP605 on hand-made profiles: what is a fault, where it is put, and what cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wellposed.contract.result import Unreached, WiringProfile
from wellposed.limits import Limits
from wellposed.report import Severity
from wellposed.rules import wiring
from wellposed.rules.table import NO_OPTIMIZER, Fault, NoVerdict

from .cases import SICK, report_of

LIMITS = Limits()


def judged(rule: Callable[..., Iterator[Any]], **measured: Any) -> list[Any]:
    return list(rule(WiringProfile(trainable=4, **measured), LIMITS))


def unreached(name: str, *, loss_depends: bool, absent: bool = True) -> Unreached:
    return Unreached(name=name, absent=absent, loss_depends=loss_depends)


def where_of(code: str) -> str:
    return next(f.where for f in report_of(SICK[code]).findings if f.code == code)


@pytest.mark.parametrize(
    "rule", [wiring.disconnected_parameter, wiring.not_in_optimizer, wiring.batch_leak, wiring.ignored_input]
)
def test_a_sound_wiring_has_no_fault(rule: Callable[..., Iterator[Any]]) -> None:
    assert judged(rule, outside_optimizer=(), leak=1e-7, train_loss=1.0, eval_loss=1.0) == []


def test_a_parameter_that_the_loss_does_not_use_is_a_note() -> None:
    (fault,) = judged(wiring.disconnected_parameter, unreached=(unreached("unused", loss_depends=False),))
    assert (fault.where, fault.severity) == ("unused", Severity.NOTE)


def test_a_parameter_that_is_cut_off_goes_before_one_that_is_unused() -> None:
    both = unreached("unused", loss_depends=False), unreached("cut", loss_depends=True)
    (fault,) = judged(wiring.disconnected_parameter, unreached=both)
    assert (fault.where, fault.severity, fault.measured) == ("cut", None, 1.0)


@pytest.mark.parametrize(("absent", "said"), [(True, "absent"), (False, "exactly zero")])
def test_a_gradient_that_is_absent_is_told_from_one_that_is_zero(absent: bool, said: str) -> None:
    cut = unreached("cut", loss_depends=True, absent=absent)
    (fault,) = judged(wiring.disconnected_parameter, unreached=(cut,))
    assert said in fault.summary


def test_without_an_optimizer_there_is_no_verdict_on_what_it_holds() -> None:
    assert judged(wiring.not_in_optimizer) == [NO_OPTIMIZER]


@pytest.mark.parametrize(("outside", "severity"), [(("a",), None), (("a", "b", "c", "d"), Severity.ERROR)])
def test_an_optimizer_that_holds_none_of_the_parameters_is_graver(outside: Any, severity: Any) -> None:
    (fault,) = judged(wiring.not_in_optimizer, outside_optimizer=outside, foreign=4)
    assert (fault.where, fault.severity) == ("a", severity)


@pytest.mark.parametrize(("leak", "faults"), [(0.0, 0), (LIMITS.batch_leak, 0), (2 * LIMITS.batch_leak, 1)])
def test_a_leak_is_a_fault_only_beyond_the_limit(leak: float, faults: int) -> None:
    assert len(judged(wiring.batch_leak, leak=leak)) == faults


def test_a_leak_that_could_not_be_asked_gives_its_reason() -> None:
    found = judged(wiring.batch_leak, leak=None, leak_reason="needs three samples")
    assert found == [NoVerdict(reason="needs three samples")]


@pytest.mark.parametrize("leak", [float("nan"), float("inf")])
def test_a_leak_that_is_not_finite_never_passes(leak: float) -> None:
    assert judged(wiring.batch_leak, leak=leak)


@pytest.mark.parametrize(
    ("train", "evaluated", "faults"),
    [
        (1.0, 1.0, 0),
        (1.0, 0.2, 0),
        (1.0, 2.0, 0),
        (1.0, 2.1, 1),
        (0.01, 0.4, 0),
        (1.0, float("nan"), 1),
        (1.0, float("inf"), 1),
    ],
)
def test_eval_mode_may_be_worse_by_the_limit_and_no_more(train: float, evaluated: float, faults: int) -> None:
    assert len(judged(wiring.train_eval_gap, train_loss=train, eval_loss=evaluated)) == faults


def test_a_loss_below_zero_has_a_gap_too() -> None:
    assert judged(wiring.train_eval_gap, train_loss=-3.0, eval_loss=-2.9) == []
    assert len(judged(wiring.train_eval_gap, train_loss=-3.0, eval_loss=1.0)) == 1


def test_frozen_statistics_are_named_before_the_gap() -> None:
    (fault,) = judged(wiring.train_eval_gap, frozen_statistics=("bn1", "bn2"), train_loss=1.0, eval_loss=9.0)
    assert (fault.where, fault.measured) == ("bn1", 2.0)


def test_a_gap_that_was_not_measured_gives_its_reason() -> None:
    assert judged(wiring.train_eval_gap, gap_reason="it diverged") == [NoVerdict(reason="it diverged")]


def test_every_ignored_input_is_a_fault_of_its_own() -> None:
    assert [f.where for f in judged(wiring.ignored_input, ignored=("mask", "age"))] == ["mask", "age"]


@pytest.mark.parametrize(
    ("code", "where"),
    [("WP601", "0.weight"), ("WP602", "0.weight"), ("WP604", "1"), ("WP605", "input 1")],
)
def test_a_finding_points_at_what_is_at_fault(code: str, where: str) -> None:
    assert where_of(code) == where


def test_all_faults_are_faults() -> None:
    assert all(isinstance(f, Fault) for f in judged(wiring.ignored_input, ignored=("mask",)))
