"""The objective that torch and JAX share: where the tensors are, which gradient is claimed there, and when it is computed again.

`TensorEvaluator` is what a framework supplies: F at a moved point, the backward pass, forward mode, the return to the initial state, and
its tensors as arrays. `TensorObjective` is everything else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import hypot, log2, prod
from typing import Any, Generic, Self, TypeVar

import numpy as np

from ..errors import ArgumentError, UserCodeError
from .directions import BLOCK, NOWHERE, Array, Direction, DirectionCache, DirectionStep
from .objective import Mode
from .result import Sample, Undefined

Tensor = TypeVar("Tensor")
"""A tensor of the framework."""
Block = slice | None
"""Some elements in memory order; None for all of a tensor that is not contiguous."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Location(ABC, Generic[Tensor]):
    """The values of a checked tensor: those of a stored tensor plus some steps, rounded to the dtype of the checked one after each.

    They are computed again, block by block, whenever they are needed: the int8 steps take an eighth of the memory of a copy.
    """

    stored: Tensor
    """A real view; never written to."""
    dtype: Any
    """Of the checked tensor, as a real view."""
    steps: tuple[DirectionStep, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        stored: Any = self.stored
        return tuple(stored.shape)

    @property
    def blocks(self) -> Iterator[Block]:
        return (slice(k, k + BLOCK) for k in range(0, prod(self.shape), BLOCK))

    def stepped(self, step: DirectionStep) -> Self:
        return replace(self, steps=(*self.steps, step))

    def wide(self, block: Block) -> Tensor:
        """The values of a block in float64."""
        values = self.start(block)
        for step in self.steps:
            values = self.after(step, values, block)
        return values

    @abstractmethod
    def start(self, block: Block) -> Tensor:
        """A block of the stored tensor, in float64."""

    @abstractmethod
    def after(self, step: DirectionStep, values: Tensor, block: Block) -> Tensor:
        """A new tensor: the values of a block after a step, rounded to the dtype, in float64."""

    @abstractmethod
    def values(self) -> Tensor:
        """All values."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClaimedGradient(Generic[Tensor]):
    """What the framework claims at one point."""

    locations: Sequence[Location[Tensor]]
    """Where the tensors are: a function that first limits its own weights, as with ``max_norm``, is differentiated by the limited ones."""
    start: Any
    """The state from which evaluations at this point start; None for the initial one."""
    rounding: float
    """Standard deviation of the rounding of the outputs, in units of F."""
    gradients: Sequence[Any]
    """Finite real views; None for a tensor without a gradient. Empty while they are released."""
    undefined: tuple[Undefined, ...]
    outputs: Any = None
    """The outputs of f, where the framework needs them again for forward mode."""


class TensorEvaluator(ABC, Generic[Tensor]):
    """Evaluates and differentiates one function with its tensors at any location, and counts both.

    Each evaluation starts from the same random state, buffers and caches, and leaves no trace. The defaults are those of a framework whose
    functions keep no state.
    """

    names: tuple[str, ...]
    locations: Sequence[Location[Tensor]]
    """The user's own point."""
    precision: str
    roundoff: float
    batch_sizes: frozenset[int]
    data_sizes: frozenset[int] = frozenset()
    remarks: tuple[str, ...] = ()
    """Tensors that take part and are not checked, in words; complete after the first `claim`."""
    padding_rows: Mapping[int, int] = {}
    """By tensor, a row that is not moved: the padding of an embedding, whose look-ups have no gradient by definition."""
    keeps_state = False
    """Whether a call may leave something behind that makes the next one fail."""
    releases_above = 0
    """Elements above which the gradients here are released while those at another point are computed."""

    def __init__(self) -> None:
        self.n_forward = self.n_backward = 0
        self.direction_cache = DirectionCache()

    @abstractmethod
    def output_weights(self) -> tuple[Array, ...]: ...

    @abstractmethod
    def claim(
        self, locations: Sequence[Location[Tensor]], *, required: bool, start: Any, upstream: int
    ) -> ClaimedGradient[Tensor]:
        """The gradients from the backward pass, which must exist if `required`.

        They are those of `upstream` times F, divided by that.
        """

    @abstractmethod
    def sample(
        self, claim: ClaimedGradient[Tensor], direction: Direction, step: float, *, split: bool
    ) -> Sample:
        """F where the tensors of the direction have moved, and the change that the claim predicts for the rounded moves."""

    @abstractmethod
    def jvp(
        self, claim: ClaimedGradient[Tensor], direction: Direction, step: float, *, split: bool
    ) -> tuple[float, Sample]:
        """The derivative of F along the rounded moves by forward mode; and F plus it, with the change that the claim predicts."""

    @abstractmethod
    def require_forward_mode(self, claim: ClaimedGradient[Tensor]) -> None:
        """Raise where f holds an operation without forward mode."""

    @abstractmethod
    def array(self, tensor: Tensor) -> Array:
        """A read-only float64 array of the tensor's numbers."""

    @abstractmethod
    def slope_scales(self, claim: ClaimedGradient[Tensor]) -> Sequence[float]:
        """The norm of each gradient times the root mean square of its tensor, or 1 for a tensor of zeros."""

    def second_start(self) -> Any:
        """The state that the first evaluation left behind, if F does not depend on it; else None."""
        return None

    def settled_start(self) -> Any:
        """The state once forward passes no longer change F; None where F depends on no state."""
        return None

    def gradient_repeat_error(
        self, claim: ClaimedGradient[Tensor], gradients: Callable[[], Sequence[Any]]
    ) -> float:
        """See `Objective`; `gradients` gives those here. 0 where every backward pass draws the same."""
        del claim, gradients
        return 0.0

    def step(self, direction: Direction, tensor: int, length: float) -> DirectionStep:
        numbers = self.direction_cache.numbers(direction, tensor)
        if tensor in self.padding_rows:
            numbers[self.padding_rows[tensor]] = 0
        return DirectionStep(direction=direction, tensor=tensor, numbers=numbers, length=length)


class TensorObjective(Generic[Tensor]):
    """See `wellposed.gradcheck.objective.Objective`. Valid as long as its evaluator is."""

    def __init__(self, evaluator: TensorEvaluator[Tensor], mode: Mode) -> None:
        self._evaluator, self._mode = evaluator, mode
        self.names = evaluator.names
        self.shapes = tuple(location.shape for location in evaluator.locations)
        self.precision, self.roundoff = evaluator.precision, evaluator.roundoff
        self.batch_sizes, self.data_sizes = evaluator.batch_sizes, evaluator.data_sizes
        self.claims_gradient = mode != "forward"
        self._go_to(evaluator.locations)

    def _go_to(self, locations: Sequence[Location[Tensor]], start: Any = None, upstream: int = 1) -> None:
        self._upstream = upstream
        self._claim = self._claimed(locations, start)
        self.undefined = self._claim.undefined if self.claims_gradient else ()
        self.remarks = self._evaluator.remarks
        if self._mode != "reverse":
            self._evaluator.require_forward_mode(self._claim)

    def _claimed(self, locations: Sequence[Location[Tensor]], start: Any) -> ClaimedGradient[Tensor]:
        return self._evaluator.claim(
            locations, required=self.claims_gradient, start=start, upstream=self._upstream
        )

    def _elsewhere(self, locations: Sequence[Location[Tensor]], start: Any, upstream: int = 1) -> Self:
        other = copy(self)
        other._go_to(locations, start, upstream)
        return other

    @property
    def n_forward(self) -> int:
        """Of this objective, and of those at points moved from it."""
        return self._evaluator.n_forward

    @property
    def n_backward(self) -> int:
        return self._evaluator.n_backward

    @property
    def output_weights(self) -> tuple[Array, ...]:
        return self._evaluator.output_weights()

    def recall(self) -> ClaimedGradient[Tensor]:
        """The claim here, with the gradients computed again if they were released."""
        if not self._claim.gradients:
            again = self._claimed(self._claim.locations, self._claim.start)
            self._claim = replace(self._claim, gradients=again.gradients)
        return self._claim

    def point(self, tensor: int) -> Array:
        return self._evaluator.array(self._claim.locations[tensor].values())

    def gradient(self, tensor: int) -> Array:
        gradient = self.recall().gradients[tensor]
        return (
            np.broadcast_to(0.0, self.shapes[tensor]) if gradient is None else self._evaluator.array(gradient)
        )

    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        claim = self._claim if direction is None else self.recall()
        direction = direction or NOWHERE
        if self._mode == "forward-reverse":
            return self._evaluator.jvp(claim, direction, step, split=split)[1]
        moved = self._evaluator.sample(claim, direction, step, split=split)
        if self._mode == "reverse":
            return moved
        return replace(moved, claimed_change=self._evaluator.jvp(claim, direction, step, split=False)[0])

    def floor(self) -> float:
        if self._mode != "forward-reverse":
            return self._claim.rounding
        # A product of a forward-mode and a backward pass, each of which rounds about as often as the function is deep.
        return 4 * self.roundoff * float(np.linalg.norm(self._evaluator.slope_scales(self.recall())))

    def moved(
        self, direction: Direction | None, step: float, *, afresh: bool = False, upstream: int = 1
    ) -> Self | None:
        """The same check at another point, as a second call with the state that the first one left behind, or `afresh` as a first one.

        A gradient that differs between the two uses something that was saved. Large gradients here are released meanwhile and computed
        again when they are needed, since they take as much memory as the model.
        """
        start = None if afresh else self._evaluator.second_start()
        locations = list(self._claim.locations)
        if direction is not None:
            for i in direction.tensors:
                locations[i] = locations[i].stepped(self._evaluator.step(direction, i, step))
            # The gradient of a multiple of F is compared with the one here.
            if upstream == 1 and sum(map(prod, self.shapes)) > self._evaluator.releases_above:
                self._claim = replace(self._claim, gradients=())
        try:
            other = self._elsewhere(locations, start, upstream)
        except ArgumentError:  # f is not finite there
            return None
        except UserCodeError:
            if not self._evaluator.keeps_state:
                raise
            if start is None:  # a graph that f keeps has only one backward pass
                return None
            other = self._elsewhere(locations, None, upstream)
        return None if other.undefined else other

    def gradient_repeat_error(self) -> float:
        return self._evaluator.gradient_repeat_error(self._claim, lambda: self.recall().gradients)

    def settled(self) -> Self | None:
        start = self._evaluator.settled_start()
        return None if start is None else self._elsewhere(self._claim.locations, start)


def finite_value(value: float) -> float:
    """F at the point; an error where it is not finite."""
    if not np.isfinite(value):
        raise ArgumentError(
            f"f returned a value that is not finite ({value}) at these inputs: expected finite outputs"
        )
    return value


def upstream_factor(upstream: int, *, alone: bool) -> int:
    """For a single output 2 times `upstream`, so that a backward pass that ignores it is found; 2 is exact in every dtype."""
    return 2 * upstream if alone else upstream


def relative_rounding(spacing: float, count: int) -> float:
    """Of a sum of numbers that have this spacing next to 1: of each number, over one unit in the last place, and of the summation."""
    return hypot(spacing, 2.0**-52 * log2(1 + count) ** 0.5)
