"""WP0xx, WP111, WP302 and WP50x on hand-made profiles of the loss, and on the near misses that people train."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.contract.result import ObjectiveProfile, OutputRange, Targets
from wellposed.limits import Limits
from wellposed.rules import objective as rules
from wellposed.rules.table import Fault, NoVerdict

from .cases import SICK, report_of
from .problems import FEATURES, classes_of, inputs, mlp, problem

LIMITS = Limits()
NAN = math.nan
Rule = Callable[..., Iterator[Any]]
CLASSES = Targets(kind="classes", classes=10, majority_share=0.1, rows=1000)
VALUES = Targets(kind="values", mean=0.0, std=1.0, rms=1.0, low=-3.0, high=3.0, rows=1000)
SOUND = ObjectiveProfile(
    initial=2.3, later=1.9, targets=CLASSES, constant=2.3, floor=0.0, log_normaliser=2.3, normalises=True,
    at_targets=1.6, away=2.4, output_rms=0.3, output_at="head",
)  # fmt: skip
REFUSED = replace(
    SOUND, constant=None, floor=None, at_targets=None, away=None, reason="the model computes its own loss"
)
ALL: list[Rule] = [
    rules.stochastic_loss, rules.non_finite_loss, rules.initial_loss, rules.double_softmax, rules.output_range,
    rules.constant_output, rules.loss_sign, rules.wrong_loss_input, rules.class_imbalance,
]  # fmt: skip


def judged(rule: Rule, profile: ObjectiveProfile = SOUND, **changes: Any) -> list[Any]:
    return list(rule(replace(profile, **changes), LIMITS))


def faults(rule: Rule, profile: ObjectiveProfile = SOUND, **changes: Any) -> list[Fault]:
    return [j for j in judged(rule, profile, **changes) if isinstance(j, Fault)]


@pytest.mark.parametrize("rule", ALL)
def test_a_sound_objective_passes_every_rule(rule: Rule) -> None:
    assert judged(rule) == []


@pytest.mark.parametrize(
    "rule", [rules.initial_loss, rules.double_softmax, rules.output_range, rules.loss_sign]
)
def test_a_loss_that_could_not_be_probed_gives_the_reason(rule: Rule) -> None:
    assert judged(rule, REFUSED) == [NoVerdict(reason="the model computes its own loss")]


# WP001, WP002


@pytest.mark.parametrize(("relative", "count"), [(0.0, 0), (0.9, 0), (1.1, 1), (NAN, 0)])
def test_two_evaluations_may_differ_by_the_limit_relative_to_the_loss(relative: float, count: int) -> None:
    difference = relative * LIMITS.repeat_difference * 2.3
    assert len(faults(rules.stochastic_loss, repeat_difference=difference)) == count


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_a_fault(value: float) -> None:
    (fault,) = faults(rules.non_finite_loss, initial=value)
    assert str(value) in fault.summary


@pytest.mark.parametrize("value", [0.0, -5.0, 1e30])
def test_any_finite_loss_is_finite(value: float) -> None:
    assert judged(rules.non_finite_loss, initial=value) == []


# WP302


def test_a_loss_that_starts_high_and_stays_high_is_a_fault() -> None:
    assert len(faults(rules.initial_loss, initial=20.0, later=9.0)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"initial": 5.5, "later": 5.0},
        {"initial": 20.0, "later": 2.0},
        {"initial": NAN},
        {"initial": 20.0, "later": 9.0, "constant": None},
        {"initial": -3.0, "constant": -5.0},
    ],
    ids=["within the limit", "the steps mend it", "not finite", "nothing to compare with", "below zero"],
)
def test_a_start_is_not_blamed_otherwise(changes: dict[str, Any]) -> None:
    assert faults(rules.initial_loss, **changes) == []


def test_a_squared_error_may_start_ten_times_above_a_constant() -> None:
    square = replace(SOUND, targets=VALUES, constant=1.0, quadratic=True, later=2.0)
    assert faults(rules.initial_loss, square, initial=9.9) == []
    assert len(faults(rules.initial_loss, square, initial=10.1)) == 1


def sorted_by_class() -> wp.Problem:
    x = inputs(640)
    order = classes_of(x).argsort()
    batches = list(zip(x[order].split(64), classes_of(x)[order].split(64), strict=True))
    return replace(problem(), train=batches, optimizer=None)


def one_row_a_batch() -> wp.Problem:
    x = inputs(40)
    return replace(
        problem(), train=list(zip(x.split(1), classes_of(x).split(1), strict=True)), optimizer=None
    )


@pytest.mark.parametrize("build", [sorted_by_class, one_row_a_batch])
def test_a_batch_of_a_single_class_does_not_make_an_ordinary_start_a_bad_one(
    build: Callable[[], wp.Problem],
) -> None:
    report = wp.check(build())
    assert "WP302" not in report.codes, str(report)


# WP501, WP503

SOFTMAX = OutputRange(operation="softmax", low=0.0, high=1.0)
SIGMOID = OutputRange(operation="sigmoid", low=0.0, high=1.0)
RELU = OutputRange(operation="relu", low=0.0, high=math.inf)


@pytest.mark.parametrize("confined", [SOFTMAX, SIGMOID])
def test_probabilities_that_cannot_reach_the_floor_are_a_second_softmax(confined: OutputRange) -> None:
    (fault,) = faults(rules.double_softmax, output_range=confined, confined_floor=1.46)
    assert (fault.where, fault.measured) == ("head", 1.46)
    assert faults(rules.output_range, output_range=confined, confined_floor=1.46) == []


@pytest.mark.parametrize("rule", [rules.double_softmax, rules.output_range])
@pytest.mark.parametrize(
    ("confined", "floor"), [(SOFTMAX, 0.0), (SIGMOID, 0.9 * LIMITS.unreachable_share * 2.3), (None, None)]
)  # fmt: skip
def test_a_range_that_leaves_the_floor_in_reach_is_fine(
    rule: Rule, confined: OutputRange | None, floor: float | None
) -> None:
    assert faults(rule, output_range=confined, confined_floor=floor) == []


def test_values_out_of_the_range_of_the_last_operation_are_a_fault_of_the_range() -> None:
    profile = replace(SOUND, targets=VALUES, constant=1.0, initial=1.2, output_range=RELU)
    (fault,) = faults(rules.output_range, profile, confined_floor=0.5)
    assert "[0, ∞)" in fault.summary
    assert fault.measured == pytest.approx(0.5 / 1.2)


def test_a_rectifier_before_a_loss_that_has_its_own_softmax_is_a_fault() -> None:
    (fault,) = faults(rules.output_range, output_range=RELU, confined_floor=0.0)
    assert fault.where == "head"
    assert faults(rules.output_range, output_range=RELU, confined_floor=0.0, normalises=False) == []


def test_where_nothing_can_be_achieved_no_share_of_it_is_lost() -> None:
    assert rules.lost_share(replace(SOUND, initial=0.0, constant=0.0, floor=0.0, confined_floor=5.0)) is None


# WP504


@pytest.mark.parametrize(("right", "wrong", "count"), [(1.0, 2.0, 0), (2.0, 1.0, 1), (1.0, 1.0, 0)])
def test_agreeing_outputs_must_not_cost_more_than_disagreeing_ones(
    right: float, wrong: float, count: int
) -> None:
    assert len(faults(rules.loss_sign, at_targets=right, away=wrong, floor=None)) == count


def test_a_loss_with_a_floor_rewards_something_and_has_its_sign_right() -> None:
    assert faults(rules.loss_sign, at_targets=2.0, away=1.0, floor=0.0) == []


@pytest.mark.parametrize("values", [(None, 1.0), (1.0, None), (NAN, 1.0), (1.0, math.inf)])
def test_a_sign_that_could_not_be_asked_is_no_pass(values: tuple[Any, Any]) -> None:
    (found,) = judged(rules.loss_sign, at_targets=values[0], away=values[1])
    assert isinstance(found, NoVerdict)


# WP506, WP502


def test_raw_outputs_in_a_loss_without_a_floor_are_a_fault() -> None:
    assert len(faults(rules.wrong_loss_input, unbounded=True, log_normaliser=2.3)) == 1
    assert faults(rules.wrong_loss_input, unbounded=True, log_normaliser=LIMITS.log_normaliser) == []
    assert faults(rules.wrong_loss_input, unbounded=False, log_normaliser=2.3) == []


def test_outputs_that_are_all_the_same_are_a_fault_at_their_layer() -> None:
    (fault,) = faults(rules.constant_output, constant_output=True)
    assert fault.where == "head"


# WP111


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (replace(CLASSES, majority_share=0.9), 1),
        (replace(CLASSES, majority_share=LIMITS.majority_share), 0),
        (replace(CLASSES, classes=5, majority_share=0.99), 0),
        (replace(CLASSES, classes=2, majority_share=0.99), 0),
        (replace(CLASSES, rows=49, majority_share=0.9), 0),
        (replace(CLASSES, per_row=False, majority_share=0.9), 0),
        (VALUES, 0),
    ],
)
def test_only_a_majority_far_beyond_an_even_share_is_an_imbalance(targets: Targets, count: int) -> None:
    assert len(faults(rules.class_imbalance, targets=targets)) == count


# the losses that people train with


def multi_label(x: torch.Tensor) -> torch.Tensor:
    return (x[:, :3] > 0).float()


SOUND_LOSSES: dict[str, Callable[[], wp.Problem]] = {
    "label smoothing": lambda: problem(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
    "class weights": lambda: problem(loss=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2]))),
    "multi-label": lambda: problem(
        loss=F.binary_cross_entropy_with_logits, data=(inputs(), multi_label(inputs()))
    ),
    "one-hot squared error": lambda: problem(
        mlp(last=lambda: nn.Softmax(1)), F.mse_loss, (inputs(), F.one_hot(classes_of(inputs()), 3).float())
    ),
    "huber": lambda: problem(mlp(FEATURES, 16, 1), F.huber_loss, (inputs(), inputs()[:, :1])),
    "absolute error": lambda: problem(mlp(FEATURES, 16, 1), F.l1_loss, (inputs(), inputs()[:, :1])),
    "poisson": lambda: problem(
        mlp(FEATURES, 16, 1), F.poisson_nll_loss, (inputs(), inputs()[:, :1].exp().round())
    ),
    "non-negative values after softplus": lambda: problem(
        mlp(FEATURES, 16, 1, last=nn.Softplus), F.mse_loss, (inputs(), inputs()[:, :1].abs())
    ),
    "tanh for values within one": lambda: problem(
        mlp(FEATURES, 16, 1, last=nn.Tanh), F.mse_loss, (inputs(), torch.tanh(inputs()[:, :1]))
    ),
    "margin": lambda: problem(loss=F.multi_margin_loss),
    "a reward to be raised, negated": lambda: problem(
        loss=lambda o, y: -torch.softmax(o, 1).gather(1, y[:, None]).mean()
    ),
}


@pytest.mark.parametrize("name", SOUND_LOSSES)
def test_a_sound_loss_is_not_accused(name: str) -> None:
    report = wp.check(SOUND_LOSSES[name]())
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("code", "where"), [("WP501", "5"), ("WP502", "3"), ("WP503", "3"), ("WP504", "loss"), ("WP111", "targets")]
)  # fmt: skip
def test_a_finding_points_at_what_is_at_fault(code: str, where: str) -> None:
    assert report_of(SICK[code]).findings[0].where == where
