"""A JAX function as F, a weighted sum of its outputs, with the gradient that its backward pass claims."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from ..objective import Mode
from ..tensor_objective import TensorObjective
from .arguments import CheckedJaxFunction, needs_replay, opened
from .evaluate import JaxEvaluator

__all__ = ["checking", "needs_replay", "opened"]


@contextmanager
def checking(
    function: CheckedJaxFunction, *, seed: int, replay: bool, mode: Mode = "reverse"
) -> Iterator[TensorObjective[NDArray[Any]]]:
    """The function as an objective, in float64 with `replay`.

    Each evaluation sets its own 64-bit mode and gives it back, so that a check in the user's own precision stays one beside a replay.
    """
    yield TensorObjective(JaxEvaluator(function, seed=seed, replay=replay), mode)
