"""The figures about the structure of a package, and the picture of it."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from benchmarks import house, house_picture
from benchmarks.house_imports import circles, graph, imports, reachable
from benchmarks.house_layers import LAYERS, Layers
from benchmarks.house_passages import code_lines, repeated

TWICE = "total = 0\nfor value in values:\n    total += value\ncount = len(values)\nmean = total / count\nprint(mean)\n"
"""Six lines of code."""
TABLE = Layers({1: {"low.py", "values"}, 2: {"a", "b"}, 3: {"__init__.py"}}, apart={2})


def package(root: Path, **sources: str) -> Path:
    """A package of files: ``a__x="..."`` is ``a/x.py``; every folder gets an ``__init__.py``."""
    (root / "fake").mkdir()
    for name, source in sources.items():
        file = root / "fake" / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(source))
    for folder in [root / "fake", *(path for path in (root / "fake").iterdir() if path.is_dir())]:
        (folder / "__init__.py").touch()
    return root / "fake"


def edges(folder: Path) -> list[tuple[str, int, str | None, str]]:
    return [(edge.source, edge.line, edge.goal or edge.module, edge.kind) for edge in imports(folder)]


def indented(source: str) -> str:
    return "def f(values):\n" + "".join(f"    {line}\n" for line in source.splitlines())


@pytest.mark.parametrize(
    ("source", "goal"),
    [
        ("import fake.low", "low.py"),
        ("import fake.a.y as z", "a/y.py"),
        ("from fake.low import name", "low.py"),
        ("from fake import low", "low.py"),
        ("from .. import low", "low.py"),
        ("from . import y", "a/y.py"),
        ("from . import name", "a/__init__.py"),
        ("from .y import name", "a/y.py"),
        ("from fake import name", "__init__.py"),
        ("from importlib import import_module\nimport_module('fake.low')", "low.py"),
        ("import importlib\nimportlib.import_module('..low', __package__)", "low.py"),
    ],
)
def test_every_way_to_write_an_import_leads_to_its_file(tmp_path: Path, source: str, goal: str) -> None:
    found = edges(package(tmp_path, a__x=source, a__y="", low=""))

    assert ("a/x.py", len(source.splitlines()), goal, "plain") in found


@pytest.mark.parametrize(
    ("source", "line", "kind"),
    [
        ("from . import low", 1, "plain"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import low", 3, "type checking"),
        ("import typing\nif typing.TYPE_CHECKING:\n    from . import low", 3, "type checking"),
        ("from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    from . import low", 3, "plain"),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    from . import low",
            5,
            "plain",
        ),
        ("def f():\n    from . import low", 2, "in a function"),
        ("class C:\n    async def f(self):\n        from . import low", 3, "in a function"),
        ("f = lambda: import_module('fake.low')", 1, "in a function"),
        ("low = lazy('fake.low')", 1, "lazy"),
        ("low = loading.lazy('fake.low')", 1, "lazy"),
        ("class C:\n    low = lazy('fake.low')", 2, "lazy"),
        ("def f():\n    return lazy('fake.low')", 2, "in a function"),
    ],
)
def test_an_import_has_the_kind_of_its_place(tmp_path: Path, source: str, line: int, kind: str) -> None:
    assert ("x.py", line, "low.py", kind) in edges(package(tmp_path, x=source, low=""))


def test_names_from_one_module_are_one_import_and_modules_of_others_have_no_file(tmp_path: Path) -> None:
    found = imports(package(tmp_path, x="from .low import one, two\nfrom torch import nn, optim", low=""))

    assert [(edge.module, edge.goal) for edge in found] == [("fake.low", "low.py"), ("torch", None)]


def test_a_call_with_a_computed_name_is_no_import(tmp_path: Path) -> None:
    assert not edges(package(tmp_path, x="import_module(name)\nlazy(f'fake.{name}')\nlazy()", low=""))


@pytest.mark.parametrize(
    "back",
    [
        "from . import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import x",
        "def f():\n    from . import x",
        "x = lazy('fake.x')",
        "x = import_module('fake.x')",
    ],
)
def test_a_circle_is_found_whatever_the_kind_of_its_imports(tmp_path: Path, back: str) -> None:
    folder = package(
        tmp_path, x="from . import y", y="from . import z", z=back, low="", w="from . import low, x"
    )

    assert circles(graph(imports(folder))) == [["x.py", "y.py", "z.py"]]


def test_circles_that_share_no_node_stand_apart_the_largest_first() -> None:
    among = {"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"e"}, "e": {"c"}, "f": {"a"}}

    assert circles(among) == [["c", "d", "e"], ["a", "b"]]
    assert reachable(among, "c") == {"c", "d", "e"}
    assert "f" not in reachable(among, "f")


@pytest.mark.parametrize(
    ("source", "goal", "allowed"),
    [
        ("a/x.py", "low.py", True),
        ("low.py", "a/x.py", False),
        ("low.py", "a/result.py", True),
        ("a/result.py", "a/x.py", False),
        ("a/x.py", "a/y.py", True),
        ("a/x.py", "b/x.py", False),
        ("b/x.py", "a/x.py", False),
        ("b/x.py", "a/result.py", True),
        ("low.py", "unknown.py", True),
    ],
)
def test_a_file_may_import_from_its_own_room_and_a_lower_layer(source: str, goal: str, allowed: bool) -> None:
    assert TABLE.allowed(source, goal) is allowed


def test_the_figures_count_what_is_in_a_package(tmp_path: Path) -> None:
    folder = package(
        tmp_path,
        low="class Twice: ...\n\ndef late():\n    from .a import x\n",
        a__x="from .. import low\n\nclass Twice: ...\nclass Once: ...\n",
        a__first=TWICE,
        b__second=indented(TWICE),
        strange="",
    )
    (folder / "__init__.py").write_text("def __getattr__(name):\n    from . import low\n")

    found = house.measure(folder, TABLE)

    assert found.repeated_classes == {"Twice": ["a/x.py:3", "low.py:1"]}
    assert [(edge.source, edge.line, edge.goal) for edge in found.deferred] == [("low.py", 4, "a/x.py")]
    assert found.upward == found.deferred
    assert found.circles == [["a/x.py", "low.py"]]
    assert found.without_layer == ["strange.py"]
    assert [(f.length, f.name, f.place) for f in found.functions] == [
        (7, "f", "b/second.py:1"),
        (2, "__getattr__", "__init__.py:1"),
        (2, "late", "low.py:3"),
    ]
    assert [passage.places for passage in found.passages] == [("a/first.py:1", "b/second.py:2")]
    assert list(house.figures(found).values()) == [8, 23, 3, 1, 3, 1, 1, 2, 1, 1, 3, 2, 7, 7, 1, 6]


def test_the_lists_name_what_the_figures_count(tmp_path: Path) -> None:
    folder = package(
        tmp_path, low="def late():\n    from .a import x\n", a__x="from .. import low\n" + TWICE * 2
    )

    text = "\n".join(house.lists(house.measure(folder, TABLE)))

    assert "low.py:2 -> a/x.py (in a function)" in text
    assert "2: a/x.py, low.py" in text
    assert "6  a/x.py:2, a/x.py:8" in text


def test_blank_lines_comments_docstrings_and_imports_are_not_code() -> None:
    source = '''\
    """Text.

    More text.
    """
    import os
    from os import (
        path,
    )

    # A comment.
    x = "# not a comment"  # a comment
    """About x."""
    def f():
        return x
    '''

    assert [(line.number, line.text) for line in code_lines(dedent(source))] == [
        (11, 'x = "# not a comment"'),
        (13, "def f():"),
        (14, "return x"),
    ]


def test_a_passage_is_reported_once_at_its_full_length(tmp_path: Path) -> None:
    folder = package(tmp_path, x="a = 1\n" + TWICE + "end()\n", y="b = 2\n" + TWICE + "\n# why\nend()\n")

    (passage,) = repeated(folder, ["x.py", "y.py"])

    assert passage.lines[-1] == "end()"
    assert (len(passage.lines), passage.places) == (7, ("x.py:2", "y.py:2"))


def test_a_passage_in_three_places_is_one_passage(tmp_path: Path) -> None:
    folder = package(tmp_path, x="a = 1\n" + TWICE, y="b = 2\n" + TWICE, z="c = 3\n" + TWICE)

    assert [p.places for p in repeated(folder, ["x.py", "y.py", "z.py"])] == [("x.py:2", "y.py:2", "z.py:2")]


@pytest.mark.parametrize("lines", [5, 11])
def test_what_is_shorter_or_overlaps_itself_is_no_passage(tmp_path: Path, lines: int) -> None:
    folder = package(tmp_path, x="step()\n" * lines, y="step()\n" * 5)

    assert not repeated(folder, ["x.py", "y.py"])


def test_a_chart_leaves_out_what_follows_and_dots_what_is_not_allowed(tmp_path: Path) -> None:
    folder = package(
        tmp_path,
        low="from .a import x",
        a__x="from .. import low\nfrom ..b import y\nfrom ..b import result",
        b__y="from .. import low",
        b__result="",
    )
    chart = house_picture.flowchart(["low.py", "a/x.py", "b/y.py", "b/result.py"], imports(folder), TABLE)

    assert chart.splitlines() == [
        "flowchart TB",
        '  subgraph layer2["2"]',
        '    room_a["a"]',
        '    room_b["b"]',
        "  end",
        '  subgraph layer1["1"]',
        '    room_low_py["low.py"]',
        '    room_result_py_of_each_room["result.py of each room"]',
        "  end",
        "  room_a --> room_low_py",
        "  room_a --> room_result_py_of_each_room",
        "  room_b --> room_low_py",
        "  room_a -.-> room_b",
        "  room_low_py -.-> room_a",
    ]


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        house_picture.drawn_into("# Design\n", "flowchart TB")


def test_the_picture_in_the_documents_is_todays() -> None:
    result = CliRunner().invoke(house_picture.main, ["--check"])

    assert result.exit_code == 0, result.output


def test_a_picture_of_another_day_is_found_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "design.md"
    document.write_text(f"Before.\n{house_picture.BEGIN}\nold\n{house_picture.END}\nAfter.\n")
    monkeypatch.setattr(house_picture, "TARGET", document)

    assert CliRunner().invoke(house_picture.main, ["--check"]).exit_code == 1
    assert "old" in document.read_text()
    assert CliRunner().invoke(house_picture.main, []).exit_code == 0
    assert CliRunner().invoke(house_picture.main, ["--check"]).exit_code == 0
    assert document.read_text().startswith("Before.\n")
    assert document.read_text().endswith("\nAfter.\n")


def test_another_checkout_is_measured_by_its_own_table(tmp_path: Path) -> None:
    fake = package(tmp_path, low="from . import high", high="")
    (tmp_path / "src").mkdir()
    fake.rename(tmp_path / "src" / "wellposed")
    assert len(house.measure_checkout(tmp_path).without_layer) == 2

    table = Path(house.__file__).with_name("house_layers.py").read_text()
    before = next(node for node in ast.parse(table).body if ast.unparse(node).startswith("LAYERS ="))
    lines = table.splitlines()
    lines[before.lineno - 1 : before.end_lineno] = ["LAYERS = {1: {'low.py'}, 2: {'high.py', '__init__.py'}}"]
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "house_layers.py").write_text("\n".join(lines))
    found = house.measure_checkout(tmp_path)

    assert (found.without_layer, len(found.upward)) == ([], 1)


def test_the_table_fits_a_terminal_and_gets_a_column_for_another_checkout() -> None:
    result = CliRunner().invoke(house.main, ["--against", str(house.HERE)])
    head, first, *_ = lines = result.output.splitlines()

    assert head.split() == ["here", "against"]
    assert first.split() == ["files", *[str(len(list((house.HERE / "src" / "wellposed").rglob("*.py"))))] * 2]
    assert max(map(len, lines)) <= 80


def test_a_room_has_one_layer() -> None:
    rooms = [room for rooms in LAYERS.values() for room in rooms]

    assert len(set(rooms)) == len(rooms)
