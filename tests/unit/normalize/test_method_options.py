"""Bounds, ranges, quantiles, and the two steps alone: scikit-learn's numbers, kept by every export."""

from __future__ import annotations

import sqlite3
from typing import Any

import duckdb
import jax
import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn import preprocessing

from wellposed import Normalizer
from wellposed.errors import ArgumentError, DataError
from wellposed.normalize.export.sklearn import NormalizerTransformer
from wellposed.runtime.torch import tensors as torch_arrays

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(200, 3)) * [1, 1000, 1e-3] + [0, 3000, 1]
NEW = np.vstack([TRAIN[:5], 4 * TRAIN[:20] - 1, [[np.nan, 0, 0], [-np.inf, np.inf, 1]]])
NAMES = ("a", "b", "c")
OPTIONS: dict[str, dict[str, Any]] = {
    "minmax in a range": {"method": "minmax", "feature_range": (-1, 3)},
    "minmax clipped": {"method": "minmax", "feature_range": (-1, 3), "clip": True},
    "maxabs clipped": {"method": "maxabs", "clip": True},
    "standard clipped": {"clip": (-0.5, 1.25)},
    "robust by other quantiles": {"method": "robust", "quantile_range": (5, 80)},
    "robust above the median": {"method": "robust", "quantile_range": (60, 95), "clip": (-2, 2)},
    "standard not centred": {"with_centering": False},
    "standard not divided": {"with_scaling": False, "clip": (-900, 1)},
    "robust not centred": {"method": "robust", "with_centering": False},
    "robust not divided": {"method": "robust", "with_scaling": False},
    "whitened and clipped": {"method": "whiten", "clip": (-1, 1)},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def fitted(options: dict[str, Any], **others: Any) -> Normalizer:
    return Normalizer.fit(TRAIN, columns=NAMES, **options, **others)


@pytest.mark.parametrize(
    ("options", "scaler"),
    [
        (OPTIONS["minmax in a range"], preprocessing.MinMaxScaler((-1, 3))),
        (OPTIONS["minmax clipped"], preprocessing.MinMaxScaler((-1, 3), clip=True)),
        ({"method": "minmax", "clip": True}, preprocessing.MinMaxScaler(clip=True)),
        (OPTIONS["robust by other quantiles"], preprocessing.RobustScaler(quantile_range=(5, 80))),
        (OPTIONS["robust not centred"], preprocessing.RobustScaler(with_centering=False)),
        (OPTIONS["robust not divided"], preprocessing.RobustScaler(with_scaling=False)),
        (OPTIONS["standard not centred"], preprocessing.StandardScaler(with_mean=False)),
        ({"with_scaling": False}, preprocessing.StandardScaler(with_std=False)),
        (
            {"with_centering": False, "with_scaling": False},
            preprocessing.StandardScaler(with_mean=False, with_std=False),
        ),
    ],
)
def test_it_gives_the_numbers_of_scikit_learn(options: dict[str, Any], scaler: Any) -> None:
    n, scaler, new = Normalizer.fit(TRAIN, **options), scaler.fit(TRAIN), NEW[:-1]

    np.testing.assert_allclose(n(new), scaler.transform(new), rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(n.inverse(new), scaler.inverse_transform(new), rtol=1e-12, atol=1e-11)


def test_a_constant_column_goes_to_the_lower_end_of_the_range_as_in_scikit_learn() -> None:
    x = np.full((9, 1), 5.0)
    n = Normalizer.fit(x, method="minmax", feature_range=(2, 5))

    np.testing.assert_allclose(n(x), 2, rtol=1e-15)
    np.testing.assert_allclose(n(x + 1), preprocessing.MinMaxScaler((2, 5)).fit(x).transform(x + 1))


FAR = {
    "a narrow column": (1e9 + np.array([[0.0], [3e-7], [6e-7]]), (-1, 2)),
    "a constant column": (np.full((5, 1), 1e17), (2, 3)),
    "a range far from 0": (RNG.normal(size=(9, 1)), (1000, 1000.5)),
}


@pytest.mark.parametrize(("x", "ends"), FAR.values(), ids=FAR)
def test_far_from_0_the_range_is_reached_everywhere(x: Any, ends: tuple[float, float]) -> None:
    n = Normalizer.fit(x, method="minmax", feature_range=ends, columns=["a"])
    frame = pl.DataFrame(x, schema=["a"])
    model = n.to_onnx(dtype="float64").SerializeToString()
    run = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run
    with duckdb.connect() as database:
        database.register("data", frame.to_arrow())
        by_query = pl.DataFrame(database.sql(n.to_sql()).to_arrow_table()).to_numpy()

    expected = [ends[0], ends[0] if x.min() == x.max() else ends[1]]
    for z in (
        n(x), n(frame).to_numpy(), n(torch.tensor(x)).numpy(), n.to_torch()(torch.tensor(x)).numpy(), by_query,
        np.asarray(run(None, {"x": x})[0]), frame.with_columns(n.to_polars()).to_numpy(),
    ):  # fmt: skip
        np.testing.assert_allclose([z.min(), z.max()], expected, rtol=1e-15)
    for z in (n(x), n(frame), n(torch.tensor(x))):
        np.testing.assert_allclose(np.asarray(n.inverse(z)), x, rtol=1e-12, atol=1e-11)


def test_the_jax_function_and_a_folded_layer_have_the_range() -> None:
    x, layer = RNG.normal(size=(9, 3)).astype(np.float32), torch.nn.Linear(3, 2)
    n = Normalizer.fit(x, method="minmax", feature_range=(2, 5))

    z = np.asarray(n.to_jax()(x))

    np.testing.assert_allclose([z.min(), z.max()], [2, 5], rtol=1e-6)
    folded = n.fold_into(layer)(torch.tensor(x))
    assert torch.allclose(folded, layer(n(torch.tensor(x))), atol=1e-5)


@every_option
def test_the_module_is_exported(options: dict[str, Any]) -> None:
    n, x = fitted(options), torch.tensor(TRAIN)

    exported = torch.export.export(n.to_torch(), (x,)).module()

    np.testing.assert_allclose(exported(x).numpy(), n(TRAIN), rtol=1e-12, atol=1e-12)


def test_a_range_that_starts_above_0_fills_the_zeros_of_sparse_matrices() -> None:
    n = Normalizer.fit(np.array([[0.0], [4.0]]), method="minmax", feature_range=(1, 2))

    assert not n.keeps_zeros
    with pytest.raises(DataError, match="the normalizer subtracts, which would fill its zeros"):
        n(sparse.csr_matrix([[0.0], [4.0]]))


def test_clipping_is_the_last_thing_that_is_done() -> None:
    for options in OPTIONS.values():
        plain = fitted({**options, "clip": False})
        bounds = fitted(options).clip or (-np.inf, np.inf)

        np.testing.assert_array_equal(fitted(options)(NEW), np.clip(plain(NEW), *bounds))


def test_columns_that_pass_unchanged_are_not_clipped() -> None:
    n = Normalizer.fit(TRAIN, columns=[0], clip=(-1, 1))

    np.testing.assert_array_equal(n(NEW)[:, 1:], NEW[:, 1:])
    assert np.nanmax(np.abs(n(NEW)[:, 0])) == 1


def test_the_way_back_gives_what_was_not_clipped() -> None:
    n = fitted(OPTIONS["minmax clipped"])

    np.testing.assert_allclose(n.inverse(n(TRAIN)), TRAIN, rtol=1e-12, atol=1e-12)


def test_channels_of_images_are_clipped() -> None:
    images = RNG.normal(size=(6, 3, 4, 4)).astype(np.float32)
    n = Normalizer.fit(images, method="minmax", feature_range=(0.1, 0.7), clip=True)

    for z in (
        n(3 * images),
        n.to_torch()(torch.tensor(3 * images)).numpy(),
        np.asarray(n.to_jax()(3 * images)),
    ):
        assert z.dtype == np.float32
        assert (z.min(), z.max()) == (np.float32(0.1), np.float32(0.7))


@every_option
def test_tensors_frames_and_float32_agree_with_arrays(options: dict[str, Any]) -> None:
    n, narrow = fitted(options), NEW.astype(np.float32)

    np.testing.assert_allclose(n(torch.tensor(NEW)).numpy(), n(NEW), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(n(torch.tensor(narrow)).numpy(), n(narrow), rtol=2e-7, atol=1e-7)
    np.testing.assert_allclose(n(pl.DataFrame(NEW, schema=NAMES)).to_numpy(), n(NEW), rtol=1e-12)


@every_option
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_torch_module_clips_scripted_too(options: dict[str, Any]) -> None:
    n = fitted(options)
    module = n.to_torch()

    for one in (module, torch.jit.script(module)):
        np.testing.assert_allclose(one(torch.tensor(NEW)).numpy(), n(NEW), rtol=1e-12, atol=1e-12)
    assert ("least" in module.state_dict()) == (n.clip is not None)


def test_a_device_without_float64_clips_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_arrays, "WITHOUT_FLOAT64", ["cpu"])
    n = Normalizer.fit(TRAIN, columns=[0, 2], clip=(-1, 1))
    x = torch.tensor(NEW[:-1], dtype=torch.float32)

    for z in (n(x), n.to_torch()(x)):
        np.testing.assert_allclose(z.numpy(), n(NEW[:-1]), rtol=1e-4, atol=1e-4)


@every_option
def test_the_jax_function_clips(options: dict[str, Any]) -> None:
    n, x = fitted(options), NEW[:25].astype(np.float32)

    for f in (n.to_jax(), jax.jit(n.to_jax())):
        np.testing.assert_allclose(np.asarray(f(x)), n(x), rtol=1e-4, atol=1e-4)


@every_option
def test_the_onnx_model_clips_and_keeps_nan(options: dict[str, Any]) -> None:
    n = fitted(options)
    model = n.to_onnx(dtype="float64").SerializeToString()

    z = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": NEW})[0]

    np.testing.assert_allclose(np.asarray(z), n(NEW), rtol=1e-12, atol=1e-12)


@every_option
@pytest.mark.parametrize("dialect", ["duckdb", "ansi"])
def test_the_query_clips_and_keeps_nan_and_null(options: dict[str, Any], dialect: str) -> None:
    n = fitted(options)
    frame = pl.DataFrame(NEW, schema=NAMES).with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("a")).alias("a")
    )
    with duckdb.connect() as database:
        database.register("data", frame.to_arrow())
        z = pl.DataFrame(database.sql(n.to_sql(dialect=dialect)).to_arrow_table())

    expected = n(frame)
    assert z["a"].null_count() == expected["a"].null_count() == 1
    np.testing.assert_allclose(z.to_numpy(), expected.to_numpy(), rtol=1e-12, atol=1e-12)


def test_the_query_clips_in_sqlite() -> None:
    n = Normalizer.fit(np.array([[0.0], [4.0]]), method="minmax", clip=True, columns=["a"])
    database = sqlite3.connect(":memory:")
    database.execute("create table data (a real)")
    database.executemany("insert into data values (?)", [(-9,), (1,), (99,), (None,)])

    found = database.execute(n.to_sql(dialect="ansi")).fetchall()

    database.close()
    assert found == [(0.0,), (0.25,), (1.0,), (None,)]


@every_option
def test_polars_expressions_clip_and_keep_nan(options: dict[str, Any]) -> None:
    n = fitted(options)

    z = pl.DataFrame(NEW, schema=NAMES).with_columns(n.to_polars()).to_numpy()

    np.testing.assert_allclose(z, n(NEW), rtol=1e-12, atol=1e-12)


@every_option
def test_the_transformer_of_scikit_learn_has_the_options(options: dict[str, Any]) -> None:
    n, new = fitted(options), NEW[:-1]

    np.testing.assert_array_equal(NormalizerTransformer(**options).fit(TRAIN).transform(new), n(new))
    made = Normalizer.fit(TRAIN, **options).to_sklearn()
    np.testing.assert_array_equal(made.fit(TRAIN * 9).transform(new), n(new))


def test_options_beside_a_given_normalizer_are_refused_where_they_differ() -> None:
    n = Normalizer.fit(TRAIN, method="minmax", feature_range=(-1, 1))

    assert NormalizerTransformer("minmax", feature_range=(-1, 1), normalizer=n).fit(TRAIN).normalizer_ is n
    with pytest.raises(ArgumentError, match=r"clip=True changes nothing beside normalizer="):
        NormalizerTransformer("minmax", clip=True, normalizer=n).fit(TRAIN)


def test_folding_takes_a_range_and_refuses_to_clip() -> None:
    layer = torch.nn.Linear(3, 2).double()
    x = torch.tensor(TRAIN)
    n = Normalizer.fit(TRAIN, method="minmax", feature_range=(-1, 3))

    assert torch.allclose(n.fold_into(layer)(x), layer(n(x)))
    with pytest.raises(
        ArgumentError, match=r"clips, which weights cannot do.*clip=False, or put to_torch\(\)"
    ):
        Normalizer.fit(TRAIN, clip=(-1, 1)).fold_into(layer)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clip": True}, r"clip=True is for .*'standard' has no range.*clip=\(-5, 5\)"),
        ({"clip": None}, "clip is None: expected True, False, or two numbers"),
        ({"clip": 3}, "clip is 3"),
        ({"clip": (1, 1)}, r"clip is \(1, 1\)"),
        ({"clip": (0, np.inf)}, r"clip\[1\] is inf"),
        ({"clip": (0, np.nan)}, r"clip\[1\] is nan"),
        ({"clip": (0, 1, 2)}, "clip is a tuple"),
        ({"clip": np.eye(2)}, r"clip\[0\] is a list"),
        ({"clip": "yes"}, "clip is 'yes'"),
        ({"feature_range": (0, 1)}, "feature_range is for method='minmax', and the method is 'standard'"),
        ({"method": "minmax", "feature_range": (1, 0)}, r"feature_range is \(1, 0\)"),
        ({"method": "minmax", "feature_range": (True, 2)}, r"feature_range\[0\] is True"),
        ({"method": "minmax", "feature_range": 1.0}, "feature_range is 1.0"),
        ({"quantile_range": (5, 95)}, "quantile_range is for method='robust'"),
        ({"method": "robust", "quantile_range": (-1, 95)}, r"quantile_range\[0\] is -1: expected two perc"),
        ({"method": "robust", "quantile_range": (5, 101)}, r"quantile_range\[1\] is 101"),
        ({"with_centering": None}, "with_centering is None: expected True or False"),
        ({"with_scaling": "no"}, "with_scaling is 'no'"),
        (
            {"method": "minmax", "with_scaling": False},
            "with_scaling=False is for method='standard' and 'robust'",
        ),
        ({"method": "maxabs", "with_centering": False}, "maxabs subtracts nothing"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Normalizer.fit(TRAIN, **options)


def test_a_range_that_float64_cannot_reach_is_refused() -> None:
    for feature_range in ((0, 1e-320), (-1e308, 1e308)):
        with pytest.raises(DataError, match="beyond float64"):
            Normalizer.fit(TRAIN, method="minmax", feature_range=feature_range)


def test_options_are_told() -> None:
    said = str(fitted(OPTIONS["robust above the median"]))

    assert "quantiles 60 and 95 %, clipped to -2 ... 2" in said
    assert "options" not in str(fitted({}))


def test_numpy_numbers_and_lists_are_taken() -> None:
    options: dict[str, Any] = {"feature_range": np.array([-1, 1]), "clip": np.True_}
    n = Normalizer.fit(TRAIN, method="minmax", **options)

    assert n.feature_range == n.clip == (-1.0, 1.0)
