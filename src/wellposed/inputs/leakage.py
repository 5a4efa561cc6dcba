"""Read off normalised data on which rows the statistics were taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..moments.column_moments import ColumnMoments
from ..moments.exact.sums import Floats
from .coincidence import chance_of_moments
from .leakage_by_batch import batches_by_themselves, samples_by_themselves
from .leakage_by_range import (
    QUARTILES_WITHIN,
    chance_of_scaling,
    exact_interval,
    exact_quartiles,
    rows_at_ends,
    was_put_there,
)
from .result import FittedOn, LeakFingerprint

_EXACT = 1e-3  # of a std: float32 statistics, and an epsilon in the denominator, stay within
_CLEARLY = 10.0  # the training rows must be this much further from 0 and 1 than the rows that were fitted on
_SURE = 1e-9  # a probability
_FLOOR = 1e-7  # what rounding to float32 leaves, relative to a std


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The rows of a split, or of both, in the columns that can tell."""

    values: Floats
    samples: int
    mean: Floats
    """Distance of the means from 0."""
    std: Floats
    """Distance of the stds from 1."""
    minimum: Floats
    maximum: Floats

    @property
    def distance(self) -> Floats:
        return np.maximum(self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class _Splits:
    train: _Rows
    validation: _Rows
    together: _Rows

    def fingerprint(self, among: NDArray[np.bool_] | None = None, **found: Any) -> LeakFingerprint:
        among = np.ones(len(self.train.mean), dtype=bool) if among is None else among
        t, v, u = (float(r.distance[among].max()) for r in (self.train, self.validation, self.together))
        return LeakFingerprint(train=t, validation=v, together=u, telling=len(self.train.mean), **found)


def fingerprint_leak(
    train: NDArray[Any],
    validation: NDArray[Any],
    train_moments: ColumnMoments,
    validation_moments: ColumnMoments,
    *,
    samples: tuple[int, int] | None = None,
) -> LeakFingerprint | None:
    """Compare the statistics of training, validation and both; None when no column can tell.

    Parameters
    ----------
    train, validation
        As ``(entries, columns)``, the entries of a sample beside each other, in the order in which the
        samples are read.
    samples
        How many samples the entries belong to; by default each entry is one.
    """
    together = train_moments | validation_moments
    telling = ~train_moments.constant & ~validation_moments.constant
    telling &= together.missing + together.infinite == 0
    telling &= _many_valued(train, validation, together)
    if not telling.any() or min(len(train), len(validation)) < 2:
        return None
    t, v = (
        (x if telling.all() else x[:, telling]).astype(np.float64, copy=False) for x in (train, validation)
    )
    n, m = samples or (len(t), len(v))
    splits = _Splits(
        train=_rows(t, n, train_moments, telling),
        validation=_rows(v, m, validation_moments, telling),
        together=_rows(np.concatenate([t, v]), n + m, together, telling),
    )
    batch = _by_batch(splits)
    if batch is not None and (batch.chance or 0.0) <= _SURE:
        return batch  # then each split is exact as well, and that says less
    found = (_by_sample(splits), batch, *_standard(splits), _range(splits), *_robust(splits))
    return min(filter(None, found), key=lambda f: f.chance or 0.0, default=splits.fingerprint())


def _rows(values: Floats, samples: int, m: ColumnMoments, telling: NDArray[np.bool_]) -> _Rows:
    spreads = [np.abs(np.sqrt(v[telling]) - 1) for v in (m.variance, m.sample_variance)]
    return _Rows(
        values=values,
        samples=samples,
        mean=np.abs(m.mean[telling]),
        std=min(spreads, key=lambda s: float(np.median(s))),  # by whichever variance fits better
        minimum=m.minimum[telling],
        maximum=m.maximum[telling],
    )


def _many_valued(train: NDArray[Any], validation: NDArray[Any], m: ColumnMoments) -> NDArray[np.bool_]:
    """Columns of more than two values: a balanced column of two has mean 0 and std 1 by design."""
    return np.any([((x != m.minimum) & (x != m.maximum)).any(axis=0) for x in (train, validation)], axis=0)


def _by_sample(s: _Splits) -> LeakFingerprint | None:
    if not all(samples_by_themselves(r.values, r.samples) for r in (s.train, s.validation)):
        return None
    return s.fingerprint(fitted_on=FittedOn.EACH_SAMPLE, columns=len(s.train.mean))


def _by_batch(s: _Splits) -> LeakFingerprint | None:
    for rows in (s.train, s.validation):
        found = batches_by_themselves(rows.values, rows.samples)
        if found is not None:
            return s.fingerprint(
                fitted_on=FittedOn.EACH_BATCH,
                columns=len(rows.mean),
                batch=found.rows,
                chance=found.chance,
            )
    return None


def _standard(s: _Splits) -> Iterator[LeakFingerprint]:
    """Mean 0 and std 1 on rows that are not the training rows alone, in half of the columns at least."""
    t, v, u = (r.distance for r in (s.train, s.validation, s.together))
    candidates: tuple[tuple[FittedOn, _Rows, NDArray[np.bool_]], ...] = (
        (FittedOn.EACH_SPLIT, s.validation, (t <= _EXACT) & (v <= _EXACT)),
        (FittedOn.BOTH_SPLITS, s.together, (u <= _EXACT) & (t >= _CLEARLY * np.maximum(u, _FLOOR))),
        (FittedOn.VALIDATION, s.validation, (v <= _EXACT) & (t >= _CLEARLY * np.maximum(v, _FLOOR))),
    )
    for name, rows, exact in candidates:
        if 2 * exact.sum() < len(exact):
            continue
        if name is FittedOn.EACH_SPLIT and not _differ(s, exact, float(np.maximum(t, v)[exact].max())):
            continue
        chance = chance_of_moments(
            rows.values[:, exact],
            samples=rows.samples,
            mean_within=float(rows.mean[exact].max()),
            std_within=float(rows.std[exact].max()),
            of_columns=len(exact),
        )
        yield s.fingerprint(exact, fitted_on=name, columns=int(exact.sum()), chance=chance)


def _differ(s: _Splits, columns: NDArray[np.bool_], within: float) -> bool:
    """Whether the splits differ at all: copies, mirrored images and the like share every moment.

    Two splits that were normalised by themselves share mean and std, and not their third moments.
    """
    cubes = [(r.values[:, columns] ** 3).mean(axis=0) for r in (s.train, s.validation)]
    return bool(np.median(np.abs(cubes[0] - cubes[1])) > _CLEARLY * max(within, _FLOOR))


def _range(s: _Splits) -> LeakFingerprint | None:
    """Every column fills the same interval on rows that are not the training rows alone."""
    of_train, of_validation, of_both = (
        exact_interval(r.minimum, r.maximum) for r in (s.train, s.validation, s.together)
    )
    count = len(s.train.mean)
    if of_validation is not None and was_put_there(s.validation.values, of_validation):
        # Clipped to the range of the training rows, they hold an extreme of both splits with this probability.
        share = s.validation.samples / s.together.samples
        name = FittedOn.VALIDATION if of_train is None else FittedOn.EACH_SPLIT
        return s.fingerprint(
            fitted_on=name, columns=count, method="minmax", interval=of_validation,
            chance=share ** rows_at_ends(s.validation.values, of_validation, s.validation.samples),
        )  # fmt: skip
    if of_both is not None and of_train is None and was_put_there(s.together.values, of_both):
        return s.fingerprint(fitted_on=FittedOn.BOTH_SPLITS, columns=count, method="minmax", interval=of_both)
    return None


def _robust(s: _Splits) -> Iterator[LeakFingerprint]:
    """Median 0 and interquartile range 1 on rows that are not the training rows alone; tables only."""
    if s.train.samples != len(s.train.values):
        return
    t = exact_quartiles(s.train.values)
    v, u = (exact_quartiles(r.values) for r in (s.validation, s.together))
    candidates: tuple[tuple[FittedOn, _Rows, NDArray[np.bool_]], ...] = (
        (FittedOn.EACH_SPLIT, s.validation, t & v),
        (FittedOn.BOTH_SPLITS, s.together, u & ~t),
        (FittedOn.VALIDATION, s.validation, v & ~t),
    )
    for name, rows, exact in candidates:
        if 2 * exact.sum() < len(exact):
            continue
        if name is FittedOn.EACH_SPLIT and not _differ(s, exact, QUARTILES_WITHIN):
            continue
        chance = chance_of_scaling(rows.values[:, exact], of_columns=len(exact))
        yield s.fingerprint(exact, fitted_on=name, columns=int(exact.sum()), method="robust", chance=chance)
