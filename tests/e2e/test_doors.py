"""What people come with, taken as it is: each line of the table "What it takes" in the README, healthy and with a planted fault.

Lightning, Accelerate, Keras and PyTorch Geometric come with the dev extra; transformers and PEFT are tried where they are installed.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import wellposed as wp
from wellposed.errors import DataError, ProblemError, UserCodeError
from wellposed.problem import load_problem

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries, about themselves and each other

X = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def classifier(*, softmax: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)]
    return nn.Sequential(*layers, *([nn.Softmax(1)] if softmax else []))


def loader(scale: float = 1.0) -> DataLoader[Any]:
    return DataLoader(TensorDataset(scale * X, Y), batch_size=32, shuffle=True)


def dicts(scale: float = 1.0) -> list[dict[str, torch.Tensor]]:
    return [{"features": scale * X[i : i + 32], "classes": Y[i : i + 32]} for i in range(0, 256, 32)]


def found(*args: Any, **options: Any) -> list[str]:
    report = wp.check(*args, **options)
    assert report.traces == ()
    assert report.verdict != "not examined", report
    return [f.code for f in (*report.errors, *report.warnings)]


class Kit(NamedTuple):
    """The parts of a problem, healthy or with one fault."""

    model: nn.Sequential
    scale: float
    trained: list[nn.Parameter]


def kit(fault: str) -> Kit:
    model = classifier(softmax=fault == "softmax")
    trained = list((model[0] if fault == "head" else model).parameters())
    return Kit(model, 1000.0 if fault == "scale" else 1.0, trained)


FAULTS = {"healthy": [], "softmax": ["WP501"], "scale": ["WP102"], "head": ["WP602"]}
every_fault = pytest.mark.parametrize("fault", FAULTS)


def assert_found(codes: list[str], fault: str) -> None:
    assert [code for code in codes if code != "WP302"] == FAULTS[fault]  # which raw inputs cause too


def adam(parts: Kit) -> torch.optim.Optimizer:
    return torch.optim.Adam(parts.trained, lr=1e-3)


# --- training steps, and losses of the whole batch


def closure(parts: Kit) -> Any:
    model = parts.model
    return {"model": lambda batch: F.cross_entropy(model(batch[0]), batch[1]), "train": loader(parts.scale)}


def step_of_dicts(parts: Kit) -> Any:
    model = parts.model

    def step(batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        logits = model(batch["features"].flatten(1))
        return {"loss": F.cross_entropy(logits, batch.pop("y")), "log": 3}

    train = [{"features": b["features"], "y": b["classes"]} for b in dicts(parts.scale)]
    return {"model": step, "train": train}


def module_of_batches(parts: Kit) -> Any:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = parts.model

        def forward(self, batch: Any) -> torch.Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

    return {"model": Module(), "train": loader(parts.scale)}


def loss_of_batches(parts: Kit) -> Any:
    def loss(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
        return F.cross_entropy(outputs, batch[1])

    return {"model": parts.model, "loss": loss, "train": loader(parts.scale)}


def step_with_outputs(parts: Kit) -> Any:
    def step(batch: Any) -> dict[str, torch.Tensor]:
        outputs = parts.model(batch[0])
        return {"loss": F.cross_entropy(outputs, batch[1]), "predictions": outputs}

    return {"model": step, "train": loader(parts.scale)}


STEPS = [closure, step_of_dicts, step_with_outputs, module_of_batches, loss_of_batches]


@every_fault
@pytest.mark.parametrize("given", STEPS, ids=lambda f: f.__name__)
def test_steps_and_losses_of_whole_batches_are_taken(given: Callable[[Kit], Any], fault: str) -> None:
    parts = kit(fault)
    assert_found(found(**given(parts), optimizer=adam(parts)), fault)


def test_outputs_that_a_step_makes_itself_and_returns_are_looked_at() -> None:
    net = classifier()

    def step(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        shares = net(batch[0]).softmax(1)
        return F.cross_entropy(shares, batch[1]), shares

    assert found(step, train=loader()) == ["WP501"]


def test_targets_may_be_called_batch() -> None:
    assert found(classifier(), lambda outputs, batch: F.cross_entropy(outputs, batch), loader()) == []


class OfDict(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.net(batch["features"])


class OfFeatures(OfDict):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.net(features)


@pytest.mark.parametrize("kind", [OfDict, OfFeatures])
def test_a_loss_of_dicts_that_name_no_targets_is_given_all_of_them(kind: type[OfDict]) -> None:
    def loss(outputs: torch.Tensor, entries: dict[str, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(outputs, entries["classes"])

    assert found(kind(classifier()), loss, dicts()) == []
    assert found(kind(classifier(softmax=True)), loss, dicts()) == ["WP501"]


def test_a_step_is_left_as_it_was() -> None:
    model, train = classifier(), loader()
    before = copy.deepcopy(vars(model[0])), torch.get_rng_state()
    wp.check(lambda batch: F.cross_entropy(model(batch[0]), batch[1]), train=train)
    assert vars(model[0]).keys() == before[0].keys()
    assert all(map(torch.equal, model[0].parameters(), before[0]["_parameters"].values()))
    assert torch.equal(torch.get_rng_state(), before[1])
    assert not any("_compiled_call_impl" in vars(m) for m in model.modules())


def test_a_step_that_raises_is_named_with_the_batch_that_it_got() -> None:
    model = classifier()
    with pytest.raises(UserCodeError, match=r"KeyError: 'x' when it was called with a whole batch") as caught:
        wp.check(lambda b: F.cross_entropy(model({}["x"]), b[1]), train=loader())
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_loss_of_two_calls_is_not_split() -> None:
    """There is no one output that it is made of: what that leaves unexamined is said."""
    model = classifier()

    def both(batch: Any) -> torch.Tensor:
        return F.cross_entropy(model(batch[0]), batch[1]) + F.cross_entropy(model(-batch[0]), batch[1])

    assert wp.check(both, train=loader()).verdict == "not examined"


def test_a_step_of_inputs_and_targets_is_taken() -> None:
    healthy, sick = classifier(), classifier(softmax=True)
    assert found(lambda x, y: F.cross_entropy(healthy(x), y), train=loader()) == []
    assert found(lambda x, y: F.cross_entropy(sick(x), y), train=loader()) == ["WP501"]


def test_targets_that_a_step_does_not_read_are_not_judged() -> None:
    encoder, decoder = nn.Linear(8, 4), nn.Linear(4, 8)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    report = wp.check(
        lambda batch: F.mse_loss(decoder(encoder(batch[0])), batch[0]),
        train=loader(),
        optimizer=torch.optim.Adam(parameters, lr=1e-3),
    )
    assert report.verdict == "ready"
    assert report.codes == ()


def test_what_else_a_batch_holds_is_for_its_loss() -> None:
    def weighted(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
        return (batch[2] * F.cross_entropy(outputs, batch[1], reduction="none")).mean()

    train = DataLoader(TensorDataset(X, Y, torch.rand(256)), batch_size=32)
    assert found(classifier(), weighted, train) == []
    assert found(classifier(softmax=True), weighted, train) == ["WP501"]


@pytest.mark.parametrize("steps", [True, False], ids=["with its step", "alone"])
def test_a_step_that_goes_backward_itself_is_refused(steps: bool) -> None:
    model = classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(batch: Any) -> torch.Tensor:
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        if steps:
            optimizer.step()
        return loss

    with pytest.raises(ProblemError, match=r"goes backward itself: let it return the loss"):
        wp.check(step, train=loader())
    assert all(p.grad is None for p in model.parameters())
    assert not optimizer.state


def test_a_step_that_returns_no_loss_is_told_what_it_lacks() -> None:
    model = classifier()
    with pytest.raises(UserCodeError, match=r"no loss that has a graph, as loss.item\(\) has none"):
        wp.check(lambda b: F.cross_entropy(model(b[0]), b[1]).item(), train=loader())


@pytest.mark.parametrize("in_place", [False, True], ids=["torch.compile", "module.compile"])
def test_compiled_modules_within_a_step_run_as_they_are_written(in_place: bool) -> None:
    model: Any = classifier(softmax=True)
    if in_place:
        model.compile(backend="eager")
    compiled: Any = model if in_place else torch.compile(model, backend="eager")
    own = model._compiled_call_impl
    assert found(lambda b: F.cross_entropy(compiled(b[0]), b[1]), train=loader()) == ["WP501"]
    assert model._compiled_call_impl is own


class Unpacking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = classifier()

    def forward(self, graph: Any) -> torch.Tensor:
        left, right = graph
        return self.net(left + right)


def test_a_tuple_goes_whole_to_a_model_of_one_argument() -> None:
    assert found(Unpacking(), F.cross_entropy, ((X, X), Y)) == []


# --- optimizers, tables, ways of running


@every_fault
def test_a_scheduler_stands_for_its_optimizer(fault: str) -> None:
    parts = kit(fault)
    optimizer = adam(parts)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 100))
    for given in (warmup, [optimizer, warmup], {"a": optimizer, "b": warmup}):
        assert_found(found(parts.model, F.cross_entropy, loader(parts.scale), optimizer=given), fault)
    assert warmup.last_epoch == 0


def test_a_table_is_taken_with_its_column_of_targets() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X.numpy() * np.array([1000.0] + 7 * [1.0]), columns=list("abcdefgh"))
    table["target"] = Y.numpy()
    report = wp.check(classifier(), F.cross_entropy, table)
    assert "inputs.a" in [f.where for f in report.findings]
    with pytest.raises(DataError, match=r"name the column of targets one of labels"):
        wp.check(classifier(), F.cross_entropy, table.rename(columns={"target": "kind"}))


@every_fault
def test_autocast_within_the_model_is_taken(fault: str) -> None:
    parts = kit(fault)

    class Cast(OfFeatures):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.net(features)

    assert_found(found(Cast(parts.model), F.cross_entropy, loader(parts.scale), optimizer=adam(parts)), fault)


# --- Lightning


def lightning(parts: Kit) -> tuple[Any, Any]:
    """A module and a data module, as a template makes them."""
    L, torchmetrics = pytest.importorskip("lightning"), pytest.importorskip("torchmetrics")

    class Lit(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.criterion = parts.model, nn.CrossEntropyLoss()
            self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            x, y = batch
            logits = self(x.view(len(x), -1))
            loss = self.criterion(logits, y)
            self.accuracy(logits, y)
            self.log("train_loss", loss, prog_bar=True)
            self.log_dict({"accuracy": self.accuracy})
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(parts.trained, lr=1e-3)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 10)]

    class Data(L.LightningDataModule):
        def setup(self, stage: str) -> None:
            self.rows = TensorDataset(parts.scale * X, Y)

        def train_dataloader(self) -> Any:
            return DataLoader(self.rows, batch_size=32, shuffle=True)

        def val_dataloader(self) -> Any:
            return DataLoader(TensorDataset(parts.scale * X[:64] + 1e-3, Y[:64]), batch_size=32)

    return Lit(), Data()


@every_fault
def test_a_lightning_module_is_taken_with_its_data_module_or_a_loader(fault: str) -> None:
    parts = kit(fault)
    lit, data = lightning(parts)
    assert_found(found(lit, train=loader(parts.scale)), fault)
    report = wp.check(lit, train=data)
    assert_found([f.code for f in (*report.errors, *report.warnings)], fault)
    assert "WP103" in (*report.passed, *report.codes)  # it knows the validation data
    assert report.environment["model"].startswith("Lit,")


def test_a_lightning_module_is_left_as_it_was() -> None:
    lit, data = lightning(kit("healthy"))
    attributes, of_data = dict(vars(lit)), dict(vars(data))
    state = copy.deepcopy(lit.state_dict())
    for call in (wp.check, wp.measure_signals):
        call(lit, train=data)
        assert vars(lit).keys() == attributes.keys()
        assert all(vars(lit)[k] is v for k, v in attributes.items())
        assert vars(data) == of_data
        assert all(torch.equal(v, state[k]) for k, v in lit.state_dict().items())


def test_a_lightning_module_is_left_as_it_was_when_it_raises() -> None:
    lit, data = lightning(kit("healthy"))
    attributes, of_data = dict(vars(lit)), dict(vars(data))

    def raising(*args: Any) -> Any:
        lit.seen, data.seen = 1, 1
        raise RuntimeError("LightningModule is not attached to a Trainer")

    type(lit).training_step = raising
    with pytest.raises(UserCodeError, match=r"Lit.training_step, called without its trainer, .*lambda batch"):
        wp.check(lit, train=data)
    type(lit).configure_optimizers = raising
    with pytest.raises(UserCodeError, match=r"configure_optimizers raised .*pass optimizer="):
        wp.check(lit, train=data)
    assert vars(lit).keys() == attributes.keys()
    assert vars(data) == of_data


def test_a_lightning_module_that_steps_itself_is_refused() -> None:
    lit, data = lightning(kit("healthy"))
    lit.automatic_optimization = False
    with pytest.raises(ProblemError, match=r"automatic_optimization=False.*wp.check\(lambda batch"):
        wp.check(lit, train=data)


def test_what_fix_changes_is_given_back_for_the_lightning_module() -> None:
    unlike = torch.tensor(3 * [0.01] + 5 * [100.0])  # what the targets depend on is the smallest
    lit, data = lightning(kit("healthy")._replace(scale=unlike))  # pyright: ignore[reportArgumentType]
    fixed = wp.fix(lit, train=data)
    assert [remedy.name for remedy in fixed.applied] == ["normalise inputs"]
    assert (fixed.problem.model, fixed.problem.loss, fixed.problem.optimizer) == (lit, None, None)
    assert fixed.after.verdict == "ready"
    lit, data = lightning(kit("healthy"))
    assert wp.fix(lit, train=data).problem.train is data


@pytest.mark.parametrize("in_place", [False, True])
def test_weights_are_redrawn_in_a_copy_of_a_model_with_its_own_loss(in_place: bool) -> None:
    torch.manual_seed(0)
    hidden = [layer for _ in range(6) for layer in (nn.Linear(32, 32), nn.ReLU())]
    model = OwnLoss(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), *hidden, nn.Linear(32, 3)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 0.1
    before = copy.deepcopy(model.state_dict())
    fixed = wp.fix(model, train=DataLoader(Rows(), batch_size=32), in_place=in_place)
    assert [remedy.name for remedy in fixed.applied] == ["redraw weights"]
    assert type(fixed.problem.model) is OwnLoss
    assert (fixed.problem.model is model) == in_place
    assert torch.equal(model.state_dict()["net.2.weight"], before["net.2.weight"]) != in_place


def test_lightning_is_taken_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    file = tmp_path / "train_lit.py"
    file.write_text(
        "import lightning as L, torch\n"
        "class Lit(L.LightningModule):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.net = torch.nn.Linear(8, 3)\n"
        "    def training_step(self, batch):\n"
        "        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])\n"
        "    def train_dataloader(self):\n"
        "        x = torch.randn(64, 8)\n"
        "        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x[:, :3].argmax(1)), 32)\n"
        "problem = Lit()\n"
    )
    assert found(load_problem(f"{file}:problem")) == []


# --- Hugging Face


class Rows(Dataset[Any]):
    def __init__(self, scale: float = 1.0, x: torch.Tensor = X) -> None:
        self.rows = [{"x": scale * row, "labels": row[:3].argmax()} for row in x]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return self.rows[i]


class OwnLoss(nn.Module):
    """As the models of transformers are: the loss beside the logits."""

    config = None

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.net(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits} if labels is not None else {"logits": logits}  # fmt: skip


@every_fault
def test_a_model_with_a_loss_of_its_own_is_taken_with_a_loader_of_dicts(fault: str) -> None:
    parts = kit(fault)
    train = DataLoader(Rows(parts.scale), batch_size=32)
    assert_found(found(OwnLoss(parts.model), train=train, optimizer=adam(parts)), fault)


def trainer(parts: Kit, folder: Path, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    kind = options.pop("kind", transformers.Trainer)
    args = transformers.TrainingArguments(
        output_dir=str(folder), report_to=[], use_cpu=True, learning_rate=1e-3, **options
    )
    model, optimizers = OwnLoss(parts.model), (None, None)
    if len(parts.trained) < len(list(parts.model.parameters())):
        optimizers = (adam(parts), None)
    rows, held_out = Rows(parts.scale, X[:192]), Rows(parts.scale, X[192:])
    return kind(model=model, args=args, train_dataset=rows, eval_dataset=held_out, optimizers=optimizers)


def smoothed(folder: Path, parts: Kit) -> Any:
    return trainer(parts, folder, label_smoothing_factor=0.05)


def with_compute_loss(folder: Path, parts: Kit) -> Any:
    transformers = pytest.importorskip("transformers")

    class Own(transformers.Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            targets = inputs.pop("labels")
            outputs = model(**inputs)
            loss = F.cross_entropy(outputs["logits"], targets)
            return (loss, outputs) if return_outputs else loss

    return trainer(parts, folder, kind=Own)


@every_fault
@pytest.mark.parametrize(
    "make",
    [lambda folder, parts: trainer(parts, folder), smoothed, with_compute_loss],
    ids=["plain", "smoothed", "compute_loss"],
)
def test_a_trainer_is_taken(make: Callable[[Path, Kit], Any], fault: str, tmp_path: Path) -> None:
    given = make(tmp_path, kit(fault))
    before = given.optimizer, given.lr_scheduler, given.callback_handler.train_dataloader
    assert_found(found(given), fault)
    assert (given.optimizer, given.lr_scheduler, given.callback_handler.train_dataloader) == before


# --- Accelerate and PEFT


@every_fault
def test_what_accelerate_prepared_is_taken(fault: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    parts = kit(fault)
    optimizer = adam(parts)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    prepared = accelerate.Accelerator(cpu=True).prepare(parts.model, optimizer, loader(parts.scale), schedule)
    model, stepped, train, scheduled = prepared
    for given in (stepped, scheduled):
        assert_found(found(model, F.cross_entropy, train, optimizer=given), fault)


@pytest.mark.parametrize("fault", ["healthy", "softmax", "scale"])
def test_a_model_with_adapters_is_taken(fault: str) -> None:
    peft = pytest.importorskip("peft")
    parts = kit(fault)
    model = peft.get_peft_model(parts.model, peft.LoraConfig(target_modules=["0", "2"], r=4))
    trained = [p for p in model.parameters() if p.requires_grad]
    codes = found(model, F.cross_entropy, loader(parts.scale), optimizer=torch.optim.AdamW(trained, lr=1e-2))
    assert_found(codes, fault)


# --- PyTorch Geometric


class GraphNetwork(nn.Module):
    def __init__(self, *, softmax: bool) -> None:
        super().__init__()
        layers = pytest.importorskip("torch_geometric.nn")
        torch.manual_seed(0)
        self.body, self.head, self.softmax = layers.GCNConv(8, 32), nn.Linear(32, 3), softmax
        self.pool = layers.global_mean_pool

    def forward(self, x: Any, edge_index: Any, batch: Any) -> torch.Tensor:
        logits = self.head(self.pool(self.body(x, edge_index).relu(), batch))
        return logits.softmax(1) if self.softmax else logits


def graphs() -> Any:
    data, loaders = pytest.importorskip("torch_geometric.data"), pytest.importorskip("torch_geometric.loader")

    def graph(i: int) -> Any:
        nodes = 4 + i % 3
        ring = torch.stack([torch.arange(nodes), (torch.arange(nodes) + 1) % nodes])
        x = X[i : i + nodes]
        return data.Data(x=x, edge_index=ring, y=x[:, :3].sum(0).argmax()[None])

    return loaders.DataLoader([graph(i) for i in range(128)], batch_size=32)


@pytest.mark.parametrize("softmax", [False, True])
def test_graphs_are_taken_apart_by_a_function(softmax: bool) -> None:
    model, train = GraphNetwork(softmax=softmax), graphs()
    expected = ["WP501"] if softmax else []
    taken_apart: Any = lambda data: model(data.x, data.edge_index, data.batch)  # noqa: E731
    assert found(taken_apart, F.cross_entropy, train) == expected
    assert found(lambda data: F.cross_entropy(taken_apart(data), data.y), train=train) == expected


def test_a_model_of_parts_of_a_graph_is_refused_with_the_function_to_give() -> None:
    with pytest.raises(UserCodeError, match=r"lambda data: model\(data.x, data.edge_index, data.batch\)"):
        wp.check(GraphNetwork(softmax=False), F.cross_entropy, graphs())


def test_batches_whose_rows_belong_together_are_taken() -> None:
    class Unpacks(GraphNetwork):
        def forward(self, graph: Any) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().forward(*graph)

    train = [((b.x, b.edge_index, b.batch), b.y) for b in graphs()]
    assert found(Unpacks(softmax=False), F.cross_entropy, train) == []


# --- Keras

_KERAS = """
import keras, numpy as np, wellposed as wp
x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
y = x[:, :3].argmax(1)

def found(model, train):
    report = wp.check(model, train=train)
    return [f.code for f in (*report.errors, *report.warnings)]

def compiled(softmax=False, optimizer="adam", hidden=1, kernel="glorot_uniform"):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(32, activation="relu", kernel_initializer=kernel) for _ in range(hidden)]
    last = keras.layers.Dense(3, activation="softmax" if softmax else None)
    model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dropout(0.1), last])
    model.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model

model = compiled()
before = [w.numpy().copy() for w in model.weights], dict(vars(model.optimizer))
print(found(model, (x, y)))
print(found(compiled(softmax=True), (x, y)))
print(found(compiled(optimizer=keras.optimizers.SGD(1000.0)), (x, y)))
print(found(compiled(hidden=12, kernel=keras.initializers.RandomNormal(stddev=0.01)), (x, y)))
print(all((w.numpy() == b).all() for w, b in zip(model.weights, before[0])), vars(model.optimizer) == before[1])
"""


def test_a_compiled_keras_model_is_taken() -> None:
    """In a process of its own: Keras reads its backend when it is imported."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("keras is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", _KERAS],
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=True,
    )
    healthy, softmax, rate, vanishing, same = ran.stdout.strip().splitlines()
    assert healthy == "[]"
    assert softmax == "['WP501']"
    assert rate == "['WP607']"
    assert "WP201" in vanishing
    assert same == "True True"
