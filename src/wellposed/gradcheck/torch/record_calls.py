"""Watching the hand-written ``autograd.Function`` objects while a loss runs, forward and backward: which calls, where, with what."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import FunctionMeta

from .recorded_call import copied

OF_A_CUSTOM_OP = "GeneratedBackwardFor_"

Key = tuple[str, int]


@dataclass(eq=False, kw_only=True)
class Call:
    """One call while it is watched."""

    kind: Any
    family: str
    """The class by module and name: one that each run makes anew goes by the same."""
    ordinal: int
    where: str
    settings: tuple[Any, ...]
    size: int
    transformed: bool
    """Whether torch.func had it run on tensors of its own."""
    seconds: float = 0.0
    reached: bool = False
    """Whether the backward pass of the loss came by."""
    flows: bool = False
    """Whether it brought a gradient that is not zero."""
    twice: bool = False
    context: Any = None
    arguments: tuple[Any, ...] | None = None
    keywords: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[Any, ...] = ()
    cotangents: tuple[torch.Tensor | None, ...] = ()
    returned: tuple[Any, ...] = ()
    """The gradients of the arguments, as the backward pass gave them."""

    @property
    def key(self) -> Key:
        return self.family, self.ordinal


@contextmanager
def watching(names: Mapping[nn.Module, str], keep: Collection[Key]) -> Iterator[Watch]:
    """Watch every hand-written Function, also those that are defined on the way; the classes are as they were on the way out.

    Of the calls in `keep` the arguments and the gradients of the outputs are copied.
    """
    with ExitStack() as undo:
        watch = Watch(keep, undo.enter_context(_standing(names)))
        for kind, methods in {kind: _methods_of(kind) for kind in _hand_written()}.items():
            undo.enter_context(_replaced(kind, watch.over(kind, methods)))
        undo.enter_context(_watching_new(watch, undo))
        yield watch
        for call in watch.calls:
            call.context = None


class Watch:
    """Stands in for the methods of the Functions, and notes the calls."""

    def __init__(self, keep: Collection[Key], place: Callable[[], str]) -> None:
        self.calls: list[Call] = []
        self.place = place
        self._keep = keep
        self._counts: dict[str, int] = defaultdict(int)
        self._kinds: dict[str, list[Any]] = defaultdict(list)
        self._of: dict[int, Call] = {}
        self._open: dict[Any, list[Call]] = defaultdict(list)

    def over(self, kind: Any, methods: Mapping[str, Any]) -> dict[str, Any]:
        """The methods of a class, each with a watch over it."""
        watched = {"forward": self._forward(kind, methods["forward"], "setup_context" not in methods)}
        if "setup_context" in methods:
            watched["setup_context"] = self._setup(kind, methods["setup_context"])
        for name in {"backward", "vjp"} & methods.keys():
            watched[name] = self._backward(kind, methods[name])
        for method in watched.values():
            method.stands_in = True
        return watched

    def _forward(self, kind: Any, forward: Any, takes_context: bool) -> Any:
        @functools.wraps(forward)
        def noting(*args: Any, **kwargs: Any) -> Any:
            call = self._entered(kind, args[1:] if takes_context else args, kwargs)
            if takes_context:
                self._bind(call, args[0])
            else:
                self._open[kind].append(call)
            started = time.perf_counter()
            result = forward(*args, **kwargs)
            call.seconds = time.perf_counter() - started
            if call.key in self._keep:
                call.outputs = copied(_listed(result))
            return result

        return noting

    def _setup(self, kind: Any, setup: Any) -> Any:
        @functools.wraps(setup)
        def noting(ctx: Any, *args: Any, **kwargs: Any) -> Any:
            if self._open[kind]:
                self._bind(self._open[kind].pop(), ctx)
            return setup(ctx, *args, **kwargs)

        return noting

    def _backward(self, kind: Any, backward: Any) -> Any:
        @functools.wraps(backward)
        def noting(ctx: Any, *args: Any) -> Any:
            call = self._of.get(id(ctx))
            if call is None or call.kind is not kind:
                return backward(ctx, *args)
            self._reached(call, args[0] if getattr(kind, "boxed_grads_call", False) else args)
            result = backward(ctx, *args)
            if call.key in self._keep:
                call.returned = copied(_listed(result))
            return result

        return noting

    def _entered(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Call:
        tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
        family = f"{kind.__module__}.{kind.__qualname__}"
        # A factory may make several classes of one name.
        if kind not in self._kinds[family]:
            self._kinds[family].append(kind)
        call = Call(
            kind=kind,
            family=family,
            ordinal=self._counts[family],
            where=self.place(),
            settings=(self._kinds[family].index(kind), *map(_setting, arguments)),
            size=sum(t.numel() for t in tensors),
            transformed=_in_transform(tensors),
        )
        self._counts[family] += 1
        self.calls.append(call)
        if call.key in self._keep:
            # Before the forward pass, which may write into its arguments.
            call.arguments, call.keywords = copied(arguments), copied(keywords)
        return call

    def _bind(self, call: Call, context: Any) -> None:
        # Held, so that no other context gets the same id. The first to come is the one that autograd called: it may lend its context
        # to the forward pass of another.
        call.context = context
        self._of.setdefault(id(context), call)

    def _reached(self, call: Call, gradients: Any) -> None:
        cotangents = [g.detach().to_dense() if isinstance(g, torch.Tensor) else None for g in gradients]
        call.reached = True
        # Only a backward pass that is to be differentiated itself runs with gradients enabled.
        call.twice = call.twice or torch.is_grad_enabled()
        call.flows = call.flows or any(c is not None and bool((c != 0).any()) for c in cotangents)
        if call.key in self._keep:
            call.cotangents = tuple(None if c is None else copied(c) for c in cotangents)


def _listed(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def is_op(kind: Any) -> bool:
    return kind.__name__.startswith(OF_A_CUSTOM_OP) and kind.__module__.startswith("torch.")


def is_theirs(kind: Any) -> bool:
    """Whether the user or a package of theirs wrote it; torch is tested by torch."""
    return kind.__module__.partition(".")[0] not in ("torch", "wellposed") or is_op(kind)


def _hand_written() -> list[Any]:
    """Every Function that was ever defined; of a base class without a forward pass nothing can be watched."""
    found: dict[Any, None] = {}
    waiting: list[Any] = [Function]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind not in found and is_theirs(kind) and kind.forward is not Function.forward:
            found[kind] = None
    return list(found)


def _methods_of(kind: Any) -> dict[str, Any]:
    """The methods that are its own or its bases', as they are without a watch."""
    found = {}
    for name in ("forward", "setup_context", "backward", "vjp"):
        method = getattr(kind, name)
        while getattr(method, "stands_in", False):
            method = method.__wrapped__
        if method is not getattr(Function, name):
            found[name] = method
    return found


@contextmanager
def _watching_new(watch: Watch, undo: ExitStack) -> Iterator[None]:
    """Watch the Functions that a forward pass defines."""
    initialise = FunctionMeta.__init__

    def initialised(cls: Any, *args: Any, **kwargs: Any) -> None:
        initialise(cls, *args, **kwargs)
        methods = _methods_of(cls)
        if is_theirs(cls) and "forward" in methods:
            undo.enter_context(_replaced(cls, watch.over(cls, methods)))

    FunctionMeta.__init__ = initialised
    try:
        yield
    finally:
        FunctionMeta.__init__ = initialise


@contextmanager
def _replaced(kind: Any, methods: Mapping[str, Any]) -> Iterator[None]:
    """The class with other methods; as it was on the way out, with the inherited ones inherited again."""
    own = {name: kind.__dict__[name] for name in methods if name in kind.__dict__}
    try:
        for name, method in methods.items():
            setattr(kind, name, staticmethod(method))
        yield
    finally:
        for name in methods:
            if name in own:
                setattr(kind, name, own[name])
            elif name in kind.__dict__:
                delattr(kind, name)


@contextmanager
def _standing(names: Mapping[nn.Module, str]) -> Iterator[Callable[[], str]]:
    """Tells at any time which module the run is in; a compiled one goes by its own name."""
    stack: list[str] = []

    def enter(module: nn.Module, args: Any) -> None:
        stack.append(names[module].removesuffix("._orig_mod"))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if stack:
            stack.pop()

    with ExitStack() as undo:
        # Each module's own hooks: torch warns of global ones where anything is compiled.
        for module in names:
            undo.callback(module.register_forward_pre_hook(enter).remove)
            undo.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield lambda: stack[-1] if stack else ""


def _setting(argument: Any) -> Any:
    if isinstance(argument, torch.Tensor):
        return argument.dtype, argument.ndim, argument.requires_grad
    plain = argument is None or isinstance(argument, bool | int | float | str)
    return argument if plain else type(argument)


def _in_transform(tensors: Collection[torch.Tensor]) -> bool:
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    return torch._C._are_functorch_transforms_active() or any(  # pyright: ignore[reportAttributeAccessIssue]
        functorch.is_functorch_wrapped_tensor(t) for t in tensors
    )
