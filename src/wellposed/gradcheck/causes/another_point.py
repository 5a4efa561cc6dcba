"""Whether a gradient that is right at the given point is right at another point too, and in a second call.

A backward pass that uses what an earlier call left behind is right in its first call, wherever that is. So after a pass it is called
once more at another point and checked along one direction; only if that is flagged, the check there is made in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import WellposedError
from ..directional_error import ErrorEstimator
from ..directions import Array, Direction
from ..error_estimate import FLAG, ErrorEstimate
from ..objective import Objective
from ..tensor_verdicts import TensorOutcome, examine_all
from .evidence import LEFT_OVER, Cause, Evidence, measure, rms
from .whole_tensor import AWAY, CONFIRMED

MULTIPLE = -3
"""The gradient of this multiple of F is the same multiple, unless it was computed earlier; negative, since normalised gradients do not depend on size."""
NEARER = 10.0
"""How many times nearer the error is estimated again: that of a stale gradient is proportional to the distance."""
HALF_FORMATS = (("float16", 11), ("bfloat16", 8))
COARSEST = 2.0**-6
"""The largest error, relative to the gradient, that rounding to bfloat16 explains."""
VANISHED = 0.01
"""Part of an error below which it has vanished."""
MOST_MOVED_ALONE, FEWEST_DISTINCT = 6, 4
"""Tensors that are moved alone, and the fewest of their elements whose absolute value must be unique."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OtherPoint:
    """A point where the gradient is wrong, although it is right at the given one."""

    estimator: ErrorEstimator
    outcomes: Mapping[int, TensorOutcome]
    cause: Cause | None


def wrong_at_another_point(estimator: ErrorEstimator, *, resolution: float) -> OtherPoint | None:
    """None where the gradient is right there too, or where that cannot be told."""
    step, direction = estimator.good_step, estimator.new_direction(estimator.all_tensors)
    if step is None:
        return None
    away = _moved(estimator, direction, AWAY)
    if away is None:
        return None
    first = _reading(estimator, away, step)
    if not first.flagged:
        return None
    beside = ErrorEstimator(away, seed=estimator.seed)
    outcomes = examine_all(beside, resolution=resolution, stop_at_kink=True)
    wrong = [i for i, o in outcomes.items() if o.verdict == "fail"]
    if not wrong:
        return None
    return OtherPoint(estimator=beside, outcomes=outcomes, cause=_cause(estimator, direction, first, wrong))


def stored(estimator: ErrorEstimator, tensors: Sequence[int]) -> dict[int, Cause]:
    """Of tensors with a wrong gradient, those whose gradient is a stored array: it depends neither on the point nor on the upstream gradient."""
    away = _moved(estimator, estimator.new_direction(estimator.all_tensors), AWAY)
    if away is None:
        return {}
    stuck = [i for i in tensors if np.array_equal(estimator.objective.gradient(i), away.gradient(i))]
    return {
        i: Cause(
            name="stale",
            detail="it is the same at every point and for every upstream gradient: it was computed earlier",
        )
        for i in ignoring_upstream(estimator, stuck)
    }


def ignoring_upstream(estimator: ErrorEstimator, tensors: Sequence[int]) -> list[int]:
    """Of some tensors, those whose gradient stays the same when F is multiplied by a constant."""
    louder = _moved(estimator, None, 0.0, upstream=MULTIPLE) if tensors else None
    if louder is None:
        return []
    rounding = 8 * estimator.objective.roundoff
    pairs = {i: (estimator.objective.gradient(i), MULTIPLE * louder.gradient(i)) for i in tensors}
    return [i for i, (g, same) in pairs.items() if np.any(g) and np.allclose(g, same, rtol=rounding, atol=0)]


def rounded_inputs(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """The gradient is right where every tensor holds numbers of few bits: then it was computed from tensors rounded to so many.

    An error of another kind would remain, since the point hardly moves.
    """
    if evidence.error_norm > COARSEST * estimator.norms[evidence.tensor]:
        return None
    error = rms(evidence.errors)
    for name, bits in HALF_FORMATS:
        at = _moved(estimator, _to_bits(estimator, bits), 1.0)
        if at is None:
            continue
        other = estimator.for_objective(at)
        new_direction = (other.new_direction((evidence.tensor,)) for _ in range(CONFIRMED))
        seen = [measure(other, d, evidence.clearest[1], share=VANISHED) for d in new_direction]
        if all(abs(r.error) <= max(FLAG * r.bar, VANISHED * error) <= LEFT_OVER * error for r in seen):
            return Cause(
                name="low-precision",
                detail=f"right where all tensors hold {name} numbers, and not between them: it was computed from rounded ones",
            )
    return None


def _to_bits(estimator: ErrorEstimator, bits: int) -> Direction:
    """The direction from the point to the nearest one whose numbers have so many bits."""

    def made(i: int) -> Array:
        point = estimator.objective.point(i)
        mantissa, exponent = np.frexp(point)
        return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent) - point

    return Direction(kind="rounding", tensors=estimator.all_tensors, made=made)


def _moved(
    estimator: ErrorEstimator,
    direction: Direction | None,
    step: float,
    *,
    afresh: bool = False,
    upstream: int = 1,
) -> Objective | None:
    try:
        return estimator.objective.moved(direction, step, afresh=afresh, upstream=upstream)
    except WellposedError:  # F or its gradient is not finite there
        return None


def _same_claim(a: Objective, b: Objective) -> bool:
    return all(np.array_equal(a.gradient(i), b.gradient(i)) for i in range(len(a.shapes)))


def _reading(estimator: ErrorEstimator, at: Objective, step: float) -> ErrorEstimate:
    other = estimator.for_objective(at)
    return other.estimate_from_two_steps(other.new_direction(other.all_tensors), step)


def _cause(
    estimator: ErrorEstimator, direction: Direction, first: ErrorEstimate, wrong: Sequence[int]
) -> Cause | None:
    """Why it is wrong there: each call adds to the last one, or it is the gradient of an earlier point."""
    again = _moved(estimator, None, 0.0)
    if again is not None and not _same_claim(estimator.objective, again):
        return Cause(
            name="accumulate",
            detail="asked for again at the same point, it gives another gradient: what it writes into is not cleared before each call",
        )
    new_direction, away = _moved(estimator, direction, AWAY, afresh=True), _moved(estimator, direction, AWAY)
    if new_direction and away and _same_claim(new_direction, away):
        return _saved_tensor(estimator, direction, wrong)  # what was saved, if anything, cannot be taken back
    near = _moved(estimator, direction, AWAY / NEARER)
    if near is None or estimator.good_step is None:
        return None
    shrunk = abs(first.error) / max(abs(_reading(estimator, near, estimator.good_step).error), 1e-300)
    if shrunk < NEARER / 4:
        return None  # it appears somewhere in between, for example where another branch is wrong
    return Cause(
        name="stale",
        detail="right where it is first asked for, and the further from there the more wrong: it uses what that first call saved",
    )


def _saved_tensor(estimator: ErrorEstimator, direction: Direction, wrong: Sequence[int]) -> Cause | None:
    """The wrong gradient uses a saved copy of a tensor: it does not change when that tensor moves, and was right for its first value.

    Only elements with distinct values are moved: others, for example zeros, might be right by chance.
    """
    for j in direction.tensors[:MOST_MOVED_ALONE]:
        at_random = _distinct_values(estimator.objective.point(j))
        if at_random.sum() < FEWEST_DISTINCT:
            continue
        alone = _moved(estimator, direction.within(j, at_random), AWAY)
        if alone is None:
            continue
        same = [i for i in wrong if np.array_equal(estimator.objective.gradient(i), alone.gradient(i))]
        other, step = estimator.for_objective(alone), estimator.good_step or estimator.first_step
        if any(other.estimate_from_two_steps(other.new_direction((i,)), step).flagged for i in same):
            name = estimator.objective.names[j]
            return Cause(
                name="stale",
                detail=f"it stays the same when {name} moves, and was right for the first {name} it met: it uses what was saved then",
            )
    return None


def _distinct_values(point: Array) -> NDArray[np.bool_]:
    """The elements that are not zero and whose absolute value is unique."""
    _, place, count = np.unique(np.abs(point), return_inverse=True, return_counts=True)
    return (count[place.reshape(point.shape)] == 1) & (point != 0)
