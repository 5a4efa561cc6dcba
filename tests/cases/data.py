"""The data that the cases train on: small, offline, and the same in every run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_digits, make_circles
from torch import Tensor

Pair = tuple[Tensor, Tensor]
PIXEL_MAXIMUM = 16
"""The digits of scikit-learn have pixels from 0 to 16."""


def standardized(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.std(0) + 1e-8)


def digits(*, scale: float = 1 / PIXEL_MAXIMUM, images: bool = False) -> Callable[[], Pair]:
    """Handwritten digits, shuffled: rows of 64 pixels, or images of 1 x 8 x 8; every pixel times `scale`."""

    def load() -> Pair:
        data, target = load_digits(return_X_y=True)
        order = np.random.RandomState(0).permutation(len(data))
        x = torch.tensor(data[order], dtype=torch.float32) * scale
        return (x.view(-1, 1, 8, 8) if images else x), torch.tensor(target[order])

    return load


def standardized_digits() -> Pair:
    x, labels = digits()()
    return standardized(x), labels


def digits_to_reconstruct() -> Pair:
    x, _ = digits()()
    return x, x


def digits_with_shuffled_labels() -> Pair:
    x, labels = digits()()
    return x, labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]


def digits_with_a_nan() -> Pair:
    x, labels = digits()()
    x = x.clone()
    x[7, 3] = float("nan")
    return x, labels


def digits_mostly_zeros() -> Pair:
    """All of class 0, and 3 % of the others."""
    x, labels = digits()()
    kept = (labels == 0) | (torch.rand(len(labels), generator=torch.Generator().manual_seed(0)) < 0.03)
    return x[kept], labels[kept]


def circles() -> Pair:
    x, labels = make_circles(600, noise=0.05, factor=0.5, random_state=0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)[:, None]


def all_ones_or_all_zeros() -> Pair:
    order = np.random.RandomState(0).permutation(256)
    x = np.r_[np.ones((128, 128)), np.zeros((128, 128))][order]
    labels = np.r_[np.ones(128), np.zeros(128)][order]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32)[:, None]


def table_of_three_units(*, standardize: bool) -> Callable[[], Pair]:
    """Three features with stds 1, 500 and .01, of which the first and the last decide the class."""

    def make() -> Pair:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(600, 3, generator=generator) * torch.tensor([1.0, 500.0, 0.01])
        x = x + torch.tensor([0, 3000.0, 0.1])
        z = (x - x.mean(0)) / x.std(0)
        labels = ((z[:, 0] * z[:, 2] + z[:, 0]) > 0).float()[:, None]
        return (standardized(x) if standardize else x), labels

    return make


def noisy_parabola(*, standardize: bool = False) -> Callable[[], Pair]:
    """y = 5 x^2 + noise^3 for x from 0 to 5."""

    def make() -> Pair:
        grid = np.arange(0, 5, 0.1).reshape(-1, 1)
        values = 5 * grid**2 + np.random.RandomState(0).randn(50, 1) ** 3
        x, y = torch.tensor(grid, dtype=torch.float32), torch.tensor(values, dtype=torch.float32)
        return (standardized(x), standardized(y)) if standardize else (x, y)

    return make


def parabola_up_to_500(*, standardize: bool) -> Callable[[], Pair]:
    def make() -> Pair:
        x = torch.arange(0, 500, dtype=torch.float32)[:, None]
        y = x**2 / 10 + 3 * x
        return (standardized(x), standardized(y)) if standardize else (x, y)

    return make


def sine() -> Pair:
    x = torch.linspace(-3, 3, 256)[torch.randperm(256, generator=torch.Generator().manual_seed(0))][:, None]
    return x, torch.sin(x)


def linear_around_five() -> Pair:
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    return x, x @ torch.tensor([[1.0], [2], [-1], [0.5]]) + 5


def tokens_to_rotate(*, vocabulary: int = 32, length: int = 16, count: int = 256) -> Pair:
    """The target at each position is the token before it; at the first, the last token."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, vocabulary, (count, length), generator=generator)
    return tokens, torch.roll(tokens, 1, 1)


def sum_of_first_three(length: int) -> Callable[[], Pair]:
    """Series of noise; the target is the sum of the first three values."""

    def make() -> Pair:
        x = torch.randn(256, length, 1, generator=torch.Generator().manual_seed(0)) * 0.5
        return x, x[:, :3].sum(1)

    return make


def bags_of_words() -> Pair:
    """20 words of 5,000 a row; words 1 to 3 tell the class."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(0, 5000, (256, 20), generator=generator)
    labels = words[:, 0] % 2
    words[:, 1:4] = labels[:, None] * 10 + torch.randint(0, 10, (256, 3), generator=generator)
    return words, labels


def one_hot_bags_of_words() -> Pair:
    words, labels = bags_of_words()
    x = torch.zeros(256, 5000)
    x.scatter_(1, words, 1.0)
    return x, labels
