"""A problem with one thing changed: copied weights, transformed or standardised inputs and targets; the user's objects are never written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...problem import Problem
from .batch import Batch, HasLoss, as_batch
from .named_inputs import with_changed_inputs
from .problem_forms import read
from .restore import modules_of
from .session import CalledModule, Runner, kind_of_loss, module_of, outputs_without_gradients

Transform = Callable[[Batch], Batch]


def feature_axis(ndim: int) -> int:
    """Channels of images stand on axis 1; features of tables and sequences on the last."""
    return 1 if ndim >= 4 else ndim - 1


def _along_features(values: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    shape = [1] * x.ndim
    shape[feature_axis(x.ndim)] = -1
    return torch.tensor(values, dtype=x.dtype, device=x.device).reshape(shape)


def standardise_inputs(moments: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Transform:
    """Subtract the mean and divide by the std of each feature, of the input tensors that are named."""

    def standardised(name: str, x: torch.Tensor) -> torch.Tensor:
        if name not in moments:
            return x
        mean, std = moments[name]
        return (x - _along_features(mean, x)) / _along_features(np.where(std > 0, std, 1.0), x)

    return lambda batch: with_changed_inputs(batch, standardised)


def standardise_targets(mean: float, std: float) -> Transform:
    def transform(batch: Batch) -> Batch:
        return replace(batch, targets=(batch.targets - mean) / std)

    return transform


def scale_invariant(runner: Runner, batch: Batch, name: str, columns: int, *, seed: int) -> bool:
    """Whether rescaling every feature of an input by a factor of its own changes the outputs by less than 1 % of how they differ by sample."""
    generator = np.random.default_rng(seed)
    factors = np.exp(generator.uniform(-np.log(4), np.log(4), columns))
    scaled = with_changed_inputs(batch, lambda n, x: x * _along_features(factors, x) if n == name else x)
    plain, other = (outputs_without_gradients(runner, b, seed=seed) for b in (batch, scaled))
    if plain is None or other is None or plain.shape != other.shape:
        return False
    return float((other - plain).double().norm()) <= 0.01 * float((plain - plain.mean(0)).double().norm())


def copy_problem(problem: Problem) -> tuple[Problem, str]:
    """A problem whose model, loss and optimizer share nothing with the original; or the reason why there is none."""
    network = module_of(problem.model)
    if network is None or not (network is problem.model or problem.model.takes_inputs):
        what = "called in a training step" if isinstance(problem.model, CalledModule) else "a function"
        return (
            problem,
            f"the model is {what}: its modules cannot be copied from outside; call wp.initialize on them",
        )
    try:
        model, loss, optimizer = copy.deepcopy((problem.model, problem.loss, problem.optimizer))
    except Exception as error:  # whatever the user's objects raise when copied
        return (
            problem,
            f"the model cannot be copied ({type(error).__name__}: {error}); call wp.initialize(model) on it",
        )
    if set(modules_of(loss)) & set(network.modules()):
        return (
            problem,
            "the loss refers to the model itself, which a copy cannot follow; call wp.initialize(model) on it",
        )
    return replace(problem, model=model, loss=loss, optimizer=optimizer), ""


def write_back(source: Problem, target: Problem) -> None:
    """Copy parameters into the user's own model, values only."""
    with torch.no_grad():
        own, fixed = (module_of(p.model) for p in (target, source))
        assert own is not None
        assert fixed is not None
        for mine, theirs in zip(own.parameters(), fixed.parameters(), strict=True):
            mine.copy_(theirs)


def with_transformed_inputs(problem: Problem, transform: Callable[[torch.Tensor], torch.Tensor]) -> Problem:
    """The same problem with the only input tensor transformed, in training and validation data."""

    def change(batch: Batch) -> Batch:
        (x,) = batch.tensors
        return batch.with_inputs(transform(x).to(x.dtype))

    return _with_data(problem, change)


def with_transformed_targets(problem: Problem, transform: Callable[[torch.Tensor], torch.Tensor]) -> Problem:
    """The same problem with transformed targets, in training and validation data."""

    def change(batch: Batch) -> Batch:
        y = batch.targets
        return replace(batch, targets=transform(y.reshape(len(y), -1)).reshape(y.shape).to(y.dtype))

    return _with_data(problem, change)


def _with_data(problem: Problem, change: Callable[[Batch], Batch]) -> Problem:
    has_loss = kind_of_loss(problem)
    validation = None if problem.validation is None else _transformed(problem.validation, change, has_loss)
    return replace(problem, train=_transformed(problem.train, change, has_loss), validation=validation)


def _transformed(data: Any, change: Callable[[Batch], Batch], has_loss: HasLoss) -> Any:
    data = read(data, name="train", has_loss=has_loss)
    return change(data).whole if isinstance(data, Batch) else TransformedBatches(data, change, has_loss)


class TransformedBatches:
    """The user's batches with a transform applied to each as it is read."""

    def __init__(self, data: Any, change: Callable[[Batch], Batch], has_loss: HasLoss) -> None:
        self.data, self.change = data, change
        self.has_loss: HasLoss = has_loss

    def __iter__(self) -> Iterator[Any]:
        for raw in self.data:
            yield self.change(as_batch(raw, has_loss=self.has_loss)).whole

    def __len__(self) -> int:
        return len(self.data)
