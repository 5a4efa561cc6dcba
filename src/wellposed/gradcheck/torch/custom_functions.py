"""Finds the hand-written ``autograd.Function`` objects in the graph of a loss, and records some of their calls.

A first run, forward and backward, counts the calls and which of them a gradient reaches; a second one records the arguments and gradients
of a few. Classes, hooks, gradients and random states are restored.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import FunctionMeta

from ...errors import ArgumentError
from ...runtime.torch.restore import preserved
from .gradient_hooks import WatchedHook, watching_hooks
from .recorded_call import RecordedCall, copied, differentiable

_SETTINGS = 4
"""Ways of calling one Function (constants, tensors that need a gradient) that are checked; the number of others is reported."""
_CALLS = 6
"""Calls of one Function that are checked. Where each layer uses the same class, the first, last and largest call differ most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CustomCode:
    """The hand-written backward code that one loss goes through."""

    calls: tuple[RecordedCall, ...] = ()
    """The calls to check, of each Function the most informative first."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How often each Function, by name, ran with a gradient coming back."""
    unlike: Mapping[str, int] = field(default_factory=dict)
    """How many of those calls had settings that no kept call has."""
    hooks: tuple[WatchedHook, ...] = ()
    """What each hook on a gradient did to it."""


def custom_code(run: Callable[[], Any], names: Mapping[nn.Module, str] | None = None) -> CustomCode:
    """Every hand-written Function and gradient hook that the loss of ``run()`` goes through.

    Parameters
    ----------
    run
        Computes the loss and returns it, attached to its graph.
    names
        Dotted names of the modules, to say where a Function ran.
    """
    survey = _run(run, names or {}, keep=())
    titles = _titles(survey.calls)
    chosen, unlike = _chosen(survey)
    kept = _run(run, names or {}, keep={c.key for c in chosen}) if chosen else survey
    found = {c.key: c for c in kept.calls}
    reached = Counter(c.family for c in survey.calls if c.reached)
    return CustomCode(
        calls=(
            *(_kept(found.get(c.key), c, titles[c.family]) for c in chosen),
            *_out_of_reach(survey, titles),
        ),
        counts={titles[family]: n for family, n in reached.items()},
        unlike={titles[family]: n for family, n in unlike.items() if n},
        hooks=survey.hooks,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Run:
    calls: list[WatchedCall]
    graph: list[Any]
    failure: str
    hooks: tuple[WatchedHook, ...]


def _run(run: Callable[[], Any], names: Mapping[nn.Module, str], *, keep: Collection[Key]) -> _Run:
    """One recorded forward and backward pass of the loss."""
    with preserved(run, in_place=True), _eager(), recording_calls(names, keep) as recorder:
        with watching_hooks(run, names, recorder.place) as hooks:
            loss = run()
            graph = _graph(loss)
            kinds = _kinds_in(graph)
            failure = _backward(loss, graph) if recorder.calls or kinds or hooks else ""
        return _Run(calls=recorder.calls, graph=kinds, failure=failure, hooks=tuple(hooks))


def _chosen(survey: _Run) -> tuple[list[WatchedCall], dict[str, int]]:
    """The calls to keep: of each Function and setting the first, the largest and the last that a gradient reaches."""
    ways: dict[str, dict[Any, list[WatchedCall]]] = defaultdict(lambda: defaultdict(list))
    for call in survey.calls:
        if not call.transformed and (call.reached or (survey.failure and call.kind in survey.graph)):
            ways[call.family][call.settings].append(call)
    chosen: list[WatchedCall] = []
    unlike: dict[str, int] = {}
    for family, settings in ways.items():
        groups = [[c for c in group if c.flows] or group for group in settings.values()]
        some = groups[:_SETTINGS]
        picks = [*(g[0] for g in some), *(max(g, key=lambda c: c.size) for g in some), *(g[-1] for g in some)]
        chosen += list({c.key: c for c in picks}.values())[:_CALLS]
        unlike[family] = sum(len(group) for group in list(settings.values())[_SETTINGS:])
    return chosen, unlike


def _kept(call: WatchedCall | None, seen: WatchedCall, name: str) -> RecordedCall:
    where = seen.where
    if call is None or call.arguments is None or call.reached != seen.reached:
        return RecordedCall(
            name=name,
            where=where,
            reason="it ran in one run of the loss, and not in the next",
            seconds=seen.seconds,
        )
    if not any(differentiable(a) for a in call.arguments):
        return RecordedCall(
            name=name,
            where=where,
            reason="none of its arguments is a floating-point tensor that requires a gradient",
        )
    return RecordedCall(
        name=name,
        where=where,
        kind=call.kind,
        arguments=call.arguments,
        keywords=call.keywords,
        outputs_there=call.outputs,
        cotangents=call.cotangents,
        returned=call.returned,
        twice=call.twice,
        seconds=min(call.seconds, seen.seconds),
    )


def _out_of_reach(survey: _Run, titles: Mapping[str, str]) -> Iterator[RecordedCall]:
    """Functions that take part and cannot be called again from here, each with the reason."""
    plain = {c.family for c in survey.calls if not c.transformed}
    transformed = {c.family: c for c in reversed(survey.calls) if c.transformed and c.family not in plain}
    for family, call in transformed.items():
        reason = "it runs inside a transform of torch.func (vmap, grad, ...), which hands it no plain tensors"
        yield RecordedCall(name=titles[family], where=call.where, reason=reason)
    watched = {c.kind for c in survey.calls}
    for kind in survey.graph:
        if isinstance(kind, str):
            reason = "it is written in C++, and its forward pass cannot be called from here"
            yield RecordedCall(name=kind, reason=reason)
        elif kind not in watched:
            yield RecordedCall(name=_name(kind), reason="its forward pass ran before the loss was computed")


def _titles(calls: Collection[WatchedCall]) -> dict[str, str]:
    """The classes by name, and by module and name where two share one."""
    names = {call.family: _name(call.kind) for call in calls}
    shared = Counter(names.values())
    return {family: name if shared[name] == 1 else family for family, name in names.items()}


def _name(kind: Any) -> str:
    """The class by name; an operator of torch.library as ``library_operator``."""
    name: str = kind.__name__
    return name.removeprefix(OF_A_CUSTOM_OP).removesuffix("_default") if is_op(kind) else name


def _eager() -> Any:
    """A scope in which compiled parts run uncompiled, so that their Functions can be watched; no scope where nothing is compiled."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def _graph(loss: Any) -> list[Any]:
    """Every node of the graph of a loss."""
    if not isinstance(loss, torch.Tensor):
        raise ArgumentError(
            f"run returned {type(loss).__name__}: expected the loss, a tensor attached to its graph"
        )
    seen: dict[Any, None] = {}
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen[node] = None
            waiting += [following for following, _ in node.next_functions]
    return list(seen)


def _kinds_in(graph: Collection[Any]) -> list[Any]:
    """The hand-written Functions among the nodes: classes, and those written in C++ by name."""
    kinds: dict[Any, None] = {}
    for node in graph:
        kind = getattr(type(node), "_forward_cls", None)
        name = node.name()
        if kind is not None and is_theirs(kind):
            kinds[kind] = None
        elif name.startswith("torch::autograd::CppNode<"):
            kinds[name.removeprefix("torch::autograd::CppNode<").removesuffix(">")] = None
    return list(kinds)


def _backward(loss: torch.Tensor, graph: Collection[Any]) -> str:
    """Run the backward pass of the loss without keeping gradients; what it raised, in words."""
    if not loss.requires_grad:
        return ""
    leaves = [node.variable for node in graph if hasattr(node, "variable")]
    before = [(leaf, leaf.grad) for leaf in leaves]
    try:
        for leaf in leaves:
            leaf.grad = None
        # Not autograd.grad, which a checkpoint of the older kind refuses.
        loss.reshape(()).backward()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        for leaf, gradient in before:
            leaf.grad = gradient
    return ""


OF_A_CUSTOM_OP = "GeneratedBackwardFor_"

Key = tuple[str, int]


@dataclass(eq=False, kw_only=True)
class WatchedCall:
    """One call while the loss runs."""

    kind: Any
    family: str
    """The class by module and name, which stay the same where each run defines the class anew."""
    ordinal: int
    where: str
    settings: tuple[Any, ...]
    size: int
    transformed: bool
    """Whether it ran inside a transform of torch.func."""
    seconds: float = 0.0
    reached: bool = False
    """Whether the backward pass of the loss reached it."""
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
def recording_calls(names: Mapping[nn.Module, str], keep: Collection[Key]) -> Iterator[CallRecorder]:
    """Watch every hand-written Function, also those that are defined meanwhile; the classes are restored at the end.

    Of the calls in `keep` the arguments and the gradients of the outputs are copied.
    """
    with ExitStack() as undo:
        recorder = CallRecorder(keep, undo.enter_context(_module_names(names)))
        for kind, methods in {kind: _methods_of(kind) for kind in _hand_written()}.items():
            undo.enter_context(_replaced(kind, recorder.over(kind, methods)))
        undo.enter_context(_watching_new(recorder, undo))
        yield recorder
        for call in recorder.calls:
            call.context = None


class CallRecorder:
    """Replaces the methods of the Functions by ones that record the calls."""

    def __init__(self, keep: Collection[Key], place: Callable[[], str]) -> None:
        self.calls: list[WatchedCall] = []
        self.place = place
        self._keep = keep
        self._counts: dict[str, int] = defaultdict(int)
        self._kinds: dict[str, list[Any]] = defaultdict(list)
        self._of: dict[int, WatchedCall] = {}
        self._open: dict[Any, list[WatchedCall]] = defaultdict(list)

    def over(self, kind: Any, methods: Mapping[str, Any]) -> dict[str, Any]:
        """Recording versions of the methods of a class."""
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

    def _entered(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> WatchedCall:
        tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
        family = f"{kind.__module__}.{kind.__qualname__}"
        # A factory may make several classes of one name.
        if kind not in self._kinds[family]:
            self._kinds[family].append(kind)
        call = WatchedCall(
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

    def _bind(self, call: WatchedCall, context: Any) -> None:
        # Kept alive, so that no other context gets the same id. The first call is that of autograd; it may pass its context to the
        # forward pass of another Function.
        call.context = context
        self._of.setdefault(id(context), call)

    def _reached(self, call: WatchedCall, gradients: Any) -> None:
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
def _watching_new(recorder: CallRecorder, undo: ExitStack) -> Iterator[None]:
    """Watch the Functions that a forward pass defines."""
    initialise = FunctionMeta.__init__

    def initialised(cls: Any, *args: Any, **kwargs: Any) -> None:
        initialise(cls, *args, **kwargs)
        methods = _methods_of(cls)
        if is_theirs(cls) and "forward" in methods:
            undo.enter_context(_replaced(cls, recorder.over(cls, methods)))

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
def _module_names(names: Mapping[nn.Module, str]) -> Iterator[Callable[[], str]]:
    """A function that returns the name of the module that is running; a compiled one has its original name."""
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
