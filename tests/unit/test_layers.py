"""A file imports only from its own layer or a lower one, and nothing goes in circles; there are no exceptions."""

from __future__ import annotations

from pathlib import Path

import pytest

import wellposed
from benchmarks.house_imports import circles, files, graph, imports
from benchmarks.house_layers import TABLE

ROOT = Path(wellposed.__file__).parent
FILES = files(ROOT)
IMPORTS = imports(ROOT)
FRAMEWORKS = {"torch", "jax"}
PACKAGE = "__init__.py"
"""The package itself loads its names when they are asked for."""

of_every_file = pytest.mark.parametrize("file", FILES)


def words(file: str) -> set[str]:
    return {word for part in file.removesuffix(".py").split("/") for word in part.split("_")}


@of_every_file
def test_a_file_imports_only_from_its_own_layer_or_a_lower_one(file: str) -> None:
    assert TABLE.layer(file) is not None, f"{file} has no layer: name its room in benchmarks/house_layers.py"
    wrong = {e.goal for e in IMPORTS if e.source == file and e.goal and not TABLE.allowed(file, e.goal)}
    assert not wrong, f"{file} (layer {TABLE.layer(file)}) imports {', '.join(sorted(wrong))}"


@of_every_file
def test_no_import_of_ours_hides_in_a_function(file: str) -> None:
    hidden = [e for e in IMPORTS if e.source == file and e.goal and e.kind == "in a function"]
    assert file == PACKAGE or not hidden, f"{file}: import at the top, or with lazy() there: {hidden}"


@of_every_file
def test_a_framework_is_imported_only_in_files_and_folders_of_its_name_and_in_the_demo(file: str) -> None:
    found = {e.module.split(".")[0] for e in IMPORTS if e.source == file} & FRAMEWORKS
    assert file == "demo.py" or found <= words(file)


@of_every_file
def test_rich_is_imported_only_where_things_are_shown(file: str) -> None:
    found = {e.module.split(".")[0] for e in IMPORTS if e.source == file}
    assert "rich" not in found or file.startswith("show/")


def test_rules_reach_no_framework() -> None:
    assert not [e for e in IMPORTS if e.source.startswith("rules/") and e.goal and FRAMEWORKS & words(e.goal)]


def test_no_imports_go_in_circles() -> None:
    assert circles(graph(e for e in IMPORTS if e.source != PACKAGE)) == []
