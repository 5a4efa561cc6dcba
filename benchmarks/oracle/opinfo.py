"""Torch's own operations, as they are and with each planted bug, in float64 and float32: a fixed sample of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from benchmarks.opinfo_cases import Unusable, name_of, operations
from benchmarks.opinfo_cases import cases as samples_of
from benchmarks.opinfo_mutants import KINDS, plant
from benchmarks.opinfo_trial import Trial, check

from .answers import Answer, Cases, words

EVERY = 12
RUNS = {"float64": ("replay",), "float32": ("replay", "native")}
"""The modes of `opinfo_trial` in which each dtype is checked."""


def cases() -> Cases:
    return {
        f"{name_of(op)} {dtype}": partial(checked, op, getattr(torch, dtype), modes)
        for dtype, modes in RUNS.items()
        for op in operations(getattr(torch, dtype), every=EVERY)
    }


def checked(op: Any, dtype: torch.dtype, modes: tuple[str, ...]) -> Answer:
    """The operation on its first sample, right and with each bug."""
    try:
        (case,) = samples_of(op, dtype, seed=0, samples=1)
    except Unusable as reason:
        return {"unusable": words(str(reason))}
    answer: Answer = {}
    for mode in modes:
        answer[f"{mode}, right"] = told(check(case, mode=mode, planted=None))
        for kind in KINDS:
            planted = plant(case, kind)
            answer[f"{mode}, {kind}"] = (
                "nothing to plant" if planted is None else told(check(case, mode=mode, planted=planted))
            )
    return answer


def told(trial: Trial) -> str:
    return f"{trial.verdict}, {trial.cause or 'no name'}, resolution {trial.resolution:.3g}, {trial.n_forward} forward; {words(trial.detail)}"
