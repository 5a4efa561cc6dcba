"""What a gradient check found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..shown import Shown

Verdict = Literal["pass", "fail", "inconclusive"]
ReasonCode = Literal[
    "second-order",  # what follows is about the gradient of the gradient
    "wrong-tensors",
    "cause",
    "not-finite",
    "unresolved",
    "outputs-change",
    "random-function",  # F differs from evaluation to evaluation
    "random-backward",  # the gradient does
    "kink",
    "jump",
    "other-point",  # right at the given point, and wrong at another
    "hidden-state",
    "quantised",  # F is rounded more coarsely inside than its dtype says
    "constant",  # F does not change
    "zero-gradients",
    "negligible",
    "own-precision",
    "not-checked",
]
CauseName = Literal[
    "sign-flipped",
    "scaled",  # wrong by a factor
    "missing-mean",  # by the number of rows: a forgotten 1/m
    "zero",
    "transposed",
    "permuted",  # the right numbers in the wrong places
    "missing-term",
    "missing-l2",  # weight decay is part of F, and not of the gradient
    "low-precision",  # rounded on its way to fewer digits
    "sparse",  # a few elements
    "accumulate",  # overwritten where it should be summed, or added to what an earlier call left
    "stale",  # computed from what an earlier call saved
    "mask",  # wrong where a condition holds, or for some samples
    "not-finite",
]
"""The bugs that a check can name."""


class OutputsChangedError(ArgumentError):
    """The number, the shapes or the dtypes of what f returns depend on the values of its inputs."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One statement about a check: a code for programs, and the text that `GradientCheck.detail` holds."""

    code: ReasonCode
    text: str


def detail_of(reasons: Sequence[Reason]) -> str:
    """The texts of the reasons, joined."""
    heads = [r.text for r in reasons if r.code == "second-order"]
    rest = "; ".join(r.text for r in reasons if r.code != "second-order" and r.text)
    return ": ".join(filter(None, (*heads, rest)))


@dataclass(frozen=True, slots=True)
class Sample:
    """F at one moved point."""

    value: float
    """F there; not finite where F is not."""
    claimed_change: float
    """The change of F that the claimed gradient predicts for the move after rounding: ``<g, x_moved - x>``, in float64."""
    parts: tuple[NDArray[np.float64], ...] = ()
    """F split along the first axis of the outputs, and along their second: each adds up to `value`. Empty where the outputs have none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Undefined:
    """Elements of a claimed gradient that are NaN or infinite where F is finite; a zero stands in their place."""

    tensor: int
    elements: NDArray[np.int64]
    """Numbers of the elements in the flat gradient."""
    values: NDArray[np.float64]

    @classmethod
    def among(cls, tensor: int, gradient: NDArray[np.float64]) -> Undefined | None:
        """Those of one gradient; None where all of it is finite."""
        elements = np.flatnonzero(~np.isfinite(gradient))
        if not elements.size:
            return None
        return cls(tensor=tensor, elements=elements, values=np.asarray(gradient).reshape(-1)[elements])


@dataclass(frozen=True, kw_only=True)
class TensorCheck:
    """The verdict on the gradient of one tensor. Errors are relative to the norm of that gradient unless said otherwise."""

    name: str
    verdict: Verdict
    error: float
    """Ng's number for this tensor, ``|g - n| / (|g| + |n|)`` with g the analytic and n the numerical gradient, from random directions; nan
    when the tensor was not looked at."""
    bar: float
    """Standard uncertainty of `error`."""
    resolution: float
    """Smallest relative error that would have been seen; for a gradient of zero, relative to the largest tensor's."""
    cause: CauseName | None = None
    flat: bool = False
    """The function did not change by a single bit when this tensor moved."""


@dataclass(frozen=True, kw_only=True)
class WorstElement:
    """The element of the gradient that is furthest off, as far as the search saw."""

    name: str
    index: tuple[int, ...]
    analytic: float
    numerical: float
    bar: float = float("nan")
    """Half-width around `numerical` within which the derivative lies; a claim outside of it counts as wrong."""

    @property
    def place(self) -> str:
        """``W1[12, 8]``."""
        return self.name + (f"[{', '.join(map(str, self.index))}]" if self.index else "")


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientCheck(Shown):
    """Whether a backward pass is the derivative of its forward pass; true only when it passed."""

    verdict: Verdict
    relative_error: float
    """Ng's number, ``|g - n| / (|g| + |n|)`` over all tensors: exact below 101 elements of a failing check, else from random directions."""
    resolution: float
    """Smallest error, relative to a tensor's gradient norm, that this run would have seen."""
    cause: CauseName | None
    """The bug by name where it could be named, else None: see `check_gradients`."""
    detail: str
    tensors: tuple[TensorCheck, ...]
    worst: WorstElement | None
    n_forward: int
    n_backward: int
    precision: str
    """What the check computed in: ``"float64"``, ``"float64 replay of float32"``, ``"float32"``, ..."""
    seed: int
    where: str = ""
    """The smallest slice that holds the whole error, as ``W1[3, :]``, ``b1`` or ``x[-1, :, 0:4]``; empty unless it failed."""
    confidence: float = 0.99
    """The chance with which an error of the size of `resolution` shows along the random directions; larger errors show more surely."""
    mode: str = "reverse"
    """``"reverse"``, ``"forward"`` or ``"forward-reverse"``: which derivatives were checked."""
    order: int = 1
    """2 when the gradient of the gradient was checked too."""
    low_precision_error: float | None = None
    """Where code of a lower precision was replayed in float64: how far the gradient that training would use lies from the one in float64,
    relative to it, for the worst tensor."""
    reasons: tuple[Reason, ...] = ()
    """What `detail` says, statement by statement, with codes; empty for a check that was put together by hand."""

    def with_reasons(self, *reasons: Reason, **changes: Any) -> GradientCheck:
        """The same check with these reasons, and the detail that they make."""
        return replace(self, reasons=reasons, detail=detail_of(reasons), **changes)

    def __bool__(self) -> bool:
        return self.verdict == "pass"

    @property
    def failed(self) -> tuple[TensorCheck, ...]:
        return tuple(t for t in self.tensors if t.verdict == "fail")

    def __repr__(self) -> str:
        """One line: what a failed assertion shows of it."""
        where = self.where or (self.worst.name if self.worst else "")
        said = " ".join(filter(None, (where, self.cause)))
        return (
            f"<GradientCheck {self.verdict}{': ' if said else ''}{said}; relative error {self.relative_error:.2g}, "
            f"resolution {self.resolution:.2g}>"
        )


@dataclass(frozen=True, kw_only=True)
class CustomBackward:
    """One hand-written ``autograd.Function`` that a run went through, and its worst call."""

    name: str
    check: GradientCheck | None
    """None when it could not be checked; `reason` says why."""
    reason: str = ""
    deliberate: str = ""
    """Why a mismatch looks meant, as of a straight-through estimator; empty when it does not."""
    module: str = ""
    """Dotted name of the module that this call ran in; empty outside of any."""
    given: str = ""
    """Its arguments in words: ``"x float32[96, 32], power 2"``."""
    note: str = ""
    """What was found beside the check itself, as that only gradients of certain strides come out wrong."""
    elsewhere: bool = False
    """The gradient that flowed here came out right, and another one did not."""
    strayed: float = 0.0
    """How far the gradient that it returned in the model lies from the one that the same call gives by itself, relative to that; 0 unless it
    counts."""
    calls: int = 1
    """How often the Function ran with a gradient coming back."""
    checked: int = 1
    """How many of these calls were checked."""
    left: str = ""
    """Which calls were left unchecked though they may differ, and why; empty when none."""

    @property
    def where(self) -> str:
        return f"{self.module}: {self.name}" if self.module else self.name


@dataclass(frozen=True, kw_only=True)
class GradientHook:
    """A hook that changed the gradient it was shown."""

    hook: str
    """Its name and the line that it is written on."""
    where: str
    """Dotted name of the parameter or module that it hangs on."""
    kind: str
    """Of what it changes the gradient: ``"the gradient of"`` a parameter, ``"the gradient of the inputs of"`` a module, ..."""
    words: str
    """What it does: ``"multiplies it by 0.5"``."""
    relative: float
    """|after - before| / |before|, the largest that was seen."""
    places: int = 1
    """On how many parameters, tensors or modules the same code did so."""


Cut = Literal["create-graph", "detached"]
"""What cuts a gradient off: one that goes into the loss without a graph of its own; or what is written on purpose, as a detach, or
a gradient that goes back into the model."""


@dataclass(frozen=True, kw_only=True)
class LossGradient:
    """Whether the gradient of a training problem's loss is its derivative."""

    verdict: Verdict
    check: GradientCheck | None = None
    """What `wp.check_gradients` found, where it failed."""
    cut: Cut | None = None
    """Without it the gradient would be right; None where that was not found."""

    def __str__(self) -> str:
        return self.verdict if self.check is None else str(self.check)


@dataclass(frozen=True, kw_only=True)
class CustomBackwards:
    """Every hand-written ``autograd.Function`` and gradient hook that one loss goes through; empty when there are none."""

    entries: tuple[CustomBackward, ...] = ()
    hooks: tuple[GradientHook, ...] = ()
    """The hooks that changed a gradient; those that only look are not told."""

    def __str__(self) -> str:
        lines = [f"{e.where}: {e.check.verdict if e.check else e.reason}" for e in self.entries]
        lines += [f"{h.where}: a hook ({h.hook}) {h.words}" for h in self.hooks]
        return "\n".join(lines) or "no custom backward"
