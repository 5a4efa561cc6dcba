"""The losses and optimizers that the cases train with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .case import Optimizing


def adam(learning_rate: float = 1e-3, **options: Any) -> Optimizing:
    return lambda model: torch.optim.Adam(_trainable(model), lr=learning_rate, **options)


def sgd(learning_rate: float = 0.01, **options: Any) -> Optimizing:
    return lambda model: torch.optim.SGD(_trainable(model), lr=learning_rate, **options)


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Over the last axis, whatever the number of positions before it."""
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def negative_log_likelihood(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(log_probabilities, labels)


def mean_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets)


def binary_cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy(probabilities, targets)


def binary_cross_entropy_with_logits(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets)
