"""What the tests of FiniteDifferences.jl claim: methods by types, jvp and its transpose, several arguments, complex arguments."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from mpmath import mp

import wellposed as wp
from benchmarks.peer_claims import derivatives, exact
from benchmarks.peer_claims.claims import Claim, Grid, Outcome, all_of, equal, flat, judge
from wellposed.differentiate import directional_derivative, jacobian

FOOS: dict[str, Any] = {
    "sin": lambda m, x: m.sin(x),
    "exp": lambda m, x: m.exp(x),
    "abs2": lambda m, x: x * x,
    "sqrt(x+1)": lambda m, x: m.sqrt(x + 1),
    "poly": lambda m, x: 4 * x**3 + 3 * x**2 + 2 * x + 1,
}


def constant(x: float) -> Outcome:
    got = wp.numerical_gradient(lambda _: 5, x)
    return judge(got.value, got.error, 0.0, atol=1e-12)


def absolute(x: float) -> Outcome:
    got = wp.numerical_gradient(abs, x)
    return judge(got.value, got.error, float(np.sign(x)), rtol=1e-8)


def sines(seed: int, dtype: Any) -> Outcome:
    """The derivative of a sum of sines of two arrays along a direction of both."""
    rng = np.random.default_rng(seed)
    x, y, dx, dy = (rng.normal(size=n).astype(dtype) for n in (2, 3, 2, 3))
    got = directional_derivative(lambda p: np.sum(np.sin(p[0])) + np.sum(np.sin(p[1])), (x, y), (dx, dy))
    with mpmath.workdps(60):
        truth = mp.fsum(
            mp.cos(exact.number(a)) * exact.number(b)
            for a, b in zip(flat((x, y)), flat((dx, dy)), strict=True)
        )
    return judge(got.value, got.error, truth, rtol=1e-7)


def linear_map(seed: int, shape: tuple[int, int], bent: bool) -> Outcome:
    """A Jacobian, and the same twice."""
    rng = np.random.default_rng(seed)
    a, x = rng.normal(size=shape), rng.normal(size=shape[1])
    kept = a.copy(), x.copy()

    def f(m: Any, t: Any) -> Any:
        rows = [[exact.number(v) if m is exact.EXACT else v for v in row] for row in a]
        sums = [sum(v * w for v, w in zip(row, t, strict=True)) for row in rows]
        return [m.sin(s) for s in sums] if bent else sums

    got, again = (jacobian(lambda t: np.array(f(exact.PLAIN, t)), x) for _ in range(2))
    return all_of(
        judge(got.value, got.error, exact.jacobian(f, list(x)), rtol=1e-7),
        equal(got.value, again.value, what="second Jacobian"),
        equal(a, kept[0]),
        equal(x, kept[1]),
    )


def transposed(seed: int, shape: tuple[int, int]) -> Outcome:
    """The gradient of y · sin(A x) is the transposed Jacobian times y."""
    rng = np.random.default_rng(seed)
    a, x, y = rng.normal(size=shape), rng.normal(size=shape[1]), rng.normal(size=shape[0])

    def f(m: Any, t: Any) -> Any:
        lift = exact.number if m is exact.EXACT else float
        return sum(
            lift(w) * m.sin(sum(lift(v) * u for v, u in zip(row, t, strict=True)))
            for w, row in zip(y, a, strict=True)
        )

    got = wp.numerical_gradient(lambda t: f(exact.PLAIN, t), x)
    return judge(got.value, got.error, exact.jacobian(f, list(x)), rtol=1e-7)


def identity(n: int) -> Outcome:
    got = jacobian(lambda x: x, np.random.default_rng(n).normal(size=n))
    return judge(got.value, got.error, np.eye(n), rtol=1e-9, atol=1e-10)


def several(container: str, seed: int) -> Outcome:
    """sum(x) + y and sum(x y + x), with x a matrix and y a matrix or a number, in a tuple, a list or a dict."""
    rng = np.random.default_rng(seed)
    x, y = rng.random((3, 3)), float(rng.random())
    if container == "dict":
        got = wp.numerical_gradient(lambda d: np.sum(d["x"] * d["y"] + d["x"]), {"x": x, "y": y})
        value, error = (got.value["x"], got.value["y"]), (got.error["x"], got.error["y"])
    elif container == "list":
        got = wp.numerical_gradient(lambda d: np.sum(d[0] * d[1] + d[0]), [x, y])
        value, error = tuple(got.value), tuple(got.error)
    else:
        got = wp.numerical_gradient(lambda d: np.sum(d[0] * d[1] + d[0]), (x, y))
        value, error = got.value, got.error
    with mpmath.workdps(60):
        total = mp.fsum(exact.number(v) for v in x.ravel())
        truth = np.full((3, 3), 1 + exact.number(y), dtype=object)
    return all_of(judge(value[0], error[0], truth, rtol=1e-8), judge(value[1], error[1], total, rtol=1e-8))


def matrices(seed: int) -> Outcome:
    """The gradient of sum(x y + x) by two matrices."""
    rng = np.random.default_rng(seed)
    x, y = rng.random((3, 3)), rng.random((3, 3))
    got = wp.numerical_gradient(lambda p: np.sum(p[0] @ p[1] + p[0]), (x, y))
    with mpmath.workdps(60):
        by_x = [[1 + mp.fsum(exact.number(v) for v in y[j]) for j in range(3)] for _ in range(3)]
        by_y = [[mp.fsum(exact.number(v) for v in x[:, i]) for _ in range(3)] for i in range(3)]
    return all_of(
        judge(got.value[0], got.error[0], by_x, rtol=1e-7), judge(got.value[1], got.error[1], by_y, rtol=1e-7)
    )


REAL_OF_COMPLEX: dict[str, tuple[Any, Any]] = {
    "abs2": (lambda z: (z * np.conj(z)).real, lambda z: 2 * z),
    "re sin": (lambda z: np.sin(z).real, lambda z: mp.conj(mp.cos(z))),
    "im exp": (lambda z: np.exp(z).imag, lambda z: 1j * mp.conj(mp.exp(z))),
    "re z^3": (lambda z: (z**3).real, lambda z: mp.conj(3 * z * z)),
    "abs": (lambda z: np.abs(z), lambda z: z / abs(z)),
    "log abs": (lambda z: np.log(np.abs(z)), lambda z: z / abs(z) ** 2),
    "re 1/z": (lambda z: (1 / z).real, lambda z: mp.conj(-1 / (z * z))),
    "re cosh": (lambda z: np.cosh(z).real, lambda z: mp.conj(mp.sinh(z))),
}
PLACES = (1 + 0.5j, -0.3 + 2j, 0.7 - 1.1j, 3 + 0j, 0.2j)


def complex_point(name: str, z: complex) -> Outcome:
    """dF/dRe + i dF/dIm of a real function of a complex number."""
    f, g = REAL_OF_COMPLEX[name]
    got = wp.numerical_gradient(f, z)
    with mpmath.workdps(60):
        truth = mp.mpmathify(g(mp.mpc(z)))
    return judge(got.value, got.error, truth, rtol=1e-7)


def complex_array(name: str, z: Any) -> Outcome:
    f, g = REAL_OF_COMPLEX[name]
    got = wp.numerical_gradient(lambda t: np.sum(f(t)), z)
    with mpmath.workdps(60):
        truth = np.empty(len(z), dtype=object)
        truth[:] = [mp.mpc(g(mp.mpc(v))) for v in z]
    return judge(got.value, got.error, truth, rtol=1e-6)


def complex_output(z: Any) -> Outcome:
    """The peer differentiates a holomorphic function as such."""
    got = wp.numerical_gradient(lambda t: np.sum(np.sin(t)), z)
    return equal(np.allclose(got.value, np.cos(z)), True)


def second(name: str, x: float) -> Outcome:
    return derivatives.curvature(lambda m, t: FOOS[name](m, t[0]), np.array([x]), np.array([1.0]))


def claims() -> list[Claim]:
    grid = Grid("FiniteDifferences.jl")
    for name, f in FOOS.items():
        for x in (1.0, 0.1, 2.5, 7.0):
            for dtype, precision in ((np.float64, "auto"), (np.float32, "own")):
                for method in ("auto", "two-sided", "one-sided"):
                    grid.add(
                        "derivative",
                        f"{name} at {x} {method} {np.dtype(dtype)}",
                        derivatives.scalar,
                        f,
                        x,
                        dtype,
                        precision,
                        method,
                    )
            grid.add("derivative", f"second derivative of {name} at {x}", second, name, x)
    for x in (0.0, 1.0, -40.0):
        grid.add("derivative", f"an integer constant at {x}", constant, x)
    for x in (0.001, -0.001, 1.0, 1e-9):
        grid.add("derivative", f"abs at {x}", absolute, x)
    for x in (0.001, 1e-6, 1e-12):
        grid.add(
            "derivative", f"log at {x}", derivatives.scalar, lambda m, t: m.log(t), x, np.float64, "auto"
        )
    for seed in range(6):
        for dtype in (np.float64, np.float32):
            grid.add(
                "derivative", f"jvp of sines seed {seed} points {np.dtype(dtype).char}", sines, seed, dtype
            )
        for shape in ((3, 2), (2, 4)):
            grid.add("derivative", f"A x {shape} seed {seed}", linear_map, seed, shape, False)
            grid.add("derivative", f"sin(A x) {shape} seed {seed}", linear_map, seed, shape, True)
            grid.add("derivative", f"transposed Jacobian {shape} seed {seed}", transposed, seed, shape)
        for container in ("tuple", "list", "dict"):
            grid.add("derivative", f"{container} of matrix and number seed {seed}", several, container, seed)
        grid.add("derivative", f"two matrices seed {seed}", matrices, seed)
    for n in (1, 2, 5):
        grid.add("derivative", f"identity of {n}", identity, n)
    for name in REAL_OF_COMPLEX:
        for z in PLACES:
            grid.add("derivative", f"complex {name} at {z}", complex_point, name, z)
        grid.add("derivative", f"complex {name} of an array", complex_array, name, np.array(PLACES))
        grid.add(
            "derivative",
            f"complex {name} of an array, backwards",
            complex_array,
            name,
            np.array(PLACES[::-1]),
        )
        axes = np.array([2 + 0j, 0.5j, -1.5 + 0j, 1 + 1j, -3j, 0.4 - 0.8j])
        grid.add("derivative", f"complex {name} on and off the axes", complex_array, name, axes)
        for seed in range(3):
            rng = np.random.default_rng(seed)
            z = rng.normal(size=6) + 1j * rng.normal(size=6)
            grid.add("derivative", f"complex {name} of random numbers {seed}", complex_array, name, z)
    for z in (1 + 0.5j, np.array([1 + 0.5j, -2j])):
        grid.add("derivative", f"complex output at {z}", complex_output, z)
    return grid.claims
