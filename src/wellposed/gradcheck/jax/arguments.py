"""The arguments of a check, read: the arrays to check, a pure function of them, and whether a replay in float64 is possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...arguments import told
from ...errors import ArgumentError
from ...runtime.jax.calls import Calls, Pure, enable_x64, is_wide
from ...runtime.reachable import reach
from ..objective import leading_and_total
from .arrays import CheckedArray, coarsest, copied, epsilon, flattened, is_checked, refuse_unusable, widened
from .weighted_outputs import cotangent, weight


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedJaxFunction:
    """The arrays to check, and a pure function of them that returns a list of floating-point arrays."""

    leaves: tuple[CheckedArray, ...]
    outputs: Pure
    batch_sizes: frozenset[int]
    """Leading dimensions and sizes of every array that takes part, as far as it can be reached."""

    @property
    def dtype(self) -> np.dtype[Any]:
        return coarsest([leaf.dtype for leaf in self.leaves])

    @property
    def is_coarse(self) -> bool:
        """Whether any array that is checked is coarser than float64."""
        return any(leaf.dtype != widened(leaf.dtype) for leaf in self.leaves)


def opened(
    f: Any, inputs: Sequence[Any], *, names: Sequence[str], seed: int, order: int = 1
) -> CheckedJaxFunction:
    """Read what `check_gradients` was given.

    With `order` 2 the function is ``G(x, v)``, the gradient by x of ``<v, f(x)>``, and is checked by both.

    Raises
    ------
    ArgumentError
        When there is nothing to differentiate by.
    """
    flat = [flattened(x, name) for x, name in zip(inputs, names, strict=True)]
    is_module = not jax.tree_util.all_leaves([f])
    if is_module:  # a callable that holds its own parameters, as of Equinox
        flat.append(flattened(f, ""))
    every = [pair for pairs, _ in flat for pair in pairs]
    locations = [i for i, (_, value) in enumerate(every) if is_checked(value)]
    leaves = tuple(CheckedArray.of(*every[i]) for i in locations)
    if not leaves:
        raise ArgumentError(
            "no input holds a floating-point array: there is nothing to differentiate by; pass float arrays, or pytrees of them"
        )
    for leaf in leaves:
        refuse_unusable(leaf)

    def outputs(fresh: list[jax.Array]) -> list[jax.Array]:
        # Arrays that f closes over keep their dtype in a replay, and are promoted to float64.
        given = dict(zip(locations, fresh, strict=True))
        values = [given[i] if i in given else copied(value) for i, (_, value) in enumerate(every)]
        arguments = []
        for pairs, treedef in flat:
            arguments.append(jax.tree_util.tree_unflatten(treedef, values[: len(pairs)]))
            values = values[len(pairs) :]
        called = arguments.pop() if is_module else f
        return _floating(called(*arguments))

    arrays = [value for _, value in every] + list(reach([f]).of((jax.Array, np.ndarray)))
    sizes = leading_and_total(a.shape for a in arrays if getattr(a, "ndim", 0) and a.size)
    first = CheckedJaxFunction(leaves=leaves, outputs=outputs, batch_sizes=sizes)
    return first if order == 1 else _gradient_of(first, seed)


def _floating(returned: Any) -> list[jax.Array]:
    found = [v for v in jax.tree_util.tree_leaves(returned) if is_checked(v) or isinstance(v, np.inexact)]
    if not found:
        raise ArgumentError(
            f"f returned {told(returned)}: expected a floating-point array, or a pytree of them"
        )
    return [jnp.asarray(v) for v in found]


def _gradient_of(first: CheckedJaxFunction, seed: int) -> CheckedJaxFunction:
    """``G(x, v)``; v starts from random numbers, as an output is weighted, but others."""
    found = Calls(first.outputs, wide=is_wide(), seed=seed).outputs(
        lambda: [leaf.placed(leaf.numbers(), leaf.dtype) for leaf in first.leaves]
    )
    alone = len(found) == 1
    cotangents = tuple(
        CheckedArray.of(
            "grad of output" if alone else f"grad of output[{i}]",
            cotangent(weight((seed, 2, i), y, spacing=epsilon(y.dtype), alone=alone), y.dtype),
        )
        for i, y in enumerate(found)
    )
    count = len(first.leaves)

    def outputs(fresh: list[jax.Array]) -> list[jax.Array]:
        values, pullback = jax.vjp(first.outputs, fresh[:count])
        return pullback([v.astype(y.dtype) for v, y in zip(fresh[count:], values, strict=True)])[0]

    return CheckedJaxFunction(
        leaves=(*first.leaves, *cotangents), outputs=outputs, batch_sizes=first.batch_sizes
    )


Draws = Counter[tuple[int, tuple[int, ...]]]


def draws_otherwise_in_double(f: Pure, leaves: Sequence[CheckedArray]) -> bool:
    """Whether f draws random bits of another width in 64-bit mode: with the same key these are other numbers, and another dropout mask."""
    own = _draws(f, leaves, wide=is_wide(), widen=False)
    if not own:
        return False
    replayed = _draws(f, leaves, wide=True, widen=True)
    return replayed is not None and replayed != own


def _draws(f: Pure, leaves: Sequence[CheckedArray], *, wide: bool, widen: bool) -> Draws | None:
    """The random draws of f, counted by width in bits and shape; None where f cannot be traced."""
    with enable_x64(wide):
        arguments = [
            jax.ShapeDtypeStruct(x.value.shape, widened(x.dtype) if widen else x.dtype) for x in leaves
        ]
        try:
            traced = jax.make_jaxpr(f)(arguments)
        except Exception:  # the check itself will meet the same error and report it
            return None
    return Counter(
        (int(e.params["bit_width"]), tuple(e.params["shape"]))
        for e in _equations(traced.jaxpr)
        if e.primitive.name == "random_bits"
    )


def _equations(program: Any) -> Iterator[Any]:
    """Of the program, and of the programs inside its equations: loops, branches, calls."""
    for equation in program.eqns:
        yield equation
        for value in jax.tree_util.tree_leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(value):
                yield from _equations(getattr(value, "jaxpr", value))


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


def needs_replay(function: CheckedJaxFunction) -> bool:
    """Whether any array that is checked is coarser than float64, and float64 would leave the random numbers as they are.

    With another dropout mask the replay would be a check of another function, and its gradient no measure of this one's precision.
    """
    return function.is_coarse and not draws_otherwise_in_double(function.outputs, function.leaves)
