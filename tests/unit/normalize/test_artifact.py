"""The saved form: exact, whole or not at all, and believed only after every field is checked."""

from __future__ import annotations

import json
import os
import re
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wellposed.errors import ArtifactError
from wellposed.normalize import Normalizer, saved
from wellposed.normalize.methods import OPTIONS

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(60, 4)) @ RNG.normal(size=(4, 4)) * [1, 1000, 1e-3, 5] + [0, 3000, 1, -7]


@pytest.fixture
def fitted() -> Normalizer:
    return Normalizer.fit(ROWS)


@pytest.fixture
def path(fitted: Normalizer, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "norm.json")
    return tmp_path / "norm.json"


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel then refuses to write more, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


IMAGES = RNG.random((6, 3, 4, 4))
SAVED = {
    "standard": lambda: (Normalizer.fit(ROWS), ROWS),
    "minmax": lambda: (Normalizer.fit(ROWS, method="minmax"), ROWS),
    "maxabs": lambda: (Normalizer.fit(ROWS, method="maxabs"), ROWS),
    "robust": lambda: (Normalizer.fit(ROWS, method="robust"), ROWS),
    "whiten": lambda: (Normalizer.fit(ROWS, method="whiten"), ROWS),
    "zca": lambda: (Normalizer.fit(ROWS, method="zca"), ROWS),
    "two axes": lambda: (Normalizer.fit(IMAGES, axis=(1, 2)), IMAGES),
    "whitened channels": lambda: (Normalizer.fit(IMAGES, method="whiten"), IMAGES),
    "clipped": lambda: (Normalizer.fit(ROWS, clip=(-1, 0.5)), ROWS),
    "a range": lambda: (Normalizer.fit(ROWS, method="minmax", feature_range=(-1, 3), clip=True), ROWS),
    "quantiles": lambda: (Normalizer.fit(ROWS, method="robust", quantile_range=(60, 95)), ROWS),
    "not centred": lambda: (Normalizer.fit(ROWS, with_centering=False), ROWS),
    "not divided": lambda: (Normalizer.fit(ROWS, method="robust", with_scaling=False), ROWS),
    "one number": lambda: (Normalizer.fit(ROWS[:, 0]), ROWS[:, 0]),
    "names": lambda: (Normalizer.fit(ROWS, columns=["a", "b\x1b[2J", "ü", "\ud800"]), ROWS),
    "some columns": lambda: (Normalizer.fit(ROWS, columns=[1, 3], source="the lab"), ROWS),
}


@pytest.mark.parametrize("case", SAVED)
def test_saving_and_loading_changes_no_bit(case: str, tmp_path: Path) -> None:
    n, x = SAVED[case]()
    n.save(tmp_path / "norm.json")

    back = Normalizer.load(tmp_path / "norm.json")

    np.testing.assert_array_equal(back(x), n(x))
    np.testing.assert_array_equal(back.inverse(back(x)), n.inverse(n(x)))
    assert back.provenance == n.provenance
    assert str(back) == str(n)
    for name in (*saved.COUNTS, *saved.NUMBERS, *saved.FLAGS):
        np.testing.assert_array_equal(getattr(back, name), getattr(n, name))
    assert [p.name for p in tmp_path.iterdir()] == ["norm.json"]


def test_extreme_numbers_come_back_to_the_last_bit(tmp_path: Path) -> None:
    x = np.array([[1e200, 5e-324, 0.1], [-1e200, 1e-310, 0.3], [3e199, 0.0, 0.1 + 0.2]])
    n = Normalizer.fit(x)
    n.save(tmp_path / "norm.json")

    back = Normalizer.load(tmp_path / "norm.json")

    assert back.center.tobytes() == n.center.tobytes()
    assert back.scale.tobytes() == n.scale.tobytes()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    fitted: Normalizer, path: Path, monkeypatch
) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(
        "os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )

    with pytest.raises(ArtifactError, match=r"norm\.json: cannot be written \(No space left on device\)"):
        fitted.save(path)

    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["norm.json"]


def test_a_disk_that_takes_no_more_is_told_and_leaves_the_old_file(fitted: Normalizer, path: Path) -> None:
    before = path.read_bytes()

    with files_of_at_most(100), pytest.raises(ArtifactError, match="File too large"):
        fitted.save(path)

    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["norm.json"]


def test_a_folder_that_is_absent_or_a_target_that_is_a_folder_is_told(
    fitted: Normalizer, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()

    with pytest.raises(ArtifactError, match="no such folder"):
        fitted.save(tmp_path / "absent" / "norm.json")
    with pytest.raises(ArtifactError, match="cannot be written"):
        fitted.save(tmp_path / "taken")

    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_a_new_file_gets_the_mode_of_any_and_an_old_one_keeps_its_own(
    fitted: Normalizer, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("os.umask", lambda mask: pytest.fail("the mask of all threads was changed"))
    (tmp_path / "any").touch()
    fitted.save(tmp_path / "own")
    (tmp_path / "own").chmod(0o646)

    for name in ("new", "own"):
        fitted.save(tmp_path / name)

    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"any": modes["any"], "new": modes["any"], "own": 0o646}


def test_through_a_link_the_file_that_it_leads_to_is_written(fitted: Normalizer, tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    link, target = tmp_path / "here" / "norm.json", tmp_path / "there" / "v1.json"
    link.symlink_to(target)

    for _ in range(2):  # it is not there yet, and then it is
        fitted.save(link)
        assert link.is_symlink()
        assert Normalizer.load(target).provenance == fitted.provenance
    assert [p.name for p in target.parent.iterdir()] == ["v1.json"]


def test_what_is_no_regular_file_is_not_replaced(fitted: Normalizer, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ArtifactError, match="not a regular file"):
        fitted.save(tmp_path / "pipe")

    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder_is_told(fitted: Normalizer, tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(ArtifactError, match="Permission denied"):
            fitted.save(tmp_path / "norm.json")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def _edited(**changes):
    return lambda held: {**held, **changes}


DEEP = json.loads("[" * 200 + "]" * 200)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_edited(schema=4), "schema 4, this version reads 1, 2, 3"),
        (_edited(schema=True), "schema True"),
        (_edited(schema=2.0), "schema 2.0"),
        (_edited(schema=2), "unknown clip"),
        (_edited(schema=1), "unknown center"),
        (_edited(format="pickle"), "format"),
        (_edited(surprise=1), "unknown surprise"),
        (_edited(clip=True), "clip holds True, expected two numbers or null"),
        (_edited(clip=[1.0, 0.0]), "clip is .1, 0.: expected"),
        (_edited(clip=[]), "clip is a list"),
        (_edited(clip=[0.0, "1"]), r"clip\[1\] is '1'"),
        (_edited(feature_range=[0.0, 1.0]), "feature_range is for method='minmax'"),
        (_edited(quantile_range=[0.0, 1.0]), "quantile_range is for method='robust'"),
        (_edited(with_centering=0), "with_centering is 0: expected True or False"),
        (_edited(with_centering=False), "center holds numbers, and with_centering is false"),
        (_edited(with_scaling=False), "scale holds numbers, and with_scaling is false"),
        (_edited(**{"\x1b[2Jsurprise": 1}), r"unknown \\x1b\[2Jsurprise"),
        (_edited(method="fancy"), "method 'fancy'"),
        (_edited(method="robust"), "needs quartiles"),
        (_edited(method="zca"), "needs rotation"),
        (_edited(rotation=[1.0] * 16), "has no rotation"),
        (_edited(std=[1, -1, 1, 1]), "std holds -1"),
        (_edited(std=[1, 0, 1, 1]), "std holds 0"),
        (_edited(std=[1, 1, 1]), "3 entries, expected 4"),
        (_edited(mean=[1e9, 0, 0, 0]), "outside"),
        (_edited(mean=["0", 0, 0, 0]), "finite numbers"),
        (_edited(mean=[True, 0, 0, 0]), "finite numbers"),
        (_edited(mean=[10**400, 0, 0, 0]), "a huge number"),
        (_edited(mean=DEEP), "1 entries, expected 4"),
        (_edited(mean=None), "NoneType"),
        (_edited(scale=[0, 1, 1, 1]), "scale holds 0"),
        (_edited(scale=[-1, 1, 1, 1]), "scale holds -1"),
        (_edited(selected=[False] * 4), "not selected has a center"),
        (_edited(missing=[-1, 0, 0, 0]), "missing"),
        (_edited(count=[1.5, 0, 0, 0]), "count holds 1.5"),
        (_edited(constant=[0, 1, 0, 0]), "true or false"),
        (_edited(shape=[2, 2]), "shape"),
        (_edited(shape=[10**12]), "expected 1000000000000"),
        (_edited(axis=[5]), "axis"),
        (_edited(axis=[[1]]), "axis holds"),
        (_edited(ndim=0), "ndim"),
        (_edited(names=["a"]), "names"),
        (_edited(names=["a", "b", "c", 4]), "other than text"),
        (_edited(names=["a", "b", "c", "a"]), "a name twice"),
        (_edited(names=["../../x", "b", "c", "d"]), "digest"),
        (_edited(left_alone={"a": 1}), "left_alone"),
        (_edited(left_alone=["a"]), "left_alone"),
        (_edited(remarks="abc"), "remarks is a str"),
        (_edited(rank_error=-1), "rank_error"),
        (_edited(provenance={}), "provenance lacks"),
        (_edited(provenance=[]), "provenance is a list"),
        (_edited(digest=None), "digest"),
        (_edited(center=[0, 0, 0, 0]), "digest"),
        (lambda held: {k: v for k, v in held.items() if k != "std"}, "lacks std"),
        (lambda held: [held], "not a saved normalizer"),
        (lambda held: None, "not a saved normalizer"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(path: Path, edit, words: str) -> None:
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))

    with pytest.raises(ArtifactError, match=words):
        Normalizer.load(path)


@pytest.mark.parametrize(
    ("method", "edit", "words"),
    [
        ("zca", _edited(rotation=[[1.0] * 4] * 4), "rotation has 4 entries, expected 16"),
        ("zca", _edited(rotation=None), "needs rotation"),
        ("zca", _edited(rotation=[2.0] * 16, constant=[True, False, False, False]), "rotation mixes"),
        ("zca", _edited(axis=[]), "does not fit"),
        ("robust", _edited(quartiles=[3.0] * 4 + [2.0] * 8), "out of order"),
        ("robust", _edited(quartiles=[3.0] * 4), "expected 12"),
        ("robust", _edited(quantile_range=[-1, 101]), "two percentages from 0 to 100"),
        ("whiten", _edited(with_scaling=False), "the method is 'whiten'"),
        ("minmax", _edited(method="standard", feature_range=None), "digest"),
    ],
)
def test_what_a_method_adds_is_checked_too(tmp_path: Path, method: str, edit, words: str) -> None:
    path = tmp_path / "norm.json"
    Normalizer.fit(ROWS, method=method).save(path)
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))

    with pytest.raises(ArtifactError, match=words):
        Normalizer.load(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('"ndim": 2', '"ndim": NaN'),
        lambda text: text.replace('"ndim": 2', '"ndim": Infinity'),
        lambda text: text.replace('"ndim": 2', '"ndim": 2, "ndim": 2'),
        lambda text: text.replace('"rows": 60', '"rows": 60, "rows": 60'),
        lambda text: re.sub(r'("mean": \[)[^,]+', r"\g<1>1e400", text),
        lambda text: re.sub(r'("mean": \[)[^,]+', r"\g<1>-1e400", text),
        lambda text: re.sub(r'("mean": \[)[^,]+', r"\g<1>" + "9" * 5000, text),
        lambda text: re.sub(r'("mean": \[)[^,]+', r'\g<1>"NaN"', text),
        lambda text: "[" * 100_000,
        lambda text: '{"a":' * 100_000,
        lambda text: text + text,
        lambda text: text + "x",
        lambda text: "\x00\x01",
        lambda text: "cos\nsystem\n(S'true'\ntR.",
    ],
    ids=[
        "nan", "infinity", "twice", "twice inside", "overflow", "negative overflow", "5000 digits", "text",
        "deep list", "deep object", "doubled", "tail", "binary", "pickle",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(path: Path, spoil) -> None:
    path.write_text(spoil(path.read_text()))

    with pytest.raises(ArtifactError, match=r"norm\.json"):
        Normalizer.load(path)


def test_a_file_cut_at_any_byte_is_refused_or_whole(path: Path, fitted: Normalizer) -> None:
    content = path.read_bytes()

    for length in range(len(content) - len(b"\n}\n") + 1):
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=r"norm\.json"):
            Normalizer.load(path)


def test_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"standard"', b'"\xff\xfe"'))

    with pytest.raises(ArtifactError, match="cannot be read as text"):
        Normalizer.load(path)


def test_a_huge_file_a_folder_and_no_file_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(1 << 40)

    for name, words in (("huge.json", "expected at most"), (".", "folder"), ("absent.json", "no such file")):
        with pytest.raises(ArtifactError, match=words):
            Normalizer.load(tmp_path / name)


def test_a_normalizer_too_large_to_be_read_back_is_not_written(
    fitted: Normalizer, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(saved, "MAX_BYTES", 100)

    with pytest.raises(ArtifactError, match="at most 100"):
        fitted.save(tmp_path / "norm.json")

    assert not list(tmp_path.iterdir())


FIRST_SCHEMA = {
    "format": "wellposed-normalizer",
    "schema": 1,
    "method": "standard",
    "names": ["a", "b", "c"],
    "ndim": 2,
    "axis": [1],
    "shape": [3],
    "mean": [1.0, 2.0, 3.0],
    "std": [0.5, 0.0, 4.0],
    "minimum": [0.0, 2.0, -5.0],
    "maximum": [2.0, 2.0, 9.0],
    "missing": [0, 3, 0],
    "infinite": [1, 0, 0],
    "constant": [False, True, False],
    "selected": [True, True, False],
    "provenance": {
        "rows": 10,
        "source": None,
        "split": "train",
        "fingerprint": "0123456789abcdef",
        "version": "0.1.0",
        "created": "2026-01-01T00:00:00+00:00",
    },
}


def test_what_the_first_version_wrote_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps(FIRST_SCHEMA))

    n = Normalizer.load(tmp_path / "old.json")

    assert n(np.array([[2.0, 2.5, 7.0]])).tolist() == [[2.0, 0.5, 7.0]]
    assert n.count.tolist() == [9, 7, 10]
    n.save(tmp_path / "new.json")
    assert json.loads((tmp_path / "new.json").read_text())["schema"] == 3


@pytest.mark.parametrize(("method", "usual"), [("minmax", (0.0, 1.0)), ("robust", None), ("zca", None)])
def test_what_the_second_version_wrote_is_still_read(tmp_path: Path, method: str, usual: Any) -> None:
    n = Normalizer.fit(ROWS, method=method)
    n.save(tmp_path / "new.json")
    held = json.loads((tmp_path / "new.json").read_text())
    old = {k: v for k, v in held.items() if k not in (*OPTIONS, "digest")} | {"schema": 2}
    (tmp_path / "old.json").write_text(json.dumps(old | {"digest": saved.digest(old)}))

    loaded = Normalizer.load(tmp_path / "old.json")

    assert loaded.feature_range == usual
    assert loaded.quantile_range == ((25.0, 75.0) if method == "robust" else None)
    assert (loaded.clip, loaded.with_centering, loaded.with_scaling) == (None, True, True)
    np.testing.assert_array_equal(loaded(ROWS), n(ROWS))


def test_the_first_version_knew_one_method(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({**FIRST_SCHEMA, "method": "minmax"}))

    with pytest.raises(ArtifactError, match="'standard' of schema 1"):
        Normalizer.load(tmp_path / "old.json")


def test_names_that_would_drive_a_terminal_are_written_out(tmp_path: Path) -> None:
    n = Normalizer.fit(ROWS[:, :2], columns=["\x1b[31mred\x1b[0m", "a\nb"], source="\x1b]0;title\x07")
    n.save(tmp_path / "norm.json")

    shown = str(Normalizer.load(tmp_path / "norm.json"))

    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"\x1b[31mred" in shown
    assert r"a\nb" in shown
