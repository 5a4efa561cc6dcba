"""JAX arrays as arguments of a function that is differentiated by differences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray


def read(array: Any) -> NDArray[Any]:
    """The numbers as a NumPy array; a dtype that NumPy lacks becomes float32."""
    values = np.asarray(array)
    return (
        values.astype(np.float32)
        if jnp.issubdtype(array.dtype, jnp.floating) and values.dtype.kind == "V"
        else values
    )


def dtype_name(array: Any) -> str:
    return str(array.dtype)


def made(values: NDArray[Any], like: Any, *, wide: bool) -> Any:
    """A fresh array of these values, in double precision where `wide`; inside `calling`."""
    return jnp.asarray(values, dtype=values.dtype if wide else like.dtype)


def calling(*, wide: bool) -> AbstractContextManager[Any]:
    """The scope in which f is called: 64-bit mode where it receives float64, which JAX would otherwise convert to float32."""
    return _x64(True) if wide else nullcontext()


def _x64(on: bool) -> AbstractContextManager[Any]:
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(on)
    return import_module("jax.experimental").enable_x64(on)


def mapped(f: Callable[[Any], Any]) -> Callable[[Any], NDArray[Any]]:
    """F over a batch of arguments."""
    batched = jax.vmap(f)
    return lambda batch: read(batched(batch))
