"""Wrong gradients without a name: whatever name a check gives them is a wrong one."""

from __future__ import annotations

import torch
from torch import Tensor

from .named_bug import Gradients, bug, changed, drawn, of_model, right_gradients
from .named_bugs_models import (
    attention,
    conv_net,
    embedding_net,
    factorisation,
    gated,
    layer_norm_net,
    logistic,
    poisson,
    recurrent,
    residual,
    separable,
    swish_net,
)


def _noise(size: float):
    def change(g: Tensor) -> Tensor:
        normal = torch.randn(g.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        return g + size * g.std() * normal.to(g.dtype)

    return change


def _uneven(g: Tensor) -> Tensor:
    return g * torch.linspace(0.5, 1.5, g.shape[1]).to(g.dtype)


def _by_row(g: Tensor) -> Tensor:
    return g * torch.rand(len(g), 1, generator=torch.Generator().manual_seed(4)).to(g.dtype)


_CHANGES = (
    (attention, "query", _noise(0.3), "with noise"),
    (residual, "*", _noise(0.003), "with a little noise"),
    (recurrent, "around", lambda g: g.sign() * g.abs().mean(), "signs only"),
    (conv_net, "kernel", lambda g: g.abs(), "magnitudes only"),
    (residual, "one", lambda g: (g + g.roll(1, 0) + g.roll(-1, 0)) / 3, "smoothed"),
    (recurrent, "head", lambda g: g - g.mean(), "centred"),
    (swish_net, "second", lambda g: g.clamp(-g.std(), g.std()), "clipped element by element"),
    (factorisation, "users", lambda g: g @ (g.t() @ g / g.norm() ** 2), "projected"),
    (embedding_net, "table", lambda g: g + 0.1 * g.abs().mean(), "offset"),
    (gated, "gates", _uneven, "scaled unevenly"),
    (layer_norm_net, "first", _by_row, "each row times its own number"),
    (attention, "out", lambda g: (g + g.t()) / 2, "made symmetric"),
    (residual, "two", lambda g: -g.t(), "transposed and negated"),
    (recurrent, "inward", lambda g: 2 * g.roll(1, 0), "rolled and doubled"),
    (separable, "point", lambda g: (g / g.std()).tanh() * g.std(), "softly clipped"),
    (poisson, "weight", lambda g: g.sign() * g.abs().sqrt(), "square roots"),
    (conv_net, "second", lambda g: g + 0.2 * g.transpose(0, 1), "with a part of its transpose"),
    (logistic, "weight", lambda g: g.sort().values, "sorted"),
)


def _too_much_decay():
    return changed(residual(190), lambda g, p: {n: g[n] + 0.01 * p[n] for n in g})


def _other_batch():
    """A tenth of the gradient is that of another batch."""
    model, other = swish_net(191), swish_net(192)

    def mixed(g: Gradients, p: Gradients) -> Gradients:
        theirs = right_gradients(other, tuple(p.values()))
        return {n: 0.9 * g[n] + 0.1 * theirs[n] for n in g}

    return changed(model, mixed)


CASES = (
    *(
        # Sorted is a permutation too, of which only the gradient itself knows the order.
        of_model(
            "not nameable",
            drawn(m, 160 + i),
            names,
            change,
            what,
            right=("permuted",) if what == "sorted" else (),
        )
        for i, (m, names, change, what) in enumerate(_CHANGES)
    ),
    bug("not nameable", "residual * with decay that the loss has not", _too_much_decay, right=()),
    bug("not nameable", "swish_net * of another batch in part", _other_batch, right=()),
)
