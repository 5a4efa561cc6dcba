"""``wp.fix``: one remedy at a time, each kept only when it is measured to be better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .checking import check, problem_from
from .problem import Problem
from .racing import race
from .report import Report

_RACE_STEPS = 60
_RACE_SEEDS = 3


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One remedy: what it answers, what it did, and why it was withheld."""

    name: str
    codes: tuple[str, ...]
    """The findings that call for it."""
    summary: str
    """What it does, with what was measured."""
    reason: str = ""
    """Why it was withheld; empty for one that was applied."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fix:
    """A mended problem, what was done to it, and the proof."""

    problem: Problem
    """The problem with the remedies applied; the user's own is untouched unless ``in_place=True``."""
    applied: tuple[Remedy, ...]
    withheld: tuple[Remedy, ...]
    before: Report
    after: Report
    normalizer: Any = None
    """The `Normalizer` of the inputs when one was fitted: save it, and apply it to whatever the model will ever see."""
    target_normalizer: Any = None
    """The `Normalizer` of the targets when one was fitted: ``inverse`` turns predictions back."""
    recipe: Any = None
    """One entry a parameter when weights were redrawn."""

    def __str__(self) -> str:
        from .show.fixed import render_fix

        return render_fix(self)


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
    >>> y = (x[:, :1] + x[:, 1:2] / 1000 > 0).float()
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    >>> fixed = wp.fix(model, torch.nn.functional.binary_cross_entropy_with_logits, (x, y))
    >>> [remedy.name for remedy in fixed.applied]
    ['normalise inputs']
    """
    problem = problem_from(model, loss, train, validation, optimizer, None)
    tell = progress or (lambda stage: None)
    before = check(problem, seed=seed, progress=progress)
    current, report = problem, before
    applied: list[Remedy] = []
    withheld: list[Remedy] = []
    extras: dict[str, Any] = {}
    for codes, propose in _remedies():
        called_for = tuple(c for c in report.codes if c in codes and c not in _notes(report))
        if not called_for:
            continue
        proposal = propose(current, seed)
        tell(f"trying to {proposal.name}")
        reason, after = (
            (proposal.refused, report)
            if proposal.refused
            else _judge(current, proposal.problem, report, seed)
        )
        remedy = Remedy(name=proposal.name, codes=called_for, summary=proposal.summary, reason=reason)
        if reason:
            withheld.append(remedy)
            continue
        applied.append(remedy)
        current, report = proposal.problem, after
        extras |= proposal.extras
    withheld += _left_to_the_author(report, handled={c for r in withheld for c in r.codes})
    if in_place and "recipe" in extras:
        from .frameworks.torch.copying import write_back

        write_back(current, problem)
        current = replace(current, model=problem.model, optimizer=problem.optimizer, loss=problem.loss)
    return Fix(
        problem=current,
        applied=tuple(applied),
        withheld=tuple(withheld),
        before=before,
        after=report,
        **extras,
    )


def _remedies() -> Iterator[tuple[frozenset[str], Propose]]:
    """In causal order: what goes in, what is asked for, what the weights are."""
    yield frozenset({"WP101", "WP102"}), _normalise_inputs
    yield frozenset({"WP505"}), _normalise_targets
    yield (
        frozenset({"WP201", "WP202", "WP203", "WP204", "WP205", "WP206", "WP207", "WP301", "WP302", "WP502"}),
        _redraw_weights,
    )


def _judge(old: Problem, new: Problem, report: Report, seed: int) -> tuple[str, Report]:
    """Why the change is not kept (empty when it is), and the report after it."""
    after = check(new, seed=seed)
    fresh = {f.code for f in after.errors} - {f.code for f in report.errors}
    if fresh and len(after.errors) >= len(report.errors):
        return f"the check then finds {', '.join(sorted(fresh))}", after
    if len(after.errors) + len(after.warnings) >= len(report.errors) + len(report.warnings):
        return "the check finds no less after it", after
    run = race(old, new, steps=_RACE_STEPS, seeds=_RACE_SEEDS)
    if run.harmed:
        return (
            f"held-out loss got worse in a short race: {run.before.median:.3g} to {run.after.median:.3g}",
            after,
        )
    return "", after


def _normalise_inputs(problem: Problem, seed: int) -> _Proposal:
    from .frameworks.torch.copying import with_transformed_inputs
    from .frameworks.torch.data import inputs_tensor
    from .normalize import Normalizer

    x = inputs_tensor(problem, seed=seed)
    normalizer = Normalizer.fit(x, columns=problem.feature_names if x.ndim == 2 else None)
    return _Proposal(
        name="normalise inputs",
        problem=with_transformed_inputs(problem, normalizer),
        summary=f"mean and std of each feature from the {len(x):,} training rows, applied unchanged to validation",
        extras={"normalizer": normalizer},
    )


def _normalise_targets(problem: Problem, seed: int) -> _Proposal:
    from .frameworks.torch.copying import with_transformed_targets
    from .frameworks.torch.data import targets_tensor
    from .normalize import Normalizer

    y = targets_tensor(problem, seed=seed)
    normalizer = Normalizer.fit(y.reshape(len(y), -1))
    return _Proposal(
        name="normalise targets",
        problem=with_transformed_targets(problem, normalizer),
        summary=f"mean and std of the targets from the {len(y):,} training rows; normalizer.inverse turns predictions back",
        extras={"target_normalizer": normalizer},
    )


def _redraw_weights(problem: Problem, seed: int) -> _Proposal:
    from .frameworks.torch.copying import copy_problem
    from .frameworks.torch.data import calibration_batch
    from .initialization import initialize

    copied, refused = copy_problem(problem)
    if refused:
        return _Proposal(name="redraw weights", problem=problem, summary="", refused=refused, extras={})
    batch = calibration_batch(copied, seed=seed)
    done = initialize(copied.model, batch, seed=seed)
    redrawn = sum(entry.action == "redrawn" for entry in done.recipe)
    return _Proposal(
        name="redraw weights",
        problem=copied,
        summary=f"{redrawn} weights drawn with the gain of the activation that follows, and calibrated on the data",
        refused="" if done.kept else done.reason,
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


def _notes(report: Report) -> Sequence[str]:
    return [f.code for f in report.notes]
