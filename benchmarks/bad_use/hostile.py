"""Makers of broken and hostile files. Each writes into a folder; nothing here is ever meant to be run."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .judging import UNSAFE, UnsafeOutput
from .running import SENTINEL

Maker = Callable[[Path], object]

ESCAPES = "\x1b[31mred\x1b[0m\x07\x9b2J"
BIDI = "safe\u202egnp.exe"
BOTH = ESCAPES + BIDI + "\u2066\u200f"


# ---- bytes into a file


def put(name: str, content: str | bytes | Callable[[], bytes]) -> Maker:
    """A maker of one file."""

    def make(folder: Path) -> None:
        written = content() if callable(content) else content
        (folder / name).write_bytes(
            written.encode("utf-8", "surrogatepass") if isinstance(written, str) else written
        )

    return make


def cut(source: str, name: str, share: float) -> Maker:
    """A file of the workplace, cut off."""

    def make(folder: Path) -> None:
        content = (folder / source).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return make


def mutate(source: str, name: str, seed: int, changes: int = 8) -> Maker:
    """A file of the workplace, some of whose bytes are others."""

    def make(folder: Path) -> None:
        content, rng = bytearray((folder / source).read_bytes()), random.Random(seed)
        for _ in range(changes):
            content[rng.randrange(len(content))] = rng.randrange(256)
        (folder / name).write_bytes(bytes(content))

    return make


def edit(source: str, name: str, change: Callable[[dict[str, Any]], object]) -> Maker:
    """A JSON file of the workplace whose object was changed."""

    def make(folder: Path) -> None:
        content = json.loads((folder / source).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return make


def replace(source: str, name: str, old: str, new: str) -> Maker:
    """A text file of the workplace in which one text stands for another."""

    def make(folder: Path) -> None:
        content = (folder / source).read_text()
        if old not in content:
            raise ValueError(f"{source} holds no {old!r}")
        (folder / name).write_text(content.replace(old, new, 1))

    return make


def link(target: str, name: str) -> Maker:
    return lambda folder: (folder / name).symlink_to(target)


def fifo(name: str) -> Maker:
    return lambda folder: os.mkfifo(folder / name)


def directory(name: str) -> Maker:
    return lambda folder: (folder / name).mkdir()


def locked(source: str, name: str) -> Maker:
    """A file that may not be read; the command must run without root's rights."""

    def make(folder: Path) -> None:
        (folder / name).write_bytes((folder / source).read_bytes())
        (folder / name).chmod(0)

    return make


def locked_folder(source: str, name: str) -> Maker:
    """A folder that may not be entered, with a file in it."""

    def make(folder: Path) -> None:
        (folder / name).mkdir()
        (folder / name / source).write_bytes((folder / source).read_bytes())
        (folder / name).chmod(0)

    return make


def copied(source: str, name: str | bytes) -> Maker:
    """A right file under a strange name."""

    def make(folder: Path) -> None:
        target = os.path.join(os.fsencode(folder), os.fsencode(name))
        with open(target, "wb") as file:
            file.write((folder / source).read_bytes())

    return make


# ---- NumPy


class Payload:
    """Unpickling it would create the sentinel."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (SENTINEL,)


def npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    """An NPY file with this header, right or wrong."""
    text = header.encode("latin-1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text) if length is None else length) + text + body


def describe(shape: str, dtype: str = "'<f8'", fortran: bool = False) -> str:
    return f"{{'descr': {dtype}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def pickled_npy() -> bytes:
    return npy(describe("(1, 1)", "'|O'"), pickle.dumps(Payload()))


def right_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).normal(size=(50, 3)))
    return file.getvalue()


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/") + ".npy", content)
    return file.getvalue()


def npz_bomb(name: str, gigabytes: int, fortran: bool, columns: int = 4, honest: bool = True) -> Maker:
    """Zeros that deflate a thousandfold; `honest` where the header says how many."""

    def make(folder: Path) -> None:
        rows = gigabytes * (1 << 30) // 8 // columns
        shape = f"({rows}, {columns})" if honest else f"(2, {columns})"
        chunk = bytes(1 << 24)
        with (
            zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("a.npy", "w", force_zip64=True) as member,
        ):
            member.write(npy(describe(shape, fortran=fortran)))
            for _ in range(gigabytes * 64):
                member.write(chunk)

    return make


def many_members(name: str, count: int) -> Maker:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for i in range(count):
                archive.writestr(f"a{i}.npy", right_npy() if i == 0 else b"")

    return make


def sparse_npy(name: str, rows: int) -> Maker:
    """An NPY file with the size that its header says, all of it holes: nothing is on the disk."""

    def make(folder: Path) -> None:
        header = npy(describe(f"({rows}, 1)"))
        with open(folder / name, "wb") as file:
            file.write(header)
            file.truncate(len(header) + 8 * rows)

    return make


# ---- Arrow and Parquet


def arrow(name: str) -> Maker:
    def make(folder: Path) -> None:
        import pyarrow as pa

        columns = pa.table({"age": [1.0, 2.0, 3.0], "income": [4.0, 5.0, 6.5], "height": [0.1, 0.5, 0.7]})
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_file(sink, columns.schema) as writer:
            writer.write_table(columns)

    return make


def broken_arrow(name: str, damage: Callable[[bytes], bytes]) -> Maker:
    def make(folder: Path) -> None:
        arrow(name)(folder)
        (folder / name).write_bytes(damage((folder / name).read_bytes()))

    return make


def parquet(name: str, columns: Callable[[], dict[str, Any]]) -> Maker:
    def make(folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns()), folder / name)

    return make


# ---- CSV


def rows(header: str, row: str, count: int = 30) -> str:
    return header + "\n" + "\n".join([row] * count) + "\n"


def varied(header: str, columns: int, count: int = 30) -> str:
    rng = random.Random(0)
    lines = [",".join(f"{rng.gauss(0, 1):.6f}" for _ in range(columns)) for _ in range(count)]
    return header + "\n" + "\n".join(lines) + "\n"


# ---- JSON


def deep(depth: int) -> str:
    return "[" * depth


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def long_text(name: str, megabytes: int) -> Maker:
    def make(folder: Path) -> None:
        with open(folder / name, "w") as file:
            file.write('{"schema": 1, "findings": "')
            for _ in range(megabytes):
                file.write("x" * (1 << 20))
            file.write('"}')

    return make


# ---- a problem with strange names

NAMES = """
import torch
from torch import nn
import wellposed as wp

torch.manual_seed(0)
NAME = {name!r}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.add_module(NAME, nn.Linear(8, 8))
        self.last = nn.Linear(8, 1)

    def forward(self, x):
        return self.last(torch.relu(getattr(self, NAME)(torch.relu(self.first(x)))))


x = torch.randn(64, 3) * torch.tensor([1.0, 1e4, 1.0])
model = Net()
with torch.no_grad():
    getattr(model, NAME).weight.mul_({scale})
problem = wp.Problem(
    model=model,
    loss=nn.functional.mse_loss,
    train=(x, x[:, :1]),
    validation=(x + 1, x[:, :1]),
    optimizer=torch.optim.SGD(model.parameters(), 1e-2),
    feature_names=(NAME, "b" + NAME, "c"),
    name=NAME,
)
function = dict(f=model, inputs=(x,))
"""


def names(name: str, scale: float = 1e-6) -> Maker:
    """strange.py, whose problem, layers and columns have this name."""
    return lambda folder: (folder / "strange.py").write_text(strange_source(name, scale))


def strange_source(name: str, scale: float) -> str:
    """Names of modules hold no dots; and the source is ASCII, so that nothing but the name itself is strange."""
    return NAMES.replace("{name!r}", ascii(name.replace(".", "_"))).replace("{scale}", repr(scale))


def strange_problem(name: str) -> Any:
    """The same in this process."""
    space: dict[str, Any] = {"__name__": "strange"}
    exec(compile(strange_source(name, 1e-6), "strange", "exec"), space)
    return space["problem"]


def must_be_safe(text: str) -> str:
    """The text, if no control or bidi character stands in it."""
    found = UNSAFE.search(text)
    if found:
        raise UnsafeOutput(
            f"{found.group()!r} comes through in {text[max(0, found.start() - 30) : found.end() + 30]!r}"
        )
    return text
