"""NumPy functions with several outputs: their weighted sum, and the gradient of that from a hand-written Jacobian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..differentiate import directional_derivative
from ..errors import WellposedError
from .directions import Array
from .output_weights import random_weights
from .result import GradientCheck, WorstElement

SPACING = 2.0**-52
UNEVEN = 2.0**10
"""How many times larger the derivatives of one output may be than those of another in one sum, so that an error of the small one shows."""
LEAST = 2.0**-24
"""A row below this part of the largest one may be rounding of zero."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """The weights of the elements of an output in F."""

    weights: Array

    @classmethod
    def like(cls, values: Array, *, seed: int, sizes: Array | None = None) -> Outputs:
        weights = random_weights(values.shape, (seed, 0), spacing=SPACING)
        return cls(weights=weights if sizes is None else weights / sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weights.shape

    def terms(self, values: Array) -> Array:
        return self.weights * values

    def parts(self, values: Array) -> tuple[Array, ...]:
        """F split along the first axis of the outputs, and along their second."""
        terms = self.terms(values)
        axes = [k for k in range(min(2, terms.ndim)) if terms.shape[k] >= 2]
        return tuple(np.moveaxis(terms, k, 0).reshape(terms.shape[k], -1).sum(axis=1) for k in axes)

    def pulled_back(self, jacobian: Array) -> Array:
        """The gradient of F, from a Jacobian of the shape of the outputs and then that of the input."""
        return np.tensordot(self.weights, jacobian, axes=self.weights.ndim)


def uneven_sizes(jacobians: Sequence[Array], outputs: tuple[int, ...]) -> Array | None:
    """The size of each output's row of derivatives, as powers of 2, where these are very uneven; None where they are not.

    A row of zeros is claimed to be small beside all others.
    """
    rows = [np.where(np.isfinite(j), j, 0.0).reshape(*outputs, -1) for j in jacobians]
    sizes = np.max([np.abs(r).max(axis=-1, initial=0.0) for r in rows], axis=0)
    if not sizes.any():
        return None
    sizes = np.maximum(sizes / sizes.max(), LEAST)
    return None if sizes.min() * UNEVEN > 1 else np.exp2(np.round(np.log2(sizes)))


def transposed(jacobians: Sequence[Array], points: Sequence[Array]) -> tuple[Array, ...] | None:
    """The Jacobians with the axes of the output and of the input swapped, where these have one shape; None where none has."""
    found = tuple(
        np.moveaxis(j, range(x.ndim), range(-x.ndim, 0)) if j.shape == x.shape * 2 else j
        for j, x in zip(jacobians, points, strict=True)
    )
    return None if all(a is b for a, b in zip(found, jacobians, strict=True)) else found


def with_worst_output(
    check: GradientCheck,
    f: Callable[..., Array],
    points: Sequence[Array],
    jacobians: Sequence[Array],
    names: Sequence[str],
) -> GradientCheck:
    """A failed check with the output in which the worst element is most wrong."""
    worst = check.worst
    if check.verdict != "fail" or worst is None or worst.name not in names:
        return check
    tensor = list(names).index(worst.name)
    direction = np.zeros(points[tensor].shape)
    direction[worst.index] = 1.0

    def moved(x: Array) -> Array:
        return f(*points[:tensor], x, *points[tensor + 1 :])

    try:
        found: Any = directional_derivative(moved, points[tensor], direction)
    except WellposedError:  # f is not finite beside the point
        return check
    claimed = jacobians[tensor][(..., *worst.index)]
    apart = np.where(np.isfinite(claimed), np.abs(claimed - found.value) - found.error, np.inf)
    output = tuple(int(k) for k in np.unravel_index(int(np.argmax(apart)), apart.shape))
    element = WorstElement(
        name=f"d f[{', '.join(map(str, output))}] / d {worst.name}",
        index=worst.index,
        analytic=float(claimed[output]),
        numerical=float(found.value[output]),
        bar=float(found.error[output]),
    )
    return replace(check, worst=element, n_forward=check.n_forward + found.n_evaluations)
