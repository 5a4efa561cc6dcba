"""Whether the first line of a text table is a header, or a row of data that would be lost as one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from ..errors import DataError
from .column_names import listed, repeated

Number = Callable[[str], float | None]
"""The number that an entry stands for, NaN where it is missing; None where it is none."""
_MEND = "expected a header line with the names of the columns; write one above it"


def check_header(header: Sequence[str], number: Number, rows: Sequence[Sequence[str]], label: str) -> None:
    """Refuse a header that is made of data, or names a column twice."""
    numbers = numbers_in(header, number)
    if all(number(name) is not None for name in header):
        raise DataError(f"{label}: the first line holds numbers, {_MEND}")
    if numbers and (why := _looks_like_data(header, number, numbers, rows)):
        raise DataError(f"{label}: the first line looks like data ({why}): {_MEND}")
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
    found = {i: number(name) for i, name in enumerate(header)}
    return {i: value for i, value in found.items() if value is not None and value == value}


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
