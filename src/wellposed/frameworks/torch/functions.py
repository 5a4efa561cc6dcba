"""Hand-written ``autograd.Function`` objects in a graph, and the calls that put them there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import ArgumentError
from .state import preserved


@dataclass(frozen=True, kw_only=True, eq=False)
class CustomCall:
    """One call of a hand-written Function: how to repeat it on its differentiable inputs."""

    name: str
    function: Callable[..., Any] | None = None
    inputs: tuple[torch.Tensor, ...] = ()
    is_identity: bool = False
    reason: str = ""


@dataclass(frozen=True, eq=False)
class _Recorded:
    arguments: tuple[Any, ...]
    is_identity: bool


def custom_calls(run: Callable[[], Any]) -> tuple[CustomCall, ...]:
    """The first call of each hand-written Function that the graph of ``run()`` holds.

    One run finds the Functions, and a second one, only when there are any, notes what each is given.
    """
    with preserved(run):
        kinds = _kinds_in(run())
    if not kinds:
        return ()
    with preserved(run), ExitStack() as undo:
        recorded: dict[type, _Recorded] = {}
        for kind in kinds:
            undo.enter_context(_recording(kind, recorded))
        run()
        order = list(recorded)
    kinds.sort(key=lambda kind: order.index(kind) if kind in recorded else len(order))
    return tuple(_call(kind, recorded.get(kind)) for kind in kinds)


def _call(kind: type, recorded: _Recorded | None) -> CustomCall:
    if recorded is None:
        return CustomCall(name=kind.__name__, reason="it ran in one run of the loss, and not in the next")
    places = [
        i
        for i, a in enumerate(recorded.arguments)
        if isinstance(a, torch.Tensor) and a.requires_grad and a.is_floating_point()
    ]
    if not places:
        return CustomCall(
            name=kind.__name__,
            reason="none of its arguments is a floating-point tensor that requires a gradient",
        )

    def function(*inputs: torch.Tensor) -> Any:
        arguments = list(recorded.arguments)
        for i, tensor in zip(places, inputs, strict=True):
            arguments[i] = tensor
        return kind.apply(*arguments)  # type: ignore[attr-defined]

    inputs = tuple(recorded.arguments[i].detach() for i in places)
    return CustomCall(name=kind.__name__, function=function, inputs=inputs, is_identity=recorded.is_identity)


@contextmanager
def _recording(kind: Any, recorded: dict[type, _Recorded]) -> Iterator[None]:
    """Note what a Function's forward is first given; the class is as it was on the way out."""
    own = kind.__dict__.get("forward")
    forward = kind.forward
    takes_context = kind.setup_context is torch.autograd.Function.setup_context

    def noting(*args: Any, **kwargs: Any) -> Any:
        # Copies: a Function may write into its arguments.
        arguments = tuple(_copy(a) for a in (args[1:] if takes_context else args))
        result = forward(*args, **kwargs)
        recorded.setdefault(kind, _Recorded(arguments, _is_identity(arguments, result)))
        return result

    kind.forward = staticmethod(noting)
    try:
        yield
    finally:
        if own is None:
            del kind.forward
        else:
            kind.forward = own


def _copy(argument: Any) -> Any:
    if not isinstance(argument, torch.Tensor):
        return argument
    return argument.detach().clone().requires_grad_(argument.requires_grad)


def _is_identity(arguments: tuple[Any, ...], result: Any) -> bool:
    tensors = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
    return (
        len(tensors) == 1
        and isinstance(result, torch.Tensor)
        and result.shape == tensors[0].shape
        and bool(torch.equal(result.detach(), tensors[0].detach()))
    )


def _kinds_in(loss: Any) -> list[Any]:
    """The classes of the hand-written Functions in a graph; those of torch itself are not the user's."""
    if not isinstance(loss, torch.Tensor):
        raise ArgumentError(
            f"run returned {type(loss).__name__}: expected the loss, a tensor attached to its graph"
        )
    kinds: list[Any] = []
    seen: set[Any] = set()
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        kind = getattr(type(node), "_forward_cls", None)
        if kind is not None and kind not in kinds and kind.__module__.partition(".")[0] != "torch":
            kinds.append(kind)
        waiting += [following for following, _ in node.next_functions]
    return kinds
