"""What a framework tells about a model's parameters: plain values, so that the policy needs no framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Next = Literal["activation", "norm", "attention", "residual", "layer", "output", "unknown"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerFacts:
    """One weight that multiplies the signal, and what becomes of its product."""

    name: str
    """Of the weight."""
    bias: str | None
    kind: Literal["linear", "convolution", "transposed convolution"]
    fan_in: float
    """Input values that one output value is a sum over."""
    fan_out: float
    next: Next
    """What decides the scale that the output should have. ``"norm"``: only norms read it, so its scale is
    undone. ``"attention"``: it ends in a softmax or an attention, where its scale is a temperature."""
    activation: Callable[[Any], Any] | None = None
    """The elementwise function that follows, for `gain`."""
    activation_name: str | None = None
    skip: int | None = None
    """Of a residual branch: which recorded value the branch is added to."""


@dataclass(frozen=True, kw_only=True)
class ParameterFacts:
    """One parameter as it stands."""

    name: str
    kind: Literal["weight", "bias", "norm", "embedding", "recurrent", "attention", "other"]
    shape: tuple[int, ...]
    trainable: bool = True
    tied_to: str | None = None
    """Another name under which the same parameter is used."""
    zero: bool = False
    symmetric: bool = False
    """Every unit (row) holds the very same weights, and they are not zero."""
    prior: bool = False
    """Of a bias: it holds values that the framework's default would not have drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFacts:
    """Everything about a model that the policy reads."""

    parameters: tuple[ParameterFacts, ...]
    layers: tuple[LayerFacts, ...]
    """In execution order where inputs were given, in the order of the modules otherwise."""
    residual_branches: int = 0
    traced: bool = False
    """Whether the layers were seen at work; otherwise their order is the order of the modules."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How one weight is to be drawn."""

    name: str
    distribution: Literal["normal", "orthogonal"]
    std: float
    """Of an entry, in the rms; of ``"orthogonal"`` the (semi-)orthogonal matrix is scaled to it."""
    target: float | None = None
    """Std over samples to calibrate the output to; of a residual branch, times the std of what it is added
    to."""
    only_shrink: bool = False
    skip: int | None = None
