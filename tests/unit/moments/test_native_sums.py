"""The machine code of the compiled sums: kept whole or not at all, and run without numba."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wellposed.moments import Moments
from wellposed.moments.exact import accumulator, kernel, machine_code

HEAD, CODE = b'["made from this"]', b"machine code"
LATER = """
import sys
import numpy as np
from wellposed.moments import Moments
from wellposed.moments.exact import accumulator
accumulator.WORTH_COMPILING = 0
print(Moments.of(np.arange(3000.0).reshape(-1, 3)).fingerprint, accumulator._load_compiled() is not None, "numba" in sys.modules)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file with the code."""
    machine_code._write_code([tmp_path / "sums.bin"], HEAD, CODE)
    return tmp_path / "sums.bin"


def test_a_later_process_runs_what_was_kept_without_numba() -> None:
    assert accumulator._load_compiled() is not None
    expected = Moments.of(np.arange(3000.0).reshape(-1, 3)).fingerprint

    later = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=True)

    assert later.stdout.split() == [expected, "True", "False"]


def test_what_is_kept_is_given_back(place: Path) -> None:
    assert machine_code._read_code(place, HEAD) == CODE


def test_code_of_other_sources_or_for_another_processor_is_not_run(place: Path) -> None:
    assert machine_code._read_code(place, b'["made from that"]') is None


@pytest.mark.parametrize("end", [0, 20, 40, -1])
def test_code_that_was_cut_is_not_run(place: Path, end: int) -> None:
    place.write_bytes(place.read_bytes()[:end])

    assert machine_code._read_code(place, HEAD) is None


def test_code_with_a_changed_byte_is_not_run(place: Path) -> None:
    held = place.read_bytes()
    place.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))

    assert machine_code._read_code(place, HEAD) is None


def test_code_is_kept_in_the_first_place_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    places = [tmp_path / "a file" / "sums.bin", tmp_path / "new" / "sums.bin", tmp_path / "third.bin"]

    machine_code._write_code(places, HEAD, CODE)

    assert [machine_code._read_code(place, HEAD) for place in places] == [None, CODE, None]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here")
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_code_that_others_could_have_written_is_not_run(place: Path, mode: int) -> None:
    place.chmod(mode)

    assert machine_code._read_code(place, HEAD) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here")
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_code_in_a_folder_of_others_is_not_run_and_none_is_kept_there(place: Path, mode: int) -> None:
    place.parent.chmod(mode)

    assert machine_code._read_code(place, HEAD) is None
    machine_code._write_code([place.with_name("other.bin"), place.parent / "new" / "sums.bin"], HEAD, CODE)
    assert not place.with_name("other.bin").exists()
    assert machine_code._read_code(place.parent / "new" / "sums.bin", HEAD) == CODE


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here")
def test_code_of_another_user_is_not_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = place.stat().st_uid + 1
    if place.stat().st_uid == 0:
        os.chown(place, 1, -1)
        other = 2
    monkeypatch.setattr(os, "getuid", lambda: other)

    assert machine_code._read_code(place, HEAD) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_links_and_pipes_are_not_read(place: Path) -> None:
    place.with_name("link.bin").symlink_to(place)
    os.mkfifo(place.with_name("pipe.bin"))

    assert machine_code._read_code(place.with_name("link.bin"), HEAD) is None
    assert machine_code._read_code(place.with_name("pipe.bin"), HEAD) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owners here")
@pytest.mark.parametrize("mask", [0o000, 0o002, 0o077])
def test_code_is_kept_so_that_it_is_run_under_any_mask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        machine_code._write_code([tmp_path / "sums.bin"], HEAD, CODE)
        machine_code._write_code([tmp_path / "new" / "sums.bin"], HEAD, CODE)
    finally:
        os.umask(before)

    assert (tmp_path / "sums.bin").stat().st_mode & 0o777 == 0o644
    assert machine_code._read_code(tmp_path / "sums.bin", HEAD) == CODE
    assert machine_code._read_code(tmp_path / "new" / "sums.bin", HEAD) == CODE


def test_the_package_is_the_first_place_and_no_home_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    places = machine_code.Native._places
    kept = machine_code.Native.__new__(machine_code.Native)
    monkeypatch.setitem(kept.__dict__, "_head", HEAD)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/told")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    assert [p.parent.name for p in places(kept)] == ["__pycache__", "wellposed", "told"]
    monkeypatch.setattr(Path, "home", no_home)
    assert [p.parent.name for p in places(kept)] == ["__pycache__", "told"]


def test_code_that_would_call_numba_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "declare void @numba_something()\ndefine void @flush() {\n call void @numba_something()\n ret void\n}"
    )
    bodies = {name: text.replace("flush", name) for name in ("flush", "reduce_float32", "reduce_float64")}
    monkeypatch.setattr(kernel, "_assembly", lambda function, arguments, name: bodies[name])

    with pytest.raises(RuntimeError, match="call numba_something"):
        kernel.module(calls=machine_code.C_LIBRARY)


def test_where_numba_is_told_not_to_compile_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel.config, "DISABLE_JIT", 1)

    with pytest.raises(RuntimeError, match="NUMBA_DISABLE_JIT"):
        kernel.module(calls=machine_code.C_LIBRARY)
