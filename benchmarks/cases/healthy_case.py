"""Healthy problems and the proof that they are: each is trained, and held-out loss must fall clearly."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.data import DataLoader, Dataset

from wellposed import Problem

LABEL_KEYS = ("labels", "label", "targets", "target", "y")
MARGIN = 0.1
"""Held-out loss must lie below that of the rivals by this share of its size."""
BATCH_ROWS = 64

BLIND = "blind"
"""The rival is the same model, trained on inputs that were shuffled against their targets."""
START = "start"
"""No prediction without inputs exists (nothing is predicted): the rival is the loss at the start alone."""

Constant = Callable[[Tensor], Any] | str
Training = Callable[[Problem, int], None]


@dataclass(frozen=True, kw_only=True)
class HealthyCase:
    """A problem that is in order, with what it takes to prove that.

    `constant` maps a free tensor of the output's shape to what the model could put out (a log-likelihood needs
    ``log_softmax``); or it is `BLIND` or `START`. `train` trains where one optimizer's step on ``loss(model(x), y)``
    would not do; `batches` reads data that are neither a pair nor an iterable of batches.
    """

    name: str
    kind: str
    build: Callable[[], Problem]
    steps: int = 300
    constant: Constant = lambda free: free
    train: Training | None = None
    batches: Callable[[Any], Iterator[Any]] | None = None
    loss: Callable[..., Tensor] | None = None
    """What to train with where the problem itself is checked without a loss."""
    needs: tuple[str, ...] = ()
    """Modules without which the case is left out."""

    def problem(self, seed: int = 0) -> Problem:
        """The problem; its weights and data depend on the seed, the caller's random state is left alone."""
        states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that users' code draws from
        with torch.random.fork_rng(devices=[]):
            _seed(seed)
            made = replace(self.build(), name=self.name)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002 - the state that users' code draws from
        return made


class HealthyBook:
    """Collects the cases of one file; the function's name, with hyphens, is the name of the case."""

    def __init__(self) -> None:
        self.cases: list[HealthyCase] = []

    def case(self, kind: str, **proof: Any) -> Callable[[Callable[[], Problem]], Callable[[], Problem]]:
        def enter(build: Callable[[], Problem]) -> Callable[[], Problem]:
            name = build.__name__.replace("_", "-")
            self.cases.append(HealthyCase(name=name, kind=kind, build=build, **proof))
            return build

        return enter


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Held-out losses: before training, of the best prediction that ignores the inputs, and after training."""

    start: float
    constant: float
    """NaN where there is no such prediction."""
    end: float

    @property
    def holds(self) -> bool:
        rivals = [v for v in (self.start, self.constant) if not np.isnan(v)]
        return all(self.end < v - MARGIN * abs(v) for v in rivals)


def learns(case: HealthyCase, seed: int = 0) -> Proof:
    """Train the case, and compare held-out loss with the start and with the best constant prediction."""
    problem = case.problem(seed)
    if case.loss is not None:
        problem = replace(problem, loss=case.loss)
    with torch.random.fork_rng(devices=[]):
        _seed(seed)
        start = held_out_loss(case, problem)
        _train(case, problem)
        end = held_out_loss(case, problem)
        if case.constant == START:
            constant = float("nan")
        elif case.constant == BLIND:
            constant = _blind_loss(case, replace(case.problem(seed), loss=problem.loss))
        else:
            constant = _constant_loss(case, problem)
    return Proof(start=start, constant=constant, end=end)


def batches_of(data: Any, rows: int = BATCH_ROWS) -> Iterator[Any]:
    """One pass over a pair (in random order), a Dataset, a DataLoader, or a list of batches."""
    if isinstance(data, tuple) and len(data) == 2:
        leaves = [t for t in tree_flatten(data)[0] if isinstance(t, Tensor)]
        order = torch.randperm(len(leaves[0]))
        for start in range(0, max(len(order) - rows, 0) + 1, rows):
            chosen = order[start : start + rows]
            yield tree_map(lambda t, c=chosen: t[c] if isinstance(t, Tensor) else t, data)
    elif isinstance(data, Dataset):
        yield from DataLoader(data, batch_size=rows, shuffle=True)
    else:
        yield from data


def loss_of(problem: Problem, batch: Any, *, model: Callable[..., Any] | None = None) -> Tensor:
    """The loss of one batch, as training code computes it."""
    inputs, targets = split_batch(batch, has_loss=problem.loss is not None)
    outputs = called(model or problem.model, inputs)
    if problem.loss is None:
        return (
            outputs.loss
            if hasattr(outputs, "loss")
            else outputs["loss"]
            if isinstance(outputs, Mapping)
            else outputs
        )
    return problem.loss(outputs, targets)


def called(model: Callable[..., Any], inputs: Any) -> Any:
    if type(inputs) in (dict, list, tuple):
        return model(**inputs) if isinstance(inputs, Mapping) else model(*inputs)
    return model(inputs)


def split_batch(batch: Any, *, has_loss: bool = True) -> tuple[Any, Any]:
    """Inputs and targets of a batch: a pair, more than a pair, or a dict with a key for the labels."""
    if isinstance(batch, Mapping):
        if not has_loss:
            return dict(batch), None
        key = next(k for k in LABEL_KEYS if k in batch)
        return {k: v for k, v in batch.items() if k != key}, batch[key]
    if type(batch) in (tuple, list):
        if len(batch) == 1:
            return batch[0], None
        return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
    return batch, None


def held_out_loss(case: HealthyCase, problem: Problem, model: Callable[..., Any] | None = None) -> float:
    """The mean loss over the held-out batches, the same noise each time."""
    if isinstance(problem.model, nn.Module):
        problem.model.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        losses = [loss_of(problem, b, model=model).item() for b in _held_out(case, problem)]
    return float(np.mean(losses))


def _held_out(case: HealthyCase, problem: Problem) -> Iterator[Any]:
    return (case.batches or batches_of)(problem.validation)


def _train(case: HealthyCase, problem: Problem, spoil: Callable[[Any], Any] = lambda batch: batch) -> None:
    if case.train is not None:
        case.train(problem, case.steps)
        return
    taken = 0
    while taken < case.steps:
        for batch in (case.batches or batches_of)(problem.train):
            step(problem, spoil(batch))
            taken += 1
            if taken == case.steps:
                break


def step(problem: Problem, batch: Any) -> float:
    """One step of the problem's optimizer."""
    if isinstance(problem.model, nn.Module):
        problem.model.train()
    optimizer = problem.optimizer

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(problem, batch)
        loss.backward()
        return loss

    return float(optimizer.step(closure).detach())


def _blind_loss(case: HealthyCase, problem: Problem) -> float:
    """The least held-out loss on the way of training on shuffled targets."""
    best = float("inf")
    part = replace(case, steps=max(case.steps // 4, 1))
    for _ in range(4):
        _train(part, problem, spoil=lambda b: _shuffled(b, has_loss=problem.loss is not None))
        best = min(best, held_out_loss(case, problem))
    return best


def _shuffled(batch: Any, *, has_loss: bool) -> Any:
    if isinstance(batch, Mapping):
        return {k: _permuted(v) if k in LABEL_KEYS else v for k, v in batch.items()}
    if type(batch) in (tuple, list) and len(batch) > 1:
        return (*batch[:-1], _permuted(batch[-1]))
    raise TypeError(f"a batch of type {type(batch).__name__} has no targets to shuffle")


def _permuted(targets: Any) -> Any:
    rows = len(next(t for t in tree_flatten(targets)[0] if isinstance(t, Tensor)))
    order = torch.randperm(rows)
    return tree_map(lambda t: t[order] if isinstance(t, Tensor) else t, targets)


def _constant_loss(case: HealthyCase, problem: Problem) -> float:
    """The least held-out loss of one output for all rows, by descent on that output."""
    assert problem.loss is not None
    held_out = list(_held_out(case, problem))
    reached = called(problem.model, split_batch(held_out[0])[0]).detach()
    allowed = case.constant
    assert callable(allowed)
    best = float("inf")
    for origin in (reached.mean(0, keepdim=True), torch.zeros_like(reached[:1])):
        free = nn.Parameter(origin.clone(memory_format=torch.contiguous_format))

        def loss(free: Tensor = free) -> Tensor:
            losses = []
            for batch in held_out:
                inputs, targets = split_batch(batch)
                rows = len(next(t for t in tree_flatten(inputs)[0] if isinstance(t, Tensor)))
                losses.append(problem.loss(allowed(free.expand(rows, *free.shape[1:])), targets))  # type: ignore[misc]
            return torch.stack(losses).mean()

        best = min(best, _minimum(loss, free))
    return best


def _minimum(loss: Callable[[], Tensor], free: nn.Parameter) -> float:
    optimizer = torch.optim.LBFGS([free], max_iter=60, line_search_fn="strong_wolfe")
    losses: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        losses.append(value.item())
        return value

    optimizer.step(closure)
    return min(v for v in losses if np.isfinite(v))


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the state that users' code draws from
    random.seed(seed)


def books(modules: Sequence[Any]) -> Iterator[HealthyCase]:
    for module in modules:
        yield from module.book.cases
