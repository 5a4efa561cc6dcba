"""Names of columns as they may be shown: nothing in them drives a terminal, and they fit a width."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from ..safe_text import printable, shown

__all__ = ["NO_NAME", "cells", "cut", "listed", "places_of", "printable", "repeated", "shown"]

_CHARACTERS = 4
"""Characters that are looked at for each place in a terminal: combining ones take none."""


NO_NAME = "(no name)"
"""Shown for a column without a name."""


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
    most = _CHARACTERS * width
    ends = [0, *accumulate(map(_cell, text[:most]))]
    if len(text) <= most and ends[-1] <= width:
        return text + " " * (width - ends[-1])
    length = bisect_right(ends, width - 1) - 1
    return text[:length] + "." + " " * (width - 1 - ends[length])


def listed(names: Iterable[str], *, most: int = 5) -> str:
    """The first few names, safe to show, and how many more there are.

    Examples
    --------
    >>> listed("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    all_names = list(names)
    more = f" and {len(all_names) - most:,} more" if len(all_names) > most else ""
    return ", ".join(shown(str(n)) or NO_NAME for n in all_names[:most]) + more


def repeated(names: Iterable[str]) -> list[str]:
    """The names that stand more than once, sorted.

    Examples
    --------
    >>> repeated(["b", "a", "b"])
    ['b']
    """
    return sorted(name for name, count in Counter(names).items() if count > 1)


def places_of(names: Iterable[str]) -> dict[str, int]:
    """The place of each name; to ask a tuple for each of its names takes the square of their number.

    Examples
    --------
    >>> places_of(["a", "b"])
    {'a': 0, 'b': 1}
    """
    return {name: i for i, name in enumerate(names)}


def _cell(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
