"""``wp.check`` on everything that people train: every form of model, loss, data and optimizer gives a sound verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import wellposed as wp

ROWS = 96
X = torch.randn(ROWS, 8, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def net(*, features: int = 8, outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, outputs))


def measured(report: wp.Report) -> set[str]:
    """Codes of the rules that gave a verdict."""
    return {*report.codes, *report.passed}


def assert_sound(report: wp.Report, *codes: str) -> None:
    """The problem is ready, and the named rules did measure."""
    assert report.verdict == "ready", str(report)
    assert set(codes) <= measured(report), str(report)


# --- models and losses


class OwnLoss(nn.Module):
    """Returns its own loss, in one of the forms in use."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.form = net(), form

    def forward(self, x: Tensor, labels: Tensor) -> Any:
        logits = self.net(x)
        return self.form(F.cross_entropy(logits, labels), logits)


class Ensemble:
    """A callable of the user's own that holds a list of modules."""

    def __init__(self) -> None:
        self.members = [net(), net()]

    def __call__(self, x: Tensor) -> Tensor:
        return sum(member(x) for member in self.members) / 2  # type: ignore[return-value]


def two_modules() -> Callable[[Tensor], Tensor]:
    torch.manual_seed(0)
    body, head = nn.Sequential(nn.Linear(8, 32), nn.ReLU()), nn.Linear(32, 3)
    return lambda x: head(body(x))


def scaled(factor: float, model: nn.Module, x: Tensor) -> Tensor:
    return factor * model(x)


MODELS: dict[str, Callable[[], Any]] = {
    "a module": net,
    "a function over modules": two_modules,
    "a partial": lambda: partial(scaled, 0.5, net()),
    "an object with modules": Ensemble,
    "a bound method": lambda: net().forward,
}


@pytest.mark.parametrize("name", MODELS)
def test_every_form_of_model_is_checked(name: str) -> None:
    report = wp.check(MODELS[name](), F.cross_entropy, (X, Y))
    assert_sound(report, "WP201", "WP301", "WP302", "WP601")


LOSSES: dict[str, Callable[[], Any]] = {
    "a function": lambda: F.cross_entropy,
    "a module": nn.CrossEntropyLoss,
    "a partial": lambda: partial(F.cross_entropy, label_smoothing=0.1),
    "a lambda": lambda: lambda outputs, targets: F.cross_entropy(outputs, targets),
    "class weights in a closure": lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0])),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_form_of_loss_is_probed(name: str) -> None:
    report = wp.check(net(), LOSSES[name](), (X, Y))
    assert_sound(report, "WP302", "WP501", "WP504", "WP506")


OWN_LOSSES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "an attribute": lambda loss, logits: SimpleNamespace(loss=loss, logits=logits),
    "a key": lambda loss, logits: {"loss": loss, "logits": logits},
    "logits and loss": lambda loss, logits: (logits, loss),
    "loss and logits": lambda loss, logits: (loss, logits),
    "a scalar": lambda loss, logits: loss,
}


@pytest.mark.parametrize("name", OWN_LOSSES)
@pytest.mark.parametrize("data", ["pair", "dict"])
def test_a_model_that_returns_its_own_loss_is_trained_and_judged(name: str, data: str) -> None:
    model = OwnLoss(OWN_LOSSES[name])
    train = (
        (X, Y)
        if data == "pair"
        else [{"x": x, "labels": y} for x, y in zip(X.split(32), Y.split(32), strict=True)]
    )
    report = wp.check(model, train=train, optimizer=torch.optim.Adam(model.parameters(), lr=1e-2))
    assert not report.errors, str(report)
    assert not report.warnings, str(report)
    assert {"WP002", "WP301", "WP601", "WP607", "WP608"} <= measured(report)
    outcome = report.measurements["training"].outcome
    assert outcome.end < outcome.start


# --- data


class Stream(IterableDataset):
    """Rows one by one, as from a file."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(X, Y, strict=True)


class Again:
    """Gives the same batches whenever it is asked."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(X.split(32), Y.split(32), strict=True)


class WholeBatches(torch.utils.data.Dataset):
    """A dataset whose items are whole batches."""

    def __len__(self) -> int:
        return ROWS // 32

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return X.split(32)[index], Y.split(32)[index]


DATA: dict[str, Callable[[], Any]] = {
    "a pair of tensors": lambda: (X, Y),
    "a pair of arrays": lambda: (X.numpy(), Y.numpy()),
    "a pair of float64 arrays": lambda: (X.double().numpy(), Y.numpy()),
    "a list of batches": lambda: list(zip(X.split(32), Y.split(32), strict=True)),
    "batches as lists": lambda: [list(b) for b in zip(X.split(32), Y.split(32), strict=True)],
    "an object that iterates again": Again,
    "a loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=32, shuffle=True),
    "a loader that keeps the last": lambda: DataLoader(TensorDataset(X, Y), batch_size=33),
    "a loader of a stream": lambda: DataLoader(Stream(), batch_size=32),
    "a loader without batching": lambda: DataLoader(WholeBatches(), batch_size=None),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_every_form_of_data_is_read(name: str) -> None:
    report = wp.check(net(), F.cross_entropy, DATA[name]())
    assert_sound(report, "WP101", "WP106", "WP201", "WP302", "WP601", "WP603")


def test_a_loader_with_workers_is_read_without_starting_them() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=32, num_workers=2, persistent_workers=True)
    report = wp.check(net(), F.cross_entropy, loader)
    assert_sound(report, "WP106", "WP302")
    assert loader._iterator is None


@pytest.mark.parametrize("held", ["a pair of arrays", "a list of batches", "a loader"])
@pytest.mark.parametrize("train", ["a pair of tensors", "a loader of a stream"])
def test_validation_may_have_another_form_than_train(train: str, held: str) -> None:
    other = torch.randn(ROWS, 8, generator=torch.Generator().manual_seed(1))
    pair = other, other[:, :3].argmax(1)
    validation = {
        "a pair of arrays": tuple(t.numpy() for t in pair),
        "a list of batches": [pair],
        "a loader": DataLoader(TensorDataset(*pair), batch_size=40),
    }[held]
    report = wp.check(net(), F.cross_entropy, DATA[train](), validation=validation)
    assert_sound(report, "WP103", "WP105", "WP108")


class Several(nn.Module):
    """Takes a table and a code, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.codes, self.head = nn.Linear(8, 16), nn.Embedding(5, 16), nn.Linear(16, 3)

    def forward(self, table: Tensor, codes: Tensor) -> Tensor:
        return self.head(torch.relu(self.table(table) + self.codes(codes)))


CODES = torch.arange(ROWS) % 5
SEVERAL: dict[str, Callable[[], Any]] = {
    "a tuple in a pair": lambda: ((X, CODES), Y),
    "a dict in a pair": lambda: ({"table": X, "codes": CODES}, Y),
    "batches of three parts": lambda: DataLoader(TensorDataset(X, CODES, Y), batch_size=32),
    "batches of a tuple and targets": lambda: [((X[:48], CODES[:48]), Y[:48]), ((X[48:], CODES[48:]), Y[48:])],
    "dict batches with labels": lambda: [
        {"table": x, "codes": c, "labels": y} for x, c, y in zip(X.split(32), CODES.split(32), Y.split(32), strict=True)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_several_inputs_are_given_in_every_form(name: str) -> None:
    report = wp.check(Several(), F.cross_entropy, SEVERAL[name]())
    assert_sound(report, "WP302", "WP601", "WP603", "WP605")


# --- optimizers


def groups(model: nn.Sequential) -> torch.optim.Optimizer:
    body, head = ({"params": model[i].parameters(), "lr": rate} for i, rate in ((0, 1e-3), (2, 1e-2)))
    return torch.optim.AdamW([body, head], weight_decay=1e-2)


def one_cycle(model: nn.Sequential) -> torch.optim.Optimizer:
    """Starts at a rate far too small, and says what it will reach."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=1000, div_factor=1e6)
    return optimizer


def warm_up(model: nn.Sequential) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1e-7, total_iters=500)
    return optimizer


OPTIMIZERS: dict[str, Callable[[nn.Sequential], torch.optim.Optimizer]] = {
    "SGD": lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
    "SGD with Nesterov": lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda m: torch.optim.Adam(m.parameters(), lr=1e-2),
    "RMSprop": lambda m: torch.optim.RMSprop(m.parameters(), lr=1e-3),
    "Adagrad": lambda m: torch.optim.Adagrad(m.parameters(), lr=1e-2),
    "AdamW with groups": groups,
    "LBFGS": lambda m: torch.optim.LBFGS(m.parameters(), lr=1e-2, max_iter=4),
    "one cycle": one_cycle,
    "warm-up": warm_up,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_its_steps_and_is_sound(name: str) -> None:
    model = net()
    report = wp.check(model, F.cross_entropy, (X, Y), optimizer=OPTIMIZERS[name](model))
    assert_sound(report, "WP301", "WP602")


def test_overfitting_few_noisy_rows_is_no_update_too_large() -> None:
    x = torch.randn(200, 50, generator=torch.Generator().manual_seed(0))
    flipped = torch.rand(200, generator=torch.Generator().manual_seed(2)) < 0.3
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2))
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    report = wp.check(model, F.cross_entropy, (x, ((x[:, 0] > 0) ^ flipped).long()), optimizer=adam)
    assert "WP607" not in report.codes, str(report)


@pytest.mark.parametrize("name", ["one cycle", "warm-up"])
def test_a_schedule_in_its_warm_up_is_no_update_too_small(name: str) -> None:
    model = net()
    report = wp.check(model, F.cross_entropy, (X, Y), optimizer=OPTIMIZERS[name](model))
    reasons = {s.code: s.reason for s in report.skipped}
    assert "warm-up" in reasons["WP608"]


def test_without_an_optimizer_what_needs_one_is_skipped_and_says_so() -> None:
    report = wp.check(net(), F.cross_entropy, (X, Y))
    reasons = {s.code: s.reason for s in report.skipped}
    assert {reasons[code] for code in ("WP602", "WP607", "WP608", "WP609")} == {"no optimizer given"}


@pytest.mark.parametrize("held", ["all parameters", "the trainable ones"])
def test_a_frozen_backbone_is_sound(held: str) -> None:
    model = net()
    model[0].requires_grad_(False)
    ours = [p for p in model.parameters() if p.requires_grad or held == "all parameters"]
    report = wp.check(model, F.cross_entropy, (X, Y), optimizer=torch.optim.Adam(ours, lr=1e-2))
    assert_sound(report, "WP601", "WP602")


# --- what a report promises


def saved_measurements(report: wp.Report) -> Any:
    return json.loads(report.to_json())["measurements"]


def test_the_same_seed_gives_the_same_report() -> None:
    model = nn.Sequential(net(outputs=16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 3))
    one, other = (wp.check(model, F.cross_entropy, (X, Y), seed=5) for _ in range(2))
    assert saved_measurements(one) == saved_measurements(other)
    assert one.findings == other.findings


def test_another_seed_draws_other_batches() -> None:
    one, other = (wp.check(net(), F.cross_entropy, (X, Y), seed=s) for s in (0, 1))
    assert one.measurements["objective"] != other.measurements["objective"]


def test_a_report_of_a_real_check_survives_json() -> None:
    report = wp.check(net(), F.cross_entropy, (X, Y), optimizer=torch.optim.SGD(net().parameters(), lr=0.1))
    back = wp.Report.from_json(report.to_json())
    assert (back.findings, back.passed, back.skipped) == (report.findings, report.passed, report.skipped)
    assert str(back) == str(report)


@pytest.mark.parametrize("rate", [1e2, 1e5, 1e12])
def test_a_training_that_blows_up_never_passes_and_its_report_survives_json(rate: float) -> None:
    model = net()
    report = wp.check(model, F.cross_entropy, (X, Y), optimizer=torch.optim.SGD(model.parameters(), lr=rate))
    assert "WP607" in report.codes, str(report)
    assert wp.Report.from_json(report.to_json()).codes == report.codes


def test_a_problem_is_welcome_as_the_first_argument() -> None:
    problem = wp.Problem(model=net(), loss=F.cross_entropy, train=(X, Y), name="mine")
    report = wp.check(problem)
    assert_sound(report)
    assert report.environment["problem"] == "mine"


def test_selecting_and_ignoring_leave_only_the_rules_asked_for() -> None:
    report = wp.check(net(), F.cross_entropy, (X, Y), select=("WP1", "initial-loss"), ignore="WP109")
    seen = {*measured(report), *(s.code for s in report.skipped)}
    assert "WP302" in seen
    assert "WP109" not in seen
    assert all(code.startswith("WP1") for code in seen - {"WP302"})


def test_limits_can_be_overridden() -> None:
    anything = wp.Limits(majority_share=0.0, majority_times=0.0)
    assert "WP111" in wp.check(net(), F.cross_entropy, (X, Y)).passed
    assert "WP111" in wp.check(net(), F.cross_entropy, (X, Y), limits=anything).codes


def test_names_of_the_features_reach_the_finding() -> None:
    data = X.clone()
    data[3, 2] = float("nan")
    names = tuple("abcdefgh")
    report = wp.check(wp.Problem(model=net(), loss=F.cross_entropy, train=(data, Y), feature_names=names))
    assert report.findings[0].where == "inputs.c"


def test_progress_names_the_stages() -> None:
    stages: list[str] = []
    wp.check(net(), F.cross_entropy, (X, Y), progress=stages.append)
    assert stages[0] == "reading the data"
    assert len(stages) > 3


# --- what was not looked at is never ready


def without_classes(value: int) -> Tensor:
    return torch.full_like(Y, value)


NOT_EXAMINED: dict[str, tuple[Callable[[], wp.Report], list[str], str, str]] = {
    "no loss": (
        lambda: wp.check(net(), None, (X, Y)),
        ["objective", "wiring"],
        "no loss was given",
        "pass loss=...",
    ),
    "no loss and no targets": (
        lambda: wp.check(net(), None, X),
        ["objective", "wiring"],
        "no loss was given",
        "data of pairs (inputs, targets)",
    ),
    "all targets ignored, loss nan": (
        lambda: wp.check(net(), F.cross_entropy, (X, without_classes(-100))),
        ["objective", "wiring"],
        "no target counts",
        "targets that count",
    ),
    "all targets ignored, loss 0": (
        lambda: wp.check(
            net(), nn.CrossEntropyLoss(ignore_index=255, reduction="sum"), (X, without_classes(255))
        ),
        ["objective", "wiring"],
        "no target counts",
        "targets that count",
    ),
    "all labels ignored by a model with its own loss": (
        lambda: wp.check(
            OwnLoss(OWN_LOSSES["a key"]), train=[{"x": X[:32], "labels": without_classes(-100)[:32]}] * 4
        ),
        ["objective", "wiring"],
        "no target counts",
        "targets that count",
    ),
    "no parameters of PyTorch": (
        lambda: wp.check(lambda x: x[:, :3], F.cross_entropy, (X, Y)),
        ["wiring"],
        "no trainable parameters were found",
        "KERAS_BACKEND=torch",
    ),
    "batches of one sample": (
        lambda: wp.check(net(), F.cross_entropy, list(zip(X.split(1), Y.split(1), strict=True))),
        ["signals"],
        "every batch holds one sample",
        "several samples",
    ),
    "a selected rule that lacks what it needs": (
        lambda: wp.check(net(), F.cross_entropy, (X, Y), select="WP607"),
        ["wiring"],
        "no optimizer given",
        "pass optimizer=...",
    ),
}


@pytest.mark.parametrize("name", NOT_EXAMINED)
def test_what_matters_and_was_not_looked_at_is_named_with_what_to_pass(name: str) -> None:
    build, families, reason, needs = NOT_EXAMINED[name]
    report = build()
    assert report.verdict == "not examined", str(report)
    assert not report
    assert [u.family for u in report.unexamined] == families
    assert all(reason in u.reason and needs in u.needs for u in report.unexamined)


CODES_IN = torch.randint(0, 50, (64, 12), generator=torch.Generator().manual_seed(0))


def next_code(outputs: Tensor, codes: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), codes.flatten())


READY: dict[str, Callable[[], wp.Report]] = {
    "a single layer": lambda: wp.check(nn.Linear(8, 3), F.cross_entropy, (X, Y)),
    "regression": lambda: wp.check(net(outputs=1), F.mse_loss, (X, X[:, :1])),
    "one layer over codes": lambda: wp.check(
        nn.Sequential(nn.Embedding(50, 16), nn.Linear(16, 50)), next_code, (CODES_IN[:, :-1], CODES_IN[:, 1:])
    ),
    "segmentation": lambda: wp.check(
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)),
        F.cross_entropy,
        (X.reshape(12, 1, 8, 8), (X.reshape(12, 8, 8) > 0).long()),
    ),
    "no loss, and the rules that need one ignored": lambda: wp.check(
        net(), None, (X, Y), ignore=("WP5", "WP6")
    ),
    "rules about data alone": lambda: wp.check(net(), None, (X, Y), select="WP1"),
}


@pytest.mark.parametrize("name", READY)
def test_what_was_looked_at_as_far_as_it_goes_is_ready(name: str) -> None:
    report = READY[name]()
    assert report.verdict == "ready", str(report)


@pytest.mark.parametrize("loss", [F.cross_entropy, None])
def test_a_model_of_which_every_parameter_is_frozen_is_not_ready(loss: Any) -> None:
    report = wp.check(net().requires_grad_(False), loss, (X, Y))
    assert report.codes == ("WP610",), str(report)
    assert report.verdict == "not ready"
    assert "every parameter is frozen: none of 4" in report.findings[0].summary


def test_a_loss_without_a_graph_is_the_first_thing_to_mend() -> None:
    report = wp.check(net(), lambda outputs, y: torch.tensor(1.0), (X, Y))
    assert (report.findings[0].code, report.findings[0].where) == ("WP610", "loss")


def test_no_remedy_is_tried_where_nothing_trains() -> None:
    fixed = wp.fix(net().requires_grad_(False), F.cross_entropy, (1000 * X, Y))
    assert fixed.applied == ()
    assert not fixed
    reasons = {code: remedy.reason for remedy in fixed.withheld for code in remedy.codes}
    assert reasons["WP610"] == "needs a change in your code"
    assert "no parameter trains" in reasons["WP102"]


# --- real data that must pass


def standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize("targets", ["standardised", "raw"])
def test_diabetes_which_is_already_scaled_gives_no_error(targets: str) -> None:
    table: Any = load_diabetes()
    x = torch.tensor(table.data, dtype=torch.float32)
    y = torch.tensor(table.target, dtype=torch.float32)[:, None]
    model = net(features=10, outputs=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    report = wp.check(
        model, F.mse_loss, (x, standardised(y) if targets == "standardised" else y), optimizer=optimizer
    )
    assert not report.errors, str(report)
    if targets == "standardised":
        assert report.ok, str(report)


def test_digits_with_constant_pixels_give_a_note_and_no_error() -> None:
    table: Any = load_digits()
    x, y = torch.tensor(table.data / 16, dtype=torch.float32), torch.tensor(table.target)
    model = net(features=64, outputs=10)
    report = wp.check(model, F.cross_entropy, (x, y), optimizer=torch.optim.Adam(model.parameters(), lr=1e-2))
    assert report.codes == ("WP104",)
    assert report.ok, str(report)


def test_arrays_of_a_regression_are_read() -> None:
    report = wp.check(net(outputs=1), F.mse_loss, (X.double().numpy(), X[:, :1].double().numpy()))
    assert_sound(report, "WP503", "WP504", "WP505")


@pytest.mark.parametrize("rate", [0.0, 1e-12])
def test_a_rate_that_changes_no_bit_is_an_error(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    report = wp.check(model, nn.functional.cross_entropy, (x, x[:, :3].argmax(1)), optimizer=optimizer)
    assert [f.code for f in report.findings if f.severity == "error"] == ["WP608"]
    assert "by a single bit" in report.findings[0].summary


def test_a_loss_that_falls_and_rises_again_is_not_laid_on_the_rate() -> None:
    from wellposed.rules.updates import fell_first
    from wellposed.signals.result import TrainingOutcome

    falls_first = [1.1, 1.0, 0.9, 0.9, 0.8, 0.9, 0.8, 0.9, 1.0, 1.1, 1.2]
    overshoots = [1.1, 1.6, 1.3, 1.7, 1.2, 1.8, 1.5, 1.9, 1.6, 2.0, 1.9]
    runs_away = [1.1, 1.0, 0.9, 0.8, 0.8, 0.8, 0.8, 5.0, 20.0, 60.0, 90.0]
    told = [
        fell_first(TrainingOutcome(start=losses[0], end=losses[-1], losses=tuple(losses)), wp.Limits())
        for losses in (falls_first, overshoots, runs_away)
    ]
    assert told == [True, False, False]
