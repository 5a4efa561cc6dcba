"""Changing what a model is fed: standardised inputs, standardised targets, and whether the model would notice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .batch import Batch
from .session import Runner, outputs_without_gradients

Transform = Callable[[Batch], Batch]


def feature_axis(ndim: int) -> int:
    """Channels of images stand on axis 1; features of tables and sequences on the last."""
    return 1 if ndim >= 4 else ndim - 1


def _along_features(values: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    shape = [1] * x.ndim
    shape[feature_axis(x.ndim)] = -1
    return torch.tensor(values, dtype=x.dtype, device=x.device).reshape(shape)


def standardise_inputs(mean: np.ndarray, std: np.ndarray) -> Transform:
    """Subtract the mean and divide by the std of each feature of the only input tensor."""
    scale = np.where(std > 0, std, 1.0)

    def transform(batch: Batch) -> Batch:
        x = batch.tensors[0]
        return batch.with_inputs((x - _along_features(mean, x)) / _along_features(scale, x))

    return transform


def standardise_targets(mean: float, std: float) -> Transform:
    def transform(batch: Batch) -> Batch:
        return Batch(args=batch.args, kwargs=batch.kwargs, targets=(batch.targets - mean) / std)

    return transform


def scale_invariant(runner: Runner, batch: Batch, std: np.ndarray, *, seed: int) -> bool:
    """Whether rescaling every feature by a factor of its own changes the outputs by less than 1 % of how they differ by sample."""
    generator = np.random.default_rng(seed)
    factors = np.exp(generator.uniform(-np.log(4), np.log(4), len(std)))
    x = batch.tensors[0]
    scaled = batch.with_inputs(x * _along_features(factors, x))
    plain, other = (outputs_without_gradients(runner, b, seed=seed) for b in (batch, scaled))
    if plain is None or other is None or plain.shape != other.shape:
        return False
    return float((other - plain).double().norm()) <= 0.01 * float((plain - plain.mean(0)).double().norm())
