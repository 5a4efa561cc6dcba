"""Answers in files of JSON, one value a line, and the differences between two sets of answers."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .answers import Answers

ABSENT = "(absent)"
PRESENT = "(present)"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One value that is not what was stored."""

    case: str
    field: str
    """Empty where the whole case is new or missing."""
    stored: str
    now: str

    def __str__(self) -> str:
        return f"{self.case} / {self.field or 'case'}: {self.stored} -> {self.now}"


def differences(stored: Answers, now: Answers) -> list[Difference]:
    """All values that differ, and all cases and fields that one of the two lacks; sorted by case and field."""
    found = []
    for case in sorted(stored.keys() | now.keys()):
        if case not in stored or case not in now:
            there = [PRESENT if case in answers else ABSENT for answers in (stored, now)]
            found.append(Difference(case=case, field="", stored=there[0], now=there[1]))
            continue
        before, after = stored[case], now[case]
        for field in sorted(before.keys() | after.keys()):
            was, is_ = (
                json.dumps(a[field], ensure_ascii=False) if field in a else ABSENT for a in (before, after)
            )
            if was != is_:
                found.append(Difference(case=case, field=field, stored=was, now=is_))
    return found


def comparable(stored: Answers, *, asked: Collection[str], known: Collection[str]) -> Answers:
    """What of the stored answers a run of the cases `asked` is compared with: theirs, and those of cases that no longer exist."""
    return {case: answer for case, answer in stored.items() if case in asked or case not in known}


def write(answers: Answers, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(answers, indent=0, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path) -> Answers:
    return json.loads(path.read_text())
