"""`explain`: by code, name or prefix; at 80 columns; the limits that a rule reads."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from wellposed.errors import ArgumentError
from wellposed.report import Severity
from wellposed.rules import explain as pages
from wellposed.rules.explain import explain, matching, plain_text
from wellposed.rules.table import Judgement, Rule


@dataclass(frozen=True, kw_only=True)
class TwoLimits:
    spread: float = field(
        default=100.0, metadata={"unit": "largest std / smallest", "source": "measured on 50 problems"}
    )
    elsewhere: float = 1.0


def judge(profile: Any, limits: Any) -> Iterator[Judgement]:
    yield from ()


def rule(code: str, name: str) -> Rule:
    return Rule(code=code, name=name, judges=float, severity=Severity.ERROR, judge=judge, limits=("spread",))


@pytest.fixture(autouse=True)
def three_rules(monkeypatch):
    table = (
        rule("WP101", "feature-scale-imbalance"),
        rule("WP102", "input-scale"),
        rule("WP201", "vanishing-activations"),
    )
    monkeypatch.setattr(pages, "RULES", table)
    monkeypatch.setattr(pages, "Limits", TwoLimits)


@pytest.mark.parametrize(
    "key", ["WP101", "wp101", "feature-scale-imbalance", "Feature_Scale_Imbalance", " WP101 "]
)
def test_a_rule_is_found_by_code_and_by_name(key):
    assert explain(key).startswith("WP101 feature-scale-imbalance")


@pytest.mark.parametrize(
    ("key", "codes"),
    [
        ("WP1", ["WP101", "WP102"]),
        ("data", ["WP101", "WP102"]),
        ("wp", ["WP101", "WP102", "WP201"]),
        ("WP20", ["WP201"]),
    ],
)
def test_a_prefix_or_a_family_means_all_its_rules(key, codes):
    assert [rule.code for rule in matching(key)] == codes


def test_a_family_is_listed():
    text = explain("WP1")

    assert text.splitlines()[0] == "data (WP1)"
    assert "  WP102  input-scale                  error" in text.splitlines()
    assert "WP201" not in text


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("feature-scale", "did you mean feature-scale-imbalance"),
        ("vanishing-activation", "did you mean vanishing-activations"),
        ("WP901", "did you mean WP201"),
        ("signal", "did you mean signals"),
        ("qqqq", "`wellposed rules` lists them"),
    ],
)
def test_an_unknown_key_gets_the_nearest_names(key, hint):
    with pytest.raises(ArgumentError, match=hint):
        explain(key)


@pytest.mark.parametrize("key", ["", "  ", None, 101])
def test_a_key_that_is_no_text_is_refused(key):
    with pytest.raises(ArgumentError, match="key is"):
        explain(key)


def test_the_limits_that_the_rule_declares_are_told_with_unit_and_source():
    text = explain("WP102")

    assert "- spread = 100\n  largest std / smallest\n  measured on 50 problems" in text
    assert "elsewhere" not in text


PAGE = """# WP101 feature-scale-imbalance

## What it measures

The **largest** std over the smallest, which is a long sentence that does not fit on one line of
eighty columns at all.
See [LeCun 1998](https://example.org/lecun98) for `gain`.

- one item that
  goes on
- another

1. first

```python
model = wp.initialize(model)   # stays as it is
```
End.
"""


def test_markdown_becomes_plain_text():
    assert list(plain_text(PAGE)) == [
        "WP101 feature-scale-imbalance",
        "=============================",
        "",
        "What it measures",
        "----------------",
        "The largest std over the smallest, which is a long sentence that does not fit on",
        "one line of eighty columns at all. See LeCun 1998 <https://example.org/lecun98>",
        "for `gain`.",
        "",
        "- one item that goes on",
        "- another",
        "",
        "1. first",
        "",
        "    model = wp.initialize(model)   # stays as it is",
        "",
        "End.",
        "",
    ]


def test_an_unclosed_fence_loses_nothing():
    assert "    x = 1" in list(plain_text("```\nx = 1"))
