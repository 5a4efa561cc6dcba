"""Vanishing and exploding signals: forward and backward, layer by layer, before and after a few steps."""

from ._measure import measure_signals
from .result import LayerSignal, NonFinite, Outcome, ParameterUpdate, SignalProfile, TrainingProfile

__all__ = [
    "LayerSignal",
    "NonFinite",
    "Outcome",
    "ParameterUpdate",
    "SignalProfile",
    "TrainingProfile",
    "measure_signals",
]
