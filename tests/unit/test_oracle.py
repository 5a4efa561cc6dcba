"""The regression check of the benchmarks: it finds what changed, and nothing where nothing did."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.oracle import __main__ as oracle
from benchmarks.oracle import answers, gradients
from benchmarks.oracle.answers import Answer, Answers, attempted, rounded
from benchmarks.oracle.comparing import ABSENT, PRESENT, comparable, differences, read, write

STORED: Answers = {"a": {"verdict": "ready", "n": 3}, "b": {"verdict": "not ready"}}
NAMES = ["NumPy, right", "NumPy, sign"]


def told(stored: Answers, now: Answers) -> list[str]:
    return [str(difference) for difference in differences(stored, now)]


def test_equal_answers_have_no_differences() -> None:
    assert differences(STORED, STORED) == []


def test_a_changed_value_is_found_with_both_values() -> None:
    now = STORED | {"a": {"verdict": "ready", "n": 4}}

    assert told(STORED, now) == ["a / n: 3 -> 4"]


def test_numbers_of_another_type_are_other_values() -> None:
    assert told({"a": {"n": 1}}, {"a": {"n": True}}) == ["a / n: 1 -> true"]


def test_a_missing_case_and_a_new_case_are_found() -> None:
    now: Answers = {"a": STORED["a"], "c": {"verdict": "ready"}}

    assert told(STORED, now) == [f"b / case: {PRESENT} -> {ABSENT}", f"c / case: {ABSENT} -> {PRESENT}"]


def test_a_missing_field_and_a_new_field_are_found() -> None:
    now: Answers = {"a": STORED["a"], "b": {"raised": "ValueError"}}

    assert told(STORED, now) == [
        f'b / raised: {ABSENT} -> "ValueError"',
        f'b / verdict: "not ready" -> {ABSENT}',
    ]


def test_a_sample_is_compared_with_its_own_cases_and_with_those_that_no_longer_exist() -> None:
    stored: Answers = {**STORED, "gone": {"n": 1}}

    assert comparable(stored, asked=["a"], known=["a", "b"]).keys() == {"a", "gone"}


def test_stored_answers_come_back_and_stand_one_value_a_line(tmp_path: Path) -> None:
    write(STORED, tmp_path / "part.json")

    assert read(tmp_path / "part.json") == STORED
    assert '"n": 3,\n' in (tmp_path / "part.json").read_text()


def test_numbers_that_json_lacks_are_stored_as_text() -> None:
    assert [rounded(v) for v in (1.23456, float("nan"), float("-inf"), None)] == [1.235, "nan", "-inf", None]


def test_an_error_is_an_answer() -> None:
    def fails() -> Answer:
        raise ValueError("no\nrows")

    assert attempted(fails) == {"raised": "ValueError: no rows"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, with one part of two gradient checks, run in this process: other tests may have left threads, which do not survive a fork."""
    monkeypatch.setattr(answers, "apart", lambda work: work())
    chosen = {name: case for name, case in gradients.cases().items() if name in NAMES}
    monkeypatch.setattr(oracle, "PARTS", {"gradients": lambda: chosen})
    return lambda *arguments: oracle.main([str(argument) for argument in arguments])


def test_a_part_is_equal_to_itself(
    small: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert small("--store", "--folder", tmp_path) == 0
    assert small("--folder", tmp_path) == 0
    assert small("--folder", tmp_path, "--sample", 2) == 0
    assert "gradients: 1 cases, 0 differences" in capsys.readouterr().out


def test_a_difference_is_printed_and_is_the_exit_status(
    small: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small("--store", "--folder", tmp_path)
    stored = read(tmp_path / "gradients.json")
    write(stored | {NAMES[0]: stored[NAMES[0]] | {"verdict": "fail"}}, tmp_path / "gradients.json")

    assert small("--folder", tmp_path) == 1
    assert f'gradients / {NAMES[0]} / verdict: "fail" -> "pass"' in capsys.readouterr().out


def test_a_sample_does_not_replace_the_stored_answers(small: Callable[..., int]) -> None:
    with pytest.raises(SystemExit):
        small("--store", "--sample", 2)


def test_every_part_has_stored_answers_of_its_cases() -> None:
    for part in itertools.islice(oracle.PARTS, 4):  # those whose cases are listed quickly
        assert read(oracle.STORED / f"{part}.json").keys() == oracle.PARTS[part]().keys()
