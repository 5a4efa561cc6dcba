"""Does `check_gradients` tell the truth on torch's own database of operations, with and without bugs?

::

    python -m benchmarks.opinfo [--dtype float32] [--mode replay --mode native] [--seeds 3] [--sample 10] [--only OP] [--torch] [--out FILE]

Each operation with a backward pass, on its first two samples, as it is and with four bugs: all gradients 1 % too large, negated, zero, and a
single element zeroed. A correct operation that fails is a false alarm. A bug that passes, though it is larger than the
resolution that the check states for that tensor, is a silent pass. Every one of either is listed. Rows are appended to FILE, and what it holds
already is not done again.
"""

from __future__ import annotations

import json
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from .opinfo_cases import Case, Unusable, cases, name_of, operations
from .opinfo_mutants import KINDS, plant
from .opinfo_trial import MODES, Trial, check, torch_check

VERDICTS = ("pass", "inconclusive", "fail", "refused", "timeout", "crash")
TORCH = ("torch", "torch fast")


@click.command()
@click.option("--dtype", "dtypes", multiple=True, default=("float32",), show_default=True)
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), default=("replay", "native"))
@click.option("--seeds", default=3, show_default=True)
@click.option("--ops", default=0, help="Only so many operations, drawn at random; 0: all.")
@click.option("--sample", "every", default=1, help="Every K-th operation.")
@click.option("--only", default="", help="One operation by its name.")
@click.option("--bug", "bugs", multiple=True, type=click.Choice(KINDS), default=KINDS)
@click.option("--no-bugs", is_flag=True, help="The correct operations only.")
@click.option("--torch", "beside_torch", is_flag=True, help="torch.autograd.gradcheck on the same cases too.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path))
def main(
    dtypes: Sequence[str],
    modes: Sequence[str],
    seeds: int,
    ops: int,
    every: int,
    only: str,
    bugs: Sequence[str],
    no_bugs: bool,
    beside_torch: bool,
    out: Path | None,
) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of deprecated operations
    for dtype in dtypes:
        trials: list[Trial] = []
        skipped: dict[str, str] = {}
        chosen = operations(getattr(torch, dtype), only=only, every=every)
        if ops:
            chosen = random.Random(0).sample(chosen, min(ops, len(chosen)))
        done = {_key(t): t for t in _read(out)}
        for n, op in enumerate(chosen):
            click.echo(f"\r{dtype} {n + 1}/{len(chosen)} {name_of(op):<60}", nl=False, err=True)
            for seed in range(seeds):
                try:
                    found = cases(op, getattr(torch, dtype), seed=seed)
                except Unusable as reason:
                    skipped[name_of(op)] = str(reason)
                    continue
                for case in found:
                    kinds = ["", *(() if no_bugs else bugs)]
                    for trial in _trials(case, kinds, [*modes, *(TORCH if beside_torch else ())], done):
                        trials.append(trial)
                        if out and _key(trial) not in done:
                            with out.open("a") as file:
                                print(trial.line(), file=file)
        click.echo("", err=True)
        report(dtype, trials, skipped)


def _trials(
    case: Case, kinds: Sequence[str], modes: Sequence[str], done: dict[tuple, Trial]
) -> Iterator[Trial]:
    for mode in modes:
        if mode == "native" and case.dtype is torch.float64:
            continue
        for kind in kinds:
            known = done.get(
                (case.op, case.sample, case.seed, str(case.dtype).removeprefix("torch."), mode, kind)
            )
            if known:
                yield known
                continue
            planted = plant(case, kind) if kind else None
            if kind and planted is None:
                continue
            if mode in TORCH:
                yield torch_check(case, fast=mode == "torch fast", planted=planted)
            else:
                yield check(case, mode=mode, planted=planted)


def _key(t: Trial) -> tuple:
    return (t.op, t.sample, t.seed, t.dtype, t.mode, t.bug)


def _read(out: Path | None) -> list[Trial]:
    if out is None or not out.exists():
        return []
    return [_trial(json.loads(line)) for line in out.read_text().splitlines()]


def _trial(row: dict[str, Any]) -> Trial:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return Trial(**values)


def report(dtype: str, trials: Sequence[Trial], skipped: dict[str, str]) -> None:
    click.echo(f"\n{dtype}: {len({t.op for t in trials})} operations, {len(skipped)} left out")
    for reason, count in Counter(skipped.values()).most_common():
        names = [name for name, why in skipped.items() if why == reason]
        click.echo(f"  {count:>4} {reason}: {', '.join(names)}")
    for mode in dict.fromkeys(t.mode for t in trials):
        _table(mode, [t for t in trials if t.mode == mode])


def _table(mode: str, trials: Sequence[Trial]) -> None:
    click.echo(f"\n{mode}")
    click.echo(
        f"{'':<10}"
        + "".join(f"{v:>13}" for v in VERDICTS)
        + f"{'of':>7}{'silent':>8}{'s, median':>11}{'forward':>9}"
    )
    for bug in dict.fromkeys(t.bug for t in trials):
        rows = [t for t in trials if t.bug == bug]
        count = Counter(t.verdict for t in rows)
        cells = "".join(f"{count[v]:>5} {count[v] / len(rows):>6.1%}" for v in VERDICTS)
        silent = sum(t.unseen > 1 for t in rows) if mode in MODES else 0
        seconds = float(np.median([t.seconds for t in rows]))
        forward = float(np.median([t.n_forward for t in rows]))
        click.echo(f"{bug or 'correct':<10}{cells}{len(rows):>7}{silent:>8}{seconds:>11.3f}{forward:>9.0f}")
    if mode in MODES:
        _list("false alarms", [t for t in trials if not t.bug and t.verdict == "fail"])
        _list("silent passes", [t for t in trials if t.unseen > 1])
        _list("passes of a bug below the stated resolution", [t for t in trials if 0 < t.unseen <= 1])
        _list(
            "crashes, time-outs and refusals", [t for t in trials if not t.bug and t.verdict in VERDICTS[3:]]
        )
        _list("inconclusive though correct", [t for t in trials if not t.bug and t.verdict == "inconclusive"])


def _list(title: str, trials: Sequence[Trial]) -> None:
    """One line an operation and bug, with the details of its worst row."""
    click.echo(f"  {title}: {len(trials)}")
    for op, bug in dict.fromkeys((t.op, t.bug) for t in trials):
        rows = [t for t in trials if (t.op, t.bug) == (op, bug)]
        worst = max(rows, key=lambda t: (t.unseen, t.resolution))
        where = " ".join(f"{t.sample}/{t.seed}" for t in rows)
        size = f"{worst.unseen:.3g} times the stated resolution; " if worst.unseen else ""
        click.echo(
            f"    {op} {bug} (sample/seed {where}) {size}resolution {worst.resolution:.2g}; {worst.detail[:150]}"
        )


if __name__ == "__main__":
    main()
