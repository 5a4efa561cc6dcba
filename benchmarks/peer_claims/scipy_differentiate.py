"""What the tests of `scipy.differentiate` claim: distributions, Wikipedia's Jacobians, dtypes, step directions, polynomials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from mpmath import mp
from scipy import special, stats

import wellposed as wp
from benchmarks.peer_claims import derivatives, exact
from benchmarks.peer_claims.claims import Claim, Grid, Outcome, all_of, equal, judge, refusal
from benchmarks.peer_claims.numdifftools import rosen
from wellposed.differentiate import hessian_vector, jacobian

Density = Callable[[Any], Any]


def density(f: Density, x: Any) -> Any:
    with mpmath.workdps(50):
        return f(exact.number(x))


DISTRIBUTIONS: dict[str, tuple[Any, Density]] = {
    "norm": (stats.norm(), lambda x: mp.npdf(x)),
    "expon": (stats.expon(), lambda x: mp.exp(-x)),
    "logistic": (stats.logistic(), lambda x: mp.exp(-x) / (1 + mp.exp(-x)) ** 2),
    "cauchy": (stats.cauchy(), lambda x: 1 / (mp.pi * (1 + x * x))),
    "gumbel_r": (stats.gumbel_r(), lambda x: mp.exp(-x - mp.exp(-x))),
    "gumbel_l": (stats.gumbel_l(), lambda x: mp.exp(x - mp.exp(x))),
    "rayleigh": (stats.rayleigh(), lambda x: x * mp.exp(-x * x / 2)),
    "hypsecant": (stats.hypsecant(), lambda x: 1 / (mp.pi * mp.cosh(x))),
    "gamma(2.5)": (stats.gamma(2.5), lambda x: x**1.5 * mp.exp(-x) / mp.gamma(2.5)),
    "beta(2, 3.5)": (stats.beta(2, 3.5), lambda x: x * (1 - x) ** mp.mpf(2.5) / mp.beta(2, 3.5)),
    "t(4)": (stats.t(4), lambda x: mp.mpf(3) / 8 * (1 + x * x / 4) ** mp.mpf(-2.5)),
    "weibull_min(1.5)": (
        stats.weibull_min(1.5),
        lambda x: mp.mpf(1.5) * mp.sqrt(x) * mp.exp(-(x ** mp.mpf(1.5))),
    ),
    "pareto(2.5)": (stats.pareto(2.5), lambda x: mp.mpf(2.5) / x ** mp.mpf(3.5)),
    "chi2(5)": (stats.chi2(5), lambda x: x**1.5 * mp.exp(-x / 2) / (mp.mpf(2) ** 2.5 * mp.gamma(2.5))),
    "lognorm(0.5)": (stats.lognorm(0.5), lambda x: mp.npdf(mp.log(x) * 2) * 2 / x),
    "halfnorm": (stats.halfnorm(), lambda x: 2 * mp.npdf(x)),
    "maxwell": (stats.maxwell(), lambda x: mp.sqrt(2 / mp.pi) * x * x * mp.exp(-x * x / 2)),
    "powerlaw(1.75)": (stats.powerlaw(1.75), lambda x: mp.mpf(1.75) * x ** mp.mpf(0.75)),
}


def f1(m: Any, z: Any) -> Any:
    return [z[0] ** 2 * z[1], 5 * z[0] + m.sin(z[1])]


def f2(m: Any, z: Any) -> Any:
    return [z[0] * m.cos(z[1]), z[0] * m.sin(z[1])]


def f3(m: Any, z: Any) -> Any:
    return [z[0] * m.sin(z[1]) * m.cos(z[2]), z[0] * m.sin(z[1]) * m.sin(z[2]), z[0] * m.cos(z[1])]


def f4(m: Any, x: Any) -> Any:
    return [x[0], 5 * x[2], 4 * x[1] ** 2 - 2 * x[2], x[2] * m.sin(x[0])]


def f5(m: Any, x: Any) -> Any:
    return [5 * x[1], 4 * x[0] ** 2 - 2 * m.sin(x[1] * x[2]), x[1] * x[2]]


def uneven(m: Any, z: Any) -> Any:
    return [m.cos(z[0] / 2) * m.cos(z[1]), m.sin(2 * z[0]) * z[1] ** 2]


def waves(m: Any, x: Any) -> Any:
    return [x[0], m.sin(3 * x[0]), x[0] + m.sin(10 * x[0]), m.sin(20 * x[0]) * (x[0] - 1) ** 2]


def cdf(name: str, x: float) -> Outcome:
    dist, pdf = DISTRIBUTIONS[name]
    got = wp.numerical_gradient(lambda t: dist.cdf(t), x)
    return judge(got.value, got.error, density(pdf, x), rtol=1e-7, atol=1e-10)


def normal_array(shape: tuple[int, ...]) -> Outcome:
    x = np.linspace(-0.05, 1.05, 12).reshape(shape)
    got = jacobian(lambda t: np.sum(special.ndtr(t)), x)
    truth = np.array([density(mp.npdf, v) for v in x.ravel()], dtype=object).reshape(shape)
    return judge(got.value, got.error, truth, rtol=1e-7)


def dtype_kept(x: Any, dtype: Any, precision: Any) -> Outcome:
    seen = []

    def f(t: Any) -> Any:
        seen.append(np.asarray(t).dtype)
        return np.sum(np.exp(t))

    point = np.asarray(x, dtype=dtype)
    got = wp.numerical_gradient(f, point, precision=precision)
    want = dtype if precision == "own" else np.float64
    size = float(np.finfo(want).eps) ** 0.5
    truth = np.array([exact.slope(lambda m, t: m.exp(t), v) for v in point.ravel()], dtype=object).reshape(
        point.shape
    )
    return all_of(
        equal(sorted({str(d) for d in seen}), [str(np.dtype(want))], what="dtype of what f gets"),
        judge(got.value, got.error, truth, rtol=size, atol=size),
    )


def half_open(x: float, low: float, high: float) -> Outcome:
    def f(t: float) -> float:
        return float(np.exp(t)) if low <= t <= high else float("nan")

    got = wp.numerical_gradient(f, x)
    return judge(got.value, got.error, exact.slope(lambda m, t: m.exp(t), x), rtol=1e-6)


def cornered(seed: int) -> Outcome:
    """A Jacobian where f ends at one side of the first element and at the other side of the second."""
    b = np.random.default_rng(seed).random(3)

    def f(x: Any) -> Any:
        outside = x[0] < b[0] or x[0] > b[0] + 0.25 or x[1] > b[1] or x[1] < b[1] - 0.1
        return np.full(3, np.nan) if outside else np.array(f5(exact.PLAIN, x))

    got = jacobian(f, b)
    return judge(got.value, got.error, exact.jacobian(f5, list(b)), rtol=1e-6, atol=1e-8)


def power(n: int, x: float, method: Any) -> Outcome:
    got = wp.numerical_gradient(lambda t: 2 * t**n, x, method=method)
    with mpmath.workdps(60):
        truth = 2 * n * exact.number(x) ** (n - 1) if n else mp.mpf(0)
    return judge(got.value, got.error, truth, rtol=1e-7, atol=1e-10)


def saddle(f: Any) -> Outcome:
    got = wp.numerical_gradient(f, 1.0)
    return judge(got.value, got.error, 0.0, atol=1e-10)


def flags() -> Outcome:
    """A function that draws random numbers is not deterministic, and said to be so, or refused."""
    rng = np.random.default_rng(5)
    got = wp.numerical_gradient(lambda x: np.exp(x) * rng.random(), 1.0)
    return equal(got.deterministic, False, what="deterministic")


def rosen_hessian(x: Any) -> Outcome:
    outcomes = []
    for v in np.eye(len(x)):
        got = hessian_vector(lambda t: rosen(np, t), x, v)
        outcomes.append(
            judge(got.value, got.error, exact.hessian_vector(rosen, list(x), list(v)), rtol=1e-4, atol=1e-3)
        )
    return all_of(*outcomes)


def claims() -> list[Claim]:
    grid = Grid("scipy.differentiate")
    for name, (dist, _) in DISTRIBUTIONS.items():
        for q in (0.05, 0.3, 0.5, 0.9, 0.999):
            x = float(dist.ppf(q)) + (
                0.1 if q == 0.5 and name not in ("beta(2, 3.5)", "powerlaw(1.75)") else 0.0
            )
            grid.add("derivative", f"cdf of {name} at {x:.4g}", cdf, name, x)
    for shape in ((12,), (3, 4), (3, 2, 2)):
        grid.add("derivative", f"ndtr of shape {shape}", normal_array, shape)
    for name, f, n in (
        ("f1", f1, 2),
        ("f2", f2, 2),
        ("f3", f3, 3),
        ("f4", f4, 3),
        ("f5", f5, 3),
        ("uneven", uneven, 2),
    ):
        for seed in range(5):
            x = np.random.default_rng(seed).random(n)
            for dtype, precision in ((np.float64, "auto"), (np.float32, "own"), (np.float32, "auto")):
                grid.add(
                    "derivative",
                    f"Jacobian {name} seed {seed} {np.dtype(dtype)} {precision}",
                    derivatives.matrix,
                    f,
                    x.astype(dtype),
                    precision,
                )
    for n in (2, 3, 5):
        for seed in range(3):
            x = np.random.default_rng(seed).random(n)
            for dtype, precision in ((np.float64, "auto"), (np.float32, "own")):
                grid.add(
                    "derivative",
                    f"rosen of {n} seed {seed} {np.dtype(dtype)}",
                    derivatives.gradient,
                    rosen,
                    x.astype(dtype),
                    precision,
                )
            if n < 5:
                grid.add("derivative", f"Hessian of rosen of {n} seed {seed}", rosen_hessian, x)
    for x in (0.0, 0.37, 1.0, 2.5):
        grid.add("derivative", f"waves at {x} float64", derivatives.matrix, waves, np.array([x]), "auto")
        grid.add(
            "derivative", f"waves at {x} float32", derivatives.matrix, waves, np.array([x], np.float32), "own"
        )
    for x in (0.65, [0.65, 0.7]):
        for dtype in (np.float32, np.float64):
            for precision in ("own", "float64", "auto"):
                grid.add(
                    "derivative",
                    f"exp of {x} in {np.dtype(dtype)} {precision}",
                    dtype_kept,
                    x,
                    dtype,
                    precision,
                )
    for x in np.linspace(0, 2, 10):
        grid.add("derivative", f"exp on [0, 2] at {x:.3f}", half_open, float(x), 0.0, 2.0)
    for seed in range(5):
        grid.add("derivative", f"a corner of the domain, seed {seed}", cornered, seed)
    for n in range(8):
        for x in (1.5, -0.3, 20.0, 0.0):
            for method in ("auto", "one-sided"):
                grid.add("derivative", f"2x^{n} at {x} {method}", power, n, x, method)
    grid.add("derivative", "2x^99 at 7", power, 99, 7.0, "auto")
    grid.add("derivative", "2x^99 at an integer 7", power, 99, 7, "auto")
    grid.add("derivative", "saddle of a cube", saddle, lambda x: (x - 1) ** 3)
    grid.add(
        "derivative",
        "saddle of a cube and a fifth power",
        saddle,
        lambda x: (x - 1) ** 5 if x > 1 else (x - 1) ** 3,
    )
    grid.add("derivative", "a random function", flags)
    grid.add(
        "derivative", "f that cannot be called", lambda: refusal(lambda: wp.numerical_gradient(None, 1.0))
    )  # type: ignore[arg-type]
    grid.add(
        "derivative", "a complex result", lambda: refusal(lambda: wp.numerical_gradient(lambda x: x, -4 + 1j))
    )
    grid.add(
        "derivative", "NaN at the point", lambda: refusal(lambda: wp.numerical_gradient(np.exp, float("nan")))
    )
    grid.add("derivative", "step 0", lambda: refusal(lambda: wp.numerical_gradient(np.exp, 1.0, step=0.0)))
    grid.add(
        "derivative",
        "step NaN",
        lambda: refusal(lambda: wp.numerical_gradient(np.exp, 1.0, step=float("nan"))),
    )
    grid.add(
        "derivative",
        "an unknown method",
        lambda: refusal(lambda: wp.numerical_gradient(np.exp, 1.0, method="herring")),
    )  # type: ignore[arg-type]
    return grid.claims
