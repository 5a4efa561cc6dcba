"""Drift: silent on data of the same distribution, whatever it is, and not on data of another."""

import dataclasses
import json
import math
from collections.abc import Callable

import msgspec
import numpy as np
import pandas as pd
import pytest

from wellposed import Normalizer
from wellposed.errors import ArgumentError, DataError
from wellposed.moments import engines
from wellposed.moments.column_moments import ReadResult
from wellposed.moments.moments import Moments
from wellposed.normalize.drift import ColumnDrift, Drift, measure_drift

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda g, s: g.normal(size=s),
    "lognormal": lambda g, s: g.lognormal(size=s),
    "rare": lambda g, s: (g.random(s) < 0.002).astype(float),
    "three in a hundred": lambda g, s: (g.random(s) < 0.03).astype(float),
    "coin": lambda g, s: g.integers(0, 2, s).astype(float),
    "t of 3 degrees": lambda g, s: g.standard_t(3, s),
    "cauchy": lambda g, s: g.standard_cauchy(s),
    "counts": lambda g, s: g.poisson(3, s).astype(float),
    "one in twenty missing": lambda g, s: np.where(g.random(s) < 0.05, np.nan, g.normal(size=s)),
}
SIZES = [(5, 5), (5, 1000), (40, 40), (100, 5000), (1000, 5), (1000, 200), (10_000, 100), (10_000, 2000)]


def normal(rows: int, columns: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def changes(n: Normalizer, data: object) -> dict[str, tuple[str, ...]]:
    return {c.label: c.changes for c in measure_drift(n, data).drifted}


# False alarms


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_data_of_the_same_distribution_have_not_drifted(name: str) -> None:
    rng, draw = np.random.default_rng(1), DISTRIBUTIONS[name]

    alarms, trials = 0, 0
    for rows, new in SIZES:
        for _ in range(15):
            train = draw(rng, (rows, 4))
            if np.isfinite(train).any(axis=0).all():
                trials += 1
                alarms += not measure_drift(Normalizer.fit(train), draw(rng, (new, 4))).ok

    assert trials >= 100
    assert alarms <= 0.02 * trials  # the mean over all distributions is far below 1 %


def test_large_samples_of_one_distribution_have_not_drifted() -> None:
    rng = np.random.default_rng(2)

    for name in ("normal", "lognormal", "t of 3 degrees"):
        n = Normalizer.fit(DISTRIBUTIONS[name](rng, (100_000, 2)))
        for rows in (5, 300, 100_000):
            assert n.drift(DISTRIBUTIONS[name](rng, (rows, 2))).ok


def test_a_difference_without_size_is_no_drift_however_sure() -> None:
    n = Normalizer.fit(normal(50_000, 1))
    found = n.drift(normal(50_000, 1, seed=1) + 0.1)

    (column,) = found.columns
    assert column.mean_shift > 2 * column.mean_noise
    assert found.ok


def test_pixels_of_a_few_pictures_are_no_evidence() -> None:
    rng = np.random.default_rng(3)

    def pictures(count: int) -> np.ndarray:
        return np.broadcast_to(rng.normal(size=(count, 3, 1, 1)), (count, 3, 20, 20)) + 0.1 * rng.normal(
            size=(count, 3, 20, 20)
        )

    n = Normalizer.fit(pictures(200))
    assert all(n.drift(pictures(10)).ok for _ in range(50))
    assert changes(n, pictures(60) + np.array([1.5, 0, 0]).reshape(3, 1, 1)) == {"0": ("mean",)}


# Drift


@pytest.mark.parametrize("columns", [1, 10, 50])
def test_half_a_std_is_found_in_200_rows(columns: int) -> None:
    rng = np.random.default_rng(4)
    n = Normalizer.fit(rng.normal(size=(10_000, columns)))

    hits = 0
    for _ in range(40):
        new = rng.normal(size=(200, columns))
        new[:, 0] += 0.5
        hits += [c.label for c in measure_drift(n, new).drifted] == ["0"]
    assert hits >= 32


@pytest.mark.parametrize(
    ("spoil", "rows", "found"),
    [
        (lambda x: x * 2, 200, "variance"),
        (lambda x: x * 0.5, 1000, "variance"),
        (lambda x: x + 100, 5, "range"),
        (lambda x: x / 1000, 2000, "variance"),
        (lambda x: np.where(np.arange(len(x)) % 10 == 0, np.nan, x), 200, "missing"),
        (lambda x: np.where(np.arange(len(x)) % 25 == 0, np.inf, x), 200, "range"),
        (lambda x: np.where(np.arange(len(x)) % 25 == 0, -999, x), 200, "range"),
    ],
    ids=["wider", "narrower", "elsewhere", "another unit", "missing", "infinite", "a code for missing"],
)
def test_a_change_is_found_and_named(spoil: Callable, rows: int, found: str) -> None:
    n = Normalizer.fit(normal(10_000))
    new = normal(rows, seed=5)
    new[:, 1] = spoil(new[:, 1])

    seen = changes(n, new)
    assert list(seen) == ["1"]
    assert found in seen["1"]


def test_missing_entries_that_fill_up_are_found() -> None:
    train = normal(2000)
    train[::4, 2] = np.nan

    assert changes(Normalizer.fit(train), normal(300, seed=6)) == {"2": ("missing",)}


def test_a_constant_column_that_moves_has_left_its_range() -> None:
    train = np.c_[normal(1000, 1), np.full(1000, 0.1)]
    n = Normalizer.fit(train)
    new = np.c_[normal(50, 1, seed=7), np.full(50, 0.1)]

    assert n.drift(new).ok
    assert n.drift(new.astype(np.float32)).ok
    moved = n.drift(new + np.array([0, 0.1]))
    assert [c.changes for c in moved.columns] == [(), ("range",)]
    assert math.isnan(moved.columns[1].mean_shift)


# The numbers


def test_shift_ratio_and_shares_are_those_of_the_data() -> None:
    train, new = normal(500, 1), 2 * normal(80, 1, seed=8) + 1
    new[:4] = np.nan
    (column,) = Normalizer.fit(train).drift(new).columns
    seen = new[4:]

    assert column.mean_shift == pytest.approx((seen.mean() - train.mean()) / train.std())
    assert column.variance_ratio == pytest.approx(seen.var(ddof=1) / train.var(ddof=1))
    assert column.outside == ((seen < train.min()) | (seen > train.max())).sum() / 80
    assert (column.missing, column.missing_before, column.count) == (0.05, 0.0, 76)


@pytest.mark.parametrize("name", ["normal", "lognormal", "counts"])
def test_standard_errors_are_the_scatter_over_fresh_draws(name: str) -> None:
    rng, draw = np.random.default_rng(9), DISTRIBUTIONS[name]
    found = [Normalizer.fit(draw(rng, (2000, 1))).drift(draw(rng, (1000, 1))).columns[0] for _ in range(300)]

    shift, ratio = np.std([c.mean_shift for c in found]), np.std([c.variance_ratio for c in found])
    assert np.mean([c.mean_error for c in found]) == pytest.approx(shift, rel=0.15)
    if name != "lognormal":  # whose fourth moment no thousand rows can tell
        assert np.mean([c.variance_error for c in found]) == pytest.approx(ratio, rel=0.15)


def test_the_order_of_the_columns_is_that_of_their_drift() -> None:
    n = Normalizer.fit(normal(5000))

    assert list(changes(n, normal(500, seed=10) + np.array([1, 0, 3]))) == ["2", "0"]


# What is read


def test_batches_and_one_array_give_the_same() -> None:
    n = Normalizer.fit(normal(1000))
    new = normal(333, seed=11) + 1

    whole, parts = n.drift(new), n.drift([new[:100], new[100:101], new[101:]])
    for a, b in zip(whole.columns, parts.columns, strict=True):
        assert a.changes == b.changes
        assert a.mean_shift == b.mean_shift
        assert a.variance_noise == pytest.approx(b.variance_noise)


def test_a_file_and_the_array_in_it_give_the_same(tmp_path) -> None:
    new = normal(100, 2, seed=12)
    np.savetxt(tmp_path / "new.csv", new, delimiter=",", header="a,b", comments="", fmt="%.17g")
    n = Normalizer.fit(normal(1000, 2), columns=["a", "b"])

    assert n.drift(tmp_path / "new.csv") == n.drift(new)


def test_columns_of_a_table_are_found_by_name() -> None:
    pandas = pytest.importorskip("pandas")
    train = pandas.DataFrame(
        {"a": normal(500, 1)[:, 0], "b": 5 + normal(500, 1, seed=1)[:, 0], "c": ["x"] * 500}
    )
    n = Normalizer.fit(train)

    assert n.drift(train[["b", "c", "a"]].head(200)).ok
    with pytest.raises(DataError, match="no column of numbers b"):
        n.drift(train[["a", "c"]])


def test_of_an_engine_what_it_does_not_tell_stays_unknown(monkeypatch) -> None:
    new = normal(400, 2, seed=21) + np.array([0, 1])
    reduced = ReadResult(
        moments=Moments.of(new),
        names=("a", "b"),
        integers=(False, False),
        left_alone={},
        ndim=2,
        label="an engine",
    )
    n = Normalizer.fit(normal(1000, 2), columns=["a", "b"])
    monkeypatch.setattr(engines, "engine_of", lambda data: "dask")
    monkeypatch.setattr(engines, "reduce_with", lambda engine, data, **options: reduced)

    found = n.drift(object())
    assert [c.changes for c in found.columns] == [(), ("mean",)]
    assert math.isnan(found.columns[0].outside)
    assert "-" in str(found).splitlines()[3]


def test_columns_that_pass_unchanged_are_not_compared() -> None:
    n = Normalizer.fit(normal(500), columns=[0, 2])

    found = n.drift(normal(300, seed=13) + np.array([0, 50, 0]))
    assert found.ok
    assert [c.label for c in found.columns] == ["0", "2"]


def test_sequences_and_single_columns_are_compared() -> None:
    rng = np.random.default_rng(14)
    sequences = Normalizer.fit(rng.normal(size=(300, 20, 2)))
    one = Normalizer.fit(rng.normal(size=500))

    assert sequences.drift(rng.normal(size=(100, 20, 2))).ok
    assert list(changes(sequences, rng.normal(size=(100, 20, 2)) + np.array([0, 2]))) == ["1"]
    assert one.drift(rng.normal(size=100)).ok
    assert not one.drift(rng.normal(size=100) + 1).ok


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.empty((0, 3)), "no rows"),
        (normal(5, 2), "columns"),
        (np.zeros((4, 3, 2)), "3 dimensions"),
        (iter([]), "read before"),
    ],
)
def test_data_that_do_not_fit_are_refused(data: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Normalizer.fit(normal(100)).drift(data)


@pytest.mark.parametrize("chance", [0, 1, -1, math.nan])
def test_a_chance_that_is_none_is_refused(chance: float) -> None:
    with pytest.raises(ArgumentError, match="chance is"):
        measure_drift(Normalizer.fit(normal(100)), normal(100), chance=chance)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_column_without_a_usable_entry_is_measured_without_an_error(bad: float) -> None:
    new = normal(50, seed=15)
    new[:, 1] = bad

    found = Normalizer.fit(normal(1000)).drift(new)
    assert "1" in [c.label for c in found.drifted]
    assert str(found)


def test_one_row_can_be_compared() -> None:
    n = Normalizer.fit(normal(100_000))

    assert n.drift(normal(1, seed=16)).ok
    assert changes(n, np.array([[0.0, 1e6, 0.0]])) == {"1": ("range",)}


# What it looks like


def test_it_fits_a_terminal_and_names_what_drifted() -> None:
    names = [f"a column with a rather long name {i}" for i in range(30)]
    n = Normalizer.fit(normal(1000, 30), columns=names)
    found = n.drift(np.where(np.arange(100)[:, None] % 3 == 0, np.nan, 1e6 * normal(100, 30, seed=17)))

    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "100 rows against 1,000 training rows: 30 of 30 columns drifted" in text
    assert "... 10 more" in text
    assert str(n.drift(normal(100, 30, seed=18))).endswith("none of 30 columns drifted")


def test_it_is_plain_values() -> None:
    found = Normalizer.fit(normal(100)).drift(normal(50, seed=19))

    assert isinstance(found, Drift)
    assert all(isinstance(c, ColumnDrift) for c in found.columns)
    assert json.loads(msgspec.json.encode(found)) == json.loads(json.dumps(dataclasses.asdict(found)))


def test_comparing_changes_nothing() -> None:
    x = normal(100)
    n, state = Normalizer.fit(x), np.random.get_state()[1].copy()
    new, before = normal(50, seed=20), normal(50, seed=20)
    n.drift(new)

    np.testing.assert_array_equal(new, before)
    assert (np.random.get_state()[1] == state).all()


def test_what_an_empty_column_cannot_tell_is_a_dash() -> None:
    n = Normalizer.fit(normal(50, 1))

    line = next(
        line for line in str(measure_drift(n, np.full((50, 1), np.nan))).splitlines() if "100.0%" in line
    )

    assert line.split() == ["0", "-", "-", "0.0%", "100.0%*"]


def test_a_frame_whose_columns_went_empty_has_drifted() -> None:
    frame = pd.DataFrame(normal(50, 2), columns=["a", "b"])

    assert changes(Normalizer.fit(frame), frame.assign(a=None, b=np.nan)) == {
        "a": ("missing",),
        "b": ("missing",),
    }
