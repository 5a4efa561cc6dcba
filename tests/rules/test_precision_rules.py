"""WP208 and WP212 on hand-made profiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wellposed.limits import Limits
from wellposed.report import Severity
from wellposed.rules import precision as rules
from wellposed.rules.table import Defect, NoVerdict
from wellposed.signals.result import LayerPrecision, PrecisionProfile, RoundedNumbers

LIMITS = Limits()
NUMBERS = RoundedNumbers(largest=1e6, beyond=0.3, vanished=0.0, headroom=-4.0)
LAYER = LayerPrecision(
    name="fc1", kind="Linear", line="net.py:3", forward=NUMBERS, weights=None, backward=None, gradient_error=0.01, gradient_vanished=0.0
)  # fmt: skip
SOUND = PrecisionProfile(
    precision="fp16",
    layers=(LAYER,),
    finite=True,
    gradient_error=0.01,
    survives=True,
    worst="fc1",
    worst_vanished=0.1,
)
LOST = replace(SOUND, survives=False, worst_vanished=0.9, keep=("fc1",))


def judged(rule: Any, profile: PrecisionProfile) -> list[Any]:
    return list(rule(profile, LIMITS))


@pytest.mark.parametrize("rule", [rules.precision_underflow, rules.precision_overflow])
def test_a_step_that_survives_has_no_fault(rule: Any) -> None:
    assert judged(rule, SOUND) == []


def test_a_loss_scale_that_works_is_told_and_is_no_error() -> None:
    needs_scale = replace(SOUND, worst_vanished=1.0, scales=(4.0, 2.0**20))
    (fault,) = judged(rules.precision_underflow, replace(needs_scale, lost_layers=0.9))
    assert fault.severity is Severity.WARNING
    assert "2^2 to 2^20" in fault.fix
    (fault,) = judged(rules.precision_underflow, replace(needs_scale, lost_layers=0.1))
    assert fault.severity is Severity.NOTE


def test_a_loss_that_training_scales_has_no_fault_where_a_scale_works() -> None:
    assert judged(rules.precision_underflow, replace(SOUND, scales=(4.0, 16.0), scaled=True)) == []
    (fault,) = judged(rules.precision_underflow, replace(LOST, scaled=True))
    assert fault.severity is None


def test_the_layers_to_keep_are_named_where_no_scale_works() -> None:
    (fault,) = judged(rules.precision_underflow, LOST)
    assert "no loss scale" in fault.summary
    assert "keep fc1 in float32" in fault.fix
    (fault,) = judged(rules.precision_underflow, replace(LOST, precision="fp8", keep=None))
    assert "loss scale" not in fault.summary
    assert "was not enough" in fault.fix


def test_values_that_are_too_large_are_told_with_their_line_and_leave_no_verdict_on_gradients() -> None:
    profile = replace(LOST, overflows="fc1")
    (fault,) = judged(rules.precision_overflow, profile)
    assert isinstance(fault, Defect)
    assert "fc1 (net.py:3)" in fault.summary
    assert [type(j) for j in judged(rules.precision_underflow, profile)] == [NoVerdict]


def test_activations_that_become_zero_beside_one_that_dwarfs_them_are_told() -> None:
    starved = replace(NUMBERS, vanished=0.98, headroom=None)
    layer = replace(LAYER, forward=starved, gradient_error=0.8)
    (fault,) = judged(
        rules.precision_underflow, replace(LOST, precision="fp8", layers=(layer,), starved="fc1")
    )
    assert fault.summary.startswith("98% of the activations at fc1 round to zero in fp8")
