"""NumPy functions with hand-written gradients: as an objective, by entries of dicts of parameters, and with several outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arguments import told
from ..differentiate import directional_derivative
from ..differentiate.noise import UNIT_ROUNDOFF
from ..errors import ArgumentError, WellposedError, users_code
from ..runtime.reachable import reach
from .directions import NOWHERE, Array, Direction
from .objective import input_names, leading_and_total, random_weights, split_of_f
from .result import GradientCheck, OutputsChangedError, Reason, Sample, Undefined, WorstElement
from .verdict import judge

SPACING = 2.0**-52
UNEVEN = 2.0**10
"""How many times larger the derivatives of one output may be than those of another in one sum, so that an error of the small one shows."""
LEAST = 2.0**-24
"""A row below this part of the largest one may be rounding of zero."""
Path = tuple[Any, ...]
"""The number of the input, and the keys that lead to an entry of it."""


def check_numpy(
    f: Any, inputs: tuple[Any, ...], *, gradient: Any, seed: int, resolution: float
) -> GradientCheck:
    if not inputs:
        raise ArgumentError("no inputs: pass the point at which to check, check_gradients(f, x, gradient=g)")
    for i, x in enumerate(inputs):
        if hasattr(x, "__next__"):
            raise ArgumentError(
                f"input {i} is a one-shot {type(x).__name__}: reading it would use it up; pass an array"
            )
    if gradient is None:
        raise ArgumentError(
            f"no input is a tensor ({', '.join(map(told, inputs))}), and gradient= is missing: "
            "pass the gradient of a NumPy function, or tensors"
        )
    names = input_names(f, len(inputs))
    if any(isinstance(x, Mapping) for x in inputs):
        dicts = ParameterDicts.of(inputs, names)
        f, gradient = dicts.by_entry(f), dicts.gradient_by_entry(gradient)
        inputs, names = dicts.values, list(dicts.entry_names)
    objective = NumpyObjective(f, inputs, gradient, names, seed=seed)
    check = judge(objective, seed=seed, resolution=resolution)
    if not objective.output_weights:
        return check
    sizes = uneven_sizes(objective.jacobians, objective.output_weights[0].shape)
    if check.verdict == "pass" and sizes is not None:
        # In the sum a small output hides behind large ones.
        balanced = NumpyObjective(f, inputs, gradient, names, seed=seed, sizes=sizes)
        again = judge(balanced, seed=seed, resolution=resolution)
        if again.verdict == "fail":
            objective, check = balanced, again
    if check.verdict == "fail" and check.cause is None:
        turned = transposed(objective.jacobians, objective.points)
        if turned is not None and judge(
            NumpyObjective(objective.outputs, objective.points, turned, objective.names, seed=seed),
            seed=seed,
            resolution=resolution,
        ):
            text = "the axes of the outputs and of the input are swapped"
            check = check.with_reasons(Reason(code="cause", text=text), cause="transposed")
    return with_worst_output(check, objective.outputs, objective.points, objective.jacobians, objective.names)


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
        self._outputs: WeightedOutputs | None = None
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
        self.points = tuple(np.array(inputs[i], dtype=np.float64) for i in self._checked)
        self.shapes = tuple(p.shape for p in self.points)
        _refuse_non_finite(self.names, self.points)
        self._counts = Counts()
        held = list(reach([f, gradient]).of(np.ndarray))
        shapes = [
            *self.shapes,
            *(x.shape for x in inputs if isinstance(x, np.ndarray)),
            *(a.shape for a in held),
        ]
        self.batch_sizes = leading_and_total(shapes)
        self.data_sizes = frozenset(a.shape[0] for a in held if a.ndim)
        self.roundoff = UNIT_ROUNDOFF
        self._claim()

    def _claim(self) -> None:
        self._single = False
        values = self.outputs(*self.points)
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
    def n_forward(self) -> int:
        return self._counts.forward

    @property
    def n_backward(self) -> int:
        return self._counts.backward

    def point(self, tensor: int) -> Array:
        return self.points[tensor]

    def gradient(self, tensor: int) -> Array:
        return self._gradients[tensor]

    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        points, claimed_change = list(self.points), 0.0
        direction = direction or NOWHERE
        for i in direction.tensors:
            points[i] = self.points[i] + step * direction.move(i)
            claimed_change += float(np.vdot(self._gradients[i], points[i] - self.points[i]))
        values = self.outputs(*points)
        parts = split_of_f([self._outputs.terms(values)]) if split and self._outputs is not None else ()
        return Sample(self._summed(values), claimed_change, parts)

    def moved(
        self, direction: Direction | None, step: float, *, afresh: bool = False, upstream: int = 1
    ) -> NumpyObjective | None:
        if not callable(self._gradient) or afresh:
            return None
        other = object.__new__(NumpyObjective)
        other.__dict__.update(self.__dict__)
        moves = direction or NOWHERE
        other.points = tuple(
            p + step * moves.move(i) if i in moves.tensors else p for i, p in enumerate(self.points)
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
                self._outputs = WeightedOutputs.like(plain, seed=self._seed, sizes=self._sizes)
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
        claimed, points = self._gradient, self.points
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


def _refuse_non_finite(names: Sequence[str], points: Sequence[Array]) -> None:
    for name, values in zip(names, points, strict=True):
        if values.size == 0:
            raise ArgumentError(
                f"input {name} is empty (shape {values.shape}): expected at least one element"
            )
        if not np.isfinite(values).all():
            raise ArgumentError(
                f"input {name} holds {int((~np.isfinite(values)).sum())} values that are not finite"
            )


def _call(function: Callable[..., Any], arguments: Sequence[Any], what: str) -> Any:
    with users_code(what):
        return function(*arguments)


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedOutputs:
    """The weights of the elements of an output in F."""

    weights: Array

    @classmethod
    def like(cls, values: Array, *, seed: int, sizes: Array | None = None) -> WeightedOutputs:
        weights = random_weights(values.shape, (seed, 0), spacing=SPACING)
        return cls(weights=weights if sizes is None else weights / sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weights.shape

    def terms(self, values: Array) -> Array:
        return self.weights * values

    def pulled_back(self, jacobian: Array) -> Array:
        """The gradient of F, from a Jacobian of the shape of the outputs and then that of the input."""
        return np.tensordot(self.weights, jacobian, axes=self.weights.ndim)


def uneven_sizes(jacobians: Sequence[Array], outputs: tuple[int, ...]) -> Array | None:
    """The size of each output's row of derivatives, as powers of 2, where these are very uneven; None where they are not.

    A row of zeros is claimed to be small beside all others.
    """
    rows = [np.where(np.isfinite(j), j, 0.0).reshape(*outputs, -1) for j in jacobians]
    sizes = np.max([np.abs(r).max(axis=-1, initial=0.0) for r in rows], axis=0)
    if not sizes.any():
        return None
    sizes = np.maximum(sizes / sizes.max(), LEAST)
    return None if sizes.min() * UNEVEN > 1 else np.exp2(np.round(np.log2(sizes)))


def transposed(jacobians: Sequence[Array], points: Sequence[Array]) -> tuple[Array, ...] | None:
    """The Jacobians with the axes of the output and of the input swapped, where these have one shape; None where none has."""
    found = tuple(
        np.moveaxis(j, range(x.ndim), range(-x.ndim, 0)) if j.shape == x.shape * 2 else j
        for j, x in zip(jacobians, points, strict=True)
    )
    return None if all(a is b for a, b in zip(found, jacobians, strict=True)) else found


def with_worst_output(
    check: GradientCheck,
    f: Callable[..., Array],
    points: Sequence[Array],
    jacobians: Sequence[Array],
    names: Sequence[str],
) -> GradientCheck:
    """A failed check with the output in which the worst element is most wrong."""
    worst = check.worst
    if check.verdict != "fail" or worst is None or worst.name not in names:
        return check
    tensor = list(names).index(worst.name)
    direction = np.zeros(points[tensor].shape)
    direction[worst.index] = 1.0

    def moved(x: Array) -> Array:
        return f(*points[:tensor], x, *points[tensor + 1 :])

    try:
        found: Any = directional_derivative(moved, points[tensor], direction)
    except WellposedError:  # f is not finite beside the point
        return check
    claimed = jacobians[tensor][(..., *worst.index)]
    apart = np.where(np.isfinite(claimed), np.abs(claimed - found.value) - found.error, np.inf)
    output = tuple(int(k) for k in np.unravel_index(int(np.argmax(apart)), apart.shape))
    element = WorstElement(
        name=f"d f[{', '.join(map(str, output))}] / d {worst.name}",
        index=worst.index,
        analytic=float(claimed[output]),
        numerical=float(found.value[output]),
        bar=float(found.error[output]),
    )
    return replace(check, worst=element, n_forward=check.n_forward + found.n_evaluations)


@dataclass(frozen=True, kw_only=True, eq=False)
class ParameterDicts:
    """The entries of inputs that are dicts of arrays, nested or not; other inputs are entries themselves."""

    inputs: Sequence[Any]
    names: Sequence[str]
    paths: tuple[Path, ...]

    @classmethod
    def of(cls, inputs: Sequence[Any], names: Sequence[str]) -> ParameterDicts:
        paths = tuple(p for i, value in enumerate(inputs) for p in _paths(value, (i,)))
        return cls(inputs=inputs, names=names, paths=paths)

    @property
    def values(self) -> tuple[Any, ...]:
        return tuple(_at(self.inputs, path) for path in self.paths)

    @property
    def entry_names(self) -> tuple[str, ...]:
        """``params['W1']``."""
        return tuple(self._name(path) for path in self.paths)

    def by_entry(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, taking the entries."""
        return lambda *values: function(*self._joined(values))

    def gradient_by_entry(self, gradient: Any) -> Any:
        """The claimed gradient, entry by entry: arrays, or a function that returns them."""
        if callable(gradient):
            claimed = self.by_entry(gradient)
            return lambda *values: self._parted(claimed(*values))
        return self._parted(gradient)

    def _joined(self, values: Sequence[Any]) -> list[Any]:
        fresh = [_copied(value) for value in self.inputs]
        for path, value in zip(self.paths, values, strict=True):
            holder: Any = fresh
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = value
        return fresh

    def _parted(self, gradient: Any) -> tuple[Any, ...]:
        several = len(self.inputs) > 1
        if several and not (isinstance(gradient, tuple | list) and len(gradient) == len(self.inputs)):
            raise ArgumentError(
                f"gradient is {told(gradient)}: expected one for each of the {len(self.inputs)} inputs"
            )
        held = list(gradient) if several else [gradient]
        return tuple(self._entry(held, path) for path in self.paths)

    def _entry(self, held: list[Any], path: Path) -> Any:
        value: Any = held[path[0]]
        for k, key in enumerate(path[1:], 2):
            if value is None:
                return None
            if not isinstance(value, Mapping):
                raise ArgumentError(
                    f"gradient of {self._name(path[: k - 1])} is {told(value)}: expected a dict like it"
                )
            # Courses write dW1 for the gradient of W1.
            found = [name for name in (key, f"d{key}") if name in value]
            if not found and not _is_floats(_at(self.inputs, path)):
                return None
            if not found:
                raise ArgumentError(
                    f"gradient has no entry for {self._name(path[:k])}: expected {key!r} or {f'd{key}'!r} in it"
                )
            value = value[found[0]]
        return value

    def _name(self, path: Path) -> str:
        return str(self.names[path[0]]) + "".join(f"[{key!r}]" for key in path[1:])


def _paths(value: Any, path: Path) -> Iterator[Path]:
    if isinstance(value, Mapping):
        for key in value:
            yield from _paths(value[key], (*path, key))
    else:
        yield path


def _at(inputs: Sequence[Any], path: Path) -> Any:
    value: Any = inputs
    for key in path:
        value = value[key]
    return value


def _copied(value: Any) -> Any:
    return {key: _copied(held) for key, held in value.items()} if isinstance(value, Mapping) else value


def _is_floats(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "f" if isinstance(value, float) else "") == "f"
