"""What is wrong with a gradient that failed: how far off, where, the worst element, and the name of the bug."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from ..directional_error import Prober
from ..directions import Array
from ..error_estimate import FLAG
from ..result import GradientCheck, TensorCheck, WorstElement
from ..tensor_verdicts import Outcome
from .another_point import ignoring_upstream, rounded_on_the_way, stored
from .evidence import (
    CLEAR,
    EXACT,
    NAMEABLE,
    Box,
    element_reading,
    every_element,
    gather,
    measure,
    rms,
    smallest_box,
    telling_elements,
)
from .part_of_tensor import scattered_cause, slice_cause
from .whole_tensor import Cause, factor_cause, global_cause, left_out

FEW_ELEMENTS = 100
"""Below this a failing check compares every element."""
MOST_EXPLAINED = 3
"""Failing tensors whose cause is sought."""
FEWEST = 8
"""A tensor of fewer elements shows no cause."""
FACTOR_TRIALS = 3
MOST_UNNAMED = 2
"""Failing tensors without a name before the search for names ends."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Failure:
    """What is known of one failing tensor."""

    tensor: int
    outcome: Outcome
    error_norm: float
    numerical_norm: float
    cause: Cause | None
    box: Box

    @property
    def step(self) -> float | None:
        return self.outcome.reading.step if self.outcome.reading else None


def explained(prober: Prober, outcomes: Mapping[int, Outcome], check: GradientCheck) -> GradientCheck:
    """The failing check with its explanation."""
    failing = sorted(
        (i for i in outcomes if outcomes[i].verdict == "fail"),
        key=lambda i: -_relative(prober, i, outcomes[i]),
    )
    failures: dict[int, Failure] = {}
    for k, i in enumerate(failing):
        unnamed = sum(f.cause is None for f in failures.values())
        sought = k < MOST_EXPLAINED and unnamed < MOST_UNNAMED
        failures[i] = _failure(prober, i, outcomes[i], sought=sought, localized=k == 0)
    failures |= _deaf(prober, [f for f in failures.values() if f.cause and not f.cause.telling])
    failures |= _stored(prober, [failures[i] for i in failing[:MOST_EXPLAINED]])
    numerical = _numerical(prober, failures)
    if numerical is not None:
        failures = {i: _measured(prober, f, numerical[i]) for i, f in failures.items()}
    first = failures[failing[0]]
    common = _common_cause(prober, [failures[i] for i in failing[:MOST_EXPLAINED]])
    chosen = common or first.cause
    names = _listed([prober.objective.names[i] for i in sorted(failing)])
    return replace(
        check,
        relative_error=_ng(prober, failures, numerical),
        cause=common.name if common else None,
        detail="; ".join(
            p for p in (f"wrong for {names}", chosen.detail if chosen else "", check.detail) if p
        ),
        where=_where(prober, first),
        tensors=tuple(_tensor(prober, i, t, failures.get(i)) for i, t in enumerate(check.tensors)),
        worst=_worst(prober, first, numerical),
    )


def _deaf(prober: Prober, failures: Sequence[Failure]) -> dict[int, Failure]:
    """Of those that are wrong by a factor, the ones whose backward pass ignores the gradient that comes from above."""
    found = {}
    for failure in failures:
        if failure.cause and ignoring_upstream(prober, [failure.tensor]):
            detail = "the backward pass ignores the gradient that comes from above, and is right only where that is 1"
            found[failure.tensor] = replace(failure, cause=replace(failure.cause, detail=detail))
    return found


def _stored(prober: Prober, failures: Sequence[Failure]) -> dict[int, Failure]:
    """The unnamed failures that turn out to be arrays computed before."""
    unnamed = {f.tensor: f for f in failures if f.cause is None}
    causes = stored(prober, list(unnamed)) if unnamed else {}
    return {i: replace(unnamed[i], cause=cause) for i, cause in causes.items()}


def _relative(prober: Prober, i: int, outcome: Outcome) -> float:
    if outcome.factor is not None:
        return abs(outcome.factor - 1)
    return outcome.error / (prober.shares[i] or prober.reference)


def _failure(prober: Prober, i: int, outcome: Outcome, *, sought: bool, localized: bool) -> Failure:
    box = Box.whole(prober.objective.shapes[i])
    norm = prober.norms[i]
    if outcome.factor is not None and (not sought or _is_factor(prober, i, outcome)):
        return Failure(
            tensor=i,
            outcome=outcome,
            error_norm=abs(outcome.factor - 1) * norm,
            numerical_norm=abs(outcome.factor) * norm,
            cause=factor_cause(prober, outcome.factor, outcome.factor_bar),
            box=box,
        )
    assert outcome.reading is not None
    if not sought:
        error = abs(outcome.reading.error) / prober.scales[i]
        return Failure(tensor=i, outcome=outcome, error_norm=error, numerical_norm=norm, cause=None, box=box)
    evidence = gather(prober, i, outcome.reading)
    cause = global_cause(prober, evidence)
    if cause is None and localized:
        direction, total = evidence.clearest
        box = smallest_box(prober, i, direction, total)
        cause = slice_cause(prober, evidence, box)
    cause = cause or left_out(prober, evidence) or rounded_on_the_way(prober, evidence)
    if cause is None and localized:
        cause = scattered_cause(prober, evidence, box)
    ratio = cause.ratio if cause else None
    return Failure(
        tensor=i,
        outcome=outcome,
        error_norm=evidence.error_norm if ratio is None else abs(ratio - 1) * norm,
        numerical_norm=evidence.numerical_norm if ratio is None else abs(ratio) * norm,
        cause=cause,
        box=box,
    )


def _is_factor(prober: Prober, i: int, outcome: Outcome) -> bool:
    """Whether the factor explains the error along random directions too, and they see it clearly.

    Along the signs of the gradient any error adds up that leans its way, while the bars of other directions may hide the rest.
    """
    assert outcome.factor is not None
    if outcome.reading is None:
        return True
    seen = [measure(prober, prober.fresh((i,)), outcome.reading, share=CLEAR) for _ in range(FACTOR_TRIALS)]
    left = [abs(r.numerical - outcome.factor * r.slope) for r in seen]
    clear = rms(np.array([r.bar for r in seen])) <= NAMEABLE * rms(np.array([r.error for r in seen]))
    return clear and all(
        a <= FLAG * r.bar + EXACT * abs(r.numerical) for a, r in zip(left, seen, strict=True)
    )


def _measured(prober: Prober, failure: Failure, numerical: Array) -> Failure:
    gradient = prober.objective.gradient(failure.tensor)
    return replace(
        failure,
        error_norm=float(np.linalg.norm(numerical - gradient)),
        numerical_norm=float(np.linalg.norm(numerical)),
    )


def _numerical(prober: Prober, failures: Mapping[int, Failure]) -> list[Array] | None:
    few = sum(int(np.prod(s)) for s in prober.objective.shapes) <= FEW_ELEMENTS
    if not (few and prober.objective.claims_gradient):
        return None
    return every_element(prober, {i: r for i, f in failures.items() if (r := f.outcome.reading)})


def _common_cause(prober: Prober, failures: Sequence[Failure]) -> Cause | None:
    """The one cause of all that failed; two different ones are two bugs, and neither is the bug.

    Tensors of a few elements cannot veto, since little can be told of them. Nor can those that are wrong in no simple way, when the most wrong
    one lacks some of its samples or steps: what those would have passed on is missing in all the others.
    """
    named = [f.cause for f in failures if f.cause]
    if len({c.name for c in named}) != 1:
        return None
    unnamed = [
        f for f in failures if f.cause is None and int(np.prod(prober.objective.shapes[f.tensor])) >= FEWEST
    ]
    return (
        named[0] if not unnamed or (failures[0].cause and named[0].name in ("mask", "accumulate")) else None
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _where(prober: Prober, failure: Failure) -> str:
    if failure.cause and failure.cause.where:
        return failure.cause.where
    return f"{prober.objective.names[failure.tensor]}{failure.box}"


def _tensor(prober: Prober, i: int, check: TensorCheck, failure: Failure | None) -> TensorCheck:
    if failure is None:
        return check
    total = prober.norms[i] + failure.numerical_norm
    return replace(
        check,
        error=min(failure.error_norm / (total or 1.0), 1.0),
        cause=failure.cause.name if failure.cause else None,
    )


def _ng(prober: Prober, failures: Mapping[int, Failure], numerical: list[Array] | None) -> float:
    """Ng's number over all tensors."""
    if numerical is not None:
        n = [float(np.linalg.norm(a)) for a in numerical]
        e = [float(np.linalg.norm(a - prober.objective.gradient(i))) for i, a in enumerate(numerical)]
    else:
        n = [failures[i].numerical_norm if i in failures else g for i, g in enumerate(prober.norms)]
        e = [failures[i].error_norm if i in failures else 0.0 for i in range(len(n))]
    total = float(np.linalg.norm(prober.norms) + np.linalg.norm(n))
    return min(float(np.linalg.norm(e)) / total, 1.0) if total else 0.0  # a triangle: estimates may exceed it


def _worst(prober: Prober, failure: Failure, numerical: list[Array] | None) -> WorstElement | None:
    """The element that is furthest off: of all where there are few, else of those in the wrong slice that tell most."""
    tensor = failure.tensor
    gradient = prober.objective.gradient(tensor)
    rng = np.random.default_rng((prober.seed, 2))
    if numerical is not None:
        distance = np.abs(numerical[tensor] - gradient)
        # Of several that are equally far off, as the pairs of a transposed gradient, the first.
        elements = [int(np.argmax(distance >= (1 - 1e-6) * distance.max()))]
    elif failure.cause and failure.cause.elements:
        elements = list(failure.cause.elements)
    else:
        elements = [int(k) for k in telling_elements(prober, tensor, failure.box, rng)]
    readings = [(k, element_reading(prober, tensor, k, start=failure.step)) for k in elements]
    flagged = [(k, r) for k, r in readings if r.flagged and isfinite(r.bar)]
    if not flagged:
        return None
    element, reading = max(flagged, key=lambda pair: abs(pair[1].error))
    own = prober.objective.claims_gradient
    analytic = float(gradient.flat[element]) if own else reading.slope / prober.scales[tensor]
    return WorstElement(
        name=prober.objective.names[tensor],
        index=tuple(int(k) for k in np.unravel_index(element, gradient.shape)) if gradient.ndim else (),
        analytic=analytic,
        numerical=analytic + reading.error / prober.scales[tensor],
        bar=FLAG * reading.bar / prober.scales[tensor],
    )
