"""Whether a gradient that is right at the given point is still right a little way off, and when it is asked for again.

A backward pass that uses what an earlier call left behind is right wherever it is first called. So after a pass it is called
once more at another point, and tried along one direction there; only what that flags is checked in full.
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
"""A multiple of F whose gradient is that multiple too, unless it was computed before; negative, since signs and normed gradients know no size."""
NEARER = 10.0
"""How much nearer the error is looked at again: that of a stale gradient shrinks with the distance."""
HALF_FORMATS = (("float16", 11), ("bfloat16", 8))
COARSEST = 2.0**-6
"""The largest error, relative to the gradient, that rounding to bfloat16 explains."""
VANISHED = 0.01
"""Part of an error that may be left where it has vanished."""
MOST_HELD, FEWEST_AT_RANDOM = 6, 4
"""Tensors that are moved by themselves, and the fewest of their elements that must have a value of their own."""


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
    """Of tensors with a wrong gradient, those whose gradient is a stored array: it depends neither on the point nor on what comes from above."""
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
    """Of some tensors, those whose gradient stays the same when F is multiplied."""
    louder = _moved(estimator, None, 0.0, upstream=MULTIPLE) if tensors else None
    if louder is None:
        return []
    rounding = 8 * estimator.objective.roundoff
    pairs = {i: (estimator.objective.gradient(i), MULTIPLE * louder.gradient(i)) for i in tensors}
    return [i for i, (g, same) in pairs.items() if np.any(g) and np.allclose(g, same, rtol=rounding, atol=0)]


def rounded_inputs(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """Whether the gradient is right where every tensor holds numbers of few bits: then it rounds them to so many.

    The error of another kind is there as well, since the point is hardly another.
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
    """From the point to the nearest that holds numbers of so many bits."""

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
    """Why it is wrong there: every call adds to the last, or it is the gradient of an earlier point."""
    again = _moved(estimator, None, 0.0)
    if again is not None and not _same_claim(estimator.objective, again):
        return Cause(
            name="accumulate",
            detail="asked for again at the same point, it gives another gradient: what it writes into is not cleared before each call",
        )
    new_direction, away = _moved(estimator, direction, AWAY, afresh=True), _moved(estimator, direction, AWAY)
    if new_direction and away and _same_claim(new_direction, away):
        return _saved_tensor(estimator, direction, wrong)  # nothing was kept where that could be taken back
    near = _moved(estimator, direction, AWAY / NEARER)
    if near is None or estimator.good_step is None:
        return None
    shrunk = abs(first.error) / max(abs(_reading(estimator, near, estimator.good_step).error), 1e-300)
    if shrunk < NEARER / 4:
        return None  # it jumps up somewhere in between, as where another branch is wrong
    return Cause(
        name="stale",
        detail="right where it is first asked for, and the further from there the more wrong: it uses what that first call saved",
    )


def _saved_tensor(estimator: ErrorEstimator, direction: Direction, wrong: Sequence[int]) -> Cause | None:
    """Whether the wrong gradient knows a tensor as it was at first: it is right there, and stays what it was when that tensor moves.

    Values that are zero or alike might be right by chance, as where a forgotten term is zero too: only others move.
    """
    for j in direction.tensors[:MOST_HELD]:
        at_random = _distinct_values(estimator.objective.point(j))
        if at_random.sum() < FEWEST_AT_RANDOM:
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
    """The elements whose value no other has, and that are not zero."""
    _, place, count = np.unique(np.abs(point), return_inverse=True, return_counts=True)
    return (count[place.reshape(point.shape)] == 1) & (point != 0)
