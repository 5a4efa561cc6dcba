"""Every rule about data on a sick case and a healthy one, and the healthy ones on many random splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from wellposed.errors import DataError
from wellposed.inputs import InputEffect, InputProfile, profile_inputs
from wellposed.inputs.duplicates import count_duplicates
from wellposed.limits import Limits
from wellposed.normalize import Normalizer
from wellposed.report import Severity
from wellposed.rules import data as rules
from wellposed.rules.table import Defect, NoVerdict

RULES: dict[str, Callable] = {
    "WP101": rules.feature_scale_imbalance,
    "WP102": rules.input_scale,
    "WP103": rules.fitted_on_held_out_data,
    "WP104": rules.constant_feature,
    "WP105": rules.split_shift,
    "WP106": rules.non_finite_data,
    "WP107": rules.ill_conditioned_inputs,
    "WP108": rules.duplicate_across_splits,
    "WP115": rules.sentinel_value,
}
WINE, NAMES = load_wine().data, load_wine().feature_names
CANCER = load_breast_cancer().data
DIGITS = load_digits().data
RNG = np.random.default_rng(0)


def normal(rows: int = 200, columns: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, columns))


def codes(profile: InputProfile) -> list[str]:
    return [
        code for code, rule in RULES.items() if any(isinstance(j, Defect) for j in rule(profile, Limits()))
    ]


def fault(code: str, profile: InputProfile) -> Defect:
    (found,) = RULES[code](profile, Limits())
    assert isinstance(found, Defect)
    return found


def splits(x: np.ndarray, count: int, share: float = 0.8) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed in range(count):
        order = np.random.default_rng(seed).permutation(len(x))
        cut = int(share * len(x))
        yield x[order[:cut]], x[order[cut:]]


def correctly(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = Normalizer.fit(a)
    return n(a), n(b)


def in_float32(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = a.astype(np.float32), b.astype(np.float32)
    mean, std = a.mean(axis=0), a.std(axis=0, ddof=1) + 1e-8
    return (a - mean) / std, (b - mean) / std


def raw(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return a, b


def to_unit_range(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, width = a.min(axis=0), np.ptp(a, axis=0)
    return (a - low) / width, (b - low) / width


def on_everything(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return in_float32_by(np.concatenate([a, b]), a, b)


def on_validation(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return in_float32_by(b, a, b)


def each_by_itself(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return in_float32_by(a, a, a)[0], in_float32_by(b, b, b)[0]


def in_float32_by(rows: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = rows.astype(np.float32)
    mean, std = rows.mean(axis=0), rows.std(axis=0) + 1e-8
    return (a.astype(np.float32) - mean) / std, (b.astype(np.float32) - mean) / std


def effect(raw: float, standardised: float, *, invariant: bool = False) -> InputEffect:
    return InputEffect(
        invariant=invariant, loss_start=2.0, loss_raw=raw, loss_standardised=standardised, loss_constant=1.1
    )


def with_effect(profile: InputProfile, measured: InputEffect) -> InputProfile:
    return dataclasses.replace(profile, effect=measured)


# WP101


def test_wine_is_imbalanced_and_proline_is_to_blame() -> None:
    found = fault("WP101", profile_inputs(WINE, feature_names=NAMES))

    assert found.where == "inputs.proline"
    assert found.measured == pytest.approx(2530, rel=0.01)
    assert "nonflavanoid_phenols" in found.summary
    assert found.severity is Severity.WARNING


def test_an_imbalance_says_what_it_costs_in_steps() -> None:
    assert "needs 1e+07 times the steps" in fault("WP101", profile_inputs(WINE)).why
    assert "steps" not in fault("WP101", profile_inputs(WINE[:20])).why


@pytest.mark.parametrize(
    ("raw_loss", "standardised", "severity", "confidence"),
    [
        (1.0, 0.1, Severity.ERROR, "confirmed"),
        (float("nan"), 0.1, Severity.ERROR, "confirmed"),
        (0.3, 0.1, Severity.WARNING, "measured"),
        (0.09, 0.1, Severity.NOTE, "measured"),
        (1.1, 1.09, Severity.WARNING, "measured"),
        (float("inf"), float("nan"), Severity.WARNING, "measured"),
    ],
)
def test_severity_follows_what_standardising_changed(raw_loss, standardised, severity, confidence) -> None:
    profile = with_effect(profile_inputs(WINE), effect(raw_loss, standardised))

    assert fault("WP101", profile).severity is severity
    assert fault("WP101", profile).confidence == confidence


@pytest.mark.parametrize("x", [WINE, WINE * 1e3, DIGITS * 100])
def test_a_model_that_normalises_first_has_no_problem_of_scale(x) -> None:
    profile = with_effect(profile_inputs(x), effect(1.0, 0.1, invariant=True))

    assert not {"WP101", "WP102"} & set(codes(profile))


def test_a_column_far_from_zero_is_reported_only_when_standardising_proves_to_help() -> None:
    x = normal() + np.array([0, 0, 0, 0, 2000])

    assert codes(profile_inputs(x)) == []
    found = fault("WP101", with_effect(profile_inputs(x), effect(1.0, 0.1)))
    assert found.where == "inputs.4"
    assert "2000" in found.summary


def test_rare_columns_are_not_small_units() -> None:
    words = np.random.default_rng(3).poisson(5 / np.arange(1, 301) ** 1.2, (2000, 300)).astype(float)

    assert "WP101" not in codes(profile_inputs(words))


# WP102


@pytest.mark.parametrize(
    ("factor", "sick"), [(1, False), (0.3, False), (5, False), (255, True), (1e-3, True), (1e6, True)]
)
def test_inputs_far_from_one_are_reported(factor: float, sick: bool) -> None:
    assert codes(profile_inputs(normal() * factor)) == (["WP102"] if sick else [])


def test_one_large_column_is_not_a_matter_of_scale_but_of_balance() -> None:
    assert codes(profile_inputs(normal() * [1, 1, 1, 1, 1000])) == ["WP101"]


def test_images_are_judged_by_channel() -> None:
    pixels = RNG.integers(0, 256, (20, 3, 8, 8)).astype(np.float32)

    assert codes(profile_inputs(pixels)) == ["WP102"]
    assert codes(profile_inputs(pixels / 255)) == []
    assert profile_inputs(pixels).kind == "channel"


@pytest.mark.parametrize("x", [load_diabetes().data, DIGITS / 16], ids=["diabetes", "digits / 16"])
def test_data_that_are_scaled_pass(x) -> None:
    for a, b in splits(x, 10):
        assert set(codes(profile_inputs(a, b))) <= {"WP104"}


# WP103


@pytest.mark.parametrize("x", [WINE, CANCER], ids=["wine", "breast_cancer"])
@pytest.mark.parametrize("prepare", [correctly, in_float32, to_unit_range])
def test_correct_normalisation_is_silent_on_200_random_splits(x, prepare) -> None:
    for a, b in splits(x, 200):
        assert codes(profile_inputs(*prepare(a, b))) == []


@pytest.mark.parametrize(
    "x", [WINE, CANCER, normal(200, 3), normal(300, 2)], ids=["wine", "breast_cancer", "3", "2"]
)
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(
    ("prepare", "where"),
    [
        (on_everything, "both splits together"),
        (on_validation, "the validation rows"),
        (each_by_itself, "each split"),
    ],
)
def test_statistics_of_held_out_rows_are_read_off_the_data(x, share, prepare, where) -> None:
    for a, b in splits(x, 5, share):
        found = fault("WP103", profile_inputs(*prepare(a, b)))
        assert where in found.summary


@pytest.mark.parametrize("rows", [50, 1000, 100_000])
@pytest.mark.parametrize("columns", [1, 4])
def test_data_that_happen_to_be_near_standard_are_not_accused(rows: int, columns: int) -> None:
    for a, b in splits(np.random.default_rng(2).normal(size=(rows, columns)), 10):
        assert codes(profile_inputs(a, b)) == []


def test_balanced_designs_are_not_accused() -> None:
    design = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]] * 50)
    powers = np.vander(np.linspace(0, 1, 100), 5)[:, :4]
    hypercube = np.stack([np.random.default_rng(i).permutation(100) / 99 for i in range(6)], axis=1)

    for x in (design, powers, hypercube):
        for a, b in splits(x, 20):
            assert "WP103" not in codes(profile_inputs(a, b))


def test_the_same_rows_as_both_splits_are_copies_and_not_a_leak() -> None:
    z = Normalizer.fit(WINE)(WINE)

    assert codes(profile_inputs(z, z)) == ["WP108"]


def test_a_range_of_held_out_rows_is_read_off_the_data() -> None:
    everything = (CANCER - CANCER.min(axis=0)) / np.ptp(CANCER, axis=0)

    for a, b in splits(everything, 20):
        assert "minimum 0 and maximum 1" in fault("WP103", profile_inputs(a, b)).summary


# WP104, WP106, WP107


def test_constant_pixels_are_noted() -> None:
    found = fault("WP104", profile_inputs(DIGITS))

    assert found.measured == 3
    assert found.where == "inputs"
    assert fault("WP104", profile_inputs(np.c_[normal(), np.ones(200)])).where == "inputs.5"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_bad_entry_is_found_and_placed(bad: float) -> None:
    x = normal()
    x[17, 3] = bad
    found = fault("WP106", profile_inputs(x, normal(), feature_names=list("abcde")))

    assert found.where == "inputs.d"
    assert "row 17" in found.summary
    assert found.measured == 1


def test_a_bad_entry_in_a_validation_image_is_placed() -> None:
    images = RNG.random((10, 3, 4, 4))
    spoiled = images.copy()
    spoiled[6, 2, 1, 3] = np.nan
    found = fault("WP106", profile_inputs(images, spoiled))

    assert found.where == "inputs.2"
    assert "validation" in found.summary
    assert "row 6" in found.summary


def test_near_copies_of_a_column_are_noted_and_exact_dependencies_are_not() -> None:
    x = normal()
    near = np.c_[x, x[:, 0] + 1e-5 * normal(200, 6)[:, 5]]
    onehot = np.eye(4)[RNG.integers(0, 4, 300)]

    assert codes(profile_inputs(near)) == ["WP107"]
    assert codes(profile_inputs(np.c_[x, x[:, 0] + x[:, 1]])) == []
    assert codes(profile_inputs(onehot)) == []
    assert codes(profile_inputs(onehot.astype(np.float32))) == []


# WP105, WP108


def test_a_shifted_column_is_found_and_random_splits_of_heavy_tails_are_not() -> None:
    a, b = normal(300), normal(100, 5) + np.array([0, 0, 1.5, 0, 0])
    found = fault("WP105", profile_inputs(a, b[:, :5]))
    assert found.where == "inputs.2"
    assert found.measured == pytest.approx(1.5, abs=0.3)

    heavy = np.random.default_rng(4).standard_cauchy((200, 300)) * 0.1
    for p, q in splits(heavy, 20, 0.9):
        assert "WP105" not in codes(profile_inputs(p, q))


def test_a_normalised_split_beside_a_raw_one_has_shifted() -> None:
    a, b = next(splits(WINE, 1))

    assert "WP105" in codes(profile_inputs(Normalizer.fit(a)(a), b))


def test_shifted_images_count_images_and_not_pixels() -> None:
    # One brightness an image: ten thousand pixels are still six images, and no evidence.
    brightness = np.random.default_rng(5).normal(size=(12, 1, 1, 1))
    images = np.broadcast_to(brightness, (12, 1, 100, 100)) + 0.1 * RNG.normal(size=(12, 1, 100, 100))

    assert codes(profile_inputs(images[:6], images[6:])) == []


def test_copied_rows_are_found() -> None:
    a, b = next(splits(WINE / WINE.max(axis=0), 1))
    found = fault("WP108", profile_inputs(a, np.r_[b[:16], a[:20]]))

    assert found.measured == 20
    assert "20 of 36" in found.summary


def one_hot(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    return np.eye(classes)[rng.integers(0, classes, rows)]


def passengers(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Columns of few values that depend on each other: class, fare, cabin, age, sex, and what follows from the class."""
    rank = rng.integers(1, 4, rows)
    fare = np.round(90 / rank**2 + rng.integers(0, 6, rows) * 0.25, 2)
    age = np.where(rng.random(rows) < 0.2, np.nan, rng.integers(1, 60, rows) // 5 * 5)
    return np.column_stack([rank, fare, rank == 1, age, rng.integers(0, 2, rows), 4 - rank]).astype(float)


def with_blanks(rng: np.random.Generator, rows: int) -> np.ndarray:
    pictures = rng.integers(0, 256, (rows, 1, 6, 6)).astype(float)
    pictures[rng.random(rows) < 0.3] = 0.0
    return pictures


TABLES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "coins": lambda rng: rng.integers(0, 2, (400, 6)).astype(float),
    "rounded": lambda rng: rng.normal(size=(600, 3)).round(1),
    "one-hot": lambda rng: one_hot(rng, 400, 12),
    "two one-hots": lambda rng: np.hstack([one_hot(rng, 600, 8), one_hot(rng, 600, 20)]),
    "passengers": lambda rng: passengers(rng, 900),
    "a grid": lambda rng: np.stack(np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 7)), -1).reshape(
        -1, 2
    )[rng.integers(0, 63, 500)],
    "blank pictures": lambda rng: with_blanks(rng, 300),
    "one column": lambda rng: rng.normal(size=(50, 1)).repeat(8, 0),
}


@pytest.mark.parametrize("name", TABLES)
def test_accidental_duplicates_of_discrete_data_are_not_accused(name: str) -> None:
    for seed in range(8):
        for a, b in splits(TABLES[name](np.random.default_rng(seed)), 5):
            found = count_duplicates(a, b)
            assert min(found.chance, found.copies_chance) > Limits().duplicate_chance


RECORDS: dict[str, np.ndarray] = {
    "continuous": normal(300),
    "wine": WINE,
    "cancer": CANCER,
    "digits": DIGITS[:300].reshape(-1, 1, 8, 8),
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("times", [2, 5])
def test_records_that_were_copied_before_a_random_split_are_found(name: str, times: int) -> None:
    for a, b in splits(np.repeat(RECORDS[name], times, axis=0), 2):
        assert "WP108" in codes(profile_inputs(a, b))


def test_records_that_were_copied_after_the_split_are_no_leak_and_no_shift() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1600, 6))
    rare = np.flatnonzero(x[:1200, 0] > 1.5)
    train = np.concatenate([x[:1200], x[rng.choice(rare, 1200)]])
    profile = profile_inputs(train, x[1200:])
    assert not {"WP105", "WP108"} & set(codes(profile))


def test_equal_inputs_with_targets_of_their_own_are_no_copies() -> None:
    x = np.repeat(normal(100), 3, axis=0)
    y = np.random.default_rng(0).normal(size=300)
    order = np.random.default_rng(1).permutation(300)
    fit, held = order[:200], order[200:]
    assert "WP108" not in codes(profile_inputs(x[fit], x[held], targets=(y[fit], y[held])))
    same = x[:, 0] > 0
    assert "WP108" in codes(profile_inputs(x[fit], x[held], targets=(same[fit], same[held])))


# What cannot be judged


def test_without_validation_data_rules_about_splits_say_so() -> None:
    profile = profile_inputs(normal())

    for code in ("WP103", "WP105", "WP108"):
        (found,) = RULES[code](profile, Limits())
        assert isinstance(found, NoVerdict)
        assert "validation" in found.reason


@pytest.mark.parametrize(
    "x",
    [
        np.ones((1, 3)),
        np.full((4, 2), np.nan),
        np.zeros((5, 2)),
        np.array([[np.inf], [-np.inf]]),
        np.ones(4),
        np.full((3, 2), 1e200),
    ],
    ids=["one row", "all NaN", "all zero", "all infinite", "one column", "huge"],
)
def test_degenerate_inputs_are_measured_and_judged_without_an_error(x) -> None:
    profile = profile_inputs(x, x)

    assert all(isinstance(code, str) for code in codes(profile))


@pytest.mark.parametrize(
    ("train", "validation", "names", "words"),
    [
        (np.empty((0, 3)), None, None, "at least one row"),
        (np.zeros((3, 2)), np.zeros((3, 4)), None, "expected the same"),
        (np.zeros((3, 2)), None, ["a"], "1 names"),
        (np.array([["a"]]), None, None, "expected numbers"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(train, validation, names, words) -> None:
    with pytest.raises(DataError, match=words):
        profile_inputs(train, validation, feature_names=names)


def test_measuring_changes_nothing() -> None:
    x, before = normal(), normal()
    state = np.random.get_state()[1].copy()

    profile_inputs(x, x[:50])

    np.testing.assert_array_equal(x, before)
    assert (np.random.get_state()[1] == state).all()


# WP115


DRAWS = np.random.default_rng(2)


def beside(values: np.ndarray, code: float, count: int) -> InputProfile:
    column = values.astype(float).copy()
    column[:count] = code
    return profile_inputs(np.c_[normal()[: len(column)], column])


@pytest.mark.parametrize("code", [-9999.0, 999.0, 1e20])
def test_a_code_for_missing_values_is_told_with_its_column(code: float) -> None:
    found = fault("WP115", beside(DRAWS.normal(20, 10, 200), code, 12))
    assert found.where == f"inputs.{normal().shape[1]}"
    assert "12 of 200" in found.summary


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_code_is_one_in_any_unit(scale: float) -> None:
    values = np.random.default_rng(3).normal(0, 1, 200)
    values[:10] = -999
    assert codes(profile_inputs(scale * np.c_[normal(), values] + scale)).count("WP115") == 1


@pytest.mark.parametrize(
    ("values", "code", "count"),
    [
        (DRAWS.normal(0, 1, 200), 4.0, 12),  # clipped
        (DRAWS.lognormal(0, 3, 200), 1e4, 1),  # the largest of a long tail
        (DRAWS.normal(100, 1, 200), 0.0, 50),  # none of it
        (DRAWS.integers(0, 5, 200), 999.0, 12),  # a column of codes
        (DRAWS.normal(0, 1, 200), -999.0, 150),  # most rows
    ],
    ids=["clipped", "long tail", "zeros", "codes", "most"],
)
def test_other_repeated_numbers_are_no_codes(values: np.ndarray, code: float, count: int) -> None:
    assert "WP115" not in codes(beside(values, code, count))
