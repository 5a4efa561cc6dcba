"""Outputs that see later inputs, and rows of weights that the loss never reads: exact tests, held against sound relatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wellposed as wp
from wellposed.objective.torch_connections import train_eval_gap, unused_slices
from wellposed.objective.torch_positions import future_leak, order_effect
from wellposed.runtime.torch.batch import Batch
from wellposed.runtime.torch.restore import preserved
from wellposed.runtime.torch.session import Runner
from wellposed.runtime.torch.trace import trace

TEXT = torch.randint(0, 9, (16, 13), generator=torch.Generator().manual_seed(0))
LIMIT = wp.Limits().future_leak


class Attends(nn.Module):
    """One attention layer, whose mask lets a position see so many of those after it."""

    def __init__(self, ahead: int = 0, *, flat: bool = False, time_first: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.qkv, self.head = nn.Embedding(9, 24), nn.Linear(24, 72), nn.Linear(24, 9)
        self.ahead, self.flat, self.time_first = ahead, flat, time_first

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens.t() if self.time_first else tokens)
        q, k, v = self.qkv(x).chunk(3, -1)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(self.ahead)
        y = self.head(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        y = y.transpose(0, 1) if self.time_first else y
        return y.flatten(0, 1) if self.flat else y


def leak(model: nn.Module, inputs: Tensor, targets: Tensor) -> float | None:
    runner = Runner(wp.Problem(model=model, loss=F.cross_entropy))
    with preserved(model):
        return future_leak(runner, Batch(args=(inputs,), targets=targets), seed=0)


@pytest.mark.parametrize("ahead", [1, 2, 13])
def test_a_mask_that_lets_later_tokens_through_is_seen(ahead: int) -> None:
    found = leak(Attends(ahead), TEXT[:, :-1], TEXT[:, 1:])
    assert found is not None
    assert found > 10 * LIMIT


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (Attends(), lambda t: t),
        (Attends(flat=True), lambda t: t),
        (Attends(time_first=True), Tensor.t),
        (Attends(time_first=True, flat=True), Tensor.t),
    ],
)
def test_a_causal_model_is_exact(model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    assert leak(model, change(TEXT[:, :-1]), change(TEXT[:, 1:])) == 0


class Reads(nn.Module):
    """Tokens, in one of several ways; `place` holds positions, if there are any."""

    def __init__(self, read: str, *, place: Tensor | None = None, layers: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(9, 24), nn.Linear(24, 9)
        self.place = None if place is None else nn.Parameter(place)
        layer = nn.TransformerEncoderLayer(24, 2, 48, 0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.cell, self.conv = nn.GRU(24, 24, batch_first=True), nn.Conv1d(24, 24, 3)
        self.read = read

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        x = x if self.place is None else x + self.place
        return self.head(getattr(self, self.read)(x))

    def attended(self, x: Tensor) -> Tensor:
        return self.layers(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True)

    def averaged(self, x: Tensor) -> Tensor:
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]

    def recurrent(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]

    def convolved(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x.mT, (2, 0))).mT

    def decayed(self, x: Tensor) -> Tensor:
        far = torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])
        return (0.8 ** far.clamp(min=0)).tril() @ x

    def alone(self, x: Tensor) -> Tensor:
        return x


def effect_of_order(model: nn.Module) -> float | None:
    runner = Runner(wp.Problem(model=model, loss=F.cross_entropy))
    return order_effect(runner, Batch(args=(TEXT[:, :-1],), targets=TEXT[:, 1:]), seed=0)


@pytest.mark.parametrize("read", ["attended", "averaged"])
def test_order_that_no_output_sees_is_found(read: str) -> None:
    found = effect_of_order(Reads(read))
    assert found is not None
    assert found < wp.Limits().order_effect / 10


@pytest.mark.parametrize(
    "model",
    [
        Reads("attended", place=torch.randn(12, 24)),
        Reads("attended", place=0.01 * torch.randn(12, 24)),
        Reads("attended", place=torch.zeros(12, 24)),
        Reads("attended", layers=2),  # the mask tells later layers how far they are
        Reads("recurrent"),
        Reads("convolved"),
        Reads("decayed"),
    ],
)
def test_order_that_outputs_see_is_no_fault(model: nn.Module) -> None:
    before = [p.detach().clone() for p in model.parameters()]
    found = effect_of_order(model)
    assert found is not None
    assert found > 50 * wp.Limits().order_effect
    assert all(map(torch.equal, before, model.parameters()))


def test_a_model_of_pairs_is_not_asked() -> None:
    assert effect_of_order(Reads("alone")) is None


def test_time_first_leaks_are_seen_and_flat_targets_are_read() -> None:
    model = Attends(1, time_first=True, flat=True)
    found = leak(model, TEXT[:, :-1].t(), TEXT[:, 1:].t().flatten())
    assert found is not None
    assert found > 10 * LIMIT


def test_a_prefix_whose_targets_do_not_count_may_be_seen_from_everywhere() -> None:
    class Prefix(Attends):
        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embed(tokens)
            q, k, v = self.qkv(x).chunk(3, -1)
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
            mask[:4, :4] = True
            return self.head(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))

    targets = TEXT[:, 1:].clone()
    targets[:, :4] = -100
    assert leak(Prefix(), TEXT[:, :-1], targets) == 0


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (TEXT[:, :-1], TEXT[:, :-1]),  # copied, not shifted
        (TEXT[:, :-1], TEXT.flip(0)[:, 1:]),
        (torch.zeros_like(TEXT[:, 1:]), torch.zeros_like(TEXT[:, 1:])),  # shifted or not, it is the same
        (TEXT[:, :3], TEXT[:, 1:4]),
        (TEXT[:1, :-1], TEXT[:1, 1:]),
    ],
)
def test_nothing_is_said_where_the_targets_are_not_surely_the_next_inputs(
    inputs: Tensor, targets: Tensor
) -> None:
    assert leak(Attends(13), inputs, targets) is None


def test_a_forecast_of_real_values_is_judged_too() -> None:
    class Forecast(nn.Module):
        def __init__(self, *, both_ways: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.cell = nn.GRU(3, 8, batch_first=True, bidirectional=both_ways)
            self.head = nn.Linear(16 if both_ways else 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cell(x)[0])

    series = torch.randn(16, 13, 3, generator=torch.Generator().manual_seed(0)).cumsum(1)
    sound, sick = (leak(Forecast(both_ways=b), series[:, :-1], series[:, 1:]) for b in (False, True))
    assert sound == 0
    assert sick is not None
    assert sick > 10 * LIMIT


# --- rows that nothing reads

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def unused(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
) -> list[tuple[str, int, int]]:
    runner = Runner(wp.Problem(model=model, loss=loss))
    batches = [Batch(args=(X[:32],), targets=Y[:32]), Batch(args=(X[32:],), targets=Y[32:])]
    with preserved(model):
        first = trace(runner, batches, seed=0)
        with torch.no_grad():
            for parameter in model.parameters():  # as steps would
                parameter.add_(0.1 * torch.randn_like(parameter))
        later = trace(runner, batches, seed=0)
        moved = {n: p.detach().clone() for n, p in model.named_parameters()}
        found = unused_slices(runner, batches, first, later, seed=0)
        assert all(torch.equal(p, moved[n]) for n, p in model.named_parameters())
    return [(u.name, u.start, u.stop) for u in found]


class Fused(nn.Module):
    def __init__(self, a: int, b: int, c: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.qkv, self.head, self.taken = nn.Linear(8, 36), nn.Linear(12, 3), (a, b, c)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, -1)
        a, b, c = (parts[i] for i in self.taken)
        return self.head(a.relu() + b.tanh() * c)


def test_a_slice_that_is_never_taken_is_named() -> None:
    assert unused(Fused(0, 1, 1)) == [("qkv.weight", 24, 36)]
    assert unused(Fused(0, 2, 2)) == [("qkv.weight", 12, 24)]
    assert unused(Fused(0, 1, 2)) == []


def test_outputs_that_enter_no_term_of_the_loss_are_named() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 9))
    assert unused(model, lambda o, y: F.cross_entropy(o[:, :3], y)) == [("2.weight", 3, 9)]
    assert unused(model) == []


def test_rows_of_tables_that_are_looked_up_are_not_judged() -> None:
    class Codes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table, self.positions = nn.Embedding(50, 8), nn.Parameter(torch.randn(32, 8))
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            codes = (x > 0).long()
            return self.head((self.table(codes) + self.positions[: codes.shape[1]]).mean(1))

    assert unused(Codes()) == []


def test_what_a_closed_gate_hides_is_not_accused() -> None:
    class Modulated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body, self.modulation, self.head = nn.Linear(8, 8), nn.Linear(8, 24), nn.Linear(8, 3)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

        def forward(self, x: Tensor) -> Tensor:
            shift, scale, gate = self.modulation(x).chunk(3, -1)
            return self.head(x + gate * self.body(x * (1 + scale) + shift))

    assert unused(Modulated()) == []


def test_dead_units_are_no_unused_slice() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    with torch.no_grad():
        model[0].bias[:16] = -50.0
    assert unused(model) == []


@pytest.mark.parametrize(
    ("momentum", "still"), [(0.1, False), (0.997, False), (1.0, False), (None, False), (0.0, True)]
)
def test_statistics_that_have_arrived_do_not_stand_still(momentum: float | None, still: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=momentum), nn.Linear(6, 1))
    x = torch.randn(32, 4)
    for _ in range(200):
        model(x)
    runner = Runner(wp.Problem(model=model, loss=nn.functional.mse_loss))
    found = train_eval_gap(runner, [Batch(args=(x,), targets=x[:, :1])], passes=1, seed=0)
    assert found["frozen_statistics"] == (("1",) if still else ())
