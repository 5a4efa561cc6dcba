"""Two noisy views of each digit, pulled together and apart from all others. ``wellposed check examples/contrastive.py:problem``."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import wellposed as wp


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(self.body(first), dim=1), F.normalize(self.body(second), dim=1)


def info_nce(views: tuple[Tensor, Tensor], _: Tensor) -> Tensor:
    """Which of the others is my other view? The targets are not used: a row's partner is its label."""
    similarity = views[0] @ views[1].T / 0.2
    partner = torch.arange(len(similarity))
    return (F.cross_entropy(similarity, partner) + F.cross_entropy(similarity.T, partner)) / 2


def problem() -> wp.Problem:
    torch.manual_seed(0)
    x = torch.tensor(load_digits().data, dtype=torch.float32) / 16 - 0.3
    first, second = (x + 0.15 * torch.randn_like(x) for _ in range(2))
    model = Encoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return wp.Problem(
        model=model,
        loss=info_nce,
        train=((first, second), torch.arange(len(x))),
        optimizer=optimizer,
        name="contrastive",
    )
