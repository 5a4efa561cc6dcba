"""``wellposed demo``: the whole story on real data, in about a minute."""

from __future__ import annotations

import sys
from collections import OrderedDict
from importlib import import_module
from itertools import pairwise
from typing import Any

from ._check import check
from ._fix import fix
from ._race import race
from .errors import MissingDependency
from .problem import Problem

_HIDDEN, _LAYERS = 64, 12


def main() -> None:
    """Check, fix, check again and race a deep network with careless weights on scikit-learn's wine data."""
    problem = wine_problem()
    import_module("torch").set_num_threads(1)  # threads only slow so small a network down
    _say("1. A network of 12 layers on the wine data: raw features, weights drawn from N(0, 0.02²).")
    _say("   $ wellposed check wine.py:problem")
    print(check(problem, progress=_tell))
    _say("2. Mend what can be mended: training statistics for the inputs, new weights for the layers.")
    _say("   $ wellposed fix wine.py:problem")
    fixed = fix(problem, progress=_tell)
    print(fixed)
    _say("3. The mended problem, checked again.")
    print(fixed.after)
    _say("4. Does it matter? 200 steps of Adam, five seeds, each side at its own best rate.")
    print(race(problem, fixed.problem, progress=_tell))
    _say(
        "Now yours. Put a function that returns (model, loss, data) into train.py, and run\n"
        "   wellposed check train.py:problem\n"
        "   wellposed fix   train.py:problem\n"
        "In Python: wp.check(model, loss, train_loader, validation=..., optimizer=...)"
    )


def wine_problem() -> Problem:
    """The wine data (178 rows, 13 features with stds 2,530:1) and a network that nobody could train on it."""
    try:
        import torch
        from sklearn.datasets import load_wine
    except ImportError as error:
        raise MissingDependency(
            "the demo needs torch and scikit-learn: pip install 'wellposed[demo]'"
        ) from error
    wine: Any = load_wine()
    order = torch.randperm(len(wine.data), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(wine.data, dtype=torch.float32)[order]
    y = torch.tensor(wine.target)[order]
    generator = torch.Generator().manual_seed(1)
    sizes = [13] + [_HIDDEN] * (_LAYERS - 1) + [3]
    layers: dict[str, Any] = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        linear = torch.nn.Linear(fan_in, fan_out)
        torch.nn.init.normal_(linear.weight, std=0.02, generator=generator)
        torch.nn.init.zeros_(linear.bias)
        layers[f"fc{i}"] = linear
        if i < _LAYERS:
            layers[f"relu{i}"] = torch.nn.ReLU()
    model = torch.nn.Sequential(OrderedDict(layers))
    return Problem(
        model=model,
        loss=torch.nn.functional.cross_entropy,
        train=(x[:142], y[:142]),
        validation=(x[142:], y[142:]),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
        name="wine",
        feature_names=tuple(wine.feature_names),
    )


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _tell(stage: str) -> None:
    """One line of progress, on stderr, and only for a person who watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K  {stage} …", end="", file=sys.stderr, flush=True)
