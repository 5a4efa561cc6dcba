"""Number formats that networks train in, as plain values, and which of them a precision uses where."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Format:
    """A binary floating-point format with subnormal numbers, rounded to nearest, ties to even."""

    name: str
    exponent_bits: int
    mantissa_bits: int
    """Without the leading one, which is not stored."""
    largest: float
    saturates: bool = False
    """Whether what is too large becomes the largest number, as where there is no infinity."""
    block: int = 0
    """Values that share a scale, a power of two; 0 for none."""

    @property
    def least_exponent(self) -> int:
        """Of the smallest normal number."""
        return 2 - 2 ** (self.exponent_bits - 1)

    @property
    def smallest_normal(self) -> float:
        return 2.0**self.least_exponent

    @property
    def smallest(self) -> float:
        """The smallest subnormal number."""
        return 2.0 ** (self.least_exponent - self.mantissa_bits)

    @property
    def flushed_up_to(self) -> float:
        """The largest magnitude that rounds to zero: half of the smallest, which ties to even."""
        return self.smallest / 2

    @property
    def kept_below(self) -> float:
        """The magnitude from which rounding gives something larger than the largest number: halfway to what would come next."""
        spacing = 2.0 ** (math.floor(math.log2(self.largest)) - self.mantissa_bits)
        return self.largest + spacing / 2


FP32 = Format(name="fp32", exponent_bits=8, mantissa_bits=23, largest=(2 - 2.0**-23) * 2.0**127)
BF16 = Format(name="bf16", exponent_bits=8, mantissa_bits=7, largest=(2 - 2.0**-7) * 2.0**127)
FP16 = Format(name="fp16", exponent_bits=5, mantissa_bits=10, largest=65504.0)
E4M3 = Format(name="fp8-e4m3", exponent_bits=4, mantissa_bits=3, largest=448.0, saturates=True)
E5M2 = Format(name="fp8-e5m2", exponent_bits=5, mantissa_bits=2, largest=57344.0)
MXFP8 = Format(name="mxfp8", exponent_bits=4, mantissa_bits=3, largest=448.0, saturates=True, block=32)
"""E4M3 in blocks along the last axis.

The scale of a block is rounded up so that nothing in it saturates: the rounding that the standard suggests (OCP Microscaling Formats 1.0)
can make training diverge, and rounding up does not (Mishra et al., 2025, Recipes for Pre-training LLMs with MXFP8, arXiv:2506.08027).
"""
FORMATS = {f.name: f for f in (FP32, BF16, FP16, E4M3, E5M2, MXFP8)}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Which format a precision keeps what in, where products are taken."""

    forward: Format
    """Of activations and weights."""
    backward: Format
    """Of gradients by the outputs."""
    scaled: bool = False
    """Whether each tensor, or block, is scaled to the range of its format."""
    linear_only: bool = False
    """Whether linear layers alone use it, and all else bf16."""


RECIPES = {
    "fp32": Recipe(forward=FP32, backward=FP32),
    "bf16": Recipe(forward=BF16, backward=BF16),
    "fp16": Recipe(forward=FP16, backward=FP16),
    "fp16-scaled": Recipe(forward=FP16, backward=FP16),
    "fp8": Recipe(forward=E4M3, backward=E5M2, scaled=True, linear_only=True),
    "fp8-e4m3": Recipe(forward=E4M3, backward=E4M3, scaled=True, linear_only=True),
    "fp8-e5m2": Recipe(forward=E5M2, backward=E5M2, scaled=True, linear_only=True),
    "mxfp8": Recipe(forward=MXFP8, backward=MXFP8, scaled=True, linear_only=True),
}
"""By precision. In fp8 each tensor has a scale from its own largest value, as in TransformerEngine's Float8CurrentScaling."""
