"""Whether a gradient holds the right numbers in the wrong places: transposed, rolled, reversed, swapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..directions import Array
from ..error_estimate import FLAG
from ..result import CauseName
from .evidence import EXACT, Evidence

MOST_SLICES = 2048
MOST_CHUNKS = 4


@dataclass(frozen=True, eq=False)
class Rearranged:
    """A gradient with its numbers in other places, and the name of that bug."""

    name: CauseName
    detail: str
    gradient: Array
    """The numbers in their right places."""


def rearranged(evidence: Evidence, gradient: Array) -> Rearranged | None:
    """The rearrangement of the claimed gradient that explains the numerical derivatives."""
    if gradient.size < 4:
        return None
    for name, detail, candidate in _candidates(gradient):
        if evidence.explains(evidence.along(candidate)):
            return Rearranged(name, detail, candidate)
    if not evidence.sharp:
        return None
    found = _rolled(evidence, gradient) or _swapped(evidence, gradient)
    return found if found and evidence.explains(evidence.along(found.gradient)) else None


def _candidates(gradient: Array) -> Iterator[tuple[CauseName, str, Array]]:
    if gradient.ndim >= 2:
        *lead, rows, columns = gradient.shape
        yield (
            "transposed",
            "the analytic gradient is the transpose of the numerical one",
            np.swapaxes(gradient.reshape(*lead, columns, rows), -1, -2),
        )
        if lead and gradient.shape[0] == gradient.shape[1]:
            yield (
                "transposed",
                "axes 0 and 1 of the analytic gradient are swapped",
                np.swapaxes(gradient, 0, 1),
            )
    if gradient.ndim >= 2 and min(gradient.shape[-2:]) > 1:
        yield (
            "permuted",
            "the analytic gradient is reversed along its last two axes",
            np.flip(gradient, (-1, -2)),
        )
    for axis, length in enumerate(gradient.shape):
        if length > 1:
            yield "permuted", f"the analytic gradient is reversed along axis {axis}", np.flip(gradient, axis)
        yield from _chunks(gradient, axis)


def _chunks(gradient: Array, axis: int) -> Iterator[tuple[CauseName, str, Array]]:
    """Two of two to four equal blocks swapped, as of the gates of a recurrent cell."""
    length = gradient.shape[axis]
    for count in range(2, MOST_CHUNKS + 1):
        if length % count or length < 2 * count:
            continue
        blocks = np.split(gradient, count, axis)
        for a in range(count):
            for b in range(a + 1, count):
                order = list(range(count))
                order[a], order[b] = b, a
                yield (
                    "permuted",
                    f"blocks {a} and {b} of {count} along axis {axis} of the analytic gradient are swapped",
                    np.concatenate([blocks[k] for k in order], axis),
                )


def _rolled(evidence: Evidence, gradient: Array) -> Rearranged | None:
    """Rolled by any number along any axes: all shifts are tested at once, by a circular correlation."""
    fits = np.ones(gradient.shape, dtype=bool)
    axes = tuple(range(gradient.ndim))
    transformed = np.conj(np.fft.rfftn(gradient))
    for direction, estimate in zip(evidence.directions, evidence.estimates, strict=True):
        moved = np.fft.rfftn(direction.move(evidence.tensor))
        slopes = np.fft.irfftn(transformed * moved, s=gradient.shape, axes=axes)
        rounding = 1e-12 * np.abs(slopes).max()
        fits &= (
            np.abs(slopes - estimate.numerical)
            <= FLAG * estimate.bar + EXACT * abs(estimate.numerical) + rounding
        )
    found = np.argwhere(fits)
    if len(found) != 1 or not found[0].any():
        return None
    shifts = [(axis, int(k)) for axis, k in enumerate(found[0]) if k]
    by = [
        f"{-k if 2 * k <= gradient.shape[axis] else gradient.shape[axis] - k} along axis {axis}"
        for axis, k in shifts
    ]
    return Rearranged(
        "permuted",
        f"the analytic gradient is rolled by {' and by '.join(by)}",
        np.roll(gradient, tuple(int(k) for k in found[0]), axes),
    )


def _swapped(evidence: Evidence, gradient: Array) -> Rearranged | None:
    """Two slices swapped: all pairs are tested at once, from the inner products of slices and directions."""
    for axis, length in enumerate(gradient.shape):
        if not 2 <= length <= MOST_SLICES:
            continue
        slices = np.moveaxis(gradient, axis, 0).reshape(length, -1)
        fits = np.triu(np.ones((length, length), dtype=bool), 1)
        for direction, estimate in zip(evidence.directions, evidence.estimates, strict=True):
            products = slices @ np.moveaxis(direction.move(evidence.tensor), axis, 0).reshape(length, -1).T
            own = np.diag(products)
            change = products + products.T - own[:, None] - own[None, :]
            fits &= np.abs(change - estimate.error) <= FLAG * estimate.bar + EXACT * abs(estimate.error)
        if fits.sum() == 1:
            a, b = (int(k) for k in np.argwhere(fits)[0])
            order = np.arange(length)
            order[[a, b]] = b, a
            return Rearranged(
                "permuted",
                f"slices {a} and {b} along axis {axis} of the analytic gradient are swapped",
                np.take(gradient, order, axis),
            )
    return None
