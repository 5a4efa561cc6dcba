"""Measurements of a wrong gradient: along random directions, in slices, and element by element.

The smallest slice that holds the error is found by halving along each axis. A direction is restricted to one half; the rest of the error
lies in the other half. So each halving takes one measurement, and a single wrong element among n takes about log2(n) of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..directional_error import ErrorEstimator
from ..directions import Array, Direction
from ..error_estimate import FLAG, LONGEST_STEP, ErrorEstimate
from ..result import CauseName

Indices = NDArray[np.integer]
FAINT = 1e-3
"""Part of the whole error below which one half counts as right."""
MOSTLY = 0.2
"""Part of the error that may lie outside of the slice that is reported."""
CLEAR = 1 / 100
"""Bar, relative to the error, that a halving aims at."""
SAMPLED = 2
"""Elements of each kind among which the worst one is sought."""
ELEMENTWISE = 1e-4
"""Bar, relative to the error of the whole, that the numerical value of a single element aims at."""


@dataclass(frozen=True, kw_only=True)
class TensorSlice:
    """A slice of a tensor: from `starts` up to, not including, `stops`."""

    shape: tuple[int, ...]
    starts: tuple[int, ...]
    stops: tuple[int, ...]

    @classmethod
    def whole(cls, shape: Sequence[int]) -> TensorSlice:
        return cls(shape=tuple(shape), starts=(0,) * len(shape), stops=tuple(shape))

    @property
    def size(self) -> int:
        return int(np.prod([b - a for a, b in zip(self.starts, self.stops, strict=True)]))

    @property
    def is_whole(self) -> bool:
        return self.size == int(np.prod(self.shape))

    @property
    def mask(self) -> NDArray[np.bool_]:
        mask = np.zeros(self.shape, dtype=bool)
        mask[self.slices] = True
        return mask

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(self.starts, self.stops, strict=True))

    def halves(self, axis: int) -> tuple[TensorSlice, TensorSlice]:
        middle = (self.starts[axis] + self.stops[axis]) // 2
        return (
            replace(self, stops=_with(self.stops, axis, middle)),
            replace(self, starts=_with(self.starts, axis, middle)),
        )

    def __str__(self) -> str:
        if self.is_whole:
            return ""
        parts = [
            ":" if (a, b) == (0, n) else str(a) if b == a + 1 else f"{a}:{b}"
            for a, b, n in zip(self.starts, self.stops, self.shape, strict=True)
        ]
        return f"[{', '.join(parts)}]"


def _with(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return (*values[:place], value, *values[place + 1 :])


def smallest_slice(
    estimator: ErrorEstimator, tensor: int, direction: Direction, total: ErrorEstimate
) -> TensorSlice:
    """The smallest slice, by halving, that holds the error `total` along a direction; the whole tensor where both halves hold some of it."""
    whole = part = TensorSlice.whole(estimator.objective.shapes[tensor])
    error = total.error
    for axis in range(len(part.shape)):
        while part.stops[axis] - part.starts[axis] > 1:
            left, right = part.halves(axis)
            measured = measure(estimator, direction.within(tensor, left.mask), total, share=CLEAR)
            rest = replace(measured, error=total.error - measured.error, bar=measured.bar + total.bar)
            wrong = [half for half, r in ((left, measured), (right, rest)) if _holds(r, total)]
            if len(wrong) != 1:
                break
            part = wrong[0]
            kept = measured if part is left else rest
            total = replace(total, error=kept.error, bar=kept.bar)
    if part.is_whole:
        return whole
    # The slice may be what was left after many halvings, and never measured by itself.
    own = estimator.estimate_from_two_steps(direction.within(tensor, part.mask), total.step)
    return part if abs(own.error - error) <= MOSTLY * abs(error) + FLAG * own.bar else whole


def _holds(part: ErrorEstimate, total: ErrorEstimate) -> bool:
    return abs(part.error) > max(FLAG * part.bar, FAINT * abs(total.error))


def measure(
    estimator: ErrorEstimator, direction: Direction, like: ErrorEstimate, *, share: float
) -> ErrorEstimate:
    """The error along a direction that is part of the one of `like`, with a bar of about `share` of the error there.

    Two evaluations where noise and truncation of one step are small enough, else four.
    """
    error = abs(like.error)
    truncation = 4 * abs(like.truncation)  # truncation may cancel in the whole and not in a part
    noisy = 2 * estimator.noise / (share * error) if error else np.inf
    curved = (share * error / truncation) ** 0.5 if truncation else LONGEST_STEP
    if noisy <= curved:
        step = min((noisy * curved) ** 0.5, max(like.step, noisy))
        return estimator.estimate_from_one_step(
            direction, step or like.step, truncation
        )  # 0 for a function without noise
    return estimator.estimate_from_two_steps(direction, like.step)


def element_direction(estimator: ErrorEstimator, tensor: int, element: int) -> Direction:
    """A direction that moves one element of one tensor only."""

    def made(i: int) -> Array:
        move = np.zeros(estimator.objective.shapes[i])
        move.flat[element] = estimator.scales[i]
        return move

    return Direction(kind="element", tensors=(tensor,), made=made)


def estimate_element(
    estimator: ErrorEstimator, tensor: int, element: int, *, start: float | None = None
) -> ErrorEstimate:
    slope = abs(float(estimator.objective.gradient(tensor).flat[element])) * estimator.scales[tensor]
    typical = estimator.tensor_slopes[tensor] / np.sqrt(max(np.prod(estimator.objective.shapes[tensor]), 1))
    wanted = 1e-3 * max(slope, typical)
    direction = element_direction(estimator, tensor, element)
    if start is not None:
        quick = estimator.estimate_from_two_steps(direction, start)
        if quick.bar <= max(wanted, abs(quick.error) / 100):
            return quick
    return estimator.estimate_along(direction, wanted=wanted, start=start)


def most_wrong_element(
    estimator: ErrorEstimator, tensor: int, direction: Direction, total: ErrorEstimate, *, most: int
) -> int | None:
    """Flat index of a wrong element, by halving towards the larger error; None when more than `most` elements are wrong.

    With k wrong elements at most k - 1 halvings find both halves wrong; the search ends with one more.
    """
    shape = estimator.objective.shapes[tensor]
    block, like, both = np.arange(int(np.prod(shape))), total, 0
    while len(block) > 1:
        left, right = np.array_split(block, 2)
        mask = np.zeros(shape, dtype=bool)
        mask.flat[left] = True
        measured = measure(estimator, direction.within(tensor, mask), like, share=CLEAR)
        rest = replace(measured, error=total.error - measured.error, bar=measured.bar + total.bar)
        both += _holds(measured, total) and _holds(rest, total)
        if both >= most:
            return None
        block, kept = (left, measured) if abs(measured.error) >= abs(rest.error) else (right, rest)
        total = replace(total, error=kept.error, bar=kept.bar)
    return (
        int(block[0]) if estimate_element(estimator, tensor, int(block[0]), start=like.step).flagged else None
    )


def every_element(estimator: ErrorEstimator, accused: dict[int, ErrorEstimate]) -> list[Array]:
    """The numerical gradient of every tensor: of the wrong ones element by element, mostly with two evaluations each.

    The others have passed: the claimed gradient stands for theirs.
    """
    found = [np.array(estimator.objective.gradient(i)) for i in estimator.all_tensors]
    for i, like in accused.items():
        for k in range(found[i].size):
            estimate = measure(estimator, element_direction(estimator, i, k), like, share=ELEMENTWISE)
            if np.isfinite(estimate.bar):
                found[i].flat[k] += estimate.error / estimator.scales[i]
    return found


def candidate_elements(
    estimator: ErrorEstimator, tensor: int, part: TensorSlice, rng: np.random.Generator
) -> Indices:
    """Elements of a slice among which to seek the worst one: those with the largest gradients, and some at random."""
    inside = np.flatnonzero(part.mask)
    magnitude = np.abs(estimator.objective.gradient(tensor).reshape(-1)[inside])
    largest = inside[np.argsort(magnitude)[-SAMPLED:]]
    return np.unique(np.concatenate([largest, rng.choice(inside, size=min(SAMPLED, inside.size))]))


DIRECTIONS = 5
SHARP = 1e-5
"""Bar, relative to the error, that the estimates aim at."""
NAMEABLE = 0.03
"""Largest bar, relative to the error, at which a bug may be named."""
SHARPLY = 0.02
"""The same where so many candidates are tried that one might fit by chance."""
EXACT = 1e-7
"""Relative difference of two derivatives that counts as none."""
LEFT_OVER = 0.05
"""A hypothesis that leaves more than this part of the error explains nothing."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A named bug."""

    name: CauseName
    detail: str
    ratio: float | None = None
    """Numerical over analytic, where the gradient is wrong by one factor."""
    where: str = ""
    """The slice that is wrong, where it is not the whole tensor."""
    telling: bool = True
    """False for a factor without a known meaning."""
    elements: tuple[int, ...] = ()
    """Flat indices of the elements that are furthest off."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One tensor with a wrong gradient, the slice that holds the error, and error estimates along a few directions."""

    tensor: int
    part: TensorSlice
    scale: float
    directions: tuple[Direction, ...]
    estimates: tuple[ErrorEstimate, ...]

    @property
    def slopes(self) -> Array:
        return np.array([r.slope for r in self.estimates])

    @property
    def numerical(self) -> Array:
        return np.array([r.numerical for r in self.estimates])

    @property
    def errors(self) -> Array:
        return np.array([r.error for r in self.estimates])

    @property
    def bars(self) -> Array:
        return np.array([r.bar for r in self.estimates])

    @property
    def nameable(self) -> bool:
        return bool(rms(self.bars) <= NAMEABLE * rms(self.errors))

    @property
    def sharp(self) -> bool:
        return bool(rms(self.bars) <= SHARPLY * rms(self.errors))

    @property
    def clearest(self) -> tuple[Direction, ErrorEstimate]:
        """The random direction with the largest error, and its estimate."""
        pairs = zip(self.directions, self.estimates, strict=True)
        return max((pair for pair in pairs if pair[1].kind == "random"), key=lambda pair: abs(pair[1].error))

    def along(self, candidate: Array) -> Array:
        """The derivatives that a candidate gradient claims along the directions."""
        return np.array([float(np.vdot(candidate, d.move(self.tensor))) for d in self.directions])

    def explains(self, slopes: Array) -> bool:
        """Whether a gradient with these derivatives agrees with the differences."""
        left = np.abs(self.numerical - slopes)
        return bool(
            np.all(left <= FLAG * self.bars + EXACT * np.abs(self.numerical))
            and rms(left) <= max(LEFT_OVER * rms(self.errors), 2 * rms(self.bars))
        )

    @property
    def error_norm(self) -> float:
        return rms(self.errors[self._random]) / self.scale

    @property
    def numerical_norm(self) -> float:
        return rms(self.numerical[self._random]) / self.scale

    @property
    def _random(self) -> NDArray[np.bool_]:
        return np.array([r.kind == "random" for r in self.estimates])


def gather(estimator: ErrorEstimator, tensor: int, accused: ErrorEstimate) -> Evidence:
    """Estimates of one tensor along new random directions, and along the signs that show a factor or a weight decay best."""
    signs = (estimator.signs_of_gradient((tensor,)), estimator.signs_of_parameters((tensor,)))
    random = (estimator.new_direction((tensor,)) for _ in range(DIRECTIONS))
    directions = (*random, *(d for d in signs if d is not None))
    estimates = tuple(measure(estimator, d, accused, share=SHARP) for d in directions)
    return Evidence(
        tensor=tensor,
        part=TensorSlice.whole(estimator.objective.shapes[tensor]),
        scale=estimator.scales[tensor],
        directions=directions,
        estimates=estimates,
    )


def split_numerical(estimator: ErrorEstimator, evidence: Evidence) -> Sequence[tuple[Array, ...]]:
    """The numerical derivative along each direction, as a sum over parts of the outputs; empty where the outputs have no axes."""
    found = []
    for direction, estimate in zip(evidence.directions, evidence.estimates, strict=True):
        split = split_along(estimator, direction, estimate.step)
        if not split:
            return ()
        found.append(split)
    return found


def split_along(estimator: ErrorEstimator, direction: Direction, step: float) -> tuple[Array, ...]:
    """The numerical derivative along one direction, as a sum over the first axis of the outputs and as one over the second."""
    above = estimator.objective.at(direction, step, split=True).parts
    below = estimator.objective.at(direction, -step, split=True).parts
    return tuple((a - b) / (2 * step) for a, b in zip(above, below, strict=True))


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
