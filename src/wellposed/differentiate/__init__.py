"""Numerical derivatives that choose their own step and carry an error bar (lesson 4)."""

from .numerical import numerical_gradient
from .result import NumericalGradient

__all__ = ["NumericalGradient", "numerical_gradient"]
