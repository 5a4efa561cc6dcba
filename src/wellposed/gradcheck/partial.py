"""Causes that concern a part of a tensor: few elements, one slice, one side of a condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from .cause import Cause, factor_cause
from .directions import Array, Direction
from .evidence import Evidence
from .localize import FAINT, Box, element_reading, heaviest_element, measure
from .objective import Objective, Sample
from .probe import FLAG, Prober, Reading

MOST_SPARSE = 3
FEWEST_ON_A_SIDE = 3
MOST_SHUFFLED = 16
"""Slices that are measured one by one."""


def partial_cause(prober: Prober, evidence: Evidence, box: Box) -> Cause | None:
    """The cause of an error that no change of the whole gradient explains; None rather than a wrong name."""
    if not (evidence.nameable and box.shape and prober.objective.claims_gradient):
        return None
    if not box.is_whole:
        return _in_slice(prober, evidence, box)
    return _on_one_side(prober, evidence) or _few_elements(prober, evidence) or _shuffled(prober, evidence)


def _in_slice(prober: Prober, evidence: Evidence, box: Box) -> Cause | None:
    """Only one slice is wrong: what stands there?"""
    name = prober.objective.names[evidence.tensor]
    where = f"{name}{box}"
    count = int(np.prod(box.shape))
    if box.size <= MOST_SPARSE:
        return (
            None
            if not _explained_by(prober, evidence, np.flatnonzero(box.mask))
            else Cause(
                name="sparse",
                detail=f"only {box.size} of {count} elements {'is' if box.size == 1 else 'are'} wrong: {where}",
                where=where,
                elements=tuple(int(k) for k in np.flatnonzero(box.mask)),
            )
        )
    inside = prober.objective.gradient(evidence.tensor)[box.slices]
    if not np.any(inside):
        return Cause(
            name="mask", detail=f"only {where} is wrong: the analytic gradient is zero there", where=where
        )
    slopes, numerical = _inside(prober, evidence, box)
    ratio = float(slopes @ numerical / (slopes @ slopes))
    bars = evidence.bars + 1e-7 * np.abs(numerical)
    if np.all(np.abs(numerical - ratio * slopes) <= FLAG * bars):
        found = factor_cause(
            prober,
            ratio,
            float(bars.max() / np.abs(numerical).max()),
            of=f"only {where} is wrong: there the analytic gradient is",
        )
        return replace(found, where=where, ratio=None) if found else None
    return None


def _explained_by(prober: Prober, evidence: Evidence, elements: NDArray[np.integer]) -> bool:
    """Whether these elements, measured one by one, account for what all the directions see."""
    corrected = np.array(prober.objective.gradient(evidence.tensor))
    for k in elements:
        reading = element_reading(prober, evidence.tensor, int(k), start=evidence.clearest[1].step)
        corrected.flat[k] += reading.error / evidence.scale
    return evidence.explains(evidence.along(corrected))


def _inside(prober: Prober, evidence: Evidence, box: Box) -> tuple[Array, Array]:
    """Analytic and numerical derivatives along the part of each direction that lies in the box, which holds the whole error."""
    gradient = prober.objective.gradient(evidence.tensor)
    slopes = np.array(
        [
            float(np.vdot(gradient[box.slices], d.move(evidence.tensor)[box.slices]))
            for d in evidence.directions
        ]
    )
    return slopes, slopes + evidence.errors


def _shuffled(prober: Prober, evidence: Evidence) -> Cause | None:
    """Slices in one another's places, whatever the order: each slice is measured by itself and found among the claimed ones."""
    gradient = prober.objective.gradient(evidence.tensor)
    for axis, length in enumerate(gradient.shape):
        if not 3 <= length <= MOST_SHUFFLED or gradient.size == length:
            continue
        order = _order(prober, evidence, axis)
        if sorted(order) == list(range(length)) and evidence.explains(
            evidence.along(np.take(gradient, order, axis))
        ):
            return Cause(
                name="permuted",
                detail=f"the slices along axis {axis} of the analytic gradient are in another order: {order} belong at 0, 1, ...",
            )
    return None


def _order(prober: Prober, evidence: Evidence, axis: int) -> list[int]:
    """For each place along the axis the claimed slice that fits what is measured there best."""
    direction, total = evidence.clearest
    gradient = np.moveaxis(prober.objective.gradient(evidence.tensor), axis, 0)
    moves = np.moveaxis(direction.move(evidence.tensor), axis, 0)
    shape = prober.objective.shapes[evidence.tensor]
    order = []
    for k in range(len(gradient)):
        whole = Box.whole(shape)
        starts, stops = list(whole.starts), list(whole.stops)
        starts[axis], stops[axis] = k, k + 1
        mask = replace(whole, starts=tuple(starts), stops=tuple(stops)).mask
        measured = measure(prober, direction.within(evidence.tensor, mask), total, share=1e-4).numerical
        slopes = [float(np.vdot(claimed, moves[k])) for claimed in gradient]
        order.append(int(np.argmin(np.abs(np.array(slopes) - measured))))
    return order


def _few_elements(prober: Prober, evidence: Evidence) -> Cause | None:
    """Correct the wrong elements one after another; few of them explain everything, or it is not sparse."""
    tensor = evidence.tensor
    shape = prober.objective.shapes[tensor]
    count = int(np.prod(shape))
    if count <= 2 * MOST_SPARSE:
        return None
    corrected = np.array(prober.objective.gradient(tensor))
    direction, total = evidence.clearest
    wrong: list[int] = []
    for _ in range(MOST_SPARSE):
        patched = _patched(prober, tensor, corrected)
        element = heaviest_element(patched, tensor, direction, total, most=MOST_SPARSE)
        if element is None or element in wrong:
            return None
        wrong.append(element)
        reading = element_reading(patched, tensor, element, start=total.step)
        corrected.flat[element] += reading.error / prober.scales[tensor]
        if evidence.explains(evidence.along(corrected)):
            places = [str(list(_index(k, shape))) for k in sorted(wrong)]
            name = prober.objective.names[tensor]
            return Cause(
                name="sparse",
                detail=f"only {len(wrong)} of {count} elements are wrong: {', '.join(name + p for p in places)}",
                where=f"{name}{places[0]}" if len(places) == 1 else "",
                elements=tuple(wrong),
            )
        moved = float(direction.move(tensor).flat[element]) * reading.error / prober.scales[tensor]
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
            sample, taken=sample.taken + step * float(np.vdot(self._change, direction.move(self._tensor)))
        )


def _patched(prober: Prober, tensor: int, gradient: Array) -> Prober:
    """The same prober for a corrected gradient, with what it knows of noise and scales."""
    return prober.at_other(cast(Objective, _Patched(prober.objective, tensor, gradient)))


def _on_one_side(prober: Prober, evidence: Evidence) -> Cause | None:
    """The error lies on one side of a simple condition on the tensor or its gradient, and the other side is free of it."""
    tensor = evidence.tensor
    direction, total = evidence.clearest
    name = prober.objective.names[tensor]
    for condition, mask in _conditions(prober, tensor):
        if min(mask.sum(), (~mask).sum()) < FEWEST_ON_A_SIDE:
            continue
        if _free(prober, direction.within(tensor, ~mask), total):
            return Cause(
                name="mask",
                detail=f"wrong only where {condition.format(name=name)}: {int(mask.sum())} of {mask.size} elements",
            )
    return None


def _conditions(prober: Prober, tensor: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    point, gradient = prober.objective.point(tensor), prober.objective.gradient(tensor)
    yield "{name} < 0", point < 0
    yield "{name} > 0", point > 0
    yield "{name} is zero", point == 0
    yield "the analytic gradient is zero", gradient == 0
    yield "|{name}| > 1", np.abs(point) > 1
    yield "|{name}| < 1", np.abs(point) < 1


def _free(prober: Prober, direction: Direction, total: Reading) -> bool:
    reading = measure(prober, direction, total, share=1e-4)
    return abs(reading.error) <= max(FLAG * reading.bar, FAINT * abs(total.error)) < 0.1 * abs(total.error)
