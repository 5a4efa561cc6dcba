"""Whether data are held out from training: a declaration (``split="test"``) is refused, a name that looks so is remarked upon."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from ..errors import ArgumentError, LeakageError
from .column_names import printable

HELD_OUT = frozenset(
    {
        "validation",
        "validate",
        "val",
        "valid",
        "dev",
        "test",
        "testing",
        "holdout",
        "held-out",
        "held_out",
        "eval",
    }
)
_TRAINING = frozenset({"train", "training"})
_DEPTH = 8  # loaders hold subsets of subsets of a dataset


def check_split(split: Any, train: Any) -> str:
    """Refuse held-out data; what only looks held out is a remark, empty when there is none.

    The caller's own word is the last: with ``split="train"`` the data are not asked.

    Raises
    ------
    LeakageError
        When `split`, or the data themselves, say that they are held out.
    ArgumentError
        When `split` is no split that is known.
    """
    if split is not None:
        _check_argument(split)
        return ""
    for what in _wrapped(train):
        declaration = _declaration(what)
        if declaration:
            raise LeakageError(
                f"the data are a {type(what).__name__} with {declaration}: statistics of held-out data leak it into "
                "training; fit on the training split, or say split='train' if this is what you train on"
            )
    doubt = next(filter(None, map(_doubtful, _wrapped(train))), "")
    return f"{doubt}: statistics of held-out data would leak it into training" if doubt else ""


def _check_argument(split: Any) -> None:
    if not isinstance(split, str):
        raise ArgumentError(f"split={split!r} is a {type(split).__name__}: expected 'train'")
    if _is_held_out(split):
        raise LeakageError(
            f"split={split!r}: statistics of held-out data leak it into training; fit on the training split, "
            "and apply that normalizer to the others"
        )
    if split.lower() not in _TRAINING:
        raise ArgumentError(f"split={split!r} is not known: expected 'train'")


def _wrapped(data: Any) -> Iterator[Any]:
    """The data, and what a loader, a subset or a pair holds of it."""
    for _ in range(_DEPTH):
        if data is None:
            return
        if isinstance(data, tuple | list):
            # Many batches, files or datasets are judged by the first.
            data = data[0] if data else None
            continue
        yield data
        data = getattr(data, "dataset", None)


def _declaration(data: Any) -> str:
    """The declaration that the data are held out, ``split="test"`` or torchvision's ``train=False``; empty without one."""
    split = getattr(data, "split", None)
    if (isinstance(split, str) or _is_named_split(split)) and _is_held_out(str(split)):
        return f"split={printable(str(split))!r}"
    if getattr(data, "train", None) is False and type(data).__module__.startswith("torchvision."):
        return "train=False"
    return ""


def _is_named_split(split: Any) -> bool:
    """Hugging Face's, which is no string but prints as ``test[:10%]``."""
    return type(split).__module__.partition(".")[0] == "datasets"


def _is_held_out(split: str) -> bool:
    """Whether any part of ``"train[:80%]+validation"`` is held out."""
    parts = [re.sub(r"\[.*", "", part).strip().lower() for part in split.split("+")]
    return any(part in HELD_OUT for part in parts)


def _doubtful(data: Any) -> str:
    """A weaker sign, which may mean something else: a file's name, or a switch that turns augmentation off."""
    if isinstance(data, str | os.PathLike):
        return _doubtful_path(PurePath(os.fspath(data)))
    label = getattr(data, "label", None)
    if isinstance(label, str) and hasattr(data, "pieces"):
        return _doubtful_path(PurePath(label))
    if getattr(data, "train", None) is False:
        return f"the data are a {type(data).__name__} with train=False"
    return ""


def _doubtful_path(path: PurePath) -> str:
    """``test.csv``, ``x_val.npy`` or ``test/part-0.parquet``."""
    words = re.split(r"[^a-z]+", path.name.partition(".")[0].lower())
    if set(words) & _TRAINING:
        return ""
    if words[0] in HELD_OUT or words[-1] in HELD_OUT:
        return f"the file is named {printable(path.name)}"
    folder = path.parent.name.lower()
    return f"the folder is named {printable(path.parent.name)}" if folder in HELD_OUT else ""
