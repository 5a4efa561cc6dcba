"""Whether f jumps or only bends where it parts from its tangent: halve the interval that holds the place, and look again.

The slope across the interval doubles each time at a jump, and stays what it is at a kink or in a bump.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .abrupt_changes import CLEAR, Parting
from .function import Function
from .lines import Indices, Lines
from .richardson import Entry, Tableau

Array = NDArray[np.float64]

HALVINGS = 10
STEEPER = 8.0
"""Growth of the slope over the second half of the halvings: 32 at a jump, about 1 at a kink."""
HIGHER = 1.25
"""A jump keeps its size; at a pole it grows."""
SIDES = np.array([[1.0], [-1.0]])


def jumps_beside(
    function: Function, lines: Lines, which: Indices, tableau: Tableau, best: Entry, parting: Parting
) -> Array:
    """The size of the jump of each line and output; 0 where f bends, or nothing is suspicious."""
    line, output = np.nonzero(parting.suspicious)
    sizes = np.zeros(parting.rung.shape)
    if not line.size:
        return sizes
    rung, value = parting.rung[line, output], best.value[line, output]
    steps = np.stack(tableau.steps)
    parted = np.stack([row[0] for row in tableau.values]) - best.value
    bends = np.stack(tableau.jumps.bends)

    def rest(k: Indices) -> Array:
        """F less its tangent at this rung, to the right and to the left."""
        return SIDES * parted[k, line, output] * steps[k, line] + bends[k, line, output] / 2

    low, high = steps[rung + 1, line], steps[rung, line]
    curve = rest(rung + 1) / low**2
    far = rest(rung) - curve * high**2
    if tableau.one_sided:
        side = np.full(len(line), 0 if tableau.side > 0 else 1)
    else:
        side = np.abs(far).argmax(axis=0)
    places = np.arange(len(line))
    curve, at_high, at_low = curve[side, places], far[side, places], np.zeros(len(line))
    gaps, slopes = [], []
    for _ in range(HALVINGS):
        middle = SIDES[side, 0] * lines.near(which[line], (low + high) / 2)
        values, step = function.along(lines, which[line], middle)
        at = values[places, output] - function.centre[output] - value * step - curve * step**2
        at = np.where(np.isfinite(at), at, 0.0)
        upper = np.abs(at - at_low) >= np.abs(at_high - at)
        high, at_high = np.where(upper, np.abs(step), high), np.where(upper, at, at_high)
        low, at_low = np.where(upper, low, np.abs(step)), np.where(upper, at_low, at)
        gaps.append(np.abs(at_high - at_low))
        slopes.append(gaps[-1] / (high - low))
    half = HALVINGS // 2 - 1
    steeper = slopes[-1] > STEEPER * slopes[half]
    clear = gaps[-1] > CLEAR * parting.deviation[line, output]
    sizes[line, output] = np.where(steeper & clear & (gaps[-1] < HIGHER * gaps[half]), gaps[-1], 0.0)
    return sizes
