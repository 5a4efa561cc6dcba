"""Exact sums of columns, cut into digits and added on the device that holds the tensor.

The algorithm is that of `wellposed.moments.exact.numpy_sums`: sums of at most 1,024 products of two short digits
are exact in float64, so the order in which a device adds them does not matter, and the bits are those of the
CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...runtime.torch.tensors import is_tensor
from .accumulator import Accumulator, ColumnSums
from .numpy_sums import BAND, FIRST, NEXT, ROWS
from .sums import SQUARE_BIAS, VALUE_BIAS, total

_LEAST = -1022  # exponent of the least normal float64
_BLOCKS = 256  # of `ROWS` rows, added in one go
_ENTRIES = 1 << 24  # that are cut at a time: each takes some 75 bytes meanwhile


def reducible(value: Any) -> bool:
    """Whether `value` is a dense floating-point tensor on an accelerator that works in float64."""
    return (
        is_tensor(value)
        and value.is_floating_point()
        and value.layout is torch.strided
        and value.device.type in ("cuda", "xpu")
    )


def spacing_of(tensor: torch.Tensor) -> float:
    """Relative spacing of the values of its dtype."""
    return float(torch.finfo(tensor.dtype).eps)


@torch.no_grad()
def sum_columns(rows: torch.Tensor) -> ColumnSums:
    """Of ``(entries, columns)``, floating-point, cut in parts."""
    columns = rows.shape[1]
    accumulator = Accumulator(columns)
    step = ROWS * max(1, min(_BLOCKS, _ENTRIES // (ROWS * max(1, columns))))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        width = max(1, _ENTRIES // len(part))
        for first in range(0, columns, width):
            tile = part[:, first : first + width].to(torch.float64)
            accumulator.add_sums(_sums(tile), range(first, first + tile.shape[1]))
    return accumulator.sums()


def _sums(x: torch.Tensor) -> ColumnSums:
    finite = torch.isfinite(x)
    high, low = (x.masked_fill(~finite, edge) for edge in (-torch.inf, torch.inf))
    digits = _split(_in_blocks(x.masked_fill(~finite, 0.0)))
    values = [term for values, power in digits for term in _terms(values.sum(dim=1), power)]
    squares = [
        term
        for i, (a, power) in enumerate(digits)
        for j, (b, other) in enumerate(digits[i:], start=i)
        for term in _terms((1 + (i < j)) * (a * b).sum(dim=1), power + other)
    ]
    return ColumnSums(
        values=total(values, x.shape[1], bias=VALUE_BIAS),
        squares=total(squares, x.shape[1], bias=SQUARE_BIAS),
        missing=_integers(torch.isnan(x).sum(dim=0)),
        infinite=_integers(torch.isinf(x).sum(dim=0)),
        minimum=low.amin(dim=0).cpu().numpy(),
        maximum=high.amax(dim=0).cpu().numpy(),
    )


def _in_blocks(x: torch.Tensor) -> torch.Tensor:
    """``(blocks, ROWS, columns)``, filled up with zeros; few rows are one block as they are."""
    lacking = -len(x) % ROWS if len(x) > ROWS else 0
    if lacking:
        x = torch.cat([x, x.new_zeros(lacking, x.shape[1])])
    return x.reshape(-1, min(len(x), ROWS), x.shape[1])


def _split(x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Digits of at most 22 bits and the powers of two, one a column, that they are multiplied by."""
    digits, rest = [], x
    while bool(rest.any()):
        power = torch.frexp(rest.abs().amax(dim=(0, 1)))[1].to(torch.int64)
        least = torch.where(power - BAND < _LEAST, 0.0, _power_of_two((power - BAND).clamp(min=_LEAST)))
        band = rest.abs() >= least
        y = _scaled(torch.where(band, rest, 0.0), -power)
        place = FIRST
        while bool(y.any()):
            cut = 1.5 * 2.0 ** (52 - place)
            digit = (y + cut) - cut
            digits.append((digit, power))
            y, place = y - digit, place + NEXT
        rest = torch.where(band, 0.0, rest)
    return digits


def _scaled(x: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """``x * 2**power``, in two steps, as one factor may lie beyond float64."""
    half = torch.div(power, 2, rounding_mode="floor")
    return x * _power_of_two(half) * _power_of_two(power - half)


def _power_of_two(power: torch.Tensor) -> torch.Tensor:
    """From its bits: a device's own power function may be off in the last place."""
    return ((power + 1023) << 52).view(torch.float64)


def _terms(sums: torch.Tensor, power: torch.Tensor) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    exponent = power.cpu().numpy().astype(np.int64)
    return [(block, exponent) for block in sums.cpu().numpy()]


def _integers(counts: torch.Tensor) -> NDArray[np.int64]:
    return counts.cpu().numpy().astype(np.int64)
