"""What `train` may be: every form is read as rows or as batches, and what cannot be read is described."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import wellposed as wp
from wellposed import Problem
from wellposed.errors import DataError, ProblemError, UserCodeError
from wellposed.runtime.torch.batch import Batch, as_batch, describe
from wellposed.runtime.torch.batches import batches, holds_all_rows, training_and_held_out
from wellposed.runtime.torch.problem_forms import Optimizers, read, read_problem

X = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(80) % 3
SAMPLES = [(x, y) for x, y in zip(X, Y, strict=True)]


class Samples(Dataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return X[index], int(Y[index])


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(SAMPLES)


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def read_train(train: Any, model: Any = None, loss: Any = F.cross_entropy) -> Any:
    return read_problem(Problem(model=model or classifier(), loss=loss, train=train)).train


def drawn(train: Any, model: Any = None, loss: Any = F.cross_entropy) -> Batch:
    return batches(read_train(train, model, loss), count=1, seed=0, has_loss=loss is not None)[0]


# --- all rows at once


@pytest.mark.parametrize(
    ("train", "targets"),
    [
        ((X, Y), "tensor (80,) of int64"),
        ([X, Y], "tensor (80,) of int64"),
        ((X.numpy(), Y.numpy()), "tensor (80,) of int64"),
        ((X.tolist(), Y.tolist()), "tensor (80,) of int64"),
        ((list(X), list(Y)), "tensor (80,) of int64"),
        ((X, (Y, X)), "(tensor (80,) of int64, tensor (80, 6) of float32)"),
        ((X, [Y, X]), "(tensor (80,) of int64, tensor (80, 6) of float32)"),
        ((X, {"boxes": X, "labels": Y}), "{'boxes': tensor (80, 6) of float32, 'labels': tensor (80,) of int64}"),
        ({"x": X, "labels": Y}, "tensor (80,) of int64"),
        (UserDict(x=X, labels=Y), "tensor (80,) of int64"),
        (TensorDataset(X, Y), "tensor (80,) of int64"),
        ((X, X, Y), "tensor (80,) of int64"),
    ],
    ids=[
        *("pair", "list of two", "arrays", "nested lists", "lists of tensors", "two targets", "list of targets"),
        *("dict of targets", "dict", "mapping", "TensorDataset", "two inputs"),
    ],
)  # fmt: skip
def test_all_rows_at_once_are_read_as_one_batch(train: Any, targets: str) -> None:
    rows = read(train, name="train", has_loss=True)
    assert holds_all_rows(rows)
    assert rows.rows == 80
    assert describe(rows.targets) == targets


def test_several_inputs_are_a_tuple_or_a_list() -> None:
    for inputs in ((X, X), [X, X]):
        assert len(read((inputs, Y), name="train", has_loss=True).args) == 2


def test_drawn_rows_of_several_targets_stay_together() -> None:
    batch = drawn(
        (X, {"sum": X.sum(1), "first": X[:, 0]}), nn.Linear(6, 1), lambda o, y: (o[:, 0] - y["sum"]).mean()
    )
    assert torch.equal(batch.targets["first"], batch.tensors[0][:, 0])
    assert torch.equal(batch.targets["sum"], batch.tensors[0].sum(1))


# --- samples


@pytest.mark.parametrize(
    "train",
    [
        SAMPLES,
        tuple(SAMPLES),
        [(x, int(y)) for x, y in SAMPLES],
        [(x.numpy(), int(y)) for x, y in SAMPLES],
        [{"input": x, "labels": y} for x, y in SAMPLES],
        Samples(),
        Subset(Samples(), range(70)),
        Stream(),
        lambda: iter(SAMPLES),
        lambda: SAMPLES,
        Samples,
    ],
    ids=[
        *("list", "tuple", "with numbers", "arrays", "dicts", "Dataset", "Subset", "IterableDataset"),
        *("function of an iterator", "function of a list", "class"),
    ],
)  # fmt: skip
def test_samples_are_gathered_into_batches(train: Any) -> None:
    batch = drawn(train)
    assert tuple(batch.tensors[0].shape) == (64, 6)
    assert tuple(batch.targets.shape) == (64,)


def test_samples_of_a_dataset_are_shuffled_by_the_seed() -> None:
    loader = read_train(Samples())
    first, again, other = (batches(loader, count=1, seed=s)[0].targets for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_model_decides_whether_vectors_are_samples_or_batches_of_numbers() -> None:
    """A batch can be shorter by a row; a sample cannot."""
    train = [(x, 2 * x) for x in X]
    sample = drawn(train, nn.Linear(6, 6), F.mse_loss)
    batch = drawn(train, lambda x: x * 1.5, F.mse_loss)
    assert tuple(sample.tensors[0].shape) == (64, 6)
    assert tuple(batch.tensors[0].shape) == (6,)


def test_images_without_targets_are_samples_where_a_row_less_is_no_image() -> None:
    images = list(torch.rand(70, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert tuple(drawn(images, nn.Conv2d(3, 4, 3), None).tensors[0].shape) == (64, 3, 8, 8)


def test_nodes_and_edges_of_a_graph_are_a_batch() -> None:
    edges = torch.stack([torch.arange(80), (torch.arange(80) + 1) % 80])
    batch = drawn([((X, edges), Y)], lambda x, e: classifier()(x + x[e[1]]))
    assert [tuple(t.shape) for t in batch.tensors] == [(80, 6), (2, 80)]


def test_batches_that_no_row_can_leave_are_taken_as_they_are() -> None:
    order = torch.arange(6)
    batch = drawn([(X[0], Y[:6])] * 3, lambda x: x[order][:, None].expand(6, 3))
    assert tuple(batch.tensors[0].shape) == (6,)


def test_a_pair_of_lists_with_one_entry_a_sample_is_one_batch() -> None:
    images = [torch.rand(3, 8 + i, 8) for i in range(4)]
    targets = [{"boxes": torch.rand(1 + i, 4), "label": torch.tensor(i)} for i in range(4)]
    assert len(drawn((images, targets), lambda images: images, lambda o, y: o[0].sum()).args[0]) == 4
    batch = drawn([{"images": images, "targets": targets}], lambda images, targets: images[0].sum(), None)
    assert batch.kwargs is not None
    assert len(batch.kwargs["images"]) == len(batch.kwargs["targets"]) == 4


def test_a_list_of_batches_stays_one() -> None:
    assert tuple(drawn(list(zip(X.split(20), Y.split(20), strict=True))).tensors[0].shape) == (20, 6)


def test_batches_of_one_row_stay_what_they_are() -> None:
    assert tuple(drawn(list(zip(X.split(1), Y.split(1), strict=True))).tensors[0].shape) == (1, 6)


def test_asking_the_model_leaves_it_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    read_train([(x, 2 * x) for x in X], model, F.mse_loss)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_was_read_once_is_left_as_it_is() -> None:
    problem = read_problem(
        Problem(model=classifier(), loss=F.cross_entropy, train=SAMPLES, validation=Samples())
    )
    again = read_problem(problem)
    assert again.train is problem.train
    assert again.validation is problem.validation


# --- objects


@dataclass(frozen=True)
class Record:
    x: torch.Tensor
    y: torch.Tensor


def test_an_object_is_given_to_the_model_whole_and_its_targets_are_found_by_name() -> None:
    batch = drawn(
        [Record(x, y) for x, y in zip(X.split(20), Y.split(20), strict=True)], lambda r: classifier()(r.x)
    )
    assert isinstance(batch.args[0], Record)
    assert torch.equal(batch.targets, Y[:20])


def test_a_model_may_write_into_an_object() -> None:
    record = Record(X[:4].clone(), Y[:4])
    Batch(args=(record,)).copied().args[0].x.zero_()
    assert torch.equal(record.x, X[:4])


def sequences() -> list[torch.Tensor]:
    return [X[i : i + 2 + i % 4] for i in range(16)]


@pytest.mark.parametrize("form", ["a pair", "batches", "a loader"])
def test_packed_sequences_are_one_input(form: str) -> None:
    def packed(samples: list[Any]) -> Any:
        return pack_sequence([x for x, _ in samples], enforce_sorted=False), torch.stack(
            [y for _, y in samples]
        )

    samples = [(s, y) for s, y in zip(sequences(), Y[:16], strict=True)]
    train = {
        "a pair": packed(samples),
        "batches": [packed(samples)] * 3,
        "a loader": DataLoader(samples, batch_size=16, collate_fn=packed),  # pyright: ignore[reportArgumentType]
    }[form]
    batch = drawn(train, lambda p: classifier()(nn.utils.rnn.pad_packed_sequence(p)[0].sum(0)))
    assert isinstance(batch.args[0], PackedSequence)
    assert tuple(batch.targets.shape) == (16,)
    assert torch.equal(batch.copied().to(torch.device("cpu")).args[0].data, batch.args[0].data)


def test_images_of_many_sizes_beside_a_dict_of_targets_each_are_given_as_lists() -> None:
    images = [torch.rand(3, 8 + i, 8) for i in range(4)]
    batch = as_batch((tuple(images), tuple({"labels": Y[:i]} for i in range(4))))
    assert len(batch.args) == 1
    assert len(batch.args[0]) == len(batch.targets) == 4


# --- what is refused, and in which words


def texts() -> np.ndarray:
    return np.array([["a"] * 6] * 80)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ((X, Y[:50]), r"different lengths, \[50, 80\] rows .inputs tensor \(80, 6\) of float32 and targets tensor"),
        ((X, (Y, X[:50])), r"different lengths, \[50, 80\] rows"),
        ((torch.tensor(1.0), torch.tensor(0)), r"no axis of samples \(inputs tensor \(\) of float32"),
        ((X[:0], Y[:0]), "train is empty"),
        ([], "train is empty"),
        (iter(SAMPLES), "one-shot list_iterator.*a function that returns a fresh one"),
        ("train.csv", "train is given as str: expected a DataLoader"),
        (7, "train is given as int: expected a DataLoader"),
        ({"x": X, "cls": Y}, "keys 'x', 'cls' and no targets: name them one of labels"),
        ((texts(), Y), r"train has dtype <U1 \('a'\): expected numbers"),
        ((["a", "b"] * 40, Y), "inputs list of 80, the first str and targets tensor"),
        ((X, ["a", "b"] * 40), "inputs tensor .* and targets list of 80, the first str"),
        (([[1.0], [1.0, 2.0]], Y[:2]), "lists of different lengths: pad them"),
        ((sequences(), Y[:16]), r"inputs of 4 different shapes, \(2, 6\), \(3, 6\).*collate_fn pads or packs"),
        ([(s, y) for s, y in zip(sequences(), Y, strict=False)], "samples of 4 different shapes"),
        (lambda: GENERATOR, "returns the same generator each time"),
        ([(X[0], object()), (X[0], object())], "of which torch's default_collate makes no batch"),
    ],
    ids=[
        *("lengths", "lengths of two targets", "0-d", "no rows", "empty", "one-shot", "text", "number", "no targets"),
        *("text array", "texts", "text targets", "ragged lists", "ragged inputs", "ragged samples", "same generator"),
        "objects",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_described(train: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        drawn(train)


GENERATOR = (pair for pair in SAMPLES)


def test_arrays_of_objects_are_read_as_numbers_where_they_are() -> None:
    assert drawn((X.numpy().astype(object), Y)).tensors[0].dtype == torch.float32
    ragged = np.empty(2, dtype=object)
    ragged[:] = [[1.0], [1.0, 2.0]]
    with pytest.raises(DataError, match=r"array of objects .list, the first of them of length 1"):
        drawn((ragged, Y[:2]))


@pytest.mark.parametrize(
    "dtype", [">f4", np.longdouble, np.float64], ids=["big-endian", "long double", "double"]
)
def test_arrays_of_any_real_type_become_the_models(dtype: Any) -> None:
    assert drawn((X.numpy().astype(dtype), Y)).tensors[0].dtype == torch.float32


def test_masked_values_are_missing() -> None:
    masked = np.ma.masked_array(X.numpy(), mask=X.numpy() > 1)
    rows = read((masked, Y), name="train", has_loss=True).tensors[0]
    assert torch.equal(rows.isnan(), X > 1)


def test_what_the_users_data_raise_is_theirs() -> None:
    class Broken(Samples):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            raise OSError("no such image")

    loader = DataLoader(Broken(), batch_size=4)
    with pytest.raises(UserCodeError, match="reading train raised OSError: no such image"):
        batches(loader, count=1, seed=0)


def test_both_readings_are_told_when_the_model_takes_neither() -> None:
    with pytest.raises(
        DataError, match=r"list of 80.*read as samples: the model raised.*read as batches: the model"
    ):
        drawn(SAMPLES, nn.Linear(5, 3))


def test_meta_targets_are_refused() -> None:
    with pytest.raises(DataError, match="train holds tensors on the meta device"):
        as_batch((X, Y.to("meta")))


# --- tables


def frames() -> list[Any]:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    names = list("abcdef")
    return [
        (pandas.DataFrame(X.numpy(), columns=names), pandas.Series(Y.numpy())),
        (polars.DataFrame(X.numpy(), schema=names), polars.Series(Y.numpy())),
    ]


def test_tables_give_numbers_and_the_names_of_the_features() -> None:
    for table, column in frames():
        problem = read_problem(Problem(model=classifier(), loss=F.cross_entropy, train=(table, column)))
        assert torch.equal(problem.train.tensors[0], X)
        assert torch.equal(problem.train.targets, Y)
        assert problem.feature_names == tuple("abcdef")


def test_a_column_of_text_or_dates_is_named() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"age": [1.0, 2.0], "city": ["Bonn", "Ulm"]})
    with pytest.raises(DataError, match=r"column 'city' of train .*'Bonn'.*encode or drop"):
        drawn((table, Y[:2]))
    table["city"] = pandas.to_datetime(["2020-01-01", "2020-01-02"])
    with pytest.raises(DataError, match="column 'city' of train has dtype datetime64"):
        drawn((table, Y[:2]))


def test_a_table_alone_has_no_targets() -> None:
    with pytest.raises(DataError, match=r"DataFrame .80, 6. with columns 'a', 'b'.*give a pair"):
        drawn(frames()[0][0])


# --- optimizers


def test_several_optimizers_step_together() -> None:
    model = classifier()
    parts = [torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.Adam(model[2].parameters())]  # pyright: ignore[reportIndexIssue]
    together = read_problem(
        Problem(model=model, loss=F.cross_entropy, train=(X, Y), optimizer=parts)
    ).optimizer
    assert isinstance(together, Optimizers)
    assert together.name == "SGD and Adam"
    before = [p.detach().clone() for p in model.parameters()]
    F.cross_entropy(model(X), Y).backward()
    together.step()
    together.zero_grad()
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "several", [list, tuple, lambda parts: dict(enumerate(parts))], ids=["list", "tuple", "dict"]
)
def test_of_several_optimizers_the_models_own_is_taken(several: Callable[[Any], Any]) -> None:
    generator, critic = classifier(), nn.Linear(3, 1)
    own, other = (torch.optim.Adam(m.parameters()) for m in (generator, critic))
    problem = Problem(
        model=generator, loss=lambda o, y: critic(o).mean(), train=(X, Y), optimizer=several([other, own])
    )
    assert read_problem(problem).optimizer is own


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ("adam", r"optimizer is a str \('adam'\): expected a torch.optim.Optimizer"),
        (["adam"], r"optimizer holds a str \('adam'\)"),
        (
            [torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)],
            "none of the 1 optimizers holds a parameter",
        ),
    ],
)
def test_what_is_no_optimizer_of_the_model_is_refused(optimizer: Any, said: str) -> None:
    with pytest.raises(ProblemError, match=said):
        read_problem(Problem(model=classifier(), loss=F.cross_entropy, train=(X, Y), optimizer=optimizer))


def test_lbfgs_does_not_step_beside_others() -> None:
    model = classifier()
    parts = [torch.optim.LBFGS(model[0].parameters()), torch.optim.Adam(model[2].parameters())]  # pyright: ignore[reportIndexIssue]
    with pytest.raises(ProblemError, match="LBFGS beside others"):
        read_problem(Problem(model=model, loss=F.cross_entropy, train=(X, Y), optimizer=parts))


def test_held_out_rows_of_samples_are_not_trained_on() -> None:
    problem = read_problem(Problem(model=classifier(), loss=F.cross_entropy, train=SAMPLES))
    fit, held = training_and_held_out(problem, count=3, seed=0)
    trained = {tuple(r.tolist()) for b in fit for r in b.tensors[0]}
    assert not trained & {tuple(r.tolist()) for b in held for r in b.tensors[0]}


class Towers(nn.Module):
    """Takes its batch as one dict, nested, or by the names in it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(10, 3)


class TakesBatch(Towers):
    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        return self.head(torch.cat([batch["user"]["age"], batch["item"]], 1))


class TakesNames(Towers):
    def forward(self, user: dict[str, torch.Tensor], item: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([user["age"], item], 1))


class TakesAnyNames(Towers):
    def forward(self, **batch: Any) -> torch.Tensor:
        return self.head(torch.cat([batch["user"]["age"], batch["item"]], 1))


@pytest.mark.parametrize("model", [TakesBatch, TakesNames, TakesAnyNames])
def test_a_dict_reaches_the_model_whole_or_by_its_names(model: type[nn.Module]) -> None:
    draw = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(6):
        age, item = torch.randn(32, 4, generator=draw), torch.randn(32, 6, generator=draw)
        batches.append(({"user": {"age": age}, "item": item}, age[:, :3].argmax(1)))
    report = wp.check(model(), nn.functional.cross_entropy, batches)
    assert "WP501" in report.passed
    assert report.ok, str(report)


def test_a_dict_with_one_name_too_many_is_told_by_that_name() -> None:
    class One(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    data = ({"x": torch.randn(64, 3), "mask": torch.ones(64, 3)}, torch.zeros(64).long())
    with pytest.raises(UserCodeError, match="unexpected keyword argument 'mask'"):
        wp.check(One(), nn.functional.cross_entropy, data)
