"""Functions whose derivatives are known to more digits than any difference can reach.

A formula is written once, over a namespace ``m`` that is NumPy or mpmath: NumPy's is what gets differentiated, in the
dtype of the point; mpmath's, to 60 digits and at exactly that point, is the truth. Functions of arrays bring a
gradient of their own, evaluated in extended precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Point = Any
mpmath.mp.dps = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    f: Callable[[Any], Any]
    x: Any
    truth: NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    name: str
    draw: Callable[[Rng, Any], Case]
    """From a generator and the dtype that f computes in."""
    weight: float = 1.0
    """Its share of the derivatives, against 1 for the others."""


PLAIN = SimpleNamespace(
    sin=np.sin, cos=np.cos, tan=np.tan, exp=np.exp, log=np.log, sqrt=np.sqrt, tanh=np.tanh, cosh=np.cosh,
    sinh=np.sinh, atan=np.arctan, asin=np.arcsin, acosh=np.arccosh, log1p=np.log1p, expm1=np.expm1, fabs=np.abs,
    re=np.real, im=np.imag,
)  # fmt: skip
EXACT = SimpleNamespace(
    **{name: getattr(mpmath, name) for name in vars(PLAIN) if name not in ("re", "im")},
    re=mpmath.re,
    im=mpmath.im,
)


def rounded(value: float, kind: Any) -> float:
    """A parameter that the dtype holds exactly, as a plain float, which does not widen what it meets."""
    return float(np.dtype(kind).type(0).real.dtype.type(value))


def of_one_number(
    name: str,
    formula: Callable[..., Any],
    parameters: Callable[[Rng], tuple[float, ...]],
    place: Callable[[Rng], float],
    *,
    weight: float = 1.0,
) -> Family:
    """A family from one formula ``(m, x, *parameters)``, and where its parameters and its points come from."""

    def draw(rng: Rng, kind: Any) -> Case:
        p = tuple(rounded(v, kind) for v in parameters(rng))
        x = rounded(place(rng), kind)
        own = np.dtype(kind).type(x)
        truth = mpmath.diff(lambda t: formula(EXACT, t, *map(mpmath.mpf, p)), mpmath.mpf(x))
        return Case(
            f=lambda t: formula(PLAIN, t, *p),
            x=float(x) if kind is np.float64 else own,
            truth=np.array(float(truth)),
        )

    return Family(name=name, draw=draw, weight=weight)


def log_uniform(low: float, high: float) -> Callable[[Rng], float]:
    return lambda rng: 10 ** rng.uniform(low, high)


def signed(low: float, high: float) -> Callable[[Rng], float]:
    return lambda rng: rng.choice((-1, 1)) * 10 ** rng.uniform(low, high)


def normals(count: int, spread: float = 1.0) -> Callable[[Rng], tuple[float, ...]]:
    return lambda rng: tuple(spread * rng.normal(size=count))


def nothing(_: Rng) -> tuple[float, ...]:
    return ()


def horner(m: Any, x: Any, *coefficients: Any) -> Any:
    total = x * 0
    for c in coefficients:
        total = total * x + c
    return total


def waves(m: Any, x: Any, *p: Any) -> Any:
    return sum((p[i] * m.sin(p[i + 1] * x + p[i + 2]) for i in range(0, len(p), 3)), x * 0)


def cancelling(m: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """A small answer between two large terms."""
    return (c + a * m.sin(x)) - c + b * x


def beside_a_pole(rng: Rng) -> float:
    return 10 ** rng.uniform(-4, -0.5)


FAMILIES = (
    of_one_number("exp", lambda m, x, a, c: m.exp(a * x) + c, normals(2), lambda r: 3 * r.normal()),
    of_one_number("sine at any argument", lambda m, x, a: m.sin(x + a), normals(1), signed(-6, 3)),
    of_one_number("log at any scale", lambda m, x, a: a * m.log(x), normals(1), log_uniform(-8, 8)),
    of_one_number("square root at any scale", lambda m, x: m.sqrt(x), nothing, log_uniform(-8, 8)),
    of_one_number("reciprocal at any scale", lambda m, x: 1 / x, nothing, signed(-6, 6)),
    of_one_number("tanh, also saturated", lambda m, x, c: m.tanh(x) + 10 * c, normals(1), lambda r: 3 * r.normal()),
    of_one_number("polynomial", horner, normals(6), lambda r: 2 * r.normal()),
    of_one_number("steep polynomial", horner, normals(12), lambda r: 1.2 * r.normal()),
    of_one_number("waves", waves, lambda r: tuple((r.normal(size=(3, 3)) * (1, 8, 3)).ravel()), lambda r: 2 * r.normal()),
    of_one_number("fast wave", lambda m, x, s: m.sin(s * x), lambda r: (10 ** r.uniform(1, 3),), lambda r: r.normal()),
    of_one_number("steep sigmoid", lambda m, x, s: 1 / (1 + m.exp(-s * x)), lambda r: (10 ** r.uniform(-1, 2),), lambda r: r.normal() / 10),
    of_one_number("Runge", lambda m, x, s: 1 / (1 + s * x * x), lambda r: (10 ** r.uniform(-2, 3),), lambda r: r.normal()),
    of_one_number("gamma-like product", lambda m, x: x * (x + 1) * (x + 2) * m.exp(-x) / m.sqrt(x), nothing, log_uniform(-2, 1)),
    of_one_number("tangent beside its pole", lambda m, x, d: m.tan(x - d), lambda r: (0.0,), lambda r: np.pi / 2 - beside_a_pole(r)),
    of_one_number("log beside zero", lambda m, x, c: m.log(x - c), lambda r: (1.0,), lambda r: 1 + beside_a_pole(r)),
    of_one_number("arcsine beside one", lambda m, x: m.asin(x), nothing, lambda r: 1 - beside_a_pole(r)),
    of_one_number("acosh beside one", lambda m, x: m.acosh(x), nothing, lambda r: 1 + beside_a_pole(r)),
    of_one_number("composition", lambda m, x, a, b: m.exp(m.sin(a * x)) * m.log1p(b * b + x * x), normals(2), lambda r: 2 * r.normal()),
    of_one_number("deep composition", lambda m, x, a: m.sin(m.exp(m.sin(m.exp(m.sin(a * x))))), normals(1), lambda r: r.normal()),
    of_one_number("sum with cancellation", cancelling, lambda r: (r.normal(), r.normal(), 10 ** r.uniform(1, 4)), lambda r: r.normal()),
    of_one_number("difference of squares", lambda m, x, c: (x + c) ** 2 - (x - c) ** 2, lambda r: (10 ** r.uniform(0, 3),), lambda r: r.normal()),
    of_one_number("line", lambda m, x, a, c: a * x + c, normals(2), signed(-6, 6)),
    of_one_number("flat exponential", lambda m, x: m.exp(-1 / (x * x)), nothing, lambda r: r.uniform(0.15, 1)),
    of_one_number("flat bottom", lambda m, x, a: (x - a) ** 4 + 1, normals(1), lambda r: r.normal()),
    of_one_number("small slope on a large value", lambda m, x, c: c + m.sin(x), lambda r: (10 ** r.uniform(1, 5),), lambda r: r.normal()),
    of_one_number("beats", lambda m, x, s: m.sin(s * x) * m.exp(-x * x), lambda r: (10 ** r.uniform(0, 2),), lambda r: r.normal()),
    of_one_number("chirp", lambda m, x: m.sin(1 / x), nothing, lambda r: 10 ** r.uniform(-1.5, 1)),
    of_one_number("narrow bump", lambda m, x, s: m.exp(-((s * x) ** 2)) + x, lambda r: (10 ** r.uniform(0, 3),), lambda r: r.normal() / 30),
    of_one_number("softplus", lambda m, x, s: m.log1p(m.exp(s * x)) / s, lambda r: (10 ** r.uniform(-1, 1),), lambda r: r.normal()),
    of_one_number("smooth absolute value", lambda m, x, e: m.sqrt(x * x + e), lambda r: (10 ** r.uniform(-8, 0),), lambda r: r.normal() / 10),
    of_one_number("power", lambda m, x, a: m.exp(a * m.log(x)), lambda r: (r.uniform(-4, 4),), log_uniform(-3, 3)),
    of_one_number("hyperbola", lambda m, x, a: m.cosh(x) - m.sinh(a * x), normals(1), lambda r: 2 * r.normal()),
)  # fmt: skip


def of_arrays(
    name: str,
    f: Callable[..., Any],
    gradient: Callable[..., Any],
    drawn: Callable[[Rng], tuple[Any, ...]],
    *,
    weight: float = 1.0,
) -> Family:
    """A family from ``f(x, *parameters)`` and its gradient by hand, which is evaluated in extended precision."""

    def draw(rng: Rng, kind: Any) -> Case:
        x, *p = (np.asarray(v, dtype=kind) for v in drawn(rng))
        wide = np.clongdouble if np.dtype(kind).kind == "c" else np.longdouble
        with np.errstate(all="ignore"):
            truth = gradient(x.astype(wide), *(v.astype(wide) for v in p))
        held = np.complex128 if np.dtype(kind).kind == "c" else np.float64
        return Case(f=lambda t: f(t, *p), x=x, truth=np.asarray(truth, dtype=held))

    return Family(name=name, draw=draw, weight=weight)


def log_sum_exp(x: Any) -> Any:
    top = x.max()
    return top + np.log(np.sum(np.exp(x - top)))


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max())
    return e / e.sum()


def net_loss(x: Any, inputs: Any, targets: Any) -> Any:
    """Mean squared error of a tanh net with 3 inputs, 4 hidden units, 1 output; `x` holds its 21 parameters."""
    w, b, v, c = x[:12].reshape(3, 4), x[12:16], x[16:20], x[20]
    return np.mean((np.tanh(inputs @ w + b) @ v + c - targets) ** 2)


def net_gradient(x: Any, inputs: Any, targets: Any) -> Any:
    w, b, v, c = x[:12].reshape(3, 4), x[12:16], x[16:20], x[20]
    hidden = np.tanh(inputs @ w + b)
    error = 2 * (hidden @ v + c - targets) / len(targets)
    back = error[:, None] * v * (1 - hidden**2)
    return np.concatenate([(inputs.T @ back).ravel(), back.sum(0), hidden.T @ error, [error.sum()]])


def inverse(a: Any) -> Any:
    exact = mpmath.matrix([[mpmath.mpf(float(v)) for v in row] for row in a]) ** -1
    return np.array([[float(exact[i, j]) for j in range(len(a))] for i in range(len(a))])


def determinant(a: Any) -> float:
    return float(mpmath.det(mpmath.matrix([[mpmath.mpf(float(v)) for v in row] for row in a])))


def near_identity(rng: Rng) -> Any:
    return np.eye(4) + 0.3 * rng.normal(size=(4, 4))


def inverse_trace_gradient(a: Any) -> Any:
    b = inverse(a)
    return -(b.T.astype(np.longdouble) @ b.T.astype(np.longdouble))


ARRAY_FAMILIES = (
    of_arrays("log-sum-exp", log_sum_exp, softmax, lambda r: (3 * r.normal(size=20),)),
    of_arrays("tanh net", net_loss, net_gradient, lambda r: (r.normal(size=21) * 0.7, r.normal(size=(16, 3)), r.normal(size=16))),
    of_arrays("tanh net, inputs in other units", net_loss, net_gradient,
              lambda r: (r.normal(size=21) * np.r_[np.repeat([1, 1e-3, 1e3], 4), np.ones(9)], r.normal(size=(16, 3)) * (1, 1e3, 1e-3), r.normal(size=16))),
    of_arrays("log determinant", lambda a: np.linalg.slogdet(a)[1], lambda a: inverse(a).T, lambda r: (near_identity(r),)),
    of_arrays("determinant", np.linalg.det, lambda a: determinant(a) * inverse(a).T, lambda r: (near_identity(r),)),
    of_arrays("trace of the inverse", lambda a: np.trace(np.linalg.inv(a)), inverse_trace_gradient, lambda r: (near_identity(r),)),
    of_arrays("norm", lambda x: np.sqrt(np.sum(x * x)), lambda x: x / np.sqrt(np.sum(x * x)), lambda r: (r.normal(size=20),)),
    of_arrays("sum of squares over scales", lambda x: np.sum(x * x), lambda x: 2 * x, lambda r: (r.normal(size=20) * 10 ** r.uniform(-4, 4, size=20),)),
    of_arrays("sum of logs over scales", lambda x: np.sum(np.log(x)), lambda x: 1 / x, lambda r: (10 ** r.uniform(-4, 4, size=20),)),
    of_arrays("mean of waves", lambda x, s: np.mean(np.sin(s * x)), lambda x, s: s * np.cos(s * x) / len(x), lambda r: (r.normal(size=20), 10 ** r.uniform(0, 1.5, size=20))),
    of_arrays("long sum", lambda x, w: np.sum(w * np.exp(x)), lambda x, w: w * np.exp(x), lambda r: (r.normal(size=20), r.normal(size=20))),
    of_arrays("Rosenbrock", lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
              lambda x: np.r_[0 * x[:1], 200 * (x[1:] - x[:-1] ** 2)] + np.r_[-400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1]), 0 * x[:1]],
              lambda r: (r.normal(size=10),)),
)  # fmt: skip


def cast_inside(family: Family) -> Family:
    """The same function of a float64 argument, computed in float32: the noise is far above the argument's."""

    def draw(rng: Rng, kind: Any) -> Case:
        case = family.draw(rng, np.float32)
        x = np.asarray(case.x, dtype=np.float64)
        return Case(
            f=lambda t: float(case.f(np.asarray(t).astype(np.float32)[()])),
            x=x if x.ndim else float(x),
            truth=case.truth,
        )

    return Family(name=f"{family.name}, cast to float32 inside", draw=draw, weight=0.5)


def of_one_complex(
    name: str,
    formula: Callable[..., Any],
    parameters: Callable[[Rng], tuple[float, ...]],
    place: Callable[[Rng], complex],
) -> Family:
    """A real function of a complex number; the truth is dF/dRe + i dF/dIm."""

    def draw(rng: Rng, kind: Any) -> Case:
        p = tuple(rounded(v, kind) for v in parameters(rng))
        z = complex(np.dtype(kind).type(place(rng)))
        exact, q = mpmath.mpc(z), tuple(map(mpmath.mpf, p))
        parts = [
            mpmath.diff(lambda t, u=u: mpmath.re(formula(EXACT, exact + u * t, *q)), 0)
            for u in (1, mpmath.mpc(0, 1))
        ]
        return Case(f=lambda t: formula(PLAIN, t, *p), x=z, truth=np.array(complex(*map(float, parts))))

    return Family(name=name, draw=draw)


def somewhere(spread: float = 1.0) -> Callable[[Rng], complex]:
    return lambda rng: complex(*(spread * rng.normal(size=2)))


def on_any_scale(low: float, high: float) -> Callable[[Rng], complex]:
    return lambda rng: 10 ** rng.uniform(low, high) * np.exp(2j * np.pi * rng.uniform())


def hermitian(rng: Rng) -> Any:
    a = rng.normal(size=(8, 8)) + 1j * rng.normal(size=(8, 8))
    return a + a.conj().T


def complex_normal(rng: Rng, *shape: int) -> Any:
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


COMPLEX_FAMILIES = (
    of_one_complex("|exp z|", lambda m, z: m.fabs(m.exp(z)) if m is PLAIN else abs(m.exp(z)), nothing, somewhere(2)),
    of_one_complex("log |z|", lambda m, z: m.log(abs(z)), nothing, on_any_scale(-6, 6)),
    of_one_complex("|z|", lambda m, z: abs(z), nothing, on_any_scale(-6, 6)),
    of_one_complex("Re z^3", lambda m, z, a: a * m.re(z * z * z), normals(1), somewhere(2)),
    of_one_complex("Im sin z", lambda m, z, a: m.im(m.sin(a * z)), normals(1), somewhere()),
    of_one_complex("|polynomial|^2", lambda m, z, *c: abs(horner(m, z, *c)) ** 2, normals(5), somewhere()),
    of_one_complex("Re 1/z", lambda m, z: m.re(1 / z), nothing, on_any_scale(-3, 3)),
    of_one_complex("|tanh z|", lambda m, z: abs(m.tanh(z)), nothing, somewhere(0.7)),
    of_one_complex("power spectrum at a frequency", lambda m, z, a, b: abs(a * z + b * z * z + 1) ** 2 + m.re(m.exp(3 * z)), normals(2), somewhere()),
    of_one_complex("beside a zero", lambda m, z, a: m.log(abs(z * z + a * a)), normals(1), somewhere()),
    of_arrays("Hermitian form", lambda z, a: np.real(np.vdot(z, a @ z)), lambda z, a: 2 * a @ z, lambda r: (complex_normal(r, 8), hermitian(r))),
    of_arrays("log of the power", lambda z: np.log(np.sum(np.abs(z) ** 2)), lambda z: 2 * z / np.sum(np.abs(z) ** 2), lambda r: (complex_normal(r, 12),)),
    of_arrays("power over scales", lambda z: np.sum(np.abs(z) ** 2), lambda z: 2 * z, lambda r: (complex_normal(r, 12) * 10 ** r.uniform(-3, 3, size=12),)),
    of_arrays("error of a complex filter", lambda z, a, y: np.mean(np.abs(a @ z - y) ** 2), lambda z, a, y: 2 * a.conj().T @ (a @ z - y) / len(y),
              lambda r: (complex_normal(r, 8), complex_normal(r, 16, 8), complex_normal(r, 16))),
)  # fmt: skip


def logistic_map(m: Any, x: Any, r: Any) -> Any:
    for _ in range(6):
        x = r * x * (1 - x)
    return x


def cross_entropy_gradient(x: Any) -> Any:
    g = softmax(x)
    g[0] -= 1
    return g


FRESH = (
    of_one_number("swish", lambda m, x, s: x / (1 + m.exp(-s * x)), lambda r: (10 ** r.uniform(-1, 1),), lambda r: 3 * r.normal()),
    of_one_number("gelu", lambda m, x: x / 2 * (1 + m.tanh(0.797 * (x + 0.0447 * x * x * x))), nothing, lambda r: 2 * r.normal()),
    of_one_number("x to the x", lambda m, x: m.exp(x * m.log(x)), nothing, log_uniform(-2, 0.6)),
    of_one_number("sinc", lambda m, x: m.sin(x) / x, nothing, signed(-3, 2)),
    of_one_number("nested roots", lambda m, x: m.sqrt(1 + m.sqrt(1 + x * x)), nothing, signed(-3, 3)),
    of_one_number("rational function", lambda m, x, a, b, c: (x * x + a * x + b) / (x * x + c * c + 1), normals(3), signed(-2, 2)),
    of_one_number("cosine of the square", lambda m, x: m.cos(x * x), nothing, lambda r: 4 * r.normal()),
    of_one_number("logistic map, six times", logistic_map, lambda r: (r.uniform(2, 3.9),), lambda r: r.uniform(0.1, 0.9)),
    of_one_number("damped oscillation", lambda m, x, a, b: m.exp(-a * a * x) * m.cos(10 * b * x), normals(2), lambda r: r.uniform(0, 3)),
    of_one_number("log cosh", lambda m, x: m.log(m.cosh(x)), nothing, lambda r: 3 * r.normal()),
    of_arrays("cross entropy", lambda x: log_sum_exp(x) - x[0], cross_entropy_gradient, lambda r: (2 * r.normal(size=10),)),
    of_arrays("product", np.prod, lambda x: np.prod(x) / x, lambda r: (r.uniform(0.5, 2, size=12),)),
    of_arrays("quadratic form", lambda x, a: x @ (a @ x), lambda x, a: (a + a.T) @ x, lambda r: (r.normal(size=12), r.normal(size=(12, 12)))),
)  # fmt: skip
"""Written after the method and its constants were settled, and not looked into before they were reported."""

FRESH_COMPLEX = (
    of_one_complex("|cos z|", lambda m, z: abs(m.cos(z)), nothing, somewhere()),
    of_one_complex("log |1 + z^2|", lambda m, z: m.log(abs(1 + z * z)), nothing, on_any_scale(-2, 2)),
    of_one_complex("Re sqrt z", lambda m, z: m.re(m.sqrt(z)), nothing, on_any_scale(-4, 4)),
    of_one_complex("|z|^3 + Im z^2", lambda m, z: abs(z) ** 3 + m.im(z * z), nothing, somewhere(2)),
)  # fmt: skip


def fresh_families_of(dtype: str) -> tuple[Family, ...]:
    if dtype == "complex":
        return FRESH_COMPLEX
    return FRESH if dtype == "float64" else FRESH + tuple(map(cast_inside, FRESH[::3]))


def families_of(dtype: str) -> tuple[Family, ...]:
    """The families that the method was made with."""
    if dtype == "complex":
        return COMPLEX_FAMILIES
    plain = FAMILIES + ARRAY_FAMILIES
    return plain if dtype == "float64" else plain + tuple(map(cast_inside, plain[::4]))
