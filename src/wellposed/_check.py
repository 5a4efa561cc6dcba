"""``wp.check``: measure, judge, put the causes before their consequences, report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

from .arguments import callable_or_none, flag, refused, several, told
from .arguments import seed as checked_seed
from .budget import FULL, Plan, plan_for
from .budget import checked as checked_budget
from .errors import ArgumentError
from .lazy import lazy
from .limits import Limits
from .measurements import Measured, MeasuringInterrupted, measure
from .problem import Precision, Problem, problem_from
from .report import CheckInterrupted, Report, Severity
from .rules import RULES, matching
from .rules.saved import judge
from .rules.table import Rule
from .runtime.isolation import isolated
from .runtime.scope import exclusive
from .version import __version__

torch_doors = lazy("wellposed.runtime.torch.doors")
torch_session = lazy("wellposed.runtime.torch.session")


def check(
    model: Any,
    loss: Any = None,
    train: Any = None,
    *,
    validation: Any = None,
    optimizer: Any = None,
    precision: Precision | None = None,
    select: str | Sequence[str] | None = None,
    ignore: str | Sequence[str] = (),
    limits: Limits | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    isolate: bool = False,
    budget: str | float = "normal",
) -> Report:
    """Check a training problem before it is trained.

    Everything is left as it was, bit for bit: parameters, buffers, gradients, optimizer, hooks, flags, random states, and whatever
    else the code of the problem reaches; what could not be put back stands in `Report.traces`.

    Parameters
    ----------
    model
        A ``torch.nn.Module``, a callable that uses modules, or a `Problem` (then nothing else of the problem is given). Also a training
        step ``step(batch)`` that returns the loss, a LightningModule, a Trainer of transformers or a compiled Keras model on torch.
    loss
        ``loss(model(inputs), targets)`` gives a scalar; None when the model returns its own loss, or has none. One whose second argument
        is called ``batch`` is given the whole batch.
    train
        A DataLoader, a LightningDataModule, a Dataset, anything that can be iterated again and gives batches or samples, or one pair
        ``(inputs, targets)`` of tensors, arrays or tables; each may be a tuple or a dict of them.
        A tuple of inputs is called ``model(*inputs)``, a dict ``model(**inputs)`` (``model(inputs)`` where no argument has a name of
        the dict's), an object ``model(object)``.
    validation
        Held-out data in the same form; rules about splits need it.
    optimizer
        The optimizer that training will use, its scheduler, or a list of them; rules about updates need it.
    precision
        What training will run in: ``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"fp16-scaled"`` with a loss scale, as ``torch.amp.GradScaler``
        gives it; ``"fp8"`` in linear layers, forward in E4M3 and backward in E5M2, or in one of them (``"fp8-e4m3"``, ``"fp8-e5m2"``), with
        a scale for each tensor; ``"mxfp8"`` with a scale for each 32 values. A step in it is emulated.
    select, ignore
        Codes, names or prefixes of rules (``"WP101"``, ``"input-scale"``, ``"WP2"``), one or several.
    limits
        Thresholds other than the defaults.
    seed
        Seeds the batches that are drawn and every random state while the model runs.
    progress
        Called with a few words as each stage begins.
    isolate
        Run in a forked process of its own, in which nothing of yours can change: on Linux, as long as CUDA has not started. A crash there is
        a `UserCodeError`.
    budget
        ``"quick"``, ``"normal"``, ``"thorough"``, or seconds, about. Where a training step takes more than some 10 ms, a normal check
        takes fewer of them than a thorough one; a quick one takes very few. What errors and warnings they find is confirmed by a thorough
        one before it is told, also where that takes longer.

    Returns
    -------
    Report
        Findings with the root cause first; what passed; what was skipped and why. True only when its verdict is
        ``"ready"``: nothing counts against the problem, and what matters was looked at.

    Raises
    ------
    DataError, ProblemError, ArgumentError
        When the problem cannot be measured at all; the message names the argument and the fix.
    UserCodeError
        When the model or the loss raises; ``__cause__`` is what it raised.
    KeyboardInterrupt
        After Ctrl-C; its ``report`` is the report so far.

    Examples
    --------
    >>> import torch, wellposed as wp
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3), torch.nn.Softmax(1))
    >>> x = torch.randn(256, 8)
    >>> report = wp.check(model, torch.nn.functional.cross_entropy, (x, x[:, :3].argmax(1)))
    >>> report.findings[0].code, report.findings[0].where
    ('WP501', '3')
    """
    problem = problem_from(
        model, loss, train, validation=validation, optimizer=optimizer, precision=precision
    )
    chosen = _chosen(RULES, select, ignore)
    seed = checked_seed(seed)
    callable_or_none(progress, "progress")
    limits = Limits() if limits is None else limits
    if not isinstance(limits, Limits):
        raise ArgumentError(
            f"limits is a {type(limits).__name__}: expected wellposed.Limits(name=value, ...)"
        )
    budget = checked_budget(budget)
    if flag(isolate, "isolate"):
        return isolated(
            "wp.check",
            lambda tell: _checked(problem, chosen, limits, seed=seed, progress=tell, budget=budget),
            progress=progress,
        )
    tell = progress or (lambda stage: None)
    return _checked(problem, chosen, limits, seed=seed, progress=tell, budget=budget)


def _checked(
    problem: Problem,
    chosen: tuple[Rule, ...],
    limits: Limits,
    *,
    seed: int,
    progress: Callable[[str], None],
    budget: str | float,
) -> Report:
    started = time.perf_counter()
    given = problem

    traces: dict[str, None] = {}  # of every measuring, each once

    def looked_at(budget: str | float) -> Measured:
        return measure(
            problem, limits, seed=seed, progress=progress, choose=lambda step: plan_for(budget, step)
        )

    def judged(measured: Measured) -> Report:
        traces.update(dict.fromkeys(measured.traces))
        environment = _environment(problem, seed, time.perf_counter() - started, measured.plan)
        return judge(chosen, measured.results, limits, environment=environment, traces=tuple(traces))

    with exclusive("wp.check", given.model, given.loss):
        problem, report = torch_doors.opened(given), None
        try:
            measured = looked_at(budget)
            report = judged(measured)
            accused = any(finding.severity is not Severity.NOTE for finding in report.findings)
            if measured.plan not in (None, FULL) and (accused or measured.suspicious):
                progress("looking with more steps at what is suspicious")
                report = judged(looked_at(FULL.name))
        except MeasuringInterrupted as stopped:
            raise CheckInterrupted(report or judged(stopped.measured)) from stopped.__cause__
    return report


def _chosen(
    rules: tuple[Rule, ...], select: str | Sequence[str] | None, ignore: str | Sequence[str]
) -> tuple[Rule, ...]:
    selected = None if select is None else _keys(select, "select")
    ignored = () if isinstance(ignore, tuple | list) and not ignore else _keys(ignore, "ignore")
    for name, keys in (("select", selected or ()), ("ignore", ignored)):
        unknown = [told(key) for key in keys if not matching(rules, (key,))]
        if unknown:
            raise ArgumentError(f"{name} names no rule: {', '.join(unknown)}; see `wellposed rules`")
    chosen = rules if selected is None else matching(rules, selected)
    left = tuple(rule for rule in chosen if rule not in (matching(rules, ignored) if ignored else ()))
    if not left:
        raise ArgumentError("select and ignore leave no rule to check: ignore fewer")
    return left


def _keys(value: str | Sequence[str], name: str) -> tuple[str, ...]:
    """Codes, names and prefixes; one text may hold several, comma separated."""
    expected = "codes, names or prefixes of rules, such as 'WP101' or 'WP2', at least one"
    keys = several(value.split(",") if isinstance(value, str) else value, name, str, expected=expected)
    keys = tuple(key.strip() for key in keys)
    if not all(keys):
        raise refused(f"a part of {name}", "", expected)
    if not keys:
        raise refused(name, value, expected)
    return keys


def _environment(problem: Problem, seed: int, seconds: float, plan: Plan | None) -> dict[str, str]:
    runner = torch_session.Runner(problem)
    count = sum(p.numel() for p in runner.parameters.values())
    return {
        "wellposed": __version__,
        "torch": torch_session.TORCH,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "problem": problem.name or "",
        "model": f"{runner.title}, {count:,} parameters",
        "device": str(runner.device),
        "seed": str(seed),
        "budget": "" if plan is None else f"{plan.name}, {plan.steps} training steps",
        "seconds": f"{seconds:.1f}",
    }
