"""A race as text: the curves of both sides on a log axis, and one line a side."""

from __future__ import annotations

import math
from typing import Any

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
    lines.append(f"  after is {word}: lower in {race.won} of {seeds} seeds, each at its best of 6 rates")
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
