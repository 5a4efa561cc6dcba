"""A text file in blocks of whole lines, without holding more of it than a block."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError

BLOCK = 1 << 23
_LONGEST = 1 << 26
_BOM = b"\xef\xbb\xbf"


def as_utf8(encoding: str) -> str:
    """The way to a file in UTF-8."""
    return f"convert it, as with iconv -f {encoding} -t utf-8"


def compressed(place: Path) -> bool:
    """Whether the ending says so."""
    return place.suffix.lower() == ".gz"


def blocks(place: Path, *, size: int = BLOCK) -> Iterator[tuple[bytes, int]]:
    """Blocks of whole lines, and how many bytes of the file each stands for; a block may be empty.

    The file is decompressed where its ending says so, and cut behind line ends that stand in no quoted entry.
    Block k ends behind the last line that ends within the first ``(k + 1) * size`` bytes of text, so that n
    bytes of text give ``ceil(n / size)`` blocks.
    """
    rest, done = b"", 0
    # Two buffers, used again and again: fresh memory for every block would cost more than reading.
    buffer, spare = bytearray(size), bytearray(size)
    with place.open("rb") as file:
        text: Any = gzip.GzipFile(fileobj=file) if compressed(place) else file
        read = _read(text, buffer, place)
        if read.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"{place}: written in UTF-16, expected UTF-8: {as_utf8('utf-16')}")
        read = read[len(_BOM) :] if read.startswith(_BOM) else read
        while read:
            buffer, spare = spare, buffer
            following = _read(text, buffer, place)
            end = whole_lines(read, quoted=rest.count(b'"') % 2 == 1) if following else len(read)
            block = b"".join((rest, memoryview(read)[:end])) if end else b""
            rest = bytes(read[end:]) if end else rest + read
            if len(rest) > _LONGEST:
                raise DataError(f"{place}: a line is longer than {_LONGEST >> 20} MB; is a quote not closed?")
            before, done = done, file.tell()
            yield block, done - before
            read = following


def whole_lines(text: bytes | bytearray, *, quoted: bool = False) -> int:
    """Where the last line ends that does not end inside quotes; 0 when there is none.

    `quoted` says that the text begins inside quotes.
    """
    end = text.rfind(b"\n") + 1
    if not quoted and b'"' not in text:
        return end
    quotes = text.count(b'"', 0, end) + quoted
    while end and quotes % 2:
        before = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(b'"', before, end)
        end = before
    return end


def _read(file: Any, buffer: bytearray, place: Path) -> bytearray:
    """Fill the buffer, or give a shorter one at the end of the file."""
    try:
        size = file.readinto(buffer)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{place}: cannot be read to its end ({error})") from None
    return buffer if size == len(buffer) else buffer[:size]
