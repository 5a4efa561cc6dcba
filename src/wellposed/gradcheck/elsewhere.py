"""Whether a gradient that is right at the given point is still right a little way off, and when it is asked for again.

A backward pass that uses what an earlier call left behind is right wherever it is first called. So after a pass it is called
once more at another point, and tried along one direction there; only what that flags is checked in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import WellposedError
from .cause import Cause
from .directions import Direction
from .examine import Outcome, examine_all
from .objective import Objective
from .probe import FLAG, Prober, Reading

AWAY = 0.1
"""How far off, relative to each tensor's own size."""
NEARER = 10.0
"""How much nearer the error is looked at again: that of a stale gradient shrinks with the distance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Elsewhere:
    """A point where the gradient is wrong, although it is right at the given one."""

    prober: Prober
    outcomes: Mapping[int, Outcome]
    cause: Cause | None


def wrong_elsewhere(prober: Prober, *, resolution: float) -> Elsewhere | None:
    """None where the gradient is right there too, or where that cannot be told."""
    step, direction = prober.good_step, prober.fresh(prober.everything)
    if step is None:
        return None
    away = _moved(prober, direction, AWAY)
    if away is None:
        return None
    first = _reading(prober, away, step)
    if not first.flagged:
        return None
    beside = Prober(away, seed=prober.seed)
    outcomes = examine_all(beside, resolution=resolution, stop_at_kink=True)
    if not any(o.verdict == "fail" for o in outcomes.values()):
        return None
    return Elsewhere(prober=beside, outcomes=outcomes, cause=_cause(prober, direction, first))


def stuck(prober: Prober, readings: Mapping[int, Reading]) -> dict[int, Cause]:
    """Of tensors with a wrong gradient, those whose gradient stays the same to the bit where that of f changes.

    `readings` holds for each tensor the one that accused it.
    """
    away = _moved(prober, prober.fresh(prober.everything), AWAY)
    if away is None:
        return {}
    there = prober.at_other(away)
    found = {}
    for i, accused in readings.items():
        ours = prober.objective.gradient(i)
        if not np.any(ours) or not np.array_equal(ours, away.gradient(i)):
            continue
        direction = prober.fresh((i,))
        a, b = prober.read_pair(direction, accused.step), there.read_pair(direction, accused.step)
        if abs(a.numerical - b.numerical) > FLAG * (a.bar + b.bar):
            found[i] = Cause(
                name="stale",
                detail=f"{AWAY:.0%} from here f has another gradient, and the analytic one is the same to the bit: it was computed earlier",
            )
    return found


def _moved(
    prober: Prober, direction: Direction | None, step: float, *, afresh: bool = False
) -> Objective | None:
    try:
        return prober.objective.moved(direction, step, afresh=afresh)
    except WellposedError:  # F or its gradient is not finite there
        return None


def _same_claim(a: Objective, b: Objective) -> bool:
    return all(np.array_equal(a.gradient(i), b.gradient(i)) for i in range(len(a.shapes)))


def _reading(prober: Prober, at: Objective, step: float) -> Reading:
    other = prober.at_other(at)
    return other.read_pair(other.fresh(other.everything), step)


def _cause(prober: Prober, direction: Direction, first: Reading) -> Cause | None:
    """Why it is wrong there: every call adds to the last, or it is the gradient of an earlier point."""
    again = _moved(prober, None, 0.0)
    if again is not None and not _same_claim(prober.objective, again):
        return Cause(
            name="accumulate",
            detail="asked for again at the same point, it gives another gradient: what it writes into is not cleared before each call",
        )
    fresh, away = _moved(prober, direction, AWAY, afresh=True), _moved(prober, direction, AWAY)
    if fresh and away and _same_claim(fresh, away):
        return None  # nothing was kept: it is wrong there whatever was called before
    near = _moved(prober, direction, AWAY / NEARER)
    if near is None or prober.good_step is None:
        return None
    shrunk = abs(first.error) / max(abs(_reading(prober, near, prober.good_step).error), 1e-300)
    if shrunk < NEARER / 4:
        return None  # it jumps up somewhere in between, as where another branch is wrong
    return Cause(
        name="stale",
        detail="right where it is first asked for, and the further from there the more wrong: it uses what that first call saved",
    )
