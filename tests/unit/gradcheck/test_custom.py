"""check_custom_functions: finds the hand-written backward passes in a loss and checks each where it stands."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

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


class Loss(torch.autograd.Function):
    """Squared distance of each row, with a backward pass that ignores the gradient of each row's loss."""

    @staticmethod
    def forward(ctx, x, target):
        ctx.save_for_backward(x, target)
        return (x - target).square().sum(1)

    @staticmethod
    def backward(ctx, g):
        x, target = ctx.saved_tensors
        return 2 * (x - target), None


class Rows(torch.autograd.Function):
    """A square that reads memory as if everything in it were contiguous."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        x, g = (t if 0 in t.stride() else t.as_strided(t.shape, x.contiguous().stride()) for t in (x, g))
        return 2 * x * g


class Doubled(torch.autograd.Function):
    """The one in a composite, with a context that is lent to it."""

    @staticmethod
    def forward(ctx, x):
        return 2 * Square.forward(ctx, x, 2)

    @staticmethod
    def backward(ctx, g):
        return Square.backward(ctx, g)[0]


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.relu_())
        return x

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0] > 0)


class WithMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        mask = (x > 0).float()
        ctx.mark_non_differentiable(mask)
        ctx.save_for_backward(mask)
        return x * mask, mask

    @staticmethod
    def backward(ctx, g, _):
        return g * ctx.saved_tensors[0]


class WithStatistic(torch.autograd.Function):
    """A second output for the eye alone: its gradient is None, and would be wrong."""

    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        return x.sin(), x.mean()

    @staticmethod
    def backward(ctx, g, of_statistic):
        assert of_statistic is None
        return g * ctx.saved_tensors[0].cos()


class Padded(torch.autograd.Function):
    """Not a number beyond the first three rows, which is nobody's business as long as nobody asks for their gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.cat([x[:3] ** 2, x[3:] * torch.nan])

    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0]


class Penalized(torch.autograd.Function):
    """A cube whose gradient is right, and the gradient of its gradient is not."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        return g * 3 * ctx.saved_tensors[0].detach() ** 2


class Stashing(torch.autograd.Function):
    """Keeps its input on the class, where the next call overwrites it."""

    kept: torch.Tensor

    @staticmethod
    def forward(ctx, x):
        Stashing.kept = x
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g * Stashing.kept.cos()


class Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        mask = (torch.rand_like(x) > 0.5).to(x.dtype)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class Fragile(torch.autograd.Function):
    loop = threading.Event()  # what other threads may act on is not put back

    @staticmethod
    def forward(ctx, x):
        Fragile.loop.calls += 1
        if Fragile.loop.calls > 2:
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


def test_one_that_cannot_run_alone_is_reported_with_the_reason(x):
    Fragile.loop.calls = 0
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


def verdict_of(run, **options):
    (entry,) = check_custom_functions(run, **options).entries
    return entry.reason if entry.check is None else entry.check.verdict


@pytest.mark.parametrize(
    "run",
    [
        lambda x: InPlace.apply(1 * x).square().mean(),
        lambda x: WithMask.apply(x)[0].square().mean(),
        lambda x: WithStatistic.apply(x)[0].square().mean(),
        lambda x: Padded.apply(x)[:3].square().mean(),
        lambda x: Rows.apply(x).square().mean(),
    ],
    ids=["in place", "not differentiable", "no gradient", "padding", "contiguous"],
)
def test_only_what_a_gradient_flows_through_is_held_against_a_function(run, x):
    assert verdict_of(lambda: run(x)) == "pass"


def test_a_complex_one_is_checked():
    z = torch.randn(5, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert verdict_of(lambda: WithSetup.apply(z).abs().sum()) == "fail"  # the cosine is not conjugated


def test_the_gradient_that_really_flowed_is_the_one_that_counts(x):
    (mean,) = check_custom_functions(lambda: Loss.apply(x, torch.ones(5, 4)).mean()).entries
    assert mean.check is not None
    assert (mean.check.verdict, mean.elsewhere) == ("fail", False)
    assert mean.note == "it does not use the grad_output that it is given"


def test_one_that_is_right_for_this_loss_alone_is_told_apart(x):
    (summed,) = check_custom_functions(lambda: Loss.apply(x, torch.ones(5, 4)).sum()).entries
    assert summed.check is not None
    assert (summed.check.verdict, summed.elsewhere) == ("fail", True)


def test_strides_that_a_backward_pass_does_not_expect_are_named(x):
    (of_gradient,) = check_custom_functions(lambda: (Rows.apply(x).t().contiguous() ** 2).sum()).entries
    (of_inputs,) = check_custom_functions(lambda: (Rows.apply(x.t()).sin()).sum()).entries
    assert of_gradient.note == "only for tensors that are not contiguous: grad_output has strides (1, 5)"
    assert "x has strides (1, 4), grad_output has strides (1, 4)" in of_inputs.note


def test_state_that_the_next_call_overwrites_shows_in_the_model_alone(x):
    (once,) = check_custom_functions(lambda: Stashing.apply(x).sum()).entries
    (twice,) = check_custom_functions(lambda: Stashing.apply(Stashing.apply(x)).sum()).entries
    assert once.check
    assert once.strayed == 0
    assert twice.check
    assert twice.strayed > 0.01


def test_a_mask_that_is_drawn_is_another_one_by_itself_and_nothing_is_made_of_it(x):
    (entry,) = check_custom_functions(lambda: Dropped.apply(Dropped.apply(x)).square().sum()).entries
    assert entry.check
    assert entry.strayed == 0


def test_a_composite_is_checked_and_not_the_one_whose_forward_it_borrows(x):
    (entry,) = check_custom_functions(lambda: Doubled.apply(x).sum()).entries
    assert entry.name == "Doubled"
    assert entry.check is not None
    assert entry.check.cause == "scaled"


def test_the_gradient_of_the_gradient_is_checked_where_the_loss_takes_it(x):
    def penalty():
        (gradient,) = torch.autograd.grad(Penalized.apply(x).sum(), x, create_graph=True)
        return gradient.square().mean() + 0 * x.sum()

    assert verdict_of(lambda: Penalized.apply(x).sum()) == "pass"
    assert verdict_of(penalty) == "fail"


class Layers(nn.Module):
    def __init__(self, count, wrap=lambda layer, x: layer(x)):
        super().__init__()
        self.layers = nn.ModuleList(Layer(i) for i in range(count))
        self.wrap = wrap

    def forward(self, x):
        for layer in self.layers:
            x = self.wrap(layer, x)
        return x.square().mean()


class Layer(nn.Module):
    def __init__(self, number):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.number = number

    def forward(self, x):
        return Halved.apply(x, self.linear(x)) if self.number == 2 else WithSetup.apply(self.linear(x))


def names_of(model):
    return {module: name for name, module in model.named_modules()}


@pytest.mark.parametrize("reentrant", [None, True, False])
def test_each_is_checked_where_it_stands_also_under_checkpointing(reentrant, x):
    def wrap(layer, x):
        return layer(x) if reentrant is None else checkpoint(layer, x, use_reentrant=reentrant)

    model = Layers(9, wrap)
    custom = check_custom_functions(lambda: model(x), names=names_of(model))
    found = {entry.name: entry for entry in custom.entries}
    assert found["Halved"].where == "layers.2: Halved"
    assert found["Halved"].check is not None
    assert found["Halved"].check.verdict == "fail"
    assert found["WithSetup"].check
    assert (found["WithSetup"].calls, found["WithSetup"].checked) == (8, 2)


def test_compiled_parts_are_run_as_they_are_written(x):
    model = Layers(3)
    model.layers[2] = torch.compile(model.layers[2], backend="eager")
    custom = check_custom_functions(lambda: model(x), names=names_of(model))
    assert "layers.2: Halved" in {entry.where for entry in custom.entries}


def test_one_inside_a_transform_is_reported_and_not_checked(x):
    class Mapped(WithSetup):
        generate_vmap_rule = True

    assert "transform of torch.func" in verdict_of(lambda: torch.vmap(Mapped.apply)(x).sum())


def test_one_whose_class_is_made_in_each_run_is_checked_too(x):
    def run():
        class Anew(Square):
            @staticmethod
            def backward(ctx, g):
                return ctx.saved_tensors[0] * g, None

        return Anew.apply(x, 2).sum()

    assert verdict_of(run) == "fail"


def test_one_that_ran_before_the_loss_is_reported_and_not_checked(x):
    early = Square.apply(x, 2)
    assert "before the loss" in verdict_of(lambda: early.sum())


def test_an_operator_of_a_library_is_checked_too(x):
    with torch.library._scoped_library("wellposed_test", "FRAGMENT"):
        cube = torch.library.custom_op(
            "wellposed_test::cube", lambda x: x**3, mutates_args=(), schema="(Tensor x) -> Tensor"
        )
        cube.register_autograd(
            lambda ctx, g: g * ctx.saved_tensors[0] ** 2,
            setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
        )
        (entry,) = check_custom_functions(lambda: cube(x).sum()).entries
    assert entry.name == "wellposed_test_cube"
    assert entry.check is not None
    assert entry.check.verdict == "fail"


def test_a_budget_that_is_spent_leaves_the_rest_and_says_so(x):
    assert "more than is left of 0 s" in verdict_of(lambda: Square.apply(x, 2).sum(), budget_seconds=0)


def test_ways_of_calling_beyond_the_first_four_are_counted_as_left(x):
    (entry,) = check_custom_functions(
        lambda: sum(Square.apply(x, 1.0 * k).sum() for k in range(2, 8))
    ).entries
    assert entry.calls == 6
    assert entry.left == "2 calls with other settings than the ones that were checked"


def test_inherited_methods_are_inherited_again_and_hooks_are_gone(x):
    class Heir(Square):
        pass

    model = Layers(3)
    check_custom_functions(lambda: model(x) + Heir.apply(x, 2).sum(), names=names_of(model))
    assert not {"forward", "backward"} & set(vars(Heir))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
