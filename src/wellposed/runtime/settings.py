"""Random states and switches that belong to the whole process."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Setting = tuple[Callable[[], Any], Callable[[Any], Any]]
"""What reads it, and what sets it to what was read."""

RANDOM_STATES: tuple[Setting, ...] = (
    (random.getstate, random.setstate),
    # The state that the user's code may draw from.
    (lambda: np.random.get_state(legacy=False), np.random.set_state),  # noqa: NPY002
)


def _set_environment(kept: dict[str, str]) -> None:
    for name in os.environ.keys() - kept.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in kept.items() if os.environ.get(name) != value})


def _set_filters(kept: list[Any]) -> None:
    warnings.filters[:] = kept  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


SWITCHES: tuple[Setting, ...] = (
    (lambda: dict(os.environ), _set_environment),
    (np.geterr, lambda kept: np.seterr(**kept)),
    (lambda: list(warnings.filters), _set_filters),
)


def kept_settings(settings: Sequence[Setting]) -> list[Callable[[], None]]:
    """Calls that set each back to what it is now, where it is something else by then."""
    return [_setter(read, write, read()) for read, write in settings]


def _setter(read: Callable[[], Any], write: Callable[[Any], Any], kept: Any) -> Callable[[], None]:
    def back() -> None:
        if read() != kept:
            write(kept)

    return back


def kept_random_states(settings: Sequence[Setting]) -> list[Callable[[], Any]]:
    return [_writer(write, read()) for read, write in settings]


def _writer(write: Callable[[Any], Any], kept: Any) -> Callable[[], Any]:
    return lambda: write(kept)
