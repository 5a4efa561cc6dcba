"""Cases that only count: nobody who writes rules reads them: healthy, part 5."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wellposed import Problem

from . import data
from .book import Book

book = Book()


class ConvAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(12, 16, 3, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(64, 10),
        )
        self.decoder = nn.Sequential(
            nn.Linear(10, 64),
            nn.LeakyReLU(0.2),
            nn.Unflatten(1, (16, 2, 2)),
            nn.ConvTranspose2d(16, 12, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(12, 1, 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


@book.healthy
def denoising_autoencoder() -> Problem:
    clean, _ = data.digit_images()
    noisy = (clean + 0.2 * torch.randn(clean.shape, generator=data.seeded())).clamp(0, 1)
    train, held_out = data.split(noisy, clean)
    model = ConvAutoencoder()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=data.loader(*train, batch_size=64),
        validation=data.loader(*held_out, batch_size=64),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )
