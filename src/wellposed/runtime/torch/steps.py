"""A training step, a function of a batch that returns the loss, taken apart into a model and a loss of its outputs.

The step calls a module, and computes the loss of what it returns. Run as far as that call, the step is the model; run with outputs of
another origin in the place of the call, it is the loss of those outputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules import module as torch_modules

from ...errors import ProblemError
from .batch import Batch, describe, tensors_in
from .session import CalledModule, TakesBatch, main_tensor, own_loss, seed_everything

Step: TypeAlias = Callable[[Any], Any]
Call: TypeAlias = tuple[nn.Module, Any, tuple[Any, ...]]
"""A module, what it returned, and what it was called with."""

_ROUNDINGS = 64  # of the loss: what the same sums may differ by


class WholeStep(CalledModule, TakesBatch):
    """The step as a model that computes its own loss, and returns beside it what one of its modules returned, or the step itself.

    Parameters
    ----------
    step
        A function of a batch that returns the loss.
    module
        The module that it trains; None where it is a function over several modules.
    maker
        Whose output the loss is made of; None where none stands out.
    returns_outputs
        Whether the loss is made of what the step returns beside it.
    """

    def __init__(
        self,
        step: Step,
        module: nn.Module | None,
        maker: nn.Module | None = None,
        *,
        returns_outputs: bool = False,
    ) -> None:
        super().__init__(module)
        self.step, self.maker, self.returns_outputs = step, maker, returns_outputs

    def __call__(self, batch: Any) -> dict[str, Any]:
        if self.maker is None:
            value = self.step(batch)
            outputs = {"logits": main_tensor(value)} if self.returns_outputs else {}
            return {"loss": _loss_in(value), **outputs}
        made: list[Any] = []
        hook = self.maker.register_forward_hook(lambda module, _, output: made.append(output))
        try:
            loss = _loss_in(self.step(batch))
        finally:
            hook.remove()
        return {"loss": loss, "logits": main_tensor(made[-1]) if made else None}


class StepOutputs(CalledModule, TakesBatch):
    """The step as far as the outputs that the loss is made of."""

    def __init__(self, step: Step, module: nn.Module | None, maker: nn.Module) -> None:
        super().__init__(module)
        self.step, self.maker = step, maker

    def __call__(self, batch: Any) -> Any:
        own = self.maker._compiled_call_impl or self.maker._call_impl

        def stop(*args: Any, **kwargs: Any) -> Any:
            raise _StopError(own(*args, **kwargs))

        with _called_as(self.maker, stop):
            try:
                self.step(batch)
            except _StopError as reached:
                return reached.outputs
        raise ProblemError(
            f"the training step calls {type(self.maker).__name__} for some batches and not for others: "
            "give a model and a loss=... of its outputs"
        )


class StepLoss(TakesBatch):
    """The step as a loss: what it returns where its module returns the given outputs."""

    def __init__(self, step: Step, maker: nn.Module) -> None:
        self.step, self.maker = step, maker

    def __call__(self, outputs: Any, batch: Any) -> torch.Tensor:
        with _called_as(self.maker, lambda *args, **kwargs: outputs):
            return _loss_in(self.step(batch))


class _StopError(BaseException):
    """Not an Exception, which the user's code may catch."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs


@contextmanager
def _called_as(module: nn.Module, call: Callable[..., Any]) -> Iterator[None]:
    """Call this in the place of a module: no hook of it runs."""
    before = vars(module).get("_compiled_call_impl")
    object.__setattr__(module, "_compiled_call_impl", call)
    try:
        yield
    finally:
        if before is None:
            object.__delattr__(module, "_compiled_call_impl")
        else:
            object.__setattr__(module, "_compiled_call_impl", before)


def _loss_in(value: Any) -> torch.Tensor:
    loss = own_loss(value)
    if loss is None:
        raise ProblemError(
            f"the training step returned {describe(value)}: expected the loss, a scalar, or a dict that has it under 'loss'"
        )
    return loss


def taken_apart(step: Step, module: nn.Module | None, batch: Batch) -> tuple[Any, Any] | None:
    """The model and the loss that a step consists of; the step itself and None where its loss is of no outputs alone.

    Use inside `restore.preserved`. None where the step returns no loss. Whatever the step raises is raised.
    """
    seed_everything(0)
    value, calls = _watched(step, batch.copied().whole)
    if any(p.grad is not None for maker, *_ in calls for p in maker.parameters()):
        raise ProblemError(
            "the training step goes backward itself: let it return the loss, and leave out zero_grad(), backward() and step()"
        )
    loss = own_loss(value)
    if loss is None:
        return None
    made = main_tensor(value)
    by_a_module = any(t is made for _, outputs, _ in calls for t in tensors_in(outputs))
    if made is not None and not by_a_module and _is_of(loss, made):
        model, loss_of = WholeStep(step, module, returns_outputs=True), None
    else:
        model, loss_of = _parts(step, module, batch, loss, calls)
    for part in (model, loss_of):
        if part is not None:
            part.reads_targets = _reads_targets(step, batch, loss)
    return model, loss_of


def _parts(
    step: Step, module: nn.Module | None, batch: Batch, loss: torch.Tensor, calls: list[Call]
) -> tuple[WholeStep | StepOutputs, StepLoss | None]:
    for maker, outputs, args in reversed(calls):
        # By identity: metrics of torchmetrics are equal to everything.
        if not _gives_outputs(maker, outputs, args) or sum(m is maker for m, *_ in calls) > 1:
            continue
        if not _is_of(loss, outputs):
            continue
        if own_loss(outputs) is None and _is_the_same(step, maker, outputs, batch, loss):
            return StepOutputs(step, module, maker), StepLoss(step, maker)
        return WholeStep(step, module, maker), None
    return WholeStep(step, module), None


def _watched(step: Step, raw: Any) -> tuple[Any, list[Call]]:
    """What a step returns, and its calls of modules that no other module made."""
    running: list[nn.Module] = []
    calls: list[Call] = []

    def entered(module: nn.Module, args: Any) -> None:
        running.append(module)

    def left(module: nn.Module, args: Any, output: Any) -> None:
        while running and running.pop() is not module:
            pass
        if not running:
            calls.append((module, output, args))

    hooks = (
        torch_modules.register_module_forward_pre_hook(entered),
        torch_modules.register_module_forward_hook(left),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said again when the step runs for good
            return step(raw), calls
    finally:
        for hook in hooks:
            hook.remove()


def _gives_outputs(module: nn.Module, outputs: Any, args: tuple[Any, ...]) -> bool:
    """Whether it may be what the loss is made of: no loss itself, which takes outputs and targets, and has no parameters."""
    has_parameters = next(module.parameters(), None) is not None
    tensors = [t for t in tensors_in(outputs) if t.ndim and t.is_floating_point()]
    return bool(tensors) and (has_parameters or len(args) == 1)


def _is_of(loss: torch.Tensor, outputs: Any) -> bool:
    """Whether the loss reaches parameters by way of these outputs, and by no other way."""
    ends = {t.grad_fn for t in tensors_in(outputs) if t.grad_fn is not None}
    if not loss.requires_grad or not ends:
        return False
    seen, waiting, met = set(), [loss.grad_fn], False
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in ends:
            met = True
        elif hasattr(node, "variable"):
            return False
        else:
            waiting += [following for following, _ in node.next_functions]
    return met


def _reads_targets(step: Step, batch: Batch, loss: torch.Tensor) -> bool:
    """Whether the loss is another one where all rows have the target of the first; True where that is not known."""
    y = batch.targets
    if not isinstance(y, torch.Tensor) or y.ndim == 0 or bool((y == y[:1]).all()):
        return True
    seed_everything(0)
    try:
        other = _loss_in(step(replace(batch, targets=y[:1].expand_as(y).clone()).copied().whole))
    except Exception:  # whatever the user's code says against it
        return True
    return not torch.equal(other.detach(), loss.detach())


def _is_the_same(step: Step, maker: nn.Module, outputs: Any, batch: Batch, loss: torch.Tensor) -> bool:
    """Whether the loss of these outputs, given in the place of the call, is the step's own."""
    seed_everything(0)
    try:
        again = StepLoss(step, maker)(outputs, batch.copied().whole)
    except Exception:  # whatever the user's code makes of detached or other outputs
        return False
    slack = _ROUNDINGS * torch.finfo(loss.dtype).eps * abs(float(loss.detach()))
    return abs(float(again.detach()) - float(loss.detach())) <= slack
