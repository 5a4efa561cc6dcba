"""Kinds of state, half b: drawn at random from one pool with half a."""

from __future__ import annotations

import functools
import itertools
import os
import pathlib
import random
import sqlite3
import tempfile
import threading
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Sampler, default_collate

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


@kinds.kind("default", "dtype")
def default_dtype_set_by_forward() -> Case:
    class Setting(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            torch.set_default_dtype(torch.float64)
            return super().forward(inputs)

    return case(torch.get_default_dtype, model=Setting())


@kinds.kind("calls", "settings", "state_module")
def dict_and_class_of_another_module() -> Case:
    class Counted(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            state_module.CALLS["forward"] += 1
            state_module.Settings.steps += len(inputs)
            return super().forward(inputs)

    return case(lambda: (state_module.CALLS, state_module.Settings.steps), model=Counted())


GENERATOR = torch.Generator()


@kinds.kind("generator")
def module_level_torch_generator() -> Case:
    GENERATOR.manual_seed(0)

    class Noisy(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs + 0.01 * torch.randn(inputs.shape, generator=GENERATOR))

    return case(lambda: GENERATOR, model=Noisy())


@kinds.kind("generator", "seed")
def seed_sequence_that_spawns() -> Case:
    seeds = np.random.SeedSequence(0)

    class Spawning(Rows):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            inputs, target = super().__getitem__(index)
            draw = np.random.default_rng(seeds.spawn(1)[0])
            return inputs + 0.01 * float(draw.normal()), target

    return case(lambda: seeds, train=loader(Spawning()))


@kinds.kind("switches", "mode", "train")
def train_overridden() -> Case:
    class Partly(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(FEATURES)
            self.switches = 0
            self.train()

        def train(self, mode: bool = True) -> Partly:
            super().train(mode)
            self.switches += 1
            self.norm.eval()
            return self

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(self.norm(inputs))

    model = Partly()
    return case(
        lambda: (model.switches, model.norm.training, model.training), model=model, disturb=model.train
    )


class Proxy:
    """Attributes that live in a dict beside the object's own."""

    def __init__(self) -> None:
        object.__setattr__(self, "store", {"hits": 0})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        store = object.__getattribute__(self, "store")
        store[name] = store.get(name, 0) + 1
        return store[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self.store[f"set {name}"] = value


@kinds.kind("store", "proxy")
def object_with_its_own_attribute_access() -> Case:
    class Proxied(Net):
        def __init__(self) -> None:
            super().__init__()
            self.proxy = Proxy()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.proxy.last = self.proxy.hits
            return super().forward(inputs)

    model = Proxied()
    return case(lambda: dict(model.proxy.store), model=model)


@kinds.kind("scales", "cycle")
def cycle_of_itertools() -> Case:
    class Cycling(Net):
        def __init__(self) -> None:
            super().__init__()
            self.scales = itertools.cycle([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4])

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) * next(self.scales)

    model = Cycling()
    return case(lambda: [next(model.scales) for _ in range(14)], model=model)


STEP = 0


@kinds.kind("step")
def global_integer_rebound() -> Case:
    class Warm(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            global STEP
            STEP += 1
            return super().forward(inputs) * (1 - 0.5**STEP)

    return case(lambda: STEP, model=Warm())


class Counting(torch.autograd.Function):
    """The identity, with a count on the class."""

    backwards = 0

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        Counting.backwards += 1
        return gradients[0]


@kinds.kind("backwards", "counting")
def autograd_function_with_a_class_counter() -> Case:
    class Through(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return Counting.apply(super().forward(inputs))

    return case(lambda: Counting.backwards, model=Through())


@kinds.kind("warning", "filter")
def warning_filters() -> Case:
    class Silencing(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            warnings.filterwarnings("ignore", message="something of the model's")
            return super().forward(inputs)

    return case(lambda: [str(entry) for entry in warnings.filters], model=Silencing())


class Jitter:
    """A transform with a generator of its own, as torchvision's users write them."""

    def __init__(self) -> None:
        self.rng = random.Random(0)

    def __call__(self, row: torch.Tensor) -> torch.Tensor:
        return row * (1 + 0.01 * self.rng.random())


@kinds.kind("transform", "rng")
def generator_in_dataset_transform() -> Case:
    class Transformed(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.transform = Jitter()

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            inputs, target = super().__getitem__(index)
            return self.transform(inputs), target

    dataset = Transformed()
    return case(lambda: dataset.transform.rng, train=loader(dataset, shuffle=True))


@kinds.kind("meter", "partial")
def argument_of_a_partial() -> Case:
    meter = {"calls": 0}

    def weighted(meter: dict[str, int], outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        meter["calls"] += 1
        return loss_function(outputs, targets)

    return case(lambda: meter, loss=functools.partial(weighted, meter))


@kinds.kind("environ")
def environment_variable() -> Case:
    class Exporting(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            os.environ["WP_TRACE_STEPS"] = str(int(os.environ.get("WP_TRACE_STEPS", "0")) + 1)
            return super().forward(inputs)

    return case(lambda: os.environ.get("WP_TRACE_STEPS"), model=Exporting())


@kinds.kind("weight", "tied")
def tied_weights() -> Case:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
            self.outer.weight = self.inner.weight

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.outer(torch.tanh(self.inner(inputs)))

    model = Tied()

    def untie() -> None:
        model.outer.weight = nn.Parameter(model.outer.weight.detach().clone())

    return case(lambda: model.inner.weight is model.outer.weight, model=model, disturb=untie)


class Shuffled(Sampler):
    """A sampler that keeps its generators in a list."""

    def __init__(self) -> None:
        self.generators = [torch.Generator().manual_seed(0), random.Random(0)]

    def __len__(self) -> int:
        return SAMPLES

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(SAMPLES, generator=self.generators[0]).tolist()
        self.generators[1].shuffle(order)
        return iter(order)


@kinds.kind("sampler", "generators")
def generators_in_sampler_list() -> Case:
    sampler = Shuffled()
    return case(lambda: sampler.generators, train=loader(sampler=sampler))


class Teacher(Net):
    """A copy that follows the student inside the student's forward pass."""


@kinds.kind("teacher")
def teacher_that_follows_in_forward() -> Case:
    class Student(Net):
        def __init__(self) -> None:
            super().__init__()
            self.others = [Teacher()]  # in a list, so that its weights are not trained

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                for old, new in zip(self.others[0].parameters(), self.parameters(), strict=True):
                    old.lerp_(new.to(old.dtype), 0.1)
            return super().forward(inputs)

    model = Student()
    return case(lambda: list(model.others[0].parameters()), model=model)


@kinds.kind("weight", "first", "stride")
def strides_and_shared_storage_of_weights() -> Case:
    model = Net()
    flat = torch.arange(100.0) / 100
    model.first.weight.data = flat[:24].view(4, 6).t()
    model.second.weight.data = flat[24:42].view(3, 6)

    def probe() -> Any:
        places = [p.data_ptr() - flat.data_ptr() for p in (model.first.weight, model.second.weight)]
        return flat, places, model.first.weight.stride(), model.second.weight.storage_offset()

    return case(probe, model=model)


@kinds.kind("meters")
def list_inside_a_tuple() -> Case:
    class Metered(Net):
        def __init__(self) -> None:
            super().__init__()
            self.meters = (0, ([], {"n": 0}))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.meters[1][0].append(len(inputs))
            self.meters[1][1]["n"] += 1
            return super().forward(inputs)

    model = Metered()
    return case(lambda: model.meters, model=model)


HISTORY: list[float] = []


@kinds.kind("history")
def global_list_appended_by_loss() -> Case:
    def kept(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = loss_function(outputs, targets)
        HISTORY.append(loss.item())
        return loss

    return case(lambda: HISTORY, loss=kept)


@kinds.kind("inputs", "targets", "data")
def data_written_in_place() -> Case:
    inputs, targets = table()

    class Scaling(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                inputs.mul_(0.99)
            return super().forward(inputs)

    return case(lambda: inputs, model=Scaling(), train=(inputs, targets))


@kinds.kind("stepped", "hook", "weight")
def hook_after_accumulated_gradients() -> Case:
    model = Net()
    stepped = [0]

    def after(parameter: torch.Tensor) -> None:
        stepped[0] += 1

    model.second.bias.register_post_accumulate_grad_hook(after)
    return case(lambda: stepped, model=model)


@kinds.kind("collate", "rng", "generator")
def generator_closed_over_by_collate() -> Case:
    rng = torch.Generator().manual_seed(0)

    def collate(rows: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
        inputs, targets = default_collate(rows)
        return [inputs + 0.01 * torch.randn(inputs.shape, generator=rng), targets]

    return case(lambda: rng, train=loader(collate_fn=collate))


NUMPY_GENERATOR = np.random.default_rng(0)


@kinds.kind("generator")
def module_level_numpy_generator() -> Case:
    class Noisy(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs * float(1 + 0.01 * NUMPY_GENERATOR.normal()))

    return case(lambda: NUMPY_GENERATOR, model=Noisy())


class Padder:
    """A collate function that is a method and remembers what it saw."""

    def __init__(self) -> None:
        self.longest = 0
        self.batches: list[int] = []

    def collate(self, rows: list[Any]) -> Any:
        self.longest = max(self.longest, len(rows))
        self.batches.append(len(rows))
        return default_collate(rows)


@kinds.kind("padder", "longest", "batches", "collate")
def collate_that_is_a_bound_method() -> Case:
    padder = Padder()
    return case(lambda: (padder.longest, padder.batches), train=loader(collate_fn=padder.collate))


RANDOM_STATE = np.random.RandomState(0)


@kinds.kind("randomstate", "generator")
def module_level_numpy_random_state_in_loss() -> Case:
    def smoothed(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return loss_function(outputs, targets) * float(1 + 0.01 * RANDOM_STATE.rand())

    return case(lambda: RANDOM_STATE, loss=smoothed)


@kinds.kind("weights", "loss")
def loss_module_with_weights_of_its_own() -> Case:
    class Centre(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centre", torch.zeros(CLASSES))

        def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            self.centre.lerp_(outputs.detach().mean(0).to(self.centre.dtype), 0.1)
            return loss_function(outputs - self.centre, targets)

    loss = Centre()
    return case(lambda: loss.centre, loss=loss)


@kinds.kind("norms", "optimizer")
def list_in_optimizer_pre_step_hook() -> Case:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    norms: list[float] = []
    optimizer.register_step_pre_hook(lambda *_: norms.append(float(model.first.weight.detach().norm())))
    return case(lambda: norms, model=model, optimizer=optimizer)


@kinds.kind("running", "buffer")
def buffer_registered_in_forward() -> Case:
    class Lazy(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(inputs)
            if "running" not in self._buffers:
                self.register_buffer("running", torch.zeros(CLASSES))
            self.running = 0.9 * self.running + 0.1 * outputs.detach().mean(0)
            return outputs

    model = Lazy()
    return case(lambda: dict(model.named_buffers()), model=model)


@kinds.kind("anomaly", "saved", "hooks")
def count_of_saved_tensors() -> Case:
    saved = Counter()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tuple(tensor.shape[1:])] += 1
        return tensor

    class Saving(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                return super().forward(inputs)

    return case(lambda: sum(saved.values()), model=Saving())


@kinds.kind("queue", "pointer")
def queue_of_a_contrastive_loss() -> Case:
    class Queue:
        def __init__(self) -> None:
            self.queue, self.pointer = torch.zeros(5, CLASSES), 0

        def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            self.queue[self.pointer] = outputs.detach().mean(0)
            self.pointer = (self.pointer + 1) % 5
            return loss_function(outputs, targets) + 0.01 * (outputs @ self.queue.to(outputs.dtype).T).mean()

    loss = Queue()
    return case(lambda: (loss.queue, loss.pointer), loss=loss)


@kinds.kind("transform", "rng", "generator")
def generator_closed_over_by_transform() -> Case:
    rng = np.random.default_rng(0)

    def transform(row: torch.Tensor) -> torch.Tensor:
        return row + 0.01 * float(rng.normal())

    class Transformed(Rows):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            inputs, target = super().__getitem__(index)
            return transform(inputs), target

    return case(lambda: rng, train=loader(Transformed()))


@kinds.kind("nested")
def nested_a_thousand_deep() -> Case:
    innermost = [0]
    nested: list[Any] = innermost
    for _ in range(1000):
        nested = [nested]

    class Nested(Net):
        def __init__(self) -> None:
            super().__init__()
            self.nested = nested

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            inner = self.nested
            while isinstance(inner[0], list):
                inner = inner[0]
            inner[0] += 1
            return super().forward(inputs)

    return case(lambda: list(innermost), model=Nested())


@kinds.kind("generator", "loader", "base_seed", "worker", "random")
def loader_with_workers() -> Case:
    generator = torch.Generator().manual_seed(0)
    train = loader(Rows(), shuffle=True, num_workers=1, generator=generator)
    return case(lambda: (generator, torch.get_rng_state()), train=train)


@kinds.kind("database", "sqlite", "rows")
def rows_in_a_database() -> Case:
    database = sqlite3.connect(":memory:")
    database.execute("create table steps (rows integer)")

    def logged(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        database.execute("insert into steps values (?)", (len(targets),))
        return loss_function(outputs, targets)

    return case(lambda: database.execute("select * from steps").fetchall(), loss=logged)


@kinds.kind("temperature", "sets")
def property_with_a_setter() -> Case:
    class Tempered(Net):
        def __init__(self) -> None:
            super().__init__()
            self._temperature, self.sets = 1.0, 0

        @property
        def temperature(self) -> float:
            return self._temperature

        @temperature.setter
        def temperature(self, value: float) -> None:
            self._temperature, self.sets = value, self.sets + 1

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.temperature *= 0.99
            return super().forward(inputs) / self.temperature

    model = Tempered()
    return case(lambda: (model.temperature, model.sets), model=model)


@kinds.kind("usage")
def numpy_array_attribute() -> Case:
    class Routed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.usage = np.zeros(CLASSES)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(inputs)
            self.usage += np.asarray(outputs.detach().double().sum(0).tolist())
            return outputs

    model = Routed()
    return case(lambda: model.usage, model=model)


@kinds.kind("scale")
def cached_property() -> Case:
    class Lazy(Net):
        @functools.cached_property
        def scale(self) -> float:
            return float(self.first.weight.detach().abs().mean())

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) * self.scale

    model = Lazy()
    return case(lambda: "scale" in vars(model), model=model)


@kinds.kind("file", "checkpoint")
def file_written_by_the_loss() -> Case:
    path = pathlib.Path(tempfile.mkdtemp()) / "losses.txt"
    path.touch()

    def logged(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with path.open("a") as file:
            file.write(f"{len(targets)}\n")
        return loss_function(outputs, targets)

    return case(path.read_text, loss=logged)


COUNTS: dict[str, int] = {"forward": 0}


@kinds.kind("counts")
def global_dict_counter() -> Case:
    class Counted(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            COUNTS["forward"] += 1
            COUNTS[f"rows {len(inputs)}"] = COUNTS.get(f"rows {len(inputs)}", 0) + 1
            return super().forward(inputs)

    return case(lambda: COUNTS, model=Counted())


@kinds.kind("seen", "set")
def set_that_grows() -> Case:
    class Remembering(Rows):
        def __init__(self) -> None:
            super().__init__()
            self.seen: set[int] = set()

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            self.seen.add(index)
            return super().__getitem__(index)

    dataset = Remembering()
    return case(lambda: dataset.seen, train=loader(dataset))


class Balanced(Sampler):
    """A batch sampler that starts each epoch where the last one ended."""

    def __init__(self) -> None:
        self.start = 0

    def __len__(self) -> int:
        return SAMPLES // BATCH

    def __iter__(self) -> Iterator[list[int]]:
        for _ in range(len(self)):
            start, self.start = self.start, self.start + BATCH - 1
            yield [(start + i) % SAMPLES for i in range(BATCH)]


@kinds.kind("start", "sampler")
def batch_sampler_with_a_position() -> Case:
    sampler = Balanced()
    return case(lambda: sampler.start, train=loader(batch_sampler=sampler))


@kinds.kind("steps", "count")
def counter_of_itertools() -> Case:
    class Stepping(Net):
        def __init__(self) -> None:
            super().__init__()
            self.steps = itertools.count()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs) * (1 + 0.01 * next(self.steps))

    model = Stepping()
    return case(lambda: model.steps, model=model)


@kinds.kind("recent", "names", "groups", "order")
def containers_of_collections() -> Case:
    class Collecting(Net):
        def __init__(self) -> None:
            super().__init__()
            self.recent = deque(maxlen=3)
            self.names = Counter()
            self.groups = defaultdict(list)
            self.order = OrderedDict.fromkeys("abc", 0)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.recent.append(len(inputs))
            self.names[len(inputs)] += 1
            self.groups[len(inputs)].append(1)
            self.order.move_to_end(next(iter(self.order)))
            return super().forward(inputs)

    model = Collecting()
    return case(lambda: (model.recent, model.names, model.groups, list(model.order)), model=model)


@kinds.kind("running", "batchnorm", "norm")
def running_statistics() -> Case:
    class Normed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(FEATURES)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(self.norm(inputs))

    model = Normed()
    return case(lambda: dict(model.norm.named_buffers()), model=model)


@kinds.kind("memory", "buffer")
def buffer_reassigned_in_forward() -> Case:
    class Remembering(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("memory", torch.zeros(CLASSES), persistent=False)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(inputs) + self.memory
            self.memory = outputs.detach()[-1]
            return outputs

    model = Remembering()
    kept = model.memory
    return case(lambda: (model.memory, model.memory is kept, kept), model=model)


LOCAL = threading.local()


@kinds.kind("local", "thread")
def thread_local() -> Case:
    LOCAL.steps = 0

    class Local(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            LOCAL.steps += 1
            return super().forward(inputs)

    return case(lambda: LOCAL.steps, model=Local())


@kinds.kind("random")
def global_python_and_numpy_random() -> Case:
    class Augmented(Rows):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            inputs, target = super().__getitem__(index)
            return inputs * (1 + 0.01 * random.random() + 0.01 * float(np.random.rand())), target  # noqa: NPY002

    def probe() -> Any:
        return random.getstate(), np.random.get_state()  # noqa: NPY002

    return case(probe, train=loader(Augmented()))


@kinds.kind("forward", "method")
def method_replaced_at_the_first_call() -> Case:
    class Switching(Net):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.forward = self.later
            return super().forward(inputs)

        def later(self, inputs: torch.Tensor) -> torch.Tensor:
            return 0.5 * super().forward(inputs)

    model = Switching()
    return case(lambda: "forward" in vars(model), model=model)


@kinds.kind("average", "swa", "n_averaged")
def averaged_model_updated_by_step_hook() -> Case:
    model = Net()
    optimizer = sgd(model)
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
    return case(lambda: average.state_dict(), model=model, optimizer=optimizer)


@kinds.kind("long", "list")
def list_of_twenty_thousand() -> Case:
    class Long(Net):
        def __init__(self) -> None:
            super().__init__()
            self.long = [[0] for _ in range(20_000)]

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            self.long[19_999][0] += 1
            self.long[12_345] = [len(inputs)]
            return super().forward(inputs)

    model = Long()
    return case(lambda: [part[0] for part in model.long], model=model)


@kinds.kind("nested")
def nested_eight_deep() -> Case:
    class Nested(Net):
        def __init__(self) -> None:
            super().__init__()
            self.leaf = [0]
            self.nested: Any = self.leaf
            for depth in range(8):
                self.nested = {"inner": self.nested} if depth % 2 else [self.nested]
            self.leaf = None

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            inner = self.nested
            for _ in range(8):
                inner = inner["inner"] if isinstance(inner, dict) else inner[0]
            inner[0] += 1
            return super().forward(inputs)

    model = Nested()
    return case(lambda: model.nested, model=model)


@kinds.kind("generator", "rng")
def generator_in_class_attribute() -> Case:
    class Noisy(Net):
        rng = torch.Generator().manual_seed(0)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs + 0.01 * torch.randn(inputs.shape, generator=type(self).rng))

    return case(lambda: Noisy.rng, model=Noisy())
