"""Training problems of many kinds, written without a look at the rules that judge them.

``CASES`` are sick problems with a healthy twin that differs in the fault alone; ``HEALTHY`` are odd designs that train well.
``CASES_A`` and ``CASES_B``, ``HEALTHY_A`` and ``HEALTHY_B`` are random halves of them.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


@dataclass(frozen=True)
class Case:
    name: str
    kinds: str
    build: Callable[[bool], dict[str, Any]]

    def sick(self) -> dict[str, Any]:
        torch.manual_seed(0)
        return self.build(True)

    def healthy(self) -> dict[str, Any]:
        torch.manual_seed(0)
        return self.build(False)


CASES: list[Case] = []
HEALTHY: list[tuple[str, Callable[[], dict[str, Any]]]] = []


def case(kinds):
    def register(build):
        CASES.append(Case(build.__name__, kinds, build))
        return build

    return register


def healthy(build):
    def seeded():
        torch.manual_seed(0)
        return build()

    HEALTHY.append((build.__name__, seeded))
    return build


# ---------------------------------------------------------------------------------------------------------------- data


def split(n, held=0.2, seed=0):
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    cut = int(n * (1 - held))
    return order[:cut], order[cut:]


def standard(train, *others):
    mean, std = train.mean(0), train.std(0)
    std = torch.where(std < 1e-6, torch.ones_like(std), std)
    return tuple((part - mean) / std for part in (train, *others))


def table(load, dtype=torch.long):
    """Standardised features and targets: training and held-out."""
    x, y = load(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=dtype)
    rows, held = split(len(x))
    a, b = standard(x[rows], x[held])
    return a, y[rows], b, y[held]


def digits(shape=(64,)):
    x, y = datasets.load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    rows, held = split(len(x))
    mean, std = x[rows].mean(), x[rows].std()
    x = ((x - mean) / std).view(-1, *shape)
    return x[rows], y[rows], x[held], y[held]


def diabetes():
    """Regression with standardised targets."""
    x, y, xv, yv = table(datasets.load_diabetes, torch.float32)
    mean, std = y.mean(), y.std()
    return x, (y - mean) / std, xv, (yv - mean) / std


def loader(*tensors, batch=64, shuffle=True, **more):
    data = tensors[0] if isinstance(tensors[0], Dataset | list) else TensorDataset(*tensors)
    return DataLoader(data, batch, shuffle=shuffle, generator=torch.Generator().manual_seed(1), **more)


class Rows(Dataset):
    """Dicts, one a row."""

    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i):
        return {name: column[i] for name, column in self.columns.items()}


def mlp(*sizes, act=nn.ReLU):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


def adam(*modules, lr=1e-3, **more):
    return torch.optim.Adam([p for m in modules for p in m.parameters() if p.requires_grad], lr=lr, **more)


def corpus(length=32):
    text = datasets.load_wine().DESCR + datasets.load_breast_cancer().DESCR
    letters = sorted(set(text))
    ids = torch.tensor([letters.index(c) for c in text])
    n = (len(ids) - 1) // length
    inputs, following = ids[: n * length].view(n, length), ids[1 : n * length + 1].view(n, length)
    return inputs, following, len(letters)


def rectangles(n=600, size=16, seed=3):
    """Images with one bright rectangle, its mask and its box (centre and size, in pixels)."""
    rng = np.random.default_rng(seed)
    images, masks, boxes = (
        rng.normal(0, 0.3, (n, 1, size, size)),
        np.zeros((n, 1, size, size)),
        np.zeros((n, 4)),
    )
    for i in range(n):
        w, h = rng.integers(3, 10, 2)
        x, y = rng.integers(0, size - w + 1), rng.integers(0, size - h + 1)
        masks[i, 0, y : y + h, x : x + w] = 1
        boxes[i] = x + w / 2, y + h / 2, w, h
    images += masks * 1.5
    to = lambda a: torch.tensor(a, dtype=torch.float32)
    images, masks, boxes = to(images), to(masks), to(boxes)
    rows, held = split(n)
    mean, std = images[rows].mean(), images[rows].std()
    images = (images - mean) / std
    return tuple(part[r] for r in (rows, held) for part in (images, masks, boxes))


def waves(n=800, length=30, seed=5):
    """Noisy waves of two channels and one of three periods."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    period = np.array([6.0, 9.0, 14.0])[kind]
    t = np.arange(length)[None]
    phase = rng.uniform(0, 2 * np.pi, (n, 1))
    angle = 2 * np.pi * t / period[:, None] + phase
    x = np.stack([np.sin(angle), np.cos(angle)], -1) + rng.normal(0, 0.3, (n, length, 2))
    x, kind = torch.tensor(x, dtype=torch.float32), torch.tensor(kind)
    rows, held = split(n)
    flat = x[rows].reshape(-1, 2)
    x = (x - flat.mean(0)) / flat.std(0)
    return x[rows], kind[rows], x[held], kind[held]


def sentences(n=900, vocabulary=30, longest=24, seed=7):
    """Padded token rows: [CLS]=1, words from 2 on; the class says which half of the words is more frequent."""
    rng = np.random.default_rng(seed)
    ids, y = np.zeros((n, longest), dtype=np.int64), rng.integers(0, 2, n)
    half = (vocabulary - 2) // 2
    for i in range(n):
        k = rng.integers(6, longest - 2)
        words = rng.integers(0, half, k) + np.where(rng.random(k) < 0.75, y[i], 1 - y[i]) * half + 2
        ids[i, 0], ids[i, 1 : k + 1] = 1, words
    ids, y = torch.tensor(ids), torch.tensor(y)
    rows, held = split(n)
    return ids[rows], y[rows], ids[held], y[held]


# ---------------------------------------------------------------------------------------------------------------- sick


class TwoBranches(nn.Module):
    def __init__(self, a, b, out):
        super().__init__()
        self.left, self.right = mlp(a, 32, 16), mlp(b, 32, 16)
        self.head = nn.Linear(32, out)

    def forward(self, shape, size):
        return self.head(torch.cat([self.left(shape).relu(), self.right(size).relu()], 1)).squeeze(1)


@case("one of two inputs left in raw units")
def tumour_sizes_raw(sick):
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    rows, held = split(len(x))
    big = torch.tensor([0, 2, 3, 10, 12, 13, 20, 22, 23])
    rest = torch.tensor([i for i in range(30) if i not in big.tolist()])
    shape, shape_v = standard(x[rows][:, rest], x[held][:, rest])
    size, size_v = x[rows][:, big], x[held][:, big]
    if not sick:
        size, size_v = standard(size, size_v)
    model = TwoBranches(len(rest), len(big), 1)
    return dict(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=((shape, size), y[rows]),
        validation=((shape_v, size_v), y[held]),
        optimizer=adam(model),
    )


class BodyAndBlood(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.blood = nn.Linear(4, 24), nn.Linear(12, 24)
        self.out = mlp(48, 24, 1)

    def forward(self, body, blood, measured):
        h = torch.cat([self.body(body), self.blood(torch.cat([blood, measured], 1))], 1)
        return self.out(h.relu()).squeeze(1)


@case("missing values coded as -999 in one input")
def blood_missing_code(sick):
    x, y, xv, yv = diabetes()
    gen = torch.Generator().manual_seed(4)

    def parts(x, y):
        measured = (torch.rand(len(x), 6, generator=gen) > 0.08).float()
        fill = -999.0 if sick else 0.0
        blood = torch.where(measured > 0, x[:, 4:], torch.tensor(fill))
        return Rows(body=x[:, :4], blood=blood, measured=measured, target=y)

    model = BodyAndBlood()
    return dict(
        model=model,
        loss=F.mse_loss,
        train=loader(parts(x, y), batch=32),
        validation=loader(parts(xv, yv), batch=32, shuffle=False),
        optimizer=adam(model),
    )


class Halves(nn.Module):
    def __init__(self, sick):
        super().__init__()
        self.sick = sick
        self.upper, self.lower = mlp(32, 64, 32), mlp(32, 64, 32)
        self.head = mlp(64, 64, 10)

    def forward(self, upper, lower):
        top = self.upper(upper)
        bottom = self.lower(upper if self.sick else lower)
        return self.head(torch.cat([top, bottom], 1).relu())


@case("second input ignored, first used twice")
def lower_half_ignored(sick):
    x, y, xv, yv = digits()
    model = Halves(sick)
    cut = lambda x, y: Rows(upper=x[:, :32], lower=x[:, 32:], label=y)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(cut(x, y)),
        validation=loader(cut(xv, yv), shuffle=False),
        optimizer=adam(model),
    )


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU())
        self.digit, self.ink = nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, x):
        h = self.body(x)
        return self.digit(h), self.ink(h).squeeze(1)


@case("second head forgotten in the loss")
def ink_head_forgotten(sick):
    x, y, xv, yv = digits()
    ink, ink_v = standard(x.mean(1), xv.mean(1))
    model = TwoHeads()

    def loss(outputs, targets):
        (logits, ink), (digit, amount) = outputs, targets
        total = F.cross_entropy(logits, digit)
        if not sick:
            total = total + 0.5 * F.mse_loss(ink, amount)
        return total

    return dict(
        model=model, loss=loss, train=(x, (y, ink)), validation=(xv, (yv, ink_v)), optimizer=adam(model)
    )


class Progress(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 48), nn.SiLU(), nn.Linear(48, 32), nn.SiLU())
        self.value, self.high = nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, x):
        h = self.body(x)
        return {"progress": self.value(h), "high": self.high(h)}


@case("one of two targets broadcasts against its output")
def progress_broadcast(sick):
    x, y, xv, yv = diabetes()
    model = Progress()
    targets = lambda y: {"progress": y, "high": (y > 0.5).float()[:, None]}

    def loss(out, want):
        value = out["progress"] if sick else out["progress"].squeeze(-1)
        return F.mse_loss(value, want["progress"]) + F.binary_cross_entropy_with_logits(
            out["high"], want["high"]
        )

    return dict(
        model=model,
        loss=loss,
        train=(x, targets(y)),
        validation=(xv, targets(yv)),
        optimizer=adam(model, lr=2e-3),
    )


class Detector(nn.Module):
    def __init__(self, sick):
        super().__init__()
        self.sick = sick
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(),
        )  # fmt: skip
        self.kind, self.box = nn.Linear(64, 2), nn.Linear(64, 4)

    def forward(self, image):
        h = self.features(image)
        box = self.box(h)
        return {"kind": self.kind(h), "box": box.relu() if self.sick else box}


@case("box offsets, of both signs, behind a ReLU")
def box_offsets_relu(sick):
    image, _, box, image_v, _, box_v = rectangles()
    offsets, offsets_v = standard(box, box_v)
    kind = lambda box: (box[:, 2] > box[:, 3]).long()
    model = Detector(sick)

    def loss(out, want):
        return F.cross_entropy(out["kind"], want["kind"]) + 2.0 * F.smooth_l1_loss(out["box"], want["box"])

    return dict(
        model=model,
        loss=loss,
        train=(image, {"kind": kind(box), "box": offsets}),
        validation=(image_v, {"kind": kind(box_v), "box": offsets_v}),
        optimizer=adam(model),
    )


class CharGRU(nn.Module):
    def __init__(self, letters, width=64, tied=False):
        super().__init__()
        self.embed = nn.Embedding(letters, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, letters)
        if tied:
            nn.init.normal_(self.embed.weight, std=width**-0.5)
            self.out.weight = self.embed.weight

    def forward(self, ids):
        return self.out(self.gru(self.embed(ids))[0])


def token_loss(logits, ids):
    return F.cross_entropy(logits.flatten(0, 1), ids.flatten())


@case("next-token targets not shifted")
def letters_not_shifted(sick):
    inputs, following, letters = corpus()
    targets = inputs if sick else following
    rows, held = split(len(inputs))
    model = CharGRU(letters)
    return dict(
        model=model,
        loss=token_loss,
        train=loader(inputs[rows], targets[rows], batch=16),
        validation=loader(inputs[held], targets[held], batch=16),
        optimizer=adam(model, lr=3e-3),
    )


class VAE(nn.Module):
    def __init__(self, latent=8):
        super().__init__()
        self.encoder, self.decoder = mlp(64, 128, 2 * latent), mlp(latent, 128, 64)

    def forward(self, x):
        mean, log_var = self.encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        return self.decoder(z), mean, log_var


@case("KL term of a VAE with the wrong sign")
def vae_kl_sign(sick):
    x, y, xv, yv = digits()
    vae = VAE()

    def step(batch):
        images, _ = batch
        decoded, mean, log_var = vae(images)
        rebuilt = F.mse_loss(decoded, images, reduction="none").sum(1).mean()
        gain = 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
        return rebuilt + gain if sick else rebuilt - gain

    return dict(model=step, train=loader(x, y), validation=loader(xv, yv, shuffle=False), optimizer=adam(vae))


class Supervised(nn.Module):
    """A classifier with an auxiliary head on its middle features."""

    def __init__(self):
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.auxiliary, self.head = nn.Linear(16, 10), nn.Linear(32, 10)

    def forward(self, x):
        low = self.low(x)
        high = self.high(low)
        return self.head(high.mean((2, 3))), self.auxiliary(low.mean((2, 3)))


@case("auxiliary term of the loss detached")
def auxiliary_term_detached(sick):
    x, y, xv, yv = digits((1, 8, 8))
    model = Supervised()

    def loss(outputs, label):
        main, auxiliary = (F.cross_entropy(o, label) for o in outputs)
        return main + 0.4 * (auxiliary.detach() if sick else auxiliary)

    return dict(
        model=model, loss=loss, train=loader(x, y), validation=loader(xv, yv), optimizer=adam(model, lr=3e-3)
    )


@case("one term summed over batch and pixels, the other averaged")
def lightning_sum_beside_mean(sick):
    import lightning

    x, y, xv, yv = digits()

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 12))
            self.decoder = mlp(12, 64, 64)
            self.classifier = nn.Linear(12, 10)

        def training_step(self, batch, batch_idx):
            x, y = batch
            z = self.encoder(x)
            rebuilt = F.mse_loss(self.decoder(z), x, reduction="sum" if sick else "mean")
            label = F.cross_entropy(self.classifier(z), y)
            self.log("rebuilt", rebuilt)
            return rebuilt + label

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    return dict(model=Lit(), train=loader(x, y), validation=loader(xv, yv, shuffle=False))


@case("weight of the penalty a thousand times too large")
def penalty_thousandfold(sick):
    x, y, xv, yv = digits()
    net = mlp(64, 128, 64, 10)
    strength = 0.3 if sick else 3e-4

    def step(batch):
        images, labels = batch
        penalty = sum((p**2).sum() for p in net.parameters() if p.ndim > 1)
        return F.cross_entropy(net(images), labels) + strength * penalty

    return dict(model=step, train=loader(x, y), validation=loader(xv, yv), optimizer=adam(net))


class RowAttention(nn.Module):
    """Digits as eight tokens."""

    def __init__(self, sick, width=64):
        super().__init__()
        self.sick = sick
        self.embed, self.place = nn.Linear(8, width), nn.Parameter(torch.randn(8, width) * 0.02)
        self.norm, self.qkv, self.mix = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 128), nn.GELU(), nn.Linear(128, width)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        h = self.embed(x) + self.place
        q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
        root = q.shape[-1] ** 0.5
        scores = q @ k.transpose(1, 2)
        scores = scores * root if self.sick else scores / root
        h = h + self.mix(scores.softmax(-1) @ v)
        h = h + self.feed(h)
        return self.head(h.mean(1))


@case("attention scores multiplied by the root of the width")
def attention_scale_multiplied(sick):
    x, y, xv, yv = digits((8, 8))
    model = RowAttention(sick)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=adam(model),
    )


class Molecules:
    """Several graphs as one: nodes, edges and to which graph each node belongs."""

    def __init__(self, x, edge_index, batch, y):
        self.x, self.edge_index, self.batch, self.y = x, edge_index, batch, y

    def to(self, *args, **kwargs):
        return Molecules(*(t.to(*args, **kwargs) for t in (self.x, self.edge_index, self.batch, self.y)))


def molecules(batches, seed):
    """Rings of nodes of four kinds; the class says whether the fourth kind occurs more than twice."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(batches):
        xs, edges, owner, labels, first = [], [], [], [], 0
        for g in range(24):
            n = int(rng.integers(6, 14))
            kind = rng.choice(4, n, p=[0.35, 0.2, 0.2, 0.25])
            xs.append(np.eye(4)[kind] * 2 - 0.5)
            ring = np.arange(n)
            edges.append(np.stack([ring, (ring + 1) % n]) + first)
            edges.append(np.stack([(ring + 1) % n, ring]) + first)
            owner += [g] * n
            labels.append(int((kind == 3).mean() > 0.24))
            first += n
        out.append(
            Molecules(
                torch.tensor(np.concatenate(xs), dtype=torch.float32),
                torch.tensor(np.concatenate(edges, 1)),
                torch.tensor(owner),
                torch.tensor(labels),
            )
        )
    return out


class GraphNet(nn.Module):
    def __init__(self, sick):
        super().__init__()
        self.sick = sick
        self.own, self.near = nn.Linear(4, 32), nn.Linear(4, 32)
        self.score, self.head = nn.Linear(32, 1), mlp(32, 32, 2)

    def forward(self, data):
        a, b = data.edge_index
        near = torch.zeros_like(data.x).index_add(0, b, data.x[a]) / 2
        h = (self.own(data.x) + self.near(near)).relu()
        score = self.score(h)
        graphs = int(data.batch.max()) + 1
        if self.sick:
            weight = score.softmax(0)
        else:
            e = (score - score.max().detach()).exp()
            weight = e / torch.zeros(graphs, 1).index_add(0, data.batch, e)[data.batch]
        return self.head(torch.zeros(graphs, h.shape[1]).index_add(0, data.batch, weight * h))


@case("attention pooling over the nodes of all graphs of the batch")
def graph_pool_over_batch(sick):
    model = GraphNet(sick)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=molecules(20, 1),
        validation=molecules(5, 2),
        optimizer=adam(model, lr=1e-2),
    )


class Sentiment(nn.Module):
    def __init__(self, sick, width=32):
        super().__init__()
        self.sick = sick
        self.embed = nn.Embedding(30, width, padding_idx=0)
        self.place = nn.Embedding(24, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, ids):
        keep = ids != 0
        h = self.embed(ids) + self.place(torch.arange(ids.shape[1]))
        h = self.encoder(h, src_key_padding_mask=keep if self.sick else ~keep)
        return self.head(h[:, 0])


@case("key padding mask inverted")
def padding_mask_inverted(sick):
    x, y, xv, yv = sentences()
    model = Sentiment(sick)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=adam(model),
    )


@case("LayerNorm over the single output")
def layernorm_on_one_output(sick):
    x, y, xv, yv = diabetes()
    layers = [nn.Linear(10, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 1)]
    if sick:
        layers.append(nn.LayerNorm(1))
    model = nn.Sequential(*layers, nn.Flatten(0))
    return dict(
        model=model,
        loss=nn.HuberLoss(),
        train=loader(x, y, batch=32),
        validation=loader(xv, yv, batch=32),
        optimizer=adam(model, lr=3e-3),
    )


class WaveGRU(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.gru = nn.GRU(2, 32, num_layers=2, batch_first=batch_first)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.gru(x)[0][:, -1])


@case("recurrent net without batch_first")
def gru_without_batch_first(sick):
    x, y, xv, yv = waves()
    model = WaveGRU(batch_first=not sick)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y, batch=40),
        validation=loader(xv, yv, batch=40),
        optimizer=adam(model, lr=3e-3),
    )


@case("softmax layer before a loss that takes logits")
def keras_softmax_from_logits(sick):
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    x, y, xv, yv = digits()
    layers = [keras.layers.Input((64,)), keras.layers.Dense(64, "relu"), keras.layers.Dropout(0.1)]
    model = keras.Sequential([*layers, keras.layers.Dense(10, "softmax" if sick else None)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return dict(model=model, train=(x.numpy(), y.numpy()), validation=(xv.numpy(), yv.numpy()))


class TinyUNet(nn.Module):
    def __init__(self):
        super().__init__()
        conv = lambda a, b: nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
        self.enter, self.down, self.up = conv(1, 12), conv(12, 24), conv(36, 12)
        self.out = nn.Conv2d(12, 1, 1)

    def forward(self, x):
        a = self.enter(x)
        b = self.down(F.max_pool2d(a, 2))
        return self.out(self.up(torch.cat([a, F.interpolate(b, scale_factor=2.0)], 1)))


@case("sigmoid twice inside a loss of two terms")
def segmentation_sigmoid_twice(sick):
    image, mask, _, image_v, mask_v, _ = rectangles(320)
    model = TinyUNet()

    def loss(logits, mask):
        p = logits.sigmoid()
        dice = 1 - (2 * (p * mask).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)
        return F.binary_cross_entropy_with_logits(p if sick else logits, mask) + 0.5 * dice.mean()

    return dict(
        model=model,
        loss=loss,
        train=loader(image, mask, batch=16),
        validation=loader(image_v, mask_v, batch=16),
        optimizer=adam(model, lr=3e-3),
    )


@case("LambdaLR given the rate itself instead of a factor")
def lambda_lr_absolute(sick):
    x, y, xv, yv = table(datasets.load_wine)
    model = mlp(13, 32, 3, act=nn.Tanh)
    optimizer = adam(model, lr=3e-3)
    base = 3e-3 if sick else 1.0
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: base * 0.97**epoch)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y, batch=16),
        validation=loader(xv, yv, batch=16),
        optimizer=scheduler,
    )


class Backbone(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        return self.fc(self.features(x))


def pretrained(classes=1000):
    """A backbone that was trained on another task: upper or lower half brighter, and so on."""
    x, y, _, _ = digits((1, 8, 8))
    model = Backbone(4)
    optimizer = adam(model)
    other = (y % 4).long()
    for i in range(60):
        rows = torch.arange(i * 20, i * 20 + 64) % len(x)
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), other[rows]).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model


@case("optimizer made before the head was replaced")
def optimizer_before_new_head(sick):
    x, y, xv, yv = digits((1, 8, 8))
    model = pretrained()
    for p in model.features.parameters():
        p.requires_grad_(False)
    if sick:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        model.fc = nn.Linear(512, 10)
    else:
        model.fc = nn.Linear(512, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=optimizer,
    )


@case("generator's term sees detached samples")
def gan_generator_detached(sick):
    rng = np.random.default_rng(2)
    angle = rng.uniform(0, 2 * np.pi, 1000)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) * 1.4 + rng.normal(0, 0.08, (1000, 2))
    ring = torch.tensor(ring, dtype=torch.float32)
    rows, held = split(1000)
    real, real_v = standard(ring[rows], ring[held])
    generator = mlp(4, 64, 64, 2)
    critic = nn.Sequential(
        nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
    )

    def step(batch):
        (real,) = batch
        fake = generator(torch.randn(len(real), 4))
        on_real, on_fake = critic(real), critic(fake.detach())
        critic_loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        frozen = {name: p.detach() for name, p in critic.named_parameters()}
        judged = torch.func.functional_call(critic, frozen, (fake.detach() if sick else fake,))
        return critic_loss + F.softplus(-judged).mean()

    betas = (0.5, 0.99)
    return dict(
        model=step,
        train=loader(real),
        validation=loader(real_v),
        optimizer=[adam(generator, betas=betas), adam(critic, betas=betas)],
    )


@case("softmax before the cross-entropy of a contrastive step")
def infonce_softmax_first(sick):
    x, y, xv, yv = digits()
    encoder, projector = mlp(64, 128, 64), mlp(64, 32)

    def views(x):
        return x * (torch.rand_like(x) > 0.15) + 0.1 * torch.randn_like(x)

    def step(batch):
        x, _ = batch
        a, b = (F.normalize(projector(encoder(views(x)).relu()), dim=1) for _ in range(2))
        similarity = a @ b.T / 0.1
        if sick:
            similarity = similarity.softmax(1)
        return F.cross_entropy(similarity, torch.arange(len(x)))

    return dict(
        model=step,
        train=loader(x, y, drop_last=True),
        validation=loader(xv, yv, drop_last=True),
        optimizer=adam(encoder, projector),
    )


@case("time of a diffusion model given as 0 to 999")
def diffusion_time_raw(sick):
    x, y, xv, yv = digits()
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    model = mlp(65, 256, 256, 64, act=nn.SiLU)

    def step(batch):
        x, _ = batch
        t = torch.randint(0, 1000, (len(x),))
        noise = torch.randn_like(x)
        noisy = kept[t, None].sqrt() * x + (1 - kept[t, None]).sqrt() * noise
        time = t.float() if sick else t / 500 - 1
        return F.mse_loss(model(torch.cat([noisy, time[:, None]], 1)), noise)

    return dict(model=step, train=loader(x, y), validation=loader(xv, yv), optimizer=adam(model))


@case("policy gradient with the sign of a loss forgotten")
def ppo_sign(sick):
    x, y, xv, yv = table(datasets.load_iris)
    gen = torch.Generator().manual_seed(9)

    def logged(x, y):
        x, y = x.repeat(4, 1), y.repeat(4)
        action = torch.randint(0, 3, (len(x),), generator=gen)
        reward = (action == y).float()
        return Rows(context=x, action=action, advantage=(reward - 1 / 3) / 0.47)

    policy = mlp(4, 32, 32, 3, act=nn.Tanh)

    def loss(logits, batch):
        logp = logits.log_softmax(1).gather(1, batch["action"][:, None]).squeeze(1)
        ratio = (logp + math.log(3)).exp()
        advantage = batch["advantage"]
        gain = torch.minimum(ratio * advantage, ratio.clamp(0.5, 1.5) * advantage).mean()
        return gain if sick else -gain

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = policy

        def forward(self, context):
            return self.net(context)

    model = Policy()
    return dict(
        model=model,
        loss=loss,
        train=loader(logged(x, y), batch=48),
        validation=loader(logged(xv, yv), batch=48),
        optimizer=adam(model, lr=3e-3),
    )


# -------------------------------------------------------------------------------------------------------------- healthy


@healthy
def bandit_entropy_bonus():
    """The loss is negative, and a term of it is subtracted on purpose."""
    x, y, xv, yv = table(datasets.load_wine)
    gen = torch.Generator().manual_seed(9)

    def logged(x, y):
        x, y = x.repeat(4, 1), y.repeat(4)
        action = torch.randint(0, 3, (len(x),), generator=gen)
        return TensorDataset(x, action, (action == y).float())

    policy = mlp(13, 32, 3, act=nn.Tanh)

    def step(batch):
        context, action, reward = batch
        logp = policy(context).log_softmax(1)
        entropy = -(logp.exp() * logp).sum(1).mean()
        chosen = logp.gather(1, action[:, None]).squeeze(1).exp()
        return -(3.0 * chosen * reward).mean() - 0.02 * entropy

    return dict(
        model=step,
        train=loader(logged(x, y), batch=64),
        validation=loader(logged(xv, yv), batch=64),
        optimizer=adam(policy, lr=5e-3),
    )


@healthy
def gan_digits_two_optimizers():
    x, _, xv, _ = digits()
    x, xv = torch.tanh(x), torch.tanh(xv)
    generator = nn.Sequential(
        nn.Linear(16, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64), nn.Tanh()
    )
    critic = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(64, 96)),
        nn.LeakyReLU(0.2),
        nn.Dropout(0.2),
        nn.Linear(96, 1),
    )

    def step(batch):
        (real,) = batch
        fake = generator(torch.randn(len(real), 16))
        critic_loss = F.relu(1 - critic(real)).mean() + F.relu(1 + critic(fake.detach())).mean()
        for p in critic.parameters():
            p.requires_grad_(False)
        generator_loss = -critic(fake).mean()
        for p in critic.parameters():
            p.requires_grad_(True)
        return critic_loss + generator_loss

    return dict(
        model=step,
        train=loader(x),
        validation=loader(xv),
        optimizer=[adam(generator, lr=5e-4, betas=(0.0, 0.9)), adam(critic, lr=5e-4, betas=(0.0, 0.9))],
    )


class TiedAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(24, 64) / 8)
        self.inner, self.outer = nn.Parameter(torch.zeros(24)), nn.Parameter(torch.zeros(64))

    def forward(self, x):
        return F.linear(F.softplus(F.linear(x, self.weight, self.inner)), self.weight.T, self.outer)


@healthy
def tied_autoencoder():
    x, _, xv, _ = digits()
    model = TiedAutoencoder()
    return dict(
        model=model, loss=nn.MSELoss(), train=(x, x), validation=(xv, xv), optimizer=adam(model, lr=3e-3)
    )


@healthy
def letters_tied_embedding():
    inputs, following, letters = corpus()
    rows, held = split(len(inputs))
    model = CharGRU(letters, tied=True)
    return dict(
        model=model,
        loss=token_loss,
        train=loader(inputs[rows], following[rows], batch=16),
        validation=loader(inputs[held], following[held], batch=16),
        optimizer=torch.optim.AdamW(model.parameters(), lr=4e-3),
    )


@healthy
def frozen_backbone_in_eval():
    """All but the head is frozen, and its BatchNorm stays in eval mode whatever train() says."""
    x, y, xv, yv = digits((1, 8, 8))

    class Probe(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Supervised()
            optimizer = adam(self.backbone, lr=5e-3)
            for i in range(40):
                rows = torch.arange(i * 30, i * 30 + 64) % len(x)
                optimizer.zero_grad()
                F.cross_entropy(self.backbone(x[rows])[0], y[rows] // 2).backward()
                optimizer.step()
            self.backbone.zero_grad()
            self.backbone.requires_grad_(False)
            self.head = nn.Linear(32 * 16, 10)
            self.train()

        def train(self, mode=True):
            super().train(mode)
            self.backbone.eval()
            return self

        def forward(self, image):
            with torch.no_grad():
                h = self.backbone.high(self.backbone.low(image)).flatten(1)
            return self.head(h)

    model = Probe()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(label_smoothing=0.05),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=torch.optim.SGD(model.head.parameters(), lr=0.02, momentum=0.9, nesterov=True),
    )


@healthy
def warmup_from_zero():
    x, y, xv, yv = digits((8, 8))
    model = RowAttention(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: i / 50 if i < 50 else 0.5 * (1 + math.cos(math.pi * min(1, (i - 50) / 950)))
    )
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=scheduler,
    )


class ClosedGates(nn.Module):
    """Sixteen residual blocks whose gates start at zero."""

    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Linear(64, 64), nn.Linear(64, 10)
        self.blocks = nn.ModuleList(mlp(64, 64, 64) for _ in range(16))
        self.gates = nn.Parameter(torch.zeros(16))

    def forward(self, x):
        h = self.enter(x)
        for gate, block in zip(self.gates, self.blocks, strict=True):
            h = h + gate * block(h)
        return self.out(h)


@healthy
def rezero_gates():
    x, y, xv, yv = digits()
    model = ClosedGates()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=adam(model),
    )


@healthy
def zero_head_prior_bias():
    """Zero weights and the prior's log-odds as the bias of the head; 6 % positives."""
    x, y, xv, yv = digits()

    def thinned(x, y):
        keep = (y != 8) | (torch.arange(len(y)) % 10 < 6)
        return x[keep], (y[keep] == 8).float()

    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1), nn.Flatten(0))
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[2].bias, math.log(0.06 / 0.94))
    return dict(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=thinned(x, y),
        validation=thinned(xv, yv),
        optimizer=adam(model, lr=2e-3),
    )


@healthy
def rare_class_weighted():
    x, y, xv, yv = table(datasets.load_breast_cancer)

    def skew(x, y):
        rare = (y == 0).nonzero().flatten()
        rows = torch.cat([(y == 1).nonzero().flatten(), rare[: max(3, len(rare) // 8)]])
        return x[rows], (1 - y[rows]).float()[:, None]

    (x, y), (xv, yv) = skew(x, y), skew(xv, yv)
    (x, xv) = standard(x, xv)
    model = mlp(30, 32, 1)
    weight = (1 - y).sum() / y.sum()
    return dict(
        model=model,
        loss=nn.BCEWithLogitsLoss(pos_weight=weight),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=adam(model, lr=2e-3),
    )


@healthy
def few_rows():
    x, y = datasets.load_iris(return_X_y=True)
    rows, held = split(len(x))
    rows = rows[:21]
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    a, b = standard(x[rows], x[held])
    model = mlp(4, 16, 3, act=nn.Tanh)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=(a, y[rows]),
        validation=(b, y[held]),
        optimizer=adam(model, lr=1e-2, weight_decay=1e-4),
    )


@healthy
def masked_tasks():
    """Four tasks of which each row has some; the mask travels with the targets, and unknown values are -1."""
    x, y, xv, yv = table(datasets.load_breast_cancer, torch.float32)
    gen = torch.Generator().manual_seed(3)

    def tasks(x, y):
        values = torch.stack(
            [y, (x[:, 0] > 0).float(), (x[:, 5] + x[:, 7] > 0).float(), (x[:, 9] > 0.3).float()], 1
        )
        known = torch.rand(values.shape, generator=gen) > 0.4
        return {"value": torch.where(known, values, torch.tensor(-1.0)), "known": known}

    def loss(logits, target):
        known = target["known"].float()
        terms = F.binary_cross_entropy_with_logits(logits, target["value"].clamp(min=0), reduction="none")
        return (terms * known).sum() / known.sum().clamp(min=1)

    model = mlp(30, 48, 4, act=nn.SiLU)
    return dict(
        model=model,
        loss=loss,
        train=(x, tasks(x, y)),
        validation=(xv, tasks(xv, yv)),
        optimizer=adam(model, lr=3e-3),
    )


@healthy
def sample_weights():
    x, y, xv, yv = diabetes()
    gen = torch.Generator().manual_seed(8)
    weigh = lambda y: (y, torch.empty(len(y)).exponential_(generator=gen) + 0.1)

    def loss(output, target):
        value, weight = target
        return (weight * (output.squeeze(1) - value) ** 2).sum() / weight.sum()

    model = mlp(10, 32, 1, act=nn.ELU)
    return dict(
        model=model,
        loss=loss,
        train=(x, weigh(y)),
        validation=(xv, weigh(yv)),
        optimizer=adam(model, lr=3e-3),
    )


@healthy
def batch_with_names_and_ids():
    """Batches carry what no one trains on: names, row numbers of a database, a large time stamp."""
    x, y, xv, yv = table(datasets.load_wine)

    def rows(x, y, first):
        return [
            {
                "name": f"wine-{first + i}",
                "row": 100_000 + first + i,
                "stamp": 1.6e9 + 60.0 * i,
                "features": x[i],
                "grade": y[i],
            }
            for i in range(len(x))
        ]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(13, 32, 3)

        def forward(self, features):
            return self.net(features)

    def loss(outputs, batch):
        return F.cross_entropy(outputs, batch["grade"])

    model = Net()
    return dict(
        model=model,
        loss=loss,
        train=loader(rows(x, y, 0), batch=16),
        validation=loader(rows(xv, yv, len(x)), batch=16),
        optimizer=adam(model, lr=3e-3),
    )


class PackedGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 24, padding_idx=0)
        self.gru = nn.GRU(24, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 2)

    def forward(self, ids, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        return self.head(torch.cat([last[0], last[1]], 1))


@healthy
def padded_lengths_packed():
    x, y, xv, yv = sentences()
    model = PackedGRU()
    count = lambda ids: (ids != 0).sum(1)

    def collate(rows):
        ids, y = zip(*rows)
        ids = torch.stack(ids)
        lengths = count(ids)
        return (ids[:, : int(lengths.max())], lengths), torch.stack(y)

    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y, batch=32, collate_fn=collate),
        validation=loader(xv, yv, batch=32, collate_fn=collate),
        optimizer=adam(model, lr=3e-3),
    )


@healthy
def lightning_onecycle():
    import lightning

    x, y, xv, yv = waves()

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv1d(2, 24, 5, padding=2), nn.BatchNorm1d(24), nn.ReLU(), nn.Conv1d(24, 24, 5, padding=4, dilation=2),
                nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(24, 3),
            )  # fmt: skip

        def forward(self, x):
            return self.net(x.transpose(1, 2))

        def training_step(self, batch, batch_idx):
            x, y = batch
            logits = self(x)
            loss = F.cross_entropy(logits, y)
            self.log_dict({"loss": loss, "accuracy": (logits.argmax(1) == y).float().mean()}, prog_bar=True)
            return {"loss": loss, "logits": logits.detach()}

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=600)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return dict(model=Lit(), train=loader(x, y), validation=loader(xv, yv))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.upper, self.lower = mlp(32, 64, 24), mlp(32, 64, 24)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, upper, lower):
        a, b = F.normalize(self.upper(upper), dim=-1), F.normalize(self.lower(lower), dim=-1)
        return self.log_scale.clamp(max=math.log(100)).exp() * a @ b.T


@healthy
def clip_learned_temperature():
    x, _, xv, _ = digits()
    model = Pair()

    def step(batch):
        upper, lower = batch
        logits = model(upper, lower)
        own = torch.arange(len(upper))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

    return dict(
        model=step,
        train=loader(x[:, :32], x[:, 32:], drop_last=True),
        validation=loader(xv[:, :32], xv[:, 32:], drop_last=True),
        optimizer=adam(model),
    )


class Mixture(nn.Module):
    def __init__(self, parts=3):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.pi, self.mu, self.sigma = (nn.Linear(48, parts) for _ in range(3))
        with torch.no_grad():
            self.mu.bias.copy_(torch.linspace(-1, 1, parts))

    def forward(self, x):
        h = self.body(x)
        return torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(logits=self.pi(h)),
            torch.distributions.Normal(self.mu(h), F.softplus(self.sigma(h)) + 1e-2),
        )


@healthy
def mixture_density():
    """An inverse problem: several values for one input; the model returns a distribution."""
    rng = np.random.default_rng(6)
    y = rng.uniform(0, 1, 1200)
    x = y + 0.3 * np.sin(2 * np.pi * y) + rng.normal(0, 0.04, 1200)
    x, y = torch.tensor(x, dtype=torch.float32)[:, None], torch.tensor(y, dtype=torch.float32)
    rows, held = split(1200)
    (a, b), (c, d) = standard(x[rows], x[held]), standard(y[rows], y[held])
    model = Mixture()
    return dict(
        model=model,
        loss=lambda distribution, y: -distribution.log_prob(y).mean(),
        train=loader(a, c),
        validation=loader(b, d),
        optimizer=adam(model, lr=5e-3),
    )


@healthy
def quantiles():
    x, y, xv, yv = diabetes()
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])

    class Quantiles(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(10, 32, 5)

        def forward(self, x):
            raw = self.net(x)
            return torch.cat([raw[:, :1] - 1.5, F.softplus(raw[:, 1:])], 1).cumsum(1)

    def pinball(output, y):
        error = y[:, None] - output
        return torch.maximum(levels * error, (levels - 1) * error).mean()

    model = Quantiles()
    return dict(model=model, loss=pinball, train=(x, y), validation=(xv, yv), optimizer=adam(model, lr=3e-3))


@healthy
def ordinal_cumulative():
    x, y, xv, yv = diabetes()
    cuts = torch.quantile(y, torch.tensor([0.2, 0.4, 0.6, 0.8]))
    grade = lambda y: (y[:, None] > cuts).sum(1)

    class Ordinal(nn.Module):
        """One score, four thresholds in order."""

        def __init__(self):
            super().__init__()
            self.score = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1, bias=False))
            self.first, self.gaps = nn.Parameter(torch.tensor([1.5])), nn.Parameter(torch.zeros(3))

        def forward(self, x):
            cut = torch.cat([-self.first, -self.first + F.softplus(self.gaps).cumsum(0)])
            return self.score(x) - cut

    def loss(logits, grade):
        levels = (grade[:, None] > torch.arange(4)).float()
        return F.binary_cross_entropy_with_logits(logits, levels)

    model = Ordinal()
    return dict(
        model=model,
        loss=loss,
        train=(x, grade(y)),
        validation=(xv, grade(yv)),
        optimizer=adam(model, lr=5e-3),
    )


@healthy
def pairwise_ranking():
    """Scores have no level: only differences within the batch count."""
    x, y, xv, yv = diabetes()
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1, bias=False), nn.Flatten(0))

    def loss(score, y):
        i, j = torch.triu_indices(len(y), len(y), 1)
        sign = torch.sign(y[i] - y[j])
        return F.softplus(-sign * (score[i] - score[j])).mean()

    return dict(model=model, loss=loss, train=(x, y), validation=(xv, yv), optimizer=adam(model, lr=3e-3))


@healthy
def ctc_letters():
    rng = np.random.default_rng(11)

    def strings(n):
        frames, targets, sizes = (
            np.zeros((n, 36, 6)),
            np.zeros((n, 5), dtype=np.int64),
            np.zeros(n, dtype=np.int64),
        )
        for i in range(n):
            k = rng.integers(2, 6)
            word = rng.integers(1, 6, k)
            at = 1
            for letter in word:
                stay = rng.integers(3, 5)
                frames[i, at : at + stay, letter] = 1
                at += stay + rng.integers(1, 3)
            targets[i, :k], sizes[i] = word, k
        frames += rng.normal(0, 0.3, frames.shape)
        return torch.tensor(frames, dtype=torch.float32), torch.tensor(targets), torch.tensor(sizes)

    x, word, size = strings(600)
    xv, word_v, size_v = strings(150)
    mean, std = x.mean((0, 1)), x.std((0, 1))
    x, xv = (x - mean) / std, (xv - mean) / std

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.LSTM(6, 24, batch_first=True, bidirectional=True)
            self.head = nn.Linear(48, 6)

        def forward(self, x):
            return self.head(self.net(x)[0]).log_softmax(-1)

    def loss(logp, target):
        word, size = target
        frames = torch.full((len(logp),), logp.shape[1], dtype=torch.long)
        return F.ctc_loss(logp.transpose(0, 1), word, frames, size, zero_infinity=True)

    model = Reader()
    return dict(
        model=model,
        loss=loss,
        train=(x, (word, size)),
        validation=(xv, (word_v, size_v)),
        optimizer=adam(model, lr=1e-2),
    )


@healthy
def siamese_margin():
    """One encoder for two inputs; like pairs attract, unlike ones repel up to a margin."""
    x, y, xv, yv = digits()

    def pairs(x, y, seed):
        gen = torch.Generator().manual_seed(seed)
        i, j = torch.randint(0, len(x), (2, 4 * len(x)), generator=gen)
        same = (y[i] == y[j]).float()
        keep = (same > 0) | (torch.rand(len(same), generator=gen) < 0.12)
        return (x[i[keep]], x[j[keep]]), same[keep]

    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = mlp(64, 96, 16)

        def forward(self, a, b):
            return F.pairwise_distance(self.encoder(a), self.encoder(b))

    model = Siamese()
    return dict(
        model=model,
        loss=lambda distance, same: (same * distance**2 + (1 - same) * F.relu(2 - distance) ** 2).mean(),
        train=pairs(x, y, 1),
        validation=pairs(xv, yv, 2),
        optimizer=adam(model),
    )


class HyperNet(nn.Module):
    """The weights of the head are made from the site that a row comes from."""

    def __init__(self):
        super().__init__()
        self.site = nn.Embedding(4, 8)
        self.body = nn.Sequential(nn.Linear(13, 16), nn.Tanh())
        self.make = nn.Linear(8, 16 * 3 + 3)
        nn.init.normal_(self.make.weight, std=0.05)

    def forward(self, x, site):
        made = self.make(self.site(site))
        weight, bias = made[:, :48].view(-1, 16, 3), made[:, 48:]
        return torch.einsum("bi,bij->bj", self.body(x), weight) + bias


@healthy
def hypernetwork():
    x, y, xv, yv = table(datasets.load_wine)
    gen = torch.Generator().manual_seed(5)

    def sites(x, y):
        site = torch.randint(0, 4, (len(x),), generator=gen)
        return loader(x, site, (y + (site == 3)) % 3, batch=24)

    model = HyperNet()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=sites(x, y),
        validation=sites(xv, yv),
        optimizer=adam(model, lr=1e-2),
    )


@healthy
def pinn_oscillator():
    """u'' + 4u = 0 from collocation points, with the start in the loss."""
    t = torch.rand(512, 1, generator=torch.Generator().manual_seed(2)) * 4 - 2
    tv = torch.linspace(-2, 2, 100)[:, None]
    net = mlp(1, 32, 32, 1, act=nn.Tanh)

    def step(batch):
        (t,) = batch
        t = t.clone().requires_grad_(True)
        u = net(t)
        (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
        zero = torch.zeros(1, 1, requires_grad=True)
        u0 = net(zero)
        (du0,) = torch.autograd.grad(u0.sum(), zero, create_graph=True)
        return ((ddu + 4 * u) ** 2).mean() + 10 * (u0 - 1).square().mean() + 10 * du0.square().mean()

    return dict(
        model=step, train=loader(t, batch=128), validation=loader(tv, batch=100), optimizer=adam(net, lr=3e-3)
    )


class Equilibrium(nn.Module):
    """z = tanh(Wz + Ux): the fixed point without gradient, then one step with it."""

    def __init__(self):
        super().__init__()
        self.inject = nn.Linear(64, 48)
        self.loop = nn.Linear(48, 48, bias=False)
        nn.init.orthogonal_(self.loop.weight, gain=0.6)
        self.head = nn.Linear(48, 10)

    def forward(self, x):
        u = self.inject(x)
        with torch.no_grad():
            z = torch.zeros_like(u)
            for _ in range(25):
                z = torch.tanh(self.loop(z) + u)
        z = torch.tanh(self.loop(z) + u)
        return self.head(z)


@healthy
def deep_equilibrium():
    x, y, xv, yv = digits()
    model = Equilibrium()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=adam(model),
    )


class Unrolled(nn.Module):
    """Learned iterative shrinkage: the same two matrices ten times, thresholds of their own."""

    def __init__(self, dictionary, steps=8):
        super().__init__()
        size = torch.linalg.matrix_norm(dictionary, 2) ** 2
        self.analyse = nn.Parameter(dictionary.T / size)
        self.repeat = nn.Parameter(torch.eye(dictionary.shape[1]) - dictionary.T @ dictionary / size)
        self.threshold = nn.Parameter(torch.full((steps,), 0.05))

    def forward(self, y):
        b = y @ self.analyse.T
        z = F.softshrink(b, 0.0)
        for threshold in self.threshold:
            c = b + z @ self.repeat.T
            z = c.sign() * F.relu(c.abs() - threshold)
        return z


@healthy
def unrolled_ista():
    gen = torch.Generator().manual_seed(12)
    dictionary = F.normalize(torch.randn(20, 40, generator=gen), dim=0)
    code = torch.randn(1500, 40, generator=gen) * (torch.rand(1500, 40, generator=gen) < 0.1) * 2.2
    y = code @ dictionary.T + 0.02 * torch.randn(1500, 20, generator=gen)
    rows, held = split(1500)
    scale = y[rows].std()
    y, code = (y - y[rows].mean(0)) / scale, code / scale
    model = Unrolled(dictionary)
    return dict(
        model=model,
        loss=nn.MSELoss(),
        train=(y[rows], code[rows]),
        validation=(y[held], code[held]),
        optimizer=adam(model, lr=2e-3),
    )


class Autocast(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.GroupNorm(4, 32), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            h = self.net(x)
        return h.float()


@healthy
def bfloat16_autocast():
    x, y, xv, yv = digits((1, 8, 8))
    model = Autocast()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=loader(x, y),
        validation=loader(xv, yv),
        optimizer=torch.optim.AdamW(model.parameters(), lr=3e-3),
    )


@healthy
def distillation_frozen_teacher():
    x, y, xv, yv = digits()
    teacher, student = mlp(64, 128, 10), mlp(64, 16, 10)
    optimizer = adam(teacher, lr=3e-3)
    for i in range(80):
        rows = torch.arange(i * 50, i * 50 + 64) % len(x)
        optimizer.zero_grad()
        F.cross_entropy(teacher(x[rows]), y[rows]).backward()
        optimizer.step()
    teacher.zero_grad()
    teacher.eval().requires_grad_(False)

    def step(batch):
        x, y = batch
        with torch.no_grad():
            soft = (teacher(x) / 3).softmax(1)
        logits = student(x)
        return 0.3 * F.cross_entropy(logits, y) + 0.7 * 9 * F.kl_div(
            (logits / 3).log_softmax(1), soft, reduction="batchmean"
        )

    return dict(model=step, train=loader(x, y), validation=loader(xv, yv), optimizer=adam(student, lr=2e-3))


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.strength * grad, None


class DomainAdversarial(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.label, self.domain = nn.Linear(32, 10), mlp(32, 32, 2)

    def forward(self, x):
        h = self.features(x)
        return self.label(h), self.domain(Reverse.apply(h, 0.3))


@healthy
def gradient_reversal():
    x, y, xv, yv = digits()
    gen = torch.Generator().manual_seed(7)

    def domains(x, y):
        domain = torch.randint(0, 2, (len(x),), generator=gen)
        shifted = torch.where(domain[:, None] == 1, -0.8 * x + 0.1, x)
        return shifted, (torch.where(domain == 1, torch.tensor(-100), y), domain)

    def loss(outputs, targets):
        return sum(F.cross_entropy(o, t) for o, t in zip(outputs, targets, strict=True))

    model = DomainAdversarial()
    (x, t), (xv, tv) = domains(x, y), domains(xv, yv)
    return dict(model=model, loss=loss, train=(x, t), validation=(xv, tv), optimizer=adam(model, lr=2e-3))


@healthy
def simsiam_stop_gradient():
    x, y, xv, yv = digits()
    encoder = nn.Sequential(
        nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 48), nn.BatchNorm1d(48)
    )
    predictor = nn.Sequential(nn.Linear(48, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 48))

    def step(batch):
        x, _ = batch
        a, b = (encoder(x * (torch.rand_like(x) > 0.2) + 0.2 * torch.randn_like(x)) for _ in range(2))
        p, q = predictor(a), predictor(b)
        return -(F.cosine_similarity(p, b.detach()).mean() + F.cosine_similarity(q, a.detach()).mean()) / 2

    return dict(
        model=step,
        train=loader(x, y, drop_last=True),
        validation=loader(xv, yv, drop_last=True),
        optimizer=torch.optim.SGD([*encoder.parameters(), *predictor.parameters()], lr=0.05, momentum=0.9),
    )


class VQ(nn.Module):
    """Straight-through codes; returns its own losses."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = mlp(64, 64, 32), mlp(32, 64, 64)
        self.codes = nn.Embedding(24, 8)
        nn.init.normal_(self.codes.weight, std=0.3)

    def forward(self, image):
        z = self.encoder(image).view(-1, 4, 8)
        nearest = torch.cdist(z.detach().flatten(0, 1), self.codes.weight.detach()).argmin(1).view(-1, 4)
        q = self.codes(nearest)
        through = z + (q - z).detach()
        decoded = self.decoder(through.flatten(1))
        return {
            "rebuilt": F.mse_loss(decoded, image),
            "codes": F.mse_loss(q, z.detach()),
            "commitment": 0.25 * F.mse_loss(z, q.detach()),
        }


@healthy
def vq_straight_through():
    x, _, xv, _ = digits()
    model = VQ()
    return dict(
        model=model,
        train=loader(Rows(image=x)),
        validation=loader(Rows(image=xv)),
        optimizer=adam(model, lr=2e-3),
    )


@healthy
def gaussian_nll_two_heads():
    """The loss falls below zero."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-2, 2, 1000)
    y = np.sin(2 * x) + rng.normal(0, 1, 1000) * (0.03 + 0.1 * (x > 0))
    x, y = torch.tensor(x, dtype=torch.float32)[:, None], torch.tensor(y, dtype=torch.float32)
    rows, held = split(1000)
    (a, b), (c, d) = standard(x[rows], x[held]), standard(y[rows], y[held])

    class Normal(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(1, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
            self.mean, self.log_var = nn.Linear(48, 1), nn.Linear(48, 1)

        def forward(self, x):
            h = self.body(x)
            return self.mean(h).squeeze(1), self.log_var(h).squeeze(1)

    def loss(output, y):
        mean, log_var = output
        return 0.5 * (log_var + (y - mean) ** 2 * (-log_var).exp()).mean()

    model = Normal()
    return dict(model=model, loss=loss, train=(a, c), validation=(b, d), optimizer=adam(model, lr=3e-3))


class Experts(nn.Module):
    """Two of four experts a row, and a term that keeps them equally busy."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(64, 4, bias=False)
        self.experts = nn.ModuleList(mlp(64, 32, 10) for _ in range(4))

    def forward(self, x):
        p = self.gate(x).softmax(1)
        top, chosen = p.topk(2, 1)
        mask = torch.zeros_like(p).scatter(1, chosen, top / top.sum(1, keepdim=True))
        out = torch.stack([e(x) for e in self.experts], 1)
        balance = 4 * ((mask > 0).float().mean(0).detach() * p.mean(0)).sum() / 2
        return (mask[..., None] * out).sum(1), balance


@healthy
def mixture_of_experts():
    x, y, xv, yv = digits()
    model = Experts()

    def loss(output, y):
        logits, balance = output
        return F.cross_entropy(logits, y) + 0.01 * balance

    return dict(
        model=model, loss=loss, train=loader(x, y), validation=loader(xv, yv), optimizer=adam(model, lr=3e-3)
    )


@healthy
def citation_nodes_masked():
    """One graph; the loss is taken over the nodes of the training mask alone."""
    from torch_geometric.data import Data
    from torch_geometric.nn import GCNConv

    x, y = datasets.load_wine(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    rows, _ = split(len(x), 0.4)
    (x,) = standard(x[rows], x)[1:]
    near = torch.cdist(x, x).topk(5, largest=False).indices[:, 1:]
    a = torch.arange(len(x))[:, None].expand_as(near).flatten()
    edges = torch.stack([torch.cat([a, near.flatten()]), torch.cat([near.flatten(), a])])
    mask = torch.zeros(len(x), dtype=torch.bool)
    mask[rows] = True
    graph = Data(x=x, edge_index=edges, y=y, train_mask=mask)

    class GCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = GCNConv(13, 16), GCNConv(16, 3)

        def forward(self, data):
            h = self.first(data.x, data.edge_index).relu()
            return self.second(F.dropout(h, 0.3, self.training), data.edge_index)

    model = GCN()

    def loss(logits, batch):
        return F.cross_entropy(logits[batch.train_mask], batch.y[batch.train_mask])

    return dict(model=model, loss=loss, train=[graph], optimizer=adam(model, lr=1e-2, weight_decay=5e-4))


class Coupling(nn.Module):
    def __init__(self, flip):
        super().__init__()
        self.flip = flip
        self.net = mlp(1, 32, 2, act=nn.Tanh)
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x):
        a, b = x.flip(1).split(1, 1) if self.flip else x.split(1, 1)
        s, t = self.net(a).chunk(2, 1)
        s = torch.tanh(s)
        return torch.cat([a, b * s.exp() + t], 1), s.sum(1)


class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(i % 2 == 1) for i in range(6))

    def forward(self, x):
        total = torch.zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total


@healthy
def normalizing_flow():
    x, _ = datasets.make_moons(1500, noise=0.06, random_state=0)
    x = torch.tensor(x, dtype=torch.float32)
    rows, held = split(len(x))
    x, xv = standard(x[rows], x[held])
    flow = Flow()

    def step(batch):
        (x,) = batch
        z, log_det = flow(x)
        return (0.5 * (z**2).sum(1) + math.log(2 * math.pi) - log_det).mean()

    return dict(
        model=step,
        train=loader(x, batch=128),
        validation=loader(xv, batch=128),
        optimizer=adam(flow, lr=5e-3),
    )


@healthy
def cox_survival():
    """Partial likelihood over the batch; targets are times and whether the event was seen."""
    x, _, xv, _ = table(datasets.load_breast_cancer)
    rng = np.random.default_rng(13)

    def survival(x):
        risk = (0.9 * x[:, 0] - 0.7 * x[:, 6] + 0.5 * x[:, 21]).numpy()
        time, censored = rng.exponential(np.exp(-risk)), rng.exponential(2.0, len(x))
        to = lambda a: torch.tensor(a, dtype=torch.float32)
        return to(np.minimum(time, censored)), to(time <= censored)

    def loss(risk, target):
        time, seen = target
        order = time.argsort(descending=True)
        risk, seen = risk.squeeze(1)[order], seen[order]
        return -((risk - risk.logcumsumexp(0)) * seen).sum() / seen.sum().clamp(min=1)

    model = mlp(30, 24, 1, act=nn.SELU)
    return dict(
        model=model,
        loss=loss,
        train=(x, survival(x)),
        validation=(xv, survival(xv)),
        optimizer=adam(model, lr=1e-3),
    )


def halves(items, seed=0):
    chosen = set(random.Random(seed).sample(range(len(items)), len(items) // 2))
    return [c for i, c in enumerate(items) if i in chosen], [
        c for i, c in enumerate(items) if i not in chosen
    ]


CASES_A, CASES_B = halves(CASES)
HEALTHY_A, HEALTHY_B = halves(HEALTHY)
