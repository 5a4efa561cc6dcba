"""The exact gain of an activation: what a layer's weights must be multiplied by to keep the variance of the
signal.

It is made of moments of phi(z), z ~ N(0, 1), by adaptive Gauss-Legendre quadrature that finds the kinks of phi itself.
A panel is accepted when the Legendre series of phi on it has converged, and halved otherwise, so the panels
close in on every kink and jump. The same series gives the derivative, so phi' needs no formula and no choice
of step.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from ..arguments import refused, told
from ..errors import ArgumentError, UserCodeError, WellposedError
from ..lazy import lazy

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

    square: float
    """E[phi(z)^2]."""
    derivative_square: float
    """E[phi'(z)^2], phi' almost everywhere, as backpropagation has it: a jump counts for nothing."""
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
    sums = np.zeros(3)
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


jax_activations = lazy("wellposed.initialization.jax")
torch_initializer = lazy("wellposed.initialization.torch.initializer")


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How an activation changes the size of a signal z ~ N(0, 1), and what undoes it."""

    forward: float
    """``1 / sqrt(E[phi(z)^2])``: weights of variance ``forward**2 / fan_in`` keep the activations' mean
    square."""
    backward: float
    """``1 / sqrt(E[phi'(z)^2])``: weights of variance ``backward**2 / fan_out`` keep the gradients' mean
    square."""
    slope: float
    """Of the variance map ``q -> E[phi(sqrt(q) z)^2] * forward**2`` at its fixed point q = 1. Above 1 the
    exact gain alone drifts with depth: calibrate on data."""


def gain(activation: str | Callable[[Any], Any]) -> Gain:
    """The exact gains of an activation at unit variance.

    Parameters
    ----------
    activation
        A name (``"relu"``, ``"gelu"``, ``"tanh"``, ...), or an elementwise function: NumPy, JAX (evaluated in
        float64), a torch function, or a ``torch.nn.Module`` (evaluated on a float64 copy in eval mode). A name
        has the usual slope; of another one, pass the module: ``torch.nn.LeakyReLU(0.2)``.

    Returns
    -------
    Gain
        `forward`, `backward` and `slope`, without unit, to about 1e-9 where the function computes in float64.
        `backward` is infinite where no gradient passes, as through a sign.

    Raises
    ------
    ArgumentError
        When the name is unknown, or the function is constant, not elementwise, random, not finite on [-12,
        12], or grows so quickly that its mean square is infinite.

    Notes
    -----
    He et al. 2015, equation 10 for relu; Poole et al. 2016, equation 4 for the variance map. The
    expectations are taken by quadrature split at the kinks, which are found from the function itself.

    Examples
    --------
    >>> from wellposed import gain
    >>> print(f"{gain('relu').forward:.6f} {gain('gelu').forward:.6f}")
    1.414214 1.533530
    >>> gain(lambda z: z * 2).forward
    0.5
    >>> import torch
    >>> round(gain(torch.nn.LeakyReLU(0.2)).forward, 6)  # sqrt(2 / (1 + 0.2**2))
    1.38675
    """
    if isinstance(activation, str):
        return _named(activation.lower())
    if isinstance(activation, type) or not callable(activation):
        raise refused("activation", activation, "a name such as 'relu', or a function")
    return _gain_of(_checked(_evaluator(activation)))


@lru_cache
def _named(name: str) -> Gain:
    if name not in ACTIVATIONS:
        near = difflib.get_close_matches(name, ACTIVATIONS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(ACTIVATIONS)}"
        raise ArgumentError(f"activation {told(name)} is unknown: {hint} A function is welcome too")
    return _gain_of(ACTIVATIONS[name])


def _gain_of(phi: Callable[[Array], Array]) -> Gain:
    moments = gaussian_moments(phi)
    if moments.constant:
        raise ArgumentError("activation is constant: no signal passes, so no gain can restore it")
    forward = 1 / math.sqrt(moments.square)
    # Rounding in the series leaves about 1e-13 of slope where there is none.
    passes = moments.derivative_square > 1e-20 * moments.square
    return Gain(
        forward=_snap(forward),
        backward=_snap(1 / math.sqrt(moments.derivative_square)) if passes else math.inf,
        slope=_snap(moments.scale_derivative / moments.square),
    )


def _snap(value: float) -> float:
    """Drop the digits beyond the quadrature's own accuracy, so that a gain of 1 reads 1.0."""
    return float(f"{value:.12g}")


def _evaluator(activation: Callable[[Any], Any]) -> Callable[[Array], Any]:
    """The activation as a function from and to NumPy arrays, whichever library it is written in."""
    probe = np.linspace(-1.0, 1.0, 5)
    try:
        with np.errstate(all="ignore"):
            given = activation(probe)
    except Exception as error:
        refusal = error
    else:
        refusal = None
        if isinstance(given, np.ndarray):
            return activation
        if type(given).__module__.partition(".")[0] in ("jax", "jaxlib"):
            return jax_activations.elementwise(activation)
    try:
        elementwise = torch_initializer.elementwise
    except ImportError:
        raise ArgumentError(
            f"activation did not take a NumPy array and give one back ({refusal})"
        ) from refusal
    evaluate = elementwise(activation)
    try:
        evaluate(probe)
    except WellposedError:
        raise
    except Exception as error:
        raise UserCodeError(
            f"activation took neither a NumPy array nor a one-dimensional torch tensor ({error}): "
            "expected an elementwise function"
        ) from error
    return evaluate


def _checked(evaluate: Callable[[Array], Any]) -> Callable[[Array], Array]:
    """Refuse what is not an elementwise, deterministic, finite function of one real variable."""

    def phi(z: Array) -> Array:
        with np.errstate(all="ignore"):
            values = np.asarray(evaluate(z.copy()))
        if values.shape != z.shape:
            raise ArgumentError(
                f"activation turned shape {z.shape} into {values.shape}: expected an elementwise function"
            )
        if np.iscomplexobj(values):
            raise ArgumentError("activation gave complex numbers: expected real ones")
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            bad = ~np.isfinite(values)
            raise ArgumentError(
                f"activation gave {values[bad][0]} at z = {z[bad][0]:.4g}: expected finite values"
            )
        return values

    z = np.random.default_rng(0).standard_normal(64)
    whole, again, part = phi(z), phi(z), phi(z[:7])
    if not np.array_equal(whole, again):
        raise ArgumentError(
            "activation gave two different answers for the same z: expected a deterministic function"
        )
    # Vectorised code may round the last bits of a short array differently.
    if not np.allclose(whole[:7], part, rtol=1e-5, atol=1e-7 * float(np.abs(whole).max())):
        raise ArgumentError("activation of one entry depends on the others: expected an elementwise function")
    return phi
