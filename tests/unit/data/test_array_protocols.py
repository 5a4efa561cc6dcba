"""Whatever speaks a protocol of arrays is one array; rows, batches and iterators are told apart or refused."""

from __future__ import annotations

import array
import re
import sys
from types import ModuleType

import dask.array
import dask.dataframe
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch.utils.data import DataLoader, TensorDataset

from wellposed import Moments, Normalizer
from wellposed.errors import ArgumentError, DataError

X = np.random.default_rng(0).normal(size=(64, 4)) * [1, 10, 0.1, 5] + [0, 100, 1, -7]


class Arrays:
    """Holds an array, and has a length and rows to iterate over, as arrays of any library do."""

    def __init__(self, held: np.ndarray) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self):
        return iter(self.held)


class ByArray(Arrays):
    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.held, dtype)


class ByInterface(Arrays):
    @property
    def __array_interface__(self) -> dict:
        return self.held.__array_interface__


class ByDlpack(Arrays):
    def __dlpack__(self, **how):
        return self.held.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.held.__dlpack_device__()


class OnDevice(Arrays):
    """As CuPy does: NumPy gets nothing by itself, only by `get`."""

    __cuda_array_interface__ = {"version": 3}  # noqa: RUF012

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def get(self) -> np.ndarray:
        return self.held


MADE = [jnp.asarray, ByArray, ByInterface, ByDlpack, OnDevice, memoryview]
IDS = ["jax", "__array__", "__array_interface__", "dlpack", "on a device", "buffer"]


@pytest.mark.parametrize("make", MADE, ids=IDS)
def test_what_speaks_an_array_protocol_is_one_array_alone_in_a_pair_and_as_a_batch(make) -> None:
    of_numpy = Moments.of(np.asarray(make(X))) if make is jnp.asarray else Moments.of(X)
    made = make(X)

    for data in (made, (made, np.ones(64)), [made], {"x": made}):
        assert Moments.of(data).fingerprint == of_numpy.fingerprint
        assert Normalizer.fit(data).provenance.fingerprint == of_numpy.fingerprint


@pytest.mark.parametrize("make", MADE, ids=IDS)
def test_it_is_normalised_as_the_array_that_it_holds(make) -> None:
    n = Normalizer.fit(X)

    np.testing.assert_allclose(np.asarray(n(make(X))), n(X), rtol=1e-4, atol=1e-4)


def test_numbers_in_a_buffer_are_one_column() -> None:
    assert Moments.of(array.array("d", [1.0, 2.0, 6.0])).mean.tolist() == [3.0]
    assert Moments.of([np.float32(1), np.float32(2), np.float32(6)]).mean.tolist() == [3.0]


@pytest.fixture
def image(monkeypatch):
    """Makes what Pillow calls an image, without Pillow."""

    class Image:
        def __init__(self, held: np.ndarray, mode: str = "RGB") -> None:
            self.__array_interface__ = held.__array_interface__
            self.held, self.mode = held, mode

    Image.__module__ = "PIL.Image"
    monkeypatch.setitem(sys.modules, "PIL.Image", ModuleType("PIL.Image"))
    return Image


def test_a_list_of_images_has_its_statistics_by_channel_whatever_their_sizes(image) -> None:
    rng = np.random.default_rng(1)
    pixels = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((5, 7, 3), (4, 4, 3), (9, 6, 3))]

    n = Normalizer.fit([image(p) for p in pixels])

    every = np.concatenate([p.reshape(-1, 3) for p in pixels])
    np.testing.assert_allclose(n.mean, every.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(n.std, every.std(axis=0), rtol=1e-14)
    assert n.provenance.rows == 3
    assert n(image(pixels[0])).shape == (5, 7, 3)
    assert n(np.stack([pixels[1]] * 2)).shape == (2, 4, 4, 3)


def test_grey_images_have_one_channel(image) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)

    assert Moments.of(image(grey)).mean.tolist() == [5.5]
    assert Normalizer.fit([image(grey)] * 2).provenance.rows == 2


@pytest.mark.parametrize("make", [iter, lambda images: [(one, 0.5) for one in images], lambda images: [{"image": images[0]}]])  # fmt: skip
def test_images_elsewhere_than_in_a_list_are_refused_as_their_channels_would_not_be_found(
    image, make
) -> None:
    images = [image(np.zeros((4, 6, 3), np.uint8))] * 2

    with pytest.raises(
        DataError, match=r"in a list, without targets, or arrays of them with axis=-1|DataLoader"
    ):
        Moments.of(make(images))


def test_places_in_a_palette_are_no_colours(image) -> None:
    with pytest.raises(DataError, match=r"mode 'P'.*\.convert\('RGB'\)"):
        Moments.of([image(np.zeros((4, 6), np.uint8), mode="P")])


@pytest.mark.parametrize("make", [list, iter, lambda rows: (torch.tensor(r) for r in rows)])
@pytest.mark.parametrize("fit", [Moments.of, Normalizer.fit, Normalizer.fit(X[:, 0]).drift])
def test_equal_1d_arrays_may_be_rows_or_a_column_and_are_refused_with_both_ways_to_say_it(make, fit) -> None:
    with pytest.raises(DataError, match=r"4 entries after another.*np\.stack.*np\.concatenate"):
        fit(make([*X]))

    assert Moments.of(np.stack([*X])).mean.shape == (4,)
    assert Moments.of(np.concatenate([*X])).mean.shape == (1,)


def test_1d_batches_of_a_loader_are_one_column() -> None:
    y = torch.arange(12.0)

    for loader in (DataLoader(y, batch_size=4), DataLoader(TensorDataset(y), batch_size=4)):
        assert Moments.of(loader).mean.tolist() == [5.5]


def test_1d_targets_of_batches_are_one_column() -> None:
    pairs = [(X[:32], X[:32, 1]), (X[32:], X[32:, 1])]

    assert Normalizer.fit(pairs, of="targets").mean == Normalizer.fit(X).mean[1]


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs", "robust", "whiten", "zca"])
def test_one_pass_over_an_iterator_is_enough_for_every_method(method) -> None:
    batches = np.array_split(X, 5)

    whole, once = Normalizer.fit(X, method=method), Normalizer.fit(iter(batches), method=method)

    assert once.provenance.fingerprint == whole.provenance.fingerprint
    np.testing.assert_array_equal(once.scale, whole.scale)
    np.testing.assert_allclose(once(X), whole(X), rtol=1e-12, atol=1e-12)


def test_an_iterator_of_batches_is_read_once_for_moments_targets_and_drift() -> None:
    n = Normalizer.fit(X)
    pairs = ((part, part[:, 1]) for part in np.array_split(X, 5))

    assert Moments.of(part for part in np.array_split(X, 5)).fingerprint == Moments.of(X).fingerprint
    assert Normalizer.fit(pairs, of="targets").mean == n.mean[1]
    assert n.drift(map(np.asarray, np.array_split(X, 5))).rows == 64


def test_an_iterator_that_was_read_before_says_so() -> None:
    used = iter([X])
    Moments.of(used)

    with pytest.raises(DataError, match="an iterator that was read before gives nothing more"):
        Moments.of(used)


def test_the_random_states_stay_also_when_an_iterator_draws_from_them() -> None:
    before = np.random.get_state()[1].copy()

    Moments.of(np.random.normal(size=(3, 2)) for _ in range(2))

    assert (np.random.get_state()[1] == before).all()


def test_a_mask_of_an_iterator_is_refused_with_the_way_around() -> None:
    with pytest.raises(ArgumentError, match="found a generator: set masked entries of batches to NaN"):
        Normalizer.fit((part for part in [X]), mask=np.ones(64, bool))


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.coo_array])
def test_sparse_data_are_refused_with_the_way_to_dense_ones(make) -> None:
    held, n = make(X), Normalizer.fit(X)
    doors = [Normalizer.fit, n, lambda x: Normalizer.fit((x, X[:, 0]))]
    doors += [lambda x: Normalizer.fit([x, x]), n.inverse]

    for door in doors:
        with pytest.raises(DataError, match=r"sparse c.*dense array, as \.toarray\(\) gives"):
            door(held)


@pytest.mark.parametrize(
    ("module", "name", "mend"),
    [
        ("pyspark.sql.classic", "DataFrame", r"to_sql\('x', dialect='spark'"),
        ("ray.data", "Dataset", "map_batches"),
    ],
)
def test_rows_on_a_cluster_are_refused_with_the_way_to_send_the_normalizer_there(module, name, mend) -> None:
    frame = type(name, (), {"__module__": module, "columns": ["a", "b", "c", "d"]})()

    with pytest.raises(DataError, match=f"x is a {name} of .*, whose rows are not in this process.*{mend}"):
        Normalizer.fit(X)(frame)


def test_what_dask_holds_is_not_gathered_and_the_way_that_is_named_works() -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    n = Normalizer.fit(frame)
    table, blocks = dask.dataframe.from_pandas(frame, npartitions=2), dask.array.from_array(X, chunks=(20, 4))

    for held in (table, blocks):
        with pytest.raises(
            DataError, match=r"of dask, .*x\.map_partitions\(n\).*x\.map_blocks\(n, dtype=float\)"
        ):
            n(held)
    pd.testing.assert_frame_equal(table.map_partitions(n).compute(), n(frame))
    np.testing.assert_array_equal(blocks.map_blocks(n, dtype=float).compute(), n(X))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((6, 32, 32, 3), r"\(N, C, H, W\), with 32 channels along axis 1; for \(N, H, W, C\) say axis=-1"),
        ((6, 9, 3), r"\(N, T, F\), with 3 features along axis 2; for \(N, C, T\) say axis=1"),
        (
            (6, 2, 4, 4, 4),
            r"\(N, C, \.\.\.\), with 2 channels along axis 1; for \(N, \.\.\., C\) say axis=-1",
        ),
    ],
)
def test_what_was_taken_for_channels_is_said_unless_the_axis_was_named(shape, words) -> None:
    images = np.random.default_rng(0).normal(size=shape)

    for data in (images, [images[:3], images[3:]], torch.tensor(images)):
        n = Normalizer.fit(data)
        assert re.fullmatch(f"read as {words}.*", n.remarks[0])
    assert Normalizer.fit(images, axis=-1).remarks == ()
    assert "read as (N," in " ".join(str(n).split())
