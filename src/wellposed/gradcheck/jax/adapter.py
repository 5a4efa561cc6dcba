"""JAX functions for the gradient check: opened, and as an objective."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .arguments import Subject, opened
from .objective import JaxObjective, Mode
from .random_draws import draws_otherwise_in_double

__all__ = ["checking", "needs_replay", "opened"]


def needs_replay(subject: Subject) -> bool:
    """Whether any array that is checked is coarser than float64, and float64 would leave the random numbers as they are.

    With another dropout mask the replay would be a check of another function, and its gradient no measure of this one's precision.
    """
    return subject.is_coarse and not draws_otherwise_in_double(subject.outputs, subject.leaves)


@contextmanager
def checking(subject: Subject, *, seed: int, replay: bool, mode: Mode = "reverse") -> Iterator[JaxObjective]:
    """The subject as an objective, in float64 where `replay` says so.

    Each evaluation sets its own 64-bit mode and gives it back, so that a check in the user's own precision stays one beside a replay.
    """
    yield JaxObjective(subject, seed=seed, replay=replay, mode=mode)
