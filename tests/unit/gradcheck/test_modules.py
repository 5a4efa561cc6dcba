"""Kinds of code that once went wrong in a gradient check: TorchScript, other layouts, empty tensors, backward passes that draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import wellposed as wp
from wellposed.errors import ArgumentError, UserCodeError

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SCRIPTS = "ignore:.*torch.jit.*:DeprecationWarning"


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()


@pytest.mark.filterwarnings(SCRIPTS)
@pytest.mark.parametrize(
    "compiled", [lambda m: torch.jit.trace(m, X), torch.jit.script], ids=["traced", "scripted"]
)
def test_a_module_of_torchscript_passes_and_keeps_its_own_weights(compiled: Any) -> None:
    module = compiled(net())
    before = {name: (p.data_ptr(), p.detach().clone()) for name, p in module.named_parameters()}
    check = wp.check_gradients(module, X)
    assert check.verdict == "pass"
    assert check.n_forward < 50
    after = {name: (p.data_ptr(), p.detach()) for name, p in module.named_parameters()}
    assert all(
        after[k][0] == pointer and torch.equal(after[k][1], value) for k, (pointer, value) in before.items()
    )


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr", "to_sparse_csc", "to_mkldnn"])
@pytest.mark.filterwarnings("ignore:Sparse CS. tensor support:UserWarning")
def test_other_layouts_are_refused_by_name(layout: str) -> None:
    with pytest.raises(ArgumentError, match=r"a is a torch\.\w+ tensor: expected a dense one"):
        wp.check_gradients(lambda a: a.to_dense().sum(), getattr(X.float(), layout)())


def test_an_empty_tensor_beside_others_is_a_constant() -> None:
    empty = torch.zeros(0, dtype=torch.float64)
    check = wp.check_gradients(lambda d: d["a"].sin().sum() + d["b"].sum(), {"a": X, "b": empty})
    assert check.verdict == "pass"
    assert [t.name for t in check.tensors] == ["d['a']"]
    found = wp.numerical_gradient(lambda d: np.sum(d["a"] ** 2), {"a": np.ones(2), "b": np.zeros(0)})
    assert found.value["b"].shape == (0,)
    assert (np.abs(found.value["a"] - 2) <= found.error["a"]).all()


class DrawsAgain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return 2 * x * (torch.rand_like(x) < 0.5)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * g * (torch.rand_like(g) < 0.5)


class SavesWhatItDrew(DrawsAgain):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.kept = torch.rand_like(x) < 0.5
        return 2 * x * ctx.kept

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * g * ctx.kept


def test_a_backward_pass_that_draws_again_is_told_apart() -> None:
    check = wp.check_gradients(lambda x: DrawsAgain.apply(x), X)
    assert check.verdict == "fail"
    assert "the backward pass is not deterministic: with other random numbers" in check.detail
    assert "save it on ctx" in " ".join(str(check).split())
    assert wp.check_gradients(lambda x: SavesWhatItDrew.apply(x), X)


def test_a_gradient_of_numpy_that_draws_is_told_apart() -> None:
    rng = np.random.default_rng()
    check = wp.check_gradients(
        lambda x: np.sum(x**2), np.ones(4), gradient=lambda x: 2 * x * rng.uniform(1.5, 2, 4)
    )
    assert check.verdict == "fail"
    assert "not deterministic" in check.detail


class RaisesForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * g

    @staticmethod
    def jvp(ctx: Any, t: Any) -> Any:
        raise ValueError("not today")


@pytest.mark.parametrize("mode", ["forward", "forward-reverse"])
def test_what_a_jvp_raises_is_said(mode: Any) -> None:
    with pytest.raises(UserCodeError, match="f raised ValueError: not today"):
        wp.check_gradients(lambda x: RaisesForward.apply(x), X, mode=mode)


def test_a_bare_assert_is_told_by_its_line() -> None:
    def takes_float32(x: Any) -> Any:
        if x.dtype != torch.float32:
            raise AssertionError
        return x.sum()

    with pytest.raises(
        UserCodeError, match=r"replay=True asks: f raised AssertionError at .*\.py:\d+: raise Asser"
    ):
        wp.check_gradients(takes_float32, X.float(), replay=True)
    assert wp.check_gradients(takes_float32, X.float())


# --- code that rounds inside


class InFloat32(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        ctx.kept = x.float(), w.float()
        ctx.dtype = x.dtype
        return torch.tanh(ctx.kept[0] @ ctx.kept[1]).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w = ctx.kept
        d = g.float() * (1 - torch.tanh(x @ w) ** 2)
        return (d @ w.mT).to(ctx.dtype), (x.mT @ d).to(ctx.dtype)


class HalfInFloat32(InFloat32):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        dx, dw = InFloat32.backward(ctx, g)
        return dx / 2, dw


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_kernel_that_casts_inside_costs_no_fortune(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, m, generator=draw).div(m**0.5).to(dtype) for n, m in ((16, 32), (32, 8)))
    check = wp.check_gradients(lambda x, w: InFloat32.apply(x, w), x, w)
    assert check.verdict == "pass"
    assert check.n_forward <= 200
    assert "fewer digits than float64" in check.detail
    assert wp.check_gradients(lambda x, w: HalfInFloat32.apply(x, w), x, w).verdict == "fail"


class InBfloat16Alone(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        if x.dtype != torch.bfloat16:
            raise TypeError("bfloat16 alone")
        ctx.kept = x, w
        return x @ w

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, w = ctx.kept
        return g @ w.mT, x.mT @ g


def test_a_kernel_of_bfloat16_alone_is_told_which_resolution_it_can_have() -> None:
    draw = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, m, generator=draw).bfloat16() for n, m in ((16, 32), (32, 8)))
    check = wp.check_gradients(lambda x, w: InBfloat16Alone.apply(x, w), x, w)
    assert check.verdict == "inconclusive"
    attainable = float(" ".join(str(check).split()).split("such as resolution=")[1].split()[0])
    assert 0.01 < attainable < 0.9
    assert wp.check_gradients(lambda x, w: InBfloat16Alone.apply(x, w), x, w, resolution=attainable)


INSIDE = {
    "sine": lambda x: x.bfloat16().sin().float(),
    "softmax": lambda x: torch.softmax(x.bfloat16(), 0).float(),
    "float16": lambda x: x.half().tanh().float().sum(),
}


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("replay", ["auto", False])
def test_what_casts_to_half_precision_inside_is_told_as_well_as_that_allows(name: str, replay: Any) -> None:
    x = torch.randn(40, generator=torch.Generator().manual_seed(3))
    found = wp.check_gradients(INSIDE[name], x, replay=replay)
    assert found.verdict == "inconclusive"
    assert "rounded to as few digits as float16 and bfloat16" in found.detail
    assert found.resolution < 0.5
    assert wp.check_gradients(INSIDE[name], x, replay=replay, resolution=0.5).verdict == "pass"


@pytest.mark.parametrize(("factor", "cause"), [(-1.0, "sign-flipped"), (2.0, "scaled")])
def test_a_wrong_backward_behind_a_cast_to_half_precision_fails(factor: float, cause: str) -> None:
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x.bfloat16().sin().float()

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return factor * grads[0] * x.cos()

    found = wp.check_gradients(Sine.apply, torch.randn(40, generator=torch.Generator().manual_seed(3)))
    assert (found.verdict, found.cause) == ("fail", cause)


def test_a_jump_is_no_kink_and_no_rounding() -> None:
    x = torch.zeros(5, dtype=torch.float64)
    found = wp.check_gradients(lambda x: (x + (x > 0)).sum(), x)
    assert found.detail.startswith("f jumps at this point, so it was checked 10% beside it")
    assert "digits" not in found.detail
    assert wp.check_gradients(lambda x: x.relu().sum(), x).detail.startswith("f has a kink at this point")
