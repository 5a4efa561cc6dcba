"""Where a normalizer's statistics came from."""

from __future__ import annotations

from dataclasses import dataclass


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
    version: str
    """Of wellposed."""
    created: str
    """Date and time, UTC, ISO 8601."""
