"""The normalizer as a function of a JAX array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import DataError, MissingDependency
from .affine import affine_map, misfit, two_parts

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise MissingDependency(
        "to_jax() needs jax, which is not installed: pip install 'wellposed[jax]'"
    ) from error


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class JaxNormalize:
    """``(x - center) / scale + offset``, ``@ rotation`` where the method whitens, clipped where asked; a pytree of arrays.

    It may be jitted, mapped and differentiated, closed over or passed as an argument, and takes batches or one
    sample, of the sizes that it was fitted on (anything else is a `DataError`). The result has the dtype of `x`, or float32 for integers. Without 64-bit mode the center is kept as
    two float32 parts, so that the difference loses nothing that float32 could hold.
    """

    high: jax.Array
    low: jax.Array | None
    """What float32 cannot hold of the center; None in 64-bit mode, where `high` is all of it."""
    scale: jax.Array
    offset: jax.Array | None
    rotation: jax.Array | None
    mixed: jax.Array | None
    least: jax.Array | None
    """What the result is held within; None where it is not."""
    most: jax.Array | None
    axis: int = field(metadata={"static": True})
    sizes: tuple[int, ...] = field(metadata={"static": True})
    """Of each axis of samples; -1 where any size will do."""

    def __call__(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        wrong = misfit([*x.shape], [*self.sizes])
        if wrong:
            raise DataError(wrong)
        dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
        z = x.astype(self.high.dtype) - self.high
        if self.low is not None:
            # Else XLA adds up the two constants first, which gives the center rounded to float32.
            z = jax.lax.optimization_barrier(z) - self.low
        z = z / self.scale
        z = z if self.offset is None else z + self.offset
        z = self._rotated(z)
        if self.least is not None and self.most is not None:
            z = jnp.clip(z, self.least, self.most)
        return z.astype(dtype)

    def _rotated(self, z: jax.Array) -> jax.Array:
        if self.rotation is None or self.mixed is None:
            return z
        last = jnp.moveaxis(z, self.axis, -1)
        # Columns that the rotation leaves alone must not spread their NaN: 0 times NaN is NaN.
        filled = jnp.where(self.mixed, last, 0.0)
        out = jnp.matmul(filled, self.rotation, precision=jax.lax.Precision.HIGHEST)
        return jnp.moveaxis(jnp.where(self.mixed, out, last), -1, self.axis)


def to_jax(normalizer: Any) -> JaxNormalize:
    """A function that normalises a JAX array; see `JaxNormalize`.

    Raises
    ------
    ArgumentError
        When float32 does not hold a center or a scale, and 64-bit mode is off.
    MissingDependency
        When jax is not installed.
    """
    affine = affine_map(normalizer)
    wide = bool(jax.config.read("jax_enable_x64"))
    rotates = affine.rotation is not None and bool(affine.mixed.any())
    kind = np.float64 if wide else np.float32
    if wide:
        high, low, scale = affine.center, None, affine.scale
    else:
        (high, low), (scale, _) = (
            two_parts(affine.center, what="the center"),
            two_parts(affine.scale, what="the scale"),
        )
    return JaxNormalize(
        high=jnp.asarray(high),
        low=None if low is None else jnp.asarray(low),
        scale=jnp.asarray(scale),
        offset=None if affine.offset is None else jnp.asarray(affine.offset, dtype=kind),
        rotation=jnp.asarray(affine.rotation, dtype=kind) if rotates else None,
        mixed=jnp.asarray(affine.mixed) if rotates else None,
        least=None if affine.least is None else jnp.asarray(affine.least, dtype=kind),
        most=None if affine.most is None else jnp.asarray(affine.most, dtype=kind),
        axis=affine.kept[0] if affine.kept else -1,
        sizes=tuple(affine.sizes),
    )
