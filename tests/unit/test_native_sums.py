"""The machine code of the compiled sums: kept whole or not at all, and run without numba."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wellposed.normalize import Moments
from wellposed.normalize.exact import accumulator, compiled, native

HEAD, CODE = b'["made from this"]', b"machine code"
LATER = """
import sys
import numpy as np
from wellposed.normalize import Moments
from wellposed.normalize.exact import accumulator
accumulator.WORTH_COMPILING = 0
print(Moments.of(np.arange(3000.0).reshape(-1, 3)).fingerprint, accumulator._load_compiled() is not None, "numba" in sys.modules)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file with the code."""
    native._keep([tmp_path / "sums.bin"], HEAD, CODE)
    return tmp_path / "sums.bin"


def test_a_later_process_runs_what_was_kept_without_numba() -> None:
    assert accumulator._load_compiled() is not None
    expected = Moments.of(np.arange(3000.0).reshape(-1, 3)).fingerprint

    later = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=True)

    assert later.stdout.split() == [expected, "True", "False"]


def test_what_is_kept_is_given_back(place: Path) -> None:
    assert native._kept(place, HEAD) == CODE


def test_code_of_other_sources_or_for_another_processor_is_not_run(place: Path) -> None:
    assert native._kept(place, b'["made from that"]') is None


@pytest.mark.parametrize("end", [0, 20, 40, -1])
def test_code_that_was_cut_is_not_run(place: Path, end: int) -> None:
    place.write_bytes(place.read_bytes()[:end])

    assert native._kept(place, HEAD) is None


def test_code_with_a_changed_byte_is_not_run(place: Path) -> None:
    held = place.read_bytes()
    place.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))

    assert native._kept(place, HEAD) is None


def test_code_is_kept_in_the_first_place_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    places = [tmp_path / "a file" / "sums.bin", tmp_path / "new" / "sums.bin", tmp_path / "third.bin"]

    native._keep(places, HEAD, CODE)

    assert [native._kept(place, HEAD) for place in places] == [None, CODE, None]


def test_code_that_would_call_numba_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "declare void @numba_something()\ndefine void @flush() {\n call void @numba_something()\n ret void\n}"
    )
    bodies = {name: text.replace("flush", name) for name in ("flush", "reduce_float32", "reduce_float64")}
    monkeypatch.setattr(compiled, "_assembly", lambda function, arguments, name: bodies[name])

    with pytest.raises(RuntimeError, match="call numba_something"):
        compiled.module(calls=native.C_LIBRARY)


def test_where_numba_is_told_not_to_compile_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.config, "DISABLE_JIT", 1)

    with pytest.raises(RuntimeError, match="NUMBA_DISABLE_JIT"):
        compiled.module(calls=native.C_LIBRARY)
