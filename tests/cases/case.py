"""What a case is: a training problem whose answer is known, and how one is written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from wellposed import Problem
from wellposed.problem import Precision

Loss = Callable[..., Tensor]
Optimizing = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training problem with a known answer.

    A sick one carries its fault, the codes of which one should be named first, and a healthy twin that
    trains. A healthy one carries neither.
    """

    name: str
    source: str
    fault: str
    codes: frozenset[str]
    problem: Callable[[], Problem]
    healthy: Callable[[], Problem] | None = None

    @property
    def is_sick(self) -> bool:
        return bool(self.codes)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The parts of one training problem, not built yet; calling it builds them, always the same."""

    model: Callable[[], Any]
    data: Callable[[], Any]
    loss: Loss | None
    optimizer: Optimizing
    validation: Callable[[], Any] | None = None
    precision: Precision | None = None
    seed: int = 0

    def __call__(self) -> Problem:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self.model()
            data = self.data()
            return Problem(
                model=model,
                loss=self.loss,
                train=data,
                validation=self.validation() if self.validation else None,
                optimizer=self.optimizer(model),
                precision=self.precision,
            )


def named(name: str, build: Callable[[], Problem]) -> Callable[[], Problem]:
    """The same builder; its problem says which case it is."""
    return lambda: replace(build(), name=name)


def sick_case(
    name: str,
    *,
    source: str,
    fault: str,
    codes: str,
    sick: Callable[[], Problem],
    healthy: Callable[[], Problem],
) -> Case:
    """A case with a fault; `codes` are the acceptable ones, separated by spaces."""
    return Case(
        name=name,
        source=source,
        fault=fault,
        codes=frozenset(codes.split()),
        problem=named(name, sick),
        healthy=named(name, healthy),
    )


def healthy_case(name: str, problem: Callable[[], Problem], *, source: str = "") -> Case:
    """A case without a fault: whatever is said against it is a false alarm."""
    return Case(name=name, source=source, fault="", codes=frozenset(), problem=named(name, problem))
