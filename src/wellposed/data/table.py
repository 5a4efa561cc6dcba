"""A table of one or more parts (files, or one object in memory), read by the names of its columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

from ..errors import ArgumentError, DataError
from .arrow import EMPTY, kinds_of
from .column_names import NO_NAME, listed, shown
from .source import Piece, Source, digest


class Part(ABC):
    """One file or object: what its columns are, and its pieces."""

    label: str
    columns: tuple[str, ...]
    """Names of all columns, in order."""
    numbers: dict[str, bool]
    """Each column of numbers, and whether it is stored as integers; text is known only as far as it was read."""
    left_alone: dict[str, str]
    """Each other column, and why it is left alone."""
    rows: int | None = None
    bytes: int | None = None
    identity: tuple[Any, ...] = ()
    """Of a file; empty for data in memory."""
    remarks: tuple[str, ...] = ()
    """What had to be decided to read it."""
    read_as: str = ""
    """Of text: how it was read, for an error about what it holds."""

    def _describe(self, schema: Any) -> None:
        """Take the columns from a ``pyarrow.Schema``."""
        numbers, integers, self.left_alone = kinds_of(schema)
        self.columns, self.numbers = tuple(schema.names), dict(zip(numbers, integers, strict=True))

    def add_folder_names(self, names: Sequence[str]) -> None:
        """Leave alone the columns that stand in the names of folders, where the file does not hold them too."""
        new = tuple(name for name in names if name not in set(self.columns))
        self.columns = (*self.columns, *new)
        self.left_alone |= dict.fromkeys(new, "in the names of folders")

    @abstractmethod
    def count(self, names: Sequence[str]) -> int:
        """Number of pieces, when these columns are read."""

    @abstractmethod
    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        """The pieces from number `start` on, with the columns `names`."""


class TableSource(Source):
    """Parts with the same columns, one after the other."""

    ndim = 2

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        label: str,
        chosen: Sequence[str] | None = None,
        numbers: Sequence[str] = (),
    ) -> None:
        """`numbers` are known to be columns of numbers, should they be empty; of `chosen` alone are read."""
        self._parts, self._numbers = tuple(parts), tuple(numbers)
        self.label = label
        names, left_alone, wrong = _agreed(self._parts, frozenset(numbers))
        if chosen is not None:
            _check_chosen(chosen, self._parts[0].columns, left_alone, label)
            wanted = set(chosen)
            left_alone |= {name: "not chosen" for name in names if name not in wanted}
            names = tuple(name for name in names if name in wanted)
        if not names:
            raise DataError(_no_numbers(self._parts[0], left_alone, label))
        self.names, self.left_alone = names, MappingProxyType(left_alone)
        self._wrong = next((why for name, why in wrong.items() if name in names), None)
        self.remarks = tuple(dict.fromkeys(remark for part in self._parts for remark in part.remarks))
        self.rows = _sum([part.rows for part in parts])
        self.bytes = _sum([part.bytes for part in parts])
        on_disk = all(part.identity for part in parts)
        self.identity = digest([part.identity for part in parts], self.names) if on_disk else ""

    @property
    def integers(self) -> tuple[bool, ...]:
        return tuple(all(part.numbers.get(n, True) for part in self._parts) for n in self.names or ())

    def recall(self, integers: Sequence[bool]) -> None:
        for name, stored in zip(self.names or (), integers, strict=True):
            for part in self._parts:
                if name in part.numbers:
                    part.numbers[name] &= stored

    def pieces(self, start: int = 0) -> Iterator[Piece]:
        if self._wrong:
            raise DataError(self._wrong)
        for part in self._parts:
            # Counting may cost a pass over a compressed file, so only what is to be skipped is counted.
            if start and (count := part.count(self.names or ())) <= start:
                start -= count
                continue
            yield from part.pieces(self.names or (), start)
            start = 0

    def select(self, columns: Sequence[str]) -> TableSource:
        return TableSource(self._parts, label=self.label, chosen=columns, numbers=self._numbers)


def _no_numbers(first: Part, left_alone: dict[str, str], label: str) -> str:
    columns = [f"{name or NO_NAME} ({why})" for name, why in left_alone.items()]
    how = f"; {first.read_as}" if first.read_as else ""
    return f"{label}: no column of numbers; there is {listed(columns) or 'nothing'}{how}"


def _agreed(
    parts: Sequence[Part], numbers: frozenset[str]
) -> tuple[tuple[str, ...], dict[str, str], dict[str, str]]:
    """The columns of numbers, the others with the reason, and what is wrong with columns that parts disagree on.

    An empty column is one of numbers where it is among `numbers`.
    """
    first, deciding, wrong = parts[0], dict[str, Part](), dict[str, str]()
    left_alone = dict.fromkeys(first.columns, EMPTY)
    for part in parts:
        _check_same_columns(first, part)
        for name in first.columns:
            if part.left_alone.get(name) == EMPTY:  # of numbers, when any other part says so
                continue
            other = deciding.setdefault(name, part)
            left_alone[name] = other.left_alone.get(name, "")
            if (name in part.numbers) != (name in other.numbers):
                text, number = (other, part) if name in part.numbers else (part, other)
                wrong[name] = (
                    f"column {shown(name)!r} is {text.left_alone[name]} in {text.label} and numbers in {number.label}: "
                    "expected one kind; leave it out with columns="
                )
    for name in numbers & {name for name, why in left_alone.items() if why == EMPTY}:
        left_alone[name] = ""
    names = tuple(name for name in first.columns if name in wrong or not left_alone[name])
    numeric = set(names)
    return names, {name: why for name, why in left_alone.items() if name not in numeric}, wrong


def _check_same_columns(first: Part, other: Part) -> None:
    ours, theirs = set(first.columns), set(other.columns)
    lacking, extra = sorted(ours - theirs), sorted(theirs - ours)
    if lacking or extra:
        difference = " and ".join(
            f"{word} {listed(names)}" for word, names in (("lacks", lacking), ("adds", extra)) if names
        )
        raise DataError(f"{other.label} {difference}: expected the columns of {first.label}")


def _check_chosen(
    chosen: Sequence[str], order: Sequence[str], left_alone: dict[str, str], label: str
) -> None:
    held = set(order)
    for name in chosen:
        if name not in held:
            raise ArgumentError(
                f"columns has {shown(name)!r}, which is not in {label}: there is {listed(order)}"
            )
        if name in left_alone:
            raise ArgumentError(
                f"columns has {shown(name)!r}, which holds no numbers in {label}: {left_alone[name]}"
            )


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
