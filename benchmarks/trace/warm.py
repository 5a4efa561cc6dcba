"""Imports in the parent what the calls import late, so that no forked process pays for it."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress

from . import controls
from .calls import CALLS, outcome
from .forked import forked
from .trial import build

_FIRST = ("torch", "wellposed", "numba", "sympy", "numpy")


def warm_up() -> None:
    """Import what a run of each call imports."""
    kind = controls.kinds["plain weights"]

    def imported() -> list[str]:
        for call in CALLS.values():
            outcome(call, build(kind))
        return list(sys.modules)

    for name in forked(imported, timeout=300).value or ():
        if name.split(".")[0] in _FIRST and name not in sys.modules:
            with suppress(ImportError):  # modules that exist only while another one is imported
                importlib.import_module(name)
