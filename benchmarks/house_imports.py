"""Who imports whom in a package, read from its source files without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path
from typing import Literal

Kind = Literal["plain", "type checking", "in a function", "lazy"]
"""Where an import stands: at module level, under ``if TYPE_CHECKING``, in a function, or as ``name = lazy("module")``."""
Graph = dict[str, set[str]]


@dataclass(frozen=True, order=True)
class Import:
    """One import of one module. Files are given by their path within the package: ``"rules/table.py"``."""

    source: str
    line: int
    module: str
    """The dotted name, made absolute."""
    goal: str | None
    """The file of the package that is imported; None for a module of someone else."""
    kind: Kind


def files(package: Path) -> list[str]:
    """The package's Python files, by their path within the package."""
    return sorted(file.relative_to(package).as_posix() for file in package.rglob("*.py"))


def imports(package: Path) -> list[Import]:
    """Every import in the package; names taken from one module by one statement are one import.

    ``import_module("name")`` and ``lazy("name")`` count where the name is a literal.
    """
    modules = {_module(package.name, file): file for file in files(package)}
    return [found for name, file in modules.items() for found in _imports_of(package, file, name, modules)]


def graph(edges: Iterable[Import]) -> Graph:
    """The files that each file imports, itself left out."""
    found: Graph = {}
    for edge in edges:
        if edge.goal is not None:
            found.setdefault(edge.source, set()).add(edge.goal)
            found.setdefault(edge.goal, set())
    return {source: goals - {source} for source, goals in found.items()}


def circles(among: Graph) -> list[list[str]]:
    """The groups in which every node leads to every other (strongly connected components), the largest first."""
    reach = {node: reachable(among, node) for node in among}
    groups = {frozenset(n for n in reach[node] if node in reach[n]) for node in among} - {frozenset()}
    return sorted(map(sorted, groups), key=lambda group: (-len(group), group))


def reachable(among: Graph, start: str) -> set[str]:
    """The nodes that one or more arrows lead to from `start`."""
    found: set[str] = set()
    waiting = list(among.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(among.get(node, ()))
    return found


def _module(package: str, file: str) -> str:
    parts = [package, *file.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports_of(package: Path, file: str, name: str, modules: dict[str, str]) -> list[Import]:
    parent = name if file.endswith("__init__.py") else name.rpartition(".")[0]
    tree = ast.parse((package / file).read_text(encoding="utf-8"))
    found: set[Import] = set()
    for node, kind in _statements(tree, "plain"):
        for target in _targets(node, parent, modules):
            own = target.split(".")[0] == package.name
            module = _longest_known(target, modules) if own else target
            found.add(Import(file, node.lineno, module, modules.get(module), kind))
    return sorted(found, key=lambda edge: (edge.line, edge.module))


def _statements(node: ast.AST, kind: Kind) -> Iterator[tuple[ast.stmt | ast.Call, Kind]]:
    """Import statements and calls, each with the kind of its place."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        kind = "in a function"
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, kind
    if isinstance(node, ast.Call):
        yield node, "lazy" if kind == "plain" and _called(node) == "lazy" else kind
    guarded = node.body if isinstance(node, ast.If) and _is_type_checking(node.test) else []
    for child in ast.iter_child_nodes(node):
        yield from _statements(child, "type checking" if child in guarded and kind == "plain" else kind)


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _called(call: ast.Call) -> str | None:
    """The last part of the name that is called."""
    return getattr(call.func, "id", None) or getattr(call.func, "attr", None)


def _targets(node: ast.stmt | ast.Call, parent: str, modules: dict[str, str]) -> Iterator[str]:
    """The absolute dotted names of the modules that a statement or a call imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = resolve_name("." * node.level + (node.module or ""), parent)
        names = (f"{base}.{alias.name}" for alias in node.names)
        yield from (name if name in modules else base for name in names)
    elif isinstance(node, ast.Call) and _called(node) in {"lazy", "import_module"} and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield resolve_name(first.value, parent)


def _longest_known(name: str, modules: dict[str, str]) -> str:
    """The module of ours that a dotted name leads to: the name may go on into what the module holds."""
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name
