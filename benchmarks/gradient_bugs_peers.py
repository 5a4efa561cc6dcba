"""What other gradient checks say of the same function: torch's gradcheck, JAX's, and the number of the Deep Learning Specialization.

Each answers one of `CAUGHT`, `LOOK` (Ng's middle ground: look again) and `PASSED`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CAUGHT, LOOK, PASSED = "caught", "look again", "passed"
STEP = 1e-7
"""The course's step, in every coordinate."""
GOOD, BUG = 1e-7, 1e-3
"""Below the first, the course calls a gradient good; from the second on it sees a bug."""
ELEMENTWISE_UP_TO = 1_200
"""Elements; beyond, Ng's formula is read along random directions, whose cost does not grow with the size."""
DIRECTIONS = 10


def torch_gradcheck(f: Callable[..., Tensor], parameters: Sequence[Tensor], *, fast: bool) -> str:
    """With its defaults, which are eps 1e-6, atol 1e-5 and rtol 1e-3."""
    leaves = [p.clone().requires_grad_() for p in parameters]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of float32, which is what is being measured
        passed = torch.autograd.gradcheck(f, leaves, fast_mode=fast, raise_exception=False)
    return PASSED if passed else CAUGHT


def jax_check_grads(f: Callable[..., Tensor], parameters: Sequence[Tensor]) -> str:
    """What `jax.test_util.check_grads` does in reverse mode, with its defaults: `check_vjp`, which takes any pair of functions of arrays."""
    from jax.test_util import check_vjp

    def value(*arrays: np.ndarray) -> np.ndarray:
        return f(*[torch.from_numpy(a) for a in arrays]).numpy()

    def pulled_back(*arrays: np.ndarray):
        leaves = [torch.from_numpy(a).requires_grad_() for a in arrays]
        out = f(*leaves)
        gradients = torch.autograd.grad(out, leaves)
        return out.detach().numpy(), lambda ct: tuple(float(ct) * g.numpy() for g in gradients)

    try:
        check_vjp(value, pulled_back, tuple(p.numpy() for p in parameters))
    except AssertionError:
        return CAUGHT
    return PASSED


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """Differences of one loss at one point with the course's step: taken once, held against any number of claimed gradients."""

    differences: np.ndarray
    directions: tuple[tuple[Tensor, ...], ...] | None
    """None: one difference an element."""

    def number(self, claimed: Sequence[Tensor]) -> float:
        """``|g - n| / (|g| + |n|)``, of the elements or of what shows of them along the directions."""
        if self.directions is None:
            g = torch.cat([c.reshape(-1) for c in claimed]).double().numpy()
        else:
            g = np.array([_dot(claimed, d) for d in self.directions])
        return float(
            np.linalg.norm(g - self.differences) / (np.linalg.norm(g) + np.linalg.norm(self.differences))
        )

    def says(self, claimed: Sequence[Tensor]) -> str:
        number = self.number(claimed)
        return PASSED if number < GOOD else LOOK if number < BUG else CAUGHT


def course(loss: Callable[[Sequence[Tensor]], Tensor], parameters: Sequence[Tensor]) -> Course:
    size = sum(p.numel() for p in parameters)
    if size > ELEMENTWISE_UP_TO:
        generator = torch.Generator().manual_seed(0)
        directions = tuple(
            tuple(torch.randint(0, 2, p.shape, generator=generator).to(p.dtype) * 2 - 1 for p in parameters)
            for _ in range(DIRECTIONS)
        )
        differences = [_difference(loss, parameters, d) for d in directions]
        return Course(differences=np.array(differences), directions=directions)
    differences = []
    for i, p in enumerate(parameters):
        for j in range(p.numel()):
            one = [torch.zeros_like(q) for q in parameters]
            one[i].view(-1)[j] = 1.0
            differences.append(_difference(loss, parameters, one))
    return Course(differences=np.array(differences), directions=None)


def _difference(loss, parameters: Sequence[Tensor], direction: Sequence[Tensor]) -> float:
    up = [p + STEP * d for p, d in zip(parameters, direction, strict=True)]
    down = [p - STEP * d for p, d in zip(parameters, direction, strict=True)]
    return (float(loss(up)) - float(loss(down))) / (2 * STEP)


def _dot(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    return sum(float((t.double() * o.double()).sum()) for t, o in zip(tensors, others, strict=True))
