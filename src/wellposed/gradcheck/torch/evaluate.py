"""Runs the checked function, each time from the same random state, buffers and caches, and undoes what it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import isnan, nan
from typing import Any

import numpy as np
import torch

from ...errors import UserCodeError, WellposedError, said_by
from ...runtime.reachable import Reached
from ...runtime.torch.restore import preserved
from ...runtime.torch.rewind import Rewind
from ...runtime.torch.session import seed_everything
from ..directions import Array, Direction
from ..objective import split_of_f
from ..result import Sample, Undefined
from ..tensor_objective import (
    ClaimedGradient,
    Location,
    TensorEvaluator,
    finite_value,
    upstream_factor,
)
from .arguments import CheckedFunction, in_double
from .derivatives import (
    Gradients,
    NeedsAccumulation,
    accumulating,
    duals,
    forward_mode_refused,
    gradients_of,
    in_forward_mode,
    is_finite,
    own_copy,
    plain,
    refuse_dead_ends,
    second_order_refused,
    tangent_of,
)
from .moved_tensors import MovedTensors, real_view, to_array
from .per_sample_loss import LossForms, factor_of
from .weighted_outputs import OutputWeights, Term, outputs_of, rounding, total, wide


@contextmanager
def evaluating(function: CheckedFunction, *, seed: int, replay: bool) -> Iterator[TorchEvaluator]:
    """A scope in which the function can be evaluated at any point; everything is restored at its end."""
    with preserved(*function.roots, cast=in_double if replay else None) as scope:
        own = {id(t): data for t, data in zip(scope.found.tensors, scope.own, strict=True)}
        points = tuple(real_view(own.get(id(leaf.tensor), leaf.tensor)) for leaf in function.leaves)
        evaluator = TorchEvaluator(function, scope.found, scope.own, points, seed=seed, replay=replay)
        try:
            yield evaluator
        finally:
            evaluator.close()


SETTLING = 200
"""Forward passes at most until a power iteration has converged."""


class TorchEvaluator(TensorEvaluator[torch.Tensor]):
    """Evaluates and differentiates a torch function; valid inside `evaluating`, which restores everything."""

    keeps_state = True
    releases_above = 1 << 20
    """Small gradients are kept, since a graph that f holds has one backward pass only."""

    def __init__(
        self,
        function: CheckedFunction,
        found: Reached,
        sources: Sequence[torch.Tensor],
        points: Sequence[torch.Tensor],
        *,
        seed: int,
        replay: bool,
    ) -> None:
        super().__init__()
        self.function = function
        self.names = tuple(leaf.name for leaf in function.leaves)
        rows = {i: leaf.padding_row for i, leaf in enumerate(function.leaves)}
        self.padding_rows = {i: row for i, row in rows.items() if row is not None}
        self.moved_tensors = MovedTensors(function.leaves, replay=replay)
        self.locations = tuple(self.moved_tensors.at(i, point) for i, point in enumerate(points))
        moving = {id(leaf.tensor) for leaf in function.leaves if leaf.is_parameter}
        self._rewind = Rewind(
            found, [None if id(t) in moving else s for t, s in zip(found.tensors, sources, strict=True)]
        )
        self._left: Rewind | None = None
        self._changes_state = False
        self._centre = nan
        self._seed, self._replay = seed, replay
        self._weights = OutputWeights(seed, torch.finfo(function.dtype).eps)
        self._factor: float | None = None
        self._second: Rewind | None = None
        self._accumulated = False
        self._upstream = 1
        self._draws_otherwise = False
        self._without_gradient_names: frozenset[str] = frozenset()
        self._returns_one_number = False
        self._has_forward_mode = False
        own = str(function.dtype).removeprefix("torch.")
        self.precision = f"float64 replay of {own}" if replay and own != "float64" else own
        self.roundoff = max(torch.finfo(t.dtype).eps for t in self.moved_tensors.tensors) / 2
        checked = {id(leaf.tensor) for leaf in function.leaves}
        sizes = [*function.constants, *found.tensors]
        data = (t for t in sizes if id(t) not in checked and not isinstance(t, torch.nn.Parameter))
        self.data_sizes = frozenset(int(t.shape[0]) for t in data if t.ndim)
        self.batch_sizes = frozenset(int(n) for t in sizes if t.ndim for n in (t.shape[0], t.numel()))

    def output_weights(self) -> tuple[Array, ...]:
        return self._weights.drawn()

    def close(self) -> None:
        """Release all copies; gradients are still used after the scope, to be compared with others."""
        del self.moved_tensors, self.direction_cache, self._rewind, self._left, self._second

    def sample(
        self, claim: ClaimedGradient[torch.Tensor], direction: Direction, step: float, *, split: bool
    ) -> Sample:
        claimed_change = self._move(claim, direction, step)
        return self._run(claim.start, claimed_change=claimed_change, split=split)

    def _run(self, start: Rewind | None, *, claimed_change: float = 0.0, split: bool = False) -> Sample:
        """F with the tensors as they are."""
        with self._from(start):
            terms = self._terms(self._called(self.moved_tensors.tensors))
            parts = split_of_f([t.elements().detach().cpu().numpy() for t in terms]) if split else ()
            return Sample(float(total(terms).detach()), claimed_change, parts)

    def _move(self, claim: ClaimedGradient[torch.Tensor], direction: Direction, step: float) -> float:
        """Move the tensors of the direction and place the others; returns the predicted change of F."""
        self._place(claim.locations, but=frozenset(direction.tensors))
        move = self.moved_tensors.move
        return sum(
            move(i, claim.locations[i], self.step(direction, i, step), claim.gradients[i])
            for i in direction.tensors
        )

    def _place(
        self, locations: Sequence[Location[torch.Tensor]], *, but: frozenset[int] = frozenset()
    ) -> None:
        """Give every tensor its location, except for some that are moved next."""
        for i, location in enumerate(locations):
            if i not in but:
                self.moved_tensors.put(i, location)

    def outputs(self) -> list[tuple[str, torch.Tensor]]:
        """What the function returns at the user's own point, without its graph."""
        self._place(self.locations)
        with self._from():
            found = outputs_of(plain(self._called(self.moved_tensors.tensors)))
            return [(name, y.detach().clone()) for name, y in found]

    def second_start(self) -> Rewind | None:
        """The state that the first evaluation left behind, if F does not depend on it; else None.

        A second training step starts from there: a stale cache or a sum that was not cleared then makes its gradient wrong. State that is
        meant to be carried on, such as that of a recurrent network, changes F too; then every evaluation starts like the first one.
        """
        left, self._left = self._left, None
        if left is None or left is self._second:
            self._left = left
            return left
        self._place(self.locations)
        with suppress(WellposedError):
            if self._run(left).value == self._centre:
                self._left = self._second = left
        return self._left

    def settled_start(self) -> Rewind | None:
        """The state after as many forward passes at the user's point as it takes until F no longer changes; None where F depends on no state."""
        if not self._changes_state or self.second_start() is not None:
            return None
        self._place(self.locations)
        with self._from():
            values = [nan, nan]
            while len(values) < SETTLING and abs(values[-1] - values[-2]) != 0.0:
                values.append(float(total(self._terms(self._called(self.moved_tensors.tensors))).detach()))
                seed_everything(self._seed)
            return self._rewind.left(self.function.roots)

    def claim(
        self,
        locations: Sequence[Location[torch.Tensor]],
        *,
        required: bool,
        start: Rewind | None,
        upstream: int,
    ) -> ClaimedGradient[torch.Tensor]:
        self._upstream = upstream
        claim = self._gradient_at(locations, required=required, start=start)
        put = self.moved_tensors.set_by_function(locations)
        if put is None:
            return claim
        again = self._gradient_at(put, required=required, start=start)
        # If every call changes them again, the function is taken as one of the weights that it was given.
        return again if self.moved_tensors.set_by_function(put) is None else claim

    def _gradient_at(
        self, locations: Sequence[Location[torch.Tensor]], *, required: bool, start: Rewind | None
    ) -> ClaimedGradient[torch.Tensor]:
        try:
            return self._claimed_once(locations, required=required, start=start)
        except NeedsAccumulation:
            self._accumulated = True
            return self._claimed_once(locations, required=required, start=start)

    def _claimed_once(
        self, locations: Sequence[Location[torch.Tensor]], *, required: bool, start: Rewind | None
    ) -> ClaimedGradient[torch.Tensor]:
        self._place(locations)
        first = isnan(self._centre)
        with self._from(start):
            returned = self._called(self.moved_tensors.tensors)
            if isinstance(returned, LossForms):
                summed, terms = self._loss(returned)
            else:
                if first:
                    self._without_gradient_names = _without_gradient(outputs_of(returned))
                terms = self._terms(returned)
                summed = total(terms)
            if first:
                self._returns_one_number = (
                    len(terms) == 1 and terms[0].tensor.numel() == 1 and not self.function.given_upstream
                )
                self.remarks = tuple(self._remarks(summed))
            value = finite_value(float(total(terms).detach()))
            noise = rounding(terms)
            del terms
            found = self._backward(summed, required=required)
            del summed, returned
            gradients, undefined = self._owned(found)
            if first:
                # What the first evaluation wrote to without raising version counters.
                self._rewind.look()
                self.moved_tensors.record_hidden_writes(locations)
                self._left, self._centre = self._rewind.left(self.function.roots), value
                self._changes_state = self._left is not None
        return ClaimedGradient(
            locations=tuple(locations),
            start=start,
            rounding=noise,
            gradients=gradients,
            undefined=undefined,
        )

    def gradient_repeat_error(
        self, claim: ClaimedGradient[torch.Tensor], gradients: Callable[[], Sequence[Any]]
    ) -> float:
        self._draws_otherwise = True
        try:
            others = self._gradient_at(claim.locations, required=True, start=claim.start).gradients
        except UserCodeError:  # a graph that f keeps has only one backward pass
            return 0.0
        finally:
            self._draws_otherwise = False
        own = gradients()
        pairs = zip(own, others, strict=True)
        apart = [_norm(a - b) for a, b in pairs if a is not None and b is not None]
        return float(np.linalg.norm(apart)) / (float(np.linalg.norm([_norm(g) for g in own])) or 1.0)

    def _loss(self, loss: LossForms) -> tuple[torch.Tensor, list[Term]]:
        """The user's own loss, for the gradient; and the terms of F: the losses of the samples where their sum equals it."""
        plain, each = loss.plain(), loss.each()
        if isnan(self._centre) and each is not None:
            self._factor = factor_of(plain, each, loss.factors(each))
        whole = [Term(plain, 1.0)]
        return total(whole), whole if each is None or self._factor is None else [Term(each, self._factor)]

    def jvp(
        self, claim: ClaimedGradient[torch.Tensor], direction: Direction, step: float, *, split: bool
    ) -> tuple[float, Sample]:
        """See `TensorEvaluator`; without parts, since only the derivative of the whole sum is known."""
        del split
        self._move(claim, direction, step)
        tangents = {i: self.moved_tensors.moved_by(i, claim.locations[i]) for i in direction.tensors}
        pairs = ((claim.gradients[i], tangent) for i, tangent in tangents.items())
        claimed_change = sum(float((g.double() * t.double()).sum()) for g, t in pairs if g is not None)
        value, derivative = self._pushed(claim, tangents)
        return derivative, Sample(value + derivative, claimed_change)

    def _pushed(
        self, claim: ClaimedGradient[torch.Tensor], tangents: Mapping[int, torch.Tensor]
    ) -> tuple[float, float]:
        """F, and its forward-mode derivative along the tangents."""
        self._place(claim.locations)
        tensors = self.moved_tensors.tensors
        shaped = [_shaped(tangents.get(i), like) for i, like in enumerate(tensors)]
        in_place = [leaf.is_parameter for leaf in self.function.leaves]
        with self._from(claim.start), duals(tensors, shaped, in_place) as placed:
            self.moved_tensors.note_versions()
            summed = total(self._terms(self._called(placed)))
            return float(summed.detach()), tangent_of(summed)

    def require_forward_mode(self, claim: ClaimedGradient[torch.Tensor]) -> None:
        """Asked at the first point only: the operations that lack forward mode do not depend on the point."""
        if not self._has_forward_mode:
            self._pushed(claim, {i: torch.zeros_like(x.values()) for i, x in enumerate(claim.locations)})
            self._has_forward_mode = True

    def array(self, tensor: torch.Tensor) -> Array:
        return to_array(tensor)

    def slope_scales(self, claim: ClaimedGradient[torch.Tensor]) -> list[float]:
        points = (x.values() for x in claim.locations)
        return [
            _norm(g) * (_norm(p) / p.numel() ** 0.5 or 1.0)
            for g, p in zip(claim.gradients, points, strict=True)
        ]

    @contextmanager
    def _from(self, start: Rewind | None = None) -> Iterator[None]:
        """The scope of one evaluation, from the initial state or another one; restores the initial state."""
        before = torch.get_default_dtype()
        try:
            if start is not None:
                start()
            seed_everything(self._seed)
            if self._replay:
                torch.set_default_dtype(torch.float64)
            self.moved_tensors.note_versions()
            with torch.enable_grad():
                yield
        finally:
            torch.set_default_dtype(before)
            self.moved_tensors.forget_what_was_written()
            self._rewind()

    def _called(self, placed: Sequence[torch.Tensor]) -> Any:
        self.n_forward += 1
        try:
            return self.function.call(placed, in_double if self._replay else _same)
        except WellposedError:
            raise
        except Exception as error:
            raise self._explained(error, "f") from error

    def _terms(self, returned: Any) -> list[Term]:
        if not isinstance(returned, LossForms):
            outputs = outputs_of(returned)
            self._weights.compare(outputs)
            return self._weights.terms([(n, y) for n, y in outputs if n not in self._without_gradient_names])
        each = None if self._factor is None else returned.each()
        if each is None or self._factor is None:
            return [Term(returned.plain(), 1.0)]
        return [Term(each, self._factor)]

    def _backward(self, summed: torch.Tensor, *, required: bool) -> list[torch.Tensor | None]:
        """The gradients of `_times` times F from autograd."""
        leaves = self.moved_tensors.tensors
        if self.function.order == 2:
            refuse_dead_ends(summed)
        if not summed.requires_grad:
            return [None] * len(leaves)
        self.n_backward += 1
        if self._draws_otherwise:
            seed_everything(self._seed + 1)
        try:
            weighted = summed if self._times == 1 else summed * self._times
            return list(gradients_of(weighted, leaves, accumulated=self._accumulated))
        except NeedsAccumulation:
            raise
        except Exception as error:
            if not required:
                return [None] * len(leaves)
            raise self._explained(error, "the backward pass") from error

    @property
    def _times(self) -> int:
        return upstream_factor(self._upstream, alone=self._returns_one_number)

    def _owned(self, found: list[torch.Tensor | None]) -> tuple[Gradients, tuple[Undefined, ...]]:
        """The gradients of F itself as copies, and where they are not finite.

        Each replaces the one that autograd gave, large ones first, so that a copy fits into memory that was just freed.
        """
        undefined = []
        sizes = [0 if g is None else g.numel() for g in found]
        for i in sorted(range(len(found)), key=lambda i: -sizes[i]):
            g, found[i] = found[i], None
            if g is None:
                continue
            # A copy, since a backward pass may return a tensor that changes later.
            own = own_copy(g)
            del g
            times = self._times
            own = own if times == 1 else own.div_(2) if times == 2 else wide(own) / times
            if not is_finite(own):
                undefined.append(Undefined.among(i, to_array(own)))
                own = torch.nan_to_num(own, 0.0, 0.0, 0.0)
            found[i] = own
        return tuple(found), tuple(filter(None, undefined))

    def _remarks(self, summed: torch.Tensor) -> Iterator[str]:
        yield from self.function.remarks
        for i, row in self.padding_rows.items():
            yield f"row {row} of {self.names[i]} is padding, and not checked"
        for name in sorted(self._without_gradient_names):
            yield f"{name} has no gradient, by declaration or by a detach, and is left out"
        ours = {id(t) for t in self.moved_tensors.tensors}
        unchecked = {id(v) for v in accumulating(summed) if id(v) not in ours}
        if unchecked:
            yield (
                f"{len(unchecked)} more tensors that require a gradient take part and are not checked: "
                "pass them as inputs, or the module that holds them as f"
            )

    def _explained(self, error: Exception, what: str) -> WellposedError:
        refused = forward_mode_refused(error) if in_forward_mode() else None
        if refused is None and self.function.order == 2:
            refused = second_order_refused(error)
        if refused is None and _SPARSE in str(error):
            names = ", ".join(leaf.name for leaf in self.function.leaves if not leaf.is_parameter)
            return UserCodeError(
                f"{what} gave a sparse gradient for a dense input (one of {names}), which autograd cannot carry back to it through the "
                "copies that move here, right as it may be: pass sparse=False to an embedding; of a backward of your own, return "
                "a dense one, as .to_dense() gives"
            )
        return refused or UserCodeError(f"{what} raised {said_by(error)}")


_SPARSE = "self.layout being Sparse and options.layout set as Strided"
"""Part of torch's message where a sparse gradient reaches a copy of a dense tensor."""


def _same(value: torch.Tensor) -> torch.Tensor:
    return value


def _without_gradient(outputs: Sequence[tuple[str, torch.Tensor]]) -> frozenset[str]:
    """The outputs without a graph, if others have one."""
    idle = frozenset(name for name, y in outputs if not y.requires_grad)
    return idle if len(idle) < len(outputs) else frozenset()


def _norm(tensor: torch.Tensor | None) -> float:
    return 0.0 if tensor is None else float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def _shaped(tangent: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    return torch.view_as_complex(tangent) if tangent is not None and like.is_complex() else tangent
