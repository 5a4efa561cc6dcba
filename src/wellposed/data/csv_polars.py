"""Blocks of text to columns by polars, with the meaning that `csv_dialect.Dialect.number` gives each entry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .csv_dialect import MISSING, Dialect
from .entries import Entries

_QUOTED = re.compile(rb'"[^"]*"')


class QuickReader:
    """Reads blocks; gives None where it cannot, and then row by row finds out why."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._index = {name: i for i, name in enumerate(dialect.header)}
        # With decimal_comma polars takes 1.234 for a decimal point too.
        self._odd: set[str] = set(dialect.header) if dialect.decimal == "," else set()
        """Columns with entries that polars does not read as they stand: NA, blanks, 0.5 among integers."""

    def columns(
        self, block: bytes, names: Sequence[str], integers: frozenset[str]
    ) -> tuple[int, list[Entries]] | None:
        """Rows, and for each column its entries, and which rows have one where not all have.

        Columns among `integers` give integers where all their entries in the block are; the others floats.
        """
        import polars as pl

        if not block or block.isspace():
            return None
        kinds = {name: pl.Int64 if name in integers else pl.Float64 for name in names}
        for odd in (self._odd & set(names), set(names)):
            try:
                frame = self._read(block, kinds | dict.fromkeys(odd, pl.String))
                columns = [self._numbers(frame[n], n, k) if n in odd else frame[n] for n, k in kinds.items()]
            except pl.exceptions.PolarsError:
                continue
            if not self._is_whole(block, frame.height):
                return None
            return frame.height, [_entries(column) for column in columns]
        return None

    def held(self, block: bytes, names: Sequence[str]) -> dict[str, list[str]] | None:
        """Some entries of each column that are not missing, as they are written."""
        import polars as pl

        if not block or block.isspace():
            return {}
        try:
            frame = self._read(block, dict.fromkeys(names, pl.String))
        except pl.exceptions.PolarsError:
            return None
        return {name: _unless_missing(frame[name]).drop_nulls().head(1000).to_list() for name in names}

    def _read(self, block: bytes, kinds: dict[str, Any]) -> Any:
        import polars as pl

        frame = pl.read_csv(
            block,
            has_header=False,
            schema={str(i): kinds.get(name, pl.String) for name, i in self._index.items()},
            columns=sorted(self._index[name] for name in kinds),
            separator=self._dialect.separator,
        )
        return frame.rename({str(self._index[name]): name for name in kinds})

    def _numbers(self, written: Any, name: str, kind: Any) -> Any:
        """Each entry by itself: blanks around it are stripped, and every way to write a missing one is known."""
        texts = _unless_missing(written)
        numbers = self._cast(texts, kind)
        if numbers.dtype != kind or texts.null_count() > written.null_count() or (texts != written).any():
            self._odd.add(name)
        return numbers

    def _cast(self, texts: Any, kind: Any) -> Any:
        import polars as pl

        for integer in (pl.Int64, pl.UInt64) if kind == pl.Int64 else ():
            numbers = texts.cast(integer, strict=False)
            if numbers.null_count() == texts.null_count():
                return numbers
        if self._dialect.decimal == ",":
            points = texts.str.contains(".", literal=True).fill_null(False)
            texts = texts.str.replace(",", ".", literal=True).set(points, "no number")
        return texts.cast(pl.Float64)

    def _is_whole(self, block: bytes, rows: int) -> bool:
        """Whether no row lacks entries, which polars fills: the separators outside quotes tell."""
        expected = rows * (len(self._index) - 1)
        found = _count(block, self._dialect.separator)
        if found != expected and b'"' in block:
            found -= _count(b"".join(_QUOTED.findall(block)), self._dialect.separator)
        return found == expected


def _unless_missing(written: Any) -> Any:
    texts = written.str.strip_chars()
    return texts.set(texts.str.to_lowercase().is_in(list(MISSING)).fill_null(False), None)


def _count(text: bytes, separator: str) -> int:
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == ord(separator)))


def _entries(column: Any) -> Entries:
    if not column.null_count():
        return column.rechunk().to_numpy(allow_copy=False), None
    return column.drop_nulls().rechunk().to_numpy(allow_copy=False), column.is_not_null().to_numpy()
