"""Text that others wrote: nothing in it drives a terminal, and it fits."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from rich.cells import cell_len
from torch import nn

import wellposed as wp
from wellposed.data.column_names import listed, places_of, repeated
from wellposed.errors import DataError
from wellposed.safe_text import clean, printable, shown
from wellposed.show.lines import cut

HOSTILE = "a\x1b[31m\u202eb\u2066\x07\x9b\u200f\nc"
DRIVES = set("\x1b\u202e\u2066\x07\x9b\u200f")


def test_what_drives_a_terminal_is_written_out() -> None:
    assert printable(HOSTILE).isprintable()
    assert printable("größe 5 µm, 重さ") == "größe 5 µm, 重さ"
    assert clean("a\tb\r\n\u2028c") == "a b\\r\n\\u2028c"


def test_a_name_is_cut_and_its_length_is_told() -> None:
    assert shown("x" * 10**6, most=3) == "xxx... (1,000,000 characters)"
    assert len(listed(["x" * 10**6] * 100)) < 2_000


@pytest.mark.parametrize(
    "name", ["x" * 10**6, "重" * 10**6, "e\u0301" * 10**6, "\u0301" * 10**6, "ab", "", "重重重"]
)
def test_a_name_takes_its_column_of_a_table_and_no_more(name: str) -> None:
    for width in (1, 2, 7):
        assert cell_len(cut(name, width)) == width


def test_names_are_found_and_counted_however_many_there_are() -> None:
    names = [str(i) for i in range(10**5)]
    assert repeated([*names, "7", "3"]) == ["3", "7"]
    assert places_of(names)["99999"] == 99_999


def test_a_message_drives_no_terminal_and_comes_to_an_end() -> None:
    assert not set(str(DataError(f"column {HOSTILE}"))) & DRIVES
    assert len(str(DataError("x" * 10**6))) < 2_100


def hostile_model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module(HOSTILE, nn.Linear(4, 8))
    model.add_module("y" * 20_000, nn.Linear(8, 1))
    return model


def test_names_of_layers_are_safe_in_every_text() -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    profile = wp.measure_signals(hostile_model(), F.mse_loss, (x, x[:, :1]))
    done = wp.initialize(hostile_model(), x)
    for text in (str(profile), str(done)):
        assert "\\u202e" in text
        assert not set(text) & DRIVES
        assert all(line.isprintable() for line in text.split("\n"))
    assert len(str(profile)) < 1_000


def test_json_escapes_them_and_gives_them_back() -> None:
    finding = wp.Finding(
        code="WP101",
        name="n",
        severity=wp.Severity.NOTE,
        where=HOSTILE + "\ud800",
        summary="",
        quantity="",
        why="",
        fix="",
    )
    text = wp.Report(findings=(finding,)).to_json()
    assert text.isascii()
    assert not set(text) & DRIVES
    assert json.loads(text)["findings"][0]["where"] == finding.where
    assert wp.Report.from_json(text).findings == (finding,)
