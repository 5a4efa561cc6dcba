"""Several optimizers that step together, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import ProblemError

_EXPECTED = "expected a torch.optim.Optimizer made from model.parameters(), or a list of them"


class Optimizers:
    """Optimizers of different parameters of one model, as a training loop steps them: one after the other.

    Not a ``torch.optim.Optimizer``, whose own state it would have: the groups and the state are those of its parts.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The very groups of the parts: a rate that is set here is set there."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def name(self) -> str:
        return " and ".join(dict.fromkeys(type(part).__name__ for part in self.parts))

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        for part in self.parts:
            part.step()


def together(given: Any, judged: Sequence[torch.Tensor]) -> Any:
    """Of several optimizers, those that hold parameters of the model, as one; a single one as it is.

    The others, such as a discriminator's beside its generator, do not step when this model does.

    Raises
    ------
    ProblemError
        When one of them is no optimizer, or they cannot step together.
    """
    if given is None or isinstance(given, torch.optim.Optimizer | Optimizers):
        return given
    if not isinstance(given, list | tuple | Mapping):
        raise ProblemError(f"optimizer is a {type(given).__name__} ({str(given)[:60]!r}): {_EXPECTED}")
    parts = list(given.values()) if isinstance(given, Mapping) else list(given)
    for part in parts:
        if not isinstance(part, torch.optim.Optimizer):
            raise ProblemError(f"optimizer holds a {type(part).__name__} ({str(part)[:60]!r}): {_EXPECTED}")
    ours = {id(p) for p in judged}
    used = [o for o in parts if any(id(p) in ours for group in o.param_groups for p in group["params"])]
    if not used:
        raise ProblemError(
            f"none of the {len(parts)} optimizers holds a parameter of the model: make them from model.parameters()"
        )
    if len(used) == 1:
        return used[0]
    if any(isinstance(o, torch.optim.LBFGS) for o in used):
        raise ProblemError(
            "optimizer holds LBFGS beside others: it calls the loss itself, and cannot step with them; give one of them"
        )
    return Optimizers(used)
