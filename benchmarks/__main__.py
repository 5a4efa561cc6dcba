"""``python -m benchmarks``: the tables of this folder, one after the other."""

from __future__ import annotations

import subprocess
import sys

from . import training_problems

APART = (
    "moments_accuracy",
    "moments_speed",
    "files_speed",
    "files_as_written",
    "difference_bars",
    "gradient_bugs",
    "gradient_names",
    "gradient_names_heldout",
    "operator_names",
    "peer_claims",
    "gradient_cost",
    "opinfo",
    "kinks",
)


def main() -> None:
    for which in training_problems.SETS:
        training_problems.main(["--set", which])
        print()
    for name in APART:  # each in a process of its own: what one has loaded must not slow down the next
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
        print(flush=True)


if __name__ == "__main__":
    main()
