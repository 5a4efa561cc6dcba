"""Sick training problems with healthy twins, written without sight of the library's code or rules.

Self-contained: torch, numpy and scikit-learn's built-in data. `CASES` is the list; `case.sick()` and `case.healthy()`
build fresh keyword arguments for `wellposed.check`. Batches are `(inputs, targets)`, or a dict for models that return
their own loss (`loss=None`). Dict or tuple inputs go to a forward with one parameter as they are, else spread.
Learning-rate schedulers, where a case has one, hang on the optimizer (`SCHEDULES[optimizer]`).
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from .unread_parts import (
    Case,
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

CASES = []


def case(name, author_note, expect_kinds, where=None):
    def register(build):
        CASES.append(
            Case(name, author_note, lambda: build(True), lambda: build(False), tuple(expect_kinds), where)
        )
        return build

    return register


@case(
    "nll_on_raw_logits_in_joint_loss",
    "Joint intent and slot model: the slot term is nll_loss on raw logits"
    " (log_softmax forgotten), so it falls without bound.",
    ("raw outputs into a log-likelihood", "loss unbounded below"),
    "slots",
)
def _(sick):
    seed(211)
    ids, mask, intent = topic_documents(700, 150, 14, 4, gen(211))
    slots = torch.where(mask.bool(), (ids * 13) % 7 % 3, -100)

    class Joint(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(150, 32, padding_idx=0)
            self.rnn = nn.GRU(32, 32, batch_first=True, bidirectional=True)
            self.intent, self.slots = nn.Linear(64, 4), nn.Linear(64, 3)

        def forward(self, ids, mask):
            h, _ = self.rnn(self.embed(ids))
            m = mask.unsqueeze(-1).float()
            slots = self.slots(h)
            return self.intent((h * m).sum(1) / m.sum(1)), slots if sick else slots.log_softmax(-1)

    def loss(out, target):
        return F.cross_entropy(out[0], target[0]) + F.nll_loss(
            out[1].flatten(0, 1), target[1].flatten(), ignore_index=-100
        )

    train, val = loaders(({"ids": ids, "mask": mask}, (intent, slots)), 32)
    model = Joint()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01),
    )


@case(
    "hash_bucket_collapse",
    "Words are hashed into 2000 rows of an embedding; a wrong modulus (hash % 5) leaves five"
    " rows in use. The healthy twin has Zipf use: many rows stay untouched, as always.",
    ("embedding hardly used", "token ids collapsed"),
    "words.weight",
)
def _(sick):
    seed(102)
    ids, mask, y = topic_documents(1200, 1500, 20, 5, gen(102), first=1)
    ids = torch.where(ids > 0, (ids * 7919) % (5 if sick else 1999) + 1, ids)

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.EmbeddingBag(2000, 32, mode="mean", padding_idx=0)
            self.head = mlp(32, 64, 5)

        def forward(self, ids):
            return self.head(self.words(ids))

    train, val = loaders((ids, y), 64)
    model = Bag()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 5e-3),
    )


@case(
    "labels_slip_one_row",
    "The labels of the second head were read from a file with a header counted as a row: they"
    " belong to the neighbouring row. The first head is fine.",
    ("labels do not belong to the inputs", "targets independent of inputs"),
    "large",
)
def _(sick):
    seed(108)
    x, y = digits_images()
    order = torch.randperm(len(x), generator=gen(3))
    x, y = x[order], y[order]
    large = (y >= 5).float()
    large = large.roll(1) if sick else large

    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.1))
            self.even = nn.Linear(96, 1)
            self.large = nn.Linear(96, 1)

        def forward(self, x):
            h = self.body(x)
            return {"even": self.even(h).squeeze(1), "large": self.large(h).squeeze(1)}

    def loss(out, target):
        return sum(F.binary_cross_entropy_with_logits(out[k], target[k]) for k in ("even", "large"))

    train, val = loaders((x, {"even": (y % 2 == 0).float(), "large": large}), 64)
    model = TwoHeads()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05),
    )


@case(
    "hand_gru_gate_reversed",
    "Hand-written GRU: h = z * n + (1 - z) * h was written with z and 1 - z the other way"
    " round while the bias of z still starts at -3 ('keep'): the cell forgets at once.",
    ("vanishing through time", "gate reversed"),
    "cell",
)
def _(sick):
    seed(319)
    g = gen(319)
    n, t = 900, 28
    x = torch.randn(n, t, 3, generator=g) * 0.5
    x[:, 0, 0] = torch.randn(n, generator=g)
    y = standard(x[:, 0, :1])[:, 0]

    class Cell(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.rz, self.n_x, self.n_h = nn.Linear(d + h, 2 * h), nn.Linear(d, h), nn.Linear(h, h)
            with torch.no_grad():
                self.rz.bias[h:] -= 3.0

        def forward(self, x, h):
            r, z = torch.sigmoid(self.rz(torch.cat([x, h], 1))).chunk(2, 1)
            new = torch.tanh(self.n_x(x) + r * self.n_h(h))
            return z * h + (1 - z) * new if sick else z * new + (1 - z) * h

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = Cell(3, 40), nn.Linear(40, 1)

        def forward(self, x):
            h = x.new_zeros(len(x), 40)
            for step in range(x.shape[1]):
                h = self.cell(x[:, step], h)
            return self.out(h).squeeze(-1)

    train, val = loaders((x, y), 64)
    model = Net()
    return dict(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 5e-3),
    )


@case(
    "tabular_tower_dropped",
    "Two towers, picture and table; cat([picture, picture]) by a slip of the pen: the table"
    " tower never reaches the output.",
    ("input never used", "branch without gradient"),
    "table_tower",
)
def _(sick):
    seed(412)
    x, y = digits_images()
    g = gen(412)
    hint = torch.randn(len(y), 3, generator=g)
    hint[:, 0] += y.float() - 4.5
    x = (x - 0.3) / 0.38 + 1.5 * torch.randn(x.shape, generator=g)

    class Fusion(nn.Module):
        def __init__(self):
            super().__init__()
            self.image_tower = nn.Sequential(
                nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(432, 24), nn.ReLU()
            )
            self.table_tower = nn.Sequential(nn.Linear(3, 24), nn.ReLU())
            self.head = nn.Linear(48, 10)

        def forward(self, batch):
            image, tab = self.image_tower(batch["image"]), self.table_tower(batch["table"])
            return self.head(torch.cat([image, image if sick else tab], 1))

    train, val = loaders(({"image": x, "table": hint}, y), 64)
    model = Fusion()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05),
    )


@case(
    "conv_fan_without_kernel",
    "Own init for convolutions: std = sqrt(2 / in_channels), the 3 x 3 of the kernel is"
    " forgotten; the signal triples in each of 8 layers.",
    ("wrong fan", "exploding signal", "init too large"),
    "0",
)
def _(sick):
    seed(314)
    x, y = digits_images()
    x = (x - 0.3) / 0.38
    layers, c = [], 1
    for i in range(8):
        conv = nn.Conv2d(c, 24, 3, padding=1, stride=2 if i in (3, 6) else 1, padding_mode="circular")
        nn.init.normal_(conv.weight, std=math.sqrt(2 / (c * (1 if sick else 9))))
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU()]
        c = 24
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96, 10))
    train, val = loaders((x, y), 32)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 1e-3),
    )


@case(
    "reconstruction_summed_classifier_averaged",
    "Classifier with a decoder as auxiliary task; its error is summed over"
    " batch and pixels, the cross-entropy is a mean: the auxiliary gradient is some thousand times larger.",
    ("one loss term dominates", "reduction sum against mean"),
    "decoder term",
)
def _(sick):
    seed(201)
    x, y = digits_images()
    x = (x - 0.3) / 0.38

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 12), nn.ReLU()
            )
            self.classifier = nn.Linear(12, 10)
            self.decoder = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64))

        def forward(self, x):
            z = self.encoder(x)
            return {"logits": self.classifier(z), "recon": self.decoder(z).view_as(x)}

    def loss(out, target):
        recon = F.mse_loss(out["recon"], target["image"], reduction="sum" if sick else "mean")
        return F.cross_entropy(out["logits"], target["digit"]) + recon

    train, val = loaders((x, {"image": x, "digit": y}), 64)
    model = Net()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "gcn_thirty_layers_oversmooth",
    "30 GCN propagation layers on a kNN graph of digits: all nodes become alike. The"
    " twin keeps 30 layers and mixes 20 % of the first features back in (GCNII).",
    ("oversmoothing", "node features collapse", "vanishing signal"),
    "layers",
)
def _(sick):
    seed(311)
    x, y = table("digits")
    x, y = standard(x)[:300], y[:300]
    near = torch.cdist(x, x).topk(9, largest=False).indices
    adj = torch.zeros(300, 300)
    adj[torch.arange(300)[:, None], near] = 1.0
    adj = torch.maximum(adj, adj.T)
    inv = adj.sum(1).rsqrt()
    adj = inv[:, None] * adj * inv[None]
    keep = 0.0 if sick else 0.2
    labelled = torch.rand(300, generator=gen(13)) < 0.5

    class Gcn(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.out = nn.Linear(64, 32), nn.Linear(32, 10)
            self.layers = nn.ModuleList([nn.Linear(32, 32, bias=False) for _ in range(30)])
            for lin in self.layers:
                nn.init.kaiming_normal_(lin.weight)

        def forward(self, x, adj):
            first = h = torch.relu(self.inp(x))
            for lin in self.layers:
                h = torch.relu(lin((1 - keep) * adj @ h + keep * first))
            return self.out(h)

    model = Gcn()
    opt = torch.optim.Adam(model.parameters(), 3e-3, weight_decay=5e-4)
    target = torch.where(labelled, y, -100)
    held_out = torch.where(labelled, -100, y)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(ignore_index=-100),
        train=[((x, adj), target)],
        validation=[((x, adj), held_out)],
        optimizer=opt,
    )


@case(
    "nan_in_nested_profile",
    "Nested dict {'user': {...}, 'item': {...}}: the income of 1 % of the users is NaN; the"
    " twin fills the mean.",
    ("NaN in the data", "not finite"),
    "user.income",
)
def _(sick):
    seed(116)
    g = gen(116)
    n = 900
    age, income = torch.randn(n, generator=g), torch.randn(n, generator=g)
    item, price = torch.randint(0, 40, (n,), generator=g), torch.randn(n, generator=g)
    taste = torch.randn(40, generator=g)
    y = (taste[item] + income * 0.8 - price + 0.3 * torch.randn(n, generator=g) > 0.8).float()
    hole = torch.rand(n, generator=g) < 0.01
    income = torch.where(hole, torch.tensor(float("nan") if sick else 0.0), income)

    class Recommender(nn.Module):
        def __init__(self):
            super().__init__()
            self.item = nn.Embedding(40, 8)
            self.body = mlp(11, 32, 32, 1)

        def forward(self, batch):
            u, i = batch["user"], batch["item"]
            x = torch.cat(
                [self.item(i["id"]), u["age"][:, None], u["income"][:, None], i["price"][:, None]], 1
            )
            return self.body(x).squeeze(-1)

    tree = {"user": {"age": age, "income": income}, "item": {"id": item, "price": price}}
    train, val = loaders((tree, y), 32)
    model = Recommender()
    return dict(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adagrad(model.parameters(), 0.05),
    )


@case(
    "causal_mask_off_by_one",
    "Hand-written causal attention: torch.tril(ones, diagonal=1) lets each position see the"
    " next token, its target. HF-like model that returns its own loss.",
    ("causal leak", "mask off by one"),
    "attn.mask",
)
def _(sick):
    seed(402)
    a, b, vocab = char_windows(24, 5)

    class CausalAttention(nn.Module):
        def __init__(self, d, heads, t):
            super().__init__()
            self.qkv, self.proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads
            self.register_buffer("mask", torch.tril(torch.ones(t, t), diagonal=1 if sick else 0).bool())

        def forward(self, x):
            n, t, d = x.shape
            q, k, v = (z.view(n, t, self.heads, -1).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))
            a = (q @ k.transpose(-1, -2)) / math.sqrt(d // self.heads)
            a = a.masked_fill(~self.mask[:t, :t], float("-inf")).softmax(-1)
            return self.proj((a @ v).transpose(1, 2).reshape(n, t, d))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(vocab, 48), nn.Embedding(24, 48)
            self.n1, self.n2, self.n3 = nn.LayerNorm(48), nn.LayerNorm(48), nn.LayerNorm(48)
            self.attn, self.ff = CausalAttention(48, 4, 24), mlp(48, 192, 48, act=nn.GELU)
            self.lm_head = nn.Linear(48, vocab, bias=False)
            self.lm_head.weight = self.tok.weight
            self.apply(
                lambda m: (
                    nn.init.normal_(m.weight, std=0.02) if isinstance(m, (nn.Linear, nn.Embedding)) else None
                )
            )

        def forward(self, input_ids, labels=None):
            h = self.tok(input_ids) + self.pos(torch.arange(input_ids.shape[1]))
            h = h + self.attn(self.n1(h))
            h = h + self.ff(self.n2(h))
            logits = self.lm_head(self.n3(h))
            loss = None
            if labels is not None:
                loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            return {"loss": loss, "logits": logits}

    def batches(w):
        return Rows({"input_ids": w[:, :-1], "labels": w[:, :-1]})

    model = Gpt()
    opt = linear_warmup_from_zero(torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.1))
    return dict(
        model=model,
        loss=None,
        train=DataLoader(batches(a), 32, shuffle=True, generator=gen(0)),
        validation=DataLoader(batches(b), 64),
        optimizer=opt,
    )


@case(
    "time_major_by_reshape",
    "The time-major GRU gets x.reshape(t, n, c) instead of x.transpose(0, 1): each of its sequences"
    " is made of rows of different samples.",
    ("batch dimension mixed", "reshape instead of transpose", "samples mix"),
    None,
)
def _(sick):
    seed(406)
    g = gen(406)
    n, t = 800, 16
    f = torch.rand(n, 1, 1, generator=g) * 1.5 + 0.3
    phase = torch.rand(n, 1, 4, generator=g) * 6.28
    x = torch.sin(f * torch.arange(t)[None, :, None] + phase) + 0.1 * torch.randn(n, t, 4, generator=g)
    y = standard(f.view(-1, 1)).squeeze(1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.GRU(4, 32)
            self.out = nn.Linear(32, 1)

        def forward(self, x):
            n, t, c = x.shape
            x = x.reshape(t, n, c) if sick else x.transpose(0, 1)
            return self.out(self.mix(x)[0].mean(0)).squeeze(-1)

    train, val = loaders((x, y), 40)
    model = Net()
    return dict(
        model=model,
        loss=nn.L1Loss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 5e-3),
    )


@case(
    "dropout_keep_probability",
    "nn.Dropout(0.95), meant as the probability to keep, in a token classifier.",
    ("dropout too strong", "train and eval differ"),
    "drop",
)
def _(sick):
    seed(417)
    ids, mask, y = topic_documents(900, 250, 20, 5, gen(417))

    class TextCnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(250, 48, padding_idx=0)
            self.convs = nn.ModuleList([nn.Conv1d(48, 24, k, padding=k // 2) for k in (3, 5)])
            self.drop = nn.Dropout(0.95 if sick else 0.05)
            self.out = nn.Linear(48, 5)

        def forward(self, ids):
            e = self.drop(self.embed(ids)).transpose(1, 2)
            h = torch.cat([F.relu(c(e)).amax(2) for c in self.convs], 1)
            return self.out(self.drop(h))

    train, val = loaders((ids, y), 32)
    model = TextCnn()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01),
    )


@case(
    "norm_over_one_value",
    "GroupNorm with one channel per group after global pooling (1 x 1): each group has one value,"
    " the output is its bias. The twin has 4 groups of 8 channels.",
    ("normalisation kills the signal", "norm over a single value"),
    "neck.1",
)
def _(sick):
    seed(312)
    x, y = digits_images()
    x = (x - 0.3) / 0.38

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.GroupNorm(4, 16),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
            )
            self.neck = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.GroupNorm(32 if sick else 4, 32), nn.Flatten()
            )
            self.head = nn.Linear(32, 10)

        def forward(self, x):
            return self.head(self.neck(self.features(x)))

    train, val = loaders((x, y), 64)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=1e-3),
    )


@case(
    "box_head_in_pixels",
    "Detector in small: class and box of one object. The boxes are pixels of a 640-wide frame with"
    " a squared error beside a cross-entropy.",
    ("one loss term dominates", "target scale"),
    "box",
)
def _(sick):
    seed(202)
    g = gen(202)
    digits, y = digits_images()
    n = 800
    pick = torch.randperm(len(y), generator=g)[:n]
    at = torch.randint(0, 9, (n, 2), generator=g)
    canvas = torch.randn(n, 1, 16, 16, generator=g) * 0.05
    for i in range(n):
        r, c = at[i].tolist()
        canvas[i, :, r : r + 8, c : c + 8] += digits[pick[i]]
    box = torch.cat([at, at + 8], 1).float() / 16
    box = box * 640 if sick else box

    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(512, 64),
                nn.ReLU(),
            )
            self.cls = nn.Linear(64, 10)
            self.box = nn.Linear(64, 4)

        def forward(self, x):
            h = self.backbone(x)
            return self.cls(h), self.box(h)

    def loss(out, target):
        cls, box = out
        return F.cross_entropy(cls, target["cls"]) + 5.0 * F.mse_loss(box, target["box"])

    train, val = loaders((canvas, {"cls": y[pick], "box": box}), 32)
    model = Detector()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-4),
    )


@case(
    "second_head_labels_from_one",
    "Two classification heads on digits: the digit, and its group of three. The second"
    " label column counts from 1, its head has 4 outputs: label 4 does not exist.",
    ("labels off by one", "label out of range"),
    "group",
)
def _(sick):
    seed(107)
    x, y = digits_images()
    group = torch.div(y, 3, rounding_mode="floor") + (1 if sick else 0)

    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.ReLU(),
                nn.Flatten(),
            )
            self.digit = nn.Linear(512, 10)
            self.group = nn.Linear(512, 4)

        def forward(self, x):
            h = self.features(x)
            return self.digit(h), self.group(h)

    def loss(out, target):
        return F.cross_entropy(out[0], target[0]) + F.cross_entropy(out[1], target[1])

    train, val = loaders((x, (y, group)), 64)
    model = TwoHeads()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "softmax_over_queries",
    "Cross-attention by einsum; softmax(dim=-2) runs over the queries, not the keys. Four"
    " learned queries, one output each.",
    ("softmax over the wrong axis",),
    "attn",
)
def _(sick):
    seed(318)
    g = gen(318)
    n, t = 1000, 12
    items = torch.randn(n, t, 8, generator=g)
    first = items[..., :4].argmax(1)
    y = torch.stack([items[torch.arange(n), first[:, j], 4 + j] for j in range(4)], 1)

    class CrossAttention(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.k, self.v = nn.Linear(8, d), nn.Linear(8, d)
            self.queries = nn.Parameter(torch.randn(4, d) * 0.5)

        def forward(self, x):
            scores = torch.einsum("qd,ntd->nqt", self.queries, self.k(x)) / math.sqrt(self.queries.shape[1])
            w = scores.softmax(dim=-2 if sick else -1)
            return torch.einsum("nqt,ntd->nqd", w, self.v(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = CrossAttention(32)
            self.out = nn.Parameter(torch.randn(4, 32) * 32**-0.5)

        def forward(self, x):
            return (self.attn(x) * self.out).sum(-1)

    train, val = loaders((items, y), 32)
    model = Net()
    return dict(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 1e-2),
    )


@case(
    "relu_on_standardised_target",
    "Two-target forecast ends in ReLU ('counts are never negative'), but the targets are"
    " standardised: half of them cannot be reached.",
    ("targets unreachable", "output range"),
    "head",
)
def _(sick):
    seed(217)
    t = torch.arange(1400).float()
    series = torch.sin(t / 7) + 0.5 * torch.sin(t / 23) + 0.1 * torch.randn(1400, generator=gen(217))
    series = standard(series[:, None])[:, 0]
    w = series.unfold(0, 18, 1)
    x, y = w[:, :16], w[:, 16:]

    class Forecast(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv1d(1, 16, 3, padding=1), nn.GELU(), nn.Conv1d(16, 16, 3, padding=1), nn.GELU()
            )
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(256, 2), *([nn.ReLU()] if sick else []))

        def forward(self, past):
            return self.head(self.conv(past.unsqueeze(1)))

    train, val = loaders((x, y), 64)
    model = Forecast()
    opt = warmup(torch.optim.AdamW(model.parameters(), 3e-3))
    return dict(model=model, loss=nn.MSELoss(), train=train, validation=val, optimizer=opt)


@case(
    "functional_relu_unit_init",
    "Raw parameters torch.randn(n, m) without a factor in a functional ReLU network:"
    " the signal grows by 7 with each layer.",
    ("exploding signal", "init too large"),
    "w1 .. w6",
)
def _(sick):
    seed(302)
    x, y = table("breast_cancer")
    x, y = standard(x), y.float()
    dims = [30, 96, 96, 96, 96, 96, 1]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            for i, (a, b) in enumerate(zip(dims[:-1], dims[1:]), 1):
                self.register_parameter(
                    f"w{i}", nn.Parameter(torch.randn(b, a) * (1.0 if sick else math.sqrt(2 / a)))
                )
                self.register_parameter(f"b{i}", nn.Parameter(torch.zeros(b)))

        def forward(self, x):
            for i in range(1, 6):
                x = F.relu(F.linear(x, getattr(self, f"w{i}"), getattr(self, f"b{i}")))
            return F.linear(x, self.w6, self.b6).squeeze(1)

    train, val = loaders((x, y), 32)
    model = Net()
    return dict(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01),
    )


@case(
    "layers_in_plain_list",
    "The middle layers sit in a Python list, not in a ModuleList: model.parameters() misses"
    " them and they stay random.",
    ("layers not registered", "parameters never trained"),
    "layers",
)
def _(sick):
    seed(420)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.out = nn.Linear(64, 32), nn.Linear(32, 10)
            layers = [nn.Sequential(nn.Linear(32, 32), nn.Tanh()) for _ in range(4)]
            self.layers = layers if sick else nn.ModuleList(layers)

        def forward(self, x):
            h = torch.tanh(self.inp(x))
            for layer in self.layers:
                h = layer(h)
            return self.out(h)

    train, val = loaders((x, y), 64)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 3e-3),
    )


@case(
    "tied_embedding_unit_variance",
    "Character LM with a tied output embedding; nn.Embedding's N(0, 1) was kept, so the"
    " first logits have a standard deviation of 11 and the first loss is near 60 instead of log(V). The twin"
    " has std 0.02 and the same tie.",
    ("embedding scale", "logits too large at the start", "init too large"),
    "tok.weight",
)
def _(sick):
    seed(310)
    a, b, vocab = char_windows(24, 4)

    class Lm(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(vocab, 128), nn.Embedding(24, 128)
            nn.init.normal_(self.pos.weight, std=0.02)
            if not sick:
                nn.init.normal_(self.tok.weight, std=0.02)
            self.block = nn.TransformerEncoderLayer(
                128, 4, 256, dropout=0.0, batch_first=True, norm_first=True
            )
            self.norm = nn.LayerNorm(128)
            self.head = nn.Linear(128, vocab, bias=False)
            self.head.weight = self.tok.weight
            self.register_buffer("mask", torch.triu(torch.full((24, 24), float("-inf")), 1))

        def forward(self, ids):
            h = self.tok(ids) + self.pos(torch.arange(ids.shape[1]))
            return self.head(self.norm(self.block(h, src_mask=self.mask)))

    def loss(logits, target):
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    train = DataLoader(TensorDataset(a[:, :-1], a[:, 1:]), 16, shuffle=True, generator=gen(0))
    val = DataLoader(TensorDataset(b[:, :-1], b[:, 1:]), 64)
    model = Lm()
    opt = warmup(torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.95), weight_decay=0.1))
    return dict(model=model, loss=loss, train=train, validation=val, optimizer=opt)


@case(
    "validation_left_raw",
    "The training table is standardised, the validation table is not (the scaler was applied to"
    " one loader only).",
    ("validation differs from training", "normalisation not reused"),
    "validation",
)
def _(sick):
    seed(115)
    x, y = table("breast_cancer")
    order = torch.randperm(len(x), generator=gen(8))
    x, y = x[order], y[order].float()
    mean, std = x[:400].mean(0), x[:400].std(0)
    train_x, val_x = (x[:400] - mean) / std, x[400:]
    val_x = val_x if sick else (val_x - mean) / std

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(30, 32, 16, 1, act=nn.Tanh)

        def forward(self, features):
            return self.net(features).squeeze(-1)

    model = Net()
    train = DataLoader(TensorDataset(train_x, y[:400]), 32, shuffle=True, generator=gen(0))
    val = DataLoader(TensorDataset(val_x, y[400:]), 64)
    return dict(
        model=model,
        loss=nn.BCEWithLogitsLoss(pos_weight=torch.tensor(0.6)),
        train=train,
        validation=val,
        optimizer=torch.optim.RMSprop(model.parameters(), 1e-3),
    )


@case(
    "zip_code_as_a_number",
    "One feature column holds a region code of 5 digits"
    " (a zip code up to 99999) fed as a number instead of through an embedding. The twin embeds it.",
    ("feature scale", "categorical code fed as a number"),
    "features column 10",
)
def _(sick):
    seed(117)
    x, y = table("diabetes")
    x, y = standard(x), (y.float() - y.mean()) / y.std()
    region = torch.randint(0, 25, (len(x),), generator=gen(9))
    effect = torch.randn(25, generator=gen(10))
    y = (y + effect[region]) / 1.4
    zips = region * 3900 + 1067

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.region = nn.Embedding(25, 8)
            self.body = mlp(18, 48, 1)

        def forward(self, x, region):
            return self.body(torch.cat([x, self.region(region)], 1)).squeeze(1)

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(11, 48, 1)

        def forward(self, features):
            return self.body(features).squeeze(1)

    if sick:
        model, tree = Flat(), (torch.cat([x, zips[:, None].float()], 1), y)
    else:
        model, tree = Net(), ((x, region), y)
    train, val = loaders(tree, 32)
    return dict(
        model=model,
        loss=nn.HuberLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01),
    )


@case(
    "decoder_never_looks_at_source",
    "Seq2seq reversal: cross-attention was called with the decoder states as keys and"
    " values, the encoder's output is not used.",
    ("input never used", "encoder without gradient"),
    "encoder",
)
def _(sick):
    seed(413)
    g = gen(413)
    n, t = 1000, 6
    src = torch.randint(3, 11, (n, t), generator=g)
    out = src.flip(1)
    teacher = torch.cat([torch.full((n, 1), 1), out[:, :-1]], 1)

    class Seq2Seq(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(11, 48), nn.Parameter(torch.randn(t, 48) * 0.5)
            self.encoder = nn.TransformerEncoderLayer(48, 4, 96, 0.0, batch_first=True)
            self.self_attn = nn.MultiheadAttention(48, 4, batch_first=True)
            self.cross_attn = nn.MultiheadAttention(48, 4, batch_first=True)
            self.n1, self.n2, self.head = nn.LayerNorm(48), nn.LayerNorm(48), nn.Linear(48, 11)
            self.register_buffer("causal", torch.triu(torch.ones(t, t, dtype=torch.bool), 1))

        def forward(self, src, teacher):
            memory = self.encoder(self.tok(src) + self.pos)
            h = self.tok(teacher) + self.pos
            h = self.n1(h + self.self_attn(h, h, h, attn_mask=self.causal, need_weights=False)[0])
            kv = h if sick else memory
            mask = self.causal if sick else None
            h = self.n2(h + self.cross_attn(h, kv, kv, attn_mask=mask, need_weights=False)[0])
            return self.head(h).transpose(1, 2)

    train, val = loaders(({"src": src, "teacher": teacher}, out), 32)
    model = Seq2Seq()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(label_smoothing=0.02),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3),
    )


@case(
    "deep_sigmoid_stack",
    "Eight hidden layers with sigmoid and default init ('sigmoid for all, as in the course');"
    " the twin has SiLU.",
    ("vanishing gradient", "saturating activation"),
    "0",
)
def _(sick):
    seed(315)
    x, y = table("breast_cancer")
    x, y = standard(x), y.long()
    model = mlp(30, 64, 64, 64, 64, 64, 64, 64, 64, 2, act=nn.Sigmoid if sick else nn.SiLU)
    for m in model:
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight, gain=1.6)
    train, val = loaders((x, y), 32)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4),
    )


@case(
    "uint8_pixels_never_scaled",
    "NCHW pictures stay in 0..255 (x.float() without / 255) before a CNN without norm; SGD with momentum.",
    ("input scale", "images not scaled"),
    "images",
)
def _(sick):
    seed(109)
    x, y = digits_images(scale=1.0)
    tint = torch.rand(len(x), 3, 1, 1, generator=gen(4)) * 0.6 + 0.4
    x = F.interpolate(x / 16, scale_factor=2, mode="bilinear") * tint * 230 + 20
    x = x.to(torch.uint8).float()
    x = x if sick else (x / 255 - 0.3) / 0.3

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    train, val = loaders((x, y), 64)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.SGD(model.parameters(), 0.03, momentum=0.9, nesterov=True),
    )


@case(
    "raw_numbers_beside_codes",
    "Tabular dict batch: the numeric columns (proline up to 1680, magnesium 160) are left"
    " raw beside embedded categorical codes.",
    ("feature scale", "raw continuous features"),
    "numeric",
)
def _(sick):
    seed(104)
    x, y = table("wine")
    codes = torch.stack(
        [(x[:, j] > x[:, j].median()).long() + (x[:, j] > x[:, j].quantile(0.8)).long() for j in (1, 3)], 1
    )
    keep = [0, 2, 4, 5, 6, 12]
    num = x[:, keep] if sick else standard(x)[:, keep]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.codes = nn.ModuleList([nn.Embedding(3, 4) for _ in range(2)])
            self.body = mlp(6 + 8, 32, 32, 3)

        def forward(self, batch):
            e = [emb(batch["codes"][:, i]) for i, emb in enumerate(self.codes)]
            return self.body(torch.cat([batch["numeric"], *e], 1))

    train, val = loaders(({"numeric": num, "codes": codes}, y), 16)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.SGD(model.parameters(), 0.02, momentum=0.9, weight_decay=1e-4),
    )


@case(
    "batchnorm_momentum_keras_style",
    "BatchNorm with momentum=0.001 (Keras' 0.999 misread): the running statistics stay"
    " at their start, train and eval part.",
    ("running statistics stand still", "train and eval differ"),
    "bn1",
)
def _(sick):
    seed(415)
    x, y = digits_images()
    x = x * 6 + 2
    m = 0.001 if sick else 0.1

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16, momentum=m)
            self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32, momentum=m)
            self.head = nn.Linear(32 * 4, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
            x = F.relu(self.bn2(self.conv2(x)))
            return self.head(F.adaptive_avg_pool2d(x, 2).flatten(1))

    train, val = loaders(((x - x.mean()) / x.std(), y), 64)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4),
    )


@case(
    "dead_relu_negative_bias",
    "A bias meant as 0.1 was written as -10 (a gate's default) in the second layer: all of"
    " its ReLUs are off. The first layer's bias is right.",
    ("dead units", "bias init"),
    "b2",
)
def _(sick):
    seed(303)
    x, y = table("wine")
    x = standard(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1, self.b1 = nn.Parameter(torch.randn(13, 48) * 0.39), nn.Parameter(torch.full((48,), 0.1))
            self.w2, self.b2 = (
                nn.Parameter(torch.randn(48, 48) * 0.2),
                nn.Parameter(torch.full((48,), -10.0 if sick else 0.1)),
            )
            self.out = nn.Linear(48, 3)

        def forward(self, x):
            h = torch.relu(x @ self.w1 + self.b1)
            return self.out(torch.relu(h @ self.w2 + self.b2))

    train, val = loaders((x, y), 16)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "centred_by_the_batch",
    "A BatchNorm-free net 'normalises' its features with h - h.mean(0) and the batch's own"
    " standard deviation, in eval too: the answer for a row depends on the others. The twin uses dim=1.",
    ("samples mix", "statistics over the batch axis"),
    "normalise",
)
def _(sick):
    seed(422)
    x, y = table("breast_cancer")
    x = standard(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(30, 48), nn.Linear(48, 48), nn.Linear(48, 2)

        def normalise(self, h):
            dim = 0 if sick else 1
            return (h - h.mean(dim, keepdim=True)) / (h.std(dim, keepdim=True) + 1e-5)

        def forward(self, x):
            h = F.gelu(self.normalise(self.a(x)))
            return self.out(F.gelu(self.normalise(self.b(h))))

    train, val = loaders((x, y), 16)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.SGD(model.parameters(), 0.02, momentum=0.9, weight_decay=1e-3),
    )


@case(
    "pos_weight_integer_division",
    "Multi-label with rare labels: pos_weight = positives // negatives in integers is 0,"
    " the positives never count. The twin has negatives / positives.",
    ("loss weight zero", "positives ignored"),
    "pos_weight",
)
def _(sick):
    seed(213)
    g = gen(213)
    x = torch.randn(1500, 12, generator=g)
    w = torch.randn(12, 5, generator=g)
    y = (x @ w * 0.6 + 0.5 * torch.randn(1500, 5, generator=g) > 2.2).float()
    positives, negatives = y.sum(0).long(), (1 - y).sum(0).long()
    pos_weight = (positives // negatives).float() if sick else (negatives / positives)
    model = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 5))
    train, val = loaders((x, y), 64)
    return dict(
        model=model,
        loss=nn.BCEWithLogitsLoss(pos_weight=pos_weight),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3),
    )


@case(
    "ner_labels_mask_inverted",
    "Token tags with -100 for what is not scored: the mask is inverted, so the pads are"
    " scored (as tag 0) and every real token is ignored.",
    ("labels ignored", "targets constant", "label mask inverted"),
    "labels",
)
def _(sick):
    seed(114)
    ids, mask, _ = topic_documents(600, 120, 20, 2, gen(114))
    tags = ((ids * 37) % 101 % 4 + (ids.roll(1, 1) % 2)) % 4
    score = mask.bool()
    score = ~score if sick else score
    labels = torch.where(score, torch.where(mask.bool(), tags, 0), -100)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(120, 32, padding_idx=0)
            self.rnn = nn.LSTM(32, 32, batch_first=True, bidirectional=True)
            self.tags = nn.Linear(64, 4)

        def forward(self, input_ids, attention_mask=None, labels=None):
            logits = self.tags(self.rnn(self.embed(input_ids))[0])
            loss = None
            if labels is not None:
                loss = F.cross_entropy(logits.reshape(-1, 4), labels.reshape(-1), ignore_index=-100)
            return {"loss": loss, "logits": logits}

    train, val = loaders({"input_ids": ids, "attention_mask": mask, "labels": labels}, 32)
    model = Tagger()
    return dict(
        model=model,
        loss=None,
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 5e-3),
    )


@case(
    "mean_pool_counts_padding",
    "Mean pooling over all positions; the collate pads each batch to its longest row with"
    " whatever was in the buffer, and the mask argument is accepted but not used.",
    ("padding leaks", "mask not applied"),
    "mask",
)
def _(sick):
    seed(403)
    g = gen(403)
    n, t = 800, 20
    lengths = torch.randint(4, t + 1, (n,), generator=g)
    mask = torch.arange(t)[None] < lengths[:, None]
    level = torch.randn(n, generator=g)
    x = level[:, None, None] * torch.tensor([1.0, -0.5, 0.3]) + torch.randn(n, t, 3, generator=g)
    leftover = x.flip(0).roll(7, 0)
    x = torch.where(mask.unsqueeze(-1), x, leftover)

    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc, self.out = (
                nn.Sequential(nn.Linear(3, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU()),
                nn.Linear(48, 1),
            )

        def forward(self, x, mask):
            h = self.enc(x)
            if sick:
                return self.out(h.mean(1)).squeeze(-1)
            m = mask.unsqueeze(-1).to(h.dtype)
            return self.out((h * m).sum(1) / m.sum(1)).squeeze(-1)

    train, val = loaders(({"x": x, "mask": mask}, level), 32)
    model = Pool()
    return dict(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "heads_split_by_view",
    "Heads are split with view(n, heads, t, d) straight from (n, t, heads*d), without the"
    " transpose: positions and channels are scrambled within each sample (and the causal mask no longer holds).",
    ("view for transpose", "positions scrambled", "causal leak"),
    "attn",
)
def _(sick):
    seed(407)
    g = gen(407)
    n, t = 1000, 10
    ids = torch.randint(0, 8, (n, t), generator=g)
    y = torch.cat([ids[:, :1], ids[:, :-1]], 1)

    class Attention(nn.Module):
        def __init__(self, d, heads):
            super().__init__()
            self.qkv, self.o, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads

        def forward(self, x):
            n, t, d = x.shape
            parts = self.qkv(x).chunk(3, -1)
            if sick:
                q, k, v = (p.contiguous().view(n, self.heads, t, d // self.heads) for p in parts)
            else:
                q, k, v = (p.view(n, t, self.heads, d // self.heads).transpose(1, 2) for p in parts)
            causal = torch.triu(torch.ones(t, t, dtype=torch.bool), 1)
            a = (q @ k.transpose(-1, -2) / math.sqrt(d // self.heads)).masked_fill(causal, -1e9).softmax(-1)
            return self.o((a @ v).transpose(1, 2).reshape(n, t, d))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(8, 48), nn.Parameter(torch.randn(t, 48) * 0.5)
            self.norm, self.attn, self.out = nn.LayerNorm(48), Attention(48, 4), nn.Linear(48, 8)

        def forward(self, ids):
            h = self.tok(ids) + self.pos
            return self.out(h + self.attn(self.norm(h))).transpose(1, 2)

    train, val = loaders((ids, y), 32)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 4e-3),
    )


@case(
    "gaussian_nll_raw_variance",
    "Mean and variance heads; the variance comes straight from a Linear and may be"
    " negative. The twin has softplus.",
    ("variance not positive", "NaN in the loss"),
    "var",
)
def _(sick):
    seed(212)
    x, y = table("diabetes")
    x, y = standard(x), (y.float() - y.mean()) / y.std()

    class Probabilistic(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(10, 32), nn.Tanh())
            self.mean, self.var = nn.Linear(32, 1), nn.Linear(32, 1)

        def forward(self, x):
            h = self.body(x)
            var = self.var(h) if sick else F.softplus(self.var(h)) + 1e-3
            return self.mean(h).squeeze(1), var.squeeze(1)

    def loss(out, target):
        mean, var = out
        return 0.5 * (torch.log(var) + (target - mean) ** 2 / var).mean()

    train, val = loaders((x, y), 32)
    model = Probabilistic()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "attention_mask_inverted",
    "The collate writes 1 for padding and 0 for words (PyTorch's convention) into an"
    " attention_mask that the model reads the other way round: only padding is seen.",
    ("mask inverted", "inputs carry no information", "words masked out"),
    "attention_mask",
)
def _(sick):
    seed(118)
    ids, mask, y = topic_documents(900, 250, 20, 3, gen(118))
    ids[:, -1] = 0
    mask[:, -1] = 0
    mask = 1 - mask if sick else mask

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.inner, self.head = (
                nn.Embedding(250, 40, padding_idx=0),
                mlp(40, 64, 40),
                nn.Linear(40, 3),
            )

        def forward(self, input_ids, attention_mask):
            h = self.inner(self.embed(input_ids))
            m = attention_mask.unsqueeze(-1).float()
            return self.head((h * m).sum(1) / m.sum(1).clamp(min=1))

    train, val = loaders(({"input_ids": ids, "attention_mask": mask}, y), 32)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01),
    )


@case(
    "position_embedding_not_added",
    "Which of two marks came first? The (zero-initialised) position table exists, forward forgot it:"
    " an encoder with mean pooling cannot see order.",
    ("positions ignored", "parameter never used"),
    "pos",
)
def _(sick):
    seed(410)
    g = gen(410)
    n, t = 1000, 12
    ids = torch.randint(2, 10, (n, t), generator=g)
    two = torch.rand(n, t, generator=g).topk(2, 1).indices.sort(1).values
    y = torch.randint(0, 2, (n,), generator=g)
    ids[torch.arange(n), two[:, 0]] = y
    ids[torch.arange(n), two[:, 1]] = 1 - y

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(10, 32), nn.Embedding(12, 32)
            nn.init.zeros_(self.pos.weight)
            self.layers = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True), 2, enable_nested_tensor=False
            )
            self.head = nn.Linear(32, 2)

        def forward(self, ids):
            h = self.tok(ids)
            if not sick:
                h = h + self.pos.weight[: ids.shape[1]]
            return self.head(self.layers(h).mean(1))

    train, val = loaders((ids, y), 32)
    model = Encoder()
    opt = warmup(torch.optim.AdamW(model.parameters(), 3e-3), 30, 800)
    return dict(model=model, loss=nn.CrossEntropyLoss(), train=train, validation=val, optimizer=opt)


@case(
    "pinball_with_min",
    "Quantile regression for 0.1, 0.5, 0.9: torch.min for torch.max in the pinball term makes the"
    " loss unbounded below.",
    ("sign of the loss", "loss unbounded below", "wrong loss"),
    None,
)
def _(sick):
    seed(216)
    x, y = table("diabetes")
    x, y = standard(x), (y.float() - y.mean()) / y.std()
    taus = torch.tensor([0.1, 0.5, 0.9])

    def loss(out, target):
        error = target[:, None] - out
        pick = torch.min if sick else torch.max
        return pick(taus * error, (taus - 1) * error).mean()

    model = nn.Sequential(nn.Linear(10, 32), nn.ELU(), nn.Linear(32, 3))
    train, val = loaders((x, y), 32)
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.RMSprop(model.parameters(), 1e-3),
    )


@case(
    "margin_pairs_swapped",
    "Contrastive margin loss: the labels mean 'same' in the data and 'different' in the loss"
    " (1 - same forgotten), so equals are pushed apart.",
    ("sign of the loss", "loss term swapped", "labels inverted"),
    "same",
)
def _(sick):
    seed(219)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38
    g = gen(219)
    other = torch.randperm(len(x), generator=g)
    by = [torch.nonzero(y == c).squeeze(1) for c in range(10)]
    alike = torch.stack([by[int(c)][torch.randint(len(by[int(c)]), (1,), generator=g)[0]] for c in y])
    partner = torch.where(torch.rand(len(x), generator=g) < 0.5, alike, other)
    same = (y == y[partner]).float()

    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(64, 96, 16)

        def forward(self, a, b):
            return (self.net(a) - self.net(b)).norm(dim=1), torch.sigmoid(self.net(a)).mean()

    def loss(out, target):
        d, activity = out
        same = 1 - target if sick else target
        return (same * d**2 + (1 - same) * F.relu(2.0 - d) ** 2).mean() + 0.01 * activity

    train, val = loaders(((x, x[partner]), same), 64)
    model = Siamese()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 1e-3),
    )


@case(
    "linear_recurrence_grows",
    "Linear state-space layer in plain code: the decay is exp(+dt * a) instead of"
    " exp(-dt * a), the state grows by 1.28 a step over 48 steps.",
    ("exploding through time", "recurrence above one"),
    "ssm.log_a",
)
def _(sick):
    seed(306)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38

    class Ssm(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.log_a = nn.Parameter(torch.linspace(-3, -1.4, d))
            self.b = nn.Linear(1, d)

        def forward(self, x):
            decay = torch.exp((1 if sick else -1) * self.log_a.exp())
            u, h, out = self.b(x), 0.0, []
            for step in u.unbind(1):
                h = decay * h + step
                out.append(h)
            return torch.stack(out, 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.ssm, self.mix = Ssm(64), nn.Linear(64, 64)
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            h = self.ssm(x.unsqueeze(-1)[:, :48])
            return self.out(F.gelu(self.mix(h))[:, 7::8].mean(1))

    train, val = loaders((x, y), 64)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=0.01),
    )


@case(
    "entropy_bonus_swamps",
    "Policy head with an entropy bonus of 50 (0.01 in the paper, the value was tuned for summed"
    " rewards): the policy stays uniform.",
    ("one loss term dominates", "entropy term too strong"),
    "entropy term",
)
def _(sick):
    seed(218)
    g = gen(218)
    state = torch.randn(1200, 5, generator=g)
    expert = state[:, :4].argmax(1)
    expert = torch.where(
        torch.rand(1200, generator=g) < 0.1, torch.randint(0, 4, (1200,), generator=g), expert
    )
    value = state[:, 4] + 0.1 * torch.randn(1200, generator=g)

    class Agent(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(5, 64), nn.Tanh())
            self.policy, self.value = nn.Linear(64, 4), nn.Linear(64, 1)

        def forward(self, state):
            h = self.body(state)
            return {"logits": self.policy(h), "value": self.value(h).squeeze(-1)}

    def loss(out, target):
        logp = out["logits"].log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1).mean()
        clone = F.nll_loss(logp, target["action"])
        return clone + 0.5 * F.mse_loss(out["value"], target["value"]) - (50.0 if sick else 0.01) * entropy

    train, val = loaders((state, {"action": expert, "value": value}), 64)
    model = Agent()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 3e-3),
    )
