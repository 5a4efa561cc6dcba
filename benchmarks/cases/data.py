"""The data of the cases: scikit-learn's small sets, and made-up ones that resemble what people train on."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

Pair = tuple[Tensor, Tensor]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def split(x: Tensor, y: Tensor, *, held_out: float = 0.25, seed: int = 0) -> tuple[Pair, Pair]:
    """Rows drawn at random for training, and the rest for validation."""
    order = torch.randperm(len(x), generator=seeded(seed))
    cut = round(len(x) * (1 - held_out))
    return (x[order[:cut]], y[order[:cut]]), (x[order[cut:]], y[order[cut:]])


def standardized(train: Pair, validation: Pair) -> tuple[Pair, Pair]:
    """Inputs by the training rows' mean and std, the same for both."""
    mean, std = train[0].mean(0), train[0].std(0).clamp(min=1e-6)
    return ((train[0] - mean) / std, train[1]), ((validation[0] - mean) / std, validation[1])


def loader(
    *tensors: Tensor, batch_size: int = 32, shuffle: bool = True, drop_last: bool = False
) -> DataLoader:
    return DataLoader(
        TensorDataset(*tensors),
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=drop_last,
        generator=seeded(),
    )


# --- scikit-learn's


def digit_images() -> Pair:
    """1,797 images of 1 x 8 x 8 from 0 to 1, and their digits."""
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32).view(-1, 1, 8, 8) / 16, torch.tensor(y)


def digit_rows() -> Pair:
    x, y = digit_images()
    return x.flatten(1), y


def breast_cancer() -> Pair:
    """569 rows of 30 raw features, and 0 or 1 as floats."""
    x, y = load_breast_cancer(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]


def wine() -> Pair:
    x, y = load_wine(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def diabetes() -> Pair:
    """442 rows of 10 features, each scaled to unit sum of squares, and a target from 25 to 346."""
    x, y = load_diabetes(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]


# --- tables


def housing(count: int = 1000) -> Pair:
    """Eight raw columns as in the California census, income to longitude, and a price from .15 to 5."""
    g = np.random.default_rng(0)
    income = np.exp(g.normal(1.2, 0.45, count))
    age = g.integers(1, 52, count)
    rooms = g.normal(5.4, 1.2, count).clip(1)
    bedrooms = rooms * g.normal(0.2, 0.02, count)
    population = np.exp(g.normal(7.0, 0.7, count))
    occupancy = g.normal(3, 0.6, count).clip(1)
    latitude, longitude = g.uniform(32.5, 42, count), g.uniform(-124.3, -114.3, count)
    coast = np.exp(-((latitude + longitude + 84) ** 2) / 4)
    price = 0.45 * income + 0.9 * coast - 0.15 * occupancy + 0.01 * age + g.normal(0, 0.25, count)
    x = np.stack([income, age, rooms, bedrooms, population, occupancy, latitude, longitude], 1)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(price.clip(0.15, 5), dtype=torch.float32)[
        :, None
    ]


def clicks(count: int = 1200) -> tuple[Tensor, Tensor, Tensor]:
    """Three categories of 50, 20 and 7 values, four dense features, and whether there was a click."""
    g = seeded(1)
    sizes = torch.tensor([50, 20, 7])
    categories = (torch.rand(count, 3, generator=g) * sizes).long()
    dense = torch.randn(count, 4, generator=g)
    tastes = [torch.randn(int(size), generator=g) for size in sizes]
    score = sum(taste[categories[:, i]] for i, taste in enumerate(tastes)) + dense[:, 0] - dense[:, 1] - 0.8
    clicked = (torch.rand(count, generator=g) < torch.sigmoid(1.5 * score)).float()
    return categories, dense, clicked


def ratings(count: int = 3000) -> tuple[Tensor, Tensor, Tensor]:
    """User of 80, film of 60, and a rating from 1 to 5 of rank three and a little noise."""
    g = seeded(2)
    users, films = torch.randint(80, (count,), generator=g), torch.randint(60, (count,), generator=g)
    left, right = torch.randn(80, 3, generator=g), torch.randn(60, 3, generator=g)
    score = 3.4 + 0.7 * (left[users] * right[films]).sum(1) + 0.2 * torch.randn(count, generator=g)
    return users, films, score.clamp(1, 5)


# --- pictures


def shapes(count: int = 480, size: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures as uint8 (a disc, a square or a cross on noise), their class, and their mask."""
    g = seeded(3)
    labels = torch.randint(3, (count,), generator=g)
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre = torch.randint(size // 3, size - size // 3, (count, 2, 1, 1), generator=g)
    down, right = (row - centre[:, 0]).abs(), (column - centre[:, 1]).abs()
    radius = torch.randint(size // 5, size // 3, (count, 1, 1), generator=g)
    square = torch.maximum(down, right) <= radius
    disc = down**2 + right**2 <= radius**2
    cross = (torch.minimum(down, right) <= 0) & (torch.maximum(down, right) <= radius)
    mask = torch.stack([disc, square, cross], 1)[torch.arange(count), labels]
    colour = torch.randint(140, 255, (count, 3, 1, 1), generator=g)
    ground = torch.randint(0, 110, (count, 3, size, size), generator=g)
    return torch.where(mask[:, None], colour, ground).to(torch.uint8), labels, mask.float()


def imagenet_normalized(pixels: Tensor) -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pixels.float() / 255 - mean[:, None, None]) / std[:, None, None]


# --- sequences


def reviews(count: int = 600, length: int = 16, vocabulary: int = 120) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids padded with 0, the mask of what is not padding, and 1 where the mood is good."""
    g = seeded(4)
    lengths = torch.randint(5, length + 1, (count,), generator=g)
    tokens = torch.randint(21, vocabulary, (count, length), generator=g)
    labels = torch.randint(2, (count,), generator=g)
    mood = 1 + 10 * labels[:, None] + torch.randint(10, (count, length), generator=g)
    moody = torch.rand(count, length, generator=g) < 0.35
    moody[:, 0] = True
    tokens = torch.where(moody, mood, tokens)
    mask = torch.arange(length) < lengths[:, None]
    return tokens * mask, mask, labels


def letters(length: int = 24) -> tuple[Tensor, int]:
    """Windows of `length` + 1 characters from made-up sentences, and the size of the alphabet."""
    g = np.random.default_rng(5)
    who, does = (
        ["the cat", "a small dog", "my uncle", "the old judge"],
        ["sees", "likes", "paints", "forgets"],
    )
    text = " ".join(f"{g.choice(who)} {g.choice(does)} {g.choice(who)}." for _ in range(400))
    alphabet = sorted(set(text))
    ids = torch.tensor([alphabet.index(letter) for letter in text])
    return ids.unfold(0, length + 1, 9), len(alphabet)


def waves(count: int = 500, length: int = 40) -> Pair:
    """Noisy sines of random period and phase, (count, length, 1), and the value after the last one."""
    g = seeded(6)
    period = 8 + 16 * torch.rand(count, 1, generator=g)
    phase = 2 * math.pi * torch.rand(count, 1, generator=g)
    series = torch.sin(2 * math.pi * torch.arange(length + 1) / period + phase)
    noisy = series + 0.05 * torch.randn(count, length + 1, generator=g)
    return noisy[:, :-1, None], series[:, -1:]


# --- others


def community_graph(count: int = 150, communities: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Features, the normalised adjacency matrix D^-1/2 (A + I) D^-1/2, and the community of each node."""
    g = seeded(7)
    labels = torch.arange(count) % communities
    same = labels[:, None] == labels[None, :]
    edges = torch.rand(count, count, generator=g) < torch.where(same, 0.15, 0.02)
    adjacency = (edges.triu(1) | edges.triu(1).T | torch.eye(count, dtype=torch.bool)).float()
    degree = adjacency.sum(1).rsqrt()
    hints = torch.randn(communities, 16, generator=g)
    features = 0.5 * hints[labels] + torch.randn(count, 16, generator=g)
    return features, degree[:, None] * adjacency * degree[None, :], labels


def painting(size: int = 24) -> Pair:
    """Coordinates from -1 to 1 and a smooth colour at each, as for a coordinate network."""
    axis = torch.linspace(-1, 1, size)
    xy = torch.cartesian_prod(axis, axis)
    x, y = xy[:, 0], xy[:, 1]
    red = torch.sin(9 * x) * torch.cos(7 * y)
    green = torch.exp(-4 * (x**2 + y**2))
    blue = torch.cos(12 * (x + y))
    return xy, (torch.stack([red, green, blue], 1) + 1) / 2
