"""Judge measurements, fresh from a check or out of a saved report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec
import numpy as np

from ..errors import ArgumentError, ArtifactError
from ..limits import Limits
from ..report import SCHEMA, Finding, Report, Severity, Unmeasured
from . import CAUSAL_ORDER, RESULTS, RULES
from .table import Rule, apply


def name_of(result: type) -> str:
    """What reports call a type of measurements: ``"custom_backwards"`` for `CustomBackwards`, ``"input"`` for `InputProfile`."""
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in result.__name__)
    return words.strip("_").removesuffix("_profile")


TYPES = {name_of(result): result for result in RESULTS}


def typed(measurements: Any) -> dict[str, Any]:
    """The measurements of a saved report as the types that the rules judge."""
    if not isinstance(measurements, dict):
        raise ArtifactError("not a wellposed report: its measurements are no object")
    return {name: _typed(name, plain) for name, plain in measurements.items()}


def _typed(name: str, plain: Any) -> Any:
    if name not in TYPES:
        raise ArtifactError(
            f"the report holds measurements called {name!r}, which this version does not know"
        )
    is_unmeasured = isinstance(plain, dict) and plain.keys() == {"unmeasured"}
    try:
        return msgspec.convert(
            plain["unmeasured"] if is_unmeasured else plain,
            type=Unmeasured if is_unmeasured else TYPES[name],
            strict=False,  # "nan" and "inf" become numbers again
            str_keys=True,
            dec_hook=_array,
        )
    except (msgspec.ValidationError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ArtifactError(f"the report's measurements {name!r} are damaged: {error}") from error


def _array(kind: Any, value: Any) -> Any:
    """An array of the dtype in ``NDArray[dtype]``, from nested lists."""
    (dtype,) = kind.__args__[1].__args__
    array = np.array(value, dtype=np.float64)  # "nan" and "inf" become numbers again
    converted = array.astype(dtype)
    if not isinstance(value, list) or not np.array_equal(converted, array, equal_nan=True):
        raise ValueError(f"expected an array of {np.dtype(dtype)}")
    return converted


def judge(rules: tuple[Rule, ...], results: Mapping[type, Any], limits: Limits, **more: Any) -> Report:
    """The report of these rules on these results, the causes before their consequences."""
    verdicts = apply(rules, results, limits)
    return Report(
        findings=tuple(sorted(verdicts.findings, key=_causal_rank)),
        passed=verdicts.passed,
        skipped=verdicts.skipped,
        core=tuple(rule.code for rule in rules if rule.core),
        measurements={name_of(kind): result for kind, result in results.items()},
        limits={f.name: value for f in fields(limits) if (value := getattr(limits, f.name)) != f.default},
        **more,
    )


def _causal_rank(finding: Finding) -> tuple[bool, int]:
    return finding.severity is Severity.NOTE, CAUSAL_ORDER.index(finding.code)


def limits_of(report: Report, **others: float) -> Limits:
    """The limits that the rules judged by, but for those given."""
    try:
        return Limits(**(report.limits | others))
    except (ArgumentError, TypeError) as error:
        raise ArtifactError(f"the limits of the report are damaged: {error}") from error


def judged(report: Report, limits: Limits | None) -> Report:
    """See `Report.judged`."""
    if report.schema != SCHEMA:
        raise ArtifactError(
            f"the report has schema {report.schema}, which does not hold what the rules judge: check the problem again"
        )
    if limits is not None and not isinstance(limits, Limits):
        raise ArgumentError(
            f"limits is a {type(limits).__name__}: expected wellposed.Limits(name=value, ...)"
        )
    asked = {*report.codes, *report.passed, *(s.code for s in report.skipped)}
    again = judge(
        tuple(rule for rule in RULES if rule.code in asked),
        {TYPES[name]: result for name, result in report.measurements.items()},
        limits_of(report) if limits is None else limits,
        environment=report.environment,
        traces=report.traces,
    )
    return again.addressed(report.problem)
