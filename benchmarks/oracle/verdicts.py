"""What ``wp.check`` says of the training problems: verdict, findings, skipped rules, and the numbers behind them."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

import wellposed as wp
from benchmarks import healthy, training_problems

from .answers import Answer, Cases, distinct, rounded, words

SEED = 0


def cases() -> Cases:
    """One case a problem; of those that are drawn from several seeds, the first one."""
    return distinct((name, partial(checked, build)) for name, build in _problems())


def _problems() -> Iterator[tuple[str, Callable[[], wp.Problem]]]:
    for which in training_problems.SETS:
        for name, _, case, is_twin in training_problems.problems(which):
            if which == "field" and not name.removesuffix(" (twin)").endswith(f" {SEED}"):
                continue
            build = case.healthy if is_twin else case.problem
            assert build is not None
            yield f"{which}: {name}", build
    for which in healthy.SETS:
        for case in healthy.cases(which, "all"):
            if not healthy.missing(case):
                yield f"healthy {which}: {case.name}", partial(case.problem, SEED)


def checked(build: Callable[[], wp.Problem]) -> Answer:
    return described(wp.check(build(), seed=SEED))


def described(report: wp.Report) -> Answer:
    """All of a report but what ran where, and how long it took."""
    answer: Answer = {
        "verdict": report.verdict,
        "findings": " ".join(report.codes),
        "passed": " ".join(report.passed),
        "unexamined": "; ".join(map(str, report.unexamined)),
        "traces": "; ".join(report.traces),
    }
    for finding in report.findings:
        place = _unused(answer, f"{finding.code} at {finding.where}")
        numbers = f"{rounded(finding.measured)} against {rounded(finding.limit)} ({finding.quantity})"
        answer[place] = f"{finding.severity.value}, {finding.confidence}, {numbers}"
        answer[f"{place}: words"] = words(f"{finding.summary} | {finding.fix}")
    return (
        answer
        | _skipped(report)
        | {f"measured {k}": _summary(_plain(v)) for k, v in report.measurements.items()}
    )


def _unused(answer: Answer, name: str) -> str:
    """The name, or with a number behind it where a finding of the same rule is at the same place."""
    number = 1
    while name in answer:
        number += 1
        name = f"{name.removesuffix(f' #{number - 1}')} #{number}"
    return name


def _skipped(report: wp.Report) -> Answer:
    """The rules that gave no verdict, by the reason."""
    codes: defaultdict[str, list[str]] = defaultdict(list)
    for skipped in report.skipped:
        needs = f" ({skipped.needs})" if skipped.needs else ""
        codes[words(f"{skipped.outcome}: {skipped.reason}{needs}")].append(skipped.code)
    return {reason: " ".join(sorted(several)) for reason, several in codes.items()}


def _summary(measurement: Any) -> str:
    """How many values a measurement holds, and a hash of them: rounded, and sorted, so that the names of fields do not matter."""
    values = sorted(json.dumps(value) for value in _leaves(measurement))
    return f"{len(values)} values {hashlib.sha256(' '.join(values).encode()).hexdigest()[:12]}"


def _plain(measurement: Any) -> Any:
    """Dicts, lists and numbers."""
    return msgspec.to_builtins(measurement, enc_hook=lambda array: array.tolist(), str_keys=True)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _leaves(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    else:
        yield rounded(value) if isinstance(value, float) else value
