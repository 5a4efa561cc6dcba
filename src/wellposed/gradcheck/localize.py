"""Which element of a tensor's gradient is wrong: by halving, or one by one where there are few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .directions import Direction
from .objective import Array
from .probe import LONGEST_STEP, Prober, Reading

Indices = NDArray[np.integer[Any]]
FEW = 4
SAMPLED = 8


def every_element(prober: Prober, steps: Mapping[int, float]) -> list[Array]:
    """The numerical gradient of every tensor, element by element, with the steps that suit it: four evaluations each."""
    found = []
    for i, point in enumerate(prober.points):
        numerical = prober.gradients[i].copy()
        for k in range(point.size):
            direction = along(prober, i, np.array([k]))
            numerical.flat[k] += prober.read_at(direction, steps.get(i, prober.first_step)) / prober.scales[i]
        found.append(numerical)
    return found


def along(prober: Prober, tensor: int, elements: Indices, signs: Array | None = None) -> Direction:
    """A direction that moves these elements of one tensor only."""
    move = np.zeros(prober.points[tensor].size)
    move[elements] = prober.scales[tensor] if signs is None else prober.scales[tensor] * signs[elements]
    return Direction(kind="element", moves={tensor: move.reshape(prober.points[tensor].shape)})


def wrong_element(prober: Prober, tensor: int, *, step: float) -> tuple[int, Reading] | None:
    """Flat index of a wrong element and the reading that accuses it; None when none can be told from the noise.

    The half with the larger error along fixed random signs is kept until few elements are left: a lone wrong element shows in full in every
    block that holds it. About eight evaluations a halving.
    """
    size = prober.points[tensor].size
    signs = prober.rng.choice((-1.0, 1.0), size=size)
    block = np.arange(size)
    while len(block) > FEW:
        # A smaller block bends F less, so a longer step has less noise in it.
        longer = min(step * (size / len(block)) ** (1 / 6), LONGEST_STEP)
        halves = np.array_split(block, 2)
        errors = [abs(prober.read_at(along(prober, tensor, half, signs), longer)) for half in halves]
        block = halves[int(np.argmax(errors))]
    return _worst_of(prober, tensor, block) or _worst_of(prober, tensor, _likely(prober, tensor))


def element_reading(prober: Prober, tensor: int, element: int) -> Reading:
    slope = abs(prober.gradients[tensor].flat[element]) * prober.scales[tensor]
    typical = prober.shares[tensor] / np.sqrt(prober.points[tensor].size)
    return prober.read(along(prober, tensor, np.array([element])), wanted=1e-4 * max(slope, typical))


def _worst_of(prober: Prober, tensor: int, elements: Indices) -> tuple[int, Reading] | None:
    readings = [(int(k), element_reading(prober, tensor, int(k))) for k in elements]
    flagged = [(k, r) for k, r in readings if r.flagged]
    return max(flagged, key=lambda pair: abs(pair[1].error)) if flagged else None


def _likely(prober: Prober, tensor: int) -> Indices:
    """The elements with the largest gradient, and some at random: a dense error is in most of them."""
    magnitude = np.abs(prober.gradients[tensor].reshape(-1))
    largest = np.argsort(magnitude)[-SAMPLED:]
    return np.unique(np.concatenate([largest, prober.rng.integers(0, magnitude.size, size=SAMPLED)]))
