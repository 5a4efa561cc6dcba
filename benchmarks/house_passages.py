"""Passages of code that stand in more than one place, equal line by line but for their indentation."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, takewhile
from pathlib import Path

SHORTEST = 6
"""Lines of the shortest passage that counts."""


@dataclass(frozen=True)
class Line:
    """A line of code, without its indentation and its comment."""

    file: str
    number: int
    text: str


@dataclass(frozen=True)
class Passage:
    """Equal consecutive lines and every ``file:line`` at which they start."""

    lines: tuple[str, ...]
    places: tuple[str, ...]


def repeated(package: Path, files: list[str]) -> list[Passage]:
    """Passages that stand in more than one place, the longest first; imports, comments and docstrings do not count.

    Each pair of places gives the longest passage that they share, and equal passages are put together. Three places of
    which two share more than the third are therefore two passages. Two places of one file do not overlap.
    """
    sources = [code_lines((package / file).read_text(encoding="utf-8"), file) for file in files]
    places: dict[tuple[str, ...], set[tuple[str, int]]] = defaultdict(set)
    for one, other, length in _matches(sources):
        text = tuple(line.text for line in one[:length])
        places[text] |= {(first.file, first.number) for first in (one[0], other[0])}
    found = [
        Passage(text, tuple(f"{file}:{line}" for file, line in sorted(where)))
        for text, where in places.items()
    ]
    return sorted(found, key=lambda passage: (-len(passage.lines), passage.places))


def code_lines(source: str, file: str = "") -> list[Line]:
    """The lines of a source text that are neither blank, nor comments, docstrings or imports."""
    texts = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            texts[row - 1] = texts[row - 1][:column]
    left_out = {number for node in ast.walk(ast.parse(source)) for number in _lines_left_out(node)}
    return [
        Line(file, number, text.strip())
        for number, text in enumerate(texts, 1)
        if text.strip() and number not in left_out
    ]


def _lines_left_out(node: ast.AST) -> range:
    """The lines of an import, or of a string that stands alone."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
            return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return range(0)


def _matches(sources: list[list[Line]]) -> Iterator[tuple[list[Line], list[Line], int]]:
    """Pairs of equal runs of lines that cannot be lengthened at either end: both to the end of their file, and the length."""
    for starts in _starts(sources).values():
        for (i, at), (j, to) in combinations(starts, 2):
            if at and to and sources[i][at - 1].text == sources[j][to - 1].text:
                continue  # the pair one line further up has it
            one, other = sources[i][at : to if i == j else None], sources[j][to:]
            pairs = zip(one, other, strict=False)
            length = sum(1 for _ in takewhile(lambda pair: pair[0].text == pair[1].text, pairs))
            if length >= SHORTEST:
                yield one, other, length


def _starts(sources: list[list[Line]]) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """Where each run of SHORTEST lines starts: the index of the file and of the line."""
    found: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for i, lines in enumerate(sources):
        for at in range(len(lines) - SHORTEST + 1):
            found[tuple(line.text for line in lines[at : at + SHORTEST])].append((i, at))
    return found
