"""Kinds of state, half a: drawn at random from one pool with half b."""

from __future__ import annotations

import array
import contextvars
import functools
import io
import logging
import random
import tempfile
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.data import IterableDataset

from . import state_module
from .kind import (
    BATCH,
    CLASSES,
    FEATURES,
    SAMPLES,
    Case,
    Kinds,
    Net,
    Rows,
    case,
    loader,
    loss_function,
    sgd,
    table,
)

kinds = Kinds()


@functools.cache
def mask(rows: int) -> torch.Tensor:
    """A mask that is made once."""
    return torch.ones(rows, 1)


@kinds.kind("mask", "lru_cache", "cache")
def least_recently_used_cache() -> Case:
    class Masked(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs * mask(len(inputs)))

    return case(lambda: mask.cache_info()[:2], model=Masked())


@kinds.kind("grad mode", "grad_mode", "enabled")
def gradients_switched_off_by_a_pre_hook_once() -> Case:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        value = loss_function(outputs, targets)
        torch.set_grad_enabled(False)
        return value

    class Enabling(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            torch.set_grad_enabled(True)
            return super().forward(inputs)

    return case(torch.is_grad_enabled, model=Enabling(), loss=loss)


@kinds.kind("weak")
def weak_key_dictionary() -> Case:
    class Weak(Net):
        def __init__(self) -> None:
            super().__init__()
            self.weak: Any = weakref.WeakKeyDictionary()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.weak[self.first] = self.weak.get(self.first, 0) + 1
            return super().forward(inputs)

    model = Weak()
    return case(lambda: list(model.weak.values()), model=model)


@kinds.kind("grad")
def gradients_with_an_identity() -> Case:
    model = Net()
    torch.manual_seed(0)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    held = [p.grad for p in model.parameters()]

    def probe() -> Any:
        return [(p.grad is g, g) for p, g in zip(model.parameters(), held, strict=True)]

    return case(probe, model=model)


@kinds.kind("state", "optimizer", "step")
def optimizer_state_before_the_first_step() -> Case:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    return case(
        lambda: (len(optimizer.state), list(optimizer.state.values())), model=model, optimizer=optimizer
    )


@kinds.kind("view", "weight")
def views_of_weights() -> Case:
    model = Net()
    view = model.first.weight.detach()[1:3]
    array = model.second.bias.detach().numpy()
    return case(lambda: (view, array, view.data_ptr() - model.first.weight.data_ptr()), model=model)


class Registry(type):
    """A metaclass that keeps a generator for all classes of models."""

    draw = random.Random(0)


@kinds.kind("draw", "registry", "metaclass", "random")
def random_of_a_metaclass() -> Case:
    class Drawing(Net, metaclass=Registry):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) * (1 + 0.01 * type(type(self)).draw.random())

    return case(lambda: Registry.draw, model=Drawing())


@kinds.kind("requires_grad", "first")
def requires_grad_flipped_in_forward() -> Case:
    class Thawing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            self.first.weight.requires_grad_(self.calls % 2 == 0)
            return super().forward(inputs)

    model = Thawing()
    return case(
        lambda: [p.requires_grad for p in model.parameters()],
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
    )


@kinds.kind("maxima", "hook")
def hook_that_writes_a_buffer() -> Case:
    model = Net()
    model.register_buffer("maxima", torch.zeros(6))

    def hook(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        model.maxima = torch.maximum(model.maxima, output.detach().abs().amax(0))

    model.first.register_forward_hook(hook)
    return case(lambda: model.maxima, model=model)


@kinds.kind("shapes", "hook")
def global_forward_hook_that_counts() -> Case:
    shapes: list[tuple[int, ...]] = []

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        shapes.append(tuple(output.shape))

    nn.modules.module.register_module_forward_hook(hook)
    return case(lambda: shapes)


@kinds.kind("reads", "dataset")
def counter_in_dataset() -> Case:
    class Counting(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.reads = 0

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            self.reads += 1
            return super().__getitem__(index)

    dataset = Counting()
    return case(lambda: dataset.reads, train=loader(dataset))


@kinds.kind("scheduler", "lr")
def scheduler_stepped_in_a_step_hook() -> Case:
    model = Net()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    optimizer.register_step_post_hook(lambda *_: scheduler.step())
    return case(
        lambda: (scheduler.last_epoch, scheduler._last_lr, optimizer.param_groups[0]["lr"]),
        model=model,
        optimizer=optimizer,
    )


@kinds.kind("weights")
def weights_after_a_step() -> Case:
    model = Net()
    return case(lambda: list(model.parameters()), model=model)


@kinds.kind("threads", "flags", "deterministic", "anomaly")
def flags_of_torch_set_by_forward() -> Case:
    class Setting(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.autograd.set_detect_anomaly(True)
            torch.set_float32_matmul_precision("high")
            return super().forward(inputs)

    def probe() -> Any:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_anomaly_enabled(),
            torch.get_float32_matmul_precision(),
        )

    return case(probe, model=Setting())


@kinds.kind("epoch", "batches")
def custom_iterable_with_an_epoch() -> Case:
    class Batches:
        def __init__(self) -> None:
            self.epoch = 0

        def __len__(self) -> int:
            return SAMPLES // BATCH

        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            self.epoch += 1
            inputs, targets = table()
            order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(self.epoch))
            for rows in order.split(BATCH):
                yield inputs[rows], targets[rows]

    batches = Batches()
    return case(lambda: batches.epoch, train=batches)


@kinds.kind("noise", "generator", "state_module")
def generator_of_another_module_by_attribute() -> Case:
    state_module.GENERATOR.manual_seed(0)

    class Noisy(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            noise = torch.randn(inputs.shape, generator=state_module.GENERATOR)
            return super().forward(inputs + 0.01 * noise)

    return case(lambda: state_module.GENERATOR, model=Noisy())


@kinds.kind("noise", "generator", "state_module")
def generator_behind_a_function_of_another_module() -> Case:
    class Noisy(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs + state_module.noise(inputs.shape))

    return case(lambda: state_module.GENERATOR, model=Noisy())


@kinds.kind("weight_u", "spectral", "first")
def old_spectral_norm() -> Case:
    model = Net()
    nn.utils.spectral_norm(model.first)
    return case(lambda: (model.first.weight_u, model.first.weight_v, model.first.weight), model=model)


def accumulating(outputs: torch.Tensor, targets: torch.Tensor, seen: list[int] = []) -> torch.Tensor:  # noqa: B006
    """A loss with the mutable default that beginners write."""
    seen.append(len(targets))
    return loss_function(outputs, targets)


@kinds.kind("seen", "default")
def mutable_default_argument() -> Case:
    return case(lambda: accumulating.__defaults__, loss=accumulating)


@kinds.kind("scheduler", "lr")
def learning_rate_scheduler() -> Case:
    model = Net()
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=20)

    def probe() -> Any:
        schedule = {k: v for k, v in scheduler.state_dict().items() if not callable(v)}
        return schedule, [
            {k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups
        ]

    return case(probe, model=model, optimizer=optimizer, after_step=scheduler.step)


@kinds.kind("hidden", "state")
def recurrent_state_between_batches() -> Case:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(FEATURES, 6)
            self.head = nn.Linear(6, CLASSES)
            self.hidden: torch.Tensor | None = None

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.hidden = self.cell(
                inputs, None if self.hidden is None else self.hidden.detach().mean(0).expand(len(inputs), 6)
            )
            return self.head(self.hidden)

    model = Recurrent()
    return case(lambda: None if model.hidden is None else model.hidden.detach(), model=model)


def decay() -> Iterator[float]:
    """A scale that falls at every step."""
    scale = 1.0
    while True:
        yield scale
        scale *= 0.99


@kinds.kind("scales", "generator")
def python_generator_attribute() -> Case:
    class Decaying(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scales = decay()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) * next(self.scales)

    model = Decaying()
    return case(lambda: next(model.scales), model=model)


@kinds.kind("cache", "dataset")
def cache_dict_in_dataset() -> Case:
    class Cached(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.cache: dict[int, Any] = {}

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            if index not in self.cache:
                self.cache[index] = super().__getitem__(index)
            return self.cache[index]

    dataset = Cached()
    return case(lambda: sorted(dataset.cache), train=loader(dataset))


@kinds.kind("log", "file")
def position_of_an_open_file() -> Case:
    class Reading(Net):
        def __init__(self) -> None:
            super().__init__()
            self.log = tempfile.TemporaryFile()  # noqa: SIM115
            self.log.write(bytes(range(256)) * 400)
            self.log.seek(0)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) * (1 + self.log.read(1)[0] / 1000)

    model = Reading()
    return case(lambda: model.log.tell(), model=model)


class Doubled(nn.Module):
    """A parametrization that counts how often the weight is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return 2 * weight


@kinds.kind("asked", "parametriz")
def parametrization_that_counts() -> Case:
    model = Net()
    parametrize.register_parametrization(model.second, "weight", Doubled())
    return case(lambda: model.second.parametrizations.weight[0].asked, model=model)


@kinds.kind("graph", "weight", "version")
def graph_that_is_kept_for_a_later_backward() -> Case:
    model = Net()
    inputs, targets = table()
    loss = loss_function(model(inputs), targets)

    def probe() -> Any:
        try:
            return torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        except RuntimeError as error:
            return str(error)[:60]

    return case(probe, model=model)


@kinds.kind("average", "ema", "optimizer")
def average_of_weights_in_optimizer_step_hook() -> Case:
    model = Net()
    optimizer = sgd(model)
    average = [p.detach().clone() for p in model.parameters()]

    def follow(*_: Any) -> None:
        for kept, p in zip(average, model.parameters(), strict=True):
            kept.lerp_(p.detach().to(kept.dtype), 0.1)

    optimizer.register_step_post_hook(follow)
    return case(lambda: average, model=model, optimizer=optimizer)


@kinds.kind("spectral", "_u", "_v")
def spectral_norm_parametrization() -> Case:
    model = Net()
    nn.utils.parametrizations.spectral_norm(model.first)
    power = model.first.parametrizations.weight[0]
    return case(lambda: (power._u, power._v), model=model)


@kinds.kind("calls", "noise")
def generator_in_function_attribute() -> Case:
    def noise(inputs: torch.Tensor) -> torch.Tensor:
        noise.calls += 1
        return 0.01 * torch.randn(inputs.shape, generator=noise.rng)

    noise.calls, noise.rng = 0, torch.Generator().manual_seed(0)

    class Noisy(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs + noise(inputs))

    return case(lambda: (noise.calls, noise.rng), model=Noisy())


@kinds.kind("lookahead", "optimizer", "slow")
def optimizer_that_wraps_another() -> Case:
    class Lookahead(torch.optim.SGD):
        def __init__(self, parameters: Iterable[torch.Tensor]) -> None:
            super().__init__(parameters, lr=0.1)
            self.taken = 0
            self.slow = [p.detach().clone() for p in self.param_groups[0]["params"]]

        def step(self, closure: Any = None) -> Any:
            result = super().step(closure)
            self.taken += 1
            if self.taken % 2 == 0:
                for slow, p in zip(self.slow, self.param_groups[0]["params"], strict=True):
                    slow.lerp_(p.detach().to(slow.dtype), 0.5)
            return result

    model = Net()
    optimizer = Lookahead(model.parameters())
    return case(lambda: (optimizer.taken, optimizer.slow), model=model, optimizer=optimizer)


RUNNING = torch.zeros(3)


@kinds.kind("running")
def global_tensor_written_by_forward() -> Case:
    RUNNING.zero_()

    class Tracked(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(inputs)
            RUNNING.mul_(0.9).add_(0.1 * outputs.detach().mean(0).to(RUNNING.dtype))
            return outputs

    return case(lambda: RUNNING, model=Tracked())


@kinds.kind("marks")
def bytearray_and_array_attributes() -> Case:
    class Marking(Net):
        def __init__(self) -> None:
            super().__init__()
            self.marks, self.more_marks = bytearray(4), array.array("d", [0.0])

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.marks[0] = (self.marks[0] + 1) % 256
            self.more_marks[0] += 1.5
            return super().forward(inputs)

    model = Marking()
    return case(lambda: (model.marks, model.more_marks), model=model)


@kinds.kind("norms", "hook", "weight")
def tensor_hook_that_fills_a_list() -> Case:
    model = Net()
    norms: list[float] = []
    model.first.weight.register_hook(lambda gradient: norms.append(float(gradient.norm())))
    return case(lambda: norms, model=model)


@kinds.kind("errstate", "numpy", "seterr")
def error_state_of_numpy() -> Case:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        np.seterr(all="raise")
        return loss_function(outputs, targets)

    return case(np.geterr, loss=loss)


@kinds.kind("steps")
def variable_of_an_enclosing_function() -> Case:
    steps = 0

    def wrapped(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return loss_function(outputs, targets) * (1 + 1 / steps)

    return case(lambda: steps, loss=wrapped)


class CountingHandler(logging.Handler):
    """Counts what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1


@kinds.kind("handler", "log", "records")
def handler_of_a_logger() -> Case:
    logger, handler = logging.getLogger("wellposed-trace-user"), CountingHandler()
    logger.addHandler(handler)
    logger.propagate = False

    class Logged(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            logger.error("rows %d", len(inputs))
            return super().forward(inputs)

    return case(lambda: handler.records, model=Logged())


PYTHON_RANDOM = random.Random(0)


@kinds.kind("random")
def module_level_python_random() -> Case:
    class Noisy(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs * (1 + 0.01 * PYTHON_RANDOM.random()))

    return case(lambda: PYTHON_RANDOM, model=Noisy())


@kinds.kind("alive", "batch")
def objects_counted_by_their_constructor() -> Case:
    alive = [0]

    class Batch:
        def __init__(self) -> None:
            alive[0] += 1

    class Holding(Net):
        def __init__(self) -> None:
            super().__init__()
            self.batches: deque[Batch] = deque(maxlen=4)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.batches.append(Batch())
            return super().forward(inputs)

    model = Holding()
    return case(lambda: (alive, len(model.batches)), model=model)


@kinds.kind("worker", "iterator", "loader")
def loader_with_persistent_workers() -> Case:
    train = loader(Rows(), shuffle=True, num_workers=1, persistent_workers=True)
    return case(lambda: (torch.get_rng_state(), train._iterator is None), train=train)


@kinds.kind("written", "stringio", "log")
def text_written_to_a_buffer() -> Case:
    log = io.StringIO()

    class Logging(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            print(len(inputs), file=log)
            return super().forward(inputs)

    return case(log.getvalue, model=Logging())


@kinds.kind("calls", "hook")
def forward_pre_hook_that_counts() -> Case:
    model = Net()
    calls = Counter()
    model.first.register_forward_pre_hook(lambda *_: calls.update(["first"]))
    model.register_full_backward_hook(lambda *_: calls.update(["backward"]))
    return case(lambda: calls, model=model)


@kinds.kind("running", "bias", "data")
def parameter_moved_by_data() -> Case:
    class Balancing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(CLASSES), requires_grad=False)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(inputs) + self.bias
            self.bias.data = self.bias.data - 0.01 * outputs.detach().mean(0)
            return outputs

    model = Balancing()
    return case(lambda: model.bias, model=model)


@kinds.kind("scaler")
def gradient_scaler() -> Case:
    model = Net()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)

    def scaled(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        scaler.scale(torch.zeros(1))  # the scaler makes its tensors when it is first used
        loss = loss_function(outputs, targets) * scaler.get_scale() / 4
        scaler.update(scaler.get_scale() * 1.01)
        return loss

    return case(scaler.state_dict, model=model, loss=scaled)


@kinds.kind("random", "dropout")
def global_random_state_through_dropout() -> Case:
    class Dropping(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(nn.functional.dropout(inputs, 0.3, self.training))

    return case(torch.get_rng_state, model=Dropping())


class Stream(IterableDataset):
    """Rows without end that go on where they were."""

    def __init__(self) -> None:
        self.inputs, self.targets = table()
        self.position = 0

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for _ in range(2 * SAMPLES):
            row = self.position % SAMPLES
            self.position += 1
            yield self.inputs[row], self.targets[row]


@kinds.kind("position", "stream")
def iterable_dataset_with_a_position() -> Case:
    stream = Stream()
    return case(lambda: stream.position, train=loader(stream))


class Slotted:
    """State without a ``__dict__``."""

    __slots__ = ("last", "seen")

    def __init__(self) -> None:
        self.seen = 0


@kinds.kind("seen", "slots", "slotted")
def object_with_slots() -> Case:
    class Seeing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.meter = Slotted()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.meter.seen += len(inputs)
            self.meter.last = inputs.shape
            return super().forward(inputs)

    model = Seeing()
    return case(lambda: (model.meter.seen, hasattr(model.meter, "last")), model=model)


@kinds.kind("layers", "module")
def layer_added_in_forward() -> Case:
    class Growing(Net):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if len(self.layers) < 3:
                self.layers.append(nn.Identity())
            return super().forward(self.layers[0](inputs))

    model = Growing()
    return case(lambda: len(model.layers), model=model)


@kinds.kind("registry", "dict", "tensor")
def dict_with_tensors_as_keys() -> Case:
    model = Net()
    registry: dict[torch.Tensor, int] = dict.fromkeys(model.parameters(), 0)

    class Counted(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            for p in registry:
                registry[p] += 1
            return model(inputs)

    wrapper = Counted()
    wrapper.inner = model
    return case(lambda: list(registry.values()), model=wrapper, optimizer=sgd(model))


MODEL_STEP: contextvars.ContextVar[int] = contextvars.ContextVar("MODEL_STEP", default=0)


@kinds.kind("model_step", "context")
def context_variable() -> Case:
    class Contextual(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            MODEL_STEP.set(MODEL_STEP.get() + 1)
            return super().forward(inputs)

    return case(MODEL_STEP.get, model=Contextual())


@dataclass(frozen=True)
class Frozen:
    """Fields that cannot be set, one of which can be written into."""

    losses: list[float] = field(default_factory=list)


class Pair(NamedTuple):
    """A named tuple of a number and a list."""

    number: int
    rows: list[int]


@kinds.kind("frozen", "losses", "pair")
def frozen_dataclass_and_named_tuple() -> Case:
    class Holding(Net):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.pair = Frozen(), Pair(0, [])

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.frozen.losses.append(1.0)
            self.pair.rows.append(len(inputs))
            self.pair = self.pair._replace(number=self.pair.number + 1)
            return super().forward(inputs)

    model = Holding()
    return case(lambda: (model.frozen, model.pair), model=model)


@kinds.kind("threads")
def number_of_threads_set_by_forward() -> Case:
    class Setting(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            torch.set_num_threads(2)
            return super().forward(inputs)

    return case(torch.get_num_threads, model=Setting())


@kinds.kind("generator", "loader")
def generator_of_a_loader() -> Case:
    generator = torch.Generator().manual_seed(0)
    return case(lambda: generator, train=loader(shuffle=True, generator=generator))
