"""Another module of the user's, whose state is reached by attribute: ``state_module.GENERATOR``."""

from __future__ import annotations

import torch

GENERATOR = torch.Generator()
CALLS = {"forward": 0}
SCALE = torch.ones(1)


class Settings:
    """Settings that are kept on a class."""

    steps = 0


def noise(shape: torch.Size) -> torch.Tensor:
    """Small noise from this module's own generator."""
    return 0.01 * torch.randn(shape, generator=GENERATOR)
