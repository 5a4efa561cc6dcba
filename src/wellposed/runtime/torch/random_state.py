"""Fixing every random state that a model, a loss or a sampler may draw from."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Fix the global random states; `restore.preserved` gives the user's states back."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the user's code may draw from the global state
    # Not torch.manual_seed: where CUDA has not started yet, that leaves a seed queued for when it does.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
