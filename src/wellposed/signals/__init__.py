"""Vanishing and exploding signals: forward and backward, layer by layer, before and after a few steps."""

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
