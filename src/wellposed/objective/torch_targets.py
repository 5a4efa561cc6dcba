"""What the targets are: class numbers, zeros and ones or values, told from their numbers and from how they fit the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ..runtime.torch.batch import Batch
from ..runtime.torch.session import Runner
from .result import Targets


def describe_targets(y: Any, outputs: torch.Tensor | None) -> Targets:
    """What the targets are, from their values and from how their shape fits the outputs'."""
    if not isinstance(y, torch.Tensor) or y.numel() == 0 or y.is_complex():
        return Targets(kind="other")
    if not y.is_floating_point():
        return _describe_codes(y, outputs)
    values = y.detach().double()
    same = outputs is not None and same_but_ones(outputs, y)
    zero_one = bool(((values == 0) | (values == 1)).all())
    return Targets(
        kind="other" if not same else "binary" if zero_one else "values",
        mean=float(values.mean()),
        std=float(values.std(0, correction=0).square().mean().sqrt()) if y.ndim and len(values) > 1 else 0.0,
        rms=rms(y),
        low=float(values.min()),
        high=float(values.max()),
        rows=len(y) if y.ndim else 0,
        per_row=y.ndim <= 2,
    )


def _describe_codes(y: torch.Tensor, outputs: torch.Tensor | None) -> Targets:
    """Class numbers; what lies outside the outputs' classes (-100, 255) is ignored by the loss, and here."""
    y = y.long()  # unsigned ones of several bytes cannot be compared
    axis = None if outputs is None or outputs.ndim < 2 else axis_of_classes(y, outputs)
    width = None if axis is None or outputs is None else outputs.shape[axis]
    valid = y[(y >= 0) & (y < width)] if width is not None else y[y >= 0]
    counts = torch.unique(valid, return_counts=True)[1]
    return Targets(
        kind="classes" if width is not None and width >= 2 and valid.numel() > 0 else "other",
        classes=int(valid.max()) + 1 if valid.numel() else 0,
        outputs=width or 0,
        majority_share=float(counts.max() / counts.sum()) if counts.numel() else 0.0,
        rows=len(y) if y.ndim else 0,
        per_row=y.ndim == 1,
        ignored=y.numel() > 0 and valid.numel() == 0,
    )


def no_target_counts(runner: Runner, batches: Sequence[Batch], gradient_squares: Iterable[float]) -> bool:
    """Whether every target is one that losses leave out, and none of them sends a gradient."""
    if any(square > 0 for square in gradient_squares):
        return False
    outputs = runner.evaluate(batches[0]).tensor
    return all(describe_targets(batch.labels, outputs).ignored for batch in batches)


def same_but_ones(o: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two shapes agree, axes of length 1 apart: ``(N, 1)`` and ``(N,)``."""
    return [n for n in o.shape if n != 1] == [n for n in y.shape if n != 1]


def axis_of_classes(y: torch.Tensor, outputs: torch.Tensor) -> int | None:
    if outputs.shape[:-1] == y.shape:
        return outputs.ndim - 1
    return 1 if (outputs.shape[0], *outputs.shape[2:]) == tuple(y.shape) else None


def rms(t: torch.Tensor) -> float:
    return float(t.detach().double().square().mean().sqrt()) if t.numel() else 0.0
