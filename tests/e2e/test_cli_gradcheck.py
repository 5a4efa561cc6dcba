"""`wellposed gradcheck`: what it takes, what it says when it cannot take it, exit codes, text and JSON."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from wellposed.cli import main
from wellposed.gradcheck.result import GradientCheck

FILE = """
import numpy as np
import torch
import wellposed as wp

x = np.linspace(-1, 1, 5)

def cubes(x):
    print("theirs")
    return float((x ** 3).sum())

right = dict(f=cubes, inputs=(x,), gradient=lambda x: 3 * x ** 2)

def wrong():
    return dict(f=cubes, inputs=x, gradient=-3 * x ** 2)

def shaky(x):
    shaky.calls = getattr(shaky, "calls", 0) + 1
    return float((x ** 3).sum()) + shaky.calls % 7

unrepeatable = dict(f=shaky, inputs=x, gradient=lambda x: 3 * x ** 2)

class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x, None  # the 2 is forgotten

class Net(torch.nn.Module):
    def forward(self, tokens, mask=None):
        return tokens

apply = Square.apply
net = torch.nn.Linear(3, 2)
points = torch.linspace(0.5, 2, 12, dtype=torch.float64).reshape(3, 4)
halved = (Square.apply, points, 1.0)
problem = wp.Problem(model=net, loss=torch.nn.MSELoss(), train=(torch.ones(4, 3), torch.zeros(4, 2)))
trio = (net, torch.nn.MSELoss(), (torch.ones(4, 3), torch.zeros(4, 2)))

def two(a, b): return a * b
def crashes(): return 1 / 0
def forgets(): wrong()
misnamed = dict(f=two, input=3)
listed = [two, 1.0, 2.0]
nothing = 3
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "gradients.py"
    file.write_text(FILE)
    return file


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["gradcheck", *map(str, arguments)])
    return stop.value.code


@pytest.mark.parametrize("name", ["right", "problem", "trio"])
def test_a_right_gradient_passes_whatever_form_it_comes_in(file, name, capsys):
    assert run(f"{file}:{name}") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("PASSED")


def test_a_wrong_one_fails_on_one_screen_that_ends_with_the_verdict(file, capsys):
    assert run(f"{file}:halved") == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAIL  gradient of x: scaled")
    assert any(line.startswith("      next  a constant factor") for line in lines)
    assert lines[-1].startswith("FAILED   1 of 1 tensor wrong")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_a_check_that_cannot_tell_counts_as_a_finding_and_says_what_to_do(file, capsys):
    assert run(f"{file}:unrepeatable") == 1

    out = " ".join(capsys.readouterr().out.split())
    assert "make two calls agree" in out
    assert "INCONCLUSIVE 1 of 1 tensor undecided" in out


def test_with_json_standard_output_holds_every_field_and_nothing_else(file, capsys):
    assert run(f"{file}:wrong", "--format", "json") == 1

    captured = capsys.readouterr()
    found = json.loads(captured.out, parse_constant=pytest.fail)
    assert set(found) == {f.name for f in fields(GradientCheck)}
    assert found["verdict"] == "fail"
    assert found["cause"] == "sign-flipped"
    assert [t["name"] for t in found["tensors"]] == ["x"]
    assert "theirs" in captured.err


def test_numbers_that_are_not_finite_are_strings_in_json(file, capsys):
    assert run(f"{file}:unrepeatable", "--format", "json") == 1

    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["verdict"] == "inconclusive"
    assert found["resolution"] == "inf"


def test_options_reach_the_check(file, monkeypatch, capsys):
    asked = {}

    def check(f, *inputs, **options):
        asked.update(options)
        raise ValueError

    monkeypatch.setattr("wellposed.gradcheck.check_gradients", check)
    run(
        f"{file}:halved",
        *("--mode", "forward", "--order", "2", "--resolution", "1e-4", "--no-replay", "--seed", "3"),
    )

    assert asked == {"mode": "forward", "order": 2, "resolution": 1e-4, "replay": False, "seed": 3}


def test_a_finer_resolution_than_can_be_had_is_inconclusive(file):
    assert run(f"{file}:right", "--resolution", "1e-15") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Square", "is a torch autograd.Function, .* write check = (Square.apply, x, scale) in "),
        ("Square.apply", "write check = (Square.apply, x, scale) in "),
        ("apply", "write check = (apply, x, scale) in "),
        (
            "net",
            "is a torch module (Linear), and nothing says at which inputs to check it: write check = (net, input)",
        ),
        ("Net", "write check = (Net(), tokens) in "),
        ("two", "write check = (two, a, b) in "),
        ("two", "check = dict(f=two, inputs=[a, b], gradient=...)"),
        ("forgets", "gives None (was `return` forgotten?)"),
        (
            "misnamed",
            "gives a dict with the keys f, input: expected f, which is a function, inputs and gradient",
        ),
        ("listed", "gives a list: expected a Problem, a tuple (function, *inputs), dict"),
        ("nothing", "gives an int: expected a Problem"),
        ("absent", "has no attribute 'absent'"),
    ],
)
def test_what_cannot_be_checked_is_refused_with_what_to_write(file, name, said, capsys):
    assert run(f"{file}:{name}") == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(part in captured.err for part in said.split(".*"))
    assert captured.err.count("\n") == 1


def test_what_the_users_code_raises_exits_with_3_and_their_traceback(file, capsys):
    assert run(f"{file}:crashes") == 3

    error = capsys.readouterr().err
    assert "def crashes(): return 1 / 0" in error
    assert "wellposed/cli" not in error


@pytest.mark.parametrize("options", [("--mode", "sideways"), ("--order", "3"), ("--resolution", "0")])
def test_an_option_with_a_value_it_cannot_take_is_wrong_usage(file, options, capsys):
    assert run(f"{file}:right", *options) == 2
    assert options[0] in capsys.readouterr().err


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("example", "first", "code"),
    [
        ("backward.py:swish", "FAIL  gradient of x", 1),
        ("backward.py:mended", "", 0),
        ("backward.py:linear", "FAIL  gradient of W: transposed", 1),
        ("backward.py:noisy", "", 0),
        ("backward_jax.py:wrong_side", "FAIL  gradient of x", 1),
        ("backward_numpy.py:network", "", 0),
        ("backward_numpy.py:forgetful", "FAIL  gradients of W1 and 3 more: missing-mean", 1),
    ],
)
def test_the_examples_find_what_they_say(example, first, code, capsys):
    assert run(ROOT / "examples" / example) == code
    assert capsys.readouterr().out.startswith(first)


def test_the_guide_is_true():
    guide = (ROOT / "docs" / "gradients.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", guide, flags=re.DOTALL)

    torch.manual_seed(0)
    exec("\n".join(blocks), {})  # its assertions are the test

    assert len(blocks) >= 4
