"""Models that run in a way of their own: distributed, compiled, exported, from other libraries, or not runnable at all."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import distribute_module
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.data import DataLoader, TensorDataset

import wellposed as wp
from wellposed.errors import DataError, ProblemError

X = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
DATA = (X, Y)


def classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def errors(model: Any, loss: Any = F.cross_entropy, train: Any = DATA, **options: Any) -> list[str]:
    return [f.code for f in wp.check(model, loss, train, **options).errors]


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


# --- distributed


def shard(model: nn.Module) -> nn.Module:
    return fully_shard(model, mesh=init_device_mesh("cpu", (1,)))  # pyright: ignore[reportReturnType, reportCallIssue]


def spread(model: nn.Module) -> nn.Module:
    return distribute_module(model, init_device_mesh("cpu", (1,)))


def losses(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> list[float]:
    """Of the steps of a loop."""
    taken = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        optimizer.step()
        taken.append(loss.item())
    return taken


def looks(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Any]:
    problem = wp.Problem(model=model, loss=F.cross_entropy, train=DATA, optimizer=optimizer)
    report = wp.check(problem)
    raced = wp.race(problem, problem, steps=4, seeds=2)
    return [report.codes, report.traces, wp.measure_signals(problem).layers, raced.before.held_out]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("softmax", [False, True], ids=["healthy", "sick"])
@pytest.mark.parametrize("steps", [0, 2], ids=["fresh", "after steps"])
def test_a_fully_sharded_model_is_looked_at_as_the_plain_one(softmax: bool, steps: int) -> None:
    def make(wrap: Callable[[nn.Module], nn.Module]) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.Sequential(classifier(), *([nn.Softmax(1)] if softmax else []))
        model[0] = wrap(model[0])
        model = wrap(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses(model, optimizer, steps)
        return model, optimizer

    plain, sharded, untouched = make(lambda m: m), make(shard), make(shard)
    before = list(sharded[0].parameters())
    found = looks(*sharded)
    assert found == looks(*plain)
    assert found[0] == (("WP501",) if softmax else ())
    assert found[1] == ()
    assert type(sharded[0]).__name__ == "FSDPSequential"
    assert all(a is b for a, b in zip(sharded[0].parameters(), before, strict=True))
    assert losses(*sharded) == losses(*untouched)


@pytest.mark.usefixtures("one_process")
def test_a_fully_sharded_model_is_given_back_when_the_check_is_ended() -> None:
    model = shard(classifier())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def ended(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wp.check(model, ended, DATA, optimizer=optimizer)
    twin = shard(classifier())
    assert losses(model, optimizer) == losses(twin, torch.optim.Adam(twin.parameters(), lr=0.01))


@pytest.mark.usefixtures("one_process")
def test_a_sharded_model_that_the_optimizer_does_not_train_is_refused() -> None:
    model = shard(classifier())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(X)  # the gathered weights stay in the place of the shards until a backward pass
    with pytest.raises(ProblemError, match=r"the optimizer holds shards .*call model.reshard\(\)"):
        errors(model, optimizer=optimizer)


def sharded_with(**casts: torch.dtype) -> nn.Module:
    policy = MixedPrecisionPolicy(**casts)
    return fully_shard(classifier(), mesh=init_device_mesh("cpu", (1,)), mp_policy=policy)  # pyright: ignore[reportReturnType, reportCallIssue]


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("name", ["param_dtype", "output_dtype"])
def test_a_sharded_model_that_casts_is_refused(name: str) -> None:
    with pytest.raises(ProblemError, match=rf"{name}=torch.bfloat16.*precision='bf16'"):
        errors(sharded_with(**{name: torch.bfloat16}))


@pytest.mark.usefixtures("one_process")
def test_a_sharded_model_whose_policy_casts_to_its_own_precision_is_checked() -> None:
    assert errors(sharded_with(param_dtype=torch.float32)) == []


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    ("make", "calls"),
    [(shard, ["fix", "check_gradients"]), (spread, ["check", "measure_signals", "fix", "check_gradients"])],
    ids=["fully_shard", "distribute_module"],
)
def test_what_copies_or_writes_a_sharded_model_is_refused_untouched(
    make: Callable[[nn.Module], nn.Module], calls: list[str]
) -> None:
    model = make(classifier())
    before = [p._local_tensor.clone() for p in model.parameters()]  # pyright: ignore[reportAttributeAccessIssue]
    problem = wp.Problem(model=model, loss=F.cross_entropy, train=DATA)
    for call in calls:
        with pytest.raises(ProblemError, match=r"sharded .*check the model before it is sharded"):
            getattr(wp, call)(problem)
    with pytest.raises(ProblemError, match="sharded"):
        wp.initialize(model)
    after = [p._local_tensor for p in model.parameters()]  # pyright: ignore[reportAttributeAccessIssue]
    assert all(map(torch.equal, before, after))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.usefixtures("one_process")
def test_a_model_in_ddp_is_checked() -> None:
    assert errors(nn.parallel.DistributedDataParallel(classifier())) == []


def test_a_model_in_data_parallel_is_checked() -> None:
    assert errors(nn.DataParallel(classifier())) == []


def test_the_parts_of_a_wrapper_tensor_are_not_written() -> None:
    model = classifier()
    weight = model[0].weight.detach()
    model[0].weight = nn.Parameter(TwoTensor(weight.clone(), weight.clone()))
    errors(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert torch.equal(model[0].weight.a, weight)
    assert torch.equal(model[0].weight.b, weight)


# --- compiled and exported


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # of torch's own compiler
@pytest.mark.parametrize("in_place", [False, True], ids=["torch.compile", "module.compile"])
def test_a_compiled_model_is_checked(in_place: bool) -> None:
    model: Any = classifier()
    if in_place:
        model.compile(backend="eager")
    else:
        model = torch.compile(model, backend="eager")
    assert errors(model) == []


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_model_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"TorchScript module .*check the module before"):
        errors(torch.jit.trace(classifier(), X))


def test_an_exported_model_is_refused() -> None:
    exported = torch.export.export(classifier(), (X,)).module()
    with pytest.raises(ProblemError, match=r"no train mode .*check the module from which it was exported"):
        errors(exported)


def test_a_model_made_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        model = classifier()
    with pytest.raises(ProblemError, match=r"made under torch.inference_mode"):
        errors(model)


# --- models that are not finished, and losses that are none


class Growing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 16)
        self.head: nn.Module | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.head is None:
            self.head = nn.Linear(16, 3)
        return self.head(self.body(x).relu())


@pytest.mark.parametrize("call", ["check", "measure_signals"])
def test_parameters_that_are_made_in_forward_are_refused_and_not_left_behind(call: str) -> None:
    model = Growing()
    with pytest.raises(ProblemError, match=r"makes parameters when it is called \(head.weight, head.bias\)"):
        getattr(wp, call)(model, F.cross_entropy, DATA)
    assert model.head is None
    model(X)
    assert errors(model) == []


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda o, y: o.sum() + 1j, "loss returned a complex number .torch.complex64.: expected a real one"),
        (lambda o, y: o.to("meta").sum(), "loss returned a tensor on the meta device"),
    ],
    ids=["complex", "meta"],
)
def test_a_loss_that_is_no_real_number_is_refused(loss: Any, said: str) -> None:
    with pytest.raises(ProblemError, match=said):
        errors(classifier(), loss)


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


@pytest.mark.parametrize(
    "train",
    [
        (X[:1], Y[:1]),
        list(zip(X.split(1), Y.split(1), strict=True)),
        DataLoader(TensorDataset(X[:33], Y[:33]), batch_size=32),
    ],
    ids=["one row", "batches of one", "a last batch of one"],
)
def test_a_norm_over_a_batch_of_one_row_is_explained(train: Any) -> None:
    with pytest.raises(ProblemError, match=r"a batch of one row .*at least two rows; drop_last=True"):
        errors(normed(), train=train)


def test_a_last_row_alone_is_not_drawn_from_rows() -> None:
    assert errors(normed(), train=(X[:65], Y[:65])) == []


def test_numbers_without_an_axis_of_samples_are_refused() -> None:
    with pytest.raises(DataError, match="no axis of samples"):
        errors(classifier(), train=(torch.tensor(1.0), torch.tensor(0)))


# --- inputs that are no dense tensors


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(6, 3) / 6**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(x, self.weight)


@pytest.mark.parametrize("whole", [True, False], ids=["all rows", "batches"])
def test_sparse_inputs_are_taken(whole: bool) -> None:
    sparse = (X.to_sparse(), Y)
    train = sparse if whole else [(X[i : i + 20].to_sparse(), Y[i : i + 20]) for i in range(0, 120, 20)]
    assert errors(Product(), train=train) == []


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.stack([rows.mean(0) for rows in self.body(x).unbind()]))


def test_nested_inputs_are_taken() -> None:
    batches = [
        (torch.nested.nested_tensor([X[i : i + 2 + i % 3] for i in range(16)], layout=torch.jagged), Y[:16])
    ]
    torch.manual_seed(0)
    assert errors(Pooled(), train=batches * 4) == []


# --- other libraries


def test_a_graph_is_given_to_the_model_whole() -> None:
    data, layers = pytest.importorskip("torch_geometric.data"), pytest.importorskip("torch_geometric.nn")
    loader = pytest.importorskip("torch_geometric.loader")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body, self.head = layers.GCNConv(6, 16), nn.Linear(16, 3)

        def forward(self, graph: Any) -> torch.Tensor:
            hidden = self.body(graph.x, graph.edge_index).relu()
            return self.head(layers.global_mean_pool(hidden, graph.batch))

    def graph(i: int) -> Any:
        nodes = 4 + i % 3
        ring = torch.stack([torch.arange(nodes), (torch.arange(nodes) + 1) % nodes])
        x = X[i : i + nodes]
        return data.Data(x=x, edge_index=ring, y=x[:, :3].sum(0).argmax()[None])

    graphs = [graph(i) for i in range(64)]
    for train in (graphs, loader.DataLoader(graphs, batch_size=16)):
        assert errors(Network(), train=train) == []
    with pytest.raises(DataError, match="gave a DataBatch without targets: name them one of labels"):
        errors(
            Network(), train=[data.Batch.from_data_list([data.Data(x=X, edge_index=graphs[0].edge_index)])]
        )


_KERAS = """
import keras, torch, wellposed as wp
x = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
layers = [keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
keras.utils.set_random_seed(0)
model = keras.Sequential(layers)
try:
    wp.check(model, lambda o, y: loss(y, o), (x, x[:, :3].argmax(1)))
except wp.WellposedError as error:
    print(error)
model.build((None, 6))
before = [w.numpy().copy() for w in model.weights]
print([f.code for f in wp.check(model, lambda o, y: loss(y, o), (x, x[:, :3].argmax(1))).errors])
print(all((w.numpy() == b).all() for w, b in zip(model.weights, before)))
"""


def test_a_keras_model_on_torch_is_checked_once_it_is_built() -> None:
    """In a process of its own: Keras reads its backend when it is imported."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", _KERAS],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=True,
    )
    unbuilt, found, same = ran.stdout.strip().splitlines()
    assert "makes parameters when it is called" in unbuilt
    assert (found, same) == ("[]", "True")
