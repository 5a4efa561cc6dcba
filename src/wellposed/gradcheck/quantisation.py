"""Rounding inside F that is coarser than it declares: short steps stand on one stair of it, and see none of its slope."""

from __future__ import annotations

from itertools import pairwise
from math import log2

import numpy as np

from .directional_error import Prober
from .directions import Direction
from .error_estimate import FLAG, LONGEST_STEP, RATIO, Look, Reading, alike
from .gradient_rounding import LOW_PRECISION

HIDING = (1e-9, 1e-6)
"""Spacings at which a rounding of six or more digits shows."""
COARSELY_HIDING = (1e-4, 4e-3)
"""Spacings at which a rounding of two to five digits shows."""
PLATEAUS = (1e-1, 5e-2, 2.5e-2, 1.25e-2, 3e-3, 1.5e-3)
"""Long steps, which cross the plateaus of a rounding to few bits, in pairs of which one is twice the other."""
BEYOND_STAIRS = (5e-2, 4e-3, 3e-4)
"""Long steps, so far apart that an error which stays the same is no bend of a smooth F."""
SURVIVED, QUIET = 8, 3
"""Halvings that a jump survives, and after how many that miss nothing there is none."""
WITHOUT_JUMPS = 64.0
"""What is missed without a jump is 256 times smaller by then, and more; many small jumps add up to 16 times less."""
CLEAR, MOST_JUMPS = 32.0, 1e4
"""A jump stands out from noise that is a few times what it is thought to be; and noise is not made of more jumps than the square."""
FARTHER = 16.0
FLOAT32, BFLOAT16 = 2.0**-24, 2.0**-8
"""Unit roundoffs."""
BELOW_HALF = (1e-5, 5e-5)
"""Steps that float32 resolves, and float16 and bfloat16 hardly ever."""
FEWER_THAN_FLOAT32 = 2.0**-17
"""Noise, as a part of F, that float32 does not make, and float16 and bfloat16 do."""
IN_FLOAT32 = (1e-3, 2.5e-4)
"""Steps that float32 resolves, and stairs of fewer digits do not."""
STRAIGHT = 1e-3
"""Part of the slope that a bend may make of it along steps that are still short."""
UNSEEN = 4.0
"""An error that is so many times smaller along a longer step is not there; along two of a pair, half as many will do."""


def jumps_here(prober: Prober) -> bool:
    """Whether F jumps at the point itself: a sixteenth of a step leaves the whole of a jump, and a sixteenth of anything else."""
    direction, step = prober.fresh(prober.everything), prober.good_step or prober.first_step
    for side in (step, -step):
        far, near = (abs(prober.value(direction, t) - prober.centre) for t in (side, side / FARTHER))
        if near > far / 2 and near > FLAG * prober.noise:
            return True
    return False


def computes_in_half(prober: Prober) -> bool:
    """Whether F is rounded to float16 or bfloat16 somewhere inside: stairs too wide for the steps of float32, where a slope is claimed."""
    direction = prober.whole()
    if not any(_denied(prober, direction, step) for step in BELOW_HALF):
        return False
    noise = prober.noise_at(direction, COARSELY_HIDING[-1])
    return noise > FEWER_THAN_FLOAT32 * prober.size and jumps(prober, direction, rounding=noise)


def _denied(prober: Prober, direction: Direction, step: float) -> bool:
    """Whether F moves by less than half of the claimed slope, or by as much more, which noise does not explain."""
    rung = prober.rung(direction, step)
    return rung is not None and abs(rung.odd) > max(CLEAR * prober.noise / step, abs(rung.slope) / 2)


def computes_in_float32(prober: Prober) -> bool:
    """Whether F is rounded to float32 somewhere inside: its shortest steps deny the claimed slope, and steps that float32 resolves confirm it."""
    look = prober.look
    if look is None or not look.denies(0.0, 0.0, noise=prober.noise):
        return False
    rungs = (prober.rung(look.direction, step) for step in IN_FLOAT32)
    if not all(r is not None and abs(r.odd) * FARTHER < abs(look.error) for r in rungs):
        return False
    # Waves shorter than these steps are averaged away by them, and are no rounding.
    noise = prober.noise_at(look.direction, IN_FLOAT32[-1] / FARTHER)
    return jumps(prober, look.direction, IN_FLOAT32[-1], rounding=noise) and not jumps_here(prober)


def finds_hidden_noise(prober: Prober, spacings: tuple[float, ...] = HIDING) -> bool:
    """Look, once, for rounding coarser than the declared one, as of a cast inside F: no tiny step crosses it."""
    if prober.searched.issuperset(spacings):
        return False
    prober.searched.update(spacings)
    direction = prober.whole()
    fine = prober.objective.roundoff < LOW_PRECISION
    noises = {spacing: prober.noise_at(direction, spacing) for spacing in spacings}
    # Waves that are shorter than the spacing look like noise, and have no jumps; coarse arithmetic has them anyway.
    hidden = [
        noise
        for spacing, noise in noises.items()
        if noise > 4 * prober.noise
        and not (fine and not jumps(prober, direction, 11 * spacing, rounding=noise))
    ]
    prober.noise = max([prober.noise, *hidden])
    return bool(hidden)


def explains(prober: Prober, look: Look) -> bool:
    """Find out, once, why the shortest steps see another error than the long ones: stairs, whose rounding is known then, or waves.

    Of waves the steps must be short.
    """
    if prober.limit < LONGEST_STEP:
        return False
    if prober.value(look.direction, look.step) == prober.centre:  # it stands on one stair
        return False
    share = float(np.linalg.norm([prober.reach(i) for i in look.direction.tensors]))
    same = max(abs(look.error) / FARTHER, STRAIGHT * share)
    step = look.step
    while step * FARTHER < LONGEST_STEP:
        rung = prober.rung(look.direction, step * FARTHER)
        if rung is None or look.denies(rung.odd, same, noise=prober.noise):
            break
        step *= FARTHER
    if step == look.step:  # it stands beside a jump itself
        return False
    noise = prober.noise_at(look.direction, step * FARTHER)
    if any(jumps(prober, look.direction, side * step * FARTHER, rounding=noise) for side in (1, -1)):
        return _heard(prober, noise)
    prober.limit, prober.good_step, prober.has_waves = max(step, RATIO**2 * prober.shortest_step), None, True
    return True


def _heard(prober: Prober, noise: float) -> bool:
    """Whether this is more noise than was known; it is known then."""
    louder = noise > 4 * prober.noise
    prober.noise = max(prober.noise, noise)
    return louder


def finds_stairs(prober: Prober, seen: float) -> bool:
    """Look for stairs wider than the steps of the readings, which saw no error beyond `seen`; their rounding is known then.

    Along longer steps an error stands clear and stays the same: that of a smooth F falls by 16 as the step does by 4. Kinks beside
    the point and waves make such errors too, but no jumps.
    """
    if prober.has_waves:
        return False
    direction = prober.whole()
    far = [prober.rung(direction, step) for step in BEYOND_STAIRS]
    steps = [b.step for a, b in pairwise(far) if a and b and alike(a, b, clear=2 * FLAG * seen)]
    if not steps:
        return False
    if finds_hidden_noise(prober):
        return True
    noise = prober.noise_at(direction, steps[-1] / 4)
    return jumps(prober, direction, steps[-1], rounding=noise) and _heard(prober, noise)


def jumps(prober: Prober, direction: Direction, step: float = PLATEAUS[0], *, rounding: float = 0.0) -> bool:
    """Whether F jumps on the way: halved again and again, the half that holds a jump goes on missing its middle by as much.

    The middle of the values at two ends misses the value in the middle by half of the jump between them; of waves that becomes 4 times
    less, and of a kink 2 times less, in each half. Jumps that make noise of the size `rounding` are not much smaller than that.
    """
    least = max(CLEAR * prober.noise, rounding / MOST_JUMPS)

    def value(t: float) -> float:
        return prober.unexplained(direction, t)

    near, middle, far = 0.0, step / 2, step
    ends = [value(near), value(middle), value(far)]
    missed: list[float] = []
    for _ in range(int(log2(abs(step) / prober.finest_step))):
        left, right = value((near + middle) / 2), value((middle + far) / 2)
        halves = ([ends[0], left, ends[1]], [ends[1], right, ends[2]])
        sizes = [abs(a + c - 2 * b) for a, b, c in halves]
        missed.append(max(sizes))
        if not max(missed[-QUIET:]) > least:
            return False
        if missed[-1] <= least:  # two equal jumps lie to both sides of the middle
            sizes = [abs(c - a) for a, _, c in halves]
        if sizes[0] > sizes[1]:
            far, ends = middle, halves[0]
        else:
            near, ends = middle, halves[1]
        middle = (near + far) / 2
    if len(missed) <= SURVIVED:
        return False
    # At a pole it grows.
    return max(least, missed[-1 - SURVIVED] / WITHOUT_JUMPS) < missed[-1] < 2 * max(missed[:SURVIVED])


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
    while reading.still and step < prober.longest_step:
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
