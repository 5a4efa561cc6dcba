"""Statistics that are known instead of data: Keras' and torchvision's way, whole."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch

from wellposed import Normalizer
from wellposed.errors import ArgumentError, ArtifactError, DataError
from wellposed.normalize import saved

RNG = np.random.default_rng(0)
MEAN, STD = np.array([1.5, -300.0, 0.02]), np.array([0.5, 40.0, 0.125])
ROWS = RNG.normal(size=(50, 3)) * STD + MEAN
IMAGENET: dict[str, Any] = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def given(**options: Any) -> Normalizer:
    return Normalizer.from_statistics(**{"mean": MEAN, "std": STD, "names": ["a", "b", "c"], **options})


def test_it_subtracts_the_mean_and_divides_by_the_std() -> None:
    np.testing.assert_array_equal(given()(ROWS), (ROWS - MEAN) / STD)
    np.testing.assert_array_equal(given(std=None, variance=STD**2)(ROWS), (ROWS - MEAN) / np.sqrt(STD**2))


def test_it_does_what_a_fit_with_these_statistics_does() -> None:
    fitted = Normalizer.fit(ROWS)
    n = Normalizer.from_statistics(mean=fitted.mean, std=fitted.std)

    np.testing.assert_array_equal(n(ROWS), fitted(ROWS))
    np.testing.assert_array_equal(n.inverse(n(ROWS)), fitted.inverse(fitted(ROWS)))


_KERAS = """
import json, sys, keras, numpy as np
given = json.load(sys.stdin)
rows, mean, variance = (np.array(given[name], dtype="float32") for name in ("rows", "mean", "variance"))
images = rows.reshape(5, 2, 5, 3)
adapted = keras.layers.Normalization()
adapted.adapt(rows)
layers = [(keras.layers.Normalization(mean=mean, variance=variance), images),
          (keras.layers.Normalization(axis=1, mean=mean, variance=variance), images.transpose(0, 3, 1, 2)),
          (adapted, rows)]
held = [np.asarray(layer(x)).tolist() for layer, x in layers]
print(json.dumps([*held, np.asarray(adapted.mean)[0].tolist(), np.asarray(adapted.variance)[0].tolist()]))
"""


def test_it_gives_the_numbers_of_keras() -> None:
    """In a process of its own: Keras reads its backend when it is imported."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    told = json.dumps({"rows": ROWS.tolist(), "mean": MEAN.tolist(), "variance": (STD**2).tolist()})
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    command = [sys.executable, "-c", _KERAS]
    done = subprocess.run(command, input=told, env=environment, capture_output=True, text=True, check=True)
    last, first, adapted, mean, variance = map(np.array, json.loads(done.stdout.splitlines()[-1]))
    rows = ROWS.astype(np.float32)
    images = rows.reshape(5, 2, 5, 3)

    for axis, x, expected in ((-1, images, last), (1, images.transpose(0, 3, 1, 2), first)):
        n = Normalizer.from_statistics(mean=MEAN, variance=STD**2, ndim=4, axis=axis)
        np.testing.assert_allclose(n(x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        Normalizer.from_statistics(mean=mean, variance=variance)(rows), adapted, rtol=1e-4, atol=1e-5
    )


def test_images_are_normalised_by_channel() -> None:
    images = RNG.random((2, 3, 4, 4)).astype(np.float32)
    n = Normalizer.from_statistics(**IMAGENET, ndim=4)
    expected = (images - np.reshape(IMAGENET["mean"], (3, 1, 1))) / np.reshape(IMAGENET["std"], (3, 1, 1))

    np.testing.assert_allclose(n(images), expected, rtol=1e-6)
    np.testing.assert_allclose(n(torch.tensor(images[0])).numpy(), expected[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"mean": 2.0, "std": 4}, (5,)),
        ({"mean": 2, "std": 4.0, "ndim": 3}, (5, 6, 7)),
        ({"mean": [[1, 2], [3, 4]], "variance": [[1, 4], [9, 16]]}, (5, 2, 2)),
        ({"mean": [[1, 2], [3, 4]], "std": np.ones((2, 2)), "ndim": 4, "axis": (1, 3)}, (5, 2, 7, 2)),
        ({"mean": torch.tensor([1.0, 2.0]), "std": torch.tensor([1.0, 2.0]), "ndim": 3}, (5, 7, 2)),
    ],
)
def test_data_of_any_form_are_taken_and_come_back(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    n, x = Normalizer.from_statistics(**options), RNG.normal(size=shape)

    np.testing.assert_allclose(n.inverse(n(x)), x, rtol=1e-12)
    assert n(x).shape == shape


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.requires_grad_(),
        lambda t: t.bfloat16(),
        lambda t: t.half(),
        lambda t: np.ma.array(t.numpy()),
    ],
)
def test_statistics_of_any_holder_are_taken(make: Any) -> None:
    mean, std = (make(torch.tensor(values)) for values in ([1.0, 2.0], [0.5, 4.0]))

    n = Normalizer.from_statistics(mean=mean, std=std)

    assert (n.mean.tolist(), n.std.tolist()) == ([1.0, 2.0], [0.5, 4.0])


def test_saving_and_loading_changes_no_bit(tmp_path: Path) -> None:
    given(clip=(-1, 1), source="a paper").save(tmp_path / "n.json")

    n = Normalizer.load(tmp_path / "n.json")

    np.testing.assert_array_equal(n(ROWS), given(clip=(-1, 1))(ROWS))
    assert (n.provenance.rows, n.provenance.split, n.provenance.source) == (0, "given", "a paper")
    assert n.provenance.fingerprint == given().provenance.fingerprint


def test_a_file_that_claims_rows_of_given_statistics_is_refused(tmp_path: Path) -> None:
    given().save(tmp_path / "n.json")
    held = json.loads((tmp_path / "n.json").read_text())
    held["count"] = [1, 1, 1]
    held["digest"] = saved.digest({k: v for k, v in held.items() if k != "digest"})
    (tmp_path / "n.json").write_text(json.dumps(held))

    with pytest.raises(ArtifactError, match="rows holds 0"):
        Normalizer.load(tmp_path / "n.json")


def test_it_leaves_the_library_like_a_fitted_one() -> None:
    n, layer = given(), torch.nn.Linear(3, 2).double()
    x, frame = torch.tensor(ROWS), pl.DataFrame(ROWS, schema=["a", "b", "c"])
    model = n.to_onnx(dtype="float64").SerializeToString()
    run = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run

    np.testing.assert_array_equal(n.to_torch()(x).numpy(), n(ROWS))
    np.testing.assert_array_equal(np.asarray(run(None, {"x": ROWS})[0]), n(ROWS))
    np.testing.assert_allclose(frame.with_columns(n.to_polars()).to_numpy(), n(ROWS), rtol=1e-12)
    np.testing.assert_allclose(n.to_jax()(ROWS.astype("f4")), n(ROWS), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
        Normalizer.from_statistics(mean=MEAN, std=STD).to_sklearn().transform(ROWS), n(ROWS)
    )
    assert torch.allclose(n.fold_into(layer)(x), layer(n(x)))
    assert "b" in n.to_sql("t")


def test_it_says_what_it_is() -> None:
    said = str(given(source="the ImageNet paper"))

    assert "standard, 3 columns, of given statistics" in said
    assert "the ImageNet paper" in said
    assert said.splitlines()[-1].split() == ["c", "0.02", "0.125", "-", "-"]


def test_without_training_data_there_is_no_drift() -> None:
    with pytest.raises(DataError, match=r"given statistics.*Normalizer\.fit\(train\)"):
        given().drift(ROWS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"std": None}, "variance and std say the same, and neither of them is given"),
        ({"variance": STD}, "both of them is given: give one"),
        ({"std": [1, 2]}, r"mean has shape \(3,\), std \(2,\)"),
        ({"std": 1.0}, r"std \(\): expected one number a column in both"),
        ({"std": [1, 2, 0]}, "std holds 0: expected numbers above 0; of a constant column give 1"),
        ({"std": None, "variance": [1, 2, -4]}, "variance holds -4"),
        ({"std": [1, 2, np.nan]}, "std holds nan"),
        ({"mean": [1, 2, np.inf]}, "mean holds inf: expected finite"),
        ({"mean": None}, "mean is None: expected finite real numbers"),
        ({"mean": "abc"}, "mean is 'abc'"),
        ({"mean": [True, False, True]}, "mean is a list"),
        ({"mean": [1j, 0, 0]}, "mean is a list"),
        (
            {"mean": np.ma.array(MEAN, mask=[False, True, False])},
            "mean has 1 masked entries: expected finite real numbers",
        ),
        ({"std": np.ma.array(STD, mask=True)}, "std has 3 masked entries"),
        ({"mean": torch.zeros(3).to_sparse()}, "mean is a Tensor"),
        ({"mean": [], "std": []}, "mean is empty"),
        ({"mean": [[1], [2, 3]]}, "mean is a list"),
        ({"ndim": 1}, "axis=|out of range|keep axis"),
        (
            {"ndim": 4, "axis": (1, 2), "names": None},
            r"mean has shape \(3,\), and data of 4 dimensions keep axis \(1, 2\)",
        ),
        ({"ndim": 4}, "the data are no table: leave names out"),
        ({"ndim": 0}, "ndim is 0"),
        ({"axis": 0}, "keeps axis 0, which holds the samples"),
        ({"names": ["a", "b"]}, "names has 2 entries: expected 3 names"),
        ({"names": ["a", "b", "a"]}, "names has 'a' twice"),
        ({"names": "abc"}, "names is 'abc': expected 3 names"),
        ({"names": [1, 2, 3]}, r"names\[0\] is 1"),
        ({"source": 3}, "source is 3"),
        ({"clip": True}, "clip=True is for"),
    ],
)
def test_statistics_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        given(**options)
