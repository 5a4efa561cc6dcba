"""A normalizer as a SELECT statement."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...arguments import choice, refused, several
from ...data.column_names import printable
from ...errors import ArgumentError
from . import names_of

if TYPE_CHECKING:
    from ..fitted import FittedTransform


@dataclass(frozen=True, kw_only=True)
class _Dialect:
    quote: str
    """What stands around an identifier, and is doubled inside it."""
    double: str
    """The type of 64-bit floating point numbers."""
    replaces: bool = False
    """Whether there is ``SELECT * REPLACE (...)``, which keeps every other column in its place."""
    files: bool = False
    """Whether a quoted path stands for the table in that file."""
    suffix: str = ""
    """What makes a number with an exponent a 64-bit one."""


DIALECTS = {
    "duckdb": _Dialect(quote='"', double="double", replaces=True, files=True),
    "ansi": _Dialect(quote='"', double="double precision"),
    "spark": _Dialect(quote="`", double="double", suffix="D"),
}


_QUALIFIED = re.compile(r"[^./\\]+(\.[^./\\]+)+")
_FILE = re.compile(r"\.(parquet|csv|tsv|json|jsonl|ndjson|arrow|xlsx)(\.(gz|zst))?$", re.IGNORECASE)


def to_sql(
    normalizer: FittedTransform, table: str | Sequence[str] = "data", *, dialect: str = "duckdb"
) -> str:
    """A SELECT statement that normalises the columns of a table by name, in 64-bit floating point.

    Every number is written so that it reads back exactly, and nulls stay null. Whitened columns keep the names
    of their places.

    Parameters
    ----------
    normalizer
        One that was fitted on a table with names.
    table
        Its name, which is quoted whole; a sequence for a qualified name, such as ``("sales", "orders")``. A text
        that could be either, ``"sales.orders"``, is refused; ``("sales.orders",)`` is a name with a dot.
        DuckDB takes the path of a file as well, such as ``"train.parquet"``.
    dialect
        ``"duckdb"``: all other columns are kept, in their places. ``"ansi"`` (PostgreSQL, SQLite and others)
        and ``"spark"``: the columns that the normalizer knows are selected, one by one.

    Raises
    ------
    ArgumentError
        When the columns have no names, or names that SQL cannot tell apart or hold.

    Examples
    --------
    >>> import numpy as np, wellposed as wp
    >>> n = wp.Normalizer.fit(np.array([[1.0], [4.0]]), columns=["height"])
    >>> print(to_sql(n, "people"))
    select * replace (
      (cast("height" as double) - 2.5e0) / 1.5e0 as "height"
    )
    from "people"
    """
    choice(dialect, "dialect", DIALECTS)
    speak, names = DIALECTS[dialect], names_of(normalizer, what="to_sql()")
    others = [name for name in normalizer.left_alone if name not in set(names)]
    _check_names([*names, *others])
    quoted = [_quoted(name, speak) for name in [*names, *others]]
    chosen = np.flatnonzero(normalizer.selected).tolist()
    alone = {i: _standardised(normalizer, i, quoted[i], speak) for i in chosen}
    select = _select(quoted, alone, _quoted_table(table, speak), speak)
    if normalizer.rotation is not None:
        mixed = np.flatnonzero(normalizer.mixed).tolist()
        rotated = {
            i: _mixture(normalizer.rotation[mixed, i], [quoted[j] for j in mixed], speak) for i in mixed
        }
        select = _select(quoted, rotated, f"(\n{select}\n) as standardised", speak)
    if normalizer.clip is not None:
        clipped = {i: _clipped(quoted[i], *normalizer.clip, speak) for i in chosen}
        select = _select(quoted, clipped, f"(\n{select}\n) as normalised", speak)
    return select


def _select(quoted: Sequence[str], changed: Mapping[int, str], source: str, speak: _Dialect) -> str:
    if speak.replaces:
        lines = [f"{expression} as {quoted[i]}" for i, expression in changed.items()]
        return (
            f"select * replace (\n  {_lines(lines)}\n)\nfrom {source}"
            if lines
            else f"select *\nfrom {source}"
        )
    lines = [f"{changed[i]} as {name}" if i in changed else name for i, name in enumerate(quoted)]
    return f"select\n  {_lines(lines)}\nfrom {source}"


def _lines(expressions: Sequence[str]) -> str:
    return ",\n  ".join(expressions)


def _standardised(normalizer: FittedTransform, i: int, name: str, speak: _Dialect) -> str:
    center, scale = float(normalizer.center[i]), float(normalizer.scale[i])
    difference = f"cast({name} as {speak.double})" + (f" - {_number(center, speak)}" if center else "")
    offset = 0.0 if normalizer.offset is None else float(normalizer.offset[i])
    behind = f" + {_number(offset, speak)}" if offset else ""
    if scale == 1:
        return difference + behind
    divided = f"({difference})" if center else difference
    return f"{divided} / {_number(scale, speak)}{behind}"


def _clipped(name: str, low: float, high: float, speak: _Dialect) -> str:
    """NaN, which databases order above all numbers, stays; so does null, of which no comparison is true."""
    least, most = _number(low, speak), _number(high, speak)
    return (
        f"case when {name} < {least} then {least} when {name} > {most} and {name} <> 'NaN' then {most} "
        f"else {name} end"
    )


def _mixture(weights: NDArray[np.float64], names: Sequence[str], speak: _Dialect) -> str:
    """The sum in pairs of pairs: the depth that a parser must take grows with the logarithm of the columns."""
    terms = [f"{name} * {_number(float(w), speak)}" for name, w in zip(names, weights, strict=True)]
    while len(terms) > 1:
        terms = [f"({' + '.join(terms[i : i + 2])})" for i in range(0, len(terms), 2)]
    return terms[0]


def _number(value: float, speak: _Dialect) -> str:
    """Digits that read back exactly; the exponent makes it binary where ``0.1`` would be a decimal number."""
    digits = repr(abs(value))
    digits += ("" if "e" in digits else "e0") + speak.suffix
    return f"(-{digits})" if value < 0 else digits


def _quoted(name: str, speak: _Dialect) -> str:
    return speak.quote + name.replace(speak.quote, 2 * speak.quote) + speak.quote


def _quoted_table(table: str | Sequence[str], speak: _Dialect) -> str:
    if isinstance(table, str) and _QUALIFIED.fullmatch(table) and not (speak.files and _FILE.search(table)):
        raise ArgumentError(
            f"table={table!r} has a dot: give {tuple(table.split('.'))!r} for a qualified name, {(table,)!r} for "
            "a name with a dot in it"
        )
    expected = "a name, or the parts of one, such as ('sales', 'orders'), without null characters"
    parts = several([table] if isinstance(table, str) else table, "table", str, expected=expected)
    if not parts or not all(part and "\0" not in part for part in parts):
        raise refused("table", table, expected)
    return ".".join(_quoted(part, speak) for part in parts)


def _check_names(names: Sequence[str]) -> None:
    """SQL compares names without their case; what it would mix up is refused, not guessed."""
    first: dict[str, str] = {}
    for name in names:
        if not name or "\0" in name or any("\ud800" <= c <= "\udfff" for c in name):
            raise ArgumentError(
                f"the column name {printable(repr(name))} cannot be written in SQL: rename it"
            )
        other = first.setdefault(name.casefold(), name)
        if other is not name:
            raise ArgumentError(
                f"columns {printable(other)} and {printable(name)} differ in case only, which SQL does not tell "
                "apart: rename one of them"
            )
