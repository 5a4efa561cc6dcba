"""WP601 to WP606, WP610 to WP613, WP615, WP616: is every parameter reached, held and used, and does nothing mix that should not?"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..limits import Limits
from ..objective.result import TrainableProfile, Unreached, WiringProfile
from ..report import Severity
from .table import NO_OPTIMIZER, Defect, Judgement, NoVerdict


def disconnected_parameter(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.choosing:
        others = len(profile.choosing) - 1
        yield Defect(
            where=profile.choosing[0],
            summary="its gradient is the same whatever the targets are, though outputs that are compared with them depend on it, by jumps alone"
            + (f"; {others} more alike" if others else ""),
            quantity="parameters that choose outputs and that the targets teach nothing",
            measured=float(len(profile.choosing)),
            limit=0.0,
            why="what it computes is turned into a choice (argmin, argmax, round) on the way to the outputs, and no gradient passes that",
            fix="pass the gradient straight through: z + (chosen - z).detach() in place of chosen; or a soft choice",
            severity=Severity.WARNING,
            confidence="confirmed",
        )
    cut = [u for u in profile.unreached if u.loss_depends]
    alone = [u for u in profile.unreached if u.softmax_of_one and not u.loss_depends]
    unused = [u for u in profile.unreached if not u.loss_depends and not u.softmax_of_one]
    if cut:
        kind = "no path" if cut[0].absent else "exactly zero"
        yield Defect(
            where=cut[0].name,
            summary=f"the loss depends on it, yet its gradient is {'absent' if cut[0].absent else 'exactly zero'} on every batch"
            + _alike(cut, profile),
            quantity="parameters that change the loss and get no gradient",
            measured=float(len(cut)),
            limit=0.0,
            why=f"the gradient is cut on the way ({kind}): .detach(), .data, torch.no_grad, .item(), a round or argmax, or units that are all dead",
            fix="find the cut between this parameter and the loss; freeze it with requires_grad_(False) if it is meant",
            severity=None if any(u.in_optimizer for u in cut) else Severity.NOTE,
            confidence="confirmed",
        )
    elif alone:
        yield Defect(
            where=alone[0].name,
            summary="it changes nothing: what it computes passes a softmax over an axis of length 1, on every batch"
            + _alike(alone, profile),
            quantity="trainable parameters that the loss does not depend on",
            measured=float(len(alone)),
            limit=0.0,
            why="a softmax over one entry is always 1, and its gradient is exactly zero: these scores never learn",
            fix="take the softmax over the axis along which the scores compete: softmax(dim=1) of scores of shape (N, T, 1)",
            severity=None if any(u.in_optimizer for u in alone) else Severity.NOTE,
            confidence="confirmed",
        )
    elif unused:
        cancelled = not unused[0].absent
        yield Defect(
            where=unused[0].name,
            summary=(
                "its gradient is zero and the loss does not depend on it: what follows cancels it"
                if cancelled
                else "no gradient reaches it, and the loss does not depend on it"
            )
            + _alike(unused, profile),
            quantity="trainable parameters that the loss does not use",
            measured=float(len(unused)),
            limit=0.0,
            why=(
                "a normalisation that follows subtracts it again, as of a bias before a batch norm (harmless), or nothing behind it is awake"
                if cancelled
                else "it stays at its random start, takes memory, and makes distributed training wait for it"
            ),
            fix="before a normalisation leave it out (bias=False); else see WP204"
            if cancelled
            else "use it in forward, remove it, or freeze it with requires_grad_(False)",
            severity=Severity.NOTE,
            confidence="confirmed",
        )


def _alike(found: list[Unreached], profile: WiringProfile) -> str:
    return f"; {len(found)} of {profile.trainable} parameters alike" if len(found) > 1 else ""


def not_in_optimizer(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.outside_optimizer is None:
        yield NO_OPTIMIZER
        return
    outside = tuple(name for name in profile.outside_optimizer if name not in profile.apart)
    if outside:
        everything = len(outside) == profile.trainable
        yield Defect(
            where=outside[0],
            summary=f"{len(outside)} of {profile.trainable} trainable parameters get a gradient and are not in the optimizer"
            + (f", which holds {profile.foreign} parameters of something else" if profile.foreign else ""),
            quantity="trainable parameters that the optimizer does not hold",
            measured=float(len(outside)),
            limit=0.0,
            why="they never move" + (": the optimizer was made for another model" if everything else ""),
            fix="make the optimizer from model.parameters() after the model is complete, or freeze them with requires_grad_(False)",
            severity=Severity.ERROR if everything else None,
            confidence="confirmed",
        )
    elif profile.apart:
        yield Defect(
            where=profile.apart[0],
            summary=f"{len(profile.apart)} of {profile.trainable} trainable parameters get a gradient and are not in the optimizer: those of a whole network that runs after all that it holds",
            quantity="trainable parameters that the optimizer does not hold",
            measured=float(len(profile.apart)),
            limit=0.0,
            why="right where the loss only passes through it, as a generator's step through the discriminator; it does not move in this step",
            fix="if it is to learn in this step, add its parameters to the optimizer",
            severity=Severity.NOTE,
            confidence="confirmed",
        )


def batch_leak(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.leak is None:
        yield NoVerdict(reason=profile.leak_reason)
    elif not profile.leak <= limits.batch_leak:
        yield Defect(
            where=profile.leak_at or "model",
            summary=f"replacing one sample changes other samples' outputs by {profile.leak:.2g} of their std, in eval mode (limit {limits.batch_leak:g})",
            quantity="change of other samples' outputs over their std",
            measured=profile.leak,
            limit=limits.batch_leak,
            why="samples see each other: a prediction depends on what else is in the batch",
            fix="look for a view or reshape where a transpose was meant, or a softmax or mean over the batch axis",
            confidence="confirmed",
        )


def train_eval_gap(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.frozen_statistics:
        yield Defect(
            where=profile.frozen_statistics[0],
            summary=f"running statistics stand still in train mode ({len(profile.frozen_statistics)} layers); eval loss {profile.eval_loss or 0:.3g}, train loss {profile.train_loss or 0:.3g}",
            quantity="normalization layers with frozen running statistics",
            measured=float(len(profile.frozen_statistics)),
            limit=0.0,
            why="in eval mode the layer normalises with statistics near their start (mean 0, variance 1), not with those of the data",
            fix="give the layer a momentum above 0 (0.1 is usual); check that forward runs in train mode",
            confidence="confirmed",
        )
        return
    train, evaluated = profile.train_loss, profile.eval_loss
    if train is None or evaluated is None:
        yield NoVerdict(reason=profile.gap_reason or "no loss to compare")
        return
    limit = train + limits.eval_gap * max(abs(train), limits.eval_gap_floor)
    # What is learned in train mode and lost in eval mode needs no such size, only more than the batches scatter.
    constant = profile.constant_loss
    lost = constant is not None and train < constant < evaluated
    if lost and profile.gap_error is not None:
        limit = min(limit, train + limits.eval_gap_errors * profile.gap_error)
    if math.isfinite(train) and not evaluated <= limit:
        yield Defect(
            where="model",
            summary=f"the same batches have loss {train:.3g} in train mode and {evaluated:.3g} in eval mode (limit {limit:.3g})"
            + (f"; a constant prediction has {constant:.3g}" if lost else ""),
            quantity="loss in eval mode",
            measured=evaluated,
            limit=limit,
            why="what is evaluated is not what was trained, though running statistics had the time to settle",
            fix="compare the two code paths: if self.training, dropout scaling, running statistics",
        )


def ignored_input(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    for name in (*profile.ignored, *profile.ignored_entries):
        yield Defect(
            where=name,
            summary="shuffling this input among the samples changes no output, also after the first steps",
            quantity="change of the outputs",
            measured=0.0,
            limit=0.0,
            why="the model does not use it",
            fix="check the forward pass: is it multiplied by zero, overwritten, or never read?",
            confidence="confirmed",
            severity=Severity.NOTE if name in profile.ignored_entries else None,
        )


def future_leak(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.future_leak is None:
        yield NoVerdict(reason="the targets are not the inputs one position on", outcome="not applicable")
    elif not profile.future_leak <= limits.future_leak:
        yield Defect(
            where="model",
            summary=f"the targets are the inputs one position on, and later inputs change earlier outputs by {profile.future_leak:.2g} of their std (limit {limits.future_leak:g})",
            quantity="change of outputs over their std when later inputs are replaced",
            measured=profile.future_leak,
            limit=limits.future_leak,
            why="the answer stands among what the model sees: the loss falls to nearly nothing, and nothing is learned that helps to predict",
            fix="mask what comes after each position (is_causal=True, or a mask from tril with diagonal=0); no bidirectional layer, no norm or mean over the positions",
            confidence="confirmed",
        )


def ignored_order(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.order_effect is None:
        yield NoVerdict(
            reason="the targets are not the inputs one position on, or earlier inputs hardly matter",
            outcome="not applicable",
        )
    elif profile.order_effect <= limits.order_effect:
        yield Defect(
            where="model",
            summary=f"the targets are the inputs one position on, and earlier inputs can change places: later outputs change by {profile.order_effect:.2g} of what other inputs there do (limit {limits.order_effect:g})",
            quantity="change of later outputs by the order of earlier inputs, over that by what they are",
            measured=profile.order_effect,
            limit=limits.order_effect,
            why="what comes before is a bag to the model: it cannot tell 'a b' from 'b a' beyond the last position",
            fix="add positions: an embedding of arange(length), sinusoids or rotary ones; look whether those that are there are used",
            confidence="confirmed",
            severity=None
            if profile.attends
            else Severity.NOTE,  # a mean of what came before is one by choice
        )


def shared_noise(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.shared_noise is not None:
        predicted = profile.shared_noise == "predicted"
        yield Defect(
            where="model",
            summary="the outputs are compared with random numbers that are the same for all samples of a batch"
            if predicted
            else "all samples of a batch get the same random numbers, in train mode",
            quantity="draws for a batch",
            measured=1.0,
            why="one draw is spread over the batch: a step sees one noise where it could see one a sample, and follows it"
            if predicted
            else "one draw is spread over the batch; right where that is meant, as of noise on weights",
            fix="draw as many as there are samples: torch.randn_like(x), or torch.randn(len(x), ...)",
            confidence="confirmed",
            severity=None if predicted else Severity.NOTE,
        )


def padding_matters(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.padding_effect is None:
        yield NoVerdict(
            reason="no mask and no lengths among the inputs say what is padding", outcome="not applicable"
        )
    elif not profile.padding_effect <= limits.padding_effect:
        yield Defect(
            where="model",
            summary=f"cutting off padding that the inputs mark as such changes the outputs by {profile.padding_effect:.2g} of their std (limit {limits.padding_effect:g})",
            quantity="rms change of outputs over their std when padding is cut off",
            measured=profile.padding_effect,
            limit=limits.padding_effect,
            why="what a sample gets depends on how long the longest of its batch is: alone, or in other company, it gets another answer",
            fix="use the mask wherever positions meet: attention (key_padding_mask), means and maxima over positions, the last state of a recurrent layer (pack_padded_sequence)",
            confidence="confirmed",
        )


def inverted_mask(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.inverted_mask is not None:
        attends = profile.inverted_mask == "attention"
        yield Defect(
            where="attention" if attends else "model",
            summary="an attention gives all its weight to padding, and none to what is real, in every padded row"
            if attends
            else "outputs depend on the padding, and stay to the bit when what is real behind the first position changes places",
            quantity="weight of what is real" if attends else "change of the outputs",
            measured=0.0,
            limit=0.0,
            why="the mask says the opposite of what it should: what is to be read is hidden, and what is to be hidden is read",
            fix="turn the mask round: key_padding_mask is True at padding, the attn_mask of scaled_dot_product_attention is True at what is read",
            confidence="confirmed",
        )


def unused_slice(profile: WiringProfile, limits: Limits) -> Iterator[Judgement]:
    for unused in profile.unused_slices:
        yield Defect(
            where=unused.name,
            summary=f"rows {unused.start} to {unused.stop - 1} of {unused.rows} change nothing in the loss, whatever they hold, after the first steps too",
            quantity="rows that the loss does not depend on",
            measured=float(unused.stop - unused.start),
            limit=0.0,
            why="part of what this layer computes is never read: one slice of a fused projection was taken twice, or some outputs enter no term of the loss",
            fix="check how its output is split or indexed; if the rest is meant to be unused, make the layer smaller",
            confidence="confirmed",
        )


def nothing_trains(profile: TrainableProfile, limits: Limits) -> Iterator[Judgement]:
    if not profile.trainable:
        yield Defect(
            where="model",
            summary=f"every parameter is frozen: none of {profile.parameters} has requires_grad",
            quantity="parameters that can train",
            measured=0.0,
            limit=1.0,
            why="no step can change the model: its loss stays where it is",
            fix="unfreeze what is to be trained: model.requires_grad_(True), or that of a new head",
        )
    elif profile.connected is False:
        yield Defect(
            where="loss",
            summary=f"the loss has no path to any of the {profile.trainable} trainable parameters: loss.backward() would raise",
            quantity="parameters that can train",
            measured=0.0,
            limit=1.0,
            why="no gradient exists, so no step can change the model",
            fix="look between the outputs and the loss for .detach(), .data, .item(), torch.no_grad, an argmax or a conversion to NumPy",
        )
