"""WP2xx, WP301 and WP303: does the signal reach every layer, and does every layer move?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..limits import Limits
from ..report import Severity
from ..signals.result import (
    LayerSignal,
    NonFiniteOrigin,
    ParameterUpdate,
    SignalProfile,
    TrainingProfile,
    WeightProfile,
)
from .table import NO_OPTIMIZER, Defect, Judgement, NoVerdict

_FEW_ATTENTION_ROWS = 20
_REDRAW = "wellposed fix train.py:problem redraws the weights with the gain of the activation and calibrates them on the data"


def vanishing_activations(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    if not profile.input_std:
        yield NoVerdict(reason="the inputs are codes, or do not vary", outcome="not applicable")
        return
    first, later = _hidden_end(profile.layers), _hidden_end(profile.later)
    scale = min(profile.input_std, 1.0)
    gone = limits.vanished * scale
    if first is None:
        yield _no_hidden_signal(profile)
        return
    recovered = (
        later is not None
        and later.sample_std >= gone
        and (profile.learned is None or profile.learned > limits.learning)
    )
    end = _end(profile.layers)
    if first.rms < gone and later is None and end is not None and end.sample_std >= gone:
        yield NoVerdict(
            reason="a layer is silent and the signal arrives past it; only steps could tell whether it opens",
            outcome="inconclusive",
        )
        return
    if first.rms < gone and not recovered:
        at = next((x for x in profile.layers if x.rms < limits.step_down * scale), first)
        yield Defect(
            where=at.name,
            summary=f"the signal falls from std {profile.input_std:.2g} at the input to rms {first.rms:.2g} at {first.name} (limit {gone:.2g})",
            quantity="rms of the last hidden layer",
            measured=first.rms,
            limit=gone,
            why="each layer shrinks the signal, so samples look alike to the last layer and gradients shrink on the way back",
            fix=_REDRAW,
            command="fix",
        )


def exploding_activations(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    if not profile.input_std:
        yield NoVerdict(reason="the inputs are codes, or do not vary", outcome="not applicable")
        return
    last = _end(profile.layers)
    limit = limits.exploded * max(profile.input_std, 1.0)
    if last and last.sample_std > limit:
        at = next((x for x in profile.layers if x.sample_std > limit / 100), last)
        yield Defect(
            where=at.name,
            summary=f"across-sample std grows from {profile.input_std:.2g} at the input to {last.sample_std:.2g} at {last.name} (limit {limit:.2g})",
            quantity="across-sample std of the last layer",
            measured=last.sample_std,
            limit=limit,
            why="each layer amplifies the signal: the first steps see huge outputs and gradients, and blow up or only shrink them",
            fix=_REDRAW,
            command="fix",
        )


def signal_collapse(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    first, later = _hidden_end(profile.layers), _hidden_end(profile.later)
    if first is None or not first.rms > 0 or math.isnan(first.sample_std):
        yield _no_hidden_signal(profile)
        return
    if first.spread < limits.collapsed and later is None:
        yield NoVerdict(
            reason=f"samples look alike at {first.name}, as behind branches that start closed; no steps show whether that lasts",
            outcome="inconclusive",
        )
    elif first.spread < limits.collapsed and later is not None and later.spread < limits.collapsed:
        at = next((x for x in profile.layers if x.spread < 10 * limits.collapsed), first)
        yield Defect(
            where=at.name,
            summary=f"samples differ by {first.spread:.2g} of the signal's size at {first.name} (limit {limits.collapsed:g})",
            quantity="across-sample std over rms at the last hidden layer",
            measured=first.spread,
            limit=limits.collapsed,
            why="deep layers see nearly the same values for every sample, and learn the mean of the targets",
            fix=_REDRAW + "; deep sigmoid networks cannot be rescued by variance: use tanh, ReLU or a norm",
            command="fix",
        )


def dead_units(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    later = {x.name: x for x in profile.later}
    for i, layer in enumerate(profile.layers):
        after = later.get(layer.name, layer)
        share = min(layer.dead_share, after.dead_share)
        if not (
            layer.rectified
            and layer.has_parameters
            and layer.units >= 4
            and layer.rms > 0
            and layer.gradient_rms is not None
        ):
            continue
        if share > limits.dead_share and _alive_after(profile.layers[i + 1 :]):
            yield Defect(
                where=layer.name,
                summary=f"{share:.0%} of the {layer.units} units are dead on every batch, before and after {profile.steps} steps (limit {limits.dead_share:.0%})",
                quantity="share of units without any gradient",
                measured=share,
                limit=limits.dead_share,
                why="a unit whose input is negative for every sample has no gradient, and never comes back"
                + ("; nothing before this layer trains" if share == 1 else ""),
                fix="set the biases to zero and redraw the weights (wellposed fix), lower the rate, or use a leaky activation",
                severity=None,
            )


def saturated_units(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    yield from _saturated_attention(profile, limits)
    later = {x.name: x for x in profile.later}
    for layer in profile.layers:
        after = later.get(layer.name, layer)
        if layer.saturated_share is None or layer.name == profile.output:
            continue
        share = min(
            layer.saturated_share,
            after.saturated_share if after.saturated_share is not None else layer.saturated_share,
        )
        if share > limits.saturated_share:
            yield Defect(
                where=layer.name,
                summary=f"{share:.0%} of the entries saturate the {layer.squashing} that follows (limit {limits.saturated_share:.0%}; rms {layer.rms:.3g})",
                quantity="share of entries where the slope is below 1 % of its largest",
                measured=share,
                limit=limits.saturated_share,
                why=f"a saturated {layer.squashing} passes no gradient: the layers before it barely learn",
                fix="standardise the inputs, and draw weights with variance near 1/n (wellposed fix)",
            )
            return


def _saturated_attention(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    later = {x.name: x for x in profile.attention_later}
    sharp = [
        x
        for x in profile.attention
        if x.moving >= _FEW_ATTENTION_ROWS
        and max(x.moving_entropy, later.get(x.name, x).moving_entropy) < limits.attention_entropy
    ]
    if sharp:
        first = sharp[0]
        yield Defect(
            where=first.name,
            summary=f"attention over {first.keys} keys looks at one of them at a time: the entropy of its weights is {first.moving_entropy:.0%} of that of even ones (limit {limits.attention_entropy:.0%})"
            + (f"; {len(sharp)} such layers" if len(sharp) > 1 else ""),
            quantity="entropy of the attention weights over that of even ones",
            measured=first.moving_entropy,
            limit=limits.attention_entropy,
            why="the softmax saturates: chance decides at which key each query looks, and next to no gradient tells queries and keys to look elsewhere",
            fix="divide the products of queries and keys by the root of their length, and draw both projections with variance near 1/n",
            severity=Severity.WARNING,
        )


def exploding_gradients(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    flow = [(x, x.gradient_rms * x.rms) for x in profile.layers if x.has_parameters and x.gradient_rms]
    if len(flow) < 3:
        outcome = "not applicable" if flow else "skip"
        yield NoVerdict(reason="fewer than three layers with a gradient", outcome=outcome)
        return
    last = flow[-1][1]
    worst, value = max(flow, key=lambda item: item[1])
    if last > 0 and value > limits.gradient_growth * last:
        yield Defect(
            where=worst.name,
            summary=f"the gradient grows {value / last:.2g}-fold from {flow[-1][0].name} back to {worst.name} (limit {limits.gradient_growth:g})",
            quantity="gradient times activation, first layer over last",
            measured=value / last,
            limit=limits.gradient_growth,
            why="one rate cannot serve layers whose gradients differ this much: the early ones overshoot or the late ones stand still",
            fix=_REDRAW,
            command="fix",
        )


def non_finite_origin(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    origin = profile.nonfinite
    if origin is None:
        return
    if origin.operation == "parameter":
        summary = f"{origin.where} holds a NaN or infinity before any training"
        why = "whatever reads it is lost from there on, and no update of a NaN recovers"
        fix = "draw it anew; a tensor from torch.empty, or a checkpoint that broke, holds whatever lay there"
    else:
        said = "output" if origin.direction == "forward" else "gradient"
        line = f" ({origin.line})" if origin.line else ""
        summary = f"the first NaN or infinite {said} comes from {origin.operation} at {origin.where}{line}{_of_rows(origin)}"
        why, fix = _WHY_NOT_FINITE[origin.direction], _MEND_NOT_FINITE[origin.direction]
    yield Defect(
        where=origin.where,
        summary=summary,
        quantity="training step at which it appears",
        measured=float(origin.step),
        why=why,
        fix=fix,
        confidence="confirmed",
    )


_WHY_NOT_FINITE = {
    "forward": "finite values go in and non-finite ones come out; everything downstream is lost",
    "backward": "finite values go in and non-finite ones come out; everything downstream is lost: the derivative is infinite there, as "
    "that of sqrt, norm or pow at 0",
}
_MEND_NOT_FINITE = {
    "forward": "keep the input of that operation in range: scale weights and inputs, or use a bounded activation",
    "backward": "add a small constant under the root or the logarithm",
}
_ROWS_TOLD = 4


def _of_rows(origin: NonFiniteOrigin) -> str:
    """Which rows of the batch make it, where some do."""
    if not origin.rows:
        return ""
    told = ", ".join(map(str, origin.rows[:_ROWS_TOLD])) + (", …" if len(origin.rows) > _ROWS_TOLD else "")
    rows = f"{len(origin.rows)} rows ({told})" if len(origin.rows) > 1 else f"row {told}"
    return f", with {rows} of batch {origin.batch}, and not without"


def noise_dominates(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.noise is None:
        yield NoVerdict(reason="no dropout", outcome="not applicable")
    elif profile.noise > limits.noise:
        yield Defect(
            where=profile.noisiest or "model",
            summary=f"dropout makes the outputs vary {profile.noise:.3g} times as much as the samples do (limit {limits.noise:g})",
            quantity="variance over draws of dropout over variance across samples",
            measured=profile.noise,
            limit=limits.noise,
            why="a gradient step follows the noise: hardly anything of a sample's own signal reaches the loss",
            fix="lower the dropout rate: 0.1 to 0.5 is usual",
        )


def norm_over_few(profile: SignalProfile, limits: Limits) -> Iterator[Judgement]:
    few = [x for x in profile.layers if 1 <= x.normalised_over <= 2]
    if few:
        first = few[0]
        lost = first.normalised_over == 1
        yield Defect(
            where=first.name,
            summary=f"{first.kind} normalises over {'one value' if lost else 'two values'} at a time"
            + (f"; {len(few)} such layers" if len(few) > 1 else ""),
            quantity="values to a mean and a variance",
            measured=float(first.normalised_over),
            limit=2.0,
            why="what it gives is its bias, whatever comes in: nothing passes"
            if lost
            else "two values always become -1 and +1: how large they were, and how far apart, is lost",
            fix="give batches of more rows (16 or more for a batch norm), or normalise over other axes: LayerNorm over the features, GroupNorm",
            severity=Severity.ERROR if lost else None,
        )


def symmetric_weights(profile: TrainingProfile, limits: Limits) -> Iterator[Judgement]:
    equal = [u for u in profile.updates if u.rows_equal and (u.movement > 0 or u.rms == 0)]
    if equal:
        first = equal[0]
        yield Defect(
            where=first.name,
            summary=f"all units of {first.name} have the same weights, and still have after {profile.steps} steps"
            + (f" ({len(equal)} such tensors)" if len(equal) > 1 else ""),
            quantity="difference between the units' weights",
            measured=0.0,
            limit=0.0,
            why="units that start equal get equal gradients and stay equal: the layer is as good as one unit wide",
            fix="draw the weights at random: " + _REDRAW,
            command="fix",
            confidence="confirmed",
        )


def weight_variance(profile: WeightProfile, limits: Limits) -> Iterator[Judgement]:
    if not profile.layers:
        yield NoVerdict(reason="no layer that an activation reads", outcome="not applicable")
        return
    drawn = [v for v in profile.layers if v.name in profile.redrawn]
    if not profile.cured or not drawn:
        return
    worst = max(drawn, key=lambda v: abs(math.log(v.has / v.needs)))
    others = f"; {len(drawn)} layers alike" if len(drawn) > 1 else ""
    around = f" around a mean of {worst.mean:.2g}" if abs(worst.mean) > 0.5 * math.sqrt(worst.has) else ""
    many = len(profile.cured) > 1
    yield Defect(
        where=worst.name,
        summary=f"drawn with std {math.sqrt(worst.has):.2g}{around}: variance {worst.has:.2g}, before {worst.activation} it needs {worst.needs:.2g}{others}",
        quantity="mean square of the weights over gain squared / fan-in",
        measured=worst.has / worst.needs,
        limit=limits.variance_ratio,
        why=f"it is what {' and '.join(profile.cured)} {'come' if many else 'comes'} from: drawn with the variance needed, {'they are' if many else 'it is'} gone",
        fix=f"draw these weights with std {math.sqrt(worst.needs):.2g}, the gain of the activation over the root of the fan-in of {worst.fan_in}; {_REDRAW}",
        command="fix",
        confidence="confirmed",
        severity=None if set(profile.cured) - {"WP207"} else Severity.WARNING,
    )


def vanishing_updates(profile: TrainingProfile, limits: Limits) -> Iterator[Judgement]:
    weights = [
        u
        for u in profile.updates
        if u.dimensions >= 2 and u.rms > 0 and 0 < u.movement < math.inf and u.touched > 0.5
    ]
    if not profile.given:
        yield NO_OPTIMIZER
        return
    if len(weights) < 2:
        yield NoVerdict(reason="fewer than two weights moved by a finite amount")
        return
    # By unit of its own rate: a group that is meant to move slowly is no symptom.
    largest = max((u.movement / u.rate for u in weights if u.rate > 0), default=0.0)
    slow = [
        u
        for u in weights
        if u.movement < limits.slow_movement
        and u.rate > 0
        and u.movement / u.rate < limits.slow_share * largest
    ]
    if slow:
        worst = min(slow, key=lambda u: u.movement)
        yield Defect(
            where=worst.name,
            summary=f"{steps_to_move(worst, profile)} at this rate; moved {worst.movement:.1e} in {profile.steps} steps (limit {limits.slow_movement:g})"
            + (f"; {len(slow)} weights alike" if len(slow) > 1 else ""),
            quantity="relative movement of the weight",
            measured=worst.movement,
            limit=limits.slow_movement,
            why="the gradient that reaches it is tiny beside the others': under this optimizer it stays at its random start",
            fix=_REDRAW + "; or use an optimizer that rescales each gradient (Adam)",
            command="fix",
        )


def steps_to_move(update: ParameterUpdate, profile: TrainingProfile) -> str:
    """How many steps a weight needs to move by 1 %, in words."""
    needed = update.steps_to_move
    if needed is None or not math.isfinite(needed):  # saved before it was measured, or the steps broke off
        needed = 0.01 * profile.steps / update.movement
    rounded = float(f"{needed:.2g}")
    return f"needs about {f'{rounded:,.0f}' if rounded < 1e7 else f'{rounded:.1e}'} steps to move by 1 %"


def _end(layers: Sequence[LayerSignal]) -> LayerSignal | None:
    """The last layer with weights: what comes after it only reshapes."""
    return next((x for x in reversed(layers) if x.has_parameters and not math.isnan(x.sample_std)), None)


def _hidden_end(layers: Sequence[LayerSignal]) -> LayerSignal | None:
    """The last layer before the one that makes the output."""
    end = _end(layers)
    if end is None:
        return None
    index = max(i for i, x in enumerate(layers) if x is end)
    return layers[index - 1] if index >= 2 else None


def _no_hidden_signal(profile: SignalProfile) -> NoVerdict:
    """Why no hidden layer can be judged: there is none, or its signal is zero or infinite, or nothing is there to compare."""
    if any(not math.isfinite(x.rms) for x in profile.layers):
        return NoVerdict(reason="the signal is not finite")
    if profile.layers and all(math.isnan(x.sample_std) for x in profile.layers):
        return NoVerdict(reason="every batch holds one sample", needs="give batches of several samples")
    if _hidden_end(profile.layers) is not None:
        return NoVerdict(reason="the signal is zero, or has no samples")
    return NoVerdict(reason="no hidden layer", outcome="not applicable")


def _alive_after(layers: Sequence[LayerSignal]) -> bool:
    """Whether a gradient still arrives at the next layer with weights: then this layer is where it dies."""
    following = next((x for x in layers if x.has_parameters), None)
    return following is None or bool(following.gradient_rms)
