"""Named bugs that come from something kept: activations, weights or gradients of an earlier call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .named_bug import Built, Model, bug, hand_written, right_gradients
from .named_bugs_layers import alone, layer
from .named_bugs_models import Draw, attention, conv_net, logistic, recurrent, residual, swish_net


def nudged(model: Model, size: float) -> tuple[Tensor, ...]:
    """The parameters at some earlier step of training."""
    draw = Draw(99)
    return tuple(
        p + size * p.std(correction=0).clamp(min=0.1) * draw(*p.shape) for p in model.parameters.values()
    )


def frozen(model: Model, size: float) -> Built:
    """A gradient that was computed once, at other parameters."""
    old = tuple(right_gradients(model, nudged(model, size)).values())
    return hand_written(
        model, lambda tensors: tuple(g.to(t.dtype) for g, t in zip(old, tensors, strict=True))
    )


def one_frozen(model: Model, name: str, size: float) -> Built:
    old = right_gradients(model, nudged(model, size))[name]

    def backward(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        found = right_gradients(model, tensors)
        return tuple((found | {name: old.to(found[name].dtype)}).values())

    return hand_written(model, backward)


def old_weight(model: Model, name: str, size: float) -> Built:
    """The backward pass uses a copy of one weight that was taken some steps ago."""
    old = dict(zip(model.parameters, nudged(model, size), strict=True))[name]

    def backward(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        at = dict(zip(model.parameters, tensors, strict=True)) | {name: old.to(tensors[0].dtype)}
        return tuple(right_gradients(model, tuple(at.values())).values())

    return hand_written(model, backward)


def cached(value: Callable[[Tensor], Tensor], slope_of_value: Callable[[Tensor], Tensor], seed: int) -> Built:
    """An activation whose output was saved by the first call ever, which was made at other inputs."""
    draw = Draw(seed)
    cache: dict[torch.Size, Tensor] = {}

    def backward(d: Tensor, z: Tensor) -> tuple[Tensor]:
        kept = cache.setdefault(z.shape, value(z).detach())
        return (d * slope_of_value(kept.to(d.dtype)),)

    activation = layer(value, backward)
    first, second = draw(9, 6, scale=0.8), draw(9, 6, scale=0.8)
    warm_up = first.clone().requires_grad_()
    activation(warm_up).sum().backward()
    return alone(lambda x, w: activation(x @ w), x=second, w=draw(6, 6, scale=0.5))


CASES = (
    bug("stale", "residual, gradients of an earlier step", lambda: frozen(residual(200), 0.1)),
    bug("stale", "logistic, gradients of an earlier step", lambda: frozen(logistic(201), 0.3)),
    bug("stale", "conv net, gradients of an earlier step", lambda: frozen(conv_net(202), 0.05)),
    bug(
        "stale", "recurrent, one gradient never refreshed", lambda: one_frozen(recurrent(203), "around", 0.1)
    ),
    bug("stale", "attention, one gradient never refreshed", lambda: one_frozen(attention(204), "value", 0.2)),
    bug("stale", "swish, weight of an earlier step", lambda: old_weight(swish_net(205), "second", 0.1)),
    bug("stale", "residual, weight of an earlier step", lambda: old_weight(residual(206), "two", 0.1)),
    bug("stale", "tanh of the first call ever", lambda: cached(torch.tanh, lambda a: 1 - a * a, 207)),
    bug("stale", "sigmoid of the first call ever", lambda: cached(torch.sigmoid, lambda a: a * (1 - a), 208)),
)
