"""Vanishing and exploding signals: forward and backward, layer by layer, before and after a few steps.

A model is traced in `runtime/torch/trace.py` and trained for a few steps in `runtime/torch/training.py`, which other lessons use too;
`layer_signals.py` reads the layers off a trace; the rules that judge are in `rules/signals.py`.
"""

from ._measure import measure_signals
from .result import (
    LayerSignal,
    NonFiniteOrigin,
    ParameterUpdate,
    PredictedSignal,
    RecurrentSignal,
    ResidualSum,
    SignalProfile,
    TrainingOutcome,
    TrainingProfile,
    WeightProfile,
    WeightVariance,
)

__all__ = [
    "LayerSignal",
    "NonFiniteOrigin",
    "ParameterUpdate",
    "PredictedSignal",
    "RecurrentSignal",
    "ResidualSum",
    "SignalProfile",
    "TrainingOutcome",
    "TrainingProfile",
    "WeightProfile",
    "WeightVariance",
    "measure_signals",
]
