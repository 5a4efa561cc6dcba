"""Wrong gradients that people reported in public, each rebuilt small beside its mended version.

The wrong ones are what the report describes, or its mechanism where the original is a GPU kernel. `report.build(wrong)` gives
``(f, inputs, gradient)`` in float64 for ``check_gradients(f, *inputs, gradient=gradient)``; every f computes in the precision that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .real_backward_bug import Built, normal


@dataclass(frozen=True, kw_only=True)
class Report:
    source: str
    build: Callable[[bool], Built]
    """The wrong code, or with False the mended."""
    at_fault: tuple[str, ...]
    """The tensors whose gradient is wrong: a check flags these and no other."""
    causes: tuple[str, ...] = ()
    """The names that are right for it; a check may always give none."""


def by_hand(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward(*inputs)`, differentiated by `backward(*upstream, *inputs)`."""

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx, *upstream):
            return backward(*upstream, *ctx.saved_tensors)

    return ByHand.apply


def pulled_back(forward: Callable[..., Any], inputs: tuple[Tensor, ...], *upstream: Tensor) -> Any:
    """What autograd makes of `forward`: one gradient an input."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        return torch.autograd.grad(forward(*leaves), leaves, upstream)


# Activations


def inverse_square_root_unit(wrong: bool) -> Built:
    """pytorch/pytorch#4355: backward gave the slope and forgot to multiply it with what came from above."""

    def steepness(x):
        return (1 + 0.7 * x.clamp(max=0).square()).rsqrt()

    unit = by_hand(
        lambda x: x * steepness(x), lambda d, x: steepness(x) ** 3 if wrong else d * steepness(x) ** 3
    )
    return lambda x: unit(x), (normal(8, 6),), None


def gelu_of_two_kinds(wrong: bool) -> Built:
    """harvard-edge/cs249r_book#1399: sigmoid(1.702 x) going forward, the slope of the tanh form going backward."""

    def quick(x):
        return x * torch.sigmoid(1.702 * x)

    def other(x):
        return F.gelu(x, approximate="tanh")

    gelu = by_hand(quick, lambda d, x: pulled_back(other if wrong else quick, (x,), d))
    return lambda x: gelu(x), (normal(16, 16),), None


def gelu_that_saturates(wrong: bool) -> Built:
    """tenstorrent/tt-metal#54868: from 3.17 on, the slope was taken for 1; that is off by less than a hundredth, in two elements here."""

    def backward(d, x):
        (right,) = pulled_back(F.gelu, (x,), d)
        return torch.where(x > 3.1719, d, right) if wrong else right

    x = normal(32, 32).clamp(max=3)
    x[5, 11], x[20, 2] = 3.2, 3.9
    gelu = by_hand(F.gelu, backward)
    return lambda x: gelu(x), (x,), None


def dropout_drawn_twice(wrong: bool) -> Built:
    """state-spaces/mamba#1023: going backward, the mask was drawn anew."""

    def draw(x):
        return torch.bernoulli(torch.full_like(x, 0.7)) / 0.7

    class Dropout(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            mask = draw(x)
            ctx.save_for_backward(x, w, mask)
            return w * x * mask

        @staticmethod
        def backward(ctx, d):
            x, w, mask = ctx.saved_tensors
            d = d * (draw(x) if wrong else mask)
            return d * w, (d * x).sum(0)

    return lambda x, w: Dropout.apply(x, w), (normal(10, 7), normal(7, seed=1)), None


# Layers and transforms


def layer_norm_of_three_axes(wrong: bool) -> Built:
    """flagos-ai/FlagGems#5392: (batch, step, width) was read as one row a sample, so a row ran over all of its steps."""

    def statistics(x):
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        return mean, (variance + 1e-5).rsqrt()

    def forward(x, w, b):
        mean, inverse = statistics(x)
        return (x - mean) * inverse * w + b

    def backward(d, x, w, b):
        n, width = x.shape[0] if wrong else x.shape[0] * x.shape[1], x.shape[-1]
        mean, inverse = (s.reshape(-1, 1)[:n] for s in statistics(x))
        rows, d = x.reshape(n, -1), d.reshape(n, -1)
        normed = (rows - mean) * inverse
        dn = d * F.pad(w, (0, rows.shape[1] - width))  # a kernel masks what it reads beyond the gains
        dx = inverse * (dn - dn.mean(-1, keepdim=True) - normed * (dn * normed).mean(-1, keepdim=True))
        return dx.reshape(x.shape), (d * normed).sum(0)[:width], d.sum(0)[:width]

    norm = by_hand(forward, backward)
    return lambda x, w, b: norm(x, w, b), (normal(3, 4, 5), 1 + normal(5, seed=1), normal(5, seed=2)), None


def convolution_to_many_channels(wrong: bool) -> Built:
    """pytorch/pytorch#114336, where torch's own check ran without end: 80 samples to 1024 channels.

    The bug is ours: the bias gets the gradient of the first sample alone.
    """

    def backward(d, x, w, b):
        each = d.sum((2, 3))
        dx, dw = torch.einsum("nohw,oi->nihw", d, w), torch.einsum("nohw,nihw->oi", d, x)
        return dx, dw, each[0] if wrong else each.sum(0)

    conv = by_hand(lambda x, w, b: torch.einsum("nihw,oi->nohw", x, w) + b[:, None, None], backward)
    return lambda x, w, b: conv(x, w, b), (normal(80, 1, 2, 2), normal(1024, 1), normal(1024, seed=1)), None


def fourier_transform(wrong: bool) -> Built:
    """HIPS/autograd#185: backward transformed once more instead of taking the adjoint."""

    def backward(d, x):
        return (torch.fft.fft(d) if wrong else torch.fft.ifft(d, norm="forward")).real

    transform = by_hand(torch.fft.fft, backward)
    return lambda x: transform(x), (normal(3, 16),), None


def wavelet_transform(wrong: bool) -> Built:
    """KeKsBoTer/torch-dwt#2, a doubt about a right transform in float32; the bug is ours: going back, the taps run the wrong way."""
    low = torch.tensor([1 + 3**0.5, 3 + 3**0.5, 3 - 3**0.5, 1 - 3**0.5], dtype=torch.float64) / 32**0.5
    taps = torch.stack([low, low.flip(0) * torch.tensor([1, -1, 1, -1])])[:, None]

    def backward(d, x):
        return F.conv_transpose1d(d, (taps.flip(-1) if wrong else taps).to(d), stride=2, padding=2)

    transform = by_hand(lambda x: F.conv1d(x, taps.to(x), stride=2, padding=2), backward)
    return lambda x: transform(x), (normal(1, 1, 12),), None


def filter_with_a_state(wrong: bool) -> Built:
    """fla-org/flash-linear-attention#568: the gradient of a causal filter's taps began from zeros where the signal began from a state."""

    def windows(x, state):
        return torch.cat([state, x]).unfold(0, 4, 1)  # [step, channel, tap]

    def backward(d, x, w, state):
        seen = windows(x, torch.zeros_like(state) if wrong else state)
        whole = torch.zeros_like(torch.cat([state, x]))
        for tap in range(4):
            whole[tap : tap + len(x)] += d * w[tap]
        return whole[len(state) :], torch.einsum("sc,sck->kc", d, seen), whole[: len(state)]

    causal = by_hand(lambda x, w, state: torch.einsum("sck,kc->sc", windows(x, state), w), backward)
    return (
        lambda x, w, state: causal(x, w, state),
        (normal(12, 3), normal(4, 3, seed=1), normal(3, 3, seed=2)),
        None,
    )


def attention_that_shows_its_weights(wrong: bool) -> Built:
    """pytorch/pytorch#60877: of two outputs, only the first one's gradient went back."""

    def forward(q, k, v):
        weights = (q @ k.T).softmax(-1)
        return weights @ v, weights

    def backward(d, d_weights, q, k, v):
        weights = (q @ k.T).softmax(-1)
        dp = d @ v.T if wrong else d @ v.T + d_weights
        ds = weights * (dp - (weights * dp).sum(-1, keepdim=True))
        return ds @ k, ds.T @ q, weights.T @ d

    attention = by_hand(forward, backward)
    return (
        lambda q, k, v: attention(q, k, v),
        (normal(4, 3), normal(5, 3, seed=1), normal(5, 6, seed=2)),
        None,
    )


def splats_in_a_row(wrong: bool) -> Built:
    """ashawkey/diff-gaussian-rasterization#7: a depth was rendered beside the colour, and nothing went back to the depths of the points."""

    def forward(opacity, colour, depth):
        passed = torch.cat([torch.ones_like(opacity[:1]), (1 - opacity).cumprod(0)[:-1]])
        return (opacity * passed).T @ colour, (opacity * passed).T @ depth

    def backward(d_colour, d_depth, *inputs):
        *rest, of_depth = pulled_back(forward, inputs, d_colour, d_depth)
        return *rest, torch.zeros_like(of_depth) if wrong else of_depth

    render = by_hand(forward, backward)
    points = normal(7, 9).sigmoid(), normal(7, 3, seed=1), 1 + normal(7, seed=2).abs()
    return lambda opacity, colour, depth: render(opacity, colour, depth), points, None


# Indices and losses


def products_of_segments(wrong: bool) -> Built:
    """pytorch/pytorch#76523: the product divided by the entry, and 0 where the entry is 0: there it is the product of the others."""
    segment = torch.arange(30) * 7 % 8
    others = (segment == segment[:, None]) & ~torch.eye(30, dtype=torch.bool)

    def product(x):
        return torch.where(segment == torch.arange(8)[:, None], x, x.new_ones(())).prod(-1)

    def backward(d, x):
        if wrong:
            return torch.where(x == 0, 0, d[segment] * product(x)[segment] / torch.where(x == 0, 1, x))
        return d[segment] * torch.where(others, x, x.new_ones(())).prod(-1)

    x = normal(30)
    x[[4, 17]] = 0.0
    products = by_hand(product, backward)
    return lambda x: products(x), (x,), None


def likelihood_with_a_sentinel(wrong: bool) -> Built:
    """flagos-ai/FlagGems#5025: an ignored row of label -1 stored its zero one place before its row, over the last class of the row above."""
    labels = torch.tensor([0, 4, -1, 2, 4, -1, 3, 1])
    kept = labels >= 0

    def backward(d, scores):
        out = torch.zeros_like(scores)
        out[kept, labels[kept]] = -d / kept.sum()
        if wrong:
            out.view(-1)[torch.arange(8)[~kept] * 5 - 1] = 0
        return out

    loss = by_hand(lambda scores: -scores[kept, labels[kept]].mean(), backward)
    return lambda scores: loss(scores), (normal(8, 5).log_softmax(-1),), None


def loss_that_knows_its_inputs(wrong: bool) -> Built:
    """pytorch/pytorch#52241 and #181534: torch's CTC loss differentiates by the logits that its log-probabilities are taken to come from.

    Wrong is to ask it for the gradient by the log-probabilities, mended is to let it have the logits.
    """
    words = torch.tensor([[1, 2]])

    def f(scores):
        return F.ctc_loss(scores if wrong else scores.log_softmax(-1), words, (6,), (2,))

    scores = normal(6, 1, 4)
    return f, (scores.log_softmax(-1) if wrong else scores,), None


def box_with_open_sides(wrong: bool) -> Built:
    """bytedance/Protenix#336: how far x lies beyond a bound of infinity is infinite, and ``where`` hides that going forward alone."""
    above = torch.tensor([2.0, 1.5, torch.inf, 2.5, torch.inf, 2.0, 1.0, 3.0])

    def f(x):
        over = x - above.to(x)
        over = over if wrong else over.clamp(min=0)
        return (torch.where(x > above, over.square(), 0) + (1 - x).clamp(min=0).square()).sum()

    return f, (1.5 + normal(8),), None


# JAX


def norm_through_singular_values(wrong: bool) -> Built:
    """jax-ml/jax#8732: equal singular values have no derivative of their vectors, though what is put together from both has one."""
    import jax.numpy as jnp

    def f(a):
        if not wrong:
            return jnp.sqrt((a**2).sum())
        left, values, right = jnp.linalg.svd(a)
        return jnp.linalg.norm(left * values @ right)

    return f, (jnp.diag(jnp.array([1.0, 1.0, 2.0, 3.0])),), None


def scan_that_drops_its_sequence(wrong: bool) -> Built:
    """jax-ml/jax#753: zeros for what a scan runs over, in reverse mode."""
    import jax
    import jax.numpy as jnp

    def run(start, steps):
        def step(state, given):
            state = jnp.tanh(state + 0.7 * given)
            return state, state

        return jax.lax.scan(step, start, steps)[1]

    def backward(inputs, d):
        of_start, of_steps = jax.vjp(run, *inputs)[1](d)
        return of_start, jnp.zeros_like(of_steps)

    ruled = jax.custom_vjp(run)
    ruled.defvjp(lambda *inputs: (run(*inputs), inputs), backward)
    points = jnp.asarray(0.3), jnp.linspace(-1, 1, 6)
    return (lambda start, steps: ruled(start, steps)) if wrong else run, points, None


# NumPy, with gradients from paper


def output_taken_for_the_loss(wrong: bool) -> Built:
    """stats.stackexchange.com/questions/188678: the gradient is the loss's, and the differences were taken of the model's output."""
    x, target = np.array([1.0, 0.0]), 0.1

    def output(w):
        return x.astype(w.dtype) @ w + w.dtype.type(0.54)

    def loss(w):
        return (target - output(w)) ** 2 / 2

    return (
        (lambda w: output(w)) if wrong else loss,
        (np.array([0.34, 0.56]),),
        lambda w: (output(w) - target) * x,
    )


def relu_masked_by_its_output(wrong: bool) -> Built:
    """prachub.com/questions/3244: the mask asks where the output is negative, and it never is."""
    rng = np.random.default_rng(5)
    rows, labels = rng.normal(size=(11, 4)), np.arange(11) % 3

    def through(w1, b1, w2, b2):
        before = rows.astype(w1.dtype) @ w1 + b1
        after = np.maximum(before, 0)
        scores = after @ w2 + b2
        shares = np.exp(scores - scores.max(1, keepdims=True))
        return before, after, shares / shares.sum(1, keepdims=True)

    def loss(w1, b1, w2, b2):
        shares = through(w1, b1, w2, b2)[-1]
        return -np.mean(np.log(shares[np.arange(11), labels]))

    def gradient(w1, b1, w2, b2):
        before, after, shares = through(w1, b1, w2, b2)
        d = (shares - np.eye(3)[labels]) / 11
        dh = np.where((after if wrong else before) < 0, 0, d @ w2.T)
        return rows.T @ dh, dh.sum(0), after.T @ d, d.sum(0)

    points = tuple(rng.normal(size=shape) * 0.5 for shape in ((4, 6), (6,), (6, 3), (3,)))
    return loss, points, gradient


REPORTS = (
    Report(source="pytorch/pytorch#4355", build=inverse_square_root_unit, at_fault=("x",)),
    Report(source="harvard-edge/cs249r_book#1399", build=gelu_of_two_kinds, at_fault=("x",)),
    Report(
        source="tenstorrent/tt-metal#54868",
        build=gelu_that_saturates,
        at_fault=("x",),
        causes=("sparse", "mask"),
    ),
    Report(
        source="state-spaces/mamba#1023",
        build=dropout_drawn_twice,
        at_fault=("x", "w"),
        causes=("mask",),
    ),
    Report(
        source="flagos-ai/FlagGems#5392",
        build=layer_norm_of_three_axes,
        at_fault=("x", "w", "b"),
        causes=("accumulate",),
    ),
    Report(
        source="pytorch/pytorch#114336",
        build=convolution_to_many_channels,
        at_fault=("b",),
        causes=("accumulate", "scaled", "missing-mean"),
    ),
    Report(source="HIPS/autograd#185", build=fourier_transform, at_fault=("x",), causes=("permuted",)),
    Report(source="KeKsBoTer/torch-dwt#2", build=wavelet_transform, at_fault=("x",), causes=("permuted",)),
    Report(
        source="fla-org/flash-linear-attention#568",
        build=filter_with_a_state,
        at_fault=("w",),
        causes=("missing-term",),
    ),
    Report(
        source="pytorch/pytorch#60877",
        build=attention_that_shows_its_weights,
        at_fault=("q", "k"),
        causes=("missing-term",),
    ),
    Report(
        source="ashawkey/diff-gaussian-rasterization#7",
        build=splats_in_a_row,
        at_fault=("depth",),
        causes=("zero",),
    ),
    Report(
        source="pytorch/pytorch#76523",
        build=products_of_segments,
        at_fault=("x",),
        causes=("sparse", "mask"),
    ),
    Report(
        source="flagos-ai/FlagGems#5025",
        build=likelihood_with_a_sentinel,
        at_fault=("scores",),
        causes=("sparse", "mask"),
    ),
    Report(source="pytorch/pytorch#52241", build=loss_that_knows_its_inputs, at_fault=("scores",)),
    Report(
        source="bytedance/Protenix#336", build=box_with_open_sides, at_fault=("x",), causes=("not-finite",)
    ),
    Report(
        source="jax-ml/jax#8732",
        build=norm_through_singular_values,
        at_fault=("a",),
        causes=("not-finite",),
    ),
    Report(
        source="jax-ml/jax#753", build=scan_that_drops_its_sequence, at_fault=("steps",), causes=("zero",)
    ),
    Report(
        source="stats.stackexchange.com/questions/188678",
        build=output_taken_for_the_loss,
        at_fault=("w",),
        causes=("scaled", "sign-flipped", "missing-term"),
    ),
    Report(
        source="prachub.com/questions/3244",
        build=relu_masked_by_its_output,
        at_fault=("w1", "b1"),
        causes=("mask",),
    ),
)
