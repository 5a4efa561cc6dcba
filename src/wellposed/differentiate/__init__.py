"""Numerical derivatives that choose their own step and carry an error bar (lesson 4)."""

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
