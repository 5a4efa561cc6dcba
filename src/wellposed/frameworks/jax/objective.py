"""A function of JAX arrays as one number of several arrays, with the gradient that its backward pass claims."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, UserCodeError
from ...gradcheck.result import Sample
from .calls import Calls, Outputs, is_wide
from .subject import Subject
from .trees import (
    Array,
    as_double,
    complex_of,
    epsilon,
    is_complex,
    real_dtype,
    real_shape,
    real_view,
    widened,
)
from .weighing import as_real_gradient, cotangent, differ, is_lone, parts, rounding, weight

if TYPE_CHECKING:
    from ...gradcheck.directions import Direction

Mode = Literal["reverse", "forward", "forward-reverse"]

MOST_COLUMNS = 1000
"""Elements of a gradient that forward mode may have to find one at a time."""


class JaxObjective:
    """See `wellposed.gradcheck.objective.Objective`."""

    def __init__(self, subject: Subject, *, seed: int, replay: bool, mode: Mode) -> None:
        self._leaves, self._seed, self._mode = subject.leaves, seed, mode
        own = tuple(leaf.dtype for leaf in subject.leaves)
        self._dtypes = tuple(widened(d) for d in own) if replay else own
        self._calls = Calls(subject.outputs, wide=replay or is_wide(), seed=seed)
        self.names = tuple(leaf.name for leaf in subject.leaves)
        self.shapes = tuple(real_shape(leaf.value) for leaf in subject.leaves)
        replays = replay and subject.is_coarse
        self.precision = f"float64 replay of {subject.dtype}" if replays else str(subject.dtype)
        self.roundoff = max(epsilon(d) for d in self._dtypes) / 2
        self.batch_sizes, self.remarks = subject.batch_sizes, ()
        self.data_sizes: frozenset[int] = frozenset()
        self.claims_gradient = mode != "forward"
        self._weights: list[Array] = []
        self._upstream = 1
        self._settle([leaf.numbers() for leaf in subject.leaves])

    @property
    def n_forward(self) -> int:
        """Of this objective, and of those at points moved from it."""
        return self._calls.n_forward

    @property
    def n_backward(self) -> int:
        return self._calls.n_backward

    def point(self, tensor: int) -> Array:
        return _frozen(as_double(self._points[tensor]))

    def gradient(self, tensor: int) -> Array:
        return _frozen(as_double(self._gradients[tensor]))

    @np.errstate(all="ignore")
    def at(self, direction: Direction | None, step: float, *, split: bool = False) -> Sample:
        moved = self._moved(direction, step)
        moves = {i: as_double(x) - as_double(self._points[i]) for i, x in moved.items()}
        if self._mode == "reverse":
            return self._sample(self._forward(moved), self._along(moves), split=split)
        pushed = self._pushed(moves)
        if self._mode == "forward":
            return self._sample(self._forward(moved), self._value(pushed), split=split)
        sums = [y + dy for y, dy in zip(self._centre, pushed, strict=True)]
        return self._sample(sums, self._along(moves), split=split)

    def floor(self) -> float:
        if self._mode != "forward-reverse":
            return self._output_noise
        # No output enters, but a product of one pass forward and one back, which round as often as f is deep.
        shares = [
            float(np.linalg.norm(as_double(g))) * _rms(as_double(x))
            for g, x in zip(self._gradients, self._points, strict=True)
        ]
        return 4 * self.roundoff * float(np.linalg.norm(shares))

    def moved(
        self, direction: Direction | None, step: float, *, afresh: bool = False, upstream: int = 1
    ) -> JaxObjective | None:
        """The same check elsewhere; functions that JAX can transform keep nothing from call to call, so every call is a first one."""
        other = copy.copy(self)
        other._upstream = upstream
        moved = self._moved(direction, step)
        try:
            other._settle([moved.get(i, x) for i, x in enumerate(self._points)])
        except ArgumentError:  # f or its gradient is not finite there
            return None
        return other

    def settled(self) -> None:
        """There is no state to settle."""

    @np.errstate(all="ignore")
    def _settle(self, points: Sequence[NDArray[Any]]) -> None:
        """Take this point as the one at which the gradient is claimed, and ask for it."""
        self._points = [
            x.astype(real_dtype(d), copy=False) for x, d in zip(points, self._dtypes, strict=True)
        ]
        outputs = self._outputs({})
        if not self._weights:
            alone = len(outputs) == 1
            self._weights = [weight((self._seed, i), y, alone=alone) for i, y in enumerate(outputs)]
        self._centre = self._real(outputs)
        value = self._value(self._centre)
        if not np.isfinite(value):
            raise ArgumentError(
                f"f returned a value that is not finite ({value}) at these inputs: expected finite outputs"
            )
        self._output_noise = rounding(outputs, self._weights)
        self._gradients = self._claimed(outputs)
        if self._mode != "reverse":
            self._pushed({})  # so that a function without forward mode is refused at once

    def _claimed(self, outputs: Outputs) -> list[NDArray[Any]]:
        try:
            found = self._by_backward_pass(outputs)
        except UserCodeError:
            if self._mode != "forward":
                raise
            found = self._by_columns()
        for name, g in zip(self.names, found, strict=True):
            if not np.isfinite(as_double(g)).all():
                raise ArgumentError(
                    f"the gradient of {name} holds values that are not finite, while f is finite there"
                )
        return found

    def _by_backward_pass(self, outputs: Outputs) -> list[NDArray[Any]]:
        # Never 1, so that a backward pass which forgets what comes from above is seen; 2 is exact in every precision.
        upstream = self._upstream * (2 if is_lone(self._weights) else 1)
        cotangents = [cotangent(upstream * w, y.dtype) for w, y in zip(self._weights, outputs, strict=True)]
        again, found = self._pulled(cotangents)
        if self._calls.compiled and differ(outputs, again):
            # f is not the same each time that it is traced: only operation by operation is it the function that the user runs.
            self._calls.compiled = False
            _, found = self._pulled(cotangents)
        real = [as_real_gradient(g) for g in found]
        if upstream == 1:
            return real
        return [g / np.asarray(2, g.dtype) if upstream == 2 else as_double(g) / upstream for g in real]

    def _by_columns(self) -> list[NDArray[Any]]:
        """Of a function that has forward mode alone, as of a loop that runs until it has converged: one element at a time."""
        count = sum(x.size for x in self._points)
        if count > MOST_COLUMNS:
            raise ArgumentError(
                f"f has no backward pass, and {count} inputs: expected at most {MOST_COLUMNS} where only forward mode is there"
            )
        found = [np.zeros(x.shape) for x in self._points]
        for i, g in enumerate(found):
            for index in np.ndindex(g.shape):
                column = np.zeros(g.shape)
                column[index] = 1.0
                g[index] = self._value(self._pushed({i: column}))
        return found

    def _pulled(self, cotangents: Sequence[NDArray[Any]]) -> tuple[Outputs, Outputs]:
        return self._calls.pullback(lambda: self._placed({}), cotangents)

    def _pushed(self, moves: dict[int, Array]) -> list[Array]:
        """The derivative of the outputs along the moves, by forward mode; a move is rounded to the type of its array once more."""
        tangents = []
        for i, (x, dtype) in enumerate(zip(self._points, self._dtypes, strict=True)):
            move = moves[i] if i in moves else np.zeros(x.shape)
            tangents.append(complex_of(move, dtype) if is_complex(dtype) else move.astype(dtype))
        return self._real(self._calls.pushforward(lambda: self._placed({}), tangents)[1])

    def _moved(self, direction: Direction | None, step: float) -> dict[int, NDArray[Any]]:
        """The tensors of the direction where they end up, rounded to what they can hold."""
        if direction is None:
            return {}
        return {
            i: (as_double(self._points[i]) + step * direction.move(i)).astype(real_dtype(self._dtypes[i]))
            for i in direction.tensors
        }

    def _along(self, moves: dict[int, Array]) -> float:
        """What the claimed gradient says of the moves."""
        return sum((float(np.vdot(as_double(self._gradients[i]), move)) for i, move in moves.items()), 0.0)

    def _placed(self, moved: dict[int, NDArray[Any]]) -> list[jax.Array]:
        """Fresh arrays for each call: f may donate them."""
        return [
            leaf.placed(moved.get(i, x), dtype)
            for i, (leaf, x, dtype) in enumerate(zip(self._leaves, self._points, self._dtypes, strict=True))
        ]

    def _outputs(self, moved: dict[int, NDArray[Any]]) -> Outputs:
        return self._calls.outputs(lambda: self._placed(moved))

    def _forward(self, moved: dict[int, NDArray[Any]]) -> list[Array]:
        return self._real(self._outputs(moved))

    def _real(self, outputs: Outputs) -> list[Array]:
        real = [as_double(real_view(y)) for y in outputs]
        if [y.shape for y in real] != [w.shape for w in self._weights]:
            raise ArgumentError(
                "the outputs of f changed their shapes between two calls: expected the same shapes each time"
            )
        return real

    def _value(self, outputs: Sequence[Array]) -> float:
        return self._sample(outputs, 0.0, split=False).value

    def _sample(self, outputs: Sequence[Array], taken: float, *, split: bool) -> Sample:
        terms = [w * y for w, y in zip(self._weights, outputs, strict=True)]
        value = float(sum(np.sum(t) for t in terms))
        return Sample(value, taken, parts(terms) if split else ())


def _rms(array: Array) -> float:
    return float(np.sqrt(np.mean(array * array))) or 1.0


def _frozen(array: Array) -> Array:
    view = array.view()
    view.setflags(write=False)
    return view
