"""A torch function, module or problem as one number of several tensors, with the derivatives that autograd claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import ArgumentError, UserCodeError
from ...runtime.torch.rewind import Rewind
from ..directions import DirectionStep
from ..result import Sample
from .arguments import CheckedFunction, needs_replay, open_function
from .derivatives import Gradients, second_order
from .evaluate import ClaimedGradient, Evaluator, FunctionValue, evaluating
from .moved_tensors import Location, to_array
from .weighted_outputs import parts

if TYPE_CHECKING:
    from ..directions import Direction

__all__ = [
    "CheckedFunction",
    "TorchObjective",
    "checking",
    "like_tensor",
    "needs_replay",
    "opened",
    "to_numpy",
]

Array = NDArray[np.float64]
HEAVY = 1 << 20
"""Elements above which a gradient is released while another one is computed."""
Mode = Literal["reverse", "forward", "forward-reverse"]


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """The same numbers as an array; bfloat16, which NumPy lacks, becomes float32."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    return (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy()


def like_tensor(values: Array, like: torch.Tensor) -> torch.Tensor:
    """A fresh float64 tensor of these values on the device of `like`."""
    return torch.tensor(values, dtype=torch.float64, device=like.device)


def opened(
    f: Any, inputs: Sequence[Any], *, names: Sequence[str], seed: int, order: int = 1
) -> CheckedFunction:
    """Read the arguments of `check_gradients`; for order 2 the gradient of `f` takes its place.

    Raises
    ------
    ArgumentError, ProblemError, DataError, UserCodeError
        When there is nothing to differentiate by, or it is no function of tensors.
    """
    function = open_function(f, inputs, names=names, seed=seed)
    if order == 1:
        return function
    with evaluating(function, seed=seed, replay=False) as evaluator:
        outputs = evaluator.outputs()
    return second_order(function, outputs, seed=seed)


@contextmanager
def checking(
    function: CheckedFunction, *, seed: int, replay: bool, mode: Mode = "reverse"
) -> Iterator[TorchObjective]:
    """The function as an objective, in float64 with `replay`; everything is restored at the end."""
    with evaluating(function, seed=seed, replay=replay) as evaluator:
        objective = TorchObjective(evaluator, evaluator.locations, mode)
        if mode != "reverse":
            objective.at_rest()
        yield objective
        if replay:
            objective.recall()  # the native gradient is compared with it


class TorchObjective:
    """See `wellposed.gradcheck.objective.Objective`. Valid inside `checking`, which restores everything."""

    def __init__(
        self,
        evaluator: Evaluator,
        locations: Sequence[Location],
        mode: Mode,
        start: Rewind | None = None,
        *,
        upstream: int = 1,
    ) -> None:
        self._evaluator = evaluator
        self._mode: Mode = mode
        self._start, self._upstream = start, upstream
        function = evaluator.function
        self.names = tuple(leaf.name for leaf in function.leaves)
        self.shapes = tuple(tuple(p.tensor.shape) for p in locations)
        self.precision = evaluator.precision
        self.batch_sizes, self.data_sizes = evaluator.batch_sizes, evaluator.data_sizes
        self.claims_gradient = mode != "forward"
        self._places = tuple(locations)
        self._gradient_at: Gradients | None = None
        claim = self._claim()
        self.remarks = evaluator.remarks
        self._places, self._floor = claim.locations, claim.rounding
        self.undefined = claim.undefined if self.claims_gradient else ()

    @property
    def n_forward(self) -> int:
        """Of this objective, and of those at points moved from it."""
        return self._evaluator.n_forward

    @property
    def n_backward(self) -> int:
        return self._evaluator.n_backward

    @property
    def roundoff(self) -> float:
        return self._evaluator.roundoff

    @roundoff.setter
    def roundoff(self, value: float) -> None:
        self._evaluator.roundoff = value

    def recall(self) -> None:
        """Compute the gradient if it was released."""
        if self._gradient_at is None:
            self._claim()

    @property
    def _gradients(self) -> Gradients:
        return self._claim().gradients if self._gradient_at is None else self._gradient_at

    def _claim(self) -> ClaimedGradient:
        claim = self._evaluator.claim(
            self._places, required=self.claims_gradient, start=self._start, upstream=self._upstream
        )
        self._gradient_at = claim.gradients
        return claim

    @property
    def output_weights(self) -> tuple[Array, ...]:
        return self._evaluator.output_weights

    def point(self, tensor: int) -> Array:
        return to_array(self._places[tensor].values())

    def gradient(self, tensor: int) -> Array:
        g = self._gradients[tensor]
        return np.broadcast_to(0.0, self.shapes[tensor]) if g is None else to_array(g)

    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        if self._mode == "reverse":
            claimed_change = self._move(direction, step)
            return _sample(self._evaluator.run(self._start), claimed_change, split=split)
        tangents, said = self._tangents(direction, step)
        if self._mode == "forward":
            moved = _sample(self._evaluator.run(self._start), 0.0, split=split)
            self._place()
            return Sample(moved.value, self._evaluator.jvp(tangents, self._start)[1], moved.parts)
        self._place()
        value, derivative = self._evaluator.jvp(tangents, self._start)
        return Sample(value + derivative, said)

    def floor(self) -> float:
        if self._mode != "forward-reverse":
            return self._floor
        # A product of a forward-mode and a backward pass, each of which rounds about as often as the function is deep.
        shares = [_norm(g) * _rms(p.values()) for g, p in zip(self._gradients, self._places, strict=True)]
        return 4 * self.roundoff * float(np.linalg.norm(shares))

    def moved(
        self, direction: Direction | None, step: float, *, afresh: bool = False, upstream: int = 1
    ) -> TorchObjective | None:
        """The same check at another point, as a second call with the state that the first one left behind, or `afresh` as a first one.

        A gradient that differs between the two uses something that was saved. A large gradient here is released meanwhile and computed
        again when it is needed, since each takes as much memory as the model.
        """
        start = None if afresh else self._evaluator.second_start()
        locations = list(self._places)
        if direction is not None:
            for i in direction.tensors:
                locations[i] = replace(
                    locations[i], steps=(*locations[i].steps, self._step(direction, i, step))
                )
            # That of a multiple of F is compared with the one here. A small one is kept, since a graph that f holds has one backward pass only.
            if upstream == 1 and sum(map(np.prod, self.shapes)) > HEAVY:
                self._gradient_at = None
        try:
            other = TorchObjective(self._evaluator, locations, self._mode, start, upstream=upstream)
        except ArgumentError:  # f is not finite there
            return None
        except UserCodeError:  # a graph that f keeps has only one backward pass
            if start is None:
                return None
            other = TorchObjective(self._evaluator, locations, self._mode, upstream=upstream)
        return None if other.undefined else other

    def gradient_repeat_error(self) -> float:
        try:
            other = self._evaluator.claim_of_other_draws(self._places, self._start).gradients
        except UserCodeError:  # a graph that f keeps has only one backward pass
            return 0.0
        apart = [
            _norm(a - b)
            for a, b in zip(self._gradients, other, strict=True)
            if a is not None and b is not None
        ]
        return float(np.linalg.norm(apart)) / (
            float(np.linalg.norm([_norm(g) for g in self._gradients])) or 1.0
        )

    def settled(self) -> TorchObjective | None:
        start = self._evaluator.settled_start()
        return None if start is None else TorchObjective(self._evaluator, self._places, self._mode, start)

    def at_rest(self) -> None:
        """Run forward mode once, so that an operation without it is refused at once."""
        self._place()
        self._evaluator.jvp([torch.zeros_like(p.values()) for p in self._places], self._start)

    def _place(self) -> None:
        self._evaluator.place(self._places)

    def _move(self, direction: Direction | None, step: float) -> float:
        """Move the tensors of the direction and place the others; returns the predicted change of F."""
        if direction is None:
            self._place()
            return 0.0
        gradients = self._gradients
        self._evaluator.place(self._places, but=frozenset(direction.tensors))
        move = self._evaluator.moved_tensors.move
        return sum(
            move(i, self._places[i], self._step(direction, i, step), gradients[i]) for i in direction.tensors
        )

    def _step(self, direction: Direction, tensor: int, length: float) -> DirectionStep:
        numbers = self._evaluator.direction_cache.numbers(direction, tensor)
        row = self._evaluator.function.leaves[tensor].padding_row
        if row is not None:
            numbers[row] = 0
        return DirectionStep(direction=direction, tensor=tensor, numbers=numbers, length=length)

    def _tangents(self, direction: Direction | None, step: float) -> tuple[list[torch.Tensor | None], float]:
        """The rounded move of each tensor, and the predicted change of F."""
        self._move(direction, step)
        tangents: list[torch.Tensor | None] = [None] * len(self._places)
        said = 0.0
        for i in () if direction is None else direction.tensors:
            tangents[i] = tangent = self._evaluator.moved_tensors.moved_by(i, self._places[i])
            g = self._gradients[i]
            if g is not None:
                said += float((g.double() * tangent.double()).sum())
        return tangents, said


def _sample(evaluation: FunctionValue, claimed_change: float, *, split: bool) -> Sample:
    return Sample(evaluation.value, claimed_change, parts(evaluation.terms) if split else ())


def _norm(gradient: torch.Tensor | None) -> float:
    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient, dtype=torch.float64))


def _rms(point: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(point, dtype=torch.float64)) / point.numel() ** 0.5 or 1.0
