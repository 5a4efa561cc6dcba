"""The signal at each layer, read off a trace of the model."""

from __future__ import annotations

import math

from ..runtime.model_trace import AttentionRows, ModelTrace, ModuleOutput, SourceLine
from .result import AttentionSignal, LayerSignal, NonFiniteOrigin


def layer_signals(trace: ModelTrace) -> tuple[LayerSignal, ...]:
    """One entry a layer, in the order in which they ran; what only passes values on has no signal of its own."""
    return tuple(_signal(name, layer) for name, layer in trace.modules.items() if not layer.passive)


def _signal(name: str, layer: ModuleOutput) -> LayerSignal:
    return LayerSignal(
        name=name,
        kind=layer.kind,
        rms=layer.output.rms,
        sample_std=layer.output.sample_std,
        gradient_rms=None if layer.gradient is None else layer.gradient.rms,
        dead_share=0.0 if layer.alive is None else 1.0 - len(layer.alive) / layer.units,
        units=layer.units,
        saturated_share=layer.flat / layer.squashed if layer.squashed else None,
        squashing=layer.squashing,
        has_parameters=layer.has_parameters,
        rectified=layer.rectified,
        normalised_over=layer.normalised_over,
    )


def attention_signals(trace: ModelTrace) -> tuple[AttentionSignal, ...]:
    """One entry for each place where attention weights are made, where any row has keys to choose from."""
    return tuple(_attention(name, rows) for name, rows in trace.attention.items() if rows.rows)


def _attention(name: str, rows: AttentionRows) -> AttentionSignal:
    return AttentionSignal(
        name=name,
        keys=rows.keys,
        rows=rows.rows,
        entropy=rows.entropy / rows.rows,
        moving=rows.moving,
        moving_entropy=rows.moving_entropy / rows.moving if rows.moving else math.nan,
    )


def nonfinite_origin(trace: ModelTrace, *, step: int) -> NonFiniteOrigin | None:
    """Where the first NaN or infinity came from, seen at a training step."""
    origin = trace.nonfinite
    if origin is None:
        return None
    return NonFiniteOrigin(
        where=origin.where,
        operation=origin.operation,
        direction=origin.direction,
        step=step,
        line=_text(origin.line),
        batch=origin.batch,
        rows=origin.rows,
    )


def _text(line: SourceLine | None) -> str | None:
    return None if line is None else str(line)
