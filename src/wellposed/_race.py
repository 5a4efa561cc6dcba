"""``wp.race``: does the change help? Held-out loss of two problems after an equal search for the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from .arguments import callable_or_none, flag, told, whole
from .errors import ArgumentError, ProblemError
from .lazy import lazy
from .problem import Problem, as_problem
from .results import RATE_FACTORS, Lane, Race
from .runtime.isolation import isolated
from .runtime.scope import exclusive

torch_batches = lazy("wellposed.runtime.torch.batches")
torch_doors = lazy("wellposed.runtime.torch.doors")
torch_loss_probes = lazy("wellposed.objective.torch_loss_probes")
torch_problem_forms = lazy("wellposed.runtime.torch.problem_forms")
torch_restore = lazy("wellposed.runtime.torch.restore")
torch_session = lazy("wellposed.runtime.torch.session")
torch_training = lazy("wellposed.runtime.torch.training")

_POINTS = 20


def race(
    before: Any,
    after: Any,
    *,
    steps: int = 200,
    seeds: int = 5,
    progress: Callable[[str], None] | None = None,
    isolate: bool = False,
) -> Race:
    """Train two problems for a while, each at the best of the same multiples of its rate, and compare held-out loss.

    Nothing is changed: both are trained on scratch storage.

    Parameters
    ----------
    before, after
        Problems with a loss (or ``(model, loss, data)`` tuples). Held-out rows come from `Problem.validation`, or from
        the training data where there is none. Without an optimizer, Adam at 1e-3 stands in.
    steps
        Training steps of each run.
    seeds
        Number of runs of each side.
    progress
        Called with a few words as each stage begins.
    isolate
        Run in a forked process of its own, in which nothing of yours can change: on Linux, as long as CUDA has not started. A crash there is
        a `UserCodeError`.

    Returns
    -------
    Race
        Held-out losses by seed, the chosen rates, and the curves.

    Examples
    --------
    >>> import torch, wellposed as wp
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(200, 4)
    >>> data = 1000 * x, x.sum(1, keepdim=True)
    >>> raw = wp.Problem(model=torch.nn.Linear(4, 1), loss=torch.nn.functional.mse_loss, train=data)
    >>> scaled = wp.Problem(model=raw.model, loss=raw.loss, train=(x, data[1]))
    >>> wp.race(raw, scaled, steps=50, seeds=3).improved
    True
    """
    steps, seeds = whole(steps, "steps", least=1), whole(seeds, "seeds", least=1)
    callable_or_none(progress, "progress")
    problems = [(_named(p, name=n), n) for p, n in ((before, "before"), (after, "after"))]

    def run(tell: Callable[[str], None]) -> Race:
        with exclusive("wp.race", *(part for p, _ in problems for part in (p.model, p.loss))):
            return _raced([_Side(p, n, tell) for p, n in problems], steps=steps, seeds=seeds)

    return (
        isolated("wp.race", run, progress=progress)
        if flag(isolate, "isolate")
        else run(progress or (lambda stage: None))
    )


def _raced(sides: list[_Side], *, steps: int, seeds: int) -> Race:
    relative = not sides[0].same_targets(sides[1])
    at = tuple(sorted({max(1, round(steps * i / _POINTS)) for i in range(1, _POINTS + 1)}))
    lanes = [side.run(at, seeds=seeds, relative=relative) for side in sides]
    return Race(before=lanes[0], after=lanes[1], at=at, steps=steps, relative=relative)


def _named(value: Any, *, name: str) -> Problem:
    """The problem of one side; what it lacks is said with the side's name."""
    problem = as_problem(value, name=name)
    train = problem.train
    if train is None:
        raise ArgumentError(
            f"{name} is {told(value)} without training data (train is None): a race needs a model, a loss and data"
        )
    targets = train[1] if isinstance(train, tuple) and len(train) == 2 else None
    if problem.validation is None and tuple(getattr(targets, "shape", ()))[:1] == (1,):
        raise ArgumentError(f"train of {name} has 1 row: give validation, or rows enough to hold some out")
    return problem


class _Side:
    def __init__(self, problem: Problem, name: str, tell: Callable[[str], None]) -> None:
        self.problem, self.name, self.tell = (
            torch_problem_forms.read_problem(torch_doors.opened(problem)),
            name,
            tell,
        )
        self.runner = torch_session.Runner(self.problem)
        if not self.runner.trainable:
            raise ProblemError(
                f"{name} has no parameter that trains: unfreeze those that should (requires_grad_(True))"
            )

    def run(self, at: Sequence[int], *, seeds: int, relative: bool) -> Lane:
        with torch_restore.preserved_problem(self.problem):
            scale = self._scale() if relative else 1.0
            self.tell(f"racing {self.name}: choosing the rate")
            trials = {f: self._train(f, at, seed=0)[-1] for f in RATE_FACTORS}
            factor = min(trials, key=lambda f: trials[f])
            self.tell(f"racing {self.name}: {seeds} seeds")
            runs = [self._train(factor, at, seed=s + 1) for s in range(seeds)]
        return Lane(
            name=self.name,
            rate=factor * self._rate(),
            held_out=tuple(run[-1] / scale for run in runs),
            curve=tuple(median(run[i] for run in runs) / scale for i in range(len(at))),
            scale=scale,
        )

    def _rate(self) -> float:
        return (
            1e-3
            if self.problem.optimizer is None
            else torch_training.optimizer_facts(self.problem.optimizer)[1]
        )

    def _batches(self, seed: int, steps: int) -> tuple[list[Any], list[Any]]:
        fit, held_out = torch_batches.training_and_held_out(self.problem, count=steps, seed=seed)
        return [b.to(self.runner.device) for b in fit], [b.to(self.runner.device) for b in held_out]

    def _train(self, factor: float, at: Sequence[int], *, seed: int) -> list[float]:
        batches, held_out = self._batches(seed, at[-1])
        return torch_training.held_out_curve(
            self.runner, batches, held_out, at=at, seed=seed, change=torch_training.scale_rate(factor)
        )

    def _scale(self) -> float:
        constant = torch_loss_probes.constant_loss(self.runner, self._batches(0, 1)[1][0], seed=0)
        if constant is None or constant <= 0:
            raise ProblemError(
                "the targets of the two problems differ, and their losses have no common scale"
            )
        return constant

    def same_targets(self, other: _Side) -> bool:
        import numpy as np

        mine, theirs = (np.asarray(_targets(side)) for side in (self, other))
        return mine.shape == theirs.shape and bool(np.array_equal(mine, theirs))


def _targets(side: _Side) -> Any:
    with torch_restore.preserved_problem(side.problem):
        targets = side._batches(0, 1)[1][0].targets
    return targets.detach().double().cpu().numpy() if hasattr(targets, "detach") else []
