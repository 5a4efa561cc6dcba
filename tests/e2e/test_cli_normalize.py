"""`wellposed normalize`: what it takes, what it says and where, and what it leaves untouched."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from wellposed.cli import main, normalizing
from wellposed.errors import ArtifactError
from wellposed.normalize import Normalizer, methods
from wellposed.show import reading
from wellposed.show.reading import Pace, paced

ROWS = np.random.default_rng(0).normal(size=(60, 2)) * [1.0, 1000.0] + [0.0, 300.0]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["normalize", *map(str, arguments)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def write(path, rows, header="alcohol,proline,label"):
    lines = [header, *(f"{a!r},{b!r},{'red' if a > 0 else 'white'}" for a, b in rows.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def table(tmp_path):
    return write(tmp_path / "train.csv", ROWS)


@pytest.fixture
def parts(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(3):
        write(folder / f"part-{i}.csv", ROWS[20 * i : 20 * i + 20])
    return folder


@pytest.fixture
def fitted(table, tmp_path, capsys):
    assert run("fit", table, "-o", tmp_path / "n.json") == 0
    capsys.readouterr()
    return tmp_path / "n.json"


def statistics(path):
    n = Normalizer.load(path)
    return n.names, n.mean.tolist(), n.std.tolist(), n.provenance.rows, n.provenance.fingerprint


def test_fit_says_what_was_fitted_and_what_was_left_alone_and_why(table, tmp_path, capsys):
    assert run("fit", table, "-o", tmp_path / "n.json") == 0
    streams = capsys.readouterr()

    assert "60" in streams.out
    assert "proline" in streams.out
    assert "label" in streams.out
    assert "text" in streams.out
    assert max(map(len, streams.out.replace(str(table), "").splitlines())) <= 80
    assert streams.err == f"wrote {tmp_path / 'n.json'}\n"


def test_a_file_a_folder_a_pattern_and_several_files_give_the_same(table, parts, tmp_path):
    ways = {"file": [table], "folder": [parts], "pattern": [parts / "part-*.csv"]}
    ways["files"] = sorted(parts.iterdir(), reverse=True)
    for name, data in ways.items():
        assert run("fit", *data, "-o", tmp_path / f"{name}.json") == 0

    first, *others = [statistics(tmp_path / f"{name}.json") for name in ways]
    assert others == [first] * 3


def test_columns_are_chosen_by_name(table, tmp_path):
    assert run("fit", table, "-o", tmp_path / "n.json", "--columns", "proline") == 0

    center = Normalizer.load(tmp_path / "n.json")
    chosen = dict(zip(center.names or (), center.selected.tolist(), strict=True))
    assert [name for name, selected in chosen.items() if selected] == ["proline"]


def test_columns_without_names_are_chosen_by_number(tmp_path):
    np.save(tmp_path / "train.npy", ROWS)

    assert run("fit", tmp_path / "train.npy", "-o", tmp_path / "n.json", "--columns", "1") == 0
    assert Normalizer.load(tmp_path / "n.json").selected.tolist() == [False, True]


def test_a_name_may_hold_a_comma():
    assert normalizing._columns(("a,b", "c"), ("a,b", "c", "d")) == ["a,b", "c"]
    assert normalizing._columns(("a,b",), ("a", "b")) == ["a", "b"]
    assert normalizing._columns((), ("a", "b")) is None


def test_the_choices_are_the_methods_and_the_engines_there_are():
    from wellposed.moments import engines

    assert tuple(normalizing.METHODS) == tuple(methods.METHODS)
    assert tuple(normalizing.ENGINES) == tuple(engines.ENGINES)


@pytest.mark.parametrize("method", ["minmax", "maxabs", "whiten"])
def test_methods_are_fitted_saved_and_applied(table, tmp_path, method):
    assert run("fit", table, "-o", tmp_path / "n.json", "--method", method) == 0
    assert run("apply", tmp_path / "n.json", table, "-o", tmp_path / "out.csv") == 0

    done = np.loadtxt(tmp_path / "out.csv", delimiter=",", skiprows=1, usecols=(0, 1))
    expected = Normalizer.load(tmp_path / "n.json")(ROWS)
    np.testing.assert_allclose(done, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("--method minmax --feature-range -1 3 --clip", {"feature_range": (-1, 3), "clip": True}),
        ("--method robust --quantile-range 5 95", {"quantile_range": (5, 95)}),
        ("--no-centering --clip-to -1 0.5", {"with_centering": False, "clip": (-1, 0.5)}),
        ("--no-scaling", {"with_scaling": False}),
    ],
)
def test_options_of_methods_are_those_of_fit(table, tmp_path, said, options):
    assert run("fit", table, "-o", tmp_path / "n.json", *said.split()) == 0

    found = Normalizer.load(tmp_path / "n.json")
    expected = Normalizer.fit(ROWS, method=found.method, **options)
    np.testing.assert_array_equal(found(2 * ROWS), expected(2 * ROWS))


def test_bounds_are_said_in_one_way(table, tmp_path, capsys):
    assert run("fit", table, "-o", tmp_path / "n.json", "--clip", "--clip-to", "0", "1") == 2
    assert "leave one out" in capsys.readouterr().err


def test_held_out_data_are_refused_with_the_reason_and_nothing_is_written(table, tmp_path, capsys):
    assert run("fit", table, "-o", tmp_path / "n.json", "--split", "test") == 2
    errors = capsys.readouterr().err

    assert "leak" in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "n.json").exists()


def test_a_fit_that_fails_leaves_the_old_normalizer(fitted, tmp_path, capsys):
    before = fitted.read_bytes()
    (tmp_path / "broken.csv").write_text("a,b\n1,2\n3\n")

    assert run("fit", tmp_path / "broken.csv", "-o", fitted) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert fitted.read_bytes() == before


def test_an_old_normalizer_is_replaced(fitted, table):
    write(table, ROWS + 5)

    assert run("fit", table, "-o", fitted) == 0
    assert Normalizer.load(fitted).minimum[0] == (ROWS + 5).min(axis=0)[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [("absent.csv", "absent.csv"), ("train.docx", "docx"), ("absent-*.csv", "absent-*.csv")],
)
def test_data_that_are_not_there_or_not_read_are_named_in_one_line(tmp_path, capsys, data, said):
    (tmp_path / "train.docx").write_text("text")

    assert run("fit", tmp_path / data, "-o", tmp_path / "n.json") == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


def test_show_gives_the_saved_file_as_json_and_nothing_else(fitted, capsys):
    assert run("show", fitted, "--format", "json") == 0
    streams = capsys.readouterr()

    assert json.loads(streams.out) == json.loads(fitted.read_text())
    assert streams.err == ""


def test_show_refuses_what_is_no_normalizer(table, capsys):
    assert run("show", table) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_drift_exits_with_1_when_the_data_have_drifted_and_with_0_when_not(fitted, table, tmp_path, capsys):
    shifted = write(tmp_path / "shifted.csv", ROWS + np.array([5.0, 0.0]))

    assert run("drift", fitted, table) == 0
    assert run("drift", fitted, shifted) == 1
    assert "alcohol" in capsys.readouterr().out


def test_drift_gives_json_and_nothing_else(fitted, tmp_path, capsys):
    shifted = write(tmp_path / "shifted.csv", ROWS + np.array([5.0, 0.0]))

    assert run("drift", fitted, shifted, "--format", "json") == 1
    streams = capsys.readouterr()
    assert isinstance(json.loads(streams.out), dict)
    assert streams.err == ""


def test_drift_names_columns_that_do_not_fit(fitted, tmp_path, capsys):
    other = write(tmp_path / "other.csv", ROWS, header="alcohol,magnesium,label")

    assert run("drift", fitted, other) == 2
    assert "proline" in capsys.readouterr().err


def test_apply_says_what_was_left_as_it_was(fitted, table, tmp_path, capsys):
    assert run("apply", fitted, table, "-o", tmp_path / "out.csv") == 0

    assert "label" in capsys.readouterr().err
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "alcohol,proline,label"
    assert lines[1].endswith(("red", "white"))


def test_apply_refuses_other_columns_and_writes_nothing(fitted, tmp_path, capsys):
    other = write(tmp_path / "other.csv", ROWS, header="alcohol,magnesium,label")

    assert run("apply", fitted, other, "-o", tmp_path / "out.csv") == 2
    assert "proline" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_a_checkpoint_is_gone_when_the_normalizer_is_saved(table, tmp_path):
    assert run("fit", table, "-o", tmp_path / "n.json", "--checkpoint", tmp_path / "kept") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.json", "train.csv"]


def full(*_, **__):
    raise ArtifactError("No space left on device")


def test_what_was_read_is_kept_until_the_normalizer_is_safe(table, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Normalizer, "save", full)
        assert run("fit", table, "-o", tmp_path / "n.json", "--checkpoint", tmp_path / "kept") == 2
    assert "No space left" in capsys.readouterr().err
    assert (tmp_path / "kept").exists()

    assert run("fit", table, "-o", tmp_path / "n.json", "--checkpoint", tmp_path / "kept") == 0
    assert not (tmp_path / "kept").exists()


def test_a_checkpoint_of_other_data_is_refused_in_one_line(table, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Normalizer, "save", full)
        run("fit", table, "-o", tmp_path / "n.json", "--checkpoint", tmp_path / "kept")
    capsys.readouterr()
    write(table, ROWS[::-1])

    assert run("fit", table, "-o", tmp_path / "n.json", "--checkpoint", tmp_path / "kept") == 2
    errors = capsys.readouterr().err
    assert "have changed since" in errors
    assert "delete it to start again" in errors
    assert errors.count("\n") == 1


def test_the_data_named_as_their_own_checkpoint_stay_as_they_are(table, tmp_path, capsys):
    before = table.read_bytes()

    assert run("fit", table, "-o", tmp_path / "n.json", "--checkpoint", table) == 2
    assert f"--checkpoint {table} would take the place of {table}" in capsys.readouterr().err
    assert table.read_bytes() == before


def linked(table, folder):
    (folder / "link").symlink_to(table)
    return [table], folder / "link"


@pytest.mark.parametrize(
    "named",
    [
        lambda table, folder: ([table], table),
        lambda table, folder: ([table], folder / "parts" / ".." / table.name),
        lambda table, folder: ([folder / "parts"], folder / "parts" / "part-1.csv"),
        lambda table, folder: ([folder / "parts" / "*.csv"], folder / "parts" / "part-2.csv"),
        linked,
    ],
    ids=["file", "another way", "folder", "pattern", "link"],
)
def test_a_normalizer_never_takes_the_place_of_the_data(table, parts, tmp_path, capsys, named):
    data, output = named(table, tmp_path)
    before = output.read_bytes()

    assert run("fit", *data, "-o", output) == 2
    errors = capsys.readouterr().err
    assert f"-o {output} would take the place of" in errors
    assert errors.count("\n") == 1
    assert output.read_bytes() == before


def test_a_checkpoint_is_not_named_like_the_normalizer(table, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert run("fit", table, "-o", "n.json", "--checkpoint", tmp_path / "n.json") == 2
    assert "one file" in capsys.readouterr().err
    assert not (tmp_path / "n.json").exists()


def test_what_is_applied_never_takes_the_place_of_the_normalizer(fitted, table, tmp_path, capsys):
    before = fitted.read_bytes()

    assert run("apply", fitted, table, "-o", fitted) == 2
    assert "is the normalizer itself" in capsys.readouterr().err
    assert fitted.read_bytes() == before


def test_files_that_are_named_as_held_out_get_a_warning_and_are_fitted(table, parts, tmp_path, capsys):
    held_out = tmp_path / "all" / "test"
    held_out.parent.mkdir()
    parts.rename(held_out)
    table.rename(tmp_path / "all" / "train.csv")

    for data, said in ((held_out, "part-0.csv"), (tmp_path / "all", "(3 of 4 files)")):
        assert run("fit", data, "-o", tmp_path / "n.json") == 0
        warning, _ = capsys.readouterr().err.splitlines()
        assert warning.startswith("warning: named as if held out")
        assert said in warning


@pytest.mark.parametrize("options", [["--split", "train"], []])
def test_training_files_get_no_warning(table, parts, tmp_path, capsys, options):
    data = [tmp_path / "test.csv"] if options else [parts]
    table.rename(tmp_path / "test.csv")

    assert run("fit", *data, "-o", tmp_path / "n.json", *options) == 0
    assert capsys.readouterr().err == f"wrote {tmp_path / 'n.json'}\n"


@pytest.mark.parametrize(("folder", "warned"), [("test/train", False), ("train/split=val", True)])
def test_the_innermost_folder_that_tells_a_split_decides(table, tmp_path, capsys, folder, warned):
    place = tmp_path / "root" / folder
    place.mkdir(parents=True)
    table.rename(place / "part-0.csv")

    assert run("fit", tmp_path / "root", "-o", tmp_path / "n.json") == 0
    assert ("warning" in capsys.readouterr().err) is warned


def test_images_with_channels_last_are_fitted_along_the_axis_that_is_named(tmp_path, capsys):
    images = np.random.default_rng(0).normal(size=(5, 8, 7, 3)) * [1.0, 2.0, 3.0]
    np.save(tmp_path / "x.npy", images)

    assert run("fit", tmp_path / "x.npy", "-o", tmp_path / "n.json") == 0
    assert "(5, 8, 7, 3) is read as (N, C, H, W)" in capsys.readouterr().err

    assert run("fit", tmp_path / "x.npy", "-o", tmp_path / "n.json", "--axis", "-1") == 0
    assert "note" not in capsys.readouterr().err
    np.testing.assert_allclose(Normalizer.load(tmp_path / "n.json").std, images.std(axis=(0, 1, 2)))


def test_images_with_channels_first_get_no_note(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((5, 3, 8, 4)) + np.arange(4))

    assert run("fit", tmp_path / "x.npy", "-o", tmp_path / "n.json") == 0
    assert "note" not in capsys.readouterr().err


@pytest.mark.parametrize("empty", [{"proline"}, {"alcohol", "proline"}])
def test_columns_of_text_files_that_went_empty_have_drifted(fitted, table, capsys, empty):
    header, *rows = [line.split(",") for line in table.read_text().splitlines()]
    kept = [["" if name in empty else entry for name, entry in zip(header, row, strict=True)] for row in rows]
    table.write_text("\n".join(",".join(row) for row in [header, *kept]) + "\n")

    assert run("drift", fitted, table, "--format", "json") == 1
    columns = json.loads(capsys.readouterr().out)["columns"]
    assert {c["label"] for c in columns if c["missing"] == 1.0} == empty


def test_without_a_terminal_there_is_no_bar():
    with reading.reading_progress() as progress:
        assert progress is None


def bar(monkeypatch, *reports, seconds=(0.0, 5.0, 15.0)):
    """What a terminal of 80 columns gets."""
    screen, clock = io.StringIO(), iter(seconds)
    monkeypatch.setattr(reading, "paced", lambda show: paced(show, clock=lambda: next(clock)))
    with reading.reading_progress(Console(file=screen, force_terminal=True, width=80)) as progress:
        assert progress is not None
        for report in reports:
            progress(*report)
    return screen.getvalue()


def test_the_bar_tells_how_much_how_fast_and_how_long_still(monkeypatch):
    total = 1_000_000_000
    shown = bar(monkeypatch, (0, total, 0), (50_000_000, total, 1_000_000), (300_000_000, total, 6_000_000))

    assert "300 MB of 1.00 GB  25.0 MB/s  500 k rows/s  0:00:28 left" in shown


def test_the_start_bears_on_no_rate(monkeypatch):
    assert "/s" not in bar(monkeypatch, (0, 100, 0), (50, 100, 10))


def test_short_work_has_no_bar(monkeypatch):
    assert bar(monkeypatch, (0, 100, 0), (50, 100, 5), (100, 100, 10), seconds=(0.0, 0.5, 1.9)) == ""


def test_where_the_total_is_unknown_no_time_is_promised(monkeypatch):
    shown = bar(monkeypatch, (0, None, 0), (0, None, 0), (250_000_000, None, 5_000_000))

    assert "250 MB  25.0 MB/s  500 k rows/s" in shown
    assert "left" not in shown


@pytest.mark.parametrize("size", [0, 1, 999, 999_499, 999_500, 10**9, 999_999_999_999, 10**15])
def test_the_line_of_the_bar_fits(size):
    pace = Pace(bytes=size, total=size, rows=size, elapsed=5.0, seconds=3.0, bytes_here=size, rows_here=size)

    assert len(reading.pace_line(pace)) <= 60
