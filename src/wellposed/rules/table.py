"""What a rule is, and how a table of them is applied. A rule reads one measurement and measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..limits import Limits
from ..report import Command, Confidence, Finding, Outcome, Severity, Skipped, Unmeasured


@dataclass(frozen=True, kw_only=True)
class Defect:
    """What a rule says when it finds its defect; the table adds code, name and severity to make a `Finding`."""

    where: str
    summary: str
    quantity: str
    measured: float | None = None
    limit: float | None = None
    why: str
    fix: str
    command: Command = ""
    """The subcommand of ``wellposed`` that `fix` names together with ``train.py:problem``."""
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

Judgement = Defect | NoVerdict
Judge = Callable[[Any, Limits], Iterator[Judgement]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the table."""

    code: str
    name: str
    judges: type
    severity: Severity
    judge: Judge
    limits: tuple[str, ...] = ()
    """Names of the `Limits` that the judge reads."""
    core: bool = False
    """Whether its verdict answers what its family asks: do signals arrive, does the loss fit, do steps train what they
    should? Not of a rule that passes where nothing was looked at, or that asks for more than a model, a loss and data."""


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
        defects = [j for j in judgements if isinstance(j, Defect)]
        unsure = [j for j in judgements if isinstance(j, NoVerdict)]
        findings += [_finding(rule, defect) for defect in defects]
        if not defects and unsure:
            skipped.append(_skipped(rule, unsure[0]))
        elif not defects:
            passed.append(rule.code)
    return Verdicts(tuple(findings), tuple(passed), tuple(skipped))


def _skipped(rule: Rule, why: NoVerdict | Unmeasured) -> Skipped:
    return Skipped(code=rule.code, reason=why.reason, outcome=why.outcome, needs=why.needs)


def _finding(rule: Rule, defect: Defect) -> Finding:
    return Finding(
        code=rule.code,
        name=rule.name,
        severity=defect.severity or rule.severity,
        where=defect.where,
        summary=defect.summary,
        quantity=defect.quantity,
        measured=defect.measured,
        limit=defect.limit,
        why=defect.why,
        fix=defect.fix,
        command=defect.command,
        confidence=defect.confidence,
    )
