"""PyTorch, JAX and NumPy say the same of the same loss and the same wrong gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from math import isclose
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import wellposed as wp
from tests.cases.conformance_gradients import CASES, CORRECT, Bug, Case, bugs
from wellposed.gradcheck.directions import random_direction, signs_of
from wellposed.gradcheck.jax import objective as of_jax
from wellposed.gradcheck.numpy_functions import NumpyObjective
from wellposed.gradcheck.objective import Objective
from wellposed.gradcheck.result import GradientCheck
from wellposed.gradcheck.torch import objective as of_torch
from wellposed.runtime.jax.calls import enable_x64


def pairs() -> Iterator[Any]:
    """Each case with its correct gradient and with each bug; every fourth in the everyday run, all in the slow one."""
    for c, case in enumerate(CASES):
        for b, bug in enumerate((CORRECT, *bugs(case))):
            marks = () if (c + b) % 4 == 0 else pytest.mark.slow
            yield pytest.param(case, bug, marks=marks, id=f"{case.name}: {bug.name}")


each_pair = pytest.mark.parametrize(("case", "bug"), list(pairs()))
each_bug_of_two_layers = pytest.mark.parametrize(
    ("case", "bug"), [pytest.param(CASES[3], bug, id=bug.name) for bug in (CORRECT, *bugs(CASES[3]))]
)


def in_torch(case: Case, bug: Bug) -> Callable[..., Any]:
    class Bent(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *points):
            ctx.save_for_backward(*points)
            return case.loss(torch, *points)

        @staticmethod
        def backward(ctx, upstream):
            return tuple(upstream * g for g in bug.bent(case, torch, ctx.saved_tensors))

    return _named(case, lambda *points: Bent.apply(*points))


def in_jax(case: Case, bug: Bug) -> Callable[..., Any]:
    @jax.custom_vjp
    def bent(*points):
        return case.loss(jnp, *points)

    bent.defvjp(
        lambda *points: (case.loss(jnp, *points), points),
        lambda points, upstream: tuple(upstream * g for g in bug.bent(case, jnp, points)),
    )
    return _named(case, lambda *points: bent(*points))


def in_numpy(case: Case) -> Callable[..., Any]:
    return _named(case, lambda *points: case.loss(np, *points))


def _named(case: Case, f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with parameters of the names that the case has."""
    names = ", ".join(case.points)
    return eval(f"lambda {names}: f({names})", {"f": f})


@contextmanager
def objectives(case: Case, bug: Bug) -> Iterator[dict[str, Objective]]:
    names, points = list(case.points), list(case.points.values())
    tensors = [torch.from_numpy(p.copy()) for p in points]
    with enable_x64(True):
        arrays = [jnp.asarray(p) for p in points]
        opened = of_jax.opened(in_jax(case, bug), arrays, names=names, seed=0)
        assert not of_jax.needs_replay(opened)
    subject = of_torch.opened(in_torch(case, bug), tensors, names=names, seed=0)
    with (
        of_torch.checking(subject, seed=0, replay=False) as torches,
        of_jax.checking(opened, seed=0, replay=True) as jaxes,
    ):
        plain = NumpyObjective(in_numpy(case), points, lambda *x: bug.bent(case, np, x), names)
        yield {"numpy": plain, "torch": torches, "jax": jaxes}


@cache
def in_float64(case: Case, bug: Bug) -> dict[str, GradientCheck]:
    points = list(case.points.values())
    by_hand = wp.check_gradients(in_numpy(case), *points, gradient=lambda *x: bug.bent(case, np, x))
    return {"numpy": by_hand, **by_autograd(case, bug, np.float64)}


def by_autograd(case: Case, bug: Bug, dtype: Any, **keywords: Any) -> dict[str, GradientCheck]:
    points = [p.astype(dtype) for p in case.points.values()]
    tensors = [torch.from_numpy(p.copy()) for p in points]
    with enable_x64(dtype is np.float64):
        of_jax = wp.check_gradients(in_jax(case, bug), *[jnp.asarray(p) for p in points], **keywords)
    return {"torch": wp.check_gradients(in_torch(case, bug), *tensors, **keywords), "jax": of_jax}


def told(check: GradientCheck) -> tuple[Any, ...]:
    worst = (check.worst.name, check.worst.index) if check.worst else None
    return check.verdict, check.cause, check.where, worst, tuple((t.name, t.verdict) for t in check.tensors)


@each_pair
def test_verdict_cause_place_and_worst_element_are_the_same(case: Case, bug: Bug) -> None:
    found = in_float64(case, bug)
    assert told(found["torch"]) == told(found["numpy"])
    assert told(found["jax"]) == told(found["numpy"])
    assert found["numpy"].verdict == ("pass" if bug is CORRECT else "fail")
    assert found["numpy"].cause in bug.causes
    assert {check.precision for check in found.values()} == {"float64"}


@each_pair
def test_numerical_derivatives_lie_within_their_bars_of_the_truth(case: Case, bug: Bug) -> None:
    true = dict(zip(case.points, CORRECT.bent(case, np, list(case.points.values())), strict=True))
    for check in in_float64(case, bug).values():
        if bug is CORRECT:
            assert check.worst is None
            continue
        worst = check.worst
        assert worst is not None
        assert abs(worst.numerical - true[worst.name][worst.index]) <= worst.bar


@each_bug_of_two_layers
def test_float32_is_replayed_with_the_same_result(case: Case, bug: Bug) -> None:
    reference = told(in_float64(case, bug)["numpy"])
    for check in by_autograd(case, bug, np.float32).values():
        assert check.precision == "float64 replay of float32"
        assert told(check)[:3] == reference[:3]


@each_bug_of_two_layers
def test_in_float32_alone_no_bug_passes_and_nothing_sound_fails(case: Case, bug: Bug) -> None:
    for check in by_autograd(case, bug, np.float32, replay=False).values():
        assert check.precision == "float32"
        if bug is CORRECT:
            assert check.verdict != "fail"
        else:
            assert check.verdict != "pass"
            assert check.cause in (*bug.causes, None)


@each_pair
def test_values_and_what_the_gradient_says_are_the_same_along_any_move(case: Case, bug: Bug) -> None:
    with objectives(case, bug) as found:
        reference = found["numpy"]
        tensors = range(len(reference.names))
        scales = [1.0] * len(tensors)
        along = [random_direction(tensors, reference.shapes, scales, (0, k)) for k in range(3)] + [
            signs_of("gradient", reference.gradient, tensors, scales)
        ]
        for other in (found["torch"], found["jax"]):
            assert (other.names, other.shapes) == (reference.names, reference.shapes)
            for direction in along:
                for step in (1e-5, -1e-3, 0.1):
                    expected, sample = reference.at(direction, step), other.at(direction, step)
                    size = sum(
                        step * np.linalg.norm(reference.gradient(i)) * reference.gradient(i).size ** 0.5
                        for i in tensors
                    )
                    assert isclose(sample.value, expected.value, rel_tol=1e-12)
                    assert isclose(
                        sample.claimed_change,
                        expected.claimed_change,
                        rel_tol=1e-12,
                        abs_tol=1e-12 * abs(size),
                    )
