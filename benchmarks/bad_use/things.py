"""Models, losses and data for the trials: a few that are right, and many that are wrong in one way."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import wellposed as wp

mse = nn.functional.mse_loss
ce = nn.functional.cross_entropy
huge = "x" * 100_000


class PlantedError(Exception):
    """What the user's own code raises in these trials."""


def planted(*_: Any, **__: Any) -> Any:
    raise PlantedError("planted in the user's code")


# ---- right ones


def net(width: int = 4, out: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, out))


def x(rows: int = 64, width: int = 4) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1))


def xy(rows: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = x(rows)
    return inputs, inputs.sum(1, keepdim=True)


def labelled(rows: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = x(rows)
    return inputs, (inputs[:, 0] > 0).long()


def problem(**changes: Any) -> wp.Problem:
    return wp.Problem(**({"model": net(), "loss": mse, "train": xy()} | changes))


def check(**changes: Any) -> wp.Report:
    """A check of a right problem, but for the changes."""
    arguments = {"model": net(), "loss": mse, "train": xy()} | changes
    return wp.check(arguments.pop("model"), arguments.pop("loss"), arguments.pop("train"), **arguments)


def fix(**changes: Any) -> Any:
    arguments = {"model": net(), "loss": mse, "train": xy()} | changes
    return wp.fix(arguments.pop("model"), arguments.pop("loss"), arguments.pop("train"), **arguments)


def signals(**changes: Any) -> wp.SignalProfile:
    arguments = {"model": net(), "loss": mse, "train": xy()} | changes
    return wp.measure_signals(
        arguments.pop("model"), arguments.pop("loss"), arguments.pop("train"), **arguments
    )


def race(**changes: Any) -> Any:
    options: dict[str, Any] = {"steps": 5, "seeds": 2}
    return wp.race(problem(), problem(), **(options | changes))


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters())


def table(rows: int = 50) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, 3))


def frame(rows: int = 50) -> Any:
    import pandas as pd

    return pd.DataFrame(table(rows), columns=["age", "income", "height"])


def normalizer(**options: Any) -> wp.Normalizer:
    return wp.Normalizer.fit(table(), **options)


def named() -> wp.Normalizer:
    return wp.Normalizer.fit(frame())


def moments(**options: Any) -> wp.Moments:
    return wp.Moments.of(table(), **options)


@functools.cache
def report() -> wp.Report:
    return check()


def report_data(**changes: Any) -> str:
    return json.dumps(json.loads(report().to_json()) | changes)


def finding(**changes: Any) -> wp.Finding:
    right: dict[str, Any] = {
        "code": "WP101",
        "name": "feature-scale-imbalance",
        "severity": wp.Severity.ERROR,
        "where": "inputs",
        "summary": "one column is larger",
        "quantity": "ratio",
        "measured": 3.0,
        "limit": 2.0,
        "why": "it hurts",
        "fix": "normalise",
    }
    return wp.Finding(**(right | changes))


def shown_report(**changes: Any) -> str:
    """Whatever a report is made of, it is used: printed and saved."""
    made = wp.Report(**changes)
    return str(made) + made.to_json()


def shown_finding(**changes: Any) -> str:
    return shown_report(findings=(finding(**changes),))


# ---- wrong models


def frozen() -> nn.Module:
    return net().requires_grad_(False)


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(1))


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))


class Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, *_: Any, **__: Any) -> Any:
        return planted()


class Returning(nn.Module):
    """A model that returns what it was told to return."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.value = value

    def forward(self, inputs: torch.Tensor) -> Any:
        self.layer(inputs)
        return self.value


class LateParameter(nn.Module):
    """Makes a parameter in its first forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.scale: nn.Parameter | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.scale is None:
            self.scale = nn.Parameter(torch.ones(1))
        return self.layer(inputs) * self.scale


class RaisingBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        return planted()


class BackwardRaises(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor) -> Any:
        return RaisingBackward.apply(self.layer(inputs))


class Unready(nn.Module):
    """Forgets ``super().__init__()``."""

    def __init__(self) -> None:
        pass

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs


def with_nan_weights() -> nn.Module:
    model = net()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    return model


# ---- wrong data


def generator() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    yield xy(16)
    yield xy(16)


def arrays() -> Iterator[np.ndarray]:
    yield table()
    yield table()


class RaisingDataset(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        return planted()


class RaisingBatches:
    def __iter__(self) -> Iterator[Any]:
        return planted()


def loader(**options: Any) -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*xy()), batch_size=16, **options)


def held_out() -> Any:
    """A loader whose dataset says of itself that it is the test set."""
    dataset = torch.utils.data.TensorDataset(*xy())
    dataset.split = "test"  # pyright: ignore[reportAttributeAccessIssue]
    return torch.utils.data.DataLoader(dataset, batch_size=16)


def empty_loader() -> Any:
    nothing = torch.utils.data.TensorDataset(torch.zeros(0, 4), torch.zeros(0, 1))
    return torch.utils.data.DataLoader(nothing, batch_size=16)


def spoiled(value: float) -> torch.Tensor:
    inputs = x()
    inputs[3, 2] = value
    return inputs


# ---- files

folder = Path(tempfile.gettempdir())  # each trial has a temporary folder of its own: the runner sets it


def here(name: str, content: str | bytes | None = None) -> Path:
    """A path in the trial's folder, with this content where one is given."""
    path = folder / name
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    return path


def directory(name: str) -> Path:
    path = folder / name
    path.mkdir(exist_ok=True)
    return path


def saved() -> Path:
    path = folder / "norm.json"
    named().save(path)
    return path


def csv(name: str = "train-rows.csv") -> Path:
    rows = "\n".join(f"{a},{b},{c}" for a, b, c in table().tolist())
    return here(name, "age,income,height\n" + rows + "\n")


def closed_file() -> Any:
    handle = open(csv())  # noqa: SIM115
    handle.close()
    return handle


def open_file() -> Any:
    return open(csv())
