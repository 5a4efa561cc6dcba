"""A suspicion is worth a short training with one thing changed: what removes the symptom is the cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from .errors import UserCodeError
from .inputs.result import InputEffect, InputProfile
from .lazy import lazy
from .limits import Limits
from .objective.result import ObjectiveProfile, Targets
from .rules import RULES
from .rules.table import apply
from .rules.updates import diverged
from .runtime.model_trace import RegroupingView
from .signals._measure import STEPS, signal_profile
from .signals.result import (
    Intervention,
    RegroupedAxes,
    SignalProfile,
    TrainingChange,
    TrainingOutcome,
    TrainingProfile,
    WeightProfile,
    WeightVariance,
)

if TYPE_CHECKING:
    from .runtime.torch import changed_problem as transforms
    from .runtime.torch import regrouped
    from .runtime.torch import training as training_runs
    from .runtime.torch.batch import Batch
    from .runtime.torch.session import Runner
else:
    transforms = lazy("wellposed.runtime.torch.changed_problem")
    regrouped = lazy("wellposed.runtime.torch.regrouped")
    training_runs = lazy("wellposed.runtime.torch.training")

# Whether standardising could matter at all; wider than the rules' limits, so that a near miss is measured too.
_SUSPECT_RMS = (0.2, 5.0)
_SUSPECT_SPREAD = 10.0
_SUSPECT_TARGET_STD = (0.2, 5.0)

_ORDERS = 3  # of the batches, in which a change of the model itself is tried
_SMALLER_RATES = (10, 100, 1000, 10**5, 10**7, 10**9)
_LARGER_RATES = (100, 10**4, 10**6, 10**8)

Answer = TypeVar("Answer")


def answer(probe: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Ask the model about inputs that are not its own; that it refuses them is an answer, not a crash."""
    try:
        return probe()
    except UserCodeError:
        return otherwise


@dataclass(frozen=True, kw_only=True, eq=False)
class ShortTraining:
    """The steps that every intervention repeats with one thing changed."""

    runner: Runner
    batches: Sequence[Batch]
    held_out: Sequence[Batch]
    at_base_rate: training_runs.ChangeOptimizer | None
    """Takes the optimizer past its warm-up, where a schedule is in one."""
    seed: int
    steps: int

    def outcome(
        self,
        *,
        transform: transforms.Transform | None = None,
        change: training_runs.ChangeOptimizer | None = None,
        runner: Runner | None = None,
        order: int = 0,
    ) -> TrainingOutcome:
        """How the steps go on transformed batches, with a changed optimizer or another runner; NaN where the model refuses the batches.

        Of each `order` the batches start elsewhere, and what is random is drawn anew.
        """
        runner = runner or (self.runner if transform is None else self.runner.with_transform(transform))
        first = order * len(self.batches) // _ORDERS
        batches = [*self.batches[first:], *self.batches[:first]]
        refused = TrainingOutcome(losses=(), start=math.nan, end=math.nan)

        def run() -> TrainingOutcome:
            return training_runs.short_training(
                runner, batches, self.held_out, steps=self.steps, seed=self.seed + order,
                change=change or self.at_base_rate,
            ).outcome  # fmt: skip

        return answer(run, refused)


def has_suspects(
    training: TrainingProfile, objective: ObjectiveProfile, inputs: InputProfile | None, limits: Limits
) -> bool:
    """Whether anything calls for a short training with that changed."""
    scales = _suspects_targets(objective) or (inputs is not None and has_odd_scales(inputs))
    rates = training.given and (
        _runs_away(training) or _crawls(training, limits) or _decays(training, limits)
    )
    return scales or rates


def _suspects_targets(objective: ObjectiveProfile) -> bool:
    return objective.targets.kind == "values" and objective.quadratic and _odd_targets(objective.targets)


def _runs_away(training: TrainingProfile) -> bool:
    return not training.warming_up and diverged(training.outcome, training.constant_loss)


def _crawls(training: TrainingProfile, limits: Limits) -> bool:
    moved = [u.movement for u in training.updates if u.dimensions >= 2 and math.isfinite(u.movement)]
    return not training.warming_up and bool(moved) and max(moved) < limits.small_movement


def _decays(training: TrainingProfile, limits: Limits) -> bool:
    """Whether weight decay may pull harder than the gradient, at a pace that shrinks the weights before long."""
    weights = [u for u in training.updates if u.dimensions >= 2]
    if not weights or median(u.decay_share for u in weights) <= limits.decay_share / 10:
        return False
    remaining = median(u.remaining for u in weights) ** (STEPS / training.steps)
    return remaining < (1 + limits.decay_remaining) / 2


def of_scales(
    short: ShortTraining,
    objective: ObjectiveProfile,
    inputs: InputProfile | None,
    progress: Callable[[str], None],
) -> Iterator[Intervention]:
    """Standardised inputs, standardised targets and both, each where the scale is far from 1."""
    targets = objective.targets
    of_targets = of_inputs = None
    if _suspects_targets(objective):
        of_targets = transforms.standardise_targets(targets.mean, targets.std)
    if inputs is not None and has_odd_scales(inputs):
        of_inputs = transforms.standardise_inputs(
            {x.part: (x.train.mean, x.train.std) for x in inputs.each if _has_odd_scales(x)}
        )
    if of_inputs is not None:
        progress("trying standardised inputs")
        yield Intervention(
            change=TrainingChange.STANDARDISED_INPUTS, outcome=short.outcome(transform=of_inputs)
        )
    if of_targets is not None:
        progress("trying standardised targets")
        outcome = _in_raw_units(short.outcome(transform=of_targets), targets.std)
        yield Intervention(change=TrainingChange.STANDARDISED_TARGETS, outcome=outcome)
    if of_inputs is not None and of_targets is not None:
        outcome = short.outcome(transform=lambda batch: of_targets(of_inputs(batch)))
        yield Intervention(
            change=TrainingChange.STANDARDISED_BOTH, outcome=_in_raw_units(outcome, targets.std)
        )


def of_axes(
    short: ShortTraining,
    training: TrainingProfile,
    views: Sequence[RegroupingView],
    progress: Callable[[str], None],
) -> RegroupedAxes | None:
    """The steps with axes exchanged wherever a view regroups numbers, beside those with the views as they are."""
    if not views:
        return None
    progress("trying permuted axes")
    exchanging = regrouped.Exchanging(short.runner.problem)
    others = tuple(short.outcome(order=order).end for order in range(1, _ORDERS))
    exchanged = tuple(short.outcome(order=order, runner=exchanging).end for order in range(_ORDERS))
    view = views[0]
    return RegroupedAxes(
        where="model" if view.line is None else str(view.line),
        before=view.before,
        after=view.after,
        views=len(views),
        ends=(training.outcome.end, *others),
        exchanged=exchanged,
    )


def input_effects(
    short: ShortTraining, training: TrainingProfile, inputs: InputProfile, tried: Sequence[Intervention]
) -> dict[str, InputEffect]:
    """What standardising the inputs changes, alone or together with the targets, by the part that was standardised."""
    ends = [
        i.outcome.end
        for i in tried
        if i.change in (TrainingChange.STANDARDISED_INPUTS, TrainingChange.STANDARDISED_BOTH)
    ]
    if not ends:
        return {}
    end, both = ends[0], ends[-1]

    def invariant(part: InputProfile) -> bool:
        columns = len(part.train.std)
        return transforms.scale_invariant(short.runner, short.batches[0], part.part, columns, seed=short.seed)

    return {
        part.part: InputEffect(
            invariant=answer(lambda part=part: invariant(part), False),
            loss_start=training.outcome.start,
            loss_raw=training.outcome.end,
            loss_standardised=end if end <= both else both,
            loss_constant=math.nan if training.constant_loss is None else training.constant_loss,
        )
        for part in inputs.each
        if _has_odd_scales(part)
    }


def of_the_optimizer(
    short: ShortTraining, training: TrainingProfile, limits: Limits, progress: Callable[[str], None]
) -> Iterator[Intervention]:
    """Other rates and no weight decay, each where the steps taken make it a suspect."""
    if not training.given:
        return
    progress("trying other rates")
    if _runs_away(training):
        for factor, outcome in _until_it_learns(short, _SMALLER_RATES, lambda f: 1 / f, limits):
            yield Intervention(change=TrainingChange.SMALLER_RATE, factor=factor, outcome=outcome)
    if _crawls(training, limits):
        for factor, outcome in _until_it_learns(short, _LARGER_RATES, float, limits):
            yield Intervention(change=TrainingChange.LARGER_RATE, factor=factor, outcome=outcome)
    if _decays(training, limits):
        outcome = short.outcome(change=training_runs.without_decay)
        yield Intervention(change=TrainingChange.NO_WEIGHT_DECAY, outcome=outcome)


SYMPTOMS = tuple(
    rule for rule in RULES if rule.code in ("WP201", "WP202", "WP203", "WP205", "WP206", "WP207")
)
"""Rules on the signal and the updates whose findings weights of a wrong size can cause."""


def symptoms(signal: SignalProfile, training: TrainingProfile, limits: Limits) -> tuple[str, ...]:
    found = apply(SYMPTOMS, {SignalProfile: signal, TrainingProfile: training}, limits).findings
    return tuple(dict.fromkeys(f.code for f in found))


def with_needed_variance(
    short: ShortTraining,
    profile: WeightProfile,
    training: TrainingProfile,
    limits: Limits,
    *,
    traced: int,
) -> WeightProfile:
    """Draw the weights whose variance is off with the one that they need: which symptoms are left?"""
    off = {v.name: v.needs for v in profile.layers if _is_off(v, limits)}
    if not off or not profile.symptoms:
        return profile

    def run() -> WeightProfile:
        first, again = training_runs.redrawn_training(
            short.runner, short.batches, short.held_out, variances=off, steps=short.steps, seed=short.seed,
            change=short.at_base_rate, traced=traced,
        )  # fmt: skip
        if first.nonfinite is not None:
            return profile
        blown = (
            again.later is None
        )  # at this rate: what the weights do is seen before the steps, the updates are not
        there = signal_profile(
            first,
            later=again.later or first,
            steps=short.steps,
            batches=short.batches,
        )
        learned = None if blown else _learned(again.outcome, training.constant_loss)
        trained = training if blown else replace(training, updates=again.updates, outcome=again.outcome)
        left = symptoms(replace(there, learned=learned), trained, limits)
        return replace(profile, redrawn=tuple(off), left=left)

    return answer(run, profile)


def _is_off(layer: WeightVariance, limits: Limits) -> bool:
    return not 1 / limits.variance_ratio <= layer.has / layer.needs <= limits.variance_ratio


def _learned(outcome: TrainingOutcome, constant: float | None) -> float | None:
    return 1 - outcome.end / constant if constant else None


def _until_it_learns(
    short: ShortTraining, factors: Sequence[int], scale: Callable[[int], float], limits: Limits
) -> Iterator[tuple[int, TrainingOutcome]]:
    """The outcome at one rate after the other; the last is one past the first that learns."""
    learned = False
    for factor in factors:
        outcome = short.outcome(change=training_runs.scale_rate(scale(factor)))
        yield factor, outcome
        if learned:
            return
        learned = outcome.start - outcome.end > limits.small_gain * abs(outcome.start)


def _in_raw_units(outcome: TrainingOutcome, std: float) -> TrainingOutcome:
    """A squared error of standardised targets, in the units of the raw ones."""
    return TrainingOutcome(
        losses=tuple(v * std**2 for v in outcome.losses),
        start=outcome.start * std**2,
        end=outcome.end * std**2,
    )


def has_odd_scales(profile: InputProfile) -> bool:
    """Whether any input is on a scale that standardising could matter for."""
    return any(map(_has_odd_scales, profile.each))


def _has_odd_scales(profile: InputProfile) -> bool:
    low, high = _SUSPECT_RMS
    return not low <= profile.rms <= high or profile.spread > _SUSPECT_SPREAD


def _odd_targets(targets: Targets) -> bool:
    low, high = _SUSPECT_TARGET_STD
    return targets.std > 0 and (abs(targets.mean) > 3 * max(targets.std, 1.0) or not low < targets.std < high)
