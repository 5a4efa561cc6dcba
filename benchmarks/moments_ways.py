"""The many ways in which the same rows can reach `Moments`: cut, ordered, threaded, merged, compiled or not."""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wellposed import Moments
from wellposed.moments.exact import accumulator

Rows = NDArray[Any]


def chunks(x: Rows, rows: int) -> list[Rows]:
    """Batches of rows; of one column as a table of it, since 1-d arrays in a list may be rows."""
    x = x[:, None] if x.ndim == 1 else x
    return [x[start : start + rows] for start in range(0, len(x), rows)]


def random_pieces(x: Rows, rng: np.random.Generator, count: int = 40) -> list[Rows]:
    """Pieces of any size, none and one row included."""
    return np.array_split(x, np.sort(rng.integers(0, len(x) + 1, size=count)))


def merged_in_turn(parts: list[Moments]) -> Moments:
    return reduce(or_, parts, Moments.empty())


def merged_as_a_tree(parts: list[Moments], rng: np.random.Generator) -> Moments:
    """Two parts at random become one, until one is left."""
    parts = list(parts)
    while len(parts) > 1:
        first, second = sorted(rng.choice(len(parts), size=2, replace=False), reverse=True)
        parts.append(parts.pop(first) | parts.pop(second))
    return parts[0]


def ways_of(x: Rows, *, rows: tuple[int, ...], seed: int = 0) -> dict[str, Callable[[], Moments]]:
    """The ways in which accuracy is graded: whole, in chunks of so many rows each, and three random trees."""

    def tree(number: int) -> Moments:
        rng = np.random.default_rng([seed, number])
        return merged_as_a_tree([Moments.of(piece) for piece in random_pieces(x, rng)], rng)

    ways: dict[str, Callable[[], Moments]] = {"whole": lambda: Moments.of(x)}
    for one in rows:
        ways[f"chunks of {one}"] = lambda one=one: Moments.of(chunks(x, one))
    for number in range(3):
        ways[f"random tree {number}"] = lambda number=number: tree(number)
    return ways


@contextmanager
def on(path: str) -> Iterator[None]:
    """Whatever is read inside takes the ``"compiled"`` path, or the ``"plain"`` one of small data."""
    if path == "compiled":
        import numba  # noqa: F401 - without it there is but one path, and nothing would be shown

    kept = accumulator.WORTH_COMPILING
    accumulator.WORTH_COMPILING = 0 if path == "compiled" else sys.maxsize
    try:
        yield
    finally:
        accumulator.WORTH_COMPILING = kept


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to reduce rows that must not be seen in the result."""

    rows: int
    """Rows a chunk."""
    order: str
    """``"as stored"``, ``"reversed"`` or ``"shuffled"``."""
    threads: int
    tree: bool
    """Merged as a random tree, or in turn."""
    path: str
    """See `on`."""

    def reduce(self, x: Rows, *, seed: int = 0) -> Moments:
        rng = np.random.default_rng(seed)
        parts = chunks(ordered(x, self.order, rng), self.rows)
        with on(self.path), ThreadPoolExecutor(self.threads) as pool:
            reduced = list(pool.map(Moments.of, parts))
        return merged_as_a_tree(reduced, rng) if self.tree else merged_in_turn(reduced)


def ordered(x: Rows, order: str, rng: np.random.Generator) -> Rows:
    if order == "reversed":
        return x[::-1]
    return x[rng.permutation(len(x))] if order == "shuffled" else x


def settings(rows: tuple[int, ...]) -> Iterator[Setting]:
    """Chunk × order × threads × merge × path: 24 for every number of rows a chunk."""
    orders, paths = ("as stored", "reversed", "shuffled"), ("compiled", "plain")
    for one, order, threads, tree, path in itertools.product(rows, orders, (1, 2), (False, True), paths):
        yield Setting(rows=one, order=order, threads=threads, tree=tree, path=path)


def bits(m: Moments) -> str:
    """A digest of everything that a result says, to the last bit."""
    numbers = (m.count, m.missing, m.infinite, m.mean, m.variance, m.std, m.minimum, m.maximum)
    said = b"".join(one.tobytes() for one in numbers)
    return hashlib.sha256(said + m.fingerprint.encode()).hexdigest()
