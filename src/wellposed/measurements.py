"""Measure everything that the rules judge, on scratch storage. Nothing here judges: the rules do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .gradcheck.custom_backward import check_custom_functions
from .gradcheck.result import CustomBackwards
from .inputs.profile import InputProfile, profile_inputs
from .interventions import Interventions, answer
from .limits import Limits
from .objective import torch_connections
from .objective.label_probes import probe_labels, profile_targets
from .objective.result import LabelProfile, ObjectiveProfile, TargetProfile, TrainableProfile, WiringProfile
from .objective.torch_connections import ignored_inputs
from .objective.torch_loss_probes import constant_loss, describe_targets, no_target_counts, profile_objective
from .problem import Problem
from .rules.table import Unmeasured
from .rules.updates import diverged
from .runtime.torch import batches as data
from .runtime.torch import training as trials
from .runtime.torch.batches import joined, read_rows, some_rows
from .runtime.torch.layer_taps import dropout_noise, tap
from .runtime.torch.problem_forms import read_problem
from .runtime.torch.restore import preserved_problem
from .runtime.torch.session import Runner, mean_loss, outputs_equal
from .signals._measure import STEPS, TAPPED_BATCHES, signal_profile
from .signals.result import LayerSignal, SignalProfile, TrainingProfile

_HELD_OUT = 4
_PROBE_ROWS = 256

Progress = Callable[[str], None]

_NO_PARAMETERS = Unmeasured(
    reason="no trainable parameters were found: the check reads those of PyTorch modules",
    needs="give a torch.nn.Module; with Keras set KERAS_BACKEND=torch before importing keras",
)
_NO_TARGET_COUNTS = Unmeasured(
    reason="no target counts: all are codes that the loss leaves out, as -100",
    needs="give batches with targets that count",
)


@dataclass
class Examination:
    """One problem under examination, inside the scope that leaves no trace."""

    problem: Problem
    limits: Limits
    seed: int
    progress: Progress
    measured: dict[type, Any] = field(default_factory=dict)
    traces: tuple[str, ...] = ()
    """What is not as it was before."""
    noise: float | None = None
    noisiest: str | None = None

    def run(self) -> dict[type, Any]:
        """Take every measurement that this problem allows; the others stay `Unmeasured` with the reason."""
        p = self.problem
        self.problem = read_problem(p)
        self.runner = Runner(self.problem)
        scope = preserved_problem(p, says=False)
        with scope:
            self._draw()
            self._inputs()
            self._model()
        self.traces = scope.traces
        return self.measured

    def _draw(self) -> None:
        self.progress("reading the data")
        p = self.problem
        # A defect of the validation data must not speak through the trainings: they are judged on training rows held out.
        drawn, held = data.training_and_held_out(
            p, count=STEPS, seed=self.seed, held=_HELD_OUT, from_validation=False
        )
        self.whole: Any = p.train if data.holds_all_rows(p.train) else data.joined(drawn)
        if p.validation is not None:
            data.batches(
                p.validation, count=1, seed=self.seed, name="validation", has_loss=p.loss is not None
            )
        self.batches = [b.to(self.runner.device) for b in drawn]
        self.trained_on = data.batches_for(
            p.optimizer, self.batches, of_all_rows=data.holds_all_rows(p.train), seed=self.seed
        )
        self.held_out = [b.to(self.runner.device) for b in held]

    def _inputs(self) -> None:
        p, has_loss = self.problem, self.problem.loss is not None
        rows = read_rows(p.train, name="train", has_loss=has_loss, seed=self.seed)
        matrix, self.targets, self.all_read = rows.inputs, rows.targets, rows.complete
        validation = self.validation_targets = None
        if p.validation is not None:
            held_out = read_rows(p.validation, name="validation", has_loss=has_loss, seed=self.seed)
            validation, self.validation_targets = held_out.inputs, held_out.targets
        if matrix is None or matrix.ndim < 2:
            reason = "the inputs are not one floating-point tensor"
            self.measured[InputProfile] = Unmeasured(reason=reason, outcome="not applicable")
            return
        names = list(p.feature_names) if p.feature_names else None
        self.matrix = matrix
        self.measured[InputProfile] = profile_inputs(
            matrix,
            validation,
            feature_names=names,
            targets=None
            if self.targets is None or self.validation_targets is None
            else (self.targets, self.validation_targets),
        )

    def _model(self) -> None:
        if not self._finite_data() and not self._copes():
            reason = "the inputs are not finite: mend those first (WP106)"
            for kind in (
                ObjectiveProfile,
                SignalProfile,
                TrainableProfile,
                TrainingProfile,
                WiringProfile,
                LabelProfile,
                TargetProfile,
                CustomBackwards,
            ):
                self.measured[kind] = Unmeasured(reason=reason)
            return
        self.progress("tapping the layers")
        self._signals()
        self._objective()
        self._training()
        self._labels()
        self._custom_backwards()

    def _finite_data(self) -> bool:
        inputs = self.measured[InputProfile]
        return all(map(_finite_inputs, self.batches)) and (
            isinstance(inputs, Unmeasured) or bool(np.isfinite(self.matrix).all())
        )

    def _copes(self) -> bool:
        """Whether the loss and the gradients stay finite on the batches that are not: some models mask missing values."""
        self.runner.train_mode()
        spoilt = [b for b in self.batches if not _finite_inputs(b)][:TAPPED_BATCHES]
        if not spoilt:
            return False
        tapped = tap(self.runner, spoilt, seed=self.seed)
        squares = [
            s for values in tapped.gradient_squares.values() for s in values if s >= 0 or math.isnan(s)
        ]
        loss = self.runner.evaluate(spoilt[0]).loss
        copes = (
            bool(squares) and all(map(math.isfinite, squares)) and loss is not None and bool(loss.isfinite())
        )
        if copes and isinstance(self.measured[InputProfile], InputProfile):
            self.measured[InputProfile] = replace(self.measured[InputProfile], copes=True)
        return copes

    def _signals(self) -> None:
        self.runner.train_mode()
        self.precision = self.problem.precision or "fp32"
        self.first = tap(self.runner, self.batches[:TAPPED_BATCHES], seed=self.seed, precision=self.precision)
        self._signal_profile(())

    def _signal_profile(self, later: Sequence[LayerSignal]) -> None:
        profile = signal_profile(
            self.first,
            later=later,
            steps=STEPS if later else 0,
            batches=self.batches,
            precision=self.precision,
        )
        self.measured[SignalProfile] = replace(
            profile, noise=self.noise, noisiest=self.noisiest, learned=self._learned()
        )

    def _objective(self) -> None:
        loss = self.runner.evaluate(self.batches[0]).loss
        self.has_loss = loss is not None
        self.measured[TrainableProfile] = self._trainable(loss)
        if not self.has_loss:
            self._unmeasured(_no_loss(self.batches[0]))
            return
        squares = [s for values in self.first.gradient_squares.values() for s in values]
        if no_target_counts(self.runner, self.batches, squares):
            self.has_loss = False
            self._unmeasured(_NO_TARGET_COUNTS)
            return
        self.progress("probing the loss")
        profile = answer(
            lambda: profile_objective(self.runner, self._probe_batch(), seed=self.seed), None
        ) or profile_objective(self.runner, self.batches[0], seed=self.seed)
        if self.first.output:
            profile = replace(profile, output_at=self.first.output)
        self.measured[ObjectiveProfile] = replace(profile, targets=self._whole_targets(profile))
        self._targets(profile)

    def _targets(self, objective: ObjectiveProfile) -> None:
        if self.targets is None:
            self.measured[TargetProfile] = Unmeasured(
                reason="the targets are not one tensor with a row a sample"
            )
            return
        right, wrong = objective.at_targets, objective.away
        self.measured[TargetProfile] = profile_targets(
            self.targets, self.validation_targets,
            kind=objective.targets.kind, outputs=objective.targets.outputs,
            loss_depends=right is not None and wrong is not None and abs(right - wrong) > 1e-6 * (abs(right) + abs(wrong)),
            complete=self.all_read,
        )  # fmt: skip

    def _unmeasured(self, why: Unmeasured) -> None:
        for kind in (
            ObjectiveProfile,
            TrainingProfile,
            WiringProfile,
            LabelProfile,
            TargetProfile,
            CustomBackwards,
        ):
            self.measured[kind] = why

    def _trainable(self, loss: Any) -> TrainableProfile | Unmeasured:
        parameters, trainable = len(self.runner.parameters), len(self.runner.trainable)
        if not parameters:
            return _NO_PARAMETERS
        connected = None if loss is None else bool(loss.requires_grad)
        return TrainableProfile(parameters=parameters, trainable=trainable, connected=connected)

    def _probe_batch(self) -> Any:
        """Rows from all batches at hand: one batch may hold a single class, whose best constant prediction is perfect."""
        if self.whole is None:
            return self.batches[0]
        return some_rows(self.whole, _PROBE_ROWS, seed=self.seed).to(self.runner.device)

    def _whole_targets(self, profile: ObjectiveProfile) -> Any:
        """Statistics of all targets at hand; their kind as the probe batch showed it."""
        if self.whole is None:
            return profile.targets
        whole = describe_targets(self.whole.targets, None)
        return replace(
            whole, kind=profile.targets.kind, per_row=profile.targets.per_row, rows=self.whole.rows
        )

    def _training(self) -> None:
        """The base trial, what is wired to what, and the interventions that the findings so far call for."""
        if not self.has_loss:
            return
        objective: ObjectiveProfile = self.measured[ObjectiveProfile]
        reason = None
        if not self.runner.parameters:
            self.measured[TrainingProfile] = self.measured[WiringProfile] = _NO_PARAMETERS
            return
        if not self.runner.trainable:
            reason = "the model has no trainable parameters: all are frozen (WP610)"
        elif not math.isfinite(objective.initial):
            reason = "the loss is not finite at initialization"
        elif self.first.nonfinite is not None:
            reason = "a gradient is not finite at initialization"
        if reason is not None:
            self.measured[TrainingProfile] = self.measured[WiringProfile] = Unmeasured(reason=reason)
            return
        self.progress("training a copy for a few steps")
        self._base_trial(objective)
        self._wiring()
        self._interventions(objective)

    def _base_trial(self, objective: ObjectiveProfile) -> None:
        p = self.problem
        name, rate, decay, warming = (
            ("reference", 1e-3, 0.0, False) if p.optimizer is None else trials.optimizer_facts(p.optimizer)
        )
        self.change = trials.at_base_rate if warming else None
        self.later: Any = None
        self.later_loss: float | None = None
        self.same_outputs = False

        def on_the_trained_copy(later: Any) -> None:
            self.later = later
            self.later_loss = self._probe_loss()
            self.same_outputs = all(self._outputs_equal(b) for b in self.batches[:2])
            self.ignored = tuple(n for n in self._ignored() if n in ignored)
            self.runner.train_mode()
            # On the trained copy: a head that starts at zero has no signal yet.
            self.noise, self.noisiest = dropout_noise(self.runner, self.batches[0], seed=self.seed)

        ignored = self._ignored()
        self.same_at_start = all(self._outputs_equal(b) for b in self.batches[:2])
        self.ignored: tuple[str, ...] = ()
        base = trials.trial(
            self.runner, self.trained_on, self.held_out, steps=STEPS, seed=self.seed,
            before=self.first, change=self.change, and_then=on_the_trained_copy,
        )  # fmt: skip
        constant = self.same_at_start and self.same_outputs
        self.measured[ObjectiveProfile] = replace(objective, constant_output=constant, later=self.later_loss)
        self.measured[TrainingProfile] = TrainingProfile(
            outcome=base.outcome, steps=STEPS, optimizer=name, learning_rate=rate, weight_decay=decay,
            warming_up=warming, updates=base.updates, constant_loss=self._held_out_constant(objective),
        )  # fmt: skip
        self._signal_profile(base.later)

    def _probe_loss(self) -> float | None:
        """Loss of the rows that the loss was probed on, in train mode."""
        self.runner.train_mode()
        return answer(lambda: mean_loss(self.runner, [self._probe_batch()], seed=self.seed), None)

    def _held_out_constant(self, objective: ObjectiveProfile) -> float | None:
        """What a constant prediction has on the very rows that the trainings are judged by."""
        if objective.constant is None:
            return None
        self.runner.train_mode()
        held_out = joined(self.held_out)
        if held_out is None:
            return answer(
                lambda: constant_loss(self.runner, self.held_out[0], seed=self.seed), objective.constant
            )
        constant = answer(lambda: constant_loss(self.runner, held_out, seed=self.seed), objective.constant)
        return None if constant is None else constant / self._extent(held_out, self.held_out)

    def _extent(self, joined: Any, parts: Sequence[Any]) -> float:
        """Loss of joined batches over the mean loss of its parts: 1 for a mean over rows, their number for a sum."""

        def ratio() -> float:
            whole, part = (mean_loss(self.runner, batches, seed=self.seed) for batches in ([joined], parts))
            return whole / part if part else 1.0

        found = answer(ratio, 1.0)
        return found if math.isfinite(found) and found > 0 else 1.0

    def _outputs_equal(self, batch: Any) -> bool:
        return outputs_equal(self.runner, batch, seed=self.seed)

    def _ignored(self) -> tuple[str, ...]:
        return answer(lambda: ignored_inputs(self.runner, self.batches[0], seed=self.seed), ())

    def _wiring(self) -> None:
        optimizer = self.problem.optimizer
        self.runner.train_mode()
        unreached = torch_connections.unreached(
            self.runner, self.batches[0], self.first, self.later, seed=self.seed
        )
        reached = set(self.runner.trainable) - {u.name for u in unreached}
        order = [layer.name for layer in self.first.layers]
        outside, apart, foreign = (
            (None, (), 0)
            if optimizer is None
            else torch_connections.outside_optimizer(self.runner, optimizer, reached, order=order)
        )
        refused = None, "the model refuses a batch with one sample replaced"
        leak, leak_reason = answer(
            lambda: torch_connections.batch_leak(
                self.runner, self.batches[0], rows_first=data.rows_first(self.problem.train), seed=self.seed
            ),
            refused,
        )
        self.runner.train_mode()
        blown = diverged(self.measured[TrainingProfile].outcome, None)
        gap: dict[str, Any] = (
            {"gap_reason": "the short training diverged"}
            if blown
            else torch_connections.train_eval_gap(
                self.runner, self.trained_on[:8], steps=STEPS, seed=self.seed, change=self.change
            )
        )
        self.measured[WiringProfile] = WiringProfile(
            trainable=len(self.runner.trainable), unreached=unreached, outside_optimizer=outside, apart=apart, foreign=foreign,
            leak=leak, leak_reason=leak_reason, ignored=self.ignored,
            constant_loss=self.measured[TrainingProfile].constant_loss, **gap,
        )  # fmt: skip

    def _interventions(self, objective: ObjectiveProfile) -> None:
        training: TrainingProfile = self.measured[TrainingProfile]
        inputs = self.measured[InputProfile]
        known = inputs if isinstance(inputs, InputProfile) else None
        trials = Interventions(
            runner=self.runner, batches=self.trained_on, held_out=self.held_out, training=training,
            objective=objective, inputs=known, change=self.change, limits=self.limits, seed=self.seed,
        )  # fmt: skip
        what_if = trials.run(self.progress)
        self.measured[TrainingProfile] = replace(training, what_if=what_if)
        if known is not None and trials.effect is not None:
            self.measured[InputProfile] = replace(known, effect=trials.effect)

    def _labels(self) -> None:
        reason = "needs tables or images with one target a row: of an order in time the probes see little"
        self.measured.setdefault(LabelProfile, Unmeasured(reason=reason, outcome="not applicable"))
        tabular = isinstance(self.measured[InputProfile], InputProfile) and self.matrix.ndim != 3
        if not self.has_loss or not tabular or self.whole is None:
            return
        targets = self.measured[ObjectiveProfile].targets
        y = self.whole.targets
        ignored = self.measured[ObjectiveProfile].pairing_ignored
        if targets.kind == "other" or not targets.per_row or y is None or ignored:
            return
        self.progress("probing the labels")
        x = self.whole.tensors[0].detach().double().cpu().numpy()
        numbers = y.detach().double() if y.is_floating_point() else y.detach()
        profile = probe_labels(x, numbers.cpu().numpy(), seed=self.seed)
        if profile is not None:
            self.measured[LabelProfile] = replace(profile, learned=self._learned())

    def _learned(self) -> float:
        """Share of the constant prediction's loss that the user's own model gets rid of on held-out rows."""
        training = self.measured.get(TrainingProfile)
        if not isinstance(training, TrainingProfile) or not training.constant_loss:
            return 0.0
        return 1 - training.outcome.end / training.constant_loss

    def _custom_backwards(self) -> None:
        if not self.has_loss:
            return
        self.progress("checking custom backwards")
        self.runner.train_mode()
        self.measured[CustomBackwards] = check_custom_functions(
            lambda: self.runner.evaluate(self.batches[0]).loss, names=self.runner.names(), seed=self.seed
        )


def _no_loss(batch: Any) -> Unmeasured:
    needs = "pass loss=..." + ("" if batch.labels is not None else " and data of pairs (inputs, targets)")
    return Unmeasured(reason="no loss was given, and the model returns none", needs=needs)


def _finite_inputs(batch: Any) -> bool:
    return all(bool(t.isfinite().all()) for t in batch.tensors if t.is_floating_point())
