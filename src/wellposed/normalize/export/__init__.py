"""A normalizer in the language of another library; each file imports its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ArgumentError

if TYPE_CHECKING:
    from ..fitted import FittedTransform


def names_of(normalizer: FittedTransform, *, what: str) -> tuple[str, ...]:
    """The names of all columns of numbers, in order.

    Raises
    ------
    ArgumentError
        When the columns have no names, or are not the columns of a table.
    """
    if normalizer.names is None:
        raise ArgumentError(
            f"the normalizer has no names of columns, and {what} finds columns by name: fit it on a table, or "
            "name them with columns= when fitting"
        )
    if normalizer.ndim != 2 or normalizer.axis != (1,):
        raise ArgumentError(
            f"the normalizer keeps axis {normalizer.axis} of {normalizer.ndim}: {what} needs the columns of a table"
        )
    return normalizer.names
