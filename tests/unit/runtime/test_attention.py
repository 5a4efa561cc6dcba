"""How attention spreads its weights, against weights made by hand: fused kernels, masks, one key for several heads."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.runtime.model_trace import AttentionRows
from wellposed.runtime.torch.attention import attention_rows
from wellposed.runtime.torch.graph_nodes import graph_nodes


def drawn(*shape: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def seen(output: torch.Tensor) -> list[AttentionRows]:
    return [rows for node in graph_nodes(output.sum()) if (rows := attention_rows(node)) is not None]


def by_hand(weights: torch.Tensor) -> float:
    keys = (weights > 0).sum(-1)
    entropy = -(weights * weights.clamp(min=1e-30).log()).sum(-1) / keys.clamp(min=2).log()
    return float(entropy[keys >= 4].mean())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1])  # other kernels
def test_fused_attention_shows_the_weights_that_it_never_writes(causal: bool, dropout: float) -> None:
    q, k, v = (drawn(3, 2, 9, 8, scale=2, seed=i) for i in range(3))
    (rows,) = seen(F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout))
    logits = (q @ k.transpose(-1, -2) / math.sqrt(8)).detach()
    if causal:
        logits = logits.masked_fill(torch.ones(9, 9, dtype=torch.bool).triu(1), -math.inf)
    assert rows.entropy / rows.rows == pytest.approx(by_hand(logits.softmax(-1)), rel=1e-5)
    assert rows.rows == 3 * 2 * (6 if causal else 9)  # the first three queries see fewer than four keys
    assert rows.keys == 9


@pytest.mark.parametrize("keys", [4, 16, 64, 1024])
@pytest.mark.parametrize(("std", "least", "most"), [(1, 0.8, 0.94), (3, 0.39, 0.51), (5, 0.23, 0.26)])
def test_the_entropy_tells_the_size_of_the_logits_whatever_the_number_of_keys(
    keys: int, std: int, least: float, most: float
) -> None:
    """What the limit `attention_entropy` rests on."""
    logits = std * torch.randn(1, 4000, keys, generator=torch.Generator().manual_seed(0))
    assert least < by_hand(logits.softmax(-1)) < most


def test_masked_keys_are_no_keys() -> None:
    q, k, v = (drawn(2, 2, 5, 8, seed=i) for i in range(3))
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    mask[1, ..., 3:] = False
    (rows,) = seen(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    assert rows.rows == 2 * 5  # those of the first sample


def test_one_key_for_several_heads() -> None:
    q, k, v = drawn(2, 4, 6, 8), drawn(2, 2, 6, 8, seed=1), drawn(2, 2, 6, 8, seed=2)
    (rows,) = seen(F.scaled_dot_product_attention(q, k, v, enable_gqa=True))
    logits = q @ k.repeat_interleave(2, dim=1).transpose(-1, -2) / math.sqrt(8)
    assert rows.entropy / rows.rows == pytest.approx(by_hand(logits.detach().softmax(-1)), rel=1e-5)


def test_rows_that_rest_on_their_heads_usual_key_are_counted_apart() -> None:
    logits = torch.zeros(2, 6, 6)
    logits[:, 1:, 0] = 20.0  # a sink
    logits[:, 0, 4] = 20.0
    q, k = logits.requires_grad_(), torch.eye(6).expand(2, 6, 6)
    (rows,) = seen((q @ k).softmax(-1) @ drawn(2, 6, 4))
    assert (rows.rows, rows.moving) == (12, 2)
    assert rows.moving_entropy < 1e-5


def test_rows_that_look_at_their_own_place_are_counted_apart() -> None:
    x = drawn(2, 6, 64, scale=2)
    (rows,) = seen((x @ (1 * x).transpose(-1, -2) / 8).softmax(-1) @ drawn(2, 6, 4))
    assert (rows.rows, rows.moving) == (12, 0)  # queries that are the keys
    q, k, place = drawn(2, 6, 8), drawn(2, 6, 8, seed=1), torch.arange(6)
    steep = -9.0 * (place[:, None] - 1 - place).abs()
    (rows,) = seen((q @ k.transpose(-1, -2) / 8 + steep).softmax(-1) @ drawn(2, 6, 4))
    assert (rows.rows, rows.moving) == (
        12,
        0,
    )  # each at the place before its own, the first at its own: the usual key of two


def test_a_softmax_that_is_no_attention_is_left_alone() -> None:
    x, w = drawn(8, 5, 16), drawn(16, 12, seed=1)
    assert seen((x @ w).softmax(-1) @ drawn(8, 12, 3)) == []  # soft assignment to learned centres
    assert seen(F.gumbel_softmax(x, tau=0.1)) == []
    experts = nn.Parameter(drawn(12, 16, seed=1).detach())
    assert seen(torch.einsum("ntd,ed->nte", x, 9 * experts).softmax(-1) @ drawn(8, 12, 3)) == []


class Block(nn.Module):
    """Attention by hand, its queries and keys drawn `wide` times as wide as they should be."""

    def __init__(self, wide: float) -> None:
        super().__init__()
        self.qk, self.v, self.head = nn.Linear(32, 64, bias=False), nn.Linear(32, 32), nn.Linear(32, 3)
        nn.init.normal_(self.qk.weight, std=wide / math.sqrt(32))
        self.position = nn.Parameter(torch.zeros(10, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = self.qk(x + self.position).chunk(2, -1)
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(32), -1)
        return self.head((weights @ self.v(x)).mean(1))


def checked(wide: float) -> wp.Report:
    torch.manual_seed(0)
    x = torch.randn(256, 10, 32)
    y = x[:, :, :3].sum(1).argmax(1)
    model = Block(wide)
    return wp.check(model, F.cross_entropy, (x, y), optimizer=torch.optim.Adam(model.parameters(), 1e-3))


def test_attention_that_starts_at_one_key_is_found_where_its_queries_are_made() -> None:
    report = checked(4.0)
    (finding,) = [f for f in report.findings if f.code == "WP205"]
    assert (finding.where, finding.severity) == ("qk", wp.Severity.WARNING)


def test_attention_that_looks_around_is_fine_and_is_measured() -> None:
    report = checked(1.0)
    assert "WP205" in report.passed
    signals: Any = report.measurements["signal"]
    (attention,) = signals.attention
    assert 0.8 < attention.entropy < 1
    assert "qk" in str(signals).split("attention")[1]
