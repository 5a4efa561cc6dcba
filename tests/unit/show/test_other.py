"""Notebook tables, JSON of any result, and whose traceback is shown."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from wellposed.errors import DataError, UserCodeError
from wellposed.plain import to_json
from wellposed.report import Finding, Report, Severity, Skipped
from wellposed.show.crash import account
from wellposed.show.fix_and_race import fix_json, render_fix
from wellposed.show.notebook import report_html

FINDING = Finding(
    code="WP201",
    name="vanishing-activations",
    severity=Severity.ERROR,
    where="<script>alert(1)</script>",
    summary="68 > 50 & falling",
    quantity="rms",
    why="small weights",
    fix="initialize",
)


def test_html_escapes_what_it_shows():
    page = report_html(Report(findings=(FINDING,)))

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "68 &gt; 50 &amp; falling" in page


def test_html_names_the_verdict_and_why_rules_were_skipped():
    page = report_html(
        Report(
            passed=("WP101",),
            skipped=(Skipped(code="WP602", reason="no optimizer", needs="pass optimizer=..."),),
        )
    )

    assert "<strong>READY</strong> 1 passed, 1 skipped" in page
    assert "WP602 skip: no optimizer (pass optimizer=...)" in page
    assert "data 1 of 1 · wiring 0 of 1" in page


def test_html_says_what_was_not_examined_and_what_was_left_changed():
    skipped = (Skipped(code="WP504", reason="no <loss>", needs="pass loss=..."),)
    report = Report(passed=("WP101",), skipped=skipped, core=("WP504",), traces=("SEEN moved",))
    page = report_html(report)

    assert "<strong>NOT EXAMINED</strong> objective: no &lt;loss&gt; (pass loss=...)" in page
    assert "<strong>objective 0 of 1, not examined</strong>" in page
    assert "changed and not put back: SEEN moved" in page
    assert "not examined: objective" in report_html(replace(report, findings=(FINDING,)))


@dataclass(frozen=True, kw_only=True)
class Result:
    array: np.ndarray
    number: float
    severity: Severity
    model: object
    _hidden: int = 1


def test_json_holds_arrays_as_lists_and_leaves_out_models():
    result = Result(array=np.array([1.0, np.nan]), number=np.inf, severity=Severity.NOTE, model=object())

    assert json.loads(to_json(result)) == {"array": [1.0, "nan"], "number": "inf", "severity": "note"}


@dataclass(frozen=True, kw_only=True)
class Remedy:
    name: str
    codes: tuple[str, ...]
    summary: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Fix:
    applied: tuple[Remedy, ...]
    withheld: tuple[Remedy, ...]
    before: Report
    after: Report
    recipe: str = ""


def remedy(name: str, *codes: str) -> Remedy:
    return Remedy(name=name, codes=codes, summary="fitted on 142 rows", reason="better than noise " * 8)


def a_fix() -> Fix:
    return Fix(
        applied=(remedy("standardise-inputs", "WP101"),),
        withheld=(remedy("calibrate", "WP201", "WP303"),),
        before=Report(findings=(FINDING,), passed=("WP102",)),
        after=Report(passed=("WP102", "WP201")),
    )


def test_a_fix_shows_what_was_kept_what_was_withheld_and_ends_with_the_verdict():
    text = render_fix(a_fix())
    lines = text.splitlines()

    assert text.index("applied   standardise-inputs") < text.index("withheld  calibrate")
    assert "WP201 WP303" in text
    assert lines[-2:] == ["before    NOT READY   1 failed, 1 passed", "after     READY   2 passed"]
    assert max(map(len, lines)) <= 80


def test_the_json_of_a_fix_holds_both_reports():
    fix = json.loads(fix_json(a_fix()))

    assert fix["before"]["findings"][0]["code"] == "WP201"
    assert fix["applied"][0]["name"] == "standardise-inputs"
    assert fix["verdict"] == "ready"


def test_our_own_errors_take_one_line_and_exit_2():
    assert account(DataError("train is empty:\n  it gave no batch")) == (
        "error: train is empty: it gave no batch",
        2,
    )


def test_a_missing_file_is_wrong_usage():
    with pytest.raises(FileNotFoundError) as caught:
        open("/no/such/place")  # noqa: SIM115 - it is meant to fail
    caught.value.__traceback__ = None

    assert account(caught.value)[1] == 2


def raised(call) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any of them
        call()
    return caught.value


def test_the_users_traceback_begins_with_their_code(tmp_path):
    file = tmp_path / "train.py"
    file.write_text("def build():\n    return 1 / 0\n\nproblem = build()\n")
    from wellposed.problem import load_problem

    text, code = account(raised(lambda: load_problem(f"{file}:problem")))

    assert code == 3
    assert "wellposed/problem.py" not in text
    assert "importlib" not in text
    assert text.splitlines()[1].strip().startswith(f'File "{file}", line 4')
    assert text.splitlines()[-2:] == [
        "ZeroDivisionError: division by zero",
        f"error: {file} raised ZeroDivisionError",
    ]


def test_a_syntax_error_shows_its_line_and_no_frames(tmp_path):
    file = tmp_path / "train.py"
    file.write_text("problem = (\n")
    from wellposed.problem import load_problem

    text, code = account(raised(lambda: load_problem(f"{file}:problem")))

    assert code == 3
    assert text.splitlines()[0].strip() == f'File "{file}", line 1'


def test_a_fault_of_ours_is_not_blamed_on_the_user():
    endless: list = []
    endless.append(endless)
    error = raised(lambda: to_json(endless))
    while error.__traceback__ and error.__traceback__.tb_frame.f_code.co_filename == __file__:
        error.__traceback__ = error.__traceback__.tb_next  # what called us is no user here

    text, code = account(error)

    assert code == 70
    assert "please report" in text


def test_a_model_of_torch_modules_alone_is_still_the_users():
    torch = pytest.importorskip("torch")
    from wellposed.initialization import initialize

    model = torch.nn.Sequential(torch.nn.Linear(5, 2))
    text, code = account(raised(lambda: initialize(model, torch.zeros(8, 4) + torch.arange(4))))

    assert code == 3
    assert "wellposed/initialization" not in text


def test_a_user_error_without_a_cause_still_prints():
    assert account(UserCodeError("train.py raised"))[1] == 3
