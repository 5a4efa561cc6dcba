"""How much of each measurement a check takes, chosen by what one training step of the problem costs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .arguments import number
from .choices import BUDGETS
from .runtime.model_trace import ModelTrace
from .signals._measure import STEPS, TRACED_BATCHES


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often the model is run for each question."""

    name: str
    steps: int
    """Of each short training."""
    traced: int
    """Batches that the model is traced on, before and after the steps."""
    held_out: int
    """Batches that the short trainings are judged by."""
    dropout_draws: int
    settling_passes: int
    """Passes in which running statistics settle, before train and eval mode are compared."""
    settling_batches: int
    """Batches of each such pass."""
    searched: int
    """Forward passes that look for the largest stable rate."""
    cost: int
    """Of the whole check, in training steps of the problem, about: what `benchmarks.check_cost` shows."""


FULL = Plan(
    name="thorough", steps=STEPS, traced=TRACED_BATCHES, held_out=4, dropout_draws=8, settling_passes=10, settling_batches=8, searched=8,
    cost=75,
)  # fmt: skip
"""What the limits of the rules are calibrated with."""
LEAN = Plan(
    name="normal", steps=10, traced=1, held_out=2, dropout_draws=3, settling_passes=2, settling_batches=2, searched=6,
    cost=30,
)  # fmt: skip
QUICK = Plan(
    name="quick", steps=3, traced=1, held_out=1, dropout_draws=3, settling_passes=1, settling_batches=1, searched=0,
    cost=20,
)  # fmt: skip

_WORTH_TELLING = 2.0  # seconds

CHEAP_STEP = 0.01
"""Nominal seconds of a step up to which a normal check is a full one: it takes about a second then."""

# A nominal machine, so that a plan depends on the problem alone and not on how busy the machine is.
_OPERATIONS_PER_SECOND = 3e10
_NUMBERS_PER_SECOND = 3e8
_SECONDS_PER_CALL = 5e-5
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_RECURRENT_GATES = 8
_FORWARD_AND_BACKWARD = 3
"""A step multiplies by each weight once forward and twice backward."""


@dataclass(frozen=True)
class StepCost:
    """What one training step costs."""

    nominal: float
    """Seconds on a nominal machine, told from the operations of one trace."""
    measured: float
    """Seconds on this machine."""


class Stages:
    """Tells each stage as it begins, and how long all is still going to take, once that can be said."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._ends: float | None = None

    def expect(self, seconds: float) -> None:
        self._ends = time.perf_counter() + seconds

    def __call__(self, stage: str) -> None:
        left = 0.0 if self._ends is None else self._ends - time.perf_counter()
        self._tell(f"{stage} (about {left:.0f} s left)" if left >= _WORTH_TELLING else stage)


def nominal_seconds(trace: ModelTrace, shapes: Mapping[str, Sequence[int]]) -> float:
    """Of one training step on the traced batch: products with weights, numbers written, and calls.

    Parameters
    ----------
    shapes
        Of the parameters, by name.
    """
    products = 0.0
    for key, operation in trace.operations.items():
        weights = [shapes[name] for name in operation.parameters if len(shapes[name]) > 1]
        if weights and key.name != "embedding":
            products += operation.output.count * sum(math.prod(shape[1:]) for shape in weights)
    written = sum(math.prod(shape) for shape in shapes.values())
    return _FORWARD_AND_BACKWARD * (
        2 * products / _OPERATIONS_PER_SECOND
        + (numbers_written(trace) + written) / _NUMBERS_PER_SECOND
        + len(trace.operations) * _SECONDS_PER_CALL
    )


def numbers_written(trace: ModelTrace) -> float:
    """By all operations of a trace, about: recurrent layers write their gates too."""
    return sum(
        operation.output.count * (_RECURRENT_GATES if key.name in _RECURRENT else 1)
        for key, operation in trace.operations.items()
    )


def checked(budget: Any) -> str | float:
    """A budget as it was given, or seconds; raises where it is neither.

    Examples
    --------
    >>> checked("normal"), checked("60s"), checked(60)
    ('normal', 60.0, 60.0)
    """
    if isinstance(budget, str) and budget in BUDGETS:
        return budget
    seconds = budget
    if isinstance(budget, str):
        with suppress(ValueError):
            seconds = float(budget.strip().removesuffix("s"))
    return number(seconds, "budget", above=0, expected=f"one of {', '.join(BUDGETS)}, or seconds above 0")


def plan_for(budget: str | float, step: StepCost) -> Plan:
    """The largest plan that a budget allows."""
    if isinstance(budget, str):
        normal = FULL if step.nominal <= CHEAP_STEP else LEAN
        return {"quick": QUICK, "normal": normal, "thorough": FULL}[budget]
    return next((plan for plan in (FULL, LEAN) if plan.cost * step.measured <= budget), QUICK)
