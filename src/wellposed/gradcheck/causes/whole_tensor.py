"""Causes that concern the whole tensor: a factor, weight decay, rounding, a missing term, a rearrangement, outputs left out.

Each is a simple change of the claimed gradient that makes it agree with the numerical derivatives along a few directions; most need no
further evaluation. A cause is named only when it explains the error within the bars, and the bars are small against the error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from ...errors import WellposedError
from ..directional_error import ErrorEstimator
from ..directions import Array
from ..error_estimate import FLAG
from .evidence import EXACT, LEFT_OVER, NAMEABLE, Cause, Evidence, measure, rms, split_along, split_numerical
from .permuted import Rearranged, rearranged

AWAY, FURTHER, CONFIRMED = 0.1, 0.3, 2
"""Distances at which an explanation and a factor are confirmed, relative to each tensor's size, and along how many directions."""
FACTOR = 1e-3
"""A factor this near to a whole number, or to -1, counts as that."""
EXACT_ROWS, COARSE_ROWS = 1e-4, 5e-2
"""How near a factor must be to a number of rows: where it is known exactly, and at most where it is noisy."""
DIGITS, ROUND = 4, 2
"""Digits of a constant in source code; and of a λ that is fitted together with a factor, and so is known less well."""
MOST_UNDONE = 512
"""Rows of a square matrix that is inverted; larger ones take seconds."""
MOST_CONDITIONED = 1e5
"""Condition number above which a matrix is not inverted."""
MOST_ROWS = 24
"""Rows of a tensor that are measured one by one."""


def zero_gradient(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """The claimed gradient is zero everywhere."""
    if evidence.slopes.any():
        return None
    return Cause(name="zero", detail="the analytic gradient is zero everywhere: detached, or never written")


def _furthest(change: Array) -> tuple[int, ...]:
    """Where a corrected gradient differs most from the claimed one."""
    return (int(np.argmax(np.abs(change))),)


def factor_cause(
    estimator: ErrorEstimator, ratio: float, uncertainty: float, *, of: str = "the analytic gradient is"
) -> Cause | None:
    """The name of a factor; `ratio` is numerical over analytic, known to within a relative `uncertainty`."""
    if abs(ratio + 1) < max(FACTOR, min(uncertainty, 0.1)):
        return Cause(name="sign-flipped", detail=f"{of} the negative of the numerical one", ratio=ratio)
    factor = 1 / ratio if ratio else np.inf
    if not isfinite(factor) or abs(factor) > 1e6:
        return None
    many = _rows(estimator, factor, uncertainty)
    if many:
        return Cause(
            name="missing-mean",
            detail=f"{of} {many} times the numerical one, and an array in play has {many} rows: a forgotten 1/m",
            ratio=ratio,
        )
    few = _rows(estimator, ratio, uncertainty)
    if few:
        return Cause(
            name="scaled",
            detail=f"{of} 1/{few} of the numerical one, and an array in play has {few} rows: a mean where a sum belongs",
            ratio=ratio,
        )
    return Cause(
        name="scaled",
        detail=f"{of} {_rounded(factor, uncertainty)} times the numerical one",
        ratio=ratio,
        telling=False,
    )


def _rounded(value: float, uncertainty: float) -> str:
    """The shortest decimal number within the uncertainty, which is relative."""
    texts = [f"{value:.{digits}g}" for digits in range(2, 9)]
    close = (t for t in texts if abs(float(t) - value) <= (min(uncertainty, 1e-2) + EXACT) * abs(value))
    return next(close, texts[-1])


def _rows(estimator: ErrorEstimator, factor: float, uncertainty: float) -> int | None:
    """The number of rows of an array in use that equals the factor; a number of columns does not count."""
    if not isfinite(factor):
        return None
    within = min(max(uncertainty, EXACT_ROWS), COARSE_ROWS) * abs(factor)
    near = [m for m in estimator.objective.batch_sizes if m >= 3 and abs(factor - m) <= within]
    if len(near) != 1:
        return None
    (m,) = near
    columns = any(m in shape[1:] for shape in estimator.objective.shapes)
    return None if columns and m not in estimator.objective.data_sizes else m


def scaled(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    slopes = evidence.slopes
    if not np.any(slopes) or not np.any(evidence.numerical):
        return None
    ratio = float(slopes @ evidence.numerical / (slopes @ slopes))
    if not evidence.explains(ratio * slopes):
        return None
    found = factor_cause(estimator, ratio, 2 * rms(evidence.bars) / rms(evidence.numerical))
    if found is None:
        return None
    alone = int(np.prod(estimator.objective.shapes[evidence.tensor])) == 1
    if alone and not found.telling:  # of a lone number, any error is a factor
        return None
    return replace(found, elements=_furthest(estimator.objective.gradient(evidence.tensor)))


def weight_decay(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """Regression of the numerical derivatives on gradient and parameters: a forgotten λθ, or a factor on everything but λθ."""
    point = estimator.objective.point(evidence.tensor)
    if point.size < 4 or not point.any():
        return None
    columns = np.stack([evidence.slopes, evidence.along(point)], axis=1)
    sizes = np.linalg.norm(columns, axis=0)
    if not sizes.all():
        return None
    solution, _, rank, _ = np.linalg.lstsq(columns / sizes, evidence.numerical, rcond=1e-6)
    if rank < 2 or not evidence.explains(columns / sizes @ solution):
        return None
    ratio, decay = (float(v) for v in solution / sizes)
    if not _holds_away(estimator, evidence, ratio, decay):
        return None
    if abs(ratio - 1) < FACTOR:
        if decay < 0:  # one too much
            return None
        return Cause(
            name="missing-l2",
            detail=f"the numerical gradient holds {decay:.6g} times the parameter more: a forgotten L2 term, λ = {decay:.4g}",
            elements=_furthest(point),
        )
    # For a quadratic F other errors are multiples of the parameter too; λ, or λ times a number of rows, must be a short decimal number.
    coefficient = decay / (1 - ratio)  # of a gradient that holds λθ, and everything else by another factor
    within = FLAG * rms(evidence.bars) / rms(columns[:, 1])
    if not any(
        _is_written(coefficient * m, within * m, digits=ROUND) for m in (1, *estimator.objective.batch_sizes)
    ):
        return None
    found = factor_cause(estimator, ratio, EXACT, of="apart from an L2 term, the analytic gradient is")
    return replace(found, ratio=None) if found and found.name in ("sign-flipped", "missing-mean") else None


def _holds_away(estimator: ErrorEstimator, evidence: Evidence, ratio: float, decay: float) -> bool:
    """Whether the same factor and λ explain the error at another point too; True where no gradient is known there."""
    try:
        at = estimator.objective.moved(estimator.new_direction(estimator.all_tensors), FURTHER)
    except WellposedError:  # F or its gradient is not finite there
        at = None
    if at is None:
        return True
    other, tensor = estimator.for_objective(at), evidence.tensor
    for direction in (other.new_direction((tensor,)) for _ in range(CONFIRMED)):
        seen, move = measure(other, direction, evidence.clearest[1], share=LEFT_OVER), direction.move(tensor)
        # λθ with the parameter there, or with the one here if it was computed once and for all.
        terms = (
            float(np.vdot(point, move)) for point in (at.point(tensor), estimator.objective.point(tensor))
        )
        left = min(abs(seen.numerical - ratio * seen.slope - decay * term) for term in terms)
        if left > FLAG * seen.bar + LEFT_OVER * abs(seen.error):
            return False
    return True


def low_precision(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """Every value of the claimed gradient has few bits, and the error is no larger than rounding to these explains."""
    gradient = estimator.objective.gradient(evidence.tensor)
    values = gradient[gradient != 0]
    if values.size < 8:
        return None
    mantissa = np.frexp(values)[0]
    for name, bits in (("bfloat16", 8), ("float16", 11), ("float32", 24)):
        multiples = mantissa * 2.0**bits
        small = evidence.error_norm <= 2.0**-bits * estimator.norms[evidence.tensor]
        if (
            estimator.objective.roundoff < 2.0 ** -(bits + 2)
            and small
            and np.array_equal(multiples, np.round(multiples))
        ):
            return Cause(
                name="low-precision",
                detail=f"every value of the analytic gradient is a {name} number: it was rounded on its way",
            )
    return None


def missing_term(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """The error is a multiple of one simple array of the same shape."""
    for what, term, written in _terms(estimator, evidence.tensor):
        if term.size < 4:
            continue
        slopes = evidence.along(term)
        if not np.any(slopes):
            continue
        weight = float(slopes @ evidence.errors / (slopes @ slopes))
        if written and not _is_written(weight, FLAG * rms(evidence.bars) / rms(slopes)):
            continue
        if evidence.explains(evidence.slopes + weight * slopes):
            return Cause(
                name="missing-term",
                detail=f"the numerical gradient holds {weight:.6g} times {what} more than the analytic one",
                elements=_furthest(term),
            )
    return None


def _is_written(value: float, uncertainty: float, *, digits: int = DIGITS) -> bool:
    """Whether it is a decimal number of few digits, as constants in source code are.

    It must be known a hundred times better than the spacing of such numbers.
    """
    fine = uncertainty < 10.0 ** -(digits + 2) * abs(value)
    return fine and abs(float(f"{value:.{digits}g}") - value) <= uncertainty + EXACT * abs(value)


def _terms(estimator: ErrorEstimator, tensor: int) -> Iterator[tuple[str, Array, bool]]:
    """Terms that may be missing, in words and as arrays; True for those whose factor must be a short decimal number."""
    objective = estimator.objective
    point, shape, name = objective.point(tensor), objective.shapes[tensor], objective.names[tensor]
    if (point > 0).any() and (point < 0).any():  # else it is a constant, and no sign of an L1 term
        yield f"sign({name}), as of an L1 term,", np.sign(point), False
    if not objective.output_weights:
        yield "a constant, as of a sum,", np.ones(shape), True
    for weights in objective.output_weights:
        if (term := _summed_to(weights, shape)) is not None:
            yield "what comes from above, as of a residual connection,", term, False
    for i, other in enumerate(objective.names):
        if i != tensor and objective.shapes[i] == shape:
            yield other, objective.point(i), False
            yield f"the gradient of {other}", objective.gradient(i), False


def _summed_to(weights: Array, shape: tuple[int, ...]) -> Array | None:
    """The upstream gradient of a tensor that is added to the outputs: summed over the axes along which it is broadcast."""
    if len(shape) > weights.ndim:
        return None
    leading = tuple(range(weights.ndim - len(shape)))
    inner = weights.shape[len(leading) :]
    if any(n not in (1, m) for n, m in zip(shape, inner, strict=True)):
        return None
    spread = tuple(len(leading) + k for k, n in enumerate(shape) if n == 1)
    return weights.sum(axis=(*leading, *spread)).reshape(shape)


def rearranged_gradient(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    gradient = estimator.objective.gradient(evidence.tensor)
    found = rearranged(evidence, gradient) or _transpose_of_a_factor(estimator, evidence)
    if found is None:
        return None
    return Cause(name=found.name, detail=found.detail, elements=_furthest(found.gradient - gradient))


def _transpose_of_a_factor(estimator: ErrorEstimator, evidence: Evidence) -> Rearranged | None:
    """A multiplication by a square matrix instead of its transpose: the candidate undoes the one and applies the other."""
    gradient = estimator.objective.gradient(evidence.tensor)
    if gradient.ndim < 1:
        return None
    for i, name in enumerate(estimator.objective.names):
        matrix = estimator.objective.point(i)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not 2 <= len(matrix) <= MOST_UNDONE:
            continue
        for candidate in _with_transposes(gradient, matrix):
            if candidate.shape == gradient.shape and evidence.explains(evidence.along(candidate)):
                detail = f"in the analytic gradient {name} stands where its transpose belongs, or the other way round"
                return Rearranged("transposed", detail, candidate)
    return None


def _with_transposes(gradient: Array, matrix: Array) -> Iterator[Array]:
    """The gradient with the matrix in place of its transpose: on the right, on the left, and on both sides for the matrix's own gradient."""
    if np.linalg.cond(matrix) > MOST_CONDITIONED:
        return
    for m in (matrix, matrix.T):
        right, left = np.linalg.solve(m, m.T), np.linalg.solve(m.T, m).T
        if gradient.shape[-1] == len(m):
            yield gradient @ right
        if gradient.ndim > 1 and gradient.shape[-2] == len(m):
            yield left @ gradient
        if gradient.shape[-2:] == m.shape:
            yield left.T @ gradient @ right.T


def outputs_left_out(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """Some samples or time steps are missing from the claimed gradient: one of them, the first or last few, or all but one."""
    splits = split_numerical(estimator, evidence)
    if not splits:
        return None
    found = _skipped_stretch(evidence, splits)
    if found is None or found.name == "mask":
        return _overwritten(estimator, evidence) or found
    return found


def _skipped_stretch(evidence: Evidence, splits: Sequence[tuple[Array, ...]]) -> Cause | None:
    # Both the claimed part and the missing one must be clear of the bars, or any small rest would fit.
    if FLAG * rms(evidence.bars) > NAMEABLE * min(rms(evidence.slopes), rms(evidence.errors)):
        return None
    for axis in range(len(splits[0])):
        parts = np.stack([s[axis] for s in splits])
        count = parts.shape[1]
        tolerance = (FLAG * evidence.bars + EXACT * np.abs(parts).max())[:, None]
        missing = parts.sum(axis=1, keepdims=True) - evidence.slopes[:, None]
        for missed, which in _stretches(parts):
            fits = np.flatnonzero(np.all(np.abs(missed - missing) <= tolerance, axis=0))
            if count > 2 and len(fits) == 1:
                return _outputs_cause(which(int(fits[0]), count), axis)
    return None


def _overwritten(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """`=` in place of `+=`, row by row: of what several outputs add to a row, for example for a repeated word, only one is left."""
    gradient = estimator.objective.gradient(evidence.tensor)
    if not gradient.ndim or len(gradient) < 2:
        return None
    direction, total = evidence.clearest
    rng = np.random.default_rng((estimator.seed, 5))
    lost: list[int] = []
    for row in np.sort(rng.permutation(len(gradient))[:MOST_ROWS]):
        mask = np.zeros(gradient.shape, dtype=bool)
        mask[row] = True
        split = split_along(estimator, direction.within(evidence.tensor, mask), total.step)
        if not split:
            return None
        claimed = float(np.vdot(gradient[row], direction.move(evidence.tensor)[row]))
        within = FLAG * total.bar + EXACT * max(np.abs(split[0]).max(), abs(claimed))
        if abs(split[0].sum() - claimed) <= within:
            continue
        alone = any(np.any(np.abs(parts - claimed) <= within) for parts in split)
        if not alone or within > NAMEABLE * abs(claimed):
            return None
        lost.append(int(row))
    if len(lost) < 2:
        return None
    return Cause(
        name="accumulate",
        detail=f"of all that the outputs add to a row the analytic gradient holds one alone, as in row {lost[0]}: overwritten where it should be summed",
    )


def _stretches(parts: Array) -> Iterator[tuple[Array, Callable[[int, int], tuple[str, bool]]]]:
    """The contribution of each range of outputs to the derivatives, and how to describe the range; True where all but one are missing."""
    first = np.cumsum(parts, axis=1)[:, :-1]
    total = parts.sum(axis=1, keepdims=True)
    yield parts, lambda k, n: (f"leaves out index {k} of {n}", False)
    yield total - parts, lambda k, n: (f"holds index {k} of {n} alone", True)
    yield first, lambda k, n: (f"leaves out the first {k + 1} of {n}", False)
    yield total - first, lambda k, n: (f"leaves out the last {n - k - 1} of {n}", False)


def _outputs_cause(said: tuple[str, bool], axis: int) -> Cause:
    which, alone = said
    detail = f"the analytic gradient {which} along axis {axis} of the outputs"
    if alone:
        return Cause(name="accumulate", detail=f"{detail}: overwritten where it should be summed")
    return Cause(name="mask", detail=detail)
