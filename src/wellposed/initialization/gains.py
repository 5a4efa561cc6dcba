"""The exact gain of an activation: what a layer's weights must be multiplied by to keep the variance of the
signal. It is made of moments of phi(z), z ~ N(0, 1), which `activations.py` takes.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..activations import ACTIVATIONS, Array, gaussian_moments
from ..arguments import refused, told
from ..errors import ArgumentError, UserCodeError, WellposedError
from ..lazy import lazy

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
