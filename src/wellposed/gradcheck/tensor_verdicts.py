"""From error estimates to a verdict for each tensor, by group tests: all tensors at once, then only those that are not settled.

A group of tensors is moved together. When nothing is flagged, every tensor with a large enough slope against the bar has passed, and the
others are tested again without them. When an error is flagged, the group is halved along that direction until single tensors are found
wrong, and the rest of the group is tested again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan

import numpy as np

from .confirm import JOINTLY, GroupEstimates, estimate_group
from .directional_error import ErrorEstimator
from .directions import SHOWN, Direction
from .error_estimate import DEVIATIONS, FLAG, LONGEST_STEP, RATIO, ErrorEstimate
from .noise import LOW_PRECISION
from .result import Verdict

TOGETHER, ALONE, PATIENT = 2, 4, 12
"""Random directions for a group, for a single tensor, and where more of them may settle it."""
EACH = 12
"""Evaluations that a direction may take."""
MOST_ALONE = 24
"""Tensors of one group that are tested one by one; the others keep the outcome of the group."""
MOST_PASSES, MOST_COARSE_PASSES = 400, 1200
"""Evaluations of F after which no further group is tested; low precision needs more of them."""
MOST_MULTIPLIED = 1e-7
"""The step multiplier of a tensor is at most this times the largest slope of its group in units of the noise."""
MOST_FAILURES = 12
"""Tensors that fail before the search for more of them ends."""
EXACT = 1e-6
"""A difference below this part of the slope counts as none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorOutcome:
    """What is known of one tensor; errors in units of F for a relative move of the tensor by 1."""

    verdict: Verdict
    error: float
    """Root mean square of the estimates along random directions."""
    bar: float
    resolution: float
    zero: bool = False
    """The gradient is zero but for rounding: `resolution` is relative to the largest slope."""
    flat: bool = False
    kink: bool = False
    """Kinks may have made the error, or are why the tensor is not resolved."""
    factor: float | None = None
    """Numerical over analytic, where one factor explains every estimate of the whole group."""
    factor_bar: float = 0.0
    """Relative uncertainty of `factor`."""
    estimate: ErrorEstimate | None = None
    """The estimate that showed a failure."""


def examine_all(
    estimator: ErrorEstimator, *, resolution: float, stop_at_kink: bool = False
) -> dict[int, TensorOutcome]:
    """A verdict for every tensor; with `stop_at_kink` a group that kinks leave unsettled is inconclusive at once.

    A pass promises that an error above `resolution`, relative to the tensor's gradient norm, would have been seen.
    """
    search = _GroupTests(estimator, resolution, stop_at_kink)
    search.examine(estimator.all_tensors, random=TOGETHER)
    unseen = TensorOutcome(verdict="inconclusive", error=nan, bar=inf, resolution=inf)
    return {i: search.outcomes.get(i, unseen) for i in estimator.all_tensors}


class _GroupTests:
    """The outcomes so far, and which group to test next."""

    def __init__(self, estimator: ErrorEstimator, resolution: float, stop_at_kink: bool) -> None:
        self.estimator, self.resolution, self.stop_at_kink = estimator, resolution, stop_at_kink
        self.outcomes: dict[int, TensorOutcome] = {}
        fine = estimator.objective.roundoff < LOW_PRECISION
        self._until = estimator.objective.n_forward + (MOST_PASSES if fine else MOST_COARSE_PASSES)

    @property
    def failures(self) -> int:
        return sum(o.verdict == "fail" for o in self.outcomes.values())

    def examine(self, group: tuple[int, ...], *, random: int) -> None:
        """Test a group of tensors together; those with small gradients move further, so that they can be measured beside the others."""
        if self.failures >= MOST_FAILURES or self.estimator.objective.n_forward > self._until:
            return
        with self.estimator.multiplied_steps(self._step_multipliers(group)):
            self._examine(group, random=random)

    def _step_multipliers(self, group: tuple[int, ...]) -> dict[int, float]:
        """Multipliers that make the slopes of a group equal, as far as its larger ones are still resolved; none for the group of all tensors."""
        if len(group) == len(self.estimator.all_tensors):
            return {}
        tensor_slopes = [self.estimator.tensor_slopes[i] for i in group]
        most = max(1.0, MOST_MULTIPLIED * max(tensor_slopes) / max(self.estimator.noise, 1e-300))
        return {
            i: min(max(tensor_slopes) / s, most) if s else 1.0
            for i, s in zip(group, tensor_slopes, strict=True)
        }

    def _examine(self, group: tuple[int, ...], *, random: int) -> None:
        group_estimates = estimate_group(self.estimator, group, random=random)
        if self.stop_at_kink and self._unsettled_by(group_estimates, group):
            self.outcomes |= {
                i: replace(self._failed(group_estimates, i), verdict="inconclusive") for i in group
            }
        elif group_estimates.flagged is not None:
            self._find_wrong(group, group_estimates)
        else:
            self._settle(group, group_estimates, random=random)

    def _unsettled_by(self, group_estimates: GroupEstimates, group: tuple[int, ...]) -> bool:
        """Whether kinks are why the group is neither right nor wrong."""
        if not group_estimates.at_kink or group_estimates.beyond_kinks:
            return False
        smallest = min(self.estimator.slope_scale(i) for i in group)
        return group_estimates.flagged is not None or group_estimates.resolution > self.resolution * smallest

    def _find_wrong(self, group: tuple[int, ...], group_estimates: GroupEstimates) -> None:
        """Find out which tensors of a flagged group are wrong, and test the others again without them."""
        assert group_estimates.flagged is not None
        assert group_estimates.direction is not None
        found = self._by_one_factor(group, group_estimates)
        if not found:
            alone = len(group) == 1
            wrong = (
                {group[0]: group_estimates.flagged}
                if alone
                else self._halved(group, group_estimates.direction, group_estimates.flagged)
            )
            found = {i: self._failed(group_estimates, i, estimate) for i, estimate in wrong.items()}
        self.outcomes |= found
        rest = tuple(i for i in group if i not in found)
        if not found:
            self._one_by_one(group)
            if not any(self.outcomes[i].verdict == "fail" for i in group if i in self.outcomes):
                self._leave_undecided(group, group_estimates)
        elif rest:
            self.examine(rest, random=ALONE if len(rest) == 1 else TOGETHER)

    def _by_one_factor(
        self, group: tuple[int, ...], group_estimates: GroupEstimates
    ) -> dict[int, TensorOutcome]:
        """The tensors that are wrong by one and the same factor, where that explains every estimate; none otherwise.

        The same estimates then check another gradient, the claimed one times the factor. It is right; so the claimed one is wrong for each
        tensor for which the two differ by more than the resolution.
        """
        slopes, numerical = (
            np.array([getattr(r, k) for r in group_estimates.estimates]) for k in ("slope", "numerical")
        )
        if not np.any(slopes):
            return {}
        bars = np.array([r.bar for r in group_estimates.estimates]) + EXACT * np.abs(numerical)
        weights = 1 / np.maximum(bars, 1e-300)
        factor = float(np.sum(slopes * numerical * weights**2) / np.sum((slopes * weights) ** 2))
        if np.any(np.abs(numerical - factor * slopes) > FLAG * bars):
            return {}
        random = [k for k, r in enumerate(group_estimates.estimates) if r.kind == "random"]
        resolution = FLAG * float(bars[random].max()) / SHOWN[len(random)]
        uncertainty = FLAG * float((np.sum((slopes * weights) ** 2)) ** -0.5) / max(abs(factor), 1e-300)
        return {
            i: replace(self._failed(group_estimates, i), factor=factor, factor_bar=uncertainty)
            for i in group
            if abs(1 - factor) * self.estimator.slope_scale(i) > resolution
        }

    def _halved(
        self, group: tuple[int, ...], direction: Direction, total: ErrorEstimate
    ) -> dict[int, ErrorEstimate]:
        """The tensors whose own moves carry the error, by halving: one half is measured, the other is the difference to the whole."""
        wrong: dict[int, ErrorEstimate] = {}
        waiting = [(group, total, True)]
        while waiting and len(wrong) + self.failures < MOST_FAILURES:
            part, whole, direct = waiting.pop()
            if len(part) == 1:
                own = (
                    whole
                    if direct
                    else self.estimator.estimate_from_two_steps(direction.only(part), total.step)
                )
                if own.flagged:
                    wrong[part[0]] = own
                continue
            left, right = part[: len(part) // 2], part[len(part) // 2 :]
            measured = self.estimator.estimate_from_two_steps(direction.only(left), total.step)
            other = replace(measured, error=whole.error - measured.error, bar=whole.bar + measured.bar)
            waiting += [
                (half, r, d) for half, r, d in ((left, measured, True), (right, other, False)) if r.flagged
            ]
        return wrong

    def _leave_undecided(self, group: tuple[int, ...], group_estimates: GroupEstimates) -> None:
        """An error of the group that no tensor shows by itself: none of them has passed, and none is wrong for certain."""
        assert group_estimates.flagged is not None
        size = abs(group_estimates.flagged.error) / float(
            np.linalg.norm([self.estimator.slope_scale(i) for i in group]) or inf
        )
        for i in group:
            known = self.outcomes.get(i) or self._failed(group_estimates, i)
            self.outcomes[i] = replace(known, verdict="inconclusive", resolution=max(known.resolution, size))

    def _settle(self, group: tuple[int, ...], group_estimates: GroupEstimates, *, random: int) -> None:
        """Pass the tensors that are resolved; test the rest without them, then along more directions, and finally one by one."""
        found = {i: self._not_flagged(group_estimates, i, group) for i in group}
        self.outcomes |= found
        rest = tuple(i for i in group if found[i].verdict != "pass" and not self._is_beyond_reach(i))
        if not rest:
            return
        if len(rest) < len(group):
            self.examine(rest, random=ALONE if len(rest) == 1 else TOGETHER)
        elif more := self._more_directions(min(found[i].resolution for i in rest), random):
            self.examine(rest, random=more)
        else:
            self._one_by_one(rest)

    def _more_directions(self, finest: float, random: int) -> int | None:
        """The number of random directions that would settle the best resolved tensor; None where no affordable number does."""
        left = self._until - self.estimator.objective.n_forward
        more = (m for m in (ALONE, PATIENT) if m > random and m * EACH <= left)
        return next((m for m in more if finest * SHOWN[random] / SHOWN[m] <= self.resolution), None)

    def _is_beyond_reach(self, i: int) -> bool:
        """Whether noise hides so small a gradient even along the longest step."""
        bar = DEVIATIONS * self.estimator.noise * RATIO / LONGEST_STEP
        hidden = JOINTLY * bar / SHOWN[ALONE] > self.resolution * self.estimator.tensor_slopes[i]
        return hidden and not self.estimator.is_zero(i)

    def _one_by_one(self, group: tuple[int, ...]) -> None:
        if len(group) > 1:
            for i in sorted(group, key=lambda i: -self.estimator.tensor_slopes[i])[:MOST_ALONE]:
                self.examine((i,), random=ALONE)

    def _failed(
        self, group_estimates: GroupEstimates, i: int, estimate: ErrorEstimate | None = None
    ) -> TensorOutcome:
        estimate = estimate or group_estimates.flagged
        against = self.estimator.slope_scale(i) or self.estimator.largest_slope
        multiplier = self.estimator.step_multipliers.get(i, 1.0)
        return TensorOutcome(
            verdict="fail",
            error=group_estimates.error / multiplier,
            bar=group_estimates.bar / multiplier,
            resolution=_relative(FLAG * estimate.bar if estimate else group_estimates.resolution, against),
            flat=all(r.flat for r in group_estimates.estimates),
            kink=group_estimates.at_kink and not group_estimates.beyond_kinks,
            estimate=estimate.times(1 / multiplier) if estimate else None,
        )

    def _not_flagged(self, group_estimates: GroupEstimates, i: int, group: Sequence[int]) -> TensorOutcome:
        """Passed if what could be hidden is small against the tensor's own slope; for a gradient of zero, against the largest slope."""
        estimator = self.estimator
        zero = all(estimator.is_zero(j) for j in group)
        resolution = _relative(
            group_estimates.resolution, estimator.largest_slope if zero else estimator.slope_scale(i)
        )
        return TensorOutcome(
            verdict="pass" if resolution <= self.resolution else "inconclusive",
            error=group_estimates.error / estimator.step_multipliers.get(i, 1.0),
            bar=group_estimates.bar / estimator.step_multipliers.get(i, 1.0),
            resolution=resolution,
            zero=zero,
            flat=all(r.flat for r in group_estimates.estimates),
            kink=group_estimates.at_kink,
        )


def _relative(size: float, against: float) -> float:
    return size / against if against > 0 and isfinite(size) else inf
