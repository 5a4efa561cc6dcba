"""A report as a static HTML table for notebooks: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from html import escape

from ..report import Finding, Report, Severity
from .lines import clean
from .rule_counts import not_examined, verdict, verdict_line

_COLORS = {Severity.ERROR: "#c62828", Severity.WARNING: "#b26a00", Severity.NOTE: "#1565c0"}
_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


def report_html(report: Report) -> str:
    """Return the findings as one table, the verdict below it.

    Parameters
    ----------
    report
        What `wellposed.check` returned.
    """
    rows = "".join(_row(finding) for finding in report.findings)
    header = "".join(f'<th style="{_CELL}">{name}</th>' for name in ("", "rule", "where", "what, why, fix"))
    table = f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>" if rows else ""
    skipped = "".join(
        f"<li>{_safe(s.code)} {s.outcome}: {_safe(s.reason + (f' ({s.needs})' if s.needs else ''))}</li>"
        for s in report.skipped
    )
    folded = (
        f"<details><summary>no verdict from {len(report.skipped)} rules</summary><ul>{skipped}</ul></details>"
    )
    return (
        f'<div class="wellposed">{table}{_coverage(report)}'
        f"<p><strong>{verdict(report)}</strong> {_safe(verdict_line(report))}</p>"
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
    return "".join(f"<p>{_safe(text)}</p>" for text in [*(f"not examined: {o}" for o in open_), *left])


def _row(finding: Finding) -> str:
    color = _COLORS[finding.severity]
    confirmed = "<br><em>confirmed by intervention</em>" if finding.confidence == "confirmed" else ""
    cells = (
        f'<strong style="color:{color}">{finding.severity.label}</strong>',
        f"<code>{_safe(finding.code)}</code><br>{_safe(finding.name)}",
        f"<code>{_safe(finding.where)}</code>",
        f"{_safe(finding.summary)}<br>why: {_safe(finding.why)}<br>fix: {_safe(finding.fix)}{confirmed}",
    )
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _safe(text: str) -> str:
    return escape(clean(text)).replace("\n", "<br>")
