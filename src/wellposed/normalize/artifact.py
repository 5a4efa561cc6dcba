"""The saved form of a normalizer: JSON, written whole or not at all, and not trusted when it is read."""

from __future__ import annotations

import json
import math
import os
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArtifactError
from .normalizer import METHODS, Normalizer
from .provenance import Provenance

FORMAT = "wellposed-normalizer"
SCHEMA = 1
MAX_BYTES = 256 * 1024 * 1024
_NUMBERS = ("mean", "std", "minimum", "maximum")
_COUNTS = ("missing", "infinite")
_FLAGS = ("constant", "selected")
_KEYS = {
    "format",
    "schema",
    "method",
    "names",
    "ndim",
    "axis",
    "shape",
    *_NUMBERS,
    *_COUNTS,
    *_FLAGS,
    "provenance",
}
_PROVENANCE = {"rows", "source", "split", "fingerprint", "version", "created"}


def save(n: Normalizer, path: str | PathLike[str]) -> None:
    """Write to a temporary file beside `path`, then put it in place."""
    text = json.dumps(_plain(n), indent=1, allow_nan=False)
    place = Path(path)
    if not place.parent.is_dir():
        raise ArtifactError(f"{place}: no such folder: {place.parent}")
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _ordinary_mode())
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | PathLike[str]) -> Normalizer:
    """Read and check every field; see `Normalizer.load`."""
    held = _parse(_text(Path(path)), str(path))
    try:
        return _normalizer(held)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None


def _ordinary_mode() -> int:
    """What a file would have got by being opened: mkstemp makes it private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _plain(n: Normalizer) -> dict[str, Any]:
    arrays = {key: getattr(n, key).ravel().tolist() for key in (*_NUMBERS, *_COUNTS, *_FLAGS)}
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "method": n.method,
        "names": None if n.names is None else list(n.names),
        "ndim": n.ndim,
        "axis": list(n.axis),
        "shape": list(n.mean.shape),
        **arrays,
        "provenance": {key: getattr(n.provenance, key) for key in sorted(_PROVENANCE)},
    }


def _text(path: Path) -> str:
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ArtifactError(f"{path}: {size:,} bytes, expected at most {MAX_BYTES:,}")
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise ArtifactError(f"{path}: cannot be read as text ({error})") from None


def _parse(text: str, where: str) -> dict[str, Any]:
    def refuse(token: str) -> Any:
        raise ValueError(f"{token} is no JSON number")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        if len(held) < len(pairs):
            raise ValueError("a key stands twice")
        return held

    try:
        held = json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: not a saved normalizer, or truncated ({error})") from None
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise ArtifactError(f"{where}: not a saved normalizer: expected format {FORMAT!r}")
    if held.get("schema") != SCHEMA or isinstance(held.get("schema"), bool):
        raise ArtifactError(
            f"{where}: schema {held.get('schema')!r}, this version reads {SCHEMA}: use the version that "
            "wrote it"
        )
    return held


def _normalizer(held: dict[str, Any]) -> Normalizer:
    _check_keys(held, _KEYS, "the file")
    if held["method"] not in METHODS:
        raise ArtifactError(f"method {held['method']!r}, expected one of {', '.join(METHODS)}")
    ndim = _whole(held["ndim"], "ndim", least=1)
    axis = tuple(_whole(a, "axis", least=1) for a in _list(held["axis"], "axis"))
    shape = tuple(_whole(s, "shape", least=1) for s in _list(held["shape"], "shape"))
    if list(axis) != sorted(set(axis)) or any(a >= ndim for a in axis) or ndim > 32:
        raise ArtifactError(f"axis {list(axis)} does not fit {ndim} dimensions")
    if len(shape) != max(len(axis), 1) or (not axis and shape != (1,)):
        raise ArtifactError(f"shape {list(shape)} does not fit axis {list(axis)}")
    size = math.prod(shape)
    arrays = {key: _numbers(held[key], key, size) for key in _NUMBERS}
    counts = {key: _counts(held[key], key, size) for key in _COUNTS}
    flags = {key: _flags(held[key], key, size) for key in _FLAGS}
    _check_consistent(arrays, flags["constant"])
    columns = {key: value.reshape(shape) for key, value in (arrays | counts | flags).items()}
    names, provenance = _names(held["names"], size), _provenance(held["provenance"])
    return Normalizer(
        method=held["method"], names=names, ndim=ndim, axis=axis, provenance=provenance, **columns
    )


def _check_keys(held: Any, expected: set[str], where: str) -> None:
    if not isinstance(held, dict):
        raise ArtifactError(f"{where} is a {type(held).__name__}, expected an object")
    for word, keys in (("lacks", expected - set(held)), ("has unknown", set(held) - expected)):
        if keys:
            raise ArtifactError(f"{where} {word} {', '.join(sorted(keys)[:5])}")


def _list(value: Any, key: str, size: int | None = None) -> list[Any]:
    if not isinstance(value, list):
        raise ArtifactError(f"{key} is a {type(value).__name__}, expected a list")
    if size is not None and len(value) != size:
        raise ArtifactError(f"{key} has {len(value)} entries, expected {size}")
    return value


def _whole(value: Any, key: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 63:
        raise ArtifactError(f"{key} holds {str(value)[:40]}, expected a whole number from {least}")
    return value


def _numbers(value: Any, key: str, size: int) -> np.ndarray:
    for entry in _list(value, key, size):
        # A whole number too large for float64 would raise; nothing that `save` writes is one.
        if (
            isinstance(entry, bool)
            or not isinstance(entry, float | int)
            or not abs(entry) <= 1.7976931348623157e308
        ):
            raise ArtifactError(f"{key} holds {str(entry)[:40]}, expected finite numbers")
    return np.array([float(v) for v in value])


def _counts(value: Any, key: str, size: int) -> np.ndarray:
    return np.array([_whole(v, key, least=0) for v in _list(value, key, size)], dtype=np.int64)


def _flags(value: Any, key: str, size: int) -> np.ndarray:
    for entry in _list(value, key, size):
        if not isinstance(entry, bool):
            raise ArtifactError(f"{key} holds {str(entry)[:40]}, expected true or false")
    return np.array(value, dtype=bool)


def _check_consistent(arrays: dict[str, np.ndarray], constant: np.ndarray) -> None:
    mean, std, low, high = (arrays[key] for key in _NUMBERS)
    if (std < 0).any():
        raise ArtifactError(f"std holds {std.min():g}, expected zero or more")
    if ((std == 0) & ~constant).any():
        raise ArtifactError(
            "std holds 0 for a column that is not constant: dividing by it would give infinity"
        )
    if (low > high).any():
        raise ArtifactError("a minimum is above its maximum")
    if ((mean < np.nextafter(low, -np.inf)) | (mean > np.nextafter(high, np.inf))).any():
        raise ArtifactError("a mean is outside its minimum and maximum")


def _names(value: Any, size: int) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not all(isinstance(name, str) for name in _list(value, "names", size)):
        raise ArtifactError("names holds something other than text")
    return tuple(value)


def _provenance(held: Any) -> Provenance:
    _check_keys(held, _PROVENANCE, "provenance")
    for key in sorted(_PROVENANCE - {"rows"}):
        if not isinstance(held[key], str) and not (key == "source" and held[key] is None):
            raise ArtifactError(f"{key} holds {str(held[key])[:40]}, expected text")
    _whole(held["rows"], "rows", least=1)
    return Provenance(**held)
