"""why_meant: a backward pass that is another thing than the derivative on purpose is told from one that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wellposed.gradcheck import check_custom_functions
from wellposed.gradcheck.result import CustomBackward


def function(forward, backward):
    return type(
        "Made",
        (torch.autograd.Function,),
        {"forward": staticmethod(forward), "backward": staticmethod(backward)},
    )


def entry_of(forward, backward, *more) -> CustomBackward:
    made: Any = function(forward, backward)
    x = torch.randn(24, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (entry,) = check_custom_functions(lambda: (made.apply(x, *more) - 0.3).square().mean()).entries
    assert entry.check is not None
    assert entry.check.verdict != "pass"
    return entry


def through(ctx, g):
    return g


def to_integers_of(bits, axis=None):
    def quantised(ctx, x):
        largest = x.abs().amax() if axis is None else x.abs().amax(axis, keepdim=True)
        step = largest / (2 ** (bits - 1) - 1)
        return (x / step).round() * step

    return quantised


def kept(ctx, x):
    ctx.save_for_backward(x)
    return x


SURROGATES = {
    "reversal": (lambda ctx, x: x.view_as(x), lambda ctx, g: -g, "identity"),
    "clipping": (lambda ctx, x: x.clone(), lambda ctx, g: g.clamp(-1e-4, 1e-4), "identity"),
    "rounding": (lambda ctx, x: (4 * x).round(), lambda ctx, g: 4 * g, "step function"),
    "sign": (lambda ctx, x: x.sign(), through, "step function"),
    "spike": (
        lambda ctx, x: (kept(ctx, x) > 0.5).float(),
        lambda ctx, g: g / (1 + ctx.saved_tensors[0] ** 2),
        "step function",
    ),
    "fp8": (lambda ctx, x: x.to(torch.float8_e4m3fn).to(x.dtype), through, "step function"),
    "int8": (to_integers_of(8), through, "moves in steps"),
    "int4 by row": (to_integers_of(4, axis=1), through, "moves in steps"),
    "clamp": (lambda ctx, x: x.clamp(-1, 1), through, "within bounds"),
    "lower bound": (lambda ctx, x: x.clamp(min=0.2), through, "within bounds"),
}


@pytest.mark.parametrize(("forward", "backward", "said"), SURROGATES.values(), ids=SURROGATES)
def test_a_surrogate_is_told_by_what_its_forward_pass_does(forward, backward, said):
    assert said in entry_of(forward, backward).deliberate


def test_an_identity_that_hands_its_gradient_to_another_input_is_meant():
    aux = torch.ones(1, requires_grad=True)
    entry = entry_of(lambda ctx, x, aux: x.view_as(x), lambda ctx, g: (g, torch.ones(1)), aux)
    assert "identity" in entry.deliberate


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e5m2], ids=str)
def test_a_backward_pass_that_rounds_its_gradient_is_meant(dtype):
    rounded = lambda ctx, g: 2 * ctx.saved_tensors[0] * g.to(dtype).to(g.dtype)  # noqa: E731
    assert "rounded on purpose" in entry_of(lambda ctx, x: kept(ctx, x) ** 2, rounded).deliberate


def a_residual_of_zero(ctx, x, scale):
    ctx.save_for_backward(x)
    return x + scale * x.tanh()


MISTAKES = {
    "a forgotten mask": (lambda ctx, x: x.relu(), through, ()),
    "a factor": (lambda ctx, x: kept(ctx, x) ** 2, lambda ctx, g: g * ctx.saved_tensors[0], ()),
    "a factor close to one": (
        lambda ctx, x: kept(ctx, x).sin(),
        lambda ctx, g: 1.05 * g * ctx.saved_tensors[0].cos(),
        (),
    ),
    "a factor very close to one": (
        lambda ctx, x: kept(ctx, x) ** 2,
        lambda ctx, g: 2.002 * g * ctx.saved_tensors[0],
        (),
    ),
    "one row": (
        lambda ctx, x: kept(ctx, x) ** 2,
        lambda ctx, g: (2 * g * ctx.saved_tensors[0]).index_fill(0, torch.tensor([3]), 0.0),
        (),
    ),
    "an identity here alone": (
        a_residual_of_zero,
        lambda ctx, g: (g, (0.5 * g * ctx.saved_tensors[0].tanh()).sum().reshape(1)),
        (torch.zeros(1, requires_grad=True),),
    ),
    "a dead rectifier": (lambda ctx, x: (x - 9).relu(), through, ()),
    "few live outputs": (
        lambda ctx, x: torch.where(torch.arange(16) == 3, kept(ctx, x) ** 2, torch.zeros(())),
        lambda ctx, g: g * ctx.saved_tensors[0],
        (),
    ),
}


@pytest.mark.parametrize(("forward", "backward", "more"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_not_taken_for_a_surrogate(forward, backward, more):
    assert entry_of(forward, backward, *more).deliberate == ""
