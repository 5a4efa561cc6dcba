"""Laws of the normalizer: the way back, invariance, and files that are believed or refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wellposed.errors import ArtifactError
from wellposed.normalize import Normalizer

untimed = settings(deadline=None)

METHODS = st.sampled_from(["standard", "minmax", "maxabs", "robust", "whiten", "zca"])
ROWS = st.tuples(st.integers(2, 20), st.integers(1, 4))
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-6)
TABLES = hnp.arrays(np.float64, ROWS, elements=NUMBERS)


def _spread_of(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x).max(axis=0), 1.0)


@untimed
@given(x=TABLES, method=METHODS)
@example(x=np.array([[0.1, 1e6], [0.1, -1e6], [0.1, 3.0]]), method="whiten")
def test_inverse_after_applying_is_the_identity_to_rounding(x: np.ndarray, method: str) -> None:
    n = Normalizer.fit(x, method=method)

    back = n.inverse(n(x))

    # Directions that whitening drops lie within rounding, whose share of a std is at most about 1e-7.
    tolerance = 1e-6 if method in ("whiten", "zca") else 1e-12
    assert (np.abs(back - x) <= tolerance * _spread_of(x)).all()


@untimed
@given(x=TABLES, method=METHODS)
def test_what_comes_out_of_finite_data_is_finite(x: np.ndarray, method: str) -> None:
    assert np.isfinite(Normalizer.fit(x, method=method)(x)).all()


@untimed
@given(x=TABLES, method=METHODS, power=st.integers(-30, 30))
def test_the_unit_does_not_matter(x: np.ndarray, method: str, power: int) -> None:
    # Powers of two, so that changing the unit rounds nothing.
    n, scaled = Normalizer.fit(x, method=method), Normalizer.fit(x * 2.0**power, method=method)

    np.testing.assert_allclose(scaled(x * 2.0**power), n(x), rtol=1e-9, atol=1e-9)


@untimed
@given(x=TABLES)
def test_minmax_fills_the_unit_interval_and_maxabs_stays_within_one(x: np.ndarray) -> None:
    low_to_high, by_largest = (Normalizer.fit(x, method=m)(x) for m in ("minmax", "maxabs"))

    assert low_to_high.min() >= 0
    assert low_to_high.max() <= 1
    assert np.abs(by_largest).max() <= 1


@untimed
@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(1, 6), method=st.sampled_from(["whiten", "zca"]))
def test_whitened_columns_are_uncorrelated_with_variance_one(seed: int, columns: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(size=columns) * 10
    n = Normalizer.fit(x, method=method)

    z = n(x)

    condition = np.linalg.cond(np.corrcoef(x.T)) if columns > 1 else 1.0
    np.testing.assert_allclose(z.T @ z / len(x), np.eye(columns), atol=1e-12 * condition)


@untimed
@given(x=TABLES, method=METHODS, cut=st.integers(0, 20))
def test_batches_give_what_the_whole_gives(x: np.ndarray, method: str, cut: int) -> None:
    whole = Normalizer.fit(x, method=method)
    parts = Normalizer.fit([part for part in (x[:cut], x[cut:]) if len(part)], method=method)

    np.testing.assert_array_equal(parts(x), whole(x))


def _equal(a: Normalizer, b: Normalizer) -> bool:
    return str(a) == str(b) and a.center.tobytes() == b.center.tobytes() and a.provenance == b.provenance


GOOD = Normalizer.fit(np.random.default_rng(0).normal([0, 5, 1e6], size=(30, 3)), columns=["a", "b", "c"])
WHITE = Normalizer.fit(np.random.default_rng(0).normal(size=(30, 2)), method="whiten")


def _content(n: Normalizer) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        n.save(Path(folder) / "n.json")
        return (Path(folder) / "n.json").read_bytes()


CONTENTS = [(GOOD, _content(GOOD)), (WHITE, _content(WHITE))]
PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([
        b"NaN", b"Infinity", b"1e400", b"-1", b"null", b"true", b"{", b"}", b"[", b"]", b",", b":", b'"', b"0",
        b"1.0", b" ", b"\\u0000", b"9" * 400, b"[" * 2000, b'"a":1,', b"e5", b".",
    ]),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(which=st.sampled_from([0, 1]), data=st.data())
def test_a_mutated_file_is_refused_or_is_the_same_normalizer(which: int, data: st.DataObject) -> None:
    n, content = CONTENTS[which]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 12)))
        content = content[:start] + data.draw(PIECES) + content[end:]

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "n.json").write_bytes(content)
        try:
            found = Normalizer.load(Path(folder) / "n.json")
        except ArtifactError:
            return

    assert _equal(found, n)


def test_what_was_saved_is_accepted_by_the_same_judge() -> None:
    for n, content in CONTENTS:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "n.json").write_bytes(content)
            assert _equal(Normalizer.load(Path(folder) / "n.json"), n)
