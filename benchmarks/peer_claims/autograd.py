"""What the tests of HIPS autograd claim: `check_grads` of ufuncs, statistics, products, containers, and of planted bugs.

Here a NumPy function stands beside a gradient written by hand; the weights of the outputs are fixed random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import wellposed as wp
from benchmarks.peer_claims.claims import Claim, Grid, Outcome, refusal, verdict

Array = Any
Pair = tuple[Callable[[Array], Array], Callable[[Array], Array]]

UNARY: dict[str, tuple[Pair, tuple[float, float]]] = {
    "sin": ((np.sin, np.cos), (-2.0, 2.0)),
    "cos": ((np.cos, lambda x: -np.sin(x)), (-2.0, 2.0)),
    "tan": ((np.tan, lambda x: 1 / np.cos(x) ** 2), (-1.1, 1.1)),
    "sinh": ((np.sinh, np.cosh), (-2.0, 2.0)),
    "cosh": ((np.cosh, np.sinh), (-2.0, 2.0)),
    "tanh": ((np.tanh, lambda x: 1 / np.cosh(x) ** 2), (-2.0, 2.0)),
    "arcsinh": ((np.arcsinh, lambda x: 1 / np.sqrt(1 + x * x)), (-0.9, 0.9)),
    "arccosh": ((np.arccosh, lambda x: 1 / np.sqrt(x * x - 1)), (1.1, 4.0)),
    "arctanh": ((np.arctanh, lambda x: 1 / (1 - x * x)), (-0.9, 0.9)),
    "exp": ((np.exp, np.exp), (-2.0, 2.0)),
    "exp2": ((np.exp2, lambda x: np.exp2(x) * np.log(2)), (-2.0, 2.0)),
    "expm1": ((np.expm1, np.exp), (-2.0, 2.0)),
    "log": ((np.log, lambda x: 1 / x), (0.2, 2.0)),
    "log2": ((np.log2, lambda x: 1 / (x * np.log(2))), (0.2, 2.0)),
    "log10": ((np.log10, lambda x: 1 / (x * np.log(10))), (0.2, 2.0)),
    "log1p": ((np.log1p, lambda x: 1 / (1 + x)), (0.2, 2.0)),
    "sqrt": ((np.sqrt, lambda x: 0.5 / np.sqrt(x)), (1.0, 3.0)),
    "square": ((np.square, lambda x: 2 * x), (-2.0, 2.0)),
    "abs": ((np.abs, np.sign), (0.1, 4.0)),
    "fabs": ((np.fabs, np.sign), (-4.0, -0.1)),
    "deg2rad": ((np.deg2rad, lambda x: np.full_like(x, np.pi / 180)), (-2.0, 2.0)),
    "reciprocal": ((np.reciprocal, lambda x: -1 / x**2), (0.3, 2.0)),
    "negative": ((np.negative, lambda x: -np.ones_like(x)), (-2.0, 2.0)),
}
SHAPES: tuple[tuple[int, ...], ...] = ((), (7,), (3, 4))
BINARY: dict[str, tuple[Callable[..., Array], Callable[..., tuple[Array, Array]]]] = {
    "add": (np.add, lambda a, b: (np.ones_like(a), np.ones_like(b))),
    "subtract": (np.subtract, lambda a, b: (np.ones_like(a), -np.ones_like(b))),
    "multiply": (np.multiply, lambda a, b: (b, a)),
    "divide": (np.divide, lambda a, b: (1 / b, -a / b**2)),
    "power": (np.power, lambda a, b: (b * a ** (b - 1), a**b * np.log(a))),
    "logaddexp": (np.logaddexp, lambda a, b: (1 / (1 + np.exp(b - a)), 1 / (1 + np.exp(a - b)))),
    "arctan2": (np.arctan2, lambda a, b: (b / (a * a + b * b), -a / (a * a + b * b))),
    "hypot": (np.hypot, lambda a, b: (a / np.hypot(a, b), b / np.hypot(a, b))),
    "maximum": (np.maximum, lambda a, b: ((a > b) * 1.0, (b > a) * 1.0)),
    "minimum": (np.minimum, lambda a, b: ((a < b) * 1.0, (b < a) * 1.0)),
}
STATISTICS: dict[str, Pair] = {
    "sum": (np.sum, np.ones_like),
    "mean": (np.mean, lambda x: np.full_like(x, 1 / x.size)),
    "max": (np.max, lambda x: (x == x.max()) * 1.0),
    "min": (np.min, lambda x: (x == x.min()) * 1.0),
    "prod": (np.prod, lambda x: np.prod(x) / x),
    "var": (np.var, lambda x: 2 * (x - x.mean()) / x.size),
    "std": (np.std, lambda x: (x - x.mean()) / (x.size * x.std())),
    "logsumexp": (lambda x: np.log(np.sum(np.exp(x))), lambda x: np.exp(x) / np.sum(np.exp(x))),
    "norm": (lambda x: np.sqrt(np.sum(x * x)), lambda x: x / np.sqrt(np.sum(x * x))),
}


def unary(name: str, shape: tuple[int, ...], seed: int, change: str) -> Outcome:
    (f, df), (low, high) = UNARY[name]
    rng = np.random.default_rng(seed)
    x, w = np.asarray(rng.uniform(low, high, size=shape)), np.asarray(rng.normal(size=shape))
    right = w * df(x)
    gradient = changed(right, change)
    want = "pass" if change == "" else "fail"
    return verdict(
        wp.check_gradients(lambda t: np.sum(w * f(t)), x, gradient=gradient), want, cause=NAMES.get(change)
    )


NAMES = {"sign": "sign-flipped", "1.001": "scaled", "twice": "scaled", "zero": "zero", "element": "sparse"}


def changed(g: Array, change: str) -> Array:
    if change == "sign":
        return -g
    if change == "1.001":
        return 1.001 * g
    if change == "twice":
        return 2 * g
    if change == "zero":
        return np.zeros_like(g)
    if change == "element":
        out = np.array(g)
        out.flat[0] += 0.5 * np.sqrt(np.sum(g * g)) + 1e-3
        return out
    return g


def binary(name: str, seed: int, wrong: int | None) -> Outcome:
    f, df = BINARY[name]
    rng = np.random.default_rng(seed)
    a, b, w = rng.uniform(0.5, 2.0, (3, 4)), rng.uniform(0.5, 2.0, (3, 4)), rng.normal(size=(3, 4))
    by = [w * g for g in df(a, b)]
    if wrong is not None:
        by[wrong] = 1.01 * by[wrong]
    check = wp.check_gradients(lambda p, q: np.sum(w * f(p, q)), a, b, gradient=tuple(by))
    return verdict(check, "pass" if wrong is None else "fail")


def statistic(name: str, shape: tuple[int, ...], change: str) -> Outcome:
    f, df = STATISTICS[name]
    x = np.random.default_rng(len(name)).normal(size=shape)
    check = wp.check_gradients(f, x, gradient=changed(df(x), change))
    return verdict(check, "fail" if change else "pass")


def einsum(spec: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], swapped: bool) -> Outcome:
    rng = np.random.default_rng(7)
    a, b = (rng.normal(size=s) for s in shapes)
    first, out = spec.split("->")
    left, right = first.split(",")
    w = rng.normal(size=np.einsum(spec, a, b).shape)
    by_a = np.einsum(f"{out},{right}->{left}", w, b)
    by_b = np.einsum(f"{left},{out}->{right}", a, w)
    if swapped:
        by_b = -by_b
    check = wp.check_gradients(lambda p, q: np.sum(w * np.einsum(spec, p, q)), a, b, gradient=(by_a, by_b))
    return verdict(check, "fail" if swapped else "pass")


def container(kind: str, wrong: bool) -> Outcome:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=4), rng.normal(size=4)
    factor = 1.05 if wrong else 1.0
    by = {"a": np.cos(a) * b * factor, "b": np.sin(a)}
    if kind == "dict":
        check = wp.check_gradients(lambda d: np.sum(np.sin(d["a"]) * d["b"]), {"a": a, "b": b}, gradient=by)
    elif kind == "dict of d":
        named = {f"d{k}": v for k, v in by.items()}
        check = wp.check_gradients(
            lambda d: np.sum(np.sin(d["a"]) * d["b"]), {"a": a, "b": b}, gradient=named
        )
    elif kind == "list":
        check = wp.check_gradients(lambda d: np.sum(np.sin(d[0]) * d[1]), [a, b], gradient=[by["a"], by["b"]])
    else:
        check = wp.check_gradients(lambda p, q: np.sum(np.sin(p) * q), a, b, gradient=(by["a"], by["b"]))
    return verdict(check, "fail" if wrong else "pass")


def constant_function(seed: int, wrong: bool) -> Outcome:
    x = np.random.default_rng(seed).normal(size=5)
    check = wp.check_gradients(lambda _: 3.0, x, gradient=np.ones(5) if wrong else np.zeros(5))
    return verdict(check, "fail" if wrong else "pass")


def staircase(name: str) -> Outcome:
    f = {"floor": np.floor, "ceil": np.ceil, "sign": np.sign, "round": np.round}[name]
    x = np.array([0.2, -1.3, 0.7, 1.1])
    return verdict(wp.check_gradients(lambda t: np.sum(f(t)), x, gradient=np.zeros(4)), "pass")


def at_kink(gradient: float) -> Outcome:
    """At the kink of abs no slope is the derivative: anything but a pass, or a check made beside the kink, which says no to 0.5."""
    x = np.zeros(1)
    return verdict(
        wp.check_gradients(lambda t: np.sum(np.abs(t)), x, gradient=np.array([gradient])), "not pass"
    )


def complex_unary(name: str, wrong: bool) -> Outcome:
    f, df = {
        "sin": (np.sin, np.cos),
        "exp": (np.exp, np.exp),
        "square": (np.square, lambda z: 2 * z),
        "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
        "conj": (np.conj, None),
        "log": (np.log, lambda z: 1 / z),
    }[name]
    rng = np.random.default_rng(9)
    z = rng.normal(size=4) + 1j * rng.normal(size=4)
    w = rng.normal(size=4) + 1j * rng.normal(size=4)
    g = w if df is None else np.conj(w) * 0 + np.conj(df(z)) * w
    g = np.conj(w) if df is None else g
    if wrong:
        g = np.conj(g)
    check = wp.check_gradients(lambda t: np.sum((np.conj(w) * f(t)).real), z, gradient=g)
    return verdict(check, "fail" if wrong else "pass")


def second_order() -> Outcome:
    check = wp.check_gradients(lambda t: np.sum(t**3), np.ones(2), gradient=lambda t: 3 * t**2, order=2)
    return verdict(check, "pass")


def claims() -> list[Claim]:
    grid = Grid("HIPS autograd")
    for name in UNARY:
        for shape in SHAPES:
            grid.add("gradcheck", f"{name} {shape} right", unary, name, shape, len(shape), "")
        for change in ("sign", "1.001", "zero", "element"):
            grid.add("gradcheck", f"{name} (7,) {change}", unary, name, (7,), 1, change)
        grid.add("gradcheck", f"{name} () twice", unary, name, (), 5, "twice")
    for name in BINARY:
        for wrong in (None, 0, 1):
            grid.add(
                "gradcheck",
                f"{name} {'right' if wrong is None else f'argument {wrong} wrong'}",
                binary,
                name,
                2,
                wrong,
            )
    for name in STATISTICS:
        for shape in ((5,), (3, 4), (2, 3, 2)):
            grid.add("gradcheck", f"{name} {shape} right", statistic, name, shape, "")
        grid.add("gradcheck", f"{name} sign", statistic, name, (6,), "sign")
        grid.add("gradcheck", f"{name} element", statistic, name, (6,), "element")
    for spec, shapes in (
        ("ij,jk->ik", ((2, 3), (3, 4))),
        ("i,i->", ((5,), (5,))),
        ("ijk,lji->lki", ((3, 4, 4), (4, 4, 3))),
        ("ij,kj->ik", ((2, 3), (5, 3))),
        ("i,j->ij", ((4,), (3,))),
    ):
        for swapped in (False, True):
            grid.add(
                "gradcheck", f"einsum {spec} {'sign' if swapped else 'right'}", einsum, spec, shapes, swapped
            )
    for kind in ("dict", "dict of d", "list", "arguments"):
        for wrong in (False, True):
            grid.add("gradcheck", f"{kind} {'1.05' if wrong else 'right'}", container, kind, wrong)
    for wrong in (False, True):
        grid.add("gradcheck", f"constant {'wrong' if wrong else 'right'}", constant_function, 1, wrong)
        for name in ("sin", "exp", "square", "tanh", "conj", "log"):
            grid.add(
                "gradcheck",
                f"complex {name} {'conjugated' if wrong else 'right'}",
                complex_unary,
                name,
                wrong,
            )
    for name in ("floor", "ceil", "sign", "round"):
        grid.add("gradcheck", f"{name} between its steps", staircase, name)
    grid.add("gradcheck", "abs at 0, slope 0.5", at_kink, 0.5)
    grid.add("gradcheck", "abs at 0, slope 3", at_kink, 3.0)
    grid.add("gradcheck", "order 2 of NumPy", second_order)
    grid.add(
        "gradcheck", "no gradient given", lambda: refusal(lambda: wp.check_gradients(np.sum, np.ones(3)))
    )
    return grid.claims
