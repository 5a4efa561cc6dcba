"""The transformer and the recurrent nets of the cases."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.heads = heads
        self.scale = 1 / math.sqrt(width / heads)
        self.softmax = nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape

        def split(z: Tensor) -> Tensor:
            return z.view(batch, length, self.heads, -1).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        attention = self.softmax((query @ key.transpose(-1, -2)) * self.scale)
        return self.out((attention @ value).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, *, pre_norm: bool):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up = nn.Linear(width, 4 * width)
        self.gelu = nn.GELU()
        self.down = nn.Linear(4 * width, width)
        self.pre_norm = pre_norm

    def forward(self, x: Tensor) -> Tensor:
        if self.pre_norm:
            x = x + self.attention(self.norm1(x))
            return x + self.down(self.gelu(self.up(self.norm2(x))))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.down(self.gelu(self.up(x))))


class Transformer(nn.Module):
    """Weights from N(0, .02) as in GPT-2; the head shares the embedding's weight when `tied`."""

    def __init__(
        self,
        *,
        vocabulary: int = 32,
        width: int = 64,
        heads: int = 4,
        depth: int = 4,
        length: int = 16,
        embedding_std: float = 0.02,
        pre_norm: bool = True,
        tied: bool = True,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, pre_norm=pre_norm) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.02)
        nn.init.normal_(self.embedding.weight, 0, embedding_std)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class LastStepRegressor(nn.Module):
    """A recurrent layer of 48 units over a series of one value, and a linear head on the last step."""

    def __init__(self, kind: Literal["rnn", "gru", "lstm"] = "rnn", *, gain: float = 1.0):
        super().__init__()
        layer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind]
        self.recurrent = layer(1, 48, batch_first=True)
        self.head = nn.Linear(48, 1)
        if kind == "rnn":
            nn.init.orthogonal_(self.recurrent.weight_hh_l0)
            self.recurrent.weight_hh_l0.data.mul_(gain)
        if kind == "lstm":
            self.recurrent.bias_ih_l0.data[48:96] = 1.0  # the forget gate starts open

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])
