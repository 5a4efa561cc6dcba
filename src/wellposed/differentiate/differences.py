"""The derivative of a function of one number, from differences over a ladder of steps.

Every step is the one really taken in floating point. Richardson's extrapolation (Phil. Trans. R. Soc. A 210, 1911) over steps that
shrink fourfold gives a tableau, as in C. J. F. Ridders, Adv. Eng. Software 4 (1982); the entry with the smallest error bar is the answer,
where a bar adds what the noise can do to the entry and how far it lies from its neighbours in the tableau.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite, sqrt

RATIO = 4.0
ORDERS = 4
"""Columns of the tableau: errors of the order of step^2, ^4, ^6, ^8 (two-sided)."""
LONGEST = 16
NOISE_WIDTHS = 3.0
"""Half-width in standard deviations of the noise; covers 99.7 % when the noise is Gaussian."""
PAST_BEST = 3
"""Rungs below the best one before the ladder ends: the noise there is what tells whether its level was guessed right."""

Line = Callable[[float], tuple[float, float]]
"""``line(h)`` is f at the point moved by about h, and the move really made."""


@dataclass(frozen=True, kw_only=True)
class Derivative:
    value: float
    error: float
    step: float
    kink: bool = False
    one_sided: bool = False


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One step of the ladder."""

    step: float
    slope: float
    bend: float
    """f(x+h) + f(x-h) - 2 f(x), which no first derivative enters: what is left of it as h goes to 0 is a kink."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of Richardson's tableau."""

    value: float
    truncation: float
    noise_gain: float
    """Standard deviation of the entry's noise, for noise of 1 in f."""
    rung: int
    column: int

    def error(self, noise: float) -> float:
        return self.truncation + NOISE_WIDTHS * self.noise_gain * noise


def two_sided_rung(line: Line, centre: float, h: float) -> Rung | None:
    (up, right), (down, left) = line(h), line(-h)
    if right == left or not (isfinite(up) and isfinite(down)):
        return None
    return Rung(step=(right - left) / 2, slope=(up - down) / (right - left), bend=up + down - 2 * centre)


def one_sided_rung(line: Line, centre: float, h: float) -> Rung | None:
    up, right = line(h)
    if right == 0 or not isfinite(up):
        return None
    return Rung(step=abs(right), slope=(up - centre) / right, bend=0.0)


def climb(line: Line, centre: float, *, scale: float, noise: float, side: int = 0) -> Derivative | None:
    """The derivative at 0 of `line`, or None where f is finite on too few steps.

    `side` 0 takes two-sided differences, +1 and -1 one-sided ones on that side. `scale` is the first step times four.
    """
    rungs: list[Rung] = []
    order = 1 if side else 2
    h = scale / RATIO
    for _ in range(LONGEST):
        rung = one_sided_rung(line, centre, side * h) if side else two_sided_rung(line, centre, h)
        h /= RATIO
        if rung is not None:
            rungs.append(rung)
            if _enough(rungs, noise=noise, order=order):
                break
    if len(rungs) < 2:
        return None
    entries = tableau(rungs, order=order)
    best = min(entries, key=lambda entry: entry.error(noise))
    endless = _diverges(rungs, noise=noise)
    noise = max(noise, _noise_seen(entries, best, noise=noise))
    best = min(entries, key=lambda entry: entry.error(noise))
    error, step = best.error(noise), rungs[best.rung].step
    if endless:
        return Derivative(value=best.value, error=inf, step=step, kink=True, one_sided=bool(side))
    jump = 0.0 if side else _slope_jump(rungs, noise=noise)
    # At a kink the interval covers both one-sided slopes, and a little of what they still change.
    error = max(error, 0.51 * jump)
    return Derivative(value=best.value, error=error, step=step, kink=jump > 0, one_sided=bool(side))


def _enough(rungs: list[Rung], *, noise: float, order: int) -> bool:
    """The best entry lies some rungs back, and noise has a real share in its bar: smaller steps can only be worse.

    A bar of truncation alone may be chance, where the steps are longer than the waves of f.
    """
    if len(rungs) < 5:
        return False
    best = min(tableau(rungs, order=order), key=lambda entry: entry.error(noise))
    return (
        len(rungs) > best.rung + PAST_BEST and best.truncation <= 10 * NOISE_WIDTHS * best.noise_gain * noise
    )


def tableau(rungs: list[Rung], *, order: int) -> list[Entry]:
    """Richardson's tableau; column j is free of the first j terms of the truncation."""
    columns: list[list[float]] = [[] for _ in range(ORDERS)]
    above: list[float] = []
    gain = sqrt(2) if order == 1 else 1 / sqrt(2)
    entries = []
    for k, rung in enumerate(rungs):
        value, gains = rung.slope, [gain / rung.step]
        ratio = rungs[k - 1].step / rung.step if k else RATIO
        for j in range(min(k + 1, ORDERS)):
            if j:
                factor = ratio ** (order * j)
                value += (value - columns[j - 1][-2]) / (factor - 1)
                gains.append((factor * gains[j - 1] + above[j - 1]) / (factor - 1))
            columns[j].append(value)
            truncation = _truncation(columns[j], ratio ** (order * (j + 1)))
            entries.append(Entry(value=value, truncation=truncation, noise_gain=gains[j], rung=k, column=j))
        above = gains
    return entries


def _truncation(column: list[float], factor: float) -> float:
    """Twice the sum of the changes still to come in a column of the tableau, as a geometric series.

    The changes shrink by `factor` in theory; what is seen is believed where it is slower, and one lucky small change is not believed.
    """
    if len(column) < 2:
        return inf
    change = abs(column[-1] - column[-2])
    if len(column) < 3:
        return 2 * change
    before = abs(column[-2] - column[-3])
    change = max(change, before / (4 * factor))
    shrinks = min(max(change / before if before else 0.0, 1 / factor), 0.9)
    return 2 * change * shrinks / (1 - shrinks)


def _noise_seen(entries: list[Entry], best: Entry, *, noise: float) -> float:
    """The noise that the best entry's column shows below it: there it differs from the answer by noise alone."""
    below = [entry for entry in entries if entry.column == best.column and entry.rung > best.rung]
    if len(below) < 2:
        return 0.0
    seen = [max(abs(e.value - best.value) - best.error(noise), 0.0) / e.noise_gain for e in below]
    return sqrt(sum(s * s for s in seen) / len(seen))


def _diverges(rungs: list[Rung], *, noise: float) -> bool:
    """The slopes move ever further as the steps shrink, beyond what noise explains: a vertical tangent or a jump."""
    clear = [
        abs(smaller.slope - larger.slope)
        for larger, smaller in pairwise(rungs)
        if abs(smaller.slope - larger.slope) > 10 * noise / smaller.step
    ]
    return len(clear) >= 6 and all(b > a for a, b in pairwise(clear))


def _slope_jump(rungs: list[Rung], *, noise: float) -> float:
    """|slope to the right - slope to the left| when they differ beyond doubt, else 0.

    bend(h) = jump h + f'' h^2 + ...; two rungs give the jump free of f''. Of a smooth f it shrinks as h^3, so a jump is
    believed when it stands far above the noise and every smaller step that could contradict it agrees.
    """
    jumps, doubts = [], []
    for larger, smaller in pairwise(rungs):
        ratio = larger.step / smaller.step
        jumps.append(abs((ratio**2 * smaller.bend - larger.bend) / ((ratio**2 - ratio) * smaller.step)))
        doubts.append(8 * 3.3 * noise / smaller.step)
    clear = [
        jump for jump, doubt in zip(jumps, doubts, strict=True) if doubt < max(jumps[-3:], default=0.0) / 2
    ]
    if len(clear) < 3:
        return 0.0
    last = clear[-3:]
    return last[-1] if min(last) > 0.5 * max(last) else 0.0
