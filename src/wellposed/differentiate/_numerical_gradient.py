"""Public entry point: `numerical_gradient`; and what the other entry points share with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..arguments import choice, number, refused
from ..errors import ArgumentError, UserCodeError
from .bounds import bounds_of
from .function import Function
from .lines import ElementLines
from .points import Point, flat_like, read_only, read_point
from .result import NumericalGradient
from .step_ladder import Derivatives
from .step_search import SearchResult, fixed_step, search

Array = NDArray[np.float64]
Method = Literal["auto", "two-sided", "one-sided"]
Precision = Literal["auto", "float64", "own"]
METHODS = ("auto", "two-sided", "one-sided")
PRECISIONS = ("auto", "float64", "own")
TINIEST = 1e-280
"""Smaller elements count as zero when steps are chosen: a fraction of them would underflow."""
OCTAVES = 4.0
"""Elements of one array belong to one scale group when they are within a factor of 2^4 of each other, roughly."""


def numerical_gradient(
    f: Callable[[Any], Any],
    x: Any,
    *,
    method: Method = "auto",
    step: float | None = None,
    precision: Precision = "auto",
    bounds: Any = None,
) -> NumericalGradient:
    """The gradient of a scalar function by differences, with an error bar that covers.

    Two-sided differences over a ladder of steps, each step the one really taken; the noise of f is estimated, and the step
    follows from it. A lone number takes some 30 evaluations of f, each element of a large array about 9: tens of
    thousands of elements are better checked with `check_gradients`, which needs tens of evaluations in all. `x` is never changed.

    Parameters
    ----------
    f
        Takes `x` and returns one real number: a float, or an array or tensor of one element.
    x
        A float, a complex number, a NumPy array, a torch tensor or a JAX array, or dicts, lists and tuples of these.
    method
        ``"two-sided"`` (error of the order of step^2), ``"one-sided"`` (order of step), or ``"auto"``: two-sided, and one-sided beside the
        end of f's domain.
    step
        Fixes one step, in units of x, as in the textbooks; the error bar then comes from halving it.
    precision
        What f receives: ``"float64"``, ``"own"`` (the dtypes of `x`, at points that these hold exactly), or ``"auto"``: float64, and
        the dtypes of `x` when f refuses that.
    bounds
        ``(low, high)``: f is evaluated within them alone. Numbers, or arrays like `x`, or its structure; None and infinities for no bound.
        On a bound and beside it the differences are one-sided, if ``method="auto"``.

    Returns
    -------
    NumericalGradient
        ``value``, ``error`` (half-width), ``kink``, ``step`` in the structure of `x`; ``noise``, ``n_evaluations``, ``vectorised``. By a
        complex element the value is dF/dRe + i dF/dIm, as torch's ``grad`` is (JAX's is its conjugate).

    Raises
    ------
    ArgumentError
        When x holds no floats or a value that is not finite or outside of the bounds, f is not scalar or not finite at x, or f
        changes x.
    UserCodeError
        When f raises; its ``__cause__`` is what f raised.

    Notes
    -----
    Noise: Moré & Wild, SIAM J. Sci. Comput. 33 (2011). Extrapolation: Ridders, Adv. Eng. Software 4 (1982).

    Examples
    --------
    >>> import wellposed as wp
    >>> cube = wp.numerical_gradient(lambda theta: theta**3, 1.0)
    >>> abs(cube.value - 3.0) <= cube.error < 1e-9
    True
    >>> round(wp.numerical_gradient(lambda theta: theta**3, 1.0, step=0.01).value, 4)
    3.0001
    >>> round(wp.numerical_gradient(lambda theta: theta**3, 1.0, step=0.01, method="one-sided").value, 4)
    3.0301
    """
    checked(method=method, step=step, precision=precision)
    function = function_at(f, x, precision=precision, scalar=True, bounds=bounds)
    lines = bounded_lines(function)
    refuse_without_room(lines, method=method)
    if step is not None:
        return in_structure_of_x(function, fixed_step(function, lines, step=step, method=method))
    return in_structure_of_x(function, search(function, lines, scale_groups(function.point), method=method))


def checked(*, method: str = "auto", step: float | None = None, precision: str = "auto") -> None:
    """Raise an ArgumentError that names the argument at fault."""
    choice(method, "method", METHODS)
    choice(precision, "precision", PRECISIONS)
    if step is not None:
        number(step, "step", above=0, expected="a finite number above 0, in units of x")


def function_at(
    f: Callable[[Any], Any], x: Any, *, precision: str, scalar: bool, bounds: Any = None, name: str = "f"
) -> Function:
    """F at x, in the precision that was asked for or that f accepts; `name` is that of f in messages."""
    if not callable(f):
        raise refused(name, f, "a function of x")
    point = read_point(x, wide=precision != "own")
    limits = bounds_of(bounds, point)
    if precision != "auto" or all(leaf.digits == 53 for leaf in point.leaves):
        return Function(f, point, scalar=scalar, bounds=limits, name=name)
    try:
        return Function(f, point, scalar=scalar, bounds=limits, name=name)
    except UserCodeError:
        # f may hold float32 weights, which cannot be combined with float64 arguments.
        return Function(f, read_point(x, wide=False), scalar=scalar, bounds=limits, name=name)


def gradient_function_at(gradient: Callable[[Any], Any], x: Any, *, precision: str, bounds: Any) -> Function:
    """The user's gradient function at x, as a function to one flat vector like x."""
    point = read_point(x, wide=True)

    def flat(place: Any) -> Array:
        return flat_like(gradient(place), point, "gradient(x)")

    return function_at(flat, x, precision=precision, scalar=False, bounds=bounds, name="gradient")


def bounded_lines(function: Function) -> ElementLines:
    """A line for each element of x, within the bounds of f."""
    return replace(element_lines(function.point), bounds=function.bounds)


def refuse_without_room(lines: ElementLines, *, method: str) -> None:
    """Raise an error where an element stands on its bound and the differences must be two-sided."""
    which = np.arange(lines.count)
    if method == "two-sided":
        for k in np.flatnonzero((lines.room(which, 1) <= 0) | (lines.room(which, -1) <= 0))[:1]:
            name = lines.name(int(k))
            raise ArgumentError(
                f"x{f', {name},' if name else ''} stands on its bound, where method='two-sided' has no room: expected 'auto' or 'one-sided'"
            )


def element_lines(point: Point) -> ElementLines:
    scales = np.empty_like(point.flat)
    for leaf in point.filled:
        sizes = _sizes(leaf.values, leaf.is_complex)
        sizes = np.where(sizes < TINIEST, 0.0, sizes)
        largest = float(np.max(sizes)) or 1.0
        typical = largest * float(np.sqrt(np.mean((sizes / largest) ** 2))) or 1.0
        scales[leaf.start : leaf.stop] = np.maximum(sizes, typical)
    return ElementLines(point=point, scales=scales)


def _sizes(values: Array, is_complex: bool) -> Array:
    """|x| of each element; that of a complex one twice, for its two parts."""
    return np.repeat(np.hypot(values[0::2], values[1::2]), 2) if is_complex else np.abs(values)


def scale_groups(point: Point) -> NDArray[np.int64]:
    """The number of each element's group: elements of one array and of similar size share one."""
    groups = np.empty(point.flat.size, dtype=np.int64)
    used = 0
    for leaf in point.filled:
        sizes = _sizes(leaf.values, leaf.is_complex)
        with np.errstate(divide="ignore"):
            bands = np.floor(np.log2(sizes / (sizes.max() or 1.0)) / OCTAVES)
        bands = np.maximum(bands, -1e6)
        _, numbers = np.unique(bands, return_inverse=True)
        groups[leaf.start : leaf.stop] = used + numbers
        used += int(numbers.max()) + 1
    return groups


def in_units_of_f(function: Function, derivatives: Derivatives) -> Derivatives:
    """The derivatives of f itself, where its values were scaled down."""
    sized = {
        name: np.ldexp(getattr(derivatives, name), function.exponents) for name in ("value", "error", "noise")
    }
    return replace(derivatives, **sized)


def in_structure_of_x(
    function: Function, found: SearchResult, *, outputs: tuple[int, ...] = (), like_x: bool = True
) -> NumericalGradient:
    """The result, from derivatives of the scaled values."""
    return as_result(
        function, replace(found, derivatives=in_units_of_f(function, found.derivatives)), outputs, like_x
    )


def as_result(
    function: Function, found: SearchResult, outputs: tuple[int, ...] = (), like_x: bool = True
) -> NumericalGradient:
    """The result in the structure of x, or with the shape of the outputs alone where not `like_x`."""
    derivatives = found.derivatives

    def shaped(values: NDArray[Any], join: Callable[[Any, Any], Any]) -> Any:
        if like_x:
            return function.point.like_x(values.reshape(len(values), *outputs), outputs=outputs, join=join)
        return read_only(values.reshape(outputs))

    sides = set(derivatives.one_sided.ravel().tolist())
    return NumericalGradient(
        value=shaped(derivatives.value, lambda re, im: re + 1j * im),
        error=shaped(derivatives.error, np.maximum),
        step=shaped(derivatives.step, np.minimum),
        kink=shaped(derivatives.kink, np.logical_or),
        noise=float(np.max(derivatives.noise)),
        n_evaluations=function.n_evaluations,
        method="mixed" if len(sides) == 2 else "one-sided" if True in sides else "two-sided",
        precision=function.point.precision,
        vectorised=function.vectorised,
        deterministic=found.deterministic,
    )
