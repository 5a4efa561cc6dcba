"""What scikit-learn's tests of StandardScaler, MinMaxScaler, MaxAbsScaler and RobustScaler claim."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_iris

import wellposed as wp
from benchmarks.peer_claims import statistics
from benchmarks.peer_claims.claims import (
    Claim,
    Grid,
    Outcome,
    all_of,
    close,
    contradicted,
    equal,
    held,
    refusal,
)
from wellposed.normalize.export.sklearn import NormalizerTransformer

METHODS = ("standard", "minmax", "maxabs", "robust")
EPS = float(np.finfo(np.float64).eps)


def data(name: str) -> Any:
    rng = np.random.default_rng(0)
    tables: dict[str, Callable[[], Any]] = {
        "iris": lambda: load_iris().data,
        "normal": lambda: rng.normal(size=(40, 3)),
        "offset": lambda: rng.normal(size=(60, 2)) + 1e6,
        "large offset": lambda: rng.normal(size=(60, 2)) + 1e12,
        "scales": lambda: rng.normal(size=(30, 4)) * np.array([1e-150, 1e-5, 1e5, 1e150]),
        "skewed": lambda: np.exp(3 * rng.normal(size=(50, 2))),
        "zero column": lambda: np.column_stack([np.zeros(8), rng.normal(size=8)]),
        "one column": lambda: np.linspace(-2, 5, 30)[:, None],
        "negative": lambda: np.array(
            [[0.0, 1.0, 0.5, -1.0], [0.0, 1.0, -0.3, -0.5], [0.0, 1.0, -100.0, 0.0], [0.0, 0.0, 0.0, -2.0]]
        ),
        "missing": lambda: np.array([[0, 1, 3], [np.nan, 6, 10], [5, 4, np.nan], [8, 0, np.nan]]),
        "two rows": lambda: np.array([[1.0, -3.0], [2.0, 7.0]]),
        "toy": lambda: np.array([[0.0, 1.0, 0.5], [0.0, 1.0, -0.1], [0.0, 1.0, 1.1]]),
    }
    return tables[name]()


NAMES = (
    "iris",
    "normal",
    "offset",
    "large offset",
    "scales",
    "skewed",
    "zero column",
    "one column",
    "negative",
    "missing",
    "two rows",
    "toy",
)
DTYPES = ("float64", "float32", "float16", "int32", "int64", "uint8")


def cast(name: str, dtype: str) -> Any:
    x = data(name)
    if dtype == "uint8":
        x = np.abs(x) * 20 % 250
    elif dtype.startswith("int"):
        x = x * 100
    with np.errstate(over="ignore", under="ignore"):
        return x.astype(dtype)


def truths(x: Any, method: str) -> tuple[Any, Any]:
    both = [statistics.center_and_scale(c, method) for c in x.T]
    return np.array([b[0] for b in both]), np.array([b[1] for b in both])


def coarse(x: Any) -> Any:
    """Columns whose spread is within the rounding of what was stored, which may count as constant."""
    spacing = (
        np.spacing(np.nanmax(np.abs(x), axis=0)).astype(float)
        if x.dtype.kind == "f"
        else np.zeros(x.shape[1])
    )
    spread = np.nanmax(x.astype(float), axis=0) - np.nanmin(x.astype(float), axis=0)
    return spread <= 2 * spacing


def attributes(name: str, dtype: str, method: str) -> Outcome:
    x = cast(name, dtype)
    n = wp.Normalizer.fit(x, method=method)
    center, scale = truths(x, method)
    return all_of(
        close(n.center, center, rtol=4 * EPS, what="center"),
        close(n.scale, scale, rtol=8 * EPS, what="scale"),
    )


def moments(name: str, dtype: str) -> Outcome:
    """Mean and variance rounded once, counts, extremes."""
    x = cast(name, dtype)
    m = wp.Moments.of(x)
    return all_of(
        equal(m.mean, [statistics.mean(c) for c in x.T], what="mean"),
        equal(m.variance, [statistics.variance(c) for c in x.T], what="variance"),
        close(m.std, [statistics.std(c) for c in x.T], rtol=EPS, what="std"),
        equal(m.count, np.sum(np.isfinite(x), axis=0), what="count"),
        equal(m.minimum, np.nanmin(x, axis=0).astype(float), what="minimum"),
        equal(m.maximum, np.nanmax(x, axis=0).astype(float), what="maximum"),
    )


def transformed(name: str, dtype: str, method: str) -> Outcome:
    """The transform, its dtype, and a copy: x is not written."""
    x = cast(name, dtype)
    kept = x.copy()
    n = wp.Normalizer.fit(x, method=method)
    got = n(x)
    center, scale = truths(x, method)
    want = (x.astype(np.longdouble) - center) / scale
    out = np.dtype(dtype if x.dtype.kind == "f" else "float32")
    size = float(np.nanmax(np.abs(x.astype(float)) / scale))
    eps = float(np.finfo(out).eps)
    tiny = float(np.finfo(out).smallest_subnormal)
    return all_of(
        equal(str(got.dtype), str(out), what="dtype"),
        equal(x, kept, what="x after the transform"),
        close(got, want, rtol=2 * eps, atol=8 * EPS * (1 + size) + tiny, what="transform"),
    )


def back(name: str, dtype: str, method: str) -> Outcome:
    x = cast(name, dtype)
    n = wp.Normalizer.fit(x, method=method)
    got = n.inverse(n(x))
    eps = float(np.finfo(got.dtype).eps)
    size = np.nanmax(np.abs(x.astype(float)), axis=0) + np.abs(n.center)
    worst = np.nanmax(np.abs(got.astype(np.longdouble) - x.astype(np.longdouble)) / (8 * eps * size + 1e-300))
    return (
        held()
        if worst <= 1
        else contradicted(f"inverse of transform is {float(worst):.3g} times the rounding away")
    )


def normalised(name: str, method: str) -> Outcome:
    """Mean 0 and std 1, extremes 0 and 1, largest absolute value 1, median 0 and quartiles 1 apart; constant columns at 0."""
    x = data(name)
    z = wp.Normalizer.fit(x, method=method)(x)
    constant = np.nanmax(x, axis=0) == np.nanmin(x, axis=0)
    live = z[:, ~constant]
    tol = 1e-9 * (1 + float(np.nanmax(np.abs(x) / truths(x, method)[1])) * 1e-6) + 1e-15 * float(
        np.nanmax(np.abs(x) / truths(x, method)[1])
    )
    if method == "standard":
        return all_of(
            close(np.nanmean(z, axis=0), 0.0 * x[0], atol=tol),
            close(np.nanstd(live, axis=0), np.ones(live.shape[1]), rtol=tol),
        )
    if method == "minmax":
        return all_of(
            close(np.nanmin(z, axis=0), np.zeros(x.shape[1]), atol=tol),
            close(np.nanmax(live, axis=0), np.ones(live.shape[1]), rtol=tol),
        )
    if method == "maxabs":
        zero = np.nanmax(np.abs(x), axis=0) == 0
        return close(np.nanmax(np.abs(z[:, ~zero]), axis=0), np.ones(int(np.sum(~zero))), rtol=1e-12)
    spread = np.array([statistics.quartiles(c)[2] - statistics.quartiles(c)[0] for c in x.T])
    q = np.nanpercentile(z[:, spread > 0], [25, 50, 75], axis=0)
    return all_of(
        close(q[1], np.zeros(q.shape[1]), atol=tol), close(q[2] - q[0], np.ones(q.shape[1]), rtol=tol)
    )


def partial(name: str, method: str, size: int) -> Outcome:
    """Batches give what fit gives: the very same bits, and as many rows."""
    x = data(name)
    whole = NormalizerTransformer(method=method).fit(x)
    parts = NormalizerTransformer(method=method)
    for start in range(0, len(x), size):
        parts.partial_fit(x[start : start + size])
    return all_of(
        equal(parts.normalizer_.center, whole.normalizer_.center, what="center"),
        equal(parts.normalizer_.scale, whole.normalizer_.scale, what="scale"),
        equal(parts.n_samples_seen_, len(x), what="rows"),
        equal(parts.transform(x), whole.transform(x), what="transform"),
    )


def one_batch(size: int) -> Outcome:
    """After one batch, a single row too: variance 0 and scale 1."""
    x = data("normal")[:size]
    t = NormalizerTransformer().partial_fit(x)
    scale = np.array([statistics.std(c) or 1.0 for c in x.T])
    return all_of(
        close(t.normalizer_.scale, scale, rtol=4 * EPS),
        close(t.normalizer_.mean, [statistics.mean(c) for c in x.T], rtol=EPS),
    )


def constant(value: float, dtype: str, rows: int, method: str) -> Outcome:
    """A constant column is not scaled, but for maxabs, and its std is exactly 0."""
    x = np.full((rows, 1), value, dtype=dtype)
    n = wp.Normalizer.fit(x, method=method)
    z = n(x)
    if method == "maxabs":
        want = float(np.sign(value))
        return all_of(
            equal(n.std, [0.0], what="std"),
            close(z, np.full((rows, 1), want), rtol=2 * float(np.finfo(dtype).eps)),
        )
    return all_of(
        equal(n.std, [0.0], what="std"),
        equal(n.scale, [1.0], what="scale"),
        equal(z, np.zeros((rows, 1)), what="transform"),
    )


def near_constant(rows: int, average: float, dtype: str, exponent: int) -> Outcome:
    """average ± 10^exponent: the std is exact, and the scale is the std, or 1 where the entries differ by rounding alone."""
    step = np.array(10.0**exponent, dtype=dtype)
    x = np.empty((rows, 1), dtype=dtype)
    x[: rows // 2] = np.array(average, dtype) + step
    x[rows // 2 :] = np.array(average, dtype) - step
    n = wp.Normalizer.fit(x)
    true = statistics.std(x[:, 0])
    outcomes = [close(n.std, [true], rtol=2 * EPS, what="std")]
    if true == 0:
        outcomes.append(equal(n.scale, [1.0], what="scale"))
    elif not coarse(x)[0]:
        outcomes.append(close(n.scale, [true], rtol=2 * EPS, what="scale"))
    return all_of(*outcomes)


def lists(method: str) -> Outcome:
    rows = [[1.0, 3.0], [5.0, 0.0], [2.0, 2.0]]
    a, b = wp.Normalizer.fit(rows, method=method), wp.Normalizer.fit(np.array(rows), method=method)
    return all_of(equal(a.center, b.center), equal(a.scale, b.scale))


def toy_new(method: str) -> Outcome:
    """New rows beyond the training range are mapped by the training statistics."""
    x, new = data("toy"), np.array([[0.0, 2.0, 0.5], [-1.0, 1.0, 0.0], [0.0, 1.0, 1.5]])
    center, scale = truths(x, method)
    return close(
        wp.Normalizer.fit(x, method=method)(new),
        (new.astype(np.longdouble) - center) / scale,
        rtol=1e-14,
        atol=1e-15,
    )


def integers_back() -> Outcome:
    x = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [0, 8, 0, 1], [1, 4, 1, 1]], dtype=np.int32)
    got = wp.Normalizer.fit(x).inverse(x)
    center, scale = truths(x, "standard")
    return all_of(
        equal(got.dtype.kind, "f", what="kind"),
        close(got, x * scale.astype(np.longdouble) + center, rtol=1e-6),
    )


def half_floats() -> Outcome:
    x = np.random.default_rng(0).uniform(5, 10, (200_000, 1)).astype(np.float16)
    n = wp.Normalizer.fit(x)
    z = n(x)
    return all_of(
        equal(bool(np.all(np.isfinite(z))), True),
        close(z, n(x.astype(np.float64)), atol=5e-3, rtol=1e-3),
        equal(str(z.dtype), "float16"),
    )


def names_out() -> Outcome:
    import pandas

    frame = pandas.DataFrame({"a": [1.0, 2.0, 4.0], "b": [0.0, 1.0, 5.0]})
    t = NormalizerTransformer().fit(frame)
    return equal(list(t.get_feature_names_out()), ["a", "b"])


def infinity(method: str) -> Outcome:
    """The peer refuses infinity; here it is counted, and left out."""
    n = wp.Normalizer.fit(np.array([[np.inf], [1.0], [3.0]]), method=method)
    return all_of(
        equal(n.infinite, [1]), equal(bool(np.isfinite(n.center[0]) and np.isfinite(n.scale[0])), True)
    )


def nan_kept(method: str) -> Outcome:
    x = data("missing")
    n = wp.Normalizer.fit(x, method=method)
    return all_of(
        equal(n.count, [3, 4, 2], what="count"),
        equal(np.isnan(n(x)), np.isnan(x), what="NaN"),
        equal(np.isnan(n.inverse(n(x))), np.isnan(x)),
    )


def seen_again(method: str) -> Outcome:
    """Fitting anew forgets what was seen before."""
    a, b = data("normal"), data("normal") * 3 + 1
    t = NormalizerTransformer(method=method).fit(a).fit(b)
    return equal(t.normalizer_.scale, NormalizerTransformer(method=method).fit(b).normalizer_.scale)


def sparse() -> Outcome:
    from scipy.sparse import csr_array

    return equal(wp.Normalizer.fit(csr_array(np.eye(3)), method="maxabs").scale, np.ones(3))


def large_robust() -> Outcome:
    x = np.random.default_rng(3).normal(size=(4000, 1))
    n = wp.Normalizer.fit(x, method="robust")
    center, scale = truths(x, "robust")
    return all_of(close(n.center, center, rtol=1e-12), close(n.scale, scale, rtol=1e-12))


def claims() -> list[Claim]:
    grid = Grid("scikit-learn")
    fits = {
        "float64": NAMES,
        "float32": (
            "iris",
            "normal",
            "offset",
            "skewed",
            "zero column",
            "one column",
            "negative",
            "missing",
            "two rows",
            "toy",
        ),
        "float16": ("iris", "normal", "one column", "negative", "missing", "toy"),
        "int32": ("iris", "normal", "one column", "two rows"),
        "int64": ("iris", "offset", "two rows"),
        "uint8": ("iris", "normal", "one column"),
    }
    for dtype, names in fits.items():
        for name in names:
            grid.add("scaling", f"moments of {name} {dtype}", moments, name, dtype)
            for method in METHODS:
                grid.add(
                    "scaling", f"{method} of {name} {dtype}: attributes", attributes, name, dtype, method
                )
                grid.add(
                    "scaling", f"{method} of {name} {dtype}: transform", transformed, name, dtype, method
                )
                if dtype in ("float64", "float32", "uint8"):
                    grid.add("scaling", f"{method} of {name} {dtype}: inverse", back, name, dtype, method)
    for name, method in itertools.product(NAMES, METHODS):
        grid.add("scaling", f"{method} of {name}: what comes out", normalised, name, method)
    for method, name, size in itertools.product(METHODS, ("normal", "iris", "missing"), (1, 2, 50, 1000)):
        grid.add("scaling", f"{method} of {name} in batches of {size}", partial, name, method, size)
    for size in (1, 2, 40):
        grid.add("scaling", f"one batch of {size}", one_batch, size)
    for value, dtype, rows, method in itertools.product(
        (0.0, 1.0, 100.0, float(np.log(1e-5)), 1e-30, 1e30), ("float64", "float32"), (8, 10), METHODS
    ):
        grid.add(
            "scaling",
            f"constant {value:g} {dtype} {rows} rows {method}",
            constant,
            value,
            dtype,
            rows,
            method,
        )
    for value in (1e-100, 1e100, 1e300, 1e-310):
        grid.add("scaling", f"constant {value:g} float64 10 rows", constant, value, "float64", 10, "standard")
    for rows, average, dtype, exponent in itertools.product(
        (10, 100), (1e-10, 1.0, 1e10), ("float64", "float32"), range(-30, 20, 7)
    ):
        grid.add(
            "scaling",
            f"{average:g} ± 1e{exponent} {dtype} {rows} rows",
            near_constant,
            rows,
            average,
            dtype,
            exponent,
        )
    for method in METHODS:
        grid.add("scaling", f"{method} of lists", lists, method)
        grid.add("scaling", f"{method} of new rows", toy_new, method)
        grid.add("scaling", f"{method}: NaN stays", nan_kept, method)
        grid.add("scaling", f"{method}: infinity is left out", infinity, method)
        grid.add("scaling", f"{method}: fit forgets", seen_again, method)
    grid.add("scaling", "integers through the inverse", integers_back)
    grid.add("scaling", "200,000 float16 rows", half_floats)
    grid.add("scaling", "robust of 4,000 rows", large_robust)
    grid.add("scaling", "feature names", names_out)
    grid.add("scaling", "maxabs of a sparse matrix", sparse)
    grid.add("scaling", "no rows", lambda: refusal(lambda: wp.Normalizer.fit(np.empty((0, 3)))))
    grid.add("scaling", "text", lambda: refusal(lambda: wp.Normalizer.fit(np.array([["a"]]))))
    grid.add("scaling", "complex", lambda: refusal(lambda: wp.Normalizer.fit(np.array([[1j]]))))
    grid.add(
        "scaling",
        "another number of columns",
        lambda: refusal(lambda: wp.Normalizer.fit(np.ones((3, 2)))(np.ones((3, 3)))),
    )
    grid.add(
        "scaling",
        "1-d input of the transformer",
        lambda: refusal_of_value(lambda: NormalizerTransformer().fit(np.ones(5))),
    )
    grid.add("scaling", "transform before fit", not_fitted)
    return grid.claims


def refusal_of_value(run: Callable[[], Any]) -> Outcome:
    """The peer's own doors raise ValueError."""
    try:
        run()
    except ValueError:
        return held()
    return contradicted("took what the peer refuses")


def not_fitted() -> Outcome:
    from sklearn.exceptions import NotFittedError

    try:
        NormalizerTransformer().transform(np.ones((2, 2)))
    except NotFittedError:
        return held()
    return contradicted("transformed without a fit")
