"""Kinds that no call can touch, or that the library has always put back: a trace in one of these is a false alarm."""

from __future__ import annotations

from typing import Any

import torch

from .kind import FEATURES, Case, Kinds, Net, case, loader, sgd

kinds = Kinds()


@kinds.kind()
def dict_that_nothing_names() -> Case:
    notes: dict[str, int] = {}
    return case(lambda: notes, disturb=lambda: notes.update(changed=1))


@kinds.kind()
def generator_that_nothing_draws_from() -> Case:
    generator = torch.Generator().manual_seed(0)
    return case(lambda: generator, disturb=lambda: torch.rand(1, generator=generator))


@kinds.kind()
def plain_weights() -> Case:
    model = Net()
    return case(lambda: list(model.parameters()), model=model)


@kinds.kind()
def plain_momentum() -> Case:
    model = Net()
    optimizer = sgd(model)

    def probe() -> Any:
        return list(optimizer.state.values())

    return case(probe, model=model, optimizer=optimizer)


@kinds.kind()
def running_statistics_in_a_loader() -> Case:
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(FEATURES), torch.nn.Dropout(0.2), Net())
    return case(lambda: list(model.buffers()), model=model, train=loader())
