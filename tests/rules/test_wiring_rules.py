"""WP601 to WP605 on hand-made profiles: what is a fault, where it is put, and what cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.limits import Limits
from wellposed.objective.result import Unreached, WiringProfile
from wellposed.report import Severity
from wellposed.rules import connections
from wellposed.rules.table import NO_OPTIMIZER, Defect, NoVerdict

from .cases import SICK, report_of
from .problems import FEATURES, classes_of, inputs, problem

LIMITS = Limits()


def judged(rule: Callable[..., Iterator[Any]], **measured: Any) -> list[Any]:
    return list(rule(WiringProfile(trainable=4, **measured), LIMITS))


def unreached(name: str, *, loss_depends: bool, absent: bool = True) -> Unreached:
    return Unreached(name=name, absent=absent, loss_depends=loss_depends)


def where_of(code: str) -> str:
    return next(f.where for f in report_of(SICK[code]).findings if f.code == code)


@pytest.mark.parametrize(
    "rule",
    [
        connections.disconnected_parameter,
        connections.not_in_optimizer,
        connections.batch_leak,
        connections.ignored_input,
    ],
)
def test_a_sound_wiring_has_no_fault(rule: Callable[..., Iterator[Any]]) -> None:
    assert judged(rule, outside_optimizer=(), leak=1e-7, train_loss=1.0, eval_loss=1.0) == []


def test_a_parameter_that_the_loss_does_not_use_is_a_note() -> None:
    (fault,) = judged(
        connections.disconnected_parameter, unreached=(unreached("unused", loss_depends=False),)
    )
    assert (fault.where, fault.severity) == ("unused", Severity.NOTE)


def test_a_parameter_that_is_cut_off_goes_before_one_that_is_unused() -> None:
    both = unreached("unused", loss_depends=False), unreached("cut", loss_depends=True)
    (fault,) = judged(connections.disconnected_parameter, unreached=both)
    assert (fault.where, fault.severity, fault.measured) == ("cut", None, 1.0)


@pytest.mark.parametrize(("absent", "said"), [(True, "absent"), (False, "exactly zero")])
def test_a_gradient_that_is_absent_is_told_from_one_that_is_zero(absent: bool, said: str) -> None:
    cut = unreached("cut", loss_depends=True, absent=absent)
    (fault,) = judged(connections.disconnected_parameter, unreached=(cut,))
    assert said in fault.summary


def test_without_an_optimizer_there_is_no_verdict_on_what_it_holds() -> None:
    assert judged(connections.not_in_optimizer) == [NO_OPTIMIZER]


@pytest.mark.parametrize(("outside", "severity"), [(("a",), None), (("a", "b", "c", "d"), Severity.ERROR)])
def test_an_optimizer_that_holds_none_of_the_parameters_is_graver(outside: Any, severity: Any) -> None:
    (fault,) = judged(connections.not_in_optimizer, outside_optimizer=outside, foreign=4)
    assert (fault.where, fault.severity) == ("a", severity)


@pytest.mark.parametrize(("leak", "faults"), [(0.0, 0), (LIMITS.batch_leak, 0), (2 * LIMITS.batch_leak, 1)])
def test_a_leak_is_a_fault_only_beyond_the_limit(leak: float, faults: int) -> None:
    assert len(judged(connections.batch_leak, leak=leak)) == faults


def test_a_leak_that_could_not_be_asked_gives_its_reason() -> None:
    found = judged(connections.batch_leak, leak=None, leak_reason="needs three samples")
    assert found == [NoVerdict(reason="needs three samples")]


@pytest.mark.parametrize("leak", [float("nan"), float("inf")])
def test_a_leak_that_is_not_finite_never_passes(leak: float) -> None:
    assert judged(connections.batch_leak, leak=leak)


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
    assert len(judged(connections.train_eval_gap, train_loss=train, eval_loss=evaluated)) == faults


@pytest.mark.parametrize(
    ("evaluated", "error", "constant", "faults"),
    [
        (0.89, 0.03, 0.69, 1),
        (0.89, 0.2, 0.69, 0),
        (0.68, 0.01, 0.69, 0),
        (0.89, None, 0.69, 0),
        (0.89, 0.03, None, 0),
    ],
    ids=["lost", "within the scatter", "better than a constant", "too few batches", "no constant known"],
)
def test_what_is_learned_in_train_mode_must_not_be_lost_in_eval_mode(
    evaluated: float, error: float | None, constant: float | None, faults: int
) -> None:
    found = judged(
        connections.train_eval_gap,
        train_loss=0.52,
        eval_loss=evaluated,
        gap_error=error,
        constant_loss=constant,
    )
    assert len(found) == faults


def test_a_loss_below_zero_has_a_gap_too() -> None:
    assert judged(connections.train_eval_gap, train_loss=-3.0, eval_loss=-2.9) == []
    assert len(judged(connections.train_eval_gap, train_loss=-3.0, eval_loss=1.0)) == 1


def test_frozen_statistics_are_named_before_the_gap() -> None:
    (fault,) = judged(
        connections.train_eval_gap, frozen_statistics=("bn1", "bn2"), train_loss=1.0, eval_loss=9.0
    )
    assert (fault.where, fault.measured) == ("bn1", 2.0)


def test_a_gap_that_was_not_measured_gives_its_reason() -> None:
    assert judged(connections.train_eval_gap, gap_reason="it diverged") == [NoVerdict(reason="it diverged")]


@pytest.mark.parametrize(("attends", "severity"), [(True, None), (False, Severity.NOTE)])
def test_a_mean_of_what_came_before_is_a_note(attends: bool, severity: Severity | None) -> None:
    (fault,) = judged(connections.ignored_order, order_effect=1e-6, attends=attends)
    assert fault.severity is severity
    assert judged(connections.ignored_order, order_effect=1e-2, attends=attends) == []


def test_parameters_that_choose_are_a_warning() -> None:
    (fault,) = judged(connections.disconnected_parameter, choosing=("encoder.weight", "encoder.bias"))
    assert (fault.where, fault.severity) == ("encoder.weight", Severity.WARNING)


@pytest.mark.parametrize(("where", "named"), [("attention", "attention"), ("outputs", "model")])
def test_an_inverted_mask_is_told_where_it_was_seen(where: str, named: str) -> None:
    (fault,) = judged(connections.inverted_mask, inverted_mask=where)
    assert fault.where == named


def test_every_ignored_input_is_a_fault_of_its_own() -> None:
    assert [f.where for f in judged(connections.ignored_input, ignored=("mask", "age"))] == ["mask", "age"]


@pytest.mark.parametrize(
    ("code", "where"),
    [("WP601", "0.weight"), ("WP602", "0.weight"), ("WP604", "1"), ("WP605", "input 1")],
)
def test_a_finding_points_at_what_is_at_fault(code: str, where: str) -> None:
    assert where_of(code) == where


def test_all_faults_are_faults() -> None:
    assert all(isinstance(f, Defect) for f in judged(connections.ignored_input, ignored=("mask",)))


# what a network is passed through for, and what a normaliser cancels


def network(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, outputs))


def optimizing(*modules: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for m in modules for p in m.parameters()], lr=1e-3)


class Judged(nn.Module):
    """A loss that passes what it is given through a network of its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(self.network(made), wanted)


def generators() -> dict[str, wp.Problem]:
    torch.manual_seed(0)
    made, judge = network(4, FEATURES), network(FEATURES, 1)
    data = inputs(256, 4), torch.ones(256, 1)
    loss = F.binary_cross_entropy_with_logits
    return {
        "in a row": wp.Problem(
            model=nn.Sequential(made, judge), loss=loss, train=data, optimizer=optimizing(made)
        ),
        "in a function": wp.Problem(
            model=lambda x: judge(made(x)), loss=loss, train=data, optimizer=optimizing(made)
        ),
        "in the loss": wp.Problem(model=made, loss=Judged(judge), train=data, optimizer=optimizing(made)),
    }


@pytest.mark.parametrize("where", ["in a row", "in a function", "in the loss"])
def test_a_generators_step_leaves_the_discriminator_out(where: str) -> None:
    with torch.random.fork_rng(devices=[]):
        report = wp.check(generators()[where])
    assert "WP602" not in [f.code for f in (*report.errors, *report.warnings)], str(report)


def test_a_backbone_a_head_or_a_part_of_a_network_that_was_left_out_is_found() -> None:
    backbone, head = network(FEATURES, 16), nn.Linear(16, 3)
    model = nn.Sequential(backbone, nn.ReLU(), head)
    for held in ((head,), (backbone,), (backbone[0], head)):
        report = wp.check(replace(problem(), model=model, optimizer=optimizing(*held)))
        assert "WP602" in [f.code for f in report.warnings], str(report)


class Attending(nn.Module):
    """A weighted mean over time; the scores of shape (N, T, 1) compete along `axis`."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.score, self.head, self.axis = nn.Linear(4, 1), nn.Linear(4, 3), axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(len(x), -1, 4)
        return self.head((self.score(x).softmax(self.axis) * x).sum(1))


@pytest.mark.parametrize(("axis", "found"), [(-1, True), (2, True), (1, False)])
def test_scores_behind_a_softmax_of_one_entry_are_an_error(axis: int, found: bool) -> None:
    report = wp.check(problem(lambda: Attending(axis)))
    assert [f.where for f in report.errors] == (["score.weight"] if found else []), str(report)


def test_a_bias_that_a_normalisation_cancels_is_harmless() -> None:
    model = lambda: nn.Sequential(nn.Linear(FEATURES, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))  # noqa: E731
    report = wp.check(problem(model, data=(inputs(256), classes_of(inputs(256)))))
    assert report.ok, str(report)
    cancelled = unreached("0.bias", loss_depends=False, absent=False)
    (fault,) = judged(connections.disconnected_parameter, unreached=(cancelled,))
    assert fault.severity is Severity.NOTE
    assert "cancels" in fault.summary
