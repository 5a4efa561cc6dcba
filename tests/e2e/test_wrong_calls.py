"""Every plain parameter of every public function, given the wrong kinds: one error, which names it, and at once.

Models, losses and data are in test_bad_use.py; the checks themselves in tests/unit/test_arguments.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.differentiate import directional_derivative, hessian_vector, jacobian
from wellposed.errors import ArgumentError
from wellposed.normalize.apply_to_file import apply
from wellposed.normalize.drift import measure_drift
from wellposed.normalize.export.sql import to_sql

X = torch.randn(96, 4, generator=torch.Generator().manual_seed(0))
ROWS = X.numpy()
N = wp.Normalizer.fit(ROWS, columns=["a", "b", "c", "d"])
NAN, INF = float("nan"), float("inf")


def problem() -> wp.Problem:
    torch.manual_seed(0)
    return wp.Problem(model=nn.Linear(4, 1), loss=F.mse_loss, train=(X, X[:, :1]))


def report() -> wp.Report:
    return wp.Report(passed=("WP101",))


SEEDS = [-1, 1.5, "0", None, True, [0], NAN, 2**100]
CALLABLES = [5, "bar", True, [], int]
FLAGS = ["yes", 1, None, [True], nn.Linear(1, 1)]
PATHS = [5, True, None, "", "a\0b", b"a", ["a"]]
CHOICES = ["", "near-miss", 5, None, ["auto"], b"auto"]
COUNTS = [0, -5, 1.5, "5", None, True, NAN, INF, [5]]
KEYS = ["", "  ", ",,", 5, 1.5, True, b"WP1", object(), ["WP101", None], [5], {}, [""]]
BUDGETS = ["", "quic", "0s", "-3", "nan", 0, -1.0, NAN, INF, True, None, [60], {}]
NUMBERS = ["a", NAN, INF, -1.0, True, None, [1.0], 1j, np.array([1.0, 2.0]), {}]

DOORS: dict[str, tuple[Callable[..., Any], dict[str, list[Any]]]] = {
    "check": (
        lambda **o: wp.check(problem(), **o),
        {"seed": SEEDS, "progress": CALLABLES, "select": [*KEYS, []], "ignore": KEYS, "limits": [3, {}, wp.Limits], "isolate": FLAGS, "budget": BUDGETS},
    ),
    "fix": (
        lambda **o: wp.fix(problem(), **o),
        {"seed": SEEDS, "progress": CALLABLES, "in_place": FLAGS},
    ),
    "race": (
        lambda **o: wp.race(problem(), problem(), **o),
        {"steps": COUNTS, "seeds": COUNTS, "progress": CALLABLES, "isolate": FLAGS},
    ),
    "measure_signals": (lambda **o: wp.measure_signals(problem(), **o), {"seed": SEEDS, "isolate": FLAGS}),
    "initialize": (
        lambda **o: wp.initialize(nn.Linear(4, 1), **o),
        {"scheme": CHOICES, "seed": SEEDS, "gain": [0, -1.0, NAN, INF, "1", True, [1.0]], "mode": CHOICES},
    ),
    "numerical_gradient": (
        lambda f=abs, **o: wp.numerical_gradient(f, 1.0, **o),
        {
            "f": ["t**2", 5, None],
            "method": CHOICES,
            "precision": CHOICES,
            "step": [0, -0.1, NAN, INF, "0.1", [0.1], True, 1j],
            "bounds": ["ab", 5, (1.0,), (2.0, 0.0), (NAN, 2.0), ("a", 2.0), True, (3.0, 4.0), {"low": 0.0}],
        },
    ),
    "jacobian": (lambda f=abs, **o: jacobian(f, 1.0, **o), {"f": ["t", 5, None], "precision": CHOICES}),
    "directional_derivative": (
        lambda f=abs, **o: directional_derivative(f, 1.0, 1.0, **o),
        {"f": ["t", 5, None], "precision": CHOICES},
    ),
    "hessian_vector": (
        lambda f=None, **o: hessian_vector(f, 1.0, 1.0, **o),
        {"f": ["t", 5], "gradient": ["g", 5, 1.0]},
    ),
    "check_gradients": (
        lambda f=torch.sin, **o: wp.check_gradients(f, torch.ones(2), **o),
        {
            "f": [5, "f", None, nn.Linear],
            "mode": CHOICES,
            "order": [0, 3, None, "1", 1.5, True],
            "resolution": [0, 1, -0.1, NAN, INF, None, "1%", True],
            "replay": ["aut", None, 1, 0.0, []],
            "seed": SEEDS[:-1],
            "isolate": FLAGS,
        },
    ),
    "gain": (wp.gain, {"activation": ["", "gelru", 5, None, nn.ReLU, ["relu"]]}),
    "explain": (wp.explain, {"key": ["", "WP999", 5, None, ["WP101"], b"WP1"]}),
    "Limits": (wp.Limits, {"noise": NUMBERS, "leak_chance": [*NUMBERS, 1.5], "saturated_share": NUMBERS}),
    "Problem": (
        lambda **o: wp.Problem(model=None, **o),
        {
            "precision": ["", "fp4", 16, True],
            "name": ["", 5, ["a"]],
            "feature_names": ["abcd", 4, ("a", 5), ("a", None), b"ab"],
        },
    ),
    "Finding": (
        lambda **o: wp.Finding(
            **{"code": "WP101", "name": "n", "severity": wp.Severity.NOTE, "where": "w", "summary": "s", "quantity": "q",
               "why": "y", "fix": "f"} | o
        ),
        {"severity": [3, None, "eror"], "where": [None, 5], "measured": ["big", [1.0], True], "limit": ["a", {}]},
    ),
    "Report": (wp.Report, {"findings": ["abc", 5, [1], None], "passed": ["abc", [5]], "skipped": ["abc", ["a"]]}),
    "Report.addressed": (lambda **o: report().addressed(**o), {"spec": [5, None, ""]}),
    "Report.from_json": (wp.Report.from_json, {"text": [5, None, [1], {}]}),
    "Moments.of": (
        lambda **o: wp.Moments.of(ROWS, **o),
        {"axis": [1.5, "1", True, 0, 7, [None]], "covariance": FLAGS, "quantiles": FLAGS, "mask": ["all", np.ones(3, int)]},
    ),
    "Moments.empty": (wp.Moments.empty, {"columns": [-1, 1.5, "3", True, None, (2, -1)]}),
    "Moments.quantile": (lambda **o: wp.Moments.of(ROWS).quantile(**o), {"q": [-0.1, 1.1, NAN, "0.5", None, True]}),
    "Moments.from_json": (wp.Moments.from_json, {"text": [5, None, [1]]}),
    "Normalizer.fit": (
        lambda **o: wp.Normalizer.fit(ROWS, **o),
        {
            "method": CHOICES,
            "of": CHOICES,
            "columns": ["abc", 5, [], [1.5], [-1], [True], [[1]]],
            "axis": [1.5, "1", True, 0, 7],
            "engine": ["", "dusk", 5],
            "split": [5, True, "tset"],
            "source": [5, ["a"], ""],
            "checkpoint": [5, True, "", "a\0b"],
            "progress": CALLABLES,
            "clip": ["yes", 5, (1.0,), (1.0, -1.0), (NAN, 1.0), ("a", "b"), None],
            "feature_range": [5, "01", (1.0, 0.0), (0.0, NAN), (0.0,), True],
            "quantile_range": [5, "01", (75.0, 25.0), (25.0, 101.0), (NAN, 75.0), True],
            "with_centering": FLAGS,
            "with_scaling": FLAGS,
            "sample_weight": ["a", 5, np.ones(3), -np.ones(len(ROWS)), np.full(len(ROWS), 0.5), np.full(len(ROWS), NAN)],
        },
    ),
    "Normalizer.label": (lambda **o: N.label(**o), {"column": [-1, 4, 1.5, "a", None, True]}),
    "Normalizer.save": (lambda path="n.json", **o: N.save(path, **o), {"path": PATHS, "force": FLAGS}),
    "Normalizer.load": (wp.Normalizer.load, {"path": [*PATHS, N]}),
    "Normalizer.to_sql": (
        lambda **o: to_sql(N, **o),
        {"table": [5, None, "", "a\0b", [], ["a", 5], b"a"], "dialect": CHOICES},
    ),
    "Normalizer.to_onnx": (
        lambda **o: N.to_onnx(**o),
        {"path": [p for p in PATHS if p is not None], "dtype": CHOICES, "force": FLAGS},
    ),
    "measure_drift": (lambda **o: measure_drift(N, ROWS, **o), {"chance": [0, 1, -0.1, NAN, "a", None, True]}),
    "apply": (
        lambda path="a.csv", out="b.csv", **o: apply(path, N, out, **o),
        {"path": PATHS, "out": PATHS, "force": FLAGS},
    ),
}  # fmt: skip
TRIALS = [
    (door, name, value)
    for door, (_, parameters) in DOORS.items()
    for name, values in parameters.items()
    for value in values
]


@pytest.mark.parametrize(
    ("door", "name", "value"), TRIALS, ids=[f"{d}-{n}-{i}" for i, (d, n, _) in enumerate(TRIALS)]
)
def test_a_wrong_kind_is_refused_by_the_name_of_the_argument(
    door: str, name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=rf"\b{name}\b|no rule"):
        DOORS[door][0](**{name: value})
    assert list(tmp_path.iterdir()) == []


ELSEWHERE = {"model", "loss", "train", "validation", "optimizer", "precision", "x", "inputs", "targets", "gradient", "before", "after"}  # fmt: skip
"""Parameters that test_bad_use.py and the tests of the rooms give the wrong things."""


@pytest.mark.parametrize("name", [n for n in wp.__all__ if inspect.isfunction(getattr(wp, n))])
def test_every_parameter_of_every_public_function_is_tried(name: str) -> None:
    tried = set(DOORS[name][1])
    assert set(inspect.signature(getattr(wp, name)).parameters) - ELSEWHERE == tried - ELSEWHERE


def test_numpys_numbers_are_taken_where_pythons_are() -> None:
    assert wp.Limits(noise=np.float32(20)).noise == 20.0
    assert wp.check(problem(), seed=np.int64(3), select=("WP1",)).environment["seed"] == "3"
    assert wp.Moments.of(ROWS, axis=np.int64(1), covariance=np.True_).covariance.shape == (4, 4)
    assert N.label(np.int8(1)) == "b"
