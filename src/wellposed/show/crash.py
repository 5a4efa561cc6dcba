"""What is said of an exception: one line for wrong usage, a traceback where the user's code failed."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import click

from ..errors import UserCodeError, WellposedError
from .lines import clean

WRONG_USAGE, USERS_CRASH, OWN_FAULT = 2, 3, 70
"""Exit codes of the command line; 70 is what sysexits.h calls an internal software error."""

# click stands between our command line and our commands.
_OURS = (str(Path(__file__).resolve().parents[1]), str(Path(click.__file__).parent))
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def account(error: BaseException) -> tuple[str, int]:
    """Say what happened, and give the exit code: whose fault it is decides both."""
    if isinstance(error, UserCodeError):
        cause = error.__cause__ or error
        return f"{users_traceback(cause)}\n{_one_line(error)}", USERS_CRASH
    if isinstance(error, WellposedError):
        return _one_line(error), WRONG_USAGE
    if _is_theirs(traceback.extract_tb(error.__traceback__)):
        return f"{users_traceback(error)}\nerror: your code raised {type(error).__name__}", USERS_CRASH
    if isinstance(error, OSError):
        return _one_line(error), WRONG_USAGE
    if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "sklearn"):
        return f"error: {error.name} is not installed: pip install 'wellposed[all]'", WRONG_USAGE
    whole = "".join(traceback.format_exception(error))
    return f"{whole}error: wellposed itself failed; please report the lines above", OWN_FAULT


def users_traceback(error: BaseException) -> str:
    """Return the traceback from the user's first frame on, none of ours in it."""
    shown = traceback.TracebackException.from_exception(error)
    _cut(shown)
    return "".join(shown.format()).rstrip("\n")


def _one_line(error: BaseException) -> str:
    return "error: " + clean(" ".join(str(error).split()))


def _is_theirs(frames: list[traceback.FrameSummary]) -> bool:
    """Whether the user's code, or a torch module of their model, was running, and not a hook of ours in it."""
    in_module = any(Path(frame.filename).match("torch/nn/modules/module.py") for frame in frames)
    # A torch function mode of ours hands each operation on: what fails there is the operation.
    inner = [frame for frame in frames if frame.name not in ("__torch_function__", "__torch_dispatch__")]
    ours_failed = not inner or inner[-1].filename.startswith(_OURS)
    return not ours_failed and (in_module or _users_frame(frames) is not None)


def _users_frame(frames: list[traceback.FrameSummary]) -> int | None:
    """Index of the first frame that is neither ours, nor Python's, nor an installed package's."""
    others = ("<", *_OURS, *_INSTALLED)
    return next((i for i, frame in enumerate(frames) if not frame.filename.startswith(others)), None)


def _cut(shown: traceback.TracebackException) -> None:
    frames = [frame for frame in shown.stack if not frame.filename.startswith((*_OURS, "<frozen"))]
    # Where no line of theirs ran, what torch and others did for them is all there is to show.
    theirs = frames[_users_frame(frames) or 0 :]
    shown.stack = traceback.StackSummary.from_list(theirs) if theirs else None  # pyright: ignore[reportAttributeAccessIssue]
    for linked in (shown.__cause__, shown.__context__):
        if linked is not None:
            _cut(linked)
