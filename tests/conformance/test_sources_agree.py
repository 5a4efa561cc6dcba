"""The same data through every source: the bits of the array in memory."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wellposed import Moments
from wellposed.data import csv_files
from wellposed.data.open import open_source
from wellposed.moments.reduction import moments_of_piece
from wellposed.moments.resume import reduce_source

ROWS = 3001
COLUMNS = ("large", "small", "far", "wide", "gaps", "narrow", "long", "byte")


def matrix() -> dict[str, np.ndarray]:
    """Columns that show rounding: offsets, extremes, NaN, infinities, integers past 2**53."""
    rng = np.random.default_rng(7)
    gaps = rng.normal(size=ROWS)
    gaps[::7], gaps[5], gaps[6] = np.nan, np.inf, -np.inf
    return {
        "large": rng.normal(1e12, 1.0, ROWS),
        "small": rng.normal(0.0, 1e-200, ROWS),
        "far": rng.normal(1e7, 1.0, ROWS).astype(np.float32),
        "wide": rng.normal(0.0, 1e200, ROWS),
        "gaps": gaps,
        "narrow": np.full(ROWS, 0.1),
        "long": rng.integers(2**60, 2**60 + 10**6, ROWS),
        "byte": rng.integers(0, 200, ROWS, dtype=np.uint8),
    }


DATA = matrix()
TABLE = pa.table({**DATA, "word": pa.array(["w"] * ROWS)})
PARTS = [TABLE.slice(i, 700) for i in range(0, ROWS, 700)]


def csv_of(table: pa.Table) -> str:
    # float32 as the doubles that they are: a text has no other way to say which number is meant.
    return pl.from_arrow(table).with_columns(pl.col(pl.Float32).cast(pl.Float64)).write_csv()


def parquet(folder: Path) -> Path:
    pq.write_table(TABLE, folder / "t.parquet", row_group_size=500)
    return folder / "t.parquet"


def parquet_of_polars(folder: Path) -> Path:
    pl.from_arrow(TABLE).write_parquet(folder / "t.parquet", row_group_size=1000)
    return folder / "t.parquet"


def folder_of_parquet(folder: Path) -> Path:
    for i, part in enumerate(PARTS):
        pq.write_table(part, folder / f"{i}.parquet")
    return folder


def pattern_of_parquet(folder: Path) -> str:
    return str(folder_of_parquet(folder) / "*.parquet")


def csv(folder: Path) -> Path:
    (folder / "t.csv").write_text(csv_of(TABLE))
    return folder / "t.csv"


def csv_gz(folder: Path) -> Path:
    (folder / "t.csv.gz").write_bytes(gzip.compress(csv_of(TABLE).encode()))
    return folder / "t.csv.gz"


def list_of_csv(folder: Path) -> list[str]:
    for i, part in enumerate(PARTS):
        (folder / f"{i}.csv").write_text(csv_of(part))
    return [str(folder / f"{i}.csv") for i in range(len(PARTS))]


def arrow(folder: Path) -> Path:
    pl.from_arrow(TABLE).write_ipc(folder / "t.arrow")
    return folder / "t.arrow"


def arrow_stream(folder: Path) -> Path:
    pl.from_arrow(TABLE).write_ipc_stream(folder / "t.arrow")
    return folder / "t.arrow"


def dataset(folder: Path) -> Any:
    return pytest.importorskip("datasets").Dataset(TABLE)


def memory(make: Callable[[], Any]) -> Callable[[Path], Any]:
    return lambda _: make()


SOURCES: dict[str, Callable[[Path], Any]] = {
    "parquet": parquet,
    "parquet of polars": parquet_of_polars,
    "folder of parquet": folder_of_parquet,
    "pattern of parquet": pattern_of_parquet,
    "csv": csv,
    "csv.gz": csv_gz,
    "list of csv": list_of_csv,
    "arrow": arrow,
    "arrow stream": arrow_stream,
    "pyarrow table": memory(lambda: TABLE),
    "pyarrow reader": memory(lambda: pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches(400))),
    "polars": memory(lambda: pl.from_arrow(TABLE)),
    "polars lazy": memory(lambda: pl.from_arrow(TABLE).lazy()),
    "pandas": memory(lambda: pd.DataFrame({**DATA, "word": "w"})),
    "pandas of arrow": memory(lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype)),
    "duckdb": memory(lambda: duckdb.from_arrow(TABLE)),
    "hugging face": dataset,
}


def bits(m: Moments, column: int) -> dict[str, Any]:
    numbers = (
        "count",
        "missing",
        "infinite",
        "minimum",
        "maximum",
        "mean",
        "variance",
        "sample_variance",
        "std",
    )
    return {name: np.asarray(getattr(m, name))[column].tobytes() for name in numbers}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES.keys())
def test_a_table_gives_the_bits_of_its_columns_in_memory(tmp_path, make, threads) -> None:
    source = open_source(make(tmp_path))

    m = reduce_source(source, threads=threads)

    assert source.names == COLUMNS
    assert source.left_alone == {"word": "text"}
    assert m.rows == ROWS
    for i, name in enumerate(COLUMNS):
        assert bits(m, i) == bits(Moments.of(DATA[name]), 0), name


@pytest.mark.parametrize("kind", ["parquet", "csv", "table", "polars", "pandas", "Int64"])
def test_the_covariance_is_that_of_the_rows_without_a_null(tmp_path, kind) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 3)).round(6)
    n = pd.Series(rng.integers(0, 99, 400), dtype="Int64").mask(rng.random(400) < 0.2)
    x[rng.random((400, 3)) < 0.1] = np.nan
    table = pa.table({"a": pa.array(x[:, 0], from_pandas=True), "b": x[:, 1], "n": pa.array(n)})
    whole = np.column_stack([x[:, :2], n.to_numpy(np.float64, na_value=np.nan)])
    data: Any = {"table": table, "polars": pl.from_arrow(table), "pandas": table.to_pandas()}.get(kind)
    if kind == "Int64":
        data = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "n": n})
    elif data is None:
        data = tmp_path / f"t.{kind}"
        pq.write_table(table, data) if kind == "parquet" else pl.from_arrow(table).write_csv(data)

    m, expected = reduce_source(open_source(data), covariance=True), Moments.of(whole, covariance=True)

    assert m.complete == expected.complete > 0
    np.testing.assert_array_equal(m.covariance, expected.covariance)
    for i in range(3):
        assert bits(m, i) == bits(expected, i)


@pytest.mark.parametrize("kind", ["npy", "npz", "npz compressed", "folder"])
@pytest.mark.parametrize("shape", [(3000,), (600, 5), (60, 2, 5, 5)])
def test_an_array_gives_its_bits_from_a_file(tmp_path, kind, shape) -> None:
    x = np.random.default_rng(0).normal(1e9, 1.0, shape)
    if kind == "npy":
        np.save(tmp_path / "x.npy", x)
    elif kind == "folder":
        for i, part in enumerate(np.array_split(x, 7)):
            np.save(tmp_path / f"{i}.npy", part)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(tmp_path / "x.npz", x=x, y=np.arange(3))

    source = open_source(tmp_path)
    m, expected = reduce_source(source), Moments.of(x)

    assert source.ndim == x.ndim
    for i in range(expected.count.size):
        assert bits(m, i) == bits(expected, i)


@pytest.mark.parametrize("size", [5000, 70_001, 1 << 20])
def test_text_gives_the_same_bits_however_it_is_cut(tmp_path, monkeypatch, size) -> None:
    monkeypatch.setattr(csv_files, "BLOCK", size)

    pieces = [moments_of_piece(piece) for piece in open_source(csv(tmp_path)).pieces()]

    m = reduce(or_, pieces)
    for i, name in enumerate(COLUMNS):
        assert bits(m, i) == bits(Moments.of(DATA[name]), 0), name
