"""A kind of state, and the small problem in which it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import wellposed as wp

from . import faults

SAMPLES, FEATURES, CLASSES, BATCH = 12, 4, 3, 6


@dataclass(kw_only=True, eq=False)
class Case:
    """A fresh problem, and how to read the state that is on trial.

    Parameters
    ----------
    problem
        What the public calls are given.
    probe
        Gives all state of the kind, in anything that `fingerprint` walks. It may use the state up: it is called once before
        and once after training, in the run with a call and in its twin without one.
    disturb
        What would change the state; by default one training step by hand. It proves that the probe sees a change.
    after_step
        What the user's loop does after each step, such as a scheduler's step.
    inputs
        What a gradient check of the model alone is given.
    step
        One training step of the user's own loop, where that is not `train`'s; gives the loss.
    """

    problem: wp.Problem
    probe: Callable[[], Any]
    disturb: Callable[[], Any] | None = None
    after_step: Callable[[], Any] | None = None
    inputs: tuple[torch.Tensor, ...] = field(default_factory=lambda: (table()[0],))
    step: Callable[[], torch.Tensor] | None = None


@dataclass(frozen=True)
class Kind:
    """A builder of cases.

    Parameters
    ----------
    name
        What tables call it.
    build
        Makes a fresh case.
    words
        One of these must stand in a sentence that says that the state has changed; without any, a name on the path of
        each change must.
    whole
        The probe holds the whole program and uses nothing up, so that objects can be compared one by one.
    """

    name: str
    build: Callable[[], Case]
    words: tuple[str, ...]
    whole: bool = False


class Kinds(dict[str, Kind]):
    """The kinds of one file, by name."""

    def kind(self, *words: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
        """Register a builder; its name's words and `words` are those that name the state."""

        def register(build: Callable[[], Case]) -> Callable[[], Case]:
            name = build.__name__.replace("_", " ")
            self[name] = Kind(name, build, words)
            return build

        return register


def table() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and the classes that they belong to, always the same."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator)
    return inputs, inputs[:, :CLASSES].argmax(1)


class Net(nn.Module):
    """Two layers; kinds of state are added in subclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, 6)
        self.second = nn.Linear(6, CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        faults.arrive("model")
        return self.second(torch.tanh(self.first(inputs)))


class Rows(Dataset):
    """A map-style dataset of the table; kinds of state are added in subclasses."""

    def __init__(self) -> None:
        self.inputs, self.targets = table()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        faults.arrive("data")
        return self.inputs[index], self.targets[index]


def loss_function(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    faults.arrive("loss")
    return nn.functional.cross_entropy(outputs, targets)


def case(
    probe: Callable[[], Any],
    *,
    model: Any = None,
    loss: Any = loss_function,
    train: Any = None,
    optimizer: Any = None,
    disturb: Callable[[], Any] | None = None,
    after_step: Callable[[], Any] | None = None,
) -> Case:
    """A case around the parts that a kind brings; the others are ordinary."""
    model = Net() if model is None else model
    train = table() if train is None else train
    if optimizer is None and isinstance(model, nn.Module):
        optimizer = sgd(model)
    problem = wp.Problem(model=model, loss=loss, train=train, optimizer=optimizer)
    return Case(problem=problem, probe=probe, disturb=disturb, after_step=after_step)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


def loader(dataset: Any = None, **settings: Any) -> DataLoader:
    dataset = TensorDataset(*table()) if dataset is None else dataset
    if "batch_sampler" not in settings:
        settings = {"batch_size": BATCH, **settings}
    return DataLoader(dataset, **settings)


def train(case: Case, steps: int = 3) -> list[torch.Tensor]:
    """The losses of a few steps of the user's own loop."""
    if case.step is not None:
        return [case.step().detach().clone() for _ in range(steps)]
    problem = case.problem
    losses: list[torch.Tensor] = []
    for inputs, targets in _batches(problem.train, steps):

        def evaluate(inputs: Any = inputs, targets: Any = targets) -> torch.Tensor:
            if problem.optimizer is not None:
                problem.optimizer.zero_grad()
            outputs = problem.model(*inputs) if isinstance(inputs, (tuple, list)) else problem.model(inputs)
            loss = outputs if problem.loss is None else problem.loss(outputs, targets)
            loss.backward()
            return loss

        if isinstance(problem.optimizer, torch.optim.LBFGS):
            losses.append(torch.as_tensor(problem.optimizer.step(evaluate)).detach().clone())
        else:
            losses.append(evaluate().detach().clone())
            if problem.optimizer is not None:
                problem.optimizer.step()
        if case.after_step is not None:
            case.after_step()
    return losses


def _batches(data: Any, steps: int) -> Iterable[tuple[Any, Any]]:
    if isinstance(data, tuple):
        yield from [data] * steps
        return
    taken = 0
    while taken < steps:
        for batch in data:
            yield batch[0], batch[1]
            taken += 1
            if taken == steps:
                return
