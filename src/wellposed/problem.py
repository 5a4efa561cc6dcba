"""A training problem, and how one is loaded from ``train.py:problem`` or ``pkg.mod:problem``."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from .arguments import choice, refused, several, takes_nothing, text, told
from .errors import ArgumentError, ProblemError, UserCodeError
from .own_files import what_it_is

Precision = Literal["fp32", "bf16", "fp16", "fp16-scaled", "fp8", "fp8-e4m3", "fp8-e5m2", "mxfp8"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A model, its loss and its data: what there is to check.

    Parameters
    ----------
    model
        A ``torch.nn.Module``, or a callable that uses modules; a training step ``step(batch)`` that returns the loss; a LightningModule,
        a Trainer of transformers or a compiled Keras model on torch, which bring their loss, their optimizer and some of them their data.
    loss
        ``loss(model(inputs), targets)`` gives a scalar; ``None`` when the model returns its own loss, or has none. One whose second
        argument is called ``batch`` is given the whole batch.
    train
        A DataLoader, a Dataset, anything that can be iterated again and gives batches or samples, or one pair
        ``(inputs, targets)`` of tensors, arrays or tables, from which batches are drawn; each may be a tuple or a dict of them.
        A tuple of inputs is called ``model(*inputs)``, a dict ``model(**inputs)``, an object ``model(object)``.
    validation
        Held-out data, in any form that `train` takes.
    optimizer
        The optimizer that training will use, or its scheduler, or a list of those that step one after the other; rules about updates need it.
    precision
        What training will run in: ``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"fp16-scaled"`` with a loss scale, as ``torch.amp.GradScaler``
        gives it; ``"fp8"`` in linear layers, forward in E4M3 and backward in E5M2, or in one of them (``"fp8-e4m3"``, ``"fp8-e5m2"``), with
        a scale for each tensor; ``"mxfp8"`` with a scale for each 32 values. A step in it is emulated.
    name
        What reports call this problem.
    feature_names
        Names of the columns of a 2-d input, so that a finding can say ``inputs.proline``.
    """

    model: Any
    loss: Any = None
    train: Any = None
    validation: Any = None
    optimizer: Any = None
    precision: Precision | None = None
    name: str | None = None
    feature_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.precision is not None:
            choice(self.precision, "precision", get_args(Precision))
        if self.name is not None:
            text(self.name, "name", expected="text, or None")
        if self.feature_names is not None:
            names = several(
                self.feature_names, "feature_names", str, expected="one text for each column, or None"
            )
            if not names:
                raise refused("feature_names", self.feature_names, "one text for each column, or None")
            object.__setattr__(self, "feature_names", names)


def problem_from(
    model: Any,
    loss: Any = None,
    train: Any = None,
    *,
    validation: Any = None,
    optimizer: Any = None,
    precision: Any = None,
) -> Problem:
    """The problem that the arguments of `check`, `fix` or `measure_signals` describe."""
    given = {
        "loss": loss,
        "train": train,
        "validation": validation,
        "optimizer": optimizer,
        "precision": precision,
    }
    if not isinstance(model, Problem):
        if isinstance(model, type):
            raise refused("model", model, "a module, a function or a Problem, not its class")
        return Problem(model=model, **given)
    twice = [name for name, value in given.items() if value is not None]
    if twice:
        raise ArgumentError(f"{', '.join(twice)} given beside a Problem: put it into the Problem")
    return model


def load_problem(spec: str) -> Problem:
    """Load ``"path/train.py:problem"`` or ``"pkg.mod:problem"``.

    The attribute is a `Problem`, a ``(model, loss, data)`` tuple, or a function without arguments that returns one.

    Raises
    ------
    ProblemError
        When there is no such file, module or attribute, or it is none of these.
    UserCodeError
        When the user's own code raises; ``__cause__`` is what it raised.
    """
    found = load_object(spec)
    # A model alone is callable too, and makes no problem.
    if callable(found) and not isinstance(found, Problem | tuple) and not hasattr(found, "forward"):
        if not takes_nothing(found):
            raise ProblemError(
                f"{spec} takes arguments: expected a function without any that returns a problem"
            )
        found = _run_users(found, f"{spec}()")
    return as_problem(found, name=spec)


def load_object(spec: str) -> Any:
    """The object that ``"path/file.py:name"`` or ``"pkg.mod:name"`` names."""
    place, colon, attribute = spec.rpartition(":")
    if not colon or not place or not attribute:
        raise ProblemError(f"{spec!r} names no attribute: write it as train.py:problem or pkg.mod:problem")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise ProblemError(f"{place} has no attribute {attribute!r}{_nearest_names(module, attribute)}")
        value = getattr(value, part)
    return value


def _nearest_names(module: ModuleType, attribute: str) -> str:
    """What the user may have meant: names like it, or those that the file defines itself."""
    close = difflib.get_close_matches(attribute, vars(module), n=3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    public = sorted(n for n in vars(module) if not n.startswith("_"))
    own = [n for n in public if getattr(vars(module)[n], "__module__", None) == module.__name__] or public
    more = f" and {len(own) - 12} more" if len(own) > 12 else ""
    return f"; it has {', '.join(own[:12]) or 'none'}{more}"


def as_problem(value: Any, *, name: str | None = None) -> Problem:
    """A `Problem` from a Problem, a ``(model, loss, data)`` tuple, or what brings its loss and its data."""
    if isinstance(value, Problem):
        return value
    if not isinstance(value, type) and (hasattr(value, "training_step") or hasattr(value, "compute_loss")):
        return Problem(model=value, name=name)
    if isinstance(value, tuple) and 2 <= len(value) <= 4:
        return Problem(**dict(zip(("model", "loss", "train", "validation"), value, strict=False)), name=name)
    raise ProblemError(
        f"{name or 'the problem'} is {told(value)}{f' of {len(value)}' if isinstance(value, tuple) else ''}: expected a wellposed.Problem, "
        "a (model, loss, data) tuple, or a function without arguments that returns one"
    )


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        what = "no such file" if not path.exists() else what_it_is(path)
        raise ProblemError(f"{what}: {path} (looked in {Path.cwd()})")
    if not os.access(path, os.R_OK):
        raise ProblemError(f"{path} cannot be read: permission denied")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ProblemError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    # As `python train.py` does: its folder is importable, and pickling finds the module by name.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules.setdefault(path.stem, module)
    _run_users(lambda: spec.loader.exec_module(module), str(path))  # type: ignore[union-attr]
    return module


def _load_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ProblemError(f"{name!r} is no name of a module: write train.py:problem or pkg.mod:problem")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise ProblemError(
                f"{name!r}: no module named {error.name!r} (looked from {Path.cwd()}); for a file, write train.py:problem"
            ) from None
        raise UserCodeError(f"{name} failed to import") from error
    except Exception as error:  # whatever the user's module raises is theirs
        raise UserCodeError(f"{name} failed to import") from error


def _run_users(call: Any, what: str) -> Any:
    try:
        return call()
    except Exception as error:  # whatever the user's code raises is theirs
        raise UserCodeError(f"{what} raised {type(error).__name__}") from error
