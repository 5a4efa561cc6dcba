"""Read off normalised data on which rows the statistics were taken.

`fingerprint_leak` compares what normalising leaves on each set of rows: mean 0 and std 1 (of a split, a batch or a
sample), extremes on 0 and 1 (min-max), or median 0 and interquartile range 1 (robust scaling). What random rows show as
often is no leak, so each kind of trace comes with an upper bound on the probability that data which nobody normalised
look so. All bounds are for data whose population has just the statistics in question, which makes coincidence as easy
as it can be. A sample of an image or a sequence counts once: its entries depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..moments.column_moments import ColumnMoments
from ..moments.exact.sums import Floats
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
    fingerprints = (_by_sample(splits), batch, *_standard(splits), _range(splits), *_robust(splits))
    return min(filter(None, fingerprints), key=lambda f: f.chance or 0.0, default=splits.fingerprint())


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
        batches = batches_by_themselves(rows.values, rows.samples)
        if batches is not None:
            return s.fingerprint(
                fitted_on=FittedOn.EACH_BATCH,
                columns=len(rows.mean),
                batch=batches.rows,
                chance=batches.chance,
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


# Inputs normalised a batch at a time, or a sample at a time.

_MAX_COLUMNS = 32
_MAX_SAMPLES = 1 << 17
_MIN_BATCH = 4
_CANDIDATES = 8
_NEAR = 1e-3  # of its own std: how near to 0 the sum of a batch must be
_SUM_ROUNDING = 1e-6  # no sum is held to be nearer
_STD = 1e-3
_SAME_SHAPE = 1e-4

_MIN_SAMPLES = 8
_MOST_SAMPLES = 256  # enough to know
_MIN_ENTRIES = 16
_SAMPLE_MEAN = 1e-4
_SAMPLE_STD = 1e-2


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Batches that have mean 0 and std 1 each."""

    rows: int
    """Samples a batch."""
    chance: float
    """Upper bound on the probability that random rows look so."""


def batches_by_themselves(x: Floats, samples: int) -> Batches | None:
    """Batches one after another whose own mean is 0 and std 1 in every column.

    Parameters
    ----------
    x
        As ``(entries, columns)``, in the order in which the samples are read.

    Notes
    -----
    The running sum comes back to 0 at the end of every batch. Data that repeat (hours of a day) do so too,
    and are told by their third moments: batches that were normalised differ in those.
    """
    x = x[:, :: -(-x.shape[1] // _MAX_COLUMNS)]
    entries = len(x) // samples
    samples = min(samples, _MAX_SAMPLES)
    x = x[: samples * entries]
    first = sample_means(x, samples)
    count = np.arange(1, samples + 1)[:, None]
    scale = np.maximum(np.sqrt((first * first).mean(axis=0) * count), np.finfo(np.float64).tiny)
    away = (np.abs(np.cumsum(first, axis=0)) / scale).max(axis=1)
    closed = away <= _NEAR
    sizes = [int(k) + 1 for k in np.flatnonzero(closed[: samples // 2]) if k + 1 >= _MIN_BATCH]
    if not sizes:
        return None
    second, third = sample_means(x * x, samples), sample_means(x**3, samples)
    for size in sizes[:_CANDIDATES]:
        whole = samples // size
        ends = slice(size - 1, whole * size, size)
        if not closed[ends].all():
            continue
        squares, cubes = (v[: whole * size].reshape(whole, size, -1).mean(axis=1) for v in (second, third))
        if _unit_std(squares, size * entries) and np.median(np.abs(np.diff(cubes, axis=0))) > _SAME_SHAPE:
            log = math.log(max(float(away[ends].max()), _SUM_ROUNDING)) * whole * effective_columns(x)
            return Batches(rows=size, chance=min(1.0, _CANDIDATES * math.exp(max(log, -700.0))))
    return None


def samples_by_themselves(x: Floats, samples: int) -> bool:
    """Whether each sample has mean 0 and std 1 over its own entries, by column or over all of them."""
    entries = len(x) // samples
    if samples < _MIN_SAMPLES or entries * x.shape[1] < _MIN_ENTRIES:
        return False
    samples = min(samples, _MOST_SAMPLES)
    x = x[: samples * entries]
    first, second = sample_means(x, samples), sample_means(x * x, samples)
    by_column = entries >= _MIN_ENTRIES and _is_standard(first, second)
    return by_column or _is_standard(first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True))


def _is_standard(first: Floats, second: Floats) -> bool:
    """Of nearly all samples: a blank one keeps std 0."""
    within = (np.abs(first) <= _SAMPLE_MEAN) & (np.abs(np.sqrt(second) - 1) <= _SAMPLE_STD)
    blank = second <= _SAMPLE_MEAN
    return bool((within | blank).all(axis=1).mean() >= 0.95 and within.mean() >= 0.5)


def _unit_std(squares: Floats, entries: int) -> bool:
    """By whichever of the two variances fits better."""
    stds = np.sqrt(squares), np.sqrt(squares * entries / (entries - 1))
    return bool(min(np.abs(s - 1).max() for s in stds) <= _STD)


# Inputs scaled by their extremes (min-max) or by their quartiles (robust scaling).

INTERVALS = ((0.0, 1.0), (-1.0, 1.0))
_WITHIN = 1e-6  # of the width: what rounding to float32 leaves
QUARTILES_WITHIN = 1e-5
_MIN_COLUMNS = 3
_MIN_ENDS = 5  # distinct rows that hold an extreme: columns that are functions of each other share theirs


def exact_interval(minimum: Floats, maximum: Floats) -> tuple[float, float] | None:
    """The interval that every column fills to its ends."""
    for low, high in INTERVALS:
        near = _WITHIN * (high - low)
        if (np.abs(minimum - low) <= near).all() and (np.abs(maximum - high) <= near).all():
            return low, high
    return None


def was_put_there(x: Floats, interval: tuple[float, float]) -> bool:
    """Whether somebody scaled the columns to reach the ends, rather than nature.

    Bounded data reach their bounds in ties (pixels), on one grid for all columns (percentages, ranks), or in
    the same row (powers of one variable). Columns that were scaled each by its own extremes reach each end
    once, in rows of their own, and have grids of their own.
    """
    low, high = interval
    once = _reached_once(x, interval) & ~_decimal(x)
    if once.sum() < max(_MIN_COLUMNS, x.shape[1] / 2):
        return False
    if len({_levels(column, high - low) for column in x[:, once].T}) < max(_MIN_COLUMNS, once.sum() / 2):
        return False
    return rows_at_ends(x[:, once], interval, len(x)) >= _MIN_ENDS


def rows_at_ends(x: Floats, interval: tuple[float, float], samples: int) -> int:
    """How many different samples hold the only extreme of a column."""
    x = x[:, _reached_once(x, interval)]
    ends = np.concatenate([x.argmin(axis=0), x.argmax(axis=0)]) if x.size else np.zeros(0, dtype=int)
    return len(np.unique(ends // (len(x) // samples)))


def _reached_once(x: Floats, interval: tuple[float, float]) -> NDArray[np.bool_]:
    near = _WITHIN * (interval[1] - interval[0])
    at_low, at_high = (np.count_nonzero(np.abs(x - end) <= near, axis=0) for end in interval)
    return np.equal(at_low, 1) & np.equal(at_high, 1)


def exact_quartiles(x: Floats) -> NDArray[np.bool_]:
    """Columns of median 0 and interquartile range 1."""
    balanced = ((x < -QUARTILES_WITHIN).sum(axis=0) <= len(x) / 2) & (
        (x > QUARTILES_WITHIN).sum(axis=0) <= len(x) / 2
    )
    if balanced.any():  # only then is it worth sorting
        low, middle, high = np.quantile(x[:, balanced], (0.25, 0.5, 0.75), axis=0)
        balanced[balanced] = (np.abs(middle) <= QUARTILES_WITHIN) & (
            np.abs(high - low - 1) <= QUARTILES_WITHIN
        )
    return balanced


def chance_of_scaling(x: Floats, *, of_columns: int) -> float:
    """That the quartiles of these columns are exact by chance."""
    return chance_of_quartiles(x, within=QUARTILES_WITHIN, of_columns=of_columns)


def _decimal(x: Floats) -> NDArray[np.bool_]:
    """Columns of values with at most three decimals: grades, shares, percentages."""
    return np.asarray((np.abs(x * 1000 - np.round(x * 1000)) <= 1e-3).all(axis=0))


def _levels(column: Floats, width: float) -> tuple[int, float]:
    """Steps of the column's grid; of a continuous column, something of its own."""
    step = lattice(column)
    levels = (column - column.min()) / step if step else column
    on_grid = bool(step) and np.abs(levels - np.round(levels)).max() < 1e-2
    return (round(width / step), 0.0) if on_grid else (0, float(column.sum()))


# Bounds on the probability of a coincidence.

_STATISTICS_ROUNDING = (
    1e-9  # float64 statistics are no closer than this to anything, for the sake of the argument
)
_MAX_CORRELATED = 512
_MAX_SORTED = 1 << 16
_PEAK = 1 / math.sqrt(2 * math.pi)  # of the normal density, times its std


def chance_of_moments(
    x: Floats, *, samples: int, mean_within: float, std_within: float, of_columns: int
) -> float:
    """That means and stds of all columns are this near to 0 and 1, in as many of `of_columns` columns.

    Parameters
    ----------
    x
        As ``(entries, columns)``, the entries of a sample beside each other.
    """
    first, second = sample_means(x, samples), sample_means(x * x, samples)
    grid = [lattice(column) for column in x.T], [lattice(column**2) for column in x.T]
    # On a grid of step h the mean of n entries is a multiple of h/n, and hits 0 exactly.
    near_mean = np.maximum(max(mean_within, _STATISTICS_ROUNDING), np.array(grid[0]) / (2 * len(x)))
    near_std = np.maximum(max(std_within, _STATISTICS_ROUNDING), np.array(grid[1]) / (4 * len(x)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        errors = first.std(axis=0) / math.sqrt(samples), second.std(axis=0) / (2 * math.sqrt(samples))
        of_mean = np.fmin(1.0, 2 * _PEAK * near_mean / errors[0])
        of_std = np.fmin(1.0, 2 * _PEAK * near_std / errors[1])
        dependent = np.sqrt(1 - np.minimum(_correlation(first, second) ** 2, 1.0))
        each = np.fmin(
            of_mean, of_mean * of_std / dependent
        )  # fmin: a column that does not vary says nothing
    return shared(np.nan_to_num(each, nan=1.0), x, of_columns)


def chance_of_quartiles(x: Floats, *, within: float, of_columns: int) -> float:
    """That medians and interquartile ranges of all columns are this near to 0 and 1."""
    near = np.maximum(max(within, _STATISTICS_ROUNDING), np.array([lattice(column) / 2 for column in x.T]))
    ordered = np.sort(x, axis=0)
    with np.errstate(divide="ignore"):
        errors = [_quantile_error(ordered, q) for q in (0.25, 0.5, 0.75)]
        of_median = np.minimum(1.0, 2 * _PEAK * near / errors[1])
        of_range = np.minimum(1.0, 2 * _PEAK * near / np.maximum(errors[0], errors[2]))
    return shared(of_median * of_range, x, of_columns)


def shared(each: Floats, x: Floats, of_columns: int) -> float:
    """The chance of all columns from those of each, over the independent ones, and any choice of columns."""
    columns = x.shape[1]
    log = float(np.log(np.maximum(each, 1e-300)).mean()) * effective_columns(x)
    return min(1.0, math.comb(max(of_columns, columns), columns) * math.exp(max(log, -700.0)))


def effective_columns(x: Floats) -> float:
    """How many independent columns these are worth: ``d² / ‖correlation‖²``."""
    x = x[:, :: max(1, x.shape[1] // _MAX_CORRELATED)]
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.nan_to_num((x - x.mean(axis=0)) / x.std(axis=0))
    return float(x.shape[1] ** 2 / max(((z.T @ z / len(z)) ** 2).sum(), 1.0))


def sample_means(x: NDArray[Any], samples: int) -> Floats:
    """One row a sample."""
    return x if samples == len(x) else x.reshape(samples, -1, x.shape[1]).mean(axis=1)


def lattice(column: Floats) -> float:
    """The smallest step between different values; next to nothing where they are continuous."""
    ordered = np.sort(column[:: max(1, len(column) // _MAX_SORTED)])
    steps = np.diff(ordered)
    steps = steps[steps > 1e-6 * (ordered[-1] - ordered[0])]
    return float(steps.min()) if len(steps) else 0.0


def _correlation(a: Floats, b: Floats) -> Floats:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))


def _quantile_error(ordered: Floats, q: float) -> Floats:
    """Standard error of a sample quantile: half the distance of the order statistics one std away."""
    n = len(ordered)
    reach = math.sqrt(n * q * (1 - q))
    low, high = max(0, math.floor(n * q - reach)), min(n - 1, math.ceil(n * q + reach))
    return (ordered[high] - ordered[low]) / 2
