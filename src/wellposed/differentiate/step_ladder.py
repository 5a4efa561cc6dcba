"""Derivatives at 0 of f along straight lines, from differences over a ladder of steps that shrink fourfold.

All lines climb together, so that one batch of points serves a rung of all of them; each stops when smaller steps can only be worse.
Every step is the one really taken in floating point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .function import Function
from .kinks import SLOWEST, slopes_diverge
from .lines import Indices, Lines
from .noise import (
    approached_smoothly,
    looks_like_noise,
    noise_factor_below,
    slopes_agree_below,
    within_noise_below,
)
from .quantisation import abrupt_change, allow_for_quantisation, skip_constant_steps
from .richardson import CLEAR, NOISE_WIDTHS, RATIO, Tableau, TableEntry, best_entry, chosen

Array = NDArray[np.float64]

LONGEST = 20
"""Rungs of a ladder at most: the last step is then 4e11 times smaller than the first."""
UNEVEN, GOLDEN = 0.03, 0.618
"""Steps deviate from the ratio of 4 by up to this part, each differently: where the values of f lie on a grid, as rounded ones do,
slopes along steps of a whole ratio would often be equal by chance."""
NOISE_SHARE = 10.0
"""A bar is final when at least a tenth of it is noise: a bar of truncation alone may be chance where the steps are longer than the
oscillations of f."""
ROUNDINGS = (2.0, 8.0)
"""The noise of a value beside x in units of its rounding, at least and at most, given that at x: values beside x may be larger, and so may
the terms that they are sums of."""
ANOTHER = 1e-2
"""Relative difference of two slopes that counts as one."""
DOUBTFUL = 8.0
"""What looks like noise underestimated by more than this may be oscillations of f shorter than the steps, or a pole between them."""


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """When a ladder may end."""

    rungs: int
    past_best: int
    """Rungs below the best one: they show whether the noise was estimated correctly."""


FULL = Ladder(rungs=5, past_best=3)
SHORT = Ladder(rungs=4, past_best=0)
"""For a line whose best steps are known from other lines."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Derivatives:
    """The derivatives of some lines; each array has the shape (lines, outputs)."""

    value: Array
    error: Array
    step: Array
    top: Array
    """The longest step that was used."""
    kink: NDArray[np.bool_]
    noise: Array
    one_sided: NDArray[np.bool_]
    slopes_agree: NDArray[np.bool_]
    """Whether the rungs below the best one have the same slope but for noise."""
    quantised: NDArray[np.bool_]
    """Whether f is quantised."""
    lone_jump: NDArray[np.bool_]
    """Whether f jumps beside x, and the steps were too short to show whether it does so again."""
    found: NDArray[np.bool_]
    """False where f was finite on too few steps."""

    def put(self, where: Any, other: Derivatives) -> None:
        for f in fields(self):
            getattr(self, f.name)[where] = getattr(other, f.name)

    def take(self, lines: Any) -> Derivatives:
        return Derivatives(**{f.name: getattr(self, f.name)[lines] for f in fields(self)})


def none_found(lines: int, outputs: int) -> Derivatives:
    shape = (lines, outputs)
    reals = {name: np.full(shape, np.nan) for name in ("value", "step", "top", "noise")}
    flags = {
        name: np.zeros(shape, dtype=bool)
        for name in ("kink", "one_sided", "slopes_agree", "quantised", "lone_jump", "found")
    }
    return Derivatives(error=np.full(shape, np.inf), **reals, **flags)


def climb(
    function: Function,
    lines: Lines,
    which: Indices,
    *,
    first: Array,
    noise: Array,
    coarse: NDArray[np.bool_] | None = None,
    side: int = 0,
    ladder: Ladder = FULL,
) -> Derivatives:
    """The derivatives along the lines `which`, from a first step of `first`; `noise` has the shape (lines, outputs).

    `coarse` says, in the same shape, where that noise is known to be rounding inside f. `side` 0 takes two-sided differences, +1 and -1
    one-sided ones on that side.
    """
    if coarse is None:
        coarse = np.zeros(noise.shape, dtype=bool)

    def rung(open_: Indices, steps: Array, so_far: Tableau) -> StepPair:
        return step_pair(function, lines, which[open_], steps, side, so_far.noise, coarse=so_far.coarse)

    def read(done: Indices, tableau: Tableau) -> Derivatives:
        return _read(function, lines, which[done], tableau)

    return descend(
        Tableau(noise=noise, coarse=coarse, side=side), first=first, rung=rung, read=read, ladder=ladder
    )


def descend(
    tableau: Tableau,
    *,
    first: Array,
    rung: Callable[[Indices, Array, Tableau], StepPair],
    read: Callable[[Indices, Tableau], Derivatives],
    ladder: Ladder,
) -> Derivatives:
    """Fill an empty tableau rung by rung; a line is finished when shorter steps can only be worse.

    `rung` evaluates the next step of the lines that continue, and `read` derives the result of those that are finished.
    """
    lines, outputs = tableau.noise.shape
    derivatives = none_found(lines, outputs)
    open_ = np.arange(lines)
    for k in range(LONGEST):
        steps = first[open_] / RATIO**k * (1 + UNEVEN * (k * GOLDEN % 1))
        taken = rung(open_, steps, tableau)
        with np.errstate(all="ignore"):
            tableau.add(taken.step, taken.slope, taken.second_difference, taken.noise)
            done = _settled(tableau, ladder) | (taken.step == 0)
        if k == LONGEST - 1:
            done[:] = True
        if done.any():
            with np.errstate(all="ignore"):
                derivatives.put(open_[done], read(open_[done], tableau.take(done)))
            tableau, open_ = tableau.take(~done), open_[~done]
        if not open_.size:
            break
    return derivatives


@dataclass(frozen=True, kw_only=True, eq=False)
class StepPair:
    """Differences at one step; NaN where f is not finite."""

    step: Array
    slope: Array
    second_difference: Array
    noise: Array
    """Standard deviation of the noise in the values of f that went in."""


def step_pair(
    function: Function,
    lines: Lines,
    which: Indices,
    h: Array,
    side: int,
    noise: Array,
    *,
    coarse: NDArray[np.bool_] | None = None,
) -> StepPair:
    centre = function.centre
    with np.errstate(all="ignore"):
        h = lines.near(which, h)
        if side:
            up, right = function.along(lines, which, side * h)
            down, slope = up, (up - centre) / right[:, None]
            step, second_difference = np.abs(right), np.zeros_like(slope)
        else:
            values, moved = function.along(lines, np.tile(which, 2), np.concatenate([h, -h]))
            up, down = values[: len(which)], values[len(which) :]
            right, left = moved[: len(which)], moved[len(which) :]
            slope = (up - down) / (right - left)[:, None]
            step, second_difference = (right - left) / 2, (up - centre) + (down - centre)
        rounding = rounding_beside(function, np.maximum(np.abs(up), np.abs(down)), noise, coarse)
    missing = ~np.isfinite(slope) | ~np.isfinite(second_difference)
    return StepPair(
        step=step,
        slope=np.where(missing, np.nan, slope),
        second_difference=np.where(missing, np.nan, second_difference),
        noise=np.maximum(noise, np.where(missing, 0.0, rounding)),
    )


def rounding_beside(
    function: Function, sizes: Array, noise: Array, coarse: NDArray[np.bool_] | None = None
) -> Array:
    """The rounding of values of these sizes beside x, where `noise` is that of the value at x."""
    most = ROUNDINGS[1] if coarse is None else np.where(coarse, np.inf, ROUNDINGS[1])
    roundings = np.clip(noise / function.rounding(function.centre), ROUNDINGS[0], most)
    return roundings * function.rounding(sizes)


def _settled(tableau: Tableau, ladder: Ladder) -> NDArray[np.bool_]:
    """Lines for all of whose outputs the best entry was followed by enough worse ones, and has noise in its bar."""
    if len(tableau.steps) < ladder.rungs:
        return np.zeros(len(tableau.steps[-1]), dtype=bool)
    best = best_entry(tableau)
    noise = NOISE_WIDTHS * best.deviation
    last = len(tableau.steps) - 1
    settled = (
        np.isfinite(best.error)
        & (last >= best.rung + ladder.past_best)
        & (best.error - noise <= NOISE_SHARE * noise)
    )
    if ladder is FULL:
        settled &= ~(_slope_leaves_best(tableau, best) | _point_is_isolated(tableau))
    return np.asarray(settled.all(axis=1))


def _slope_leaves_best(tableau: Tableau, best: TableEntry) -> NDArray[np.bool_]:
    """Whether the last slope differs from the best entry, and not by noise, which would grow fourfold from rung to rung.

    Then the steps of the best entry may be longer than the distance over which f varies near x.
    """
    away = [np.abs(row[0] - best.value) for row in tableau.values[-3:]]
    clear = away[-1] > best.error + CLEAR * tableau.deviations[-1][0]
    growth = np.stack([away[-1] / away[-2], away[-2] / away[-3]])
    each = RATIO**tableau.power
    noisy = ((growth > each / 2) & (growth < each * RATIO)).all(axis=0)
    return clear & ~noisy & (away[-1] > ANOTHER * np.abs(tableau.values[-1][0]))


def _point_is_isolated(tableau: Tableau) -> NDArray[np.bool_]:
    """Whether f(x) differs from f on both sides by as much at the last step as at the one before: then f varies over shorter steps only.

    For second derivatives: whether those on both sides differ ever more.
    """
    jumps = tableau.jumps
    if len(jumps.second_differences) < 2:
        return np.zeros(tableau.noise.shape, dtype=bool)
    if tableau.power > 1:
        return (jumps.seen[-1] > jumps.thresholds[-1]) & (jumps.seen[-1] > SLOWEST * jumps.seen[-2])
    longer, last = (np.abs(b) for b in jumps.second_differences[-2:])
    return (last > CLEAR * tableau.noise) & (last > longer / 2)


def _read(function: Function, lines: Lines, which: Indices, tableau: Tableau) -> Derivatives:
    tableau = skip_constant_steps(tableau, best_entry(tableau))
    diverging = diverges(tableau)
    tableau, best = read_smooth(tableau)
    reading = allow_for_quantisation(function, lines, which, tableau, best)
    tableau, best = reading.tableau, reading.best
    derivatives = derived(function, tableau, best, diverging=diverging)
    return replace(derivatives, quantised=reading.quantised, lone_jump=reading.lone_jump)


def diverges(tableau: Tableau) -> NDArray[np.bool_]:
    """Whether the slopes, or the jump between the slopes on both sides, grow without bound as the steps shrink."""
    powers = [h**tableau.power for h in tableau.steps]
    return (
        slopes_diverge([row[0] for row in tableau.values], powers, tableau.noise, power=tableau.power)
        | tableau.jumps.grows_without_bound()
    )


def read_smooth(tableau: Tableau) -> tuple[Tableau, TableEntry]:
    """The best entry for an f without quantisation, and the tableau with noise corrected by the ladder."""
    best = best_entry(tableau)
    noise_factor = noise_factor_below(tableau, best)
    deeper = best_entry(tableau, uncontradicted=True)
    apart = np.abs(best.value - deeper.value) > best.error + deeper.error
    chance = ~(approached_smoothly(tableau, best) & looks_like_noise(tableau, best))
    smooth = (noise_factor > DOUBTFUL) & apart & approached_smoothly(tableau, deeper) & chance
    # Or only shorter steps resolve quantisation or many kinks. Second differences over bounded oscillations fall so quickly with the
    # step that long steps agree on a wrong value.
    suspicious = abrupt_change(tableau, deeper).exists | (tableau.power > 1)
    hidden = (noise_factor > DOUBTFUL) & apart & within_noise_below(tableau, deeper) & suspicious
    smooth |= hidden
    noise_factor = np.where(smooth, 1.0, noise_factor)
    if (noise_factor > 1).any():
        tableau = tableau.with_noise_times(noise_factor)
        best = best_entry(tableau)
    best = chosen(smooth, deeper, best)
    return tableau, best


def derived(
    function: Function, tableau: Tableau, best: TableEntry, *, diverging: NDArray[np.bool_]
) -> Derivatives:
    """The derivatives from the best entry."""
    found = np.isfinite(best.error)
    step = _step(tableau, best.rung)
    jump = np.take_along_axis(tableau.jumps.to_cover(), best.rung[None], axis=0)[0]
    # The rounding of the slope itself, and underflow of the values.
    rounding = np.ldexp(np.abs(best.value), 1 - function.digits) + 5e-324 / step**tableau.power
    none = np.zeros(found.shape, dtype=bool)
    return Derivatives(
        value=best.value,
        error=np.where(diverging, np.inf, best.error + rounding),
        step=step,
        top=_step(tableau, np.maximum(best.rung - best.column, 0)),
        kink=found & (diverging | (jump > 0)),
        noise=tableau.noise,
        one_sided=np.full(found.shape, tableau.one_sided),
        slopes_agree=slopes_agree_below(tableau, best),
        quantised=none,
        lone_jump=none,
        found=found,
    )


def _step(tableau: Tableau, rung: NDArray[np.int64]) -> Array:
    steps = np.broadcast_to(np.stack(tableau.steps)[:, :, None], (len(tableau.steps), *rung.shape))
    return np.take_along_axis(steps, rung[None], axis=0)[0]
