"""A denoiser of points on a spiral, handed over as its training step. ``wellposed check examples/diffusion.py:problem``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import wellposed as wp

STEPS = 200
KEPT = torch.cos(torch.linspace(0.02, 1.55, STEPS)) ** 2  # of the signal's variance, by time


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 + 16, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 2)
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] / STEPS * torch.exp(torch.linspace(0, 4, 8))
        return self.net(torch.cat([x, angles.sin(), angles.cos()], 1))


def points(count: int) -> Tensor:
    turn = torch.rand(count) * 3 + 0.3
    x = torch.stack([turn * (2 * turn).cos(), turn * (2 * turn).sin()], 1) + 0.05 * torch.randn(count, 2)
    return (x - x.mean(0)) / x.std(0)


def problem() -> wp.Problem:
    torch.manual_seed(0)
    model = Denoiser()

    def step(x: Tensor) -> Tensor:
        time = torch.randint(STEPS, (len(x),))
        noise, kept = torch.randn_like(x), KEPT[time][:, None]
        return F.mse_loss(model(kept.sqrt() * x + (1 - kept).sqrt() * noise, time), noise)

    batches = DataLoader(points(2000), batch_size=128, shuffle=True)
    return wp.Problem(
        model=step, train=batches, optimizer=torch.optim.Adam(model.parameters(), lr=2e-3), name="diffusion"
    )
