"""The targets of pairs and batches, as data of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..arguments import told
from ..errors import ArgumentError, DataError
from .batches import reading

_KEYS = ("targets", "target", "y", "labels", "label")


def targets_of(data: Any) -> Any:
    """The targets of a pair ``(inputs, targets)``, or of every batch of something that gives such pairs.

    Examples
    --------
    >>> targets_of(([[1.0]], [5.0]))
    [5.0]
    >>> list(targets_of([([[1.0]], [5.0]), ([[2.0]], [6.0])]))
    [[5.0], [6.0]]
    """
    if isinstance(data, tuple | Mapping):
        return _of_batch(data, "the data")
    if not hasattr(data, "__iter__") or isinstance(data, str | bytes) or hasattr(data, "shape"):
        raise ArgumentError(
            f"of='targets' needs pairs (inputs, targets), found {told(data)}: give the targets "
            "themselves, or name their column with columns="
        )
    return _Targets(data)


class _Targets:
    """Iterated as often as the data, and as free of traces."""

    gives_batches = True
    """1-d targets are those of a batch of samples, and no rows."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        with reading(self._data):
            for i, batch in enumerate(self._data):
                yield _of_batch(batch, f"batch {i}")


def _of_batch(batch: Any, what: str) -> Any:
    if isinstance(batch, Mapping):
        found = [key for key in _KEYS if key in batch]
        if not found:
            raise DataError(
                f"{what} is a dict with {', '.join(map(str, batch))}: expected the targets under {', '.join(_KEYS)}"
            )
        return _one(batch[found[0]], what)
    if isinstance(batch, tuple | list) and len(batch) == 2 and batch[1] is not None:
        _check_lengths(getattr(batch[0], "shape", ()), getattr(batch[1], "shape", ()), what)
        return _one(batch[1], what)
    raise DataError(f"{what} is no pair (inputs, targets) but {told(batch)}: it has no targets")


def _check_lengths(inputs: Any, targets: Any, what: str) -> None:
    if len(inputs) and len(targets) and inputs[0] != targets[0]:
        raise DataError(
            f"{what} has inputs of shape {tuple(inputs)} and targets of shape {tuple(targets)}: expected one row of "
            "targets for each of inputs; of single samples, make batches with a DataLoader"
        )


def _one(targets: Any, what: str) -> Any:
    several = isinstance(targets, Mapping) or (
        isinstance(targets, tuple | list) and any(hasattr(t, "shape") for t in targets)
    )
    if several:
        raise DataError(f"{what} has {len(targets)} targets: give one of them, to be normalised by itself")
    return targets
