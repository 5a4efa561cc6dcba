"""A file imports only from layers above its own; frameworks are imported in one place; nothing goes in circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import wellposed
from benchmarks.house_layers import TABLE, room

ROOT = Path(wellposed.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FRAMEWORKS = {"torch", "jax"}
DISPLAY = {"__str__", "__rich_console__", "_repr_html_"}


def place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path, *, deep: bool = True) -> Iterator[tuple[str, bool]]:
    """Every import that runs: the absolute dotted name, and whether it stands in a display method."""
    yield from _imports(ast.parse(file.read_text()), file, deep, False)


def _imports(node: ast.AST, file: Path, deep: bool, display: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.FunctionDef):
            if deep:
                yield from _imports(child, file, deep, display or child.name in DISPLAY)
        elif isinstance(child, ast.Import):
            yield from ((alias.name, display) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parts = ("wellposed", *file.relative_to(ROOT).parts)
            base = [*parts[: len(parts) - child.level], *filter(None, (child.module or "").split("."))]
            base = base if child.level else (child.module or "").split(".")
            yield from ((".".join([*base, alias.name]), display) for alias in child.names)
        else:
            yield from _imports(child, file, deep, display)


def target(name: str) -> str | None:
    """The file of ours that an absolute dotted name leads to."""
    parts = name.split(".")
    if parts[0] != "wellposed":
        return None
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[1:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return place(file)
    raise AssertionError(f"{name} leads nowhere")


@pytest.mark.parametrize("file", FILES, ids=place)
def test_a_file_imports_only_from_the_layers_above_its_own(file: Path) -> None:
    goals = {goal for name, display in imports(file) if not display and (goal := target(name))}
    wrong = sorted(goal for goal in goals - {"__init__.py"} if not TABLE.allowed(place(file), goal))
    assert not wrong, f"{place(file)} (layer {TABLE.layer(place(file))}) imports {', '.join(wrong)}"


@pytest.mark.parametrize("file", FILES, ids=place)
def test_only_the_folders_of_frameworks_and_the_demo_import_a_framework(file: Path) -> None:
    names = {name.split(".")[0] for name, _ in imports(file)}
    homes = ("frameworks/", "runtime/torch/")
    assert not names & FRAMEWORKS or place(file).startswith(homes) or place(file) == "demo.py"


@pytest.mark.parametrize("file", FILES, ids=place)
def test_rich_is_imported_only_where_things_are_shown(file: Path) -> None:
    names = {name.split(".")[0] for name, _ in imports(file)}
    assert "rich" not in names or place(file).startswith("show/")


def test_rules_read_and_reach_no_framework_even_inside_a_function() -> None:
    for file in (ROOT / "rules").rglob("*.py"):
        goals = {target(name) or name for name, _ in imports(file)}
        assert not [goal for goal in goals if room(goal) == "frameworks"], place(file)


def test_no_imports_go_in_circles() -> None:
    graph = {
        place(file): {target(name) for name, _ in imports(file, deep=False)} - {None, place(file)}
        for file in FILES
    }
    TopologicalSorter(graph).prepare()


def test_every_file_has_a_layer() -> None:
    for file in FILES:
        assert TABLE.layer(place(file)) is not None, place(file)
