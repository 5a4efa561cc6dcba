"""The pytest plugin: a failed assertion about a report or a gradient check shows it, and starting pytest costs nothing."""

import re
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

CHECKS = """
    import unittest
    import pytest
    from wellposed.gradcheck.result import GradientCheck, WorstElement

    def checked(verdict):
        return GradientCheck(
            verdict=verdict, relative_error=0.5, resolution=1e-9, cause=None, detail=f"detail of {verdict}", tensors=(),
            worst=None, n_forward=1, n_backward=1, precision="float64", seed=0, where="W1[3, :]",
        )

    from wellposed.results import Fix
    from wellposed.report import Finding, Report, Severity, Skipped

    FINDING = Finding(
        code="WP201", name="vanishing-activations", severity=Severity.ERROR, where="fc3", summary="rms falls 68-fold",
        quantity="rms", why="the variance is too small", fix="initialize",
    )
    REPORTS = {
        "ready": Report(passed=("WP201",)),
        "not ready": Report(findings=(FINDING,)),
        "not examined": Report(
            passed=("WP101",), core=("WP504",),
            skipped=(Skipped(code="WP504", reason="no loss was given", needs="pass loss=..."),),
        ),
    }

    def report(verdict):
        return REPORTS[verdict]

    def fixed(verdict):
        return Fix(problem=None, applied=(), withheld=(), before=report("not ready"), after=report(verdict))
"""


@pytest.fixture
def run(pytester, monkeypatch):
    # Where CI is set, pytest's last summary shows every message again, whole.
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("BUILD_NUMBER", raising=False)

    def run(tests: str, *options: str):
        lines = CHECKS.strip("\n") + "\n" + tests
        pytester.makepyfile(lines)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *options)

    return run


def test_it_is_installed_as_a_plugin_of_pytest():
    (plugin,) = entry_points(group="pytest11", name="wellposed")

    assert plugin.value == "_wellposed_pytest"


STATEMENTS = (
    "assert checked('fail')",
    "assert checked('fail').verdict == 'pass'",
    "assert checked('fail'), 'a message'",
    "assert checked(\n            'fail'\n        )",
    "check = checked('fail'); assert check",
    "check = checked('fail'); assert check.verdict == 'pass' and check.n_forward",
    "check = checked('fail'); assert bool(check) is True",
    "checks = [checked('pass'), checked('fail')]; assert all(checks)",
    "checks = {'a': checked('pass'), 'b': checked('fail')}; assert all(checks.values())",
    "assert all([checked('pass'), checked('fail')])",
    "assert checked('pass') and checked('fail')",
    "assert not checked('pass') or checked('fail')",
    "with pytest.raises(ValueError):\n            assert checked('fail')",
    "unittest.TestCase().assertTrue(checked('fail'))",
)


def test_however_it_is_asserted_the_check_is_shown(run):
    done = run("".join(f"    def test_{k}():\n        {said}\n" for k, said in enumerate(STATEMENTS)))

    done.assert_outcomes(failed=len(STATEMENTS))
    sections = re.split(r"_{5,} test_\d+ _{5,}", str(done.stdout))[1:]
    shown = r"E +FAIL  gradient of f: wrong, not named +W1\[3, :\]\n(E .*\n)*E +why   detail of fail\n(E .*\n)*E +FAILED "
    assert [
        said for said, section in zip(STATEMENTS, sections, strict=True) if not re.search(shown, section)
    ] == []
    assert "detail of pass" not in str(done.stdout)


def test_a_check_that_passed_is_shown_where_it_should_have_failed(run):
    done = run("    def test():\n        check = checked('pass')\n        assert not check\n")

    done.stdout.fnmatch_lines(["E *assert not <GradientCheck pass*", "E * detail of pass", "E * PASSED *"])


REPORTS = {
    "assert report('not ready')": (r"FAIL  WP201 vanishing-activations +fc3", r"why   the variance", r"NOT READY   1 failed"),
    "r = report('not ready'); assert r": (r"FAIL  WP201 vanishing-activations +fc3", r"NOT READY   1 failed"),
    "r = report('not ready'); assert r.verdict == 'ready'": (r"FAIL  WP201 vanishing-activations +fc3",),
    "unittest.TestCase().assertTrue(report('not ready'))": (r"FAIL  WP201 vanishing-activations +fc3",),
    "assert report('not examined')": (
        r"objective +0 of 1 +not examined",
        r"NOT EXAMINED   objective: no loss was given \(pass loss=...\)",
    ),
    "assert fixed('not examined')": (r"before +NOT READY", r"after +NOT EXAMINED   objective: no loss was given"),
    "assert all([report('ready'), report('not examined'), checked('fail')])": (r"NOT EXAMINED", r"why   detail of fail"),
}  # fmt: skip


def test_however_a_report_is_asserted_its_findings_and_what_was_not_examined_are_shown(run):
    done = run("".join(f"    def test_{k}():\n        {said}\n" for k, said in enumerate(REPORTS)))

    done.assert_outcomes(failed=len(REPORTS))
    sections = re.split(r"_{5,} test_\d+ _{5,}", str(done.stdout))[1:]
    for (said, shown), section in zip(REPORTS.items(), sections, strict=True):
        assert [line for line in shown if not re.search(rf"E +{line}", section)] == [], said


def test_a_report_that_is_ready_passes_and_fails_in_one_line_where_it_should_not_be(run):
    done = run(
        "    def test_right():\n        assert report('ready')\n"
        "    def test_wrong():\n        assert not report('ready')\n"
    )

    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["E *assert not <Report ready>*", "E * READY   1 passed"])


def test_of_many_checks_three_are_shown(run):
    done = run(
        "    def test():\n        checks = [checked('fail') for _ in range(9)]\n        assert any(checks)\n"
    )

    done.stdout.fnmatch_lines(["E * and 6 more checks"])


def test_a_failure_that_is_about_something_else_shows_no_check(run):
    done = run("    def test():\n        check = checked('fail')\n        assert 1 == 2\n")

    done.assert_outcomes(failed=1)
    done.stdout.no_fnmatch_line("*gradient of f*")


def test_checks_that_pass_and_other_errors_are_left_alone(run):
    done = run(
        "    def test_right():\n        assert checked('pass')\n"
        "    def test_error():\n        check = checked('fail')\n        raise ValueError('something else')\n"
    )

    done.assert_outcomes(passed=1, failed=1)
    done.stdout.no_fnmatch_line("*gradient of f*")


def test_in_fixtures_and_test_cases_the_check_is_shown_once_each(run):
    done = run(
        "    @pytest.fixture(scope='module')\n    def ready():\n        assert checked('fail')\n"
        "    def test_one(ready): pass\n    def test_two(ready): pass\n"
        "    class TestThree(unittest.TestCase):\n"
        "        def test(self):\n            self.assertTrue(checked('fail'))\n"
    )

    done.assert_outcomes(failed=1, errors=2)
    assert str(done.stdout).count("why   detail of fail") == 3


@pytest.mark.parametrize(
    "options", [("--tb=short", "--show-capture=no"), ("--tb=native",), ("-n", "1", "-vv")]
)
def test_every_style_of_traceback_shows_it(run, options):
    done = run("    def test():\n        assert checked('fail')\n", *options)

    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*FAIL  gradient of f*", "*why   detail of fail", "*FAILED *"])


def test_the_summary_names_the_place(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    done = run("    def test():\n        assert checked('fail')\n")

    done.stdout.fnmatch_lines(["FAILED * assert <GradientCheck fail: W1[[]3, :]*"])


def test_a_junit_file_holds_it(run, pytester):
    run("    def test():\n        assert checked('fail')\n", "--junit-xml=found.xml")

    assert "why   detail of fail" in (pytester.path / "found.xml").read_text()


def test_pytest_starts_without_wellposed_numpy_or_a_framework(pytester):
    pytester.makepyfile("def test():\n    pass\n")
    code = (
        "import sys, pytest; pytest.main(['-q']); "
        "print('_wellposed_pytest' in sys.modules, sorted({'wellposed', 'numpy', 'torch', 'jax'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=pytester.path, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "True []"
