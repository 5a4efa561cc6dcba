"""One kind of state under one call: is everything as it was, and does training go on with the same bits?"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .calls import Outcome, listen, outcome
from .fingerprint import Prints, differences, fingerprint
from .forked import Ended, forked
from .kind import Case, Kind, train
from .process import process_state

TIMEOUT = 120.0
AFTERWARDS = "after training, "
Call = Callable[[Case], Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one process saw: state after the call, and after training that followed."""

    outcome: Outcome | None
    at_once: tuple[str, ...]
    state: Prints
    trained: Prints


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The verdict on one kind under one call."""

    verdict: str
    detail: tuple[str, ...] = ()
    how: str = ""


def build(kind: Kind) -> Case:
    """A fresh case; every global random state is set first."""
    listen()
    torch.manual_seed(1)
    np.random.seed(2)  # noqa: NPY002
    random.seed(3)
    case = kind.build()
    torch.manual_seed(4)
    return case


def judged_run(kind: Kind, call: Call | None) -> Run:
    """Build, call, look, train, look again; `call` is None for the twin."""
    case = build(kind)
    common = state_at_hand(kind, case) if call else {}
    ended = outcome(call, case) if call else None
    at_once = tuple(differences(common, state_at_hand(kind, case))) if call else ()
    state = fingerprint(case.probe())
    trained = fingerprint({"losses": _attempt(lambda: train(case)), "state": _attempt(case.probe)})
    trained |= fingerprint({"process": process_state()})
    return Run(outcome=ended, at_once=at_once, state=state, trained=_without_ids(trained))


def disturbed(kind: Kind) -> Prints:
    """The state after the problem has been run by hand, with nothing restored."""
    case = build(kind)
    case.disturb() if case.disturb is not None else train(case, steps=1)
    return fingerprint(case.probe())


def twin(kind: Kind) -> Run | str:
    """The run without a call; a sentence when the kind tests nothing or is not deterministic."""
    first, second = (forked(lambda: judged_run(kind, None), timeout=TIMEOUT) for _ in range(2))
    by_hand = forked(lambda: disturbed(kind), timeout=TIMEOUT)
    for ended in (first, second, by_hand):
        if ended.crash:
            return f"the kind itself crashes: {ended.crash.strip().splitlines()[-1]}"
    if first.value != second.value:
        unlike = differences(
            first.value.state | first.value.trained, second.value.state | second.value.trained
        )
        return f"not deterministic: {unlike[:2]}"
    if first.value.state == by_hand.value:
        return "insensitive: the state does not change when the model is run by hand"
    if any("raised" in path for path in first.value.trained):
        return f"training by hand raises: {first.value.trained}"
    return first.value


def judge(expected: Run, ended: Ended, words: tuple[str, ...]) -> Cell:
    """The verdict on what a process with a call gave back, against the twin."""
    if ended.crash:
        return Cell(verdict="died", detail=(ended.crash.strip().splitlines()[-1],))
    run: Run = ended.value
    how = run.outcome.how if run.outcome else ""
    changed = [
        *run.at_once,
        *differences(expected.state, run.state),
        *(f"{AFTERWARDS}{line}" for line in differences(expected.trained, run.trained)),
    ]
    if changed:
        said = run.outcome is not None and names(run.outcome.said, words, changed)
        return Cell(verdict="said" if said else "TRACE", detail=tuple(changed), how=how)
    if run.outcome is not None and run.outcome.how in ("refused", "raised"):
        return Cell(verdict=run.outcome.how, detail=(run.outcome.detail,), how=how)
    return Cell(verdict="clean", how=how)


def names(sentences: tuple[str, ...], words: tuple[str, ...], changed: Iterable[str]) -> bool:
    """Whether sentences name the state, by any of the words or, without words, by a name on the path of each change."""
    said = " ".join(sentences).lower()
    if words:
        return any(re.search(rf"\b{re.escape(word.lower())}", said) for word in words)
    paths = [line.split(": ", 1)[0] for line in changed if not line.startswith(AFTERWARDS)]
    return bool(said) and all(any(n in said for n in re.findall(r"[a-z]{3,}", p.lower())) for p in paths)


def state_at_hand(kind: Kind, case: Case) -> Prints:
    """What can be compared within one process: what every program holds, and all of it where the probe permits that."""
    whole = fingerprint(case.probe(), identities=True) if kind.whole else {}
    return whole | _common(case)


def _common(case: Case) -> Prints:
    """What every program holds: parameters, buffers, gradients as objects, and the process."""
    model = case.problem.model
    held: dict[str, Any] = {}
    if isinstance(model, torch.nn.Module):
        held |= {f"parameter {name}": p for name, p in model.named_parameters(remove_duplicate=False)}
        held |= {f"buffer {name}": b for name, b in model.named_buffers(remove_duplicate=False)}
        held |= {f"training {name}": part.training for name, part in model.named_modules()}
    places = {
        f"place {name}": f"{id(t):x} {t.data_ptr():x} {id(t.grad):x}"
        for name, t in held.items()
        if isinstance(t, torch.Tensor) and t.is_leaf
    }
    return fingerprint(held | places | {"process": process_state()})


def _without_ids(prints: Prints) -> Prints:
    return {path: text for path, text in prints.items() if "standard streams" not in path}


def _attempt(action: Callable[[], Any]) -> Any:
    """What the user's own code gives, or how it fails after the call."""
    try:
        return action()
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"}
