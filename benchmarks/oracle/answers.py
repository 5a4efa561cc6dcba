"""What a part of the oracle is made of: named cases, each of which gives an answer of named, plain values."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from benchmarks.healthy import apart

Value = str | int | float | bool | None
Answer = dict[str, Value]
Answers = dict[str, Answer]
"""The answers of the cases of one part, by the name of the case."""
Cases = Mapping[str, Callable[[], Answer]]

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


def answered(cases: Cases, *, every: int = 1, jobs: int = 1) -> Answers:
    """Run every `every`-th case in a forked process of its own, so that no case sees what another one changed."""
    names = list(cases)[::every]
    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(names, pool.map(lambda name: _apart(cases[name]), names), strict=True))


def _apart(case: Callable[[], Answer]) -> Answer:
    try:
        return apart(partial(attempted, case))
    except RuntimeError as error:  # the process died, or took too long
        return {"process": str(error).splitlines()[-1]}


def attempted(work: Callable[[], Answer]) -> Answer:
    """What the work gives; where it raises, the type and the message of the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()
    except Exception as error:
        return {"raised": error_in_words(error)}


def error_in_words(error: BaseException) -> str:
    return words(f"{type(error).__name__}: {error}")


def words(text: str) -> str:
    """The text on one line, without addresses in memory."""
    return _ADDRESS.sub("0x...", " ".join(text.split()))


def rounded(value: float | None, digits: int = 4) -> Value:
    """The number to a few significant digits; as text where JSON has no such number."""
    if value is None or not math.isfinite(value):
        return None if value is None else str(float(value))
    return float(f"{value:.{digits}g}")


def bits(values: Any) -> str:
    """Every bit of floating-point numbers, or the integers, separated by blanks."""
    flat = np.asarray(values).ravel()
    if flat.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    return " ".join(float(v).hex() if flat.dtype.kind == "f" else str(v) for v in flat.tolist())


def digest(values: Any) -> str:
    """Dtype, shape and a hash of the bytes of an array."""
    array = np.ascontiguousarray(values)
    return f"{array.dtype}{list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"


def distinct(cases: Iterable[tuple[str, Callable[[], Answer]]]) -> Cases:
    """The cases by name; a name that comes again has a number behind it."""
    named: dict[str, Callable[[], Answer]] = {}
    uses: Counter[str] = Counter()
    for name, case in cases:
        uses[name] += 1
        named[name if uses[name] == 1 else f"{name} #{uses[name]}"] = case
    return named


def prefixed(prefix: str, answer: Answer) -> Answer:
    return {f"{prefix}: {field}": value for field, value in answer.items()}
