"""Exact gains of activations, and weights that are drawn, calibrated on data and kept only when better."""

from ._initialize import initialize
from .gains import Gain, gain
from .result import Initialization, ParameterRecipe, SignalSummary

__all__ = ["Gain", "Initialization", "ParameterRecipe", "SignalSummary", "gain", "initialize"]
