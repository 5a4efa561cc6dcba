"""What the tests of `scipy.optimize.approx_derivative` and `check_grad` claim."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import wellposed as wp
from benchmarks.peer_claims import derivatives, exact
from benchmarks.peer_claims.claims import (
    Claim,
    Grid,
    Outcome,
    all_of,
    contradicted,
    held,
    judge,
    refusal,
    verdict,
)
from benchmarks.peer_claims.numdifftools import rosen
from wellposed.differentiate import directional_derivative, jacobian


def hyperbolic(m: Any, x: Any) -> Any:
    return m.sinh(x)


def three_of_one(m: Any, x: Any) -> Any:
    return [x[0] ** 2, m.tan(x[0]), m.exp(x[0])]


def one_of_two(m: Any, x: Any) -> Any:
    return m.sin(x[0] * x[1]) * m.log(x[0])


def three_of_two(m: Any, x: Any) -> Any:
    return [x[0] * m.sin(x[1]), x[1] * m.cos(x[0]), x[0] ** 3 / m.sqrt(x[1])]


def vanishing(m: Any, x: Any) -> Any:
    return [x[0] * x[1], m.cos(x[0] * x[1])]


def exponentials(m: Any, x: Any) -> Any:
    return [m.exp(-x[0]), m.exp(x[1])]


def banded(m: Any, x: Any) -> Any:
    e = [x[i + 1] ** 3 - x[i] ** 2 for i in range(len(x) - 1)]
    zero = 0 * x[0]
    return [(3 * e[i - 1] if i else zero) + (2 * e[i] if i < len(e) else zero) for i in range(len(x))]


def logistic_loss(m: Any, x: Any) -> Any:
    return m.sum([m.log1p(m.exp(-v)) for v in x])


def fenced(lower: Any, upper: Any) -> Outcome:
    """NaN beyond the bounds, which a difference must not use; here x stands at or near both."""
    low, high = np.asarray(lower), np.asarray(upper)

    def f(x: Any) -> Any:
        if np.any(x < low) or np.any(x > high):
            return np.full(3, np.nan)
        return np.array(three_of_two(exact.PLAIN, x))

    x = np.array([low[0], high[1]])
    got = jacobian(f, x)
    return judge(got.value, got.error, exact.jacobian(three_of_two, list(x)), rtol=1e-6, atol=1e-7)


def lone_fence(x: float, width: float) -> Outcome:
    got = wp.numerical_gradient(lambda t: t if abs(t) <= width else np.nan, x)
    return judge(got.value, got.error, 1.0, rtol=1e-6)


def plain_math(x: float) -> Outcome:
    got = wp.numerical_gradient(math.exp, x)
    return judge(got.value, got.error, exact.slope(lambda m, t: m.exp(t), x), rtol=1e-8)


def line_residuals(dtype: Any, inside: Any) -> Outcome:
    t = np.linspace(0, 1, 30)
    y = np.random.default_rng(1).random(30)

    def f(p: Any) -> Any:
        return (p[0] + p[1] * t - y).astype(inside)

    got = jacobian(f, np.array([-1.0, -1.0], dtype=dtype))
    truth = np.stack([np.ones(30), t], axis=1)
    return judge(got.value, got.error, truth, rtol=1e-3, atol=1e-3)


def narrow_float(dtype: Any) -> Outcome:
    x = dtype(1.0)
    got = wp.numerical_gradient(np.sin, x, precision="own")
    size = float(np.finfo(dtype).eps) ** 0.5
    return judge(got.value, got.error, exact.slope(lambda m, t: m.sin(t), x), rtol=size, atol=size)


def ridge(signs: tuple[float, float]) -> Outcome:
    """At the kinks of ±|x + 1| the bar covers both slopes."""
    got = wp.numerical_gradient(
        lambda x: signs[0] * abs(x[0] + 1) + signs[1] * abs(x[1] + 1), np.array([-1.0, -1.0])
    )
    for i in range(2):
        for side in (-1.0, 1.0):
            if abs(got.value[i] - side) > got.error[i]:
                return contradicted(f"{got.value[i]} ± {got.error[i]} leaves out the slope {side}")
    return held() if np.all(got.kink) else contradicted(f"kink {got.kink}, right is True")


def ridge_side(method_step: float) -> Outcome:
    """A step to one side takes that side's slope."""
    got = wp.numerical_gradient(lambda x: abs(x + 1), -1.0, step=method_step, method="one-sided")
    return judge(got.value, got.error, math.copysign(1.0, method_step), rtol=1e-6)


def ragged() -> Outcome:
    return refusal(lambda: wp.numerical_gradient(lambda x: np.array([x**2, np.tan(x), np.exp(x)]), 1.0))


def checked(f: Any, gradient: Any, x: Any, want: Any) -> Outcome:
    return verdict(wp.check_gradients(f, x, gradient=gradient), want)


def rosen_gradient(x: Any) -> Any:
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def logit_gradient(x: Any) -> Any:
    return -1 / (1 + np.exp(x))


def linear_operator(f: Any, x: Any, p: Any) -> Outcome:
    got = directional_derivative(lambda t: np.asarray(f(exact.PLAIN, t)), x, p)
    truth = exact.directional(f, list(x), list(p))
    size = float(np.max(np.abs(np.asarray(f(exact.PLAIN, x)))))
    return judge(got.value, got.error, truth, rtol=5e-6, atol=1e-8 * max(1.0, size))


def claims() -> list[Claim]:
    grid = Grid("scipy.optimize")
    rng = np.random.default_rng(11290049580398)
    for x in (-2.0, 0.1, 1.0, 3.0, 20.0):
        for dtype, precision in ((np.float64, "auto"), (np.float32, "own")):
            grid.add(
                "derivative",
                f"sinh at {x} {np.dtype(dtype)}",
                derivatives.scalar,
                hyperbolic,
                x,
                dtype,
                precision,
            )
        for step, method, rtol in (
            (1e-6, "two-sided", 1e-6),
            (1e-4, "two-sided", 1e-4),
            (1e-7, "one-sided", 1e-5),
            (1.49e-8, "one-sided", 1e-5),
        ):
            grid.add(
                "derivative",
                f"sinh at {x} step {step} {method}",
                derivatives.fixed_step,
                hyperbolic,
                x,
                step,
                method,
                rtol,
            )
    for x in (0.5, -1.0, 0.0, 1.4):
        for dtype, precision in ((np.float64, "auto"), (np.float32, "own")):
            grid.add(
                "derivative",
                f"three of one at {x} {np.dtype(dtype)}",
                derivatives.matrix,
                three_of_one,
                np.array([x], dtype),
                precision,
            )
    places: dict[str, tuple[Any, Any, tuple[tuple[float, ...], ...]]] = {
        "one of two": (
            one_of_two,
            derivatives.gradient,
            ((100.0, -0.5), (1.0, 0.3), (0.01, 2.0), (5.0, 5.0)),
        ),
        "three of two": (
            three_of_two,
            derivatives.matrix,
            ((-100.0, 0.2), (-0.1, 0.1), (1.0, 2.0), (10.0, 10.0), (-10.0, 10.0)),
        ),
        "vanishing": (vanishing, derivatives.matrix, ((0.0, 0.0), (1e-3, 1e-3), (1.0, 2.0))),
        "exponentials": (exponentials, derivatives.matrix, ((1.0, 1.0), (0.0, -3.0), (5.0, 5.0))),
        "rosen": (rosen, derivatives.gradient, ((0.5, 1.5, 2.0), (-1.9, 2.0), (1.3, 0.7, 0.8, 1.9, 1.2))),
        "logistic": (logistic_loss, derivatives.gradient, ((1.5,), (-3.0, 0.0, 2.0), (30.0, -30.0))),
    }
    for name, (f, door, points) in places.items():
        for p in points:
            for dtype, precision in ((np.float64, "auto"), (np.float32, "own")):
                if name == "logistic" and precision == "own":
                    continue
                g = (
                    (lambda m, x: np.sum(logistic_plain(x)) if m is exact.PLAIN else logistic_loss(m, x))
                    if name == "logistic"
                    else f
                )
                grid.add(
                    "derivative", f"{name} at {p} {np.dtype(dtype)}", door, g, np.array(p, dtype), precision
                )
            for k in range(4):
                direction = rng.uniform(-10, 10, size=len(p))
                g = (
                    (lambda m, x: np.sum(logistic_plain(x)) if m is exact.PLAIN else logistic_loss(m, x))
                    if name == "logistic"
                    else f
                )
                grid.add(
                    "derivative",
                    f"{name} at {p} as an operator {k}",
                    linear_operator,
                    g,
                    np.array(p),
                    direction,
                )
    for n in (4, 8, 12):
        x = np.where(np.arange(n) % 2 == 0, -0.1, 0.1) * (1 + np.arange(n)) * (1 - 1e-7)
        for dtype, precision in ((np.float64, "auto"), (np.float32, "own")):
            grid.add(
                "derivative",
                f"banded of {n} {np.dtype(dtype)}",
                derivatives.matrix,
                banded,
                x.astype(dtype),
                precision,
            )
    for low, high in (
        ((1.0, 1.0), (2.0, 2.0)),
        ((-1.0, 0.5), (1.0, 1.0)),
        ((3.0, 0.1), (4.0, 0.2)),
        ((-5.0, 2.0), (-4.9, 2.2)),
    ):
        grid.add("derivative", f"bounds {low} {high}", fenced, low, high)
    for x, width in ((0.0, 1e-8), (1e-8, 1e-8), (-1e-8, 1e-8), (0.5, 0.5), (1.0, 1.0 + 1e-6)):
        grid.add("derivative", f"a domain of {width} at {x}", lone_fence, x, width)
    for x in (-1.0, 0.0, 1.0, 3.0):
        grid.add("derivative", f"math.exp at {x}", plain_math, x)
    for dtype in (np.float64, np.float32):
        for inside in (np.float64, np.float32):
            grid.add(
                "derivative",
                f"line in {np.dtype(dtype)} out {np.dtype(inside)}",
                line_residuals,
                dtype,
                inside,
            )
    for dtype in (np.float16, np.float32, np.float64):
        grid.add("derivative", f"sin in {np.dtype(dtype)}", narrow_float, dtype)
    for signs in ((-1.0, 1.0), (1.0, 1.0), (-1.0, -1.0)):
        grid.add("derivative", f"kinks {signs}", ridge, signs)
    for step in (1e-8, -1e-8, 1e-3):
        grid.add("derivative", f"a kink with step {step}", ridge_side, step)
    grid.add("derivative", "several outputs as a scalar function", ragged)
    for p in ((1.5, 2.0), (-1.0, 0.3, 2.0), (1.3, 0.7, 0.8, 1.9, 1.2), (0.0, 0.0)):
        x = np.array(p)
        plain = lambda t: rosen(np, t)  # noqa: E731
        grid.add("gradcheck", f"rosen at {p}, right", checked, plain, rosen_gradient, x, "pass")
        grid.add("gradcheck", f"rosen at {p}, sign", checked, plain, lambda t: -rosen_gradient(t), x, "fail")
        grid.add(
            "gradcheck",
            f"rosen at {p}, 1.001",
            checked,
            plain,
            lambda t: 1.001 * rosen_gradient(t),
            x,
            "fail",
        )
        grid.add(
            "gradcheck",
            f"rosen at {p}, first element",
            checked,
            plain,
            lambda t: rosen_gradient(t) + np.eye(len(t))[0] * 10,
            x,
            "fail",
        )
    for p in ((1.5,), (-3.0, 0.0, 2.0), (5.0, 5.0)):
        x = np.array(p)
        grid.add(
            "gradcheck",
            f"logistic at {p}, right",
            checked,
            lambda t: np.sum(logistic_plain(t)),
            logit_gradient,
            x,
            "pass",
        )
        grid.add(
            "gradcheck",
            f"logistic at {p}, shifted",
            checked,
            lambda t: np.sum(logistic_plain(t)),
            lambda t: logit_gradient(t) + 0.5,
            x,
            "fail",
        )
    grid.add("gradcheck", "gradient of another shape", wrong_shape)
    grid.add("gradcheck", "gradient at the minimum", minimum)
    return grid.claims


def logistic_plain(x: Any) -> Any:
    return np.logaddexp(0, -x)


def wrong_shape() -> Outcome:
    return refusal(
        lambda: wp.check_gradients(lambda x: np.sum(x**2), np.ones(3), gradient=lambda x: 2 * x[:2])
    )


def minimum() -> Outcome:
    """At the minimum of rosen the gradient vanishes: right code must not fail."""
    check = wp.check_gradients(lambda t: rosen(np, t), np.ones(3), gradient=rosen_gradient)
    return all_of(verdict(check, "pass"))
