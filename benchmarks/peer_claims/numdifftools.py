"""What the tests of numdifftools claim: derivatives of elementary functions, gradients, Jacobians, Hessians, directions."""

from __future__ import annotations

from typing import Any

import numpy as np

import wellposed as wp
from benchmarks.peer_claims import derivatives, exact
from benchmarks.peer_claims.claims import Claim, Grid, Outcome, all_of, close, equal, judge, refusal
from wellposed.differentiate import directional_derivative, jacobian

ELEMENTARY: dict[str, tuple[Any, tuple[float, ...]]] = {
    "cos": (lambda m, x: m.cos(x), (0.0, 0.3, 1.0, np.pi / 2, 7.6564547238847105, 8.9428143931508)),
    "sin": (lambda m, x: m.sin(x), (0.0, 0.1, np.pi / 6, 1.0, np.pi, 4.0)),
    "tan": (lambda m, x: m.tan(x), (-1.2, -0.2, 0.0, 0.5, 1.3)),
    "cosh": (lambda m, x: m.cosh(x), (-3.0, 0.0, 0.01, 1.0, 6.0)),
    "sinh": (lambda m, x: m.sinh(x), (-3.0, 0.0, 0.01, 1.0, 6.0)),
    "tanh": (lambda m, x: m.tanh(x), (-2.0, 0.0, 0.5, 1.0, 4.0)),
    "arcsinh": (lambda m, x: m.asinh(x), (-4.0, 0.0, 0.3, 2.0, 100.0)),
    "arccosh": (lambda m, x: m.acosh(x), (1.001, 1.1, 1.5, 3.0, 50.0)),
    "arctanh": (lambda m, x: m.atanh(x), (-0.9, 0.0, 0.3, 0.8, 0.999)),
    "exp": (lambda m, x: m.exp(x), (-5.0, -1.0, 0.0, 0.5, 1.0, 10.0)),
    "expm1": (lambda m, x: m.expm1(x), (-2.0, 0.0, 1e-5, 0.5, 3.0)),
    "exp2": (lambda m, x: m.exp2(x), (-4.0, 0.0, 0.5, 1.0, 8.0)),
    "square": (lambda m, x: x * x, (-3.0, 0.0, 1e-3, 1.0, 500.0)),
    "sqrt": (lambda m, x: m.sqrt(x), (1e-4, 0.01, 0.5, 1.0, 1e4)),
    "log": (lambda m, x: m.log(x), (0.001, 0.1, 0.5, 1.0, 1e3)),
    "log1p": (lambda m, x: m.log1p(x), (-0.9, 1e-4, 0.5, 1.0, 1e3)),
    "log10": (lambda m, x: m.log10(x), (0.001, 0.1, 0.5, 1.0, 1e3)),
    "log2": (lambda m, x: m.log2(x), (0.001, 0.1, 0.5, 1.0, 1e3)),
    "arccos": (lambda m, x: m.acos(x), (-0.9, 0.0, 0.3, 0.7, 0.99)),
    "arcsin": (lambda m, x: m.asin(x), (-0.9, 0.0, 0.3, 0.7, 0.99)),
    "arctan": (lambda m, x: m.atan(x), (-5.0, 0.0, 0.3, 1.0, 40.0)),
    "inv": (lambda m, x: 1 / x, (-2.0, 0.01, 0.5, 1.0, 300.0)),
    "cube": (lambda m, x: x * x * x, (-2.0, 0.0, 0.1, 2.0, 40.0)),
}
RANGES = {
    "tan": (-1.3, 1.3),
    "arccosh": (1.05, 5.0),
    "arctanh": (-0.95, 0.95),
    "sqrt": (0.05, 9.0),
    "log": (0.05, 9.0),
    "log1p": (-0.8, 9.0),
    "log10": (0.05, 9.0),
    "log2": (0.05, 9.0),
    "arccos": (-0.95, 0.95),
    "arcsin": (-0.95, 0.95),
    "inv": (0.1, 9.0),
}


def rosen(m: Any, x: Any) -> Any:
    total = 0
    for i in range(len(x) - 1):
        total = total + 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return total


def product_and_exp(m: Any, x: Any) -> Any:
    return x[0] * x[1] * x[2] + m.exp(x[0]) * x[1]


def powers(m: Any, x: Any) -> Any:
    return [x[0], x[0] ** 2, x[0] ** 3]


def residuals(m: Any, c: Any) -> Any:
    out = []
    for t in np.arange(0, 1, 0.1):
        at = exact.number(t) if m is exact.EXACT else t
        target = 1 + 2 * m.exp(0.75 * at)
        out.append((c[0] + c[1] * m.exp(c[2] * at) - target) ** 2)
    return out


def sums_of_powers(m: Any, x: Any) -> Any:
    return [x[0] ** 2 + x[1] ** 2, x[0] ** 3 + x[1] ** 3]


def stacked(m: Any, x: Any) -> Any:
    return [x[0] * x[1] * x[2] ** 2, x[0] * x[1] * x[2]]


def circles(m: Any, x: Any) -> Any:
    return [m.cos(x[0] * x[1]), m.sin(x[0] * x[1])]


def reciprocal(m: Any, x: Any) -> Any:
    return 1 / (m.exp(x[0]) + m.cos(x[1]) + 10)


def mixed_powers(m: Any, x: Any) -> Any:
    return x[0] + x[1] ** 2 + x[2] ** 3


def cosine_of_difference(m: Any, x: Any) -> Any:
    return m.cos(x[0] - x[1])


def sum_of_squares(m: Any, x: Any) -> Any:
    return m.sum([v * v for v in x]) if m is exact.EXACT else np.sum(x**2)


def ions(m: Any, x: Any) -> Any:
    """Energy of two charges in a trap, away from where they meet."""
    return (x[0] ** 2 + x[1] ** 2) / 2 + 1 / abs(x[0] - x[1])


GRADIENTS: dict[str, tuple[Any, tuple[tuple[float, ...], ...]]] = {
    "rosen": (rosen, ((2.0, 3.0), (-1.0, 0.5), (1.0, 1.0), (0.2, -0.4, 1.7), (1.0, 1.0, 1.0, 1.0))),
    "xyz+exp": (product_and_exp, ((3.0, 5.0, 7.0), (0.0, 1.0, 2.0), (-2.0, 0.1, 9.0))),
    "reciprocal": (reciprocal, ((1.0, 2.0), (-3.0, 0.1), (0.0, 0.0))),
    "mixed-powers": (
        mixed_powers,
        ((1.0, 2.0, 3.0), (0.0, 16.003907623933742, 68.02057249966789), (88.0, 88.0, 88.0)),
    ),
    "cos(x-y)": (cosine_of_difference, ((0.0, 0.0), (0.3, -0.4), (5.0, 2.0))),
    "squares": (sum_of_squares, ((1.0, 2.0, 3.0), (0.0, 0.0), (1e-3, 1.0, 1e3))),
    "ions": (ions, ((-0.6, 0.6), (-1.0, 0.25), (0.1, 3.0))),
}
JACOBIANS: dict[str, tuple[Any, tuple[tuple[float, ...], ...]]] = {
    "powers": (powers, ((-1000.0,), (-3.5,), (0.0,), (1e-3,), (2.0,), (777.0,))),
    "residuals": (residuals, ((1.0, 2.0, 0.75), (1.1, 1.9, 0.5), (0.0, 1.0, -1.0))),
    "matrix-valued": (sums_of_powers, ((1.0, 2.0), (3.0, 4.0), (5.0, -6.0), (0.0, 0.0))),
    "stacked": (stacked, ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))),
    "circles": (circles, ((3.0, 5.0), (0.1, 0.2), (-1.0, 2.5))),
}


def shape_of_cube() -> Outcome:
    x = np.full((3, 2), 2.0)
    got = wp.numerical_gradient(lambda t: np.sum(t**3), x)
    return all_of(
        equal(got.value.shape, (3, 2)), judge(got.value, got.error, np.full((3, 2), 12.0), rtol=1e-8)
    )


def broadcast_rows() -> Outcome:
    def f(x: Any) -> Any:
        out = np.zeros((2, 2))
        out[0], out[1] = x, x
        return out

    got = jacobian(f, np.array([1.0, 2.0]))
    return judge(got.value, got.error, np.array([np.eye(2), np.eye(2)]), rtol=1e-10, atol=1e-12)


def diagonal(n: int, dtype: Any) -> Outcome:
    got = jacobian(lambda x: x**2, np.ones(n, dtype=dtype))
    return judge(got.value, got.error, 2 * np.eye(n), rtol=1e-7, atol=1e-9)


def keyword_arguments(x: float) -> Outcome:
    def f(x: Any, a: float, b: float = 1.0) -> Any:
        return b * a * x * x * x

    got = wp.numerical_gradient(lambda t: f(t, 1.0, b=2.0), x)
    return judge(got.value, got.error, 6 * x * x, rtol=1e-8, atol=1e-13)


def integers(x: Any, f: Any, truth: Any) -> Outcome:
    got = wp.numerical_gradient(f, x)
    return judge(got.value, got.error, truth)


def error_small(f: Any, x: float, limit: float) -> Outcome:
    got = wp.numerical_gradient(lambda t: f(exact.PLAIN, t), x)
    return all_of(
        judge(got.value, got.error, exact.slope(f, x)),
        close(float(got.error <= limit), 1.0, what=f"error {got.error} above {limit}"),
    )


def unit_direction() -> Outcome:
    v = np.array([1.0, -1.0]) / np.sqrt(2.0)
    got = directional_derivative(lambda t: rosen(np, t), np.array([2.0, 3.0]), v)
    return judge(got.value, got.error, exact.directional(rosen, [2.0, 3.0], list(v)))


def untouched() -> Outcome:
    x = np.array([1.0, 2.0, 3.0])
    x.flags.writeable = False
    wp.numerical_gradient(lambda t: np.sum(t**2), x)
    return equal(x, [1.0, 2.0, 3.0])


def claims() -> list[Claim]:
    grid = Grid("numdifftools")
    for name, (f, points) in ELEMENTARY.items():
        for x in points:
            grid.add("derivative", f"{name} at {x:g} float64", derivatives.scalar, f, x, np.float64, "auto")
            grid.add("derivative", f"{name} at {x:g} float32", derivatives.scalar, f, x, np.float32, "own")
        grid.add(
            "derivative",
            f"{name} one-sided at {points[2]:g}",
            derivatives.scalar,
            f,
            points[2],
            np.float64,
            "auto",
            "one-sided",
        )
        low, high = RANGES.get(name, (-2.0, 3.0))
        for dtype, precision in ((np.float64, "auto"), (np.float32, "own"), (np.float32, "auto")):
            x = np.linspace(low, high, 24).astype(dtype)
            grid.add(
                "derivative",
                f"{name} of 24 elements {np.dtype(dtype)} {precision}",
                derivatives.elementwise,
                f,
                x,
                precision,
            )
    for name, (f, _) in ELEMENTARY.items():
        low, high = RANGES.get(name, (-2.0, 3.0))
        for n, seed in ((5, 0), (12, 1), (40, 2)):
            x = np.random.default_rng(seed).uniform(low, high, n)
            grid.add(
                "derivative", f"{name} of {n} random elements float64", derivatives.elementwise, f, x, "auto"
            )
            grid.add(
                "derivative",
                f"{name} of {n} random elements float32",
                derivatives.elementwise,
                f,
                x.astype(np.float32),
                "own",
            )
    for name, (f, points) in GRADIENTS.items():
        for p in points:
            for dtype, precision in ((np.float64, "auto"), (np.float32, "own")):
                grid.add(
                    "derivative",
                    f"gradient of {name} at {p} {np.dtype(dtype)}",
                    derivatives.gradient,
                    f,
                    np.array(p, dtype),
                    precision,
                )
            for v in np.eye(len(p)):
                grid.add(
                    "derivative",
                    f"Hessian of {name} at {p} times {v}",
                    derivatives.curvature,
                    f,
                    np.array(p),
                    v,
                )
            grid.add(
                "derivative",
                f"along 1,-1,.. of {name} at {p}",
                derivatives.along,
                f,
                np.array(p),
                np.array([(-1.0) ** i for i in range(len(p))]),
            )
    for name, (f, points) in JACOBIANS.items():
        for p in points:
            for dtype, precision in ((np.float64, "auto"), (np.float32, "own")):
                grid.add(
                    "derivative",
                    f"Jacobian of {name} at {p} {np.dtype(dtype)}",
                    derivatives.matrix,
                    f,
                    np.array(p, dtype),
                    precision,
                )
    grid.add("derivative", "cube of a (3, 2) array", shape_of_cube)
    grid.add("derivative", "rows that are broadcast", broadcast_rows)
    for n in (3, 12, 20):
        grid.add("derivative", f"diagonal Jacobian of {n}", diagonal, n, np.float64)
    for x in (0.0, 1.0):
        grid.add("derivative", f"further arguments at {x}", keyword_arguments, x)
    grid.add("derivative", "unit direction of rosen", unit_direction)
    grid.add("derivative", "x is not written", untouched)
    grid.add(
        "derivative",
        "integers in a list",
        integers,
        [1, 2, 3],
        lambda t: sum(v * v for v in t),
        [2.0, 4.0, 6.0],
    )
    grid.add("derivative", "an integer", integers, 1, lambda t: t**3, 3.0)
    grid.add(
        "derivative",
        "an integer array",
        integers,
        np.array([1, 2, 3]),
        lambda t: np.sum(t**2),
        [2.0, 4.0, 6.0],
    )
    grid.add("derivative", "an infinite function", refusal_of_infinity)
    grid.add("derivative", "a NaN function", refusal_of_nan)
    for name in ("exp", "sin", "cos", "tanh", "cube"):
        grid.add("derivative", f"error estimate of {name}", error_small, ELEMENTARY[name][0], 1.0, 1e-9)
    return grid.claims


def refusal_of_infinity() -> Outcome:
    return refusal(lambda: wp.numerical_gradient(lambda x: np.inf, 0.0))


def refusal_of_nan() -> Outcome:
    return refusal(lambda: wp.numerical_gradient(lambda x: np.nan, 0.0))
