"""Where f computes in few digits somewhere inside, the bar holds the slope of f and not that of one stair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import wellposed as wp
from wellposed.differentiate import jacobian

ROUNDINGS = {
    "float32": lambda v: float(np.float32(v)),
    "float16": lambda v: float(np.float16(v)),
    "bfloat16": lambda v: float(torch.tensor(float(v)).to(torch.bfloat16)),
    "3 decimals": lambda v: round(float(v), 3),
    "16 bits": lambda v: round(float(v) * 32768) / 32768,
}
PLACES = np.concatenate([np.linspace(-3, -0.4, 20), np.linspace(0.4, 3, 20)]) * np.pi / 3


def covered(f, derivative, places=PLACES):
    """Share of the bars that hold the derivative, and the largest bar over the largest derivative."""
    found = [wp.numerical_gradient(f, float(x)) for x in places]
    errors = np.abs([r.value for r in found] - derivative(places))
    bars = np.array([r.error for r in found])
    return np.mean(errors <= bars), np.median(bars) / np.abs(derivative(places)).max()


@pytest.mark.parametrize(("kind", "widest"), [("float32", 1e-4), ("float16", 0.05), ("bfloat16", 0.3), ("3 decimals", 0.1), ("16 bits", 1e-2)])  # fmt: skip
def test_a_rounded_term_beside_an_exact_one(kind, widest):
    rounding = ROUNDINGS[kind]
    share, width = covered(
        lambda x: rounding(np.cos(x) * x) + x * x, lambda x: np.cos(x) - x * np.sin(x) + 2 * x
    )
    assert share >= 0.95
    assert width < widest


@pytest.mark.parametrize("kind", ROUNDINGS)
def test_a_rounded_factor(kind):
    rounding = ROUNDINGS[kind]
    share, width = covered(
        lambda x: rounding(np.cos(x)) * x + x * x, lambda x: np.cos(x) - x * np.sin(x) + 2 * x
    )
    assert share >= 0.95
    assert width < 0.3


def test_a_rounded_term_that_stands_on_a_large_one():
    share, width = covered(
        lambda x: float(np.float32(100 + np.cos(x) * x)) - 100 + x * x,
        lambda x: np.cos(x) - x * np.sin(x) + 2 * x,
    )
    assert share >= 0.95
    assert width < 0.01


def test_a_rounded_term_of_a_small_share():
    share, width = covered(
        lambda x: 1e-4 * float(np.float32(np.sin(x))) + np.exp(x / 4),
        lambda x: 1e-4 * np.cos(x) + np.exp(x / 4) / 4,
    )
    assert share >= 0.95
    assert width < 1e-6


def test_stairs_upon_stairs():
    share, width = covered(
        lambda x: ROUNDINGS["3 decimals"](np.sin(x)) + float(np.float32(np.cos(x) * x)) + x * x,
        lambda x: 2 * np.cos(x) - x * np.sin(x) + 2 * x,
    )
    assert share >= 0.95
    assert width < 0.1


def test_a_product_of_float32_matrices_in_a_float64_sum():
    rng = np.random.default_rng(5)
    w = rng.normal(size=(20, 20)).astype(np.float32)

    def f(x):
        return float(np.sum(np.tanh(w @ x.astype(np.float32)).astype(np.float64) * x) + np.sum(x**2))

    held = []
    for x in rng.normal(size=(5, 20)):
        t = np.tanh(w.astype(float) @ x)
        found = wp.numerical_gradient(f, x)
        assert found.error.max() < 1e-2
        held.append(np.abs(found.value - (t + w.astype(float).T @ ((1 - t**2) * x) + 2 * x)) <= found.error)
    assert np.mean(held) >= 0.95


def test_a_float32_layer_of_torch_in_float64():
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(10, 6)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
    x = torch.randn(10, dtype=torch.float64, generator=generator)
    wide = layer.weight.detach().double()
    truth = wide.T @ (1 - torch.tanh(wide @ x + layer.bias.detach().double()) ** 2) + 2 * x
    found = wp.numerical_gradient(lambda t: torch.tanh(layer(t.float())).double().sum() + (t**2).sum(), x)
    assert np.all(np.abs(found.value - truth.numpy()) <= found.error)
    assert found.error.max() < 1e-3


def test_one_rounded_element_of_many():
    rng = np.random.default_rng(3)
    held = []
    for x in rng.normal(size=(12, 12)):
        found = wp.numerical_gradient(
            lambda t: np.sum(t[1:] ** 3) + float(np.float32(np.sin(t[0]))) + t[0] ** 2, x
        )
        truth = 3 * x**2
        truth[0] = np.cos(x[0]) + 2 * x[0]
        held.append(np.abs(found.value - truth) <= found.error)
    assert np.mean(held) >= 0.98


def test_one_rounded_output_of_many_costs_the_others_nothing():
    found = jacobian(
        lambda x: np.array([np.sin(x[0]), float(np.float32(np.cos(x[0]))) + x[0] ** 2]), np.array([0.7])
    )
    truth = np.array([[np.cos(0.7)], [1.4 - np.sin(0.7)]])
    assert np.all(np.abs(found.value - truth) <= found.error)
    assert found.error[0, 0] < 1e-11
    assert 1e-9 < found.error[1, 0] < 1e-4


def test_the_nearest_entry_of_a_table():
    table = np.sin(np.linspace(0, 2 * np.pi, 4001))
    share, width = covered(
        lambda x: table[int(np.rint(x / (2 * np.pi) * 4000)) % 4000] + x * x / 4, lambda x: np.cos(x) + x / 2
    )
    assert share >= 0.95
    assert width < 0.2


@pytest.mark.parametrize("count", [100, 10_000])
def test_a_table_with_straight_lines_between_its_entries_has_their_slopes(count):
    width = 2 * np.pi / count
    table = np.sin(width * np.arange(count + 1))

    def slope(x):
        left = np.floor(x / width).astype(int)
        return (table[left + 1] - table[left]) / width + x / 2

    def f(x):
        left = int(x / width)
        share = x / width - left
        return (1 - share) * table[left] + share * table[left + 1] + x * x / 4

    held, bar = covered(f, slope, PLACES[20:])
    assert held >= 0.95
    assert bar < 1e-6


@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("side", [-1, 1])
def test_one_jump_beside_x_is_no_staircase(distance, side):
    x = 1 + side * distance
    found = wp.numerical_gradient(lambda t: float(t > 1) + np.sin(t), x)
    assert abs(found.value - np.cos(x)) <= found.error < 1e-12 / distance**1.2


@pytest.mark.parametrize(
    ("f", "derivative"),
    [
        (lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x)),
        (lambda x: 1 / (x - 1e-3), lambda x: -1 / (x - 1e-3) ** 2),
        (lambda x: x + 1e-3 * np.sin(400 * x), lambda x: 1 + 0.4 * np.cos(400 * x)),
        (lambda x: np.exp(-((30 * (x - 1)) ** 2)) + x, lambda x: 1 - 1800 * (x - 1) * np.exp(-((30 * (x - 1)) ** 2))),
        (lambda x: x**7 - 3 * x**5 + x, lambda x: 7 * x**6 - 15 * x**4 + 1),
    ],
)  # fmt: skip
def test_waves_poles_and_bumps_are_no_stairs(f, derivative):
    share, width = covered(f, derivative)
    assert share >= 0.95
    assert width < 1e-9


def test_stairs_that_no_step_crosses_leave_the_rest():
    """What cannot be seen: the stair is wider than the longest step."""
    found = wp.numerical_gradient(lambda x: round(x / 10) + np.sin(x), 1.0)
    assert abs(found.value - np.cos(1)) <= found.error < 1e-9


@pytest.mark.parametrize("offset", [0.0, 300.0, 1e3, 1e4, 1e6])
@pytest.mark.parametrize("beside", [0.01, 0.3, 1.0])
def test_steps_that_are_longer_than_all_that_f_does_are_not_believed(offset: float, beside: float) -> None:
    x = offset + beside
    z = x - offset
    found = wp.numerical_gradient(lambda t: np.exp(-((t - offset) ** 2)), x)
    assert abs(found.value + 2 * z * np.exp(-(z**2))) <= found.error < 1e-6 * max(1, offset)
