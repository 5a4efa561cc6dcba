"""Does the check name the bug? On cases written apart from the code that names: what it said, family by family.

::

    python -m benchmarks.gradient_names [--family stale] [--draw 0] [--seed 0] [--all]

*right*: a name that is true of the bug; *none*: it failed without a name, or with one that is true and says too little; *wrong*: a name that is not true; *missed*: it did not fail.
The number is the factor or the lambda, which the words should hold within 1 %; the place is the wrong tensor and element where there are few.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import click

import wellposed as wp
from wellposed import GradientCheck

from .cases.named_bug import FAMILIES, NamedBug
from .cases.named_bugs import all_named_bugs
from .cases.named_bugs_models import Draw

RIGHT, NONE, WRONG, MISSED = "right", "none", "wrong", "missed"
UNASKED = ("hidden", "not nameable")
"""Families of which no name is expected."""
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?")


@dataclass(frozen=True, kw_only=True)
class Answer:
    case: NamedBug
    check: GradientCheck

    @property
    def score(self) -> str:
        if self.check.verdict != "fail":
            return MISSED
        if self.check.cause is None or self.check.cause in self.case.vague:
            return NONE
        return RIGHT if self.check.cause in self.case.right else WRONG

    @property
    def number(self) -> bool | None:
        """Whether the words hold the factor or the lambda; None where there is none to hold, or no right name."""
        if self.case.number is None or self.score != RIGHT:
            return None
        found = [_value(text) for text in NUMBER.findall(self.check.detail)]
        return any(abs(abs(v) - abs(self.case.number)) <= 0.01 * abs(self.case.number) for v in found)

    @property
    def place(self) -> bool | None:
        if not self.case.elements or self.check.worst is None:
            return None if not self.case.elements else False
        return (self.check.worst.name, tuple(self.check.worst.index)) in self.case.elements


def _value(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / (float(below) or float("nan")) if below else float(above)


def ask(case: NamedBug, seed: int) -> Answer:
    f, inputs, gradient = case.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Answer(case=case, check=wp.check_gradients(f, *inputs, gradient=gradient, seed=seed))


def row(family: str, answers: list[Answer]) -> str:
    scores = Counter(a.score for a in answers)
    numbers = [a.number for a in answers if a.number is not None]
    places = [a.place for a in answers if a.place is not None]
    return (
        f"{family:<16} {len(answers):>5} {scores[RIGHT]:>6} {scores[NONE]:>5} {scores[WRONG]:>6} {scores[MISSED]:>7}"
        f"  {_share(numbers):>7} {_share(places):>7} {max(a.check.n_forward for a in answers):>8}"
    )


def _share(flags: list[bool]) -> str:
    return f"{sum(flags)}/{len(flags)}" if flags else "-"


def described(answer: Answer) -> str:
    place = {None: "", True: "", False: "  place wrong"}[answer.place]
    number = {None: "", True: "", False: "  number wrong"}[answer.number]
    words = answer.check.detail.splitlines()[0] if answer.check.detail else ""
    return (
        f"  {answer.score:<7} {answer.case.family:<14} {answer.case.name}: {answer.check.verdict}, {answer.check.cause}"
        f"{number}{place}  [{words[:150]}]"
    )


def report(cases: Sequence[NamedBug], *, seed: int, every: bool) -> None:
    """Ask all of them, and print the table and what was not right."""
    answers = [ask(case, seed) for case in cases]
    click.echo(
        f"{'family':<16} {'cases':>5} {'right':>6} {'none':>5} {'wrong':>6} {'missed':>7}  {'number':>7} {'place':>7} {'forward':>8}"
    )
    for one in FAMILIES:
        if of_one := [a for a in answers if a.case.family == one]:
            click.echo(row(one, of_one))
    asked = [a for a in answers if a.case.family not in UNASKED]
    if asked:
        click.echo(row("all named", asked))
        named = sum(a.score == RIGHT for a in asked) / len(asked)
        wrong = sum(a.score == WRONG for a in answers) / len(answers)
        click.echo(
            f"right on {named:.1%} of the named families, wrong on {wrong:.1%} of all {len(answers)}\n"
        )
    for a in answers:
        fine = a.score == RIGHT or (a.score == NONE and a.case.family in UNASKED)
        if every or not fine or a.number is False or a.place is False:
            click.echo(described(a))


@click.command(help=__doc__)
@click.option("--family", multiple=True, type=click.Choice(FAMILIES), default=FAMILIES)
@click.option("--seed", default=0, show_default=True)
@click.option("--draw", default=0, show_default=True, help="Another number draws other weights and data.")
@click.option(
    "--all", "every", is_flag=True, help="A line for every case, not only for those that are not right."
)
def main(family: tuple[str, ...], seed: int, draw: int, every: bool) -> None:
    Draw.first = 1000 * draw
    report([case for case in all_named_bugs() if case.family in family], seed=seed, every=every)


if __name__ == "__main__":
    main()
