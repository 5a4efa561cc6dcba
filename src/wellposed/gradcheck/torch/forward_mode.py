"""The forward-mode derivative: dual numbers carried through the user's function."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
import torch.autograd.forward_ad as forward_ad

from ...errors import ArgumentError

_OPERATION = re.compile(r"(?:forward AD with|forward-mode AD[^:]*for|derivative for) ['`]?([\w:.]+)")
_MISSING = ("forward AD", "forward-mode AD", "forward mode AD", "jvp")


@contextmanager
def duals(
    tensors: Sequence[torch.Tensor], tangents: Sequence[torch.Tensor | None], is_parameter: Sequence[bool]
) -> Iterator[list[torch.Tensor]]:
    """The tensors with their tangents; a parameter carries it itself, wherever the function finds it."""
    ours = not is_on()
    try:
        _load()
        with forward_ad.dual_level():
            placed = []
            for tensor, tangent, in_place in zip(tensors, tangents, is_parameter, strict=True):
                if tangent is None:
                    placed.append(tensor)
                elif in_place:
                    with torch.no_grad():
                        tensor.copy_(forward_ad.make_dual(tensor.detach().clone(), tangent))
                    placed.append(tensor)
                else:
                    placed.append(forward_ad.make_dual(tensor, tangent))
            yield placed
    except BaseException:
        if ours:
            _close()
        raise


def _close() -> None:
    """Leave the only level that torch has: Ctrl-C may come between its opening or closing it and its taking note of that."""
    with suppress(RuntimeError):  # it is closed
        torch._C._exit_dual_level(level=0)
    forward_ad._current_level = -1


def is_on() -> bool:
    """Whether this is inside `duals`."""
    return forward_ad._current_level >= 0


def tangent_of(value: torch.Tensor) -> float:
    tangent = forward_ad.unpack_dual(value).tangent
    return 0.0 if tangent is None else float(tangent.detach())


def refused(error: BaseException) -> ArgumentError | None:
    """What to tell when an operation has no forward mode; None when the error is another one."""
    text = str(error)
    if not isinstance(error, NotImplementedError | RuntimeError) or not any(m in text for m in _MISSING):
        return None
    found = _OPERATION.search(text)
    what = found[1].lstrip("_") if found else "an operation of f"
    if "custom autograd.Function" in text or "jvp function" in text:
        what = "an autograd.Function of f, which has no jvp"
    return ArgumentError(
        f'forward mode is not implemented for {what}: pass mode="reverse" ({text.splitlines()[0][:120]})'
    )


def _load() -> None:
    """Torch compiles some of its formulas at the first dual number, and warns about how it does that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(()), torch.zeros(()))
