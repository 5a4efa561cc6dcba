"""The files that a fit reads: none of them is written to, and what looks held out is remarked upon."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from ..errors import ArgumentError, WellposedError
from ..lazy import lazy
from ..own_files import is_same_file
from .printing import note

data_held_out = lazy("wellposed.data.held_out")
data_paths = lazy("wellposed.data.paths")

Files = list[tuple[Path, Path]]
"""Each file, and the path, folder or pattern that stands for it."""

_SHOWN = 3


def files_read(data: Sequence[str]) -> Files:
    """What the paths stand for; nothing for those that are not there, of which their reader says so."""
    found: Files = []
    for path in data:
        with suppress(WellposedError, OSError):
            found += [(file, Path(path)) for file in data_paths.files_of(path)]
    return found


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


def warn_of_held_out(files: Files) -> None:
    """Say on standard error which files have names as if they were no training data; names alone prove nothing."""
    found = [str(file) for file, given in files if _looks_held_out(file, given)]
    if not found:
        return
    which = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else "")
    of_all = f" ({len(found):,} of {len(files):,} files)" if len(files) > 1 else ""
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
