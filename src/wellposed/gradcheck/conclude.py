"""From the outcomes of the tensors to one `GradientCheck`: verdict, size of the error, worst element, cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, nan

import numpy as np

from .cause import Cause, Evidence, gather, name_cause
from .examine import Outcome, examine_all
from .localize import every_element, wrong_element
from .objective import Array, Objective
from .probe import Prober
from .result import GradientCheck, TensorCheck, Verdict, WorstElement

FEW_ELEMENTS = 256
"""Below this a failing check compares every element."""
NOISY = 1e4
"""Roundings of F by which repeated evaluations may differ and still be rounding, as of atomic additions."""
NUDGE = 1e-3
KINKS = 100.0
"""An error so many times the kink seen is not made by kinks."""
MOST_EXPLAINED = 6
"""Failing tensors whose cause is sought."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explained:
    """What is known of one failing tensor."""

    error_norm: float
    numerical_norm: float
    cause: Cause | None = None


def conclude(objective: Objective, *, seed: int) -> GradientCheck:
    """The whole check of one objective."""
    prober = Prober(objective, objective.points, objective.gradients, seed=seed)
    if prober.wander > NOISY * objective.roundoff * max(abs(prober.centre), 1e-300):
        return _unrepeatable(prober, seed=seed)
    outcomes = examine_all(prober, stop_at_kink=True)
    note = ""
    if any(o.kink for o in outcomes.values() if o.verdict != "pass"):
        prober, outcomes, note = _around_kink(prober, seed=seed)
    if _verdict(outcomes) == "fail":
        return _failed(prober, outcomes, note=note, seed=seed)
    return _not_failed(prober, outcomes, note=note, seed=seed)


def _verdict(outcomes: Mapping[int, Outcome]) -> Verdict:
    verdicts = {o.verdict for o in outcomes.values()}
    return "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"


def _around_kink(prober: Prober, *, seed: int) -> tuple[Prober, Mapping[int, Outcome], str]:
    """Check a little way off, or else here, with the doubt that a kink casts."""
    beside = _beside(prober, seed=seed)
    if beside is not None:
        outcomes = examine_all(beside)
        if _verdict(outcomes) != "inconclusive":
            return beside, outcomes, f"f has a kink at this point, so it was checked {NUDGE:.1%} beside it"
    outcomes = examine_all(prober)
    return prober, {i: _unsure(o) for i, o in outcomes.items()}, "f has a kink at this point"


def _unsure(outcome: Outcome) -> Outcome:
    """At a kink there is no derivative, so an accusation made there does not hold."""
    if outcome.verdict != "fail" or not outcome.kink or outcome.reading is None:
        return outcome
    if abs(outcome.reading.error) > KINKS * abs(outcome.reading.kink):
        return outcome
    return replace(outcome, verdict="inconclusive", resolution=max(outcome.resolution, 1.0))


def _beside(prober: Prober, *, seed: int) -> Prober | None:
    """The same check a little way off: where a kink lies exactly at the point there is no derivative to compare with."""
    rng = np.random.default_rng((seed, 1))
    moved = [
        p + NUDGE * s * rng.standard_normal(p.shape)
        for p, s in zip(prober.points, prober.scales, strict=True)
    ]
    moved = [prober.objective.quantized(i, p) for i, p in enumerate(moved)]
    gradients = prober.objective.gradients_at(moved)
    return None if gradients is None else Prober(prober.objective, moved, gradients, seed=seed)


def _unrepeatable(prober: Prober, *, seed: int) -> GradientCheck:
    names = prober.objective.names
    return GradientCheck(
        verdict="inconclusive",
        relative_error=nan,
        resolution=inf,
        cause=None,
        detail=f"f is not deterministic: repeated evaluations at the same point, from the same random state, lie {prober.wander:.2g} apart "
        f"(f is {prober.centre:.4g}); fix what they depend on",
        tensors=tuple(
            TensorCheck(name=n, verdict="inconclusive", error=nan, bar=inf, resolution=inf) for n in names
        ),
        worst=None,
        n_forward=prober.objective.n_forward,
        n_backward=prober.objective.n_backward,
        precision=prober.objective.precision,
        seed=seed,
    )


def _not_failed(prober: Prober, outcomes: Mapping[int, Outcome], *, note: str, seed: int) -> GradientCheck:
    tensors = tuple(_tensor(prober, i, outcomes[i]) for i in sorted(outcomes))
    resolution = max(t.resolution for t in tensors)
    verdict = _verdict(outcomes)
    errors = [t.error * prober.shares[i] for i, t in enumerate(tensors) if isfinite(t.error)]
    total = float(np.linalg.norm(prober.shares))
    detail = note
    if verdict == "inconclusive":
        unsure = max((t for t in tensors if t.verdict != "pass"), key=lambda t: t.resolution)
        detail = f"the gradient of {unsure.name} cannot be told to better than {unsure.resolution:.2g}, where 0.01 is needed"
        detail += f"; {note}" if note else ""
    return GradientCheck(
        verdict=verdict,
        relative_error=float(np.linalg.norm(errors)) / total if total else 0.0,
        resolution=resolution,
        cause=None,
        detail=detail,
        tensors=tensors,
        worst=None,
        n_forward=prober.objective.n_forward,
        n_backward=prober.objective.n_backward,
        precision=prober.objective.precision,
        seed=seed,
    )


def _tensor(prober: Prober, i: int, outcome: Outcome) -> TensorCheck:
    against = 2 * (prober.reference if outcome.zero else prober.shares[i] or prober.reference)
    return TensorCheck(
        name=prober.objective.names[i],
        verdict=outcome.verdict,
        error=outcome.error / against,
        bar=outcome.bar / against,
        resolution=outcome.resolution,
        flat=outcome.flat,
    )


def _failed(prober: Prober, outcomes: Mapping[int, Outcome], *, note: str, seed: int) -> GradientCheck:
    failing = [i for i in sorted(outcomes) if outcomes[i].verdict == "fail"]
    steps = {i: outcome.reading.step for i, outcome in outcomes.items() if outcome.reading}
    numerical = every_element(prober, steps) if sum(p.size for p in prober.points) <= FEW_ELEMENTS else None
    explained = {
        i: _explain(prober, i, outcomes[i], numerical, named=k < MOST_EXPLAINED)
        for k, i in enumerate(failing)
    }
    tensors = []
    for i in sorted(outcomes):
        check = _tensor(prober, i, outcomes[i])
        if i in explained:
            norm = float(np.linalg.norm(prober.gradients[i])) + explained[i].numerical_norm
            cause = explained[i].cause
            check = replace(
                check,
                error=min(explained[i].error_norm / (norm or 1.0), 1.0),
                cause=cause.name if cause else None,
            )
        tensors.append(check)
    worst_tensor = max(failing, key=lambda i: tensors[i].error)
    cause = _common_cause([explained[i].cause for i in failing[:MOST_EXPLAINED]])
    names = ", ".join(tensors[i].name for i in failing[:4]) + (
        f" and {len(failing) - 4} more" if len(failing) > 4 else ""
    )
    chosen = cause or explained[worst_tensor].cause
    parts = [f"wrong for {names}", chosen.detail if chosen else "", note]
    return GradientCheck(
        verdict="fail",
        relative_error=_ng(prober, explained, numerical),
        resolution=max(
            (t.resolution for t in tensors if t.verdict == "pass"), default=min(t.resolution for t in tensors)
        ),
        cause=cause.name if cause else None,
        detail="; ".join(p for p in parts if p),
        tensors=tuple(tensors),
        worst=_worst(prober, worst_tensor, outcomes[worst_tensor], numerical),
        n_forward=prober.objective.n_forward,
        n_backward=prober.objective.n_backward,
        precision=prober.objective.precision,
        seed=seed,
    )


def _explain(
    prober: Prober, i: int, outcome: Outcome, numerical: list[Array] | None, *, named: bool
) -> Explained:
    reading = outcome.reading
    evidence: Evidence = gather(prober, i)
    error_norm, numerical_norm = evidence.norms(prober.scales[i])
    if numerical is not None:
        error_norm = float(np.linalg.norm(numerical[i] - prober.gradients[i]))
        numerical_norm = float(np.linalg.norm(numerical[i]))
    step = reading.step if reading else prober.first_step
    cause = name_cause(prober, evidence, step=step) if named else None
    if cause and cause.ratio is not None and numerical is None:
        norm = float(np.linalg.norm(prober.gradients[i]))
        error_norm, numerical_norm = abs(cause.ratio - 1) * norm, abs(cause.ratio) * norm
    return Explained(error_norm=error_norm, numerical_norm=numerical_norm, cause=cause)


def _common_cause(causes: Sequence[Cause | None]) -> Cause | None:
    """The one cause that every failing tensor shares; two different ones are two bugs, and neither is the bug."""
    names = {c.name if c else None for c in causes}
    return causes[0] if len(names) == 1 else None


def _ng(prober: Prober, explained: Mapping[int, Explained], numerical: list[Array] | None) -> float:
    g = [float(np.linalg.norm(a)) for a in prober.gradients]
    if numerical is not None:
        n = [float(np.linalg.norm(a)) for a in numerical]
        e = [float(np.linalg.norm(a - b)) for a, b in zip(numerical, prober.gradients, strict=True)]
    else:
        n = [explained[i].numerical_norm if i in explained else g[i] for i in range(len(g))]
        e = [explained[i].error_norm if i in explained else 0.0 for i in range(len(g))]
    total = float(np.linalg.norm(g) + np.linalg.norm(n))
    return min(float(np.linalg.norm(e)) / total, 1.0) if total else 0.0  # a triangle: estimates may exceed it


def _worst(
    prober: Prober, tensor: int, outcome: Outcome, numerical: list[Array] | None
) -> WorstElement | None:
    gradient = prober.gradients[tensor]
    if numerical is not None:
        flat = int(np.argmax(np.abs(numerical[tensor] - gradient)))
        value = float(numerical[tensor].flat[flat])
    else:
        found = wrong_element(
            prober, tensor, step=outcome.reading.step if outcome.reading else prober.first_step
        )
        if found is None:
            return None
        flat = found[0]
        value = float(gradient.flat[flat]) + found[1].error / prober.scales[tensor]
    return WorstElement(
        name=prober.objective.names[tensor],
        index=tuple(int(k) for k in np.unravel_index(flat, gradient.shape)) if gradient.ndim else (),
        analytic=float(gradient.flat[flat]),
        numerical=value,
    )
