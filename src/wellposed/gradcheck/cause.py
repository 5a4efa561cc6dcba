"""The name of the bug: which simple change of the claimed gradient makes it agree with the differences.

Every hypothesis is a corrected gradient, and it is held against the same few directional derivatives: no further evaluation. A
name is given only when the hypothesis explains the error within the error bars, and the bars are small against the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .directions import random_signs
from .localize import element_reading, wrong_element
from .objective import Array
from .probe import FLAG, Prober, Reading

DIRECTIONS = 6
NAMEABLE = 0.02
"""Largest bar, relative to the error, at which a bug may be named."""
MOST_SLICES = 600
MOST_SPARSE = 3
SAMPLED = 16


@dataclass(frozen=True, kw_only=True)
class Cause:
    name: str
    detail: str
    ratio: float | None = None
    """Numerical over analytic, where one number says it all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What the differences say of one tensor's gradient along a few random directions."""

    tensor: int
    directions: tuple[Array, ...]
    readings: tuple[Reading, ...]

    @property
    def numerical(self) -> Array:
        return np.array([r.numerical for r in self.readings])

    @property
    def errors(self) -> Array:
        return np.array([r.error for r in self.readings])

    @property
    def bars(self) -> Array:
        return np.array([r.bar for r in self.readings])

    @property
    def nameable(self) -> bool:
        return bool(_rms(self.bars) <= NAMEABLE * _rms(self.errors))

    def along(self, gradient: Array) -> Array:
        return np.array([float(np.vdot(gradient, u)) for u in self.directions])

    def explains(self, slopes: Array) -> bool:
        """Whether a gradient with these slopes agrees with the differences."""
        left = np.abs(self.numerical - slopes)
        return bool(
            np.all(left <= FLAG * self.bars + 1e-7 * np.abs(self.numerical))
            and _rms(left) <= 0.05 * _rms(self.errors)
        )

    def norms(self, scale: float) -> tuple[float, float]:
        """Estimates of the norm of the error and of the numerical gradient."""
        spread = scale * np.sqrt(
            13 / 12
        )  # rms of a jittered direction's element, uniform between 1/2 and 3/2
        return _rms(self.errors) / spread, _rms(self.numerical) / spread


def gather(prober: Prober, tensor: int) -> Evidence:
    directions = [
        random_signs([tensor], prober.points, prober.scales, prober.rng).jittered(prober.rng)
        for _ in range(DIRECTIONS)
    ]
    wanted = 1e-6 * max(prober.shares[tensor], 1e-3 * prober.reference)
    return Evidence(
        tensor=tensor,
        directions=tuple(d.moves[tensor] for d in directions),
        readings=tuple(prober.read(d, wanted=wanted) for d in directions),
    )


def name_cause(prober: Prober, evidence: Evidence, *, step: float) -> Cause | None:
    """The cause of one tensor's failure, or None rather than a wrong name."""
    if not evidence.nameable:
        return None
    gradient = prober.gradients[evidence.tensor]
    if not gradient.any():
        return Cause(
            name="zero", detail="the analytic gradient is zero everywhere: detached, or never written"
        )
    return (
        _scaled(prober, evidence)
        or _weight_decay(prober, evidence)
        or _low_precision(prober, evidence)
        or _rearranged(evidence, gradient)
        or _sparse(prober, evidence, step=step)
        or _mask(prober, evidence.tensor)
    )


def _scaled(prober: Prober, evidence: Evidence) -> Cause | None:
    slopes = evidence.along(prober.gradients[evidence.tensor])
    alpha = float(slopes @ evidence.numerical / (slopes @ slopes))
    if not evidence.explains(alpha * slopes):
        return None
    single = prober.points[evidence.tensor].size == 1
    cause = _factor(prober, alpha, of="the analytic gradient is", single=single)
    return replace(cause, ratio=alpha) if cause else None


def _factor(prober: Prober, alpha: float, *, of: str, single: bool = False) -> Cause | None:
    if abs(alpha + 1) < 1e-3:
        return Cause(name="sign-flipped", detail=f"{of} the negative of the numerical one")
    factor = 1 / alpha if alpha else np.inf
    m = round(factor) if np.isfinite(factor) else 0
    if m >= 3 and abs(factor - m) < 1e-4 * m and m in prober.objective.batch_sizes:
        return Cause(
            name="missing-mean",
            detail=f"{of} {m} times the numerical one, and an array in play has {m} rows: a forgotten 1/m",
        )
    if single or not np.isfinite(factor) or abs(factor) > 1e6:  # of a lone number, any error is a factor
        return None
    return Cause(name="scaled", detail=f"{of} {factor:.6g} times the numerical one")


def _weight_decay(prober: Prober, evidence: Evidence) -> Cause | None:
    """Regress the differences on the gradient and the parameters: a forgotten λθ, or a factor on all but the λθ."""
    point = prober.points[evidence.tensor]
    if point.size < 4 or not point.any():
        return None
    columns = np.stack([evidence.along(prober.gradients[evidence.tensor]), evidence.along(point)], axis=1)
    sizes = np.linalg.norm(columns, axis=0)
    if not sizes.all():
        return None
    solution, _, rank, _ = np.linalg.lstsq(columns / sizes, evidence.numerical, rcond=1e-6)
    if rank < 2 or not evidence.explains(columns / sizes @ solution):
        return None
    alpha, decay = (float(v) for v in solution / sizes)
    if abs(alpha - 1) < 1e-3:
        return Cause(
            name="missing-l2",
            detail=f"the numerical gradient holds {decay:.6g} times the parameter more: a forgotten L2 term, λ = {decay:.4g}",
        )
    cause = _factor(prober, alpha, of="apart from an L2 term, the analytic gradient is")
    return cause if cause and cause.name in ("sign-flipped", "missing-mean") else None


def _low_precision(prober: Prober, evidence: Evidence) -> Cause | None:
    """Every value fits in few bits, and the error is no larger than rounding to these bits makes it."""
    gradient = prober.gradients[evidence.tensor]
    values = gradient[gradient != 0]
    if values.size < 8:
        return None
    error, _ = evidence.norms(prober.scales[evidence.tensor])
    mantissa = np.frexp(values)[0]
    for name, bits in (("bfloat16", 8), ("float16", 11)):
        scaled = mantissa * 2.0**bits
        if np.array_equal(scaled, np.round(scaled)) and error <= 2.0**-bits * np.linalg.norm(gradient):
            return Cause(
                name="low-precision",
                detail=f"every value of the analytic gradient is a {name} number: it was rounded on its way",
            )
    return None


def _rearranged(evidence: Evidence, gradient: Array) -> Cause | None:
    if gradient.size < 4:
        return None
    for name, detail, candidate in _rearrangements(gradient):
        if evidence.explains(evidence.along(candidate)):
            return Cause(name=name, detail=detail)
    return _swapped(evidence, gradient)


def _rearrangements(gradient: Array) -> Iterator[tuple[str, str, Array]]:
    if gradient.ndim >= 2:
        *lead, rows, columns = gradient.shape
        yield (
            "transposed",
            "the analytic gradient is the transpose of the numerical one",
            np.swapaxes(gradient.reshape(*lead, columns, rows), -1, -2),
        )
    for axis, length in enumerate(gradient.shape):
        for shift in sorted({k for k in (1, -1, 2, -2) if length > abs(k)}, key=abs):
            yield (
                "permuted",
                f"the analytic gradient is rolled by {-shift} along axis {axis}",
                np.roll(gradient, shift, axis),
            )
        if length > 1:
            yield "permuted", f"the analytic gradient is reversed along axis {axis}", np.flip(gradient, axis)


def _swapped(evidence: Evidence, gradient: Array) -> Cause | None:
    """Two slices in each other's place: all pairs at once, from the inner products of the slices with the directions."""
    for axis, length in enumerate(gradient.shape):
        if not 2 <= length <= MOST_SLICES:
            continue
        slices = np.moveaxis(gradient, axis, 0).reshape(length, -1)
        fits = np.triu(np.ones((length, length), dtype=bool), 1)
        for direction, error, bar in zip(evidence.directions, evidence.errors, evidence.bars, strict=True):
            products = slices @ np.moveaxis(direction, axis, 0).reshape(length, -1).T
            own = np.diag(products)
            change = products + products.T - own[:, None] - own[None, :]
            fits &= np.abs(change - error) <= FLAG * bar + 1e-7 * abs(error)
        if fits.sum() == 1:
            a, b = (int(k) for k in np.argwhere(fits)[0])
            return Cause(
                name="permuted",
                detail=f"slices {a} and {b} along axis {axis} of the analytic gradient are swapped",
            )
    return None


def _sparse(prober: Prober, evidence: Evidence, *, step: float) -> Cause | None:
    """Correct the wrong elements one after another; few of them explain everything, or it is not sparse."""
    tensor = evidence.tensor
    shape = prober.points[tensor].shape
    if prober.points[tensor].size <= 2 * MOST_SPARSE:
        return None
    corrected = prober.gradients[tensor].copy()
    kept = prober.gradients
    wrong: list[int] = []
    try:
        for _ in range(MOST_SPARSE):
            found = wrong_element(prober, tensor, step=step)
            if found is None:
                return None
            wrong.append(found[0])
            corrected.flat[found[0]] += found[1].error / prober.scales[tensor]
            if evidence.explains(evidence.along(corrected)):
                where = ", ".join(str(_index(k, shape)) for k in sorted(set(wrong)))
                return Cause(
                    name="sparse",
                    detail=f"only {len(set(wrong))} of {corrected.size} elements are wrong: {where}",
                )
            prober.gradients = (*kept[:tensor], corrected.copy(), *kept[tensor + 1 :])
    finally:
        prober.gradients = kept
    return None


def _index(flat: int, shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(flat, tuple(shape)))


def _mask(prober: Prober, tensor: int) -> Cause | None:
    """Every sampled element is either right or zero on one side only, and both kinds occur."""
    gradient = prober.gradients[tensor].reshape(-1)
    if gradient.size < SAMPLED:
        return None
    elements = np.unique(prober.rng.choice(gradient.size, size=SAMPLED, replace=False))
    right = masked = 0
    for k in elements:
        reading = element_reading(prober, tensor, int(k))
        tolerance = FLAG * reading.bar
        if abs(reading.error) <= tolerance < 0.1 * abs(reading.slope):
            right += 1
        elif reading.flagged and (reading.slope == 0 or abs(reading.numerical) <= tolerance):
            masked += 1
        elif reading.flagged:
            return None
    if right < 2 or masked < 2:
        return None
    return Cause(
        name="mask",
        detail=f"of {right + masked} sampled elements {right} are right and {masked} are zero on one side only: a mask differs",
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
