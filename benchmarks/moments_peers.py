"""Mean, variance and standard deviation of columns, as other libraries compute them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[Any]
Estimate = tuple[Columns, Columns, Columns]
"""Mean, population variance and standard deviation of each column."""


def batches(x: Columns, rows: int) -> Iterator[Columns]:
    for start in range(0, len(x), rows):
        yield x[start : start + rows]


def _spread(mean: Any, variance: Any) -> Estimate:
    """None of the peers has another way to the standard deviation than the root of its variance."""
    mean, variance = np.asarray(mean), np.asarray(variance)
    return mean, variance, np.sqrt(variance)


def numpy_(x: Columns) -> Estimate:
    return _spread(x.mean(axis=0), x.var(axis=0))


def sklearn_fit(x: Columns) -> Estimate:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    return _spread(scaler.mean_, scaler.var_)


def sklearn_partial_fit(x: Columns, rows: int = 1000) -> Estimate:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    for batch in batches(x, rows):
        scaler.partial_fit(batch)
    return _spread(scaler.mean_, scaler.var_)


def torch_(x: Columns) -> Estimate:
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(x))
    variance, mean = torch.var_mean(
        tensor if tensor.is_floating_point() else tensor.double(), dim=0, correction=0
    )
    return _spread(mean.numpy(), variance.numpy())


def polars_(x: Columns) -> Estimate:
    import polars

    frame = polars.from_numpy(x)
    return _spread(
        frame.select(polars.all().mean()).to_numpy()[0], frame.select(polars.all().var(ddof=0)).to_numpy()[0]
    )


def duckdb_(x: Columns, threads: int = 2) -> Estimate:
    import duckdb
    import pyarrow

    table = pyarrow.table({f"c{i}": np.ascontiguousarray(x[:, i]) for i in range(x.shape[1])})
    asked = ", ".join(f"avg(c{i}), var_pop(c{i})" for i in range(x.shape[1]))
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.register("x", table)
        row = connection.execute(f"select {asked} from x").fetchone() or ()
    return _spread(np.array(row[::2], dtype=np.float64), np.array(row[1::2], dtype=np.float64))


def pandas_(x: Columns) -> Estimate:
    import pandas

    frame = pandas.DataFrame(x)
    return _spread(frame.mean(), frame.var(ddof=0))


_PEERS: dict[str, tuple[Callable[..., Estimate], tuple[str, ...]]] = {
    "numpy": (numpy_, ()),
    "sk fit": (sklearn_fit, ("sklearn",)),
    "sk part.": (sklearn_partial_fit, ("sklearn",)),
    "torch": (torch_, ("torch",)),
    "polars": (polars_, ("polars",)),
    "duckdb": (duckdb_, ("duckdb", "pyarrow")),
    "pandas": (pandas_, ("pandas",)),
}
PEERS = {name: run for name, (run, needs) in _PEERS.items() if all(map(find_spec, needs))}
"""The peers that are installed. ``sk fit`` and ``sk part.`` are scikit-learn's ``StandardScaler``, the second by
``partial_fit`` in chunks of 1,000 rows."""


def estimate(run: Callable[..., Estimate], x: Columns, **settings: Any) -> Estimate:
    """What a peer says; what it warns of is seen in its digits."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return run(x, **settings)
