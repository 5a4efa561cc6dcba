"""WP4xx: hand-written backward passes and gradient hooks. Reads what `check_custom_functions` measured."""

from __future__ import annotations

from collections.abc import Iterator

from ..gradcheck.result import CustomBackward, CustomBackwards, GradientCheck, GradientHook, LossGradient
from ..limits import Limits
from ..report import Severity
from .table import Defect, Judgement, NoVerdict

_NONE = NoVerdict(reason="no custom backward", outcome="not applicable")
_NG = "relative error of the gradient, |analytic - numerical| / (|analytic| + |numerical|)"


def gradient_mismatch(custom: CustomBackwards, limits: Limits) -> Iterator[Judgement]:
    """A hand-written backward pass that is not the derivative of its forward pass, beyond the error bars."""
    if not custom.entries:
        yield _NONE
    elif all(entry.check is None for entry in custom.entries):
        yield NoVerdict(reason="no custom backward could be checked")
    for entry in custom.entries:
        if entry.check is None:
            continue
        if entry.strayed:
            yield _stale(entry, limits)
        elif entry.check.verdict == "fail" and not entry.deliberate:
            yield (_elsewhere if entry.elsewhere else _wrong)(entry, entry.check, limits)


def _wrong(entry: CustomBackward, check: GradientCheck, limits: Limits) -> Defect:
    return Defect(
        where=entry.where,
        summary=f"the backward pass of {entry.name} is not the derivative of its forward pass: {_what(entry, check)}",
        quantity=_NG,
        measured=check.relative_error,
        limit=limits.gradient_resolution,
        why="the optimizer follows this gradient, and it does not point where the loss falls",
        fix=f"mend {entry.name}.backward, then {_alone(entry)}",
        confidence="confirmed",
    )


def _stale(entry: CustomBackward, limits: Limits) -> Defect:
    return Defect(
        where=entry.where,
        summary=f"the backward pass of {entry.name} is right by itself, and in the model it returned a gradient that is "
        f"{entry.strayed:.0%} off: what it keeps for the backward pass is overwritten by another call",
        quantity="distance between the gradient that the model got and the one of the same call by itself, relative to the latter",
        measured=entry.strayed,
        limit=limits.gradient_resolution,
        why="the optimizer follows a gradient that belongs to another call",
        fix=f"keep what {entry.name}.backward needs in ctx (ctx.save_for_backward), and not on the class, in a global or in a buffer that is reused",
        confidence="confirmed",
    )


def _elsewhere(entry: CustomBackward, check: GradientCheck, limits: Limits) -> Defect:
    return Defect(
        where=entry.where,
        summary=f"the backward pass of {entry.name} is right for the gradient that this loss sends it, and wrong for another: "
        f"{_what(entry, check)}",
        quantity=_NG,
        measured=check.relative_error,
        limit=limits.gradient_resolution,
        why="with another loss, reduction or weighting of the samples the optimizer will follow a wrong gradient",
        fix=f"let {entry.name}.backward use the grad_output that it is given, then {_alone(entry)}",
        confidence="confirmed",
        severity=Severity.WARNING,
    )


def gradient_inconclusive(custom: CustomBackwards, limits: Limits) -> Iterator[Judgement]:
    """Gradients that are another thing than a derivative on purpose, as by a surrogate or a hook; and those not told right from wrong."""
    if not custom.entries and not custom.hooks:
        yield _NONE
    for entry in custom.entries:
        if entry.check is None:
            continue
        if entry.deliberate:
            yield Defect(
                where=entry.where,
                summary=f"the backward pass of {entry.name} is not the derivative of its forward pass, as it seems on purpose: {entry.deliberate}",
                quantity=_NG,
                measured=entry.check.relative_error,
                why="a surrogate cannot be checked by differences: only its author knows what it should be",
                fix="nothing, when it is meant",
            )
        elif entry.check.verdict == "inconclusive" or _unresolved(entry.check, limits):
            yield Defect(
                where=entry.where,
                summary=f"the backward pass of {entry.name} could not be told right from wrong: {entry.check.detail}",
                quantity="smallest relative error that would have been seen",
                measured=entry.check.resolution,
                limit=limits.gradient_resolution,
                why="a wrong gradient below this size goes unseen",
                fix="check it by itself on other inputs, in float64 where its code permits that",
            )
    yield from map(_hooked, custom.hooks)


def _hooked(hook: GradientHook) -> Defect:
    others = "" if hook.places == 1 else f" and {hook.places - 1} more alike"
    return Defect(
        where=hook.where,
        summary=f"a hook ({hook.hook}) changes {hook.kind} {hook.where}{others}: it {hook.words}",
        quantity="relative change of the gradient, |after - before| / |before|",
        measured=hook.relative,
        why="what the optimizer gets is not the gradient of the loss any more",
        fix="nothing, when it is meant; else remove the hook",
    )


def unchecked_custom_backward(custom: CustomBackwards, limits: Limits) -> Iterator[Judgement]:
    """A hand-written backward pass that was found and could not be checked."""
    if not custom.entries:
        yield _NONE
    for entry in custom.entries:
        if entry.check is None or entry.left:
            unchecked = entry.calls - entry.checked
            yield Defect(
                where=entry.where,
                summary=f"{entry.name} has a backward pass of its own that was not checked: {entry.reason}"
                if entry.check is None
                else f"not every call of {entry.name} that may differ was checked: {entry.left}",
                quantity="calls of the custom backward pass that were not checked",
                measured=float(unchecked),
                limit=0.0,
                why="a hand-written backward pass is where quietly wrong gradients come from",
                fix=_alone(entry),
            )


def _unresolved(check: GradientCheck, limits: Limits) -> bool:
    return check.verdict == "pass" and check.resolution > limits.gradient_resolution


def _what(entry: CustomBackward, check: GradientCheck) -> str:
    """The named bug, where it holds and the worst element."""
    worst = check.worst
    element = "" if worst is None else f"{worst.name}{list(worst.index) if worst.index else ''}"
    values = (
        ""
        if worst is None
        else f"at {element} it gives {worst.analytic:.4g}, and differences {worst.numerical:.4g}"
    )
    return "; ".join(filter(None, (check.cause, entry.note, check.detail, values)))


def _alone(entry: CustomBackward) -> str:
    given = f"; here it got {entry.given}" if entry.given else ""
    return f"check it alone with wellposed.check_gradients({entry.name}.apply, *inputs){given}"


def loss_gradient(gradient: LossGradient, limits: Limits) -> Iterator[Judgement]:
    """A loss whose gradient is not its derivative: a part of it is cut off, on purpose or not."""
    if gradient.verdict == "inconclusive":
        yield NoVerdict(reason="the gradient drowns in the rounding of the loss, or has a kink at this point")
    check = gradient.check
    if check is None:
        return
    worst = check.worst
    there = (
        ""
        if worst is None
        else f": at {worst.place} {worst.analytic:.3g}, by differences {worst.numerical:.3g}"
    )
    yield Defect(
        where="loss" if worst is None else worst.name,
        summary=f"the gradient is not the derivative of the loss{there}",
        quantity=_NG,
        measured=check.relative_error,
        limit=limits.gradient_resolution,
        why=_WHY_CUT[gradient.cut],
        fix=_MENDS_CUT[gradient.cut],
        confidence="measured" if gradient.cut is None else "confirmed",
        severity=Severity.NOTE if gradient.cut == "detached" else None,
    )


_WHY_CUT = {
    "create-graph": "torch.autograd.grad gives a gradient that the loss depends on, without a graph of its own: it shows in the loss and moves nothing",
    "detached": "a detach, .data, no_grad or a gradient fed back into the model cuts off a part of the loss, as target networks, straight-through estimators and adversarial inputs do",
    None: "a part of the loss goes through what autograd does not follow, as .item() or NumPy, or a loss function gets what it does not expect",
}
_MENDS_CUT = {
    "create-graph": "call torch.autograd.grad(..., create_graph=True) where its result goes into the loss",
    "detached": "nothing, when it is meant",
    None: "keep tensors where .item(), float() or numpy() make numbers of them; give ctc_loss log-probabilities; until wp.check_gradients(problem) passes",
}
