"""Training problems rebuilt from public reports of people whose network did not train, each with a healthy twin.

The code is ours; only the cause is theirs. ``python -m benchmarks.cases.field_training`` trains every sick problem and its
twin on three seeds, and says whether the error that the person would have seen is larger in the sick one.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from tests.cases.case import Case, sick_case
from wellposed import Problem

SEEDS = range(3)


@dataclass(frozen=True)
class Report:
    """A public report: what went wrong, the rules that may be named first, and how the problem is made, sick or not."""

    name: str
    source: str
    cause: str
    codes: str
    make: Callable[[bool], dict[str, Any]]

    def parts(self, bad: bool, seed: int) -> dict[str, Any]:
        """What `make` gives under a seed; the caller's random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return {"loss": None, "validation": None} | self.make(bad)

    def problem(self, bad: bool, seed: int) -> Problem:
        made = self.parts(bad, seed)
        return Problem(**{k: made[k] for k in ("model", "loss", "train", "validation", "optimizer")})

    def error(self, bad: bool, seed: int) -> float:
        """Train it, and measure what the person would have seen; lower is better."""
        p = self.parts(bad, seed)
        torch.manual_seed(seed + 100)
        p["model"].train()
        fit(p)
        p["model"].eval()
        with torch.no_grad():
            return float(p["error"](p["model"]))


REPORTS: list[Report] = []


def case(name: str, source: str, cause: str, codes: str) -> Callable[[Any], Any]:
    def keep(make: Callable[[bool], dict[str, Any]]) -> Callable[[bool], dict[str, Any]]:
        REPORTS.append(Report(name, source, cause, codes, make))
        return make

    return keep


def sick() -> Iterator[Case]:
    """Every report with its twin, once a seed."""
    for report in REPORTS:
        for seed in SEEDS:
            yield sick_case(
                f"{report.name} {seed}",
                source=report.source,
                fault=report.cause,
                codes=report.codes,
                sick=lambda r=report, s=seed: r.problem(True, s),
                healthy=lambda r=report, s=seed: r.problem(False, s),
            )


def healthy() -> Iterator[Case]:
    yield from ()


# ---------------------------------------------------------------- training and data
def rows(v, i):
    if isinstance(v, dict):
        return {k: rows(w, i) for k, w in v.items()}
    if isinstance(v, (tuple, list)):
        return tuple(rows(w, i) for w in v)
    return v[i]


def size(v):
    while not torch.is_tensor(v):
        v = next(iter(v.values())) if isinstance(v, dict) else v[0]
    return len(v)


def loader(x, y, batch=64, passes=1):
    """A list of batches: what a DataLoader gives when targets are a tuple."""
    order = torch.cat([torch.randperm(size(x)) for _ in range(passes)])
    return [(rows(x, i), rows(y, i)) for i in order.split(batch) if len(i) == batch]


def fit(p):
    steps, batch, opt = p.get("steps", 300), p.get("batch", 64), p["optimizer"]
    for k in range(steps):
        if isinstance(p["train"], list):
            x, y = p["train"][k % len(p["train"])]
        else:
            x, y = p["train"]
            i = torch.randint(0, size(x), (batch,))
            x, y = rows(x, i), rows(y, i)
        o = p["model"](*x) if isinstance(x, tuple) else p["model"](x)
        loss = o if p["loss"] is None else p["loss"](o, y)
        opt.zero_grad()
        loss.backward()
        opt.step()


def adam(m, lr=3e-3, **k):
    return torch.optim.Adam([q for q in m.parameters() if q.requires_grad], lr=lr, **k)


def sgd(m, lr=0.05, **k):
    return torch.optim.SGD([q for q in m.parameters() if q.requires_grad], lr=lr, **k)


def grey():
    d = load_digits()
    i = torch.randperm(len(d.data))
    return torch.tensor(d.images, dtype=torch.float32)[i, None] / 16, torch.tensor(d.target)[i]


def wrong(o, y):
    return (o.argmax(-1) != y).float().mean()


class Net(nn.Module):
    """Parts by name and a forward function of (self, *inputs)."""

    def __init__(self, f, **parts):
        super().__init__()
        for k, v in parts.items():
            setattr(self, k, v)
        self.f = f

    def forward(self, *x):
        return self.f(self, *x)


def mlp(*d, act=nn.ReLU):
    s = []
    for i, (a, b) in enumerate(itertools.pairwise(d)):
        s += [nn.Linear(a, b)] + ([act()] if i < len(d) - 2 else [])
    return nn.Sequential(*s)


def shapes(n, size=16):
    """Noisy pictures with one bright box; returns pictures, masks."""
    x, m = 0.3 * torch.randn(n, 1, size, size), torch.zeros(n, 1, size, size)
    for k in range(n):
        h, w = torch.randint(4, 8, (2,)).tolist()
        i, j = int(torch.randint(0, size - h, ())), int(torch.randint(0, size - w, ()))
        m[k, 0, i : i + h, j : j + w] = 1
    return x + m, m


def segmenter(c=12):
    return nn.Sequential(
        nn.Conv2d(1, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, 1, 1)
    )


def missed_overlap(o, m):
    """1 - intersection over union at threshold 0."""
    p = (o > 0).float()
    return 1 - (p * m).sum() / ((p + m) > 0).float().sum().clamp(min=1)


# ---------------------------------------------------------------- NaN and precision
@case(
    "acos-of-one",
    "pytorch/pytorch issue 8069, About Nan error using acos() function",
    "angle loss: acos of a value clamped to [-1, 1]; its slope at 1 is infinite, NaN once a pose is fitted exactly; "
    "clamp to 1 - 1e-6 fixes it",
    "WP209",
)
def acos_of_one(bad):
    n = 900
    x = torch.randn(n, 6)
    x[: n // 2] = 0  # a camera that stands still
    w = torch.randn(6, 3) * 0.3
    v = torch.tanh(x @ w)
    q = F.normalize(torch.cat([torch.ones(n, 1), v], 1), dim=1)
    i = torch.randperm(n)
    x, q = x[i], q[i]
    top = 1.0 if bad else 1 - 1e-6

    def loss(o, t):
        return 2 * torch.acos((o * t).sum(1).abs().clamp(-1 if bad else -top, top)).mean()

    m = Net(lambda s, x: F.normalize(s.body(x), dim=1), body=mlp(6, 32, 4))
    m.body[2].bias.data = torch.tensor([1.0, 0, 0, 0])

    def error(m):
        e = loss(m(x[600:]), q[600:])
        return e if torch.isfinite(e) else torch.tensor(9.0)

    return {
        "model": m,
        "loss": loss,
        "train": (x[:600], q[:600]),
        "optimizer": adam(m, 1e-2),
        "steps": 1500,
        "error": error,
    }


# ---------------------------------------------------------------- data
@case(
    "validation-not-normalised",
    "jaehyunnn/ViTPose_pytorch issue 17, Wrong preprocessing",
    "training pictures get the mean and std of the training set, the others only the range 0 to 1",
    "WP105",
)
def validation_not_normalised(bad):
    x, y = grey()

    def n(z):
        return (z - 0.485) / 0.229

    xt = x[1200:] if bad else n(x[1200:])
    m = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(384, 10),
    )
    return {
        "model": m,
        "loss": F.cross_entropy,
        "train": (n(x[:1200]), y[:1200]),
        "validation": (xt, y[1200:]),
        "optimizer": adam(m),
        "error": lambda m: wrong(m(xt), y[1200:]),
    }


@case(
    "oversampled-before-split",
    "georgymh/ml-fraud-detection issue 1, Using SMOTE before dividing into training and test sets",
    "the rare class is multiplied before the split: copies of the same row stand on both sides",
    "WP108",
)
def oversampled_before_split(bad):
    def draw(n):
        x = torch.randn(n, 12)
        return x, ((x[:, 0] + x[:, 1] + 1.5 * torch.randn(n)) > 3.2).float()[:, None]

    x, y = draw(1600)

    def more(x, y):
        pos = (y[:, 0] > 0).nonzero()[:, 0]
        i = torch.cat([torch.arange(len(x)), pos[torch.randint(0, len(pos), (len(x) - 2 * len(pos),))]])
        i = i[torch.randperm(len(i))]
        return x[i], y[i]

    if bad:
        x, y = more(x, y)
        k = len(x) * 3 // 4
        train, val = (x[:k], y[:k]), (x[k:], y[k:])
    else:
        train, val = more(x[:1200], y[:1200]), (x[1200:], y[1200:])
    m = mlp(12, 128, 128, 1)
    fx, fy = draw(4000)

    def error(m):  # how much the validation figure flatters the model on the rare class
        def recall(x, y):
            return ((m(x) > 0).float() * y).sum() / y.sum()

        return recall(*val) - recall(fx, fy)

    return {
        "model": m,
        "loss": F.binary_cross_entropy_with_logits,
        "train": train,
        "validation": val,
        "optimizer": adam(m),
        "steps": 1500,
        "error": error,
    }


# ---------------------------------------------------------------- signals and initialization
@case(
    "vgg-without-batchnorm",
    "kuangliu/pytorch-cifar issue 28, VGG16 Model and Performace on Cifar-10",
    "thirteen plain convolutions with torch's default weights and no batch norm stay at chance; He weights train",
    "WP303 WP201 WP203 WP206",
)
def vgg_without_batchnorm(bad):
    x, y = grey()
    x = (x - 0.3) / 0.37
    s, c = [], 1
    for k, d in enumerate([16, 16, 24, 24, 24, 32, 32, 32, 32, 32, 32, 32, 32]):
        s += [nn.Conv2d(c, d, 3, padding=1), nn.ReLU()] + ([nn.MaxPool2d(2)] if k in (3, 7) else [])
        c = d
    m = nn.Sequential(*s, nn.Flatten(), nn.Linear(128, 10))
    if not bad:
        for layer in m:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    return {
        "model": m,
        "loss": F.cross_entropy,
        "train": (x[:1200], y[:1200]),
        "optimizer": sgd(m, 0.02, momentum=0.9),
        "steps": 400,
        "batch": 32,
        "error": lambda m: wrong(m(x[1200:]), y[1200:]),
    }


@case(
    "large-rate-on-pretrained",
    "huggingface/transformers issue 735, BERT encoding layer produces same output for all inputs",
    "a pretrained encoder is fine-tuned with a learning rate hundreds of times too large and answers the same for every input",
    "WP607",
)
def large_rate_on_pretrained(bad):
    v, t, n = 20, 12, 900

    def texts(k):
        return torch.randint(2, v, (k, t))

    def f(s, x):
        x = torch.cat([torch.zeros_like(x[:, :1]), x], 1)
        return s.head(s.enc(s.tok(x) + s.pos)[:, 0])

    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    m = Net(
        f,
        tok=nn.Embedding(v, 32),
        enc=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        head=nn.Linear(32, v),
    )
    m.pos = nn.Parameter(0.1 * torch.randn(1, t + 1, 32))
    opt = torch.optim.Adam(m.parameters(), lr=2e-3)
    for _ in range(150):  # pretraining: which tokens are in the text
        x = texts(64)
        loss = F.binary_cross_entropy_with_logits(m(x), torch.zeros(64, v).scatter_(1, x, 1.0))
        opt.zero_grad(), loss.backward(), opt.step()
    m.head = nn.Linear(32, 2)
    x = texts(n)
    y = ((x < 8).sum(1) > (x >= 14).sum(1)).long()
    opt = torch.optim.AdamW(m.parameters(), lr=0.1 if bad else 5e-4)
    return {
        "model": m,
        "loss": F.cross_entropy,
        "train": (x[:600], y[:600]),
        "optimizer": opt,
        "steps": 200,
        "batch": 32,
        "error": lambda m: wrong(m(x[600:]), y[600:]),
    }


# ---------------------------------------------------------------- objective


@case(
    "dice-on-logits",
    "ScrollPrize/villa issue 1488, raw logits explode dice",
    "the overlap loss beside BCEWithLogits takes raw scores for probabilities: its denominator crosses zero",
    "WP506 WP503 WP302 WP209 WP607 WP202 WP207",
)
def dice_on_logits(bad):
    x, y = shapes(500)
    act = (lambda z: z) if bad else torch.sigmoid

    def loss(o, t):
        p = act(o)
        dice = (2 * (p * t).sum() + 1e-5) / ((p.sum() + t.sum()).clamp(min=1e-8) + 1e-5)
        return F.binary_cross_entropy_with_logits(o, t) + 1 - dice

    m = segmenter()
    return {
        "model": m,
        "loss": loss,
        "train": (x[:400], y[:400]),
        "optimizer": adam(m),
        "steps": 200,
        "batch": 16,
        "error": lambda m: missed_overlap(m(x[400:]), y[400:]),
    }


@case(
    "ctc-of-raw-scores",
    "gwx314/STARS issue 9, CTC loss appears to use raw logits; SeanNaren/deepspeech.pytorch issue 488, Negative Loss",
    "ctc_loss is given raw scores: it falls below zero without bound; log_softmax fixes it",
    "WP506",
)
def ctc_of_raw_scores(bad):
    n, c = 700, 6
    y = torch.randint(1, c, (n, 4))
    y[:, 1:] = torch.where(y[:, 1:] == y[:, :-1], y[:, 1:] % (c - 1) + 1, y[:, 1:])
    y = torch.where(
        torch.cat([torch.zeros(n, 1, dtype=torch.bool), y[:, 1:] == y[:, :-1]], 1), y % (c - 1) + 1, y
    )
    tone = torch.randn(c, 8, generator=torch.Generator().manual_seed(3))
    x = tone[y].repeat_interleave(7, 1) + 1.2 * torch.randn(n, 28, 8)

    def f(s, x):
        h = s.head(s.rnn(x)[0])
        return h if bad else h.log_softmax(-1)

    m = Net(f, rnn=nn.GRU(8, 24, batch_first=True), head=nn.Linear(24, c))

    def loss(o, t):
        k = torch.full((len(o),), o.shape[1])
        return F.ctc_loss(o.transpose(0, 1), t, k, torch.full((len(o),), 4))

    def error(m):
        best = m(x[500:]).argmax(-1)
        good = 0
        for b, t in zip(best.tolist(), y[500:].tolist(), strict=False):
            s = [v for v, w in zip(b, [0, *b], strict=False) if v != w and v]
            good += s == t
        return torch.tensor(1 - good / 200)

    return {
        "model": m,
        "loss": loss,
        "train": (x[:500], y[:500]),
        "optimizer": adam(m, 5e-3),
        "steps": 600,
        "batch": 32,
        "error": error,
    }


@case(
    "weights-broadcast",
    "google-deepmind/acme issue 277, Bugs in the CRR code",
    "log-probabilities (N,) times advantage weights (N, 1) make (N, N): every action gets every weight",
    "WP506 WP603",
)
def weights_broadcast(bad):
    n = 1200
    x = torch.randn(n, 6)
    good = torch.tanh(x @ torch.randn(6, 2, generator=torch.Generator().manual_seed(5)))
    bad_one = torch.rand(n) < 0.6
    a = torch.where(bad_one[:, None], -good, good) + 0.05 * torch.randn(n, 2)
    w = torch.where(bad_one, 0.02, 1.0)[:, None]

    def loss(o, t):
        a, w = t
        logp = -((a - o) ** 2).sum(1) / (2 * 0.2**2)
        return -(logp * (w if bad else w[:, 0])).mean()

    m = mlp(6, 64, 2)
    return {
        "model": m,
        "loss": loss,
        "train": loader(x[:900], (a[:900], w[:900])),
        "optimizer": adam(m),
        "steps": 400,
        "error": lambda m: ((m(x[900:]) - good[900:]) ** 2).mean() / good.var(),
    }


# ---------------------------------------------------------------- wiring


@case(
    "softmax-of-one-score",
    "DEEP-PolyU/KEQA_WSDM19 issue 2, Attention Weight Bug in Embedding",
    "attention scores (N, T, 1) pass a softmax over the last axis, of length one: all weights are 1",
    "WP601 WP502",
)
def softmax_of_one_score(bad):
    n, t, v = 1000, 40, 30
    x = torch.randint(6, v, (n, t))
    at = torch.randint(1, t, (n,))
    y = torch.randint(0, 4, (n,))
    x[torch.arange(n), at] = y + 2 - 0
    decoy = torch.randint(0, 4, (n, 12)) + 2  # the same tokens elsewhere mean nothing without the mark
    pos = torch.rand(n, t).argsort(1)[:, :12]
    x.scatter_(1, pos, decoy)
    x[torch.arange(n), at] = y + 2
    mark = torch.zeros(n, t, 1)
    mark[torch.arange(n), at] = 1

    def f(s, x, mark):
        h = torch.cat([s.tok(x), mark], 2)
        w = s.score(torch.tanh(s.inner(h))).softmax(-1 if bad else 1)
        return s.head((w * s.value(h)).sum(1))

    m = Net(
        f,
        tok=nn.Embedding(v, 16),
        inner=nn.Linear(17, 16),
        score=nn.Linear(16, 1),
        value=nn.Linear(17, 24),
        head=nn.Linear(24, 4),
    )
    return {
        "model": m,
        "loss": F.cross_entropy,
        "train": ((x[:700], mark[:700]), y[:700]),
        "optimizer": adam(m, 5e-3),
        "steps": 400,
        "error": lambda m: wrong(m(x[700:], mark[700:]), y[700:]),
    }


@case(
    "policy-softmax-over-batch",
    "DeepReinforcementLearning/DeepReinforcementLearningInAction issue 32, softmax(dim=1)",
    "the policy ends in Softmax(dim=0): probabilities are shared out among the states of the batch",
    "WP603 WP506",
)
def policy_softmax_over_batch(bad):
    n = 1200
    x = torch.randn(n, 4)
    best = (x @ torch.randn(4, 2, generator=torch.Generator().manual_seed(9))).argmax(1)
    act = torch.randint(0, 2, (n,))
    ret = torch.where(act == best, 1.0, 0.1)
    m = nn.Sequential(nn.Linear(4, 48), nn.LeakyReLU(), nn.Linear(48, 2), nn.Softmax(0 if bad else 1))

    def loss(p, t):
        return -(t[1] * p.gather(1, t[0][:, None])[:, 0].clamp(min=1e-12).log()).mean()

    return {
        "model": m,
        "loss": loss,
        "train": loader(x[:900], (act[:900], ret[:900])),
        "optimizer": adam(m),
        "steps": 300,
        "error": lambda m: wrong(torch.cat([m(s[None]) for s in x[900:]]), best[900:]),
    }


@case(
    "batchnorm-batches-of-one",
    "BCV-Uniandes/DMS issue 30, Why net.train() in evaluate function",
    "batch norm is trained with batches of one picture whose statistics differ: eval mode is useless; group norm is the way out",
    "WP604",
)
def batchnorm_batches_of_one(bad):
    x, m_ = shapes(420)
    x = x * torch.exp(1.5 * torch.randn(420, 1, 1, 1)) + 4 * torch.randn(
        420, 1, 1, 1
    )  # every scanner its own contrast
    c = 12
    norm = (lambda: nn.BatchNorm2d(c)) if bad else (lambda: nn.GroupNorm(c, c))
    m = nn.Sequential(
        nn.Conv2d(1, c, 3, padding=1),
        norm(),
        nn.ReLU(),
        nn.Conv2d(c, c, 3, padding=1),
        norm(),
        nn.ReLU(),
        nn.Conv2d(c, 1, 1),
    )
    train = [(x[k : k + 1], m_[k : k + 1]) for k in range(300)]
    return {
        "model": m,
        "loss": F.binary_cross_entropy_with_logits,
        "train": train,
        "optimizer": adam(m),
        "steps": 400,
        "error": lambda m: missed_overlap(m(x[300:]), m_[300:]),
    }


@case(
    "penalty-without-graph",
    "ooples/AiDotNet issue 1844, WGAN-GP gradient penalty not backpropagating into discriminator weights",
    "the gradient penalty of the critic is computed without create_graph: it shows in the loss and moves nothing",
    "WP404 WP601",
)
def penalty_without_graph(bad):
    n = 900
    real = torch.randn(n, 2) * 0.3 + torch.tensor([2.0, 0.0])
    fake = torch.randn(n, 2)

    def between(a, b):
        u = torch.rand(len(a), 1)
        return (u * a + (1 - u) * b).detach().requires_grad_()

    def f(s, a, b):
        mid = between(a, b)
        with torch.enable_grad():
            g = torch.autograd.grad(s.critic(mid).sum(), mid, create_graph=not bad)[0]
        return s.critic(b).mean() - s.critic(a).mean() + 10 * ((g.norm(dim=1) - 1) ** 2).mean()

    m = Net(f, critic=mlp(2, 64, 64, 1, act=nn.Tanh))

    def error(m):
        with torch.enable_grad():
            mid = between(real[600:], fake[600:])
            g = torch.autograd.grad(m.critic(mid).sum(), mid)[0]
        return (g.norm(dim=1) - 1).abs().mean()

    return {
        "model": m,
        "train": ((real[:600], fake[:600]), torch.zeros(600)),
        "optimizer": adam(m, 1e-3),
        "steps": 300,
        "error": error,
    }


# ---------------------------------------------------------------- verification
def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    for report in REPORTS:
        if names and report.name not in names:
            continue
        ill, well = ([report.error(bad, seed) for seed in SEEDS] for bad in (True, False))
        holds = all(a > 1.3 * b + 0.02 for a, b in zip(ill, well, strict=True))
        shown = [" ".join(f"{e:7.3f}" for e in errors) for errors in (ill, well)]
        print(
            f"{'holds' if holds else 'FAILS'}  {report.name:30} sick {shown[0]}   twin {shown[1]}", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
