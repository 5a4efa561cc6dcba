"""Numerical derivatives to the last bit, with their half-widths, steps and evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

import wellposed as wp
from benchmarks.difference_bars import DTYPES, families
from benchmarks.difference_cases import Family
from wellposed.differentiate import directional_derivative, hessian, hessian_vector, jacobian

from .answers import Answer, Cases, attempted, bits, distinct, prefixed

DRAWS = 2


def cases() -> Cases:
    return distinct([*_drawn(), *_of_torch(), *_second(), *_others()])


def told(found: Any) -> Answer:
    """All fields of a numerical derivative; `found` may be nested in containers, as x was."""
    return {
        "value": _each(found.value),
        "error": _each(found.error),
        "step": _each(found.step),
        "kink": _each(found.kink),
        "noise": float(found.noise).hex(),
        "n_evaluations": found.n_evaluations,
        "how": f"{found.method}, {found.precision}, vectorised {found.vectorised}, deterministic {found.deterministic}",
    }


def _each(values: Any) -> str:
    if isinstance(values, dict):
        return "; ".join(f"{key}: {_each(value)}" for key, value in values.items())
    if isinstance(values, list | tuple):
        return "; ".join(map(_each, values))
    return bits(values)


def _drawn() -> Iterator[tuple[str, Callable[[], Answer]]]:
    for kind in DTYPES:
        for group in families(kind):
            for family in group:
                yield f"{kind}: {family.name}", partial(drawn, family, kind)


def drawn(family: Family, kind: str) -> Answer:
    """Some draws of a family of `difference_cases`, from fixed seeds."""
    rng = np.random.default_rng([1, *family.name.encode()])
    answer: Answer = {}
    for number in range(DRAWS):
        case = family.draw(rng, DTYPES[kind])
        own = not isinstance(case.x, torch.Tensor) and np.asarray(case.x).dtype == np.float32
        precision = "own" if own else "auto"
        answer |= prefixed(
            f"draw {number}",
            attempted(
                lambda case=case, precision=precision: told(
                    wp.numerical_gradient(case.f, case.x, precision=precision)
                )
            ),
        )
    return answer


def _point(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def _net(x: Any) -> Any:
    """A loss of a small tanh net in torch; `x` are its 31 weights."""
    w, v = x[:24].reshape(4, 6), x[24:30]
    inputs = torch.linspace(-1, 1, 20, dtype=x.dtype).reshape(5, 4)
    return ((torch.tanh(inputs @ w) @ v + x[30]) ** 2).mean()


def _relu_net(x: Any) -> Any:
    return torch.relu(x.reshape(5, 6) @ torch.linspace(-1, 1, 6, dtype=x.dtype)).sum() + (x * x).sum()


def _softmax_loss(x: Any) -> Any:
    return torch.logsumexp(x.reshape(-1), 0) - x.reshape(-1)[0]


def _of_float32(x: Any) -> Any:
    """A torch function that computes in float32 whatever it is given."""
    return torch.sin(x.float()).prod().to(x.dtype)


def _of_torch() -> Iterator[tuple[str, Callable[[], Answer]]]:
    functions = {
        "net": (_net, 31),
        "relu net": (_relu_net, 30),
        "softmax": (_softmax_loss, 12),
        "float32 inside": (_of_float32, 4),
    }
    for name, (f, size) in functions.items():
        for dtype in (torch.float64, torch.float32):
            for precision in ("auto", "own"):
                x = torch.tensor(_point(size), dtype=dtype)
                yield (
                    f"torch {name}, {str(dtype).removeprefix('torch.')}, precision {precision}",
                    lambda f=f, x=x, precision=precision: told(
                        wp.numerical_gradient(f, x, precision=precision)
                    ),
                )


def _wave(x: Any) -> Any:
    return np.sum(np.sin(3 * x)) * np.exp(-np.sum(x * x) / 8)


def _rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def _rosenbrock_gradient(x: Any) -> Any:
    g = np.zeros_like(x)
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    g[:-1] -= 400 * x[:-1] * (x[1:] - x[:-1] ** 2) + 2 * (1 - x[:-1])
    return g


def _squared_hinge(x: Any) -> Any:
    return np.sum(np.maximum(x, 0) ** 2) + np.sum(x)


def _badly_scaled(x: Any) -> Any:
    return np.sum((x / np.array([1e-4, 1.0, 1e4])) ** 3) + x[0] * x[1] / 1e-4


def _second() -> Iterator[tuple[str, Callable[[], Answer]]]:
    """Hessians and Hessian-vector products."""
    x = _point(5)
    functions = {
        "wave": (_wave, x),
        "Rosenbrock": (_rosenbrock, x),
        "squared hinge off its kink": (_squared_hinge, x),
        "squared hinge at its kink": (_squared_hinge, np.array([0.0, 1.0, -1.0])),
        "badly scaled": (_badly_scaled, np.array([2e-4, 1.0, -3e4])),
        "one number": (lambda t: np.exp(np.sin(t)), 0.7),
        "torch net": (_net, torch.tensor(_point(31))),
        "float32": (lambda t: np.sum(np.sin(t) * t), _point(4, seed=1).astype(np.float32)),
    }
    for name, (f, at) in functions.items():
        yield f"hessian: {name}", lambda f=f, at=at: told(hessian(f, at))
        if not isinstance(at, float):
            v = at * 0 + 1
            yield f"hessian_vector: {name}", lambda f=f, at=at, v=v: told(hessian_vector(f, at, v))
    yield "hessian of a gradient", lambda: told(hessian(None, x, gradient=_rosenbrock_gradient))
    yield (
        "hessian_vector of a gradient",
        lambda: told(hessian_vector(None, x, _point(5, seed=2), gradient=_rosenbrock_gradient)),
    )
    yield "hessian within bounds", lambda: told(hessian(_wave, x, bounds=(x, x + 2)))


def _others() -> Iterator[tuple[str, Callable[[], Answer]]]:
    x, tree = _point(6), {"w": _point(2, 3), "b": [1.5, _point(3)]}
    low = np.where(np.arange(6) % 2, x, -np.inf)

    def of_tree(p: Any) -> Any:
        return np.sum(np.tanh(p["w"] @ p["b"][1]) ** 2) * p["b"][0]

    def noisy(p: Any) -> Any:
        return np.round(_wave(p), 6)

    yield "jacobian", lambda: told(jacobian(lambda p: np.sin(np.outer(p, p)).sum(0), x))
    yield "jacobian of torch", lambda: told(jacobian(lambda p: torch.softmax(p, 0), torch.tensor(x)))
    yield "directional derivative", lambda: told(directional_derivative(_wave, x, _point(6, seed=3)))
    yield "tree", lambda: told(wp.numerical_gradient(of_tree, tree))
    yield "bounds", lambda: told(wp.numerical_gradient(_wave, x, bounds=(low, None)))
    yield "one-sided end", lambda: told(wp.numerical_gradient(lambda t: np.sqrt(t) + t, 1e-9))
    yield "kink", lambda: told(wp.numerical_gradient(lambda t: np.abs(t) + t * t, 0.0))
    yield "fixed step", lambda: told(wp.numerical_gradient(lambda t: t**3, 1.0, step=0.01))
    yield "rounded values", lambda: told(wp.numerical_gradient(noisy, x))
    yield "many elements", lambda: told(wp.numerical_gradient(_rosenbrock, _point(60, seed=4)))
    yield "complex", lambda: told(wp.numerical_gradient(lambda z: np.sum(np.abs(z) ** 3), x[:3] + 1j * x[3:]))
    yield "constant", lambda: told(wp.numerical_gradient(lambda t: 3.0, 1.0))
    yield (
        "float32, own precision",
        lambda: told(
            wp.numerical_gradient(lambda t: np.sum(np.exp(t)), x.astype(np.float32), precision="own")
        ),
    )
