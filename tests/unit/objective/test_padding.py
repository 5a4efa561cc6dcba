"""Padding that the inputs mark must not matter: architectures that keep to it, and the usual ways of forgetting it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import wellposed as wp
from wellposed.objective.torch_padding import padding_effect
from wellposed.problem import Problem
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.session import Runner

LIMIT = wp.Limits().padding_effect
ROWS, LONGEST, WIDTH = 24, 14, 16


def sequences(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids, padded with 0, and how many of them are real."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, LONGEST + 1, (ROWS,), generator=generator)
    ids = torch.randint(1, 30, (ROWS, LONGEST), generator=generator)
    return ids.masked_fill(torch.arange(LONGEST) >= lengths[:, None], 0), lengths


def effect(model: nn.Module, **inputs: Any) -> float | None:
    model.eval()
    return padding_effect(Runner(Problem(model=model)), Batch(kwargs=inputs), seed=0)


def mask_of(lengths: Tensor) -> Tensor:
    return (torch.arange(LONGEST) < lengths[:, None]).long()


class Encoder(nn.Module):
    """A transformer that reads ids and their mask; `attends` and `pools` say whether each part uses the mask."""

    def __init__(self, *, attends: bool = True, pools: bool = True, by_token: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(30, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, 0.1, batch_first=True)
        self.head = nn.Linear(WIDTH, 3)
        self.attends, self.pools, self.by_token = attends, pools, by_token

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.layer(
            self.embed(input_ids), src_key_padding_mask=attention_mask == 0 if self.attends else None
        )
        if self.by_token:
            return self.head(hidden)
        weights = attention_mask[..., None].float() if self.pools else torch.ones_like(hidden[..., :1])
        return self.head((hidden * weights).sum(1) / weights.sum(1))


class Recurrent(nn.Module):
    """Reads the last state, of packed sequences or of padded ones."""

    def __init__(self, *, packed: bool, by_token: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(30, WIDTH)
        self.rnn = nn.GRU(WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * WIDTH, 3)
        self.packed, self.by_token = packed, by_token

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        x: Any = self.embed(ids)
        if self.packed:
            x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, last = self.rnn(x)
        if self.by_token:
            return self.head(pad_packed_sequence(states, batch_first=True)[0] if self.packed else states)
        return self.head(torch.cat([last[0], last[1]], 1))


class Convolution(nn.Module):
    """Pools what is real, but reads over its end."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(30, WIDTH, padding_idx=0)
        layers = (nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()) * 3
        self.convolutions, self.head = nn.Sequential(*layers), nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.convolutions(self.embed(ids).mT)
        weights = attention_mask[:, None].float()
        return self.head((hidden * weights).sum(2) / weights.sum(2))


@pytest.mark.parametrize("by_token", [False, True])
def test_padding_that_is_masked_does_not_matter(by_token: bool) -> None:
    ids, lengths = sequences()
    masked = effect(Encoder(by_token=by_token), input_ids=ids, attention_mask=mask_of(lengths))
    packed = effect(Recurrent(packed=True, by_token=by_token), ids=ids, lengths=lengths)
    assert masked is not None
    assert masked < 1e-4
    assert packed is not None
    assert packed < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_a_convolution_that_reads_over_the_end_matters_little(seed: int) -> None:
    ids, lengths = sequences(seed)
    found = effect(Convolution(), ids=ids, attention_mask=mask_of(lengths))
    assert found is not None
    assert found < LIMIT


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("forgotten", ["attends", "pools"])
def test_padding_that_is_attended_or_averaged_matters(forgotten: str, seed: int) -> None:
    ids, lengths = sequences(seed)
    model = Encoder(**{forgotten: False})  # pyright: ignore[reportArgumentType]
    found = effect(model, input_ids=ids, attention_mask=mask_of(lengths))
    assert found is not None
    assert found > LIMIT


def test_padding_that_a_recurrent_layer_reads_matters() -> None:
    ids, lengths = sequences()
    found = effect(Recurrent(packed=False), ids=ids, lengths=lengths)
    assert found is not None
    assert found > LIMIT


def test_a_mask_that_is_one_on_padding_is_understood() -> None:
    class Upside(Encoder):
        def forward(self, input_ids: Tensor, ignored: Tensor) -> Tensor:
            return super().forward(input_ids, (~ignored).long())

    ids, lengths = sequences()
    found = effect(Upside(), input_ids=ids, ignored=mask_of(lengths) == 0)
    assert found is not None
    assert found < 1e-4


@pytest.mark.parametrize(
    "inputs",
    [
        lambda ids, lengths: {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        lambda ids, lengths: {"input_ids": ids.flip(1), "attention_mask": mask_of(lengths).flip(1)},
        lambda ids, lengths: {
            "input_ids": torch.randint(1, 30, ids.shape, generator=torch.Generator().manual_seed(1)),
            "attention_mask": mask_of(lengths),
        },
    ],
    ids=["nothing is padded", "padded in front", "something stands behind the mask"],
)
def test_where_padding_is_not_known_nothing_is_said(inputs: Any) -> None:
    assert effect(Encoder(attends=False), **inputs(*sequences())) is None
