"""Gradient checking: is the backward pass the derivative of the forward pass, and if not, where and how (lesson 5).

The words of this room:

F
    The real number that is checked: the loss, or the outputs of f weighted with fixed random numbers and summed.
claimed gradient
    What the code under test says the gradient of F is; also called analytic. The numerical one comes from differences.
upstream gradient
    What a backward pass is given: the derivative of F by the outputs of f.
direction
    How far each element of each tensor moves for a step of 1. A step is relative to the size of the tensors.
difference pair
    F at x + h u and x - h u. Their difference over 2 h, less the claimed slope, is the residual slope; their sum gives the even residual.
residual
    A change of F less the change that the claimed gradient predicts for the move really made.
error estimate
    The residual slope of two steps, extrapolated to a step of 0: the gradient's error along a direction.
error bar
    The uncertainty of an error estimate. It depends on noise, truncation and kinks, never on the gradient's error. An error of more than 4 bars is flagged.
noise
    What changes a value of F, or an element of the gradient, at random: rounding, or evaluations that differ. See `noise.py`.
truncation
    The part of a difference that falls with h^2: F is no straight line.
kink
    A place where the slopes on both sides differ. A jump is a place where the values do.
quantisation
    Rounding inside F that is coarser than its dtype. Steps shorter than one level show no slope.
resolution
    The smallest error, relative to the norm of a tensor's gradient, that would have been flagged. A pass states it.
scale
    The root mean square of a tensor's elements; the slope scale of a tensor is the norm of its gradient times that.
cause
    The name of the bug: a simple change of the claimed gradient that makes it agree with the differences.
"""

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
