"""One check of one case, with or without a bug: what it said, and what it should have said."""

from __future__ import annotations

import json
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.autograd.gradcheck import GradcheckError

import wellposed as wp

from .opinfo_cases import Case, first_line
from .opinfo_mutants import Planted

MODES = ("replay", "native", "cast")
"""The code runs in float64 as well; it exists in its own precision only; it takes float64 and computes in its own precision inside."""
LIMIT = 20
"""Seconds of CPU time for one check."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One row of the results."""

    op: str
    sample: int
    seed: int
    dtype: str
    mode: str
    bug: str
    """Empty for the correct operation."""
    verdict: str
    """Of the check, or "refused", "timeout", "crash"; of torch's gradcheck, "pass", "fail" or "crash"."""
    detail: str
    seconds: float
    resolution: float = float("nan")
    cause: str | None = None
    n_forward: int = 0
    planted: tuple[float, ...] = ()
    """For each input, the size of the bug in the unit of the resolution: see `Planted.errors`."""
    norms: tuple[float, ...] = ()
    seen: tuple[float, ...] = ()
    """For each input, the resolution that the check stated."""

    @property
    def unseen(self) -> float:
        """How many times larger than the stated resolution the largest bug of a passing check is; a silent pass is above 1."""
        if self.verdict != "pass" or not self.bug:
            return 0.0
        stated = self.seen if len(self.seen) == len(self.planted) else (self.resolution,) * len(self.planted)
        return max((p / max(s, 1e-300) for p, s in zip(self.planted, stated, strict=True) if p), default=0.0)

    def line(self) -> str:
        return json.dumps(asdict(self))


class _OutOfTimeError(BaseException):
    """Not an Exception, so that no check takes it for the user's."""


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _OutOfTimeError

    # The process's own time: what else the machine does must not decide a verdict.
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def in_mode(function: Callable[..., Any], dtype: torch.dtype, mode: str) -> Callable[..., Any]:
    """The function as code that runs in float64 too, that refuses it, or that quietly computes in `dtype`."""
    if mode == "native":

        def refusing(*inputs: torch.Tensor) -> Any:
            for x in inputs:
                if x.dtype is not dtype:
                    raise TypeError(f"this kernel takes {dtype}, not {x.dtype}")
            return function(*inputs)

        return refusing
    if mode == "cast":

        def casting(*inputs: torch.Tensor) -> Any:
            return tuple(y.to(inputs[0].dtype) for y in function(*(x.to(dtype) for x in inputs)))

        return casting
    return function


def check(case: Case, *, mode: str, planted: Planted | None) -> Trial:
    """What wellposed says of a case."""
    function = in_mode(planted or case.function, case.dtype, mode)
    begun = time.perf_counter()
    found: Any = None
    try:
        with warnings.catch_warnings(), time_limit(LIMIT):
            warnings.simplefilter("ignore")
            found = wp.check_gradients(function, *case.inputs, seed=case.seed)
        verdict, detail = found.verdict, found.detail
    except _OutOfTimeError:
        verdict, detail = "timeout", f"over {LIMIT} s"
    except wp.WellposedError as error:
        verdict, detail = "refused", first_line(error)
    except Exception as error:
        verdict, detail = "crash", f"{type(error).__name__}: {first_line(error)}"
    n = len(case.inputs)
    return Trial(
        **_which(case),
        mode=mode,
        bug=planted.kind if planted else "",
        verdict=verdict,
        detail=detail,
        seconds=time.perf_counter() - begun,
        resolution=found.resolution if found is not None else float("nan"),
        cause=found.cause if found is not None else None,
        n_forward=found.n_forward if found is not None else 0,
        planted=tuple(planted.errors(case.inputs, _size(case))) if planted else (),
        norms=tuple(planted.norms(n)) if planted else (),
        seen=tuple(t.resolution for t in found.tensors) if found is not None else (),
    )


def torch_check(case: Case, *, fast: bool, planted: Planted | None) -> Trial:
    """What torch's gradcheck says of it with its default tolerances."""
    begun = time.perf_counter()
    detail = ""
    try:
        with warnings.catch_warnings(), time_limit(LIMIT):
            warnings.simplefilter("ignore")
            torch.autograd.gradcheck(
                planted or case.function,
                case.inputs,
                fast_mode=fast,
                nondet_tol=case.nondeterminism,
                check_undefined_grad=False,
            )
        verdict = "pass"
    except _OutOfTimeError:
        verdict = "timeout"
    except GradcheckError as error:
        verdict, detail = "fail", first_line(error)
    except Exception as error:
        verdict, detail = "crash", f"{type(error).__name__}: {first_line(error)}"
    return Trial(
        **_which(case),
        mode="torch fast" if fast else "torch",
        bug=planted.kind if planted else "",
        verdict=verdict,
        detail=detail,
        seconds=time.perf_counter() - begun,
        planted=tuple(planted.errors(case.inputs, _size(case))) if planted else (),
    )


def _which(case: Case) -> dict[str, Any]:
    return {
        "op": case.op,
        "sample": case.sample,
        "seed": case.seed,
        "dtype": str(case.dtype).removeprefix("torch."),
    }


def _size(case: Case) -> float:
    """About what a random weighting of the outputs adds up to."""
    with torch.no_grad():
        outputs = case.function(*(x.detach().clone() for x in case.inputs))
    return float(sum(float(y.double().square().sum()) for y in outputs) ** 0.5)
