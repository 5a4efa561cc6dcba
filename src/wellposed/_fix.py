"""``wp.fix``: one remedy at a time, each kept only when it is measured to be better."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ._check import check
from ._race import race
from .arguments import callable_or_none, flag
from .arguments import seed as checked_seed
from .errors import ProblemError
from .initialization import initialize
from .lazy import lazy
from .normalize import Normalizer
from .problem import Problem, problem_from
from .report import Report
from .results import Fix, Remedy
from .runtime.interrupts import unbroken
from .runtime.scope import exclusive
from .signals.result import TrainingChange, TrainingProfile

torch_batches = lazy("wellposed.runtime.torch.batches")
torch_doors = lazy("wellposed.runtime.torch.doors")
torch_changed_problem = lazy("wellposed.runtime.torch.changed_problem")
torch_problem_forms = lazy("wellposed.runtime.torch.problem_forms")
torch_restore = lazy("wellposed.runtime.torch.restore")
torch_session = lazy("wellposed.runtime.torch.session")

_RACE_STEPS = 60
_RACE_SEEDS = 3
_NOTHING_TRAINS = "no parameter trains (WP610), so nothing can be measured to be better"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Proposal:
    """A remedy tried on a copy."""

    name: str
    problem: Problem
    summary: str
    refused: str = ""
    extras: dict[str, Any]


Propose = Callable[[Problem, int], _Proposal]


def fix(
    model: Any,
    loss: Any = None,
    train: Any = None,
    *,
    validation: Any = None,
    optimizer: Any = None,
    in_place: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Fix:
    """Mend what a check finds: normalise inputs and targets with training statistics, redraw weights.

    A remedy is tried on a copy and kept when the check finds less and a short race on held-out rows does not get worse;
    otherwise it is withheld with the reason. Learning rates, losses and architectures are left to their author.

    Parameters
    ----------
    model, loss, train, validation, optimizer
        As in `wellposed.check`; a `Problem` is welcome as the first argument.
    in_place
        Write redrawn weights into the user's own model. The data are never written.
    seed
        Seeds the batches, the redrawn weights and the race.
    progress
        Called with a few words as each stage begins.

    Returns
    -------
    Fix
        The mended `problem`, what was `applied` and `withheld`, the reports `before` and `after`.

    Examples
    --------
    >>> import torch, wellposed as wp
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(200, 3) * torch.tensor([1.0, 1000.0, 0.1])
    >>> y = (x[:, :1] + 10 * x[:, 2:] > 0).float()
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    >>> fixed = wp.fix(model, torch.nn.functional.binary_cross_entropy_with_logits, (x, y))
    >>> [remedy.name for remedy in fixed.applied]
    ['normalise inputs']
    """
    seed, in_place = checked_seed(seed), flag(in_place, "in_place")
    callable_or_none(progress, "progress")
    given = problem_from(model, loss, train, validation=validation, optimizer=optimizer)
    with exclusive("wp.fix", given.model, given.loss):
        return _fixed(given, in_place=in_place, seed=seed, progress=progress)


def _fixed(given: Problem, *, in_place: bool, seed: int, progress: Callable[[str], None] | None) -> Fix:
    torch_restore.refuse_sharded(given.model, given.loss)
    opened = torch_doors.opened(given)
    tell = progress or (lambda stage: None)
    before = check(opened, seed=seed, progress=progress)
    problem = torch_problem_forms.read_problem(opened)
    accepted = _Attempt(problem, before, (), {})
    candidate = accepted
    withheld: list[Remedy] = []
    training = before.measurements["training"]
    together = isinstance(training, TrainingProfile) and bool(
        training.under(TrainingChange.STANDARDISED_BOTH)
    )
    nothing_trains = "WP610" in before.codes
    for i, (codes, propose) in enumerate(() if nothing_trains else _REMEDIES):
        called_for = tuple(f.code for f in candidate.report.findings if f.code in codes)
        pending = candidate.applied[len(accepted.applied) :]
        if together and propose is _normalise_targets and pending:
            called_for = called_for or pending[-1].codes
        nothing_counts = not candidate.report.errors and not candidate.report.warnings
        if (nothing_counts and not pending) or not called_for:
            continue  # a note alone asks for nothing; beside an error it may be its cause
        proposal = propose(candidate.problem, seed)
        remedy = Remedy(name=proposal.name, codes=tuple(dict.fromkeys(called_for)), summary=proposal.summary)
        if proposal.refused:
            withheld.append(replace(remedy, reason=proposal.refused))
            continue
        tell(f"trying to {proposal.name}")
        after = check(proposal.problem, seed=seed)
        candidate = _Attempt(
            proposal.problem, after, (*candidate.applied, remedy), candidate.extras | proposal.extras
        )
        later = frozenset[str]().union(*(c for c, _ in _REMEDIES[i + 1 :]))
        if later & {f.code for f in after.errors} or (together and propose is _normalise_inputs):
            continue  # what it uncovered, or what goes with it, has a remedy of its own: judge the two together
        accepted, refused = _settled(accepted, candidate, seed)
        candidate = accepted
        withheld += refused
    if candidate is not accepted:  # nothing came after it
        accepted, refused = _settled(accepted, candidate, seed)
        withheld += refused
    withheld += _left_to_the_author(accepted.report, handled={c for r in withheld for c in r.codes})
    if nothing_trains:
        withheld = [r if "WP610" in r.codes else replace(r, reason=_NOTHING_TRAINS) for r in withheld]
    result = _as_given(accepted.problem, problem, given)
    if result.model is not given.model:  # a copy, of what the user's model is called by
        result = replace(result, model=torch_session.module_of(result.model))
    if in_place and "recipe" in accepted.extras:
        with unbroken():
            torch_changed_problem.write_back(result, opened)
        result = replace(result, model=given.model, optimizer=given.optimizer, loss=given.loss)
    return Fix(
        problem=result,
        applied=accepted.applied,
        withheld=tuple(withheld),
        before=before,
        after=accepted.report,
        **accepted.extras,
    )


def _as_given(fixed: Problem, read: Problem, given: Problem) -> Problem:
    """Whatever no remedy changed, in the form in which the user gave it."""
    same = {
        name: getattr(given, name)
        for name in ("model", "loss", "train", "validation", "optimizer", "feature_names")
        if getattr(fixed, name) is getattr(read, name)
    }
    return replace(fixed, **same)


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A problem on its way: what was done to it, and what the check says of it."""

    problem: Problem
    report: Report
    applied: tuple[Remedy, ...]
    extras: dict[str, Any]


def _settled(old: _Attempt, new: _Attempt, seed: int) -> tuple[_Attempt, list[Remedy]]:
    """The new attempt where it is better; else the old one, and the remedies that are withheld."""
    reason = _no_better(old, new, seed)
    if not reason:
        return new, []
    return old, [replace(r, reason=reason) for r in new.applied[len(old.applied) :]]


def _no_better(old: _Attempt, new: _Attempt, seed: int) -> str:
    """Why the change is not kept; empty when it is."""
    fresh = {f.code for f in new.report.errors} - {f.code for f in old.report.errors}
    if fresh and len(new.report.errors) >= len(old.report.errors):
        return f"the check then finds {', '.join(sorted(fresh))}"
    if _weight(new.report) >= _weight(old.report):
        return "the check finds no less after it"
    try:
        run = race(old.problem, new.problem, steps=_RACE_STEPS, seeds=_RACE_SEEDS)
    except ProblemError as error:
        return f"it could not be raced: {error}"
    if run.after.median > run.before.median:
        return f"held-out loss got worse in a short race: {run.before.median:.3g} to {run.after.median:.3g}"
    return ""


def _weight(report: Report) -> tuple[int, int]:
    """Fewer errors first, fewer warnings second."""
    return len(report.errors), len(report.warnings)


def _normalise_inputs(problem: Problem, seed: int) -> _Proposal:
    x = torch_batches.inputs_tensor(problem, seed=seed)
    normalizer = Normalizer.fit(x, columns=problem.feature_names if x.ndim == 2 else None)
    return _Proposal(
        name="normalise inputs",
        problem=torch_changed_problem.with_transformed_inputs(problem, normalizer),
        summary=f"mean and std of each feature from the {len(x):,} training rows, applied unchanged to validation",
        extras={"normalizer": normalizer},
    )


def _normalise_targets(problem: Problem, seed: int) -> _Proposal:
    y = torch_batches.targets_tensor(problem, seed=seed)
    normalizer = Normalizer.fit(y.reshape(len(y), -1))
    return _Proposal(
        name="normalise targets",
        problem=torch_changed_problem.with_transformed_targets(problem, normalizer),
        summary=f"mean and std of the targets from the {len(y):,} training rows; normalizer.inverse turns predictions back",
        extras={"target_normalizer": normalizer},
    )


def _redraw_weights(problem: Problem, seed: int) -> _Proposal:
    copied, refused = torch_changed_problem.copy_problem(problem)
    if refused:
        return _Proposal(name="redraw weights", problem=problem, summary="", refused=refused, extras={})
    batch = torch_batches.calibration_batch(copied, seed=seed)
    done = initialize(torch_session.module_of(copied.model), batch, seed=seed)
    drawn = sum(entry.gain is not None and entry.action != "left alone" for entry in done.recipe)
    return _Proposal(
        name="redraw weights",
        problem=copied,
        summary=f"{drawn} weights drawn with the gain of the activation that follows, and calibrated on the data"
        if drawn
        else "",
        refused="" if done.kept else f"rolled back, {done.reason}" if drawn else done.reason,
        extras={"recipe": done.recipe},
    )


def _left_to_the_author(report: Report, handled: set[str]) -> Iterator[Remedy]:
    for finding in (*report.errors, *report.warnings):
        if finding.code not in handled:
            handled.add(finding.code)
            yield Remedy(
                name=finding.name,
                codes=(finding.code,),
                summary=finding.fix,
                reason="needs a change in your code",
            )


# In causal order: what goes in, what is asked for, what the weights are.
_REMEDIES: tuple[tuple[frozenset[str], Propose], ...] = (
    (frozenset({"WP101", "WP102"}), _normalise_inputs),
    (frozenset({"WP505"}), _normalise_targets),
    (
        frozenset(
            {
                "WP201",
                "WP202",
                "WP203",
                "WP204",
                "WP205",
                "WP206",
                "WP207",
                "WP301",
                "WP302",
                "WP303",
                "WP502",
            }
        ),
        _redraw_weights,
    ),
)
