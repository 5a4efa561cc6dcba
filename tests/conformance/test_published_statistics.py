"""NIST's certified statistics, a grid of offsets, and one bit pattern: the part of benchmarks/ that takes seconds."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.moments_accuracy import CHUNKS, MEANS, TARGET, edge_cases, fewest_of_mean_and_std, grid, ours
from benchmarks.moments_truth import digits, truth_of
from benchmarks.moments_ways import bits, on, settings, ways_of
from benchmarks.nist import DATA_SETS, DataSet
from wellposed import Moments

NAMES = [data.name for data in DATA_SETS]


def significant(number: str, like: str) -> Decimal:
    """A number with as many digits as NIST prints of `like`."""
    with localcontext(prec=len(Decimal(like).as_tuple().digits)):
        return +Decimal(number)


@pytest.mark.parametrize("data", DATA_SETS, ids=NAMES)
def test_the_stored_observations_are_those_that_nist_certifies(data: DataSet) -> None:
    x = data.decimals
    mean = sum(x, Fraction()) / len(x)
    variance = sum(((one - mean) ** 2 for one in x), Fraction()) / (len(x) - 1)

    with localcontext(prec=40):
        exact_mean = str(Decimal(mean.numerator) / mean.denominator)
        exact_std = str((Decimal(variance.numerator) / variance.denominator).sqrt())

    assert significant(exact_mean, data.mean) == Decimal(data.mean)
    assert significant(exact_std, data.std) == Decimal(data.std)


@pytest.mark.parametrize("path", ["compiled", "plain"])
@pytest.mark.parametrize("data", DATA_SETS, ids=NAMES)
def test_nists_data_keep_fourteen_digits_in_whatever_pieces(data: DataSet, path: str) -> None:
    x = np.array(data.values)
    true = truth_of(x)

    for way, run in ways_of(x, rows=(7, 1) if len(x) < 1000 else CHUNKS[path]).items():
        with on(path):
            m = run()
        assert digits(m.mean[0], true.mean) >= TARGET, way
        assert digits(m.variance[0], true.variance) >= TARGET, way
        assert digits(m.std[0], true.std) >= TARGET, way


@pytest.mark.parametrize("path", ["compiled", "plain"])
@pytest.mark.parametrize("dtype", MEANS)
def test_offsets_cost_no_digit_in_whatever_pieces(dtype: str, path: str) -> None:
    x = grid(10_000, dtype)
    true = [truth_of(column) for column in x.T]

    for way, run in ways_of(x, rows=CHUNKS[path]).items():
        with on(path):
            m = run()
        assert min(map(digits, m.mean, (t.mean for t in true))) >= TARGET, way
        assert min(map(digits, m.variance, (t.variance for t in true))) >= TARGET, way


def test_the_same_rows_give_one_bit_pattern_over_all_settings() -> None:
    x = np.concatenate([grid(1000, dtype).astype(np.float64) for dtype in MEANS], axis=1)
    x[::7, 0], x[5, 1], x[:, 2] = np.nan, np.inf, x[:, 2] * 1e200
    asked = list(settings((20, 300, len(x))))

    found = {bits(one.reduce(x)) for one in asked}

    assert len(asked) >= 40
    assert len(found) == 1


@pytest.mark.parametrize("path", ["compiled", "plain"])
@pytest.mark.parametrize("name", edge_cases())
def test_edge_cases_have_their_exact_value(name: str, path: str) -> None:
    x = edge_cases()[name]
    true = truth_of(x[:, 0])

    with on(path):
        m = Moments.of(x)

    assert (m.count[0], m.missing[0], m.infinite[0]) == (true.count, true.missing, true.infinite)
    assert fewest_of_mean_and_std(ours(m), true) >= TARGET
