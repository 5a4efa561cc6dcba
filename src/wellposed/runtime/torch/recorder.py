"""Records which operations a model runs, in order, and which of them reads the output of which."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_modules
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from ..model_trace import SourceLine
from .batch import is_dense, tensors_in

INPUT = -1
"""The position of the model's inputs among the operations."""

_HERE = os.path.dirname(__file__)
_OWN = os.path.join(os.path.dirname(os.path.dirname(_HERE)), "")
_APPLIES = os.path.join("torch", "autograd", "function.py")
_NOT_THE_USERS = (
    os.path.join(os.path.dirname(torch.__file__), ""),
    "<",
    *(os.path.join(_HERE, f"{name}.py") for name in ("recorder", "trace", "origins", "low_precision")),
)


class Recorder(TorchFunctionMode):
    """Sees every torch function that runs inside it: functional code and raw parameters as well as modules.

    It holds no tensor: an output that nobody else needs is freed as it would be without.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made_by = WeakTensorKeyDictionary()

    def remember(self, value: Any, position: int) -> None:
        """Note that the tensors in a value are the output of the operation at a position."""
        for tensor in tensors_in(value, objects=False):
            self._made_by[tensor] = position

    def position_of(self, tensor: torch.Tensor) -> int | None:
        """The position of the operation whose output a tensor is; None for one that was not made here."""
        return self._made_by.get(tensor)

    def positions_of(self, tensors: Iterable[torch.Tensor]) -> tuple[int, ...]:
        """Those of several tensors, each once."""
        return tuple(dict.fromkeys(p for t in tensors if (p := self.position_of(t)) is not None))


def function_name(function: Any) -> str:
    """The plain name of a torch function, of a method or of an operator that an exported graph calls."""
    return getattr(function, "__name__", "").partition(".")[0]


@contextmanager
def listening(
    modules: Iterable[nn.Module], enter: Callable[..., None], leave: Callable[..., None]
) -> Iterator[None]:
    """Be told when any module runs; those that are compiled run as they were written."""
    with ExitStack() as stack:
        for hook in (
            torch_modules.register_module_forward_pre_hook(enter),
            torch_modules.register_module_forward_hook(leave),
        ):
            stack.callback(hook.remove)
        if any(getattr(m, "_compiled_call_impl", None) is not None for m in modules):
            # What a compiled module runs must not be traced into the recording.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def line_of_user() -> SourceLine | None:
    """The innermost line that is neither torch's nor ours; None where we call torch's modules ourselves."""
    return _line_above(sys._getframe(2))


def applied_at() -> SourceLine | None:
    """The line that applies the custom autograd function inside which this runs; None where it runs in none."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.endswith(_APPLIES):
        frame = frame.f_back
    return None if frame is None else _line_above(frame)


def _line_above(frame: FrameType | None) -> SourceLine | None:
    while frame is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith(_OWN):
        return None
    return SourceLine(frame.f_code.co_filename, frame.f_lineno)


def has_numbers(tensor: torch.Tensor) -> bool:
    """Whether it is a dense tensor of floating-point numbers, at least one."""
    return tensor.is_floating_point() and is_dense(tensor) and not tensor.is_meta and tensor.numel() > 0


def is_new(
    made: torch.Tensor, read: Sequence[torch.Tensor], name: str, keywords: Mapping[str, Any] | None = None
) -> bool:
    """Whether a function gave numbers of its own: neither a view nor a copy of what it read."""
    if name == "clone":
        return False
    if any(made is t for t in read):
        return name.endswith("_") or (keywords or {}).get("inplace") is True
    if is_wrapped(made):
        return True
    return not any(is_dense(t) and not is_wrapped(t) and _is_alias_of(made, t) for t in read)


# Not by the address of the storage: a tensor whose parts are tensors has none.
_is_alias_of: Any = torch._C._is_alias_of  # pyright: ignore[reportAttributeAccessIssue]


def is_wrapped(tensor: torch.Tensor) -> bool:
    """Whether a transform of ``torch.func`` is at work on it: its values cannot be asked for."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]


def unwrapped(tensor: torch.Tensor) -> torch.Tensor:
    """The plain tensor below the transforms of ``torch.func``, with the samples that vmap spread along its axes."""
    while is_wrapped(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)  # pyright: ignore[reportAttributeAccessIssue]
    return tensor
