"""What a rule measures, why it hurts and how to fix it: the packaged pages, found by code, name or prefix."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from importlib import resources

from ..arguments import refused, told
from ..errors import ArgumentError
from ..limits import Limits
from ..report import FAMILIES
from . import RULES
from .table import Rule

_WIDTH = 80
_LONGEST_KEY = 80  # characters: what is longer is no rule, and would be compared with each


def explain(key: str) -> str:
    """Explain a rule, or list a family of rules, as plain text of at most 80 columns.

    Parameters
    ----------
    key
        A code (``"WP101"``), a name (``"feature-scale-imbalance"``), a prefix of codes (``"WP1"``) or the
        name of a family (``"data"``); capitals do not matter.

    Returns
    -------
    str
        For one rule its page: what it measures, why it hurts, how to fix it, when to ignore it, how the
        limit was calibrated, and the limits. For a family the codes, names and severities of its rules.

    Raises
    ------
    ArgumentError
        When no rule has such a code, name or prefix; the message gives the nearest ones.

    Examples
    --------
    >>> print(explain("WP101").splitlines()[0])
    WP101 feature-scale-imbalance
    """
    found = matching(key)
    return _page(found[0]) if len(found) == 1 else listing(found)


def matching(key: str) -> tuple[Rule, ...]:
    """Return the rules that a code, a name, a prefix of codes or a family's name means; at least one."""
    if not isinstance(key, str) or not key.strip():
        raise refused("key", key, "a code, a name or a prefix, such as 'WP101' or 'WP1'")
    wanted = key.strip().lower().replace("_", "-")[:_LONGEST_KEY]
    prefix = next((p.lower() for p, family in FAMILIES.items() if family == wanted), wanted)
    named = tuple(rule for rule in RULES if wanted in (rule.code.lower(), rule.name))
    found = named or tuple(r for r in RULES if prefix.startswith("wp") and r.code.lower().startswith(prefix))
    if not found:
        known = [text for rule in RULES for text in (rule.name, rule.code.lower())] + list(FAMILIES.values())
        near = ", ".join(text.upper() if text.startswith("wp") else text for text in _nearest(wanted, known))
        hint = f"did you mean {near}?" if near else "`wellposed rules` lists them"
        raise ArgumentError(f"no rule is called {told(key)}: {hint}")
    return found


def _nearest(wanted: str, known: list[str]) -> list[str]:
    close = difflib.get_close_matches(wanted, known, n=3)
    return close or [text for text in known if len(wanted) > 3 and wanted in text][:3]


def listing(rules: tuple[Rule, ...]) -> str:
    lines = []
    for prefix, family in FAMILIES.items():
        members = [rule for rule in rules if rule.code.startswith(prefix)]
        if members:
            lines += ["", f"{family} ({prefix})"]
            lines += [f"  {rule.code}  {rule.name:<28} {rule.severity.value}" for rule in members]
    return "\n".join([*lines[1:], "", f"one of them: wellposed explain {rules[0].code}"])


def _page(rule: Rule) -> str:
    page = resources.files("wellposed.rules") / "pages" / f"{rule.code}.md"
    markdown = page.read_text(encoding="utf-8") if page.is_file() else f"# {rule.code} {rule.name}\n"
    return "\n".join([*plain_text(markdown), *_limits(rule)]).rstrip()


def _limits(rule: Rule) -> list[str]:
    used = [limit for limit in fields(Limits) if limit.name in rule.limits]
    lines = ["Limits", "------"] if used else []
    for limit in used:
        lines += _wrapped(f"{limit.name} = {limit.default:g}", first="- ", rest="  ")
        for about in ("unit", "source"):
            lines += _wrapped(str(limit.metadata.get(about, "")), first="  ", rest="  ")
    return lines


_FENCE = re.compile(r"^\s*```[^\n]*\n(.*?)(?:^\s*```[^\S\n]*$|\Z)", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+ .*)$", re.MULTILINE)
_MARKER = re.compile(r"\s*(?:[-*+]|\d+\.)\s+")


def plain_text(markdown: str) -> Iterator[str]:
    """Lines of at most 80 columns: headings underlined, paragraphs and lists wrapped, code as it is."""
    for i, part in enumerate(_FENCE.split(markdown)):
        if i % 2:  # what a fence holds
            yield from [*("    " + line for line in part.rstrip().splitlines()), ""]
            continue
        for block in re.split(r"\n\s*\n", _HEADING.sub(r"\n\1\n", part)):
            if block.strip():
                yield from _block(block.strip("\n").splitlines())


def _block(lines: list[str]) -> Iterator[str]:
    if lines[0].startswith("#"):
        title = _inline(lines[0].lstrip("# "))
        yield from [title, "=" * len(title), ""] if lines[0].startswith("# ") else [title, "-" * len(title)]
        return
    if lines[0].startswith(("|", "    ")):
        yield from lines
    else:
        for item in _items(lines):
            marker = _MARKER.match(item)
            head = marker.group() if marker else ""
            yield from _wrapped(_inline(item[len(head) :]), first=head, rest=" " * len(head))
    yield ""


def _items(block: list[str]) -> list[str]:
    """The list items of a block, or the whole block as one paragraph."""
    items: list[str] = []
    for line in block:
        if not items or _MARKER.match(line):
            items.append(line)
        else:
            items[-1] += " " + line.strip()
    return items


def _inline(text: str) -> str:
    """Text without the marks of emphasis; a link gives its address."""
    text = re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", r"\1 <\2>", text)
    return re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"\1", text)


def _wrapped(text: str, *, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
