"""A torch function, module or problem as one number of several arrays, with the gradient that autograd claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils._pytree import tree_flatten, tree_map

from ...errors import ArgumentError, ProblemError, UserCodeError, WellposedError
from ...problem import Problem
from .data import batches
from .running import Runner, seed_everything
from .state import preserved, reach

Array = NDArray[np.float64]
_MOST_HELD = 200


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """The same numbers as an array; bfloat16, which NumPy lacks, becomes float32."""
    plain = tensor.detach().cpu()
    return (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy()


def like_tensor(values: Array, like: torch.Tensor) -> torch.Tensor:
    """A fresh float64 tensor of these values on the device of `like`."""
    return torch.tensor(values, dtype=torch.float64, device=like.device)


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaf:
    """One tensor that is checked: a parameter is written in place, an input is handed over as a copy."""

    name: str
    tensor: torch.Tensor
    is_parameter: bool

    def copy_of(self, values: Array, *, dtype: torch.dtype) -> torch.Tensor:
        """The values as a leaf with the strides of the user's tensor."""
        fresh = torch.empty_like(self.tensor, dtype=dtype, requires_grad=False)
        fresh.copy_(torch.from_numpy(values))
        return fresh.requires_grad_()


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What the user gave, opened: what it holds, the tensors to check, and how to call it with copies of the inputs."""

    roots: tuple[Any, ...]
    leaves: tuple[Leaf, ...]
    call: Callable[[list[torch.Tensor], Callable[[Any], Any]], Any]
    constants: tuple[torch.Tensor, ...]
    dtype: torch.dtype
    """The coarsest floating-point type among the leaves, before any replay."""


def opened(f: Any, inputs: Sequence[Any], *, names: Sequence[str], seed: int) -> Subject:
    """Read what `check_gradients` was given.

    Raises
    ------
    ArgumentError, ProblemError, DataError
        When there is nothing to differentiate by, or it is no function of tensors.
    """
    if isinstance(f, Problem):
        return _problem(f, inputs, seed)
    parameters = (
        [Leaf(name=n, tensor=p, is_parameter=True) for n, p in f.named_parameters() if p.requires_grad]
        if isinstance(f, nn.Module)
        else []
    )
    places = [i for i, x in enumerate(inputs) if isinstance(x, torch.Tensor) and x.is_floating_point()]
    leaves = [Leaf(name=names[i], tensor=inputs[i], is_parameter=False) for i in places] + parameters
    for leaf in leaves:
        _refuse(leaf)
    if not leaves:
        raise ArgumentError(
            "there is no tensor that requires a gradient: pass floating-point tensors as inputs, or a module with parameters"
        )

    def call(fresh: list[torch.Tensor], cast: Callable[[Any], Any]) -> Any:
        arguments = [tree_map(lambda v: _copied(v, cast), x) for x in inputs]
        for i, tensor in zip(places, fresh, strict=True):
            # A clone, so that the function may write into its argument.
            arguments[i] = tensor.clone()
        return f(*arguments)

    held = tuple(x for x in inputs if isinstance(x, torch.Tensor))
    return Subject(
        roots=(f, *_hidden_roots(f)), leaves=tuple(leaves), call=call, constants=held, dtype=_coarsest(leaves)
    )


def _hidden_roots(f: Any) -> Iterator[Any]:
    """What takes part and `reach` does not enter: the autograd.Functions that a function names, and the tensors of plain objects."""
    waiting, seen = [f], set()
    while waiting and len(seen) < _MOST_HELD:
        holder = waiting.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        for value in _named_by(holder):
            if isinstance(value, type) and issubclass(value, torch.autograd.Function):
                yield from (value.forward, value.backward)
                waiting += [value.forward, value.backward]
            elif isinstance(value, FunctionType | MethodType):
                waiting.append(value)
            elif (
                type(value).__module__ != "builtins"
                and not callable(value)
                and not isinstance(value, ModuleType)
                and hasattr(value, "__dict__")
            ):
                # a container, which `reach` enters
                yield [
                    v
                    for v in vars(value).values()
                    if isinstance(v, torch.Tensor | nn.Module | tuple | list | dict)
                ]


def _named_by(holder: Any) -> Iterator[Any]:
    """What the cells and global names of a function hold."""
    inner = getattr(holder, "__func__", holder)
    code = getattr(inner, "__code__", None)
    if code is None:
        return
    for name in code.co_names:
        if name in inner.__globals__:
            yield inner.__globals__[name]
    for cell in inner.__closure__ or ():
        with suppress(ValueError):  # a cell not filled yet
            yield cell.cell_contents


def _copied(value: Any, cast: Callable[[Any], Any]) -> Any:
    return cast(value.detach().clone()) if isinstance(value, torch.Tensor) else value


def _coarsest(leaves: Sequence[Leaf]) -> torch.dtype:
    return max((leaf.tensor.dtype for leaf in leaves), key=lambda dtype: torch.finfo(dtype).eps)


def _refuse(leaf: Leaf) -> None:
    if leaf.tensor.numel() == 0:
        raise ArgumentError(
            f"input {leaf.name} is empty (shape {tuple(leaf.tensor.shape)}): expected at least one element"
        )
    bad = int((~torch.isfinite(leaf.tensor.detach())).sum())
    if bad:
        raise ArgumentError(f"{leaf.name} holds {bad} values that are not finite: expected finite ones")


def _problem(problem: Problem, inputs: Sequence[Any], seed: int) -> Subject:
    if inputs:
        raise ArgumentError(
            f"{len(inputs)} inputs beside a Problem: it brings its own data, so pass the Problem alone"
        )
    runner = Runner(problem)
    if not runner.trainable:
        raise ProblemError("the model has no parameter that requires a gradient: there is nothing to check")
    batch = batches(problem.train, count=1, seed=seed, has_loss=problem.loss is not None)[0].to(runner.device)
    leaves = tuple(Leaf(name=n, tensor=p, is_parameter=True) for n, p in runner.trainable.items())
    for leaf in leaves:
        _refuse(leaf)

    def call(fresh: list[torch.Tensor], cast: Callable[[Any], Any]) -> Any:
        runner.train_mode()
        targets = tree_map(lambda v: _copied(v, cast), batch.targets)
        ready = type(batch)(
            args=tree_map(lambda v: _copied(v, cast), batch.args),
            kwargs=tree_map(lambda v: _copied(v, cast), batch.kwargs),
            targets=targets,
        )
        loss = runner.evaluate(ready).loss
        if loss is None:
            raise ProblemError("the problem has no loss: give one, or a model that returns its own")
        return loss

    return Subject(
        roots=(problem.model, problem.loss),
        leaves=leaves,
        call=call,
        constants=batch.tensors,
        dtype=_coarsest(leaves),
    )


class TorchObjective:
    """See `wellposed.gradcheck.objective.Objective`. Lives inside `checking`, which gives everything back."""

    def __init__(self, subject: Subject, *, seed: int, replay: bool) -> None:
        self._subject, self._seed, self._replay = subject, seed, replay
        self.names = tuple(leaf.name for leaf in subject.leaves)
        self.points = tuple(leaf.tensor.detach().cpu().double().numpy().copy() for leaf in subject.leaves)
        self.dtypes = tuple(torch.float64 if replay else leaf.tensor.dtype for leaf in subject.leaves)
        own = str(subject.dtype).removeprefix("torch.")
        self.precision = f"float64 replay of {own}" if replay and own != "float64" else own
        self.roundoff = max(torch.finfo(d).eps for d in self.dtypes) / 2
        sizes = [*subject.constants, *reach(subject.roots).tensors]
        self.batch_sizes = frozenset(int(t.shape[0]) for t in sizes if t.ndim) | {
            int(t.numel()) for t in sizes if t.ndim
        }
        self.n_forward = self.n_backward = 0
        self.detached = False
        self._output_noise = 0.0
        self._weights: dict[int, torch.Tensor] = {}
        self.centre, self.gradients = self._value_and_gradients(self.points)

    def floor(self) -> float:
        return self._output_noise

    def quantized(self, index: int, values: Array) -> Array:
        dtype = self.dtypes[index]
        return values if dtype is torch.float64 else torch.from_numpy(values).to(dtype).double().numpy()

    def value(self, points: Sequence[Array]) -> float:
        self.n_forward += 1
        with preserved(*self._subject.roots), _default_dtype(self._replay):
            return float(self._scalar(self._run(self._placed(points))).detach())

    def gradients_at(self, points: Sequence[Array]) -> tuple[Array, ...]:
        return self._value_and_gradients(points)[1]

    def _value_and_gradients(self, points: Sequence[Array]) -> tuple[float, tuple[Array, ...]]:
        self.n_forward += 1
        self.n_backward += 1
        with preserved(*self._subject.roots), _default_dtype(self._replay):
            leaves = self._placed(points)
            outputs = self._run(leaves)
            total = self._scalar(outputs)
            self._output_noise = self._rounding(outputs)
            value = float(total.detach())
            if not np.isfinite(value):
                raise ArgumentError(
                    f"f returned a value that is not finite ({value}) at these inputs: expected finite outputs"
                )
            self.detached = not total.requires_grad
            found = [None] * len(leaves) if self.detached else self._backward(total, leaves)
        return value, tuple(
            np.zeros(tuple(leaf.shape)) if g is None else g.detach().cpu().to_dense().double().numpy().copy()
            for g, leaf in zip(found, leaves, strict=True)
        )

    def _backward(self, total: torch.Tensor, leaves: list[torch.Tensor]) -> Sequence[torch.Tensor | None]:
        try:
            found = torch.autograd.grad(total, leaves, allow_unused=True)
        except Exception as error:
            raise UserCodeError(f"the backward pass raised {type(error).__name__}: {error}") from error
        for name, g in zip(self.names, found, strict=True):
            if g is not None and not bool(torch.isfinite(g).all()):
                raise ArgumentError(
                    f"the gradient of {name} holds values that are not finite, while f is finite there"
                )
        return found

    def _placed(self, points: Sequence[Array]) -> list[torch.Tensor]:
        placed = []
        for leaf, values, dtype in zip(self._subject.leaves, points, self.dtypes, strict=True):
            if leaf.is_parameter:
                leaf.tensor.data.copy_(torch.from_numpy(values))
                placed.append(leaf.tensor)
            else:
                placed.append(leaf.copy_of(values, dtype=dtype))
        return placed

    def _run(self, leaves: list[torch.Tensor]) -> list[torch.Tensor]:
        fresh = [t for t, leaf in zip(leaves, self._subject.leaves, strict=True) if not leaf.is_parameter]
        try:
            returned = self._subject.call(fresh, _to_double if self._replay else lambda v: v)
        except WellposedError:
            raise
        except Exception as error:
            raise UserCodeError(f"f raised {type(error).__name__}: {error}") from error
        values = tree_flatten(dict(returned) if hasattr(returned, "to_tuple") else returned)[0]
        outputs = [
            v for v in values if isinstance(v, torch.Tensor) and (v.is_floating_point() or v.is_complex())
        ]
        if not outputs:
            raise ArgumentError(
                f"f returned {type(returned).__name__}: expected a floating-point tensor, or several"
            )
        return outputs

    def _scalar(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for i, y in enumerate(outputs):
            if y.is_complex():
                raise ArgumentError("f returned a complex tensor: return torch.view_as_real of it")
            total = total + (self._weight(i, y, alone=len(outputs) == 1) * y.double()).sum().cpu()
        return total

    def _weight(self, i: int, y: torch.Tensor, *, alone: bool) -> torch.Tensor:
        """What an output counts in F: 1 for a lone number, else fixed random numbers of either sign that bfloat16 holds exactly."""
        if alone and y.numel() == 1:
            return torch.ones((), dtype=torch.float64, device=y.device)
        if i not in self._weights:
            rng = np.random.default_rng((self._seed, i))
            values = rng.choice((-1, 1), size=y.shape) * rng.integers(32, 97, size=y.shape) / 64
            self._weights[i] = torch.tensor(values, dtype=torch.float64, device=y.device)
        if self._weights[i].shape != y.shape:
            raise ArgumentError(
                f"output {i} of f changed its shape between two calls: expected the same shape each time"
            )
        return self._weights[i]

    def _rounding(self, outputs: list[torch.Tensor]) -> float:
        """Standard deviation of the outputs' rounding in F: each is uniform over one unit in its last place."""
        parts = [
            torch.finfo(y.dtype).eps
            * (self._weight(i, y, alone=len(outputs) == 1) * y.detach().double()).norm().item()
            for i, y in enumerate(outputs)
        ]
        return float(np.sqrt(np.sum(np.square(parts)) / 12))


@contextmanager
def checking(subject: Subject, *, seed: int, replay: bool) -> Iterator[TorchObjective]:
    """The subject as an objective, in float64 where `replay` says so; everything is as it was on the way out."""
    with preserved(*subject.roots), ExitStack() as undo:
        seed_everything(seed)
        if replay:
            _cast_in_place(subject, undo)
        yield TorchObjective(subject, seed=seed, replay=replay)


def needs_replay(subject: Subject) -> bool:
    """Whether anything in play is coarser than float64."""
    tensors = (
        [leaf.tensor for leaf in subject.leaves] + reach(subject.roots).tensors + list(subject.constants)
    )
    return any(t.is_floating_point() and t.dtype is not torch.float64 for t in tensors)


def _cast_in_place(subject: Subject, undo: ExitStack) -> None:
    """Everything that the subject holds, in float64, until `undo`: a gradient is given back to a tensor of its own type only."""
    for tensor in reach(subject.roots).tensors:
        if tensor.is_floating_point():
            undo.callback(setattr, tensor, "data", tensor.data)
            tensor.data = tensor.data.double()


def _to_double(value: torch.Tensor) -> torch.Tensor:
    return value.double() if value.is_floating_point() else value


@contextmanager
def _default_dtype(replay: bool) -> Iterator[None]:
    """While replaying, tensors that the function makes are float64 too."""
    before = torch.get_default_dtype()
    if replay:
        torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
