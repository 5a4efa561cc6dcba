import math

import numpy as np
import pytest
import torch

from wellposed import gain
from wellposed.errors import ArgumentError

# Reference values: quadrature at 50 digits, printed to six.
TABLE = {
    "relu": (1.414214, 1.414214, 1.0),
    "tanh": (1.592537, 1.467414, 0.461),
    "sigmoid": (1.846229, 4.722646, 0.106),
    "gelu": (1.533530, 1.481114, 1.144),
    "silu": (1.676532, 1.623320, 1.173),
    "mish": (1.486848, 1.444755, 1.076),
    "hardswish": (1.736657, 1.670076, 1.224),
    "selu": (1.0, 0.966026, 0.783),
    "elu": (1.245198, 1.223429, 0.891),
    "softplus": (1.041867, 1.846229, 0.492),
}


@pytest.mark.parametrize("name", TABLE)
def test_gains_agree_with_the_table_to_its_last_digit(name):
    found = gain(name)

    assert (found.forward, found.backward) == pytest.approx(TABLE[name][:2], abs=6e-7)
    assert found.slope == pytest.approx(TABLE[name][2], abs=6e-4)


def test_closed_forms_are_met_to_nine_digits():
    leak = 0.2
    leaky = gain(lambda z: np.where(z > 0, z, leak * z))

    assert gain("relu").forward == pytest.approx(math.sqrt(2), abs=1e-11)
    assert leaky.forward == leaky.backward == pytest.approx(math.sqrt(2 / (1 + leak**2)), abs=1e-9)
    assert gain(np.exp).forward == pytest.approx(math.exp(-1), abs=1e-9)
    # E[sin(z)^2] = (1 - exp(-2)) / 2
    assert gain(np.sin).forward == pytest.approx(math.sqrt(2 / (1 - math.exp(-2))), abs=1e-9)
    # E[clip(z, -1, 1)'^2] = P(|z| < 1)
    assert gain("hardtanh").backward == pytest.approx(1 / math.sqrt(math.erf(math.sqrt(0.5))), abs=1e-9)


def test_a_function_of_jax_has_the_gain_of_the_same_function_of_numpy():
    jax = pytest.importorskip("jax")

    for function, name in ((jax.numpy.tanh, "tanh"), (jax.nn.relu, "relu"), (jax.jit(jax.nn.silu), "silu")):
        assert gain(function).forward == pytest.approx(gain(name).forward, abs=1e-9)
        assert gain(function).backward == pytest.approx(gain(name).backward, abs=1e-9)
    assert not jax.config.read("jax_enable_x64")


def test_a_kink_away_from_every_grid_point_is_found():
    kink = 0.31831
    passed = 0.5 * math.erfc(kink / math.sqrt(2))

    found = gain(lambda z: np.maximum(z - kink, 0))

    assert found.backward == pytest.approx(1 / math.sqrt(passed), abs=1e-8)


def test_a_jump_lets_no_gradient_pass_and_still_has_a_forward_gain():
    found = gain(np.sign)

    assert found.forward == pytest.approx(1)
    assert found.backward == math.inf


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (torch.nn.GELU(), "gelu"),
        (torch.nn.GELU(approximate="tanh"), "gelu_tanh"),
        (torch.nn.functional.hardswish, "hardswish"),
        (torch.tanh, "tanh"),
        (lambda x: x.clamp(min=0), "relu"),
        (torch.nn.SELU(), "selu"),
        (torch.nn.LeakyReLU(), "leaky_relu"),
    ],
)
def test_a_torch_activation_has_the_gain_of_its_name(activation, name):
    found, named = gain(activation), gain(name)

    assert found.forward == pytest.approx(named.forward, abs=1e-9)
    assert found.backward == pytest.approx(named.backward, abs=1e-8)


def test_scaling_an_activation_divides_its_gain():
    assert gain(lambda z: 1e-5 * np.tanh(z)).forward == pytest.approx(1e5 * gain("tanh").forward)


def test_float32_arithmetic_costs_digits_but_no_time_out():
    found = gain(lambda z: np.tanh(z.astype(np.float32)))

    assert found.forward == pytest.approx(gain("tanh").forward, rel=1e-6)


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("rleu", "did you mean relu"),
        (3, "expected a name"),
        (torch.nn.ReLU, "expected a name"),
        (lambda z: np.ones_like(z), "constant"),
        (lambda z: z * 0, "constant"),
        (np.sqrt, "finite"),
        (lambda z: z / z.sum(), "depends on the others"),
        (lambda z: z[:1], "shape"),
        (torch.nn.Softmax(dim=-1), "depends on the others"),
        (lambda z: np.exp(z * z), "no finite value"),
        (lambda z: z + np.random.default_rng().normal(size=z.shape), "deterministic"),
    ],
)
def test_what_has_no_gain_is_refused_with_the_reason(activation, message):
    with pytest.raises(ArgumentError, match=message):
        gain(activation)


def test_random_states_stay_as_they_are():
    before = torch.get_rng_state()

    gain(torch.nn.RReLU())

    assert torch.equal(before, torch.get_rng_state())
