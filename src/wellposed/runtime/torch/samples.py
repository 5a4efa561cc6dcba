"""Samples gathered into batches, and data that a function makes afresh for every pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, Dataset, default_collate

from ...errors import DataError, users_code
from .batch import as_tensors, describe, tensors_in

BATCH_ROWS = 64


def drawn_from(data: Any, name: str) -> Any:
    """Batches of samples: drawn in random order where each can be had by its number."""
    if not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        return Samples(data, name)
    with users_code(f"reading {name}"):
        count = len(data)
        first = data[0] if count else None
    if count == 0:
        raise DataError(f"{name} is empty: it has no samples")
    size = min(BATCH_ROWS, count)
    own = graph_collate(first) is not None or not isinstance(data, Dataset)
    gather = _Collate(name) if own else default_collate
    return DataLoader(data, batch_size=size, shuffle=True, drop_last=True, collate_fn=gather)


class _Collate:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, samples: Sequence[Any]) -> Any:
        return collate(samples, self.name)


def collate(samples: Sequence[Any], name: str) -> Any:
    """Samples as one batch, as torch's own collate function makes it; graphs as their library does."""
    together = graph_collate(samples[0])
    if together is not None:
        return together(list(samples))
    read = [
        tree_map(lambda v: torch.tensor(v) if isinstance(v, float) else v, as_tensors(s, name))
        for s in samples
    ]
    for place in zip(*(list(tensors_in(s)) for s in read), strict=False):
        refuse_ragged(place, f"{name} has samples")
    try:
        return default_collate(read)
    except (TypeError, RuntimeError, KeyError) as error:
        raise DataError(
            f"{name} gives samples like {describe(samples[0])}, of which torch's default_collate makes no batch ({error}): "
            "give a DataLoader with a collate_fn of your own"
        ) from None


def graph_collate(sample: Any) -> Callable[[list[Any]], Any] | None:
    """How PyTorch Geometric joins graphs, for one graph that is not joined already."""
    library = sys.modules.get("torch_geometric.data")
    if library is None or not isinstance(sample, library.data.BaseData) or isinstance(sample, library.Batch):
        return None
    return library.Batch.from_data_list


class Passes:
    """Iterates over what a function makes, afresh each time."""

    def __init__(self, function: Callable[[], Any], name: str) -> None:
        self.function, self.name = function, name

    def made(self) -> Any:
        with users_code(f"{self.name} is a function, and calling it without arguments"):
            return self.function()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.made())


class Samples:
    """Batches of the samples that an iterable gives, in its own order."""

    def __init__(self, data: Iterable[Any], name: str) -> None:
        self.data, self.name = data, name

    def __iter__(self) -> Iterator[Any]:
        samples = iter(self.data)
        while some := list(islice(samples, BATCH_ROWS)):
            yield collate(some, self.name)


def refuse_ragged(tensors: Sequence[torch.Tensor], what: str) -> None:
    shapes = sorted({tuple(t.shape) for t in tensors})
    if len(shapes) > 1:
        raise DataError(
            f"{what} of {len(shapes)} different shapes, {', '.join(map(str, shapes[:4]))}{', ...' if len(shapes) > 4 else ''}: "
            "pad them to one, or give a DataLoader whose collate_fn pads or packs them"
        )
