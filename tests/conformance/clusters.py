"""Local clusters of two workers, and one table cut in several ways, for the tests of the engines."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 200_000
BEYOND_FLOAT64 = 2**60
"""Integers around here differ although their float64 do not."""


def mixed_table() -> pa.Table:
    """Eight kinds of column: floats with NaN, infinities and nulls, exact integers, and what is no number."""
    random = np.random.default_rng(20)
    wide = random.normal(1e9, 1.0, ROWS)
    wide[::97], wide[5::9973] = np.nan, np.inf
    wide[7] = -np.inf
    far = BEYOND_FLOAT64 + random.integers(0, 1000, ROWS)
    far[0] -= far[0] % 101  # becomes a null, the only entry of the file with one row
    return pa.table(
        {
            "small": random.normal(-3, 0.1, ROWS).astype(np.float32),
            "wide": wide,
            "far": pa.array(far, mask=far % 101 == 0),
            "count": pa.array(random.integers(0, 200, ROWS), pa.uint8()),
            "gaps": pa.array(random.exponential(1e-200, ROWS), mask=random.random(ROWS) < 0.5),
            "flag": random.random(ROWS) < 0.5,
            "word.`quoted`": pa.array(["a", "b", None, "d"] * (ROWS // 4)),
            "day": pa.array([date(2020, 1, 1)] * ROWS),
        }
    )


def one_file(table: pa.Table, folder: Path) -> None:
    pq.write_table(table, folder / "all.parquet", row_group_size=30_000)


def uneven_files(table: pa.Table, folder: Path) -> None:
    """Five files, one with a single row, one with a column of nulls alone, one without rows."""
    ends = [0, 1, 60_001, 130_000, 130_000, len(table)]
    for i, (start, end) in enumerate(pairwise(ends)):
        pq.write_table(table.slice(start, end - start), folder / f"part-{i}.parquet", row_group_size=50_000)


def shuffled_files(table: pa.Table, folder: Path) -> None:
    order = np.random.default_rng(21).permutation(len(table))
    for i, rows in enumerate(np.array_split(order, 3)):
        pq.write_table(table.take(rows), folder / f"part-{i}.parquet")


CUTS = {"one file": one_file, "uneven files": uneven_files, "shuffled files": shuffled_files}


@contextmanager
def dask_cluster() -> Iterator[Any]:
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def spark_session() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    place = tempfile.mkdtemp(prefix="spark-")
    before = os.environ.get("PYSPARK_PYTHON")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").appName("engines")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.local.dir": place,
        "spark.sql.warehouse.dir": f"{place}/warehouse",
        "spark.log.level": "OFF",
    }.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()
        os.environ.pop("PYSPARK_PYTHON")
        if before is not None:
            os.environ["PYSPARK_PYTHON"] = before
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """Two workers; no dashboard, no usage statistics, nothing written outside a temporary folder."""
    place = tempfile.mkdtemp(prefix="ray-")  # not pytest's: sockets live here, and their paths must be short
    before = dict(os.environ)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "HOME": place}  # Ray leaves a token in the home folder
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=150 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
        _temp_dir=place,
    )
    try:
        yield ray
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ |= before
        shutil.rmtree(place, ignore_errors=True)
