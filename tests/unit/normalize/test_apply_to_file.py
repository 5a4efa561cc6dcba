"""A file normalised into another: the same kind and schema, whole or not at all."""

from __future__ import annotations

import gzip
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wellposed import Normalizer
from wellposed.data import csv_files
from wellposed.errors import ArgumentError, DataError
from wellposed.normalize.apply_to_file import apply

X = np.random.default_rng(3).normal(5.0, 2.0, size=(1000, 2))
TRAIN = pa.table({"a": X[:, 0].astype(np.float32), "b": X[:, 1]})
N = Normalizer.fit(TRAIN)
TABLE = pa.table(
    {
        "w": ["u", None, "v"],
        "b": pa.array([1.0, None, float("nan")]),
        "a": pa.array([2.0, 3.0, None], pa.float32()),
        "extra": [7, 8, 9],
    }
)


def write_table(table: pa.Table, place: Path) -> None:
    if place.suffix == ".parquet":
        pq.write_table(table, place, compression="zstd")
    else:
        pl.from_arrow(table).write_ipc(place)


def read_table(place: Path) -> pa.Table:
    return pq.read_table(place) if place.suffix == ".parquet" else pa.ipc.open_file(place).read_all()


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As on a full disk, writing fails midway."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_table_keeps_its_schema_nulls_and_other_columns(tmp_path, kind) -> None:
    place, out = tmp_path / f"t.{kind}", tmp_path / f"z.{kind}"
    write_table(TABLE, place)

    left = apply(place, N, out)

    z, before = read_table(out), read_table(place)
    assert left == ("w", "extra")
    assert z.schema.types == before.schema.types
    assert z.column("w").equals(before.column("w"))
    assert z.column("extra").equals(before.column("extra"))
    a, b = z.column("a").to_pylist(), z.column("b").to_pylist()
    assert a[:2] == [float(np.float32((v - N.mean[0]) / N.std[0])) for v in (2.0, 3.0)]
    assert (a[2], b[0], b[1]) == (None, (1.0 - N.mean[1]) / N.std[1], None)
    assert b[2] != b[2]


def test_a_compressed_parquet_file_stays_compressed(tmp_path) -> None:
    write_table(TABLE, tmp_path / "t.parquet")
    apply(tmp_path / "t.parquet", N, tmp_path / "z.parquet")

    assert pq.ParquetFile(tmp_path / "z.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


def test_integers_become_float32(tmp_path) -> None:
    write_table(pa.table({"a": [2, None], "b": [1.0, 2.0]}), tmp_path / "t.parquet")
    apply(tmp_path / "t.parquet", N, tmp_path / "z.parquet")

    column = read_table(tmp_path / "z.parquet").column("a")
    assert column.type == pa.float32()
    assert column.to_pylist() == [float(np.float32((2 - N.mean[0]) / N.std[0])), None]


@pytest.mark.parametrize("size", [16, 1 << 20])
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_text_keeps_what_is_not_normalised_as_it_was_written(tmp_path, monkeypatch, ending, size) -> None:
    monkeypatch.setattr(csv_files, "BLOCK", size)
    text = 'w,b,a\n"x, y",1,NA\n"he said ""no""",2.5,3\n'
    place, out = tmp_path / f"t.{ending}", tmp_path / f"z.{ending}"
    place.write_bytes(gzip.compress(text.encode()) if ending == "csv.gz" else text.encode())

    left = apply(place, N, out)

    written = gzip.decompress(out.read_bytes()) if ending == "csv.gz" else out.read_bytes()
    b = [repr(float((v - N.mean[1]) / N.std[1])) for v in (1.0, 2.5)]
    a = repr(float((3.0 - N.mean[0]) / N.std[0]))
    assert left == ("w",)
    assert written.decode() == f'w,b,a\n"x, y",{b[0]},NA\n"he said ""no""",{b[1]},{a}\n'


def test_text_with_decimal_commas_is_written_with_them(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1,5;2\n")
    apply(tmp_path / "t.csv", N, tmp_path / "z.csv")

    line = (tmp_path / "z.csv").read_text().splitlines()[1]
    assert line == ";".join(
        repr(float((v - m) / s)) for v, m, s in zip((1.5, 2), N.mean, N.std, strict=True)
    ).replace(".", ",")


def test_bytes_that_are_no_utf8_pass_unchanged(tmp_path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b,w\n" + b"1,2,x\n" * 60_000 + b"1,2,caf\xe9\n")
    apply(tmp_path / "t.csv", N, tmp_path / "z.csv")

    assert (tmp_path / "z.csv").read_bytes().endswith(b",caf\xe9\n")


def test_whitening_leaves_no_raw_value_beside_a_missing_one(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,NA\n1,2\n")
    apply(tmp_path / "t.csv", Normalizer.fit(TRAIN, method="whiten"), tmp_path / "z.csv")

    assert (tmp_path / "z.csv").read_text().splitlines()[1] == "nan,NA"


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_array_is_written_part_by_part_with_the_bits_of_the_whole(tmp_path, monkeypatch, kind) -> None:
    monkeypatch.setattr("wellposed.normalize.apply_to_file._PIECE", 100)
    n = Normalizer.fit(X)
    x = X.astype(np.float32)
    place, out = tmp_path / f"x.{kind}", tmp_path / f"z.{kind}"
    np.save(place, x) if kind == "npy" else np.savez_compressed(place, x=x, y=np.arange(9))

    left = apply(place, n, out)

    z = np.load(out)
    assert left == (() if kind == "npy" else ("y",))
    np.testing.assert_array_equal(z if kind == "npy" else z["x"], n(x))
    assert kind == "npy" or z["y"].tolist() == list(range(9))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.arrow", "t.npy", "t.npz"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, name) -> None:
    place, out = tmp_path / name, tmp_path / f"z{name}"
    n = N
    if name.endswith(("parquet", "arrow")):
        write_table(TRAIN, place)
    elif name.endswith("csv"):
        pl.from_arrow(TRAIN).write_csv(place)
    else:
        n = Normalizer.fit(X)
        np.save(place, X) if name.endswith("npy") else np.savez(place, x=X)
    out.write_text("old")

    with no_file_larger_than(2000), pytest.raises(DataError, match=f"z{name} cannot be written"):
        apply(place, n, out, force=True)

    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, f"z{name}"]


@pytest.mark.parametrize(
    ("table", "words"),
    [({"a": [1.0]}, "lacks b"), ({"a": [1.0], "b": ["x"]}, "'?b'? holds text")],
)
def test_a_file_that_does_not_fit_is_refused_and_nothing_is_written(tmp_path, table, words) -> None:
    write_table(pa.table(table), tmp_path / "t.parquet")

    with pytest.raises(DataError, match=words):
        apply(tmp_path / "t.parquet", N, tmp_path / "z.parquet")

    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_where_to_write_is_checked_first(tmp_path) -> None:
    write_table(TABLE, tmp_path / "t.parquet")

    for out, words in [
        ("z.csv", r"expected a \.parquet"),
        ("no/z.parquet", "no such folder"),
        ("t.parquet", "itself"),
    ]:
        with pytest.raises(ArgumentError, match=words):
            apply(tmp_path / "t.parquet", N, tmp_path / out)
    with pytest.raises(DataError, match="no such file"):
        apply(tmp_path / "u.parquet", N, tmp_path / "z.parquet")
    with pytest.raises(DataError, match="no names of columns"):
        apply(tmp_path / "t.parquet", Normalizer.fit(X), tmp_path / "z.parquet")
