"""Which file of wellposed may import which: the table of layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

LAYERS = {
    1: {
        "activations.py",
        "arguments.py",
        "choices.py",
        "errors.py",
        "formats.py",
        "lazy.py",
        "limits.py",
        "own_files.py",
        "plain_value.py",
        "plain.py",
        "problem.py",
        "report.py",
        "results.py",
        "safe_text.py",
        "shown.py",
        "version.py",
    },
    2: {"runtime", "differentiate"},
    3: {"data"},
    4: {"moments"},
    5: {"normalize", "inputs", "signals", "initialization", "objective", "gradcheck"},
    6: {"rules"},
    7: {"budget.py", "interventions.py", "measurements.py", "_check.py", "_fix.py", "_race.py"},
    8: {"show"},
    9: {"demo.py", "cli", "__main__.py", "__init__.py"},
}
APART = {5}
"""Layers whose rooms do not import each other."""
VALUES: set[str] = set()
"""Files beside result.py that hold frozen types alone, and so stand in layer 1."""


def room(path: str) -> str:
    """The top-level folder or file that a file of the package belongs to."""
    return path.split("/")[0]


@dataclass(frozen=True)
class Layers:
    """The layers of a package: the rooms of each, and what may import what. Paths are those within the package."""

    rooms: Mapping[int, Collection[str]]
    apart: Collection[int] = ()
    values: Collection[str] = ()

    def holds_values(self, path: str) -> bool:
        """Whether a file holds types alone, and so stands in layer 1 whatever its room."""
        return path.endswith("/result.py") or path in self.values

    def layer(self, path: str) -> int | None:
        """The layer of a file; None where the table does not have its room."""
        if self.holds_values(path):
            return 1
        return next((number for number, rooms in self.rooms.items() if room(path) in rooms), None)

    def allowed(self, source: str, goal: str) -> bool:
        """Whether one file may import another: from its own layer or a lower number, and anything without a layer."""
        here, there = self.layer(source), self.layer(goal)
        if here is None or there is None:
            return True
        if here == there and here in self.apart:
            return room(source) == room(goal)
        return there <= here


TABLE = Layers(LAYERS, APART, VALUES)
