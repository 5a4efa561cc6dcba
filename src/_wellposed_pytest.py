"""The pytest plugin: a failed assertion about a gradient check shows the check.

    assert wp.check_gradients(f, x)

It stands beside the package, so that pytest starts without importing wellposed: a check that failed has imported it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from textwrap import dedent
from types import FrameType
from typing import Any

_WIDTH = 76
"""pytest puts four columns in front of every line."""
_MOST = 3
"""Checks that one assertion shows."""


def pytest_runtest_makereport(item: Any, call: Any) -> None:
    """Add the checks that a failed assertion is about to the error, as notes, which every style of traceback shows."""
    kind = getattr(sys.modules.get("wellposed.gradcheck.result"), "GradientCheck", None)
    if kind is None or call.excinfo is None or not isinstance(call.excinfo.value, AssertionError):
        return
    error = call.excinfo.value
    for note in _notes(_checks(call.excinfo.traceback, kind)):
        # The error of a fixture is raised again in every test that asks for it.
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _notes(checks: list[Any]) -> Iterator[str]:
    if checks:
        from wellposed.show.gradient import render_gradients

        yield from ("\n" + render_gradients(check, width=_WIDTH) for check in checks[:_MOST])
    if len(checks) > _MOST:
        yield f"\nand {len(checks) - _MOST} more checks"


def _checks(traceback: Any, kind: type) -> list[Any]:
    """The checks that the innermost statement speaks of which speaks of any; of several, those that did not pass."""
    for entry in reversed(list(traceback)):
        within = [v for value in _spoken_of(entry) for v in _opened(value)]
        found = list({id(v): v for v in within if type(v) is kind}.values())
        if found:
            return [check for check in found if not check] or found
    return []


def _spoken_of(entry: Any) -> Iterator[Any]:
    """The values of the names in a statement, and what pytest, or unittest, holds of its parts."""
    frame: FrameType = entry.frame.raw
    names = _names(dedent(str(entry.statement)))
    # In assertTrue(check), the check is its argument.
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
