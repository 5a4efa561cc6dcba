"""How large each residual branch is beside its trunk, read off a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..runtime.model_trace import ModelTrace, Operation, TensorStats
from .mean_field import SUMS
from .result import ResidualSum

_INPUT = -1


def residual_sums(trace: ModelTrace) -> tuple[ResidualSum, ...]:
    """One entry for each sum of two tensors of which one was made from the other, in the order in which they run."""
    operations = list(trace.operations.values())
    return tuple(_sums(trace, operations))


def _sums(trace: ModelTrace, operations: Sequence[Operation]) -> Iterator[ResidualSum]:
    for operation in operations:
        if operation.key.name not in SUMS or len(operation.inputs) != 2 or not operation.shape:
            continue
        a, b = operation.inputs
        trunk, branch = (a, b) if _leads_to(a, b, operations) else (b, a)
        if not _leads_to(trunk, branch, operations):
            continue
        trunk_stats, branch_stats = (_stats(p, trace, operations) for p in (trunk, branch))
        if trunk_stats is None or branch_stats is None or trunk_stats.count != branch_stats.count:
            continue
        yield ResidualSum(
            where=operation.key.module,
            line=None if operation.key.line is None else str(operation.key.line),
            trunk_rms=trunk_stats.rms,
            branch_rms=branch_stats.rms,
        )


def _stats(position: int, trace: ModelTrace, operations: Sequence[Operation]) -> TensorStats | None:
    return trace.input if position == _INPUT else operations[position].output


def _leads_to(start: int, end: int, operations: Sequence[Operation]) -> bool:
    """Whether one operation read, by way of others, what another gave."""
    waiting, seen = [end], {end}
    while waiting:
        at = waiting.pop()
        if at == start:
            return at != end
        if at > start:  # an operation reads what ran before it
            fresh = [p for p in operations[at].inputs if p not in seen]
            seen.update(fresh)
            waiting += fresh
    return False
