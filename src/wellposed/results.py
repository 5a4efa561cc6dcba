"""What `fix` and `race` give back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

from .problem import Problem
from .report import Report, Verdict
from .shown import Shown

RATE_FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Both sides search the same multiples of their own optimizer's rate."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One remedy: what it answers, what it did, and why it was withheld."""

    name: str
    codes: tuple[str, ...]
    """The findings that call for it."""
    summary: str
    """What it does, with what was measured."""
    reason: str = ""
    """Why it was withheld; empty for one that was applied."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fix(Shown):
    """A mended problem, what was done to it, and the proof; true only when the mended problem is ready."""

    problem: Problem
    """The problem with the remedies applied; the user's own is untouched unless ``in_place=True``."""
    applied: tuple[Remedy, ...]
    withheld: tuple[Remedy, ...]
    before: Report
    after: Report
    normalizer: Any = None
    """The `Normalizer` of the inputs when one was fitted: save it, and apply it to whatever the model will ever see."""
    target_normalizer: Any = None
    """The `Normalizer` of the targets when one was fitted: ``inverse`` turns predictions back."""
    recipe: Any = None
    """One entry a parameter when weights were redrawn."""

    @property
    def verdict(self) -> Verdict:
        """The verdict of the check `after` the fix."""
        return self.after.verdict

    def __bool__(self) -> bool:
        return bool(self.after)

    def __repr__(self) -> str:
        """One line: what a failed assertion shows of it."""
        return f"<Fix {len(self.applied)} applied, {len(self.withheld)} withheld; after it {self.after!r}>"


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One side of a race."""

    name: str
    rate: float
    """The learning rate that its search chose."""
    held_out: tuple[float, ...]
    """Final held-out loss, one a seed; inf where training blew up."""
    curve: tuple[float, ...]
    """Median held-out loss over the seeds, at the steps in `Race.at`."""
    scale: float = 1.0
    """Loss of a constant prediction, by which losses are divided when the two sides have different targets."""

    @property
    def median(self) -> float:
        return median(self.held_out)


@dataclass(frozen=True, kw_only=True)
class Race(Shown):
    """Two problems trained side by side; true only when the second is better, as `improved` says.

    The seeds vary the order of the batches and what the model draws.
    """

    before: Lane
    after: Lane
    at: tuple[int, ...]
    """Steps at which the curves were measured."""
    steps: int
    relative: bool
    """Whether losses are shares of a constant prediction's loss, because the targets differ in scale."""

    @property
    def won(self) -> int:
        """Seeds in which the second side ended with the lower held-out loss."""
        return sum(a < b for a, b in zip(self.after.held_out, self.before.held_out, strict=True))

    @property
    def improved(self) -> bool:
        """Whether the second side is better by more than the seeds scatter."""
        return self.after.median < self.before.median and self.won >= math.ceil(
            0.8 * len(self.after.held_out)
        )

    @property
    def harmed(self) -> bool:
        """Whether the second side is worse by more than the seeds scatter."""
        lost = sum(a > b for a, b in zip(self.after.held_out, self.before.held_out, strict=True))
        return self.after.median > self.before.median and lost >= math.ceil(0.8 * len(self.after.held_out))

    def __bool__(self) -> bool:
        return self.improved
