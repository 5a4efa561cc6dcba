"""What the tests around `jax.test_util.check_grads` claim: lax operations in both modes, custom rules right and wrong, pytrees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import wellposed as wp
from benchmarks.peer_claims.claims import Claim, Grid, Outcome, verdict

Call = Callable[..., Any]

OPERATIONS: dict[str, tuple[Call, int, float, float]] = {
    "neg": (lax.neg, 1, -2, 2),
    "floor": (lax.floor, 1, 0.1, 0.4),
    "exp": (lax.exp, 1, -1, 1),
    "expm1": (lax.expm1, 1, -2, 2),
    "log": (lax.log, 1, 0.3, 3),
    "log1p": (lax.log1p, 1, 0.3, 3),
    "sinh": (lax.sinh, 1, -2, 2),
    "cosh": (lax.cosh, 1, -2, 2),
    "tanh": (lax.tanh, 1, -2, 2),
    "sin": (lax.sin, 1, -2, 2),
    "cos": (lax.cos, 1, -2, 2),
    "tan": (lax.tan, 1, -1.2, 1.2),
    "asin": (lax.asin, 1, -0.9, 0.9),
    "acos": (lax.acos, 1, -0.9, 0.9),
    "atan": (lax.atan, 1, -2, 2),
    "erf": (lax.erf, 1, -1, 1),
    "erf_inv": (lax.erf_inv, 1, -0.5, 0.5),
    "sqrt": (lax.sqrt, 1, 0.3, 3),
    "rsqrt": (lax.rsqrt, 1, 0.3, 3),
    "cbrt": (lax.cbrt, 1, 0.5, 3),
    "logistic": (lax.logistic, 1, -2, 2),
    "abs": (lax.abs, 1, 0.2, 2),
    "atan2": (lax.atan2, 2, 0.3, 2),
    "pow": (lax.pow, 2, 0.3, 2),
    "add": (lax.add, 2, -2, 2),
    "sub": (lax.sub, 2, -2, 2),
    "mul": (lax.mul, 2, -2, 2),
    "div": (lax.div, 2, 0.5, 2),
    "max": (lax.max, 2, -2, 2),
    "min": (lax.min, 2, -2, 2),
}


def draw(seed: int, count: int, low: float, high: float, dtype: Any = np.float32) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.uniform(low, high, (3,)).astype(dtype)) for _ in range(count)]


def operation(name: str, mode: Any, order: Any) -> Outcome:
    f, count, low, high = OPERATIONS[name]
    return verdict(wp.check_gradients(f, *draw(len(name), count, low, high), mode=mode, order=order), "pass")


def custom_vjp(factor: float) -> Call:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (factor * jnp.cos(x) * g,))
    return f


def custom_jvp(factor: float) -> Call:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return jnp.exp(x) * x

    f.defjvp(lambda x, t: (f(*x), factor * (1 + x[0]) * jnp.exp(x[0]) * t[0]))
    return f


def two_outputs(wrong: bool) -> Call:
    @jax.custom_vjp
    def f(a: Any, b: Any) -> Any:
        return 2 * a + b, 3 * a + 0.5 * b

    second = 0.6 if wrong else 0.5
    f.defvjp(lambda a, b: (f(a, b), None), lambda _, g: (2 * g[0] + 3 * g[1], g[0] + second * g[1]))
    return f


def rule(make: Callable[[float], Call], factor: float, mode: Any, want: Any) -> Outcome:
    return verdict(wp.check_gradients(make(factor), *draw(1, 1, 0.3, 1.2), mode=mode), want)


def outputs(wrong: bool) -> Outcome:
    return verdict(wp.check_gradients(two_outputs(wrong), *draw(2, 2, -1, 1)), "fail" if wrong else "pass")


def tree() -> Outcome:
    a, b = draw(3, 2, -1, 1)
    check = wp.check_gradients(
        lambda p: {"out": jnp.sin(p["a"]) * p["rest"][0], "n": p["a"] ** 2}, {"a": a, "rest": [b]}
    )
    return verdict(check, "pass")


def special(name: str, value: float) -> Outcome:
    f = {
        "sinh": lax.sinh,
        "tanh": lax.tanh,
        "sin": lax.sin,
        "atan": lax.atan,
        "erf": lax.erf,
        "asin": lax.asin,
    }[name]
    return verdict(wp.check_gradients(f, jnp.asarray([value], dtype=jnp.float32)), "pass")


def stopped() -> Outcome:
    return verdict(wp.check_gradients(lambda x: lax.stop_gradient(x) * x, *draw(5, 1, 0.5, 1)), "fail")


def kink(wrong: bool) -> Outcome:
    x = jnp.zeros(2)
    if not wrong:
        check = wp.check_gradients(jnp.abs, x)
        return verdict(check, "not pass") if check.verdict == "inconclusive" else verdict(check, "pass")

    @jax.custom_vjp
    def f(t: Any) -> Any:
        return jnp.abs(t)

    f.defvjp(lambda t: (jnp.abs(t), t), lambda t, g: (5 * g,))
    return verdict(wp.check_gradients(f, x), "not pass")


def complex_operation(name: str) -> Outcome:
    f = {
        "exp": jnp.exp,
        "sin": jnp.sin,
        "square": jnp.square,
        "abs": jnp.abs,
        "real": jnp.real,
        "conj": jnp.conj,
    }[name]
    z = jnp.asarray([1 + 0.5j, 0.3 - 0.7j], dtype=jnp.complex64)
    return verdict(wp.check_gradients(f, z), "pass")


def claims() -> list[Claim]:
    grid = Grid("jax check_grads")
    for name in OPERATIONS:
        grid.add("gradcheck", f"{name} rev", operation, name, "reverse", 1)
        grid.add("gradcheck", f"{name} fwd", operation, name, "forward", 1)
    for name in ("exp", "sin", "tanh", "mul", "pow"):
        grid.add("gradcheck", f"{name} order 2", operation, name, "reverse", 2)
        grid.add("gradcheck", f"{name} fwd against rev", operation, name, "forward-reverse", 1)
    for factor in (1.0, 1.01, 2.0, -1.0, 0.0):
        want = "pass" if factor == 1.0 else "fail"
        grid.add("gradcheck", f"custom_vjp times {factor}", rule, custom_vjp, factor, "reverse", want)
        grid.add("gradcheck", f"custom_jvp times {factor}", rule, custom_jvp, factor, "forward", want)
        grid.add(
            "gradcheck", f"custom_jvp times {factor}, reverse", rule, custom_jvp, factor, "reverse", want
        )
    for wrong in (False, True):
        grid.add("gradcheck", f"two outputs {'wrong' if wrong else 'right'}", outputs, wrong)
        grid.add("gradcheck", f"abs at 0 {'slope 5' if wrong else 'as it is'}", kink, wrong)
    grid.add("gradcheck", "pytrees in and out", tree)
    grid.add("gradcheck", "stop_gradient", stopped)
    for name, values in {
        "sinh": (0.0,),
        "tanh": (0.0, 1000.0),
        "sin": (0.0, np.pi, np.pi / 2),
        "atan": (0.0, 1000.0),
        "erf": (0.0, 10.0),
        "asin": (0.0,),
    }.items():
        for value in values:
            grid.add("gradcheck", f"{name} at {value:g}", special, name, value)
    for name in ("exp", "sin", "square", "abs", "real", "conj"):
        grid.add("gradcheck", f"complex {name}", complex_operation, name)
    return grid.claims
