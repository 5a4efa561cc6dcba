"""How a text table is written: separator, decimal mark, header, and what counts as a number."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import DataError
from ..naming import listed, repeated, shown

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Entries that stand for a missing one, in small letters and without blanks around them."""
SEPARATORS = ",;\t|"
_INTEGER = re.compile(r"[+-]?\d+\Z", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?\Z", re.ASCII)
_WITH_MARKS = re.compile(r"[+-]?\d{1,3}([,. '])\d{3}(\1\d{3})*([.,]\d+)?\Z", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}\Z", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What the first lines of a text table tell about all of it."""

    header: tuple[str, ...]
    separator: str
    decimal: str = "."
    """The decimal mark: ``"."`` or ``","``."""
    header_lines: int = 1
    """Lines that the header takes; more than one when a name is broken over lines."""

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
    commas = [word for word in words if _DECIMAL_COMMA.match(word)]
    if 2 * len(commas) > len(words):
        return f"numbers with commas, such as {commas[0]!r}: write them with a point, or without a mark"
    marked = [word for word in words if _WITH_MARKS.match(word)]
    if 2 * len(marked) > len(words):
        return f"numbers with marks for thousands, such as {marked[0]!r}: write them without these marks"
    return "text"


def dialect_of(head: str, label: str, *, tabs: bool = False) -> tuple[Dialect, list[list[str]]]:
    """The dialect of the text `head`, whole lines from the start of a file, and its rows below the header.

    `tabs` says that the file has the ending of one that is separated by tabs.
    """
    first = head.partition("\n")[0]
    separator = "\t" if tabs and "\t" in first else max(SEPARATORS, key=first.count)
    lines = lines_of(head, separator, label)
    header_lines, names = next(lines, (1, []))
    header = tuple(name.strip() for name in names)
    _check_header(header, label)
    rows = [row for _, row in lines if row or len(header) == 1]
    decimal = _decimal_mark(rows, header, label) if separator != "," else "."
    return Dialect(header=header, separator=separator, decimal=decimal, header_lines=header_lines), rows


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


def _check_header(header: Sequence[str], label: str) -> None:
    if not any(header):
        raise DataError(f"{label}: empty, expected a header line with the names of the columns")
    plain = Dialect(header=(), separator=",")
    if all(plain.number(name) is not None for name in header):
        raise DataError(
            f"{label}: the first line holds numbers, expected a header line with the names of the columns"
        )
    twice = repeated(header)
    if twice:
        raise DataError(f"{label}: the header names {listed(map(repr, twice))} twice")


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
