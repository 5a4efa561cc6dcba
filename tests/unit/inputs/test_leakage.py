"""WP103 on the ways in which people really normalise, right and wrong."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from wellposed.inputs import profile_inputs
from wellposed.inputs.leakage import fingerprint_leak
from wellposed.inputs.profile import by_column
from wellposed.limits import Limits
from wellposed.moments.moments import Moments
from wellposed.report import Severity
from wellposed.rules.data import fitted_on_held_out_data
from wellposed.rules.table import Defect

Pair = tuple[np.ndarray, np.ndarray]


def housing(rows: int = 1000) -> np.ndarray:
    """Columns shaped like California's: skewed, rounded, bounded, in many units."""
    rng = np.random.default_rng(7)
    return np.c_[
        rng.lognormal(1.3, 0.5, rows),
        rng.uniform(1, 52, rows).round(),
        rng.lognormal(1.6, 0.3, rows),
        rng.lognormal(7, 0.7, rows).round(),
        32 + 10 * rng.beta(2, 3, rows),
        -124 + 10 * rng.beta(3, 2, rows),
    ]


def images(count: int = 200) -> np.ndarray:
    """Smooth pictures of three channels in 0 to 1, each with a brightness of its own."""
    rng = np.random.default_rng(8)
    smooth = rng.normal(size=(count, 3, 8, 8)).cumsum(axis=2).cumsum(axis=3)
    return 1 / (1 + np.exp(-smooth / 4 + rng.normal(size=(count, 3, 1, 1))))


def sequences() -> np.ndarray:
    rng = np.random.default_rng(9)
    return rng.normal(size=(80, 30, 2)).cumsum(axis=1) + 3 * rng.normal(size=(80, 1, 2))


def normal(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(10).normal(size=(rows, columns))


TABLES = {
    "wine": load_wine().data,
    "breast_cancer": load_breast_cancer().data,
    "diabetes": load_diabetes().data,
    "iris": load_iris().data,
    "housing": housing(),
}
NATURAL = {
    "digits": load_digits().data[:600],
    "near standard": normal(400, 5),
    "one near standard": normal(500, 1),
    "unit interval": np.random.default_rng(11).random((300, 6)),
    "percentages": np.random.default_rng(12).integers(0, 101, (400, 5)) / 100,
    "five levels": np.random.default_rng(13).integers(-2, 3, (400, 4)).astype(float),
}
PICTURES = {"images": images(), "bytes / 255": np.round(images() * 255) / 255}


def split(x: np.ndarray, seed: int, share: float = 0.75) -> Pair:
    order = np.random.default_rng(seed).permutation(len(x))
    cut = int(share * len(x))
    return x[order[:cut]], x[order[cut:]]


def found(a: np.ndarray, b: np.ndarray) -> Defect | None:
    return next(
        (j for j in fitted_on_held_out_data(profile_inputs(a, b), Limits()) if isinstance(j, Defect)), None
    )


def suspected(a: np.ndarray, b: np.ndarray) -> bool:
    """What the rule reads, without the rest of the profile: for many splits."""
    columns = [by_column(x) for x in (a, b)]
    leak = fingerprint_leak(*columns, *map(Moments.of, columns), samples=(len(a), len(b)))
    return leak is not None and leak.fitted_on is not None and (leak.chance or 0) <= Limits().leak_chance


def by_channel(scaler: type, fitted: np.ndarray, x: np.ndarray, **arguments: object) -> np.ndarray:
    """A scaler of scikit-learn on tables, or on the channels of pictures."""
    flat = [np.moveaxis(v, 1, -1).reshape(-1, v.shape[1]) for v in (fitted, x)]
    scaled = scaler(**arguments).fit(flat[0]).transform(flat[1])
    return np.moveaxis(scaled.reshape(np.moveaxis(x, 1, -1).shape), -1, 1)


def scaled(scaler: type, fitted: np.ndarray, a: np.ndarray, b: np.ndarray, **arguments: object) -> Pair:
    return by_channel(scaler, fitted, a, **arguments), by_channel(scaler, fitted, b, **arguments)


def in_float32(a: np.ndarray, b: np.ndarray) -> Pair:
    return a.astype(np.float32).astype(np.float64), b.astype(np.float32).astype(np.float64)


def clipped(a: np.ndarray, b: np.ndarray) -> Pair:
    return np.clip(a, 0, 1), np.clip(b, 0, 1)


RIGHT: dict[str, Callable[..., Pair]] = {
    "raw": lambda a, b: (a, b),
    "standard": lambda a, b: scaled(StandardScaler, a, a, b),
    "standard in float32": lambda a, b: in_float32(*scaled(StandardScaler, a, a, b)),
    "minmax": lambda a, b: scaled(MinMaxScaler, a, a, b),
    "minmax to -1": lambda a, b: scaled(MinMaxScaler, a, a, b, feature_range=(-1, 1)),
    "minmax clipped": lambda a, b: clipped(*scaled(MinMaxScaler, a, a, b)),
    "maxabs": lambda a, b: scaled(MaxAbsScaler, a, a, b),
    "robust": lambda a, b: scaled(RobustScaler, a, a, b),
}


@pytest.mark.parametrize("prepare", RIGHT)
@pytest.mark.parametrize("name", [*TABLES, *NATURAL])
def test_right_ways_are_silent_on_random_splits(name: str, prepare: str) -> None:
    x = {**TABLES, **NATURAL}[name]

    for seed in range(200 if prepare in ("raw", "standard", "minmax") else 20):
        assert not suspected(*RIGHT[prepare](*split(x, seed)))


@pytest.mark.parametrize("prepare", ["raw", "standard", "minmax", "minmax clipped"])
@pytest.mark.parametrize("name", PICTURES)
def test_right_ways_are_silent_on_pictures(name: str, prepare: str) -> None:
    for seed in range(20):
        assert not suspected(*RIGHT[prepare](*split(PICTURES[name], seed)))


def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.concatenate([a, b])


WRONG: dict[str, tuple[Callable[..., Pair], str]] = {
    "before the split": (lambda a, b: scaled(StandardScaler, both(a, b), a, b), "both splits together"),
    "before the split, float32": (
        lambda a, b: in_float32(*scaled(StandardScaler, both(a, b), a, b)),
        "both splits together",
    ),
    "by the validation rows": (lambda a, b: scaled(StandardScaler, b, a, b), "the validation rows"),
    "each split": (
        lambda a, b: (by_channel(StandardScaler, a, a), by_channel(StandardScaler, b, b)),
        "each split by itself",
    ),
}


@pytest.mark.parametrize("way", WRONG)
@pytest.mark.parametrize("name", [*TABLES, "near standard", "one near standard", *PICTURES])
def test_statistics_of_held_out_rows_are_found(name: str, way: str) -> None:
    prepare, words = WRONG[way]

    for seed in range(3):
        fault = found(*prepare(*split({**TABLES, **NATURAL, **PICTURES}[name], seed)))
        assert fault is not None
        assert words in fault.summary


@pytest.mark.parametrize("interval", [(0, 1), (-1, 1)])
@pytest.mark.parametrize("name", ["wine", "breast_cancer", "diabetes", "housing", "images"])
def test_ranges_of_held_out_rows_are_found(name: str, interval: tuple[int, int]) -> None:
    a, b = split({**TABLES, **PICTURES}[name], 0)

    fault = found(*in_float32(*scaled(MinMaxScaler, both(a, b), a, b, feature_range=interval)))
    assert fault is not None
    assert f"minimum {interval[0]} and maximum 1 are exact on both splits together" in fault.summary


@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_each_split_scaled_to_its_own_range_is_found(name: str) -> None:
    a, b = split(TABLES[name], 0)

    fault = found(by_channel(MinMaxScaler, a, a), by_channel(MinMaxScaler, b, b))
    assert fault is not None
    assert "exact on each split by itself" in fault.summary


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "housing"])
def test_quartiles_of_held_out_rows_are_found(name: str) -> None:
    a, b = split(TABLES[name], 0)

    together = found(*scaled(RobustScaler, both(a, b), a, b))
    apart = found(by_channel(RobustScaler, a, a), by_channel(RobustScaler, b, b))
    assert together is not None
    assert "median 0 and interquartile range 1 are exact on both splits together" in together.summary
    assert apart is not None
    assert "each split by itself" in apart.summary


def test_a_leak_into_most_columns_is_found_beside_columns_left_raw() -> None:
    a, b = split(TABLES["wine"], 0)
    whole = both(a, b)
    mean, std = whole.mean(axis=0), whole.std(axis=0)
    mean[:3], std[:3] = 0, 1

    fault = found((a - mean) / std, (b - mean) / std)
    assert fault is not None
    assert "in 10 features" in fault.summary


def in_batches(x: np.ndarray, size: int, *, ddof: int = 0) -> np.ndarray:
    axes = tuple(i for i in range(x.ndim) if i != 1)
    parts = [x[i : i + size] for i in range(0, len(x), size)]
    return np.concatenate(
        [(p - p.mean(axes, keepdims=True)) / p.std(axes, ddof=ddof, keepdims=True) for p in parts]
    )


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("size", [20, 64])
@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "housing", "one near standard", "images"])
def test_batches_that_were_normalised_by_themselves_are_found(name: str, size: int, ddof: int) -> None:
    a, b = split({**TABLES, **NATURAL, **PICTURES}[name], 0)

    fault = found(*in_float32(in_batches(a, size, ddof=ddof), in_batches(b, size, ddof=ddof)))
    assert fault is not None
    assert f"in every {size} rows" in fault.summary
    assert fault.severity is None


@pytest.mark.parametrize("axes", [(2, 3), (1, 2, 3)], ids=["by channel", "whole"])
def test_pictures_that_were_normalised_by_themselves_are_noted_and_not_accused(axes: tuple[int, ...]) -> None:
    x = PICTURES["images"]
    a, b = split((x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True), 0)

    fault = found(a, b)
    assert fault is not None
    assert fault.severity is Severity.NOTE
    assert "every sample" in fault.summary


def test_series_that_were_normalised_by_themselves_are_noted_and_not_accused() -> None:
    x = sequences()
    fault = found(*split((x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True), 0))

    assert fault is not None
    assert fault.severity is Severity.NOTE


# What looks like a leak, and is none


def test_a_period_that_repeats_is_no_batch() -> None:
    hours = np.arange(960) * 2 * np.pi / 24
    x = np.sqrt(2) * np.c_[np.sin(hours), np.cos(hours), np.sin(2 * hours)]

    assert found(x[:720], x[720:]) is None


def test_validation_rows_that_are_altered_training_rows_share_their_statistics() -> None:
    x = images()
    a = by_channel(StandardScaler, x, x)
    rng = np.random.default_rng(14)
    table = by_channel(StandardScaler, TABLES["wine"], TABLES["wine"])

    assert found(a, a[:, :, :, ::-1]) is None
    assert found(a, np.roll(a, 3, axis=2)) is None
    assert found(table, table + 1e-5 * rng.normal(size=table.shape)) is None
    assert found(table, np.repeat(table, 2, axis=0)) is None


def test_three_levels_in_one_column_may_be_balanced_by_chance() -> None:
    levels = np.array([-1.0, 0.0, 0.0, 1.0]) * np.sqrt(2)

    for seed in range(200):
        x = np.random.default_rng(seed).choice(levels, (100, 1))
        assert found(x[:60], x[60:]) is None


def test_a_handful_of_validation_rows_proves_nothing() -> None:
    for seed in range(200):
        x = np.random.default_rng(seed).normal(size=(40, 2))
        assert found(x[:37], x[37:]) is None


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_are_measured_without_an_error(rows: int) -> None:
    x = np.random.default_rng(15).normal(size=(2 * rows, 3, 4, 4))

    assert found(x[:rows], x[rows:]) is None
