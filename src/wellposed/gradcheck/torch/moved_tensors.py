"""The copies of the checked tensors that are moved; each evaluation writes only those whose values change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ...runtime.torch.tensors import WITHOUT_FLOAT64
from ..directions import DirectionStep
from ..tensor_objective import Block, Location
from .arguments import CheckedTensor, double_of, is_dense


def real_view(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without its graph; a complex one with one more axis of length two."""
    plain = tensor.detach().resolve_conj().resolve_neg()
    return torch.view_as_real(plain) if plain.is_complex() else plain


def to_array(tensor: torch.Tensor) -> NDArray[np.float64]:
    """A read-only float64 array; shares memory with a float64 tensor."""
    array = tensor.detach().cpu().double().numpy().view()
    array.setflags(write=False)
    return array


class TensorLocation(Location[torch.Tensor]):
    """The values of a checked tensor: see `Location`."""

    @property
    def blocks(self) -> Iterator[Block]:
        return super().blocks if self.stored.is_contiguous() else iter((None,))

    def values(self) -> torch.Tensor:
        """All values; the stored tensor itself where there are no steps."""
        if not self.steps:
            return self.stored
        values = torch.empty_like(self.stored, dtype=self.dtype)
        for block in self.blocks:
            _part(values, block).copy_(self.wide(block))
        return values

    def start(self, block: Block) -> torch.Tensor:
        return _double(_part(self.stored, block))

    def after(self, step: DirectionStep, values: torch.Tensor, block: Block) -> torch.Tensor:
        move = torch.from_numpy(step.moves(block)).to(values.device)
        return _double(torch.add(values, move, alpha=step.length, out=move).to(self.dtype))


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
        self._current: list[Location[torch.Tensor] | None] = [None] * len(leaves)
        """For each tensor the location whose values it has; None where it was moved from there or written to."""
        self._versions = [0] * len(leaves)
        self._written: set[int] = set()

    def _of(self, leaf: CheckedTensor, replay: bool) -> torch.Tensor:
        if leaf.is_parameter:
            leaf.tensor.data = _alone(leaf.tensor.data)
            return leaf.tensor
        dtype = double_of(leaf.tensor.dtype) if replay else leaf.tensor.dtype
        return torch.empty(leaf.tensor.shape, dtype=dtype, device=leaf.tensor.device).requires_grad_()

    def at(self, i: int, values: torch.Tensor) -> TensorLocation:
        """The location with these values."""
        return TensorLocation(stored=values, dtype=self._storage[i].dtype)

    def put(self, i: int, location: Location[torch.Tensor]) -> None:
        """Write the values of a location into a tensor, unless it has them."""
        if self._current[i] is location:
            return
        for block, cell in self._in_blocks(i, location):
            cell.copy_(location.wide(block))
        self._current[i] = location

    def move(
        self, i: int, location: Location[torch.Tensor], step: DirectionStep, gradient: torch.Tensor | None
    ) -> float:
        """Write the values one step from a location; returns the change of F that the gradient predicts for the rounded move."""
        self._current[i] = None
        claimed_change = 0.0
        for block, cell in self._in_blocks(i, location):
            base = location.wide(block)
            moved = location.after(step, base, block)
            cell.copy_(moved)
            if gradient is not None:
                claimed_change += _inner(_double(_part(gradient, block)), moved.sub_(base))
        return claimed_change

    def moved_by(self, i: int, location: Location[torch.Tensor]) -> torch.Tensor:
        """The difference of a tensor to a location, in its dtype."""
        return (_double(self._storage[i]) - _double(location.values())).to(self._storage[i].dtype)

    def note_versions(self) -> None:
        """Before an evaluation: remember the versions, so that writes by the function can be told."""
        self._versions = [-1 if t.is_inference() else t._version for t in self.tensors]

    def record_hidden_writes(self, locations: Sequence[Location[torch.Tensor]]) -> None:
        """After an evaluation: record which tensors the function writes to without raising their versions."""
        self._written |= {i for i, location in enumerate(locations) if not self._is_at(i, location)}
        self.forget_what_was_written()

    def set_by_function(
        self, locations: Sequence[Location[torch.Tensor]]
    ) -> list[Location[torch.Tensor]] | None:
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

    def _is_at(self, i: int, location: Location[torch.Tensor]) -> bool:
        return all(torch.equal(cell, location.wide(b).to(cell)) for b, cell in self._in_blocks(i, location))

    def _in_blocks(self, i: int, location: Location[torch.Tensor]) -> Iterator[tuple[Block, torch.Tensor]]:
        """The memory of a tensor, in the blocks of a location."""
        cell = self._storage[i]
        blocks = location.blocks if cell.is_contiguous() else (None,)
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
