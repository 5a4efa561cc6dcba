"""Every rule has a sick case that it finds and a healthy one that it measures and passes, through ``wp.check``."""

from __future__ import annotations

import pytest

from wellposed.report import Report
from wellposed.rules import CAUSAL_ORDER, RULES

from .cases import CONSEQUENCES, HEALTHY, SICK, report_of

CODES = [rule.code for rule in RULES]


@pytest.mark.parametrize("cases", [SICK, HEALTHY], ids=["sick", "healthy"])
def test_every_rule_has_a_case(cases: dict[str, object]) -> None:
    assert list(cases) == CODES


def test_every_rule_has_a_place_in_the_causal_order() -> None:
    assert sorted(CAUSAL_ORDER) == sorted(CODES)


def test_no_code_and_no_name_is_used_twice() -> None:
    assert len(set(CODES)) == len(CODES)
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("code", SICK)
def test_the_rule_finds_its_sick_case(code: str) -> None:
    report = report_of(SICK[code])
    assert code in report.codes, str(report)


@pytest.mark.parametrize("code", [code for code in SICK if code not in CONSEQUENCES])
def test_the_rule_stands_first_in_its_sick_case(code: str) -> None:
    report = report_of(SICK[code])
    assert report.codes[0] == code, str(report)


@pytest.mark.parametrize("code", HEALTHY)
def test_the_rule_measures_and_passes_its_healthy_case(code: str) -> None:
    report = report_of(HEALTHY[code])
    assert code in report.passed, str(report)


@pytest.mark.parametrize("code", HEALTHY)
def test_nothing_counts_against_a_healthy_case(code: str) -> None:
    report = report_of(HEALTHY[code])
    assert report.ok, str(report)


@pytest.mark.parametrize("build", [*SICK.values(), *HEALTHY.values()], ids=[*CODES, *CODES])
def test_every_rule_appears_in_every_report_exactly_once(build) -> None:
    report: Report = report_of(build)
    seen = [*report.codes, *report.passed, *(s.code for s in report.skipped)]
    assert sorted(seen) == sorted(CODES)


@pytest.mark.parametrize("code", SICK)
def test_a_finding_says_what_where_why_and_how_to_fix_it(code: str) -> None:
    finding = next(f for f in report_of(SICK[code]).findings if f.code == code)
    for text in (finding.where, finding.summary, finding.quantity, finding.why, finding.fix):
        assert text.strip()
        assert "None" not in text
    assert "nan" not in finding.summary or code in ("WP002", "WP106")
