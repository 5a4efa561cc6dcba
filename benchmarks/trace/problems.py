"""Small random problems that combine what ordinary training code uses; the seed decides everything.

A problem is a network, an optimizer, a form of data, and up to four extras that keep state of their own. All objects of
the program are held in ``Program.held``, so that the whole of it can be printed before and after a call.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate

import wellposed as wp

from . import faults, state_module
from .kind import Case, Kind

SAMPLES, CLASSES = 16, 3

NOISE = torch.Generator()
SEEN: list[int] = []
TOTALS: dict[str, float] = {}

Side = Callable[[torch.Tensor], torch.Tensor]


@dataclass(eq=False)
class Program:
    """The parts of a user's program while it is being drawn.

    Parameters
    ----------
    rng
        Draws all choices.
    held
        Every object of the program, by name.
    sides
        What the model does to its features in each forward pass, besides its layers.
    row_sides
        What the dataset does to each row that is read.
    after_step
        What the loop does after each step.
    """

    rng: random.Random
    held: dict[str, Any] = field(default_factory=dict)
    sides: list[Side] = field(default_factory=list)
    row_sides: list[Side] = field(default_factory=list)
    loss_sides: list[Callable[[torch.Tensor], torch.Tensor]] = field(default_factory=list)
    after_step: list[Callable[[], Any]] = field(default_factory=list)


def drawn_problem(seed: int) -> Kind:
    """A random problem as a kind whose probe holds the whole program."""
    return Kind(f"problem {seed}", lambda: _build(seed), (), whole=True)


def _build(seed: int) -> Case:
    program = Program(random.Random(seed))
    inputs = draw_into(program)
    held, whole = program.held, everything(program)
    problem = wp.Problem(
        model=held["model"], loss=held["loss"], train=held["data"], optimizer=held["optimizer"]
    )
    return Case(
        problem=problem,
        probe=whole,
        after_step=lambda: [action() for action in program.after_step],
        inputs=(inputs,),
    )


def draw_into(program: Program) -> torch.Tensor:
    """Draw the parts of a program; returns all inputs."""
    rng = program.rng
    _reset_globals()
    core, inputs, targets = rng.choice(NETWORKS)(rng)
    model = Model(core, _width(core, inputs), program.sides)
    optimizer = rng.choice(OPTIMIZERS)(model)
    loss = Loss(program.loss_sides)
    program.held |= {"model": model, "optimizer": optimizer, "loss": loss}
    schedule = rng.choice(SCHEDULES)
    if schedule is not None and not isinstance(optimizer, torch.optim.LBFGS):
        program.held["scheduler"] = scheduler = schedule(optimizer)
        program.after_step.append(scheduler.step)
    for extra in rng.sample(EXTRAS, rng.randint(0, 4)):
        extra(program)
    program.held["data"] = rng.choice(DATA)(program, inputs, targets)
    return inputs


def everything(program: Program) -> Callable[[], Any]:
    """What reads all state of a program."""
    whole = {
        "program": program.held,
        "NOISE": NOISE,
        "SEEN": SEEN,
        "TOTALS": TOTALS,
        "state_module": [state_module.GENERATOR, state_module.CALLS, state_module.SCALE],
    }

    return lambda: whole | {"passes": Model.passes, "steps": state_module.Settings.steps}


def _width(core: nn.Module, inputs: torch.Tensor) -> int:
    with torch.no_grad():
        width = core.eval()(inputs).shape[1]
    if isinstance(core, _Last):
        core.hidden = None
    core.train()
    return width


def _reset_globals() -> None:
    NOISE.manual_seed(0)
    SEEN.clear()
    TOTALS.clear()
    Model.passes = 0
    state_module.GENERATOR.manual_seed(0)
    state_module.CALLS.update(forward=0)
    state_module.SCALE.fill_(1)
    state_module.Settings.steps = 0


class Model(nn.Module):
    """The drawn layers, and what else the forward pass does."""

    passes = 0

    def __init__(self, core: nn.Module, width: int, sides: list[Side]) -> None:
        super().__init__()
        self.core = core
        self.head = nn.Linear(width, CLASSES)
        self.sides = sides

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        faults.arrive("model")
        features = self.core(inputs)
        for side in self.sides:
            features = side(features)
        return self.head(features)


class Loss:
    """Cross-entropy, and what else the loss does."""

    def __init__(self, sides: list[Side]) -> None:
        self.sides = sides

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        faults.arrive("loss")
        loss = nn.functional.cross_entropy(outputs, targets)
        for side in self.sides:
            loss = side(loss)
        return loss


class Rows(Dataset):
    """Rows, and what else happens when one is read."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor, sides: list[Side]) -> None:
        self.inputs, self.targets, self.sides = inputs, targets, sides

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        faults.arrive("data")
        row = self.inputs[index]
        for side in self.sides:
            row = side(row)
        return row, self.targets[index]


class Batches:
    """The user's own iterable: another order in every epoch."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.epoch = rows, 0

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        self.epoch += 1
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(self.epoch))
        for part in order.split(len(self.rows) // 2):
            yield default_collate([self.rows[i] for i in part.tolist()])


# Networks: layers, inputs and targets.

Drawn = tuple[nn.Module, torch.Tensor, torch.Tensor]


def _labelled(core: nn.Module, inputs: torch.Tensor) -> Drawn:
    return core, inputs, torch.arange(len(inputs)) % CLASSES


def _mlp(rng: random.Random) -> Drawn:
    width, layers = rng.choice((4, 8)), []
    features = 5
    for _ in range(rng.randint(1, 3)):
        layers += [nn.Linear(features, width), rng.choice((nn.ReLU, nn.Tanh, nn.GELU))()]
        layers += rng.choice(([], [nn.BatchNorm1d(width)], [nn.Dropout(0.3)], [nn.LayerNorm(width)]))
        features = width
    return _labelled(nn.Sequential(*layers), torch.randn(SAMPLES, 5))


def _cnn(rng: random.Random) -> Drawn:
    norm = rng.choice((nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.Dropout2d(0.2), nn.Identity()))
    layers = [nn.Conv2d(1, 3, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    inputs = torch.randn(SAMPLES, 1, 6, 6)
    core: nn.Module = nn.Sequential(*layers)
    if rng.random() < 0.3:
        core = core.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last)
    return _labelled(core, inputs)


class _Last(nn.Module):
    """The last output of a recurrent layer, which may carry its hidden state over to the next batch."""

    def __init__(self, layer: nn.Module, *, keeps: bool) -> None:
        super().__init__()
        self.layer, self.keeps, self.hidden = layer, keeps, None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        fits = self.hidden is not None and self.hidden.shape[1] == len(inputs)
        start = self.hidden if self.keeps and fits and self.hidden.dtype == inputs.dtype else None
        outputs, hidden = self.layer(inputs, start)
        self.hidden = hidden.detach() if self.keeps else None
        return outputs[:, -1]


def _rnn(rng: random.Random) -> Drawn:
    layer = rng.choice((nn.RNN, nn.GRU))(3, 5, batch_first=True)
    return _labelled(_Last(layer, keeps=rng.random() < 0.3), torch.randn(SAMPLES, 4, 3))


def _attention(rng: random.Random) -> Drawn:
    dropout = rng.choice((0.0, 0.1))
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=dropout, batch_first=True, norm_first=True)
    return _labelled(nn.Sequential(layer, nn.Flatten()), torch.randn(SAMPLES, 3, 4))


NETWORKS: tuple[Callable[[random.Random], Drawn], ...] = (_mlp, _mlp, _cnn, _rnn, _attention)

OPTIMIZERS: tuple[Callable[[nn.Module], torch.optim.Optimizer], ...] = (
    lambda model: torch.optim.SGD(model.parameters(), lr=0.05),
    lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True),
    lambda model: torch.optim.Adam(model.parameters(), lr=0.01),
    lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, amsgrad=True),
    lambda model: torch.optim.RMSprop(model.parameters(), lr=0.01),
    lambda model: torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3),
)

SCHEDULES: tuple[Any, ...] = (
    None,
    lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5),
    lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5),
    lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step),
)


# Forms of data.


def _rows(program: Program, inputs: torch.Tensor, targets: torch.Tensor) -> Rows:
    return Rows(inputs, targets, program.row_sides)


def _pair(program: Program, inputs: torch.Tensor, targets: torch.Tensor) -> Any:
    return inputs, targets


def _loader(program: Program, inputs: torch.Tensor, targets: torch.Tensor) -> Any:
    return DataLoader(_rows(program, inputs, targets), batch_size=8, shuffle=program.rng.random() < 0.7)


def _loader_with_generator(program: Program, inputs: torch.Tensor, targets: torch.Tensor) -> Any:
    generator = torch.Generator().manual_seed(5)
    return DataLoader(_rows(program, inputs, targets), batch_size=8, shuffle=True, generator=generator)


def _batches(program: Program, inputs: torch.Tensor, targets: torch.Tensor) -> Any:
    return Batches(_rows(program, inputs, targets))


DATA = (_pair, _loader, _loader, _loader_with_generator, _batches)


# Extras: state that ordinary programs keep beside the model.


def _average_hook(program: Program) -> None:
    model, optimizer = program.held["model"], program.held["optimizer"]
    average = program.held["average"] = {}

    def follow(*_: Any) -> None:
        for name, p in model.named_parameters():
            average.setdefault(name, p.detach().clone()).lerp_(p.detach().to(average[name].dtype), 0.1)

    optimizer.register_step_post_hook(follow)


def _swa(program: Program) -> None:
    model = program.held["model"]

    def update() -> None:
        if "averaged" not in program.held:
            program.held["averaged"] = torch.optim.swa_utils.AveragedModel(model)
        program.held["averaged"].update_parameters(model)

    program.after_step.append(update)


def _global_noise(program: Program) -> None:
    program.sides.append(lambda h: h + 0.01 * torch.randn(h.shape, generator=NOISE).to(h.dtype))


def _noise_of_another_module(program: Program) -> None:
    program.sides.append(lambda h: h + state_module.noise(h.shape).to(h.dtype))


def _counts_of_another_module(program: Program) -> None:
    def count(h: torch.Tensor) -> torch.Tensor:
        state_module.CALLS["forward"] += 1
        state_module.Settings.steps += 1
        state_module.SCALE.mul_(0.999)
        return h * state_module.SCALE.to(h.dtype)

    program.sides.append(count)


def _class_counter(program: Program) -> None:
    def count(h: torch.Tensor) -> torch.Tensor:
        Model.passes += 1
        SEEN.append(len(h))
        return h

    program.sides.append(count)


def _running_mean(program: Program) -> None:
    model = program.held["model"]
    model.register_buffer("running", torch.zeros(()), persistent=False)

    def track(h: torch.Tensor) -> torch.Tensor:
        model.running = 0.9 * model.running + 0.1 * h.detach().mean()
        return h - 0.01 * model.running.to(h.dtype)

    program.sides.append(track)


def _numpy_usage(program: Program) -> None:
    usage = program.held["model"].usage = np.zeros(3)

    def track(h: torch.Tensor) -> torch.Tensor:
        usage[:] += (float(h.detach().sum()), len(h), 1)
        return h

    program.sides.append(track)


def _recent_activations(program: Program) -> None:
    recent = program.held["model"].recent = deque(maxlen=3)
    counts = program.held["model"].counts = Counter()

    def keep(h: torch.Tensor) -> torch.Tensor:
        recent.append(h.detach())
        counts[len(h)] += 1
        return h

    program.sides.append(keep)


def _hook_with_norms(program: Program) -> None:
    norms = program.held["norms"] = []
    program.held["model"].core.register_forward_hook(
        lambda *args: norms.append(float(args[2].detach().norm()))
    )


def _loss_history(program: Program) -> None:
    history = program.held["history"] = []

    def keep(loss: torch.Tensor) -> torch.Tensor:
        history.append(loss.item())
        TOTALS["loss"] = TOTALS.get("loss", 0.0) + loss.item()
        return loss

    program.loss_sides.append(keep)


def _scaled_loss(program: Program) -> None:
    steps = 0

    def warm(loss: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return loss * (1 - 0.5**steps)

    program.held["warm"] = warm
    program.loss_sides.append(warm)


def _augmenting_rows(program: Program) -> None:
    rng = program.held["augmentation"] = np.random.default_rng(7)
    program.row_sides.append(lambda row: row * float(1 + 0.01 * rng.normal()))


def _global_augmentation(program: Program) -> None:
    program.row_sides.append(lambda row: row * (1 + 0.01 * random.random()) + 0.01 * torch.randn(row.shape))


def _reads(program: Program) -> None:
    reads = program.held["reads"] = Counter()

    def count(row: torch.Tensor) -> torch.Tensor:
        reads["rows"] += 1
        return row

    program.row_sides.append(count)


def _gradients_that_stand(program: Program) -> None:
    parameters = list(program.held["model"].parameters())
    for p in parameters:
        p.grad = torch.full_like(p, 0.25)
    program.held["gradients"] = [p.grad for p in parameters]


def _evaluation_mode(program: Program) -> None:
    program.held["model"].core.eval()


def _frozen_core(program: Program) -> None:
    next(program.held["model"].core.parameters()).requires_grad_(False)


EXTRAS: tuple[Callable[[Program], None], ...] = (
    _average_hook,
    _swa,
    _global_noise,
    _noise_of_another_module,
    _counts_of_another_module,
    _class_counter,
    _running_mean,
    _numpy_usage,
    _recent_activations,
    _hook_with_norms,
    _loss_history,
    _scaled_loss,
    _augmenting_rows,
    _global_augmentation,
    _reads,
    _gradients_that_stand,
    _evaluation_mode,
    _frozen_core,
)
