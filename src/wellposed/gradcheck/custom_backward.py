"""Public entry point: `check_custom_functions`, which checks each hand-written backward pass of a loss on its actual inputs and gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import WellposedError
from ..lazy import lazy
from ._check_gradients import PASS_RESOLUTION, check_gradients
from .result import CustomBackward, CustomBackwards, GradientCheck, GradientHook

torch_custom_functions = lazy("wellposed.gradcheck.torch.custom_functions")
torch_intended = lazy("wellposed.gradcheck.torch.intended")

BUDGET_SECONDS = 30.0
"""What the checks of one loss may take together: about as long as the rest of `wellposed.check`. A call of a millisecond takes a tenth of a
second to check, so this is reached by slow kernels only."""
_ROUNDED = 0.1
"""Largest relative error from rounding a gradient to the coarsest formats in use, with two bits of mantissa."""
_CALLS_A_CHECK = 100
"""Assumed cost of one check in forward calls, before it is known whether it fails."""


def check_custom_functions(
    run: Callable[[], Any],
    *,
    names: Mapping[Any, str] | None = None,
    seed: int = 0,
    budget_seconds: float = BUDGET_SECONDS,
) -> CustomBackwards:
    """Find the hand-written backward passes and gradient hooks in one loss, and check each where it stands.

    A Function is checked on the inputs that it got, first against the very gradient that came back to its outputs (values, zeros and
    strides), then against a random one. Of a Function that is called often a few calls are looked at: for each way of
    calling it the first, the largest and the last.

    Parameters
    ----------
    run
        Computes the loss and returns it, attached to its graph. It is called twice at most (once when nothing is found), each time with one
        backward pass; what it holds is left as it was.
    names
        Dotted names of the modules, to say where a Function ran.
    seed
        As for `check_gradients`.
    budget_seconds
        No check is begun after so long; what is left is told in `CustomBackward.left` and `.reason`.

    Returns
    -------
    CustomBackwards
        One entry a Function, in the order in which they first ran, with its worst call; none when the graph holds only framework
        operations. Beside them the hooks that changed a gradient.

    Examples
    --------
    >>> import torch
    >>> from wellposed.gradcheck import check_custom_functions
    >>> w = torch.ones(3, requires_grad=True)
    >>> check_custom_functions(lambda: (w * w).sum()).entries
    ()
    """
    code = torch_custom_functions.custom_code(run, names)
    clock = _Clock(time.perf_counter() + budget_seconds, budget_seconds)
    outcomes: dict[str, list[CustomBackward]] = {}
    for call in _in_turns(code.calls):
        outcomes.setdefault(call.name, []).append(_outcome(call, clock, seed=seed))
    order = list(dict.fromkeys(call.name for call in code.calls))
    entries = (_summed(outcomes[n], code.counts.get(n, 1), code.unlike.get(n, 0)) for n in order)
    return CustomBackwards(entries=tuple(entries), hooks=_changing(code.hooks))


@dataclass(frozen=True)
class _Clock:
    deadline: float
    budget: float

    def allows(self, seconds: float) -> bool:
        return time.perf_counter() + seconds < self.deadline


def _in_turns(calls: Sequence[Any]) -> list[Any]:
    """The first call of every Function, then the second of every one, so that each is checked at least once before the budget ends."""
    turn: dict[str, int] = {}
    ranked = []
    for call in calls:
        turn[call.name] = turn.get(call.name, -1) + 1
        ranked.append((turn[call.name], call))
    return [call for _, call in sorted(ranked, key=lambda item: item[0])]


def _outcome(call: Any, clock: _Clock, *, seed: int) -> CustomBackward:
    blank = CustomBackward(name=call.name, check=None, module=call.where, checked=0)
    if call.kind is None:
        return replace(blank, reason=call.reason)
    blank = replace(blank, given=call.given)
    if not clock.allows(_CALLS_A_CHECK * call.seconds):
        return replace(
            blank,
            reason=f"a call takes {call.seconds:.2g} s and a check about {_CALLS_A_CHECK} calls, more than is left of {clock.budget:g} s",
        )
    try:
        return replace(_checked(call, blank, seed=seed), checked=1)
    except WellposedError as error:
        return replace(blank, reason=f"it cannot be run by itself: {error}")


def _checked(call: Any, blank: CustomBackward, *, seed: int) -> CustomBackward:
    """The check of one call by itself, and whether its gradient was the same in the model."""
    alone = _checked_alone(call, blank, seed=seed)
    if alone.check is None or alone.check.verdict != "pass" or not call.flows:
        return alone
    try:
        strayed = call.strayed(seed=seed)
    except Exception:  # raised by the user's code: nothing is known
        return alone
    return replace(alone, strayed=strayed) if strayed > PASS_RESOLUTION else alone


def _checked_alone(call: Any, blank: CustomBackward, *, seed: int) -> CustomBackward:
    real = check_gradients(call.with_recorded_upstream(), *call.inputs, seed=seed) if call.flows else None
    if real is not None and real.verdict == "fail" and _exact(real):
        meant = _intended(call, real, seed)
        return replace(blank, check=real, deliberate=meant, note="" if meant else _hint(call, seed))
    other = check_gradients(call.outputs(), *call.inputs, seed=seed)
    right_here = (
        real is None
        or real.verdict == "pass"
        or (other.verdict == "pass" and _carries_over(call, other, seed))
    )
    worse = real if real is not None and not right_here and other.verdict != "fail" else other
    if worse.verdict != "pass":
        meant = _intended(call, worse, seed)
        elsewhere = other.verdict == "fail" and real is not None and right_here and not meant
        note = _ignored(call, seed) if elsewhere else ""
        return replace(blank, check=worse, deliberate=meant, elsewhere=elsewhere, note=note)
    if not call.twice:
        return replace(blank, check=worse)
    return replace(blank, check=check_gradients(call.outputs(), *call.inputs, order=2, seed=seed))


def _exact(check: GradientCheck) -> bool:
    """Whether the check was made in double precision; in less, the rounding of the outputs may look like an error of their sum."""
    return check.precision.startswith("float64")


def _carries_over(call: Any, other: GradientCheck, seed: int) -> bool:
    """Whether a backward pass that is right for a random upstream gradient is right for the recorded one too, because it is linear."""
    nonlinearity = _nonlinearity(call, seed)
    return nonlinearity is not None and nonlinearity <= max(other.resolution, PASS_RESOLUTION)


def _nonlinearity(call: Any, seed: int) -> float | None:
    try:
        return call.nonlinearity(seed=seed)
    except Exception:  # raised by the user's code: nothing is known
        return None


def _intended(call: Any, check: GradientCheck, seed: int) -> str:
    """Why a mismatch looks intended; empty when it does not."""
    reason = torch_intended.reason_intended(call, seed=seed)
    if reason or not call.flows or check.verdict != "fail":
        return reason
    off = 2 * check.relative_error
    nonlinearity = _nonlinearity(call, seed) if off <= _ROUNDED else None
    if nonlinearity is not None and nonlinearity >= off / 2:
        # A backward pass is linear in its gradient, the wrong ones too, unless it rounds.
        return f"its backward pass is off by {off:.2g} and as far from linear in its gradient, as it is where that is rounded on purpose"
    return ""


def _hint(call: Any, seed: int) -> str:
    """What is wrong, if a few more runs show it."""
    return _ignored(call, seed) or _by_strides(call, seed=seed)


def _ignored(call: Any, seed: int) -> str:
    try:
        ignores = call.ignores_gradient(seed=seed)
    except Exception:  # raised by the user's code: nothing is known
        return ""
    return "it does not use the grad_output that it is given" if ignores else ""


def _by_strides(call: Any, *, seed: int) -> str:
    """Which tensors must be contiguous for the gradient to be right, a common bug of kernels; empty where that is not the cause."""
    loose = [(n, x) for n, x in zip(call.names, call.inputs, strict=True) if not x.is_contiguous()]
    strided = [("grad_output", c) for c in call.cotangents if c is not None and not c.is_contiguous()]
    for suspects, where in (
        (strided, (False, True)),
        (loose, (True, False)),
        (loose + strided, (True, True)),
    ):
        if suspects and check_gradients(call.with_recorded_upstream(*where), *call.inputs, seed=seed):
            said = (f"{name} has strides {tuple(t.stride())}" for name, t in suspects)
            return f"only for tensors that are not contiguous: {', '.join(said)}"
    return ""


def _summed(outcomes: Sequence[CustomBackward], calls: int, unlike: int) -> CustomBackward:
    """One entry for all checked calls of a Function: the worst of them."""
    checked = sum(o.checked for o in outcomes)
    worst = min(outcomes, key=_rank)
    left = []
    if worst.check is not None and checked < len(outcomes):
        left.append(next(f"in {o.where}: {o.reason}" for o in outcomes if o.check is None))
    if unlike:
        left.append(f"{unlike} calls with other settings than the ones that were checked")
    return replace(worst, calls=max(calls, len(outcomes)), checked=checked, left="; ".join(left))


def _rank(outcome: CustomBackward) -> int:
    """The order of outcomes, from an error to a pass."""
    check = outcome.check
    if check is None:
        return 4
    if outcome.strayed:
        return 0
    if check.verdict == "fail":
        return 2 if outcome.deliberate else 1 if outcome.elsewhere else 0
    return 3 if check.verdict == "inconclusive" else 5


def _changing(hooks: Sequence[Any]) -> tuple[GradientHook, ...]:
    """The hooks that changed a gradient; one entry for the same code on many tensors."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for hook in hooks:
        if hook.changes:
            groups.setdefault((hook.hook, hook.kind), []).append(hook)
    return tuple(_hook(group) for group in groups.values())


def _hook(group: Sequence[Any]) -> GradientHook:
    first = group[0]
    words = list(dict.fromkeys(change.words for hook in group for change in hook.changes))
    return GradientHook(
        hook=first.hook,
        where=first.where,
        kind=first.kind,
        words=words[0] if len(words) == 1 else _kind_of_change(words),
        relative=max(change.relative for hook in group for change in hook.changes),
        places=len(group),
    )


def _kind_of_change(words: Sequence[str]) -> str:
    """What several changes with different numbers have in common."""
    verbs = {w.split()[0] for w in words}
    usual = {
        "moves": "moves it",
        "multiplies": "multiplies it by a factor",
        "clips": "clips its elements",
        "sets": "sets elements to zero",
    }
    return usual.get(verbs.pop(), "changes it") if len(verbs) == 1 else "changes it"
