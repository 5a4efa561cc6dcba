"""Any result as JSON: dataclasses become objects, arrays lists, NaN and infinity strings such as "nan"."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

_ONE = (bool, int, float, str, Enum, PurePath)
_MANY = (list, tuple, set, frozenset)


def to_json(value: Any) -> str:
    """`value` as JSON text; what has no JSON form (a model, a function) is left out."""
    return json.dumps(as_plain(value), indent=2, allow_nan=False)


def as_plain(value: Any) -> Any:
    """Dicts, lists, strings, numbers, booleans and None only."""
    if isinstance(value, Enum):
        return as_plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if _is_record(value):
        value = {f.name: getattr(value, f.name) for f in fields(value) if not f.name.startswith("_")}
    if isinstance(value, Mapping):
        return {str(key): as_plain(v) for key, v in value.items() if _has_form(v)}
    if isinstance(value, _MANY):
        return [as_plain(v) for v in value if _has_form(v)]
    return as_plain(value.tolist()) if _is_array(value) else str(value)


def _has_form(value: Any) -> bool:
    """False for models, functions and the like, which the JSON of a result leaves out."""
    if isinstance(value, (*_ONE, *_MANY, Mapping)):
        return True
    return value is None or _is_record(value) or _is_array(value)


def _is_record(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _is_array(value: Any) -> bool:
    return hasattr(value, "tolist") and not callable(value)
