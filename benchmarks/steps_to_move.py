"""Steps until a weight has moved by 1 % of its size: what `wp.check` predicts from 30 steps, against training in earnest.

::

    python -m benchmarks.steps_to_move [MODEL]... [--verbose]

Each setting is a model, an optimizer and a rate. The real training draws batches of its own and runs until every weight matrix has moved by
1 %, or for 4,000 steps; weights that take longer, or fewer than three steps, are left out. A setting is within a factor of 2 when its median
weight is; weights are counted one by one too.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, TensorDataset

import wellposed as wp

from .small_problems import BATCH, MODELS, OPTIMIZERS, SmallProblem, small_problem

MOST, LEAST = 4000, 3
RATES = {"SGD": (1e-2, 1e-3, 1e-4), "momentum": (3e-3, 1e-4), "Adam": (1e-4, 1e-5), "AdamW": (3e-5, 3e-6)}


class Compared(NamedTuple):
    model: str
    optimizer: str
    rate: float
    weight: str
    predicted: float
    real: int

    @property
    def ratio(self) -> float:
        return self.predicted / self.real


def real_steps(problem: SmallProblem, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """By weight: the step after which it had moved by 1 %."""
    start = {n: p.detach().clone() for n, p in problem.model.named_parameters() if p.ndim >= 2}
    found: dict[str, int] = {}
    generator = torch.Generator().manual_seed(1234)
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, MOST + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(problem.x), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        optimizer.zero_grad()
        problem.loss(problem.model(problem.x[rows]), problem.y[rows]).backward()
        optimizer.step()
        for name, parameter in problem.model.named_parameters():
            if name in start and name not in found:
                moved = float((parameter.detach() - start[name]).norm() / start[name].norm())
                if moved >= 0.01:
                    found[name] = step
        if len(found) == len(start):
            break
    return found


def predicted_steps(problem: SmallProblem, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    loader = DataLoader(TensorDataset(problem.x, problem.y), batch_size=BATCH, shuffle=True)
    report = wp.check(problem.model, problem.loss, loader, optimizer=optimizer, select="WP206")
    training: Any = report.measurements["training"]
    return {
        u.name: u.steps_to_move for u in training.updates if u.dimensions >= 2 and u.steps_to_move is not None
    }


def compared(model: str, optimizer: str, rate: float) -> Iterator[Compared]:
    problem = small_problem(model, "cross_entropy")
    predicted = predicted_steps(problem, OPTIMIZERS[optimizer](problem.model.parameters(), rate))
    own = SmallProblem(copy.deepcopy(problem.model), problem.loss, problem.x, problem.y)
    real = real_steps(own, OPTIMIZERS[optimizer](own.model.parameters(), rate))
    for name, steps in real.items():
        if steps >= LEAST:
            yield Compared(model, optimizer, rate, name, predicted.get(name, math.nan), steps)


def _within(ratio: float) -> bool:
    return 0.5 <= ratio <= 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[[], *MODELS], default=[])
    parser.add_argument("--verbose", action="store_true", help="list every weight")
    options = parser.parse_args()
    settings = [
        found
        for model in options.models or MODELS
        for optimizer, rates in RATES.items()
        for rate in rates
        if (found := list(compared(model, optimizer, rate)))
    ]
    for rows in settings:
        first, middle = rows[0], statistics.median(r.ratio for r in rows)
        print(
            f"{first.model:21} {first.optimizer:9} {first.rate:7.0e}  weights {len(rows):2}  within 2x {sum(_within(r.ratio) for r in rows):2}  "
            f"median ratio {middle:5.2f}  real {min(r.real for r in rows)} to {max(r.real for r in rows)}",
            flush=True,
        )
        for row in rows if options.verbose else ():
            print(
                f"    {row.weight:40} predicted {row.predicted:9.1f}  real {row.real:5}  ratio {row.ratio:.2f}"
            )
    weights = [row for rows in settings for row in rows]
    good = sum(_within(row.ratio) for row in weights)
    whole = sum(_within(statistics.median(r.ratio for r in rows)) for rows in settings)
    far = [row for row in weights if row.real > 60]
    print(f"weights within a factor of 2: {good} of {len(weights)} ({good / len(weights):.1%})")
    print(f"  of those beyond 60 steps: {sum(_within(r.ratio) for r in far)} of {len(far)}")
    print(f"settings whose median weight is: {whole} of {len(settings)}")


if __name__ == "__main__":
    main()
