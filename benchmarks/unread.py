"""How often ``wellposed.check`` is right on problems whose author had read the README alone.

::

    python -m benchmarks.unread [--half a|b|healthy|second-a|second-b] [--totals]

Two authors. The first: 79 sick problems with healthy twins, of several inputs, outputs, terms and odd containers, drawn into two halves at
random, and 45 healthy set-ups. The second, a day later: 24 sick ones with twins and 36 odd healthy ones, in two halves. The halves ``b`` are
for figures alone: print their ``--totals``, and do not tune on them. In front of a row, ``!`` is a miss or an accusation.
Some twins are accused rightly: they were standardised with train and validation together (WP103).
"""

from __future__ import annotations

import argparse
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

import wellposed as wp

WORKERS = 2


@dataclass(frozen=True)
class Row:
    """What the check said of one problem."""

    name: str
    sick: bool
    codes: tuple[str, ...]
    """Errors and warnings, in the report's order; the error's name where the problem could not be run."""
    verdict: str

    @property
    def right(self) -> bool:
        return bool(self.codes) == self.sick


def problems(half: str) -> list[tuple[str, bool, Callable[[], dict[str, Any]]]]:
    """Name, whether it is sick, and what makes the arguments of `check`."""
    part = half.removeprefix("second-") if half.startswith("second-") else ""
    module: Any = import_module(f"benchmarks.cases.unread_{'c' if part else half}")
    cases: Any = getattr(module, f"CASES_{part.upper()}" if part else "CASES", ())
    healthy: Any = getattr(module, f"HEALTHY_{part.upper()}" if part else "HEALTHY", ())
    pairs = [(c.name, sick, c.sick if sick else c.healthy) for c in cases for sick in (True, False)]
    return pairs + [(name, False, build) for name, build in healthy]


def checked(half: str, index: int) -> Row:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    name, sick, build = problems(half)[index]
    try:
        report = wp.check(**build())
    except wp.WellposedError as error:
        return Row(name, sick, (type(error).__name__,), "raised")
    counted = tuple(f.code for f in report.findings if f.severity is not wp.Severity.NOTE)
    return Row(name, sick, counted, report.verdict)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=("a", "b", "healthy", "second-a", "second-b"), default="a")
    parser.add_argument("--totals", action="store_true", help="print no rows")
    options = parser.parse_args(arguments)
    tasks = [(options.half, i) for i in range(len(problems(options.half)))]
    rows = []
    with multiprocessing.get_context("spawn").Pool(WORKERS, maxtasksperchild=8) as pool:
        for row in pool.starmap(checked, tasks, chunksize=1):
            rows.append(row)
            if not options.totals:
                kind = "sick" if row.sick else "healthy"
                print(
                    f"{' ' if row.right else '!'} {kind:7} {row.name:40} {row.verdict:12} {' '.join(row.codes)}"
                )
    for kind, group in (("sick", [r for r in rows if r.sick]), ("healthy", [r for r in rows if not r.sick])):
        if group:
            print(f"{kind}: {sum(bool(r.codes) for r in group)} of {len(group)} with an error or warning")
            print("   ", dict(Counter(code for r in group for code in r.codes).most_common()))
            print("   ", dict(Counter(r.verdict for r in group)))


if __name__ == "__main__":
    main()
