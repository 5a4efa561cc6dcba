"""Saved measurements: they keep their types, are judged again without the model, and are refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wellposed as wp
from wellposed import Limits, Report
from wellposed.errors import ArgumentError, ArtifactError
from wellposed.measurements import MEASUREMENTS
from wellposed.report import Unmeasured
from wellposed.rules import RESULTS
from wellposed.rules.saved import TYPES

OLD = Path(__file__).parent / "report_schema_1.json"
Damage = Callable[[dict[str, Any]], object]


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * ctx.saved_tensors[0] ** 2


class Cubed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(x)


def uneven(**more: Any) -> wp.Problem:
    """Inputs in two units, with a validation split and an optimizer, so that most of the rules have something to judge."""
    torch.manual_seed(0)
    x = torch.randn(200, 2) * torch.tensor([1.0, 400.0])
    y = (x[:, :1] > 0).long().squeeze(1)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), Cubed(), nn.Linear(8, 2))
    given: dict[str, Any] = {"train": (x[:150], y[:150]), "validation": (x[150:], y[150:])} | more
    return wp.Problem(
        model=model, loss=F.cross_entropy, optimizer=torch.optim.SGD(model.parameters(), lr=0.01), **given
    )


@cache
def report() -> Report:
    return wp.check(uneven()).addressed("train.py:uneven")


@cache
def saved() -> str:
    return report().to_json()


def verdicts(report: Report) -> tuple[Any, ...]:
    return report.findings, report.passed, report.skipped, report.core, report.verdict


def test_a_saved_report_brings_back_what_the_rules_judge():
    back = Report.from_json(saved())
    assert {type(m) for m in back.measurements.values()} <= {*RESULTS, Unmeasured}
    assert {name: type(m) for name, m in back.measurements.items()} == {
        name: type(m) for name, m in report().measurements.items()
    }
    assert back.to_json() == saved()


def test_the_same_limits_give_the_same_findings():
    assert verdicts(Report.from_json(saved()).judged()) == verdicts(report())
    assert verdicts(report().judged(Limits())) == verdicts(report())


def test_a_hand_written_backward_pass_is_judged_again_too():
    assert "WP401" in report().codes
    assert "WP401" in Report.from_json(saved()).judged().codes


def test_other_limits_give_other_findings_and_are_saved_with_them():
    assert "WP101" in report().codes
    wide = Report.from_json(saved()).judged(Limits(feature_spread=1e6, feature_dominance=1e9))
    assert "WP101" in wide.passed
    assert wide.limits == {"feature_spread": 1e6, "feature_dominance": 1e9}
    again = Report.from_json(wide.to_json()).judged()
    assert verdicts(again) == verdicts(wide)


def test_limits_given_to_the_check_are_those_of_its_report():
    strict = wp.check(uneven(), limits=Limits(collapsed=0.5), select="WP2")
    assert strict.limits == {"collapsed": 0.5}
    assert verdicts(strict.judged()) == verdicts(strict)


def test_only_the_rules_that_were_asked_judge_again():
    asked = wp.check(uneven(), select="WP1").judged()
    judged = {*asked.codes, *asked.passed, *(s.code for s in asked.skipped)}
    assert {code[:3] for code in judged} == {"WP1"}


def test_what_was_not_measured_stays_so_with_its_reason():
    no_loss = wp.check(nn.Linear(2, 1), None, (torch.randn(64, 2), torch.randn(64, 1)))
    back = Report.from_json(no_loss.to_json())
    assert back.measurements["training"] == no_loss.measurements["training"]
    assert verdicts(back.judged()) == verdicts(no_loss)


def test_suggested_commands_keep_the_users_problem():
    wp101 = next(f for f in report().judged().findings if f.code == "WP101")
    assert wp101.fix.startswith("wellposed fix train.py:uneven\n")


@pytest.mark.parametrize("limits", [{}, 5, "feature_spread=3"])
def test_what_is_no_limits_is_refused(limits: Any):
    with pytest.raises(ArgumentError, match="limits is a"):
        report().judged(limits)


def test_a_report_of_schema_1_loads_and_is_not_judged_again():
    old = Report.from_json(OLD.read_bytes())
    assert old.codes == ("WP101", "WP205")
    assert old.measurements["training"]["steps"] == 30
    assert Report.from_json(old.to_json()).measurements == old.measurements
    with pytest.raises(ArtifactError, match="schema 1, which does not hold what the rules judge"):
        old.judged()


def truncate(path: str) -> Damage:
    def damage(measurements: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            measurements = measurements[name]
        measurements[last] = measurements[last][:-1]

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: m["training"].pop("outcome"), "'training' are damaged.*outcome"),
        (lambda m: m["training"].update(steps="many"), "'training' are damaged.*steps"),
        (lambda m: m["training"]["outcome"].update(end=None), "'training' are damaged.*end"),
        (lambda m: m["input"]["train"].update(mean="high"), "'input' are damaged"),
        (lambda m: m["input"]["train"].update(mean=[[1.0], [2.0]]), "'input' are damaged"),
        (lambda m: m["input"]["train"].update(mean=[1.0, [2.0]]), "'input' are damaged"),
        (lambda m: m["input"]["train"].update(count=[1.5, 2]), "'input' are damaged.*int64"),
        (lambda m: m["input"].update(names=["one"]), "'input' are damaged.*columns"),
        (truncate("input.std"), "'input' are damaged.*std"),
        (truncate("input.train.mean"), "'input' are damaged"),
        (truncate("input.shift.distance"), "'input' are damaged.*distance"),
        (lambda m: m.update(signal=5), "'signal' are damaged"),
        (lambda m: m.update(signal={"unmeasured": {}}), "'signal' are damaged"),
        (lambda m: m.update(weather={}), "measurements called 'weather'"),
    ],
)
def test_damaged_measurements_are_refused(damage: Damage, message: str):
    plain = json.loads(saved())
    damage(plain["measurements"])
    with pytest.raises(ArtifactError, match=message):
        Report.from_json(json.dumps(plain))


def test_measurements_that_are_no_object_are_refused():
    with pytest.raises(ArtifactError, match="measurements are no object"):
        Report.from_json(json.dumps(json.loads(saved()) | {"measurements": [1]}))


@pytest.mark.parametrize("limits", [{"unknown": 1.0}, {"feature_spread": -1.0}])
def test_damaged_limits_are_refused_when_they_are_used(limits: dict[str, float]):
    damaged = Report.from_json(json.dumps(json.loads(saved()) | {"limits": limits}))
    with pytest.raises(ArtifactError, match="limits of the report"):
        damaged.judged()


def test_the_size_of_a_saved_report_is_that_of_its_numbers():
    x = torch.randn(100, 1000)
    wide = wp.check(nn.Linear(1000, 1), F.mse_loss, (x[:80], x[:80, :1]), validation=(x[80:], x[80:, :1]))
    assert (
        len(wide.to_json()) < 1_500_000
    )  # 26 numbers a column, of up to 20 characters and their indentation


# --- the table


def test_a_measurement_needs_only_what_stands_before_it_in_the_table():
    measured: set[type] = set()
    for line in MEASUREMENTS:
        assert {*line.needs, *line.uses} <= measured, line
        measured.add(line.result)


def test_every_measurement_that_a_rule_judges_is_in_the_table():
    assert set(RESULTS) <= {line.result for line in MEASUREMENTS}
    assert len(TYPES) == len(RESULTS)


def test_the_names_of_measurements_are_those_of_saved_reports():
    came_later = {"loss_gradient", "precision", "weight"}
    assert set(json.loads(OLD.read_text())["measurements"]) == set(TYPES) - came_later


def test_limits_in_a_report_are_those_of_the_class():
    assert set(report().judged(Limits(feature_spread=3)).limits) <= {f.name for f in fields(Limits)}
