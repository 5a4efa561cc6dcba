"""Modules that are imported when they are first used: those that need a framework or another optional package.

They stand among the imports at the top of a file, where readers and the tests of the layers see them; an import inside a
function would be hidden from both.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class _LazyModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def lazy(name: str) -> Any:
    """The module of this full name, imported when one of its attributes is first asked for.

    Examples
    --------
    >>> fractions = lazy("fractions")
    >>> fractions.Fraction(1, 2) + fractions.Fraction(1, 3)
    Fraction(5, 6)
    """
    return _LazyModule(name)
