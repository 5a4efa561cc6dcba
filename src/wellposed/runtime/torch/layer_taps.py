"""Forward and backward taps: hooks that reduce each layer's signal on its own device, and keep no tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ...signals.result import FLUSH_BELOW, LayerSignal, NonFiniteOrigin
from .batch import Batch
from .session import Runner, clear_gradients, main_tensor, outputs_without_gradients, seed_everything

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
_GRAPH_NODES = 200_000
_OUTPUT_OPERATIONS = (
    6  # a functional sigmoid, a view, a squeeze: what may stand between a layer and the output
)


@dataclass
class _LayerSums:
    """What one layer's taps add up over calls and batches."""

    order: int
    module: nn.Module
    calls: int = 0
    square: float = 0.0
    sample_variance: float = 0.0
    gradient_square: float = 0.0
    gradients: int = 0
    flushed: int = 0
    nonzero: int = 0
    alive: torch.Tensor | None = None
    units: int = 0
    flat: int = 0
    squashed: int = 0
    squashing: str | None = None
    rectified: bool = False


@dataclass
class Tapped:
    """Everything that one pass of taps saw."""

    layers: tuple[LayerSignal, ...]
    nonfinite: NonFiniteOrigin | None
    flushed: dict[str, float]
    output: str | None
    gradient_squares: dict[str, list[float]] = field(default_factory=dict)
    """By parameter name: the mean square gradient of each batch; NaN for an absent gradient."""


def tap(
    runner: Runner, batches: Sequence[Batch], *, seed: int, precision: str = "fp32", step: int = 0
) -> Tapped:
    """Run forward and backward on each batch and reduce the signal at every leaf module.

    Use inside `restore.preserved`.
    """
    taps = _Taps(runner, FLUSH_BELOW.get(precision, 0.0))
    trainable = runner.trainable  # as it is before a forward pass that freezes or unfreezes
    squares: dict[str, list[float]] = {name: [] for name in trainable}
    known = set(runner.parameters)
    with taps.attached():
        for i, batch in enumerate(batches):
            seed_everything(seed + i)
            clear_gradients(runner)
            taps.rows = max(batch.rows, 1)
            evaluation = runner.evaluate(batch)
            runner.refuse_new_parameters(known)
            taps.note_output(evaluation.outputs)
            if evaluation.loss is not None and evaluation.loss.requires_grad:
                taps.read_graph(evaluation.loss)
                taps.backward(evaluation.loss)
            for name, parameter in trainable.items():
                squares[name].append(_mean_square(parameter.grad))
    nonfinite = taps.nonfinite(step)
    if nonfinite is None and any(
        not _finite(v) for values in squares.values() for v in values if v is not None
    ):
        nonfinite = _backward_origin(runner, batches, seed=seed, step=step)
    clear_gradients(runner)
    return Tapped(taps.layers(), nonfinite, taps.flushed_shares(), taps.output, squares)


def _mean_square(gradient: torch.Tensor | None) -> float:
    if gradient is None:
        return -1.0  # absent: no square is negative
    gradient = gradient.coalesce().values() if gradient.is_sparse else gradient
    return float(gradient.detach().double().square().mean()) if gradient.numel() else 0.0


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
    signal = (
        float(stacked.mean(0).var(0).mean()) - noise / draws
    )  # the mean of the draws keeps a share of the noise
    noisiest = runner.names()[max(dropouts, key=lambda m: m.p)]
    return (noise / signal if signal > noise / (100 * draws) else 100.0 * draws), noisiest


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


class _Taps:
    def __init__(self, runner: Runner, flush_below: float) -> None:
        self.runner = runner
        self.flush_below = flush_below
        self.names = runner.names()
        self.sums: dict[nn.Module, _LayerSums] = {}
        self.rows = 1
        self.listening = False
        self.output: str | None = None
        self.output_nodes: list[Any] = []
        """The last operations of the graph, back to the layer that they belong to."""
        self.first_nonfinite: tuple[nn.Module, str] | None = None
        self.made_by: dict[Any, nn.Module] = {}
        self.spans: list[tuple[nn.Module, Any, set[Any]]] = []
        """Each call of a leaf: the node of its output, and those of its inputs."""

    @contextmanager
    def attached(self) -> Iterator[None]:
        # What a module that was compiled in place runs must not be traced into the taps.
        compiled = any(getattr(m, "_compiled_call_impl", None) is not None for m in self.names)
        hook: Any = torch.compiler.disable(self._forward) if compiled else self._forward
        handles = [m.register_forward_hook(hook) for m in self.names if _is_leaf(m)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _forward(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        out = first_float(output)
        if out is None or out.ndim == 0 or out.numel() == 0 or out.is_nested:
            return
        sums = self.sums.setdefault(module, _LayerSums(order=len(self.sums), module=module))
        values = _unwrapped(out).detach().double()
        if self.first_nonfinite is None and not bool(torch.isfinite(values).all()):
            given = [_unwrapped(t) for t in inputs if isinstance(t, torch.Tensor) and t.is_floating_point()]
            came_in = any(not bool(torch.isfinite(t).all()) for t in given)
            self.first_nonfinite = (module, "the code before it" if came_in else type(module).__name__)
        sums.calls += 1
        sums.square += float(values.square().mean())
        sums.sample_variance += float(values.var(0, correction=0).mean()) if len(values) > 1 else float("nan")
        if out.requires_grad and not _is_wrapped(out):
            if out.grad_fn is not None:
                self.made_by.setdefault(out.grad_fn, module)
                entered = {t.grad_fn for t in inputs if isinstance(t, torch.Tensor) and t.grad_fn is not None}
                self.spans.append((module, out.grad_fn, entered))
            axis = unit_axis(module, out)
            out.register_hook(lambda g: self._backward(sums, g, axis))

    def backward(self, loss: torch.Tensor) -> None:
        """Go backward with open ears: what the model itself differentiates on its way forward is not the signal."""
        self.listening = True
        try:
            Runner.backward(loss)
        finally:
            self.listening = False

    def _backward(self, sums: _LayerSums, gradient: torch.Tensor, axis: int) -> None:
        if not self.listening:
            return
        g = gradient.detach()
        sums.gradients += 1
        sums.gradient_square += float(g.double().square().mean()) * self.rows**2
        moved = g != 0
        alive = moved.transpose(0, axis).reshape(g.shape[axis], -1).any(1)
        sums.alive = alive if sums.alive is None or sums.alive.shape != alive.shape else sums.alive | alive
        sums.units = g.shape[axis]
        if self.flush_below:
            sums.nonzero += int(moved.sum())
            sums.flushed += int((moved & (g.abs() < self.flush_below)).sum())

    def note_output(self, outputs: Any) -> None:
        """Remember which leaf made the model's output: the last that ran, when the output is its very own."""
        tensor = main_tensor(outputs)
        node: Any = None if tensor is None else tensor.grad_fn
        self.output_nodes = []
        for _ in range(_OUTPUT_OPERATIONS):
            if node is None:
                return
            self.output_nodes.append(node)
            if node in self.made_by:
                self.output = self.names[self.made_by[node]]
                return
            node = node.next_functions[0][0] if len(node.next_functions) == 1 else None

    def read_graph(self, loss: torch.Tensor) -> None:
        """Find the squashing and rectifying operations in the graph, functional ones too, and the layer before each."""
        output_nodes = set(self.output_nodes)
        for node in graph_nodes(loss):
            name = type(node).__name__
            if name in _SQUASHING and node not in output_nodes:
                layer = self._layer_before(node)
                if layer is not None and layer in self.sums:
                    _add_squashing(self.sums[layer], _SQUASHING[name], node._saved_result)
            elif name in _RECTIFYING:
                layer = self._layer_before(node)
                if layer is not None and layer in self.sums:
                    self.sums[layer].rectified = True

    def _layer_before(self, node: Any) -> nn.Module | None:
        """The nearest module with parameters whose output feeds this node, within a few operations."""
        front = [n for n, _ in node.next_functions if n is not None]
        for _ in range(6):
            for n in front:
                module = self.made_by.get(n)
                if module is not None and any(True for _ in module.parameters(recurse=False)):
                    return module
            front = [m for n in front for m, _ in n.next_functions if m is not None]
        return None

    def layers(self) -> tuple[LayerSignal, ...]:
        ordered = sorted(self.sums.items(), key=lambda item: item[1].order)
        return tuple(
            self._layer(module, sums) for module, sums in ordered if not isinstance(module, _PASSIVE)
        )

    def _layer(self, module: nn.Module, sums: _LayerSums) -> LayerSignal:
        dead = 0.0 if sums.alive is None else 1.0 - float(sums.alive.double().mean())
        return LayerSignal(
            name=self.names[module],
            kind=type(module).__name__,
            rms=(sums.square / sums.calls) ** 0.5,
            sample_std=(sums.sample_variance / sums.calls) ** 0.5,
            gradient_rms=(sums.gradient_square / sums.gradients) ** 0.5 if sums.gradients else None,
            dead_share=dead,
            units=sums.units,
            saturated_share=sums.flat / sums.squashed if sums.squashed else None,
            squashing=sums.squashing,
            has_parameters=any(True for _ in module.parameters(recurse=False)),
            rectified=sums.rectified,
        )

    def nonfinite(self, step: int) -> NonFiniteOrigin | None:
        if self.first_nonfinite is None:
            return None
        module, operation = self.first_nonfinite
        return NonFiniteOrigin(where=self.names[module], operation=operation, direction="forward", step=step)

    def flushed_shares(self) -> dict[str, float]:
        return {self.names[m]: s.flushed / s.nonzero for m, s in self.sums.items() if s.nonzero}


def _is_wrapped(tensor: torch.Tensor) -> bool:
    """Whether a transform of ``torch.func`` is at work on it: its values cannot be asked for."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # pyright: ignore[reportAttributeAccessIssue]


def _unwrapped(tensor: torch.Tensor) -> torch.Tensor:
    """The plain tensor below the transforms of ``torch.func``, with the samples that vmap spread along its axes."""
    while _is_wrapped(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)  # pyright: ignore[reportAttributeAccessIssue]
    return tensor


def _is_leaf(module: nn.Module) -> bool:
    return not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False))


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


def graph_nodes(loss: torch.Tensor) -> Iterator[Any]:
    """Every autograd node behind a loss, each once."""
    seen: set[Any] = set()
    stack = [loss.grad_fn]
    while stack and len(seen) < _GRAPH_NODES:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(n for n, _ in node.next_functions)


def _add_squashing(sums: _LayerSums, kind: str, result: torch.Tensor) -> None:
    y = result.detach()
    slope = 1 - y * y if kind == "tanh" else 4 * y * (1 - y)
    sums.squashing = kind
    sums.flat += int((slope < _FLAT).sum())
    sums.squashed += y.numel()


def _backward_origin(
    runner: Runner, batches: Sequence[Batch], *, seed: int, step: int
) -> NonFiniteOrigin | None:
    """Run again with a hook on every autograd node: the origin takes finite gradients in and gives others out."""
    for i, batch in enumerate(batches):
        seed_everything(seed + i)
        clear_gradients(runner)
        taps = _Taps(runner, 0.0)
        with taps.attached():
            loss = runner.evaluate(batch).loss
            if loss is None or not loss.requires_grad:
                continue
            names = {node: taps.names[m] for node, m in taps.made_by.items()}
            origins: list[Any] = []
            for node in list(graph_nodes(loss)):
                node.register_hook(_origin_hook(node, origins))
            loss.backward()
        if origins:
            node = origins[0]
            return NonFiniteOrigin(
                where=_made_in(node, taps) or _nearest(node, names),
                operation=type(node).__name__.removesuffix("0"),
                direction="backward",
                step=step,
            )
    return None


def _origin_hook(node: Any, origins: list[Any]) -> Any:
    def hook(grad_inputs: tuple[Any, ...], grad_outputs: tuple[Any, ...]) -> None:
        if _all_finite(grad_outputs) and not _all_finite(grad_inputs):
            origins.append(node)

    return hook


def _all_finite(tensors: tuple[Any, ...]) -> bool:
    return all(t is None or t.is_sparse or bool(torch.isfinite(t).all()) for t in tensors)


def _made_in(node: Any, taps: _Taps) -> str | None:
    """The leaf in whose forward a node was made: between the node of its output and those of its inputs."""
    for module, end, entered in taps.spans:
        front, visited = [end], {end}
        while front and len(visited) < _GRAPH_NODES:
            current = front.pop()
            if current is node:
                return taps.names[module]
            fresh = [
                n
                for n, _ in current.next_functions
                if n is not None and n not in entered and n not in visited
            ]
            visited.update(fresh)
            front += fresh
    return None


def _nearest(node: Any, names: dict[Any, str]) -> str:
    """The module whose output feeds this node, nearest first."""
    front, visited = [node], {node}
    while front:
        for n in front:
            if n in names:
                return names[n]
        front = [m for n in front for m, _ in n.next_functions if m is not None and m not in visited]
        visited.update(front)
    return "inputs"
