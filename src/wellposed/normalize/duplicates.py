"""Rows that stand in both splits, against how many a random split of the same rows would give."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Exact copies across and within the splits; small discrete data have them by accident."""

    across: int
    """Validation rows that also stand in the training rows."""
    within_train: int
    """Training rows that have a copy among the training rows."""
    train_rows: int
    validation_rows: int
    shared: int
    """Distinct rows that stand in both splits."""
    repeated: int
    """Distinct rows that stand more than once in the two together."""
    expected: float
    """How many of `repeated` a random split of the same rows would share."""
    chance: float
    """Upper bound on the probability that a random split shares as many."""


def count_duplicates(train: NDArray[Any], validation: NDArray[Any]) -> Duplicates:
    """Compare rows bit for bit; -0.0 counts as 0.0."""
    a, b = Counter(_digests(train)), Counter(_digests(validation))
    sizes = [n + b[row] for row, n in a.items()] + [n for row, n in b.items() if row not in a]
    groups = [size for size in sizes if size > 1]
    shared = sum(row in a for row in b)
    part = len(train) / (len(train) + len(validation))
    expected = sum(1 - part**size - (1 - part) ** size for size in groups)
    return Duplicates(
        across=sum(n for row, n in b.items() if row in a),
        within_train=sum(n for n in a.values() if n > 1),
        train_rows=len(train),
        validation_rows=len(validation),
        shared=shared,
        repeated=len(groups),
        expected=expected,
        chance=_tail(shared, len(groups), expected),
    )


def _digests(rows: NDArray[Any]) -> list[bytes]:
    clean = np.ascontiguousarray(rows) + 0 if rows.dtype.kind == "f" else np.ascontiguousarray(rows)
    return [blake2b(row.tobytes(), digest_size=16).digest() for row in clean]


def _tail(found: int, trials: int, expected: float) -> float:
    """P(at least `found`) of independent events with this expected number, by Chernoff's bound.

    It holds for unequal probabilities too (W. Hoeffding, Ann. Math. Stat. 27, 1956).
    """
    if trials == 0 or found <= expected:
        return 1.0
    p, q = expected / trials, found / trials
    entropy = q * math.log(q / p) + ((1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0)
    return math.exp(-trials * entropy)
