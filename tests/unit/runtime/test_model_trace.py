"""A trace sees functional code, raw parameters and repeated calls; names the user's line; merges; and keeps no tensor."""

from __future__ import annotations

import gc
import inspect
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.errors import UserCodeError
from wellposed.runtime.model_trace import ModelTrace, Operation, TensorStats
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.restore import preserved
from wellposed.runtime.torch.session import Runner
from wellposed.runtime.torch.trace import trace

X, Y = torch.randn(32, 6, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 3


def traced(
    model: nn.Module,
    *batches: tuple[torch.Tensor, torch.Tensor],
    loss: Callable[..., torch.Tensor] = F.cross_entropy,
) -> ModelTrace:
    runner = Runner(wp.Problem(model=model, loss=loss))
    with preserved(model):
        return trace(runner, [Batch(args=(x,), targets=y) for x, y in batches or [(X, Y)]], seed=0)


def operations(found: ModelTrace, name: str) -> list[Operation]:
    return [o for key, o in found.operations.items() if key.name == name]


class Functional(nn.Module):
    """Raw parameters, functional code, one weight used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(x @ self.w)
        h = torch.tanh(h @ self.w) + x
        return self.head(h)


def test_operations_of_functional_code_are_seen_with_their_parameters_and_inputs() -> None:
    found = traced(Functional())
    first, second = operations(found, "matmul")
    assert first.parameters == second.parameters == ("w",)
    assert first.inputs == (-1,)
    keys = list(found.operations)
    assert [keys[i].name for i in second.inputs] == ["relu"]
    (addition,) = operations(found, "add")
    assert [-1 if i < 0 else keys[i].name for i in addition.inputs] == ["tanh", -1]
    (head,) = operations(found, "linear")
    assert head.parameters == ("head.weight", "head.bias")
    assert head.key.module == "head"
    assert first.key.module == "Functional"


def test_each_operation_has_the_file_and_line_of_the_users_code() -> None:
    source, start = inspect.getsourcelines(Functional.forward)
    line_of = {text.strip(): start + i for i, text in enumerate(source)}
    found = traced(Functional())
    for operation, text in (
        (operations(found, "relu")[0], "h = torch.relu(x @ self.w)"),
        (operations(found, "tanh")[0], "h = torch.tanh(h @ self.w) + x"),
        (operations(found, "linear")[0], "return self.head(h)"),
    ):
        line = operation.key.line
        assert line is not None
        assert (line.file, line.line) == (__file__, line_of[text])
    assert str(found.modules["head"].line) == f"test_model_trace.py:{line_of['return self.head(h)']}"


def test_torchs_own_modules_alone_have_no_line() -> None:
    found = traced(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)))
    assert all(key.line is None for key in found.operations if key.module in "012")


def test_forward_and_backward_sums_are_those_of_the_tensors() -> None:
    model = Functional()
    found = traced(model)
    h = torch.relu(X @ model.w)
    h.retain_grad()
    g = torch.tanh(h @ model.w) + X
    F.cross_entropy(model.head(g), Y).backward()
    relu = operations(found, "relu")[0]
    assert relu.output.rms == pytest.approx(h.square().mean().sqrt().item(), rel=1e-6)
    assert relu.output.sample_std == pytest.approx(h.var(0, correction=0).mean().sqrt().item(), rel=1e-6)
    assert relu.output.zeros == int((h == 0).sum())
    assert relu.output.largest == float(h.detach().abs().max())
    assert relu.gradient is not None
    assert h.grad is not None
    assert relu.gradient.rms == pytest.approx(32 * float(h.grad.square().mean().sqrt()), rel=1e-5)


def test_a_module_that_is_called_several_times_is_one_module_and_several_operations() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.Linear(6, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(3):
                x = self.cell(x)
            return self.head(x)

    found = traced(Again())
    calls = [o for o in operations(found, "linear") if o.key.module == "cell"]
    assert [o.key.nth for o in calls] == [0, 1, 2]
    together = calls[0].output | calls[1].output | calls[2].output
    assert found.modules["cell"].output == together
    assert together.count == 3 * 32 * 6


def test_traces_of_two_batches_merge_to_the_trace_of_both() -> None:
    model = Functional()
    one, two = (X, Y), (2 * X.flip(0)[:20], Y[:20])
    both, merged = traced(model, one, two), traced(model, one) | traced(model, two)
    assert list(both.operations) == list(merged.operations)
    for key, operation in both.operations.items():
        assert merged.operations[key].inputs == operation.inputs
        for a, b in (
            (operation.output, merged.operations[key].output),
            (operation.gradient, merged.operations[key].gradient),
        ):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert a.rms == pytest.approx(b.rms, rel=1e-12)
                assert a.sample_std == pytest.approx(b.sample_std, rel=1e-12, nan_ok=True)
    assert both.gradient_squares == merged.gradient_squares
    assert both.modules["head"].alive == merged.modules["head"].alive


def test_merging_sums_is_that_of_both_tensors() -> None:
    a = TensorStats(count=2, total=3, squares=5, compared=2, deviations=1, largest=2)
    b = TensorStats(count=1, total=-4, squares=16, nans=1, largest=4)
    assert (a | b) == TensorStats(count=3, total=-1, squares=21, nans=1, compared=2, deviations=1, largest=4)
    assert (a | TensorStats()) == a
    assert math.isnan(TensorStats().rms)


def test_samples_that_are_equal_deviate_by_exactly_nothing() -> None:
    found = traced(Functional(), (torch.full((8, 6), 0.1).repeat(1, 1), Y[:8]))
    assert operations(found, "relu")[0].output.sample_std == 0


def test_constants_are_no_operations_and_views_carry_on_what_they_view() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mask = torch.ones(6).cumsum(0) / 6
            return self.head((x * mask).view(4, -1, 6).transpose(0, 1).transpose(0, 1).reshape(-1, 6))

    found = traced(Masked())
    assert [key.name for key in found.operations] == ["mul", "linear", "cross_entropy"]
    assert operations(found, "linear")[0].inputs == (0,)


def test_the_first_value_that_is_not_finite_is_told_with_its_line() -> None:
    class Logs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.first(x)
            h = torch.log(h)
            return self.head(h)

    origin = traced(Logs()).nonfinite
    _, start = inspect.getsourcelines(Logs.forward)
    assert origin is not None
    assert (origin.where, origin.direction) == ("Logs", "forward")
    assert origin.line is not None
    assert origin.line.line == start + 2


def test_minus_infinity_in_a_mask_is_no_fault() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = (self.project(x) @ x.T).masked_fill(torch.eye(len(x)).bool(), -math.inf)
            return self.head(scores.softmax(-1) @ x)

    assert traced(Attends()).nonfinite is None


def test_nothing_is_left_behind_and_no_tensor_is_kept() -> None:
    from torch.nn.modules import module as torch_modules

    def counts() -> tuple[int, int]:
        return len(torch_modules._global_forward_hooks), len(torch_modules._global_forward_pre_hooks)

    before = counts()
    traced(Functional())
    assert counts() == before

    class Raises(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.head(x)
            raise ValueError("no")

    with pytest.raises(UserCodeError):
        traced(Raises())
    assert counts() == before
    assert not torch.overrides._get_current_function_mode_stack()
    found = traced(Functional())
    gc.collect()
    large = [o for o in gc.get_objects() if type(o) is torch.Tensor and o.shape == (32, 3)]
    assert not large
    assert found.operations


class Spreading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor, links: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(links @ self.layer(x)).mean(1))


def test_no_graph_is_left_behind() -> None:
    model = Spreading()
    runner = Runner(wp.Problem(model=model, loss=F.cross_entropy))
    batch = Batch(args=(torch.randn(6, 5, 4), torch.rand(6, 5, 5)), targets=torch.zeros(6, dtype=torch.long))
    trace(runner, [batch], seed=0)
    assert [p._use_count() for p in model.parameters()] == [1] * 4
