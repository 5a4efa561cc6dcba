"""25 classic bugs in a hand-written backward pass, each checked at about 800 and 100,000 parameters.

::

    python -m benchmarks.gradient_bugs [--size 800 --size 100000]

One row a bug: the verdict, the error in bars of the reading that gave it away (z; it takes 6), Ng's number, the cause that was named,
and the evaluations. The last row is the correct code over 20 seeds, with its largest z.
"""

from __future__ import annotations

import click
import numpy as np

import wellposed as wp
from tests.cases.gradient_bugs import BUGS, Bend, Regression, draw, hand_written
from wellposed.frameworks.torch.gradients import checking, opened
from wellposed.gradcheck.directions import random_signs, signs_of
from wellposed.gradcheck.probe import Prober

HEALTHY_SEEDS = 20


def largest_z(problem: Regression, bend: Bend, seed: int = 0) -> float:
    """Error over bar along the directions of the first pass, the largest of them."""
    names = ["W1", "b1", "W2", "b2"]
    subject = opened(hand_written(problem, bend), problem.parameters, names=names, seed=seed)
    with checking(subject, seed=seed, replay=False) as objective:
        prober = Prober(objective, objective.points, objective.gradients, seed=seed)
        group = range(len(prober.points))
        directions = [random_signs(group, prober.points, prober.scales, prober.rng) for _ in range(2)]
        directions += [
            signs
            for kind, of in (("gradient", prober.gradients), ("parameter", prober.points))
            if (signs := signs_of(kind, of, group, prober.scales)) is not None
        ]
        wanted = 1e-5 * float(np.linalg.norm(prober.shares))
        readings = [prober.read(direction, wanted=wanted) for direction in directions]
    return max(abs(r.error) / r.bar for r in readings)


def table(size: int) -> None:
    problem = draw(size)
    count = sum(p.numel() for p in problem.parameters)
    click.echo(f"{count:,} parameters, float64")
    click.echo(f"{'':<30} {'verdict':<12} {'z':>9} {'Ng':>9} {'forward':>8}  cause")
    caught = 0
    for bug in BUGS:
        bend = bug.bend(problem)
        check = wp.check_gradients(hand_written(problem, bend), *problem.parameters)
        caught += check.verdict == "fail"
        z = largest_z(problem, bend)
        click.echo(
            f"{bug.name:<30} {check.verdict:<12} {z:>9.2g} {check.relative_error:>9.2g} {check.n_forward:>8}  {check.cause or '-'}"
        )
    healthy = [draw(size, seed=seed) for seed in range(HEALTHY_SEEDS)]
    checks = [
        wp.check_gradients(hand_written(p, Bend()), *p.parameters, seed=s) for s, p in enumerate(healthy)
    ]
    z = max(largest_z(p, Bend(), seed) for seed, p in enumerate(healthy))
    click.echo(
        f"{'correct, 20 seeds':<30} {f'{sum(map(bool, checks))} pass':<12} {z:>9.2g} {max(c.relative_error for c in checks):>9.2g} "
        f"{max(c.n_forward for c in checks):>8}"
    )
    click.echo(
        f"caught {caught} of {len(BUGS)}, false alarms {sum(c.verdict == 'fail' for c in checks)} of {HEALTHY_SEEDS}\n"
    )


@click.command(help=__doc__)
@click.option("--size", multiple=True, type=int, default=(800, 100_000), show_default=True)
def main(size: tuple[int, ...]) -> None:
    for one in size:
        table(one)


if __name__ == "__main__":
    main()
