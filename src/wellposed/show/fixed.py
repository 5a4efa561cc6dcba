"""What a fix did: remedies kept and withheld, what remains, and the verdict before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from .lines import STYLES, clean, head, labelled, to_text, wrap
from .plain import to_json
from .tally import verdict, verdict_line
from .text import heading, title


def render_fix(fix: Any, *, width: int = 80, color: bool | None = False) -> str:
    """Return a fix as text: one block a remedy, the verdict after it last.

    Parameters
    ----------
    fix
        What `wellposed.fix` returned.
    width
        Columns; at least 40.
    color
        True or False; None gives colour when standard output is a terminal and NO_COLOR is not set.
    """
    return to_text(_lines(fix, max(width, 40)), color=color)


def fix_json(fix: Any) -> str:
    """The fix as JSON; the mended model itself stays in Python."""
    names = ("applied", "withheld", "before", "after", "recipe")
    return to_json({"verdict": fix.after.verdict} | {name: getattr(fix, name, None) for name in names})


def _lines(fix: Any, width: int) -> Iterator[Text]:
    yield from heading(fix.before, width)
    yield from _remedies("applied", fix.applied, "green", width)
    yield from _remedies("withheld", fix.withheld, "yellow", width)
    if not fix.applied and not fix.withheld:
        yield from [
            Text(),
            Text("no remedy fits what was found" if fix.before.findings else "nothing to mend"),
        ]
    if fix.after.findings:
        yield from [Text(), Text("what remains", style="dim")]
        for finding in fix.after.findings:
            yield from title(finding, width)
    yield Text()
    for label, report in (("before", fix.before), ("after", fix.after)):
        word = verdict(report)
        first, *rest = wrap(f"{word}   {verdict_line(report)}", width - 10)
        yield Text.assemble((f"{label:<10}", "dim"), (word, STYLES[word]), first[len(word) :])
        yield from (Text(" " * 10 + row) for row in rest)


def _remedies(label: str, remedies: Sequence[Any], style: str, width: int) -> Iterator[Text]:
    for remedy in remedies:
        left = Text.assemble((f"{label:<8}", f"bold {style}"), "  ", clean(remedy.name))
        yield Text()
        yield from head(left, " ".join(remedy.codes), width=width, indent=10)
        if remedy.summary:
            yield from (Text(" " * 10 + line) for line in wrap(remedy.summary, width - 10))
        yield from labelled("why", remedy.reason, width=width, indent=10) if remedy.reason else []
