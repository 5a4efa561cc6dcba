"""Set-ups whose structure is right, many of each kind, and a few in which it is not: masks, positions, noise, choices, likelihoods."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Arguments = dict[str, Any]
HEALTHY: dict[str, Callable[[], Arguments]] = {}
SICK: dict[str, tuple[str, Callable[[], Arguments]]] = {}
"""The code that is expected, and what makes the arguments of `check`."""


def setup(model: Callable[[], nn.Module], loss: Any, data: Any, rate: float = 2e-3) -> Arguments:
    torch.manual_seed(0)
    made = model()
    return {
        "model": made,
        "loss": loss,
        "train": data,
        "optimizer": torch.optim.Adam(made.parameters(), rate),
    }


# --- padded sequences

LONGEST, WORDS, WIDTH = 14, 40, 32


def documents(*, masked: bool, in_front: bool) -> tuple[Any, Tensor]:
    """Words of which each of three classes has its own, padded with 0."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(4, LONGEST + 1, (600,), generator=draw)
    classes = torch.randint(0, 3, (600,), generator=draw)
    common = torch.randint(1, WORDS, (600, LONGEST), generator=draw)
    own = 1 + classes[:, None] * 12 + torch.randint(0, 12, (600, LONGEST), generator=draw)
    real = torch.arange(LONGEST) < lengths[:, None]
    ids = torch.where(torch.rand(600, LONGEST, generator=draw) < 0.4, own, common) * real
    ids, real = (ids.flip(1), real.flip(1)) if in_front else (ids, real)
    return ({"ids": ids, "mask": real.long()} if masked else ids), classes


class Reader(nn.Module):
    """Embeds ids and reads them, by a mask of its own or the one that is given."""

    def __init__(self, read: Callable[[Reader, Tensor, Tensor], Tensor], *, inverted: bool = False) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(WORDS, WIDTH, padding_idx=0), nn.Embedding(LONGEST, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, 0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.gru = nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.conv, self.score = nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.Linear(WIDTH, 1)
        self.head = nn.Linear(WIDTH, 3)
        self.read, self.inverted = read, inverted

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        real = ids != 0 if mask is None else mask.bool()
        if self.inverted:
            real = ~real | (torch.arange(ids.shape[1]) == ids.shape[1] - 1)  # a row must see something
        x = self.embed(ids) + self.place(torch.arange(ids.shape[1]))
        return self.head(self.read(self, x, real))


def mean_of(x: Tensor, real: Tensor) -> Tensor:
    return (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)


READERS: dict[str, Callable[[Reader, Tensor, Tensor], Tensor]] = {
    "encoder, first token": lambda net, x, real: net.encoder(x, src_key_padding_mask=~real)[:, 0],
    "encoder, mean": lambda net, x, real: mean_of(net.encoder(x, src_key_padding_mask=~real), real),
    "encoder, additive mask": lambda net, x, real: mean_of(
        net.encoder(x, src_key_padding_mask=torch.zeros(real.shape).masked_fill(~real, -1e9)), real
    ),
    "convolution, maximum": lambda net, x, real: (
        net.conv(x.mT).relu().mT.masked_fill(~real[..., None], 0).amax(1)
    ),
    "attention pooling": lambda net, x, real: (
        net.score(x).masked_fill(~real[..., None], -1e9).softmax(1) * x
    ).sum(1),
    "mean of words": lambda net, x, real: mean_of(x.relu(), real),
    "recurrent, last word": lambda net, x, real: net.gru(x)[0][torch.arange(len(x)), real.sum(1) - 1],
}
for name, read in READERS.items():
    for masked in (False, True):
        HEALTHY[f"padded: {name}{', mask given' if masked else ''}"] = partial(
            lambda read, masked: setup(
                lambda: Reader(read), F.cross_entropy, documents(masked=masked, in_front=False)
            ),
            read,
            masked,
        )
for name in ("encoder, first token", "encoder, mean", "mean of words"):
    HEALTHY[f"padded in front: {name}"] = partial(
        lambda read: setup(lambda: Reader(read), F.cross_entropy, documents(masked=False, in_front=True)),
        READERS[name],
    )
SICK["padded: encoder, inverted"] = (
    "WP613",
    lambda: setup(
        lambda: Reader(READERS["encoder, first token"], inverted=True),
        F.cross_entropy,
        documents(masked=True, in_front=False),
    ),
)


# --- the next token


def sums() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    start, step = (torch.randint(low, 8, (400, 1), generator=draw) for low in (0, 1))
    text = (start + step * torch.arange(17)) % 8
    return text[:, :-1], text[:, 1:]


class Next(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embed, self.head, self.kind = nn.Embedding(8, WIDTH), nn.Linear(WIDTH, 8), kind
        if kind in ("zero positions", "sinusoids", "no positions", "no positions, two layers"):
            layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, 0.1, batch_first=True, norm_first=True)
            layers = 2 if kind == "no positions, two layers" else 1
            self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        if kind == "zero positions":
            self.place = nn.Parameter(torch.zeros(16, WIDTH))
        if kind == "recurrent":
            self.cell = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        if kind == "convolution":
            self.conv = nn.Conv1d(WIDTH, WIDTH, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x, at = self.embed(ids), torch.arange(ids.shape[1])
        later = nn.Transformer.generate_square_subsequent_mask(len(at))
        if self.kind == "zero positions":
            x = x + self.place
        if self.kind == "sinusoids":
            waves = at[:, None] * torch.exp(-torch.arange(0, WIDTH, 2) * math.log(1e4) / WIDTH)
            x = x + torch.cat([waves.sin(), waves.cos()], 1)
        if hasattr(self, "encoder"):
            x = self.encoder(x, mask=later, is_causal=True)
        if self.kind == "recurrent":
            x = self.cell(x)[0]
        if self.kind == "convolution":
            x = self.conv(F.pad(x.mT, (3, 0))).relu().mT
        if self.kind == "distances":
            far = -0.3 * (at[:, None] - at).clamp(min=0) + later
            x = x + F.scaled_dot_product_attention(x, x, x, attn_mask=far)
        return self.head(x).mT


for kind in (
    "zero positions", "sinusoids", "no positions, two layers", "recurrent", "convolution", "distances", "pairs"
):  # fmt: skip
    HEALTHY[f"next token: {kind}"] = partial(
        lambda kind: setup(lambda: Next(kind), F.cross_entropy, sums()), kind
    )
SICK["next token: no positions"] = (
    "WP615",
    lambda: setup(lambda: Next("no positions"), F.cross_entropy, sums()),
)


# --- noise, choices


def table() -> Tensor:
    return torch.randn(600, 10, generator=torch.Generator().manual_seed(0))


class Noisy(nn.Module):
    def __init__(self, noise: Callable[[Tensor, bool], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.noise = nn.Linear(10, 48), nn.Linear(48, 4), noise

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.noise(self.first(x).relu(), self.training))


NOISES: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "dropout": lambda h, training: F.dropout(h, 0.2, training),
    "added": lambda h, training: h + 0.1 * torch.randn_like(h) if training else h,
    "of a whole row": lambda h, training: h * (torch.rand(len(h), 1) > 0.1) / 0.9 if training else h,
    "shared on purpose": lambda h, training: h * (1 + 0.1 * torch.randn(1, 48)) if training else h,
}
for name, noise in NOISES.items():
    HEALTHY[f"noise: {name}"] = partial(
        lambda noise: setup(lambda: Noisy(noise), F.cross_entropy, (table(), table()[:, :4].argmax(1))),
        noise,
    )


class Flow(nn.Module):
    """Flow matching: noise less sample is to be predicted."""

    def __init__(self, *, one_time: bool = False, one_noise: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(11, 96), nn.SiLU(), nn.Linear(96, 10))
        self.times, self.noises = 1 if one_time else None, 1 if one_noise else None

    def forward(self, x: Tensor) -> Tensor:
        time = torch.rand(self.times or len(x), 1).expand(len(x), 1)
        noise = torch.randn(self.noises or len(x), 10).expand_as(x)
        made = self.net(torch.cat([(1 - time) * x + time * noise, time], 1))
        return (made + x - noise).square().mean()


HEALTHY["flow: time and noise of each sample"] = lambda: setup(Flow, None, {"x": table()})
HEALTHY["flow: one time a batch"] = lambda: setup(lambda: Flow(one_time=True), None, {"x": table()})
SICK["flow: one noise a batch"] = (
    "WP616",
    lambda: setup(lambda: Flow(one_noise=True), None, {"x": table()}),
)


class Coded(nn.Module):
    def __init__(self, through: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(10, 8), nn.Linear(8, 10)
        self.codes, self.through = nn.Parameter(torch.randn(16, 8)), through

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self.encoder(x)
        code = self.codes[torch.cdist(z, self.codes).argmin(1)]
        return self.decoder(self.through(z, code)), z, code


def coded_loss(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
    made, z, code = outputs
    kept = F.mse_loss(code, z.detach()) + 0.25 * F.mse_loss(z, code.detach())
    return F.mse_loss(made, targets) + kept


def straight_through(z: Tensor, code: Tensor) -> Tensor:
    return z + (code - z).detach()


HEALTHY["codes: straight through"] = lambda: setup(
    lambda: Coded(straight_through), coded_loss, (table(), table())
)
SICK["codes: in the place of what they stand for"] = (
    "WP601",
    lambda: setup(lambda: Coded(lambda z, code: code), coded_loss, (table(), table())),
)


# --- likelihoods of several columns


def scattered() -> tuple[Tensor, Tensor]:
    x = table()
    noise = torch.randn(600, 1, generator=torch.Generator().manual_seed(1))
    return x, x[:, :1] + 0.3 * noise * (1 + x[:, 1:2].abs())


def gaussian(made: Tensor, y: Tensor, *, sign: float = 1.0) -> Tensor:
    mean, log_var = made.split(1, 1)
    return (sign * 0.5 * log_var + 0.5 * (y - mean) ** 2 * (-log_var).exp()).mean()


def of_torch(made: Tensor, y: Tensor) -> Tensor:
    return F.gaussian_nll_loss(made[:, :1], y, F.softplus(made[:, 1:]))


def student(made: Tensor, y: Tensor) -> Tensor:
    mean, scale, freedom = made.split(1, 1)
    spread = torch.distributions.StudentT(2 + F.softplus(freedom), mean, F.softplus(scale) + 1e-3)
    return -spread.log_prob(y).mean()


def mixture(made: Tensor, y: Tensor, *, sign: float = 1.0) -> Tensor:
    logits, means, log_stds = made.split(2, 1)
    terms = logits.log_softmax(1) - log_stds - 0.5 * ((y - means) * (-log_stds).exp()) ** 2
    return -sign * torch.logsumexp(terms, 1).mean()


def quantiles(made: Tensor, y: Tensor) -> Tensor:
    share = torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(share * (y - made), (share - 1) * (y - made)).mean()


def heads(columns: int) -> nn.Module:
    return nn.Sequential(nn.Linear(10, 48), nn.Tanh(), nn.Linear(48, columns))


for columns, loss in ((2, gaussian), (2, of_torch), (3, student), (6, mixture), (3, quantiles)):
    HEALTHY[f"likelihood: {loss.__name__}"] = partial(
        lambda columns, loss: setup(lambda: heads(columns), loss, scattered()), columns, loss
    )
for columns, turned in ((2, gaussian), (6, mixture)):
    SICK[f"likelihood: {turned.__name__}, sign turned round"] = (
        "WP504",
        partial(
            lambda columns, loss: setup(lambda: heads(columns), partial(loss, sign=-1.0), scattered()),
            columns,
            turned,
        ),
    )
