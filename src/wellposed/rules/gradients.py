"""WP4xx: hand-written backward passes. Reads what `check_custom_functions` measured."""

from __future__ import annotations

from collections.abc import Iterator

from ..gradcheck.result import CustomBackwards, GradientCheck
from ..limits import Limits
from .table import Fault, Judgement, NoVerdict

_NONE = NoVerdict(reason="no custom backward")


def gradient_mismatch(custom: CustomBackwards, limits: Limits) -> Iterator[Judgement]:
    """A hand-written backward pass that is not the derivative of its forward pass, beyond the error bars."""
    if not custom.entries:
        yield _NONE
    elif all(entry.check is None for entry in custom.entries):
        yield NoVerdict(reason="no custom backward could be checked")
    for entry in custom.entries:
        if entry.check is not None and entry.check.verdict == "fail" and not entry.deliberate:
            yield Fault(
                where=entry.name,
                summary=f"the backward pass of {entry.name} is not the derivative of its forward pass: {_what(entry.check)}",
                quantity="relative error of the gradient, |analytic - numerical| / (|analytic| + |numerical|)",
                measured=entry.check.relative_error,
                limit=limits.gradient_resolution,
                why="the optimizer follows this gradient, and it does not point where the loss falls",
                fix=f"mend {entry.name}.backward, then check it alone with wellposed.check_gradients({entry.name}.apply, *inputs)",
                confidence="confirmed",
            )


def gradient_inconclusive(custom: CustomBackwards, limits: Limits) -> Iterator[Judgement]:
    """A hand-written backward pass that could be checked, and not told right from wrong; or one that is a surrogate on purpose."""
    if not custom.entries:
        yield _NONE
    for entry in custom.entries:
        if entry.check is None:
            continue
        if entry.deliberate and entry.check.verdict == "fail":
            yield Fault(
                where=entry.name,
                summary=f"the backward pass of {entry.name} is not the derivative of its forward pass, as it seems on purpose: {entry.deliberate}",
                quantity="relative error of the gradient, |analytic - numerical| / (|analytic| + |numerical|)",
                measured=entry.check.relative_error,
                why="a surrogate cannot be checked by differences: only its author knows what it should be",
                fix="nothing, when it is meant",
            )
        elif entry.check.verdict == "inconclusive" or _unresolved(entry.check, limits):
            yield Fault(
                where=entry.name,
                summary=f"the backward pass of {entry.name} could not be told right from wrong: {entry.check.detail}",
                quantity="smallest relative error that would have been seen",
                measured=entry.check.resolution,
                limit=limits.gradient_resolution,
                why="a wrong gradient below this size goes unseen",
                fix="check it by itself on other inputs, in float64 where its code permits that",
            )


def unchecked_custom_backward(custom: CustomBackwards, limits: Limits) -> Iterator[Judgement]:
    """A hand-written backward pass that was found and could not be checked."""
    if not custom.entries:
        yield _NONE
    for entry in custom.entries:
        if entry.check is None:
            yield Fault(
                where=entry.name,
                summary=f"{entry.name} has a backward pass of its own that was not checked: {entry.reason}",
                quantity="custom backward passes",
                measured=1.0,
                limit=0.0,
                why="a hand-written backward pass is where quietly wrong gradients come from",
                fix=f"check it alone: wellposed.check_gradients({entry.name}.apply, *inputs)",
            )


def _unresolved(check: GradientCheck, limits: Limits) -> bool:
    return check.verdict == "pass" and check.resolution > limits.gradient_resolution


def _what(check: GradientCheck) -> str:
    cause = f"{check.cause}; " if check.cause else ""
    return f"{cause}{check.detail}"
