"""Text tables: what a header is, why a column is no number, and how each kind of file is named and mended."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wellposed import Normalizer
from wellposed.data.csv_files import TextPart
from wellposed.data.open import open_source
from wellposed.errors import DataError
from wellposed.normalize.apply_to_file import apply

N = 30


def lines(row, count: int = N) -> str:
    return "".join(f"{row(k)}\n" for k in range(count))


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    place = folder / name
    place.write_bytes(content.encode() if isinstance(content, str) else content)
    return place


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("1.299,99", "numbers with marks for thousands, such as '1.299,99': write them without these marks"),
        ("$1,200", "numbers with a sign of currency or percent, such as '$1,200': write them without it"),
        ("-3.5 €", "numbers with a sign of currency or percent, such as '-3.5 €'"),
        ("45%", "numbers with a sign of currency or percent, such as '45%'"),
        ("1 2.5 9", "several numbers in one entry, such as '1 2.5 9': separate the columns with commas"),
        ("02134", "codes with leading zeros, such as '02134': if they are amounts"),
        ("ann", "text"),
    ],
)
def test_a_column_that_is_no_number_says_why_and_how_to_make_it_one(tmp_path, entry, why) -> None:
    source = open_source(write(tmp_path, "a;b\n" + lines(lambda k: f'"{entry}";{k}.5')))

    assert source.names == ("b",)
    assert source.left_alone["a"].startswith(why)


def test_without_any_number_every_column_is_told_with_the_separator_and_the_header_as_read(tmp_path) -> None:
    place = write(tmp_path, "a;b\n" + lines(lambda k: f"x{k};{k}%"))

    with pytest.raises(DataError) as refused:
        open_source(place)

    for words in ("a (text)", "b (numbers with a sign", "separator ';'", "header 'a;b'", "first row 'x0;0%'"):
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# station 7\n# hPa\nt,p\n" + lines(lambda k: f"t{k},{k}.5"), r"line 3: 2 entries, the header has 1 .'# station 7', read with the separator ','.: .*delete lines that stand above the header"),
        ("# station 7\nt;p\n" + lines(lambda k: f"t{k};{k}.5"), "most lines hold ';', and the header '# station 7' does not: delete lines"),
        ("a b c\n" + lines(lambda k: f"{k} {k}.5 {k * k}"), "several numbers in one entry, such as '0 0.5 0'.*not blanks"),
        ("a,b\n" + lines(lambda k: f"{k},{k}.5,"), r"line 2: 3 entries, the header has 2 .'a,b'"),
        (("Größe;T\n" + lines(lambda k: f"ä;{k}.5")).encode("cp1252"), "cannot be read as UTF-8.*if it is Latin-1, convert it, as with iconv -f cp1252"),
        (("a,b\n" + lines(lambda k: f"{k},{k}.5")).encode("utf-16"), "written in UTF-16.*iconv -f utf-16"),
        (("a,b\n" + lines(lambda k: f"{k},{k}.5")).encode("utf-16-le"), "null characters, as UTF-16.*iconv -f utf-16"),
        ("sep=#\na#b\n1#2\n", "names the separator '#': expected one of ','"),
    ],
    ids=["comments", "comments above semicolons", "blanks", "one separator more", "Latin-1", "UTF-16", "UTF-16 without a mark", "sep="],
)  # fmt: skip
def test_a_file_that_is_written_otherwise_is_refused_with_the_mend(tmp_path, content, words) -> None:
    with pytest.raises(DataError, match=rf"t\.csv.*{words}"):
        open_source(write(tmp_path, content))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lambda k: f"{k % 3},{k + 14.23},{k * 1.71}", "holds numbers, expected a header line"),
        (lambda k: f"5.{k},3.{9 - k % 5},4.{k},s", "5.0, 3.9, 4.0 are in no order"),
        (lambda k: f"1.{k},2.5,{['red', 'blue'][k % 2]}", "red stands again below"),
        (lambda k: f"2020-01-{k + 1:02d},{k}.5", "2020-01-01 has the form of the entries below"),
        (lambda k: f"NA,red,{k}", "red stands again below"),
        (lambda k: f"x;{k},5;{9 - k},5", "x;0 has the form of the entries below"),
        (lambda k: f"{k}.25,setosa-{k}", "setosa-0 has the form"),
    ],
    ids=["numbers", "order", "words", "dates", "missing", "decimal commas", "numbered"],
)
def test_a_file_without_a_header_is_refused_and_loses_no_row(tmp_path, rows, words) -> None:
    with pytest.raises(DataError, match=f"the first line .*{words}.*write one above it"):
        open_source(write(tmp_path, lines(rows)))


@pytest.mark.parametrize(
    "names", ["country,2019,2020,2021", "label,0,1,2", "sample,900.5,901.0,901.5", "c,3,2,1"]
)
def test_years_places_and_wavelengths_are_names_and_the_reader_is_told(tmp_path, names) -> None:
    place = write(tmp_path, names + "\n" + lines(lambda k: f"n{k},{k}.5,{k * k}.25,{k}.75"))

    n = Normalizer.fit(place)

    assert n.names == tuple(names.split(",")[1:])
    assert n.provenance.rows == N
    assert "first line was taken for the header, though it holds" in n.remarks[0]
    assert Normalizer.fit(write(tmp_path, "a,b\n1.5,2\n3,5.5\n", "other.csv")).remarks == ()


def test_the_remark_on_a_header_is_made_once_for_all_files(tmp_path) -> None:
    for name in ("1.csv", "2.csv"):
        write(tmp_path, "c,2019\n" + lines(lambda k: f"n{k},{k}.5"), name)

    assert len(Normalizer.fit(tmp_path, split="train").remarks) == 1


@pytest.mark.parametrize(
    ("line", "separator"),
    [("sep=;\r\n", ";"), ('"SEP=|"\n', "|"), ("sep=\t\n", "\t"), ("\ufeffsep=,\n", ",")],
)
def test_a_first_line_that_names_the_separator_is_understood_and_kept(tmp_path, line, separator) -> None:
    row = lambda k: f"{k}.5{separator}{k * k}"  # noqa: E731
    place = write(tmp_path, f"{line}a{separator}b\n" + lines(row))
    n = Normalizer.fit(place)

    apply(place, n, tmp_path / "out.csv")

    assert n.names == ("a", "b")
    assert n.provenance.rows == N
    assert n.mean.tolist() == [15.0, np.mean(np.arange(N) ** 2.0)]
    out = (tmp_path / "out.csv").read_bytes().decode()
    assert out.startswith(line.removeprefix("\ufeff"))
    assert open_source(tmp_path / "out.csv").names == ("a", "b")


def test_a_line_below_a_named_separator_is_counted_right(tmp_path) -> None:
    place = write(tmp_path, "sep=;\na;b\n1;2\n3;4\n5;x\n")

    with pytest.raises(DataError, match="line 5: column 'b' holds 'x'"):
        list(open_source(place).pieces())


def test_a_column_without_a_name_shows_as_one(tmp_path) -> None:
    text = ",a\n" + lines(lambda k: f"r{k},{k}.5")
    number = "a,\n" + lines(lambda k: f"{k}.5,{k}.25")

    assert "left alone  (no name) (text)" in str(Normalizer.fit(write(tmp_path, text)))
    n = Normalizer.fit(write(tmp_path, number))
    assert (n.names, n.label(1)) == (("a", ""), "(no name)")
    with pytest.raises(DataError, match=r"there is \(no name\) \(text\)"):
        open_source(write(tmp_path, ",a\n" + lines(lambda k: "x,y")))


@pytest.mark.parametrize(
    ("entries", "numbers"),
    [
        (["02134", "12345"], False),
        (["007", "+1", "-0"], True),
        (["0", "10", "200"], True),
        (["00.5", "1.5"], True),
        (["007", "x", "1"], False),
    ],
    ids=["codes", "signs", "plain", "decimals", "mixed"],
)
def test_digits_with_leading_zeros_are_codes(tmp_path, entries, numbers) -> None:
    part = TextPart(write(tmp_path, "a,b\n" + "".join(f"{e},1\n" for e in entries)))

    assert ("a" in part.numbers) is numbers
