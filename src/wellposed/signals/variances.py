"""The variance that the weights of plain layers have, and the one that keeps the signal at its size, read off a trace."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from ..activations import Array, gaussian_moments
from ..runtime.model_trace import ModelTrace, Operation, Weight
from .mean_field import LINEAR, activation_of
from .result import WeightVariance

_CONSTANT = 1e-3  # of the mean square: weights that vary by less are all the same
_HANDS_ON = (
    "dropout", "dropout1d", "dropout2d", "dropout3d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d",
    "adaptive_avg_pool2d", "adaptive_max_pool2d", "pad", "interpolate",
)  # fmt: skip
"""What stands between an activation and the layer that reads it, without a scale of its own."""
_NORMS = ("layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm")


def weight_variances(trace: ModelTrace) -> tuple[WeightVariance, ...]:
    """One entry for each dense or convolutional layer that a known activation reads, and nothing else, in order.

    Left out are layers before a norm, which undoes any variance, and before a residual sum, which may start closed.
    """
    operations = list(trace.operations.values())
    uses = Counter(name for o in operations for name in o.parameters)
    readers: dict[int, list[Operation]] = {}
    for operation in operations:
        for p in operation.inputs:
            readers.setdefault(p, []).append(operation)
    found = []
    for i, operation in enumerate(operations):
        name = _weight_name(operation, trace.weights)
        after = readers.get(i, [])
        if name is None or uses[name] > 1 or len(after) != 1 or not _is_activation(after[0]):
            continue
        gain = _gain_before(operation, operations)
        if gain is not None:
            found.append(_variance(name, operation, trace.weights[name], after[0].key.name, gain))
    return tuple(v for v in found if v is not None)


def _weight_name(operation: Operation, weights: dict[str, Weight]) -> str | None:
    """The weight of a dense or convolutional layer with one input."""
    if operation.key.name not in LINEAR or len(operation.inputs) != 1:
        return None
    names = [n for n in operation.parameters if n in weights and len(weights[n].shape) > 1]
    return names[0] if len(names) == 1 else None


def _is_activation(operation: Operation) -> bool:
    known = activation_of(operation)
    return known is not None and len(operation.inputs) == 1 and not operation.parameters


def _gain_before(operation: Operation, operations: list[Operation]) -> float | None:
    """What the weights' variance times the fan must be: the inverse of the mean square that comes in at unit scale."""
    position = operation.inputs[0]
    for _ in range(len(operations)):
        if position < 0:
            return 1.0  # the model's input, at unit scale
        source = operations[position]
        known = activation_of(source)
        if known is not None and len(source.inputs) == 1 and not source.parameters:
            return _gain(known)
        if source.key.name in _NORMS or source.key.name in LINEAR:
            return 1.0
        if source.key.name not in _HANDS_ON or len(source.inputs) != 1:
            return None
        position = source.inputs[0]
    return None


@lru_cache(maxsize=256)
def _gain(phi: Callable[[Array], Array]) -> float | None:
    square = gaussian_moments(phi).square
    return 1 / square if square > 0 else None


def _variance(
    name: str, operation: Operation, weight: Weight, activation: str, gain: float
) -> WeightVariance | None:
    dense_by_hand = operation.key.name not in ("linear",) and len(weight.shape) == 2
    fan = weight.shape[0] if dense_by_hand else math.prod(weight.shape[1:])
    if weight.square - weight.mean**2 <= _CONSTANT * weight.square:
        return None  # zero on purpose, or all the same: another fault
    return WeightVariance(
        name=name, has=weight.square, needs=gain / fan, mean=weight.mean, fan_in=fan,
        activation=activation.rstrip("_"),
    )  # fmt: skip
