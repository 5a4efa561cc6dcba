"""From the outcomes of the tensors to one `GradientCheck`: verdict, resolution, and the failure where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import inf, isfinite, isinf, nan

import numpy as np

from ..errors import WellposedError
from .causes.another_point import AWAY, wrong_at_another_point
from .causes.evidence import estimate_element
from .causes.explain import explained
from .confirm import MISSED
from .directional_error import ErrorEstimator
from .error_estimate import FLAG, ErrorEstimate
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
from .result import GradientCheck, TensorCheck, Undefined, Verdict, WorstElement
from .tensor_verdicts import PATIENT, TensorOutcome, examine_all

NOISY = 1e4
"""Roundings by which repeated evaluations of F, or of its gradient, may differ and still be rounding, as of atomic additions."""
ASIDE = (0.1, 0.01)
"""How far from a kink the check goes, relative to each tensor's own size; the second where F is not finite at the first."""
NO_SUBGRADIENT = "f has a kink at this point, and the gradient lies far from the slopes to both sides; a little way off it is right"
SETTLED = (
    "right once the state that forward updates has come to rest, and not before: f depends on the weights through that state too, which "
    "the gradient takes for a constant, as that of a spectral norm does; in eval mode this can be told"
)
INSIDE = "inside, f is computed in fewer digits than float64 has, so the steps are those of float32"
CLEARLY = 1e-2
"""Bar, as a part of the error, below which nothing coarse can be in the way."""
ATTAINABLE = 0.5
"""Resolution that half precision allows mostly."""
INSIDE_HALF = "inside, f is rounded to as few digits as float16 and bfloat16 have, so the steps are long, and tell no more than that"
FLAT = "f does not change at all around this point, and the gradient is zero"
SHOWN_ZEROS = 3
"""Names of tensors without a gradient that are told."""
VANISHING = 1e-4
"""Part of the largest share below which a tensor is too small to be told because of the others, and not by itself."""
EXCELLENT = 1e-7
"""Ng's number below which he calls a gradient right."""


def judge(objective: Objective, *, seed: int, resolution: float) -> GradientCheck:
    """The whole check of one objective; a pass needs `resolution`."""
    if objective.undefined:
        return _not_finite(objective, seed=seed, resolution=resolution)
    check = _judged(objective, seed=seed, resolution=resolution)
    if check.verdict == "fail" and (calm := objective.settled()) is not None:
        settled = _judged(calm, seed=seed, resolution=resolution, here_alone=True)
        if settled.verdict != "fail":
            check = _undecided(check, SETTLED)
    if check.verdict == "fail" and (apart := objective.gradient_repeat_error()) > NOISY * objective.roundoff:
        drawn = f"the backward pass is not deterministic: with other random numbers its gradient lies {apart:.0%} off"
        check = replace(check, detail="; ".join(filter(None, (check.detail, drawn))))
    return _counted(check, objective)


def _counted(check: GradientCheck, objective: Objective) -> GradientCheck:
    return replace(
        check,
        detail="; ".join(filter(None, (check.detail, *objective.remarks))),
        n_forward=objective.n_forward,
        n_backward=objective.n_backward,
    )


def _not_finite(objective: Objective, *, seed: int, resolution: float) -> GradientCheck:
    """The check of a gradient that is NaN or infinite in places: it failed there, and the rest is judged as ever."""
    estimator = ErrorEstimator(objective, seed=seed)
    check = _summary(estimator, examine_all(estimator, resolution=resolution), note="", resolution=resolution)
    return _counted(failed_where_undefined(estimator, check), objective)


def _judged(objective: Objective, *, seed: int, resolution: float, here_alone: bool = False) -> GradientCheck:
    """`here_alone`: what has come to rest here has not elsewhere."""
    estimator = ErrorEstimator(objective, seed=seed)
    if objective.roundoff < LOW_PRECISION and computes_in_float32(estimator):
        with _rounding(objective, FLOAT32):
            check = _judged(objective, seed=seed, resolution=resolution, here_alone=here_alone)
        if check.verdict != "inconclusive":
            return replace(check, detail="; ".join(filter(None, (check.detail, INSIDE))))
    if estimator.repeat_noise > NOISY * objective.roundoff * max(abs(estimator.centre), 1e-300):
        return _unrepeatable(estimator)
    outcomes = examine_all(estimator, resolution=resolution, stop_at_kink=True)
    if _verdict(outcomes) == "pass" and _has_wide_quantisation(estimator, outcomes):
        outcomes = examine_all(estimator, resolution=resolution, stop_at_kink=True)
    if objective.roundoff <= FLOAT32 and not _is_clear(outcomes) and computes_in_half(estimator):
        return _in_half(objective, seed=seed, resolution=resolution, here_alone=here_alone)
    note = ""
    if all(o.flat for o in outcomes.values()) and not any(estimator.norms):
        outcomes, note = _flat(estimator, outcomes)
    if any(o.kink for o in outcomes.values() if o.verdict != "pass"):
        estimator, outcomes, note = _around_kink(estimator, resolution=resolution)
    check = _explained(estimator, outcomes, note=note, resolution=resolution)
    looks_elsewhere = check.verdict == "pass" and not here_alone
    beside = wrong_at_another_point(estimator, resolution=resolution) if looks_elsewhere else None
    if beside is None:
        return check
    note = f"right at this point, and wrong {AWAY:.0%} beside it"
    check = _explained(beside.estimator, beside.outcomes, note=note, resolution=resolution)
    if beside.cause is None or check.verdict != "fail":
        return check
    return replace(check, cause=beside.cause.name, detail=f"{check.detail}; {beside.cause.detail}")


def _is_clear(outcomes: Mapping[int, TensorOutcome]) -> bool:
    """Whether every tensor passed, or failed by an error that stands far above its bar."""
    return all(
        o.verdict == "pass" or (o.verdict == "fail" and o.bar < CLEARLY * o.error) for o in outcomes.values()
    )


def _in_half(objective: Objective, *, seed: int, resolution: float, here_alone: bool) -> GradientCheck:
    """The check of what is rounded to half precision inside: as well as that can be told, which a pass may not be enough for."""
    with _rounding(objective, BFLOAT16):
        check = _judged(objective, seed=seed, resolution=max(resolution, ATTAINABLE), here_alone=here_alone)
    if check.verdict == "pass" and check.resolution > resolution:
        needed = f"{_larger(check.resolution, resolution)}, where {resolution:g} is needed"
        check = _undecided(check, f"the gradient agrees, but cannot be told to better than {needed}")
    return replace(check, detail="; ".join(filter(None, (check.detail, INSIDE_HALF))))


@contextmanager
def _rounding(objective: Objective, roundoff: float) -> Iterator[None]:
    """The objective with a coarser rounding, whose steps suit what is computed in it inside."""
    own, objective.roundoff = objective.roundoff, roundoff
    try:
        yield
    finally:
        objective.roundoff = own


def _has_wide_quantisation(estimator: ErrorEstimator, outcomes: Mapping[int, TensorOutcome]) -> bool:
    """Whether F is a staircase of float32 somewhere inside, so that the short steps of float64 stood on one stair; its noise is known then."""
    seen = max(o.bar + o.error for o in outcomes.values())
    fine = estimator.objective.roundoff < LOW_PRECISION
    return fine and isfinite(seen) and estimator.apply(wide_quantisation(estimator, seen))


def _flat(
    estimator: ErrorEstimator, outcomes: Mapping[int, TensorOutcome]
) -> tuple[Mapping[int, TensorOutcome], str]:
    """Of an F that does not change at all and a gradient of zero: coarse arithmetic may have lost a derivative that is not."""
    if estimator.objective.roundoff > LOW_PRECISION and changes_at_long_steps(estimator):
        return {i: _doubted(o) for i, o in outcomes.items()}, FLAT + ", though it does further off"
    return outcomes, FLAT


def _explained(
    estimator: ErrorEstimator, outcomes: Mapping[int, TensorOutcome], *, note: str, resolution: float
) -> GradientCheck:
    check = _summary(estimator, outcomes, note=note, resolution=resolution)
    return (
        _without_trifles(explained(estimator, outcomes, check), resolution)
        if check.verdict == "fail"
        else check
    )


def _without_trifles(check: GradientCheck, resolution: float) -> GradientCheck:
    """Errors that Ng's number calls none, as of a constant that is stored in float32, are told and fail nothing."""
    if any(t.verdict == "fail" and t.error >= EXCELLENT for t in check.tensors):
        return check
    worst = max(t.error for t in check.tensors if t.verdict == "fail")
    if 2 * worst > resolution:
        return check
    tensors = tuple(
        replace(t, verdict="pass", cause=None, resolution=max(t.resolution, 2 * t.error))
        if t.verdict == "fail"
        else t
        for t in check.tensors
    )
    return replace(
        check,
        verdict="inconclusive" if any(t.verdict == "inconclusive" for t in tensors) else "pass",
        tensors=tensors,
        resolution=max(t.resolution for t in tensors),
        detail=f"off by a relative {2 * worst:.1g}, too little to matter: is a constant stored in float32?",
        cause=None,
        where="",
        worst=None,
    )


def _undecided(check: GradientCheck, why: str) -> GradientCheck:
    """A failing check that is none after all, and no pass either."""
    tensors = tuple(
        replace(t, verdict="inconclusive", cause=None, resolution=max(t.resolution, 2 * t.error))
        if t.verdict == "fail"
        else t
        for t in check.tensors
    )
    resolution = max(t.resolution for t in tensors)
    return replace(
        check,
        verdict="inconclusive",
        tensors=tensors,
        resolution=resolution,
        detail=why,
        cause=None,
        where="",
        worst=None,
    )


def _verdict(outcomes: Mapping[int, TensorOutcome]) -> Verdict:
    verdicts = {o.verdict for o in outcomes.values()}
    return "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"


def _around_kink(
    estimator: ErrorEstimator, *, resolution: float
) -> tuple[ErrorEstimator, Mapping[int, TensorOutcome], str]:
    """Check a good way off, or else here, with the doubt that a kink casts.

    Where a kink or a jump lies exactly at the point there is no derivative to compare with, and ties of many units are left behind only by a
    step that is long against those of the differences. A wrong formula is as wrong there.
    """
    # Few magnitudes would leave some of the ties.
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
            return estimator, {i: _doubted(o) for i, o in outcomes.items()}, NO_SUBGRADIENT
        if _verdict(outcomes) != "inconclusive":
            return (
                beside,
                outcomes,
                f"{_what_breaks(estimator)} at this point, so it was checked {distance:.0%} beside it",
            )
        break
    outcomes = examine_all(estimator, resolution=resolution)
    return estimator, {i: _unsure(o) for i, o in outcomes.items()}, f"{_what_breaks(estimator)} at this point"


def _what_breaks(estimator: ErrorEstimator) -> str:
    return "f jumps" if jumps_at_point(estimator) else "f has a kink"


def _no_subgradient(estimator: ErrorEstimator) -> bool:
    """Whether the gradient at a kink is none of those between the slopes to both sides.

    Such a one differs from the mean slope by at most half of the jump, which is what the even part of the differences shows.
    """
    step = estimator.good_step or estimator.first_step
    seen: list[ErrorEstimate] = []
    for _ in range(2):  # a second dozen where the first one says so: by chance one in a hundred does
        seen += [
            estimator.estimate_from_two_steps(estimator.new_direction(estimator.all_tensors), step)
            for _ in range(PATIENT)
        ]
        allowed = [max(abs(r.kink), r.noise_bar) for r in seen]
        if float(np.linalg.norm([r.error for r in seen])) <= FLAG * float(np.linalg.norm(allowed)):
            return False
    return True


def _doubted(outcome: TensorOutcome) -> TensorOutcome:
    return replace(outcome, verdict="inconclusive", resolution=max(outcome.resolution, 1.0))


def _unsure(outcome: TensorOutcome) -> TensorOutcome:
    """At a kink there is no derivative, so an accusation made there does not hold."""
    if outcome.verdict != "fail" or not outcome.kink:
        return outcome
    return _doubted(outcome)


def _unrepeatable(estimator: ErrorEstimator) -> GradientCheck:
    objective = estimator.objective
    return GradientCheck(
        verdict="inconclusive",
        relative_error=nan,
        resolution=inf,
        cause=None,
        detail=f"f is not deterministic: repeated evaluations at the same point, from the same random state, lie {estimator.repeat_noise:.2g} apart "
        f"(f is {estimator.centre:.4g}); fix what they depend on",
        tensors=tuple(
            TensorCheck(name=n, verdict="inconclusive", error=nan, bar=inf, resolution=inf)
            for n in objective.names
        ),
        worst=None,
        n_forward=objective.n_forward,
        n_backward=objective.n_backward,
        precision=objective.precision,
        seed=estimator.seed,
        confidence=1 - MISSED,
    )


def _summary(
    estimator: ErrorEstimator, outcomes: Mapping[int, TensorOutcome], *, note: str, resolution: float
) -> GradientCheck:
    """The check without the explanation of a failure."""
    objective = estimator.objective
    tensors = tuple(_tensor(estimator, i, outcomes[i]) for i in sorted(outcomes))
    verdict = _verdict(outcomes)
    errors = [t.error * estimator.tensor_slopes[i] for i, t in enumerate(tensors) if isfinite(t.error)]
    total = float(np.linalg.norm(estimator.tensor_slopes))
    detail = note
    if verdict == "inconclusive":
        i, unsure = max(
            ((i, t) for i, t in enumerate(tensors) if t.verdict != "pass"),
            key=lambda pair: pair[1].resolution,
        )
        detail = f"the gradient of {unsure.name} cannot be told to better than {_larger(unsure.resolution, resolution)}, where {resolution:g} is needed"
        if isinf(unsure.resolution):
            detail = estimator.differences.output_change or (
                f"f raises or is not finite where {unsure.name} is moved a little to either side; "
                f"is {unsure.name} a constant? then let only the others require a gradient"
            )
        elif 0 < estimator.tensor_slopes[i] < VANISHING * estimator.largest_slope:
            part = estimator.tensor_slopes[i] / estimator.largest_slope
            detail += f"; moving it changes f by {part:.1g} of what the tensor with the largest gradient does, and f's own rounding is in the way"
        detail += f"; {note}" if note else ""
    elif told := _zeros(outcomes, tensors):
        detail = "; ".join(filter(None, (detail, told)))
    passed = [t.resolution for t in tensors if t.verdict == "pass"]
    return GradientCheck(
        verdict=verdict,
        relative_error=float(np.linalg.norm(errors)) / total if total else 0.0,
        resolution=max(passed, default=min(t.resolution for t in tensors))
        if verdict == "fail"
        else max(t.resolution for t in tensors),
        cause=None,
        detail=detail,
        tensors=tensors,
        worst=None,
        n_forward=objective.n_forward,
        n_backward=objective.n_backward,
        precision=objective.precision,
        seed=estimator.seed,
        confidence=1 - MISSED,
    )


def _larger(value: float, limit: float) -> str:
    """A number that lies above a limit, in as few digits as show that it does."""
    texts = (f"{value:.{digits}g}" for digits in range(2, 17))
    return next((t for t in texts if float(t) > limit), f"{value:.2g}")


def _zeros(outcomes: Mapping[int, TensorOutcome], tensors: Sequence[TensorCheck]) -> str:
    """Which claimed gradients are zero beside others that are not, and how small one would have been missed."""
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


CAUSE = "not-finite"
SHOWN = 3
"""Elements that are told."""


def failed_where_undefined(estimator: ErrorEstimator, check: GradientCheck) -> GradientCheck:
    """The check of a gradient whose undefined elements were taken for zeros, with the failure that they are."""
    undefined = estimator.objective.undefined
    guilty = {u.tensor for u in undefined}
    tensors = tuple(
        replace(t, verdict="fail", error=1.0, bar=0.0, cause=CAUSE) if i in guilty else t
        for i, t in enumerate(check.tensors)
    )
    elements = [_element(estimator, u, k) for u in undefined for k in range(min(u.elements.size, SHOWN))]
    count = sum(u.elements.size for u in undefined)
    told = ", ".join(map(_told, elements[:SHOWN])) + (", ..." if count > SHOWN else "")
    others = [t.name for t in tensors if t.verdict == "fail" and t.cause != CAUSE]
    wrong = f"; wrong for {', '.join(others)} too" if others else ""
    return replace(
        check,
        verdict="fail",
        relative_error=1.0,
        cause=None if others else CAUSE,
        detail=f"not finite in {count} element{'s' if count > 1 else ''}, where f is finite: {told}{wrong}",
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


def _told(element: WorstElement) -> str:
    derivative = "its numerical derivative cannot be told"
    if isfinite(element.numerical):
        derivative = f"its numerical derivative is {element.numerical:.4g} ± {element.bar:.1g}"
    return f"{element.analytic:g} at {element.place} ({derivative})"
