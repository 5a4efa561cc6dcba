"""What is wrong with a gradient that failed: by how much, where, the worst element, and the cause.

`HYPOTHESES` is the table of causes. Each is tested against measurements of the gradient's error (`evidence`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

import numpy as np

from ..directional_error import ErrorEstimator
from ..directions import Array
from ..error_estimate import FLAG
from ..result import GradientCheck, Reason, TensorCheck, WorstElement
from ..tensor_verdicts import TensorOutcome
from .another_point import ignoring_upstream, rounded_inputs, stored
from .evidence import (
    CLEAR,
    EXACT,
    NAMEABLE,
    Cause,
    Evidence,
    TensorSlice,
    candidate_elements,
    estimate_element,
    every_element,
    gather,
    measure,
    rms,
    smallest_slice,
)
from .part_of_tensor import (
    few_elements,
    not_blocked,
    opposite_mask,
    shuffled_slices,
    swapped_slopes,
    wrong_on_one_side,
    wrong_slice,
)
from .through_sums import missing_through_sum
from .whole_tensor import (
    factor_cause,
    low_precision,
    missing_term,
    outputs_left_out,
    rearranged_gradient,
    scaled,
    weight_decay,
    zero_gradient,
)

FEW_ELEMENTS = 100
"""Below this a failing check compares every element."""
MOST_EXPLAINED = 3
"""Failing tensors whose cause is sought."""
FEWEST = 8
"""A tensor of fewer elements is too small to show a cause."""
FACTOR_TRIALS = 3
"""Directions along which a factor is confirmed."""
MOST_UNNAMED = 2
"""Failing tensors without a cause before the search for causes ends."""


@dataclass(frozen=True)
class Hypothesis:
    """One kind of bug: how it is recognised, and where it may be sought."""

    find: Callable[[ErrorEstimator, Evidence], Cause | None]
    scope: Literal["tensor", "slice", "scattered", "few"] = "tensor"
    """Whether the error may be anywhere in the tensor, in one slice of it, in no smaller slice, or in a few elements."""
    needs_gradient: bool = True
    """False where derivatives along directions suffice, which is all that forward mode has."""

    def applies(self, estimator: ErrorEstimator, evidence: Evidence) -> bool:
        if not evidence.nameable or (self.needs_gradient and not estimator.objective.claims_gradient):
            return False
        whole = evidence.part.is_whole
        return {
            "tensor": True,
            "slice": not whole,
            "scattered": whole and bool(evidence.part.shape),
            "few": bool(evidence.part.shape),
        }[self.scope]


HYPOTHESES = (
    Hypothesis(zero_gradient, needs_gradient=False),
    Hypothesis(scaled, needs_gradient=False),
    Hypothesis(weight_decay),
    Hypothesis(low_precision),
    Hypothesis(missing_term),
    Hypothesis(rearranged_gradient),
    Hypothesis(wrong_slice, "slice"),
    Hypothesis(outputs_left_out),
    Hypothesis(rounded_inputs, needs_gradient=False),
    Hypothesis(wrong_on_one_side, "scattered"),
    Hypothesis(few_elements, "few"),
    Hypothesis(not_blocked, "scattered"),
    Hypothesis(shuffled_slices, "scattered"),
    Hypothesis(missing_through_sum, "scattered"),
    Hypothesis(swapped_slopes, "scattered"),
    Hypothesis(opposite_mask, "scattered"),
)
"""In the order in which they are tried: the simplest first, then those that need the wrong slice, which takes more evaluations to find."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Failure:
    """What is known of one failing tensor."""

    tensor: int
    outcome: TensorOutcome
    error_norm: float
    numerical_norm: float
    cause: Cause | None
    part: TensorSlice

    @property
    def step(self) -> float | None:
        return self.outcome.estimate.step if self.outcome.estimate else None


def explained(
    estimator: ErrorEstimator, outcomes: Mapping[int, TensorOutcome], check: GradientCheck
) -> GradientCheck:
    """The failing check with its explanation."""
    failing = sorted(
        (i for i in outcomes if outcomes[i].verdict == "fail"),
        key=lambda i: -_relative(estimator, i, outcomes[i]),
    )
    failures: dict[int, Failure] = {}
    for k, i in enumerate(failing):
        unnamed = sum(f.cause is None for f in failures.values())
        sought = k < MOST_EXPLAINED and unnamed < MOST_UNNAMED
        failures[i] = _failure(estimator, i, outcomes[i], sought=sought, localized=k == 0)
    failures |= _ignoring_upstream(
        estimator, [f for f in failures.values() if f.cause and not f.cause.telling]
    )
    failures |= _stored_arrays(estimator, [failures[i] for i in failing[:MOST_EXPLAINED]])
    numerical = _numerical(estimator, failures)
    if numerical is not None:
        failures = {i: _measured(estimator, f, numerical[i]) for i, f in failures.items()}
    first = failures[failing[0]]
    common = _common_cause(estimator, [failures[i] for i in failing[:MOST_EXPLAINED]])
    chosen = common or first.cause
    names = _listed([estimator.objective.names[i] for i in sorted(failing)])
    reasons = [Reason(code="wrong-tensors", text=f"wrong for {names}")]
    if chosen:
        reasons.append(Reason(code="cause", text=chosen.detail))
    return check.with_reasons(
        *reasons,
        *check.reasons,
        relative_error=_ng(estimator, failures, numerical),
        cause=common.name if common else None,
        where=_where(estimator, first),
        tensors=tuple(_tensor(estimator, i, t, failures.get(i)) for i, t in enumerate(check.tensors)),
        worst=_worst(estimator, first, numerical),
    )


def _ignoring_upstream(estimator: ErrorEstimator, failures: Sequence[Failure]) -> dict[int, Failure]:
    """Of the failures by a factor, those whose backward pass ignores the upstream gradient, with that as their cause."""
    found = {}
    for failure in failures:
        if failure.cause and ignoring_upstream(estimator, [failure.tensor]):
            detail = "the backward pass ignores the gradient that comes from above, and is right only where that is 1"
            found[failure.tensor] = replace(failure, cause=replace(failure.cause, detail=detail))
    return found


def _stored_arrays(estimator: ErrorEstimator, failures: Sequence[Failure]) -> dict[int, Failure]:
    """Of the failures without a cause, those whose gradient is an array that was computed earlier."""
    unnamed = {f.tensor: f for f in failures if f.cause is None}
    causes = stored(estimator, list(unnamed)) if unnamed else {}
    return {i: replace(unnamed[i], cause=cause) for i, cause in causes.items()}


def _relative(estimator: ErrorEstimator, i: int, outcome: TensorOutcome) -> float:
    if outcome.factor is not None:
        return abs(outcome.factor - 1)
    return outcome.error / (estimator.tensor_slopes[i] or estimator.largest_slope)


def _failure(
    estimator: ErrorEstimator, i: int, outcome: TensorOutcome, *, sought: bool, localized: bool
) -> Failure:
    part = TensorSlice.whole(estimator.objective.shapes[i])
    norm = estimator.norms[i]
    if outcome.factor is not None and (not sought or _is_factor(estimator, i, outcome)):
        return Failure(
            tensor=i,
            outcome=outcome,
            error_norm=abs(outcome.factor - 1) * norm,
            numerical_norm=abs(outcome.factor) * norm,
            cause=factor_cause(estimator, outcome.factor, outcome.factor_bar),
            part=part,
        )
    assert outcome.estimate is not None
    if not sought:
        error = abs(outcome.estimate.error) / estimator.scales[i]
        return Failure(
            tensor=i, outcome=outcome, error_norm=error, numerical_norm=norm, cause=None, part=part
        )
    evidence = gather(estimator, i, outcome.estimate)
    evidence, cause = _cause(estimator, evidence, localized=localized)
    ratio = cause.ratio if cause else None
    return Failure(
        tensor=i,
        outcome=outcome,
        error_norm=evidence.error_norm if ratio is None else abs(ratio - 1) * norm,
        numerical_norm=evidence.numerical_norm if ratio is None else abs(ratio) * norm,
        cause=cause,
        part=evidence.part,
    )


def _cause(
    estimator: ErrorEstimator, evidence: Evidence, *, localized: bool
) -> tuple[Evidence, Cause | None]:
    """The first hypothesis that explains the error, or None rather than a wrong name; and the slice that holds the error, if `localized`."""
    located = False
    for hypothesis in HYPOTHESES:
        if hypothesis.scope != "tensor" and not localized:
            continue
        if hypothesis.scope != "tensor" and not located:
            direction, total = evidence.clearest
            part = smallest_slice(estimator, evidence.tensor, direction, total)
            evidence, located = replace(evidence, part=part), True
        if hypothesis.applies(estimator, evidence) and (cause := hypothesis.find(estimator, evidence)):
            return evidence, cause
    return evidence, None


def _is_factor(estimator: ErrorEstimator, i: int, outcome: TensorOutcome) -> bool:
    """Whether the factor explains the error along random directions too, with small bars.

    Along the signs of the gradient any error that is correlated with it adds up, and large bars of other directions may hide the rest.
    """
    assert outcome.factor is not None
    if outcome.estimate is None:
        return True
    seen = [
        measure(estimator, estimator.new_direction((i,)), outcome.estimate, share=CLEAR)
        for _ in range(FACTOR_TRIALS)
    ]
    left = [abs(r.numerical - outcome.factor * r.slope) for r in seen]
    clear = rms(np.array([r.bar for r in seen])) <= NAMEABLE * rms(np.array([r.error for r in seen]))
    return clear and all(
        a <= FLAG * r.bar + EXACT * abs(r.numerical) for a, r in zip(left, seen, strict=True)
    )


def _measured(estimator: ErrorEstimator, failure: Failure, numerical: Array) -> Failure:
    gradient = estimator.objective.gradient(failure.tensor)
    return replace(
        failure,
        error_norm=float(np.linalg.norm(numerical - gradient)),
        numerical_norm=float(np.linalg.norm(numerical)),
    )


def _numerical(estimator: ErrorEstimator, failures: Mapping[int, Failure]) -> list[Array] | None:
    few = sum(int(np.prod(s)) for s in estimator.objective.shapes) <= FEW_ELEMENTS
    if not (few and estimator.objective.claims_gradient):
        return None
    return every_element(estimator, {i: r for i, f in failures.items() if (r := f.outcome.estimate)})


def _common_cause(estimator: ErrorEstimator, failures: Sequence[Failure]) -> Cause | None:
    """The one cause of all failures; None where there are two.

    Failures without a cause exclude a common one, except for tensors of a few elements, of which little is known, and where the worst
    failure lacks some samples or time steps: what these would have passed on is then missing in the other tensors.
    """
    named = [f.cause for f in failures if f.cause]
    if len({c.name for c in named}) != 1:
        return None
    unnamed = [
        f
        for f in failures
        if f.cause is None and int(np.prod(estimator.objective.shapes[f.tensor])) >= FEWEST
    ]
    return (
        named[0] if not unnamed or (failures[0].cause and named[0].name in ("mask", "accumulate")) else None
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _where(estimator: ErrorEstimator, failure: Failure) -> str:
    if failure.cause and failure.cause.where:
        return failure.cause.where
    return f"{estimator.objective.names[failure.tensor]}{failure.part}"


def _tensor(estimator: ErrorEstimator, i: int, check: TensorCheck, failure: Failure | None) -> TensorCheck:
    if failure is None:
        return check
    total = estimator.norms[i] + failure.numerical_norm
    return replace(
        check,
        error=min(failure.error_norm / (total or 1.0), 1.0),
        cause=failure.cause.name if failure.cause else None,
    )


def _ng(estimator: ErrorEstimator, failures: Mapping[int, Failure], numerical: list[Array] | None) -> float:
    """Ng's number over all tensors."""
    if numerical is not None:
        n = [float(np.linalg.norm(a)) for a in numerical]
        e = [float(np.linalg.norm(a - estimator.objective.gradient(i))) for i, a in enumerate(numerical)]
    else:
        n = [failures[i].numerical_norm if i in failures else g for i, g in enumerate(estimator.norms)]
        e = [failures[i].error_norm if i in failures else 0.0 for i in range(len(n))]
    total = float(np.linalg.norm(estimator.norms) + np.linalg.norm(n))
    return (
        min(float(np.linalg.norm(e)) / total, 1.0) if total else 0.0
    )  # by the triangle inequality at most 1, which estimates may exceed


def _worst(estimator: ErrorEstimator, failure: Failure, numerical: list[Array] | None) -> WorstElement | None:
    """The worst element: of all where there are few, else of some in the wrong slice."""
    tensor = failure.tensor
    gradient = estimator.objective.gradient(tensor)
    rng = np.random.default_rng((estimator.seed, 2))
    if numerical is not None:
        distance = np.abs(numerical[tensor] - gradient)
        # The first of those that are equally wrong, for example in a transposed gradient.
        elements = [int(np.argmax(distance >= (1 - 1e-6) * distance.max()))]
    elif failure.cause and failure.cause.elements:
        elements = list(failure.cause.elements)
    else:
        elements = [int(k) for k in candidate_elements(estimator, tensor, failure.part, rng)]
    estimates = [(k, estimate_element(estimator, tensor, k, start=failure.step)) for k in elements]
    flagged = [(k, r) for k, r in estimates if r.flagged and isfinite(r.bar)]
    if not flagged:
        return None
    element, estimate = max(flagged, key=lambda pair: abs(pair[1].error))
    own = estimator.objective.claims_gradient
    analytic = float(gradient.flat[element]) if own else estimate.slope / estimator.scales[tensor]
    return WorstElement(
        name=estimator.objective.names[tensor],
        index=tuple(int(k) for k in np.unravel_index(element, gradient.shape)) if gradient.ndim else (),
        analytic=analytic,
        numerical=analytic + estimate.error / estimator.scales[tensor],
        bar=FLAG * estimate.bar / estimator.scales[tensor],
    )
