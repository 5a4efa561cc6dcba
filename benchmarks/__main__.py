"""``python -m benchmarks``: the tables of this folder, one after the other."""

from __future__ import annotations

from . import training_problems


def main() -> None:
    for which in training_problems.SETS:
        training_problems.main(["--set", which])
        print()


if __name__ == "__main__":
    main()
