"""What mean-field theory predicts for the size of the signal and of its gradient, beside what a trace measured.

The mean square q of a layer's outputs follows from that of its inputs, from the mean square of its weights and from E[phi(z)^2] of the
activation between; that of the gradients follows backward from E[phi'(z)^2]. The prediction starts at the model's input and goes
on through dense layers, convolutions, activations, norms, dropout and residual sums. After any other operation it starts again from what was
measured there. Of a zero-padded convolution q is followed by position: its border sees fewer inputs.

References
----------
Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos, equations 3 and 4.
Schoenholz et al. (2017), Deep information propagation, equation 12.
Yang & Schoenholz (2017), Mean field residual networks: on the edge of chaos.
Hanin & Nica (2020), Products of many large random matrices and gradients in deep neural networks: relative variance sum of 5/width for ReLU.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..activations import ACTIVATIONS, GaussianMoments, gaussian_moments
from ..errors import ArgumentError
from ..runtime.model_trace import ModelTrace, Operation, TensorStats, Weight
from .result import PredictedSignal

Array = NDArray[np.float64]
Back = Callable[[Array], Array]

_INPUT = -1
_BAND = 4.0  # standard deviations of a skewed distribution: 1.4 % of layers lie beyond three
_INTERPOLATED = 4
"""Variances at which moments are taken for the positions of an image; between them they are near powers of the variance."""
_SMALL_MEAN = 0.05
"""Share of a mean square that may come from means without spoiling independence."""


@dataclass(frozen=True, kw_only=True)
class _Signal:
    """The distribution of one operation's outputs: near normal, with this mean and mean square."""

    mean: float
    square: Array
    """By position of an image where a padded convolution made it; else one number."""
    noise: float = 0.0
    """Relative variance of `square` over draws of the weights, from finite widths."""
    inherited: float = 0.0
    """That part of it which the layer before handed on."""
    units: int = 0
    depth: int = 0
    """Layers with weights since the last measured value."""

    @property
    def variance(self) -> Array:
        return np.maximum(self.square - self.mean**2, 0.0)

    @property
    def total(self) -> float:
        """Mean over positions."""
        return float(self.square.mean())


@dataclass(frozen=True, kw_only=True)
class _Passed:
    """What an operation makes of its inputs, and how it passes a gradient's mean square back to each of them."""

    signal: _Signal
    backs: tuple[Back | None, ...]
    gradient_noise: float = 0.0
    """Relative variance that the way back adds."""


@dataclass
class _Gradient:
    square: Array
    noise: float = 0.0
    depth: int = 0


@dataclass(frozen=True)
class _Case:
    """An operation with what is known where it runs."""

    operation: Operation
    sources: tuple[_Signal, ...]
    measured: tuple[TensorStats, ...]
    """Of the same inputs."""
    weights: dict[str, Weight] = field(repr=False)

    def setting(self, name: str, place: int, otherwise: Any) -> Any:
        given = dict(self.operation.settings)
        return given.get(name, given.get(str(place), otherwise))

    @property
    def parameters(self) -> list[Weight]:
        return [self.weights[name] for name in self.operation.parameters if name in self.weights]

    @property
    def widening(self) -> float:
        """Numbers that come out for one that goes in."""
        return self.operation.output.count / self.measured[0].count if self.measured[0].count else math.nan


def predicted_signals(trace: ModelTrace) -> tuple[PredictedSignal, ...]:
    """Prediction and measurement at each layer with weights and each residual sum that the theory reaches, in order."""
    operations = list(trace.operations.values())
    signals: dict[int, _Signal] = {} if trace.input is None else {_INPUT: _measured(trace.input)}
    stats = {i: o.output for i, o in enumerate(operations)}
    if trace.input is not None:
        stats[_INPUT] = trace.input
    passed: dict[int, _Passed] = {}
    for i, operation in enumerate(operations):
        found = None
        if all(p in signals for p in operation.inputs):
            inputs = operation.inputs
            case = _Case(
                operation, tuple(signals[p] for p in inputs), tuple(stats[p] for p in inputs), trace.weights
            )
            found = _pass(case)
        if found is not None:
            passed[i] = found
        signals[i] = found.signal if found is not None else _measured(operation.output)
    gradients = _gradients(operations, passed, [signals[i].square.shape for i in range(len(operations))])
    return tuple(
        _predicted(o, signals[i], gradients.get(i))
        for i, o in enumerate(operations)
        if signals[i].depth and i in passed and (_has_weight(o) or len(o.inputs) > 1)
    )


def _has_weight(operation: Operation) -> bool:
    return operation.key.name in LINEAR


def _measured(stats: TensorStats) -> _Signal:
    count = max(stats.count, 1.0)
    return _Signal(mean=stats.total / count, square=np.asarray(stats.squares / count))


def _predicted(operation: Operation, signal: _Signal, gradient: _Gradient | None) -> PredictedSignal:
    found = PredictedSignal(
        where=operation.key.module,
        operation=operation.key.name,
        depth=signal.depth,
        rms=math.sqrt(signal.total),
        measured_rms=operation.output.rms,
        band=_factor(signal.noise),
    )
    if gradient is None or operation.gradient is None or not gradient.depth:
        return found
    return replace(
        found,
        gradient_rms=math.sqrt(float(gradient.square.mean())),
        measured_gradient_rms=operation.gradient.rms,
        gradient_band=_factor(gradient.noise),
    )


def _factor(noise: float) -> float:
    """What a relative variance of a mean square means for its root, as a factor."""
    return math.exp(min(_BAND * math.sqrt(noise) / 2, 700.0))


def _gradients(
    operations: Sequence[Operation], passed: dict[int, _Passed], shapes: Sequence[tuple[int, ...]]
) -> dict[int, _Gradient]:
    """By operation: the mean square of the gradient by its output, started from the measured one where the way on is not known."""
    readers: dict[int, list[tuple[int, int]]] = {}
    for j, operation in enumerate(operations):
        for slot, p in enumerate(operation.inputs):
            readers.setdefault(p, []).append((j, slot))
    found: dict[int, _Gradient] = {}
    for i in reversed(range(len(operations))):
        arriving = [
            _sent_back(passed.get(j), slot, found.get(j), shapes[i]) for j, slot in readers.get(i, [])
        ]
        known = [g for g in arriving if g is not None]
        measured = operations[i].gradient
        if known and len(known) == len(arriving):
            found[i] = _sum(known)
        elif measured is not None:
            found[i] = _Gradient(np.asarray(measured.rms**2))
    return found


def _sent_back(
    reader: _Passed | None, slot: int, gradient: _Gradient | None, shape: tuple[int, ...]
) -> _Gradient | None:
    if reader is None or gradient is None or reader.backs[slot] is None:
        return None
    back: Any = reader.backs[slot]
    weighted = int(reader.gradient_noise > 0)
    square = _by_position(back(gradient.square), shape)
    return _Gradient(square, gradient.noise + reader.gradient_noise, gradient.depth + weighted)


def _by_position(square: Array, shape: tuple[int, ...]) -> Array:
    """Its mean, where its positions are not those: views turn images into rows and back."""
    return square if square.shape == shape else np.asarray(square.mean())


def _sum(gradients: Sequence[_Gradient]) -> _Gradient:
    if len(gradients) == 1:
        return gradients[0]
    square = sum((g.square for g in gradients), np.asarray(0.0))
    deviation = sum(float(g.square.mean()) * math.sqrt(g.noise) for g in gradients)
    total = float(square.mean())
    noise = (deviation / total) ** 2 if total > 0 else 0.0
    return _Gradient(square, noise, max(g.depth for g in gradients))


# --- one operation


def _pass(case: _Case) -> _Passed | None:
    """What an operation makes of signals that are known; None where the theory says nothing about it."""
    name = case.operation.key.name
    handle = _HANDLERS.get(name) or _HANDLERS.get(name.rstrip("_"))
    if handle is None and len(case.sources) == 1 and not case.operation.parameters:
        handle = _activate
    found = handle(case) if handle is not None and case.sources else None
    if found is None or not np.isfinite(found.signal.square).all():
        return None
    return found


def _dense(case: _Case) -> _Passed | None:
    weight, bias = _weight_and_bias(case, axes=(2,))
    if weight is None:
        return None
    rows, columns = weight.shape
    outputs, inputs = (rows, columns) if case.operation.key.name == "linear" else (columns, rows)
    (source,) = case.sources[:1]
    if not math.isclose(case.widening, outputs / inputs) or _leans(weight, inputs):
        return None
    square = inputs * weight.square * source.total + bias.square
    return _Passed(
        signal=_drawn(source, np.asarray(square), bias.mean, outputs),
        backs=(lambda g: np.asarray(outputs * weight.square * g.mean()),),
        gradient_noise=2 / inputs,
    )


def _leans(weight: Weight, inputs: int) -> bool:
    """Whether the weights have a mean that shows in sums over the inputs, beyond chance."""
    by_chance = 10 * weight.square / math.prod(weight.shape)
    return weight.mean**2 > by_chance and weight.mean**2 * inputs > _SMALL_MEAN * weight.square


def _drawn(source: _Signal, square: Array, mean: float, units: int) -> _Signal:
    """The outputs of a layer with random weights: each unit is a draw of its own."""
    noise = source.noise + 2 / units
    return _Signal(
        mean=mean, square=square, noise=noise, inherited=source.noise, units=units, depth=source.depth + 1
    )


def _weight_and_bias(case: _Case, *, axes: tuple[int, ...]) -> tuple[Weight | None, Weight]:
    weights = [w for w in case.parameters if len(w.shape) in axes]
    biases = [w for w in case.parameters if len(w.shape) == 1]
    known = len(weights) == 1 and len(weights) + len(biases) == len(case.operation.parameters)
    alone = len(case.sources) == 1 and len(biases) <= 1
    none = Weight((0,), 0.0, 0.0)
    return (weights[0] if known and alone else None), (biases[0] if biases else none)


def _convolve(case: _Case) -> _Passed | None:
    weight, bias = _weight_and_bias(case, axes=(3, 4, 5))
    if weight is None or _leans(weight, math.prod(weight.shape[1:])):
        return None
    kernel = weight.shape[2:]
    n = len(kernel)
    space = case.operation.shape[-n:]
    stride = _each(case.setting("stride", 3, 1), n)
    dilation = _each(case.setting("dilation", 5, 1), n)
    padding = _padding(case.setting("padding", 4, 0), kernel, dilation)
    groups = case.setting("groups", 6, 1)
    (source,) = case.sources
    channels = weight.shape[1] * groups
    rows = case.operation.output.count / (weight.shape[0] * math.prod(space))
    size = _input_space(case, source, rows * channels, space, stride, padding, kernel, dilation)
    if size is None:
        return None
    before = np.broadcast_to(_by_position(source.square, size), size)
    taps = _Taps(size, space, kernel, stride, padding, dilation)
    if not taps.fit:
        return None
    square = weight.shape[1] * weight.square * taps.gathered(before) + bias.square
    outputs = weight.shape[0] // groups
    return _Passed(
        signal=_drawn(source, square, bias.mean, weight.shape[0]),
        backs=(lambda g: outputs * weight.square * taps.scattered(np.broadcast_to(g, space)),),
        gradient_noise=2 / channels,
    )


def _each(value: Any, n: int) -> tuple[Any, ...]:
    return tuple(value) * (n if len(value) == 1 else 1) if isinstance(value, tuple) else (value,) * n


def _padding(value: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    if value == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return _each(0 if isinstance(value, str) else value, len(kernel))


def _input_space(
    case: _Case,
    source: _Signal,
    channels: float,
    space: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...] | None:
    """The extent of the image that goes in: that of its map, or the one that fits the number of values."""
    wanted = round(case.measured[0].count / channels)
    if source.square.ndim == len(space) and source.square.size == wanted:
        return source.square.shape
    least = [
        (o - 1) * s - 2 * p + d * (k - 1) + 1
        for o, s, p, d, k in zip(space, stride, padding, dilation, kernel, strict=True)
    ]
    choices = itertools.product(*(range(a, a + s) for a, s in zip(least, stride, strict=True)))
    return next((size for size in choices if math.prod(size) == wanted), None)


@dataclass(frozen=True)
class _Taps:
    """The places that each entry of a kernel reads, of which those in the padding are left out."""

    size: tuple[int, ...]
    space: Sequence[int]
    kernel: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]

    @property
    def fit(self) -> bool:
        """Whether every tap lies in the padded image: not where "same" pads one side more than the other."""
        sides = zip(self.size, self.space, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return all((k - 1) * d + (o - 1) * s < n + 2 * p for n, o, k, s, p, d in sides)

    def gathered(self, before: Array) -> Array:
        """By output position: the sum over the taps of what they read."""
        padded = np.pad(before, [(p, p) for p in self.padding])
        return sum((padded[place] for place in self._places()), np.zeros(self.space))

    def scattered(self, after: Array) -> Array:
        """By input position: the sum over the taps that read it."""
        padded = np.zeros([n + 2 * p for n, p in zip(self.size, self.padding, strict=True)])
        for place in self._places():
            padded[place] += after
        return padded[tuple(slice(p, p + n) for n, p in zip(self.size, self.padding, strict=True))]

    def _places(self) -> list[tuple[slice, ...]]:
        offsets = itertools.product(*(range(k) for k in self.kernel))
        return [
            tuple(
                slice(i * d, i * d + (o - 1) * s + 1, s)
                for i, d, o, s in zip(offset, self.dilation, self.space, self.stride, strict=True)
            )
            for offset in offsets
        ]


def _activate(case: _Case) -> _Passed | None:
    operation, (source,) = case.operation, case.sources
    if operation.output.count != case.measured[0].count:
        return None
    phi = activation_of(operation)
    if phi is None:
        return None
    found = _moments(phi, source)
    if found is None:
        return None
    signal = _Signal(
        mean=float(found["mean"].mean()),
        square=found["square"],
        noise=_activated_noise(source, found),
        inherited=source.noise,
        units=source.units,
        depth=source.depth,
    )
    slope = found["derivative_square"]
    typical, fourth = float(slope.mean()), float(found["derivative_fourth"].mean())
    noise = 3 * max(fourth / typical**2 - 1, 0.0) / source.units if source.units and typical > 0 else 0.0
    return _Passed(signal=signal, backs=(lambda g: g * slope,), gradient_noise=noise)


def _activated_noise(source: _Signal, found: dict[str, Array]) -> float:
    """What was inherited, as far as the activation passes it on, and the scatter of its own squares over the units."""
    square, variance = float(found["square"].mean()), float(source.variance.mean())
    if square <= 0 or variance <= 0:
        return source.noise
    passes = float(found["scale_derivative"].mean()) / square * source.total / variance
    own = max(float(found["fourth"].mean()) / square**2 - 1, 0.0) / source.units if source.units else 0.0
    return source.inherited * passes**2 + own


def _moments(phi: Callable[[Array], Array], source: _Signal) -> dict[str, Array] | None:
    """Moments of the activation's output at each position."""
    variances = source.variance
    low, high = float(variances.min()), float(variances.max())
    if not 1e-60 < low <= high < 1e60:
        return None
    same = high / low < 1 + 1e-6
    nodes = np.array([high]) if same else np.geomspace(low, high, _INTERPOLATED)
    try:
        table = [_moments_at(phi, source.mean, float(v)) for v in nodes]
    except ArgumentError:
        return None
    names = ("mean", "square", "fourth", "derivative_square", "derivative_fourth", "scale_derivative")
    return {n: _between(nodes, np.array([getattr(m, n) for m in table]), variances) for n in names}


def _between(nodes: Array, values: Array, at: Array) -> Array:
    if (values > 0).all():
        return np.exp(np.interp(np.log(at), np.log(nodes), np.log(values)))
    return np.interp(np.log(at), np.log(nodes), values)


@lru_cache(maxsize=4096)
def _moments_at(phi: Callable[[Array], Array], mean: float, variance: float) -> GaussianMoments:
    """Moments of phi(x), x ~ N(mean, variance), and of its derivative by x."""
    deviation = math.sqrt(variance)
    found = gaussian_moments(lambda z: phi(mean + deviation * z))
    return replace(
        found,
        derivative_square=found.derivative_square / variance,
        derivative_fourth=found.derivative_fourth / variance**2,
    )


def activation_of(operation: Operation) -> Callable[[Array], Array] | None:
    """The activation that an operation is, as it was called; None for one that is none, or not known."""
    return _function(operation.key.name.rstrip("_"), operation.settings)


@lru_cache(maxsize=512)
def _function(name: str, settings: tuple[tuple[str, Any], ...]) -> Callable[[Array], Array] | None:
    given = dict(settings)

    def setting(name: str, place: int, otherwise: float) -> float:
        return given.get(name, given.get(str(place), otherwise))

    if name == "leaky_relu":
        slope = setting("negative_slope", 1, 0.01)
        return lambda z: np.where(z > 0, z, slope * z)
    if name in ("elu", "celu"):
        alpha = setting("alpha", 1, 1.0)
        inner = alpha if name == "celu" else 1.0
        return lambda z: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0) / inner))
    if name in ("hardtanh", "clamp"):
        low, high = setting("min_val", 1, -1.0), setting("max_val", 2, 1.0)
        return (lambda z: np.clip(z, low, high)) if name == "hardtanh" else None
    if name == "softplus":
        beta = setting("beta", 1, 1.0)
        return lambda z: np.logaddexp(0.0, beta * z) / beta
    if name == "gelu" and given.get("approximate") == "tanh":
        return ACTIVATIONS["gelu_tanh"]
    return ACTIVATIONS.get(name)


def _normalise(case: _Case) -> _Passed | None:
    """A norm gives its outputs the mean square of its own weights, whatever comes in."""
    name, source = case.operation.key.name, case.sources[0]
    if len(case.sources) > 1 or case.operation.output.count != case.measured[0].count:
        return None
    spread = _normalised_spread(case, source)
    if name == "batch_norm" and case.setting("training", 5, False) is not True:
        return None
    known = [w for w in case.parameters if len(w.shape) >= 1]
    scale = known[0] if known else Weight((1,), 1.0, 1.0)
    shift = known[1] if len(known) > 1 else Weight((1,), 0.0, 0.0)
    eps = case.setting("eps", 4, 1e-5)
    eps = eps if isinstance(eps, float) else 0.0
    share = 1.0 if spread is None else spread / (spread + eps)
    square = scale.square * share + shift.square
    signal = replace(
        source, mean=shift.mean, square=np.asarray(square), noise=0.0, inherited=0.0,
        depth=source.depth, units=source.units,
    )  # fmt: skip
    factor = None if spread is None else scale.square / (spread + eps)
    return _Passed(
        signal=signal,
        backs=(None if factor is None else lambda g: np.asarray(g.mean() * factor),),
    )


def _normalised_spread(case: _Case, source: _Signal) -> float | None:
    """The variance by which a norm divides; None where the trace does not tell."""
    name, before = case.operation.key.name, case.measured[0]
    if name == "rms_norm":
        return source.total
    if name == "layer_norm":
        return float(source.variance.mean())
    if name == "batch_norm" and len(case.operation.shape) == 2:
        return before.sample_std**2 if before.compared else None
    return None


def _add(case: _Case) -> _Passed | None:
    sources, shape = case.sources, case.operation.output.count
    if case.operation.parameters or any(m.count != shape for m in case.measured):
        return None
    alpha = case.setting("alpha", 2, 1)
    number = case.setting("other", 1, None)
    if len(sources) == 1:
        if isinstance(number, int | float):
            return _shifted(sources[0], number * alpha)
        return _scaled(sources[0], 1.0 + alpha)
    if len(sources) != 2:
        return None
    sign = -1 if case.operation.key.name in _DIFFERENCES else 1
    return _summed(sources[0], sources[1], sign * alpha)


def _summed(a: _Signal, b: _Signal, times: float) -> _Passed:
    """The sum of a trunk and a branch, independent but for their means."""
    b_square = b.square if a.square.ndim == 0 else _by_position(b.square, a.square.shape)
    b_square, b_mean = b_square * times**2, b.mean * times
    square = np.asarray(a.square + b_square + 2 * a.mean * b_mean)
    total = float(square.mean())
    shared = abs(a.mean * b_mean)
    parts = (a.total + shared) * math.sqrt(a.noise) + (float(b_square.mean()) + shared) * math.sqrt(b.noise)
    deviation = parts / total if total > 0 else 0.0
    signal = _Signal(
        mean=a.mean + b_mean, square=square, noise=deviation**2, inherited=deviation**2,
        units=max(a.units, b.units), depth=max(a.depth, b.depth),
    )  # fmt: skip
    # What the ways back through trunk and branch bring is independent only where a branch has no mean: a mean ties
    # the signs of the branch to the trunk.
    apart = abs(2 * a.mean * b_mean) < _SMALL_MEAN * total
    return _Passed(signal=signal, backs=(lambda g: g, lambda g: g * times**2) if apart else (None, None))


def _shifted(source: _Signal, by: float) -> _Passed:
    square = source.square + 2 * by * source.mean + by**2
    return _Passed(
        signal=replace(source, mean=source.mean + by, square=np.asarray(square)), backs=(lambda g: g,)
    )


def _scaled(source: _Signal, by: float) -> _Passed:
    return _Passed(
        signal=replace(source, mean=source.mean * by, square=np.asarray(source.square * by**2)),
        backs=(lambda g: g * by**2,),
    )


def _multiply(case: _Case) -> _Passed | None:
    """By a number, or by a parameter that scales a branch."""
    if len(case.sources) != 1 or case.operation.output.count != case.measured[0].count:
        return None
    divides = "div" in case.operation.key.name
    by = case.setting("other", 1, None)
    if not case.operation.parameters:
        by = case.setting("other", 0, by) if by is None and not divides else by
        if not isinstance(by, int | float) or (divides and by == 0):
            return None
        return _scaled(case.sources[0], 1 / by if divides else by)
    if divides or len(case.parameters) != 1 or len(case.operation.parameters) != 1:
        return None
    (scale,), source = case.parameters, case.sources[0]
    signal = replace(source, mean=source.mean * scale.mean, square=np.asarray(source.square * scale.square))
    return _Passed(signal=signal, backs=(lambda g: g * scale.square,))


def _drop(case: _Case) -> _Passed | None:
    p = case.setting("p", 1, 0.5)
    if case.setting("training", 2, True) is not True:
        p = 0.0
    if len(case.sources) != 1 or not 0 <= p < 1:
        return None
    (source,) = case.sources
    kept = 1 / (1 - p)
    return _Passed(signal=replace(source, square=source.square * kept), backs=(lambda g: g * kept,))


SUMS = ("add", "add_", "__add__", "__iadd__", "__radd__")
_DIFFERENCES = ("sub", "sub_", "__sub__", "__isub__")
_PRODUCTS = ("mul", "__mul__", "__imul__", "__rmul__", "div", "__truediv__", "__itruediv__")
LINEAR: dict[str, Callable[[_Case], _Passed | None]] = {
    **dict.fromkeys(("linear", "matmul", "mm", "addmm", "__matmul__"), _dense),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolve),
}
"""The operations that have weights, and how each passes a signal on."""
_HANDLERS: dict[str, Callable[[_Case], _Passed | None]] = {
    **LINEAR,
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm"), _normalise),
    **dict.fromkeys((*SUMS, *_DIFFERENCES), _add),
    **dict.fromkeys(_PRODUCTS, _multiply),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d"), _drop),
}
