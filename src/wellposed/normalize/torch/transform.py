"""The map of a normalizer on tensors: as a function, and as a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import nn

from ...errors import DataError
from ...runtime.torch.tensors import WITHOUT_FLOAT64, coalesced, refuse_unless_plain
from ..affine import AffineMap, affine_map, misfit, two_parts


def scaled_sparse(
    x: torch.Tensor,
    scale: NDArray[Any],
    bounds: Sequence[NDArray[Any]] | None,
    integers_become: str,
    *,
    inverse: bool,
) -> torch.Tensor:
    """The stored entries divided by `scale` or multiplied by it, one number each, then held within the bounds."""
    entries = coalesced(x)
    dtype = x.dtype if x.is_floating_point() else getattr(torch, integers_become)
    s = torch.tensor(scale, dtype=torch.float64, device=x.device)
    z = (entries.values().double() * s if inverse else entries.values().double() / s).to(dtype)
    if bounds is not None:
        z = clipped(z, bounds[0], bounds[1])
    made = torch.sparse_coo_tensor(entries.indices(), z, x.shape, is_coalesced=True, check_invariants=False)
    return made if x.layout is torch.sparse_coo else made.to_sparse(layout=x.layout)


def scaled(x: torch.Tensor, affine: AffineMap, *, inverse: bool) -> torch.Tensor:
    """``(x - center) / scale + offset`` or its inverse, as in float64 on every device; the dtype of `x` stays."""
    offset = affine.offset
    if x.device.type in WITHOUT_FLOAT64:
        high, low = two_parts(affine.center, what="the center")
        s, _ = two_parts(affine.scale, what="the scale")
        high, low, s = (torch.tensor(v, device=x.device) for v in (high, low, s))
        wide = x.float()
        if inverse:
            return (_plus(wide, offset, -1) * s + low + high).to(_result_dtype(x))
        return _plus((wide - high - low) / s, offset).to(_result_dtype(x))
    c, s = (torch.tensor(v, dtype=torch.float64, device=x.device) for v in (affine.center, affine.scale))
    wide = x.double()
    if inverse:
        return (_plus(wide, offset, -1) * s + c).to(_result_dtype(x))
    return _plus((wide - c) / s, offset).to(_result_dtype(x))


def _plus(z: torch.Tensor, offset: NDArray[Any] | None, sign: int = 1) -> torch.Tensor:
    return z if offset is None else z + torch.tensor(sign * offset, dtype=z.dtype, device=z.device)


def clipped(z: torch.Tensor, least: NDArray[Any], most: NDArray[Any]) -> torch.Tensor:
    """`z` held within the bounds, which are rounded as `z` was; NaN stays."""
    return z.clamp(*(torch.tensor(v, dtype=z.dtype, device=z.device) for v in (least, most)))


def _result_dtype(x: torch.Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.float32


def to_torch(normalizer: Any) -> Normalize:
    """A module that does what the normalizer does to tensors; see `Normalize`."""
    return Normalize(affine_map(normalizer))


class Normalize(nn.Module):
    """``(x - center) / scale + offset``, ``@ rotation`` where the method whitens, clipped where asked; all saved in the state dict.

    The statistics stay in float64 when the model is cast to a narrower type, where a mean of 1e5 would be
    infinite in float16; the result has the dtype of `x`, or float32 for integers. On a device without float64
    (MPS) they stay on the CPU, and each forward pass takes the center there as two float32 parts.
    It can be scripted (``torch.jit.script``) and exported (``torch.export.export``). As the normalizer does, it
    takes samples or one sample, of the sizes it was fitted on: anything else is a `DataError` (scripted, an error
    of TorchScript).
    """

    __constants__ = ("axis", "sizes", "without_float64")

    if TYPE_CHECKING:  # torch.jit.script reads annotations of a class, and not as text
        center: torch.Tensor
        scale: torch.Tensor
        offset: torch.Tensor | None
        rotation: torch.Tensor | None
        mixed: torch.Tensor | None
        least: torch.Tensor | None
        most: torch.Tensor | None

    def __init__(self, affine: AffineMap) -> None:
        super().__init__()
        statistics = {
            "center": affine.center,
            "scale": affine.scale,
            "offset": affine.offset,
            "rotation": affine.rotation,
            "mixed": None if affine.rotation is None else affine.mixed,
            "least": affine.least,
            "most": affine.most,
        }
        # What there is not comes last: torch.export counts buffers, and one that is None throws it off.
        for name in sorted(statistics, key=lambda name: statistics[name] is None):
            values = statistics[name]
            self.register_buffer(name, None if values is None else torch.tensor(values))
        self.axis = affine.kept[0] if affine.kept else -1
        self.sizes = affine.sizes
        self.without_float64 = WITHOUT_FLOAT64

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():  # pyright: ignore[reportPrivateImportUsage]
            refuse_unless_plain(x)
        wrong = misfit(list(x.shape), self.sizes)
        if wrong != "":
            if not torch.jit.is_scripting():  # pyright: ignore[reportPrivateImportUsage]
                raise DataError(wrong)
            raise ValueError(wrong)  # TorchScript knows no errors but Python's own
        dtype = x.dtype if x.is_floating_point() else torch.float32
        if x.device.type in self.without_float64:
            high = self.center.float()
            low = (self.center - high.double()).float()
            z = (x.float() - high.to(x.device)) - low.to(x.device)
            z = z / self.scale.float().to(x.device)
        else:
            z = (x.double() - self.center) / self.scale
        return self._clipped(self._rotated(self._moved_by_offset(z))).to(dtype)

    def _moved_by_offset(self, z: torch.Tensor) -> torch.Tensor:
        offset = self.offset
        return z if offset is None else z + offset.to(z.device, z.dtype)

    def _rotated(self, z: torch.Tensor) -> torch.Tensor:
        rotation, mixed = self.rotation, self.mixed
        if rotation is None or mixed is None:
            return z
        rotation, mixed = rotation.to(z.device, z.dtype), mixed.to(z.device)
        last = z.movedim(self.axis, -1)
        # Columns that the rotation leaves alone must not spread their NaN: 0 times NaN is NaN.
        out = torch.where(mixed, last.masked_fill(~mixed, 0.0) @ rotation, last)
        return out.movedim(-1, self.axis)

    def _clipped(self, z: torch.Tensor) -> torch.Tensor:
        least, most = self.least, self.most
        if least is None or most is None:
            return z
        return z.clamp(least.to(z.device, z.dtype), most.to(z.device, z.dtype))

    def extra_repr(self) -> str:
        parts = f"shape={tuple(self.center.shape)}, rotates={self.rotation is not None}"
        return parts if self.least is None else f"{parts}, clips=True"

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Normalize:
        for name, before in self._buffers.items():
            if before is not None:
                self._buffers[name] = _moved(name, before, fn)
        return self


def _moved(name: str, before: torch.Tensor, fn: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """`before` where `fn` takes it, in its own dtype; on the CPU where that device has no float64."""
    try:
        after = fn(before)
        return after if after.dtype == before.dtype or after.is_meta else before.to(after.device)
    except TypeError:
        fn(before.float())  # raises too, unless float64 was the trouble
        if name in ("center", "scale"):
            two_parts(before.cpu().numpy(), what=f"the {name}")
        return before.cpu()
