"""A suspicion is worth a short training with one thing changed: what removes the symptom is the cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import UserCodeError
from .inputs.profile import InputEffect, InputProfile
from .limits import Limits
from .objective.result import ObjectiveProfile, Targets
from .rules.updates import diverged
from .runtime.torch.standardized import scale_invariant, standardise_inputs, standardise_targets
from .runtime.torch.training import scale_rate, trial, without_decay
from .signals._measure import STEPS
from .signals.result import Outcome, TrainingProfile

# Whether standardising could matter at all; wider than the rules' limits, so that a near miss is measured too.
_SUSPECT_RMS = (0.2, 5.0)
_SUSPECT_SPREAD = 10.0
_SUSPECT_TARGET_STD = (0.2, 5.0)

Answer = TypeVar("Answer")


def answer(probe: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Ask the model about inputs that are not its own; that it refuses them is an answer, not a crash."""
    try:
        return probe()
    except UserCodeError:
        return otherwise


@dataclass(kw_only=True)
class Interventions:
    """The trainings that the measurements so far call for, each with one thing changed."""

    runner: Any
    batches: Sequence[Any]
    held_out: Sequence[Any]
    training: TrainingProfile
    """How the steps went with nothing changed."""
    objective: ObjectiveProfile
    inputs: InputProfile | None
    change: Any
    """What every training does to the optimizer first: a rate past its warm-up."""
    limits: Limits
    seed: int
    what_if: dict[str, Outcome] = field(default_factory=dict)
    effect: InputEffect | None = None

    def run(self, progress: Callable[[str], None]) -> dict[str, Outcome]:
        """Outcomes by what was changed."""
        self._scales(progress)
        if self.training.given:
            progress("trying other rates")
            self._rates()
            self._weight_decay()
        return self.what_if

    def _scales(self, progress: Callable[[str], None]) -> None:
        t, inputs = self.objective.targets, self.inputs
        values = t.kind == "values" and self.objective.quadratic and _odd_targets(t)
        of_targets = standardise_targets(t.mean, t.std) if values else None
        of_inputs = None
        if inputs is not None and _odd_scales(inputs):
            of_inputs = standardise_inputs(inputs.train.mean, inputs.train.std)
        if of_inputs is not None:
            progress("trying standardised inputs")
            self.what_if["standardised inputs"] = self._try(transform=of_inputs)
        if of_targets is not None:
            progress("trying standardised targets")
            self.what_if["standardised targets"] = _in_raw_units(self._try(transform=of_targets), t.std)
        if of_inputs is not None and of_targets is not None:
            both = self._try(transform=lambda batch: of_targets(of_inputs(batch)))
            self.what_if["standardised inputs and targets"] = _in_raw_units(both, t.std)
        if of_inputs is not None and inputs is not None:
            self.effect = self._effect(inputs)

    def _effect(self, inputs: InputProfile) -> InputEffect:
        constant = self.training.constant_loss if self.training.constant_loss is not None else math.nan
        end = self.what_if["standardised inputs"].end
        both = self.what_if.get("standardised inputs and targets")
        if both is not None and not end <= both.end:
            end = both.end
        std = inputs.train.std
        return InputEffect(
            invariant=answer(
                lambda: scale_invariant(self.runner, self.batches[0], std, seed=self.seed), False
            ),
            loss_start=self.training.outcome.start,
            loss_raw=self.training.outcome.end,
            loss_standardised=end,
            loss_constant=constant,
        )

    def _rates(self) -> None:
        training = self.training
        if training.warming_up:
            return
        if diverged(training.outcome, training.constant_loss):
            self._ladder(
                "rate / {}", (10, 100, 1000, 10**5, 10**7, 10**9), lambda factor: scale_rate(1 / factor)
            )
        moved = [u.movement for u in training.updates if u.dimensions >= 2 and math.isfinite(u.movement)]
        if moved and max(moved) < self.limits.small_movement:
            self._ladder("rate * {}", (100, 10**4, 10**6, 10**8), scale_rate)

    def _ladder(self, name: str, factors: Sequence[int], change: Callable[[float], Any]) -> None:
        """Try one factor after the other; stop one past the first that learns."""
        learned = False
        for factor in factors:
            outcome = self.what_if[name.format(factor)] = self._try(change=change(factor))
            if learned:
                return
            learned = outcome.start - outcome.end > self.limits.small_gain * abs(outcome.start)

    def _weight_decay(self) -> None:
        shares = sorted(u.decay_share for u in self.training.updates if u.dimensions >= 2)
        if shares and shares[len(shares) // 2] > self.limits.decay_share / 10:
            self.what_if["no weight decay"] = self._try(change=without_decay)

    def _try(self, *, transform: Any = None, change: Any = None) -> Outcome:
        runner = self.runner if transform is None else self.runner.with_transform(transform)
        refused = Outcome(losses=(), start=math.nan, end=math.nan)

        def outcome() -> Outcome:
            return trial(
                runner, self.batches, self.held_out, steps=STEPS, seed=self.seed, change=change or self.change
            ).outcome

        return answer(outcome, refused)


def _in_raw_units(outcome: Outcome, std: float) -> Outcome:
    """A squared error of standardised targets, in the units of the raw ones."""
    return Outcome(
        losses=tuple(v * std**2 for v in outcome.losses),
        start=outcome.start * std**2,
        end=outcome.end * std**2,
    )


def _odd_scales(profile: InputProfile) -> bool:
    low, high = _SUSPECT_RMS
    return not low <= profile.rms <= high or profile.spread > _SUSPECT_SPREAD


def _odd_targets(targets: Targets) -> bool:
    low, high = _SUSPECT_TARGET_STD
    return targets.std > 0 and (abs(targets.mean) > 3 * max(targets.std, 1.0) or not low < targets.std < high)
