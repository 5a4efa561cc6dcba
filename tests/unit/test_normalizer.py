"""The normalizer: fitted on training data alone, applied unchanged, saved exactly."""

from __future__ import annotations

import copy
import json
import pickle
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from wellposed.errors import ArgumentError, ArtifactError, DataError, LeakageError
from wellposed.normalize import Normalizer, sources

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

    np.testing.assert_allclose(x.grad, np.broadcast_to(1 / fitted.std, x.shape))


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
    swapped = WINE_LIKE.copy()
    swapped[:2, 0] = swapped[1::-1, 0]

    assert Normalizer.fit(swapped).provenance.fingerprint != fitted.provenance.fingerprint


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
        ({"method": "robust"}, "'standard'"),
        ({"engine": "dask"}, "engine"),
        ({"mask": [1]}, "mask"),
        ({"split": "all"}, "split='all'"),
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


def test_saving_and_loading_changes_no_bit(fitted: Normalizer, tmp_path) -> None:
    images = RNG.random((6, 3, 4, 4))
    for n, x in (
        (fitted, WINE_LIKE),
        (Normalizer.fit(images, axis=(1, 2)), images),
        (Normalizer.fit(x1 := RNG.random(9)), x1),
    ):
        n.save(tmp_path / "norm.json")
        back = Normalizer.load(tmp_path / "norm.json")

        np.testing.assert_array_equal(back(x), n(x))
        assert back.provenance == n.provenance
        assert str(back) == str(n)
    assert [p.name for p in tmp_path.iterdir()] == ["norm.json"]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    fitted: Normalizer, tmp_path, monkeypatch
) -> None:
    path = tmp_path / "norm.json"
    fitted.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))

    with pytest.raises(OSError, match="disk full"):
        fitted.save(path)

    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["norm.json"]


def _edited(**changes):
    return lambda held: {**held, **changes}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_edited(schema=2), "schema 2"),
        (_edited(format="pickle"), "format"),
        (_edited(surprise=1), "unknown surprise"),
        (_edited(method="robust"), "method 'robust'"),
        (_edited(std=[1, -1, 1, 1]), "std holds -1"),
        (_edited(std=[1, 0, 1, 1]), "std holds 0"),
        (_edited(std=[1, 1, 1]), "3 entries, expected 4"),
        (_edited(mean=[1e9, 0, 0, 0]), "outside"),
        (_edited(mean=["0", 0, 0, 0]), "finite numbers"),
        (_edited(mean=[True, 0, 0, 0]), "finite numbers"),
        (_edited(mean=[10**400, 0, 0, 0]), "finite numbers"),
        (_edited(mean=None), "NoneType"),
        (_edited(missing=[-1, 0, 0, 0]), "missing"),
        (_edited(constant=[0, 1, 0, 0]), "true or false"),
        (_edited(shape=[2, 2]), "shape"),
        (_edited(shape=[10**12]), "expected 1000000000000"),
        (_edited(axis=[5]), "axis"),
        (_edited(ndim=0), "ndim"),
        (_edited(names=["a"]), "names"),
        (_edited(provenance={}), "provenance lacks"),
        (lambda held: {k: v for k, v in held.items() if k != "std"}, "lacks std"),
        (lambda held: [held], "not a saved normalizer"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(fitted: Normalizer, tmp_path, edit, words: str) -> None:
    path = tmp_path / "norm.json"
    fitted.save(path)
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))

    with pytest.raises(ArtifactError, match=words):
        Normalizer.load(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"ndim": 2', '"ndim": NaN'),
        lambda text: text.replace('"ndim": 2', '"ndim": 2, "ndim": 2'),
        lambda text: re.sub(r'("mean": \[\s*)[^,]+', r"\g<1>1e999", text),
        lambda text: "[" * 100_000,
        lambda text: "\x00\x01",
    ],
    ids=["truncated", "empty", "nan", "twice", "overflow", "deep", "binary"],
)
def test_a_damaged_file_is_refused(fitted: Normalizer, tmp_path, spoil) -> None:
    path = tmp_path / "norm.json"
    fitted.save(path)
    path.write_text(spoil(path.read_text()))

    with pytest.raises(ArtifactError, match=r"norm\.json"):
        Normalizer.load(path)


def test_a_huge_file_a_folder_and_no_file_are_refused(tmp_path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(1 << 40)

    for name in ("huge.json", ".", "absent.json"):
        with pytest.raises(ArtifactError):
            Normalizer.load(tmp_path / name)


def test_the_module_gives_the_same_and_survives_half_precision(fitted: Normalizer) -> None:
    module = fitted.to_torch()
    x = torch.tensor(WINE_LIKE)

    assert torch.equal(module(x), fitted(x))
    assert torch.equal(copy.deepcopy(module).half()(x), fitted(x))
    assert set(module.state_dict()) == {"mean", "scale"}
    fresh = Normalizer.fit(WINE_LIKE * 2).to_torch()
    fresh.load_state_dict(module.state_dict())
    assert torch.equal(fresh(x), fitted(x))


def test_the_module_broadcasts_over_channels_and_one_column() -> None:
    images, column = RNG.random((6, 3, 4, 5)), RNG.random(30)

    for x in (images, column):
        n = Normalizer.fit(x)
        np.testing.assert_array_equal(n.to_torch()(torch.tensor(x)).numpy(), n(x))


@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_layer_takes_raw_inputs(fitted: Normalizer, bias: bool) -> None:
    layer = nn.Linear(4, 3, bias=bias, dtype=torch.float64)
    before, state = copy.deepcopy(layer.state_dict()), torch.get_rng_state()
    x = torch.tensor(WINE_LIKE)

    folded = fitted.fold_into(layer)

    torch.testing.assert_close(folded(x), layer(fitted(x)), rtol=1e-10, atol=1e-10)
    assert folded is not layer
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_folded_model_is_a_copy_that_takes_raw_inputs(fitted: Normalizer) -> None:
    model = nn.Sequential(
        nn.Identity(), nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), nn.ReLU(), nn.Linear(8, 2)
    ).double()
    model[1][0].weight.requires_grad_(False)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    x = torch.tensor(WINE_LIKE)

    folded = fitted.fold_into(model)

    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not folded[1][0].weight.requires_grad
    torch.testing.assert_close(folded.eval()(x), model.eval()(fitted(x)), rtol=1e-9, atol=1e-9)


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.first(x)


class Backwards(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), "zero-padded"),
        (nn.Sequential(nn.Linear(5, 3)), "5 features, the normalizer has 4"),
        (nn.Sequential(nn.Dropout(), nn.Linear(4, 3)), "train mode"),
        (nn.Sequential(nn.ReLU(), nn.Linear(4, 3)), "changes the model's outputs"),
        (nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)), "LayerNorm"),
        (Skip(), "something else sees the inputs"),
        (Backwards(), "changes the model's outputs"),
        (nn.ReLU(), "no layer with weights"),
        (nn.Linear(4, 3).half().requires_grad_(False), "blur"),
        (np.ones(3), "torch.nn.Module"),
    ],
)
def test_what_does_not_fold_exactly_is_refused_with_the_reason(fitted: Normalizer, model, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        fitted.fold_into(model)


def test_it_prints_as_a_table_of_eighty_columns() -> None:
    x = RNG.normal(size=(9, 40)) * 1e-7
    x[:, 3], x[2, 5] = 4.0, np.nan
    text = str(Normalizer.fit(x, columns=[*range(39)], source="s.npy"))

    assert max(map(len, text.splitlines())) <= 80
    assert "20 more" in text
    assert "const" in text
    assert "as is" in text


CSV = 'name,height,score\nann,1.5,10\nbob,NA,20\n"c, d",2.5,60\n'


def test_a_csv_is_fitted_and_applied_by_name_and_text_stays_as_it_was(tmp_path) -> None:
    (tmp_path / "train.csv").write_text(CSV)
    (tmp_path / "test.csv").write_text("score,extra,height\n30,x,\n")

    n, left = sources.fit_file(tmp_path / "train.csv")
    sources.apply(tmp_path / "train.csv", n, tmp_path / "out.csv")
    passed = sources.apply(tmp_path / "test.csv", n, tmp_path / "out2.csv")

    assert left == ("name",)
    assert n.names == ("height", "score")
    table = sources.read(tmp_path / "out.csv")
    np.testing.assert_allclose(table.values[:, 0], [-1, np.nan, 1])
    assert '"c, d"' in (tmp_path / "out.csv").read_text()
    assert "bob,NA" in (tmp_path / "out.csv").read_text()
    assert (tmp_path / "out2.csv").read_text() == "score,extra,height\n0.0,x,\n"
    assert passed == ("extra",)


def test_a_csv_column_that_was_not_selected_may_be_absent(tmp_path) -> None:
    (tmp_path / "train.csv").write_text("x,label\n1,0\n3,1\n")
    (tmp_path / "new.csv").write_text("x\n5\n")
    n, _ = sources.fit_file(tmp_path / "train.csv", columns=["x"])

    sources.apply(tmp_path / "new.csv", n, tmp_path / "out.csv")

    assert (tmp_path / "out.csv").read_text() == "x\n3.0\n"


def test_npy_and_npz_come_back_as_the_same_kind(tmp_path) -> None:
    x = WINE_LIKE.astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(60))
    n, left = sources.fit_file(tmp_path / "d.npz")
    some, _ = sources.fit_file(tmp_path / "x.npy", columns=["0", "2"])

    sources.apply(tmp_path / "x.npy", n, tmp_path / "z.npy")
    sources.apply(tmp_path / "d.npz", n, tmp_path / "z.npz")

    assert left == ("y",)
    assert some.selected.tolist() == [True, False, True, False]
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), n(x))
    with np.load(tmp_path / "z.npz") as out:
        np.testing.assert_array_equal(out["x"], n(x))
        np.testing.assert_array_equal(out["y"], np.arange(60))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "a,b\n", "no rows"),
        ("a.csv", "1,2\n3,4\n", "first line holds numbers"),
        ("a.csv", "a,b\n1,2\n3\n", "line 3: 1 entries"),
        ("a.csv", "a,a\n1,2\n", "twice"),
        ("a.csv", "a\nx\n", "no column holds numbers"),
        ("a.npy", "not numpy", "a.npy"),
        ("a.npz", "not numpy", "a.npz"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    tmp_path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(DataError, match=words):
        sources.read(tmp_path / name)


def test_a_truncated_or_pickled_array_is_refused(tmp_path) -> None:
    np.save(tmp_path / "x.npy", WINE_LIKE)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:200])
    np.save(tmp_path / "object.npy", np.array([object()]), allow_pickle=True)

    for name in ("cut.npy", "object.npy", "absent.npy"):
        with pytest.raises(DataError, match=name):
            sources.read(tmp_path / name)


def test_a_csv_without_a_column_of_the_normalizer_is_refused_and_nothing_is_written(tmp_path) -> None:
    (tmp_path / "train.csv").write_text(CSV)
    (tmp_path / "test.csv").write_text("height\n1\n")
    n, _ = sources.fit_file(tmp_path / "train.csv")

    with pytest.raises(DataError, match="lacks score"):
        sources.apply(tmp_path / "test.csv", n, tmp_path / "out.csv")
    with pytest.raises(ArgumentError, match=r"\.csv file"):
        sources.apply(tmp_path / "train.csv", n, tmp_path / "out.npy")

    assert sorted(p.name for p in tmp_path.iterdir()) == ["test.csv", "train.csv"]
