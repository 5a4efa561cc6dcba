"""Outputs of one length, as embeddings that are compared by their angles: what the loss can come to with them, and without."""

from __future__ import annotations

import torch

from .result import DirectionFloors
from .torch_components import Dependence, read_outputs
from .torch_descent import floor_of
from .torch_outputs import joined, length_axis, split_like

_FREE_STEP = 10.0  # lengths: similarities that were made small need long vectors


def direction_floors(seen: Dependence) -> DirectionFloors | None:
    """None where the loss reads any output that is no direction."""
    if all(length_axis(o) is None for o in seen.outputs.detached):
        return None
    read = read_outputs(seen)
    at = [seen.outputs.detached[i] for i in read]
    axes = [length_axis(o) for o in at]
    known = [axis for axis in axes if axis is not None]
    if not read or len(known) < len(axes):
        return None
    lengths = [o.norm(dim=axis, keepdim=True) for o, axis in zip(at, known, strict=True)]

    def loss(z: torch.Tensor) -> torch.Tensor:
        return seen.loss(dict(zip(read, split_like(z, at), strict=True)), {})

    def kept(z: torch.Tensor) -> torch.Tensor:
        rows = zip(split_like(z, at), lengths, known, strict=True)
        return joined([length * o / o.norm(dim=axis, keepdim=True) for o, length, axis in rows])

    start, length = joined(at), float(lengths[0].mean())
    return DirectionFloors(
        outputs=tuple(seen.outputs.names[i] for i in read),
        free=floor_of(loss, start, lambda z: z, _FREE_STEP * length),
        kept=floor_of(loss, start, kept, length),
    )
