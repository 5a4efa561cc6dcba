"""How a text table is written: separator, decimal mark, header, and what counts as a number."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..errors import DataError
from .column_names import listed, repeated, shown

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Entries that stand for a missing one, in small letters and without blanks around them."""
SEPARATORS = ",;\t|"
_ANNOUNCED = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+\Z", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?\Z", re.ASCII)
_WITH_MARKS = re.compile(r"[+-]?\d{1,3}([,. '])\d{3}(\1\d{3})*([.,]\d+)?\Z", re.ASCII)
_WITH_SIGN = re.compile(r"[+-]?\s*[$€£¥]\s*[+-]?\d[\d., ']*|[+-]?\d[\d., ']*\s*[$€£¥%]")
_WITH_ZEROS = re.compile(r"0\d+\Z", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}\Z", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What the first lines of a text table tell about all of it."""

    header: tuple[str, ...]
    separator: str
    decimal: str = "."
    """The decimal mark: ``"."`` or ``","``."""
    header_lines: int = 1
    """Lines that the header takes, and what stands above it; more than one when a name is broken over lines."""
    announced: str = ""
    """The line above the header that names the separator, such as ``sep=;``, with its end."""

    def number(self, entry: str) -> int | float | None:
        """The number that an entry holds, NaN where it is missing, None where it is no number.

        Examples
        --------
        >>> dialect = Dialect(header=("a",), separator=";", decimal=",")
        >>> dialect.number(" 7"), dialect.number("2,5"), dialect.number("n/a"), dialect.number("7b")
        (7, 2.5, nan, None)
        """
        text = entry.strip()
        if _INTEGER.match(text):
            # Past 64 bits an integer is read as any other number.
            value = int(text) if len(text) <= 40 else 1 << 64
            return value if -(1 << 63) <= value < 1 << 64 else float(text)
        if text.lower() in MISSING:
            return float("nan")
        if (
            "_" in text or not text.isascii()
        ):  # Python reads 1_000 as a number; a file that says so means a code
            return None
        if self.decimal == ",":
            text = "no number" if "." in text else text.replace(",", ".")
        try:
            return float(text)
        except ValueError:
            return None


def is_missing(entry: str) -> bool:
    """Whether an entry stands for a missing one."""
    return entry.strip().lower() in MISSING


def kind_of_text(entries: Sequence[str]) -> str:
    """Why a column with these entries, most of which are no numbers, is left alone.

    Examples
    --------
    >>> kind_of_text(["True", "false"]), kind_of_text(["ann", "bob"]), kind_of_text(["1,234"])
    ('boolean', 'text', "numbers with commas, such as '1,234': write them with a point, or without a mark")
    >>> kind_of_text(["1,234.5", "12,000,000"])
    "numbers with marks for thousands, such as '1,234.5': write them without these marks"
    """
    words = [entry.strip() for entry in entries]
    if all(word.lower() in ("true", "false") for word in words):
        return "boolean"
    for what, is_such, mend in _KINDS_OF_TEXT:
        such = [word for word in words if is_such(word)]
        if 2 * len(such) > len(words):
            return f"{what}, such as {such[0][:40]!r}: {mend}"
    return "text"


def _in_blanks(word: str) -> bool:
    """Whether several numbers stand in one entry."""
    parts, plain = word.split(), Dialect(header=(), separator=",")
    return len(parts) > 1 and all(plain.number(part) is not None for part in parts)


_KINDS_OF_TEXT: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("numbers with commas", _DECIMAL_COMMA.match, "write them with a point, or without a mark"),
    ("numbers with marks for thousands", _WITH_MARKS.match, "write them without these marks"),
    ("numbers with a sign of currency or percent", _WITH_SIGN.fullmatch, "write them without it"),
    ("several numbers in one entry", _in_blanks, "separate the columns with commas, not blanks"),
)


def codes_with_zeros(entries: Sequence[str]) -> str | None:
    """Why whole numbers that are written so are codes, as those of places and articles are; None where they are not.

    Examples
    --------
    >>> codes_with_zeros(["12345", "00123"]), codes_with_zeros(["0", "10"])
    ("codes with leading zeros, such as '00123': if they are amounts, write them without these", None)
    """
    words = [entry.strip() for entry in entries]
    code = next((word for word in words if _WITH_ZEROS.match(word)), None)
    if code is None or not all(word.isdecimal() for word in words):  # amounts may have a sign
        return None
    return f"codes with leading zeros, such as {code!r}: if they are amounts, write them without these"


def dialect_of(head: str, label: str, *, tabs: bool = False) -> tuple[Dialect, list[list[str]]]:
    """The dialect of the text `head`, whole lines from the start of a file, and its rows below the header.

    `tabs` says that the file has the ending of one that is separated by tabs.
    """
    announced = _ANNOUNCED.match(head)
    above = announced[0] if announced else ""
    separator = _separator(announced, head.removeprefix(above).partition("\n")[0], label, tabs=tabs)
    lines = lines_of(head.removeprefix(above), separator, label, before=above.count("\n"))
    header_lines, names = next(lines, (1, []))
    header = tuple(name.strip() for name in names)
    if not any(header):
        raise DataError(f"{label}: empty, expected a header line with the names of the columns")
    rows = [(line, row) for line, row in lines if row or len(header) == 1]
    _check_separator(rows, header, separator, label)
    _check_widths(rows, header, separator, label)
    entries = [row for _, row in rows]
    decimal = _decimal_mark(entries, header, label) if separator != "," else "."
    dialect = Dialect(
        header=header, separator=separator, decimal=decimal, header_lines=header_lines, announced=above
    )
    check_header(header, dialect.number, entries, label)
    return dialect, entries


def _separator(announced: re.Match[str] | None, first: str, label: str, *, tabs: bool) -> str:
    if announced is None:
        return "\t" if tabs and "\t" in first else max(SEPARATORS, key=first.count)
    if announced[1] not in SEPARATORS:
        raise DataError(
            f"{label}: the first line names the separator {announced[1]!r}: expected one of "
            f"{', '.join(map(repr, SEPARATORS))}"
        )
    return announced[1]


def _check_separator(
    rows: Sequence[tuple[int, list[str]]], header: Sequence[str], separator: str, label: str
) -> None:
    """Refuse a single column whose lines mostly hold another separator: the first line is then no header."""
    entries = [row[0] for _, row in rows if row]
    for other in SEPARATORS if len(header) == 1 else "":
        most = 2 * sum(other in entry for entry in entries) > len(entries)
        if most and other != separator and other not in header[0]:
            raise DataError(
                f"{label}: most lines hold {other!r}, and the header {shown(header[0], most=60)!r} does not: delete "
                "lines that stand above the header"
            )


def _check_widths(
    rows: Sequence[tuple[int, list[str]]], header: Sequence[str], separator: str, label: str
) -> None:
    for line, row in rows:
        if len(row or [""]) != len(header):
            read = f"{shown(separator.join(header), most=60)!r}, read with the separator {separator!r}"
            raise DataError(
                f"{label}, line {line}: {len(row)} entries, the header has {len(header)} ({read}): mend the line, or "
                "delete lines that stand above the header"
            )


def lines_of(text: str, separator: str, label: str, *, before: int = 0) -> Iterator[tuple[int, list[str]]]:
    """The entries of each row, and the number of the line where it ends; `before` lines stand above the text."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            yield before + reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{label}, line {before + reader.line_num}: cannot be read as CSV ({error})"
        ) from None


def _decimal_mark(rows: list[list[str]], header: Sequence[str], label: str) -> str:
    """The comma where entries such as ``2,5`` say so; refused where it may also part thousands."""
    entries = ((header[i], entry.strip()) for row in rows for i, entry in enumerate(row[: len(header)]))
    commas = [(name, entry) for name, entry in entries if _DECIMAL_COMMA.match(entry)]
    if not commas:
        return "."
    if any(not _THOUSANDS.match(entry) for _, entry in commas):
        return ","
    name, entry = commas[0]
    raise DataError(
        f"{label}: column {shown(name)!r} holds {entry!r}, which may be a decimal comma or mark thousands: "
        "write it with a point, or without a mark"
    )


Number = Callable[[str], float | None]
"""The number that an entry stands for, NaN where it is missing; None where it is none."""
_WRITE_A_HEADER = "expected a header line with the names of the columns; write one above it"


def check_header(header: Sequence[str], number: Number, rows: Sequence[Sequence[str]], label: str) -> None:
    """Refuse a header that is made of data, or names a column twice."""
    numbers = numbers_in(header, number)
    if all(number(name) is not None for name in header):
        raise DataError(f"{label}: the first line holds numbers, {_WRITE_A_HEADER}")
    if numbers and (why := _looks_like_data(header, number, numbers, rows)):
        raise DataError(f"{label}: the first line looks like data ({why}): {_WRITE_A_HEADER}")
    twice = repeated(header)
    if twice:
        raise DataError(f"{label}: the header names {listed(map(repr, twice))} twice")


def remark_on_header(header: Sequence[str], number: Number) -> str | None:
    """What a reader should know of a header with numbers among its names, such as years; None for others."""
    numbers = numbers_in(header, number)
    if not numbers:
        return None
    names = listed(header[i] for i in numbers)
    return f"the first line was taken for the header, though it holds {names}: if it is data, write a header above it"


def numbers_in(header: Sequence[str], number: Number) -> dict[int, float]:
    """The numbers among the names, by their place."""
    values = {i: number(name) for i, name in enumerate(header)}
    return {i: value for i, value in values.items() if value is not None and value == value}


def _looks_like_data(
    header: Sequence[str], number: Number, numbers: dict[int, float], rows: Sequence[Sequence[str]]
) -> str:
    """Why; empty where nothing speaks for it. Years, wavelengths and places, which are names, rise or fall."""
    values = list(numbers.values())
    if not (all(a < b for a, b in pairwise(values)) or all(a > b for a, b in pairwise(values))):
        return f"{listed(header[i] for i in numbers)} are in no order"
    for i, name in enumerate(header):
        if number(name) is not None:  # a number, or missing
            continue
        below = [row[i].strip() for row in rows]
        if name in below:
            return f"{listed([name])} stands again below"
        if re.search(r"\d", name) and sum(_form(name) == _form(entry) for entry in below) * 2 > len(below):
            return f"{listed([name])} has the form of the entries below"
    return ""


def _form(entry: str) -> str:
    """Letters and numbers without their value: of ``2020-01-31`` and ``2021-2-1`` the same."""
    return re.sub(r"[^\W\d_]", "a", re.sub(r"\d+", "0", entry))
