"""Tensors to arrays and back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from numpy.typing import NDArray

from ...arguments import told
from ...errors import DataError
from .restore import preserved

WITHOUT_FLOAT64 = ["mps"]
"""Types of device that have no float64."""


def is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def refuse_unless_plain(x: Any, what: str = "x") -> None:
    """Each entry must be a number with a place of its own: neither sparse, nor nested, nor quantized."""
    if not isinstance(x, torch.Tensor):
        raise DataError(f"{what} is {told(x)}: expected a torch.Tensor")
    if x.layout is not torch.strided or x.is_quantized or x.is_nested:
        raise DataError(
            f"{what} is a {x.layout} tensor of {x.dtype}: expected a dense one, as .to_dense() gives"
        )


def is_sparse_tensor(x: Any) -> bool:
    """Whether it is a tensor that holds single entries, by row and column or by coordinate."""
    return (
        isinstance(x, torch.Tensor)
        and x.layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc)
        and not x.is_nested
    )


def coalesced(x: torch.Tensor) -> torch.Tensor:
    """A sparse tensor by coordinates, each place once."""
    return (x if x.layout is torch.sparse_coo else x.to_sparse_coo()).coalesce()


def rows_of_sparse(x: torch.Tensor) -> Callable[[NDArray[Any]], torch.Tensor]:
    """From numbers of rows to these rows of a sparse tensor, by coordinates."""
    values = coalesced(x.detach())
    return lambda rows: values.index_select(0, torch.as_tensor(rows, dtype=torch.int64, device=values.device))


def to_numpy(tensor: torch.Tensor, *, what: str = "the data") -> NDArray[Any]:
    """The tensor's numbers on the CPU; bfloat16, which NumPy lacks, as float32."""
    refuse_unless_plain(tensor, what)
    if tensor.is_meta:
        raise DataError(f"{what} is on the meta device, which holds no numbers")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.numpy()


def reading(data: dict[str, Any]) -> AbstractContextManager[Any]:
    """A scope in which `data`, by name, may be iterated; whatever reading them changes is as before on the way out."""
    return preserved(data=data)
