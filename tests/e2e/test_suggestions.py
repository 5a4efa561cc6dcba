"""What a finding suggests to run is about the user's own problem, and a slip of the pen gets a hint."""

from pathlib import Path

import pytest

from wellposed.errors import ArgumentError, ProblemError
from wellposed.normalize import Normalizer
from wellposed.normalize.apply_to_file import apply
from wellposed.problem import load_problem
from wellposed.report import Finding, Report, Severity


def test_a_suggested_command_names_the_users_own_problem() -> None:
    finding = Finding(
        code="WP101", name="n", severity=Severity.ERROR, where="inputs", summary="s", quantity="q", why="w",
        fix="wellposed fix train.py:problem", command="fix",
    )  # fmt: skip
    report = Report(findings=(finding,)).addressed("my folder/run.py:wine")
    assert report.findings[0].fix == "wellposed fix 'my folder/run.py:wine'"


def test_a_misspelt_attribute_gets_the_nearest_name(tmp_path: Path) -> None:
    place = tmp_path / "misspelt_training.py"
    place.write_text("def problem():\n    return None\n")
    with pytest.raises(ProblemError, match="did you mean problem"):
        load_problem(f"{place}:problm")


def test_normalising_a_file_onto_itself_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "data.csv"
    place.write_text("a,b\n1,2\n3,5\n")
    normalizer = Normalizer.fit([[1.0, 2.0], [3.0, 5.0]], columns=("a", "b"))
    with pytest.raises(ArgumentError, match="twice"):
        apply(place, normalizer, place)
    assert place.read_text() == "a,b\n1,2\n3,5\n"
