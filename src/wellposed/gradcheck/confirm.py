"""Readings of a group of tensors along several directions, and what has to be excluded before they accuse the gradient.

An error is believed when a much shorter step sees it too (noise and jumps would change), when a fresh direction does (kinks beside the point
would be others), and when longer steps do not find the claimed derivative right (a staircase has a slope of its own, and none between stairs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

import numpy as np

from .directional_error import Prober
from .directions import SHOWN, Direction
from .error_estimate import FLAG, Look, Reading
from .gradient_rounding import LOW_PRECISION
from .quantisation import (
    COARSELY_HIDING,
    contradicts,
    explains,
    finds_hidden_noise,
    hides_below_a_unit,
    jumps,
)

MISSED = 0.01
"""Chance that a dense error as large as the stated resolution hides from the random directions."""
JOINTLY = 1.5
"""Root mean square of the readings in bars, over all random directions, at which they are suspected together: three standard deviations
of the noise on each of them."""
SHORTER = 2.0**14
"""How much shorter a step confirms an error, where the noise permits."""
ROOM = 4.0
"""Steps that can be shortened by less than this confirm nothing."""
COARSE = 1e-3
"""Bars above this part of the slope ask what else there is: rounding that was not declared, or kinks."""
KINKED = 1e-3
"""Kinks below this part of the slope leave a direction as it is."""
KINKS = 100.0
"""An error so many times the kinks seen along all directions is not made by kinks."""
LUCKY = 4.0
"""How far a bar may lie below the median of its neighbours along other directions."""
CALM = 3.0
"""Standard deviations of the noise within which a kink is none."""
REDRAWN = 2
"""Directions drawn anew for each that is needed, where some cross kinks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    readings: tuple[Reading, ...]
    flagged: Reading | None
    direction: Direction | None = None

    @property
    def random(self) -> list[Reading]:
        return [r for r in self.readings if r.kind == "random"]

    @property
    def bar(self) -> float:
        return max(r.bar for r in self.random)

    @property
    def error(self) -> float:
        return float(np.sqrt(np.mean([r.error**2 for r in self.random])))

    @property
    def at_kink(self) -> bool:
        """A kink lies at the point, or kinks beside it are the most of what is not known."""
        return any(r.at_kink for r in self.readings) or any(
            abs(r.kink) > FLAG * r.kink_noise and r.clear_kink > 0.25 * r.bar for r in self.random
        )

    @property
    def beyond_kinks(self) -> bool:
        """The error is so large, and the kinks so small along every direction, that they have no part in it."""
        return self.flagged is not None and abs(self.flagged.error) > KINKS * _rms(
            [r.kink for r in self.readings]
        )

    @property
    def sees(self) -> float:
        """The smallest error that is seen with a chance of at least 1 - `MISSED`, whatever its shape."""
        return JOINTLY * self.bar / SHOWN[len(self.random)]

    @property
    def joint_significance(self) -> float:
        return float(np.sqrt(np.mean([r.significance**2 for r in self.random])))


def probe(prober: Prober, group: Sequence[int], *, random: int) -> Probed:
    """Readings along random directions, sign(g) and sign(theta); it ends early with the first confirmed flag."""
    share = float(np.linalg.norm([prober.reach(i) for i in group]))
    wanted = (1e-5 if len(group) > 1 else 1e-4) * (share or 0.01 * prober.reference)
    directions: list[Direction | None] = [prober.fresh(group) for _ in range(random)]
    if prober.look is not None:
        directions[0] = prober.look.direction
    directions += [prober.signs_of_gradient(group), prober.signs_of_parameters(group)]
    readings, kink = _read_all(prober, directions, wanted=wanted)
    if any(r.torn for _, r in readings) and _declares_fine(prober) and finds_hidden_noise(prober):
        return probe(prober, group, random=random)
    look = prober.look
    if (
        look is not None
        and _parts(prober, look, readings[0][1], coarse=COARSE * share)
        and explains(prober, look)
    ):
        return probe(prober, group, random=random)
    if any(r.bar > COARSE * share for _, r in readings):
        suspicious = any(r.flagged or r.flat for _, r in readings)
        if suspicious and finds_hidden_noise(prober):
            finds_hidden_noise(prober, COARSELY_HIDING)
            readings, kink = _read_all(prober, directions, wanted=wanted)
        readings, kink = _calmer(prober, readings, group, kink=kink, share=share, wanted=wanted)
    for place in sorted(range(len(readings)), key=lambda k: -readings[k][1].significance):
        direction, reading = readings[place]
        if not reading.flagged:
            break
        if not _steady(prober, direction, reading):
            if finds_hidden_noise(prober):
                return probe(prober, group, random=random)
            doubt: float | None = abs(reading.error)
        else:
            doubt = _doubt(prober, direction, reading, kink=kink)
        if doubt is None and contradicts(prober, direction, reading):
            if _declares_fine(prober) and finds_hidden_noise(prober, COARSELY_HIDING):
                return probe(prober, group, random=random)
            # Waves that are shorter than long steps leave nothing of their slope there, and have no jumps.
            if not _declares_fine(prober) or jumps(prober, direction):
                doubt = abs(reading.error)
        if doubt is None:
            return Probed(readings=tuple(r for _, r in readings), flagged=reading, direction=direction)
        # Seen once and not again: it counts as uncertainty, not as a pass and not as an accusation.
        readings[place] = (direction, replace(reading, bar=max(reading.bar, doubt)))
    return _jointly(prober, readings, group, wanted=wanted)


def _parts(prober: Prober, look: Look, reading: Reading, *, coarse: float) -> bool:
    """Whether far shorter steps along the same direction see another error, or see it better than a reading that sees little."""
    vague = reading.bar > max(coarse, FLAG * look.bar(prober.noise))
    return vague or look.denies(reading.error, reading.bar, noise=prober.noise)


def _calmer(
    prober: Prober,
    readings: list[tuple[Direction, Reading]],
    group: Sequence[int],
    *,
    kink: float,
    share: float,
    wanted: float,
) -> tuple[list[tuple[Direction, Reading]], float]:
    """Other random directions in place of those that cross kinks: no error of the gradient has a part in that choice."""
    random = [pair for pair in readings if pair[1].kind == "random"]
    if not any(r.clear_kink > KINKED * share for _, r in random):
        return readings, kink
    more = [prober.fresh(group) for _ in range(REDRAWN * len(random))]
    drawn = random + [(d, prober.read(d, wanted=wanted)) for d in more]
    calm = [pair for pair in drawn if abs(pair[1].kink) <= CALM * pair[1].kink_noise]
    kinked = [r for _, r in drawn if abs(r.kink) > CALM * r.kink_noise]
    kink = _rms([r.clear_kink for r in kinked])
    others = [pair for pair in readings if pair[1].kind != "random"]
    # Where many kinks are crossed at once, their sum is small now and then by chance, and tells nothing.
    by_chance = sum(CALM * r.kink_noise / kink for _, r in drawn) if kink else 0.0
    if len(calm) >= len(random) and by_chance < 0.1 * len(random):
        return calm[: len(random)] + [(d, r.widened(kink)) for d, r in others], 0.0
    return [(d, r.widened(kink)) for d, r in drawn[: len(random)] + others], kink


def _jointly(
    prober: Prober, readings: list[tuple[Direction, Reading]], group: Sequence[int], *, wanted: float
) -> Probed:
    """Many readings that lie off by little, all of them, tell what no single one can; fresh ones must say the same."""
    probed = Probed(readings=tuple(r for _, r in readings), flagged=None)
    if probed.joint_significance <= JOINTLY:
        return probed
    # A staircase hides a part of the slope; what is off by less is no matter of stairs.
    stairs = any(abs(r.error) > COARSE * abs(r.slope) for r in probed.readings)
    if stairs and _declares_fine(prober) and finds_hidden_noise(prober, COARSELY_HIDING):
        return probe(prober, group, random=len(probed.random))
    fresh, _ = _read_all(prober, [prober.fresh(group) for _ in probed.random], wanted=wanted)
    again = Probed(readings=tuple(r for _, r in fresh), flagged=None)
    direction, clearest = max(fresh, key=lambda pair: pair[1].significance)
    sure = again.joint_significance > JOINTLY and not (probed.at_kink or again.at_kink)
    if sure and _steady(prober, direction, clearest) and not contradicts(prober, direction, clearest):
        return replace(probed, flagged=clearest, direction=direction)
    doubt = max(probed.joint_significance, again.joint_significance)
    return Probed(readings=tuple(replace(r, bar=r.bar * doubt) for _, r in readings), flagged=None)


def _read_all(
    prober: Prober, directions: Sequence[Direction | None], *, wanted: float
) -> tuple[list[tuple[Direction, Reading]], float]:
    """A reading along each direction, and the kinks that they saw together."""
    taken = [(d, prober.read(d, wanted=wanted)) for d in directions if d is not None]
    kink = _rms([r.clear_kink for _, r in taken])
    typical = float(np.median([r.bar for _, r in taken]))
    # A bar far below its neighbours' is luck: what the other directions meet, this one has missed.
    bars = [max(r.bar, typical / LUCKY) if isfinite(typical) else r.bar for _, r in taken]
    return [(d, replace(r, bar=bar).widened(kink)) for (d, r), bar in zip(taken, bars, strict=True)], kink


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0


def _confirming_step(prober: Prober, reading: Reading) -> float:
    """A step much shorter than the reading's own, whose noise is still small against the error."""
    noisy = 64 * FLAG * prober.noise / abs(reading.error) if reading.error else inf
    return min(reading.step, max(reading.step / SHORTER, noisy, 4 * prober.shortest_step))


def _room(prober: Prober, reading: Reading) -> bool:
    return _confirming_step(prober, reading) * ROOM <= reading.step


def _declares_fine(prober: Prober) -> bool:
    """Float64, of which a coarser rounding somewhere inside is a surprise."""
    return prober.objective.roundoff < LOW_PRECISION


def _steady(prober: Prober, direction: Direction, reading: Reading) -> bool:
    """Whether a shorter step sees the same error, which noise and jumps would change, and which may be at home further off alone.

    A long step can lie where F is straight too, with another slope.
    """
    if _room(prober, reading):
        again = prober.read_pair(direction, _confirming_step(prober, reading))
        return abs(again.error - reading.error) <= abs(reading.error) / 4 + FLAG * again.bar
    again = prober.read_pair(direction, reading.step / ROOM)
    same = abs(again.error - reading.error) <= abs(reading.error) / 2 + again.bar
    return same and again.error * reading.error > 0 and abs(again.error) > again.bar


def _doubt(prober: Prober, direction: Direction, reading: Reading, *, kink: float) -> float | None:
    """None when fresh directions with the same signs confirm the flag; else the bar that it deserves, all of the error.

    They take much shorter steps where the noise permits: a wrong gradient is as wrong there, and kinks beside the point are not.
    """
    doubtful = abs(reading.error)
    step = _confirming_step(prober, reading)
    for _ in range(1 if _room(prober, reading) else 2):
        again = prober.read_pair(prober.varied(direction), step).widened(kink)
        if not again.flagged or again.error * reading.error < 0:
            return max(again.bar, doubtful)
    return doubtful if reading.still and hides_below_a_unit(prober, direction, reading) else None
