"""Will a model survive in a lower precision: a step in it, emulated, and what would mend it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ..formats import RECIPES, Format
from ..runtime.reachable import reach
from ..runtime.torch.batch import Batch
from ..runtime.torch.low_precision import LayerCounts, RoundingCounts, Step, counted_step, emulated_step
from ..runtime.torch.session import Runner
from .result import LayerPrecision, PrecisionProfile, RoundedNumbers

_LARGEST_SCALE = 24
"""As a power of two: GradScaler starts at 16 and doubles every 2,000 steps."""
_BACK_OFFS = 3
"""Halvings of the largest loss scale that the gradients seem to allow."""
_WRONG = 0.3
"""Error of a gradient over its norm: of 371 healthy problems the median is 0.06 in fp8."""
_MOST_KEPT = 8
"""Layers that are kept in float32 before the search for them ends."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Losses:
    """What an emulated step loses of each module's gradient; no tensor, since those of many steps are kept."""

    loss: float
    is_finite: bool
    overall: float
    """Norm of what is wrong over the norm of the gradient."""
    error: Mapping[str, float]
    vanished: Mapping[str, float]

    @property
    def worst_error(self) -> float:
        """Of the gradient of a module."""
        return max(self.error.values(), default=0.0)


class _Emulation:
    """Steps of one batch in one precision, each against the same step in float32."""

    def __init__(self, runner: Runner, batch: Batch, precision: str, *, limit: float, seed: int) -> None:
        self.recipe, self.limit = RECIPES[precision], limit
        self._run: Callable[..., Step] = lambda **how: emulated_step(
            runner, batch, precision, seed=seed, **how
        )
        self.reference, self.counts = counted_step(runner, batch, precision, seed=seed)
        self.losses = cache(self._losses)

    def _losses(self, scale: int = 0, exempt: frozenset[str] = frozenset()) -> _Losses:
        """With the loss scaled by a power of two, and some modules kept in float32."""
        step = self._run(scale=2.0**scale, exempt=exempt)
        error: dict[str, float] = {}
        vanished: dict[str, float] = {}
        for module, names in _by_module(self.reference.gradients).items():
            whole = sum(_squares(self.reference.gradients[n]) for n in names)
            if whole > 0:
                pairs = [(self.reference.gradients[n], step.gradients.get(n)) for n in names]
                wrong = sum(_squares(g if low is None else low - g) for g, low in pairs)
                gone = sum(_squares(g if low is None else g[low == 0]) for g, low in pairs)
                error[module] = math.sqrt(wrong / whole) if math.isfinite(wrong) else math.inf
                vanished[module] = gone / whole
        return _Losses(
            loss=step.loss,
            is_finite=step.is_finite,
            overall=_overall(self.reference, step),
            error=error,
            vanished=vanished,
        )

    def survives(self, scale: int = 0, exempt: frozenset[str] = frozenset()) -> bool:
        losses = self.losses(scale, exempt)
        lost = any(share > self.limit for share in losses.vanished.values())
        return losses.is_finite and not lost and self.starved(losses, exempt) is None

    def starved(self, losses: _Losses, exempt: Collection[str] = ()) -> str | None:
        """The module most of whose activations or weights a scale takes to zero, where a gradient is wrong with it."""
        if not self.recipe.scaled or losses.worst_error < _WRONG:
            return None
        shares = {name: _starved(c) for name, c in self.counts.items() if name not in exempt}
        worst = max(shares, key=lambda name: shares[name], default=None)
        return worst if worst is not None and shares[worst] > self.limit else None

    def largest_scale(self, exempt: Collection[str] = ()) -> int:
        """The largest power of two that keeps every gradient within the format."""
        largest = max(
            (c.backward.largest for name, c in self.counts.items() if name not in exempt), default=0.0
        )
        largest = max(
            [largest, *(float(g.abs().max()) for g in self.reference.gradients.values() if g.numel())]
        )
        if not 0 < largest < math.inf:
            return 0
        return min(math.floor(math.log2(self.recipe.backward.largest / largest)), _LARGEST_SCALE)

    def working_scale(self, exempt: frozenset[str] = frozenset()) -> int | None:
        """The largest power of two with which it survives; None where none was found."""
        top = self.largest_scale(exempt)
        return next((s for s in range(top, top - _BACK_OFFS, -1) if self.survives(s, exempt)), None)

    def least_scale(self, working: int) -> int:
        """The least power of two from which on it survives."""
        low, high = min(0, working) - 1, working
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.survives(middle) else (middle, high)
        return high

    def kept(self, *, may_scale: bool) -> tuple[str, ...] | None:
        """Modules to keep in float32: those that lose most first, and then without each that is not needed."""

        def survives(names: Collection[str]) -> bool:
            exempt = frozenset(names)
            return self.survives(0, exempt) or (may_scale and self.working_scale(exempt) is not None)

        chosen: list[str] = []
        for name in sorted(self.counts, key=lambda name: -_worst(self.counts[name]))[:_MOST_KEPT]:
            chosen.append(name)
            if survives(chosen):
                break
        else:
            return None
        for name in chosen[:-1]:
            fewer = [n for n in chosen if n != name]
            if survives(fewer):
                chosen = fewer
        return tuple(n for n in self.counts if n in chosen)


def profile_precision(
    runner: Runner, batch: Batch, precision: str, *, limit: float, seed: int
) -> PrecisionProfile | None:
    """What becomes of a training step on a batch; None where the step in float32 has no finite gradient to compare with.

    Parameters
    ----------
    limit
        Share of the gradient of a layer that may vanish.
    """
    emulation = _Emulation(runner, batch, precision, limit=limit, seed=seed)
    if not emulation.reference.gradients or not emulation.reference.is_finite:
        return None
    plain = emulation.losses(0, frozenset())
    can_scale = not emulation.recipe.scaled and emulation.recipe.forward.name == "fp16"
    working = least = None
    if can_scale and not emulation.survives():
        working = emulation.working_scale()
        least = None if working is None else emulation.least_scale(working)
    at = working or 0
    losses = emulation.losses(at, frozenset())
    survives = emulation.survives(at)
    worst = max(plain.vanished, key=lambda name: plain.vanished[name], default=None)
    return PrecisionProfile(
        precision=precision.removesuffix("-scaled"),
        layers=_layers(runner, emulation, losses),
        finite=losses.is_finite,
        gradient_error=losses.overall,
        survives=survives,
        largest=emulation.recipe.forward.largest,
        flushed_up_to=None if emulation.recipe.scaled else emulation.recipe.backward.flushed_up_to,
        scale=2.0**at,
        scaled=precision.endswith("-scaled"),
        scales=None if working is None or least is None else (2.0**least, 2.0**working),
        worst=worst if worst is None else worst or runner.title,
        worst_vanished=0.0 if worst is None else plain.vanished[worst],
        lost_layers=_share(sum(v > limit for v in plain.vanished.values()), len(plain.vanished)),
        overflows=None if survives else _overflowing(emulation.counts),
        starved=emulation.starved(losses),
        keep=() if survives else emulation.kept(may_scale=can_scale),
    )


def has_loss_scaler(*parts: Any) -> bool:
    """Whether what a problem is made of reaches a ``torch.amp.GradScaler`` that is switched on."""
    scalers = reach([part for part in parts if part is not None], wide=False).of(torch.amp.GradScaler)
    return any(scaler.is_enabled() for scaler in scalers)


def _layers(runner: Runner, emulation: _Emulation, losses: _Losses) -> tuple[LayerPrecision, ...]:
    recipe, titles = emulation.recipe, {name: m for m, name in runner.names().items()}
    return tuple(
        LayerPrecision(
            name=name or "loss",
            kind=type(titles[name]).__name__ if name in titles else "loss",
            line=None if counts.line is None else str(counts.line),
            forward=_told(counts.forward, recipe.forward, is_scaled=recipe.scaled),
            weights=_told(counts.weights, recipe.forward, is_scaled=recipe.scaled),
            backward=_told(counts.backward, recipe.backward, is_scaled=recipe.scaled),
            gradient_error=losses.error.get(name),
            gradient_vanished=losses.vanished.get(name),
        )
        for name, counts in emulation.counts.items()
    )


def _told(counts: RoundingCounts, to: Format, *, is_scaled: bool) -> RoundedNumbers | None:
    if not counts.entries:
        return None
    scaled = is_scaled or counts.largest == 0
    return RoundedNumbers(
        largest=counts.largest,
        beyond=counts.beyond / counts.entries,
        vanished=counts.vanished / counts.nonzero if counts.nonzero else 0.0,
        headroom=None if scaled else math.log2(to.largest / counts.largest),
    )


def _overflowing(counts: Mapping[str, LayerCounts]) -> str | None:
    """The first module in which a value is too large."""
    return next((name or "loss" for name, c in counts.items() if c.forward.beyond or c.weights.beyond), None)


def _starved(counts: LayerCounts) -> float:
    """Share of the nonzero activations or weights of a module that become zero, the larger of both."""
    return max(_share(c.vanished, c.nonzero) for c in (counts.forward, counts.weights))


def _worst(counts: LayerCounts) -> float:
    """What rounding costs a module, to order them: infinities before zeros."""
    beyond = max(_share(c.beyond, c.entries) for c in (counts.forward, counts.weights))
    vanished = max(_share(c.vanished, c.nonzero) for c in (counts.forward, counts.weights, counts.backward))
    return 2 * (beyond > 0) + beyond + vanished


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _by_module(gradients: Mapping[str, torch.Tensor]) -> dict[str, list[str]]:
    """Names of parameters by the module that holds them."""
    found: dict[str, list[str]] = {}
    for name in gradients:
        found.setdefault(name.rpartition(".")[0], []).append(name)
    return found


def _squares(values: torch.Tensor) -> float:
    return float(values.double().square().sum())


def _overall(reference: Step, low: Step) -> float:
    if not low.is_finite:
        return math.inf
    wrong = sum(_squares(low.gradients[n] - g) for n, g in reference.gradients.items() if n in low.gradients)
    whole = sum(_squares(g) for g in reference.gradients.values())
    return math.sqrt(wrong / whole) if whole > 0 else 0.0
