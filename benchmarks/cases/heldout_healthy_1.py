"""Cases that only count: nobody who writes rules reads them: healthy, part 1."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wellposed import Problem

from . import data
from .book import Book

book = Book()


class CosineClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 24))
        self.prototypes = nn.Parameter(torch.randn(10, 24))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, x: Tensor) -> Tensor:
        cosine = F.normalize(self.encoder(x), dim=1) @ F.normalize(self.prototypes, dim=1).T
        return self.log_scale.exp() * cosine


@book.healthy
def cosine_classifier_with_learned_temperature() -> Problem:
    train, held_out = data.split(*data.digit_rows())
    model = CosineClassifier()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class Distilled(nn.Module):
    def __init__(self, teacher: nn.Module):
        super().__init__()
        self.teacher = teacher.requires_grad_(False)
        self.student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            soft = self.teacher(x)
        return self.student(x), soft


@book.healthy
def distillation_from_a_frozen_teacher() -> Problem:
    x, labels = data.digit_rows()
    teacher = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-2)
    for start in range(0, 1600, 50):
        optimizer.zero_grad()
        F.cross_entropy(teacher(x[start : start + 50]), labels[start : start + 50]).backward()
        optimizer.step()
    teacher.zero_grad()

    def loss(outputs: tuple[Tensor, Tensor], hard: Tensor) -> Tensor:
        student, soft = outputs
        kl = F.kl_div(
            F.log_softmax(student / 2, 1), F.log_softmax(soft / 2, 1), log_target=True, reduction="batchmean"
        )
        return 4 * 0.7 * kl + 0.3 * F.cross_entropy(student, hard)

    train, held_out = data.split(x, labels)
    model = Distilled(teacher)
    return Problem(
        model=model,
        loss=loss,
        train=data.loader(*train, batch_size=48),
        validation=data.loader(*held_out, batch_size=48),
        optimizer=torch.optim.Adam(model.student.parameters(), lr=5e-3),
    )


@book.healthy
def clipped_policy_gradient_on_logged_actions() -> Problem:
    """PPO's objective with an entropy bonus: the loss starts at about zero and falls below it."""
    g = data.seeded(20)
    state = torch.randn(1000, 6, generator=g)
    best = (state @ torch.randn(6, 4, generator=g)).argmax(1)
    action = torch.randint(4, (1000,), generator=g)
    reward = (action == best).float() + 0.1 * torch.randn(1000, generator=g)
    advantage = (reward - reward.mean()) / reward.std()
    train, held_out = data.split(state, torch.stack([action.float(), advantage], 1))

    def clipped(logits: Tensor, logged: Tensor) -> Tensor:
        policy = torch.distributions.Categorical(logits=logits)
        ratio = torch.exp(policy.log_prob(logged[:, 0]) - math.log(0.25))
        gain = torch.minimum(ratio * logged[:, 1], ratio.clamp(0.5, 1.5) * logged[:, 1])
        return -gain.mean() - 0.01 * policy.entropy().mean()

    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))
    return Problem(
        model=model,
        loss=clipped,
        train=data.loader(*train, batch_size=50),
        validation=data.loader(*held_out, batch_size=50),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


class DeepQ(nn.Module):
    """The online net learns; the target net is a copy that only sets the goals."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nn.Sequential(nn.Linear(5, 48), nn.ReLU(), nn.Linear(48, 3))
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, state: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        return self.online(state), self.target(following).amax(1).detach()


@book.healthy
def q_learning_with_a_target_net() -> Problem:
    g = data.seeded(21)
    state, following = torch.randn(1000, 5, generator=g), torch.randn(1000, 5, generator=g)
    action = torch.randint(3, (1000,), generator=g)
    reward = (state @ torch.randn(5, 3, generator=g)).gather(1, action[:, None])[:, 0]
    batches = [
        ((state[i : i + 50], following[i : i + 50]), (action[i : i + 50], reward[i : i + 50]))
        for i in range(0, 1000, 50)
    ]

    def temporal_difference(outputs: tuple[Tensor, Tensor], played: tuple[Tensor, Tensor]) -> Tensor:
        values, goal = outputs
        chosen = values.gather(1, played[0][:, None])[:, 0]
        return F.smooth_l1_loss(chosen, played[1] + 0.9 * goal)

    model = DeepQ()
    return Problem(
        model=model,
        loss=temporal_difference,
        train=batches[:16],
        validation=batches[16:],
        optimizer=torch.optim.Adam(model.online.parameters(), lr=5e-3),
    )


class TopTwoExperts(nn.Module):
    """Each example goes to two of eight experts, so a batch may leave an expert without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 32)
        self.router = nn.Linear(32, 8, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 32)) for _ in range(8)
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.stem(x))
        weight, chosen = self.router(x).topk(2, 1)
        weight = weight.softmax(1)
        mixed = torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            row, slot = (chosen == index).nonzero(as_tuple=True)
            if len(row):
                mixed = mixed.index_add(0, row, weight[row, slot, None] * expert(x[row]))
        return self.head(x + mixed)


@book.healthy
def mixture_of_experts() -> Problem:
    train, held_out = data.split(*data.digit_rows())
    model = TopTwoExperts()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=data.loader(*train, batch_size=32),
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class GCN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        hidden = F.relu(adjacency @ self.first(features))
        return adjacency @ self.second(F.dropout(hidden, 0.5, self.training))


@book.healthy
def graph_convolution_on_the_full_graph() -> Problem:
    """One batch, the whole graph: that nodes hear of their neighbours is meant."""
    features, adjacency, labels = data.community_graph()
    hidden_labels = labels.clone()
    hidden_labels[torch.randperm(150, generator=data.seeded())[:100]] = -100
    model = GCN()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(ignore_index=-100),
        train=[((features, adjacency), hidden_labels)],
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-4),
    )


class Denoiser(nn.Module):
    """Draws its own step and noise, and returns its own loss (Ho et al. 2020)."""

    def __init__(self, steps: int = 50):
        super().__init__()
        self.time = nn.Embedding(steps, 16)
        self.net = nn.Sequential(
            nn.Linear(2 + 16, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        )
        kept = torch.cumprod(1 - torch.linspace(1e-3, 0.15, steps), 0)
        self.register_buffer("kept", kept)

    def forward(self, x: Tensor) -> Tensor:
        step = torch.randint(len(self.kept), (len(x),))  # type: ignore[arg-type]
        noise = torch.randn_like(x)
        kept = self.kept[step, None]  # type: ignore[index]
        noisy = kept.sqrt() * x + (1 - kept).sqrt() * noise
        return F.mse_loss(self.net(torch.cat([noisy, self.time(step)], 1)), noise)


@book.healthy
def diffusion_returns_its_own_loss() -> Problem:
    g = data.seeded(22)
    angle = 2 * math.pi * torch.rand(800, generator=g)
    ring = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(800, 2, generator=g)
    model = Denoiser()
    return Problem(
        model=model,
        train=[{"x": ring[i : i + 80]} for i in range(0, 640, 80)],
        validation=[{"x": ring[640:720]}, {"x": ring[720:]}],
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )


class Sine(nn.Module):
    """sin(30 (Wx + b)) with the initialization of Sitzmann et al. 2020."""

    def __init__(self, fan_in: int, fan_out: int, *, first: bool = False):
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out)
        bound = 1 / fan_in if first else math.sqrt(6 / fan_in) / 30
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * self.linear(x))


@book.healthy
def sinusoidal_network() -> Problem:
    xy, colour = data.painting()
    train, held_out = data.split(xy, 2 * colour - 1)
    last = nn.Linear(48, 3)
    nn.init.uniform_(last.weight, -math.sqrt(6 / 48) / 30, math.sqrt(6 / 48) / 30)
    model = nn.Sequential(Sine(2, 48, first=True), Sine(48, 48), Sine(48, 48), last)
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-4),
    )


class VariationalAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(48, 6), nn.Linear(48, 6)
        self.decoder = nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        entropy = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(1)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        return (entropy + divergence).mean()


@book.healthy
def variational_autoencoder_returns_its_own_loss() -> Problem:
    x, _ = data.digit_rows()
    model = VariationalAutoencoder()
    return Problem(
        model=model,
        train=data.loader(x[:1400], batch_size=50),
        validation=data.loader(x[1400:], batch_size=50),
        optimizer=torch.optim.Adam(model.parameters(), lr=2e-3),
    )
