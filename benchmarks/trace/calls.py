"""The public calls that only look, each on one case."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import wellposed as wp
from wellposed import errors

from .kind import Case


def _of_function(case: Case) -> Any:
    model = case.problem.model
    return wp.check_gradients(lambda *inputs: model(*inputs), *case.inputs)


CALLS: dict[str, Callable[[Case], Any]] = {
    "check": lambda case: wp.check(case.problem),
    "signals": lambda case: wp.measure_signals(case.problem),
    "fix": lambda case: wp.fix(case.problem),
    "race": lambda case: wp.race(case.problem, case.problem, steps=4, seeds=2),
    "gradients-function": _of_function,
    "gradients-module": lambda case: wp.check_gradients(case.problem.model, *case.inputs),
    "gradients-problem": lambda case: wp.check_gradients(case.problem),
    "normalizer": lambda case: wp.Normalizer.fit(case.problem.train),
}


_warned: list[Warning | str] = []


def listen() -> None:
    """Hear all warnings of this process; it is not undone, since filters are part of what is compared."""
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_, **__: _warned.append(message)


@dataclass(frozen=True)
class Outcome:
    """How a call ended, and what it said of traces.

    Parameters
    ----------
    how
        ``"returned"``, ``"refused"`` (an error of wellposed), ``"interrupted"``, or ``"raised"`` (any other error).
    detail
        The error, in words.
    said
        Sentences about what could not be put back.
    verdict
        What the call found, for comparisons between runs.
    """

    how: str
    detail: str
    said: tuple[str, ...]
    verdict: str = ""


def outcome(call: Callable[[Case], Any], case: Case) -> Outcome:
    """Make the call, and tell how it ended."""
    result: Any = None
    how, detail, errors_said = "returned", "", ()
    _warned.clear()
    try:
        result = call(case)
    except errors.WellposedError as error:
        how, detail, errors_said = "refused", _words(error), (str(error),)
    except KeyboardInterrupt as error:
        how, detail = "interrupted", _words(error)
    except BaseException as error:
        how, detail = "raised", _words(error)
    trace_warning = getattr(errors, "TraceWarning", ())
    warned = tuple(str(warning) for warning in _warned if isinstance(warning, trace_warning))
    return Outcome(how, detail, (*errors_said, *warned, *_traces(result)), _verdict(result))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]


def _traces(result: Any) -> tuple[str, ...]:
    reports = (result, getattr(result, "before", None), getattr(result, "after", None))
    return tuple(sentence for report in reports for sentence in getattr(report, "traces", None) or ())


def _verdict(result: Any) -> str:
    if isinstance(result, wp.Report):
        return repr([(finding.code, finding.where) for finding in result.findings])
    return repr(getattr(result, "verdict", ""))
