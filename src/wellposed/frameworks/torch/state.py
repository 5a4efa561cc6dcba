"""The scope in which a model may be run, trained and broken, and that leaves no trace.

Every tensor is lent a scratch copy for the duration, so the user's own storage is never written: whatever happens
inside (an exception, Ctrl-C), giving the storage back restores it bit for bit.
"""

from __future__ import annotations

import copy
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ...errors import ProblemError
from .keeping import CONTAINER_DEPTH, CONTAINER_SIZE, CONTAINERS, keep_generators, keep_python_state

_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_LIBRARIES = frozenset({"torch", "numpy", "builtins", "wellposed", ""})
_DATA = (torch.utils.data.DataLoader, torch.utils.data.Dataset, torch.utils.data.Sampler)


@contextmanager
def preserved(*roots: Any, cast: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Iterator[None]:
    """Restore everything that the roots hold, and every random state, on the way out.

    Parameters
    ----------
    *roots
        Modules, optimizers, loss functions, datasets: what is reachable from them through attributes, closures,
        partials and bound methods is preserved: parameters, buffers, gradients, flags, hooks, plain attributes,
        generators, optimizer state.
    cast
        What the tensors hold meanwhile, made of what they held; None for copies.
    """
    found = reach(roots)
    with ExitStack() as undo:
        _keep_random_states(undo)
        keep_generators(undo, found.generators)
        keep_python_state(undo, found)
        for optimizer in found.optimizers:
            _lend_optimizer_state(undo, optimizer)
        # Before any storage is lent: copies made in inference mode could not be differentiated.
        undo.enter_context(torch.inference_mode(False))
        _lend_storage(undo, found.tensors, cast or _same)
        undo.enter_context(torch.enable_grad())
        yield


class Reached:
    """What a walk from the roots found, each object once."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        self.owners: list[Any] = []
        self.containers: list[Any] = []
        """Those that a function holds or names: an owner's own are kept with it."""
        self.functions: list[FunctionType] = []
        self.classes: list[type] = []
        self.tensors: list[torch.Tensor] = []
        self.generators: list[Any] = []
        self._seen: dict[int, Any] = {}

    def first_visit(self, value: Any) -> bool:
        if id(value) in self._seen:
            return False
        self._seen[id(value)] = value
        return True


def reach(roots: Iterable[Any]) -> Reached:
    """Walk from the roots to every module, optimizer, tensor and generator that running them could touch."""
    found = Reached()
    for root in roots:
        if isinstance(root, CONTAINERS):
            found.containers.append(root)
        _walk(root, found, depth=0)
    return found


def modules_of(*roots: Any) -> tuple[nn.Module, ...]:
    """Every module that the roots use: themselves, their children, and what their closures hold."""
    return tuple(reach(roots).modules)


def _walk(value: Any, found: Reached, depth: int) -> None:
    if isinstance(value, torch.Tensor):
        if found.first_visit(value):
            _refuse_sharded(value)
            found.tensors.append(value)
            for part in _parts(value):
                _walk(part, found, depth)
            for hook in list((value._backward_hooks or {}).values()):  # what a hook fills is the user's
                _walk(hook, found, depth + 1)
    elif isinstance(value, nn.Module):
        _walk_module(value, found)
    elif isinstance(value, torch.optim.Optimizer):
        _walk_optimizer(value, found)
    elif isinstance(value, _GENERATORS) and not isinstance(
        value, random.SystemRandom
    ):  # that one has no state
        if found.first_visit(value):
            found.generators.append(value)
    elif isinstance(value, (*CONTAINERS, tuple)):
        if depth < CONTAINER_DEPTH and len(value) <= CONTAINER_SIZE and found.first_visit(value):
            for item in value.values() if isinstance(value, dict) else value:
                _walk(item, found, depth + 1)
    elif isinstance(value, _DATA):
        if found.first_visit(value):
            found.owners.append(value)
            for item in vars(value).values():
                if isinstance(
                    item, _DATA + _GENERATORS
                ):  # the rows are read, never written: no need to copy them
                    _walk(item, found, depth + 1)
    elif _is_plain_object(value) and depth < CONTAINER_DEPTH and found.first_visit(value):
        found.owners.append(value)
        for held in vars(value).values():
            _walk(held, found, depth + 1)
    elif isinstance(value, type):
        if _is_users(value) and found.first_visit(value):
            found.classes.append(value)
            for name, held in vars(value).items():
                if not name.startswith("__") and not isinstance(
                    held, FunctionType | staticmethod | classmethod
                ):
                    _walk(held, found, depth + 1)
    elif callable(value) and found.first_visit(value):
        inner = getattr(value, "__func__", value)
        if isinstance(inner, FunctionType) and _is_users(inner):
            found.functions.append(inner)
        for held in _held_by(value):
            if isinstance(held, CONTAINERS):
                found.containers.append(held)
            _walk(held, found, depth + 1)


def _refuse_sharded(tensor: torch.Tensor) -> None:
    """Refuse what is sharded over processes, before anything is lent.

    Its numbers are also held by what gathers them for a forward pass, which would go on reading the user's own.
    """
    distributed = sys.modules.get("torch.distributed.tensor")
    if distributed is not None and isinstance(tensor, distributed.DTensor):
        raise ProblemError(
            "the model's parameters are sharded (DTensors, as fully_shard and distribute_module make them): "
            "check the model before it is sharded"
        )


def _parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The plain tensors that hold the numbers of a wrapper, such as a quantised tensor; none of a plain one."""
    if not is_traceable_wrapper_subclass(tensor):
        return []
    names, _ = tensor.__tensor_flatten__()
    return [getattr(tensor, name) for name in names]


def _is_plain_object(value: Any) -> bool:
    """An object of the user's own class: not a function, a class or a module of code."""
    kinds = (type, ModuleType, FunctionType, MethodType, partial, torch.dtype, torch.device)
    return hasattr(value, "__dict__") and not isinstance(value, kinds)


def _walk_module(module: nn.Module, found: Reached) -> None:
    for child in module.modules():
        if not found.first_visit(child):
            continue
        if any(torch.nn.parameter.is_lazy(p) for p in child._parameters.values() if p is not None):
            raise ProblemError(
                f"the model has a lazy layer without weights ({type(child).__name__}): call model(batch) once before the check"
            )
        found.modules.append(child)
        found.owners.append(child)
        for value in vars(child).values():
            _walk(value, found, depth=0)


def _walk_optimizer(optimizer: torch.optim.Optimizer, found: Reached) -> None:
    if not found.first_visit(optimizer):
        return
    found.optimizers.append(optimizer)
    found.owners.append(optimizer)
    for group in optimizer.param_groups:
        _walk(list(group.values()), found, depth=0)


def _held_by(function: Any) -> Iterator[Any]:
    """What a callable holds: closure cells, defaults, bound self, partial arguments, attributes, globals it names."""
    if isinstance(function, partial):
        yield from (function.func, *function.args, *function.keywords.values())
        return
    if getattr(function, "__self__", None) is not None and not isinstance(function.__self__, type(sys)):
        yield function.__self__
    inner = getattr(function, "__func__", function)
    code = getattr(inner, "__code__", None)
    if code is None:
        yield from getattr(function, "__dict__", {}).values()
        return
    yield from inner.__defaults__ or ()
    for cell in inner.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a cell not filled yet
            continue
    for name in code.co_names:
        held = inner.__globals__.get(name)
        if isinstance(held, (nn.Module, torch.Tensor, partial, FunctionType, *_GENERATORS)) or (
            isinstance(held, CONTAINERS) and _is_users(inner)
        ):
            yield held


def _is_users(value: Any) -> bool:
    """Whether a function or class was written outside Python, torch and NumPy, whose own state is not the user's."""
    package = (getattr(value, "__module__", None) or "").partition(".")[0]
    return (package not in _LIBRARIES and package not in sys.stdlib_module_names) or package == "__main__"


def _keep_random_states(undo: ExitStack) -> None:
    undo.callback(random.setstate, random.getstate())
    undo.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002 - it is the state to keep
    undo.callback(torch.random.set_rng_state, torch.random.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        undo.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())


def _lend_optimizer_state(undo: ExitStack, optimizer: torch.optim.Optimizer) -> None:
    lent: defaultdict[Any, Any] = defaultdict(dict)
    for parameter, state in optimizer.state.items():
        lent[parameter] = copy.deepcopy(state)
    optimizer.state = lent  # the attribute itself is given back by _keep_attributes


def _same(data: torch.Tensor) -> torch.Tensor:
    return data


def _lend_storage(
    undo: ExitStack, tensors: list[torch.Tensor], cast: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Point every tensor at a copy of its storage; tensors that share a storage go on sharing the copy, unless they are cast."""
    copies: dict[int, torch.UntypedStorage] = {}
    for tensor in tensors:
        if tensor.is_leaf:
            undo.callback(setattr, tensor, "grad", tensor.grad)
            tensor.grad = None
        # An optimizer that steps in such a hook must not step here. An empty dict, since None would leave the hooks called;
        # torch's stub names the attribute without a setter's type.
        if getattr(tensor, "_post_accumulate_grad_hooks", None):
            undo.callback(setattr, tensor, "_post_accumulate_grad_hooks", tensor._post_accumulate_grad_hooks)
            tensor._post_accumulate_grad_hooks = {}  # type: ignore[assignment]
        # Given back before the gradient, which must fit the tensor's own type.
        version = None if tensor.is_inference() else tensor._version
        undo.callback(_restore_tensor, tensor, tensor.data, tensor.requires_grad, version)
        if is_traceable_wrapper_subclass(tensor):
            if cast is not _same:
                raise ProblemError(
                    f"the model holds a {type(tensor).__name__}, which cannot be cast to another type: give plain tensors"
                )
            continue  # its parts are lent
        lent = cast(tensor.data)
        tensor.data = lent if lent.dtype != tensor.dtype else _scratch(tensor, copies)


def _scratch(tensor: torch.Tensor, copies: dict[int, torch.UntypedStorage]) -> torch.Tensor:
    if tensor.layout is not torch.strided or type(tensor.data) is not torch.Tensor or tensor.is_meta:
        return tensor.data.clone()
    storage = tensor.untyped_storage()
    if storage.data_ptr() not in copies:
        copies[storage.data_ptr()] = storage.clone()
    scratch = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return scratch.set_(copies[storage.data_ptr()], tensor.storage_offset(), tensor.size(), tensor.stride())


def _restore_tensor(
    tensor: torch.Tensor, data: torch.Tensor, requires_grad: bool, version: int | None
) -> None:
    tensor.data = data
    if tensor.requires_grad != requires_grad:
        tensor.requires_grad_(requires_grad)
    # Steps inside the scope count as in-place changes, and would spoil a graph that the user built before the check.
    if version is not None:
        torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))  # pyright: ignore[reportAttributeAccessIssue]
