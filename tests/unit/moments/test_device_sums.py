"""Sums on a device: cut into parts of bounded size, with the constants and the bits of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wellposed.moments import Moments
from wellposed.moments.exact import torch_sums
from wellposed.moments.reduction import reduce_tensor

RNG = np.random.default_rng(0)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries were cut into digits, each time."""
    sizes, split = [], torch_sums._split

    def counted(x: torch.Tensor):
        sizes.append(x.numel())
        return split(x)

    monkeypatch.setattr(torch_sums, "_split", counted)
    return sizes


def test_few_rows_of_many_columns_are_not_filled_up(cut: list[int]) -> None:
    reduce_tensor(torch.tensor(RNG.normal(size=(8, 3000))))

    assert cut == [8 * 3000]


@pytest.mark.parametrize("shape", [(8, 3000), (1023, 40), (1025, 40), (3000, 7), (2, 9000)])
def test_a_part_is_no_larger_than_it_should_be_and_the_bits_are_the_same(
    shape: tuple[int, int], cut: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = RNG.normal(size=shape) * np.geomspace(1e-40, 1e40, shape[1])
    x[0, ::5], x[1, ::7], x[:, 3] = np.nan, np.inf, 0.0
    monkeypatch.setattr(torch_sums, "_ENTRIES", 1 << 12)

    found = reduce_tensor(torch.tensor(x))

    assert max(cut) <= 1 << 12
    assert found.fingerprint == Moments.of(x).fingerprint
