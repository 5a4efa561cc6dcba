"""Arrays in files whose headers promise more than is there, or more than memory should hold."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from wellposed.data import npy as arrays
from wellposed.data.open import open_source
from wellposed.errors import DataError
from wellposed.normalize import Normalizer
from wellposed.normalize.apply_to_file import apply

ROWS = np.random.default_rng(0).normal(size=(50, 4))


def archive(place: Path, shape: tuple[int, ...], *, fortran: bool = False, content: bytes = b"") -> Path:
    header = io.BytesIO()
    npy.write_array_header_2_0(header, {"descr": "<f8", "fortran_order": fortran, "shape": shape})
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as held:
        held.writestr("x.npy", header.getvalue() + content)
    return place


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("shape", [(10**12, 3), (3, 10**12), (2**40, 2**40), (1, 2**32, 2**32)])
def test_a_shape_that_the_archive_cannot_hold_is_refused_before_anything_is_read(
    tmp_path: Path, shape: tuple[int, ...], fortran: bool
) -> None:
    with pytest.raises(DataError, match=r"x.npz: cut off, \d+ bytes where \d+ should be"):
        open_source(archive(tmp_path / "x.npz", shape, fortran=fortran, content=b"12345678"))


def test_what_would_be_read_at_once_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "f.npz", x=np.asfortranarray(ROWS))
    np.savez_compressed(tmp_path / "c.npz", x=ROWS)
    np.savez_compressed(tmp_path / "wide.npz", x=ROWS.reshape(1, -1))
    np.save(tmp_path / "f.npy", np.asfortranarray(ROWS))
    monkeypatch.setattr(arrays, "_AT_ONCE", ROWS.nbytes - 1)

    with pytest.raises(DataError, match=r"f.npz: packed in Fortran order, 1,600 bytes .* C order"):
        open_source(tmp_path / "f.npz")
    with pytest.raises(DataError, match=r"wide.npz: one sample, 1,600 bytes"):
        open_source(tmp_path / "wide.npz")
    with pytest.raises(DataError, match="Fortran order"):
        apply(tmp_path / "f.npz", Normalizer.fit(ROWS), tmp_path / "out.npz")
    for name in ("c.npz", "f.npy"):  # a sample at a time, or through a map
        assert Normalizer.fit(tmp_path / name).mean.tolist() == Normalizer.fit(ROWS).mean.tolist()
