"""Text that others wrote, such as names of layers, columns and files, made safe to show."""

from __future__ import annotations

LONGEST = 200
"""Characters of a name that are shown."""


def printable(text: str) -> str:
    r"""`text` with control characters, terminal escapes and marks that reorder text written out.

    Examples
    --------
    >>> print(printable("price\x1b[31m"))
    price\x1b[31m
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def clean(text: str) -> str:
    r"""Text of several lines, each of them printable; a tab becomes a space.

    Examples
    --------
    >>> print(clean("a\tb\x1b\nc"))
    a b\x1b
    c
    """
    return "\n".join(printable(line) for line in text.replace("\t", " ").split("\n"))


def shown(name: str, *, most: int = LONGEST) -> str:
    r"""A name for a sentence: printable, and cut where it is longer than `most` characters.

    Examples
    --------
    >>> shown("a\nb"), shown("x" * 20_000, most=4)
    ('a\\nb', 'xxxx... (20,000 characters)')
    """
    return printable(shortened(name, most))


def shortened(text: str, most: int) -> str:
    """The first `most` characters, and how many there are where these are not all."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"
