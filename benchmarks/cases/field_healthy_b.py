"""Healthy problems of the kinds that people bring, and that need more than ``loss(model(x), y)``: half b, drawn at random."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence
from torch.utils.data import DataLoader, IterableDataset

from wellposed import Problem

from .field_parts import (
    Closed,
    Detector,
    GraphNet,
    Output,
    PackedClassifier,
    Poisson1d,
    Rows,
    TwoOutputs,
    boxed,
    collated,
    detection_loss,
    discriminator,
    frame_batches,
    generator,
    graph_loaders,
    keras_on_torch,
    low_rank,
    one_process_group,
    parted,
    pieces,
    ragged,
    ring,
    slope_of,
    whole,
    with_itself,
)
from .healthy_case import BLIND, START, HealthyBook
from .skewed_data import (
    adam,
    as_loader,
    assembled,
    clusters,
    halves,
    mlp,
    one_class,
    pictures,
    smooth,
    token_loss,
)

book = HealthyBook()


@book.case("lbfgs", batches=whole, steps=15)
def lbfgs_with_strong_wolfe_over_one_pair() -> Problem:
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", max_iter=10)

    return assembled(mlp(8, 24, 1, act=nn.Tanh), nn.MSELoss(), smooth(rows=400), optimizer)


@book.case("lbfgs", batches=whole, steps=5)
def lbfgs_fits_a_softmax_regression() -> Problem:
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(model.parameters(), lr=1.0, max_iter=20, line_search_fn="strong_wolfe")

    return assembled(
        nn.Linear(10, 3), nn.CrossEntropyLoss(), clusters(one_class(3, 0.4), 10, rows=300), optimizer
    )


class Judgement(nn.Module):
    """A discriminator with its generator: real points and noise in, two columns of logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.judge = generator(), discriminator()

    def forward(self, real: Tensor, noise: Tensor) -> Tensor:
        return torch.cat([self.judge(real), self.judge(self.make(noise).detach())], 1)


@book.case("gan", constant=lambda free: free.mean(1, keepdim=True).expand(-1, 2))
def discriminator_step_with_a_detached_generator() -> Problem:
    model = Judgement()
    truth = torch.tensor([1.0, 0.0]).expand(1000, 2)
    train, held_out = parted(2 * ring(), torch.randn(1000, 4), truth)
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=as_loader((train[:2], train[2])),
        validation=as_loader((held_out[:2], held_out[2])),
        optimizer=torch.optim.Adam(model.judge.parameters(), lr=2e-3, betas=(0.5, 0.999)),
    )


class Critic(nn.Module):
    """Wasserstein critic with a gradient penalty (Gulrajani et al. 2017); it returns its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.judge = discriminator()

    def forward(self, real: Tensor, made: Tensor) -> Tensor:
        with torch.enable_grad():
            mix = torch.rand(len(real), 1)
            between = (mix * real + (1 - mix) * made).detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.judge(between).sum(), between, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).pow(2).mean()
        return self.judge(made).mean() - self.judge(real).mean() + 10 * penalty


@book.case("penalty", constant=START)
def wasserstein_critic_with_gradient_penalty() -> Problem:
    model = Critic()
    train, held_out = parted(2 * ring(), 0.5 * torch.randn(1000, 2))
    batches = [[{"real": a, "made": b} for a, b in pieces(*part)] for part in (train, held_out)]
    return Problem(
        model=model,
        loss=None,
        train=batches[0],
        validation=batches[1],
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.0, 0.9)),
    )


@book.case("physics", constant=START, steps=500)
def physics_informed_net_with_second_derivatives_in_forward() -> Problem:
    x = 2 * torch.rand(600, 1) - 1
    train, held_out = parted(x, torch.zeros(600, 2))
    model = Poisson1d()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("physics", constant=START, steps=400)
def heat_equation_with_derivatives_in_the_loss() -> Problem:
    """u_t = 0.1 u_xx, u(x, 0) = sin πx; the loss is given the points as its targets and asks the net again."""
    points = torch.rand(800, 2)
    train, held_out = parted(points, points)
    model = mlp(2, 32, 32, 1, act=nn.Tanh)

    def loss(_: Tensor, points: Tensor) -> Tensor:
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            first = slope_of(model(points), points)
            curvature = slope_of(first[:, :1], points)[:, :1]
            start = torch.cat([points[:, :1], torch.zeros_like(points[:, :1])], 1).detach()
            initial = model(start) - torch.sin(math.pi * start[:, :1])
            return (first[:, 1:] - 0.1 * curvature).pow(2).mean() + initial.pow(2).mean()

    return Problem(
        model=model,
        loss=loss,
        train=as_loader(train),
        validation=as_loader(held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("physics")
def hamiltonian_net_with_the_flow_as_output() -> Problem:
    """Greydanus et al. 2019: the derivatives of a learned energy are the outputs; a pendulum."""

    class Hamiltonian(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.energy = mlp(2, 48, 48, 1, act=nn.Tanh)

        def forward(self, state: Tensor) -> Tensor:
            with torch.enable_grad():
                state = state.detach().requires_grad_()
                slope = slope_of(self.energy(state), state)
            return torch.stack([slope[:, 1], -slope[:, 0]], 1)

    state = 1.2 * torch.randn(1000, 2)
    flow = torch.stack([state[:, 1], -torch.sin(state[:, 0])], 1) + 0.05 * torch.randn(1000, 2)
    return assembled(Hamiltonian(), nn.MSELoss(), (state, flow), adam(5e-3), as_loader)


@book.case("distributed", steps=200)
def data_parallel_net_in_one_process() -> Problem:
    """DDP over a gloo group of one."""
    one_process_group()
    model = nn.parallel.DistributedDataParallel(mlp(12, 32, 32, 4))
    return assembled(model, nn.CrossEntropyLoss(), clusters(one_class(4, 0.4), 12), adam(3e-3), as_loader)


@book.case("keras", needs=("keras",))
def keras_sequential_classifier() -> Problem:
    """With Keras's torch backend a model is an nn.Module. On its JAX backend nothing of it can be examined: that
    must be said, and never be a pass."""
    keras = keras_on_torch()
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(48, activation="relu"), keras.layers.Dense(5)]
    )
    return assembled(model, nn.CrossEntropyLoss(), clusters(one_class(5, 0.5), 12), adam(3e-3), as_loader)


@book.case("keras", needs=("keras",))
def keras_functional_regression_with_norm_and_dropout() -> Problem:
    keras = keras_on_torch()
    given = keras.Input((8,))
    hidden = keras.layers.Dense(64, activation="gelu")(keras.layers.LayerNormalization()(given))
    hidden = keras.layers.Dropout(0.1)(keras.layers.Dense(64, activation="gelu")(hidden))
    model = keras.Model(given, keras.layers.Dense(1)(hidden))
    return assembled(model, nn.MSELoss(), smooth(), adam(3e-3), as_loader)


@book.case("keras", needs=("keras",), steps=200)
def keras_convolutions_with_batch_norm() -> Problem:
    keras = keras_on_torch()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(16, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(6),
        ]
    )
    x, y = pictures(one_class(6, 0.4), rows=600)
    return assembled(model, nn.CrossEntropyLoss(), (x.permute(0, 2, 3, 1), y), adam(3e-3), as_loader)


@book.case("keras", needs=("keras",), constant=lambda free: free.softmax(1))
def keras_softmax_with_its_own_cross_entropy() -> Problem:
    """Keras losses take the truth first."""
    keras = keras_on_torch()
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(48, activation="tanh"),
            keras.layers.Dense(4, activation="softmax"),
        ]
    )
    entropy = keras.losses.SparseCategoricalCrossentropy()
    return assembled(
        model, lambda p, y: entropy(y, p), clusters(one_class(4, 0.6), 12), adam(5e-3), as_loader
    )


@book.case("graph", needs=("torch_geometric",), constant=START)
def geometric_batches_with_a_model_that_returns_its_loss() -> Problem:
    """The batch is one object, which the model takes apart."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = GraphNet()

        def forward(self, batch: Any) -> Tensor:
            return F.cross_entropy(self.net(batch), batch.y)

    train, held_out = graph_loaders()
    model = Model()
    return Problem(
        model=model,
        loss=None,
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


def with_labels(loader: Any) -> Iterator[Any]:
    """Graphs, and the labels that they carry."""
    return ((batch, batch.y) for batch in loader)


@book.case("graph", needs=("torch_geometric",), constant=BLIND, batches=with_labels)
def geometric_batches_by_a_loader_with_a_loss() -> Problem:
    """The loss is given the batch's labels by whoever reads the batch: it has a key ``y``."""
    train, held_out = graph_loaders()
    model = GraphNet()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.case("packed", constant=BLIND)
def packed_sequences_as_inputs() -> Problem:
    sequences, labels = ragged()
    batches = [
        (pack_sequence(sequences[i : i + 24], enforce_sorted=False), labels[i : i + 24])
        for i in range(0, 480, 24)
    ]
    model = PackedClassifier()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=batches[:14],
        validation=batches[14:],
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
    )


@book.case("packed", constant=BLIND)
def padded_sequences_with_lengths_packed_inside() -> Problem:
    sequences, labels = ragged()
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    lengths = torch.tensor([len(s) for s in sequences])

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = PackedClassifier()

        def forward(self, padded: Tensor, lengths: Tensor) -> Tensor:
            return self.inner(pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False))

    return assembled(Classifier(), nn.CrossEntropyLoss(), ((padded, lengths), labels), adam(1e-2), as_loader)


@book.case("outputs", constant=BLIND)
def dict_of_logits_and_features() -> Problem:
    class Model(TwoOutputs):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            logits, hidden = super().forward(x)
            return {"logits": logits, "hidden": hidden}

    return assembled(
        Model(),
        lambda out, y: F.cross_entropy(out["logits"], y),
        clusters(one_class(5, 0.5), 12),
        adam(3e-3),
        as_loader,
    )


@book.case("outputs", constant=BLIND)
def recurrent_net_that_returns_its_states() -> Problem:
    x, y = smooth(features=24)
    model = nn.LSTM(4, 16, batch_first=True, proj_size=1)
    return assembled(
        model, lambda out, y: F.mse_loss(2 * out[0][:, -1], y), ((x.view(-1, 6, 4)), y), adam(1e-2), as_loader
    )


@book.case("targets", constant=BLIND)
def batches_with_dicts_of_boxes_and_labels() -> Problem:
    train, held_out = (
        [(x, {"boxes": b, "labels": k}) for x, b, k in pieces(*part)] for part in parted(*boxed())
    )
    model = Detector()
    return Problem(
        model=model,
        loss=detection_loss,
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("data")
def own_dataset_given_as_train() -> Problem:
    return assembled(
        mlp(12, 48, 5, between=nn.BatchNorm1d),
        nn.CrossEntropyLoss(),
        clusters(one_class(5, 0.5), 12),
        adam(3e-3),
        lambda pair: Rows(*pair),
    )


@book.case("data", batches=collated)
def list_of_samples_with_numbers_as_labels() -> Problem:
    return assembled(
        mlp(12, 48, 5),
        nn.CrossEntropyLoss(),
        clusters(one_class(5, 0.5), 12),
        adam(3e-3),
        lambda pair: list(Rows(*pair)),
    )


class Stream(IterableDataset):
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(zip(self.x, self.y, strict=True))


@book.case("data")
def loader_over_an_iterable_dataset() -> Problem:
    return assembled(
        mlp(12, 48, 5),
        nn.CrossEntropyLoss(),
        clusters(one_class(5, 0.5), 12),
        adam(3e-3),
        lambda pair: DataLoader(Stream(*pair), batch_size=32),
    )


@book.case("data", batches=frame_batches)
def numpy_arrays_in_a_pair() -> Problem:
    return assembled(
        mlp(8, 48, 1), nn.MSELoss(), smooth(), adam(3e-3), lambda pair: (pair[0].numpy(), pair[1].numpy())
    )


@book.case("residual")
def closed_residual_branches() -> Problem:
    return assembled(Closed(), nn.CrossEntropyLoss(), clusters(one_class(5, 0.5), 12), adam(2e-3), as_loader)


@book.case("residual", loss=F.cross_entropy)
def closed_residual_branches_without_a_loss() -> Problem:
    """What can be said without a loss must not be an accusation."""
    return assembled(Closed(6), None, clusters(one_class(5, 0.5), 12), adam(2e-3), as_loader)


@book.case("autoencoder", constant=BLIND, steps=500)
def variational_autoencoder_with_a_loss_of_three_outputs() -> Problem:
    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = mlp(16, 48, 8), mlp(4, 48, 16)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, log_var = self.encode(x).chunk(2, 1)
            code = mean + torch.randn_like(mean) * (log_var / 2).exp()
            return self.decode(code), mean, log_var

    def loss(out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
        made, mean, log_var = out
        return F.mse_loss(made, x) - 0.01 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean() / 2

    return assembled(VAE(), loss, with_itself(low_rank()), adam(3e-3), as_loader)


@book.case("autoencoder", constant=BLIND, steps=600)
def vector_quantisation_with_a_straight_through_gradient() -> Problem:
    """van den Oord et al. 2017, eight codes; the commitment is part of the loss."""

    class Quantised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = mlp(12, 32, 4), mlp(4, 32, 12)
            self.codes = nn.Parameter(0.5 * torch.randn(8, 4))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z = self.encode(x)
            code = self.codes[torch.cdist(z, self.codes).argmin(1)]
            gap = (code - z.detach()).pow(2).mean() + 0.25 * (z - code.detach()).pow(2).mean()
            return self.decode(z + (code - z).detach()), gap

    x, _ = clusters(one_class(5, 0.3), 12, apart=2.0)
    return assembled(
        Quantised(), lambda out, x: F.mse_loss(out[0], x) + out[1], (x, x), adam(3e-3), as_loader
    )


class Bootstrap(nn.Module):
    """BYOL: an online net predicts what its moving average makes of the other view (Grill et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.online, self.predict = (
            mlp(24, 48, 16, between=nn.BatchNorm1d),
            mlp(16, 32, 16, between=nn.BatchNorm1d),
        )
        self.average = mlp(24, 48, 16, between=nn.BatchNorm1d).requires_grad_(False)
        self.average.load_state_dict(self.online.state_dict())

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            aim = self.average(second)
        return F.normalize(self.predict(self.online(first)), dim=1), F.normalize(aim, dim=1)


def moving_average(model: Bootstrap) -> torch.optim.Optimizer:
    """Adam for the online net; after every step the average moves by one part in a hundred."""
    parameters = [*model.online.parameters(), *model.predict.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)

    def follow(*_: Any) -> None:
        with torch.no_grad():
            for slow, fast in zip(model.average.parameters(), model.online.parameters(), strict=True):
                slow.lerp_(fast, 0.01)

    optimizer.register_step_post_hook(follow)
    return optimizer


@book.case("teacher", constant=START)
def bootstrapped_views_with_a_moving_average() -> Problem:
    origin = low_rank(1500, 24, 6)
    views = tuple(origin + 0.3 * torch.randn(1500, 24) for _ in range(2))
    return assembled(
        Bootstrap(),
        lambda out, _: (2 - 2 * (out[0] * out[1]).sum(1)).mean(),
        (views, torch.arange(1500)),
        moving_average,  # type: ignore[arg-type]
        as_loader,
    )


@book.case("experts")
def mixture_of_four_experts_with_soft_gates() -> Problem:
    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(12, 4)
            self.experts = nn.ModuleList(mlp(12, 24, 5) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            given = torch.stack([expert(x) for expert in self.experts], 1)
            return (self.gate(x).softmax(1)[:, :, None] * given).sum(1)

    return assembled(Mixture(), nn.CrossEntropyLoss(), clusters(one_class(5, 0.5), 12), adam(3e-3), as_loader)


@book.case("experts", constant=BLIND, steps=400)
def experts_by_the_best_gate_with_a_balance_loss() -> Problem:
    """Fedus et al. 2022: every row goes to one expert, and the loss keeps the experts in use."""

    class Switch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.gate, self.head = nn.Linear(12, 24), nn.Linear(24, 4), nn.Linear(24, 5)
            self.experts = nn.ModuleList(mlp(24, 32, 24) for _ in range(4))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            hidden = F.relu(self.stem(x))
            gates = self.gate(hidden).softmax(1)
            best, which = gates.max(1)
            out = hidden.clone()
            for k, expert in enumerate(self.experts):
                rows = (which == k).nonzero().squeeze(1)
                out = out.index_add(0, rows, best[rows, None] * expert(hidden[rows]))
            balance = 4 * (F.one_hot(which, 4).float().mean(0) * gates.mean(0)).sum()
            return self.head(out), balance

    return assembled(
        Switch(),
        lambda out, y: F.cross_entropy(out[0], y) + 0.01 * out[1],
        clusters(one_class(5, 0.5), 12),
        adam(3e-3),
        partial(as_loader, rows=64),
    )


@book.case("own loss", constant=BLIND)
def model_with_a_dataclass_of_loss_and_logits() -> Problem:
    """As Hugging Face's models: the labels are an argument, the output has a loss."""

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.EmbeddingBag(50, 16), mlp(16, 32, 3)

        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> Output:
            logits = self.head(self.embedding(input_ids) * attention_mask.float().mean(1, keepdim=True))
            return Output(logits, None if labels is None else F.cross_entropy(logits, labels))

    labels = torch.randint(3, (900,))
    tokens = torch.where(
        torch.rand(900, 12) < 0.4,
        3 * torch.randint(5, (900, 12)) + labels[:, None],
        torch.randint(15, 50, (900, 12)),
    )
    batches = [
        {"input_ids": t, "attention_mask": torch.ones_like(t), "labels": k} for t, k in pieces(tokens, labels)
    ]
    model = Classifier()
    return Problem(
        model=model,
        loss=None,
        train=batches[:20],
        validation=batches[20:],
        optimizer=torch.optim.AdamW(model.parameters(), lr=5e-3),
    )


@book.case("own loss", steps=500)
def masked_language_model_with_15_percent_labels() -> Problem:
    """The neighbours tell a token, since sequences count on; -100 where it is not asked for."""
    tokens = (torch.randint(20, (700, 1)) + torch.arange(12)) % 20
    asked = torch.rand(700, 12) < 0.15
    hidden = tokens.masked_fill(asked, 20)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.place = nn.Embedding(21, 24), nn.Parameter(0.1 * torch.randn(12, 24))
            layer = nn.TransformerEncoderLayer(24, 2, 48, dropout=0.0, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(24, 20)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.encoder(self.embedding(tokens) + self.place))

    return assembled(Encoder(), token_loss, (hidden, tokens.masked_fill(~asked, -100)), adam(5e-3), as_loader)


@book.case("policy")
def reinforce_on_recorded_returns_with_an_entropy_bonus() -> Problem:
    """States, and returns of all four actions in them: the loss is the negative expected return of the policy."""
    x = torch.randn(1500, 8)
    returns = x @ torch.randn(8, 4) / 2 + 0.1 * torch.randn(1500, 4)

    def loss(logits: Tensor, returns: Tensor) -> Tensor:
        policy = logits.softmax(1)
        return (
            -(policy * returns).sum(1).mean()
            - 0.01 * torch.distributions.Categorical(policy).entropy().mean()
        )

    return assembled(mlp(8, 48, 4, act=nn.Tanh), loss, (x, returns), adam(3e-3), as_loader)


@book.case("policy", constant=BLIND)
def q_learning_with_a_frozen_target_net() -> Problem:
    """The target net is part of the module; the loss sees the value of the action that was taken."""

    class Q(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.target = mlp(6, 48, 3), mlp(6, 48, 3).requires_grad_(False)

        def forward(self, state: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                best = self.target(following).amax(1)
            return self.net(state), best

    state, following, action = torch.randn(1500, 6), torch.randn(1500, 6), torch.randint(3, (1500,))
    reward = state.gather(1, action[:, None]).squeeze(1) * 1.5

    def loss(out: tuple[Tensor, Tensor], step: Tensor) -> Tensor:
        chosen = out[0].gather(1, step[:, :1].long()).squeeze(1)
        return F.smooth_l1_loss(chosen, step[:, 1] + 0.5 * out[1])

    data = ((state, following), torch.stack([action.float(), reward], 1))
    return assembled(Q(), loss, data, lambda m: torch.optim.Adam(m.net.parameters(), lr=3e-3), as_loader)


@book.case("policy", constant=BLIND)
def actor_and_critic_with_two_outputs() -> Problem:
    class ActorCritic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.actor, self.critic = (
                nn.Sequential(nn.Linear(6, 48), nn.Tanh()),
                nn.Linear(48, 3),
                nn.Linear(48, 1),
            )

        def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.body(state)
            return self.actor(hidden), self.critic(hidden).squeeze(1)

    state, action = torch.randn(2000, 6), torch.randint(3, (2000,))
    gained = 1.5 * state.gather(1, action[:, None]).squeeze(1) + state[:, 3]

    def loss(out: tuple[Tensor, Tensor], step: Tensor) -> Tensor:
        advantage = (step[:, 1] - out[1]).detach().clamp(-2, 2)
        chosen = F.log_softmax(out[0], 1).gather(1, step[:, :1].long()).squeeze(1)
        ratio = (chosen - math.log(1 / 3)).exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        return F.mse_loss(out[1], step[:, 1]) - gain.mean()

    return assembled(
        ActorCritic(), loss, (state, torch.stack([action.float(), gained], 1)), adam(3e-3), as_loader
    )


@book.case("functional", constant=BLIND, steps=300)
def meta_learning_with_an_inner_step() -> Problem:
    """MAML (Finn et al. 2017): a step on five points of a line, the loss on others of the same line."""

    class Meta(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(1, 24, 1, act=nn.Tanh)

        def forward(self, seen_x: Tensor, seen_y: Tensor, asked: Tensor) -> Tensor:
            with torch.enable_grad():
                return torch.stack([self.adapted(*task) for task in zip(seen_x, seen_y, asked, strict=True)])

        def adapted(self, x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
            weights = dict(self.net.named_parameters())
            inner = F.mse_loss(torch.func.functional_call(self.net, weights, (x,)), y)
            slopes = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
            moved = {name: w - 0.1 * g for (name, w), g in zip(weights.items(), slopes, strict=True)}
            return torch.func.functional_call(self.net, moved, (asked,))

    slope, height = torch.randn(160, 1, 1), torch.randn(160, 1, 1)
    x = 2 * torch.rand(160, 10, 1) - 1
    y = slope * x + height
    return assembled(
        Meta(),
        nn.MSELoss(),
        ((x[:, :5], y[:, :5], x[:, 5:]), y[:, 5:]),
        adam(5e-3),
        partial(as_loader, rows=8),
    )


@book.case("quantised")
def training_with_fake_quantisation() -> Problem:
    """Weights and activations of eight bits, with a straight-through gradient."""

    class Quantised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(12, 48), nn.Linear(48, 5)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.rounded(F.relu(F.linear(x, self.rounded(self.first.weight), self.first.bias)))
            return F.linear(hidden, self.rounded(self.second.weight), self.second.bias)

        def rounded(self, values: Tensor) -> Tensor:
            scale = float(values.detach().abs().max()) / 127 + 1e-8
            return torch.fake_quantize_per_tensor_affine(values, scale, 0, -128, 127)

    return assembled(
        Quantised(), nn.CrossEntropyLoss(), clusters(one_class(5, 0.5), 12), adam(3e-3), as_loader
    )


@book.case("wrapped", steps=200)
def compiled_with_the_eager_backend() -> Problem:
    model = torch.compile(mlp(12, 48, 5), backend="eager")
    return assembled(model, nn.CrossEntropyLoss(), clusters(one_class(5, 0.5), 12), adam(3e-3), as_loader)  # type: ignore[arg-type]


@book.case("complex")
def complex_valued_net() -> Problem:
    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.randn(32, 9, dtype=torch.cfloat) / 3)
            self.head = nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.log1p((torch.fft.rfft(x, norm="ortho") @ self.first.T).abs()))

    labels = torch.randint(3, (900,))
    phase = 6.283 * torch.rand(900, 1)
    x = torch.sin((1 + labels[:, None]) * torch.linspace(0, 6.283, 17)[:16] + phase) + 0.5 * torch.randn(
        900, 16
    )
    return assembled(Complex(), nn.CrossEntropyLoss(), (x, labels), adam(5e-3), as_loader)


@book.case("wrapped")
def model_as_a_plain_function_of_modules() -> Problem:
    """A callable, not a module."""
    body, head = nn.Sequential(nn.Linear(12, 48), nn.ReLU()), nn.Linear(48, 5)
    train, held_out = halves(clusters(one_class(5, 0.5), 12))

    def model(x: Tensor) -> Tensor:
        return head(body(x))

    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=as_loader(train),
        validation=as_loader(held_out),
        optimizer=torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3),
    )
