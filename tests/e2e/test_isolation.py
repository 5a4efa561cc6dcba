"""What runs in a process of its own changes nothing here, and says the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wellposed as wp
from wellposed.errors import ArgumentError, UserCodeError
from wellposed.runtime.isolation import isolated

SEEN: list[int] = []


class Remembering(nn.Module):
    """Changes what no scope can put back, too: an attribute of an installed module."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        SEEN.append(len(x))
        np.calls = getattr(np, "calls", 0) + 1  # type: ignore[attr-defined]
        return self.body(x) + random.random() * 0.01


def problem(model: nn.Module | None = None, loss: Any = F.cross_entropy) -> wp.Problem:
    torch.manual_seed(0)
    x = torch.randn(96, 4)
    model = model or nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    return wp.Problem(model=model, loss=loss, train=(x, x[:, :3].argmax(1)))


def test_nothing_changes_here() -> None:
    given = problem(Remembering())
    state = random.getstate()
    wp.check(given, isolate=True)
    assert (SEEN, hasattr(np, "calls"), random.getstate()) == ([], False, state)


def test_a_check_says_what_it_says_in_this_process() -> None:
    here, there = wp.check(problem()), wp.check(problem(), isolate=True)
    assert there.findings == here.findings
    assert there.passed == here.passed
    there_saved, here_saved = (json.loads(r.to_json())["measurements"] for r in (there, here))
    assert there_saved == here_saved


@pytest.mark.parametrize("look", ["check_gradients", "measure_signals"])
def test_what_is_measured_is_the_same(look: str) -> None:
    assert str(getattr(wp, look)(problem(), isolate=True)) == str(getattr(wp, look)(problem()))


def test_a_race_ends_alike() -> None:
    a, b = problem(), problem()
    assert wp.race(a, b, steps=5, seeds=2, isolate=True) == wp.race(a, b, steps=5, seeds=2)


def test_progress_is_told_here() -> None:
    stages: list[str] = []
    wp.check(problem(), progress=stages.append, isolate=True)
    assert "tracing the layers" in stages


def test_an_error_of_the_users_comes_with_its_cause() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("no rows")

    with pytest.raises(UserCodeError, match="the loss raised ZeroDivisionError") as caught:
        wp.check(problem(loss=loss), isolate=True)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_crash_is_said_by_the_name_of_its_signal() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return F.cross_entropy(outputs, targets)

    with pytest.raises(UserCodeError, match="killed by SIGKILL"):
        wp.check(problem(loss=loss), isolate=True)


def test_an_answer_that_cannot_be_pickled_is_said() -> None:
    with pytest.raises(UserCodeError, match="cannot be sent"):
        isolated("a test", lambda tell: lambda: None)


def test_where_nothing_can_be_forked_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ArgumentError, match=r"os\.fork"):
        wp.check(problem(), isolate=True)


def test_the_command_line_isolates_too(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(
        "import os, signal, torch, wellposed as wp\n"
        "def loss(outputs, targets):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "problem = wp.Problem(model=torch.nn.Linear(2, 1), loss=loss, train=(torch.ones(8, 2), torch.ones(8, 1)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "wellposed", "check", f"{program}:problem", "--isolate"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "killed by SIGKILL" in done.stderr
