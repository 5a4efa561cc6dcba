"""What the moments of columns in memory cost, in CPU seconds a GB, beside reading the bytes and other libraries.

::

    python -m benchmarks.moments_speed [--gigabytes .25] [--rounds 5]

CPU time of all threads (``time.process_time``), the best of several rounds that take turns, so that what else the
machine does hits all alike. Reading is a compiled sum of 64-bit integers by two threads. What scikit-learn's
``partial_fit`` costs depends on the batch: the targets are against 10,000 rows, beside 1,000 rows (most of it
overhead) and 4 MB (about the best it can do).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from wellposed import Moments

from .moments_peers import batches, sklearn_partial_fit

Columns = NDArray[Any]
GB = 1e9
READING, OURS, PARTIAL_FIT = "reading the bytes", "wellposed", "partial_fit, 10,000 rows"
BEST_BATCH = 4_000_000  # bytes
MOST_OF_READING = 4.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    dtype: str
    columns: int
    cheaper: float
    """How many times cheaper than partial_fit we promise to be."""

    def draw(self, gigabytes: float) -> Columns:
        rows = max(1, int(gigabytes * GB) // (np.dtype(self.dtype).itemsize * self.columns))
        x = np.empty((rows, self.columns), dtype=self.dtype)
        rng = np.random.default_rng(0)
        dtype = np.float32 if self.dtype == "float32" else np.float64
        for start in range(0, rows, 10_000):
            part = x[start : start + 10_000]
            rng.standard_normal(out=part, dtype=dtype)
            part += 3
        return x

    def __str__(self) -> str:
        return f"{self.dtype} × {self.columns}"


SHAPES = (
    Shape(dtype="float32", columns=50, cheaper=10),
    Shape(dtype="float64", columns=50, cheaper=6),
    Shape(dtype="float32", columns=1000, cheaper=8),
)


def contestants(x: Columns) -> dict[str, Callable[[], Any]]:
    """What is timed, ready to run; conversions to a library's own kind of table are done here, untimed."""
    from sklearn.preprocessing import StandardScaler

    found: dict[str, Callable[[], Any]] = {
        READING: reader(x),
        OURS: lambda: Moments.of(x),
        "wellposed, 10,000 rows": lambda: Moments.of(list(batches(x, 10_000))),
        PARTIAL_FIT: lambda: sklearn_partial_fit(x, rows=10_000),
        "partial_fit, 1,000 rows": lambda: sklearn_partial_fit(x, rows=1000),
        "partial_fit, 4 MB": lambda: sklearn_partial_fit(x, rows=BEST_BATCH // x[:1].nbytes),
        "sklearn fit": lambda: StandardScaler().fit(x),
        "numpy mean + var": lambda: (x.mean(axis=0), x.var(axis=0)),
    }
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)  # its helpers spin in wait for work, and the next one would be billed
        tensor = torch.from_numpy(x)
        found["torch.var_mean"] = lambda: torch.var_mean(tensor, dim=0)
    if find_spec("polars"):
        import polars

        frame = polars.from_numpy(x)
        both = [polars.all().mean().name.suffix("_mean"), polars.all().var().name.suffix("_var")]
        found["polars mean + var"] = lambda: frame.select(both)
    return found


def reader(x: Columns, threads: int = 2) -> Callable[[], Any]:
    """A compiled sum of the bytes, taken as integers: no kernel can cost less than this."""
    from numba import njit

    @njit(nogil=True)
    def total(values: NDArray[np.uint64]) -> np.uint64:
        found = np.uint64(0)
        for value in values:
            found += value
        return found

    flat = x.reshape(-1)
    parts = np.array_split(flat[: flat.size // 8 * 8].view(np.uint64), threads)
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(total, parts))


@dataclass(frozen=True, kw_only=True)
class Cost:
    cpu: float
    """CPU seconds a GB."""
    wall: float
    """Seconds a GB."""


def measure(runs: dict[str, Callable[[], Any]], *, gigabytes: float, rounds: int) -> dict[str, Cost]:
    """The cheapest of several rounds, in which every contestant takes its turn; a first one warms up."""
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    wall: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            started, spent = time.perf_counter(), time.process_time()
            run()
            cpu[name].append((time.process_time() - spent) / gigabytes)
            wall[name].append((time.perf_counter() - started) / gigabytes)
    return {name: Cost(cpu=min(cpu[name][1:]), wall=min(wall[name][1:])) for name in runs}


def table(shape: Shape, costs: dict[str, Cost]) -> None:
    reading, own = costs[READING].cpu, costs[OURS].cpu
    click.echo(f"\n{shape}")
    click.echo(f"  {'':<26}{'CPU s/GB':>10}{'wall s/GB':>11}{'× reading':>11}{'× wellposed':>13}")
    for name, cost in costs.items():
        click.echo(
            f"  {name:<26}{cost.cpu:>10.3f}{cost.wall:>11.3f}{cost.cpu / reading:>11.1f}{cost.cpu / own:>13.1f}"
        )
    times, above = costs[PARTIAL_FIT].cpu / own, own / reading
    click.echo(f"  {verdict(times >= shape.cheaper)}  {times:.1f} times cheaper than partial_fit", nl=False)
    click.echo(f" (target {shape.cheaper:g} or more)")
    click.echo(f"  {verdict(above <= MOST_OF_READING)}  {above:.1f} times the cost of reading", nl=False)
    click.echo(f" (target {MOST_OF_READING:g} or less)")


def verdict(kept: bool) -> str:
    return "kept" if kept else "MISSED"


@click.command(help=__doc__)
@click.option("--gigabytes", default=0.25, show_default=True, help="size of the array")
@click.option("--rounds", default=5, show_default=True, help="rounds, of which the cheapest counts")
def main(gigabytes: float, rounds: int) -> None:
    click.echo(f"moments of {gigabytes:g} GB in memory, {os.cpu_count()} cores, best of {rounds} rounds")
    for shape in SHAPES:
        x = shape.draw(gigabytes)
        table(shape, measure(contestants(x), gigabytes=x.nbytes / GB, rounds=rounds))


if __name__ == "__main__":
    main()
