"""What the problems of an author who had read the README alone are made of: tables, texts, images, loaders, schedules."""

import math
import random
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn as nn
from sklearn import datasets as skd
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class Case:
    name: str
    author_note: str
    sick: Callable[[], dict]
    healthy: Callable[[], dict]
    expect_kinds: tuple
    where: str | None


SCHEDULES = weakref.WeakKeyDictionary()


def seed(k):
    random.seed(k)
    np.random.seed(k)
    torch.manual_seed(k)


def warmup(opt, steps=20, total=400):
    """The usual linear warm-up, then cosine. The first step is at 1/steps of the rate."""
    SCHEDULES[opt] = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: min(1.0, (s + 1) / steps) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / total)))
    )
    return opt


def linear_warmup_from_zero(opt, steps=20, total=600):
    """transformers.get_linear_schedule_with_warmup: the very first rate is 0."""
    SCHEDULES[opt] = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: s / steps if s < steps else max(0.0, (total - s) / (total - steps))
    )
    return opt


def take(tree, i):
    if isinstance(tree, dict):
        return {k: take(v, i) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return tuple(take(v, i) for v in tree)
    return tree[i]


def length(tree):
    while not torch.is_tensor(tree):
        tree = next(iter(tree.values())) if isinstance(tree, dict) else tree[0]
    return len(tree)


class Rows(Dataset):
    """Row i of every tensor in a nested dict or tuple."""

    def __init__(self, tree):
        self.tree = tree

    def __len__(self):
        return length(self.tree)

    def __getitem__(self, i):
        return take(self.tree, i)


def loaders(tree, batch=64, held_out=0.25, k=0, drop_last=False):
    n = length(tree)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(k))
    cut = int(n * (1 - held_out))
    train = DataLoader(
        Rows(take(tree, order[:cut])),
        batch,
        shuffle=True,
        drop_last=drop_last,
        generator=torch.Generator().manual_seed(k),
    )
    return train, DataLoader(Rows(take(tree, order[cut:])), 128)


@lru_cache(None)
def _table(name):
    d = getattr(skd, "load_" + name)()
    return torch.tensor(np.asarray(d.data, dtype=np.float32)), torch.tensor(np.asarray(d.target))


def table(name):
    x, y = _table(name)
    return x.clone(), y.clone()


def standard(x):
    return (x - x.mean(0)) / (x.std(0) + 1e-8)


@lru_cache(None)
def _corpus():
    names = ["iris", "wine", "breast_cancer", "digits", "diabetes", "linnerud"]
    text = " ".join(getattr(skd, "load_" + n)().DESCR for n in names).lower()
    text = re.sub(r"[^a-z .,:()0-9\n-]", "", text)
    text = re.sub(r"[ \n]+", " ", text)
    text = re.sub(r"([.=-])\1+", r"\1", text)
    chars = sorted(set(text))
    return torch.tensor([chars.index(c) for c in text]), len(chars)


def char_windows(size, stride=3):
    """Real English (the data sets' descriptions), as characters: inputs and the same shifted by one."""
    ids, vocab = _corpus()
    starts = torch.arange(0, len(ids) - size - 1, stride)
    w = ids[starts[:, None] + torch.arange(size + 1)]
    cut = int(len(w) * 0.85)
    gap = size // stride + 1
    return w[:cut], w[cut + gap :], vocab


def digits_images(scale=16.0):
    x, y = table("digits")
    return x.view(-1, 1, 8, 8) / scale, y


def topic_documents(n, vocab, length, classes, g, first=4):
    """Zipf-distributed words; each class has its own preferred words. Id 0 pads, lengths differ."""
    p = 1.0 / torch.arange(1, vocab - first + 1).float()
    y = torch.randint(0, classes, (n,), generator=g)
    own = torch.stack([torch.randperm(vocab - first, generator=g)[:12] for _ in range(classes)])
    ids = torch.multinomial(p.expand(n, -1), length, replacement=True, generator=g) + first
    pick = torch.rand(n, length, generator=g) < 0.25
    mine = own[y][torch.arange(n)[:, None], torch.randint(0, 12, (n, length), generator=g)] + first
    ids = torch.where(pick, mine, ids)
    lengths = torch.randint(length // 3, length + 1, (n,), generator=g)
    mask = (torch.arange(length)[None] < lengths[:, None]).long()
    return ids * mask, mask, y


def gen(k):
    return torch.Generator().manual_seed(k)


def mlp(*sizes, act=nn.ReLU):
    layers = []
    for a, b in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
