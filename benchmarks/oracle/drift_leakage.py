"""Drift of new data from the training data, and what ``wp.check`` says of two splits: leakage, duplicates, shift, labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

import wellposed as wp

from .answers import Answer, Cases, rounded
from .verdicts import described

Table = np.ndarray
Pair = tuple[Table, Table]


def cases() -> Cases:
    drifts = {f"drift: {name}": partial(drift, train, new) for name, (train, new) in _drifting()}
    splits = {f"split: {name}": partial(split_check, *pair) for name, pair in _splits().items()}
    labels = {f"labels: {name}": partial(label_check, *labelled) for name, labelled in _labels().items()}
    return drifts | splits | labels


def table(rows: int = 300, *, seed: int = 0) -> Table:
    """Columns in many units: skewed, bounded, whole numbers, and two that go together."""
    rng = np.random.default_rng(seed)
    first = rng.normal(size=rows)
    return np.c_[
        rng.lognormal(1.3, 0.5, rows),
        rng.uniform(1, 52, rows).round(),
        rng.lognormal(7, 0.7, rows).round(),
        32 + 10 * rng.beta(2, 3, rows),
        first,
        0.9 * first + 0.1 * rng.normal(size=rows),
    ]


def images(count: int = 80) -> Table:
    rng = np.random.default_rng(8)
    smooth = rng.normal(size=(count, 3, 8, 8)).cumsum(axis=2).cumsum(axis=3)
    return np.round(255 / (1 + np.exp(-smooth / 4 + rng.normal(size=(count, 3, 1, 1)))))


def drift(train: Any, new: Any) -> Answer:
    """Every column of the comparison; its report in words too."""
    found = wp.Normalizer.fit(train).drift(new)
    answer: Answer = {
        "ok": found.ok,
        "rows": found.rows,
        "train_rows": found.train_rows,
        "chance": rounded(found.chance),
    }
    for column in found.columns:
        values = dataclasses.asdict(column)
        numbers = [f"{key} {rounded(value)}" for key, value in values.items() if isinstance(value, float)]
        answer[f"column {column.label}"] = (
            f"{' '.join(column.changes) or 'same'}, count {column.count}, {', '.join(numbers)}"
        )
    answer["drifted"] = " ".join(column.label for column in found.drifted)
    answer["words"] = str(found)
    return answer


def _changed(x: Table, column: int, change: Callable[[Table], Table]) -> Table:
    x = x.copy()
    x[:, column] = change(x[:, column])
    return x


def _holed(share: float) -> Callable[[Table], Table]:
    return lambda v: np.where(np.random.default_rng(5).random(len(v)) < share, np.nan, v)


def _drifting() -> Iterator[tuple[str, tuple[Any, Any]]]:
    x, y = table(2000), table(500, seed=1)
    yield "same distribution", (x, y)
    yield "few rows", (x, y[:8])
    yield "mean", (x, _changed(y, 4, lambda v: v + 0.5))
    yield "small mean", (x, _changed(y, 4, lambda v: v + 0.1))
    yield "variance", (x, _changed(y, 4, lambda v: 2 * v))
    yield "range", (x, _changed(y, 3, lambda v: v + 8))
    yield "units", (x, _changed(y, 2, lambda v: v / 1000))
    yield "missing", (x, _changed(y, 0, _holed(0.3)))
    yield "missing before", (_changed(x, 0, _holed(0.3)), y)
    yield "all missing", (x, _changed(y, 0, _holed(2.0)))
    yield "constant", (x, _changed(y, 4, lambda v: 0 * v))
    yield "all columns", (x, 1.5 * y + 1)
    yield "float32", (x.astype(np.float32), y.astype(np.float32))
    yield "images", (images(), 0.8 * images(60))
    yield "images, same", (images()[:40], images()[40:])
    yield "sequences", (x.reshape(200, 10, 6), y.reshape(50, 10, 6))
    yield "tensors", (torch.tensor(x), torch.tensor(y + 0.4))


def scaled(x: Table, by: Table, how: str, *, axis: Any = 0) -> Table:
    """The table, scaled by the statistics of another one."""
    if how == "minmax":
        low, high = by.min(axis, keepdims=True), by.max(axis, keepdims=True)
        return (x - low) / (high - low)
    if how == "maxabs":
        return x / np.abs(by).max(axis, keepdims=True)
    if how == "robust":
        low, middle, high = np.quantile(by, (0.25, 0.5, 0.75), axis=axis, keepdims=True)
        return (x - middle) / (high - low)
    return (x - by.mean(axis, keepdims=True)) / by.std(axis, keepdims=True)


def _splits() -> dict[str, Pair]:
    x = table()
    train, held = x[:225], x[225:]
    tables: dict[str, Pair] = {"raw": (train, held)}
    for how in ("standard", "minmax", "maxabs", "robust"):
        tables[f"{how} of the training rows"] = scaled(train, train, how), scaled(held, train, how)
        tables[f"{how} of all rows"] = scaled(train, x, how), scaled(held, x, how)
        tables[f"{how} of each split"] = scaled(train, train, how), scaled(held, held, how)
    right = tables["standard of the training rows"]
    leaky = tables["standard of all rows"]
    batches = np.concatenate([scaled(b, b, "standard") for b in np.split(x, 6)])
    tables |= {
        "standard of all rows in float32": (leaky[0].astype(np.float32), leaky[1].astype(np.float32)),
        "standard of each batch": (batches[:250], batches[250:]),
        "rows of the training split": (right[0], np.concatenate([right[1][:50], right[0][:25]])),
        "a row twice": (right[0], np.concatenate([right[1], right[0][:1]])),
        "the same split": (right[0], right[0]),
        "shifted": (right[0], right[1] + 1.5),
        "one column shifted": (right[0], _changed(right[1], 3, lambda v: v + 2)),
        "a constant column": (
            _changed(right[0], 1, lambda v: 0 * v + 3),
            _changed(right[1], 1, lambda v: 0 * v + 3),
        ),
        "missing entries": (_changed(right[0], 2, _holed(0.1)), right[1]),
        "infinite entries": (_changed(right[0], 2, lambda v: np.where(v > 2, np.inf, v)), right[1]),
        "one column in other units": (
            _changed(right[0], 0, lambda v: 1e4 * v),
            _changed(right[1], 0, lambda v: 1e4 * v),
        ),
        "far from zero": (right[0] + 300, right[1] + 300),
        "a column twice": (np.c_[right[0], right[0][:, 0]], np.c_[right[1], right[1][:, 0]]),
    }
    pictures = images() / 255
    shown, kept = pictures[:60], pictures[60:]
    axes = (0, 2, 3)
    tables |= {
        "images in 0 to 1": (shown, kept),
        "images in 0 to 255": (255 * shown, 255 * kept),
        "images, standard of the training ones": tuple(
            scaled(p, shown, "standard", axis=axes) for p in (shown, kept)
        ),
        "images, standard of all": tuple(scaled(p, pictures, "standard", axis=axes) for p in (shown, kept)),
        "images, each by itself": tuple(scaled(p, p, "standard", axis=(1, 2, 3)) for p in (shown, kept)),
        "images that come again": (shown, np.concatenate([kept[:10], shown[:10]])),
    }  # type: ignore[assignment]
    return tables


def split_check(train: Table, held: Table) -> Answer:
    """The rules on data, for a linear regression on the splits."""
    pairs = [(_tensor(x), _tensor(_target(x))) for x in (train, held)]
    return _data_rules(pairs[0], pairs[1], torch.nn.functional.mse_loss, outputs=1)


def label_check(train: Table, labels: Table, held: Table, held_labels: Table) -> Answer:
    """The rules on data, for a linear classifier."""
    pairs = [(_tensor(x), torch.tensor(y)) for x, y in ((train, labels), (held, held_labels))]
    outputs = int(max(labels.max(), held_labels.max())) + 1
    return _data_rules(pairs[0], pairs[1], torch.nn.functional.cross_entropy, outputs=outputs)


def _data_rules(train: Any, held: Any, loss: Any, *, outputs: int) -> Answer:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(train[0][0].numel(), outputs))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    report = wp.check(model, loss, train, validation=held, optimizer=optimizer, select=("WP1",), seed=0)
    return described(report)


def _tensor(x: Table) -> torch.Tensor:
    return torch.tensor(np.asarray(x, dtype=np.float32))


def _target(x: Table) -> Table:
    """Something that a regression can learn from the rows, finite whatever they hold."""
    flat = np.nan_to_num(x.reshape(len(x), -1).astype(np.float64), posinf=0, neginf=0)
    return np.tanh(flat[:, :3].sum(1, keepdims=True) / 10) + 0.1 * flat[:, -1:] / (1 + np.abs(flat[:, -1:]))


def _labels() -> dict[str, tuple[Table, Table, Table, Table]]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 6))
    y = x[:, :4].argmax(1)
    shuffled = rng.permutation(y)
    rare = np.where((y == 3) & (np.arange(400) % 20 > 0), 0, y)
    unseen = np.where(np.arange(400) < 300, np.minimum(y, 2), y)

    def cut(labels: Table) -> tuple[Table, Table, Table, Table]:
        return x[:300], labels[:300], x[300:], labels[300:]

    return {
        "in order": cut(y),
        "shuffled": cut(shuffled),
        "a rare class": cut(rare),
        "unseen in training": cut(unseen),
        "one class": cut(0 * y),
        "two classes": cut((y > 1).astype(np.int64)),
        "sorted": cut(np.sort(y)),
    }
