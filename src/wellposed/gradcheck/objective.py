"""What there is to check: one real number as a function of several arrays, and the gradient that is claimed for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..differentiate.noise import UNIT_ROUNDOFF
from ..errors import ArgumentError, UserCodeError

Array = NDArray[np.float64]


class Objective(Protocol):
    """F(x) for a list of float64 arrays x; each evaluation leaves no trace and starts from the same random state."""

    names: tuple[str, ...]
    points: tuple[Array, ...]
    gradients: tuple[Array, ...]
    precision: str
    roundoff: float
    """Unit roundoff of the arithmetic that the function declares."""
    batch_sizes: frozenset[int]
    """Leading dimensions of the arrays in play: what a forgotten 1/m could have forgotten."""
    n_forward: int
    n_backward: int

    def value(self, points: Sequence[Array]) -> float: ...

    def floor(self) -> float:
        """Standard deviation of the rounding of the function's outputs, in units of F."""
        ...

    def quantized(self, index: int, values: Array) -> Array:
        """The nearest values that array `index` can really take."""
        ...

    def gradients_at(self, points: Sequence[Array]) -> tuple[Array, ...] | None:
        """The claimed gradient at another point; None where it is only known here."""
        ...


class NumpyObjective:
    """A scalar NumPy function and its hand-written gradient."""

    precision = "float64"
    roundoff = UNIT_ROUNDOFF

    def __init__(
        self, f: Callable[..., Any], inputs: Sequence[Any], gradient: Any, names: Sequence[str]
    ) -> None:
        self._f, self._gradient = f, gradient
        self._inputs = list(inputs)
        self._checked = [i for i, x in enumerate(inputs) if np.asarray(x).dtype.kind == "f"]
        if not self._checked:
            raise ArgumentError(
                "no input holds floats: there is nothing to differentiate by; pass float arrays"
            )
        self.names = tuple(names[i] for i in self._checked)
        self.points = tuple(np.array(inputs[i], dtype=np.float64) for i in self._checked)
        _refuse_non_finite(self.names, self.points, what="input")
        self.n_forward = self.n_backward = 0
        self.batch_sizes = frozenset(p.shape[0] for p in self.points if p.ndim)
        self._single = False
        centre = self.value(self.points)
        if not np.isfinite(centre):
            raise ArgumentError(f"f returned {centre} at these inputs: expected a finite number")
        self._centre = centre
        self.gradients = self._claimed(self.points)

    def value(self, points: Sequence[Array]) -> float:
        self.n_forward += 1
        with np.errstate(all="ignore"):
            result = _call(self._f, self._arguments(points), "f")
        plain = np.asarray(result)
        if plain.size != 1 or plain.dtype.kind not in "fiu":
            raise ArgumentError(
                f"f returned {type(result).__name__} of shape {plain.shape}: a NumPy function must return one real number"
            )
        if plain.dtype.kind == "f" and plain.dtype.itemsize < 8:
            self._single = True
        return float(plain.reshape(()))

    def floor(self) -> float:
        return float(np.finfo(np.float32).eps) * abs(self._centre) / 12**0.5 if self._single else 0.0

    def quantized(self, index: int, values: Array) -> Array:
        return values

    def gradients_at(self, points: Sequence[Array]) -> tuple[Array, ...] | None:
        return self._claimed(points) if callable(self._gradient) else None

    def _arguments(self, points: Sequence[Array]) -> list[Any]:
        """Fresh copies, so that a function that writes into its arguments writes into ours."""
        arguments = [x.copy() if isinstance(x, np.ndarray) else x for x in self._inputs]
        for i, values in zip(self._checked, points, strict=True):
            arguments[i] = values.copy() if isinstance(self._inputs[i], np.ndarray | list) else float(values)
        return arguments

    def _claimed(self, points: Sequence[Array]) -> tuple[Array, ...]:
        claimed = self._gradient
        if callable(claimed):
            claimed = _call(claimed, self._arguments(points), "gradient")
            self.n_backward += 1
        listed = list(claimed) if isinstance(claimed, tuple | list) else [claimed]
        if isinstance(claimed, list) and len(points) == 1 and np.shape(claimed) == points[0].shape:
            listed = [claimed]
        if len(listed) == len(self._inputs) > len(points):
            listed = [listed[i] for i in self._checked]
        if len(listed) != len(points):
            raise ArgumentError(
                f"gradient holds {len(listed)} arrays for {len(points)} float inputs ({', '.join(self.names)}): give one for each"
            )
        return tuple(_as_gradient(g, name, x) for g, name, x in zip(listed, self.names, points, strict=True))


def _as_gradient(value: Any, name: str, point: Array) -> Array:
    try:
        plain = np.asarray(value)
        array = np.array(plain, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"gradient of {name} is a {type(value).__name__}: expected an array of floats"
        ) from error
    if array.shape != point.shape:
        raise ArgumentError(
            f"gradient of {name} has shape {array.shape}: expected {point.shape}, the shape of {name}"
        )
    if not np.isfinite(array).all():
        raise ArgumentError(
            f"gradient of {name} holds {int((~np.isfinite(array)).sum())} values that are not finite"
        )
    return array


def _refuse_non_finite(names: Sequence[str], points: Sequence[Array], *, what: str) -> None:
    for name, values in zip(names, points, strict=True):
        if values.size == 0:
            raise ArgumentError(
                f"{what} {name} is empty (shape {values.shape}): expected at least one element"
            )
        if not np.isfinite(values).all():
            raise ArgumentError(
                f"{what} {name} holds {int((~np.isfinite(values)).sum())} values that are not finite"
            )


def _call(function: Callable[..., Any], arguments: Sequence[Any], what: str) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        raise UserCodeError(f"{what} raised {type(error).__name__}: {error}") from error
