"""Ask every claim and print the totals: ``python -m benchmarks.peer_claims [--peer NAME] [--totals] [--only TEXT]``."""

from __future__ import annotations

import argparse
import importlib
import re
import time
import warnings
from collections import Counter

from benchmarks.peer_claims.claims import Bars, Claim, Outcome, ask

PEERS = (
    "numdifftools",
    "scipy_optimize",
    "scipy_differentiate",
    "finite_differences",
    "autograd",
    "torch_gradcheck",
    "jax_check_grads",
    "sklearn_scalers",
    "keras_normalization",
    "torch_init",
    "torchtest",
)
STATES = ("held", "refused", "contradicted", "raw")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_claims", description=__doc__)
    parser.add_argument("--peer", choices=PEERS, action="append", help="one peer; may be given again")
    parser.add_argument("--totals", action="store_true", help="the totals alone")
    parser.add_argument("--only", default="", metavar="TEXT", help="claims with this text in their names")
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    results: list[tuple[Claim, Outcome]] = []
    print(
        f"{'peer':22}{'claims':>8}"
        + "".join(f"{s:>14}" for s in STATES)
        + f"{'bars cover':>17}{'seconds':>9}"
    )
    for peer in args.peer or PEERS:
        start = time.perf_counter()
        module = importlib.import_module(f"benchmarks.peer_claims.{peer}")
        mine = [(c, ask(c)) for c in module.claims() if args.only in c.name]
        results += mine
        row(peer, mine, time.perf_counter() - start)
    row("all", results, None)
    print()
    kinds = sorted({c.kind for c, _ in results})
    for kind in kinds:
        row(kind, [(c, o) for c, o in results if c.kind == kind], None)
    print_bars(results)
    if args.totals:
        return
    print_refusals(results)
    for state in ("contradicted", "raw"):
        some = [(c, o) for c, o in results if o.state == state]
        print(f"\n{state}: {len(some)}")
        for claim, outcome in some:
            print(f"  {claim.peer}: {claim.name}: {outcome.reason}")


def row(name: str, results: list[tuple[Claim, Outcome]], seconds: float | None) -> None:
    counts = Counter(o.state for _, o in results)
    bars = sum((o.bars for _, o in results), Bars())
    tail = f"{bars.covered} of {bars.total}" if bars.total else ""
    tail = f"{tail:>17}" + ("" if seconds is None else f"{seconds:9.1f}")
    print(f"{name:22}{len(results):8}" + "".join(f"{counts[s]:14}" for s in STATES) + tail, flush=True)


def print_bars(results: list[tuple[Claim, Outcome]]) -> None:
    for title, float32 in (("float64", False), ("float32", True)):
        bars = sum((o.bars for c, o in results if ("float32" in c.name) == float32), Bars())
        if bars.total:
            print(
                f"\nerror bars, {title}: {bars.covered} of {bars.total} cover the truth ({bars.covered / bars.total:.2%});"
                f" where it is not 0: {bars.nonzero_covered} of {bars.nonzero}; the worst miss is {bars.worst:.3g} bars",
                end="",
            )
    total = sum((o.bars for _, o in results), Bars())
    if total.total:
        print(
            f"\nerror bars, all: {total.covered} of {total.total} ({total.covered / total.total:.2%}); worst {total.worst:.3g} bars"
        )


def print_refusals(results: list[tuple[Claim, Outcome]]) -> None:
    some = [(c, o) for c, o in results if o.state == "refused"]
    print(f"\nrefused: {len(some)}")
    groups: dict[str, list[tuple[Claim, Outcome]]] = {}
    for claim, outcome in some:
        groups.setdefault(kind_of_reason(outcome.reason), []).append((claim, outcome))
    for reason, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        claim, outcome = members[0]
        print(
            f"  {len(members):4}  {reason}\n        such as {claim.peer}: {claim.name}: {outcome.reason[:200]}"
        )


def kind_of_reason(reason: str) -> str:
    """A refusal without its numbers and names, so that equal ones count together."""
    first = reason.split(": ")
    text = ": ".join(first[:2]) if first[0].endswith("Error") else first[0]
    return re.sub(r"[-+]?\d[\d.e+-]*|'[^']*'", "#", text)[:110]


if __name__ == "__main__":
    main()
