"""Cases that only count: nobody who writes rules reads them: sick, part 3."""

from __future__ import annotations

import torch
from torch import nn

from wellposed import Problem

from . import data
from .book import Book

book = Book()


@book.sick(
    "WP303 WP302 WP202 WP203 WP607 WP207", "weights from rand where randn was meant: all positive, mean .5"
)
def positive_random_weights(faulty: bool) -> Problem:
    train, held_out = data.split(*data.digit_rows())
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            with torch.no_grad():
                layer.weight.copy_(
                    torch.rand(layer.weight.shape) if faulty else torch.randn(layer.weight.shape) / 8
                )
                layer.bias.zero_()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=64),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    )
