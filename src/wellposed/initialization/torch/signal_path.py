"""Follows the signal through a model as it runs: which weights multiply it, in which order, and what comes
next.

Every torch function that the model calls is seen, so functional activations, raw parameters and shared
layers are followed as well as modules are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from ...runtime.torch.batch import tensors_in
from ...runtime.torch.recorder import Recorder, function_name
from ..result import LayerFacts, Next

_IN_PLACE = ("relu", "leaky_relu", "elu", "celu", "selu", "hardtanh", "sigmoid", "tanh", "exp", "clamp")
_OUT_OF_PLACE = (
    *(
        "relu6",
        "prelu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "hardsigmoid",
        "softplus",
        "softsign",
        "logsigmoid",
    ),
    *("threshold", "tanhshrink", "softshrink", "hardshrink", "sin", "cos", "abs", "square", "erf", "clip"),
)
ACTIVATIONS = frozenset((*_OUT_OF_PLACE, *_IN_PLACE, *(f"{name}_" for name in _IN_PLACE), "clamp_min"))
NORMS = frozenset(("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize"))
ATTENTIONS = frozenset(("softmax", "log_softmax", "scaled_dot_product_attention"))
ADDITIONS = frozenset(("add", "add_", "__add__", "__radd__", "__iadd__"))
DROPOUTS = frozenset(
    ("dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
)
_MATRIX_PRODUCTS = frozenset(("matmul", "__matmul__", "__rmatmul__", "mm"))


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """One use of a weight parameter."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    kind: Literal["linear", "convolution", "transposed convolution"]
    fan_in: float
    fan_out: float
    unit_axis: int
    """Axis of the weight along which the units lie."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One torch function that gave a tensor."""

    name: str
    inputs: tuple[int, ...]
    ancestors: int
    """Bit i is set when node i is at or above this one."""
    depth: int
    """Weights passed on the longest way here."""
    product: Product | None
    elementwise: Callable[[Any], Any] | None


class Flow(Recorder):
    """Records the nodes of a run, in order; dropout is passed over.

    Parameters
    ----------
    parameters
        By id, the parameters whose products are to be seen.
    at_product
        Called with the product, its output and a function that computes it again, when a weight is first
        used; may return another output.
    at_activation
        Called with the output of every activation that reads the signal.
    """

    def __init__(
        self,
        parameters: Mapping[int, str],
        *,
        at_product: Callable[[Product, Any, Callable[[], Any]], Any] | None = None,
        at_activation: Callable[[torch.Tensor], None] | None = None,
        watch: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.std_of: dict[int, float] = {}
        self._parameters = parameters
        self._at_product = at_product
        self._at_activation = at_activation
        self._watch = watch
        self._used: set[int] = set()

    def start(self, inputs: Any) -> None:
        """Make the model's inputs the first node."""
        self.remember(inputs, 0)
        self.nodes.append(Node(name="input", inputs=(), ancestors=1, depth=0, product=None, elementwise=None))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        if name in DROPOUTS:
            return args[0] if args else kwargs["input"]
        product = read_product(name, args, kwargs, self._parameters)
        inputs = self.positions_of(tensors_in((args, kwargs), objects=False))
        output = func(*args, **kwargs)
        if product is not None and id(product.weight) not in self._used and self._at_product is not None:
            self._used.add(id(product.weight))
            changed = self._at_product(product, output, partial(func, *args, **kwargs))
            output = output if changed is None else changed
        outputs = list(tensors_in(output, objects=False))
        if inputs and outputs:
            self._add(name, inputs, product, outputs, _elementwise(name, func, args, kwargs))
        return output

    def _add(
        self, name: str, inputs: tuple[int, ...], product: Product | None, outputs: Any, elementwise: Any
    ) -> None:
        index = len(self.nodes)
        ancestors = 1 << index
        for i in inputs:
            ancestors |= self.nodes[i].ancestors
        depth = max(self.nodes[i].depth for i in inputs) + (product is not None)
        self.nodes.append(
            Node(
                name=name,
                inputs=inputs,
                ancestors=ancestors,
                depth=depth,
                product=product,
                elementwise=elementwise,
            )
        )
        self.remember(outputs, index)
        if index in self._watch:
            self.std_of[index] = std_over_samples(outputs[0])
        if elementwise is not None and self._at_activation is not None:
            self._at_activation(outputs[0])


def std_over_samples(output: torch.Tensor) -> float:
    """Std over samples of each unit (the rms over units), 0 where rounding alone could have made it.

    A std over the whole tensor would count the differences between units, such as their biases, as signal.
    """
    values = output.detach()
    values = values.double() if values.dtype == torch.float64 else values.float()
    values = values.reshape(values.shape[0], -1) if values.ndim else values.reshape(1, 1)
    std = float(values.var(dim=0).mean().sqrt()) if len(values) > 1 else math.nan
    rounding = 4 * torch.finfo(output.dtype).eps * float(values.square().mean().sqrt())
    return 0.0 if std <= rounding else std


def read_product(name: str, args: Any, kwargs: Any, parameters: Mapping[int, str]) -> Product | None:
    """The product of the signal and a parameter that a call is, or None."""

    def argument(position: int, key: str, default: Any = None) -> Any:
        return args[position] if len(args) > position else kwargs.get(key, default)

    if name == "linear":
        weight, bias, unit_axis = argument(1, "weight"), argument(2, "bias"), 0
    elif name.startswith("conv") and name[-2:] in ("1d", "2d", "3d"):
        return _convolution(name, argument, parameters)
    elif name in _MATRIX_PRODUCTS and len(args) == 2:
        left = id(args[0]) in parameters
        weight, bias, unit_axis = (args[0], None, 0) if left else (args[1], None, 1)
        if name == "__rmatmul__":
            unit_axis = 1 - unit_axis
    elif name == "addmm":
        weight, bias, unit_axis = argument(2, "mat2"), argument(0, "input"), 1
    else:
        return None
    if id(weight) not in parameters or weight.ndim != 2:
        return None
    fan_out, fan_in = weight.shape if unit_axis == 0 else reversed(weight.shape)
    return Product(
        weight=weight, bias=bias, kind="linear", fan_in=fan_in, fan_out=fan_out, unit_axis=unit_axis
    )


def _convolution(name: str, argument: Callable[..., Any], parameters: Mapping[int, str]) -> Product | None:
    weight, bias, stride, groups = (
        argument(1, "weight"),
        argument(2, "bias"),
        argument(3, "stride", 1),
        argument(6, "groups", 1),
    )
    if id(weight) not in parameters:
        return None
    window = math.prod(weight.shape[2:])
    strides = stride ** (weight.ndim - 2) if isinstance(stride, int) else math.prod(stride)
    if "transpose" in name:
        # Each output value is reached by one in `strides` of the window's entries.
        fan_in, fan_out = weight.shape[0] / groups * window / strides, weight.shape[1] * window
        kind: Any = "transposed convolution"
    else:
        fan_in, fan_out = weight.shape[1] * window, weight.shape[0] / groups * window / strides
        kind = "convolution"
    return Product(
        weight=weight,
        bias=bias,
        kind=kind,
        fan_in=fan_in,
        fan_out=fan_out,
        unit_axis=1 if "transpose" in name else 0,
    )


def _elementwise(name: str, func: Any, args: Any, kwargs: Any) -> Callable[[Any], Any] | None:
    """The activation as a function of one float64 tensor, its other arguments as they were."""
    if name not in ACTIVATIONS:
        return None
    rest = [a.detach().double() if isinstance(a, torch.Tensor) else a for a in args[1:]]
    named = {k: v for k, v in kwargs.items() if k not in ("input", "inplace")}
    return lambda z: func(z, *rest, **named)


def follow(flow: Flow, outputs: Any, parameters: Mapping[int, str]) -> tuple[tuple[LayerFacts, ...], int]:
    """What becomes of every product, in execution order; and the number of residual branches."""
    reached = 0
    for tensor in tensors_in(outputs, objects=False):
        node = flow.position_of(tensor)
        reached |= flow.nodes[node].ancestors if node is not None else 0
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(flow.nodes):
        for i in node.inputs:
            readers.setdefault(i, []).append(index)
    layers: dict[str, LayerFacts] = {}
    joints: set[int] = set()
    for index, node in enumerate(flow.nodes):
        if node.product is None or parameters[id(node.product.weight)] in layers:
            continue
        later = any(n.product is not None and n.ancestors >> index & 1 for n in flow.nodes[index + 1 :])
        fate = _Fate(flow.nodes, readers, index)
        next_, activation = _decide(fate, final=not later and bool(reached >> index & 1))
        if next_ == "residual" and fate.joint is not None:
            joints.add(fate.joint)
        name = parameters[id(node.product.weight)]
        layers[name] = LayerFacts(
            name=name,
            bias=parameters.get(id(node.product.bias)),
            kind=node.product.kind,
            fan_in=node.product.fan_in,
            fan_out=node.product.fan_out,
            next=next_,
            activation=activation.elementwise if activation else None,
            activation_name=activation.name.strip("_") if activation else None,
            skip=fate.skip if next_ == "residual" else None,
        )
    return tuple(layers.values()), len(joints)


class _Fate:
    """What reads a product, directly or through operations that keep its scale."""

    def __init__(self, nodes: list[Node], readers: Mapping[int, list[int]], start: int) -> None:
        self.kinds: set[str] = set()
        self.activation: Node | None = None
        self.joint: int | None = None
        self.skip: int | None = None
        self.joined = False
        self._nodes = nodes
        self._start = nodes[start]
        pending, visited = [start], {start}
        while pending:
            at = pending.pop(0)
            for reader in readers.get(at, []):
                if self._passes(at, reader) and reader not in visited:
                    visited.add(reader)
                    pending.append(reader)

    def _passes(self, at: int, reader: int) -> bool:
        node = self._nodes[reader]
        if node.product is not None or node.name == "multi_head_attention_forward":  # it projects first
            self.kinds.add("layer")
        elif node.name in NORMS:
            self.kinds.add("norm")
        elif node.name in ATTENTIONS:
            self.kinds.add("attention")
        elif node.elementwise is not None:
            self.kinds.add("activation")
            self.activation = self.activation or node
        elif node.name in ADDITIONS and len(node.inputs) > 1:
            return not self._ends_branch(at, reader)
        else:
            return True
        return False

    def _ends_branch(self, at: int, reader: int) -> bool:
        """Whether the addition puts this product onto a shorter way from the same place: a residual
        branch.
        """
        other = next(i for i in self._nodes[reader].inputs if i != at)
        skip = self._nodes[other]
        if skip.depth < self._start.depth and skip.ancestors & self._start.ancestors:
            self.kinds.add("residual")
            self.joint, self.skip = reader, other
            return True
        self.joined = True
        return False


def _decide(fate: _Fate, *, final: bool) -> tuple[Next, Node | None]:
    if fate.kinds == {"norm"} and not fate.joined:
        return "norm", None
    if final:
        return "output", None
    if "attention" in fate.kinds:
        return "attention", None
    if "activation" in fate.kinds:
        return "activation", fate.activation
    if "residual" in fate.kinds:
        return "residual", None
    return ("layer" if fate.kinds else "unknown"), None
