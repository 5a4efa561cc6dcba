"""Calling a user's model and loss: every form that people write, and what is said when it fails."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed import Problem
from wellposed.errors import DataError, ProblemError, UserCodeError
from wellposed.runtime.torch.batches import Batch, as_batch, batches
from wellposed.runtime.torch.session import Runner, main_tensor, own_loss, take_steps

X, Y = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
Pair = namedtuple("Pair", "x y")


def evaluate(model: Any, loss: Any, batch: Batch) -> torch.Tensor | None:
    return Runner(Problem(model=model, loss=loss)).evaluate(batch).loss


# --- batches


@pytest.mark.parametrize(
    ("raw", "inputs", "has_targets"),
    [
        (X, 1, False),
        ((X, Y), 1, True),
        ([X, Y], 1, True),
        (Pair(X, Y), 1, True),
        ((X,), 1, False),
        ((X, X, Y), 2, True),
        (((X, X), Y), 2, True),
        (({"a": X, "b": X}, Y), 2, True),
        ({"a": X, "labels": Y}, 1, True),
        ((X.numpy(), Y.numpy()), 1, True),
    ],
    ids=["tensor", "pair", "list", "namedtuple", "one", "three", "tuple in", "dict in", "dict", "numpy"],
)
def test_a_batch_is_read_in_every_form(raw: Any, inputs: int, has_targets: bool) -> None:
    batch = as_batch(raw)
    assert len(batch.tensors) == inputs
    assert batch.rows == 8
    assert (batch.targets is not None) == has_targets


def test_float64_arrays_become_what_torch_models_expect_and_integers_stay() -> None:
    batch = as_batch((np.zeros((3, 2)), np.zeros(3, dtype=np.int32)))
    assert batch.tensors[0].dtype == torch.float32
    assert batch.targets.dtype == torch.int32


@pytest.mark.parametrize("raw", ["text", 7, None, [], object()])
def test_what_is_no_batch_is_refused_with_its_type(raw: Any) -> None:
    with pytest.raises(DataError, match=f"batch of type {type(raw).__name__}"):
        as_batch(raw)


def test_a_dict_without_targets_names_its_keys_and_the_ones_it_looked_for() -> None:
    with pytest.raises(DataError, match="keys 'a', 'b' and no targets: name them one of labels"):
        as_batch({"a": X, "b": X})


def test_batches_of_a_pair_cover_every_row_once_an_epoch() -> None:
    x = torch.arange(128.0)[:, None]
    drawn = batches((x, x), count=2, seed=0)
    assert sorted(torch.cat([b.tensors[0] for b in drawn]).flatten().tolist()) == list(range(128))


def test_the_seed_decides_which_rows_are_drawn() -> None:
    x = torch.arange(500.0)[:, None]
    first, again, other = (batches((x, x), count=1, seed=s)[0].tensors[0] for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_generator_is_refused_before_it_is_used_up() -> None:
    generator = (pair for pair in [(X, Y)])
    with pytest.raises(DataError, match="one-shot generator"):
        batches(generator, count=1, seed=0)
    assert len(list(generator)) == 1


@pytest.mark.parametrize("data", [[], (X[:0], Y[:0]), X[:0]], ids=["list", "pair", "tensor"])
def test_empty_data_are_refused(data: Any) -> None:
    with pytest.raises(DataError, match="train is empty"):
        batches(data, count=1, seed=0)


# --- losses


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        (torch.tensor(2.0), True),
        (SimpleNamespace(loss=torch.tensor(2.0)), True),
        ({"loss": torch.tensor([2.0]), "logits": X}, True),
        ((X, torch.tensor(2.0, requires_grad=True)), True),
        (X, False),
        ({"logits": X}, False),
        (None, False),
    ],
    ids=["scalar", "attribute", "key", "tuple", "tensor", "no key", "none"],
)
def test_a_models_own_loss_is_found_in_every_form(outputs: Any, found: bool) -> None:
    loss = own_loss(outputs)
    assert (loss is not None) == found
    if loss is not None:
        assert loss.ndim == 0
        assert float(loss.detach()) == 2.0


def test_the_main_tensor_is_the_logits_or_the_only_tensor_and_otherwise_none() -> None:
    assert main_tensor(X) is X
    assert main_tensor({"logits": X, "hidden": Y.float()}) is X
    assert main_tensor(SimpleNamespace(logits=X)) is X
    assert main_tensor((X, torch.tensor(1.0))) is X
    assert main_tensor((X, X)) is None
    assert main_tensor(torch.tensor(1.0)) is None


class WithTargets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
        logits = self.linear(x)
        return logits if targets is None else (logits, F.cross_entropy(logits, targets))


def test_a_model_without_a_loss_is_given_the_targets_when_it_takes_them() -> None:
    loss = evaluate(WithTargets(), None, as_batch((X, Y)))
    assert loss is not None
    assert loss.requires_grad


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda o, y: 1.5, "loss returned 1.5: expected a scalar torch tensor"),
        (lambda o, y: (o.sum(), o), "loss returned a tuple"),
        (lambda o, y: F.cross_entropy(o, y, reduction="none"), r"loss returned shape \(8,\).*\.mean\(\)"),
    ],
    ids=["a float", "a tuple", "a loss per row"],
)
def test_a_loss_that_is_no_scalar_is_refused_with_what_it_returned(
    loss: Callable[..., Any], said: str
) -> None:
    with pytest.raises(ProblemError, match=said):
        evaluate(nn.Linear(4, 3), loss, as_batch((X, Y)))


def test_a_loss_without_targets_is_refused() -> None:
    with pytest.raises(DataError, match="batches without targets"):
        evaluate(nn.Linear(4, 3), F.cross_entropy, as_batch(X))


def test_a_loss_of_shape_one_is_a_scalar() -> None:
    loss = evaluate(nn.Linear(4, 3), lambda o, y: F.cross_entropy(o, y)[None], as_batch((X, Y)))
    assert loss is not None
    assert loss.ndim == 0


@pytest.mark.parametrize(
    ("model", "loss", "what"),
    [(nn.Linear(5, 3), F.cross_entropy, "the model"), (nn.Linear(4, 3), F.mse_loss, "the loss")],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_what_the_users_code_raises_is_the_cause_and_the_shapes_are_said(
    model: nn.Module, loss: Any, what: str
) -> None:
    with pytest.raises(UserCodeError, match=rf"{what} raised RuntimeError .*\(8, 4\)") as raised:
        evaluate(model, loss, as_batch((X, Y)))
    assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize(("model", "loss"), [(7, F.mse_loss), ("net", None), (nn.Linear(4, 3), "mse")])
def test_a_model_or_loss_that_cannot_be_called_is_refused_with_its_type(model: Any, loss: Any) -> None:
    with pytest.raises(ProblemError, match=r"(model|loss) is a (int|str)"):
        Runner(Problem(model=model, loss=loss))


# --- modules and modes


def test_parameters_of_a_function_are_those_of_the_modules_it_closes_over() -> None:
    body, head = nn.Linear(4, 5), nn.Linear(5, 3)
    runner = Runner(Problem(model=lambda x: head(body(x)), loss=F.cross_entropy))
    assert {id(p) for p in runner.parameters.values()} == {
        id(p) for m in (body, head) for p in m.parameters()
    }


def test_a_loss_with_parameters_trains_them_too() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_weight = nn.Parameter(torch.zeros(()))

        def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(outputs, targets) * self.log_weight.exp() - self.log_weight

    runner = Runner(Problem(model=nn.Linear(4, 3), loss=Weighted()))
    assert set(runner.parameters) == {"weight", "bias", "loss.log_weight"}


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert list(Runner(Problem(model=model)).parameters) == ["0.weight"]


def test_train_mode_leaves_alone_what_the_user_keeps_in_eval_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    model.train()
    model[0].eval()
    runner = Runner(Problem(model=model))
    runner.train_mode(False)
    runner.train_mode()
    assert [m.training for m in model] == [False, True, True]


def test_a_model_that_writes_into_its_inputs_does_not_change_the_batch() -> None:
    batch = as_batch((X.clone(), Y))
    Runner(Problem(model=lambda x: x.mul_(0.0))).outputs(batch)
    assert torch.equal(batch.tensors[0], X)


def test_steps_stop_where_the_loss_is_no_longer_finite() -> None:
    model = nn.Linear(4, 3)
    runner = Runner(Problem(model=model, loss=lambda o, y: o.square().mean()))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e6)
    losses = take_steps(runner, [as_batch((X, Y))], steps=50, optimizer=optimizer, seed=0)
    assert len(losses) < 50
    assert not np.isfinite(losses[-1])
    assert np.isfinite(losses[:-1]).all()


class Flipping(nn.Module):
    """Freezes and unfreezes its first layer by turns, as some schedules do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head, self.calls = nn.Linear(6, 8), nn.Linear(8, 3), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.first.weight.requires_grad_(self.calls % 2 == 0)
        return self.head(self.first(x).relu())


def test_a_forward_pass_that_freezes_and_unfreezes_is_measured() -> None:
    x = torch.randn(256, 6)
    assert wp.measure_signals(Flipping(), F.cross_entropy, (x, x[:, :3].argmax(1))).layers


@pytest.mark.parametrize("form", [lambda x: x, lambda x: x.numpy(), lambda x: [x[:16], x[16:]]])
def test_what_is_no_function_in_the_place_of_a_loss_is_the_data(form: Callable[[torch.Tensor], Any]) -> None:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), torch.randn(32, 4)

    short, named = wp.measure_signals(model, form(x)), wp.measure_signals(model, train=form(x))

    assert [layer.rms for layer in short.layers] == [layer.rms for layer in named.layers]
    with pytest.raises(ProblemError, match="loss is a str: expected a function"):
        wp.measure_signals(model, "mse", x)


def test_a_loss_that_leaves_gradients_switched_off_is_named() -> None:
    def loss(o: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        value = F.cross_entropy(o, y)
        torch.set_grad_enabled(False)
        return value

    x = torch.randn(256, 6)
    with pytest.raises(ProblemError, match="the loss leaves gradients switched off"):
        wp.check(nn.Linear(6, 3), loss, (x, x[:, :3].argmax(1)))
    assert torch.is_grad_enabled()


def test_an_embedding_that_has_no_row_for_an_id_is_named() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten())
    ids = torch.tensor([[0, 3], [11, 9], [2, 2]])
    with pytest.raises(UserCodeError, match=r"0\.weight has 10 rows and is given ids from 0 to 11"):
        Runner(Problem(model=model)).outputs(Batch(args=(ids,)))


def test_what_a_hook_raises_in_the_backward_pass_is_the_users() -> None:
    model = nn.Linear(6, 3)

    def raising(gradient: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such row")

    model.weight.register_hook(raising)
    x = torch.randn(256, 6)
    with pytest.raises(UserCodeError, match="the backward pass raised KeyError") as raised:
        wp.check(model, F.cross_entropy, (x, x[:, :3].argmax(1)))
    assert isinstance(raised.value.__cause__, KeyError)
