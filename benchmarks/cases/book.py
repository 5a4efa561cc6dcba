"""A book of cases: a decorator turns a function that builds a problem into a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch.optim.lr_scheduler import LRScheduler

from tests.cases.case import Case
from wellposed import Problem


class Book:
    """Collects the cases of one file; the function's name, with hyphens, is the name of the case."""

    def __init__(self) -> None:
        self._cases: list[Case] = []

    def healthy(self, build: Callable[[], Problem]) -> Callable[[], Problem]:
        """Enter a problem that is in order: whatever is said against it is a false alarm."""
        name = _name(build)
        self._cases.append(
            Case(name=name, source="own", fault="", codes=frozenset(), problem=_seeded(build, name))
        )
        return build

    def sick(
        self, codes: str, fault: str
    ) -> Callable[[Callable[[bool], Problem]], Callable[[bool], Problem]]:
        """Enter a problem with a fault; the function is told whether to build that, or its healthy twin."""

        def enter(build: Callable[[bool], Problem]) -> Callable[[bool], Problem]:
            name = _name(build)
            self._cases.append(
                Case(
                    name=name,
                    source="own",
                    fault=fault,
                    codes=frozenset(codes.split()),
                    problem=_seeded(partial(build, True), name),
                    healthy=_seeded(partial(build, False), name),
                )
            )
            return build

        return enter

    def sick_cases(self) -> Iterator[Case]:
        return (case for case in self._cases if case.is_sick)

    def healthy_cases(self) -> Iterator[Case]:
        return (case for case in self._cases if not case.is_sick)


def _name(build: Callable[..., Problem]) -> str:
    return build.__name__.replace("_", "-")


def _seeded(build: Callable[[], Problem], name: str) -> Callable[[], Problem]:
    """The same problem in every run, and the caller's random state left alone."""

    def seeded() -> Problem:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return replace(build(), name=name)

    return seeded


def scheduled(optimizer: torch.optim.Optimizer, schedule: LRScheduler) -> torch.optim.Optimizer:
    """The optimizer with ``optimizer.schedule``; making a schedule has set the learning rate of step 0."""
    optimizer.schedule = schedule  # type: ignore[attr-defined]
    return optimizer
