"""Lines of styled text that fit a width, and how they become a string."""

from __future__ import annotations

import io
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

from rich.cells import cell_len, get_character_cell_size
from rich.console import Console
from rich.text import Text

from ..safe_text import clean, printable

__all__ = [
    "STYLES",
    "clean",
    "cut",
    "encodable",
    "head",
    "labelled",
    "terminal_wants_color",
    "to_text",
    "wrap",
]

STYLES = {
    "FAIL": "bold red",
    "WARN": "bold yellow",
    "NOTE": "bold cyan",
    "NOT READY": "bold red",
    "READY": "bold green",
    "NOT EXAMINED": "bold magenta",
}

_CHARACTERS = 4
"""Characters that are looked at for each cell of a terminal: combining ones take none."""
_IN_ASCII = str.maketrans({
    "×": "x", "÷": "/", "·": "*", "−": "-", "–": "-", "—": "-", "≤": "<=", "≥": ">=", "≈": "~", "±": "+-",
    "→": "->", "∞": "inf", "√": "sqrt", "…": "...", "‘": "'", "’": "'", "“": '"', "”": '"', "²": "^2",
    "λ": "lambda", "θ": "theta", "ε": "epsilon", "σ": "sigma", "μ": "mu", "µ": "mu",
})  # fmt: skip


def wrap(text: str, width: int) -> list[str]:
    """Break `text` between words; a longer word stays whole, and so do runs of spaces."""
    lines: list[str] = []
    for paragraph in clean(text).split("\n"):
        paragraph = paragraph.rstrip()
        indent = paragraph[: len(paragraph) - len(paragraph.lstrip())]
        line = ""
        for word in re.findall(r" *[^ ]+", paragraph):
            if line and cell_len(line + word) > width:
                lines.append(line)
                line = indent + word.lstrip()
            else:
                line += word
        lines.append(line)
    return lines


def cut(text: str, width: int) -> str:
    """`text` in exactly `width` cells of a terminal, padded, or ended by a dot where it is longer.

    Examples
    --------
    >>> cut("alcohol", 5), cut("hue", 5)
    ('alco.', 'hue  ')
    """
    most = _CHARACTERS * width
    ends = [0, *accumulate(map(get_character_cell_size, text[:most]))]
    if len(text) <= most and ends[-1] <= width:
        return text + " " * (width - ends[-1])
    length = bisect_right(ends, width - 1) - 1
    return text[:length] + "." + " " * (width - 1 - ends[length])


def labelled(
    label: str, text: str, *, width: int, style: str = "dim", indent: int = 6, column: int = 6
) -> list[Text]:
    """``label  text``, wrapped with a hanging indent below the text."""
    left = max(column, cell_len(label) + 2 if label else 0)
    lines = wrap(text, width - indent - left)
    first = Text.assemble(" " * indent, (label, style), " " * (left - cell_len(label)), lines[0])
    return [first, *(Text(" " * (indent + left) + line) for line in lines[1:])]


def head(left: Text, right: str, *, width: int, indent: int = 6) -> list[Text]:
    """`left`, and `right` at the right margin; on two lines where both do not fit. Neither is ever cut."""
    right = printable(right)
    gap = width - left.cell_len - cell_len(right)
    if gap >= 2:
        return [Text.assemble(left, " " * gap, (right, "bold"))]
    return [left, Text.assemble(" " * max(indent, width - cell_len(right)), (right, "bold"))]


def to_text(lines: Iterable[Text], *, color: bool | None) -> str:
    """One string; colour ``None`` asks the terminal. Signs that standard output lacks are spelled out."""
    if color is None:
        color = terminal_wants_color()
    rows = list(lines)
    text = _ansi(rows) if color else "\n".join(row.plain.rstrip() for row in rows)
    return encodable(text, getattr(sys.stdout, "encoding", None) or "utf-8")


def terminal_wants_color() -> bool:
    """True for a terminal, unless NO_COLOR (https://no-color.org) or TERM=dumb says otherwise."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(sys.stdout, "isatty", lambda: False)())


def encodable(text: str, encoding: str) -> str:
    """`text` as it is where `encoding` holds it, else with signs spelled out in ASCII."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_IN_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        return text
    return text


def _ansi(rows: list[Text]) -> str:
    # soft_wrap leaves the lines as they are; the colours are the terminal's own, so light and dark both read.
    stream = io.StringIO()
    console = Console(
        file=stream,
        force_terminal=True,
        color_system="standard",
        no_color=False,
        legacy_windows=False,
        highlight=False,
    )
    for row in rows:
        row.rstrip()
        console.print(row, soft_wrap=True)
    return stream.getvalue().rstrip("\n")
