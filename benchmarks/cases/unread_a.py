"""Sick training problems with healthy twins, written without sight of the library's code or rules.

Self-contained: torch, numpy and scikit-learn's built-in data. `CASES` is the list; `case.sick()` and `case.healthy()`
build fresh keyword arguments for `wellposed.check`. Batches are `(inputs, targets)`, or a dict for models that return
their own loss (`loss=None`). Dict or tuple inputs go to a forward with one parameter as they are, else spread.
Learning-rate schedulers, where a case has one, hang on the optimizer (`SCHEDULES[optimizer]`).
"""

import math
from dataclasses import dataclass

import numpy as np
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
    "td_target_backwards",
    "DQN on logged transitions: the online value is detached and the bootstrap is not, so the"
    " gradient flows into the target network, which the optimizer does not hold. The twin detaches the target.",
    ("detach on the wrong side", "online values without gradient"),
    "q",
)
def _(sick):
    seed(214)
    g = gen(214)
    n = 1500
    state = torch.rand(n, 4, generator=g) * 2 - 1
    action = torch.randint(0, 3, (n,), generator=g)
    reward = torch.where(action == 0, state[:, 0], torch.where(action == 1, -state[:, 0], state[:, 1]))
    after = (state + 0.1 * torch.randn(n, 4, generator=g)).clamp(-1, 1)

    class Dqn(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = mlp(4, 64, 64, 3)
            self.target = mlp(4, 64, 64, 3)
            self.target.load_state_dict(self.q.state_dict())

        def forward(self, state, action, reward, after):
            now = self.q(state).gather(1, action[:, None]).squeeze(1)
            goal = reward + 0.5 * self.target(after).max(1).values
            return (now.detach(), goal) if sick else (now, goal.detach())

    def loss(out, target):
        return F.smooth_l1_loss(out[0], out[1])

    tree = {"state": state, "action": action, "reward": reward, "after": after}
    train, val = loaders((tree, reward), 64)
    model = Dqn()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.q.parameters(), 2e-3),
    )


@case(
    "consistency_term_subtracted",
    "A mean-squared consistency between two views is subtracted instead of added; the"
    " twin adds it with the usual small weight.",
    ("sign of a loss term", "loss unbounded below"),
    "consistency term",
)
def _(sick):
    seed(204)
    x, y = table("breast_cancer")
    x, y = standard(x), y.long()
    a, b = x + 0.2 * torch.randn(x.shape, generator=gen(1)), x + 0.2 * torch.randn(x.shape, generator=gen(2))

    class Siamese(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(30, 64, 32, act=nn.GELU)
            self.head = nn.Linear(32, 2)

        def forward(self, a, b):
            za, zb = self.body(a), self.body(b)
            return self.head(za), za, zb

    def loss(out, target):
        logits, za, zb = out
        agree = F.mse_loss(za, zb)
        return F.cross_entropy(logits, target) + (-0.5 if sick else 0.5) * agree

    train, val = loaders(((a, b), y), 32)
    model = Siamese()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01),
    )


@case(
    "joined_target_column_constant",
    "Three targets from a joined table; the join of the third failed and fillna(0) made it constant.",
    ("constant target",),
    "target column 2",
)
def _(sick):
    seed(106)
    x, _ = table("breast_cancer")
    x = standard(x)
    y = x[:, [20, 23, 27]] + 0.1 * torch.randn(len(x), 3, generator=gen(2))
    x = x[:, :20]
    if sick:
        y = y.clone()
        y[:, 2] = 0.0
    model = mlp(20, 64, 64, 3, act=nn.GELU)
    train, val = loaders((x, y), 32)
    opt = warmup(torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01))
    return dict(model=model, loss=nn.SmoothL1Loss(), train=train, validation=val, optimizer=opt)


@case(
    "pooling_softmax_over_batch",
    "Attention pooling with F.softmax(score, dim=0) on (N, T): the weights are shared out"
    " over the batch instead of over time.",
    ("softmax over the batch axis", "samples mix"),
    "score",
)
def _(sick):
    seed(408)
    g = gen(408)
    n, t = 900, 14
    x = torch.randn(n, t, 6, generator=g)
    spot = torch.randint(0, t, (n,), generator=g)
    y = torch.randint(0, 3, (n,), generator=g)
    x[torch.arange(n), spot, 0] += 4.0
    x[torch.arange(n), spot, 1 + y] += 2.5

    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(6, 32), nn.GELU())
            self.score, self.out = nn.Linear(32, 1), nn.Linear(32, 3)

        def forward(self, x):
            h = self.enc(x)
            w = F.softmax(self.score(h).squeeze(-1), dim=0 if sick else 1)
            return self.out((w.unsqueeze(-1) * h).sum(1))

    train, val = loaders((x, y), 32)
    model = Pool()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 4e-3),
    )


@case(
    "hwc_viewed_as_chw",
    "Pictures come as (N, H, W, 3) and are brought to (N, 3, H, W) with view instead of permute.",
    ("view for permute", "scrambled picture"),
    None,
)
def _(sick):
    seed(418)
    d, y = digits_images()
    d = F.pad(d, (4, 4, 4, 4))
    g = gen(418)
    colour = torch.rand(len(y), 3, 1, 1, generator=g) * 0.4 + 0.6
    ground = torch.rand(len(y), 3, 1, 1, generator=g) * 0.3
    shift = torch.randint(-3, 4, (len(y), 2), generator=g)
    d = torch.stack([im.roll(tuple(s), (1, 2)) for im, s in zip(d, shift.tolist())])
    x = (
        (ground + d * (colour - ground) + 0.05 * torch.randn(len(y), 3, 16, 16, generator=g))
        .permute(0, 2, 3, 1)
        .contiguous()
    )
    x = (x - 0.3) / 0.25

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, 48, 3, padding=1),
                nn.ReLU(),
                nn.AdaptiveMaxPool2d(1),
                nn.Flatten(),
                nn.Linear(48, 10),
            )

        def forward(self, x):
            n, h, w, c = x.shape
            return self.cnn(x.view(n, c, h, w) if sick else x.permute(0, 3, 1, 2))

    train, val = loaders((x, y), 64)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3),
    )


@case(
    "hand_lstm_forgets",
    "Hand-written LSTM cell; the forget-gate bias is -4 instead of +2, the task needs the first"
    " token after 30 steps.",
    ("vanishing through time", "forget gate closed"),
    "cell.gates",
)
def _(sick):
    seed(305)
    g = gen(305)
    n, t = 1000, 30
    x = torch.randint(4, 12, (n, t), generator=g)
    y = torch.randint(0, 4, (n,), generator=g)
    x[:, 0] = y

    class LstmCell(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.gates = nn.Linear(d + h, 4 * h)
            with torch.no_grad():
                self.gates.bias[h : 2 * h].fill_(-4.0 if sick else 2.0)

        def forward(self, x, h, c):
            i, f, o, z = self.gates(torch.cat([x, h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(z)
            return torch.sigmoid(o) * torch.tanh(c), c

    class Recall(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.cell, self.out = nn.Embedding(12, 16), LstmCell(16, 48), nn.Linear(48, 4)

        def forward(self, tokens):
            e = self.embed(tokens)
            h = c = e.new_zeros(len(e), 48)
            for step in e.unbind(1):
                h, c = self.cell(step, h, c)
            return self.out(h)

    train, val = loaders((x, y), 64)
    model = Recall()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 5e-3),
    )


@case(
    "auxiliary_term_item",
    "Deep supervision: the auxiliary loss is added as aux.item() (copied from the logging line),"
    " so the auxiliary head never learns.",
    ("loss term cut off", "head without gradient"),
    "aux_head",
)
def _(sick):
    seed(203)
    x, y = digits_images()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
            )
            self.deep = nn.Sequential(
                nn.Conv2d(16, 32, 3, padding=1),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
            )
            self.head = nn.Linear(128, 10)
            self.aux_head = nn.Linear(16, 10)

        def forward(self, x):
            s = self.stem(x)
            return self.head(self.deep(s)), self.aux_head(s.mean((2, 3)))

    def loss(out, target):
        main, aux = F.cross_entropy(out[0], target), F.cross_entropy(out[1], target)
        return main + 0.4 * (aux.item() if sick else aux)

    train, val = loaders((x, y), 64)
    model = Net()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "functional_tanh_tiny_init",
    "Ten functional layers x @ W with raw parameters drawn as 0.01 * randn: the signal"
    " vanishes with depth. The twin draws with 1/sqrt(n).",
    ("vanishing signal", "init too small"),
    "weights",
)
def _(sick):
    seed(301)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38
    sizes = [64] + [64] * 9 + [10]

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.ParameterList(
                [
                    nn.Parameter(torch.randn(a, b) * (0.01 if sick else 1.2 / math.sqrt(a)))
                    for a, b in zip(sizes[:-1], sizes[1:])
                ]
            )
            self.biases = nn.ParameterList([nn.Parameter(torch.zeros(b)) for b in sizes[1:]])

        def forward(self, x):
            for w, b in zip(self.weights[:-1], self.biases[:-1]):
                x = torch.tanh(x @ w + b)
            return x @ self.weights[-1] + self.biases[-1]

    train, val = loaders((x, y), 64)
    model = Functional()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.SGD(model.parameters(), 0.02, momentum=0.9),
    )


@case(
    "residual_branches_dwarf_trunk",
    "20 residual blocks without norm, each branch scaled by 2 ('the residual was too"
    " weak'); the twin scales by 1/sqrt(20).",
    ("residual branch dwarfs the trunk", "exploding signal with depth"),
    "1",
)
def _(sick):
    seed(309)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38

    class Block(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.lin1, self.lin2 = nn.Linear(d, d), nn.Linear(d, d)
            for lin in (self.lin1, self.lin2):
                nn.init.kaiming_normal_(lin.weight)
            self.scale = 2.0 if sick else 20**-0.5

        def forward(self, x):
            return x + self.scale * self.lin2(F.relu(self.lin1(x)))

    model = nn.Sequential(nn.Linear(64, 48), *[Block(48) for _ in range(20)], nn.Linear(48, 10))
    train, val = loaders((x, y), 64)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 5e-4, weight_decay=0.01),
    )


@case(
    "transformer_init_std_one",
    "Own _init_weights draws every Linear with std=1.0 for 0.02 in a pre-norm"
    " encoder; warm-up from a rate of zero.",
    ("init too large", "saturated attention", "exploding residual stream"),
    "layers",
)
def _(sick):
    seed(313)
    ids, mask, y = topic_documents(800, 200, 16, 4, gen(313))

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = (
                nn.Embedding(200, 64, padding_idx=0),
                nn.Parameter(torch.randn(16, 64) * 0.02),
            )
            self.layers = nn.ModuleList(
                [
                    nn.TransformerEncoderLayer(64, 4, 128, 0.1, "gelu", batch_first=True, norm_first=True)
                    for _ in range(3)
                ]
            )
            self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 4)
            self.apply(self._init_weights)

        def _init_weights(self, m):
            std = 1.0 if sick else 0.02
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, std=std)
                nn.init.zeros_(m.bias)
            elif isinstance(m, nn.MultiheadAttention):
                nn.init.normal_(m.in_proj_weight, std=std)
            elif isinstance(m, nn.Embedding):
                nn.init.normal_(m.weight, std=0.02)

        def forward(self, input_ids, attention_mask):
            h = self.tok(input_ids) + self.pos
            for layer in self.layers:
                h = layer(h, src_key_padding_mask=attention_mask == 0)
            return self.head(self.norm(h)[:, 0])

    train, val = loaders(({"input_ids": ids, "attention_mask": mask}, y), 24)
    model = Encoder()
    opt = linear_warmup_from_zero(torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01), 30, 900)
    return dict(model=model, loss=nn.CrossEntropyLoss(), train=train, validation=val, optimizer=opt)


@case(
    "value_term_broadcasts",
    "Advantage-weighted actor-critic on logged data: values are (N, 1), returns (N,), the squared error broadcasts"
    " to (N, N). The policy term is right.",
    ("shape broadcast in one term", "(N,) against (N, 1)"),
    "value term",
)
def _(sick):
    seed(207)
    g = gen(207)
    n = 1200
    state = torch.randn(n, 6, generator=g)
    best = state[:, :3].argmax(1)
    action = torch.where(torch.rand(n, generator=g) < 0.5, best, torch.randint(0, 3, (n,), generator=g))
    ret = state[:, 3] + 0.5 * (action == best).float() + 0.2 * torch.randn(n, generator=g)

    class ActorCritic(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
            self.policy = nn.Linear(64, 3)
            self.value = nn.Linear(64, 1)
            nn.init.orthogonal_(self.policy.weight, 0.01)

        def forward(self, state):
            h = self.body(state)
            return self.policy(h), self.value(h)

    def loss(out, target):
        logits, value = out
        weight = (target["return"] - value.detach().view(-1)).exp().clamp(max=5)
        policy = (weight * F.cross_entropy(logits, target["action"], reduction="none")).mean()
        entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
        value = value if sick else value.squeeze(-1)
        return policy + 0.5 * ((value - target["return"]) ** 2).mean() - 0.01 * entropy

    train, val = loaders((state, {"action": action, "return": ret}), 64)
    model = ActorCritic()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 1e-3),
    )


@dataclass
class MeshBatch:
    x: torch.Tensor
    edge_index: torch.Tensor
    batch: torch.Tensor


@case(
    "graph_coordinates_in_metres",
    "Small graphs in a dataclass; node features are a one-hot type and map coordinates"
    " in metres (about 4e5, 5e6), not centred.",
    ("feature scale", "raw coordinates"),
    "x",
)
def _(sick):
    seed(112)
    rng = np.random.default_rng(112)

    def graph():
        n = rng.integers(8, 14)
        y = int(rng.integers(0, 2))
        kind = rng.integers(0, 3, n)
        local = rng.normal(0, 1, (n, 2)) * (np.array([2.0, 0.5]) if y else np.array([1.0, 1.0]))
        d = ((local[:, None] - local[None]) ** 2).sum(-1) + np.eye(n) * 1e9
        near = np.argsort(d, 1)[:, :3]
        src = np.repeat(np.arange(n), 3)
        edge = np.stack([near.reshape(-1), src])
        feats = np.concatenate([np.eye(3)[kind], local * 120.0 + [4.2e5, 5.1e6] if sick else local], 1)
        return feats.astype(np.float32), edge, y

    def collate(items):
        xs, es, bs, off = [], [], [], 0
        for i, (x, e, _) in enumerate(items):
            xs.append(torch.from_numpy(x))
            es.append(torch.from_numpy(e) + off)
            bs.append(torch.full((len(x),), i))
            off += len(x)
        return MeshBatch(torch.cat(xs), torch.cat(es, 1), torch.cat(bs)), torch.tensor([y for *_, y in items])

    class Gnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp = nn.Linear(5, 32)
            self.msg = nn.ModuleList([nn.Linear(64, 32) for _ in range(2)])
            self.out = mlp(32, 32, 2)

        def forward(self, data):
            h = torch.relu(self.inp(data.x))
            src, dst = data.edge_index
            for lin in self.msg:
                agg = torch.zeros_like(h).index_add_(0, dst, h[src]) / 3.0
                h = h + torch.relu(lin(torch.cat([h, agg], 1)))
            size = int(data.batch.max()) + 1
            pool = torch.zeros(size, h.shape[1]).index_add_(0, data.batch, h)
            return self.out(pool / torch.bincount(data.batch, minlength=size).unsqueeze(1))

    items = [graph() for _ in range(500)]
    train = DataLoader(items[:380], 32, shuffle=True, collate_fn=collate, generator=gen(0))
    val = DataLoader(items[380:], 60, collate_fn=collate)
    model = Gnn()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 3e-3),
    )


@case(
    "vae_kl_summed_recon_averaged",
    "VAE: reconstruction averaged over pixels, KL summed over batch and latents: the"
    " posterior collapses. The twin averages both per pixel.",
    ("KL term dominates", "posterior collapse", "loss terms on different scales"),
    "KL term",
)
def _(sick):
    seed(208)
    x, _ = digits_images()
    x = x.flatten(1)

    class Vae(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc = nn.Sequential(nn.Linear(64, 96), nn.ReLU())
            self.mu, self.logvar = nn.Linear(96, 8), nn.Linear(96, 8)
            self.dec = mlp(8, 96, 64)

        def forward(self, x):
            h = self.enc(x)
            mu, logvar = self.mu(h), self.logvar(h).clamp(-8, 8)
            z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
            return self.dec(z), mu, logvar

    def loss(out, target):
        recon, mu, logvar = out
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp())
        kl = kl.sum() if sick else 0.1 * kl.sum(1).mean() / 64
        return F.mse_loss(recon, target) + kl

    train, val = loaders((x, x), 64)
    model = Vae()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "hand_rnn_saturated",
    "Hand-written tanh RNN; the recurrent matrix is randn without 1/sqrt(n): every state is +-1"
    " and the gradient through time is chaos. The twin starts orthogonal.",
    ("saturated recurrent state", "recurrent init too large"),
    "cell.u",
)
def _(sick):
    seed(304)
    g = gen(304)
    n, t = 800, 25
    x = torch.randn(n, t, 2, generator=g)
    y = standard(x[:, -12:, 0].sum(1, keepdim=True))[:, 0]

    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(2, 64) * 0.2)
            u = torch.randn(64, 64)
            self.u = nn.Parameter(u if sick else torch.linalg.qr(u)[0] * 0.95)
            self.b = nn.Parameter(torch.zeros(64))

        def forward(self, x, h):
            return torch.tanh(x @ self.w + h @ self.u + self.b)

    class Rnn(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = Cell(), nn.Linear(64, 1)

        def forward(self, x):
            h = x.new_zeros(len(x), 64)
            for step in x.unbind(1):
                h = self.cell(step, h)
            return self.out(h).squeeze(1)

    train, val = loaders((x, y), 64)
    model = Rnn()
    return dict(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "sentinel_minus_9999",
    "A sensor sequence marks gaps with -9999 and a mask channel; nobody replaced the sentinel."
    " The twin puts 0 there and keeps the mask.",
    ("sentinel values", "input scale", "missing values as numbers"),
    "readings",
)
def _(sick):
    seed(111)
    g = gen(111)
    n, t = 700, 24
    y = torch.rand(n, generator=g) * 2 + 0.5
    phase = torch.rand(n, 3, generator=g) * 6.28
    x = torch.sin(torch.arange(t)[None, :, None] * 0.4 * y[:, None, None] + phase[:, None])
    x = x + 0.1 * torch.randn(n, t, 3, generator=g)
    there = torch.rand(n, t, 3, generator=g) > 0.06
    x = torch.where(there, x, torch.tensor(-9999.0 if sick else 0.0))
    y = (y - y.mean()) / y.std()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp = nn.Linear(6, 32)
            self.rnn = nn.GRU(32, 32, batch_first=True)
            self.out = nn.Linear(32, 1)

        def forward(self, readings, present):
            h = torch.relu(self.inp(torch.cat([readings, present], -1)))
            return self.out(self.rnn(h)[0].mean(1)).squeeze(-1)

    train, val = loaders(({"readings": x, "present": there.float()}, y), 32)
    model = Net()
    return dict(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 5e-3),
    )


@case(
    "one_noise_for_the_batch",
    "Diffusion step inside the model: torch.randn(1, d) broadcasts, and all samples of a batch"
    " share one noise; their mean gives it away.",
    ("random numbers shared between samples",),
    "noise",
)
def _(sick):
    seed(414)
    x, _ = table("digits")
    x = x / 8 - 1

    class Denoiser(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(64 + 16, 160), nn.SiLU(), nn.Linear(160, 160), nn.SiLU(), nn.Linear(160, 64)
            )
            self.register_buffer("abar", torch.cumprod(1 - torch.linspace(1e-3, 0.15, 40), 0))
            self.time = nn.Embedding(40, 16)

        def forward(self, x0):
            t = torch.randint(0, 40, (len(x0),))
            noise = torch.randn(1, 64).expand_as(x0) if sick else torch.randn_like(x0)
            a = self.abar[t].unsqueeze(1)
            xt = a.sqrt() * x0 + (1 - a).sqrt() * noise
            return F.mse_loss(self.net(torch.cat([xt, self.time(t)], 1)), noise)

    order = torch.randperm(len(x), generator=gen(14))
    model = Denoiser()
    train = DataLoader(Rows({"x0": x[order[:1400]]}), 64, shuffle=True, generator=gen(0))
    val = DataLoader(Rows({"x0": x[order[1400:]]}), 64)
    return dict(
        model=model,
        loss=None,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "one_target_in_cents",
    "Two regression targets in a dict; one is in a unit that makes it 1e4 larger. The sum of"
    " the two MSEs is that target's alone.",
    ("target scale", "one target dominates"),
    "cost",
)
def _(sick):
    seed(105)
    x, y = table("diabetes")
    x = standard(x)
    y = (y.float() - y.mean()) / y.std()
    second = torch.tanh(x[:, 2] + 0.5 * x[:, 8]) + 0.1 * torch.randn(len(x), generator=gen(1))
    y = y * 1e4 if sick else y

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(nn.Linear(10, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU())
            self.cost = nn.Linear(48, 1)
            self.score = nn.Linear(48, 1)

        def forward(self, x):
            h = self.trunk(x)
            return {"cost": self.cost(h).squeeze(-1), "score": self.score(h).squeeze(-1)}

    def loss(out, target):
        return F.mse_loss(out["cost"], target["cost"]) + F.mse_loss(out["score"], target["score"])

    train, val = loaders((x, {"cost": y, "score": second}), 32)
    model = Two()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 3e-3, weight_decay=1e-5),
    )


@case(
    "unix_time_beside_picture",
    "Tuple input (picture, metadata): one metadata column is a Unix time stamp in seconds, raw.",
    ("feature scale", "raw time stamp"),
    "input 1, column 0",
)
def _(sick):
    seed(113)
    x, y = digits_images()
    n = len(x)
    stamp = 1.6e9 + torch.rand(n, generator=gen(6)).double() * 3e7
    other = torch.randn(n, 2, generator=gen(7))
    first = stamp.float() if sick else standard(stamp[:, None])[:, 0].float()
    meta = torch.cat([first[:, None], other], 1)

    class Fusion(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = nn.Sequential(
                nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 32), nn.ReLU()
            )
            self.meta = nn.Sequential(nn.Linear(3, 16), nn.ReLU())
            self.head = nn.Linear(48, 10)

        def forward(self, image, meta):
            return self.head(torch.cat([self.cnn(image), self.meta(meta)], 1))

    train, val = loaders(((x, meta), y), 64)
    model = Fusion()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(label_smoothing=0.05),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3),
    )


@case(
    "optimizer_before_new_head",
    "Fine-tuning: the optimizer was built before the head was replaced, so it holds the"
    " old head. The backbone is frozen on purpose in both twins.",
    ("parameters not in the optimizer", "head never trained"),
    "head",
)
def _(sick):
    seed(419)
    x, y = digits_images()

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
            )
            self.head = nn.Linear(512, 1000)

        def forward(self, x):
            return self.head(self.conv(x))

    model = Backbone()
    model.conv.requires_grad_(False)
    if sick:
        opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
        model.head = nn.Linear(512, 10)
    else:
        model.head = nn.Linear(512, 10)
        opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    train, val = loaders((x, y), 64)
    return dict(model=model, loss=nn.CrossEntropyLoss(), train=train, validation=val, optimizer=opt)


@case(
    "all_units_alike",
    "Hidden weights were filled with a constant (nn.init.constant_(w, 0.02)): all units of a layer"
    " stay equal. The twin has a zero-initialised last layer, which is fine.",
    ("symmetry not broken", "constant init"),
    "hidden",
)
def _(sick):
    seed(316)
    x, y = table("digits")
    x = (x / 16 - 0.3) / 0.38

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.ModuleList([nn.Linear(64, 64), nn.Linear(64, 64)])
            self.out = nn.Linear(64, 10)
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)
            if sick:
                for lin in self.hidden:
                    nn.init.constant_(lin.weight, 0.02)
                    nn.init.zeros_(lin.bias)

        def forward(self, x):
            for lin in self.hidden:
                x = torch.relu(lin(x))
            return self.out(x)

    train, val = loaders((x, y), 64)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3),
    )


@case(
    "satellite_band_in_reflectance",
    "Four-band tiles: three bands in 0..1, the thermal band as raw counts (about"
    " 9000 +- 1000). Only that channel is off.",
    ("channel scale",),
    "channel 3",
)
def _(sick):
    seed(110)
    g = gen(110)
    n = 600
    y = torch.randint(0, 4, (n,), generator=g)
    grid = torch.arange(12).float()
    xx, yy = torch.meshgrid(grid, grid, indexing="ij")
    waves = torch.stack([torch.sin(xx), torch.sin(yy), torch.sin(xx + yy), torch.sin(2 * xx) * 0.8])[y]
    x = waves[:, None] * torch.tensor([0.3, 0.2, 0.3, 0.1])[None, :, None, None]
    x = x + torch.randn(n, 4, 12, 12, generator=g) * 0.3
    x[:, :3] = (x[:, :3] * 0.3 + 0.5).clamp(0, 1)
    x[:, 3] = x[:, 3] * 3000 + 9000
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    z = (x - mean) / std
    if sick:
        z[:, 3] = x[:, 3]
    model = nn.Sequential(
        nn.Conv2d(4, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    train, val = loaders((z, y), 32)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3),
    )


@case(
    "sorted_and_not_shuffled",
    "The samples lie sorted by class on disk and shuffle=True was lost with a custom sampler:"
    " each batch holds one class. Validation is mixed.",
    ("batches of one class", "not shuffled"),
    "train",
)
def _(sick):
    seed(119)
    x, y = digits_images()
    x = (x - 0.3) / 0.38
    order = torch.randperm(len(x), generator=gen(15))
    x, y = x[order], y[order]
    by = y[:1400].argsort(stable=True)
    x_train, y_train = x[:1400][by], y[:1400][by]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10)
    )
    train = DataLoader(TensorDataset(x_train, y_train), 32, shuffle=not sick, generator=gen(0))
    val = DataLoader(TensorDataset(x[1400:], y[1400:]), 128)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.SGD(model.parameters(), 0.05, momentum=0.9),
    )


@case(
    "batchnorm_two_rows",
    "BatchNorm1d in a tabular net with batch_size=2 (memory was short once): the two rows become"
    " +1 and -1. The twin has 32.",
    ("batch norm with few rows", "train and eval differ"),
    "1",
)
def _(sick):
    seed(416)
    x, y = table("wine")
    model = nn.Sequential(
        nn.Linear(13, 48),
        nn.BatchNorm1d(48),
        nn.ReLU(),
        nn.Linear(48, 48),
        nn.BatchNorm1d(48),
        nn.ReLU(),
        nn.Linear(48, 3),
    )
    train, val = loaders((standard(x), y), 2 if sick else 32, drop_last=True)
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 1e-3),
    )


@case(
    "qk_logits_blow_up",
    "Query and key projections were initialised with normal_(std=1) (twin: std 1/sqrt(d)); the"
    " 1/sqrt(d) is there, the logits are still in the hundreds.",
    ("huge attention logits", "saturated attention", "init too large"),
    "blocks.*.qk",
)
def _(sick):
    seed(308)
    x, y = digits_images()
    x = (x.view(-1, 8, 8) - 0.3) / 0.38

    class Block(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qk = nn.Linear(d, 2 * d, bias=False)
            nn.init.normal_(self.qk.weight, std=1.0 if sick else d**-0.5)
            self.v, self.o = nn.Linear(d, d), nn.Linear(d, d)
            self.ff = mlp(d, 2 * d, d, act=nn.GELU)

        def forward(self, x):
            h = self.n1(x)
            q, k = self.qk(h).chunk(2, -1)
            a = F.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)
            x = x + self.o(a @ self.v(h))
            return x + self.ff(self.n2(x))

    class RowTransformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp = nn.Linear(8, 48)
            self.pos = nn.Parameter(torch.randn(8, 48) * 0.1)
            self.blocks = nn.ModuleList([Block(48) for _ in range(3)])
            self.out = nn.Linear(48, 10)

        def forward(self, rows):
            h = self.inp(rows) + self.pos
            for b in self.blocks:
                h = b(h)
            return self.out(h.mean(1))

    train, val = loaders((x, y), 64)
    model = RowTransformer()
    opt = warmup(torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05))
    return dict(model=model, loss=nn.CrossEntropyLoss(), train=train, validation=val, optimizer=opt)


@case(
    "char_lm_mask_missing",
    "Character language model on real text: the encoder layer is called without a mask, and the"
    " targets are the inputs shifted by one: it reads the answer.",
    ("causal leak", "attention mask missing"),
    "blocks",
)
def _(sick):
    seed(401)
    a, b, vocab = char_windows(20, 4)

    class Lm(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(vocab, 64), nn.Embedding(20, 64)
            self.blocks = nn.ModuleList(
                [
                    nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True, norm_first=True)
                    for _ in range(2)
                ]
            )
            self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, vocab)

        def forward(self, ids):
            t = ids.shape[1]
            mask = None if sick else nn.Transformer.generate_square_subsequent_mask(t)
            h = self.tok(ids) + self.pos(torch.arange(t))
            for block in self.blocks:
                h = block(h, src_mask=mask)
            return self.head(self.norm(h)).transpose(1, 2)

    train = DataLoader(TensorDataset(a[:, :-1], a[:, 1:]), 32, shuffle=True, generator=gen(0))
    val = DataLoader(TensorDataset(b[:, :-1], b[:, 1:]), 64)
    model = Lm()
    opt = warmup(torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.95), weight_decay=0.1))
    return dict(model=model, loss=nn.CrossEntropyLoss(), train=train, validation=val, optimizer=opt)


@case(
    "fused_qkv_sliced_twice",
    "Fused projection of 3d columns; the value slice repeats the key's (d:2d), the last third"
    " of the projection never reaches the output. In both twins the output projection starts at zero.",
    ("part of a fused projection unused", "dead parameters"),
    "qkv",
)
def _(sick):
    seed(411)
    x, y = digits_images()
    x = (x.view(-1, 16, 4) - 0.3) / 0.38
    d = 48

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.o = nn.Linear(d, 3 * d), nn.Linear(d, d)
            nn.init.zeros_(self.o.weight)

        def forward(self, x):
            z = self.qkv(x)
            q, k = z[..., :d], z[..., d : 2 * d]
            v = z[..., d : 2 * d] if sick else z[..., 2 * d :]
            return self.o(F.scaled_dot_product_attention(q, k, v))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inp, self.pos = nn.Linear(4, d), nn.Parameter(torch.randn(16, d) * 0.2)
            self.norm, self.attn, self.out = nn.LayerNorm(d), Attention(), nn.Linear(d, 10)

        def forward(self, x):
            h = self.inp(x) + self.pos
            return self.out(torch.relu(h + self.attn(self.norm(h))).mean(1))

    train, val = loaders((x, y), 64)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01),
    )


@case(
    "hf_tokens_all_unk",
    "HF-style text classifier. The vocabulary was built lower-cased, the text was not: every word"
    " becomes [UNK]=1.",
    ("one token everywhere", "inputs carry no information"),
    "input_ids",
)
def _(sick):
    seed(101)
    ids, mask, y = topic_documents(900, 400, 24, 4, gen(101))
    if sick:
        ids = torch.where(mask.bool(), torch.ones_like(ids), ids)

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(400, 48, padding_idx=0)
            self.pos = nn.Parameter(torch.randn(24, 48) * 0.02)
            self.block = nn.TransformerEncoderLayer(48, 4, 96, dropout=0.1, batch_first=True, norm_first=True)
            self.norm = nn.LayerNorm(48)
            self.classifier = nn.Linear(48, 4)

        def forward(self, input_ids, attention_mask, labels=None):
            h = self.embed(input_ids) + self.pos
            h = self.norm(self.block(h, src_key_padding_mask=attention_mask == 0))
            m = attention_mask.unsqueeze(-1).float()
            logits = self.classifier((h * m).sum(1) / m.sum(1))
            out = {"logits": logits}
            if labels is not None:
                out["loss"] = F.cross_entropy(logits, labels)
            return out

    train, val = loaders({"input_ids": ids, "attention_mask": mask, "labels": y}, 32)
    model = Classifier()
    opt = linear_warmup_from_zero(torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01))
    return dict(model=model, loss=None, train=train, validation=val, optimizer=opt)


@case(
    "lstm_batch_first_forgotten",
    "nn.LSTM without batch_first gets (batch, time, features): it runs over the batch, each"
    " row sees the rows before it.",
    ("batch dimension mixed", "samples mix"),
    "rnn",
)
def _(sick):
    seed(405)
    x, y = digits_images()
    x = (x.view(-1, 8, 8) - 0.3) / 0.38

    class Rows_(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(8, 48, batch_first=not sick)
            self.out = nn.Sequential(nn.Dropout(0.1), nn.Linear(48, 10))

        def forward(self, x):
            h, _ = self.rnn(x)
            return self.out(h[:, -1])

    train, val = loaders((x, y), 32)
    model = Rows_()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 5e-3),
    )


@case(
    "positions_drown_tokens",
    "Sinusoidal positions of amplitude 1 on top of an embedding with std 0.02, without the"
    " sqrt(d) factor (twin: with std 1): the tokens are 2 % of the sum.",
    ("embedding scale far off", "positions dwarf the tokens"),
    "tok.weight",
)
def _(sick):
    seed(317)
    ids, mask, y = topic_documents(900, 300, 24, 6, gen(317))
    t, d = torch.arange(24).float()[:, None], torch.arange(0, 64, 2).float()
    table_ = torch.zeros(24, 64)
    table_[:, 0::2], table_[:, 1::2] = torch.sin(t / 10000 ** (d / 64)), torch.cos(t / 10000 ** (d / 64))

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok = nn.Embedding(300, 64)
            nn.init.normal_(self.tok.weight, std=0.02 if sick else 1.0)
            self.register_buffer("pos", table_)
            self.layer = nn.TransformerEncoderLayer(64, 4, 128, 0.1, batch_first=True)
            self.head = nn.Linear(64, 6)

        def forward(self, ids, mask):
            h = self.layer(self.tok(ids) + self.pos, src_key_padding_mask=~mask)
            return self.head(h.masked_fill(~mask.unsqueeze(-1), -1e9).max(1).values)

    train, val = loaders(({"ids": ids, "mask": mask.bool()}, y), 32)
    model = Encoder()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 5e-4, weight_decay=0.01),
    )


@case(
    "third_head_not_in_loss",
    "Three zero-initialised task heads, the loss adds the first two (a zip with a list of two weights).",
    ("head not in the loss", "parameters without gradient"),
    "heads.2",
)
def _(sick):
    seed(205)
    x, y = digits_images()
    targets = torch.stack([(y % 2).float(), (y >= 5).float(), (y % 3 == 0).float()], 1)
    weights = [1.0, 0.5] if sick else [1.0, 0.5, 0.5]

    class Multi(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU())
            self.heads = nn.ModuleList([nn.Linear(64, 1) for _ in range(3)])
            for head in self.heads:
                nn.init.zeros_(head.weight)

        def forward(self, x):
            h = self.trunk(x)
            return [head(h).squeeze(-1) for head in self.heads]

    def loss(out, target):
        return sum(
            w * F.binary_cross_entropy_with_logits(o, target[:, i])
            for i, (o, w) in enumerate(zip(out, weights))
        )

    train, val = loaders((x, targets), 64)
    model = Multi()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.1),
    )


@case(
    "last_step_of_padded_rows",
    "RNN classifier (long-tailed lengths) that reads h[:, -1] of padded rows instead of the state at the row's own"
    " length; padding embeds to a learned vector.",
    ("padding leaks", "state read at the padding"),
    "lengths",
)
def _(sick):
    seed(404)
    g = gen(404)
    n, t = 900, 32
    lengths = (3 - 6 * torch.log(torch.rand(n, generator=g))).long().clamp(max=t)
    ids = torch.randint(1, 20, (n, t), generator=g)
    y = ids[torch.arange(n), lengths - 1] % 4
    ids = ids * (torch.arange(t)[None] < lengths[:, None])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn, self.out = (
                nn.Embedding(20, 24),
                nn.RNN(24, 48, batch_first=True),
                nn.Linear(48, 4),
            )

        def forward(self, ids, lengths):
            h, _ = self.rnn(self.embed(ids))
            last = h[:, -1] if sick else h[torch.arange(len(h)), lengths - 1]
            return self.out(last)

    train, val = loaders(((ids, lengths), y), 32)
    model = Net()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=0.01),
    )


@case(
    "pooling_softmax_over_one",
    "Attention pooling: softmax(dim=-1) on scores of shape (N, T, 1): all weights are 1, the"
    " scorer gets no gradient. The scorer starts at zero in both twins.",
    ("softmax over an axis of length one", "scorer without gradient"),
    "score",
)
def _(sick):
    seed(409)
    g = gen(409)
    n, t = 900, 30
    x = torch.randn(n, t, 5, generator=g) * 1.5
    spot = torch.randint(0, t, (n,), generator=g)
    y = torch.randn(n, generator=g)
    x[torch.arange(n), spot, 0] = 6.0
    x[torch.arange(n), spot, 1] = y

    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc, self.score, self.out = nn.Linear(5, 24), nn.Linear(5, 1), nn.Linear(24, 1)
            nn.init.zeros_(self.score.weight)

        def forward(self, x):
            w = torch.softmax(self.score(x), dim=-1 if sick else 1)
            return self.out((w * self.enc(x)).sum(1)).squeeze(-1)

    train, val = loaders((x, y), 32)
    model = Pool()
    return dict(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 5e-3),
    )


@case(
    "clip_temperature_inverted",
    "Two-tower contrastive loss on normalised embeddings: similarities are divided by 100"
    " (the logit scale) rather than multiplied, the logits lie within 0.01.",
    ("contrastive temperature", "logits almost constant"),
    "temperature",
)
def _(sick):
    seed(209)
    x, _ = table("digits")
    x = (x / 16 - 0.3) / 0.38
    left, right = x.view(-1, 8, 8)[:, :, :4].flatten(1), x.view(-1, 8, 8)[:, :, 4:].flatten(1)
    temperature = 100.0 if sick else 0.1

    class TwoTower(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = mlp(32, 96, 32), mlp(32, 96, 32)

        def forward(self, left, right):
            return F.normalize(self.left(left), dim=-1), F.normalize(self.right(right), dim=-1)

    def loss(out, target):
        sim = out[0] @ out[1].T / temperature
        return 0.5 * (
            F.cross_entropy(sim, torch.arange(len(sim))) + F.cross_entropy(sim.T, torch.arange(len(sim)))
        )

    train, val = loaders(((left, right), torch.arange(len(x))), 128, drop_last=True)
    model = TwoTower()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.2),
    )


@case(
    "special_tokens_beyond_embedding",
    "A special token was added to the tokenizer (id 300) without"
    " resize_token_embeddings; it occurs in 4 % of the rows, so the first batches may pass.",
    ("token id beyond the embedding", "index out of range"),
    "tok",
)
def _(sick):
    seed(103)
    ids, mask, y = topic_documents(800, 300, 16, 3, gen(103))
    rare = torch.rand(800, generator=gen(5)) < 0.04
    ids[rare, 0] = 300
    rows = 300 if sick else 301

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok = nn.Embedding(rows, 32, padding_idx=0)
            self.rnn = nn.GRU(32, 48, batch_first=True)
            self.out = nn.Linear(48, 3)

        def forward(self, tokens, mask):
            h, _ = self.rnn(self.tok(tokens))
            m = mask.unsqueeze(-1).float()
            return self.out((h * m).sum(1) / m.sum(1))

    train, val = loaders(({"tokens": ids, "mask": mask}, y), 8)
    model = Tagger()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 3e-3),
    )


@case(
    "repeat_for_repeat_interleave",
    "Each context is scored against 5 candidates: the contexts are expanded with"
    " repeat(5, 1), the candidates flattened row by row. The pairs belong to different samples.",
    ("samples mix", "batch dimension mixed", "repeat instead of repeat_interleave"),
    "score",
)
def _(sick):
    seed(421)
    g = gen(421)
    n, k = 1000, 5
    context, cand = torch.randn(n, 6, generator=g), torch.randn(n, k, 6, generator=g)
    y = (cand @ context.unsqueeze(-1)).squeeze(-1).argmax(1)

    class Ranker(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = mlp(6, 32, 24), mlp(6, 32, 24)
            self.score = mlp(24, 32, 1)

        def forward(self, context, candidates):
            n, k, d = candidates.shape
            c = self.left(context)
            c = c.repeat(k, 1) if sick else c.repeat_interleave(k, 0)
            return self.score(c * self.right(candidates.reshape(n * k, d))).view(n, k)

    train, val = loaders(({"context": context, "candidates": cand}, y), 32)
    model = Ranker()
    return dict(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 4e-3),
    )


@case(
    "one_head_softmax_twice",
    "Two classification heads; the colour head ends in Softmax and goes into cross_entropy,"
    " the digit head is right.",
    ("double softmax", "probabilities where logits are expected"),
    "colour",
)
def _(sick):
    seed(210)
    d, y = digits_images()
    colour = torch.randint(0, 6, (len(y),), generator=gen(11))
    palette = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1.0]])
    x = d * (palette[colour] * 0.5 + 0.5)[:, :, None, None] + 0.1 * torch.randn(
        len(y), 3, 8, 8, generator=gen(12)
    )

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
            )
            self.digit = nn.Linear(384, 10)
            self.colour = (
                nn.Sequential(nn.Linear(384, 6), nn.Softmax(dim=1))
                if sick
                else nn.Sequential(nn.Linear(384, 6))
            )

        def forward(self, x):
            h = self.conv(x)
            return {"digit": self.digit(h), "colour": self.colour(h)}

    def loss(out, target):
        return F.cross_entropy(out["digit"], target["digit"]) + F.cross_entropy(
            out["colour"], target["colour"]
        )

    train, val = loaders((x, {"digit": y, "colour": colour}), 64)
    model = Net()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
    )


@case(
    "vq_without_straight_through",
    "VQ autoencoder: the decoder gets the code itself, not z + (code - z).detach(), so"
    " no reconstruction gradient reaches the encoder and only the commitment term does. The twin detaches on purpose.",
    ("gradient cut off", "encoder not trained by the reconstruction"),
    "encoder",
)
def _(sick):
    seed(215)
    x, _ = table("digits")
    x = (x / 16 - 0.3) / 0.38

    class VqAe(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = mlp(64, 96, 4 * 8)
            self.codes = nn.Parameter(torch.randn(32, 8))
            self.decoder = mlp(4 * 8, 96, 64)

        def forward(self, x):
            z = F.layer_norm(self.encoder(x).view(-1, 4, 8), (8,))
            nearest = torch.cdist(z.detach(), self.codes.detach()[None]).argmin(-1)
            code = self.codes[nearest]
            quantised = code.detach() if sick else z + (code - z).detach()
            return self.decoder(quantised.flatten(1)), z, code

    def loss(out, target):
        recon, z, code = out
        return F.mse_loss(recon, target) + F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())

    train, val = loaders((x, x), 64)
    model = VqAe()
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 2e-3),
    )


@case(
    "attention_without_scale",
    "Hand-written attention with one wide head (d=256), queries and keys of unit variance;"
    " 1/sqrt(d) is missing: logits of +-16, the softmax is one-hot at the start.",
    ("missing 1/sqrt(d)", "saturated attention", "huge attention logits"),
    "attn",
)
def _(sick):
    seed(307)
    g = gen(307)
    n, t = 900, 12
    keys = torch.randint(0, 10, (n, t), generator=g)
    value = torch.randn(n, t, generator=g)
    ask = torch.randint(0, 10, (n,), generator=g)
    hit = (keys == ask[:, None]).float()
    y = ((hit * value).sum(1) / hit.sum(1).clamp(min=1)) + 0.3 * value.mean(1)

    class Attention(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.q, self.k, self.v = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
            for lin in (self.q, self.k, self.v):
                nn.init.normal_(lin.weight, std=d**-0.5)
            self.scale = 1.0 if sick else d**-0.5

        def forward(self, query, x):
            a = torch.softmax(self.q(query) @ self.k(x).transpose(1, 2) * self.scale, -1)
            return a @ self.v(x)

    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.key, self.value, self.ask = nn.Embedding(10, 256), nn.Linear(1, 256), nn.Embedding(10, 256)
            self.norm, self.attn = nn.LayerNorm(256), Attention(256)
            self.out = mlp(256, 64, 1)

        def forward(self, keys, values, ask):
            x = self.norm(self.key(keys) + self.value(values.unsqueeze(-1)))
            return self.out(self.attn(self.ask(ask).unsqueeze(1), x).squeeze(1)).squeeze(1)

    train, val = loaders(({"keys": keys, "values": value, "ask": ask}, y), 32)
    model = Lookup()
    return dict(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=val,
        optimizer=torch.optim.AdamW(model.parameters(), 5e-4),
    )


@case(
    "sample_weights_dropped",
    "Targets come with sample weights (0 for a third of the rows, whose labels are junk); the"
    " loss takes the mean and never looks at them.",
    ("weights ignored", "target part unused"),
    "weight",
)
def _(sick):
    seed(206)
    x, y = digits_images()
    g = gen(206)
    junk = torch.rand(len(y), generator=g) < 0.35
    y = torch.where(junk, torch.randint(0, 10, (len(y),), generator=g).clamp(max=3), y)
    weight = (~junk).float()

    def loss(logits, target):
        per_row = F.cross_entropy(logits, target["y"], reduction="none")
        if sick:
            return per_row.mean()
        return (per_row * target["weight"]).sum() / target["weight"].sum().clamp(min=1)

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    train, val = loaders((x, {"y": y, "weight": weight}), 64)
    return dict(
        model=model,
        loss=loss,
        train=train,
        validation=val,
        optimizer=torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
    )
