"""What can be read off a model at rest: its parameters, and the order of its modules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..facts import LayerFacts, ParameterFacts

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def layers_by_order(model: nn.Module, names: Mapping[int, str]) -> tuple[LayerFacts, ...]:
    """The layers and what follows each, as the order of the modules has it: all that is known without
    inputs.
    """
    modules = [m for m in model.modules() if not any(True for _ in m.children())]
    at = [i for i, m in enumerate(modules) if isinstance(m, _LAYERS)]
    found: dict[str, LayerFacts] = {}
    for i, end in zip(at, [*at[1:], len(modules)], strict=True):
        module: Any = modules[i]
        fan_in, fan_out, kind = _fans(module)
        follower = next((m for m in modules[i + 1 : end] if isinstance(m, _NORMS) or _is_activation(m)), None)
        next_: Any = "norm" if isinstance(follower, _NORMS) else "output" if i == at[-1] else "activation"
        # Nothing shows a functional activation; relu is the likeliest, and the recipe says that it is a
        # guess.
        activation = (follower or nn.ReLU()) if next_ == "activation" else None
        label = (
            type(follower).__name__ if follower else "relu (a guess: no module follows; give inputs to see)"
        )
        found[names[id(module.weight)]] = LayerFacts(
            name=names[id(module.weight)],
            bias=names.get(id(module.bias)),
            kind=kind,
            fan_in=fan_in,
            fan_out=fan_out,
            next=next_,
            activation=activation,
            activation_name=label if activation else None,
        )
    return tuple(found.values())


def _fans(module: Any) -> tuple[float, float, Any]:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, "linear"
    window, strides = math.prod(module.kernel_size), math.prod(module.stride)
    fan_in, fan_out = (
        module.in_channels / module.groups * window,
        module.out_channels / module.groups * window,
    )
    if module.transposed:
        return fan_in / strides, fan_out, "transposed convolution"
    return fan_in, fan_out / strides, "convolution"


def _is_activation(module: nn.Module) -> bool:
    # The modules of torch.nn that act elementwise live in one file, with attention and the softmaxes.
    known = type(module).__module__ == "torch.nn.modules.activation"
    return known and not any(
        word in type(module).__name__ for word in ("Attention", "oftmax", "oftmin", "GLU")
    )


def parameters_of(model: nn.Module, unit_axes: Mapping[str, int]) -> tuple[ParameterFacts, ...]:
    """Every parameter once, under its first name."""
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    attention = {id(c) for m in model.modules() if isinstance(m, nn.MultiheadAttention) for c in m.modules()}
    for prefix, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((f"{prefix}.{key}" if prefix else key, module))
    found = []
    for name, parameter in model.named_parameters():
        held = owners[id(parameter)]
        table = next(
            (other for other, m in held if other != name and isinstance(m, nn.Embedding | nn.EmbeddingBag)),
            None,
        )
        owner = held[0][1]
        kind = "attention" if id(owner) in attention else _kind(name, parameter, owner)
        found.append(
            ParameterFacts(
                name=name,
                kind=kind,
                shape=tuple(parameter.shape),
                trainable=parameter.requires_grad,
                tied_to=table,
                zero=not bool(parameter.any()),
                symmetric=kind in ("weight", "other") and _symmetric(parameter, unit_axes.get(name, 0)),
                prior=kind == "bias" and _is_prior(parameter, owner),
            )
        )
    return tuple(found)


def _kind(name: str, parameter: nn.Parameter, owner: nn.Module) -> Any:
    if isinstance(owner, _NORMS) or "norm" in type(owner).__name__.lower():
        return "norm"
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(owner, nn.RNNBase | nn.RNNCellBase):
        return "recurrent"
    if name.rpartition(".")[2] == "bias":
        return "bias"
    return "weight" if isinstance(owner, (*_LAYERS, nn.Bilinear)) and parameter.ndim > 1 else "other"


def _symmetric(parameter: torch.Tensor, unit_axis: int) -> bool:
    if parameter.ndim < 2 or parameter.shape[unit_axis] < 2 or not bool(parameter.any()):
        return False
    first = parameter.detach().narrow(unit_axis, 0, 1)
    return bool((parameter.detach() == first).all())


def _is_prior(bias: torch.Tensor, owner: nn.Module) -> bool:
    weight = getattr(owner, "weight", None)
    if weight is None or weight.ndim < 2:
        return False
    default = 1 / math.sqrt(max(1, math.prod(weight.shape[1:])))
    return float(bias.detach().abs().max()) > default * (1 + 1e-6)
