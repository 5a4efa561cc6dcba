"""How often ``wellposed.check`` is right about structure: masks, positions, noise, choices and likelihoods, mostly healthy.

::

    python -m benchmarks.structure

Written with the rules WP504, WP601, WP613, WP615 and WP616, and so no proof of what they miss: it shows whom they leave alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

import wellposed as wp

from .cases.structure import HEALTHY, SICK


def codes_of(build: Callable[[], dict[str, Any]]) -> list[str]:
    """Errors and warnings, in the report's order."""
    findings = wp.check(**build()).findings
    return [f.code for f in findings if f.severity is not wp.Severity.NOTE]


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    accused = found = 0
    for name, build in HEALTHY.items():
        codes = codes_of(build)
        accused += bool(codes)
        print(f"{'!' if codes else '.'} healthy  {name:50} {' '.join(codes)}", flush=True)
    for name, (expected, build) in SICK.items():
        codes = codes_of(build)
        found += expected in codes
        print(f"{'.' if expected in codes else 'x'} sick     {name:50} {' '.join(codes)}", flush=True)
    print(f"accused: {accused} of {len(HEALTHY)} healthy; found: {found} of {len(SICK)} sick")


if __name__ == "__main__":
    main()
