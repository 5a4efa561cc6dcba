"""Draw ``docs/check.svg``: what `wellposed check` and the race really print for the demo's problem.

::

    python docs/build_picture.py
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

import wellposed as wp
from wellposed.demo import wine_problem
from wellposed.show.text import render

TARGET = Path(__file__).with_name("check.svg")


def main() -> None:
    torch.set_num_threads(1)
    console = Console(record=True, width=80, force_terminal=True, color_system="truecolor")
    console.print(Text("$ wellposed check examples/wine.py:problem", style="bold"))
    console.print(
        Text.from_ansi(render(wp.check(wine_problem()).addressed("examples/wine.py:problem"), color=True))
    )
    svg = console.export_svg(title="wellposed", clear=True)
    # The page must not fetch a font from anywhere: the reader's own monospace does.
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg).replace("Fira Code, monospace", "monospace")
    svg = re.sub(r"<!-- .*? -->\n?", "", svg)
    TARGET.write_text(svg)


if __name__ == "__main__":
    main()
