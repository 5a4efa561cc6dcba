"""From readings to a verdict for each tensor: all tensors at once, then only what that cannot settle.

A group of tensors is moved together. When nothing is flagged, every tensor whose own share of the slope is large enough against the bar has
passed; the others are tried again without the large ones. When something is flagged, the group is halved until single tensors stand accused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan

import numpy as np

from .directions import Direction, random_signs, signs_of
from .probe import FLAG, Prober, Reading
from .result import Verdict

PASS_RESOLUTION = 1e-2
"""A pass promises that a larger error, relative to a tensor's gradient norm, would have been seen."""
MISSED = 0.01
"""Chance that a dense error as large as the stated resolution hides from the random directions."""
TOGETHER, ALONE = 2, 4
"""Directions of random signs for a group, and for a single tensor, where each one more sees a smaller error."""
MOST_ALONE = 24
"""Tensors of one group that are tried one by one; the others keep what the group said of them."""
MOST_FAILURES = 24
"""Tensors that fail before the search for more of them ends."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What is known of one tensor; errors in units of F for a relative move of the tensor by 1."""

    verdict: Verdict
    error: float
    """Root mean square of the readings along random signs."""
    bar: float
    resolution: float
    zero: bool = False
    """The gradient is zero as far as can be told: `resolution` is relative to the largest share."""
    flat: bool = False
    kink: bool = False
    reading: Reading | None = None
    """What gave a failure away."""


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
        return any(r.at_kink for r in self.readings)

    @property
    def sees(self) -> float:
        """The smallest dense error that is seen with a chance of at least 1 - `MISSED`."""
        hidden = MISSED ** (1 / len(self.random)) / 0.8  # P(|z| < t) is about 0.8 t, once for each direction
        return FLAG * self.bar / min(hidden, 1.0)


def examine_all(prober: Prober, *, stop_at_kink: bool = False) -> dict[int, Outcome]:
    """A verdict for every tensor; with `stop_at_kink` a group that a kink leaves unsettled is not pursued."""
    search = _Search(prober, stop_at_kink)
    everything = tuple(range(len(prober.points)))
    search.examine(everything, random=TOGETHER)
    unseen = Outcome(verdict="inconclusive", error=nan, bar=inf, resolution=inf)
    return {i: search.outcomes.get(i, unseen) for i in everything}


class _Search:
    """The outcomes so far, and where to look next."""

    def __init__(self, prober: Prober, stop_at_kink: bool) -> None:
        self.prober, self.stop_at_kink = prober, stop_at_kink
        self.outcomes: dict[int, Outcome] = {}

    def examine(self, group: tuple[int, ...], *, random: int) -> None:
        if sum(o.verdict == "fail" for o in self.outcomes.values()) >= MOST_FAILURES:
            return
        probed = probe(self.prober, group, random=random)
        if self.stop_at_kink and probed.at_kink and self._unsettled_by(probed, group):
            self.outcomes |= {
                i: replace(_failed(self.prober, probed, i), verdict="inconclusive") for i in group
            }
        elif probed.flagged is not None:
            self._accuse(group, probed, probed.flagged)
        else:
            self._settle(group, probed, random=random)

    def _unsettled_by(self, probed: Probed, group: tuple[int, ...]) -> bool:
        smallest = min(self.prober.shares[i] for i in group)
        return probed.flagged is not None or probed.sees > PASS_RESOLUTION * smallest

    def _accuse(self, group: tuple[int, ...], probed: Probed, flagged: Reading) -> None:
        """Halve a flagged group until single tensors stand accused."""
        if len(group) == 1:
            self.outcomes[group[0]] = _failed(self.prober, probed, group[0])
            return
        middle = len(group) // 2
        for half in (group[:middle], group[middle:]):
            self.examine(half, random=ALONE if len(half) == 1 else TOGETHER)
        if not any(self.outcomes[i].verdict == "fail" for i in group if i in self.outcomes):
            # An error of the whole that no part shows: none of them has passed, and none is to blame.
            size = abs(flagged.error) / float(np.linalg.norm([self.prober.shares[i] for i in group]))
            for i in group:
                known = self.outcomes[i]
                self.outcomes[i] = replace(
                    known, verdict="inconclusive", resolution=max(known.resolution, size)
                )

    def _settle(self, group: tuple[int, ...], probed: Probed, *, random: int) -> None:
        """Pass what has a share large enough; try the rest without the others, and at last one by one."""
        found = {i: _unflagged(self.prober, probed, i, group) for i in group}
        self.outcomes |= found
        rest = tuple(i for i in group if found[i].verdict != "pass")
        if len(rest) == 1 and (len(group) > 1 or random < ALONE):
            self.examine(rest, random=ALONE)
        elif len(rest) < len(group):
            if rest:
                self.examine(rest, random=TOGETHER)
        elif len(group) > 1:
            for i in sorted(rest, key=lambda i: -self.prober.shares[i])[:MOST_ALONE]:
                self.examine((i,), random=ALONE)


def probe(prober: Prober, group: Sequence[int], *, random: int) -> Probed:
    """Readings along random signs, sign(g) and sign(theta); it ends early with the first confirmed flag."""
    share = float(np.linalg.norm([prober.shares[i] for i in group]))
    wanted = (1e-5 if len(group) > 1 else 1e-4) * (share or 0.01 * prober.reference)
    directions: list[Direction | None] = [
        random_signs(group, prober.points, prober.scales, prober.rng) for _ in range(random)
    ]
    directions.append(signs_of("gradient", prober.gradients, group, prober.scales))
    directions.append(signs_of("parameter", prober.points, group, prober.scales))
    readings, kink = _read_all(prober, directions, wanted=wanted)
    if any(r.flagged or r.bar > 1e-3 * share for _, r in readings) and prober.finds_hidden_noise():
        readings, kink = _read_all(prober, directions, wanted=wanted)
    for place, (direction, reading) in enumerate(readings):
        if not reading.flagged:
            continue
        doubt = _doubt(prober, direction, reading, wanted=wanted, kink=kink)
        if doubt is None:
            return Probed(readings=tuple(r for _, r in readings), flagged=reading, direction=direction)
        # Seen once and not again: it counts as uncertainty, not as a pass and not as an accusation.
        readings[place] = (direction, replace(reading, bar=max(reading.bar, doubt)))
    return Probed(readings=tuple(r for _, r in readings), flagged=None)


def _read_all(
    prober: Prober, directions: Sequence[Direction | None], *, wanted: float
) -> tuple[list[tuple[Direction, Reading]], float]:
    """A reading along each direction, and the kinks that they saw together."""
    taken = [(d, prober.read(d, wanted=wanted)) for d in directions if d is not None]
    kink = float(np.sqrt(np.mean([r.kink**2 for _, r in taken])))
    return [(d, r.widened(kink)) for d, r in taken], kink


def _doubt(
    prober: Prober, direction: Direction, reading: Reading, *, wanted: float, kink: float
) -> float | None:
    """None when fresh directions with the same signs confirm the flag; else the bar that it deserves.

    They take much shorter steps where the noise permits: a wrong gradient is as wrong there, and kinks beside the point are not. Longer
    steps must not contradict it: what only tiny steps see is a plateau of rounding.
    """
    shortest = 16 * FLAG * 4.5 * prober.noise / abs(reading.error)
    start = min(reading.step, max(reading.step / 64, shortest))
    for _ in range(2):
        again = prober.read(direction.jittered(prober.rng), wanted=wanted, start=start).widened(kink)
        if not again.flagged or again.error * reading.error < 0:
            return max(again.bar, abs(reading.error) / FLAG)
    return abs(reading.error) / FLAG if prober.contradicts(direction, reading) else None


def _failed(prober: Prober, probed: Probed, i: int) -> Outcome:
    return Outcome(
        verdict="fail",
        error=probed.error,
        bar=probed.bar,
        resolution=_relative(
            FLAG * probed.flagged.bar if probed.flagged else probed.sees, prober.shares[i] or prober.reference
        ),
        flat=all(r.flat for r in probed.readings),
        kink=probed.at_kink,
        reading=probed.flagged,
    )


def _unflagged(prober: Prober, probed: Probed, i: int, group: Sequence[int]) -> Outcome:
    """Passed if its own share stands far enough above what could hide; a gradient of zero is small against the largest share."""
    share = prober.shares[i]
    # Nothing but rounding is left of the gradient of any tensor in the group.
    zero = all(prober.shares[j] <= prober.rounding for j in group)
    resolution = _relative(probed.sees, prober.reference if zero else share)
    return Outcome(
        verdict="pass" if resolution <= PASS_RESOLUTION else "inconclusive",
        error=probed.error,
        bar=probed.bar,
        resolution=resolution,
        zero=zero,
        flat=all(r.flat for r in probed.readings),
        kink=probed.at_kink,
    )


def _relative(size: float, against: float) -> float:
    return size / against if against > 0 and isfinite(size) else inf
