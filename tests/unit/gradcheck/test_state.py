"""Gradients of code with state, and of code that autograd treats specially: right ones pass, wrong ones in the same place fail, no trace is left."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

import wellposed as wp


class Bent(torch.autograd.Function):
    """The identity, whose backward pass is off by 10 % where it is asked to be."""

    @staticmethod
    def forward(x, wrong):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.wrong = inputs[1]

    @staticmethod
    def backward(ctx, g):
        return 1.1 * g if ctx.wrong else g, None

    @staticmethod
    def vmap(info, dims, x, wrong):
        return Bent.apply(x, wrong), dims[0]


def bent(x: torch.Tensor, wrong: bool) -> torch.Tensor:
    return Bent.apply(x, wrong)


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 3) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Net(nn.Module):
    """Two layers with something in between; the gradient of what comes before it is wrong where it should be."""

    def __init__(self, *between: nn.Module, wrong: bool, width: int = 6) -> None:
        super().__init__()
        self.wrong = wrong
        self.first, self.between, self.last = (
            nn.Linear(5, width),
            nn.Sequential(*between),
            nn.Linear(width, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.between(bent(self.first(x), self.wrong)).tanh())


def net(*between: nn.Module, wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    return Net(*between, wrong=wrong).double(), (draw(8, 5),)


class Carries(nn.Module):
    """Keeps its hidden state from call to call, detached as for truncated backpropagation."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.wrong, self.cell = wrong, nn.GRUCell(5, 6)
        self.hidden: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = None if self.hidden is None else self.hidden.detach()
        self.hidden = self.cell(bent(x, self.wrong), before)
        return self.hidden


class Counts(nn.Module):
    """Its output depends on how often it was called, and on generators of its own and of everybody."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.wrong, self.linear = wrong, nn.Linear(5, 4)
        self.calls, self.seen = 0, []
        self.generator = np.random.default_rng(0)
        self.register_buffer("running", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        y = self.linear(bent(x, self.wrong)).sin()
        before = self.running.clone()
        self.running.mul_(0.9).add_(y.detach().mean(0))
        noise = 1 + 0.1 * (random.random() + np.random.rand() + self.generator.random())
        return y * self.calls * len(self.seen) * noise + before


class Normed(nn.Module):
    """Computes its weight again only after the parameter was changed."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.wrong, self.g = wrong, nn.Parameter(draw(5, 4))
        self.kept, self.version = torch.zeros(5, 4), -1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.version != self.g._version:
            self.kept, self.version = self.g.detach().exp(), self.g._version
        return torch.tanh(x @ Exponential.apply(self.g, self.kept, self.wrong))


class Exponential(torch.autograd.Function):
    """Of a parameter, as it was computed before."""

    @staticmethod
    def forward(ctx, g, kept, wrong):
        ctx.save_for_backward(kept)
        ctx.wrong = wrong
        return kept.clone()

    @staticmethod
    def backward(ctx, d):
        return d * ctx.saved_tensors[0] * (1.1 if ctx.wrong else 1.0), None, None


class Tied(nn.Module):
    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.wrong, self.a, self.b = wrong, nn.Linear(5, 5), nn.Linear(5, 5)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(bent(self.a(x).tanh(), self.wrong))


class Penalised(nn.Module):
    """The norm of its own gradient, as in a gradient penalty."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.wrong, self.body = wrong, nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (g,) = torch.autograd.grad(self.body(x).sum(), x, create_graph=True)
        return bent((g**2).sum(1), self.wrong)


class Checkpointed(nn.Module):
    def __init__(self, wrong: bool, *, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = Net(nn.Dropout(0.3), wrong=wrong), reentrant

    def forward(self, x: torch.Tensor) -> Any:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


@dataclass
class Output:
    loss: torch.Tensor
    logits: torch.Tensor
    best: torch.Tensor
    hidden: None = None


def memoised(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    """A table that is computed at the first call and kept in a closure."""
    table: dict[int, torch.Tensor] = {}

    def f(x: torch.Tensor) -> torch.Tensor:
        angles = table.setdefault(x.shape[-1], torch.arange(x.shape[-1]).to(x.dtype))
        return bent(x, wrong) * angles.cos()

    return f, (draw(4, 5),)


def in_place(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    def f(x: torch.Tensor) -> torch.Tensor:
        x.mul_(2.0).add_(x.detach().sign())
        x[:, 0] = x[:, 1].exp()
        return bent(x, wrong) ** 2

    return f, (draw(4, 5),)


def backward_inside(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    model = nn.Linear(5, 3).double()

    def f(x: torch.Tensor) -> torch.Tensor:
        model(x).sum().backward(retain_graph=True)
        return bent(model(x).sin(), wrong)

    return f, (draw(4, 5),)


def unused(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    return lambda x, y, flag, name: bent(x.sin(), wrong), (draw(4), draw(3), None, "name")


def twice(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    x = draw(4, 5)
    return lambda a, b: (bent(a, wrong) * b.exp()).sum(), (x, x)


def frozen(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    model, inputs = net(wrong=wrong)
    model.last.requires_grad_(False)
    return model, inputs


def hooked(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    model, inputs = net(wrong=False)
    model.first.register_forward_hook(lambda m, i, o: 2 * o)
    model.first.weight.register_hook(lambda g: 0.9 * g if wrong else None)
    return model, inputs


def mapped(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    w = draw(5, 3)
    return lambda x: torch.func.vmap(lambda row: bent(row @ w, wrong).sin())(x), (draw(4, 5),)


def trees(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    def f(batch: dict[str, Any], *pairs: Any) -> Output:
        logits = bent(batch["x"], wrong) * batch["mask"] + pairs[0][1]
        return Output(loss=(logits**2).sum(), logits=logits, best=logits.argmax())

    return f, ({"x": draw(4, 3), "mask": torch.arange(4)[:, None] < 3, "n": 2}, [draw(1), draw(4, 3)])


def sparse(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    table = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Tanh()).double()

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = table

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return bent(self.table(rows), wrong) ** 2

    return Rows(), (torch.tensor([0, 3, 3, 8]),)


class Wrapper:
    """Around a module, and none itself."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x)


def wrapped(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    model, inputs = net(wrong=wrong)
    return Wrapper(model), inputs


def complex_spectrum(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    z = torch.complex(draw(4, 5), draw(4, 5, seed=4))
    return lambda z, w: torch.fft.fft(bent(z, wrong) * w), (z.conj(), draw(5))


def strided(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    qkv = draw(2, 6, 3, 4)
    return lambda q, k, b: (bent(q, wrong) @ k.mT + b).softmax(-1), (
        qkv[:, :, 0],
        qkv[:, :, 1],
        draw(6).expand(6, 6),
    )


def norm_in_single_precision(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    return Net(nn.BatchNorm1d(6), nn.Dropout(0.3), wrong=wrong), (draw(8, 5, dtype=torch.float32),)


def problem(wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    model = Net(nn.BatchNorm1d(6), nn.Dropout(0.2), wrong=wrong)
    data = (draw(64, 5, dtype=torch.float32), torch.arange(64) % 3)
    return wp.Problem(model=model, loss=nn.CrossEntropyLoss(), train=data), ()


def spectral() -> nn.Module:
    """In train mode its gradient is one only as far as the power iteration has converged."""
    return parametrizations.spectral_norm(nn.Linear(6, 6)).eval()


SETTINGS: dict[str, Callable[[bool], tuple[Any, tuple[Any, ...]]]] = {
    "dropout": lambda wrong: net(nn.Dropout(0.5), wrong=wrong),
    "batch norm": lambda wrong: net(nn.BatchNorm1d(6), wrong=wrong),
    "batch norm in eval mode": lambda wrong: net(nn.BatchNorm1d(6).eval(), wrong=wrong),
    "batch norm without momentum": lambda wrong: net(nn.BatchNorm1d(6, momentum=None), wrong=wrong),
    "spectral norm in eval mode": lambda wrong: net(spectral(), wrong=wrong),
    "weight norm": lambda wrong: net(parametrizations.weight_norm(nn.Linear(6, 6)), wrong=wrong),
    "random slopes": lambda wrong: net(nn.RReLU(), wrong=wrong),
    "a hidden state that is carried on": lambda wrong: (Carries(wrong).double(), (draw(3, 5),)),
    "counters, buffers and generators": lambda wrong: (Counts(wrong).double(), (draw(3, 5),)),
    "a table kept in a closure": memoised,
    "a cache that is renewed with its weight": lambda wrong: (Normed(wrong), (draw(3, 5),)),
    "tied parameters": lambda wrong: (Tied(wrong).double(), (draw(3, 5),)),
    "one tensor twice": twice,
    "frozen parameters": frozen,
    "no gradient": unused,
    "writing into the input": in_place,
    "a backward pass inside": backward_inside,
    "a gradient penalty": lambda wrong: (Penalised(wrong).double(), (draw(3, 5),)),
    "hooks": hooked,
    "a checkpoint": lambda wrong: (Checkpointed(wrong, reentrant=False).double(), (draw(8, 5),)),
    "a re-entrant checkpoint": lambda wrong: (Checkpointed(wrong, reentrant=True).double(), (draw(8, 5),)),
    "vmap": mapped,
    "trees": trees,
    "sparse gradients": sparse,
    "a plain wrapper": wrapped,
    "complex": complex_spectrum,
    "strides": strided,
    "float32": norm_in_single_precision,
    "a problem": problem,
}


def modules_in(f: Any) -> list[nn.Module]:
    held = [f, getattr(f, "module", None), getattr(f, "model", None)]
    held += [c.cell_contents for c in getattr(f, "__closure__", None) or ()]
    return [m for m in held if isinstance(m, nn.Module)]


def trace(f: Any, inputs: Any) -> list[Any]:
    """A comparable copy of what a check could leave something in."""
    found: list[Any] = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    for module in modules_in(f):
        for name, tensor in module.state_dict(keep_vars=True).items():
            gradient = None if tensor.grad is None else tensor.grad.tolist()
            found.append((name, tensor.tolist(), tensor.dtype, tensor.data_ptr(), tensor._version, gradient))
        for name, part in module.named_modules():
            found.append((name, part.training, getattr(part, "calls", 0), list(getattr(part, "seen", ()))))
            found.append(getattr(part, "hidden", None))
    found += [repr(c.cell_contents) for c in getattr(f, "__closure__", None) or ()]
    found += [(t.tolist(), t._version, t.requires_grad) for t in _tensors(inputs)]
    return [*found, torch.get_default_dtype(), torch.is_grad_enabled()]


def _tensors(value: Any) -> list[torch.Tensor]:
    return [v for v in tree_leaves(value) if isinstance(v, torch.Tensor)]


def built(name: str, wrong: bool) -> tuple[Any, tuple[Any, ...]]:
    torch.manual_seed(0)
    return SETTINGS[name](wrong)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_right_gradient_passes_and_leaves_no_trace(name: str) -> None:
    f, inputs = built(name, wrong=False)
    before = trace(f, inputs)
    check = wp.check_gradients(f, *inputs)
    assert check, str(check)
    assert trace(f, inputs) == before


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_gradient_in_the_same_place_fails_and_leaves_no_trace(name: str) -> None:
    f, inputs = built(name, wrong=True)
    before = trace(f, inputs)
    check = wp.check_gradients(f, *inputs)
    assert check.verdict == "fail", str(check)
    assert trace(f, inputs) == before


@pytest.mark.parametrize("scope", [torch.no_grad, torch.inference_mode, lambda: torch.device("cpu")])
@pytest.mark.parametrize("wrong", [False, True])
def test_it_does_not_matter_what_is_on_outside(scope: Any, wrong: bool) -> None:
    with scope():
        f, inputs = net(nn.BatchNorm1d(6), wrong=wrong) if scope is torch.no_grad else memoised(wrong)
        assert wp.check_gradients(f, *inputs).verdict == ("fail" if wrong else "pass")


@pytest.mark.parametrize("wrong", [False, True])
def test_double_precision_as_the_default(wrong: bool) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        f, inputs = Net(nn.BatchNorm1d(6), wrong=wrong), (draw(8, 5),)
        assert wp.check_gradients(f, *inputs).verdict == ("fail" if wrong else "pass")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


class Fails(nn.Module):
    """Raises at a call of its choice, after changing its state."""

    def __init__(self, error: type[BaseException], at: int) -> None:
        super().__init__()
        self.body, self.error, self.at = Counts(wrong=False), error, at
        self.clock = clock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        self.clock.calls += 1
        if self.clock.calls == self.at:
            raise self.error("stop")
        return y


def clock() -> Any:
    """Goes on from evaluation to evaluation: what other threads may act on is not restored."""
    counts: Any = threading.Event()
    counts.calls = 0
    return counts


@pytest.mark.parametrize("at", [1, 2, 9])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_everything_is_given_back_after_an_error(error: Any, at: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = Fails(error, at).to(dtype), draw(3, 5, dtype=dtype)
    before = trace(model, (x,))
    with suppress(wp.WellposedError, KeyboardInterrupt):  # a function may also raise beside its domain
        wp.check_gradients(model, x, replay=dtype is torch.float32)
    assert model.clock.calls >= at
    assert trace(model, (x,)) == before


def test_an_uncleared_sum_fails_although_its_first_gradient_is_right() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(draw(4, 3))
            self.register_buffer("workspace", torch.zeros(4, 3, dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            workspace = self.workspace

            class Product(torch.autograd.Function):
                @staticmethod
                def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
                    ctx.save_for_backward(x, w)
                    return x @ w

                @staticmethod
                def backward(ctx: Any, g: torch.Tensor) -> Any:
                    x, w = ctx.saved_tensors
                    workspace.add_(x.mT @ g)
                    return g @ w.mT, workspace.clone()

            return Product.apply(x, self.w).sin()

    check = wp.check_gradients(Sums(), draw(5, 4))
    assert (check.verdict, check.cause) == ("fail", "accumulate"), str(check)


def test_the_second_order_of_a_stateful_net() -> None:
    model, inputs = net(nn.BatchNorm1d(6), nn.Dropout(0.3), wrong=False)
    assert wp.check_gradients(model, *inputs, order=2), "the gradient of the gradient is right"


@pytest.mark.parametrize("mode", ["forward", "forward-reverse"])
def test_the_forward_mode_of_a_stateful_net(mode: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 2))
    check = wp.check_gradients(model.double(), draw(8, 5), mode=mode)
    assert check, str(check)


@pytest.mark.parametrize("line", [1, 2, 3, 5, 8, 13, 21])
@pytest.mark.parametrize("function", [forward_ad.enter_dual_level, forward_ad.exit_dual_level])
def test_ctrl_c_leaves_no_level_of_dual_numbers_open(function: Any, line: int) -> None:
    passed = 0

    def interrupt(frame: Any, event: str, _: Any) -> Any:
        nonlocal passed
        if frame.f_code is function.__code__:
            passed += 1
            if passed == line:
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt
        return None

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            wp.check_gradients(torch.sin, draw(4), mode="forward")
    finally:
        sys.settrace(before)
    with forward_ad.dual_level():  # raises where one is open
        pass
    assert passed == line
