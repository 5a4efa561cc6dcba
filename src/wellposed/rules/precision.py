"""Rules about training in a lower precision (WP208, WP212, WP213)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..limits import Limits
from ..report import Severity
from ..signals.result import LayerPrecision, PrecisionProfile, TrainingProfile
from .table import NO_OPTIMIZER, Defect, Judgement, NoVerdict

_MOST = 0.5
"""Of the layers."""


def precision_underflow(profile: PrecisionProfile, limits: Limits) -> Iterator[Judgement]:
    if profile.overflows is not None:
        yield NoVerdict(reason=f"values are too large for {profile.precision} (WP212)")
        return
    if profile.survives and (profile.scales is None or profile.scaled):
        return
    if profile.starved is not None:
        yield _starved(profile, limits)
        return
    where, format = profile.worst or "model", profile.precision
    said = f"{profile.worst_vanished:.0%} of the gradient at {where} rounds to zero in {format} (limit {limits.flushed_share:.0%})"
    small = "what is far below the largest value that shares its scale"
    if profile.flushed_up_to is not None:
        small = f"what is below {profile.flushed_up_to:.1g}"
    why = f"{small} does not exist in {format}: those weights do not move, silently"
    if profile.survives and profile.scales is not None:
        fix = (
            f"scale the loss by {_power(profile.scales[0])} to {_power(profile.scales[1])} (torch.amp.GradScaler finds such a scale; where yours "
            'does, say precision="fp16-scaled"), or train in bf16'
        )
    else:
        if format == "fp16":
            said += ", and no loss scale saves it"
        fix = _keep(profile)
    yield Defect(
        where=where,
        summary=said,
        quantity="share of the squared gradient of a layer that rounds to zero",
        measured=profile.worst_vanished,
        limit=limits.flushed_share,
        why=why,
        fix=fix,
        confidence="confirmed",
        severity=_severity(profile),
    )


def _starved(profile: PrecisionProfile, limits: Limits) -> Defect:
    layer = next(x for x in profile.layers if x.name == profile.starved)
    shares = {
        what: n.vanished for what, n in (("activations", layer.forward), ("weights", layer.weights)) if n
    }
    what = max(shares, key=lambda w: shares[w])
    return Defect(
        where=layer.name,
        summary=f"{shares[what]:.0%} of the {what} at {layer.name} round to zero in {profile.precision} (limit {limits.flushed_share:.0%}), and "
        f"gradients are wrong by up to {max(x.gradient_error or 0.0 for x in profile.layers):.0%}",
        quantity="share of the activations or weights of a layer that round to zero",
        measured=shares[what],
        limit=limits.flushed_share,
        why="one value that dwarfs the others takes the scale that they share: beside it they do not exist",
        fix=f"scale the inputs or normalise before the layer; or {_keep(profile)}",
        confidence="confirmed",
    )


def _severity(profile: PrecisionProfile) -> Severity | None:
    """A loss scale mends it, and training in fp16 mostly has one: of a layer or two a remark, of most a warning."""
    if not profile.survives:
        return None
    return Severity.WARNING if profile.lost_layers >= _MOST else Severity.NOTE


def precision_overflow(profile: PrecisionProfile, limits: Limits) -> Iterator[Judgement]:
    layer = next((x for x in profile.layers if x.name == profile.overflows), None)
    if profile.overflows is None:
        return
    yield Defect(
        where=profile.overflows,
        summary=_too_large(layer, profile),
        quantity="largest value",
        measured=max((n.largest for n in (layer.forward, layer.weights) if n is not None), default=None)
        if layer
        else None,
        limit=profile.largest,
        why="what is too large becomes infinite, and the loss and every gradient are lost with it; a loss scale does not help going forward",
        fix=_keep(profile),
        confidence="confirmed",
    )


def _too_large(layer: LayerPrecision | None, profile: PrecisionProfile) -> str:
    lost = "the gradient does not survive" if profile.finite else "the loss or its gradient is not finite"
    beyond = [n for n in (layer.forward, layer.weights) if n is not None and n.beyond] if layer else []
    line = f" ({layer.line})" if layer and layer.line else ""
    values = f"values up to {beyond[0].largest:.2g} at {profile.overflows}{line}" if beyond else "values"
    return f"{lost} in {profile.precision}: {values} are beyond {profile.largest:g}"


def _keep(profile: PrecisionProfile) -> str:
    """What to keep in float32."""
    other = "train in bf16" if profile.precision.startswith("fp16") else "train in bf16 without fp8"
    if not profile.keep:
        return f"{other}; keeping a few layers in float32 was not enough"
    layers = ", ".join(profile.keep)
    return f"keep {layers} in float32 (torch.autocast with enabled=False around it): the rest survives; or {other}"


def _power(scale: float) -> str:
    return f"2^{round(math.log2(scale))}"


def lost_updates(profile: TrainingProfile, limits: Limits) -> Iterator[Judgement]:
    if not profile.given:
        yield NO_OPTIMIZER
        return
    lost = profile.lost
    if lost is None:
        yield NoVerdict(
            reason="no weights in half precision that float32 copies move", outcome="not applicable"
        )
    elif lost.all_steps > limits.lost_updates and not lost.kept_for_later:
        yield Defect(
            where=lost.worst,
            summary=f"{lost.all_steps:.0%} of the {lost.dtype} weights stay in {profile.steps} steps that move float32 copies of them (limit "
            f"{limits.lost_updates:.0%})",
            quantity="share of the weights that move in float32, and do not in half precision",
            measured=lost.all_steps,
            limit=limits.lost_updates,
            why=f"an update below half the spacing of a weight rounds away, at every step anew: {lost.dtype} keeps "
            f"{'8' if lost.dtype == 'bfloat16' else '11'} bits",
            fix="keep the weights in float32 and compute in half precision (torch.autocast), or use an optimizer with float32 master weights "
            "or stochastic rounding; a larger rate helps too",
            confidence="confirmed",
        )
