"""25 classic bugs in a hand-written backward pass, at about 1e3, 1e4, 1e5 and 1e6 parameters, beside other gradient checks.

::

    python -m benchmarks.gradient_bugs [--size 1000 --size 1000000] [--precision float64]

``float64`` code, and ``float32`` code that runs in nothing else, as a fused kernel does. One row a bug: what the check says,
the largest true error of a tensor's gradient (relative to it), what the check says it would have seen there, and what torch's
gradcheck (fast, and slow up to 1,200 parameters), JAX's check_grads and Ng's number say, each with its defaults.
Ng's formula goes element by element up to 1,200 parameters and along ten random sign directions beyond.

A *silent pass* passes with an error larger than the stated resolution of that tensor; *below* passes with one that is smaller. The last row
is the correct code over 20 seeds, where *caught* is a false alarm.
"""

from __future__ import annotations

from collections import Counter

import click
import torch

import wellposed as wp
from tests.cases.gradient_bugs import (
    BUGS,
    Bend,
    Regression,
    backward,
    draw,
    hand_written,
    loss,
    true_errors,
)
from wellposed import GradientCheck

from .gradient_bugs_peers import CAUGHT, ELEMENTWISE_UP_TO, Course, course, jax_check_grads, torch_gradcheck

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
PEERS = ("torch fast", "torch slow", "jax", "Ng")
HEALTHY_SEEDS = 20
INCONCLUSIVE, SILENT, BELOW = "inconclusive", "silent pass", "below"


def outcome(check: GradientCheck, errors: tuple[float, ...]) -> str:
    if check.verdict != "pass":
        return CAUGHT if check.verdict == "fail" else INCONCLUSIVE
    unseen = [e > t.resolution for e, t in zip(errors, check.tensors, strict=True)]
    return SILENT if any(unseen) else BELOW


def check_of(problem: Regression, bend: Bend, seed: int = 0) -> GradientCheck:
    only = torch.float32 if problem.x.dtype is torch.float32 else None
    return wp.check_gradients(hand_written(problem, bend, only=only), *problem.parameters, seed=seed)


def peers_of(problem: Regression, bend: Bend, differences: Course) -> dict[str, str]:
    f = hand_written(problem, bend)
    said = {"torch fast": torch_gradcheck(f, problem.parameters, fast=True)}
    if sum(p.numel() for p in problem.parameters) <= ELEMENTWISE_UP_TO:
        said["torch slow"] = torch_gradcheck(f, problem.parameters, fast=False)
    said["jax"] = jax_check_grads(f, problem.parameters)
    said["Ng"] = differences.says(backward(problem, problem.parameters, bend))
    return said


def line(name: str, found: str, error: float, check: GradientCheck, said: dict[str, str]) -> str:
    return (
        f"{name:<32} {found:<13} {error:>8.1e} {check.resolution:>8.1e} {check.n_forward:>4}  {check.cause or '-':<14}"
        + "".join(f" {said.get(p, '-'):<10}" for p in PEERS)
    )


def table(size: int, precision: str, *, peers: bool, seeds: int) -> Counter[str]:
    problem = draw(size, dtype=PRECISIONS[precision])
    count = sum(p.numel() for p in problem.parameters)
    click.echo(f"\n{count:,} parameters, {precision}{'' if precision == 'float64' else ' only'}")
    click.echo(
        f"{'':<32} {'check':<13} {'error':>8} {'stated':>8} {'fwd':>4}  {'cause':<14}"
        + "".join(f" {p:<10}" for p in PEERS)
    )
    differences = course(lambda parameters: loss(problem, tuple(parameters)), problem.parameters)
    ours: Counter[str] = Counter()
    theirs: Counter[str] = Counter()
    for bug in BUGS:
        bend = bug.bend(problem)
        check, errors = check_of(problem, bend), true_errors(problem, bend)
        found = outcome(check, errors)
        said = peers_of(problem, bend, differences) if peers else {}
        ours[found] += 1
        theirs.update(p for p, word in said.items() if word == CAUGHT)
        click.echo(line(bug.name, found, max(errors), check, said))
    for found in (CAUGHT, INCONCLUSIVE, BELOW, SILENT):
        click.echo(f"  {found}: {ours[found]}", nl=False)
    words = ", ".join(f"{p} caught {theirs[p]}" for p in PEERS if theirs[p])
    click.echo(f"   of {len(BUGS)}" + (f"; {words}" if words else ""))
    return ours + correct_code(size, precision, peers=peers, seeds=seeds)


def correct_code(size: int, precision: str, *, peers: bool, seeds: int) -> Counter[str]:
    problems = [draw(size, dtype=PRECISIONS[precision], seed=seed) for seed in range(seeds)]
    checks = [check_of(p, Bend(), seed) for seed, p in enumerate(problems)]
    verdicts = Counter(c.verdict for c in checks)
    worst = max(checks, key=lambda c: c.resolution)
    alarms = ""
    if peers:
        first = problems[0]
        said = peers_of(first, Bend(), course(lambda q: loss(first, tuple(q)), first.parameters))
        alarms = "; on correct code: " + ", ".join(f"{p} {word}" for p, word in said.items())
    click.echo(
        f"  correct, {seeds} seeds: {verdicts['pass']} pass, {verdicts['inconclusive']} inconclusive, {verdicts['fail']} fail; "
        f"coarsest resolution {worst.resolution:.1e}, at most {max(c.n_forward for c in checks)} forward passes{alarms}"
    )
    return Counter({"false alarm": verdicts["fail"], "correct, not passed": verdicts["inconclusive"]})


@click.command(help=__doc__)
@click.option("--size", multiple=True, type=int, default=SIZES, show_default=True)
@click.option("--precision", multiple=True, type=click.Choice(list(PRECISIONS)), default=tuple(PRECISIONS))
@click.option("--peers/--no-peers", default=True, show_default=True)
@click.option("--seeds", default=HEALTHY_SEEDS, show_default=True, help="How many draws of the correct code.")
def main(size: tuple[int, ...], precision: tuple[str, ...], peers: bool, seeds: int) -> None:
    for name in precision:
        total: Counter[str] = Counter()
        for one in size:
            total += table(one, name, peers=peers, seeds=seeds)
        click.echo(f"\n{name}: " + ", ".join(f"{count} {what}" for what, count in total.items()))


if __name__ == "__main__":
    main()
