"""The arguments of a check, read: a torch function, module or problem, and the tensors by which it is differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map, tree_unflatten

from ...errors import ArgumentError, DataError, ProblemError
from ...problem import Problem
from ...runtime.reachable import reach
from ...runtime.torch.batch import Batch
from ...runtime.torch.batches import batches
from ...runtime.torch.doors import opened
from ...runtime.torch.problem_forms import read_problem
from ...runtime.torch.restore import modules_of, preserved, refuse_sharded
from ...runtime.torch.session import Runner, TakesBatch, kind_of_loss, own_loss
from .per_sample_loss import LossForms, PerSampleLoss

Cast = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedTensor:
    """One tensor that is checked: a parameter is moved in place, an input is handed over as a copy."""

    name: str
    tensor: torch.Tensor
    is_parameter: bool
    padding_row: int | None = None
    """A row that is not moved: the padding of an embedding, whose look-ups have no gradient by definition."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckedFunction:
    """What the user gave: the objects that it reaches, the tensors to check, and how to call it."""

    roots: tuple[Any, ...]
    leaves: tuple[CheckedTensor, ...]
    call: Callable[[Sequence[torch.Tensor], Cast], Any]
    """Takes one tensor for each checked one, which for a parameter is the parameter itself, and a function that casts the constants."""
    constants: tuple[torch.Tensor, ...]
    dtype: torch.dtype
    """The coarsest dtype of the checked tensors, before any replay."""
    order: int = 1
    remarks: tuple[str, ...] = ()
    """What is left out of the check, and why."""
    given_upstream: bool = False
    """The function supplies the upstream gradient itself, as when a recorded one is replayed."""


def is_real_or_complex(value: Any) -> bool:
    """Whether it is a tensor that has a derivative; eight-bit floats are for storage and have none."""
    return isinstance(value, torch.Tensor) and (
        value.is_complex() or (value.is_floating_point() and value.element_size() > 1)
    )


def open_function(f: Any, inputs: Sequence[Any], *, names: Sequence[str], seed: int) -> CheckedFunction:
    """Read what `check_gradients` was given.

    Raises
    ------
    ArgumentError, ProblemError, DataError
        When there is nothing to differentiate by, or it is no function of tensors.
    """
    if isinstance(f, Problem):
        return _problem(f, inputs, seed)
    arguments = _Arguments(inputs, names)
    parameters = tuple(_parameters(f, alone=not arguments.leaves))
    leaves = (*_apart(arguments.leaves, parameters), *parameters)
    if not leaves:
        raise ArgumentError(
            "there is no tensor that requires a gradient: pass floating-point tensors as inputs, or a module with parameters"
        )

    def call(placed: Sequence[torch.Tensor], cast: Cast) -> Any:
        return f(*arguments.fresh(placed, cast))

    return CheckedFunction(
        roots=(f, *arguments.objects),
        leaves=usable(leaves),
        call=call,
        constants=arguments.tensors,
        dtype=coarsest(leaves),
        remarks=arguments.remarks,
        given_upstream=getattr(f, "given_upstream", False),
    )


def _holds_infinities(tensor: torch.Tensor) -> bool:
    values = tensor.detach()
    return (
        tensor.layout is torch.strided
        and not tensor.is_meta
        and bool(torch.isinf(values).any())
        and not bool(torch.isnan(values).any())
    )


def _apart(inputs: Sequence[CheckedTensor], parameters: Sequence[CheckedTensor]) -> Iterator[CheckedTensor]:
    """The inputs, renamed where a parameter has the same name."""
    taken = {leaf.name for leaf in parameters}
    for leaf in inputs:
        yield replace(leaf, name=f"input {leaf.name}") if leaf.name in taken else leaf


class _Arguments:
    """The inputs as a tree: its floating-point tensors are checked, everything else is constant.

    Where some of them require a gradient, the others are constants too.
    """

    def __init__(self, inputs: Sequence[Any], names: Sequence[str]) -> None:
        entries, self._tree = tree_flatten_with_path(list(inputs))
        self._values = [value for _, value in entries]
        real = [i for i, v in enumerate(self._values) if is_real_or_complex(v)]
        real = [i for i in real if self._values[i].numel()] or real  # an empty one has no derivative to check
        wanted = [i for i in real if self._values[i].requires_grad] or real
        open_ended = [i for i in wanted if _holds_infinities(self._values[i])]
        self._places = [i for i in wanted if i not in open_ended] or wanted
        idle = [_named(entries[i][0], names) for i in real if i not in wanted]
        self.remarks = tuple(
            f"{name} does not require a gradient, as others do, and is taken for a constant" for name in idle
        ) + tuple(
            f"{_named(entries[i][0], names)} holds infinities, as a mask does, and is taken for a constant"
            for i in open_ended
            if i not in self._places
        )
        self.leaves = tuple(
            CheckedTensor(
                name=_named(entries[i][0], names),
                tensor=self._values[i],
                is_parameter=False,
            )
            for i in self._places
        )
        self.tensors = tuple(v for v in self._values if isinstance(v, torch.Tensor))
        self.objects = tuple(
            v for v in self._values if hasattr(v, "__dict__") and not isinstance(v, torch.Tensor | type)
        )

    def fresh(self, placed: Sequence[torch.Tensor], cast: Cast) -> list[Any]:
        """New arguments that the function may write into; the inputs come first among the placed tensors."""
        checked = set(self._places)
        values = [
            cast(v.detach().clone()) if isinstance(v, torch.Tensor) and i not in checked else v
            for i, v in enumerate(self._values)
        ]
        for i, tensor in zip(self._places, placed, strict=False):
            values[i] = as_given(tensor, self._values[i])
        return tree_unflatten(values, self._tree)


def _named(path: Sequence[Any], names: Sequence[str]) -> str:
    """``x``, or ``batch['x']`` and ``inputs[0][1]`` where an input is a tree."""
    return str(names[path[0].idx]) + keystr(tuple(path[1:]))


def as_given(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A copy with the memory layout of the user's tensor, since bugs of kernels may depend on strides and lazy conjugates; not a leaf of autograd."""
    lazy = like.is_conj()
    if _can_be_written(like):
        fresh = torch.empty_strided(like.shape, like.stride(), dtype=values.dtype, device=values.device)
        if _extent(like) > like.numel():
            fresh.as_strided((_extent(like),), (1,)).zero_()
    else:
        fresh = torch.empty(like.shape, dtype=values.dtype, device=values.device)
    fresh.copy_(values.conj() if lazy else values)
    return fresh.conj() if lazy else fresh


_LONGEST_GAPS = 64


def _can_be_written(like: torch.Tensor) -> bool:
    """Whether each element has memory of its own, unlike in an expanded tensor, without large gaps between them."""
    reached = 1
    for stride, size in sorted((s, n) for s, n in zip(like.stride(), like.shape, strict=True) if n > 1):
        if stride < reached:
            return False
        reached += (size - 1) * stride
    return reached <= _LONGEST_GAPS * like.numel()


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether each element has memory of its own, without gaps."""
    return _can_be_written(tensor) and _extent(tensor) == tensor.numel()


def _extent(like: torch.Tensor) -> int:
    return 1 + sum((n - 1) * s for s, n in zip(like.stride(), like.shape, strict=True))


def _parameters(f: Any, *, alone: bool) -> Iterator[CheckedTensor]:
    """The trainable parameters of a module, of a method's module, or of a plain object around modules.

    A function is checked by its inputs; only where it has none, by the parameters of the modules that it uses.
    """
    owner = getattr(f, "__self__", f)
    refuse_sharded(f)
    modules = modules_of(f)
    if isinstance(owner, nn.Module):
        named = list(owner.named_parameters())
    elif alone or not isinstance(f, FunctionType):
        named = _of_modules(modules)
    else:
        named = []
    padding = _padding(modules) if named else {}
    for name, parameter in named:
        if parameter.requires_grad:
            yield CheckedTensor(
                name=name, tensor=parameter, is_parameter=True, padding_row=padding.get(id(parameter))
            )


def _padding(modules: Sequence[nn.Module]) -> dict[int, int]:
    """By the identity of an embedding's weights, the row that stands for padding."""
    found = {}
    for module in modules:
        row = module.padding_idx if isinstance(module, nn.Embedding | nn.EmbeddingBag) else None
        if row is not None:
            found[id(module.weight)] = row
    return found


def _of_modules(modules: Sequence[nn.Module]) -> list[tuple[str, nn.Parameter]]:
    inside = {child for m in modules for child in m.children()}
    tops = [m for m in modules if m not in inside]
    named: dict[int, tuple[str, nn.Parameter]] = {}
    for k, top in enumerate(tops):
        prefix = f"{type(top).__name__.lower()}{k}." if len(tops) > 1 else ""
        for name, parameter in top.named_parameters():
            named.setdefault(id(parameter), (prefix + name, parameter))
    return list(named.values())


def coarsest(leaves: Sequence[CheckedTensor]) -> torch.dtype:
    kind = max((leaf.tensor.dtype for leaf in leaves), key=lambda dtype: torch.finfo(dtype).eps)
    return kind.to_real() if kind.is_complex else kind


def usable(leaves: Sequence[CheckedTensor]) -> tuple[CheckedTensor, ...]:
    """The tensors, or an error that names the first one that cannot be moved."""
    for leaf in leaves:
        tensor = leaf.tensor
        if tensor.layout is not torch.strided or tensor.is_nested:
            raise ArgumentError(
                f"{leaf.name} is a {'nested' if tensor.is_nested else tensor.layout} tensor: expected a dense one, as .to_dense() gives"
            )
        if tensor.is_meta:
            raise ArgumentError(f"{leaf.name} is on the meta device, which holds no numbers")
        if tensor.numel() == 0:
            raise ArgumentError(
                f"input {leaf.name} is empty (shape {tuple(tensor.shape)}): expected at least one element"
            )
        bad = int((~torch.isfinite(tensor.detach())).sum())
        if bad:
            raise ArgumentError(
                f"input {leaf.name} holds {bad} values that are not finite: expected finite ones"
            )
    return tuple(leaves)


def _problem(problem: Problem, inputs: Sequence[Any], seed: int) -> CheckedFunction:
    if inputs:
        raise ArgumentError(
            f"{len(inputs)} inputs beside a Problem: it brings its own data, so pass the Problem alone"
        )
    refuse_sharded(problem.model, problem.loss)
    problem = read_problem(opened(problem))
    runner = Runner(problem)
    if not runner.trainable:
        raise ProblemError("the model has no parameter that requires a gradient: there is nothing to check")
    with preserved(data={"train": problem.train}):
        drawn = batches(problem.train, count=1, seed=seed, has_loss=kind_of_loss(problem))
        batch = drawn[0].copied().to(runner.device)
    padding = _padding(modules_of(problem.model))
    leaves = [
        CheckedTensor(name=n, tensor=p, is_parameter=True, padding_row=padding.get(id(p)))
        for n, p in runner.trainable.items()
    ]
    per_sample = PerSampleLoss(problem.loss)

    def call(placed: Sequence[torch.Tensor], cast: Cast) -> Any:
        del placed  # all are parameters, which the model holds itself
        runner.train_mode()
        ready = _cast_batch(batch, cast)
        outputs = runner.outputs(ready)
        return LossForms(
            plain=lambda: _loss(runner, outputs, ready),
            each=lambda: per_sample.losses(outputs, ready.targets),
            factors=lambda each: per_sample.factors(each, ready.targets),
        )

    return CheckedFunction(
        roots=(problem.model, problem.loss),
        leaves=usable(leaves),
        call=call,
        constants=(*batch.tensors, *_tensors(batch.targets)),
        dtype=coarsest(leaves),
    )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    for entry in tree_flatten_with_path(value)[0]:
        if isinstance(entry[1], torch.Tensor):
            yield entry[1]


def _cast_batch(batch: Batch, cast: Cast) -> Batch:
    def copied(value: Any) -> Any:
        return cast(value.detach().clone()) if isinstance(value, torch.Tensor) else value

    return replace(
        batch,
        args=tree_map(copied, batch.args),
        kwargs=tree_map(copied, batch.kwargs),
        targets=tree_map(copied, batch.targets),
    )


def _loss(runner: Runner, outputs: Any, batch: Batch) -> torch.Tensor:
    if runner.problem.loss is None:
        loss = own_loss(outputs)
        if loss is None:
            raise ProblemError("the problem has no loss: give one, or a model that returns its own")
        return loss
    if batch.targets is None and not isinstance(runner.problem.loss, TakesBatch):
        raise DataError(
            "train gives batches without targets, and the loss needs them: give pairs (inputs, targets)"
        )
    return runner.loss_of(outputs, batch)


def needs_replay(function: CheckedFunction) -> bool:
    """Whether any tensor that takes part is coarser than float64."""
    tensors = (
        [leaf.tensor for leaf in function.leaves] + reach(function.roots).tensors + list(function.constants)
    )
    return any(is_real_or_complex(t) and t.dtype not in (torch.float64, torch.complex128) for t in tensors)


def in_double(value: torch.Tensor) -> torch.Tensor:
    """The same numbers in float64 or complex128; anything else as it is."""
    return value.to(double_of(value.dtype)) if is_real_or_complex(value) else value


def double_of(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64
