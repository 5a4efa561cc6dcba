"""`numerical_gradient`: the door of this room."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from .differences import Derivative, climb, one_sided_rung, two_sided_rung
from .noise import UNIT_ROUNDOFF, noise_along
from .result import NumericalGradient

Method = Literal["auto", "two-sided", "one-sided"]
METHODS = ("auto", "two-sided", "one-sided")
FINEST = 2.0**-43
"""Spacing of the noise probe, relative to x: about a thousand roundings."""
SUBNORMAL = 5e-324
"""The smallest float64: near zero every value is rounded to a multiple of it."""
WIDEST = 1e-3
FIRST_STEP = 0.5
"""Four times the first step of the ladder, relative to x: the first step is an eighth of x, so log and 1/x stay on their side."""


def numerical_gradient(
    f: Callable[[Any], Any], x: Any, *, method: Method = "auto", step: float | None = None
) -> NumericalGradient:
    """The gradient of a scalar function by differences, with an error bar that covers.

    Two-sided differences over a ladder of steps, each step the one really taken; the noise of f is estimated, and the step
    follows from it. Takes 15 to 50 evaluations of f for each element of x. Everything is computed in float64, and `x` is never changed.

    Parameters
    ----------
    f
        Takes `x` and returns one real number: a float, or an array or tensor of one element.
    x
        A float, a NumPy array of floats of any shape, or a torch tensor (f then receives a float64 tensor on its device).
    method
        ``"two-sided"`` (error of the order of step^2), ``"one-sided"`` (order of step), or ``"auto"``: two-sided, and one-sided beside the
        end of f's domain.
    step
        Fixes one step, in units of x, as in the textbooks; the error bar then comes from halving it.

    Returns
    -------
    NumericalGradient
        ``value``, ``error`` (half-width), ``kink``, ``noise``, ``n_evaluations``; arrays of the shape of `x`.

    Raises
    ------
    ArgumentError
        When x holds no floats or a value that is not finite, f is not scalar or not finite at x, or f changes x.

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
    if method not in METHODS:
        raise ArgumentError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    if step is not None and not (isfinite(step) and step > 0):
        raise ArgumentError(f"step={step!r}: expected a finite number above 0, in units of x")
    point, rebuild = _opened(x)
    function = Counted(f, rebuild, point)
    centre = function(point)
    if not isfinite(centre):
        raise ArgumentError(
            f"f(x) is {centre}: expected a finite number at x; start from a point where f is finite"
        )
    scales = _scales(point)
    noise = _noise(function, point, scales, centre)
    found = [
        _element(function, point, i, scales.flat[i], centre, noise, method, step) for i in range(point.size)
    ]
    return _result(found, point, noise=noise, n_evaluations=function.n_evaluations, scalar=np.ndim(x) == 0)


class Counted:
    """The user's f as a function from float64 arrays to floats, which counts and guards."""

    def __init__(
        self, f: Callable[[Any], Any], rebuild: Callable[[NDArray[np.float64]], Any], like: Any
    ) -> None:
        self.f, self.rebuild = f, rebuild
        self.n_evaluations = 0
        self.roundoff = UNIT_ROUNDOFF

    def __call__(self, point: NDArray[np.float64]) -> float:
        given = self.rebuild(point)
        with np.errstate(all="ignore"):
            result = self.f(given)
        self.n_evaluations += 1
        if not np.array_equal(_plain(given), point):
            raise ArgumentError("f changed its argument x in place: let it work on a copy")
        return self._scalar(result)

    def _scalar(self, result: Any) -> float:
        value = _plain(result)
        if value.size != 1 or value.dtype.kind not in "fiub":
            raise ArgumentError(
                f"f returned {_described(result, value)}: expected one real number; reduce it, e.g. by .sum()"
            )
        if value.dtype.kind == "f" and value.dtype.itemsize < 8:
            self.roundoff = max(self.roundoff, float(np.finfo(value.dtype).eps) / 2)
        return float(value.reshape(()))


def _described(result: Any, value: NDArray[Any]) -> str:
    if result is None or value.dtype.kind == "O":
        return f"a {type(result).__name__}"
    return f"an array of shape {value.shape} and dtype {value.dtype}"


def _plain(value: Any) -> NDArray[Any]:
    if _is_torch(value):
        from ..frameworks.torch.gradients import to_numpy

        return to_numpy(value)
    return np.asarray(value)


def _is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _opened(x: Any) -> tuple[NDArray[np.float64], Callable[[NDArray[np.float64]], Any]]:
    """X as a float64 array, and how to make from such an array what f expects."""
    plain = _plain(x)
    if plain.dtype.kind != "f":
        raise ArgumentError(
            f"x is {_described(x, plain)}: expected floats; pass x as float (1.0 rather than 1, x.astype(float))"
        )
    if plain.size == 0:
        raise ArgumentError(f"x is empty (shape {plain.shape}): expected at least one element")
    point = np.array(plain, dtype=np.float64)
    if not np.isfinite(point).all():
        raise ArgumentError(
            f"x holds {int((~np.isfinite(point)).sum())} values that are not finite: expected finite ones"
        )
    if _is_torch(x):
        from ..frameworks.torch.gradients import like_tensor

        return point, lambda values: like_tensor(values, x)
    if isinstance(x, np.ndarray):
        return point, lambda values: values.copy()
    if np.ndim(x) == 0:
        return point, lambda values: float(values)
    return point, lambda values: values.copy()


def _scales(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """What counts as a large step for each element: its own size, or the typical one where it is smaller."""
    typical = float(np.sqrt(np.mean(point**2))) or 1.0
    return np.maximum(np.abs(point), typical)


def _noise(
    function: Counted, point: NDArray[np.float64], scales: NDArray[np.float64], centre: float
) -> float:
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=point.shape)
    sigma, _ = noise_along(
        lambda t: function(point + t * signs * scales), spacing=FINEST, widest=WIDEST, first=centre
    )
    return max(sigma, function.roundoff * abs(centre), SUBNORMAL)


def _element(
    function: Counted,
    point: NDArray[np.float64],
    i: int,
    scale: float,
    centre: float,
    noise: float,
    method: Method,
    step: float | None,
) -> Derivative:
    def line(h: float) -> tuple[float, float]:
        moved = point.copy()
        moved.flat[i] += h
        return function(moved), float(moved.flat[i] - point.flat[i])

    if step is not None:
        found = _fixed(line, centre, step=step, noise=noise, method=method)
    else:
        found = _chosen(line, centre, scale=FIRST_STEP * scale, noise=noise, method=method)
    if found is None:
        where = (
            "" if point.ndim == 0 else f" along element {tuple(map(int, np.unravel_index(i, point.shape)))}"
        )
        raise ArgumentError(
            f"f is not finite beside x{where}: expected finite values within a small step of x"
        )
    return found


def _chosen(line: Any, centre: float, *, scale: float, noise: float, method: Method) -> Derivative | None:
    two_sided = None if method == "one-sided" else climb(line, centre, scale=scale, noise=noise)
    if two_sided is not None or method == "two-sided":
        return two_sided
    sides = [climb(line, centre, scale=scale, noise=noise, side=side) for side in (1, -1)]
    return sides[0] or sides[1]


def _fixed(line: Any, centre: float, *, step: float, noise: float, method: Method) -> Derivative | None:
    """One step as given; halving it shows the truncation."""
    one_sided = method == "one-sided"
    difference = one_sided_rung if one_sided else two_sided_rung
    whole, half = difference(line, centre, step), difference(line, centre, step / 2)
    if whole is None:
        return None
    # Halving takes away half of a first-order error and three quarters of a second-order one; once more half of it as a margin.
    truncation = abs(whole.slope - half.slope) * (3.0 if one_sided else 2.0) if half else inf
    error = truncation + 3 * noise * (2**0.5 if one_sided else 2**-0.5) / whole.step
    jump = 0.0 if one_sided else abs(whole.bend) / whole.step
    kink = bool(
        half
        and jump > 0
        and abs(2 * abs(half.bend) / whole.step - jump) < 0.25 * jump - 8 * noise / whole.step
    )
    return Derivative(
        value=whole.slope,
        error=max(error, jump / 2) if kink else error,
        step=whole.step,
        kink=kink,
        one_sided=one_sided,
    )


def _result(
    found: list[Derivative], point: NDArray[np.float64], *, noise: float, n_evaluations: int, scalar: bool
) -> NumericalGradient:
    def column(name: str, dtype: type) -> Any:
        values = np.asarray([getattr(d, name) for d in found], dtype=dtype).reshape(point.shape)
        values.setflags(write=False)
        return values.item() if scalar else values

    sides = {d.one_sided for d in found}
    method = "mixed" if len(sides) == 2 else "one-sided" if True in sides else "two-sided"
    return NumericalGradient(
        value=column("value", float),
        error=column("error", float),
        step=column("step", float),
        kink=column("kink", bool),
        noise=noise,
        n_evaluations=n_evaluations,
        method=method,
    )
