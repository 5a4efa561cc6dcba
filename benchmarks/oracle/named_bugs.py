"""Gradients with a bug that has a name, and operators that people write by hand: what the check calls the bug, and where it sees it."""

from __future__ import annotations

from functools import partial

from benchmarks.cases.named_bugs import NamedBug, all_named_bugs
from benchmarks.cases.operator_case import Operator
from benchmarks.gradient_names_heldout import SETS, heldout
from benchmarks.operator_names import HALVES

from .answers import Answer, Cases, distinct
from .checks import told

DTYPES = {"float64": "auto", "float32": False}
"""The precisions of the operators, and whether the check may replay them in float64."""
EVERY_FLOAT32 = 6


def cases() -> Cases:
    bugs = {"tuned": all_named_bugs()} | {which: heldout(which) for which in SETS}
    operators = [case for half in HALVES.values() for case in half]
    chosen = {"float64": operators, "float32": operators[::EVERY_FLOAT32]}
    every = [
        (f"{which} {case.family}: {case.name}", partial(named, case))
        for which, several in bugs.items()
        for case in several
    ]
    every += [
        (f"operator {dtype}: {case.name}", partial(operator, case, dtype))
        for dtype, several in chosen.items()
        for case in several
    ]
    return distinct(every)


def named(case: NamedBug) -> Answer:
    f, inputs, gradient = case.build()
    return {"said": told(f, inputs, gradient=gradient, seed=0)}


def operator(case: Operator, dtype: str) -> Answer:
    """The right operator, and each of its bugs."""
    answer: Answer = {}
    for bug in ("", *case.bugs):
        f, inputs, gradient = case.call(bug, case.inputs(dtype))
        answer[bug or "right"] = told(f, inputs, gradient=gradient, replay=DTYPES[dtype])
    return answer
