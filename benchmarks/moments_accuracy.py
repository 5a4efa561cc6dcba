"""How many digits of mean and variance are correct, beside other libraries.

::

    python -m benchmarks.moments_accuracy [--rows 100000]

Four tables: NIST's univariate data sets, a grid of offsets, how many bit patterns the same rows give over many
settings, and the edge cases. A cell is the log relative error against the exact rational value of the stored
doubles (not of the printed decimals): the number of correct digits, the smaller of mean and variance; ``exact`` is
the nearest float64. ``sk`` is scikit-learn's StandardScaler, ``part.`` its partial_fit in chunks of 1,000 rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from wellposed import Moments, Normalizer, WellposedError

from .moments_peers import PEERS, Estimate, duckdb_, estimate, sklearn_partial_fit
from .moments_truth import CORRECTLY_ROUNDED, Truth, digits, truth_of
from .moments_ways import bits, on, ordered, settings, ways_of
from .nist import DATA_SETS

Columns = NDArray[Any]
OURS = "wellposed"
TARGET = 14.0
MEANS = {"float32": (0, 1, 1e3, 1e5, 1e7, 1e8), "float64": (0, 1, 1e3, 1e5, 1e7, 1e9, 1e12)}
"""At sd 1, float32 tells no two values apart much beyond 1e8."""
CHUNKS = {"compiled": (1000, 7, 1), "plain": (1000, 7)}
"""Rows a chunk, for the path of large data and that of small data; singly, the plain one would take minutes."""


def grid(rows: int, dtype: str, *, seed: int = 0) -> Columns:
    """One column a mean, with standard deviation 1."""
    normal = np.random.default_rng(seed).normal(size=(rows, len(MEANS[dtype])))
    return (normal + np.array(MEANS[dtype])).astype(dtype)


def truths(x: Columns) -> list[Truth]:
    return [truth_of(column) for column in x.T]


def fewest_digits(found: Estimate, true: list[Truth]) -> list[float]:
    """For each column the smaller of mean and variance."""
    mean, variance, _ = found
    return [
        min(digits(float(m), t.mean), digits(float(v), t.variance))
        for m, v, t in zip(mean, variance, true, strict=True)
    ]


def ours(m: Moments) -> Estimate:
    return m.mean, m.variance, m.std


def fewest_over_ways(x: Columns, true: list[Truth]) -> dict[str, list[float]]:
    """Our digits of each column, for each path and way of cutting and merging."""
    found = {}
    for path, rows in CHUNKS.items():
        with on(path):
            for way, run in ways_of(x, rows=rows).items():
                found[f"{path}, {way}"] = fewest_digits(ours(run()), true)
    return found


def nist_table() -> float:
    click.echo("NIST's univariate data sets: digits of mean and variance")
    header("", PEERS)
    worst = CORRECTLY_ROUNDED
    for data in DATA_SETS:
        x = np.array(data.values).reshape(-1, 1)
        true = truths(x)
        own = min(min(found) for found in fewest_over_ways(x, true).values())
        peers = {name: fewest_digits(estimate(run, x), true)[0] for name, run in PEERS.items()}
        line(f"{data.name}, {len(x)} rows", own, peers.values())
        worst = min(worst, own)
    return worst


def grid_table(rows: int) -> float:
    click.echo(f"\nsd 1, {rows:,} rows: digits of mean and variance; {OURS}: the fewest over the ways below")
    header("", PEERS)
    by_way: dict[str, float] = {}
    for dtype, means in MEANS.items():
        x = grid(rows, dtype)
        true = truths(x)
        found = fewest_over_ways(x, true)
        own = np.min(list(found.values()), axis=0)
        peers = [fewest_digits(estimate(run, x), true) for run in PEERS.values()]
        for i, mean in enumerate(means):
            line(f"{dtype}, mean {mean:.0e}", own[i], [one[i] for one in peers])
        by_way = {way: min(by_way.get(way, CORRECTLY_ROUNDED), *one) for way, one in found.items()}
    for way, one in by_way.items():
        click.echo(f"  {way:<24}{cell(one)}")
    return min(by_way.values())


def patterns_table(rows: int) -> int:
    """Print how many distinct results the same rows give, and return our number."""
    x = np.concatenate([grid(rows, dtype).astype(np.float64) for dtype in MEANS], axis=1)
    asked = list(settings((20, 100, 1000, rows)))
    found = {bits(one.reduce(x)) for one in asked}
    click.echo("\nbit patterns of mean and variance from the same rows")
    click.echo(
        f"  {OURS:<14} {len(found):>3} over {len(asked)} settings of chunk, order, threads, merge and path"
    )
    for name, runs in _peer_settings(x).items():
        if name in PEERS:
            distinct = {mean.tobytes() + variance.tobytes() for mean, variance, _ in (run() for run in runs)}
            click.echo(f"  {name:<14} {len(distinct):>3} over {len(runs)} settings of what it has")
    return len(found)


def _peer_settings(x: Columns) -> dict[str, list[Callable[[], Estimate]]]:
    orders = [ordered(x, one, np.random.default_rng(0)) for one in ("as stored", "reversed", "shuffled")]
    cut = list(itertools.product(orders, (100, 1000, len(x))))
    threaded = list(itertools.product(orders, (1, 2)))
    found: dict[str, list[Callable[[], Estimate]]] = {
        name: [lambda run=PEERS[name], y=y: estimate(run, y) for y in orders]
        for name in PEERS
        if name not in ("sk part.", "duckdb")
    }
    found["sk part."] = [lambda y=y, n=n: estimate(sklearn_partial_fit, y, rows=n) for y, n in cut]
    found["duckdb"] = [lambda y=y, n=n: estimate(duckdb_, y, threads=n) for y, n in threaded]
    return found


def edge_cases() -> dict[str, Columns]:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=1000)
    gaps, infinite = normal.copy(), normal.copy()
    gaps[::10], infinite[500] = np.nan, np.inf
    cases = {
        "int64 above 2**53": 2**60 + rng.integers(0, 100, size=1000),
        "uint64 at its top": np.uint64(2**64 - 1) - rng.integers(0, 100, size=1000).astype(np.uint64),
        "size 1e200": normal * 1e200,
        "size 1e-200": normal * 1e-200,
        "subnormal": normal * 1e-310,
        "sizes 1e-30 to 1e30": normal * 10.0 ** rng.uniform(-30, 30, size=1000),
        "float32 at its top": (normal / 8 * np.finfo(np.float32).max).astype(np.float32),
        "an outlier first": np.r_[1e15, normal],
        "NaN in every tenth": gaps,
        "one infinite": infinite,
        "constant .1, 1e5 rows": np.full(100_000, 0.1),
        "float16 near 200": (200 + 0.5 * normal).astype(np.float16),
        "bool": normal > 0,
        "one row": np.array([1.5]),
    }
    return {name: x.reshape(-1, 1) for name, x in cases.items()}


def edge_table() -> list[str]:
    """Print the edge cases and return those whose value we do not have to 14 digits."""
    click.echo("\nedge cases: digits of mean and standard deviation, over the finite entries")
    header("", PEERS)
    wrong = []
    for name, x in edge_cases().items():
        true = truth_of(x[:, 0])
        m = Moments.of(x)
        own = fewest_of_mean_and_std(ours(m), true)
        counted = (m.count[0], m.missing[0], m.infinite[0]) == (true.count, true.missing, true.infinite)
        if own < TARGET or not counted:
            wrong.append(name)
        line(name, own, [_peer_on_edge(run, x, true) for run in PEERS.values()])
    return wrong


def fewest_of_mean_and_std(found: Estimate, true: Truth) -> float:
    mean, _, std = found
    return min(digits(float(mean[0]), true.mean), digits(float(std[0]), true.std))


def _peer_on_edge(run: Callable[..., Estimate], x: Columns, true: Truth) -> float | str:
    try:
        found = estimate(run, x)
    except Exception:  # a refusal is an answer too
        return "error"
    for one in (found[0][0], found[2][0]):
        if not np.isfinite(one):
            return "nan" if np.isnan(one) else "inf"
    return fewest_of_mean_and_std(found, true)


def refusals() -> dict[str, str]:
    """What `Normalizer.fit` says where there is no value to be had."""
    nothing = np.array([[1.0, np.nan], [2.0, np.nan]])
    columns = ("alcohol", "proline")
    return {
        "no rows": _refusal(np.empty((0, 2)), columns=columns),
        "a column of NaN alone": _refusal(nothing, columns=columns),
        "a column of inf alone": _refusal(np.where(np.isnan(nothing), np.inf, nothing), columns=columns),
        "no numbers": _refusal(np.array([["red"], ["blue"]])),
    }


def _refusal(data: Columns, **options: Any) -> str:
    try:
        Normalizer.fit(data, **options)
    except WellposedError as error:
        return str(error)
    return "NOT REFUSED"


def header(first: str, names: Iterable[str]) -> None:
    click.echo(f"{first:<24}" + "".join(f"{name:>9}" for name in (OURS, *names)))


def line(name: str, own: float, peers: Iterable[float | str]) -> None:
    click.echo(f"{name:<24}" + "".join(cell(one) for one in (own, *peers)))


def cell(value: float | str) -> str:
    if isinstance(value, str):
        return f"{value:>9}"
    return f"{'exact':>9}" if value == CORRECTLY_ROUNDED else f"{value:>9.1f}"


@click.command(help=__doc__)
@click.option("--rows", default=100_000, show_default=True, help="rows of the grid of offsets")
def main(rows: int) -> None:
    nist = nist_table()
    offsets = grid_table(rows)
    patterns = patterns_table(min(rows, 5000))
    wrong = edge_table()
    click.echo(f"\nwhat Normalizer.fit of {OURS} says where there is no value")
    for name, words in refusals().items():
        click.echo(f"  {name}: {words}")
    click.echo(f"\nNIST, fewest digits: {cell(nist).strip()} (target {TARGET:.0f})")
    click.echo(f"offsets, fewest digits: {cell(offsets).strip()} (target {TARGET:.0f})")
    click.echo(f"bit patterns: {patterns} (target 1)")
    click.echo(f"edge cases below {TARGET:.0f} digits: {', '.join(wrong) or 'none'}")


if __name__ == "__main__":
    main()
