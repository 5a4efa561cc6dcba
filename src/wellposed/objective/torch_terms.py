"""The terms of the sum that a loss is, read off its graph, and those with the wrong sign.

A term is what stands between additions, subtractions and multiplications by constants, below means and sums over everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..errors import WellposedError
from ..runtime.torch.session import Runner
from .result import SubtractedTerm
from .torch_components import Dependence, differ, gradients_of
from .torch_descent import Descent, descend
from .torch_outputs import confined_both_ways, joined, ramp, split_like
from .torch_targets import rms

_MOST_TERMS = 32
_MOST_NODES = 200
_MOST_SUBTRACTED = 4
_COPIED = 1 << 16  # numbers
_PASSED_ON = ("View", "Reshape", "Squeeze", "Unsqueeze", "Clone", "ToCopy", "Alias")


@dataclass(frozen=True, kw_only=True, eq=False)
class LossTerm:
    """One term, as a tensor of the loss's graph."""

    tensor: torch.Tensor
    factor: float
    """By which its entries enter the loss."""
    shape: tuple[int, ...]
    """To which it is expanded before the sum over everything."""

    @property
    def contribution(self) -> torch.Tensor:
        """What it adds to the loss."""
        return self.factor * self.tensor.expand(self.shape).sum()


class _MadeTensors(TorchFunctionMode):
    """The tensors that the functions of a loss made, by the node of the graph that made each."""

    def __init__(self) -> None:
        super().__init__()
        self._tensors: dict[Any, torch.Tensor] = {}
        self._asked = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.grad_fn is not None:
            # A copy: `loss += term` changes the tensor that stood for the sum so far.
            self._tensors[made.grad_fn] = made if made.numel() > _COPIED else made.clone()
        return made

    def gives_up(self) -> bool:
        """Whether so many nodes were asked for that the sum is one of many steps, and no sum of terms."""
        self._asked += 1
        return self._asked > _MOST_NODES

    def by(self, node: Any) -> torch.Tensor | None:
        found = self._tensors.get(node, getattr(node, "variable", None))
        large = found is not None and found.numel() > _COPIED
        changed = found is not None and large and found.grad_fn is not node and not found.is_leaf
        return None if changed else found


def terms_of(loss: Callable[[], torch.Tensor]) -> list[LossTerm]:
    """The terms of a loss; the loss itself where it is no sum, nothing where it has no graph."""
    with _MadeTensors() as made:
        value = loss()
    if value.grad_fn is None:
        return []
    whole = LossTerm(tensor=value, factor=1.0, shape=tuple(value.shape))
    found = _below(value.grad_fn, 1.0, (), made)
    return found if found is not None and len(found) <= _MOST_TERMS else [whole]


def _below(node: Any, factor: float, shape: tuple[int, ...], made: _MadeTensors) -> list[LossTerm] | None:
    """The terms that a node adds up, or the node's own; None where its tensor is not known."""
    parts = None if made.gives_up() else _addends(node, factor, shape)
    if parts is not None:
        below = [_below(child, f, s, made) for child, f, s in parts]
        if below and all(b is not None for b in below):
            return [term for b in below if b is not None for term in b]
    tensor = made.by(node)
    if tensor is None or not _expands(tuple(tensor.shape), shape):
        return None
    return [LossTerm(tensor=tensor, factor=factor, shape=shape)]


def _expands(shape: tuple[int, ...], goal: tuple[int, ...]) -> bool:
    return len(shape) <= len(goal) and all(
        n in (1, g) for n, g in zip(reversed(shape), reversed(goal), strict=False)
    )


def _addends(
    node: Any, factor: float, shape: tuple[int, ...]
) -> list[tuple[Any, float, tuple[int, ...]]] | None:
    """What a node adds up, with the factor of each; None where it does something else."""
    kind = node.name().partition("Backward")[0]
    children = [child for child, _ in node.next_functions]
    factors = _factors(kind, node, children)
    if factors is not None:
        return [(c, factor * f, shape) for c, f in zip(children, factors, strict=True) if c is not None]
    if kind in ("Mean", "Sum") and node.name().endswith("Backward0"):
        sizes = tuple(node._saved_self_sym_sizes)
        times = math.prod(shape) / (math.prod(sizes) if kind == "Mean" else 1)
        return [(children[0], factor * times, sizes)]
    if kind.startswith(_PASSED_ON) and not shape:
        return [(children[0], factor, shape)]
    return None


def _factors(kind: str, node: Any, children: list[Any]) -> list[float] | None:
    if kind == "Neg":
        return [-1.0]
    if kind in ("Add", "Sub", "Rsub"):
        alpha = float(getattr(node, "_saved_alpha", math.nan))
        factors = {"Add": [1.0, alpha], "Sub": [1.0, -alpha], "Rsub": [-alpha, 1.0]}[kind]
        return factors[: len(children)]
    if kind in ("Mul", "Div") and len([c for c in children if c is not None]) == 1:
        first = children[0] is not None
        other = getattr(node, "_saved_other" if first else "_saved_self", None)
        if not isinstance(other, torch.Tensor) or other.numel() != 1 or (kind == "Div" and not first):
            return None
        number = float(other.detach())
        factor = number if kind == "Mul" else 1 / number if number else math.inf
        return [factor] * len(children)
    return None


def subtracted_terms(runner: Runner, seen: Dependence) -> tuple[SubtractedTerm, ...] | None:
    """Terms that the loss subtracts and that fall to a floor themselves and grow without bound, where that is why the loss has no floor.

    The outputs are free, and descended on all together: the loss must fall on and on, and have a floor once the sign of
    that one term is turned round. An entropy, a similarity of directions or a linear term is none of them, and a
    difference that another term outgrows is none either. None where that cannot be told.
    """
    if works_against_others(runner):
        return None
    try:
        free = _Free(seen)
        suspects = [k for k, sign in enumerate(free.signs) if sign < 0]
        if len(free.signs) < 2 or not suspects or not free.add_up():
            return ()
        judged = [free.subtracted(k) for k in suspects[:_MOST_SUBTRACTED]]
    except WellposedError:
        return None
    return tuple(found for found in judged if found is not None)


def works_against_others(runner: Runner) -> bool:
    """Whether some of the parameters are left out of the training, as those of a network that this step works against."""
    if len(runner.trainable) < len(runner.parameters) or goes_up(runner):
        return True
    groups = _groups(runner)
    held = {id(p) for group in groups for p in group["params"]}
    return bool(groups) and any(id(p) not in held for p in runner.trainable.values())


def goes_up(runner: Runner) -> bool:
    """Whether the optimizer looks for the largest loss."""
    return any(group.get("maximize") for group in _groups(runner))


def _groups(runner: Runner) -> list[dict[str, Any]]:
    return getattr(runner.problem.optimizer, "param_groups", [])


class _Free:
    """The terms of the loss as functions of one row of numbers that moves all outputs, each on its own scale."""

    def __init__(self, seen: Dependence) -> None:
        self._seen = seen
        self._at = seen.outputs.detached
        others = max((rms(t) for t in seen.targets.tensors if t.is_floating_point()), default=0.0)
        self._scales = [max(rms(o), others, 1.0) for o in self._at]
        self.start = torch.zeros_like(joined(self._at))
        self.signs = [
            term.factor for term in terms_of(lambda: self._loss(self.start.clone().requires_grad_()))
        ]

    def _loss(self, z: torch.Tensor) -> torch.Tensor:
        moves = split_like(z, self._at)
        return self._seen.loss(
            {i: o + s * m for i, (o, s, m) in enumerate(zip(self._at, self._scales, moves, strict=True))}, {}
        )

    def _contributions(self, z: torch.Tensor) -> torch.Tensor:
        """What each term adds to the loss."""
        z = z if z.requires_grad else z.clone().requires_grad_()
        terms = terms_of(lambda: self._loss(z))
        if len(terms) != len(self.signs):
            raise WellposedError("the loss has other terms for other outputs")
        return torch.stack([term.contribution for term in terms])

    def add_up(self) -> bool:
        """Whether the terms have the gradient of the loss together."""
        z = self.start.clone().requires_grad_()
        return not differ(*gradients_of(self._loss(z), [z]), *gradients_of(self._contributions(z).sum(), [z]))

    def subtracted(self, k: int) -> SubtractedTerm | None:
        """The k-th term, where it is to blame."""
        reads = self._read_by(k)
        if not reads or any(confined_both_ways(self._seen.outputs.tensors[i]) for i in reads):
            return None
        weights = torch.ones(len(self.signs), dtype=self.start.dtype, device=self.start.device)
        alone = torch.zeros_like(weights)
        alone[k] = 1.0
        loss = self._descended(weights) if self._grows(k) else None
        if loss is None or not loss.falls_on:
            return None
        growth, term = self._descended(alone), self._descended(-alone)
        if growth is None or not growth.falls_on or term is None or term.falls_on:
            return None
        turned = self._descended(weights - 2 * alone)
        if turned is None or turned.falls_on:
            return None
        names = tuple(self._seen.outputs.names[i] for i in reads)
        return SubtractedTerm(outputs=names, lowest=loss.lowest, floor=turned.lowest)

    def _grows(self, k: int) -> bool:
        """Whether what a term takes off the loss goes on growing far away, in one direction: a bounded one does not, a logarithm hardly."""
        away = ramp(self.start) - 1.5
        here, near, far = (float(self._contributions(t * away)[k].detach()) for t in (0.0, 100.0, 200.0))
        return far - here < 1.5 * (near - here) < 0

    def _descended(self, weights: torch.Tensor) -> Descent | None:
        """Descent on the terms with these weights."""
        return descend(lambda z: (weights * self._contributions(z)).sum(), self.start, lambda z: z, 1.0)

    def _read_by(self, k: int) -> list[int]:
        """The outputs that a term reads; away from where they are, since they may start where its gradient is zero."""
        z = (self.start + ramp(self.start)).requires_grad_()
        (gradient,) = gradients_of(self._contributions(z)[k], [z])
        pieces = split_like(gradient, self._at)
        return [i for i, piece in enumerate(pieces) if bool(piece.any())]
