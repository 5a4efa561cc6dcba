"""What users of other libraries reported about scaling, rebuilt: the exact statistics, or words that name the place and the mend.

The reports are cited by repository and number where they stand; the data are of our own making.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse

from benchmarks.moments_truth import truth_of
from wellposed import Moments, Normalizer
from wellposed.cli import main
from wellposed.errors import DataError

RNG = np.random.default_rng(20)
HALVES = np.arange(60) * 0.5


def nearest(values: Any) -> tuple[float, float]:
    """Mean and population standard deviation, each rounded once."""
    true = truth_of(np.asarray(values))
    return float(true.mean), float(true.std)


def assert_exact(n: Normalizer, **columns: Any) -> None:
    """These columns are normalised, by their exact statistics, and no others."""
    chosen = [i for i, one in enumerate(n.selected.flat) if one]
    assert [(n.names or ())[i] for i in chosen] == list(columns)
    assert {n.label(i): (n.mean[i], n.std[i]) for i in chosen} == {k: nearest(v) for k, v in columns.items()}


def text(folder: Path, header: str, *columns: Any, name: str = "t.csv", sep: str = ",") -> Path:
    place = folder / name
    rows = [sep.join(map(str, row)) for row in zip(*columns, strict=True)]
    place.write_text("\n".join([*([header] if header else []), *rows]) + "\n", encoding="utf-8")
    return place


def command(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as stop:
        main(["normalize", *map(str, arguments)])
    return stop.value.code


# Arrays and batches


def test_sums_beyond_float64_do_not_overflow_in_a_stream() -> None:
    """scikit-learn/scikit-learn#5602: partial_fit."""
    parts = [np.array([[1.6e308], [1.3e308]]), np.array([[1.7e308], [1.1e308], [1.4e308]])]
    whole = np.concatenate(parts)

    merged, n = Moments.of(parts[0]) | Moments.of(parts[1]), Normalizer.fit(iter(parts))

    assert (merged.mean[0], merged.std[0]) == (n.mean[0], n.std[0]) == nearest(whole[:, 0])
    assert np.isfinite(n(whole)).all()


def test_batches_of_sparse_rows_are_refused_or_merge_to_the_whole() -> None:
    """scikit-learn/scikit-learn#16448: variances of NaN after batches of sparse rows."""
    x = sparse.random(40, 3, density=0.4, random_state=1, format="csr")

    for data, method in ((x, "standard"), ([x, x], "maxabs")):
        with pytest.raises(DataError, match=r"sparse csr_matrix.*\.toarray\(\)"):
            Normalizer.fit(data, method=method)
    merged = Moments.of(x[:7]) | Moments.of(x[7:])
    np.testing.assert_array_equal(merged.variance, Moments.of(x.toarray()).variance)


def test_images_of_many_sizes_count_every_pixel_once() -> None:
    """pytorch/vision#3657 and others: the mean of the means of batches is another number."""
    batches = [RNG.integers(0, 256, (2, 3, h, w), dtype=np.uint8) for h, w in ((4, 9), (8, 8), (3, 5))]

    n = Normalizer.fit(batches)

    for c in range(3):
        pixels = np.concatenate([batch[:, c].ravel() for batch in batches])
        assert (n.mean[c], n.std[c]) == nearest(pixels)
    assert (n(batches[2]).shape, n(batches[2]).dtype) == (batches[2].shape, np.float32)


def test_channels_last_are_told_where_nobody_named_the_axis() -> None:
    """huggingface/lerobot#3697: (N, H, W, C) read as (N, C, H, W)."""
    images = RNG.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)

    guessed, named = Normalizer.fit(images), Normalizer.fit(images, axis=-1)

    assert "16 channels along axis 1; for (N, H, W, C) say axis=-1" in guessed.remarks[0]
    assert (named.remarks, named.mean.size) == ((), 3)


def test_padding_does_not_count_by_mask_or_as_nan() -> None:
    """bayesflow-org/bayesflow#726, tensorflow/tensorflow#30161."""
    steps, present = np.zeros((3, 6, 2)), np.arange(6) < np.array([[6], [2], [4]])
    steps[present] = RNG.normal(9, 3, (12, 2))

    by_mask = Normalizer.fit(steps, mask=present)
    by_nan = Normalizer.fit(np.where(present[..., None], steps, np.nan))

    for n in (by_mask, by_nan):
        assert [(n.mean[j], n.std[j]) for j in range(2)] == [nearest(steps[present][:, j]) for j in range(2)]


def test_predictions_come_back_to_their_units_and_other_shapes_do_not() -> None:
    """Housiadas/forecasting-energy-consumption-LSTM#6: the inverse taken with the statistics of the inputs."""
    inputs, load = RNG.normal(size=(25, 3)), RNG.normal(300, 40, 25)
    n = Normalizer.fit((inputs, load), of="targets")

    assert (n.mean[0], n.std[0]) == nearest(load)
    np.testing.assert_allclose(n.inverse(n(load)), load, rtol=1e-15)
    with pytest.raises(DataError, match="x has 2 dimensions, the normalizer was fitted on 1"):
        n.inverse(inputs)


# Tables


def test_a_name_that_stands_twice_is_refused() -> None:
    """After a join, as in VUB-HYDR/Wikimpacts#39."""
    frame = pd.DataFrame(RNG.normal(size=(8, 3)), columns=["speed", "depth", "speed"])

    with pytest.raises(DataError, match="two columns are named 'speed': rename one"):
        Normalizer.fit(frame)


def test_infinite_rates_are_left_out_counted_and_told(tmp_path, capsys) -> None:
    """Network flows, as in omossad/cmpt980#8: a rate over no time is written Infinity, and names begin with a blank."""
    rate: list[Any] = [*(np.arange(80) * 2.25)]
    spoiled = [*rate]
    spoiled[4], spoiled[30], spoiled[31] = "Infinity", "NaN", "-inf"
    place = text(
        tmp_path,
        "Duration, Bytes/s,Label",
        range(3, 323, 4),
        spoiled,
        ["benign", "attack"] * 40,
        name="f.csv",
    )

    assert command("fit", place, "-o", tmp_path / "n.json") == 0

    n = Normalizer.load(tmp_path / "n.json")
    kept = [one for i, one in enumerate(rate) if i not in (4, 30, 31)]
    assert_exact(n, **{"Duration": range(3, 323, 4), "Bytes/s": kept})
    assert (n.infinite.tolist(), n.missing.tolist()) == ([0, 2], [0, 1])
    assert "infinite    Bytes/s: left out of the statistics" in capsys.readouterr().out


# Text files


def test_decimal_commas_between_semicolons_are_numbers(tmp_path) -> None:
    """pola-rs/polars#6698."""
    comma = [f"{v:.2f}".replace(".", ",") for v in HALVES * 2.5]

    assert_exact(Normalizer.fit(text(tmp_path, "x;y", comma, comma, sep=";")), x=HALVES * 2.5, y=HALVES * 2.5)


def test_utf_16_is_refused_with_the_way_to_utf_8(tmp_path) -> None:
    """pola-rs/polars#18465."""
    place = tmp_path / "export.tsv"
    place.write_bytes(("A\tB\n" + "".join(f"{v}\t{v:,}\n" for v in HALVES * 1000)).encode("utf-16"))

    with pytest.raises(DataError, match=r"export\.tsv: written in UTF-16, expected UTF-8: .*iconv -f utf-16"):
        Normalizer.fit(place)


def test_quoted_decimal_commas_between_commas_are_left_alone_with_the_mend(tmp_path) -> None:
    """pola-rs/polars#23157."""
    n = Normalizer.fit(text(tmp_path, "a,b", [f'"{k},5"' for k in range(60)], HALVES))

    assert_exact(n, b=HALVES)
    assert n.left_alone["a"] == (
        "numbers with commas, such as '0,5': write them with a point, or without a mark"
    )


def test_a_byte_order_mark_quotes_and_both_line_ends_are_no_data(tmp_path) -> None:
    """biolab/orange3#7000, pandas-dev/pandas#4793."""
    place = tmp_path / "t.csv"
    rows = "".join(f'"{v}","{v * v}"\r\n' for v in HALVES)
    place.write_bytes(('\ufeff"Weight","Score"\r\n' + rows).encode())

    assert_exact(Normalizer.fit(place), Weight=HALVES, Score=HALVES * HALVES)


def test_latin_1_is_refused_with_the_way_to_utf_8(tmp_path) -> None:
    """pola-rs/polars#4425 and #9280."""
    place = tmp_path / "clima.csv"
    place.write_bytes(("Estación;Temp °C\n" + "".join(f"Irún;{v}\n" for v in HALVES)).encode("latin-1"))

    with pytest.raises(DataError, match=r"clima\.csv: cannot be read as UTF-8 .*iconv -f cp1252 -t utf-8"):
        Normalizer.fit(place)


@pytest.mark.parametrize(
    "last", [HALVES + 0.25, ["rosso", "bianco"] * 30], ids=["numbers", "a word at the end"]
)
def test_the_first_sample_is_not_lost_as_a_header(tmp_path, last) -> None:
    """coatless-rpkg/ucidata#5, rixwew/pytorch-fm#11 and others."""
    place = text(tmp_path, "", HALVES + 1.5, HALVES % 7 + 0.5, last)

    with pytest.raises(DataError, match=r"t\.csv: the first line .*header line.*write one above it"):
        Normalizer.fit(place)


def test_question_marks_are_missing_and_dates_and_times_are_left_alone(tmp_path) -> None:
    """pylablanche/gcForest#2: the power consumption of a household."""
    power: list[Any] = [*(HALVES + 0.125)]
    place = text(
        tmp_path,
        "Date;Time;Power",
        ["16/12/2006"] * 60,
        [f"17:{k:02d}:00" for k in range(60)],
        ["?", *power[1:59], ""],
        sep=";",
    )

    n = Normalizer.fit(place)

    assert_exact(n, Power=power[1:59])
    assert (n.missing.tolist(), list(n.left_alone)) == ([2], ["Date", "Time"])


def test_lines_of_comment_above_the_header_are_refused_by_line(tmp_path) -> None:
    place = text(tmp_path, "# station 3\n# hPa\nhour,pressure", [f"h{k}" for k in range(60)], HALVES)

    with pytest.raises(DataError, match=r"t\.csv, line 3: .*'# station 3'.*delete lines that stand above"):
        Normalizer.fit(place)


def test_signs_of_currency_and_percent_are_told_and_the_numbers_beside_them_fitted(tmp_path) -> None:
    place = text(
        tmp_path,
        "price,share,count",
        [f'"${k + 1000:,}"' for k in range(60)],
        [f"{k}%" for k in range(60)],
        HALVES,
    )

    n = Normalizer.fit(place)

    assert_exact(n, count=HALVES)
    assert "'$1,000': write them without it" in n.left_alone["price"]
    assert "'0%': write them without it" in n.left_alone["share"]


def test_a_separator_at_the_end_of_every_line_shifts_no_column(tmp_path) -> None:
    """pandas-dev/pandas#14124, deephaven/deephaven-core#1800."""
    both = text(tmp_path, "A,B,", HALVES, HALVES * 3, [""] * 60, name="both.csv")
    rows = text(tmp_path, "A,B", HALVES, HALVES * 3, [""] * 60, name="rows.csv")

    assert_exact(Normalizer.fit(both), A=HALVES, B=HALVES * 3)
    with pytest.raises(DataError, match=r"rows\.csv, line 2: 3 entries, the header has 2 .*mend the line"):
        Normalizer.fit(rows)


def test_codes_with_leading_zeros_are_no_amounts(tmp_path) -> None:
    """nao1215/filesql#150, mapbox/geojson.io#324: postal codes."""
    codes = [f"{code:05d}" for code in RNG.integers(501, 99951, 60)]
    place = text(tmp_path, "zip,rent", ["02134", *codes[1:]], HALVES)

    n = Normalizer.fit(place)

    assert_exact(n, rent=HALVES)
    assert n.left_alone["zip"].startswith("codes with leading zeros, such as '0")


def test_a_header_in_the_middle_of_files_that_were_joined_is_told_by_line(tmp_path) -> None:
    """alcibiade/pan-discovery#7."""
    place = text(tmp_path, "x,y", HALVES, HALVES)
    place.write_text(place.read_text() * 2)

    with pytest.raises(DataError, match=r"t\.csv, line 62: column 'x' holds 'x'.*mend the entry"):
        Normalizer.fit(place)


# Files of engines, and new data


def test_a_folder_of_partitions_is_one_table(tmp_path) -> None:
    """As Spark writes it."""
    for year, x in ((2021, HALVES), (2022, HALVES * 7)):
        (tmp_path / "set" / f"year={year}").mkdir(parents=True)
        pq.write_table(pa.table({"x": x}), tmp_path / "set" / f"year={year}" / "part-0.parquet")
    (tmp_path / "set" / "_SUCCESS").touch()

    assert_exact(Normalizer.fit(tmp_path / "set"), x=np.concatenate([HALVES, HALVES * 7]))


def test_every_type_of_parquet_is_read_exactly_or_left_alone_with_the_reason(tmp_path) -> None:
    """datastax-archive/kaskada#318, duckdb/duckdb#1351, apache/arrow#41502."""
    large = np.uint64(2**63) + np.arange(60, dtype=np.uint64) * np.uint64(4096)
    table = {
        "large": pa.array(large, pa.uint64()),
        "x": pa.array([None if k % 9 == 0 else v for k, v in enumerate(HALVES)]),
        "price": pa.array([Decimal(k) / 4 for k in range(60)], pa.decimal128(9, 2)),
        "when": pa.array([k * 10**6 for k in range(60)], pa.timestamp("us")),
        "town": pa.array(["a", "b", "c"] * 20).dictionary_encode(),
        "tags": pa.array([[k] for k in range(60)]),
        "place": pa.array([{"lat": v} for v in HALVES]),
        "__index_level_0__": pa.array(range(60)),
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")

    n = Normalizer.fit(tmp_path / "t.parquet")

    assert_exact(n, large=large, x=[v for k, v in enumerate(HALVES) if k % 9])
    assert {name: why.partition(":")[0] for name, why in n.left_alone.items()} == {
        "price": "decimal",
        "when": "date and time",
        "town": "categories",
        "tags": "lists",
        "place": "records",
        "__index_level_0__": "the index of rows of pandas",
    }


def test_columns_are_found_by_name_and_one_that_is_lacking_is_named(tmp_path, capsys) -> None:
    train = text(tmp_path, "a,b,c", HALVES, HALVES * 2, HALVES * 3)
    new = text(tmp_path, "c,a,b", HALVES * 3, HALVES, HALVES * 2, name="new.csv")
    lacking = text(tmp_path, "a,c", HALVES, HALVES, name="lacking.csv")
    fitted, out = tmp_path / "n.json", tmp_path / "out.csv"
    assert command("fit", train, "-o", fitted) == 0

    assert command("apply", fitted, new, "-o", out) == 0
    assert command("apply", fitted, lacking, "-o", tmp_path / "none.csv") == 2

    done, n = pd.read_csv(out), Normalizer.load(fitted)
    assert list(done.columns) == ["c", "a", "b"]
    for i, name in enumerate("abc"):
        np.testing.assert_allclose(
            done[name], (HALVES * (i + 1) - n.mean[i]) / n.std[i], rtol=1e-12, atol=1e-15
        )
    assert "lacking.csv lacks b: expected the columns" in capsys.readouterr().err
    assert not (tmp_path / "none.csv").exists()


def test_a_feature_in_other_units_has_drifted_and_more_of_the_same_has_not(tmp_path, capsys) -> None:
    celsius, power = RNG.normal(18, 6, 400), RNG.normal(900, 80, 400)
    more = RNG.normal(18, 6, 400), RNG.normal(900, 80, 400)
    fitted = tmp_path / "n.json"
    assert command("fit", text(tmp_path, "temperature,power", celsius, power), "-o", fitted) == 0

    same = text(tmp_path, "temperature,power", *more, name="same.csv")
    fahrenheit = text(tmp_path, "temperature,power", celsius * 1.8 + 32, power, name="other.csv")

    assert command("drift", fitted, same) == 0
    assert command("drift", fitted, fahrenheit) == 1
    assert "temperature" in capsys.readouterr().out
