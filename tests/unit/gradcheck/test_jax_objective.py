"""A JAX function as an objective: its values and gradients are those of calculus, and nothing is left behind."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import wellposed as wp
from wellposed.errors import ArgumentError, UserCodeError
from wellposed.gradcheck.directions import Direction, random_direction
from wellposed.gradcheck.jax.objective import checking, needs_replay, opened
from wellposed.runtime.jax.calls import enable_x64, is_wide

EXACT = 1e-13


def rng():
    return np.random.default_rng(0)


def objective(f, *inputs, names=None, replay=True, mode="reverse", order=1, seed=0):
    names = names or [f"x{i}" for i in range(len(inputs))]
    subject = opened(f, inputs, names=names, seed=seed, order=order)
    with checking(subject, seed=seed, replay=replay, mode=mode) as found:
        return found


def along(o, key=(0, 1)):
    return random_direction(range(len(o.names)), o.shapes, [1.0] * len(o.names), key)


def derivative(o, direction, step=1e-5):
    above, below = o.at(direction, step), o.at(direction, -step)
    return (above.value - below.value) / (2 * step), (above.claimed_change - below.claimed_change) / (
        2 * step
    )


class Pair(NamedTuple):
    w: jax.Array
    b: jax.Array


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    weight: jax.Array

    def __call__(self, x):
        return x @ self.weight


@jax.custom_vjp
def doubled_square(x):
    return x * x


doubled_square.defvjp(lambda x: (x * x, x), lambda x, g: (4 * x * g,))


@jax.custom_jvp
def halved_square(x):
    return x * x


halved_square.defjvp(lambda primals, tangents: (primals[0] ** 2, primals[0] * tangents[0]))


# Values, gradients, names


def test_the_gradient_is_that_of_calculus_in_a_replay():
    x = jnp.array([1.5, -2.0, 0.5])
    o = objective(lambda x: jnp.sum(x**3), x)
    assert o.precision == "float64 replay of float32"
    np.testing.assert_allclose(o.gradient(0), 3 * np.array([1.5, -2.0, 0.5]) ** 2, rtol=EXACT)
    assert o.at(None, 0.0).value == pytest.approx(1.5**3 - 8 + 0.125, rel=EXACT)


def test_leaves_of_a_pytree_are_named_by_their_path_and_constants_are_left_out():
    params = {"dense": {"w": jnp.ones((2, 3))}, "pair": Pair(jnp.ones(3), jnp.zeros(3)), "depth": 2}
    tokens, key, flags = jnp.arange(4), jax.random.key(0), np.array([True])

    def f(params, x, tokens, key, flags):
        h = x @ params["dense"]["w"] + params["pair"].b
        return params["depth"] * h * params["pair"].w

    o = objective(
        f,
        params,
        np.ones((5, 2), np.float32),
        tokens,
        key,
        flags,
        names=["params", "x", "tokens", "key", "flags"],
    )
    assert o.names == ("params['dense']['w']", "params['pair'].w", "params['pair'].b", "x")
    assert o.shapes == ((2, 3), (3,), (3,), (5, 2))


def test_a_callable_pytree_is_checked_by_its_own_arrays_too():
    o = objective(Layer(jnp.ones((2, 3))), jnp.ones((4, 2)))
    assert o.names == ("x0", "weight")
    numerical, claimed = derivative(o, along(o))
    assert numerical == pytest.approx(claimed, rel=1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_outputs_are_weighted_with_both_signs_that_their_type_holds_and_add_up_in_float64(dtype):
    x = jnp.asarray(rng().normal(size=(6, 5)), dtype)
    o = objective(lambda x: {"a": x, "n": jnp.arange(3), "b": 2 * x[0]}, x)
    weights = o.gradient(0).copy()
    weights[0] = [0.0] * 5  # both outputs pull there
    used = weights[1:]
    assert (used < 0).any()
    assert (used > 0).any()
    held = np.asarray(jnp.asarray(used, jnp.bfloat16)).astype(np.float64)
    assert np.array_equal(held, used) == (dtype == jnp.bfloat16), "many digits, but where few are held"
    assert np.array_equal(used.astype(np.float32), used)
    exact = np.sum(o.gradient(0) * np.asarray(x).astype(np.float64))
    assert o.at(None, 0.0).value == pytest.approx(exact, rel=EXACT)


def test_a_lone_number_counts_once():
    o = objective(lambda x: jnp.sum(x), jnp.ones(3))
    assert o.gradient(0).tolist() == [1.0, 1.0, 1.0]


def test_points_and_gradients_are_read_only_float64():
    o = objective(lambda x: jnp.sum(x), jnp.ones(3, jnp.bfloat16), replay=False)
    for array in (o.point(0), o.gradient(0)):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_what_is_taken_is_the_move_that_the_type_could_hold(dtype):
    x = jnp.asarray(rng().normal(size=50), dtype)
    o = objective(lambda x: jnp.sum(x * x), x, replay=False)
    direction = along(o)
    moved = (o.point(0) + 0.03 * direction.move(0)).astype(x.dtype).astype(np.float64)
    sample = o.at(direction, 0.03)
    assert sample.claimed_change == pytest.approx(np.vdot(o.gradient(0), moved - o.point(0)), rel=EXACT)
    assert o.roundoff == float(jnp.finfo(dtype).eps) / 2
    assert o.precision == np.dtype(dtype).name
    assert abs(sample.value - np.sum(moved**2)) < 4 * o.roundoff * 50


def test_a_direction_moves_only_its_tensors():
    o = objective(lambda a, b: jnp.sum(a * b), jnp.array([2.0]), jnp.array([3.0]))
    only_b = Direction(kind="random", tensors=(1,), made=lambda i: np.array([1.0]))
    sample = o.at(only_b, 0.5)
    assert (sample.value, sample.claimed_change) == (7.0, 1.0)


def test_outputs_are_split_by_their_first_and_second_axis():
    x = rng().normal(size=(4, 3, 2))
    o = objective(lambda x: (jnp.sin(x), jnp.cos(x)), jnp.asarray(x))
    sample = o.at(along(o), 0.1, split=True)
    assert [p.shape for p in sample.parts] == [(4,), (3,)]
    for part in sample.parts:
        assert part.sum() == pytest.approx(sample.value, rel=1e-12)
    assert o.at(None, 0.0).parts == ()


def test_outputs_that_share_no_axis_are_not_split():
    o = objective(lambda x: (jnp.sum(x), x), jnp.ones(3))
    assert o.at(None, 0.0, split=True).parts == ()


def test_moved_claims_the_gradient_at_the_moved_point():
    o = objective(lambda x: jnp.sum(x**3), jnp.array([1.0, 2.0]))
    direction = Direction(kind="random", tensors=(0,), made=lambda i: np.array([1.0, -1.0]))
    moved = o.moved(direction, 0.5)
    np.testing.assert_allclose(moved.gradient(0), 3 * np.array([1.5, 1.5]) ** 2, rtol=EXACT)
    assert (o.n_forward, o.n_backward) == (moved.n_forward, moved.n_backward) == (4, 2)
    np.testing.assert_array_equal(o.moved(None, 0.0).gradient(0), o.gradient(0))


def test_there_is_no_check_where_f_is_not_finite():
    o = objective(lambda x: jnp.sum(jnp.log(x)), jnp.array([1.0, 2.0]))
    down = Direction(kind="random", tensors=(0,), made=lambda i: np.array([-1.0, 0.0]))
    assert o.moved(down, 2.0) is None
    assert not np.isfinite(o.at(down, 2.0).value)


def test_the_floor_is_the_rounding_of_the_outputs():
    x = jnp.array([3.0, 4.0])
    o = objective(lambda x: x, x, replay=False)
    weights = o.gradient(0)
    assert o.floor() == pytest.approx(
        2.0**-23 * np.linalg.norm(weights * np.array([3.0, 4.0])) / 12**0.5, rel=1e-12
    )
    assert objective(lambda x: x, x).floor() < 1e-15


def test_batch_sizes_hold_the_data_that_the_function_closes_over():
    data = jnp.ones((17, 3))
    o = objective(jax.jit(lambda w: jnp.mean(data @ w)), jnp.ones((3, 2)))
    assert o.batch_sizes == {17, 51, 3, 6}
    assert objective(lambda x: jax.nn.gelu(halved_square(x)), jnp.ones(3)).batch_sizes == {3}


def test_evaluations_are_counted():
    o = objective(lambda x: jnp.sum(x), jnp.ones(3))
    before = (o.n_forward, o.n_backward)
    o.at(along(o), 0.1)
    assert (before, o.n_forward, o.n_backward) == ((2, 1), 3, 1)


# Complex numbers


def test_a_complex_input_is_seen_as_its_real_view_with_the_gradient_of_calculus():
    z = np.array([1 + 2j, -0.5 + 0.25j])
    o = objective(lambda z: jnp.sum(jnp.abs(z) ** 2), jnp.asarray(z))
    assert o.shapes == ((2, 2),)
    np.testing.assert_allclose(o.gradient(0), 2 * np.stack([z.real, z.imag], -1), rtol=1e-12)


def test_a_complex_output_is_weighted_by_part():
    z = np.array([1 + 2j, -0.5 + 0.25j])
    o = objective(lambda z: z * z * jnp.conj(z), jnp.asarray(z))
    direction = along(o)
    numerical, claimed = derivative(o, direction)
    assert numerical == pytest.approx(claimed, rel=1e-9)
    weights = objective(lambda x: jax.lax.complex(x[..., 0], x[..., 1]), jnp.ones((2, 2))).gradient(0)
    value = z * z * z.conj()
    expected = np.sum(weights * np.stack([value.real, value.imag], -1))
    assert o.at(None, 0.0).value == pytest.approx(expected, rel=1e-6)


# What claims the gradient


def test_a_custom_vjp_claims_its_own_gradient():
    o = objective(lambda x: jnp.sum(doubled_square(x)), jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(o.gradient(0), [4.0, 12.0], rtol=EXACT)
    numerical, claimed = derivative(o, along(o))
    assert claimed == pytest.approx(2 * numerical, rel=1e-8)


def test_a_custom_jvp_claims_its_own_gradient():
    o = objective(lambda x: jnp.sum(halved_square(x)), jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(o.gradient(0), [1.0, 3.0], rtol=EXACT)


@pytest.mark.parametrize(
    "f",
    [
        jax.vmap(lambda x: jnp.sum(x**3)),
        lambda x: jax.lax.scan(lambda c, a: (c + a**2, c * a), jnp.zeros(x.shape[1], x.dtype), x),
        jax.checkpoint(lambda x: jnp.tanh(x) @ x.T),
        lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
        jax.jit(lambda x: jnp.linalg.norm(x, axis=1)),
    ],
    ids=["vmap", "scan", "checkpoint", "cond", "jit"],
)
@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_transformed_functions_agree_with_their_differences(f, mode):
    o = objective(f, jnp.asarray(rng().normal(size=(4, 3))), mode=mode)
    numerical, claimed = derivative(o, along(o))
    assert numerical == pytest.approx(claimed, rel=1e-7)


def test_static_arguments_stay_what_they_are():
    f = jax.jit(lambda x, power, kind: jnp.sum(x**power) if kind == "sum" else x, static_argnums=(1, 2))
    o = objective(f, jnp.array([2.0]), 3, "sum")
    assert o.names == ("x0",)
    assert o.gradient(0).tolist() == [12.0]


def test_code_that_needs_real_values_runs_operation_by_operation():
    def f(x):
        return jnp.sum(x[x > 0] ** 2) if x.sum() > 0 else jnp.sum(x)

    o = objective(f, jnp.array([1.0, -0.5, 2.0]))
    assert o.gradient(0).tolist() == [2.0, 0.0, 4.0]
    assert o.at(None, 0.0).value == 5.0


def test_code_that_changes_with_each_trace_is_not_compiled():
    calls = []

    def f(x):
        calls.append(None)
        return jnp.sum(len(calls) * x)

    o = objective(f, jnp.array([1.0]))
    first, second = o.at(None, 0.0).value, o.at(None, 0.0).value
    assert second == first + 1


def test_numpy_random_numbers_are_the_same_in_each_evaluation():
    def f(x):
        return jnp.sum(x * np.random.rand(3) * random.random())

    o = objective(f, jnp.ones(3))
    numerical, claimed = derivative(o, along(o))
    assert numerical == pytest.approx(claimed, rel=1e-8)


# Modes and orders


def test_forward_mode_takes_the_derivative_along_the_move():
    o = objective(lambda x: jnp.sum(halved_square(x)), jnp.array([1.0, 3.0]), mode="forward")
    direction = Direction(kind="random", tensors=(0,), made=lambda i: np.array([1.0, 2.0]))
    sample = o.at(direction, 0.5)
    assert sample.value == pytest.approx(1.5**2 + 4.0**2, rel=EXACT)
    assert sample.claimed_change == pytest.approx(1.0 * 0.5 + 3.0 * 1.0, rel=EXACT)


def test_forward_mode_of_single_numbers_beside_arrays():
    o = objective(lambda a, x: a * jnp.sum(x), jnp.float32(2.0), jnp.ones(3), mode="forward")
    only_x = Direction(kind="random", tensors=(1,), made=lambda i: np.ones(3))
    assert o.at(only_x, 0.5).claimed_change == pytest.approx(3.0, rel=EXACT)


def test_forward_against_reverse_needs_no_differences():
    o = objective(lambda x: jnp.sin(x) * x, jnp.asarray(rng().normal(size=20)), mode="forward-reverse")
    centre, sample = o.at(None, 0.0), o.at(along(o), 1.0)
    assert sample.value - centre.value == pytest.approx(sample.claimed_change, rel=1e-12)


def test_a_loop_without_a_backward_pass_has_forward_mode():
    def f(x):
        return jax.lax.while_loop(lambda c: jnp.sum(c) < 100, lambda c: 2 * c, x)

    o = objective(f, jnp.array([1.0, 2.0]), mode="forward")
    numerical, claimed = derivative(o, along(o))
    assert numerical == pytest.approx(claimed, rel=1e-8)
    with pytest.raises(UserCodeError, match="backward pass raised ValueError"):
        objective(f, jnp.array([1.0, 2.0]))


@pytest.mark.parametrize("mode", ["forward", "forward-reverse"])
def test_a_custom_vjp_has_no_forward_mode(mode):
    with pytest.raises(ArgumentError, match=r"no forward mode.*custom_vjp.*mode='reverse'"):
        objective(doubled_square, jnp.ones(2), mode=mode)


def test_the_second_order_is_the_gradient_of_the_gradient():
    x = np.array([1.0, -2.0, 0.5])
    o = objective(lambda x: x**3, jnp.asarray(x), order=2)
    assert o.names == ("x0", "grad of output")
    v, by_v = o.point(1), o.gradient(1)
    weights = by_v / (3 * x**2)
    np.testing.assert_allclose(o.gradient(0), weights * 6 * x * v, rtol=1e-12)
    np.testing.assert_allclose(weights * 2**19, np.round(weights * 2**19), atol=1e-9)
    numerical, claimed = derivative(o, along(o))
    assert numerical == pytest.approx(claimed, rel=1e-8)


def test_the_second_order_of_complex_and_several_outputs():
    z = jnp.asarray([1 + 2j, -0.5 + 0.25j])
    o = objective(lambda z: (z**3, jnp.abs(z) ** 2), z, order=2)
    assert o.names == ("x0", "grad of output[0]", "grad of output[1]")
    numerical, claimed = derivative(o, along(o))
    assert numerical == pytest.approx(claimed, rel=1e-7)


# Precision


def test_only_what_is_coarser_than_float64_needs_a_replay():
    def subject(x):
        return opened(lambda x: x, [x], names=["x"], seed=0)

    assert needs_replay(subject(jnp.ones(2)))
    with enable_x64(True):
        assert not needs_replay(subject(jnp.ones(2)))
        assert needs_replay(subject(jnp.ones(2, jnp.float32)))


def test_the_native_check_stays_native_beside_a_replay():
    seen = set()

    def f(x):
        seen.add(str(jnp.ones(1).dtype))
        return jnp.sum(jnp.sin(x))

    subject = opened(f, [jnp.ones(5)], names=["x"], seed=0)
    with (
        checking(subject, seed=0, replay=True) as wide,
        checking(subject, seed=0, replay=False) as native,
    ):
        assert seen == {"float32", "float64"}
        assert native.at(None, 0.0).value == float(np.float32(native.at(None, 0.0).value))
        assert wide.at(None, 0.0).value == pytest.approx(5 * np.sin(1.0), rel=EXACT)
        assert not is_wide()


def test_64_bit_mode_is_given_back_after_an_error():
    def f(x):
        raise RuntimeError("mine")

    with pytest.raises(UserCodeError, match="f raised RuntimeError: mine") as caught:
        objective(f, jnp.ones(2))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert not is_wide()


def test_a_function_whose_random_numbers_would_change_is_not_replayed():
    def dropped(x, key):
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0.0)

    def permuted(x, key):
        return x[jax.random.permutation(key, x.shape[0])]

    def subject(f):
        return opened(f, [jnp.ones(64), jax.random.key(0)], names=["x", "key"], seed=0)

    assert not needs_replay(subject(dropped))
    assert not needs_replay(subject(jax.jit(lambda x, key: jax.checkpoint(dropped)(x, key))))
    with enable_x64(True):  # where the user's own draws are of that width already
        assert needs_replay(
            opened(dropped, [jnp.ones(64, jnp.float32), jax.random.key(0)], names=["x", "key"], seed=0)
        )
    o = objective(dropped, jnp.ones(64), jax.random.key(0), replay=False)
    assert o.at(along(o), 2.0**-6).value == pytest.approx(
        o.at(None, 0.0).value + o.at(along(o), 2.0**-6).claimed_change, abs=1e-5
    )
    assert needs_replay(subject(permuted)) == np.array_equal(
        *(_permutation(wide=wide) for wide in (False, True))
    )


def _permutation(*, wide):
    with enable_x64(wide):
        return np.asarray(jax.random.permutation(jax.random.key(0), 64))


# What cannot be checked


@pytest.mark.parametrize(
    ("f", "x", "message"),
    [
        (lambda x: "text", jnp.ones(2), "f returned 'text': expected a floating-point array"),
        (lambda x: x > 0, jnp.ones(2), "f returned .*: expected a floating-point array"),
        (lambda x: x, jnp.arange(3), "no input holds a floating-point array"),
        (lambda x: x, {"a": jnp.array([1.0, jnp.nan])}, r"x0\['a'\] holds 1 values that are not finite"),
        (lambda x: x, jnp.zeros((0, 2)), r"x0 is empty \(shape \(0, 2\)\)"),
        (lambda x: jnp.log(x), jnp.zeros(2), r"f returned a value that is not finite"),
    ],
)
def test_what_cannot_be_checked_is_refused_with_the_reason(f, x, message):
    with pytest.raises(ArgumentError, match=message):
        objective(f, x)


def test_a_tracer_and_a_deleted_array_are_refused():
    with pytest.raises(ArgumentError, match="x0 is a tracer"):
        jax.jit(lambda x: objective(lambda x: x, x))(jnp.ones(2))
    gone = jnp.ones(2)
    gone.delete()
    with pytest.raises(ArgumentError, match="x0 was donated"):
        objective(lambda x: x, gone)


def test_a_backward_pass_that_raises_is_told_apart_from_f():
    @jax.custom_vjp
    def f(x):
        return x

    def backward(_, g):
        raise RuntimeError("mine")

    f.defvjp(lambda x: (x, None), backward)
    with pytest.raises(UserCodeError, match="the backward pass raised RuntimeError: mine"):
        objective(f, jnp.ones(2))


# No trace


@pytest.mark.parametrize("compiled", [True, False])
def test_donated_buffers_are_ours(compiled):
    donating = jax.jit(lambda x: 2 * x, donate_argnums=0)
    x, tokens = jnp.ones(3), jnp.arange(3)

    def f(x, tokens):
        if not compiled:
            _ = float(tokens[0]) if x.sum() > 0 else 0
            jax.jit(lambda t: t + 1, donate_argnums=0)(tokens)
        return donating(x) if compiled else 2 * x

    o = objective(f, x, tokens, replay=False)
    o.at(along(o), 0.1)
    assert not x.is_deleted()
    assert not tokens.is_deleted()


def test_random_states_settings_and_arrays_are_left_as_they_were():
    x, indices = np.ones(3, np.float32), np.arange(3)
    plain, legacy = random.getstate(), np.random.get_state()[1].copy()

    def f(x, indices):
        indices[:] = 0
        np.random.rand()
        random.random()
        return x * x

    o = objective(f, x, indices)
    o.at(along(o), 0.1)
    assert indices.tolist() == [0, 1, 2]
    assert x.tolist() == [1.0, 1.0, 1.0]
    assert random.getstate() == plain
    assert np.array_equal(np.random.get_state()[1], legacy)
    assert not is_wide()


def test_importing_wellposed_loads_no_jax():
    code = "import sys, wellposed; wellposed.check_gradients; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_partial_of_jax_is_checked_by_what_it_holds():
    held = jax.tree_util.Partial(lambda w, x: x @ w, jnp.ones((2, 3)))
    assert len(objective(held, jnp.ones((4, 2))).names) == 2
    plain = partial(lambda w, x: x @ w, jnp.ones((2, 3)))
    o = objective(plain, jnp.ones((4, 2)))
    assert o.names == ("x0",)
    assert 6 in o.batch_sizes


# Through the door


@jax.custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * jax.lax.stop_gradient(x) ** 2 * g,))


def normal(*shape):
    return jnp.asarray(np.random.default_rng(5).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64])
def test_a_correct_function_passes_in_a_replay_of_any_type(dtype):
    check = wp.check_gradients(lambda x: jnp.tanh(x * x), normal(30).astype(dtype))
    assert check.verdict == "pass"
    assert check.precision == f"float64 replay of {np.dtype(dtype).name}"


@pytest.mark.parametrize(
    "x",
    [
        {"w": normal(5)},
        [normal(5)],
        Pair(normal(5), normal(5)),
        Layer(normal(5)),
        (np.ones(5, np.float32), normal(5)),
    ],
)
def test_jax_is_known_by_its_arrays_in_any_pytree(x):
    check = wp.check_gradients(lambda t: [jnp.sin(a) for a in jax.tree_util.tree_leaves(t)], x)
    assert check.verdict == "pass"
    assert len(check.tensors) == len(jax.tree_util.tree_leaves(x))


@pytest.mark.parametrize("f", [jax.jit(jnp.sin), doubled_square, halved_square])
def test_jax_is_known_by_its_functions(f):
    check = wp.check_gradients(f, np.linspace(0.5, 2.0, 12))
    assert check.precision == "float64 replay of float32"
    assert (check.verdict == "pass") == (f not in (doubled_square, halved_square))


def test_a_factor_in_a_custom_rule_is_named():
    check = wp.check_gradients(lambda x: jnp.sum(doubled_square(x)), normal(40))
    assert (check.verdict, check.cause, check.where) == ("fail", "scaled", "x")
    check = wp.check_gradients(lambda x: jnp.sum(halved_square(x)), normal(40), mode="forward")
    assert (check.verdict, check.cause, check.mode) == ("fail", "scaled", "forward")
    # Both modes follow the same wrong rule, so neither accuses the other.
    assert wp.check_gradients(halved_square, normal(40), mode="forward-reverse").verdict == "pass"


def test_a_gradient_that_cannot_be_differentiated_again_fails_at_second_order():
    assert wp.check_gradients(cube, normal(20)).verdict == "pass"
    check = wp.check_gradients(cube, normal(20), order=2)
    assert (check.verdict, check.order) == ("fail", 2)
    assert [t.name for t in check.failed] == ["x"]
    assert wp.check_gradients(lambda x: jnp.sin(x) ** 3, normal(20), order=2).verdict == "pass"


def test_a_conjugate_too_many_fails():
    @jax.custom_vjp
    def square(z):
        return z * z

    square.defvjp(lambda z: (z * z, z), lambda z, g: (2 * jnp.conj(z) * g,))
    z = (normal(20) + 1j * normal(2, 20)[1]).astype(jnp.complex64)
    assert wp.check_gradients(lambda z: z * z, z).verdict == "pass"
    assert wp.check_gradients(square, z).verdict == "fail"


def test_dropout_is_checked_in_its_own_precision_with_its_own_mask():
    def dropped(x, key):
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), jnp.tanh(x), 0.0)

    check = wp.check_gradients(dropped, normal(64), jax.random.key(0))
    assert (check.verdict, check.precision, check.low_precision_error) == ("pass", "float32", None)


def test_code_that_does_not_run_in_float64_is_checked_in_float32():
    def f(x):
        return jax.lax.scan(lambda c, a: (c + a, c * a), jnp.zeros((), jnp.float32), x)[1]

    check = wp.check_gradients(f, normal(10))
    assert (check.verdict, check.precision) == ("pass", "float32")
    assert "does not run in float64" in check.detail
    assert not is_wide()


def test_debugging_of_nans_does_not_end_a_check():
    with jax.debug_nans(True):
        check = wp.check_gradients(lambda x: jnp.log(x), jnp.linspace(0.01, 1.0, 20))
    assert check.verdict == "pass"


def test_a_gradient_given_beside_a_jax_function_is_refused():
    with pytest.raises(ArgumentError, match="a JAX function brings its own backward pass"):
        wp.check_gradients(jnp.sin, jnp.ones(3), gradient=jnp.ones(3))
