"""A normalizer, and drift from it, as small tables, 80 columns wide, with what was left out of them in words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from ..data.column_names import listed, printable
from ..normalize.methods import method_of
from .lines import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..normalize.drift import Change, ColumnDrift, Drift
    from ..normalize.fitted import FittedTransform

_SHOWN = 20  # columns
_WIDTH = 80
_MARGIN = 12  # of the words before and after the table
_NAME, _NUMBER = 20, 11
_DRIFT_NAME = 24
_MOST = 8  # names in a sentence


def describe(n: FittedTransform) -> str:
    """What the normalizer holds and where it came from, one line a column; the middle of many is cut."""
    titles = ("median", _spread(n)) if n.quartiles is not None else ("mean", "std")
    header = cut("column", _NAME) + "".join(f"{t:>{_NUMBER}}" for t in (*titles, "min", "max"))
    rows = [f"  ... {n.mean.size - _SHOWN:,} more" if i is None else _row(n, i) for i in _places(n.mean.size)]
    notes = [*_notes(n)]
    return "\n".join([*_origin(n), "", header, *rows, *([""] if notes else []), *notes])


def describe_drift(d: Drift) -> str:
    """Which columns drifted and by how much, the worst first."""
    return "\n".join(_drift_lines(d))


def _origin(n: FittedTransform) -> Iterator[str]:
    p, columns = n.provenance, f"{n.mean.size:,} column{'' if n.mean.size == 1 else 's'}"
    made_of = f"fitted on {p.rows:,} {printable(p.split)} rows" if p.rows else "of given statistics"
    yield from _wrapped("Normalizer", f"{n.method}, {columns}, {made_of}")
    if options := [*_options(n)]:
        yield from _wrapped("options", ", ".join(options))
    if p.source:
        yield from _wrapped("source", printable(p.source))
    yield from _wrapped("contents", printable(p.fingerprint))
    yield from _wrapped("made", f"{printable(p.created)} by wellposed {printable(p.version)}")


def _options(n: FittedTransform) -> Iterator[str]:
    """What was asked for beside the method."""
    usual = method_of(n.method)
    if n.feature_range is not None and n.feature_range != usual.feature_range:
        yield "to {:g} ... {:g}".format(*n.feature_range)
    if n.quantile_range is not None and n.quantile_range != usual.quantile_range:
        yield "quantiles {:g} and {:g} %".format(*n.quantile_range)
    if not n.with_centering:
        yield "not centred"
    if not n.with_scaling:
        yield "not divided"
    if n.clip is not None:
        yield "clipped to {:g} ... {:g}".format(*n.clip)


def _spread(n: FittedTransform) -> str:
    return "IQR" if n.quantile_range == (25, 75) else "spread"


def _places(size: int) -> list[int | None]:
    if size <= _SHOWN:
        return [*range(size)]
    half = _SHOWN // 2
    return [*range(half), None, *range(size - half, size)]


def _row(n: FittedTransform, i: int) -> str:
    if n.quartiles is not None:
        lower, middle, upper = (float(q.flat[i]) for q in n.quartiles)
        first = (middle, upper - lower)
    else:
        first = (float(n.mean.flat[i]), float(n.std.flat[i]))
    values = (*first, float(n.minimum.flat[i]), float(n.maximum.flat[i]))
    known = 4 if n.count.flat[i] > 0 else 2 if n.provenance.rows == 0 else 0
    texts = [_number(v) if place < known else "-" for place, v in enumerate(values)]
    numbers = "".join(f"{text:>{_NUMBER}}" for text in texts)
    return f"{cut(n.label(i), _NAME)}{numbers}{_remark(n, i)}"


def _number(value: float) -> str:
    text = f"{value:.4g}"
    return text if len(text) < _NUMBER else f"{value:.3g}"


def _remark(n: FittedTransform, i: int) -> str:
    """In the 16 places that are left."""
    if not n.selected.flat[i]:
        return "  left alone"
    if n.constant.flat[i]:
        return "  constant"
    lost = int(n.missing.flat[i])
    if lost:
        return f"  {_share(lost, n, i)} missing"
    return "  has infinities" if n.infinite.flat[i] else ""


def _share(lost: int, n: FittedTransform, i: int) -> str:
    """At most five places, and never 0% or 100% of something that is not."""
    share = 100 * lost / max(1, int(n.count.flat[i] + n.missing.flat[i] + n.infinite.flat[i]))
    return "<.1%" if share < 0.1 else f"{min(share, 99.9):.1f}%"


def _notes(n: FittedTransform) -> Iterator[str]:
    for why, names in _left_alone(n).items():
        yield from _wrapped("left alone", f"{listed(names, most=_MOST)} ({why})")
    if n.names is None and not n.selected.all():
        yield from _wrapped("left alone", f"{_columns(n, ~n.selected)} (not chosen)")
    stays = "an infinite entry stays so" if n.clip is None else "an infinite entry becomes a bound"
    for label, flags, meaning in (
        ("missing", n.missing > 0, "left out of the statistics; a missing entry stays missing"),
        ("infinite", n.infinite > 0, f"left out of the statistics; {stays}"),
        ("constant", n.constant, "centred where the method does, and not divided"),
    ):
        flags = flags & n.selected
        if flags.any():
            yield from _wrapped(label, f"{_columns(n, flags)}: {meaning}")
    for remark in n.remarks:
        yield from _wrapped("note", printable(remark))


def _left_alone(n: FittedTransform) -> dict[str, list[str]]:
    """Names by the reason; a reason that names numbers of its own stays by itself."""
    names_by_reason: dict[str, list[str]] = {}
    for name, why in n.left_alone.items():
        names_by_reason.setdefault(printable(why), []).append(name)
    return names_by_reason


def _columns(n: FittedTransform, flags: np.ndarray) -> str:
    return listed((n.label(int(i)) for i in np.flatnonzero(flags)), most=_MOST)


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{label:<{_MARGIN}}",
        subsequent_indent=" " * _MARGIN,
        break_on_hyphens=False,
    )


def _drift_lines(d: Drift) -> list[str]:
    drifted, width = d.drifted, len(d.columns)
    counted = f"{width:,} column{'' if width == 1 else 's'}"
    head = f"{d.rows:,} rows against {d.train_rows:,} training rows:"
    if not drifted:
        return [f"{head} none of {counted} drifted"]
    lines = [
        f"{head} {len(drifted):,} of {counted} drifted",
        "",
        f"{cut('column', _DRIFT_NAME)}{'mean shift':>17}{'variance':>16}{'outside':>10}{'missing':>10}",
    ]
    lines += [_drift_line(c) for c in drifted[:_SHOWN]]
    if len(drifted) > _SHOWN:
        lines.append(f"... {len(drifted) - _SHOWN:,} more")
    return [
        *lines,
        "",
        "mean shift in training stds, variance as a ratio, both with standard errors;",
        "outside: rows beyond the training range; * is what drifted",
    ]


def _drift_line(c: ColumnDrift) -> str:
    def mark(name: Change) -> str:
        return "*" if name in c.changes else " "

    shift = f"{c.mean_shift:+.3g} ± {c.mean_error:.1g}{mark('mean')}"
    ratio = f"{c.variance_ratio:.3g} ± {c.variance_error:.1g}{mark('variance')}"
    outside, missing = f"{c.outside:.1%}{mark('range')}", f"{c.missing:.1%}{mark('missing')}"
    line = f"{cut(c.label, _DRIFT_NAME)}{shift:>17}{ratio:>16}{outside:>10}{missing:>10}"
    return line.replace("+nan ± nan", "       -  ").replace("nan ± nan", "      -  ").replace("nan%", "   -")
