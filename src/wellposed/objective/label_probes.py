"""Do the targets depend on the inputs at all? Three plain probes against shuffled targets."""

from __future__ import annotations

import numpy as np

from .result import Kind, LabelProfile, TargetProfile

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
    """
    rows = train.reshape(len(train), -1)
    same = rows.shape[1] > 0 and bool((rows == rows[:1]).all())
    classes = kind == "classes" and train.ndim == 1
    return TargetProfile(
        kind=kind,
        rows=len(train),
        constant=float(rows[0, 0]) if same else None,
        loss_depends=loss_depends,
        outputs=outputs if classes else 0,
        counts=_counts(train, outputs) if classes else {},
        held_out=_counts(validation, outputs)
        if classes and validation is not None and validation.ndim == 1 and validation.dtype == train.dtype
        else None,
        complete=complete,
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
