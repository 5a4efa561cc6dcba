"""Has the data drifted from what the normalizer was fitted on: beyond noise, and by an amount that matters.

Beyond noise
    Means, variances and missing shares are compared by Bernstein's inequality, and rows outside the training
    range by exchangeability. Both hold for any distribution; normal theory is used nowhere. The probability
    of a false alarm is shared among columns and comparisons (Bonferroni).
By an amount that matters
    A change carries information, in nats a row: ``d²/2`` for a mean that moved by d stds,
    ``(v - 1 - ln v)/2`` for a variance that became v times as large, and the divergence of two shares. A
    change counts from 0.02 nats on, which is a mean shift of 0.2 stds: Cohen's small effect (J. Cohen,
    Statistical Power Analysis, 1988).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arguments import number
from ..data.batches import batches
from ..data.column_names import listed, places_of
from ..data.open import open_source
from ..errors import DataError
from ..lazy import lazy
from ..moments.column_moments import ColumnMoments
from ..moments.exact.sums import Floats
from ..moments.reduction import kept_axes, moments_of_piece, reduce_batch
from ..moments.sparse import entries_of, filled_in, some_rows
from ..shown import Shown
from ._apply import check_shape

engines = lazy("wellposed.moments.engines")

if TYPE_CHECKING:
    from ..data.source import Source
    from .fitted import FittedTransform

Change = Literal["mean", "variance", "range", "missing"]

_CHANCE = 0.01
_NATS = 0.02
_CHANGES = 4


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """How one column of the new data differs from the training data. NaN where that cannot be told."""

    label: str
    count: int
    """Finite entries of the new data."""
    mean_shift: float
    """New mean minus training mean, in training stds."""
    mean_error: float
    """Standard error of `mean_shift`."""
    mean_noise: float
    """What `mean_shift` does not exceed by chance."""
    variance_ratio: float
    """New variance over training variance."""
    variance_error: float
    """Standard error of `variance_ratio`, by the kurtosis of the new data."""
    variance_noise: float
    """What ``variance_ratio - 1`` does not exceed by chance."""
    outside: float
    """Share of the new rows with an entry outside the training range."""
    missing: float
    """Share of the new entries that are missing (NaN)."""
    missing_before: float
    """Share of the training entries that were missing."""
    changes: tuple[Change, ...]
    """What drifted; empty for most columns, one hopes."""


@dataclass(frozen=True, kw_only=True)
class Drift(Shown):
    """New data against training data, column by column; made by `measure_drift`, or by ``n.drift(data)``."""

    rows: int
    """Samples of the new data."""
    train_rows: int
    chance: float
    """Probability, at most, that data of the same distribution are said to have drifted."""
    columns: tuple[ColumnDrift, ...]
    """Those that the normalizer normalises, in its order."""

    @property
    def ok(self) -> bool:
        """Whether no column drifted."""
        return not self.drifted

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that drifted, the worst first."""
        return tuple(sorted((c for c in self.columns if c.changes), key=_nats, reverse=True))


def measure_drift(n: FittedTransform, data: Any, *, chance: float = _CHANCE) -> Drift:
    """Compare new data with the data that a normalizer was fitted on.

    Parameters
    ----------
    n
        The fitted normalizer: its training statistics are what the data are compared with.
    data
        New raw data: whatever `Normalizer.fit` reads. Rows count as independent draws; the entries of an
        image or a sequence do not, so each sample counts once.
    chance
        Probability, at most, of a false alarm in any column.

    Raises
    ------
    DataError
        When the data have no rows, or other columns than the normalizer.

    Notes
    -----
    With fewer than about ten rows only values outside the training range can tell anything. From engines
    (Dask, Spark, Ray) come moments alone: rows outside the range are not counted, and the variance has to
    change more to be told from noise.

    Examples
    --------
    >>> import numpy as np
    >>> from wellposed import Normalizer
    >>> rng = np.random.default_rng(0)
    >>> n = Normalizer.fit(rng.normal(size=(1000, 2)))
    >>> found = measure_drift(n, rng.normal(size=(200, 2)) + [0, 1])
    >>> found.ok, [(c.label, c.changes) for c in found.drifted]
    (False, [('1', ('mean',))])
    """
    chance = number(chance, "chance", above=0, below=1, expected="a probability between 0 and 1")
    compared = compare_columns(n, data)
    share = chance / (_CHANGES * max(len(compared.columns), 1))
    return Drift(
        rows=compared.rows,
        train_rows=n.provenance.rows,
        chance=chance,
        columns=tuple(_column(n, compared, i, share) for i in range(len(compared.columns))),
    )


def _column(n: FittedTransform, t: ComparedColumns, i: int, chance: float) -> ColumnDrift:
    c = int(t.columns[i])
    train_entries, entries = (
        int(m.count.flat[j] + m.missing.flat[j] + m.infinite.flat[j]) for m, j in ((n, c), (t, i))
    )
    missing, before = t.missing[i] / max(entries, 1), n.missing.flat[c] / max(train_entries, 1)
    # A sample counts once, however many entries it has.
    samples, trained = min(entries, t.rows), min(train_entries, n.provenance.rows)
    moved = _moved(n, t, i, chance)
    changes: dict[Change, bool] = {
        "mean": abs(moved["mean_shift"]) > moved["mean_noise"] and _of_mean(moved["mean_shift"]) >= _NATS,
        "variance": _beyond(moved["variance_ratio"], moved["mean_shift"]) > moved["variance_noise"]
        and _of_variance(moved["variance_ratio"]) >= _NATS,
        "range": _left_the_range(t, i, min(int(n.count.flat[c]), n.provenance.rows), chance),
        "missing": _went_missing(missing, before, samples, trained, chance),
    }
    return ColumnDrift(
        label=n.label(c),
        count=int(t.count[i]),
        **moved,
        outside=_outside(t, i),
        missing=float(missing),
        missing_before=float(before),
        changes=tuple(name for name, changed in changes.items() if changed),
    )


def _moved(n: FittedTransform, t: ComparedColumns, i: int, chance: float) -> dict[str, float]:
    """Shift of the mean and ratio of the variances, with their errors and what chance allows."""
    c = int(t.columns[i])
    mean, std = float(n.mean.flat[c]), float(n.std.flat[c])
    new, trained = min(int(t.count[i]), t.rows), min(int(n.count.flat[c]), n.provenance.rows)
    if n.constant.flat[c] or not std > 0 or trained < 2 or new < 1:
        return dict.fromkeys(
            ("mean_shift", "mean_error", "mean_noise", "variance_ratio", "variance_error", "variance_noise"),
            math.nan,
        )
    spread = float(np.sqrt(t.variance[i])) / std
    statistics = _Compared(
        shift=(float(t.mean[i]) - mean) / std,
        ratio=spread * spread * _unbiased(new) / _unbiased(trained),
        low=(mean - float(n.minimum.flat[c])) / std,
        high=(float(n.maximum.flat[c]) - mean) / std,
        new_low=(mean - float(t.minimum[i])) / std,
        new_high=(float(t.maximum[i]) - mean) / std,
        trained=trained,
        new=new,
        squares=None if t.kurtosis is None else float(t.kurtosis[i]) - 1,
    )
    return {
        "mean_shift": statistics.shift,
        "mean_error": math.sqrt(statistics.ratio / new + 1 / trained),
        "mean_noise": _noise_of_mean(statistics, chance),
        "variance_ratio": statistics.ratio if new > 1 else math.nan,
        "variance_error": _error_of_variance(statistics),
        "variance_noise": _noise_of_variance(statistics, chance),
    }


def _unbiased(samples: int) -> float:
    return samples / (samples - 1) if samples > 1 else 1.0


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """One column, in training stds about the training mean."""

    shift: float
    ratio: float
    low: float
    """How far the training data reach below their mean, and so on."""
    high: float
    new_low: float
    new_high: float
    trained: int
    new: int
    squares: float | None
    """Variance of the squares of the new data; None where it was not measured."""

    @property
    def both(self) -> float:
        """Variance of a difference of means, in units of that of an entry."""
        return 1 / self.new + 1 / self.trained


def _noise_of_mean(c: _Compared, chance: float) -> float:
    """A mean comes out too high by new entries that are high, or training entries that are low."""
    reach = (
        (c.new_high / c.new, c.low / c.trained) if c.shift > 0 else (c.new_low / c.new, c.high / c.trained)
    )
    return _bernstein(max(1.0, c.ratio) * c.both, max(*reach, 0.0), chance)


def _noise_of_variance(c: _Compared, chance: float) -> float:
    """Squares are at least 0: only their upper tails reach far."""
    train_far = max(c.low, c.high)
    far = max(train_far, c.new_low, c.new_high)
    train_far, far = train_far * train_far, far * far
    reach = (far / c.new, 1 / c.trained) if c.ratio > 1 else (1 / c.new, train_far / c.trained)
    squares = _variance_of_squares(c, far=far, train_far=train_far, chance=chance)
    return _bernstein(squares * c.both, max(reach), chance)


def _beyond(ratio: float, shift: float) -> float:
    """How far the variance is from 1, also when it is taken about the training mean.

    A few rows that all hold one of two values have variance 0, and squares that are as they should be.
    """
    return ratio - 1 if ratio > 1 else 1 - ratio - shift * shift


def _variance_of_squares(c: _Compared, *, far: float, train_far: float, chance: float) -> float:
    """Were the two distributions the same: the kurtosis less one.

    It is at least what the training extreme alone makes of it, and at most what the extremes allow
    (C. Bhatia and R. Davis, Am. Math. Mon. 107, 2000), which is all that is known where it was not measured.
    New data that are too narrow have seen too little of the tails to tell it: they get its upper bound
    (A. Maurer and M. Pontil, "Empirical Bernstein bounds", COLT 2009, theorem 10).
    """
    most = max(far - 1, 0.0) * max(c.ratio, 1.0)
    if c.squares is None or c.new < 2:
        return most
    measured = c.squares
    if c.ratio < 1:
        measured = (math.sqrt(measured) + far * math.sqrt(2 * math.log(2 / chance) / (c.new - 1))) ** 2
    return min(max(measured, train_far * train_far / c.trained), most)


def _error_of_variance(c: _Compared) -> float:
    if c.squares is None:
        return math.nan
    large = max(c.ratio, 1.0)
    return math.sqrt(c.squares / c.new + c.squares / large / large / c.trained)


def _bernstein(variance: float, reach: float, chance: float) -> float:
    """What a sum of independent terms exceeds with at most this probability, in either direction.

    `variance` is that of the sum, `reach` the largest term (S. Bernstein; S. Boucheron, G. Lugosi and
    P. Massart, Concentration Inequalities, 2013, corollary 2.11).
    """
    log = math.log(2 / chance)
    linear = log * reach / 3
    return linear + math.sqrt(linear * linear + 2 * log * variance)


def _left_the_range(t: ComparedColumns, i: int, trained: int, chance: float) -> bool:
    """Whether more rows leave the training range than rows drawn with the training rows would."""
    if t.below is None or t.above is None or trained == 0 or t.rows == 0:
        return False
    most = int(max(t.below[i], t.above[i]))
    by_chance = _chance_beyond(most, t.rows, trained)
    share = most / t.rows
    return 2 * by_chance <= chance and _of_shares(share, 1 / (trained + 1)) >= _NATS


def _chance_beyond(beyond: int, new: int, trained: int) -> float:
    """That at least so many of the new rows exceed all training rows: any order of them is as likely."""
    log = (
        math.lgamma(new + 1) - math.lgamma(new - beyond + 1)
        + math.lgamma(new + trained - beyond + 1) - math.lgamma(new + trained + 1)
    )  # fmt: skip
    return math.exp(min(log, 0.0))


def _went_missing(missing: float, before: float, new: int, trained: int, chance: float) -> bool:
    if not new or not trained:
        return False
    pooled = (missing * new + before * trained) / (new + trained)
    noise = _bernstein(pooled * (1 - pooled) * (1 / new + 1 / trained), 1 / min(new, trained), chance)
    smoothed = (before * trained + 0.5) / (trained + 1)
    return abs(missing - before) > noise and _of_shares(missing, smoothed) >= _NATS


def _outside(t: ComparedColumns, i: int) -> float:
    if t.below is None or t.above is None:
        return math.nan
    return float(min(t.below[i] + t.above[i], t.rows) / t.rows)


def _of_mean(shift: float) -> float:
    return shift * shift / 2


def _of_variance(ratio: float) -> float:
    return (ratio - 1 - math.log(ratio)) / 2 if ratio > 0 else math.inf


def _of_shares(new: float, before: float) -> float:
    """Divergence of a share from another (Kullback and Leibler), in nats a row."""
    terms = ((new, before), (1 - new, 1 - before))
    return sum(p * math.log(p / q) if q > 0 else math.inf for p, q in terms if p > 0)


def _nats(c: ColumnDrift) -> float:
    """Size of the largest change of a column, in nats a row, by which the columns are sorted."""
    sizes = (_of_mean(c.mean_shift), _of_variance(c.variance_ratio) if c.variance_ratio >= 0 else 0.0)
    shares = (c.outside, abs(c.missing - c.missing_before))
    return max((s for s in (*sizes, *shares) if not math.isnan(s)), default=0.0)


# One reading of the new data: their moments, and where they leave the training data.

_CHUNK = 1 << 20  # entries that are held in float64 at a time
_SPACINGS = 2.0**-22  # two spacings of float32: an extreme that was stored more narrowly is not beyond itself

Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedColumns:
    """What new data hold, for the columns that the normalizer normalises, in order."""

    columns: Counts
    """Numbers of these columns in the normalizer."""
    rows: int
    """Samples."""
    count: Counts
    """Finite entries."""
    missing: Counts
    infinite: Counts
    mean: Floats
    variance: Floats
    minimum: Floats
    maximum: Floats
    below: Counts | None
    """Rows that hold an entry below the smallest of the training data; None where that was not counted."""
    above: Counts | None
    kurtosis: Floats | None
    """Var(z²) + 1 of the entries in training stds about the training mean; None where not measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reference:
    """The training statistics of the columns that are compared."""

    center: Floats
    std: Floats
    low: Floats
    high: Floats

    def one(self, i: int) -> _Reference:
        cut = slice(i, i + 1)
        return _Reference(center=self.center[cut], std=self.std[cut], low=self.low[cut], high=self.high[cut])


_PowerSums = tuple[Floats, Floats, Counts, Counts]
"""Of z² and of z⁴, and the rows below and above."""


_Part = tuple[ColumnMoments, _PowerSums]
"""Of some rows."""


def compare_columns(n: FittedTransform, data: Any) -> ComparedColumns:
    """Read everything once.

    Raises
    ------
    DataError
        When there are no rows, or the columns are not those of the normalizer.
    """
    if n.provenance.rows == 0:
        raise DataError(
            "the normalizer was made of given statistics, and knows no training data to compare with: fit one with "
            "Normalizer.fit(train)"
        )
    columns = np.flatnonzero(n.selected)
    if not columns.size:
        raise DataError("the normalizer normalises no column: there is nothing to compare")
    engine = engines.engine_of(data)
    if engine is not None:
        return _by_engine(n, data, engine, columns)
    if entries_of(data) is not None:
        matrix = data[0] if isinstance(data, tuple) else data
        return _total(_of_sparse(n, matrix, columns), columns, columns)
    source = open_source(data[0] if _is_pair_of_tables(data) else data, numbers=n.names or ())
    if source is None:
        return _total(_of_batches(n, data, columns), columns, columns)
    if source.names is None:
        arrays = (piece.array for piece in source.pieces() if piece.array is not None)
        return _total((chunk for a in arrays for chunk in _chunks(n, a, columns)), columns, columns)
    return _of_source(n, source, source.names, columns)


def _total(parts: Iterator[_Part], columns: Counts, places: Counts) -> ComparedColumns:
    moments, sums = ColumnMoments.empty(), None
    for more, further in parts:
        moments = moments | more
        sums = further if sums is None else tuple(a + b for a, b in zip(sums, further, strict=True))
    if sums is None or moments.rows == 0:
        raise DataError("the data have no rows: expected at least one to compare")
    squares, fourths, below, above = sums
    count = np.maximum(moments.count.ravel()[places], 1)
    with np.errstate(over="ignore", invalid="ignore"):
        kurtosis = np.nan_to_num(np.maximum(fourths / count - (squares / count) ** 2, 0.0) + 1, nan=np.inf)
    return _compared(moments, columns, places, below=below, above=above, kurtosis=kurtosis)


def _compared(m: ColumnMoments, columns: Counts, places: Counts, **rest: Any) -> ComparedColumns:
    statistics = {
        name: getattr(m, name).ravel()[places]
        for name in ("count", "missing", "infinite", "mean", "variance", "minimum", "maximum")
    }
    return ComparedColumns(columns=columns, rows=m.rows, **statistics, **rest)


def _by_engine(n: FittedTransform, data: Any, engine: str, columns: Counts) -> ComparedColumns:
    """Engines give moments and nothing else: what they do not tell stays unknown."""
    reduced = engines.reduce_with(engine, data, axis=None if n.ndim == 2 else n.axis or None)
    places = _places(n, reduced.names, reduced.moments.count.size, columns)
    return _compared(reduced.moments, columns, places, below=None, above=None, kurtosis=None)


def _of_batches(n: FittedTransform, data: Any, columns: Counts) -> Iterator[_Part]:
    with closing(batches(data)) as arrays:
        for batch in arrays:
            yield from _chunks(n, batch, columns)


def _of_sparse(n: FittedTransform, matrix: Any, columns: Counts) -> Iterator[_Part]:
    """Some rows at a time are filled in; what is held stays small."""
    take, (rows, width) = some_rows(matrix), matrix.shape
    step = max(1, _CHUNK // max(1, width))
    for start in range(0, rows, step):
        some = np.arange(start, min(start + step, rows))
        yield _of_array(n, filled_in(take(some)), columns)


def _chunks(n: FittedTransform, array: NDArray[Any], columns: Counts) -> Iterator[_Part]:
    step = max(1, _CHUNK // max(1, array[:1].size))
    for start in range(0, len(array), step):
        yield _of_array(n, array[start : start + step], columns)


def _of_array(n: FittedTransform, array: NDArray[Any], columns: Counts) -> _Part:
    if array.ndim != n.ndim:
        raise DataError(
            f"the data have {array.ndim} dimensions, the normalizer was fitted on {n.ndim}: expected data of "
            "the training data's form"
        )
    check_shape(n, array.shape)
    kept = kept_axes(array.ndim, n.axis or None)
    by_column = np.moveaxis(array, kept, range(-len(kept), 0)) if kept else array
    by_column = by_column.reshape(len(array), -1, n.mean.size)
    sums = _sums(by_column[..., columns], _reference(n, columns))
    return reduce_batch(array, axis=n.axis), sums


def _of_source(n: FittedTransform, source: Source, names: Sequence[str], columns: Counts) -> ComparedColumns:
    if n.names is not None and {n.names[i] for i in columns} <= {*names}:
        source = source.select([n.names[i] for i in columns])
        names = source.names or ()  # in the order of the source
    places = _places(n, names, len(names), columns)
    return _total(_of_table(n, source, columns, places), columns, places)


def _of_table(n: FittedTransform, source: Source, columns: Counts, places: Counts) -> Iterator[_Part]:
    reference = _reference(n, columns)
    for piece in source.pieces():
        each = [
            _sums(np.asarray(piece.columns[place]).reshape(-1, 1, 1), reference.one(i))
            for i, place in enumerate(places)
        ]
        squares, fourths, below, above = (np.concatenate(s) for s in zip(*each, strict=True))
        yield moments_of_piece(piece), (squares, fourths, below, above)


def _places(n: FittedTransform, there: Sequence[str] | None, width: int, columns: Counts) -> Counts:
    """Where the columns that are compared stand in the new data; without names, their order counts."""
    if n.names is None or there is None:
        if width != n.mean.size:
            raise DataError(
                f"the data have {width} columns of numbers, the normalizer {n.mean.size}: expected the same"
            )
        return columns
    names = [n.names[i] for i in columns]
    places = places_of(there)
    lacking = [name for name in names if name not in places]
    if lacking:
        raise DataError(
            f"the data have no column of numbers {listed(lacking)}, which the normalizer was fitted on; they "
            f"have {listed(there, most=8)}"
        )
    return np.array([places[name] for name in names], dtype=np.int64)


def _reference(n: FittedTransform, columns: Counts) -> _Reference:
    low, high = n.minimum.ravel()[columns], n.maximum.ravel()[columns]
    slack = _SPACINGS * np.maximum(np.abs(low), np.abs(high))
    constant, std = n.constant.ravel()[columns], n.std.ravel()[columns]
    return _Reference(
        center=n.mean.ravel()[columns],
        std=np.where(constant | (std == 0), np.nan, std),
        low=low - slack,
        high=high + slack,
    )


@np.errstate(invalid="ignore", over="ignore")
def _sums(rows: NDArray[Any], reference: _Reference) -> _PowerSums:
    """Over ``(rows, entries, columns)``."""
    below = (rows < reference.low).any(axis=1).sum(axis=0)
    above = (rows > reference.high).any(axis=1).sum(axis=0)
    z = (rows - reference.center) / reference.std
    squares = np.where(np.isfinite(z), z * z, 0.0)
    fourths = squares * squares
    return squares.sum(axis=(0, 1)), fourths.sum(axis=(0, 1)), below.astype(np.int64), above.astype(np.int64)


def _is_pair_of_tables(data: Any) -> bool:
    return isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "__arrow_c_stream__")
