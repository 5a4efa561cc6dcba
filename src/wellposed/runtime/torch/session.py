"""Calling the user's model and loss on a batch, and training them for a few steps. Use inside `restore.preserved`.

Every random state that a model, a loss or a sampler may draw from is fixed first.
"""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from ...arguments import told
from ...errors import DataError, ProblemError, UserCodeError, users_code
from ...problem import Problem
from ..batch_keys import TARGET_KEYS
from .batch import Batch, HasLoss, describe, is_object
from .restore import modules_of


def seed_everything(seed: int) -> None:
    """Fix the global random states; `restore.preserved` gives the user's states back."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the user's code may draw from the global state
    # Not torch.manual_seed: where CUDA has not started yet, that leaves a seed queued for when it does.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


Value = TypeVar("Value")

TORCH = str(torch.__version__)

_ROUNDINGS = 16  # of the largest output: what sums in another order may differ by


@dataclass(frozen=True, kw_only=True, eq=False)
class ForwardPass:
    """What one call of model and loss gave."""

    loss: torch.Tensor | None
    """0-d, attached to the graph; None when the problem has no loss."""
    outputs: Any
    """Whatever the model returned."""

    @property
    def tensor(self) -> torch.Tensor | None:
        """The output tensor that a loss would look at: the output itself, its logits, or the only tensor in it."""
        return main_tensor(self.outputs)


class TakesBatch:
    """Marks a model or a loss that is called with a batch as the data gave it."""

    reads_targets = True
    """Whether what stands in the place of targets makes a difference."""


class CalledModule:
    """A model that calls a module in a way of its own; it is looked at as that module.

    Parameters
    ----------
    module
        None where the model is a function over several modules.
    """

    takes_inputs = False
    """Whether the module can be called with the inputs of a batch, as they are."""

    def __init__(self, module: nn.Module | None) -> None:
        self.module = module


def module_of(part: Any) -> nn.Module | None:
    """The module that a model or a loss is, or calls."""
    module = part.module if isinstance(part, CalledModule) else part
    return module if isinstance(module, nn.Module) else None


def kind_of_loss(problem: Problem) -> HasLoss:
    """Whether a problem has a loss of its own, and of what."""
    for part in (problem.loss, problem.model):
        if isinstance(part, TakesBatch):
            return "of the batch" if part.reads_targets else "of the inputs"
    return problem.loss is not None


class Runner:
    """Knows how to call one problem's model and loss.

    Parameters
    ----------
    problem
        The user's problem.
    transform
        Applied to every batch before the model sees it: how an intervention changes the inputs or targets.
    """

    def __init__(self, problem: Problem, transform: Callable[[Batch], Batch] | None = None) -> None:
        self.problem = problem
        self.transform = transform
        self._differentiates = False
        self.model: Any = getattr(
            problem.model, "_orig_mod", problem.model
        )  # torch.compile wraps; look at what it wraps
        if not callable(self.model):
            raise ProblemError(
                f"model is a {type(self.model).__name__}: expected a torch.nn.Module or a callable"
            )
        if problem.loss is not None and not callable(problem.loss):
            raise ProblemError(
                f"loss is a {type(problem.loss).__name__}: expected a function of (outputs, targets), or None"
            )
        self.module, self.loss_module = module_of(self.model), module_of(problem.loss)
        self.modules = modules_of(self.model)
        self.all_modules = modules_of(self.model, problem.loss)
        roots = [root for _, root in self._roots()]
        refuse_what_cannot_be_trained(self.all_modules)
        self._kept_in_eval = [m for root in roots if root.training for m in root.modules() if not m.training]

    def with_transform(self, transform: Callable[[Batch], Batch]) -> Runner:
        return Runner(self.problem, transform)

    @property
    def title(self) -> str:
        """What the model is, in a word."""
        if self.module is None and isinstance(self.model, CalledModule):
            return "training step"
        return getattr(type(self.model if self.module is None else self.module), "__name__", "model")

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter that the problem can train, by dotted name, each once (ties go by their first name)."""
        named: dict[str, nn.Parameter] = {}
        seen: set[int] = set()
        for prefix, root in self._roots():
            for name, parameter in root.named_parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    named[prefix + name] = parameter
        return named

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.parameters.items() if p.requires_grad}

    def refuse_new_parameters(self, known: Collection[str]) -> None:
        """Parameters that a forward pass made: no optimizer that was made before it trains them."""
        new = [name for name in self.parameters if name not in known]
        if new:
            raise ProblemError(
                f"the model makes parameters when it is called ({', '.join(new[:4])}{', ...' if len(new) > 4 else ''}): "
                "call model(batch) once before the check, and before its optimizer is made"
            )

    def judged_parameters(self) -> list[nn.Parameter]:
        """Parameters of the model, and of a loss that is a module itself."""
        roots = [r for r in (self.module, self.loss_module) if r is not None]
        if self.module is None:
            roots += self.modules
        return [p for root in roots for p in root.parameters()]

    def networks(self) -> list[nn.Module]:
        """The largest parts of the problem that are networks: two layers with parameters or more."""
        parts = [
            root for _, root in self._roots() if root is not self.module and root is not self.loss_module
        ]
        wholes = [m for m in (self.module, self.loss_module) if m is not None]
        parts += [child for whole in wholes for child in whole.children()]
        return [p for p in parts if sum(any(True for _ in m.parameters(False)) for m in p.modules()) >= 2]

    def names(self) -> dict[nn.Module, str]:
        """Dotted names of all modules."""
        named: dict[nn.Module, str] = {}
        for prefix, root in self._roots():
            for name, module in root.named_modules():
                named.setdefault(module, (prefix + name).rstrip(".") or type(root).__name__)
        return named

    def _roots(self) -> Iterator[tuple[str, nn.Module]]:
        if self.module is not None:
            yield "", self.module
            inside = set(self.module.modules())
        else:
            inside = set()
        outer = [m for m in self.all_modules if m not in inside]
        children = {c for m in outer for c in m.children()}
        tops = [m for m in outer if m not in children]
        for i, module in enumerate(tops):
            label = "loss" if module not in self.modules else type(module).__name__.lower()
            yield f"{label}{i if len(tops) > 1 and label != 'loss' else ''}.", module

    @property
    def device(self) -> torch.device:
        first = next(iter(self.parameters.values()), None)
        return first.device if first is not None else torch.device("cpu")

    def train_mode(self, training: bool = True) -> None:
        """Put everything in train mode as the user's loop would, except what the user froze in eval mode on purpose."""
        for _, root in self._roots():
            try:
                root.train(training)
            except NotImplementedError as error:
                raise ProblemError(
                    f"{type(root).__name__} has no train mode ({error}): check the module from which it was exported"
                ) from error
        for module in self._kept_in_eval:
            module.train(False)

    def without_gradients(self, evaluation: Callable[[], Value]) -> Value:
        """The result of an evaluation that needs no graph of its own.

        Models and losses that differentiate themselves (forces, physics, penalties on gradients) refuse to run under
        ``no_grad``, where the user's own loop does not run them either: they are evaluated with a graph, from the first refusal on.
        The evaluation must set its random states itself, since it may run twice.
        """
        if not self._differentiates:
            try:
                with torch.no_grad():
                    return evaluation()
            except UserCodeError:
                pass  # raised again below where the mode is not the reason
        with torch.enable_grad():
            value = evaluation()
        self._differentiates = True
        return value

    def outputs(self, batch: Batch) -> Any:
        """What the model returns for a batch."""
        if self.transform is not None:
            batch = self.transform(batch)
        batch = batch.copied()
        args, kwargs = self.called_with(batch)
        with _mode_kept("the model"):
            try:
                return self.model(*args) if kwargs is None else self.model(**kwargs)
            except Exception as error:
                raise self._users_error(error, batch, "the model") from error

    def called_with(self, batch: Batch) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
        """What of a batch the model is given: positional arguments, or named ones."""
        args, kwargs = batch.args, batch.kwargs
        if isinstance(self.problem.model, TakesBatch):
            return (batch.whole,), None
        if kwargs is not None:
            if self._takes_dict_whole(kwargs):
                return (kwargs,), None
            return (), self._named_by_model(kwargs) if isinstance(self.problem.loss, TakesBatch) else kwargs
        if self.problem.loss is None and batch.targets is not None and self._wants_targets():
            return (*args, batch.targets), None
        if len(args) == 1 or self._takes(*args):
            return args, None
        if isinstance(self.problem.loss, TakesBatch):  # the others are for the loss
            return next((args[:n] for n in range(len(args), 0, -1) if self._takes(*args[:n])), args), None
        return ((args,) if self._takes(args) else args), None  # one argument, which the model unpacks itself

    def evaluate(self, batch: Batch) -> ForwardPass:
        """Run the model and the loss on a batch."""
        outputs = self.outputs(batch)
        if self.problem.loss is None:
            return ForwardPass(loss=own_loss(outputs), outputs=outputs)
        if batch.targets is None and not isinstance(self.problem.loss, TakesBatch):
            raise DataError(
                "train gives batches without targets, and the loss needs them: give pairs (inputs, targets)"
            )
        return ForwardPass(loss=self.loss_of(outputs, batch), outputs=outputs)

    def loss_of(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The user's loss of given outputs on a batch's targets."""
        if self.transform is not None:
            batch = self.transform(batch)
        return self.loss_on(outputs, batch)

    def loss_on(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """The user's loss of given outputs on a batch as it is."""
        takes_batch = isinstance(self.problem.loss, TakesBatch)
        compared = batch.copied().whole if takes_batch else batch.own_targets
        with _mode_kept("the loss"):
            try:
                value = self.problem.loss(outputs, compared)
            except Exception as error:
                raise self._users_error(error, batch, "the loss") from error
        return scalar_loss(value)

    @staticmethod
    def backward(loss: torch.Tensor) -> None:
        """Go backward; what the user's hooks and custom backwards raise on the way is theirs."""
        with users_code("the backward pass"):
            loss.backward()

    def _takes(self, *args: Any) -> bool:
        """Whether the arguments can be bound; True where that is not known."""
        return _binds(getattr(self.model, "forward", self.model), *args)

    def _named_by_model(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The entries that the model has arguments for, where it does not take them all: the others are for the loss."""
        forward = getattr(self.model, "forward", self.model)
        if _binds(forward, **kwargs):
            return kwargs
        names = inspect.signature(forward).parameters
        return {k: v for k, v in kwargs.items() if k in names} or kwargs

    def _takes_dict_whole(self, batch: Mapping[str, Any]) -> bool:
        """Whether the model is called ``model(batch)``: one argument is enough, and none has a name that is in the batch."""
        forward = getattr(self.model, "forward", self.model)
        try:
            signature = inspect.signature(forward)
            signature.bind(batch)
        except (TypeError, ValueError):
            return False
        kinds = {p.kind for p in signature.parameters.values()}
        return inspect.Parameter.VAR_KEYWORD not in kinds and not batch.keys() & signature.parameters.keys()

    def _wants_targets(self) -> bool:
        """Whether a model without a loss of its own takes the targets as a second argument, as ``model(tokens, targets)``."""
        forward = getattr(self.model, "forward", self.model)
        try:
            parameters = list(inspect.signature(forward).parameters.values())
        except (TypeError, ValueError):
            return False
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if len(positional) < 2:
            return False
        return positional[1].default is inspect.Parameter.empty or positional[1].name in TARGET_KEYS

    def _users_error(self, error: Exception, batch: Batch, what: str) -> Exception:
        data = {t.device for t in batch.tensors if not t.is_meta}
        if data and self.parameters and data != {self.device} and "device" in str(error):
            names = ", ".join(sorted(map(str, data)))
            return ProblemError(
                f"the model is on {self.device} and the data on {names}: move one of them, for example model.to({names!r})"
            )
        if batch.rows == 1 and "more than 1 value per channel" in str(error):
            return ProblemError(
                f"a batch of one row (inputs {_shapes(batch)}), and a norm over the batch needs two in train mode: "
                "give batches of at least two rows; drop_last=True leaves out a last batch that is too short"
            )
        beyond = _beyond_its_embedding(error)
        if beyond is not None:
            weight, ids = beyond
            named = next((n for n, p in self.parameters.items() if p is weight), "of the model")
            return UserCodeError(
                f"the embedding {named} has {len(weight)} rows and is given ids from {int(ids.min())} to {int(ids.max())}: "
                f"ids must be 0 to {len(weight) - 1}; make it larger (num_embeddings), or look at what makes the ids"
            )
        return UserCodeError(
            f"{what} raised {type(error).__name__} on a batch with inputs {_shapes(batch)}: {error}{self._how_else(batch, what)}"
        )

    def _how_else(self, batch: Batch, what: str) -> str:
        """What to give instead of a model that needs more arguments than the one object that a batch is."""
        alone = len(batch.args) == 1 and is_object(batch.args[0])
        if what != "the model" or not alone or self._takes(*batch.args):
            return ""
        names = list(inspect.signature(getattr(self.model, "forward", self.model)).parameters)
        return f"; give a function that takes the object apart: lambda data: model({', '.join(f'data.{n}' for n in names)})"


def _beyond_its_embedding(error: BaseException) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The weight of an embedding and the ids that it has no rows for, from the call that raised."""
    frames = error.__traceback__
    while isinstance(error, IndexError) and frames is not None:
        called, held = frames.tb_frame.f_code, frames.tb_frame.f_locals
        if called is torch.nn.functional.embedding.__code__:
            weight, ids = held["weight"], held["input"]
            return weight, ids.detach()
        frames = frames.tb_next
    return None


def _binds(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether it can be called with these arguments; True where that is not known."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def _shapes(batch: Batch) -> str:
    """What the model was called with: the shapes of tensors, the types of all else."""
    values = batch.args if batch.kwargs is None else tuple(batch.kwargs.values())
    if values and all(isinstance(v, torch.Tensor) for v in values):
        return f"of shape {', '.join(str(tuple(t.shape)) for t in batch.tensors)}"
    return describe(batch.inputs)


def scalar_loss(value: Any) -> torch.Tensor:
    """What a loss returned, once it is one real number."""
    if not isinstance(value, torch.Tensor):
        foreign = type(value).__module__.partition(".")[0] in ("jax", "jaxlib", "tensorflow")
        mend = "; with Keras set KERAS_BACKEND=torch before importing keras" if foreign else ""
        raise ProblemError(f"loss returned {told(value)}: expected a scalar torch tensor{mend}")
    if value.numel() != 1:
        raise ProblemError(
            f"loss returned shape {tuple(value.shape)}: expected a scalar; reduce it, for example with .mean()"
        )
    if value.is_complex():
        raise ProblemError(
            f"loss returned a complex number ({value.dtype}): expected a real one, such as .abs() or .real gives"
        )
    if value.is_meta:
        raise ProblemError("loss returned a tensor on the meta device, which holds no number")
    return value.reshape(())


def refuse_what_cannot_be_trained(modules: Sequence[nn.Module]) -> None:
    """One clear error for each kind of model whose layers cannot be watched, or whose numbers are not there."""
    sharding = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", ())
    for module in modules:
        if isinstance(module, sharding):
            raise ProblemError(
                "the model is sharded by FullyShardedDataParallel: check the module that it wraps"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise ProblemError(
                f"the model holds a TorchScript module ({type(module).__name__}), whose layers cannot be watched: "
                "check the module before torch.jit compiles it"
            )
        for tensor in (*module.parameters(False), *module.buffers(False)):
            if tensor.is_meta:
                raise ProblemError(
                    "the model is on the meta device and holds no numbers: call model.to_empty(device=...) and draw its weights"
                )
            if tensor.is_inference():
                raise ProblemError(
                    "the model was made under torch.inference_mode, and its weights cannot be trained: make it outside"
                )


@contextmanager
def _mode_kept(what: str) -> Iterator[None]:
    """Refuse code that leaves gradients switched off or on: what it returns would have no graph from the second step on."""
    before = torch.is_grad_enabled()
    yield
    if torch.is_grad_enabled() != before:
        torch.set_grad_enabled(before)
        raise ProblemError(
            f"{what} leaves gradients switched {'off' if before else 'on'} for whatever follows (torch.set_grad_enabled): "
            "use `with torch.no_grad():` around what needs no gradient"
        )


def own_loss(outputs: Any) -> torch.Tensor | None:
    """The loss that a model returns itself: ``.loss``, ``["loss"]``, a 0-d output, or the 0-d tensor of a tuple."""
    if isinstance(outputs, torch.Tensor):
        return outputs if outputs.ndim == 0 else None
    found = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    if isinstance(found, torch.Tensor) and found.numel() == 1:
        return found.reshape(())
    if isinstance(outputs, Mapping) and outputs and all(map(_is_scalar, outputs.values())):
        # The losses of a detector, one a part, which its training loop adds up.
        return torch.stack(list(outputs.values())).sum() if all("loss" in str(k) for k in outputs) else None
    if isinstance(outputs, Sequence):
        scalars = list(filter(_is_scalar, outputs))
        return scalars[0] if len(scalars) == 1 else None
    return None


def _is_scalar(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 0 and value.is_floating_point()


def main_tensor(outputs: Any) -> torch.Tensor | None:
    if isinstance(outputs, torch.Tensor):
        return outputs if outputs.ndim else None
    found = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if isinstance(found, torch.Tensor):
        return found
    values = (
        list(outputs.values())
        if isinstance(outputs, Mapping)
        else list(outputs)
        if isinstance(outputs, Sequence)
        else []
    )
    tensors = [v for v in values if isinstance(v, torch.Tensor) and v.ndim and v.is_floating_point()]
    return tensors[0] if len(tensors) == 1 else None


def clear_gradients(runner: Runner) -> None:
    for parameter in runner.parameters.values():
        parameter.grad = None


def _densify(runner: Runner) -> None:
    """The reference optimizer takes no sparse gradients, which embeddings may give."""
    for parameter in runner.trainable.values():
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.to_dense()


def reference_optimizer(runner: Runner) -> torch.optim.Optimizer:
    """What training steps are taken with when the user names no optimizer."""
    return torch.optim.Adam(list(runner.trainable.values()), lr=1e-3)


def take_steps(
    runner: Runner,
    batches: Sequence[Batch],
    *,
    steps: int,
    optimizer: torch.optim.Optimizer,
    seed: int,
    after_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train for `steps` steps as the user's loop would; returns the loss before each, and stops when one is not finite.

    `after_step` gets the number of the step and that loss.
    """
    losses: list[float] = []
    user_given = runner.problem.optimizer
    for step in range(steps):
        batch = batches[step % len(batches)]
        seed_everything(seed + step)

        def closure(batch: Batch = batch) -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            clear_gradients(runner)
            loss = runner.evaluate(batch).loss
            if loss is None:
                raise ProblemError("the problem has no loss to train on")
            if loss.requires_grad:
                runner.backward(loss)
            if user_given is None:
                _densify(runner)
            return loss

        if isinstance(optimizer, torch.optim.LBFGS):
            loss = optimizer.step(closure)
        else:
            loss = closure()
            optimizer.step()
        losses.append(float(loss.detach()))
        if after_step is not None:
            after_step(step, losses[-1])
        if not np.isfinite(losses[-1]):
            break
    return losses


def mean_loss(runner: Runner, batches: Sequence[Batch], *, seed: int) -> float:
    """Mean loss over batches, without gradients."""
    return float(np.mean(losses_of(runner, batches, seed=seed)))


def losses_of(runner: Runner, batches: Sequence[Batch], *, seed: int) -> list[float]:
    """The loss of each batch, without gradients."""

    def value(i: int, batch: Batch) -> float:
        seed_everything(seed + i)
        loss = runner.evaluate(batch).loss
        return float("nan") if loss is None else float(loss.detach())

    return [runner.without_gradients(partial(value, i, b)) for i, b in enumerate(batches)]


def outputs_without_gradients(runner: Runner, batch: Batch, *, seed: int) -> torch.Tensor | None:
    """The main tensor of the outputs for fixed random states, detached."""

    def outputs() -> torch.Tensor | None:
        seed_everything(seed)
        return main_tensor(runner.outputs(batch))

    found = runner.without_gradients(outputs)
    return None if found is None else found.detach()


def are_equal(outputs: torch.Tensor, batch: Batch) -> bool:
    """Whether every sample of a batch got the same outputs, to rounding, though the inputs differ."""
    outputs = outputs.detach()
    if outputs.ndim == 0 or len(outputs) < 2:
        return False
    if not any(bool((t != t[:1]).any()) for t in batch.tensors if t.ndim):
        return False
    spread, size = (outputs - outputs[:1]).abs().max(), outputs.abs().max()
    return bool(spread <= _ROUNDINGS * torch.finfo(outputs.dtype).eps * size)
