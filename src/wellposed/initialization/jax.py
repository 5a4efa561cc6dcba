"""Activations that are written in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from ..runtime.jax.calls import enable_x64


def elementwise(activation: Callable[[Any], Any]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A JAX function as one of float64 NumPy arrays."""

    def evaluate(z: NDArray[Any]) -> NDArray[Any]:
        with enable_x64(True):
            return np.asarray(activation(jnp.asarray(z)))

    return evaluate
