"""The scope for torch: every tensor is lent a scratch copy, so the user's own storage is never written.

Whatever happens inside, giving the storage back restores it bit for bit. Everything else that is reached is kept as `runtime.scope` says.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_modules
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ...errors import ProblemError
from ...problem import Problem
from ..reachable import Reached, reach
from ..scope import RANDOM_STATES, SWITCHES, Scope, Setting
from .sharded import fully_sharded, is_sharded, unshard

Cast = Callable[[torch.Tensor], torch.Tensor]
_SHARDED = (
    "the model's parameters are sharded (DTensors, as fully_shard and distribute_module make them): "
    "check the model before it is sharded"
)
MOST_DATA_TENSORS = 10_000
MOST_DATA_BYTES = 1 << 28
"""Of tensors found in the data alone: more are not copied, but watched by their version."""


def preserved(
    *roots: Any, data: Mapping[str, Any] | None = None, cast: Cast | None = None, in_place: bool = False
) -> TorchScope:
    """A scope that restores everything that the roots reach, and every random state, on the way out.

    Parameters
    ----------
    *roots
        Modules, optimizers, loss functions, or dicts of them by name: parameters, buffers, gradients, flags, hooks, attributes, globals,
        generators, optimizer state, whatever running them could touch.
    data
        Data sets and loaders by name.
    cast
        What the tensors hold meanwhile, made of what they held; None for copies.
    in_place
        Inside another scope: tensors that hold what the user's own do are written where they are, and read back from those, which
        saves a copy. No graph that was built before may be differentiated inside.
    """
    named = {f"{type(root).__name__}{i or ''}": root for i, root in enumerate(roots)}
    return TorchScope(named, data=data, cast=cast, in_place=in_place)


def preserved_problem(problem: Problem, *, says: bool = True) -> TorchScope:
    """The scope for all parts of a problem."""
    return TorchScope(
        {"model": problem.model, "loss": problem.loss, "optimizer": problem.optimizer},
        data={"train": problem.train, "validation": problem.validation},
        says=says,
    )


def modules_of(*roots: Any) -> tuple[nn.Module, ...]:
    """Every module that takes part: the roots, their children, and what their closures and attributes hold."""
    reached = reach(roots, wide=False)
    _refuse_unusable(reached)
    return tuple(reached.of(nn.Module))


def refuse_sharded(*roots: Any) -> None:
    """Refuse, before anything is done, what is sharded: for what copies a model or writes to it."""
    if fully_sharded(reach(roots, wide=False)):
        raise ProblemError(_SHARDED)


class TorchScope(Scope):
    """As `preserved` says."""

    def __init__(
        self, roots: Mapping[str, Any], *, cast: Cast | None = None, in_place: bool = False, **options: Any
    ) -> None:
        super().__init__({**roots, "torch": _GLOBAL_HOOKS}, **options)
        self._cast, self._in_place = cast, in_place
        self._copies: dict[int, _Copy] = {}
        """By the storage that was copied."""
        self._sources: dict[int, torch.Tensor] = {}
        """By tensor: what it held, in storage that is not written."""
        self._cut: list[torch.Tensor] = []
        self._watched: list[tuple[torch.Tensor, int]] = []
        self.own: list[torch.Tensor] = []
        """What each of the tensors that were found holds outside of the scope."""

    def _lend(self) -> None:
        if self._outermost and "torch.distributed.fsdp" in sys.modules:
            unshard(reach(self._roots, wide=False), self._undo_last)
        if self._outermost and "torch._dynamo" in sys.modules:
            self._enter(_uncompiled())
        super()._lend()
        _refuse_unusable(self.found)
        # Before any storage is lent: copies made in inference mode could not be differentiated.
        self._enter(torch.inference_mode(False))
        self._lend_storage(self.found.tensors)
        self._enter(torch.enable_grad())

    def _enter(self, context: Any) -> None:
        context.__enter__()
        self._undo.append(lambda: context.__exit__(None, None, None))

    def _switches(self) -> tuple[Setting, ...]:
        return (*SWITCHES, *_TORCH_SWITCHES)

    def _random_states(self) -> tuple[Setting, ...]:
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        own: Setting = (torch.random.get_rng_state, torch.random.set_rng_state)
        return (
            *RANDOM_STATES,
            own,
            *([(torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all)] if cuda else []),
        )

    def _changes(self) -> list[str]:
        changes = [
            f"{self.found.place(t)}: a tensor was written to; it is too large to be kept"
            for t, version in self._watched
            if _version(t) != version
        ]
        cut = _in_usable_graphs(self._cut)
        if cut:
            first = self.found.place(cut[0])
            changes.append(
                f"{first}{f' and {len(cut) - 1} more' if cut[1:] else ''}: a graph that was built before holds this "
                "tensor, and autograd.grad no longer finds it there (backward does); del what is not needed of it before the call"
            )
        return [*super()._changes(), *changes]

    def values_before(self, tensor: torch.Tensor) -> torch.Tensor:
        """What a tensor held when the scope was opened, to be read; to be asked for before anything is changed."""
        source = self._sources.get(id(tensor))
        return tensor.detach().clone() if source is None else source

    def _lend_storage(self, tensors: list[torch.Tensor]) -> None:
        """Point every tensor at a copy of its storage; tensors that share a storage go on sharing the copy, unless they are cast."""
        budget = MOST_DATA_BYTES
        outermost = self.outermost
        lent_before = outermost._lent() if self._in_place and isinstance(outermost, TorchScope) else {}
        for i, tensor in enumerate(tensors):
            self.own.append(tensor.data)
            if i >= self.found.n_own_tensors:
                budget -= tensor.numel() * tensor.element_size()
                if budget < 0 or i - self.found.n_own_tensors > MOST_DATA_TENSORS:
                    self._watched.append((tensor, _version(tensor)))
                    continue
            if tensor.is_leaf:
                self._undo.append(_setter(tensor, "grad", tensor.grad))
                tensor.grad = None
            # An optimizer that steps in such a hook must not step here. An empty dict, since None would leave the hooks called;
            # torch's stub names the attribute without a setter's type.
            if getattr(tensor, "_post_accumulate_grad_hooks", None):
                own_hooks = tensor._post_accumulate_grad_hooks
                self._undo.append(_setter(tensor, "_post_accumulate_grad_hooks", own_hooks))
                tensor._post_accumulate_grad_hooks = {}  # type: ignore[assignment]
            # Given back before the gradient, which must fit the tensor's own type.
            self._undo.append(_restorer(tensor))
            if is_traceable_wrapper_subclass(tensor):
                if self._cast is not None:
                    raise ProblemError(
                        f"the model holds a {type(tensor).__name__}, which cannot be cast to another type: give plain tensors"
                    )
                continue  # its parts are lent
            if self._cast is None and (copy := _unchanged_copy(tensor, lent_before)) is not None:
                self._undo.append(copy.read_back)
                self._sources[id(tensor)] = _view_of(copy.own, tensor)
                continue
            lent = tensor.data if self._cast is None else self._cast(tensor.data)
            if lent.dtype != tensor.dtype and tensor.requires_grad and tensor.is_leaf and _is_held(tensor):
                self._cut.append(tensor)  # torch gives a leaf of another type another node in graphs
            if self._cast is None and _is_plain(tensor):
                self._sources[id(tensor)] = tensor.data
            tensor.data = lent if lent.dtype != tensor.dtype else _scratch(tensor, self._copies)

    def _lent(self) -> dict[int, _Copy]:
        return {copy.lent.data_ptr(): copy for copy in self._copies.values()}


@dataclass(frozen=True, eq=False)
class _Copy:
    """A storage, and the copy that its tensors point at meanwhile."""

    own: torch.UntypedStorage
    lent: torch.UntypedStorage

    def is_unchanged(self) -> bool:
        return self.own.nbytes() == self.lent.nbytes() and torch.equal(_bytes(self.own), _bytes(self.lent))

    def read_back(self) -> None:
        self.lent.copy_(self.own)


def _bytes(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _unchanged_copy(tensor: torch.Tensor, lent: Mapping[int, _Copy]) -> _Copy | None:
    """The copy that a tensor points at, where that still holds what the user's own storage does."""
    if not lent or not _is_plain(tensor):
        return None
    copy = lent.get(tensor.untyped_storage().data_ptr())
    return copy if copy is not None and copy.is_unchanged() else None


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Compiled modules run as they are written: their layers are watched."""
    stance: Any = getattr(torch.compiler, "set_stance", nullcontext)  # torch 2.6
    with warnings.catch_warnings(), stance("force_eager"):
        warnings.filterwarnings(
            "ignore", message=r"Using `torch.compile\(module\)` when there are global hooks"
        )
        yield


def _is_held(tensor: Any) -> bool:
    """Whether a graph that is alive, or a view, holds a leaf."""
    return (
        tensor.requires_grad and tensor.is_leaf and hasattr(tensor, "_use_count") and tensor._use_count() > 1
    )


def are_held(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether a graph that is alive, or a view, holds one of these leaves; dead ones may wait for the collector."""
    leaves = list(tensors)
    if not any(map(_is_held, leaves)):
        return False
    gc.collect()
    return any(map(_is_held, leaves))


def _in_usable_graphs(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Those that a graph can still be differentiated by."""
    if not tensors:
        return []
    wanted = {id(t): t for t in tensors}
    # By type, since an object may lie about its class.
    ends = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor) and o.grad_fn is not None]
    used: set[int] = set()
    for end in ends:
        nodes = _nodes(end.grad_fn)
        if _is_usable(nodes):
            used |= {id(getattr(node, "variable", None)) for node in nodes}
    return [t for key, t in wanted.items() if key in used]


def _nodes(node: Any) -> list[Any]:
    found: dict[int, Any] = {}
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node is not None and id(node) not in found:
            found[id(node)] = node
            waiting += [following for following, _ in node.next_functions]
    return list(found.values())


def _is_usable(nodes: list[Any]) -> bool:
    """Whether what a backward pass needs is still there; a graph that needs nothing, as that of a copy, is nobody's loss."""
    names = [(node, name) for node in nodes for name in dir(node) if name.startswith("_saved_")]
    try:
        saved = [getattr(node, name) for node, name in names]
    except RuntimeError:  # freed
        return False
    return any(isinstance(value, torch.Tensor) for value in saved)


def _setter(holder: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(holder, name, value)


def _refuse_unusable(found: Reached) -> None:
    """Refuse, before anything is lent, what has no numbers yet, and shards that cannot be lent whole.

    The numbers of the latter are also held by what gathers them for a forward pass, which would go on reading the user's own.
    """
    if not fully_sharded(found) and any(map(is_sharded, found.tensors)):
        raise ProblemError(_SHARDED)
    for module in found.of(nn.Module):
        if not hasattr(module, "_parameters"):
            raise ProblemError(
                f"{type(module).__name__}.__init__ does not call super().__init__(), without which it is no module yet"
            )
        if any(nn.parameter.is_lazy(p) for p in module._parameters.values() if p is not None):
            raise ProblemError(
                f"the model has a lazy layer without weights ({type(module).__name__}): call model(batch) once first"
            )


def _scratch(tensor: torch.Tensor, copies: dict[int, _Copy]) -> torch.Tensor:
    if not _is_plain(tensor):
        return tensor.data.clone()
    storage = tensor.untyped_storage()
    if storage.data_ptr() not in copies:
        copies[storage.data_ptr()] = _Copy(storage, storage.clone())
    return _view_of(copies[storage.data_ptr()].lent, tensor)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether it is numbers in one storage."""
    return tensor.layout is torch.strided and type(tensor.data) is torch.Tensor and not tensor.is_meta


def _view_of(storage: torch.UntypedStorage, tensor: torch.Tensor) -> torch.Tensor:
    """What a tensor would be with its numbers in another storage."""
    view = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return view.set_(storage, tensor.storage_offset(), tensor.size(), tensor.stride())


def _version(tensor: torch.Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _restorer(tensor: torch.Tensor) -> Callable[[], None]:
    data, requires_grad, version = tensor.data, tensor.requires_grad, _version(tensor)

    def back() -> None:
        tensor.data = data
        if tensor.requires_grad != requires_grad:
            tensor.requires_grad_(requires_grad)
        # Steps inside the scope count as in-place changes, and would spoil a graph that the user built before the check.
        if version >= 0:
            torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))  # pyright: ignore[reportAttributeAccessIssue]

    return back


def _hook_tables() -> Iterator[tuple[str, Any]]:
    """Hooks of every module and every optimizer."""
    for holder, names in (
        (
            torch_modules,
            [
                n
                for n in vars(torch_modules)
                if n.startswith("_global_")
                and n.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
            ],
        ),
        (
            import_module("torch.optim.optimizer"),
            ["_global_optimizer_pre_hooks", "_global_optimizer_post_hooks"],
        ),
    ):
        yield from ((name, vars(holder)[name]) for name in names if isinstance(vars(holder).get(name), dict))


_GLOBAL_HOOKS = dict(_hook_tables())


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


_TORCH_SWITCHES: tuple[Setting, ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (_deterministic, lambda kept: torch.use_deterministic_algorithms(kept[0], warn_only=kept[1])),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda kept: torch.set_anomaly_enabled(*kept),
    ),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (lambda: torch.backends.cudnn.benchmark, lambda kept: setattr(torch.backends.cudnn, "benchmark", kept)),
)
