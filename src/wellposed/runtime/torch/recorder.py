"""Records which operations a model runs, in order, and which of them reads the output of which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from .batch import tensors_in

INPUT = -1
"""The position of the model's inputs among the operations."""


class Recorder(TorchFunctionMode):
    """Sees every torch function that runs inside it: functional code and raw parameters as well as modules.

    It holds no tensor: an output that nobody else needs is freed as it would be without.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made_by = WeakTensorKeyDictionary()

    def remember(self, value: Any, position: int) -> None:
        """Note that the tensors in a value are the output of the operation at a position."""
        for tensor in tensors_in(value, objects=False):
            self._made_by[tensor] = position

    def position_of(self, tensor: torch.Tensor) -> int | None:
        """The position of the operation whose output a tensor is; None for one that was not made here."""
        return self._made_by.get(tensor)

    def positions_of(self, tensors: Iterable[torch.Tensor]) -> tuple[int, ...]:
        """Those of several tensors, each once."""
        return tuple(dict.fromkeys(p for t in tensors if (p := self.position_of(t)) is not None))


def function_name(function: Any) -> str:
    """The plain name of a torch function, of a method or of an operator that an exported graph calls."""
    return getattr(function, "__name__", "").partition(".")[0]
