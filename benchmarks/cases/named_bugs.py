"""All bugs that have a name, from the files that hold them."""

from __future__ import annotations

from . import (
    named_bugs_changed,
    named_bugs_layers,
    named_bugs_masks,
    named_bugs_nameless,
    named_bugs_numpy,
    named_bugs_state,
)
from .named_bug import FAMILIES, NamedBug


def all_named_bugs() -> tuple[NamedBug, ...]:
    every = (
        *named_bugs_changed.CASES,
        *named_bugs_layers.CASES,
        *named_bugs_masks.CASES,
        *named_bugs_nameless.CASES,
        *named_bugs_numpy.CASES,
        *named_bugs_state.CASES,
    )
    return tuple(sorted(every, key=lambda case: FAMILIES.index(case.family)))
