"""The input tensors of a batch by name, as findings tell them: ``inputs.image``, ``inputs[1]``, ``inputs.graph.nodes``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from .batch import Batch, is_dense, is_object

Change = Callable[[str, torch.Tensor], torch.Tensor]


def named_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """Every dense input tensor, nested ones too, by what follows ``inputs`` in its name: nothing for a single one."""
    found: dict[str, torch.Tensor] = {}

    def note(name: str, tensor: torch.Tensor) -> torch.Tensor:
        found[name] = tensor
        return tensor

    with_changed_inputs(batch, note)
    return found


def with_changed_inputs(batch: Batch, change: Change) -> Batch:
    """The batch with each of these tensors replaced."""
    if batch.only_tensor is not None:
        return batch.with_inputs(change("", batch.only_tensor))
    if batch.kwargs is not None:
        return replace(batch, kwargs=_changed(batch.kwargs, "", change))
    if len(batch.args) == 1:
        return replace(batch, args=(_changed(batch.args[0], "", change),))
    return replace(batch, args=_changed(batch.args, "", change))


def _changed(value: Any, name: str, change: Change) -> Any:
    if isinstance(value, torch.Tensor):
        return change(name, value) if is_dense(value) else value
    if isinstance(value, Mapping):
        return {key: _changed(entry, f"{name}.{key}", change) for key, entry in value.items()}
    if isinstance(value, tuple | list) and not is_object(value):
        entries = [_changed(entry, f"{name}[{i}]", change) for i, entry in enumerate(value)]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    return value
