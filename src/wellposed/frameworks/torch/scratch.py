"""The one copy of the tensors that moves: each evaluation writes into it only the tensors whose place it changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .arrays import WITHOUT_FLOAT64
from .subjects import Leaf, double_of, is_dense

_BLOCK = 1 << 17
"""Elements moved at a time: float64 of them fit in a processor's cache."""


def real_view(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's own numbers, without a graph; a complex one with a last axis of two more."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    return torch.view_as_real(plain) if plain.is_complex() else plain


def to_array(tensor: torch.Tensor) -> NDArray[np.float64]:
    """A read-only float64 array: of the same memory where that holds float64."""
    array = tensor.detach().cpu().double().numpy().view()
    array.setflags(write=False)
    return array


class Scratch:
    """Copies of the leaves, at any point.

    Parameters
    ----------
    leaves
        Parameters are moved where they are: their storage is ours inside `state.preserved`.
    replay
        In float64.
    """

    def __init__(self, leaves: Sequence[Leaf], *, replay: bool) -> None:
        self.leaves = leaves
        self.tensors = [self._of(leaf, replay) for leaf in leaves]
        """What autograd sees: the parameters themselves, and copies of the inputs."""
        # Detached, and not `.data`: writing counts as a change of the tensor, as a step of an optimizer does.
        self._cells = [real_view(t) for t in self.tensors]
        self._holds: list[Any] = [None] * len(leaves)
        """For each cell the tensor whose values it has; None where it has moved or was written to."""
        self._versions = [0] * len(leaves)
        self._written: set[int] = set()

    def _of(self, leaf: Leaf, replay: bool) -> torch.Tensor:
        if leaf.is_parameter:
            leaf.tensor.data = _alone(leaf.tensor.data)
            return leaf.tensor
        dtype = double_of(leaf.tensor.dtype) if replay else leaf.tensor.dtype
        return torch.empty(leaf.tensor.shape, dtype=dtype, device=leaf.tensor.device).requires_grad_()

    def place(self, i: int, point: torch.Tensor) -> None:
        """Give a leaf the values of a point, unless it has them."""
        if self._holds[i] is not point:
            self._cells[i].copy_(point)
            self._holds[i] = point

    def move(
        self,
        i: int,
        point: torch.Tensor,
        move: NDArray[np.float64],
        step: float,
        gradient: torch.Tensor | None,
    ) -> float:
        """Put a leaf at ``point + step * move``, rounded to its type; what the gradient says of the move really made."""
        self._holds[i] = None
        taken = 0.0
        for cell, base, along, g in _blocks(self._cells[i], point, _tensor(move, point), gradient):
            cell.copy_(torch.add(base, along, alpha=step))
            if g is not None:
                taken += _inner(g, _double(cell) - base)
        return taken

    def moved_by(self, i: int, point: torch.Tensor) -> torch.Tensor:
        """How far a leaf is from a point, in its own type."""
        return (_double(self._cells[i]) - _double(point)).to(self._cells[i].dtype)

    def copy_of(self, i: int) -> torch.Tensor:
        return self._cells[i].clone()

    def mark(self) -> None:
        """Before an evaluation: whatever is written from here on was written by the function."""
        self._versions = [-1 if t.is_inference() else t._version for t in self.tensors]

    def look(self, points: Sequence[torch.Tensor]) -> None:
        """After an evaluation at the points: see which leaves the function writes to without saying so."""
        for i, (cell, point) in enumerate(zip(self._cells, points, strict=True)):
            if not torch.equal(cell, point.to(cell.dtype)):
                self._written.add(i)
        self.forget_written()

    def settled(self, points: Sequence[torch.Tensor]) -> list[torch.Tensor] | None:
        """After an evaluation at the points: where the function has put its own leaves, or None where it left them."""
        put = {
            i for i in self._written if not torch.equal(self._cells[i], points[i].to(self._cells[i].dtype))
        }
        return [self.copy_of(i) if i in put else p for i, p in enumerate(points)] if put else None

    def forget_written(self) -> None:
        """After an evaluation: what the function wrote to is not where it was."""
        for i, tensor in enumerate(self.tensors):
            if i in self._written or (not tensor.is_inference() and tensor._version != self._versions[i]):
                self._holds[i] = None


def _alone(data: torch.Tensor) -> torch.Tensor:
    """The data in a storage of their own: a parameter that shares its storage with another must not move it too."""
    plain = data.resolve_conj().resolve_neg()
    alone = plain.numel() * plain.element_size() == plain.untyped_storage().nbytes()
    return plain if alone and is_dense(plain) else plain.clone()


def _inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.dot(a, b) if a.ndim == 1 else (a * b).sum())


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.cpu().double() if tensor.device.type in WITHOUT_FLOAT64 else tensor.double()


def _tensor(move: NDArray[np.float64], point: torch.Tensor) -> torch.Tensor:
    array = np.ascontiguousarray(move, dtype=np.float64).reshape(tuple(point.shape))
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def _blocks(
    cell: torch.Tensor, point: torch.Tensor, move: torch.Tensor, gradient: torch.Tensor | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Pieces of the four, all but the first in float64; whole tensors where they do not lie in one line."""
    tensors = [cell, point, move, *([] if gradient is None else [gradient])]
    if all(t.is_contiguous() for t in tensors):
        tensors = [t.view(-1) for t in tensors]
        pieces = range(0, cell.numel(), _BLOCK)
    else:
        pieces = [None]
    for start in pieces:
        part = tensors if start is None else [t[start : start + _BLOCK] for t in tensors]
        base = _double(part[1])
        yield part[0], base, part[2].to(base.device), _double(part[3]) if gradient is not None else None
