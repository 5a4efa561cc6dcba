"""Dask, Spark and Ray give the bits of one machine, whatever the partitions; real clusters of two workers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.conformance.clusters import CUTS, dask_cluster, mixed_table, ray_cluster, spark_session
from wellposed.data.arrow import columns_of, kinds_of
from wellposed.errors import ArgumentError, DataError, MissingDependency
from wellposed.moments import Moments
from wellposed.moments.column_moments import ColumnMoments
from wellposed.moments.engines import engine_of, reduce_with
from wellposed.moments.engines.partial import PartitionFault, layout_of, table_state
from wellposed.moments.reduction import moments_of_piece
from wellposed.normalize import Normalizer

pytest.importorskip("dask.dataframe")
pytest.importorskip("pyspark")
pytest.importorskip("ray")

ENGINES = ("dask", "spark", "ray")
LEFT_ALONE = {"flag": "boolean", "word.`quoted`": "text", "day": "date"}

pytestmark = [
    pytest.mark.xdist_group("engines"),  # each cluster is started once
    # Third parties' own: Spark about pandas 3, Ray about what it will change, sockets that both leave to the
    # garbage collector.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return mixed_table()


@pytest.fixture(scope="module")
def folders(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    places = {name: tmp_path_factory.mktemp("cut") for name in CUTS}
    for name, cut in CUTS.items():
        cut(table, places[name])
    return places


@pytest.fixture(scope="module")
def local(table: pa.Table) -> Moments:
    return moments_of(table)


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    with dask_cluster() as client:
        yield client


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    with spark_session() as session:
        yield session


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with ray_cluster() as module:
        yield module


def moments_of(table: pa.Table, **options: bool) -> ColumnMoments:
    (batch,) = table.combine_chunks().to_batches()
    numbers, _, _ = kinds_of(batch.schema)
    return moments_of_piece(columns_of(batch, numbers), **options)


def bits(m: ColumnMoments) -> dict[str, Any]:
    floats = {name: getattr(m, name).tobytes() for name in ("mean", "variance", "minimum", "maximum")}
    counts = {name: getattr(m, name).tolist() for name in ("count", "missing", "infinite")}
    return {**floats, **counts, "rows": m.rows, "fingerprint": m.fingerprint}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_folder_gives_the_local_bits(engine, cut, folders, local, request) -> None:
    request.getfixturevalue(engine)

    found = reduce_with(engine, folders[cut])

    assert bits(found.moments) == bits(local)
    assert (found.names, found.integers) == (
        ("small", "wide", "far", "count", "gaps"),
        (False, False, True, True, False),
    )
    assert dict(found.left_alone) == LEFT_ALONE
    assert (found.ndim, found.label) == (2, str(folders[cut]))


def test_local_bits_are_the_exact_mean_of_integers_beyond_float64(table, local) -> None:
    far = table["far"].drop_null().to_pylist()

    assert local.mean[2] == float(Fraction(sum(far), len(far)))


def test_a_dask_table_gives_the_local_bits_and_the_client_goes_on(dask, table, local) -> None:
    from dask.dataframe import from_pandas

    frame = from_pandas(table.to_pandas(types_mapper=pd.ArrowDtype), npartitions=7)

    found = reduce_with("dask", frame)

    assert engine_of(frame) == "dask"
    assert bits(found.moments) == bits(local)
    assert dask.submit(int, 3).result() == 3


def test_a_spark_table_gives_the_local_bits_and_the_session_goes_on(spark, folders, local) -> None:
    frame = spark.read.parquet(str(folders["one file"])).repartition(5)

    found = reduce_with("spark", frame)

    assert engine_of(frame) == "spark"
    assert bits(found.moments) == bits(local)
    assert spark.range(3).count() == 3


def test_a_ray_table_gives_the_local_bits_and_the_cluster_goes_on(ray, table, local) -> None:
    data = ray.data.from_arrow([table.slice(i * 50_000, 50_000) for i in range(4)])

    found = reduce_with("ray", data)

    assert engine_of(data) == "ray"
    assert bits(found.moments) == bits(local)
    assert ray.get(ray.put(3)) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_chosen_columns_are_read_alone_with_their_covariance(engine, folders, table, request) -> None:
    request.getfixturevalue(engine)
    chosen = ["small", "wide", "gaps"]

    found = reduce_with(engine, folders["uneven files"], columns=chosen, covariance=True, quantiles=True)

    local = moments_of(table.select(chosen), covariance=True)
    assert (found.names, found.left_alone["far"]) == (tuple(chosen), "not chosen")
    assert bits(found.moments) == bits(local)
    assert found.moments.covariance.tobytes() == local.covariance.tobytes()
    assert found.moments.complete == local.complete
    assert abs(found.moments.quantile(0.5)[0] + 3) < 0.01


@pytest.mark.parametrize("method", ["standard", "whiten"])
def test_a_normalizer_fitted_by_an_engine_is_the_local_one(method, dask, folders) -> None:
    chosen = ["small", "wide", "count"]

    there = Normalizer.fit(folders["uneven files"], engine="dask", method=method, columns=chosen)
    here = Normalizer.fit(folders["one file"], method=method, columns=chosen)

    assert there.names == here.names == tuple(name for name in here.names if name in chosen)
    assert there.provenance.fingerprint == here.provenance.fingerprint
    for ours, theirs in ((here.center, there.center), (here.scale, there.scale)):
        assert ours.tobytes() == theirs.tobytes()
    assert (here.rotation is None) == (there.rotation is None) == (method == "standard")
    if here.rotation is not None:
        assert there.rotation.tobytes() == here.rotation.tobytes()
    assert there.left_alone == here.left_alone
    assert (here.left_alone["flag"], here.left_alone["far"]) == ("boolean", "not chosen")


@pytest.mark.parametrize("engine", ENGINES)
def test_no_rows_at_all_give_empty_moments(engine, table, tmp_path, request) -> None:
    request.getfixturevalue(engine)
    CUTS["one file"](table.slice(0, 0), tmp_path)

    found = reduce_with(engine, tmp_path)

    assert found.moments.rows == 0
    assert found.moments.count.tolist() == [0] * 5
    assert found.integers == (False, False, True, True, False)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_without_numbers_is_refused(engine, table, tmp_path, request) -> None:
    request.getfixturevalue(engine)
    CUTS["one file"](table.select(["flag", "day"]), tmp_path)

    with pytest.raises(DataError, match="no column holds numbers: there is 'flag' \\(boolean\\), 'day'"):
        reduce_with(engine, tmp_path)


def test_a_dask_array_may_be_cut_along_its_columns_too(dask) -> None:
    import dask.array as da

    x = np.random.default_rng(0).normal(1e9, 1, (1000, 6))

    found = reduce_with("dask", da.from_array(x, chunks=(300, 4)))

    assert bits(found.moments) == bits(Moments.of(x))
    assert (found.names, found.ndim) == (None, 2)


def test_a_dask_array_of_images_is_reduced_by_channel(dask) -> None:
    import dask.array as da

    x = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)

    found = reduce_with("dask", (da.from_array(x, chunks=(7, 2, 5, 8)), None))

    assert bits(found.moments) == bits(Moments.of(x))
    assert found.integers == (True, True, True)


def test_dask_bags_and_delayed_batches_are_reduced(dask) -> None:
    from dask import bag, delayed

    x = np.arange(12.0).reshape(6, 2)
    batches = [x[:1], x[1:4], x[4:]]

    in_a_bag = reduce_with("dask", bag.from_sequence(batches, npartitions=2))
    promised = reduce_with("dask", [delayed(batch) for batch in batches])

    assert bits(in_a_bag.moments) == bits(promised.moments) == bits(Moments.of(x))


def frames(*parts: dict[str, Any], meta: dict[str, Any] | None = None) -> Any:
    """A Dask DataFrame whose partitions are these, whatever the first one says."""
    import dask.dataframe as dd
    from dask import delayed

    held = [pd.DataFrame(part) for part in parts]
    return dd.from_delayed(
        [delayed(part) for part in held],
        meta=pd.DataFrame(meta) if meta else held[0].iloc[:0],
        verify_meta=False,
    )


def test_partitions_may_hold_integers_floats_or_nothing(dask) -> None:
    empty = {"x": pd.Series([], dtype=object)}

    found = reduce_with("dask", frames({"x": [1, 2]}, empty, {"x": [4.0, None]}))

    assert found.moments.mean.tolist() == [7 / 3]
    assert (found.moments.count.tolist(), found.moments.missing.tolist()) == ([3], [1])
    assert found.integers == (False,)


def test_a_partition_of_another_kind_is_named_with_its_column(dask) -> None:
    data = frames({"x": [1.0], "y": [1.0]}, {"x": [2.0], "y": ["two"]})

    with pytest.raises(DataError, match="partition 1: column 'y' holds no numbers but text"):
        reduce_with("dask", data)


def test_python_objects_are_left_alone_with_the_reason(dask) -> None:
    import dask as settings

    with settings.config.set({"dataframe.convert-string": False}):
        found = reduce_with("dask", frames({"x": [1.0], 5: pd.Series([1], dtype=object)}))

    assert found.names == ("x",)
    assert found.left_alone["5"].startswith("Python objects")


def test_delayed_tables_are_refused_with_the_way_out(dask) -> None:
    from dask import delayed

    with pytest.raises(DataError, match="partition 0: a batch is a table: make a distributed table of it"):
        reduce_with("dask", [delayed(pd.DataFrame({"x": [1.0]}))])


def test_spark_names_that_differ_in_capitals_only_are_told_apart(spark) -> None:
    spark.conf.set("spark.sql.caseSensitive", "true")
    frame = spark.sql("select * from values (1.0D, 10L), (3.0D, null) as t(`a.b`, `A.B`)")
    spark.conf.unset("spark.sql.caseSensitive")

    found = reduce_with("spark", frame)

    assert found.names == ("a.b", "A.B")
    assert (found.moments.mean.tolist(), found.moments.missing.tolist()) == ([2.0, 10.0], [0, 1])


def test_spark_types_that_arrow_lacks_are_left_alone(spark) -> None:
    frame = spark.sql("select 1.5D as x, interval '1-2' year to month as span, 2.5 as exact")

    found = reduce_with("spark", frame)

    assert found.names == ("x",)
    assert found.left_alone["span"] == "interval year to month"
    assert found.left_alone["exact"].startswith("decimal")


def test_ray_tensors_are_reduced_as_arrays(ray) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4, 3))

    found = reduce_with("ray", ray.data.from_numpy(list(np.array_split(x, 3))))

    assert bits(found.moments) == bits(Moments.of(x))
    assert (found.names, found.ndim) == (None, 3)


def test_ray_blocks_of_nulls_alone_are_blocks_of_numbers(ray) -> None:
    blocks = [pa.table({"x": [1, 2], "y": pa.nulls(2)}), pa.table({"x": [3], "y": [5]})]

    found = reduce_with("ray", ray.data.from_arrow(blocks))

    assert (found.names, found.integers) == (("x", "y"), (True, True))
    assert (found.moments.mean.tolist(), found.moments.missing.tolist()) == ([2.0, 5.0], [0, 2])


def test_numbers_where_the_schema_saw_nulls_alone_are_a_fault_with_place_and_column() -> None:
    layout = layout_of(pa.schema({"x": pa.float64(), "y": pa.null()}))
    batch = pa.record_batch({"x": [1.0], "y": [5]})

    fault = table_state([batch], layout, where="partition 3", options={})

    assert isinstance(fault, PartitionFault)
    assert fault.message.startswith(
        "partition 3: column 'y' holds int64, and the table's schema says that it"
    )


@pytest.mark.parametrize(
    ("engine", "check"),
    [
        ("spark", "from pyspark.sql import SparkSession; assert SparkSession.getActiveSession() is None"),
        ("ray", "import ray; assert not ray.is_initialized()"),
    ],
)
@pytest.mark.slow  # 10 to 20 s each: a cluster of our own is started and shut down
def test_a_cluster_that_we_started_is_shut_down(engine, check, folders) -> None:
    code = (
        "from wellposed.moments.engines import reduce_with\n"
        f"assert reduce_with({engine!r}, {str(folders['one file'])!r}).moments.rows == 200_000\n"
        f"{check}\n"
    )

    with tempfile.TemporaryDirectory(prefix="home-") as home:  # Ray leaves a token and its logs
        surroundings = {**os.environ, "HOME": home, "RAY_TMPDIR": home}
        ended = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=home,
            env=surroundings,
            check=False,
        )

    assert ended.returncode == 0, ended.stderr[-3000:]


def test_an_engine_is_told_without_importing_any() -> None:
    code = (
        "import sys; from wellposed.moments.engines import engine_of; assert engine_of([1.0]) is None; "
        "print(sorted({'dask', 'pyspark', 'ray', 'pyarrow'} & set(sys.modules)))"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed == "[]\n"


@pytest.mark.parametrize(
    "data", [np.ones((2, 2)), [np.ones(3)], ([1.0], [2.0]), pd.DataFrame(), "x.csv", [], ()]
)
def test_data_on_this_machine_belong_to_no_engine(data) -> None:
    assert engine_of(data) is None


def test_an_engine_that_is_not_known_is_refused() -> None:
    with pytest.raises(ArgumentError, match="engine='flink': expected one of dask, spark, ray"):
        reduce_with("flink", "data.parquet")


def test_data_of_this_machine_are_refused_by_an_engine() -> None:
    with pytest.raises(ArgumentError, match="engine='dask': found a ndarray, expected what dask holds"):
        reduce_with("dask", np.ones((2, 2)))


def test_data_of_another_engine_are_refused() -> None:
    import dask.array as da

    with pytest.raises(ArgumentError, match="engine='spark': found a Array of dask; leave engine out"):
        reduce_with("spark", da.ones(3))


def test_files_that_are_not_there_are_named() -> None:
    with pytest.raises(DataError, match=r"no such file or folder: nowhere/\*.parquet"):
        reduce_with("dask", "nowhere/*.parquet")


def test_other_files_than_parquet_are_refused(tmp_path) -> None:
    (tmp_path / "x.csv").write_text("a\n1\n")

    with pytest.raises(
        ArgumentError, match=r"x\.csv: an engine opens Parquet files; read others without engine"
    ):
        reduce_with("dask", tmp_path / "*.csv")


def test_a_damaged_file_is_named(tmp_path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")

    with pytest.raises(DataError, match=r"x\.parquet: cannot be opened as Parquet"):
        reduce_with("dask", tmp_path / "x.parquet")


def test_a_table_has_no_other_axis_than_its_columns() -> None:
    with pytest.raises(ArgumentError, match="axis=0: a table has its statistics by column"):
        reduce_with("dask", frames({"x": [1.0]}), axis=0)


def test_a_column_that_is_not_there_cannot_be_chosen() -> None:
    with pytest.raises(ArgumentError, match="columns has 'z', which is not in the table; there is x"):
        reduce_with("dask", frames({"x": [1.0]}), columns=["z"])


def test_workers_without_wellposed_are_told_apart_from_other_failures(monkeypatch) -> None:
    import wellposed.moments.engines.dask as module

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("worker failed") from ModuleNotFoundError("No module named 'wellposed'")

    monkeypatch.setattr(module, "reduce", fail)

    with pytest.raises(MissingDependency, match="the workers of dask cannot import wellposed: install it"):
        reduce_with("dask", frames({"x": [1.0]}))
