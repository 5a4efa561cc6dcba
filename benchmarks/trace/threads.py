"""Two threads at once: on one model, and on a model each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .calls import Outcome, outcome
from .fingerprint import Prints, differences, fingerprint
from .forked import Ended
from .kind import Case, Kind, train
from .trial import AFTERWARDS, Cell, build, state_at_hand

Call = Callable[[Case], Any]


@dataclass(frozen=True, kw_only=True)
class Together:
    """What two threads saw and left: how each ended, and what differs from before."""

    outcomes: tuple[Outcome, ...]
    changed: tuple[str, ...]
    trained: Prints


def alone(kind: Kind, call: Call) -> tuple[Outcome, Prints]:
    """The call in one thread, and training of a twin without it."""
    case = build(kind)
    ended = outcome(call, case)
    return ended, _trained(build(kind))


def together(kind: Kind, call: Call, *, same_model: bool) -> Together:
    """The call from two threads at the same time."""
    cases = [build(kind)]
    cases.append(cases[0] if same_model else build(kind))
    before = [state_at_hand(kind, case) for case in cases]
    outcomes: list[Outcome | None] = [None, None]
    barrier = threading.Barrier(2)

    def work(i: int) -> None:
        barrier.wait()
        outcomes[i] = outcome(call, cases[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changed = [
        line
        for old, case in zip(before, cases, strict=True)
        for line in differences(old, state_at_hand(kind, case))
    ]
    ended = tuple(o for o in outcomes if o is not None)
    return Together(outcomes=ended, changed=tuple(changed), trained=_trained(cases[0]))


def judge_together(single: tuple[Outcome, Prints], ended: Ended, *, same_model: bool) -> Cell:
    """A trace, another verdict, or a raw error is one too many; a second thread on one model may be refused."""
    if ended.crash:
        return Cell(verdict="died", detail=(ended.crash.strip().splitlines()[-1],))
    run: Together = ended.value
    expected, trained = single
    changed = [*run.changed, *(f"{AFTERWARDS}{line}" for line in differences(trained, run.trained))]
    for thread in run.outcomes:
        if thread.how == "refused" and same_model:
            continue
        if (thread.how, thread.verdict) != (expected.how, expected.verdict):
            changed.append(f"ended otherwise than alone: {thread.how} {thread.detail} {thread.verdict[:60]}")
    if changed:
        return Cell(verdict="TRACE", detail=tuple(changed))
    return Cell(verdict="refused" if any(o.how == "refused" for o in run.outcomes) else "clean")


def _trained(case: Case) -> Prints:
    return fingerprint({"losses": train(case)})
