"""What to look at next, for each bug that a gradient check can name and each reason for which it cannot tell."""

from __future__ import annotations

import math

from ..gradcheck.result import CauseName, GradientCheck, ReasonCode, TensorCheck

BY_CAUSE: dict[CauseName, str] = {
    "sign-flipped": "what is subtracted the wrong way round: the residual `y-target` against `target-y`, "
    "or a loss that is maximised here and minimised there",
    "scaled": "a constant factor: the 2 of a square, the 1/2 of a halved square, a temperature, a loss scale, "
    "a sum where the forward pass takes a mean over m (a factor m)",
    "missing-mean": "where the loss divides by m: a mean in forward is one division by m in backward",
    "not-finite": "0·inf: in `where(mask, f(x), 0)` the branch that is not taken is differentiated too, so mask its input as well; "
    "sqrt, norm, log or a power at 0: add an epsilon inside; equal eigenvalues or singular values; a difference of infinite bounds",
    "zero": "`.detach()`, `no_grad()`, `.data`, `.item()` or `stop_gradient` on the way to the loss; a `None` or a "
    "buffer never written that backward returns",
    "transposed": "the matrix products: for `z=a@W` the gradient of W is `a.T@dz`, and that of a is `dz@W.T`; "
    "a reshape in place of a transpose",
    "permuted": "indices: a roll, a flip, the axis of a split or join, gather against scatter, the order in which "
    "gradients are returned",
    "missing-term": "every path from this tensor to the loss: the second term of a product rule, a skip connection, "
    "a statistic such as a mean that depends on it too",
    "missing-l2": "add λ times the parameter to its gradient, or take the penalty out of the loss where the optimizer decays",
    "low-precision": "casts such as `.half()`, `.bfloat16()` or autocast: sum in float32, and round once at the end",
    "sparse": "indexing at these elements: the ends of ranges, padding, borders, repeated indices",
    "accumulate": "`=` where `+=` belongs: a tensor used several times gets the sum of its gradients; for repeated "
    "indices use `index_add_`, not `g[i]=d`",
    "stale": "what backward reads: it must be what this very call of forward saved on ctx, not a cache, a global, or a "
    "tensor that was changed in place since",
    "mask": "the condition in backward against forward's: its sign, `>` against `>=`, before or after the activation, "
    "the last sample, a mask drawn anew",
}  # fmt: skip

UNNAMED = (
    "work one element out by hand and follow it through backward; another seed, such as seed=1, must show the "
    "error again"
)

BY_REASON: dict[ReasonCode, str] = {
    "random-backward": "draw in forward what both passes use, and save it on ctx: a mask that backward draws again is another one",
    "random-function": "make two calls agree: draw from torch's, NumPy's or Python's global generators, which are fixed for every "
    "evaluation; torch.use_deterministic_algorithms(True); no state kept between calls",
    "kink": "move the inputs off the kink, say by a hundredth of their size, and check again",
}
"""The first is for checks that failed, the others are for those that are inconclusive."""
COARSEST = 0.9
"""A resolution above this tells next to nothing, and is not worth asking for."""

IN_LOW_PRECISION = (
    "let it run in float64: inputs and parameters in float64, and no `.float()` or fixed dtype inside; else return one "
    "loss a sample rather than their mean, or accept less with a larger resolution="
)
IN_FLOAT64 = (
    "check the tensors that are not resolved alone, at inputs where f neither saturates nor overflows; or accept less "
    "with a larger resolution="
)


def next_step(check: GradientCheck, tensor: TensorCheck | None) -> str:
    """What to look at, for the tensor that stands at the head of the report; empty when all passed."""
    if check.verdict == "pass":
        return ""
    codes = {r.code for r in check.reasons}
    if check.verdict == "fail":
        if "random-backward" in codes:
            return BY_REASON["random-backward"]
        cause = check.cause or (tensor and tensor.cause)
        return BY_CAUSE[cause] if cause else UNNAMED
    for code in ("random-function", "kink"):
        if code in codes:
            return BY_REASON[code]
    advice = IN_FLOAT64 if check.precision.startswith("float64") else IN_LOW_PRECISION
    return advice + (
        f", such as resolution={attainable(check.resolution)}" if check.resolution < COARSEST else ""
    )


def attainable(resolution: float) -> str:
    """The resolution that this run reached, rounded up to two digits.

    Examples
    --------
    >>> attainable(0.2424), attainable(0.0111)
    ('0.25', '0.012')
    """
    unit = 10.0 ** (math.floor(math.log10(resolution)) - 1)
    return f"{math.ceil(resolution / unit) * unit:.2g}"
