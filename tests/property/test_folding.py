"""Folding equals normalising first, whatever the layer, the statistics and the type."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wellposed import Normalizer
from wellposed.normalize.torch.fold import fold_into

KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TYPES = st.sampled_from([torch.float32, torch.float64])
METHODS = st.sampled_from(["standard", "minmax", "maxabs", "zca"])
few = settings(max_examples=40, deadline=None)


def data(rng: np.random.Generator, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Columns of very different size, none farther than some hundred stds from 0."""
    wide = [1] * len(shape)
    wide[axis] = shape[axis]
    scale = 10.0 ** rng.uniform(-4, 4, size=wide)
    return (rng.normal(size=shape) + rng.uniform(-30, 30, size=wide)) * scale


def assert_folding_equals_normalising_first(n: Normalizer, layer: Any, x: np.ndarray) -> None:
    """To a bound on rounding: raw inputs and weights are each rounded, and so is every term of the sums."""
    state = torch.get_rng_state()
    folded = fold_into(n, layer)
    z, raw = (torch.tensor(v, dtype=layer.weight.dtype) for v in (n(x), x))
    expected, found = layer(z), folded(raw)
    assert torch.equal(torch.get_rng_state(), state)

    # |W| (|x| + |c|)/s |R| is what the terms of the sums add up to.
    terms = layer.weight.detach().abs().double().flatten(1).sum(1).max() * _reach(n, x) + 1
    spacing = torch.finfo(layer.weight.dtype).eps
    size = layer.weight[0].numel() + 8
    assert (found - expected).abs().max().double() <= 4 * size * spacing * terms


def _reach(n: Normalizer, x: np.ndarray) -> float:
    columns = np.moveaxis(np.abs(x), n.axis[0], -1) + np.abs(n.center)
    reach = columns / n.scale
    if n.rotation is not None:
        reach = reach @ np.abs(n.rotation)
    return float(reach.max())


@few
@given(
    seed=st.integers(0, 10**6),
    fan=st.tuples(st.integers(1, 6), st.integers(1, 5)),
    bias=st.booleans(),
    dtype=TYPES,
    method=METHODS,
)
def test_a_linear_layer(seed: int, fan: tuple[int, int], bias: bool, dtype: torch.dtype, method: str) -> None:
    torch.manual_seed(seed)
    x = data(np.random.default_rng(seed), (40, fan[0]), 1)
    layer = nn.Linear(*fan, bias=bias, dtype=dtype)

    assert_folding_equals_normalising_first(Normalizer.fit(x, method=method), layer, x)


@few
@given(
    seed=st.integers(0, 10**6),
    axes=st.integers(1, 3),
    groups=st.integers(1, 3),
    width=st.integers(1, 2),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    padding=st.one_of(st.integers(0, 3), st.sampled_from(["same", "valid"])),
    mode=st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]),
    bias=st.booleans(),
    dtype=TYPES,
)
def test_a_convolution(
    seed: int,
    axes: int,
    groups: int,
    width: int,
    kernel: int,
    stride: int,
    dilation: int,
    padding: Any,
    mode: str,
    bias: bool,
    dtype: torch.dtype,
) -> None:
    torch.manual_seed(seed)
    x = data(np.random.default_rng(seed), (3, groups * width, *[8] * axes), 1)
    layer = KINDS[axes](
        groups * width,
        2 * groups,
        kernel,
        stride=1 if padding == "same" else stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias,
        padding_mode=mode,
        dtype=dtype,
    )

    assert_folding_equals_normalising_first(Normalizer.fit(x, axis=1), layer, x)


@few
@given(seed=st.integers(0, 10**6), width=st.integers(1, 4), padding=st.integers(0, 2), dtype=TYPES)
def test_a_convolution_over_whitened_channels(
    seed: int, width: int, padding: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(seed)
    x = data(np.random.default_rng(seed), (4, width, 7, 7), 1)
    layer = nn.Conv2d(width, 3, 3, padding=padding, dtype=dtype)

    assert_folding_equals_normalising_first(Normalizer.fit(x, method="zca", axis=1), layer, x)
