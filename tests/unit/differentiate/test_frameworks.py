"""numerical_gradient on torch, JAX and NumPy, on pytrees and complex numbers, in float64 and in the dtypes of x."""

from __future__ import annotations

from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import wellposed as wp
from wellposed.errors import ArgumentError

VALUES = [0.3, -0.7, 1.1]
CONVERTERS = {"numpy": np.array, "torch": torch.tensor, "jax": jnp.array}


@pytest.mark.parametrize("framework", CONVERTERS)
def test_every_framework_gives_the_same_in_float64(framework):
    x = CONVERTERS[framework](np.array(VALUES, dtype=np.float32))
    found = wp.numerical_gradient(lambda t: (t**3).sum(), x)
    assert found.precision == "float64"
    assert np.all(np.abs(found.value - 3 * np.float32(VALUES).astype(float) ** 2) <= found.error)
    assert found.error.max() < 1e-11


@pytest.mark.parametrize("framework", CONVERTERS)
def test_every_framework_is_differentiated_in_float32_at_points_that_it_holds(framework):
    x = CONVERTERS[framework](np.array(VALUES, dtype=np.float32))
    seen = set()

    def f(t):
        seen.add(str(t.dtype).removeprefix("torch."))
        return (t**3).sum()

    found = wp.numerical_gradient(f, x, precision="own")
    assert seen == {"float32"}
    assert found.precision == "float32"
    assert np.all(np.abs(found.value - 3 * np.float32(VALUES).astype(float) ** 2) <= found.error)
    assert found.error.max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_wide_bars_that_cover(dtype):
    x = torch.tensor(VALUES, dtype=dtype)
    found = wp.numerical_gradient(lambda t: (t**3).sum(), x, precision="own")
    assert np.all(np.abs(found.value - 3 * x.double().numpy() ** 2) <= found.error)
    assert found.error.max() < 1


def test_jax_stays_in_32_bit_mode():
    wp.numerical_gradient(jax.jit(lambda t: (t**2).sum()), jnp.array(VALUES))
    assert jnp.asarray(1.0).dtype == jnp.float32


def test_what_refuses_float64_is_differentiated_in_its_own_dtype():
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 4)
    found = wp.numerical_gradient(lambda t: layer(t).tanh().sum(), torch.tensor(VALUES))
    x = torch.tensor(VALUES, dtype=torch.float64, requires_grad=True)
    (truth,) = torch.autograd.grad(layer.double()(x).tanh().sum(), x)
    assert found.precision == "float32"
    assert np.all(np.abs(found.value - truth.numpy()) <= found.error + 1e-7)  # 1e-7: x in float32
    assert found.error.max() < 1e-3


def test_a_pytree_gives_its_own_structure():
    Pair = namedtuple("Pair", "scale offset")
    x = {"w": np.array([[1.0, 2.0]]), "rest": [Pair(scale=0.5, offset=torch.tensor([2.0])), 1 + 2j]}

    def f(p):
        pair, z = p["rest"]
        return float(np.sum(p["w"] ** 2) * pair.scale + pair.offset[0] ** 3) + abs(z) ** 2

    found = wp.numerical_gradient(f, x)
    assert np.allclose(found.value["w"], [[1.0, 2.0]], atol=1e-10)
    pair, z = found.value["rest"]
    assert isinstance(pair, Pair)
    assert pair.scale == pytest.approx(5.0)
    assert pair.offset == pytest.approx([12.0])
    assert z == pytest.approx(2 + 4j)
    assert found.error["rest"][1] < 1e-10
    assert found.kink["rest"][0].scale is False


def test_what_f_receives_is_fresh_and_of_the_same_structure():
    x = {"a": [np.ones(2), 3.0], "b": (torch.ones(1),)}

    def f(p):
        assert list(p) == ["a", "b"]
        assert isinstance(p["b"], tuple)
        assert p["a"][0] is not x["a"][0]
        return float(p["a"][0].sum() + p["a"][1] + p["b"][0].sum())

    found = wp.numerical_gradient(f, x)
    assert found.value["a"][1] == pytest.approx(1.0)


@pytest.mark.parametrize("framework", CONVERTERS)
def test_a_complex_number_has_two_slopes_in_one(framework):
    z = CONVERTERS[framework](np.array([1 + 2j, 3 - 1j]))
    found = wp.numerical_gradient(lambda t: (abs(t) ** 2).sum(), z)
    assert np.all(np.abs(found.value - 2 * np.array([1 + 2j, 3 - 1j])) <= found.error)
    assert np.isrealobj(found.error)


def test_the_complex_derivative_is_the_one_of_torch():
    z = torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex128, requires_grad=True)

    def f(t):
        return (t * t).real.sum() + t.abs().sum()

    (theirs,) = torch.autograd.grad(f(z), z)
    ours = wp.numerical_gradient(f, z)
    assert np.all(np.abs(ours.value - theirs.numpy()) <= ours.error + 1e-15)


def test_a_complex_function_is_refused_with_what_to_do():
    with pytest.raises(ArgumentError, match=r"\.real and its \.imag"):
        wp.numerical_gradient(lambda z: z * z, 1 + 2j)


def large(n=400, rows=20):
    rng = np.random.default_rng(3)
    a, x = rng.normal(size=(rows, n)) / np.sqrt(n), rng.normal(size=n)
    return a, x, 2 * a.T @ (np.tanh(a @ x) * (1 - np.tanh(a @ x) ** 2))


def test_large_arrays_take_about_ten_evaluations_an_element():
    a, x, truth = large()
    found = wp.numerical_gradient(lambda t: np.sum(np.tanh(a @ t) ** 2), x)
    assert found.n_evaluations < 12 * x.size
    assert np.mean(np.abs(found.value - truth) <= found.error) > 0.95


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_batches_agree_with_single_evaluations(framework):
    a, x, truth = large()
    given, matrix = CONVERTERS[framework](x), CONVERTERS[framework](a)
    library = {"torch": torch, "jax": jnp}[framework]

    def f(t):
        return (library.tanh(matrix @ t) ** 2).sum()

    def alone(t):
        return float(f(t))  # which no framework can batch

    together, apart = wp.numerical_gradient(f, given), wp.numerical_gradient(alone, given)
    assert together.vectorised
    assert not apart.vectorised
    assert np.all(np.abs(together.value - apart.value) <= together.error + apart.error)
    assert np.mean(np.abs(together.value - truth) <= together.error + 1e-7 * (framework == "jax")) > 0.95


def test_a_random_function_is_never_batched():
    found = wp.numerical_gradient(lambda t: (t**2).sum() + 1e-6 * torch.randn(()), torch.ones(64))
    assert not found.vectorised
    assert not found.deterministic


def test_importing_the_room_loads_no_framework():
    import subprocess
    import sys

    program = "import wellposed; wellposed.numerical_gradient(abs, 1.0); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"torch", "jax"}
