"""Arguments and options that several commands share, checked before any work is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from ..errors import ArgumentError, ArtifactError
from ..lazy import lazy
from ..own_files import is_same_file, read_bounded, refuse_other, what_it_is

reports = lazy("wellposed.report")
saved_normalizers = lazy("wellposed.normalize.saved")


class _RegularFile(click.Path):
    """A pipe may have nobody who writes to it, and a device no end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(str(super().convert(value, param, ctx)))
        if not path.is_file():
            self.fail(f"{str(path)!r}: {what_it_is(path)}", param, ctx)
        return path


FILE = _RegularFile(exists=True, dir_okay=False, path_type=Path)
"""A file that is there, to be read."""


def _is_report(place: Path) -> bool:
    try:
        reports.Report.from_json(read_bounded(place))
    except ArtifactError:
        return False
    return True


def _is_normalizer(place: Path) -> bool:
    return saved_normalizers.is_normalizer(place)


REPORT: dict[str, Any] = {"what": "a report", "is_ours": _is_report}
NORMALIZER: dict[str, Any] = {"what": "a normalizer", "is_ours": _is_normalizer}
"""What a command writes, and how an older one is known, which alone it replaces."""

seed = click.option("--seed", default=0, show_default=True, help="Seed of all that is drawn.")
form = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="With json, standard output holds that alone.",
)
force = click.option("--force", is_flag=True, help="Replace what stands at -o, whatever it is; but no input.")
verbose = click.option("-v", "--verbose", is_flag=True, help="Every finding in full, every reason to skip.")
problem = click.argument("spec", metavar="train.py:problem")


class InOrder(click.Group):
    """Lists its commands in the order of the file: what one needs first comes first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def output(about: str, **options: Any) -> Callable[..., Any]:
    """``-o``: a file to be written, in a folder that is there."""
    return click.option(
        "-o", "--output", type=click.Path(path_type=Path), callback=writable, help=about, **options
    )


def writable(context: click.Context, parameter: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a place that cannot be written before the work is done, not after."""
    if path is None:
        return None
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir():
        what = "is a folder" if path.is_dir() else f"lies in no existing folder ({folder})"
        raise click.BadParameter(f"{path} {what}: name a file")
    if path.exists() and not path.is_file():
        raise click.BadParameter(f"{path}: {what_it_is(path)}")
    if not os.access(folder, os.W_OK):
        raise click.BadParameter(f"{path} lies in a folder that cannot be written to ({folder})")
    return path


def refuse_other_formats(path: Path | None) -> None:
    """Refuse a name that promises another format than the JSON that is written."""
    if path is not None and path.suffix.lower() not in ("", ".json", ".txt"):
        raise click.BadParameter(
            f"{path} would hold JSON: name it {path.with_suffix('.json')}", param_hint="'-o' / '--output'"
        )


def refuse_replacing(path: Path | None, *, force: bool, result: dict[str, Any]) -> None:
    """Refuse, before the work is done, to replace what is no older result of the kind."""
    if path is not None:
        refuse_other(path, force=force, **result)


def refuse_overwriting_code(output: Path | None, spec: str) -> None:
    """Refuse a result in place of the problem's own file, or of any Python that is loaded; --force does not help."""
    if output is None or not output.is_file():
        return
    modules = (
        vars(module).get("__file__") for module in [*sys.modules.values()] if isinstance(module, ModuleType)
    )
    for file in (spec.rpartition(":")[0], *modules):
        if isinstance(file, str) and is_same_file(output, Path(file)):
            raise ArgumentError(f"-o {output} would take the place of the code in {file}: name another file")


def separated(given: Iterable[str], option: str) -> list[str]:
    """The parts of an option that is comma separated or repeated; none of them may be empty."""
    parts = []
    for text in given:
        found = [part.strip() for part in text.split(",")]
        if not all(found):
            raise click.BadParameter(
                f"{text!r} has an empty part: separate names by single commas", param_hint=f"'{option}'"
            )
        parts += found
    return parts
