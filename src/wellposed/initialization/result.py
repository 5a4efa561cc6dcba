"""What an initialization knows of a model, what it does to each parameter, and what was measured before and after."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..safe_text import printable, shown

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


Action = Literal["redrawn", "zeroed", "rolled back", "left alone"]


@dataclass(frozen=True, kw_only=True)
class SignalSummary:
    """How evenly the signal runs through the layers, measured on rows that the calibration did not see."""

    layers: int
    """Layers measured; those with weights of exact zeros and those that give the output are not among
    them."""
    smallest_std: float
    """Of a layer's output: the std over samples of each unit, then the rms over units."""
    largest_std: float
    silent: int
    """Layers whose output does not depend on the sample, or that no gradient reaches."""
    symmetric: int
    """Layers whose units all hold the same weights, and so stay copies of each other."""
    dead_units: float
    """Fraction of the activations' units that are constant over the samples, in the worst layer."""
    gradient_range: float
    """Largest norm of the gradient with respect to a layer's output, divided by the smallest. Of the loss
    where there is one, and otherwise of a fixed random projection of the output. NaN when no gradient could
    be taken."""
    finite: bool
    """Whether every output and gradient is finite."""
    loss: float | None = None
    """Held-out loss, where a loss and targets were given."""
    trained_loss: float | None = None
    """Held-out loss after a short training, the best of the learning rates tried."""

    @property
    def forward_range(self) -> float:
        """Largest std of a layer divided by the smallest."""
        if self.largest_std == 0:
            return 1.0
        return self.largest_std / self.smallest_std if self.smallest_std > 0 else math.inf

    def __str__(self) -> str:
        if not self.layers:
            return "no layer that could be measured"
        parts = [
            f"std x{self.forward_range:.3g} over {self.layers} layers",
            f"gradient x{self.gradient_range:.3g}",
        ]
        if self.silent:
            parts.append(f"{self.silent} silent")
        if self.symmetric:
            parts.append(f"{self.symmetric} symmetric")
        if self.dead_units:
            parts.append(f"{self.dead_units:.0%} dead")
        if not self.finite:
            parts.append("not finite")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4g}")
        if self.trained_loss is not None:
            parts.append(f"after steps {self.trained_loss:.4g}")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class ParameterRecipe:
    """What was done to one parameter."""

    name: str
    role: str
    """``"linear"``, ``"convolution"``, ``"final layer"``, ``"residual branch"``, ``"attention"``,
    ``"bias"``, ..."""
    action: Action
    reason: str
    """Why it was redrawn so, or why it was left alone."""
    gain: float | None = None
    """The weights were drawn with standard deviation ``gain / sqrt(fan_in)``, before calibration."""
    target: float | None = None
    """The std over samples that calibration aimed at; None when it was not calibrated."""
    std_before: float | None = None
    """Std over samples of the layer's output, on held-out rows."""
    std_after: float | None = None
    """The same with the new weights, kept or not."""


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """What `initialize` did."""

    scheme: str
    seed: int
    kept: bool
    """Whether the model now holds the new weights; False: it is bit for bit what it was."""
    reason: str
    """Why the new weights were kept, or not."""
    recipe: tuple[ParameterRecipe, ...]
    before: SignalSummary | None = None
    """None when there were no inputs to measure on."""
    after: SignalSummary | None = None

    def __str__(self) -> str:
        head = f"initialize: scheme {self.scheme}, seed {self.seed}: {'kept' if self.kept else 'rolled back'}"
        lines = [head, *_wrapped("  ", self.reason)]
        if self.before is not None and self.after is not None:
            lines += [*_wrapped("  before  ", str(self.before)), *_wrapped("  after   ", str(self.after))]
        for entry in self.recipe:
            if entry.gain is not None:
                lines += _redrawn(entry)
        lines += _others(self.recipe)
        return "\n".join(lines)


def _redrawn(entry: ParameterRecipe) -> list[str]:
    numbers = f"gain {entry.gain:.3f}" if entry.gain is not None else ""
    if entry.std_before is not None and entry.std_after is not None:
        numbers += f"  std {entry.std_before:.3g} -> {entry.std_after:.3g}"
    return _wrapped("  ", f"{shown(entry.name)}  {entry.role}  {entry.action}  {numbers}")


def _others(recipe: tuple[ParameterRecipe, ...]) -> list[str]:
    zeroed = sum(entry.action == "zeroed" for entry in recipe)
    lines = [f"  set to zero: {zeroed} bias{'es' if zeroed > 1 else ''}"] if zeroed else []
    left = [entry for entry in recipe if entry.action == "left alone"]
    for reason, count in Counter(entry.reason for entry in left).items():
        names = [shown(entry.name) for entry in left if entry.reason == reason]
        first = ", ".join(names[:3]) + (f" and {count - 3} more" if count > 3 else "")
        lines += _wrapped("  left alone: ", f"{first}: {reason}")
    return lines


def _wrapped(indent: str, text: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        80,
        initial_indent=indent,
        subsequent_indent=" " * max(4, len(indent)),
        break_on_hyphens=False,
    )
