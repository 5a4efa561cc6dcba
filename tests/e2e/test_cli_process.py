"""The command line as a process of its own: what it loads, what it prints, how it ends."""

import json
import os
import shlex
import subprocess
import sys

import pytest

HEAVY = ("numpy", "torch", "rich", "msgspec")
PROBLEM = """
import os
import torch
from torch import nn

print("a print of theirs")
os.write(1, b"and one past Python\\n")
generator = torch.Generator().manual_seed(0)
inputs = torch.randn(120, 4, generator=generator)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
labels = (inputs @ torch.randn(4, 3, generator=generator)).argmax(1)
problem = (model, nn.CrossEntropyLoss(), (inputs, labels))
"""


def wellposed(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wellposed", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.fixture
def train(tmp_path):
    (tmp_path / "train.py").write_text(PROBLEM)
    return f"{tmp_path / 'train.py'}:problem"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "--help"], ["normalize", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from wellposed.cli import main\n"
        f"try: main({arguments!r})\n"
        f"finally: sys.exit([name for name in {HEAVY!r} if name in sys.modules] or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert "wellposed" in done.stdout


def test_every_command_has_help_of_at_most_80_columns():
    code = """
from wellposed.cli import commands
for name in commands.commands:
    commands([name, "--help"], standalone_mode=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.count("Usage:") == 10
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_check_prints_pure_json(train):
    done = wellposed("check", train, "--format", "json")
    report = json.loads(done.stdout)

    assert done.returncode == (1 if any(f["severity"] != "note" for f in report["findings"]) else 0)
    assert "a print of theirs" in done.stderr
    assert "and one past Python" in done.stderr


def test_check_ends_with_its_verdict_and_without_colour(train):
    done = wellposed("check", train)
    paragraphs = done.stdout.strip().split("\n\n")

    assert paragraphs[-1].startswith("READY")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_check_runs_only_what_was_selected(train):
    done = wellposed("check", train, "--select", "WP1", "--ignore", "constant-feature", "--format", "json")
    report = json.loads(done.stdout)
    codes = {f["code"] for f in report["findings"] + report["skipped"]} | set(report["passed"])

    assert codes
    assert {code[:3] for code in codes} == {"WP1"}
    assert "WP104" not in codes


def test_a_misspelt_rule_is_wrong_usage(train):
    done = wellposed("check", train, "--select", "WP101,vanishing-activation")

    assert done.returncode == 2
    assert "error: no rule is called 'vanishing-activation': did you mean vanishing-act" in done.stderr


@pytest.mark.parametrize("command", ["signals", "init", pytest.param("fix", marks=pytest.mark.slow)])
def test_what_a_command_prints_fits_80_columns(command, train):
    done = wellposed(command, train)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 2
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_gradcheck_takes_a_problem(train):
    done = wellposed("gradcheck", train)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("PASSED")


def test_the_rules_are_listed_and_each_has_a_page_of_80_columns():
    listed = json.loads(wellposed("rules", "--format", "json").stdout)
    code = (
        "import json, sys\nfrom wellposed import explain\n"
        "json.dump({c: explain(c) for c in json.load(sys.stdin)}, sys.stdout)"
    )
    codes = json.dumps([rule["code"] for rule in listed])
    done = subprocess.run(
        [sys.executable, "-c", code], input=codes, capture_output=True, text=True, check=True
    )
    pages = json.loads(done.stdout)

    assert len(pages) == len(listed) > 30
    assert [c for c, page in pages.items() if max(map(len, page.splitlines())) > 80] == []
    assert [c for c, page in pages.items() if "How to fix it" not in page] == []


def test_explain_finds_a_rule_by_name():
    done = wellposed("explain", "feature-scale-imbalance", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("WP101 feature-scale-imbalance\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_changes_nothing_but_what_is_seen(closed):
    command = f"{shlex.quote(sys.executable)} -m wellposed rules {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert (">&-" in closed and not closed.startswith("2")) == (done.stdout == "")


def test_a_reader_who_leaves_early_is_no_error():
    code = f"import subprocess as s; p = s.Popen([{sys.executable!r}, '-m', 'wellposed', 'rules'], stdout=s.PIPE, stderr=s.PIPE); p.stdout.close(); e = p.stderr.read(); print(p.wait(), e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stdout == "141 b''\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_standard_output_on_a_full_disk_is_told():
    command = f"{shlex.quote(sys.executable)} -m wellposed rules > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr == "error: standard output cannot be written: No space left on device\n"
