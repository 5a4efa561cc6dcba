"""From readings to a verdict for each tensor: all tensors at once, then only what that cannot settle.

A group of tensors is moved together. When nothing is flagged, every tensor whose own share of the slope is large enough against the bar has
passed; the others are tried again without the large ones. When something is flagged, the group is halved along the direction that flagged
it until single tensors stand accused, and what is left of the group is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan

import numpy as np

from .confirm import JOINTLY, Probed, probe
from .directional_error import Prober
from .directions import SHOWN, Direction
from .error_estimate import DEVIATIONS, FLAG, LONGEST_STEP, RATIO, Reading
from .gradient_rounding import LOW_PRECISION
from .result import Verdict

TOGETHER, ALONE, PATIENT = 2, 4, 12
"""Random directions for a group, for a single tensor, and for one that more of them may settle."""
EACH = 12
"""Evaluations that a direction takes, where it is not an easy one."""
MOST_ALONE = 24
"""Tensors of one group that are tried one by one; the others keep what the group said of them."""
MOST_PASSES, MOST_COARSE_PASSES = 400, 1200
"""Evaluations of F after which no other group is begun; coarse arithmetic needs more directions for the same."""
BOOSTED = 1e-7
"""A tensor moves at most so many times the largest share of its group, in units of the noise, further than the others."""
MOST_FAILURES = 12
"""Tensors that fail before the search for more of them ends."""
EXACT = 1e-6
"""Agreement, relative to the slope, that leaves no more to explain."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What is known of one tensor; errors in units of F for a relative move of the tensor by 1."""

    verdict: Verdict
    error: float
    """Root mean square of the readings along random directions."""
    bar: float
    resolution: float
    zero: bool = False
    """The gradient is zero as far as can be told: `resolution` is relative to the largest share."""
    flat: bool = False
    kink: bool = False
    """Kinks may have made the error, or are why it cannot be told."""
    factor: float | None = None
    """Numerical over analytic, where one factor explains every reading of the whole group."""
    factor_bar: float = 0.0
    """Relative uncertainty of `factor`."""
    reading: Reading | None = None
    """What gave a failure away."""


def examine_all(prober: Prober, *, resolution: float, stop_at_kink: bool = False) -> dict[int, Outcome]:
    """A verdict for every tensor; with `stop_at_kink` a group that a kink leaves unsettled is not pursued.

    A pass promises that an error above `resolution`, relative to the tensor's gradient norm, would have been seen.
    """
    search = _Search(prober, resolution, stop_at_kink)
    search.examine(prober.everything, random=TOGETHER)
    unseen = Outcome(verdict="inconclusive", error=nan, bar=inf, resolution=inf)
    return {i: search.outcomes.get(i, unseen) for i in prober.everything}


class _Search:
    """The outcomes so far, and where to look next."""

    def __init__(self, prober: Prober, resolution: float, stop_at_kink: bool) -> None:
        self.prober, self.resolution, self.stop_at_kink = prober, resolution, stop_at_kink
        self.outcomes: dict[int, Outcome] = {}
        fine = prober.objective.roundoff < LOW_PRECISION
        self._until = prober.objective.n_forward + (MOST_PASSES if fine else MOST_COARSE_PASSES)

    @property
    def failures(self) -> int:
        return sum(o.verdict == "fail" for o in self.outcomes.values())

    def examine(self, group: tuple[int, ...], *, random: int) -> None:
        """`group`: tensors that are tried together; those with small gradients move further, so as to show beside the others."""
        if self.failures >= MOST_FAILURES or self.prober.objective.n_forward > self._until:
            return
        with self.prober.boosting(self._boosts(group)):
            self._examine(group, random=random)

    def _boosts(self, group: tuple[int, ...]) -> dict[int, float]:
        """As far as the larger ones can still be told, whose moves must be short then; none for all tensors at first."""
        if len(group) == len(self.prober.everything):
            return {}
        shares = [self.prober.shares[i] for i in group]
        most = max(1.0, BOOSTED * max(shares) / max(self.prober.noise, 1e-300))
        return {i: min(max(shares) / s, most) if s else 1.0 for i, s in zip(group, shares, strict=True)}

    def _examine(self, group: tuple[int, ...], *, random: int) -> None:
        probed = probe(self.prober, group, random=random)
        if self.stop_at_kink and self._unsettled_by(probed, group):
            self.outcomes |= {i: replace(self._accused(probed, i), verdict="inconclusive") for i in group}
        elif probed.flagged is not None:
            self._accuse(group, probed)
        else:
            self._settle(group, probed, random=random)

    def _unsettled_by(self, probed: Probed, group: tuple[int, ...]) -> bool:
        """Whether kinks leave the group unsettled."""
        if not probed.at_kink or probed.beyond_kinks:
            return False
        smallest = min(self.prober.reach(i) for i in group)
        return probed.flagged is not None or probed.sees > self.resolution * smallest

    def _accuse(self, group: tuple[int, ...], probed: Probed) -> None:
        """Find out which tensors of a flagged group are wrong, and try the others again without them."""
        assert probed.flagged is not None
        assert probed.direction is not None
        found = self._by_one_factor(group, probed)
        if not found:
            alone = len(group) == 1
            wrong = (
                {group[0]: probed.flagged} if alone else self._halved(group, probed.direction, probed.flagged)
            )
            found = {i: self._accused(probed, i, reading) for i, reading in wrong.items()}
        self.outcomes |= found
        rest = tuple(i for i in group if i not in found)
        if not found:
            self._one_by_one(group)
            if not any(self.outcomes[i].verdict == "fail" for i in group if i in self.outcomes):
                self._blame_nobody(group, probed)
        elif rest:
            self.examine(rest, random=ALONE if len(rest) == 1 else TOGETHER)

    def _by_one_factor(self, group: tuple[int, ...], probed: Probed) -> dict[int, Outcome]:
        """The tensors that are wrong by one and the same factor, where that explains every reading.

        It is the check of another gradient, the claimed one times the factor, with the same readings: a tensor that differs from that one by
        more than they can see has that error.
        """
        slopes, numerical = (
            np.array([getattr(r, k) for r in probed.readings]) for k in ("slope", "numerical")
        )
        if not np.any(slopes):
            return {}
        bars = np.array([r.bar for r in probed.readings]) + EXACT * np.abs(numerical)
        weights = 1 / np.maximum(bars, 1e-300)
        factor = float(np.sum(slopes * numerical * weights**2) / np.sum((slopes * weights) ** 2))
        if np.any(np.abs(numerical - factor * slopes) > FLAG * bars):
            return {}
        random = [k for k, r in enumerate(probed.readings) if r.kind == "random"]
        sees = FLAG * float(bars[random].max()) / SHOWN[len(random)]
        uncertainty = FLAG * float((np.sum((slopes * weights) ** 2)) ** -0.5) / max(abs(factor), 1e-300)
        return {
            i: replace(self._accused(probed, i), factor=factor, factor_bar=uncertainty)
            for i in group
            if abs(1 - factor) * self.prober.reach(i) > sees
        }

    def _halved(self, group: tuple[int, ...], direction: Direction, total: Reading) -> dict[int, Reading]:
        """The tensors whose own moves carry the error of the whole: one half is measured, the other is what is left."""
        wrong: dict[int, Reading] = {}
        waiting = [(group, total, True)]
        while waiting and len(wrong) + self.failures < MOST_FAILURES:
            part, whole, direct = waiting.pop()
            if len(part) == 1:
                own = whole if direct else self.prober.read_pair(direction.only(part), total.step)
                if own.flagged:
                    wrong[part[0]] = own
                continue
            left, right = part[: len(part) // 2], part[len(part) // 2 :]
            measured = self.prober.read_pair(direction.only(left), total.step)
            other = replace(measured, error=whole.error - measured.error, bar=whole.bar + measured.bar)
            waiting += [
                (half, r, d) for half, r, d in ((left, measured, True), (right, other, False)) if r.flagged
            ]
        return wrong

    def _blame_nobody(self, group: tuple[int, ...], probed: Probed) -> None:
        """An error of the whole that no part shows: none of them has passed, and none is to blame."""
        assert probed.flagged is not None
        size = abs(probed.flagged.error) / float(np.linalg.norm([self.prober.reach(i) for i in group]) or inf)
        for i in group:
            known = self.outcomes.get(i) or self._accused(probed, i)
            self.outcomes[i] = replace(known, verdict="inconclusive", resolution=max(known.resolution, size))

    def _settle(self, group: tuple[int, ...], probed: Probed, *, random: int) -> None:
        """Pass what has a share large enough; try the rest without the others, and at last one by one."""
        found = {i: self._unflagged(probed, i, group) for i in group}
        self.outcomes |= found
        rest = tuple(i for i in group if found[i].verdict != "pass" and not self._is_hopeless(i))
        if not rest:
            return
        if len(rest) < len(group):
            self.examine(rest, random=ALONE if len(rest) == 1 else TOGETHER)
        elif more := self._more_directions(min(found[i].resolution for i in rest), random):
            self.examine(rest, random=more)
        else:
            self._one_by_one(rest)

    def _more_directions(self, finest: float, random: int) -> int | None:
        """How many random directions can settle what so many did not."""
        left = self._until - self.prober.objective.n_forward
        more = (m for m in (ALONE, PATIENT) if m > random and m * EACH <= left)
        return next((m for m in more if finest * SHOWN[random] / SHOWN[m] <= self.resolution), None)

    def _is_hopeless(self, i: int) -> bool:
        """Whether noise alone hides so small a gradient, even along the longest step."""
        bar = DEVIATIONS * self.prober.noise * RATIO / LONGEST_STEP
        hidden = JOINTLY * bar / SHOWN[ALONE] > self.resolution * self.prober.shares[i]
        return hidden and not self.prober.is_zero(i)

    def _one_by_one(self, group: tuple[int, ...]) -> None:
        if len(group) > 1:
            for i in sorted(group, key=lambda i: -self.prober.shares[i])[:MOST_ALONE]:
                self.examine((i,), random=ALONE)

    def _accused(self, probed: Probed, i: int, reading: Reading | None = None) -> Outcome:
        reading = reading or probed.flagged
        against = self.prober.reach(i) or self.prober.reference
        boost = self.prober.boosts.get(i, 1.0)
        return Outcome(
            verdict="fail",
            error=probed.error / boost,
            bar=probed.bar / boost,
            resolution=_relative(FLAG * reading.bar if reading else probed.sees, against),
            flat=all(r.flat for r in probed.readings),
            kink=probed.at_kink and not probed.beyond_kinks,
            reading=reading.times(1 / boost) if reading else None,
        )

    def _unflagged(self, probed: Probed, i: int, group: Sequence[int]) -> Outcome:
        """Passed if its own share stands far enough above what could hide; a gradient of zero is small against the largest share."""
        prober = self.prober
        # Nothing but rounding is left of the gradient of any tensor in the group.
        zero = all(prober.is_zero(j) for j in group)
        resolution = _relative(probed.sees, prober.reference if zero else prober.reach(i))
        return Outcome(
            verdict="pass" if resolution <= self.resolution else "inconclusive",
            error=probed.error / prober.boosts.get(i, 1.0),
            bar=probed.bar / prober.boosts.get(i, 1.0),
            resolution=resolution,
            zero=zero,
            flat=all(r.flat for r in probed.readings),
            kink=probed.at_kink,
        )


def _relative(size: float, against: float) -> float:
    return size / against if against > 0 and isfinite(size) else inf
