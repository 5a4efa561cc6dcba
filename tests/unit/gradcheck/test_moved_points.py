"""Points that were moved, and the gradients there: as a copy would have them, although none is held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from wellposed.gradcheck.directions import jittered, random_direction
from wellposed.gradcheck.jax import objective as of_jax
from wellposed.gradcheck.torch import objective as of_torch

LARGE = 150_000  # more than two blocks, the last one shorter
SHAPES = ((LARGE,), (4, 3), ())


def values(dtype: type = np.float64) -> list[np.ndarray]:
    return [
        np.asarray(np.random.default_rng(i).standard_normal(s), dtype=dtype) for i, s in enumerate(SHAPES)
    ]


@contextmanager
def objective(framework: str, *, dtype: type = np.float64, replay: bool = False) -> Iterator[Any]:
    """The sum of the fourth powers of three arrays, one of which torch holds transposed."""
    if framework == "torch":
        tensors = [torch.tensor(v) for v in values(dtype)]
        tensors[1] = tensors[1].T.contiguous().T
        subject = of_torch.opened(
            lambda a, b, c: (a**4).sum() + (b**4).sum() + c**4, tensors, names="abc", seed=0
        )
        with of_torch.checking(subject, seed=0, replay=replay) as found:
            yield found
        for tensor, before in zip(tensors, values(dtype), strict=True):
            assert np.array_equal(tensor.numpy(), before)
    else:
        arrays = [jnp.asarray(v) for v in values(dtype)]
        subject = of_jax.opened(
            lambda a, b, c: (a**4).sum() + (b**4).sum() + c**4, arrays, names="abc", seed=0
        )
        with of_jax.checking(subject, seed=0, replay=replay) as found:
            yield found


def a_direction(key: int = 1) -> Any:
    return random_direction((0, 1, 2), SHAPES, (0.5, 1.0, 2.0), (0, key))


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


frameworks = pytest.mark.parametrize("framework", ["torch", "jax"])
types = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@frameworks
@types
def test_points_that_moved_twice_were_rounded_twice(framework: str, dtype: type) -> None:
    first, second = a_direction(1), jittered(a_direction(2), SHAPES, (0, 3))
    with objective(framework, dtype=dtype) as o:
        moved = o.moved(first, 0.1).moved(second, -0.3)
        for i, start in enumerate(values(dtype)):
            once = (start.astype(float) + 0.1 * first.move(i)).astype(dtype)
            twice = (once.astype(float) - 0.3 * second.move(i)).astype(dtype)
            # Torch rounds a product and a sum at once: one unit of float64, which float32 does not show.
            np.testing.assert_allclose(moved.point(i), twice, rtol=0, atol=2e-15)


@frameworks
@types
def test_a_step_from_a_moved_point_is_the_one_really_made(framework: str, dtype: type) -> None:
    away, along = a_direction(1), a_direction(2).only((0, 2))
    with objective(framework, dtype=dtype) as o:
        moved = o.moved(away, 0.1)
        sample = moved.at(along, 1e-3)
        taken, value = 0.0, 0.0
        for i in range(3):
            start = moved.point(i).astype(float)
            end = (start + 1e-3 * along.move(i)).astype(dtype).astype(float) if i in along.tensors else start
            taken += float(np.vdot(moved.gradient(i), end - start))
            value += float(np.sum(end**4))
        assert sample.claimed_change == pytest.approx(taken, rel=1e-12)
        assert sample.value == pytest.approx(value, rel=1e-12 if dtype is np.float64 else 1e-5)
        assert moved.at(None, 0.0).value == o.at(away, 0.1).value


@frameworks
def test_the_gradient_here_is_asked_for_again_once_another_point_was_looked_at(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wellposed.gradcheck.torch.evaluate.TorchEvaluator.releases_above", 0)
    with objective(framework) as o:
        before, backward = [np.array(o.gradient(i)) for i in range(3)], o.n_backward
        sample = o.at(a_direction(2), 1e-3)
        moved = o.moved(a_direction(1), 0.1)
        assert not np.array_equal(moved.gradient(0), before[0])
        assert o.at(a_direction(2), 1e-3) == sample
        assert all(np.array_equal(o.gradient(i), g) for i, g in enumerate(before))
        assert o.n_backward == backward + 2


@frameworks
def test_a_gradient_that_is_compared_with_the_one_here_leaves_it_in_place(framework: str) -> None:
    with objective(framework) as o:
        backward = o.n_backward
        louder = o.moved(None, 0.0, upstream=3)
        np.testing.assert_allclose(louder.gradient(0), o.gradient(0), rtol=1e-14)
        assert o.n_backward == backward + 1


@frameworks
def test_the_gradient_of_a_replay_outlives_it(framework: str) -> None:
    with objective(framework, dtype=np.float32, replay=True) as o:
        before = np.array(o.gradient(0))
        o.moved(a_direction(), 0.1)
    assert np.array_equal(o.gradient(0), before)
