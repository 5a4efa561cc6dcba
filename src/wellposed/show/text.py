"""A report as text: what is wrong, the cause first; one line a family; the verdict last."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, zip_longest

from rich.cells import cell_len
from rich.text import Text

from ..report import FAMILIES, Coverage, Finding, Report, Severity, Skipped
from ..signals.result import PrecisionProfile
from .lines import STYLES, clean, head, labelled, to_text, wrap
from .rule_counts import RuleCounts, not_examined, reason_of, verdict, verdict_line

_IN_FULL = 6
"""Findings shown in full; what follows is mostly their consequences and takes one line each."""
_COLUMN = 16
"""Where the text beside the name of a family, or of an outcome, begins."""
_REASONS = 6
"""Reasons for skipping that are listed; more than these are folded to a count."""


def render(report: Report, *, width: int = 80, color: bool | None = False, verbose: bool = False) -> str:
    """Return the report as text.

    Parameters
    ----------
    report
        What `wellposed.check` returned.
    width
        Columns; at least 40. A code or a place that is longer stays whole.
    color
        True or False; None gives colour when standard output is a terminal and NO_COLOR is not set.
    verbose
        Every finding in full, every reason for skipping, the codes that passed.
    """
    return to_text(renderables(report, width, verbose=verbose), color=color)


def renderables(report: Report, width: int = 80, *, verbose: bool = False) -> Iterator[Text]:
    """The lines of the report, as rich's texts."""
    width = max(width, 40)
    yield from heading(report, width)
    yield from _findings(report, width, verbose=verbose)
    yield Text()
    yield from _families(report, width)
    yield from _in_lower_precision(report, width, verbose=verbose)
    yield from _without_verdict(report, width, verbose=verbose)
    if verbose and report.passed:
        yield from labelled("passed", ", ".join(report.passed), width=width, indent=0, column=_COLUMN)
    yield from _warnings_of_the_check(report, width)
    yield Text()
    yield from _verdict(report, width)


def heading(report: Report, width: int) -> list[Text]:
    """What ran: versions, the model and its size, the seed; as far as the report knows."""
    about = report.environment
    parts = [f"{name} {about[name]}" for name in ("wellposed", "torch") if about.get(name)]
    parts.append(about.get("model", ""))
    parts += [f"seed {about['seed']}"] if about.get("seed") else []
    # Under a budget that left something out, a verdict rests on less.
    parts += [f"budget {budget}"] if (budget := about.get("budget")) and "thorough" not in budget else []
    lines: list[str] = []
    for part in (clean(part).replace("\n", " ") for part in parts if part):
        if lines and cell_len(lines[-1]) + 3 + cell_len(part) <= width:
            lines[-1] += "   " + part
        else:
            lines.append(part)
    return [Text(row, style="dim") for line in lines for row in wrap(line, width)]


def title(finding: Finding, width: int) -> list[Text]:
    """One line: label, code, name, and the place at the right margin."""
    label = finding.severity.label
    left = Text.assemble(
        (label, STYLES[label]), "  ", (clean(finding.code), "bold"), " ", clean(finding.name)
    )
    return head(left, finding.where, width=width)


def in_full(finding: Finding, width: int, *, told: bool = False) -> list[Text]:
    """The title, what was measured, and, unless `told` above, why it hurts and how to mend it."""
    lines = title(finding, width)
    lines += [Text("      " + line) for line in wrap(finding.summary, width - 6)]
    lines += labelled("why", finding.why, width=width) if finding.why and not told else []
    lines += labelled("fix", finding.fix, width=width, style="green") if finding.fix and not told else []
    if finding.confidence == "confirmed":
        lines.append(Text("      confirmed by intervention", style="dim"))
    return lines


def _ordered(report: Report) -> list[Finding]:
    """In causal order; notes, which never count, after the rest."""
    return [*(f for f in report.findings if f.severity is not Severity.NOTE), *report.notes]


def _findings(report: Report, width: int, *, verbose: bool) -> Iterator[Text]:
    ordered = _ordered(report)
    full = len(ordered) if verbose else _IN_FULL
    advice: set[tuple[str, str, str]] = set()
    for finding in ordered[:full]:
        same = (finding.code, finding.why, finding.fix)
        yield Text()
        yield from in_full(finding, width, told=same in advice)
        advice.add(same)
    if ordered[full:]:
        more = f"and {len(ordered) - full} more (--verbose shows them in full):"
        yield from [Text(), *(Text(line, style="dim") for line in wrap(more, width))]
        for finding in ordered[full:]:
            yield from title(finding, width)


def _families(report: Report, width: int) -> Iterator[Text]:
    """One line a family: how many of its rules gave a verdict, and what they found."""
    outcomes = RuleCounts.of(report)
    prefixes = {family: prefix for prefix, family in FAMILIES.items()}
    for covered in report.coverage:
        marks = _marks(outcomes.within(prefixes[covered.family]))
        first, *rest = wrap(marks, width - _COLUMN - 10)
        counts = f"{covered.judged} of {covered.chosen}"
        remark = "" if marks else _remark(covered)
        style = "dim" if covered.examined else STYLES["NOT EXAMINED"]
        yield Text.assemble(f"{covered.family:<{_COLUMN}}{counts:<10}", (first, "bold"), (remark, style))
        yield from (Text(" " * (_COLUMN + 10) + line, style="bold") for line in rest)


def _remark(covered: Coverage) -> str:
    if not covered.examined:
        return "not examined"
    nothing_to_judge = all(s.outcome == "not applicable" for s in covered.left)
    return "does not apply" if not covered.judged and nothing_to_judge else ""


def _marks(outcomes: RuleCounts) -> str:
    signs = {"failed": "x", "warned": "!", "noted": "note"}
    found = {sign: outcomes.codes(word) for word, sign in signs.items()}
    return "  ".join(f"{sign} {' '.join(codes)}" for sign, codes in found.items() if codes)


def _without_verdict(report: Report, width: int, *, verbose: bool) -> Iterator[Text]:
    """Why rules said nothing. What was measured and could not be told is always listed; what does not apply, briefly."""
    unexamined = () if verbose else report.unexamined
    others = [
        s for s in report.skipped if (s.reason, s.needs) not in {(u.reason, u.needs) for u in unexamined}
    ]
    unsure, skipped, idle = (
        _by_reason([s for s in others if s.outcome == outcome])
        for outcome in ("inconclusive", "skip", "not applicable")
    )
    if unsure or skipped or idle:
        yield Text()
    yield from _reasons("inconclusive", unsure, width)
    if verbose or len(skipped) <= _REASONS:
        yield from _reasons("skipped", skipped, width)
    else:
        count = sum(len(codes) for codes in skipped.values())
        text = f"{count} rules, for {len(skipped)} reasons (--verbose lists them)"
        yield from labelled("skipped", text, width=width, indent=0, column=_COLUMN)
    if verbose:
        yield from _reasons("does not apply", idle, width)
    elif idle:
        codes = ", ".join(sorted(code for codes in idle.values() for code in codes))
        yield from labelled("does not apply", codes, width=width, indent=0, column=_COLUMN)


def _warnings_of_the_check(report: Report, width: int) -> Iterator[Text]:
    """What the verdict does not say: what a problem that is not ready was not examined for, and what was left changed."""
    open_ = not_examined(report) if report.verdict == "not ready" else []
    if open_ or report.traces:
        yield Text()
    for label, text in zip_longest(["not examined"] if open_ else [], open_, fillvalue=""):
        yield from labelled(label, text, width=width, style="magenta", indent=0, column=_COLUMN)
    if report.traces:
        yield Text("changed and not put back:", style="bold yellow")
    for sentence in report.traces:
        yield from labelled("-", sentence, width=width, indent=2, column=0)


def _by_reason(skipped: list[Skipped]) -> dict[str, list[str]]:
    ordered = sorted(skipped, key=reason_of)
    groups = {reason: [s.code for s in group] for reason, group in groupby(ordered, key=reason_of)}
    return dict(sorted(groups.items(), key=lambda item: item[1]))


def _in_lower_precision(report: Report, width: int, *, verbose: bool) -> Iterator[Text]:
    """What became of a step in the precision that was named; its layers too, where all is shown."""
    profile = report.measurements.get("precision")
    if not isinstance(profile, PrecisionProfile):
        return
    yield Text()
    yield from labelled(profile.precision, profile.in_words, width=width, indent=0, column=_COLUMN)
    if verbose:
        yield from (Text(line, style="dim") for line in str(profile).splitlines())


def _reasons(label: str, groups: dict[str, list[str]], width: int) -> Iterator[Text]:
    for reason, codes in groups.items():
        text = f"{', '.join(dict.fromkeys(codes))}: {reason}"
        yield from labelled(label, text, width=width, indent=0, column=_COLUMN)
        label = ""


def _verdict(report: Report, width: int) -> Iterator[Text]:
    word = verdict(report)
    text = verdict_line(report)
    seconds = _seconds(report) if report.verdict != "not examined" else ""
    text += f"   in {seconds}" if seconds else ""
    yield from labelled(word, text, width=width, style=STYLES[word], indent=0, column=len(word) + 3)
    first = next(iter(_ordered(report)), None)
    if first is not None:
        yield Text.assemble(("why?", "dim"), f"  wellposed explain {clean(first.code)}")


def _seconds(report: Report) -> str:
    try:
        return f"{float(report.environment['seconds']):.1f} s"
    except (KeyError, ValueError):
        return ""
