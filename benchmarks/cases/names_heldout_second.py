"""A second held-out draw, of other operations, written after the rules were mended by the first and before it was run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .named_bug import Built, NamedBug
from .names_heldout import F32, F64, Alter, Drawn, all_changed, altered, case, changed, own, pulled_back
from .names_heldout_jax import pulled, ruled

Forward = Callable[..., Tensor]


def bent(
    forward: Forward, alter: Alter, *shapes: tuple[int, ...], dtype: torch.dtype = F64
) -> Callable[[Drawn], Built]:
    return lambda draw: (altered(forward, alter), tuple(draw(*s, dtype=dtype) for s in shapes), None)


def written(
    forward: Forward, backward: Callable[..., Any], *shapes: tuple[int, ...], dtype: torch.dtype = F64
) -> Callable[[Drawn], Built]:
    return lambda draw: (own(forward, backward), tuple(draw(*s, dtype=dtype) for s in shapes), None)


def glu(x: Tensor, w: Tensor) -> Tensor:
    a, b = (x @ w).chunk(2, -1)
    return a * torch.sigmoid(b)


def weight_norm(x: Tensor, v: Tensor, g: Tensor) -> Tensor:
    return x @ (g * v / v.norm(dim=0))


def squeeze_excite(x: Tensor, w: Tensor) -> Tensor:
    return x * torch.sigmoid(x.mean((2, 3)) @ w)[:, :, None, None]


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum(
        "btd,btde->bte", F.elu(q) + 1, torch.cumsum(torch.einsum("btd,bte->btde", F.elu(k) + 1, v), 1)
    )


def scan(a: Tensor, x: Tensor) -> Tensor:
    h, out = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = torch.sigmoid(a) * h + x[:, t]
        out.append(h)
    return torch.stack(out, 1)


def log_det(a: Tensor) -> Tensor:
    return torch.logdet(a @ a.mT + torch.eye(len(a), dtype=a.dtype))


def matrix_exp(a: Tensor) -> Tensor:
    return torch.matrix_exp(0.3 * a)


def horner(c: Tensor, x: Tensor) -> Tensor:
    return sum(c[:, k, None] * x**k for k in range(c.shape[1]))  # pyright: ignore[reportReturnType]


def euler(w: Tensor, x: Tensor) -> Tensor:
    for _ in range(4):
        x = x + 0.25 * torch.tanh(x @ w)
    return x


def gaussian(mu: Tensor, log_var: Tensor) -> Tensor:
    return 0.5 * (log_var + (1.5 - mu) ** 2 * torch.exp(-log_var))


def triplet(a: Tensor, p: Tensor, n: Tensor) -> Tensor:
    return torch.relu(1 + ((a - p) ** 2).sum(1) - ((a - n) ** 2).sum(1))


def fft_conv(x: Tensor, k: Tensor) -> Tensor:
    return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(k), n=x.shape[-1])


def sampled(x: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(x, torch.tanh(grid), align_corners=False)


def experts(x: Tensor, w: Tensor) -> Tensor:
    return torch.einsum("bi,eij->bej", x, w).tanh().mean(1)


def neg(d: Tensor) -> Tensor:
    return -d


def named() -> list[NamedBug]:
    def vae(mu: Tensor, log_var: Tensor) -> Tensor:
        return ((torch.sin(mu) + torch.exp(0.5 * log_var)) ** 2).sum() - 0.5 * (
            1 + log_var - mu**2 - log_var.exp()
        ).sum()

    def without_prior(gradients: Any, g: Tensor, inputs: Any) -> None:
        gradients[0] = gradients[0] - g * inputs[0]

    def segment(g: Tensor, x: Tensor) -> Tensor:
        d = torch.zeros_like(x)
        d[torch.arange(30) % 6] = g
        return d

    def blocks(d: Tensor) -> Tensor:
        return torch.cat([d[:, 6:], d[:, :6]], 1)

    def one_expert(gradients: Any, g: Tensor, inputs: Any) -> None:
        gradients[1] = gradients[1] * 4

    def wrong_tap(d: Tensor) -> Tensor:
        d = d.clone()
        d[0] = d[0] * 0.5
        return d

    def first_row_lost(g: Tensor, x: Tensor, w: Tensor) -> Any:
        return g @ w.mT, x[1:].mT @ g[1:]

    keep = (torch.arange(50) * 13) % 7 > 2
    order = (torch.arange(27) * 10 + 4) % 27
    return [
        case("sign-flipped", "triplet: negatives", bent(triplet, changed(2, neg), (12, 6), (12, 6), (12, 6))),
        case("sign-flipped", "gaussian: mean", bent(gaussian, changed(0, neg), (30,), (30,))),
        case("sign-flipped", "log det", bent(log_det, changed(0, neg), (7, 7))),
        case("scaled", "weight norm: g by 1/2, float32", bent(weight_norm, changed(2, lambda d: d / 2), (9, 7), (7, 5), (5,), dtype=F32), number=0.5),
        case("scaled", "euler: step forgotten once", bent(euler, changed(0, lambda d: 4 * d), (5, 5), (9, 5)), number=4),
        case("scaled", "experts: mean over four forgotten", bent(experts, one_expert, (11, 5), (4, 5, 3)), right=("scaled", "missing-mean"), number=4),
        case("missing-mean", "dice-like loss over pixels", bent(lambda p: (torch.sigmoid(p) ** 2).mean(), all_changed(lambda d: d * 420), (420,)), number=420),
        case("missing-mean", "poisson likelihood, float32", bent(lambda z: (z.exp() - 2 * z).mean(), all_changed(lambda d: d * 75), (75,), dtype=F32), number=75),
        case("zero", "squeeze-excite: weights", bent(squeeze_excite, changed(1, torch.zeros_like), (2, 4, 5, 5), (4, 4))),
        case("zero", "fft: kernel", bent(fft_conv, changed(1, torch.zeros_like), (3, 16), (3, 16))),
        case("transposed", "matrix exponential", bent(matrix_exp, changed(0, lambda d: d.mT), (8, 8))),
        case("transposed", "euler: weights, float32", bent(euler, changed(0, lambda d: d.mT), (12, 12), (5, 12), dtype=F32)),
        case("transposed", "squeeze-excite: weights", bent(squeeze_excite, changed(1, lambda d: d.mT), (2, 6, 4, 4), (6, 6))),
        case("permuted", "glu: gate and value", bent(glu, changed(1, blocks), (8, 5), (5, 12))),
        case("permuted", "fft: correlation for convolution", bent(fft_conv, changed(1, lambda d: d.flip(-1)), (2, 21), (2, 21))),
        case("permuted", "grid sample: x and y of the grid", bent(sampled, changed(1, lambda d: d.flip(-1)), (1, 2, 7, 7), (1, 5, 5, 2))),
        case("permuted", "polynomials in another order", bent(horner, changed(0, lambda d: d[order]), (27, 4), (27, 5))),
        case("permuted", "state space: steps late by two", bent(scan, changed(1, lambda d: d.roll(2, 1)), (6,), (4, 15, 6))),
        case("missing-term", "vae: prior on the mean", bent(vae, without_prior, (40,), (40,)), right=("missing-term", "missing-l2")),
        case("missing-term", "transition with a skip", written(lambda x, w: x + torch.tanh(x @ w), lambda g, x, w: ((g * (1 - torch.tanh(x @ w) ** 2)) @ w.mT, x.mT @ (g * (1 - torch.tanh(x @ w) ** 2))), (9, 7), (7, 7))),
        case("missing-term", "bias of a sum over tokens", written(lambda x, p: torch.sin(p) + p + x, lambda g, x, p: (g, (g * torch.cos(p)).sum(0)), (13, 8), (8,))),
        case("missing-l2", "quantile regression", bent(lambda x, w: (x @ w - 1).clamp(min=0).mean() + 0.015 * (w**2).sum(), lambda d, g, xs: d.__setitem__(1, d[1] - 0.03 * g * xs[1]), (60, 25), (25,)), number=0.03),
        case("low-precision", "linear attention: v in bfloat16", bent(linear_attention, changed(2, lambda d: d.bfloat16().to(d.dtype)), (2, 9, 4), (2, 9, 4), (2, 9, 4))),
        case("low-precision", "state space in float16, float32", bent(scan, all_changed(lambda d: d.half().to(d.dtype)), (32,), (4, 25, 32), dtype=F32)),
        case("sparse", "grid sample: a corner of the image", bent(sampled, changed(0, lambda d: d * (1 + (torch.arange(d.numel()) == 30).reshape(d.shape))), (1, 2, 6, 6), (1, 30, 30, 2))),
        case("sparse", "matrix exponential: an element", bent(matrix_exp, changed(0, lambda d: d + (torch.arange(81) == 40).reshape(9, 9)), (9, 9))),
        case("scaled", "depthwise filters: the first halved", bent(lambda x, k: F.conv1d(x, k, groups=5), changed(1, wrong_tap), (3, 5, 20), (5, 1, 7)), number=0.5),
        case("accumulate", "pooling by segments", written(lambda x: x[torch.arange(30) % 6] ** 1, segment, (6, 4))),
        case("mask", "top of a ranking", written(lambda x: x * (x >= x.sort().values[-20]), lambda g, x: g, (64,))),
        case("mask", "random mask, float32, 1e4", written(lambda x: x[:, keep].tanh(), lambda g, x: _spread(g, x, keep), (200, 50), dtype=F32)),
        case("mask", "linear: first sample left out", written(lambda x, w: x @ w, first_row_lost, (9, 7), (7, 3))),
        case("mask", "soft threshold lets all through", written(lambda x: F.softshrink(x, 0.4), lambda g, x: g, (90,))),
        case("stale", "glu: weights kept from the first call", lambda draw: (_kept(glu, 1), (draw(6, 5), draw(5, 8)), None)),
        case("stale", "gaussian: variance kept from the first call", lambda draw: (_kept(gaussian, 1), (draw(25), draw(25)), None)),
        case("sign-flipped", "jax: segment sum", pulled(lambda x: jax.ops.segment_sum(x, jnp.arange(20) % 6, 6) ** 2, lambda d: (-d,), (20, 3))),
        case("permuted", "jax: fft shift", pulled(lambda x: jnp.abs(jnp.fft.fft(x)) ** 2, lambda d: (jnp.fft.fftshift(d),), (24,))),
        case("mask", "jax: clip", ruled(lambda x: jnp.clip(x, -1, 0.5), lambda g, x: (g,), (70,))),
    ]  # fmt: skip


def _spread(g: Tensor, x: Tensor, keep: Tensor) -> Tensor:
    """The dropped columns get the gradient of the first kept one."""
    d = g[:, :1].expand(x.shape).clone()
    d[:, keep] = g * (1 - x[:, keep].tanh() ** 2)
    return d


def _kept(forward: Forward, which: int) -> Any:
    saved: dict[str, Tensor] = {}

    def backward(g: Tensor, *inputs: Tensor) -> Any:
        used = list(inputs)
        used[which] = saved.setdefault("once", inputs[which].clone())
        return tuple(pulled_back(forward, used, g))

    return own(forward, backward)


def mixture(bug: str) -> Callable[[Drawn], Built]:
    """Log likelihood of a mixture of two Gaussians of unit variance, by the means."""

    def make(draw: Drawn) -> Built:
        x, mu = draw.array(50, 3), draw.array(4, 3)

        def densities(mu: Any) -> Any:
            return np.exp(-0.5 * ((x[:, None] - mu) ** 2).sum(-1))

        def gradient(mu: Any) -> Any:
            p = densities(mu)
            r = p / p.sum(0 if bug == "wrong axis" else 1, keepdims=True)
            if bug == "hard":
                r = (r == r.max(1, keepdims=True)) * 1.0
            g = -(r[:, :, None] * (x[:, None] - mu)).sum(0) / (1 if bug == "sum" else 50)
            return -g if bug == "negated" else g

        return (lambda mu: -np.log(densities(mu).sum(1)).mean()), (mu,), gradient

    return make


def nameless() -> list[NamedBug]:
    def one(name: str, make: Callable[[Drawn], Built], *vague: str) -> NamedBug:
        return case("not nameable", name, make, right=(), vague=vague)

    def low_row(d: Tensor) -> Tensor:
        d = d.clone()
        d[2] = d[2].float().to(d.dtype) if d.dtype is F64 else d[2].half().to(d.dtype)
        return d

    def fresh(seed: int, p: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda g, x: (
            g * (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) > p) / (1 - p)
        )

    def dropped(p: float) -> Forward:
        return lambda x: x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(77)) > p) / (1 - p)

    def glu_gate(g: Tensor, x: Tensor, w: Tensor) -> Any:
        a, b = (x @ w).chunk(2, -1)
        s = torch.sigmoid(b)
        d = torch.cat([g * s, g * a * s], -1)
        return d @ w.mT, x.mT @ d

    def norm_forgotten(g: Tensor, x: Tensor, v: Tensor, scale: Tensor) -> Any:
        dx, _, ds = pulled_back(weight_norm, (x, v, scale), g)
        return dx, x.mT @ g * scale / v.norm(dim=0), ds

    def exp_wrong(g: Tensor, a: Tensor) -> Tensor:
        return 0.3 * g @ matrix_exp(a).mT

    def logdet_wrong(g: Tensor, a: Tensor) -> Tensor:
        return 2 * g * torch.linalg.inv(a @ a.mT + torch.eye(len(a), dtype=a.dtype))

    def last_euler(g: Tensor, w: Tensor, x: Tensor) -> Any:
        dw, _ = pulled_back(euler, (w, x), g)
        return dw, g

    def inverse_root(g: Tensor, x: Tensor) -> Tensor:
        n = (x**2).sum(1, keepdim=True)
        return g / torch.sqrt(n + 1e-2) - x * (g * x).sum(1, keepdim=True) / n**1.5

    def gaussian_sd(g: Tensor, mu: Tensor, lv: Tensor) -> Any:
        return g * (mu - 1.5) * torch.exp(-0.5 * lv), g * 0.5 * (1 - (1.5 - mu) ** 2 * torch.exp(-lv))

    return [
        one("glu: derivative of the gate is the gate", written(glu, glu_gate, (8, 5), (5, 10))),
        one("weight norm: its projection forgotten", written(weight_norm, norm_forgotten, (9, 7), (7, 5), (5,)), "missing-term"),
        one("matrix exponential as if it commuted", written(matrix_exp, exp_wrong, (6, 6))),
        one("log det: inverse without the factor A", written(log_det, logdet_wrong, (5, 5))),
        one("euler: identity for its Jacobian", written(euler, last_euler, (5, 5), (8, 5)), "missing-term"),
        one("normalised rows: another eps in one place", written(lambda x: x / torch.sqrt((x**2).sum(1, keepdim=True)), inverse_root, (10, 6))),
        one("gaussian: standard deviation for variance", written(gaussian, gaussian_sd, (30,), (30,))),
        one("a row in float32", bent(squeeze_excite, changed(1, low_row), (2, 5, 4, 4), (5, 5)), "low-precision", "sparse"),
        one("a row in float16, float32", bent(glu, changed(1, low_row), (30, 8), (8, 16), dtype=F32), "low-precision", "sparse"),
        one("dropout of 0.1 on 30 numbers, another mask", written(dropped(0.1), fresh(5, 0.1), (30,)), "sparse"),
        one("dropout of 0.05 on 60 numbers, another mask", written(dropped(0.05), fresh(6, 0.05), (10, 6)), "sparse"),
        one("dropout of 0.2 on 1000 numbers, another mask", written(dropped(0.2), fresh(7, 0.2), (50, 20))),
        one("dropout of 0.5 on 20 numbers, another mask", written(dropped(0.5), fresh(8, 0.5), (4, 5)), "sparse"),
        one("gradient times a random number an element", bent(scan, changed(1, lambda d: d * torch.rand(d.shape, generator=torch.Generator().manual_seed(3), dtype=F64)), (6,), (3, 9, 6))),
        one("upstream clipped to 1", written(torch.sin, lambda g, x: g.clamp(-1, 1) * torch.cos(x), (80,)), "mask"),
        one("grid sample: nearest for bilinear", bent(sampled, lambda d, g, xs: d.__setitem__(0, pulled_back(lambda x: F.grid_sample(x, torch.tanh(xs[1]), mode="nearest", align_corners=False), (xs[0],), g)[0]), (1, 2, 6, 6), (1, 9, 9, 2))),
        case("missing-mean", "mixture: mean over the samples", mixture("sum"), number=50),
        case("sign-flipped", "mixture: x - mu", mixture("negated")),
        one("mixture: responsibilities over the wrong axis", mixture("wrong axis")),
        one("mixture: hard assignment", mixture("hard")),
        one("jax: sigmoid' of the output", ruled(jax.nn.sigmoid, lambda g, x: (g * jax.nn.sigmoid(jax.nn.sigmoid(x)),), (40,))),
        one("jax: logsumexp, max for softmax", ruled(lambda x: jax.nn.logsumexp(x, 1), lambda g, x: (g[:, None] * (x == x.max(1, keepdims=True)),), (8, 7))),
        one("jax: wrong saved array", ruled(lambda x, y: jnp.sin(x) * y, lambda g, x, y: (g * jnp.cos(y) * y, g * jnp.sin(x)), (20, 3), (20, 3))),
    ]  # fmt: skip


def cases() -> list[NamedBug]:
    return [*named(), *nameless()]
