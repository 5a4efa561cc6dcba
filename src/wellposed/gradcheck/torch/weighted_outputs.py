"""F as the weighted sum of all outputs, with fixed random weights so that errors do not cancel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...arguments import told
from ...errors import ArgumentError
from ...runtime.torch.tensors import WITHOUT_FLOAT64
from ..objective import random_weights
from ..result import OutputsChangedError
from ..tensor_objective import relative_rounding

_DEEPEST = 8


def outputs_of(returned: Any) -> list[tuple[str, torch.Tensor]]:
    """Every real or complex tensor that a function returned, by name, a complex one as its real view."""
    found = [(name, _real(y)) for name, y in _tensors(returned, "output", 0)]
    if not found:
        raise ArgumentError(f"f returned {told(returned)}: expected a floating-point tensor, or several")
    return found


def _tensors(value: Any, name: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        if value.is_complex() or (value.is_floating_point() and value.element_size() > 1):
            yield name, value
        return
    if depth < _DEEPEST:
        for key, item in _entries(value):
            yield from _tensors(item, name + key, depth + 1)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"[{k!r}]", v) for k, v in value.items())
    elif isinstance(value, tuple) and (named := getattr(value, "_fields", None)):
        yield from ((f".{k}", getattr(value, k)) for k in named)
    elif isinstance(value, list | tuple):
        yield from ((f"[{k}]", v) for k, v in enumerate(value))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{f.name}", getattr(value, f.name)) for f in fields(value))


def _real(y: torch.Tensor) -> torch.Tensor:
    dense = y.to_dense() if y.layout is not torch.strided else y
    return torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense


def wide(y: torch.Tensor) -> torch.Tensor:
    """In float64, on the CPU where the device has none."""
    return y.cpu().double() if y.device.type in WITHOUT_FLOAT64 else y.double()


@dataclass(frozen=True, slots=True)
class Term:
    """A tensor and the weights of its elements in F."""

    tensor: torch.Tensor
    weight: torch.Tensor | float

    def elements(self) -> torch.Tensor:
        return self.weight * wide(self.tensor)

    def rounding(self) -> float:
        """Standard deviation of its rounding in F: of each element, uniform over one unit in the last place, and of the summation."""
        size = float(self.elements().detach().norm())
        return relative_rounding(torch.finfo(self.tensor.dtype).eps, self.tensor.numel()) * size / 12**0.5


class OutputWeights:
    """The weights of the outputs: the same at every evaluation."""

    def __init__(self, seed: int, spacing: float) -> None:
        self._seed, self._spacing = seed, spacing
        self._drawn: dict[int, torch.Tensor] = {}
        self._kinds: list[tuple[str, str]] | None = None

    def terms(self, outputs: Sequence[tuple[str, torch.Tensor]]) -> list[Term]:
        alone = len(outputs) == 1
        return [Term(y, self._of(i, name, y, alone)) for i, (name, y) in enumerate(outputs)]

    def compare(self, outputs: Sequence[tuple[str, torch.Tensor]]) -> None:
        """Raise where there are other outputs than before, or of another dtype."""
        kinds = [(name, str(y.dtype).removeprefix("torch.")) for name, y in outputs]
        if self._kinds is None:
            self._kinds = kinds
        if kinds != self._kinds:
            before, now = (", ".join(f"{name} ({dtype})" for name, dtype in k) for k in (self._kinds, kinds))
            raise OutputsChangedError(
                f"f returned {before} in one call and {now} in another: expected the same outputs each time, whatever the values"
            )

    def drawn(self) -> tuple[NDArray[np.float64], ...]:
        """Those of all outputs; none where f returns one number."""
        return tuple(w.cpu().numpy() for _, w in sorted(self._drawn.items()))

    def _of(self, i: int, name: str, y: torch.Tensor, alone: bool) -> torch.Tensor | float:
        if alone and y.numel() == 1:
            return 1.0
        if i not in self._drawn:
            drawn = random_weights(y.shape, (self._seed, i), spacing=self._spacing)
            # Rounded to the dtype of the output, as the upstream gradient is.
            rounded = torch.from_numpy(drawn).to(y.dtype).double()
            self._drawn[i] = rounded.to("cpu" if y.device.type in WITHOUT_FLOAT64 else y.device)
        if self._drawn[i].shape != y.shape:
            raise OutputsChangedError(
                f"{name} of f changed its shape between two calls, from {tuple(self._drawn[i].shape)} to "
                f"{tuple(y.shape)}: expected the same shape each time"
            )
        return self._drawn[i]


def total(terms: Sequence[Term]) -> torch.Tensor:
    """F, attached to its graph."""
    summed = torch.zeros((), dtype=torch.float64, device="cpu")
    for term in terms:
        summed = summed + term.elements().sum().cpu()
    return summed


def nodes_of(summed: torch.Tensor) -> Iterator[Any]:
    """Every node of a graph, each once."""
    seen, waiting = set(), [summed.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [following for following, _ in node.next_functions]


def rounding(terms: Sequence[Term]) -> float:
    return float(np.sqrt(np.sum(np.square([term.rounding() for term in terms]))))
