"""The probes of the labels: they see what can be learned, and call noise noise no oftener than they claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from wellposed.limits import Limits
from wellposed.objective.label_probes import batch_classes, probe_labels
from wellposed.objective.result import LabelProfile
from wellposed.rules.objective import uninformative_labels
from wellposed.rules.table import Defect, NoVerdict

RNG = np.random.default_rng
X = RNG(0).normal(size=(600, 8))


def verdict(profile: LabelProfile | None) -> str:
    assert profile is not None
    (*judged,) = uninformative_labels(profile, Limits())
    if not judged:
        return "pass"
    return judged[0].outcome if isinstance(judged[0], NoVerdict) else "fault"


LEARNABLE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear classes": lambda x: (x[:, 0] > 0).astype(np.int64),
    "three classes": lambda x: x[:, :3].argmax(1),
    "linear values": lambda x: x[:, :1] * 2 - x[:, 1:2],
    "a distance from the middle": lambda x: (x[:, :2] ** 2).sum(1, keepdims=True),
    "two outputs of which one is noise": lambda x: np.c_[x[:, 0], RNG(5).normal(size=len(x))],
    "a tenth of the labels wrong": lambda x: np.where(
        RNG(6).random(len(x)) < 0.1, RNG(7).integers(0, 3, len(x)), x[:, :3].argmax(1)
    ),
}


@pytest.mark.parametrize("name", LEARNABLE)
def test_targets_that_depend_on_the_inputs_pass(name: str) -> None:
    assert verdict(probe_labels(X, LEARNABLE[name](X), seed=0)) == "pass"


@pytest.mark.parametrize("name", LEARNABLE)
def test_the_same_targets_out_of_step_are_a_fault(name: str) -> None:
    order = RNG(9).permutation(len(X))
    assert verdict(probe_labels(X, LEARNABLE[name](X)[order], seed=0)) != "pass"


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_of_inputs_and_targets_change_nothing(scale: float) -> None:
    y = X[:, :1] + X[:, 1:2]
    plain, scaled = probe_labels(X, y, seed=0), probe_labels(scale * X + scale, y / scale, seed=0)
    assert plain is not None
    assert scaled is not None
    assert scaled.score == pytest.approx(plain.score, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X[:60], X[:60, :1]),
        (X, np.zeros(600, dtype=np.int64)),
        (X, np.ones((600, 1))),
        (np.zeros((200, 5000)), np.arange(200) % 2),
        (X, np.arange(600)),
    ],
    ids=["few rows", "one class", "constant values", "too many columns", "a class for every row"],
)
def test_what_cannot_be_told_is_not_measured(x: np.ndarray, y: np.ndarray) -> None:
    assert probe_labels(x, y, seed=0) is None


def test_constant_columns_and_wide_tables_are_no_obstacle() -> None:
    x = np.c_[X, np.full((600, 3), 7.0)]
    assert verdict(probe_labels(x, X[:, :3].argmax(1), seed=0)) == "pass"


def test_the_same_seed_gives_the_same_profile() -> None:
    assert probe_labels(X, X[:, 0] > 0, seed=3) == probe_labels(X, X[:, 0] > 0, seed=3)


def test_the_inputs_are_left_as_they_were() -> None:
    x, y = X.copy(), X[:, :1].copy()
    probe_labels(x, y, seed=0)
    assert np.array_equal(x, X)
    assert np.array_equal(y, X[:, :1])


def profile(score: float, *, spread: float = 0.03) -> LabelProfile:
    return LabelProfile(rows=500, score=score, chance=0.0, chance_std=spread)


def test_skill_at_the_limit_passes_and_below_it_is_a_fault() -> None:
    limit = Limits().label_deviations * 0.03
    assert verdict(profile(limit)) == "pass"
    assert verdict(profile(limit - 1e-6)) == "fault"


def test_a_test_too_blunt_to_tell_says_so() -> None:
    judged = list(uninformative_labels(profile(0.0, spread=0.2), Limits()))
    assert [j.outcome for j in judged if isinstance(j, NoVerdict)] == ["inconclusive"]
    assert not [j for j in judged if isinstance(j, Defect)]


def test_skill_that_is_not_a_number_is_no_pass() -> None:
    assert verdict(profile(float("nan"))) != "pass"


def batches_of(labels: np.ndarray, size: int) -> list[np.ndarray]:
    return [labels[i : i + size] for i in range(0, len(labels), size)]


@pytest.mark.parametrize("classes", [2, 10, 300])
@pytest.mark.parametrize("skew", [0.0, 1.5])
@pytest.mark.parametrize("size", [1, 2, 16, 64])
def test_shuffled_batches_are_within_chance_and_sorted_ones_beyond_it(
    classes: int, skew: float, size: int
) -> None:
    rng = np.random.default_rng(0)
    shares = np.arange(1.0, classes + 1) ** -skew
    labels = rng.choice(classes, size=3000, p=shares / shares.sum())
    counts = dict(zip(*(a.tolist() for a in np.unique(labels, return_counts=True)), strict=True))
    shuffled = batch_classes(batches_of(labels, size)[:24], counts)
    in_order = batch_classes(batches_of(np.sort(labels), size)[:24], counts)
    assert shuffled is not None
    assert in_order is not None
    assert shuffled.drawn == pytest.approx(shuffled.expected, rel=0.25)
    assert shuffled.chance > 1e-3
    assert in_order.expected == pytest.approx(shuffled.expected)
    if size >= 16 and skew == 0 and classes <= 10:
        assert in_order.drawn < 3
        assert in_order.chance < 1e-9


def test_samplers_that_put_some_samples_of_each_of_several_classes_into_a_batch_hold_more_than_two() -> None:
    rng = np.random.default_rng(0)
    batches = [np.repeat(rng.choice(100, 8, replace=False), 4) for _ in range(20)]
    found = batch_classes(batches, dict.fromkeys(range(100), 30))
    assert found is not None
    assert found.drawn == 8


def test_labels_that_the_loss_leaves_out_are_no_class() -> None:
    assert batch_classes([np.array([-100, -100]), np.array([1, 0])], {0: 5, 1: 5}) is None
    assert batch_classes([], {0: 5, 1: 5}) is None
    assert batch_classes([np.array([0, 0])] * 3, {0: 6}) is None
