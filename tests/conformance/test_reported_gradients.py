"""What people reported about wrong gradients and numerical derivatives, rebuilt: the check says which is wrong, the derivative how far off.

The reports are cited by repository and number where they stand; the data are of our own making.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erfc, log
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erfcx

import wellposed as wp
from tests.cases.real_backward_bug import normal
from tests.cases.reported_gradients import REPORTS, Report
from wellposed.errors import ArgumentError
from wellposed.gradcheck.result import GradientCheck
from wellposed.runtime.jax.calls import enable_x64

each_report = pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.source)
in_each_precision = pytest.mark.parametrize("precision", ["float64", "float32"])


def in_precision(x: Any, precision: str) -> Any:
    return x.to(getattr(torch, precision)) if isinstance(x, torch.Tensor) else x.astype(precision)


def check(report: Report, *, wrong: bool, precision: str, seed: int = 0) -> GradientCheck:
    with enable_x64(precision == "float64"):
        f, inputs, gradient = report.build(wrong)
        points = [in_precision(x, precision) for x in inputs]
        return wp.check_gradients(f, *points, gradient=gradient, seed=seed)


# Checks


@in_each_precision
@each_report
def test_the_wrong_gradient_fails_where_it_is_wrong_and_bears_no_wrong_name(
    report: Report, precision: str
) -> None:
    for seed in range(3):
        found = check(report, wrong=True, precision=precision, seed=seed)

        assert found.verdict == "fail", str(found)
        assert {t.name for t in found.failed} == set(report.at_fault), str(found)
        assert found.cause in (None, *report.causes), str(found)


@in_each_precision
@each_report
def test_the_mended_gradient_passes(report: Report, precision: str) -> None:
    for seed in range(3):
        found = check(report, wrong=False, precision=precision, seed=seed)

        assert found, str(found)


@in_each_precision
def test_a_linear_layer_is_right_in_single_precision_too(precision: str) -> None:
    """pytorch/pytorch#5351: torch's own check called it wrong."""
    layer = torch.nn.Linear(2, 1).to(getattr(torch, precision))

    found = wp.check_gradients(layer, in_precision(normal(1, 2), precision))

    assert found, str(found)


@in_each_precision
def test_forward_and_reverse_mode_of_a_complex_transform_agree(precision: str) -> None:
    """pytorch/pytorch#93028: two Jacobians of it differed by a convention, at zeros."""
    z = torch.complex(*in_precision(torch.zeros(2, 3, 3), precision)).requires_grad_()

    found = wp.check_gradients(torch.fft.ifft, z, mode="forward-reverse")

    assert found, str(found)


@in_each_precision
def test_a_kernel_that_writes_over_its_input_is_not_called_wrong(precision: str) -> None:
    """unslothai/unsloth#5001: rotary positions are turned in place, and turned back for the gradient."""

    def turned(x: torch.Tensor, *, back: bool = False) -> torch.Tensor:
        frequency = 10000.0 ** (-torch.arange(3) / 3)
        angle = (torch.arange(4)[:, None] * frequency).to(x.dtype)
        turn = torch.polar(torch.ones_like(angle), -angle if back else angle)
        pairs = torch.complex(*x.chunk(2, -1)) * turn
        return torch.cat([pairs.real, pairs.imag], -1)

    class Rotary(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q):
            q.copy_(turned(q))
            return q.clone()

        @staticmethod
        def backward(ctx, d):
            return turned(d, back=True)

    found = wp.check_gradients(lambda q: Rotary.apply(q), in_precision(normal(2, 4, 6), precision))

    assert found, str(found)


# Numerical derivatives


@dataclass(frozen=True, kw_only=True)
class Derivative:
    source: str
    build: Callable[[], tuple[Callable[[Any], Any], Any, Any]]
    """``(f, x, truth)``."""


def residuals_of_a_tensor_model() -> tuple[Callable[[Any], Any], Any, Any]:
    """Six parameters of a thousandth and less beside one of 6: one step for all of them fits none."""
    rng = np.random.default_rng(3)
    way = rng.normal(size=(25, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    i, j = np.triu_indices(3)
    weight = np.repeat([0.0, 1000.0, 2500.0], [1, 12, 12])
    design = np.column_stack([-weight[:, None] * way[:, i] * way[:, j] * np.where(i == j, 1, 2), np.ones(25)])
    x = np.array([1.7e-3, 1e-5, -2e-5, 3e-4, 4e-6, 3.1e-4, 6.2])
    signal = np.exp(design @ x)
    measured = signal + rng.normal(0, 9, 25)

    def f(x: Any) -> float:
        return float(np.sum((measured - np.exp(design @ x)) ** 2) / 200)

    return f, x, design.T @ ((signal - measured) * signal) / 100


def fit_in_single_precision() -> tuple[Callable[[Any], Any], Any, Any]:
    rng = np.random.default_rng(4)
    t = np.linspace(0, 3, 50, dtype=np.float32)
    seen = (2.5 * np.exp(-1.3 * t) + rng.normal(0, 0.1, 50)).astype(np.float32)

    def f(p: Any) -> Any:
        scale, rate = np.asarray(p, np.float32)
        return np.sum((seen - scale * np.exp(-rate * t)) ** 2, dtype=np.float32)

    p = np.array([2.2, 1.1], np.float32)
    (scale, rate), wide = p.astype(float), t.astype(float)
    decay = np.exp(-rate * wide)
    left = 2 * (seen - scale * decay)
    return f, p, np.array([-left @ decay, left @ (scale * wide * decay)])


def entropy_next_to_zero() -> tuple[Callable[[Any], Any], Any, Any]:
    p = np.array([1e-9, 0.3, 0.7])
    return lambda p: -float(p @ np.log(p)), p, -np.log(p) - 1


DERIVATIVES = (
    Derivative(source="dipy/dipy#3155", build=residuals_of_a_tensor_model),
    Derivative(source="scipy/scipy#12991", build=fit_in_single_precision),
    Derivative(
        source="pbrod/numdifftools#55",
        build=lambda: (
            lambda x: 1e-250 * float(np.sum(x**3)),
            np.array([0.5, 2.0]),
            np.array([7.5e-251, 1.2e-249]),
        ),
    ),
    Derivative(
        source="scipy/scipy#18811",
        build=lambda: (lambda x: float(np.log(x - 0.0999)), 0.1, 1 / (0.1 - 0.0999)),
    ),
    Derivative(
        source="stan-dev/stan#1357",
        build=lambda: (
            lambda x: log(erfc(-x / 2**0.5) / 2),
            -37.0,
            (2 / np.pi) ** 0.5 / erfcx(37 / 2**0.5),
        ),
    ),
    Derivative(source="mariuszgromada/MathParser.org-mXparser#180", build=lambda: (lambda x: x**2, 1e7, 2e7)),
    Derivative(source="scipy/scipy#12065", build=entropy_next_to_zero),
)


@pytest.mark.parametrize("derivative", DERIVATIVES, ids=lambda derivative: derivative.source)
def test_the_derivative_lies_within_a_bar_that_is_narrow(derivative: Derivative) -> None:
    f, x, truth = derivative.build()

    found = wp.numerical_gradient(f, x)

    assert np.all(np.abs(found.value - truth) <= found.error), str(found)
    assert np.all(found.error <= 1e-4 * np.abs(truth)), str(found)
    assert not np.any(found.kink)


def test_a_hinge_has_no_derivative_at_its_corner() -> None:
    """scipy/scipy#12887: 0.5 without a word."""
    found = wp.numerical_gradient(lambda x: max(0.0, x), 0.0)

    assert found.kink
    assert found.value - found.error <= 0 <= 1 <= found.value + found.error


def test_a_clamp_that_no_step_can_tell_from_x_is_said_to_be_a_kink() -> None:
    """JuliaDiff/ForwardDiff.jl#287: flat at 0, and steep from 1e-20 on."""
    found = wp.numerical_gradient(lambda x: log(1 / max(1e-20, x)), 0.0)

    assert found.kink
    assert abs(found.value) <= found.error


def test_whole_numbers_are_refused_with_the_mend() -> None:
    """As in scipy/scipy#12991: a step added to an integer is cut off."""
    with pytest.raises(ArgumentError, match=r"int64: expected floats; .*x\.astype\(float\)"):
        wp.numerical_gradient(lambda x: float(np.sum(x**3)), np.array([1, 2, 3], np.int64))
