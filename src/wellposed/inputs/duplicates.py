"""Rows that stand in both splits, against what chance alone would give.

Two questions, each with its own chance. Does a random split of the same rows share as many? And are equal rows copies
at all? Small discrete tables have equal rows by accident; but then rows that agree in one half of their columns and
differ in the other are at least as common. Where hardly any row has such a neighbour, equal rows are one record, and
that it was copied before the split excuses nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .result import Duplicates

_EXAMPLES, _NEIGHBOURS, _COLUMNS, _HALVINGS = 32, 2048, 128, 4
_SURELY_COPIES = 1e-4  # a probability


def count_duplicates(
    train: NDArray[Any],
    validation: NDArray[Any],
    targets: tuple[NDArray[Any], NDArray[Any]] | None = None,
) -> Duplicates:
    """Compare rows bit for bit; -0.0 counts as 0.0.

    `targets` are those of the two splits: a record that was copied has its target too.
    """
    digests = _digests(train), _digests(validation)
    a, b = map(Counter, digests)
    sizes = [n + b[row] for row, n in a.items()] + [n for row, n in b.items() if row not in a]
    groups = [size for size in sizes if size > 1]
    shared = sum(row in a for row in b)
    part = len(train) / (len(train) + len(validation))
    expected = float(sum(1 - part**size - (1 - part) ** size for size in groups))
    records = digests
    if targets is not None:
        records = tuple(
            [row + target for row, target in zip(rows, _digests(y), strict=True)]
            for rows, y in zip(digests, targets, strict=True)
        )
    known = set(records[0])
    copied = {row: i for i, row in enumerate(records[1]) if row in known}
    return Duplicates(
        across=sum(n for row, n in b.items() if row in a),
        within_train=sum(n for n in a.values() if n > 1),
        train_rows=len(train),
        validation_rows=len(validation),
        shared=shared,
        repeated=len(groups),
        expected=expected,
        chance=_tail(shared, len(groups), expected),
        copies=sum(row in known for row in records[1]),
        copies_chance=_chance_of_accident(validation[list(copied.values())], train),
    )


def distinct_records(rows: NDArray[Any]) -> NDArray[np.intp]:
    """The numbers of the rows, each once where those that repeat are copies of one record, as after oversampling."""
    first: dict[bytes, int] = {}
    repeated: dict[bytes, int] = {}
    for i, row in enumerate(_digests(rows)):
        if first.setdefault(row, i) != i:
            repeated[row] = i
    if _chance_of_accident(rows[list(repeated.values())], rows) > _SURELY_COPIES:
        return np.arange(len(rows))
    return np.array(list(first.values()), dtype=np.intp)


def _digests(rows: NDArray[Any]) -> list[bytes]:
    clean = np.ascontiguousarray(rows) + 0 if rows.dtype.kind == "f" else np.ascontiguousarray(rows)
    return [blake2b(row.tobytes(), digest_size=16).digest() for row in clean]


def _chance_of_accident(equal: NDArray[Any], rows: NDArray[Any]) -> float:
    """Upper bound on the probability that rows which have an equal among `rows` have it by accident.

    A row that finds its equal by accident finds as easily one that equals it in half of its columns alone: each does
    with probability 1/2 or more. Rows of a single value (a blank image) say nothing.
    """
    if not len(equal):
        return 1.0
    equal, rows = _flat(_some(equal, _EXAMPLES)), _flat(_some(rows, _NEIGHBOURS))
    equal = equal[(equal != equal[:, :1]).any(1)]
    varying = np.flatnonzero((rows != rows[:1]).any(0))
    if len(varying) < 2 or not len(equal):
        return 1.0
    rng = np.random.default_rng(0)
    orders = [rng.permutation(min(len(varying), _COLUMNS)) for _ in range(_HALVINGS)]
    columns = rng.permutation(varying)[:_COLUMNS]
    accidental = sum(_has_half_an_equal(row[columns], rows[:, columns], orders) for row in equal)
    return _tail(len(equal) - accidental, len(equal), len(equal) / 2)


def _has_half_an_equal(row: NDArray[Any], rows: NDArray[Any], orders: list[NDArray[Any]]) -> bool:
    same = rows == row
    middle = len(row) // 2
    return any(
        bool((same[:, order[:middle]].all(1) != same[:, order[middle:]].all(1)).any()) for order in orders
    )


def _some(rows: NDArray[Any], most: int) -> NDArray[Any]:
    return rows[:: -(-len(rows) // most)]


def _flat(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows of columns; missing entries equal each other."""
    flat = rows.reshape(len(rows), -1)
    return np.where(np.isnan(flat), np.finfo(flat.dtype).max, flat) if flat.dtype.kind == "f" else flat


def _tail(found: int, trials: int, expected: float) -> float:
    """P(at least `found`) of independent events with this expected number, by Chernoff's bound.

    It holds for unequal probabilities too (W. Hoeffding, Ann. Math. Stat. 27, 1956).
    """
    if trials == 0 or found <= expected:
        return 1.0
    p, q = expected / trials, found / trials
    entropy = q * math.log(q / p) + ((1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0)
    return math.exp(-trials * entropy)
