"""Both halves of a GAN, each with the step that trains it.

``wellposed check examples/gan.py:discriminator`` and ``wellposed check examples/gan.py:generator``.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader

import wellposed as wp

LATENT = 16


def networks() -> tuple[nn.Module, nn.Module, DataLoader]:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(LATENT, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh())
    critic = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    digits = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
    return generator, critic, DataLoader(digits, batch_size=64, shuffle=True)


def discriminator() -> wp.Problem:
    generator, critic, digits = networks()

    def step(real: Tensor) -> Tensor:
        fake = generator(torch.randn(len(real), LATENT)).detach()
        return F.softplus(-critic(real)).mean() + F.softplus(critic(fake)).mean()

    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    return wp.Problem(model=step, train=digits, optimizer=optimizer, name="discriminator")


def generator() -> wp.Problem:
    generator, critic, digits = networks()

    def step(real: Tensor) -> Tensor:
        return F.softplus(-critic(generator(torch.randn(len(real), LATENT)))).mean()

    optimizer = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    return wp.Problem(model=step, train=digits, optimizer=optimizer, name="generator")
