"""Activations by name, and their moments under a Gaussian, by adaptive Gauss-Legendre quadrature that finds the kinks of phi itself.

A panel is accepted when the Legendre series of phi on it has converged, and halved otherwise, so the panels
close in on every kink and jump. The same series gives the derivative, so phi' needs no formula and no choice
of step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from .errors import ArgumentError

Array = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(z: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -z))


def _softplus(z: Array) -> Array:
    return np.logaddexp(0.0, z)


def _elu(z: Array) -> Array:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0.0)))


def _selu(z: Array) -> Array:
    # Klambauer et al. 2017, equation 14.
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


def _gelu_tanh(z: Array) -> Array:
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "celu": _elu,
    "elu": _elu,
    "gelu": lambda z: 0.5 * z * (1 + _erf(z / math.sqrt(2))),
    "gelu_tanh": _gelu_tanh,
    "hardsigmoid": lambda z: np.clip(z / 6 + 0.5, 0, 1),
    "hardswish": lambda z: z * np.clip(z / 6 + 0.5, 0, 1),
    "hardtanh": lambda z: np.clip(z, -1, 1),
    "identity": lambda z: z,
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "linear": lambda z: z,
    **{f"conv{turned}{n}d": lambda z: z for turned in ("", "_transpose") for n in (1, 2, 3)},
    "logsigmoid": lambda z: -np.logaddexp(0.0, -z),
    "mish": lambda z: z * np.tanh(_softplus(z)),
    "relu": lambda z: np.maximum(z, 0),
    "relu6": lambda z: np.clip(z, 0, 6),
    "selu": _selu,
    "sigmoid": _sigmoid,
    "silu": lambda z: z * _sigmoid(z),
    "sin": np.sin,
    "softplus": _softplus,
    "softsign": lambda z: z / (1 + np.abs(z)),
    "swish": lambda z: z * _sigmoid(z),
    "tanh": np.tanh,
    "tanhshrink": lambda z: z - np.tanh(z),
}


# The density of N(0, 1) is 2e-32 at 12, so what lies beyond is far below rounding unless phi grows like
# exp(z^2).
_REACH = 12.0
_PANEL = 0.5
# Halved 32 times a panel is 1e-10 wide, so an unresolved kink on it weighs less than 1e-10 of the whole.
_NARROWEST = _PANEL / 2**32
_MOST_PANELS = 20_000
_DEGREE = 20

_NODES, _WEIGHTS = legendre.leggauss(_DEGREE)
_VALUES_AT_NODES = legendre.legvander(_NODES, _DEGREE - 1)
_TO_SERIES = (_VALUES_AT_NODES * _WEIGHTS[:, None]).T * (np.arange(_DEGREE)[:, None] + 0.5)
_SLOPES_AT_NODES = np.stack(
    [legendre.legval(_NODES, legendre.legder(row)) for row in np.eye(_DEGREE)], axis=1
)
_DERIVATIVE = _SLOPES_AT_NODES @ _TO_SERIES


@dataclass(frozen=True, kw_only=True)
class GaussianMoments:
    """Expectations over z ~ N(0, 1)."""

    mean: float
    """E[phi(z)]."""
    square: float
    """E[phi(z)^2]."""
    fourth: float
    """E[phi(z)^4]."""
    derivative_square: float
    """E[phi'(z)^2], phi' almost everywhere, as backpropagation has it: a jump counts for nothing."""
    derivative_fourth: float
    """E[phi'(z)^4]."""
    scale_derivative: float
    """d/dq E[phi(sqrt(q) z)^2] at q = 1."""
    constant: bool
    """Whether phi takes one value only."""


def gaussian_moments(phi: Callable[[Array], Array]) -> GaussianMoments:
    """The moments of an elementwise `phi`, to about 1e-10 of their value where phi is computed in float64."""
    edges = np.arange(-_REACH, _REACH + _PANEL / 2, _PANEL)
    left, right = edges[:-1], edges[1:]
    first = phi(_points(left, right).ravel())
    typical = float(np.sqrt(np.mean(first[np.abs(_points(left, right).ravel()) < 2] ** 2)))
    tolerance = 64 * _resolution(first)
    sums = np.zeros(6)
    evaluated = 0
    while left.size:
        evaluated += left.size
        if evaluated > _MOST_PANELS:
            raise ArgumentError(
                "activation is too rough to integrate: expected a function smooth but for a few kinks"
            )
        z = _points(left, right)
        values = phi(z.ravel()).reshape(z.shape)
        tail = np.abs(values @ _TO_SERIES.T)[:, -3:].max(axis=1)
        smooth = tail <= tolerance * (typical + np.abs(values).max(axis=1))
        done = smooth | (right - left <= _NARROWEST)
        sums += _integrate(z[done], values[done], (right - left)[done], smooth[done])
        middle = (left + right)[~done] / 2
        left, right = np.concatenate([left[~done], middle]), np.concatenate([middle, right[~done]])
    _refuse_fast_growth(first, sums[0])
    return GaussianMoments(
        square=float(sums[0]),
        derivative_square=float(sums[1]),
        scale_derivative=float(sums[2]),
        mean=float(sums[3]),
        fourth=float(sums[4]),
        derivative_fourth=float(sums[5]),
        constant=bool(np.ptp(first) <= tolerance * np.abs(first).max()),
    )


def _points(left: Array, right: Array) -> Array:
    return (left + right)[:, None] / 2 + (right - left)[:, None] / 2 * _NODES


def _integrate(z: Array, values: Array, width: Array, smooth: NDArray[np.bool_]) -> Array:
    weight = _WEIGHTS * width[:, None] / 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    slope = np.where(smooth[:, None], values @ _DERIVATIVE.T * (2 / width[:, None]), 0.0)
    # Integration by parts: d/dq E[f(sqrt(q) z)] = E[f(z) (z^2 - 1)] / 2 at q = 1, for any f, jumps included.
    return np.array(
        [
            np.sum(weight * values**2),
            np.sum(weight * slope**2),
            np.sum(weight * values**2 * (z**2 - 1)) / 2,
            np.sum(weight * values),
            np.sum(weight * values**4),
            np.sum(weight * slope**4),
        ]
    )


def _resolution(values: Array) -> float:
    """The rounding of the type that phi computes in, whatever type it returns."""
    for narrow in (np.float16, np.float32):
        with np.errstate(over="ignore"):
            if (
                np.array_equal(values, values.astype(narrow).astype(np.float64))
                and np.unique(values).size > 4
            ):
                # A function that maps to few exactly representable values, or scales by powers of two, is
                # exact in any type.
                return float(np.finfo(narrow).eps)
    return float(np.finfo(np.float64).eps) * 16


def _refuse_fast_growth(values: Array, square: float) -> None:
    edge = max(abs(values[0]), abs(values[-1]))
    if edge * edge * np.exp(-(_REACH**2) / 2) > 1e-10 * square:
        raise ArgumentError(
            f"activation reaches {edge:.3g} within |z| = {_REACH:g}: E[phi(z)^2] has no finite value"
        )
