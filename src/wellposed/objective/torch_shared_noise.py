"""Random numbers that all samples of a batch share: one draw that is spread over the batch, and perhaps is what is to be predicted."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from ..runtime.torch.batch import Batch
from ..runtime.torch.recorder import function_name
from ..runtime.torch.session import Runner, seed_everything
from .result import SharedNoise

_DRAWING = frozenset(
    {"randn", "rand", "randn_like", "rand_like", "normal", "normal_", "uniform_", "bernoulli", "bernoulli_"}
)
_REARRANGING = frozenset(
    {"view", "reshape", "unsqueeze", "to", "float", "detach", "contiguous", "clone", "type_as"}
)
_SPREADING = frozenset({"expand", "expand_as", "repeat", "broadcast_to", "tile"})
_COMPARING = frozenset(
    {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "sub", "rsub", "__sub__", "__rsub__"}
)
_COMBINING = _COMPARING | {
    "add",
    "__add__",
    "__radd__",
    "mul",
    "__mul__",
    "__rmul__",
    "add_",
    "mul_",
    "addcmul",
    "lerp",
    "cat",
}


def shared_noise(runner: Runner, batch: Batch, *, seed: int) -> SharedNoise | None:
    """What is done with random numbers of which a batch has one draw; None where each sample has its own, or where none are drawn."""
    rows = batch.rows
    if rows < 2:
        return None
    runner.train_mode()
    seed_everything(seed)
    with _Draws(rows) as seen:
        runner.evaluate(batch)
    return seen.found


class _Draws(TorchFunctionMode):
    """Follows draws without an axis of the samples to where they meet samples."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.found: SharedNoise | None = None
        self._rows = rows
        self._single = WeakTensorKeyDictionary()  # as they were drawn, or rearranged
        self._spread = WeakTensorKeyDictionary()  # over the batch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if isinstance(given, torch.Tensor):
            tensors = [a for a in _flat(args) if isinstance(a, torch.Tensor)]
            self._follow(function_name(func), tensors, given)
        return given

    def _follow(self, name: str, tensors: list[torch.Tensor], given: torch.Tensor) -> None:
        if name in _DRAWING:
            if given.is_floating_point() and given.numel() > 1 and not self._by_sample(given):
                self._single[given] = True
        elif tensors and (name in _REARRANGING | _SPREADING or (name in _COMBINING and len(tensors) == 1)):
            self._pass_on(name, tensors[0], given)
        elif tensors and name in _COMBINING and (self._by_sample(given) or name in _COMPARING):
            self._note(name, tensors)

    def _pass_on(self, name: str, draw: torch.Tensor, given: torch.Tensor) -> None:
        if draw in self._spread or (draw in self._single and name in _SPREADING and self._by_sample(given)):
            self._spread[given] = True
        elif draw in self._single and not self._by_sample(given):  # else a view gives each sample its own
            self._single[given] = True

    def _note(self, name: str, tensors: list[torch.Tensor]) -> None:
        most = max(t.ndim for t in tensors)
        shared = [
            t for t in tensors
            if t in self._spread or (t in self._single and (t.ndim < most or t.shape[0] == 1))
        ]  # fmt: skip
        others = [t for t in tensors if not any(t is s for s in shared) and self._by_sample(t)]
        if not shared or not others:
            return
        predicted = name in _COMPARING and any(t.requires_grad for t in others)
        if predicted or self.found is None:
            self.found = "predicted" if predicted else "used"

    def _by_sample(self, t: torch.Tensor) -> bool:
        return t.ndim > 0 and len(t) == self._rows


def _flat(values: Any) -> list[Any]:
    return [e for v in values for e in (v if isinstance(v, tuple | list) else (v,))]
