"""Layers that take raw inputs: a normalizer folded into the weights of a linear layer or a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ...errors import ArgumentError
from ..affine import AffineMap

BLUR = 0.01
"""Of a std: what rounding may take from a folded layer."""


def _pad_with(x: torch.Tensor, center: torch.Tensor, pads: Sequence[int]) -> torch.Tensor:
    """`x` with the center of each channel around it; `pads` as `functional.pad` takes them."""
    spatial = len(pads) // 2
    inside = functional.pad(torch.ones(x.shape[-spatial:], dtype=torch.bool, device=x.device), pads)
    around = center.reshape(-1, *[1] * spatial).to(x.dtype)
    return torch.where(inside, functional.pad(x, pads), around)


class _CenterPadded(nn.Module):
    """A convolution over raw inputs that pads with the center of each channel, which normalises to zero."""

    padding_center: torch.Tensor
    _reversed_padding_repeated_twice: list[int]
    _convolve: Any
    """The function of torch, which pads with zeros."""

    def _conv_forward(self, input: Any, weight: Any, bias: Any) -> torch.Tensor:
        padded = _pad_with(input, self.padding_center, self._reversed_padding_repeated_twice)
        return self._convolve(padded, weight, bias, self.stride, 0, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, padding_center={tuple(self.padding_center.shape)}"


class CenterPaddedConv1d(_CenterPadded, nn.Conv1d):
    """`nn.Conv1d` over raw inputs, padded with the center of each channel."""

    _convolve = staticmethod(functional.conv1d)


class CenterPaddedConv2d(_CenterPadded, nn.Conv2d):
    """`nn.Conv2d` over raw inputs, padded with the center of each channel."""

    _convolve = staticmethod(functional.conv2d)


class CenterPaddedConv3d(_CenterPadded, nn.Conv3d):
    """`nn.Conv3d` over raw inputs, padded with the center of each channel."""

    _convolve = staticmethod(functional.conv3d)


_CENTER_PADDED: dict[type, type] = {
    nn.Conv1d: CenterPaddedConv1d,
    nn.Conv2d: CenterPaddedConv2d,
    nn.Conv3d: CenterPaddedConv3d,
}
FOLDABLE = (nn.Linear, *_CENTER_PADDED)


def feature_axis(layer: nn.Module) -> int:
    """The axis of a layer's input that its weights span, counted from the end."""
    return -1 if isinstance(layer, nn.Linear) else -layer.weight.ndim + 1  # type: ignore[union-attr]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMap:
    """The normalisation of one layer's input features, some of which may not come from the normalizer."""

    center: torch.Tensor
    scale: torch.Tensor
    rotation: torch.Tensor | None
    labels: tuple[str, ...]
    """What to call each feature in a message."""


def layer_map(affine: AffineMap, columns: NDArray[np.int_], where: str) -> LayerMap:
    """The normalisation as this layer sees it; features that are no column of it keep center 0 and scale 1."""
    foreign = columns < 0
    center = np.where(foreign, 0.0, affine.zero.ravel()[columns])
    scale = np.where(foreign, 1.0, affine.scale.ravel()[columns])
    rotation = None
    if affine.rotation is not None:
        mixed = np.flatnonzero(affine.mixed)
        places = [np.flatnonzero(columns == column) for column in mixed]
        if any(len(p) != 1 for p in places):
            raise ArgumentError(
                f"{where} does not see every whitened column once, and each of them is a mixture of all: put "
                "to_torch() in front instead"
            )
        at = np.concatenate(places) if places else np.zeros(0, dtype=int)
        rotation = np.eye(len(columns))
        rotation[np.ix_(at, at)] = affine.rotation[np.ix_(mixed, mixed)]
    return LayerMap(
        center=torch.tensor(center),
        scale=torch.tensor(scale),
        rotation=None if rotation is None else torch.tensor(rotation),
        labels=tuple(affine.label(int(c)) if c >= 0 else "of another input" for c in columns),
    )


def fold_layer(layer: Any, m: LayerMap, where: str) -> None:
    """Fold in place: ``W (((x - c) / s) R) + b`` is ``(W Rᵀ / s) x + (b - (W Rᵀ / s) c)``.

    The sums are worked in float64, and the bias takes the weights as they are rounded, so that inputs at the
    center give the layer's own bias back.
    """
    kind = layer.weight.dtype
    weight = _raw_weight(layer, m, where)
    stored = weight.to(kind)
    shift = (stored.double() * _per_weight(layer, m.center)).flatten(1).sum(1)
    bias = -shift if layer.bias is None else layer.bias.detach().cpu().double() - shift
    pads_center = _pads_with_zeros(layer) and bool((m.center != 0).any())
    tensors = {"weights": weight, "bias": bias, **({"padding": m.center} if pads_center else {})}
    _check_fits(kind, tensors, m, where)
    trained = layer.weight if layer.bias is None else layer.bias
    device = layer.weight.device
    layer.bias = nn.Parameter(bias.to(device, kind), requires_grad=trained.requires_grad)
    layer.weight = nn.Parameter(stored.to(device), requires_grad=layer.weight.requires_grad)
    if pads_center:
        # The same object under another class: its names in the state dict and its attributes stay.
        layer.__class__ = _CENTER_PADDED[type(layer)]
        layer.register_buffer("padding_center", m.center.to(device, kind))


def _raw_weight(layer: Any, m: LayerMap, where: str) -> torch.Tensor:
    weight = layer.weight.detach().cpu().double()
    if m.rotation is not None:
        if getattr(layer, "groups", 1) > 1:
            raise ArgumentError(
                f"{where} has groups={layer.groups}, and whitening mixes channels across them: put to_torch() "
                "in front instead"
            )
        weight = torch.einsum("oj...,ij->oi...", weight, m.rotation)
    return weight / _per_weight(layer, m.scale)


def _per_weight(layer: Any, values: torch.Tensor) -> torch.Tensor:
    """One value a feature, in a shape that broadcasts against the weights: a group sees its own features."""
    groups = getattr(layer, "groups", 1)
    own = values.reshape(groups, -1).repeat_interleave(layer.weight.shape[0] // groups, dim=0)
    return own.reshape(*own.shape, *[1] * (layer.weight.ndim - 2))


def _pads_with_zeros(layer: Any) -> bool:
    """Other modes of padding repeat entries of the input, and folding commutes with that."""
    if isinstance(layer, nn.Linear) or layer.padding_mode != "zeros":
        return False
    return any(layer._reversed_padding_repeated_twice)


def _check_fits(kind: torch.dtype, tensors: dict[str, torch.Tensor], m: LayerMap, where: str) -> None:
    """Refuse what the layer's type cannot hold, or would blur: raw inputs are rounded, then centred."""
    for what, values in tensors.items():
        if not bool(torch.isfinite(values.to(kind)).all()):
            raise ArgumentError(
                f"the folded {what} of {where} do not fit {kind}: use to_torch(), or a wider type"
            )
    distance = (m.center / m.scale).abs()
    if m.rotation is not None:
        distance = distance @ m.rotation.abs()
    farthest = int(distance.argmax())
    blur = float(torch.finfo(kind).eps * distance[farthest])
    if not blur <= BLUR:
        raise ArgumentError(
            f"column {m.labels[farthest]} lies {float(distance[farthest]):.2g} stds from 0, so in {kind} a "
            f"folded layer blurs it by {blur:.2g} stds (limit {BLUR}): use to_torch(), which centres in float64"
        )
