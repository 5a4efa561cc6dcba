"""The saved form of a normalizer: JSON, written whole or not at all; every field is checked before it is believed.

The checks are by hand: a decoder with a schema names neither the value that was found nor what to do about it, and takes a key
that stands twice.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import path as path_of
from ..choices import METHODS
from ..data.column_names import printable
from ..errors import ArgumentError, ArtifactError
from ..own_files import MAX_BYTES, read_bounded
from ..own_files import save as save_ours
from .fitted import FittedTransform, Provenance
from .methods import OPTIONS, WHITENING, Method, method_of

FORMAT = "wellposed-normalizer"
SCHEMA = 3
READS = (1, 2, 3)
WHAT = "a normalizer"
_DIGEST = "digest"
_HEAD = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + FORMAT.encode() + b'"')


def save(n: FittedTransform, path: str | PathLike[str], *, force: bool = False) -> None:
    """Write whole or not at all, and in the place of an older normalizer alone unless `force` is set."""
    fields = _plain(n)
    fields[_DIGEST] = digest(fields)
    # A line a key: a person can read it, and a million numbers are not a million lines.
    lines = (f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in fields.items())
    content = ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")
    place = path_of(path)
    if len(content) > MAX_BYTES:
        raise ArtifactError(
            f"{place}: would be {len(content):,} bytes, and at most {MAX_BYTES:,} are read back: normalise fewer "
            "columns"
        )
    save_ours(place, content, what=WHAT, is_ours=is_normalizer, force=force)


def is_normalizer(place: Path) -> bool:
    """Whether a file begins as what `save` writes; it may be damaged further on."""
    with place.open("rb") as file:
        return _HEAD.match(file.read(256)) is not None


def load(path: str | PathLike[str]) -> FittedTransform:
    """Read and check every field; see `Normalizer.load`."""
    content = read_bounded(path)
    try:
        fields = _parse(content)
        fitted = normalizer_from(fields)
        if fields["schema"] > 1 and fields[_DIGEST] != digest(
            {k: v for k, v in fields.items() if k != _DIGEST}
        ):
            raise ArtifactError(
                "the contents do not match their digest: damaged, or edited by hand; fit again"
            )
    except ArtifactError as error:
        raise ArtifactError(f"{printable(str(path))}: {printable(str(error))}") from None
    return fitted


def digest(fields: dict[str, Any]) -> str:
    """SHA-256 of the contents, which detects damage; it is no signature."""
    plain = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode("ascii")).hexdigest()


def _plain(n: FittedTransform) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "method": n.method,
        **{key: getattr(n, key) for key in OPTIONS},
        "names": n.names,
        "ndim": n.ndim,
        "axis": n.axis,
        "shape": n.mean.shape,
        **{key: getattr(n, key).ravel().tolist() for key in (*COUNTS, *NUMBERS, *FLAGS)},
        "rotation": _flat(n.rotation),
        "quartiles": _flat(n.quartiles),
        "rank_error": n.rank_error,
        "left_alone": n.left_alone,
        "remarks": n.remarks,
        "provenance": asdict(n.provenance),
    }


def _flat(array: np.ndarray | None) -> list[float] | None:
    return None if array is None else array.ravel().tolist()


def _parse(content: bytes) -> dict[str, Any]:
    def refuse(token: str) -> Any:
        raise ValueError(f"{token} is no JSON number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise ValueError("a key stands twice")
        return fields

    try:
        text = content.decode("utf-8")
    except ValueError as error:
        raise ArtifactError(f"cannot be read as text ({error})") from None
    try:
        fields = json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"not a saved normalizer, or truncated ({error})") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ArtifactError(f"not a saved normalizer: expected format {FORMAT!r}")
    if fields.get("schema") not in READS or type(fields.get("schema")) is not int:
        raise ArtifactError(
            f"schema {str(fields.get('schema'))[:40]}, this version reads {', '.join(map(str, READS))}: use the "
            "version that wrote it"
        )
    return fields


# Checks of what was read.

COUNTS = ("count", "missing", "infinite")
NUMBERS = ("mean", "std", "minimum", "maximum", "center", "scale")
FLAGS = ("constant", "selected")
_SECOND = {
    "count",
    "center",
    "scale",
    "rotation",
    "quartiles",
    "rank_error",
    "left_alone",
    "remarks",
    "digest",
}
_LATER = {1: {*_SECOND, *OPTIONS}, 2: {*OPTIONS}}
"""What each older schema lacks."""
_KEYS = {*OPTIONS, "format", "schema", "method", "names", "ndim", "axis", "shape", "provenance"}
_KEYS |= {*COUNTS, *NUMBERS, *FLAGS, *_SECOND}
_PROVENANCE = {"rows", "source", "split", "fingerprint", "version", "created"}
_LARGEST = 1.7976931348623157e308


def normalizer_from(fields: dict[str, Any]) -> FittedTransform:
    """A normalizer from parsed JSON, or an `ArtifactError` that names the field."""
    _check_keys(fields, _KEYS - _LATER.get(fields["schema"], set()), "the file")
    provenance = _provenance(fields["provenance"])
    if fields["schema"] == 1:
        fields = _upgraded(fields, provenance.rows)
    method = _method(fields)
    ndim, axis, shape = _form(fields)
    size = math.prod(shape)
    columns: dict[str, Any] = {key: _numbers(fields[key], key, size) for key in NUMBERS}
    columns |= {key: _counts(fields[key], key, size) for key in COUNTS}
    columns |= {key: _flags(fields[key], key, size) for key in FLAGS}
    rotation = _optional(fields, "rotation", size * size, needed=fields["method"] in WHITENING)
    quartiles = _optional(fields, "quartiles", 3 * size, needed=fields["method"] == "robust")
    _check_consistent(columns)
    _check_steps(columns, method)
    if provenance.rows == 0:
        _check_given(columns, method)
    if rotation is not None:
        rotation = rotation.reshape(size, size)
        _check_rotation(rotation, columns["selected"] & ~columns["constant"])
    if quartiles is not None:
        quartiles = quartiles.reshape(3, *shape)
        _check_order(quartiles, method)
    return FittedTransform.made(
        method=method.name,
        **{option: getattr(method, option) for option in OPTIONS},
        names=_names(fields["names"], size),
        ndim=ndim,
        axis=axis,
        **{key: value.reshape(shape) for key, value in columns.items()},
        rotation=rotation,
        quartiles=quartiles,
        rank_error=_share(fields["rank_error"]),
        left_alone=_reasons(fields["left_alone"]),
        remarks=tuple(_texts(fields["remarks"], "remarks")),
        provenance=provenance,
    )


def _upgraded(fields: dict[str, Any], rows: int) -> dict[str, Any]:
    """Schema 1 knew one method, and counted nothing but what was missing."""
    if fields["method"] != "standard":
        raise ArtifactError(f"method {str(fields['method'])[:40]!r}, expected 'standard' of schema 1")
    fields = {**fields, "rotation": None, "quartiles": None, "rank_error": 0, "left_alone": {}, "remarks": []}
    size = len(_list(fields["mean"], "mean"))
    lost = [_counts(fields[key], key, size) for key in ("missing", "infinite")]
    # Exact for tables; where a row gives a column several entries, the fewest there can be.
    fields["count"] = [max(0, rows - int(a) - int(b)) for a, b in zip(*lost, strict=True)]
    selected, constant = (_flags(fields[key], key, size) for key in ("selected", "constant"))
    mean, std = (_numbers(fields[key], key, size) for key in ("mean", "std"))
    fields["center"] = np.where(selected, mean, 0.0).tolist()
    fields["scale"] = np.where(selected & ~constant, std, 1.0).tolist()
    return fields


def _method(fields: dict[str, Any]) -> Method:
    name = fields["method"]
    if name not in METHODS:
        raise ArtifactError(f"method {str(name)[:40]!r}, expected one of {', '.join(METHODS)}")
    if fields["schema"] < 3:
        return method_of(name)
    pairs = {key: fields[key] for key in ("clip", "feature_range", "quantile_range")}
    for key, value in pairs.items():
        if not isinstance(value, list | None):
            raise ArtifactError(f"{key} holds {_shown(value)}, expected two numbers or null")
    try:
        return method_of(
            name,
            **{**pairs, "clip": False if pairs["clip"] is None else pairs["clip"]},
            with_centering=fields["with_centering"],
            with_scaling=fields["with_scaling"],
        )
    except ArgumentError as error:
        raise ArtifactError(str(error)) from None


def _check_steps(columns: dict[str, Any], method: Method) -> None:
    if not method.with_centering and columns["center"].any():
        raise ArtifactError("center holds numbers, and with_centering is false: expected 0")
    if not method.with_scaling and (columns["scale"] != 1).any():
        raise ArtifactError("scale holds numbers, and with_scaling is false: expected 1")


def _check_given(columns: dict[str, Any], method: Method) -> None:
    """Statistics that were given are of no rows."""
    if method.name != "standard" or any(columns[key].any() for key in COUNTS):
        raise ArtifactError("rows holds 0, and the statistics are of some rows")


def _check_order(quartiles: np.ndarray, method: Method) -> None:
    """The median stands second, though both others may lie on one side of it."""
    low, high = method.quantile_range or (0, 100)
    order = np.argsort([low, 50, high], kind="stable")
    if (np.diff(quartiles[order], axis=0) < 0).any():
        raise ArtifactError("quartiles are out of order")


def _form(fields: dict[str, Any]) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    ndim = _whole(fields["ndim"], "ndim", least=1)
    axis = tuple(_whole(a, "axis", least=1) for a in _list(fields["axis"], "axis"))
    shape = tuple(_whole(s, "shape", least=1) for s in _list(fields["shape"], "shape"))
    if list(axis) != sorted(set(axis)) or any(a >= ndim for a in axis) or ndim > 32:
        raise ArtifactError(f"axis {str(list(axis))[:40]} does not fit {ndim} dimensions")
    if len(shape) != max(len(axis), 1) or (not axis and shape != (1,)):
        raise ArtifactError(f"shape {str(list(shape))[:40]} does not fit axis {list(axis)}")
    if fields["method"] in WHITENING and len(axis) != 1:
        raise ArtifactError(f"method {fields['method']!r} does not fit axis {list(axis)}")
    return ndim, axis, shape


def _check_keys(fields: Any, expected: set[str], where: str) -> None:
    if not isinstance(fields, dict):
        raise ArtifactError(f"{where} is a {type(fields).__name__}, expected an object")
    for word, keys in (("lacks", expected - set(fields)), ("has unknown", set(fields) - expected)):
        if keys:
            raise ArtifactError(f"{where} {word} {', '.join(k[:40] for k in sorted(keys)[:5])}")


def _list(value: Any, key: str, size: int | None = None) -> list[Any]:
    if not isinstance(value, list):
        raise ArtifactError(f"{key} is a {type(value).__name__}, expected a list")
    if size is not None and len(value) != size:
        raise ArtifactError(f"{key} has {len(value)} entries, expected {size}")
    return value


def _whole(value: Any, key: str, *, least: int) -> int:
    if type(value) is not int or not least <= value < 1 << 63:
        raise ArtifactError(f"{key} holds {_shown(value)}, expected a whole number from {least}")
    return value


def _shown(value: Any) -> str:
    """The beginning of a value; a number of a thousand digits is not written out to show forty."""
    return "a huge number" if type(value) is int and value.bit_length() > 128 else str(value)[:40]


def _numbers(value: Any, key: str, size: int) -> np.ndarray:
    for entry in _list(value, key, size):
        # A whole number too large for float64 would raise; nothing that `save` writes is one.
        if type(entry) not in (int, float) or not abs(entry) <= _LARGEST:
            raise ArtifactError(f"{key} holds {_shown(entry)}, expected finite numbers")
    return np.array([float(v) for v in value], dtype=np.float64)


def _optional(fields: dict[str, Any], key: str, size: int, *, needed: bool) -> np.ndarray | None:
    if (fields[key] is not None) != needed:
        raise ArtifactError(
            f"method {fields['method']!r} {'needs' if needed else 'has no'} {key}, found {_shown(fields[key])}"
        )
    return _numbers(fields[key], key, size) if needed else None


def _counts(value: Any, key: str, size: int) -> np.ndarray:
    return np.array([_whole(v, key, least=0) for v in _list(value, key, size)], dtype=np.int64)


def _flags(value: Any, key: str, size: int) -> np.ndarray:
    for entry in _list(value, key, size):
        if not isinstance(entry, bool):
            raise ArtifactError(f"{key} holds {_shown(entry)}, expected true or false")
    return np.array(value, dtype=bool)


def _check_consistent(columns: dict[str, np.ndarray]) -> None:
    mean, std, low, high, center, scale = (columns[key] for key in NUMBERS)
    selected = columns["selected"]
    if (std < 0).any():
        raise ArtifactError(f"std holds {std.min():g}, expected zero or more")
    if ((std == 0) & selected & ~columns["constant"]).any():
        raise ArtifactError(
            "std holds 0 for a column that is not constant: dividing by it would give infinity"
        )
    if (low > high).any():
        raise ArtifactError("a minimum is above its maximum")
    if ((mean < np.nextafter(low, -np.inf)) | (mean > np.nextafter(high, np.inf))).any():
        raise ArtifactError("a mean is outside its minimum and maximum")
    if not (scale > 0).all():
        raise ArtifactError(f"scale holds {scale.min():g}, expected numbers above zero")
    if ((center != 0) | (scale != 1))[~selected].any():
        raise ArtifactError("a column that is not selected has a center or a scale: expected 0 and 1")


def _check_rotation(rotation: np.ndarray, mixed: np.ndarray) -> None:
    outside = rotation - np.eye(len(rotation))
    outside[np.ix_(mixed, mixed)] = 0
    if outside.any():
        raise ArtifactError("rotation mixes a column that is constant or not selected")


def _names(value: Any, size: int) -> tuple[str, ...] | None:
    if value is None:
        return None
    _list(value, "names", size)
    if len(set(_texts(value, "names"))) < size:
        raise ArtifactError("names holds a name twice")
    return tuple(value)


def _texts(value: Any, key: str) -> list[str]:
    if not all(isinstance(text, str) for text in _list(value, key)):
        raise ArtifactError(f"{key} holds something other than text")
    return value


def _reasons(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(why, str) for why in value.values()):
        raise ArtifactError("left_alone is no object of names and reasons")
    return value


def _share(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ArtifactError(f"rank_error holds {_shown(value)}, expected 0 to 1")
    return float(value)


def _provenance(held: Any) -> Provenance:
    _check_keys(held, _PROVENANCE, "provenance")
    for key in sorted(_PROVENANCE - {"rows"}):
        if not isinstance(held[key], str) and not (key == "source" and held[key] is None):
            raise ArtifactError(f"{key} holds {_shown(held[key])}, expected text")
    _whole(held["rows"], "rows", least=0)
    return Provenance(**held)
