"""The claims about derivatives that all peers share: a formula, a point, a door of wellposed, and a tolerance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

import wellposed as wp
from benchmarks.peer_claims import exact
from benchmarks.peer_claims.claims import Outcome, judge
from wellposed.differentiate import directional_derivative, hessian_vector, jacobian

Precision = Literal["float64", "own", "auto"]
Formula = Callable[[Any, Any], Any]


def tolerance(precision: Precision, dtype: Any, size: float) -> tuple[float, float]:
    """What peers ask: six digits in float64, three in float32, of the derivative or of the size of f."""
    if precision == "own" and dtype == np.float32:
        return 2e-3, 2e-3 * max(1.0, size)
    return 1e-6, 1e-8 * max(1.0, size)


def scalar(
    f: Formula,
    x: float,
    dtype: Any,
    precision: Precision,
    method: Literal["auto", "two-sided", "one-sided"] = "auto",
) -> Outcome:
    """One number of one number, given as a scalar of NumPy."""
    point = dtype(x)
    got = wp.numerical_gradient(lambda t: f(exact.PLAIN, t), point, precision=precision, method=method)
    rtol, atol = tolerance(precision, dtype, abs(float(f(exact.PLAIN, np.float64(point)))))
    return judge(got.value, got.error, exact.slope(f, point), rtol=rtol, atol=atol)


def elementwise(f: Formula, x: Any, precision: Precision) -> Outcome:
    """The gradient of the sum of a formula over an array, one derivative an element."""
    got = wp.numerical_gradient(lambda t: np.sum(f(exact.PLAIN, t)), x, precision=precision)
    truth = np.array([exact.slope(f, v) for v in x.ravel()], dtype=object).reshape(x.shape)
    size = float(np.sum(np.abs(f(exact.PLAIN, x.astype(np.float64)))))
    rtol, atol = tolerance(precision, x.dtype, size)
    return judge(got.value, got.error, truth, rtol=rtol, atol=atol)


def gradient(f: Formula, x: Any, precision: Precision = "auto", *, rtol: float | None = None) -> Outcome:
    """The gradient of a formula of several numbers."""
    got = wp.numerical_gradient(lambda t: f(exact.PLAIN, t), x, precision=precision)
    default, atol = tolerance(precision, x.dtype, abs(float(f(exact.PLAIN, x.astype(np.float64)))))
    return judge(got.value, got.error, exact.jacobian(f, list(x)), rtol=rtol or default, atol=atol)


def matrix(f: Formula, x: Any, precision: Precision = "auto") -> Outcome:
    """The Jacobian of a formula that gives a list."""
    got = jacobian(lambda t: np.array(f(exact.PLAIN, t)), x, precision=precision)
    size = float(np.max(np.abs(np.array(f(exact.PLAIN, x.astype(np.float64))))))
    rtol, atol = tolerance(precision, x.dtype, size)
    return judge(got.value, got.error, exact.jacobian(f, list(x)), rtol=rtol, atol=atol)


def along(f: Formula, x: Any, v: Any, precision: Precision = "auto") -> Outcome:
    """The derivative along a direction."""
    got = directional_derivative(lambda t: np.asarray(f(exact.PLAIN, t)), x, v, precision=precision)
    size = float(np.max(np.abs(np.asarray(f(exact.PLAIN, x.astype(np.float64))))))
    rtol, atol = tolerance(precision, x.dtype, size * float(np.max(np.abs(v))))
    return judge(got.value, got.error, exact.directional(f, list(x), list(v)), rtol=rtol, atol=atol)


def curvature(f: Formula, x: Any, v: Any, gradient: Callable[[Any], Any] | None = None) -> Outcome:
    """The Hessian times a vector: of f alone with half of the digits, or from a gradient."""
    got = (
        hessian_vector(lambda t: f(exact.PLAIN, t), x, v)
        if gradient is None
        else hessian_vector(None, x, v, gradient=gradient)
    )
    truth = exact.hessian_vector(f, list(x), list(v))
    scale = max(1.0, max(abs(float(t)) for t in truth))
    return judge(got.value, got.error, truth, rtol=1e-4, atol=1e-4 * scale)


def fixed_step(
    f: Formula, x: float, step: float, method: Literal["two-sided", "one-sided"], rtol: float
) -> Outcome:
    """A derivative with a step of the caller's."""
    got = wp.numerical_gradient(lambda t: f(exact.PLAIN, t), x, step=step, method=method)
    return judge(got.value, got.error, exact.slope(f, x), rtol=rtol, atol=rtol)
