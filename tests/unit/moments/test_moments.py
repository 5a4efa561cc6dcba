"""Moments against the exact rational value of what is stored, on data that break other implementations."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from wellposed.errors import ArgumentError, DataError
from wellposed.moments import Moments

RNG = np.random.default_rng(0)


def exact(x: np.ndarray) -> tuple[Fraction, Fraction]:
    values = [Fraction(int(v)) if x.dtype.kind in "iub" else Fraction(float(v)) for v in x]
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / len(values)


def digits(found: float, true: Fraction) -> float:
    if Fraction(float(found)) == true:
        return 17.0
    return -math.log10(abs(Fraction(float(found)) - true) / abs(true))


HARD = {
    "float32 at mean/sd 1e7": (RNG.normal(size=3000) + 1e7).astype(np.float32),
    "float64 at mean/sd 1e7": RNG.normal(size=3000) + 1e7,
    "float64 at mean/sd 1e12": RNG.normal(size=3000) + 1e12,
    "an outlier first": np.r_[1e15, RNG.normal(size=3000)],
    "float16 near 200": (200 + 0.5 * RNG.normal(size=3000)).astype(np.float16),
    "int64 above 2**53": 2**60 + RNG.integers(0, 100, size=3000),
    "uint64 at its top": np.array([2**64 - 1, 2**64 - 3, 2**64 - 8], dtype=np.uint64),
    "int8": RNG.integers(-128, 127, size=3000).astype(np.int8),
    "bool": np.array([True, False, True]),
    "two rows": np.array([1.0, 1.0 + 2**-40]),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("pieces", [1, 3, 41])
def test_mean_and_variance_keep_fourteen_digits(name: str, pieces: int) -> None:
    x = HARD[name]
    mean, variance = exact(x)

    m = Moments.of([part for part in np.array_split(x[:, None], pieces) if len(part)])

    assert digits(m.mean[0], mean) >= 14
    assert digits(m.variance[0], variance) >= 14


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e-310])
def test_huge_and_tiny_columns_neither_overflow_nor_vanish(size: float) -> None:
    x = np.array([3.0, 5.0, 7.0]) * size

    m = Moments.of(x) | Moments.of(np.array([5.0]) * size)

    np.testing.assert_allclose(m.mean, 5 * size, rtol=1e-9)
    np.testing.assert_allclose(m.std, np.sqrt(2) * size, rtol=1e-9)


def test_a_column_of_ordinary_size_is_not_disturbed_by_a_huge_neighbour() -> None:
    x = np.array([[1.0, 1e200], [3.0, -1e200]])

    m = Moments.of(x)

    assert m.std.tolist() == [1.0, 1e200]


@pytest.mark.parametrize("value", [0.1, 1e200, 1 / 3, 0.0, 5e-324])
def test_a_constant_column_has_its_value_as_mean_and_no_variance_at_all(value: float) -> None:
    m = Moments.of([np.full((n, 1), value) for n in (1, 7, 10_000, 3)])

    assert m.mean[0] == value
    assert m.variance[0] == 0
    assert m.constant[0]


def test_rounding_noise_is_constant_and_a_small_spread_is_not() -> None:
    noise = np.array([0.1 + 0.2, 0.3, 0.3])
    spread = 1 + 1e-12 * np.arange(3)

    m = Moments.of(np.stack([noise, spread], axis=1))

    assert m.constant.tolist() == [True, False]


def test_large_integers_that_differ_by_one_are_not_constant() -> None:
    assert not Moments.of(np.array([2**60, 2**60 + 1])).constant[0]


def test_missing_and_infinite_entries_are_counted_and_left_out() -> None:
    x = np.array([[1, np.nan, np.nan], [np.inf, -np.inf, np.nan], [3, 5, np.nan]])

    m = Moments.of(x)

    assert m.count.tolist() == [2, 1, 0]
    assert m.missing.tolist() == [0, 1, 3]
    assert m.infinite.tolist() == [1, 1, 0]
    np.testing.assert_equal(m.mean, [2, 5, np.nan])
    np.testing.assert_equal(m.std, [1, 0, np.nan])
    np.testing.assert_equal(m.minimum, [1, 5, np.nan])
    np.testing.assert_equal(m.maximum, [3, 5, np.nan])


def test_no_rows_give_no_moments_and_one_row_gives_itself() -> None:
    none, one = Moments.of(np.empty((0, 2))), Moments.of(np.array([[1.5, 2.0]]))

    assert none.count.tolist() == [0, 0]
    assert np.isnan(none.mean).all()
    assert one.mean.tolist() == [1.5, 2.0]
    assert np.isnan(one.sample_variance).all()
    assert (none | one).mean.tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    ("shape", "axis", "reduced"),
    [
        ((8, 3), None, (0,)),
        ((8, 3, 4, 5), None, (0, 2, 3)),
        ((8, 6, 4), None, (0, 1)),
        ((8, 6, 4), 1, (0, 2)),
        ((8, 3, 4, 5), (1, 2, 3), (0,)),
        ((8, 3, 4, 5), (-1,), (0, 1, 2)),
    ],
)
def test_the_kept_axes_have_their_own_moments(shape, axis, reduced) -> None:
    x = RNG.normal(size=shape)

    m = Moments.of(x, axis=axis)

    np.testing.assert_allclose(m.mean, x.mean(axis=reduced), rtol=1e-12)
    np.testing.assert_allclose(m.std, x.std(axis=reduced), rtol=1e-12)


def test_views_memmaps_and_masks_are_read_as_they_are(tmp_path) -> None:
    x = RNG.normal(size=(100, 6))
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    masked = np.ma.masked_array([1.0, 99.0, 3.0], mask=[False, True, False])

    np.testing.assert_array_equal(Moments.of(mapped[::-2, ::3]).mean, Moments.of(x[::-2, ::3].copy()).mean)
    assert Moments.of(np.asfortranarray(x)).mean.tolist() == Moments.of(x).mean.tolist()
    assert Moments.of(masked).mean.tolist() == [2.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32])
def test_tensors_give_what_arrays_give(dtype: torch.dtype) -> None:
    x = torch.arange(12, dtype=dtype).reshape(6, 2).requires_grad_(dtype.is_floating_point)

    m = Moments.of(x)

    assert m.mean.tolist() == [5.0, 6.0]


def test_a_loader_a_pair_and_dicts_give_their_inputs() -> None:
    x, y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(20)
    expected = Moments.of(x).mean

    for data in (
        DataLoader(TensorDataset(x, y), batch_size=6),
        (x, y),
        [(x[:7], y[:7]), (x[7:], y[7:])],
        [{"x": x, "y": y}],
        {"pixels": x, "label": y},
        x.tolist(),
    ):
        np.testing.assert_allclose(Moments.of(data).mean, expected, rtol=1e-12)


def test_reading_a_shuffled_loader_leaves_every_random_state_as_it_was() -> None:
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(torch.randn(20, 3)), batch_size=4, shuffle=True, generator=generator)
    numpy_state = np.random.get_state()[1].copy()
    before = torch.get_rng_state(), generator.get_state(), random.getstate()

    Moments.of(loader)
    Moments.of(DataLoader(TensorDataset(torch.ones(20, 3)), shuffle=True))

    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(generator.get_state(), before[1])
    assert random.getstate() == before[2]
    assert (np.random.get_state()[1] == numpy_state).all()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((batch for batch in []), "gave no batches.*read before"),
        ([np.zeros(4), np.ones(4)], r"rows of a table or parts of one column.*np\.stack.*np\.concatenate"),
        ([(np.zeros(4), np.ones(2))] * 2, "rows of a table or parts"),
        ([], "no batches"),
        ("train.csv", "the text 'train.csv'.*Normalizer.fit reads files"),
        (3.0, "single number"),
        (object(), "expected an array"),
        (np.array(3.0), "single number"),
        (np.array(["a"]), "real numbers"),
        (np.zeros((2, 0)), "at least one column"),
        (np.zeros(3, dtype=complex), "real numbers"),
        ([np.zeros((2, 2)), np.zeros((2, 3))], "2 columns with moments of 3 columns"),
        ((np.zeros((2, 2)), np.zeros(3)), "2 and 3 rows"),
        ([(np.zeros(3), 1)], "single sample"),
        ([(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(2))], "3 parts"),
        ({"a": np.zeros(2), "b": np.zeros(2)}, "a, b"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_cannot_be_read_is_refused_with_the_reason(data, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Moments.of(data)


@pytest.mark.parametrize("axis", [0, 2, -3, (1, 1), 1.0, True, (0, 1)])
def test_axes_that_do_not_fit_are_refused(axis) -> None:
    with pytest.raises(ArgumentError, match="axis"):
        Moments.of(np.zeros((4, 2)), axis=axis)


def test_moments_are_frozen_and_their_arrays_read_only() -> None:
    m = Moments.of(np.arange(6.0).reshape(3, 2))

    with pytest.raises(AttributeError):
        m.rows = 7  # type: ignore[misc]
    for array in (m.mean, m.variance, m.minimum, m.count, m.constant):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9
