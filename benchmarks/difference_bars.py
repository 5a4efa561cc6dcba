"""Whether the error bars of numerical_gradient hold, and how wide they are.

::

    python -m benchmarks.difference_bars [--count 12000] [--dtype float64] [--families]

For each dtype at least `count` derivatives over the families of `difference_cases`. **Coverage** is the share whose
true derivative lies within the bar. **Width** is the half-width over the actual error, in the median; where the error is
exactly zero it counts as infinite. (Were errors Gaussian and bars three standard deviations, coverage would be 99.73 %
and the width 4.4.) The method and its constants were made with the families
of the line `made with`; those of `held out` were written afterwards, and nothing was changed for them. In float32, f computes in float32 throughout at a float32 point (``precision="own"``), or casts its float64
argument inside. In the rows `mixed` something inside f computes in few digits, and float64 around it: f is a staircase beside smooth terms.
Those of `sharp` may look like it, and are none: jumps, kinks and bumps beside x, short waves, tables read along straight lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import click
import numpy as np
import torch

from wellposed.differentiate import numerical_gradient

from .difference_bars_mixed import held_out_families, mixed_families, sharp_families
from .difference_cases import Case, Family, families_of, fresh_families_of

DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "complex": np.complex128,
    "mixed": np.float64,
    "sharp": np.float64,
}


@dataclass(kw_only=True)
class Score:
    errors: list[float] = field(default_factory=list)
    bars: list[float] = field(default_factory=list)
    kinks: int = 0
    evaluations: int = 0

    def add(self, case: Case) -> None:
        own = not isinstance(case.x, torch.Tensor) and np.asarray(case.x).dtype == np.float32
        found: Any = numerical_gradient(case.f, case.x, precision="own" if own else "auto")
        self.errors += np.abs(found.value - case.truth).ravel().tolist()
        self.bars += np.broadcast_to(found.error, np.shape(case.truth)).ravel().tolist()
        self.kinks += int(np.sum(found.kink))
        self.evaluations += found.n_evaluations

    def merge(self, other: Score) -> None:
        self.errors += other.errors
        self.bars += other.bars
        self.kinks += other.kinks
        self.evaluations += other.evaluations

    @property
    def coverage(self) -> float:
        return float(np.mean(np.array(self.errors) <= np.array(self.bars)))

    @property
    def width(self) -> float:
        with np.errstate(all="ignore"):
            return float(np.median(np.divide(self.bars, self.errors)))

    def line(self, name: str) -> str:
        n = len(self.errors)
        return (
            f"{name:<52}{n:>8}{100 * self.coverage:>9.2f} %{self.width:>9.1f}{self.kinks:>8}"
            f"{self.evaluations / max(n, 1):>8.1f}"
        )


def measured(family: Family, dtype: str, count: float, *, seed: int) -> Score:
    rng = np.random.default_rng([seed, *family.name.encode()])
    score = Score()
    while len(score.errors) < count:
        score.add(family.draw(rng, DTYPES[dtype]))
    return score


@click.command()
@click.option("--count", default=12_000, show_default=True, help="Derivatives a dtype.")
@click.option("--dtype", type=click.Choice([*DTYPES]), multiple=True, help="Default: all of them.")
@click.option("--families", "each", is_flag=True, help="A line a family.")
@click.option("--seed", default=0, show_default=True)
def main(count: int, dtype: tuple[str, ...], each: bool, seed: int) -> None:
    for kind in dtype or DTYPES:
        click.echo(f"{kind:<52}{'count':>8}{'coverage':>11}{'width':>9}{'kinks':>8}{'evals':>8}")
        report(kind, count, each=each, seed=seed)
        click.echo()


def families(kind: str) -> tuple[tuple[Family, ...], tuple[Family, ...]]:
    """Those that the method was made with, and those held out."""
    if kind == "mixed":
        return mixed_families(), held_out_families()
    if kind == "sharp":
        return sharp_families(), ()
    return families_of(kind), fresh_families_of(kind)


def report(kind: str, count: int, *, each: bool, seed: int) -> None:
    made_with, held_out = families(kind)
    scores = {}
    for group, number in ((made_with, count), (held_out, count // 4)):
        share = 1.1 * number / sum(f.weight for f in group) if group else 0
        scores |= {f.name: measured(f, kind, share * f.weight, seed=seed) for f in group}
    if each:
        for name, score in scores.items():
            click.echo(score.line(f"  {name}"))
    groups = (("made with", made_with), ("held out", held_out), ("all", made_with + held_out))
    for name, group in groups if held_out else groups[:1]:
        total = Score()
        for family in group:
            total.merge(scores[family.name])
        click.echo(total.line(name))
    low = sorted(scores, key=lambda name: scores[name].coverage)[:3]
    wide = sorted(scores, key=lambda name: -scores[name].width)[:3]
    click.echo("least covered: " + ", ".join(f"{n} ({100 * scores[n].coverage:.1f} %)" for n in low))
    click.echo("widest:        " + ", ".join(f"{n} ({scores[n].width:.3g})" for n in wide))


if __name__ == "__main__":
    main()
