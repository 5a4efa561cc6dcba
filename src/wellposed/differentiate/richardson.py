"""Richardson's tableau over a ladder of steps, for many lines and outputs at once.

L. F. Richardson, Phil. Trans. R. Soc. A 210 (1911); used as in C. J. F. Ridders, Adv. Eng. Software 4 (1982): every
entry is a candidate, and the one with the smallest error bar is the answer. The bar is the sum of the noise of the entry, the truncation
estimated from its neighbours in the tableau, and half of the jump of the slope at a kink.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .kinks import SlopeJumps

Array = NDArray[np.float64]

RATIO = 4.0
"""Between one step of the ladder and the next."""
COLUMNS = 4
"""Errors of the order of step^2, ^4, ^6, ^8 (two-sided)."""
NOISE_WIDTHS = 3.0
"""Half-width in standard deviations of the noise; covers 99.7 % when the noise is Gaussian."""
CLEAR = 8.0
"""Standard deviations of the noise above which a difference is not noise."""
JUMP_SHARE = 0.51
"""Half of the jump of the slope covers both one-sided slopes; a little more covers their own truncation."""


@dataclass(kw_only=True, eq=False)
class Tableau:
    """One row for each rung of the ladder, added one at a time.

    Its arrays have the shape (columns, lines, outputs); entries that do not exist, or use a step at which f is not finite, are NaN.
    """

    noise: Array
    """Standard deviation of each output's noise, shape (lines, outputs)."""
    coarse: NDArray[np.bool_]
    """Whether the noise is known to be rounding inside f, which grows with the values of f."""
    side: int
    """0: two-sided differences; +1 and -1: one-sided ones on that side."""
    power: int = 1
    """The order of the derivative, 1 or 2: the noise of a slope is that of f over this power of the step."""
    spread: float | None = None
    """Standard deviation of the noise of a slope times that power of the step, for noise of f of 1; None for a first difference."""
    second_difference_spread: float = 1.0
    """Standard deviation of the noise of a second difference times the step to the power - 1, in units of that of f(x+h) + f(x-h) - 2 f(x)."""
    steps: list[Array] = field(default_factory=list)
    values: list[Array] = field(default_factory=list)
    truncations: list[Array] = field(default_factory=list)
    deviations: list[Array] = field(default_factory=list)
    """Standard deviation of an entry's noise."""
    jumps: SlopeJumps = field(default_factory=SlopeJumps)

    def __post_init__(self) -> None:
        self.jumps.power = self.power

    @property
    def one_sided(self) -> bool:
        return self.side != 0

    @property
    def order(self) -> int:
        """Power of the step by which errors fall from one column to the next."""
        return 1 if self.one_sided else 2

    @property
    def _spread(self) -> float:
        if self.spread is not None:
            return self.spread
        return float(np.sqrt(2) if self.one_sided else np.sqrt(0.5))

    def add(self, step: Array, slope: Array, second_difference: Array, noise: Array) -> None:
        """Add a rung: `step` of shape (lines,), `slope` and `second_difference` = f(x+h) + f(x-h) - 2 f(x) of shape (lines, outputs), or
        its equivalent where the slopes are second derivatives.

        `noise` is that of the values at this step; they may be larger than f(x), and so more coarsely rounded.
        """
        order, k = self.order, len(self.steps)
        row = np.full((COLUMNS, *slope.shape), np.nan)
        deviations = np.full_like(row, np.nan)
        row[0] = slope
        deviations[0] = self._spread * noise / step[:, None] ** self.power
        for j in range(1, min(k + 1, COLUMNS)):
            factor = ((self.steps[k - j] / step) ** order)[:, None]
            row[j] = row[j - 1] + (row[j - 1] - self.values[-1][j - 1]) / (factor - 1)
            deviations[j] = (factor * deviations[j - 1] + self.deviations[-1][j - 1]) / (factor - 1)
        self.jumps.add(
            step, second_difference, self.second_difference_spread * noise / step[:, None] ** (self.power - 1)
        )
        self.steps.append(step)
        self.values.append(row)
        self.deviations.append(deviations)
        self.truncations.append(truncation(self.values[-3:], order=order))

    def with_noise_times(self, noise_factor: Array) -> Tableau:
        """The tableau for noise that is larger by this factor, one for each line and output."""
        return replace(
            self,
            noise=noise_factor * self.noise,
            deviations=[noise_factor * a for a in self.deviations],
            jumps=self.jumps.with_noise_times(noise_factor),
        )

    def with_noise_at_least(self, least: Array) -> Tableau:
        """The tableau for noise of at least this size at every rung, one for each line and output."""
        tableau = replace(
            self,
            noise=np.maximum(self.noise, least),
            steps=[],
            values=[],
            truncations=[],
            deviations=[],
            jumps=SlopeJumps(),
        )
        for step, row, deviations, second_difference in zip(
            self.steps, self.values, self.deviations, self.jumps.second_differences, strict=True
        ):
            tableau.add(
                step,
                row[0],
                second_difference,
                np.fmax(deviations[0] * step[:, None] ** self.power / self._spread, least),
            )
        return tableau

    def without_rungs_below(self, last: NDArray[np.int64]) -> Tableau:
        """The tableau without the rungs that follow `last`, one for each line and output."""

        def cut(arrays: list[Array]) -> list[Array]:
            return [np.where(k > last, np.nan, a) for k, a in enumerate(arrays)]

        return replace(
            self,
            values=cut(self.values),
            truncations=cut(self.truncations),
            deviations=cut(self.deviations),
        )

    def take(self, selected: NDArray[np.bool_]) -> Tableau:
        """The tableau of the selected lines."""
        return replace(
            self,
            noise=self.noise[selected],
            coarse=self.coarse[selected],
            steps=[a[selected] for a in self.steps],
            values=[a[:, selected] for a in self.values],
            truncations=[a[:, selected] for a in self.truncations],
            deviations=[a[:, selected] for a in self.deviations],
            jumps=self.jumps.take(selected),
        )


def truncation(rows: list[Array], *, order: int) -> Array:
    """The truncation of each entry: twice the sum of the changes still to come in its column, as a geometric series.

    In theory the changes shrink by a known factor. A slower observed decrease is used instead, and a single small change is taken for
    chance. `rows` are the last ones, at most three.
    """
    if len(rows) < 2:
        return np.full_like(rows[-1], np.nan)
    factor = (RATIO ** (order * np.arange(1.0, COLUMNS + 1)))[:, None, None]
    change = np.abs(rows[-1] - rows[-2])
    if len(rows) < 3:
        return 2 * change
    before = np.abs(rows[-2] - rows[-3])
    alone = np.isnan(before)
    change = np.fmax(change, before / (4 * factor))
    shrinks = np.clip(np.where(before > 0, change / before, 0.0), 1 / factor, 0.9)
    return np.where(alone, 2 * np.abs(rows[-1] - rows[-2]), 2 * change * shrinks / (1 - shrinks))


@dataclass(frozen=True, kw_only=True, eq=False)
class TableEntry:
    """One entry of each line and output, shape (lines, outputs)."""

    value: Array
    error: Array
    deviation: Array
    rung: NDArray[np.int64]
    column: NDArray[np.int64]


def best_entry(tableau: Tableau, *, uncontradicted: bool = False) -> TableEntry:
    """The entry with the smallest bar; with `uncontradicted`, after bars that shorter steps contradict have been widened."""
    values, deviations = np.concatenate(tableau.values), np.concatenate(tableau.deviations)
    jumps = np.repeat(tableau.jumps.to_cover(), COLUMNS, axis=0)
    errors = np.concatenate(tableau.truncations) + NOISE_WIDTHS * deviations + JUMP_SHARE * jumps
    errors = np.where(np.isfinite(errors) & np.isfinite(values), errors, np.inf)
    if uncontradicted:
        errors = contradicted(values, errors)
    place = errors.argmin(axis=0)[None]
    rung, column = np.divmod(place[0], COLUMNS)

    def chosen(a: Array) -> Array:
        return np.take_along_axis(a, place, axis=0)[0]

    return TableEntry(
        value=chosen(values), error=chosen(errors), deviation=chosen(deviations), rung=rung, column=column
    )


def chosen(first: NDArray[np.bool_], one: TableEntry, other: TableEntry) -> TableEntry:
    """`one` where `first`, else `other`."""
    return TableEntry(
        **{name: np.where(first, getattr(one, name), getattr(other, name)) for name in vars(one)}
    )


def contradicted(values: Array, errors: Array) -> Array:
    """The bars, widened to cover the best entry of each shorter step: steps longer than the oscillations of f, or across a pole,
    may agree by chance.
    """
    rows = errors.reshape(-1, COLUMNS, *errors.shape[1:])
    column = rows.argmin(axis=1)[:, None]
    least = np.take_along_axis(rows, column, axis=1)[:, 0]
    value = np.take_along_axis(values.reshape(rows.shape), column, axis=1)[:, 0]
    widened = rows.copy()
    for j in np.flatnonzero(np.isfinite(least).any(axis=tuple(range(1, least.ndim)))):
        apart = np.abs(values.reshape(rows.shape)[:j] - value[j])
        outside = apart > rows[:j] + least[j]
        widened[:j] = np.where(outside, np.maximum(widened[:j], apart + least[j]), widened[:j])
    return widened.reshape(errors.shape)
