"""Arrow IPC files (``.arrow``, ``.feather``), as parts of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataError
from .arrow import columns_of, pyarrow
from .paths import stamp
from .source import PIECE_BYTES, Piece
from .table import Part


class IpcPart(Part):
    """An IPC file or stream, cut into record batches and these into slices."""

    def __init__(self, place: Path) -> None:
        self.label, self._place = str(place), place
        with self._opened() as reader:
            self.schema = reader.schema
        self._describe(self.schema)
        self.bytes, self.identity = place.stat().st_size, stamp(place)

    def count(self, names: Sequence[str]) -> int:
        return sum(1 for _ in self._slices())

    def pieces(self, names: Sequence[str], start: int) -> Iterator[Piece]:
        for number, (batch, size) in enumerate(self._slices()):
            if number >= start:
                yield columns_of(batch, names).piece(bytes=size)

    def batches(self) -> Iterator[Any]:
        """All columns, as record batches."""
        return (batch for batch, _ in self._slices())

    @contextmanager
    def writer(self, place: Path, schema: Any) -> Iterator[Any]:
        """Writes record batches to another file."""
        pyarrow()
        from pyarrow import ipc

        with ipc.new_file(str(place), schema) as writer:
            yield writer

    def _slices(self) -> Iterator[tuple[Any, int]]:
        """Slices of record batches, and how many bytes of the file each stands for."""
        with self._opened() as reader:
            end = 0
            for batch, here in _batches(reader, self.bytes or 0):
                begin, end = end, max(end, here)
                step = max(1, PIECE_BYTES // max(1, batch.nbytes // max(1, batch.num_rows)))
                for first in range(0, batch.num_rows, step):
                    part = batch.slice(first, step)
                    done = first + part.num_rows
                    size = (end - begin) * done // batch.num_rows - (end - begin) * first // batch.num_rows
                    yield part, size

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        pa = pyarrow()
        from pyarrow import ipc

        try:
            with pa.memory_map(str(self._place)) as mapped:
                try:
                    reader = ipc.open_file(mapped)
                except pa.ArrowInvalid:
                    mapped.seek(0)
                    reader = ipc.open_stream(mapped)
                yield reader
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self._place}: not a readable Arrow file ({error})") from None


def _batches(reader: Any, size: int) -> Iterator[tuple[Any, int]]:
    """Record batches, and about how many bytes of the file are behind us."""
    if not hasattr(reader, "num_record_batches"):
        for batch in reader:
            yield batch, size
        return
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i), size * (i + 1) // reader.num_record_batches
