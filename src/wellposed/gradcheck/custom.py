"""The hand-written ``autograd.Function`` objects that a loss goes through, each checked on the inputs that really flowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import WellposedError
from .checking import check_gradients
from .result import CustomBackward, CustomBackwards, GradientCheck


def check_custom_functions(run: Callable[[], Any], *, seed: int = 0) -> CustomBackwards:
    """Find the hand-written backward passes in one loss, and check each on the inputs that it really got.

    Parameters
    ----------
    run
        Computes the loss and returns it, attached to its graph. It is called once, and once more when there is something to check; no backward
        pass is run through it, and what it holds is left as it was.
    seed
        As for `check_gradients`.

    Returns
    -------
    CustomBackwards
        One entry a Function, in the order in which they ran; none when the graph holds only framework operations.

    Examples
    --------
    >>> import torch
    >>> from wellposed.gradcheck import check_custom_functions
    >>> w = torch.ones(3, requires_grad=True)
    >>> check_custom_functions(lambda: (w * w).sum()).entries
    ()
    """
    from ..frameworks.torch.functions import custom_calls

    return CustomBackwards(entries=tuple(_checked(call, seed=seed) for call in custom_calls(run)))


def _checked(call: Any, *, seed: int) -> CustomBackward:
    if call.function is None:
        return CustomBackward(name=call.name, check=None, reason=call.reason)
    try:
        check = check_gradients(call.function, *call.inputs, seed=seed)
    except WellposedError as error:
        return CustomBackward(name=call.name, check=None, reason=f"it cannot be run by itself: {error}")
    return CustomBackward(
        name=call.name, check=check, deliberate=_deliberate(check, identity=call.is_identity)
    )


def _deliberate(check: GradientCheck, *, identity: bool) -> str:
    """Nobody writes an identity but for its backward pass, and a step function has no other gradient to learn by."""
    if check.verdict != "fail":
        return ""
    if identity:
        return "its forward pass is the identity, so it exists for its backward pass (gradient reversal, scaling, clipping)"
    if any(t.flat for t in check.failed):
        return "its forward pass is a step function, so its backward pass is a surrogate (straight-through)"
    return ""
