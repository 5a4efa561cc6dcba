"""The torch objective: F, the move really made and the gradient, against closed forms and against torch itself."""

from __future__ import annotations

import random
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from wellposed import Problem
from wellposed.errors import ArgumentError, UserCodeError
from wellposed.gradcheck.directions import Direction
from wellposed.gradcheck.torch.objective import checking, needs_replay, opened


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def objective(
    f: Any, *inputs: Any, names: Any = None, order: int = 1, replay: bool = False, mode: Any = "reverse"
):
    names = names or [f"x{i}" for i in range(len(inputs))]
    return checking(opened(f, inputs, names=names, seed=0, order=order), seed=0, replay=replay, mode=mode)


def along(o: Any, seed: int = 0, tensors: Any = None) -> Direction:
    def made(i: int) -> np.ndarray:
        return np.random.default_rng((seed, i)).standard_normal(o.shapes[i])

    return Direction(
        kind="random", tensors=tuple(range(len(o.names)) if tensors is None else tensors), made=made
    )


def defect(o: Any, step: float = 1e-6, seed: int = 0, tensors: Any = None) -> float:
    """How far the two-sided difference is from the gradient along a direction, relative to it."""
    u = along(o, seed, tensors)
    up, down = o.at(u, step), o.at(u, -step)
    taken = up.claimed_change - down.claimed_change
    return abs((up.value - down.value) - taken) / abs(taken)


def a_spy() -> Any:
    """Remembers what a function saw: what other threads may act on is not restored."""
    spy: Any = threading.Event()
    spy.seen = []
    return spy


# --- the move


def test_the_points_and_gradients_are_those_of_torch_and_cannot_be_written():
    x, w = draw(3, 2), draw(2, 2, seed=1)
    with objective(lambda x, w: (x @ w).tanh().sum(), x, w) as o:
        leaves = [x.clone().requires_grad_(), w.clone().requires_grad_()]
        expected = torch.autograd.grad((leaves[0] @ leaves[1]).tanh().sum(), leaves)
        assert o.names == ("x0", "x1")
        for i in range(2):
            assert np.array_equal(o.point(i), leaves[i].detach().numpy())
            np.testing.assert_allclose(o.gradient(i), expected[i].numpy(), rtol=1e-14)
            for array in (o.point(i), o.gradient(i)):
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_what_is_taken_is_the_move_after_rounding(dtype):
    x = draw(50, dtype=dtype)
    spy = a_spy()

    def f(x):
        spy.seen.append(x.detach().double().numpy().copy())
        return (3.0 * x).sum()

    with objective(f, x) as o:
        u = along(o)
        sample = o.at(u, 1e-3)
        made = spy.seen[-1] - x.double().numpy()
        assert np.array_equal(
            spy.seen[-1], torch.from_numpy(x.double().numpy() + 1e-3 * u.move(0)).to(dtype).double().numpy()
        )
        assert sample.claimed_change == pytest.approx(float(o.gradient(0) @ made), rel=1e-14)


def test_tensors_that_are_not_in_the_direction_stay_at_the_point_they_have():
    a, b, c = draw(4), draw(3, 3, seed=1), draw(5, seed=2)
    with objective(lambda a, b, c: a.sin().sum() + b.sin().sum() + c.sin().sum(), a, b, c) as o:
        centre = o.at(None, 0.0).value
        o.at(along(o), 0.5)
        only = o.at(along(o, tensors=(1,)), 0.25)
        u = along(o).move(1)
        expected = a.sin().sum() + (b + 0.25 * torch.from_numpy(u)).sin().sum() + c.sin().sum()
        assert only.value == pytest.approx(float(expected), abs=1e-14)
        assert o.at(None, 0.0).value == centre


def test_large_tensors_are_moved_in_blocks_as_small_ones_are_at_once():
    x = draw(300_001)
    with objective(lambda x: (x**2).sum() / 2, x) as o:
        u = along(o)
        sample = o.at(u, 1e-3)
        moved = x.numpy() + 1e-3 * u.move(0)
        assert sample.value == pytest.approx(float(moved @ moved) / 2, rel=1e-12)
        assert sample.claimed_change == pytest.approx(float(x.numpy() @ (moved - x.numpy())), rel=1e-9)


def test_parameters_move_in_place_wherever_they_are_used():
    model = nn.Linear(4, 4, dtype=torch.float64)
    other = lambda x: model(x) + x @ model.weight  # noqa: E731
    wrapper = nn.ModuleList([model])
    wrapper.forward = other
    with objective(wrapper, draw(3, 4)) as o:
        assert set(o.names) == {"x0", "0.weight", "0.bias"}
        assert defect(o) < 1e-8


def test_parameters_on_one_storage_move_alone():
    model = nn.Linear(6, 3, dtype=torch.float64)
    flat = draw(21)
    model.weight.data, model.bias.data = flat[:18].view(3, 6), flat[18:]
    with objective(model, draw(5, 6)) as o:
        assert all(defect(o, tensors=(i,)) < 1e-8 for i in range(3))
    assert model.bias.data_ptr() == flat[18:].data_ptr()


def test_evaluations_are_counted():
    with objective(lambda x: x.exp().sum(), draw(3)) as o:
        assert (o.n_forward, o.n_backward) == (1, 1)
        o.at(along(o), 0.1)
        o.moved(along(o), 0.1)
        assert (o.n_forward, o.n_backward) == (3, 2)


def test_a_replay_computes_in_float64_and_gives_the_native_tensors_back():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 2))
    before = {k: (v.clone(), v.dtype, v.data_ptr()) for k, v in model.state_dict().items()}
    subject = opened(model, [draw(6, 4, dtype=torch.float32)], names=["x"], seed=0)
    assert needs_replay(subject)
    with checking(subject, seed=0, replay=True) as o:
        assert o.precision == "float64 replay of float32"
        assert o.roundoff == 2.0**-53
        assert defect(o) < 1e-7
    for name, value in model.state_dict().items():
        saved, dtype, place = before[name]
        assert torch.equal(value, saved)
        assert (value.dtype, value.data_ptr()) == (dtype, place)


# --- complex


def test_complex_inputs_are_seen_as_their_real_view():
    z = torch.complex(draw(4), draw(4, seed=1))
    with objective(lambda z: (z * z.conj()).real.sum() + (z**3).imag.sum(), z) as o:
        assert o.shapes == ((4, 2),)
        a, b = z.real.numpy(), z.imag.numpy()
        assert np.array_equal(o.point(0), np.stack([a, b], -1))
        by_a, by_b = 2 * a + 6 * a * b, 2 * b + 3 * (a**2 - b**2)
        np.testing.assert_allclose(o.gradient(0), np.stack([by_a, by_b], -1), rtol=1e-12)
        assert defect(o) < 1e-7


@pytest.mark.parametrize("replay", [False, True])
def test_complex_parameters_and_outputs(replay):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(
                torch.complex(draw(4, 3), draw(4, 3, seed=1)).to(
                    torch.complex64 if replay else torch.complex128
                )
            )

        def forward(self, x):
            return torch.fft.fft(x) @ self.w

    net = Net()
    x = draw(5, 4, dtype=torch.float32 if replay else torch.float64)
    with objective(net, x, replay=replay) as o:
        assert o.shapes == ((5, 4), (4, 3, 2))
        assert defect(o) < 1e-7
    assert net.w.dtype == (torch.complex64 if replay else torch.complex128)


def test_lazy_conjugates_stay_lazy():
    z = torch.complex(draw(4), draw(4, seed=1)).conj()
    spy = a_spy()

    def f(z):
        spy.seen.append(z.is_conj())
        return (z**2).real.sum()

    with objective(f, z) as o:
        assert np.array_equal(o.point(0)[:, 1], z.resolve_conj().imag.numpy())
        assert defect(o) < 1e-8
    assert all(spy.seen)


LAYOUTS: dict[str, Callable[[], torch.Tensor]] = {
    "transposed": lambda: draw(3, 4).t(),
    "every third": lambda: draw(4, 9)[:, ::3],
    "a slice of three": lambda: draw(4, 3, 5)[:, 1],
    "channels last": lambda: draw(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "0-d": lambda: draw(1)[0],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_inputs_keep_their_strides(name):
    x = LAYOUTS[name]()
    spy = a_spy()

    def f(x):
        spy.seen.append(x.stride())
        return x.sin().sum()

    with objective(f, x) as o:
        assert defect(o) < 1e-7
    assert set(spy.seen) == {x.stride()}


@pytest.mark.parametrize("replay", [False, True])
def test_expanded_inputs_are_checked_element_by_element(replay):
    x = draw(4, 1).expand(4, 3)
    with objective(lambda x: x.sin().sum(), x, replay=replay) as o:
        assert o.shapes == ((4, 3),)
        np.testing.assert_allclose(o.gradient(0), x.cos().numpy(), rtol=1e-14)
        assert defect(o) < 1e-8


def test_negative_views_are_read_as_what_they_say():
    x = torch.complex(draw(4), draw(4, seed=1)).conj().imag
    assert x.is_neg()
    with objective(lambda x: (x**3).sum(), x) as o:
        np.testing.assert_allclose(o.gradient(0), 3 * x.numpy(force=True) ** 2, rtol=1e-14)
        assert defect(o) < 1e-7


# --- trees


Pair = namedtuple("Pair", "left right")


def test_inputs_are_named_by_where_they_stand_in_the_tree():
    batch = {"x": draw(3), "n": 2, "mask": torch.tensor([True, False, True])}
    inputs = [(draw(2), draw(2, seed=1)), None, "mean"]

    def f(batch, inputs, pair):
        picked = batch["x"] * batch["mask"] * batch["n"]
        return picked.sin().sum() + (inputs[0][0] * inputs[0][1]).sum() + pair.left.exp().sum()

    with objective(f, batch, inputs, Pair(draw(2), 3.0), names=["batch", "inputs", "pair"]) as o:
        assert o.names[:3] == ("batch['x']", "inputs[0][0]", "inputs[0][1]")
        assert o.names[3].startswith("pair")
        assert all(defect(o, tensors=(i,)) < 1e-8 for i in range(4))


@dataclass
class Output:
    loss: torch.Tensor
    logits: torch.Tensor
    hidden: Any = None


@pytest.mark.parametrize("returned", [dict, tuple, Output, list], ids=lambda kind: kind.__name__)
def test_outputs_of_every_form_count(returned):
    def f(x):
        loss, logits = (x**2).sum(), x.sin()
        if returned is Output:
            return Output(loss, logits, hidden=(x.argmax(), None))
        return (
            {"loss": loss, "logits": logits, "n": 3}
            if returned is dict
            else returned([loss, (logits, x.argmax())])
        )

    with objective(f, draw(5)) as o:
        assert defect(o) < 1e-8
        assert not np.allclose(o.gradient(0), 2 * draw(5).numpy())


def test_the_same_tensor_twice_is_two_inputs_and_a_tied_parameter_is_one():
    x = draw(3)
    with objective(lambda a, b: (a * b).sum(), x, x) as o:
        np.testing.assert_allclose(o.gradient(0), x.numpy())
        assert defect(o, tensors=(0,)) < 1e-8
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False)).double()
    tied[2].weight = tied[0].weight
    with objective(tied, draw(2, 3)) as o:
        assert o.names == ("x0", "0.weight")
        assert defect(o, tensors=(1,)) < 1e-7


def test_frozen_parameters_are_not_checked_and_inputs_without_requires_grad_are():
    model = nn.Linear(3, 3).double()
    model.bias.requires_grad_(False)
    with objective(model, draw(2, 3)) as o:
        assert o.names == ("x0", "weight")


class Wrapper:
    """Around a module, and none itself."""

    def __init__(self, module):
        self.module = module

    def __call__(self, x):
        return self.module(x)


def test_plain_wrappers_and_methods_bring_their_modules_parameters():
    model = nn.Linear(3, 2).double()
    for f in (Wrapper(model), model.forward, nn.DataParallel(model)):
        with objective(f, draw(2, 3)) as o:
            assert len(o.names) == 3
            assert defect(o) < 1e-7
    with objective(lambda rows: model(torch.eye(3, dtype=torch.float64)[rows]), torch.tensor([0, 2])) as o:
        assert len(o.names) == 2


# --- what backward passes do


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x * 1.0

    @staticmethod
    def backward(ctx, g):
        return ctx.factor * g, None


def test_no_gradient_is_a_gradient_of_zero():
    with objective(lambda a, b: (a**2).sum() + 0.0 * b.detach().sum(), draw(3), draw(2)) as o:
        assert np.array_equal(o.gradient(1), np.zeros(2))
        assert o.at(along(o, tensors=(1,)), 1.0).claimed_change == 0.0
    with objective(lambda a: (a.detach() ** 2).sum(), draw(3)) as o:
        assert not o.gradient(0).any()
        assert o.n_backward == 0


def test_a_constant_may_be_a_nested_tensor():
    rows = [draw(2, 3), draw(4, 3)]
    nested = torch.nested.nested_tensor(rows, layout=torch.jagged)
    with objective(lambda x, n: ((x * n.values()) ** 2).sum(), draw(3).requires_grad_(), nested) as o:
        assert {2, 18} <= o.batch_sizes
        assert defect(o) < 1e-8


def test_a_function_may_write_into_its_input():
    def f(x):
        x.mul_(2.0)
        x[0] = 0.0
        return (x**2).sum()

    x = draw(4)
    with objective(f, x) as o:
        np.testing.assert_allclose(o.gradient(0), [0.0, *(8 * x[1:].numpy())])
        assert defect(o) < 1e-8
    assert torch.equal(x, draw(4))


def test_a_function_may_differentiate_inside():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def penalty(x):
        (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return (g**2).sum()

    def backward_inside(x):
        y = model(x)
        y.sum().backward(retain_graph=True)
        return (y**2).sum()

    def functional(x):
        return torch.func.vmap(torch.func.grad(lambda row: model(row).sum()))(x)

    for f in (penalty, backward_inside, functional):
        with objective(f, draw(2, 3)) as o:
            assert defect(o) < 1e-6, f
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_code(reentrant):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    model[0].weight.grad = torch.ones(4, 3, dtype=torch.float64)
    held = model[0].weight.grad

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=reentrant)

    with objective(Net(), draw(5, 3)) as o:
        assert len(o.names) == 5
        assert defect(o) < 1e-7
        assert all(defect(o, tensors=(i,)) < 1e-7 for i in range(5))
    assert model[0].weight.grad is held
    assert torch.equal(held, torch.ones(4, 3, dtype=torch.float64))


def test_sparse_gradients_become_dense():
    model = nn.Embedding(5, 3, sparse=True).double()
    with objective(lambda rows: model(rows).sin(), torch.tensor([0, 2, 2])) as o:
        assert o.gradient(0).shape == (5, 3)
        assert not o.gradient(0)[1].any()
        assert defect(o) < 1e-8


def test_hooks_take_part():
    model = nn.Linear(3, 2, bias=False).double()
    model.register_forward_hook(lambda m, i, o: o * 2.0)
    with objective(model, draw(4, 3)) as o:
        assert defect(o) < 1e-8
    model.weight.register_hook(lambda g: 0.5 * g)
    with objective(model, draw(4, 3)) as o:
        assert defect(o, tensors=(0,)) < 1e-8
        assert defect(o, tensors=(1,)) == pytest.approx(1.0, rel=1e-6)


def test_a_gradient_that_is_a_tensor_of_the_function_is_copied():
    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w):
            ctx.w = w
            return (w**2).sum() / 2

        @staticmethod
        def backward(ctx, g):
            return ctx.w

    class Net(nn.Module):
        given_upstream = True  # the gradient from above is 1

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(draw(4))

        def forward(self):
            return Half.apply(self.w)

    with objective(Net()) as o:
        before = o.gradient(0).copy()
        o.at(along(o), 0.5)
        assert np.array_equal(o.gradient(0), before)
        assert defect(o) < 1e-8


@pytest.mark.parametrize(
    "scope", [torch.no_grad, torch.inference_mode, partial(torch.set_grad_enabled, False)]
)
def test_gradients_may_be_off_outside(scope):
    model = nn.Linear(3, 2).double()
    with scope():
        x = draw(4, 3)
        with objective(model, x) as o:
            assert defect(o) < 1e-7


def test_the_default_dtype_is_float64_only_while_replaying():
    def f(x):
        return (x * torch.linspace(1, 2, 3)).sin().sum()

    with objective(f, draw(3, dtype=torch.float32), replay=True) as o:
        assert torch.get_default_dtype() == torch.float32
        assert defect(o) < 1e-8


# --- state


class Remembers(nn.Module):
    """Changes every kind of state in its forward pass."""

    calls_of_all: list[int] = []  # noqa: RUF012
    total = 0

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3).double()
        self.norm = nn.BatchNorm1d(3).double()
        self.hidden = None
        self.calls = 0
        self.history: list[float] = []
        self.generator = torch.Generator().manual_seed(5)
        self.register_buffer("large", torch.zeros(100_000, dtype=torch.float64))

    def forward(self, x):
        type(self).total += 1
        self.calls_of_all.append(1)
        self.calls += 1
        self.history.append(float(x.detach().sum()))
        y = self.norm(self.linear(x)).tanh()
        self.hidden = y if self.hidden is None else self.hidden + y
        self.large.data.add_(1.0)
        noise = torch.rand(3, generator=self.generator, dtype=torch.float64)
        noise = noise + random.random() + np.random.rand() + torch.rand(3, dtype=torch.float64)
        return (
            self.hidden
            * self.calls
            * len(self.history)
            * noise
            * self.large.mean()
            * self.total
            * len(self.calls_of_all)
        )


def test_stateful_modules_evaluate_the_same_each_time_and_are_restored():
    model = Remembers()
    random.seed(0)
    np.random.seed(0)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    buffers = {k: v.clone() for k, v in model.state_dict().items()}
    with objective(model, draw(4, 3)) as o:
        assert o.at(None, 0.0).value == o.at(None, 0.0).value
        assert defect(o) < 1e-6
    assert (model.calls, model.history, model.hidden) == (0, [], None)
    assert (Remembers.total, Remembers.calls_of_all) == (0, [])
    assert all(torch.equal(v, buffers[k]) for k, v in model.state_dict().items())
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


class Kept:
    def __init__(self):
        self.calls = 0


CACHE: dict[str, Any] = {}
COUNT = 0
KEPT = Kept()


def test_closures_globals_and_functions_that_remember():
    kept: dict[str, Any] = {}
    calls = 0

    def f(x):
        global COUNT
        nonlocal calls
        calls += 1
        COUNT += 1
        KEPT.calls += 1
        f.calls = getattr(f, "calls", 0) + 1
        kept.setdefault("x", x.detach().clone())
        CACHE.setdefault("x", x.detach().clone())
        return (x**2).sum() * calls * COUNT * f.calls * KEPT.calls + (kept["x"] * CACHE["x"]).sum()

    with objective(f, draw(3)) as o:
        centre = o.at(None, 0.0).value
        moved = o.at(along(o), 0.1).value
        assert o.at(along(o), 0.1).value == moved
        assert o.at(None, 0.0).value == centre
        x = draw(3).numpy()
        assert centre == pytest.approx(float(2 * x @ x))
    assert (kept, CACHE, calls, COUNT, KEPT.calls, vars(f)) == ({}, {}, 0, 0, 0, {})


class Sums(torch.autograd.Function):
    """Its backward pass adds to a sum that nobody clears."""

    kept = torch.zeros(3, dtype=torch.float64)

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        Sums.kept += g * ctx.saved_tensors[0].cos()
        return Sums.kept.clone()


def test_a_backward_pass_that_adds_to_the_last_one_shows_at_the_second_call():
    with objective(lambda x: Sums.apply(x).sum(), draw(3)) as o:
        np.testing.assert_allclose(o.gradient(0), draw(3).cos().numpy())
        np.testing.assert_allclose(o.moved(None, 0.0).gradient(0), 2 * draw(3).cos().numpy())
        np.testing.assert_allclose(o.moved(None, 0.0).gradient(0), 2 * draw(3).cos().numpy())
    assert not Sums.kept.any()


def test_activations_kept_from_the_first_call_show_at_another_point():
    cache: dict[Any, torch.Tensor] = {}

    class Cached(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.kept = cache.setdefault(x.shape, x.clone())
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return g * ctx.kept.cos()

    x = draw(3)
    with objective(lambda x: Cached.apply(x).sum(), x) as o:
        assert defect(o) < 1e-8
        there = o.moved(along(o), 0.1)
        np.testing.assert_allclose(there.gradient(0), x.cos().numpy())
        assert defect(there) > 1e-3
        assert defect(o.moved(along(o), 0.1, afresh=True)) < 1e-8
        assert np.array_equal(o.moved(None, 0.0).gradient(0), o.gradient(0))
    assert cache == {}


@pytest.mark.parametrize("detached", [True, False])
def test_a_hidden_state_that_is_carried_on_starts_as_at_first_everywhere(detached):
    class Carries(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(3, 4).double()
            self.hidden = torch.zeros(2, 4, dtype=torch.float64)

        def forward(self, x):
            self.hidden = self.cell(x, self.hidden.detach() if detached else self.hidden)
            return self.hidden

    model = Carries()
    with objective(model, draw(2, 3)) as o:
        there = o.moved(along(o), 0.1)
        assert defect(there) < 1e-6
        again = o.moved(None, 0.0)
        assert all(np.array_equal(o.gradient(i), again.gradient(i)) for i in range(len(o.names)))
    assert not model.hidden.any()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_everything_is_restored_after_an_error(error):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).double()
    spy = a_spy()

    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model
            self.seen = []

        def forward(self, x):
            self.seen.append(x)
            spy.seen.append(x.shape)
            y = self.model(x)
            if len(spy.seen) == 4:
                raise error("stop")
            return y

    net = Fails()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    versions = {k: v._version for k, v in net.state_dict(keep_vars=True).items()}
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    with pytest.raises((UserCodeError, KeyboardInterrupt)), objective(net, draw(4, 3), replay=True) as o:
        [o.at(along(o), 0.1 * k) for k in range(5)]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert {k: v._version for k, v in net.state_dict(keep_vars=True).items()} == versions
    assert net.seen == []
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype


def test_dropout_draws_the_same_mask_each_time():
    with objective(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).double(), draw(4, 8)) as o:
        assert defect(o) < 1e-8


def test_a_forward_pass_that_writes_to_its_weight_starts_from_the_users_weight():
    class Renormed(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(draw(5))

        def forward(self, x):
            self.w.data.mul_(0.5)
            return (self.w * x).sum()

    model = Renormed()
    with objective(model, draw(5, seed=1)) as o:
        assert (
            o.at(None, 0.0).value
            == o.at(None, 0.0).value
            == pytest.approx(float(0.5 * draw(5) @ draw(5, seed=1)))
        )
    assert torch.equal(model.w, draw(5))


def test_a_limited_weight_is_checked_where_the_function_has_put_it():
    weight = 1 + draw(5, 3).abs()  # every row is longer than the limit
    model = nn.Embedding(5, 3, max_norm=0.5, _weight=weight)
    before = model.weight.detach().clone()
    with objective(model, torch.tensor([0, 3])) as o:
        norms = np.linalg.norm(o.point(0), axis=1)
        assert norms[[0, 3]] == pytest.approx(0.5, abs=1e-5)
        assert np.array_equal(o.point(0)[[1, 2, 4]], before.numpy()[[1, 2, 4]])
        inwards = Direction(kind="in", tensors=(0,), made=lambda i: -o.point(0))
        up, here = o.at(inwards, 1e-4), o.at(None, 0.0)
        assert up.value - here.value == pytest.approx(up.claimed_change, rel=1e-9)
    assert torch.equal(model.weight, before)


def test_an_input_by_the_name_of_a_parameter_keeps_apart():
    with objective(nn.Linear(3, 2).double(), draw(2, 3), names=["weight"]) as o:
        assert o.names == ("input weight", "weight", "bias")


# --- parts and per-sample losses


def test_f_is_split_along_the_axes_that_all_outputs_share():
    x = draw(4, 3)
    with objective(lambda x: (x.sin(), {"y": x.exp().unsqueeze(-1)}, x.argmax()), x) as o:
        sample = o.at(along(o), 0.1, split=True)
        assert [p.shape for p in sample.parts] == [(4,), (3,)]
        for part in sample.parts:
            assert part.sum() == pytest.approx(sample.value, rel=1e-12)
        assert o.at(None, 0.0).parts == ()
    with objective(lambda x: (x.sin(), x.sum()), x) as o:
        assert o.at(None, 0.0, split=True).parts == ()
    with objective(lambda x: x.sum(), x) as o:
        assert o.at(None, 0.0, split=True).parts == ()


LOSSES: dict[str, tuple[Any, bool]] = {
    "cross entropy": (nn.CrossEntropyLoss(), True),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), True),
    "weighted": (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5])), True),
    "an ignored class": (nn.CrossEntropyLoss(ignore_index=1), True),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), True),
    "functional": (F.cross_entropy, True),
    "partial": (partial(F.cross_entropy, reduction="sum"), True),
    "a function of the user's": (lambda o, t: F.cross_entropy(o, t), False),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_taken_by_sample_where_that_is_the_same(name):
    loss, can = LOSSES[name]
    x, y = draw(16, 5, dtype=torch.float32), torch.arange(16) % 3
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    with objective(Problem(model=model, loss=loss, train=(x, y))) as o:
        sample = o.at(None, 0.0, split=True)
        assert sample.value == pytest.approx(float(loss(model(x), y).detach()), rel=1e-5)
        assert [p.shape for p in sample.parts] == ([(16,)] if can else [])
        assert defect(o, step=1e-2) < 2e-3
        assert sum(p.sum() for p in sample.parts) == pytest.approx(sample.value if can else 0.0)
    if isinstance(loss, nn.Module):
        assert loss.reduction in ("mean", "sum")


def test_a_loss_that_reduces_in_its_own_way_is_taken_whole():
    class Own(nn.Module):
        reduction = "mean"

        def forward(self, outputs, targets):
            each = (outputs - targets) ** 2
            return each.max() if self.reduction == "mean" else each

    with objective(
        Problem(model=nn.Linear(5, 1), loss=Own(), train=(draw(16, 5).float(), draw(16, 1).float()))
    ) as o:
        assert o.at(None, 0.0, split=True).parts == ()


def test_losses_by_sample_take_the_rounding_of_the_mean_away():
    x, y = draw(64, 5).float(), draw(64, 3, seed=1).float()
    model = nn.Linear(5, 3)
    with objective(Problem(model=model, loss=nn.MSELoss(), train=(x, y))) as by_sample:
        with objective(Problem(model=model, loss=lambda o, t: F.mse_loss(o, t), train=(x, y))) as whole:
            assert by_sample.floor() < whole.floor() / 4
        assert [p.shape for p in by_sample.at(None, 0.0, split=True).parts] == [(64,), (3,)]


# --- forward mode


@pytest.mark.parametrize("replay", [False, True])
def test_forward_mode_takes_what_dual_numbers_say(replay):
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 2)
    ).double()
    with (
        objective(model, draw(5, 3), mode="forward", replay=replay) as o,
        objective(model, draw(5, 3)) as reverse,
    ):
        u = along(o)
        sample, expected = o.at(u, 1e-4), reverse.at(u, 1e-4)
        assert sample.value == expected.value
        assert sample.claimed_change == pytest.approx(expected.claimed_change, rel=1e-10)
        np.testing.assert_allclose(o.gradient(1), reverse.gradient(1))
        assert o.at(None, 0.0).claimed_change == 0.0


def test_forward_mode_of_complex_tensors():
    z = torch.complex(draw(4), draw(4, seed=1))
    with objective(lambda z: z**3, z, mode="forward") as o:
        assert defect(o) < 1e-7


class Square(torch.autograd.Function):
    """Its jvp is off by a factor, and its backward pass is right."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g

    @staticmethod
    def jvp(ctx, t):
        return 2.2 * ctx.saved_tensors[0] * t


def test_a_wrong_jvp_is_what_forward_mode_takes():
    with objective(lambda x: Square.apply(x).sum(), draw(4), mode="forward") as o:
        assert defect(o) == pytest.approx(0.2 / 2.2, rel=1e-4)
    with objective(lambda x: Square.apply(x).sum(), draw(4)) as o:
        assert defect(o) < 1e-8


def test_forward_against_reverse_is_linear_in_the_step():
    with objective(lambda x: Square.apply(x).sum(), draw(4), mode="forward-reverse") as o:
        centre = o.at(None, 0.0)
        for step in (1.0, 1e-3):
            sample = o.at(along(o), step)
            assert sample.value - centre.value == pytest.approx(1.1 * sample.claimed_change, rel=1e-9)
    with objective(lambda x: x.sin().sum(), draw(4), mode="forward-reverse") as o:
        sample = o.at(along(o), 1.0)
        assert abs(sample.value - o.at(None, 0.0).value - sample.claimed_change) < 10 * o.floor()


class NoForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return 2 * g


@pytest.mark.parametrize(
    ("f", "x", "named"),
    [
        (lambda x: NoForward.apply(x), draw(3), "autograd.Function"),
        (lambda w: F.embedding_bag(torch.tensor([[0, 1]]), w), draw(3, 2), "embedding_bag"),
    ],
)
def test_what_has_no_forward_mode_is_named(f, x, named):
    refused = pytest.raises(ArgumentError, match=f'{named}.*mode="reverse"')
    with refused, objective(f, x, mode="forward"):
        pass


def test_forward_mode_needs_no_backward_pass():
    class OnlyForward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_forward(x)
            return x**2

        @staticmethod
        def jvp(ctx, t):
            return 2 * ctx.saved_tensors[0] * t

    with objective(lambda x: OnlyForward.apply(x).sum(), draw(4), mode="forward") as o:
        assert not o.gradient(0).any()
        assert defect(o) < 1e-8


# --- second order


def test_the_gradient_of_the_gradient_is_that_of_the_hessian():
    x = draw(4)
    a = draw(4, 4, seed=1)
    a = a + a.t()
    with objective(lambda x: x @ a @ x / 2, x, order=2) as o:
        assert o.names == ("x0", "grad of output")
        weights = torch.linalg.solve(
            a, torch.from_numpy(o.gradient(0).copy())
        )  # v is one here up to its size
        v = float(o.point(1))
        u = along(o, tensors=(0,))
        moved = o.at(u, 0.5)
        expected = 0.5 * float(weights @ a @ torch.from_numpy(u.move(0)))
        assert moved.value - o.at(None, 0.0).value == pytest.approx(expected, rel=1e-9)
        assert moved.claimed_change == pytest.approx(expected, rel=1e-9)
        assert abs(v) > 0.4


@pytest.mark.parametrize("mode", ["reverse", "forward", "forward-reverse"])
def test_second_order_of_a_module_with_several_outputs(mode):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = self.a(x).tanh()
            return {"h": h, "y": self.b(h).sigmoid()}

    with objective(Net().double(), draw(5, 3), order=2, mode=mode) as o:
        assert o.names == (
            "x0",
            "a.weight",
            "a.bias",
            "b.weight",
            "b.bias",
            "grad of output['h']",
            "grad of output['y']",
        )
        for i in range(len(o.names)):
            u = along(o, tensors=(i,))
            up, down = o.at(u, 1e-5), o.at(u, -1e-5)
            assert up.value - down.value == pytest.approx(
                up.claimed_change - down.claimed_change, rel=1e-6, abs=1e-15
            )


def test_second_order_in_a_replay_and_for_a_problem():
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    problem = Problem(
        model=model, loss=nn.CrossEntropyLoss(), train=(draw(8, 5).float(), torch.arange(8) % 3)
    )
    with objective(problem, order=2, replay=True) as o:
        assert o.names[-1] == "grad of output"
        assert defect(o, step=1e-5) < 1e-7


class Cut(torch.autograd.Function):
    """Its backward pass hides what it depends on."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach()
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.x.cos()


def test_a_backward_pass_that_cuts_the_graph_claims_a_wrong_second_derivative():
    with objective(lambda x: Cut.apply(x).sum(), draw(4), order=2) as o:
        assert not o.gradient(0).any()
        u = along(o, tensors=(0,))
        assert abs(o.at(u, 1e-3).value - o.at(u, -1e-3).value) > 1e-4


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].cos()


def test_a_backward_pass_that_says_that_it_has_no_derivative_is_refused():
    with (
        pytest.raises(ArgumentError, match=r"once_differentiable.*order=1"),
        objective(lambda x: Once.apply(x).sum(), draw(4), order=2),
    ):
        pass


def test_a_linear_function_has_a_second_derivative_of_zero():
    w = draw(3, 3)
    with objective(lambda x: x @ w, draw(2, 3), order=2) as o:
        assert not o.gradient(0).any()
        assert o.at(along(o, tensors=(0,)), 1.0).value == o.at(None, 0.0).value
        assert defect(o, tensors=(1,)) < 1e-8


# --- elsewhere


def test_the_gradient_at_a_moved_point_is_that_of_torch():
    x = draw(4)
    with objective(lambda x: (x**4).sum(), x) as o:
        u = along(o)
        there = o.moved(u, 0.5)
        point = x.numpy() + 0.5 * u.move(0)
        np.testing.assert_allclose(there.point(0), point, rtol=1e-15)
        np.testing.assert_allclose(there.gradient(0), 4 * point**3, rtol=1e-12)
        assert defect(there) < 1e-6
        assert o.at(None, 0.0).value == pytest.approx(float((x**4).sum()), rel=1e-15)
        assert there.at(None, 0.0).value == pytest.approx(float((point**4).sum()), rel=1e-15)
        assert np.array_equal(o.point(0), x.numpy())
        assert (o.n_forward, o.n_backward) == (6, 2)


def test_recomputing_the_gradient_here_gives_the_same_bits():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    with objective(model, draw(16, 8).float()) as o:
        o.at(along(o), 0.1)
        again = o.moved(None, 0.0)
        assert all(np.array_equal(o.gradient(i), again.gradient(i)) for i in range(len(o.names)))


def test_outside_the_domain_there_is_no_moved_objective():
    with objective(lambda x: x.log().sum(), torch.full((3,), 0.1, dtype=torch.float64)) as o:
        outside = Direction(kind="down", tensors=(0,), made=lambda i: -np.ones(3))
        assert o.moved(outside, 1.0) is None
        assert not np.isfinite(o.at(outside, 1.0).value)


@pytest.mark.parametrize(
    ("f", "inputs", "said"),
    [
        (lambda x: x.float().sum(), (torch.arange(3),), "no tensor that requires a gradient"),
        (lambda x: (x - 10).log().sum(), (torch.ones(3),), "not finite"),
        (lambda x: x.sum(), (torch.tensor([1.0, np.nan]),), "not finite"),
        (lambda x: x.sum(), (torch.zeros(0),), "empty"),
        (lambda x: x.sum().item(), (torch.ones(3),), "f returned 3.0"),
        (lambda x: x.sum(), (torch.ones(3).to_sparse(),), "expected a dense one"),
        (lambda x: x.float(), (torch.ones(3).to(torch.float8_e4m3fn),), "no tensor that requires a gradient"),
    ],
)
def test_what_cannot_be_checked_is_named(f, inputs, said):
    with pytest.raises(ArgumentError, match=said), objective(f, *inputs):
        pass
