"""The copies of the checked tensors that are moved; each evaluation writes only those whose values change."""

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
"""Some elements in memory order; None for all of a tensor that is not contiguous."""


def real_view(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without its graph; a complex one with one more axis of length two."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    return torch.view_as_real(plain) if plain.is_complex() else plain


def to_array(tensor: torch.Tensor) -> NDArray[np.float64]:
    """A read-only float64 array; shares memory with a float64 tensor."""
    array = tensor.detach().cpu().double().numpy().view()
    array.setflags(write=False)
    return array


@dataclass(frozen=True, kw_only=True, eq=False)
class Location:
    """The values of a checked tensor: those of another tensor plus some steps, rounded to its dtype after each.

    They are computed again, block by block, whenever they are needed: the int8 steps take an eighth of the memory of a copy.
    """

    tensor: torch.Tensor
    """A real view; never written to."""
    dtype: torch.dtype
    """Of the checked tensor, as a real view."""
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
        """All values; the tensor itself where there are no steps."""
        if not self.steps:
            return self.tensor
        found = torch.empty_like(self.tensor, dtype=self.dtype)
        for block in self.blocks:
            _part(found, block).copy_(self.wide(block))
        return found


def _stepped(step: DirectionStep, base: torch.Tensor, block: Block) -> torch.Tensor:
    """The values of a block after a step, in float64."""
    move = torch.from_numpy(step.moves(block)).to(base.device)
    return torch.add(base, move, alpha=step.length, out=move)


class MovedTensors:
    """Copies of the checked tensors, with the values of any location.

    Parameters
    ----------
    leaves
        The checked tensors. Parameters are moved in place: inside `restore.preserved` their storage is a copy.
    replay
        Whether the copies are in float64.
    """

    def __init__(self, leaves: Sequence[CheckedTensor], *, replay: bool) -> None:
        self.leaves = leaves
        self.tensors = [self._of(leaf, replay) for leaf in leaves]
        """The tensors that autograd differentiates by: the parameters themselves, and copies of the inputs."""
        # Detached, not `.data`: writing then raises the tensor's version, as a step of an optimizer does.
        self._storage = [real_view(t) for t in self.tensors]
        self._current: list[Location | None] = [None] * len(leaves)
        """For each tensor the location whose values it has; None where it was moved from there or written to."""
        self._versions = [0] * len(leaves)
        self._written: set[int] = set()

    def _of(self, leaf: CheckedTensor, replay: bool) -> torch.Tensor:
        if leaf.is_parameter:
            leaf.tensor.data = _alone(leaf.tensor.data)
            return leaf.tensor
        dtype = double_of(leaf.tensor.dtype) if replay else leaf.tensor.dtype
        return torch.empty(leaf.tensor.shape, dtype=dtype, device=leaf.tensor.device).requires_grad_()

    def at(self, i: int, values: torch.Tensor) -> Location:
        """The location with these values."""
        return Location(tensor=values, dtype=self._storage[i].dtype)

    def put(self, i: int, place: Location) -> None:
        """Write the values of a location into a tensor, unless it has them."""
        if self._current[i] is place:
            return
        for block, cell in self._in_blocks(i, place):
            cell.copy_(place.wide(block))
        self._current[i] = place

    def move(self, i: int, place: Location, step: DirectionStep, gradient: torch.Tensor | None) -> float:
        """Write the values one step from a location; returns the change of F that the gradient predicts for the rounded move."""
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
        """The difference of a tensor to a location, in its dtype."""
        return (_double(self._storage[i]) - _double(place.values())).to(self._storage[i].dtype)

    def note_versions(self) -> None:
        """Before an evaluation: remember the versions, so that writes by the function can be told."""
        self._versions = [-1 if t.is_inference() else t._version for t in self.tensors]

    def record_hidden_writes(self, locations: Sequence[Location]) -> None:
        """After an evaluation: record which tensors the function writes to without raising their versions."""
        self._written |= {i for i, place in enumerate(locations) if not self._is_at(i, place)}
        self.forget_what_was_written()

    def set_by_function(self, locations: Sequence[Location]) -> list[Location] | None:
        """After an evaluation: the locations that the function itself has given its tensors; None where it changed none."""
        put = {i for i in self._written if not self._is_at(i, locations[i])}
        return (
            [self.at(i, self._storage[i].clone()) if i in put else p for i, p in enumerate(locations)]
            if put
            else None
        )

    def forget_what_was_written(self) -> None:
        """After an evaluation: tensors that the function wrote to have no known location."""
        for i, tensor in enumerate(self.tensors):
            if i in self._written or (not tensor.is_inference() and tensor._version != self._versions[i]):
                self._current[i] = None

    def _is_at(self, i: int, place: Location) -> bool:
        return all(torch.equal(cell, place.wide(b).to(cell)) for b, cell in self._in_blocks(i, place))

    def _in_blocks(self, i: int, place: Location) -> Iterator[tuple[Block, torch.Tensor]]:
        """The memory of a tensor, in the blocks of a location."""
        cell = self._storage[i]
        blocks = place.blocks if cell.is_contiguous() else (None,)
        return ((block, _part(cell, block)) for block in blocks)


def _part(tensor: torch.Tensor, block: Block) -> torch.Tensor:
    return tensor if block is None else tensor.view(-1)[block]


def _alone(data: torch.Tensor) -> torch.Tensor:
    """The data in storage of its own, so that a parameter that shares storage with another one does not move that too."""
    plain = data.resolve_conj().resolve_neg()
    alone = plain.numel() * plain.element_size() == plain.untyped_storage().nbytes()
    return plain if alone and is_dense(plain) else plain.clone()


def _inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.dot(a, b) if a.ndim == 1 else (a * b).sum())


def _double(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.cpu().double() if tensor.device.type in WITHOUT_FLOAT64 else tensor.double()
