"""Every bit of the moments, and of what the normalizers give, over the ways in which data reach them.

Whitening goes through LAPACK, whose last bits depend on the processor; everything else here does not.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import torch

import wellposed as wp

from .answers import Answer, Cases, attempted, bits, digest, distinct, prefixed

Table = np.ndarray
NAMES = ("age", "income", "height", "score")
CHUNKS = (1, 7, 250, 1000)
ORDERS = ("as stored", "reversed", "shuffled")
FORMATS = ("npy", "csv", "parquet", "feather")
COMPILED = 1_100_000
"""Rows of eight columns from which the compiled sums are used."""


def cases() -> Cases:
    return distinct([*_tables(), *_shapes(), *_methods(), *_files(), *_large()])


def told(m: wp.Moments) -> Answer:
    """Everything that moments say, to the last bit."""
    return {
        "mean": bits(m.mean),
        "variance": bits(m.variance),
        "sample_variance": bits(m.sample_variance),
        "std": bits(m.std),
        "minimum": bits(m.minimum),
        "maximum": bits(m.maximum),
        "counts": f"rows {m.rows}, finite {bits(m.count)}, missing {bits(m.missing)}, infinite {bits(m.infinite)}",
        "constant": bits(m.constant),
        "precision": float(m.precision).hex(),
        "fingerprint": m.fingerprint,
    }


def normal(rows: int = 1500, *, seed: int = 0) -> Table:
    """Four columns: near 0, far from it, small, and skewed."""
    rng = np.random.default_rng(seed)
    return np.c_[
        rng.normal(size=rows),
        1e9 + rng.normal(size=rows),
        1e-6 * rng.normal(size=rows),
        rng.lognormal(3, 2, rows),
    ]


def _holed(x: Table) -> Table:
    holed = x.copy()
    holed[::7, 0], holed[::11, 1], holed[3, 2], holed[4, 2] = np.nan, np.inf, -np.inf, np.nan
    return holed


def tables() -> dict[str, Table]:
    """Of every dtype, and with all that floating-point numbers can hold."""
    x, rng = normal(), np.random.default_rng(1)
    wide = rng.normal(size=(1500, 3)) * 10.0 ** rng.integers(-250, 150, (1500, 3))
    return {
        "float64": x,
        "float32": x.astype(np.float32),
        "float16": rng.normal(size=(1500, 3)).astype(np.float16),
        "int64": rng.integers(-(2**62), 2**62, (1500, 3)),
        "int16": rng.integers(-300, 300, (1500, 3)).astype(np.int16),
        "uint8": rng.integers(0, 256, (1500, 3)).astype(np.uint8),
        "bool": rng.random((1500, 2)) < 0.3,
        "missing and infinite": _holed(x),
        "any magnitude": wide,
        "subnormal": 1e-310 * x[:, :1],
        "constant": np.full((1500, 2), (0.1, -3.0)),
        "big-endian": x.astype(">f8"),
        "Fortran order": np.asfortranarray(x),
        "every other row": np.repeat(x, 2, axis=0)[::2],
    }


def _tables() -> Iterator[tuple[str, Callable[[], Answer]]]:
    for name in tables():
        yield f"moments of {name}", partial(in_every_way, name)


def in_every_way(name: str) -> Answer:
    """The moments of the whole table, and how those of chunks, in any order, on any number of threads, differ: not by a bit."""
    x = tables()[name]
    whole = {rows: told(wp.Moments.of(x[:rows])) for rows in (200, len(x))}
    answer = dict(whole[len(x)])
    for rows, order, threads, tree in itertools.product(CHUNKS, ORDERS, (1, 2), (False, True)):
        few = x[:200] if rows == 1 else x  # chunks of one row are slow
        again, expected = told(_reduced(few, rows, order, threads, tree=tree)), whole[len(few)]
        changed = [field for field, value in again.items() if value != expected[field]]
        way = f"chunks of {rows}, {order}, {threads} threads, {'tree' if tree else 'in turn'}"
        answer[way] = "; ".join(f"{field} {again[field]}" for field in changed) or "same"
    answer["through JSON"] = told(wp.Moments.from_json(wp.Moments.of(x).to_json())) == whole[len(x)]
    return answer


def _reduced(x: Table, rows: int, order: str, threads: int, *, tree: bool) -> wp.Moments:
    rng = np.random.default_rng(0)
    x = {"reversed": x[::-1], "shuffled": x[rng.permutation(len(x))]}.get(order, x)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(wp.Moments.of, (x[start : start + rows] for start in range(0, len(x), rows))))
    while tree and len(parts) > 1:
        first, second = sorted(rng.choice(len(parts), size=2, replace=False), reverse=True)
        parts.append(parts.pop(first) | parts.pop(second))
    return reduce(or_, parts, wp.Moments.empty())


def _shapes() -> Iterator[tuple[str, Callable[[], Answer]]]:
    x, rng = normal(600), np.random.default_rng(2)
    pictures, steps = rng.random((20, 3, 8, 8)).astype(np.float32), x.reshape(60, 10, 4)
    weights = rng.integers(0, 5, 600)

    def with_products() -> Answer:
        m = wp.Moments.of(_holed(x), covariance=True, quantiles=True)
        quantiles = {f"quantile {q}": bits(m.quantile(q)) for q in (0.0, 0.05, 0.25, 0.5, 0.9, 1.0)}
        return (
            told(m)
            | quantiles
            | {"covariance": bits(m.covariance), "complete": m.complete, "rank": bits([m.rank_error])}
        )

    def of_sparse() -> Answer:
        import scipy.sparse

        return told(wp.Moments.of(scipy.sparse.csr_array(np.where(np.abs(x) > 1, x, 0))))

    def of_loader() -> Answer:
        pairs = torch.utils.data.TensorDataset(torch.tensor(x), torch.zeros(600))
        return told(wp.Moments.of(torch.utils.data.DataLoader(pairs, batch_size=64)))

    yield "one column", lambda: told(wp.Moments.of(x[:, 1]))
    yield "images", lambda: told(wp.Moments.of(pictures))
    yield "images, channels last", lambda: told(wp.Moments.of(np.moveaxis(pictures, 1, -1), axis=-1))
    yield "steps", lambda: told(wp.Moments.of(steps))
    yield "steps, each by itself", lambda: told(wp.Moments.of(steps, axis=(1, 2)))
    yield (
        "steps, masked",
        lambda: told(wp.Moments.of(steps, mask=np.arange(10) < rng.integers(3, 11, (60, 1)))),
    )
    yield "weighted", lambda: told(wp.Moments.of(x, sample_weight=weights))
    yield "repeated", lambda: told(wp.Moments.of(np.repeat(x, weights, axis=0)))
    yield (
        "weighted, with covariance",
        lambda: {"covariance": bits(wp.Moments.of(x, sample_weight=weights, covariance=True).covariance)},
    )
    yield "covariance and quantiles", with_products
    yield "sparse", of_sparse
    yield "loader", of_loader
    yield "list of batches", lambda: told(wp.Moments.of([x[:100], x[100:]]))
    yield "torch float64", lambda: told(wp.Moments.of(torch.tensor(x)))
    yield "torch bfloat16", lambda: told(wp.Moments.of(torch.tensor(x[:, ::2]).bfloat16()))
    yield "torch images", lambda: told(wp.Moments.of(torch.tensor(pictures)))
    yield "nothing", lambda: told(wp.Moments.empty(3))


METHODS: dict[str, dict[str, Any]] = {
    "standard": {},
    "standard, not centred": {"method": "standard", "with_centering": False},
    "standard, not scaled": {"method": "standard", "with_scaling": False},
    "standard, clipped": {"method": "standard", "clip": (-1, 2)},
    "minmax": {"method": "minmax"},
    "minmax to -1": {"method": "minmax", "feature_range": (-1, 1), "clip": True},
    "maxabs": {"method": "maxabs"},
    "robust": {"method": "robust"},
    "robust, 5 to 95": {"method": "robust", "quantile_range": (5, 95)},
    "whiten": {"method": "whiten"},
    "zca": {"method": "zca"},
    "standard, two columns": {"columns": [0, 3]},
    "standard, weighted": {"sample_weight": np.arange(1500) % 4},
}


def _methods() -> Iterator[tuple[str, Callable[[], Answer]]]:
    for name, options in METHODS.items():
        for data in ("float64", "float32", "missing and infinite", "int16", "constant"):
            yield f"normalizer, {name}, {data}", partial(normalized, data, options)
    yield "normalizer of statistics", of_statistics


def normalized(name: str, options: dict[str, Any]) -> Answer:
    """A normalizer fitted, applied, undone, saved and loaded, and exported."""
    x = tables()[name]
    n = wp.Normalizer.fit(x, **options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "norm.json")
        n.save(path)
        loaded = wp.Normalizer.load(path)
    answer = _of_normalizer(n, x) | {"loaded gives the same": digest(loaded(x)) == digest(n(x))}
    linear = torch.nn.Linear(x.shape[1], 2)
    with torch.no_grad():
        for p in linear.parameters():
            p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape))
    tensor = torch.tensor(x[:50])
    answer |= attempted(lambda: {"tensor": digest(n(tensor).numpy())})
    answer |= prefixed("to_torch", attempted(lambda: {"gives": digest(n.to_torch()(tensor).numpy())}))
    answer |= prefixed("to_sklearn", attempted(lambda: {"gives": digest(n.to_sklearn().transform(x))}))
    answer |= prefixed("to_jax", attempted(lambda: {"gives": digest(np.asarray(n.to_jax()(x[:50])))}))
    answer |= prefixed("to_sql", attempted(lambda: {"gives": n.to_sql()}))
    answer |= prefixed(
        "fold_into",
        attempted(lambda: {p: bits(v.detach()) for p, v in n.fold_into(linear).named_parameters()}),
    )
    return answer


def _of_normalizer(n: wp.Normalizer, x: Table) -> Answer:
    z = n(x)
    return {
        "first row": bits(z[0]),
        "applied": digest(z),
        "applied to new rows": digest(n(x[::-1][:100])),
        "inverse": digest(n.inverse(z)),
        "remarks": "; ".join(map(str, n.remarks)),
    }


def of_statistics() -> Answer:
    n = wp.Normalizer.from_statistics(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], ndim=4)
    return _of_normalizer(n, np.random.default_rng(3).random((6, 3, 4, 4)).astype(np.float32))


def _files() -> Iterator[tuple[str, Callable[[], Answer]]]:
    for kind in FORMATS:
        for method in ("standard", "minmax", "robust", "zca"):
            yield f"file, {kind}, {method}", partial(of_file, kind, method)
        yield f"file, {kind}, command line", partial(by_command, kind)
    yield "file, parquet, parts", partial(of_file, "parquet", "standard", parts=3)
    yield "file, csv, parts", partial(of_file, "csv", "minmax", parts=3)


def written(x: Table, path: Path) -> None:
    """The table as a file of the kind that the suffix names; all but NPY with names, a text column and whole numbers."""
    import pandas as pd

    if path.suffix == ".npy":
        np.save(path, x)
        return
    frame = pd.DataFrame(x, columns=list(NAMES))
    frame["city"] = np.where(np.arange(len(x)) % 2, "Oslo", "Rome")
    frame["visits"] = np.arange(len(x)) % 90
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_feather(path)


def of_file(kind: str, method: str, *, parts: int = 1) -> Answer:
    """A normalizer fitted on a file, or on several of them in a folder, applied to an array or a table."""
    import pandas as pd

    x = _holed(normal(900))
    with tempfile.TemporaryDirectory() as folder:
        for number, part in enumerate(np.array_split(x, parts)):
            written(part, Path(folder, f"part-{number}.{kind}"))
        only = Path(folder, f"part-0.{kind}")
        n = wp.Normalizer.fit(only if parts == 1 else Path(folder), method=method)
        if kind == "npy":
            return _of_normalizer(n, x)
        written(x, Path(folder, "all.csv"))
        z = n(pd.read_csv(Path(folder, "all.csv"), float_precision="round_trip"))
        numbers = z.select_dtypes("number")
        return {
            "columns": " ".join(f"{name} {kind}" for name, kind in z.dtypes.astype(str).items()),
            "first row": bits(numbers.iloc[0]),
            "applied": digest(numbers.to_numpy(dtype=np.float64)),
            "remarks": "; ".join(map(str, n.remarks)),
        }


def by_command(kind: str) -> Answer:
    """``wellposed normalize fit`` and ``apply``: what they write, and what they say."""
    with tempfile.TemporaryDirectory() as folder:
        written(_holed(normal(300)), Path(folder, f"train.{kind}"))
        written(normal(100, seed=5), Path(folder, f"new.{kind}"))
        out = f"out.{kind}"
        runs = {
            "fit": ("fit", f"train.{kind}", "-o", "norm.json"),
            "apply": ("apply", "norm.json", f"new.{kind}", "-o", out),
            "drift": ("drift", "norm.json", f"new.{kind}", "--format", "json"),
        }
        answer = {name: _command(folder, arguments) for name, arguments in runs.items()}
        answer["written"] = (
            digest(_numbers_of(Path(folder, out))) if Path(folder, out).exists() else "nothing"
        )
    return answer


def _command(folder: str, arguments: tuple[str, ...]) -> str:
    command = [sys.executable, "-m", "wellposed", "normalize", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return f"exit {done.returncode}; {' '.join(done.stdout.split())}"


def _numbers_of(path: Path) -> Table:
    import pandas as pd

    if path.suffix == ".npy":
        return np.load(path)
    readers = {
        ".csv": partial(pd.read_csv, float_precision="round_trip"),
        ".parquet": pd.read_parquet,
        ".feather": pd.read_feather,
    }
    return readers[path.suffix](path).select_dtypes("number").to_numpy(dtype=np.float64)


def _large() -> Iterator[tuple[str, Callable[[], Answer]]]:
    for dtype in ("float64", "float32", "int32"):
        yield f"compiled sums, {dtype}", partial(large, dtype)
    yield "compiled sums, missing entries", partial(large, "float64", holes=True)


def large(dtype: str, *, holes: bool = False) -> Answer:
    """So many entries that the sums are compiled."""
    x = np.random.default_rng(4).normal(1e3, 1e2, size=(COMPILED, 8)).astype(dtype)
    if holes:
        x[::13, 2], x[5::17, 3] = np.nan, np.inf
    answer = told(wp.Moments.of(x))
    return answer | {
        "in chunks": wp.Moments.of([x[:70_001], x[70_001:]]).fingerprint == answer["fingerprint"]
    }
