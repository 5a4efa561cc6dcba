"""The one copy of the tensors that moves: each evaluation writes into it only the tensors whose place it changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ...runtime.torch.tensors import WITHOUT_FLOAT64
from ..directions import BLOCK, DirectionStep
from .arguments import CheckedTensor, double_of, is_dense

Block = slice | None
"""Some elements in the order of memory, or None: all of a tensor that has another order."""


def real_view(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's own numbers, without a graph; a complex one with a last axis of two more."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    return torch.view_as_real(plain) if plain.is_complex() else plain


def to_array(tensor: torch.Tensor) -> NDArray[np.float64]:
    """A read-only float64 array: of the same memory where that holds float64."""
    array = tensor.detach().cpu().double().numpy().view()
    array.setflags(write=False)
    return array


@dataclass(frozen=True, kw_only=True, eq=False)
class Location:
    """Where a leaf is: at the values of a tensor, or some steps from there, each rounded to the leaf's type.

    What the steps lead to is made again, block by block, whenever it is needed: a copy would take eight times as much.
    """

    tensor: torch.Tensor
    """A real view; it is never written."""
    dtype: torch.dtype
    """Of the leaf, as a real view."""
    steps: tuple[DirectionStep, ...] = ()

    @property
    def blocks(self) -> Iterator[Block]:
        if not self.tensor.is_contiguous():
            yield None
        else:
            yield from (slice(k, k + BLOCK) for k in range(0, self.tensor.numel(), BLOCK))

    def wide(self, block: Block) -> torch.Tensor:
        """The values of a block in float64."""
        values = _double(_part(self.tensor, block))
        for step in self.steps:
            values = _double(_stepped(step, values, block).to(self.dtype))
        return values

    def values(self) -> torch.Tensor:
        """All of them, in the type of the tensor where no step is taken."""
        if not self.steps:
            return self.tensor
        found = torch.empty_like(self.tensor, dtype=self.dtype)
        for block in self.blocks:
            _part(found, block).copy_(self.wide(block))
        return found


def _stepped(step: DirectionStep, base: torch.Tensor, block: Block) -> torch.Tensor:
    """Where a block in float64 ends up."""
    move = torch.from_numpy(step.moves(block)).to(base.device)
    return torch.add(base, move, alpha=step.length, out=move)


class MovedTensors:
    """Copies of the leaves, at any point.

    Parameters
    ----------
    leaves
        Parameters are moved where they are: their storage is ours inside `restore.preserved`.
    replay
        In float64.
    """

    def __init__(self, leaves: Sequence[CheckedTensor], *, replay: bool) -> None:
        self.leaves = leaves
        self.tensors = [self._of(leaf, replay) for leaf in leaves]
        """What autograd sees: the parameters themselves, and copies of the inputs."""
        # Detached, and not `.data`: writing counts as a change of the tensor, as a step of an optimizer does.
        self._storage = [real_view(t) for t in self.tensors]
        self._current: list[Location | None] = [None] * len(leaves)
        """For each cell the place whose values it has; None where it has moved or was written to."""
        self._versions = [0] * len(leaves)
        self._written: set[int] = set()

    def _of(self, leaf: CheckedTensor, replay: bool) -> torch.Tensor:
        if leaf.is_parameter:
            leaf.tensor.data = _alone(leaf.tensor.data)
            return leaf.tensor
        dtype = double_of(leaf.tensor.dtype) if replay else leaf.tensor.dtype
        return torch.empty(leaf.tensor.shape, dtype=dtype, device=leaf.tensor.device).requires_grad_()

    def at(self, i: int, values: torch.Tensor) -> Location:
        """The place of a leaf that has these values."""
        return Location(tensor=values, dtype=self._storage[i].dtype)

    def put(self, i: int, place: Location) -> None:
        """Give a leaf the values of a place, unless it has them."""
        if self._current[i] is place:
            return
        for block, cell in self._in_blocks(i, place):
            cell.copy_(place.wide(block))
        self._current[i] = place

    def move(self, i: int, place: Location, step: DirectionStep, gradient: torch.Tensor | None) -> float:
        """Put a leaf a step from a place, rounded to its type; what the gradient says of the move really made."""
        self._current[i] = None
        claimed_change = 0.0
        for block, cell in self._in_blocks(i, place):
            base = place.wide(block)
            moved = _stepped(step, base, block)
            cell.copy_(moved)
            if gradient is not None:
                made = torch.sub(_double(cell), base, out=moved)
                claimed_change += _inner(_double(_part(gradient, block)), made)
        return claimed_change

    def moved_by(self, i: int, place: Location) -> torch.Tensor:
        """How far a leaf is from a place, in its own type."""
        return (_double(self._storage[i]) - _double(place.values())).to(self._storage[i].dtype)

    def note_versions(self) -> None:
        """Before an evaluation: whatever is written from here on was written by the function."""
        self._versions = [-1 if t.is_inference() else t._version for t in self.tensors]

    def look(self, locations: Sequence[Location]) -> None:
        """After an evaluation at the places: see which leaves the function writes to without saying so."""
        self._written |= {i for i, place in enumerate(locations) if not self._is_at(i, place)}
        self.forget_what_was_written()

    def settled(self, locations: Sequence[Location]) -> list[Location] | None:
        """After an evaluation at the places: where the function has put its own leaves, or None where it left them."""
        put = {i for i in self._written if not self._is_at(i, locations[i])}
        return (
            [self.at(i, self._storage[i].clone()) if i in put else p for i, p in enumerate(locations)]
            if put
            else None
        )

    def forget_what_was_written(self) -> None:
        """After an evaluation: what the function wrote to is not where it was."""
        for i, tensor in enumerate(self.tensors):
            if i in self._written or (not tensor.is_inference() and tensor._version != self._versions[i]):
                self._current[i] = None

    def _is_at(self, i: int, place: Location) -> bool:
        return all(torch.equal(cell, place.wide(b).to(cell)) for b, cell in self._in_blocks(i, place))

    def _in_blocks(self, i: int, place: Location) -> Iterator[tuple[Block, torch.Tensor]]:
        """The leaf's own memory, block by block of the place."""
        cell = self._storage[i]
        blocks = place.blocks if cell.is_contiguous() else (None,)
        return ((block, _part(cell, block)) for block in blocks)


def _part(tensor: torch.Tensor, block: Block) -> torch.Tensor:
    return tensor if block is None else tensor.view(-1)[block]


def _alone(data: torch.Tensor) -> torch.Tensor:
    """The data in a storage of their own: a parameter that shares its storage with another must not move it too."""
    plain = data.resolve_conj().resolve_neg()
    alone = plain.numel() * plain.element_size() == plain.untyped_storage().nbytes()
    return plain if alone and is_dense(plain) else plain.clone()


def _inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.dot(a, b) if a.ndim == 1 else (a * b).sum())


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.cpu().double() if tensor.device.type in WITHOUT_FLOAT64 else tensor.double()
