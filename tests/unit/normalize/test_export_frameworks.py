"""Modules, functions and graphs: the normalizer's numbers, as near as the type of the result allows."""

from __future__ import annotations

import copy
import re

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from wellposed import Normalizer
from wellposed.choices import METHODS
from wellposed.errors import ArgumentError, ArtifactError, DataError
from wellposed.normalize.affine import affine_map
from wellposed.normalize.export.onnx import to_onnx
from wellposed.normalize.jax import to_jax
from wellposed.normalize.torch import transform as torch_transform
from wellposed.normalize.torch.transform import to_torch

RNG = np.random.default_rng(0)
FAR = (1e7 + 0.3 + RNG.integers(-3, 4, size=(50, 3))).astype(np.float32) + np.float32([0, 100, -1e5])
DATA = {
    "table": (FAR, {}),
    "column": (FAR[:, 0], {}),
    "images": (RNG.normal(100, 3, size=(4, 3, 6, 5)).astype(np.float32), {}),
    "channels last": (RNG.normal(100, 3, size=(4, 6, 5, 3)).astype(np.float32), {"axis": 3}),
    "pixels": (RNG.normal(100, 3, size=(9, 2, 4)).astype(np.float32), {"axis": (1, 2)}),
    "sequences": (RNG.normal(100, 3, size=(5, 7, 2)).astype(np.float32), {}),
    "one for all": (FAR, {"axis": ()}),
}
everything = pytest.mark.parametrize(("x", "options"), DATA.values(), ids=DATA)


def runner(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def spacings(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, in float32 spacings of the expected value (or of 1, where that is nearer 0)."""
    unit = np.spacing(np.maximum(np.abs(expected), 1).astype(np.float32))
    return float((np.abs(np.asarray(found, dtype=np.float64) - expected) / unit).max())


def exact(n: Normalizer, x: np.ndarray) -> np.ndarray:
    return n(x.astype(np.float64))


@everything
def test_the_torch_module_gives_the_bits_of_the_normalizer(x: np.ndarray, options: dict) -> None:
    n = Normalizer.fit(x, **options)
    module = to_torch(n)

    assert torch.equal(module(torch.tensor(x)), torch.tensor(n(x)))
    assert torch.equal(module(torch.tensor(x[0])), torch.tensor(n(x)[0]))


@everything
def test_the_onnx_model_gives_the_bits_of_the_normalizer(x: np.ndarray, options: dict) -> None:
    n = Normalizer.fit(x, **options)
    run = runner(to_onnx(n)).run

    for rows in (x, x[:1], x[:0]):
        np.testing.assert_array_equal(run(None, {"x": rows})[0], n(x)[: len(rows)])


@everything
def test_the_jax_function_is_within_rounding_of_float32(x: np.ndarray, options: dict) -> None:
    n = Normalizer.fit(x, **options)
    f = to_jax(n)

    for g in (f, jax.jit(f), jax.jit(lambda v: f(v)), jax.vmap(f)):
        out = g(jnp.asarray(x))
        assert out.dtype == jnp.float32
        assert spacings(out, exact(n, x)) <= 2


UNFIT = {
    "columns": (FAR, {}, [(2, 1), (4, 5), (2,)]),
    "one column": (FAR[:, :1], {}, [(5, 4)]),
    "dimensions": (FAR, {}, [(2, 2, 3), (1, 1, 1, 3)]),
    "channels": (RNG.normal(size=(4, 3, 6, 5)), {}, [(2, 1, 6, 5), (1, 6, 5), (6, 5)]),
    "one for all": (FAR, {"axis": ()}, [(2, 2, 3)]),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("x", "options", "shapes"), UNFIT.values(), ids=UNFIT)
def test_other_sizes_than_it_was_fitted_on_are_refused_as_the_normalizer_does(
    x: np.ndarray, options: dict, shapes: list
) -> None:
    n = Normalizer.fit(x, **options)
    module, f = to_torch(n), to_jax(n)
    scripted = torch.jit.script(module)

    for shape in shapes:
        with pytest.raises(DataError) as refused:
            n(np.ones(shape))
        words = re.escape(str(refused.value).split(": expected")[0])
        with pytest.raises(DataError, match=words):
            module(torch.ones(shape))
        with pytest.raises(torch.jit.Error, match=words):
            scripted(torch.ones(shape))
        with pytest.raises(DataError, match=words):
            jax.jit(f)(jnp.ones(shape))


def test_an_exported_module_takes_any_number_of_rows() -> None:
    n = Normalizer.fit(FAR)
    rows = {0: torch.export.Dim("rows")}

    exported = torch.export.export(to_torch(n), (torch.tensor(FAR),), dynamic_shapes=(rows,)).module()

    assert torch.equal(exported(torch.tensor(FAR[:7])), torch.tensor(n(FAR[:7])))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_the_library(method: str) -> None:
    x = (RNG.normal(size=(60, 4)) @ RNG.normal(size=(4, 4)) + 50).astype(np.float32)
    n = Normalizer.fit(x, method=method)
    expected = exact(n, x)

    found = {
        "torch": to_torch(n)(torch.tensor(x)).numpy(),
        "onnx": runner(to_onnx(n)).run(None, {"x": x})[0],
        "jax": jax.jit(to_jax(n))(x),
    }

    for name, z in found.items():
        size = np.abs(n.rotation).sum(axis=0).max() * 3 if name == "jax" and n.rotation is not None else 1
        assert spacings(z, expected) <= 2 * size, name


def test_whitened_channels_of_images_leave_the_library() -> None:
    x = np.einsum("nchw,cd->ndhw", RNG.normal(size=(6, 3, 4, 5)), RNG.normal(size=(3, 3))) + 9.0
    n = Normalizer.fit(x, method="zca")

    np.testing.assert_allclose(to_torch(n)(torch.tensor(x)), n(x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        runner(to_onnx(n, dtype="float64")).run(None, {"x": x})[0], n(x), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(to_jax(n)(x), n(x), rtol=0, atol=1e-4)


def test_missing_entries_of_columns_that_are_not_mixed_stay_where_they_are() -> None:
    x = RNG.normal(size=(30, 3)).astype(np.float32)
    n = Normalizer.fit(x, method="zca", columns=[0, 1])
    x[:, 2] = np.nan

    for z in (
        to_torch(n)(torch.tensor(x)).numpy(),
        runner(to_onnx(n)).run(None, {"x": x})[0],
        np.asarray(to_jax(n)(x)),
    ):
        assert np.isfinite(z[:, :2]).all()
        assert np.isnan(z[:, 2]).all()


def test_the_module_is_scripted_exported_and_saved() -> None:
    x = RNG.normal(size=(30, 3))
    for method in ("standard", "zca"):
        n = Normalizer.fit(x, method=method)
        module, rows = to_torch(n), torch.tensor(x)
        fresh = to_torch(Normalizer.fit(x[::2] * 3, method=method))
        fresh.load_state_dict(module.state_dict())
        exported = torch.export.export(module, (rows,)).module()

        for one in (fresh, exported, copy.deepcopy(module)):
            torch.testing.assert_close(one(rows), module(rows), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_module_is_scripted() -> None:
    x = RNG.normal(size=(30, 3))
    for method in ("standard", "zca"):
        module = to_torch(Normalizer.fit(x, method=method))

        assert torch.equal(torch.jit.script(module)(torch.tensor(x)), module(torch.tensor(x)))


def test_the_module_keeps_its_numbers_when_the_model_is_cast() -> None:
    n = Normalizer.fit(FAR)
    x = torch.tensor(FAR)
    module = torch.nn.Sequential(to_torch(n)).half().bfloat16()

    assert torch.equal(module(x), torch.tensor(n(FAR)))
    assert module(x.half()).dtype == torch.float16
    assert to_torch(n)(x.long()).dtype == torch.float32
    assert next(to_torch(n).to("meta").buffers()).is_meta


def test_a_device_without_float64_takes_the_center_in_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    n = Normalizer.fit(FAR)
    monkeypatch.setattr(torch_transform, "WITHOUT_FLOAT64", ["cpu"])

    z = to_torch(n)(torch.tensor(FAR))
    again = torch_transform.scaled(torch.tensor(FAR), affine_map(n), inverse=False)
    back = torch_transform.scaled(again, affine_map(n), inverse=True)

    assert spacings(z.numpy(), exact(n, FAR)) <= 2
    assert spacings(again.numpy(), exact(n, FAR)) <= 2
    np.testing.assert_allclose(back.numpy(), FAR, rtol=3e-7)


def lacking_float64(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype == torch.float64:
        raise TypeError("no float64 here")
    return tensor.clone()


def test_moving_to_a_device_without_float64_keeps_the_statistics_on_the_cpu() -> None:
    module = to_torch(Normalizer.fit(FAR, method="zca"))
    center = module.center.clone()

    module._apply(lacking_float64)

    assert torch.equal(module.center, center)
    tiny = to_torch(Normalizer.fit(RNG.normal(size=(9, 1)) * 1e-60))
    with pytest.raises(ArgumentError, match=r"center of column 0 is .*e-61?.*float32 does not hold"):
        tiny._apply(lacking_float64)


def test_the_jax_function_has_a_derivative_and_is_a_pytree() -> None:
    n = Normalizer.fit(FAR)
    f = to_jax(n)

    slope = jax.grad(lambda v: f(v).sum())(jnp.asarray(FAR[0]))
    passed = jax.jit(lambda g, v: g(v))(f, FAR)

    np.testing.assert_allclose(slope, 1 / n.scale, rtol=1e-6)
    assert spacings(passed, exact(n, FAR)) <= 2
    assert f(jnp.asarray(FAR).astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert f(np.ones((2, 3), dtype=np.int32)).dtype == jnp.float32


def test_jax_in_64_bit_mode_works_in_float64() -> None:
    x = 1e12 + RNG.normal(size=(20, 2))
    n = Normalizer.fit(x)

    with jax.enable_x64(True):
        z = np.asarray(to_jax(n)(x))

    np.testing.assert_allclose(z, n(x), rtol=1e-15)


def test_jax_refuses_what_float32_does_not_hold() -> None:
    with pytest.raises(ArgumentError, match="center of column 1 is 1e\\+60, which float32 does not hold"):
        to_jax(Normalizer.fit(np.array([[1.0, 1e60], [2.0, 1e60]])))


@pytest.mark.parametrize(
    ("dtype", "out"), [("float64", "f8"), ("float16", "f2"), ("int64", "f4"), ("uint8", "f4")]
)
def test_onnx_takes_other_types(dtype: str, out: str) -> None:
    x = RNG.integers(0, 200, size=(20, 2)).astype(dtype)
    n = Normalizer.fit(x)

    z = runner(to_onnx(n, dtype=dtype)).run(None, {"x": x})[0]

    assert z.dtype == np.dtype(out)
    np.testing.assert_array_equal(z, n(x))


def test_onnx_is_written_with_its_origin(tmp_path) -> None:
    n = Normalizer.fit(FAR)

    to_onnx(n, tmp_path / "n.onnx")

    read = onnx.load(tmp_path / "n.onnx")
    assert {p.key: p.value for p in read.metadata_props}["fingerprint"] == n.provenance.fingerprint
    np.testing.assert_array_equal(runner(read).run(None, {"x": FAR})[0], n(FAR))


def test_onnx_names_what_it_cannot_do(tmp_path) -> None:
    n = Normalizer.fit(FAR)
    with pytest.raises(ArgumentError, match="dtype is 'complex64'"):
        to_onnx(n, dtype="complex64")
    with pytest.raises(ArgumentError, match="dtype is 'int8'"):
        to_onnx(n, dtype="int8")
    with pytest.raises(ArtifactError, match="cannot be written"):
        to_onnx(n, tmp_path / "absent" / "n.onnx")
