"""Error estimates of a group of tensors along several directions, and what must be excluded before an error accuses the gradient.

An error is believed when a much shorter step confirms it (noise and jumps would differ), when a new direction does (kinks beside the point
would differ), and when longer steps do not show the claimed derivative to be right (as they do where F is quantised).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

import numpy as np

from .directional_error import ErrorEstimator
from .directions import SHOWN, Direction
from .error_estimate import FLAG, ErrorEstimate, ShortStepEstimate
from .noise import LOW_PRECISION
from .quantisation import (
    COARSE_SPACINGS,
    changes_beyond_claim,
    explain_short_steps,
    has_jumps,
    hidden_noise,
    vanishes_at_longer_steps,
)

MISSED = 0.01
"""Chance that an error as large as the stated resolution does not show along the random directions."""
JOINTLY = 1.5
"""Root mean square of the significance of all random directions above which they are flagged together: three standard deviations of the
noise on each of them."""
SHORTER = 2.0**14
"""How many times shorter the step is that confirms an error, where the noise permits."""
ROOM = 4.0
"""A step that can be shortened by less than this confirms nothing."""
COARSE = 1e-3
"""A bar above this part of the slope asks for other explanations: undeclared rounding, or kinks."""
KINKED = 1e-3
"""Kinks below this part of the slope do not matter."""
KINKS = 100.0
"""An error so many times larger than the kinks along all directions is not made by kinks."""
LUCKY = 4.0
"""How many times smaller than the median of the bars along other directions a bar may be."""
CALM = 3.0
"""Standard deviations of the noise within which a kink may be noise."""
REDRAWN = 2
"""New directions for each random one, where some cross kinks."""

Estimates = list[tuple[Direction, ErrorEstimate]]


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupEstimates:
    """What several directions say of a group of tensors that move together."""

    estimates: tuple[ErrorEstimate, ...]
    flagged: ErrorEstimate | None
    """A confirmed error; None where there is none."""
    direction: Direction | None = None
    """That of the confirmed error."""

    @property
    def random(self) -> list[ErrorEstimate]:
        """Those along random directions."""
        return [e for e in self.estimates if e.kind == "random"]

    @property
    def bar(self) -> float:
        return max(e.bar for e in self.random)

    @property
    def error(self) -> float:
        return float(np.sqrt(np.mean([e.error**2 for e in self.random])))

    @property
    def at_kink(self) -> bool:
        """A kink lies at the point, or kinks beside it make up much of a bar."""
        return any(e.at_kink for e in self.estimates) or any(
            abs(e.kink) > FLAG * e.kink_noise and e.clear_kink > 0.25 * e.bar for e in self.random
        )

    @property
    def beyond_kinks(self) -> bool:
        """The error is too large to be made by the kinks that were met."""
        return self.flagged is not None and abs(self.flagged.error) > KINKS * _rms(
            [e.kink for e in self.estimates]
        )

    @property
    def resolution(self) -> float:
        """The smallest error that shows with a chance of at least 1 - `MISSED`, whatever its shape."""
        return JOINTLY * self.bar / SHOWN[len(self.random)]

    @property
    def joint_significance(self) -> float:
        return float(np.sqrt(np.mean([e.significance**2 for e in self.random])))


def estimate_group(estimator: ErrorEstimator, group: Sequence[int], *, random: int) -> GroupEstimates:
    """Estimates along random directions, sign(g) and sign(theta); it ends early with the first confirmed error."""
    slope = estimator.slope_norm(group)
    wanted = (1e-5 if len(group) > 1 else 1e-4) * (slope or 0.01 * estimator.largest_slope)
    directions: list[Direction | None] = [estimator.new_direction(group) for _ in range(random)]
    if estimator.short_steps is not None:
        directions[0] = estimator.short_steps.direction
    directions += [estimator.signs_of_gradient(group), estimator.signs_of_parameters(group)]
    estimates, kink = _estimate_all(estimator, directions, wanted=wanted)
    if (
        any(e.steps_disagree for _, e in estimates)
        and _is_double(estimator)
        and estimator.apply(hidden_noise(estimator))
    ):
        return estimate_group(estimator, group, random=random)
    short = estimator.short_steps
    if (
        short is not None
        and _short_steps_tell_more(estimator, short, estimates[0][1], coarse=COARSE * slope)
        and estimator.apply(explain_short_steps(estimator, short))
    ):
        return estimate_group(estimator, group, random=random)
    if any(e.bar > COARSE * slope for _, e in estimates):
        suspicious = any(e.flagged or e.flat for _, e in estimates)
        if suspicious and estimator.apply(hidden_noise(estimator)):
            estimator.apply(hidden_noise(estimator, COARSE_SPACINGS))
            estimates, kink = _estimate_all(estimator, directions, wanted=wanted)
        estimates, kink = _without_kinks(estimator, estimates, group, kink=kink, slope=slope, wanted=wanted)
    for k in sorted(range(len(estimates)), key=lambda k: -estimates[k][1].significance):
        direction, estimate = estimates[k]
        if not estimate.flagged:
            break
        if not _shorter_step_agrees(estimator, direction, estimate):
            if estimator.apply(hidden_noise(estimator)):
                return estimate_group(estimator, group, random=random)
            doubt: float | None = abs(estimate.error)
        else:
            doubt = _doubt(estimator, direction, estimate, kink=kink)
        if doubt is None and vanishes_at_longer_steps(estimator, direction, estimate):
            if _is_double(estimator) and estimator.apply(hidden_noise(estimator, COARSE_SPACINGS)):
                return estimate_group(estimator, group, random=random)
            # Oscillations shorter than long steps leave nothing of their slope there either, but have no jumps.
            if not _is_double(estimator) or has_jumps(estimator, direction):
                doubt = abs(estimate.error)
        if doubt is None:
            return GroupEstimates(
                estimates=tuple(e for _, e in estimates), flagged=estimate, direction=direction
            )
        # Found once and not confirmed: it counts as uncertainty, neither as a pass nor as an accusation.
        estimates[k] = (direction, replace(estimate, bar=max(estimate.bar, doubt)))
    return _flagged_jointly(estimator, estimates, group, wanted=wanted)


def _short_steps_tell_more(
    estimator: ErrorEstimator, short: ShortStepEstimate, estimate: ErrorEstimate, *, coarse: float
) -> bool:
    """Whether far shorter steps along the same direction give another error, or a much sharper one."""
    vague = estimate.bar > max(coarse, FLAG * short.bar(estimator.noise))
    return vague or short.disagrees_with(estimate.error, estimate.bar, noise=estimator.noise)


def _without_kinks(
    estimator: ErrorEstimator,
    estimates: Estimates,
    group: Sequence[int],
    *,
    kink: float,
    slope: float,
    wanted: float,
) -> tuple[Estimates, float]:
    """New random directions in place of those that cross kinks; the choice does not depend on the gradient's error."""
    random = [pair for pair in estimates if pair[1].kind == "random"]
    if not any(e.clear_kink > KINKED * slope for _, e in random):
        return estimates, kink
    more = [estimator.new_direction(group) for _ in range(REDRAWN * len(random))]
    drawn = random + [(d, estimator.estimate_along(d, wanted=wanted)) for d in more]
    calm = [pair for pair in drawn if abs(pair[1].kink) <= CALM * pair[1].kink_noise]
    kinked = [e for _, e in drawn if abs(e.kink) > CALM * e.kink_noise]
    kink = _rms([e.clear_kink for e in kinked])
    others = [pair for pair in estimates if pair[1].kind != "random"]
    # Where many kinks are crossed at once, their sum is small now and then by chance, and says nothing.
    by_chance = sum(CALM * e.kink_noise / kink for _, e in drawn) if kink else 0.0
    if len(calm) >= len(random) and by_chance < 0.1 * len(random):
        return calm[: len(random)] + [(d, e.widened(kink)) for d, e in others], 0.0
    return [(d, e.widened(kink)) for d, e in drawn[: len(random)] + others], kink


def _flagged_jointly(
    estimator: ErrorEstimator, estimates: Estimates, group: Sequence[int], *, wanted: float
) -> GroupEstimates:
    """Many small errors together show what none of them shows alone; new directions must show the same."""
    first = GroupEstimates(estimates=tuple(e for _, e in estimates), flagged=None)
    if first.joint_significance <= JOINTLY:
        return first
    # Quantisation hides a part of the slope; smaller errors have another cause.
    large = any(abs(e.error) > COARSE * abs(e.slope) for e in first.estimates)
    if large and _is_double(estimator) and estimator.apply(hidden_noise(estimator, COARSE_SPACINGS)):
        return estimate_group(estimator, group, random=len(first.random))
    new, _ = _estimate_all(estimator, [estimator.new_direction(group) for _ in first.random], wanted=wanted)
    again = GroupEstimates(estimates=tuple(e for _, e in new), flagged=None)
    direction, clearest = max(new, key=lambda pair: pair[1].significance)
    sure = again.joint_significance > JOINTLY and not (first.at_kink or again.at_kink)
    if (
        sure
        and _shorter_step_agrees(estimator, direction, clearest)
        and not vanishes_at_longer_steps(estimator, direction, clearest)
    ):
        return replace(first, flagged=clearest, direction=direction)
    doubt = max(first.joint_significance, again.joint_significance)
    return GroupEstimates(estimates=tuple(replace(e, bar=e.bar * doubt) for _, e in estimates), flagged=None)


def _estimate_all(
    estimator: ErrorEstimator, directions: Sequence[Direction | None], *, wanted: float
) -> tuple[Estimates, float]:
    """An estimate along each direction, and the root mean square of the kinks that they met."""
    estimates = [(d, estimator.estimate_along(d, wanted=wanted)) for d in directions if d is not None]
    kink = _rms([e.clear_kink for _, e in estimates])
    typical = float(np.median([e.bar for _, e in estimates]))
    # A bar far below the others is luck: this direction has missed what the others met.
    bars = [max(e.bar, typical / LUCKY) if isfinite(typical) else e.bar for _, e in estimates]
    return [(d, replace(e, bar=bar).widened(kink)) for (d, e), bar in zip(estimates, bars, strict=True)], kink


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else 0.0


def _confirming_step(estimator: ErrorEstimator, estimate: ErrorEstimate) -> float:
    """A step much shorter than the estimate's own, at which noise is still small against the error."""
    noisy = 64 * FLAG * estimator.noise / abs(estimate.error) if estimate.error else inf
    return min(estimate.step, max(estimate.step / SHORTER, noisy, 4 * estimator.shortest_step))


def _has_room(estimator: ErrorEstimator, estimate: ErrorEstimate) -> bool:
    """Whether the step can be shortened enough to confirm anything."""
    return _confirming_step(estimator, estimate) * ROOM <= estimate.step


def _is_double(estimator: ErrorEstimator) -> bool:
    """Whether F declares float64; coarser rounding somewhere inside is then unexpected."""
    return estimator.objective.roundoff < LOW_PRECISION


def _shorter_step_agrees(estimator: ErrorEstimator, direction: Direction, estimate: ErrorEstimate) -> bool:
    """Whether a shorter step gives the same error. Noise and jumps would change it, and so would a slope that F has only further away."""
    if _has_room(estimator, estimate):
        again = estimator.estimate_from_two_steps(direction, _confirming_step(estimator, estimate))
        return abs(again.error - estimate.error) <= abs(estimate.error) / 4 + FLAG * again.bar
    again = estimator.estimate_from_two_steps(direction, estimate.step / ROOM)
    same = abs(again.error - estimate.error) <= abs(estimate.error) / 2 + again.bar
    return same and again.error * estimate.error > 0 and abs(again.error) > again.bar


def _doubt(
    estimator: ErrorEstimator, direction: Direction, estimate: ErrorEstimate, *, kink: float
) -> float | None:
    """None when new directions with the same signs confirm the error; else the bar that the estimate deserves, at least its error.

    Their steps are much shorter where noise permits: a wrong gradient is as wrong there, while kinks beside the point are not met.
    """
    doubtful = abs(estimate.error)
    step = _confirming_step(estimator, estimate)
    for _ in range(1 if _has_room(estimator, estimate) else 2):
        again = estimator.estimate_from_two_steps(estimator.same_signs(direction), step).widened(kink)
        if not again.flagged or again.error * estimate.error < 0:
            return max(again.bar, doubtful)
    return doubtful if estimate.flat_pair and changes_beyond_claim(estimator, direction, estimate) else None
