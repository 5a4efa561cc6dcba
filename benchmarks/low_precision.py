"""Healthy problems in lower precisions: none may be accused, for their like are trained in them every day.

::

    python -m benchmarks.low_precision [--set training|field|all|unfit] [--precision fp16 ...] [--only NAME ...]

With ``--set unfit`` the models of `benchmarks.cases.low_precision`, each of which is to be accused in the precisions that it does not
survive in, and in no other. Else the healthy problems of `benchmarks.training_problems` and those of `benchmarks.healthy`, half a. One row a problem that is accused in a
precision, that raises, or whose gradient in it lies further than ``--error`` from that in float32; at the end how many of each. Two are
accused rightly: outputs of a million do not exist in fp16, and without a loss scale 70 % of the layers of a ConvNeXt get no gradient there.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from statistics import median

from wellposed import Problem
from wellposed.errors import WellposedError
from wellposed.limits import Limits
from wellposed.report import Severity
from wellposed.rules.precision import precision_overflow, precision_underflow
from wellposed.rules.table import Defect
from wellposed.runtime.torch import batches, doors, problem_forms, restore, session
from wellposed.signals.result import PrecisionProfile
from wellposed.signals.torch_precision import profile_precision

from .cases.low_precision import CASES
from .healthy import cases as healthy_cases
from .training_problems import SETS
from .training_problems import problems as training_cases

PRECISIONS = ("fp16-scaled", "fp16", "bf16", "fp8", "mxfp8")
LIMITS = Limits()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", choices=["training", "field", "all", "unfit"], default="all")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--error", type=float, default=0.5)
    parser.add_argument("--only", nargs="+")
    asked = parser.parse_args(arguments)
    if asked.set == "unfit":
        return _unfit(asked.only)
    outcomes = {p: Counter[str]() for p in asked.precision}
    errors: dict[str, list[float]] = {p: [] for p in asked.precision}
    for name, build in problems(asked.set):
        if asked.only is None or name in asked.only:
            for precision in asked.precision:
                outcome, error, said = _looked_at(build, precision)
                outcomes[precision][outcome] += 1
                errors[precision] += [] if error is None else [error]
                if outcome in ("accused", "raised") or (error is not None and error > asked.error):
                    print(f"{precision:<12} {outcome:<8} {name:<44} {error or 0:.2g} {said}", flush=True)
    for precision, counts in outcomes.items():
        told = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
        middle = median(errors[precision]) if errors[precision] else 0.0
        print(f"{precision:<12} {told}; median error of the gradient {middle:.2g}")
    return int(any(counts["accused"] for counts in outcomes.values()))


def _unfit(only: Sequence[str] | None) -> int:
    """Each unfit model in each precision: whether what is said of it is right."""
    right = Counter[bool]()
    for case in CASES:
        for precision in PRECISIONS if only is None or case.name in only else ():
            outcome, error, said = _looked_at(case.build, precision)
            is_right = outcome == ("accused" if precision in case.dies_in else "silent")
            right[is_right] += 1
            print(
                f"{'.' if is_right else '!'} {precision:<12} {case.name:<44} {error or 0:.2g} {said}",
                flush=True,
            )
    print(f"{right[True]} of {right.total()} right")
    return int(right[False] > 0)


def problems(which: str) -> Iterator[tuple[str, Callable[[], Problem]]]:
    if which != "field":
        for part in SETS:
            for name, codes, case, is_twin in training_cases(part):
                build = case.healthy if is_twin else case.problem
                if build is not None and (is_twin or not codes):
                    yield name, build
    if which != "training":
        for case in healthy_cases("all", "a"):
            if all(find_spec(module) is not None for module in case.needs):
                yield case.name, case.problem


def _looked_at(build: Callable[[], Problem], precision: str) -> tuple[str, float | None, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            profile = measured(build(), precision)
    except WellposedError as error:
        return "refused", None, str(error)[:80]
    except Exception as error:  # a case that cannot be checked is a row of the table, not its end
        return "raised", None, f"{type(error).__name__}: {error}"[:120]
    if profile is None:
        return "no gradient", None, ""
    judged = [*precision_underflow(profile, LIMITS), *precision_overflow(profile, LIMITS)]
    accused = [j.summary for j in judged if isinstance(j, Defect) and j.severity is not Severity.NOTE]
    return ("accused" if accused else "silent"), profile.gradient_error, "; ".join(accused)


def measured(given: Problem, precision: str) -> PrecisionProfile | None:
    given = doors.opened(given)
    with restore.preserved_problem(given, says=False):
        problem = problem_forms.read_problem(given)
        runner = session.Runner(problem)
        drawn = batches.batches(problem.train, count=1, seed=0, has_loss=session.kind_of_loss(problem))
        runner.train_mode()
        return profile_precision(
            runner, drawn[0].to(runner.device), precision, limit=LIMITS.flushed_share, seed=0
        )


if __name__ == "__main__":
    raise SystemExit(main())
