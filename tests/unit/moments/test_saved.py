"""Saved moments: they come back exactly, in the one form that equal sums have, and only if numbers have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wellposed.errors import DataError
from wellposed.moments import Moments

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 3)) * [1.0, 1e6, 1e-6] + [0.0, 1e9, 5.0]
DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int64", "uint64", "bool"]


@pytest.fixture
def saved() -> dict[str, Any]:
    return json.loads(Moments.of(ROWS, covariance=True, quantiles=True).to_json())


def load(held: dict[str, Any]) -> Moments:
    return Moments.from_json(json.dumps(held))


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=2, max_dims=2, max_side=5))
    )
)
def test_moments_of_any_numbers_come_back(x: np.ndarray) -> None:
    m = Moments.of(x, covariance=True, quantiles=True)

    back = Moments.from_json(m.to_json())

    assert back.fingerprint == m.fingerprint
    assert back.to_json() == m.to_json()


@pytest.mark.parametrize(
    "column",
    [
        np.full(3, 2**53 + 3),
        np.full(3, -(2**63) + 1),
        np.array([2**53 + 1, -(2**53) - 1]),
        np.full(3, 2**64 - 1, dtype=np.uint64),
        np.array([np.finfo(float).max, np.finfo(float).max]),
        np.array([5e-324, -5e-324]),
    ],
)
def test_extremes_that_were_rounded_still_fit_their_sums(column: np.ndarray) -> None:
    m = Moments.of(column, covariance=True)

    assert Moments.from_json(m.to_json()).fingerprint == m.fingerprint


def test_moments_without_rows_or_entries_come_back() -> None:
    for m in (Moments.empty(), Moments.empty(2), Moments.of(np.full((3, 2), np.nan), covariance=True)):
        assert Moments.from_json(m.to_json()).fingerprint == m.fingerprint


def wider(sums: dict[str, Any]) -> None:
    """The same sums with idle limbs below and above."""
    sums["start"] -= 1
    sums["digits"] = [[0, *row[:-1], row[-1] & 0xFFFFFFFF, -(row[-1] < 0)] for row in sums["digits"]]


def test_sums_in_another_form_are_brought_into_the_one_they_have(saved: dict[str, Any]) -> None:
    for sums in (saved["values"], saved["squares"], saved["products"]["values"]):
        wider(sums)
    saved["minimum"][0] = -0.0 if saved["minimum"][0] == 0 else saved["minimum"][0]

    back = load(saved)

    m = Moments.of(ROWS, covariance=True, quantiles=True)
    assert back.fingerprint == m.fingerprint
    assert (back | back).fingerprint == (m | m).fingerprint


def test_a_sum_of_zero_has_no_place() -> None:
    held = json.loads(Moments.of(np.zeros((4, 1))).to_json())
    held["values"] = {"start": 40, "digits": [[0, 0, 0]]}
    held["minimum"] = [-0.0]

    assert load(held).fingerprint == Moments.of(np.zeros((4, 1))).fingerprint


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(held: Any) -> None:
        for key in keys[:-1]:
            held = held[key]
        held[keys[-1]] = value

    return edit


def reversed_extremes(held: dict[str, Any]) -> None:
    held["minimum"], held["maximum"] = held["maximum"], held["minimum"]


def swapped(held: dict[str, Any]) -> None:
    held["values"], held["squares"] = held["squares"], held["values"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (put("squares", value={"start": 0, "digits": [[0]] * 3}), "sums in column 0 that no 40 numbers"),
        (put("values", value={"start": 36, "digits": [[10**6]] * 3}), "sums in column 0"),
        (put("maximum", 1, value=2e9), None),
        (put("maximum", 1, value=1e9), "sums in column 1 that no 40 numbers from"),
        (put("minimum", 2, value=5.0), "sums in column 2"),
        (put("count", 0, value=1), "sums in column 0"),
        (put("count", 1, value=1 << 62), "count of saved moments"),
        (put("count", 1, value=-1), "count of saved moments"),
        (put("rows", value=0), "entries, and 0 rows"),
        (put("rows", value=1 << 62), "rows"),
        (put("maximum", 0, value=None), "minima and maxima"),
        (put("values", "digits", 0, -1, value=-(1 << 63)), "digits beyond 32 bits"),
        (put("values", "digits", 0, -1, value=1 << 63), "digits beyond 64 bits"),
        (swapped, "sums in column"),
        (reversed_extremes, "minima above their maxima"),
        (put("products", "rows", value=41), "41 complete rows"),
        (put("products", "rows", value=1), "sums in column"),
        (put("products", "rows", value=0), "products that no rows have"),
        (put("products", "products", "digits", 1, 0, value=7), "products that no rows have"),
        (lambda held: held["sketches"].pop(), "sketches do not fit"),
        (lambda held: held["sketches"].reverse(), "sketches do not fit"),
        (put("sketches", 1, value="AAAA"), "sketch is damaged"),
    ],
)
def test_what_no_numbers_have_is_refused(
    saved: dict[str, Any], edit: Callable[[dict[str, Any]], None], words: str | None
) -> None:
    edit(saved)
    if words is None:  # a wider range is possible, as far as the sums tell
        saved["sketches"] = None
        assert load(saved).maximum[1] == 2e9
        return
    with pytest.raises(DataError, match=words):
        load(saved)


def test_an_infinite_extreme_is_refused() -> None:
    text = Moments.of(np.full((3, 1), np.nan)).to_json()

    for number in ("1e999", "-1e999"):
        with pytest.raises(DataError):
            Moments.from_json(text.replace('"minimum": [null]', f'"minimum": [{number}]'))
