"""Rules read values and measure nothing: what they import, and what they say of commands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from wellposed import rules
from wellposed.report import PROBLEM
from wellposed.rules.table import Defect

FOLDER = Path(rules.__file__).parent
VALUES = {"limits", "report"}
AROUND = {
    "__init__.py": set(),
    "table.py": set(),
    "explain.py": {"arguments", "errors"},
    "saved.py": {"errors"},
}
"""Files beside those of the judges, with what they may import besides."""


def own_imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, as ``"inputs.result"``; those of its own folder apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 2
    }


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_a_rule_imports_results_limits_and_reports_alone(path: Path):
    beyond = own_imports(path) - VALUES - AROUND.get(path.name, set())
    assert {module for module in beyond if not module.endswith(".result")} == set()


def calls_of(name: str) -> list[tuple[str, ast.Call]]:
    return [
        (path.name, node)
        for path in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def constants(path: Path) -> dict[str, str]:
    """The texts that a module names, by name."""
    return {
        target.id: node.value.value
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def test_a_defect_whose_fix_names_a_problem_says_with_which_command():
    commands = []
    for name, call in calls_of(Defect.__name__):
        given = {k.arg: k.value for k in call.keywords}
        texts = constants(FOLDER / name)
        parts = [n for n in ast.walk(given["fix"]) if isinstance(n, ast.Name | ast.Constant)]
        fix = " ".join(texts.get(p.id, "") if isinstance(p, ast.Name) else str(p.value) for p in parts)
        command = given.get("command")
        assert (PROBLEM in fix) == (command is not None), ast.unparse(call)
        if isinstance(command, ast.Constant):
            assert f"wellposed {command.value} {PROBLEM}" in fix
            commands.append(command.value)
    assert len(commands) > 5
