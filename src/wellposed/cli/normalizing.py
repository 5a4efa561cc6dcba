"""``wellposed normalize``: fit on training data, apply to any other, show, look for drift."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..choices import ENGINES, METHODS
from ..errors import ArgumentError, WellposedError
from ..lazy import lazy
from ..own_files import is_same_file
from .arguments import (
    FILE,
    NORMALIZER,
    InOrder,
    force,
    form,
    output,
    refuse_other_formats,
    refuse_replacing,
    separated,
    writable,
)
from .printing import FOUND, note, say, show, warnings_in_one_line, wrote

checkpoints = lazy("wellposed.moments.resume")
files = lazy("wellposed.normalize.apply_to_file")
normalizers = lazy("wellposed.normalize")
show_reading = lazy("wellposed.show.reading")
sources = lazy("wellposed.data.open")
data_held_out = lazy("wellposed.data.held_out")
data_paths = lazy("wellposed.data.paths")

_data = click.argument("data", nargs=-1, required=True)
_normalizer = click.argument("normalizer", metavar="NORM", type=FILE)
_key = click.option("--key", help="Which array of a .npz file.")


@click.group(cls=InOrder)
def normalize() -> None:
    """Fit a normalizer on training data, and reuse it unchanged."""


@normalize.command()
@_data
@output("Where the normalizer goes (JSON).", required=True)
@force
@click.option("--columns", multiple=True, help="Names of the columns, comma separated or repeated.")
@click.option("--method", type=click.Choice(METHODS), default="standard", show_default=True)
@click.option("--clip", is_flag=True, help="Hold the outputs in the range of minmax, or in -1 1 of maxabs.")
@click.option("--clip-to", type=(float, float), metavar="LOW HIGH", help="Hold the outputs within these.")
@click.option("--feature-range", type=(float, float), metavar="LOW HIGH", help="Of minmax; by default 0 1.")
@click.option(
    "--quantile-range",
    type=(float, float),
    metavar="LOW HIGH",
    help="Of robust, in percent; by default 25 75.",
)
@click.option(
    "--with-centering/--no-centering", default=True, help="Of standard and robust: subtract, or do not."
)
@click.option("--with-scaling/--no-scaling", default=True, help="Of standard and robust: divide, or do not.")
@click.option("--axis", type=int, help="Of arrays: the axis that keeps its own statistics; -1 is the last.")
@click.option("--engine", type=click.Choice(ENGINES), help="Read with this, and its cluster.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    callback=writable,
    help="Keep in this file what is done; the same command goes on from there.",
)
@click.option("--split", help="What the data are; only train can be fitted.")
@_key
def fit(data: tuple[str, ...], output: Path, checkpoint: Path | None, force: bool, **options: Any) -> None:
    """Fit on files of training rows.

    DATA: files (.parquet, .csv, .npy, .npz, .arrow), folders of them, or patterns such as 'part-*.parquet'.
    """
    files = files_read(data)
    refuse_overwriting(files, output=output, checkpoint=checkpoint)
    refuse_other_formats(output)
    refuse_replacing(output, force=force, result=NORMALIZER)
    options["clip"] = _bounds(options["clip"], options.pop("clip_to"))
    if options["split"] is None:
        warn_of_held_out(files)
    resumable = checkpoints.Checkpoint(checkpoint) if checkpoint else None
    with warnings_in_one_line():
        fitted = _fit(list(data), resumable, **options)
    fitted.save(output, force=force)
    if resumable:  # not before the result is safe
        resumable.discard()
    say(str(fitted))
    wrote(output)


@normalize.command()
@_normalizer
@click.argument("data", type=FILE)
@output("Where the normalized data goes, in the format of DATA.", required=True)
@force
@_key
def apply(normalizer: Path, data: Path, output: Path, force: bool, key: str | None) -> None:
    """Normalize a file with the statistics that were fitted."""
    if output.exists() and output.samefile(normalizer):
        raise click.UsageError(f"-o {output} is the normalizer itself: name another file")
    with warnings_in_one_line():
        left_alone = files.apply(data, normalizers.Normalizer.load(normalizer), output, key=key, force=force)
    wrote(output, left_alone)


@normalize.command("show")
@_normalizer
@form
def show_normalizer(normalizer: Path, form: str) -> None:
    """Show what a saved normalizer holds, and where it came from."""
    loaded = normalizers.Normalizer.load(normalizer)
    show(loaded, form, json=lambda _: _as_saved(normalizer))


@normalize.command()
@_normalizer
@_data
@form
@_key
def drift(normalizer: Path, data: tuple[str, ...], form: str, key: str | None) -> int:
    """Compare data with what the normalizer was fitted on.

    Exit code 1: the data have drifted.
    """
    with warnings_in_one_line():
        n = normalizers.Normalizer.load(normalizer)
        result = n.drift(_open(list(data), key, numbers=n.names or ()))
    show(result, form)
    return 0 if result.ok else FOUND


def _bounds(clip: bool, clip_to: tuple[float, float] | None) -> bool | tuple[float, float]:
    if clip and clip_to:
        raise click.UsageError("--clip and --clip-to are two ways to say the bounds: leave one out")
    return clip_to or clip


def _fit(
    data: list[str], resumable: Any, *, columns: tuple[str, ...], key: str | None, **options: Any
) -> Any:
    if options["engine"]:
        if key:
            raise click.UsageError(f"--key {key} is for .npz files, which --engine does not read")
        paths = data[0] if len(data) == 1 else data
        return normalizers.Normalizer.fit(
            paths, columns=separated(columns, "--columns") or None, checkpoint=resumable, **options
        )
    source = _open(data, key)
    if source.names is None and options["axis"] is None:
        note_on_axis(source.shape)
    with show_reading.reading_progress() as progress:
        chosen = _columns(columns, source.names)
        return normalizers.Normalizer.fit(
            source, columns=chosen, checkpoint=resumable, progress=progress, **options
        )


def _open(data: list[str], key: str | None, *, numbers: Sequence[str] = ()) -> Any:
    return sources.open_source(data[0] if len(data) == 1 else data, key=key, numbers=numbers)


def _as_saved(file: Path) -> str:
    """What the file holds, which was checked; names in it that would drive a terminal are escaped."""
    import json

    return json.dumps(json.loads(file.read_bytes()), indent=1)


def _columns(given: tuple[str, ...], names: tuple[str, ...] | None) -> list[Any] | None:
    """Names as they stand, or numbers where the data have no names; a name may hold a comma."""
    parts = [
        p for text in given for p in ([text] if names and text in names else separated([text], "--columns"))
    ]
    if names is None:
        parts = [int(part) if part.isdecimal() else part for part in parts]  # type: ignore[misc]
    return parts or None


# Which files a fit reads: none of them is written to, and what looks held out is remarked upon.

Files = list[tuple[Path, Path]]
"""Each file, and the path, folder or pattern that stands for it."""

_SHOWN = 3


def files_read(data: Sequence[str]) -> Files:
    """What the paths stand for; nothing for those that are not there, of which their reader says so."""
    files: Files = []
    for path in data:
        with suppress(WellposedError, OSError):
            files += [(file, Path(path)) for file in data_paths.files_of(path)]
    return files


def refuse_overwriting(files: Files, *, output: Path, checkpoint: Path | None) -> None:
    """Refuse results in place of the data, or of each other, before anything is read."""
    for option, place in (("-o", output), ("--checkpoint", checkpoint)):
        file = next((file for file, _ in files if place and is_same_file(place, file)), None)
        if file:
            raise ArgumentError(
                f"{option} {place} would take the place of {file}, which is to be read: name another file"
            )
    if checkpoint and is_same_file(output, checkpoint):
        raise ArgumentError(
            f"-o {output} and --checkpoint {checkpoint} are one file, and a checkpoint is removed at the end: "
            "name two files"
        )


def warn_of_held_out(files: Files) -> None:
    """Say on standard error which files have names as if they were no training data; names alone prove nothing."""
    held_out = [str(file) for file, given in files if _looks_held_out(file, given)]
    if not held_out:
        return
    which = ", ".join(held_out[:_SHOWN]) + (
        f" and {len(held_out) - _SHOWN:,} more" if len(held_out) > _SHOWN else ""
    )
    of_all = f" ({len(held_out):,} of {len(files):,} files)" if len(files) > 1 else ""
    note(
        f"warning: named as if held out from training: {which}{of_all}: statistics of held-out data leak "
        "into training; name the training files alone, or say --split train"
    )


def note_on_axis(shape: tuple[int, ...]) -> None:
    """Say which axis of images is taken for the channels, where the shape speaks for another one."""
    channels = (1, 3, 4)
    if len(shape) == 4 and shape[3] in channels and shape[1] not in channels:
        note(
            f"note: shape {shape} is read as (N, C, H, W), with {shape[1]} channels; "
            "for (N, H, W, C) use --axis -1"
        )


def _looks_held_out(file: Path, given: Path) -> bool:
    """By the file's name, or by the innermost folder whose name tells, up to the one that was given."""
    if not given.is_dir():
        return bool(data_held_out.check_split(None, file))
    if data_held_out.check_split(None, Path(file.name)):
        return True
    for folder in reversed((given.resolve().name, *file.relative_to(given).parts[:-1])):
        name = folder.rpartition("=")[2]  # split=test
        if name.lower() in ("train", "training"):
            return False
        if data_held_out.check_split(None, Path(name, "data")):
            return True
    return False
