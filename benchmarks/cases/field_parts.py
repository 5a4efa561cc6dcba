"""What the cases from the field share: small data, and small models."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset

from wellposed import Problem

from .healthy_case import loss_of
from .skewed_data import mlp


def ring(rows: int = 1000) -> Tensor:
    """Points near a circle of radius one."""
    angle = 6.283 * torch.rand(rows)
    return torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(rows, 2)


def parted(*tensors: Tensor, held_out: float = 0.3) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The rows of all tensors in two parts."""
    cut = round(len(tensors[0]) * (1 - held_out))
    return tuple(t[:cut] for t in tensors), tuple(t[cut:] for t in tensors)


def pieces(*tensors: Tensor, rows: int = 32) -> list[tuple[Tensor, ...]]:
    """Batches of rows of all the tensors."""
    return [tuple(t[i : i + rows] for t in tensors) for i in range(0, len(tensors[0]) - rows + 1, rows)]


def collated(data: Any, rows: int = 32) -> Iterator[Any]:
    """Samples one by one, put together as a DataLoader does."""
    yield from DataLoader(data, batch_size=rows, shuffle=True)


def low_rank(rows: int = 1000, features: int = 16, rank: int = 3) -> Tensor:
    """Rows near a plane of a few dimensions, of about unit variance."""
    return torch.randn(rows, rank) @ torch.randn(rank, features) / rank**0.5 + 0.1 * torch.randn(
        rows, features
    )


def one_process_group() -> None:
    """A gloo group of this process alone."""
    if not dist.is_initialized():
        file = tempfile.NamedTemporaryFile(delete=False)  # noqa: SIM115 - gloo keeps it open
        os.unlink(file.name)
        dist.init_process_group("gloo", init_method=f"file://{file.name}", rank=0, world_size=1)


def discriminator() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)
    )


def generator() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))


def taught(judge: nn.Module, make: nn.Module, steps: int = 100) -> None:
    """The discriminator as it is some way into training: it tells the ring from what the generator makes."""
    optimizer = torch.optim.Adam(judge.parameters(), lr=3e-3)
    for _ in range(steps):
        real, made = judge(ring(64)), judge(make(torch.randn(64, 4)).detach())
        optimizer.zero_grad()
        (nn.functional.softplus(-real).mean() + nn.functional.softplus(made).mean()).backward()
        optimizer.step()


def all_at_once(problem: Problem, steps: int) -> None:
    """Train with a list of optimizers, which step together."""
    taken = 0
    while taken < steps:
        for batch in problem.train:
            for optimizer in problem.optimizer:
                optimizer.zero_grad()
            loss_of(problem, batch).backward()
            for optimizer in problem.optimizer:
                optimizer.step()
            taken += 1


def molecules(rows: int = 600, atoms: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Positions in the plane, the energy of springs between all atoms, and the forces."""
    positions = torch.randn(rows, atoms, 2).requires_grad_()
    gaps = (positions[:, :, None] - positions[:, None]).pow(2).sum(-1)
    energy = torch.log1p(gaps).sum((1, 2)) / atoms
    (gradient,) = torch.autograd.grad(energy.sum(), positions)
    energy = energy.detach()
    return positions.detach(), (energy - energy.mean()) / energy.std(), -gradient / energy.std()


class ForceField(nn.Module):
    """Energy and, by differentiating it in the forward pass, forces."""

    def __init__(self, atoms: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            if not positions.requires_grad:
                positions = positions.detach().requires_grad_()
            gaps = (positions[:, :, None] - positions[:, None]).pow(2).sum(-1, keepdim=True)
            energy = self.body(gaps / 4).mean((1, 2, 3)) * 3
            (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
        return energy, -gradient


class Decoder(nn.Module):
    """A causal language model with its blocks in a list."""

    def __init__(self, vocabulary: int, width: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(0.02 * torch.randn(64, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.embedding(tokens) + self.place[:length]
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        return self.head(self.norm(x))


def keras_on_torch() -> Any:
    """Keras with torch behind it; what it draws follows torch's seed."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    if keras.backend.backend() != "torch":
        raise RuntimeError(
            f"keras runs on {keras.backend.backend()}: expected torch, set KERAS_BACKEND=torch"
        )
    keras.utils.set_random_seed(int(torch.initial_seed()) % 2**31)
    return keras


class GraphNet(nn.Module):
    """Two convolutions over a batch of graphs, and a mean over the nodes of each."""

    def __init__(self) -> None:
        super().__init__()
        from torch_geometric.nn import GCNConv, global_mean_pool

        self.first, self.second, self.head = GCNConv(4, 24), GCNConv(24, 24), nn.Linear(24, 3)
        self.pool = global_mean_pool

    def forward(self, batch: Any) -> Tensor:
        hidden = self.first(batch.x, batch.edge_index).relu()
        return self.head(self.pool(self.second(hidden, batch.edge_index).relu(), batch.batch))


def graph_loaders(count: int = 300) -> tuple[Any, Any]:
    """Random graphs of 6 to 12 nodes, whose class shifts the features of their nodes."""
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader as GraphLoader

    centres = torch.randn(3, 4)
    graphs = []
    for _ in range(count):
        nodes, label = int(torch.randint(6, 13, ())), int(torch.randint(3, ()))
        x = torch.randn(nodes, 4) + centres[label]
        graphs.append(Data(x=x, edge_index=torch.randint(nodes, (2, 3 * nodes)), y=torch.tensor([label])))
    cut = round(0.7 * count)
    return GraphLoader(graphs[:cut], batch_size=24, shuffle=True), GraphLoader(graphs[cut:], batch_size=24)


def whole(pair: Any) -> Iterator[Any]:
    """All rows in one batch, as LBFGS wants them."""
    yield pair


class GAN(nn.Module):
    """Both nets in one module; what it returns is the judgement of what the generator made."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.judge = generator(), discriminator()

    def forward(self, noise: Tensor) -> Tensor:
        return self.judge(self.make(noise))


def slope_of(u: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]


class Poisson1d(nn.Module):
    """u'' + π² sin(πx) = 0 with u(±1) = 0: the residual, and the values at the border."""

    def __init__(self) -> None:
        super().__init__()
        self.u = mlp(1, 24, 24, 1, act=nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            curvature = slope_of(slope_of(self.u(x), x), x)
        border = self.u(x.new_tensor([[-1.0], [1.0]])).pow(2).sum()
        return torch.cat([curvature / math.pi**2 + torch.sin(math.pi * x), border.expand(len(x), 1)], 1)


def energy_and_forces(out: tuple[Tensor, Tensor], truth: tuple[Tensor, Tensor]) -> Tensor:
    return F.mse_loss(out[0], truth[0]) + 3 * F.mse_loss(out[1], truth[1])


def ragged(rows: int = 480) -> tuple[list[Tensor], Tensor]:
    """Sequences of 4 to 12 steps; the label says whether the first value is above the last by more than the mean."""
    lengths = torch.randint(4, 13, (rows,)).tolist()
    sequences = [torch.randn(n, 3) for n in lengths]
    return sequences, torch.stack([(s[:, 0].sum() > 0).long() for s in sequences])


class PackedClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 24, batch_first=True)
        self.head = nn.Linear(24, 2)

    def forward(self, packed: PackedSequence) -> Tensor:
        return self.head(self.rnn(packed)[1][-1])


class TwoOutputs(nn.Module):
    """Logits and features."""

    def __init__(self, features: int = 12, classes: int = 5) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(features, 48), nn.ReLU()), nn.Linear(48, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x)
        return self.head(hidden), hidden


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class Detector(nn.Module):
    """A box and the logits of its kind, for every picture."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.boxes, self.labels = nn.Linear(576, 4), nn.Linear(576, classes)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        hidden = self.body(image)
        return {"boxes": self.boxes(hidden), "labels": self.labels(hidden)}


def boxed(rows: int = 600) -> tuple[Tensor, Tensor, Tensor]:
    """A bright rectangle; its borders between 0 and 1; its kind by how it stands and how bright it is."""
    corner, size = torch.randint(0, 7, (rows, 2)), torch.randint(3, 6, (rows, 2))
    axis = torch.arange(12)
    down = (axis >= corner[:, :1]) & (axis < corner[:, :1] + size[:, :1])
    across = (axis >= corner[:, 1:]) & (axis < corner[:, 1:] + size[:, 1:])
    bright = torch.randint(2, (rows,))
    image = (1 + bright[:, None, None]) * (down[:, :, None] & across[:, None])
    boxes = torch.cat([corner, corner + size], 1) / 12
    kinds = 2 * bright + (size[:, 0] > size[:, 1])
    return image[:, None] - 0.25 + 0.1 * torch.randn(rows, 1, 12, 12), boxes, kinds


def detection_loss(out: dict[str, Tensor], truth: dict[str, Tensor]) -> Tensor:
    return 5 * F.smooth_l1_loss(out["boxes"], truth["boxes"]) + F.cross_entropy(
        out["labels"], truth["labels"]
    )


class Rows(Dataset):
    """Samples made when they are asked for."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.x[index], int(self.y[index])


def frame_batches(data: Any) -> Iterator[Any]:
    """Shuffled rows of a table and its column of labels, as tensors."""
    x, y = (torch.from_numpy(np.ascontiguousarray(part)) for part in data)
    for chosen in torch.randperm(len(y)).split(64):
        yield x[chosen], y[chosen]


class Closed(nn.Module):
    """A residual net whose branches end in zeros: at the start it is the stem and the head alone."""

    def __init__(self, depth: int = 4, width: int = 32) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(12, width), nn.Linear(width, 5)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        for branch in self.branches:
            nn.init.zeros_(branch[-1].weight)
            nn.init.zeros_(branch[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)


def with_itself(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x


class Twins(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = mlp(12, 48, 8)

    def forward(self, *views: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder(view) for view in views)
