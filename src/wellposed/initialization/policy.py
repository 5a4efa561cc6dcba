"""Who is redrawn, how, and to what target; who is left alone, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ArgumentError
from .gains import Gain, gain
from .result import Draw, LayerFacts, ModelFacts, ParameterFacts, ParameterRecipe

SCHEMES = ("auto", "he", "glorot", "lecun", "orthogonal")
# Depth 10 to 50 tanh nets on digits train better at 1.5 than at 2 or without a bound.
GRADIENT_GROWTH = 1.5

_LEAKY = ("leakyrelu", "prelu", "rrelu")
"""Rectifiers whose slope below zero counts."""
_LEFT_BY_KIND = {
    "norm": "scale and shift of a norm",
    "embedding": "embedding: its rows are read, not summed over",
    "recurrent": "recurrent: its scale acts once a time step, and is left as it is",
    "attention": "attention: the scale of queries and keys is a temperature",
    "bias": "bias of a layer that is left alone",
    "other": "multiplies no signal as a weight does: a gate, a scale, a token or a table",
}


@dataclass(frozen=True, kw_only=True)
class SchemeOptions:
    """How a scheme is to be read."""

    scheme: str
    gain: float | None = None
    """In place of the scheme's own."""
    mode: str = "fan_in"


def plan(
    model: ModelFacts, options: SchemeOptions
) -> tuple[dict[str, Draw], set[str], dict[str, ParameterRecipe]]:
    """What to draw, which biases to zero, and the recipe with a reason for every parameter."""
    scheme = options.scheme
    facts = {p.name: p for p in model.parameters}
    layers = {layer.name: layer for layer in model.layers if layer.name in facts}
    draws: dict[str, Draw] = {}
    zeroed: set[str] = set()
    recipe: dict[str, ParameterRecipe] = {}
    for name, layer in layers.items():
        reason = _why_left(facts[name], layer, scheme)
        if reason is not None:
            recipe[name] = _left(name, _role(layer), reason)
            continue
        draws[name], recipe[name] = _drawn(layer, facts[name].shape, model, options)
        if layer.bias in facts:
            bias = _bias(facts[layer.bias], layer)
            recipe[layer.bias] = bias
            if bias.action == "zeroed":
                zeroed.add(layer.bias)
    for parameter in model.parameters:
        recipe.setdefault(
            parameter.name, _left(parameter.name, parameter.kind, _why_not_a_layer(parameter, model))
        )
    return draws, zeroed, {p.name: recipe[p.name] for p in model.parameters}


def _why_left(weight: ParameterFacts, layer: LayerFacts, scheme: str) -> str | None:
    if not weight.trainable:
        return "frozen: requires_grad is False"
    if weight.kind in ("embedding", "recurrent", "attention", "norm"):
        return _LEFT_BY_KIND[weight.kind]
    if weight.tied_to is not None:
        return f"tied to {weight.tied_to}"
    if weight.zero:
        return "exact zeros, which are set on purpose: the layer starts switched off"
    if weight.symmetric:
        return None  # whatever reads it, units that are copies of each other stay copies
    if layer.next == "attention":
        return "feeds a softmax: its scale is a temperature"
    if layer.next == "norm" and scheme == "auto":
        return "feeds a norm, which undoes any scale"
    return None


def _why_not_a_layer(parameter: ParameterFacts, model: ModelFacts) -> str:
    if not parameter.trainable:
        return "frozen: requires_grad is False"
    if parameter.tied_to is not None and parameter.kind == "weight":
        return f"tied to {parameter.tied_to}"
    if parameter.kind == "weight":
        return (
            "no product with the signal was seen"
            if model.traced
            else "in a module whose use is unknown without inputs"
        )
    return _LEFT_BY_KIND[parameter.kind]


def _bias(bias: ParameterFacts, layer: LayerFacts) -> ParameterRecipe:
    if not bias.trainable:
        return _left(bias.name, "bias", "frozen: requires_grad is False")
    if bias.tied_to is not None:
        return _left(bias.name, "bias", f"tied to {bias.tied_to}")
    if layer.next == "output" and bias.prior:
        return _left(bias.name, "bias", "the output's bias was set on purpose: a prior")
    return ParameterRecipe(
        name=bias.name, role="bias", action="zeroed", reason="no sample prefers a side before training"
    )


def _drawn(
    layer: LayerFacts, shape: tuple[int, ...], model: ModelFacts, options: SchemeOptions
) -> tuple[Draw, ParameterRecipe]:
    scheme = options.scheme
    if scheme == "auto":
        return _auto(layer, model)
    found, why = _gain_of(layer)
    if scheme == "glorot":
        factor = (options.gain or 1.0) * math.sqrt(2 * layer.fan_in / (layer.fan_in + layer.fan_out))
        why = "Glorot and Bengio 2010, equation 12"
    elif scheme == "orthogonal":
        # Rows or columns, whichever are fewer, become orthonormal times the gain.
        longest = max(shape[0], math.prod(shape[1:]))
        own = 1.0 if layer.next == "output" else found.forward
        factor = (options.gain or own) * math.sqrt(layer.fan_in / longest)
        why = f"Saxe et al. 2014, {why}"
    else:
        own, why = _he(layer, found) if scheme == "he" else (1.0, "LeCun et al. 1998, equation 16")
        factor = options.gain or own
        if options.mode == "fan_out":
            factor *= math.sqrt(layer.fan_in / layer.fan_out)
            why += ", by fan_out"
    if options.gain is not None:
        why += f", with the gain {options.gain:g} that was given"
    return _draw_and_recipe(layer, factor=factor, why=why, orthogonal=scheme == "orthogonal")


def _he(layer: LayerFacts, found: Gain) -> tuple[float, str]:
    """The gain of a rectifier: sqrt(2), or less where it has a slope below zero."""
    name = (layer.activation_name or "").lower().replace("_", "")
    if name in _LEAKY and layer.activation is not None:
        return (
            found.forward,
            f"He et al. 2015, equation 15, with the slope of {layer.activation_name}, which follows",
        )
    return math.sqrt(2), "He et al. 2015, equation 10"


def _auto(layer: LayerFacts, model: ModelFacts) -> tuple[Draw, ParameterRecipe]:
    if layer.next == "output":
        return _draw_and_recipe(
            layer, factor=1.0, why="LeCun, so that the first loss is near chance", target=1.0
        )
    if layer.next == "residual":
        share = 1 / math.sqrt(2 * max(1, model.residual_branches))
        why = f"one of {model.residual_branches} residual branches: 1/sqrt(2L) of the stream"
        return _draw_and_recipe(layer, factor=share, why=why, target=share)
    if layer.next in ("norm", "attention"):  # only when it is symmetric
        return _draw_and_recipe(layer, factor=1.0, why="its units were copies of each other")
    found, why = _gain_of(layer)
    target = 1.0 if layer.activation is None else _target(layer.activation, found, depth=_depth(model))
    return _draw_and_recipe(layer, factor=found.forward, why=why, target=target)


def _depth(model: ModelFacts) -> int:
    """Activations in a row: a residual branch begins anew."""
    return sum(layer.next == "activation" for layer in model.layers) // max(1, model.residual_branches)


def _target(activation: Callable[[Any], Any], at_one: Gain, *, depth: int) -> float:
    """The largest std up to 1 at which the gradient is predicted to grow at most `GRADIENT_GROWTH`-fold over
    the depth.

    Through a squashing activation the mean square of the gradient grows by chi = E[phi'^2] q / E[phi^2] a
    layer (Schoenholz et al. 2017, equation 9), and nearer to 0, where it is linear, chi falls to 1. What
    does not squash gains nothing.
    """
    allowed = GRADIENT_GROWTH ** (2 / max(1, depth))
    if at_one.slope >= 1 or _chi(at_one) <= allowed:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(8):
        std = (low + high) / 2
        try:
            fits = _chi(gain(lambda z, std=std: activation(z * std))) <= allowed
        except ArgumentError:
            return 1.0
        low, high = (std, high) if fits else (low, std)
    return low or 1.0


def _chi(found: Gain) -> float:
    return (found.forward / found.backward) ** 2


def _gain_of(layer: LayerFacts) -> tuple[Gain, str]:
    linear = Gain(forward=1.0, backward=1.0, slope=1.0)
    if layer.activation is None:
        return linear, "gain of a linear layer"
    try:
        return gain(layer.activation), f"gain of {layer.activation_name}, which follows"
    except ArgumentError as error:
        return linear, f"gain of a linear layer, for {layer.activation_name} has none ({error})"


def _draw_and_recipe(
    layer: LayerFacts, *, factor: float, why: str, target: float | None = None, orthogonal: bool = True
) -> tuple[Draw, ParameterRecipe]:
    draw = Draw(
        name=layer.name,
        distribution="orthogonal" if orthogonal else "normal",
        std=factor / math.sqrt(layer.fan_in),
        target=target,
        only_shrink=layer.next == "output",
        skip=layer.skip,
    )
    recipe = ParameterRecipe(
        name=layer.name, role=_role(layer), action="redrawn", reason=why, gain=factor, target=target
    )
    return draw, recipe


def _role(layer: LayerFacts) -> str:
    named: Mapping[str, str] = {
        "output": "final layer",
        "residual": "residual branch",
        "attention": "attention",
    }
    return named.get(layer.next, layer.kind)


def _left(name: str, role: str, reason: str) -> ParameterRecipe:
    return ParameterRecipe(name=name, role=role, action="left alone", reason=reason)
