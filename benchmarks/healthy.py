"""Whether ``wellposed.check`` accuses healthy problems, and the proof that they are healthy.

::

    python -m benchmarks.healthy [--set skewed|field|all] [--half a|b|all] [--seeds 3] [--only NAME] [--jobs 1]
    python -m benchmarks.healthy --prove      # train them: held-out loss must fall below every rival's

Every case runs in a process of its own, so one that ends the interpreter is a row like any other. In front, ``.``
is as it should be, ``!`` an error, ``w`` a warning, ``R`` refused (one of wellposed's own errors), ``C`` a crash,
``-`` left out for want of a package. The weights, the data and the check all depend on the seed. Rules may be mended on
half a; half b is for counting (``--quiet`` prints totals only).
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import resource
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
import torch._dynamo  # what the first optimizer loads; once here, rather than in every forked process

import wellposed
from wellposed.errors import WellposedError

from .cases.healthy_case import HealthyCase, learns

HALVES = ("a", "b")
SETS = {"skewed": "benchmarks.cases.skewed_{}", "field": "benchmarks.cases.field_healthy_{}"}
SECONDS_ALLOWED = 300
LETTERS = {"ready": "r", "not ready": "n", "not examined": "u"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one case gave over the seeds; `findings` are pairs of a code and its summary."""

    name: str
    kind: str
    errors: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    refused: str = ""
    crash: str = ""
    left_out: str = ""
    verdicts: str = ""
    """One letter a seed: r ready, n not ready, u not examined, x no report."""
    fewest_rules: int = 0
    """Rules that passed or found something, in the seed where they were fewest."""
    seconds: float = 0.0
    """The slowest check."""
    peak_mib: float = 0.0
    """How far the resident memory rose above that at the start."""

    @property
    def mark(self) -> str:
        for mark, holds in {
            "-": self.left_out,
            "C": self.crash,
            "R": self.refused,
            "!": self.errors,
            "w": self.warnings,
        }.items():
            if holds:
                return mark
        return "."


def cases(which: str, half: str) -> Iterator[HealthyCase]:
    for name in SETS if which == "all" else (which,):
        for letter in HALVES if half == "all" else (half,):
            yield from import_module(SETS[name].format(letter)).book.cases


def checked(case: HealthyCase, seeds: int) -> Result:
    """Check one case with every seed; nothing it raises gets out."""
    errors: dict[tuple[str, str], None] = {}
    warned: dict[tuple[str, str], None] = {}
    refused = crash = verdicts = ""
    slowest, examined, before = 0.0, [], _resident()
    for seed in range(seeds):
        try:
            problem = case.problem(seed)
        except Exception as error:
            return Result(name=case.name, kind=case.kind, crash=f"the case itself: {_told(error)}")
        started = time.perf_counter()
        try:
            report = wellposed.check(problem, seed=seed)
        except WellposedError as error:
            refused, verdicts = refused or _told(error), verdicts + "x"
        except Exception as error:
            crash, verdicts = crash or _told(error), verdicts + "x"
        else:
            errors |= {(f.code, f.summary): None for f in report.errors}
            warned |= {(f.code, f.summary): None for f in report.warnings}
            examined.append(len(report.passed) + len(set(report.codes)))
            verdicts += LETTERS[report.verdict]
        slowest = max(slowest, time.perf_counter() - started)
    return Result(
        name=case.name,
        kind=case.kind,
        errors=tuple(errors),
        warnings=tuple(warned),
        refused=refused,
        crash=crash,
        verdicts=verdicts,
        fewest_rules=min(examined, default=0),
        seconds=slowest,
        peak_mib=_resident() - before,
    )


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _told(error: BaseException) -> str:
    cause = f" <- {type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else ""
    return " ".join(f"{type(error).__name__}: {error}{cause}".split())[:400]


def proved(case: HealthyCase, seeds: int) -> dict[str, Any]:
    """Train the case with every seed."""
    started = time.perf_counter()
    proofs = [learns(case, seed) for seed in range(seeds)]
    return {
        "holds": all(p.holds for p in proofs),
        "losses": [(p.start, p.constant, p.end) for p in proofs],
        "seconds": time.perf_counter() - started,
    }


def apart(work: Callable[[], Any]) -> Any:
    """What the work gives, done in a forked process; RuntimeError when that died or took too long."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sending, work))
    process.start()
    sending.close()
    try:
        if not receiving.poll(SECONDS_ALLOWED):
            raise RuntimeError(f"still running after {SECONDS_ALLOWED} s")
        answer = receiving.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the process died with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer


def _send(pipe: Any, work: Callable[[], Any]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        pipe.send(work())
    except BaseException:
        pipe.send(traceback.format_exc())


def missing(case: HealthyCase) -> str:
    return ", ".join(name for name in case.needs if importlib.util.find_spec(name) is None)


def check_apart(case: HealthyCase, seeds: int) -> Result:
    if absent := missing(case):
        return Result(name=case.name, kind=case.kind, left_out=f"needs {absent}")
    try:
        return apart(partial(checked, case, seeds))
    except RuntimeError as error:
        return Result(name=case.name, kind=case.kind, crash=str(error).splitlines()[-1])


def prove_apart(case: HealthyCase, seeds: int) -> dict[str, Any]:
    if absent := missing(case):
        return {"left_out": f"needs {absent}"}
    try:
        return apart(partial(proved, case, seeds))
    except RuntimeError as error:
        return {"holds": False, "crash": str(error)}


def show(result: Result) -> str:
    last = result.left_out or result.crash or result.refused or ""
    head = f"{result.mark} {result.name:<52.52} {result.kind:<14.14} {result.verdicts:<4} {result.fewest_rules:>5} "
    lines = [f"{head} {result.seconds:6.2f} s {result.peak_mib:6.0f} MiB  {last}".rstrip()]
    lines += [f"      ERROR {code} {summary}" for code, summary in result.errors]
    lines += [f"      warn  {code} {summary}" for code, summary in result.warnings]
    return "\n".join(lines)


def totals(results: Sequence[Result]) -> str:
    ran = [r for r in results if not r.left_out]
    seconds = sorted(r.seconds for r in ran) or [0.0]
    rows = {
        "cases": f"{len(ran)} (and {len(results) - len(ran)} left out)",
        "with an error": sum(bool(r.errors) for r in ran),
        "with an error or a warning": sum(bool(r.errors or r.warnings) for r in ran),
        "refused": sum(bool(r.refused) for r in ran),
        "crashed": sum(bool(r.crash) for r in ran),
        "clean": sum(r.mark == "." for r in ran),
        "seconds, median and largest": f"{seconds[len(seconds) // 2]:.1f}, {seconds[-1]:.1f}",
        "largest rise of memory": f"{max((r.peak_mib for r in ran), default=0):.0f} MiB",
    }
    lines = [f"{name:<30} {value}" for name, value in rows.items()]
    for severity in ("errors", "warnings"):
        codes = Counter(code for r in ran for code in {c for c, _ in getattr(r, severity)})
        lines += [f"  {severity:<9} {code}  in {count} cases" for code, count in codes.most_common()]
    kinds = Counter(r.kind for r in ran if r.mark != ".")
    of_kind = Counter(r.kind for r in ran)
    lines += [
        f"  kind      {kind:<16} {count} of {of_kind[kind]} not clean" for kind, count in kinds.most_common()
    ]
    return "\n".join(lines)


def show_proof(case: HealthyCase, proof: dict[str, Any]) -> str:
    if "left_out" in proof:
        return f"- {case.name:<52.52} {proof['left_out']}"
    if "crash" in proof:
        return f"C {case.name:<52.52} {proof['crash']}"
    losses = "   ".join(
        f"{start:.4g} | {constant:.4g} > {end:.4g}" for start, constant, end in proof["losses"]
    )
    return f"{'.' if proof['holds'] else 'x'} {case.name:<52.52} {proof['seconds']:5.1f} s  {losses}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.healthy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--set", choices=[*SETS, "all"], default="all")
    parser.add_argument("--half", choices=[*HALVES, "all"], default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", metavar="NAME", help="only cases whose name contains NAME")
    parser.add_argument("--jobs", type=int, default=1, help="how many cases at a time")
    parser.add_argument("--quiet", action="store_true", help="totals only")
    parser.add_argument("--prove", action="store_true", help="train the cases instead of checking them")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = [c for c in cases(options.set, options.half) if options.only is None or options.only in c.name]
    work = partial(prove_apart if options.prove else check_apart, seeds=options.seeds)
    done = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for case, outcome in zip(chosen, pool.map(work, chosen), strict=True):
            done.append(outcome)
            if not options.quiet:
                print(show_proof(case, outcome) if options.prove else show(outcome), flush=True)
    if options.prove:
        ran = [p for p in done if "left_out" not in p]
        print(f"\n{sum(p['holds'] for p in ran)} of {len(ran)} learn, {len(done) - len(ran)} left out")
    else:
        print(f"\n{totals(done)}")


if __name__ == "__main__":
    main()
