"""Whether 64-bit mode would change the random numbers that a function draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from ...runtime.jax.calls import Pure, enable_x64, is_wide
from .pytrees import Leaf, widened

Draws = Counter[tuple[int, tuple[int, ...]]]


def draws_otherwise_in_double(f: Pure, leaves: Sequence[Leaf]) -> bool:
    """Whether f draws random bits of another width there: from the same key these are other numbers, as another dropout mask."""
    own = _draws(f, leaves, wide=is_wide(), widen=False)
    if not own:
        return False
    replayed = _draws(f, leaves, wide=True, widen=True)
    return replayed is not None and replayed != own


def _draws(f: Pure, leaves: Sequence[Leaf], *, wide: bool, widen: bool) -> Draws | None:
    """How often f draws what: width in bits and shape. None where it cannot be traced."""
    with enable_x64(wide):
        arguments = [
            jax.ShapeDtypeStruct(x.value.shape, widened(x.dtype) if widen else x.dtype) for x in leaves
        ]
        try:
            traced = jax.make_jaxpr(f)(arguments)
        except Exception:  # whatever it is, the check itself will meet it and say so
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
