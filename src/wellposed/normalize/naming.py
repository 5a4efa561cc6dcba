"""Names of columns as they may be shown: nothing in them drives a terminal, and they fit a width."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def printable(text: str) -> str:
    r"""`text` with control characters, terminal escapes and marks that reorder text written out.

    Examples
    --------
    >>> print(printable("price\x1b[31m"))
    price\x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def cells(text: str) -> int:
    """Places that `text` takes in a terminal: two for a wide character, none for a combining one."""
    return sum(_cell(c) for c in text)


def cut(text: str, width: int) -> str:
    """`text` in exactly `width` cells, padded, or ended by a dot where it is longer.

    Examples
    --------
    >>> cut("alcohol", 5), cut("hue", 5)
    ('alco.', 'hue  ')
    """
    if cells(text) > width:
        while cells(text) > width - 1:
            text = text[:-1]
        text += "."
    return text + " " * (width - cells(text))


def listed(names: Iterable[str], *, most: int = 5) -> str:
    """The first few names, safe to show, and how many more there are.

    Examples
    --------
    >>> listed("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    held = list(names)
    more = f" and {len(held) - most:,} more" if len(held) > most else ""
    return ", ".join(printable(str(n)) for n in held[:most]) + more


def _cell(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
