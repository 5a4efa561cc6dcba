"""Samples that see each other are found in graphs, lists, packed sequences and nested inputs; those that do not are not accused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

import wellposed as wp
from wellposed.objective.torch_batch_leak import batch_leak
from wellposed.problem import Problem
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.session import Runner

LIMIT = wp.Limits().batch_leak
SIZES = [4, 6, 3, 5, 7]
DRAW = torch.Generator().manual_seed(0)
NODES = torch.randn(sum(SIZES), 4, generator=DRAW)
OWNER = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
FIRST = torch.tensor([0, *torch.tensor(SIZES).cumsum(0)[:-1].tolist()])
RING = torch.cat([torch.stack([f + torch.arange(n), f + (torch.arange(n) + 1) % n]) for f, n in zip(FIRST, SIZES, strict=True)], 1)  # fmt: skip
LABELS = torch.arange(len(SIZES)) % 2


@dataclass
class Graphs:
    x: Tensor
    edge_index: Tensor
    batch: Tensor


class GraphNet(nn.Module):
    """One round of messages, a pooling, and a head; takes a graph, or its parts."""

    def __init__(self, pool: Callable[[GraphNet, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.own, self.near, self.score = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(16, 1)
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 2)
        self.pool = pool

    def forward(self, graph: Any, edge_index: Any = None, batch: Any = None) -> Tensor:
        if isinstance(graph, Tensor):
            x, edges, owner = graph, edge_index, batch
        elif isinstance(graph, dict):
            x, edges, owner = graph["x"], graph["edge_index"], graph["batch"]
        else:
            x, edges, owner = graph.x, graph.edge_index, graph.batch
        near = torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
        return self.head(self.pool(self, self.norm(self.own(x) + self.near(near)).relu(), owner))


def summed(h: Tensor, owner: Tensor) -> Tensor:
    return h.new_zeros(int(owner.max()) + 1, h.shape[1]).index_add(0, owner, h)


def mean(net: GraphNet, h: Tensor, owner: Tensor) -> Tensor:
    return summed(h, owner) / summed(torch.ones_like(h), owner)


def attended(net: GraphNet, h: Tensor, owner: Tensor) -> Tensor:
    scores = net.score(h)
    weights = (scores - scores.max().detach()).exp()
    return summed(weights * h, owner) / summed(weights, owner)


def by_node(net: GraphNet, h: Tensor, owner: Tensor) -> Tensor:
    return h - mean(net, h, owner)[owner]


def attended_over_all(net: GraphNet, h: Tensor, owner: Tensor) -> Tensor:
    return summed(net.score(h).softmax(0) * h, owner)


def normalised_over_all(net: GraphNet, h: Tensor, owner: Tensor) -> Tensor:
    return mean(net, (h - h.mean(0)) / (h.std(0) + 1e-5), owner)


def by_node_of_all(net: GraphNet, h: Tensor, owner: Tensor) -> Tensor:
    return h - h.mean(0)


SOUND = [mean, attended, by_node]
MIXING = [attended_over_all, normalised_over_all, by_node_of_all]


def leak(model: nn.Module, batch: Batch) -> tuple[float | None, str]:
    problem = Problem(model=model, loss=lambda outputs, targets: outputs.sum())
    return batch_leak(Runner(problem), batch, rows_first=False, seed=0)


def as_object() -> Batch:
    return Batch(args=(Graphs(NODES, RING, OWNER),), targets=LABELS)


def as_dict() -> Batch:
    return Batch(args=({"x": NODES, "edge_index": RING, "batch": OWNER},), targets=LABELS)


def as_parts() -> Batch:
    return Batch(args=(NODES, RING, OWNER), targets=LABELS)


def of_a_library() -> Batch:
    data = pytest.importorskip("torch_geometric.data")
    split = zip(NODES.split(SIZES), SIZES, strict=True)
    ring = [torch.stack([torch.arange(n), (torch.arange(n) + 1) % n]) for n in SIZES]
    graphs = [data.Data(x=x, edge_index=ring[i]) for i, (x, _) in enumerate(split)]
    return Batch(args=(data.Batch.from_data_list(graphs),), targets=LABELS)


@pytest.mark.parametrize("batch", [as_object, as_dict, as_parts, of_a_library], ids=lambda f: f.__name__)
@pytest.mark.parametrize("pool", SOUND, ids=lambda f: f.__name__)
def test_graphs_that_keep_apart_do_not_leak(pool: Any, batch: Callable[[], Batch]) -> None:
    found, reason = leak(GraphNet(pool), batch())
    assert found is not None, reason
    assert found < LIMIT / 10


@pytest.mark.parametrize("batch", [as_object, as_dict, as_parts, of_a_library], ids=lambda f: f.__name__)
@pytest.mark.parametrize("pool", MIXING, ids=lambda f: f.__name__)
def test_graphs_that_see_each_other_leak(pool: Any, batch: Callable[[], Batch]) -> None:
    found, reason = leak(GraphNet(pool), batch())
    assert found is not None, reason
    assert found > LIMIT


def test_clusters_of_one_graph_are_not_asked() -> None:
    across = torch.stack([torch.arange(len(NODES)), torch.arange(len(NODES)).roll(1)])
    found, reason = leak(GraphNet(mean), Batch(args=(NODES, across, OWNER), targets=LABELS))
    assert found is None
    assert reason


class OfList(nn.Module):
    """A cloud of points each: a mean of features, less the mean of all clouds if they mix."""

    def __init__(self, *, mixes: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.points, self.head, self.mixes = nn.Linear(4, 16), nn.Linear(16, 2), mixes

    def forward(self, clouds: list[Tensor]) -> Tensor:
        pooled = torch.stack([self.points(c).relu().mean(0) for c in clouds])
        return self.head(pooled - pooled.mean(0) if self.mixes else pooled)


class OfPacked(nn.Module):
    """The mean of the states of a recurrent layer, less the mean of all sequences if they mix."""

    def __init__(self, *, mixes: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.head, self.mixes = nn.GRU(4, 16, batch_first=True), nn.Linear(16, 2), mixes

    def forward(self, sequences: PackedSequence) -> Tensor:
        states, lengths = pad_packed_sequence(self.gru(sequences)[0], batch_first=True)
        pooled = states.sum(1) / lengths[:, None]
        return self.head(pooled - pooled.mean(0) if self.mixes else pooled)


class OfNested(nn.Module):
    """An image and a table, in a dict of a dict, with a scale that all share."""

    def __init__(self, *, mixes: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.mixes = nn.Linear(4, 16), nn.Linear(3, 16), mixes

    def forward(self, views: dict[str, Any]) -> Tensor:
        h = self.left(views["pair"]["a"]) + self.right(views["pair"]["b"]) * views["scale"]
        return h.softmax(0) if self.mixes else h.softmax(1)


def clouds() -> Batch:
    return Batch(args=(list(NODES.split(SIZES)),), targets=LABELS)


def packed() -> Batch:
    return Batch(args=(pack_sequence(list(NODES.split(SIZES)), enforce_sorted=False),), targets=LABELS)


def nested() -> Batch:
    views = {"pair": {"a": NODES[:9], "b": NODES[:9, 1:]}, "scale": torch.ones(())}
    return Batch(args=(views,), targets=torch.zeros(9))


@pytest.mark.parametrize(
    ("model", "batch"), [(OfList, clouds), (OfPacked, packed), (OfNested, nested)], ids=["list", "packed", "nested"]
)  # fmt: skip
def test_other_containers_are_asked_too(model: Any, batch: Callable[[], Batch]) -> None:
    apart, reason = leak(model(mixes=False), batch())
    assert apart is not None, reason
    assert apart < LIMIT / 10
    together, _ = leak(model(mixes=True), batch())
    assert together is not None
    assert together > LIMIT


@pytest.mark.parametrize("mixes", [False, True])
def test_all_of_several_outputs_are_compared(mixes: bool) -> None:
    class TwoHeads(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return x[:, 0], {"b": x - x.mean(0) if mixes else x}

    found, reason = leak(TwoHeads(), Batch(args=(NODES,), targets=torch.zeros(len(NODES))))
    assert found is not None, reason
    assert (found > LIMIT) == mixes


@pytest.mark.parametrize("mixes", [False, True])
def test_as_many_features_as_rows_are_no_relation(mixes: bool) -> None:
    class TwoViews(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return (a + b).softmax(1) - (a.mean() if mixes else 0)

    square = torch.randn(8, 8)
    found, reason = leak(TwoViews(), Batch(args=(square, 2 * square), targets=torch.zeros(8)))
    assert found is not None, reason
    assert (found > LIMIT) == mixes


def test_a_matrix_that_relates_all_rows_is_one() -> None:
    class Convolves(nn.Module):
        def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
            return adjacency @ x

    found, reason = leak(
        Convolves(), Batch(args=(torch.randn(8, 3), torch.ones(8, 8)), targets=torch.zeros(8))
    )
    assert found is None
    assert "relates the rows" in reason


def test_a_model_that_takes_its_labels_is_asked() -> None:
    class Classifies(nn.Module):
        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"logits": x, "loss": nn.functional.cross_entropy(x, labels)}

    labels = torch.zeros(len(NODES), dtype=torch.long)
    runner = Runner(Problem(model=Classifies(), loss=None))
    found, reason = batch_leak(runner, Batch(args=(NODES,), targets=labels), rows_first=True, seed=0)
    assert found == 0, reason


def test_similarities_of_all_pairs_are_no_leak() -> None:
    class Contrasts(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"similarities": x @ x.t(), "embeddings": x}

    found, _ = leak(Contrasts(), Batch(args=(NODES,), targets=torch.arange(len(NODES))))
    assert found is None


def test_images_of_a_list_are_not_taken_for_rows() -> None:
    class Detects(nn.Module):
        def forward(self, images: list[Tensor]) -> Tensor:
            return torch.stack([i.mean((1, 2)) - i.mean() for i in images])

    images = [torch.randn(3, 8, 8) for _ in range(3)]
    found, _ = leak(Detects(), Batch(args=(images,), targets=torch.zeros(3)))
    assert not found
