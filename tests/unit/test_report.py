"""The report as a value: its order, its verdict, its JSON."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from wellposed import Finding, Report, Severity
from wellposed.errors import ArtifactError, FindingsError
from wellposed.objective.result import TargetProfile
from wellposed.report import Skipped, Unexamined, Unmeasured


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
    measurements={"target": TargetProfile(kind="classes", rows=60, counts={1: 60}), "label": Unmeasured(reason="?")},
    limits={"feature_spread": 50.0},
    environment={"seed": "0"},
    core=("WP201",),
    traces=("a counter moved",),
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
    report = Report(findings=findings, passed=("WP201",))
    assert report.ok is bool(report) is ok
    assert report.verdict == ("ready" if ok else "not ready")
    if ok:
        report.raise_for_findings()
    else:
        with pytest.raises(FindingsError, match=r"WP10\d feature-scale-imbalance at inputs\.proline"):
            report.raise_for_findings()


def test_raising_names_the_first_error_though_a_warning_stands_before_it() -> None:
    with pytest.raises(FindingsError, match="1 failed, 1 warned; first: WP101"):
        Report(findings=(WARNING, finding())).raise_for_findings()


NO_LOSS = {"reason": "no loss was given", "needs": "pass loss=..."}


def covered(
    *judged: str, skipped: tuple[Skipped, ...] = (), core: tuple[str, ...] = ("WP504", "WP506")
) -> Report:
    return Report(passed=judged, skipped=skipped, core=core)


def test_a_family_is_examined_when_one_of_its_core_rules_gave_a_verdict() -> None:
    assert covered("WP504", skipped=(Skipped(code="WP506", **NO_LOSS),)).verdict == "ready"


@pytest.mark.parametrize("outcome", ["skip", "inconclusive"])
def test_a_family_whose_core_rules_all_stayed_silent_is_not_examined_whatever_else_passed(
    outcome: str,
) -> None:
    silent = tuple(Skipped(code=code, outcome=outcome, **NO_LOSS) for code in ("WP504", "WP506"))  # type: ignore[arg-type]
    report = covered("WP101", "WP502", skipped=silent)
    assert report.verdict == "not examined"
    assert report.unexamined == (Unexamined(family="objective", **NO_LOSS),)
    assert not report
    assert not report.ok


def test_a_family_whose_core_rules_do_not_apply_is_not_asked_for() -> None:
    idle = tuple(Skipped(code=c, reason="codes", outcome="not applicable") for c in ("WP504", "WP506"))
    assert covered("WP101", skipped=idle).verdict == "ready"


def test_rules_that_are_not_core_may_be_silent() -> None:
    assert covered("WP504", skipped=(Skipped(code="WP602", reason="no optimizer given"),)).verdict == "ready"


@pytest.mark.parametrize("skipped", [(), (Skipped(code="WP401", reason="none", outcome="not applicable"),)])
def test_where_no_rule_gave_a_verdict_nothing_was_examined(skipped: tuple[Skipped, ...]) -> None:
    report = covered(skipped=skipped)
    assert report.verdict == "not examined"
    assert [u.family for u in report.unexamined] == ["gradients" for _ in skipped]


def test_a_finding_weighs_more_than_what_was_not_examined() -> None:
    report = replace(FULL, core=("WP602",))
    assert report.verdict == "not ready"
    assert [str(u) for u in report.unexamined] == ["wiring: no optimizer given"]


def test_the_reason_given_is_one_that_says_what_to_pass() -> None:
    silent = Skipped(code="WP504", reason="it was not probed"), Skipped(code="WP506", **NO_LOSS)
    assert (
        str(covered("WP101", skipped=silent).unexamined[0]) == "objective: no loss was given (pass loss=...)"
    )


def test_coverage_counts_the_verdicts_of_each_family() -> None:
    assert [(c.family, c.judged, c.chosen, len(c.left)) for c in FULL.coverage] == [
        ("data", 3, 4, 1),
        ("signals", 2, 2, 0),
        ("wiring", 0, 1, 1),
    ]


def test_raising_says_what_was_not_examined_and_what_to_pass() -> None:
    report = covered("WP101", skipped=(Skipped(code="WP504", **NO_LOSS),))
    with pytest.raises(FindingsError, match=r"not examined: objective: no loss was given \(pass loss=...\)"):
        report.raise_for_findings()


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (covered("WP504"), "<Report ready>"),
        (covered(), "<Report not examined: no rule was chosen>"),
        (FULL, "<Report 2 failed, 1 warned; first: WP101 feature-scale-imbalance at inputs.proline: stds differ 2,530-fold>"),
    ],
)  # fmt: skip
def test_a_report_shows_itself_in_one_line(report: Report, said: str) -> None:
    assert repr(report) == said


def test_json_carries_the_verdict_and_what_was_not_examined() -> None:
    plain = json.loads(covered("WP101", skipped=(Skipped(code="WP504", **NO_LOSS),)).to_json())
    assert plain["verdict"] == "not examined"
    assert plain["unexamined"] == [{"family": "objective", **NO_LOSS}]


def test_a_report_of_an_older_version_still_loads() -> None:
    old = json.loads(FULL.to_json())
    for key in ("core", "traces", "verdict", "unexamined"):
        del old[key]
    for skipped in old["skipped"]:
        del skipped["needs"]
    assert as_dict(Report.from_json(json.dumps(old))) == as_dict(replace(FULL, core=(), traces=()))


def test_json_brings_the_whole_report_back() -> None:
    assert as_dict(Report.from_json(FULL.to_json())) == as_dict(FULL)


def test_json_is_the_same_when_it_is_written_again() -> None:
    assert Report.from_json(FULL.to_json()).to_json() == FULL.to_json()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_survive(value: float) -> None:
    report = Report(
        findings=(finding(measured=value),),
        measurements={"target": TargetProfile(kind="values", rows=3, constant=value)},
    )
    text = report.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    back = Report.from_json(text)
    assert back.findings[0].measured is not None
    assert repr(back.findings[0].measured) == repr(value)
    assert repr(back.measurements["target"].constant) == repr(value)


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
    with pytest.raises(ArtifactError, match="schema 99, this version reads 1 and 2"):
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
