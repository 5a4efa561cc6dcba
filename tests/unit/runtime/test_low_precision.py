"""Emulated steps are those that autocast takes, and what rounding does to numbers is counted as it happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.low_precision import Step, counted_step, emulated_step
from wellposed.runtime.torch.restore import preserved
from wellposed.runtime.torch.session import Runner

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(64, 8, generator=GENERATOR), torch.randn(64, 1, generator=GENERATOR)


class Applied(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def net(middle: Callable[[torch.Tensor], torch.Tensor] = torch.tanh) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), Applied(middle), nn.Linear(32, 1))


def stepped(model: nn.Module, precision: str, **how: object) -> Step:
    with preserved(model):
        return emulated_step(
            Runner(wp.Problem(model=model, loss=F.mse_loss)),
            Batch(args=(X,), targets=Y),
            precision,
            seed=0,
            **how,
        )  # type: ignore[arg-type]


def in_float32(model: nn.Module) -> Step:
    return stepped(model, "fp32", exempt={"0", "1", "2"})


def distance(a: Step, b: Step) -> float:
    wrong = sum(float((a.gradients[n] - g).square().sum()) for n, g in b.gradients.items())
    return (wrong / sum(float(g.square().sum()) for g in b.gradients.values())) ** 0.5


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_step_in_half_precision_is_that_of_autocast(precision: str, dtype: torch.dtype) -> None:
    model = net(lambda h: torch.relu(h) * 2)
    ours, exact = stepped(model, precision), in_float32(model)
    with torch.autocast("cpu", dtype):
        loss = F.mse_loss(model(X), Y)
    loss.backward()
    theirs = Step(
        loss=float(loss.detach()), gradients={n: p.grad.float() for n, p in model.named_parameters()}
    )  # type: ignore[union-attr]
    assert distance(ours, theirs) < 0.3 * distance(theirs, exact)


def test_what_is_too_large_for_fp16_is_infinite_and_bf16_holds_it() -> None:
    model = net(lambda h: (h * 1e7) / 1e7)
    assert not stepped(model, "fp16").is_finite
    assert stepped(model, "bf16").is_finite
    assert stepped(model, "fp16", exempt={"1", "2"}).is_finite


def test_a_loss_scale_saves_what_would_be_zero() -> None:
    model = net(lambda h: h * 1e-7)
    lost, saved, exact = stepped(model, "fp16"), stepped(model, "fp16", scale=2.0**16), in_float32(model)
    assert not lost.gradients["0.weight"].any()
    assert distance(saved, exact) < 1e-2


@pytest.mark.parametrize(
    ("precision", "error"), [("fp8", 0.3), ("fp8-e4m3", 0.3), ("fp8-e5m2", 0.5), ("mxfp8", 0.3)]
)
def test_fp8_rounds_linear_layers_coarsely(precision: str, error: float) -> None:
    model = net()
    assert 1e-3 < distance(stepped(model, precision), in_float32(model)) < error


def test_fp8_zeroes_weights_far_below_the_largest_of_their_tensor_and_blocks_do_not() -> None:
    model = net()
    with torch.no_grad():
        model[2].weight[0, 0] = 1e7  # type: ignore[index,operator]
    runner, batch = Runner(wp.Problem(model=model, loss=F.mse_loss)), Batch(args=(X,), targets=Y)
    with preserved(model):
        _, whole = counted_step(runner, batch, "fp8", seed=0)
        _, blocks = counted_step(runner, batch, "mxfp8", seed=0)
    assert whole["2"].weights.vanished == 31
    assert whole["0"].weights.vanished == 0
    assert blocks["0"].weights.vanished == 0


def test_counts_are_those_of_the_rounding_itself() -> None:
    model = net(lambda h: h * torch.logspace(-12, 8, 32))
    with preserved(model):
        _, layers = counted_step(
            Runner(wp.Problem(model=model, loss=F.mse_loss)), Batch(args=(X,), targets=Y), "fp16", seed=0
        )
    read_and_given = torch.cat([X.flatten(), model[0](X).detach().flatten()])  # type: ignore[index]
    kept = read_and_given.half()
    assert layers["0"].forward.nonzero == int((read_and_given != 0).sum())
    assert layers["0"].forward.vanished == int(((read_and_given != 0) & (kept == 0)).sum())
    assert layers["0"].forward.beyond == int(kept.isinf().sum())


def test_what_is_multiplied_by_a_float32_tensor_is_in_float32() -> None:
    scales = torch.full((32,), 1e7)
    assert stepped(net(lambda h: (h * scales) / scales), "fp16").is_finite


def test_second_derivatives_pass_the_rounding() -> None:
    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.energy = net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0][:, :1]

    model = Force()
    exact = stepped(model, "fp32", exempt={"energy.0", "energy.2", "energy.1"})
    assert distance(stepped(model, "fp8"), exact) < 0.5


def test_a_step_leaves_no_gradient_and_no_hook() -> None:
    model = net()
    stepped(model, "fp8")
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()
