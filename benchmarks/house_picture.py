"""Draw who imports whom among the top-level folders and files of wellposed, as a Mermaid flowchart in ``docs/design.md``.

::

    python -m benchmarks.house_picture [--check]

It replaces what stands between the two marker comments. ``--check`` writes nothing, and exits with 1 if the picture there
is not today's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from .house import HERE
from .house_imports import Graph, Import, files, imports, reachable
from .house_layers import TABLE, Layers, room

TARGET = HERE / "docs" / "design.md"
BEGIN = "<!-- Made by python -m benchmarks.house_picture: -->"
END = "<!-- end of what it made -->"
_VALUES = "result.py of each room"
"""The node of the files that hold types alone, whatever their room."""


def flowchart(names: list[str], edges: list[Import], layers: Layers) -> str:
    """The rooms of a package by layer, and an arrow from each to what it imports.

    An arrow is left out where others lead the same way. Imports that the layers do not allow are dotted, and all drawn.
    """
    return "\n".join(["flowchart TB", *_boxes(names, layers), *_arrows(edges, layers)])


def drawn_into(text: str, chart: str) -> str:
    """A document with another chart between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the document lacks the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n```mermaid\n{chart}\n```\n\n{END}{after}"


def today(package: Path = HERE / "src" / "wellposed") -> str:
    """The flowchart of wellposed as it is."""
    return flowchart(files(package), imports(package), TABLE)


def _boxes(names: list[str], layers: Layers) -> Iterator[str]:
    """The subgraphs: the highest layer first."""
    rooms = {(layers.layer(name) or 0, _node(name, layers)) for name in names}
    for number in sorted({number for number, _ in rooms}, reverse=True):
        yield f'  subgraph layer{number}["{number or "no layer"}"]'
        yield from (f'    {_id(name)}["{name}"]' for layer, name in sorted(rooms) if layer == number)
        yield "  end"


def _arrows(edges: list[Import], layers: Layers) -> Iterator[str]:
    down: Graph = {}
    up: Graph = {}
    for edge in edges:
        if edge.goal is not None:
            source, goal = _node(edge.source, layers), _node(edge.goal, layers)
            if source != goal:
                into = down if layers.allowed(edge.source, edge.goal) else up
                into.setdefault(source, set()).add(goal)
    yield from _drawn(_reduced(down), "-->")
    yield from _drawn(up, "-.->")


def _drawn(arrows: Graph, arrow: str) -> Iterator[str]:
    for source, goals in sorted(arrows.items()):
        yield from (f"  {_id(source)} {arrow} {_id(goal)}" for goal in sorted(goals))


def _reduced(arrows: Graph) -> Graph:
    """As few of the arrows as lead to the same nodes."""
    kept = {source: set(goals) for source, goals in arrows.items()}
    for source, goals in sorted(arrows.items()):
        for goal in sorted(goals):
            kept[source].remove(goal)
            if goal not in reachable(kept, source):
                kept[source].add(goal)
    return kept


def _node(path: str, layers: Layers) -> str:
    return _VALUES if layers.holds_values(path) else room(path)


def _id(node: str) -> str:
    """A node's name without what Mermaid would take for syntax."""
    return "room_" + re.sub(r"\W", "_", node)


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the picture is not today's.")
def main(check: bool) -> None:
    text = TARGET.read_text(encoding="utf-8")
    drawn = drawn_into(text, today())
    if not check:
        TARGET.write_text(drawn, encoding="utf-8")
    elif drawn != text:
        raise click.ClickException(
            f"{TARGET.name}: not today's picture; run python -m benchmarks.house_picture"
        )


if __name__ == "__main__":
    main()
