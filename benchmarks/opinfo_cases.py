"""Torch's own database of operations as cases: a function of tensors, and the tensors to differentiate by.

torch.testing holds several sample inputs for each operation, and how its authors check its gradient; a case is one operation on one sample.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_flatten, tree_unflatten

DEVICE = "cpu"
MOST_TRIED = 20
"""Samples of one operation that are looked at before it counts as one without a usable sample."""
_HELD_BY = ("TestBwdGradients", "test_fn_grad")
"""Torch's test of these gradients: what it skips, and expects to fail, is skipped here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One operation on one sample."""

    op: str
    sample: int
    seed: int
    dtype: torch.dtype
    function: Callable[..., tuple[torch.Tensor, ...]]
    """Of `inputs`: the differentiable outputs, complex ones as their real view."""
    inputs: tuple[torch.Tensor, ...]
    nondeterminism: float
    """By how much torch's own check lets repeated backward passes differ."""


class Unusable(Exception):
    """Why an operation, or a sample of it, is no case."""


def name_of(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def operations(dtype: torch.dtype, *, only: str = "", every: int = 1) -> list[Any]:
    """The operations that have a backward pass at `dtype`; each `every`-th of them, or those with one name."""
    found = [
        op
        for op in op_db
        if op.supports_autograd and dtype in op.supported_backward_dtypes(torch.device(DEVICE).type)
    ]
    return [op for op in found if name_of(op) == only] if only else found[::every]


def cases(op: Any, dtype: torch.dtype, *, seed: int, samples: int = 2) -> list[Case]:
    """The first samples of an operation that can be differentiated.

    Raises
    ------
    Unusable
        When torch's own test leaves the operation out, or no sample fits.
    """
    _refuse_skipped(op, dtype)
    found: list[Case] = []
    reasons: list[str] = []
    for i, sample in enumerate(_drawn(op, dtype, seed)):
        try:
            found.append(_case(op, sample, number=i, dtype=dtype, seed=seed))
        except Unusable as reason:
            reasons.append(str(reason))
        if len(found) == samples or i + 1 == MOST_TRIED:
            return found
    if not found:
        raise Unusable(reasons[0] if reasons else "no sample at this type")
    return found


def _drawn(op: Any, dtype: torch.dtype, seed: int) -> Iterator[Any]:
    torch.manual_seed(seed)
    try:
        yield from op.sample_inputs(DEVICE, dtype, requires_grad=True)
    except Exception as error:
        raise Unusable(f"its samples cannot be drawn: {type(error).__name__}: {first_line(error)}") from error


def _refuse_skipped(op: Any, dtype: torch.dtype) -> None:
    for decorator in op.decorators:
        # Torch runs its test in float64 alone, so a skip may name that type only.
        active = hasattr(decorator, "is_active") and any(
            decorator.is_active(*_HELD_BY, DEVICE, kind, {}) for kind in (torch.float64, dtype)
        )
        if not active:
            continue
        marked = _nothing
        for part in decorator.decorators:
            marked = _marked(part, marked)
        if getattr(marked, "__unittest_skip__", False):
            raise Unusable(
                f"torch skips it: {getattr(marked, '__unittest_skip_why__', '') or 'no reason given'}"
            )
        if getattr(marked, "__unittest_expecting_failure__", False):
            raise Unusable("torch expects its own check to fail")


def _marked(decorator: Any, test: Any) -> Any:
    def fresh(self: unittest.TestCase) -> None: ...

    marked = decorator(fresh)
    return (
        marked
        if hasattr(marked, "__unittest_skip__") or hasattr(marked, "__unittest_expecting_failure__")
        else test
    )


def _nothing() -> None: ...


def _case(op: Any, sample: Any, *, number: int, dtype: torch.dtype, seed: int) -> Case:
    leaves, structure = tree_flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
    places = [i for i, x in enumerate(leaves) if _is_differentiable(x)]
    if not places:
        raise Unusable("no floating-point input that is differentiated")
    inputs = tuple(leaves[i] for i in places)
    if any(x.layout is not torch.strided for x in inputs):
        raise Unusable("a sparse input")
    if any(x.numel() == 0 for x in inputs):
        raise Unusable("an empty input")
    variant = op.get_op()

    def outputs(*given: torch.Tensor) -> list[Any]:
        filled = list(leaves)
        for i, x in zip(places, given, strict=True):
            filled[i] = x
        first, rest, named = tree_unflatten(filled, structure)
        return tree_flatten(
            sample.output_process_fn_grad(op.gradcheck_wrapper(variant, first, *rest, **named))
        )[0]

    kept = _differentiable_outputs(outputs, inputs)

    def function(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = outputs(*given)
        return tuple(
            torch.view_as_real(found[i].resolve_conj()) if found[i].is_complex() else found[i] for i in kept
        )

    return Case(
        op=name_of(op),
        sample=number,
        seed=seed,
        dtype=dtype,
        function=function,
        inputs=tuple(x.detach().requires_grad_() for x in inputs),
        nondeterminism=float(op.gradcheck_nondet_tol),
    )


def _differentiable_outputs(outputs: Callable[..., list[Any]], inputs: tuple[torch.Tensor, ...]) -> list[int]:
    try:
        found = outputs(*(x.clone() for x in inputs))
    except Exception as error:
        raise Unusable(f"it raises {type(error).__name__}: {first_line(error)}") from error
    kept = [i for i, y in enumerate(found) if _is_differentiable(y) and y.numel()]
    if not kept:
        raise Unusable("no output that is differentiable and not empty")
    if any(found[i].layout is not torch.strided for i in kept):
        raise Unusable("a sparse output")
    if not all(bool(torch.isfinite(found[i]).all()) for i in kept):
        raise Unusable("an output that is not finite")
    return kept


def _is_differentiable(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and value.requires_grad
        and (value.is_floating_point() or value.is_complex())
    )


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else ""
