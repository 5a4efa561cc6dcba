"""Outputs as tensors that can be changed one by one and put back, and the range that the model confines each to."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch

from ..errors import WellposedError, users_code
from ..runtime.torch.batch import Batch
from ..runtime.torch.session import Runner, main_tensor, seed_everything
from .result import OutputRange
from .torch_targets import describe_targets

_SAME_LENGTH = 1e-3  # of what outputs differ by: half precision rounds by as much

Loss = Callable[[torch.Tensor], torch.Tensor]

_RANGES = {
    "SigmoidBackward": ("sigmoid", 0.0, 1.0),
    "SoftmaxBackward": ("softmax", 0.0, 1.0),
    "ReluBackward": ("relu", 0.0, math.inf),
    "TanhBackward": ("tanh", -1.0, 1.0),
    "HardtanhBackward": ("hardtanh", -math.inf, math.inf),
    "ExpBackward": ("exp", 0.0, math.inf),
    "SoftplusBackward": ("softplus", 0.0, math.inf),
    "LogSoftmaxBackward": ("log_softmax", -math.inf, 0.0),
    "LogSigmoidBackward": ("logsigmoid", -math.inf, 0.0),
}


# Operations that only rearrange their single input, and so pass its range on.
_REARRANGED = 12  # times in a row, at most
_REARRANGING = (
    "View",
    "Reshape",
    "Unsafe",
    "Squeeze",
    "Unsqueeze",
    "Permute",
    "Transpose",
    "TBackward",
    "Select",
    "Slice",
    "Clone",
    "Alias",
    "Expand",
    "ToCopy",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The tensors in nested tuples, lists, dicts and dataclasses, and how others are put in their places."""

    tensors: tuple[torch.Tensor, ...]
    names: tuple[str, ...]
    """Where each stands: ``outputs[1]``, ``targets.boxes``; the bare word where there is nothing around it."""
    built: Callable[[Iterator[torch.Tensor]], Any]

    def __len__(self) -> int:
        return len(self.tensors)

    @property
    def detached(self) -> list[torch.Tensor]:
        return [t.detach() for t in self.tensors]

    def put_back(self, tensors: Iterable[torch.Tensor]) -> Any:
        """The whole value with these tensors; what containers of the user's own kind raise is the user's."""
        with users_code("putting outputs or targets back together"):
            return self.built(iter(tensors))

    def replaced(self, changes: Mapping[int, torch.Tensor]) -> Any:
        """The whole value with some of its tensors replaced."""
        return self.put_back(changes.get(i, t) for i, t in enumerate(self.detached))


def is_real(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim > 0 and tensor.numel() > 0


def parts_of(value: Any, name: str, wanted: Callable[[torch.Tensor], bool] = is_real) -> Parts:
    """Take a value apart into the tensors that are wanted of it."""
    found: list[tuple[str, torch.Tensor]] = []
    built = _taken_apart(value, name, wanted, found)
    return Parts(tensors=tuple(t for _, t in found), names=tuple(n for n, _ in found), built=built)


def _taken_apart(
    value: Any, name: str, wanted: Callable[[torch.Tensor], bool], found: list[tuple[str, torch.Tensor]]
) -> Callable[[Iterator[torch.Tensor]], Any]:
    if isinstance(value, torch.Tensor) and wanted(value):
        found.append((name, value))
        return next
    if isinstance(value, Mapping):
        items = {k: _taken_apart(v, _inside(name, k), wanted, found) for k, v in value.items()}
        return lambda fresh: _with_entries(value, {k: build(fresh) for k, build in items.items()})
    if isinstance(value, tuple | list):
        labels = getattr(value, "_fields", range(len(value)))
        entries = [
            _taken_apart(v, _inside(name, k), wanted, found) for k, v in zip(labels, value, strict=True)
        ]
        made = (lambda new: type(value)(*new)) if hasattr(value, "_fields") else type(value)
        return lambda fresh: made([build(fresh) for build in entries])
    if is_dataclass(value) and not isinstance(value, type):
        named = {
            f.name: _taken_apart(getattr(value, f.name), _inside(name, f.name), wanted, found)
            for f in fields(value)
        }
        return lambda fresh: _with_attributes(value, {k: build(fresh) for k, build in named.items()})
    return lambda fresh: value


def _inside(name: str, key: Any) -> str:
    return f"{name}.{key}" if isinstance(key, str) and key.isidentifier() else f"{name}[{key!r}]"


@dataclass(frozen=True, kw_only=True, eq=False)
class FreeOutputs:
    """What a model put out, as one tensor that can be changed, and the loss of it."""

    tensor: torch.Tensor
    """The output that the targets belong to, or all of them in one row."""
    loss: Loss
    put_back: Callable[[torch.Tensor], Any]
    """The model's output with this tensor in its place."""
    confined: OutputRange | None
    alone: bool
    """Whether the loss reads no other output."""
    parts: Parts
    at: int | None
    """Which of the parts it is; None where it is all of them."""
    reason: str | None = None
    """Why no output stands out; None when one does."""


def free_outputs(runner: Runner, outputs: Any, batch: Batch, y: Any, *, seed: int) -> FreeOutputs | None:
    parts = parts_of(outputs, "outputs")
    if not len(parts):
        return None

    def loss_of(made_up: Any) -> torch.Tensor:
        seed_everything(seed)
        return runner.loss_of(made_up, batch)

    used = parts.tensors if len(parts) == 1 else _used(lambda t: loss_of(parts.put_back(t)), parts.tensors)
    fitting = [p for p in used if describe_targets(y, p).kind != "other"]
    main = used[0] if len(used) == 1 else fitting[0] if len(fitting) == 1 else main_tensor(outputs)
    at = next((i for i, p in enumerate(parts.tensors) if p is main), None)
    if at is not None:
        tensor, confined, reason = parts.tensors[at], range_of(parts.tensors[at]), None

        def put_back(values: torch.Tensor) -> Any:
            return parts.replaced({at: values})
    else:
        tensor, confined = joined(parts.tensors), None
        reason = f"the loss is of {len(parts)} outputs together, and none stands out as the one that the targets belong to"

        def put_back(values: torch.Tensor) -> Any:
            return parts.put_back(split_like(values, parts.tensors))

    return FreeOutputs(
        tensor=tensor.detach(), loss=lambda values: loss_of(put_back(values)), put_back=put_back, confined=confined,
        alone=len(used) == 1, parts=parts, at=at, reason=reason,
    )  # fmt: skip


def joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """All of them in one row."""
    return torch.cat([t.flatten() for t in tensors])


def split_like(row: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    pieces = row.split([t.numel() for t in tensors])
    return [v.reshape(t.shape).to(t.dtype) for v, t in zip(pieces, tensors, strict=True)]


def ramp(o: torch.Tensor) -> torch.Tensor:
    """Values from 0 to 3 that repeat along no axis: multiples of the golden ratio, their whole parts taken off."""
    steps = torch.arange(o.numel(), dtype=torch.float64).mul(0.6180339887498949).remainder(1.0)
    return (3 * steps).to(o).reshape(o.shape)


def _used(
    loss: Callable[[Sequence[torch.Tensor]], torch.Tensor], parts: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor]:
    """The tensors that the loss depends on, as its gradient shows; all where it shows none."""
    leaves = [p.detach().clone().requires_grad_() for p in parts]
    try:
        value = loss(leaves)
    except WellposedError:
        return parts
    if not value.requires_grad:
        return parts
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    return [p for p, g in zip(parts, gradients, strict=True) if g is not None and bool(g.any())] or parts


def _with_entries(value: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    if type(value) is dict:
        return entries
    changed: Any = copy.copy(value)
    for key, entry in entries.items():
        changed[key] = entry
    return changed


def _with_attributes(value: Any, attributes: dict[str, Any]) -> Any:
    changed = copy.copy(value)
    for name, attribute in attributes.items():
        object.__setattr__(changed, name, attribute)
    return changed


def range_of(outputs: torch.Tensor) -> OutputRange | None:
    """The range that the last real operation of the graph confines the outputs to, confirmed by their values."""
    node = before_rearranging(outputs.grad_fn)
    for prefix, (operation, low, high) in _RANGES.items():
        if type(node).__name__.startswith(prefix):
            if operation == "hardtanh":
                low, high = float(node._saved_min_val), float(node._saved_max_val)
            slack = 1e-5
            o = outputs.detach()
            confirmed = float(o.min()) >= low - slack and float(o.max()) <= high + slack
            return OutputRange(operation=operation, low=low, high=high) if confirmed else None
    return None


def before_rearranging(node: Any) -> Any:
    """The last node behind this one, itself included, that does more than rearrange a single input."""
    for _ in range(_REARRANGED):
        if not any(part in type(node).__name__ for part in _REARRANGING) or len(node.next_functions) != 1:
            return node
        node = node.next_functions[0][0]
    return None


def confined_both_ways(outputs: torch.Tensor) -> bool:
    """Whether the model keeps outputs between two ends, or gives them one length."""
    confined = range_of(outputs)
    between = confined is not None and math.isfinite(confined.low) and math.isfinite(confined.high)
    return between or length_axis(outputs.detach()) is not None


def length_axis(o: torch.Tensor) -> int | None:
    """The axis along which all outputs have the same length, though they differ, as directions do; None where there is none."""
    varied = float((o - o.mean(0)).square().mean().sqrt())
    for axis in range(o.ndim - 1, 0, -1):
        if o.shape[axis] < 2 or o.shape[0] < 2:
            continue
        lengths = o.norm(dim=axis) / math.sqrt(o.shape[axis])
        length, apart = float(lengths.mean()), float((lengths - lengths.mean()).abs().max())
        if varied > 1e-2 * length and apart < _SAME_LENGTH * min(varied, length):
            return axis
    return None
