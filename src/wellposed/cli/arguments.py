"""Arguments and options that several commands share, checked before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""A file that is there, to be read."""

seed = click.option("--seed", default=0, show_default=True, help="Seed of all that is drawn.")
form = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="With json, standard output holds that alone.",
)
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
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        what = "is a folder" if path.is_dir() else f"lies in no existing folder ({path.absolute().parent})"
        raise click.BadParameter(f"{path} {what}: name a file")
    return path


def refuse_other_formats(path: Path | None) -> None:
    """Refuse a name that promises another format than the JSON that is written."""
    if path is not None and path.suffix.lower() not in ("", ".json", ".txt"):
        raise click.BadParameter(
            f"{path} would hold JSON: name it {path.with_suffix('.json')}", param_hint="'-o' / '--output'"
        )


def separated(given: Iterable[str]) -> list[str]:
    """The parts of options that are comma separated or repeated."""
    return [part.strip() for text in given for part in text.split(",") if part.strip()]
