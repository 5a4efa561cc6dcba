"""Differences at one step that the user gives, as in the textbooks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from .function import Function
from .lines import ElementLines, Indices
from .richardson import NOISE_WIDTHS
from .step_ladder import Derivatives, none_found, rung_of
from .step_search import Found, all_found, noise_along_lines, repeat_spread

Array = NDArray[np.float64]


def fixed_step(function: Function, lines: ElementLines, *, step: float, method: str) -> Found:
    """One step as given; halving it shows the truncation."""
    which = np.arange(lines.count)
    sides = _sides(lines, step=step, method=method)
    spread = repeat_spread(function)
    noise = np.maximum(noise_along_lines(function, lines, which[:1]), spread).repeat(len(which), axis=0)
    found = none_found(lines.count, 1)
    for side in sorted(set(sides.tolist())):
        own = which[sides == side]
        found.put(own, _at_one_step(function, lines, own, step=step, side=side, noise=noise[own]))
    all_found(function, lines, found)
    return Found(derivatives=found, deterministic=not spread.any())


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
    whole = rung_of(function, lines, which, np.full(len(which), step), side, noise)
    half = rung_of(function, lines, which, np.full(len(which), step / 2), side, noise)
    h, slope, noise = whole.step[:, None], whole.slope, whole.noise
    # Halving takes away half of a first-order error and three quarters of a second-order one; once more half of it as a margin.
    truncation = np.abs(slope - half.slope) * (3.0 if side else 2.0)
    truncation = np.where(np.isnan(truncation), np.inf, truncation)
    error = truncation + NOISE_WIDTHS * noise * (2**0.5 if side else 2**-0.5) / h
    jump = np.abs(whole.bend) / h
    change = np.abs(2 * np.abs(half.bend) / h - jump)
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
