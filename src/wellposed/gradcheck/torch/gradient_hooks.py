"""What hooks on gradients do to them: gradients are compared before and after each hook."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules_of_torch

from ...runtime.reachable import Reached, reach
from ...runtime.torch.restore import preserved

_ROUNDING = 64
"""How many units in the last place two ways of computing the same product may differ by."""


@dataclass(eq=False, kw_only=True)
class WatchedHook:
    """One hook, and the changes that it made to gradients."""

    hook: str
    """Its name and the line that it is written on."""
    kind: str
    """What it hangs on: ``"the gradient of"`` a parameter, or a tensor or the inputs or outputs ``of`` a module."""
    where: str
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A gradient before and after a hook."""

    relative: float
    """|after - before| / |before|."""
    words: str


@contextmanager
def watching_hooks(
    run: Callable[[], Any], names: Mapping[nn.Module, str], place: Callable[[], str]
) -> Iterator[list[WatchedHook]]:
    """Watch every hook on a gradient that exists or is registered meanwhile; the hooks and their state are restored at the end."""
    found = reach([run], wide=False)
    watched: list[WatchedHook] = []
    with ExitStack() as undo:
        held = [hook for table in _tables(found) for hook in table.values()]
        undo.enter_context(preserved(*held))
        for tensor, name in _named_tensors(found, names):
            _watch_table(undo, watched, tensor._backward_hooks, "the gradient of", name)
        for module in found.of(nn.Module):
            name = names.get(module, type(module).__name__)
            _watch_table(undo, watched, module._backward_hooks, "the gradient of the inputs of", name)
            _watch_table(undo, watched, module._backward_pre_hooks, "the gradient of the outputs of", name)
        for table, side in _global_tables():
            _watch_table(undo, watched, table, f"the gradient of the {side} of", "every module")
        undo.enter_context(_watching_new(watched, place))
        yield watched


def _tables(found: Reached) -> Iterator[dict[int, Any]]:
    for tensor in found.tensors:
        yield tensor._backward_hooks or {}
    for module in found.of(nn.Module):
        yield from (module._backward_hooks, module._backward_pre_hooks)


def _global_tables() -> Iterator[tuple[dict[int, Any], str]]:
    yield modules_of_torch._global_backward_hooks, "inputs"
    yield modules_of_torch._global_backward_pre_hooks, "outputs"


def _named_tensors(found: Reached, names: Mapping[nn.Module, str]) -> Iterator[tuple[torch.Tensor, str]]:
    called: dict[int, str] = {}
    for module in found.of(nn.Module):
        prefix = f"{names[module]}." if module in names and names[module] != type(module).__name__ else ""
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            called.setdefault(id(tensor), prefix + name)
    for tensor in found.tensors:
        yield tensor, called.get(id(tensor), f"a tensor of shape {tuple(tensor.shape)}")


def _watch_table(
    undo: ExitStack, watched: list[WatchedHook], table: dict[int, Any] | None, kind: str, where: str
) -> None:
    """Replace each hook of a table by one that records its changes; `undo` restores them, in the same order."""
    for key, hook in list((table or {}).items()):
        if table is None or _is_torchs(hook):
            continue
        entry = WatchedHook(hook=_called(hook), kind=kind, where=where)
        watched.append(entry)
        undo.callback(table.__setitem__, key, hook)
        table[key] = _watcher(hook, entry)


@contextmanager
def _watching_new(watched: list[WatchedHook], place: Callable[[], str]) -> Iterator[None]:
    """Watch hooks that a forward pass registers on its own tensors."""
    register = torch.Tensor.register_hook

    def registering(self: torch.Tensor, hook: Callable[..., Any]) -> Any:
        if _is_torchs(hook) or self.is_leaf:
            return register(self, hook)
        entry = WatchedHook(
            hook=_called(hook), kind="the gradient of a tensor in", where=place() or "the loss"
        )
        watched.append(entry)
        return register(self, _watcher(hook, entry))

    torch.Tensor.register_hook = registering  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.register_hook = register  # type: ignore[method-assign]


def _watcher(hook: Callable[..., Any], entry: WatchedHook) -> Callable[..., Any]:
    """The hook, recording what it changes in its arguments."""

    @functools.wraps(hook)
    def watcher(*args: Any) -> Any:
        before = [_plain(g) for g in _shown(args)]
        returned = hook(*args)
        after = _shown(args) if returned is None else _gradients(returned)
        for old, new in zip(before, after, strict=False):
            change = _change(old, new)
            if change is not None:
                entry.changes.append(change)
        return returned

    return watcher


def _shown(arguments: Sequence[Any]) -> list[Any]:
    """The gradients among the arguments of a hook: a tensor's gets the gradient alone, a module's the module first."""
    return _gradients(arguments[min(1, len(arguments) - 1)])


def _gradients(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def _plain(gradient: Any) -> Any:
    return gradient.detach().clone() if isinstance(gradient, torch.Tensor) else None


def _change(before: Any, after: Any) -> Change | None:
    if (
        not (isinstance(before, torch.Tensor) and isinstance(after, torch.Tensor))
        or before.shape != after.shape
    ):
        return None
    old, new = (
        t.detach().to_dense().to(torch.complex128 if t.is_complex() else torch.float64)
        for t in (before, after)
    )
    if torch.equal(old, new) or bool(((old == new) | (old.isnan() & new.isnan())).all()):
        return None
    if not bool(torch.isfinite(old).all()):
        return Change(relative=float("inf"), words="replaces values that are not finite")
    size = float(old.norm())
    relative = float((new - old).norm()) / size if size else float("inf")
    words = _in_words(old, new, _ROUNDING * torch.finfo(before.dtype).eps)
    return Change(relative=relative, words=words or f"moves it by {relative:.2g} of its size")


def _in_words(old: torch.Tensor, new: torch.Tensor, rounding: float) -> str:
    """The change in words if it is a usual one, else empty."""
    if not bool(new.any()):
        return "sets it to zero"
    square = float((old.abs() ** 2).sum())
    factor = float((old.conj() * new).real.sum()) / square if square else 0.0
    if float((new - factor * old).norm()) <= rounding * float(new.norm()):
        return "reverses its sign" if abs(factor + 1) <= rounding else f"multiplies it by {factor:.4g}"
    if new.is_complex():
        return ""
    zeroed = (new == 0) & (old != 0)
    if bool(((new == old) | zeroed).all()):
        return f"sets {int(zeroed.sum())} of its {old.numel()} elements to zero"
    low, high = float(new.min()), float(new.max())
    if float((new - old.clamp(low, high)).abs().max()) <= rounding * float(new.abs().max()):
        return f"clips its elements to between {low:.3g} and {high:.3g}"
    return ""


def _is_torchs(hook: Any) -> bool:
    return str(getattr(hook, "__module__", None) or type(hook).__module__).partition(".")[0] in (
        "torch",
        "wellposed",
    )


def _called(hook: Any) -> str:
    """A hook by name, file and line."""
    inner = hook
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    name = getattr(inner, "__qualname__", type(inner).__qualname__).rpartition("<locals>.")[2]
    if code is None:
        return name
    return f"{name}, {code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{code.co_firstlineno}"
