"""A mask that says the opposite is found in every place that reads it, and no sound model of padded sequences is accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from wellposed.objective.torch_inverted_masks import inverted_mask
from wellposed.problem import Problem
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.session import Runner

ROWS, LONGEST, WIDTH = 24, 12, 16
LENGTHS = torch.randint(3, LONGEST + 1, (ROWS,), generator=torch.Generator().manual_seed(0))
REAL = torch.arange(LONGEST) < LENGTHS[:, None]
IDS = torch.randint(1, 30, (ROWS, LONGEST), generator=torch.Generator().manual_seed(1)) * REAL
LABELS = IDS[:, 0] % 3

Reader = Callable[["Net", Tensor, Tensor], Tensor]


class Net(nn.Module):
    """Reads embedded ids, and a mask that is true at what it takes for real."""

    def __init__(self, read: Reader, *, inverted: bool = False, given: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.place = nn.Embedding(30, WIDTH), nn.Embedding(LONGEST, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, 0.1, batch_first=True)
        self.qkv, self.score = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, 1)
        self.gru, self.conv = nn.GRU(WIDTH, WIDTH, batch_first=True), nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.head = nn.Linear(WIDTH, 3)
        self.read, self.inverted, self.given = read, inverted, given

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        real = ids != 0 if mask is None else mask.bool()
        x = self.embed(ids) + self.place(torch.arange(ids.shape[1]))
        return self.head(self.read(self, x, ~real if self.inverted else real))


def mean_of(x: Tensor, real: Tensor) -> Tensor:
    weights = real[..., None].float()
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)


def encoded_and_read_first(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return net.layer(x, src_key_padding_mask=~real)[:, 0]


def encoded_and_averaged(net: Net, x: Tensor, real: Tensor) -> Tensor:
    truly = ~real if net.inverted else real
    return mean_of(net.layer(x, src_key_padding_mask=~real), truly)


def by_hand(net: Net, x: Tensor, real: Tensor) -> Tensor:
    q, k, v = net.qkv(x).chunk(3, -1)
    scores = (q @ k.mT / WIDTH**0.5).masked_fill(~real[:, None], -1e9)
    return (scores.softmax(-1) @ v)[:, 0] + x.new_zeros(1)


def fused(net: Net, x: Tensor, real: Tensor) -> Tensor:
    q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in net.qkv(x).chunk(3, -1))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=real[:, None, None])
    return y.transpose(1, 2).flatten(2)[:, 0]


def averaged(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return mean_of(torch.tanh(x), real)


def scored(net: Net, x: Tensor, real: Tensor) -> Tensor:
    weights = net.score(x).masked_fill(~real[..., None], -1e9).softmax(1)
    return (weights * x).sum(1)


def maximum(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return x.masked_fill(~real[..., None], -1e4).amax(1)


def packed(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return net.gru(pack_padded_sequence(x, real.sum(1), batch_first=True, enforce_sorted=False))[1][0]


def last_of_all(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return net.gru(x)[0][:, -1]


def convolved(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return mean_of(net.conv(x.mT).relu().mT, real)


def without_a_mask(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return net.layer(x)[:, 0]


def first_alone(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return torch.tanh(x[:, 0])


def causal(net: Net, x: Tensor, real: Tensor) -> Tensor:
    later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    return net.layer(x, src_mask=later)[:, 0]


def length_alone(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return 0 * x[:, 0] + real.sum(1, keepdim=True) / LONGEST


def by_position(net: Net, x: Tensor, real: Tensor) -> Tensor:
    return net.layer(x, src_key_padding_mask=~real)


MASKED = [encoded_and_read_first, encoded_and_averaged, by_hand, fused, averaged, scored, maximum]
SOUND = [*MASKED, packed, last_of_all, convolved, without_a_mask, first_alone, causal, length_alone]


def found(net: Net, **inputs: Any) -> str | None:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        pooled = outputs if outputs.ndim == 2 else outputs.sum(1)
        return F.cross_entropy(pooled.nan_to_num(), labels)

    problem = Problem(model=net, loss=loss)
    return inverted_mask(Runner(problem), Batch(kwargs={"ids": IDS, **inputs}, targets=LABELS), seed=0)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("read", [*MASKED, by_position], ids=lambda f: f.__name__)
def test_an_inverted_mask_is_found(read: Reader, given: bool) -> None:
    inputs = {"mask": REAL.long()} if given else {}
    assert found(Net(read, inverted=True), **inputs) is not None


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("read", [*SOUND, by_position], ids=lambda f: f.__name__)
def test_no_sound_model_is_accused(read: Reader, given: bool) -> None:
    inputs = {"mask": REAL.float()} if given else {}
    assert found(Net(read), **inputs) is None


def test_a_batch_that_is_not_padded_says_nothing() -> None:
    problem = Problem(model=Net(encoded_and_read_first, inverted=True), loss=F.cross_entropy)
    whole = Batch(kwargs={"ids": IDS.clamp(min=1)}, targets=LABELS)
    assert inverted_mask(Runner(problem), whole, seed=0) is None
