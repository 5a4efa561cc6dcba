"""Data rules on models with several inputs: each tensor is judged by itself, nested ones too, and rows as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import wellposed as wp
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.named_inputs import named_inputs, with_changed_inputs

ROWS = 600


def counted(report: wp.Report) -> list[tuple[str, str]]:
    return [(f.code, f.where) for f in report.findings if f.severity is not wp.Severity.NOTE]


class Mixed(nn.Module):
    """A table, a picture and a code, handed over in one dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.code, self.picture = nn.Linear(5, 16), nn.Embedding(9, 16), nn.Conv2d(2, 16, 3)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(16, 1))

    def forward(self, known: dict[str, Any], picture: Tensor) -> Tensor:
        return self.head(
            self.table(known["table"]) + self.code(known["code"]) + self.picture(picture).mean((2, 3))
        )


def drawn(rows: int, seed: int) -> tuple[dict[str, Any], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table, picture = (
        torch.randn(rows, 5, generator=generator),
        torch.randn(rows, 2, 6, 6, generator=generator),
    )
    code = torch.randint(0, 9, (rows,), generator=generator)
    target = table[:, :1] + picture.mean((1, 2, 3))[:, None] + (code > 4)[:, None]
    return {"known": {"table": table, "code": code}, "picture": picture}, target


def checked(inputs: dict[str, Any], target: Tensor, validation: Any = None) -> wp.Report:
    torch.manual_seed(0)
    model = Mixed()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    return wp.check(model, F.mse_loss, (inputs, target), validation=validation, optimizer=optimizer)


def test_sound_inputs_of_several_kinds_are_looked_at_and_fine() -> None:
    report = checked(*drawn(ROWS, 0), validation=drawn(200, 1))
    assert counted(report) == []
    assert {"WP101", "WP102", "WP103", "WP105", "WP106", "WP108"} <= set(report.passed)


@pytest.mark.parametrize(
    ("spoil", "code", "where"),
    [
        (lambda x: x["known"]["table"][:, 2].mul_(5e3), "WP101", "inputs.known.table.2"),
        (lambda x: x["picture"].mul_(200).add_(100), "WP102", "inputs.picture"),
        (lambda x: x["picture"][3, 1, 0, 0].fill_(torch.nan), "WP106", "inputs.picture.1"),
    ],
)
def test_a_fault_in_one_input_is_found_there(spoil: Any, code: str, where: str) -> None:
    inputs, target = drawn(ROWS, 0)
    spoil(inputs)
    assert (code, where) in counted(checked(inputs, target))


def test_one_input_normalised_with_held_out_rows() -> None:
    (inputs, target), (held, other) = drawn(ROWS, 0), drawn(200, 1)
    both = torch.cat([inputs["known"]["table"], held["known"]["table"]])
    mean, std = both.mean(0), both.std(0, correction=0)
    for part in (inputs, held):
        part["known"]["table"] = (part["known"]["table"] - mean) / std
    assert ("WP103", "inputs.known.table") in counted(checked(inputs, target, (held, other)))


def test_copies_are_rows_that_are_equal_in_every_input() -> None:
    (inputs, target), (held, other) = drawn(ROWS, 0), drawn(200, 1)
    held["known"]["table"][:] = inputs["known"]["table"][:200]  # the same tables, other pictures
    assert "WP108" in checked(inputs, target, (held, other)).passed
    again = (
        {"known": {k: v[:200] for k, v in inputs["known"].items()}, "picture": inputs["picture"][:200]},
        target[:200],
    )
    assert ("WP108", "inputs") in counted(checked(inputs, target, again))


@pytest.mark.parametrize("edges", [torch.eye(60), torch.arange(60).expand(2, 60)])
def test_nodes_of_one_graph_stand_in_both_splits(edges: Tensor) -> None:
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))

    class Nodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 1)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            return edges @ self.layer(x) if len(edges) > 2 else self.layer(x[edges[0]])

    data = [((x, edges), x[:, :1])]
    assert counted(wp.check(Nodes(), F.mse_loss, data, validation=data)) == []


class Timed(nn.Module):
    """Reads a time from 0 to 1000 by its sine and cosine, as denoisers do: its scale is meant."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4 + 16, 64), nn.SiLU(), nn.Linear(64, 4))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        waves = time * torch.exp(-torch.arange(8) * 1.0)
        return self.net(torch.cat([x, waves.sin(), waves.cos()], 1))


def test_an_input_whose_scale_is_meant_is_not_accused() -> None:
    generator = torch.Generator().manual_seed(0)
    x, time = (
        torch.randn(ROWS, 4, generator=generator),
        torch.randint(0, 1000, (ROWS, 1), generator=generator).float(),
    )
    torch.manual_seed(0)
    model = Timed()
    loader = DataLoader(TensorDataset(x, time, x * torch.cos(time / 20)), 64, shuffle=True)
    assert (
        counted(wp.check(model, F.mse_loss, loader, optimizer=torch.optim.Adam(model.parameters(), 1e-3)))
        == []
    )


def test_names_say_where_a_tensor_stands() -> None:
    x = torch.zeros(2, 3)
    assert list(named_inputs(Batch(args=(x,)))) == [""]
    assert list(named_inputs(Batch(args=(x, [x, {"a": x}])))) == ["[0]", "[1][0]", "[1][1].a"]
    assert list(named_inputs(Batch(kwargs={"image": x, "mask": x}))) == [".image", ".mask"]
    assert list(named_inputs(Batch(kwargs={"image": x, "sizes": (3, 4)}))) == [""]  # the only one


def test_changed_inputs_keep_their_form() -> None:
    x = torch.zeros(2, 3)
    batch = Batch(kwargs={"a": (x, "word"), "b": {"c": x}}, targets=x)
    changed = with_changed_inputs(batch, lambda name, tensor: tensor + len(name))
    assert changed.targets is x
    assert changed.kwargs is not None
    assert changed.kwargs["a"][1] == "word"
    assert (float(changed.kwargs["a"][0].mean()), float(changed.kwargs["b"]["c"].mean())) == (5.0, 4.0)
