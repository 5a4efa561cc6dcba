"""Named bugs that change a finished gradient: sign, scale, order, precision, single elements, forgotten terms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .named_bug import Gradients, Model, NamedBug, bug, changed, drawn, hidden, of_model
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


def _times(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda g: factor * g


def _signs() -> list[NamedBug]:
    picked = [
        (conv_net, "kernel"),
        (attention, "query"),
        (layer_norm_net, "gain"),
        (embedding_net, "table"),
        (recurrent, "around"),
        (poisson, "*"),
        (residual, "one three"),
        (separable, "depth"),
        (logistic, "bias"),
    ]
    return [
        of_model("sign-flipped", drawn(m, i), names, torch.neg, "negated")
        for i, (m, names) in enumerate(picked)
    ]


def _scales() -> list[NamedBug]:
    picked = [
        (swish_net, "*", 2.0),
        (swish_net, "*", 0.5),
        (attention, "key", 1 / 3),
        (layer_norm_net, "second", 1.01),
        (recurrent, "head", 10.0),
        (factorisation, "users", 0.5),
        (gated, "recur", 0.9),
        (residual, "*", 1.001),
        (logistic, "weight", 1.7),
        (conv_net, "second", 4.0),
    ]
    return [
        of_model(
            "scaled",
            drawn(m, 20 + i),
            names,
            _times(factor),
            f"times {factor:.3g}",
            number=factor,
        )
        for i, (m, names, factor) in enumerate(picked)
    ]


def _means() -> list[NamedBug]:
    forgotten = [
        (conv_net, "*"),
        (layer_norm_net, "*"),
        (embedding_net, "*"),
        (logistic, "*"),
        (poisson, "*"),
        (logistic, "bias"),
        (conv_net, "bias"),
        (residual, "two"),
    ]
    cases = [
        of_model(
            "missing-mean",
            drawn(m, 40 + i),
            names,
            _times(m(0).batch),
            "not divided by the batch",
            number=float(m(0).batch),
            vague=("scaled",),
        )
        for i, (m, names) in enumerate(forgotten)
    ]
    spare = [
        (drawn(logistic, 50, total=True), "*"),
        (drawn(poisson, 51, total=True), "*"),
        (drawn(swish_net, 52, total=True), "bias"),
        (drawn(residual, 53, total=True), "*"),
        (drawn(swish_net, 54, total=True), "*"),
        (drawn(poisson, 55, total=True), "bias"),
    ]
    return cases + [
        of_model(
            "mean for sum",
            m,
            names,
            _times(1 / m().batch),
            "divided by the batch",
            right=("scaled",),
            number=1 / m().batch,
        )
        for m, names in spare
    ]


def _zeros() -> list[NamedBug]:
    picked = [
        (conv_net, "second"),
        (attention, "value"),
        (layer_norm_net, "shift"),
        (embedding_net, "table"),
        (factorisation, "items"),
    ]
    return [
        of_model("zero", drawn(m, 60 + i), names, torch.zeros_like, "zero")
        for i, (m, names) in enumerate(picked)
    ]


def _orders() -> list[NamedBug]:
    def swapped(g: Tensor) -> Tensor:
        return g[:, [1, 0, *range(2, g.shape[1])]]

    def cycled(g: Tensor) -> Tensor:
        return torch.cat([g[:, 6:12], g[:, :6], g[:, 12:]], 1)

    def shuffled(g: Tensor) -> Tensor:
        return g[torch.randperm(len(g), generator=torch.Generator().manual_seed(1))]

    transposed = [
        (attention, "query", lambda g: g.t()),
        (recurrent, "around", lambda g: g.t()),
        (residual, "three", lambda g: g.t()),
        (swish_net, "first", lambda g: g.t()),
        (layer_norm_net, "first", lambda g: g.t().reshape(g.shape)),
        (embedding_net, "head", lambda g: g.t().reshape(g.shape)),
        (conv_net, "second", lambda g: g.transpose(0, 1)),
        (conv_net, "second", lambda g: g.transpose(2, 3)),
        (separable, "point", lambda g: g.transpose(0, 1)),
    ]
    permuted = [
        (recurrent, "inward", lambda g: g.roll(1, 0), "rolled by a row"),
        (layer_norm_net, "second", lambda g: g.roll(-2, 1), "rolled by two columns"),
        (conv_net, "kernel", lambda g: g.flip(2, 3), "kernel mirrored"),
        (separable, "depth", lambda g: g.flip(2), "kernel mirrored"),
        (attention, "out", swapped, "two columns swapped"),
        (gated, "gates", cycled, "gates in another order"),
        (embedding_net, "table", lambda g: g.roll(1, 0), "rolled by a row"),
        (residual, "one", shuffled, "rows shuffled"),
        (layer_norm_net, "gain", lambda g: g.flip(0), "reversed"),
    ]
    return [
        of_model("transposed", drawn(m, 70 + i), names, change, "transposed")
        for i, (m, names, change) in enumerate(transposed)
    ] + [
        of_model("permuted", drawn(m, 80 + i), names, change, what)
        for i, (m, names, change, what) in enumerate(permuted)
    ]


def _terms() -> list[NamedBug]:
    decays = [1e-3, 1e-2, 0.1, 1e-4]
    cases = [
        bug(
            "missing-l2",
            f"residual, decay {decay:g} forgotten in {names}",
            lambda d=decay, n=names, i=i: changed(
                residual(100 + i, decay=d), lambda g, p: {k: g[k] - d * p[k] for k in n.split()}
            ),
            number=decay,
        )
        for i, (decay, names) in enumerate(
            zip(decays, ("one two three", "two", "one three", "one two three"), strict=True)
        )
    ]
    cases += [
        bug(
            "missing-l2",
            f"logistic, decay {decay:g} forgotten",
            lambda d=decay: changed(
                logistic(110, decay=d), lambda g, p: {"weight": g["weight"] - d * p["weight"]}
            ),
            number=decay,
        )
        for decay in (3e-3, 0.05, 0.5)
    ]
    cases += [
        bug(
            "missing-term",
            f"residual, lasso {lasso:g} forgotten",
            lambda s=lasso, n=names: changed(
                residual(115, lasso=s), lambda g, p: {k: g[k] - s * p[k].sign() for k in n.split()}
            ),
        )
        for lasso, names in ((0.01, "one two three"), (0.1, "two"), (0.3, "one three"))
    ]
    return [
        *cases,
        hidden("pull towards old weights forgotten", lambda: _without_extra(_pulled)),
        hidden("entropy bonus forgotten", lambda: _without_extra(_bonus)),
        hidden("auxiliary head forgotten", lambda: _without_extra(_auxiliary)),
    ]


def _pulled(first: Tensor, bias: Tensor, second: Tensor) -> Tensor:
    return 0.05 * ((first - 0.3) ** 2).sum()


def _bonus(first: Tensor, bias: Tensor, second: Tensor) -> Tensor:
    p = second.softmax(-1)
    return 0.3 * (p * p.log()).sum()


def _auxiliary(first: Tensor, bias: Tensor, second: Tensor) -> Tensor:
    return 0.1 * (first.t() @ first + bias).sin().mean()


def _without_extra(extra: Callable[[Tensor, Tensor, Tensor], Tensor]):
    """The loss has one more term than its gradient."""
    plain = swish_net(120)

    def gradients(g: Gradients, p: Gradients) -> Gradients:
        leaves = [t.detach().requires_grad_() for t in p.values()]
        with torch.enable_grad():
            more = torch.autograd.grad(extra(*leaves), leaves, materialize_grads=True)
        return {n: g[n] - m for n, m in zip(p, more, strict=True)}

    whole = Model(loss=lambda *t: plain.loss(*t) + extra(*t), parameters=plain.parameters, batch=plain.batch)
    return changed(whole, gradients)


def _precisions() -> list[NamedBug]:
    def through(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        return lambda g: g.to(dtype).to(g.dtype)

    picked = [
        (conv_net, "*", torch.bfloat16),
        (attention, "*", torch.bfloat16),
        (recurrent, "around", torch.bfloat16),
        (residual, "*", torch.float16),
        (layer_norm_net, "first", torch.float16),
        (embedding_net, "table", torch.bfloat16),
        (factorisation, "*", torch.bfloat16),
    ]
    return [
        of_model("low-precision", drawn(m, 130 + i), names, through(dtype), f"through {str(dtype)[6:]}")
        for i, (m, names, dtype) in enumerate(picked)
    ]


def _elements() -> list[NamedBug]:
    def at(index: tuple[int, ...], change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def apply(g: Tensor) -> Tensor:
            g = g.clone()
            g[index] = change(g[index])
            return g

        return apply

    picked = [
        (attention, "value", (3, 5), lambda v: 1.5 * v),
        (conv_net, "second", (1, 2, 0, 2), lambda v: 0 * v),
        (recurrent, "inward", (4, 6), lambda v: 0 * v),
        (layer_norm_net, "gain", (7,), lambda v: -v),
        (residual, "two", (0, 0), lambda v: v + 0.01),
        (factorisation, "items", (11, 2), lambda v: 1.01 * v),
        (separable, "point", (4, 0, 0), lambda v: 2 * v),
        (gated, "recur", (2, 13), lambda v: 0 * v),
    ]
    cases = [
        of_model(
            "sparse",
            drawn(m, 140 + i),
            name,
            at(index, change),
            f"at {list(index)}",
            elements=((name, index),),
        )
        for i, (m, name, index, change) in enumerate(picked)
    ]
    several = ((1, 1), (5, 2), (6, 7))

    def three(g: Tensor) -> Tensor:
        for index, factor in zip(several, (0.0, 1.8, -1.0), strict=True):
            g = at(index, lambda v, f=factor: f * v)(g)
        return g

    return [
        *cases,
        of_model(
            "sparse",
            drawn(attention, 150),
            "key",
            three,
            "at three elements",
            elements=tuple(("key", i) for i in several),
        ),
    ]


CASES = (
    *_signs(),
    *_scales(),
    *_means(),
    *_zeros(),
    *_orders(),
    *_terms(),
    *_precisions(),
    *_elements(),
)
