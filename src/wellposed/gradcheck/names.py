"""What the inputs of a function are called."""

from __future__ import annotations

import inspect
from typing import Any


def input_names(f: Any, count: int) -> list[str]:
    """The names of a function's positional parameters, or ``P[0]``, ``P[1]`` for ``*P``."""
    names: list[str] = []
    try:
        for p in inspect.signature(f).parameters.values():
            if p.kind is p.VAR_POSITIONAL:
                names += [f"{p.name}[{k}]" for k in range(count - len(names))]
            elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                names.append(p.name)
    except (TypeError, ValueError):
        pass  # a builtin without a signature
    return (names + [f"inputs[{i}]" for i in range(len(names), count)])[:count]
