"""WP2xx and WP301 on hand-made signals: where the limits lie, what NaN does, which layer is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import wellposed as wp
from wellposed.limits import Limits
from wellposed.rules import signals as rules
from wellposed.rules.table import NO_OPTIMIZER, Defect, NoVerdict
from wellposed.signals.result import (
    LayerSignal,
    NonFiniteOrigin,
    ParameterUpdate,
    SignalProfile,
    TrainingOutcome,
    TrainingProfile,
)

from .cases import SICK, report_of
from .problems import inputs

LIMITS = Limits()
NAN = math.nan
Rule = Callable[..., Iterator[Any]]
FORWARD: list[Rule] = [rules.vanishing_activations, rules.exploding_activations, rules.signal_collapse]
ALL: list[Rule] = [
    *FORWARD, rules.dead_units, rules.saturated_units, rules.exploding_gradients,
    rules.non_finite_origin, rules.noise_dominates,
]  # fmt: skip


def layer(name: str, **changes: Any) -> LayerSignal:
    sound = {
        "name": name, "kind": "Linear", "rms": 1.0, "sample_std": 0.9, "gradient_rms": 1e-2, "units": 64, "rectified": True, "squashing": None
    }  # fmt: skip
    return LayerSignal(**(sound | changes))


def stack(*sizes: float, **changes: Any) -> tuple[LayerSignal, ...]:
    """Layers whose signal has the given sizes."""
    return tuple(layer(f"fc{i}", rms=s, sample_std=0.9 * s, **changes) for i, s in enumerate(sizes))


SOUND = SignalProfile(
    layers=stack(1, 1, 1, 1), later=stack(1, 1, 1, 1), steps=30, input_std=1.0, output="fc3"
)


def judged(rule: Rule, **changes: Any) -> list[Any]:
    return list(rule(replace(SOUND, **changes), LIMITS))


def faults(rule: Rule, **changes: Any) -> list[Defect]:
    return [j for j in judged(rule, **changes) if isinstance(j, Defect)]


@pytest.mark.parametrize("rule", ALL)
def test_a_sound_signal_has_no_fault(rule: Rule) -> None:
    assert faults(rule) == []


@pytest.mark.parametrize("rule", ALL)
def test_a_model_in_which_nothing_was_seen_has_no_fault(rule: Rule) -> None:
    assert faults(rule, layers=(), later=()) == []


@pytest.mark.parametrize("rule", FORWARD[:2])
@pytest.mark.parametrize("std", [None, 0.0])
def test_inputs_that_are_codes_or_do_not_vary_give_no_verdict(rule: Rule, std: float | None) -> None:
    assert [type(j) for j in judged(rule, input_std=std)] == [NoVerdict]


# WP201 to WP203


def test_under_a_limit_that_no_layer_before_it_reaches_the_last_layer_is_named() -> None:
    quarter = stack(0.5, 0.5, 0.25, 1)
    (defect,) = rules.vanishing_activations(
        replace(SOUND, layers=quarter, later=quarter), Limits(vanished=0.5)
    )

    assert defect.where == "fc2"


def test_a_signal_that_came_back_is_not_accused_where_what_was_learned_is_not_known() -> None:
    gone = stack(1, 1, 1e-6, 1)

    assert faults(rules.vanishing_activations, layers=gone, later=stack(1, 1, 1, 1), learned=None) == []
    assert faults(rules.vanishing_activations, layers=gone, later=stack(1, 1, 1, 1), learned=0.0)


def test_a_signal_that_vanishes_and_stays_away_is_named_where_its_fall_began() -> None:
    gone = stack(1, 5e-3, 1e-4, 1e-5, 1e-6)
    (fault,) = faults(rules.vanishing_activations, layers=gone, later=gone)
    assert (fault.where, fault.measured) == ("fc1", 1e-5)


@pytest.mark.parametrize(
    ("first", "later"),
    [(stack(1, 1, LIMITS.vanished, 1), stack(1, 1, 1, 1)), (stack(1, 1, 1e-6, 1), stack(1, 1, 0.1, 1))],
    ids=["at the limit", "the steps mend it"],
)
def test_a_signal_that_comes_back_or_reaches_the_limit_is_fine(first: Any, later: Any) -> None:
    assert faults(rules.vanishing_activations, layers=first, later=later, learned=0.5) == []


def test_small_inputs_make_small_signals_and_no_fault() -> None:
    small = stack(1e-3, 1e-3, 1e-3, 1e-3)
    assert faults(rules.vanishing_activations, layers=small, later=small, input_std=1e-3) == []


def test_a_signal_that_explodes_is_a_fault_and_at_the_limit_is_not() -> None:
    limit = LIMITS.exploded / 0.9
    (fault,) = faults(rules.exploding_activations, layers=stack(1, 20, 400, 1.1 * limit))
    assert fault.where == "fc1"
    assert faults(rules.exploding_activations, layers=stack(1, 20, 400, limit)) == []


def test_large_inputs_may_have_large_outputs() -> None:
    assert faults(rules.exploding_activations, layers=stack(*[5e3] * 4), input_std=1e2) == []


def alike(spread: float) -> tuple[LayerSignal, ...]:
    return tuple(layer(f"fc{i}", sample_std=s) for i, s in enumerate((0.9, 0.05, spread, 0.9)))


def test_samples_that_all_look_alike_are_a_fault_where_they_begin_to() -> None:
    (fault,) = faults(rules.signal_collapse, layers=alike(1e-3), later=alike(1e-3))
    assert (fault.where, fault.measured) == ("fc1", 1e-3)


@pytest.mark.parametrize(
    ("first", "later"), [(LIMITS.collapsed, 1e-3), (1e-3, 0.5)], ids=["at the limit", "the steps mend it"]
)
def test_samples_that_come_apart_are_fine(first: float, later: float) -> None:
    assert faults(rules.signal_collapse, layers=alike(first), later=alike(later)) == []


def test_samples_that_look_alike_before_any_step_give_no_verdict() -> None:
    (found,) = judged(rules.signal_collapse, layers=alike(1e-3), later=())
    assert isinstance(found, NoVerdict)
    assert found.outcome == "inconclusive"


class ClosedBranch(nn.Module):
    """A residual branch whose last layer starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.gate = nn.Linear(8, 8), nn.Linear(8, 8)
        nn.init.zeros_(self.gate.weight)
        nn.init.ones_(self.gate.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gate(torch.relu(self.body(x)))


def test_a_residual_net_with_closed_branches_is_not_accused_without_a_loss() -> None:
    model = nn.Sequential(nn.Linear(8, 8), *[ClosedBranch() for _ in range(4)], nn.Linear(8, 3))
    report = wp.check(model, train=(inputs(), None))
    assert (report.errors, report.warnings) == ((), ()), str(report)


def test_one_sample_a_batch_gives_no_verdict_on_how_samples_differ() -> None:
    alone = tuple(layer(f"fc{i}", sample_std=NAN) for i in range(4))
    assert [type(j) for j in judged(rules.signal_collapse, layers=alone, later=alone)] == [NoVerdict]
    assert faults(rules.exploding_activations, layers=alone, later=alone) == []


# WP204, WP205, WP207


def dead(share: float, **changes: Any) -> tuple[LayerSignal, ...]:
    return (layer("fc0"), layer("fc1", dead_share=share, **changes), layer("fc2"))


def test_units_that_are_dead_before_and_after_are_a_fault() -> None:
    (fault,) = faults(rules.dead_units, layers=dead(0.9), later=dead(0.85))
    assert (fault.where, fault.measured) == ("fc1", 0.85)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (dead(LIMITS.dead_share), dead(1.0)),
        (dead(1.0), dead(0.1)),
        (dead(1.0, units=3), dead(1.0, units=3)),
        (dead(1.0, rectified=False), dead(1.0)),
        (dead(1.0, gradient_rms=None), dead(1.0)),
    ],
    ids=["at the limit", "they come back", "too few units", "no rectifier", "no gradient arrives"],
)
def test_units_are_not_called_dead_otherwise(first: Any, later: Any) -> None:
    assert faults(rules.dead_units, layers=first, later=later) == []


def saturated(share: float | None) -> tuple[LayerSignal, ...]:
    return (layer("fc0", squashing="tanh", saturated_share=share), layer("fc1"))


def test_entries_that_saturate_before_and_after_are_a_fault() -> None:
    assert len(faults(rules.saturated_units, layers=saturated(0.9), later=saturated(0.6))) == 1


@pytest.mark.parametrize(("first", "later"), [(LIMITS.saturated_share, 0.9), (0.9, 0.1), (None, None)])
def test_entries_that_leave_saturation_are_fine(first: float | None, later: float | None) -> None:
    assert faults(rules.saturated_units, layers=saturated(first), later=saturated(later)) == []


def test_an_output_may_saturate() -> None:
    assert faults(rules.saturated_units, layers=saturated(0.9), later=saturated(0.9), output="fc0") == []


def flowing(*gradients: float | None) -> tuple[LayerSignal, ...]:
    return tuple(layer(f"fc{i}", gradient_rms=g) for i, g in enumerate(gradients))


def test_a_gradient_that_grows_beyond_the_limit_is_a_fault_where_it_is_largest() -> None:
    (fault,) = faults(rules.exploding_gradients, layers=flowing(1e2, 2e3, 1.0, 1e-2))
    assert fault.where == "fc1"
    assert faults(rules.exploding_gradients, layers=flowing(99.0, 1.0, 1e-2)) == []


def test_too_few_layers_with_a_gradient_give_no_verdict() -> None:
    assert [type(j) for j in judged(rules.exploding_gradients, layers=flowing(1.0, None, 1.0))] == [NoVerdict]


# WP209 and WP210


@pytest.mark.parametrize(("direction", "said"), [("forward", "output"), ("backward", "gradient")])
def test_the_origin_of_a_nan_names_operation_and_place(direction: str, said: str) -> None:
    origin = NonFiniteOrigin(where="fc1", operation="SqrtBackward", direction=direction, step=0)
    (fault,) = faults(rules.non_finite_origin, nonfinite=origin)
    assert fault.where == "fc1"
    assert f"infinite {said} comes from SqrtBackward" in fault.summary


def test_the_rows_that_make_a_nan_are_told_a_few_of_them_by_number() -> None:
    origin = NonFiniteOrigin(
        where="fc1", operation="log", direction="forward", step=0, batch=2, rows=(1, 3, 4, 5, 6)
    )
    (fault,) = faults(rules.non_finite_origin, nonfinite=origin)
    assert "with 5 rows (1, 3, 4, 5, …) of batch 2" in fault.summary


def test_a_parameter_that_is_nan_is_named_itself() -> None:
    origin = NonFiniteOrigin(where="table.weight", operation="parameter", direction="forward", step=0)
    (fault,) = faults(rules.non_finite_origin, nonfinite=origin)
    assert fault.summary.startswith("table.weight holds a NaN")


@pytest.mark.parametrize(
    ("noise", "count"), [(0.0, 0), (LIMITS.noise, 0), (2 * LIMITS.noise, 1), (math.inf, 1)]
)
def test_dropout_may_make_the_outputs_vary_up_to_the_limit(noise: float, count: int) -> None:
    assert len(faults(rules.noise_dominates, noise=noise, noisiest="drop")) == count


def test_without_dropout_there_is_no_verdict_on_its_noise() -> None:
    assert judged(rules.noise_dominates) == [NoVerdict(reason="no dropout", outcome="not applicable")]


# WP301, WP206


def update(name: str, **changes: Any) -> ParameterUpdate:
    sound = {
        "size": 64,
        "dimensions": 2,
        "rms": 0.1,
        "gradient_rms": 0.01,
        "first_step": 1e-3,
        "movement": 0.05,
        "rate": 0.1,
    }
    return ParameterUpdate(name=name, **(sound | changes))


def training(*updates: ParameterUpdate, optimizer: str = "SGD") -> TrainingProfile:
    return TrainingProfile(
        outcome=TrainingOutcome(losses=(1.0, 0.5), start=1.0, end=0.5), steps=30, optimizer=optimizer, learning_rate=0.1,
        weight_decay=0.0, warming_up=False, updates=updates,
    )  # fmt: skip


def trained(rule: Rule, *updates: ParameterUpdate, optimizer: str = "SGD") -> list[Any]:
    return list(rule(training(*updates, optimizer=optimizer), LIMITS))


def test_units_that_stay_copies_of_each_other_are_a_fault() -> None:
    (fault,) = trained(rules.symmetric_weights, update("a"), update("b", rows_equal=True))
    assert fault.where == "b"


def test_a_weight_that_never_moved_is_not_called_symmetric() -> None:
    assert trained(rules.symmetric_weights, update("a", rows_equal=True, movement=0.0)) == []


def test_a_weight_that_hardly_moves_beside_one_that_does_is_a_fault() -> None:
    (fault,) = trained(rules.vanishing_updates, update("a", movement=1e-7), update("b"))
    assert (fault.where, fault.measured) == ("a", 1e-7)


@pytest.mark.parametrize(
    "slow",
    [
        update("a", movement=LIMITS.slow_movement),
        update("a", movement=5e-5, rate=1e-4),
        update("a", movement=1e-7, dimensions=1),
        update("a", movement=0.0),
        update("a", movement=NAN),
    ],
    ids=["at the limit", "its rate is lower", "a bias", "it gets no gradient", "NaN"],
)
def test_a_slow_weight_is_not_blamed_otherwise(slow: ParameterUpdate) -> None:
    found = trained(rules.vanishing_updates, slow, update("b"), update("c"))
    assert [f for f in found if isinstance(f, Defect)] == []


@pytest.mark.parametrize("updates", [(), (update("a"),)])
def test_fewer_than_two_weights_give_no_verdict(updates: tuple[ParameterUpdate, ...]) -> None:
    assert [type(j) for j in trained(rules.vanishing_updates, *updates)] == [NoVerdict]


def test_without_an_optimizer_there_is_no_verdict_on_movement() -> None:
    found = trained(rules.vanishing_updates, update("a", movement=1e-7), update("b"), optimizer="reference")
    assert found == [NO_OPTIMIZER]


@pytest.mark.parametrize(
    ("code", "where"), [("WP204", "2"), ("WP209", "1"), ("WP210", "1"), ("WP301", "0.weight")]
)
def test_a_finding_points_at_the_layer_at_fault(code: str, where: str) -> None:
    finding = next(f for f in report_of(SICK[code]).findings if f.code == code)
    assert finding.where == where, finding.summary
