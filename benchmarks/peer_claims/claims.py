"""Claims, what becomes of them, and the comparison of a derivative and its error bar with the truth."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import mpmath
import numpy as np

import wellposed as wp

State = Literal["held", "refused", "contradicted", "raw"]

MISS = 5.0
"""An element that lies more than this many bars from its truth contradicts the claim, whatever the peer's tolerance."""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """How many error bars cover the truth, element by element."""

    total: int = 0
    covered: int = 0
    nonzero: int = 0
    nonzero_covered: int = 0
    worst: float = 0.0

    def __add__(self, other: Bars) -> Bars:
        return Bars(
            total=self.total + other.total,
            covered=self.covered + other.covered,
            nonzero=self.nonzero + other.nonzero,
            nonzero_covered=self.nonzero_covered + other.nonzero_covered,
            worst=max(self.worst, other.worst),
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one claim."""

    state: State
    reason: str = ""
    bars: Bars = field(default_factory=Bars)


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """One thing that a peer's tests assert, as a question to wellposed."""

    name: str
    peer: str
    kind: Literal["derivative", "gradcheck", "scaling", "initialization", "training"]
    run: Callable[[], Outcome]


def held(reason: str = "") -> Outcome:
    return Outcome(state="held", reason=reason)


def contradicted(reason: str) -> Outcome:
    return Outcome(state="contradicted", reason=reason)


def refused(reason: str) -> Outcome:
    return Outcome(state="refused", reason=reason)


def ask(claim: Claim) -> Outcome:
    """Run a claim; an error of wellposed is a refusal, any other exception is raw."""
    try:
        return claim.run()
    except wp.WellposedError as error:
        return refused(f"{type(error).__name__}: {error}")
    except Exception as error:
        return Outcome(state="raw", reason=f"{type(error).__name__}: {error}")


def refusal(run: Callable[[], Any]) -> Outcome:
    """Held when wellposed refuses, as the peer does."""
    try:
        got = run()
    except wp.WellposedError:
        return held()
    return contradicted(f"gave {str(got)[:120]!r} where the peer refuses")


def equal(got: Any, want: Any, *, what: str = "value") -> Outcome:
    """Held when two arrays, numbers or names are the very same; NaN is equal to NaN."""
    if np.array_equal(np.asarray(got), np.asarray(want), equal_nan=np.asarray(want).dtype.kind in "fc"):
        return held()
    return contradicted(f"{what} {brief(got)}, right is {brief(want)}")


def close(got: Any, want: Any, *, rtol: float = 1e-12, atol: float = 0.0, what: str = "value") -> Outcome:
    """Held when `got` lies within a tolerance of the truth everywhere; NaN is equal to NaN."""
    a, b = np.asarray(got, dtype=np.longdouble), np.asarray(want, dtype=np.longdouble)
    if a.shape != b.shape:
        return contradicted(f"{what} of shape {a.shape}, right is {b.shape}")
    with np.errstate(invalid="ignore", over="ignore"):
        same = (np.isnan(a) & np.isnan(b)) | (a == b) | (np.abs(a - b) <= rtol * np.abs(b) + atol)
    if same.all():
        return held()
    at = tuple(int(i) for i in np.argwhere(~same)[0])
    return contradicted(f"{what}{list(at) if at else ''} {float(a[at])!r}, right is {float(b[at])!r}")


def all_of(*outcomes: Outcome) -> Outcome:
    """The first that did not hold, with the bars of all."""
    bars = sum((o.bars for o in outcomes), Bars())
    for outcome in outcomes:
        if outcome.state != "held":
            return Outcome(state=outcome.state, reason=outcome.reason, bars=bars)
    return Outcome(state="held", bars=bars)


def brief(x: Any) -> str:
    text = " ".join(str(x).split())
    return text if len(text) <= 90 else text[:87] + "..."


def judge(
    value: Any, error: Any, truth: Any, *, rtol: float = 1e-6, atol: float = 1e-8, what: str = "derivative"
) -> Outcome:
    """Compare a derivative and its bar with the truth, element by element.

    Held: within the peer's tolerance. Contradicted: outside of it and outside of the bar, or more than `MISS` bars away.
    Outside of the tolerance with a bar that covers is a refusal: fewer digits than the peer has, and said so.
    """
    values, errors = np.asarray(value), np.asarray(error)
    truths = np.asarray(truth, dtype=object)
    if values.shape != truths.shape or errors.shape != truths.shape:
        return contradicted(f"{what} of shape {values.shape}, right is {truths.shape}")
    covered, nonzero, nonzero_covered, worst = 0, 0, 0, 0.0
    wrong, missed, wide = "", "", ""
    for at in np.ndindex(truths.shape):
        right = mpmath.mpmathify(truths[at])
        got, bar = mpmath.mpmathify(values[at].item()), mpmath.mpf(float(errors[at]))
        if not mpmath.isfinite(got) or mpmath.isnan(bar):
            wrong = wrong or f"{what}{list(at) if at else ''} {values[at]!r} ± {float(errors[at])!r}"
            nonzero += right != 0
            worst = math.inf
            continue
        miss = abs(got - right)
        inside = miss <= bar
        covered += inside
        nonzero += right != 0
        nonzero_covered += bool(inside and right != 0)
        ratio = 0.0 if miss == 0 else float(miss / bar) if bar > 0 else math.inf
        if not inside:
            worst = max(worst, ratio)
        line = (
            f"{what}{list(at) if at else ''} {complex_or_float(got)} ± {float(bar):.2g}, right is {complex_or_float(right)}"
            f" ({ratio:.3g} bars)"
        )
        digits = miss <= rtol * abs(right) + atol
        if not inside and not digits:
            wrong = wrong or line
        elif ratio > MISS:
            missed = missed or f"{line}, though within the peer's tolerance"
        elif not digits or mpmath.isinf(bar):
            wide = wide or line
    bars = Bars(
        total=truths.size, covered=covered, nonzero=nonzero, nonzero_covered=nonzero_covered, worst=worst
    )
    if wrong or missed:
        return Outcome(state="contradicted", reason=wrong or missed, bars=bars)
    if wide:
        return Outcome(
            state="refused", reason=f"fewer digits than the peer's, and the bar says so: {wide}", bars=bars
        )
    return Outcome(state="held", bars=bars)


def complex_or_float(x: Any) -> str:
    return repr(complex(x)) if isinstance(x, mpmath.mpc) else repr(float(x))


def verdict(
    check: wp.GradientCheck, want: Literal["pass", "fail", "not pass"], *, cause: str | None = None
) -> Outcome:
    """Compare a gradient check with the verdict that is right; an inconclusive one where the peer decides is a refusal."""
    got = check.verdict
    if want == "not pass":
        return held() if got != "pass" else contradicted("passed, right is anything but a pass")
    if got == want:
        if cause is not None and check.cause not in (None, cause):
            return contradicted(f"called {check.cause}, right is {cause}")
        return held()
    if got == "inconclusive":
        return refused(f"inconclusive where the right verdict is {want}: {brief(str(check))}")
    return contradicted(f"verdict {got}, right is {want}: {brief(str(check))}")


class Grid:
    """Collects the claims of one peer."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.claims: list[Claim] = []

    def add(
        self,
        kind: Literal["derivative", "gradcheck", "scaling", "initialization", "training"],
        name: str,
        run: Callable[..., Outcome],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self.claims.append(
            Claim(name=name, peer=self.peer, kind=kind, run=functools.partial(run, *args, **kwargs))
        )


def flat(arrays: Iterable[Any]) -> list[Any]:
    return [x for a in arrays for x in np.asarray(a, dtype=object).ravel()]
