"""What passes unchanged does so: integers in columns that are not selected keep every digit, or are refused."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch

from wellposed.errors import DataError
from wellposed.normalize import Normalizer
from wellposed.runtime.torch import tensors as torch_arrays

IDS = np.array([[1, 16777217], [2, 16777219], [4, 3]])


@pytest.fixture
def first() -> Normalizer:
    return Normalizer.fit(IDS, columns=[0])


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("method", ["standard", "whiten"])
def test_integers_pass_arrays_and_tensors_with_every_digit(dtype: str, method: str) -> None:
    x = IDS.astype(dtype)
    n = Normalizer.fit(x, columns=[0], method=method)

    for z in (n(x), n(torch.tensor(x)).numpy(), n.inverse(x), n.inverse(torch.tensor(x)).numpy()):
        assert z.dtype == np.float64
        assert z[:, 1].tolist() == IDS[:, 1].tolist()


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [("int8", "float32"), ("uint16", "float32"), ("int32", "float64"), ("float16", "float16")],
)
def test_the_dtype_depends_on_that_of_the_data_and_on_no_value(
    first: Normalizer, dtype: str, becomes: str
) -> None:
    for x in (np.ones((2, 2), dtype=dtype), np.ones((0, 2), dtype=dtype), np.ones(2, dtype=dtype)):
        assert first(x).dtype == becomes
        assert first(torch.tensor(x)).dtype == getattr(torch, becomes)


def test_integers_that_are_all_normalised_become_float32() -> None:
    n = Normalizer.fit(IDS)

    assert n(IDS).dtype == np.float32
    assert n(torch.tensor(IDS)).dtype == torch.float32


@pytest.mark.parametrize("id_", [2**53 + 1, -(2**53) - 1, 2**63 - 1])
def test_integers_beyond_float64_are_refused_where_they_pass_and_not_elsewhere(
    first: Normalizer, id_: int
) -> None:
    passing, selected = np.array([[1, 5], [2, id_]]), np.array([[1, 5], [id_, 7]])

    for x in (passing, passing[1], torch.tensor(passing), torch.tensor(passing[1])):
        with pytest.raises(DataError, match=r"2\*\*53 or more in columns that pass unchanged"):
            first(x)
    assert first(selected)[:, 1].tolist() == first(torch.tensor(selected))[:, 1].tolist() == [5, 7]


def test_channels_of_images_are_told_apart() -> None:
    x = np.ones((2, 3, 4, 4), dtype=np.int64)
    n = Normalizer.fit(np.random.default_rng(0).random(x.shape), columns=[2])
    x[0, 1, 2, 3] = 2**53 - 1

    assert n(x)[0, 1, 2, 3] == n(torch.tensor(x))[0, 1, 2, 3] == 2**53 - 1
    x[0, 1, 2, 3] += 2
    with pytest.raises(DataError, match="pass unchanged"):
        n(torch.tensor(x))


def test_a_device_without_float64_refuses_what_float32_rounds(
    first: Normalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_arrays, "WITHOUT_FLOAT64", ["cpu"])

    assert first(torch.tensor(IDS[2:])).tolist()[0][1] == 3
    with pytest.raises(DataError, match=r"2\*\*24 or more in columns that pass unchanged"):
        first(torch.tensor(IDS))


def test_jax_keeps_them_in_64_bit_mode_and_refuses_them_otherwise(first: Normalizer) -> None:
    with pytest.raises(DataError, match=r"2\*\*24 or more in columns that pass unchanged"):
        first(jax.numpy.asarray(IDS, dtype="int32"))
    with jax.enable_x64(True):
        z = first(jax.numpy.asarray(IDS))

    assert z.dtype == np.float64
    assert z[:, 1].tolist() == IDS[:, 1].tolist()


def test_complex_tensors_are_refused(first: Normalizer) -> None:
    with pytest.raises(DataError, match=r"torch\.complex64: expected real numbers"):
        first(torch.ones(2, 2, dtype=torch.complex64))
