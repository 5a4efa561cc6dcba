"""How a problem is loaded from ``train.py:problem``, and what is said when it cannot be."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wellposed.errors import ProblemError, UserCodeError
from wellposed.problem import Problem, as_problem, load_problem


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to write programs into; what loading them adds to the interpreter goes away again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, text: str, *, name: str = "its_training.py") -> str:
    (folder / name).write_text(text)
    return name


@pytest.mark.parametrize(
    "text",
    [
        "from wellposed import Problem\nproblem = Problem(model=max, loss=min, train=[1])",
        "problem = (max, min, [1])",
        "def problem():\n    return max, min, [1]",
        "from wellposed import Problem\ndef problem():\n    return Problem(model=max, loss=min, train=[1])",
        "class Holder:\n    pass\nproblem = lambda: (max, min, [1])",
    ],
    ids=["a Problem", "a tuple", "a function of a tuple", "a function of a Problem", "a lambda"],
)
def test_a_file_gives_a_problem_in_any_of_its_forms(folder: Path, text: str) -> None:
    loaded = load_problem(f"{write(folder, text)}:problem")
    assert (loaded.model, loaded.loss, loaded.train) == (max, min, [1])


def test_a_module_is_found_from_the_working_folder(folder: Path) -> None:
    write(folder, "problem = (max, min, [1])")
    assert load_problem("its_training:problem").model is max


def test_an_attribute_of_an_attribute_is_found(folder: Path) -> None:
    name = write(folder, "class Setup:\n    problem = (max, min, [1])")
    assert load_problem(f"{name}:Setup.problem").loss is min


def test_a_file_imports_what_lies_beside_it(folder: Path) -> None:
    write(folder, "value = 7", name="its_neighbour.py")
    name = write(folder, "import its_neighbour\nproblem = (max, min, [its_neighbour.value])")
    assert load_problem(f"{name}:problem").train == [7]


def test_a_class_of_the_file_can_be_pickled(folder: Path) -> None:
    name = write(folder, "class Net:\n    def __call__(self):\n        pass\nproblem = (Net(), None)")
    assert pickle.loads(pickle.dumps(load_problem(f"{name}:problem").model)) is not None


def test_a_problem_takes_the_name_of_its_place(folder: Path) -> None:
    name = write(folder, "problem = (max, min)")
    assert load_problem(f"{name}:problem").name == f"{name}:problem"


@pytest.mark.parametrize("spec", ["train.py", "train.py:", ":problem", ""])
def test_a_place_without_an_attribute_is_refused_with_the_form_to_write(spec: str) -> None:
    with pytest.raises(ProblemError, match=r"names no attribute: write it as train\.py:problem"):
        load_problem(spec)


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ProblemError, match=r"no such file: missing\.py"):
        load_problem("missing.py:problem")


def test_a_module_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(ProblemError, match="no module named 'missing_package'"):
        load_problem("missing_package:problem")


def test_a_module_that_imports_what_is_missing_is_the_users_error(folder: Path) -> None:
    write(folder, "import missing_package")
    with pytest.raises(UserCodeError) as raised:
        load_problem("its_training:problem")
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_an_attribute_that_is_not_there_is_named_beside_those_that_are(folder: Path) -> None:
    name = write(folder, "model, loss = max, min")
    with pytest.raises(ProblemError, match="no attribute 'problem'; it has loss, model"):
        load_problem(f"{name}:problem")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("problem = 1 / 0", ZeroDivisionError),
        ("def problem():\n    raise KeyError('lr')", KeyError),
        ("problem = (", SyntaxError),
    ],
)
def test_what_the_file_raises_is_kept_as_the_cause(folder: Path, text: str, cause: type) -> None:
    name = write(folder, text)
    with pytest.raises(UserCodeError) as raised:
        load_problem(f"{name}:problem")
    assert isinstance(raised.value.__cause__, cause)


def test_a_file_that_failed_can_be_loaded_once_it_is_mended(folder: Path) -> None:
    name = write(folder, "problem = 1 / 0")
    with pytest.raises(UserCodeError):
        load_problem(f"{name}:problem")
    write(folder, "problem = (max, min, [1])")
    assert load_problem(f"{name}:problem").model is max


@pytest.mark.parametrize("value", ["7", "'a text'", "(max,)", "(1, 2, 3, 4, 5)", "None", "[max, min]"])
def test_what_is_no_problem_is_refused_with_the_forms_that_are(folder: Path, value: str) -> None:
    name = write(folder, f"problem = {value}")
    with pytest.raises(ProblemError, match=r"expected a wellposed\.Problem"):
        load_problem(f"{name}:problem")


def test_a_tuple_of_four_holds_the_validation_data() -> None:
    assert as_problem((max, min, [1], [2])).validation == [2]


def test_a_problem_stays_the_same_object() -> None:
    problem = Problem(model=max)
    assert as_problem(problem, name="another") is problem
