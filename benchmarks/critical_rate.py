"""The largest stable rate that `wp.check` reports, against bisection with real optimizers.

::

    python -m benchmarks.critical_rate [--verbose]

Each problem is a model, an optimizer and a loss. The truth is the smallest rate at which the first real step of the optimizer, taken on a
batch, leaves the loss of that very batch above what it was: rates are walked upwards by a quarter of a factor of 2 and the crossing is then
bisected, so that a first crossing is not missed where several are. Three starting rates a problem: the answer must not depend on them.
"""

from __future__ import annotations

import argparse
import copy
import math
from typing import Any

import torch

import wellposed as wp

from .small_problems import BATCH, OPTIMIZERS, SmallProblem, small_problem

SETTINGS = (
    ("mlp_tanh", "cross_entropy"), ("mlp_relu", "mse"), ("mlp_sigmoid", "huber"), ("mlp_batchnorm", "cross_entropy"),
    ("conv", "cross_entropy"), ("conv_batchnorm", "mse"), ("residual", "huber"), ("transformer", "cross_entropy"),
    ("transformer_postnorm", "mse"), ("lstm", "cross_entropy"), ("lstm", "mse"), ("gru", "huber"),
)  # fmt: skip
GIVEN = (1e-6, 1e-3, 0.3)
_UPWARDS = 2**0.25


def rises(problem: SmallProblem, make: Any, rate: float) -> bool:
    """Whether one step at a rate raises the loss of its own batch."""
    model = copy.deepcopy(problem.model)
    optimizer, x, y = make(model.parameters(), rate), problem.x[:BATCH], problem.y[:BATCH]
    before = problem.loss(model(x), y)
    before.backward()
    optimizer.step()
    with torch.no_grad():
        return not float(problem.loss(model(x), y)) <= float(before)


def critical_rate(problem: SmallProblem, make: Any) -> float:
    low = 1e-5
    while not rises(problem, make, low * _UPWARDS):
        low *= _UPWARDS
        if low > 1e5:
            return math.inf
    high = low * _UPWARDS
    for _ in range(12):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if rises(problem, make, middle) else (middle, high)
    return math.sqrt(low * high)


def reported_rate(problem: SmallProblem, make: Any, given: float) -> float:
    batch = problem.x[:BATCH], problem.y[:BATCH]
    optimizer = make(problem.model.parameters(), given)
    report = wp.check(problem.model, problem.loss, [batch], optimizer=optimizer, select="WP607")
    training: Any = report.measurements["training"]
    return math.nan if training.stable_rate is None else training.stable_rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="list every problem, not only those that miss")
    options = parser.parse_args()
    ratios: list[float] = []
    for model, loss in SETTINGS:
        for optimizer, make in OPTIMIZERS.items():
            problem = small_problem(model, loss)
            truth = critical_rate(problem, make)
            for given in GIVEN:
                found = reported_rate(problem, make, given)
                ratios.append(found / truth)
                good = 1 / 1.5 <= ratios[-1] <= 1.5
                if options.verbose or not good:
                    print(
                        f"{'ok  ' if good else 'MISS'} {model:21} {loss:14} {optimizer:9} given {given:6g}  real {truth:9.3g}  reported {found:9.3g}",
                        flush=True,
                    )
    good = sum(1 / 1.5 <= ratio <= 1.5 for ratio in ratios)
    print(
        f"within a factor of 1.5: {good} of {len(ratios)}, on {len(SETTINGS) * len(OPTIMIZERS)} problems from {len(GIVEN)} given rates each"
    )


if __name__ == "__main__":
    main()
