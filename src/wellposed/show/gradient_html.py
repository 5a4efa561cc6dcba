"""A gradient check as a static HTML table for notebooks: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from html import escape

from ..gradcheck.result import GradientCheck, TensorCheck
from .gradient import (
    COLORS,
    WORDS,
    accused,
    brief,
    counts,
    lower_precision,
    numbers,
    place,
    reason,
    run,
    title,
    values,
)
from .gradient_advice import next_step
from .lines import clean

_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"
_ROWS = 12


def gradients_html(check: GradientCheck) -> str:
    """Return what failed and what could not be told, the verdict below it.

    Parameters
    ----------
    check
        What `wellposed.check_gradients` returned.
    """
    said = [*numbers(check), lower_precision(check), check.detail if check.verdict == "pass" else ""]
    lines = "<br>".join(_safe(text) for text in said if text)
    verdict = f"<strong>{WORDS[check.verdict]}</strong> {_safe(counts(check))}; {_safe(run(check))}"
    return f'<div class="wellposed">{_accusation(check)}{_table(check)}<p>{lines}</p><p>{verdict}</p></div>'


def _accusation(check: GradientCheck) -> str:
    if check.verdict == "pass":
        return ""
    head = f'<strong style="color:{COLORS[check.verdict]}">{_safe(title(check))}</strong>'
    lines = [f"{head} <code>{_safe(place(check))}</code>"]
    if check.worst:
        lines.append(f"{_safe(values(check.worst))} at <code>{_safe(check.worst.place)}</code>")
    lines += [f"why: {_safe(reason(check))}"] if reason(check) else []
    lines.append(f"next: {_safe(next_step(check, accused(check)))}")
    return f"<p>{'<br>'.join(lines)}</p>"


def _table(check: GradientCheck) -> str:
    told = [t for t in check.tensors if t.verdict != "pass"]
    if not told:
        return ""
    names = ("tensor", "verdict", "relative error", "bar", "resolution", "cause")
    header = "".join(f'<th style="{_CELL}">{name}</th>' for name in names)
    rest = len(told) - _ROWS
    more = f'<tr><td style="{_CELL}" colspan="6">{rest} more not shown</td></tr>' if rest > 0 else ""
    rows = "".join(_row(t) for t in told[:_ROWS]) + more
    return f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"


def _row(tensor: TensorCheck) -> str:
    cells = (
        f"<code>{_safe(tensor.name)}</code>",
        tensor.verdict,
        brief(tensor.error),
        brief(tensor.bar),
        brief(tensor.resolution),
        _safe(tensor.cause or ""),
    )
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _safe(text: str) -> str:
    return escape(clean(text)).replace("\n", "<br>")
