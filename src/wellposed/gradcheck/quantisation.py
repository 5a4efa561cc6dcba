"""Quantisation of F: rounding inside F that is coarser than its dtype, so that short steps stay within one level and show no slope.

Nothing here changes the estimator. What must be taken into account afterwards is returned as an `Adjustment`.
"""

from __future__ import annotations

from itertools import pairwise
from math import log2

from .differences import DifferencePair
from .directional_error import ErrorEstimator
from .directions import Direction
from .error_estimate import FLAG, LONGEST_STEP, RATIO, Adjustment, ErrorEstimate, ShortStepEstimate, agree
from .noise import LOW_PRECISION, noise_at_spacing

FINE_SPACINGS = (1e-9, 1e-6)
"""Spacings at which a rounding to six or more digits shows."""
COARSE_SPACINGS = (1e-4, 4e-3)
"""Spacings at which a rounding to two to five digits shows."""
LONG_STEP_PAIRS = (1e-1, 5e-2, 2.5e-2, 1.25e-2, 3e-3, 1.5e-3)
"""Steps that cross the levels of a rounding to few bits, in pairs of which one is twice the other."""
LONG_STEPS = (5e-2, 4e-3, 3e-4)
"""Steps so far apart that an error which is the same along two of them is no truncation error of a smooth F."""
HALVINGS, QUIET_HALVINGS = 8, 3
"""Halvings of an interval that a jump survives; and after how many without a deviation the search ends."""
WITHOUT_JUMPS = 64.0
"""After the halvings a deviation without a jump is at least 256 times smaller; that of many small jumps 16 times."""
CLEAR, MOST_JUMPS = 32.0, 1e4
"""Standard deviations of the noise above which a jump is clear, even where the noise is underestimated; and the most jumps, squared,
that add up to what looks like noise."""
STEP_FACTOR = 16.0
"""Between lengths of step that are compared."""
FLOAT32, BFLOAT16 = 2.0**-24, 2.0**-8
"""Unit roundoffs."""
BELOW_HALF = (1e-5, 5e-5)
"""Steps that float32 resolves, and float16 and bfloat16 hardly ever."""
FEWER_THAN_FLOAT32 = 2.0**-17
"""Noise, relative to F, that float32 does not make, and float16 and bfloat16 do."""
IN_FLOAT32 = (1e-3, 2.5e-4)
"""Steps that float32 resolves, and a rounding to fewer digits does not."""
STRAIGHT = 1e-3
"""Change of the slope, relative to it, that curvature may make along steps that are still short."""
VANISHED = 4.0
"""An error that is this many times smaller along a longer step is not real; in a pair of steps one of them may show half as much."""


def jumps_at_point(estimator: ErrorEstimator) -> bool:
    """Whether F jumps at the point itself: a sixteenth of a step leaves the whole of a jump, and about a sixteenth of anything else."""
    direction = estimator.new_direction(estimator.all_tensors)
    step = estimator.good_step or estimator.first_step
    for side in (step, -step):
        far, near = (
            abs(estimator.differences.value(direction, t) - estimator.centre)
            for t in (side, side / STEP_FACTOR)
        )
        if near > far / 2 and near > FLAG * estimator.noise:
            return True
    return False


def computes_in_half(estimator: ErrorEstimator) -> bool:
    """Whether F is rounded to float16 or bfloat16 somewhere inside: steps that suit float32 contradict the claimed slope, and F jumps."""
    direction = estimator.new_full_direction()
    if not any(_contradicts_slope(estimator, direction, step) for step in BELOW_HALF):
        return False
    noise = noise_at_spacing(estimator.differences, direction, COARSE_SPACINGS[-1])
    return noise > FEWER_THAN_FLOAT32 * estimator.scale_of_f and has_jumps(
        estimator, direction, rounding=noise
    )


def _contradicts_slope(estimator: ErrorEstimator, direction: Direction, step: float) -> bool:
    """Whether the numerical slope differs from the claimed one by more than half of it, and by more than noise."""
    pair = estimator.differences.pair(direction, step)
    return pair is not None and abs(pair.residual_slope) > max(
        CLEAR * estimator.noise / step, abs(pair.slope) / 2
    )


def computes_in_float32(estimator: ErrorEstimator) -> bool:
    """Whether F is rounded to float32 somewhere inside: the shortest steps contradict the claimed slope, and steps that float32 resolves confirm it."""
    short = estimator.short_steps
    if short is None or not short.disagrees_with(0.0, 0.0, noise=estimator.noise):
        return False
    pairs = (estimator.differences.pair(short.direction, step) for step in IN_FLOAT32)
    if not all(p is not None and abs(p.residual_slope) * STEP_FACTOR < abs(short.error) for p in pairs):
        return False
    # Oscillations shorter than these steps average out along them too, but have no jumps.
    noise = noise_at_spacing(estimator.differences, short.direction, IN_FLOAT32[-1] / STEP_FACTOR)
    return has_jumps(estimator, short.direction, IN_FLOAT32[-1], rounding=noise) and not jumps_at_point(
        estimator
    )


def hidden_noise(estimator: ErrorEstimator, spacings: tuple[float, ...] = FINE_SPACINGS) -> Adjustment:
    """Look once for rounding coarser than the declared one, for example from a cast inside F; no tiny step crosses its levels."""
    if estimator.searched_spacings.issuperset(spacings):
        return Adjustment()
    direction = estimator.new_full_direction()
    fine = estimator.objective.roundoff < LOW_PRECISION
    noises = {spacing: noise_at_spacing(estimator.differences, direction, spacing) for spacing in spacings}
    # Oscillations shorter than the spacing look like noise too, but have no jumps; low precision always has jumps.
    hidden = [
        noise
        for spacing, noise in noises.items()
        if noise > 4 * estimator.noise
        and not (fine and not has_jumps(estimator, direction, 11 * spacing, rounding=noise))
    ]
    return Adjustment(
        matters=bool(hidden), noise=max(hidden, default=0.0), searched_spacings=frozenset(spacings)
    )


def explain_short_steps(estimator: ErrorEstimator, short: ShortStepEstimate) -> Adjustment:
    """Why the shortest steps show another error than longer ones: quantisation, whose noise is then known, or oscillation.

    If F oscillates the steps must be short.
    """
    differences = estimator.differences
    if estimator.step_limit < LONGEST_STEP:
        return Adjustment()
    if differences.value(short.direction, short.step) == estimator.centre:  # within one level
        return Adjustment()
    slope = estimator.slope_norm(short.direction.tensors)
    same = max(abs(short.error) / STEP_FACTOR, STRAIGHT * slope)
    step = short.step
    while step * STEP_FACTOR < LONGEST_STEP:
        pair = differences.pair(short.direction, step * STEP_FACTOR)
        if pair is None or short.disagrees_with(pair.residual_slope, same, noise=estimator.noise):
            break
        step *= STEP_FACTOR
    if step == short.step:  # the short steps themselves lie beside a jump
        return Adjustment()
    noise = noise_at_spacing(differences, short.direction, step * STEP_FACTOR)
    if any(
        has_jumps(estimator, short.direction, side * step * STEP_FACTOR, rounding=noise) for side in (1, -1)
    ):
        return _more_noise(estimator, noise)
    return Adjustment(matters=True, step_limit=max(step, RATIO**2 * estimator.shortest_step))


def _more_noise(estimator: ErrorEstimator, noise: float) -> Adjustment:
    return Adjustment(matters=noise > 4 * estimator.noise, noise=noise)


def wide_quantisation(estimator: ErrorEstimator, error: float) -> Adjustment:
    """Look for quantisation with levels wider than the steps of the estimates, which found no error beyond `error`.

    Along longer steps it shows as an error that is clear and the same at two lengths; that of a smooth F falls by 16 as the step falls by
    4. Kinks beside the point and oscillations make such errors too, but have no jumps.
    """
    if estimator.has_waves:
        return Adjustment()
    direction = estimator.new_full_direction()
    pairs = [estimator.differences.pair(direction, step) for step in LONG_STEPS]
    steps = [b.step for a, b in pairwise(pairs) if a and b and agree(a, b, clear=2 * FLAG * error)]
    if not steps:
        return Adjustment()
    hidden = hidden_noise(estimator)
    if hidden.matters:
        return hidden
    noise = noise_at_spacing(estimator.differences, direction, steps[-1] / 4)
    if not has_jumps(estimator, direction, steps[-1], rounding=noise):
        return hidden
    more = _more_noise(estimator, noise)
    return Adjustment(matters=more.matters, noise=more.noise, searched_spacings=hidden.searched_spacings)


def has_jumps(
    estimator: ErrorEstimator,
    direction: Direction,
    step: float = LONG_STEP_PAIRS[0],
    *,
    rounding: float = 0.0,
) -> bool:
    """Whether F jumps between the point and the end of a step, by bisection towards the half that deviates more from a straight line.

    The value in the middle deviates from the mean of the ends by half of a jump between them, however often the interval is halved; with
    oscillations the deviation falls 4 times with each halving, with a kink 2 times. Jumps that look like noise of size `rounding` are
    not much smaller than that.
    """
    least = max(CLEAR * estimator.noise, rounding / MOST_JUMPS)

    def value(t: float) -> float:
        return estimator.differences.residual(direction, t)

    near, middle, far = 0.0, step / 2, step
    ends = [value(near), value(middle), value(far)]
    deviations: list[float] = []
    for _ in range(int(log2(abs(step) / estimator.finest_step))):
        left, right = value((near + middle) / 2), value((middle + far) / 2)
        halves = ([ends[0], left, ends[1]], [ends[1], right, ends[2]])
        sizes = [abs(a + c - 2 * b) for a, b, c in halves]
        deviations.append(max(sizes))
        if not max(deviations[-QUIET_HALVINGS:]) > least:
            return False
        if deviations[-1] <= least:  # two equal jumps lie on both sides of the middle
            sizes = [abs(c - a) for a, _, c in halves]
        if sizes[0] > sizes[1]:
            far, ends = middle, halves[0]
        else:
            near, ends = middle, halves[1]
        middle = (near + far) / 2
    if len(deviations) <= HALVINGS:
        return False
    # At a pole the deviation grows.
    smallest = max(least, deviations[-1 - HALVINGS] / WITHOUT_JUMPS)
    return smallest < deviations[-1] < 2 * max(deviations[:HALVINGS])


def vanishes_at_longer_steps(
    estimator: ErrorEstimator, direction: Direction, estimate: ErrorEstimate
) -> bool:
    """Whether a pair of longer steps confirms the claimed derivative, although this estimate found an error.

    A wrong gradient is wrong at every step. Where F is rounded to few bits, steps shorter than a level show none of its slope and
    longer ones do. Curvature of a smooth F may cancel an error along one step, but leaves three quarters of it along half of that step.
    """
    unit = estimator.longest_step / LONGEST_STEP
    for longer, shorter in zip(LONG_STEP_PAIRS[::2], LONG_STEP_PAIRS[1::2], strict=True):
        if shorter * unit <= 2 * estimate.step:
            return False
        first = _reduction(estimator, direction, estimate, longer * unit)
        if first > VANISHED / 2:
            second = _reduction(estimator, direction, estimate, shorter * unit)
            if second > VANISHED / 2 and max(first, second) > VANISHED:
                return True
    return False


def _reduction(
    estimator: ErrorEstimator, direction: Direction, estimate: ErrorEstimate, step: float
) -> float:
    """How many times smaller the error along another step is than this estimate's, and than the claimed derivative there."""
    pair = estimator.differences.pair(direction, step)
    return min(abs(estimate.error), abs(pair.slope)) / max(abs(pair.residual_slope), 1e-300) if pair else 0.0


def changes_beyond_claim(estimator: ErrorEstimator, direction: Direction, estimate: ErrorEstimate) -> bool:
    """Whether F, which did not change at all, changes along the first longer step that moves it, by more than the claim makes of the one before."""
    step = estimate.step
    while estimate.flat_pair and step < estimator.longest_step:
        step *= 8
        pair = estimator.differences.pair(direction, step)
        if pair is None:
            return True
        if not pair.flat:
            return abs(pair.slope) * step / 8 < abs(pair.residual_slope + pair.slope) * step
    return False


def changes_at_long_steps(estimator: ErrorEstimator) -> bool:
    """Whether F, which did not change along short steps, changes along long ones."""
    direction = estimator.new_full_direction()
    pairs: list[DifferencePair | None] = [
        estimator.differences.pair(direction, step) for step in (*LONG_STEPS, 1.0, LONGEST_STEP)
    ]
    return any(p is None or not p.flat for p in pairs)
