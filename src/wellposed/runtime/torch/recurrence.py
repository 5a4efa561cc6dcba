"""How far back a recurrent part of a model remembers: the gradient of its last output by each step, from one more forward and backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from ...errors import UserCodeError
from ...signals.result import RecurrentSignal
from ..model_trace import ModelTrace
from .batch import Batch, tensors_in
from .session import Runner, clear_gradients, seed_everything

_LEAST_STEPS = 4


def recurrent_signals(
    runner: Runner, batch: Batch, seen: ModelTrace, *, seed: int
) -> tuple[RecurrentSignal, ...]:
    """One entry a recurrent layer, and one a module that is called again and again on what it gave before; none without either.

    Use inside `restore.preserved`.
    """
    again = _called_again(seen)
    followed = {m: n for m, n in runner.names().items() if isinstance(m, nn.RNNBase) or _holds(n, again)}
    if not followed or any(getattr(m, "_compiled_call_impl", None) is not None for m in runner.modules):
        return ()
    listener = _Listener(followed)
    try:
        with listener.listening():
            seed_everything(seed)
            clear_gradients(runner)
            runner.evaluate(batch)
    except UserCodeError:  # what is not the very input of before may be refused
        return ()
    found = (*listener.layers(), *listener.loops())
    clear_gradients(runner)
    return found


def _called_again(seen: ModelTrace) -> set[str]:
    """Modules in which a layer with weights ran several times."""
    return {k.module for k, o in seen.operations.items() if k.nth >= _LEAST_STEPS - 1 and o.parameters}


def _holds(name: str, modules: set[str]) -> bool:
    """Whether a module is one of these, or holds one."""
    return any(m == name or m.startswith(f"{name}.") for m in modules)


class _Listener:
    """Keeps what recurrent layers read and gave, and what each other module gave, call by call."""

    def __init__(self, followed: Mapping[nn.Module, str]) -> None:
        self.names = followed
        self._read: dict[nn.RNNBase, torch.Tensor] = {}
        self._gave: dict[nn.RNNBase, torch.Tensor] = {}
        self._calls: dict[nn.Module, list[list[torch.Tensor]]] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        with ExitStack() as stack:
            for module in self.names:
                if isinstance(module, nn.RNNBase):
                    before = module.register_forward_pre_hook(self._enter, with_kwargs=True)
                    stack.callback(before.remove)
                stack.callback(module.register_forward_hook(self._leave).remove)
            yield

    def _enter(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Cut the sequence off from what made it, so that the way back ends there."""
        given = args[0] if args else kwargs.get("input")
        if module in self._read or not isinstance(given, torch.Tensor) or not torch.is_grad_enabled():
            return None
        self._read[module] = given.detach().requires_grad_()
        if args:
            return (self._read[module], *args[1:]), kwargs
        return args, kwargs | {"input": self._read[module]}

    def _leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        made = [t for t in tensors_in(output, objects=False) if t.is_floating_point() and t.requires_grad]
        if isinstance(module, nn.RNNBase):
            if made and module in self._read:
                self._gave.setdefault(module, made[0])
        elif made:
            self._calls.setdefault(module, []).append(made)

    def layers(self) -> Iterator[RecurrentSignal]:
        """Of each recurrent layer: the gradient of its output at the last step by its input at each step."""
        for module, output in self._gave.items():
            read = self._read[module]
            axis = 1 if module.batch_first and read.ndim == 3 else 0
            if read.shape[axis] < _LEAST_STEPS:
                continue
            forward = output.select(axis, -1)[..., : module.proj_size or module.hidden_size]
            (gradient,) = _gradients(forward, [read])
            if gradient is not None:
                norms = gradient.transpose(0, axis).double().flatten(1).norm(dim=1)
                yield _signal(self.names[module], module, norms, forget_bias=_forget_bias(module))

    def loops(self) -> Iterator[RecurrentSignal]:
        """Of each module that is called in a loop: the gradient of what it gave last by what it gave at each call."""
        again = {m for m, calls in self._calls.items() if len(calls) >= _LEAST_STEPS}
        within = {child for m in again for child in m.modules() if child is not m}
        for module in sorted(again - within, key=lambda m: self.names[m]):
            calls = self._calls[module]
            flat = [t for made in calls for t in made]
            gradients = iter(_gradients(calls[-1][0], flat))
            steps = [[next(gradients) for _ in made] for made in calls]
            sizes = [[g.double().square().sum() for g in step if g is not None] for step in steps]
            if all(sizes):  # else the calls do not follow from each other
                norms = torch.stack([torch.stack(step).sum().sqrt() for step in sizes])
                yield _signal(self.names[module], module, norms)


def _gradients(output: torch.Tensor, by: Sequence[torch.Tensor]) -> Sequence[torch.Tensor | None]:
    """Of a random sum of the output's entries."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
    try:
        return torch.autograd.grad(output, list(by), grad_outputs=signs, retain_graph=True, allow_unused=True)
    except RuntimeError:  # of a backward pass that the user's code does not allow from here
        return [None] * len(by)


def _signal(
    name: str, module: nn.Module, norms: torch.Tensor, *, forget_bias: float | None = None
) -> RecurrentSignal:
    return RecurrentSignal(
        where=name, kind=type(module).__name__, steps=len(norms), first=float(norms[0]), last=float(norms[-1]),
        forget_bias=forget_bias,
    )  # fmt: skip


def _forget_bias(module: nn.RNNBase) -> float | None:
    """Mean over the units of the forget gate's bias, both of its halves together, in the first layer."""
    if not isinstance(module, nn.LSTM) or not module.bias:
        return None
    n = module.hidden_size
    biases: Any = module
    gates = biases.bias_ih_l0.detach() + biases.bias_hh_l0.detach()
    return float(gates[n : 2 * n].double().mean())
