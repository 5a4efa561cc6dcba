"""Cases that the rules may be tuned on: healthy, part 2."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from wellposed import Problem

from . import data
from .book import Book

book = Book()


@book.healthy
def critic_with_spectral_norm() -> Problem:
    """Hinge loss of a discriminator: real against made-up points; the outputs have no range."""
    g = data.seeded(28)
    angle = 2 * math.pi * torch.rand(500, generator=g)
    real = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(500, 2, generator=g)
    made_up = 0.7 * torch.randn(500, 2, generator=g)
    sign = torch.cat([torch.ones(500, 1), -torch.ones(500, 1)])
    train, held_out = data.split(torch.cat([4 * real, made_up]), sign)
    layers = [spectral_norm(nn.Linear(a, b)) for a, b in ((2, 48), (48, 48), (48, 1))]
    model = nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2), layers[2])
    return Problem(
        model=model,
        loss=lambda score, side: F.relu(1 - side * score).mean(),
        train=data.loader(*train, batch_size=50),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.0, 0.9)),
    )


@book.healthy
def wide_and_shallow_with_mup_like_groups() -> Problem:
    """Width 512, and a learning rate for each layer by its fan-in."""
    train, held_out = data.split(*data.digit_rows())
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    nn.init.zeros_(model[-1].weight)  # type: ignore[arg-type]
    groups = [
        {"params": model[0].parameters(), "lr": 2e-3},
        {"params": model[2].parameters(), "lr": 2e-3 * 64 / 512},
        {"params": model[4].parameters(), "lr": 2e-3 * 64 / 512},
    ]
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(groups),
    )


class Tagger(nn.Module):
    def __init__(self, vocabulary: int, tags: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 16)
        self.gru = nn.GRU(16, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, tags)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.gru(self.embedding(tokens))
        return self.head(states).transpose(1, 2)


@book.healthy
def bidirectional_gru_tags_every_token() -> Problem:
    """The tag: equal to the token before modulo four, else to the next one modulo three, else neither."""
    tokens = torch.randint(12, (400, 14), generator=data.seeded(8))
    before, after = tokens.roll(1, 1), tokens.roll(-1, 1)
    tags = torch.where(tokens % 4 == before % 4, 1, torch.where(tokens % 3 == after % 3, 2, 0))
    tags[:, 0] = tags[:, -1] = -100
    train, held_out = data.split(tokens, tags)
    model = Tagger(12, 3)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(ignore_index=-100),
        train=data.loader(*train),
        validation=data.loader(*held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
    )


class CausalConv(nn.Module):
    """Dilated, weight-normalised, with a residual path: the block of Bai et al. 2018."""

    def __init__(self, fan_in: int, fan_out: int, dilation: int):
        super().__init__()
        self.padding = 2 * dilation
        self.conv1 = weight_norm(nn.Conv1d(fan_in, fan_out, 3, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(fan_out, fan_out, 3, dilation=dilation))
        self.shortcut = nn.Conv1d(fan_in, fan_out, 1) if fan_in != fan_out else nn.Identity()
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(F.relu(self.conv1(F.pad(x, (self.padding, 0)))))
        hidden = self.dropout(F.relu(self.conv2(F.pad(hidden, (self.padding, 0)))))
        return F.relu(hidden + self.shortcut(x))


@book.healthy
def temporal_convolution() -> Problem:
    class Forecaster(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(CausalConv(1, 12, 1), CausalConv(12, 12, 2), CausalConv(12, 12, 4))
            self.head = nn.Linear(12, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.blocks(x.transpose(1, 2))[:, :, -1])

    train, held_out = data.split(*data.waves())
    model = Forecaster()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=data.loader(*held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=4e-3),
    )


class Perceiver(nn.Module):
    """A few learned latents attend to all the pixels, then to each other."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.pixels = nn.Linear(3, width)
        self.latents = nn.Parameter(torch.randn(6, width) * 0.02)
        self.norm_in, self.norm_latent = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross = nn.MultiheadAttention(width, 2, batch_first=True)
        self.block = nn.TransformerEncoderLayer(width, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(width, 10)
        axis = torch.linspace(-1, 1, 8)
        self.register_buffer("place", torch.cartesian_prod(axis, axis))

    def forward(self, x: Tensor) -> Tensor:
        place = self.place.expand(len(x), -1, -1)  # type: ignore[operator]
        pixels = self.norm_in(self.pixels(torch.cat([x.flatten(1)[:, :, None], place], 2)))
        latents = self.latents.expand(len(x), -1, -1)
        latents = latents + self.cross(self.norm_latent(latents), pixels, pixels, need_weights=False)[0]
        return self.head(self.block(latents).mean(1))


@book.healthy
def perceiver_on_digits() -> Problem:
    train, held_out = data.split(*data.digit_images())
    model = Perceiver()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=48),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class Translator(nn.Module):
    def __init__(self, vocabulary: int, width: int = 32):
        super().__init__()
        self.source, self.target = nn.Embedding(vocabulary, width), nn.Embedding(vocabulary + 1, width)
        self.place = nn.Parameter(torch.randn(8, width) * 0.1)
        self.transformer = nn.Transformer(width, 2, 1, 1, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, source: Tensor, so_far: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(so_far.shape[1])
        states = self.transformer(
            self.source(source) + self.place,
            self.target(so_far) + self.place,
            tgt_mask=mask,
            tgt_is_causal=True,
        )
        return self.head(states)


@book.healthy
def encoder_decoder_reverses_a_sequence() -> Problem:
    source = torch.randint(12, (600, 8), generator=data.seeded(9))
    target = source.flip(1)
    so_far = torch.cat([torch.full((600, 1), 12), target[:, :-1]], 1)
    batches = [((source[i : i + 40], so_far[i : i + 40]), target[i : i + 40]) for i in range(0, 600, 40)]
    model = Translator(12)
    return Problem(
        model=model,
        loss=lambda logits, y: F.cross_entropy(logits.flatten(0, 1), y.flatten()),
        train=batches[:12],
        validation=batches[12:],
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-9),
    )


class SpeechLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 32, 3, padding=1)
        self.gru = nn.GRU(32, 32, batch_first=True)
        self.head = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))
        return F.log_softmax(self.head(states), -1)


@book.healthy
def ctc_on_made_up_speech() -> Problem:
    """Each of four symbols sounds for three to five frames as its own vector, with noise."""
    g = data.seeded(10)
    sounds = torch.randn(6, 8, generator=g)
    spoken = torch.randint(1, 6, (300, 4), generator=g)
    frames = torch.zeros(300, 20, 8)
    for row in range(300):
        spans = torch.randint(3, 6, (4,), generator=g)
        frames[row, : int(spans.sum())] = sounds[spoken[row].repeat_interleave(spans)]
    frames = frames + 0.3 * torch.randn(frames.shape, generator=g)
    train, held_out = data.split(frames, spoken)

    def loss(log_probabilities: Tensor, symbols: Tensor) -> Tensor:
        count, length, _ = log_probabilities.shape
        return F.ctc_loss(log_probabilities.transpose(0, 1), symbols, [length] * count, [4] * count)  # type: ignore[arg-type]

    model = SpeechLike()
    return Problem(
        model=model,
        loss=loss,
        train=data.loader(*train, batch_size=25),
        validation=data.loader(*held_out, batch_size=25),
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


class SentenceCNN(nn.Module):
    """Filters of widths 2, 3 and 4, max over time, dropout of a half (Kim 2014)."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 24, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(24, 16, width) for width in (2, 3, 4))
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(48, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).transpose(1, 2)
        return self.head(self.dropout(torch.cat([F.relu(conv(x)).amax(2) for conv in self.convs], 1)))


@book.healthy
def sentence_cnn_with_heavy_dropout() -> Problem:
    tokens, _, labels = data.reviews()
    train, held_out = data.split(tokens, labels)
    model = SentenceCNN(120)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=50),
        validation=held_out,
        optimizer=torch.optim.Adadelta(model.parameters(), lr=1.0),
    )


class GatedConvLM(nn.Module):
    """Gated linear units over causal convolutions (Dauphin et al. 2017)."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 24)
        self.convs = nn.ModuleList(nn.Conv1d(24, 48, 4) for _ in range(3))
        self.head = nn.Linear(24, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).transpose(1, 2)
        for conv in self.convs:
            x = x + F.glu(conv(F.pad(x, (3, 0))), 1)
        return self.head(x.transpose(1, 2))


@book.healthy
def gated_convolution_language_model() -> Problem:
    windows, vocabulary = data.letters()
    train, held_out = data.split(windows[:, :-1], windows[:, 1:])
    model = GatedConvLM(vocabulary)
    return Problem(
        model=model,
        loss=lambda logits, targets: F.cross_entropy(logits.transpose(1, 2), targets),
        train=train,
        validation=held_out,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    )


class MinimalRNN(nn.Module):
    """Written with a cell and a loop, identity recurrence and ReLU (Le et al. 2015)."""

    def __init__(self, hidden: int = 32):
        super().__init__()
        self.into = nn.Linear(1, hidden)
        self.recurrent = nn.Linear(hidden, hidden, bias=False)
        self.head = nn.Linear(hidden, 1)
        nn.init.normal_(self.into.weight, std=0.1)
        nn.init.eye_(self.recurrent.weight)
        nn.init.zeros_(self.into.bias)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.recurrent.in_features)
        for step in x.unbind(1):
            state = F.relu(self.into(step) + self.recurrent(state))
        return self.head(state)


@book.healthy
def identity_rnn_adds_two_marked_numbers() -> Problem:
    g = data.seeded(11)
    numbers = torch.rand(500, 20, 1, generator=g)
    train, held_out = data.split(numbers, numbers.sum(1) / 5)
    model = MinimalRNN()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
    )
