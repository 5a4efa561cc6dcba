"""Whole processes on files as people's tools write them: statistics of 50 columns, beside polars.

::

    python -m benchmarks.files_as_written [--writer polars] [--writer duckdb] [--size 1] [--rounds 3]

Each writer makes one data set of normal float32 numbers with its own defaults (codec, row groups, files). Then two processes
take turns on it, from the start of Python to its end: ``wellposed normalize fit FILE -o norm.json``, and polars' streaming aggregate
of count, mean, variance, minimum and maximum in float64. The fastest round of each counts, of CPU time (of the process and of the
system for it) the least, of the peaks of memory the highest. Where other work runs on the machine, the CPU time tells more than the wall.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

COLUMNS = 50
GB = 1e9
MOST_OF_POLARS = {"parquet": 1.1, "csv": 1.2}
MOST_MEMORY = 0.4

FIT = """
import json, sys
from wellposed.cli import main
file, saved = sys.argv[1], sys.argv[3]
sys.argv[1:] = ["normalize", "fit", file, "-o", saved, "--force"]
try:
    main()
finally:
    print(json.load(open(saved))["mean"][:3])
"""
AGGREGATE = """
import sys
from pathlib import Path
import polars
path = Path(sys.argv[1])
kind = sys.argv[2]
files = str(path / f"*.{kind}") if path.is_dir() else str(path)
table = polars.scan_csv(files) if kind == "csv" else polars.scan_parquet(files)
every = polars.all().cast(polars.Float64)
asked = {"mean": every.mean(), "count": every.count(), "min": every.min(), "max": every.max(), "var": every.var(ddof=0)}
row = table.select(what.name.suffix(f"_{name}") for name, what in asked.items()).collect(engine="streaming").row(0)
print(repr(list(row[:3])))
"""
CONTESTANTS = {"wellposed": FIT, "polars streaming": AGGREGATE}


def _numbers(size: float) -> dict[str, np.ndarray]:
    rows = int(size * GB) // (4 * COLUMNS)
    rng = np.random.default_rng(0)
    return {f"x{i}": rng.standard_normal(rows, dtype=np.float32) + np.float32(3) for i in range(COLUMNS)}


def by_polars(size: float, folder: Path) -> Path:
    import polars

    polars.DataFrame(_numbers(size)).write_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def by_pandas(size: float, folder: Path) -> Path:
    import pandas

    pandas.DataFrame(_numbers(size)).to_parquet(folder / "a.parquet")
    return folder / "a.parquet"


def by_pyarrow(size: float, folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(_numbers(size)), folder / "a.parquet")
    return folder / "a.parquet"


def by_duckdb(size: float, folder: Path) -> Path:
    import duckdb
    import pyarrow

    numbers = pyarrow.table(_numbers(size))  # duckdb finds it by its name
    with duckdb.connect() as connection:
        connection.execute(f"copy numbers to '{folder / 'a.parquet'}' (format parquet)")
    return folder / "a.parquet" if len(numbers) else folder


def by_spark(size: float, folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet
    from pyspark.sql import SparkSession

    parquet.write_table(pyarrow.table(_numbers(size)), folder / "source.parquet")
    spark = SparkSession.builder.master("local[2]").getOrCreate()
    spark.read.parquet(str(folder / "source.parquet")).write.parquet(str(folder / "made"))
    spark.stop()
    return folder / "made"


def csv_by_polars(size: float, folder: Path) -> Path:
    import polars

    polars.DataFrame(_numbers(size / 3)).write_csv(folder / "a.csv")  # nine or ten characters for four bytes
    return folder / "a.csv"


WRITERS: dict[str, Callable[[float, Path], Path]] = {
    "polars": by_polars,
    "pandas": by_pandas,
    "pyarrow": by_pyarrow,
    "duckdb": by_duckdb,
    "spark": by_spark,
    "csv": csv_by_polars,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    wall: float
    cpu: float
    peak: float
    """GB."""
    said: str


def run(program: str, *arguments: str) -> Run:
    """One process from its start to its end."""
    began = time.perf_counter()
    # With byte code on the disk, as an installed package has it.
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=settings,
    ) as process:
        said = process.stdout.read() if process.stdout else ""
        complaint = process.stderr.read() if process.stderr else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(
            f"a process ended with exit code {process.returncode}: {complaint.strip()[-200:]}"
        )
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / GB
    return Run(
        wall=time.perf_counter() - began, cpu=used.ru_utime + used.ru_stime, peak=peak, said=said.strip()
    )


def compare(writer: str, size: float, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="wellposed-benchmark-") as folder:
        made = _made_apart(writer, size, Path(folder))
        kind = "csv" if writer == "csv" else "parquet"
        arguments = str(made), kind, str(Path(folder) / "norm.json")
        runs: dict[str, list[Run]] = {name: [] for name in CONTESTANTS}
        for program in CONTESTANTS.values():  # files into the page cache, kernels and byte code onto the disk
            run(program, *arguments)
        for _ in range(rounds):
            for name, program in CONTESTANTS.items():
                runs[name].append(run(program, *arguments))
    _told(writer, kind, runs)


def _made_apart(writer: str, size: float, folder: Path) -> Path:
    """By a process of its own: the memory that writing takes is none of the readers'."""
    program = (
        "import sys; from pathlib import Path; from benchmarks.files_as_written import WRITERS; "
        "print(WRITERS[sys.argv[1]](float(sys.argv[2]), Path(sys.argv[3])))"
    )
    return Path(run(program, writer, str(size), str(folder)).said.splitlines()[-1])


def _told(writer: str, kind: str, runs: dict[str, list[Run]]) -> None:
    means: list[Any] = [np.array(json.loads(every[0].said.splitlines()[-1])) for every in runs.values()]
    if not np.allclose(*means, rtol=1e-5):
        raise click.ClickException("the two disagree on the means: nobody's time would mean a thing")
    best = {name: min(every, key=lambda one: one.wall) for name, every in runs.items()}
    peak = max(one.peak for one in runs["wellposed"])
    cpu = {name: min(one.cpu for one in every) for name, every in runs.items()}
    ratio, work = (
        of["wellposed"] / of["polars streaming"] for of in ({n: b.wall for n, b in best.items()}, cpu)
    )
    for name, one in best.items():
        highest = max(each.peak for each in runs[name])
        click.echo(f"  {writer:<8} {name:<18}{one.wall:>8.2f} s {cpu[name]:>8.2f} CPU s {highest:>7.2f} GB")
    kept = ratio <= MOST_OF_POLARS[kind] and peak <= MOST_MEMORY
    click.echo(
        f"  {'kept' if kept else 'MISSED':<8} {ratio:.2f} times the wall of polars, {work:.2f} times its CPU time, peak {peak:.2f} GB"
    )


@click.command(help=__doc__)
@click.option("--writer", "writers", multiple=True, type=click.Choice(tuple(WRITERS)), default=tuple(WRITERS))
@click.option("--size", default=1.0, show_default=True, help="GB of stored numbers.")
@click.option("--rounds", default=3, show_default=True)
def main(writers: tuple[str, ...], size: float, rounds: int) -> None:
    click.echo(f"{size:g} GB, float32 × {COLUMNS}, {os.cpu_count()} cores; whole processes")
    for writer in writers:
        try:
            compare(writer, size, rounds)
        except click.ClickException as error:  # such as Spark, where there is no Java
            click.echo(f"  {writer:<8} not measured: {error.message}")


if __name__ == "__main__":
    main()
