"""A gradient that is NaN or infinite where F is finite: which elements, and what their numerical derivative is."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, nan

import numpy as np

from .causes.localize import element_reading
from .directional_error import Prober
from .error_estimate import FLAG
from .result import GradientCheck, Undefined, WorstElement

CAUSE = "not-finite"
SHOWN = 3
"""Elements that are told."""


def failed_where_undefined(prober: Prober, check: GradientCheck) -> GradientCheck:
    """The check of a gradient whose undefined elements were taken for zeros, with the failure that they are."""
    undefined = prober.objective.undefined
    guilty = {u.tensor for u in undefined}
    tensors = tuple(
        replace(t, verdict="fail", error=1.0, bar=0.0, cause=CAUSE) if i in guilty else t
        for i, t in enumerate(check.tensors)
    )
    elements = [_element(prober, u, k) for u in undefined for k in range(min(u.elements.size, SHOWN))]
    count = sum(u.elements.size for u in undefined)
    told = ", ".join(map(_told, elements[:SHOWN])) + (", ..." if count > SHOWN else "")
    others = [t.name for t in tensors if t.verdict == "fail" and t.cause != CAUSE]
    wrong = f"; wrong for {', '.join(others)} too" if others else ""
    return replace(
        check,
        verdict="fail",
        relative_error=1.0,
        cause=None if others else CAUSE,
        detail=f"not finite in {count} element{'s' if count > 1 else ''}, where f is finite: {told}{wrong}",
        tensors=tensors,
        where=elements[0].place,
        worst=elements[0],
    )


def _element(prober: Prober, undefined: Undefined, k: int) -> WorstElement:
    objective, tensor, element = prober.objective, undefined.tensor, int(undefined.elements[k])
    shape, scale = objective.shapes[tensor], prober.scales[tensor]
    reading = element_reading(prober, tensor, element)
    return WorstElement(
        name=objective.names[tensor],
        index=tuple(int(n) for n in np.unravel_index(element, shape)) if shape else (),
        analytic=float(undefined.values[k]),
        numerical=reading.error / scale if isfinite(reading.bar) else nan,
        bar=FLAG * reading.bar / scale,
    )


def _told(element: WorstElement) -> str:
    derivative = "its numerical derivative cannot be told"
    if isfinite(element.numerical):
        derivative = f"its numerical derivative is {element.numerical:.4g} ± {element.bar:.1g}"
    return f"{element.analytic:g} at {element.place} ({derivative})"
