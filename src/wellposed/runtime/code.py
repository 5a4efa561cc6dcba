"""What code names, and whose code it is."""

from __future__ import annotations

import dis
import importlib.machinery
import site
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class whose attributes can be set."""


def _library_folders() -> tuple[str, ...]:
    named = [sysconfig.get_paths().get(n) for n in ("stdlib", "platstdlib", "purelib", "platlib")]
    found = {*filter(None, named), *site.getsitepackages(), site.getusersitepackages()}
    folders = {p for f in found for p in (str(Path(f)), str(Path(f).resolve()))}
    return tuple(sorted(f.rstrip("/\\") + sep for f in folders for sep in ("/", "\\")))


_FOLDERS = _library_folders()
_OWN = str(Path(__file__).resolve().parents[1])


@cache
def _is_library_file(name: str) -> bool:
    return name.startswith(("<frozen", _OWN, *_FOLDERS))


@cache
def _is_library_module(name: str) -> bool:
    """By name: a module that is loaded keeps its file."""
    module = sys.modules.get(name)
    if name == "__main__" or module is None:
        return False
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return _is_library_file(file)
    loader = getattr(module, "__loader__", None)
    builtin = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)
    return name.partition(".")[0] in sys.builtin_module_names or loader in builtin


def is_users(value: Any) -> bool:
    """Whether a class, function or module was written outside the standard library, installed packages and wellposed."""
    if isinstance(value, FunctionType):
        return not _is_library_file(value.__code__.co_filename)
    if isinstance(value, ModuleType):
        return not _is_library_module(value.__name__)
    if not isinstance(value, type) or not value.__flags__ & _HEAP_TYPE:
        return False
    home = value.__module__
    # A class that was made in a namespace without a name says that it is Python's own.
    return not isinstance(home, str) or home == "builtins" or not _is_library_module(home)


@lru_cache(maxsize=8192)
def names_in(code: CodeType) -> frozenset[str]:
    """Every name that code and the code inside it looks up, and the words among its constants, as in ``globals()["count"]``."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= names_in(constant)
        elif isinstance(constant, str) and len(constant) < 100 and constant.replace(".", "_").isidentifier():
            found.add(constant)
    return frozenset(found)


@lru_cache(maxsize=8192)
def names_set_in(code: CodeType) -> frozenset[str]:
    """The names that code and the code inside it sets, as globals or as attributes."""
    found = {
        i.argval
        for i in dis.get_instructions(code)
        if i.opname in ("STORE_GLOBAL", "STORE_ATTR", "STORE_NAME")
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= names_set_in(constant)
    return frozenset(found)


def namespaces(function: FunctionType) -> Iterator[tuple[str, dict[str, Any]]]:
    """The globals of a function, and the namespaces of the user's modules that it names, imports or reaches through them."""
    names = names_in(function.__code__)
    home = function.__globals__
    waiting = [(str(home.get("__name__", "globals")), home)]
    package = home.get("__package__") or ""
    for name in names:
        for full in (name, f"{package}.{name}"):
            module = sys.modules.get(full)
            if isinstance(module, ModuleType) and is_users(module):
                waiting.append((full, vars(module)))
    seen: set[int] = set()
    while waiting:
        label, namespace = waiting.pop()
        if id(namespace) in seen:
            continue
        seen.add(id(namespace))
        yield label, namespace
        for name in names:
            value = namespace.get(name)
            if type(value) is ModuleType and is_users(value):
                waiting.append((value.__name__, vars(value)))
