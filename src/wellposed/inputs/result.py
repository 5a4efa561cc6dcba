"""What the inputs room returns: scales, conditioning, leaks, duplicates, and the differences between the splits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class FittedOn(StrEnum):
    """The rows whose statistics the inputs were normalised by, where those are not the training rows alone."""

    BOTH_SPLITS = "both splits together"
    VALIDATION = "the validation rows"
    EACH_SPLIT = "each split by itself"
    EACH_BATCH = "each batch by itself"
    EACH_SAMPLE = "each sample by itself"


Method = Literal["standard", "minmax", "robust"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ColumnSummary:
    """Statistics of the columns of one split."""

    rows: int
    """Samples, however many entries each gives a column."""
    count: NDArray[np.int64]
    """Finite entries of each column."""
    missing: NDArray[np.int64]
    """NaN entries of each column."""
    infinite: NDArray[np.int64]
    """Infinite entries of each column."""
    minimum: Floats
    maximum: Floats
    mean: Floats
    std: Floats
    """Population standard deviation."""
    constant: NDArray[np.bool_]
    """Columns without spread beyond the rounding of what was stored."""

    def __post_init__(self) -> None:
        _same_length(self, len(self.mean))


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Exact copies across and within the splits; small discrete data have them by accident."""

    across: int
    """Validation rows that also stand in the training rows."""
    within_train: int
    """Training rows that have a copy among the training rows."""
    train_rows: int
    validation_rows: int
    shared: int
    """Distinct rows that stand in both splits."""
    repeated: int
    """Distinct rows that stand more than once in the two together."""
    expected: float
    """How many of `repeated` a random split of the same rows would share."""
    chance: float
    """Upper bound on the probability that a random split shares as many."""
    copies: int = 0
    """Validation rows that stand in the training rows with the same target, where targets are known."""
    copies_chance: float = 1.0
    """Upper bound on the probability that rows which are equal by accident look so much like copies of a record."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitShift:
    """Per column, over samples: a sample of an image or a sequence counts once, by its mean."""

    difference: Floats
    """Validation mean minus training mean, in standard deviations of the training column."""
    error: Floats
    """Standard error of `difference`."""
    distance: Floats
    """Kolmogorov-Smirnov distance of the two splits, 0 to 1."""
    samples: tuple[int, int]
    """Training and validation samples."""

    def __post_init__(self) -> None:
        _same_length(self, len(self.difference))

    def distance_by_chance(self, chance: float) -> float:
        """The distance that random splits exceed in any column with at most this probability.

        The bound of Dvoretzky, Kiefer and Wolfowitz for two samples, with the constant e that holds for small
        ones (F. Wei and R. M. Dudley, Stat. Probab. Lett. 82, 2012); the chance is shared among the columns
        (Bonferroni).
        """
        n, m = self.samples
        return float(np.sqrt(np.log(np.e * len(self.distance) / chance) * (n + m) / (2 * n * m)))


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Condition numbers of the inputs, raw and standardised, over the rows that are complete."""

    raw: float
    """Of E[x̃ x̃ᵀ], the bias included. Resolved up to about 1e28, beyond that a lower bound."""
    standardised: float
    """The same after standardising: the condition number of the correlation matrix."""
    error: float
    """Standard error of ln `standardised`, by the delta method: no normal distribution is assumed."""
    by_chance: float
    """What independent columns show with as few rows (Marchenko and Pastur); 1 with many."""
    rank: int
    """Independent columns: along an exact dependency neither the data nor gradient descent move."""
    columns: int
    """Columns that vary."""
    rows: int
    raw_steps: float
    """Gradient-descent steps a decimal digit, at the best fixed rate, on the inputs as they are."""
    standardised_steps: float
    """The same on standardised inputs."""
    steps_ratio: float
    """How many times the steps the raw inputs cost; below 1 where standardising makes it worse."""


@dataclass(frozen=True, kw_only=True)
class Ellipse:
    """Where the cost ``wᵀ A w`` is 1 above its minimum, w being the distance of two weights from the best ones.

    A is E[x xᵀ] of the two features: the curvature of the mean squared error of a linear layer, the other
    weights held where they are.
    """

    form: tuple[float, float, float]
    """Of the symmetric A: first diagonal entry, the entry beside it, second diagonal entry."""
    long: float
    """Half the long axis, in units of a weight: along it the cost hardly changes."""
    short: float
    """Half the short axis: it bounds the step of gradient descent."""
    angle: float
    """From the axis of the first weight to the long axis, in radians, 0 to π."""
    condition: float
    """Condition number of A: 1 for a circle."""


@dataclass(frozen=True, kw_only=True)
class CostContours:
    """The pair of features of which standardising rounds the contours most."""

    columns: tuple[int, int]
    """The feature of the largest E[x²], and its counterpart."""
    raw: Ellipse
    standardised: Ellipse


@dataclass(frozen=True, kw_only=True)
class LeakFingerprint:
    """How far each set of rows is from mean 0 and std 1, and which rows were fitted on."""

    train: float
    """Of the worst of the columns that were fitted, or of all that can tell."""
    validation: float
    together: float
    telling: int
    """Columns that can tell: not constant, of more than two values, without missing entries."""
    columns: int = 0
    """Columns whose statistics are exact."""
    fitted_on: FittedOn | None = None
    """The rows whose statistics are exact while those of the training rows are not."""
    method: Method = "standard"
    interval: tuple[float, float] | None = None
    """What ``"minmax"`` scaled to."""
    batch: int | None = None
    """Rows a batch, where each was normalised by itself."""
    chance: float | None = None
    """Upper bound on the probability that random rows look so; None where there is no such model."""


@dataclass(frozen=True, kw_only=True)
class InputEffect:
    """What standardising the inputs changes on a copy: held-out loss after steps of the user's optimizer."""

    invariant: bool
    """The model's outputs do not change when its inputs are rescaled: a normalisation comes first."""
    loss_start: float
    loss_raw: float
    """After training on the inputs as they are."""
    loss_standardised: float
    """After training on standardised inputs."""
    loss_constant: float
    """Of the best constant output: what is reached without looking at the inputs."""


@dataclass(frozen=True, kw_only=True)
class Sentinel:
    """A number of a column that is repeated and lies farther from all others than those from each other, as -9999 for "missing"."""

    column: int
    value: float
    count: int
    """Entries that have it."""
    entries: int
    low: float
    """Least of the other values."""
    high: float
    """Largest of the other values."""
    distance: float
    """From the nearest of the others, over their range."""


@dataclass(frozen=True, kw_only=True)
class NonFiniteEntries:
    """Entries that are NaN or infinite."""

    split: str
    missing: int
    infinite: int
    columns: int
    """How many columns have them."""
    first_row: int
    first_column: int


@dataclass(frozen=True, kw_only=True, eq=False)
class InputProfile:
    """Scales, spread, leaks and defects of the inputs, column by column; made by `profile_inputs`."""

    train: ColumnSummary
    validation: ColumnSummary | None
    names: tuple[str, ...] | None
    kind: str
    """What a column is called: ``"feature"`` or, for images, ``"channel"``."""
    std: Floats
    mean_square: Floats
    """E[x²] of each column: the curvature that it adds along its weights."""
    active_mean_square: Floats
    """E[x²] over the entries that are not zero: the column's unit, however rarely it is active."""
    spread: float
    """Largest std of a column over the smallest, constant columns apart; 1 where there are fewer than two."""
    dominance: float
    """Largest `active_mean_square` over their lower median, constant columns apart."""
    rms: float
    """Of all finite entries."""
    typical_rms: float
    """Lower median of the columns' rms over the entries that are not zero, constant columns apart."""
    largest: float
    """Largest finite absolute value."""
    non_finite: tuple[NonFiniteEntries, ...]
    """At most one a split."""
    conditioning: Conditioning | str
    """Condition numbers raw and standardised, and the gradient-descent steps that they cost; or why not."""
    contours: CostContours | None
    """The cost over the two worst features, raw and standardised; None where fewer than two vary."""
    leak: LeakFingerprint | None
    duplicates: Duplicates | None
    shift: SplitShift | None
    effect: InputEffect | None = None
    copes: bool = False
    """Whether the model's loss and gradients stay finite on training batches with NaN or infinity."""
    sentinels: tuple[Sentinel, ...] = ()
    """Of tables and sequences, at most two a column."""
    sentinels_masked: bool = False
    """Whether the model masks all of them: the loss does not depend on what stands there."""
    part: str = ""
    """Which of several inputs it is, as findings tell it after ``inputs``: ``".image"``, ``"[1]"``."""
    others: tuple[InputProfile, ...] = ()
    """The other inputs of the problem, each by itself."""

    def __post_init__(self) -> None:
        columns = len(self.train.mean)
        _same_length(self, columns)
        beside = (
            [] if self.validation is None else self.validation.mean,
            [] if self.shift is None else self.shift.difference,
            self.names or (),
        )
        if any(len(part) not in (0, columns) for part in beside):
            raise ValueError(f"expected {columns} columns, as the training rows have, in each part")
        if any(not 0 <= entries.first_column < columns for entries in self.non_finite):
            raise ValueError(f"non_finite names a column beyond the {columns} of the inputs")

    @property
    def each(self) -> tuple[InputProfile, ...]:
        """The profile of every input."""
        return (self, *self.others)

    @property
    def where(self) -> str:
        """Where a finding about the whole input is."""
        return f"inputs{self.part}"

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Columns of the training rows that do not vary."""
        return self.train.constant

    def label(self, column: int) -> str:
        """What to call the column in a sentence: its name, or its kind and number."""
        return self.names[column] if self.names else f"{self.kind} {column}"

    def place(self, column: int) -> str:
        """Where a finding about the column is: ``inputs.proline``."""
        return f"{self.where}.{self.names[column] if self.names else column}"


def _same_length(value: ColumnSummary | SplitShift | InputProfile, columns: int) -> None:
    """Refuse arrays that do not have one entry a column, as of a damaged file."""
    for field in fields(value):
        array = getattr(value, field.name)
        if isinstance(array, np.ndarray):
            if array.shape != (columns,):
                raise ValueError(f"{field.name} has shape {array.shape}: expected ({columns},)")
            array.setflags(write=False)
