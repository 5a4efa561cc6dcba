"""Exact gains of activations, and weights that are drawn, calibrated on data and kept only when better."""

from .gains import Gain, gain
from .initializing import initialize
from .result import Initialization, ParameterRecipe, SignalSummary

__all__ = ["Gain", "Initialization", "ParameterRecipe", "SignalSummary", "gain", "initialize"]
