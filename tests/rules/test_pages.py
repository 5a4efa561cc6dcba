"""The pages of the rules: complete, true to the code, and true to what their examples find."""

import ast
import importlib.util
import inspect
import random
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import wellposed as wp
from wellposed.limits import Limits
from wellposed.rules import RULES
from wellposed.rules.explain import explain

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "src" / "wellposed" / "rules" / "pages"
HEADINGS = [
    "What it measures",
    "Why it hurts",
    "Example",
    "How to fix it",
    "When to ignore it",
    "How the limit was calibrated",
    "References",
]
LIMITS = {field.name for field in fields(Limits)}

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)


def page(rule: Any) -> str:
    return (PAGES / f"{rule.code}.md").read_text(encoding="utf-8")


def sections(rule: Any) -> dict[str, str]:
    _, *parts = re.split(r"^## (.*)\n", page(rule), flags=re.MULTILINE)
    return dict(zip(parts[::2], (text.strip() for text in parts[1::2]), strict=True))


def limits_read(judge: Callable[..., Any]) -> set[str]:
    """The limits that a judge reads, also in the functions of its module that it calls."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(judge)))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    found = {a.attr for a in attributes if isinstance(a.value, ast.Name) and a.value.id == "limits"}
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for called in {call.id for call in calls if isinstance(call, ast.Name)}:
        function = vars(sys.modules[judge.__module__]).get(called)
        if inspect.isfunction(function) and function.__module__ == judge.__module__:
            found |= limits_read(function)
    return found


@every_rule
def test_a_page_has_its_title_and_all_its_headings(rule):
    assert page(rule).startswith(f"# {rule.code} {rule.name}\n")
    assert list(sections(rule)) == HEADINGS
    assert all(sections(rule).values())


def test_no_page_is_left_over():
    assert {path.stem for path in PAGES.glob("*.md")} == {rule.code for rule in RULES}


@every_rule
def test_a_page_fits_into_a_terminal(rule):
    assert [line for line in explain(rule.code).splitlines() if len(line) > 80] == []


@every_rule
def test_every_limit_that_a_rule_reads_is_accounted_for(rule):
    named = set(re.findall(r"`([a-z_]+)`", sections(rule)["How the limit was calibrated"]))

    assert named == limits_read(rule.judge)


@every_rule
def test_a_rule_declares_exactly_the_limits_that_it_reads(rule):
    assert set(rule.limits) == limits_read(rule.judge)
    assert len(set(rule.limits)) == len(rule.limits)


def test_every_limit_is_read_by_a_rule():
    assert set().union(*(limits_read(rule.judge) for rule in RULES)) == LIMITS


@every_rule
def test_an_example_finds_what_its_page_says(rule):
    code, shown = re.findall(r"```\w+\n(.*?)```", sections(rule)["Example"], flags=re.DOTALL)
    names = {"random": random, "torch": torch, "wp": wp, "nn": nn, "F": functional, "__name__": "example"}

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(code, names)

    found = next(f for f in names["report"].findings if f.code == rule.code)
    told = f"{found.severity.label} {found.code} {found.name} {found.where} {found.summary}"
    assert without_numbers(shown) == without_numbers(told)


def without_numbers(text: str) -> str:
    """Numbers differ in their last digits from machine to machine."""
    return re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", " ".join(text.split()))


def test_docs_rules_md_is_up_to_date():
    build_rules = load(ROOT / "docs" / "build_rules.py")

    assert build_rules.TARGET.read_text(encoding="utf-8") == build_rules.document()


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
