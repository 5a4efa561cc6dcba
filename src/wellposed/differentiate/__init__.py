"""Numerical derivatives that choose their own step and carry an error bar (lesson 4).

The words of this room:

f, x
    The user's function, and the point at which it is differentiated: all numbers of x as one flat vector of float64.
line
    A straight line through x: one for each element of x, or one along a given direction. Its scale is what counts as a long step on it.
step pair
    f at x + h and x - h; of one-sided differences, at x + h and x.
slope
    A difference quotient of f over a step; of second derivatives, a second difference quotient.
second difference
    f(x+h) + f(x-h) - 2 f(x). No first derivative enters it, so what remains of it as h goes to 0 is a kink.
ladder, rung
    The steps of a line, each about a quarter of the one before; a rung is one of them.
tableau, entry
    Richardson's table of slopes extrapolated to a step of 0. Each entry has an error bar; the one with the smallest bar is the answer.
error bar
    Half-width of an interval that covers the derivative: noise, truncation, and half of the jump at a kink.
noise
    Standard deviation of what changes a value of f at random: rounding anywhere inside f, or f itself if it is random.
truncation
    What a slope is off by because f curves over the step.
kink, cusp
    The slopes on both sides of x differ, by a constant; or ever more as the steps shrink.
jump
    The values on both sides of a place beside x differ.
quantisation
    Rounding inside f to few digits, so that f jumps again and again: over shorter steps a part of f stands still.
abrupt change
    The slopes of longer steps differ from those of shorter ones by more than truncation can explain.
sample lines, remaining lines
    A few lines of each group of similar elements, on which noise and steps are learnt; and the others, which use that.
"""

from ._numerical_gradient import numerical_gradient
from .directional import directional_derivative, hessian_vector, jacobian
from .hessians import hessian
from .result import NumericalGradient

__all__ = [
    "NumericalGradient",
    "directional_derivative",
    "hessian",
    "hessian_vector",
    "jacobian",
    "numerical_gradient",
]
