"""What the tests of Keras' Normalization layer claim: adapt on arrays, tensors and batches, tuples of axes, the inverse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

import wellposed as wp
from benchmarks.peer_claims.claims import Claim, Grid, Outcome, all_of, close, equal, refusal


def data(shape: tuple[int, ...], dtype: str) -> Any:
    return (np.random.default_rng(len(shape)).random(shape) * 4 - 1).astype(dtype)


def given(x: Any, form: str) -> Any:
    if form == "tensor":
        return torch.from_numpy(x)
    if form == "batches":
        return [x[i : i + 8] for i in range(0, len(x), 8)]
    if form == "generator":
        return (x[i : i + 8] for i in range(0, len(x), 8))
    if form == "loader":
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(x)), batch_size=8)
    return x


AXES: tuple[tuple[tuple[int, ...], int | tuple[int, ...] | None], ...] = (
    ((32, 4), None),
    ((32, 4), -1),
    ((32, 4), 1),
    ((32, 5, 3), -1),
    ((32, 5, 3), 1),
    ((32, 5, 3), (1, 2)),
    ((32, 4, 3, 5), (1, 2)),
    ((32, 4, 3, 5), -1),
    ((32, 4, 3, 5), (1, 3)),
    ((32, 4, 3, 5), (1, 2, 3)),
)


def adapted(shape: tuple[int, ...], axis: Any, form: str, dtype: str) -> Outcome:
    """Mean 0 and variance 1 over all axes that are not kept, and the statistics themselves."""
    x = data(shape, dtype)
    n = wp.Normalizer.fit(given(x, form), axis=axis)
    kept = {1} if axis is None else {a % len(shape) for a in (axis if isinstance(axis, tuple) else (axis,))}
    over = tuple(i for i in range(len(shape)) if i not in kept)
    wide = x.astype(np.longdouble)
    z = n(x)
    tol = 1e-12 if dtype == "float64" else 2e-6
    return all_of(
        close(np.ravel(n.mean), np.ravel(wide.mean(over)), rtol=1e-14, atol=1e-15, what="mean"),
        close(np.ravel(n.std) ** 2, np.ravel(wide.var(over)), rtol=1e-13, what="variance"),
        equal(z.shape, x.shape, what="shape"),
        equal(str(z.dtype), dtype, what="dtype"),
        close(
            z.astype(np.longdouble).mean(over),
            np.zeros(wide.mean(over).shape),
            atol=tol,
            what="mean of the output",
        ),
        close(
            z.astype(np.longdouble).var(over),
            np.ones(wide.mean(over).shape),
            atol=tol,
            what="variance of the output",
        ),
    )


def inverted(shape: tuple[int, ...], axis: Any, dtype: str) -> Outcome:
    x = data(shape, dtype)
    n = wp.Normalizer.fit(x, axis=axis)
    return close(
        n.inverse(n(x)),
        x,
        rtol=1e-14 if dtype == "float64" else 1e-6,
        atol=1e-14 if dtype == "float64" else 1e-6,
    )


def in_torch(shape: tuple[int, ...], axis: Any) -> Outcome:
    """The layer for a model gives what the normalizer gives, has no parameters to train, and keeps its state."""
    x = torch.from_numpy(data(shape, "float32"))
    n = wp.Normalizer.fit(x, axis=axis)
    layer = n.to_torch()
    return all_of(
        close(layer(x).numpy(), n(x).numpy(), rtol=1e-6, atol=1e-6),
        equal(sum(p.numel() for p in layer.parameters() if p.requires_grad), 0, what="trainable parameters"),
        equal(len(layer.state_dict()) > 0, True, what="state dict"),
    )


def claims() -> list[Claim]:
    grid = Grid("Keras Normalization")
    for (shape, axis), form, dtype in itertools.product(
        AXES, ("array", "tensor", "batches", "generator", "loader"), ("float64", "float32")
    ):
        grid.add("scaling", f"{shape} axis {axis} {form} {dtype}", adapted, shape, axis, form, dtype)
    for shape, axis in AXES:
        for dtype in ("float64", "float32"):
            grid.add("scaling", f"{shape} axis {axis} inverse {dtype}", inverted, shape, axis, dtype)
        grid.add("scaling", f"{shape} axis {axis} as a layer", in_torch, shape, axis)
    for shape, axis in (((2, 2), 3), ((2, 3, 4), -4), ((4, 3), 7), ((4, 3), 0)):
        grid.add(
            "scaling",
            f"{shape} has no axis {axis} to keep",
            lambda s=shape, a=axis: refusal(lambda: wp.Normalizer.fit(np.ones(s), axis=a)),
        )
    grid.add(
        "scaling",
        "another shape than it was adapted to",
        lambda: refusal(
            lambda: wp.Normalizer.fit(np.random.default_rng(0).random((10, 5)))(np.ones((10, 3)))
        ),
    )
    grid.add(
        "scaling",
        "batches of two shapes",
        lambda: refusal(lambda: wp.Normalizer.fit([np.ones((4, 5)), np.ones((4, 3))])),
    )
    grid.add("scaling", "axis None: one mean for all", whole)
    return grid.claims


def whole() -> Outcome:
    """The peer's axis=None keeps no axis; here an empty tuple of axes would say so."""
    x = data((32, 4), "float64")
    n = wp.Normalizer.fit(x, axis=())
    return close(np.ravel(n.mean), [x.astype(np.longdouble).mean()], rtol=1e-14)
