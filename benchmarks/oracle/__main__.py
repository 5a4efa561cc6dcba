"""Does the package still answer what it answered? Compares its answers with the stored ones, and lists each difference.

    python -m benchmarks.oracle [--part NAME]... [--sample N] [--jobs N] [--folder DIR]
    python -m benchmarks.oracle --store [--folder DIR]

A difference is one line, ``part / case / field: stored -> now``; with any, the exit status is 1. The stored values are those of the
machine that stored them: sums in BLAS, LAPACK and compiled loops of torch depend on the processor, and with them the bits of numerical
derivatives and gradient checks, of whitening, and sometimes a verdict. To judge a change on another machine, store the answers of the commit before
the change in a folder there (``--store --folder DIR``), and compare those of the commit after it with them. Run ``--store`` and then the
comparison, which must find nothing: what differs between two runs of the same code is random and cannot be compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import wellposed as wp

from . import drift_leakage, gradients, moments, named_bugs, numerical, opinfo, verdicts
from .answers import Cases, answered
from .comparing import comparable, differences, read, write

STORED = Path(__file__).parent / "stored"
PARTS = {
    "moments": moments.cases,
    "drift_leakage": drift_leakage.cases,
    "numerical": numerical.cases,
    "gradients": gradients.cases,
    "opinfo": opinfo.cases,
    "named_bugs": named_bugs.cases,
    "verdicts": verdicts.cases,
}


def store(part: str, folder: Path, *, every: int, jobs: int) -> int:
    answers = answered(PARTS[part](), every=every, jobs=jobs)
    write(answers, folder / f"{part}.json")
    return len(answers)


def compare(part: str, folder: Path, *, every: int, jobs: int) -> tuple[int, int]:
    """Print what differs from the stored answers; the numbers of cases and of differences."""
    known: Cases = PARTS[part]()
    now = answered(known, every=every, jobs=jobs)
    stored = comparable(read(folder / f"{part}.json"), asked=now, known=known)
    found = differences(stored, now)
    for difference in found:
        print(f"{part} / {difference}")
    return len(now), len(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.oracle", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--part", action="append", choices=list(PARTS), help="one part; may be repeated")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="only every N-th case")
    parser.add_argument(
        "--folder", type=Path, default=STORED, metavar="DIR", help="where the stored answers are"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many cases at a time")
    parser.add_argument("--store", action="store_true", help="store the answers instead of comparing them")
    options = parser.parse_args(arguments)
    if options.sample < 1 or options.jobs < 1:
        parser.error("--sample and --jobs take numbers from 1 on")
    if options.store and options.sample > 1 and options.folder == STORED:
        parser.error("a sample would replace all stored answers: give another --folder")
    for name in wp.__all__:  # loaded once here, rather than in every forked process
        getattr(wp, name)
    print(f"wellposed from {Path(wp.__file__).parent}", flush=True)
    total = 0
    for part in options.part or PARTS:
        started = time.perf_counter()
        found = 0
        if options.store:
            cases, said = store(part, options.folder, every=options.sample, jobs=options.jobs), "stored"
        else:
            cases, found = compare(part, options.folder, every=options.sample, jobs=options.jobs)
            said = f"{found} differences"
        print(f"{part}: {cases} cases, {said}, {time.perf_counter() - started:.0f} s", flush=True)
        total += found
    return int(total > 0)


if __name__ == "__main__":
    raise SystemExit(main())
