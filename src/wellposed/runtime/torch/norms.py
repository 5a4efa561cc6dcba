"""Over how many values a normalization layer takes each of its means and variances."""

from __future__ import annotations

import math

import torch
from torch import nn

BATCH_NORMS = nn.modules.batchnorm._BatchNorm


def values_per_statistic(module: nn.Module, output: torch.Tensor) -> int:
    """As of an output of this shape; 0 for a layer that does not normalise by what it is given."""
    if isinstance(module, BATCH_NORMS):
        of_batch = module.training or module.running_mean is None
        return output.numel() // output.shape[1] if of_batch else 0
    if isinstance(module, nn.modules.instancenorm._InstanceNorm):
        of_sample = module.training or module.running_mean is None
        return output[0, 0].numel() if of_sample and output.ndim > 2 else 0
    if isinstance(module, nn.GroupNorm):
        return output[0].numel() // module.num_groups
    if isinstance(module, nn.LayerNorm):
        return math.prod(module.normalized_shape)
    return 0
