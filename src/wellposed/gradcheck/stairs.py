"""Rounding inside F that is coarser than it declares: short steps stand on one stair of it, and see none of its slope."""

from __future__ import annotations

from itertools import pairwise
from math import nan

from ..errors import WellposedError
from .directions import Direction
from .probe import Prober
from .reading import FLAG, LONGEST_STEP, Reading, alike

HIDING = (1e-9, 1e-6)
"""Spacings at which a rounding of six or more digits shows."""
COARSELY_HIDING = (1e-4, 4e-3)
"""Spacings at which a rounding of two to five digits shows."""
PLATEAUS = (1e-1, 5e-2, 2.5e-2, 1.25e-2, 3e-3, 1.5e-3)
"""Long steps, which cross the plateaus of a rounding to few bits, in pairs of which one is twice the other."""
BEYOND_STAIRS = (5e-2, 4e-3, 3e-4)
"""Long steps, so far apart that an error which stays the same is no bend of a smooth F."""
HALVINGS, SURVIVED = 24, 8
"""Halvings in search of a jump, and how many of the last a jump survives."""
UNSEEN = 4.0
"""An error that is so many times smaller along a longer step is not there; along two of a pair, half as many will do."""


def finds_hidden_noise(prober: Prober, spacings: tuple[float, ...] = HIDING) -> bool:
    """Look, once, for rounding coarser than the declared one, as of a cast inside F: no tiny step crosses it."""
    if prober.searched.issuperset(spacings):
        return False
    prober.searched.update(spacings)
    direction = prober.whole()
    hidden = max(prober.noise_at(direction, spacing) for spacing in spacings)
    found = hidden > 4 * prober.noise
    prober.noise = max(prober.noise, hidden)
    return found


def finds_stairs(prober: Prober, seen: float) -> bool:
    """Look for stairs wider than the steps of the readings, which saw no error beyond `seen`; their rounding is known then.

    Along longer steps an error stands clear and stays the same: that of a smooth F falls by 16 as the step does by 4. Kinks beside
    the point and waves make such errors too, but no jumps.
    """
    direction = prober.whole()
    far = [prober.rung(direction, step) for step in BEYOND_STAIRS]
    steps = [b.step for a, b in pairwise(far) if a and b and alike(a, b, clear=2 * FLAG * seen)]
    if not steps:
        return False
    if finds_hidden_noise(prober):
        return True
    if not _jumps(prober, direction, steps[-1]):
        return False
    hidden = prober.noise_at(direction, steps[-1] / 4)
    found, prober.noise = hidden > 4 * prober.noise, max(prober.noise, hidden)
    return found


def _jumps(prober: Prober, direction: Direction, step: float) -> bool:
    """Whether F jumps on the way: halved again and again, what changes across the half that holds a jump stays as large."""
    near, far = 0.0, step
    at_near, at_far = (_unexplained(prober, direction, t) for t in (near, far))
    changes = []
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        at_middle = _unexplained(prober, direction, middle)
        if abs(at_middle - at_near) > abs(at_far - at_middle):
            far, at_far = middle, at_middle
        else:
            near, at_near = middle, at_middle
        changes.append(abs(at_far - at_near))
    return changes[-1] > max(0.5 * changes[-1 - SURVIVED], FLAG * prober.noise)


def _unexplained(prober: Prober, direction: Direction, step: float) -> float:
    """What F changed by beyond the claimed derivative."""
    try:
        moved = prober.objective.at(direction, step)
    except WellposedError:
        return nan
    return moved.value - moved.taken


def contradicts(prober: Prober, direction: Direction, reading: Reading) -> bool:
    """Whether a pair of longer steps sees the claimed derivative confirmed; a wrong one is wrong at every length.

    So it is where a rounding to few bits makes a staircase of F: steps shorter than a stair see none of its slope. The bend of a smooth F
    may undo an error along one step, and then leaves three quarters of it along half of that step.
    """
    unit = prober.longest_step / LONGEST_STEP
    for longer, shorter in zip(PLATEAUS[::2], PLATEAUS[1::2], strict=True):
        if shorter * unit <= 2 * reading.step:
            return False
        seen = _vanishes(prober, direction, reading, longer * unit)
        # The second is taken where the first one did not say no.
        if seen > UNSEEN / 2:
            also = _vanishes(prober, direction, reading, shorter * unit)
            if also > UNSEEN / 2 and max(seen, also) > UNSEEN:
                return True
    return False


def _vanishes(prober: Prober, direction: Direction, reading: Reading, step: float) -> float:
    """How many times smaller the error is along another step, and than the claimed derivative there."""
    rung = prober.rung(direction, step)
    return min(abs(reading.error), abs(rung.slope)) / max(abs(rung.odd), 1e-300) if rung else 0.0


def hides_below_a_unit(prober: Prober, direction: Direction, reading: Reading) -> bool:
    """Whether F, which did not change at all, changes along longer steps by more than the claimed derivative makes of the flat ones."""
    step = reading.step
    while reading.flat and step < prober.longest_step:
        step *= 8
        rung = prober.rung(direction, step)
        if rung is None:
            return True
        if not rung.flat:
            return abs(rung.slope) * step / 8 < abs(rung.odd + rung.slope) * step
    return False


def changes_further_off(prober: Prober) -> bool:
    """Whether F changes along long steps; for an F that did not along the short ones."""
    direction = prober.whole()
    rungs = [prober.rung(direction, step) for step in (*BEYOND_STAIRS, 1.0, LONGEST_STEP)]
    return any(r is None or not r.flat for r in rungs)
