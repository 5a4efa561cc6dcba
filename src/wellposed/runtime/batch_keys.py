"""Under which keys a batch that is a dict (or an object) holds its inputs and its targets: one rule for all readers of batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TARGET_KEYS = ("labels", "label", "targets", "target", "y")
"""The first of these that a batch has holds its targets."""
INPUT_KEYS = (
    "inputs",
    "input",
    "x",
    "X",
    "features",
    "data",
    "image",
    "images",
    "pixel_values",
    "input_values",
)
"""The first of these that a batch has holds its inputs, where one array of inputs is wanted."""
_BESIDE_INPUTS = frozenset({*TARGET_KEYS, "weight", "weights", "id", "idx", "index"})


def target_key(batch: Mapping[Any, Any]) -> str | None:
    """The key of the targets; None where there are none.

    Examples
    --------
    >>> target_key({"x": 0, "y": 1, "labels": 2}), target_key({"x": 0})
    ('labels', None)
    """
    return next((key for key in TARGET_KEYS if key in batch), None)


def input_key(batch: Mapping[Any, Any]) -> Any:
    """The key of the inputs: a usual one, or the only one that names neither targets nor weights; None where neither is there.

    Examples
    --------
    >>> input_key({"y": 1, "x": 0}), input_key({"spectra": 0, "label": 1}), input_key({"a": 0, "b": 1})
    ('x', 'spectra', None)
    """
    usual = next((key for key in INPUT_KEYS if key in batch), None)
    others = [key for key in batch if str(key).lower() not in _BESIDE_INPUTS]
    return usual if usual is not None or len(others) != 1 else others[0]
