"""Hand-written ``autograd.Function`` objects in the graph of a loss, and the calls that put them there.

A first run, forward and backward, counts the calls and sees which of them a gradient reaches; a second one keeps what a few of
them are given. Classes, hooks, gradients and random states are as they were afterwards.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ...errors import ArgumentError
from ...runtime.torch.restore import preserved
from .gradient_hooks import Watched, watching_hooks
from .record_calls import OF_A_CUSTOM_OP, Call, Key, is_op, is_theirs, watching
from .recorded_call import CustomCall, differentiable

_SETTINGS = 4
"""Ways of calling one Function (other constants, other tensors that need a gradient) that are looked at; the rest is told."""
_CALLS = 6
"""Calls of one Function that are looked at. A class that is used once a layer has the same code in each: the first, the last and the
largest call differ most in what they are given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CustomCode:
    """The hand-written backward code that one loss goes through."""

    calls: tuple[CustomCall, ...] = ()
    """The calls that are worth a check, the most telling of each Function first."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How often each Function, by name, ran with a gradient coming back."""
    unlike: Mapping[str, int] = field(default_factory=dict)
    """How many of those calls had settings that no kept call has."""
    hooks: tuple[Watched, ...] = ()
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
    calls: list[Call]
    graph: list[Any]
    failure: str
    hooks: tuple[Watched, ...]


def _run(run: Callable[[], Any], names: Mapping[nn.Module, str], *, keep: Collection[Key]) -> _Run:
    """One forward and one backward pass of the loss under watch."""
    with preserved(run), _eager(), watching(names, keep) as watch:
        with watching_hooks(run, names, watch.place) as hooks:
            loss = run()
            graph = _graph(loss)
            failure = _backward(loss, graph)
        return _Run(calls=watch.calls, graph=_kinds_in(graph), failure=failure, hooks=tuple(hooks))


def _chosen(survey: _Run) -> tuple[list[Call], dict[str, int]]:
    """The calls to keep: of each Function and setting the first, the largest and the last that a gradient reaches."""
    ways: dict[str, dict[Any, list[Call]]] = defaultdict(lambda: defaultdict(list))
    for call in survey.calls:
        if not call.transformed and (call.reached or (survey.failure and call.kind in survey.graph)):
            ways[call.family][call.settings].append(call)
    chosen: list[Call] = []
    unlike: dict[str, int] = {}
    for family, settings in ways.items():
        groups = [[c for c in group if c.flows] or group for group in settings.values()]
        picks = (pick(group) for pick in (_first, _largest, _last) for group in groups[:_SETTINGS])
        chosen += list({c.key: c for c in picks}.values())[:_CALLS]
        unlike[family] = sum(len(group) for group in list(settings.values())[_SETTINGS:])
    return chosen, unlike


def _first(group: list[Call]) -> Call:
    return group[0]


def _largest(group: list[Call]) -> Call:
    return max(group, key=lambda call: call.size)


def _last(group: list[Call]) -> Call:
    return group[-1]


def _kept(call: Call | None, seen: Call, name: str) -> CustomCall:
    where = seen.where
    if call is None or call.arguments is None or call.reached != seen.reached:
        return CustomCall(
            name=name,
            where=where,
            reason="it ran in one run of the loss, and not in the next",
            seconds=seen.seconds,
        )
    if not any(differentiable(a) for a in call.arguments):
        return CustomCall(
            name=name,
            where=where,
            reason="none of its arguments is a floating-point tensor that requires a gradient",
        )
    return CustomCall(
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


def _out_of_reach(survey: _Run, titles: Mapping[str, str]) -> Iterator[CustomCall]:
    """Functions that take part and cannot be called again from here, each with the reason."""
    plain = {c.family for c in survey.calls if not c.transformed}
    transformed = {c.family: c for c in reversed(survey.calls) if c.transformed and c.family not in plain}
    for family, call in transformed.items():
        reason = "it runs inside a transform of torch.func (vmap, grad, ...), which hands it no plain tensors"
        yield CustomCall(name=titles[family], where=call.where, reason=reason)
    watched = {c.kind for c in survey.calls}
    for kind in survey.graph:
        if isinstance(kind, str):
            reason = "it is written in C++, and its forward pass cannot be called from here"
            yield CustomCall(name=kind, reason=reason)
        elif kind not in watched:
            yield CustomCall(name=_name(kind), reason="its forward pass ran before the loss was computed")


def _titles(calls: Collection[Call]) -> dict[str, str]:
    """The classes by name, and by module and name where two share one."""
    names = {call.family: _name(call.kind) for call in calls}
    shared = Counter(names.values())
    return {family: name if shared[name] == 1 else family for family, name in names.items()}


def _name(kind: Any) -> str:
    """The class by name; an operator of torch.library as ``library_operator``."""
    name: str = kind.__name__
    return name.removeprefix(OF_A_CUSTOM_OP).removesuffix("_default") if is_op(kind) else name


def _eager() -> Any:
    """Compiled parts run as they are written, where their Functions can be seen; without it when nothing is compiled."""
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
    """The backward pass of the loss, whose gradients nobody keeps; what it raised, in words."""
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
