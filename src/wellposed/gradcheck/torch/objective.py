"""A torch function, module or problem as one number of several tensors, with the derivatives that autograd claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..objective import Mode
from ..tensor_objective import TensorObjective
from .arguments import CheckedFunction, needs_replay, open_function
from .derivatives import second_order
from .evaluate import evaluating

__all__ = ["checking", "needs_replay", "opened"]


def opened(
    f: Any, inputs: Sequence[Any], *, names: Sequence[str], seed: int, order: int = 1
) -> CheckedFunction:
    """Read the arguments of `check_gradients`; for order 2 the gradient of `f` takes its place.

    Raises
    ------
    ArgumentError, ProblemError, DataError, UserCodeError
        When there is nothing to differentiate by, or it is no function of tensors.
    """
    function = open_function(f, inputs, names=names, seed=seed)
    if order == 1:
        return function
    with evaluating(function, seed=seed, replay=False) as evaluator:
        outputs = evaluator.outputs()
    return second_order(function, outputs, seed=seed)


@contextmanager
def checking(
    function: CheckedFunction, *, seed: int, replay: bool, mode: Mode = "reverse"
) -> Iterator[TensorObjective[torch.Tensor]]:
    """The function as an objective, in float64 with `replay`; everything is restored at the end."""
    with evaluating(function, seed=seed, replay=replay) as evaluator:
        objective = TensorObjective(evaluator, mode)
        yield objective
        if replay:
            objective.recall()  # the native gradient is compared with it
