"""Missing terms that reach each element through a sum over its slice: a mean, a norm, a variance, or the denominator of a softmax.

A backward pass that takes such a sum for a constant is off by a multiple of one simple array in each slice, with another multiple in
each: of ones for a mean, of the tensor itself for a norm, of both for a variance, of the function's own value for a denominator. A few
slices are measured alone, along more directions than there are multiples to fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..directional_error import ErrorEstimator
from ..directions import Array
from ..error_estimate import FLAG
from .evidence import EXACT, SHARPLY, Cause, Evidence, measure, rms

FEWEST = 4
"""Elements of a slice: of fewer, any error is soon a multiple of something."""
ALONG = 5
"""Directions along which a slice is measured; a hypothesis fits two multiples at most."""
SLICES = 3
ALIKE = 1e-3
"""Relative residual below which an array is a multiple of another one; an error that is one of the claimed gradient is a factor, not a term."""
ROUGHLY = 0.08
"""Largest bar, relative to the error, of one slice of several: a wrong hypothesis must fit them all."""
MOST_PLACES = 256
"""Slices in which the claimed gradient is compared."""
SlicePlace = tuple[slice | int, ...]
Term = tuple[str, tuple[Array, ...]]


def missing_through_sum(estimator: ErrorEstimator, evidence: Evidence) -> Cause | None:
    """The cause of an error that is a multiple of one simple array in each slice along an axis, or in the whole tensor."""
    shape = estimator.objective.shapes[evidence.tensor]
    for axes in _slicings(shape) if shape in [w.shape for w in estimator.objective.output_weights] else ():
        found = _fitting(estimator, evidence, axes)
        if found:
            where = "in the whole tensor" if len(axes) == len(shape) else f"in each slice along {_said(axes)}"
            return Cause(
                name="missing-term",
                detail=f"{where} the analytic gradient is off by a multiple of {found}: a sum over the slice is taken for a constant",
            )
    return None


def _slicings(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The axes that a slice spans: each alone, all but the second, as of the channels of images, and all."""
    n = len(shape)
    axes = dict.fromkeys(
        [*((k,) for k in reversed(range(n))), tuple(k for k in range(n) if k != 1), tuple(range(n))]
    )
    for spanned in axes:
        if int(np.prod([shape[k] for k in spanned])) >= FEWEST:
            yield spanned


def _said(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def _fitting(estimator: ErrorEstimator, evidence: Evidence, axes: tuple[int, ...]) -> str:
    """In words, the term that fits the error in every measured slice; empty where none does."""
    places = _places(estimator.objective.shapes[evidence.tensor], axes, seed=estimator.seed)
    local = _is_local(estimator, evidence.tensor, places)
    fitting: list[str] | None = None
    for place in places[:SLICES]:
        terms = dict(_terms(estimator, evidence.tensor, place, local=local))
        measured = _measured(estimator, evidence, place) if terms else None
        fitting = [s for s in fitting or terms if measured and s in terms and measured.fits(terms[s])]
        if not fitting:
            return ""
    return fitting[0] if fitting else ""


def _is_local(estimator: ErrorEstimator, tensor: int, places: Sequence[SlicePlace]) -> bool:
    """Whether the claimed gradient is, in each slice, a multiple of the upstream gradient, possibly times another input.

    Then it has no term through a sum at all. Otherwise the term may be present with a wrong factor, which is another bug.
    """
    objective = estimator.objective
    shape, gradient = objective.shapes[tensor], objective.gradient(tensor)
    scales = [np.ones(shape)]
    for i, other in enumerate(objective.shapes):
        if i != tensor and len(other) <= len(shape) and _broadcasts(other, shape):
            scales.append(np.broadcast_to(objective.point(i), shape))
    return any(
        weights.shape == shape and all(_is_multiple(gradient[p], (weights * scale)[p]) for p in places)
        for weights in objective.output_weights
        for scale in scales
    )


def _broadcasts(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    return all(n in (1, m) for n, m in zip(reversed(small), reversed(large), strict=False))


def _is_multiple(values: Array, of: Array) -> bool:
    size = float(np.vdot(of, of))
    left = values - (float(np.vdot(of, values)) / size * of if size else 0.0)
    return float(np.linalg.norm(left)) <= ALIKE * float(np.linalg.norm(values))


class _Measured:
    """Errors of one slice along several directions."""

    def __init__(self, moves: Array, errors: Array, bars: Array, claimed: Array) -> None:
        self.moves, self.errors, self.bars, self.claimed = moves, errors, bars, claimed

    def fits(self, arrays: Sequence[Array]) -> bool:
        """Whether the errors are those of a mixture of the arrays."""
        columns = np.stack([self.moves @ a for a in arrays], axis=1)
        sizes = np.linalg.norm(columns, axis=0)
        if not sizes.all():
            return False
        solution, _, rank, _ = np.linalg.lstsq(columns / sizes, self.errors, rcond=1e-6)
        left = np.abs(columns / sizes @ solution - self.errors)
        within = FLAG * self.bars + EXACT * np.abs(self.errors).max()
        return rank == len(arrays) and bool(np.all(left <= within))

    @property
    def is_multiple_of_claim(self) -> bool:
        along = self.moves @ self.claimed
        size = float(along @ along)
        left = self.errors - (float(along @ self.errors) / size * along if size else 0.0)
        return rms(left) <= ALIKE * rms(self.errors) + FLAG * rms(self.bars)


def _places(shape: tuple[int, ...], axes: tuple[int, ...], *, seed: int) -> list[SlicePlace]:
    """Slices that span the axes, in random order: all of them, or some where there are many."""
    others = [n for k, n in enumerate(shape) if k not in axes]
    rng, count = np.random.default_rng((seed, 7)), int(np.prod(others))
    some = np.arange(count) if count <= MOST_PLACES else np.unique(rng.integers(count, size=MOST_PLACES))
    places: list[SlicePlace] = []
    for flat in rng.permutation(some):
        indices = iter(np.unravel_index(int(flat), others) if others else ())
        places.append(tuple(slice(None) if k in axes else int(next(indices)) for k in range(len(shape))))
    return places


def _measured(estimator: ErrorEstimator, evidence: Evidence, place: SlicePlace) -> _Measured | None:
    """The errors of a slice; None where they are unclear, or a multiple of the claimed gradient."""
    tensor = evidence.tensor
    mask = np.zeros(estimator.objective.shapes[tensor], dtype=bool)
    mask[place] = True
    whole = mask.all()
    directions = evidence.directions[:ALONG]
    total = evidence.clearest[1]
    estimates = (
        evidence.estimates[:ALONG]
        if whole
        else tuple(measure(estimator, d.within(tensor, mask), total, share=1e-4) for d in directions)
    )
    measured = _Measured(
        moves=np.stack([d.move(tensor)[place].reshape(-1) for d in directions]),
        errors=np.array([r.error for r in estimates]),
        bars=np.array([r.bar for r in estimates]),
        claimed=estimator.objective.gradient(tensor)[place].reshape(-1),
    )
    clear = rms(measured.bars) <= (SHARPLY if whole else ROUGHLY) * rms(measured.errors)
    return measured if clear and not measured.is_multiple_of_claim else None


def _terms(estimator: ErrorEstimator, tensor: int, place: SlicePlace, *, local: bool) -> Iterator[Term]:
    """Terms of a slice, in words and as arrays; those of a mean or norm only if the claimed gradient is local."""
    objective = estimator.objective
    if local:
        name, point = objective.names[tensor], objective.point(tensor)[place].reshape(-1)
        ones = np.ones(point.size)
        yield "ones, as through a mean", (ones,)
        yield f"{name}, as through a norm", (point,)
        yield f"ones and {name}, as through a mean and a variance", (ones, point)
    for weights in objective.output_weights:
        if weights.shape == objective.shapes[tensor] and (weights[place] != 0).all():
            own = objective.gradient(tensor)[place].reshape(-1) / weights[place].reshape(-1)
            yield (
                "the claimed gradient without what comes from above, as through the sum of a softmax",
                (own,),
            )
