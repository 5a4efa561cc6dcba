"""SQL and polars expressions: the normalizer's own numbers, whatever the columns are called."""

from __future__ import annotations

import sqlite3

import duckdb
import numpy as np
import polars as pl
import pytest

from wellposed import Normalizer
from wellposed.errors import ArgumentError
from wellposed.normalize.export.polars import to_polars
from wellposed.normalize.export.sql import to_sql

RNG = np.random.default_rng(0)
NAMES = ('he said "no"', "two\nlines; drop table data; --", "*", "^a.*$", "ünï côdé")
TABLE = RNG.normal([5.0, -300.0, 1e7, 1e-300, 0.1], [2.0, 50.0, 1.0, 1e-301, 0.0], size=(40, 5))
FRAME = pl.DataFrame({"id": [str(i) for i in range(40)], **dict(zip(NAMES, TABLE.T, strict=True))})
AFFINE = ("standard", "minmax", "maxabs", "robust")
WHITENING = ("whiten", "zca")


def fitted(method: str = "standard", columns: tuple[str, ...] = NAMES) -> Normalizer:
    return Normalizer.fit(FRAME.drop("id"), method=method, columns=columns)


def fetched(database: duckdb.DuckDBPyConnection, query: str) -> pl.DataFrame:
    return pl.DataFrame(database.sql(query).to_arrow_table())


def run(query: str) -> pl.DataFrame:
    with duckdb.connect() as database:
        database.register("data", FRAME.to_arrow())
        return fetched(database, query)


@pytest.mark.parametrize("method", AFFINE)
@pytest.mark.parametrize("dialect", ["duckdb", "ansi"])
def test_duckdb_gives_the_bits_of_the_normalizer(method: str, dialect: str) -> None:
    n = fitted(method)

    out = run(to_sql(n, dialect=dialect))

    np.testing.assert_array_equal(out.select(pl.selectors.by_name(*NAMES)).to_numpy(), n(TABLE))


@pytest.mark.parametrize("method", AFFINE)
def test_polars_is_within_a_rounding_of_the_normalizer_and_keeps_other_columns(method: str) -> None:
    n = fitted(method)

    for out in (FRAME.with_columns(to_polars(n)), FRAME.lazy().with_columns(to_polars(n)).collect()):
        assert out.columns == FRAME.columns
        assert out["id"].equals(FRAME["id"])
        np.testing.assert_allclose(out.drop("id").to_numpy(), n(TABLE), rtol=2.0**-51, atol=0)


def test_the_smallest_scales_are_divided_by_too() -> None:
    x = np.array([[1e-310], [3e-310]])
    n = Normalizer.fit(x, columns=["a"])

    out = pl.DataFrame(x, schema=["a"]).select(to_polars(n))["a"].to_list()

    assert out == n(x).ravel().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("method", WHITENING)
def test_whitening_agrees_to_rounding(method: str) -> None:
    mixing = RNG.normal(size=(4, 4))
    x = RNG.normal(size=(60, 4)) @ mixing + 5
    n = Normalizer.fit(x, method=method, columns=["a", "b", "c", "d"])
    frame = pl.DataFrame(x, schema=["a", "b", "c", "d"])

    with duckdb.connect() as database:
        database.register("data", frame.to_arrow())
        for query in (to_sql(n), to_sql(n, dialect="ansi")):
            np.testing.assert_allclose(fetched(database, query).to_numpy(), n(x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(frame.select(to_polars(n)).to_numpy(), n(x), rtol=0, atol=1e-12)


def test_whitening_of_many_columns_stays_shallow() -> None:
    names = [f"c{i}" for i in range(70)]
    frame = pl.DataFrame(RNG.normal(size=(200, 70)), schema=names)
    n = Normalizer.fit(frame.to_numpy(), method="zca", columns=names)

    depth = max(
        line.count("(") and max(np.cumsum([(c == "(") - (c == ")") for c in line]))
        for line in to_sql(n).splitlines()
    )

    assert depth < 12
    np.testing.assert_allclose(frame.select(to_polars(n)).to_numpy(), n(frame.to_numpy()), atol=1e-10)


def test_columns_that_are_not_normalised_keep_type_place_and_value() -> None:
    n = fitted(columns=NAMES[1:2])

    sql, polars = run(to_sql(n)), FRAME.with_columns(to_polars(n))

    assert sql.columns == polars.columns == FRAME.columns
    for name in ("id", *NAMES[:1], *NAMES[2:]):
        assert sql.get_column(name).equals(FRAME.get_column(name))
        assert polars.get_column(name).equals(FRAME.get_column(name))


def test_nulls_stay_null_and_nan_stays_nan() -> None:
    n = Normalizer.fit(np.array([[1.0], [4.0]]), columns=["a"])
    frame = pl.DataFrame({"a": [4.0, None, float("nan"), float("inf")]})

    with duckdb.connect() as database:
        database.register("data", frame.to_arrow())
        sql = fetched(database, to_sql(n))["a"].to_list()
    polars = frame.with_columns(to_polars(n))["a"].to_list()

    for values in (sql, polars):
        assert values[:2] == [1.0, None]
        assert np.isnan(values[2])
        assert values[3] == np.inf


def test_a_null_spoils_the_whitened_columns_of_its_row_and_no_other() -> None:
    x = RNG.normal(size=(30, 3))
    n = Normalizer.fit(x, method="zca", columns=[0, 1])
    named = Normalizer.fit(pl.DataFrame(x, schema=["a", "b", "c"]), method="zca", columns=["a", "b"])
    frame = pl.DataFrame({"a": [1.0, None], "b": [2.0, 2.0], "c": [None, 5.0]})

    out = frame.select(to_polars(named)).to_dicts()

    assert n.names is None
    assert out[1] == {"a": None, "b": None, "c": 5.0}
    assert out[0]["c"] is None
    assert out[0]["a"] is not None


def test_integers_are_worked_as_floats() -> None:
    n = Normalizer.fit(np.array([[1.0], [4.0]]), columns=["a"])

    with duckdb.connect() as database:
        database.execute("create table data as select 7 as a union all select 8")
        assert database.execute(to_sql(n)).fetchall() == [(3.0,), (3.0 + 2 / 3,)]


def test_the_plain_dialect_runs_in_sqlite() -> None:
    n = Normalizer.fit(np.array([[1.0, 5.0], [4.0, 5.0]]), columns=["a", "odd\nname"])
    database = sqlite3.connect(":memory:")
    database.execute('create table "my table" (a real, "odd\nname" integer)')
    database.execute('insert into "my table" values (4.0, 6)')

    assert database.execute(to_sql(n, "my table", dialect="ansi")).fetchall() == [(1.0, 1.0)]
    database.close()


def test_a_qualified_table_is_quoted_by_its_parts() -> None:
    n = Normalizer.fit(np.array([[1.0], [4.0]]), columns=["a"])

    assert to_sql(n, ("my db", 'x"y')).endswith('from "my db"."x""y"')
    assert to_sql(n, ("my.table",), dialect="ansi").endswith('from "my.table"')
    assert to_sql(n, "train.parquet").endswith('from "train.parquet"')
    assert to_sql(n, "../data/main.te").endswith('from "../data/main.te"')
    assert to_sql(n, "t", dialect="spark").splitlines() == [
        "select",
        "  (cast(`a` as double) - 2.5e0D) / 1.5e0D as `a`",
        "from `t`",
    ]


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (["a", "A"], {}, "a and A differ in case only"),
        (["a", ""], {}, "cannot be written in SQL"),
        (["a", "b\0"], {}, "cannot be written in SQL"),
        (["a", "b"], {"dialect": "oracle"}, "dialect is 'oracle': expected one of duckdb"),
        (["a", "b"], {"table": ""}, "table is ''"),
        (
            ["a", "b"],
            {"table": "main.te"},
            r"give \('main', 'te'\) for a qualified name, \('main.te',\) for a name",
        ),
        (["a", "b"], {"table": "t.csv", "dialect": "spark"}, "table='t.csv' has a dot"),
        (["a", "b"], {"table": ()}, "table is a tuple"),
        (None, {}, "no names of columns"),
    ],
)
def test_what_sql_cannot_say_is_refused(names, options: dict, words: str) -> None:
    n = Normalizer.fit(TABLE[:, :2], columns=names)
    with pytest.raises(ArgumentError, match=words):
        to_sql(n, **options)


def test_polars_needs_names_too() -> None:
    with pytest.raises(ArgumentError, match="no names of columns, and to_polars"):
        to_polars(Normalizer.fit(TABLE))
