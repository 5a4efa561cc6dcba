"""Differences at one step that the user gives, as in the textbooks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .differences import none_found, rung_of
from .function import Function
from .lines import ElementLines
from .search import Found, all_found, noise_along_lines, repeat_spread
from .tableau import NOISE_WIDTHS


def fixed_step(function: Function, lines: ElementLines, *, step: float, method: str) -> Found:
    """One step as given; halving it shows the truncation."""
    which = np.arange(lines.count)
    side = 1 if method == "one-sided" else 0
    spread = repeat_spread(function)
    noise = np.maximum(noise_along_lines(function, lines, which[:1]), spread).repeat(len(which), axis=0)
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
    found = replace(
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
    all_found(function, lines, found)
    return Found(derivatives=found, deterministic=not spread.any())
