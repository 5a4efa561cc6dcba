"""Twenty of the 52 faulty programs on which fault localisers for deep learning are compared (DeepFD, ICSE'22), rebuilt in PyTorch.

Facts (architecture, sizes, activations, loss, optimizer, rates, budget, fault types, patch) come from the workbooks of DeepFD
and DEFault, the program folder of DeepLocalize and the Stack Overflow posts; the code is ours. Where a program's data are not
at hand, a stand-in of the same shape, scale and kind takes their place. A version is "sick" (the program as posted), "fixed"
(with the human patch), or "alternative" (the smallest edit that does help, where the patch does not).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from torch import Tensor, nn, optim

from tests.cases.case import Case, healthy_case, sick_case
from wellposed import Problem

# --- Keras's defaults


def keras(model: nn.Module, kernel: str = "glorot_uniform") -> nn.Module:
    """Draw the weights as Keras does."""
    draw = {
        "glorot_uniform": nn.init.xavier_uniform_,
        "glorot_normal": nn.init.xavier_normal_,
        "he_normal": lambda w: nn.init.kaiming_normal_(w),
        "lecun_normal": lambda w: nn.init.normal_(w, 0, 1 / math.sqrt(w[0].numel())),
        "normal": lambda w: nn.init.normal_(w, 0, 0.05),
        "uniform": lambda w: nn.init.uniform_(w, -0.05, 0.05),
    }[kernel]
    for m in model.modules():
        if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            draw(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.LSTM):
            for name, p in m.named_parameters():
                if "weight_ih" in name:
                    nn.init.xavier_uniform_(p)
                elif "weight_hh" in name:
                    nn.init.orthogonal_(p)
                else:
                    nn.init.zeros_(p)
                    if "bias_ih" in name:
                        p.data[m.hidden_size : 2 * m.hidden_size] = 1.0
        elif isinstance(m, nn.Embedding):
            nn.init.uniform_(m.weight, -0.05, 0.05)
    return model


def sgd(m: nn.Module, lr: float = 0.01, momentum: float = 0.0, nesterov: bool = False) -> optim.Optimizer:
    return optim.SGD(m.parameters(), lr=lr, momentum=momentum, nesterov=nesterov)


def adam(m: nn.Module, lr: float = 1e-3) -> optim.Optimizer:
    return optim.Adam(m.parameters(), lr=lr, eps=1e-7)


def rmsprop(m: nn.Module, lr: float = 1e-3) -> optim.Optimizer:
    return optim.RMSprop(m.parameters(), lr=lr, alpha=0.9, eps=1e-7)


def categorical(p: Tensor, y: Tensor) -> Tensor:
    """Keras's categorical cross-entropy of outputs that pass for probabilities: scaled to sum 1, clipped."""
    p = (p / p.sum(-1, keepdim=True).clamp_min(1e-12)).clamp(1e-7, 1 - 1e-7)
    return -(y * p.log()).sum(-1).mean()


def binary(p: Tensor, y: Tensor) -> Tensor:
    """Keras's binary cross-entropy: clipped."""
    p = p.clamp(1e-7, 1 - 1e-7)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


logits = (
    nn.CrossEntropyLoss()
)  # a softmax under categorical cross-entropy: Keras takes the logits, and so does torch
binary_logits = nn.BCEWithLogitsLoss()
mse = nn.MSELoss()
mae = nn.L1Loss()


# --- scores, higher is better


def accuracy(o: Tensor, y: Tensor) -> float:
    target = y.argmax(-1) if y.is_floating_point() else y
    return (o.argmax(-1) == target).float().mean().item()


def above_half(o: Tensor, y: Tensor) -> float:
    return ((o > 0.5) == (y > 0.5)).float().mean().item()


def balanced(o: Tensor, y: Tensor) -> float:
    """Mean recall of the two classes at a threshold of .5."""
    hit = ((o > 0.5) == (y > 0.5)).float()
    return 0.5 * (hit[y > 0.5].mean() + hit[y <= 0.5].mean()).item()


def r2(o: Tensor, y: Tensor) -> float:
    value = (1 - ((o - y) ** 2).mean() / ((y - y.mean(0)) ** 2).mean()).item()
    return max(value, -1.0) if math.isfinite(value) else -1.0


# --- parts


def dense(
    *sizes: int, act: type[nn.Module] = nn.ReLU, last: nn.Module | None = None, drop: float = 0.0
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
        if drop:
            layers.append(nn.Dropout(drop))
    layers = layers[: -(2 if drop else 1)]
    return nn.Sequential(*layers, *([last] if last else []))


def pair(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
    whole = np.issubdtype(np.asarray(y).dtype, np.integer)
    x = torch.tensor(
        np.asarray(x), dtype=torch.long if np.issubdtype(np.asarray(x).dtype, np.integer) else torch.float32
    )
    return x, torch.tensor(np.asarray(y), dtype=torch.long if whole else torch.float32)


def split(x: np.ndarray, y: np.ndarray, rng: np.random.RandomState, share: float = 0.2) -> tuple:
    order = rng.permutation(len(x))
    held = int(len(x) * share)
    return pair(x[order[held:]], y[order[held:]]), pair(x[order[:held]], y[order[:held]])


def standard(train: tuple, val: tuple) -> tuple:
    mean, std = train[0].mean(0), train[0].std(0)
    std = torch.where(std > 0, std, torch.ones_like(std))
    return ((train[0] - mean) / std, train[1]), ((val[0] - mean) / std, val[1])


def onehot(y: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[y]


def digits(rng: np.random.RandomState, *, images: bool = False, scale: float = 1 / 16) -> tuple:
    x, y = load_digits(return_X_y=True)
    x = x * scale
    return split(x.reshape(-1, 1, 8, 8) if images else x, y, rng)


def made(model, loss, train, val, opt, epochs, batch, score, **notes) -> dict:
    return {
        "model": model,
        "loss": loss,
        "train": train,
        "validation": val,
        "optimizer": opt,
        "epochs": epochs,
        "batch": batch,
        "score": score,
        "notes": notes,
    }


SEEDS = range(3)


@dataclass(frozen=True)
class Program:
    """A published program: its fault, the rules that name one of its fault types where it is, and how it is made."""

    id: str
    fault: str
    codes: str
    make: Callable[[int, str], dict[str, Any]]

    def problem(self, seed: int, version: str) -> Problem:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 + seed)
            made = self.make(seed, version)
        return Problem(**{k: made[k] for k in ("model", "loss", "train", "validation", "optimizer")})


PROGRAMS: dict[str, Program] = {}


def case(
    id: str, fault: str, truth: str, codes: str, *, also: str = "", facts: str = "program"
) -> Callable[[Any], Any]:
    """`truth` and `also` are the fault types of the workbook and those whose mending was found to help; `facts` where ours come from."""

    def register(make: Callable[[int, str], dict[str, Any]]) -> Callable[[int, str], dict[str, Any]]:
        PROGRAMS[id] = Program(id, fault, codes, make)
        return make

    return register


def sick() -> Iterator[Case]:
    """Every program that one of our rules can name, with the version that trains, once a seed."""
    for program in PROGRAMS.values():
        for seed in SEEDS:
            if program.codes and program.id not in TRAINS_AS_POSTED:
                yield sick_case(
                    f"{program.id} {seed}",
                    source="DeepFD",
                    fault=program.fault,
                    codes=program.codes,
                    sick=lambda p=program, s=seed: p.problem(s, "sick"),
                    healthy=lambda p=program, s=seed: p.problem(s, TWIN.get(p.id, "fixed")),
                )


def healthy() -> Iterator[Case]:
    """The mended versions of the others: of programs that do well as posted, and of those that no rule speaks of."""
    for program in PROGRAMS.values():
        for seed in SEEDS:
            if not program.codes or program.id in TRAINS_AS_POSTED:
                build = lambda p=program, s=seed: p.problem(s, TWIN.get(p.id, "fixed"))  # noqa: E731
                yield healthy_case(f"{program.id} {seed}", build, source="DeepFD")


# ---------------------------------------------------------------- the cases


@case(
    "31556268",
    "XOR under a mean absolute error with SGD at .05 for 1,000 epochs",
    "loss epoch lr opt",
    "WP608 WP206",
)
def _(seed, v):
    x = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], dtype=np.float64)
    y = np.array([[0], [1], [0], [1]], dtype=np.float64)
    m = keras(dense(2, 4, 1, act=nn.Sigmoid, last=nn.Sigmoid()))
    if v == "sick":
        return made(m, mae, pair(x, y), None, sgd(m, 0.05, 0.11, True), 1000, 4, above_half)
    if v == "fixed":
        return made(m, mse, pair(x, y), None, sgd(m, 0.1, 0.11, True), 50000, 4, above_half)
    return made(m, mse, pair(x, y), None, adam(m, 1e-2), 1000, 4, above_half)


def adult(r: np.random.RandomState, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Fourteen columns in the units of the census table, codes for the categories."""
    z = r.randn(n, 4)
    age = np.clip(38 + 13 * z[:, 0], 17, 90).round()
    education = np.clip(10 + 2.6 * z[:, 1], 1, 16).round()
    hours = np.clip(40 + 12 * z[:, 2], 1, 99).round()
    gain = np.where(r.rand(n) < 0.08, np.exp(r.normal(8.5, 1, n)).clip(0, 99999), 0).round()
    loss = np.where(r.rand(n) < 0.05, r.normal(1870, 350, n), 0).round()
    weight = np.exp(r.normal(12, 0.5, n)).round()
    codes = np.stack([r.randint(0, k, n) for k in (9, 16, 7, 15, 6, 5, 2, 42)], 1).astype(float)
    x = np.c_[age, codes[:, 0], weight, codes[:, 1], education, codes[:, 2:7], gain, loss, hours, codes[:, 7]]
    married = (codes[:, 2] == 2) * 1.0
    score = 0.8 * z[:, 0] + 1.1 * z[:, 1] + 0.7 * z[:, 2] + 1.5 * married + 2 * (gain > 5000) - 1.6
    return x, (score + 0.5 * r.randn(n) > 0).astype(int)


@case("47724077", "columns up to 300,000 beside columns of codes", "opt lr prep epoch", "WP101 WP102 WP607")
def _(seed, v):
    r = np.random.RandomState(seed)
    train, val = split(*adult(r, 4000), r)
    m = keras(dense(14, 21, 2))
    if v == "fixed":
        train, val = standard(train, val)
    return made(m, logits, train, val, adam(m, 1e-2 if v == "fixed" else 1e-3), 20, 100, accuracy)


@case(
    "59325381",
    "labels divided by 255, so that all become class 0; test images not scaled",
    "loss prep",
    "WP109 WP105 WP111",
)
def _(seed, v):
    (x, y), (xt, yt) = digits(np.random.RandomState(seed), images=True, scale=255 / 16)
    x = x / 255
    if v == "fixed":
        xt = xt / 255
    else:
        y = (y / 255).long()
    m = keras(
        nn.Sequential(
            nn.Conv2d(1, 64, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(64, 32, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10),
        )
    )  # fmt: skip
    return made(m, logits, (x, y), (xt, yt), adam(m), 6, 32, accuracy)


@case(
    "59278771",
    "raw iris, sigmoid outputs under a categorical loss, tiny weights",
    "act opt prep",
    "WP503 WP501 WP102",
)
def _(seed, v):
    x, y = load_iris(return_X_y=True)
    train, val = split(x, onehot(y, 3), np.random.RandomState(seed))
    if v == "fixed":
        train, val = standard(train, val)
        m = keras(dense(4, 4, 3, act=nn.SELU, last=nn.Softmax(-1)), "normal")
        return made(m, categorical, train, val, sgd(m), 200, 5, accuracy)
    m = keras(dense(4, 4, 3, last=nn.Sigmoid()), "normal")
    return made(m, categorical, train, val, adam(m), 200, 5, accuracy)


COUNTIES = (
    (9278, 113594, 21292), (37.9, 36.3, 38.9), (12.6, 9.7, 14.1), (21.3, 14.3, 15.7), (92, 14622, 161329), (3802, 6764, 8547),
    (2.42, 2.55, 2.47), (51.9, 53.7, 63.5), (16.6, 16.2, 17.1), (31.6, 20.1, 19.4), (63959, 74330, 73643),
    (-0.69, -0.13, -0.59), (-0.49, 0.03, -0.43), (0.71, 0.14, 0.57),
)  # fmt: skip


@case("44066044", "addresses of 3e9 beside ports and flags; rectified output", "prep", "WP101 WP102")
def _(seed, v):
    r = np.random.RandomState(seed)
    n = 126
    bad = r.rand(n) < 0.55
    source = np.where(bad, 3232235781.0, 3232235773 + 5.0 * r.randint(0, 2, n))
    flags = np.where(bad, r.choice([8192, 525568, 525558], n), r.choice([524544, 524032, 524288], n))
    port = np.where(r.rand(n) < 0.5, 502, np.where(bad, 55924, r.choice([55783, 56783], n)))
    full = r.rand(n) < 0.5
    last = np.c_[12 * full, full * np.where(bad, r.choice([0, 65280], n), r.choice([61, 0.86], n)), full * np.where(bad, 5, 6), 0 * full,
                 full * np.where(bad, r.randint(100, 103, n), r.randint(206, 208, n))]  # fmt: skip
    x = np.c_[source, np.full(n, 3232235779.0), np.full(n, 6.0), np.full(n, 128.0), flags, port, last]
    train, val = split(x, bad.astype(float)[:, None], r)
    if v != "sick":
        train, val = standard(train, val)
    last_act = nn.Sigmoid() if v == "alternative" else nn.ReLU()
    m = keras(dense(11, 12, 12, 1, last=last_act), "normal")
    return made(m, binary, train, val, adam(m), 100, 5, balanced)


@case("51930566", "sigmoid outputs under a categorical loss, tiny weights, raw iris", "act", "WP503 WP501")
def _(seed, v):
    x, y = load_iris(return_X_y=True)
    train, val = split(x, onehot(y, 3), np.random.RandomState(seed), 0.5)
    if v == "alternative":
        m = keras(dense(4, 16, 3, last=nn.Softmax(-1)))
        return made(m, categorical, train, val, adam(m, 1e-2), 50, 5, accuracy)
    m = keras(dense(4, 4, 3, last=nn.Sigmoid() if v == "sick" else nn.Softmax(-1)), "normal")
    return made(m, categorical, train, val, adam(m), 50, 5, accuracy)


@case(
    "45442843",
    "softmax over one unit, mean absolute error, inputs of 20,000",
    "loss opt act epoch",
    "WP502 WP503 WP102 WP205 WP601",
    also="prep",
)
def _(seed, v):
    r = np.random.RandomState(seed)
    x = r.uniform(15000, 25000, (1000, 1)).round()
    train, val = split(x, (x < 20000).astype(float), r)
    if v == "sick":
        m = keras(dense(1, 1, 1, act=nn.Sigmoid, last=nn.Softmax(-1)), "normal")
        nn.init.xavier_uniform_(m[0].weight)
        return made(m, mae, train, val, rmsprop(m), 100, 200, above_half)
    if v == "fixed":
        m = keras(dense(1, 1, 1, act=nn.Sigmoid, last=nn.Softmax(-1)), "normal")
        nn.init.xavier_uniform_(m[0].weight)
        return made(m, mse, train, val, adam(m), 100, 200, above_half)
    train, val = standard(train, val)
    m = keras(dense(1, 1, 1, act=nn.Sigmoid, last=nn.Sigmoid()))
    return made(m, binary, train, val, rmsprop(m, 1e-2), 100, 200, above_half)


@case("48594888", "5 epochs at a batch of 1,000 of 50,000: too few steps", "epoch batch", "")
def _(seed, v):
    train, val = digits(np.random.RandomState(seed), images=True)
    m = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
    )  # fmt: skip
    keras(m, "he_normal")
    return made(
        m, logits, train, val, adam(m), 10 if v == "fixed" else 5, 29 if v == "alternative" else 144, accuracy
    )


@case(
    "58609115",
    "whole numbers up to 1e9 into sigmoids, categorical loss on sigmoid outputs",
    "loss",
    "WP503 WP501 WP102 WP205",
    also="prep act",
)
def _(seed, v):
    r = np.random.RandomState(seed)
    x = np.exp(r.uniform(0, math.log(1e9), (2200, 1))).round()
    size = np.floor(np.log10(x)).clip(0, 8).astype(int)
    y = (size * 9 + (x // 10.0**size).astype(int) - 1)[:, 0].clip(0, 80)
    if v == "alternative":
        x = (np.log10(x) - 4.5) / 2.6
    train, val = split(x, onehot(y, 81), r)
    if v == "alternative":
        m = keras(dense(1, 69, 69, 81, last=nn.Softmax(-1)))
        return made(m, categorical, train, val, adam(m), 60, 50, accuracy)
    m = keras(dense(1, 69, 69, 81, act=nn.Sigmoid, last=nn.Sigmoid()), "normal")
    return made(m, categorical if v == "sick" else binary, train, val, adam(m), 60, 50, accuracy)


@case("50481178", "softmax over one unit under a categorical loss", "act loss", "WP502 WP503 WP601")
def _(seed, v):
    x, y = make_multilabel_classification(n_samples=1000, n_features=4, n_classes=1, random_state=seed)
    r = np.random.RandomState(seed)
    y = (x[:, :1] > np.median(x[:, 0])).astype(float)  # one class of that generator is all but constant
    train, val = split(x.astype(float), y, r)
    sick = v == "sick"
    m = keras(dense(4, 10, 20, 30, 40, 50, 1, last=nn.Softmax(-1) if sick else nn.Sigmoid()))
    return made(m, categorical if sick else binary, train, val, adam(m), 20, 10, balanced)


@case("56380303", "a softmax over 20 bits of which several are set, SGD", "opt lr", "WP608 WP206 WP607")
def _(seed, v):
    r = np.random.RandomState(seed)
    bits = r.randint(0, 2, (10000, 20))
    mod = (bits * 2 ** np.arange(20)).sum(1) % 7
    y = ((mod[:, None] >> np.arange(20)) & 1).astype(float)
    train, val = split(bits.astype(float), y, r)

    def score(o, t):  # the three bits that vary
        return ((o[:, :3] > (0.5 if v == "alternative" else 0.25)) == (t[:, :3] > 0.5)).float().mean().item()

    if v == "alternative":
        m = keras(dense(20, 64, 64, 20, last=nn.Sigmoid()))
        return made(m, binary, train, val, adam(m, 1e-2), 10, 50, score)
    m = keras(dense(20, 20, 20, 20, last=nn.Softmax(-1)))
    return made(m, categorical, train, val, sgd(m) if v == "sick" else adam(m, 1e-4), 10, 50, score)


@case("37624102", "SGD at .1 with momentum .9 on a deep convolution stack", "lr", "WP607", facts="patch")
def _(seed, v):
    train, val = digits(np.random.RandomState(seed), images=True)
    up = nn.Upsample(scale_factor=2)
    m = nn.Sequential(
        up, nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10),
    )  # fmt: skip
    keras(m)
    return made(m, logits, train, val, sgd(m, 0.1 if v == "sick" else 0.01, 0.9, True), 4, 32, accuracy)


@case(
    "41600519",
    "collision table with -999 for what is missing, RMSprop, one sample a step",
    "opt loss props layers",
    "WP101 WP102 WP607",
    also="prep",
)
def _(seed, v):
    r = np.random.RandomState(seed)
    n = 1500
    z = r.randn(n, 31)
    sizes = np.where(np.arange(31) % 3 == 0, 100.0, np.where(np.arange(31) % 3 == 1, 2.0, 40.0))
    x = np.where(np.arange(31) % 3 == 1, z * sizes, np.abs(z + 1) * sizes)
    y = (z[:, 0] - z[:, 3] + 0.8 * z[:, 1] * z[:, 4] + 0.7 * r.randn(n) > 0).astype(float)[:, None]
    missing = np.repeat(r.rand(n, 4) < np.array([0.15, 0.4, 0.7, 0.7]), [1, 3, 3, 3], axis=1)
    x[:, 21:][missing] = -999.0
    train, val = split(x, y, r, 0.3)
    m = keras(dense(31, 600, 400, 100, 1, drop=0.5, last=nn.Sigmoid()))
    if v == "fixed":
        return made(m, mse, train, val, adam(m), 20, 64, balanced)
    if v == "mended":
        return made(m, binary, *standard(train, val), adam(m), 8, 64, balanced)
    if v == "alternative":  # the scale alone
        train, val = standard(train, val)
    return made(m, binary, train, val, rmsprop(m), 1, 1, balanced)


@case("42514960", "an autoencoder of standardised data that ends in a sigmoid", "act", "WP503", facts="patch")
def _(seed, v):
    r = np.random.RandomState(seed)
    x = r.randn(1000, 5) @ r.randn(5, 20) / math.sqrt(5) + 0.1 * r.randn(1000, 20)
    train, val = split(x, x, r)
    act, last = (nn.ReLU, nn.Sigmoid()) if v == "sick" else (nn.Tanh, nn.Tanh())
    if v == "alternative":
        act, last = nn.ReLU, None
    m = keras(dense(20, 40, 40, 5, 40, 40, 20, act=act, last=last))
    return made(m, mse, train, val, adam(m), 30, 32, r2)


@case("44998910", "SGD at .01 for 20 epochs on a smooth curve", "lr epoch", "WP608 WP206")
def _(seed, v):
    r = np.random.RandomState(seed)
    x = r.rand(9000, 1)
    train, val = split(x, x**4 + x**3 - x, r)
    m = keras(dense(1, 200, 45, 1))
    lr = {"sick": 0.01, "fixed": 0.03, "alternative": 0.1}[v]
    return made(m, mse, train, val, sgd(m, lr), 20, 50, r2)


@case("47932589", "inputs and targets in raw units", "prep", "WP102 WP505 WP503 WP205", facts="patch")
def _(seed, v):
    r = np.random.RandomState(seed)
    x = r.uniform(0, 100, (600, 1))
    y = 3 * x + 40 * np.sin(x / 12) + 2 * r.randn(600, 1)
    if v != "sick":
        x, y = (x - x.min()) / (x.max() - x.min()), (y - y.min()) / (y.max() - y.min())
    train, val = split(x, y, r)
    m = keras(dense(1, 32, 32, 1, act=nn.Tanh, last=nn.Sigmoid()))
    return made(m, mse, train, val, adam(m, 1e-2), 100, 32, r2)


@case("37213388", "2 epochs instead of 10", "epoch", "", facts="post")
def _(seed, v):
    r = np.random.RandomState(seed)
    y = r.randint(0, 2, 800)
    base = r.randn(1, 14, 14) * 0.3
    x = np.abs(
        base + 0.5 * r.randn(800, 14, 14) + y[:, None, None] * 0.25 * np.sin(np.arange(14) / 2)[None, :, None]
    )
    train, val = split((x / x.max())[:, None], y, r)
    m = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(800, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 2),
    )  # fmt: skip
    keras(m)
    return made(m, logits, train, val, adam(m), 2 if v == "sick" else 10, 128, accuracy)


@case("MovieReviews_Keras", "4 epochs without dropout instead of 7 with it", "epoch layers", "")
def _(seed, v):
    r = np.random.RandomState(seed)
    n, words = 1500, 1000
    y = r.randint(0, 2, n)
    p = np.clip(0.06 * np.exp(r.randn(words) * 0.7), 0, 0.5)
    lean = r.choice([-1, 0, 1], words, p=[0.1, 0.8, 0.1])
    x = (r.rand(n, words) < p * np.exp(0.35 * lean * (2 * y[:, None] - 1))).astype(float)
    train, val = split(x, y.astype(float)[:, None], r, 0.4)
    m = keras(dense(words, 16, 16, 1, last=nn.Sigmoid(), drop=0.0 if v == "sick" else 0.5))
    return made(m, binary, train, val, rmsprop(m), 4 if v == "sick" else 7, 16, above_half)


@case(
    "Traffic-Sign-Classifier",
    "a rectified 1 x 1 convolution of centred colours, and rectifiers throughout",
    "act",
    "WP204 WP203 WP502 WP206",
)
def _(seed, v):
    r = np.random.RandomState(seed)
    n, classes = 1200, 12
    y = r.randint(0, classes, n)
    shapes, colours = r.uniform(0, 1, (4, 24, 24)) > 0.5, r.uniform(40, 220, (3, 3))
    shapes = np.kron(r.rand(4, 6, 6) > 0.5, np.ones((4, 4)))
    light = np.exp(r.normal(-0.5, 0.6, (n, 1, 1, 1)))
    x = shapes[y % 4][:, None] * colours[y // 4][:, :, None, None] * light + 20 + 25 * r.randn(n, 3, 24, 24)
    x = np.clip(x, 0, 255)
    train, val = split(x / 255 - 0.5, y, r)
    act1, act2 = (nn.ReLU, nn.ReLU) if v == "sick" else (nn.Sigmoid, nn.ELU)
    m = nn.Sequential(
        nn.Conv2d(3, 3, 1), act1(), nn.Conv2d(3, 16, 5, stride=2), act2(), nn.Conv2d(16, 32, 3), act2(), nn.MaxPool2d(2, 2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, classes),
    )  # fmt: skip
    keras(m)
    return made(m, logits, train, val, adam(m), 10, 32, accuracy)


@case(
    "kaggle-melbourne_properties",
    "prices of a million under a squared error",
    "act model",
    "WP505",
    also="prep",
)
def _(seed, v):
    r = np.random.RandomState(seed)
    x = r.randn(300, 17)
    price = np.exp(13.7 + 0.35 * x[:, :1] + 0.2 * x[:, 1:2] - 0.2 * x[:, 2:3] + 0.1 * r.randn(300, 1))
    train, val = split(x, price, r)
    if v == "alternative":
        mean, std = train[1].mean(), train[1].std()
        train, val = (train[0], (train[1] - mean) / std), (val[0], (val[1] - mean) / std)
    m = keras(
        dense(17, 40, 20, 10, 1, act=nn.Tanh) if v == "fixed" else dense(17, 20, 20, 1, act=nn.Tanh),
        "glorot_normal",
    )
    return made(m, mse, train, val, adam(m), 10, 1, r2)


TWIN = {
    "51930566": "alternative", "45442843": "alternative", "58609115": "alternative", "56380303": "alternative",
    "42514960": "alternative", "kaggle-melbourne_properties": "alternative", "41600519": "mended",
    "Traffic-Sign-Classifier": "sick",
}  # fmt: skip
"""The healthy version, where training showed that the human patch does not mend the program."""

TRAINS_AS_POSTED = {"59278771", "MovieReviews_Keras", "Traffic-Sign-Classifier"}
"""Programs that do as well as posted as any version tried: nothing has to be found in them."""
