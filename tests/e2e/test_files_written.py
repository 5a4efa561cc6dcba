"""Files that the user's code writes while it is examined are not given back, and are said; what is only read is not."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wellposed as wp
from wellposed.errors import TraceWarning

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
Y = X[:, :1]


def traces(act: Callable[[], object], *, isolate: bool = False) -> tuple[str, ...]:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        act()
        return F.mse_loss(outputs, targets)

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        return wp.check(nn.Linear(3, 1), loss, (X, Y), isolate=isolate).traces


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("step\n")


@pytest.mark.parametrize("isolate", [False, True])
def test_a_log_that_the_loss_makes_is_said(tmp_path: Path, isolate: bool) -> None:
    (said,) = traces(lambda: append(tmp_path / "log"), isolate=isolate)
    assert said == f"{tmp_path / 'log'}: was made by the code that ran; files are not given back"


def test_a_log_that_was_there_is_written_to(tmp_path: Path) -> None:
    append(tmp_path / "log")
    (said,) = traces(lambda: append(tmp_path / "log"))
    assert "was written to" in said


def test_a_file_that_is_removed_and_a_folder_that_is_made_are_said(tmp_path: Path) -> None:
    append(tmp_path / "log")

    def act() -> None:
        (tmp_path / "log").unlink(missing_ok=True)
        (tmp_path / "made").mkdir(exist_ok=True)

    said = traces(act)
    assert [f"{tmp_path / 'log'}: was removed", f"{tmp_path / 'made'}: was made"] == [
        s.split(" by ")[0] for s in said
    ]


def test_a_file_that_is_put_in_the_place_of_another_is_said(tmp_path: Path) -> None:
    append(tmp_path / "kept")

    def act() -> None:
        append(tmp_path / "new")
        os.replace(tmp_path / "new", tmp_path / "kept")

    (said,) = traces(act)
    assert said.startswith(f"{tmp_path / 'kept'}: was written to")


def test_what_is_gone_again_or_was_only_read_is_not_said(tmp_path: Path) -> None:
    np.arange(9.0).tofile(tmp_path / "rows")

    def act() -> None:
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        append(tmp_path / "passing")
        (tmp_path / "passing").unlink()
        np.memmap(tmp_path / "rows", dtype=np.float64).sum()  # opened to read and write, and only read
        with open(os.devnull, "w") as file:
            file.write("x")

    assert traces(act) == ()


def test_calls_without_a_report_warn(tmp_path: Path) -> None:
    def f(x: Tensor) -> Tensor:
        append(tmp_path / "log")
        return (x**2).sum()

    with pytest.warns(TraceWarning, match="log: was made by the code that ran"):
        assert wp.check_gradients(f, torch.ones(3, dtype=torch.float64))


def test_afterwards_nobody_listens(tmp_path: Path) -> None:
    assert traces(lambda: None) == ()
    append(tmp_path / "log")
    assert traces(lambda: None) == ()
