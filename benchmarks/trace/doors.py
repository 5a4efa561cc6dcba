"""The random problems of `problems`, in the forms in which people bring them: steps, Lightning, Trainer, Accelerate, PEFT, graphs, Keras, tables.

A form whose package is not installed is left out. Each case trains on as its user would, with that package.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import wellposed as wp

from . import faults
from .kind import Case, Kind
from .problems import CLASSES, Program, draw_into, everything

Door = Callable[[Program], Case]


def drawn_door(seed: int) -> Kind:
    """A random problem in a random form."""
    names = sorted(name for name, (package, _) in DOORS.items() if importlib.util.find_spec(package))
    name = names[seed % len(names)]
    return Kind(f"{name} {seed}", lambda: DOORS[name][1](_drawn(seed)), (), whole=name != "keras")


def _drawn(seed: int) -> Program:
    program = Program(random.Random(seed))
    draw_into(program)
    if isinstance(program.held["optimizer"], torch.optim.LBFGS):
        program.held["optimizer"] = torch.optim.Adam(program.held["model"].parameters(), lr=0.01)
    return program


def _batches_of(data: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    while True:
        if isinstance(data, tuple):
            yield data
        else:
            for batch in data:
                yield batch[0], batch[1]


def _loss_on(program: Program, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return program.held["loss"](program.held["model"](inputs), targets)


def _case(program: Program, step: Callable[[], torch.Tensor] | None = None, **problem: Any) -> Case:
    """The plain loop over the drawn parts, unless the form has a loop of its own."""
    held, batches = program.held, _batches_of(program.held["data"])

    def plain() -> torch.Tensor:
        held["optimizer"].zero_grad()
        loss = _loss_on(program, *next(batches))
        loss.backward()
        held["optimizer"].step()
        for action in program.after_step:
            action()
        return loss

    return Case(problem=wp.Problem(**problem), probe=everything(program), step=step or plain)


# --- steps of one's own


def _closure(program: Program) -> Case:
    held = program.held
    pairs = isinstance(held["data"], tuple)
    step: Any = (lambda x, y: _loss_on(program, x, y)) if pairs else (lambda batch: _loss_on(program, *batch))
    return _case(program, model=step, train=held["data"], optimizer=held["optimizer"])


def _step_with_outputs(program: Program) -> Case:
    held = program.held
    held["data"] = _named(program)

    def step(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = held["model"](batch["x"])
        return held["loss"](outputs, batch["y"]), outputs

    case = _case(program, model=step, train=held["data"], optimizer=held["optimizer"])
    case.step = _loop_over_dicts(program, lambda batch: step(batch)[0])
    return case


def _named(program: Program) -> DataLoader[Any]:
    x, y = next(_batches_of(program.held["data"]))
    return DataLoader(_Dicts(x, y), batch_size=8)


class _Dicts(Dataset[Any]):
    def __init__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        faults.arrive("data")
        return {"x": self.x[i], "y": self.y[i], "labels": self.y[i]}


def _loop_over_dicts(program: Program, loss_of: Callable[[Any], torch.Tensor]) -> Callable[[], torch.Tensor]:
    held = program.held
    batches = _endless(held["data"])

    def step() -> torch.Tensor:
        held["optimizer"].zero_grad()
        loss = loss_of(next(batches))
        loss.backward()
        held["optimizer"].step()
        return loss

    return step


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


class _OwnLoss(nn.Module):
    def __init__(self, net: nn.Module, loss: Any) -> None:
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.net(x)
        return {"logits": logits} if labels is None else {"loss": self.loss(logits, labels), "logits": logits}


class _Labelled(_Dicts):
    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        row = super().__getitem__(i)
        return {"x": row["x"], "labels": row["labels"]}


def _own_loss(program: Program) -> Case:
    held = program.held
    held["model"] = _OwnLoss(held["model"], held["loss"])
    held["data"] = DataLoader(_Labelled(*next(_batches_of(held["data"]))), batch_size=8)
    case = _case(program, model=held["model"], train=held["data"], optimizer=held["optimizer"])
    case.step = _loop_over_dicts(program, lambda batch: held["model"](**batch)["loss"])
    return case


def _loss_of_batches(program: Program) -> Case:
    held = program.held
    held["data"] = _named(program)
    whole = _OfBatches(held["model"])
    held["whole"] = whole
    case = _case(
        program, model=whole, loss=lambda outputs, batch: held["loss"](outputs, batch["y"]), train=held["data"],
        optimizer=held["optimizer"],
    )  # fmt: skip
    case.step = _loop_over_dicts(program, lambda batch: held["loss"](whole(batch), batch["y"]))
    return case


class _OfBatches(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.net(batch["x"])


def _schedule(program: Program) -> Case:
    held = program.held
    if "scheduler" not in held:
        held["scheduler"] = torch.optim.lr_scheduler.CosineAnnealingLR(held["optimizer"], 5)
        program.after_step.append(held["scheduler"].step)
    problem = {name: held[name] for name in ("model", "loss")}
    return _case(program, **problem, train=held["data"], optimizer=held["scheduler"])


def _two_optimizers(program: Program) -> Case:
    held = program.held
    parameters = list(held["model"].parameters())
    half = len(parameters) // 2
    both = [torch.optim.SGD(parameters[:half], lr=0.05, momentum=0.9), torch.optim.Adam(parameters[half:])]
    held["optimizer"], held["scheduler"] = both[0], None
    held["second"] = both[1]
    program.after_step[:] = [both[1].step, both[1].zero_grad]
    problem = {name: held[name] for name in ("model", "loss")}
    return _case(program, **problem, train=held["data"], optimizer=both)


class _Autocast(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x).float()


def _autocast(program: Program) -> Case:
    held = program.held
    held["model"] = _Autocast(held["model"])
    problem = {name: held[name] for name in ("model", "loss", "optimizer")}
    return _case(program, **problem, train=held["data"])


# --- packages


def _lightning(program: Program) -> Case:
    lightning: Any = importlib.import_module("lightning")
    held = program.held

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.criterion = held["model"], held["loss"]
            self.count = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.count += 1
            x, y = batch
            loss = self.criterion(self(x), y)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return held["optimizer"]

    held["lit"] = lit = Lit()
    return _case(program, model=lit, train=_loader(program))


def _loader(program: Program) -> Any:
    held = program.held
    if isinstance(held["data"], tuple):
        held["data"] = DataLoader(torch.utils.data.TensorDataset(*held["data"]), batch_size=8)
    return held["data"]


def _trainer(program: Program) -> Case:
    transformers: Any = importlib.import_module("transformers")
    held = program.held
    held["model"] = _OwnLoss(held["model"], held["loss"])
    rows = _Labelled(*next(_batches_of(held["data"])))
    held["data"] = DataLoader(rows, batch_size=8)
    folder = os.path.join(tempfile.gettempdir(), "a trainer's output")  # nothing is saved there
    settings = transformers.TrainingArguments(output_dir=folder, report_to=[], use_cpu=True)
    held["trainer"] = transformers.Trainer(
        model=held["model"], args=settings, train_dataset=rows, optimizers=(held["optimizer"], None)
    )
    case = _case(program, model=held["trainer"])
    case.step = _loop_over_dicts(program, lambda batch: held["model"](**batch)["loss"])
    return case


def _accelerate(program: Program) -> Case:
    accelerate: Any = importlib.import_module("accelerate")
    held = program.held
    parts = accelerate.Accelerator(cpu=True).prepare(held["model"], held["optimizer"], _loader(program))
    held["model"], held["optimizer"], held["data"] = parts
    program.after_step.clear()
    return _case(program, model=parts[0], loss=held["loss"], train=held["data"], optimizer=held["optimizer"])


def _peft(program: Program) -> Case:
    peft: Any = importlib.import_module("peft")
    held = program.held
    held["model"] = model = peft.get_peft_model(held["model"], peft.LoraConfig(target_modules=["head"], r=2))
    held["optimizer"] = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    program.after_step.clear()
    problem = {name: held[name] for name in ("model", "loss", "optimizer")}
    return _case(program, **problem, train=held["data"])


def _graphs(program: Program) -> Case:
    layers: Any = importlib.import_module("torch_geometric.nn")
    data: Any = importlib.import_module("torch_geometric.data")
    loaders: Any = importlib.import_module("torch_geometric.loader")
    held, rng = program.held, program.rng
    held["model"] = model = _Graph(rng.choice((layers.GCNConv, layers.SAGEConv))(4, 6), layers)

    def graph() -> Any:
        nodes = rng.randint(3, 6)
        ring = torch.stack([torch.arange(nodes), (torch.arange(nodes) + 1) % nodes])
        x = torch.randn(nodes, 4)
        return data.Data(x=x, edge_index=ring, y=x[:, :CLASSES].sum(0).argmax()[None])

    held["data"] = loaders.DataLoader([graph() for _ in range(16)], batch_size=8)
    held["optimizer"] = torch.optim.Adam(model.parameters(), lr=0.01)

    def loss_of(batch: Any) -> torch.Tensor:
        return held["loss"](model(batch.x, batch.edge_index, batch.batch), batch.y)

    case = _case(program, model=loss_of, train=held["data"], optimizer=held["optimizer"])
    case.step = _loop_over_dicts(program, loss_of)
    return case


class _Graph(nn.Module):
    def __init__(self, body: nn.Module, layers: Any) -> None:
        super().__init__()
        self.body, self.head, self.pool = body, nn.Linear(6, CLASSES), layers.global_mean_pool

    def forward(self, x: torch.Tensor, edges: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        faults.arrive("model")
        return self.head(self.pool(self.body(x, edges).relu(), batch))


def _keras(program: Program) -> Case:
    os.environ.setdefault("KERAS_BACKEND", "torch")  # read when Keras is imported
    keras: Any = importlib.import_module("keras")
    rng = program.rng
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, activation=rng.choice(("relu", "tanh"))), keras.layers.Dropout(0.1)]
    layers += rng.choice(([], [keras.layers.BatchNormalization()]))
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(CLASSES)])
    rate = rng.choice((0.01, 0.001))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=rng.choice((keras.optimizers.Adam, keras.optimizers.SGD))(rate), loss=loss)
    x = torch.randn(16, 4)
    data = x.numpy(), x[:, :CLASSES].argmax(1).numpy()

    def probe() -> Any:
        # Not the model: it keeps identities of its parts, which differ from process to process.
        variables = [v.numpy() for v in (*model.variables, *model.optimizer.variables)]
        return variables, data, sorted(vars(model.optimizer)), model.stop_training

    def step() -> torch.Tensor:
        return torch.tensor(float(model.train_on_batch(*data)))

    return Case(problem=wp.Problem(model=model, train=data), probe=probe, step=step)


def _table(program: Program) -> Case:
    pandas: Any = importlib.import_module("pandas")
    held = program.held
    x = torch.randn(16, 4)
    frame = pandas.DataFrame(x.numpy(), columns=list("abcd"))
    frame["label"] = x[:, :CLASSES].argmax(1).numpy()
    held["table"], held["data"] = frame, (x, x[:, :CLASSES].argmax(1))
    held["model"] = model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.1), nn.ReLU(), nn.Linear(6, CLASSES))
    held["optimizer"] = torch.optim.Adam(model.parameters(), lr=0.01)
    program.after_step.clear()
    train = (frame[list("abcd")], frame["label"])
    return _case(program, model=model, loss=held["loss"], train=train, optimizer=held["optimizer"])


DOORS: dict[str, tuple[str, Door]] = {
    "closure": ("torch", _closure),
    "step with outputs": ("torch", _step_with_outputs),
    "own loss": ("torch", _own_loss),
    "loss of batches": ("torch", _loss_of_batches),
    "schedule": ("torch", _schedule),
    "two optimizers": ("torch", _two_optimizers),
    "autocast": ("torch", _autocast),
    "lightning": ("lightning", _lightning),
    "trainer": ("transformers", _trainer),
    "accelerate": ("accelerate", _accelerate),
    "peft": ("peft", _peft),
    "graphs": ("torch_geometric", _graphs),
    "keras": ("keras", _keras),
    "table": ("pandas", _table),
}
"""By name: the package that it needs, and the form."""
