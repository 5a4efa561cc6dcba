"""What a problem may be given as beside a model, a loss and data: objects of training libraries, training steps, losses of whole batches.

Each door recognises one kind, and says what it is as a `Problem` that the rest of the package knows. Libraries are recognised where they
are loaded already; none is imported. Everything that a door calls runs in a scope that leaves no trace.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ...errors import ProblemError, UserCodeError, WellposedError, said_by
from ...problem import Problem
from ..batch_keys import TARGET_KEYS, target_key
from .batch import Batch, describe
from .batches import batches
from .problem_forms import Optimizers
from .restore import preserved_problem
from .session import CalledModule, Runner, TakesBatch
from .steps import Step, taken_apart


def opened(problem: Problem) -> Problem:
    """The same problem as a module or a function, its loss, its data and its optimizer, whatever it was given as.

    Raises
    ------
    ProblemError, UserCodeError
        When a door cannot take what stands in it; the message says what to pass instead.
    """
    with preserved_problem(problem):
        for door in DOORS:
            problem = door(problem)
    return problem


def _is_a(value: Any, name: str, *modules: str) -> bool:
    """Whether it is an instance of the class of this name in one of the modules, as far as they are loaded."""
    classes = (getattr(sys.modules.get(module), name, None) for module in modules)
    return any(isinstance(kind, type) and isinstance(value, kind) for kind in classes)


@contextmanager
def _asking(what: str, instead: str) -> Iterator[None]:
    """What a library's object raises when it is asked for a part, with what to pass instead of that part."""
    try:
        yield
    except WellposedError:
        raise
    except Exception as error:  # whatever the user's hooks raise is theirs
        raise UserCodeError(f"{what} raised {said_by(error)}: {instead}") from error


def _first_batch(problem: Problem) -> Batch:
    drawn = batches(problem.train, count=1, seed=0, has_loss="of the batch")[0]
    return drawn.to(Runner(replace(problem, optimizer=None)).device)


# --- Lightning

_LIGHTNING = ("lightning.pytorch", "pytorch_lightning")
_AS_A_STEP = "pass the step as a function: wp.check(lambda batch: ..., train=loader, optimizer=optimizer)"


def _data_module(problem: Problem) -> Problem:
    """The loaders of a LightningDataModule, as `fit` asks for them."""
    data = problem.train
    if not _is_a(data, "LightningDataModule", *_LIGHTNING):
        return problem
    with _asking(f"{type(data).__name__}.setup('fit')", "prepare the data first, or pass its DataLoader"):
        data.setup("fit")
    return _with_loaders_of(data, replace(problem, train=None))


def _lightning(problem: Problem) -> Problem:
    """What a LightningModule trains: its training_step, its loaders where none are given, and its optimizers."""
    lit, hooks = problem.model, [problem.model]
    if not _is_a(lit, "LightningModule", *_LIGHTNING):
        return _data_module(problem)
    if not lit.automatic_optimization and problem.loss is None:
        raise ProblemError(
            f"{type(lit).__name__} steps its optimizers itself (automatic_optimization=False), so what it minimises is not known: "
            + _AS_A_STEP
        )
    if _is_a(problem.train, "LightningDataModule", *_LIGHTNING):
        hooks.insert(0, problem.train)
    problem = _with_loaders_of(lit, _data_module(problem))
    if problem.optimizer is None and _overrides(lit, "configure_optimizers"):
        with _asking(f"{type(lit).__name__}.configure_optimizers", "pass optimizer=..."):
            problem = replace(problem, optimizer=_configured(lit.configure_optimizers()))
    if problem.loss is not None or not _overrides(lit, "training_step"):
        return problem
    return _of_step(problem, _LightningStep(lit, hooks), lit, f"{type(lit).__name__}.training_step")


def _overrides(value: Any, name: str) -> bool:
    """Whether it brings a method of its own."""
    own = vars(value).get(name) or getattr(type(value), name, None)
    return own is not None and (name in vars(value) or not str(own.__module__).startswith(_LIGHTNING))


def _with_loaders_of(holder: Any, problem: Problem) -> Problem:
    for part, name in (("train", "train_dataloader"), ("validation", "val_dataloader")):
        if getattr(problem, part) is None and _overrides(holder, name):
            with _asking(f"{type(holder).__name__}.{name}", f"pass {part}=..."):
                loaders = getattr(holder, name)()
            several = loaders if isinstance(loaders, list | tuple) else [loaders]
            if part == "train" and len(several) != 1:
                raise ProblemError(
                    f"{name} gives {len(several)} loaders: pass train=..., one whose batches training_step takes"
                )
            problem = replace(problem, **{part: several[0] if several else None})
    return problem


def _configured(made: Any) -> Any:
    """The optimizers in what configure_optimizers returns: with schedulers or without."""
    if isinstance(made, Mapping):
        return made["optimizer"]
    if isinstance(made, tuple | list):
        if len(made) == 2 and all(isinstance(part, tuple | list) for part in made):
            made = made[0]
        parts = [_configured(part) for part in made]
        return parts[0] if len(parts) == 1 else parts or None
    return made


class _LightningStep:
    """training_step as the Trainer calls it, with what it logs thrown away.

    Parameters
    ----------
    lit
        The LightningModule.
    hooks
        It, and before it the data module: what may change a batch on its way to the device.
    """

    def __init__(self, lit: Any, hooks: list[Any]) -> None:
        self.lit, self.hooks = lit, hooks

    def __call__(self, batch: Any) -> Any:
        own = vars(self.lit)
        kept = {name: own[name] for name in ("log", "log_dict") if name in own}
        own |= {"log": _nothing, "log_dict": _nothing}
        try:
            for name in ("on_before_batch_transfer", "on_after_batch_transfer"):
                holder = next((h for h in self.hooks if _overrides(h, name)), None)
                batch = batch if holder is None else getattr(holder, name)(batch, 0)
            return self.lit.training_step(*(batch, 0, 0)[: _count_of_arguments(self.lit.training_step)])
        finally:
            del own["log"], own["log_dict"]
            own |= kept


def _nothing(*args: Any, **kwargs: Any) -> None:
    pass


def _count_of_arguments(function: Callable[..., Any]) -> int:
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    positional = sum(
        k in (inspect._ParameterKind.POSITIONAL_ONLY, inspect._ParameterKind.POSITIONAL_OR_KEYWORD)
        for k in kinds
    )
    return 2 if inspect._ParameterKind.VAR_POSITIONAL in kinds else positional


# --- Hugging Face


def _trainer(problem: Problem) -> Problem:
    """What a Trainer of transformers trains, as it would."""
    trainer = problem.model
    if not _is_a(trainer, "Trainer", "transformers.trainer"):
        return problem
    given, model, name = problem, trainer.model, type(trainer).__name__
    if problem.train is None:
        with _asking(f"{name}.get_train_dataloader", "pass train=..."):
            problem = replace(problem, train=trainer.get_train_dataloader())
    if problem.validation is None and trainer.eval_dataset is not None:
        with _asking(f"{name}.get_eval_dataloader", "pass validation=..."):
            problem = replace(
                problem, validation=trainer.get_eval_dataloader(_first_of(trainer.eval_dataset))
            )
    if problem.optimizer is None:
        with _asking(f"{name}.create_optimizer", "pass optimizer=..."):
            problem = replace(problem, optimizer=_optimizer_of(trainer, problem.train))
    precision = "bf16" if trainer.args.bf16 else "fp16-scaled" if trainer.args.fp16 else None
    problem = replace(problem, model=model, precision=problem.precision or precision)
    own = type(trainer).compute_loss.__module__ != "transformers.trainer"
    if given.loss is not None or not (own or trainer.compute_loss_func or trainer.label_smoother):
        return problem
    return _of_step(problem, _TrainerStep(trainer), model, f"{name}.compute_loss")


def _first_of(datasets: Any) -> Any:
    return next(iter(datasets.values())) if type(datasets) is dict else datasets


def _optimizer_of(trainer: Any, loader: Any) -> Any:
    """With its rate where the schedule lets it begin."""
    if trainer.optimizer is not None:
        return trainer.optimizer
    optimizer = trainer.create_optimizer()
    steps = trainer.args.max_steps
    if steps <= 0:
        steps = math.ceil(
            trainer.args.num_train_epochs * len(loader) / trainer.args.gradient_accumulation_steps
        )
    if trainer.lr_scheduler is None:
        trainer.create_scheduler(num_training_steps=steps, optimizer=optimizer)
    return optimizer


class _TrainerStep:
    """compute_loss as the Trainer calls it."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def __call__(self, batch: Any) -> Any:
        return self.trainer.compute_loss(self.trainer.model, batch)


# --- Keras


def _keras(problem: Problem) -> Problem:
    """A Keras model on torch: its own loss and optimizer, where it was compiled with them."""
    model = problem.model
    if not isinstance(model, nn.Module) or not _is_a(model, "Model", "keras"):
        return problem
    if not model.built:
        raise ProblemError(
            f"the Keras model {model.name!r} makes parameters when it is called first: call model(x[:1]) once before the check"
        )
    loss, optimizer = problem.loss, problem.optimizer
    if loss is None and getattr(model, "_compile_loss", None) is not None:
        loss = _KerasLoss(model)
    if optimizer is None or _is_a(optimizer, "Optimizer", "keras.optimizers"):
        own = getattr(model, "optimizer", None) if optimizer is None else optimizer
        optimizer = None if own is None else _KerasOptimizer(own, model)
    return replace(problem, model=_KerasModel(model), loss=loss, optimizer=optimizer)


class _KerasModel(CalledModule):
    """Called in training where torch says so; several inputs go in as one."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        model: Any = self.module
        return model(kwargs or (args[0] if len(args) == 1 else list(args)), training=model.training)


class _KerasLoss:
    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, outputs: Any, targets: Any) -> Any:
        return self.model.compute_loss(y=targets, y_pred=outputs)


class _KerasOptimizer(Optimizers):
    """A Keras optimizer of a model's variables, under the names of torch."""

    def __init__(self, optimizer: Any, model: Any) -> None:
        super().__init__(())
        self.optimizer, self.variables = optimizer, list(model.trainable_variables)
        rate, decay = float(optimizer.learning_rate), float(optimizer.weight_decay or 0.0)
        self._groups = [{"params": [v.value for v in self.variables], "lr": rate, "weight_decay": decay}]
        self._rate = rate

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._groups

    @property
    def name(self) -> str:
        return type(self.optimizer).__name__

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self._groups[0]["params"]:
            parameter.grad = None

    def step(self) -> None:
        group = self._groups[0]
        if group["lr"] != self._rate:
            self.optimizer._learning_rate = lambda: group["lr"]
        if self.optimizer.weight_decay:
            self.optimizer.weight_decay = group["weight_decay"] or None
        with torch.no_grad():
            self.optimizer.apply([p.grad for p in group["params"]], self.variables)


# --- training steps, and losses of the whole batch


def _of_step(problem: Problem, step: Step, module: nn.Module | None, name: str) -> Problem:
    """The problem whose loss a step of a library returns."""
    problem = replace(problem, model=module, loss=None)
    if problem.train is None:
        return problem
    batch = _first_batch(problem)
    with _asking(f"{name}, called without its trainer,", _AS_A_STEP):
        apart = taken_apart(step, module, batch)
    if apart is None:
        raise ProblemError(
            f"{name} returned no loss: expected a scalar, or a dict that has it under 'loss'; " + _AS_A_STEP
        )
    return replace(problem, model=apart[0], loss=apart[1])


class _OwnLoss(CalledModule, TakesBatch):
    """A module that finds its inputs and targets in a dict, and returns its own loss."""

    takes_inputs = True

    def __call__(self, batch: dict[str, Any]) -> Any:
        module: Any = self.module
        return module(**batch)


def _own_loss(problem: Problem) -> Problem:
    """A module whose arguments are the entries of a dict, targets among them: what they are is known by name."""
    model = problem.model
    if problem.loss is not None or problem.train is None or not isinstance(model, nn.Module):
        return problem
    named = {p.name for p in _parameters(model)}
    if not named & set(TARGET_KEYS):
        return problem
    by_name = replace(problem, model=_OwnLoss(model))
    try:
        batch = _first_batch(problem)
        key = target_key(batch.whole) if isinstance(batch.whole, dict) else None
        if key not in named or not isinstance(batch.targets, torch.Tensor):
            return problem
        Runner(replace(by_name, optimizer=None)).evaluate(batch)
    except WellposedError:
        return problem  # said again where the data are read for good
    return by_name


def _function(problem: Problem) -> Problem:
    """A function of a batch that returns the loss, or a module whose only argument is called batch."""
    model = problem.model
    if (
        problem.loss is not None
        or problem.train is None
        or not callable(model)
        or isinstance(model, CalledModule)
    ):
        return problem
    module, needed = model if isinstance(model, nn.Module) else None, _needed(model)
    if not needed or (module is not None and (needed > 1 or not _is_called_batch(model, 0))):
        return problem
    batch = _first_batch(problem)
    if needed > 1 and not (isinstance(batch.whole, tuple | list) and len(batch.whole) == needed):
        return problem
    step = _Spread(model) if needed > 1 else model if module is None else _Forward(module)
    try:
        apart = taken_apart(step, module, batch)
    except ProblemError:
        raise
    except (
        Exception
    ) as error:  # whatever the user's step raises on a whole batch: it may take its inputs alone
        return _plain(problem, batch, f"raised {said_by(error)}", error)
    if apart is None:
        return _plain(problem, batch, "returned no loss that has a graph, as loss.item() has none")
    return replace(problem, model=apart[0], loss=apart[1])


def _plain(problem: Problem, batch: Batch, what: str, error: Exception | None = None) -> Problem:
    """The problem as it is, where its model takes the inputs alone; else what came of calling it with the whole batch."""
    if batch.targets is None or batch.kwargs is not None:
        return problem
    try:
        Runner(replace(problem, optimizer=None)).outputs(batch)
    except WellposedError:
        raise UserCodeError(
            f"the model {what} when it was called with a whole batch, {describe(batch.whole)}, "
            "and takes its inputs alone no better"
        ) from error
    return problem


class _Forward:
    """A module that is a step: called without its hooks, so that it can be left halfway."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, batch: Any) -> Any:
        return self.module.forward(batch)


class _Spread:
    """A function of inputs and targets that returns the loss, as a step."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, batch: Any) -> Any:
        return self.function(*batch)


class _OfBatch(CalledModule, TakesBatch):
    """A model or a loss that is called with the whole batch."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function if isinstance(function, nn.Module) else None)
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def _loss_of_batch(problem: Problem) -> Problem:
    """A loss whose second argument is the whole batch: it is called so, or the batches are dicts that name no targets."""
    loss, model = problem.loss, problem.model
    if not callable(loss) or isinstance(loss, TakesBatch) or problem.train is None:
        return problem
    takes_whole = callable(model) and _needed(model) == 1 and _is_called_batch(model, 0)
    whole = replace(problem, loss=_OfBatch(loss), model=_OfBatch(model) if takes_whole else model)
    if _is_called_batch(loss, 1):
        # Targets may be called so too.
        return problem if not _runs(whole) and _runs(problem) else whole
    return whole if _is_of_dict_without_targets(whole) else problem


def _runs(problem: Problem) -> bool:
    """Whether model and loss take the first batch; what is wrong is said where the data are read for good."""
    try:
        Runner(replace(problem, optimizer=None)).evaluate(_first_batch(problem))
    except WellposedError:
        return False
    return True


def _is_of_dict_without_targets(problem: Problem) -> bool:
    """Whether batches are dicts that name no targets, and the loss takes them whole."""
    data = problem.train.dataset if isinstance(problem.train, DataLoader) else problem.train
    if isinstance(data, tuple | torch.Tensor | TensorDataset):
        return False
    try:
        batch = _first_batch(problem)
    except WellposedError:
        return False
    return batch.kwargs is not None and batch.targets is None and _runs(problem)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(getattr(function, "forward", function)).parameters.values())
    except (TypeError, ValueError):
        return []


def _needed(function: Callable[..., Any]) -> int:
    """How many arguments it needs, all of them by position; 0 where that is not so."""
    needed = [p for p in _parameters(function) if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return len(needed) if all(p.kind in by_position for p in needed) else 0


def _is_called_batch(function: Callable[..., Any], place: int) -> bool:
    named = _parameters(function)
    return len(named) > place and named[place].name == "batch"


DOORS: tuple[Callable[[Problem], Problem], ...] = (
    _lightning,
    _trainer,
    _keras,
    _own_loss,
    _function,
    _loss_of_batch,
)
"""In this order: each leaves what it does not recognise as it is."""
