"""What a gradient check found."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import Literal

Verdict = Literal["pass", "fail", "inconclusive"]

_WIDTH = 80
_TENSORS_SHOWN = 8


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
    cause: str | None = None
    flat: bool = False
    """The function did not change by a single bit when this tensor moved."""


@dataclass(frozen=True, kw_only=True)
class WorstElement:
    """The element of the gradient that is furthest off, as far as the search saw."""

    name: str
    index: tuple[int, ...]
    analytic: float
    numerical: float


@dataclass(frozen=True, kw_only=True)
class GradientCheck:
    """Whether a backward pass is the derivative of its forward pass; true only when it passed."""

    verdict: Verdict
    relative_error: float
    """Ng's number, ``|g - n| / (|g| + |n|)`` over all tensors: exact below 257 elements of a failing check, else from random directions."""
    resolution: float
    """Smallest error, relative to a tensor's gradient norm, that this run would have seen."""
    cause: str | None
    """The bug by name where it could be named, else None: see `check_gradients`."""
    detail: str
    tensors: tuple[TensorCheck, ...]
    worst: WorstElement | None
    n_forward: int
    n_backward: int
    precision: str
    """What the check computed in: ``"float64"``, ``"float64 replay of float32"``, ``"float32"``, ..."""
    seed: int

    def __bool__(self) -> bool:
        return self.verdict == "pass"

    @property
    def failed(self) -> tuple[TensorCheck, ...]:
        return tuple(t for t in self.tensors if t.verdict == "fail")

    def __str__(self) -> str:
        heads = {"pass": "PASS", "fail": "FAIL", "inconclusive": "INCONCLUSIVE"}
        lines = [
            f"{heads[self.verdict]}  gradients of {_count(len(self.tensors), 'tensor')}, {self.precision}"
        ]
        lines += [
            f"  relative error {self.relative_error:.2g}   an error of {self.resolution:.1g} would have been seen"
        ]
        if self.cause:
            lines.append(f"  cause  {self.cause}")
        if self.detail:
            lines += wrap(self.detail, _WIDTH, initial_indent="  ", subsequent_indent="  ")
        if self.worst:
            worst = f"worst  {self.worst.name}{list(self.worst.index) if self.worst.index else ''}"
            values = f"analytic {self.worst.analytic:.6g}, numerical {self.worst.numerical:.6g}"
            lines += wrap(f"{worst}  {values}", _WIDTH, initial_indent="  ", subsequent_indent="         ")
        lines += self._table()
        lines.append(f"  {self.n_forward} forward, {self.n_backward} backward, seed {self.seed}")
        return "\n".join(lines)

    def _table(self) -> list[str]:
        if self.verdict == "pass":
            return []
        order = {"fail": 0, "inconclusive": 1, "pass": 2}
        rows = sorted(self.tensors, key=lambda t: order[t.verdict])
        lines = [
            f"  {t.verdict:<12}  {_shortened(t.name, 34):<34}  error {t.error:<8.1e} {t.cause or ''}".rstrip()
            for t in rows[:_TENSORS_SHOWN]
        ]
        if len(rows) > _TENSORS_SHOWN:
            lines.append(f"  ... and {_count(len(rows) - _TENSORS_SHOWN, 'tensor')} more")
        return lines


@dataclass(frozen=True, kw_only=True)
class CustomBackward:
    """One hand-written ``autograd.Function`` that a run went through."""

    name: str
    check: GradientCheck | None
    """None when it could not be checked; `reason` says why."""
    reason: str = ""
    deliberate: str = ""
    """Why a mismatch looks meant, as of a straight-through estimator; empty when it does not."""


@dataclass(frozen=True, kw_only=True)
class CustomBackwards:
    """Every hand-written ``autograd.Function`` in the graph of one loss; empty when there are none."""

    entries: tuple[CustomBackward, ...] = ()

    def __str__(self) -> str:
        return (
            "\n".join(f"{e.name}: {e.check.verdict if e.check else e.reason}" for e in self.entries)
            or "no custom backward"
        )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else "..." + name[3 - width :]
