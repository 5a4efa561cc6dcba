"""A normalizer as a small table, 80 columns wide."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .normalizer import Normalizer

_SHOWN = 20


def describe(n: Normalizer) -> str:
    """What the normalizer holds and where it came from, one line a column; the middle of many is cut."""
    p = n.provenance
    kind = "column" if n.mean.size == 1 else "columns"
    head = [f"Normalizer  {n.method}, {n.mean.size:,} {kind}, fitted on {p.rows:,} {p.split} rows"]
    if p.source:
        head += [f"source      {p.source}"]
    head += [f"contents    {p.fingerprint}   {p.created}   wellposed {p.version}", ""]
    table = [f"{'column':<24.24}{'mean':>12}{'std':>12}{'min':>12}{'max':>12}"]
    for i in _places(n.mean.size):
        table += [f"  ... {n.mean.size - _SHOWN:,} more" if i < 0 else _line(n, i)]
    return "\n".join([*head, *table])


def _places(size: int) -> list[int]:
    if size <= _SHOWN:
        return list(range(size))
    half = _SHOWN // 2
    return [*range(half), -1, *range(size - half, size)]


def _line(n: Normalizer, i: int) -> str:
    numbers = "".join(f"{float(v.flat[i]):>12.5g}" for v in (n.mean, n.std, n.minimum, n.maximum))
    return f"{n.label(i):<24.24}{numbers}{_remark(n, i)}"


def _remark(n: Normalizer, i: int) -> str:
    if not n.selected.flat[i]:
        return "  as is"
    if n.constant.flat[i]:
        return "  const"
    lost = int(n.missing.flat[i]) + int(n.infinite.flat[i])
    return f" {'-' + format(lost, '.2g') if lost else '':>6}".rstrip()
