"""The counts and the one word that every form of a report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ..report import Report, Severity, Skipped, Unexamined

_ORDER = ("failed", "warned", "noted", "passed", "inconclusive", "skipped")


@dataclass(frozen=True, kw_only=True)
class RuleCounts:
    """How many rules ended in which way; a rule with several findings counts once, as its worst."""

    outcomes: dict[str, str]
    """By code: one of "failed", "warned", "noted", "passed", "inconclusive", "skipped", "not applicable"."""

    @staticmethod
    def of(report: Report) -> RuleCounts:
        outcomes = dict.fromkeys(report.passed, "passed")
        outcomes |= {s.code: "skipped" if s.outcome == "skip" else s.outcome for s in report.skipped}
        worst_last = sorted(report.findings, key=lambda f: list(Severity).index(f.severity), reverse=True)
        words = {Severity.ERROR: "failed", Severity.WARNING: "warned", Severity.NOTE: "noted"}
        outcomes |= {f.code: words[f.severity] for f in worst_last}
        return RuleCounts(outcomes=outcomes)

    def within(self, prefix: str) -> RuleCounts:
        """The rules whose code begins with `prefix`."""
        return RuleCounts(outcomes={c: word for c, word in self.outcomes.items() if c.startswith(prefix)})

    def codes(self, word: str) -> list[str]:
        return [code for code, outcome in self.outcomes.items() if outcome == word]

    def counts(self, words: Iterable[str] = _ORDER) -> str:
        """In words: ``"2 failed, 15 passed, 1 skipped"``; what did not happen is not named, nor what does not apply."""
        count = Counter(self.outcomes.values())
        return ", ".join(f"{count[word]} {word}" for word in words if count[word])


def verdict(report: Report) -> str:
    """The verdict in capitals, as it is shown."""
    return report.verdict.upper()


def verdict_line(report: Report) -> str:
    """What follows the word: what was not examined, or the counts, and the number of places where that is another one."""
    if report.verdict == "not examined":
        return "\n".join(not_examined(report)) or "no rule was chosen"
    counts = RuleCounts.of(report).counts()
    if len(report.findings) > len(report.codes):
        counts += f" ({len(report.findings)} findings)"
    return counts


def reason_of(skipped: Skipped) -> str:
    """Why a rule gave no verdict, and what it needs."""
    return skipped.reason + (f" ({skipped.needs})" if skipped.needs else "")


def not_examined(report: Report) -> list[str]:
    """The families that matter and were not looked at, those of one reason together."""
    families: dict[tuple[str, str], list[str]] = {}
    for u in report.unexamined:
        families.setdefault((u.reason, u.needs), []).append(u.family)
    return [
        str(Unexamined(family=", ".join(names), reason=reason, needs=needs))
        for (reason, needs), names in families.items()
    ]
