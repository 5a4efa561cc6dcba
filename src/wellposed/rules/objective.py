"""WP0xx, WP302, WP5xx: does the loss fit the outputs and the targets?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps

from ..limits import Limits
from ..objective.result import DirectionFloors, LabelProfile, ObjectiveProfile, TargetProfile
from ..report import Severity
from .table import Defect, Judgement, NoVerdict

_ABOUT_ZERO = 0.01  # descent finds floors to about 1 %
_FEW_CLASSES = 2.0  # in a batch; samplers for metric learning put more into each
_FEW_ROWS = 8  # a constant prediction of fewer rows knows them by heart


JudgeObjective = Callable[[ObjectiveProfile, Limits], Iterator[Judgement]]


def of_every_output(judge: JudgeObjective) -> JudgeObjective:
    """Judge the output that the targets belong to, and each other one that the loss compares with targets."""

    @wraps(judge)
    def judged(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
        if profile.reason is None or not profile.components or profile.unexamined:
            yield from judge(profile, limits)
        for component in profile.components:
            for judgement in judge(component, limits):
                named = isinstance(judgement, Defect)
                yield replace(judgement, where=component.output_at) if named else judgement

    return judged


def stochastic_loss(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    scale = abs(profile.initial) + 1e-12
    if profile.repeat_difference > limits.repeat_difference * scale:
        yield Defect(
            where="loss",
            summary=f"two evaluations with every random state fixed differ by {profile.repeat_difference:.2g} (loss {profile.initial:.4g})",
            quantity="difference of two evaluations, relative to the loss",
            measured=profile.repeat_difference / scale,
            limit=limits.repeat_difference,
            why="something draws from a source that no seed reaches, or changes state while it is evaluated: no measurement can be repeated",
            fix="draw from torch's, NumPy's or Python's generators, and keep state in buffers",
        )


def non_finite_loss(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    if not math.isfinite(profile.initial):
        yield Defect(
            where="loss",
            summary=f"the loss is {profile.initial} before the first step",
            quantity="loss at initialization",
            measured=profile.initial,
            why="every gradient is NaN from the first step on, and no weight recovers",
            fix="see where the first NaN or infinity comes from (WP209, WP106); work with logits and a loss that takes logits",
        )


_NOTHING_TO_LEARN = 1e-6  # of the start's excess: what descent on free outputs leaves over


@of_every_output
def initial_loss(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    """A start is sick where it is clearly worse than knowing nothing and than a constant, and the steps do not mend it."""
    constant, uninformed = profile.constant, profile.uninformed
    if profile.reason is not None:  # embeddings and the like have no scale at which they know nothing
        yield NoVerdict(reason=profile.reason, needs=profile.needs)
        return
    if constant is None or not math.isfinite(profile.initial) or constant < 0:
        yield NoVerdict(reason="no constant prediction to compare with", needs=profile.needs)
        return
    if uninformed is None:
        yield NoVerdict(reason="the loss takes no outputs that know nothing of their sample")
        return
    lowest = profile.floor
    if lowest is not None and min(constant, uninformed) - lowest <= _NOTHING_TO_LEARN * (
        profile.initial - lowest
    ):
        yield NoVerdict(
            reason="one output for all reaches the lowest loss, as of residuals: no prediction to compare with"
        )
        return
    if profile.quadratic and profile.targets.kind == "other":
        yield NoVerdict(reason="the targets do not fit the outputs, so their scale is not known")
        return
    if 0 < profile.targets.rows < _FEW_ROWS:
        yield NoVerdict(
            reason=f"{profile.targets.rows} rows are too few to say what a constant prediction reaches"
        )
        return
    reference = max(constant, uninformed)
    limit = _initial_loss_limit(profile, reference, limits)
    if profile.initial <= limit:
        return
    if profile.later is None:
        yield NoVerdict(
            reason=f"the loss starts at {profile.initial:.4g}, and no steps show whether that lasts",
            outcome="inconclusive",
        )
        return
    closed = (profile.initial - profile.later) / (profile.initial - reference)
    # From far off the first steps shrink outputs fast and learn nothing: what is left then still has to go.
    far = profile.initial > limits.initial_extreme * reference
    if not closed >= (1.0 if far else limits.initial_healed):
        ratio = profile.initial / max(reference, 1e-12)
        yield Defect(
            where="loss",
            summary=f"loss starts at {profile.initial:.4g}; outputs that know nothing have {uninformed:.4g}, a constant prediction {constant:.4g} (limit {limit:.4g})",
            quantity="loss at initialization",
            measured=profile.initial,
            limit=limit,
            why=f"the model starts {ratio:.3g} times worse than knowing nothing, and the first steps only shrink outputs that are too large (rms {profile.output_rms or 0:.3g})",
            fix="draw the last layer (and tied embeddings) smaller; for values, standardise the targets",
        )


def _initial_loss_limit(profile: ObjectiveProfile, reference: float, limits: Limits) -> float:
    """Log-losses grow linearly with the logits, squared errors with the square of the outputs: each has its own scale."""
    if profile.quadratic:
        return limits.initial_square_ratio * max(reference, profile.targets.rms**2 * 0.1, 1e-12)
    return limits.initial_log_ratio * reference + limits.initial_log_excess * max(
        1.0, profile.targets.rms if profile.targets.kind == "values" else 1.0
    )


@of_every_output
def double_softmax(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    judgements = list(_confined_twice(profile, limits))
    inner = profile.squashed_twice
    if inner is None or any(isinstance(judgement, Defect) for judgement in judgements):
        yield from judgements
        return
    yield Defect(
        where="loss",
        summary=f"the output of a {inner} goes into an operation that takes logits and applies a {inner} of its own",
        quantity=f"times that a {inner} is applied",
        measured=2.0,
        limit=1.0,
        why="probabilities are squashed a second time: the loss cannot fall to where it should, and gradients are weak",
        fix=f"hand the loss what goes into the {inner}",
    )


def _confined_twice(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    confined = profile.output_range
    if profile.targets.kind not in ("classes", "binary") or confined is None:
        if confined is not None and profile.targets.kind == "other":
            yield NoVerdict(reason="the targets are neither classes nor zeros and ones that fit the outputs")
        yield from _unprobed(profile)
        return
    share = None if profile.constant_output else lost_share(profile)
    if confined.probabilities and share is not None and share > limits.unreachable_share:
        yield Defect(
            where=profile.output_at,
            summary=f"{confined.operation} outputs go into a loss that takes logits: it cannot fall below {profile.confined_floor:.3g} (free outputs reach {profile.floor:.3g})",
            quantity="lowest loss that the outputs can reach",
            measured=profile.confined_floor,
            limit=profile.floor,
            why=f"probabilities are squashed a second time: {share:.0%} of what there is to learn is out of reach, and gradients are weak",
            fix=f"remove the final {confined.operation}: the loss applies its own",
            confidence="confirmed",
        )
    elif confined.probabilities and profile.confined_floor is None and not profile.constant_output:
        yield NoVerdict(
            reason="the lowest loss that free outputs reach is not known",
            outcome="inconclusive",
            needs=profile.needs,
        )


def output_range(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.directions is not None:
        yield from _range_of_directions(profile, profile.directions, limits)
    if profile.directions is None or profile.reason is None or profile.components:
        yield from _range_of_each(profile, limits)


@of_every_output
def _range_of_each(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    confined = profile.output_range
    if confined is None:
        yield from _unprobed(profile)
        return
    share = lost_share(profile)
    of_codes = profile.targets.kind in ("classes", "binary")
    doubled = confined.probabilities and (of_codes or profile.squashed_twice is not None)  # WP501 tells it
    if share is not None and share > limits.unreachable_share and not doubled:
        yield Defect(
            where=profile.output_at,
            summary=f"the final {confined.operation} confines outputs to {_interval(confined.low, confined.high)}; targets span {profile.targets.low:.3g} to {profile.targets.high:.3g}"
            if profile.targets.kind == "values"
            else f"the final {confined.operation} confines outputs to {_interval(confined.low, confined.high)}: the loss cannot fall below {profile.confined_floor:.3g}",
            quantity="share of the achievable improvement that is out of reach",
            measured=share,
            limit=limits.unreachable_share,
            why=f"{share:.0%} of the improvement over a constant prediction is out of reach, whatever the weights",
            fix=f"remove the final {confined.operation}, or scale the targets into {_interval(confined.low, confined.high)}",
            confidence="confirmed",
        )
    elif profile.normalises and confined.operation in ("relu", "hardtanh", "softplus", "exp"):
        yield Defect(
            where=profile.output_at,
            summary=f"the final {confined.operation} clips the logits of a loss that normalises them itself",
            quantity="lower end of the outputs",
            measured=confined.low,
            why="a class whose logit is clipped gets no gradient, and a unit clipped for all samples never learns",
            fix=f"remove the final {confined.operation}: logits may be negative",
            severity=None,
        )


def _range_of_directions(
    profile: ObjectiveProfile, directions: DirectionFloors, limits: Limits
) -> Iterator[Judgement]:
    """A temperature of 1 hurts and is trained with; one that leaves next to nothing to learn is turned upside down."""
    share = lost_share(replace(profile, floor=directions.free, confined_floor=directions.kept))
    if share is None and profile.reason is not None:
        yield NoVerdict(reason="what outputs of any length can reach is not known", outcome="inconclusive")
    elif share is not None and share > limits.unreachable_of_directions:
        yield Defect(
            where=" and ".join(directions.outputs),
            summary=f"outputs of one length come to a loss of {directions.kept:.4g} at best (it starts at {profile.initial:.4g}, free outputs reach {directions.free:.3g})",
            quantity="share of the achievable improvement that is out of reach",
            measured=share,
            limit=limits.unreachable_of_directions,
            why="their similarities lie so close together that a softmax over them is nearly even, whatever the weights",
            fix="divide the similarities by a temperature below 1 (0.05 to 0.5), or multiply them by its inverse",
            confidence="confirmed",
        )


def lost_share(profile: ObjectiveProfile) -> float | None:
    """Share of the improvement over a constant prediction that outputs confined to their range cannot reach."""
    if profile.floor is None or profile.confined_floor is None:
        return None
    reference = max(
        v for v in (profile.constant, profile.initial, profile.floor) if v is not None and math.isfinite(v)
    )
    achievable = reference - profile.floor
    if achievable <= 1e-9 * (1 + abs(reference)):
        return None
    return (profile.confined_floor - profile.floor) / achievable


def constant_output(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.constant_output:
        yield Defect(
            where=profile.output_at,
            summary="every sample gets the same output, to rounding, before and after the first steps",
            quantity="difference of outputs between samples",
            measured=0.0,
            limit=0.0,
            why="the outputs do not depend on the inputs, so there is nothing to learn"
            + (
                " (a softmax over one unit is always 1)"
                if profile.output_range and profile.output_range.operation == "softmax"
                else ""
            ),
            fix="for one output unit use a sigmoid, or no activation with a loss that takes logits"
            if profile.output_range and profile.output_range.operation == "softmax"
            else "follow the signal layer by layer (wellposed signals) to where it stops depending on the input",
            confidence="confirmed",
        )


@of_every_output
def loss_sign(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    right, wrong = profile.at_targets, profile.away
    if profile.endless:
        yield Defect(
            where=profile.endless[0],
            summary="the loss falls without end as this output goes one way, the same for every sample: what the targets are does not hold it",
            quantity="outputs by which the loss has no floor",
            measured=float(len(profile.endless)),
            limit=0.0,
            why="a likelihood of targets that differ is largest at some mean and some spread; here a sign or an exponent is turned round",
            fix="check the signs: 0.5 * log_var + 0.5 * (y - mean)**2 * exp(-log_var), and the loss is minus the log-likelihood",
            confidence="confirmed",
        )
        return
    if right is None or wrong is None or not math.isfinite(right + wrong):
        yield NoVerdict(
            reason=profile.reason or "outputs that agree with the targets cannot be made up for this loss",
            needs=profile.needs,
        )
        return
    if profile.floor is not None and profile.floor >= -1e-6 * (1 + abs(wrong)):
        return  # a loss with a floor at or above zero rewards something; turned round it would have none
    if right > wrong + 1e-6 * (abs(right) + abs(wrong)):
        yield Defect(
            where="loss",
            summary=f"outputs that agree with the targets have a higher loss ({right:.4g}) than outputs that disagree ({wrong:.4g})",
            quantity="loss of agreeing outputs minus loss of disagreeing ones",
            measured=right - wrong,
            limit=0.0,
            why="descending this loss drives the outputs away from the targets",
            fix="negate the loss",
            confidence="confirmed",
        )


@of_every_output
def wrong_loss_input(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    o, y = profile.output_shape, profile.target_shape
    if profile.broadcasts:
        yield Defect(
            where="loss",
            summary=f"outputs of shape {o} against targets of shape {y}: what the loss asks of a sample does not depend on which target is its own",
            quantity="change of what the loss asks when targets change places",
            measured=0.0,
            why="the shapes broadcast against each other, so every output is compared with every target: the model learns their mean",
            fix="give what meets in the loss one shape: squeeze(-1) of (N, 1), or [:, None] of (N,)",
            confidence="confirmed",
        )
        return
    if (
        profile.unbounded
        and (profile.log_normaliser or 0.0) > limits.log_normaliser
        and not _is_distance_of_shares(profile)
    ):
        yield Defect(
            where="loss",
            summary="the loss expects log-probabilities and gets raw outputs: it falls by 1 for every 1 added to all outputs",
            quantity="largest |logsumexp| of a row of outputs (0 for log-probabilities)",
            measured=profile.log_normaliser,
            limit=limits.log_normaliser,
            why="the loss has no lower bound: training drives all outputs to infinity instead of telling classes apart",
            fix="use cross_entropy on the raw outputs, or put a log_softmax after the last layer",
            confidence="confirmed",
        )
    else:
        yield from _unprobed(profile)


def _is_distance_of_shares(profile: ObjectiveProfile) -> bool:
    """Whether the outputs are probabilities and the loss of the best of them is 0, as of 1 - p; a log-likelihood of them falls below."""
    confined, lowest = profile.output_range, profile.confined_floor
    return confined is not None and confined.probabilities and lowest is not None and lowest > -_ABOUT_ZERO


def loss_term_sign(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.subtracted is None:
        yield NoVerdict(
            reason=profile.reason or "the loss could not be taken apart into terms", needs=profile.needs
        )
        return
    for term in profile.subtracted:
        read = " and ".join(term.outputs)
        yield Defect(
            where="loss",
            summary=f"the loss subtracts a term of {read} that grows without bound: descent on free outputs comes to {term.lowest:.4g} and falls on; with the term added it ends at {term.floor:.4g}",
            quantity="lowest loss that descent on free outputs came to",
            measured=term.lowest,
            limit=term.floor,
            why="the term has a floor of its own, as a distance has, and the loss is driven away from it: in the end it outgrows all other terms",
            fix="add the term, or bound what is subtracted (a margin, outputs of unit length)",
            confidence="confirmed",
        )


def summed_term(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    term = profile.summed
    if term is None:
        yield NoVerdict(
            reason="no term is summed over the batch beside one that is averaged", outcome="not applicable"
        )
    elif term.times > limits.summed_times:
        yield Defect(
            where="loss",
            summary=f"what the loss asks of {' and '.join(term.outputs)} alone is summed over the batch, and what it asks by the targets is averaged: its gradient is {term.times:.3g} times as large with {term.rows} rows",
            quantity="gradient of the summed terms over that of the averaged ones",
            measured=term.times,
            limit=limits.summed_times,
            why="the parameters that both reach follow the summed term alone, and how much depends on the batch size: a posterior collapses onto its prior",
            fix="reduce both alike: sum over the features of a row, and take the mean over rows of either",
            confidence="confirmed",
        )


def unread_target(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.unread is None:
        reason = "the targets are one tensor for one output, or the loss draws at random what it reads"
        yield NoVerdict(reason=reason, outcome="not applicable")
        return
    for target in profile.unread:
        if target.role == "of a head":
            yield _unread(
                target.name,
                f"the loss reads neither these targets nor {target.output}, which they fit",
                why="a head and its targets are there and no term of the loss compares them: the head stays at its random start",
                fix="add its term to the loss (a zip ends with the shorter list), or leave the head and its targets out",
            )
        elif target.role == "weights":
            yield _unread(
                target.name,
                "the loss does not read these weights: it stays the same to the bit whatever they are",
                why="every sample counts alike, also those of weight 0, whose targets may be junk",
                fix="multiply the losses of the rows (reduction='none') by them before the mean, or leave them out of the targets",
            )
    unknown = [t.name for t in profile.unread if t.role == "unknown"]
    if unknown:
        yield replace(
            _unread(
                unknown[0],
                "the loss does not read this part of the targets"
                + (f", nor {len(unknown) - 1} others" if len(unknown) > 1 else ""),
                why="right for what is only carried along; a mask or weights would be without effect",
                fix="if it is meant to count, use it in the loss",
            ),
            severity=Severity.NOTE,
        )


def _unread(name: str, summary: str, *, why: str, fix: str) -> Defect:
    return Defect(
        where=name, summary=summary, quantity="change of the loss when its rows change places",
        measured=0.0, limit=0.0, why=why, fix=fix, confidence="confirmed",
    )  # fmt: skip


def class_imbalance(profile: ObjectiveProfile, limits: Limits) -> Iterator[Judgement]:
    t = profile.targets
    if t.kind != "classes" or not t.per_row or t.classes < 3 or t.rows < 50:
        yield NoVerdict(
            reason="needs one class label a row and more than two classes", outcome="not applicable"
        )
        return
    times = t.majority_share * t.classes
    if t.majority_share > limits.majority_share and times > limits.majority_times:
        yield Defect(
            where="targets",
            summary=f"one of {t.classes} classes holds {t.majority_share:.0%} of the rows, {times:.1f} times an even share",
            quantity="share of the largest class times the number of classes",
            measured=times,
            limit=limits.majority_times,
            why=f"always naming that class is right {t.majority_share:.0%} of the time, so accuracy says little and rare classes get few gradients",
            fix="weight the classes in the loss, or sample them evenly; judge by balanced accuracy",
        )


def constant_targets(profile: TargetProfile, limits: Limits) -> Iterator[Judgement]:
    if not profile.loss_depends:
        yield NoVerdict(
            reason="the loss does not depend on the targets, as far as made-up outputs show",
            outcome="not applicable",
        )
        return
    if profile.rows < _FEW_ROWS:
        yield NoVerdict(reason=f"{profile.rows} rows are too few to call their targets constant")
        return
    if profile.constant is None:
        return
    # A generator's step wants "real" of every sample, and a residual wants 0 at every point.
    meant = profile.kind != "classes" and 0 <= profile.constant <= 1
    yield Defect(
        where="targets",
        summary=f"all {profile.rows:,} training rows that were read have the same target, {profile.constant:g}",
        quantity="different targets",
        measured=1.0,
        limit=1.0,
        why="a bias alone can answer, whatever the inputs: the loss falls to its floor and nothing is learned"
        + (", unless the target is a state that the outputs should reach, as of a residual" if meant else ""),
        fix="look at where the targets are read: the wrong column, a cast that rounds to zero, a file sorted by class",
        severity=Severity.NOTE if meant else None,
    )


def unused_output(profile: TargetProfile, limits: Limits) -> Iterator[Judgement]:
    counts = profile.counts
    unused = [k for k in range(profile.outputs) if k not in counts]
    if profile.kind != "classes" or not counts or profile.outputs < 3:
        yield NoVerdict(
            reason="needs one class label a row and more than two outputs", outcome="not applicable"
        )
        return
    if not unused:
        return
    rarest = min(counts.values())
    if rarest < limits.rarest_class or len(counts) < 2:
        yield NoVerdict(
            reason=f"{len(unused)} of {profile.outputs} outputs have no row; classes as rare as {rarest} rows do occur, so rows of theirs may come",
            outcome="inconclusive",
        )
        return
    shifted = unused == [0]
    shown = ", ".join(map(str, unused[:5])) + (", ..." if len(unused) > 5 else "")
    yield Defect(
        where="targets",
        summary=f"{len(unused)} of {profile.outputs} outputs stand for no label: {shown}; labels go from {min(counts)} to {max(counts)} over {sum(counts.values()):,} rows"
        + (", as if they counted from 1" if shifted else ""),
        quantity="outputs that no label uses",
        measured=float(len(unused)),
        limit=0.0,
        why=f"every class that occurs has {rarest} rows or more, so these are not rare but absent: the outputs only learn to say no",
        fix="subtract 1 from the labels and leave one output out, if class 0 is not meant to come"
        if shifted
        else "give the last layer as many outputs as there are classes, if no others are meant to come",
        severity=Severity.WARNING if shifted else None,
    )


def unmixed_batches(profile: TargetProfile, limits: Limits) -> Iterator[Judgement]:
    batches = profile.batches
    if batches is None:
        yield NoVerdict(reason="no batches of class numbers that a loader made", outcome="not applicable")
        return
    few = batches.drawn <= _FEW_CLASSES and batches.expected >= limits.unmixed_times * batches.drawn
    if few and batches.chance < limits.unmixed_chance:
        yield Defect(
            where="train",
            summary=f"a batch holds {batches.drawn:.2g} classes on average over {batches.batches} batches; of rows drawn at random it would hold {batches.expected:.3g}",
            quantity="classes in a batch",
            measured=batches.drawn,
            limit=batches.expected / limits.unmixed_times,
            why="each step pulls every output towards the class of the day, and the next steps undo it: the loss swings with the order of the rows",
            fix="shuffle the training rows: DataLoader(..., shuffle=True), or a sampler that mixes the classes",
        )


def unseen_labels(profile: TargetProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.held_out is None:
        yield NoVerdict(reason="needs one class label a row in both splits", outcome="not applicable")
        return
    new = {k: n for k, n in profile.held_out.items() if k not in profile.counts}
    if not new:
        return
    if not profile.complete:
        yield NoVerdict(reason="not all training rows were read, so their classes are not all known")
        return
    worst, rows = max(new.items(), key=lambda item: item[1])
    total = sum(profile.held_out.values())
    # That all rows of a class fall into one split by chance, for any of the classes.
    chance = len(profile.held_out) * (total / (total + profile.rows)) ** rows
    if chance > limits.unseen_chance:
        yield NoVerdict(
            reason=f"{len(new)} classes stand in the validation rows alone, of {rows} rows at most: as may be by chance",
            outcome="inconclusive",
        )
        return
    yield Defect(
        where="targets",
        summary=f"{len(new)} of {len(profile.held_out)} classes of the validation rows have no training row: class {worst} with {rows:,} rows, for one",
        quantity="probability that a random split leaves a class out",
        measured=chance,
        limit=limits.unseen_chance,
        why=f"the model cannot learn what it never sees: {sum(new.values()) / total:.0%} of the validation rows are lost whatever it does",
        fix="split at random within each class; look whether both splits number the classes alike",
    )


def uninformative_labels(profile: LabelProfile, limits: Limits) -> Iterator[Judgement]:
    resolution = profile.chance + limits.label_deviations * profile.chance_std
    if not math.isfinite(profile.score):
        yield NoVerdict(reason="the skill of the probes is not a number", outcome="inconclusive")
    elif resolution > limits.label_resolution:
        yield NoVerdict(
            reason=f"{profile.rows} rows would only show a correlation above {resolution:.2f}",
            outcome="inconclusive",
        )
    elif profile.score < resolution and not profile.learned > limits.label_learned:
        yield Defect(
            where="targets",
            summary=f"three probes predict the targets no better than shuffled ones: held-out correlation {profile.score:.3f} (shuffled {profile.chance:.3f} ± {profile.chance_std:.3f})",
            quantity="held-out correlation of the best probe",
            measured=profile.score,
            limit=resolution,
            why=f"neighbours, a linear map and random features all fail on {profile.rows} rows: inputs and targets may be out of step, or the targets noise",
            fix="look at some rows with their targets; check that inputs and targets are shuffled together",
        )


def _unprobed(profile: ObjectiveProfile) -> Iterator[Judgement]:
    if profile.reason:
        yield NoVerdict(reason=profile.reason, needs=profile.needs)


def _interval(low: float, high: float) -> str:
    left = f"[{low:g}" if math.isfinite(low) else "(-∞"
    return left + ", " + (f"{high:g}]" if math.isfinite(high) else "∞)")
