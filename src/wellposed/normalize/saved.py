"""The saved form of a normalizer: JSON, written whole or not at all, and not trusted when it is read."""

from __future__ import annotations

import hashlib
import json
import re
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import path as path_of
from ..data.column_names import printable
from ..errors import ArtifactError
from ..own_files import MAX_BYTES, read_bounded
from ..own_files import save as save_ours
from .fitted import FittedTransform
from .methods import OPTIONS
from .saved_checks import COUNTS, FLAGS, NUMBERS, normalizer_from

FORMAT = "wellposed-normalizer"
SCHEMA = 3
READS = (1, 2, 3)
WHAT = "a normalizer"
_DIGEST = "digest"
_HEAD = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + FORMAT.encode() + b'"')


def save(n: FittedTransform, path: str | PathLike[str], *, force: bool = False) -> None:
    """Write whole or not at all, and in the place of an older normalizer alone unless `force` is set."""
    held = _plain(n)
    held[_DIGEST] = digest(held)
    # A line a key: a person can read it, and a million numbers are not a million lines.
    lines = (f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in held.items())
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
        held = _parse(_text(content))
        found = normalizer_from(held)
        if held["schema"] > 1 and held[_DIGEST] != digest({k: v for k, v in held.items() if k != _DIGEST}):
            raise ArtifactError(
                "the contents do not match their digest: damaged, or edited by hand; fit again"
            )
    except ArtifactError as error:
        raise ArtifactError(f"{printable(str(path))}: {printable(str(error))}") from None
    return found


def digest(held: dict[str, Any]) -> str:
    """SHA-256 of the contents, which tells damage; it is no signature, and keeps no author out."""
    plain = json.dumps(held, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode("ascii")).hexdigest()


def _plain(n: FittedTransform) -> dict[str, Any]:
    p = n.provenance
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "method": n.method,
        **{key: _listed(getattr(n, key)) for key in OPTIONS},
        "names": None if n.names is None else list(n.names),
        "ndim": n.ndim,
        "axis": list(n.axis),
        "shape": list(n.mean.shape),
        **{key: getattr(n, key).ravel().tolist() for key in (*COUNTS, *NUMBERS, *FLAGS)},
        "rotation": _flat(n.rotation),
        "quartiles": _flat(n.quartiles),
        "rank_error": n.rank_error,
        "left_alone": dict(n.left_alone),
        "remarks": list(n.remarks),
        "provenance": {
            "rows": p.rows,
            "source": p.source,
            "split": p.split,
            "fingerprint": p.fingerprint,
            "version": p.version,
            "created": p.created,
        },
    }


def _listed(option: tuple[float, float] | bool | None) -> list[float] | bool | None:
    return list(option) if isinstance(option, tuple) else option


def _flat(array: np.ndarray | None) -> list[float] | None:
    return None if array is None else array.ravel().tolist()


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except ValueError as error:
        raise ArtifactError(f"cannot be read as text ({error})") from None


def _parse(text: str) -> dict[str, Any]:
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
        raise ArtifactError(f"not a saved normalizer, or truncated ({error})") from None
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise ArtifactError(f"not a saved normalizer: expected format {FORMAT!r}")
    if held.get("schema") not in READS or type(held.get("schema")) is not int:
        raise ArtifactError(
            f"schema {str(held.get('schema'))[:40]}, this version reads {', '.join(map(str, READS))}: use the "
            "version that wrote it"
        )
    return held
