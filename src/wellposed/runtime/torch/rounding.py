"""Numbers as another format would keep them."""

from __future__ import annotations

import torch

from ...formats import Format


def rounded(values: torch.Tensor, to: Format) -> torch.Tensor:
    """The nearest numbers of a format, ties to even, in the type of `values`, which holds them all: float32 or float64.

    What is too large becomes infinite, or the largest number where the format saturates; in a format of blocks each is scaled first, and
    nothing is too large.
    """
    return _in_blocks(values, to) if to.block else _rounded(values, to)


def _rounded(values: torch.Tensor, to: Format) -> torch.Tensor:
    x = values.double()  # in which the smallest subnormals of all formats are normal numbers
    _, exponents = torch.frexp(x)
    spacing = torch.ldexp(torch.ones_like(x), (exponents - 1).clamp(min=to.least_exponent) - to.mantissa_bits)
    nearest = torch.round(x / spacing) * spacing
    beyond = torch.full_like(x, to.largest if to.saturates else torch.inf)
    nearest = torch.where(nearest.abs() > to.largest, torch.copysign(beyond, x), nearest)
    return torch.where((x == 0) | x.isnan(), x, nearest).to(values.dtype)


def scaled(values: torch.Tensor, to: Format, *, largest: float | None = None) -> torch.Tensor:
    """As `rounded`, with the whole tensor scaled so that its largest finite value is that of the format, and scaled back.

    `largest` is given where `values` are a part of a tensor.
    """
    if to.block:
        return _in_blocks(values, to)
    largest = largest_finite(values) if largest is None else largest
    if largest == 0:
        return values.clone()
    scale = to.largest / largest
    return (_rounded(values.double() * scale, to) / scale).to(values.dtype)


def largest_finite(values: torch.Tensor) -> float:
    """The largest magnitude of a finite entry; 0 without any."""
    sizes = values.detach().abs()
    return (
        float(torch.where(sizes.isfinite(), sizes, torch.zeros_like(sizes)).max()) if sizes.numel() else 0.0
    )


def _in_blocks(values: torch.Tensor, to: Format) -> torch.Tensor:
    """Each block of the last axis is scaled by the least power of two that leaves its largest value within the format."""
    x = values.double()
    x = x.reshape(1) if x.ndim == 0 else x
    short = -x.shape[-1] % to.block
    blocks = torch.nn.functional.pad(x, (0, short)).unflatten(-1, (-1, to.block))
    largest = torch.where(blocks.isfinite(), blocks.abs(), torch.zeros_like(blocks)).amax(-1, keepdim=True)
    _, exponent = torch.frexp(
        largest / to.largest
    )  # largest / format's is below 2**exponent, and at least half of it
    exponent = torch.where(
        torch.ldexp(torch.ones_like(largest), exponent - 1) * to.largest >= largest, exponent - 1, exponent
    )
    scale = torch.ldexp(torch.ones_like(largest), exponent)
    whole = (_rounded(blocks / scale, to) * scale).flatten(-2)
    return whole[..., : x.shape[-1]].reshape(values.shape).to(values.dtype)
