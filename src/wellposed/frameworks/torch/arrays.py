"""Tensors to arrays and back, the normalizer as a module, and folding it into a first linear layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...errors import ArgumentError, DataError
from .state import preserved

_ROWS = 16  # random rows on which a folded model is compared with the original
_BLUR = 0.01  # of a std: what rounding may take from a folded layer
_TOLERANCE = 1e-9  # of the outputs' size, in float64: far above rounding, far below any real difference


def is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def to_numpy(tensor: torch.Tensor, *, what: str = "the data") -> NDArray[Any]:
    """The tensor's numbers on the CPU; bfloat16, which NumPy lacks, as float32."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise DataError(
            f"{what} is a {tensor.layout} tensor of {tensor.dtype}: expected a dense one, as .to_dense() "
            "gives"
        )
    if tensor.is_meta:
        raise DataError(f"{what} is on the meta device, which holds no numbers")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    return tensor.numpy()


def reading(data: Any) -> AbstractContextManager[None]:
    """A scope in which `data` may be iterated; random states and samplers are as before on the way out."""
    held = isinstance(data, torch.utils.data.DataLoader | torch.utils.data.Dataset)
    return preserved(data) if held else preserved()


def affine(x: torch.Tensor, center: NDArray[Any], scale: NDArray[Any], *, inverse: bool) -> torch.Tensor:
    """``(x - center) / scale`` or its inverse, in float64 where the device has it; the dtype of `x` stays."""
    work = torch.float32 if x.device.type == "mps" else torch.float64
    where: dict[str, Any] = {"dtype": work, "device": x.device}
    c, s = torch.tensor(center, **where), torch.tensor(scale, **where)
    wide = x.to(work)
    return (wide * s + c if inverse else (wide - c) / s).to(_result_dtype(x))


def _result_dtype(x: torch.Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.float32


class Standardize(nn.Module):
    """``(x - mean) / scale``, with both saved in the state dict.

    They stay in float64 when the model is cast to a narrower type, where a mean of 1e5 would be infinite in
    float16; the result has the dtype of `x`.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: NDArray[Any], scale: NDArray[Any]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x.to(self.mean.dtype) - self.mean) / self.scale).to(_result_dtype(x))

    def extra_repr(self) -> str:
        return f"shape={tuple(self.mean.shape)}"

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Standardize:
        kept = {name: buffer for name, buffer in self._buffers.items() if buffer is not None}
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = self._buffers[name]
            if after is not None and after.dtype != before.dtype and not after.is_meta:
                self._buffers[name] = before.to(after.device)
        return self


def fold_into(model: nn.Module, center: NDArray[Any], scale: NDArray[Any]) -> nn.Module:
    """A copy of the model whose first linear layer takes raw inputs, checked on rows in both modes.

    Raises
    ------
    ArgumentError
        When the first layer is no ``nn.Linear`` over these columns, or the model uses its inputs elsewhere
        too.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model is a {type(model).__name__}: expected a torch.nn.Module")
    if isinstance(model, nn.Linear):
        _check_layer(model, "the layer", len(center))
        return _folded(model, center, scale)
    name, layer = _first_layer(model)
    _check_layer(layer, f"the first layer, {name},", len(center))
    if layer._forward_pre_hooks or layer._forward_hooks:
        raise ArgumentError(
            f"the first layer, {name}, has hooks, which would see other inputs: remove them, or use "
            "to_torch()"
        )
    _check_same_function(model, name, len(center))
    folded = copy.deepcopy(model)
    _replace(folded, name, _folded(layer, center, scale))
    return folded


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, layer)


def _first_layer(model: nn.Module) -> tuple[str, Any]:
    for name, module in model.named_modules():
        if (
            name
            and not isinstance(module, nn.Identity)
            and next(module.parameters(recurse=False), None) is not None
        ):
            return name, module
    raise ArgumentError(f"{type(model).__name__} has no layer with weights to fold into")


def _check_layer(layer: Any, where: str, columns: int) -> None:
    if type(layer) is not nn.Linear:
        why = ""
        if "Conv" in type(layer).__name__:
            why = ": a zero-padded convolution pads with raw zeros, which are not the mean"
        raise ArgumentError(
            f"{where} is a {type(layer).__name__}, expected nn.Linear{why}; put to_torch() in front instead"
        )
    if layer.in_features != columns:
        raise ArgumentError(
            f"{where} takes {layer.in_features} features, the normalizer has {columns} columns"
        )
    if not layer.weight.is_floating_point() or layer.weight.is_meta:
        raise ArgumentError(
            f"{where} has weights of {layer.weight.dtype} on {layer.weight.device}: expected real numbers"
        )


def _folded(layer: Any, center: NDArray[Any], scale: NDArray[Any]) -> nn.Linear:
    """``W((x - c)/s) + b`` is ``(W/s)x + (b - W(c/s))``; the sums are worked in float64 on the CPU."""
    weight = layer.weight.detach().cpu().double() / torch.tensor(scale, dtype=torch.float64)
    shift = weight @ torch.tensor(center, dtype=torch.float64)
    bias = -shift if layer.bias is None else layer.bias.detach().cpu().double() - shift
    _check_fits(layer.weight.dtype, {"weights": weight, "bias": bias}, center / scale)
    like: dict[str, Any] = {"dtype": layer.weight.dtype, "device": layer.weight.device}
    # On the meta device, so that making the layer draws no random numbers.
    fresh = nn.Linear(layer.in_features, layer.out_features, device="meta", dtype=layer.weight.dtype)
    fresh.weight = nn.Parameter(weight.to(**like), requires_grad=layer.weight.requires_grad)
    trained = layer.weight if layer.bias is None else layer.bias
    fresh.bias = nn.Parameter(bias.to(**like), requires_grad=trained.requires_grad)
    return fresh.train(layer.training)


def _check_fits(dtype: torch.dtype, folded: dict[str, torch.Tensor], distance: NDArray[Any]) -> None:
    """Refuse what the layer's type cannot hold, or would blur: raw inputs are rounded, then centred."""
    for what, values in folded.items():
        if not bool(torch.isfinite(values.to(dtype)).all()):
            raise ArgumentError(f"the folded {what} do not fit {dtype}: use to_torch(), or a wider type")
    farthest = int(np.abs(distance).argmax())
    blur = float(torch.finfo(dtype).eps) * abs(float(distance[farthest]))
    if blur > _BLUR:
        raise ArgumentError(
            f"column {farthest} lies {abs(distance[farthest]):.2g} stds from 0, so in {dtype} a folded "
            f"layer blurs it by {blur:.2g} stds (limit {_BLUR}): use to_torch(), which centres in float64"
        )


def _check_same_function(model: nn.Module, name: str, columns: int) -> None:
    """Refuse unless folding is exact here: the layer may not be first, nor alone in seeing the inputs.

    That does not depend on the statistics, so it is tried with harmless ones, in float64.
    """
    center, scale = np.linspace(-1.0, 2.0, columns), np.linspace(0.5, 2.0, columns)
    with preserved(model), torch.no_grad():
        first = copy.deepcopy(model).cpu().double()
        second = copy.deepcopy(first)
        _replace(second, name, _folded(first.get_submodule(name), center, scale))
        rows = torch.randn(_ROWS, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        raw = rows * torch.tensor(scale) + torch.tensor(center)
        for training in (False, True):
            expected, found = (_outputs(m.train(training), x) for m, x in ((first, rows), (second, raw)))
            if expected.shape != found.shape or not bool(
                (found - expected).abs().max() <= _TOLERANCE * expected.abs().max().clamp_min(1e-300)
            ):
                mode = "train" if training else "eval"
                raise ArgumentError(
                    f"folding into {name} changes the model's outputs in {mode} mode: something else sees "
                    "the inputs, or changes them first; put to_torch() in front instead"
                )


def _outputs(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    try:
        out = model(rows)
    except Exception as error:  # whatever the user's model raises
        raise ArgumentError(
            f"the model cannot be tried on rows of {rows.shape[1]} columns, so folding it cannot be checked "
            f"({type(error).__name__}: {error}); fold into its first nn.Linear, or put to_torch() in front"
        ) from error
    if not isinstance(out, torch.Tensor):
        raise ArgumentError(
            f"the model returns a {type(out).__name__}, expected a tensor: fold into its first nn.Linear"
        )
    return out
