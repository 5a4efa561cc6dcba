"""Which bug a failing check names, and which it must not name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import wellposed as wp


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def function(forward: Callable[..., Tensor], backward: Callable[..., Any]) -> Any:
    """An ``autograd.Function`` with ``backward(grad_output, *inputs)``."""

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            ctx.save_for_backward(*x)
            return forward(*x)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            return backward(g, *ctx.saved_tensors)

    return Own.apply


def linear(weight_gradient: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """``x @ w``, with another gradient of w."""
    return function(torch.matmul, lambda g, x, w: (g @ w.mT, weight_gradient(x, g)))


def kept(seed: int, share: float, shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


def test_what_forward_blocks_at_random_is_a_mask() -> None:
    mask = kept(1, 0.7, (6, 30))
    check = wp.check_gradients(function(lambda x: x.tanh() * mask, _tanh_backward), normal(6, 30))
    assert check.cause == "mask"


def _tanh_backward(g: Tensor, x: Tensor) -> Tensor:
    return g * (1 - x.tanh() ** 2)


def test_clamp_whose_limits_nobody_knows_is_a_mask() -> None:
    check = wp.check_gradients(function(lambda x: x.clamp(-0.4, 0.7), lambda g, x: g), normal(80))
    assert check.cause == "mask"


def test_gradient_for_all_of_a_pooled_window_is_a_mask() -> None:
    def spread(g: Tensor, x: Tensor) -> Tensor:
        return g.repeat_interleave(2, -1).repeat_interleave(2, -2)

    check = wp.check_gradients(function(lambda x: F.max_pool2d(x, 2), spread), normal(2, 2, 8, 8))
    assert check.cause == "mask"


def test_padding_that_gets_a_gradient_is_a_mask() -> None:
    f = function(lambda x: x[:, :7].sum(1), lambda g, x: g[:, None].expand(x.shape))
    check = wp.check_gradients(f, normal(4, 10, 3))
    assert (check.cause, check.where) == ("mask", "x[0][:, 7:10, :]")


@pytest.mark.parametrize("seed", [0, 1, 3, 4, 5, 6, 7, 8])
def test_another_dropout_mask_in_the_backward_pass_is_no_mask(seed: int) -> None:
    """A few wrong elements lie on one side of some condition by chance."""
    forward, backward = kept(seed, 0.8, (12,)), kept(seed + 100, 0.8, (12,))
    f = function(lambda x: x.tanh() * forward, lambda g, x: _tanh_backward(g, x) * backward)
    check = wp.check_gradients(f, normal(12, seed=seed))
    assert check.verdict == "fail"
    assert check.cause in (None, "sparse")


def test_rows_less_their_mean_hold_no_mask() -> None:
    f = linear(lambda x, g: x.mT @ g - (x.mT @ g).mean(1, keepdim=True))
    causes = {
        wp.check_gradients(f, normal(9, 12, seed=s), normal(12, 5, seed=s + 50)).cause for s in range(12)
    }
    assert causes == {None}


def test_rows_in_any_order_are_permuted() -> None:
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    check = wp.check_gradients(linear(lambda x, g: (x.mT @ g)[order]), normal(8, 40), normal(40, 5, seed=1))
    assert check.cause == "permuted"


def test_shift_along_two_axes_is_permuted() -> None:
    f = linear(lambda x, g: (x.mT @ g).roll((2, 1), (0, 1)))
    check = wp.check_gradients(f, normal(8, 30), normal(30, 5, seed=1))
    assert check.cause == "permuted"
    assert "by 2 along axis 0 and by 1 along axis 1" in check.detail


def test_last_of_the_words_that_come_again_is_overwriting_and_no_mask() -> None:
    index = torch.arange(24) % 8

    def last(g: Tensor, table: Tensor) -> Tensor:
        d = torch.zeros_like(table)
        for row, i in zip(g, index.tolist(), strict=True):
            d[i] = row
        return d

    check = wp.check_gradients(function(lambda table: table[index], last), normal(8, 5))
    assert check.cause == "accumulate"


def test_first_samples_left_out_are_a_mask_and_no_overwriting() -> None:
    f = linear(lambda x, g: x[16:].mT @ g[16:])
    check = wp.check_gradients(f, normal(24, 8), normal(8, 5, seed=1))
    assert check.cause == "mask"
    assert "first 16 of 24" in check.detail


@pytest.mark.parametrize(("numbers", "name"), [(torch.bfloat16, "bfloat16"), (torch.float16, "float16")])
def test_gradient_from_rounded_activations_is_of_low_precision(numbers: torch.dtype, name: str) -> None:
    f = linear(lambda x, g: x.to(numbers).to(x.dtype).mT @ g)
    check = wp.check_gradients(f, normal(20, 12), normal(12, 6, seed=1))
    assert check.cause == "low-precision"
    assert name in check.detail


def test_small_noise_is_not_of_low_precision() -> None:
    noise = 1 + 1e-3 * normal(12, 6, seed=4)
    check = wp.check_gradients(linear(lambda x, g: x.mT @ g * noise), normal(20, 12), normal(12, 6, seed=1))
    assert check.verdict == "fail"
    assert check.cause is None


@pytest.mark.parametrize("which", [0, 1])
def test_tensor_remembered_from_the_first_call_is_stale(which: int) -> None:
    first: list[Tensor] = []

    def backward(g: Tensor, *inputs: Tensor) -> Any:
        used = list(inputs)
        first.append(inputs[which].clone())
        used[which] = first[0]
        x, w = used
        d = g * (1 - (x @ w).tanh() ** 2)
        return d @ w.mT, x.mT @ d

    f = function(lambda x, w: (x @ w).tanh(), backward)
    assert wp.check_gradients(f, normal(7, 6), normal(6, 4, seed=1)).cause == "stale"


def test_term_that_is_zero_at_the_point_is_not_stale() -> None:
    def loss(b: Any) -> float:
        return float(a @ b + 0.5 * b @ b)

    a = normal(20).numpy()
    check = wp.check_gradients(loss, np.zeros(20), gradient=lambda b: a + 0 * b)
    assert check.cause != "stale"


@pytest.mark.parametrize("change", [torch.sign, lambda d: d / d.norm(dim=1, keepdim=True)])
def test_gradient_without_its_size_was_not_stored(change: Callable[[Tensor], Tensor]) -> None:
    check = wp.check_gradients(linear(lambda x, g: change(x.mT @ g)), normal(8, 9), normal(9, 5, seed=1))
    assert check.verdict == "fail"
    assert check.cause is None


def test_error_that_leans_along_the_gradient_is_no_factor() -> None:
    """In float32 the other directions hardly see it."""

    def wrong(g: Tensor, x: Tensor) -> Tensor:
        n = (x**2).sum(1, keepdim=True)
        return g / torch.sqrt(n + 1e-2) - x * (g * x).sum(1, keepdim=True) / n**1.5

    f = function(lambda x: x / (x**2).sum(1, keepdim=True).sqrt(), wrong)
    causes = {wp.check_gradients(f, normal(10, 6, seed=s).float(), replay=False).cause for s in range(6)}
    assert causes == {None}


@pytest.mark.parametrize("numbers", [torch.bfloat16, torch.float16])
def test_row_of_low_precision_is_no_factor(numbers: torch.dtype) -> None:
    def one_row(x: Tensor, g: Tensor) -> Tensor:
        d = x.mT @ g
        d[3] = d[3].to(numbers).to(d.dtype)
        return d

    for seed in range(4):
        inputs = normal(8, 20, seed=seed).float(), normal(20, 5, seed=seed + 9).float()
        assert wp.check_gradients(linear(one_row), *inputs, replay=False).cause in (None, "low-precision")


def test_rows_of_a_batch_are_told_through_the_noise_of_float32() -> None:
    f = function(lambda z: F.softplus(z).mean(), lambda g, z: g * torch.sigmoid(z))
    check = wp.check_gradients(f, normal(300).float(), replay=False)
    assert (check.cause, "300" in check.detail) == ("missing-mean", True)


def test_residual_that_backward_forgets_is_a_missing_term() -> None:
    f = function(lambda x: x + x.sin(), lambda g, x: g * x.cos())
    check = wp.check_gradients(f, normal(9, 8))
    assert check.cause == "missing-term"
    assert "holds 1 times what comes from above" in check.detail


def test_sum_of_detached_weights_is_a_missing_term() -> None:
    check = wp.check_gradients(lambda w: (w**3).mean() + 0.3 * w.detach().sum(), normal(40))
    assert check.cause == "missing-term"
    assert "0.3 times a constant" in check.detail


def test_gradient_less_its_mean_lacks_no_term() -> None:
    f = linear(lambda x, g: x.mT @ g - (x.mT @ g).mean())
    bias = function(lambda x, b: x + b, lambda g, x, b: (g, g.sum(0) - g.sum(0).mean()))
    assert wp.check_gradients(f, normal(8, 9), normal(9, 5, seed=1)).cause is None
    assert wp.check_gradients(bias, normal(8, 9), normal(9, seed=1)).cause is None


def test_naming_nothing_stays_cheap() -> None:
    noise = normal(40, 30, seed=4)
    check = wp.check_gradients(linear(lambda x, g: noise * (x.mT @ g)), normal(8, 40), normal(40, 30, seed=1))
    assert check.cause is None
    assert check.n_forward <= 150


# --- terms through a sum over a slice, and other masks


def rows_of_length_one(backward: Any) -> Any:
    return function(lambda x: x / x.norm(dim=1, keepdim=True), backward)


def test_a_norm_that_is_taken_for_a_constant_is_a_missing_term() -> None:
    f = rows_of_length_one(lambda g, x: g / x.norm(dim=1, keepdim=True))
    check = wp.check_gradients(f, normal(6, 9))
    assert check.cause == "missing-term"
    assert "in each slice along axis 1" in check.detail
    assert "as through a norm" in check.detail


def test_the_sum_of_a_softmax_that_is_left_out_is_a_missing_term() -> None:
    f = function(lambda x: x.softmax(1), lambda g, x: g * x.softmax(1))
    check = wp.check_gradients(f, normal(6, 9))
    assert check.cause == "missing-term"
    assert "as through the sum of a softmax" in check.detail


def test_a_mean_and_a_variance_that_are_taken_for_constants_are_missing_terms() -> None:
    f = function(
        lambda x: (x - x.mean(0)) / x.var(0, correction=0).sqrt(),
        lambda g, x: g / x.var(0, correction=0).sqrt(),
    )
    check = wp.check_gradients(f, normal(12, 5))
    assert check.cause == "missing-term"
    assert "in each slice along axis 0" in check.detail


def test_a_term_that_is_there_with_another_factor_is_not_missing() -> None:
    def backward(g: Tensor, x: Tensor) -> Tensor:
        size = x.norm(dim=1, keepdim=True)
        return g / size + x * (g * x).sum(1, keepdim=True) / size**3

    assert wp.check_gradients(rows_of_length_one(backward), normal(6, 9)).cause is None


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_matrix_for_its_transpose_is_transposed(side: str) -> None:
    right = function(lambda x, w: x @ w, lambda g, x, w: (g @ w, x.mT @ g))
    left = function(lambda x, w: w @ x, lambda g, x, w: (w @ g, g @ x.mT))
    check = wp.check_gradients(right if side == "right" else left, normal(7, 7), normal(7, 7, seed=1))
    assert check.cause == "transposed"
    assert "stands where its transpose belongs" in check.detail


def test_the_opposite_of_a_mask_is_a_mask() -> None:
    mask = kept(0, 0.5, (8, 9))
    check = wp.check_gradients(function(lambda x: x * mask, lambda g, x: g * ~mask), normal(8, 9))
    assert check.cause == "mask"
    assert "the opposite of what the forward pass blocks" in check.detail


def test_the_sides_of_a_condition_that_are_taken_for_each_other_are_a_mask() -> None:
    f = function(lambda x: torch.where(x > 0, x, 0.1 * x), lambda g, x: torch.where(x > 0, 0.1 * g, g))
    check = wp.check_gradients(f, normal(8, 9))
    assert check.cause == "mask"
    assert "0.1 times the analytic one where x[0] < 0, and 10 times it elsewhere" in check.detail


def test_a_weight_of_one_class_is_no_mask() -> None:
    weight = 1 + 2 * kept(3, 0.5, (8, 9)).double()
    check = wp.check_gradients(
        function(lambda x: x.tanh() * weight, lambda g, x: g * (1 - x.tanh() ** 2)), normal(8, 9)
    )
    assert check.verdict == "fail"
    assert check.cause is None
