"""WP505 and WP60x: what the optimizer does to the weights, judged by what an intervention on a copy changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from statistics import mean
from statistics import median as _median

from ..limits import Limits
from ..report import Severity
from ..signals.result import TrainingChange, TrainingOutcome, TrainingProfile
from .signals import steps_to_move
from .table import NO_OPTIMIZER, Defect, Judgement, NoVerdict

_SMOOTHED = 5  # steps over which a loss is averaged, so that one batch tells little


def target_scale(profile: TrainingProfile, limits: Limits) -> Iterator[Judgement]:
    tried = [
        i.outcome
        for i in profile.under(TrainingChange.STANDARDISED_TARGETS, TrainingChange.STANDARDISED_BOTH)
    ]
    if not profile.constant_loss:
        yield NoVerdict(reason="no constant prediction to compare with")
        return
    blown = diverged(profile.outcome, profile.constant_loss)
    if tried and not blown and _stands_far_off(profile, limits):
        yield _far_targets(profile, limits)
        return
    cured = [o.end / profile.constant_loss for o in tried if math.isfinite(o.end)]
    scaled, raw = min(cured, default=math.inf), profile.outcome.end / profile.constant_loss
    if scaled > limits.learned_share:
        return
    if blown or (raw > limits.target_gain * max(scaled, 0.05) and raw > limits.unlearned_share):
        yield Defect(
            where="targets",
            summary=f"after {profile.steps} steps the loss is {_share(raw)}; with standardised targets {scaled:.3g} of it",
            quantity="held-out loss over that of a constant prediction",
            measured=raw,
            limit=limits.target_gain * scaled,
            why="outputs start near 0 with unit scale: steps suited to the weights are too large or too small for targets of this size",
            fix="standardise the targets with their training mean and std, and undo it on the predictions",
            confidence="confirmed",
            severity=None if blown else Severity.WARNING,
        )


def scrambled_axes(profile: TrainingProfile, limits: Limits) -> Iterator[Judgement]:
    axes = profile.regrouped
    if axes is None:
        if profile.views:
            yield NoVerdict(
                reason="a view regroups numbers, and axes exchanged in its place were not tried in this budget"
            )
        return
    if not all(map(math.isfinite, (*axes.ends, *axes.exchanged))):
        yield NoVerdict(
            reason="the steps do not stay finite, with a view or with axes exchanged in its place"
        )
        return
    better = _clearly_below(axes.exchanged, axes.ends, profile, limits)
    if not better and _clearly_below(axes.ends, axes.exchanged, profile, limits):
        return  # numbers lie in memory in another order than their shape said
    now, then = mean(axes.ends), mean(axes.exchanged)
    yield Defect(
        where=axes.where,
        summary=f"a view makes {_shape(axes.before)} into {_shape(axes.after)}; with axes exchanged instead, the loss after {profile.steps} steps is {then:.3g} rather than {now:.3g}",
        quantity="held-out loss after the steps",
        measured=now,
        limit=then,
        why="view and reshape keep numbers in the order in which they lie in memory: entries of other rows, channels or positions stand side by side",
        fix="use permute or transpose to exchange axes, and view before it only to split or merge neighbouring ones",
        confidence="confirmed" if better else "measured",
        severity=None if better else Severity.NOTE,
    )


def _clearly_below(
    ones: Iterable[float], others: Iterable[float], profile: TrainingProfile, limits: Limits
) -> bool:
    """Whether the worst of some losses lies below the best of others by more than these scatter, and a share of the start."""
    worst, best = max(ones), min(others)
    scatter = max(others) - best
    return best - worst > scatter + limits.axes_gain * abs(profile.outcome.start)


def _shape(sizes: tuple[int, ...]) -> str:
    return f"(N, {', '.join(map(str, sizes[1:]))})"


def _closed_share(profile: TrainingProfile) -> float:
    """Share of the distance from the start to a constant prediction that the steps close on the targets as they are."""
    gap = profile.outcome.start - (profile.constant_loss or 0.0)
    return (profile.outcome.start - profile.outcome.end) / gap if gap > 0 else math.nan


def _stands_far_off(profile: TrainingProfile, limits: Limits) -> bool:
    """Whether the weights move, and yet the outputs hardly come nearer to targets that are far away."""
    moved = [u.movement for u in profile.updates if u.dimensions >= 2 and math.isfinite(u.movement)]
    far = profile.outcome.start > limits.far_start * (profile.constant_loss or 0.0)
    return (
        far
        and max(moved, default=0.0) > limits.small_movement
        and abs(_closed_share(profile)) < limits.closed_share
    )


def _far_targets(profile: TrainingProfile, limits: Limits) -> Defect:
    closed = _closed_share(profile)
    return Defect(
        where="targets",
        summary=f"{profile.steps} steps close {closed:.1e} of the distance to a constant prediction (limit {limits.closed_share:g}): the loss goes from {profile.outcome.start:.4g} to {profile.outcome.end:.4g}, a constant has {profile.constant_loss:.4g}",
        quantity="share of the distance from the start to a constant prediction",
        measured=closed,
        limit=limits.closed_share,
        why=f"outputs start near 0 with unit scale: at this pace they reach the targets after some {profile.steps / max(closed, 1e-12):.0e} steps",
        fix="standardise the targets with their training mean and std, and undo it on the predictions",
        severity=Severity.WARNING,
    )


def _no_verdict_on_the_rate(profile: TrainingProfile) -> NoVerdict | None:
    if not profile.given:
        return NO_OPTIMIZER
    return NoVerdict(reason="a schedule is in its warm-up") if profile.warming_up else None


def update_too_large(profile: TrainingProfile, limits: Limits) -> Iterator[Judgement]:
    unclear = _no_verdict_on_the_rate(profile)
    if unclear is not None:
        yield unclear
        return
    base = profile.outcome
    if not diverged(base, profile.constant_loss):
        return
    if fell_first(base, limits):
        yield NoVerdict(
            reason=f"the loss fell before it rose from {base.start:.3g} to {base.end:.3g}: the rate alone does not explain that",
            outcome="inconclusive",
        )
        return
    smaller = [(i.factor, i.outcome) for i in profile.under(TrainingChange.SMALLER_RATE)]
    better = [
        (k, o) for k, o in smaller if math.isfinite(o.end) and o.end < o.start and not base.end <= o.end
    ]
    shown = f"{base.end:.3g}" if math.isfinite(base.end) else "NaN or infinity"
    went = f"loss goes from {base.start:.3g} to {shown} in {len(base.losses)} steps at rate {profile.learning_rate:g}"
    if not better and math.isfinite(base.end):
        yield NoVerdict(reason=f"{went}, and no smaller rate tried does better", outcome="inconclusive")
        return
    if not better:
        yield Defect(
            where="optimizer",
            summary=f"{went}, and at every smaller rate tried",
            quantity="held-out loss after the steps",
            measured=base.end,
            limit=base.start,
            why="a loss that is not finite spoils every weight; the rate alone does not explain it",
            fix="look for what overflows: the scale of inputs and targets, a logarithm or a division in the loss",
        )
        return
    divisor, best = min(better, key=lambda item: item[1].end)
    yield Defect(
        where="optimizer",
        summary=f"{went}; to {best.end:.3g} at {_fraction(divisor)} of it",
        quantity="held-out loss after the steps",
        measured=base.end,
        limit=best.start,
        why=f"steps overshoot: the first one changes a weight by {_first_step(profile):.2g} of its size{_times_stable(profile)}",
        fix=f"divide the learning rate by {divisor}; check that the loss is a mean over the batch, not a sum",
        confidence="confirmed",
    )


def _times_stable(profile: TrainingProfile) -> str:
    if profile.stable_rate is None or profile.learning_rate <= profile.stable_rate:
        return ""
    return f", at {profile.learning_rate / profile.stable_rate:.2g} times the largest rate at which it does not raise the loss of its own batch"


def update_too_small(profile: TrainingProfile, limits: Limits) -> Iterator[Judgement]:
    unclear = _no_verdict_on_the_rate(profile)
    if unclear is not None:
        yield unclear
        return
    tried = [
        (i.factor, i.outcome)
        for i in profile.under(TrainingChange.LARGER_RATE)
        if math.isfinite(i.outcome.end)
    ]
    moved = [u for u in profile.updates if u.dimensions >= 2 and math.isfinite(u.movement)]
    if not moved:
        yield NoVerdict(reason="no weight moved by a finite amount")
        return
    fastest = max(moved, key=lambda u: u.movement)
    largest = fastest.movement
    if largest >= limits.small_movement:
        return
    if largest == 0 and any(u.gradient_rms > 0 for u in profile.updates if u.dimensions >= 2):
        yield Defect(
            where="optimizer",
            summary=f"no weight changes by a single bit in {profile.steps} steps at rate {profile.learning_rate:g}, though gradients flow",
            quantity="largest relative movement of a weight",
            measured=largest,
            limit=limits.small_movement,
            why="a step that is below the rounding of the weights is lost, however many are taken",
            fix="set a learning rate above 0: search upwards from 1e-4 by factors of 3",
            confidence="confirmed",
        )
        return
    standing = f"no weight moved by more than {largest:.1e} at rate {profile.learning_rate:g}"
    if not tried:
        yield NoVerdict(reason=f"{standing}, and no larger rate could be tried", outcome="inconclusive")
        return
    times, faster = min(tried, key=lambda item: item[1].end)
    gained, gained_now = faster.start - faster.end, profile.outcome.start - profile.outcome.end
    if gained > limits.small_gain * abs(faster.start) and gained_now < 0.01 * gained:
        yield Defect(
            where="optimizer",
            summary=f"no weight moves by more than {largest:.1e} in {profile.steps} steps at rate {profile.learning_rate:g} (limit {limits.small_movement:g}); {fastest.name}, the fastest, {steps_to_move(fastest, profile)}",
            quantity="largest relative movement of a weight",
            measured=largest,
            limit=limits.small_movement,
            why=f"at {times} times the rate the same steps take the loss from {faster.start:.3g} to {faster.end:.3g}",
            fix=f"raise the learning rate: search around {times} times this one",
            confidence="confirmed",
        )
    elif gained <= limits.small_gain * abs(faster.start):
        yield NoVerdict(reason=f"{standing}, and no larger rate tried learns more", outcome="inconclusive")


def weight_decay_dominates(profile: TrainingProfile, limits: Limits) -> Iterator[Judgement]:
    if not profile.given:
        yield NO_OPTIMIZER
        return
    without = profile.under(TrainingChange.NO_WEIGHT_DECAY)
    if not without:
        return
    base, free = profile.outcome, without[0].outcome
    weights = [u for u in profile.updates if u.dimensions >= 2 and u.rms > 0]
    share = median((u.decay_share for u in weights), default=0.0)
    remaining = median((u.remaining for u in weights), default=1.0)
    better = math.isfinite(free.end) and not base.end <= free.end
    if share > limits.decay_share and remaining < limits.decay_remaining and better:
        yield Defect(
            where="optimizer",
            summary=f"weight decay {profile.weight_decay:g} pulls {share:.2g} times as hard as the gradient: {remaining:.1%} of the weights' size is left after {profile.steps} steps (limit {limits.decay_remaining:.0%})",
            quantity="norm of a weight after the steps over its norm before, median over weights",
            measured=remaining,
            limit=limits.decay_remaining,
            why=f"the weights shrink to zero faster than the data can shape them: loss {base.end:.4g}, without weight decay {free.end:.4g}",
            fix="lower the weight decay: 1e-4 to 1e-1 with AdamW, 1e-5 to 1e-3 with SGD, are usual",
            confidence="confirmed",
        )


def diverged(outcome: TrainingOutcome, constant: float | None) -> bool:
    """Whether the loss is not finite, or ends clearly above both its start and a constant prediction.

    A held-out loss that rises while the training loss falls is overfitting, which is no fault of the steps.
    """
    if not math.isfinite(outcome.end):
        return True
    falls = len(outcome.losses) > 1 and outcome.losses[-1] < outcome.losses[0]
    reference = max(outcome.start, constant if constant is not None else outcome.start)
    return not falls and outcome.end > reference + 0.1 * abs(reference) + 1e-9


def fell_first(outcome: TrainingOutcome, limits: Limits) -> bool:
    """Whether the steps took the loss down at first, and it rose again without running away, as where the targets move with the model.

    Steps that are too long overshoot from the start.
    """
    if not math.isfinite(outcome.end) or outcome.end > limits.run_away * abs(outcome.start):
        return False
    means = [mean(outcome.losses[k : k + _SMOOTHED]) for k in range(len(outcome.losses) - _SMOOTHED + 1)]
    return min(means, default=math.inf) < limits.fell_first * outcome.start


def _first_step(profile: TrainingProfile) -> float:
    return max(
        (u.first_step for u in profile.updates if u.dimensions >= 2 and math.isfinite(u.first_step)),
        default=0.0,
    )


def _fraction(divisor: int) -> str:
    words = {10: "a tenth", 100: "a hundredth", 1000: "a thousandth"}
    return words.get(divisor, f"1/{divisor}")


def median(values: Iterable[float], *, default: float) -> float:
    numbers = list(values)
    return _median(numbers) if numbers else default


def _share(value: float) -> str:
    return (
        f"{value:.3g} of a constant prediction's"
        if math.isfinite(value)
        else "not finite, beside a constant prediction's"
    )
