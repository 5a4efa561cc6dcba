"""From the outcome of each tensor to one `GradientCheck`: its verdict, resolution and reasons, and the explanation of a failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf, isfinite, isinf, nan
from typing import Any

import numpy as np

from ..errors import WellposedError
from .causes.another_point import AWAY, wrong_at_another_point
from .causes.evidence import estimate_element
from .causes.explain import explained
from .confirm import MISSED
from .directional_error import ErrorEstimator
from .error_estimate import FLAG, Adjustment, ErrorEstimate
from .noise import LOW_PRECISION
from .objective import Objective
from .quantisation import (
    BFLOAT16,
    FLOAT32,
    changes_at_long_steps,
    computes_in_float32,
    computes_in_half,
    jumps_at_point,
    wide_quantisation,
)
from .result import GradientCheck, Reason, ReasonCode, TensorCheck, Undefined, Verdict, WorstElement
from .tensor_verdicts import PATIENT, TensorOutcome, examine_all

NOISY = 1e4
"""Roundings by which repeated evaluations of F, or of its gradient, may differ and still be rounding, for example of atomic additions."""
ASIDE = (0.1, 0.01)
"""How far from a kink the check goes, relative to each tensor's own size; the second where F is not finite at the first."""
CLEARLY = 1e-2
"""Bar, relative to the error, below which quantisation cannot have made the error."""
ATTAINABLE = 0.5
"""Resolution that half precision mostly allows."""
SHOWN_ZEROS = 3
"""Names of tensors with a zero gradient that are listed."""
SHOWN_ELEMENTS = 3
"""Elements that are not finite which are listed."""
VANISHING = 1e-4
"""A slope below this part of the largest one is lost in the rounding of F beside the other tensors."""
EXCELLENT = 1e-7
"""A gradient is right, says Ng, when his number is below this."""

NO_SUBGRADIENT = "f has a kink at this point, and the gradient lies far from the slopes to both sides; a little way off it is right"
SETTLED = (
    "right once the state that forward updates has come to rest, and not before: f depends on the weights through that state too, which "
    "the gradient takes for a constant, as that of a spectral norm does; in eval mode this can be told"
)
INSIDE = "inside, f is computed in fewer digits than float64 has, so the steps are those of float32"
INSIDE_HALF = "inside, f is rounded to as few digits as float16 and bfloat16 have, so the steps are long, and tell no more than that"
CONSTANT = "f does not change at all around this point, and the gradient is zero"

Outcomes = Mapping[int, TensorOutcome]


def judge(objective: Objective, *, seed: int, resolution: float) -> GradientCheck:
    """The whole check of one objective; a pass needs `resolution`."""
    if objective.undefined:
        return _not_finite(objective, seed=seed, resolution=resolution)
    check = _judged(objective, seed=seed, resolution=resolution)
    if check.verdict == "fail" and (calm := objective.settled()) is not None:
        settled = _judged(calm, seed=seed, resolution=resolution, here_alone=True)
        if settled.verdict != "fail":
            check = _undecided(check, "hidden-state", SETTLED)
    if check.verdict == "fail" and (apart := objective.gradient_repeat_error()) > NOISY * objective.roundoff:
        text = f"the backward pass is not deterministic: with other random numbers its gradient lies {apart:.0%} off"
        check = _with(check, "random-backward", text)
    return _counted(check, objective)


def _counted(check: GradientCheck, objective: Objective) -> GradientCheck:
    remarks = (Reason(code="not-checked", text=text) for text in objective.remarks)
    return check.with_reasons(
        *check.reasons, *remarks, n_forward=objective.n_forward, n_backward=objective.n_backward
    )


def _with(check: GradientCheck, code: ReasonCode, text: str) -> GradientCheck:
    """The check with one more reason."""
    return check.with_reasons(*check.reasons, Reason(code=code, text=text))


def _not_finite(objective: Objective, *, seed: int, resolution: float) -> GradientCheck:
    """The check of a gradient that is NaN or infinite in places: it failed there, and the other tensors are judged as usual."""
    estimator = ErrorEstimator(objective, seed=seed)
    check = _summary(
        estimator, examine_all(estimator, resolution=resolution), note=None, resolution=resolution
    )
    return _counted(_failed_where_undefined(estimator, check), objective)


def _judged(objective: Objective, *, seed: int, resolution: float, here_alone: bool = False) -> GradientCheck:
    """The check at this point and, unless `here_alone`, whether the gradient is right at another one."""
    estimator = ErrorEstimator(objective, seed=seed)
    if objective.roundoff < LOW_PRECISION and computes_in_float32(estimator):
        with _coarser_rounding(objective, FLOAT32):
            check = _judged(objective, seed=seed, resolution=resolution, here_alone=here_alone)
        if check.verdict != "inconclusive":
            return _with(check, "quantised", INSIDE)
    if estimator.repeat_noise > NOISY * objective.roundoff * max(abs(estimator.centre), 1e-300):
        return _not_repeatable(estimator)
    outcomes = examine_all(estimator, resolution=resolution, stop_at_kink=True)
    if _verdict(outcomes) == "pass" and estimator.apply(_undetected_quantisation(estimator, outcomes)):
        outcomes = examine_all(estimator, resolution=resolution, stop_at_kink=True)
    if objective.roundoff <= FLOAT32 and not _is_clear(outcomes) and computes_in_half(estimator):
        return _in_half(objective, seed=seed, resolution=resolution, here_alone=here_alone)
    note: Reason | None = None
    if all(o.flat for o in outcomes.values()) and not any(estimator.norms):
        outcomes, note = _constant(estimator, outcomes)
    if any(o.kink for o in outcomes.values() if o.verdict != "pass"):
        estimator, outcomes, note = _around_kink(estimator, resolution=resolution)
    check = _explained(estimator, outcomes, note=note, resolution=resolution)
    if check.verdict != "pass" or here_alone:
        return check
    elsewhere = _at_another_point(estimator, resolution=resolution)
    return check if elsewhere is None else elsewhere


def _at_another_point(estimator: ErrorEstimator, *, resolution: float) -> GradientCheck | None:
    """The check at another point, for a gradient that is right here; None where it is right there too."""
    other = wrong_at_another_point(estimator, resolution=resolution)
    if other is None:
        return None
    note = Reason(code="other-point", text=f"right at this point, and wrong {AWAY:.0%} beside it")
    check = _explained(other.estimator, other.outcomes, note=note, resolution=resolution)
    if other.cause is None or check.verdict != "fail":
        return check
    return replace(_with(check, "cause", other.cause.detail), cause=other.cause.name)


def _is_clear(outcomes: Outcomes) -> bool:
    """Whether every tensor passed, or failed by an error far above its bar."""
    return all(
        o.verdict == "pass" or (o.verdict == "fail" and o.bar < CLEARLY * o.error) for o in outcomes.values()
    )


def _in_half(objective: Objective, *, seed: int, resolution: float, here_alone: bool) -> GradientCheck:
    """The check of an F that is rounded to half precision inside: as sharp as that allows, which may not be enough for a pass."""
    with _coarser_rounding(objective, BFLOAT16):
        check = _judged(objective, seed=seed, resolution=max(resolution, ATTAINABLE), here_alone=here_alone)
    if check.verdict == "pass" and check.resolution > resolution:
        needed = f"{_larger(check.resolution, resolution)}, where {resolution:g} is needed"
        check = _undecided(
            check, "unresolved", f"the gradient agrees, but cannot be told to better than {needed}"
        )
    return _with(check, "quantised", INSIDE_HALF)


@contextmanager
def _coarser_rounding(objective: Objective, roundoff: float) -> Iterator[None]:
    """The objective with a coarser declared rounding, so that the steps suit what F computes in inside."""
    own, objective.roundoff = objective.roundoff, roundoff
    try:
        yield
    finally:
        objective.roundoff = own


def _undetected_quantisation(estimator: ErrorEstimator, outcomes: Outcomes) -> Adjustment:
    """Whether F is quantised so coarsely that the short steps of float64 stayed within one level."""
    error = max(o.bar + o.error for o in outcomes.values())
    if estimator.objective.roundoff < LOW_PRECISION and isfinite(error):
        return wide_quantisation(estimator, error)
    return Adjustment()


def _constant(estimator: ErrorEstimator, outcomes: Outcomes) -> tuple[Outcomes, Reason]:
    """For an F that does not change at all and a gradient of zero: low precision may have lost a derivative that is not zero."""
    if estimator.objective.roundoff > LOW_PRECISION and changes_at_long_steps(estimator):
        text = CONSTANT + ", though it does further off"
        return {i: _doubted(o) for i, o in outcomes.items()}, Reason(code="constant", text=text)
    return outcomes, Reason(code="constant", text=CONSTANT)


def _explained(
    estimator: ErrorEstimator, outcomes: Outcomes, *, note: Reason | None, resolution: float
) -> GradientCheck:
    """The check, with the cause of a failure."""
    check = _summary(estimator, outcomes, note=note, resolution=resolution)
    if check.verdict != "fail":
        return check
    return _without_negligible(explained(estimator, outcomes, check), resolution)


def _without_negligible(check: GradientCheck, resolution: float) -> GradientCheck:
    """Errors below Ng's threshold, for example of a constant that is stored in float32, are mentioned and fail nothing."""
    wrong = [t.error for t in check.tensors if t.verdict == "fail"]
    if any(error >= EXCELLENT for error in wrong) or 2 * max(wrong) > resolution:
        return check
    text = f"off by a relative {2 * max(wrong):.1g}, too little to matter: is a constant stored in float32?"
    undecided = any(t.verdict == "inconclusive" for t in check.tensors)
    return _without_failures(
        check, "pass", Reason(code="negligible", text=text), verdict="inconclusive" if undecided else "pass"
    )


def _undecided(check: GradientCheck, code: ReasonCode, text: str) -> GradientCheck:
    """A failed or passed check that says neither after all."""
    return _without_failures(check, "inconclusive", Reason(code=code, text=text), verdict="inconclusive")


def _without_failures(
    check: GradientCheck, instead: Verdict, reason: Reason, *, verdict: Verdict
) -> GradientCheck:
    """The check with another verdict in place of each failed tensor's."""
    tensors = tuple(
        replace(t, verdict=instead, cause=None, resolution=max(t.resolution, 2 * t.error))
        if t.verdict == "fail"
        else t
        for t in check.tensors
    )
    return check.with_reasons(
        reason,
        verdict=verdict,
        tensors=tensors,
        resolution=max(t.resolution for t in tensors),
        cause=None,
        where="",
        worst=None,
    )


def _verdict(outcomes: Outcomes) -> Verdict:
    verdicts = {o.verdict for o in outcomes.values()}
    return "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"


def _around_kink(estimator: ErrorEstimator, *, resolution: float) -> tuple[ErrorEstimator, Outcomes, Reason]:
    """Check well away from the kink; where that is not possible, here, and with doubt.

    Exactly at a kink or a jump there is no derivative to compare with. A wrong formula is as wrong beside it. The distance must be long
    against the steps of the differences, so that kinks of many units, such as ties, are all left behind.
    """
    # Other magnitudes than those of a random direction, which has few, so that ties are broken.
    direction = estimator.same_signs(estimator.new_direction(estimator.all_tensors))
    for distance in ASIDE:
        try:
            moved = estimator.objective.moved(direction, distance)
        except WellposedError:  # not finite there
            continue
        if moved is None:
            break
        beside = ErrorEstimator(moved, seed=estimator.seed)
        outcomes = examine_all(beside, resolution=resolution)
        if _verdict(outcomes) == "pass" and _no_subgradient(estimator):
            return (
                estimator,
                {i: _doubted(o) for i, o in outcomes.items()},
                Reason(code="kink", text=NO_SUBGRADIENT),
            )
        if _verdict(outcomes) != "inconclusive":
            return beside, outcomes, _kink(estimator, f", so it was checked {distance:.0%} beside it")
        break
    outcomes = examine_all(estimator, resolution=resolution)
    return estimator, {i: _unsure(o) for i, o in outcomes.items()}, _kink(estimator, "")


def _kink(estimator: ErrorEstimator, consequence: str) -> Reason:
    """That there is a kink, or a jump, at the point."""
    if jumps_at_point(estimator):
        return Reason(code="jump", text=f"f jumps at this point{consequence}")
    return Reason(code="kink", text=f"f has a kink at this point{consequence}")


def _no_subgradient(estimator: ErrorEstimator) -> bool:
    """Whether the gradient at a kink lies outside of the slopes to both sides.

    A subgradient differs from the mean slope by at most half of the jump of the slopes, which is what the even residual shows.
    """
    step = estimator.good_step or estimator.first_step
    estimates: list[ErrorEstimate] = []
    for _ in range(2):  # a second dozen to confirm: by chance one in a hundred says so
        estimates += [
            estimator.estimate_from_two_steps(estimator.new_direction(estimator.all_tensors), step)
            for _ in range(PATIENT)
        ]
        allowed = [max(abs(e.kink), e.noise_bar) for e in estimates]
        if float(np.linalg.norm([e.error for e in estimates])) <= FLAG * float(np.linalg.norm(allowed)):
            return False
    return True


def _doubted(outcome: TensorOutcome) -> TensorOutcome:
    return replace(outcome, verdict="inconclusive", resolution=max(outcome.resolution, 1.0))


def _unsure(outcome: TensorOutcome) -> TensorOutcome:
    """At a kink there is no derivative, so a failure there is not certain."""
    if outcome.verdict != "fail" or not outcome.kink:
        return outcome
    return _doubted(outcome)


def _not_repeatable(estimator: ErrorEstimator) -> GradientCheck:
    objective = estimator.objective
    text = (
        f"f is not deterministic: repeated evaluations at the same point, from the same random state, lie {estimator.repeat_noise:.2g} apart "
        f"(f is {estimator.centre:.4g}); fix what they depend on"
    )
    tensors = tuple(
        TensorCheck(name=n, verdict="inconclusive", error=nan, bar=inf, resolution=inf)
        for n in objective.names
    )
    return _check(
        estimator,
        Reason(code="random-function", text=text),
        verdict="inconclusive",
        relative_error=nan,
        resolution=inf,
        tensors=tensors,
    )


def _check(estimator: ErrorEstimator, *reasons: Reason, **fields: Any) -> GradientCheck:
    """A check without cause or worst element."""
    objective = estimator.objective
    check = GradientCheck(
        cause=None,
        detail="",
        worst=None,
        n_forward=objective.n_forward,
        n_backward=objective.n_backward,
        precision=objective.precision,
        seed=estimator.seed,
        confidence=1 - MISSED,
        **fields,
    )
    return check.with_reasons(*reasons)


def _summary(
    estimator: ErrorEstimator, outcomes: Outcomes, *, note: Reason | None, resolution: float
) -> GradientCheck:
    """The check without the explanation of a failure."""
    tensors = tuple(_tensor(estimator, i, outcomes[i]) for i in sorted(outcomes))
    verdict = _verdict(outcomes)
    errors = [t.error * estimator.tensor_slopes[i] for i, t in enumerate(tensors) if isfinite(t.error)]
    total = float(np.linalg.norm(estimator.tensor_slopes))
    reasons = [note] if note else []
    if verdict == "inconclusive":
        reasons = [_unresolved(estimator, tensors, resolution), *reasons]
    elif text := _zeros(outcomes, tensors):
        reasons.append(Reason(code="zero-gradients", text=text))
    passed = [t.resolution for t in tensors if t.verdict == "pass"]
    return _check(
        estimator,
        *reasons,
        verdict=verdict,
        relative_error=float(np.linalg.norm(errors)) / total if total else 0.0,
        resolution=max(passed, default=min(t.resolution for t in tensors))
        if verdict == "fail"
        else max(t.resolution for t in tensors),
        tensors=tensors,
    )


def _unresolved(estimator: ErrorEstimator, tensors: Sequence[TensorCheck], resolution: float) -> Reason:
    """Which tensor is resolved worst, and why."""
    i, unsure = max(
        ((i, t) for i, t in enumerate(tensors) if t.verdict != "pass"), key=lambda pair: pair[1].resolution
    )
    if isinf(unsure.resolution) and estimator.differences.output_change:
        return Reason(code="outputs-change", text=estimator.differences.output_change)
    if isinf(unsure.resolution):
        text = (
            f"f raises or is not finite where {unsure.name} is moved a little to either side; "
            f"is {unsure.name} a constant? then let only the others require a gradient"
        )
        return Reason(code="unresolved", text=text)
    text = f"the gradient of {unsure.name} cannot be told to better than {_larger(unsure.resolution, resolution)}, where {resolution:g} is needed"
    if 0 < estimator.tensor_slopes[i] < VANISHING * estimator.largest_slope:
        part = estimator.tensor_slopes[i] / estimator.largest_slope
        text += f"; moving it changes f by {part:.1g} of what the tensor with the largest gradient does, and f's own rounding is in the way"
    return Reason(code="unresolved", text=text)


def _larger(value: float, limit: float) -> str:
    """A number that lies above a limit, in as few digits as show that it does."""
    texts = (f"{value:.{digits}g}" for digits in range(2, 17))
    return next((t for t in texts if float(t) > limit), f"{value:.2g}")


def _zeros(outcomes: Outcomes, tensors: Sequence[TensorCheck]) -> str:
    """Which claimed gradients are zero beside others that are not, and how large a true one could have been without showing."""
    zeros = [i for i, o in outcomes.items() if o.zero and o.verdict == "pass"]
    if not zeros or len(zeros) == len(tensors):
        return ""
    names = ", ".join(tensors[i].name for i in zeros[:SHOWN_ZEROS])
    more = f" and of {len(zeros) - SHOWN_ZEROS} more" if len(zeros) > SHOWN_ZEROS else ""
    size = max(tensors[i].resolution for i in zeros)
    return f"the gradient of {names}{more} is zero, as far as one above {size:.1g} of the largest would have been seen"


def _tensor(estimator: ErrorEstimator, i: int, outcome: TensorOutcome) -> TensorCheck:
    against = 2 * (
        estimator.largest_slope if outcome.zero else estimator.tensor_slopes[i] or estimator.largest_slope
    )
    return TensorCheck(
        name=estimator.objective.names[i],
        verdict=outcome.verdict,
        error=outcome.error / against,
        bar=outcome.bar / against,
        resolution=outcome.resolution,
        flat=outcome.flat,
    )


def _failed_where_undefined(estimator: ErrorEstimator, check: GradientCheck) -> GradientCheck:
    """The check that took the elements that are not finite for zeros, with the failure that they are."""
    undefined = estimator.objective.undefined
    wrong = {u.tensor for u in undefined}
    tensors = tuple(
        replace(t, verdict="fail", error=1.0, bar=0.0, cause="not-finite") if i in wrong else t
        for i, t in enumerate(check.tensors)
    )
    elements = [
        _element(estimator, u, k) for u in undefined for k in range(min(u.elements.size, SHOWN_ELEMENTS))
    ]
    count = sum(u.elements.size for u in undefined)
    listed = ", ".join(map(_in_words, elements[:SHOWN_ELEMENTS])) + (
        ", ..." if count > SHOWN_ELEMENTS else ""
    )
    others = [t.name for t in tensors if t.verdict == "fail" and t.cause != "not-finite"]
    text = f"not finite in {count} element{'s' if count > 1 else ''}, where f is finite: {listed}"
    text += f"; wrong for {', '.join(others)} too" if others else ""
    return check.with_reasons(
        Reason(code="not-finite", text=text),
        verdict="fail",
        relative_error=1.0,
        cause=None if others else "not-finite",
        tensors=tensors,
        where=elements[0].place,
        worst=elements[0],
    )


def _element(estimator: ErrorEstimator, undefined: Undefined, k: int) -> WorstElement:
    objective, tensor, element = estimator.objective, undefined.tensor, int(undefined.elements[k])
    shape, scale = objective.shapes[tensor], estimator.scales[tensor]
    estimate = estimate_element(estimator, tensor, element)
    return WorstElement(
        name=objective.names[tensor],
        index=tuple(int(n) for n in np.unravel_index(element, shape)) if shape else (),
        analytic=float(undefined.values[k]),
        numerical=estimate.error / scale if isfinite(estimate.bar) else nan,
        bar=FLAG * estimate.bar / scale,
    )


def _in_words(element: WorstElement) -> str:
    derivative = "its numerical derivative cannot be told"
    if isfinite(element.numerical):
        derivative = f"its numerical derivative is {element.numerical:.4g} ± {element.bar:.1g}"
    return f"{element.analytic:g} at {element.place} ({derivative})"
