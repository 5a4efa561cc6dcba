"""``python -m benchmarks.bad_use``: wrong calls, wrong command lines and hostile files, and what came of each."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

from . import calls_a, calls_b, running
from .cases import Call, Cases, Command
from .judging import BORDERLINE, GOOD, KINDS, Outcome

WHAT = ("calls", "commands", "files")


def chosen(half: str, what: str | None) -> list[Call | Command]:
    from . import files, files_b

    halves = [name for name in "ab" if half in (name, "all")]
    used: list[Call | Command] = []
    for name in halves:
        use: Cases = {"a": calls_a, "b": calls_b}[name].cases
        hostile: Cases = {"a": files, "b": files_b}[name].cases
        used += use.calls if what in (None, "calls") else []
        used += use.commands if what in (None, "commands") else []
        used += [*hostile.calls, *hostile.commands] if what in (None, "files") else []
    return used


def wanted(case: Call | Command) -> str:
    if isinstance(case, Command):
        return f"exit {' or '.join(map(str, case.codes))}"
    return " or ".join(case.good)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bad_use", description=__doc__)
    parser.add_argument("--half", choices=["a", "b", "all"], default="all")
    parser.add_argument("--what", choices=WHAT, help="default: all three")
    parser.add_argument("--only", default="", help="cases whose id holds this text")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--totals", action="store_true", help="say nothing of single cases")
    parser.add_argument("--progress", action="store_true", help="a line on stderr as each case ends")
    parser.add_argument("--strict", action="store_true", help="borderline messages count as failures")
    options = parser.parse_args(arguments)

    cases = [case for case in chosen(options.half, options.what) if options.only in case.id]
    count, failures, borderline = Counter[str](), list[str](), list[str]()
    began, slowest, largest = time.monotonic(), (0.0, ""), (0, "")
    told = (
        (lambda line: print(line, file=sys.stderr, flush=True)) if options.progress else (lambda line: None)
    )
    for case, outcome, seconds, memory in running.run(cases, workers=options.workers, told=told):
        count[outcome.kind] += 1
        slowest, largest = max(slowest, (seconds, case.id)), max(largest, (memory, case.id))
        if outcome.kind in BORDERLINE:
            borderline.append(line(case, outcome))
        elif outcome.kind not in GOOD:
            failures.append(line(case, outcome))
            if not options.totals:
                print(failures[-1], flush=True)  # at once: a run that is ended has said what it saw

    if not options.totals:
        print(f"borderline: {len(borderline)}")
        print("\n".join(sorted(borderline)), end="\n\n" if borderline else "\n")
    print(f"{len(cases)} trials in {time.monotonic() - began:.0f} s")
    for kind in KINDS:
        print(f"  {kind:32}{count[kind]:5}")
    name = (lambda text: "") if options.totals else (lambda text: f"  ({text})")
    print(f"  longest {slowest[0]:.1f} s{name(slowest[1])}")
    print(f"  most memory above a right use {largest[0] / 2**20:.0f} MB{name(largest[1])}")
    return 1 if failures or (options.strict and borderline) else 0


def line(case: Call | Command, outcome: Outcome) -> str:
    seen = outcome.seen.encode("unicode_escape").decode()  # hostile text must not reach this terminal either
    return f"  {outcome.kind:26} {case.id}\n      wanted {wanted(case)}; came {seen[:200]}"


if __name__ == "__main__":
    sys.exit(main())
