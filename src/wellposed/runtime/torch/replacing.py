"""Runs a model with other values in the place of a tensor that it makes on its way: the loss that it computes becomes one of these values."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...errors import WellposedError


class Noting(TorchFunctionMode):
    """Notes which tensor each torch function gave, and holds none of them."""

    def __init__(self) -> None:
        super().__init__()
        self._given: list[weakref.ref[torch.Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if isinstance(given, torch.Tensor):
            self._given.append(weakref.ref(given))
        return given

    def call_of(self, tensor: torch.Tensor) -> int | None:
        """The number of the last call that gave this very tensor, among those that gave one."""
        return max((n for n, given in enumerate(self._given) if given() is tensor), default=None)


class Replacing(TorchFunctionMode):
    """Gives `values` for what the call of this number gives."""

    def __init__(self, call: int, values: torch.Tensor) -> None:
        super().__init__()
        self._call, self._values, self._count = call, values, -1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        self._count += isinstance(given, torch.Tensor)
        if self._count != self._call or not isinstance(given, torch.Tensor):
            return given
        if given.shape != self._values.shape:
            raise WellposedError("the model runs other operations than before")
        return self._values
