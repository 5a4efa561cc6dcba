"""What `fix` and `race` return, as text: what was applied and what withheld; which side was better."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from ..plain import to_json
from ..results import RATE_FACTORS
from .lines import STYLES, clean, head, labelled, to_text, wrap
from .rule_counts import verdict, verdict_line
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


_ROWS, _COLUMNS = 10, 60


def render_race(race: Any) -> str:
    """The race at 80 columns; the marks are ``x`` for before and ``o`` for after, readable without colour."""
    unit = "held-out loss / constant prediction" if race.relative else "held-out loss"
    lines = [f"{unit}, median of {len(race.after.held_out)} seeds      x before   o after", ""]
    lines += _plot(race)
    for lane in (race.before, race.after):
        spread = f"{_number(min(lane.held_out))} to {_number(max(lane.held_out))}"
        lines.append(
            f"  {lane.name:<7} {_number(lane.median):>9}   over seeds {spread}   at rate {lane.rate:.2g}"
        )
    seeds = len(race.after.held_out)
    word = "better" if race.improved else "worse" if race.harmed else "no clear difference"
    lines.append(
        f"  after is {word}: lower in {race.won} of {seeds} seeds, each at its best of {len(RATE_FACTORS)} rates"
    )
    return "\n".join(lines)


def _plot(race: Any) -> list[str]:
    finite = [v for lane in (race.before, race.after) for v in lane.curve if math.isfinite(v) and v > 0]
    if not finite:
        return []
    low, high = math.log10(min(finite)), math.log10(max(finite))
    if high - low < 0.05:
        low, high = low - 0.05, high + 0.05
    grid = [[" "] * (_COLUMNS + 1) for _ in range(_ROWS)]
    for mark, lane in (("x", race.before), ("o", race.after)):
        for step, value in zip(race.at, lane.curve, strict=True):
            if value > 0:
                level = 1.0 if not math.isfinite(value) else (math.log10(value) - low) / (high - low)
                row = round((1 - min(max(level, 0.0), 1.0)) * (_ROWS - 1))
                grid[row][round(step / race.steps * _COLUMNS)] = mark
    lines = []
    for i, cells in enumerate(grid):
        label = (
            _number(10 ** (high - (high - low) * i / (_ROWS - 1))) if i in (0, _ROWS // 2, _ROWS - 1) else ""
        )
        lines.append(f"{label:>9} |{''.join(cells).rstrip()}")
    lines.append(" " * 10 + "+" + "-" * _COLUMNS)
    lines.append(" " * 10 + f"0{'steps':^{_COLUMNS - 1 - len(str(race.steps))}}{race.steps}")
    return lines


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "blew up"
