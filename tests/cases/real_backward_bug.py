"""One backward pass that was wrong in released code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Built = tuple[Any, tuple[Any, ...], Any]
"""``(f, inputs, gradient)`` for ``check_gradients(f, *inputs, gradient=gradient)``."""


@dataclass(frozen=True, kw_only=True)
class RealBug:
    name: str
    issue: str
    build: Callable[[bool], Built]
    """The wrong code, or with False the mended."""
    at_fault: tuple[str, ...]
    """The tensors whose gradient is wrong: a check may flag no other."""
    flattering: Callable[[bool], Built] | None = None
    """The same code on the kind of inputs that its own tests had, where its gradient is right."""
    beside: bool = False
    """Whether those are single points of which the wrong gradient is right, and wrong next to them."""


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
