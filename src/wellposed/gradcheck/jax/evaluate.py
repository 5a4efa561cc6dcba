"""Runs the checked function of JAX arrays, its backward pass and its forward mode; they keep no state, so there is nothing to undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, UserCodeError
from ...runtime.jax.calls import Calls, Outputs, is_wide
from ..directions import Array, Direction
from ..objective import split_of_f
from ..result import OutputsChangedError, Sample, Undefined
from ..tensor_objective import (
    ClaimedGradient,
    Location,
    TensorEvaluator,
    finite_value,
    upstream_factor,
)
from .arguments import CheckedJaxFunction
from .arrays import (
    ArrayLocation,
    as_double,
    complex_of,
    epsilon,
    is_complex,
    moved,
    real_dtype,
    real_view,
    widened,
)
from .weighted_outputs import as_real_gradient, cotangent, differ, is_lone, rounding, weight

Locations = Sequence[Location[NDArray[Any]]]
MOST_COLUMNS = 1000
"""Elements of a gradient that forward mode may have to find one at a time."""


class JaxEvaluator(TensorEvaluator[NDArray[Any]]):
    """Evaluates and differentiates a JAX function. Every call is a first one, and draws the same from the keys that it is passed."""

    def __init__(self, function: CheckedJaxFunction, *, seed: int, replay: bool) -> None:
        super().__init__()
        self._leaves, self._seed = function.leaves, seed
        self._dtypes = tuple(widened(x.dtype) if replay else x.dtype for x in function.leaves)
        self._calls = Calls(function.outputs, wide=replay or is_wide(), seed=seed)
        self._spacing = epsilon(function.dtype)
        self._weights: list[Array] = []
        self.names = tuple(x.name for x in function.leaves)
        self.locations = tuple(
            ArrayLocation(stored=leaf.numbers(), dtype=real_dtype(dtype))
            for leaf, dtype in zip(function.leaves, self._dtypes, strict=True)
        )
        replays = replay and function.is_coarse
        self.precision = f"float64 replay of {function.dtype}" if replays else str(function.dtype)
        self.roundoff = max(map(epsilon, self._dtypes)) / 2
        self.batch_sizes = function.batch_sizes

    def output_weights(self) -> tuple[Array, ...]:
        return () if is_lone(self._weights) else tuple(self._weights)

    @np.errstate(all="ignore")
    def claim(
        self, locations: Locations, *, required: bool, start: None, upstream: int
    ) -> ClaimedGradient[NDArray[Any]]:
        """The gradients from the backward pass, or from forward mode where there is none and none is `required`."""
        outputs = self._outputs(_at(locations))
        if not self._weights:
            self._weights = self._drawn(outputs)
        real = self._real(outputs)
        finite_value(self._value(real))
        try:
            found = self._by_backward_pass(locations, outputs, upstream)
        except UserCodeError:
            if required:
                raise
            found = self._by_columns(locations)
        undefined = (Undefined.among(i, as_double(g)) for i, g in enumerate(found))
        return ClaimedGradient(
            locations=tuple(locations),
            start=start,
            rounding=rounding(outputs, self._weights),
            gradients=tuple(np.where(np.isfinite(as_double(g)), g, np.zeros((), g.dtype)) for g in found),
            undefined=tuple(filter(None, undefined)),
            outputs=real,
        )

    def _drawn(self, outputs: Outputs) -> list[Array]:
        alone = len(outputs) == 1
        return [weight((self._seed, i), y, spacing=self._spacing, alone=alone) for i, y in enumerate(outputs)]

    def _by_backward_pass(self, locations: Locations, outputs: Outputs, upstream: int) -> list[NDArray[Any]]:
        times = upstream_factor(upstream, alone=is_lone(self._weights))
        cotangents = [cotangent(times * w, y.dtype) for w, y in zip(self._weights, outputs, strict=True)]
        again, found = self._pulled(locations, cotangents)
        if self._calls.compiled and differ(outputs, again):
            # f differs each time that it is traced: only without compilation is it the function that the user runs.
            self._calls.compiled = False
            _, found = self._pulled(locations, cotangents)
        for i in range(len(found)):  # each replaces that of JAX, to save memory
            g = as_real_gradient(found[i])
            if times != 1:
                g = g / np.asarray(2, g.dtype) if times == 2 else as_double(g) / times
            found[i] = g
        return found

    def _by_columns(self, locations: Locations) -> list[NDArray[Any]]:
        """The gradient of a function without a backward pass, for example of a while loop, by forward mode one element at a time."""
        found = [np.zeros(x.shape) for x in locations]
        count = sum(g.size for g in found)
        if count > MOST_COLUMNS:
            raise ArgumentError(
                f"f has no backward pass, and {count} inputs: expected at most {MOST_COLUMNS} where only forward mode is there"
            )
        for i, g in enumerate(found):
            for index in np.ndindex(g.shape):
                column = np.zeros(g.shape)
                column[index] = 1.0
                g[index] = self._value(self._pushed(locations, {i: column}))
        return found

    @np.errstate(all="ignore")
    def sample(
        self, claim: ClaimedGradient[NDArray[Any]], direction: Direction, step: float, *, split: bool
    ) -> Sample:
        changes: dict[int, float] = {}
        moving = frozenset(direction.tensors)

        def values(i: int) -> NDArray[Any]:
            if i not in moving:
                return claim.locations[i].values()
            found, changes[i] = moved(claim.locations[i], self.step(direction, i, step), claim.gradients[i])
            return found

        outputs = self._outputs(values)
        return self._sample(self._real(outputs), sum(changes.values()), split=split)

    @np.errstate(all="ignore")
    def jvp(
        self, claim: ClaimedGradient[NDArray[Any]], direction: Direction, step: float, *, split: bool
    ) -> tuple[float, Sample]:
        locations = {i: claim.locations[i] for i in direction.tensors}
        tangents = {
            i: as_double(x.stepped(self.step(direction, i, step)).values()) - as_double(x.values())
            for i, x in locations.items()
        }
        claimed_change = sum(float(np.vdot(as_double(claim.gradients[i]), t)) for i, t in tangents.items())
        pushed = self._pushed(claim.locations, tangents)
        sums = [y + dy for y, dy in zip(claim.outputs, pushed, strict=True)]
        return self._value(pushed), self._sample(sums, claimed_change, split=split)

    def require_forward_mode(self, claim: ClaimedGradient[NDArray[Any]]) -> None:
        """Asked at every point: code that JAX cannot trace may take another branch there."""
        self._pushed(claim.locations, {})

    def array(self, tensor: NDArray[Any]) -> Array:
        view = as_double(tensor).view()
        view.setflags(write=False)
        return view

    def slope_scales(self, claim: ClaimedGradient[NDArray[Any]]) -> list[float]:
        points = (as_double(x.values()) for x in claim.locations)
        return [
            float(np.linalg.norm(self.array(g))) * (float(np.sqrt(np.mean(p * p))) or 1.0)
            for g, p in zip(claim.gradients, points, strict=True)
        ]

    def _outputs(self, values: Callable[[int], NDArray[Any]]) -> Outputs:
        self.n_forward += 1
        return self._calls.outputs(lambda: self._arrays(values))

    def _pulled(self, locations: Locations, cotangents: Sequence[NDArray[Any]]) -> tuple[Outputs, Outputs]:
        """The outputs, and the gradients of the arrays."""
        self.n_forward += 1
        self.n_backward += 1
        return self._calls.pullback(lambda: self._arrays(_at(locations)), cotangents)

    @np.errstate(all="ignore")
    def _pushed(self, locations: Locations, tangents: Mapping[int, NDArray[Any]]) -> list[Array]:
        """The derivatives of the outputs along the tangents, each rounded to the type of its array once more."""
        rounded = []
        for i, (location, dtype) in enumerate(zip(locations, self._dtypes, strict=True)):
            tangent = tangents[i] if i in tangents else np.zeros(location.shape)
            rounded.append(complex_of(tangent, dtype) if is_complex(dtype) else tangent.astype(dtype))
        self.n_forward += 1
        return self._real(self._calls.pushforward(lambda: self._arrays(_at(locations)), rounded)[1])

    def _arrays(self, values: Callable[[int], NDArray[Any]]) -> list[jax.Array]:
        """Fresh arrays for each call: f may donate them."""
        return [
            leaf.placed(values(i), dtype)
            for i, (leaf, dtype) in enumerate(zip(self._leaves, self._dtypes, strict=True))
        ]

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
        return Sample(
            float(sum(np.sum(t) for t in terms)), claimed_change, split_of_f(terms) if split else ()
        )


def _at(locations: Locations) -> Callable[[int], NDArray[Any]]:
    return lambda i: locations[i].values()
