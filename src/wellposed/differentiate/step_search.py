"""The choice of steps: noise and steps are learnt on sample lines of each group and used on the remaining ones; or one step is given.

The whole ladder is repeated with longer steps where these were the best, and with one-sided differences beside bounds and where f ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from .function import FEWEST_VALUES, Function
from .lines import ElementLines, Indices, Lines
from .noise import POINTS, noises_along
from .richardson import NOISE_WIDTHS, RATIO
from .step_ladder import SHORT, Derivatives, climb, none_found, step_pair

Array = NDArray[np.float64]

FINEST = 1.2566 * 2.0**-43
"""Spacing of the values that measure the noise, relative to x: about a thousand roundings. Neither this nor any step is a power of two,
which at x = 0 would give values of f that need no rounding."""
COARSEST_SPACING = 4
"""The same in units of the spacing of the numbers, where x has fewer digits."""
WIDEST = 1e-3
SMALLEST = 2.0**-200
"""Share of the scale below which x counts as zero."""
GROWTH = 32.0
"""Ratio of one spacing to the last: f cannot oscillate within it if it changed by a few roundings before."""
FIRST_STEP = 0.1257
"""The first step of a ladder, relative to the scale of x: so short that log(x) and 1/x remain defined."""
SAMPLE_LINES = 3
"""Lines of each group for which the whole ladder is evaluated."""
STEP_GROWTH = 64.0
"""How many times longer the first step becomes where the longest steps were the best ones."""
MOST_RETRIES = 3
SHARP_ENOUGH = 0.01
"""Bar, relative to the value, that an f which is quantised needs before longer steps may replace it."""
SPARE_RUNGS = 3
"""A remaining line starts this many rungs above the best rung of the sample lines: as many as the extrapolation needs."""
REPEATS = 8
FEWEST_SPACINGS = 256.0
"""Room between the bounds, in spacings of the numbers beside x, that a ladder needs."""
TINIEST_STEP = 5e-324


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """Derivatives along all lines, and whether f is deterministic."""

    derivatives: Derivatives
    deterministic: bool


def search(function: Function, lines: Lines, groups: NDArray[np.int64], *, method: str) -> SearchResult:
    """Derivatives along `lines`; lines with the same number in `groups` share noise and steps."""
    spread = repeat_spread(function)
    derivatives = none_found(lines.count, len(function.centre))
    rng = np.random.default_rng(0)
    for members in _members(groups):
        sample_lines, remaining = _split_off_sample(members, rng)
        noise = np.maximum(noise_along_lines(function, lines, sample_lines), spread)
        first = FIRST_STEP * lines.scales
        sampled = _full_ladder(
            function, lines, sample_lines, first=first[sample_lines], noise=noise, method=method
        )
        derivatives.put(sample_lines, sampled)
        if remaining.size:
            start = _first_step_for_remaining(sampled, lines.scales[sample_lines]) * lines.scales[remaining]
            noise = np.repeat(np.max(sampled.noise, axis=0, keepdims=True), len(remaining), axis=0)
            if not spread.any():
                _consider_batches(function, lines, remaining, start, noise[0])
            coarse = np.repeat(sampled.quantised.any(axis=0, keepdims=True), len(remaining), axis=0)
            quick = _short_ladder(
                function, lines, remaining, start=start, noise=noise, coarse=coarse, method=method
            )
            derivatives.put(remaining, quick)
    refuse_missing(function, lines, derivatives)
    return SearchResult(derivatives=derivatives, deterministic=not spread.any())


def repeat_spread(function: Function) -> Array:
    """Standard deviation of f at x itself: 0 where a second evaluation gives the very same."""
    again = function.evaluate_again()
    if np.array_equal(again, function.centre):
        return np.zeros_like(again)
    values = np.array([function.centre, again, *(function.evaluate_again() for _ in range(REPEATS - 2))])
    # From few values the deviation is underestimated by half in one of twenty cases.
    return 1.5 * values.std(axis=0, ddof=1)


def _members(groups: NDArray[np.int64]) -> Iterator[Indices]:
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    yield from np.split(order, cuts)


def _split_off_sample(members: Indices, rng: np.random.Generator) -> tuple[Indices, Indices]:
    if len(members) <= SAMPLE_LINES:
        return members, members[:0]
    chosen = np.zeros(len(members), dtype=bool)
    chosen[rng.choice(len(members), SAMPLE_LINES, replace=False)] = True
    return members[chosen], members[~chosen]


def noise_along_lines(function: Function, lines: Lines, which: Indices) -> Array:
    """Standard deviation of the noise of each output along each line, shape (lines, outputs)."""
    found = [_noise_along_line(function, lines, int(line)) for line in which]
    return np.maximum(found, function.rounding(function.centre))


def _noise_along_line(function: Function, lines: Lines, line: int) -> Array:
    scale, inward = lines.scales[line], lines.inward(line)

    def values(ts: Array) -> Array:
        return function.along(lines, np.full(len(ts), line), ts)[0]

    def spaced(wished: float) -> float:
        return inward * float(lines.near(np.array([line]), np.array([wished]))[0])

    size = min(lines.size(line), scale)
    size = size if size > SMALLEST * scale else scale
    finest = max(FINEST * size, COARSEST_SPACING * lines.resolution(line))
    # Without x itself: a jump there would look like noise.
    places = np.arange(1, POINTS + 1)
    room = float(lines.room(np.array([line]), int(inward))[0])
    widest = min(WIDEST * size, room / POINTS)
    noise = noises_along(values, places, spacing=spaced(finest), widest=widest, growth=GROWTH)
    if not function.knows_digits:
        values(inward * min(scale * FIRST_STEP, room) * np.linspace(0.5, 1.0, FEWEST_VALUES))
    return noise


def _full_ladder(
    function: Function, lines: Lines, which: Indices, *, first: Array, noise: Array, method: str
) -> Derivatives:
    """The whole ladder; then with longer steps where these may be better, and one-sided where f ends beside x."""
    found = none_found(len(which), noise.shape[1])
    if method != "one-sided":
        within = _within(lines, which, first)
        found.put(..., climb(function, lines, which, first=within, noise=noise))
        _retry_lone_jumps(function, lines, which, found, first=within, noise=noise)
        _retry_with_larger_steps(function, lines, which, found, first=within)
    if method == "auto":
        _one_sided_beside_bounds(function, lines, which, found, first=first, noise=noise)
    if method != "two-sided":
        _one_sided_where_missing(function, lines, which, found, first=first, noise=noise)
    return found


def _retry_with_larger_steps(
    function: Function,
    lines: Lines,
    which: Indices,
    found: Derivatives,
    *,
    first: Array,
    side: int = 0,
) -> None:
    def again(some: Indices, first: Array, noise: Array, coarse: NDArray[np.bool_]) -> Derivatives:
        return climb(function, lines, which[some], first=first, noise=noise, coarse=coarse, side=side)

    # One-sided entries use several rungs, and noise matters more in the choice.
    retry_with_larger_steps(found, again, first=first, factor=RATIO**3 if side else RATIO)


def retry_with_larger_steps(
    found: Derivatives,
    again: Callable[[Indices, Array, Array, NDArray[np.bool_]], Derivatives],
    *,
    first: Array,
    factor: float,
) -> None:
    """Where the best steps were within a factor `factor` of the longest ones, try longer ones; keep results that agree and are sharper.

    `again` evaluates some lines from other first steps, with the present noise, and whether that is rounding inside f.
    """
    for i in range(1, MOST_RETRIES + 1):
        fine = 4 * 2.0**-53 * np.abs(found.value)
        limited = (
            found.found
            & (found.top >= first[:, None] * STEP_GROWTH ** (i - 1) / factor)
            & (found.error > fine)
        )
        # A wide bar agrees with anything, for example with the flat ends of a tanh.
        limited &= ~found.kink & (~found.quantised | (found.error < SHARP_ENOUGH * np.abs(found.value)))
        some = np.flatnonzero(limited.any(axis=1))
        if not some.size:
            return
        old = {name: getattr(found, name)[some] for name in ("value", "error", "quantised")}
        larger = again(some, first[some] * STEP_GROWTH**i, found.noise[some], old["quantised"])
        agrees = np.abs(larger.value - old["value"]) <= old["error"]
        better = larger.found & agrees & ~larger.kink & (larger.error < 0.5 * old["error"])
        better &= larger.slopes_agree | ~old["quantised"]
        _put(found, some, better | (larger.quantised & ~old["quantised"]), larger)
        found.quantised[some] |= old["quantised"]


def _retry_lone_jumps(
    function: Function, lines: Lines, which: Indices, found: Derivatives, *, first: Array, noise: Array
) -> None:
    """Where f jumps beside x, use somewhat longer steps, which show whether f is quantised."""
    again = np.flatnonzero(found.lone_jump.any(axis=1))
    if again.size:
        larger = climb(function, lines, which[again], first=first[again] * RATIO**2, noise=noise[again])
        _put(found, again, found.lone_jump[again] & larger.quantised, larger)


def _put(found: Derivatives, lines: Indices, where: NDArray[np.bool_], other: Derivatives) -> None:
    """Replace the derivatives of some lines by `other`, at the places `where`."""
    for name in vars(found):
        array = getattr(found, name)
        array[lines] = np.where(where, getattr(other, name), array[lines])


def _one_sided_where_missing(
    function: Function, lines: Lines, which: Indices, found: Derivatives, *, first: Array, noise: Array
) -> None:
    roomier = np.where(lines.room(which, 1) >= lines.room(which, -1), 1, -1)
    for sides in (roomier, -roomier):
        for side in (1, -1):
            missing = np.flatnonzero(~found.found.all(axis=1) & (sides == side))
            if missing.size:
                beside = _on_one_side(
                    function, lines, which[missing], side, first=first[missing], noise=noise[missing]
                )
                _put(found, missing, ~found.found[missing], beside)


def _on_one_side(
    function: Function, lines: Lines, which: Indices, side: int, *, first: Array, noise: Array
) -> Derivatives:
    room = lines.room(which, side)
    within = np.where(room > 0, np.minimum(first, room), first)
    found = climb(function, lines, which, first=within, noise=noise, side=side)
    if np.isfinite(lines.room(which, -side)).any():
        # A bound limited the first step, not the oscillations of f.
        _retry_with_larger_steps(function, lines, which, found, first=within, side=side)
    return found


def _within(lines: Lines, which: Indices, first: Array) -> Array:
    """First steps that stay within the bounds on both sides; unchanged where there is no room at all."""
    room = np.minimum(lines.room(which, 1), lines.room(which, -1))
    return np.where(room > 0, np.minimum(first, room), first)


def _one_sided_beside_bounds(
    function: Function, lines: Lines, which: Indices, found: Derivatives, *, first: Array, noise: Array
) -> None:
    """Where a bound kept the steps short, one-sided differences away from it may be sharper."""
    up, down = lines.room(which, 1), lines.room(which, -1)
    nearest = np.minimum(up, down)[:, None]
    cramped = (~found.found | (found.top >= nearest / RATIO**2)).any(axis=1) & np.isfinite(nearest[:, 0])
    for side, own in ((1, up >= down), (-1, up < down)):
        again = np.flatnonzero(cramped & own)
        if again.size:
            beside = _on_one_side(function, lines, which[again], side, first=first[again], noise=noise[again])
            sharper = ~found.found[again] | (beside.error < found.error[again])
            _put(found, again, beside.found & sharper, beside)


def _first_step_for_remaining(sampled: Derivatives, scales: Array) -> float:
    """The first step of the remaining lines, relative to their scale: some rungs above the best one of the sample lines.

    A sample line whose derivative is 0 within its bar does not count: where f is even, all steps are equally good.
    """
    telling = sampled.found & (np.abs(sampled.value) > sampled.error)
    steps = np.where(telling, sampled.step, np.nan) / scales[:, None]
    if np.isnan(steps).all():
        return FIRST_STEP
    return float(np.nanmax(steps)) * RATIO**SPARE_RUNGS


def _short_ladder(
    function: Function,
    lines: Lines,
    which: Indices,
    *,
    start: Array,
    noise: Array,
    coarse: NDArray[np.bool_],
    method: str,
) -> Derivatives:
    if method == "one-sided":
        return _full_ladder(function, lines, which, first=start, noise=noise, method=method)
    within = _within(lines, which, start)
    found = climb(function, lines, which, first=within, noise=noise, coarse=coarse, ladder=SHORT)
    if method == "auto":
        _one_sided_beside_bounds(function, lines, which, found, first=start, noise=noise)
        _one_sided_where_missing(function, lines, which, found, first=start, noise=noise)
    return found


def _consider_batches(function: Function, lines: Lines, which: Indices, start: Array, noise: Array) -> None:
    if not function.vectorised:
        rows, _ = lines.moved(which[:64], lines.near(which[:64], start[:64]))
        function.vectorise(rows, noise=noise)


def refuse_missing(function: Function, lines: Lines, derivatives: Derivatives) -> None:
    for k in np.flatnonzero(~derivatives.found.all(axis=1))[:1]:
        name = lines.name(int(k))
        refuse_too_little_room(lines, int(k))
        if function.refused is not None:
            raise function.refused
        raise ArgumentError(
            f"{function.name} is not finite beside x{f' along {name}' if name else ''}: expected finite values within a small step of x"
        )


def refuse_too_little_room(lines: Lines, line: int) -> None:
    """Where the bounds leave too little room for differences, say so."""
    name, which = lines.name(line), np.array([line])
    room = max(float(lines.room(which, side)[0]) for side in (1, -1))
    if room <= FEWEST_SPACINGS * max(lines.resolution(line), TINIEST_STEP):
        raise ArgumentError(
            f"bounds{f' at {name}' if name else ''}: x can move by {room:.2g} at most, which is some of its roundings: "
            "expected more room; widen the bounds, or leave that element out of x"
        )


def fixed_step(function: Function, lines: ElementLines, *, step: float, method: str) -> SearchResult:
    """Differences at the one step that the user gave; halving it shows the truncation."""
    which = np.arange(lines.count)
    sides = _sides(lines, step=step, method=method)
    spread = repeat_spread(function)
    noise = np.maximum(noise_along_lines(function, lines, which[:1]), spread).repeat(len(which), axis=0)
    found = none_found(lines.count, 1)
    for side in sorted(set(sides.tolist())):
        own = which[sides == side]
        found.put(own, _at_one_step(function, lines, own, step=step, side=side, noise=noise[own]))
    refuse_missing(function, lines, found)
    return SearchResult(derivatives=found, deterministic=not spread.any())


def _sides(lines: ElementLines, *, step: float, method: str) -> NDArray[np.int64]:
    """0, +1 or -1 for each element: where the bounds leave no room for the step to both sides or up, it is taken to the other one."""
    which = np.arange(lines.count)
    up, down = (lines.room(which, side) >= step for side in (1, -1))
    sides = np.where(up, 1, -1) if method == "one-sided" else np.where(up & down, 0, np.where(up, 1, -1))
    cramped = ~(up & down) if method == "two-sided" else ~(up | down)
    for k in np.flatnonzero(cramped)[:1]:
        name = lines.name(int(k))
        raise ArgumentError(
            f"step is {step:g}, longer than the bounds leave room for{f' at {name}' if name else ''}: expected a shorter one, or None"
        )
    return sides


def _at_one_step(
    function: Function, lines: ElementLines, which: Indices, *, step: float, side: int, noise: Array
) -> Derivatives:
    whole = step_pair(function, lines, which, np.full(len(which), step), side, noise)
    half = step_pair(function, lines, which, np.full(len(which), step / 2), side, noise)
    h, slope, noise = whole.step[:, None], whole.slope, whole.noise
    # Halving removes half of a first-order error and three quarters of a second-order one; half of that again is a margin.
    truncation = np.abs(slope - half.slope) * (3.0 if side else 2.0)
    truncation = np.where(np.isnan(truncation), np.inf, truncation)
    error = truncation + NOISE_WIDTHS * noise * (2**0.5 if side else 2**-0.5) / h
    jump = np.abs(whole.second_difference) / h
    change = np.abs(2 * np.abs(half.second_difference) / h - jump)
    kink = (jump > 0) & (change < 0.25 * jump - 8 * noise / h)
    return replace(
        none_found(len(which), 1),
        value=slope,
        error=np.where(kink, np.maximum(error, jump / 2), error),
        step=h,
        top=h,
        kink=kink,
        noise=noise,
        one_sided=np.full(slope.shape, bool(side)),
        found=np.isfinite(slope),
    )
