"""Public entry points: `directional_derivative`, `jacobian`, `hessian_vector`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import callable_or_none
from ..errors import ArgumentError, WellposedError
from ._numerical_gradient import (
    Precision,
    as_result,
    bounded_lines,
    checked,
    element_lines,
    function_at,
    gradient_function_at,
    in_structure_of_x,
    in_units_of_f,
    scale_groups,
)
from .function import Function
from .lines import DirectionLine
from .points import flat_like, read_point
from .result import NumericalGradient
from .richardson import NOISE_WIDTHS, RATIO
from .step_ladder import ROUNDINGS
from .step_search import SearchResult, search

Array = NDArray[np.float64]

OFFSETS = (0.1257, 2e-3, 3e-5)
"""Largest distances, relative to the scale of x, of further points at which the step of a second difference is chosen."""


def directional_derivative(
    f: Callable[[Any], Any], x: Any, direction: Any, *, precision: Precision = "auto"
) -> NumericalGradient:
    """The derivative of f along a direction, for the price of one number however large x is.

    Parameters
    ----------
    f
        Takes `x` and returns real numbers: one, or an array or tensor of them.
    x
        As in `numerical_gradient`.
    direction
        Of the structure and the shapes of `x`; its length counts.
    precision
        As in `numerical_gradient`.

    Returns
    -------
    NumericalGradient
        ``value`` and ``error`` of the shape of f's output; ``step`` in units of `direction`.

    Raises
    ------
    ArgumentError, UserCodeError
        As in `numerical_gradient`; and when `direction` does not fit `x` or is zero.

    Examples
    --------
    >>> import numpy as np
    >>> from wellposed.differentiate import directional_derivative
    >>> slope = directional_derivative(lambda w: np.sum(w**2), np.array([1.0, 2.0]), np.array([3.0, -1.0]))
    >>> abs(slope.value - 2.0) <= slope.error < 1e-9
    True
    """
    checked(precision=precision)
    function = function_at(f, x, precision=precision, scalar=False)
    found = _along(function, direction, name="direction")
    return _beside(function, found)


def jacobian(
    f: Callable[[Any], Any], x: Any, *, precision: Precision = "auto", bounds: Any = None
) -> NumericalGradient:
    """The derivatives of all outputs of f by all elements of x.

    Parameters
    ----------
    f
        Takes `x` and returns an array or tensor of real numbers.
    x, precision, bounds
        As in `numerical_gradient`.

    Returns
    -------
    NumericalGradient
        ``value``, ``error``, ``step`` and ``kink`` in the structure of `x`, with the axes of the output in front: ``(3, 2)`` for three outputs of
        two elements. Costs as many evaluations as a gradient.

    Raises
    ------
    ArgumentError, UserCodeError
        As in `numerical_gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> from wellposed.differentiate import jacobian
    >>> jacobian(lambda w: np.array([w[0] * w[1], w[0], 7.0]), np.array([2.0, 3.0])).value.round(6).tolist()
    [[3.0, 2.0], [1.0, 0.0], [0.0, 0.0]]
    """
    checked(precision=precision)
    function = function_at(f, x, precision=precision, scalar=False, bounds=bounds)
    found = search(function, bounded_lines(function), scale_groups(function.point), method="auto")
    return in_structure_of_x(function, found, outputs=function.shape)


def hessian_vector(
    f: Callable[[Any], Any] | None,
    x: Any,
    v: Any,
    *,
    gradient: Callable[[Any], Any] | None = None,
) -> NumericalGradient:
    """The Hessian of f times v, by differences along v.

    Parameters
    ----------
    f
        Takes `x` and returns one real number. Differenced twice, at some 300 evaluations of f and 150 more for each element of x, with half of the digits.
    x
        As in `numerical_gradient`; real.
    v
        Of the structure and the shapes of `x`.
    gradient
        Takes `x` and returns the gradient in the structure of `x`. Then `f` is not needed (pass None), and some 30 evaluations of the gradient
        do, whatever the size.

    Returns
    -------
    NumericalGradient
        ``value`` and ``error`` in the structure of `x`.

    Raises
    ------
    ArgumentError, UserCodeError
        As in `numerical_gradient`; and when `v` does not fit `x` or is zero.

    Examples
    --------
    >>> import numpy as np
    >>> from wellposed.differentiate import hessian_vector
    >>> x, v = np.array([1.0, 2.0]), np.array([1.0, 0.5])
    >>> hessian_vector(None, x, v, gradient=lambda w: 3 * w**2).value.round(6).tolist()
    [6.0, 6.0]
    >>> hessian_vector(lambda w: np.sum(w**3), x, v).value.round(3).tolist()
    [6.0, 6.0]
    """
    if gradient is None and f is None:
        raise ArgumentError("f is None and no gradient is given: expected one of them")
    callable_or_none(f, "f")
    callable_or_none(gradient, "gradient")
    if any(leaf.is_complex for leaf in read_point(x, wide=True).leaves):
        raise ArgumentError("x is complex: expected real numbers; pass real and imaginary parts apart")
    if gradient is None:
        return _twice(f, x, v)  # type: ignore[arg-type]
    function = gradient_function_at(gradient, x, precision="auto", bounds=None)
    found = _along(function, v, name="v")
    derivatives = in_units_of_f(function, found.derivatives)
    turned = replace(derivatives, **{name: array.T for name, array in vars(derivatives).items()})
    return as_result(function, replace(found, derivatives=turned))


def _along(function: Function, direction: Any, *, name: str) -> SearchResult:
    line = direction_line(function, direction, name=name)
    return search(function, line, np.zeros(1, dtype=np.int64), method="auto")


def direction_line(function: Function, direction: Any, *, name: str) -> DirectionLine:
    point = function.point
    flat = flat_like(direction, point, name)
    if not np.isfinite(flat).all():
        raise ArgumentError(f"{name} holds values that are not finite: expected finite ones")
    moving = flat != 0
    if not moving.any():
        raise ArgumentError(f"{name} is zero: expected a direction that leads away from x")
    scale = float(np.min(element_lines(point).scales[moving] / np.abs(flat[moving])))
    return DirectionLine(point=point, direction=flat, scales=np.array([scale]))


def _beside(function: Function, found: SearchResult) -> NumericalGradient:
    """The result of one line: of the shape of f's output."""
    return in_structure_of_x(function, found, outputs=function.shape, like_x=False)


def _twice(f: Callable[[Any], Any], x: Any, v: Any) -> NumericalGradient:
    """The gradient of the derivative along v, where the latter always uses the step that is best at x."""
    function = function_at(f, x, precision="auto", scalar=True)
    line = direction_line(function, v, name="v")
    step, noise = _inner_step(function, v)
    steps: Array = np.asarray(step * RATIO ** np.arange(3), dtype=np.float64)
    weights = _weights(steps)

    def slopes(place: Any) -> Array:
        flat = read_point(place, wide=True).flat
        values = [
            (function.at(flat + h * line.direction) - function.at(flat - h * line.direction)) / (2 * h)
            for h in steps
        ]
        return weights @ np.concatenate(values)

    outer = function_at(slopes, x, precision="auto", scalar=False)
    found = search(outer, element_lines(outer.point), scale_groups(outer.point), method="auto")
    derivatives = in_units_of_f(outer, found.derivatives)
    # The difference of the two formulas is the error of the fourth-order one; that of the sixth-order one is smaller.
    disagreement = np.abs(derivatives.value[:, :1] - derivatives.value[:, 1:]) / RATIO
    kept = replace(derivatives, **{name: array[:, :1] for name, array in vars(derivatives).items()})
    ends = (derivatives.step[:, 0], derivatives.top[:, 0])
    slope = np.sqrt(0.5) * np.linalg.norm(weights[0] / steps)
    noises = [np.maximum(noise, _inner_rounding(function, line, outer, steps[-1], end)) / end for end in ends]
    rounding = NOISE_WIDTHS * np.sqrt(0.5) * slope * np.max(noises, axis=0)
    kept = replace(kept, error=kept.error + disagreement + rounding[:, None])
    result = as_result(outer, replace(found, derivatives=in_units_of_f(function, kept)))
    return replace(result, n_evaluations=function.n_evaluations)


def _inner_rounding(
    function: Function, line: DirectionLine, outer: Function, step: float, outer_steps: Array
) -> Array:
    """The rounding of f at the end points of the second differences, where its values may be larger than at x; one for each element of x."""
    lines = element_lines(outer.point)
    rows, _ = lines.moved(np.arange(lines.count), outer_steps)
    far = np.array([function.at(row + step * line.direction)[0] for row in rows])
    return ROUNDINGS[0] * function.rounding(far)


def _inner_step(function: Function, v: Any) -> tuple[float, float]:
    """The step along v and the noise: the smallest step that is best at x or at a few points beside it.

    Where f is even about x but for a linear term, all steps are equally good at x itself, and rounding may cancel there; beside x neither
    is so.
    """
    point, scales = function.point, element_lines(function.point).scales
    way = np.random.default_rng(0).uniform(-1.0, 1.0, size=point.flat.size)
    found = [_along(function, v, name="v").derivatives]
    for share in OFFSETS:
        try:
            beside = function.at_another_point(point.flat + share * way * scales)
            there = in_units_of_f(beside, _along(beside, v, name="v").derivatives)
            found.append(replace(there, noise=np.ldexp(there.noise, -function.exponents)))
        except WellposedError:  # f is not defined there
            continue
        function.n_evaluations += beside.n_evaluations
    return min(float(d.step[0, 0]) for d in found), float(np.max([d.noise[0] for d in found]))


def _weights(steps: Array) -> Array:
    """Weights of three slopes in an extrapolated slope of sixth order, and in one of fourth order."""
    squares = (steps[:, None] / steps[0]) ** (2 * np.arange(3))
    fine = np.linalg.solve(squares.T, np.array([1.0, 0, 0]))
    coarse = np.append(np.linalg.solve(squares[:2, :2].T, np.array([1.0, 0])), 0.0)
    return np.stack([fine, coarse])
