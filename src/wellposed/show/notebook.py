"""A report as a static HTML table for notebooks, and such tables: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..report import Finding, Report, Severity
from .lines import clean
from .rule_counts import not_examined, reason_of, verdict, verdict_line

_COLORS = {Severity.ERROR: "#c62828", Severity.WARNING: "#b26a00", Severity.NOTE: "#1565c0"}
_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


def report_html(report: Report) -> str:
    """Return the findings as one table, the verdict below it.

    Parameters
    ----------
    report
        What `wellposed.check` returned.
    """
    rows = [_cells(finding) for finding in report.findings]
    findings = table(("", "rule", "where", "what, why, fix"), rows) if rows else ""
    skipped = "".join(f"<li>{safe(s.code)} {s.outcome}: {safe(reason_of(s))}</li>" for s in report.skipped)
    folded = (
        f"<details><summary>no verdict from {len(report.skipped)} rules</summary><ul>{skipped}</ul></details>"
    )
    return (
        f'<div class="wellposed">{findings}{_coverage(report)}'
        f"<p><strong>{verdict(report)}</strong> {safe(verdict_line(report))}</p>"
        f"{_remarks(report)}{folded if skipped else ''}</div>"
    )


def _coverage(report: Report) -> str:
    """How many rules of each family gave a verdict; those not examined in bold."""
    parts = (
        f"{c.family} {c.judged} of {c.chosen}"
        if c.examined
        else f"<strong>{c.family} {c.judged} of {c.chosen}, not examined</strong>"
        for c in report.coverage
    )
    return "<p>" + " · ".join(parts) + "</p>"


def _remarks(report: Report) -> str:
    open_ = not_examined(report) if report.verdict == "not ready" else []
    left = [f"changed and not put back: {sentence}" for sentence in report.traces]
    return "".join(f"<p>{safe(text)}</p>" for text in [*(f"not examined: {o}" for o in open_), *left])


def _cells(finding: Finding) -> tuple[str, ...]:
    color = _COLORS[finding.severity]
    confirmed = "<br><em>confirmed by intervention</em>" if finding.confidence == "confirmed" else ""
    return (
        f'<strong style="color:{color}">{finding.severity.label}</strong>',
        f"<code>{safe(finding.code)}</code><br>{safe(finding.name)}",
        f"<code>{safe(finding.where)}</code>",
        f"{safe(finding.summary)}<br>why: {safe(finding.why)}<br>fix: {safe(finding.fix)}{confirmed}",
    )


def table(names: Sequence[str], rows: Iterable[Sequence[str]], *, below: str = "") -> str:
    """A table of cells that are HTML already, and where there is one a line `below` them, over all columns."""
    header = "".join(f'<th style="{_CELL}">{name}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>" for cells in rows
    )
    if below:
        body += f'<tr><td style="{_CELL}" colspan="{len(names)}">{below}</td></tr>'
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def safe(text: str) -> str:
    """Text of others, escaped, its lines broken where they were."""
    return escape(clean(text)).replace("\n", "<br>")
