"""Healthy training set-ups of many kinds, written without sight of the library's code or rules.

Self-contained: torch, numpy and scikit-learn's built-in data. `HEALTHY` is a list of (name, builder); a builder
returns fresh keyword arguments for `wellposed.check`. Batches are `(inputs, targets)`, or a dict for models that return
their own loss (`loss=None`). Dict or tuple inputs go to a forward with one parameter as they are, else spread.
Learning-rate schedulers, where a case has one, hang on the optimizer (`SCHEDULES[optimizer]`).
"""

import math
from collections import namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from .unread_parts import (
    Rows,
    char_windows,
    digits_images,
    gen,
    linear_warmup_from_zero,
    loaders,
    mlp,
    seed,
    standard,
    table,
    topic_documents,
    warmup,
)

HEALTHY = []


def healthy(name):
    def register(build):
        HEALTHY.append((name, build))
        return build

    return register


def pack(model, loss, tree, batch=64, opt=None, precision=None, k=0, drop_last=False):
    train, val = loaders(tree, batch, k=k, drop_last=drop_last)
    kw = dict(model=model, loss=loss, train=train, validation=val, optimizer=opt)
    if precision is not None:
        kw["precision"] = precision
    return kw


def centred_digits():
    x, y = digits_images()
    return (x - 0.3) / 0.38, y


@healthy("mlp_wine_sgd")
def _():
    seed(1)
    x, y = table("wine")
    m = mlp(13, 32, 3)
    return pack(m, nn.CrossEntropyLoss(), (standard(x), y), 16, torch.optim.SGD(m.parameters(), 0.05))


@healthy("mlp_diabetes_huber_unsqueezed_target")
def _():
    seed(2)
    x, y = table("diabetes")
    m = nn.Sequential(nn.Linear(10, 64), nn.LayerNorm(64), nn.SiLU(), nn.Dropout(0.2), nn.Linear(64, 1))
    y = ((y - y.mean()) / y.std()).float().unsqueeze(1)
    return pack(
        m, nn.HuberLoss(), (standard(x), y), 32, torch.optim.AdamW(m.parameters(), 2e-3, weight_decay=0.1)
    )


@healthy("cnn_digits_batchnorm_sgd_momentum")
def _():
    seed(3)
    x, y = centred_digits()
    m = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    return pack(
        m,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        (x, y),
        64,
        torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
    )


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.c2, self.b2 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        nn.init.zeros_(self.b2.weight)

    def forward(self, x):
        return F.relu(x + self.b2(self.c2(F.relu(self.b1(self.c1(x))))))


@healthy("resnet_mini_zero_gamma")
def _():
    seed(4)
    x, y = centred_digits()
    m = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        *[ResBlock(16) for _ in range(4)],
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    return pack(
        m, nn.CrossEntropyLoss(), (x, y), 64, warmup(torch.optim.SGD(m.parameters(), 0.1, momentum=0.9))
    )


class UNet(nn.Module):
    def __init__(self, cin=1, cout=1, c=12):
        super().__init__()
        self.d1, self.d2 = nn.Conv2d(cin, c, 3, padding=1), nn.Conv2d(c, 2 * c, 3, padding=1)
        self.mid = nn.Conv2d(2 * c, 2 * c, 3, padding=1)
        self.u1, self.u2 = nn.Conv2d(4 * c, c, 3, padding=1), nn.Conv2d(2 * c, c, 3, padding=1)
        self.out = nn.Conv2d(c, cout, 1)

    def forward(self, x):
        a = F.relu(self.d1(x))
        b = F.relu(self.d2(F.max_pool2d(a, 2)))
        z = F.relu(self.mid(F.max_pool2d(b, 2)))
        z = F.relu(self.u1(torch.cat([F.interpolate(z, scale_factor=2), b], 1)))
        return self.out(F.relu(self.u2(torch.cat([F.interpolate(z, scale_factor=2), a], 1))))


@healthy("unet_mini_segmentation_bce_dice")
def _():
    seed(5)
    d, _ = digits_images()
    d = d[:700]
    mask = (d > 0.5).float()
    x = d + 0.6 * torch.randn(d.shape, generator=gen(5))

    def loss(logits, target):
        p = logits.sigmoid()
        dice = 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
        return F.binary_cross_entropy_with_logits(logits, target) + dice

    m = UNet()
    return pack(m, loss, (x, mask), 16, torch.optim.AdamW(m.parameters(), 2e-3))


@healthy("gru_frequency_regression")
def _():
    seed(6)
    g = gen(6)
    f = torch.rand(700, 1, 1, generator=g) + 0.3
    x = torch.sin(f * torch.arange(20)[None, :, None] + 6 * torch.rand(700, 1, 2, generator=g))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(2, 32, batch_first=True), nn.Linear(32, 1)

        def forward(self, x):
            return self.out(self.rnn(x)[1][-1]).squeeze(-1)

    m = Net()
    return pack(
        m, nn.MSELoss(), (x, standard(f.view(-1, 1))[:, 0]), 32, torch.optim.Adam(m.parameters(), 5e-3)
    )


@healthy("bilstm_tagger_packed_ignore_index")
def _():
    seed(7)
    ids, mask, _ = topic_documents(600, 100, 18, 2, gen(7))
    tags = torch.where(mask.bool(), (ids * 31) % 5 % 3, -100)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(100, 24, padding_idx=0)
            self.rnn = nn.LSTM(24, 24, batch_first=True, bidirectional=True)
            self.out = nn.Linear(48, 3)

        def forward(self, ids, lengths):
            p = nn.utils.rnn.pack_padded_sequence(
                self.emb(ids), lengths, batch_first=True, enforce_sorted=False
            )
            h, _ = nn.utils.rnn.pad_packed_sequence(
                self.rnn(p)[0], batch_first=True, total_length=ids.shape[1]
            )
            return self.out(h)

    def loss(out, tags):
        return F.cross_entropy(out.flatten(0, 1), tags.flatten(), ignore_index=-100)

    m = Tagger()
    return pack(m, loss, ((ids, mask.sum(1)), tags), 32, torch.optim.AdamW(m.parameters(), 5e-3))


@healthy("transformer_encoder_padding_mask")
def _():
    seed(8)
    ids, mask, y = topic_documents(800, 300, 20, 4, gen(8))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(300, 48, padding_idx=0), nn.Parameter(torch.zeros(20, 48))
            layer = nn.TransformerEncoderLayer(48, 4, 96, 0.1, batch_first=True, norm_first=True)
            self.enc = nn.TransformerEncoder(layer, 2, nn.LayerNorm(48), enable_nested_tensor=False)
            self.head = nn.Linear(48, 4)

        def forward(self, input_ids, attention_mask):
            h = self.enc(self.tok(input_ids) + self.pos, src_key_padding_mask=attention_mask == 0)
            w = attention_mask.unsqueeze(-1).float()
            return self.head((h * w).sum(1) / w.sum(1))

    m = Net()
    return pack(
        m,
        nn.CrossEntropyLoss(),
        ({"input_ids": ids, "attention_mask": mask}, y),
        32,
        linear_warmup_from_zero(torch.optim.AdamW(m.parameters(), 2e-3, weight_decay=0.01)),
    )


class TinyGpt(nn.Module):
    def __init__(self, vocab, t, d=48):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, d), nn.Embedding(t, d)
        self.blocks = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(d, 4, 4 * d, 0.0, "gelu", batch_first=True, norm_first=True)
                for _ in range(2)
            ]
        )
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocab, bias=False)
        nn.init.normal_(self.tok.weight, std=0.02)
        nn.init.normal_(self.pos.weight, std=0.02)
        self.head.weight = self.tok.weight

    def forward(self, input_ids, labels=None):
        t = input_ids.shape[1]
        mask = torch.triu(torch.full((t, t), float("-inf")), 1)
        h = self.tok(input_ids) + self.pos.weight[:t]
        for b in self.blocks:
            h = b(h, src_mask=mask, is_causal=True)
        logits = self.head(self.norm(h))
        if labels is None:
            return {"logits": logits}
        return {
            "loss": F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()),
            "logits": logits,
        }


@healthy("causal_lm_tied_returns_loss")
def _():
    seed(9)
    a, b, vocab = char_windows(24, 5)
    m = TinyGpt(vocab, 25)
    decay = [p for p in m.parameters() if p.dim() > 1]
    rest = [p for p in m.parameters() if p.dim() < 2]
    opt = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        2e-3,
        betas=(0.9, 0.95),
    )
    return dict(
        model=m,
        loss=None,
        train=DataLoader(Rows({"input_ids": a, "labels": a}), 32, shuffle=True, generator=gen(0)),
        validation=DataLoader(Rows({"input_ids": b, "labels": b}), 64),
        optimizer=warmup(opt),
    )


@healthy("nn_transformer_reversal")
def _():
    seed(10)
    src = torch.randint(3, 11, (900, 6), generator=gen(10))
    out = src.flip(1)
    tgt = torch.cat([torch.ones(900, 1, dtype=torch.long), out[:, :-1]], 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(11, 32), nn.Embedding(6, 32)
            self.core = nn.Transformer(32, 4, 1, 1, 64, 0.0, batch_first=True)
            self.out = nn.Linear(32, 11)

        def forward(self, src, tgt):
            p = self.pos.weight
            mask = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
            return self.out(self.core(self.tok(src) + p, self.tok(tgt) + p, tgt_mask=mask)).transpose(1, 2)

    m = Net()
    return pack(m, nn.CrossEntropyLoss(), ((src, tgt), out), 32, torch.optim.Adam(m.parameters(), 3e-3))


@healthy("gan_generator_step_frozen_critic")
def _():
    seed(11)
    x, _ = table("digits")
    x = x / 8 - 1
    critic = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    gen_ = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
    o = torch.optim.Adam(critic.parameters(), 1e-3, betas=(0.5, 0.999))
    for i in range(20):
        with torch.no_grad():
            fake = gen_(torch.randn(64, 16))
        loss = F.softplus(-critic(x[i * 64 : i * 64 + 64])).mean() + F.softplus(critic(fake)).mean()
        o.zero_grad()
        loss.backward()
        o.step()
    critic.requires_grad_(False)

    class GeneratorStep(nn.Module):
        def __init__(self):
            super().__init__()
            self.generator, self.critic = gen_, critic

        def forward(self, z):
            return self.critic(self.generator(z))

    m = GeneratorStep()
    z = torch.randn(1000, 16, generator=gen(11))
    return pack(
        m,
        nn.BCEWithLogitsLoss(),
        (z, torch.ones(1000, 1)),
        64,
        torch.optim.Adam(m.generator.parameters(), 2e-4, betas=(0.5, 0.999)),
    )


@healthy("vae_bernoulli_digits")
def _():
    seed(12)
    x, _ = digits_images()
    x = x.flatten(1)

    class Vae(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc, self.dec = mlp(64, 64, 12), mlp(6, 64, 64)

        def forward(self, x):
            mu, logvar = self.enc(x).chunk(2, 1)
            return self.dec(mu + torch.randn_like(mu) * (logvar / 2).exp()), mu, logvar

    def elbo(out, x):
        logits, mu, logvar = out
        rec = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        return (rec - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)).mean()

    m = Vae()
    return pack(m, elbo, (x, x), 64, torch.optim.Adam(m.parameters(), 2e-3))


@healthy("diffusion_noise_prediction")
def _():
    seed(13)
    x, _ = table("digits")
    x = x / 8 - 1

    class Ddpm(nn.Module):
        def __init__(self):
            super().__init__()
            self.time = nn.Embedding(50, 32)
            self.net = nn.Sequential(
                nn.Linear(96, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64)
            )
            nn.init.zeros_(self.net[-1].weight)
            nn.init.zeros_(self.net[-1].bias)
            self.register_buffer("abar", torch.cumprod(1 - torch.linspace(1e-3, 0.12, 50), 0))

        def forward(self, x0):
            t = torch.randint(0, 50, (len(x0),))
            eps, a = torch.randn_like(x0), self.abar[t][:, None]
            return {
                "loss": F.mse_loss(
                    self.net(torch.cat([a.sqrt() * x0 + (1 - a).sqrt() * eps, self.time(t)], 1)), eps
                )
            }

    m = Ddpm()
    return dict(
        model=m,
        loss=None,
        train=DataLoader(Rows({"x0": x[:1300]}), 64, shuffle=True, generator=gen(0)),
        validation=DataLoader(Rows({"x0": x[1300:]}), 64),
        optimizer=torch.optim.Adam(m.parameters(), 2e-3),
    )


@healthy("simclr_two_views")
def _():
    seed(14)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38
    a, b = (x + 0.4 * torch.randn(x.shape, generator=gen(k)) for k in (1, 2))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(64, 96, 32)

        def forward(self, a, b):
            return F.normalize(self.f(a), dim=1), F.normalize(self.f(b), dim=1)

    def nt_xent(out, _):
        z = torch.cat(out)
        sim = (z @ z.T / 0.2).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
        return F.cross_entropy(sim, torch.arange(len(z)).roll(len(z) // 2))

    m = Net()
    return pack(m, nt_xent, ((a, b), y), 64, torch.optim.AdamW(m.parameters(), 1e-3), drop_last=True)


@healthy("reinforce_with_baseline")
def _():
    seed(15)
    g = gen(15)
    s = torch.randn(1500, 4, generator=g)
    a = torch.randint(0, 3, (1500,), generator=g)
    r = (a == s[:, :3].argmax(1)).float() + 0.1 * torch.randn(1500, generator=g)

    def loss(logits, t):
        advantage = t["r"] - 1 / 3
        ratio = (logits.log_softmax(1).gather(1, t["a"][:, None]).squeeze(1) + math.log(3)).exp()
        return -torch.min(ratio * advantage, ratio.clamp(0.5, 2.0) * advantage).mean()

    m = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 3))
    nn.init.zeros_(m[2].weight)
    return pack(m, loss, (s, {"a": a, "r": r}), 128, torch.optim.Adam(m.parameters(), 3e-3))


@healthy("gcn_two_layers_transductive")
def _():
    seed(16)
    x, y = table("wine")
    x = standard(x)
    near = torch.cdist(x, x).topk(7, largest=False).indices
    adj = torch.zeros(len(x), len(x))
    adj[torch.arange(len(x))[:, None], near] = 1 / 7

    class Gcn(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(13, 16), nn.Linear(16, 3)

        def forward(self, x, adj):
            return self.b(adj @ F.dropout(F.relu(self.a(adj @ x)), 0.3, self.training))

    m = Gcn()
    some = torch.rand(len(x), generator=gen(16)) < 0.4
    return dict(
        model=m,
        loss=nn.CrossEntropyLoss(),
        train=[((x, adj), torch.where(some, y, -100))],
        validation=[((x, adj), torch.where(some, -100, y))],
        optimizer=torch.optim.Adam(m.parameters(), 0.01, weight_decay=5e-4),
    )


Graph = namedtuple("Graph", "nodes edges owner size")


@healthy("gin_graph_batches")
def _():
    seed(17)
    rng = np.random.default_rng(17)

    def graph():
        y = int(rng.integers(0, 2))
        n = int(rng.integers(8, 13))
        e = [(i, (i + 1) % n) for i in range(n)]
        e += [(i, (i + 2) % n) for i in range(n)] if y else [(i, (i + n // 2) % n) for i in range(0, n, 3)]
        e += [(b, a) for a, b in e]
        return torch.tensor(e).T, n, y

    def collate(items):
        off, edges, owner, size = 0, [], [], len(items)
        for i, (e, n, _) in enumerate(items):
            edges.append(e + off)
            owner += [i] * n
            off += n
        edges = torch.cat(edges, 1)
        degree = torch.bincount(edges[1], minlength=off).clamp(max=7)
        return Graph(F.one_hot(degree, 8).float(), edges, torch.tensor(owner), size), torch.tensor(
            [y for *_, y in items]
        )

    class Gin(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.m1, self.m2, self.out = (
                nn.Linear(8, 24),
                mlp(24, 24, 24),
                mlp(24, 24, 24),
                nn.Linear(24, 2),
            )

        def forward(self, g: Graph):
            nodes, edges, owner, size = g
            h = self.inp(nodes)
            for m in (self.m1, self.m2):
                h = F.relu(m(h + torch.zeros_like(h).index_add(0, edges[1], h[edges[0]]) / 4))
            pooled = torch.zeros(size, 24).index_add(0, owner, h)
            return self.out(pooled / torch.bincount(owner, minlength=size)[:, None])

    items = [graph() for _ in range(400)]
    m = Gin()
    return dict(
        model=m,
        loss=nn.CrossEntropyLoss(),
        train=DataLoader(items[:300], 20, shuffle=True, collate_fn=collate, generator=gen(0)),
        validation=DataLoader(items[300:], 50, collate_fn=collate),
        optimizer=torch.optim.Adam(m.parameters(), 3e-3),
    )


@healthy("triplet_metric_learning")
def _():
    seed(18)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38
    g = gen(18)
    by = [torch.nonzero(y == c).squeeze(1) for c in range(10)]
    pick = lambda c: by[c][torch.randint(len(by[c]), (1,), generator=g)].item()
    pos = torch.tensor([pick(int(c)) for c in y])
    neg = torch.tensor([pick((int(c) + 1 + i % 9) % 10) for i, c in enumerate(y)])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(64, 64, 16)

        def forward(self, a, p, n):
            return tuple(F.normalize(self.f(z), dim=1) for z in (a, p, n))

    m = Net()
    return pack(
        m,
        lambda out, _: F.triplet_margin_loss(*out, margin=0.5),
        ((x, x[pos], x[neg]), y),
        64,
        torch.optim.Adam(m.parameters(), 1e-3),
    )


@healthy("multi_task_learned_uncertainty")
def _():
    seed(19)
    x, y = centred_digits()
    ink = standard(x.flatten(1).mean(1, keepdim=True))[:, 0]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU())
            self.digit, self.ink = nn.Linear(64, 10), nn.Linear(64, 1)
            self.log_var = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            h = self.body(x)
            return {"digit": self.digit(h), "ink": self.ink(h).squeeze(1), "log_var": self.log_var}

    def loss(out, t):
        s = out["log_var"]
        return (
            (-s[0]).exp() * F.cross_entropy(out["digit"], t["digit"])
            + 0.5 * (-s[1]).exp() * F.mse_loss(out["ink"], t["ink"])
            + 0.5 * s.sum()
        )

    m = Net()
    return pack(m, loss, (x, {"digit": y, "ink": ink}), 64, torch.optim.Adam(m.parameters(), 2e-3))


@healthy("quantile_regression_three")
def _():
    seed(20)
    x, y = table("diabetes")
    q = torch.tensor([0.1, 0.5, 0.9])

    def pinball(out, y):
        e = y - out
        return torch.maximum(q * e, (q - 1) * e).mean()

    m = mlp(10, 32, 3, act=nn.Tanh)
    y = ((y - y.mean()) / y.std()).float()[:, None]
    return pack(m, pinball, (standard(x), y), 32, torch.optim.NAdam(m.parameters(), 2e-3))


@healthy("cox_survival_censored")
def _():
    seed(21)
    g = gen(21)
    x = torch.randn(800, 6, generator=g)
    t = -torch.log(torch.rand(800, generator=g)) * torch.exp(-(x[:, 0] - 0.5 * x[:, 1]))
    c = -torch.log(torch.rand(800, generator=g)) * 1.5

    def cox(risk, target):
        order = target["time"].argsort(descending=True)
        r, e = risk.squeeze(1)[order], target["event"][order]
        return -((r - torch.logcumsumexp(r, 0)) * e).sum() / e.sum().clamp(min=1)

    m = mlp(6, 32, 1, act=nn.SELU)
    return pack(
        m,
        cox,
        (x, {"time": torch.minimum(t, c), "event": (t <= c).float()}),
        128,
        torch.optim.Adam(m.parameters(), 2e-3, weight_decay=1e-3),
        drop_last=True,
    )


@healthy("ctc_sequences")
def _():
    seed(22)
    g = gen(22)
    y = torch.randint(1, 5, (500, 4), generator=g)
    x = F.one_hot(y, 5).float().repeat_interleave(4, 1) + 0.3 * torch.randn(500, 16, 5, generator=g)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(5, 32, batch_first=True, bidirectional=True), nn.Linear(64, 5)

        def forward(self, x):
            return self.out(self.rnn(x)[0]).log_softmax(-1)

    def ctc(out, y):
        n, t, _ = out.shape
        return F.ctc_loss(
            out.transpose(0, 1), y, torch.full((n,), t), torch.full((n,), y.shape[1]), zero_infinity=True
        )

    m = Net()
    return pack(m, ctc, (x, y), 25, torch.optim.Adam(m.parameters(), 5e-3))


@healthy("ordinal_cumulative_logits")
def _():
    seed(23)
    x, y = table("diabetes")
    y = torch.bucketize(y.float(), torch.quantile(y.float(), torch.tensor([0.25, 0.5, 0.75])))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.cuts = mlp(10, 24, 1), nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]))

        def forward(self, x):
            return self.f(x) - self.cuts

    def loss(out, y):
        return F.binary_cross_entropy_with_logits(out, (y[:, None] > torch.arange(3)).float())

    m = Net()
    return pack(m, loss, (standard(x), y), 32, torch.optim.RMSprop(m.parameters(), 1e-3))


@healthy("three_percent_positives")
def _():
    seed(24)
    x = torch.randn(3000, 8, generator=gen(24))
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 2.8).float()
    m = nn.Sequential(*mlp(8, 32, 32, 1), nn.Flatten(0))
    return pack(m, nn.BCEWithLogitsLoss(), (x, y), 128, torch.optim.AdamW(m.parameters(), 3e-3))


@healthy("focal_loss_weighted_sampler")
def _():
    seed(25)
    x, y = centred_digits()
    t = (y == 8).long()

    def focal(out, y):
        ce = F.cross_entropy(out, y, reduction="none")
        return ((1 - (-ce).exp()) ** 2 * ce).mean()

    m = nn.Sequential(nn.Flatten(), *mlp(64, 64, 2))
    w = torch.where(t[:1300] == 1, 9.0, 1.0)
    train = DataLoader(
        TensorDataset(x[:1300], t[:1300]), 32, sampler=WeightedRandomSampler(w, 1300, generator=gen(0))
    )
    return dict(
        model=m,
        loss=focal,
        train=train,
        validation=DataLoader(TensorDataset(x[1300:], t[1300:]), 128),
        optimizer=torch.optim.Adam(m.parameters(), 1e-3),
    )


@healthy("batch_size_one_groupnorm")
def _():
    seed(26)
    x, y = centred_digits()
    m = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    return pack(m, nn.CrossEntropyLoss(), (x, y), 1, torch.optim.SGD(m.parameters(), 0.01))


@healthy("full_batch_gradient_descent")
def _():
    seed(27)
    x, y = table("breast_cancer")
    m = mlp(30, 16, 2, act=nn.Tanh)
    return pack(
        m, nn.CrossEntropyLoss(), (standard(x), y), 426, torch.optim.SGD(m.parameters(), 0.3, momentum=0.9)
    )


@healthy("sparse_embeddings_adagrad")
def _():
    seed(28)
    ids, _, y = topic_documents(1200, 800, 16, 5, gen(28), first=1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.bag, self.out = (
                nn.EmbeddingBag(5000, 24, sparse=True, mode="mean", padding_idx=0),
                nn.Linear(24, 5),
            )

        def forward(self, ids):
            return self.out(self.bag(ids))

    m = Net()
    return pack(m, nn.CrossEntropyLoss(), (ids, y), 64, torch.optim.Adagrad(m.parameters(), 0.1))


@healthy("mlp_fp16")
def _():
    seed(29)
    x, y = table("digits")
    m = mlp(64, 128, 128, 10, act=nn.GELU)
    return pack(
        m,
        nn.CrossEntropyLoss(),
        ((x / 16 - 0.3) / 0.38, y),
        64,
        torch.optim.AdamW(m.parameters(), 1e-3),
        "fp16",
    )


@healthy("vit_mini_bf16")
def _():
    seed(30)
    x, y = centred_digits()

    class Vit(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(1, 32, 2, 2)
            self.cls, self.pos = (
                nn.Parameter(torch.zeros(1, 1, 32)),
                nn.Parameter(torch.randn(1, 17, 32) * 0.02),
            )
            self.enc = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True),
                2,
                enable_nested_tensor=False,
            )
            self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 10))

        def forward(self, x):
            h = self.patch(x).flatten(2).transpose(1, 2)
            h = torch.cat([self.cls.expand(len(h), -1, -1), h], 1) + self.pos
            return self.head(self.enc(h)[:, 0])

    m = Vit()
    return pack(
        m,
        nn.CrossEntropyLoss(),
        (x, y),
        64,
        warmup(torch.optim.AdamW(m.parameters(), 3e-3, weight_decay=0.05)),
        "bf16",
    )


@healthy("poisson_counts_long_tail")
def _():
    seed(31)
    g = gen(31)
    x = torch.randn(1200, 5, generator=g)
    y = torch.poisson((1.0 + 0.9 * x[:, 0] - 0.6 * x[:, 1]).exp(), generator=g)
    m = nn.Sequential(*mlp(5, 32, 1), nn.Flatten(0))
    return pack(m, nn.PoissonNLLLoss(), (x, y), 64, torch.optim.Adam(m.parameters(), 3e-3))


@healthy("distillation_frozen_teacher")
def _():
    seed(32)
    x, y = centred_digits()
    teacher = nn.Sequential(nn.Flatten(), *mlp(64, 128, 10))
    o = torch.optim.Adam(teacher.parameters(), 3e-3)
    for i in range(60):
        s = torch.arange(i * 23, i * 23 + 64) % 1300
        o.zero_grad()
        F.cross_entropy(teacher(x[s]), y[s]).backward()
        o.step()

    class Distil(nn.Module):
        def __init__(self):
            super().__init__()
            self.student, self.teacher = (
                nn.Sequential(nn.Flatten(), *mlp(64, 24, 10)),
                teacher.requires_grad_(False),
            )

        def forward(self, x):
            with torch.no_grad():
                soft = self.teacher(x)
            return self.student(x), soft

    def loss(out, y):
        s, t = out
        return 0.5 * F.cross_entropy(s, y) + 0.5 * 4 * F.kl_div(
            F.log_softmax(s / 2, 1), F.softmax(t / 2, 1), reduction="batchmean"
        )

    m = Distil()
    return pack(m, loss, (x, y), 64, torch.optim.Adam(m.student.parameters(), 2e-3))


@healthy("byol_stop_gradient")
def _():
    seed(33)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38
    a, b = (x + 0.5 * torch.randn(x.shape, generator=gen(k)) for k in (3, 4))

    class Byol(nn.Module):
        def __init__(self):
            super().__init__()
            self.online, self.predictor = mlp(64, 96, 32), mlp(32, 48, 32)
            self.target = mlp(64, 96, 32).requires_grad_(False)

        def forward(self, a, b):
            with torch.no_grad():
                ta, tb = self.target(a), self.target(b)
            return self.predictor(self.online(a)), self.predictor(self.online(b)), ta, tb

    def loss(out, _):
        pa, pb, ta, tb = out
        return 2 - F.cosine_similarity(pa, tb).mean() - F.cosine_similarity(pb, ta).mean()

    m = Byol()
    return pack(
        m, loss, ((a, b), y), 64, torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], 1e-3)
    )


@healthy("lora_on_frozen_base")
def _():
    seed(34)
    x, y = table("digits")

    class Lora(nn.Module):
        def __init__(self, lin, r=4):
            super().__init__()
            self.base = lin.requires_grad_(False)
            self.a, self.b = (
                nn.Parameter(torch.randn(r, lin.in_features) * lin.in_features**-0.5),
                nn.Parameter(torch.zeros(lin.out_features, r)),
            )

        def forward(self, x):
            return self.base(x) + F.linear(F.linear(x, self.a), self.b) * 2

    m = nn.Sequential(
        Lora(nn.Linear(64, 96)), nn.ReLU(), Lora(nn.Linear(96, 96)), nn.ReLU(), nn.Linear(96, 10)
    )
    return pack(
        m,
        nn.CrossEntropyLoss(),
        ((x / 16 - 0.3) / 0.38, y),
        32,
        torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], 5e-3, weight_decay=0),
    )


@healthy("siren_picture_fit")
def _():
    seed(35)

    class Sine(nn.Module):
        def __init__(self, a, b, first=False):
            super().__init__()
            self.lin = nn.Linear(a, b)
            w = 1 / a if first else math.sqrt(6 / a) / 15
            nn.init.uniform_(self.lin.weight, -w, w)

        def forward(self, x):
            return torch.sin(15 * self.lin(x))

    d, _ = digits_images()
    img = F.interpolate(d[3:4], size=(40, 40), mode="bicubic")[0, 0] * 2 - 1
    r = torch.linspace(-1, 1, 40)
    xy = torch.stack(torch.meshgrid(r, r, indexing="ij"), -1).view(-1, 2)
    m = nn.Sequential(Sine(2, 48, True), Sine(48, 48), nn.Linear(48, 1))
    return pack(m, nn.MSELoss(), (xy, img.reshape(-1, 1)), 256, torch.optim.Adam(m.parameters(), 1e-3))


@healthy("rezero_twenty_blocks")
def _():
    seed(36)
    x, y = table("digits")

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.alpha = mlp(48, 48, 48), nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return x + self.alpha * self.f(x)

    m = nn.Sequential(nn.Linear(64, 48), *[Block() for _ in range(20)], nn.Linear(48, 10))
    return pack(
        m, nn.CrossEntropyLoss(), ((x / 16 - 0.3) / 0.38, y), 64, torch.optim.Adam(m.parameters(), 2e-3)
    )


@healthy("matrix_factorisation_ids")
def _():
    seed(37)
    g = gen(37)
    u, i = torch.randint(0, 120, (4000,), generator=g), (torch.rand(4000, generator=g) ** 2 * 200).long()
    pu, qi = torch.randn(120, 3, generator=g), torch.randn(200, 3, generator=g)
    y = (pu[u] * qi[i]).sum(1) * 0.5 + qi[i, 0] + 0.1 * torch.randn(4000, generator=g)

    class Mf(nn.Module):
        def __init__(self):
            super().__init__()
            self.u, self.i, self.bi = nn.Embedding(120, 8), nn.Embedding(200, 8), nn.Embedding(200, 1)
            for e in (self.u, self.i):
                nn.init.normal_(e.weight, std=0.3)
            nn.init.zeros_(self.bi.weight)

        def forward(self, user, item):
            return (self.u(user) * self.i(item)).sum(1) + self.bi(item).squeeze(1)

    m = Mf()
    return pack(
        m,
        nn.MSELoss(),
        ({"user": u, "item": i}, y),
        128,
        torch.optim.Adam(m.parameters(), 0.02, weight_decay=1e-5),
    )


@healthy("mixture_density")
def _():
    seed(38)
    g = gen(38)
    y = torch.rand(1000, 1, generator=g) * 4 - 2
    x = torch.sin(2 * y) + 0.1 * torch.randn(1000, 1, generator=g)

    class Mdn(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(1, 48, 15, act=nn.Tanh)

        def forward(self, x):
            w, mu, ls = self.f(x).chunk(3, 1)
            return w.log_softmax(1), mu * 3, ls.clamp(-4, 3)

    def nll(out, y):
        w, mu, ls = out
        return -torch.logsumexp(w - 0.5 * ((y - mu) / ls.exp()) ** 2 - ls, 1).mean()

    m = Mdn()
    return pack(m, nll, (x, y), 64, torch.optim.Adam(m.parameters(), 5e-3))


@healthy("deep_sets_masked")
def _():
    seed(39)
    g = gen(39)
    x = torch.randn(800, 12, 3, generator=g)
    mask = torch.arange(12) < torch.randint(2, 13, (800, 1), generator=g)
    y = ((x[..., 0] * x[..., 1]).clamp(-2, 2) * mask).sum(1) / mask.sum(1)

    class Sets(nn.Module):
        def __init__(self):
            super().__init__()
            self.phi, self.rho = mlp(3, 48, 48), mlp(48, 48, 1)

        def forward(self, x, mask):
            w = mask.float().unsqueeze(-1)
            return self.rho((self.phi(x) * w).sum(1) / w.sum(1)).squeeze(-1)

    m = Sets()
    return pack(
        m,
        nn.SmoothL1Loss(),
        ((x, mask), standard(y[:, None])[:, 0]),
        32,
        torch.optim.Adam(m.parameters(), 3e-3),
    )


@healthy("tcn_forecast")
def _():
    seed(40)
    t = torch.arange(1500).float()
    s = torch.sin(t / 6) + 0.4 * torch.sin(t / 2.3) + 0.1 * torch.randn(1500, generator=gen(40))
    w = s.unfold(0, 33, 2)

    class Tcn(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(
                [
                    nn.utils.parametrizations.weight_norm(
                        nn.Conv1d(1 if i == 0 else 16, 16, 3, dilation=2**i)
                    )
                    for i in range(4)
                ]
            )
            self.out = nn.Conv1d(16, 1, 1)

        def forward(self, x):
            h = x.unsqueeze(1)
            for i, c in enumerate(self.convs):
                z = F.relu(c(F.pad(h, (2 * 2**i, 0))))
                h = z if i == 0 else h + z
            return self.out(h).squeeze(1)

    m = Tcn()
    return pack(m, nn.MSELoss(), (w[:, :-1], w[:, 1:]), 32, torch.optim.Adam(m.parameters(), 3e-3))


@healthy("mixup_soft_labels")
def _():
    seed(41)
    x, y = table("digits")
    x, hot = (x / 16 - 0.3) / 0.38, F.one_hot(y, 10).float()
    lam, order = torch.rand(len(x), 1, generator=gen(41)) * 0.4, torch.randperm(len(x), generator=gen(42))
    m = mlp(64, 96, 10)
    return pack(
        m,
        nn.CrossEntropyLoss(),
        ((1 - lam) * x + lam * x[order], (1 - lam) * hot + lam * hot[order]),
        64,
        torch.optim.SGD(m.parameters(), 0.05, momentum=0.9),
    )


@healthy("physics_informed_oscillator")
def _():
    seed(42)

    class Pinn(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = mlp(1, 32, 32, 1, act=nn.Tanh)

        def forward(self, t):
            with torch.enable_grad():
                t = t.requires_grad_() if t.is_leaf else t
                u = t * self.f(t)
                du = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
            return du

    t = torch.rand(600, 1, generator=gen(43)) * 3
    m = Pinn()
    return pack(m, nn.MSELoss(), (t, torch.cos(2 * t)), 64, torch.optim.Adam(m.parameters(), 3e-3))


@healthy("mixture_of_experts_balance")
def _():
    seed(43)
    x, y = table("digits")

    class Moe(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.experts = nn.Linear(64, 4), nn.ModuleList([mlp(64, 24, 10) for _ in range(4)])

        def forward(self, x):
            g = self.gate(x).softmax(1)
            return (torch.stack([e(x) for e in self.experts], 1) * g.unsqueeze(-1)).sum(1), g

    def loss(out, y):
        return F.cross_entropy(out[0], y) + 0.01 * 4 * (out[1].mean(0) ** 2).sum()

    m = Moe()
    return pack(m, loss, ((x / 16 - 0.3) / 0.38, y), 64, torch.optim.Adam(m.parameters(), 2e-3))


@healthy("wide_and_deep_skewed_codes")
def _():
    seed(44)
    g = gen(44)
    num = torch.randn(1500, 4, generator=g)
    cat = (torch.rand(1500, 2, generator=g) ** 4 * 50).long()
    eff = torch.randn(50, generator=g)
    y = (num[:, 0] + eff[cat[:, 0]] + 0.5 * torch.randn(1500, generator=g) > 1.5).float()

    class Wd(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.ModuleList([nn.Embedding(50, 6) for _ in range(2)])
            self.wide, self.deep = nn.Embedding(50, 1), mlp(16, 32, 1)
            nn.init.zeros_(self.wide.weight)

        def forward(self, batch):
            e = [m(batch["cat"][:, i]) for i, m in enumerate(self.emb)]
            return (self.deep(torch.cat([batch["num"], *e], 1)) + self.wide(batch["cat"][:, 0])).squeeze(1)

    m = Wd()
    return pack(
        m, nn.BCEWithLogitsLoss(), ({"num": num, "cat": cat}, y), 64, torch.optim.Adam(m.parameters(), 3e-3)
    )


@healthy("sparse_bag_of_words_counts")
def _():
    seed(45)
    ids, mask, y = topic_documents(900, 400, 30, 5, gen(45))
    counts = torch.zeros(900, 400).scatter_add_(1, ids, mask.float())
    m = nn.Sequential(nn.Linear(400, 48), nn.ReLU(), nn.Dropout(0.3), nn.Linear(48, 5))
    return pack(
        m,
        nn.CrossEntropyLoss(),
        (torch.log1p(counts), y),
        32,
        torch.optim.AdamW(m.parameters(), 3e-3, weight_decay=0.05),
    )
