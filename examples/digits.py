"""A healthy problem: handwritten digits, a small network, Adam. ``wellposed check examples/digits.py:problem``."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import wellposed as wp


def problem() -> wp.Problem:
    torch.manual_seed(0)
    data = load_digits()
    order = torch.randperm(len(data.data))
    x = torch.tensor(data.data, dtype=torch.float32)[order] / 16
    y = torch.tensor(data.target)[order]
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return wp.Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=(x[:1400], y[:1400]),
        validation=(x[1400:], y[1400:]),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
        name="digits",
    )
