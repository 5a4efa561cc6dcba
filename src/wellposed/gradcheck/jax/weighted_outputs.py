"""F as the weighted sum of all outputs: weights, rounding, and the cotangents that JAX pulls back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.jax.calls import Outputs
from ..directions import Array
from ..objective import random_weights
from ..tensor_objective import relative_rounding
from .arrays import as_double, complex_of, epsilon, is_complex, real_dtype, real_shape, real_view


def weight(key: Sequence[int], y: NDArray[Any], *, spacing: float, alone: bool) -> Array:
    """The weights of an output in F: 1 for a single number, else fixed random numbers that suit a dtype with this spacing next to 1."""
    shape = real_shape(y)
    if alone and int(np.prod(shape)) == 1:
        return np.ones(shape)
    # Rounded to the dtype of the output: float8 has fewer digits.
    return as_double(random_weights(shape, key, spacing=spacing).astype(real_dtype(y.dtype)))


def is_lone(weights: Sequence[Array]) -> bool:
    return len(weights) == 1 and weights[0].size == 1


def cotangent(weight: Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """JAX pulls back ``dF/dRe - i dF/dIm``."""
    if is_complex(dtype):
        return complex_of(weight * np.array([1.0, -1.0]), dtype)
    return weight.astype(dtype)


def as_real_gradient(g: NDArray[Any]) -> NDArray[Any]:
    """Of a complex array, the derivatives by the real and by the imaginary part: JAX gives the conjugate."""
    return real_view(g.conj()) if is_complex(g.dtype) else g


def rounding(outputs: Outputs, weights: Sequence[Array]) -> float:
    """Standard deviation of the rounding of the outputs in F."""
    parts = [
        relative_rounding(epsilon(y.dtype), y.size) * float(np.linalg.norm(w * as_double(real_view(y))))
        for y, w in zip(outputs, weights, strict=True)
    ]
    return float(np.sqrt(np.sum(np.square(parts)) / 12))


def differ(some: Outputs, others: Outputs) -> bool:
    """By more than another order of the same operations could make."""
    for a, b in zip(some, others, strict=True):
        x, y = as_double(real_view(a)), as_double(real_view(b))
        if x.shape != y.shape or np.abs(x - y).max(initial=0.0) > epsilon(a.dtype) ** 0.5 * np.abs(x).max(
            initial=0.0
        ):
            return True
    return False
