"""A gradient check as a static HTML table for notebooks: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from ..gradcheck.result import GradientCheck, TensorCheck
from .gradient import (
    COLORS,
    WORDS,
    accused,
    brief,
    counts,
    numbers,
    place,
    reason,
    run,
    title,
    values,
)
from .gradient_advice import next_step
from .notebook import safe, table

_ROWS = 12


def gradients_html(check: GradientCheck) -> str:
    """Return what failed and what could not be told, the verdict below it.

    Parameters
    ----------
    check
        What `wellposed.check_gradients` returned.
    """
    lines = "<br>".join(map(safe, numbers(check)))
    verdict = f"<strong>{WORDS[check.verdict]}</strong> {safe(counts(check))}; {safe(run(check))}"
    return f'<div class="wellposed">{_accusation(check)}{_table(check)}<p>{lines}</p><p>{verdict}</p></div>'


def _accusation(check: GradientCheck) -> str:
    if check.verdict == "pass":
        return ""
    head = f'<strong style="color:{COLORS[check.verdict]}">{safe(title(check))}</strong>'
    lines = [f"{head} <code>{safe(place(check))}</code>"]
    if check.worst:
        lines.append(f"{safe(values(check.worst))} at <code>{safe(check.worst.place)}</code>")
    lines += [f"why: {safe(reason(check))}"] if reason(check) else []
    lines.append(f"next: {safe(next_step(check, accused(check)))}")
    return f"<p>{'<br>'.join(lines)}</p>"


def _table(check: GradientCheck) -> str:
    told = [t for t in check.tensors if t.verdict != "pass"]
    if not told:
        return ""
    names = ("tensor", "verdict", "relative error", "bar", "resolution", "cause")
    rest = len(told) - _ROWS
    return table(names, map(_cells, told[:_ROWS]), below=f"{rest} more not shown" if rest > 0 else "")


def _cells(tensor: TensorCheck) -> tuple[str, ...]:
    return (
        f"<code>{safe(tensor.name)}</code>",
        tensor.verdict,
        brief(tensor.error),
        brief(tensor.bar),
        brief(tensor.resolution),
        safe(tensor.cause or ""),
    )
