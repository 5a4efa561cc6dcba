"""The arrays of a pytree by name, as NumPy arrays, and how they are moved; a complex one as its real view.

Arrays are moved block by block; the only copy is the one that the function is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpy.typing import NDArray

from ...errors import ArgumentError
from ..directions import Array, DirectionStep
from ..tensor_objective import Block, Location


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedArray:
    """One array that is checked."""

    name: str
    value: Any
    """The user's own array, of JAX or of NumPy."""

    dtype: np.dtype[Any]

    @classmethod
    def of(cls, name: str, value: Any) -> CheckedArray:
        """Without 64-bit mode, a NumPy array of float64 enters JAX as float32."""
        return cls(name=name, value=value, dtype=np.dtype(jax.dtypes.canonicalize_dtype(value.dtype)))

    def numbers(self) -> NDArray[Any]:
        """Its values, read-only; a copy of a NumPy array, which may be written to elsewhere."""
        if isinstance(self.value, np.ndarray):
            return real_view(np.array(self.value, dtype=self.dtype, order="C"))
        return real_view(np.asarray(self.value, dtype=self.dtype, order="C"))

    def placed(self, numbers: NDArray[Any], dtype: np.dtype[Any]) -> jax.Array:
        """A fresh JAX array of these numbers, where the user's array lies."""
        plain = complex_of(numbers, dtype) if is_complex(dtype) else numbers.astype(dtype, copy=False)
        fresh = jnp.array(plain)
        # An uncommitted array must stay free to be moved to the device of others.
        committed = isinstance(self.value, jax.Array) and self.value.committed
        return jax.device_put(fresh, self.value.sharding) if committed else fresh


def flattened(tree: Any, name: str) -> tuple[list[tuple[str, Any]], Any]:
    """Every leaf of the tree by its name, as ``params['dense']['w']``, and how to put the tree together again."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    return [((name + jax.tree_util.keystr(path)).lstrip("."), leaf) for path, leaf in leaves], treedef


def _is_one_shot(value: Any) -> bool:
    """A generator, which JAX warns about and which must not be read."""
    return hasattr(value, "__next__")


def holds_arrays(value: Any) -> bool:
    """Whether an array of JAX is anywhere in a pytree, be it of classes that only JAX knows the inside of."""
    return any(isinstance(leaf, jax.Array) for leaf in jax.tree_util.tree_leaves(value, is_leaf=_is_one_shot))


def is_checked(value: Any) -> bool:
    """Whether there is something to differentiate by: integers, flags, PRNG keys and plain numbers are constants."""
    return isinstance(value, jax.Array | np.ndarray) and jnp.issubdtype(value.dtype, jnp.inexact)


def refuse_unusable(leaf: CheckedArray) -> None:
    """Raise `ArgumentError` for an array that is empty, gone, being traced, or not finite."""
    if isinstance(leaf.value, Tracer):
        raise ArgumentError(
            f"{leaf.name} is a tracer: check gradients outside of jit, grad and vmap, on plain arrays"
        )
    if isinstance(leaf.value, jax.Array) and leaf.value.is_deleted():
        raise ArgumentError(f"{leaf.name} was donated to another function: pass an array that still exists")
    if leaf.value.size == 0:
        raise ArgumentError(
            f"{leaf.name} is empty (shape {tuple(leaf.value.shape)}): expected at least one element"
        )
    bad = int((~np.isfinite(as_double(leaf.numbers()))).sum())
    if bad:
        raise ArgumentError(f"input {leaf.name} holds {bad} values that are not finite: expected finite ones")


def copied(value: Any) -> Any:
    """A constant that the function may write into, or donate."""
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        # A key's own copy() fails while JAX traces.
        return jax.random.wrap_key_data(jnp.copy(jax.random.key_data(value)), impl=jax.random.key_impl(value))
    return value.copy() if isinstance(value, jax.Array | np.ndarray) else value


def is_complex(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.complexfloating))


def widened(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.complex128 if is_complex(dtype) else np.float64)


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"f{dtype.itemsize // 2}") if is_complex(dtype) else dtype


def real_shape(value: Any) -> tuple[int, ...]:
    return (*value.shape, 2) if is_complex(value.dtype) else tuple(value.shape)


def real_view(array: NDArray[Any]) -> NDArray[Any]:
    return np.stack([np.real(array), np.imag(array)], -1) if is_complex(array.dtype) else array


def complex_of(numbers: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(numbers, dtype=real_dtype(dtype)).view(dtype)[..., 0]


def as_double(array: NDArray[Any]) -> NDArray[np.float64]:
    return array.astype(np.float64, copy=False)


def epsilon(dtype: Any) -> float:
    """Spacing of the numbers next to 1."""
    return float(jnp.finfo(dtype).eps)


def coarsest(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    return max(dtypes, key=epsilon)


class ArrayLocation(Location[NDArray[Any]]):
    """The values of a checked array: see `Location`."""

    def values(self) -> NDArray[Any]:
        """All values, in the dtype that the function takes."""
        if not self.steps:
            return self.stored.astype(self.dtype, copy=False)
        values = np.empty(self.shape, dtype=self.dtype)
        for block in self.blocks:
            values.reshape(-1)[block] = self.wide(block)
        return values

    def start(self, block: Block) -> Array:
        return as_double(self.stored.reshape(-1)[block])

    def after(self, step: DirectionStep, values: NDArray[Any], block: Block) -> Array:
        moved = step.moves(block)
        moved *= step.length
        moved += values
        return as_double(moved.astype(self.dtype, copy=False))


def moved(
    location: Location[NDArray[Any]], step: DirectionStep, gradient: NDArray[Any]
) -> tuple[NDArray[Any], float]:
    """The values one step from a location, and the change of F that the gradient predicts for the rounded move."""
    found, claimed_change = np.empty(location.shape, dtype=location.dtype), 0.0
    values, slopes = found.reshape(-1), gradient.reshape(-1)
    for block in location.blocks:
        base = location.wide(block)
        values[block] = taken = location.after(step, base, block)
        claimed_change += float(np.dot(as_double(slopes[block]), taken - base))
    return found, claimed_change
