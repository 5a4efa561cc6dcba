"""check_custom_functions: finds the hand-written backward passes in a loss and checks each where it stands."""

from __future__ import annotations

import pytest
import torch

from wellposed.errors import ArgumentError
from wellposed.gradcheck import check_custom_functions


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, power):
        ctx.save_for_backward(x)
        return x**power

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g, None


class Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, 0.5 * g * x


class WithSetup(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -g


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, g):
        return g


class Fragile(torch.autograd.Function):
    calls: list[int] = []  # noqa: RUF012

    @staticmethod
    def forward(ctx, x):
        Fragile.calls.append(1)
        if len(Fragile.calls) > 2:
            raise RuntimeError("only inside the loop")
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


bound_long_ago = Square.apply


@pytest.fixture
def x():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_a_loss_of_framework_operations_has_none(x):
    assert check_custom_functions(lambda: (x**2).sum()).entries == ()


@pytest.mark.parametrize(
    "function",
    [lambda x: Square.apply(x, 2), lambda x: bound_long_ago(x, 2), WithSetup.apply],
    ids=["apply", "bound", "setup"],
)
def test_a_right_one_passes_however_it_is_called(function, x):
    (entry,) = check_custom_functions(lambda: function(x).sum()).entries
    assert entry.check
    assert not entry.deliberate


def test_a_wrong_one_fails_by_name_where_it_is_wrong(x):
    w = torch.ones(5, 4, requires_grad=True)
    first, second = check_custom_functions(lambda: Halved.apply(Square.apply(x, 2), w).sum()).entries
    assert (first.name, bool(first.check)) == ("Square", True)
    assert second.name == "Halved"
    assert second.check is not None
    assert (second.check.verdict, second.check.cause) == ("fail", "scaled")


def test_what_needs_no_gradient_is_a_constant(x):
    w = torch.ones(5, 4)
    (entry,) = check_custom_functions(lambda: Halved.apply(x, w).sum()).entries
    assert entry.check


@pytest.mark.parametrize(("function", "said"), [(Reversed, "identity"), (StraightThrough, "step function")])
def test_a_surrogate_is_told_from_a_mistake(function, said, x):
    (entry,) = check_custom_functions(lambda: (function.apply(x) ** 2).sum()).entries
    assert entry.check is not None
    assert entry.check.verdict == "fail"
    assert said in entry.deliberate


def test_one_that_cannot_run_alone_is_reported_with_the_reason(x):
    Fragile.calls.clear()
    (entry,) = check_custom_functions(lambda: Fragile.apply(x).sum()).entries
    assert entry.check is None
    assert "only inside the loop" in entry.reason


def test_the_classes_gradients_and_random_states_are_as_they_were(x):
    forward, state = Square.__dict__["forward"], torch.get_rng_state()
    check_custom_functions(lambda: (Square.apply(x, 2) * torch.rand(5, 4)).sum())
    assert Square.__dict__["forward"] is forward
    assert x.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_without_a_loss_is_refused():
    with pytest.raises(ArgumentError, match="expected the loss"):
        check_custom_functions(lambda: None)
