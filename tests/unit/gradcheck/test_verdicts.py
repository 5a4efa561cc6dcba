"""check_gradients where a verdict is easily wrong: no silent pass, no false alarm, no wrong name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.errors import ArgumentError
from wellposed.gradcheck.directions import SHOWN, random_direction


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def bent(forward, backward):
    """A torch function of one tensor with this backward pass."""

    class Bent(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx, g):
            return backward(ctx.saved_tensors[0], g)

    return Bent.apply


@pytest.mark.parametrize("errors", [(1,), (1, 1), (1, -1), (1, 1, 1), (2, 1, 1), tuple([1] * 30)])
@pytest.mark.parametrize("directions", SHOWN)
def test_an_error_of_any_shape_shows_along_random_directions(errors, directions):
    size = np.linalg.norm(errors)
    trials = 4000
    shape = (trials, directions, len(errors))
    u = random_direction((0,), [shape], (1.0,), (directions, len(errors))).move(0)
    seen = np.sqrt(np.mean(np.square(u @ np.array(errors)), axis=1)) / size
    # 1 % of the trials may lie below, and of 4000 trials that share itself varies by 0.16 %.
    assert np.mean(seen < SHOWN[directions]) <= 0.01 + 3 * 0.0016


@pytest.mark.parametrize(("dtype", "factor"), [(torch.bfloat16, 0.7), (torch.float16, 0.9)])
def test_a_bug_of_one_precision_is_not_hidden_by_the_replay(dtype, factor):
    kernel = bent(torch.tanh, lambda x, g: g * (1 - x.tanh() ** 2) * (factor if x.dtype == dtype else 1.0))
    check = wp.check_gradients(kernel, draw(40, 10, dtype=dtype))
    assert check.verdict != "pass"
    assert check.low_precision_error == pytest.approx(abs(factor - 1), rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_comes_from_above_is_not_rounded_unseen(dtype):
    rounding = bent(torch.sin, lambda x, g: g.bfloat16().to(g.dtype) * x.cos())
    check = wp.check_gradients(rounding, draw(20, 10, dtype=dtype))
    assert check.verdict == "fail"
    assert 1e-4 < check.relative_error < 1e-2


def test_a_small_gradient_is_not_a_zero_one():
    doubled = bent(lambda b: b**2, lambda b, g: 4 * g * b)
    a, b = draw(20, dtype=torch.float32), draw(20, dtype=torch.float32, seed=1)
    check = wp.check_gradients(lambda a, b: (a**2).sum() + 2e-6 * doubled(b).sum(), a, b, replay=False)
    assert check.verdict != "pass"


def test_a_gradient_at_ties_must_lie_between_the_slopes_to_both_sides():
    x = draw(50) * (torch.arange(50) % 2)
    wrong = bent(F.relu, lambda x, g: g * torch.where(x == 0, 5.0, (x > 0).double()))
    assert wp.check_gradients(F.relu, x)
    assert wp.check_gradients(wrong, x).verdict != "pass"


def test_a_proven_error_above_what_was_asked_for_is_no_trifle():
    w = np.array([0.5, -1.0, 2.0])
    slightly = 3 * w**2 * (1 + 5e-8)
    assert wp.check_gradients(lambda w: np.sum(w**3), w, gradient=slightly)
    assert not wp.check_gradients(lambda w: np.sum(w**3), w, gradient=slightly, resolution=1e-9)


def test_a_loss_that_ignores_what_comes_from_above_fails():
    deaf = bent(lambda x: (x**2).sum(), lambda x, g: 2 * x)
    check = wp.check_gradients(deaf, draw(4, 5))
    assert check.verdict == "fail"
    assert "ignores the gradient that comes from above" in check.detail


def test_a_forgotten_derivative_is_not_called_stale():
    assert wp.check_gradients(bent(torch.tanh, lambda x, g: g), draw(8, 10)).cause is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_the_first_call_left_behind_is_met_beside_the_point(dtype):
    kept = {}
    stale = bent(torch.sin, lambda x, g: g * kept.setdefault("slope", x.cos().clone()))
    assert wp.check_gradients(stale, draw(8, 10, dtype=dtype)).verdict == "fail"


def test_an_output_that_is_declared_to_have_no_gradient_is_left_out():
    class WithStatistic(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            largest = x.max(-1)[0].clone()
            ctx.mark_non_differentiable(largest)
            return x.sin(), largest

        @staticmethod
        def backward(ctx, g, _):
            return g * ctx.saved_tensors[0].cos()

    check = wp.check_gradients(WithStatistic.apply, draw(4, 5))
    assert check
    assert "left out" in check.detail


def test_parameters_that_a_function_brings_along_are_told():
    model = nn.Linear(5, 2).double()
    check = wp.check_gradients(lambda x: model(x).square().mean(), draw(4, 5))
    assert check
    assert "2 more tensors that require a gradient" in check.detail


def test_a_mask_of_infinities_is_a_constant():
    q, k, v = (draw(2, 5, 4, seed=s) for s in range(3))
    mask = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1)
    check = wp.check_gradients(
        lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask), q, k, v, mask
    )
    assert check
    assert "mask holds infinities" in check.detail


def test_where_some_inputs_require_a_gradient_the_others_are_constants():
    p, t = draw(6, 3).requires_grad_(), (draw(6, 3, seed=1) > 0).double()
    check = wp.check_gradients(lambda p, t: F.binary_cross_entropy(torch.sigmoid(p), t), p, t)
    assert check
    assert [tensor.name for tensor in check.tensors] == ["p"]


def test_the_padding_row_of_an_embedding_stays_where_it_is_and_that_is_told():
    tokens = torch.tensor([[0, 4, 4], [1, 2, 0]])

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(9, 6, padding_idx=0).double()

        def forward(self, tokens):
            return self.embedding(tokens).tanh() @ self.embedding.weight.T

    for model in (nn.Embedding(9, 6, padding_idx=0).double(), Tied()):
        check = wp.check_gradients(model, tokens)
        assert check
        assert "is padding" in check.detail


def test_spectral_norm_before_its_vectors_have_come_to_rest_is_no_alarm_and_no_pass():
    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 16)), nn.Tanh()).double()
    check = wp.check_gradients(model, draw(4, 8))
    assert check.verdict == "inconclusive"
    assert "come to rest" in check.detail
    assert wp.check_gradients(model.eval(), draw(4, 8))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x.bfloat16() ** 2).float(),
        lambda x: x.half().sin().float(),
        lambda x: (x.bfloat16() @ x.bfloat16().mT).to(x.dtype),
        lambda x: (x @ x.mT).bfloat16().softmax(-1).to(x.dtype),
    ],
    ids=["bfloat16", "float16", "matmul", "softmax"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_staircase_inside_is_no_alarm(f, dtype):
    for seed in range(8):
        assert wp.check_gradients(f, draw(8, 8, dtype=dtype, seed=seed), seed=seed).verdict != "fail"


def test_a_wrong_gradient_does_not_hide_on_a_stair_of_float32():
    detached = bent(
        lambda x: (x.float() * (x.float().square().mean(-1, keepdim=True) + 1e-6).rsqrt()).to(x.dtype),
        lambda x, g: torch.zeros_like(g),
    )
    for seed in range(6):
        x = draw(8, 16, dtype=torch.float32, seed=seed)
        assert wp.check_gradients(lambda x: x + detached(x), x, seed=seed).verdict != "pass"


ROUNDED = {
    "float32": lambda v: v.astype(np.float32).astype(float),
    "six decimals": lambda v: np.round(v, 6),
}


@pytest.mark.parametrize("size", [1, 3, 20])
@pytest.mark.parametrize("rounded", ROUNDED.values(), ids=ROUNDED)
def test_a_forgotten_term_does_not_hide_on_stairs_wider_than_the_steps(rounded, size):
    for seed in range(6):
        x = 2 * np.random.default_rng(seed).normal(size=size)

        def f(x):
            return float(np.sum(rounded(10 + np.sin(x))) + np.sum(x * x))

        if np.linalg.norm(np.cos(x)) < 0.05 * np.linalg.norm(2 * x):
            continue
        assert wp.check_gradients(f, x, gradient=2 * x, seed=seed).verdict != "pass"
        assert wp.check_gradients(f, x, gradient=2 * x + np.cos(x), seed=seed).verdict != "fail"


@pytest.mark.parametrize("frequency", [20, 200, 1000, 5000])
def test_waves_are_no_stairs(frequency):
    for seed in range(4):
        x = draw(50, seed=seed)
        assert wp.check_gradients(lambda x: x + 0.3 * torch.sin(frequency * x), x, seed=seed)


def beside_a_large_one(part, wrong):
    """A function with one gradient of order 1 and four that are `part` of it and less."""
    doubled = bent(torch.sin, lambda x, g: wrong(g * x.cos()))

    def f(a, b, c, d, e):
        small = doubled(b).pow(2).sum() + 0.1 * c.tanh().sum() + 0.01 * d.exp().sum() + 1e-3 * (e**3).sum()
        return (a**2).sum() + part * small

    return f


def element_flipped(g):
    g = g.clone()
    g[4, 1] *= -1
    return g


@pytest.mark.parametrize(("part", "passes"), [(1e-2, 40), (1e-4, 80), (1e-6, 130), (1e-8, 300)])
def test_small_gradients_are_told_beside_large_ones(part, passes):
    for seed in range(2):
        tensors = [draw(20, seed=seed), *(draw(8, 9, seed=seed + k) for k in range(1, 5))]
        right = wp.check_gradients(beside_a_large_one(part, lambda g: g), *tensors, seed=seed)
        assert right, str(right)
        assert right.n_forward <= passes
        wrong = wp.check_gradients(beside_a_large_one(part, element_flipped), *tensors, seed=seed)
        assert (wrong.verdict, wrong.where) == ("fail", "b[4, 1]")
        flipped = wp.check_gradients(beside_a_large_one(part, torch.neg), *tensors, seed=seed)
        assert (flipped.cause, flipped.where) == ("sign-flipped", "b")


def test_gradients_that_vanish_in_a_deep_net_are_neither_passed_nor_pursued_for_ever():
    torch.manual_seed(0)
    layers = [layer for _ in range(25) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    check = wp.check_gradients(nn.Sequential(*layers).double(), draw(8, 16))
    assert check.verdict == "inconclusive"
    assert "moving it changes f by" in check.detail
    assert check.n_forward < 600


@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
def test_steps_are_short_where_f_varies_far_less_than_its_argument_is_large(offset):
    for seed in range(4):
        x = offset + draw(20, seed=seed)
        assert wp.check_gradients(lambda x: torch.sin(x - offset), x, seed=seed)
        averaged_away = wp.check_gradients(lambda x: x + torch.sin(x.detach() - offset), x, seed=seed)
        assert averaged_away.verdict == "fail"


def test_elements_of_very_different_size_do_not_hide_each_other():
    for seed in range(3):
        x = torch.cat([1e3 * draw(3, seed=seed), draw(20, seed=seed + 9)])
        assert wp.check_gradients(lambda x: x + torch.tanh(x), x, seed=seed).verdict != "fail"
        assert wp.check_gradients(lambda x: x + torch.tanh(x.detach()), x, seed=seed).verdict != "pass"


def test_a_zero_gradient_says_how_small_a_true_one_could_be():
    zero = bent(torch.sin, lambda x, g: torch.zeros_like(g))
    a, b = draw(9), draw(9, seed=1)
    seen = wp.check_gradients(lambda a, b: a.tanh().sum() + 1e-8 * zero(b).sum(), a, b)
    assert (seen.verdict, seen.where) == ("fail", "b")
    told = wp.check_gradients(lambda a, b: a.tanh().sum() + 0 * zero(b).sum(), a, b)
    assert "the gradient of b is zero, as far as one above" in told.detail


def test_a_zero_gradient_of_a_float32_function_that_stands_still_tells_nothing():
    zero = bent(torch.special.ndtr, lambda x, g: torch.zeros_like(g))
    check = wp.check_gradients(zero, torch.tensor([-8.5, -9.0]), replay=False)
    assert check.verdict == "inconclusive"
    assert "does not change" in check.detail
    assert wp.check_gradients(torch.floor, torch.tensor([0.3, 2.5])), "in float64 nothing was lost"


def test_forward_mode_is_judged_by_its_own_size():
    class Forward(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x.sin()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return 1e9 * g * ctx.saved_tensors[0].cos()

        @staticmethod
        def jvp(ctx, t):
            return -t * ctx.saved_tensors[0].cos()

    check = wp.check_gradients(Forward.apply, draw(12), mode="forward")
    assert (check.verdict, check.cause) == ("fail", "sign-flipped")


def test_a_gradient_for_an_input_that_is_not_checked_is_not_dropped():
    w, k = np.ones(3), np.arange(3)
    with pytest.raises(ArgumentError, match="input 1"):
        wp.check_gradients(lambda w, k: np.sum(w**3 * k), w, k, gradient=(3 * w**2 * k, 5.0 * k))
    with pytest.raises(ArgumentError, match="complex"):
        wp.check_gradients(lambda z: np.sum(np.abs(z)), np.ones(3) * 1j, gradient=np.ones(3))


class ZeroAtZero(torch.autograd.Function):
    """The slope of silu, but for a zero of its own where x is exactly 0."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return g * torch.where(x == 0, torch.zeros_like(x), s + x * s * (1 - s))


@pytest.mark.parametrize("zeros", [1, 30, 150])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_gradient_that_is_wrong_at_exact_values_alone_fails_in_its_own_precision(zeros, dtype):
    x = draw(300).to(dtype)
    x[:zeros] = 0
    assert wp.check_gradients(lambda x: ZeroAtZero.apply(x), x, replay=False).verdict == "fail"
    assert wp.check_gradients(lambda x: x * torch.sigmoid(x), x, replay=False)
