"""A fit that is killed, again and again, and goes on: in the end it is the fit that nobody touched."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PIECES, ROWS = 150, 200
WRITES_EVERY_PIECE = """
import os, signal, sys, time
from wellposed.cli import main
from wellposed.moments import resume
from wellposed.data import parquet

class Told(resume.Checkpoint):
    def write(self, begun, done):
        os.write(1, b"\\0")
        time.sleep(0.01)  # a slow disk: time enough to be killed in
        super().write(begun, done)

signal.signal(signal.SIGINT, signal.default_int_handler)
resume.EVERY_SECONDS = resume.SHARE = 0
parquet.PIECE_BYTES = parquet._LONG = 200 * 4 * 8  # a row group is a piece
sys.modules["wellposed.moments.resume"].Checkpoint = Told
main(sys.argv[1:])
"""
"""The command line, which writes a checkpoint after each piece, and a zero byte before each."""


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(PIECES * ROWS, 3)) * [1.0, 1e5, 1e-5] + [1e8, 0.0, 3.0]
    values[rng.random(values.shape) < 0.01] = np.nan
    table = pa.table(
        {**dict(zip("abc", values.T, strict=True)), "n": rng.integers(-(2**62), 2**62, len(values))}
    )
    parquet.write_table(table, tmp_path / "train.parquet", row_group_size=ROWS)
    return tmp_path / "train.parquet"


def start(data, *options):
    command = [sys.executable, "-c", WRITES_EVERY_PIECE, "normalize", "fit", str(data), *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def wait_for(process, checkpoints):
    assert process.stdout is not None
    assert process.stdout.read(checkpoints)


def finish(process):
    out, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return out


def held(file):
    """The artifact without the time at which it was made, and the digest over that."""
    artifact = json.loads(file.read_text())
    artifact["provenance"].pop("created")
    artifact.pop("digest")
    return artifact


@pytest.mark.parametrize("method", ["standard"])
def test_a_fit_killed_at_ten_random_moments_ends_with_the_same_bits(data, tmp_path, method):
    moments = random.Random(5)
    options = ("--method", method, "--checkpoint", tmp_path / "kept")
    finish(start(data, "-o", tmp_path / "whole.json", "--method", method))
    for number in range(10):
        process = start(data, "-o", tmp_path / "resumed.json", *options)
        if number:  # the first is killed before it has kept anything, or soon after
            wait_for(process, moments.randint(1, 12))
        time.sleep(moments.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "resumed.json").exists()
    last = finish(start(data, "-o", tmp_path / "resumed.json", *options))

    assert last.count(b"\0") < PIECES - 9  # the others were not read again
    assert held(tmp_path / "resumed.json") == held(tmp_path / "whole.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["resumed.json", "train.parquet", "whole.json"]


def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(data, tmp_path):
    options = ("-o", tmp_path / "n.json", "--checkpoint", tmp_path / "kept")
    process = start(data, *options)
    wait_for(process, 5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()

    assert process.returncode == 130
    told = errors.decode().splitlines()
    assert told[0] == "interrupted"
    assert told[1].endswith(f"rows are kept in {tmp_path / 'kept'}: run the same again to go on")
    assert len(told) == 2
    assert finish(start(data, *options)).count(b"\0") < PIECES
