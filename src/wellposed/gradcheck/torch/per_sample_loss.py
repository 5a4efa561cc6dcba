"""The losses of the samples in place of their mean, which in float32 would round away small changes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

_ROUNDINGS = 16.0
"""Units in the last place by which a mean and its own terms may differ: they are added in another order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LossForms:
    """The loss of a problem, as the user computes it and by sample; each is computed when it is called."""

    plain: Callable[[], torch.Tensor]
    each: Callable[[], torch.Tensor | None]
    """The losses of the samples; None where they cannot be had."""
    factors: Callable[[torch.Tensor], Iterator[float]]
    """Candidates for the weight of each sample in the loss."""


class PerSampleLoss:
    """A loss that takes ``reduction=``, with ``reduction="none"``."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss
        self._reduction = _reduction_of(loss)

    def losses(self, outputs: Any, targets: Any) -> torch.Tensor | None:
        if self._reduction not in ("mean", "sum", "batchmean"):
            return None
        try:
            each = self._call(outputs, targets)
        except Exception:  # the loss cannot be computed by sample after all
            return None
        return each if isinstance(each, torch.Tensor) and each.ndim and each.is_floating_point() else None

    def _call(self, outputs: Any, targets: Any) -> Any:
        if not isinstance(self._loss, nn.Module):
            return self._loss(outputs, targets, reduction="none")
        before = self._loss.reduction
        self._loss.reduction = "none"  # type: ignore[assignment]
        try:
            return self._loss(outputs, targets)
        finally:
            self._loss.reduction = before

    def factors(self, each: torch.Tensor, targets: Any) -> Iterator[float]:
        """Candidates for the weight of a sample: the inverses of the divisors that torch losses use."""
        if self._reduction == "sum":
            yield 1.0
            return
        divisors = (each.numel(), each.shape[0], self._weight_of(targets))
        yield from (1.0 / divisor for divisor in divisors if divisor)

    def _weight_of(self, targets: Any) -> float:
        """The weights of the classes that occur, where the loss has such weights or ignores a class; else 0."""
        ignored = _setting(self._loss, "ignore_index")
        if ignored is None or not isinstance(targets, torch.Tensor) or targets.is_floating_point():
            return 0.0
        counted = targets[targets != ignored]
        weight = _setting(self._loss, "weight")
        if weight is None:
            return float(counted.numel())
        return float(weight.double()[counted].sum())


def factor_of(plain: torch.Tensor, each: torch.Tensor, factors: Iterator[float]) -> float | None:
    """The weight of each sample with which their sum is the loss up to rounding; None where no candidate fits."""
    eps = max(torch.finfo(plain.dtype).eps, torch.finfo(each.dtype).eps)
    wide = each.detach().double()
    total, size = float(wide.sum()), float(wide.abs().sum())
    value = float(plain.detach())
    for factor in factors:
        if abs(factor * total - value) <= _ROUNDINGS * eps * factor * size:
            return factor
    return None


def _reduction_of(loss: Any) -> str | None:
    if isinstance(loss, nn.Module):
        return getattr(loss, "reduction", None)
    given = _setting(loss, "reduction")
    if given is None and (_setting(loss, "reduce") is not None or _setting(loss, "size_average") is not None):
        return None
    return given


def _setting(loss: Any, name: str) -> Any:
    """What a loss module holds under a name, or a loss function takes for it."""
    if isinstance(loss, nn.Module):
        return getattr(loss, name, None)
    if isinstance(loss, partial) and name in loss.keywords:
        return loss.keywords[name]
    try:
        parameter = inspect.signature(loss).parameters.get(name)
    except (TypeError, ValueError):
        return None
    return None if parameter is None or parameter.default is parameter.empty else parameter.default
