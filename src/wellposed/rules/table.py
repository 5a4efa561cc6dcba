"""What a rule is, and how a table of them is applied. A rule reads one measurement and measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..limits import Limits
from ..report import Confidence, Finding, Outcome, Severity, Skipped


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
    outcome: Outcome = "skip"
    needs: str = ""
    """What would let it look, such as ``"pass loss=..."``."""


NO_OPTIMIZER = NoVerdict(reason="no optimizer given", needs="pass optimizer=...")

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
    core: bool = False
    """Whether its verdict answers what its family asks: do signals arrive, does the loss fit, do steps train what they
    should? Not of a rule that passes where nothing was looked at, or that asks for more than a model, a loss and data."""


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """Stands in for a measurement that could not be taken, with the reason."""

    reason: str
    outcome: Outcome = "skip"
    needs: str = ""
    """What to pass or to change, so that it can be."""


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
            skipped.append(_skipped(rule, profile))
            continue
        judgements = list(rule.judge(profile, limits))
        faults = [j for j in judgements if isinstance(j, Fault)]
        unsure = [j for j in judgements if isinstance(j, NoVerdict)]
        findings += [_finding(rule, fault) for fault in faults]
        if not faults and unsure:
            skipped.append(_skipped(rule, unsure[0]))
        elif not faults:
            passed.append(rule.code)
    return Verdicts(tuple(findings), tuple(passed), tuple(skipped))


def _skipped(rule: Rule, said: NoVerdict | Unmeasured) -> Skipped:
    return Skipped(code=rule.code, reason=said.reason, outcome=said.outcome, needs=said.needs)


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
