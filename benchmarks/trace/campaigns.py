"""Tables of one trial after the other: kinds, random problems, interrupts, errors of the user's code, threads."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import controls, faults, interrupts, threads
from .calls import CALLS, outcome
from .forked import forked
from .kind import Case, Kind
from .problems import drawn_problem
from .trial import TIMEOUT, Call, Cell, Run, build, judge, judged_run, twin

Totals = Counter[str]

_ROUND = 12  # trials of one subject: what is learned about it beforehand is used for all of them
_FIRST_PROBLEM = 1000  # problems of the interrupts are others than those of the table of problems


def kinds_table(kinds: Iterable[Kind], names: list[str], *, details: bool) -> Totals:
    """Print one row a kind, one column a call, and what was left behind."""
    totals: Totals = Counter()
    print(f"{'':<50}" + "".join(f"{name.replace('gradients-', 'g-'):<12}" for name in names))
    for kind in kinds:
        cells = _row(kind, names)
        totals.update(cell.verdict for cell in cells.values())
        if details:
            _print_row(kind.name, cells)
    return totals


def _row(kind: Kind, names: list[str]) -> dict[str, Cell]:
    expected = twin(kind)
    if isinstance(expected, str):
        return {name: Cell(verdict="no test", detail=(expected,)) for name in names}
    return {name: _judged(kind, expected, CALLS[name]) for name in names}


def _judged(kind: Kind, expected: Run, call: Call, **settings: Any) -> Cell:
    words = (kind.name, *kind.words) if kind.words else ()
    return judge(expected, forked(lambda: judged_run(kind, call), timeout=TIMEOUT, **settings), words)


def interrupts_table(count: int, names: list[str], seed: int) -> Totals:
    """Interrupts in rounds of one subject each: two in three are aimed, the others come at a random time."""

    def round_of(kind: Kind, expected: Run, call: Call, rng: random.Random) -> Iterator[tuple[str, Cell]]:
        seconds = forked(lambda: _seconds(kind, call), timeout=TIMEOUT).value or 0.1
        draw = rng.randrange(2**32)
        aims = forked(
            lambda: interrupts.aims(call, build(kind), 2 * _ROUND // 3, draw), timeout=TIMEOUT
        ).value
        for aim in aims or ():
            yield f"at {aim}", _judged(kind, expected, interrupts.interrupted_at(call, aim))
        for _ in range(_ROUND - len(aims or ())):
            delay = rng.uniform(0, seconds)
            cell = _judged(kind, expected, interrupts.until_done(call), interrupt_after=delay)
            yield f"after {delay:.3f} s", cell

    return _rounds("interrupts", count, names, seed, round_of)


def errors_table(count: int, names: list[str], seed: int) -> Totals:
    """Errors that the user's model, loss and dataset raise at any of their calls."""

    def round_of(kind: Kind, expected: Run, call: Call, rng: random.Random) -> Iterator[tuple[str, Cell]]:
        for place in faults.PLACES:
            arrivals = forked(lambda place=place: _arrivals(kind, call, place), timeout=TIMEOUT).value
            for _ in range(_ROUND // len(faults.PLACES) if arrivals else 0):
                at, error = rng.randint(1, arrivals), rng.choice(list(faults.ERRORS))
                cell = _judged(kind, expected, _failing(call, place, at, error))
                yield f"{error} of the {place} at its call {at}", cell

    return _rounds("errors", count, names, seed, round_of)


def threads_table(count: int, names: list[str], seed: int) -> Totals:
    """The same call from two threads, on one model and on a model each."""

    def round_of(kind: Kind, expected: Run, call: Call, rng: random.Random) -> Iterator[tuple[str, Cell]]:
        single = forked(lambda: threads.alone(kind, call), timeout=TIMEOUT)
        for same_model in (True, False) if not single.crash else ():
            ended = forked(lambda s=same_model: threads.together(kind, call, same_model=s), timeout=TIMEOUT)
            yield (
                "on one model" if same_model else "on a model each",
                threads.judge_together(single.value, ended, same_model=same_model),
            )

    return _rounds("threads", count, names, seed, round_of)


Round = Callable[[Kind, Run, Call, random.Random], Iterator[tuple[str, Cell]]]


def _rounds(title: str, count: int, names: list[str], seed: int, round_of: Round) -> Totals:
    """Trials on one subject after the other, until there are enough; only what is not clean is printed."""
    totals: Totals = Counter()
    rng = random.Random(f"{title} {seed}")
    done, empty = 0, 0
    while done < count and empty < 20:
        kind, name = _subject(rng), rng.choice(names)
        expected = twin(kind)
        if isinstance(expected, str) or _judged(kind, expected, CALLS[name]).verdict in ("TRACE", "died"):
            empty += 1  # what leaves a trace without being disturbed says nothing here
            continue
        verdicts: Totals = Counter()
        for what, cell in round_of(kind, expected, CALLS[name], rng):
            verdicts[cell.verdict] += 1
            totals[f"call {cell.how}"] += bool(cell.how)
            if cell.verdict in ("TRACE", "died"):
                print(f"      {cell.verdict} {what}: {'; '.join(cell.detail[:2])[:200]}")
        empty = 0 if verdicts else empty + 1
        done += verdicts.total()
        totals.update(verdicts)
        print(f"{title}: {kind.name}, {name}: {dict(verdicts)}")
        sys.stdout.flush()
    return totals


def _subject(rng: random.Random) -> Kind:
    kinds = list(controls.kinds.values())
    return rng.choice(kinds) if rng.random() < 0.4 else drawn_problem(_FIRST_PROBLEM + rng.randrange(1000))


def _seconds(kind: Kind, call: Call) -> float:
    case = build(kind)
    start = time.perf_counter()
    outcome(call, case)
    return time.perf_counter() - start


def _arrivals(kind: Kind, call: Call, place: str) -> int:
    case = build(kind)
    faults.arm(place, sys.maxsize, "error")
    outcome(call, case)
    return faults.disarm()


def _failing(call: Call, place: str, at: int, error: str) -> Call:
    def failing(case: Case) -> Any:
        faults.arm(place, at, error)
        try:
            return call(case)
        finally:
            faults.disarm()

    return failing


def _print_row(label: str, cells: dict[str, Cell]) -> None:
    print(f"{label[:49]:<50}" + "".join(f"{cell.verdict:<12}" for cell in cells.values()))
    lines = {line[:150]: name for name, cell in reversed(cells.items()) for line in reversed(cell.detail[:2])}
    for line, name in reversed(lines.items()):  # what several calls share is said once
        print(f"      {name}: {line}")
    sys.stdout.flush()
