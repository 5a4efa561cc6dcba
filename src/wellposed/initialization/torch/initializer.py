"""What `initialize` needs of torch: facts about the parameters and the order of the modules, seeded draws, and the
measuring and calibrating passes.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ...arguments import told
from ...errors import ArgumentError, DataError, users_code
from ...runtime.torch.batch import Batch, take, tensors_in
from ...runtime.torch.restore import modules_of, preserved, refuse_sharded
from ...runtime.torch.session import refuse_what_cannot_be_trained, scalar_loss, seed_everything
from ..result import Draw, LayerFacts, ModelFacts, ParameterFacts, SignalSummary
from .signal_path import Flow, Product, follow, std_over_samples

_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def layers_by_order(model: nn.Module, names: Mapping[int, str]) -> tuple[LayerFacts, ...]:
    """The layers and what follows each, as the order of the modules has it: all that is known without
    inputs.
    """
    modules = [m for m in model.modules() if not any(True for _ in m.children())]
    at = [i for i, m in enumerate(modules) if isinstance(m, _LAYERS)]
    found: dict[str, LayerFacts] = {}
    for i, end in zip(at, [*at[1:], len(modules)], strict=True):
        module: Any = modules[i]
        fan_in, fan_out, kind = _fans(module)
        follower = next((m for m in modules[i + 1 : end] if isinstance(m, _NORMS) or _is_activation(m)), None)
        next_: Any = "norm" if isinstance(follower, _NORMS) else "output" if i == at[-1] else "activation"
        # Nothing shows a functional activation; relu is the likeliest, and the recipe says that it is a
        # guess.
        activation = (follower or nn.ReLU()) if next_ == "activation" else None
        label = (
            type(follower).__name__ if follower else "relu (a guess: no module follows; give inputs to see)"
        )
        found[names[id(module.weight)]] = LayerFacts(
            name=names[id(module.weight)],
            bias=names.get(id(module.bias)),
            kind=kind,
            fan_in=fan_in,
            fan_out=fan_out,
            next=next_,
            activation=activation,
            activation_name=label if activation else None,
        )
    return tuple(found.values())


def _fans(module: Any) -> tuple[float, float, Any]:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, "linear"
    window, strides = math.prod(module.kernel_size), math.prod(module.stride)
    fan_in, fan_out = (
        module.in_channels / module.groups * window,
        module.out_channels / module.groups * window,
    )
    if module.transposed:
        return fan_in / strides, fan_out, "transposed convolution"
    return fan_in, fan_out / strides, "convolution"


def _is_activation(module: nn.Module) -> bool:
    # The modules of torch.nn that act elementwise live in one file, with attention and the softmaxes.
    known = type(module).__module__ == "torch.nn.modules.activation"
    return known and not any(
        word in type(module).__name__ for word in ("Attention", "oftmax", "oftmin", "GLU")
    )


def parameters_of(model: nn.Module, unit_axes: Mapping[str, int]) -> tuple[ParameterFacts, ...]:
    """Every parameter once, under its first name."""
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    attention = {id(c) for m in model.modules() if isinstance(m, nn.MultiheadAttention) for c in m.modules()}
    for prefix, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((f"{prefix}.{key}" if prefix else key, module))
    facts = []
    for name, parameter in model.named_parameters():
        held = owners[id(parameter)]
        table = next(
            (other for other, m in held if other != name and isinstance(m, nn.Embedding | nn.EmbeddingBag)),
            None,
        )
        owner = held[0][1]
        kind = "attention" if id(owner) in attention else _kind(name, parameter, owner)
        facts.append(
            ParameterFacts(
                name=name,
                kind=kind,
                shape=tuple(parameter.shape),
                trainable=parameter.requires_grad,
                tied_to=table,
                zero=not bool(parameter.any()),
                symmetric=kind in ("weight", "other") and _symmetric(parameter, unit_axes.get(name, 0)),
                prior=kind == "bias" and _is_prior(parameter, owner),
            )
        )
    return tuple(facts)


def _kind(name: str, parameter: nn.Parameter, owner: nn.Module) -> Any:
    if isinstance(owner, _NORMS) or "norm" in type(owner).__name__.lower():
        return "norm"
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(owner, nn.RNNBase | nn.RNNCellBase):
        return "recurrent"
    if name.rpartition(".")[2] == "bias":
        return "bias"
    return "weight" if isinstance(owner, (*_LAYERS, nn.Bilinear)) and parameter.ndim > 1 else "other"


def _symmetric(parameter: torch.Tensor, unit_axis: int) -> bool:
    if parameter.ndim < 2 or parameter.shape[unit_axis] < 2 or not bool(parameter.any()):
        return False
    first = parameter.detach().narrow(unit_axis, 0, 1)
    return bool((parameter.detach() == first).all())


def _is_prior(bias: torch.Tensor, owner: nn.Module) -> bool:
    weight = getattr(owner, "weight", None)
    if weight is None or weight.ndim < 2:
        return False
    default = 1 / math.sqrt(max(1, math.prod(weight.shape[1:])))
    return float(bias.detach().abs().max()) > default * (1 + 1e-6)


ROWS = 512
"""Rows that calibration uses, and as many again that the result is measured on."""
RACE_STEPS = 20
RACE_LEARNING_RATES = (1e-3, 1e-2)


def elementwise(activation: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
    """A torch function or module as a function of float64 NumPy arrays; a module is copied, and the copy put
    in eval mode.
    """
    if isinstance(activation, nn.Module):
        activation = copy.deepcopy(activation).double().eval()

    def evaluate(z: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            result = activation(torch.from_numpy(z))
        if not isinstance(result, torch.Tensor):
            raise ArgumentError(
                f"activation returned {told(result)}: expected an array or a tensor as large as its input"
            )
        return result.cpu().numpy()

    return evaluate


class TorchInitializer:
    """The parameters of one model, and what can be done to them.

    Parameters
    ----------
    model
        The user's module. Only `assign` changes it for good: everything else belongs inside `borrowed`.
    inputs, targets, loss
        One batch and the loss, or None.
    seed
        Of the draws, and of whatever the model draws while it is measured.
    """

    def __init__(self, model: Any, *, inputs: Any, targets: Any, loss: Any, seed: int) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"model is {told(model)}: expected a torch.nn.Module")
        refuse_sharded(model)
        refuse_what_cannot_be_trained(modules_of(model))
        self.model = model
        self.named = dict(model.named_parameters())
        if not self.named:
            raise ArgumentError(
                f"model {type(model).__name__} has no parameters: there is nothing to initialize"
            )
        self._names = {id(p): n for n, p in self.named.items()}
        self._loss = loss
        self._seed = seed
        self._units: dict[str, int] = {}
        self._fitting, self._held_out = (
            (None, None) if inputs is None else _halves(inputs, targets, self._device)
        )

    @property
    def _device(self) -> torch.device:
        return next(iter(self.named.values())).device

    def borrowed(self) -> Any:
        """The scope in which the model may be changed and run; on the way out it is bit for bit what it
        was.
        """
        return preserved(self.model, self._loss)

    def facts(self) -> ModelFacts:
        """What the model is made of, seen at work where there are inputs."""
        if self._fitting is None:
            layers, branches = layers_by_order(self.model, self._names), 0
        else:
            layers, branches = self._trace(self._fitting)
        parameters = parameters_of(self.model, self._units)
        return ModelFacts(
            parameters=parameters, layers=layers, residual_branches=branches, traced=self._fitting is not None
        )

    def _trace(self, batch: Batch) -> tuple[tuple[LayerFacts, ...], int]:
        def note(product: Product, output: Any, again: Any) -> None:
            self._units[self._names[id(product.weight)]] = product.unit_axis

        flow = Flow(self._names, at_product=note)
        with torch.no_grad():
            outputs = self._run(batch, flow)
        return follow(flow, outputs, self._names)

    def _run(self, batch: Batch, flow: Flow | None = None) -> Any:
        seed_everything(self._seed)
        batch = batch.copied()
        _train_mode(self.model)
        if flow is None:
            return self._call(batch)
        flow.start((batch.args, batch.kwargs))
        with flow:
            return self._call(batch)

    def _call(self, batch: Batch) -> Any:
        with users_code("the model"):
            return self.model(*batch.args) if batch.kwargs is None else self.model(**batch.kwargs)

    def redraw(self, draws: Mapping[str, Draw], zeroed: set[str]) -> None:
        """Draw weights, each from its own generator, so the result does not depend on the order or on the
        others.
        """
        with torch.no_grad():
            for name, draw in draws.items():
                self.named[name].copy_(sample(draw, self.named[name].shape, seed=self._seed))
            for name in zeroed:
                self.named[name].zero_()

    def calibrate(self, draws: Mapping[str, Draw]) -> None:
        """Scale each drawn weight, as the signal first reaches it, so that the std over samples hits its
        target.

        Mishkin and Matas 2016 (LSUV), in one pass: what comes after a layer already sees its output
        calibrated.
        """
        assert self._fitting is not None

        def scale(
            product: Product, output: torch.Tensor, again: Callable[[], torch.Tensor]
        ) -> torch.Tensor | None:
            draw = draws.get(self._names[id(product.weight)])
            if draw is None or draw.target is None:
                return None
            target = draw.target * (flow.std_of.get(draw.skip, 1.0) or 1.0 if draw.skip is not None else 1.0)
            std = std_over_samples(output)
            if (
                not math.isfinite(std)
                or std == 0
                or not math.isfinite(target)
                or (draw.only_shrink and std <= target)
            ):
                return None
            product.weight.mul_(target / std)
            return again()

        flow = Flow(
            self._names,
            at_product=scale,
            watch=frozenset(d.skip for d in draws.values() if d.skip is not None),
        )
        with torch.no_grad():
            self._run(self._fitting, flow)

    def measure(self, layers: tuple[LayerFacts, ...]) -> tuple[SignalSummary, dict[str, float]]:
        """How the held-out signal runs, forward and backward; and the std over samples of every layer's
        output.
        """
        assert self._held_out is not None
        # Queries and keys have next to no gradient at first in healthy models: no measure of the signal.
        through = [f.name for f in layers if f.next not in ("output", "attention")]
        counted = {name for name in through if bool(self.named[name].any())}
        stds: dict[str, float] = {}
        gradients: dict[str, float] = {}
        dead: list[float] = [0.0]

        def note(product: Product, output: torch.Tensor, again: Any) -> None:
            name = self._names[id(product.weight)]
            stds[name] = std_over_samples(output)
            if output.requires_grad and name in counted:
                gradients[name] = 0.0
                output.register_hook(
                    lambda g: gradients.__setitem__(name, gradients[name] + float(g.detach().norm()))
                )

        flow = Flow(self._names, at_product=note, at_activation=lambda out: dead.append(_dead_units(out)))
        outputs = self._run(self._held_out, flow)
        loss = self._loss_of(outputs, self._held_out)
        self._backward(outputs if loss is None else loss)
        parameters = parameters_of(self.model, self._units)
        forward = [stds[n] for n in counted if n in stds]
        backward = list(gradients.values())
        spread = [s for s in forward if s > 0] or [0.0]
        norms = [g for g in backward if g > 0]
        summary = SignalSummary(
            layers=len(forward),
            smallest_std=min(spread),
            largest_std=max(spread),
            silent=sum(s == 0 for s in forward) + sum(g == 0 for g in backward),
            symmetric=sum(p.symmetric for p in parameters),
            dead_units=max(dead),
            gradient_range=max(norms) / min(norms) if norms else math.nan,
            finite=all(map(math.isfinite, [*stds.values(), *backward]))
            and (loss is None or bool(loss.isfinite())),
            loss=None if loss is None else float(loss.detach()),
            trained_loss=None if loss is None else self._race(),
        )
        return summary, stds

    def _loss_of(self, outputs: Any, batch: Batch) -> torch.Tensor | None:
        if self._loss is None or batch.targets is None:
            return None
        with users_code("the loss"):
            return scalar_loss(self._loss(outputs, batch.targets))

    def _backward(self, result: Any) -> None:
        """One backward pass, from a loss or from a fixed random projection of the outputs, that writes no
        gradient.
        """
        generator = torch.Generator().manual_seed(self._seed % 2**63)
        total: Any = 0.0
        for output in tensors_in(result, objects=False):
            if output.requires_grad and output.is_floating_point():
                direction = torch.randn(output.shape, generator=generator, dtype=torch.float64)
                total = total + (output * direction.to(output)).sum() if output.ndim else total + output
        trainable = [p for p in self.named.values() if p.requires_grad]
        if isinstance(total, torch.Tensor) and trainable:
            torch.autograd.grad(total, trainable, allow_unused=True)

    def _race(self) -> float:
        """Held-out loss after a short training by Adam, the best over the learning rates."""
        return min(self._train(rate) for rate in RACE_LEARNING_RATES)

    def _train(self, learning_rate: float) -> float:
        assert self._fitting is not None
        assert self._held_out is not None
        with preserved(self.model, self._loss):
            trainable = [p for p in self.named.values() if p.requires_grad]
            optimizer = torch.optim.Adam(trainable, lr=learning_rate)
            for _ in range(RACE_STEPS):
                optimizer.zero_grad(set_to_none=True)
                loss = self._loss_of(self._run(self._fitting), self._fitting)
                if loss is None or not loss.requires_grad or not loss.isfinite():
                    return math.inf
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                held_out = self._loss_of(self._run(self._held_out), self._held_out)
            return math.inf if held_out is None or not held_out.isfinite() else float(held_out)

    def values(self, names: set[str]) -> dict[str, torch.Tensor]:
        return {name: self.named[name].detach().clone() for name in names}

    def assign(self, values: Mapping[str, torch.Tensor]) -> None:
        """Write values into the user's parameters, in place."""
        with torch.no_grad():
            for name, value in values.items():
                self.named[name].copy_(value)


def sample(draw: Draw, shape: torch.Size, *, seed: int) -> torch.Tensor:
    """A weight on the CPU in float32, the same for the same seed and name whatever else is drawn."""
    digest = hashlib.sha256(f"{seed}:{draw.name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    if draw.distribution == "orthogonal":
        longest = max(shape[0], math.prod(shape[1:]))
        weight = torch.empty(shape)
        nn.init.orthogonal_(weight, gain=draw.std * math.sqrt(longest), generator=generator)
        return weight
    return torch.randn(shape, generator=generator) * draw.std


def _dead_units(output: torch.Tensor) -> float:
    """Fraction of units with one value on all rows: channels of images, columns or last axis otherwise."""
    if output.ndim < 2 or output.shape[0] < 2:
        return 0.0
    axis = 1 if output.ndim >= 4 else output.ndim - 1
    values = output.detach().movedim(axis, 0).reshape(output.shape[axis], -1)
    return float((values.amax(dim=1) == values.amin(dim=1)).float().mean())


def _train_mode(model: nn.Module) -> None:
    """As the user's loop would, except what was put in eval mode on purpose in a model that trains."""
    frozen = [m for m in model.modules() if not m.training] if model.training else []
    model.train()
    for module in frozen:
        module.training = False


def _halves(inputs: Any, targets: Any, device: torch.device) -> tuple[Batch, Batch]:
    batch = _as_batch(inputs, targets, device)
    # Every other row, so that rows sorted by class or by time fall into both halves alike.
    pairs = min(batch.rows // 2, ROWS)
    return take(batch, torch.arange(0, 2 * pairs, 2)), take(batch, torch.arange(1, 2 * pairs, 2))


def _as_batch(inputs: Any, targets: Any, device: torch.device) -> Batch:
    inputs, targets = _tensors(inputs, device, "inputs"), _tensors(targets, device, "targets")
    if isinstance(inputs, torch.Tensor):
        batch = Batch(args=(inputs,), targets=targets)
    elif isinstance(inputs, Mapping):
        batch = Batch(kwargs=dict(inputs), targets=targets)
    elif isinstance(inputs, tuple | list):
        batch = Batch(args=tuple(inputs), targets=targets)
    else:
        raise ArgumentError(
            f"inputs is {told(inputs)}: expected one batch, as a tensor, an array, "
            "a tuple for model(*inputs) or a dict for model(**inputs)"
        )
    if not batch.tensors:
        raise ArgumentError(f"inputs is {told(inputs)} without a tensor in it: expected one batch of rows")
    lengths = {len(t) if t.ndim else 0 for t in tensors_in((batch.tensors, batch.targets), objects=False)}
    if len(lengths) > 1:
        raise DataError(f"inputs and targets have different numbers of rows: {sorted(lengths)}")
    if batch.rows < 4:
        raise DataError(
            f"inputs has {batch.rows} rows: at least 4 are needed, half to calibrate and half to measure"
        )
    for tensor in batch.tensors:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            count = int((~tensor.isfinite()).sum())
            raise DataError(f"inputs holds {count} values that are NaN or infinite: clean them first")
    return batch


def _tensors(value: Any, device: torch.device, name: str) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise ArgumentError(f"{name} holds an array of dtype {value.dtype}: expected numbers")
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        value = tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor
    if isinstance(value, torch.Tensor):
        if value.is_meta:
            raise DataError(
                f"{name} holds tensors on the meta device, which have no numbers: give data on a real device"
            )
        return value.detach().to(device)
    if isinstance(value, Mapping):
        return {k: _tensors(v, device, name) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_tensors(v, device, name) for v in value)
    return value
