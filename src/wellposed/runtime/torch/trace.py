"""Traces a model: one forward and backward pass of each batch, reduced to sums on the device of each tensor; no tensor is kept."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..model_trace import (
    SUMS,
    AttentionRows,
    ModelTrace,
    ModuleOutput,
    NonFinite,
    Operation,
    OperationKey,
    RegroupingView,
    SourceLine,
    TensorStats,
    Weight,
)
from .attention import attention_rows
from .batch import Batch, tensors_in
from .graph_nodes import GRAPH_NODES, graph_nodes
from .norms import values_per_statistic
from .origins import is_finite, origin
from .recorder import (
    INPUT,
    Recorder,
    function_name,
    has_numbers,
    is_new,
    is_wrapped,
    line_of_user,
    listening,
    unwrapped,
)
from .regrouped import VIEWS, permuted_instead
from .session import (
    ForwardPass,
    Runner,
    are_equal,
    clear_gradients,
    main_tensor,
    outputs_without_gradients,
    seed_everything,
)

_PASSIVE = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
)
_SQUASHING = {"TanhBackward0": "tanh", "SigmoidBackward0": "sigmoid"}
_RECTIFYING = ("ReluBackward0", "ThresholdBackward0", "HardtanhBackward0", "ClampMinBackward0")
_FLAT = 0.01  # a slope below this share of the steepest counts as flat
_OUTPUT_OPERATIONS = (
    6  # a functional sigmoid, a view, a squeeze: what may stand between a layer and the output
)
_SAMPLED = 1 << 18  # entries of a tensor that are summed up
_OCCURRENCES = 1 << 10  # of one line in one run; later ones are added to the last


def trace(runner: Runner, batches: Sequence[Batch], *, seed: int, start: int = 0) -> ModelTrace:
    """Run forward and backward on each batch, of which the first has the number `start`. Use inside `restore.preserved`.

    Batch i runs with the random state of `seed` + i.
    """
    tracer = _Tracer(runner)
    weights = {name: _weight(p) for name, p in runner.parameters.items() if has_numbers(p)}
    trainable = runner.trainable  # as it is before a forward pass that freezes or unfreezes
    squares: dict[str, list[torch.Tensor | float]] = {name: [] for name in trainable}
    known = set(runner.parameters)
    spoilt: list[int] = []
    for i, batch in enumerate(batches, start):
        seed_everything(seed + i)
        clear_gradients(runner)
        tracer.rows = max(batch.rows, 1)
        with tracer.recording(batch):
            evaluation = runner.evaluate(batch)
        runner.refuse_new_parameters(known)
        tracer.note_output(evaluation, batch)
        if evaluation.loss is not None and evaluation.loss.requires_grad:
            tracer.read_graph(evaluation.loss)
            tracer.backward(evaluation.loss)
        for name, parameter in trainable.items():
            squares[name].append(_mean_square(parameter.grad))
            tracer.note_rows(name, parameter.grad)
        if not spoilt and not is_finite(evaluation):
            spoilt.append(i)
    gradient_squares = {name: [float(s) for s in values] for name, values in squares.items()}
    spoilt += [
        start + i for i in range(len(batches)) if not all(_finite(v[i]) for v in gradient_squares.values())
    ]
    nonfinite = (
        origin(runner, batches[min(spoilt) - start], number=min(spoilt), seed=seed + min(spoilt))
        if spoilt
        else None
    )
    clear_gradients(runner)
    traced = tracer.trace(nonfinite, gradient_squares, weights)
    tracer.forget_graph()
    return traced


def _weight(parameter: torch.Tensor) -> Weight:
    sums = dict(zip(SUMS, _sums(parameter, 1.0).tolist(), strict=False))
    return Weight(tuple(parameter.shape), sums["total"] / sums["count"], sums["squares"] / sums["count"])


def _mean_square(gradient: torch.Tensor | None) -> torch.Tensor | float:
    if gradient is None:
        return -1.0  # absent: no square is negative
    gradient = gradient.coalesce().values() if gradient.is_sparse else gradient
    return gradient.detach().double().square().mean() if gradient.numel() else 0.0


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


def dropout_noise(
    runner: Runner, batch: Batch, *, seed: int, draws: int = 8
) -> tuple[float | None, str | None]:
    """Variance of the outputs over draws of dropout, over the variance of their means across samples; and the noisiest layer."""
    dropouts = [
        m for m in runner.modules if isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p > 0
    ]
    if not dropouts or batch.rows < 3:
        return None, None
    results = [outputs_without_gradients(runner, batch, seed=seed + i) for i in range(draws)]
    if any(r is None or len(r) != batch.rows for r in results):
        return None, None
    stacked = torch.stack([r.double() for r in results if r is not None])
    noise = float(stacked.var(0).mean())
    # The mean of the draws keeps a share of the noise.
    signal = float(stacked.mean(0).var(0).mean()) - noise / draws
    noisiest = runner.names()[max(dropouts, key=lambda m: m.p)]
    return (noise / signal if signal > noise / (100 * draws) else 100.0 * draws), noisiest


# --- sums of one tensor


_Vector = torch.Tensor | list[float]
"""Sums of one tensor: of one on an accelerator left there, which need not be waited for; of others read at once, since small
tensors that stay would keep the memory around them from being given back."""


@dataclass
class _Sums:
    """`TensorStats` in the making."""

    parts: list[_Vector] = field(default_factory=list)

    def add(self, values: torch.Tensor, *, scale: float = 1.0) -> _Vector:
        sums = _sums(values, scale)
        self.parts.append(sums.tolist() if sums.device.type == "cpu" else sums)
        return self.parts[-1]

    def stats(self) -> TensorStats:
        if not self.parts:
            return TensorStats()
        stacked = _stacked(self.parts)
        sums = stacked[:, :-1].sum(0).tolist()
        return TensorStats(**dict(zip(SUMS, sums, strict=True)), largest=float(stacked[:, -1].max()))


def _sums(values: torch.Tensor, scale: float) -> torch.Tensor:
    """The fields of `TensorStats`, in double precision; of a large tensor from entries of every sample, spread evenly.

    What is not finite is looked for in all of them.
    """
    values = values.detach()
    values = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    rows, entries = values.shape
    every = (
        max(1, -(-values.numel() // _SAMPLED) | 1) if values.numel() > _SAMPLED else 1
    )  # odd: no axis is skipped
    sample = values[:, ::every] if every < entries else values[:: max(1, rows // _SAMPLED)]
    x = sample.double()
    d = x - x[:1]  # from the first sample: samples that are equal deviate by exactly 0
    several = len(x) > 1
    deviations = (d.square().sum() - d.sum(0).square().sum() / len(x)).clamp(min=0) * several
    sizes = x.abs()
    of_sample = torch.stack([
        torch.full_like(deviations, x.numel()), x.sum() * scale, x.square().sum() * scale**2, (x == 0).sum(),
    ])  # fmt: skip
    of_all = torch.stack([values.isnan().sum(), values.isinf().sum()]).double()
    of_samples = torch.stack([of_sample[0] * several, deviations * scale**2])
    weight = values.numel() / x.numel()
    largest = sizes.max() * abs(scale)
    sums = torch.cat([of_sample * weight, of_all, of_samples * weight, largest[None]])
    return sums if type(sums) is torch.Tensor else torch.tensor(_numbers(sums), dtype=torch.float64)


def _stacked(vectors: Sequence[_Vector]) -> torch.Tensor:
    """On the CPU, with one transfer where they are on one accelerator."""
    if all(isinstance(v, list) for v in vectors):
        return torch.tensor(vectors, dtype=torch.float64)
    tensors = [torch.as_tensor(v, dtype=torch.float64) for v in vectors]
    return torch.stack([t.to(tensors[0].device) for t in tensors]).cpu()


def _numbers(vector: torch.Tensor) -> list[Any]:
    """Its entries; those of a subclass one by one."""
    return vector.tolist() if type(vector) is torch.Tensor else [entry.item() for entry in vector]


# --- recording


@dataclass
class _Operation:
    key: OperationKey
    position: int
    inputs: tuple[int, ...]
    parameters: tuple[str, ...]
    shape: tuple[int, ...]
    settings: tuple[tuple[str, Any], ...]
    output: _Sums = field(default_factory=_Sums)
    gradient: _Sums = field(default_factory=_Sums)
    latest: _Made | None = None


@dataclass(eq=False)
class _Made:
    """One tensor that an operation made, and the modules whose output it is."""

    tensor: weakref.ref[torch.Tensor]
    sums: _Vector
    modules: list[tuple[_Module, int]] = field(default_factory=list)
    """Each with the axis of its units."""


@dataclass
class _Module:
    module: nn.Module
    line: SourceLine | None
    output: _Sums = field(default_factory=_Sums)
    gradient: _Sums = field(default_factory=_Sums)
    latest: _Made | None = None
    alive: torch.Tensor | None = None
    """By unit: whether a gradient went through it."""
    squashing: str | None = None
    squashed: int = 0
    flat: int = 0
    rectified: bool = False
    normalised_over: int = 0


class _Call(NamedTuple):
    """One call of a module whose output is followed."""

    module: nn.Module
    sums: _Vector
    """Of its output."""
    position: int | None
    """Of the operation that made it."""
    end: Any
    """The autograd node of its output."""
    entered: frozenset[Any]
    """Those of its inputs."""


class _Tracer(Recorder):
    """Sums up what each operation and each module gives, forward and backward."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self.names = runner.names()
        self.rows = 1
        self.calls: list[_Call] = []
        """Those of the latest run."""
        self.made: dict[Any, nn.Module] = {}
        """By autograd node: the module whose output it made."""
        self._parameters = {id(p): name for name, p in runner.parameters.items()}
        self._operations: dict[OperationKey, _Operation] = {}
        self._ordered: list[_Operation] = []
        self._modules: dict[nn.Module, _Module] = {}
        self._occurrences: dict[tuple[Any, ...], int] = {}
        self._stack: list[nn.Module] = []
        self._attention: dict[nn.Module, AttentionRows] = {}
        self._awake: dict[str, torch.Tensor] = {}
        self._input = _Sums()
        self._output: str | None = None
        self._output_nodes: set[Any] = set()
        self._regrouping: list[RegroupingView] = []
        self._chooses = False
        self._connected: bool | None = None
        self._outputs = 0
        self._same_outputs = True
        self._goes_backward = False

    @contextmanager
    def recording(self, batch: Batch) -> Iterator[None]:
        """Record what runs inside, as one run of the model on a batch."""
        self._occurrences.clear()
        self._stack.clear()
        self.calls.clear()
        self.remember((batch.args, batch.kwargs or {}), INPUT)
        inputs = list(tensors_in((batch.args, batch.kwargs or {}), objects=False))
        if len(inputs) == 1 and has_numbers(inputs[0]):
            self._input.add(inputs[0])
        with listening(self.names, self._enter, self._leave), self:
            yield

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func in VIEWS:
            self._note_view(args, output)
        made = [t for t in tensors_in(output, objects=False) if has_numbers(t)]
        if not made:
            self._chooses = self._chooses or self._is_choice(output, (args, kwargs))
        else:
            read = list(tensors_in((args, kwargs), objects=False))
            name = function_name(func)
            if name != "__get__" and is_new(made[0], read, name, kwargs):
                self._record(name, read, made, _settings(args, kwargs))
            elif sources := self.positions_of(read):
                self.remember(made, sources[0])  # the same numbers
        return output

    def _note_view(self, args: tuple[Any, ...], output: Any) -> None:
        with torch._C.DisableTorchFunction():
            if (
                not args
                or not isinstance(output, torch.Tensor)
                or permuted_instead(args[0], output.shape) is None
            ):
                return
        view = RegroupingView(before=tuple(args[0].shape), after=tuple(output.shape), line=line_of_user())
        self._regrouping.append(view)

    def _is_choice(self, output: Any, read: Any) -> bool:
        """Whether a function made whole numbers or truth values of what the model has made."""
        if not any(not t.is_floating_point() for t in tensors_in(output, objects=False)):
            return False
        numbers = [t for t in tensors_in(read, objects=False) if t.is_floating_point()]
        return any(position != INPUT for position in self.positions_of(numbers))

    def _record(
        self,
        name: str,
        read: list[torch.Tensor],
        made: list[torch.Tensor],
        settings: tuple[tuple[str, Any], ...],
    ) -> None:
        inputs = self.positions_of(read)
        parameters = tuple(dict.fromkeys(n for t in read if (n := self._parameters.get(id(t))) is not None))
        if not inputs and not parameters:
            return  # a constant: a mask, positions, a draw
        operation = self._operation(name, inputs, parameters, tuple(unwrapped(made[0]).shape), settings)
        self.remember(made, operation.position)
        self._follow(made[0], operation)

    def _follow(self, tensor: torch.Tensor, operation: _Operation | _Module) -> _Made:
        """Sum up a tensor now, and its gradient when that comes."""
        made = _Made(weakref.ref(tensor), operation.output.add(unwrapped(tensor)))
        operation.latest = made
        if tensor.requires_grad and not tensor.is_leaf and not is_wrapped(tensor):
            tensor.register_hook(lambda g: self._on_gradient(operation.gradient, made, g))
        return made

    def _operation(
        self,
        name: str,
        inputs: tuple[int, ...],
        parameters: tuple[str, ...],
        shape: tuple[int, ...],
        settings: tuple[tuple[str, Any], ...],
    ) -> _Operation:
        place = self.names.get(self._stack[-1], "") if self._stack else "", name, line_of_user()
        nth = self._occurrences.get(place, 0)
        self._occurrences[place] = nth + 1
        key = OperationKey(*place, nth=min(nth, _OCCURRENCES - 1))
        if key not in self._operations:
            self._operations[key] = _Operation(key, len(self._ordered), inputs, parameters, shape, settings)
            self._ordered.append(self._operations[key])
        return self._operations[key]

    def _on_gradient(self, gradients: _Sums, made: _Made, gradient: torch.Tensor) -> None:
        if not self._goes_backward or gradient is None or gradient.is_sparse:
            return
        sums = gradients.add(gradient, scale=self.rows)
        for module, axis in made.modules:
            if module.gradient is not gradients:
                module.gradient.parts.append(sums)
            moved = gradient.detach() != 0
            alive = moved.transpose(0, axis).reshape(gradient.shape[axis], -1).any(1)
            before = module.alive
            module.alive = alive if before is None or before.shape != alive.shape else before | alive

    # --- modules

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._stack.append(module)

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        while self._stack and self._stack.pop() is not module:
            pass  # a module that raised inside it, whose error was caught
        tensor = first_float(output)
        followed = module in self.names and _is_followed(module)
        if followed and tensor is not None and tensor.ndim and has_numbers(tensor):
            with torch._C.DisableTorchFunction():
                self._add_output(module, inputs, tensor)

    def _add_output(self, module: nn.Module, inputs: tuple[Any, ...], tensor: torch.Tensor) -> None:
        seen = self._modules.get(module)
        if seen is None:
            seen = self._modules[module] = _Module(module, line_of_user())
        seen.normalised_over = max(seen.normalised_over, values_per_statistic(module, tensor))
        position = self.position_of(tensor)
        operation = self._ordered[position] if position is not None and position != INPUT else None
        made = operation.latest if operation is not None else None
        if made is not None and made.tensor() is tensor:
            seen.output.parts.append(made.sums)
        else:  # not seen as an operation, or a view
            made = self._follow(tensor, seen)
        made.modules.append((seen, unit_axis(module, tensor)))
        nodes = (t.grad_fn for t in inputs if isinstance(t, torch.Tensor))
        entered = frozenset(n for n in nodes if n is not None)
        self.calls.append(_Call(module, made.sums, position, tensor.grad_fn, entered))
        if tensor.grad_fn is not None and not is_wrapped(tensor):
            self.made.setdefault(tensor.grad_fn, module)

    # --- the autograd graph

    def backward(self, loss: torch.Tensor) -> None:
        """Go backward and listen: what the model itself differentiates on its way forward is not the signal."""
        self._goes_backward = True
        try:
            Runner.backward(loss)
        finally:
            self._goes_backward = False

    def note_output(self, evaluation: ForwardPass, batch: Batch) -> None:
        """Remember what the outputs and the loss are, and which module made the outputs: the last that ran, when they are its very own."""
        tensor, loss = main_tensor(evaluation.outputs), evaluation.loss
        self._connected = None if loss is None else bool(loss.requires_grad)
        self._outputs = 0 if tensor is None else tensor.numel() // self.rows
        self._same_outputs &= tensor is not None and are_equal(tensor, batch)
        node: Any = None if tensor is None else tensor.grad_fn
        self._output_nodes = set()
        for _ in range(_OUTPUT_OPERATIONS):
            if node is None:
                return
            self._output_nodes.add(node)
            if node in self.made:
                self._output = self.names[self.made[node]]
                return
            node = node.next_functions[0][0] if len(node.next_functions) == 1 else None

    def read_graph(self, loss: torch.Tensor) -> None:
        """Find the squashing, rectifying and attending operations in the graph, inside fused layers too, and the layer of each."""
        for node in graph_nodes(loss):
            with suppress(RuntimeError):  # what it saved was freed by a gradient that the model took itself
                self._read_node(node)

    def forget_graph(self) -> None:
        """Nodes that are held by what their hooks hold would never be collected: the circle runs through C++."""
        self.calls.clear()
        self.made.clear()
        self._output_nodes.clear()

    def _read_node(self, node: Any) -> None:
        name = type(node).__name__
        self._note_attention(node)
        squashes = name in _SQUASHING and node not in self._output_nodes
        if not squashes and name not in _RECTIFYING:
            return
        layer = self._layer_before(node)
        if layer is None:
            return
        if squashes:
            _add_squashing(layer, _SQUASHING[name], node._saved_result)
        else:
            layer.rectified = True

    def nearest(self, node: Any) -> nn.Module | None:
        """The module whose output feeds a node, nearest first."""
        front, visited = [node], {node}
        while front:
            found = next((self.made[n] for n in front if n in self.made), None)
            if found is not None:
                return found
            front = [m for n in front for m, _ in n.next_functions if m is not None and m not in visited]
            visited.update(front)
        return None

    def _note_attention(self, node: Any) -> None:
        rows = attention_rows(node)
        if rows is None:
            return
        around, before = _made_in(node, self), self.nearest(node)
        # A block that holds the layers of queries and keys is told by them.
        module = before if around is None or before in set(around.modules()) else around
        if module is not None:
            seen = self._attention.get(module)
            self._attention[module] = rows if seen is None else seen | rows

    def _layer_before(self, node: Any) -> _Module | None:
        """The nearest module with parameters whose output feeds this node, within a few operations."""
        front = [n for n, _ in node.next_functions if n is not None]
        for _ in range(6):
            for n in front:
                module = self.made.get(n)
                if module is not None and _has_parameters(module):
                    return self._modules.get(module)
            front = [m for n in front for m, _ in n.next_functions if m is not None]
        return None

    def note_rows(self, name: str, gradient: torch.Tensor | None) -> None:
        """Note which rows of a weight have a gradient."""
        if gradient is None or gradient.layout is not torch.strided or gradient.ndim < 2:
            return
        awake = (gradient.detach() != 0).flatten(1).any(1)
        self._awake[name] = self._awake[name] | awake if name in self._awake else awake

    # --- what came of it

    def trace(
        self,
        nonfinite: NonFinite | None,
        gradient_squares: dict[str, list[float]],
        weights: dict[str, Weight],
    ) -> ModelTrace:
        return ModelTrace(
            operations={
                o.key: Operation(
                    key=o.key, inputs=o.inputs, parameters=o.parameters,
                    output=o.output.stats(), gradient=o.gradient.stats() if o.gradient.parts else None,
                    shape=o.shape, settings=o.settings,
                )
                for o in self._ordered
            },
            modules={self.names[module]: self._module_output(seen) for module, seen in self._modules.items()},
            attention={self.names[m]: self._attention[m] for m in self._modules if m in self._attention},
            output=self._output,
            nonfinite=nonfinite,
            gradient_squares=gradient_squares,
            weights=weights,
            input=self._input.stats() if self._input.parts else None,
            awake_rows={name: np.array(_numbers(awake), dtype=bool) for name, awake in self._awake.items()},
            connected=self._connected,
            outputs=self._outputs,
            regrouping=tuple(self._regrouping),
            chooses=self._chooses,
            same_outputs=self._same_outputs,
        )  # fmt: skip

    def _module_output(self, seen: _Module) -> ModuleOutput:
        return ModuleOutput(
            module=self.names[seen.module],
            kind=type(seen.module).__name__,
            has_parameters=_has_parameters(seen.module),
            passive=isinstance(seen.module, _PASSIVE),
            line=seen.line,
            output=seen.output.stats(),
            gradient=seen.gradient.stats() if seen.gradient.parts else None,
            alive=None
            if seen.alive is None
            else frozenset(i for i, alive in enumerate(_numbers(seen.alive)) if alive),
            units=0 if seen.alive is None else len(seen.alive),
            squashing=seen.squashing,
            squashed=seen.squashed,
            flat=seen.flat,
            rectified=seen.rectified,
            normalised_over=seen.normalised_over,
        )


def _settings(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The arguments that are plain values."""
    given = [(str(i), a) for i, a in enumerate(args)] + list(kwargs.items())
    return tuple((key, tuple(a) if isinstance(a, list) else a) for key, a in given if _is_plain(a))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str) and type(value).__module__ == "builtins"


def _has_parameters(module: nn.Module) -> bool:
    """Of its own: also in a dict or list of parameters, where nothing else is in it, as in the layers of Keras."""
    held = module.parameters(recurse=not _has_inner_modules(module))
    return any(True for _ in held)


def _has_inner_modules(module: nn.Module) -> bool:
    return not all(isinstance(c, nn.ParameterDict | nn.ParameterList) for c in module.children())


def _is_followed(module: nn.Module) -> bool:
    """Whether it is a layer: without modules in it, or with parameters of its own."""
    return not _has_inner_modules(module) or _has_parameters(module)


def first_float(output: Any) -> torch.Tensor | None:
    """The first floating-point tensor in a layer's output."""
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() else None
    values = (
        output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    )
    return next((v for v in values if isinstance(v, torch.Tensor) and v.is_floating_point()), None)


def unit_axis(module: nn.Module, out: torch.Tensor) -> int:
    """The axis of channels or features."""
    if out.ndim == 1:
        return 0
    convolutional = "Conv" in type(module).__name__ or "BatchNorm" in type(module).__name__ or out.ndim >= 4
    return (
        1
        if convolutional and not isinstance(module, nn.Linear | nn.LayerNorm | nn.Embedding)
        else out.ndim - 1
    )


def _add_squashing(layer: _Module, kind: str, result: torch.Tensor) -> None:
    y = result.detach()
    slope = 1 - y * y if kind == "tanh" else 4 * y * (1 - y)
    layer.squashing = kind
    layer.flat += int((slope < _FLAT).sum())
    layer.squashed += y.numel()


def _made_in(node: Any, tracer: _Tracer) -> nn.Module | None:
    """The module in whose forward a node was made: between the node of its output and those of its inputs."""
    for call in tracer.calls:
        if call.end is None:
            continue
        front, visited = [call.end], {call.end}
        while front and len(visited) < GRAPH_NODES:
            current = front.pop()
            if current is node:
                return call.module
            fresh = [
                n
                for n, _ in current.next_functions
                if n is not None and n not in call.entered and n not in visited
            ]
            visited.update(fresh)
            front += fresh
    return None
