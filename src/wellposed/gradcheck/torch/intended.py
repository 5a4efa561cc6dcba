"""Whether a backward pass that is not the derivative of its forward pass is a surrogate on purpose.

The reasons are found by differences: a forward pass that is the identity exists only for its backward pass, and a step function has no
other gradient to train with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...runtime.torch.restore import preserved
from ...runtime.torch.session import seed_everything
from .recorded_call import RecordedCall

Tensors = tuple[torch.Tensor, ...]

_TINY = 2.0**-20
"""Relative to the size of an input: below the steps of any number format that is worth imitating."""
_COARSE = 0.25
"""Likewise: above the steps of four bits and more, and small enough for most functions to be nearly straight."""
_DIRECTIONS = 8
_STILL = 0.95
"""Share of the elements of a step function that a tiny move leaves as they were; the others were next to a step."""


def reason_intended(call: RecordedCall, *, seed: int) -> str:
    """What makes the backward pass of a call look like a surrogate on purpose; empty when nothing does."""
    with preserved(call.outputs()):
        try:
            return _reason(_CallRunner(call, seed))
        except (
            Exception
        ):  # of the user's code, which may refuse inputs that were moved: then nothing is known
            return ""


def _reason(runner: _CallRunner) -> str:
    points = runner.points()
    outputs = [runner.outputs(x) for x in points]
    if all(map(_identity, points, outputs)):
        return "its forward pass is the identity, so it exists for its backward pass (gradient reversal, scaling, clipping)"
    if _clamped(points[0], outputs[0]):
        return "its forward pass is the identity within bounds, and its backward pass reaches beyond them (straight-through)"
    if runner.has_steps(points, outputs):
        return "its forward pass is a step function, so its backward pass is a surrogate (straight-through)"
    if runner.agrees_coarsely():
        return "its forward pass moves in steps, and over larger moves its backward pass is right (fake quantisation)"
    return ""


class _CallRunner:
    """Runs one call at moved inputs, in double precision where it permits that; each run has the same random state."""

    def __init__(self, call: RecordedCall, seed: int) -> None:
        self.call, self.seed = call, seed
        self.outputs_of, self.masked = call.outputs(masked=False), call.outputs()
        self.inputs: Tensors = tuple(x.double() if x.is_floating_point() else x for x in call.inputs)
        try:
            self.outputs(self.inputs)
        except Exception:  # code for one type of number raises what it likes at another
            self.inputs = call.inputs
        self.random = torch.Generator().manual_seed(seed)

    def outputs(self, inputs: Sequence[torch.Tensor]) -> Tensors:
        seed_everything(self.seed)
        return self.outputs_of(*(x.detach().clone().requires_grad_().clone() for x in inputs))

    def points(self) -> list[Tensors]:
        """The inputs, and two other points as far from them as they are large."""
        return [self.inputs, *(tuple(self._moved(x, 1.0) for x in self.inputs) for _ in range(2))]

    def has_steps(self, points: Sequence[Tensors], outputs: Sequence[Tensors]) -> bool:
        """Whether the elements of an output that differ from point to point stand still around each point."""
        nearby = [self.outputs(tuple(self._moved(x, _TINY) for x in point)) for point in points]
        for here, near in zip(zip(*outputs, strict=True), zip(*nearby, strict=True), strict=True):
            live = torch.stack([here[0] != other for other in here[1:]]).any(0)
            still = [float((a == b)[live].double().mean()) for a, b in zip(here, near, strict=True)]
            if bool(live.any()) and min(still) >= _STILL:
                return True
        return False

    def agrees_coarsely(self) -> bool:
        """Whether differences over larger moves agree with the backward pass, while those over tiny ones have little to do with it."""
        if any(torch.finfo(x.dtype).bits < 32 for x in self.inputs):
            return False
        self.weights = [self._normal(y) for y in self.outputs(self.inputs)]
        leaves = [x.detach().clone().requires_grad_() for x in self.inputs]
        found = torch.autograd.grad(self._projected(leaves), leaves, allow_unused=True)
        gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]
        rows = [self._along(gradients) for _ in range(_DIRECTIONS)]
        claimed, tiny, coarse = torch.tensor(rows, dtype=torch.float64).T
        size = float(claimed.norm())
        return (
            float((tiny - claimed).norm()) > 0.5 * size and float((coarse - claimed).norm()) < 0.2 * size > 0
        )

    def _along(self, gradients: Sequence[torch.Tensor]) -> tuple[float, float, float]:
        """Along one direction, half of the gradient's signs: the claimed slope, and those over tiny and larger moves."""
        moves = [
            g.sign() * (self._normal(x) > 0) * _size(x) for g, x in zip(gradients, self.inputs, strict=True)
        ]
        claimed = sum(float((g * u).real.sum()) for g, u in zip(gradients, moves, strict=True))
        return claimed, self._slope(moves, _TINY), self._slope(moves, _COARSE)

    def _slope(self, moves: Sequence[torch.Tensor], step: float) -> float:
        ahead, behind = (
            float(self._projected([x + s * u for x, u in zip(self.inputs, moves, strict=True)]).detach())
            for s in (step, -step)
        )
        return (ahead - behind) / (2 * step)

    def _projected(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        seed_everything(self.seed)
        # Clones, since a Function may write into its arguments, and autograd lets none write into a leaf.
        found = self.masked(
            *(x.clone() if x.requires_grad else x.clone().requires_grad_().clone() for x in inputs)
        )
        return torch.stack(
            [(w * y).real.double().sum() for w, y in zip(self.weights, found, strict=True)]
        ).sum()

    def _moved(self, x: torch.Tensor, by: float) -> torch.Tensor:
        # Never by less than two units in the last place, which a low precision rounds away.
        least = 2 * torch.finfo(x.dtype).eps * x.abs()
        sign = self._normal(x).sign()
        return x + sign * torch.maximum((by * _size(x) * self._normal(x).abs()), least)

    def _normal(self, x: torch.Tensor) -> torch.Tensor:
        return torch.randn(x.shape, generator=self.random, dtype=torch.float64).to(x)


def _size(x: torch.Tensor) -> float:
    """Root mean square; 1 for a tensor of zeros, which must move too."""
    return float(x.abs().double().square().mean().sqrt()) or 1.0


def _identity(inputs: Tensors, outputs: Tensors) -> bool:
    return bool(outputs) and all(any(_same(y, x) for x in inputs) for y in outputs)


def _same(y: torch.Tensor, x: torch.Tensor) -> bool:
    return y.shape == x.shape and torch.equal(y, x)


def _clamped(inputs: Tensors, outputs: Tensors) -> bool:
    """An identity but for elements that stand at one or two bounds; those that all are zero could be a forgotten mask."""
    if len(outputs) != 1:
        return False
    (y,) = outputs
    for x in inputs:
        if x.shape == y.shape and x.numel() and not x.is_complex():
            bounds = y[y != x].unique().tolist()
            if 0 < len(bounds) <= 2 and bounds != [0.0] and bool((y == x.clamp(*_between(bounds, x))).all()):
                return True
    return False


def _between(bounds: Sequence[float], x: torch.Tensor) -> tuple[Any, Any]:
    if len(bounds) == 2:
        return bounds[0], bounds[1]
    low = float(x.min()) < bounds[0]
    return (bounds[0], None) if low else (None, bounds[0])
