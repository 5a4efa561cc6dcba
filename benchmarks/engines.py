"""Wall time of one folder of Parquet files on each engine, two workers, beside one machine; and whether the bits agree.

::

    python -m benchmarks.engines [--gigabytes 0.5] [--files 16] [--engine dask]

The first pass over a small file starts the workers and compiles the kernel, and is shown apart (``start``). Beyond
the reading of one machine an engine costs its scheduling; it pays where one machine does not reach.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click
import numpy as np

from tests.conformance.clusters import dask_cluster, ray_cluster, spark_session
from wellposed import Moments

COLUMNS = 50
CLUSTERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "one machine": nullcontext,
    "dask": dask_cluster,
    "spark": spark_session,
    "ray": ray_cluster,
}


@click.command()
@click.option("--gigabytes", default=0.5, help="of stored values")
@click.option("--files", default=16)
@click.option(
    "--engine", "engines", multiple=True, default=tuple(CLUSTERS), type=click.Choice(list(CLUSTERS))
)
def main(gigabytes: float, files: int, engines: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        data, warm_up = Path(place, "data"), Path(place, "warm-up")
        rows = int(gigabytes * 1e9) // (4 * COLUMNS * files)
        write(data, files=files, rows=rows)
        write(warm_up, files=4, rows=60_000)
        click.echo(f"{rows * files:,} rows × {COLUMNS} float32 in {files} files, 2 workers")
        click.echo(f"{'':12} {'start':>8} {'wall':>8} {'GB/s':>6}  fingerprint")
        for engine in engines:
            start, wall, moments = measure(engine, data, warm_up)
            click.echo(
                f"{engine:12} {start:7.1f}s {wall:7.2f}s {gigabytes / wall:6.2f}  {moments.fingerprint}"
            )


def write(folder: Path, *, files: int, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(files):
        columns = {f"x{c}": rng.normal(3, 1, rows).astype(np.float32) for c in range(COLUMNS)}
        pq.write_table(pa.table(columns), folder / f"part-{i:03}.parquet", compression="zstd")


def measure(engine: str, data: Path, warm_up: Path) -> tuple[float, float, Moments]:
    begun = time.perf_counter()
    with CLUSTERS[engine]():
        read(engine, warm_up)
        started = time.perf_counter()
        moments = read(engine, data)
        ended = time.perf_counter()
    return started - begun, ended - started, moments


def read(engine: str, folder: Path) -> Moments:
    from wellposed.data.open import open_source
    from wellposed.moments.engines import reduce_with
    from wellposed.moments.resume import reduce_source

    if engine == "one machine":
        source: Any = open_source(folder)
        return reduce_source(source, threads=2)
    return reduce_with(engine, folder).moments


if __name__ == "__main__":
    main()
