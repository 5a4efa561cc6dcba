"""What a trial is: one wrong call or command line, and what a good answer to it looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Maker = Callable[[Path], object]


@dataclass(frozen=True)
class Call:
    """A call in Python.

    `good` names the good answers, any of which will do: ``error`` (the library's own error, whose message holds one of
    `names` and one of `found`), ``user`` (a `UserCodeError` with a cause), ``passes`` (the user's own exception,
    untouched), ``finding`` (a result that is not ready, not ok or false), ``fine`` (a result).
    """

    id: str
    call: Callable[[], Any]
    names: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    good: tuple[str, ...] = ("error",)
    cause: type[BaseException] | None = None  # what the user's own code raised
    python: bool = False  # Python's own words will do: a misspelt keyword, a missing argument
    make: Maker | None = None


@dataclass(frozen=True)
class Command:
    """A command line of bash, run in a folder that holds the files of `workplace`.

    `codes` are the good exit codes. Where it ends with 2, stderr holds one of `says`. The files of `keeps` must
    hold afterwards what they held before, and `shows` must stand in stdout.
    """

    id: str
    line: str
    codes: tuple[int, ...]
    says: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    shows: str = ""
    make: Maker | None = None
    environment: dict[str, str] = field(default_factory=dict)
    powerless: bool = False  # run without root's right to open everything


class Cases:
    """A list of trials with a short way to add to it; alternatives are separated by ``|``."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.commands: list[Command] = []

    def call(
        self, id: str, call: Callable[[], Any], names: str, found: str, good: str = "error", **more: Any
    ) -> None:
        self.calls.append(Call(id, call, _split(names), _split(found), _split(good), **more))

    def fine(self, id: str, call: Callable[[], Any], **more: Any) -> None:
        self.calls.append(Call(id, call, good=("fine",), **more))

    def user(self, id: str, call: Callable[[], Any], cause: type[BaseException] | None = None) -> None:
        self.calls.append(Call(id, call, good=("user",), cause=cause))

    def command(
        self, id: str, line: str, codes: int | Iterable[int], says: str = "", keeps: str = "", **more: Any
    ) -> None:
        codes = (codes,) if isinstance(codes, int) else tuple(codes)
        codes += (
            (4,) if 1 in codes and "gradcheck" not in line else ()
        )  # an outcome between ready and not ready
        self.commands.append(Command(id, line, codes, _split(says), tuple(keeps.split()), **more))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("|") if part)
