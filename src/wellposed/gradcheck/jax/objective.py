"""The objective of a JAX function: F, a weighted sum of its outputs, with the gradient that its backward pass claims."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, UserCodeError
from ...runtime.jax.calls import Calls, Outputs, is_wide
from ..directions import DirectionCache, DirectionStep
from ..result import OutputsChangedError, Sample, Undefined
from .arguments import CheckedJaxFunction, needs_replay, opened
from .arrays import (
    Array,
    ArrayLocation,
    as_double,
    complex_of,
    epsilon,
    is_complex,
    real_dtype,
    real_shape,
    real_view,
    widened,
)
from .weighted_outputs import as_real_gradient, cotangent, differ, is_lone, parts, rounding, weight

if TYPE_CHECKING:
    from ..directions import Direction

__all__ = ["JaxObjective", "checking", "needs_replay", "opened"]

Mode = Literal["reverse", "forward", "forward-reverse"]

MOST_COLUMNS = 1000
"""Elements of a gradient that forward mode may have to find one at a time."""


@contextmanager
def checking(
    function: CheckedJaxFunction, *, seed: int, replay: bool, mode: Mode = "reverse"
) -> Iterator[JaxObjective]:
    """The function as an objective, in float64 with `replay`.

    Each evaluation sets its own 64-bit mode and gives it back, so that a check in the user's own precision stays one beside a replay.
    """
    yield JaxObjective(function, seed=seed, replay=replay, mode=mode)


class JaxObjective:
    """See `wellposed.gradcheck.objective.Objective`."""

    def __init__(self, function: CheckedJaxFunction, *, seed: int, replay: bool, mode: Mode) -> None:
        self._leaves, self._seed, self._mode = function.leaves, seed, mode
        own = tuple(leaf.dtype for leaf in function.leaves)
        self._dtypes = tuple(widened(d) for d in own) if replay else own
        self._calls = Calls(function.outputs, wide=replay or is_wide(), seed=seed)
        self.names = tuple(leaf.name for leaf in function.leaves)
        self.shapes = tuple(real_shape(leaf.value) for leaf in function.leaves)
        replays = replay and function.is_coarse
        self.precision = f"float64 replay of {function.dtype}" if replays else str(function.dtype)
        self._spacing = epsilon(function.dtype)
        self.roundoff = max(epsilon(d) for d in self._dtypes) / 2
        self.batch_sizes, self.remarks = function.batch_sizes, ()
        self.data_sizes: frozenset[int] = frozenset()
        self.claims_gradient = mode != "forward"
        self._weights: list[Array] = []
        self._claimed: list[NDArray[Any]] | None = None
        self._upstream = 1
        self.undefined: tuple[Undefined, ...] = ()
        self._direction_cache = DirectionCache()
        self._locations = [
            ArrayLocation(held=leaf.numbers(), dtype=real_dtype(d))
            for leaf, d in zip(function.leaves, self._dtypes, strict=True)
        ]
        self._evaluate_here()

    @property
    def n_forward(self) -> int:
        """Of this objective, and of those at points moved from it."""
        return self._calls.n_forward

    @property
    def n_backward(self) -> int:
        return self._calls.n_backward

    @property
    def output_weights(self) -> tuple[Array, ...]:
        return () if is_lone(self._weights) else tuple(self._weights)

    def point(self, tensor: int) -> Array:
        return _frozen(as_double(self._locations[tensor].values()))

    def gradient(self, tensor: int) -> Array:
        return _frozen(as_double(self._gradients[tensor]))

    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        if self._mode == "reverse":
            return self._moved_sample(direction, step, split=split)
        moves = self._moves(direction, step)
        with np.errstate(all="ignore"):
            pushed = self._pushed(moves)
            if self._mode == "forward":
                return replace(
                    self._moved_sample(direction, step, split=split), claimed_change=self._value(pushed)
                )
            sums = [y + dy for y, dy in zip(self._centre, pushed, strict=True)]
            return self._sample(sums, self._along(moves), split=split)

    @np.errstate(all="ignore")
    def _moved_sample(self, direction: Direction | None, step: float, *, split: bool) -> Sample:
        """F at the moved point, and the predicted change."""
        moving, gradients, claimed_change = _moving(direction), self._gradients, dict[int, float]()

        def moved(i: int) -> NDArray[Any]:
            if direction is None or i not in moving:
                return self._locations[i].values()
            values, claimed_change[i] = self._locations[i].moved(self._step(direction, i, step), gradients[i])
            return values

        outputs = self._calls.outputs(lambda: self._placed(moved))
        return self._sample(self._real(outputs), sum(claimed_change.values()), split=split)

    def floor(self) -> float:
        if self._mode != "forward-reverse":
            return self._output_noise
        # A product of a forward-mode and a backward pass, each of which rounds about as often as the function is deep.
        shares = [
            float(np.linalg.norm(as_double(g))) * _rms(as_double(x.values()))
            for g, x in zip(self._gradients, self._locations, strict=True)
        ]
        return 4 * self.roundoff * float(np.linalg.norm(shares))

    def moved(
        self, direction: Direction | None, step: float, *, afresh: bool = False, upstream: int = 1
    ) -> JaxObjective | None:
        """The same check at another point; functions that JAX can transform have no state, so every call is a first one.

        The gradient here is released meanwhile and computed again when it is needed, since each takes as much memory as the model.
        """
        other = copy.copy(self)
        other._upstream, other._claimed = upstream, None
        if direction is not None:
            moving = _moving(direction)
            other._locations = [
                place.stepped(self._step(direction, i, step)) if i in moving else place
                for i, place in enumerate(self._locations)
            ]
            if upstream == 1:  # that of a multiple of F is compared with the one here
                self._claimed = None
        try:
            other._evaluate_here()
        except ArgumentError:  # f is not finite there
            return None
        return None if other.undefined else other

    def gradient_repeat_error(self) -> float:
        """JAX draws from keys that are passed: every call draws the same."""
        return 0.0

    def settled(self) -> None:
        """There is no state to settle."""

    @np.errstate(all="ignore")
    def _evaluate_here(self) -> None:
        """Evaluate F and the gradient at the current locations."""
        outputs = self._outputs()
        if not self._weights:
            alone = len(outputs) == 1
            self._weights = [
                weight((self._seed, i), y, spacing=self._spacing, alone=alone) for i, y in enumerate(outputs)
            ]
        self._centre = self._real(outputs)
        value = self._value(self._centre)
        if not np.isfinite(value):
            raise ArgumentError(
                f"f returned a value that is not finite ({value}) at these inputs: expected finite outputs"
            )
        self._output_noise = rounding(outputs, self._weights)
        self._claimed = self._claim(outputs)
        if self._mode != "reverse":
            self._pushed({})  # so that a function without forward mode is refused at once

    @property
    def _gradients(self) -> list[NDArray[Any]]:
        if self._claimed is None:
            self._claimed = self._claim(self._outputs())
        return self._claimed

    @np.errstate(all="ignore")
    def _claim(self, outputs: Outputs) -> list[NDArray[Any]]:
        try:
            found = self._by_backward_pass(outputs)
        except UserCodeError:
            if self._mode != "forward":
                raise
            found = self._by_columns()
        undefined = (Undefined.among(i, as_double(g)) for i, g in enumerate(found))
        self.undefined = tuple(filter(None, undefined)) if self.claims_gradient else ()
        return [np.where(np.isfinite(as_double(g)), g, np.zeros((), g.dtype)) for g in found]

    def _by_backward_pass(self, outputs: Outputs) -> list[NDArray[Any]]:
        # For a single output the upstream gradient is 2 instead of 1, so that a backward pass that ignores it is found; 2 is exact in every dtype.
        upstream = self._upstream * (2 if is_lone(self._weights) else 1)
        cotangents = [cotangent(upstream * w, y.dtype) for w, y in zip(self._weights, outputs, strict=True)]
        again, found = self._pulled(cotangents)
        if self._calls.compiled and differ(outputs, again):
            # f differs each time that it is traced: only without compilation is it the function that the user runs.
            self._calls.compiled = False
            _, found = self._pulled(cotangents)
        for i in range(len(found)):  # each replaces that of JAX, to save memory
            g = as_real_gradient(found[i])
            if upstream != 1:
                g = g / np.asarray(2, g.dtype) if upstream == 2 else as_double(g) / upstream
            found[i] = g
        return found

    def _by_columns(self) -> list[NDArray[Any]]:
        """The gradient of a function without a backward pass, for example of a while loop, by forward mode one element at a time."""
        count = sum(x.held.size for x in self._locations)
        if count > MOST_COLUMNS:
            raise ArgumentError(
                f"f has no backward pass, and {count} inputs: expected at most {MOST_COLUMNS} where only forward mode is there"
            )
        found = [np.zeros(x.held.shape) for x in self._locations]
        for i, g in enumerate(found):
            for index in np.ndindex(g.shape):
                column = np.zeros(g.shape)
                column[index] = 1.0
                g[index] = self._value(self._pushed({i: column}))
        return found

    def _pulled(self, cotangents: Sequence[NDArray[Any]]) -> tuple[Outputs, Outputs]:
        return self._calls.pullback(self._here, cotangents)

    def _pushed(self, moves: dict[int, Array]) -> list[Array]:
        """The derivative of the outputs along the moves, by forward mode; a move is rounded to the type of its array once more."""
        tangents = []
        for i, (shape, dtype) in enumerate(zip(self.shapes, self._dtypes, strict=True)):
            move = moves[i] if i in moves else np.zeros(shape)
            tangents.append(complex_of(move, dtype) if is_complex(dtype) else move.astype(dtype))
        return self._real(self._calls.pushforward(self._here, tangents)[1])

    def _step(self, direction: Direction, tensor: int, length: float) -> DirectionStep:
        numbers = self._direction_cache.numbers(direction, tensor)
        return DirectionStep(direction=direction, tensor=tensor, numbers=numbers, length=length)

    def _moves(self, direction: Direction | None, step: float) -> dict[int, Array]:
        """The rounded moves of the tensors of the direction."""
        if direction is None:
            return {}
        locations = {i: self._locations[i] for i in direction.tensors}
        return {
            i: as_double(place.stepped(self._step(direction, i, step)).values()) - as_double(place.values())
            for i, place in locations.items()
        }

    def _along(self, moves: dict[int, Array]) -> float:
        """The change of F that the claimed gradient predicts."""
        return sum((float(np.vdot(as_double(self._gradients[i]), move)) for i, move in moves.items()), 0.0)

    def _placed(self, values: Callable[[int], NDArray[Any]]) -> list[jax.Array]:
        """Fresh arrays for each call: f may donate them."""
        return [
            leaf.placed(values(i), dtype)
            for i, (leaf, dtype) in enumerate(zip(self._leaves, self._dtypes, strict=True))
        ]

    def _here(self) -> list[jax.Array]:
        return self._placed(lambda i: self._locations[i].values())

    def _outputs(self) -> Outputs:
        return self._calls.outputs(self._here)

    def _real(self, outputs: Outputs) -> list[Array]:
        real = [as_double(real_view(y)) for y in outputs]
        if [y.shape for y in real] != [w.shape for w in self._weights]:
            raise OutputsChangedError(
                "the outputs of f changed their shapes between two calls: expected the same shapes each time"
            )
        return real

    def _value(self, outputs: Sequence[Array]) -> float:
        return self._sample(outputs, 0.0, split=False).value

    def _sample(self, outputs: Sequence[Array], claimed_change: float, *, split: bool) -> Sample:
        terms = [w * y for w, y in zip(self._weights, outputs, strict=True)]
        value = float(sum(np.sum(t) for t in terms))
        return Sample(value, claimed_change, parts(terms) if split else ())


def _moving(direction: Direction | None) -> frozenset[int]:
    return frozenset(direction.tensors if direction else ())


def _rms(array: Array) -> float:
    return float(np.sqrt(np.mean(array * array))) or 1.0


def _frozen(array: Array) -> Array:
    view = array.view()
    view.setflags(write=False)
    return view
