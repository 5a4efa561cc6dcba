"""A fitted map of columns as a plain value: what `Normalizer` is, without fitting, saving, exporting and showing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..arguments import whole
from ..data.column_names import NO_NAME, printable
from ..plain_value import PlainValue
from ..version import __version__

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FittedTransform(PlainValue):
    """What `Normalizer` holds, for the files that fit, apply, save and export it; they make it with `made`."""

    method: str
    names: tuple[str, ...] | None
    """Names of the columns of numbers, in order, when the data had them."""
    ndim: int
    """Dimensions of the training data, the sample axis included."""
    axis: tuple[int, ...]
    """The axes that keep their own statistics; empty when there is one for everything."""
    count: Counts
    """Finite entries of each column."""
    mean: Floats
    std: Floats
    """Population standard deviation."""
    minimum: Floats
    maximum: Floats
    missing: Counts
    infinite: Counts
    constant: NDArray[np.bool_]
    """Columns whose spread is below the rounding of what was stored."""
    selected: NDArray[np.bool_]
    """Columns that are normalised; the others pass unchanged."""
    center: Floats
    """What is subtracted from each column; 0 where it is not selected."""
    scale: Floats
    """What each column is divided by; 1 where it is not selected, or has no spread to divide by."""
    clip: tuple[float, float] | None = None
    """What the normalised columns are held within, at the end."""
    feature_range: tuple[float, float] | None = None
    """What minmax maps the training data to; None for other methods."""
    quantile_range: tuple[float, float] | None = None
    """In percent, the quantiles that robust takes; None for other methods."""
    with_centering: bool = True
    with_scaling: bool = True
    rotation: Floats | None = None
    """``(columns, columns)``, applied from the right after scaling; the identity outside `mixed`."""
    quartiles: Floats | None = None
    """Lower quantile, median and upper quantile of each column, for the method that needs them."""
    rank_error: float = 0.0
    """Share of the entries by which a quantile may be misplaced; 0 where they are exact."""
    left_alone: dict[str, str] = field(default_factory=dict)
    """Columns of a table that pass unchanged, and why: text, booleans, codes, not chosen."""
    remarks: tuple[str, ...] = ()
    """What the fit had to decide, and what its reader should know."""
    provenance: Provenance

    @cached_property
    def mixed(self) -> NDArray[np.bool_]:
        """The columns that `rotation` mixes: those that are selected and not constant."""
        return self.selected & ~self.constant & (self.rotation is not None)

    @cached_property
    def offset(self) -> Floats | None:
        """What is added after the division: the lower end of `feature_range`; None where that is nothing."""
        low = self.feature_range[0] if self.feature_range else 0.0
        return np.where(self.selected, low, 0.0) if low else None

    @cached_property
    def bounds(self) -> tuple[Floats, Floats] | None:
        """What each column is held within: `clip`, and infinity for columns that pass unchanged."""
        if self.clip is None:
            return None
        low, high = self.clip
        return np.where(self.selected, low, -np.inf), np.where(self.selected, high, np.inf)

    @cached_property
    def keeps_zeros(self) -> bool:
        """Whether 0 becomes 0 in every column, so that sparse matrices stay sparse."""
        low, high = self.clip or (0.0, 0.0)
        subtracts = self.center.any() or self.offset is not None or self.rotation is not None
        return not subtracts and low <= 0 <= high

    @cached_property
    def unrotation(self) -> Floats | None:
        """The way back from `rotation`: its inverse, or its pseudo-inverse where directions were dropped."""
        if self.rotation is None:
            return None
        rounding = np.finfo(np.float64).eps * len(self.rotation)
        back, block = np.eye(len(self.rotation)), np.ix_(self.mixed, self.mixed)
        back[block] = np.linalg.pinv(self.rotation[block], rcond=rounding)
        back.setflags(write=False)
        return back

    def label(self, column: int) -> str:
        """The name of a column, safe to show, or its number."""
        i = whole(column, "column", least=0, most=self.mean.size - 1)
        return printable(self.names[i]) or NO_NAME if self.names else str(i)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What was read, so that years later nobody must guess."""

    rows: int
    """Samples read: rows of a table, images; 0 where the statistics were given."""
    source: str | None
    """Where they came from, in the caller's words; a path, when read from a file."""
    split: str
    """The split they belong to: ``"train"``; ``"given"`` where the statistics were."""
    fingerprint: str
    """Of the contents: the same entries give the same one, in any order, batch size, engine or exact dtype."""
    version: str = __version__
    """Of wellposed."""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """Date and time, UTC, ISO 8601."""
