"""What a rule is, and how a table of them is applied. A rule reads one measurement and measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..limits import Limits
from ..report import Confidence, Finding, Severity, Skipped


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What a rule says when it finds its defect; the table adds code, name and severity to make a `Finding`."""

    where: str
    summary: str
    quantity: str
    measured: float | None = None
    limit: float | None = None
    why: str
    fix: str
    confidence: Confidence = "measured"
    severity: Severity | None = None
    """Milder or graver than the rule's own, when the measurement says so."""


@dataclass(frozen=True, kw_only=True)
class NoVerdict:
    """What a rule says when it cannot tell."""

    reason: str
    outcome: Literal["skip", "inconclusive"] = "skip"


Judgement = Fault | NoVerdict
Judge = Callable[[Any, Limits], Iterator[Judgement]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the table."""

    code: str
    name: str
    judges: type
    severity: Severity
    judge: Judge


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """Stands in for a measurement that could not be taken, with the reason."""

    reason: str


@dataclass(frozen=True)
class Verdicts:
    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def apply(rules: Sequence[Rule], measured: Mapping[type, Any], limits: Limits) -> Verdicts:
    """Judge every measurement by every rule that reads it."""
    findings: list[Finding] = []
    passed: list[str] = []
    skipped: list[Skipped] = []
    for rule in rules:
        profile = measured.get(rule.judges, Unmeasured(reason="not measured"))
        if isinstance(profile, Unmeasured):
            skipped.append(Skipped(code=rule.code, reason=profile.reason))
            continue
        judgements = list(rule.judge(profile, limits))
        faults = [j for j in judgements if isinstance(j, Fault)]
        unsure = [j for j in judgements if isinstance(j, NoVerdict)]
        findings += [_finding(rule, fault) for fault in faults]
        if not faults and unsure:
            skipped.append(Skipped(code=rule.code, reason=unsure[0].reason, outcome=unsure[0].outcome))
        elif not faults:
            passed.append(rule.code)
    return Verdicts(tuple(findings), tuple(passed), tuple(skipped))


def _finding(rule: Rule, fault: Fault) -> Finding:
    return Finding(
        code=rule.code,
        name=rule.name,
        severity=fault.severity or rule.severity,
        where=fault.where,
        summary=fault.summary,
        quantity=fault.quantity,
        measured=fault.measured,
        limit=fault.limit,
        why=fault.why,
        fix=fault.fix,
        confidence=fault.confidence,
    )
