"""Directions in which a gradient is tried, each scaled tensor by tensor to the tensor's own size.

A single wrong element shows in full along random signs. A dense error e shows as about ``|e|`` times a Gaussian number. A common factor shows
up to sqrt(n) times stronger along sign(g), and a forgotten weight decay along sign(theta).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .objective import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """How far each tensor moves for a step of 1; tensors that are not named stay."""

    kind: str
    moves: Mapping[int, Array]

    def slope(self, gradients: Sequence[Array]) -> float:
        return float(sum(np.vdot(gradients[i], move) for i, move in self.moves.items()))

    def jittered(self, rng: np.random.Generator) -> Direction:
        """A fresh direction with the same signs: each element moves between half and one and a half times as far."""
        return Direction(
            kind=self.kind,
            moves={i: move * rng.uniform(0.5, 1.5, size=move.shape) for i, move in self.moves.items()},
        )


def tensor_scales(points: Sequence[Array]) -> tuple[float, ...]:
    """The size of a typical element of each tensor, its rms; a tensor of zeros gets the median of the others, or 1."""
    rms = [float(np.sqrt(np.mean(p**2))) for p in points]
    known = [r for r in rms if r > 0]
    fallback = float(np.median(known)) if known else 1.0
    return tuple(r or fallback for r in rms)


def random_signs(
    group: Sequence[int], points: Sequence[Array], scales: Sequence[float], rng: np.random.Generator
) -> Direction:
    return Direction(
        kind="random", moves={i: scales[i] * rng.choice((-1.0, 1.0), size=points[i].shape) for i in group}
    )


def signs_of(
    kind: str, of: Sequence[Array], group: Sequence[int], scales: Sequence[float]
) -> Direction | None:
    """Along the signs of the gradient or of the parameters; None where they are all zero."""
    moves = {i: scales[i] * np.sign(of[i]) for i in group if np.any(of[i])}
    return Direction(kind=kind, moves=moves) if moves else None
