"""Torch tensors as arguments of a function that is differentiated by differences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_WIDE = {False: torch.float64, True: torch.complex128}
_READABLE = {torch.bfloat16: torch.float32, torch.complex32: torch.complex64}


def read(tensor: torch.Tensor) -> NDArray[Any]:
    """The numbers as a NumPy array; a dtype that NumPy lacks becomes the next wider one."""
    held = tensor.detach().to_dense() if tensor.layout is not torch.strided else tensor.detach()
    held = held.to(_READABLE.get(held.dtype, held.dtype))
    return held.resolve_conj().resolve_neg().cpu().numpy()


def dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def made(values: NDArray[Any], like: torch.Tensor, *, wide: bool) -> torch.Tensor:
    """A fresh tensor of these values on the device of `like`, in double precision where `wide`."""
    dtype = _WIDE[like.is_complex()] if wide else like.dtype
    return torch.tensor(values, device=like.device).to(dtype)


def calling(*, wide: bool) -> AbstractContextManager[Any]:
    """The scope in which f is called."""
    return nullcontext()


def mapped(f: Callable[[Any], Any]) -> Callable[[Any], NDArray[Any]]:
    """F over a batch of arguments; torch refuses what it cannot batch, random numbers among it."""
    batched = torch.func.vmap(f)

    def run(batch: Any) -> NDArray[Any]:
        with torch.no_grad():
            return np.asarray(read(batched(batch)))

    return run
