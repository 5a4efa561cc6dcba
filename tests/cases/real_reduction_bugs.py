"""Losses, sums and averages over tokens, ranks and segments that were differentiated as something else."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .real_backward_bug import Built, RealBug, normal


def fused_linear_cross_entropy(wrong: bool, *, uniform: bool = False, ignored: bool = False) -> Built:
    """Liger-Kernel#1298 and #968: with ``reduction="none"`` every token's gradient was scaled with the first token's cotangent.

    The forward pass had already summed the weight's gradient over the tokens, so one number was all that backward could multiply it with. Where
    the first token is an ignored label, that number is 0 and so is the whole gradient.
    """
    labels = torch.tensor([3, 0, 4, 4, 1, 2, 0])
    weights = torch.ones(7) if uniform else torch.tensor([1.0, 0.2, 0.0, 2.0, 0.5, 1.0, 3.0])
    if ignored:
        labels[0], weights[0] = -100, 0.0

    class LinearCrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, hidden, head):
            logits = hidden @ head.t()
            d = logits.softmax(-1)
            kept = labels >= 0
            d[kept, labels[kept]] -= 1
            d[~kept] = 0
            ctx.save_for_backward(d, hidden, head)
            return F.cross_entropy(logits, labels, reduction="none")

        @staticmethod
        def backward(ctx, upstream):
            d, hidden, head = ctx.saved_tensors
            if wrong:
                return upstream[0] * (d @ head), upstream[0] * (d.t() @ hidden)
            d = d * upstream[:, None]
            return d @ head, d.t() @ hidden

    def loss(hidden, head):
        return (LinearCrossEntropy.apply(hidden, head) * weights.to(hidden.dtype)).sum() / 7

    return loss, (normal(7, 6), normal(5, 6, seed=1)), None


def gradient_accumulation(wrong: bool, *, even: bool = False) -> Built:
    """huggingface/transformers#34191: micro-batches of unequal token counts were averaged as if they were equal.

    The loss is the mean over all tokens of the batch; accumulation gave the mean of the micro-batches' own means.
    """
    lengths = [8, 8, 8] if even else [14, 3, 7]
    tokens = normal(sum(lengths), 5)
    labels = torch.arange(sum(lengths)) % 4

    class Accumulated(torch.autograd.Function):
        @staticmethod
        def forward(ctx, head, bias):
            ctx.save_for_backward(head, bias)
            return F.cross_entropy(tokens.to(head.dtype) @ head + bias, labels)

        @staticmethod
        def backward(ctx, upstream):
            leaves = [p.detach().requires_grad_() for p in ctx.saved_tensors]
            for x, y in zip(tokens.to(leaves[0].dtype).split(lengths), labels.split(lengths), strict=True):
                share = 1 / len(lengths) if wrong else len(y) / len(labels)
                with torch.enable_grad():
                    (F.cross_entropy(x @ leaves[0] + leaves[1], y) * share).backward()
            return tuple(upstream * p.grad for p in leaves)

    return lambda head, bias: Accumulated.apply(head, bias), (normal(5, 4, seed=1), normal(4, seed=2)), None


def data_parallel(wrong: bool) -> Built:
    """verl-project/verl#7493 (the symptom of pytorch#98501, gradients under sharding unlike those of DDP): ranks did not synchronise.

    Each rank kept the gradient of its own rows. The loss is the mean over two ranks.
    """
    x, y = normal(8, 4), normal(8, 3, seed=1)
    x[4:] *= 2

    class Ranks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w):
            ctx.save_for_backward(w)
            return F.mse_loss(x.to(w.dtype) @ w, y.to(w.dtype))

        @staticmethod
        def backward(ctx, upstream):
            (w,) = ctx.saved_tensors
            residual = (x.to(w.dtype) @ w - y.to(w.dtype)) * 2 / (4 * 3)
            ranks = [x.to(w.dtype)[r].t() @ residual[r] for r in (slice(0, 4), slice(4, 8))]
            return upstream * (ranks[0] if wrong else (ranks[0] + ranks[1]) / 2)

    return lambda w: Ranks.apply(w), (normal(4, 3, seed=2),), None


def product_without_cotangent(wrong: bool) -> Built:
    """pytorch#995 (and #11750, in the CTC loss): the backward pass of a product ignored its cotangent, so ``-x.prod()`` lost its sign."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.prod()

        @staticmethod
        def backward(ctx, upstream):
            (x,) = ctx.saved_tensors
            return x.prod() / x if wrong else upstream * x.prod() / x

    return lambda x: -Product.apply(x), (torch.tensor([2.0, 3.0, 0.5], dtype=torch.float64),), None


def segment_sum(wrong: bool, *, in_range: bool = False) -> Built:
    """google/jax#7538: rows of segment -1 are dropped going forward, and the gather going backward wraps to the last segment."""
    segments = np.array([0, 2, 1, 2, 0, 1, 2]) if in_range else np.array([0, 2, -1, 2, 0, -1, 1])
    kept = segments >= 0
    targets = np.random.default_rng(1).normal(size=(3, 4))

    def sums(x):
        out = np.zeros((3, 4))
        np.add.at(out, segments[kept], x[kept])
        return out

    def gradient(x):
        d = (sums(x) - targets)[segments]
        return d if wrong else d * kept[:, None]

    return (
        lambda x: 0.5 * np.sum((sums(x) - targets) ** 2),
        (np.random.default_rng(0).normal(size=(7, 4)),),
        gradient,
    )


BUGS = (
    RealBug(
        name="fused linear cross entropy, weighted tokens",
        issue="Liger-Kernel#1298",
        build=fused_linear_cross_entropy,
        at_fault=("hidden", "head"),
        flattering=lambda wrong: fused_linear_cross_entropy(wrong, uniform=True),
    ),
    RealBug(
        name="fused linear cross entropy, first token ignored",
        issue="Liger-Kernel#968",
        build=lambda wrong: fused_linear_cross_entropy(wrong, ignored=True),
        at_fault=("hidden", "head"),
    ),
    RealBug(
        name="mean of micro-batch means",
        issue="transformers#34191",
        build=gradient_accumulation,
        at_fault=("head", "bias"),
        flattering=lambda wrong: gradient_accumulation(wrong, even=True),
    ),
    RealBug(name="ranks that do not synchronise", issue="verl#7493", build=data_parallel, at_fault=("w",)),
    RealBug(
        name="product without its cotangent",
        issue="pytorch#995",
        build=product_without_cotangent,
        at_fault=("x",),
    ),
    RealBug(
        name="segments out of range",
        issue="jax#7538",
        build=segment_sum,
        at_fault=("x",),
        flattering=lambda wrong: segment_sum(wrong, in_range=True),
    ),
)
