"""How often the name of a bug is right, on operators that people write by hand.

    python -m benchmarks.operator_names --half a
    python -m benchmarks.operator_names --half all --dtype float32 --totals
    python -m benchmarks.operator_names --prove

Each operator is checked once right, where it must pass, and once with each of its bugs. A name is right when it is one of
those that are true of the bug, and wrong when it is another. A bug that passes is a silent pass when its error is larger than
the resolution that the check states, and else one below it, which is what the check says of it.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

import wellposed as wp
from benchmarks.cases import operator_bugs_a, operator_bugs_b
from benchmarks.cases.operator_case import Operator
from wellposed.errors import ArgumentError

HALVES = {"a": operator_bugs_a.CASES, "b": operator_bugs_b.CASES}


@dataclass
class Tally:
    """What came of the checks so far."""

    verdicts: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    evaluations: list[int] = field(default_factory=list)
    nameable: int = 0
    nameable_right: int = 0

    def add(self, other: Tally) -> None:
        self.verdicts += other.verdicts
        self.names += other.names
        self.evaluations += other.evaluations
        self.nameable += other.nameable
        self.nameable_right += other.nameable_right


@dataclass(frozen=True)
class Answer:
    """What one check said."""

    verdict: str
    words: str
    name: str | None
    evaluations: int
    resolution: float


def checked(case: Operator, bug: str, dtype: str) -> Answer:
    """Check one operator with one bug, or with none."""
    f, inputs, gradient = case.call(bug, case.inputs(dtype))
    torch.manual_seed(0)
    replay = "auto" if dtype == "float64" else False
    try:
        found = wp.check_gradients(f, *inputs, gradient=gradient, replay=replay)
    except ArgumentError as error:
        return Answer("raised", f"raised ({error})", None, 0, 0.0)
    finest = (
        f", which promises to have seen an error above {found.resolution:.1e}"
        if found.verdict == "pass"
        else ""
    )
    evaluations = found.n_forward + found.n_backward
    return Answer(found.verdict, found.verdict + finest, found.cause, evaluations, found.resolution)


def error_of(case: Operator, bug: str, dtype: str) -> float:
    """The largest relative error of a tensor's gradient, in the precision that is checked."""
    inputs = case.inputs(dtype)
    return difference(case.claimed(bug, inputs, inputs), case.truth(case.inputs("float64")))


def judged(case: Operator, dtype: str) -> tuple[Tally, list[str]]:
    """One operator, right and with each of its bugs, and a line for each thing that went wrong."""
    tally, lines = Tally(), []
    right = checked(case, "", dtype)
    tally.evaluations.append(right.evaluations)
    tally.verdicts[
        {"pass": "right passed", "fail": "false alarm"}.get(right.verdict, "right inconclusive")
    ] += 1
    if right.verdict != "pass":
        lines.append(f"{case.name}: the right one: {right.words}")
    for bug, true in case.bugs.items():
        answer = checked(case, bug, dtype)
        tally.evaluations.append(answer.evaluations)
        tally.nameable += bool(true)
        if answer.verdict == "pass":
            error = error_of(case, bug, dtype)
            tally.verdicts["below" if error <= answer.resolution else "silent pass"] += 1
            lines.append(f"{case.name}.{bug}: {answer.words}; its error is {error:.1e}")
        elif answer.verdict != "fail":
            tally.verdicts["bug inconclusive"] += 1
            lines.append(f"{case.name}.{bug}: {answer.words}")
        else:
            tally.verdicts["bug failed"] += 1
            lines += named(case, bug, true, answer.name, tally)
    return tally, lines


def named(case: Operator, bug: str, true: frozenset[str], name: str | None, tally: Tally) -> Iterator[str]:
    """Count the name of a bug that was found, and tell of a wrong one."""
    if name is None:
        tally.names["none"] += 1
    elif name in true:
        tally.names["right"] += 1
        tally.nameable_right += 1
    else:
        tally.names["wrong"] += 1
        yield f"{case.name}.{bug}: said {name}, true: {', '.join(sorted(true)) or 'no name'}"


def row(case: Operator, tally: Tally) -> str:
    """One line for one operator."""
    names, verdicts = tally.names, tally.verdicts
    mark = (
        "pass" if verdicts["right passed"] else "FALSE ALARM" if verdicts["false alarm"] else "inconclusive"
    )
    return (
        f"{case.name:28}{case.kind:7}{mark:13}{len(case.bugs):5}{verdicts['bug failed']:8}"
        f"{verdicts['bug inconclusive']:14}{verdicts['below']:7}{verdicts['silent pass']:8}"
        f"{names['right']:7}{names['none']:6}{names['wrong']:7}{max(tally.evaluations):7}"
    )


def summary(tally: Tally, operators: int) -> Iterator[str]:
    """The totals."""
    verdicts, names = tally.verdicts, tally.names
    bugs = sum(verdicts[kind] for kind in ("bug failed", "bug inconclusive", "below", "silent pass"))
    yield f"{operators} operators, {bugs} bugs, of which {tally.nameable} have a true name"
    yield (
        f"right operators: {verdicts['right passed']} passed, {verdicts['false alarm']} false alarms, "
        f"{verdicts['right inconclusive']} inconclusive"
    )
    yield (
        f"bugs: {verdicts['bug failed']} failed, {verdicts['bug inconclusive']} inconclusive, "
        f"{verdicts['below']} passed below the stated resolution, {verdicts['silent pass']} silent passes"
    )
    for name in ("right", "wrong", "none"):
        yield f"name {name}: {names[name]} ({100 * names[name] / max(bugs, 1):.1f} % of bugs)"
    yield f"of the nameable bugs, named rightly: {100 * tally.nameable_right / max(tally.nameable, 1):.1f} %"
    yield f"evaluations: median {statistics.median(tally.evaluations):.0f}, max {max(tally.evaluations)}"


def trial(cases: list[Operator], dtype: str, totals: bool) -> None:
    """Check all of them and print what came of it."""
    whole, all_lines = Tally(), []
    if not totals:
        print(
            f"{'operator':28}{'kind':7}{'right one':13}{'bugs':>5}{'failed':>8}{'inconclusive':>14}{'below':>7}{'silent':>8}"
            f"{'right':>7}{'none':>6}{'wrong':>7}{'evals':>7}"
        )
    for case in cases:
        tally, lines = judged(case, dtype)
        whole.add(tally)
        all_lines += lines
        if not totals:
            print(row(case, tally), flush=True)
    if not totals:
        print("", *all_lines, "", sep="\n")
    print(*summary(whole, len(cases)), sep="\n")


def difference(found: list[np.ndarray], true: list[np.ndarray]) -> float:
    """The largest difference of a tensor's gradient, relative to the norm of the true one; infinite where it is not finite."""
    sizes = [
        np.linalg.norm(g - t) / max(np.linalg.norm(t), 1e-300) if np.isfinite(g).all() else np.inf
        for g, t in zip(found, true, strict=True)
    ]
    return float(max(sizes))


def facts(found: list[np.ndarray], true: list[np.ndarray]) -> str:
    """What can be seen of a wrong gradient: by tensor, its error, the share of wrong elements, and one factor if that is all."""
    seen = []
    for place, (g, t) in enumerate(zip(found, true, strict=True)):
        norm = np.linalg.norm(t)
        if not np.isfinite(g).all() or np.linalg.norm(g - t) > 1e-9 * norm:
            share = np.mean(~np.isclose(g, t, rtol=1e-6, atol=1e-9 * np.abs(t).max()))
            factor = np.vdot(t, g).real / norm**2
            alone = bool(np.linalg.norm(g - factor * t) < 1e-9 * norm)
            seen.append(
                f"#{place} {np.linalg.norm(g - t) / norm:.1e} {share:.0%}" + f" x{factor:.4g}" * alone
            )
    return "; ".join(seen)


def prove(cases: list[Operator], quiet: bool = False) -> bool:
    """Whether the right gradients are the true ones and the wrong ones are not, by automatic differentiation of the forward passes."""
    sound = True
    for case in cases:
        inputs = case.inputs("float64")
        again = case.beside(inputs)
        true = case.truth(again)
        slips = [f"{case.name}.{bug}: not in its code" for bug in case.unwritten()]
        for bug in ("", *case.bugs):
            found = case.claimed(bug, inputs, again)
            size = difference(found, true)
            wrong = size > 1e-6 if bug else size < 1e-9
            if not quiet:
                names = ", ".join(sorted(case.bugs[bug])) if bug else ""
                print(f"{case.name}.{bug:16} {facts(found, true):50} {names}")
            if not wrong:
                slips.append(f"{case.name}.{bug}: {size:.1e} from the truth")
        print(*slips, sep="\n", end="\n" if slips else "")
        sound = sound and not slips
    return sound


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=["a", "b", "all"], default="all")
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    parser.add_argument("--only", default="", help="operators whose name holds this text")
    parser.add_argument("--totals", action="store_true", help="no line for each operator")
    parser.add_argument(
        "--prove", action="store_true", help="hold the gradients against automatic differentiation"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [case for half in HALVES if args.half in (half, "all") for case in HALVES[half]]
    cases = [case for case in wanted if args.only.lower() in case.name.lower()]
    if args.prove:
        raise SystemExit(0 if prove(cases, quiet=args.totals) else 1)
    trial(cases, args.dtype, args.totals)


if __name__ == "__main__":
    main()
