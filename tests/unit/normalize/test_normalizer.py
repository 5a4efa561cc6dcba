"""The normalizer: fitted on training data alone, applied unchanged, saved exactly."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from wellposed.errors import ArgumentError, DataError, LeakageError
from wellposed.moments import Moments
from wellposed.normalize import Normalizer

RNG = np.random.default_rng(0)
WINE_LIKE = RNG.normal(size=(60, 4)) * [1, 1000, 1e-3, 5] + [0, 3000, 1, -7]


class Table:
    """What pandas and polars look like from here."""

    def __init__(self, values: np.ndarray, columns: list[str]) -> None:
        self.values, self.columns = values, columns

    def to_numpy(self) -> np.ndarray:
        return self.values


@pytest.fixture
def fitted() -> Normalizer:
    return Normalizer.fit(WINE_LIKE)


def test_training_data_come_out_with_mean_zero_and_std_one(fitted: Normalizer) -> None:
    z = fitted(WINE_LIKE)

    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-12)


def test_held_out_data_get_the_training_statistics(fitted: Normalizer) -> None:
    held_out = WINE_LIKE[:5] * 2

    np.testing.assert_allclose(
        fitted(held_out), (held_out - WINE_LIKE.mean(0)) / WINE_LIKE.std(0), rtol=1e-10
    )


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("float16", "float16"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("uint8", "float32"),
        ("bool", "float32"),
    ],
)
def test_type_and_dtype_are_kept_and_integers_become_float32(given: str, out: str) -> None:
    x = np.array([[0, 1], [1, 1], [1, 0]]).astype(given)
    n = Normalizer.fit(x)

    assert n(x).dtype == out
    tensor = n(torch.tensor(x))
    assert tensor.dtype == getattr(torch, out)
    np.testing.assert_array_equal(tensor.numpy(), n(x))


def test_gradients_flow_through_a_normalised_tensor(fitted: Normalizer) -> None:
    x = torch.tensor(WINE_LIKE, requires_grad=True)

    fitted(x).sum().backward()

    assert x.grad is not None
    np.testing.assert_allclose(x.grad, np.broadcast_to(1 / fitted.std, x.shape))


def test_a_jax_array_stays_one_also_when_traced(fitted: Normalizer) -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray(WINE_LIKE[:5], dtype="float32")

    z = fitted(x)

    assert isinstance(z, jax.Array)
    np.testing.assert_allclose(z, fitted(WINE_LIKE[:5]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(jax.jit(fitted)(x), z, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fitted.inverse(z), x, rtol=1e-5)
    with pytest.raises(DataError, match="1 columns along axis 1, the normalizer has 4"):
        fitted(x[:, :1])


def test_float32_far_from_zero_keeps_its_digits() -> None:
    x = (RNG.normal(size=(500, 1)) + 1e7).astype(np.float32)
    exact = x.astype(np.float64)

    z = Normalizer.fit(x)(x)

    np.testing.assert_allclose(z, (exact - exact.mean()) / exact.std(), rtol=1e-6, atol=1e-7)


def test_a_constant_column_is_centred_and_keeps_its_scale() -> None:
    x = np.stack([np.full(9, 0.1), np.arange(9.0)], axis=1)
    n = Normalizer.fit(x)

    assert n.scale[0] == 1
    assert (n(x)[:, 0] == 0).all()
    assert n(np.array([[1.1, 0.0]]))[0, 0] == 1.0


def test_images_sequences_columns_and_single_samples_find_their_axis() -> None:
    images, sequence, column = RNG.random((6, 3, 4, 5)), RNG.random((6, 7, 2)), RNG.random(30)

    np.testing.assert_allclose(Normalizer.fit(images)(images).std(axis=(0, 2, 3)), 1)
    np.testing.assert_allclose(Normalizer.fit(images)(images[0]), Normalizer.fit(images)(images)[0])
    np.testing.assert_allclose(Normalizer.fit(sequence)(sequence).std(axis=(0, 1)), 1)
    np.testing.assert_allclose(Normalizer.fit(column)(column).std(), 1)
    np.testing.assert_allclose(Normalizer.fit(images, axis=(1, 2, 3))(images).std(axis=0), 1)
    np.testing.assert_allclose(Normalizer.fit(images, axis=())(images).std(), 1)


def test_missing_values_are_left_out_of_the_fit_and_stay_missing() -> None:
    x = np.array([[1.0], [np.nan], [3.0]])

    np.testing.assert_equal(Normalizer.fit(x)(x), [[-1.0], [np.nan], [1.0]])


def test_unselected_columns_pass_unchanged(fitted: Normalizer) -> None:
    by_number = Normalizer.fit(WINE_LIKE, columns=[1])
    by_name = Normalizer.fit(Table(WINE_LIKE, ["a", "b", "c", "d"]), columns=["b"])

    for n in (by_number, by_name):
        np.testing.assert_array_equal(n(WINE_LIKE)[:, [0, 2, 3]], WINE_LIKE[:, [0, 2, 3]])
        np.testing.assert_array_equal(n(WINE_LIKE)[:, 1], fitted(WINE_LIKE)[:, 1])


def test_a_loader_gives_what_the_array_gives_and_the_same_fingerprint(fitted: Normalizer) -> None:
    loader = DataLoader(TensorDataset(torch.tensor(WINE_LIKE), torch.zeros(60)), batch_size=7, shuffle=True)

    n = Normalizer.fit(loader, source="the lab")

    np.testing.assert_allclose(n.mean, fitted.mean, rtol=1e-13)
    assert n.provenance.fingerprint == fitted.provenance.fingerprint
    assert n.provenance.rows == 60
    assert n.provenance.source == "the lab"


def test_other_contents_have_another_fingerprint(fitted: Normalizer) -> None:
    other = WINE_LIKE.copy()
    other[7, 2] = np.nextafter(other[7, 2], 9)

    assert Normalizer.fit(other).provenance.fingerprint != fitted.provenance.fingerprint


@pytest.mark.parametrize("split", ["validation", "test", "val", "Test"])
def test_fitting_on_held_out_data_is_refused(split: str) -> None:
    with pytest.raises(LeakageError, match="training"):
        Normalizer.fit(WINE_LIKE, split=split)


def test_a_second_fit_is_refused_also_on_copies(fitted: Normalizer) -> None:
    for n in (fitted, copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        with pytest.raises(LeakageError, match="fitted"):
            n.fit(WINE_LIKE)


def test_it_cannot_be_changed(fitted: Normalizer) -> None:
    with pytest.raises(AttributeError):
        fitted.method = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        fitted.mean[0] = 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "robust scaling"}, "one of standard"),
        ({"of": "labels"}, "of is 'labels'"),
        ({"engine": "hadoop"}, "hadoop"),
        ({"mask": [1]}, "mask has dtype"),
        ({"mask": [True]}, r"mask has shape \(1,\)"),
        ({"split": "all"}, "split='all'"),
        ({"split": 3}, "split=3"),
        ({"source": Path("x.csv")}, "source is a "),
        ({"checkpoint": "kept.json"}, "checkpoint"),
        ({"columns": ["a"]}, "have none"),
        ({"columns": [4]}, "0 to 3"),
        ({"columns": [1, 1]}, "twice"),
        ({"columns": "abcd"}, "list of names"),
        ({"columns": []}, "at least one"),
        ({"axis": 0}, "axis 0"),
    ],
)
def test_arguments_that_it_cannot_take_are_named(options: dict, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Normalizer.fit(WINE_LIKE, **options)


def test_data_that_do_not_fit_are_refused_with_the_difference(fitted: Normalizer) -> None:
    named = Normalizer.fit(Table(WINE_LIKE, ["a", "b", "c", "d"]))

    with pytest.raises(DataError, match="3 columns along axis 1, the normalizer has 4"):
        fitted(WINE_LIKE[:, :3])
    with pytest.raises(DataError, match="3 dimensions"):
        fitted(WINE_LIKE[None])
    with pytest.raises(DataError, match="lacks d and adds e"):
        named(Table(WINE_LIKE, ["a", "b", "c", "e"]))
    with pytest.raises(DataError, match="another order"):
        named(Table(WINE_LIKE, ["b", "a", "c", "d"]))
    with pytest.raises(DataError, match="no rows"):
        Normalizer.fit(np.empty((0, 2)))
    with pytest.raises(DataError, match="column 1 has no finite entry"):
        Normalizer.fit(np.array([[1.0, np.nan], [2.0, np.inf]]))


def test_it_prints_as_a_table_of_eighty_columns() -> None:
    x = RNG.normal(size=(9, 40)) * 1e-7
    x[:, 3], x[2, 5], x[:, 6] = 4.0, np.nan, -np.geomspace(1e-200, 1e200, 9)
    x[1, 7] = np.inf
    text = str(Normalizer.fit(x, columns=[*range(39)], source="s.npy " * 30))

    assert max(map(len, text.splitlines())) <= 80
    assert "20 more" in text
    assert "constant" in text
    assert "left alone" in text
    assert "11.1% missing" in text
    assert "has infinities" in text


def test_wide_and_hostile_names_keep_the_columns_of_the_table_aligned() -> None:
    names = ["身長" * 8, "a\x1b[31m", "x" * 40, "ok"]

    lines = str(Normalizer.fit(WINE_LIKE, columns=names)).splitlines()

    assert "\x1b" not in "".join(lines)
    first = 1 + next(i for i, line in enumerate(lines) if line.startswith("column "))
    assert lines[first].startswith("身長身長身長身長身.")
    assert lines[first + 2].startswith("x" * 19 + ". ")


# Masks and targets


def test_a_mask_leaves_padding_out_of_the_statistics() -> None:
    x, mask = RNG.normal(size=(6, 5, 2)) + 7, RNG.random((6, 5)) < 0.6
    x[~mask] = 1e9

    n = Normalizer.fit(x, mask=mask)

    np.testing.assert_allclose(n.mean, x[mask].mean(axis=0))
    np.testing.assert_allclose(n.std, x[mask].std(axis=0))
    np.testing.assert_array_equal(n.center, Normalizer.fit(torch.tensor(x), mask=torch.tensor(mask)).center)


def test_a_mask_is_for_data_in_memory() -> None:
    with pytest.raises(ArgumentError, match="mask is for one array"):
        Normalizer.fit([WINE_LIKE], mask=np.ones(60, dtype=bool))


def test_the_targets_of_pairs_loaders_and_dicts_can_be_normalised() -> None:
    y = RNG.normal(size=60) * 3 + 50
    loader = DataLoader(TensorDataset(torch.tensor(WINE_LIKE), torch.tensor(y)), batch_size=8, shuffle=True)
    dicts = [{"inputs": WINE_LIKE[i : i + 9], "labels": y[i : i + 9]} for i in range(0, 60, 9)]
    state = torch.get_rng_state()

    found = [Normalizer.fit(train, of="targets") for train in ((WINE_LIKE, y), loader, dicts)]

    for n in found:
        np.testing.assert_allclose([n.mean[0], n.std[0]], [y.mean(), y.std()])
        assert n.provenance.fingerprint == found[0].provenance.fingerprint
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (WINE_LIKE, "needs pairs"),
        ([WINE_LIKE], "has no targets"),
        ((WINE_LIKE, None), "has no targets"),
        ({"inputs": WINE_LIKE}, "expected the targets under"),
        ((WINE_LIKE, [WINE_LIKE, WINE_LIKE]), "2 targets"),
        ([(np.ones(4), np.ones(3))], "shape .4,. and targets of shape .3,.: .*DataLoader"),
        ("train.csv", "needs pairs"),
    ],
)
def test_targets_that_are_not_there_are_told(train, words: str) -> None:
    with pytest.raises((ArgumentError, DataError), match=words):
        Normalizer.fit(train, of="targets")


# Held-out data that say so themselves


class Declared(Dataset):
    def __init__(self, **attributes) -> None:
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.tensor([float(i), float(i * i)])


class Vision(Declared):
    """torchvision's own datasets say train=False of their test split."""

    __module__ = "torchvision.datasets.mnist"


@pytest.mark.parametrize(
    "held_out",
    [
        Declared(split="test"),
        Declared(split="Validation"),
        Declared(split="train[:80%]+test"),
        Declared(split="test[:10%]"),
        Vision(train=False),
    ],
    ids=lambda d: str(d.__dict__),
)
def test_a_dataset_that_says_it_is_held_out_is_refused_however_it_is_wrapped(held_out: Declared) -> None:
    subset = Subset(held_out, [0, 1, 2])
    for data in (DataLoader(held_out), DataLoader(subset), [DataLoader(subset)], (subset, None)):
        with pytest.raises(LeakageError, match="say split='train' if"):
            Normalizer.fit(data)

    assert Normalizer.fit(DataLoader(held_out, batch_size=4), split="train").provenance.rows == 8


@pytest.mark.parametrize(
    "training",
    [
        Declared(split="train"),
        Declared(split="train[:80%]"),
        Declared(split=3),
        Declared(split=lambda: "test"),
        Declared(train=True),
        Vision(train=True),
        Declared(),
    ],
    ids=lambda d: "-".join(sorted(d.__dict__)) or "nothing",
)
def test_other_datasets_are_fitted_without_a_remark(training: Declared) -> None:
    assert Normalizer.fit(DataLoader(training, batch_size=4)).remarks == ()


def test_a_switch_that_may_mean_something_else_is_only_remarked_upon() -> None:
    n = Normalizer.fit(DataLoader(Declared(train=False), batch_size=4))

    assert "train=False" in str(n)


@pytest.mark.parametrize(
    ("place", "doubtful"),
    [
        ("test.npy", True),
        ("x_val.npy", True),
        ("test/part.npy", True),
        ("train.npy", False),
        ("train_test.npy", False),
        ("contest.npy", False),
        ("latest.npy", False),
        ("tests/part.npy", False),
    ],
)
def test_a_file_that_is_named_like_held_out_data_is_remarked_upon(
    tmp_path: Path, place: str, doubtful: bool
) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    np.save(tmp_path / place, WINE_LIKE)

    n = Normalizer.fit(tmp_path / place)

    assert bool(n.remarks) == doubtful
    assert n.provenance.source == str(tmp_path / place)


# Tables


def frame() -> dict:
    return {
        "id": np.arange(60),
        "name": ["x"] * 60,
        "height": WINE_LIKE[:, 1],
        "grade": RNG.integers(0, 5, 60),
        "price": (WINE_LIKE[:, 3] * 1000).astype(np.int64),
        "weight": WINE_LIKE[:, 0].astype(np.float32),
        "member": WINE_LIKE[:, 0] > 0,
    }


FRAME = frame()
TABLES = {
    "pandas": lambda held: pd.DataFrame(held),
    "polars": lambda held: pl.DataFrame(held),
    "pyarrow": lambda held: pa.table({k: pa.array(v) for k, v in held.items()}),
    "record batch": lambda held: pa.RecordBatch.from_pydict({k: pa.array(v) for k, v in held.items()}),
}


def as_dict(table) -> dict:
    names = table.schema.names if hasattr(table, "to_pydict") else table.columns
    return {
        name: table[name].to_pylist() if hasattr(table, "to_pydict") else [*table[name]] for name in names
    }


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_given_back_with_its_other_columns_as_they_were(kind: str) -> None:
    table = TABLES[kind](FRAME)
    before = as_dict(table)
    n = Normalizer.fit(table)

    z = n(table)

    assert type(z) is type(table)
    assert n.names == ("id", "height", "grade", "price", "weight")
    assert n.selected.tolist() == [False, True, False, True, True]
    found = as_dict(z)
    assert [*found] == [*before]
    for name in ("id", "name", "grade", "member"):
        assert found[name] == before[name]
    for name in ("height", "price", "weight"):
        column = np.asarray(FRAME[name], dtype=np.float64)
        np.testing.assert_allclose(found[name], (column - column.mean()) / column.std(), rtol=1e-5, atol=1e-6)
    assert as_dict(table) == before
    np.testing.assert_allclose(as_dict(n.inverse(z))["height"], FRAME["height"])


@pytest.mark.parametrize("kind", TABLES)
def test_what_was_left_alone_is_named_with_the_reason(kind: str) -> None:
    n = Normalizer.fit(TABLES[kind](FRAME))

    assert [*n.left_alone] == ["name", "member", "id", "grade"]
    assert n.left_alone["id"] == "a row number, 0 to 59"
    assert n.left_alone["grade"].startswith("integers from 0 to ")
    text = str(n)
    assert max(map(len, text.splitlines())) <= 80
    assert "id (a row number, 0 to 59)" in text


def test_codes_are_normalised_when_they_are_named() -> None:
    n = Normalizer.fit(pd.DataFrame(FRAME), columns=["grade", "height"])

    assert n.selected.tolist() == [False, True, True, False, False]
    assert n.left_alone["price"] == "not chosen"


def test_an_array_of_all_its_columns_fits_what_was_fitted_on_a_table() -> None:
    table = pd.DataFrame(WINE_LIKE, columns=["a", "b", "c", "d"])

    for n in (Normalizer.fit(table), Normalizer.fit(table, columns=["b"]), Normalizer.fit((table, None))):
        np.testing.assert_array_equal(n(WINE_LIKE), n(table).to_numpy())


def test_arrays_without_names_have_no_codes() -> None:
    assert Normalizer.fit(np.arange(20).reshape(10, 2)).selected.all()


@pytest.mark.parametrize(
    ("make", "nulls"),
    [
        (lambda: pd.DataFrame({"a": pd.array([1, None, 30], dtype="Int64")}), True),
        (lambda: pd.DataFrame({"a": pd.array([1.0, None, 30.0], dtype="Float64")}), True),
        (lambda: pd.DataFrame({"a": pd.array([1.0, None, 30.0], dtype="double[pyarrow]")}), True),
        (lambda: pd.DataFrame({"a": [1.0, np.nan, 30.0]}), False),
        (lambda: pl.DataFrame({"a": [1, None, 30]}), True),
        (lambda: pl.DataFrame({"a": [1.0, None, 30.0]}), True),
        (lambda: pa.table({"a": pa.array([1, None, 30])}), True),
        (lambda: pa.table({"a": pa.array([1.0, None, 30.0])}), True),
    ],
)
def test_nulls_are_left_out_of_the_fit_and_stay_null(make, nulls: bool) -> None:
    table = make()
    n = Normalizer.fit(table)

    z = n(table)

    assert (n.count.tolist(), n.missing.tolist()) == ([2], [1])
    assert n.mean.tolist() == [15.5]
    values = as_dict(z)["a"]
    assert [values[0], values[2]] == [-1.0, 1.0]
    assert (values[1] is None or values[1] is pd.NA) if nulls else np.isnan(values[1])


def test_python_numbers_in_a_column_of_objects_are_numbers() -> None:
    table = pd.DataFrame({"a": pd.Series([1, 2.5, None, 40], dtype=object)})
    n = Normalizer.fit(table)

    np.testing.assert_allclose(n(table)["a"], (np.array([1, 2.5, np.nan, 40]) - 14.5) / n.std)


def test_index_labels_and_metadata_of_a_table_are_kept() -> None:
    table = pd.DataFrame({7: [1.0, 3.0], 8: ["x", "y"]}, index=["r", "s"])
    arrow = pa.table({"a": [1.0, 3.0]}, metadata={"made": "by hand"})

    z = Normalizer.fit(table)(table)

    assert [*z.index] == ["r", "s"]
    assert [*z.columns] == [7, 8]
    assert Normalizer.fit(arrow)(arrow).schema.metadata == {b"made": b"by hand"}


def test_a_table_with_nulls_is_whitened_over_its_complete_rows() -> None:
    held = {"a": [*WINE_LIKE[:, 0]], "b": [*WINE_LIKE[:, 1]], "c": [1.0, *[None] * 59]}
    held["a"][3] = None
    for table in (pl.DataFrame(held), pa.table(held)):
        n = Normalizer.fit(table, method="whiten", columns=["a", "b"])

        assert "59 rows of 60" in str(n)
        z = n(table)
        assert type(z) is type(table)
        assert as_dict(z)["c"] == held["c"]


def test_a_whitened_table_keeps_its_other_columns_and_mixes_the_rest() -> None:
    table = pl.DataFrame(FRAME)
    n = Normalizer.fit(table, method="zca")

    z = n(table)

    assert z["id"].to_list() == table["id"].to_list()
    mixed = z.select("height", "price", "weight").to_numpy()
    np.testing.assert_allclose(np.cov(mixed.T, bias=True), np.eye(3), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="height"), "lacks height"),
        (lambda t: t.rename(columns={"height": "size"}), "lacks height and adds size"),
        (lambda t: t.assign(extra=1.0), "adds extra"),
        (lambda t: t[["id", "name", "price", "grade", "height", "weight", "member"]], "another order"),
        (lambda t: t.assign(height="tall"), "column height holds str"),
        (lambda t: t.assign(height=1j), "column height holds complex"),
        (lambda t: t.assign(height=pd.Timestamp(0)), "column height holds datetime"),
        (lambda t: t.assign(height=pd.Series([[1]] * 60)), r"column height holds objects such as '\[1\]'"),
        (lambda t: t.set_axis([*t.columns[:-1], "height"], axis=1), "names height twice"),
    ],
)
def test_another_table_is_refused_with_the_difference(change, words: str) -> None:
    table = pd.DataFrame(FRAME)
    n = Normalizer.fit(table)

    with pytest.raises(DataError, match=words):
        n(change(table))


def test_columns_that_are_not_normalised_may_be_absent_from_a_table() -> None:
    table = pd.DataFrame(FRAME)
    n = Normalizer.fit(table)

    z = n(table.drop(columns=["name", "grade"]))

    np.testing.assert_array_equal(z["height"], n(table)["height"])


@pytest.mark.parametrize(
    "x", [WINE_LIKE * 1j, WINE_LIKE.astype(str), np.zeros((3, 4), dtype="M8[s]"), [["a"] * 4]]
)
def test_what_is_not_real_numbers_is_refused(fitted: Normalizer, x) -> None:
    with pytest.raises(DataError, match=r"real numbers|no array of numbers"):
        fitted(x)


def test_a_lazy_frame_is_sent_to_the_expressions() -> None:
    n = Normalizer.fit(pl.DataFrame({"a": [1.0, 40.0]}))

    with pytest.raises(DataError, match=r"to_polars\(\)"):
        n(pl.LazyFrame({"a": [1.0]}))


def test_a_text_column_that_is_named_is_refused_with_the_reason() -> None:
    with pytest.raises(ArgumentError, match="'name', which holds no numbers"):
        Normalizer.fit(pd.DataFrame(FRAME), columns=["name"])


def test_a_table_of_codes_alone_has_nothing_to_normalise() -> None:
    with pytest.raises(DataError, match="codes"):
        Normalizer.fit(pd.DataFrame({"a": [1, 2, 3], "b": [0, 1, 1]}))


# Files


def test_a_file_of_named_columns_reads_only_those(tmp_path: Path) -> None:
    table = pl.DataFrame(FRAME)
    table.write_parquet(tmp_path / "rows.parquet")

    n = Normalizer.fit(tmp_path / "rows.parquet", columns=["height", "price"])

    assert n.names == ("height", "price")
    assert n.left_alone["weight"] == "not chosen"
    whole = Normalizer.fit(table, columns=["height", "price"])
    assert n(table).equals(whole(table))


def test_progress_is_told_as_batches_are_read() -> None:
    told = []

    Normalizer.fit([WINE_LIKE[:20], WINE_LIKE[20:]], progress=lambda *now: told.append(now))

    assert told == [(20 * 32, None, 20), (60 * 32, None, 60)]


def test_a_mask_or_a_checkpoint_where_there_is_none_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", WINE_LIKE)

    with pytest.raises(ArgumentError, match="mask is for one array"):
        Normalizer.fit(tmp_path / "x.npy", mask=np.ones(60, dtype=bool))
    with pytest.raises(ArgumentError, match="checkpoint is for data that are read from files"):
        Normalizer.fit(WINE_LIKE, checkpoint=tmp_path / "c.json")
    with pytest.raises(ArgumentError, match="these data are in memory"):
        Normalizer.fit(pl.DataFrame({"a": [1.0, 40.0]}), checkpoint=tmp_path / "c.json")


def test_integers_that_float64_blurs_are_remarked() -> None:
    spread, close = 2**60 + 10**6 * np.arange(1000), 2**60 + 3 * np.arange(1000)

    n = Normalizer.fit(np.column_stack([spread, close]))

    assert n.remarks == ("integers too large for float64, which blurs them by over 1% of a std: 1",)


def test_a_subclass_of_a_users_own_changes_no_other_instance() -> None:
    class Mine(Normalizer):
        pass

    class MyMoments(Moments):
        pass

    assert type(Normalizer.fit(np.ones((3, 2)))) is Normalizer
    assert type(Moments.of(np.ones((3, 2)))) is Moments
