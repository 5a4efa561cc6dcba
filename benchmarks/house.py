"""The structure of ``src/wellposed`` in figures: its size, its imports, its functions, and what stands in it twice.

::

    python -m benchmarks.house [--list] [--against FOLDER]

``--list`` names what is counted. ``--against`` adds a column with the figures of another checkout, by the table of layers
that it has in ``benchmarks/house_layers.py``, or by this one's.
"""

from __future__ import annotations

import ast
import runpy
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from .house_imports import Import, circles, files, graph, imports
from .house_layers import TABLE, Layers
from .house_passages import SHORTEST, Passage, repeated

HERE = Path(__file__).parents[1]
_LONGEST = 10
"""Functions that are listed."""


@dataclass(frozen=True)
class Function:
    """A function or method: its lines from ``def`` to the last, its name, and its ``file:line``."""

    length: int
    name: str
    place: str


@dataclass(frozen=True)
class House:
    """What is counted, for one package."""

    files: list[str]
    lines: int
    classes: dict[str, list[str]]
    """The places at which each class name is defined."""
    functions: list[Function]
    """The longest first."""
    imports: list[Import]
    """Of the package's own files."""
    passages: list[Passage]
    layers: Layers

    @property
    def repeated_classes(self) -> dict[str, list[str]]:
        return {name: places for name, places in sorted(self.classes.items()) if len(places) > 1}

    @property
    def deferred(self) -> list[Import]:
        """Imports inside functions, but for those of the package's own ``__init__.py``."""
        return [
            edge for edge in self.imports if edge.kind == "in a function" and edge.source != "__init__.py"
        ]

    @property
    def circles(self) -> list[list[str]]:
        return circles(graph(self.imports))

    @property
    def upward(self) -> list[Import]:
        return [
            edge for edge in self.imports if edge.goal and not self.layers.allowed(edge.source, edge.goal)
        ]

    @property
    def without_layer(self) -> list[str]:
        return [file for file in self.files if self.layers.layer(file) is None]


def measure(package: Path, layers: Layers) -> House:
    """Read every file of a package."""
    names = files(package)
    texts = {name: (package / name).read_text(encoding="utf-8") for name in names}
    classes: dict[str, list[str]] = defaultdict(list)
    functions: list[Function] = []
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(f"{name}:{node.lineno}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                functions.append(Function(length, node.name, f"{name}:{node.lineno}"))
    return House(
        files=names,
        lines=sum(len(text.splitlines()) for text in texts.values()),
        classes=dict(classes),
        functions=sorted(functions, key=lambda function: (-function.length, function.place)),
        imports=[edge for edge in imports(package) if edge.goal is not None],
        passages=repeated(package, names),
        layers=layers,
    )


def measure_checkout(folder: Path) -> House:
    """The package in a checkout, by the checkout's own table of layers if it has one."""
    table = folder / "benchmarks" / "house_layers.py"
    layers = runpy.run_path(str(table))["TABLE"] if table.is_file() else TABLE
    return measure(folder / "src" / "wellposed", layers)


def figures(house: House) -> dict[str, float]:
    """The table: a description and a number for each row."""
    lengths = sorted(function.length for function in house.functions)
    groups = house.circles
    return {
        "files": len(house.files),
        "lines": house.lines,
        "classes": sum(map(len, house.classes.values())),
        "class names defined more than once": len(house.repeated_classes),
        "own imports": len(house.imports),
        "own imports inside functions": len(house.deferred),
        "circles of imports": len(groups),
        "files in circles": sum(map(len, groups)),
        "upward imports between layers": len(house.upward),
        "files without a layer": len(house.without_layer),
        "functions": len(lengths),
        "lines of a function, median": statistics.median(lengths or [0]),
        "lines of a function, 95th percentile": lengths[int(0.95 * len(lengths))] if lengths else 0,
        "lines of the longest function": max(lengths, default=0),
        f"passages of {SHORTEST} or more lines that stand twice": len(house.passages),
        "lines in them, but for the first place of each": sum(
            len(passage.lines) * (len(passage.places) - 1) for passage in house.passages
        ),
    }


def lists(house: House) -> Iterator[str]:
    """What the figures count, by name."""
    yield "\nClass names defined more than once"
    yield from (f"  {name}: {', '.join(places)}" for name, places in house.repeated_classes.items())
    yield "\nOwn imports inside functions"
    yield from map(_arrow, house.deferred)
    yield "\nCircles of imports"
    yield from (f"  {len(group)}: {', '.join(group)}" for group in house.circles)
    yield "\nUpward imports between layers"
    yield from (f"{_arrow(edge)} ({edge.kind})" for edge in house.upward)
    yield "\nFiles without a layer"
    yield from (f"  {file}" for file in house.without_layer)
    yield "\nLongest functions"
    yield from (f"  {f.length:4}  {f.name}  {f.place}" for f in house.functions[:_LONGEST])
    yield f"\nPassages of {SHORTEST} or more lines that stand twice"
    yield from (f"  {len(p.lines):4}  {', '.join(p.places)}" for p in house.passages)


def _arrow(edge: Import) -> str:
    return f"  {edge.source}:{edge.line} -> {edge.goal}"


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line, 80, subsequent_indent=" " * 6, replace_whitespace=False, break_on_hyphens=False
    )


@click.command(help=__doc__)
@click.option(
    "--against", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Another checkout."
)
@click.option("--list", "with_lists", is_flag=True, help="Name what is counted.")
def main(against: Path | None, with_lists: bool) -> None:
    house = measure_checkout(HERE)
    columns = [figures(house)]
    if against:
        columns.append(figures(measure_checkout(against)))
        click.echo(f"{'':50}{'here':>12}{'against':>12}")
    for name in columns[0]:
        click.echo(f"{name:50}" + "".join(f"{column[name]:12,g}" for column in columns))
    if with_lists:
        click.echo("\n".join(map(_wrapped, lists(house))))


if __name__ == "__main__":
    main()
