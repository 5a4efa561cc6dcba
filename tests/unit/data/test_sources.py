"""Files and tables by one door: what is read, what is left alone, and what is refused with the reason."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from wellposed import Moments
from wellposed.data import csv_files, parquet
from wellposed.data.arrow import columns_of
from wellposed.data.open import open_source
from wellposed.errors import ArgumentError, DataError, MissingDependency
from wellposed.moments.exact.sums import VALUE_BIAS
from wellposed.moments.resume import reduce_source

BIG = 2**60 + 1
TABLE = pa.table(
    {
        "n": pa.array([1, None, BIG], pa.int64()),
        "x": [0.5, float("nan"), 2.0],
        "word": ["a", None, "b"],
        "flag": [True, False, None],
        "day": pa.array([0, 1, 2], pa.date32()),
        "price": pa.array([1, 2, 3], pa.decimal128(9, 2)),
        "class": pa.array(["u", "v", "u"]).dictionary_encode(),
        "box": [[1.0], [2.0], [3.0]],
    }
)
REASONS = {"word": "text", "flag": "boolean", "day": "date", "class": "categories", "box": "lists"}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    place = folder / name
    place.write_bytes(content.encode() if isinstance(content, str) else content)
    return place


def columns_in(source) -> dict[str, list]:
    """All entries of each column, in order."""
    pieces = list(source.pieces())
    return {n: [v for p in pieces for v in p.columns[i].tolist()] for i, n in enumerate(source.names)}


def missing_in(source) -> list[int]:
    return np.sum([list(piece.missing) for piece in source.pieces()], axis=0).tolist()


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather"])
def test_a_table_in_a_file_keeps_its_integers_exact_and_says_what_it_leaves_alone(tmp_path, ending) -> None:
    place = tmp_path / f"t.{ending}"
    if ending == "parquet":
        pq.write_table(TABLE, place)
    else:
        with pa.OSFile(str(place), "wb") as file, pa.ipc.new_file(file, TABLE.schema) as writer:
            writer.write(TABLE)

    source = open_source(place)

    assert source.names == ("n", "x")
    assert source.integers == (True, False)
    assert {n: source.left_alone[n] for n in REASONS} == REASONS
    assert source.left_alone["price"].startswith("decimal")
    assert columns_in(source)["n"] == [1, BIG]
    assert missing_in(source) == [1, 0]
    assert sum(p.rows for p in source.pieces()) == 3
    assert sum(p.bytes for p in source.pieces()) == source.bytes == place.stat().st_size


@pytest.mark.parametrize(
    "make",
    [
        lambda: TABLE,
        lambda: TABLE.to_batches()[0],
        lambda: TABLE.to_reader(),
        lambda: pl.from_arrow(TABLE),
        lambda: pl.from_arrow(TABLE).lazy(),
        lambda: duckdb.from_arrow(TABLE),
        lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
        lambda: TABLE.select(["n", "x", "word"]).to_pandas().astype({"n": "Int64"}),
    ],
    ids=["Table", "RecordBatch", "reader", "polars", "LazyFrame", "duckdb", "ArrowDtype", "Int64"],
)
def test_a_table_in_memory_is_read_as_it_stands(make) -> None:
    source = open_source(make())

    assert source.names == ("n", "x")
    assert source.integers == (True, False)
    assert source.left_alone["word"] == "text"
    assert next(source.pieces()).columns[0].tolist()[0] == 1


def test_integers_of_pandas_with_nulls_stay_exact() -> None:
    frame = pd.DataFrame({"n": pd.array([1, None, BIG], "Int64"), "o": [BIG, None, 2.5]})
    frame["o"] = frame["o"].astype(object)

    source = open_source(frame)

    assert columns_in(source)["n"] == [1, BIG]
    assert missing_in(source) == [1, 1]


def test_a_column_of_python_objects_is_read_when_most_are_numbers_and_the_odd_one_is_named() -> None:
    frame = pd.DataFrame({"x": [1, 2, "oops", 4], "w": ["a", 1, "b", "c"]}, dtype=object)

    source = open_source(frame)

    assert source.names == ("x",)
    assert "objects" in source.left_alone["w"]
    with pytest.raises(DataError, match=r"'x' holds 'oops' in row 2"):
        list(source.pieces())


def test_a_numpy_column_of_pandas_is_not_copied() -> None:
    x = np.arange(5.0)
    piece = next(open_source(pd.DataFrame({"x": x}, copy=False)).pieces())

    assert np.shares_memory(piece.columns[0], x)


@pytest.mark.parametrize(
    "made",
    [pl.Series("a", [1, 2]), pd.Series([1, 2], name="a"), pa.chunked_array([[1], [2]]), pa.array([1, 2])],
    ids=["polars", "pandas", "ChunkedArray", "Array"],
)
def test_a_single_column_is_a_table_of_one(made) -> None:
    assert list(columns_in(open_source(made)).values()) == [[1, 2]]


@pytest.mark.parametrize("kind", ["int8", "uint16", "int32", "uint64", "float16", "float32"])
def test_every_kind_of_number_keeps_its_dtype(tmp_path, kind) -> None:
    x = np.array([1, 2, 3], kind)
    pq.write_table(pa.table({"x": x}), tmp_path / "t.parquet")

    for data in (tmp_path / "t.parquet", pa.table({"x": x}), pd.DataFrame({"x": x})):
        (piece,) = open_source(data).pieces()
        assert piece.columns[0].dtype == x.dtype


def test_a_stream_that_was_read_says_so() -> None:
    source = open_source(TABLE.to_reader())
    list(source.pieces())

    with pytest.raises(DataError, match="only once"):
        list(source.pieces())


def test_a_hugging_face_dataset_is_read_in_the_order_of_its_selection() -> None:
    datasets = pytest.importorskip("datasets")
    held = datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0], "label": ["a", "b", "c"]}).select([2, 0])

    source = open_source(held)

    assert columns_in(source) == {"x": [3.0, 1.0]}
    assert source.left_alone == {"label": "text"}


@pytest.mark.parametrize("data", [np.ones(3), [1, 2], [np.ones(2)], object(), None, {"x": [1]}])
def test_what_is_no_table_and_no_path_is_for_others(data) -> None:
    assert open_source(data) is None


@pytest.mark.parametrize(
    ("index", "name"), [(pd.Index([5, 3, 9]), "__index_level_0__"), (pd.Index([5, 3, 9], name="id"), "id")]
)
def test_the_index_that_pandas_wrote_is_no_column_of_numbers(tmp_path, index, name) -> None:
    place = tmp_path / "t.parquet"
    pd.DataFrame({"x": [1.0, 2.0, 4.0]}, index=index).to_parquet(place)

    for data in (place, pq.read_table(place)):
        source = open_source(data)
        assert source.names == ("x",)
        assert "reset_index" in source.left_alone[name]
    with pytest.raises(ArgumentError, match="index of rows of pandas"):
        open_source(place).select([name])


def test_the_index_of_pandas_is_known_by_its_name_where_its_notes_are_lost_or_spoiled() -> None:
    held = {"__index_level_0__": [5, 3], "__index_level_x__": [1, 2]}

    for notes in (None, {b"pandas": b"no json"}, {b"pandas": b"[]"}):
        source = open_source(pa.table(held).replace_schema_metadata(notes))
        assert source.names == ("__index_level_x__",)


def test_a_folder_is_read_in_order_and_marks_of_engines_are_passed_over(tmp_path) -> None:
    (tmp_path / "_delta").mkdir()
    pq.write_table(pa.table({"x": [3]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": [1]}), tmp_path / "_delta" / "c.parquet")
    write(tmp_path, "_SUCCESS", "")
    write(tmp_path, ".a.parquet.crc", "x")

    for data in (tmp_path, str(tmp_path / "*.parquet"), sorted(tmp_path.glob("*.parquet"))):
        source = open_source(data)
        assert columns_in(source) == {"x": [1, 2, 3]}
        assert source.rows == 3


def test_files_may_differ_in_order_width_of_numbers_and_columns_of_nulls(tmp_path) -> None:
    pq.write_table(pa.table({"x": pa.array([1], pa.int32()), "y": [0.5]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": [1.5], "x": pa.array([BIG], pa.int64())}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"x": pa.nulls(2), "y": [2.5, 3.5]}), tmp_path / "c.parquet")

    source = open_source(tmp_path)

    assert columns_in(source) == {"x": [1, BIG], "y": [0.5, 1.5, 2.5, 3.5]}
    assert missing_in(source) == [2, 0]
    assert source.integers == (True, False)


def test_partitions_in_the_names_of_folders_are_left_alone(tmp_path) -> None:
    for year in ("2020", "2021"):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"x": [float(year)]}), tmp_path / f"year={year}" / "part-0.parquet")

    source = open_source(tmp_path)

    assert columns_in(source) == {"x": [2020.0, 2021.0]}
    assert source.left_alone == {"year": "in the names of folders"}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"x": [1]}, r"b\.parquet lacks y.*a\.parquet"),
        ({"x": [1], "y": [1], "z": [1]}, r"b\.parquet adds z"),
    ],
)
def test_files_with_other_columns_are_refused_by_name(tmp_path, other, words) -> None:
    pq.write_table(pa.table({"x": [1], "y": [2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table(other), tmp_path / "b.parquet")

    with pytest.raises(DataError, match=words):
        open_source(tmp_path)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_column_of_two_kinds_is_refused_by_file_unless_it_is_left_out(tmp_path, order) -> None:
    pq.write_table(pa.table({"x": pa.nulls(1), "y": [1]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"x": [1], "y": [2]}), tmp_path / f"{order[0]}.parquet")
    pq.write_table(pa.table({"x": ["one"], "y": [3]}), tmp_path / f"{order[1]}.parquet")
    source = open_source(tmp_path)

    with pytest.raises(
        DataError, match=rf"'x' is text in .*{order[1]}\.parquet and numbers in .*{order[0]}\.parquet"
    ):
        list(source.pieces())
    assert columns_in(source.select(["y"])) == {"y": [1, 2, 3] if order == ("a", "b") else [1, 3, 2]}


def test_only_chosen_columns_are_read_and_the_others_are_said_to_be_left(tmp_path) -> None:
    place = write(tmp_path, "t.csv", "a,b,w\n1,oops,x\n2,3,y\n4,5,z\n")

    chosen = open_source(place).select(["a"])

    assert columns_in(chosen) == {"a": [1, 2, 4]}
    assert dict(chosen.left_alone) == {"b": "not chosen", "w": "text"}
    assert chosen.identity != open_source(place).identity
    for name, words in (("q", "not in"), ("w", "no numbers")):
        with pytest.raises(ArgumentError, match=words):
            open_source(place).select([name])


def test_the_identity_changes_with_the_file_and_not_with_reading(tmp_path) -> None:
    place = write(tmp_path, "t.csv", "a\n1\n")
    before = open_source(place)
    list(before.pieces())
    assert open_source(place).identity == before.identity

    os.utime(place, ns=(1, 1))
    assert open_source(place).identity != before.identity


@pytest.mark.parametrize(
    "make",
    [
        lambda: TABLE,
        lambda: TABLE.to_pandas(),
        lambda: pl.from_arrow(TABLE.select(["n", "x"])).lazy(),
        lambda: duckdb.sql("select 1 as n"),
    ],
)
def test_data_in_memory_cannot_be_told_apart_and_have_no_checkpoint(tmp_path, make) -> None:
    source = open_source(make())

    assert source.identity == source.select(["n"]).identity == ""
    with pytest.raises(ArgumentError, match="only files can be resumed"):
        reduce_source(source, checkpoint=tmp_path / "c")


def test_integers_beside_nulls_stay_exact_with_a_covariance(tmp_path) -> None:
    n = [2**60 + 1, None, 2**60 + 2, 7]
    pq.write_table(
        pa.table({"n": pa.array(n, pa.int64()), "x": [1.0, 2.0, 3.0, 5.0]}), tmp_path / "t.parquet"
    )
    source = open_source(tmp_path / "t.parquet")

    m, alone = reduce_source(source, covariance=True), reduce_source(source)

    assert m.fingerprint == alone.fingerprint
    assert m.values.integers()[0] == (2**61 + 10) << VALUE_BIAS
    assert m.complete == 3
    rows = [[float(a), b] for a, b in zip(n, [1.0, 2.0, 3.0, 5.0], strict=True) if a is not None]
    np.testing.assert_array_equal(m.covariance, Moments.of(np.array(rows), covariance=True).covariance)


def parquet_of_groups(place: Path) -> None:
    pq.write_table(
        pa.table({"x": np.arange(1_200_000.0), "y": np.arange(1_200_000) % 7}), place, row_group_size=700_000
    )


def csv_of_blocks(place: Path) -> None:
    place.write_text("x,w\n" + "".join(f'{i},"line\n{i}"\n' for i in range(3000)))


def npy_of_pieces(place: Path) -> None:
    np.save(place, np.arange(3_000_000.0).reshape(-1, 3))


def npz_of_pieces(place: Path) -> None:
    np.savez_compressed(place, x=np.arange(3_000_000.0).reshape(-1, 3) % 10)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("t.parquet", parquet_of_groups),
        ("t.csv", csv_of_blocks),
        ("t.npy", npy_of_pieces),
        ("t.npz", npz_of_pieces),
    ],
)
def test_a_source_can_be_taken_up_at_any_piece(tmp_path, monkeypatch, name, make) -> None:
    monkeypatch.setattr(parquet, "_LONG", 1 << 22)
    monkeypatch.setattr(parquet, "_AT_ONCE", 1 << 22)
    monkeypatch.setattr(csv_files, "BLOCK", 1 << 12)
    for file in ("1", "2"):
        (tmp_path / file).mkdir()
        make(tmp_path / file / name)
    source = open_source(tmp_path)
    whole = list(source.pieces())
    assert len(whole) > 4

    for start in range(len(whole) + 1):
        rest = list(source.pieces(start=start))
        assert [p.rows for p in rest] == [p.rows for p in whole[start:]]
        for a, b in zip(rest[:1], whole[start:], strict=False):
            np.testing.assert_array_equal(
                a.array if a.array is not None else a.columns[0],
                b.array if b.array is not None else b.columns[0],
            )


def test_small_row_groups_make_one_piece(tmp_path) -> None:
    pq.write_table(pa.table({"x": np.arange(5000)}), tmp_path / "t.parquet", row_group_size=3)

    (piece,) = open_source(tmp_path / "t.parquet").pieces()

    assert piece.columns[0].tolist() == list(range(5000))


@pytest.mark.parametrize("covariance", [False, True])
def test_a_wide_row_group_is_read_some_columns_at_a_time(tmp_path, monkeypatch, covariance) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 20))
    x[::9, 3] = np.nan
    table = pa.table({f"c{i}": pa.array(x[:, i], from_pandas=i % 2 == 1) for i in range(20)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=1700)
    monkeypatch.setattr(parquet, "PIECE_BYTES", 50_000)
    monkeypatch.setattr(parquet, "_AT_ONCE", 50_000)
    monkeypatch.setattr(parquet, "_LONG", 50_000)

    source = open_source(tmp_path / "t.parquet")
    pieces = list(source.pieces())

    assert max(sum(len(c) > 0 for c in piece.columns) for piece in pieces) in (6, 7)
    assert sum(piece.rows for piece in pieces) == 3000
    assert sum(piece.bytes for piece in pieces) == source.bytes
    for start in (1, 5, len(pieces) - 1):
        assert [p.columns[19].tolist() for p in source.pieces(start)] == [
            p.columns[19].tolist() for p in pieces[start:]
        ]
    m = reduce_source(source, covariance=covariance)
    expected = Moments.of(x, covariance=covariance)
    assert m.rows == 3000
    for name in ("count", "missing", "mean", "variance", "minimum", "precision"):
        np.testing.assert_array_equal(getattr(m, name), getattr(expected, name))
    if covariance:
        np.testing.assert_array_equal(m.covariance, expected.covariance)


CSV = 'name,n,x\nann,1,1.5\nbob,,NA\n"c, d",3, 2.5\n'


@pytest.fixture(params=["with polars", "without polars"])
def polars(request, monkeypatch) -> None:
    if request.param == "without polars":
        monkeypatch.setattr(csv_files, "find_spec", lambda name: None)


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz"])
def test_text_is_read_by_its_header_with_what_is_missing_counted(tmp_path, polars, ending) -> None:
    written = CSV.replace(",", "\t").replace("c\t d", "c, d") if ending == "tsv" else CSV
    place = write(tmp_path, f"t.{ending}", gzip.compress(written.encode()) if ending == "csv.gz" else written)

    source = open_source(place)

    assert source.names == ("n", "x")
    assert dict(source.left_alone) == {"name": "text"}
    assert columns_in(source) == {"n": [1, 3], "x": [1.5, 2.5]}
    assert missing_in(source) == [1, 1]
    assert source.integers == (True, False)
    assert sum(p.bytes for p in source.pieces()) == source.bytes == place.stat().st_size


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a;b\n1;2,5\n-3;,5\n", {"a": [1, -3], "b": [2.5, 0.5]}),
        ("\ufeffa\n1\n", {"a": [1]}),
        ("a,b\r\n1,2\r\n3,4\r\n", {"a": [1, 3], "b": [2, 4]}),
        ("a,b\n1,2\n\n3,4\n\n", {"a": [1, 3], "b": [2, 4]}),
        ("a\n1\n\n2", {"a": [1, 2]}),
        ("a\n1", {"a": [1]}),
        ("a,b\n 1 , 2\n? ,n/a\nNone,NULL\n", {"a": [1], "b": [2]}),
        ("a,b\n+1,1e3\n007,.5\n-0,5.\n", {"a": [1, 7, 0], "b": [1000.0, 0.5, 5.0]}),
        ('a,b\n"1","2.5"\n"3",\n', {"a": [1, 3], "b": [2.5]}),
        ("a,b\n1,inf\n2,-Infinity\n", {"a": [1, 2], "b": [float("inf"), -float("inf")]}),
        (f"a,b\n{BIG},1\n1,{2**64 - 1}\n", {"a": [BIG, 1], "b": [1, 2**64 - 1]}),
        (f"a\n1\n{10**30}\n", {"a": [1.0, 1e30]}),
        (f"a\n-1\n{2**64 - 1}\n", {"a": [-1.0, 2.0**64]}),
        ("a\n1\n2\n0.5\n", {"a": [1.0, 2.0, 0.5]}),
        ("a,w\n0.1,x\n0.30000000000000004,y\n4.35,z\n", {"a": [0.1, 0.30000000000000004, 4.35]}),
        ('"a\nb",c\n1,2\n', {"a\nb": [1], "c": [2]}),
        ("a|b\n1|2\n", {"a": [1], "b": [2]}),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str) else "",
)
def test_text_is_read_as_it_is_meant(tmp_path, polars, content, expected) -> None:
    found = columns_in(open_source(write(tmp_path, "t.csv", content)))

    assert {n: [v for v in held if v == v] for n, held in found.items()} == expected
    assert [[type(v) for v in held if v == v] for held in found.values()] == [
        [type(v) for v in held] for held in expected.values()
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty, expected a header"),
        ("a,b\n", "a header and no rows"),
        ("1,2\n3,4\n", "first line holds numbers"),
        ("a,a\n1,2\n", "names 'a' twice"),
        ("a\nx\n", "no column of numbers"),
        ("a,b\n1,2\n3\n", "line 3: 1 entries, the header has 2"),
        ("a,b\n1,2\n3,4,5\n", "line 3: 3 entries, the header has 2"),
        ("a;b\n1;1,234\n", "decimal comma or mark thousands"),
        ("a;b\n1;2,5\n1;3,5\n2;0.5\n", r"line 4: column 'b' holds '0\.5'"),
        ('a,b\n1,2\n3,"4\n', "line 3|cannot be read as CSV"),
        ("a\n1\n1\n1_000\n", r"line 4: column 'a' holds '1_000'"),
        ("a\n1\n2\n0x10\n", r"line 4: column 'a' holds '0x10'"),
        ("a\n1\n2\n\x1b[31m\n", r"line 4: column 'a' holds '\\x1b\[31m'"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"a\xff,b\n1,2\n", "UTF-8"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_text_that_cannot_be_read_is_refused_with_the_place(tmp_path, polars, content, words) -> None:
    place = write(tmp_path, "t.csv", content)

    with pytest.raises(DataError, match=words) as caught:
        list(open_source(place).pieces())

    assert "t.csv" in str(caught.value)


def test_one_word_after_thousands_of_numbers_is_named_with_its_line(tmp_path, polars) -> None:
    lines = [f"{i},{i / 7},x" for i in range(60_000)]
    lines[50_000] = "50000,unknown,x"
    place = write(tmp_path, "t.csv", "i,x,w\n" + "\n".join(lines) + "\n")
    source = open_source(place)

    with pytest.raises(DataError, match=r"t\.csv, line 50002: column 'x' holds 'unknown'.*columns="):
        list(source.pieces())

    assert len(columns_in(source.select(["i"]))["i"]) == 60_000


def test_a_column_of_text_with_a_few_numbers_is_text(tmp_path, polars) -> None:
    place = write(tmp_path, "t.csv", "id,x\n12,1\n7b,2\nA1,3\n")

    assert dict(open_source(place).left_alone) == {"id": "text"}


def test_a_column_that_begins_with_missing_entries_is_decided_by_what_follows(tmp_path, polars) -> None:
    rows = [f"{i},,," for i in range(40_000)] + ["1,2.5,word,"] * 3
    source = open_source(write(tmp_path, "t.csv", "a,late,text,never\n" + "\n".join(rows)))

    assert source.names == ("a", "late")
    assert source.left_alone["text"] == "text"
    assert source.left_alone["never"].startswith("empty")
    assert columns_in(source)["late"] == [2.5] * 3


def test_both_readers_of_text_give_the_same_entries(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(1)
    words = ["", "NA", "nan", "?", " 7", "8 ", "0.25", "1e-3", "12345678901234567", "-inf", "+3", '"4"']
    rows = [",".join([str(i), rng.choice(words), repr(float(rng.normal()))]) for i in range(4000)]
    place = write(tmp_path, "t.csv", "i,odd,x\n" + "\n".join(rows))

    quick = [(p.columns, p.missing) for p in open_source(place).pieces()]
    monkeypatch.setattr(csv_files, "find_spec", lambda name: None)
    slow = [(p.columns, p.missing) for p in open_source(place).pieces()]

    for (a, _), (b, _) in zip(quick, slow, strict=True):
        assert [x.dtype for x in a] == [x.dtype for x in b]
        assert all(np.array_equal(x[x == x], y[y == y]) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("size", [64, 1000, 1 << 20])
def test_text_gives_the_same_entries_however_it_is_cut(tmp_path, monkeypatch, polars, size) -> None:
    place = write(tmp_path, "t.csv", "x,w\n" + "".join(f'{i},"one\n""{i}"""\r\n' for i in range(500)))
    monkeypatch.setattr(csv_files, "BLOCK", size)

    assert columns_in(open_source(place)) == {"x": list(range(500))}


def test_an_archive_gives_the_array_that_is_named(tmp_path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((3, 2)), y=np.arange(3))

    assert next(open_source(tmp_path / "d.npz").pieces()).array.tolist() == [[1, 1]] * 3
    assert next(open_source(tmp_path / "d.npz", key="y").pieces()).array.tolist() == [0, 1, 2]
    assert dict(open_source(tmp_path / "d.npz").left_alone) == {"y": "another array"}
    with pytest.raises(ArgumentError, match="key='z'"):
        open_source(tmp_path / "d.npz", key="z")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_keep_their_dtype_byte_order_and_dimensions(tmp_path, order, kind) -> None:
    x = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=">i2", order=order)
    place = tmp_path / f"x.{kind}"
    np.save(place, x) if kind == "npy" else np.savez(place, x)

    source = open_source(place)
    (piece,) = source.pieces()

    assert (source.ndim, source.names, source.rows) == (3, None, 2)
    assert piece.array.dtype == x.dtype
    np.testing.assert_array_equal(piece.array, x)


def damaged(folder: Path, name: str) -> Path:
    """A whole file of the kind, cut in the middle."""
    place = folder / name
    x = np.random.default_rng(0).normal(size=(5000, 3))
    table = pa.table({"a": x[:, 0], "b": x[:, 1]})
    if name.endswith("parquet"):
        pq.write_table(table, place)
    elif name.endswith("arrow"):
        pl.from_arrow(table).write_ipc(place)
    elif name.endswith("gz"):
        place.write_bytes(gzip.compress(pl.from_arrow(table).write_csv().encode()))
    elif name.endswith("npy"):
        np.save(place, x)
    else:
        np.savez_compressed(place, x=x)
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    return place


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.csv.gz", "t.npy", "t.npz"])
def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path, name) -> None:
    place = damaged(tmp_path, name)

    with pytest.raises(DataError, match=name):
        list(open_source(place).pieces())


def test_a_page_that_is_damaged_is_told_from_an_error_of_ours(tmp_path) -> None:
    place = tmp_path / "t.parquet"
    table = pa.table({"a": np.random.default_rng(0).normal(size=9000)})
    pq.write_table(table, place, write_page_checksum=True, use_dictionary=False)
    held = bytearray(place.read_bytes())
    held[1000] ^= 1
    place.write_bytes(held)

    with pytest.raises(DataError, match=r"t\.parquet: damaged"):
        list(open_source(place).pieces())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.npy", "not numpy", "t.npy"),
        ("t.npz", "not numpy", "t.npz"),
        ("t.parquet", "", "not a readable Parquet"),
        ("t.arrow", "ARROW1", "not a readable Arrow"),
    ],
)
def test_what_is_not_of_its_kind_is_refused_by_name(tmp_path, name, content, words) -> None:
    with pytest.raises(DataError, match=words):
        open_source(write(tmp_path, name, content))


@pytest.mark.parametrize("value", [np.array([object()]), np.array(["a"]), np.array([1j]), np.array(3.0)])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_arrays_of_no_real_numbers_are_refused(tmp_path, kind, value) -> None:
    place = tmp_path / f"t.{kind}"
    np.save(place, value) if kind == "npy" else np.savez(place, x=value)

    with pytest.raises(DataError, match=r"real numbers|single number"):
        open_source(place)


def test_paths_that_lead_nowhere_are_refused_with_what_there_is(tmp_path) -> None:
    write(tmp_path, "t.xls", "")
    (tmp_path / "mixed").mkdir()
    write(tmp_path / "mixed", "a.csv", "x\n1\n")
    np.save(tmp_path / "mixed" / "b.npy", np.ones(2))

    for data, error, words in [
        (tmp_path / "no.csv", DataError, "no such file"),
        (tmp_path / "t.xls", ArgumentError, "'.xls' are not read"),
        (tmp_path / "*.parquet", DataError, "no file of the kinds"),
        (tmp_path / "mixed", DataError, "kinds csv, npy"),
        ([], None, ""),
    ]:
        if error is None:
            assert open_source(data) is None
            continue
        with pytest.raises(error, match=words):
            open_source(data)


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["x", "x"])

    for made in (table, pd.DataFrame([[1.0, 2.0]], columns=["x", "x"])):
        with pytest.raises(DataError, match="two columns are named 'x'"):
            open_source(made)


def test_without_pyarrow_the_way_to_get_it_is_said(tmp_path, monkeypatch) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(MissingDependency, match=r"pip install 'wellposed\[files\]'"):
        open_source(tmp_path / "t.parquet")


def test_a_batch_with_nulls_alone_counts_them_where_the_column_is_known() -> None:
    piece = columns_of(pa.record_batch({"x": pa.nulls(3)}), names=["x"])

    assert (piece.columns[0].size, piece.missing) == (0, (3,))
    with pytest.raises(DataError, match="'y' is lacking"):
        columns_of(pa.record_batch({"x": [1]}), names=["y"])
    with pytest.raises(DataError, match="'x' holds no numbers but text"):
        columns_of(pa.record_batch({"x": ["a"]}), names=["x"])


def test_integers_that_turn_out_to_be_fractions_are_told_also_to_who_goes_on_midway(tmp_path) -> None:
    place = write(tmp_path, "t.csv", "n,i\n" + "1,1\n" * 100_000 + "0.5,1\n")
    first, later = open_source(place), open_source(place)
    assert first.integers == (True, True)

    list(first.pieces())
    later.recall(first.integers)

    assert first.integers == later.integers == (False, True)


def test_a_dataset_of_pyarrow_is_scanned_and_can_be_read_again(tmp_path) -> None:
    for i in range(2):
        pq.write_table(TABLE, tmp_path / f"part-{i}.parquet")
    data = pyarrow.dataset.dataset(tmp_path)

    moments = [reduce_source(open_source(data)) for _ in range(2)]

    assert {m.fingerprint for m in moments} == {reduce_source(open_source(tmp_path)).fingerprint}


def test_a_dict_of_splits_asks_for_one_of_them() -> None:
    rows = datasets.Dataset.from_dict({"x": [1.0, 2.0]})

    with pytest.raises(DataError, match=r"splits 'train', 'test': give one of them, such as data\['train'\]"):
        open_source(datasets.DatasetDict(train=rows, test=rows))


@pytest.mark.parametrize("entry", ["1,234.5", "1.234,5", "12,345,678", "1'234.50", "-1,234.5"])
def test_numbers_with_marks_for_thousands_are_told_from_text(tmp_path, entry) -> None:
    place = write(tmp_path, "t.tsv", f"x\tprice\n1.5\t{entry}\n2.5\t{entry}\n")

    why = open_source(place).left_alone["price"]
    assert "marks for thousands" in why
    assert entry in why


def test_an_empty_column_that_is_known_to_hold_numbers_is_all_missing(tmp_path) -> None:
    first = write(tmp_path, "a.csv", "x,y,z\n1,,\n2,NA,\n")
    second = write(tmp_path, "b.csv", "x,y,z\n3,,\n")

    source = open_source([first, second], numbers=["x", "y", "absent"]).select(["x", "y"])

    assert source.names == ("x", "y")
    assert missing_in(source) == [0, 3]
    assert source.left_alone["z"].startswith("empty")


def test_what_is_known_to_be_numbers_and_holds_text_is_text(tmp_path) -> None:
    source = open_source(write(tmp_path, "t.csv", "x,y\n1,red\n2,blue\n"), numbers=["x", "y"])

    assert source.names == ("x",)
    assert source.left_alone == {"y": "text"}
