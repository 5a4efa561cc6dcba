"""The objective of a check: F, one real number as a function of several tensors, and its claimed gradient."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Literal, Protocol, Self

import numpy as np

from .directions import Array, Direction
from .result import Sample, Undefined

Mode = Literal["reverse", "forward", "forward-reverse"]
"""Which derivatives are checked: those of the backward pass or of forward mode against differences, or forward mode against the backward pass."""


class Objective(Protocol):
    """F(x) of a list of tensors; each evaluation starts from the same random state and buffers, and leaves no trace.

    Tensors stay in their framework; one float64 array at a time is handed over, and numbers. A complex tensor appears as its real view, with
    one more axis of length two.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    precision: str
    roundoff: float
    """Unit roundoff of the arithmetic that the function declares."""
    claims_gradient: bool
    """Whether `gradient` is what is checked; in forward mode that is the derivative along a direction, and `gradient` only gives scales."""
    remarks: tuple[str, ...]
    """What is left out of the check, and why."""
    batch_sizes: frozenset[int]
    """Leading dimensions and sizes of the arrays that take part: candidates for the m of a forgotten 1/m."""
    data_sizes: frozenset[int]
    """Leading dimensions of arrays that are not checked, and so are data."""

    undefined: tuple[Undefined, ...]
    """Where the claimed gradient is NaN or infinite."""
    output_weights: tuple[Array, ...]
    """The weight in F of each element of each output; empty where f returns one number."""

    @property
    def n_forward(self) -> int:
        """Evaluations so far, here and at points moved from here."""
        ...

    @property
    def n_backward(self) -> int: ...

    def point(self, tensor: int) -> Array:
        """The values at which the gradient is claimed; read-only."""
        ...

    def gradient(self, tensor: int) -> Array:
        """The claimed gradient; read-only."""
        ...

    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        """F where every tensor of the direction has moved by ``step * direction.move(tensor)``, rounded to its dtype; F here for None."""
        ...

    def floor(self) -> float:
        """Standard deviation of the rounding of the function's outputs, in units of F."""
        ...

    def moved(
        self, direction: Direction | None, step: float, *, afresh: bool = False, upstream: int = 1
    ) -> Self | None:
        """The same check at the moved point, with the gradient that is claimed there; None where it is only known here.

        The gradient is that of a second call, after the one here; with `afresh` that of a first call, None where what a first call leaves
        behind cannot be undone. Without a direction it is the gradient here once more. The upstream gradient is multiplied by `upstream`, and
        the result divided by that in float64: for a linear backward pass only the rounding differs.
        """
        ...

    def gradient_repeat_error(self) -> float:
        """Relative difference of the gradient from that of another backward pass, which may draw other random numbers."""
        ...

    def settled(self) -> Self | None:
        """The same check after the hidden state that every forward pass updates has converged; None where F does not depend on any.

        Autograd takes such state for a constant. For a power iteration, as in spectral norm, that is right once it has converged.
        """
        ...


FEW, MANY = 8, 2**19
"""The weights are multiples of 1 over this. Few for half precision, which represents them exactly. Many otherwise, so that a backward pass
that rounds the upstream gradient to half precision is found; float32 represents five times such a number exactly."""
COARSE = 1e-6
"""A spacing next to 1 above this is that of half precision."""


def random_weights(shape: Sequence[int], key: Sequence[int], *, spacing: float) -> Array:
    """Numbers of either sign and size 1/2 to 3/2 for code whose numbers have this spacing next to 1; the same for the same key."""
    parts = FEW if spacing > COARSE else MANY
    rng = np.random.default_rng(tuple(key))
    signs = rng.integers(0, 2, size=tuple(shape), dtype=np.int8) * 2 - 1
    return np.asarray(signs * rng.integers(parts // 2, 3 * parts // 2 + 1, size=tuple(shape)) / parts)


def split_of_f(terms: Sequence[Array]) -> tuple[Array, ...]:
    """F as a sum over the first axis of the outputs, and as one over the second; of several outputs where they share that axis.

    `terms` are the elements of the outputs times their weights.
    """
    found = []
    for axis in (0, 1):
        lengths = {t.shape[axis] if t.ndim > axis else 0 for t in terms}
        if len(lengths) == 1 and min(lengths) >= 2:
            sums = [np.moveaxis(t, axis, 0).reshape(t.shape[axis], -1).sum(axis=1) for t in terms]
            found.append(np.sum(sums, axis=0))
    return tuple(found)


def leading_and_total(shapes: Iterable[Sequence[int]]) -> frozenset[int]:
    """Leading dimensions and numbers of elements: see `Objective.batch_sizes`."""
    return frozenset(int(n) for shape in shapes if len(shape) for n in (shape[0], prod(shape)))


def input_names(f: Any, count: int) -> list[str]:
    """The names of a function's positional parameters, or ``P[0]``, ``P[1]`` for ``*P``."""
    names: list[str] = []
    if not callable(f):  # a problem
        return [f"inputs[{i}]" for i in range(count)]
    try:
        for p in _parameters(f):
            if p.kind is p.VAR_POSITIONAL:
                names += [f"{p.name}[{k}]" for k in range(count - len(names))]
            elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                names.append(p.name)
    except (TypeError, ValueError):
        pass  # a builtin without a signature
    return (names + [f"inputs[{i}]" for i in range(len(names), count)])[:count]


def _parameters(f: Any) -> Iterable[inspect.Parameter]:
    """Those of f; for the ``apply`` of an ``autograd.Function``, which takes ``*args``, those of its forward pass."""
    owner = getattr(f, "__self__", None)
    if not (isinstance(owner, type) and getattr(f, "__name__", "") == "apply" and hasattr(owner, "forward")):
        return inspect.signature(f).parameters.values()
    written = [k for k in owner.__mro__ if not k.__module__.startswith("torch.")]
    takes_ctx = not any("setup_context" in vars(k) for k in written)
    return list(inspect.signature(owner.forward).parameters.values())[takes_ctx:]  # pyright: ignore[reportAttributeAccessIssue]
