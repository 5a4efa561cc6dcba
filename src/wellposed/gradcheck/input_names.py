"""What the inputs of a function are called."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any


def input_names(f: Any, count: int) -> list[str]:
    """The names of a function's positional parameters, or ``P[0]``, ``P[1]`` for ``*P``."""
    names: list[str] = []
    if not callable(f):  # a problem
        return [f"inputs[{i}]" for i in range(count)]
    try:
        for p in _parameters(f):
            if p.kind is p.VAR_POSITIONAL:
                names += [f"{p.name}[{k}]" for k in range(count - len(names))]
            elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                names.append(p.name)
    except (TypeError, ValueError):
        pass  # a builtin without a signature
    return (names + [f"inputs[{i}]" for i in range(len(names), count)])[:count]


def _parameters(f: Any) -> Iterable[inspect.Parameter]:
    """Those of f; for the ``apply`` of an ``autograd.Function``, which takes ``*args``, those of its forward pass."""
    owner = getattr(f, "__self__", None)
    if not (isinstance(owner, type) and getattr(f, "__name__", "") == "apply" and hasattr(owner, "forward")):
        return inspect.signature(f).parameters.values()
    written = [k for k in owner.__mro__ if not k.__module__.startswith("torch.")]
    takes_ctx = not any("setup_context" in vars(k) for k in written)
    return list(inspect.signature(owner.forward).parameters.values())[takes_ctx:]  # pyright: ignore[reportAttributeAccessIssue]
