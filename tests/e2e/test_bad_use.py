"""Bad use and sick data: a clear error that names the argument, or a report that says why it skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import wellposed as wp
from wellposed.errors import ArgumentError, DataError, ProblemError, UserCodeError

X = torch.randn(96, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def net(*, features: int = 8, outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, outputs))


def check(model: Any = None, loss: Any = F.cross_entropy, train: Any = (X, Y), **options: Any) -> wp.Report:
    return wp.check(net() if model is None else model, loss, train, **options)


def reasons(report: wp.Report) -> dict[str, str]:
    return {s.code: s.reason for s in report.skipped}


# --- arguments


@pytest.mark.parametrize("precision", ["float16", "fp4", "mixed", "", 16])
def test_a_precision_that_is_unknown_is_refused_with_those_that_are(precision: Any) -> None:
    with pytest.raises(ArgumentError, match=r"precision is .*: expected one of fp32, bf16, fp16"):
        check(precision=precision)


@pytest.mark.parametrize("argument", ["select", "ignore"])
@pytest.mark.parametrize("keys", ["WP999", ("WP101", "no-such-rule"), "wp-101"])
def test_a_rule_that_is_unknown_is_refused_by_name(argument: str, keys: Any) -> None:
    unknown = keys if isinstance(keys, str) else keys[-1]
    with pytest.raises(ArgumentError, match=f"{argument} names no rule: '{unknown}'"):
        check(**{argument: keys})


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_a_seed_that_is_no_number_to_seed_with_is_refused(seed: Any) -> None:
    with pytest.raises(ArgumentError, match="seed"):
        check(seed=seed)


def test_what_is_given_beside_a_problem_is_refused_by_name() -> None:
    problem = wp.Problem(model=net(), loss=F.cross_entropy, train=(X, Y))
    with pytest.raises(ArgumentError, match="validation given beside a Problem"):
        wp.check(problem, validation=(X, Y))


@pytest.mark.parametrize("limits", [{"vanished": 1.0}, 3])
def test_limits_that_are_none_are_refused(limits: Any) -> None:
    with pytest.raises(ArgumentError, match="limits"):
        check(limits=limits)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "resnet"}, "model is a str"),
        ({"model": 3}, "model is a int"),
        ({"loss": "mse"}, "loss is a str"),
        ({"optimizer": "adam"}, "optimizer is a str"),
        ({"optimizer": torch.optim.Adam}, "optimizer is a type"),
    ],
)
def test_a_part_of_the_wrong_kind_is_named_with_its_kind(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(wp.WellposedError, match=said):
        check(**changed)


# --- data


def batches_once() -> Any:
    return (pair for pair in [(X, Y)] * 3)


@pytest.mark.parametrize("argument", ["train", "validation"])
@pytest.mark.parametrize(
    "make", [batches_once, lambda: iter([(X, Y)]), lambda: map(tuple, [(X, Y)])], ids=["generator", "iter", "map"]
)  # fmt: skip
def test_a_one_shot_iterator_is_refused_and_not_used_up(argument: str, make: Callable[[], Any]) -> None:
    data = make()
    with pytest.raises(DataError, match=f"{argument} is a one-shot"):
        check(**{argument: data})
    assert next(data, None) is not None


EMPTY: dict[str, Any] = {
    "an empty list": [],
    "an empty pair": (X[:0], Y[:0]),
    "an empty tensor": X[:0],
    "an empty loader": DataLoader(TensorDataset(X[:0], Y[:0]), batch_size=4),
    "a loader that drops its only batch": DataLoader(TensorDataset(X, Y), batch_size=200, drop_last=True),
    "a list with an empty batch": [(X[:0], Y[:0])],
    "arrays without rows": (np.zeros((0, 8), dtype=np.float32), np.zeros(0, dtype=np.int64)),
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("argument", ["train", "validation"])
def test_empty_data_are_refused_by_the_name_of_the_argument(name: str, argument: str) -> None:
    with pytest.raises(DataError, match=f"{argument} (is empty|has shape \\(0, )"):
        check(**{argument: EMPTY[name]})


@pytest.mark.parametrize("train", [7, object(), nn.Linear(2, 2)])
def test_what_is_no_data_is_refused_with_its_type(train: Any) -> None:
    with pytest.raises(DataError, match=f"train is given as {type(train).__name__}: expected a DataLoader"):
        check(train=train)


def test_no_data_at_all_are_refused_with_the_forms_to_give() -> None:
    with pytest.raises(DataError, match="train is None: give a DataLoader"):
        check(train=None)


@pytest.mark.parametrize("train", [(X, Y[:50]), (X[:50], Y), (X.numpy(), Y[:3].numpy()), ((X, X[:9]), Y)])
def test_inputs_and_targets_of_different_lengths_are_refused_with_both(train: Any) -> None:
    with pytest.raises(DataError, match="different lengths"):
        check(train=train)


@pytest.mark.parametrize("train", [X, [X[:48], X[48:]]], ids=["a tensor", "batches"])
def test_targets_that_are_missing_are_refused(train: Any) -> None:
    with pytest.raises(DataError, match="without targets, and the loss needs them"):
        check(train=train)


def test_dict_batches_without_targets_name_their_keys() -> None:
    with pytest.raises(DataError, match="keys 'input' and no targets"):
        check(train=[{"input": X}])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_inputs_that_are_not_finite_come_first_and_everything_else_is_skipped_with_the_reason(
    bad: float,
) -> None:
    x = X.clone()
    x[90, 3] = bad
    report = check(train=(x, Y), optimizer=torch.optim.SGD(net().parameters(), lr=0.1))
    assert report.findings[0].code == "WP106"
    assert report.findings[0].where == "inputs.3"
    assert all(code.startswith("WP1") for code in (*report.codes, *report.passed))
    assert "not finite" in reasons(report)["WP201"]


def test_targets_that_are_not_finite_never_pass() -> None:
    y = X[:, :1].clone()
    y[5] = float("nan")
    report = check(net(outputs=1), F.mse_loss, (X, y))
    assert report.errors, str(report)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_few_rows_are_checked_as_far_as_they_go(rows: int) -> None:
    model = net()
    report = check(model, train=(X[:rows], Y[:rows]), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert report.verdict == ("not examined" if rows == 1 else "ready"), str(report)
    assert "WP603" in reasons(report) or rows == 3


# --- losses


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            lambda o, y: F.cross_entropy(o, y, reduction="none"),
            r"loss returned shape \(64,\): expected a scalar",
        ),
        (lambda o, y: F.cross_entropy(o, y).item(), r"loss returned [0-9.]+: expected a scalar torch tensor"),
        (lambda o, y: None, "loss returned None"),
    ],
    ids=["one a row", "a float", "nothing"],
)
def test_a_loss_that_is_no_scalar_tensor_is_refused_with_what_it_gave(loss: Any, said: str) -> None:
    with pytest.raises(ProblemError, match=said):
        check(loss=loss)


def test_without_any_loss_what_needs_one_is_skipped_and_says_so() -> None:
    report = check(loss=None, train=X)
    assert report.verdict == "not examined", str(report)
    assert {"WP201", "WP202", "WP203"} <= set(report.passed)
    for code in ("WP302", "WP501", "WP601", "WP607", "WP109", "WP401"):
        assert "no loss" in reasons(report)[code]


def test_a_loss_that_reaches_no_parameter_never_passes() -> None:
    report = check(loss=lambda o, y: F.cross_entropy(o.detach(), y))
    assert "WP601" in report.codes, str(report)


# --- models


class Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such head")


def test_a_model_that_raises_is_the_users_error_with_its_cause() -> None:
    with pytest.raises(UserCodeError, match=r"the model raised KeyError .*\(\d+, 8\)") as raised:
        check(Raising())
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_model_for_other_inputs_is_the_users_error_with_the_shapes() -> None:
    with pytest.raises(UserCodeError, match=r"inputs of shape \(\d+, 8\)"):
        check(net(features=9))


def test_float32_data_for_a_float64_model_is_the_users_error() -> None:
    with pytest.raises(UserCodeError) as raised:
        check(net().double())
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert "dtype" in str(raised.value)


def test_a_float64_model_on_float64_data_is_checked() -> None:
    assert check(net().double(), train=(X.double(), Y)).ok


@pytest.mark.parametrize("where", ["the model", "the data"])
def test_a_model_on_another_device_than_the_data_never_passes(where: str) -> None:
    model = net().to("meta") if where == "the model" else net()
    train = (X, Y) if where == "the model" else (X.to("meta"), Y.to("meta"))
    with pytest.raises(wp.WellposedError, match="meta"):
        check(model, train=train)


def test_a_lazy_layer_is_refused_with_what_to_do() -> None:
    with pytest.raises(ProblemError, match=r"lazy layer .* call model"):
        check(nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(3)))


def test_a_model_without_parameters_gives_a_report_that_says_what_was_skipped() -> None:
    report = check(nn.Softmax(1), F.nll_loss, (X, Y))
    assert "no trainable parameters" in reasons(report)["WP301"]
    assert {"WP101", "WP106"} <= set(report.passed)


def test_a_model_with_everything_frozen_says_so() -> None:
    report = check(net().requires_grad_(False))
    assert "no trainable parameters" in reasons(report)["WP601"]


@pytest.mark.parametrize("outputs", [lambda o: [o, o], lambda o: {"a": o, "b": o}, lambda o: None])
def test_outputs_that_the_loss_cannot_take_are_the_users_error(outputs: Callable[[Tensor], Any]) -> None:
    model = net()
    with pytest.raises(UserCodeError, match="the loss raised"):
        check(lambda x: outputs(model(x)))


def test_ctrl_c_comes_through() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(loss=loss)


def test_an_optimizer_of_another_model_is_an_error() -> None:
    report = check(optimizer=torch.optim.SGD(net().parameters(), lr=0.1))
    assert ("WP602", "error") in {(f.code, f.severity.value) for f in report.findings}


# --- the other doors


@pytest.mark.parametrize("door", [wp.check, wp.fix, wp.measure_signals])
@pytest.mark.parametrize(
    ("train", "said"), [([], "train is empty"), ((p for p in [(X, Y)]), "one-shot"), (None, "train is None")]
)
def test_every_door_refuses_what_cannot_be_read(door: Callable[..., Any], train: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        door(net(), F.cross_entropy, train)


@pytest.mark.parametrize(("steps", "seeds"), [(0, 1), (5, 0), (-5, 1)])
def test_a_race_over_nothing_is_refused(steps: int, seeds: int) -> None:
    problem = wp.Problem(model=net(), loss=F.cross_entropy, train=(X, Y))
    with pytest.raises(ArgumentError, match="at least 1"):
        wp.race(problem, problem, steps=steps, seeds=seeds)
