"""Back to the state in which every evaluation starts: buffers, attributes, caches and generators that a forward or backward pass changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..reachable import Reached, reach
from ..snapshot import RandomStates, Snapshot

_SMALL = 1 << 16
"""Elements up to which a tensor is simply written again; above, only where it shows that it was written."""


class Rewind:
    """Takes the state when it is made, inside `restore.preserved`, and goes back to it when it is called.

    Parameters
    ----------
    found
        What is reached from the roots.
    sources
        What each of its tensors held at first; it is read, never written. None for tensors that somebody else moves.
    """

    def __init__(self, found: Reached, sources: Sequence[torch.Tensor | None]) -> None:
        self._python = Snapshot(found)
        self._generators = RandomStates(found.generators)
        self._tensors = {
            id(tensor): _Kept(tensor, source) for tensor, source in zip(found.tensors, sources, strict=True)
        }

    def look(self) -> None:
        """After a first evaluation: see which large tensors it wrote without saying so."""
        for kept in self._tensors.values():
            kept.look()

    def left(self, roots: Sequence[Any]) -> Rewind | None:
        """The state that an evaluation has left, to be gone to later; None where it is the one from which it started."""
        written = {key for key, kept in self._tensors.items() if kept.is_written()}
        if not written and not self._python.is_changed():
            return None
        reached = reach(roots)
        sources = [
            t.detach().clone()
            if id(t) in written or id(t) not in self._tensors
            else self._tensors[id(t)].source
            for t in reached.tensors
        ]
        left = Rewind(reached, sources)
        left._generators = self._generators  # random states are the same at every evaluation
        return left

    def __call__(self) -> None:
        self._python.restore()
        self._python.lend_iterators()
        self._generators.restore()
        for kept in self._tensors.values():
            kept.restore()


class _Kept:
    def __init__(self, tensor: torch.Tensor, source: torch.Tensor | None) -> None:
        self.tensor = tensor
        self.source = None if _is_expanded(tensor) else source  # nobody can write in place there
        self.storage = tensor.data
        self.requires_grad = tensor.requires_grad
        self.always = tensor.numel() <= _SMALL or tensor.is_inference()
        self.version = _version(tensor)

    def look(self) -> None:
        if not self.always and self.source is not None and not _equal(self.storage, self.source):
            self.always = True

    def is_written(self) -> bool:
        if self.tensor.layout is not torch.strided:
            return self.version != _version(self.tensor)
        if not _same_place(self.tensor, self.storage):
            return True
        return self.source is not None and not _equal(self.storage, self.source)

    def restore(self) -> None:
        tensor = self.tensor
        if tensor.is_leaf:
            if tensor.grad is not None:
                tensor.grad = None
            if tensor.requires_grad != self.requires_grad:
                tensor.requires_grad_(self.requires_grad)
        if tensor.layout is not torch.strided:
            if self.source is not None:
                tensor.data = self.source.to(self.storage.dtype, copy=True)
            return
        if not _same_place(tensor, self.storage):
            tensor.data = self.storage
        if self.source is not None and (self.always or _version(tensor) != self.version):
            self.storage.copy_(self.source)
            self.version = _version(tensor)


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _is_expanded(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and any(
        s == 0 and n > 1 for s, n in zip(tensor.stride(), tensor.shape, strict=True)
    )


def _same_place(a: torch.Tensor, b: torch.Tensor) -> bool:
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and a.stride() == b.stride()
        and a.data_ptr() == b.data_ptr()
    )


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit as far as values go; a NaN equals itself."""
    same = a == b.to(a.dtype)
    return bool(same.all()) or bool((same | (a.isnan() & b.isnan())).all())
