"""What a check found: plain frozen values, their order, and their JSON form.

A failed check is a value, not an exception; raising is opt-in (`Report.raise_for_findings`).
Nothing here measures or judges, and nothing here knows how a report looks.
"""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass, field, replace
from enum import StrEnum
from numbers import Real
from typing import Any, Literal

import msgspec

from .arguments import choice, refused, several, text
from .errors import ArtifactError, FindingsError

SCHEMA = 1
"""Version of the JSON form; raised when a reader of the old form would misread the new one."""


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
    confidence: Confidence = "measured"

    def __post_init__(self) -> None:
        for name in ("code", "name", "where", "summary", "quantity", "why", "fix"):
            if not isinstance(getattr(self, name), str):
                raise refused(name, getattr(self, name), "text")
        if not isinstance(self.severity, Severity):
            object.__setattr__(self, "severity", Severity(choice(self.severity, "severity", Severity)))
        for name in ("measured", "limit"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
                raise refused(name, value, "a number, or None")


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A rule that gave no verdict, and the reason."""

    code: str
    reason: str
    outcome: Literal["skip", "inconclusive"] = "skip"
    """``"skip"``: it does not apply, or lacks what it needs. ``"inconclusive"``: it measured and could not tell."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """Everything that one check found, in a form that prints, saves and loads.

    `findings` are ordered: the root cause first, its consequences after it.
    """

    findings: tuple[Finding, ...] = ()
    passed: tuple[str, ...] = ()
    """Codes of the rules that measured and found nothing."""
    skipped: tuple[Skipped, ...] = ()
    measurements: dict[str, Any] = field(default_factory=dict)
    """The numbers behind the verdicts: plain dicts, lists and scalars, one entry a profile."""
    environment: dict[str, str] = field(default_factory=dict)
    """What ran where: versions, the model, the seed, the seconds."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name, kind in (("findings", Finding), ("passed", str), ("skipped", Skipped)):
            what = "codes" if kind is str else f"objects of the class {kind.__name__}"
            held = several(getattr(self, name), name, kind, expected=f"a tuple of {what}")
            object.__setattr__(self, name, held)

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
        """True when there is no error and no warning; notes never count."""
        return not self.errors and not self.warnings

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the findings, in order, each once."""
        return tuple(dict.fromkeys(f.code for f in self.findings))

    def addressed(self, spec: str) -> Report:
        """The report with the user's own problem in the commands that it suggests."""
        command = shlex.quote(text(spec, "spec"))
        named = (replace(f, fix=f.fix.replace("train.py:problem", command)) for f in self.findings)
        return replace(self, findings=tuple(named))

    def raise_for_findings(self) -> None:
        """Raise `FindingsError` unless the report is `ok`; for scripts and CI."""
        if not self.ok:
            worst = (self.errors + self.warnings)[0]
            raise FindingsError(
                f"{len(self.errors)} failed, {len(self.warnings)} warned; first: "
                f"{worst.code} {worst.name} at {worst.where}: {worst.summary}"
            )

    def to_json(self) -> str:
        """The whole report as JSON; `Report.from_json` reads it back."""
        plain = msgspec.to_builtins(self)
        return json.dumps(
            _finite(plain), indent=2, allow_nan=False
        )  # in ASCII: no name in it drives a terminal

    @staticmethod
    def from_json(text: str | bytes) -> Report:
        """Read a report that `to_json` wrote; raises `ArtifactError` on anything else."""
        if not isinstance(text, str | bytes):
            raise refused("text", text, "the JSON of a report, as str or bytes")
        try:
            plain = json.loads(text)
            if not isinstance(plain, dict) or not {"schema", "findings", "passed", "skipped"} <= plain.keys():
                raise ArtifactError("not a wellposed report: it lacks schema, findings, passed or skipped")
            report = msgspec.convert(plain, type=Report, strict=False)  # "nan" and "inf" become numbers again
        except (msgspec.ValidationError, ValueError, RecursionError) as error:
            raise ArtifactError(f"not a wellposed report: {error}") from error
        if report.schema != SCHEMA:
            raise ArtifactError(
                f"the report has schema {report.schema}, this version reads {SCHEMA}: use the version that wrote it"
            )
        return report

    # How a report looks is `show`'s business; these are the doors that Python, rich and notebooks knock at.
    def __str__(self) -> str:
        from .show.text import render

        return render(self)

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from .show.text import renderables

        yield from renderables(self, width=options.max_width)

    def _repr_html_(self) -> str:
        from .show.notebook import report_html

        return report_html(self)


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity: they travel as the strings ``"nan"``, ``"inf"``, ``"-inf"``; limits stay numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
