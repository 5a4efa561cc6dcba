"""The command line in this process: exit codes, what goes to which stream, what is refused."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import wellposed as wp
from wellposed.cli import main
from wellposed.limits import Limits
from wellposed.report import Finding, Report, Severity, Skipped
from wellposed.results import Fix

HEALTHY = Report(passed=("WP101", "WP201"))
NOTE = Finding(
    code="WP104",
    name="constant-feature",
    severity=Severity.NOTE,
    where="inputs.pixel_0",
    summary="never changes",
    quantity="std",
    why="it carries nothing",
    fix="drop it",
)
SICK = Report(findings=(Finding(**{**vars(NOTE), "code": "WP201", "severity": Severity.ERROR}),))


UNEXAMINED = Report(
    passed=("WP101",),
    skipped=(Skipped(code="WP504", reason="no loss was given", needs="pass loss=..."),),
    core=("WP504",),
)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.fixture
def problem(tmp_path):
    file = tmp_path / "a_problem.py"
    file.write_text("print('theirs')\nproblem = (lambda x: x, None, ())\n")
    return f"{file}:problem"


@pytest.fixture
def checked(monkeypatch):
    """Stands in for `wellposed._check`, so that the command line is tested alone."""
    asked = SimpleNamespace(report=HEALTHY)

    def check(problem, **options):
        asked.options = options
        return asked.report

    monkeypatch.setitem(sys.modules, "wellposed._check", SimpleNamespace(check=check))
    return asked


@pytest.mark.parametrize(
    ("report", "code"),
    [(HEALTHY, 0), (Report(findings=(NOTE,)), 0), (SICK, 1), (UNEXAMINED, 4), (Report(), 4)],
)
def test_check_and_report_exit_by_the_verdict(checked, problem, report, code, tmp_path):
    checked.report = report

    assert run("check", problem, "-o", tmp_path / "r.json") == code
    assert run("report", tmp_path / "r.json") == code


@pytest.mark.parametrize(("after", "code"), [(HEALTHY, 0), (SICK, 1), (UNEXAMINED, 4)])
def test_fix_exits_by_the_verdict_on_the_mended_problem(monkeypatch, problem, after, code):
    fixed = Fix(problem=None, applied=(), withheld=(), before=SICK, after=after)
    monkeypatch.setitem(sys.modules, "wellposed._fix", SimpleNamespace(fix=lambda problem, **options: fixed))

    assert run("fix", problem) == code


def test_what_was_not_examined_stands_in_the_last_line(checked, problem, capsys):
    checked.report = UNEXAMINED
    run("check", problem)

    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "NOT EXAMINED   objective: no loss was given (pass loss=...)"


def test_help_lists_the_exit_codes(capsys):
    run("check", "--help")
    assert "4: neither" in " ".join(capsys.readouterr().out.split())
    run("--help")
    assert "4 not examined" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["r.html", "r.md", "train.py", "r.JSONL"])
@pytest.mark.parametrize("command", ["check", "fix"])
def test_a_name_that_promises_another_format_is_refused(checked, problem, tmp_path, capsys, command, name):
    assert run(command, problem, "-o", tmp_path / name) == 2
    assert f"{tmp_path / name} would hold JSON: name it" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["r.json", "r.txt", "r"])
def test_a_name_that_promises_nothing_else_is_written(checked, problem, tmp_path, name):
    assert run("check", problem, "-o", tmp_path / name) == 0
    assert Report.from_json((tmp_path / name).read_bytes()).passed == HEALTHY.passed


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[tool.wellposed]\nseed = 1\n", True),
        ("[tool.wellposed.check]\n", True),
        ("# [tool.wellposed]\n[tool.other]\n", False),
        ("[tool.wellposed\n", False),
    ],
)
def test_settings_that_are_not_read_are_said_not_to_be(settings, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "pyproject.toml").write_text(settings)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")

    assert run("rules", "--format", "json") == 0
    streams = capsys.readouterr()
    assert streams.out.startswith("[")
    assert ("this version reads no [tool.wellposed]" in streams.err) is said
    assert streams.err.count("\n") == said


def test_with_json_standard_output_holds_the_report_alone(checked, problem, capsys):
    run("check", problem, "--format", "json")
    streams = capsys.readouterr()

    assert Report.from_json(streams.out).passed == HEALTHY.passed
    assert "theirs" in streams.err


def test_a_saved_report_is_shown_again(checked, problem, tmp_path, capsys):
    checked.report = SICK
    run("check", problem)
    first = capsys.readouterr().out
    run("check", problem, "-o", tmp_path / "r.json")
    capsys.readouterr()

    assert run("report", tmp_path / "r.json") == 1
    assert capsys.readouterr().out == first.replace("theirs\n", "")


def test_without_select_check_decides_what_runs(checked, problem):
    run("check", problem, "--seed", 3)

    assert {k: v for k, v in checked.options.items() if k != "progress"} == {
        "seed": 3,
        "isolate": False,
        "budget": "normal",
    }


def test_their_code_sees_its_own_command_line(checked, tmp_path):
    file = tmp_path / "reads_arguments.py"
    file.write_text(
        "import argparse\nargparse.ArgumentParser().parse_args()\nproblem = (lambda x: x, None, ())\n"
    )

    assert run("check", f"{file}:problem", "--seed", 1) == 0


def test_a_file_that_exits_is_not_a_passed_check(checked, tmp_path, capsys):
    file = tmp_path / "exits.py"
    file.write_text("import sys\nsys.exit(0)\n")

    assert run("check", f"{file}:problem") == 2
    assert "called sys.exit(0)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check"], "Missing argument"),
        (["check", "no_such_file.py:problem"], "error: no such file: no_such_file.py"),
        (["check", "train.py"], "error: 'train.py' names no attribute"),
        (["chekc"], "No such command 'chekc'"),
        (["report", "no_such.json"], "does not exist"),
        (["normalize", "fit", __file__, "-o", "no/such/folder/n.json"], "lies in no existing folder"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(arguments, said, capsys):
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err


def test_a_damaged_report_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "r.json").write_text('{"findings": [')

    assert run("report", tmp_path / "r.json") == 2
    assert capsys.readouterr().err.startswith("error: not a wellposed report")


def test_their_crash_exits_with_3_and_shows_their_lines_alone(checked, tmp_path, capsys):
    file = tmp_path / "crashes.py"
    file.write_text("def problem():\n    return {}['missing']\n")

    assert run("check", f"{file}:problem") == 3
    errors = capsys.readouterr().err
    assert f'File "{file}", line 2, in problem' in errors
    assert "KeyError: 'missing'" in errors
    assert "src/wellposed" not in errors


def test_an_interrupt_exits_with_130_and_one_line(checked, tmp_path, capsys):
    file = tmp_path / "slow.py"
    file.write_text("def problem():\n    raise KeyboardInterrupt\n")

    assert run("check", f"{file}:problem") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interrupted_check_shows_the_report_so_far(tmp_path, capsys):
    file = tmp_path / "stopped.py"
    file.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer, self.calls = torch.nn.Linear(4, 3), [0]\n"
        "    def forward(self, x):\n"
        "        self.calls[0] += 1\n"
        "        if self.calls[0] == 20:\n"
        "            raise KeyboardInterrupt\n"
        "        return self.layer(x)\n"
        "x = torch.randn(64, 4)\n"
        "problem = (Net(), torch.nn.functional.cross_entropy, (x, x[:, :3].argmax(1)))\n"
    )

    assert run("check", f"{file}:problem") == 130
    printed = capsys.readouterr()
    assert "the check was interrupted" in printed.out
    assert printed.err == "interrupted\n"


@pytest.fixture
def table(tmp_path):
    rows = np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 1000.0] + [0.0, 300.0]
    lines = ["alcohol,proline", *(f"{a!r},{b!r}" for a, b in rows.tolist())]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "train.csv"


def test_a_normalizer_is_fitted_shown_and_applied(table, tmp_path, capsys):
    fitted, done = tmp_path / "n.json", tmp_path / "done.csv"

    assert run("normalize", "fit", table, "-o", fitted) == 0
    assert run("normalize", "show", fitted) == 0
    assert "proline" in capsys.readouterr().out
    assert run("normalize", "apply", fitted, table, "-o", done) == 0
    values = np.loadtxt(done, delimiter=",", skiprows=1)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-6)


def test_a_normalizer_is_not_fitted_on_held_out_rows(table, tmp_path, capsys):
    assert run("normalize", "fit", table, "-o", tmp_path / "n.json", "--split", "test") == 2
    assert "test" in capsys.readouterr().err
    assert not (tmp_path / "n.json").exists()


# --- files: what is written, and over what


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_report_never_takes_the_place_of_the_program(checked, problem, tmp_path, options, capsys):
    program = Path(problem.removesuffix(":problem"))
    (tmp_path / "r.json").hardlink_to(program)
    before = program.read_text()

    assert run("check", problem, "-o", program, *options) == 2
    assert run("check", problem, "-o", tmp_path / "r.json", *options) == 2
    said = f"take the place of the code in {program}" if options else "is not a report that wellposed wrote"
    assert said in capsys.readouterr().err
    assert program.read_text() == (tmp_path / "r.json").read_text() == before


@pytest.mark.parametrize("content", ["", "lr: 0.1", '{"lr": 0.1}', '{"format": "wellposed-normalizer"}'])
def test_what_is_no_report_is_replaced_only_by_force(checked, problem, tmp_path, content):
    place = tmp_path / "r.json"
    place.write_text(content)

    assert run("check", problem, "-o", place) == 2
    assert place.read_text() == content
    assert run("check", problem, "-o", place, "--force") == 0
    assert run("check", problem, "-o", place) == 0


def test_a_fixed_normalizer_replaces_neither_of_two_files_that_are_not_ours(problem, tmp_path, capsys):
    for name in ("n.json", "n.targets.json"):
        (tmp_path / name).write_text("{}")

        assert run("fix", problem, "-o", tmp_path / "n.json") == 2
        assert f"{name} is there, and is not a normalizer" in capsys.readouterr().err
        (tmp_path / name).unlink()


def test_normalized_data_replace_no_file_but_by_force(table, tmp_path, capsys):
    fitted, other = tmp_path / "n.json", tmp_path / "other.csv"
    other.write_text("alcohol\n5\n")
    assert run("normalize", "fit", table, "-o", fitted) == 0

    assert run("normalize", "apply", fitted, table, "-o", other) == 2
    assert other.read_text() == "alcohol\n5\n"
    assert run("normalize", "apply", fitted, table, "-o", other, "--force") == 0
    assert other.read_text() != "alcohol\n5\n"
    before = table.read_bytes()
    assert run("normalize", "apply", fitted, table, "-o", table, "--force") == 2
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [["report"], ["normalize", "show"], ["normalize", "fit", "-o", "n.json"]]
)
def test_a_pipe_is_not_waited_for(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.csv")

    assert run(*arguments, "pipe.csv") == 2
    assert "not a regular file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**5, "9" * 10**5, '"\\ud800"', "NaN"])
def test_what_no_reader_takes_is_no_report(tmp_path, capsys, text):
    (tmp_path / "r.json").write_text(text)

    assert run("report", tmp_path / "r.json") == 2
    assert capsys.readouterr().err.startswith("error: not a wellposed report")


@pytest.mark.parametrize("spec", ["..:x", ".:x", "a b:x", "/dev/null:x"])
def test_what_is_no_name_of_a_module_is_not_blamed_on_the_user(spec, capsys):
    assert run("check", spec) == 2
    assert "is no name of a module" in capsys.readouterr().err


def test_names_that_drive_a_terminal_are_written_out_in_every_form(checked, problem, capsys):
    hostile = "a\x1b[31m\u202eb\u2066\x07\nc"
    checked.report = Report(
        findings=(Finding(**{**vars(NOTE), "where": hostile, "summary": hostile, "fix": hostile}),)
    )

    run("check", problem)
    text = capsys.readouterr().out
    run("check", problem, "--format", "json")
    json = capsys.readouterr().out

    assert not set(text + json) & set("\x1b\u202e\u2066\x07")
    assert Report.from_json(json).findings[0].where == hostile


# --- judging a saved report again

SCALES = Limits(feature_spread=50)


@pytest.fixture(scope="module")
def saved_measurements(tmp_path_factory):
    torch.manual_seed(0)
    x = torch.randn(64, 2) * torch.tensor([1.0, 40.0])
    report = wp.check(torch.nn.Linear(2, 1), torch.nn.functional.mse_loss, (x, x[:, :1]), limits=SCALES)
    assert "WP101" in report.passed
    place = tmp_path_factory.mktemp("saved") / "r.json"
    place.write_text(report.to_json())
    return place


def test_a_saved_report_is_judged_again_by_other_limits(saved_measurements, capsys):
    code = run(
        "report",
        saved_measurements,
        "--limits",
        "feature_spread=10",
        "--limits",
        "noise=5",
        "--format",
        "json",
    )
    again = Report.from_json(capsys.readouterr().out)
    assert "WP101" in again.codes
    assert again.limits == {"feature_spread": 10.0, "noise": 5.0}
    assert code == 1


def test_limits_that_are_not_given_stay_those_of_the_report(saved_measurements, capsys):
    run("report", saved_measurements, "--limits", "noise=5", "--format", "json")
    again = Report.from_json(capsys.readouterr().out)
    assert "WP101" in again.passed
    assert again.limits == {"feature_spread": 50.0, "noise": 5.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("feature_sprad=3", "did you mean feature_spread"),
        ("feature_spread", "write NAME=VALUE"),
        ("feature_spread=wide", "'wide' is no number"),
        ("feature_spread=-1", "feature_spread"),
        ("dead_share=2", "from 0 to 1"),
        ("", "is no limit"),
    ],
)
def test_what_is_no_limit_is_refused(saved_measurements, capsys, given, message):
    assert run("report", saved_measurements, "--limits", given) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_report_that_holds_no_types_cannot_be_judged_again(capsys):
    old = Path(__file__).parents[1] / "unit" / "report_schema_1.json"
    assert run("report", old) == 1
    assert run("report", old, "--limits", "noise=5") == 2
    assert "check the problem again" in " ".join(capsys.readouterr().err.split())
