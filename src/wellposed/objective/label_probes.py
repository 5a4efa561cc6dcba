"""Do the targets depend on the inputs at all? Three plain probes against shuffled targets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .result import BatchClasses, Kind, LabelProfile, TargetProfile

_ROWS = 1500
_COLUMNS = 4096
_NEIGHBOURS = 5
_SHUFFLES = 19
_RANDOM_FEATURES = 256


def probe_labels(inputs: np.ndarray, targets: np.ndarray, *, seed: int) -> LabelProfile | None:
    """Held-out skill of nearest neighbours, ridge regression and ridge on random features, beside their skill on shuffled targets.

    Parameters
    ----------
    inputs
        Shape ``(rows, ...)``; flattened and standardised here.
    targets
        Shape ``(rows,)`` or ``(rows, outputs)``: integer classes, or real values.

    Returns
    -------
    LabelProfile or None
        None when there are too few rows, or too many columns, to tell.
    """
    rng = np.random.default_rng(seed)
    rows = min(len(inputs), _ROWS)
    chosen = rng.permutation(len(inputs))[:rows]
    x = inputs[chosen].reshape(rows, -1)
    if rows < 100 or x.shape[1] > _COLUMNS:
        return None
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1.0)
    y = _indicators(targets[chosen])
    if y.shape[1] > 64 or np.all(y.std(0) == 0):
        return None
    fit, test = np.arange(rows // 2), np.arange(rows // 2, rows)
    probes = [_neighbours(x, fit, test), _ridge(x, fit, test), _ridge(_random_features(x, rng), fit, test)]
    orders = [np.arange(rows)] + [rng.permutation(rows) for _ in range(_SHUFFLES)]
    skills = np.array([[_skill(p @ y[o][fit], y[o][test], y[o][fit]) for o in orders] for p in probes])
    chance, spread = skills[:, 1:].mean(1), skills[:, 1:].std(1) + 1e-12
    best = int(np.argmax((skills[:, 0] - chance) / spread))
    return LabelProfile(
        rows=rows, score=float(skills[best, 0]), chance=float(chance[best]), chance_std=float(spread[best])
    )


def profile_targets(
    train: np.ndarray,
    validation: np.ndarray | None,
    *,
    kind: Kind,
    outputs: int,
    loss_depends: bool,
    complete: bool,
    batches: Sequence[np.ndarray] = (),
) -> TargetProfile:
    """What the targets of the splits are by themselves.

    Parameters
    ----------
    train, validation
        Shape ``(rows, ...)``.
    kind, outputs
        What the outputs show the targets to be, and how many classes they offer.
    loss_depends, complete
        Whether the loss depends on the targets, and whether `train` holds all training rows.
    batches
        The targets of batches as the user's loader gave them.
    """
    rows = train.reshape(len(train), -1)
    same = rows.shape[1] > 0 and bool((rows == rows[:1]).all())
    classes = kind == "classes" and train.ndim == 1
    counts = _counts(train, outputs) if classes else {}
    return TargetProfile(
        kind=kind,
        rows=len(train),
        constant=float(rows[0, 0]) if same else None,
        loss_depends=loss_depends,
        outputs=outputs if classes else 0,
        counts=counts,
        held_out=_counts(validation, outputs)
        if classes and validation is not None and validation.ndim == 1 and validation.dtype == train.dtype
        else None,
        complete=complete,
        batches=batch_classes(batches, counts) if classes else None,
    )


def batch_classes(batches: Sequence[np.ndarray], counts: Mapping[int, int]) -> BatchClasses | None:
    """How many classes batches hold, beside what random ones of the same sizes would.

    Parameters
    ----------
    batches
        Class numbers of the rows of each.
    counts
        Rows of each class in all data that were read.
    """
    shares = np.array(list(counts.values())) / max(sum(counts.values()), 1)
    labels = [y[np.isin(y, list(counts))] for y in batches]
    labels = [y for y in labels if len(y)]
    if len(shares) < 2 or len(labels) < 2:
        return None
    held = [np.unique(y) for y in labels]
    poor = []
    for y, classes in zip(labels, held, strict=True):
        share = sum(counts[c] for c in classes.tolist()) / sum(counts.values())
        # That all rows fall into one set of so many classes, times the number of such sets.
        poor.append(len(y) * math.log(share) + math.log(math.comb(len(shares), len(classes))))
    poor = [p for p in poor if p < 0]
    # That so many batches do, times the number of ways to choose them.
    chance = min(0.0, sum(poor) + math.log(math.comb(len(labels), len(poor))))
    expected = np.mean([float((1 - (1 - shares) ** len(y)).sum()) for y in labels])
    return BatchClasses(
        drawn=float(np.mean([len(classes) for classes in held])),
        expected=float(expected),
        chance=math.exp(chance),
        batches=len(labels),
    )


def _counts(labels: np.ndarray, outputs: int) -> dict[int, int]:
    """Rows of every class; what lies outside the outputs' classes (-100, 255) is ignored by the loss, and here."""
    classes, counts = np.unique(labels[(labels >= 0) & (labels < outputs)], return_counts=True)
    return dict(zip(classes.tolist(), counts.tolist(), strict=True))


def _indicators(targets: np.ndarray) -> np.ndarray:
    """Columns to predict: one a class, or the values themselves; centred."""
    y = targets.reshape(len(targets), -1)
    if y.shape[1] == 1 and np.issubdtype(targets.dtype, np.integer):
        y = (y == np.unique(y)[None, :]).astype(float)
    y = y.astype(float)
    return y - y.mean(0)


def _skill(predicted: np.ndarray, actual: np.ndarray, fitted: np.ndarray) -> float:
    """Correlation between prediction and truth over all columns: insensitive to how strongly a probe shrinks."""
    p, a = predicted - predicted.mean(0), actual - actual.mean(0)
    scale = np.sqrt((p**2).sum() * (a**2).sum())
    return float((p * a).sum() / scale) if scale > 0 else 0.0


def _neighbours(x: np.ndarray, fit: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The linear map that averages the targets of the nearest rows: ``(test rows, fitted rows)``."""
    squared = (x[test] ** 2).sum(1)[:, None] + (x[fit] ** 2).sum(1)[None] - 2 * x[test] @ x[fit].T
    nearest = np.argpartition(squared, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    weights = np.zeros((len(test), len(fit)))
    np.put_along_axis(weights, nearest, 1.0 / _NEIGHBOURS, axis=1)
    return weights


def _ridge(x: np.ndarray, fit: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The linear map of ridge regression in its dual form, with a penalty of a tenth of the mean eigenvalue."""
    kernel = x[fit] @ x[fit].T
    penalty = 0.1 * np.trace(kernel) / len(fit) + 1e-12
    return x[test] @ x[fit].T @ np.linalg.inv(kernel + penalty * np.eye(len(fit)))


def _random_features(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random rectified features: what a wide untrained network sees."""
    weights = rng.standard_normal((x.shape[1], _RANDOM_FEATURES)) / np.sqrt(x.shape[1])
    features = np.maximum(x @ weights + rng.standard_normal(_RANDOM_FEATURES), 0.0)
    return features - features.mean(0)
