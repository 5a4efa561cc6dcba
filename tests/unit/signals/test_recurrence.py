"""How much of the first step is left at the last: against what is known of the recurrence, and for loops written by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wellposed as wp
from wellposed.signals import RecurrentSignal

STEPS, WIDTH = 12, 32


class Read(nn.Module):
    """A recurrent layer, read at its last step."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (1 + layer.bidirectional), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.layer.batch_first:
            return self.head(self.layer(x.transpose(0, 1))[0][-1])
        return self.head(self.layer(x)[0][:, -1])


class Looped(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell, self.head = cell, nn.Linear(WIDTH, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class OwnCell(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.inner, self.state = nn.Linear(4, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
        nn.init.orthogonal_(self.state.weight)
        with torch.no_grad():
            self.state.weight.mul_(scale)

    def forward(self, x: torch.Tensor, state: torch.Tensor | None) -> torch.Tensor:
        new = self.inner(x)
        return new if state is None else new + self.state(state)


def measured(model: nn.Module) -> tuple[RecurrentSignal, ...]:
    x = torch.randn(64, STEPS, 4, generator=torch.Generator().manual_seed(0))
    return wp.measure_signals(model, F.mse_loss, (x, x[:, 0, :1])).recurrence


def linear_rnn(scale: float, *, batch_first: bool = True) -> nn.RNN:
    """Whose state is rotated and scaled at each step: small inputs keep tanh in its linear part."""
    layer = nn.RNN(4, WIDTH, batch_first=batch_first, bias=False)
    nn.init.orthogonal_(layer.weight_hh_l0)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(scale)
        layer.weight_ih_l0.mul_(1e-3)
    return layer


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.3])
def test_the_gain_of_a_linear_recurrence_is_its_scale(scale: float, batch_first: bool) -> None:
    torch.manual_seed(0)
    (found,) = measured(Read(linear_rnn(scale, batch_first=batch_first)))
    assert (found.where, found.kind, found.steps) == ("layer", "RNN", STEPS)
    assert found.gain == pytest.approx(scale, rel=0.1)
    assert found.remembered == pytest.approx(scale ** (STEPS - 1), rel=0.5)


@pytest.mark.parametrize("scale", [0.5, 1.3])
def test_a_cell_called_in_a_loop_is_followed_from_call_to_call(scale: float) -> None:
    torch.manual_seed(0)
    (found,) = measured(Looped(OwnCell(scale)))
    assert (found.where, found.steps) == ("cell", STEPS)
    assert found.gain == pytest.approx(scale, rel=1e-3)


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_torchs_own_cells_are_followed(cell: type[nn.Module]) -> None:
    torch.manual_seed(0)
    (found,) = measured(Looped(cell(4, WIDTH)))
    assert 0.2 < found.gain < 1


def test_a_forget_gate_that_is_open_remembers_more() -> None:
    torch.manual_seed(0)
    open_gate = nn.LSTM(4, WIDTH, batch_first=True)
    with torch.no_grad():
        open_gate.bias_ih_l0[WIDTH : 2 * WIDTH] = 3.0
    torch.manual_seed(0)
    (closed,), (opened,) = measured(Read(nn.LSTM(4, WIDTH, batch_first=True))), measured(Read(open_gate))
    assert opened.remembered > 100 * closed.remembered
    assert closed.forget_bias == pytest.approx(0, abs=0.1)
    assert opened.forget_bias == pytest.approx(3, abs=0.1)


def test_of_a_bidirectional_layer_the_forward_half_is_followed() -> None:
    torch.manual_seed(0)
    (found,) = measured(Read(nn.GRU(4, WIDTH, batch_first=True, bidirectional=True)))
    assert 0.2 < found.gain < 1


def test_what_is_called_again_on_other_inputs_is_no_recurrence() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.head = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(sum(self.each(x[:, t]) for t in range(STEPS)))

    assert measured(Shared()) == ()


def test_a_model_without_recurrence_has_none() -> None:
    assert measured(nn.Sequential(nn.Flatten(), nn.Linear(4 * STEPS, 1))) == ()
