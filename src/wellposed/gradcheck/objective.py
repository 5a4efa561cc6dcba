"""The objective of a check: F, one real number as a function of several tensors, and its claimed gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from ..arguments import told
from ..differentiate.noise import UNIT_ROUNDOFF
from ..errors import ArgumentError, users_code
from ..runtime.reachable import reach
from .directions import Array, Direction
from .jacobians import Outputs
from .result import OutputsChangedError, Sample, Undefined


class Objective(Protocol):
    """F(x) of a list of tensors; each evaluation starts from the same random state and buffers, and leaves no trace.

    Tensors stay in their framework; one float64 array at a time is handed over, and numbers. A complex tensor appears as its real view, with
    one more axis of length two.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    precision: str
    roundoff: float
    """Unit roundoff of the arithmetic that the function declares."""
    claims_gradient: bool
    """Whether `gradient` is what is checked; in forward mode that is the derivative along a direction, and `gradient` only gives scales."""
    remarks: tuple[str, ...]
    """What is left out of the check, and why."""
    batch_sizes: frozenset[int]
    """Leading dimensions and sizes of the arrays that take part: candidates for the m of a forgotten 1/m."""
    data_sizes: frozenset[int]
    """Leading dimensions of arrays that are not checked, and so are data."""

    undefined: tuple[Undefined, ...]
    """Where the claimed gradient is NaN or infinite."""
    output_weights: tuple[Array, ...]
    """The weight in F of each element of each output; empty where f returns one number."""

    @property
    def n_forward(self) -> int:
        """Evaluations so far, here and at points moved from here."""
        ...

    @property
    def n_backward(self) -> int: ...

    def point(self, tensor: int) -> Array:
        """The values at which the gradient is claimed; read-only."""
        ...

    def gradient(self, tensor: int) -> Array:
        """The claimed gradient; read-only."""
        ...

    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        """F where every tensor of the direction has moved by ``step * direction.move(tensor)``, rounded to its dtype; F here for None."""
        ...

    def floor(self) -> float:
        """Standard deviation of the rounding of the function's outputs, in units of F."""
        ...

    def moved(
        self, direction: Direction | None, step: float, *, afresh: bool = False, upstream: int = 1
    ) -> Self | None:
        """The same check at the moved point, with the gradient that is claimed there; None where it is only known here.

        The gradient is that of a second call, after the one here; with `afresh` that of a first call, None where what a first call leaves
        behind cannot be undone. Without a direction it is the gradient here once more. The upstream gradient is multiplied by `upstream`, and
        the result divided by that in float64: for a linear backward pass only the rounding differs.
        """
        ...

    def gradient_repeat_error(self) -> float:
        """Relative difference of the gradient from that of another backward pass, which may draw other random numbers."""
        ...

    def settled(self) -> Self | None:
        """The same check after the hidden state that every forward pass updates has converged; None where F does not depend on any.

        Autograd takes such state for a constant. For a power iteration, as in spectral norm, that is right once it has converged.
        """
        ...


@dataclass
class Counts:
    """Evaluations so far; an objective and those at other points share one."""

    forward: int = 0
    backward: int = 0


class NumpyObjective:
    """A NumPy function and its hand-written gradient; of several outputs, their weighted sum and Jacobian."""

    precision = "float64"
    claims_gradient = True
    remarks = ()

    def __init__(
        self,
        f: Callable[..., Any],
        inputs: Sequence[Any],
        gradient: Any,
        names: Sequence[str],
        *,
        seed: int = 0,
        sizes: Array | None = None,
    ) -> None:
        """`sizes`, one for each output, are what the outputs are divided by before they are summed."""
        self._f, self._gradient, self._seed, self._sizes = f, gradient, seed, sizes
        self._outputs: Outputs | None = None
        self.output_weights: tuple[Array, ...] = ()
        self._shape: tuple[int, ...] | None = None
        self._inputs = list(inputs)
        for i, x in enumerate(inputs):
            if np.asarray(x).dtype.kind == "c":
                raise ArgumentError(
                    f"input {names[i]} is complex: with gradient= expected float arrays; pass real and imaginary part by themselves"
                )
        self._checked = [i for i, x in enumerate(inputs) if np.asarray(x).dtype.kind == "f"]
        if not self._checked:
            raise ArgumentError(
                "no input holds floats: there is nothing to differentiate by; pass float arrays"
            )
        self.names = tuple(names[i] for i in self._checked)
        self._points = tuple(np.array(inputs[i], dtype=np.float64) for i in self._checked)
        self.shapes = tuple(p.shape for p in self._points)
        _refuse_non_finite(self.names, self._points, what="input")
        self._counts = Counts()
        held = list(reach([f, gradient]).of(np.ndarray))
        shapes = [
            *self.shapes,
            *(x.shape for x in inputs if isinstance(x, np.ndarray)),
            *(a.shape for a in held),
        ]
        self.batch_sizes = frozenset(s[0] for s in shapes if s) | {int(np.prod(s)) for s in shapes if s}
        self.data_sizes = frozenset(a.shape[0] for a in held if a.ndim)
        self.roundoff = UNIT_ROUNDOFF
        self._claim()

    def _claim(self) -> None:
        self._single = False
        values = self.outputs(*self._points)
        self._centre = self._summed(values)
        if not np.isfinite(self._centre):
            said = f"{self._centre}" if self._outputs is None else "values that are not finite"
            raise ArgumentError(f"f returned {said} at these inputs: expected a finite number")
        # Each output is rounded by itself.
        self._size = float(np.linalg.norm(values if self._outputs is None else self._outputs.terms(values)))
        self.jacobians = self._claimed()
        claimed = self._pulled_back(self.jacobians)
        self.undefined = tuple(filter(None, (Undefined.among(i, g) for i, g in enumerate(claimed))))
        self._gradients = tuple(np.where(np.isfinite(g), g, 0.0) for g in claimed)

    def _pulled_back(self, claimed: tuple[Array, ...]) -> tuple[Array, ...]:
        return claimed if self._outputs is None else tuple(map(self._outputs.pulled_back, claimed))

    @property
    def points(self) -> tuple[Array, ...]:
        return self._points

    @property
    def n_forward(self) -> int:
        return self._counts.forward

    @property
    def n_backward(self) -> int:
        return self._counts.backward

    def point(self, tensor: int) -> Array:
        return self._points[tensor]

    def gradient(self, tensor: int) -> Array:
        return self._gradients[tensor]

    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        points, claimed_change = list(self._points), 0.0
        for i in direction.tensors if direction else ():
            points[i] = self._points[i] + step * direction.move(i)  # type: ignore[union-attr]
            claimed_change += float(np.vdot(self._gradients[i], points[i] - self._points[i]))
        values = self.outputs(*points)
        parts = self._outputs.parts(values) if split and self._outputs is not None else ()
        return Sample(self._summed(values), claimed_change, parts)

    def moved(
        self, direction: Direction | None, step: float, *, afresh: bool = False, upstream: int = 1
    ) -> NumpyObjective | None:
        if not callable(self._gradient) or afresh:
            return None
        other = object.__new__(NumpyObjective)
        other.__dict__.update(self.__dict__)
        moved = set(direction.tensors) if direction else set()
        other._points = tuple(
            p + step * direction.move(i) if i in moved and direction else p
            for i, p in enumerate(self._points)
        )
        other._claim()
        if other.undefined:
            return None
        same = all(np.array_equal(a, b) for a, b in zip(self._gradients, other._gradients, strict=True))
        # A function that returns a stored gradient is only valid at the given point.
        return None if direction and same else other

    def gradient_repeat_error(self) -> float:
        if not callable(self._gradient):
            return 0.0
        other = self._pulled_back(self._claimed())
        apart = [np.linalg.norm(a - b) for a, b in zip(self._gradients, other, strict=True)]
        return float(np.linalg.norm(apart)) / (
            float(np.linalg.norm([np.linalg.norm(g) for g in self._gradients])) or 1.0
        )

    def settled(self) -> None:
        """A NumPy function keeps no state that is known here."""

    def floor(self) -> float:
        return float(np.finfo(np.float32).eps) * self._size / 12**0.5 if self._single else 0.0

    def outputs(self, *points: Array) -> Array:
        """What f returns there, in float64."""
        self._counts.forward += 1
        with np.errstate(all="ignore"):
            result = _call(self._f, self._arguments(points), "f")
        try:
            plain = np.asarray(result)
        except ValueError:  # arrays of several shapes
            plain = np.empty(0)
        if plain.size == 0 or plain.dtype.kind not in "fiu":
            raise ArgumentError(
                f"f returned {told(result)} of shape {plain.shape}: a NumPy function must return one real number, or an array of them"
            )
        if self._shape is None:
            self._shape = plain.shape
            if plain.size > 1:
                self._outputs = Outputs.like(plain, seed=self._seed, sizes=self._sizes)
                self.output_weights = (self._outputs.weights,)
        if plain.shape != self._shape:
            raise OutputsChangedError(
                f"f returned shape {self._shape} at these inputs and {plain.shape} beside them: expected one shape, whatever the values"
            )
        if plain.dtype.kind == "f" and plain.dtype.itemsize < 8:
            self._single = True
        return plain.astype(np.float64)

    def _summed(self, values: Array) -> float:
        return (
            float(values.reshape(())) if self._outputs is None else float(self._outputs.terms(values).sum())
        )

    def _arguments(self, points: Sequence[Array]) -> list[Any]:
        """Fresh copies, so that a function that writes into its arguments writes into ours."""
        arguments = [x.copy() if isinstance(x, np.ndarray) else x for x in self._inputs]
        for i, values in zip(self._checked, points, strict=True):
            arguments[i] = values.copy() if isinstance(self._inputs[i], np.ndarray | list) else float(values)
        return arguments

    def _claimed(self) -> tuple[Array, ...]:
        claimed, points = self._gradient, self._points
        if callable(claimed):
            claimed = _call(claimed, self._arguments(points), "gradient")
            self._counts.backward += 1
        listed = list(claimed) if isinstance(claimed, tuple | list) else [claimed]
        whole = () if self._outputs is None else self._outputs.shape
        if isinstance(claimed, list) and len(points) == 1 and np.shape(claimed) == whole + points[0].shape:
            listed = [claimed]
        if len(listed) == len(self._inputs) > len(points):
            for i, g in enumerate(listed):
                if g is not None and i not in self._checked and np.any(g):
                    raise ArgumentError(
                        f"gradient holds one of input {i}, a {type(self._inputs[i]).__name__}: expected None there, or a float array as the input"
                    )
            listed = [listed[i] for i in self._checked]
        if len(listed) != len(points):
            raise ArgumentError(
                f"gradient holds {len(listed)} arrays for {len(points)} float inputs ({', '.join(self.names)}): give one for each"
            )
        return tuple(
            _as_gradient(g, name, x, outputs=self._shape or ())
            for g, name, x in zip(listed, self.names, points, strict=True)
        )


def _as_gradient(value: Any, name: str, point: Array, *, outputs: tuple[int, ...]) -> Array:
    plain = np.asarray(value)
    if plain.dtype.kind not in "biuf":
        what = f"an array of dtype {plain.dtype}" if plain.ndim else told(value)
        raise ArgumentError(f"gradient of {name} is {what}: expected an array of floats")
    array = np.array(plain, dtype=np.float64)
    alone = int(np.prod(outputs)) == 1
    if alone and array.shape == outputs + point.shape:  # the Jacobian of one output
        array = array.reshape(point.shape)
    expected = point.shape if alone else outputs + point.shape
    if array.shape != expected:
        meaning = (
            f"the shape of {name}"
            if alone
            else f"that of the output of f and then that of {name}: its Jacobian"
        )
        raise ArgumentError(f"gradient of {name} has shape {array.shape}: expected {expected}, {meaning}")
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
    with users_code(what):
        return function(*arguments)
