"""Planted origins of a NaN or infinity: are the operation, the line and the rows of the data that make it named right?

::

    python -m benchmarks.nonfinite_origin [--only NAME ...]

One row a case of `benchmarks.cases.nonfinite_origins`: what was planted, and what WP209 said of it. ``!`` where the module, the
operation or the line is wrong, ``~`` where only the rows are. At the end how many were right.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Sequence

import wellposed as wp
from wellposed.signals.result import NonFiniteOrigin, SignalProfile

from .cases.nonfinite_origins import BATCH, CASES, ROOT, Planted

_ROOTS = (ROOT, "model", "Net")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", help="names of cases")
    asked = parser.parse_args(arguments)
    cases = [c for c in CASES if asked.only is None or c.name in asked.only]
    right = [_shown(case, found_in(case)) for case in cases]
    told = sum(c.rows is not None for c in cases)
    print(f"\noperation, module and line right: {sum(a for a, _ in right)} of {len(cases)}")
    print(f"rows right: {sum(b for _, b in right)} of {told} whose origin is in some rows")
    return 0 if all(a for a, _ in right) else 1


def found_in(case: Planted) -> NonFiniteOrigin | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = wp.check(case.problem())
    profile = report.measurements.get("signal")
    return profile.nonfinite if isinstance(profile, SignalProfile) else None


def is_right(case: Planted, found: NonFiniteOrigin | None) -> bool:
    """Whether module, operation, direction and line are those that were planted."""
    if found is None or found.direction != case.direction:
        return False
    name = re.sub(r"backward\d*$", "", found.operation.lower())
    where = found.where in _ROOTS if case.where == ROOT else found.where == case.where
    return where and name in case.operation and found.line == case.line


def has_right_rows(case: Planted, found: NonFiniteOrigin | None) -> bool:
    """Whether the rows of the first batch in which it appears are named; where all make it, or none can be told, nothing is asked."""
    if found is None or case.rows is None:
        return False
    batch = min(case.rows) // BATCH
    return found.rows == tuple(sorted(r - batch * BATCH for r in case.rows if r // BATCH == batch))


def _shown(case: Planted, found: NonFiniteOrigin | None) -> tuple[bool, bool]:
    right, rows = is_right(case, found), has_right_rows(case, found)
    mark = "!" if not right else "~" if case.rows is not None and not rows else " "
    said = (
        "nothing"
        if found is None
        else f"{found.direction} {found.operation} at {found.where or 'model'} ({found.line}), rows {found.rows}"
    )
    planted = f"{case.direction} {case.operation[0]} at {case.where or 'model'} ({case.line})"
    print(
        f"{mark} {case.name:<48} {said}" + (f"\n{'':>50} planted: {planted}" if not right else ""), flush=True
    )
    return right, rows


if __name__ == "__main__":
    raise SystemExit(main())
