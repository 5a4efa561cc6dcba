"""The pytest plugin: a failed assertion about a report, a fix or a gradient check shows it.

    assert wp.check(problem)
    assert wp.check_gradients(f, x)

It stands beside the package, so that pytest starts without importing wellposed: a check that failed has imported it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Container, Iterator
from importlib import import_module
from textwrap import dedent
from types import FrameType
from typing import Any

_WIDTH = 76
"""pytest puts four columns in front of every line."""
_MOST = 3
"""Results that one assertion shows."""
_SHOWN = (
    ("wellposed.report", "Report"),
    ("wellposed.results", "Fix"),
    ("wellposed.gradcheck.result", "GradientCheck"),
)
"""Which results: module and name."""


def pytest_runtest_makereport(item: Any, call: Any) -> None:
    """Add the results that a failed assertion is about to the error, as notes, which every style of traceback shows."""
    if call.excinfo is None or not isinstance(call.excinfo.value, AssertionError):
        return
    kinds = {vars(sys.modules[module])[name] for module, name in _SHOWN if module in sys.modules}
    error = call.excinfo.value
    for note in _notes(_results(call.excinfo.traceback, kinds)):
        # The error of a fixture is raised again in every test that asks for it.
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _notes(results: list[Any]) -> Iterator[str]:
    for result in results[:_MOST]:
        yield "\n" + import_module("wellposed.show.render").render(result, "text", _WIDTH)
    if len(results) > _MOST:
        yield f"\nand {len(results) - _MOST} more checks"


def _results(traceback: Any, kinds: Container[type]) -> list[Any]:
    """The results that the innermost statement speaks of which speaks of any; of several, those that are not true."""
    for entry in reversed(list(traceback)):
        within = [v for value in _spoken_of(entry) for v in _opened(value)]
        found = list({id(v): v for v in within if type(v) in kinds}.values())
        if found:
            return [result for result in found if not result] or found
    return []


def _spoken_of(entry: Any) -> Iterator[Any]:
    """The values of the names in a statement, and what pytest, or unittest, holds of its parts."""
    frame: FrameType = entry.frame.raw
    names = _names(dedent(str(entry.statement)))
    # In assertTrue(result), the result is its argument.
    everything = frame.f_globals.get("__name__") == "unittest.case"
    for name, value in frame.f_locals.items():
        if everything or name in names or not name.isidentifier():  # pytest's own names, as "@py_assert1"
            yield value
    yield from (frame.f_globals[name] for name in names if name in frame.f_globals)


def _names(statement: str) -> set[str]:
    try:
        return {node.id for node in ast.walk(ast.parse(statement)) if isinstance(node, ast.Name)}
    except SyntaxError:  # the head of a block
        return set()


def _opened(value: Any) -> Iterator[Any]:
    """The value, or what a list or dict holds; by its exact type, since to ask a proxy for its class may raise."""
    if type(value) is dict:
        yield from value.values()
    elif type(value) in (list, tuple):
        yield from value
    else:
        yield value
