"""A report as text: it fits the width, cuts nothing that one copies, and ends with the verdict."""

import re
import sys
from dataclasses import replace
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from wellposed.report import Finding, Report, Severity, Skipped
from wellposed.show.text import render

LONG_PLACE = "encoder.layers.11.attention.self.query.parametrizations.weight.original0"


def finding(
    code: str = "WP201", where: str = "fc3", severity: Severity = Severity.ERROR, **changed: str
) -> Finding:
    words = {
        "name": "vanishing-activations",
        "summary": "rms falls from .41 at fc1 to .006 at fc3, a factor of 68 where 50 is the limit",
        "quantity": "largest rms / smallest",
        "why": "weights have variance .02/n; relu needs 2/n, so every layer makes the signal smaller",
        "fix": "wellposed.initialize(model, inputs)\nor wellposed fix train.py:problem",
    }
    return Finding(code=code, where=where, severity=severity, **(words | changed))


def sick_report() -> Report:
    return Report(
        findings=(
            finding("WP101", "inputs.proline", name="feature-scale-imbalance", confidence="confirmed"),
            finding("WP201", LONG_PLACE),
            finding("WP204", "fc2", Severity.WARNING, name="dead-units"),
            finding("WP104", "inputs.pixel_0", Severity.NOTE, name="constant-feature"),
        ),
        passed=("WP001", "WP102", "WP202", "WP301"),
        skipped=(
            Skipped(code="WP602", reason="no optimizer was given"),
            Skipped(code="WP607", reason="no optimizer was given"),
            Skipped(code="WP403", reason="no custom backward"),
            Skipped(code="WP401", reason="the noise hides what is looked for", outcome="inconclusive"),
        ),
        environment={
            "wellposed": "0.1.0",
            "torch": "2.13.0",
            "model": "MLP 13-64-64-3, 5,251 parameters",
            "seed": "0",
            "seconds": "2.345",
        },
    )


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("verbose", [False, True])
def test_every_line_fits_the_width_except_for_what_must_stay_whole(width, verbose):
    lines = render(sick_report(), width=width, verbose=verbose).splitlines()

    assert [line for line in lines if cell_len(line) > width and line.strip() != LONG_PLACE] == []


def test_at_80_columns_a_report_looks_like_this():
    report = Report(
        findings=(
            finding(
                "WP201",
                "fc3",
                summary="rms falls 68-fold",
                why="variance too small",
                fix="initialize",
                confidence="confirmed",
            ),
        ),
        passed=("WP101", "WP202"),
        skipped=(Skipped(code="WP403", reason="no custom backward"),),
        environment={
            "wellposed": "0.1.0",
            "model": "MLP, 5,251 parameters",
            "seed": "0",
            "seconds": "2.3",
        },
    )

    assert render(report) == "\n".join([
        "wellposed 0.1.0   MLP, 5,251 parameters   seed 0",
        "",
        "FAIL  WP201 vanishing-activations                                            fc3",
        "      rms falls 68-fold",
        "      why   variance too small",
        "      fix   initialize",
        "      confirmed by intervention",
        "",
        "data            1 of 1",
        "signals         2 of 2    x WP201",
        "gradients       0 of 1",
        "",
        "skipped         WP403: no custom backward",
        "",
        "NOT READY   1 failed, 2 passed, 1 skipped   in 2.3 s",
        "why?  wellposed explain WP201",
    ])  # fmt: skip


def test_a_place_longer_than_the_line_stays_whole():
    assert LONG_PLACE in render(sick_report(), width=40).split()


def test_colour_changes_nothing_but_the_colour():
    coloured = render(sick_report(), color=True)

    assert "\x1b[" in coloured
    assert plain(coloured) == render(sick_report(), color=False)


def test_without_a_terminal_there_is_no_colour(monkeypatch):
    monkeypatch.setattr(sys, "stdout", StringIO())

    assert "\x1b" not in render(sick_report(), color=None)


class Terminal(StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colour_unless_no_color_is_set(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    asked = render(sick_report(), color=None)
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[" in asked
    assert "\x1b" not in render(sick_report(), color=None)


def test_the_verdict_comes_last_and_then_the_next_command():
    last = render(sick_report()).split("\n\n")[-1].splitlines()

    assert last[0].startswith("NOT READY   2 failed, 1 warned, 1 noted, 4 passed, 1 inconclusive, 3 skipped")
    assert last[-1] == "why?  wellposed explain WP101"


@pytest.mark.parametrize(
    ("report", "word"),
    [
        (Report(findings=(finding(),)), "NOT READY   1 failed"),
        (
            Report(findings=(finding(severity=Severity.WARNING),), passed=("WP101",)),
            "NOT READY   1 warned, 1 passed",
        ),
        (Report(findings=(finding(severity=Severity.NOTE),), passed=("WP101",)), "READY   1 noted, 1 passed"),
        (Report(passed=("WP101",)), "READY   1 passed"),
        (
            Report(skipped=(Skipped(code="WP101", reason="no data"),)),
            "NOT EXAMINED   data: no data",
        ),
        (Report(), "NOT EXAMINED   no rule was chosen"),
    ],
)
def test_the_verdict_is_one_clear_word(report, word):
    assert word in render(report).splitlines()


NO_LOSS = tuple(
    Skipped(code=code, reason="no loss was given", needs="pass loss=...") for code in ("WP504", "WP601")
)
UNEXAMINED = Report(passed=("WP101", "WP201"), skipped=NO_LOSS, core=("WP201", "WP504", "WP601"))


def test_what_was_not_examined_stands_in_the_last_line_and_in_its_family():
    lines = render(UNEXAMINED).splitlines()

    assert "objective       0 of 1    not examined" in lines
    assert lines[-1] == "NOT EXAMINED   objective, wiring: no loss was given (pass loss=...)"


def test_a_problem_that_is_not_ready_is_told_what_was_not_examined_too():
    text = render(replace(UNEXAMINED, findings=(finding(),)))

    assert "not examined    objective, wiring: no loss was given (pass loss=...)" in text
    assert text.splitlines()[-2].startswith("NOT READY   1 failed")


def test_what_is_said_of_a_family_is_not_said_again_of_its_rules_unless_everything_is_asked_for():
    assert "skipped" not in render(UNEXAMINED)
    assert "skipped         WP504, WP601: no loss was given (pass loss=...)" in render(
        UNEXAMINED, verbose=True
    )


def test_rules_that_do_not_apply_take_one_line_and_give_their_reasons_when_asked():
    idle = tuple(
        Skipped(code=code, reason="no custom backward", outcome="not applicable")
        for code in ("WP401", "WP402")
    )
    report = Report(passed=("WP101",), skipped=idle)

    assert "gradients       0 of 2    does not apply" in render(report)
    assert "does not apply  WP401, WP402" in render(report).splitlines()
    assert "does not apply  WP401, WP402: no custom backward" in render(report, verbose=True)


def test_what_the_check_changed_is_said_before_the_verdict():
    lines = render(replace(UNEXAMINED, traces=("train.SEEN counted to 9",))).splitlines()

    assert lines[-4:-2] == ["changed and not put back:", "  -  train.SEEN counted to 9"]


def test_a_rule_that_finds_several_places_counts_once():
    report = Report(findings=(finding(where="fc1"), finding(where="fc2")), passed=("WP101",))

    assert "NOT READY   1 failed, 1 passed (2 findings)" in render(report)


def test_the_same_advice_is_given_once():
    text = render(Report(findings=(finding(where="fc1"), finding(where="fc2"))))

    assert text.count("wellposed.initialize(model, inputs)") == 1
    assert text.count("rms falls") == 2


def test_after_six_findings_the_rest_take_one_line_each():
    report = Report(findings=tuple(finding(where=f"layer{i}", fix=f"mend{i}") for i in range(9)))
    folded, whole = render(report), render(report, verbose=True)

    assert [i for i in range(9) if f"layer{i}" in folded] == list(range(9))
    assert [i for i in range(9) if f"mend{i}" in folded] == list(range(6))
    assert [i for i in range(9) if f"mend{i}" in whole] == list(range(9))


def test_notes_stand_after_what_counts():
    report = Report(findings=(finding("WP104", severity=Severity.NOTE), finding("WP201")))
    text = render(report)

    assert text.index("FAIL  WP201") < text.index("NOTE  WP104")
    assert text.endswith("why?  wellposed explain WP201")


def test_rules_skipped_for_the_same_reason_share_a_line():
    assert "WP602, WP607: no optimizer was given" in render(sick_report())


def test_many_reasons_for_skipping_are_folded_but_never_the_inconclusive():
    skipped = tuple(Skipped(code=f"WP60{i}", reason=f"reason {i}") for i in range(8))
    unsure = Skipped(code="WP401", reason="too noisy", outcome="inconclusive")
    report = Report(passed=("WP101",), skipped=(*skipped, unsure))
    folded, whole = render(report), render(report, verbose=True)

    assert "8 rules, for 8 reasons (--verbose lists them)" in folded
    assert "inconclusive    WP401: too noisy" in folded
    assert all(f"WP60{i}: reason {i}" in whole for i in range(8))


def test_escape_sequences_in_names_are_written_out():
    report = Report(findings=(finding(where="fc\x1b[2J\n1", summary="a\x07b \u202ec"),))
    text = render(report)

    assert "\x1b" not in text
    assert r"fc\x1b[2J\n1" in text
    assert r"a\x07b \u202ec" in text


def test_an_ascii_terminal_gets_ascii(monkeypatch):
    monkeypatch.setattr(sys, "stdout", type("Ascii", (StringIO,), {"encoding": "ascii"})())
    text = render(Report(findings=(finding(summary="10× ≤ λ 値", where="fc1"),)))

    assert text.isascii()
    assert r"10x <= lambda \u5024" in text


def test_wide_characters_count_as_two_columns():
    report = Report(findings=(finding(where="inputs.温度", summary="温度の標準偏差が大きい " * 8),))

    assert max(cell_len(line) for line in render(report).splitlines()) <= 80


def test_rich_prints_a_report_at_the_width_of_its_console():
    stream = StringIO()
    Console(file=stream, width=60).print(sick_report())

    assert "WP101 feature-scale-imbalance" in stream.getvalue()
    assert max(len(line.rstrip()) for line in stream.getvalue().splitlines()) <= 60


def test_an_empty_environment_still_prints():
    assert render(Report(findings=(finding(),))).lstrip().startswith("FAIL  WP201")
