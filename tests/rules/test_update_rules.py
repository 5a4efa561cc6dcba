"""WP505 and WP607 to WP609 on hand-made trainings, and where their limits lie on real ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import wellposed as wp
from wellposed.limits import Limits
from wellposed.report import Severity
from wellposed.rules import updates
from wellposed.rules.table import NO_OPTIMIZER, Defect, NoVerdict
from wellposed.signals.result import (
    Intervention,
    ParameterUpdate,
    RegroupedAxes,
    TrainingChange,
    TrainingOutcome,
    TrainingProfile,
)

from .problems import problem, regression, sgd

LIMITS = Limits()
NAN = math.nan
Rule = Callable[..., Iterator[Any]]
RATES: list[Rule] = [updates.update_too_large, updates.update_too_small, updates.weight_decay_dominates]


def outcome(start: float, end: float, *, steps: int = 30) -> TrainingOutcome:
    """A training whose loss goes evenly from start to end, on seen rows as on held-out ones."""
    last = end if math.isfinite(end) else start
    losses = tuple(start + (last - start) * i / (steps - 1) for i in range(steps))
    return TrainingOutcome(losses=losses if math.isfinite(end) else (*losses[:3], NAN), start=start, end=end)


def update(**changes: Any) -> ParameterUpdate:
    sound = {
        "name": "0.weight", "size": 64, "dimensions": 2, "rms": 0.1, "gradient_rms": 0.01, "first_step": 1e-3, "movement": 0.05, "rate": 0.1, "fan_in": 8
    }  # fmt: skip
    return ParameterUpdate(**(sound | changes))


def training(
    base: TrainingOutcome, *, updated: tuple[ParameterUpdate, ...] = (), **changes: Any
) -> TrainingProfile:
    sound = {
        "steps": 30,
        "optimizer": "SGD",
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "warming_up": False,
        "constant_loss": 1.0,
    }
    return TrainingProfile(outcome=base, updates=updated or (update(),), **(sound | changes))


def smaller_rates(outcomes: dict[int, TrainingOutcome]) -> tuple[Intervention, ...]:
    return tuple(
        Intervention(change=TrainingChange.SMALLER_RATE, factor=factor, outcome=outcome)
        for factor, outcome in outcomes.items()
    )


def larger_rate(factor: int, outcome: TrainingOutcome) -> tuple[Intervention, ...]:
    return (Intervention(change=TrainingChange.LARGER_RATE, factor=factor, outcome=outcome),)


def standardised_targets(outcome: TrainingOutcome) -> tuple[Intervention, ...]:
    return (Intervention(change=TrainingChange.STANDARDISED_TARGETS, outcome=outcome),)


def judged(rule: Rule, profile: TrainingProfile) -> list[Any]:
    return list(rule(profile, LIMITS))


def faults(rule: Rule, profile: TrainingProfile) -> list[Defect]:
    return [j for j in judged(rule, profile) if isinstance(j, Defect)]


@pytest.mark.parametrize("rule", RATES)
def test_without_an_optimizer_there_is_no_verdict(rule: Rule) -> None:
    profile = training(outcome(1.0, 5.0), optimizer="reference")
    assert judged(rule, profile) == [NO_OPTIMIZER]


@pytest.mark.parametrize("rule", RATES[:2])
def test_during_a_warm_up_there_is_no_verdict_on_the_rate(rule: Rule) -> None:
    (found,) = judged(rule, training(outcome(1.0, 5.0), warming_up=True))
    assert "warm-up" in found.reason


@pytest.mark.parametrize("rule", [*RATES, updates.target_scale])
def test_a_training_that_learns_has_no_fault(rule: Rule) -> None:
    assert judged(rule, training(outcome(1.0, 0.4))) == []


# WP607


@pytest.mark.parametrize("end", [5.0, math.inf, NAN])
def test_a_loss_that_blows_up_and_falls_at_a_tenth_of_the_rate_is_too_large_an_update(end: float) -> None:
    profile = training(outcome(1.0, end), what_if=smaller_rates({10: outcome(1.0, 0.5)}))
    (fault,) = faults(updates.update_too_large, profile)
    assert "divide the learning rate by 10;" in fault.fix
    assert fault.confidence == "confirmed"


def test_the_rate_that_ends_lowest_is_the_one_advised() -> None:
    tried = smaller_rates({10: outcome(1.0, 0.9), 100: outcome(1.0, 0.3), 1000: outcome(1.0, 0.8)})
    (fault,) = faults(updates.update_too_large, training(outcome(1.0, NAN), what_if=tried))
    assert "by 100;" in fault.fix


def test_a_loss_that_is_lost_at_every_rate_tried_never_passes() -> None:
    tried = smaller_rates({k: outcome(1.0, NAN) for k in (10, 100, 1000)})
    assert judged(updates.update_too_large, training(outcome(1.0, NAN), what_if=tried))


def test_a_held_out_loss_that_rises_while_training_falls_is_overfitting_and_no_fault() -> None:
    learned = TrainingOutcome(losses=(1.0, 0.5, 0.1, 0.01), start=1.0, end=4.0)
    profile = training(learned, what_if=smaller_rates({10: outcome(1.0, 0.9)}))
    assert faults(updates.update_too_large, profile) == []


@pytest.mark.parametrize(("start", "constant"), [(1.0, 3.0), (3.0, 1.0), (-1.0, -0.5)])
def test_diverging_is_ending_clearly_above_both_the_start_and_a_constant(
    start: float, constant: float
) -> None:
    reference = max(start, constant)
    assert not updates.diverged(outcome(start, reference), constant)
    assert not updates.diverged(outcome(start, reference + 0.09 * abs(reference)), constant)
    assert updates.diverged(outcome(start, reference + 0.2 * abs(reference)), constant)
    assert updates.diverged(outcome(start, NAN), constant)


# WP608


def still(**changes: Any) -> TrainingProfile:
    return training(outcome(1.0, 1.0), updated=(update(movement=1e-7),), **changes)


def test_weights_that_stand_still_and_learn_at_a_larger_rate_are_too_small_an_update() -> None:
    (fault,) = faults(updates.update_too_small, still(what_if=larger_rate(10000, outcome(1.0, 0.5))))
    assert fault.measured == 1e-7
    assert "10000" in fault.fix


def test_weights_that_stand_still_at_every_rate_are_no_fault_of_the_rate() -> None:
    assert faults(updates.update_too_small, still(what_if=larger_rate(100, outcome(1.0, 1.0)))) == []


def test_weights_that_move_by_the_limit_are_fine() -> None:
    moving = (update(movement=LIMITS.small_movement),)
    profile = training(outcome(1.0, 1.0), updated=moving, what_if=larger_rate(100, outcome(1.0, 0.5)))
    assert faults(updates.update_too_small, profile) == []


@pytest.mark.parametrize("rate", [1e-5, 1e-6, 1e-7, 1e-9])
def test_no_rate_is_so_small_that_it_passes(rate: float) -> None:
    report = wp.check(problem(optimizer=sgd(rate)))
    assert "WP608" in report.codes, str(report)


@pytest.mark.parametrize("rate", [1e2, 1e4, 1e6])
def test_no_rate_is_so_large_that_it_passes(rate: float) -> None:
    report = wp.check(problem(optimizer=sgd(rate)))
    assert "WP607" in report.codes, str(report)


def test_a_rate_of_zero_never_passes() -> None:
    report = wp.check(problem(optimizer=sgd(0.0)))
    assert "WP608" not in report.passed, str(report)


# WP609


def decayed(*, share: float, remaining: float, free: float = 0.5) -> TrainingProfile:
    pulled = (update(decay_share=share, remaining=remaining),)
    return training(
        outcome(1.0, 0.9),
        updated=pulled,
        weight_decay=10.0,
        what_if=(Intervention(change=TrainingChange.NO_WEIGHT_DECAY, outcome=outcome(1.0, free)),),
    )


def test_a_decay_that_shrinks_the_weights_and_costs_loss_is_a_fault() -> None:
    assert len(faults(updates.weight_decay_dominates, decayed(share=5.0, remaining=0.1))) == 1


@pytest.mark.parametrize(
    "measured",
    [
        {"share": LIMITS.decay_share, "remaining": 0.1},
        {"share": 5.0, "remaining": LIMITS.decay_remaining},
        {"share": 5.0, "remaining": 0.1, "free": 0.95},
        {"share": 5.0, "remaining": 0.1, "free": NAN},
    ],
    ids=["it pulls no harder", "the weights keep their size", "it does not cost loss", "the trial failed"],
)
def test_a_decay_that_does_no_such_thing_is_fine(measured: dict[str, float]) -> None:
    assert faults(updates.weight_decay_dominates, decayed(**measured)) == []


# WP505


def scaled(end: float, *, standardised: float, constant: float | None = 100.0) -> TrainingProfile:
    unit = constant or 100.0  # outcomes are told in the units of the raw targets
    what_if = standardised_targets(outcome(unit, standardised * unit))
    return training(outcome(100.0, end), constant_loss=constant, what_if=what_if)


def test_targets_that_learn_only_once_they_are_standardised_are_a_fault() -> None:
    (fault,) = faults(updates.target_scale, scaled(99.0, standardised=0.2))
    assert (fault.where, fault.measured) == ("targets", pytest.approx(0.99))


@pytest.mark.parametrize(
    "profile",
    [
        scaled(30.0, standardised=0.2),
        scaled(99.0, standardised=0.95),
        scaled(99.0, standardised=NAN),
        scaled(99.0, standardised=0.2, constant=None),
        training(outcome(100.0, 99.0)),
    ],
    ids=[
        "raw ones learn too",
        "neither learns",
        "the trial failed",
        "no constant to compare with",
        "not tried",
    ],
)
def test_targets_are_not_blamed_otherwise(profile: TrainingProfile) -> None:
    assert faults(updates.target_scale, profile) == []


@pytest.mark.parametrize("rows", [96, 400, 2000])
def test_the_scale_of_the_targets_is_seen_however_many_rows_there_are(rows: int) -> None:
    report = wp.check(regression(scale=1000.0, rows=rows))
    assert "WP505" in report.codes, str(report)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_targets_of_an_ordinary_scale_pass(scale: float) -> None:
    report = wp.check(regression(scale=scale))
    assert "WP505" in report.passed, str(report)


FAR = outcome(1.0e12, 1.0e12 * (1 - 7e-7))
STANDARDISED = standardised_targets(outcome(1.0e9, 0.97e9))


def far_targets(base: TrainingOutcome = FAR, **changes: Any) -> TrainingProfile:
    return training(base, **({"constant_loss": 1.0e9, "what_if": STANDARDISED} | changes))


def test_steps_that_close_next_to_nothing_of_a_long_way_need_no_second_training() -> None:
    (fault,) = faults(updates.target_scale, far_targets())
    assert (fault.where, fault.severity) == ("targets", Severity.WARNING)
    assert fault.measured == pytest.approx(7e-7, rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"base": outcome(1.0e12, 0.99e12)},
        {"constant_loss": 0.2e12, "what_if": standardised_targets(outcome(0.2e12, 0.2e12))},
        {"updated": (update(movement=1e-6),)},
        {"what_if": ()},
    ],
    ids=["a hundredth of the way", "the way is short", "no weight moves", "the targets are in order"],
)
def test_a_slow_start_is_not_blamed_on_the_targets_otherwise(changes: dict[str, Any]) -> None:
    assert faults(updates.target_scale, far_targets(**changes)) == []


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_over_one_pair_is_not_too_fast(line_search: str | None) -> None:
    """It compares losses from step to step, and so it is given the same rows."""

    def lbfgs(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(model.parameters(), line_search_fn=line_search)

    for made in (problem(optimizer=lbfgs), regression(optimizer=lbfgs)):
        report = wp.check(made)
        assert "WP607" in report.passed, str(report)
        assert report.ok, str(report)


def test_lbfgs_at_a_rate_that_blows_up_is_still_found() -> None:
    made = problem(optimizer=lambda model: torch.optim.LBFGS(model.parameters(), lr=1e6))
    assert "WP607" in wp.check(made).codes


# views that regroup numbers


def exchanged(ends: tuple[float, ...], others: tuple[float, ...]) -> list[Any]:
    axes = RegroupedAxes(
        where="net.py:7", before=(64, 16, 16, 3), after=(64, 3, 16, 16), views=1, ends=ends, exchanged=others
    )
    profile = training(outcome(2.3, ends[0]), views=1, regrouped=axes)
    return list(updates.scrambled_axes(profile, LIMITS))


def test_axes_that_help_in_every_order_are_an_error() -> None:
    (fault,) = exchanged((2.2, 2.25, 2.22), (1.7, 1.4, 1.6))
    assert (fault.where, fault.severity, fault.confidence) == ("net.py:7", None, "confirmed")
    assert "(N, 16, 16, 3) into (N, 3, 16, 16)" in fault.summary


@pytest.mark.parametrize("others", [(2.1, 2.3, 2.2), (1.7, 1.4, 2.2), (2.1, 2.12, 2.1)])
def test_axes_that_help_within_the_scatter_are_a_note(others: tuple[float, ...]) -> None:
    (fault,) = exchanged((2.2, 2.25, 2.22), others)
    assert fault.severity is Severity.NOTE


def test_axes_that_cannot_be_exchanged_have_no_verdict() -> None:
    (unsure,) = exchanged((2.2, 2.25, 2.22), (1.5, NAN, 1.5))
    assert isinstance(unsure, NoVerdict)


def test_a_view_that_puts_the_order_right_is_no_fault() -> None:
    assert exchanged((1.7, 1.4, 1.6), (2.2, 2.25, 2.22)) == []


def test_views_that_regroup_have_not_passed_until_axes_are_exchanged() -> None:
    (unsure,) = updates.scrambled_axes(training(outcome(2.3, 2.2), views=1), LIMITS)
    assert "not tried" in unsure.reason
    assert list(updates.scrambled_axes(training(outcome(2.3, 2.2)), LIMITS)) == []
