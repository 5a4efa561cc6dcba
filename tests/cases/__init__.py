"""Training problems with a known answer: sick ones with a healthy twin each, and healthy ones.

Each ground truth was executed: a sick one trains clearly worse than its twin. ``so55328966`` memorises its
batch faster sick than well, and unbalanced classes still train: judge those by held-out data.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import mutants, own, published, sound
from .case import Case


def sick() -> Iterator[Case]:
    """Cases with a fault, each with a healthy twin."""
    yield from published.cases()
    yield from mutants.cases()
    yield from own.cases()


def healthy() -> Iterator[Case]:
    """Cases without a fault."""
    yield from sound.cases()


__all__ = ["Case", "healthy", "sick"]
