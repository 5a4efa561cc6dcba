"""Healthy problems of the kinds that people bring, and that need more than ``loss(model(x), y)``: half a, drawn at random."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from wellposed import Problem

from .field_parts import (
    GAN,
    Decoder,
    Detector,
    ForceField,
    GraphNet,
    Output,
    PackedClassifier,
    Poisson1d,
    Twins,
    TwoOutputs,
    all_at_once,
    boxed,
    collated,
    detection_loss,
    discriminator,
    energy_and_forces,
    frame_batches,
    generator,
    graph_loaders,
    low_rank,
    molecules,
    one_process_group,
    parted,
    pieces,
    ragged,
    ring,
    taught,
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
    sgd,
    smooth,
    text,
    token_loss,
)

book = HealthyBook()


@book.case("lbfgs", batches=whole, steps=30)
def lbfgs_over_one_pair() -> Problem:
    """The default step sizes would leap without a line search; a rate of 0.2 does not."""
    return assembled(
        mlp(8, 24, 1, act=nn.Tanh),
        nn.MSELoss(),
        smooth(rows=400),
        lambda m: torch.optim.LBFGS(m.parameters(), lr=0.2),
    )


@book.case("gan", constant=START)
def generator_step_of_a_gan_in_one_module() -> Problem:
    """The discriminator is part of the module and has an optimizer of its own."""
    model = GAN()
    taught(model.judge, model.make)
    train, held_out = parted(torch.randn(1000, 4), torch.ones(1000, 1))
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=as_loader(train),
        validation=as_loader(held_out),
        optimizer=torch.optim.Adam(model.make.parameters(), lr=1e-3, betas=(0.5, 0.999)),
    )


@book.case("gan", constant=START)
def generator_step_with_the_discriminator_in_the_loss() -> Problem:
    make, judge = generator(), discriminator()
    taught(judge, make)
    train, held_out = parted(torch.randn(1000, 4), torch.ones(1000, 1))
    return Problem(
        model=make,
        loss=lambda made, real: F.binary_cross_entropy_with_logits(judge(made), real),
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(make.parameters(), lr=1e-3, betas=(0.5, 0.999)),
    )


@book.case("optimizers", constant=START, train=all_at_once)
def list_of_two_optimizers_for_encoder_and_head() -> Problem:
    """SGD for the body, Adam for the head; they step together."""
    train, held_out = halves(clusters(one_class(5, 0.5), 12))
    model = mlp(12, 48, 5)
    optimizers = [
        torch.optim.SGD(model[0].parameters(), lr=0.1),
        torch.optim.Adam(model[2].parameters(), lr=3e-3),
    ]
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=as_loader(train),
        validation=as_loader(held_out),
        optimizer=optimizers,
    )


def in_turn(problem: Problem, steps: int) -> None:
    """Generator and discriminator by turns, each with its own optimizer and its own loss."""
    of_make, of_judge = problem.optimizer
    model = problem.model
    for _ in range(steps):
        real, made = model.judge(ring(64)), model.judge(model.make(torch.randn(64, 4)).detach())
        of_judge.zero_grad()
        (F.softplus(-real).mean() + F.softplus(made).mean()).backward()
        of_judge.step()
        of_make.zero_grad()
        F.softplus(-model.judge(model.make(torch.randn(64, 4)))).mean().backward()
        of_make.step()


@book.case("gan", constant=START, steps=200, train=in_turn)
def gan_with_a_list_of_two_optimizers() -> Problem:
    """What is measured is the generator's loss; its discriminator has been taught, the game goes on from there."""
    model = GAN()
    taught(model.judge, model.make)
    train, held_out = parted(torch.randn(1000, 4), torch.ones(1000, 1))
    optimizers = [
        torch.optim.Adam(model.make.parameters(), lr=2e-3, betas=(0.5, 0.999)),
        torch.optim.Adam(model.judge.parameters(), lr=5e-4, betas=(0.5, 0.999)),
    ]
    return Problem(
        model=model,
        loss=nn.BCEWithLogitsLoss(),
        train=as_loader(train),
        validation=as_loader(held_out),
        optimizer=optimizers,
    )


class WithSlope(nn.Module):
    """Logits, and the norm of their gradient at the inputs."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = self.body(x)
            (slope,) = torch.autograd.grad(logits.logsumexp(1).sum(), x, create_graph=True)
        return logits, slope.pow(2).sum(1)


@book.case("penalty", constant=BLIND)
def double_backpropagation_smooths_a_classifier() -> Problem:
    """Drucker and LeCun 1992: the loss holds the input gradient."""
    return assembled(
        WithSlope(mlp(12, 48, 6, act=nn.SiLU)),
        lambda out, y: F.cross_entropy(out[0], y) + 0.01 * out[1].mean(),
        clusters(one_class(6, 0.4), 12),
        adam(3e-3),
        as_loader,
    )


@book.case("penalty", constant=START)
def r1_penalty_in_the_loss_of_a_discriminator() -> Problem:
    """The loss asks the discriminator again, for its slope at the real points."""
    model = discriminator()
    truth = torch.cat([torch.ones(500, 1), torch.zeros(500, 1)])
    points = torch.cat([2 * ring(500), 0.7 * torch.randn(500, 2)])
    order = torch.randperm(1000)
    train, held_out = parted(points[order], torch.cat([truth, points], 1)[order])

    def loss(logits: Tensor, both: Tensor) -> Tensor:
        truth, x = both[:, :1], both[:, 1:].detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad((model(x) * truth).sum(), x, create_graph=True)
        return F.binary_cross_entropy_with_logits(logits, truth) + 0.05 * slope.pow(2).sum(1).mean()

    return Problem(
        model=model,
        loss=loss,
        train=as_loader(train),
        validation=as_loader(held_out),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("physics", constant=START, steps=15, batches=whole)
def physics_informed_net_with_lbfgs() -> Problem:
    x = 2 * torch.rand(300, 1) - 1
    train, held_out = parted(x, torch.zeros(300, 2))
    model = Poisson1d()
    return Problem(
        model=model,
        loss=nn.MSELoss(),
        train=train,
        validation=held_out,
        optimizer=torch.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe", max_iter=20),
    )


@book.case("force field", constant=BLIND, steps=400)
def force_field_over_batches_with_two_targets() -> Problem:
    train, held_out = ([(p, (e, f)) for p, e, f in pieces(*part)] for part in parted(*molecules()))
    model = ForceField()
    return Problem(
        model=model,
        loss=energy_and_forces,
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("force field", constant=BLIND, steps=400)
def force_field_over_one_pair_with_two_targets() -> Problem:
    (p, e, f), (p2, e2, f2) = parted(*molecules())
    model = ForceField()
    return Problem(
        model=model,
        loss=energy_and_forces,
        train=(p, (e, f)),
        validation=(p2, (e2, f2)),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("force field", steps=400)
def forces_alone_with_positions_that_want_gradients() -> Problem:
    """The forward pass asks for gradients at its input itself, as older force fields do."""

    class Forces(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = ForceField()

        def forward(self, positions: Tensor) -> Tensor:
            positions = positions.clone().requires_grad_(True)
            return self.field(positions)[1]

    positions, _, forces = molecules()
    return assembled(Forces(), nn.MSELoss(), (positions, forces), adam(3e-3), as_loader)


@book.case("distributed", steps=200)
def fully_sharded_net_in_one_process() -> Problem:
    """FSDP2 over a gloo group of one."""
    from torch.distributed.fsdp import fully_shard

    one_process_group()
    model = mlp(12, 32, 32, 4)
    fully_shard(model[2])
    fully_shard(model)
    return assembled(model, nn.CrossEntropyLoss(), clusters(one_class(4, 0.4), 12), adam(3e-3), as_loader)


@book.case("distributed", steps=200)
def fully_sharded_transformer_layer_by_layer() -> Problem:
    from torch.distributed.fsdp import fully_shard

    one_process_group()
    windows = text(30, length=10, rows=400)
    model = Decoder(30)
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    return assembled(model, token_loss, (windows[:, :-1], windows[:, 1:]), adam(5e-3), as_loader)


@book.case("graph", needs=("torch_geometric",), constant=BLIND)
def geometric_batches_in_pairs_with_labels() -> Problem:
    train, held_out = graph_loaders()
    model = GraphNet()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=[(batch, batch.y) for batch in train],
        validation=[(batch, batch.y) for batch in held_out],
        optimizer=torch.optim.Adam(model.parameters(), lr=5e-3),
    )


@book.case("graph", needs=("torch_geometric",), constant=START)
def geometric_net_over_one_graph_with_a_mask() -> Problem:
    """All nodes in one batch; labels of half of them are known, the others are held out."""
    from torch_geometric.nn import GCNConv

    class Nodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = GCNConv(8, 24), GCNConv(24, 4)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            return self.second(F.relu(self.first(x, edges)), edges)

    labels = torch.randint(4, (200,))
    ends = torch.randint(200, (2, 4000))
    edges = ends[:, (labels[ends[0]] == labels[ends[1]]) | (torch.rand(4000) < 0.1)]
    x = torch.randn(4, 8)[labels] + torch.randn(200, 8)
    hidden = torch.rand(200) < 0.5
    model = Nodes()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(ignore_index=-100),
        train=[((x, edges), labels.masked_fill(hidden, -100))],
        validation=[((x, edges), labels.masked_fill(~hidden, -100))],
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-4),
    )


def collate_packed(samples: list[Any]) -> tuple[PackedSequence, Tensor]:
    return pack_sequence([s for s, _ in samples], enforce_sorted=False), torch.stack([y for _, y in samples])


@book.case("packed", constant=BLIND)
def loader_that_packs_in_its_collate_function() -> Problem:
    samples = list(zip(*ragged(), strict=True))
    model = PackedClassifier()
    return Problem(
        model=model,
        loss=nn.CrossEntropyLoss(),
        train=DataLoader(samples[:340], batch_size=20, shuffle=True, collate_fn=collate_packed),
        validation=DataLoader(samples[340:], batch_size=20, collate_fn=collate_packed),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
    )


@book.case("outputs", constant=BLIND)
def tuple_of_logits_and_features() -> Problem:
    return assembled(
        TwoOutputs(),
        lambda out, y: F.cross_entropy(out[0], y),
        clusters(one_class(5, 0.5), 12),
        adam(3e-3),
        as_loader,
    )


@book.case("outputs", constant=BLIND)
def dataclass_of_logits() -> Problem:
    class Model(TwoOutputs):
        def forward(self, x: Tensor) -> Output:
            return Output(super().forward(x)[0])

    return assembled(
        Model(),
        lambda out, y: F.cross_entropy(out.logits, y),
        clusters(one_class(5, 0.5), 12),
        adam(3e-3),
        as_loader,
    )


MeanAndSpread = namedtuple("MeanAndSpread", "mean spread")


@book.case("outputs", constant=BLIND)
def namedtuple_of_mean_and_spread() -> Problem:
    """A Gaussian likelihood with a spread for every row."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp(8, 48, 2)

        def forward(self, x: Tensor) -> MeanAndSpread:
            out = self.body(x)
            return MeanAndSpread(out[:, :1], F.softplus(out[:, 1:]) + 0.05)

    return assembled(
        Model(),
        lambda out, y: F.gaussian_nll_loss(out.mean, y, out.spread**2),
        smooth(),
        adam(3e-3),
        as_loader,
    )


@book.case("targets", constant=BLIND)
def pair_with_targets_and_weights() -> Problem:
    (x, y), (x2, y2) = halves(smooth())
    weights, weights2 = torch.rand(len(y), 1), torch.rand(len(y2), 1)
    model = mlp(8, 64, 1)
    return Problem(
        model=model,
        loss=lambda out, truth: (truth[1] * (out - truth[0]) ** 2).sum() / truth[1].sum(),
        train=(x, (y, weights)),
        validation=(x2, (y2, weights2)),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("targets", constant=BLIND)
def pair_with_a_dict_of_boxes_and_labels() -> Problem:
    (x, b, k), (x2, b2, k2) = parted(*boxed())
    model = Detector()
    return Problem(
        model=model,
        loss=detection_loss,
        train=(x, {"boxes": b, "labels": k}),
        validation=(x2, {"boxes": b2, "labels": k2}),
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("targets", constant=START)
def detector_of_lists_that_returns_its_losses() -> Problem:
    """As torchvision's detectors: lists of images and of dicts in, a loss out."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Detector()

        def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
            truth = {k: torch.stack([t[k] for t in targets]) for k in ("boxes", "labels")}
            return detection_loss(self.net(torch.stack(images)), truth)

    batches = [
        {"images": list(x), "targets": [{"boxes": c, "labels": j} for c, j in zip(b, k, strict=True)]}
        for x, b, k in pieces(*boxed())
    ]
    model = Model()
    return Problem(
        model=model,
        loss=None,
        train=batches[:13],
        validation=batches[13:],
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("data")
def tensor_dataset_given_as_train() -> Problem:
    return assembled(
        mlp(12, 48, 5),
        nn.CrossEntropyLoss(),
        clusters(one_class(5, 0.5), 12),
        adam(3e-3),
        lambda pair: TensorDataset(*pair),
    )


@book.case("data", batches=collated)
def list_of_samples_with_tensors_as_targets() -> Problem:
    return assembled(
        mlp(8, 48, 1), nn.MSELoss(), smooth(), adam(3e-3), lambda pair: list(zip(*pair, strict=True))
    )


@book.case("data", needs=("pandas",), batches=frame_batches)
def data_frame_with_a_series_of_labels() -> Problem:
    import pandas

    def tables(pair: Any) -> Any:
        columns = [f"feature_{k}" for k in range(12)]
        return pandas.DataFrame(pair[0].numpy(), columns=columns), pandas.Series(
            pair[1].numpy(), name="label"
        )

    return assembled(
        mlp(12, 48, 5), nn.CrossEntropyLoss(), clusters(one_class(5, 0.5), 12), adam(3e-3), tables
    )


@book.case("residual", loss=F.cross_entropy, steps=200)
def residual_convolutions_with_zero_gamma_without_a_loss() -> Problem:
    """Goyal et al. 2017: the last norm of every branch starts at zero."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(
                nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16),
            )  # fmt: skip
            nn.init.zeros_(self.branch[-1].weight)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x + self.branch(x))

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), Block(), nn.MaxPool2d(2), Block(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
        nn.Linear(144, 6),
    )  # fmt: skip
    return assembled(model, None, pictures(one_class(6, 0.4)), sgd(0.05), as_loader)


@book.case("autoencoder", steps=400)
def weight_tied_autoencoder() -> Problem:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 16) / 4)
            self.hidden, self.visible = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(16))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(torch.tanh(F.linear(x, self.weight, self.hidden)), self.weight.T, self.visible)

    return assembled(Tied(), nn.MSELoss(), with_itself(low_rank()), adam(5e-3), as_loader)


@book.case("diffusion", constant=START, steps=400)
def diffusion_with_noise_sampled_in_the_loss() -> Problem:
    """The loss draws time and noise and asks the model; the outputs at the data themselves are not used."""

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(3, 64, 64, 2, act=nn.SiLU)

        def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
            time = torch.zeros(len(x), 1) if time is None else time
            return self.net(torch.cat([x, time], 1))

    denoiser = Denoiser()

    def loss(_: Tensor, x: Tensor) -> Tensor:
        time, noise = torch.rand(len(x), 1), torch.randn_like(x)
        angle = time * math.pi / 2
        return F.mse_loss(denoiser(angle.cos() * x + angle.sin() * noise, time), noise)

    return assembled(denoiser, loss, with_itself(ring(1500)), adam(3e-3), as_loader)


@book.case("diffusion", constant=START, steps=400)
def diffusion_model_that_returns_prediction_and_noise() -> Problem:
    class Diffusion(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp(3, 64, 64, 2, act=nn.SiLU)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            angle, noise = torch.rand(len(x), 1) * math.pi / 2, torch.randn_like(x)
            return self.net(torch.cat([angle.cos() * x + angle.sin() * noise, angle], 1)), noise

    return assembled(
        Diffusion(), lambda out, _: F.mse_loss(*out), with_itself(ring(1500)), adam(3e-3), as_loader
    )


@book.case("metric", constant=BLIND)
def siamese_net_with_contrastive_loss() -> Problem:
    """Hadsell et al. 2006: pairs of the same class are drawn together, others apart up to a margin."""
    x, y = clusters(one_class(5, 0.2), 12, rows=2000, apart=1.5)
    other = torch.where(
        torch.rand(2000) < 0.5, y.argsort()[torch.searchsorted(y.sort().values, y)], torch.randperm(2000)
    )
    same = (y == y[other]).float()

    def loss(out: tuple[Tensor, Tensor], same: Tensor) -> Tensor:
        gap = (out[0] - out[1]).pow(2).sum(1).add(1e-8).sqrt()
        return (same * gap**2 + (1 - same) * F.relu(1 - gap) ** 2).mean()

    return assembled(Twins(), loss, ((x, x[other]), same), adam(2e-3), as_loader)


@book.case("metric", constant=START)
def triplets_without_targets_of_their_own() -> Problem:
    """The targets are the labels of the anchors, which the loss does not need."""
    x, y = clusters(one_class(5, 0.2), 12, rows=1500, apart=1.2)
    by_label = [(y == k).nonzero().squeeze(1) for k in range(5)]
    positive = torch.stack([by_label[k][torch.randint(len(by_label[k]), ())] for k in y.tolist()])
    negative = torch.stack(
        [
            by_label[j][torch.randint(len(by_label[j]), ())]
            for j in ((y + torch.randint(1, 5, y.shape)) % 5).tolist()
        ]
    )
    margin = nn.TripletMarginLoss(margin=1.0)
    return assembled(
        Twins(), lambda out, _: margin(*out), ((x, x[positive], x[negative]), y), adam(2e-3), as_loader
    )


@book.case("teacher", constant=BLIND)
def student_of_a_frozen_teacher() -> Problem:
    """The teacher is part of the module, takes no gradient and is not in the optimizer."""

    class Distilled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.teacher, self.student = mlp(12, 96, 96, 5).requires_grad_(False), mlp(12, 24, 5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                teaching = self.teacher(x)
            return self.student(x), teaching

    def loss(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        learned, taught_ = out
        soft = F.kl_div(F.log_softmax(learned / 2, 1), F.softmax(taught_ / 2, 1), reduction="batchmean")
        return 0.5 * F.cross_entropy(learned, y) + 2 * soft

    data = clusters(one_class(5, 0.4), 12)
    model = Distilled()
    model.teacher.requires_grad_(True)
    optimizer = torch.optim.Adam(model.teacher.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model.teacher(data[0][:900]), data[1][:900]).backward()
        optimizer.step()
    model.teacher.requires_grad_(False)
    model.zero_grad()
    return assembled(
        model, loss, data, lambda m: torch.optim.Adam(m.student.parameters(), lr=3e-3), as_loader
    )


@book.case("flow", constant=START, steps=400)
def normalising_flow_that_returns_its_likelihood() -> Problem:
    """Four affine couplings (Dinh et al. 2017); nats below those of the start."""

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.couplings = nn.ModuleList(mlp(1, 32, 32, 2) for _ in range(6))

        def forward(self, x: Tensor) -> Tensor:
            log_volume = x.new_zeros(len(x))
            for coupling in self.couplings:
                kept, moved = x[:, :1], x[:, 1:]
                scale, shift = coupling(kept).chunk(2, 1)
                scale = 2 * torch.tanh(scale)
                log_volume = log_volume + scale.squeeze(1)
                x = torch.cat([moved * scale.exp() + shift, kept], 1)
            return (0.5 * x.pow(2).sum(1) + math.log(2 * math.pi) - log_volume).mean()

    train, held_out = (pieces(part[0]) for part in parted(2 * ring(1500)))
    model = Flow()
    return Problem(
        model=model,
        loss=None,
        train=train,
        validation=held_out,
        optimizer=torch.optim.Adam(model.parameters(), lr=3e-3),
    )


@book.case("flow")
def neural_ode_by_euler_steps() -> Problem:
    class Flowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = mlp(2, 32, 2, act=nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(10):
                x = x + 0.1 * self.slope(x)
            return x

    x = torch.randn(1000, 2)
    turned = x @ torch.tensor([[math.cos(1.0), math.sin(1.0)], [-math.sin(1.0), math.cos(1.0)]])
    return assembled(
        Flowing(), nn.MSELoss(), (x, turned + 0.02 * torch.randn(1000, 2)), adam(5e-3), as_loader
    )


@book.case("functional", steps=500)
def hypernetwork_makes_the_weights_of_a_small_net() -> Problem:
    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.make = mlp(2, 32, 8 * 1 + 8 + 8 + 1)
            self.size = 8

        def forward(self, task: Tensor, x: Tensor) -> Tensor:
            first, bias, second, last = self.make(task).split([8, 8, 8, 1], 1)
            hidden = torch.tanh(x * first + bias)
            return (hidden * second).sum(1, keepdim=True) + last

    task, x = torch.randn(1500, 2), 2 * torch.randn(1500, 1)
    y = task[:, :1] * torch.sin(x) + task[:, 1:]
    return assembled(Hyper(), nn.MSELoss(), ((task, x), y), adam(5e-3), as_loader)


@book.case("adapters", steps=400)
def low_rank_adapters_that_start_at_zero() -> Problem:
    """LoRA (Hu et al. 2021): the trained net is frozen, B is zero; the task has moved."""

    class Adapted(nn.Module):
        def __init__(self, base: nn.Linear, rank: int = 4) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
            self.b = nn.Parameter(torch.zeros(base.out_features, rank))

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + 2 * x @ self.a.T @ self.b.T

    x, y = clusters(one_class(5, 0.3), 12, rows=2000)
    trained = mlp(12, 48, 5)
    optimizer = torch.optim.Adam(trained.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(trained(x[:500]), y[:500]).backward()
        optimizer.step()
    trained.zero_grad()
    model = nn.Sequential(Adapted(trained[0]), trained[1], Adapted(trained[2]))  # type: ignore[arg-type]
    moved = x @ torch.linalg.qr(torch.randn(12, 12))[0]
    return assembled(
        model,
        nn.CrossEntropyLoss(),
        (moved, y),
        lambda m: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=5e-3),
        as_loader,
    )


@book.case("wrapped")
def checkpointed_blocks() -> Problem:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([mlp(12, 48, 48), mlp(48, 48, 48)])
            self.head = nn.Linear(48, 5)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = F.relu(checkpoint(block, x, use_reentrant=False))  # type: ignore[arg-type]
            return self.head(x)

    return assembled(
        Checkpointed(), nn.CrossEntropyLoss(), clusters(one_class(5, 0.5), 12), adam(2e-3), as_loader
    )


@book.case("sparse", steps=400)
def sparse_embeddings_with_sparse_adam() -> Problem:
    """A word's own effect, summed over the bag; the bag is all the parameters there are."""
    tokens = torch.randint(60, (1500, 8))
    scores = torch.randn(60)[tokens].mean(1) * 8**0.5
    labels = (scores > 0).float()[:, None]

    return assembled(
        nn.EmbeddingBag(60, 1, mode="mean", sparse=True),
        lambda out, y: F.binary_cross_entropy_with_logits(3 * out, y),
        (tokens, labels),
        lambda m: torch.optim.SparseAdam(m.parameters(), lr=2e-2),
        as_loader,
    )


class Uncertain(nn.Module):
    """A loss with parameters of its own: two tasks weighed by their learned spread (Kendall et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_var = nn.Parameter(torch.zeros(2))

    def forward(self, out: Tensor, y: Tensor) -> Tensor:
        each = (out - y).pow(2).mean(0)
        return (each * (-self.log_var).exp() + self.log_var).sum() / 2 + 1


@book.case("own loss")
def loss_with_parameters_in_the_same_optimizer() -> Problem:
    loss = Uncertain()

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam([*model.parameters(), *loss.parameters()], lr=5e-3)

    return assembled(mlp(8, 64, 2), loss, smooth(2), optimizer, as_loader)


@book.case("packed", constant=BLIND)
def packed_sequences_in_and_padded_logits_out() -> Problem:
    """A tagger: the running sum of the first value is above zero, or not; padding is ignored."""
    sequences, _ = ragged()
    tags = nn.utils.rnn.pad_sequence([(s[:, 0].cumsum(0) > 0).long() for s in sequences], True, -100)
    batches = []
    for i in range(0, 480, 24):
        packed = pack_sequence(sequences[i : i + 24], enforce_sorted=False)
        longest = max(len(s) for s in sequences[i : i + 24])
        batches.append((packed, tags[i : i + 24, :longest]))

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(3, 24, batch_first=True), nn.Linear(24, 2)

        def forward(self, packed: PackedSequence) -> Tensor:
            return self.head(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0])

    model = Tagger()
    return Problem(
        model=model,
        loss=token_loss,
        train=batches[:14],
        validation=batches[14:],
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-2),
    )
