"""Cases that only count: nobody who writes rules reads them: healthy, part 2."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from wellposed import Problem

from . import data
from .book import Book

book = Book()


class AffineCoupling(nn.Module):
    def __init__(self, *, flip: bool):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 2))
        self.flip = flip
        last = self.net[2]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x.flip(1).split(1, 1) if self.flip else x.split(1, 1)
        scale, shift = self.net(kept).split(1, 1)
        scale = torch.tanh(scale)
        moved = moved * scale.exp() + shift
        return torch.cat([moved, kept] if self.flip else [kept, moved], 1), scale[:, 0]


@book.healthy
def normalizing_flow_with_zero_couplings() -> Problem:
    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.couplings = nn.ModuleList(AffineCoupling(flip=bool(i % 2)) for i in range(6))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            volume = x.new_zeros(len(x))
            for coupling in self.couplings:
                x, growth = coupling(x)
                volume = volume + growth
            return x, volume

    g = data.seeded(24)
    first = torch.randn(900, generator=g)
    curved = torch.stack([first, 0.5 * first**2 - 0.5 + 0.15 * torch.randn(900, generator=g)], 1)
    train, held_out = data.split(curved, torch.zeros(900))
    model = Flow()
    return Problem(
        model=model,
        loss=lambda outputs, _: (outputs[0].square().sum(1) / 2 + math.log(2 * math.pi) - outputs[1]).mean(),
        train=data.loader(*train, batch_size=75),
        validation=data.loader(*held_out, batch_size=75),
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(
            nn.Conv1d(3, 32, 1),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Conv1d(32, 64, 1),
            nn.BatchNorm1d(64),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, cloud: Tensor) -> Tensor:
        return self.head(self.points(cloud.transpose(1, 2)).amax(2))


@book.healthy
def point_clouds() -> Problem:
    """Spheres, boxes and segments of 40 points."""
    g = data.seeded(25)
    labels = torch.arange(360) % 3
    points = torch.randn(360, 40, 3, generator=g)
    sphere = F.normalize(points, dim=2)
    box = points / points.abs().amax(2, keepdim=True)
    segment = points[:, :, :1] * F.normalize(torch.randn(360, 1, 3, generator=g), dim=2)
    clouds = torch.stack([sphere, box, segment], 1)[torch.arange(360), labels]
    train, held_out = data.split(clouds + 0.02 * torch.randn(clouds.shape, generator=g), labels)
    model = PointNet()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, drop_last=True),
        validation=data.loader(*held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class CausalBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.c_attn(self.ln_1(x)).split(width, 2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.c_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class SmallGPT(nn.Module):
    """GPT-2's initialization: N(0, .02), the residual projections smaller by sqrt(2 depth), the head tied."""

    def __init__(self, vocabulary: int, length: int, width: int = 48, depth: int = 3):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(CausalBlock(width, 4) for _ in range(depth))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                residual = name.endswith(("c_proj.weight", ".proj.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth) if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.ln_f(x))


@book.healthy
def gpt_on_letters() -> Problem:
    windows, vocabulary = data.letters()
    train, held_out = data.split(windows[:, :-1], windows[:, 1:])
    model = SmallGPT(vocabulary, 24)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return Problem(
        model=model,
        loss=lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
        train=data.loader(*train, batch_size=16),
        validation=data.loader(*held_out, batch_size=16),
        optimizer=torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
            lr=3e-3,
            betas=(0.9, 0.95),
        ),
    )


class PaddedEncoder(nn.Module):
    def __init__(self, vocabulary: int, width: int = 32):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position = nn.Embedding(16, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True) for _ in range(2)
        )
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids) + self.position.weight
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~attention_mask)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


@book.healthy
def bert_with_padding_mask() -> Problem:
    tokens, mask, labels = data.reviews()
    batches = [
        ({"input_ids": tokens[i : i + 30], "attention_mask": mask[i : i + 30]}, labels[i : i + 30])
        for i in range(0, len(tokens), 30)
    ]
    model = PaddedEncoder(120)
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=batches[:15],
        validation=batches[15:],
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
    )


@dataclass
class ClassifierOutput:
    loss: Tensor | None
    logits: Tensor


class OwnLossClassifier(nn.Module):
    """As in Hugging Face's library: labels go in, an object with a loss and the logits comes out."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 24, padding_idx=0)
        self.hidden = nn.Linear(24, 32)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(32, 2)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> ClassifierOutput:
        kept = attention_mask[:, :, None].float()
        mean = (self.embedding(input_ids) * kept).sum(1) / kept.sum(1)
        logits = self.classifier(self.dropout(F.gelu(self.hidden(mean))))
        return ClassifierOutput(None if labels is None else F.cross_entropy(logits, labels), logits)


@book.healthy
def dict_batches_and_a_model_with_its_own_loss() -> Problem:
    tokens, mask, labels = data.reviews()
    rows = [
        {"input_ids": t, "attention_mask": m, "labels": y}
        for t, m, y in zip(tokens, mask, labels, strict=True)
    ]
    model = OwnLossClassifier(120)
    return Problem(
        model=model,
        train=DataLoader(rows[:450], batch_size=32, shuffle=True, generator=data.seeded()),  # type: ignore[arg-type]
        validation=DataLoader(rows[450:], batch_size=32),  # type: ignore[arg-type]
        optimizer=torch.optim.AdamW(model.parameters(), lr=5e-3),
    )


class TimeFirstLSTM(nn.Module):
    """Inputs of (time, batch, feature), PyTorch's default."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, 24, num_layers=2, dropout=0.1)
        self.head = nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.lstm(x)
        return self.head(output[-1])


@book.healthy
def lstm_over_time_first_batches() -> Problem:
    series, following = data.waves()
    batches = [
        (series[i : i + 50].transpose(0, 1).contiguous(), following[i : i + 50])
        for i in range(0, len(series), 50)
    ]
    model = TimeFirstLSTM()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=batches[:8],
        validation=batches[8:],
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
    )


class LetterLSTM(nn.Module):
    def __init__(self, vocabulary: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 16)
        self.lstm = nn.LSTM(16, 48, batch_first=True)
        self.head = nn.Linear(48, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])


@book.healthy
def letter_lstm_with_a_plain_function_as_loss() -> Problem:
    windows, vocabulary = data.letters()
    train, held_out = data.split(windows[:, :-1], windows[:, 1:])

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.reshape(-1, logits.size(-1)), targets.reshape(-1))

    model = LetterLSTM(vocabulary)
    return Problem(
        model=model,
        loss=loss,
        train=data.loader(*train, batch_size=24),
        validation=data.loader(*held_out, batch_size=24),
        optimizer=torch.optim.RMSprop(model.parameters(), lr=5e-3),
    )
