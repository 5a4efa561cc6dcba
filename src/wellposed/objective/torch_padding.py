"""Do outputs depend on how much padding stands behind a sequence? Asked by cutting it off, which changes nothing that is real."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ..runtime.torch.batch import Batch, take
from ..runtime.torch.named_inputs import named_inputs, with_changed_inputs
from ..runtime.torch.session import Runner, outputs_without_gradients

_LEAST_ROWS = 4
_LEAST_POSITIONS = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Padded:
    """Sequences that are padded behind."""

    lengths: torch.Tensor
    """Real positions of each row, of shape (rows,)."""
    positions: int
    sequences: frozenset[str]
    """Names of the inputs with that many positions on their second axis."""
    contents: frozenset[str]
    """Those in which the same stands at all padding, and something else at what is real."""

    @property
    def real(self) -> torch.Tensor:
        """Of shape (rows, positions)."""
        return torch.arange(self.positions, device=self.lengths.device) < self.lengths[:, None]

    def of_rows(self, rows: torch.Tensor) -> Padded:
        return replace(self, lengths=self.lengths[rows])


def padding_effect(runner: Runner, batch: Batch, *, seed: int) -> float | None:
    """Rms change of the outputs, over their std, when shorter sequences lose padding, in eval mode.

    None unless a mask or lengths among the inputs say which positions are padding, and what stands there is all the same.
    """
    padded = padded_by_mask(named_inputs(batch))
    if padded is None:
        return None
    shortest = padded.lengths.argsort(stable=True)[: max(batch.rows // 2, _LEAST_ROWS)]
    lengths = padded.lengths[shortest]
    cut = int(lengths.max())
    if cut >= padded.positions or len(shortest) < _LEAST_ROWS:
        return None
    whole = take(batch, shortest)
    short = with_changed_inputs(whole, lambda name, x: x[:, :cut] if name in padded.sequences else x)
    runner.train_mode(False)
    plain, again, changed = (outputs_without_gradients(runner, b, seed=seed) for b in (whole, whole, short))
    runner.train_mode()
    if plain is None or again is None or changed is None or not torch.equal(plain, again):
        return None
    if plain.shape != changed.shape:
        if plain.ndim < 2 or plain.shape[1] != padded.positions or changed.shape[1] != cut:
            return None
        real = torch.arange(cut, device=lengths.device) < lengths[:, None]
        plain, changed = plain[:, :cut][real], changed[real]
    before, after = plain.double(), changed.double()
    spread = float((before - before.mean(0)).square().mean().sqrt())
    change = float((after - before).square().mean().sqrt())
    return change / spread if spread > 0 and math.isfinite(change) else None


def padded_by_mask(inputs: Mapping[str, torch.Tensor]) -> Padded | None:
    """Sequences of which a mask or lengths among the inputs say what is padding."""
    for name, tensor in inputs.items():
        for positions in {t.shape[1] for t in inputs.values() if t.ndim >= 2}:
            lengths = _lengths(tensor, positions)
            if lengths is None or int(lengths.min()) == positions or int(lengths.min()) == int(lengths.max()):
                continue
            sequences = {n for n, t in inputs.items() if t.ndim >= 2 and t.shape[1] == positions}
            others = [t for n, t in inputs.items() if n not in sequences and positions in t.shape[1:]]
            contents = {n for n in sequences if n != name and _is_padded(inputs[n], lengths)}
            if not others and contents:
                return Padded(
                    lengths=lengths,
                    positions=positions,
                    sequences=frozenset(sequences),
                    contents=frozenset(contents),
                )
    return None


def _lengths(tensor: torch.Tensor, positions: int) -> torch.Tensor | None:
    """How many positions of each row a tensor says are real: a mask of ones and zeros, or whole numbers up to `positions`."""
    if positions < _LEAST_POSITIONS or tensor.is_complex():
        return None
    if tensor.ndim == 1 and not tensor.is_floating_point() and tensor.dtype != torch.bool:
        return tensor if bool(((tensor >= 1) & (tensor <= positions)).all()) else None
    if tensor.ndim != 2 or tensor.shape[1] != positions or not bool(((tensor == 0) | (tensor == 1)).all()):
        return None
    first = tensor[:, :1]
    real = tensor == first
    is_prefix = bool((real == real.cummin(1).values).all()) and bool((first == first[0]).all())
    return real.sum(1) if is_prefix else None


def _is_padded(sequence: torch.Tensor, lengths: torch.Tensor) -> bool:
    """Whether what stands behind the real positions is the same everywhere, and what is real is not."""
    real = torch.arange(sequence.shape[1], device=lengths.device) < lengths[:, None]
    behind, inside = sequence[~real], sequence[real]
    return bool((behind == behind[:1]).all()) and not bool((inside == inside[:1]).all())
