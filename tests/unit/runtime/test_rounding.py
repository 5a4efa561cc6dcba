"""Emulated rounding has the bits of torch's own types."""

from __future__ import annotations

import pytest
import torch

from wellposed.formats import BF16, E4M3, E5M2, FP16, FP32, MXFP8, Format
from wellposed.runtime.torch.rounding import rounded, scaled

TYPES = {
    FP32: torch.float32,
    FP16: torch.float16,
    BF16: torch.bfloat16,
    E4M3: torch.float8_e4m3fn,
    E5M2: torch.float8_e5m2,
}
of_each = pytest.mark.parametrize(
    ("form", "dtype"), TYPES.items(), ids=lambda value: getattr(value, "name", "")
)


def numbers() -> torch.Tensor:
    """Of every exponent of float32 and both signs: powers of two, numbers around them and around halves, and random ones."""
    mantissas = torch.tensor([0, 1, 2, (1 << 22) - 1, 1 << 22, (1 << 22) + 1, (1 << 23) - 2, (1 << 23) - 1])
    halves = torch.cat([torch.arange(1 << k) * (1 << (23 - k)) for k in (3, 4, 8, 11)])
    around = torch.cat([halves + d for d in (-1, 0, 1)]).clamp(0, (1 << 23) - 1)
    random = torch.randint(0, 1 << 23, (64,), generator=torch.Generator().manual_seed(0))
    mantissas = torch.cat([mantissas, around, random]).unique()
    exponents = torch.arange(255)[:, None] << 23
    bits = (exponents + mantissas).flatten().to(torch.int32)
    positive = bits.view(torch.float32)
    special = torch.tensor([0.0, torch.inf, torch.nan])
    values = torch.cat([positive, special])
    return torch.cat([values, -values])


def same_bits(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.isnan() & b.isnan()) | (a.view(torch.int32) == b.view(torch.int32))


@of_each
def test_every_number_rounds_as_torch_rounds_it(form: Format, dtype: torch.dtype) -> None:
    x = numbers()
    ours, theirs = rounded(x, form), x.to(dtype).float()
    beyond = theirs.isnan() & (x.abs() > form.largest)  # torch before 2.13 makes NaN of what E4M3 cannot hold
    wrong = ~same_bits(ours, theirs) & ~beyond
    assert not wrong.any(), (x[wrong][:5], ours[wrong][:5], theirs[wrong][:5])


@of_each
def test_rounding_again_changes_nothing(form: Format, dtype: torch.dtype) -> None:
    once = rounded(numbers(), form)
    assert same_bits(rounded(once, form), once).all()


@of_each
def test_the_limits_of_a_format_are_those_of_torch(form: Format, dtype: torch.dtype) -> None:
    about = torch.finfo(dtype)
    assert (form.largest, form.smallest_normal) == (about.max, about.smallest_normal)
    assert form.smallest == about.smallest_normal * about.eps
    assert rounded(torch.tensor([form.flushed_up_to], dtype=torch.float64), form) == 0
    assert rounded(torch.tensor([form.flushed_up_to * 1.001], dtype=torch.float64), form) == form.smallest


def test_a_tensor_is_scaled_to_the_largest_number_and_back() -> None:
    x = torch.tensor([448000.0, 1000.0, 1e-3, 0.0])
    assert scaled(x, E4M3).tolist() == [448000.0, 1000.0, 0.0, 0.0]
    assert scaled(torch.zeros(3), E4M3).tolist() == [0.0, 0.0, 0.0]


def test_blocks_have_scales_of_their_own_and_nothing_saturates() -> None:
    x = torch.cat([torch.full((32,), 1e-6), torch.full((32,), 1e6)])
    kept = rounded(x, MXFP8)
    assert ((kept - x).abs() <= x * 2**-4).all()
    y = torch.randn(7, 70, generator=torch.Generator().manual_seed(0)) * 1e4
    assert ((rounded(y, MXFP8) - y).abs() <= torch.maximum(y.abs() * 2**-4, y.abs().max() * 2**-17)).all()


@pytest.mark.parametrize("largest", [448.0, 448.1, 449.0, 896.0, 897.0, 1.0, 0.9])
def test_the_scale_of_a_block_is_rounded_up(largest: float) -> None:
    block = torch.zeros(32)
    block[3] = largest
    assert rounded(block, MXFP8)[3].isfinite()
    assert abs(rounded(block, MXFP8)[3] - largest) <= largest * 2**-4
