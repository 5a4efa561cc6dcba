"""Derivatives to far more digits than float64 has, at exactly the floating-point point that was given.

A formula is written once over a namespace ``m``: `PLAIN` is NumPy's, `EXACT` is mpmath's. The truth is a central difference of
mpmath's with a relative step of 1e-40 at 200 digits: right to some 80 digits wherever the formula is smooth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
from mpmath import mp

DIGITS = 200
STEP = "1e-40"

PLAIN = SimpleNamespace(
    **{
        name: getattr(np, name)
        for name in (
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "exp",
            "expm1",
            "log",
            "log1p",
            "sqrt",
            "exp2",
            "cbrt",
        )
    },
    asin=np.arcsin,
    acos=np.arccos,
    atan=np.arctan,
    asinh=np.arcsinh,
    acosh=np.arccosh,
    atanh=np.arctanh,
    log2=np.log2,
    log10=np.log10,
    square=np.square,
    hypot=np.hypot,
    atan2=np.arctan2,
    sum=np.sum,
)

EXACT = SimpleNamespace(
    **{
        name: getattr(mp, name)
        for name in (
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "exp",
            "log",
            "sqrt",
            "hypot",
            "atan2",
            "cbrt",
        )
    },
    **{name: getattr(mp, name) for name in ("asin", "acos", "atan", "asinh", "acosh", "atanh")},
    expm1=lambda x: mp.exp(x) - 1,
    log1p=lambda x: mp.log(1 + x),
    exp2=lambda x: mp.mpf(2) ** x,
    log2=lambda x: mp.log(x) / mp.log(2),
    log10=lambda x: mp.log(x) / mp.log(10),
    square=lambda x: x * x,
    sum=mp.fsum,
)

Formula = Callable[[Any, Any], Any]


def number(x: Any) -> Any:
    """The very number that a floating-point value stands for."""
    return mp.mpf(float(x))


def step_for(x: Any) -> Any:
    return mp.mpf(STEP) * (abs(x) if x else 1)


def slope(f: Formula, x: Any) -> Any:
    """The derivative of a formula of one number."""
    with mpmath.workdps(DIGITS):
        at = number(x)
        h = step_for(at)
        return (f(EXACT, at + h) - f(EXACT, at - h)) / (2 * h)


def jacobian(f: Formula, x: Sequence[Any]) -> Any:
    """The derivatives of all outputs of a formula by all elements of x; without the first axis when f gives one number."""
    with mpmath.workdps(DIGITS):
        at = [number(v) for v in x]
        columns = []
        for j, v in enumerate(at):
            h = step_for(v)
            above, below = f(EXACT, [*at[:j], v + h, *at[j + 1 :]]), f(EXACT, [*at[:j], v - h, *at[j + 1 :]])
            columns.append(difference(above, below, 2 * h))
        return np.moveaxis(np.array(columns, dtype=object), 0, -1)


def difference(above: Any, below: Any, width: Any) -> Any:
    if isinstance(above, list | tuple):
        return [difference(a, b, width) for a, b in zip(above, below, strict=True)]
    return (above - below) / width


def directional(f: Formula, x: Sequence[Any], v: Sequence[Any]) -> Any:
    """The derivative along v; of the shape of f's output."""
    with mpmath.workdps(DIGITS):
        at, along = [number(a) for a in x], [number(a) for a in v]
        h = mp.mpf(STEP)
        above = f(EXACT, [a + h * b for a, b in zip(at, along, strict=True)])
        below = f(EXACT, [a - h * b for a, b in zip(at, along, strict=True)])
        return np.array(difference(above, below, 2 * h), dtype=object)


def hessian_vector(f: Formula, x: Sequence[Any], v: Sequence[Any]) -> Any:
    """The Hessian of a formula that gives one number, times v."""
    with mpmath.workdps(DIGITS):
        at, along = [number(a) for a in x], [number(a) for a in v]
        h = mp.mpf("1e-30")
        out = []
        for j in range(len(at)):
            total = mp.mpf(0)
            for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                moved = [a + signs[0] * h * b for a, b in zip(at, along, strict=True)]
                moved[j] += signs[1] * h
                total += signs[0] * signs[1] * f(EXACT, moved)
            out.append(total / (4 * h * h))
        return np.array(out, dtype=object)
