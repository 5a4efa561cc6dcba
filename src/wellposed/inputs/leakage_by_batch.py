"""Find inputs that were normalised a batch at a time, or a sample at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..moments.exact.sums import Floats
from .coincidence import effective_columns, sample_means

_MAX_COLUMNS = 32
_MAX_SAMPLES = 1 << 17
_MIN_BATCH = 4
_CANDIDATES = 8
_NEAR = 1e-3  # of its own std: how near to 0 the sum of a batch must be
_ROUNDING = 1e-6  # no sum is held to be nearer
_STD = 1e-3
_SAME_SHAPE = 1e-4

_MIN_SAMPLES = 8
_MOST_SAMPLES = 256  # enough to know
_MIN_ENTRIES = 16
_SAMPLE_MEAN = 1e-4
_SAMPLE_STD = 1e-2


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Batches that have mean 0 and std 1 each."""

    rows: int
    """Samples a batch."""
    chance: float
    """Upper bound on the probability that random rows look so."""


def batches_by_themselves(x: Floats, samples: int) -> Batches | None:
    """Batches one after another whose own mean is 0 and std 1 in every column.

    Parameters
    ----------
    x
        As ``(entries, columns)``, in the order in which the samples are read.

    Notes
    -----
    The running sum comes back to 0 at the end of every batch. Data that repeat (hours of a day) do so too,
    and are told by their third moments: batches that were normalised differ in those.
    """
    x = x[:, :: -(-x.shape[1] // _MAX_COLUMNS)]
    entries = len(x) // samples
    samples = min(samples, _MAX_SAMPLES)
    x = x[: samples * entries]
    first = sample_means(x, samples)
    count = np.arange(1, samples + 1)[:, None]
    scale = np.maximum(np.sqrt((first * first).mean(axis=0) * count), np.finfo(np.float64).tiny)
    away = (np.abs(np.cumsum(first, axis=0)) / scale).max(axis=1)
    closed = away <= _NEAR
    sizes = [int(k) + 1 for k in np.flatnonzero(closed[: samples // 2]) if k + 1 >= _MIN_BATCH]
    if not sizes:
        return None
    second, third = sample_means(x * x, samples), sample_means(x**3, samples)
    for size in sizes[:_CANDIDATES]:
        whole = samples // size
        ends = slice(size - 1, whole * size, size)
        if not closed[ends].all():
            continue
        squares, cubes = (v[: whole * size].reshape(whole, size, -1).mean(axis=1) for v in (second, third))
        if _unit_std(squares, size * entries) and np.median(np.abs(np.diff(cubes, axis=0))) > _SAME_SHAPE:
            log = math.log(max(float(away[ends].max()), _ROUNDING)) * whole * effective_columns(x)
            return Batches(rows=size, chance=min(1.0, _CANDIDATES * math.exp(max(log, -700.0))))
    return None


def samples_by_themselves(x: Floats, samples: int) -> bool:
    """Whether each sample has mean 0 and std 1 over its own entries, by column or over all of them."""
    entries = len(x) // samples
    if samples < _MIN_SAMPLES or entries * x.shape[1] < _MIN_ENTRIES:
        return False
    samples = min(samples, _MOST_SAMPLES)
    x = x[: samples * entries]
    first, second = sample_means(x, samples), sample_means(x * x, samples)
    by_column = entries >= _MIN_ENTRIES and _standard(first, second)
    return by_column or _standard(first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True))


def _standard(first: Floats, second: Floats) -> bool:
    """Of nearly all samples: a blank one keeps std 0."""
    within = (np.abs(first) <= _SAMPLE_MEAN) & (np.abs(np.sqrt(second) - 1) <= _SAMPLE_STD)
    blank = second <= _SAMPLE_MEAN
    return bool((within | blank).all(axis=1).mean() >= 0.95 and within.mean() >= 0.5)


def _unit_std(squares: Floats, entries: int) -> bool:
    """By whichever of the two variances fits better."""
    stds = np.sqrt(squares), np.sqrt(squares * entries / (entries - 1))
    return bool(min(np.abs(s - 1).max() for s in stds) <= _STD)
