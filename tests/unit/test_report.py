"""The report as a value: its order, its verdict, its JSON."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from wellposed import Finding, Report, Severity
from wellposed.errors import ArtifactError, FindingsError
from wellposed.report import Skipped


def finding(code: str = "WP101", severity: Severity = Severity.ERROR, **changes: object) -> Finding:
    made = Finding(
        code=code, name="feature-scale-imbalance", severity=severity, where="inputs.proline", measured=2530.0, limit=100.0,
        summary="stds differ 2,530-fold", quantity="largest std / smallest", why="slow", fix="normalise",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


NOTE = finding("WP104", Severity.NOTE)
WARNING = finding("WP105", Severity.WARNING)
FULL = Report(
    findings=(finding(), WARNING, NOTE, finding("WP101", where="inputs.hue")),
    passed=("WP201", "WP202"),
    skipped=(Skipped(code="WP602", reason="no optimizer given"), Skipped(code="WP109", reason="?", outcome="inconclusive")),
    measurements={"input": {"mean": [0.0, 1.5], "spread": 2530.0}},
    environment={"seed": "0"},
)  # fmt: skip


def as_dict(report: Report) -> dict[str, object]:
    return {f.name: getattr(report, f.name) for f in fields(report)}


def test_findings_are_told_apart_by_severity_and_keep_their_order() -> None:
    assert [f.where for f in FULL.errors] == ["inputs.proline", "inputs.hue"]
    assert FULL.warnings == (WARNING,)
    assert FULL.notes == (NOTE,)


def test_codes_stand_in_order_each_once() -> None:
    assert FULL.codes == ("WP101", "WP105", "WP104")


@pytest.mark.parametrize(
    ("findings", "ok"), [((), True), ((NOTE,), True), ((WARNING,), False), ((finding(),), False)]
)
def test_only_errors_and_warnings_count_against_the_verdict(findings: tuple[Finding, ...], ok: bool) -> None:
    report = Report(findings=findings)
    assert report.ok is ok
    if ok:
        report.raise_for_findings()
    else:
        with pytest.raises(FindingsError, match=r"WP10\d feature-scale-imbalance at inputs\.proline"):
            report.raise_for_findings()


def test_raising_names_the_first_error_though_a_warning_stands_before_it() -> None:
    with pytest.raises(FindingsError, match="1 failed, 1 warned; first: WP101"):
        Report(findings=(WARNING, finding())).raise_for_findings()


def test_json_brings_the_whole_report_back() -> None:
    assert as_dict(Report.from_json(FULL.to_json())) == as_dict(FULL)


def test_json_is_the_same_when_it_is_written_again() -> None:
    assert Report.from_json(FULL.to_json()).to_json() == FULL.to_json()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_survive(value: float) -> None:
    report = Report(findings=(finding(measured=value),), measurements={"loss": [1.0, value]})
    text = report.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    back = Report.from_json(text)
    assert back.findings[0].measured is not None
    assert repr(back.findings[0].measured) == repr(value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"findings": 3}', '{"findings": [{"code": "WP101"}]}', "not json", b"\xff\xfe"],
)
def test_what_is_no_report_is_refused(text: str | bytes) -> None:
    with pytest.raises(ArtifactError, match="not a wellposed report"):
        Report.from_json(text)


def test_an_object_that_is_json_but_no_report_is_refused() -> None:
    with pytest.raises(ArtifactError):
        Report.from_json('{"name": "package", "version": "1.0"}')


def test_a_truncated_report_is_refused() -> None:
    text = FULL.to_json()
    for length in range(0, len(text) - 2, 97):
        with pytest.raises(ArtifactError):
            Report.from_json(text[:length])


def test_a_report_of_another_schema_is_refused_with_both_numbers() -> None:
    with pytest.raises(ArtifactError, match="schema 99, this version reads 1"):
        Report.from_json(replace(FULL, schema=99).to_json())


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        FULL.findings = ()  # type: ignore[misc]


def test_a_report_can_be_pickled() -> None:
    assert as_dict(pickle.loads(pickle.dumps(FULL))) == as_dict(FULL)


def test_comparing_reports_is_by_identity_and_never_fails() -> None:
    assert replace(FULL) != FULL
    assert FULL == FULL


def test_a_label_is_what_people_read() -> None:
    assert [s.label for s in Severity] == ["FAIL", "WARN", "NOTE"]
