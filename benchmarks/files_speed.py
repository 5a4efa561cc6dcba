"""Wall time and peak memory of fitting a file of 50 float32 columns, beside other libraries.

::

    python -m benchmarks.files_speed [--kind parquet] [--kind csv] [--sizes 1,8] [--rounds 3]

Each contestant computes count, minimum, maximum, mean and variance of every column in a process of its own: once on
a file of 40 MB (``start``: imports and compiling), then on the file (``wall``, ``CPU``), with the peak of the whole
process. They take turns, and the fastest round counts; of the peaks, the highest. The files are written into a
temporary folder and removed. Sizes are in GB of stored values for Parquet, of text for CSV; those beyond the first
are folders with links to one file of the first size, so they take no more room on the disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np

COLUMNS = 50
GB = 1e9
ROWS_A_GROUP = 1 << 20
"""What pyarrow writes unless it is told otherwise: 210 MB a row group once decoded, the hard case for memory."""
WARM_UP_ROWS = 200_000
"""10 million entries: enough that everything a contestant compiles has been compiled."""
MOST_OF_POLARS = {"parquet": 1.2, "csv": 1.3}
MOST_MEMORY = 0.4
MOST_GROWTH = 1.1

Means = list[float]


def wellposed_(path: Path) -> Means:
    from wellposed import Normalizer

    return Normalizer.fit(path).mean.tolist()


def polars_(path: Path) -> Means:
    """The streaming engine, in float64: in float32 it would have four digits."""
    import polars

    files = str(path / f"*{_suffix(path)}") if path.is_dir() else str(path)
    table = polars.scan_csv(files) if _suffix(path) == ".csv" else polars.scan_parquet(files)
    every = polars.all().cast(polars.Float64)
    asked = {"mean": every.mean(), "count": every.count(), "min": every.min(), "max": every.max()}
    asked["var"] = every.var(ddof=0)
    one = table.select(what.name.suffix(f"_{name}") for name, what in asked.items())
    return list(one.collect(engine="streaming").row(0)[:COLUMNS])


def duckdb_(path: Path) -> Means:
    import duckdb

    reader = "read_csv" if _suffix(path) == ".csv" else "read_parquet"
    files = path / f"*{_suffix(path)}" if path.is_dir() else path
    functions = ("avg", "count", "min", "max", "var_pop")
    asked = ", ".join(f"{function}(x{i})" for function in functions for i in range(COLUMNS))
    with duckdb.connect() as connection:
        row = connection.execute(f"select {asked} from {reader}('{files}')").fetchone() or ()
    return list(row[:COLUMNS])


def partial_fit(path: Path) -> Means:
    from pyarrow import dataset
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for batch in dataset.dataset(path, format=_suffix(path)[1:]).to_batches():
        if batch.num_rows:
            scaler.partial_fit(np.column_stack([column.to_numpy() for column in batch.columns]))
    return np.asarray(scaler.mean_).tolist()


CONTESTANTS: dict[str, tuple[Callable[[Path], Means], tuple[str, ...]]] = {
    "wellposed": (wellposed_, ()),
    "polars streaming": (polars_, ("polars",)),
    "duckdb": (duckdb_, ("duckdb",)),
    "pyarrow + partial_fit": (partial_fit, ("pyarrow", "sklearn")),
}


def _suffix(path: Path) -> str:
    return path.suffix if path.is_file() else next(iter(path.iterdir())).suffix


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one process of a contestant found and cost."""

    start: float
    wall: float
    cpu: float
    peak: float
    """GB of memory."""
    means: Means


def run_here(name: str, path: Path, warm_up: Path) -> Round:
    run, _ = CONTESTANTS[name]
    began = time.perf_counter()
    run(warm_up)
    started, spent = time.perf_counter(), time.process_time()
    means = run(path)
    return Round(
        start=started - began,
        wall=time.perf_counter() - started,
        cpu=time.process_time() - spent,
        peak=_peak(),
        means=means,
    )


def _peak() -> float:
    """Peak resident memory of this process, in GB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's peak too, which a child inherits
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / GB
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GB


def run_apart(name: str, path: Path, warm_up: Path) -> Round | str:
    """A round in a process of its own, or the last line of its error."""
    found = _child("--contestant", name, "--path", str(path), "--warm-up", str(warm_up))
    if found.returncode:
        return (found.stderr.strip().splitlines() or [f"exit {found.returncode}"])[-1]
    return Round(**json.loads(found.stdout.splitlines()[-1]))


def _child(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.files_speed", *arguments], capture_output=True, text=True
    )


@contextmanager
def files(kind: str, sizes: tuple[float, ...]) -> Iterator[tuple[Path, dict[float, Path]]]:
    """A file for warming up, and one path a size; all of it is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="wellposed-benchmark-") as folder:
        home = Path(folder)
        click.echo(f"\nwriting {sizes[0]:g} GB of {kind} to {home}, removed afterwards")
        made = {size: home / f"{size:g}" for size in (0.0, sizes[0])}
        for size, path in made.items():
            path.mkdir()
            made[size] = path / f"part-00000.{kind}"
            # Apart: what this process takes, a child of it would be billed for on some systems.
            _child("--make", str(size), "--path", str(made[size])).check_returncode()
        whole = made[sizes[0]]
        for size in sizes[1:]:
            made[size] = home / f"{size:g}"
            made[size].mkdir()
            for number in range(round(size / sizes[0])):
                os.link(whole, made[size] / f"part-{number:05d}.{kind}")
        yield made.pop(0.0), made


def make(path: Path, size: float) -> None:
    """One block of normal numbers about 3, written again and again until there are `size` GB."""
    if path.suffix == ".csv":
        _make_csv(path, size)
    else:
        _make_parquet(path, size)


def _block(rows: int) -> Any:
    import pyarrow

    rng = np.random.default_rng(0)
    columns = [rng.standard_normal(rows, dtype=np.float32) + np.float32(3) for _ in range(COLUMNS)]
    return pyarrow.table(columns, names=[f"x{i}" for i in range(COLUMNS)])


def _make_parquet(path: Path, size: float) -> None:
    from pyarrow import parquet

    rows = max(WARM_UP_ROWS, int(size * GB) // (4 * COLUMNS))
    block = _block(min(rows, ROWS_A_GROUP))
    with parquet.ParquetWriter(path, block.schema) as writer:
        for start in range(0, rows, len(block)):
            writer.write_table(block.slice(0, rows - start))


def _make_csv(path: Path, size: float) -> None:
    from pyarrow import csv

    block = _block(WARM_UP_ROWS)
    with path.open("wb") as sink, csv.CSVWriter(sink, block.schema) as writer:
        writer.write_table(block)
        while sink.tell() < size * GB:
            writer.write_table(block)


def compare(kind: str, sizes: tuple[float, ...], rounds: int) -> None:
    with files(kind, sizes) as (warm_up, paths):
        kept: dict[float, dict[str, list[Round]]] = {}
        for size, path in paths.items():
            every = [name for name, (_, needs) in CONTESTANTS.items() if all(map(find_spec, needs))]
            # The larger sizes ask whether memory is flat; the slow ones would take minutes to answer.
            names = every if size == sizes[0] else every[:2]
            kept[size] = _rounds(names, path, warm_up, rounds if size == sizes[0] else 1)
            _table(kind, size, kept[size])
    _targets(kind, sizes, kept)


def _rounds(names: list[str], path: Path, warm_up: Path, rounds: int) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in found:
            one = run_apart(name, path, warm_up)
            if isinstance(one, str):
                click.echo(f"  {name} failed: {one}")
            else:
                found[name].append(one)
    done = {name: every for name, every in found.items() if every}
    for every in done.values():
        if not np.allclose(every[0].means, next(iter(done.values()))[0].means, rtol=1e-5):
            raise click.ClickException(
                "the contestants disagree on the means: nobody's time would mean a thing"
            )
    return done


def _table(kind: str, size: float, found: dict[str, list[Round]]) -> None:
    click.echo(f"\n{kind}, {size:g} GB, float32 × {COLUMNS}, {os.cpu_count()} cores")
    click.echo(f"  {'':<24}{'start s':>9}{'wall s':>9}{'CPU s':>9}{'peak GB':>9}")
    for name, every in found.items():
        best = min(every, key=lambda one: one.wall)
        peak = max(one.peak for one in every)
        click.echo(f"  {name:<24}{best.start:>9.2f}{best.wall:>9.2f}{best.cpu:>9.2f}{peak:>9.2f}")


def _targets(kind: str, sizes: tuple[float, ...], kept: dict[float, dict[str, list[Round]]]) -> None:
    if not all("wellposed" in found for found in kept.values()):
        click.echo("  MISSED  wellposed failed")
        return
    first = kept[sizes[0]]
    if "polars streaming" in first:
        wall = {name: min(one.wall for one in first[name]) for name in ("wellposed", "polars streaming")}
        _target(
            wall["wellposed"] / wall["polars streaming"], MOST_OF_POLARS[kind], "times the wall of polars"
        )
    if kind == "parquet":
        peaks = [max(one.peak for one in kept[size]["wellposed"]) for size in sizes]
        _target(peaks[0], MOST_MEMORY, f"GB at its peak on {sizes[0]:g} GB")
        if len(sizes) > 1:
            _target(peaks[-1] / peaks[0], MOST_GROWTH, f"times that peak on {sizes[-1]:g} GB")


def _target(value: float, most: float, what: str) -> None:
    click.echo(f"  {'kept' if value <= most else 'MISSED'}  {value:.2f} {what} (target {most:g} or less)")


def _sizes(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        sizes = tuple(float(one) for one in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected numbers of GB such as 1,8") from None
    if (
        not sizes
        or min(sizes) <= 0
        or not all(np.isclose(one, round(one / sizes[0]) * sizes[0]) for one in sizes)
    ):
        raise click.BadParameter(f"{text!r}: expected multiples of the first size")
    return sizes


@click.command(help=__doc__)
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(tuple(MOST_OF_POLARS)), default=MOST_OF_POLARS
)
@click.option("--sizes", default="1", show_default=True, callback=_sizes, help="GB, such as 1,8")
@click.option("--rounds", default=3, show_default=True, help="rounds, of which the fastest counts")
@click.option("--contestant", type=click.Choice(tuple(CONTESTANTS)), hidden=True)
@click.option("--path", type=click.Path(path_type=Path), hidden=True)
@click.option("--warm-up", type=click.Path(path_type=Path), hidden=True)
@click.option("--make", "size_to_make", type=float, hidden=True)
def main(
    kinds: tuple[str, ...],
    sizes: tuple[float, ...],
    rounds: int,
    contestant: str | None,
    path: Path,
    warm_up: Path,
    size_to_make: float | None,
) -> None:
    if size_to_make is not None:
        make(path, size_to_make)
    elif contestant is not None:
        click.echo(json.dumps(vars(run_here(contestant, path, warm_up))))
    else:
        for kind in kinds:
            compare(kind, sizes, rounds)


if __name__ == "__main__":
    main()
