"""Vanishing and exploding signals: forward and backward, layer by layer, before and after a few steps.

The hooks that measure a layer stand in `runtime/torch/layer_taps.py`, the short trainings in `runtime/torch/training.py`, since other
lessons use them too; the rules that judge are in `rules/signals.py`.
"""

from ._measure import measure_signals
from .result import (
    LayerSignal,
    NonFiniteOrigin,
    ParameterUpdate,
    SignalProfile,
    TrainingOutcome,
    TrainingProfile,
)

__all__ = [
    "LayerSignal",
    "NonFiniteOrigin",
    "ParameterUpdate",
    "SignalProfile",
    "TrainingOutcome",
    "TrainingProfile",
    "measure_signals",
]
