"""Rules about the inputs (WP101 to WP108): each reads an `InputProfile`, and measures nothing."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..inputs.result import FittedOn, InputEffect, InputProfile, LeakFingerprint, NonFiniteEntries
from ..limits import Limits
from ..report import Confidence, Severity
from .table import Defect, Judge, Judgement, NoVerdict

_FIT = "wellposed fix train.py:problem\n(in Python: Normalizer.fit(train), then n(x) for every split)"
_FIT_PART = (
    "standardise this input by its training rows: n = Normalizer.fit(x_train), then n(x) for every split"
)
_FIT_ON_TRAINING_ROWS = (
    "split first, then fit on the training rows alone and apply that to both:\n"
    "n = Normalizer.fit(x_train); x_train, x_val = n(x_train), n(x_val)"
)
_FIT_BY_SAMPLE = (
    "nothing, if the level of a sample is not to matter; else normalise every sample by the statistics of "
    "the training rows: n = Normalizer.fit(x_train)"
)
_NO_VALIDATION = NoVerdict(reason="no validation data", needs="pass validation=...")


def of_each_input(judge: Callable[[InputProfile, Limits], Iterator[Judgement]]) -> Judge:
    """The same of every input of a problem that has several."""

    @functools.wraps(judge)
    def judged(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
        for part in profile.each:
            yield from judge(part, limits)

    return judged


@of_each_input
def feature_scale_imbalance(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP101: a few columns in large units drown the others."""
    if profile.dominance <= limits.feature_dominance or _invariant(profile.effect):
        return
    severity, confidence, effect_words = _weigh(profile, limits)
    far_apart = profile.spread > limits.feature_spread
    if not far_apart and confidence != "confirmed":
        return
    unit = np.where(profile.constant, np.nan, profile.active_mean_square)
    worst = int(np.nanargmax(unit))
    yield Defect(
        where=profile.place(worst),
        **(_spread_words(profile, limits) if far_apart else _offset_words(profile, limits, worst)),
        why=(
            f"the loss curves about {profile.dominance:.2g} times more along {profile.label(worst)} than "
            f"along the typical {profile.kind} (E[x²]): a step that is stable there hardly moves the other "
            f"{profile.kind}s{_cost(profile)}{effect_words}"
        ),
        fix=_FIT_PART if profile.part else _FIT,
        command="" if profile.part else "fix",
        severity=severity,
        confidence=confidence,
    )


@of_each_input
def input_scale(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP102: all inputs are in a unit far from 1."""
    if _invariant(profile.effect):
        return
    large = min(profile.rms, profile.typical_rms) > limits.input_rms
    small = 0 < profile.largest < limits.input_largest
    if not large and not small:
        return
    severity, confidence, effect_words = _weigh(profile, limits)
    if large:
        summary = f"inputs have rms {profile.rms:.3g} (limit {limits.input_rms:g})"
        why = (
            "initial weights assume inputs of about 1: the first layer's outputs and gradients are "
            f"{profile.rms:.3g} times too large{effect_words}"
        )
    else:
        summary = f"no input is larger than {profile.largest:.3g} (limit {limits.input_largest:g})"
        why = (
            f"initial weights assume inputs of about 1: with rms {profile.rms:.2g} the first layer sees "
            f"little but its biases, and its gradients are as small{effect_words}"
        )
    yield Defect(
        where=profile.where,
        summary=summary,
        quantity="rms of the inputs" if large else "largest absolute input",
        measured=profile.rms if large else profile.largest,
        limit=limits.input_rms if large else limits.input_largest,
        why=why,
        fix=_FIT_PART if profile.part else _FIT,
        command="" if profile.part else "fix",
        severity=severity,
        confidence=confidence,
    )


@of_each_input
def fitted_on_held_out_data(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP103: the normaliser's statistics were taken on rows that are held out."""
    if profile.validation is None:
        yield _NO_VALIDATION
        return
    leak = profile.leak
    if leak is None:
        yield NoVerdict(reason="no column can tell: all are constant, of two values, or have missing entries")
        return
    if leak.fitted_on is None or (leak.chance is not None and leak.chance > limits.leak_chance):
        return
    by_sample = leak.fitted_on is FittedOn.EACH_SAMPLE
    yield Defect(
        where=profile.where,
        **_leak_words(profile, leak),
        why=_leak_why(leak),
        fix=_FIT_BY_SAMPLE if by_sample else _FIT_ON_TRAINING_ROWS,
        severity=_leak_severity(leak),
        confidence="measured",
    )


@of_each_input
def constant_feature(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP104: a column holds one value."""
    constant = np.flatnonzero(profile.constant)
    if profile.train.rows < 2 or not constant.size:
        return
    shown = ", ".join(profile.label(int(i)) for i in constant[:5]) + (", ..." if constant.size > 5 else "")
    first = int(constant[0])
    yield Defect(
        where=profile.place(first) if constant.size == 1 else profile.where,
        summary=(
            f"{constant.size} of {len(profile.std)} {profile.kind}s do not vary over {profile.train.rows:,} "
            f"training rows: {shown}"
        ),
        quantity=f"constant {profile.kind}s",
        measured=float(constant.size),
        limit=0.0,
        why=(
            f"{profile.label(first)} is {profile.train.mean[first]:.6g} in every row: it tells the model "
            "nothing, and dividing by its std would divide by zero"
        ),
        fix="leave it out, if it is not meant to vary later; Normalizer keeps its scale at 1",
    )


@of_each_input
def split_shift(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP105: the validation inputs come from elsewhere than the training inputs."""
    if profile.validation is None:
        yield _NO_VALIDATION
        return
    shift = profile.shift
    if shift is None:
        yield NoVerdict(reason="too few rows in a split to tell a shift from chance")
        return
    by_chance = shift.distance_by_chance(limits.shift_chance)
    shifted = (shift.distance > by_chance) & (np.abs(shift.difference) > limits.split_shift)
    if not shifted.any():
        return
    worst = int(np.argmax(np.where(shifted, np.abs(shift.difference), 0.0)))
    yield Defect(
        where=profile.place(worst),
        summary=(
            f"{int(shifted.sum())} of {len(profile.std)} {profile.kind}s shift between the splits; "
            f"{profile.label(worst)} by {shift.difference[worst]:+.2f} ± {shift.error[worst]:.2f} stds "
            f"(limit {limits.split_shift:g})"
        ),
        quantity="validation mean minus training mean, in training stds",
        measured=float(abs(shift.difference[worst])),
        limit=limits.split_shift,
        why=(
            f"{profile.label(worst)} has mean {profile.train.mean[worst]:.4g} in training and "
            f"{profile.validation.mean[worst]:.4g} in validation; the two distributions are "
            f"{shift.distance[worst]:.2f} apart (Kolmogorov-Smirnov), and random splits stay below "
            f"{by_chance:.2f}: the validation loss measures another problem"
        ),
        fix=(
            "apply the same normalizer to both splits; if that is done, draw both at random from the same "
            "rows, or keep the split on purpose (in time, by site) and ignore this"
        ),
    )


@of_each_input
def non_finite_data(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP106: NaN or infinity among the inputs."""
    for found in profile.non_finite:
        copes = profile.copes and found.split == "train"
        yield Defect(
            where=profile.place(found.first_column),
            summary=(
                f"{_counts(found)} in {found.columns} of {len(profile.std)} {profile.kind}s of the "
                f"{found.split} inputs; first: row {found.first_row}, {profile.label(found.first_column)}"
            ),
            quantity="entries that are NaN or infinite",
            measured=float(found.missing + found.infinite),
            limit=0.0,
            why=(
                "this model's loss stays finite, so it seems to mask them"
                if copes
                else "one such entry makes its batch's loss NaN, and one step later every weight"
            ),
            fix=(
                "drop these rows, or fill them with a statistic of the training rows and add a column that "
                "says so; look first where they come from (a logarithm of 0, 0/0, an empty cell)"
            ),
            severity=Severity.WARNING if copes else None,
        )


@of_each_input
def sentinel_value(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP115: a number that stands for "missing" is read as a number."""
    found = [s for s in profile.sentinels if s.distance > limits.sentinel_distance]
    if not found or profile.sentinels_masked:
        return
    first = max(found, key=lambda s: (abs(s.value), s.count))
    columns = len({s.column for s in found})
    drowns = (
        abs(first.value) > limits.input_rms
    )  # else it is standardised along with the others, and only squeezes them
    yield Defect(
        where=profile.place(first.column),
        summary=(
            f"{first.count:,} of {first.entries:,} entries of {profile.label(first.column)} are exactly {first.value:g}; "
            f"all others lie between {first.low:.4g} and {first.high:.4g}"
            + (f"; {columns} {profile.kind}s have such a number" if columns > 1 else "")
        ),
        quantity="distance of the number from the nearest other, over the range of the others",
        measured=first.distance,
        limit=limits.sentinel_distance,
        why=(
            "it looks like a code for a missing value that nobody replaced: it stretches the mean and the std, and its "
            "weight in the loss drowns what the other values tell"
        ),
        fix=(
            "make it NaN where the data are read, then fill it with a statistic of the training rows and add a column "
            "that says so"
        ),
        severity=None if drowns else Severity.NOTE,
    )


@of_each_input
def ill_conditioned_inputs(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP107: standardised columns that are almost functions of each other."""
    conditioning = profile.conditioning
    if isinstance(conditioning, str):
        yield NoVerdict(reason=conditioning)
        return
    if conditioning.standardised <= limits.correlation_condition:
        return
    yield Defect(
        where=profile.where,
        summary=(
            f"the correlation matrix of the {profile.kind}s has condition number {conditioning.standardised:.1e} "
            f"(limit {limits.correlation_condition:.0e})"
        ),
        quantity="condition number of the correlation matrix",
        measured=conditioning.standardised,
        limit=limits.correlation_condition,
        why=(
            f"some {profile.kind}s nearly repeat others: also after standardising, gradient descent needs "
            f"about {conditioning.standardised_steps:.1e} steps for a digit along their difference"
        ),
        fix="drop or combine the near copies, or whiten (PCA fitted on the training rows)",
    )


def duplicate_across_splits(profile: InputProfile, limits: Limits) -> Iterator[Judgement]:
    """WP108: validation rows that were trained on."""
    duplicates = profile.duplicates
    if profile.validation is None:
        yield _NO_VALIDATION
        return
    if duplicates is None:
        yield NoVerdict(reason="the rows of several inputs cannot be put side by side")
        return
    copied = duplicates.copies_chance <= limits.duplicate_chance
    if duplicates.chance > limits.duplicate_chance and not copied:
        return
    count = duplicates.copies if copied else duplicates.across
    within = duplicates.within_train / duplicates.train_rows
    alone = (
        "no other row equals them in half of their columns, so they are copies of one record"
        if copied
        else f"a random split of these rows would share {duplicates.expected:.3g} distinct rows, not {duplicates.shared:,}"
    )
    yield Defect(
        where="inputs",
        summary=(
            f"{count:,} of {duplicates.validation_rows:,} validation rows ({count / duplicates.validation_rows:.0%}) also "
            "stand in the training rows, bit for bit"
        ),
        quantity="validation rows that also stand in the training rows",
        measured=float(count),
        limit=0.0 if copied else duplicates.expected,
        why=f"{within:.0%} of the training rows have a copy among themselves, and {alone}: the validation loss flatters the model",
        fix="drop repeated rows before splitting, oversample after it, or split by their group (patient, file, day)",
    )


def _spread_words(profile: InputProfile, limits: Limits) -> dict[str, Any]:
    std = np.where(profile.constant, np.nan, profile.std)
    widest, narrowest = profile.label(int(np.nanargmax(std))), profile.label(int(np.nanargmin(std)))
    return {
        "summary": (
            f"{profile.kind} stds differ {profile.spread:,.0f}-fold (limit {limits.feature_spread:g}): "
            f"{widest} against {narrowest}"
        ),
        "quantity": f"largest std of a {profile.kind} over the smallest",
        "measured": profile.spread,
        "limit": limits.feature_spread,
    }


def _cost(profile: InputProfile) -> str:
    """What the raw inputs cost gradient descent, where it was measured, and standardising helps."""
    conditioning = profile.conditioning
    if isinstance(conditioning, str) or not 1 < conditioning.steps_ratio < math.inf:
        return ""
    return f"; gradient descent on a linear layer needs {conditioning.steps_ratio:.2g} times the steps that it would standardised"


def _offset_words(profile: InputProfile, limits: Limits, worst: int) -> dict[str, Any]:
    return {
        "summary": (
            f"{profile.label(worst)} lies around {profile.train.mean[worst]:.4g}: its mean square is "
            f"{profile.dominance:.2g} times the typical one (limit {limits.feature_dominance:g})"
        ),
        "quantity": f"largest E[x²] of a {profile.kind} over the typical one",
        "measured": profile.dominance,
        "limit": limits.feature_dominance,
    }


def _invariant(effect: InputEffect | None) -> bool:
    return effect is not None and effect.invariant


def _weigh(profile: InputProfile, limits: Limits) -> tuple[Severity, Confidence, str]:
    """Severity, confidence and words, by what standardising the inputs changed on a copy."""
    effect = profile.effect
    # One of several inputs may be a time, a weight or a mask, whose scale is meant.
    unconfirmed = Severity.NOTE if profile.part else Severity.WARNING
    if effect is None:
        return unconfirmed, "measured", ""
    words = (
        f"; on a copy, held-out loss {effect.loss_raw:.3g} as it is, "
        f"{effect.loss_standardised:.3g} standardised"
    )
    if math.isfinite(effect.loss_standardised) and not math.isfinite(effect.loss_raw):
        return Severity.ERROR, "confirmed", words
    learned = effect.loss_constant - effect.loss_standardised
    if not math.isfinite(learned) or learned <= limits.standardising_floor * abs(effect.loss_constant):
        if _falls_as_fast(effect):
            return Severity.NOTE, "measured", words
        return unconfirmed, "measured", ""  # neither learned anything: the trial says nothing
    share = (effect.loss_constant - effect.loss_raw) / learned
    if share < limits.standardising_share:
        return Severity.ERROR, "confirmed", words
    return (Severity.NOTE if share >= 1 else unconfirmed), "measured", words


def _falls_as_fast(effect: InputEffect) -> bool:
    """Whether the inputs as they are lose most of the start's excess over a constant, and standardised ones no more."""
    excess = effect.loss_start - effect.loss_constant
    closed = effect.loss_start - effect.loss_raw
    return effect.loss_raw <= effect.loss_standardised and closed > 0.5 * excess > 0


def _leak_severity(leak: LeakFingerprint) -> Severity | None:
    """One map for all rows, fitted on too many of them, moves inputs little; several maps spoil training."""
    milder = {FittedOn.EACH_SAMPLE: Severity.NOTE, FittedOn.BOTH_SPLITS: Severity.WARNING}
    return None if leak.fitted_on is None else milder.get(leak.fitted_on)


def _leak_words(profile: InputProfile, leak: LeakFingerprint) -> dict[str, Any]:
    where = f"{leak.fitted_on} in {leak.columns} {profile.kind}s"
    if leak.fitted_on is FittedOn.EACH_SAMPLE:
        return {
            "summary": "every sample has mean 0 and std 1 of its own, in both splits",
            "quantity": "samples normalised by themselves",
        }
    if leak.fitted_on is FittedOn.EACH_BATCH:
        return {
            "summary": f"mean 0 and std 1 are exact in every {leak.batch} rows as they are read: {where}",
            "quantity": "rows a batch that was normalised by itself",
            "measured": float(leak.batch or 0),
        }
    if leak.method == "minmax":
        low, high = leak.interval or (0.0, 1.0)
        alone = "" if leak.fitted_on is FittedOn.EACH_SPLIT else ", and not on the training rows"
        return {
            "summary": f"minimum {low:g} and maximum {high:g} are exact on {where}{alone}",
            "quantity": f"{profile.kind}s whose range is exact",
            "measured": float(leak.columns),
        }
    if leak.method == "robust":
        alone = "" if leak.fitted_on is FittedOn.EACH_SPLIT else ", and not on the training rows"
        return {
            "summary": f"median 0 and interquartile range 1 are exact on {where}{alone}",
            "quantity": f"{profile.kind}s whose quartiles are exact",
            "measured": float(leak.columns),
        }
    distance = leak.together if leak.fitted_on is FittedOn.BOTH_SPLITS else leak.validation
    alone = leak.fitted_on is FittedOn.EACH_SPLIT
    train = "" if alone else f"; the training rows are {leak.train:.1g} off"
    return {
        "summary": (
            f"mean 0 and std 1 are exact on {leak.fitted_on} (within {distance:.1g}) in {leak.columns} "
            f"{profile.kind}s{train}"
        ),
        "quantity": "distance of means and stds from 0 and 1, on the rows that were fitted on",
        "measured": distance,
    }


def _leak_why(leak: LeakFingerprint) -> str:
    if leak.fitted_on is FittedOn.EACH_SAMPLE:
        return "no other row was used, so nothing leaks; how bright or loud a sample is, is lost to the model"
    if leak.fitted_on is FittedOn.EACH_BATCH:
        return (
            "each batch was normalised by its own statistics: the same raw row becomes another input in "
            "another batch, and a single new row cannot be normalised at all"
        )
    if leak.fitted_on is FittedOn.EACH_SPLIT:
        return (
            "each split was normalised by its own statistics: the same raw row becomes two different "
            "inputs, and a single new row cannot be normalised at all"
        )
    chance = "" if leak.chance is None else f" (by chance: less than {max(leak.chance, 1e-99):.0e})"
    return f"statistics were fitted on held-out rows{chance}: validation no longer measures unseen data"


def _counts(entries: NonFiniteEntries) -> str:
    parts = [f"{n:,} {word}" for n, word in ((entries.missing, "NaN"), (entries.infinite, "infinite")) if n]
    return " and ".join(parts)
