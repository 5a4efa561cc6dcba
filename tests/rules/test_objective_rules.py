"""WP0xx, WP111, WP302 and WP50x on hand-made profiles of the loss, and on the near misses that people train."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.limits import Limits
from wellposed.objective.label_probes import profile_targets
from wellposed.objective.result import ObjectiveProfile, OutputRange, TargetProfile, Targets
from wellposed.report import Severity
from wellposed.rules import objective as rules
from wellposed.rules.table import Defect, NoVerdict

from .cases import SICK, report_of
from .problems import FEATURES, adam, classes_of, inputs, mlp, normal, problem, sgd

LIMITS = Limits()
NAN = math.nan
Rule = Callable[..., Iterator[Any]]
CLASSES = Targets(kind="classes", classes=10, majority_share=0.1, rows=1000)
VALUES = Targets(kind="values", mean=0.0, std=1.0, rms=1.0, low=-3.0, high=3.0, rows=1000)
SOUND = ObjectiveProfile(
    initial=2.3, later=1.9, targets=CLASSES, constant=2.3, uninformed=2.3, floor=0.0, log_normaliser=2.3, normalises=True,
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


def faults(rule: Rule, profile: ObjectiveProfile = SOUND, **changes: Any) -> list[Defect]:
    return [j for j in judged(rule, profile, **changes) if isinstance(j, Defect)]


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
    assert len(faults(rules.initial_loss, initial=20.0, later=14.0)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"initial": 5.5, "later": 5.0},
        {"initial": 20.0, "later": 9.0},
        {"initial": 5.5, "later": 5.5, "constant": 0.1},
        {"initial": NAN},
        {"initial": 20.0, "later": 14.0, "constant": None},
        {"initial": 20.0, "later": 14.0, "uninformed": None},
        {"initial": 20.0, "later": None},
        {"initial": -3.0, "constant": -5.0},
    ],
    ids=[
        "within the limit",
        "the steps close more than half of the gap",
        "a better bias is no duty",
        "not finite",
        "no constant to compare with",
        "nothing uninformed to compare with",
        "no steps were taken",
        "below zero",
    ],
)
def test_a_start_is_not_blamed_otherwise(changes: dict[str, Any]) -> None:
    assert faults(rules.initial_loss, **changes) == []


def test_a_start_from_far_off_must_come_down_all_the_way() -> None:
    assert len(faults(rules.initial_loss, initial=60.0, later=6.0)) == 1
    assert faults(rules.initial_loss, initial=60.0, later=2.2) == []


def test_steps_that_blow_up_mend_no_start() -> None:
    assert len(faults(rules.initial_loss, initial=20.0, later=NAN)) == 1


def test_a_squared_error_may_start_ten_times_above_a_constant() -> None:
    square = replace(
        SOUND, targets=VALUES, constant=1.0, uninformed=1.0, initial=9.9, quadratic=True, later=9.0
    )
    assert faults(rules.initial_loss, square) == []
    assert len(faults(rules.initial_loss, square, initial=10.1)) == 1


def test_a_squared_error_of_far_targets_starts_where_outputs_of_zero_do() -> None:
    """Targets of 500 ± 10: how far they are is the business of WP505."""
    far = replace(SOUND, targets=replace(VALUES, mean=500.0, rms=500.1), quadratic=True)
    assert faults(rules.initial_loss, far, constant=100.0, uninformed=250_100.0, initial=251_000.0) == []


def skewed(classes: int, share: float, rows: int = 2000) -> tuple[torch.Tensor, torch.Tensor]:
    """One class holds the share of the rows; the class stands in the inputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        targets = torch.where(torch.rand(rows) < share, 0, torch.randint(classes, (rows,)))
        centres = 1.5 * torch.randn(classes, 16)
        return centres[targets] + torch.randn(rows, 16), targets


class Directions(nn.Module):
    """Outputs of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.body(x), dim=1)


def contrasted(temperature: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Each sample is to find the next of its class among all others."""

    def loss(directions: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        similar = directions @ directions.t() / temperature - 1e9 * torch.eye(len(directions))
        same = (classes[:, None] == classes).float() - torch.eye(len(classes))
        return -(torch.log_softmax(similar, 1) * same).sum(1).div(same.sum(1).clamp(min=1)).mean()

    return loss


class Transcriber(nn.Module):
    """Log-probabilities of a symbol or a blank at each of twelve times, times first."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.body = nn.GRU(FEATURES, 24, batch_first=True)
        self.head = nn.Linear(24, symbols)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(self.head(self.body(x)[0]), 2).transpose(0, 1)


def transcribed() -> wp.Problem:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        symbols = torch.randint(1, 9, (256, 4))
        x = 2 * F.one_hot(symbols.repeat_interleave(3, 1), 9)[..., :FEATURES] + 0.3 * torch.randn(256, 12, 8)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        lengths = torch.full((outputs.shape[1],), 12), torch.full((len(targets),), 4)
        return F.ctc_loss(outputs, targets, *lengths)

    return problem(lambda: Transcriber(9), loss, (x, symbols), optimizer=adam(1e-3))


def policy(probabilities: torch.Tensor, played: torch.Tensor) -> torch.Tensor:
    """The better the last move, the larger its return."""
    actions, returns = played[:, 0].long(), played[:, 1]
    return -(torch.log(probabilities.gather(1, actions[:, None])[:, 0]) * returns).mean()


def moves() -> tuple[torch.Tensor, torch.Tensor]:
    x, best = skewed(6, 0.95)
    return x, torch.stack([best.float(), 20 + torch.rand(len(x))], 1)


ORDINARY_STARTS: dict[str, Callable[[], wp.Problem]] = {
    "10 classes, 90 % in one": lambda: problem(mlp(16, 32, 10), data=skewed(10, 0.9), optimizer=sgd(1e-3)),
    "200 classes, 97 % in one": lambda: problem(
        mlp(16, 32, 200), data=skewed(200, 0.97), optimizer=sgd(1e-3)
    ),
    "probabilities, 95 % in one": lambda: problem(
        mlp(16, 32, 50, last=lambda: nn.LogSoftmax(1)), F.nll_loss, skewed(50, 0.95), optimizer=sgd(1e-3)
    ),
    "directions at a temperature": lambda: problem(
        Directions, contrasted(0.02), (inputs(256), classes_of(inputs(256))), optimizer=sgd(1e-4)
    ),
    "ctc": transcribed,
    "a policy with a softmax": lambda: problem(
        mlp(16, 32, 6, last=lambda: nn.Softmax(1)), policy, moves(), optimizer=sgd(1e-4)
    ),
}


@pytest.mark.parametrize("name", ORDINARY_STARTS)
def test_a_start_that_knows_nothing_is_an_ordinary_one(name: str) -> None:
    report = wp.check(ORDINARY_STARTS[name]())
    assert "WP302" not in report.codes, str(report)


def test_a_start_that_is_confident_and_wrong_is_found_among_skewed_classes_too() -> None:
    report = wp.check(problem(mlp(16, 32, 10, draw=normal(2.0)), data=skewed(10, 0.9), optimizer=sgd(1e-4)))
    assert "WP302" in report.codes, str(report)


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


def far_values(scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = inputs(400)
    return x, 500 + scale * x[:, :2]


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss, F.huber_loss])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_steep_slope_towards_far_targets_is_no_bare_likelihood(loss: Any, scale: float) -> None:
    report = wp.check(problem(mlp(FEATURES, 16, 2), loss, far_values(scale), optimizer=adam(1e-3)))
    assert "WP506" not in report.codes, str(report)


@pytest.mark.parametrize(
    "loss",
    [
        F.nll_loss,
        partial(F.nll_loss, reduction="sum"),
        partial(F.nll_loss, weight=torch.tensor([1.0, 5.0, 0.2])),
        lambda o, y: -(F.one_hot(y, 3) * o).sum(1).mean(),
    ],
    ids=["mean", "sum", "weighted", "by hand"],
)
def test_a_bare_likelihood_of_raw_outputs_is_found_however_it_is_reduced(loss: Any) -> None:
    assert wp.check(problem(loss=loss)).codes[0] == "WP506"


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


# WP502: what differs by rounding alone is constant


class Offset(nn.Module):
    """The share of the outputs that depends on the inputs."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.body, self.share = nn.Linear(FEATURES, 3), share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 3 + self.share * self.body(x)


@pytest.mark.parametrize(("share", "found"), [(0.0, True), (1e-7, True), (1e-4, False)])
def test_outputs_that_differ_by_rounding_alone_are_constant(share: float, found: bool) -> None:
    report = wp.check(problem(lambda: Offset(share)))
    assert ("WP502" in report.codes) is found, str(report)


# WP112, WP113, WP507


def targets_of(
    train: Any, validation: Any = None, *, kind: Any = "classes", outputs: int = 4
) -> TargetProfile:
    return profile_targets(
        np.asarray(train), None if validation is None else np.asarray(validation),
        kind=kind, outputs=outputs, loss_depends=True, complete=True,
    )  # fmt: skip


def codes_of(profile: TargetProfile) -> list[str]:
    judges = {"WP112": rules.constant_targets, "WP113": rules.unseen_labels, "WP507": rules.unused_output}
    return [
        code for code, rule in judges.items() if any(isinstance(j, Defect) for j in rule(profile, LIMITS))
    ]


EVEN = np.arange(400) % 4


@pytest.mark.parametrize(
    ("profile", "codes"),
    [
        (targets_of(EVEN, EVEN[:100]), []),
        (targets_of(np.zeros(400, int), outputs=2), ["WP112"]),
        (targets_of(np.full(400, 5.0), kind="values"), ["WP112"]),
        (targets_of(np.full(7, 5.0), kind="values"), []),
        (targets_of(1 + EVEN % 3, outputs=4), ["WP507"]),
        (targets_of(EVEN, outputs=10), ["WP507"]),
        (targets_of(EVEN % 3, EVEN[:100]), ["WP113", "WP507"]),
        (targets_of(EVEN % 3, EVEN[:8]), ["WP507"]),
        (targets_of(np.r_[EVEN, 5], outputs=7), []),
        (targets_of(np.where(EVEN == 0, -100, EVEN), outputs=4), ["WP507"]),
        (replace(targets_of(EVEN % 3, EVEN[:100]), complete=False), ["WP507"]),
        (replace(targets_of(np.zeros(400, int), outputs=2), loss_depends=False), []),
    ],
    ids=[
        "sound", "one class", "one value", "too few rows", "counted from 1", "ten outputs for four classes",
        "a class in validation alone", "a class that may be missing by chance", "a long tail", "ignored labels",
        "not all rows were read", "a loss without targets",
    ],
)  # fmt: skip
def test_targets_by_themselves(profile: TargetProfile, codes: list[str]) -> None:
    assert codes_of(profile) == codes


@pytest.mark.parametrize(("value", "severity"), [(0.0, Severity.NOTE), (1.0, Severity.NOTE), (7.0, None)])
def test_a_state_that_is_to_be_reached_is_worth_a_note_alone(value: float, severity: Severity | None) -> None:
    (fault,) = rules.constant_targets(targets_of(np.full(100, value), kind="values"), LIMITS)
    assert isinstance(fault, Defect)
    assert fault.severity is severity


# models whose output holds several tensors, or that compute their own loss


@dataclass
class Several:
    logits: torch.Tensor
    hidden: torch.Tensor
    step: int = 3


class Returning(nn.Module):
    def __init__(self, make: Callable[[torch.Tensor, torch.Tensor], Any], *, std: float = 0.1) -> None:
        super().__init__()
        self.body, self.head, self.make = nn.Linear(FEATURES, 16), nn.Linear(16, 3), make
        nn.init.normal_(self.head.weight, std=std)

    def forward(self, x: torch.Tensor) -> Any:
        hidden = torch.relu(self.body(x))
        return self.make(self.head(hidden), hidden)


FORMS: dict[str, tuple[Callable[..., Any], Callable[[Any], torch.Tensor]]] = {
    "tuple": (lambda o, h: (h, o), lambda out: out[1]),
    "list": (lambda o, h: [o, h], lambda out: out[0]),
    "dict": (lambda o, h: {"out": o, "aux": [h, h]}, lambda out: out["out"]),
    "dataclass": (Several, lambda out: out.logits),
}
OBJECTIVE = ("WP302", "WP501", "WP503", "WP504", "WP506")


@pytest.mark.parametrize("form", FORMS)
def test_the_output_that_the_targets_belong_to_is_probed_inside_a_structure(form: str) -> None:
    make, pick = FORMS[form]
    report = wp.check(problem(lambda: Returning(make), lambda out, y: F.cross_entropy(pick(out), y)))
    assert set(OBJECTIVE) <= set(report.passed), str(report)
    bare = wp.check(problem(lambda: Returning(make), lambda out, y: F.nll_loss(pick(out), y)))
    assert bare.codes[0] == "WP506", str(bare)
    turned = wp.check(problem(lambda: Returning(make), lambda out, y: -F.cross_entropy(pick(out), y)))
    assert turned.codes[0] == "WP504", str(turned)


def test_a_residual_that_is_to_vanish_has_no_start_to_compare_with() -> None:
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    report = wp.check(
        model, F.mse_loss, (x, torch.zeros(256, 1)), optimizer=torch.optim.SGD(model.parameters(), 1e-6)
    )
    assert "WP302" not in report.codes, str(report)


def both_heads(outputs: tuple[torch.Tensor, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs[0], y) + 0.4 * F.cross_entropy(outputs[1], y)


def the_heads_together(outputs: tuple[torch.Tensor, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs[0] + outputs[1], y)


def test_the_start_of_each_output_that_has_a_term_of_its_own_is_judged() -> None:
    model = Returning(lambda o, _: (o, 0.01 * o), std=5.0)
    report = wp.check(problem(lambda: model, both_heads, optimizer=sgd(1e-4)))
    assert [f.where for f in report.findings if f.code == "WP302"] == ["outputs[0]"]


def test_a_scale_is_not_judged_where_no_output_has_a_term_of_its_own() -> None:
    model = Returning(lambda o, _: (o, 2 * o), std=5.0)
    report = wp.check(problem(lambda: model, the_heads_together, optimizer=sgd(1e-4)))
    (skipped,) = (s for s in report.skipped if s.code == "WP302")
    assert "none stands out" in skipped.reason


class OwnLoss(nn.Module):
    """As of transformers: takes the labels, returns its loss beside the logits."""

    def __init__(self, loss: Callable[..., torch.Tensor] = F.cross_entropy, *, std: float = 0.1) -> None:
        super().__init__()
        self.body, self.classifier, self.loss = nn.Linear(FEATURES, 16), nn.Linear(16, 3), loss
        nn.init.normal_(self.classifier.weight, std=std)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.classifier(torch.relu(self.body(x)))
        return {"loss": self.loss(logits, labels), "logits": logits}


def owning(**options: Any) -> wp.Problem:
    x = inputs()
    batches = [{"x": a, "labels": b} for a, b in zip(x.split(32), classes_of(x).split(32), strict=True)]
    return replace(problem(lambda: OwnLoss(**options), optimizer=sgd(1e-4)), loss=None, train=batches)


def test_a_loss_of_the_models_own_is_probed_by_other_logits_in_their_place() -> None:
    assert {"WP302", "WP504", "WP506"} <= set(wp.check(owning()).passed)
    assert "WP302" in wp.check(owning(std=10.0)).codes
    assert "WP506" in wp.check(owning(loss=F.nll_loss)).codes


@pytest.mark.parametrize(
    "moved", [lambda logits: logits + 0.0, lambda logits: logits[torch.arange(len(logits))]]
)
def test_logits_that_no_module_returns_are_probed_where_they_are_made(moved: Callable[..., Any]) -> None:
    class Moved(OwnLoss):
        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = moved(self.classifier(torch.relu(self.body(x))))
            return {"loss": self.loss(logits, labels), "logits": logits}

    assert {"WP302", "WP504", "WP506"} <= set(wp.check(replace(owning(), model=Moved())).passed)


def test_logits_that_the_loss_does_not_read_leave_it_unprobed() -> None:
    made = owning()
    forward = made.model.forward
    made.model.forward = lambda x, labels: {k: v.clone() for k, v in forward(x, labels).items()}
    report = wp.check(made)
    assert "does not depend" in next(s.reason for s in report.skipped if s.code == "WP504")


# WP501 where the softmax is no layer


@pytest.mark.parametrize(
    "loss",
    [
        lambda o, y: F.cross_entropy(o.softmax(1), y),
        lambda o, y: F.cross_entropy(o.softmax(1)[:, :3].contiguous().view(-1, 3), y, label_smoothing=0.1),
        lambda o, y: F.nll_loss(F.log_softmax(F.softmax(o, 1), 1), y),
        lambda o, y: -torch.distributions.Categorical(logits=o.softmax(1)).log_prob(y).mean(),
        lambda o, y: F.binary_cross_entropy_with_logits(o.sigmoid(), F.one_hot(y, 3).float()),
    ],
)
def test_a_squashing_inside_the_loss_is_found(loss: Any) -> None:
    assert wp.check(problem(loss=loss)).codes[:1] == ("WP501",)


@pytest.mark.parametrize(
    "loss",
    [
        F.cross_entropy,
        lambda o, y: F.nll_loss(o.softmax(1).clamp(min=1e-9).log(), y),
        lambda o, y: F.cross_entropy(10 * o.softmax(1), y),  # sharpened, as similarities are
        lambda o, y: F.kl_div(
            F.log_softmax(o, 1), (5 * F.one_hot(y, 3).float()).softmax(1), reduction="batchmean"
        ),
        lambda o, y: F.cross_entropy(o, y) + 0.1 * (o.softmax(1) * F.log_softmax(o, 1)).sum(1).mean(),
    ],
)
def test_one_squashing_or_another_is_no_second_one(loss: Any) -> None:
    assert "WP501" not in wp.check(problem(loss=loss)).codes


def test_a_loss_without_end_is_told_of_its_output() -> None:
    (found,) = judged(rules.loss_sign, endless=("outputs[1]", "outputs[0]"), reason="of 2 outputs together")
    assert (found.where, found.measured) == ("outputs[1]", 2.0)
