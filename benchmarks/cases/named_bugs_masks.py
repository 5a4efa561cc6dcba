"""Named bugs of a mask: one side of zero, a sample, a time step, padding."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .named_bug import NamedBug, bug, hidden
from .named_bugs_layers import alone, elementwise, layer
from .named_bugs_models import Draw


def _slope_of_gelu(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2))) + z * (-z * z / 2).exp() / math.sqrt(2 * math.pi)


def _masks() -> list[NamedBug]:
    leaky = lambda z: F.leaky_relu(z, 0.1)  # noqa: E731
    elu_slope = lambda z: torch.where(z > 0, torch.ones_like(z), z.exp())  # noqa: E731
    return [
        bug(
            "mask",
            "leaky relu flat below zero, its input",
            lambda: alone(layer(leaky, lambda d, z: (d * (z > 0),)), z=Draw(1)(6, 9)),
        ),
        bug(
            "mask",
            "elu slope 1 below zero, its input",
            lambda: alone(layer(F.elu, lambda d, z: (d * torch.ones_like(z),)), z=Draw(2)(5, 8)),
        ),
        bug(
            "mask",
            "relu lets all through, its input",
            lambda: alone(layer(F.relu, lambda d, z: (d,)), z=Draw(3)(7, 6)),
        ),
        bug(
            "mask",
            "gelu without its tail below zero, its input",
            lambda: alone(layer(F.gelu, lambda d, z: (d * _slope_of_gelu(z) * (z > 0),)), z=Draw(4)(40)),
        ),
        bug(
            "mask",
            "elu wrong above zero, its input",
            lambda: alone(
                layer(F.elu, lambda d, z: (d * torch.where(z > 0, 0.5, elu_slope(z)),)), z=Draw(5)(6, 6)
            ),
        ),
        hidden(
            "leaky relu flat below zero, inside a net",
            lambda: elementwise(leaky, lambda z: (z > 0).to(z.dtype), seed=6),
        ),
        bug(
            "mask",
            "last sample dropped",
            lambda: alone(_rows_dropped(slice(-1, None)), x=Draw(7)(9, 5), w=Draw(8)(5, 4)),
        ),
        bug(
            "mask",
            "first two samples dropped",
            lambda: alone(_rows_dropped(slice(0, 2)), x=Draw(9)(9, 5), w=Draw(10)(5, 4)),
        ),
        bug(
            "mask",
            "padding takes part in the backward pass",
            lambda: alone(_padded_mean, x=Draw(11)(5, 6, 4)),
            right=("mask", "sparse"),
        ),
        bug(
            "mask",
            "first time step dropped",
            lambda: alone(_first_step_dropped, x=Draw(12)(4, 7, 3)),
            right=("mask", "sparse"),
        ),
        bug(
            "mask",
            "dropout forgotten in the backward pass",
            lambda: alone(_dropout, x=Draw(13)(8, 6)),
            right=("mask", "sparse"),
        ),
    ]


def _rows_dropped(rows: slice):
    def backward(d: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        d = d.clone()
        d[rows] = 0
        return d @ w.t(), x.t() @ d

    return layer(lambda x, w: x @ w, backward)


def _padded_mean(x: Tensor) -> Tensor:
    lengths = torch.tensor([6, 3, 4, 6, 2])
    kept = (torch.arange(6) < lengths[:, None]).to(x.dtype)[..., None]
    share = 1 / lengths.to(x.dtype)[:, None]
    pooled = layer(
        lambda x: (x * kept).sum(1) * share,
        lambda d, x: ((d * share)[:, None].expand_as(x),),
    )
    return pooled(x).tanh()


def _first_step_dropped(x: Tensor) -> Tensor:
    def backward(d: Tensor, x: Tensor) -> tuple[Tensor]:
        d = d.flip(1).cumsum(1).flip(1)
        return (torch.cat([torch.zeros_like(d[:, :1]), d[:, 1:]], 1),)

    return layer(lambda x: x.cumsum(1), backward)(x).sin()


def _dropout(x: Tensor) -> Tensor:
    kept = (torch.rand(8, 6, generator=torch.Generator().manual_seed(5)) > 0.4).to(x.dtype)
    return layer(lambda x: x * kept, lambda d, x: (d,))(x)


CASES = tuple(_masks())
