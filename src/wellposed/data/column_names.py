"""Names of columns: as they may be shown in a sentence, and where each stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ..safe_text import printable, shown

__all__ = ["NO_NAME", "listed", "places_of", "printable", "repeated", "shown"]

NO_NAME = "(no name)"
"""Shown for a column without a name."""


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
