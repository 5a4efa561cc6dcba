"""check_gradients: healthy code passes, sick code fails by name, and what cannot be told is said to be so."""

from __future__ import annotations

import math
import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from tests.cases.gradient_bugs import BUGS, Bend, draw, hand_written
from wellposed.errors import ArgumentError, ProblemError, UserCodeError


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(11, 8), nn.LayerNorm(8)
        self.project, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, tokens):
        x = self.embed(tokens)
        q, k, v = self.project(x).chunk(3, -1)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(8)).softmax(-1)
        return self.norm(x + self.out(F.dropout(weights @ v, 0.2, self.training)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7, 2, batch_first=True, dropout=0.3)
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


class Absolute(nn.Module):
    def forward(self, x):
        return x.abs()


def without_biases(model):
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.zeros_(parameter)
    return model


def relu_net():
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))


HEALTHY = {
    "relu": (relu_net, lambda: torch.randn(16, 10)),
    "relu on rows of zeros without biases": (
        lambda: without_biases(relu_net()),
        lambda: torch.randn(16, 10) * (torch.arange(16)[:, None] > 3),
    ),
    "absolute value": (
        lambda: nn.Sequential(nn.Linear(10, 32), Absolute(), nn.Linear(32, 16), Absolute(), nn.Linear(16, 3)),
        lambda: torch.randn(16, 10),
    ),
    "convolution and max-pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
        ),
        lambda: torch.randn(8, 1, 12, 12),
    ),
    "convolution and batch norm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        lambda: torch.randn(8, 3, 8, 8),
    ),
    "batch norm after a bias": (
        lambda: nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 2)),
        lambda: torch.randn(16, 10),
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.Dropout(0.5), nn.Linear(32, 3)),
        lambda: torch.randn(16, 10),
    ),
    "lstm": (Recurrent, lambda: torch.randn(4, 6, 5)),
    "attention, embedding and layer norm": (Attention, lambda: torch.randint(0, 11, (4, 6))),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_nets_pass(name, dtype):
    make, inputs = HEALTHY[name]
    for seed in range(3):
        torch.manual_seed(seed)
        model, x = make().to(dtype), inputs()
        check = wp.check_gradients(model, x.to(dtype) if x.is_floating_point() else x, seed=seed)
        assert check, str(check)
        assert check.resolution <= 1e-2


@pytest.mark.parametrize("seed", range(20))
def test_the_correct_backward_passes(seed):
    problem = draw(800, seed=seed)
    check = wp.check_gradients(hand_written(problem, Bend()), *problem.parameters, seed=seed)
    assert check, str(check)
    assert check.n_forward <= 40


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_bug_is_caught_and_named_or_left_unnamed(bug):
    problem = draw(800)
    check = wp.check_gradients(hand_written(problem, bug.bend(problem)), *problem.parameters)
    assert check.verdict == "fail"
    assert check.cause == bug.cause


@pytest.mark.parametrize("bug", [BUGS[i] for i in (3, 10, 11, 20)], ids=lambda bug: bug.name)
def test_bugs_are_caught_among_a_hundred_thousand_parameters(bug):
    problem = draw(100_000)
    check = wp.check_gradients(hand_written(problem, bug.bend(problem)), *problem.parameters)
    assert (check.verdict, check.cause) == ("fail", bug.cause)


def test_float32_code_is_replayed_in_float64():
    problem = draw(800, dtype=torch.float32)
    bug = next(b for b in BUGS if b.name == "one element 1 % off")
    check = wp.check_gradients(hand_written(problem, bug.bend(problem)), *problem.parameters)
    assert check.precision == "float64 replay of float32"
    assert check.cause == "sparse"


def test_the_worst_element_is_found():
    problem = draw(800)
    expected = hand_written(problem, Bend())
    leaves = [p.clone().requires_grad_() for p in problem.parameters]
    right = torch.autograd.grad(expected(*leaves), leaves)[0]
    bug = next(b for b in BUGS if b.name == "one element zero")
    worst = wp.check_gradients(hand_written(problem, bug.bend(problem)), *problem.parameters).worst
    assert worst is not None
    assert worst.analytic == 0
    assert worst.numerical == pytest.approx(float(right[worst.index]), rel=1e-4)


def kernel(factor=1.0):
    class SinglePrecision(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            if x.dtype != torch.float32:
                raise TypeError("this kernel takes float32")
            ctx.save_for_backward(x)
            return x.tanh()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return factor * g * (1 - x.tanh() ** 2)

    return SinglePrecision


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.05, "fail"), (-1.0, "fail")])
def test_a_kernel_that_takes_float32_only_is_checked_in_float32(factor, verdict):
    torch.manual_seed(0)
    check = wp.check_gradients(lambda x: kernel(factor).apply(x), torch.randn(20, 10))
    assert (check.verdict, check.precision) == (verdict, "float32")
    assert "float32" in check.detail


def test_a_bug_that_only_float32_runs_into_is_not_lost_in_the_replay():
    torch.manual_seed(0)
    check = wp.check_gradients(
        lambda x: (x.tanh() if x.dtype == torch.float64 else kernel(2.0).apply(x)).sum(), torch.randn(20, 10)
    )
    assert check.verdict == "fail"


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.02, "fail")])
def test_rounding_hidden_inside_is_neither_an_alarm_nor_a_cover(factor, verdict):
    class Cast(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.float().sin().to(x.dtype)

        @staticmethod
        def backward(ctx, g):
            return factor * g * ctx.saved_tensors[0].cos()

    torch.manual_seed(0)
    x = torch.randn(50, 4, dtype=torch.float64)
    assert wp.check_gradients(lambda x: Cast.apply(x).sum() + (x**2).sum(), x).verdict == verdict


def test_a_numpy_gradient_is_checked():
    a, b = np.array([1.0, 2.0, -0.5]), np.array([0.3, 0.1, 2.0])
    assert wp.check_gradients(lambda a, b: (a * b**2).sum(), a, b, gradient=lambda a, b: (b**2, 2 * a * b))
    check = wp.check_gradients(lambda a, b: (a * b**2).sum(), a, b, gradient=(b**2, a * b))
    assert [t.verdict for t in check.tensors] == ["pass", "fail"]
    assert check.cause == "scaled"
    assert check.worst is not None
    assert check.worst.name == "b"


def test_a_minimum_has_a_gradient_of_zero():
    assert wp.check_gradients(lambda a: (a**2).sum(), np.zeros(3), gradient=np.zeros(3))
    assert not wp.check_gradients(lambda a: (a**2 + a).sum(), np.zeros(3), gradient=np.zeros(3))


def test_ngs_number_is_that_of_the_whole_gradient():
    a = np.array([1.0, 2.0, -0.5])
    check = wp.check_gradients(lambda a: (a**2).sum(), a, gradient=np.array([2.0, 4.0, -2.0]))
    wrong, right = np.array([2.0, 4.0, -2.0]), 2 * a
    expected = np.linalg.norm(wrong - right) / (np.linalg.norm(wrong) + np.linalg.norm(right))
    assert check.relative_error == pytest.approx(expected, rel=1e-6)


def test_a_kink_with_nothing_to_fall_back_on_is_inconclusive():
    check = wp.check_gradients(lambda a: np.abs(a).sum(), np.zeros(3), gradient=np.zeros(3))
    assert check.verdict == "inconclusive"
    assert "kink" in check.detail
    assert not check


def test_a_gradient_too_small_to_be_seen_is_inconclusive():
    check = wp.check_gradients(
        lambda a, b: (a**2).sum() + 1e-13 * np.sin(b).sum(),
        np.ones(3),
        np.ones(3),
        gradient=lambda a, b: (2 * a, 1e-13 * np.cos(b)),
    )
    assert check.verdict == "inconclusive"
    assert [t.verdict for t in check.tensors] == ["pass", "inconclusive"]


def test_what_is_not_deterministic_is_inconclusive():
    clock: Any = threading.Event()  # what other threads may act on is not put back between evaluations
    clock.calls = 0

    def f(x):
        clock.calls += 1
        return x.sum() * (1 + 0.1 * clock.calls)

    check = wp.check_gradients(f, torch.ones(3))
    assert check.verdict == "inconclusive"
    assert "not deterministic" in check.detail


def test_a_detached_output_has_a_gradient_of_zero():
    assert wp.check_gradients(lambda x: (x.detach() ** 2).sum(), torch.ones(3)).cause == "zero"


def problem_of(model):
    torch.manual_seed(0)
    return wp.Problem(
        model=model, loss=nn.CrossEntropyLoss(), train=(torch.randn(50, 10), torch.randint(0, 3, (50,)))
    )


def test_a_problem_is_checked_by_its_parameters():
    model = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3))
    check = wp.check_gradients(problem_of(model))
    assert check, str(check)
    assert check.tensors[0].name == "0.weight"


def state_of(model):
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return (
        {name: (t.clone(), t.dtype, t.data_ptr(), t._version) for name, t in tensors.items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        [m.training for m in model.modules()],
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
    )


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


class Failing(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.calls, self.after = [0], after

    def forward(self, x):
        self.calls[0] += 1
        if self.calls[0] > self.after:
            raise KeyboardInterrupt
        return x


@pytest.mark.parametrize("interrupted", [False, True])
def test_no_trace_is_left(interrupted):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 8), nn.Dropout(0.5), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model[0].weight.grad = torch.ones_like(model[0].weight)
    x = torch.randn(6, 10)
    if interrupted:
        model.append(Failing(after=0))
    before, inputs = state_of(model), x.clone()
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            wp.check_gradients(model, x)
    else:
        wp.check_gradients(model, x)
    assert same(state_of(model), before)
    assert torch.equal(x, inputs)
    assert not x.requires_grad


def test_the_same_seed_gives_the_same_check():
    problem = draw(800)
    checks = [
        wp.check_gradients(hand_written(problem, BUGS[6].bend(problem)), *problem.parameters)
        for _ in range(2)
    ]
    assert str(checks[0]) == str(checks[1])


def test_a_check_fits_on_one_screen():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(20)), nn.LogSoftmax(-1))
    texts = [str(wp.check_gradients(model, torch.randn(4, 6)))]
    problem = draw(800)
    texts += [
        str(wp.check_gradients(hand_written(problem, b.bend(problem)), *problem.parameters)) for b in BUGS[:4]
    ]
    for text in texts:
        assert len(text.splitlines()) <= 24
        assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "gradient", "said"),
    [
        ((lambda x: x.float().sum(), torch.arange(3)), None, "no tensor that requires a gradient"),
        ((lambda x: (x - 10).log().sum(), torch.ones(3)), None, "not finite"),
        ((lambda x: x.sum(), torch.tensor([1.0, math.nan])), None, "not finite"),
        ((lambda x: x.sum(), torch.zeros(0)), None, "empty"),
        ((lambda x: x.sum().item(), torch.ones(3)), None, "f returned 3.0"),
        ((lambda x: x.sum(), torch.ones(3)), np.ones(3), "gradient="),
        ((lambda a: a.sum(), np.ones(3)), None, "gradient= is missing"),
        ((lambda a: a.sum(), np.ones(3)), np.ones(2), r"shape \(2,\)"),
        ((lambda a: a.sum(), np.ones(3)), (np.ones(3), np.ones(3)), "2 arrays for 1"),
        ((lambda a: a, np.ones(3)), np.ones(3), r"expected \(3, 3\), .* its Jacobian"),
        ((lambda a: a[:0], np.ones(3)), np.ones(3), "one real number, or an array of them"),
        ((lambda a: a + 1j, np.ones(3)), np.ones(3), "one real number, or an array of them"),
        ((lambda a: a.sum(), np.arange(3)), np.ones(3), "no input holds floats"),
        ((lambda a: sum(a), (i for i in range(3))), np.ones(3), "one-shot"),
        ((3.0, np.ones(3)), np.ones(3), "f is 3.0"),
    ],
)
def test_what_cannot_be_checked_is_named(arguments, gradient, said):
    with pytest.raises(ArgumentError, match=said):
        wp.check_gradients(*arguments, gradient=gradient)


def test_a_problem_brings_its_own_data():
    with pytest.raises(ArgumentError, match="brings its own data"):
        wp.check_gradients(problem_of(relu_net()), torch.ones(3))
    with pytest.raises(ProblemError, match="no parameter"):
        wp.check_gradients(problem_of(nn.ReLU()))


def test_the_users_own_error_is_passed_on():
    with pytest.raises(UserCodeError, match="RuntimeError") as raised:
        wp.check_gradients(lambda x: x @ x, torch.ones(2, 3))
    assert isinstance(raised.value.__cause__, RuntimeError)
