"""Write ``docs/rules.md`` from the table of rules, their pages and the limits.

::

    python docs/build_rules.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from importlib import resources
from pathlib import Path

from wellposed.limits import Limits
from wellposed.report import FAMILIES
from wellposed.rules import RULES
from wellposed.rules.table import Rule

TARGET = Path(__file__).with_name("rules.md")

INTRODUCTION = """\
<!-- Made by docs/build_rules.py from src/wellposed/rules: change it there. -->

# Rules

What `wellposed check` looks for. `wellposed explain WP101` prints the same page in the terminal; `--select WP1` and
`--ignore WP104` choose rules by code, name or prefix. An error is shown as FAIL, a warning as WARN; a note never counts
against the verdict. The severity below is the usual one: a rule may find that this case is milder, and its page says when.

Every measurement is taken on a copy, or put back bit for bit. "30 steps" are steps of your optimizer, or of Adam at 1e-3
when none is given; "held out" are training rows that these steps do not see.

The examples start with `import random, torch, wellposed as wp`, `from torch import nn` and
`from torch.nn import functional as F`, after `torch.manual_seed(0)`. The findings below them are what they give; the tests
run them.
"""


def document() -> str:
    """The whole of ``docs/rules.md``."""
    families = [(prefix, [r for r in RULES if r.code.startswith(prefix)]) for prefix in FAMILIES]
    parts = [INTRODUCTION, _table()]
    for prefix, rules in families:
        if rules:
            parts += [f"## {FAMILIES[prefix].capitalize()}\n", *(_section(rule) for rule in rules)]
    return "\n".join(parts)


def _table() -> str:
    lines = ["| code | name | severity |", "|---|---|---|"]
    lines += [f"| [{r.code}](#{r.code}-{r.name}) | {r.name} | {r.severity.value} |".lower() for r in RULES]
    return "\n".join(lines).replace("[wp", "[WP") + "\n"


def _section(rule: Rule) -> str:
    page = (resources.files("wellposed.rules") / "pages" / f"{rule.code}.md").read_text(encoding="utf-8")
    limits = [f for f in fields(Limits) if f"`{f.name}`" in page]
    lines = list(_two_levels_down(page.splitlines()))
    if limits:
        lines += ["", "#### Limits", ""]
        lines += [
            f"- `{f.name}` = {f.default:g} ({f.metadata['unit']}): {f.metadata['source']}" for f in limits
        ]
    return "\n".join(lines) + "\n"


def _two_levels_down(lines: list[str]) -> Iterator[str]:
    """Headings of a page become headings below that of its family; code stays as it is."""
    fenced = False
    for line in lines:
        fenced ^= line.startswith("```")
        yield f"##{line}" if line.startswith("#") and not fenced else line


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
