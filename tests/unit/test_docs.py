"""What the documents for developers name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["CONTRIBUTING.md", "docs/design.md", "docs/extending.md"]
PLACES = (ROOT, ROOT / "src", ROOT / "src/wellposed", ROOT / "benchmarks", ROOT / "tests")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_folder_that_is_named_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w[\w./]*/(?:\w+\.py|\w+\.md)?)`", text.replace("WPnnn", "WP201")))

    assert named
    assert [name for name in sorted(named) if not any((place / name).exists() for place in PLACES)] == []
