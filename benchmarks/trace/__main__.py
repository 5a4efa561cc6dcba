"""Whatever only looks leaves no trace: one kind of state after the other, random problems, interrupts, errors and threads.

::

    python -m benchmarks.trace [--kinds a] [--problems 300] [--doors 100] [--calls check,signals] [--interrupts 500] [--seed 0]

Every run is a process of its own, forked from one that has loaded the libraries, and is compared to a twin in which no call was
made: all state right after the call, and the bits of three training steps that follow. Cells: clean; refused (an error of
wellposed, nothing changed); raised (any other error, nothing changed); said (changed, and a report, an error of
wellposed or a ``TraceWarning`` names it); TRACE (changed, unsaid); died (the interpreter crashed or hung); no test (the kind
does not change when it is run by hand, or is not deterministic). The exit code is 1 after a TRACE, died or no test.
"""

from __future__ import annotations

import sys
from collections import Counter

import click
import torch

from . import controls, kinds_a, kinds_b
from .calls import CALLS
from .campaigns import errors_table, interrupts_table, kinds_table, threads_table
from .doors import drawn_door
from .problems import drawn_problem
from .warm import warm_up

SETS = {
    "a": kinds_a.kinds,
    "b": kinds_b.kinds,
    "controls": controls.kinds,
    "all": kinds_a.kinds | kinds_b.kinds | controls.kinds,
    "none": {},
}


@click.command(help=__doc__)
@click.option("--kinds", "which", type=click.Choice(tuple(SETS)), default="none", show_default=True)
@click.option("--only", default="", help="Kinds whose names contain this.")
@click.option("--problems", default=0, show_default=True, help="Number of random problems.")
@click.option(
    "--doors", default=0, show_default=True, help="Number of random problems in the forms people bring."
)
@click.option("--calls", "names", default=",".join(CALLS), show_default=True)
@click.option("--interrupts", default=0, show_default=True, help="Number of interrupts.")
@click.option("--errors", default=0, show_default=True, help="Number of errors of the user's code.")
@click.option("--threads", default=0, show_default=True, help="Number of calls from two threads.")
@click.option("--seed", default=0, show_default=True)
@click.option("--details/--totals", default=True, help="Rows, or their totals alone.")
def main(
    which: str,
    only: str,
    problems: int,
    doors: int,
    names: str,
    interrupts: int,
    errors: int,
    threads: int,
    seed: int,
    details: bool,
) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    warm_up()
    calls = _listed(names)
    kinds = [kind for name, kind in SETS[which].items() if only in name]
    drawn = [drawn_problem(seed * 100_000 + i) for i in range(problems)]
    formed = [drawn_door(seed * 100_000 + i) for i in range(doors)]
    tables = {
        "kinds": lambda: kinds_table(kinds, calls, details=details) if kinds else Counter(),
        "problems": lambda: kinds_table(drawn, calls, details=details) if drawn else Counter(),
        "doors": lambda: kinds_table(formed, calls, details=details) if formed else Counter(),
        "interrupts": lambda: interrupts_table(interrupts, calls, seed),
        "errors": lambda: errors_table(errors, calls, seed),
        "threads": lambda: threads_table(threads, calls, seed),
    }
    totals = {title: table() for title, table in tables.items()}
    print()
    for title, counts in totals.items():
        if counts:
            print(f"{title}: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    sys.exit(any(counts[bad] for counts in totals.values() for bad in ("TRACE", "died", "no test")))


def _listed(names: str) -> list[str]:
    listed = [name.strip() for name in names.split(",") if name.strip()]
    for name in listed:
        if name not in CALLS:
            raise click.BadParameter(f"calls has {name!r}; it takes {', '.join(CALLS)}")
    return listed


if __name__ == "__main__":
    main()
