"""Gradient checking: is the backward pass the derivative of the forward pass, and if not, where and how (lesson 5)."""

from ._check_gradients import check_gradients
from .custom_backward import check_custom_functions
from .result import CustomBackward, CustomBackwards, GradientCheck, TensorCheck, WorstElement

__all__ = [
    "CustomBackward",
    "CustomBackwards",
    "GradientCheck",
    "TensorCheck",
    "WorstElement",
    "check_custom_functions",
    "check_gradients",
]
