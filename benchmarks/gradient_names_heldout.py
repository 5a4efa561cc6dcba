"""Does the check name the bug? On cases that nobody had seen while the rules of naming were written.

::

    python -m benchmarks.gradient_names_heldout [--family stale] [--draw 0] [--seed 0] [--all]

The columns are those of `gradient_names`. *hidden* are bugs with a name that nothing which a check can vary shows, *not nameable* those
that have none: there only a wrong name counts.
"""

from __future__ import annotations

import click

from .cases import (
    names_heldout_changed,
    names_heldout_jax,
    names_heldout_nameless,
    names_heldout_numpy,
    names_heldout_second,
    names_heldout_torch,
)
from .cases.named_bug import FAMILIES, NamedBug
from .cases.names_heldout import Drawn
from .gradient_names import report

SETS = {
    "first": (
        names_heldout_changed,
        names_heldout_torch,
        names_heldout_numpy,
        names_heldout_jax,
        names_heldout_nameless,
    ),
    "second": (names_heldout_second,),
}


def heldout(which: str) -> list[NamedBug]:
    return [case for home in SETS[which] for case in home.cases()]


@click.command(help=__doc__)
@click.option("--set", "which", type=click.Choice(list(SETS)), default="first", show_default=True)
@click.option("--family", multiple=True, type=click.Choice(FAMILIES), default=FAMILIES)
@click.option("--seed", default=0, show_default=True)
@click.option("--draw", default=0, show_default=True, help="Another number draws other weights and data.")
@click.option(
    "--all", "every", is_flag=True, help="A line for every case, not only for those that are not right."
)
def main(which: str, family: tuple[str, ...], seed: int, draw: int, every: bool) -> None:
    Drawn.draw = draw
    report([case for case in heldout(which) if case.family in family], seed=seed, every=every)


if __name__ == "__main__":
    main()
