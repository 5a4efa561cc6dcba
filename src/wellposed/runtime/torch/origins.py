"""Where the first NaN or infinity of a batch comes from: the operation, its line, and the rows of the batch that make it.

The batch is run once more, and every operation is asked whether what it read and what it gave were finite. Infinities that are put in as
constants, as a mask of attention has them, are no fault until a NaN comes of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import torch
from torch import nn

from ...errors import WellposedError
from ..model_trace import NonFinite, SourceLine
from .batch import Batch, take, tensors_in
from .graph_nodes import graph_nodes
from .recorder import (
    INPUT,
    Recorder,
    applied_at,
    function_name,
    has_numbers,
    is_new,
    line_of_user,
    listening,
    unwrapped,
)
from .session import ForwardPass, Runner, clear_gradients, own_loss, seed_everything

_MOST_RUNS = 40
"""Runs of parts of a batch in which the rows at fault are looked for."""


_OPERATORS = ("add", "sub", "mul", "div", "pow", "matmul", "mod")


class _State(IntEnum):
    """The worst entry of a tensor."""

    FINITE = 0
    INFINITE = 1
    NAN = 2


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One operation as it ran."""

    module: nn.Module | None
    """The innermost module in which it ran; None outside of all."""
    name: str
    line: SourceLine | None
    in_loss: bool
    inputs: tuple[int, ...]
    parameter: str | None
    """One that it reads and that is not finite."""
    read: _State
    """The worst of all that it read."""
    put_in: _State
    """The worst constant that it read."""
    gave: _State
    rows: tuple[int, ...]
    """Of its output, those with an entry that is not finite, where its first axis is that of the batch."""


class _Steps(Recorder):
    """Keeps what every operation read and gave: whether it was finite, and no tensor."""

    def __init__(self, runner: Runner, rows: int) -> None:
        super().__init__()
        self.steps: list[_Step] = []
        self.in_loss = False
        self._rows = rows
        self._parameters = {id(p): name for name, p in runner.parameters.items()}
        self._stack: list[nn.Module] = []
        self._numbered: list[tuple[int, int]] = []
        """The sequence number of the autograd node of each output, and the position of its operation."""
        self._custom: dict[int, int] = {}
        """The same of functions that are not torch's."""
        self._latest_spoilt: int | None = None
        self._applied: _Step | None = None
        """The latest operation inside of such a function, with the line that applies the function."""

    @contextmanager
    def recording(self, batch: Batch, modules: Iterable[nn.Module]) -> Iterator[None]:
        self.remember((batch.args, batch.kwargs or {}), INPUT)
        with listening(modules, lambda module, _: self._stack.append(module), self._leave), self:
            yield

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        while self._stack and self._stack.pop() is not module:
            pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        read = list(tensors_in((args, kwargs), objects=False))
        with torch._C.DisableTorchFunction():
            for tensor in filter(self.is_of_custom_function, read):
                self.note_custom(tensor)
            states = [_state(t) for t in read]
        output = func(*args, **kwargs)
        # Written in place into a part of a tensor, which is the tensor's own number from then on.
        made = [args[0]] if name == "__setitem__" else list(tensors_in(output, objects=False))
        made = [t for t in made if has_numbers(t)]
        if made and name != "__get__":
            with torch._C.DisableTorchFunction():
                if name == "__setitem__" or is_new(made[0], read, name, kwargs):
                    self._note(name, read, states, (args, kwargs), made)
                elif sources := self.positions_of(read):
                    self.remember(made, sources[0])
        return output

    def _note(
        self,
        name: str,
        read: list[torch.Tensor],
        states: list[_State],
        arguments: Any,
        made: list[torch.Tensor],
    ) -> None:
        parameters = [(self._parameters.get(id(t)), state) for t, state in zip(read, states, strict=True)]
        inputs = self.positions_of(read)
        constants = [s for t, s in zip(read, states, strict=True) if self._is_constant(t)]
        step = _Step(
            module=self._stack[-1] if self._stack else None,
            name=name,
            line=line_of_user(),
            in_loss=self.in_loss,
            inputs=inputs,
            parameter=next((n for n, state in parameters if n is not None and state), None),
            read=max(states, default=_State.FINITE),
            put_in=max([*constants, *map(_state_of_number, _numbers_in(arguments))], default=_State.FINITE),
            gave=max(map(_state, made)),
            rows=self._spoilt_rows(made[0]),
        )
        position = self._add(step, made)
        if applied := applied_at():
            self._applied = replace(step, line=applied)
        if made[0].grad_fn is not None:
            self._numbered.append((_number(made[0].grad_fn), position))

    def _add(self, step: _Step, made: list[torch.Tensor]) -> int:
        position = len(self.steps)
        self.steps.append(step)
        self.remember(made, position)
        if step.gave:
            self._latest_spoilt = position
        return position

    def note_custom(self, tensor: torch.Tensor) -> None:
        """A tensor that a function gave that is not torch's: what ran inside it was seen, itself it was not."""
        inside, gave = self._latest_spoilt, _state(tensor)
        step = _Step(
            module=self._applied.module if self._applied else None,
            name=type(tensor.grad_fn).__name__.removesuffix("Backward"),
            line=self._applied.line if self._applied else None,
            in_loss=self.in_loss,
            inputs=() if inside is None else (inside,),
            parameter=None,
            read=_State.FINITE if inside is None else gave,
            put_in=_State.FINITE,
            gave=gave,
            rows=self._spoilt_rows(tensor),
        )
        self._custom[_number(tensor.grad_fn)] = self._add(step, [tensor])

    def is_of_custom_function(self, tensor: torch.Tensor) -> bool:
        """Whether a function made it that is not torch's, and that was not noted yet."""
        node = tensor.grad_fn
        if node is None or _number(node) in self._custom:
            return False
        return hasattr(node, "_forward_cls") or self.position_of(tensor) is None

    def _is_constant(self, tensor: torch.Tensor) -> bool:
        seen = self.position_of(tensor) is not None or id(tensor) in self._parameters
        return not seen and tensor.grad_fn is None

    def _spoilt_rows(self, tensor: torch.Tensor) -> tuple[int, ...]:
        return spoilt_rows(unwrapped(tensor), self._rows)

    def position_of_node(self, node: Any) -> int | None:
        """Of the operation in which an autograd node was made: the first whose own node is not older."""
        if _number(node) in self._custom:
            return self._custom[_number(node)]
        self._numbered.sort()
        at = bisect_left(self._numbered, (_number(node), -1))
        return self._numbered[at][1] if at < len(self._numbered) else None

    def behind(self, positions: Iterable[int]) -> tuple[int | None, int | None]:
        """Of the operations behind some positions: the first that gave what is not finite of its own accord, and that put an infinity in."""
        spoilt, waiting = set[int](), [p for p in positions if p != INPUT and self.steps[p].gave]
        while waiting:
            at = waiting.pop()
            if at not in spoilt:
                spoilt.add(at)
                waiting += [p for p in self.steps[at].inputs if p != INPUT and self.steps[p].gave]
        meant: set[int] = set()  # infinities that come of constants, and of nothing else
        for at in sorted(spoilt):
            step = self.steps[at]
            of_its_own = step.read is step.put_in is _State.FINITE
            if of_its_own or step.gave is _State.NAN or step.parameter is not None:
                return at, min(meant, default=None)
            meant.add(at)
        return None, min(meant, default=None)


def _number(node: Any) -> int:
    """Of an autograd node: those that are made later have larger ones."""
    return node._sequence_nr()


def _state(tensor: torch.Tensor) -> _State:
    tensor = unwrapped(tensor).detach()
    if not has_numbers(tensor) or bool(torch.isfinite(tensor).all()):
        return _State.FINITE
    return _State.NAN if bool(torch.isnan(tensor).any()) else _State.INFINITE


def _state_of_number(number: float) -> _State:
    if number != number:
        return _State.NAN
    return _State.INFINITE if abs(number) == float("inf") else _State.FINITE


def _numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _numbers_in(item)
    elif isinstance(value, dict):
        yield from _numbers_in(list(value.values()))


def spoilt_rows(tensor: torch.Tensor, rows: int) -> tuple[int, ...]:
    """Those with an entry that is not finite, where the first axis has as many as the batch."""
    if not tensor.ndim or len(tensor) != rows or tensor.numel() == 0:
        return ()
    spoilt = ~torch.isfinite(tensor.detach().reshape(rows, -1)).all(1)
    return tuple(spoilt.nonzero().flatten().tolist())


def origin(runner: Runner, batch: Batch, *, number: int, seed: int) -> NonFinite | None:
    """Of the first NaN or infinity in the loss of a batch, in its outputs where there is no loss, or in a gradient.

    None where outputs without a loss hold infinities that were put in alone, as a mask does.

    Parameters
    ----------
    number
        Of the batch, to be told.
    """
    found, candidates = _found(runner, batch, seed=seed)
    if found is None:
        return None
    rows = _rows_at_fault(runner, batch, candidates, seed=seed)
    return found._replace(batch=number, rows=rows)


def _found(runner: Runner, batch: Batch, *, seed: int) -> tuple[NonFinite | None, tuple[int, ...]]:
    """The origin, and the rows in which it gave what is not finite."""
    seed_everything(seed)
    clear_gradients(runner)
    steps = _Steps(runner, batch.rows)
    with steps.recording(batch, runner.names()):
        outputs = runner.outputs(batch)
        steps.in_loss = True
        loss = own_loss(outputs) if runner.problem.loss is None else runner.loss_of(outputs, batch)
    for end in filter(steps.is_of_custom_function, [] if loss is None else [loss]):
        steps.note_custom(end)
    if spoilt := _spoilt_ends(loss, outputs):
        at, put_in = steps.behind(steps.positions_of(spoilt))
        if at is None and put_in is not None and loss is None:
            return None, ()
        at = put_in if at is None else at
        return _told(runner, steps, at, "forward") if at is not None else (_UNKNOWN, ())
    return _found_backward(runner, steps, loss)


_UNKNOWN = NonFinite("model", "an operation that was not seen", "forward")


def _told(
    runner: Runner, steps: _Steps, at: int, direction: str, operation: str | None = None
) -> tuple[NonFinite, tuple[int, ...]]:
    step = steps.steps[at]
    if step.parameter is not None:
        return NonFinite(step.parameter, "parameter", "forward"), ()
    where = "loss" if step.in_loss else "model" if step.module is None else runner.names()[step.module]
    if operation is None:
        operation = type(step.module).__name__ if _is_torchs_own(step.module) else _plain(step.name)
    return NonFinite(where, operation, direction, step.line), step.rows


def _plain(name: str) -> str:
    """The name of an operator as that of its function: ``"div"`` for ``"__rtruediv__"``."""
    plain = name.strip("_").replace("truediv", "div")
    return plain[1:] if name.startswith("__") and plain[:1] in "ri" and plain[1:] in _OPERATORS else plain


def _is_torchs_own(module: nn.Module | None) -> bool:
    return type(module).__module__.startswith("torch.")


def _found_backward(
    runner: Runner, steps: _Steps, loss: torch.Tensor | None
) -> tuple[NonFinite, tuple[int, ...]]:
    """The operation whose backward takes finite gradients and gives others; or the one that gave it infinities to work with."""
    origins: list[tuple[Any, tuple[int, ...]]] = []
    if loss is not None and loss.requires_grad:
        for node in list(graph_nodes(loss)):
            node.register_hook(_origin_hook(node, origins, steps._rows))
        Runner.backward(loss)
    if not origins:
        return _UNKNOWN._replace(direction="backward"), ()
    node, rows = origins[0]
    name = type(node).__name__.removesuffix("0")
    at = steps.position_of_node(node)
    if at is None:
        return NonFinite("model", name, "backward"), rows
    given, _ = steps.behind(steps.steps[at].inputs)
    found, _ = (
        _told(runner, steps, at, "backward", name)
        if given is None
        else _told(runner, steps, given, "backward")
    )
    return found, rows


def _origin_hook(node: Any, origins: list[tuple[Any, tuple[int, ...]]], rows: int) -> Any:
    def hook(grad_inputs: tuple[Any, ...], grad_outputs: tuple[Any, ...]) -> None:
        if not origins and _all_finite(grad_outputs) and not _all_finite(grad_inputs):
            spoilt = next(t for t in grad_inputs if not _all_finite((t,)))
            origins.append((node, spoilt_rows(spoilt, rows)))

    return hook


def _all_finite(tensors: Sequence[Any]) -> bool:
    return all(t is None or t.is_sparse or bool(torch.isfinite(t).all()) for t in tensors)


# --- the rows at fault


def _rows_at_fault(
    runner: Runner, batch: Batch, candidates: tuple[int, ...], *, seed: int
) -> tuple[int, ...]:
    """Rows without which the batch is finite; empty where that is not so of some rows alone."""
    everything = range(batch.rows)
    left = [_MOST_RUNS]

    def spoils(rows: Sequence[int]) -> bool:
        left[0] -= 1
        return not _runs_finite(runner, take(batch, torch.tensor(list(rows))), seed=seed)

    def without(rows: tuple[int, ...]) -> bool:
        kept = [r for r in everything if r not in set(rows)]
        return bool(rows) and bool(kept) and not spoils(kept)

    try:
        if not spoils(everything):
            return ()
        if without(candidates):
            return candidates
        found = tuple(_searched(everything, spoils, left))
        return found if without(found) else ()
    except (WellposedError, _GaveUpError):  # fewer rows than the model takes, for example
        return ()
    finally:
        clear_gradients(runner)


class _GaveUpError(Exception):
    """The rows were not found within the runs that were to be spent."""


def _searched(rows: Sequence[int], spoils: Callable[[Sequence[int]], bool], left: list[int]) -> list[int]:
    """Of rows that spoil a batch: those that do it alone, found by halving."""
    if len(rows) <= 1:
        return list(rows)
    if left[0] < 2:
        raise _GaveUpError
    middle = len(rows) // 2
    return [
        r for half in (rows[:middle], rows[middle:]) if spoils(half) for r in _searched(half, spoils, left)
    ]


def _runs_finite(runner: Runner, batch: Batch, *, seed: int) -> bool:
    """Whether the loss of a batch, its outputs where there is none, and all gradients are finite."""
    seed_everything(seed)
    clear_gradients(runner)
    evaluation = runner.evaluate(batch)
    if evaluation.loss is not None and evaluation.loss.requires_grad:
        Runner.backward(evaluation.loss)
    return is_finite(evaluation) and _all_finite([p.grad for p in runner.trainable.values()])


def is_finite(evaluation: ForwardPass) -> bool:
    """Whether the loss is finite, or the outputs where there is none."""
    return not _spoilt_ends(evaluation.loss, evaluation.outputs)


def _spoilt_ends(loss: torch.Tensor | None, outputs: Any) -> list[torch.Tensor]:
    ends = list(tensors_in(outputs)) if loss is None else [loss]
    return [t for t in ends if _state(t)]
