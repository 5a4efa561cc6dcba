"""Causes that concern a part of a tensor: few elements, one slice, one side of a condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..directional_error import ErrorEstimator
from ..directions import Array, Direction
from ..error_estimate import FLAG, ErrorEstimate
from ..objective import Objective, Sample
from .evidence import (
    EXACT,
    FAINT,
    SHARPLY,
    Cause,
    Evidence,
    element_direction,
    estimate_element,
    measure,
    most_wrong_element,
    rms,
)
from .whole_tensor import factor_cause

MOST_SPARSE = 3
FEWEST_ON_A_SIDE = 4
CONFIRMING = 3
"""Directions along which a part must be free of error."""
CLEARLY = 1e-2
"""Part of the largest element above which one is clearly not zero."""
MOST_MEASURED = 12
"""Elements or slices of a large tensor that are measured one by one."""
UNLIKELY = 0.1
"""Expected number of candidates that fit one measurement by chance, at most; several measurements must fit."""


def wrong_slice(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """Only one slice is wrong: what does it hold?"""
    part = evidence.part
    name = estimator.objective.names[evidence.tensor]
    where = f"{name}{part}"
    count = int(np.prod(part.shape))
    if part.size <= MOST_SPARSE:
        elements = np.flatnonzero(part.mask)
        if not _explained_by(estimator, evidence, elements):
            return None
        return Cause(
            name="sparse",
            detail=f"only {part.size} of {count} elements {'is' if part.size == 1 else 'are'} wrong: {where}",
            where=where,
            elements=tuple(int(k) for k in elements),
        )
    if not np.any(estimator.objective.gradient(evidence.tensor)[part.slices]):
        if not (
            _free_of_error(estimator, evidence, ~part.mask) and _all_wrong(estimator, evidence, part.mask)
        ):
            return None
        return Cause(
            name="mask", detail=f"only {where} is wrong: the analytic gradient is zero there", where=where
        )
    slopes, numerical = _inside(evidence, estimator.objective.gradient(evidence.tensor))
    if np.all(np.abs(numerical) <= FLAG * evidence.bars) and evidence.sharp:
        return Cause(
            name="mask", detail=f"only {where} is wrong: the numerical gradient is zero there", where=where
        )
    ratio = float(slopes @ numerical / (slopes @ slopes))
    bars = evidence.bars + EXACT * np.abs(numerical)
    # Both the error and the factor itself must be known well enough.
    uncertainty = rms(bars) / (abs(ratio) * rms(slopes)) if ratio else np.inf
    if max(rms(bars) / rms(evidence.errors), uncertainty) > SHARPLY:
        return None
    if np.any(np.abs(numerical - ratio * slopes) > FLAG * bars):
        return None
    found = factor_cause(
        estimator, ratio, FLAG * uncertainty, of=f"only {where} is wrong: there the analytic gradient is"
    )
    return replace(found, where=where, ratio=None) if found else None


def _explained_by(estimator: ErrorEstimator, evidence: Evidence, elements: NDArray[np.integer]) -> bool:
    """Whether the errors of these elements, measured one by one, explain the errors along all directions."""
    corrected = np.array(estimator.objective.gradient(evidence.tensor))
    for k in elements:
        estimate = estimate_element(estimator, evidence.tensor, int(k), start=evidence.clearest[1].step)
        corrected.flat[k] += estimate.error / evidence.scale
    return evidence.explains(evidence.along(corrected))


def _inside(evidence: Evidence, gradient: Array) -> tuple[Array, Array]:
    """Analytic and numerical derivatives along the part of each direction that lies in the wrong slice, which holds the whole error."""
    part = evidence.part
    slopes = np.array(
        [
            float(np.vdot(gradient[part.slices], d.move(evidence.tensor)[part.slices]))
            for d in evidence.directions
        ]
    )
    return slopes, slopes + evidence.errors


def shuffled_slices(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """Slices in another order: some are measured by themselves and found at other places of the claimed gradient."""
    gradient = estimator.objective.gradient(evidence.tensor)
    rng = np.random.default_rng((estimator.seed, 3))
    for axis, length in enumerate(gradient.shape):
        if length < 3 or (gradient.size == length and length <= 2 * MOST_SPARSE):
            continue
        places = np.sort(rng.permutation(length)[:MOST_MEASURED])
        order = _order(estimator, evidence, axis, places)
        displaced = sum(a != b for a, b in zip(order, places, strict=False))
        if len(set(order)) < len(places) or displaced < min(3, length):
            continue
        if len(places) == length and not evidence.explains(evidence.along(np.take(gradient, order, axis))):
            continue
        said = ", ".join(f"{a} belongs at {b}" for a, b in zip(order[:4], places[:4], strict=True))
        return Cause(
            name="permuted",
            detail=f"the slices along axis {axis} of the analytic gradient are in another order: {said}, ...",
        )
    return None


def _order(
    estimator: ErrorEstimator, evidence: Evidence, axis: int, places: NDArray[np.integer]
) -> list[int]:
    """For each of some places along the axis, the index of the claimed slice that fits the measurement there; ends at the first place without a unique one."""
    direction, total = evidence.clearest
    gradient = np.moveaxis(estimator.objective.gradient(evidence.tensor), axis, 0).reshape(-1)
    moves = np.moveaxis(direction.move(evidence.tensor), axis, 0)
    claimed = gradient.reshape(len(moves), -1)
    order = []
    for k in places:
        mask = np.zeros(estimator.objective.shapes[evidence.tensor], dtype=bool)
        mask[(slice(None),) * axis + (int(k),)] = True
        estimate = measure(estimator, direction.within(evidence.tensor, mask), total, share=1e-4)
        slopes = claimed @ moves[k].reshape(-1)
        near = np.abs(slopes - estimate.numerical) <= FLAG * estimate.bar + EXACT * np.abs(slopes).max()
        # A fit by chance must be unlikely.
        if near.sum() != 1 or not FLAG * estimate.bar * len(slopes) < UNLIKELY * np.ptp(slopes):
            break
        order.append(int(np.argmax(near)))
    return order


def few_elements(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """A few wrong elements: they are found and corrected one after another until they explain the error."""
    tensor = evidence.tensor
    shape = estimator.objective.shapes[tensor]
    count = int(np.prod(shape))
    if count <= 2 * MOST_SPARSE:
        return None
    corrected = np.array(estimator.objective.gradient(tensor))
    direction, total = evidence.clearest
    wrong: list[int] = []
    for _ in range(MOST_SPARSE):
        patched = _patched(estimator, tensor, corrected)
        element = most_wrong_element(patched, tensor, direction, total, most=MOST_SPARSE)
        if element is None or element in wrong:
            return None
        wrong.append(element)
        estimate = estimate_element(patched, tensor, element, start=total.step)
        corrected.flat[element] += estimate.error / estimator.scales[tensor]
        if evidence.explains(evidence.along(corrected)):
            places = [str(list(_index(k, shape))) for k in sorted(wrong)]
            name = estimator.objective.names[tensor]
            return Cause(
                name="sparse",
                detail=f"only {len(wrong)} of {count} elements are wrong: {', '.join(name + p for p in places)}",
                where=f"{name}{places[0]}" if len(places) == 1 else "",
                elements=tuple(wrong),
            )
        moved = float(direction.move(tensor).flat[element]) * estimate.error / estimator.scales[tensor]
        total = replace(total, error=total.error - moved)
    return None


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(flat, shape))


class _Patched:
    """An objective with another claimed gradient of one tensor."""

    def __init__(self, objective: Objective, tensor: int, gradient: Array) -> None:
        self._objective, self._tensor, self._gradient = objective, tensor, gradient.copy()
        self._change = gradient - objective.gradient(tensor)

    def __getattr__(self, name: str) -> object:
        return getattr(self._objective, name)

    def gradient(self, tensor: int) -> Array:
        return self._gradient if tensor == self._tensor else self._objective.gradient(tensor)

    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        sample = self._objective.at(direction, step, split=split)
        if direction is None or self._tensor not in direction.tensors:
            return sample
        return replace(
            sample,
            claimed_change=sample.claimed_change
            + step * float(np.vdot(self._change, direction.move(self._tensor))),
        )


def _patched(estimator: ErrorEstimator, tensor: int, gradient: Array) -> ErrorEstimator:
    """The same estimator for a corrected gradient."""
    return estimator.for_objective(cast(Objective, _Patched(estimator.objective, tensor, gradient)))


def wrong_on_one_side(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """The gradient is wrong on one side of a simple condition on the tensor or its gradient, and right on the other."""
    name = estimator.objective.names[evidence.tensor]
    for condition, mask in _conditions(estimator, evidence.tensor):
        if min(mask.sum(), (~mask).sum()) < FEWEST_ON_A_SIDE:
            continue
        if _free_of_error(estimator, evidence, ~mask) and _all_wrong(estimator, evidence, mask):
            return Cause(
                name="mask",
                detail=f"wrong only where {condition.format(name=name)}: {int(mask.sum())} of {mask.size} elements",
            )
    return None


def not_blocked(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """What the forward pass blocks on any condition: each element is either right or has a numerical derivative of zero, and both occur."""
    tensor = evidence.tensor
    gradient = estimator.objective.gradient(tensor).reshape(-1)
    clear = np.flatnonzero(np.abs(gradient) > CLEARLY * np.abs(gradient).max())
    if len(clear) < 2 * MOST_MEASURED:
        return None
    tried = np.random.default_rng((estimator.seed, 4)).choice(clear, 2 * MOST_MEASURED, replace=False)
    zero: list[int] = []
    right: list[int] = []
    for k in tried:
        if len(zero) + len(right) >= MOST_MEASURED and min(len(zero), len(right)) > 1:
            break
        estimate = _of_element(estimator, evidence, int(k))
        within = FLAG * estimate.bar + EXACT * abs(estimate.slope)
        if (
            within > SHARPLY * abs(estimate.slope)
            or min(abs(estimate.numerical), abs(estimate.error)) > within
        ):
            return None
        (zero if abs(estimate.numerical) <= within else right).append(int(k))
    unclaimed = estimator.objective.gradient(tensor) == 0
    if min(len(zero), len(right)) < 2 or not _free_of_error(estimator, evidence, unclaimed):
        return None
    return Cause(
        name="mask",
        detail=f"of {len(zero) + len(right)} elements that were tried {len(zero)} have a numerical gradient of zero, and not an analytic one: what "
        "the forward pass blocks there, the backward pass lets through",
        elements=(zero[0],),
    )


def opposite_mask(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    gradient = estimator.objective.gradient(evidence.tensor).reshape(-1)
    if min(np.count_nonzero(gradient), np.count_nonzero(gradient == 0)) < FEWEST_ON_A_SIDE:
        return None
    claimed = _some(estimator, evidence, gradient != 0)
    if any(abs(r.numerical) > _within(r) or _within(r) > SHARPLY * abs(r.slope) for r in claimed.values()):
        return None
    lost = [r for r in _some(estimator, evidence, gradient == 0).values() if r.flagged]
    if len(lost) < FEWEST_ON_A_SIDE or _are_elsewhere(estimator, evidence, lost):
        return None
    said = "elements that were tried have a numerical gradient where the analytic one is zero, and none where it is not"
    return Cause(
        name="mask",
        detail=f"{len(claimed) + len(lost)} {said}: the opposite of what the forward pass blocks",
    )


def _some(
    estimator: ErrorEstimator, evidence: Evidence, where: NDArray[np.bool_], *, most: int = MOST_MEASURED
) -> dict[int, ErrorEstimate]:
    """Some of the elements, chosen at random, each measured alone."""
    rng = np.random.default_rng((estimator.seed, 8))
    return {
        int(k): _of_element(estimator, evidence, int(k))
        for k in rng.permutation(np.flatnonzero(where))[:most]
    }


def _within(estimate: ErrorEstimate) -> float:
    return FLAG * estimate.bar + EXACT * abs(estimate.slope)


def _are_elsewhere(estimator: ErrorEstimator, evidence: Evidence, estimates: list[ErrorEstimate]) -> bool:
    """Whether at least half of the numerical values occur elsewhere in the claimed gradient: then it is rearranged."""
    values = estimator.objective.gradient(evidence.tensor).reshape(-1) * estimator.scales[evidence.tensor]
    near = [
        np.any(np.abs(values - r.numerical) <= FLAG * r.bar + EXACT * abs(r.numerical)) for r in estimates
    ]
    return 2 * sum(map(bool, near)) >= max(len(near), 1)


def swapped_slopes(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """On the two sides of a condition the gradient is right and wrong by a factor, or wrong by a factor and by its inverse."""
    gradient = estimator.objective.gradient(evidence.tensor)
    for condition, mask in _conditions(estimator, evidence.tensor) if evidence.sharp else ():
        sides = np.stack([evidence.along(gradient * mask), evidence.along(gradient * ~mask)], axis=1)
        factors, _, rank, _ = np.linalg.lstsq(sides, evidence.numerical, rcond=1e-6)
        there, elsewhere = (float(f) for f in factors)
        if rank < 2 or not there * elsewhere or not evidence.explains(sides @ factors):
            continue
        if min(abs(there - 1), abs(elsewhere - 1), abs(there * elsewhere - 1)) <= SHARPLY:
            where = condition.format(name=estimator.objective.names[evidence.tensor])
            return Cause(
                name="mask",
                detail=f"the numerical gradient is {there:.4g} times the analytic one where {where}, and {elsewhere:.4g} times it elsewhere",
            )
    return None


def _conditions(estimator: ErrorEstimator, tensor: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    point, gradient = estimator.objective.point(tensor), estimator.objective.gradient(tensor)
    yield "{name} < 0", point < 0
    yield "{name} > 0", point > 0
    yield "{name} is zero", point == 0
    yield "the analytic gradient is zero", gradient == 0
    yield "|{name}| > 1", np.abs(point) > 1
    yield "|{name}| < 1", np.abs(point) < 1


def _free_of_error(estimator: ErrorEstimator, evidence: Evidence, mask: NDArray[np.bool_]) -> bool:
    """Whether the gradient is right inside the mask, along several directions, since errors may cancel along one."""
    if not mask.any():
        return True
    _, total = evidence.clearest
    seen = evidence.directions[:CONFIRMING]
    return all(_free(estimator, d.within(evidence.tensor, mask), total) for d in seen)


def _all_wrong(estimator: ErrorEstimator, evidence: Evidence, mask: NDArray[np.bool_]) -> bool:
    """Whether every element of the mask is wrong, judged by some: a few wrong elements fulfil many conditions by chance."""
    rng = np.random.default_rng((estimator.seed, 6))
    inside = np.flatnonzero(mask)
    tried = rng.choice(inside, min(MOST_MEASURED, len(inside)), replace=False)
    return all(_of_element(estimator, evidence, int(k)).flagged for k in tried)


def _of_element(estimator: ErrorEstimator, evidence: Evidence, element: int) -> ErrorEstimate:
    """The error of one element, with a bar small enough for an error of typical size."""
    direction = element_direction(estimator, evidence.tensor, element)
    share = 1e-3 / float(np.prod(estimator.objective.shapes[evidence.tensor])) ** 0.5
    return measure(estimator, direction, evidence.clearest[1], share=share)


def _free(estimator: ErrorEstimator, direction: Direction, total: ErrorEstimate) -> bool:
    estimate = measure(estimator, direction, total, share=1e-4)
    return abs(estimate.error) <= max(FLAG * estimate.bar, FAINT * abs(total.error)) < 0.1 * abs(total.error)
