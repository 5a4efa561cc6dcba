"""How often ``wellposed.check`` is right, over training problems with a known answer.

::

    python -m benchmarks.training_problems [--set shared|calibration|heldout|field] [--only NAME] [--verbose]

One row a problem: every sick one, the healthy twin of every sick one, and every healthy one. The rules may
be tuned on ``shared`` and ``calibration``; ``field`` holds rebuilt public reports and published faulty programs on three
seeds each; of ``heldout`` only totals and the rules behind false alarms are
printed. In front, ``.`` is as it should be, ``~`` found but another code first, ``x`` missed, ``!`` a false
alarm, ``C`` a crash.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

from tests.cases.case import Case

SETS = {
    "shared": ("tests.cases",),
    "calibration": ("benchmarks.cases.calibration",),
    "heldout": ("benchmarks.cases.heldout",),
    "field": ("benchmarks.cases.field_training", "benchmarks.cases.deepfd"),
}
WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the check said of one problem."""

    name: str
    expected: frozenset[str]
    codes: tuple[str, ...] = ()
    """In the report's order: errors, warnings and notes."""
    counted: tuple[str, ...] = ()
    """Codes of the errors and warnings, in the report's order."""
    severity: str = ""
    """The gravest of the findings."""
    errors: tuple[str, ...] = ()
    crash: str = ""
    seconds: float = 0.0

    @property
    def found(self) -> bool:
        return bool(self.counted)

    @property
    def right_first(self) -> bool:
        return self.counted[:1] != () and self.counted[0] in self.expected

    @property
    def right_anywhere(self) -> bool:
        return bool(self.expected.intersection(self.counted))


def problems(which: str) -> Iterator[tuple[str, frozenset[str], Case, bool]]:
    """Every problem of a set: its name, its codes, its case, and whether it is the healthy twin."""
    for module_name in SETS[which]:
        module = import_module(module_name)
        for case in [*module.sick(), *module.healthy()]:
            yield case.name, case.codes, case, False
            if case.healthy is not None:
                yield f"{case.name} (twin)", frozenset(), case, True


def measure(task: tuple[str, str]) -> Row:
    """Check one problem; run in a worker, which is told only the names."""
    which, name = task
    _, expected, case, is_twin = next(entry for entry in problems(which) if entry[0] == name)
    build = case.healthy if is_twin else case.problem
    assert build is not None
    # Imported here: the parent process only lists the names.
    from wellposed._check import check

    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = check(build(), seed=0)
    except Exception as error:  # a crash is a result, and the worst one
        crash = f"{type(error).__name__}: {error}".splitlines()[0]
        return Row(name=name, expected=expected, crash=crash, seconds=time.perf_counter() - started)
    counted = {f.code for f in (*report.errors, *report.warnings)}
    graves = [kind for kind in ("errors", "warnings", "notes") if getattr(report, kind)]
    return Row(
        name=name,
        expected=expected,
        codes=report.codes,
        counted=tuple(code for code in report.codes if code in counted),
        severity=graves[0].removesuffix("s") if graves else "",
        errors=tuple(dict.fromkeys(f.code for f in report.errors)),
        seconds=time.perf_counter() - started,
    )


def run(which: str, *, only: str | None = None) -> Iterator[Row]:
    """Check every problem of a set in worker processes, in order; `only` keeps the names that contain it."""
    tasks = [(which, name) for name, *_ in problems(which) if only is None or only in name]
    context = multiprocessing.get_context("spawn")
    with context.Pool(WORKERS, initializer=_one_thread) as pool:
        yield from pool.imap(measure, tasks)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


HEADER = f"  {'case':<40} {'expected':<24} {'first':<6} {'severity':<8} {'seconds':>7}  all codes"


def line(row: Row) -> str:
    verdict = f"CRASHED {row.crash}" if row.crash else " ".join(row.codes)
    first = (*row.counted, *row.codes, "-")[0]
    expected = " ".join(sorted(row.expected)) or "-"
    columns = f"{row.name:<40} {expected:<24} {first:<6} {row.severity:<8} {row.seconds:7.2f}"
    return f"{_mark(row)} {columns}  {verdict}"


def _mark(row: Row) -> str:
    if row.crash:
        return "C"
    if not row.expected:
        return "!" if row.found else "."
    return "." if row.right_first else "~" if row.found else "x"


def totals(rows: Sequence[Row]) -> str:
    sick = [row for row in rows if row.expected]
    healthy = [row for row in rows if not row.expected]
    alarms = Counter(
        f"{code} {'error' if code in row.errors else 'warning'}" for row in healthy for code in row.counted
    )
    seconds = sorted(row.seconds for row in rows) or [0.0]
    counts = {
        "sick with an error or warning": _share(row.found for row in sick),
        "right code first": _share(row.right_first for row in sick),
        "right code anywhere": _share(row.right_anywhere for row in sick),
        "healthy with an error": _share(bool(row.errors) for row in healthy),
        "healthy with an error or warning": _share(row.found for row in healthy),
        "crashed": _share(bool(row.crash) for row in rows),
        "seconds, median and largest": f"{seconds[len(seconds) // 2]:.1f}, {seconds[-1]:.1f}",
    }
    lines = [f"{name:<34} {count}" for name, count in counts.items()]
    lines += [f"  false alarm {code:<19} {count}" for code, count in alarms.most_common()]
    return "\n".join(lines)


def _share(flags: Iterable[bool]) -> str:
    listed = list(flags)
    return f"{sum(listed)} of {len(listed)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_problems", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--set", choices=SETS, default="shared", help="which problems (default: shared)")
    parser.add_argument("--only", metavar="NAME", help="only problems whose name contains NAME")
    parser.add_argument("--verbose", action="store_true", help="print the rows of the held-out set too")
    options = parser.parse_args(arguments)
    shows_rows = options.set != "heldout" or options.verbose
    rows = []
    if shows_rows:
        print(HEADER)
    for row in run(options.set, only=options.only):
        rows.append(row)
        if shows_rows:
            print(line(row), flush=True)
    print(f"\nset: {options.set}\n{totals(rows)}")


if __name__ == "__main__":
    main()
