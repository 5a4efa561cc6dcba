"""Which loss scales work, and which layers must stay in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from benchmarks.cases.low_precision import CASES, Unfit
from benchmarks.low_precision import measured
from wellposed.limits import Limits
from wellposed.rules.precision import precision_overflow, precision_underflow
from wellposed.rules.table import Defect
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.restore import preserved
from wellposed.runtime.torch.session import Runner
from wellposed.signals.result import PrecisionProfile
from wellposed.signals.torch_precision import profile_precision

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """Two heads of one input, whose losses may differ by any factor."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.left(x), self.right(x.tanh())


def profiled(left: float, right: float, precision: str = "fp16") -> PrecisionProfile:
    def loss(outputs: tuple[torch.Tensor, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        return left * F.l1_loss(outputs[0], targets) + right * F.l1_loss(outputs[1], targets)

    model = Two()
    runner = Runner(wp.Problem(model=model, loss=loss))
    with preserved(model):
        found = profile_precision(runner, Batch(args=(X,), targets=X[:, :1]), precision, limit=0.5, seed=0)
    assert found is not None
    return found


def test_a_step_that_survives_needs_no_scale() -> None:
    found = profiled(1.0, 1.0)
    assert (found.survives, found.scales, found.scale, found.keep) == (True, None, 1.0, ())
    assert found.gradient_error < 1e-2


@pytest.mark.parametrize("small", [1e-6, 3e-7, 1e-7])
def test_the_least_loss_scale_is_exact(small: float) -> None:
    found = profiled(small * 1e4, small)
    assert found.survives
    assert found.scales is not None
    # A gradient of an l1 loss is its factor over the rows: up to 2**-25 it rounds to zero.
    assert found.scales[0] * small / len(X) > 2**-25 >= found.scales[0] * small / len(X) / 2


@pytest.mark.parametrize("large", [300.0, 1e3])
def test_the_largest_loss_scale_is_exact(large: float) -> None:
    found = profiled(large, 1e-7)
    assert found.survives
    assert found.scales is not None
    model = Two()
    (large * F.l1_loss(model.left(X), X[:, :1])).backward()
    most = max(float(p.grad.abs().max()) for p in model.left.parameters() if p.grad is not None)
    assert found.scales[1] * most < 65520 <= 2 * found.scales[1] * most


def test_where_no_scale_works_the_layers_to_keep_are_the_fewest() -> None:
    found = profiled(1e7, 1e-7)
    assert not found.survives
    assert found.keep in (("left",), ("right",))
    assert found.scales is None


@pytest.mark.parametrize("precision", ["bf16", "fp8", "mxfp8"])
def test_the_range_of_bf16_needs_no_scale(precision: str) -> None:
    assert profiled(1e7, 1e-7, precision).survives


def checked(middle: Callable[[torch.Tensor], torch.Tensor], precision: Any) -> wp.Report:
    class Middle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return middle(x)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), Middle(), nn.Linear(16, 1))
    return wp.check(model, F.mse_loss, (X, X[:, :1]), precision=precision)


def test_a_report_holds_the_profile_in_text_and_json() -> None:
    report = checked(torch.tanh, "mxfp8")
    profile = report.measurements["precision"]
    assert isinstance(profile, PrecisionProfile)
    assert [layer.name for layer in profile.layers] == ["0", "2"]
    assert "mxfp8           survives" in str(report)
    assert wp.Report.from_json(report.to_json()).measurements["precision"] == profile
    assert all(len(line) <= 80 for line in str(profile).splitlines())


def test_without_a_precision_nothing_is_emulated() -> None:
    report = checked(torch.tanh, "fp32")
    assert [s.reason for s in report.skipped if s.code == "WP208"] == ["training runs in fp32"]
    assert "survives" not in str(report)


@pytest.mark.parametrize(("precision", "told"), [("fp16", True), ("fp16-scaled", True), ("bf16", False)])
def test_values_that_are_too_large_are_told_where_they_are(precision: str, told: bool) -> None:
    assert ("WP212" in checked(lambda h: h * 1e7 / 1e7, precision).codes) is told


def test_a_model_without_linear_layers_has_nothing_in_fp8() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 1, 8), nn.Flatten())
    report = wp.check(model, F.mse_loss, (X, X[:, :1]), precision="fp8")
    assert "no linear layer" in next(s.reason for s in report.skipped if s.code == "WP208")


def test_a_model_that_runs_under_its_own_autocast_is_not_rounded_twice() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                hidden = self.first(x).relu()
            return self.last(hidden.float())

    report = wp.check(Own(), F.mse_loss, (X, X[:, :1]), precision="bf16")
    assert "WP208" in report.passed
    assert "WP212" in report.passed


def test_a_model_in_half_precision_itself_has_nothing_to_emulate() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)).bfloat16()
    report = wp.check(model, F.mse_loss, (X.bfloat16(), X[:, :1].bfloat16()), precision="bf16")
    assert "nothing is computed in float32" in next(s.reason for s in report.skipped if s.code == "WP208")


def test_a_step_leaves_running_statistics_as_they_were() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wp.check(model, F.mse_loss, (X, X[:, :1]), precision="fp8")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("precision", ["fp16", "fp16-scaled", "bf16", "fp8", "mxfp8"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_unfit_model_is_accused_where_it_is_unfit_alone(case: Unfit, precision: str) -> None:
    profile = measured(case.build(), precision)
    assert profile is not None
    judged = [*precision_underflow(profile, Limits()), *precision_overflow(profile, Limits())]
    assert any(isinstance(j, Defect) for j in judged) is (precision in case.dies_in)
