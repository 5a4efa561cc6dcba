"""Read off normalised data on which rows the statistics were taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .doubledouble import Floats
from .moments import Moments

Rows = Literal["both splits together", "the validation rows", "each split by itself"]

Method = Literal["standard", "minmax"]

_EXACT = 1e-3  # of a std: float32 statistics, and an epsilon in the denominator, stay within
_CLEARLY = 10.0  # the training rows must be this much further from 0 and 1 than the rows that were fitted on
_FLOOR = 1e-7  # what rounding to float32 leaves, relative to a std
_ROUNDING = 1e-9  # float64 statistics are no closer than this to anything, for the sake of the argument
_MAX_CORRELATED = 512
_MIN_RANGES = 3  # columns
_MIN_ENDS = 5  # distinct rows that hold an extreme: columns that are functions of each other share theirs


@dataclass(frozen=True, kw_only=True)
class LeakFingerprint:
    """How far each set of rows is from mean 0 and std 1, the worst column deciding."""

    train: float
    validation: float
    together: float
    columns: int
    """Columns that could tell: not constant, and of more than two values."""
    fitted_on: Rows | None
    """The rows whose statistics are exact while those of the training rows are not."""
    method: Method = "standard"
    chance: float | None = None
    """Upper bound on the probability that random rows of population mean 0 and std 1 look so; None for
    ``"minmax"``.
    """


def fingerprint_leak(
    train: NDArray[Any], validation: NDArray[Any], train_moments: Moments, validation_moments: Moments
) -> LeakFingerprint | None:
    """Compare the statistics of training, validation and both; None when no column can tell.

    Parameters
    ----------
    train, validation
        As ``(entries, columns)``.
    """
    together = train_moments | validation_moments
    telling = ~together.constant & (together.missing + together.infinite == 0)
    telling &= _many_valued(train, validation, together)
    if not telling.any() or min(len(train), len(validation)) < 2:
        return None
    if not (telling & ~train_moments.constant & ~validation_moments.constant).any():
        return None
    t, v, u = (_distance(m, telling & ~m.constant) for m in (train_moments, validation_moments, together))
    fitted_on, distance = _exact_rows(t, v, u)
    method: Method = "standard"
    chance = None
    if fitted_on is not None:
        rows = np.concatenate([train, validation]) if fitted_on == "both splits together" else validation
        rows = rows[:, telling & (np.ptp(rows, axis=0) > 0)]
        chance = _chance(distance, len(rows), _effective_columns(rows))
    elif (
        _exact_range(together, telling)
        and not _exact_range(train_moments, telling)
        and _ends_were_put_there(np.concatenate([train, validation])[:, telling])
    ):
        fitted_on, method = "both splits together", "minmax"
    return LeakFingerprint(
        train=t,
        validation=v,
        together=u,
        columns=int(telling.sum()),
        fitted_on=fitted_on,
        method=method,
        chance=chance,
    )


def _exact_rows(train: float, validation: float, together: float) -> tuple[Rows | None, float]:
    """The rows that were fitted on, when not the training rows alone, and their distance."""
    if train <= _EXACT and validation <= _EXACT:
        return "each split by itself", max(train, validation)
    candidates: tuple[tuple[Rows, float], ...] = (
        ("both splits together", together),
        ("the validation rows", validation),
    )
    for name, distance in candidates:
        if distance <= _EXACT and train >= _CLEARLY * max(distance, _FLOOR):
            return name, distance
    return None, float("nan")


def _many_valued(train: NDArray[Any], validation: NDArray[Any], m: Moments) -> NDArray[np.bool_]:
    """Columns of more than two values: a balanced column of two has mean 0 and std 1 by design."""
    return np.any([((x != m.minimum) & (x != m.maximum)).any(axis=0) for x in (train, validation)], axis=0)


def _distance(m: Moments, telling: NDArray[np.bool_]) -> float:
    """Of the worst column from mean 0 and std 1, by whichever of the two variances fits better."""
    mean = np.abs(m.mean[telling]).max()
    spreads = [np.abs(np.sqrt(v[telling]) - 1).max() for v in (m.variance, m.sample_variance)]
    return float(max(mean, min(spreads)))


def _effective_columns(x: Floats) -> float:
    """How many independent columns these are worth: ``d² / ‖correlation‖²``."""
    x = x[:, :: max(1, x.shape[1] // _MAX_CORRELATED)]
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    return float(x.shape[1] ** 2 / ((z.T @ z / len(z)) ** 2).sum())


def _chance(distance: float, rows: int, columns: float) -> float:
    """Probability that all means of `rows` draws are within `distance` of a population mean of 0, std 1.

    Only the means count; the spreads must agree besides, which makes this an upper bound.
    """
    one = min(1.0, max(distance, _ROUNDING) * math.sqrt(2 * rows / math.pi))
    return one**columns


def _exact_range(m: Moments, telling: NDArray[np.bool_]) -> bool:
    return bool((m.minimum[telling] == 0).all() and (m.maximum[telling] == 1).all())


def _ends_were_put_there(x: Floats) -> bool:
    """Whether somebody scaled the columns to reach 0 and 1, rather than nature.

    Bounded data reach them in ties (pixels), on an even grid, or in the same row (powers of one variable).
    Only columns that reach each end once, in rows of their own, show it.
    """
    once = ((x == 0).sum(axis=0) == 1) & ((x == 1).sum(axis=0) == 1) & ~_even_grid(x)
    if once.sum() < max(_MIN_RANGES, x.shape[1] / 2):
        return False
    ends = np.concatenate([x[:, once].argmin(axis=0), x[:, once].argmax(axis=0)])
    return len(np.unique(ends)) >= _MIN_ENDS


def _even_grid(x: Floats) -> NDArray[np.bool_]:
    steps = np.diff(np.sort(x, axis=0), axis=0)
    return steps.max(axis=0) - steps.min(axis=0) <= 1e-6
