"""What a check found: plain frozen values, their order, and their JSON form.

A failed check is a value, not an exception; raising is opt-in (`Report.raise_for_findings`).
Nothing here measures or judges, and nothing here knows how a report looks.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from numbers import Real
from typing import Any, Literal, get_args

import msgspec

from . import shown
from .arguments import choice, refused, several, text, told
from .errors import ArtifactError, FindingsError
from .limits import Limits
from .plain import to_json
from .safe_text import printable
from .shown import Shown

SCHEMA = 2
"""Version of the JSON form; raised when a reader of the old form would misread the new one.

1: measurements without types, which cannot be judged again. 2: with the types that the rules judge.
"""
PROBLEM = "train.py:problem"
"""How the texts of findings name the problem until `Report.addressed` puts in its own."""


FAMILIES = {
    "WP0": "loading",
    "WP1": "data",
    "WP2": "signals",
    "WP3": "initialization",
    "WP4": "gradients",
    "WP5": "objective",
    "WP6": "wiring",
}
"""The first three characters of a code, and what its family is called."""

Verdict = Literal["ready", "not ready", "not examined"]
"""``"not ready"``: an error or a warning. ``"not examined"``: neither, and a family that matters was not looked at."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Training will fail or be much worse; shown FAIL."""
    WARNING = "warning"
    """Training is likely to be worse, or part of the model does not train; shown WARN."""
    NOTE = "note"
    """Worth knowing; never counts against the verdict. Shown NOTE."""

    @property
    def label(self) -> str:
        return {"error": "FAIL", "warning": "WARN", "note": "NOTE"}[self.value]


Outcome = Literal["skip", "not applicable", "inconclusive"]
"""``"skip"``: a rule lacks what it needs. ``"not applicable"``: there is nothing here that it could judge.
``"inconclusive"``: it measured and could not tell."""

Command = Literal["", "fix"]

Confidence = Literal["confirmed", "measured"]
"""``"confirmed"``: taking the cause away on a copy took the symptom away. ``"measured"``: the number stands alone."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One defect: what, where, how large, why it hurts, and how to mend it."""

    code: str
    """The rule's code, such as ``"WP101"``."""
    name: str
    """The rule's name, such as ``"feature-scale-imbalance"``."""
    severity: Severity
    where: str
    """Dotted name of the module or parameter at fault, or ``inputs``, ``inputs.proline``, ``targets``, ``loss``, ``optimizer``."""
    summary: str
    """One line, with the measured value and the limit in words."""
    quantity: str
    """What `measured` and `limit` are, with the unit: ``"largest std of a feature / smallest"``."""
    measured: float | None = None
    limit: float | None = None
    why: str
    fix: str
    command: Command = ""
    """The subcommand of ``wellposed`` that `fix` names together with the problem: ``wellposed fix train.py:problem``."""
    confidence: Confidence = "measured"

    def __post_init__(self) -> None:
        for name in ("code", "name", "where", "summary", "quantity", "why", "fix"):
            if not isinstance(getattr(self, name), str):
                raise refused(name, getattr(self, name), "text")
        if not isinstance(self.severity, Severity):
            object.__setattr__(self, "severity", Severity(choice(self.severity, "severity", Severity)))
        choice(self.confidence, "confidence", get_args(Confidence))
        choice(self.command, "command", get_args(Command))
        for name in ("measured", "limit"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
                raise refused(name, value, "a number, or None")
            object.__setattr__(self, name, None if value is None else float(value))


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A rule that gave no verdict, and the reason."""

    code: str
    reason: str
    outcome: Outcome = "skip"
    needs: str = ""
    """What would let it look, such as ``"pass loss=..."``; empty where nothing is known to."""


@dataclass(frozen=True, kw_only=True)
class Unmeasured:
    """Stands in for a measurement that could not be taken, with the reason."""

    reason: str
    outcome: Outcome = "skip"
    needs: str = ""
    """What to pass or to change, so that it can be."""


class CheckInterrupted(KeyboardInterrupt):
    """Ctrl-C during a check: `report` says what had been found, and what was not looked at."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How far the rules of one family came."""

    family: str
    chosen: int
    """Rules that were asked."""
    judged: int
    """Rules that gave a verdict: passed, or found something."""
    left: tuple[Skipped, ...]
    """The others, each with its reason."""
    examined: bool
    """False when no core rule of the family gave a verdict though one applies: what the family asks is open."""


@dataclass(frozen=True, kw_only=True)
class Unexamined:
    """A family that matters and was not looked at."""

    family: str
    reason: str
    needs: str = ""
    """What to pass or to change, so that it can be."""

    def __str__(self) -> str:
        return f"{self.family}: {self.reason}" + (f" ({self.needs})" if self.needs else "")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Report(Shown):
    """Everything that one check found, in a form that prints, saves and loads; true only when it is ready.

    `findings` are ordered: the root cause first, its consequences after it.
    """

    findings: tuple[Finding, ...] = ()
    passed: tuple[str, ...] = ()
    """Codes of the rules that measured and found nothing."""
    skipped: tuple[Skipped, ...] = ()
    measurements: dict[str, Any] = field(default_factory=dict)
    """The numbers behind the verdicts by name: what the rules judge, or `Unmeasured` with the reason.

    In a report of schema 1 they are plain dicts, lists and scalars.
    """
    limits: dict[str, float] = field(default_factory=dict)
    """The limits that the rules judged by, where they are not the defaults."""
    environment: dict[str, str] = field(default_factory=dict)
    """What ran where: versions, the model, the seed, the seconds."""
    core: tuple[str, ...] = ()
    """Codes of the chosen rules that answer what their family asks. Where none of a family's gave a verdict, though
    one applies, the family was not examined, whatever its other rules passed."""
    traces: tuple[str, ...] = ()
    """What the check changed in the user's program and could not put back, a sentence each; empty nearly always."""
    problem: str = PROBLEM
    """What the commands in the findings call the problem."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name, kind in (("findings", Finding), ("passed", str), ("skipped", Skipped)):
            what = "codes" if kind is str else f"objects of the class {kind.__name__}"
            members = several(getattr(self, name), name, kind, expected=f"a tuple of {what}")
            object.__setattr__(self, name, members)

    @property
    def verdict(self) -> Verdict:
        """``"ready"``: nothing counts against the problem, and what matters was looked at.

        ``"not ready"``: there is an error or a warning. ``"not examined"``: there is none, but a family that matters
        could not be looked at (see `unexamined`), or no rule gave a verdict.

        Examples
        --------
        >>> import torch, wellposed as wp
        >>> _ = torch.manual_seed(0)
        >>> report = wp.check(torch.nn.Linear(4, 1), None, (torch.randn(64, 4), torch.randn(64, 1)))
        >>> report.verdict, bool(report)
        ('not examined', False)
        >>> for family in report.unexamined:
        ...     print(family)
        objective: no loss was given, and the model returns none (pass loss=...)
        wiring: no loss was given, and the model returns none (pass loss=...)
        """
        if self.errors or self.warnings:
            return "not ready"
        return "not examined" if self.unexamined or not self._judged else "ready"

    def __bool__(self) -> bool:
        return self.verdict == "ready"

    @property
    def coverage(self) -> tuple[Coverage, ...]:
        """How many of the chosen rules gave a verdict, family by family, and why the others did not."""
        return tuple(c for prefix in FAMILIES if (c := self._coverage(prefix)).chosen)

    @property
    def unexamined(self) -> tuple[Unexamined, ...]:
        """The families that matter and were not looked at: why, and what to pass.

        Where no rule at all gave a verdict, every chosen family is one of them.
        """
        families = self.coverage
        return tuple(
            self._unexamined(c) for c in families if not c.examined or not any(c.judged for c in families)
        )

    @property
    def _judged(self) -> frozenset[str]:
        return frozenset((*self.codes, *self.passed))

    def _coverage(self, prefix: str) -> Coverage:
        judged = {code for code in self._judged if code.startswith(prefix)}
        left = tuple(s for s in self.skipped if s.code.startswith(prefix))
        open_ = any(s.code in self.core and s.outcome != "not applicable" for s in left)
        return Coverage(
            family=FAMILIES[prefix],
            chosen=len(judged) + len(left),
            judged=len(judged),
            left=left,
            examined=not open_ or not judged.isdisjoint(self.core),
        )

    def _unexamined(self, family: Coverage) -> Unexamined:
        """With the reason of a core rule, of one that says what it needs where there is one."""
        core = [s for s in family.left if s.code in self.core and s.outcome != "not applicable"]
        skipped = min(core or family.left, key=lambda s: not s.needs)
        return Unexamined(family=family.family, reason=skipped.reason, needs=skipped.needs)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.WARNING)

    @property
    def notes(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.NOTE)

    @property
    def ok(self) -> bool:
        """True when the verdict is ``"ready"``, as `bool` of the report is."""
        return bool(self)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the findings, in order, each once."""
        return tuple(dict.fromkeys(f.code for f in self.findings))

    def addressed(self, spec: str) -> Report:
        """The report with the user's own problem in the commands that it suggests."""
        old, new = shlex.quote(self.problem), shlex.quote(text(spec, "spec"))
        findings = tuple(
            replace(f, fix=f.fix.replace(f"wellposed {f.command} {old}", f"wellposed {f.command} {new}"))
            if f.command
            else f
            for f in self.findings
        )
        return replace(self, findings=findings, problem=spec)

    def judged(self, limits: Limits | None = None) -> Report:
        """The same measurements judged again by the rules of this report, without the model.

        Parameters
        ----------
        limits
            A `wellposed.Limits`; by default those of this report. What was measured stays: a training with one thing
            changed that the old limits did not call for is not made up for.

        Raises
        ------
        ArtifactError
            When the report was saved with schema 1, which does not hold what the rules judge.

        Examples
        --------
        >>> import torch, wellposed as wp
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(64, 2) * torch.tensor([1.0, 40.0])
        >>> report = wp.check(torch.nn.Linear(2, 1), torch.nn.functional.mse_loss, (x, x[:, :1]))
        >>> "WP101" in report.codes, "WP101" in report.judged(wp.Limits(feature_spread=10)).codes
        (False, True)
        """
        return shown.saved.judged(self, limits)

    def raise_for_findings(self) -> None:
        """Raise `FindingsError` unless the verdict is ``"ready"``; for scripts and CI.

        It is raised of what was not examined too. A family that is left out on purpose (``ignore="WP5"``) is not asked for.
        """
        if not self:
            raise FindingsError(self._in_words())

    def _in_words(self) -> str:
        """The verdict in one line, with the worst finding or what was not examined."""
        worst = next(iter(self.errors + self.warnings), None)
        if worst is not None:
            counts = f"{len(self.errors)} failed, {len(self.warnings)} warned"
            return f"{counts}; first: {worst.code} {worst.name} at {worst.where}: {worst.summary}"
        if self:
            return "ready"
        return "not examined: " + ("; ".join(map(str, self.unexamined)) or "no rule was chosen")

    def to_json(self) -> str:
        """The whole report as JSON; `Report.from_json` reads it back."""
        measurements = {
            name: {"unmeasured": value} if isinstance(value, Unmeasured) else value
            for name, value in self.measurements.items()
        }
        whole = {f.name: getattr(self, f.name) for f in fields(self)}
        whole |= {"measurements": measurements, "verdict": self.verdict, "unexamined": self.unexamined}
        return to_json(whole)  # in ASCII: no name in it drives a terminal

    @staticmethod
    def from_json(text: str | bytes) -> Report:
        """Read a report that `to_json` wrote; raises `ArtifactError` on anything else."""
        if not isinstance(text, str | bytes):
            raise refused("text", text, "the JSON of a report, as str or bytes")
        try:
            plain = json.loads(text)
            if not isinstance(plain, dict):
                raise ArtifactError(f"not a wellposed report: it holds {told(plain)}, expected an object")
            if not {"schema", "findings", "passed", "skipped"} <= plain.keys():
                raise ArtifactError("not a wellposed report: it lacks schema, findings, passed or skipped")
            schema = plain["schema"]
            if schema == SCHEMA:
                plain["measurements"] = shown.saved.typed(plain.get("measurements", {}))
            report = msgspec.convert(plain, type=Report, strict=False)  # "nan" and "inf" become numbers again
        except (msgspec.ValidationError, ValueError, RecursionError) as error:
            raise ArtifactError(f"not a wellposed report: {error}") from error
        if report.schema not in (1, SCHEMA):
            raise ArtifactError(
                f"the report has schema {report.schema}, this version reads 1 and {SCHEMA}: use the version that wrote it"
            )
        return report

    def __repr__(self) -> str:
        """One line: what a failed assertion shows of it."""
        return printable(f"<Report {self._in_words()}>")
