"""Sums without rounding: the compiled path, the plain one and a device's give the true sums of any floats."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch

from wellposed.moments import Moments, reduction
from wellposed.moments.exact import accumulator
from wellposed.moments.exact.accumulator import Accumulator, ColumnSums
from wellposed.moments.exact.rounding import nearest_root
from wellposed.moments.exact.sums import SQUARE_BIAS, VALUE_BIAS, ExactSums
from wellposed.moments.reduction import reduce_columns, reduce_tensor

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(1003, 5))
WITH_GAPS = np.where(RNG.random(NORMAL.shape) < 0.1, np.nan, NORMAL)
WITH_GAPS[7, 2], WITH_GAPS[8, 2], WITH_GAPS[900, 4] = np.inf, -np.inf, np.inf
ONE_GAP = NORMAL.copy()
ONE_GAP[500, 1] = np.nan
DATA = {
    "normal": NORMAL,
    "far from zero": NORMAL + 1e7,
    "with gaps": WITH_GAPS,
    "with one gap": ONE_GAP,
    "half zeros": np.maximum(NORMAL, 0),
    "nothing but zeros": np.zeros((130, 3)),
    "nothing": np.zeros((0, 3)),
    "nothing finite": np.array([[np.nan, np.inf]] * 9),
    "heavy tails": np.exp(15 * NORMAL) * np.sign(NORMAL),
    "growing": np.geomspace(1e-30, 1e30, 400).reshape(-1, 1),
    "wider than a tile": RNG.normal(size=(131, 270)),
    "wider than the cache": RNG.normal(size=(5, 2100)),
    "three rows": RNG.normal(size=(3, 4)),
}
ONLY_FLOAT64 = {
    "the whole range": 10.0 ** RNG.uniform(-320, 308, size=(60, 3)) * RNG.choice([-1, 1], size=(60, 3)),
    "huge": NORMAL * 1e250,
    "tiny": NORMAL * 1e-250,
    "subnormal": RNG.integers(-9, 9, size=(200, 2)) * 5e-324,
}
CASES = [(name, dtype) for name in DATA for dtype in ("float32", "float64")] + [
    (n, "float64") for n in ONLY_FLOAT64
]


@pytest.fixture(params=["plain", "compiled"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(accumulator, "WORTH_COMPILING", 0 if request.param == "compiled" else 1 << 62)
    return request.param


def array(name: str, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray((DATA | ONLY_FLOAT64)[name], dtype=dtype)


def by_rows(x: np.ndarray) -> Iterator[ColumnSums]:
    for step in (max(1, len(x)), 7):
        held = Accumulator(x.shape[1])
        for start in range(0, len(x), step):
            held.add(x[start : start + step])
        yield held.sums()


def by_columns(x: np.ndarray) -> ColumnSums:
    held = Accumulator(x.shape[1])
    for i in range(x.shape[1]):
        held.add_column(i, np.ascontiguousarray(x[:, i]))
    return held.sums()


def true_sums(x: np.ndarray, power: int, bias: int) -> list[int]:
    sums = [sum((Fraction(float(v)) ** power for v in c if np.isfinite(v)), Fraction(0)) for c in x.T]
    return [int(s * 2**bias) for s in sums]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_sums_are_the_true_ones_in_any_chunks(path: str, name: str, dtype: str) -> None:
    x = array(name, dtype)
    values, squares = true_sums(x, 1, VALUE_BIAS), true_sums(x, 2, SQUARE_BIAS)

    for found in (*by_rows(x), by_columns(x)):
        assert found.values.integers() == values
        assert found.squares.integers() == squares
        np.testing.assert_array_equal(found.missing, np.isnan(x).sum(axis=0))
        np.testing.assert_array_equal(found.infinite, np.isinf(x).sum(axis=0))
        np.testing.assert_array_equal(
            found.minimum, np.where(np.isfinite(x), x, np.inf).min(axis=0, initial=np.inf)
        )
        np.testing.assert_array_equal(
            found.maximum, np.where(np.isfinite(x), x, -np.inf).max(axis=0, initial=-np.inf)
        )


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_device_gives_the_bits_of_the_cpu(name: str, dtype: str) -> None:
    x = array(name, dtype)

    assert reduce_tensor(torch.tensor(x)).fingerprint == Moments.of(x).fingerprint


@pytest.mark.parametrize("stacked", [0, 1 << 40])
def test_columns_of_any_dtype_and_length_give_what_their_table_gives(
    stacked: int, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reduction, "_STACKED", stacked)
    table = np.column_stack(
        [np.round(WITH_GAPS[:, 0] * 100), WITH_GAPS[:, 2], NORMAL[:, 3].astype(np.float32)]
    )
    filled = table[~np.isnan(table[:, 0]), 0].astype(np.int64)

    m = reduce_columns(
        [filled, table[:, 1], table[:, 2].astype(np.float32)],
        rows=len(table),
        missing=[len(table) - len(filled), 0, 0],
    )

    assert m.fingerprint == Moments.of(table).fingerprint


def test_equal_sums_have_equal_digits_however_they_came_about() -> None:
    one = ExactSums.of_limbs(np.array([[5, -1, 0, 0]]), bias=0)
    other = ExactSums.of_limbs(np.array([[5 - (1 << 32), 0, 0, 0]]), bias=0)

    assert one.integers() == other.integers() == [5 - (1 << 32)]
    np.testing.assert_array_equal(one.digits, other.digits)
    assert one.start == other.start


def test_what_cancels_leaves_zero_and_no_limbs() -> None:
    sums = ExactSums.of_limbs(np.array([[0, 0, 7], [0, 3, 0]]), bias=0)

    nothing = sums + -sums

    assert nothing.integers() == [0, 0]
    assert nothing.digits.shape == (2, 1)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_beyond_float64_are_summed_exactly(path: str, dtype: str) -> None:
    info = np.iinfo(dtype)
    x = RNG.integers(info.min, info.max, size=(500, 2), dtype=dtype, endpoint=True)

    m = Moments.of(x)

    for i in range(2):
        column = [int(v) for v in x[:, i]]
        assert m.mean[i] == float(Fraction(sum(column), 500))
        assert m.variance[i] == float(Fraction(500 * sum(v * v for v in column) - sum(column) ** 2, 500**2))


def test_a_root_is_rounded_once() -> None:
    # Just above and below a tie between two neighbours of 1.
    tie = Fraction(1) + Fraction(1, 2**53)
    for nudge, expected in ((Fraction(1, 2**400), 1 + 2**-52), (-Fraction(1, 2**400), 1.0)):
        square = (tie + nudge) ** 2
        assert nearest_root(square.numerator, square.denominator) == expected


def test_large_arrays_are_shared_among_threads_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.normal(size=(5000, 7))
    alone = Moments.of(x)
    monkeypatch.setattr(reduction, "_TASK", 5000)
    monkeypatch.setattr(reduction, "cores", lambda: 3)

    assert Moments.of(x).fingerprint == alone.fingerprint


def test_without_numba_the_sums_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Moments.of(NORMAL)
    monkeypatch.setattr(accumulator, "WORTH_COMPILING", 0)
    monkeypatch.setattr(accumulator, "_load_compiled", lambda: None)

    assert Moments.of(NORMAL).fingerprint == expected.fingerprint


@pytest.mark.parametrize("columns", [3, 60])
@pytest.mark.parametrize("order", [1, -1])
def test_float32_and_float64_batches_mix(columns: int, order: int, path: str) -> None:
    wide = RNG.normal(size=(300, columns))
    narrow = wide.astype(np.float32) * np.float32(1e-3)

    m = Moments.of([narrow, wide][::order])

    assert m.values.integers() == true_sums(np.concatenate([narrow.astype(np.float64), wide]), 1, VALUE_BIAS)
    assert m.squares.integers() == true_sums(
        np.concatenate([narrow.astype(np.float64), wide]), 2, SQUARE_BIAS
    )


def test_sums_are_carried_before_they_could_overflow(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Moments.of(DATA["heavy tails"])
    monkeypatch.setattr(accumulator, "_ROWS", 16)

    assert Moments.of(DATA["heavy tails"]).fingerprint == expected.fingerprint
    assert Moments.of([row[None] for row in DATA["heavy tails"]]).fingerprint == expected.fingerprint


@pytest.mark.parametrize("zeros", [[0.0, -0.0], [-0.0, 0.0]])
def test_the_sign_of_zero_depends_on_no_order(zeros: list[float], path: str) -> None:
    m = Moments.of(np.array(zeros))

    assert not np.signbit([m.minimum, m.maximum, m.mean]).any()


@pytest.mark.filterwarnings("ignore:the sums are added by NumPy:RuntimeWarning")
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("cannot compile")])
def test_where_nothing_can_be_compiled_the_sums_are_the_same(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wellposed.moments.exact.machine_code import Native

    def fails(_: Native) -> bytes:
        raise error

    expected = Moments.of(NORMAL)
    monkeypatch.setattr(accumulator, "WORTH_COMPILING", 0)
    monkeypatch.setattr(Native, "_code", fails)
    monkeypatch.setattr(accumulator, "_loaded", accumulator._loaded.__wrapped__)

    assert accumulator._load_compiled() is None
    assert Moments.of(NORMAL).fingerprint == expected.fingerprint


def test_moments_stay_read_only_through_pickle() -> None:
    m = pickle.loads(pickle.dumps(Moments.of(NORMAL)))

    for array in (m.count, m.minimum, m.values.digits, m.squares.digits):
        assert not array.flags.writeable
