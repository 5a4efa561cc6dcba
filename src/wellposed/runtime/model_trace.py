"""What one run of a model showed, operation by operation, as plain values that merge over batches, calls and processes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key")
Value = TypeVar("Value", "Operation", "ModuleOutput", "AttentionRows")


class SourceLine(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file.replace(chr(92), '/').rpartition('/')[2]}:{self.line}"


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorStats:
    """Sums over the entries of tensors. ``a | b`` has those of both, as if they had been seen together."""

    count: float = 0.0
    """Number of entries."""
    total: float = 0.0
    squares: float = 0.0
    """Sum of the squares."""
    zeros: float = 0.0
    nans: float = 0.0
    infinities: float = 0.0
    compared: float = 0.0
    """Entries of tensors with two samples or more."""
    deviations: float = 0.0
    """Sum over those entries of their squared distance from the mean over the samples of their tensor."""
    largest: float = 0.0
    """The largest magnitude."""

    def __or__(self, other: TensorStats) -> TensorStats:
        sums = {name: getattr(self, name) + getattr(other, name) for name in SUMS}
        return TensorStats(**sums, largest=max(self.largest, other.largest))

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count else math.nan

    @property
    def sample_std(self) -> float:
        """Rms over positions of the std over samples; NaN where no tensor had two."""
        return math.sqrt(self.deviations / self.compared) if self.compared else math.nan

    @property
    def finite(self) -> bool:
        return not self.nans and not self.infinities


SUMS = (
    "count", "total", "squares", "zeros", "nans", "infinities", "compared", "deviations"
)  # fmt: skip
"""The fields of `TensorStats` that add up."""


class OperationKey(NamedTuple):
    """Which operation of the model's code it is: the same one in every batch."""

    module: str
    """Dotted path of the innermost module in which it ran; empty outside of all."""
    name: str
    """Name of the torch function."""
    line: SourceLine | None
    """Where the user's code, or a library's, called it; None where torch's own modules did without either."""
    nth: int
    """How often the same module ran the same function on the same line before, within one run."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One torch function that gave new numbers."""

    key: OperationKey
    inputs: tuple[int, ...]
    """Positions in the trace of the operations whose outputs it read; -1 is the model's input."""
    parameters: tuple[str, ...]
    """Dotted names of the parameters that it read."""
    output: TensorStats
    gradient: TensorStats | None
    """Of the gradient of the loss by its output, times the number of rows (so: per sample); None where none arrived."""
    shape: tuple[int, ...] = ()
    """Of its output, the first time."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Its arguments that are no tensors, by name or, as text, by place."""

    def __or__(self, other: Operation) -> Operation:
        return replace(
            self, output=self.output | other.output, gradient=merged(self.gradient, other.gradient)
        )


@dataclass(frozen=True, kw_only=True)
class ModuleOutput:
    """The output of one module, over all its calls."""

    module: str
    kind: str
    """Class name."""
    has_parameters: bool
    """Whether parameters are its own, not only its children's."""
    passive: bool
    """Whether it only passes values on, reorders or drops them."""
    line: SourceLine | None
    output: TensorStats
    gradient: TensorStats | None
    alive: frozenset[int] | None = None
    """Units through which a gradient went; None where none arrived."""
    units: int = 0
    squashing: str | None = None
    """The squashing function that reads it: ``"tanh"``, ``"sigmoid"``."""
    squashed: float = 0.0
    """Entries of that function's output."""
    flat: float = 0.0
    """Those where its slope is below 1 % of its largest."""
    rectified: bool = False
    """Whether a rectifier reads it."""
    normalised_over: int = 0
    """Most values over which this normalization layer took a mean and a variance; 0 for other layers."""

    def __or__(self, other: ModuleOutput) -> ModuleOutput:
        same_units = self.alive is not None and other.alive is not None and self.units == other.units
        return replace(
            self,
            output=self.output | other.output,
            gradient=merged(self.gradient, other.gradient),
            alive=(self.alive or frozenset()) | (other.alive or frozenset()) if same_units else other.alive or self.alive,
            units=other.units or self.units,
            squashing=other.squashing or self.squashing,
            squashed=self.squashed + other.squashed,
            flat=self.flat + other.flat,
            rectified=self.rectified or other.rectified,
            normalised_over=max(self.normalised_over, other.normalised_over),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionRows:
    """How the rows of attention weights (one a sample, head and query) spread over the keys. ``a | b`` has those of both."""

    keys: int
    rows: int
    """Those with four keys or more that are not masked."""
    entropy: float
    """Sum over them of the entropy of the weights, over that of even ones."""
    moving: int
    """Rows that look most at another key than their head usually does, and at another distance from their own place."""
    moving_entropy: float
    """As `entropy`, over those."""

    def __or__(self, other: AttentionRows) -> AttentionRows:
        return AttentionRows(
            keys=max(self.keys, other.keys),
            rows=self.rows + other.rows,
            entropy=self.entropy + other.entropy,
            moving=self.moving + other.moving,
            moving_entropy=self.moving_entropy + other.moving_entropy,
        )


@dataclass(frozen=True, kw_only=True)
class RegroupingView:
    """A view that regroups numbers where axes could have changed places, and where it stands in the user's code."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    line: SourceLine | None


class Weight(NamedTuple):
    """How the entries of a parameter are spread before any training."""

    shape: tuple[int, ...]
    mean: float
    square: float
    """Mean of the squares."""


class NonFinite(NamedTuple):
    """The operation from which the first NaN or infinity came."""

    where: str
    """Dotted name of the module."""
    operation: str
    """A layer of torch's own or the torch function going forward, the autograd node's name going backward; ``"parameter"``."""
    direction: str
    """``"forward"`` or ``"backward"``."""
    line: SourceLine | None = None
    batch: int = 0
    rows: tuple[int, ...] = ()
    """Of that batch, those without which it does not happen; empty where it is not some rows that make it."""


@dataclass(frozen=True, kw_only=True)
class ModelTrace:
    """One forward and backward pass of each of some batches. ``a | b`` has the batches of both, a's first."""

    operations: dict[OperationKey, Operation]
    """In the order in which they first ran."""
    modules: dict[str, ModuleOutput]
    """By dotted name, in the order in which they first gave an output."""
    attention: dict[str, AttentionRows] = field(default_factory=dict)
    """By dotted name of the module in which attention weights are made, or of the one before."""
    output: str | None = None
    """The module whose output is the model's output."""
    nonfinite: NonFinite | None = None
    gradient_squares: dict[str, list[float]] = field(default_factory=dict)
    """By parameter: the mean square of its gradient in each batch; NaN where it is not finite, -1 where it is absent."""
    awake_rows: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By parameter with two axes or more: which of its rows had a gradient in any batch."""
    connected: bool | None = None
    """Whether the loss has a path to a parameter; None without a loss."""
    outputs: int = 0
    """Numbers that the model puts out for one row."""
    regrouping: tuple[RegroupingView, ...] = ()
    """In the order in which they ran, in the first batch."""
    chooses: bool = False
    """Whether whole numbers or truth values were made of what has a gradient, as by an argmin: choices through which none passes."""
    same_outputs: bool = False
    """Whether all samples of a batch got the same outputs, in every batch, though the inputs differ."""
    weights: dict[str, Weight] = field(default_factory=dict)
    """By parameter."""
    input: TensorStats | None = None
    """Of the model's input, where that is one tensor of floating-point numbers."""

    def __or__(self, other: ModelTrace) -> ModelTrace:
        order = {key: i for i, key in enumerate({**self.operations, **other.operations})}
        places = {i: order[key] for i, key in enumerate(other.operations)} | {-1: -1}
        moved = {
            key: replace(operation, inputs=tuple(places[i] for i in operation.inputs))
            for key, operation in other.operations.items()
        }
        squares = {
            name: self.gradient_squares.get(name, []) + other.gradient_squares.get(name, [])
            for name in {**self.gradient_squares, **other.gradient_squares}
        }
        return ModelTrace(
            operations=_merged_tables(self.operations, moved),
            modules=_merged_tables(self.modules, other.modules),
            attention=_merged_tables(self.attention, other.attention),
            output=self.output or other.output,
            nonfinite=self.nonfinite or other.nonfinite,
            gradient_squares=squares,
            weights=other.weights | self.weights,
            input=merged(self.input, other.input),
            awake_rows=self.awake_rows
            | {n: self.awake_rows[n] | a if n in self.awake_rows else a for n, a in other.awake_rows.items()},
            connected=self.connected,
            outputs=self.outputs,
            regrouping=self.regrouping,
            chooses=self.chooses or other.chooses,
            same_outputs=self.same_outputs and other.same_outputs,
        )


def merged(a: TensorStats | None, b: TensorStats | None) -> TensorStats | None:
    return a | b if a is not None and b is not None else a or b


def _merged_tables(a: dict[Key, Value], b: dict[Key, Value]) -> dict[Key, Value]:
    return a | {key: a[key] | value if key in a else value for key, value in b.items()}
