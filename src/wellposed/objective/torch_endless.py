"""Outputs of one loss, as a mean and its variance, by which it falls without end though every sample is given the same.

Free outputs tell little of such a loss: a variance of zero around each target has no floor either. Where all samples have the same
outputs there is one, at the mean and the variance of the targets, unless a sign is wrong.
"""

from __future__ import annotations

from itertools import pairwise

import torch

from .result import OutputRange
from .torch_components import Dependence, partners
from .torch_descent import finite_value
from .torch_outputs import range_of
from .torch_targets import rms

_FURTHER = (0.0, 4.0, 16.0, 64.0, 256.0, 1024.0)  # times the size of an output, or of the targets
_STILL = 0.7  # of a fall is left four times further: what levels off as 1/sqrt(x) has half of it
_LAST = 3  # falls that are looked at: near the start another term may weigh more
_LINEAR = 1e-5  # of the whole fall
_MOST_COLUMNS = 8
_LEAST = 1e-3  # of the loss, by the last step


def endless_outputs(seen: Dependence) -> tuple[str, ...]:
    """Names of those, of several outputs or columns for one tensor of real targets; none where the outputs are not by row."""
    y = seen.targets.tensors[0]
    outputs = seen.outputs.detached
    by_row = all(o.ndim > 0 and len(o) == len(y) for o in outputs)
    if len(seen.targets) != 1 or not y.is_floating_point() or not by_row:
        return ()
    if len(outputs) == 1 and not _has_columns(outputs[0], y):
        return ()
    compared = partners(seen)
    alike = {i: o.mean(0, keepdim=True).expand_as(o).contiguous() for i, o in enumerate(outputs)}
    return tuple(
        name + column
        for i, name in enumerate(seen.outputs.names)
        if compared[i]
        for column, direction in _directions(outputs[i], y)
        if any(_falls_on(seen, alike, i, sign * direction, rms(y)) for sign in (1.0, -1.0))
    )


def _has_columns(o: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether an output has a few numbers for each single target, as a mean and a variance side by side."""
    return y.numel() == len(y) and o.ndim == 2 and 2 <= o.shape[1] <= _MOST_COLUMNS


def _directions(o: torch.Tensor, y: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    together = ("", torch.ones_like(o))
    if not _has_columns(o, y):
        return [together]
    ones = torch.eye(o.shape[1], dtype=o.dtype, device=o.device)
    return [*((f"[:, {c}]", ones[c].expand_as(o)) for c in range(o.shape[1])), together]


def _falls_on(
    seen: Dependence, alike: dict[int, torch.Tensor], i: int, direction: torch.Tensor, scale: float
) -> bool:
    """Whether the loss falls on and on as one output goes one way, the same for every sample."""
    size = max(rms(seen.outputs.detached[i]), scale, 1e-3)
    confined = range_of(seen.outputs.tensors[i])
    values: list[float] = []
    for further in _FURTHER:
        moved = alike[i] + further * size * direction
        if confined is not None and not _lies_in(moved, confined):
            return False
        value = finite_value(lambda o: seen.loss({**alike, i: o}, {}), moved)
        if value is None:
            return False
        values.append(value)
    if _is_linear(values):  # a weight of what is rewarded, as a log-probability times an advantage is
        return False
    falls = [before - after for before, after in pairwise(values)][-_LAST:]
    large = falls[-1] > _LEAST * (1 + abs(values[0]))
    return large and all(later > _STILL * earlier > 0 for earlier, later in pairwise(falls))


def _is_linear(values: list[float]) -> bool:
    slope = (values[-1] - values[0]) / _FURTHER[-1]
    straight = (values[0] + slope * further for further in _FURTHER)
    return all(
        abs(v - s) <= _LINEAR * abs(values[-1] - values[0]) for v, s in zip(values, straight, strict=True)
    )


def _lies_in(o: torch.Tensor, confined: OutputRange) -> bool:
    return confined.low <= float(o.min()) and float(o.max()) <= confined.high
