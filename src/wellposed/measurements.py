"""Every measurement that the rules judge: a table, run from top to bottom on scratch storage. Nothing here judges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .budget import FULL, Plan, Stages, StepCost, nominal_seconds, numbers_written
from .errors import WellposedError
from .gradcheck.custom_backward import check_custom_functions
from .gradcheck.loss_gradient import check_loss_gradient
from .gradcheck.result import CustomBackwards, LossGradient
from .inputs.duplicates import count_duplicates
from .inputs.profile import profile_inputs
from .inputs.result import InputEffect, InputProfile
from .interventions import (
    ShortTraining,
    answer,
    has_suspects,
    input_effects,
    of_axes,
    of_scales,
    of_the_optimizer,
    symptoms,
    with_needed_variance,
)
from .lazy import lazy
from .limits import Limits
from .objective.label_probes import probe_labels, profile_targets
from .objective.result import (
    LabelProfile,
    ObjectiveProfile,
    PaddingReader,
    SharedNoise,
    TargetProfile,
    TrainableProfile,
    UnusedSlice,
    WiringProfile,
)
from .problem import Problem
from .report import Unmeasured
from .rules import RESULTS
from .rules.updates import diverged
from .signals._measure import STEPS, signal_profile
from .signals.result import (
    Intervention,
    PrecisionProfile,
    RecurrentSignal,
    RegroupedAxes,
    SignalProfile,
    TrainingProfile,
    WeightProfile,
)
from .signals.variances import weight_variances

if TYPE_CHECKING:
    from .objective import torch_batch_leak as batch_leaks
    from .objective import torch_connections as connections
    from .objective import torch_inverted_masks as inverted_masks
    from .objective import torch_jumps as jumps
    from .objective import torch_loss_probes as loss_probes
    from .objective import torch_masked_entries as masked_entries
    from .objective import torch_padding as padding
    from .objective import torch_positions as positions
    from .objective import torch_shared_noise as shared_noises
    from .objective import torch_targets
    from .runtime.model_trace import ModelTrace
    from .runtime.torch import batches as torch_batches
    from .runtime.torch import problem_forms, regrouped, restore, trace
    from .runtime.torch import recurrence as recurrences
    from .runtime.torch import session as sessions
    from .runtime.torch import training as training_runs
    from .runtime.torch.batch import Batch
    from .signals import torch_precision
else:
    batch_leaks = lazy("wellposed.objective.torch_batch_leak")
    connections = lazy("wellposed.objective.torch_connections")
    inverted_masks = lazy("wellposed.objective.torch_inverted_masks")
    jumps = lazy("wellposed.objective.torch_jumps")
    loss_probes = lazy("wellposed.objective.torch_loss_probes")
    masked_entries = lazy("wellposed.objective.torch_masked_entries")
    padding = lazy("wellposed.objective.torch_padding")
    positions = lazy("wellposed.objective.torch_positions")
    shared_noises = lazy("wellposed.objective.torch_shared_noise")
    torch_targets = lazy("wellposed.objective.torch_targets")
    torch_batches = lazy("wellposed.runtime.torch.batches")
    trace = lazy("wellposed.runtime.torch.trace")
    recurrences = lazy("wellposed.runtime.torch.recurrence")
    regrouped = lazy("wellposed.runtime.torch.regrouped")
    problem_forms = lazy("wellposed.runtime.torch.problem_forms")
    restore = lazy("wellposed.runtime.torch.restore")
    sessions = lazy("wellposed.runtime.torch.session")
    training_runs = lazy("wellposed.runtime.torch.training")
    torch_precision = lazy("wellposed.signals.torch_precision")

_WORTH_TELLING = 5.0  # seconds that a check is expected to take
_PROBE_ROWS = 256
_PROBE_NUMBERS = 1 << 24
"""Numbers that the operations of the model may write for the rows with which the loss is probed, beyond those of a batch."""
_PROBE_OUTPUTS = 1 << 20
"""Numbers that their outputs may have; descents on the outputs alone take some hundred evaluations of the loss."""
_LEAST_PROBE_ROWS = 4

Result = TypeVar("Result")

_NO_PARAMETERS = Unmeasured(
    reason="no trainable parameters were found: the check reads those of PyTorch modules",
    needs="give a torch.nn.Module; with Keras set KERAS_BACKEND=torch before importing keras",
)
_INTERRUPTED = Unmeasured(reason="the check was interrupted", needs="let it run to its end")
_NO_TARGET_COUNTS = Unmeasured(
    reason="no target counts: all are codes that the loss leaves out, as -100",
    needs="give batches with targets that count",
)
_NO_SUCH_LABELS = Unmeasured(
    reason="needs tables or images with one target a row: of an order in time the probes see little",
    outcome="not applicable",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """What every measurement may use: the problem, its model ready to run, and the data that were read for all of them."""

    problem: Problem
    limits: Limits
    seed: int
    progress: Stages
    runner: sessions.Runner
    batches: Sequence[Batch]
    """What the model is looked at with."""
    trained_on: Sequence[Batch]
    """What the short trainings train on: `batches`, but for an optimizer that needs the same rows at each step."""
    held_out: Sequence[Batch]
    """Training rows that the short trainings are judged by."""
    whole: Batch | None
    """All rows at hand as one batch; None where the batches differ in shape."""
    rows: torch_batches.Rows
    """The rows that can be read at once, for statistics."""
    validation_rows: torch_batches.Rows | None
    """The same of the validation data; None without them."""
    choose: Callable[[StepCost], Plan]
    """How much to measure, once a step is known."""
    in_graphs: bool
    """Whether graphs of the user's hold parameters."""

    def probe_batch(self, first: FirstPass) -> Batch:
        """Rows from all batches at hand: one batch may hold a single class, whose best constant prediction is perfect."""
        if self.whole is None:
            return self.batches[0]
        rows = min(_PROBE_ROWS, self.most_rows(first))
        return torch_batches.some_rows(self.whole, rows, seed=self.seed).to(self.runner.device)

    def most_rows(self, first: FirstPass) -> int:
        """Rows that the model and the loss may be run on at once: no more memory than a batch takes, or little."""
        by_model = max(_PROBE_NUMBERS // max(first.numbers, 1), self.batches[0].rows)
        by_loss = max(_PROBE_OUTPUTS // max(first.trace.outputs, 1), _LEAST_PROBE_ROWS)
        return min(by_model, by_loss)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One line of the table."""

    result: type
    needs: tuple[type, ...] = ()
    """Earlier results without which it cannot be taken: with one unmeasured, so is this, for the same reason."""
    uses: tuple[type, ...] = ()
    """Earlier results that it takes into account where they were measured; else it gets None."""
    measure: Callable[..., Any]
    """From the context and those results, in that order."""

    @property
    def completes(self) -> bool:
        """Whether it adds to an earlier result of its type; where it cannot, that result stays as it is."""
        return self.result in self.needs


@dataclass(frozen=True)
class Measured:
    """What a check measured, and what it left changed."""

    results: dict[type, Any]
    """By type; `Unmeasured` stands in for a measurement that could not be taken."""
    traces: tuple[str, ...]
    plan: Plan | None
    """How much was measured; None where the model could not be run."""
    suspicious: bool
    """Whether something calls for a short training that this plan leaves out."""


class MeasuringInterrupted(KeyboardInterrupt):
    """Ctrl-C while measurements were taken; everything of the user's is given back."""

    def __init__(self, measured: Measured) -> None:
        super().__init__()
        self.measured = measured


def measure(
    problem: Problem,
    limits: Limits,
    *,
    seed: int,
    progress: Callable[[str], None],
    choose: Callable[[StepCost], Plan],
) -> Measured:
    """Take every measurement that this problem allows, in a scope that leaves no trace.

    Raises
    ------
    MeasuringInterrupted
        After Ctrl-C, with what had been measured.
    """
    read = problem_forms.read_problem(problem)
    runner = sessions.Runner(read)
    scope = restore.preserved_problem(problem, says=False)
    in_graphs = restore.are_held(runner.trainable.values())
    results: dict[type, Any] = {}
    try:
        with scope:
            context = _context(read, runner, limits, seed, Stages(progress), choose, in_graphs=in_graphs)
            for line in MEASUREMENTS:
                _take(line, context, results)
    except KeyboardInterrupt as error:
        raise MeasuringInterrupted(_measured(results, scope.traces)) from error
    return _measured(results, scope.traces)


def _measured(results: Mapping[type, Any], traces: tuple[str, ...]) -> Measured:
    first, others = measured(results, FirstPass), measured(results, Interventions)
    return Measured(
        results={kind: results.get(kind, _INTERRUPTED) for kind in RESULTS},
        traces=traces,
        plan=None if first is None else first.plan,
        suspicious=others is not None and others.postponed,
    )


def _take(line: Measurement, context: Context, results: dict[type, Any]) -> None:
    missing = next((r for kind in line.needs if isinstance(r := results[kind], Unmeasured)), None)
    if missing is None:
        needed = [results[kind] for kind in line.needs]
        used = [measured(results, kind) for kind in line.uses]
        results[line.result] = line.measure(context, *needed, *used)
    elif not line.completes:
        results[line.result] = missing


def measured(results: Mapping[type, Any], kind: type[Result]) -> Result | None:
    """The result of a type; None where it is unmeasured."""
    result = results.get(kind)
    return result if isinstance(result, kind) else None


def _context(
    problem: Problem,
    runner: sessions.Runner,
    limits: Limits,
    seed: int,
    progress: Stages,
    choose: Callable[[StepCost], Plan],
    *,
    in_graphs: bool,
) -> Context:
    progress("reading the data")
    train, has_loss = problem.train, sessions.kind_of_loss(problem)
    # A defect of the validation data must not speak through the trainings: they are judged on training rows held out.
    drawn, held_out = torch_batches.training_and_held_out(
        problem, count=STEPS, seed=seed, held=FULL.held_out, from_validation=False
    )
    all_rows = torch_batches.holds_all_rows(train)
    whole = train if all_rows else torch_batches.joined(drawn)
    if problem.validation is not None:  # it must give a batch
        torch_batches.batches(problem.validation, count=1, seed=seed, name="validation", has_loss=has_loss)
    batches = [b.to(runner.device) for b in drawn]
    trained_on = torch_batches.batches_for(problem.optimizer, batches, of_all_rows=all_rows, seed=seed)
    held_out = [b.to(runner.device) for b in held_out]
    rows = torch_batches.read_rows(train, name="train", has_loss=has_loss, seed=seed)
    validation_rows = None
    if problem.validation is not None:
        validation_rows = torch_batches.read_rows(
            problem.validation, name="validation", has_loss=has_loss, seed=seed
        )
    return Context(
        problem=problem, limits=limits, seed=seed, progress=progress, runner=runner, batches=batches,
        trained_on=trained_on, held_out=held_out, whole=whole, rows=rows, validation_rows=validation_rows,
        choose=choose, in_graphs=in_graphs,
    )  # fmt: skip


# --- inputs


def inputs(context: Context) -> InputProfile | Unmeasured:
    rows, validation = context.rows, context.validation_rows
    parts = {name: x for name, x in rows.parts.items() if x.ndim >= 2}
    if not parts:
        reason = "no input is a floating-point tensor with a row a sample"
        return Unmeasured(reason=reason, outcome="not applicable")
    names, targets = context.problem.feature_names if "" in parts else None, None
    if validation is not None and rows.targets is not None and validation.targets is not None:
        targets = rows.targets, validation.targets
    first, *others = (
        profile_inputs(
            x, None if validation is None else validation.parts.get(name),
            feature_names=list(names) if names else None, targets=targets, part=name,
        )
        for name, x in parts.items()
    )  # fmt: skip
    if rows.records is not None and validation is not None and validation.records is not None:
        first = replace(first, duplicates=count_duplicates(rows.records, validation.records, targets))
    return replace(first, others=tuple(others))


@dataclass(frozen=True, kw_only=True)
class UsableInputs:
    """The model can be run on the inputs."""

    masked: bool
    """Some of them are not finite, and the loss and the gradients are: some models mask missing values."""


def usable_inputs(context: Context, profile: InputProfile | None) -> UsableInputs | Unmeasured:
    spoilt = [b for b in context.batches if not _has_finite_inputs(b)]
    read = () if profile is None else context.rows.parts.values()
    if not spoilt and all(bool(np.isfinite(x).all()) for x in read):
        return UsableInputs(masked=False)
    context.runner.train_mode()
    if spoilt and _stays_finite(context, spoilt[: FULL.traced]):
        return UsableInputs(masked=True)
    return Unmeasured(reason="the inputs are not finite: mend those first (WP106)")


def _has_finite_inputs(batch: Batch) -> bool:
    return all(bool(t.isfinite().all()) for t in batch.tensors if t.is_floating_point())


def _stays_finite(context: Context, batches: Sequence[Batch]) -> bool:
    """Whether the loss and the gradients of these batches are finite."""
    traced = trace.trace(context.runner, batches, seed=context.seed)
    squares = [s for values in traced.gradient_squares.values() for s in values if s >= 0 or math.isnan(s)]
    loss = context.runner.evaluate(batches[0]).loss
    return bool(squares) and all(map(math.isfinite, squares)) and loss is not None and bool(loss.isfinite())


def inputs_masked(context: Context, profile: InputProfile, usable: UsableInputs) -> InputProfile:
    context.runner.train_mode()

    def told(part: InputProfile) -> InputProfile:
        far = [s for s in part.sentinels if s.distance > context.limits.sentinel_distance]
        masks = masked_entries.masks(context.runner, context.batches, part.part, far, seed=context.seed)
        return replace(part, copes=usable.masked, sentinels_masked=masks)

    first, *others = map(told, profile.each)
    return replace(first, others=tuple(others))


# --- signals before training


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstPass:
    """A trace of the model before any training."""

    trace: ModelTrace
    numbers: int
    """That the operations of the model write for one row."""
    plan: Plan
    recurrence: tuple[RecurrentSignal, ...]
    targets_count: bool
    """Whether the loss counts any target; without one, it may well be NaN."""


def first_pass(context: Context, usable: UsableInputs) -> FirstPass:
    context.progress("tracing the layers")
    runner, seed = context.runner, context.seed
    runner.train_mode()
    started = time.perf_counter()
    traced = trace.trace(runner, context.batches[:1], seed=seed)
    shapes = {name: tuple(p.shape) for name, p in runner.parameters.items()}
    nominal = nominal_seconds(traced, shapes)
    step = StepCost(nominal=nominal, measured=time.perf_counter() - started)
    numbers = int(numbers_written(traced)) // max(context.batches[0].rows, 1)
    plan = context.choose(step)
    if plan.cost * step.measured > _WORTH_TELLING:
        context.progress(
            f"about {plan.cost * step.measured:.0f} s: {plan.cost} steps of {step.measured:.2g} s"
        )
    context.progress.expect(plan.cost * step.measured)
    if plan.traced > 1:
        others = context.batches[1 : plan.traced]
        traced |= trace.trace(runner, others, seed=seed, start=1)
    recurrence = recurrences.recurrent_signals(runner, context.batches[0], traced, seed=seed)
    targets_count = not _no_target_counts(context, traced)
    if not targets_count:
        traced = replace(traced, nonfinite=None)
    return FirstPass(
        trace=traced, numbers=numbers, plan=plan, recurrence=recurrence, targets_count=targets_count
    )


def _no_target_counts(context: Context, traced: ModelTrace) -> bool:
    squares = [s for values in traced.gradient_squares.values() for s in values]
    return traced.connected is not None and torch_targets.no_target_counts(
        context.runner, context.batches, squares
    )


def signals(context: Context, first: FirstPass) -> SignalProfile:
    return _signals(context, first)


def _signals(
    context: Context, first: FirstPass, *, later: ModelTrace | None = None, **more: Any
) -> SignalProfile:
    profile = signal_profile(
        first.trace,
        later=later,
        steps=first.plan.steps,
        batches=context.batches,
    )
    return replace(profile, recurrence=first.recurrence, **({"learned": 0.0} | more))


# --- the loss


def trainable(context: Context, first: FirstPass) -> TrainableProfile | Unmeasured:
    runner = context.runner
    if not runner.parameters:
        return _NO_PARAMETERS
    return TrainableProfile(
        parameters=len(runner.parameters), trainable=len(runner.trainable), connected=first.trace.connected
    )


@dataclass(frozen=True)
class UsableLoss:
    """There is a loss, and targets that it counts."""


def usable_loss(context: Context, first: FirstPass) -> UsableLoss | Unmeasured:
    if first.trace.connected is None:
        pairs = "" if context.batches[0].labels is not None else " and data of pairs (inputs, targets)"
        return Unmeasured(
            reason="no loss was given, and the model returns none", needs=f"pass loss=...{pairs}"
        )
    if not first.targets_count:
        return _NO_TARGET_COUNTS
    return UsableLoss()


def objective(context: Context, usable: UsableLoss, first: FirstPass) -> ObjectiveProfile:
    """The loss and its targets, as the probe batch shows them."""
    context.progress("probing the loss")
    runner, seed, batch = context.runner, context.seed, context.probe_batch(first)
    profile = answer(lambda: loss_probes.profile_objective(runner, batch, seed=seed), None)
    profile = profile or loss_probes.profile_objective(runner, context.batches[0], seed=seed)
    profile = loss_probes.still_unread(runner, context.batches, profile, seed=seed)
    return replace(profile, output_at=first.trace.output) if first.trace.output else profile


def targets(context: Context, probed: ObjectiveProfile) -> TargetProfile | Unmeasured:
    if context.rows.targets is None:
        return Unmeasured(reason="the targets are not one tensor with a row a sample")
    right, wrong = probed.at_targets, probed.away
    return profile_targets(
        context.rows.targets, None if context.validation_rows is None else context.validation_rows.targets,
        kind=probed.targets.kind, outputs=probed.targets.outputs,
        loss_depends=right is not None and wrong is not None and abs(right - wrong) > 1e-6 * (abs(right) + abs(wrong)),
        complete=context.rows.complete,
        batches=() if torch_batches.holds_all_rows(context.problem.train) else torch_batches.labels_of(context.batches),
    )  # fmt: skip


def objective_of_all_rows(context: Context, probed: ObjectiveProfile) -> ObjectiveProfile:
    """Statistics of all targets at hand; their kind as the probe batch showed it."""
    if context.whole is None:
        return probed
    whole = torch_targets.describe_targets(context.whole.targets, None)
    kind, per_row = probed.targets.kind, probed.targets.per_row
    return replace(probed, targets=replace(whole, kind=kind, per_row=per_row, rows=context.whole.rows))


# --- a short training


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedCopy:
    """What was measured on the copy at the end of the short training."""

    trace: ModelTrace | None
    """A trace there; None where the training blew up."""
    loss: float | None
    """Loss of the probe batch; None where the model refuses it."""
    same_outputs: bool
    """Every sample gets the same outputs."""
    ignored: tuple[str, ...]
    """Inputs that change no output."""
    noise: float | None
    noisiest: str | None
    unused: tuple[UnusedSlice, ...]
    """Rows of weights that the loss does not depend on."""
    modes: Mapping[str, Any]
    """Losses in train and in eval mode, as fields of `WiringProfile`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseTraining:
    """A short training with nothing changed, before and after it."""

    plan: Plan
    run: training_runs.TrainingRun
    optimizer: training_runs.OptimizerFacts
    ignored_at_start: tuple[str, ...]
    same_outputs_at_start: bool
    trained: TrainedCopy

    @property
    def at_base_rate(self) -> training_runs.ChangeOptimizer | None:
        """What every training does to the optimizer first: a rate past its warm-up."""
        return training_runs.at_base_rate if self.optimizer.warming_up else None


def base_training(context: Context, probed: ObjectiveProfile, first: FirstPass) -> BaseTraining | Unmeasured:
    runner, optimizer = context.runner, context.problem.optimizer
    if not runner.parameters:
        return _NO_PARAMETERS
    if not runner.trainable:
        return Unmeasured(reason="the model has no trainable parameters: all are frozen (WP610)")
    if not math.isfinite(probed.initial):
        return Unmeasured(reason="the loss is not finite at initialization")
    if first.trace.nonfinite is not None:
        return Unmeasured(reason="a gradient is not finite at initialization")
    context.progress("training a copy for a few steps")
    facts = training_runs.REFERENCE if optimizer is None else training_runs.optimizer_facts(optimizer)
    trained: list[TrainedCopy] = []
    plan = first.plan
    ignored = _ignored(context)
    run = training_runs.short_training(
        runner, context.trained_on, context.held_out[: plan.held_out], steps=plan.steps, seed=context.seed,
        before=first.trace, traced=plan.traced, searched=plan.searched,
        change=training_runs.at_base_rate if facts.warming_up else None,
        and_then=lambda later: trained.append(_on_the_trained_copy(context, first, later)),
    )  # fmt: skip
    return BaseTraining(
        plan=plan,
        run=run,
        optimizer=facts,
        ignored_at_start=ignored,
        same_outputs_at_start=first.trace.same_outputs,
        trained=trained[0],
    )


def _on_the_trained_copy(context: Context, first: FirstPass, later: ModelTrace | None) -> TrainedCopy:
    runner, seed = context.runner, context.seed
    runner.train_mode()
    loss = answer(lambda: sessions.mean_loss(runner, [context.probe_batch(first)], seed=seed), None)
    ignored = _ignored(context)
    runner.train_mode()
    # On the trained copy: a head that starts at zero has no signal yet.
    noise, noisiest = trace.dropout_noise(
        runner, context.batches[0], seed=seed, draws=first.plan.dropout_draws
    )
    runner.train_mode()
    plan = first.plan
    unused = () if later is None else connections.unused_slices(
        runner, context.batches[: plan.settling_batches], first.trace, later, seed=seed
    )  # fmt: skip
    modes = {} if later is None else connections.train_eval_gap(
        runner, context.trained_on[: plan.settling_batches], passes=plan.settling_passes, seed=seed
    )  # fmt: skip
    return TrainedCopy(
        trace=later, loss=loss, same_outputs=later is not None and later.same_outputs, ignored=ignored, noise=noise, noisiest=noisiest,
        unused=unused, modes=modes,
    )  # fmt: skip


def _ignored(context: Context) -> tuple[str, ...]:
    runner, batch = context.runner, context.batches[0]
    return answer(lambda: connections.ignored_inputs(runner, batch, seed=context.seed), ())


def training(
    context: Context, base: BaseTraining, probed: ObjectiveProfile, first: FirstPass
) -> TrainingProfile:
    held_out = context.held_out[: base.plan.held_out]
    most_rows = context.most_rows(first)
    facts = base.optimizer
    return TrainingProfile(
        outcome=base.run.outcome, steps=base.plan.steps, optimizer=facts.name, learning_rate=facts.rate,
        weight_decay=facts.weight_decay, warming_up=facts.warming_up, updates=base.run.updates,
        stable_rate=None if base.run.stable is None or facts.warming_up else base.run.stable * facts.rate,
        constant_loss=_held_out_constant(context, probed.constant, held_out, most_rows), lost=base.run.lost,
    )  # fmt: skip


def _held_out_constant(
    context: Context, constant: float | None, batches: Sequence[Batch], most_rows: int
) -> float | None:
    """What a constant prediction has on the very rows that the trainings are judged by, or on so many of them."""
    if constant is None:
        return None
    runner, seed = context.runner, context.seed
    runner.train_mode()
    held_out = torch_batches.joined(batches)
    batch = batches[0] if held_out is None else held_out
    if batch.rows > most_rows:
        batch = torch_batches.some_rows(batch, most_rows, seed=seed)
    constant = answer(lambda: loss_probes.constant_loss(runner, batch, seed=seed), constant)
    if held_out is None or constant is None or all(part.rows == batch.rows for part in batches):
        return constant
    return constant / _loss_of_joined(context, batch, batches)


def _loss_of_joined(context: Context, joined: Batch, parts: Sequence[Batch]) -> float:
    """Loss of joined batches over the mean loss of its parts: 1 for a mean over rows, their number for a sum."""

    def ratio() -> float:
        whole, part = (
            sessions.mean_loss(context.runner, batches, seed=context.seed) for batches in ([joined], parts)
        )
        return whole / part if part else 1.0

    value = answer(ratio, 1.0)
    return value if math.isfinite(value) and value > 0 else 1.0


def objective_after_training(
    context: Context, before: ObjectiveProfile, base: BaseTraining
) -> ObjectiveProfile:
    constant, later = base.same_outputs_at_start and base.trained.same_outputs, base.trained.loss
    components = tuple(replace(component, later=later) for component in before.components)
    return replace(before, constant_output=constant, later=later, components=components)


def signals_after_training(
    context: Context, before: SignalProfile, first: FirstPass, base: BaseTraining, training: TrainingProfile
) -> SignalProfile:
    trained = base.trained
    return _signals(
        context, first, later=base.run.later, noise=trained.noise, noisiest=trained.noisiest,
        learned=_learned(training),
    )  # fmt: skip


def _learned(training: TrainingProfile | None) -> float | None:
    """Share of the constant prediction's loss that the user's own model gets rid of on held-out rows; None where that loss is not known."""
    if training is None or not training.constant_loss:
        return None
    return 1 - training.outcome.end / training.constant_loss


def wiring(
    context: Context, first: FirstPass, base: BaseTraining, training: TrainingProfile
) -> WiringProfile:
    runner, seed, batch = context.runner, context.seed, context.batches[0]
    optimizer, train = context.problem.optimizer, context.problem.train
    runner.train_mode()
    unreached = connections.unreached(runner, batch, first.trace, base.trained.trace, seed=seed)
    reached = set(runner.trainable) - {u.name for u in unreached}
    order = [name for name, layer in first.trace.modules.items() if not layer.passive]
    outside, apart, foreign = (
        (None, (), 0)
        if optimizer is None
        else connections.outside_optimizer(runner, optimizer, reached, order=order)
    )
    rows_first = torch_batches.rows_first(train)
    leak, leak_reason = answer(
        lambda: batch_leaks.batch_leak(runner, batch, rows_first=rows_first, seed=seed),
        (None, "the model refuses a batch with one sample replaced"),
    )
    future = answer(lambda: positions.future_leak(runner, batch, seed=seed), None)
    order = answer(lambda: positions.order_effect(runner, batch, seed=seed), None)
    attends = order is not None and positions.attends(runner, batch, seed=seed)
    padded = answer(lambda: padding.padding_effect(runner, batch, seed=seed), None)
    inverted: PaddingReader | None = answer(
        lambda: inverted_masks.inverted_mask(runner, batch, seed=seed), None
    )
    noise: SharedNoise | None = answer(lambda: shared_noises.shared_noise(runner, batch, seed=seed), None)
    choosing: tuple[str, ...] = ()
    if first.trace.chooses:
        choosing = answer(lambda: jumps.choosing_parameters(runner, batch, seed=seed), ())
    ignored = [name for name in base.trained.ignored if name in base.ignored_at_start]
    entries = connections.entries_of_an_argument(runner, batch)
    runner.train_mode()
    modes = (
        {"gap_reason": "the short training diverged"}
        if diverged(training.outcome, None)
        else base.trained.modes
    )
    return WiringProfile(
        trainable=len(runner.trainable), unreached=unreached, outside_optimizer=outside, apart=apart, foreign=foreign,
        leak=leak, leak_reason=leak_reason,
        ignored=tuple(name for name in ignored if name not in entries),
        ignored_entries=tuple(name for name in ignored if name in entries),
        constant_loss=training.constant_loss, unused_slices=base.trained.unused, future_leak=future, order_effect=order, attends=attends,
        padding_effect=padded, inverted_mask=inverted, choosing=choosing, shared_noise=noise, **modes,
    )  # fmt: skip


# --- short trainings with one thing changed


@dataclass(frozen=True, kw_only=True)
class Interventions:
    """The short trainings that the measurements so far called for, and what standardising the inputs changed."""

    tried: tuple[Intervention, ...]
    effects: Mapping[str, InputEffect]
    """By the input that was standardised."""
    views: int = 0
    """Those that regroup numbers."""
    axes: RegroupedAxes | None = None
    """None where no view regroups numbers."""
    postponed: bool = False
    """Whether they were called for and left to a plan that takes all steps."""


def interventions(
    context: Context,
    training: TrainingProfile,
    probed: ObjectiveProfile,
    base: BaseTraining,
    first: FirstPass,
    inputs: InputProfile | None,
) -> Interventions:
    views = first.trace.regrouping
    if base.plan is not FULL:
        suspects = bool(views) or has_suspects(training, probed, inputs, context.limits)
        return Interventions(tried=(), effects={}, views=len(views), postponed=suspects)
    short = _short_training(context, base)
    scales = tuple(of_scales(short, probed, inputs, context.progress))
    effects = {} if inputs is None else input_effects(short, training, inputs, scales)
    others = of_the_optimizer(short, training, context.limits, context.progress)
    axes = of_axes(short, training, views, context.progress)
    return Interventions(tried=(*scales, *others), effects=effects, views=len(views), axes=axes)


def _short_training(context: Context, base: BaseTraining) -> ShortTraining:
    return ShortTraining(
        runner=context.runner,
        batches=context.trained_on,
        held_out=context.held_out[: base.plan.held_out],
        at_base_rate=base.at_base_rate,
        seed=context.seed,
        steps=base.plan.steps,
    )


def training_compared(context: Context, before: TrainingProfile, others: Interventions) -> TrainingProfile:
    return replace(before, what_if=others.tried, views=others.views, regrouped=others.axes)


def inputs_compared(context: Context, before: InputProfile, others: Interventions) -> InputProfile:
    first, *rest = (replace(part, effect=others.effects.get(part.part)) for part in before.each)
    return replace(first, others=tuple(rest))


def weights(
    context: Context, first: FirstPass, base: BaseTraining, signal: SignalProfile, training: TrainingProfile
) -> WeightProfile:
    """The variances of the weights; where symptoms could come from them, with those that they need tried out."""
    found = symptoms(signal, training, context.limits)
    profile = WeightProfile(layers=weight_variances(first.trace), symptoms=found)
    if base.plan is not FULL:
        return profile
    return with_needed_variance(
        _short_training(context, base), profile, training, context.limits, traced=base.plan.traced
    )


# --- labels and custom backward passes


def labels(
    context: Context,
    probed: ObjectiveProfile,
    inputs: InputProfile | None,
    training: TrainingProfile | None,
) -> LabelProfile | Unmeasured:
    whole, matrix = context.whole, None if inputs is None else context.rows.inputs
    if whole is None or whole.targets is None or matrix is None or matrix.ndim == 3:
        return _NO_SUCH_LABELS
    if probed.targets.kind == "other" or not probed.targets.per_row or probed.pairing_ignored:
        return _NO_SUCH_LABELS
    context.progress("probing the labels")
    x = whole.tensors[0].detach().double().cpu().numpy()
    y = whole.targets.detach()
    profile = probe_labels(x, (y.double() if y.is_floating_point() else y).cpu().numpy(), seed=context.seed)
    return _NO_SUCH_LABELS if profile is None else replace(profile, learned=_learned(training) or 0.0)


def custom_backwards(context: Context, usable: UsableLoss) -> CustomBackwards:
    context.progress("checking custom backwards")
    runner, batch = context.runner, context.batches[0]
    runner.train_mode()
    return check_custom_functions(
        lambda: runner.evaluate(batch).loss, names=runner.names(), seed=context.seed
    )


def loss_gradient(
    context: Context, usable: UsableLoss, first: FirstPass, custom: CustomBackwards
) -> LossGradient | Unmeasured:
    if custom.entries or custom.hooks:
        return Unmeasured(
            reason="hand-written backward passes and hooks are judged by themselves (WP401, WP402)",
            outcome="not applicable",
        )
    if first.plan is not FULL:
        return Unmeasured(
            reason="a gradient check of the whole loss in float64 is made where steps are cheap",
            needs='ask for budget="thorough"',
        )
    if first.trace.nonfinite is not None or not context.runner.trainable:
        return Unmeasured(reason="there is no finite gradient to check")
    if context.in_graphs:
        return Unmeasured(
            reason="a graph that was built before holds the parameters, and computing in float64 would cut them off it"
        )
    context.progress("checking the gradient of the loss")
    try:
        return check_loss_gradient(context.problem, seed=context.seed)
    except WellposedError:
        return Unmeasured(reason="the loss could not be computed in float64")


# --- a lower precision


def precision(context: Context, first: FirstPass, loss: UsableLoss | None) -> PrecisionProfile | Unmeasured:
    """A step of the first batch in the precision that was named."""
    asked, runner = context.problem.precision or "fp32", context.runner
    if asked == "fp32":
        return Unmeasured(reason="training runs in fp32", outcome="not applicable")
    if loss is None:
        return Unmeasured(reason="there is no usable loss, whose gradients would be compared")
    if first.trace.nonfinite is not None or not runner.trainable:
        return Unmeasured(reason="there is no finite gradient in float32 to compare with")
    if asked == "fp16" and torch_precision.has_loss_scaler(context.problem.model, context.problem.loss):
        asked = "fp16-scaled"
    context.progress(f"emulating steps in {asked}")
    runner.train_mode()
    with restore.preserved(*runner.all_modules):
        found = answer(
            lambda: torch_precision.profile_precision(
                runner, context.batches[0], asked, limit=context.limits.flushed_share, seed=context.seed
            ),
            None,
        )
    if found is None:
        return Unmeasured(reason=f"a step in {asked} could not be emulated")
    if not found.layers:
        why = (
            "no linear layer, which alone would run in it"
            if "fp8" in asked
            else "no product in float32 was seen, transforms of torch.func apart"
        )
        return Unmeasured(reason=f"{asked} changes nothing: {why}", outcome="not applicable")
    return found


def _line(
    result: type, needs: tuple[type, ...], measure: Callable[..., Any], *, uses: tuple[type, ...] = ()
) -> Measurement:
    return Measurement(result=result, needs=needs, uses=uses, measure=measure)


MEASUREMENTS: tuple[Measurement, ...] = (
    _line(InputProfile, (), inputs),
    _line(UsableInputs, (), usable_inputs, uses=(InputProfile,)),
    _line(InputProfile, (InputProfile, UsableInputs), inputs_masked),
    _line(FirstPass, (UsableInputs,), first_pass),
    _line(SignalProfile, (FirstPass,), signals),
    _line(TrainableProfile, (FirstPass,), trainable),
    _line(UsableLoss, (FirstPass,), usable_loss),
    _line(ObjectiveProfile, (UsableLoss, FirstPass), objective),
    _line(TargetProfile, (ObjectiveProfile,), targets),
    _line(ObjectiveProfile, (ObjectiveProfile,), objective_of_all_rows),
    _line(BaseTraining, (ObjectiveProfile, FirstPass), base_training),
    _line(TrainingProfile, (BaseTraining, ObjectiveProfile, FirstPass), training),
    _line(ObjectiveProfile, (ObjectiveProfile, BaseTraining), objective_after_training),
    _line(SignalProfile, (SignalProfile, FirstPass, BaseTraining, TrainingProfile), signals_after_training),
    _line(WiringProfile, (FirstPass, BaseTraining, TrainingProfile), wiring),
    _line(Interventions, (TrainingProfile, ObjectiveProfile, BaseTraining, FirstPass), interventions, uses=(InputProfile,)),
    _line(TrainingProfile, (TrainingProfile, Interventions), training_compared),
    _line(InputProfile, (InputProfile, Interventions), inputs_compared),
    _line(WeightProfile, (FirstPass, BaseTraining, SignalProfile, TrainingProfile), weights),
    _line(LabelProfile, (ObjectiveProfile,), labels, uses=(InputProfile, TrainingProfile)),
    _line(CustomBackwards, (UsableLoss,), custom_backwards),
    _line(LossGradient, (UsableLoss, FirstPass, CustomBackwards), loss_gradient),
    _line(PrecisionProfile, (FirstPass,), precision, uses=(UsableLoss,)),
)  # fmt: skip
"""In the order in which they are taken: it decides what the random streams give, and what a failure of the model keeps from running."""
